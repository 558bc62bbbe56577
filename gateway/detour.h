/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * detour - the targets that a routing policy falls back on when those of the model are used up:
 * other models, or single targets. Inside gateway.
 *
 * The call stays one of the model that was asked for: its name is in the ledger and in the limits;
 * only where it is sent changes. What a fallback costs beyond what is held is held first.
 */

#include "gateway/exchange.h"

/* Is there one that was not taken yet, and has a target that is on? Or one of the model's own that
 * rested when a fallback was taken. */
bool detour_is_there(const struct exchange *x);
/* A target of the first one that may be asked at once, or NULL. */
const struct target *detour_find_well(const struct exchange *x);
/* Do all that are left where the call is now rest, while a fallback may be asked at once? */
bool detour_is_better(const struct exchange *x);
/* Take the next: a fallback that may be asked at once, else what is left of the model's own, else
 * a fallback that rests. x->detour is where targets come from now. False when there is none, or it
 * cannot be paid for. */
bool detour_take(struct exchange *x);
