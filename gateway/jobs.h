/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * jobs - calls that are answered later: accepted now, kept in a durable queue, run when it is their
 * turn, asked for by their id. Also commands that run to their end (fine-tuning).
 *
 * One thread of its own (jobs_thread.c) owns the queue, the store (SQLite or Redis), the webhooks
 * and the commands; workers run the calls (job_desk.h). What a client asks most often, how its job
 * is, is answered from memory: a table in shards, each with a lock of its own that is held for a
 * copy of a few hundred bytes, and that no call on its way touches.
 *
 * At least once: a job that ran when its process died is run again (embedded: at the next start;
 * Redis: when its lease has expired), and its result is written once: who lost the lease writes
 * nothing. Each try is a call of its own in the ledger, and is booked as what it was.
 *
 * Functions are for any thread unless they say otherwise.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/hash.h"
#include "gateway/base/loop.h"
#include "gateway/base/memory.h"
#include "gateway/config/config.h"

struct jobs;
struct worker;

enum {
    JOB_ID_BYTES = 37,    /* a UUID and its NUL */
    JOB_NAME_BYTES = 132, /* of a tenant, a key, a model: 128, and a NUL */
    JOB_WORDS_BYTES = 256,
    JOB_URL_MAX = 2000,
    JOB_WAIT_MAX_S = 60, /* of a long poll */
    JOB_LIST_MAX = 500,
    JOBS_SCHEMA = 1, /* the version of the embedded store's file */
};

enum job_state {
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_COMPLETED,
    JOB_FAILED,
    JOB_CANCELLED,
    JOB_EXPIRED, /* it had waited too long */
    JOB_STATES
};

enum job_kind {
    JOB_CALL,       /* a call in any dialect: the result is its answer */
    JOB_TEXT,       /* Monster's: {"text":"…"} */
    JOB_IMAGE,      /* {"output":["URL",…]} */
    JOB_SPEECH,     /* the same */
    JOB_TRANSCRIPT, /* {"text":"…"} */
    JOB_COMMAND,    /* one that jobs.finetune runs */
    JOB_KINDS
};

/* "IN_QUEUE", "IN_PROGRESS", …; "call", "text", …; empty for none. */
struct text job_state_name(enum job_state state);
struct text job_kind_name(enum job_kind kind);
bool job_state_find(struct text name, enum job_state *state);
bool job_has_ended(enum job_state state);

/* What is known of a job but for its payload and its result. Times are of the wall clock, in
 * microseconds, 0 = not yet. */
struct job_facts {
    char id[JOB_ID_BYTES];
    char tenant[JOB_NAME_BYTES], key[JOB_NAME_BYTES], model[JOB_NAME_BYTES];
    enum job_kind kind;
    enum job_state state;
    int64_t created_us, due_us, started_us, ended_us, expires_us;
    int64_t cost_nanos;  /* of the call that ended it */
    unsigned attempts;   /* that failed and were tried again */
    unsigned starts;     /* how often it was begun: the fence of who runs it */
    unsigned status;     /* of HTTP; 0 = none */
    char request_id[32]; /* of the call that ended it: its row in the ledger */
    char error[JOB_WORDS_BYTES], error_type[48];
    char digest[17]; /* of what was asked: for who asks again with the same Idempotency-Key */
    bool cancel;     /* it is to end, and runs still */
    bool hook;       /* its end is told to a URL */
};

/* What is to be done: kept until it has ended. */
struct job_spec {
    struct text path;         /* of the call, or the name of the command */
    struct text content_type; /* of the payload */
    struct text payload;
    struct text hook; /* URL, or empty */
    struct text base; /* "https://host": of links in the result */
};

/* JSON, or what it says to be. Counted. */
struct job_result {
    atomic_uint references;
    size_t length;
    char type[64];
    char bytes[];
};
struct job_result *job_result_new(struct text bytes, struct text type);
struct job_result *job_result_ref(struct job_result *result);
void job_result_unref(struct job_result *result); /* NULL is nobody */

/* ---------------------------------------------------------------------- its life */

struct jobs_options {
    struct config *config; /* of the start; a reference is taken */
    const char *node;      /* of this process among the replicas */
    struct metrics *metrics;
};

/* Open the store and take up what is waiting there. The thread begins with jobs_begin(). NULL and
 * *fault when the store cannot be opened. */
struct jobs *jobs_open(const struct jobs_options *options, struct fault *fault);
/* Begin to run jobs on <workers>; before they may call in. */
void jobs_begin(struct jobs *jobs, struct worker **workers, unsigned count);
/* Begin no more of them; those that run may end. */
void jobs_drain(struct jobs *jobs);
/* Another process goes on with the queue: from now on every question is answered JOBS_AWAY, and
 * nothing is written. Behind jobs_drain(), when none runs. */
void jobs_hand_over(struct jobs *jobs);
/* It has come to nothing, or no drain: all as it was. */
void jobs_resume(struct jobs *jobs);
/* Nothing more is given to the workers from when this returns on: before they end. Questions are
 * still answered. */
