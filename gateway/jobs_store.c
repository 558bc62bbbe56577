/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs in SQLite: one process has them, so the queue stands in memory and the file is what
 * survives. All of it on the jobs' thread. */
#include "gateway/jobs_store.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/log.h"
#include "gateway/jobs_inside.h"

enum {
    CRASHES_MAX = 3, /* so often a job may be running when the process dies */
    SWEPT = 100,     /* of old ones at once, as the statement has it; */
    SWEEPS = 20,     /* so often a second */
};

enum {
    PUT,
    START,
    AGAIN,
    END,
    SPEC,
    RESULT,
    ONE,
    LIST,
    SWEEP,
    FORGET,
    LOAD,
    TOLD,
    LEFT,
    STATEMENTS
};

#define FACTS                                                                                      \
    "id, tenant, key, model, kind, state, created, due, started, ended, expires, cost, attempts, " \
    "starts, status, request_id, error, error_type, digest, hook <> ''"

static const char *const sql[STATEMENTS] = {
    [PUT] =
        "INSERT INTO jobs (id, tenant, key, model, kind, state, created, expires, digest, path, "
        "type, payload, hook, base) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)",
    [START] = "UPDATE jobs SET state = 1, starts = ?, started = ? WHERE id = ?",
    [AGAIN] = "UPDATE jobs SET state = 0, due = ?, attempts = ?, error = ? WHERE id = ?",
    [END] =
        "UPDATE jobs SET state = ?, ended = ?, cost = ?, attempts = ?, status = ?, request_id = "
        "?, error = ?, error_type = ?, result = ?, result_type = ?, payload = x'', hook_left = "
        "hook <> '' WHERE id = ? "
        "AND state < 2",
    [SPEC] = "SELECT path, type, payload, hook, base FROM jobs WHERE id = ?",
    [RESULT] = "SELECT result, result_type FROM jobs WHERE id = ? AND result IS NOT NULL",
    [ONE] = "SELECT " FACTS " FROM jobs WHERE id = ?",
    [LIST] = "SELECT " FACTS " FROM jobs WHERE (?1 = '' OR tenant = ?1) AND (?2 < 0 OR state = ?2) "
             "AND (?3 = 0 OR created < ?3) ORDER BY created DESC LIMIT ?4",
    [SWEEP] =
        "SELECT id, length(coalesce(result, '')) FROM jobs WHERE state > 1 AND ended < ? LIMIT "
        "100",
    [FORGET] = "DELETE FROM jobs WHERE id = ?",
    [LOAD] = "SELECT " FACTS ", length(payload) + length(coalesce(result, '')), result IS NOT NULL "
             "FROM jobs ORDER BY created",
    [TOLD] = "UPDATE jobs SET hook_left = 0 WHERE id = ?",
    [LEFT] = "SELECT " FACTS ", hook FROM jobs WHERE hook_left ORDER BY ended LIMIT 1000",
};

static const char *const schema[] = {
    "CREATE TABLE jobs (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, key TEXT NOT NULL, model TEXT "
    "NOT "
    "NULL, kind INTEGER NOT NULL, state INTEGER NOT NULL, created INTEGER NOT NULL, due INTEGER "
    "NOT "
    "NULL DEFAULT 0, started INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0, expires "
    "INTEGER NOT NULL, cost INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, "
    "starts "
    "INTEGER NOT NULL DEFAULT 0, status INTEGER NOT NULL DEFAULT 0, request_id TEXT NOT NULL "
    "DEFAULT "
    "'', error TEXT NOT NULL DEFAULT '', error_type TEXT NOT NULL DEFAULT '', digest TEXT NOT "
    "NULL, "
    "path TEXT NOT NULL, type TEXT NOT NULL, payload BLOB NOT NULL, hook TEXT NOT NULL, base TEXT "
    "NOT "
    "NULL, result BLOB, result_type TEXT, hook_left INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX jobs_hook ON jobs (ended) WHERE hook_left;"
    "CREATE INDEX jobs_tenant ON jobs (tenant, created);"
    "CREATE INDEX jobs_created ON jobs (created);"
    "CREATE INDEX jobs_ended ON jobs (ended) WHERE state > 1;"};

struct embedded {
    struct database *database;
    struct statement *statements[STATEMENTS];
    struct link owed; /* jobs whose end is still to be written down, the first one first */
    bool told_left;
};

static struct embedded *embedded_of(struct jobs *jobs)
{
    return jobs->state;
}

