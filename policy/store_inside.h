/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * store_inside - what the files of the shared counters share; nobody else includes it.
 *
 *   store_redis.c    a worker's connection
 *   store_ask.c      the questions of its calls
 *   store_words.c    commands, put together
 *   store_assert.c   one root is asserted
 *   store_life.c     the process: incarnation, who has asserted what, beats and sweeps
 *   store_report.c   what has changed
 *   store_look.c     for people to see
 *
 * What has to be right whatever the order of answers is this. Every question, report and assertion
 * carries an incarnation. An answer counts only while its incarnation is the current one, and that
 * is looked at and the meter told in one piece (shared->lock). In one incarnation a root is
 * asserted once, counter by counter: of a counter that is not sure in it nothing is asked or
 * reported. Should it be needed again, or should an answer not come, a new incarnation begins, and
 * what the old one is told from then on means nothing.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/base/list.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "policy/store_redis.h"
#include "policy/words.h"

enum {
    STORE_NODE_BYTES = 33,
    STORE_BEAT_US = 100000,     /* beats, reports */
    STORE_AGAIN_US = 10000,     /* a question that waits for another's assertion looks again */
    STORE_TRIES_MAX = 5,        /* questions for one reservation */
    STORE_YOUNG_US = 300000,    /* nothing is granted so long after something may have been lost */
    STORE_LOST_US = 3000000,    /* and not longer than this for those that have not come back, */
    STORE_LAST_US = 60000000,   /* or than this for those that are there and assert still */
    STORE_PATIENT_US = 1000000, /* what is told while nobody is let in may take so long */
    STORE_LEAP_US = 250000,     /* a clock that goes ahead by more has been set */
    STORE_REST_US = 500000,     /* after an error of the server */
    STORE_ASSERTS_MAX = 64,     /* under way */
    STORE_SWEEPS_MAX = 16,      /* of those, for a sweep */
    STORE_PIECES_MAX = 256,     /* calls of those */
    STORE_CLAIMS_MAX = 256,     /* of one call, roughly */
    STORE_REPORTS_MAX = 256,    /* under way */
    STORE_CHANGES_MAX = 64,     /* of one report */
    STORE_AHEAD_MAX = 256,      /* questions for streams under way */
};

/* ---------------------------------------------------------------------------- full ones */

/* Counters that the store has just refused, so that a flood of calls that cannot be let in does not
 * become a flood of questions. */
struct full_counter {
    uint64_t name;              /* its hash, and the root's */
    int64_t need;               /* so much, or more, does not fit */
    uint64_t until_us, free_us; /* believed so long; when it may fit */
};

enum { STORE_FULL_COUNTERS = 1024, STORE_FULL_US = 10000 };

/* -------------------------------------------------------------------------- the process */

struct root_state {
    uint64_t begun;           /* the incarnation in which it was begun to be asserted; 0 = none */
    uint64_t begun_us;        /* when the store had answered */
    uint64_t asserted;        /* the incarnation in which all of it was; 0 = none */
    _Atomic int64_t ahead_us; /* of its clock to ours, at most, as it was begun; written with the
                                 lock to read, too */
    unsigned pieces;          /* under way, of others than who asserts it */
    bool busy;                /* being asserted */
    char name[];
};

struct shared {
    struct meter *meter;
    const struct redis_options *redis;
    char *prefix;
    char node[STORE_NODE_BYTES], generation[8];
    unsigned replicas_max;
    int64_t dead_us;
    struct redis_script admit, report, claim, beat;
    char **expected; /* roots that are asserted before anybody calls; owned, as their names */
    size_t expected_count;

    pthread_rwlock_t lock; /* of what follows; to read: while an answer is given to the meter */
    _Atomic uint64_t incarnation; /* written with the lock */
    struct table roots;           /* of this incarnation, and those that are busy */

    _Atomic bool up;
    _Atomic bool sweep_again; /* some root has changes and is not asserted */
    _Atomic unsigned nodes;
    _Atomic unsigned connected; /* workers whose connection is up */
    _Atomic int64_t since;      /* the store remembers; 0 = not known */
    _Atomic int64_t swept;      /* the <since> for which all roots were asserted */
    _Atomic int64_t leapt;      /* the <since> in which the store's clock was set forward */
    _Atomic int64_t forgot;     /* the <since> in which counters were thrown away */
    _Atomic int64_t least_us; /* the store's clock to the monotonic one, at least; 0 = not known */
    _Atomic uint64_t life;    /* redis_life() that was seen last */
    _Atomic uint64_t rest_until_us;
    _Atomic uint64_t asked, timeouts, asserts;
    _Atomic int64_t latency_us;
};

uint64_t shared_incarnation(const struct shared *shared);
/* What was asked or told in <incarnation> may or may not have been done. */
void shared_lose(struct shared *shared, uint64_t incarnation);
/* The server answered with an error: it is left alone for a while. */
void shared_rest(struct shared *shared, const struct redis_reply *reply);
bool shared_is_resting(const struct shared *shared);
/* Does the store know that it is asserted in the current incarnation? With the lock held. */
bool shared_is_begun(const struct shared *shared, struct text root);
/* With the lock held: has the clock of <root>, which says <now_us>, been set forward since it was
 * asserted? Then what has left its windows by that counts no more, and still should. */
