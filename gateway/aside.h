/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * aside - a hedged call: when a target's first byte is late, another one is asked as well, and
 * whoever answers first is the one. Inside gateway.
 *
 * The try that is late is set aside, with its connection; the exchange goes on with the other one
 * as with any try. When the one aside answers well first, it takes its place back. Whoever has lost
 * is given up at once and booked by itself (abandoned.h), within what was held for both beforehand.
 *
 * Only where the policy says so (hedge: {after, max_share}), for a share of the calls, once in a
 * call, when the request has gone out whole and nothing of an answer has come; never for uploads,
 * tunnels, background and stored responses, or what lives at one target.
 */

#include "gateway/exchange.h"

/* When the present try is late enough for it; 0 = never. */
uint64_t aside_due_us(const struct exchange *x);
/* It is late: set it aside, so that ROUTE chooses another. False when there is none to ask. */
bool aside_begin(struct exchange *x);
/* The present try failed, or could not be made: the one aside takes its place. False when there is
 * none. */
bool aside_return(struct exchange *x);
/* The present try answers well, or nobody waits any more: the one aside is given up, and booked. */
void aside_cancel(struct exchange *x);
