/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs in Redis, as this replica has them: what it runs is held by leases, what others run is known
 * for a moment. All of it on the jobs' thread. */
#include "gateway/jobs_redis.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/job_files.h"
#include "gateway/job_hook.h"
#include "gateway/jobs_store.h"

enum {
    COMMAND_US = 3000000,
    AGAIN_US = 300000, /* what could not be told is told again */
    POLL_US = 500000,  /* news may be missed */
    WORDS_MAX = 160,
    CRASHES_MAX = 3,
    FOREIGN_US = 60000000, /* what nobody has asked for so long is forgotten */
    KEY_BYTES = 32,
};

struct shared {
    struct redis *redis;
    char *prefix, *key; /* PREFIX{jobs}: and PREFIX{jobs}:n */
    struct redis_script scripts[SCRIPTS];
    bool claiming[2], has_key;
    unsigned telling; /* runs whose end is being told */
    struct link held; /* what could not be told yet */
    struct timer timer;
};

/* A question under way. */
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

static struct shared *shared_of(struct jobs *jobs)
{
    return jobs->state;
}

/* ---------------------------------------------------------------------------------- words */

struct words {
    struct arena arena;
    struct text at[WORDS_MAX];
    size_t count;
};

static void put(struct words *words, struct text word)
{
    if (words->count < WORDS_MAX)
        words->at[words->count++] = word;
}

static void put_number(struct words *words, int64_t number)
{
    put(words, arena_format(&words->arena, "%lld", (long long)number));
}

static void put_pair(struct words *words, const char *name, struct text value)
{
    put(words, text_of(name));
    put(words, value);
}

static void put_count(struct words *words, const char *name, int64_t value)
{
    put(words, text_of(name));
    put_number(words, value);
}

static void words_begin(struct words *words, const struct shared *shared)
{
    words->count = 0;
    arena_init(&words->arena, 1024);
    put(words, text_of(shared->key));
    put(words, text_of(shared->prefix));
}

static bool words_send(struct words *words, struct shared *shared, enum jobs_script script,
                       redis_answer *answer, void *with)
{
    bool sent = redis_eval(shared->redis, &shared->scripts[script], 1, words->at, words->count,
                           COMMAND_US, answer, with);
    arena_done(&words->arena);
    return sent;
}

/* -------------------------------------------------------------------------------- answers */

static struct text item(const struct redis_reply *reply, size_t i)
{
    bool there = reply && redis_kind(reply) == REDIS_LIST && i < redis_count(reply);
    return there ? redis_text(redis_item(reply, i)) : (struct text){"", 0};
}

static int64_t number(const struct redis_reply *reply, size_t i)
{
    struct text text = item(reply, i);
    uint64_t value;
    return text_number(text, INT64_MAX, &value) ? (int64_t)value : 0;
}

static void copy(char *out, size_t bytes, struct text from)
{
    snprintf(out, bytes, "%.*s", TEXT_ARGS(text_head(from, bytes - 1)));
}

static void read_facts(const struct redis_reply *list, struct job_facts *facts)
{
    *facts = (struct job_facts){
        .kind = (enum job_kind)(number(list, 1 + FIELD_KIND) % JOB_KINDS),
        .state = (enum job_state)(number(list, 1 + FIELD_STATE) % JOB_STATES),
        .created_us = number(list, 1 + FIELD_CREATED),
        .due_us = number(list, 1 + FIELD_DUE),
        .started_us = number(list, 1 + FIELD_STARTED),
        .ended_us = number(list, 1 + FIELD_ENDED),
        .expires_us = number(list, 1 + FIELD_EXPIRES),
        .cost_nanos = number(list, 1 + FIELD_COST),
        .attempts = (unsigned)number(list, 1 + FIELD_ATTEMPTS),
        .starts = (unsigned)number(list, 1 + FIELD_STARTS),
        .status = (unsigned)number(list, 1 + FIELD_STATUS),
        .cancel = text_equal(item(list, 1 + FIELD_CANCEL), TEXT("1")),
        .hook = item(list, 1 + FIELD_HOOK).len > 0,
    };
    copy(facts->id, sizeof(facts->id), item(list, 0));
    copy(facts->tenant, sizeof(facts->tenant), item(list, 1 + FIELD_TENANT));
    copy(facts->key, sizeof(facts->key), item(list, 1 + FIELD_KEY));
    copy(facts->model, sizeof(facts->model), item(list, 1 + FIELD_MODEL));
    copy(facts->request_id, sizeof(facts->request_id), item(list, 1 + FIELD_REQUEST));
    copy(facts->error, sizeof(facts->error), item(list, 1 + FIELD_ERROR));
    copy(facts->error_type, sizeof(facts->error_type), item(list, 1 + FIELD_ERROR_TYPE));
    copy(facts->digest, sizeof(facts->digest), item(list, 1 + FIELD_DIGEST));
}

