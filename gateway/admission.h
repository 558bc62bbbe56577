/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * admission - what a request asks for, read from its body, and whether its key may have it. Inside
 * gateway.
 */

#include "gateway/exchange.h"

/* Read the JSON body of <x> into its call. False: the fault says why. */
bool admission_read(struct exchange *x);

/* Find the route of its model, which is named, and check that the key may call it; of
 * admission_route().
 */
bool admission_find_model(struct exchange *x);
/* Find the route (or the pinned target) for its model; check that the key may call it. */
bool admission_route(struct exchange *x);

/* What is booked of what a call says about itself: all, or with store.capture: none only what money
 * needs - the user where limits of users have to be counted, and the configuration's own tags. */
struct text admission_booked_user(const struct exchange *x);
struct text admission_booked_tags(const struct exchange *x);
/* The row of the ledger for <x> as it stands: who, what and when, with the reservation. */
void admission_row(struct exchange *x, struct ledger_row *row);
