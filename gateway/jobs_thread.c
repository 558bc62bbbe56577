/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs' thread: what is begun, what becomes of it, and when. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/crash.h"
#include "gateway/job_command.h"
#include "gateway/job_desk.h"
#include "gateway/job_files.h"
#include "gateway/job_hook.h"
#include "gateway/job_map.h"
#include "gateway/jobs_inside.h"
#include "gateway/jobs_store.h"
#include "gateway/wire/dns.h"
#include "gateway/wire/upstream.h"
#include "gateway/worker.h"

enum {
    TICK_US = 1000000,
    STOP_US = 1500000,           /* for what is told to the store at the end */
    SHARED_RESULT_MAX = 8 << 20, /* of one in Redis */
    BACKOFF_US = 1000000,        /* before a second try; doubled each time */
    BACKOFF_MAX_US = 60000000,
    REST_MIN_US = 250000, /* before a limit is asked again */
    REST_US = 1000000,    /* where nobody says how long */
    RUN_BLOCK_BYTES = 4096,
    KEY_BYTES = 32,
};

/* ------------------------------------------------------------------------------------ runs */

struct job_run *job_run_new(struct jobs *jobs)
{
    struct job_run *run = memory_new(sizeof(*run));
    atomic_init(&run->references, 1);
    run->jobs = jobs;
    list_init(&run->link);
    arena_init(&run->arena, RUN_BLOCK_BYTES);
    return run;
}

void job_run_unref(struct job_run *run)
{
    if (atomic_fetch_sub_explicit(&run->references, 1, memory_order_acq_rel) != 1)
        return;
    buffer_done(&run->answer);
    arena_done(&run->arena);
    memory_free(run);
}

bool jobs_may_run(struct jobs *jobs, const struct config *config, bool command)
{
    if (jobs->stopping || atomic_load(&jobs->draining) || !jobs->worker_count)
        return false;
    return command ? jobs->command_count < config->jobs.finetune.concurrency
                   : jobs->run_count < config->jobs.concurrency;
}

void jobs_start(struct jobs *jobs, struct job_run *run)
{
    atomic_fetch_add(&jobs->tries, 1);
    if (run->facts.kind == JOB_COMMAND) {
        jobs->command_count++;
        job_command_start(jobs->commands, run);
        return;
    }
    unsigned least = 0;
    for (unsigned i = 1; i < jobs->worker_count; i++)
        if (jobs->worker_runs[i] < jobs->worker_runs[least])
            least = i;
    run->worker = least;
    jobs->worker_runs[least]++;
    jobs->run_count++;
    job_desk_put(jobs->workers[least], run);
}

void jobs_stop_run(struct jobs *jobs, struct job *job)
{
    struct job_run *run = job->run;
    if (run->facts.cancel)
        return;
    run->facts.cancel = true;
    if (run->facts.kind == JOB_COMMAND) {
        job_command_stop(jobs->commands, run);
        return;
    }
    pthread_mutex_lock(&jobs->hush_lock);
    if (!jobs->hushed) {
        atomic_fetch_add(&run->references, 1);
        job_desk_cancel(jobs->workers[run->worker], run);
    }
    pthread_mutex_unlock(&jobs->hush_lock);
}

void jobs_run_told(struct jobs *jobs, struct job_run *run)
{
    job_run_unref(run);
    if (!jobs->stopping)
        jobs->store->dispatch(jobs);
}

/* ------------------------------------------------------------------- what becomes of one */

enum verdict { VERDICT_END, VERDICT_AGAIN, VERDICT_REST, VERDICT_CUT };

/* Nothing was asked of anybody: the job waits, as it would for a free place. */
static bool was_held_up(enum fault_kind kind)
{
    return kind == FAULT_RATE_REQUESTS || kind == FAULT_RATE_TOKENS || kind == FAULT_STORE_AWAY ||
           kind == FAULT_OVERLOADED || kind == FAULT_LEDGER_FULL;
}

/* May it go well another time? */
static bool may_pass(enum fault_kind kind)
{
    return fault_rule(kind)->may_retry || kind == FAULT_TARGET_CUT || kind == FAULT_NO_TARGET ||
           kind == FAULT_INTERNAL;
}

