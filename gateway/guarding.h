/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * guarding - an exchange and the guardrails that concern it (policy/guard.h): its request before it
 * is admitted, its answer before it leaves.
 */

#include "gateway/exchange.h"

/* Look at the request. False: it is blocked; the fault says by which rule. What is redacted is put
 * in the place of the body, which must be read anew when *changed. */
bool guarding_request(struct exchange *x, bool *changed);

/* Ask the webhooks, if there are any for its request: facts.guard_waits until they have answered,
 * and then guarding_answered(). */
void guarding_ask_request(struct exchange *x);
/* What they said. False: blocked; the fault says by which. */
bool guarding_answered(struct exchange *x, bool *changed);
/* The same for a whole answer (x->whole), or for the events of a stream (x->guarded), of which
 * nothing has left. */
void guarding_ask_answer(struct exchange *x);

/* Which rules concern its answer? Ask once the route is known. */
bool guarding_watches(struct exchange *x);

/* Look at a whole answer; x->whole may be another one afterwards. False: blocked. */
bool guarding_whole(struct exchange *x);
/* Give in an event of a stream; what may leave is in x->guarded. <last>: nothing comes after it.
 * False: blocked. */
bool guarding_event(struct exchange *x, struct text event, bool last);
/* The stream ended without an event that says so. */
bool guarding_end(struct exchange *x);

void guarding_forget(struct exchange *x);

/* A header line that names what was flagged or redacted, or nothing. */
void guarding_put_header(const struct exchange *x, struct buffer *out);
