/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs in Redis: what scripts are given, and how their answers are read. */
#include <stdio.h>

#include "gateway/base/log.h"
#include "gateway/jobs_redis_inside.h"

/* ---------------------------------------------------------------------------------- words */

void jobs_words_put(struct jobs_words *words, struct text word)
{
    if (words->count < JOBS_WORDS_MAX)
        words->at[words->count++] = word;
}

void jobs_words_put_number(struct jobs_words *words, int64_t number)
{
    jobs_words_put(words, arena_format(&words->arena, "%lld", (long long)number));
}

void jobs_words_put_pair(struct jobs_words *words, const char *name, struct text value)
{
    jobs_words_put(words, text_of(name));
    jobs_words_put(words, value);
}

void jobs_words_put_count(struct jobs_words *words, const char *name, int64_t value)
{
    jobs_words_put(words, text_of(name));
    jobs_words_put_number(words, value);
}

void jobs_words_begin(struct jobs_words *words, const struct shared *shared)
{
    words->count = 0;
    arena_init(&words->arena, 1024);
    jobs_words_put(words, text_of(shared->key));
    jobs_words_put(words, text_of(shared->prefix));
}

bool jobs_words_send(struct jobs_words *words, struct shared *shared, enum jobs_script script,
                     redis_answer *answer, void *with)
{
    bool sent = redis_eval(shared->redis, &shared->scripts[script], 1, words->at, words->count,
                           JOBS_COMMAND_US, answer, with);
    arena_done(&words->arena);
    return sent;
}

/* -------------------------------------------------------------------------------- answers */

struct text jobs_reply_item(const struct redis_reply *reply, size_t i)
{
    bool there = reply && redis_kind(reply) == REDIS_LIST && i < redis_count(reply);
    return there ? redis_text(redis_item(reply, i)) : (struct text){"", 0};
}

int64_t jobs_reply_number(const struct redis_reply *reply, size_t i)
{
    struct text text = jobs_reply_item(reply, i);
    uint64_t value;
    return text_number(text, INT64_MAX, &value) ? (int64_t)value : 0;
}

static void copy(char *out, size_t bytes, struct text from)
{
    snprintf(out, bytes, "%.*s", TEXT_ARGS(text_head(from, bytes - 1)));
}

void jobs_reply_facts(const struct redis_reply *list, struct job_facts *facts)
{
    *facts = (struct job_facts){
        .kind = (enum job_kind)(jobs_reply_number(list, 1 + FIELD_KIND) % JOB_KINDS),
        .state = (enum job_state)(jobs_reply_number(list, 1 + FIELD_STATE) % JOB_STATES),
        .created_us = jobs_reply_number(list, 1 + FIELD_CREATED),
        .due_us = jobs_reply_number(list, 1 + FIELD_DUE),
        .started_us = jobs_reply_number(list, 1 + FIELD_STARTED),
        .ended_us = jobs_reply_number(list, 1 + FIELD_ENDED),
        .expires_us = jobs_reply_number(list, 1 + FIELD_EXPIRES),
        .cost_nanos = jobs_reply_number(list, 1 + FIELD_COST),
        .attempts = (unsigned)jobs_reply_number(list, 1 + FIELD_ATTEMPTS),
        .starts = (unsigned)jobs_reply_number(list, 1 + FIELD_STARTS),
        .status = (unsigned)jobs_reply_number(list, 1 + FIELD_STATUS),
        .cancel = text_equal(jobs_reply_item(list, 1 + FIELD_CANCEL), TEXT("1")),
        .hook = jobs_reply_item(list, 1 + FIELD_HOOK).len > 0,
    };
    copy(facts->id, sizeof(facts->id), jobs_reply_item(list, 0));
    copy(facts->tenant, sizeof(facts->tenant), jobs_reply_item(list, 1 + FIELD_TENANT));
    copy(facts->key, sizeof(facts->key), jobs_reply_item(list, 1 + FIELD_KEY));
    copy(facts->model, sizeof(facts->model), jobs_reply_item(list, 1 + FIELD_MODEL));
    copy(facts->request_id, sizeof(facts->request_id), jobs_reply_item(list, 1 + FIELD_REQUEST));
    copy(facts->error, sizeof(facts->error), jobs_reply_item(list, 1 + FIELD_ERROR));
    copy(facts->error_type, sizeof(facts->error_type), jobs_reply_item(list, 1 + FIELD_ERROR_TYPE));
    copy(facts->digest, sizeof(facts->digest), jobs_reply_item(list, 1 + FIELD_DIGEST));
}

struct question *jobs_question_new(struct jobs *jobs, struct job_ask *ask)
{
    struct question *question = memory_new(sizeof(*question));
    question->jobs = jobs;
    question->ask = ask;
    list_init(&question->link);
    return question;
}

/* The answer, when there is one. */
struct text jobs_reply_verdict(enum redis_fault fault, const struct redis_reply *reply)
{
    bool bad = fault != REDIS_ANSWERED || !reply || redis_kind(reply) != REDIS_LIST;
    if (fault == REDIS_ANSWERED && reply && redis_kind(reply) == REDIS_ERROR)
        log_line(LOG_ERROR, "jobs", "Redis: %.*s", TEXT_ARGS(text_head(redis_text(reply), 200)));
    return bad ? (struct text){"", 0} : jobs_reply_item(reply, 0);
}
