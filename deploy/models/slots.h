/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * slots - the places of the ready replicas of one deployment, which any worker takes and gives
 * back, and the calls that wait for one. A door of deploy/models.
 *
 * A replica that may be used has a slot with as many places as it runs calls at once. Taking and
 * giving back is one compare-and-swap. A call that finds no place may wait with a ticket: the queue
 * is bounded by count and bytes, served by keys in turn and within a key in order, and has a lock
 * of its own, which only those who wait take, and those who take or give back a place while
 * somebody waits: nobody overtakes a call that waits and could have the place. A granted ticket
 * holds its place already: its replica cannot be stopped under it.
 *
 * Only the desk (worker 0) opens, closes and weighs slots; but see slots_doubt().
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "deploy/models/launcher.h"
#include "deploy/models/trial.h"
#include "gateway/base/list.h"

struct slots; /* of one deployment; the same for the life of the process */

/* Found by name, or made. Any thread. */
struct slots *slots_of(struct text deployment);

/* ------------------------------------------------------------------------ any worker */

struct slots_wish {
    unsigned revision;   /* only of this one; 0 = as the rollout shares the calls out */
    uint64_t share_hash; /* decides which side of a canary it is on: of the key or conversation,
                            else by chance */
    uint64_t
        affinity; /* of its beginning: the replica that knows it, unless it is too full; 0 = none */
    uint64_t adapter;  /* hash of the adapter's name; 0 = none: only where it is loaded */
    uint64_t not_this; /* a replica (slot_of_replica) that has just failed it; 0 = none */
};

struct slot {
    unsigned index;
    uint32_t generation; /* 0 = none is held */
    unsigned revision;
    uint64_t replica; /* a number for it, never used twice */
};

bool slots_take(struct slots *slots, const struct slots_wish *wish, struct slot *slot);
/* Where it is; false when it has been closed in the meantime (give it back all the same). */
bool slots_address(struct slots *slots, const struct slot *slot, struct launch_address *address);

/* Is it open still? Also of a slot whose place was given back. */
bool slots_is_open(const struct slots *slots, const struct slot *slot);

/* How a call went, for rollouts and health. */
enum slot_outcome { SLOT_FINE, SLOT_FAILED, SLOT_UNKNOWN };
/* <ttft_us>: to the first byte; 0 = not known. Grants the place to who waits longest in turn. */
void slots_give(struct slots *slots, struct slot *slot, enum slot_outcome outcome, int64_t ttft_us);

/* Nobody was there for a call that has its place, which is given back as ever. Where the desk has
 * it so (slots_open_doubtful()), no more calls go there before it has looked. */
void slots_doubt(struct slots *slots, const struct slot *slot);

/* One that waits. Zeroed but for the first part; the owner's until it is granted or left. */
struct ticket {
    struct slots_wish wish;
    uint64_t key;                            /* fairness is between these */
    int64_t bytes;                           /* that it holds while it waits */
    struct loop *loop;                       /* whose thread is woken */
    void (*on_grant)(struct ticket *ticket); /* there: slot is set, or why_not */

    struct slot slot;
    const char *why_not; /* a reason's word, which lives in the ticket: the deployment cannot be had
                            (launch_failed, stopped …), or queue_full: a key with fewer calls in
                            the queue took its place */
    char why[48];
    struct link link, age; /* inside slots_wait.c */
    struct ticket_queue *queue;
    struct ticket_grant *grant;
    uint64_t since_us;
    int state;
};

enum ticket_answer { TICKET_WAITS, TICKET_TAKEN, TICKET_FULL };
/* Take a place, or wait for one as <max_requests> and <max_bytes> allow. Demand is known to the
 * desk from this moment (its loop is woken when it sleeps). */
enum ticket_answer slots_wait(struct slots *slots, struct ticket *ticket, unsigned max_requests,
                              int64_t max_bytes, uint64_t now_us);
/* Wait no longer. A place that it holds by now is given back here (who copies the slot out of the
 * ticket zeroes it there). After this, on_grant() does not come, and the ticket's memory is the
 * caller's. On the ticket's own thread; of one that never waited, does nothing. */
void slots_leave(struct slots *slots, struct ticket *ticket);

/* What is known now; any thread, for choices and pages. */
struct slots_figures {
    unsigned ready, places, in_flight, held;
    int64_t held_bytes;
    uint64_t oldest_us; /* when the one that waits longest came; 0 = nobody waits */
    uint64_t calls, failures;
};
struct slots_figures slots_figures(struct slots *slots);

/* --------------------------------------------------------------------------- the desk */

/* A replica may be used from now on. Its generation is 0 when SLOTS_MAX are in use. */
enum { SLOTS_MAX = 256 };
struct slot slots_open(struct slots *slots, uint64_t replica, unsigned revision,
                       const struct launch_address *address, unsigned parallel);
/* The same of one that somebody else looks after, who may be gone: one call that finds nobody there
 * is enough to close it. The desk is rung then. */
struct slot slots_open_doubtful(struct slots *slots, uint64_t replica, unsigned revision,
                                const struct launch_address *address, unsigned parallel);
/* No new calls; those that run go on. */
void slots_close(struct slots *slots, const struct slot *slot);
/* Calls that run on it, granted tickets counted; of a closed one too. */
unsigned slots_in_flight(const struct slots *slots, const struct slot *slot);
/* Which share of the calls goes to revisions: <permille> to <canary>, the rest to <stable>. 0 and 0
 * = any. Where the canary has no place, its calls go to the stable one; the other way only while
 * the stable one has no open replica at all. */
void slots_share(struct slots *slots, unsigned stable, unsigned canary, unsigned permille);
/* Which adapters a replica has loaded. */
void slots_adapters(struct slots *slots, const struct slot *slot, const uint64_t *adapters,
                    size_t count);
/* Everybody who waits is told that it is no use, with this word. */
void slots_fail_waiting(struct slots *slots, const char *why_not);
/* Those of them that wish this adapter. */
void slots_fail_adapter(struct slots *slots, uint64_t adapter, const char *why_not);
/* Post <errand> to <loop> when somebody begins to wait; NULL = nobody asks any more. */
void slots_set_desk(struct slots *slots, struct loop *loop, struct errand *errand);
/* What came to one revision since the last call of this. */
struct trial slots_record(struct slots *slots, unsigned revision);