/* What another replica, or Redis itself, says of a job. Takes <result>. */
static struct job *note(struct jobs *jobs, const struct job_facts *facts, struct job_result *result)
{
    struct job *job = jobs_find(jobs, text_of(facts->id));
    if (!job)
        job = jobs_add(jobs, facts);
    if (job->run) { /* we know better */
        job_result_unref(result);
        return job;
    }
    job->is_foreign = true;
    job->seen_us = clock_now_us();
    jobs_end(jobs, job, facts, result);
    return job;
}

static void forget(struct jobs *jobs, struct job *job)
{
    if (job && !job->run)
        jobs_forget(jobs, job);
}

static struct question *question_new(struct jobs *jobs, struct job_ask *ask)
{
    struct question *question = memory_new(sizeof(*question));
    question->jobs = jobs;
    question->ask = ask;
    list_init(&question->link);
    return question;
}

/* The answer, when there is one. */
static struct text verdict_of(enum redis_fault fault, const struct redis_reply *reply)
{
    bool bad = fault != REDIS_ANSWERED || !reply || redis_kind(reply) != REDIS_LIST;
    if (fault == REDIS_ANSWERED && reply && redis_kind(reply) == REDIS_ERROR)
        log_line(LOG_ERROR, "jobs", "Redis: %.*s", TEXT_ARGS(text_head(redis_text(reply), 200)));
    return bad ? (struct text){"", 0} : item(reply, 0);
}

/* -------------------------------------------------------------------------------- submit */

static void on_submitted(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct job_ask *ask = question->ask;
    struct jobs *jobs = question->jobs;
    struct text word = verdict_of(fault, reply);
    enum job_outcome outcome = JOBS_AWAY;
    if (text_equal(word, TEXT("OK")))
        outcome = JOBS_DONE;
    else if (text_equal(word, TEXT("THERE")))
        outcome = JOBS_THERE;
    else if (text_equal(word, TEXT("CONFLICT")))
        outcome = JOBS_CONFLICT;
    else if (text_equal(word, TEXT("FULL")))
        outcome = JOBS_FULL;
    else if (text_equal(word, TEXT("MANY")))
        outcome = JOBS_MANY;
    if (outcome == JOBS_THERE)
        read_facts(redis_item(reply, 1), &ask->facts);
    if (outcome == JOBS_DONE)
        atomic_fetch_add(&jobs->submitted, 1);
    if (outcome == JOBS_DONE || outcome == JOBS_THERE)
        note(jobs, &ask->facts, NULL);
    memory_free(question);
    jobs_answer(ask, outcome);
    if (outcome == JOBS_DONE)
        job_store_redis.dispatch(jobs);
}

