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
#include "gateway/jobs_redis_inside.h"

enum {
    POLL_US = 500000, /* news may be missed */
    CRASHES_MAX = 3,
    FOREIGN_US = 60000000, /* what nobody has asked for so long is forgotten */
};

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
/* -------------------------------------------------------------------------------- submit */

static void on_submitted(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct job_ask *ask = question->ask;
    struct jobs *jobs = question->jobs;
    struct text word = jobs_reply_verdict(fault, reply);
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
        jobs_reply_facts(redis_item(reply, 1), &ask->facts);
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
    struct jobs_words words;
    jobs_words_begin(&words, shared);
    jobs_words_put(&words, text_of(facts->id));
    jobs_words_put(&words, text_of(facts->tenant));
    jobs_words_put_number(&words, facts->kind);
    jobs_words_put_number(&words, config->jobs.queue_max);
    jobs_words_put_number(&words, config->jobs.queue_max_per_tenant);
    jobs_words_put_number(&words, (int64_t)config->jobs.disk_max);
    jobs_words_put_number(&words, (int64_t)spec->payload.len);
    jobs_words_put_number(&words, facts->created_us);
    jobs_words_put_number(&words, facts->expires_us);
    jobs_words_put(&words, text_of(facts->digest));
    jobs_words_put_pair(&words, "tenant", text_of(facts->tenant));
    jobs_words_put_pair(&words, "key", text_of(facts->key));
    jobs_words_put_pair(&words, "model", text_of(facts->model));
    jobs_words_put_count(&words, "kind", facts->kind);
    jobs_words_put_count(&words, "state", JOB_QUEUED);
    jobs_words_put_count(&words, "created", facts->created_us);
    jobs_words_put_count(&words, "expires", facts->expires_us);
    jobs_words_put_pair(&words, "digest", text_of(facts->digest));
    jobs_words_put_pair(&words, "path", spec->path);
    jobs_words_put_pair(&words, "type", spec->content_type);
    jobs_words_put_pair(&words, "payload", spec->payload);
    jobs_words_put_pair(&words, "hook", spec->hook);
    jobs_words_put_pair(&words, "base", spec->base);
    config_unref(config);
    struct question *question = jobs_question_new(jobs, ask);
    if (jobs_words_send(&words, shared, SCRIPT_SUBMIT, on_submitted, question))
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
void jobs_redis_hook_told(struct jobs *jobs, const char *id)
{
    struct jobs_words words;
    jobs_words_begin(&words, shared_of(jobs));
    jobs_words_put(&words, text_of(id));
    jobs_words_send(&words, shared_of(jobs), SCRIPT_TOLD, on_crossed_out, jobs);
}

/* What another replica has left untold. */
static void tell_left(struct jobs *jobs, const struct redis_reply *list, struct text stored)
{
    struct job_facts facts;
    jobs_reply_facts(list, &facts);
    if (!jobs->hooks || job_hook_has(jobs->hooks, facts.id))
        return;
    struct job_result *result =
        stored.len ? job_result_new(stored, TEXT("application/json")) : NULL;
    jobs_tell(jobs, &facts, jobs_reply_item(list, 1 + FIELD_HOOK), result, jobs_redis_hook_told);
    job_result_unref(result);
}

static void on_left(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct jobs *jobs = with;
    if (fault != REDIS_ANSWERED || !reply || redis_kind(reply) != REDIS_LIST || jobs->stopping)
        return;
    for (size_t i = 0; i + 1 < redis_count(reply); i += 2)
        tell_left(jobs, redis_item(reply, i), jobs_reply_item(reply, i + 1));
}

/* Those that are being told here stay ours; others that nobody tells become so. */
static void tell_hooks(struct jobs *jobs)
{
    enum { TAKEN_AT_ONCE = 32, IDS_MAX = 4096 };
    const char **ids = memory_new(IDS_MAX * sizeof(*ids));
    size_t count = jobs->hooks ? job_hook_ids(jobs->hooks, ids, IDS_MAX) : 0, at = 0;
    bool is_first = true;
    while (jobs->hooks && (is_first || at < count)) {
        struct jobs_words words;
        jobs_words_begin(&words, shared_of(jobs));
        jobs_words_put_number(&words, is_first ? TAKEN_AT_ONCE : 0);
        while (at < count && words.count < JOBS_WORDS_MAX)
            jobs_words_put(&words, text_of(ids[at++]));
        jobs_words_send(&words, shared_of(jobs), SCRIPT_TELL, on_left, jobs);
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
    struct text word = jobs_reply_verdict(fault, reply);
    enum job_outcome outcome = !word.len                           ? JOBS_AWAY
                               : text_equal(word, TEXT("UNKNOWN")) ? JOBS_UNKNOWN
                               : text_equal(word, TEXT("OVER"))    ? JOBS_OVER
                                                                   : JOBS_DONE;
    struct text hook = {"", 0};
    if (outcome == JOBS_DONE || outcome == JOBS_OVER) {
        jobs_reply_facts(redis_item(reply, 1), &ask->facts);
        hook = jobs_reply_item(redis_item(reply, 1), 1 + FIELD_HOOK);
        struct job *job = note(jobs, &ask->facts, NULL);
        if (job->run)
            jobs_stop_run(jobs, job);
    }
    if (text_equal(word, TEXT("DONE"))) {
        atomic_fetch_add(&jobs->ended_as[JOB_CANCELLED], 1);
        jobs_tell(jobs, &ask->facts, hook, NULL, jobs_redis_hook_told);
    }
    memory_free(question);
    jobs_answer(ask, outcome);
}

static void cancel(struct jobs *jobs, struct job_ask *ask)
{
    struct config *config = jobs_config(jobs);
    struct jobs_words words;
    jobs_words_begin(&words, shared_of(jobs));
    jobs_words_put(&words, text_of(ask->facts.id));
    jobs_words_put(&words, text_of(ask->facts.tenant));
    jobs_words_put_number(&words, config->jobs.keep_us * 2 / 1000);
    config_unref(config);
    struct question *question = jobs_question_new(jobs, ask);
    if (jobs_words_send(&words, shared_of(jobs), SCRIPT_CANCEL, on_cancelled, question))
        return;
    memory_free(question);
    jobs_answer(ask, JOBS_AWAY);
}

static void on_looked(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct job_ask *ask = question->ask;
    struct jobs *jobs = question->jobs;
    struct text word = jobs_reply_verdict(fault, reply);
    struct job *job = jobs_find(jobs, text_of(question->id));
    enum job_outcome outcome = !word.len ? JOBS_AWAY : JOBS_UNKNOWN;
    if (text_equal(word, TEXT("OK"))) {
        struct job_facts facts;
        struct text bytes = jobs_reply_item(reply, 2);
        jobs_reply_facts(redis_item(reply, 1), &facts);
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
    struct jobs_words words;
    struct question *question = jobs_question_new(jobs, ask);
    snprintf(question->id, sizeof(question->id), "%s", id);
    jobs_words_begin(&words, shared_of(jobs));
    jobs_words_put(&words, text_of(question->id));
    if (jobs_words_send(&words, shared_of(jobs), SCRIPT_LOOK, on_looked, question))
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
        jobs_reply_facts(redis_item(reply, i), &ask->list[ask->count++]);
    memory_free(question);
    jobs_answer(ask, good ? JOBS_DONE : JOBS_AWAY);
}

static void list(struct jobs *jobs, struct job_ask *ask)
{
    struct jobs_words words;
    jobs_words_begin(&words, shared_of(jobs));
    jobs_words_put(&words, text_of(ask->facts.tenant));
    jobs_words_put_number(&words, ask->state);
    jobs_words_put_number(&words, ask->before_us);
    jobs_words_put_number(&words, (int64_t)(ask->limit < JOB_LIST_MAX ? ask->limit : JOB_LIST_MAX));
    struct question *question = jobs_question_new(jobs, ask);
    if (jobs_words_send(&words, shared_of(jobs), SCRIPT_LIST, on_listed, question))
        return;
    memory_free(question);
    jobs_answer(ask, JOBS_AWAY);
}

/* ------------------------------------------------------------------------------------ time */

static void on_renewed(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct jobs *jobs = with;
    if (fault != REDIS_ANSWERED || !reply || redis_kind(reply) != REDIS_LIST)
        return;
    for (size_t i = 0; i + 1 < redis_count(reply); i += 2) {
        struct job *job = jobs_find(jobs, jobs_reply_item(reply, i));
        /* Lost: its end will be refused; no need to make more of it. */
        if (job && job->run)
            jobs_stop_run(jobs, job);
    }
}

static void renew(struct jobs *jobs, const struct config *config)
{
    struct jobs_words words;
    jobs_words_begin(&words, shared_of(jobs));
    jobs_words_put_number(&words, config->jobs.lease_us);
    size_t before = words.count;
    for (size_t i = 0; i < JOB_SHARDS; i++) {
        struct text name;
        void *value;
        for (size_t at = 0; table_next(&jobs->shards[i].jobs, &at, &name, &value);) {
            const struct job *job = value;
            if (!job->run)
                continue;
            jobs_words_put(&words, text_of(job->facts.id));
            jobs_words_put_number(&words, job->run->facts.starts);
            if (words.count + 2 > JOBS_WORDS_MAX) {
                jobs_words_send(&words, shared_of(jobs), SCRIPT_RENEW, on_renewed, jobs);
                jobs_words_begin(&words, shared_of(jobs));
                jobs_words_put_number(&words, config->jobs.lease_us);
            }
        }
    }
    if (words.count > before)
        jobs_words_send(&words, shared_of(jobs), SCRIPT_RENEW, on_renewed, jobs);
    else
        arena_done(&words.arena);
}

static void on_swept(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct jobs *jobs = with;
    if (fault != REDIS_ANSWERED || !reply || redis_kind(reply) != REDIS_LIST)
        return;
    atomic_store(&jobs->store_queued, (unsigned)jobs_reply_number(reply, 0));
    atomic_store(&jobs->bytes, jobs_reply_number(reply, 1));
    atomic_store(&jobs->eldest_us,
                 jobs_reply_number(reply, 2)); /* of those that are next, one per tenant */
    for (size_t i = 3; i < redis_count(reply); i++) {
        struct job_facts facts;
        const struct redis_reply *list = redis_item(reply, i);
        jobs_reply_facts(list, &facts);
        atomic_fetch_add(&jobs->ended_as[facts.state], 1);
        note(jobs, &facts, NULL);
        jobs_tell(jobs, &facts, jobs_reply_item(list, 1 + FIELD_HOOK), NULL, jobs_redis_hook_told);
    }
}

static void sweep(struct jobs *jobs, const struct config *config)
{
    struct jobs_words words;
    jobs_words_begin(&words, shared_of(jobs));
    jobs_words_put_number(&words, config->jobs.keep_us);
    jobs_words_put_number(&words, CRASHES_MAX);
    jobs_words_send(&words, shared_of(jobs), SCRIPT_SWEEP, on_swept, jobs);
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
    jobs_redis_dispatch(jobs);
}

static void on_news(void *with, struct text text)
{
    struct jobs *jobs = with;
    if (jobs->stopping)
        return;
    bool is_cancel = text_starts(text, TEXT("!"));
    struct text id = text_from(text, is_cancel);
    if (!job_id_is_one(id)) {
        jobs_redis_dispatch(jobs);
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
    redis_send(shared->redis, text_of(name), set, 4, JOBS_COMMAND_US, on_key, jobs);
    redis_send(shared->redis, text_of(name), get, 2, JOBS_COMMAND_US, on_key, jobs);
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
    jobs_redis_dispatch(jobs);
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
    shared->timer.on_time = jobs_redis_on_hold_time;
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
    .dispatch = jobs_redis_dispatch,
    .end = jobs_redis_end,
    .again = jobs_redis_again,
    .is_quiet = is_quiet,
    .tick = tick,
};
