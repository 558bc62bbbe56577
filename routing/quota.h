/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * quota - what may be sent: limits of our own (provider rate, target limits), which are never
 * exceeded, and what a provider says is left of its own.
 *
 * A minute is counted in sixteen slots of four seconds, the oldest as a whole: in any stretch of a
 * minute no more is begun than the limit. Counted by this process alone. Any thread, no lock: what
 * is taken is added first and given back when it was too much.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct quota_limits {
    int64_t calls, requests, tokens; /* at once, per minute, per minute; 0 = no limit */
};

enum { QUOTA_SLOTS = 16 };
/* Relaxed atomics; zero = nothing counted. */
struct quota_window {
    atomic_uint_fast64_t slots[QUOTA_SLOTS];
};
struct quota_figures {
    atomic_int_fast64_t calls;
    struct quota_window requests, tokens;
};

/* One limit's rows and their counters. */
struct quota {
    struct quota_limits limits;
    struct quota_figures *figures;
};

/* Is there room for one call of <tokens>? */
bool quota_look(const struct quota *quota, int64_t tokens, uint64_t now_us);
/* Take it; false, and nothing is taken: there is none. */
bool quota_take(const struct quota *quota, int64_t tokens, uint64_t now_us);
/* Take it all the same: there is no way around. */
void quota_force(const struct quota *quota, int64_t tokens, uint64_t now_us);
/* The call that was begun at <begun_us> has ended, with <used> tokens instead of <tokens>. */
void quota_end(const struct quota *quota, int64_t tokens, int64_t used, uint64_t begun_us,
               uint64_t now_us);
/* It was not made. */
void quota_return(const struct quota *quota, int64_t tokens, uint64_t begun_us);

/* What a provider said of its own limits (x-ratelimit-*, anthropic-ratelimit-*). -1 = not said. */
struct quota_seen {
    int64_t requests_left, requests_limit, requests_reset_us; /* until it is full again */
    int64_t tokens_left, tokens_limit, tokens_reset_us;
};

/*
 * What is left of that. Between two answers, what is begun is taken off, and what refills until the
 * reset is added in proportion. Below a fiftieth of the limit, or below what the call takes, the
 * target is dry: it is left alone before it has to refuse.
 */
struct quota_left {
    atomic_int_fast64_t requests, requests_limit, requests_reset_us; /* limit 0 = not said */
    atomic_int_fast64_t tokens, tokens_limit, tokens_reset_us;
    atomic_int_fast64_t said_us;
};
void quota_said(struct quota_left *left, const struct quota_seen *seen, uint64_t now_us);
void quota_spend(struct quota_left *left, int64_t tokens);
/* When will there be enough for a call of <tokens>? 0 = now. */
uint64_t quota_dry_until(const struct quota_left *left, int64_t tokens, uint64_t now_us);