/* What a call that was not answered well means for its job. */
static enum verdict judge(const struct job_run *run, unsigned attempts_max)
{
    bool theirs = run->fault == FAULT_NONE && run->status / 100 == 5; /* the target's own words */
    if (run->facts.kind == JOB_COMMAND)                               /* would do the same again */
        return VERDICT_END;
    if (was_held_up(run->fault))
        return VERDICT_REST;
    if ((theirs || may_pass(run->fault)) && run->facts.attempts + 1 < attempts_max)
        return VERDICT_AGAIN;
    return VERDICT_END;
}

static int64_t backoff(unsigned attempts)
{
    int64_t wait = BACKOFF_US;
    for (unsigned i = 1; i < attempts && wait < BACKOFF_MAX_US; i++)
        wait *= 2;
    return wait < BACKOFF_MAX_US ? wait : BACKOFF_MAX_US;
}

static void set_words(struct job_facts *facts, const char *words, const char *type)
{
    snprintf(facts->error, sizeof(facts->error), "%s", words);
    snprintf(facts->error_type, sizeof(facts->error_type), "%s", type);
}

static void fail(struct job_run *run)
{
    struct job_facts *facts = &run->facts;
    bool broke = run->fault == FAULT_BUDGET;
    facts->state = JOB_FAILED;
    if (broke)
        facts->status = 402;
    const char *type = broke                      ? "insufficient_credits"
                       : run->fault               ? fault_rule(run->fault)->type
                       : run->facts.error_type[0] ? run->facts.error_type
                                                  : "server_error";
    char words[JOB_WORDS_BYTES];
    snprintf(words, sizeof(words), "%s",
             run->error[0] ? run->error : "The call was not answered well.");
    char kept[48];
    snprintf(kept, sizeof(kept), "%s", type);
    set_words(facts, words, kept);
}

/* The answer becomes the job's result. */
static struct job_result *take_answer(struct jobs *jobs, struct job_run *run,
                                      const struct config *config)
{
    struct job_facts *facts = &run->facts;
    struct job_answer answer = {.kind = facts->kind,
                                .bytes = buffer_text(&run->answer),
                                .type = text_of(run->type),
                                .base = run->spec.base,
                                .tenant = text_of(facts->tenant),
                                .id = text_of(facts->id),
                                .files = jobs->files,
                                .expires_us = facts->ended_us + config->jobs.keep_us,
                                .quota = config->jobs.upload_quota,
                                .max = config->jobs.result_max};
    if (config->store.is_redis && answer.max > SHARED_RESULT_MAX)
        answer.max = SHARED_RESULT_MAX;
    struct fault fault = {0};
    struct job_result *result = NULL;
    if (run->too_long)
        fault_set(&fault, FAULT_TOO_LARGE, "The answer is larger than jobs.result_max.");
    else
        result = job_map_answer(&answer, &fault);
    if (result) {
        facts->state = JOB_COMPLETED;
        facts->error[0] = facts->error_type[0] = '\0';
        return result;
    }
    run->fault = FAULT_NONE;
    set_words(facts, fault.text, fault_rule(fault.kind)->type);
    snprintf(run->error, sizeof(run->error), "%s", fault.text);
    fail(run);
    return NULL;
}

static void put_back(struct jobs *jobs, struct job_run *run, enum verdict verdict)
{
    struct job_facts *facts = &run->facts;
    int64_t now = clock_wall_us(), wait = run->retry_us;
    bool rests = verdict == VERDICT_REST;
    if (verdict == VERDICT_AGAIN)
        facts->attempts++;
    if (rests && !wait)
        wait = REST_US;
    if (!rests && wait < backoff(facts->attempts))
        wait = backoff(facts->attempts);
    wait = wait < REST_MIN_US ? REST_MIN_US : wait > BACKOFF_MAX_US ? BACKOFF_MAX_US : wait;
    facts->due_us = now + wait;
    snprintf(facts->error, sizeof(facts->error), "%s", run->error);
    jobs->store->again(jobs, run, rests);
}

