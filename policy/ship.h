/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ship - `sync: store`: settling lines reach Redis before the last byte of their answer leaves, so
 * that a lost volume loses no call that a client knows the end of.
 *
 * A thread with a connection of its own. Workers hand over their lines; whatever has come together
 * is sent at once, and nothing waits for the answer to what was sent before. A line waits at most
 * the store's time-out: then, and while Redis is away, it goes on without, and is counted.
 *
 *   <prefix>{ledger}:waiting                     SET   names: "<ledger>/<instance>/<worker>"
 *   <prefix>{ledger}:waiting:<name>              ZSET  by sequence: "<sequence> <line>" (record.h)
 *
 * They stay until the sums that forward tells have them: it says in the same script how far the
 * journals are in them (<prefix>{ledger}:journals:<ledger>). Who reads counts what lies behind.
 */

#include "gateway/wire/redis.h"
#include "policy/journal.h"

struct ship;

struct ship_options {
    const struct redis_options *redis; /* borrowed for its life */
    const char *prefix, *ledger;       /* <ledger>: the name that the database got */
    int64_t keep_us;                   /* how long lines are kept at most; 0 = for ever */
};

/* NULL and *fault when the URL is none, or there is no thread. */
struct ship *ship_open(const struct ship_options *options, struct fault *fault);
/* No journal is written any more. */
void ship_close(struct ship *ship);

/* One per journal; ended with the ship. */
struct ship_box *ship_box_new(struct ship *ship, struct journal *journal);
/* On the worker's thread: a settling line was written. journal_stored() will be called. */
void ship_line(struct ship_box *box, uint64_t sequence, struct text body);

/* Lines that went on without. */
uint64_t ship_unstored(const struct ship *ship);