static void submit(struct jobs *jobs, struct job_ask *ask)
{
    struct shared *shared = shared_of(jobs);
    struct config *config = jobs_config(jobs);
    const struct job_facts *facts = &ask->facts;
    const struct job_spec *spec = &ask->spec;
    struct words words;
    words_begin(&words, shared);
    put(&words, text_of(facts->id));
    put(&words, text_of(facts->tenant));
    put_number(&words, facts->kind);
    put_number(&words, config->jobs.queue_max);
    put_number(&words, config->jobs.queue_max_per_tenant);
    put_number(&words, (int64_t)config->jobs.disk_max);
    put_number(&words, (int64_t)spec->payload.len);
    put_number(&words, facts->created_us);
    put_number(&words, facts->expires_us);
    put(&words, text_of(facts->digest));
    put_pair(&words, "tenant", text_of(facts->tenant));
    put_pair(&words, "key", text_of(facts->key));
    put_pair(&words, "model", text_of(facts->model));
    put_count(&words, "kind", facts->kind);
    put_count(&words, "state", JOB_QUEUED);
    put_count(&words, "created", facts->created_us);
    put_count(&words, "expires", facts->expires_us);
    put_pair(&words, "digest", text_of(facts->digest));
    put_pair(&words, "path", spec->path);
    put_pair(&words, "type", spec->content_type);
    put_pair(&words, "payload", spec->payload);
    put_pair(&words, "hook", spec->hook);
    put_pair(&words, "base", spec->base);
    config_unref(config);
    struct question *question = question_new(jobs, ask);
    if (words_send(&words, shared, SCRIPT_SUBMIT, on_submitted, question))
        return;
    memory_free(question);
    jobs_answer(ask, JOBS_AWAY);
}

/* ------------------------------------------------------------------------------- webhooks */

static void on_crossed_out(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    (void)with; /* if it is not, it is told once more */
    (void)fault;
    (void)reply;
}

/* It was told, or given up: nobody else need do it. */
static void on_hook_told(struct jobs *jobs, const char *id)
{
    struct words words;
    words_begin(&words, shared_of(jobs));
    put(&words, text_of(id));
    words_send(&words, shared_of(jobs), SCRIPT_TOLD, on_crossed_out, jobs);
}

/* What another replica has left untold. */
static void tell_left(struct jobs *jobs, const struct redis_reply *list, struct text stored)
{
    struct job_facts facts;
    read_facts(list, &facts);
    if (!jobs->hooks || job_hook_has(jobs->hooks, facts.id))
        return;
    struct job_result *result =
        stored.len ? job_result_new(stored, TEXT("application/json")) : NULL;
    jobs_tell(jobs, &facts, item(list, 1 + FIELD_HOOK), result, on_hook_told);
    job_result_unref(result);
}

static void on_left(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct jobs *jobs = with;
    if (fault != REDIS_ANSWERED || !reply || redis_kind(reply) != REDIS_LIST || jobs->stopping)
        return;
    for (size_t i = 0; i + 1 < redis_count(reply); i += 2)
        tell_left(jobs, redis_item(reply, i), item(reply, i + 1));
}

/* Those that are being told here stay ours; others that nobody tells become so. */
static void tell_hooks(struct jobs *jobs)
{
    enum { TAKEN_AT_ONCE = 32, IDS_MAX = 4096 };
    const char **ids = memory_new(IDS_MAX * sizeof(*ids));
    size_t count = jobs->hooks ? job_hook_ids(jobs->hooks, ids, IDS_MAX) : 0, at = 0;
    bool is_first = true;
    while (jobs->hooks && (is_first || at < count)) {
        struct words words;
        words_begin(&words, shared_of(jobs));
        put_number(&words, is_first ? TAKEN_AT_ONCE : 0);
        while (at < count && words.count < WORDS_MAX)
            put(&words, text_of(ids[at++]));
        words_send(&words, shared_of(jobs), SCRIPT_TELL, on_left, jobs);
        is_first = false;
    }
    memory_free(ids);
}

/* ---------------------------------------------------------------------------- cancel, look */

