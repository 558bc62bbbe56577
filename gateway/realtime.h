/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * realtime - a WebSocket that passes through: bytes go both ways unchanged, and every
 * `response.done` that the provider sends is booked as a call of its own. Inside gateway.
 */

#include "gateway/exchange.h"

/* Does the provider's 101 belong to our handshake (RFC 6455 4.1)? */
bool realtime_accepts(const struct exchange *x, const struct head *head);
/* The provider has switched protocols: tell the client, and watch. */
void realtime_begin(struct exchange *x);
/* The next bytes from the provider. False when the session may not go on, because what it uses
 * cannot be booked, or is not allowed any more: the fault says why. */
bool realtime_down(struct exchange *x, struct text bytes);
/* The exchange is settled. */
/* Append an error event that says why the session ends, and a Close frame. What was passed down
 * before must have ended with a whole frame. */
void realtime_say_fault(struct exchange *x, struct buffer *out);
bool realtime_is_between_frames(const struct exchange *x);
void realtime_end(struct exchange *x);
void realtime_forget(struct exchange *x);
