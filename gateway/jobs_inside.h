/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* jobs, from inside: what jobs*.c and job_*.c share. For nobody else. */

#include <pthread.h>

#include "gateway/base/table.h"
#include "gateway/jobs.h"
#include "gateway/jobs_turns.h"
#include "gateway/wire/redis.h"

struct job_desk;
struct job_hooks;
struct job_commands;
struct exchange;

enum {
    JOB_SHARDS = 16,
    JOBS_REMEMBERED = 16384,        /* that have ended, in memory; the store has the others */
    RESULT_KEPT_BYTES = 256 * 1024, /* a result is kept in memory up to this, */
    RESULTS_KEPT_BYTES = 64 << 20,  /* and so much of them */
    JOB_FRESH_US = 250000, /* with Redis: another replica's job is asked for no more often */
};

/* One that waits for the end of a job, as another thread sees it. */
struct job_wake {
    struct errand errand;
    struct link link;      /* in the job's list; under the shard's lock */
    struct job_wait *wait; /* NULL once it has left; its loop's thread only */
    struct loop *loop;
    struct job_shard *shard;
};

/* A job in memory. Facts, result and waiting change under the lock of its shard, by the jobs'
 * thread only; so that thread reads them without. */
struct job {
    struct job_facts facts;
    struct job_result *result; /* or NULL */
    bool has_result;           /* in the store, also when it is not here */
    struct link waiting;       /* struct job_wake */
    /* the jobs' thread */
    struct turn turn;
    struct job_run *run; /* while it runs here */
    struct link ended;   /* in jobs->ended, the oldest first */
    int64_t bytes;       /* of its payload, or its result, in the store */
    struct link owed;    /* embedded: its end could not be written down yet; with its result */
    struct job_result *owed_result;
    bool is_foreign;  /* with Redis: not run here; what is known of it may be old */
    uint64_t seen_us; /* monotonic: when it was asked for */
};

struct job_shard {
    pthread_mutex_t lock;
    struct table jobs; /* by id */
};

/* One try of a job: made by the jobs' thread, worked on by a worker, and back. */
struct job_run {
    struct errand errand, cancel_errand;
    atomic_uint references; /* the two errands' */
    struct jobs *jobs;
    struct job *job; /* the jobs' thread */
    unsigned worker;
    struct arena arena;
    struct job_facts facts;
    struct job_spec spec;

    /* the desk's (job_desk.c) */
    struct link link;
    struct job_desk *desk;
    struct exchange *x; /* that makes the call; NULL before and behind */
    struct upstream_call *upstream;
    bool is_over;

    /* how it ended */
    bool cut; /* it did not end: it was cancelled, or the worker ends */
    unsigned status;
    enum fault_kind fault; /* of the call, FAULT_NONE when it was answered well */
    int64_t retry_us;      /* as it was told; 0 = not */
    char type[64];         /* of the answer */
    struct buffer answer;
    bool too_long;
    char error[JOB_WORDS_BYTES];
};

struct job_run *job_run_new(struct jobs *jobs);
void job_run_unref(struct job_run *run);

/* What the jobs' thread works with. Each function may answer from within, by the functions below.
 */
struct job_store {
    void (*close)(struct jobs *jobs);
    void (*submit)(struct jobs *jobs, struct job_ask *ask);
    void (*cancel)(struct jobs *jobs, struct job_ask *ask);
    void (*look)(struct jobs *jobs, struct job_ask *ask);
    void (*list)(struct jobs *jobs, struct job_ask *ask);
    /* Begin as many as may run. */
    void (*dispatch)(struct jobs *jobs);
    /* <run> has ended as run->facts say, with <result> (or NULL), which it takes. */
    void (*end)(struct jobs *jobs, struct job_run *run, struct job_result *result);
    /* It is to be run again, not before facts.due_us. <rests>: nor are others of its tenant. */
    void (*again)(struct jobs *jobs, struct job_run *run, bool rests);
    /* Is everything told that has ended? NULL: always. */
    bool (*is_quiet)(struct jobs *jobs);
    /* Every second. */
    void (*tick)(struct jobs *jobs);
};
extern const struct job_store job_store_embedded, job_store_redis;