static void on_cancelled(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct job_ask *ask = question->ask;
    struct jobs *jobs = question->jobs;
    struct text word = verdict_of(fault, reply);
    enum job_outcome outcome = !word.len                           ? JOBS_AWAY
                               : text_equal(word, TEXT("UNKNOWN")) ? JOBS_UNKNOWN
                               : text_equal(word, TEXT("OVER"))    ? JOBS_OVER
                                                                   : JOBS_DONE;
    struct text hook = {"", 0};
    if (outcome == JOBS_DONE || outcome == JOBS_OVER) {
        read_facts(redis_item(reply, 1), &ask->facts);
        hook = item(redis_item(reply, 1), 1 + FIELD_HOOK);
        struct job *job = note(jobs, &ask->facts, NULL);
        if (job->run)
            jobs_stop_run(jobs, job);
    }
    if (text_equal(word, TEXT("DONE"))) {
        atomic_fetch_add(&jobs->ended_as[JOB_CANCELLED], 1);
        jobs_tell(jobs, &ask->facts, hook, NULL, on_hook_told);
    }
    memory_free(question);
    jobs_answer(ask, outcome);
}

static void cancel(struct jobs *jobs, struct job_ask *ask)
{
    struct config *config = jobs_config(jobs);
    struct words words;
    words_begin(&words, shared_of(jobs));
    put(&words, text_of(ask->facts.id));
    put(&words, text_of(ask->facts.tenant));
    put_number(&words, config->jobs.keep_us * 2 / 1000);
    config_unref(config);
    struct question *question = question_new(jobs, ask);
    if (words_send(&words, shared_of(jobs), SCRIPT_CANCEL, on_cancelled, question))
        return;
    memory_free(question);
    jobs_answer(ask, JOBS_AWAY);
}

static void on_looked(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct job_ask *ask = question->ask;
    struct jobs *jobs = question->jobs;
    struct text word = verdict_of(fault, reply);
    struct job *job = jobs_find(jobs, text_of(question->id));
    enum job_outcome outcome = !word.len ? JOBS_AWAY : JOBS_UNKNOWN;
    if (text_equal(word, TEXT("OK"))) {
        struct job_facts facts;
        struct text bytes = item(reply, 2);
        read_facts(redis_item(reply, 1), &facts);
        struct job_result *result =
            bytes.len ? job_result_new(bytes, TEXT("application/json")) : NULL;
        job = note(jobs, &facts, job_result_ref(result));
        bool is_theirs =
            ask && (!ask->facts.tenant[0] || strcmp(ask->facts.tenant, facts.tenant) == 0);
        if (is_theirs) {
            outcome = JOBS_DONE;
            ask->facts = job->run ? job->facts : facts;
            ask->result = job_result_ref(result);
        }
        job_result_unref(result);
    } else if (word.len) {
        forget(jobs, job);
    }
    memory_free(question);
    if (ask)
        jobs_answer(ask, outcome);
}

static bool ask_of(struct jobs *jobs, const char *id, struct job_ask *ask)
{
    struct words words;
    struct question *question = question_new(jobs, ask);
    copy(question->id, sizeof(question->id), text_of(id));
    words_begin(&words, shared_of(jobs));
    put(&words, text_of(question->id));
    if (words_send(&words, shared_of(jobs), SCRIPT_LOOK, on_looked, question))
        return true;
    memory_free(question);
    return false;
}

static void look(struct jobs *jobs, struct job_ask *ask)
{
    struct job_facts facts;
    struct job_result *result;
    /* Another one may have asked just before. */
    if (jobs_look(jobs, text_of(ask->facts.id), text_of(ask->facts.tenant), &facts, &result)) {
        ask->facts = facts;
        ask->result = result;
        jobs_answer(ask, JOBS_DONE);
    } else if (!ask_of(jobs, ask->facts.id, ask)) {
        jobs_answer(ask, JOBS_AWAY);
    }
}

static void on_listed(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct job_ask *ask = question->ask;
    bool good = fault == REDIS_ANSWERED && reply && redis_kind(reply) == REDIS_LIST;
    size_t count = good ? redis_count(reply) : 0;
    ask->list = arena_new(&ask->arena, (count + 1) * sizeof(*ask->list));
    for (size_t i = 0; i < count; i++)
        read_facts(redis_item(reply, i), &ask->list[ask->count++]);
    memory_free(question);
    jobs_answer(ask, good ? JOBS_DONE : JOBS_AWAY);
}

