/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * capture - what is said in a traced call and in its answer, for its spans
 * (telemetry.tracing.capture_content): as it goes to the target, and as the client gets it, so that
 * what a guardrail has taken out is in neither. Inside gateway. Nothing here fails: what cannot be
 * read, or is too long, is not captured.
 *
 * A call that is not captured costs a look at a pointer here and there.
 */

#include "gateway/exchange.h"
#include "gateway/trace.h"

/* A try of a traced call begins: keep what the call says, where its tenant lets it be kept. */
void capture_begin(struct exchange *x);
/* More of the answer goes to the client. <x> has x->capture. */
void capture_answer(struct exchange *x, struct text piece);
/* All that was said; in the exchange's arena. NULL where nothing was captured. */
const struct trace_content *capture_end(struct exchange *x);
/* Free what it holds; once more is fine. */
void capture_forget(struct exchange *x);