static void end_call(struct jobs *jobs, const struct job_run *run)
{
    jobs->run_count--;
    jobs->worker_runs[run->worker]--;
}

static void on_over(struct errand *errand)
{
    struct job_run *run = LIST_MEMBER(errand, struct job_run, errand);
    struct jobs *jobs = run->jobs;
    struct job_facts *facts = &run->facts;
    struct config *config = jobs_config(jobs);
    struct job_result *result = NULL;
    if (facts->kind == JOB_COMMAND)
        jobs->command_count--;
    else
        end_call(jobs, run);
    facts->ended_us = clock_wall_us();
    facts->status = run->status;
    bool good = !run->cut && run->status / 100 == 2 && run->fault == FAULT_NONE;
    enum verdict verdict = good ? VERDICT_END : judge(run, config->jobs.attempts);
    if (run->cut)
        verdict = VERDICT_CUT;
    if (facts->cancel && !good) {
        facts->state = JOB_CANCELLED;
        set_words(facts, "It was cancelled.", "cancelled");
        jobs->store->end(jobs, run, NULL);
    } else if (verdict == VERDICT_CUT) {
        facts->due_us = 0;
        jobs->store->again(jobs, run, false);
    } else if (verdict == VERDICT_AGAIN || verdict == VERDICT_REST) {
        put_back(jobs, run, verdict);
    } else {
        if (good)
            result = take_answer(jobs, run, config);
        else
            fail(run);
        jobs->store->end(jobs, run, result);
    }
    config_unref(config);
}

void jobs_run_over(struct job_run *run)
{
    run->errand.run = on_over;
    loop_post(run->jobs->loop, &run->errand);
}

void jobs_tell(struct jobs *jobs, const struct job_facts *facts, struct text hook,
               struct job_result *result, void (*told)(struct jobs *jobs, const char *id))
{
    if (hook.len && jobs->hooks && !job_hook_tell(jobs->hooks, facts, hook, result, told))
        atomic_fetch_add(&jobs->hooks_failed, 1);
}

/* ------------------------------------------------------------------------------------ time */

static void on_tick(struct timer *timer)
{
    struct jobs *jobs = LIST_MEMBER(timer, struct jobs, tick_timer);
    if (jobs->stopping)
        return;
    if (atomic_load(&jobs->is_handed_over)) {
        timer_set(jobs->loop, timer, loop_now_us(jobs->loop) + TICK_US);
        return;
    }
    jobs->store->tick(jobs);
    job_files_sweep(jobs->files, clock_wall_us());
    timer_set(jobs->loop, timer, loop_now_us(jobs->loop) + TICK_US);
}

static void on_due(struct timer *timer)
{
    struct jobs *jobs = LIST_MEMBER(timer, struct jobs, due_timer);
    if (!jobs->stopping && !atomic_load(&jobs->is_handed_over))
        jobs->store->dispatch(jobs);
}

void jobs_look_again(struct jobs *jobs, int64_t due_us)
{
    int64_t wait = due_us - clock_wall_us();
    uint64_t at = loop_now_us(jobs->loop) + (uint64_t)(wait > 0 ? wait : 0);
    if (jobs->due_timer.due_us && jobs->due_timer.due_us <= at)
        return;
    timer_stop(&jobs->due_timer);
    timer_set(jobs->loop, &jobs->due_timer, at);
}

/* ----------------------------------------------------------------------------- begin and end */

/* Made at the first start, kept beside the jobs: links outlive a restart. */
static bool read_link_key(struct jobs *jobs, const char *path, struct fault *fault)
{
    uint8_t key[KEY_BYTES];
    FILE *file = fopen(path, "rb");
    bool found = file && fread(key, 1, sizeof(key), file) == sizeof(key);
    if (file)
        fclose(file);
    if (!found) {
        hash_random(key, sizeof(key));
        mode_t mask = umask(0077);
        file = fopen(path, "wb");
        umask(mask);
        found = file && fwrite(key, 1, sizeof(key), file) == sizeof(key);
        if (file)
            found = fclose(file) == 0 && found;
    }
    memcpy(jobs->link_key.bytes, key, sizeof(key));
    return found || fault_set(fault, FAULT_INTERNAL, "%s: cannot be written", path);
}

