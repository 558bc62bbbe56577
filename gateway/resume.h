/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * resume - an answer that broke off in the middle is continued by another target. Inside gateway.
 *
 * What was said so far goes up as the beginning of the assistant's answer (a prefill), and what
 * comes back is appended to the stream that the client has: without a beginning of its own. Only of
 * plain text in one choice, only to targets that are known to go on with an answer that is begun
 * (models[].targets[].prefill), and unless the policy says `resume: false`. What the first target
 * has made is booked by itself (abandoned.h).
 */

#include "gateway/exchange.h"
#include "gateway/http/sse.h"

/* A good stream has begun: may it be continued elsewhere, should it break off? Then all that is
 * said in it is kept, and so is the call. */
void resume_watch(struct exchange *x);
/* An event goes to the client, in its own dialect. */
void resume_note(struct exchange *x, const struct sse_event *event);
/* Is it a beginning that the client has had already? */
bool resume_drops(struct exchange *x, const struct sse_event *event);

/* Claude does not go on with what ends in white space: it is taken off there, and said again, as
 * like as not, at the beginning of what comes. The client has it already: <event> without that, its
 * bytes in the exchange's arena. */
void resume_join(struct exchange *x, struct sse_event *event);
/* So many bytes of what was said are white space that the present target must not see. */
size_t resume_blank(const struct exchange *x);

/* The stream broke off: can another target go on with it? */
bool resume_may(struct exchange *x);
/* It will: the call is made one that goes on; ROUTE finds the target. False when it cannot. */
bool resume_begin(struct exchange *x);
/* Where in the call's body its last message ends ("}"), for what a target wants to stand in it. */
size_t resume_at(const struct exchange *x);
void resume_forget(struct exchange *x);