static void list(struct jobs *jobs, struct job_ask *ask)
{
    struct words words;
    words_begin(&words, shared_of(jobs));
    put(&words, text_of(ask->facts.tenant));
    put_number(&words, ask->state);
    put_number(&words, ask->before_us);
    put_number(&words, (int64_t)(ask->limit < JOB_LIST_MAX ? ask->limit : JOB_LIST_MAX));
    struct question *question = question_new(jobs, ask);
    if (words_send(&words, shared_of(jobs), SCRIPT_LIST, on_listed, question))
        return;
    memory_free(question);
    jobs_answer(ask, JOBS_AWAY);
}

/* --------------------------------------------------------------------------------- claiming */

static void begin(struct jobs *jobs, const struct redis_reply *reply)
{
    const struct redis_reply *spec = redis_item(reply, 2);
    struct job_run *run = job_run_new(jobs);
    struct text *const to[] = {&run->spec.path, &run->spec.content_type, &run->spec.payload,
                               &run->spec.hook, &run->spec.base};
    read_facts(redis_item(reply, 1), &run->facts);
    for (size_t i = 0; i < 5; i++)
        *to[i] = arena_copy(&run->arena, item(spec, i));
    struct job *job = jobs_find(jobs, text_of(run->facts.id));
    if (job && job->run) { /* its lease was lost, and came back to us */
        job_run_unref(run);
        return;
    }
    if (job)
        jobs_change(jobs, job, &run->facts);
    else
        job = jobs_add(jobs, &run->facts);
    job->is_foreign = false;
    job->run = run;
    run->job = job;
    jobs_start(jobs, run);
}

static void on_claimed(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct jobs *jobs = question->jobs;
    struct text word = verdict_of(fault, reply);
    shared_of(jobs)->claiming[question->class] = false;
    memory_free(question);
    if (text_equal(word, TEXT("JOB"))) {
        begin(jobs, reply);
        job_store_redis.dispatch(jobs);
    } else if (text_equal(word, TEXT("NONE")) && number(reply, 2) > 0) {
        jobs_look_again(jobs, clock_wall_us() + number(reply, 1));
    }
}

static void dispatch(struct jobs *jobs)
{
    struct shared *shared = shared_of(jobs);
    struct config *config = jobs_config(jobs);
    for (int class = 0; class < 2; class ++) {
        if (shared->claiming[class] || !redis_is_up(shared->redis) ||
            !jobs_may_run(jobs, config, class) || (class && !config->jobs.finetune.count))
            continue;
        struct words words;
        struct question *question = question_new(jobs, NULL);
        question->class = class;
        words_begin(&words, shared);
        put_number(&words, class);
        put_number(&words, config->jobs.per_tenant);
        put_number(&words, config->jobs.lease_us);
        put(&words, text_of(jobs->node));
        shared->claiming[class] = words_send(&words, shared, SCRIPT_CLAIM, on_claimed, question);
        if (!shared->claiming[class])
            memory_free(question);
    }
    config_unref(config);
}

/* --------------------------------------------------------------------- what became of a run */

static void hold(struct question *question)
{
    struct shared *shared = shared_of(question->jobs);
    if (question->link.next == &question->link)
        list_push_back(&shared->held, &question->link);
    if (!shared->timer.due_us)
        timer_set(question->jobs->loop, &shared->timer,
                  loop_now_us(question->jobs->loop) + AGAIN_US);
}

static void told(struct question *question, bool ours)
{
    struct jobs *jobs = question->jobs;
    struct job_run *run = question->run;
    struct job *job = run->job;
    struct job_facts *facts = &run->facts;
    job->run = NULL;
    if (!ours) { /* another one has it: what it says counts */
        log_line(LOG_WARN, "jobs", "job %s was lost to another replica: what was made is not kept",
                 facts->id);
        job_result_unref(question->result);
        jobs_forget(jobs, job);
    } else if (job_has_ended(facts->state)) {
        atomic_fetch_add(&jobs->ended_as[facts->state], 1);
        jobs_tell(jobs, facts, run->spec.hook, question->result, on_hook_told);
        jobs_end(jobs, job, facts, question->result);
    } else {
        atomic_fetch_add(&jobs->again, 1);
        job->is_foreign = true; /* whoever comes first */
        job->seen_us = clock_now_us();
        jobs_change(jobs, job, facts);
    }
    list_remove(&question->link);
    memory_free(question);
    shared_of(jobs)->telling--;
    jobs_run_told(jobs, run);
    jobs_check_quiet(jobs);
}