struct jobs {
    const struct job_store *store;
    struct job_shard shards[JOB_SHARDS];
    struct digest link_key;
    struct job_files *files;
    char node[64];
    atomic_bool draining, is_up;
    atomic_bool is_handed_over;
    atomic_uint queued, running, remembered;
    atomic_uint store_queued; /* with Redis: by all replicas */
    atomic_llong bytes;
    atomic_ullong submitted, ended_as[JOB_STATES], tries, again, hooks_told, hooks_failed;
    atomic_uint hooks_pending;
    atomic_llong eldest_us;
    pthread_mutex_t waiting_lock;
    struct job_census *census; /* who waits, of the last second; under waiting_lock, or NULL */
    pthread_mutex_t config_lock;
    struct config *config; /* a reference; under the lock, or by jobs_config() */

    struct worker **workers;
    unsigned worker_count;

    /* the thread */
    pthread_t thread;
    bool begun;
    struct loop *loop;
    struct dns *dns;
    struct upstreams *upstreams;
    struct timer tick_timer, due_timer;
    struct errand hush_errand, stop_errand, quiet_errand, resume_errand;
    atomic_bool resume_posted;
    struct timer stop_timer;
    pthread_mutex_t hush_lock;
    pthread_cond_t hush_done;
    bool hush_asked, hushed; /* nothing is given to workers any more; under hush_lock */
    bool stopping;
    unsigned *worker_runs; /* how many each worker has */
    struct turns turns[2]; /* embedded: of calls, of commands */
    struct link ended;
    unsigned ended_count;
    size_t kept_bytes; /* of results in memory */
    unsigned run_count, command_count;
    struct job_hooks *hooks;
    struct job_commands *commands;
    void *state; /* the store's own */
};

/* ------------------------------------------------------------------------------- jobs.c */

/* A count of those that wait, begun and told by the jobs' thread. */
struct job_census *job_census_new(void);
void job_census_free(struct job_census *census);
void job_census_add(struct job_census *census, const struct job_facts *facts, int64_t wall_us);
/* What there is from now on. */
void jobs_set_census(struct jobs *jobs, struct job_census *census);

/* With a reference. */
struct config *jobs_config(struct jobs *jobs);
/* The jobs' thread: the job called <id>, or NULL; a new one in its place in the table; what is
 * known of it has changed; it is forgotten. */
struct job *jobs_find(struct jobs *jobs, struct text id);
struct job *jobs_add(struct jobs *jobs, const struct job_facts *facts);
void jobs_change(struct jobs *jobs, struct job *job, const struct job_facts *facts);
/* It has ended, if its facts say so: keeps <result> where it is small (takes it, NULL is none),
 * wakes who waits. */
void jobs_end(struct jobs *jobs, struct job *job, const struct job_facts *facts,
              struct job_result *result);
void jobs_forget(struct jobs *jobs, struct job *job);

/* ------------------------------------------------------------------------ jobs_thread.c */

/* Answer <ask>; it is not ours any more. */
void jobs_answer(struct job_ask *ask, enum job_outcome outcome);
/* Give <run> to a worker, or to the commands. */
void jobs_start(struct jobs *jobs, struct job_run *run);
/* Look at <us> from now (wall clock) whether somebody is due. */
void jobs_look_again(struct jobs *jobs, int64_t due_us);
/* End the present try of <job>, which runs here. */
void jobs_stop_run(struct jobs *jobs, struct job *job);
/* A run is over and told: count, forget, go on. */
void jobs_run_told(struct jobs *jobs, struct job_run *run);
/* It has ended: tell its URL. <told> as in job_hook_tell(). */
void jobs_tell(struct jobs *jobs, const struct job_facts *facts, struct text hook,
               struct job_result *result, void (*told)(struct jobs *jobs, const char *id));
/* May another call, or command, begin here? */
bool jobs_may_run(struct jobs *jobs, const struct config *config, bool command);
/* The thread ends, and the store may have told what there was to tell. */
void jobs_check_quiet(struct jobs *jobs);
/* The worker is done with <run>; any thread. */
void jobs_run_over(struct job_run *run);
bool jobs_begin_thread(struct jobs *jobs);
