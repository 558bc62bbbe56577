/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * store_redis - the shared counters in Redis (docs/LIMITS.md): what is asked of it when a node's
 * own claims do not cover a call, and what is told to it.
 *
 * One `struct shared` per process (name of the node, incarnation, who is up), one `struct
 * store_redis` per worker, with a connection of its own. The first worker's also reports changes,
 * probes, sweeps and counts the nodes; while it has no connection, nobody asks.
 */

#include "gateway/wire/redis.h"
#include "policy/meter.h"

struct shared_options {
    const struct redis_options *redis; /* borrowed for its life */
    const char *prefix;                /* of all names in Redis; braces are left out of it */
    const char *node; /* name of this node: [a-z0-9]{1,32}, the same after a restart */
    unsigned replicas_max;
    int64_t dead_us; /* parallel calls of nodes that were not heard of for so long do not count; 0 =
                        30 s */
};

struct shared;
struct shared *shared_new(struct meter *meter, const struct shared_options *options);
/* After all stores. */
void shared_free(struct shared *shared);

struct store_redis;
/* NULL and *fault when the URL or the TLS files are wrong; not when nothing answers there. */
struct store_redis *store_redis_new(struct shared *shared, struct loop *loop, struct dns *dns,
                                    unsigned worker, struct fault *fault);
/* Whoever waits for an answer is told RESERVE_AWAY from within. */
void store_redis_free(struct store_redis *store);

/* Ask for what <reservation> lacks; its <done> is called on the loop within the time-out, with
 * GRANTED (it is live), REFUSED, or AWAY (then meter_take_away()). False: the store is away,
 * nothing was asked, and <done> will not be called. */
bool store_redis_ask(struct store_redis *store, struct reservation *reservation);
/* <done> is not called any more; what is granted later is kept for others, or given back. */
void store_redis_abandon(struct store_redis *store, struct reservation *reservation);
/* Hold more for a stream, for later calls of meter_extend(): asks, and calls nobody. One question
 * per request and kind at a time. */
void store_redis_ask_ahead(struct store_redis *store, struct reservation *reservation,
                           enum limit_kind kind, int64_t more);
bool store_redis_asks_ahead(const struct store_redis *store, const struct reservation *reservation,
                            enum limit_kind kind);

/* Tell soon what has changed of <root>: others may be waiting for it. */
void store_redis_hurry(struct store_redis *store, struct text root);

/* limits.c: NULL = there is no shared store. */
struct shared *limits_shared(struct limits *limits);

struct shared_figures {
    bool swept;         /* all that was there at the first connection is asserted */
    unsigned connected; /* workers that have a connection */
    bool up;            /* it is asked */
    unsigned nodes;     /* heard of within the last 5 s, this one too; 0 before the first time */
    uint64_t asked, timeouts, asserts;
    int64_t latency_us; /* of the last question */
};
/* Calls of this root will come: it is asserted with those that there are counters of, so that the
 * first of them has one question to ask, and not five. Before the first connection; beyond
 * STORE_EXPECTED_MAX they are not noted. */
enum { STORE_EXPECTED_MAX = 1024 };
void shared_expect(struct shared *shared, struct text root);

struct shared_figures shared_figures(const struct shared *shared);
