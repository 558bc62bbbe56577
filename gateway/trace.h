/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * trace - one call as a trace sees it: a span for the call and one for each of its tries, from and
 * to others by W3C Trace Context (www.w3.org/TR/trace-context), written as OTLP in JSON
 * (opentelemetry.io/docs/specs/otlp, /specs/semconv/gen-ai). Pure: no clocks, no sockets
 * (tracing.h).
 */

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "policy/ledger.h"
#include "routing/target.h"

enum { TRACE_ID_BYTES = 16, TRACE_TRIES_MAX = 8, TRACEPARENT_BYTES = 56 };

struct trace_try {
    uint64_t span;
    const struct target *target; /* lives as long as the call's configuration */
    uint64_t begun_us, ended_us; /* monotonic; ended_us 0 = it goes on */
    enum fault_kind fault;
};

struct trace {
    unsigned char id[TRACE_ID_BYTES];
    uint64_t span, parent; /* parent 0 = nobody has begun it before us */
    unsigned try_count;    /* of all tries; those beyond TRACE_TRIES_MAX have no span */
    struct trace_try tries[TRACE_TRIES_MAX];
};

/* What a traceparent field says. */
struct trace_context {
    unsigned char id[TRACE_ID_BYTES];
    uint64_t parent;
    bool sampled;
};
/* False when it is none: then the trace begins with us. */
bool trace_context_read(struct text traceparent, struct trace_context *context);

/* A try of <target> begins; of those with the same one, the last that goes on ends. */
void trace_begin_try(struct trace *trace, uint64_t span, const struct target *target,
                     uint64_t now_us);
void trace_end_try(struct trace *trace, const struct target *target, uint64_t now_us,
                   enum fault_kind fault);

/* The field that the present try's target is told, NUL-terminated; the call's own span when none of
 * its tries has one. */
void trace_write_parent(const struct trace *trace, char traceparent[TRACEPARENT_BYTES]);
/* The trace's id in 32 hexadecimal digits, NUL-terminated. */
void trace_write_id(const struct trace *trace, char hex[2 * TRACE_ID_BYTES + 1]);

/* What was said: JSON texts of the conventions (transcript.h), or empty. */
struct trace_content {
    struct text input, system, tools, output;
    bool cut; /* there was more */
};

/* What its spans say beside the times of its tries. */
struct trace_facts {
    const struct trace_content *content; /* for the try that answered; or NULL */
    const struct ledger_row *row;
    const char *method;
    struct text route, path, peer, cache;
    uint64_t begun_us, now_us; /* monotonic, of the whole call; row->started_us is when that was */
};
/* Append its spans, each with a comma behind it. What is cut for want of room leaves <out> as it
 * was: false. */
bool trace_write_spans(const struct trace *trace, const struct trace_facts *facts,
                       struct buffer *out);
