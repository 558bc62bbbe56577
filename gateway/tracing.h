/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * tracing - spans of calls, gathered and sent to a collector: OTLP over HTTP in JSON
 * (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP"). Inside gateway.
 *
 * Whether a call is traced is settled when its head has been read: as its traceparent says, or by
 * chance where it has none (telemetry.tracing.sample). What targets are told then names the try's
 * own span. A call that is not traced costs a look at a pointer here and there.
 *
 * One for each worker, over all configurations with the same collector. Spans are kept until there
 * are enough or a second has passed, and sent by one request at a time; what a collector that is
 * away or slow does not take is tried again a few times, and dropped when there is no room for more
 * (TRACING_BYTES_MAX): nobody waits for it.
 */

#include "gateway/exchange.h"

enum { TRACING_BYTES_MAX = 2 * 1024 * 1024 };

struct tracing;

/* What <before> (NULL: nothing) is for, if its collector is the same, else a new one; NULL where
 * there are to be no traces. */
struct tracing *tracing_ref(struct worker *worker, const struct tracing_settings *settings,
                            struct tracing *before);
void tracing_unref(struct tracing *tracing);
/* The worker is to end soon: send what there is, and from now on at once. NULL is fine. */
void tracing_hurry(struct tracing *tracing);
/* The worker ends: send what there is, and wait for nothing. NULL is fine. */
void tracing_stop(struct tracing *tracing);

/* A call's head has been read: is it traced? Then x->trace is made. */
void tracing_begin(struct exchange *x);
/* One of its tries begins, at x->target; or has ended. */
void tracing_begin_try(struct exchange *x);
void tracing_end_try(struct exchange *x, const struct target *target, enum fault_kind fault);
/* It is over: its spans are written. */
void tracing_settle(struct exchange *x, const struct ledger_row *row);