static void on_told(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct text word = verdict_of(fault, reply);
    if (!word.len) {
        question->rests = question->rests || fault == REDIS_UNKNOWN;
        hold(question);
        return;
    }
    told(question, text_equal(word, TEXT("OK")));
}

static void send_end(struct question *question)
{
    struct jobs *jobs = question->jobs;
    struct job_run *run = question->run;
    const struct job_facts *facts = &run->facts;
    struct config *config = jobs_config(jobs);
    struct words words;
    struct text result = {"", 0};
    if (question->result)
        result = (struct text){question->result->bytes, question->result->length};
    words_begin(&words, shared_of(jobs));
    put(&words, text_of(facts->id));
    put_number(&words, facts->starts);
    put_number(&words, (int64_t)result.len);
    put_number(&words, config->jobs.keep_us * 2 / 1000);
    put_count(&words, "state", facts->state);
    put_count(&words, "ended", facts->ended_us);
    put_count(&words, "cost", facts->cost_nanos);
    put_count(&words, "attempts", facts->attempts);
    put_count(&words, "status", facts->status);
    put_pair(&words, "request", text_of(facts->request_id));
    put_pair(&words, "error", text_of(facts->error));
    put_pair(&words, "error_type", text_of(facts->error_type));
    if (question->result)
        put_pair(&words, "result", result);
    config_unref(config);
    if (!words_send(&words, shared_of(jobs), SCRIPT_END, on_told, question))
        hold(question);
}

static void send_again(struct question *question)
{
    struct jobs *jobs = question->jobs;
    const struct job_facts *facts = &question->run->facts;
    int64_t wait = facts->due_us ? facts->due_us - clock_wall_us() : 0;
    struct words words;
    words_begin(&words, shared_of(jobs));
    put(&words, text_of(facts->id));
    put_number(&words, facts->starts);
    put_number(&words, wait > 0 ? wait : 0);
    put(&words, question->rests ? TEXT("1") : TEXT("0"));
    put_number(&words, facts->attempts);
    put(&words, text_of(facts->error));
    if (!words_send(&words, shared_of(jobs), SCRIPT_AGAIN, on_told, question))
        hold(question);
}

static void end(struct jobs *jobs, struct job_run *run, struct job_result *result)
{
    struct question *question = question_new(jobs, NULL);
    question->run = run;
    question->result = result;
    question->send = send_end;
    shared_of(jobs)->telling++;
    send_end(question);
}

static void again(struct jobs *jobs, struct job_run *run, bool rests)
{
    struct question *question = question_new(jobs, NULL);
    question->run = run;
    question->rests = rests;
    question->send = send_again;
    shared_of(jobs)->telling++;
    run->facts.state = JOB_QUEUED;
    send_again(question);
}

static void on_hold_time(struct timer *timer)
{
    struct shared *shared = LIST_MEMBER(timer, struct shared, timer);
    struct link waiting;
    list_init(&waiting);
    while (!list_is_empty(&shared->held)) {
        struct link *first = shared->held.next;
        list_remove(first);
        list_push_back(&waiting, first);
    }
    while (!list_is_empty(&waiting)) {
        struct question *question = LIST_MEMBER(waiting.next, struct question, link);
        list_remove(&question->link);
        question->send(question);
    }
}

/* ------------------------------------------------------------------------------------ time */

static void on_renewed(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct jobs *jobs = with;
    if (fault != REDIS_ANSWERED || !reply || redis_kind(reply) != REDIS_LIST)
        return;
    for (size_t i = 0; i + 1 < redis_count(reply); i += 2) {
        struct job *job = jobs_find(jobs, item(reply, i));
        /* Lost: its end will be refused; no need to make more of it. */
        if (job && job->run)
            jobs_stop_run(jobs, job);
    }
}

