/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * abandoned - tries that are paid for although their answer never came to the client.
 *
 * A target that has all of a call and is given up because it is too slow goes on working, and one
 * whose answer broke off has worked: both count, and so does the ledger. What they refused, or
 * broke off before anything of an answer came, nobody counts.
 */

#include <stdbool.h>

struct exchange;

/* Is the try that has just failed paid for? */
bool abandoned_is_paid(const struct exchange *x);

/*
 * Another try will be made: book this one as a call of its own (outcome partial, an id of its own,
 * the tag abandoned=1; the log names both ids), and hold for it what the reservation has not room
 * for: the next try may have to be shorter. False when that cannot be: then there is no other try,
 * and this one is booked with the call.
 */
bool abandoned_book(struct exchange *x);