static struct statement *statement_of(struct jobs *jobs, int which)
{
    return embedded_of(jobs)->statements[which];
}

/* Said once, when it begins and when it ends: a full disk stays full for a while. */
static bool ran(struct jobs *jobs, bool good)
{
    bool was_up = atomic_exchange(&jobs->is_up, good);
    if (!good && was_up)
        log_line(LOG_ERROR, "jobs", "the store: %s", database_problem(embedded_of(jobs)->database));
    else if (good && !was_up)
        log_line(LOG_INFO, "jobs", "the store can be written again");
    return good;
}

/* --------------------------------------------------------------------------------- rows */

static void copy(char *out, size_t bytes, struct text from)
{
    snprintf(out, bytes, "%.*s", TEXT_ARGS(text_head(from, bytes - 1)));
}

static void read_facts(struct statement *row, struct job_facts *facts)
{
    *facts = (struct job_facts){
        .kind = (enum job_kind)(statement_number(row, 4) % JOB_KINDS),
        .state = (enum job_state)(statement_number(row, 5) % JOB_STATES),
        .created_us = statement_number(row, 6),
        .due_us = statement_number(row, 7),
        .started_us = statement_number(row, 8),
        .ended_us = statement_number(row, 9),
        .expires_us = statement_number(row, 10),
        .cost_nanos = statement_number(row, 11),
        .attempts = (unsigned)statement_number(row, 12),
        .starts = (unsigned)statement_number(row, 13),
        .status = (unsigned)statement_number(row, 14),
        .hook = statement_number(row, 19) != 0,
    };
    copy(facts->id, sizeof(facts->id), statement_text(row, 0));
    copy(facts->tenant, sizeof(facts->tenant), statement_text(row, 1));
    copy(facts->key, sizeof(facts->key), statement_text(row, 2));
    copy(facts->model, sizeof(facts->model), statement_text(row, 3));
    copy(facts->request_id, sizeof(facts->request_id), statement_text(row, 15));
    copy(facts->error, sizeof(facts->error), statement_text(row, 16));
    copy(facts->error_type, sizeof(facts->error_type), statement_text(row, 17));
    copy(facts->digest, sizeof(facts->digest), statement_text(row, 18));
}

static bool read_spec(struct jobs *jobs, const char *id, struct arena *arena, struct job_spec *spec)
{
    struct statement *row = statement_of(jobs, SPEC);
    statement_set_text(row, 1, text_of(id));
    bool found = statement_next(row) == STATEMENT_ROW;
    struct text *const to[] = {&spec->path, &spec->content_type, &spec->payload, &spec->hook,
                               &spec->base};
    for (int i = 0; found && i < 5; i++)
        *to[i] = arena_copy(arena, statement_text(row, i));
    statement_reset(row);
    return found;
}

static struct job_result *read_result(struct jobs *jobs, const char *id)
{
    struct statement *row = statement_of(jobs, RESULT);
    struct job_result *result = NULL;
    statement_set_text(row, 1, text_of(id));
    if (statement_next(row) == STATEMENT_ROW)
        result = job_result_new(statement_text(row, 0), statement_text(row, 1));
    statement_reset(row);
    return result;
}

/* ------------------------------------------------------------------------------- the queue */

static struct turns *turns_of(struct jobs *jobs, const struct job_facts *facts)
{
    return &jobs->turns[facts->kind == JOB_COMMAND];
}

static void count_bytes(struct jobs *jobs, struct job *job, int64_t bytes)
{
    atomic_fetch_add(&jobs->bytes, bytes - job->bytes);
    job->bytes = bytes;
}

static void on_told(struct jobs *jobs, const char *id)
{
    statement_set_text(statement_of(jobs, TOLD), 1, text_of(id));
    ran(jobs, statement_run(statement_of(jobs, TOLD)));
}

/* Those that had not been told when the process ended. */
static void tell_left(struct jobs *jobs)
{
    struct statement *row = statement_of(jobs, LEFT);
    struct job_facts facts;
    while (statement_next(row) == STATEMENT_ROW) {
        read_facts(row, &facts);
        struct job_result *result = read_result(jobs, facts.id);
        jobs_tell(jobs, &facts, statement_text(row, 20), result, on_told);
        job_result_unref(result);
    }
    statement_reset(row);
}