void jobs_hush(struct jobs *jobs);
/* When the workers have ended: what still ran goes back into the queue. Then the thread ends, and
 * all is freed. NULL is nobody. */
void jobs_close(struct jobs *jobs);
/* Limits as they are in this configuration now. */
void jobs_set_config(struct jobs *jobs, struct config *config);

/* ---------------------------------------------------------------------- what is asked */

enum job_outcome {
    JOBS_DONE,
    JOBS_THERE,    /* the same was asked before: facts are those of then */
    JOBS_CONFLICT, /* another one has the id */
    JOBS_FULL,     /* the queue */
    JOBS_MANY,     /* this tenant's part of it */
    JOBS_UNKNOWN,  /* there is none, or it is another tenant's */
    JOBS_OVER,     /* it has ended already */
    JOBS_AWAY,     /* the store does not answer */
    JOBS_NO_ROOM,  /* the store's disk is full */
};

enum job_question { JOBS_SUBMIT, JOBS_CANCEL, JOBS_LOOK, JOBS_LIST };

/*
 * A question to the jobs' thread. The caller makes it with job_ask_new(), fills in what it is about
 * and hands it over; <done> is called once on <loop>, and owns it then: job_ask_free().
 */
struct job_ask {
    struct errand errand;
    struct jobs *jobs;
    enum job_question question;
    struct loop *loop; /* NULL: <done> is called on the jobs' thread, and only wakes another */
    void (*done)(struct job_ask *ask);
    void *with;
    struct arena arena; /* of the texts */
    /* SUBMIT: all but what the thread fills in. Else the id, and the tenant it must be of (empty =
     * any). LIST: the tenant. The answer comes in its place. */
    struct job_facts facts;
    struct job_spec spec; /* SUBMIT */
    /* LIST */
    int state;           /* only those; -1 = all */
    int64_t before_us;   /* only older ones; 0 = all */
    size_t limit, count; /* at most JOB_LIST_MAX; <list> has <count>, the newest first */
    struct job_facts *list;
    /* the answer */
    enum job_outcome outcome;
    struct job_result *result; /* LOOK: or NULL; a reference of its own */
};
struct job_ask *job_ask_new(struct jobs *jobs, enum job_question question, struct loop *loop);
void job_ask_free(struct job_ask *ask);
/* <done> is called in any case, never from within. */
void jobs_ask(struct jobs *jobs, struct job_ask *ask);

/* Write a new id, or that of <tenant>'s <name> (an Idempotency-Key). */
void job_id_new(char id[JOB_ID_BYTES]);
void job_id_of(struct text tenant, struct text name, char id[JOB_ID_BYTES]);
bool job_id_is_one(struct text id);

/*
 * How is <id>? From memory: true when it is known there, and is <tenant>'s (empty: anybody's).
 * *result gets a reference, or NULL when there is none; when the job has one that is not kept in
 * memory, or is not known here, false: JOBS_LOOK knows.
 */
bool jobs_look(struct jobs *jobs, struct text id, struct text tenant, struct job_facts *facts,
               struct job_result **result);

/* Somebody who waits for the end of a job: embedded in its owner, zeroed but for <loop> and
 * <woken>. */
struct job_wait {
    struct loop *loop;
    struct job_wake *wake;                /* jobs' own */
    void (*woken)(struct job_wait *wait); /* once, on <loop>; it waits for nothing then */
};
/* False: it is not known, or has ended already. */
bool jobs_wait(struct jobs *jobs, struct text id, struct job_wait *wait);
/* Not any more; also when it was woken, or never waited. On its loop. */
void jobs_wait_leave(struct job_wait *wait);

/* The last <count> lines that the command <id> has written, each as one item of a JSON array, onto
 * <out>. False: it is none, or another tenant's. */
bool jobs_logs(struct jobs *jobs, struct text id, struct text tenant, size_t count,
               struct buffer *out);

struct jobs_figures {
    unsigned queued, running, remembered;
    uint64_t submitted, completed, failed, cancelled, expired;
    uint64_t tries,
        again; /* those that were begun here, and those of them that were to be made again */
    uint64_t hooks_told, hooks_failed;
    unsigned hooks_pending;
    int64_t
        eldest_us; /* when the one that has waited longest was accepted (wall clock); 0 = none */
    int64_t bytes; /* of payloads and results */
    bool is_up;    /* the store */
};
struct jobs_figures jobs_figures(struct jobs *jobs);

/* Tell <see> for which model, as it was asked for, how many jobs wait that might run now; as of the
 * last second. Of the embedded store only: a job in Redis may be run by another replica. */
void jobs_waiting_each(struct jobs *jobs,
                       void (*see)(void *with, struct text model, unsigned count), void *with);

/* For who knows the tenant's secret: signatures of webhooks and links. */
struct digest jobs_hook_secret(const struct config *config, struct text tenant);
struct digest jobs_link_key(struct jobs *jobs);
struct job_files *jobs_files(struct jobs *jobs);

/* As it is shown, without its braces: on pages and to webhooks. */
struct json_write;
void job_write(struct json_write *json, const struct job_facts *facts,
               const struct job_result *result);
