/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * waits - every wait of an exchange for its target has an end: the first byte, the whole answer,
 * the silence within a stream, the client's own wish. One timer. Inside gateway.
 */

#include "gateway/exchange.h"

/* The call is routed for the first time: what its client wishes to wait counts from now. */
void waits_wish(struct exchange *x);
/* A target is asked now. */
void waits_begin(struct exchange *x);
/* What is waited for has changed: set the timer anew. */
void waits_set(struct exchange *x);
/* The same, when another try has become the present one. */
void waits_again(struct exchange *x);
/* The target is read again after a pause: its silence counts from now. */
void waits_resume(struct exchange *x);

/* When the call's time is over, all tries together; 0 = not known yet. */
uint64_t waits_end_us(const struct exchange *x);
/* Take the exchange's step again then, while it waits in ROUTE for its next try. */
void waits_until(struct exchange *x, uint64_t at_us);
/* Does `first_byte` mean the first token of this stream, not only its head? When the operator has
 * set it; its default would end calls whose model thinks in silence. */
bool waits_for_first_token(const struct exchange *x);