static bool write_end(struct jobs *jobs, const struct job_facts *facts,
                      const struct job_result *result)
{
    struct statement *row = statement_of(jobs, END);
    statement_set(row, 1, facts->state);
    statement_set(row, 2, facts->ended_us);
    statement_set(row, 3, facts->cost_nanos);
    statement_set(row, 4, facts->attempts);
    statement_set(row, 5, facts->status);
    statement_set_text(row, 6, text_of(facts->request_id));
    statement_set_text(row, 7, text_of(facts->error));
    statement_set_text(row, 8, text_of(facts->error_type));
    if (result) {
        statement_set_blob(row, 9, (struct text){result->bytes, result->length});
        statement_set_text(row, 10, text_of(result->type));
    }
    statement_set_text(row, 11, text_of(facts->id));
    return ran(jobs, statement_run(row));
}

/* The disk is full: it is written down when there is room again. Those that owe a result are no
 * more than may run at once, since none is begun meanwhile. */
static void owe(struct jobs *jobs, struct job *job, struct job_result *result)
{
    job->owed_result = job_result_ref(result);
    list_push_back(&embedded_of(jobs)->owed, &job->owed);
}

static void pay(struct jobs *jobs)
{
    struct link *owed = &embedded_of(jobs)->owed;
    while (!list_is_empty(owed)) {
        struct job *job = LIST_MEMBER(owed->next, struct job, owed);
        if (!write_end(jobs, &job->facts, job->owed_result))
            return;
        list_remove(&job->owed);
        job_result_unref(job->owed_result);
        job->owed_result = NULL;
    }
}

/* Is there room again? Whoever asks for the figures wants to know, also when nobody writes. */
static void try_again(struct jobs *jobs)
{
    pay(jobs);
    if (!atomic_load(&jobs->is_up) && list_is_empty(&embedded_of(jobs)->owed))
        ran(jobs, database_run_format(embedded_of(jobs)->database, "PRAGMA user_version = %d",
                                      JOBS_SCHEMA));
}

/* The job has ended as <facts> say: written down, told, forgotten by the queue. Takes <result>. */
static void end_job(struct jobs *jobs, struct job *job, const struct job_facts *facts,
                    struct job_result *result)
{
    struct arena arena;
    struct job_spec spec = {0};
    arena_init(&arena, 4096);
    if (facts->hook)
        read_spec(jobs, facts->id, &arena, &spec);
    if (!write_end(jobs, facts, result))
        owe(jobs, job, result);
    turns_end(turns_of(jobs, facts), &job->turn);
    count_bytes(jobs, job, result ? (int64_t)result->length : 0);
    atomic_fetch_add(&jobs->ended_as[facts->state], 1);
    jobs_tell(jobs, facts, spec.hook, result, on_told);
    arena_done(&arena);
    jobs_end(jobs, job, facts, result);
}

static enum job_outcome may_wait(struct jobs *jobs, const struct job_ask *ask)
{
    struct config *config = jobs_config(jobs);
    const struct turns *turns = turns_of(jobs, &ask->facts);
    enum job_outcome outcome = JOBS_DONE;
    if (jobs->turns[0].waiting + jobs->turns[1].waiting >= config->jobs.queue_max ||
        atomic_load(&jobs->bytes) + (int64_t)ask->spec.payload.len > (int64_t)config->jobs.disk_max)
        outcome = JOBS_FULL;
    else if (turns_waiting_of(turns, text_of(ask->facts.tenant)) >=
             config->jobs.queue_max_per_tenant)
        outcome = JOBS_MANY;
    config_unref(config);
    return outcome;
}

static bool write_new(struct jobs *jobs, const struct job_facts *facts, const struct job_spec *spec)
{
    struct statement *row = statement_of(jobs, PUT);
    statement_set_text(row, 1, text_of(facts->id));
    statement_set_text(row, 2, text_of(facts->tenant));
    statement_set_text(row, 3, text_of(facts->key));
    statement_set_text(row, 4, text_of(facts->model));
    statement_set(row, 5, facts->kind);
    statement_set(row, 6, facts->created_us);
    statement_set(row, 7, facts->expires_us);
    statement_set_text(row, 8, text_of(facts->digest));
    statement_set_text(row, 9, spec->path);
    statement_set_text(row, 10, spec->content_type);
    statement_set_blob(row, 11, spec->payload);
    statement_set_text(row, 12, spec->hook);
    statement_set_text(row, 13, spec->base);
    return ran(jobs, statement_run(row));
}

/* The same id came before: is it the same job? */
static enum job_outcome same_again(const struct job_facts *there, struct job_ask *ask)
{
    bool same = strcmp(there->tenant, ask->facts.tenant) == 0 &&
                strcmp(there->digest, ask->facts.digest) == 0;
    if (same)
        ask->facts = *there;
    return same ? JOBS_THERE : JOBS_CONFLICT;
}

