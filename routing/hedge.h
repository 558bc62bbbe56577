/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * hedge - how many calls may be asked twice: a share of all of them, whatever happens. Pure.
 *
 * When everything is slow, every call looks as though a second try would help; with this share as
 * the bound, it makes the load at most so much larger.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Relaxed atomics; all zero = no call yet. Old calls fade: the counts are halved now and then. */
struct hedge_budget {
    atomic_uint_fast64_t counts; /* calls, and of them those that were asked twice */
};

/* A call has come. */
void hedge_deposit(struct hedge_budget *budget);
/* May one of them be asked a second time? Then it counts as such. */
bool hedge_take(struct hedge_budget *budget, int64_t max_ppm);