static void renew(struct jobs *jobs, const struct config *config)
{
    struct words words;
    words_begin(&words, shared_of(jobs));
    put_number(&words, config->jobs.lease_us);
    size_t before = words.count;
    for (size_t i = 0; i < JOB_SHARDS; i++) {
        struct text name;
        void *value;
        for (size_t at = 0; table_next(&jobs->shards[i].jobs, &at, &name, &value);) {
            const struct job *job = value;
            if (!job->run)
                continue;
            put(&words, text_of(job->facts.id));
            put_number(&words, job->run->facts.starts);
            if (words.count + 2 > WORDS_MAX) {
                words_send(&words, shared_of(jobs), SCRIPT_RENEW, on_renewed, jobs);
                words_begin(&words, shared_of(jobs));
                put_number(&words, config->jobs.lease_us);
            }
        }
    }
    if (words.count > before)
        words_send(&words, shared_of(jobs), SCRIPT_RENEW, on_renewed, jobs);
    else
        arena_done(&words.arena);
}

static void on_swept(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct jobs *jobs = with;
    if (fault != REDIS_ANSWERED || !reply || redis_kind(reply) != REDIS_LIST)
        return;
    atomic_store(&jobs->store_queued, (unsigned)number(reply, 0));
    atomic_store(&jobs->bytes, number(reply, 1));
    atomic_store(&jobs->eldest_us, number(reply, 2)); /* of those that are next, one per tenant */
    for (size_t i = 3; i < redis_count(reply); i++) {
        struct job_facts facts;
        const struct redis_reply *list = redis_item(reply, i);
        read_facts(list, &facts);
        atomic_fetch_add(&jobs->ended_as[facts.state], 1);
        note(jobs, &facts, NULL);
        jobs_tell(jobs, &facts, item(list, 1 + FIELD_HOOK), NULL, on_hook_told);
    }
}

static void sweep(struct jobs *jobs, const struct config *config)
{
    struct words words;
    words_begin(&words, shared_of(jobs));
    put_number(&words, config->jobs.keep_us);
    put_number(&words, CRASHES_MAX);
    words_send(&words, shared_of(jobs), SCRIPT_SWEEP, on_swept, jobs);
}

/* Those of others that somebody waits for are asked for, those that nobody asks for forgotten. */
static void look_after(struct jobs *jobs)
{
    enum { AT_ONCE = 64 };
    struct job *old[AT_ONCE];
    size_t count = 0, asked = 0;
    uint64_t now = clock_now_us();
    for (size_t i = 0; i < JOB_SHARDS; i++) {
        struct text name;
        void *value;
        for (size_t at = 0; table_next(&jobs->shards[i].jobs, &at, &name, &value);) {
            struct job *job = value;
            if (!job->is_foreign || job->run || job_has_ended(job->facts.state))
                continue;
            pthread_mutex_lock(&jobs->shards[i].lock);
            bool waited = !list_is_empty(&job->waiting);
            pthread_mutex_unlock(&jobs->shards[i].lock);
            if (waited && asked < AT_ONCE && now - job->seen_us > POLL_US)
                asked += ask_of(jobs, job->facts.id, NULL);
            else if (!waited && count < AT_ONCE && now - job->seen_us > FOREIGN_US)
                old[count++] = job;
        }
    }
    for (size_t i = 0; i < count; i++)
        jobs_forget(jobs, old[i]);
}

static void tick(struct jobs *jobs)
{
    struct shared *shared = shared_of(jobs);
    atomic_store(&jobs->is_up, redis_is_up(shared->redis));
    if (!redis_is_up(shared->redis))
        return;
    struct config *config = jobs_config(jobs);
    renew(jobs, config);
    sweep(jobs, config);
    tell_hooks(jobs);
    look_after(jobs);
    config_unref(config);
    dispatch(jobs);
}

