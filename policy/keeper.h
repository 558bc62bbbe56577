/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * keeper - the inside of `struct ledger` (ledger.h) and its two threads.
 *
 * The keeper, at normal priority, sees to what calls wait for: segments in time, lines flushed to
 * disk, questions answered. The drain, at the lowest priority, moves lines into the database. When
 * it cannot keep up, the keeper lends a hand.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "policy/drain.h"
#include "policy/estate.h"
#include "policy/forward.h"
#include "policy/ship.h"

/* A thread that sleeps until it is told or its time has come. */
struct sleeper {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool told;
};

struct ledger {
    /* Read by the workers with every line; set when a thread of ours sleeps until it is woken. */
    _Alignas(64) atomic_bool sleeps;

    _Alignas(64) int root, directory; /* ledger.path, and our own one below it, which is locked */
    char instance[INSTANCE_BYTES];
    unsigned workers;
    struct journal **journals;
    enum ledger_sync sync;
    struct book_keep keep;

    pthread_t keeper_thread, drain_thread;
    struct sleeper keeper, drainer;
    atomic_bool stopping;

    pthread_mutex_t draining; /* guards all of this */
    struct book *book;        /* NULL: journals only */
    struct drain *drain;
    struct source *sources;
    struct estate *estate;
    struct forward *forward;     /* NULL: no other nodes */
    struct ship *ship;           /* SYNC_STORE */
    uint64_t look_us, expire_us; /* when to do it next */
    bool estate_done;            /* what was found at the start is drained */
    bool failing;                /* the last try failed: said once */

    char *database;      /* its path; NULL: journals only */
    char *set_aside;     /* where a damaged one was moved at the start, or NULL */
    atomic_bool damaged; /* it was noticed since */

    atomic_uint waiting; /* for <draining>, and more in a hurry than the drain */
    atomic_uint_fast64_t drains, drain_errors;

    pthread_mutex_t asking; /* guards the questions */
    struct owner_question *questions, **questions_end;
    unsigned question_count;
};

void sleeper_init(struct sleeper *sleeper);
void sleeper_done(struct sleeper *sleeper);
void sleeper_tell(struct sleeper *sleeper);
void sleeper_wait(struct sleeper *sleeper, uint64_t us);

/* A thread that gets none of the process's signals. */
bool ledger_thread(pthread_t *thread, const char *name, void *(*run)(void *with), void *with);
/* Start the threads; false when there are none to be had. */
bool keeper_start(struct ledger *ledger);
/* Stop them, at the end of what they do. */
void keeper_stop(struct ledger *ledger);

/* One batch of every live journal. Under <draining>. */
enum drained drain_round(struct ledger *ledger);
/* A bit of what dead processes left. Under <draining>. */
enum drained estate_round(struct ledger *ledger);

/* owners.c: answer what was asked so far. */
void answer_questions(struct ledger *ledger);

uint64_t journal_undrained(const struct journal *journal);