static bool find_facts(struct jobs *jobs, const char *id, struct job_facts *facts)
{
    const struct job *job = jobs_find(jobs, text_of(id));
    if (job) {
        *facts = job->facts;
        return true;
    }
    struct statement *row = statement_of(jobs, ONE);
    statement_set_text(row, 1, text_of(id));
    bool found = statement_next(row) == STATEMENT_ROW;
    if (found)
        read_facts(row, facts);
    statement_reset(row);
    return found;
}

static void submit(struct jobs *jobs, struct job_ask *ask)
{
    struct job_facts there;
    if (find_facts(jobs, ask->facts.id, &there)) {
        jobs_answer(ask, same_again(&there, ask));
        return;
    }
    enum job_outcome outcome = may_wait(jobs, ask);
    if (outcome == JOBS_DONE && !write_new(jobs, &ask->facts, &ask->spec))
        outcome = database_is_full(embedded_of(jobs)->database) ? JOBS_NO_ROOM : JOBS_AWAY;
    if (outcome == JOBS_DONE) {
        struct job *job = jobs_add(jobs, &ask->facts);
        count_bytes(jobs, job, (int64_t)ask->spec.payload.len);
        turns_add(turns_of(jobs, &ask->facts), text_of(ask->facts.tenant), &job->turn, 0);
        atomic_fetch_add(&jobs->submitted, 1);
    }
    jobs_answer(ask, outcome);
    job_store_embedded.dispatch(jobs);
}

static void fail_waiting(struct jobs *jobs, struct job *job, enum job_state state, const char *why,
                         const char *type)
{
    struct job_facts facts = job->facts;
    facts.state = state;
    facts.ended_us = clock_wall_us();
    copy(facts.error, sizeof(facts.error), text_of(why));
    copy(facts.error_type, sizeof(facts.error_type), text_of(type));
    end_job(jobs, job, &facts, NULL);
}

static bool is_mine(const struct job_facts *facts, const struct job_ask *ask)
{
    return !ask->facts.tenant[0] || strcmp(facts->tenant, ask->facts.tenant) == 0;
}

static void cancel(struct jobs *jobs, struct job_ask *ask)
{
    struct job_facts there;
    if (!find_facts(jobs, ask->facts.id, &there) || !is_mine(&there, ask)) {
        jobs_answer(ask, JOBS_UNKNOWN);
        return;
    }
    struct job *job = jobs_find(jobs, text_of(ask->facts.id));
    if (!job || job_has_ended(there.state)) {
        ask->facts = there;
        jobs_answer(ask, JOBS_OVER);
        return;
    }
    if (job->run) {
        there.cancel = true;
        jobs_change(jobs, job, &there);
        jobs_stop_run(jobs, job);
    } else {
        fail_waiting(jobs, job, JOB_CANCELLED, "It was cancelled before it ran.", "cancelled");
    }
    ask->facts = job->facts;
    jobs_answer(ask, JOBS_DONE);
}

static void look(struct jobs *jobs, struct job_ask *ask)
{
    struct job_facts there;
    bool found = find_facts(jobs, ask->facts.id, &there) && is_mine(&there, ask);
    if (found) {
        ask->facts = there;
        const struct job *job = jobs_find(jobs, text_of(there.id));
        struct job_result *here = job && job->result ? job->result : job ? job->owed_result : NULL;
        ask->result = here ? job_result_ref(here) : read_result(jobs, there.id);
    }
    jobs_answer(ask, found ? JOBS_DONE : JOBS_UNKNOWN);
}

static void list(struct jobs *jobs, struct job_ask *ask)
{
    struct statement *row = statement_of(jobs, LIST);
    size_t most = ask->limit < JOB_LIST_MAX ? ask->limit : JOB_LIST_MAX;
    ask->list = arena_new(&ask->arena, (most + 1) * sizeof(*ask->list));
    statement_set_text(row, 1, text_of(ask->facts.tenant));
    statement_set(row, 2, ask->state);
    statement_set(row, 3, ask->before_us);
    statement_set(row, 4, (int64_t)most);
    while (ask->count < most && statement_next(row) == STATEMENT_ROW)
        read_facts(row, &ask->list[ask->count++]);
    statement_reset(row);
    jobs_answer(ask, JOBS_DONE);
}

/* ---------------------------------------------------------------------------------- running */