static void on_news(void *with, struct text text)
{
    struct jobs *jobs = with;
    if (jobs->stopping)
        return;
    bool is_cancel = text_starts(text, TEXT("!"));
    struct text id = text_from(text, is_cancel);
    if (!job_id_is_one(id)) {
        dispatch(jobs);
        return;
    }
    struct job *job = jobs_find(jobs, id);
    if (job && job->run && is_cancel)
        jobs_stop_run(jobs, job);
    else if (job && !job->run && !job_has_ended(job->facts.state))
        ask_of(jobs, job->facts.id, NULL);
}

static bool is_quiet(struct jobs *jobs)
{
    return shared_of(jobs)->telling == 0;
}

/* ----------------------------------------------------------------------------- open and close */

static void on_key(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct jobs *jobs = with;
    if (fault != REDIS_ANSWERED || !reply || redis_text(reply).len != HEX_BYTES - 1)
        return;
    struct digest key;
    if (!hash_from_hex(redis_text(reply), &key))
        return;
    shared_of(jobs)->has_key = true;
    job_files_set_key(jobs->files, &key);
}

/* The key of all replicas' links: the first one's. */
static void fetch_key(struct jobs *jobs)
{
    struct shared *shared = shared_of(jobs);
    char hex[HEX_BYTES], *name = memory_format("%slink_key", shared->prefix);
    hash_hex(&jobs->link_key, hex);
    struct text set[] = {TEXT("SET"), text_of(name), text_of(hex), TEXT("NX")};
    struct text get[] = {TEXT("GET"), text_of(name)};
    redis_send(shared->redis, text_of(name), set, 4, COMMAND_US, on_key, jobs);
    redis_send(shared->redis, text_of(name), get, 2, COMMAND_US, on_key, jobs);
    memory_free(name);
}

static void on_change(void *with)
{
    struct jobs *jobs = with;
    struct shared *shared = shared_of(jobs);
    bool up = redis_is_up(shared->redis);
    atomic_store(&jobs->is_up, up);
    if (!up || jobs->stopping)
        return;
    if (!shared->has_key)
        fetch_key(jobs);
    dispatch(jobs);
}

static void close_store(struct jobs *jobs)
{
    struct shared *shared = shared_of(jobs);
    timer_stop(&shared->timer);
    if (shared->redis)
        redis_free(shared->redis); /* what is under way comes back, and is held */
    timer_stop(&shared->timer);
    while (!list_is_empty(&shared->held)) { /* its lease runs out, and another one has it */
        struct question *question = LIST_MEMBER(shared->held.next, struct question, link);
        struct job_run *run = question->run;
        run->job->run = NULL;
        job_result_unref(question->result);
        list_remove(&question->link);
        memory_free(question);
        job_run_unref(run);
    }
    memory_free(shared->prefix);
    memory_free(shared->key);
    memory_free(shared);
}

bool jobs_redis_open(struct jobs *jobs, const struct config *start, struct fault *fault)
{
    struct shared *shared = memory_new(sizeof(*shared));
    jobs->state = shared;
    list_init(&shared->held);
    shared->timer.on_time = on_hold_time;
    shared->prefix = memory_format("%s{jobs}:", start->store.key_prefix);
    shared->key = memory_format("%s{jobs}:n", start->store.key_prefix);
    jobs_scripts_init(shared->scripts);
    shared->redis = redis_new(jobs->loop, jobs->dns, &start->store.redis, fault);
    if (!shared->redis) {
        close_store(jobs);
        return false;
    }
    char *channel = memory_format("%snews", shared->prefix);
    redis_on_change(shared->redis, on_change, jobs);
    redis_subscribe(shared->redis, text_of(channel), on_news, jobs);
    memory_free(channel);
    return true;
}

const struct job_store job_store_redis = {
    .close = close_store,
    .submit = submit,
    .cancel = cancel,
    .look = look,
    .list = list,
    .dispatch = dispatch,
    .end = end,
    .again = again,
    .is_quiet = is_quiet,
    .tick = tick,
};
