/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * retry - how many further tries there may be, and how long to wait before one. Pure: time and
 * chance are handed in; no I/O, no lock.
 *
 * The further tries of a model live on a budget: each call puts a part of a token into it, each
 * further try takes a whole one. So a provider that fails everything is asked at most
 * RETRY_SHARE_PPM more often than when it is well, and when it comes back, no wave of tries is
 * waiting for it. Where there are few calls a floor is granted with time.
 *
 * Public source of the idea: Finagle's RetryBudget; Envoy's retry_budget (20 %, at least 3).
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    RETRY_SHARE_PPM = 150000,      /* of the calls */
    RETRY_FLOOR = 5,               /* tokens that there are at first */
    RETRY_MAX = 20,                /* that are kept */
    RETRY_PER_SECOND_PPM = 200000, /* tokens that come with time: one in five seconds */
};

/* Relaxed atomics; all zero = full to its floor. Tokens are counted in millionths. */
struct retry_budget {
    atomic_int_fast64_t spent_ppm; /* beyond what came in; the floor is left while it is below it */
    atomic_uint_fast64_t filled_us;
};

/* A call has come: its part goes in. */
void retry_deposit(struct retry_budget *budget, unsigned share_ppm);
/* Take one try's token; false: there is none, and no further try. */
bool retry_withdraw(struct retry_budget *budget, uint64_t now_us);
/* Whole tokens that are left. */
int64_t retry_left(const struct retry_budget *budget);

/* How long to wait before the <n>-th further try of a call (from 1 on): anything between half of
 * and all of <first_us> * 2^(n-1), at most <max_us>. */
int64_t retry_backoff_us(int64_t first_us, int64_t max_us, unsigned n, uint64_t random);