bool shared_sees_leap(struct shared *shared, struct text root, int64_t now_us);
/* It has, or the store's has: nobody asks before all nodes have asserted what they claim. */
void shared_leap(struct shared *shared);
/* Counters have been thrown away, and what others had in them is not known: as after a leap. */
void shared_forgot(struct shared *shared);
/* Does the store remember all that it was told, as far as is known? */
bool shared_remembers(const struct shared *shared);
/* What was asked about <root> came to nothing that is known: unless it is asserted since. */
void shared_doubt(struct shared *shared, struct text root);
/* With the lock held to write: begin a new incarnation. */
void shared_lose_locked(struct shared *shared);

/* Words that all commands about a root begin with: keys are added with shared_key(). */
void shared_life_key(const struct shared *shared, struct words *words, struct text root);
void shared_key(const struct shared *shared, struct words *words, struct text root,
                struct text counter);
/* Node, generation, incarnation, and what the nodes' clock is at least. */
void shared_sign(const struct shared *shared, struct words *words, uint64_t incarnation);
/* <check>: the connection is new, or something seems to be lost. */
void shared_beat_words(const struct shared *shared, struct words *words, bool check);
/* Mode, a, z: of a change; <had> as in assert.lua. */
void shared_span_words(struct words *words, const struct meter_change *change, bool had);
/* One counter of a question; <flags> as in admit.lua, a literal. */
void shared_ask_words(struct words *words, const struct use *use, const struct meter_lack *lack,
                      struct text flags);

/* ----------------------------------------------------------------------------- a worker */

struct life; /* the first worker's duties */
struct reports;

/* What the scripts answer with. */
enum store_status {
    STORE_FULL,
    STORE_GOOD,
    STORE_STALE,
    STORE_YOUNG,
    STORE_CLOCK,
    STORE_UNKNOWN,
    STORE_FORGOT,
};

struct store_redis {
    struct shared *shared;
    struct loop *loop;
    struct redis *redis;
    uint64_t life;
    bool is_connected; /* counted among shared->connected */
    struct words words;
    struct link asked;   /* questions on their way */
    struct link ahead;   /* questions of streams, on their way or waiting */
    struct link waiting; /* questions that wait for an assertion */
    struct link decided; /* questions that need not be asked: refused in the next moment */
    struct link free;    /* to be used again */
    struct timer decide;
    struct full_counter *full;
    size_t free_count, ahead_count, assertion_count;
    size_t piece_count; /* calls of assertions under way */
    struct timer again; /* for those that wait */
    struct meter_lack lacks[USES_MAX];
    struct meter_grant grants[USES_MAX];
    struct life *duties;
    struct reports *reports;
};

bool store_may_ask(const struct store_redis *store);
/* How long what no call waits for may take: a store that is being told all by many nodes is slow,
 * and to give up then is to begin anew. 0 = as usual. */
int64_t store_patience(const struct store_redis *store);
/* Is there an answer, and is it one of a script? Else the incarnation is lost where something may
 * have been done, and nobody asks until the next beat. */
bool store_answered(struct store_redis *store, uint64_t incarnation, enum redis_fault fault,
                    const struct redis_reply *reply);
/* Of an answer's list. */
int64_t store_number(const struct redis_reply *reply, size_t i);
bool store_eval(struct store_redis *store, const struct redis_script *script, int64_t timeout_us,
                redis_answer *answer, void *with);
void questions_init(struct store_redis *store);
/* After the connection. */
void questions_done(struct store_redis *store);
/* Something was asserted of <root>: those who wait for it look again. */
void store_wake(struct store_redis *store, struct text root);
/* Only those do that gave these links to store_assert(). */
void store_wake_askers(struct link *askers);

/* ------------------------------------------------------------------------------ assertions */

enum assert_result {
    ASSERT_BEGUN,
    ASSERT_BUSY, /* somebody does already, or too many are under way: look again later */
    ASSERT_DONE, /* it has been since <sent_us> */
    ASSERT_AWAY,
};
/* Assert <root> on this connection; with <r> (NULL = all of it), what that needs first, and done is
 * done when the store has that. <sent_us>: when the question was sent to which the answer was that
 * the store does not know of it; 0 = it was not asked. <asker>, NULL or a link of a question:
 * begun, it is in a list of who looks again when the store has it, until it is taken out. */
enum assert_result store_assert(struct store_redis *store, struct text root,
                                const struct reservation *r, uint64_t sent_us, struct link *asker);

/* ------------------------------------------------------------------------------ the first */

struct life *life_new(struct store_redis *store);
void life_free(struct life *life);
/* It came up, or went away. */
void life_changed(struct life *life);
/* An assertion has ended. */
void life_step(struct life *life);

struct reports *reports_new(struct store_redis *store);
void reports_free(struct reports *reports);
/* Send what has changed; the first worker's. */
void reports_step(struct reports *reports);
/* Send soon what has changed of <root>. */
void reports_hurry(struct reports *reports, struct text root);