static bool start(struct jobs *jobs, struct job *job)
{
    struct job_facts facts = job->facts;
    struct job_run *run = job_run_new(jobs);
    if (!read_spec(jobs, facts.id, &run->arena, &run->spec)) {
        job_run_unref(run);
        fail_waiting(jobs, job, JOB_FAILED, "Its payload cannot be read back.", "internal_error");
        return false;
    }
    facts.state = JOB_RUNNING;
    facts.starts++;
    facts.started_us = clock_wall_us();
    struct statement *row = statement_of(jobs, START);
    statement_set(row, 1, facts.starts);
    statement_set(row, 2, facts.started_us);
    statement_set_text(row, 3, text_of(facts.id));
    if (!ran(jobs, statement_run(row))) { /* what it would be answered could not be kept either */
        job_run_unref(run);
        turns_again(turns_of(jobs, &facts), &job->turn, 0);
        return false;
    }
    jobs_change(jobs, job, &facts);
    run->job = job;
    run->facts = facts;
    job->run = run;
    jobs_start(jobs, run);
    return true;
}

static void dispatch(struct jobs *jobs)
{
    struct config *config = jobs_config(jobs);
    int64_t now = clock_wall_us();
    for (int commands = 0; commands < 2; commands++) {
        while (jobs_may_run(jobs, config, commands)) {
            int64_t due = 0;
            struct turn *turn =
                turns_next(&jobs->turns[commands], now, config->jobs.per_tenant, &due);
            if (!turn) {
                if (due)
                    jobs_look_again(jobs, due);
                break;
            }
            if (!start(jobs, LIST_MEMBER(turn, struct job, turn)) && !atomic_load(&jobs->is_up))
                break; /* the tick looks again */
        }
    }
    config_unref(config);
}

static void end(struct jobs *jobs, struct job_run *run, struct job_result *result)
{
    struct job *job = run->job;
    job->run = NULL;
    end_job(jobs, job, &run->facts, result);
    jobs_run_told(jobs, run);
}

static void again(struct jobs *jobs, struct job_run *run, bool rests)
{
    struct job *job = run->job;
    struct job_facts *facts = &run->facts;
    facts->state = JOB_QUEUED;
    struct statement *row = statement_of(jobs, AGAIN);
    statement_set(row, 1, facts->due_us);
    statement_set(row, 2, facts->attempts);
    statement_set_text(row, 3, text_of(facts->error));
    statement_set_text(row, 4, text_of(facts->id));
    ran(jobs, statement_run(row));
    job->run = NULL;
    if (rests)
        turns_rest(&job->turn, facts->due_us);
    turns_again(turns_of(jobs, facts), &job->turn, facts->due_us);
    atomic_fetch_add(&jobs->again, 1);
    jobs_change(jobs, job, facts);
    jobs_run_told(jobs, run);
}

/* ------------------------------------------------------------------------------------ time */

static void expire(struct jobs *jobs, int64_t now)
{
    size_t at[JOB_SHARDS] = {0};
    struct job *late[64];
    size_t count = 0;
    for (size_t i = 0; i < JOB_SHARDS; i++) {
        struct text name;
        void *value;
        while (count < 64 && table_next(&jobs->shards[i].jobs, &at[i], &name, &value)) {
            struct job *job = value;
            if (job->facts.state == JOB_QUEUED && job->facts.expires_us <= now)
                late[count++] = job;
        }
    }
    for (size_t i = 0; i < count; i++)
        fail_waiting(jobs, late[i], JOB_EXPIRED, "It had waited too long.", "expired");
}

static void count_waiting(struct jobs *jobs, int64_t now)
{
    struct job_census *census = job_census_new();
    for (size_t i = 0; i < JOB_SHARDS; i++) {
        struct text name;
        void *value;
        for (size_t at = 0; table_next(&jobs->shards[i].jobs, &at, &name, &value);)
            job_census_add(census, &((const struct job *)value)->facts, now);
    }
    jobs_set_census(jobs, census);
}

/* How many of those that are old have gone; at most SWEPT. */
static size_t forget_some(struct jobs *jobs, int64_t before_us)
{
    struct statement *row = statement_of(jobs, SWEEP);
    char ids[SWEPT][JOB_ID_BYTES];
    int64_t bytes[SWEPT];
    size_t count = 0;
    statement_set(row, 1, before_us);
    while (count < SWEPT && statement_next(row) == STATEMENT_ROW) {
        copy(ids[count], JOB_ID_BYTES, statement_text(row, 0));
        bytes[count++] = statement_number(row, 1);
    }
    statement_reset(row);
    for (size_t i = 0; i < count; i++) {
        struct job *job = jobs_find(jobs, text_of(ids[i]));
        statement_set_text(statement_of(jobs, FORGET), 1, text_of(ids[i]));
        if (!ran(jobs, statement_run(statement_of(jobs, FORGET))))
            return 0;
        atomic_fetch_sub(&jobs->bytes, bytes[i]);
        if (job)
            jobs_forget(jobs, job);
    }
    return count;
}