static bool open_all(struct jobs *jobs, struct fault *fault)
{
    const struct config *config = jobs->config;
    char *directory = memory_format("%s/jobs", config->state);
    char *files = memory_format("%s/files", directory);
    char *key = memory_format("%s/link_key", directory);
    char *database = memory_format("%s/jobs.db", directory);
    mkdir(directory, 0750);
    mkdir(files, 0750);
    jobs->store = config->store.is_redis ? &job_store_redis : &job_store_embedded;
    bool good = read_link_key(jobs, key, fault);
    if (good) {
        jobs->files = job_files_open(files, &jobs->link_key);
        jobs->commands = job_commands_new(jobs, directory);
        jobs->hooks = job_hooks_new(jobs);
        good = config->store.is_redis ? jobs_redis_open(jobs, config, fault)
                                      : jobs_store_open(jobs, database, fault);
    }
    memory_free(directory);
    memory_free(files);
    memory_free(key);
    memory_free(database);
    return good;
}

static void free_all(struct jobs *jobs)
{
    for (size_t i = 0; i < JOB_SHARDS; i++) {
        struct text name;
        void *value;
        for (size_t at = 0; at = 0, table_next(&jobs->shards[i].jobs, &at, &name, &value);) {
            struct job *job = value;
            turns_end(&jobs->turns[job->facts.kind == JOB_COMMAND], &job->turn);
            jobs_forget(jobs, job);
        }
        table_done(&jobs->shards[i].jobs);
        pthread_mutex_destroy(&jobs->shards[i].lock);
    }
    turns_done(&jobs->turns[0]);
    turns_done(&jobs->turns[1]);
    job_files_free(jobs->files);
    upstreams_free(jobs->upstreams);
    dns_free(jobs->dns);
    loop_free(jobs->loop);
    config_unref(jobs->config);
    job_census_free(jobs->census);
    pthread_mutex_destroy(&jobs->waiting_lock);
    pthread_mutex_destroy(&jobs->config_lock);
    pthread_mutex_destroy(&jobs->hush_lock);
    pthread_cond_destroy(&jobs->hush_done);
    memory_free(jobs->worker_runs);
    memory_free(jobs);
}

struct jobs *jobs_open(const struct jobs_options *options, struct fault *fault)
{
    struct jobs *jobs = memory_new(sizeof(*jobs));
    for (size_t i = 0; i < JOB_SHARDS; i++) {
        pthread_mutex_init(&jobs->shards[i].lock, NULL);
        table_init(&jobs->shards[i].jobs);
    }
    pthread_mutex_init(&jobs->waiting_lock, NULL);
    pthread_mutex_init(&jobs->config_lock, NULL);
    pthread_mutex_init(&jobs->hush_lock, NULL);
    pthread_cond_init(&jobs->hush_done, NULL);
    snprintf(jobs->node, sizeof(jobs->node), "%s", options->node);
    jobs->config = config_ref(options->config);
    jobs->loop = loop_new();
    jobs->dns = dns_new(jobs->loop);
    jobs->upstreams = upstreams_new(jobs->loop, jobs->dns);
    jobs->tick_timer.on_time = on_tick;
    jobs->due_timer.on_time = on_due;
    turns_init(&jobs->turns[0]);
    turns_init(&jobs->turns[1]);
    list_init(&jobs->ended);
    if (open_all(jobs, fault))
        return jobs;
    job_hooks_free(jobs->hooks);
    job_commands_free(jobs->commands);
    free_all(jobs);
    return NULL;
}

static void *jobs_main(void *with)
{
    struct jobs *jobs = with;
    crash_arm_thread();
    pthread_setname_np(pthread_self(), "jobs");
    timer_set(jobs->loop, &jobs->tick_timer, loop_now_us(jobs->loop) + TICK_US);
    jobs->store->dispatch(jobs);
    loop_run(jobs->loop, NULL, NULL);
    timer_stop(&jobs->stop_timer);
    loop_clear(jobs->loop);
    jobs->store->close(jobs);
    loop_clear(jobs->loop);
    return NULL;
}

