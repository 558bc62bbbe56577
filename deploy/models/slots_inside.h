/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The insides of slots: places (slots.c) and the queue (slots_wait.c).
 *
 * A place is one word, changed by compare-and-swap:
 *
 *   generation (32 bits) | open (1 bit) | calls that run on it (31 bits)
 *
 * What describes it - replica, revision, address - is written only while it is shut and no call
 * runs on it, before the word that opens it; whoever changed the word from open to open with one
 * call more may read it until that call is given back. Places are made when first needed and stay.
 */

#include <pthread.h>

#include "deploy/models/slots.h"

enum { PLACE_OPEN = 1U << 31, SLOTS_KEY_BUCKETS = 64, SLOTS_OLD_RECORDS = 8 };

struct place {
    atomic_uint_fast64_t word;
    atomic_uint parallel, revision;
    atomic_bool is_doubtful;
    atomic_uint_fast64_t replica;
    atomic_uint_fast64_t calls, failures, timed, logs, squares; /* trial since slots_record() */
    atomic_uint adapter_count;
    atomic_uint_fast64_t adapters[SPEC_ADAPTERS_MAX];
    struct launch_address address;
};

/* A grant on its way: outlives the ticket when that one is left. */
struct ticket_grant {
    struct errand errand;
    struct ticket *ticket; /* NULL = it has left */
    struct loop *loop;
    struct ticket_grant *next;
};

/* Those of one key that wait, oldest first. */
struct ticket_queue {
    struct link turn;   /* in slots->turns */
    struct link bucket; /* in slots->buckets */
    struct link tickets;
    uint64_t key;
    unsigned count;
    int64_t bytes;
};

struct record {
    unsigned revision;
    struct trial sum;
};

struct slots {
    char name[SPEC_NAME_MAX + 1];
    _Atomic(struct place *) places[SLOTS_MAX];
    atomic_uint used; /* places made so far */
    atomic_uint next; /* where the search among equals begins */
    atomic_uint stable, canary, permille;
    atomic_uint_fast64_t calls, failures;
    atomic_uint held;

    pthread_mutex_t lock; /* of all that follows */
    struct link turns, ages, buckets[SLOTS_KEY_BUCKETS];
    int64_t held_bytes;
    struct loop *desk;
    struct errand *desk_errand;
    struct errand bell;
    bool rung;

    struct record old[SLOTS_OLD_RECORDS]; /* the desk's: of places that were opened anew */
    unsigned old_next;
};

static inline bool place_is_open(uint64_t word)
{
    return (word & PLACE_OPEN) != 0;
}

static inline unsigned place_calls(uint64_t word)
{
    return (unsigned)(word & (PLACE_OPEN - 1));
}

static inline uint32_t place_generation(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

/* Take a place, whoever waits. */
bool slots_grab(struct slots *slots, const struct slots_wish *wish, struct slot *slot);
/* Is any place free, of whatever revision? */
bool slots_have_room(const struct slots *slots);
/* Which of the revisions <wish> is for; 0 = any. */
unsigned slots_side(const struct slots *slots, const struct slots_wish *wish);
/* Wake the desk. */
void slots_ring(struct slots *slots);
void slots_wait_init(struct slots *slots);
/* Grant what can be granted, if somebody waits. Not with the lock held. */
void slots_serve(struct slots *slots);