static void forget_old(struct jobs *jobs, int64_t before_us)
{
    for (int i = 0; i < SWEEPS && forget_some(jobs, before_us) == SWEPT; i++) {
    }
}

static void tick(struct jobs *jobs)
{
    if (!embedded_of(jobs)->told_left)
        tell_left(jobs);
    embedded_of(jobs)->told_left = true;
    struct config *config = jobs_config(jobs);
    int64_t now = clock_wall_us();
    try_again(jobs);
    expire(jobs, now);
    forget_old(jobs, now - config->jobs.keep_us);
    config_unref(config);
    dispatch(jobs);
    count_waiting(jobs, now); /* those that are left */
}

/* ----------------------------------------------------------------------------- open and close */

/* What was running when the process ended waits again; what did so too often has failed. */
static void take_up(struct jobs *jobs, const struct job_facts *was, int64_t bytes, bool has_result)
{
    struct job_facts facts = *was;
    bool ran_before = facts.state == JOB_RUNNING;
    if (ran_before)
        facts.state = JOB_QUEUED;
    struct job *job = jobs_add(jobs, &facts);
    count_bytes(jobs, job, bytes);
    job->has_result = has_result;
    if (job_has_ended(facts.state))
        return;
    turns_add(turns_of(jobs, &facts), text_of(facts.tenant), &job->turn, facts.due_us);
    if (ran_before && facts.starts >= facts.attempts + CRASHES_MAX)
        fail_waiting(jobs, job, JOB_FAILED, "The process that ran it ended each time.",
                     "internal_error");
}

static bool load(struct jobs *jobs, struct fault *fault)
{
    struct statement *row = statement_of(jobs, LOAD);
    enum statement_result result;
    size_t count = 0, capacity = 0;
    struct loaded {
        struct job_facts facts;
        int64_t bytes;
        bool has_result;
    } *all = NULL;
    while ((result = statement_next(row)) == STATEMENT_ROW) {
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            all = memory_resize(all, capacity * sizeof(*all));
        }
        read_facts(row, &all[count].facts);
        all[count].bytes = statement_number(row, 20);
        all[count++].has_result = statement_number(row, 21) != 0;
    }
    for (size_t i = 0; i < count; i++)
        take_up(jobs, &all[i].facts, all[i].bytes, all[i].has_result);
    memory_free(all);
    struct database *database = embedded_of(jobs)->database;
    return result == STATEMENT_END ||
           fault_set(fault, database_fault(database), "jobs: %s", database_problem(database));
}

static void close_store(struct jobs *jobs)
{
    struct embedded *embedded = embedded_of(jobs);
    if (embedded->statements[END])
        pay(jobs);
    while (!list_is_empty(&embedded->owed)) /* those are run again after the next start */
        list_remove(embedded->owed.next);
    for (int i = 0; i < STATEMENTS; i++)
        if (embedded->statements[i])
            statement_close(embedded->statements[i]);
    database_close(embedded->database);
    memory_free(embedded);
}

bool jobs_store_open(struct jobs *jobs, const char *path, struct fault *fault)
{
    struct embedded *embedded = memory_new(sizeof(*embedded));
    jobs->state = embedded;
    list_init(&embedded->owed);
    embedded->database = database_open(path, DATABASE_WRITE, fault);
    bool good =
        embedded->database && database_upgrade(embedded->database, schema, JOBS_SCHEMA, fault);
    for (int i = 0; i < STATEMENTS && good; i++) {
        embedded->statements[i] = database_prepare(embedded->database, sql[i]);
        good = embedded->statements[i] ||
               fault_set(fault, database_fault(embedded->database), "%s: %s", path,
                         database_problem(embedded->database));
    }
    atomic_store(&jobs->is_up, good);
    if (good && load(jobs, fault))
        return true;
    close_store(jobs);
    return false;
}

const struct job_store job_store_embedded = {
    .close = close_store,
    .submit = submit,
    .cancel = cancel,
    .look = look,
    .list = list,
    .dispatch = dispatch,
    .end = end,
    .again = again,
    .tick = tick,
};
