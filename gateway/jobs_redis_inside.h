/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What jobs_redis.c, jobs_redis_run.c and jobs_redis_words.c share. For nobody else. All of it on
 * the jobs' thread. */

#include "gateway/jobs_redis.h"
#include "gateway/jobs_store.h"

enum { JOBS_COMMAND_US = 3000000, JOBS_WORDS_MAX = 160 };

struct shared {
    struct redis *redis;
    char *prefix, *key; /* PREFIX{jobs}: and PREFIX{jobs}:n */
    struct redis_script scripts[SCRIPTS];
    bool claiming[2], has_key;
    unsigned telling; /* runs whose end is being told */
    struct link held; /* what could not be told yet */
    struct timer timer;
};

static inline struct shared *shared_of(struct jobs *jobs)
{
    return jobs->state;
}

/* A question under way; memory_free() when it is answered. */
struct question {
    struct jobs *jobs;
    struct job_ask *ask;
    struct job_run *run;
    struct job_result *result;
    bool rests;
    int class;
    char id[JOB_ID_BYTES];
    struct link link; /* among the held ones */
    void (*send)(struct question *question);
};
struct question *jobs_question_new(struct jobs *jobs, struct job_ask *ask);

/* ------------------------------------------------------- what a script is given
 * (jobs_redis_words.c) */

struct jobs_words {
    struct arena arena;
    struct text at[JOBS_WORDS_MAX]; /* what is more is left out */
    size_t count;
};
/* With the key and the prefix in front. */
void jobs_words_begin(struct jobs_words *words, const struct shared *shared);
/* A text is borrowed until they are sent. */
void jobs_words_put(struct jobs_words *words, struct text word);
void jobs_words_put_number(struct jobs_words *words, int64_t number);
void jobs_words_put_pair(struct jobs_words *words, const char *name, struct text value);
void jobs_words_put_count(struct jobs_words *words, const char *name, int64_t value);
/* They are gone after this. False: not sent, and <answer> never comes. */
bool jobs_words_send(struct jobs_words *words, struct shared *shared, enum jobs_script script,
                     redis_answer *answer, void *with);

/* ------------------------------------------------------------------------- and what it answers */

/* Empty, or 0, where there is none; borrowed from <reply>. */
struct text jobs_reply_item(const struct redis_reply *reply, size_t i);
int64_t jobs_reply_number(const struct redis_reply *reply, size_t i);
void jobs_reply_facts(const struct redis_reply *list, struct job_facts *facts);
/* The first word of the answer; empty when there was none, or an error, which is logged. */
struct text jobs_reply_verdict(enum redis_fault fault, const struct redis_reply *reply);

/* ------------------------------------------------------------- what runs here (jobs_redis_run.c)
 */

/* Claim what there is room for. */
void jobs_redis_dispatch(struct jobs *jobs);
/* A run has ended, and takes <result>; or is to be tried again. It is told until it was heard. */
void jobs_redis_end(struct jobs *jobs, struct job_run *run, struct job_result *result);
void jobs_redis_again(struct jobs *jobs, struct job_run *run, bool rests);
/* What was held is told again; the timer's. */
void jobs_redis_on_hold_time(struct timer *timer);

/* jobs_redis.c: the webhook of a job was told of its end. */
void jobs_redis_hook_told(struct jobs *jobs, const char *id);
