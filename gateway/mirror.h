/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * mirror - a call is sent to a second target, too, whose answer is thrown away. Inside gateway.
 *
 * It has a copy of all that it needs, so that the call never waits for it, and lives on when the
 * call has ended. It is booked by itself, under an id of its own, with the tag mirror=1: whoever
 * wanted the rule pays for it, so that it is held against nobody's limits. Asked for in one piece,
 * whatever the client wants, and read for what it used.
 *
 * Only chats, completions and embeddings in the dialect of that target, with a body that is not too
 * long; never forms, sockets, and what providers keep. At most so many at once as the rule says;
 * what is more is not mirrored, and counted.
 */

#include "gateway/exchange.h"

/* <x> is about to be sent for the first time: mirror it, where its rule says so. */
void mirror_begin(struct exchange *x);
/* The worker ends: book and forget all that are still on their way. */
void mirrors_stop(struct worker *worker);