void jobs_begin(struct jobs *jobs, struct worker **workers, unsigned count)
{
    jobs->workers = workers;
    jobs->worker_count = count;
    jobs->worker_runs = memory_new((count + 1) * sizeof(unsigned));
    if (pthread_create(&jobs->thread, NULL, jobs_main, jobs) != 0) {
        perror("sluice: pthread_create");
        abort();
    }
    jobs->begun = true;
}

void jobs_drain(struct jobs *jobs)
{
    atomic_store(&jobs->draining, true);
}

void jobs_hand_over(struct jobs *jobs)
{
    atomic_store(&jobs->is_handed_over, true);
}

static void on_resume(struct errand *errand)
{
    struct jobs *jobs = LIST_MEMBER(errand, struct jobs, resume_errand);
    atomic_store(&jobs->resume_posted, false);
    if (!jobs->stopping)
        jobs->store->dispatch(jobs);
}

void jobs_resume(struct jobs *jobs)
{
    atomic_store(&jobs->is_handed_over, false);
    atomic_store(&jobs->draining, false);
    if (jobs->begun && !atomic_exchange(&jobs->resume_posted, true)) {
        jobs->resume_errand.run = on_resume;
        loop_post(jobs->loop, &jobs->resume_errand);
    }
}

static void on_hush(struct errand *errand)
{
    struct jobs *jobs = LIST_MEMBER(errand, struct jobs, hush_errand);
    pthread_mutex_lock(&jobs->hush_lock);
    jobs->hushed = true;
    pthread_cond_broadcast(&jobs->hush_done);
    pthread_mutex_unlock(&jobs->hush_lock);
}

void jobs_hush(struct jobs *jobs)
{
    if (!jobs || !jobs->begun)
        return;
    atomic_store(&jobs->draining, true);
    pthread_mutex_lock(&jobs->hush_lock);
    if (!jobs->hush_asked) { /* each worker asks: an errand is posted once */
        jobs->hush_asked = true;
        jobs->hush_errand.run = on_hush;
        loop_post(jobs->loop, &jobs->hush_errand);
    }
    while (!jobs->hushed)
        pthread_cond_wait(&jobs->hush_done, &jobs->hush_lock);
    pthread_mutex_unlock(&jobs->hush_lock);
}

void jobs_check_quiet(struct jobs *jobs)
{
    if (jobs->stopping && (!jobs->store->is_quiet || jobs->store->is_quiet(jobs)))
        loop_stop(jobs->loop);
}

static void on_quiet(struct errand *errand)
{
    jobs_check_quiet(LIST_MEMBER(errand, struct jobs, quiet_errand));
}

static void on_stop_time(struct timer *timer)
{
    loop_stop(LIST_MEMBER(timer, struct jobs, stop_timer)->loop);
}

/* What has ended is told yet, if the store answers soon. */
static void on_stop(struct errand *errand)
{
    struct jobs *jobs = LIST_MEMBER(errand, struct jobs, stop_errand);
    jobs->stopping = true;
    timer_stop(&jobs->tick_timer);
    timer_stop(&jobs->due_timer);
    job_commands_free(jobs->commands);
    jobs->commands = NULL;
    job_hooks_free(jobs->hooks);
    jobs->stop_timer.on_time = on_stop_time;
    timer_set(jobs->loop, &jobs->stop_timer, loop_now_us(jobs->loop) + STOP_US);
    jobs->quiet_errand.run = on_quiet;
    loop_post(jobs->loop, &jobs->quiet_errand);
}

void jobs_close(struct jobs *jobs)
{
    if (!jobs)
        return;
    if (jobs->begun) {
        jobs->stop_errand.run = on_stop;
        loop_post(jobs->loop, &jobs->stop_errand);
        pthread_join(jobs->thread, NULL);
    } else {
        jobs->stopping = true;
        job_commands_free(jobs->commands);
        job_hooks_free(jobs->hooks);
        jobs->store->close(jobs);
    }
    free_all(jobs);
}
