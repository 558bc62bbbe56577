/* SPDX-License-Identifier: Apache-2.0 */
/* The table of jobs in memory, who waits for them, and the door to their thread. */
#include "gateway/jobs.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/json_write.h"
#include "gateway/job_command.h"
#include "gateway/job_files.h"
#include "gateway/jobs_inside.h"

enum { ASK_BLOCK_BYTES = 4096, NANOS_PER_MICRO_DOLLAR = 1000 };

/* -------------------------------------------------------------------------------- words */

static const struct text states[JOB_STATES] = {
    [JOB_QUEUED] = {"IN_QUEUE", 8},     [JOB_RUNNING] = {"IN_PROGRESS", 11},
    [JOB_COMPLETED] = {"COMPLETED", 9}, [JOB_FAILED] = {"FAILED", 6},
    [JOB_CANCELLED] = {"CANCELLED", 9}, [JOB_EXPIRED] = {"EXPIRED", 7},
};

static const struct text kinds[JOB_KINDS] = {
    [JOB_CALL] = {"call", 4},
    [JOB_TEXT] = {"text", 4},
    [JOB_IMAGE] = {"image", 5},
    [JOB_SPEECH] = {"speech", 6},
    [JOB_TRANSCRIPT] = {"transcription", 13},
    [JOB_COMMAND] = {"command", 7},
};

struct text job_state_name(enum job_state state)
{
    return states[state];
}

struct text job_kind_name(enum job_kind kind)
{
    return kinds[kind];
}

bool job_state_find(struct text name, enum job_state *state)
{
    for (size_t i = 0; i < JOB_STATES; i++)
        if (text_equal_nocase(name, states[i])) {
            *state = (enum job_state)i;
            return true;
        }
    return false;
}

bool job_has_ended(enum job_state state)
{
    return state > JOB_RUNNING;
}

/* ------------------------------------------------------------------------------- results */

struct job_result *job_result_new(struct text bytes, struct text type)
{
    struct job_result *result = memory_new(sizeof(*result) + bytes.len + 1);
    atomic_init(&result->references, 1);
    result->length = bytes.len;
    snprintf(result->type, sizeof(result->type), "%.*s",
             TEXT_ARGS(text_head(type, sizeof(result->type) - 1)));
    memcpy(result->bytes, bytes.at, bytes.len);
    return result;
}

struct job_result *job_result_ref(struct job_result *result)
{
    if (result)
        atomic_fetch_add_explicit(&result->references, 1, memory_order_relaxed);
    return result;
}

void job_result_unref(struct job_result *result)
{
    if (result && atomic_fetch_sub_explicit(&result->references, 1, memory_order_acq_rel) == 1)
        memory_free(result);
}

/* ----------------------------------------------------------------------------------- ids */

