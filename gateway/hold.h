/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * hold - calls that wait for their rate limit instead of being told 429: for clients that give up
 * on it. Bounded in time (limits.hold_429) and number; first come, first served, for each counter
 * that is full. What is out of money does not wait: it would wait for nothing.
 */

#include "gateway/exchange.h"

enum { HOLD_MAX = 256 }; /* calls of one worker */

struct holding {
    struct worker *worker;
    struct link calls; /* by hold_link, in the order of their coming */
    unsigned count;
    struct timer timer;
};

void holding_init(struct holding *holding, struct worker *worker);

/* <x> was refused by a rate limit: may it wait, and try again later? Then it is noted. */
bool hold_take(struct exchange *x);
/* Do earlier calls wait for a counter that <x> wants? Then it waits behind them, and true. */
bool hold_behind(struct exchange *x);
void hold_forget(struct exchange *x);
