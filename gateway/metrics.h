/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * metrics - what Prometheus reads: counters, gauges and histograms, text format 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * Each worker adds to cells of its own, without locks or locked instructions; the scrape sums
 * them up. A new combination of labels is made under a mutex that only the scrape shares, once, and
 * then remembered by the worker.
 *
 * Labels come from the configuration only, never from clients (but for unknown_model: passthrough):
 * a model is the route's name, or "other" when there is none. Beyond max_label_values names of one
 * label, or SERIES_MAX series of a family, the rest is counted under "other".
 *
 * Every function takes a NULL worker (metrics are off) and then does nothing.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/http/head.h"
#include "policy/ledger.h"

struct content;
struct decisions;

struct metrics;        /* one per process */
struct metrics_worker; /* one per worker; used by that thread only */

struct metrics_options {
    unsigned workers;
    unsigned max_label_values; /* names of one label; 0 = 500 */
    bool tenant_label;         /* false: every tenant is "" */
    bool gen_ai;               /* OpenTelemetry's names for calls of models, too */
};

struct metrics *metrics_new(const struct metrics_options *options);
void metrics_free(struct metrics *metrics);
/* The worker's own part; lives as long as <metrics>. NULL when <metrics> is NULL. */
struct metrics_worker *metrics_of(struct metrics *metrics, unsigned worker);

/* --------------------------------------------------------------- told by a worker, on its thread
 */

/* One HTTP exchange was answered on the listener named <listener>: every answer counts, also 400
 * and /livez. */
void metrics_http(struct metrics_worker *worker, struct text listener, enum method method,
                  int status);

/* One model call is over; <row> is its ledger row, <route> the configured model's name (empty when
 * none was found). Counts outcome, tokens, cost and times. */
void metrics_call(struct metrics_worker *worker, const struct ledger_row *row, struct text route);

/* One try on <target> has ended; FAULT_NONE for a good answer. */
void metrics_attempt(struct metrics_worker *worker, struct text target, enum fault_kind result);

/* A call of <route> begins (+1) or ends (-1). */
void metrics_in_flight(struct metrics_worker *worker, struct text route, int change);

enum metric_gauge {
    GAUGE_CONNECTIONS,          /* clients connected */
    GAUGE_STREAMS,              /* streamed answers being relayed */
    GAUGE_UPSTREAM_CONNECTIONS, /* open connections to providers, idle ones too */
    GAUGE_UPSTREAM_IDLE,
    METRIC_GAUGES
};
void metrics_gauge(struct metrics_worker *worker, enum metric_gauge gauge, int change);

enum metric_counter {
    COUNTER_ACCEPTED,          /* connections accepted */
    COUNTER_REFUSED,           /* connections turned away: too many, or draining */
    COUNTER_UPSTREAM_CONNECTS, /* connections opened to providers */
    COUNTER_UPSTREAM_REUSES,   /* tries that went over an idle connection */
    COUNTER_CLIENT_LEFT,       /* calls that the client ended before the answer did */
    COUNTER_CLIENT_BYTES_IN,   /* bytes read from clients */
    COUNTER_CLIENT_BYTES_OUT,  /* bytes written to clients */
    COUNTER_HANDSHAKE_FAILURES,
    COUNTER_DNS_QUERIES,
    COUNTER_LOG_DROPPED,
    COUNTER_LIMITED_REQUESTS, /* calls refused by a limit of requests, or of parallel calls */
    COUNTER_LIMITED_TOKENS,
    COUNTER_LIMITED_BUDGET,
    COUNTER_GUARDED,         /* calls or answers that a guardrail stopped */
    COUNTER_STORE_AWAY,      /* calls refused because the store was away */
    COUNTER_HELD,            /* calls that waited for a limit instead of being refused */
    COUNTER_SEMANTIC_HITS,   /* calls that were given the answer to a similar one */
    COUNTER_SEMANTIC_MISSES, /* calls that no answer was similar enough for */
    COUNTER_HEDGED,   /* calls for which a second target was asked, because the first was late */
    COUNTER_RESUMED,  /* answers that broke off and were continued by another target */
    COUNTER_MIRRORED, /* calls that a second target got, too */
    COUNTER_MIRROR_DENIED,    /* those for which too many were on their way */
    COUNTER_MIRROR_SKIPPED,   /* those whose second target is a deployment without a free place */
    COUNTER_RETRY_DENIED,     /* further tries for which the budget had no more */
    COUNTER_SEMANTIC_FAILED,  /* calls whose meaning the embedding model did not tell */
    COUNTER_SEMANTIC_SKIPPED, /* those whose embedding model is a deployment without a free place */
    COUNTER_SPANS_SENT,       /* of traces, taken by the collector */
    COUNTER_SPANS_DROPPED,    /* those it did not take, or there was no room for */
    METRIC_COUNTERS
};
void metrics_count(struct metrics_worker *worker, enum metric_counter counter, uint64_t by);

/* The sum over all workers; any thread. 0 when <metrics> is NULL. */
int64_t metrics_gauge_now(const struct metrics *metrics, enum metric_gauge gauge);
uint64_t metrics_count_now(const struct metrics *metrics, enum metric_counter counter);

/* ------------------------------------------------------------------- told by the service, any
 * thread */

/* How the last reload ended; only a good one moves its time stamp. */
void metrics_reload(struct metrics *metrics, bool good, int64_t wall_us);
/* What gen_ai metrics are to say of the provider called <provider> from now on; else they have that
 * name, and no address. */
void metrics_provider(struct metrics *metrics, struct text provider, struct text type,
                      struct text address);
/* Where these figures come from; NULL = nowhere. */
void metrics_ledger(struct metrics *metrics, struct ledger *ledger);
void metrics_decisions(struct metrics *metrics, struct decisions *decisions);
void metrics_content(struct metrics *metrics, struct content *content);

/* And those of limits and kept answers; NULL = nowhere. */
struct limits;
struct cache;
void metrics_policy(struct metrics *metrics, struct limits *limits, struct cache *cache);

struct semantic;
void metrics_semantic(struct metrics *metrics, struct semantic *semantic);

/* Append all of it in text format 0.0.4; false when <out> is too small (64 KiB is usual, 16 MiB
 * is always enough). Any thread. */
bool metrics_write(struct metrics *metrics, struct buffer *out);
