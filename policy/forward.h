/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * forward - tells other nodes, by way of Redis, what this one has booked.
 *
 * A thread with a connection of its own. It only reads the database: rows of rollups and objects in
 * the order of their changes, and single calls in the order of booking (share.h), and hands them on
 * in batches, one under way at a time. How far Redis has been told stands in Redis, written by the
 * scripts that tell it, and is looked at once a second: what Redis forgets - flushed, restarted, a
 * failover that lost the last writes - takes the mark along, and is told again. So Redis may be
 * away for days, and nothing here remembers what was sent.
 *
 *   <prefix>{ledger}:ledgers          HASH   <ledger>/sums, /rows, /objects → "<epoch> <mark>
 * <when>" <prefix>{ledger}:minute:<bucket>  HASH   also hour, day: "<ledger>|<series>" →
 *                                            "<epoch> <requests> <input_tokens> …"
 *   <prefix>{ledger}:minutes          ZSET   also hours, days: the buckets there are
 *   <prefix>{ledger}:calls            STREAM from "<ledger>/<epoch>", line (record.h)
 *   <prefix>{ledger}:object:<id>      what was made through us: owners_inside.h
 *   <prefix>{ledger}:journals:<ledger> HASH  <instance>/<worker> → "<sequence> <when>": how far a
 *                                            journal is in the sums (ship.h asks that)
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/loop.h"
#include "gateway/wire/redis.h"
#include "policy/book.h"

struct forward;

struct forward_options {
    const struct redis_options *redis; /* borrowed for its life */
    const char *prefix, *database;
    struct book_keep keep;
    const char *told; /* a file that says how far the journals were told: told.h */
    /* The database is older than what Redis knows of it: on_older(with, epoch), on the thread of
     * forward. To be answered with share_begin_epoch(), by whoever may write. */
    void (*on_older)(void *with);
    void *with;
};

/* NULL and *fault when the URL is none, or there is no thread. */
struct forward *forward_open(const struct forward_options *options, struct fault *fault);
/* Tell what is left: within <wait_us>, or not. Then end. */
void forward_close(struct forward *forward, int64_t wait_us);

/* Something was booked; any thread. */
void forward_wake(struct forward *forward);
/* The number of the last call that was handed on; any thread. */
int64_t forward_told_rows(const struct forward *forward);
/* The epoch that the next one must be later than; 0 = none is needed. Any thread. */
int64_t forward_older_than(const struct forward *forward);

struct forward_figures {
    bool up;            /* Redis answers, and takes what it is told */
    int64_t calls_left; /* to be handed on */
    uint64_t batches, failures;
};
struct forward_figures forward_figures(const struct forward *forward);

/* For those who read what others have told: its loop, and on that its connection. */
struct loop *forward_loop(struct forward *forward);
struct redis *forward_redis(struct forward *forward);
const char *forward_prefix(const struct forward *forward);
/* The name of this database; empty when it is not known yet. On its loop. */
struct text forward_ledger(const struct forward *forward);
