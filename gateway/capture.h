/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * capture - what is said in a call and in its answer, for its spans
 * (telemetry.tracing.capture_content) and for the store (store.capture: full; content.h): as it
 * goes to the target, and as the client gets it, so that what a guardrail has taken out is in
 * neither. Inside gateway. Nothing here fails: what cannot be read, or is too long, is not
 * captured.
 *
 * A call that is not captured costs a look at a pointer here and there.
 */

#include "gateway/exchange.h"
#include "gateway/trace.h"

/* A try of a call begins, or a kept answer is its own: keep what the call says, where somebody
 * wants it and its tenant lets it be kept. Once more is fine. */
void capture_begin(struct exchange *x);
/* More of the answer goes to the client. <x> has x->capture. */
void capture_answer(struct exchange *x, struct text piece);
/* All that was said; in the exchange's arena. NULL where nothing was captured. Once more is
 * fine. */
const struct trace_content *capture_end(struct exchange *x);
/* The call is over: put what was said into the store, where it is wanted there. */
void capture_settle(struct exchange *x, const struct ledger_row *row);
/* Free what it holds; once more is fine. */
void capture_forget(struct exchange *x);
