/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * realtime - a WebSocket that passes through: bytes go both ways unchanged, and every
 * `response.done` that the provider sends is booked as a call of its own. What responses use until
 * then is counted as they go on, and held. Inside gateway.
 */

#include "gateway/exchange.h"

/* Does the provider's 101 belong to our handshake (RFC 6455 4.1)? */
bool realtime_accepts(const struct exchange *x, const struct head *head);
/* The provider has switched protocols: tell the client, and watch. */
void realtime_begin(struct exchange *x);
/* The next bytes from the provider, which are cut where the rest is given later. False when the
 * session may not go on, because what it uses cannot be booked, or is not allowed any more: the
 * fault says why. */
bool realtime_down(struct exchange *x, struct text *bytes);
/* Is the provider not read any further, because what it says first must be held? */
bool realtime_is_short(const struct exchange *x);
/* The next bytes from the client: they go to the provider once what a response to them reads is
 * held. False to stop reading; it is resumed. */
bool realtime_up(struct exchange *x, struct text bytes);
/* Append an error event that says why the session ends, and a Close frame. What was passed down
 * before must have ended with a whole frame. */
void realtime_say_fault(struct exchange *x, struct buffer *out);
/* Cut <bytes>, which realtime_down() got last (or are empty), so that another frame may follow
 * them. False where none may. */
bool realtime_cut(const struct exchange *x, struct text *bytes);
/* The exchange is settled: a response that has not ended is booked. */
void realtime_end(struct exchange *x);
void realtime_forget(struct exchange *x);