static void write_uuid(const uint8_t from[16], unsigned version, char id[JOB_ID_BYTES])
{
    uint8_t b[16];
    memcpy(b, from, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | version << 4);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(id, JOB_ID_BYTES,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

void job_id_new(char id[JOB_ID_BYTES])
{
    uint8_t bytes[16];
    hash_random(bytes, sizeof(bytes));
    write_uuid(bytes, 4, id);
}

void job_id_of(struct text tenant, struct text name, char id[JOB_ID_BYTES])
{
    char *both = memory_format("job\n%.*s\n%.*s", TEXT_ARGS(tenant), TEXT_ARGS(name));
    struct digest digest = hash_sha256(text_of(both));
    memory_free(both);
    write_uuid(digest.bytes, 8, id); /* RFC 9562 5.8: of one's own making */
}

bool job_id_is_one(struct text id)
{
    if (id.len != JOB_ID_BYTES - 1)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (id.at[i] >= '0' && id.at[i] <= '9') || (id.at[i] >= 'a' && id.at[i] <= 'f');
        if (dash ? id.at[i] != '-' : !hex)
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------ the table */

static struct job_shard *shard_of(struct jobs *jobs, struct text id)
{
    return &jobs->shards[hash_name(id) % JOB_SHARDS];
}

struct job *jobs_find(struct jobs *jobs, struct text id)
{
    return table_find(&shard_of(jobs, id)->jobs, id); /* only this thread changes the table */
}

static void count_state(struct jobs *jobs, const struct job_facts *facts, int by)
{
    if (facts->state == JOB_QUEUED)
        atomic_fetch_add(&jobs->queued, (unsigned)by);
    else if (facts->state == JOB_RUNNING)
        atomic_fetch_add(&jobs->running, (unsigned)by);
    else
        atomic_fetch_add(&jobs->remembered, (unsigned)by);
}

static void remember_end(struct jobs *jobs, struct job *job)
{
    list_push_back(&jobs->ended, &job->ended);
    if (++jobs->ended_count > JOBS_REMEMBERED)
        jobs_forget(jobs, LIST_MEMBER(jobs->ended.next, struct job, ended));
}

struct job *jobs_add(struct jobs *jobs, const struct job_facts *facts)
{
    struct job *job = memory_new(sizeof(*job));
    job->facts = *facts;
    list_init(&job->waiting);
    list_init(&job->ended);
    list_init(&job->owed);
    count_state(jobs, facts, 1);
    struct job_shard *shard = shard_of(jobs, text_of(job->facts.id));
    pthread_mutex_lock(&shard->lock);
    table_set(&shard->jobs, text_of(job->facts.id), job);
    pthread_mutex_unlock(&shard->lock);
    if (job_has_ended(facts->state))
        remember_end(jobs, job);
    return job;
}

void jobs_change(struct jobs *jobs, struct job *job, const struct job_facts *facts)
{
    struct job_shard *shard = shard_of(jobs, text_of(job->facts.id));
    count_state(jobs, &job->facts, -1);
    count_state(jobs, facts, 1);
    pthread_mutex_lock(&shard->lock);
    job->facts = *facts;
    pthread_mutex_unlock(&shard->lock);
}

/* Results in memory are bounded: the oldest ones go. */
static void shed_results(struct jobs *jobs)
{
    for (struct link *at = jobs->ended.next;
         at != &jobs->ended && jobs->kept_bytes > RESULTS_KEPT_BYTES; at = at->next) {
        struct job *job = LIST_MEMBER(at, struct job, ended);
        struct job_shard *shard = shard_of(jobs, text_of(job->facts.id));
        pthread_mutex_lock(&shard->lock);
        struct job_result *result = job->result;
        job->result = NULL;
        pthread_mutex_unlock(&shard->lock);
        jobs->kept_bytes -= result ? result->length : 0;
        job_result_unref(result);
    }
}

void jobs_end(struct jobs *jobs, struct job *job, const struct job_facts *facts,
              struct job_result *result)
{
    struct job_shard *shard = shard_of(jobs, text_of(job->facts.id));
    bool keeps = result && result->length <= RESULT_KEPT_BYTES && !job->result;
    bool had_ended = job_has_ended(job->facts.state);
    count_state(jobs, &job->facts, -1);
    count_state(jobs, facts, 1);
    pthread_mutex_lock(&shard->lock);
    job->facts = *facts;
    job->has_result = job->has_result || result;
    if (keeps)
        job->result = job_result_ref(result);
    while (job_has_ended(facts->state) && !list_is_empty(&job->waiting)) {
        struct job_wake *wake = LIST_MEMBER(job->waiting.next, struct job_wake, link);
        list_remove(&wake->link);
        loop_post(wake->loop, &wake->errand);
    }
    pthread_mutex_unlock(&shard->lock);
    jobs->kept_bytes += keeps ? result->length : 0;
    job_result_unref(result);
    if (job_has_ended(facts->state) && !had_ended)
        remember_end(jobs, job);
    shed_results(jobs);
}

void jobs_forget(struct jobs *jobs, struct job *job)
{
    struct job_shard *shard = shard_of(jobs, text_of(job->facts.id));
    assert(!job->run && !job->turn.line);
    count_state(jobs, &job->facts, -1);
    pthread_mutex_lock(&shard->lock);
    table_remove(&shard->jobs, text_of(job->facts.id));
    while (!list_is_empty(&job->waiting)) { /* it looks again, and finds nothing */
        struct job_wake *wake = LIST_MEMBER(job->waiting.next, struct job_wake, link);
        list_remove(&wake->link);
        loop_post(wake->loop, &wake->errand);
    }
    pthread_mutex_unlock(&shard->lock);
    if (job->ended.next != &job->ended)
        jobs->ended_count--;
    list_remove(&job->ended);
    jobs->kept_bytes -= job->result ? job->result->length : 0;
    list_remove(&job->owed);
    job_result_unref(job->owed_result);
    job_result_unref(job->result);
    memory_free(job);
}

bool jobs_look(struct jobs *jobs, struct text id, struct text tenant, struct job_facts *facts,
               struct job_result **result)
{
    struct job_shard *shard = shard_of(jobs, id);
    bool known = false;
    *result = NULL;
    if (atomic_load(&jobs->is_handed_over))
        return false;
    pthread_mutex_lock(&shard->lock);
    const struct job *job = table_find(&shard->jobs, id);
    if (job && (!tenant.len || text_equal(text_of(job->facts.tenant), tenant))) {
        bool is_old = job->is_foreign && !job_has_ended(job->facts.state) &&
                      clock_now_us() - job->seen_us > JOB_FRESH_US;
        known = (!job->has_result || job->result) && !is_old;
        *facts = job->facts;
        *result = known ? job_result_ref(job->result) : NULL;
    }
    pthread_mutex_unlock(&shard->lock);
    return known;
}

/* ------------------------------------------------------------------------- who waits */

static void on_wake(struct errand *errand)
{
    struct job_wake *wake = LIST_MEMBER(errand, struct job_wake, errand);
    struct job_wait *wait = wake->wait;
    memory_free(wake);
    if (!wait)
        return;
    wait->wake = NULL;
    wait->woken(wait);
}

bool jobs_wait(struct jobs *jobs, struct text id, struct job_wait *wait)
{
    struct job_shard *shard = shard_of(jobs, id);
    struct job_wake *wake = memory_new(sizeof(*wake));
    *wake = (struct job_wake){
        .errand = {NULL, on_wake}, .wait = wait, .loop = wait->loop, .shard = shard};
    list_init(&wake->link);
    pthread_mutex_lock(&shard->lock);
    struct job *job = table_find(&shard->jobs, id);
    bool waits = job && !job_has_ended(job->facts.state);
    if (waits)
        list_push_back(&job->waiting, &wake->link);
    pthread_mutex_unlock(&shard->lock);
    wait->wake = waits ? wake : NULL;
    if (!waits)
        memory_free(wake);
    return waits;
}

void jobs_wait_leave(struct job_wait *wait)
{
    struct job_wake *wake = wait->wake;
    wait->wake = NULL;
    if (!wake)
        return;
    pthread_mutex_lock(&wake->shard->lock);
    bool was_listed = wake->link.next != &wake->link;
    list_remove(&wake->link);
    pthread_mutex_unlock(&wake->shard->lock);
    if (was_listed)
        memory_free(wake);
    else
        wake->wait = NULL; /* it is on its way */
}

/* ------------------------------------------------------------------------- asking */

struct job_ask *job_ask_new(struct jobs *jobs, enum job_question question, struct loop *loop)
{
    struct job_ask *ask = memory_new(sizeof(*ask));
    ask->jobs = jobs;
    ask->question = question;
    ask->loop = loop;
    ask->state = -1;
    arena_init(&ask->arena, ASK_BLOCK_BYTES);
    return ask;
}

void job_ask_free(struct job_ask *ask)
{
    job_result_unref(ask->result);
    arena_done(&ask->arena);
    memory_free(ask);
}

static void on_ask(struct errand *errand)
{
    struct job_ask *ask = LIST_MEMBER(errand, struct job_ask, errand);
    const struct job_store *store = ask->jobs->store;
    void (*const asked[])(struct jobs *, struct job_ask *) = {
        [JOBS_SUBMIT] = store->submit,
        [JOBS_CANCEL] = store->cancel,
        [JOBS_LOOK] = store->look,
        [JOBS_LIST] = store->list,
    };
    if (atomic_load(&ask->jobs->is_handed_over))
        jobs_answer(ask, JOBS_AWAY);
    else
        asked[ask->question](ask->jobs, ask);
}

void jobs_ask(struct jobs *jobs, struct job_ask *ask)
{
    ask->errand.run = on_ask;
    loop_post(jobs->loop, &ask->errand);
}

static void on_answer(struct errand *errand)
{
    struct job_ask *ask = LIST_MEMBER(errand, struct job_ask, errand);
    ask->done(ask);
}

void jobs_answer(struct job_ask *ask, enum job_outcome outcome)
{
    ask->outcome = outcome;
    if (!ask->loop) {
        ask->done(ask);
        return;
    }
    ask->errand.run = on_answer;
    loop_post(ask->loop, &ask->errand);
}

/* ------------------------------------------------------------------------- for others */

struct config *jobs_config(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->config_lock);
    struct config *config = config_ref(jobs->config);
    pthread_mutex_unlock(&jobs->config_lock);
    return config;
}

void jobs_set_config(struct jobs *jobs, struct config *config)
{
    pthread_mutex_lock(&jobs->config_lock);
    struct config *before = jobs->config;
    jobs->config = config_ref(config);
    pthread_mutex_unlock(&jobs->config_lock);
    config_unref(before);
}

struct digest jobs_hook_secret(const struct config *config, struct text tenant)
{
    char *words = memory_format("webhook\n%.*s", TEXT_ARGS(tenant));
    struct digest digest = hash_hmac_sha256(config->jobs.hook.secret, text_of(words));
    memory_free(words);
    return digest;
}

struct digest jobs_link_key(struct jobs *jobs)
{
    return jobs->link_key;
}

struct job_files *jobs_files(struct jobs *jobs)
{
    return jobs->files;
}

bool jobs_logs(struct jobs *jobs, struct text id, struct text tenant, size_t count,
               struct buffer *out)
{
    struct job_facts facts = {.kind = JOB_CALL};
    struct job_result *result;
    if (job_commands_logs(jobs->commands, id, tenant, count, out))
        return true;
    bool known = jobs_look(jobs, id, tenant, &facts, &result) && facts.kind == JOB_COMMAND;
    job_result_unref(result);
    return known && buffer_append_text(out, TEXT("[]")); /* it has not run yet, or long ago */
}

struct jobs_figures jobs_figures(struct jobs *jobs)
{
    bool shares = jobs->store == &job_store_redis;
    return (struct jobs_figures){.queued =
                                     atomic_load(shares ? &jobs->store_queued : &jobs->queued),
                                 .running = atomic_load(&jobs->running),
                                 .remembered = atomic_load(&jobs->remembered),
                                 .submitted = atomic_load(&jobs->submitted),
                                 .completed = atomic_load(&jobs->ended_as[JOB_COMPLETED]),
                                 .failed = atomic_load(&jobs->ended_as[JOB_FAILED]),
                                 .cancelled = atomic_load(&jobs->ended_as[JOB_CANCELLED]),
                                 .expired = atomic_load(&jobs->ended_as[JOB_EXPIRED]),
                                 .tries = atomic_load(&jobs->tries),
                                 .again = atomic_load(&jobs->again),
                                 .hooks_told = atomic_load(&jobs->hooks_told),
                                 .hooks_failed = atomic_load(&jobs->hooks_failed),
                                 .hooks_pending = atomic_load(&jobs->hooks_pending),
                                 .eldest_us = atomic_load(&jobs->eldest_us),
                                 .bytes = atomic_load(&jobs->bytes),
                                 .is_up = atomic_load(&jobs->is_up)};
}

static void put_error(struct json_write *json, const struct job_facts *facts)
{
    json_name(json, "error");
    json_open(json, '{');
    json_text_member(json, "message", text_of(facts->error));
    json_text_member(json, "type", text_of(facts->error_type));
    json_int_member(json, "code", facts->status);
    json_close(json, '}');
}

void job_write(struct json_write *json, const struct job_facts *facts,
               const struct job_result *result)
{
    json_text_member(json, "id", text_of(facts->id));
    json_text_member(json, "object", TEXT("job"));
    json_text_member(json, "status", states[facts->state]);
    json_text_member(json, "kind", kinds[facts->kind]);
    json_text_member(json, "model", text_of(facts->model));
    json_time_member(json, "created_at", facts->created_us);
    if (facts->started_us)
        json_time_member(json, "started_at", facts->started_us);
    if (facts->ended_us)
        json_time_member(json, "ended_at", facts->ended_us);
    json_time_member(json, "expires_at", facts->expires_us);
    if (facts->state == JOB_QUEUED && facts->due_us)
        json_time_member(json, "due_at", facts->due_us);
    json_int_member(json, "attempts", facts->attempts);
    if (facts->status)
        json_int_member(json, "http_status", facts->status);
    if (facts->request_id[0])
        json_text_member(json, "request_id", text_of(facts->request_id));
    json_int_member(json, "cost_nanos", facts->cost_nanos);
    if (facts->cancel && !job_has_ended(facts->state))
        json_bool_member(json, "cancelling", true);
    if (facts->error[0])
        put_error(json, facts);
    if (result) {
        json_name(json, "result");
        json_raw(json, (struct text){result->bytes, result->length});
    }
}
