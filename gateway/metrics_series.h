/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * metrics_series - what metrics.c counts and metrics_write.c prints. For nobody else.
 *
 * A series is one combination of label values of a family; it has one row of cells for each
 * worker, which only that worker writes. So adding is a plain load and store, and the scrape may
 * read at any time.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/base/table.h"
#include "gateway/metrics.h"

/* ---------------------------------------------------------------------------- histograms */

/* One cell for each bucket, the last of them for what is above all others, and one for the sum. */
enum histogram_shape {
    SHAPE_SECONDS, /* of calls: 10 ms times 2^n up to 82 s (OpenTelemetry's advice for gen_ai) */
    SHAPE_FINE,    /* of our own part: 10 us to 1 s */
    SHAPE_TOKENS,  /* 4^n up to 67 million (the same advice) */
    SHAPE_FIRST,   /* to the first token: 1 ms to 10 s (the same) */
    SHAPE_EACH,    /* for each token more: 10 ms to 2.5 s (the same) */
};
enum { HISTOGRAM_BUCKETS = 17, HISTOGRAM_CELLS = HISTOGRAM_BUCKETS + 1 };

/* Upper bounds, in microseconds or tokens; INT64_MAX is the last of a shape. */
extern const int64_t histogram_bounds[][HISTOGRAM_BUCKETS];

/* ---------------------------------------------------------------------------- families */

enum family {
    FAMILY_HTTP,       /* listener */
    FAMILY_CALL,       /* model provider target tenant */
    FAMILY_TOKENS,     /* model tenant */
    FAMILY_MODEL,      /* model */
    FAMILY_TARGET,     /* target */
    FAMILY_GENAI,      /* operation provider model, that of the provider, its address */
    FAMILY_GENAI_TIME, /* the same, and error */
    FAMILIES
};

enum { HTTP_METHODS = METHOD_PATCH + 1, HTTP_CODES = 40 };

enum call_cell { CALL_OUTCOMES = LEDGER_LOST + 1, CALL_CELLS = CALL_OUTCOMES };
enum token_cell {
    TOKENS_INPUT,
    TOKENS_CACHED,
    TOKENS_CACHE_WRITE,
    TOKENS_OUTPUT,
    TOKENS_REASONING,
    TOKENS_KINDS,
    TOKENS_COST_NANOS = TOKENS_KINDS,
    TOKENS_CELLS
};
enum model_cell {
    MODEL_IN_FLIGHT,
    MODEL_DURATION,
    MODEL_TTFT = MODEL_DURATION + HISTOGRAM_CELLS,
    MODEL_OVERHEAD = MODEL_TTFT + HISTOGRAM_CELLS,
    MODEL_CELLS = MODEL_OVERHEAD + HISTOGRAM_CELLS
};
enum genai_cell {
    GENAI_INPUT,
    GENAI_OUTPUT = GENAI_INPUT + HISTOGRAM_CELLS,
    GENAI_FIRST = GENAI_OUTPUT + HISTOGRAM_CELLS,
    GENAI_EACH = GENAI_FIRST + HISTOGRAM_CELLS,
    GENAI_CELLS = GENAI_EACH + HISTOGRAM_CELLS
};
enum genai_time_cell { GENAI_DURATION, GENAI_TIME_CELLS = GENAI_DURATION + HISTOGRAM_CELLS };

enum { SERIES_LABELS_MAX = 6, SERIES_MAX = 4096 /* of one family */ };

struct series {
    struct series *next;
    const struct text *labels[SERIES_LABELS_MAX]; /* escaped for the text format */
    size_t stride;                                /* cells of one worker */
    void *memory;                                 /* behind the cells */
    atomic_uint_fast64_t *cells;                  /* [worker * stride + cell] */
};

/* Sum of a cell over all workers. */
uint64_t series_sum(const struct series *series, unsigned workers, size_t cell);

/* ---------------------------------------------------------------------------- the whole */

/* Which names a label has had; never forgotten, at most max_label_values. */
struct label {
    struct table names; /* to struct text: the escaped name */
    size_t count;
};

enum label_kind {
    LABEL_MODEL,
    LABEL_PROVIDER,
    LABEL_TARGET,
    LABEL_TENANT,
    LABEL_LISTENER,
    LABEL_OPERATION,
    LABEL_VENDOR, /* what OpenTelemetry calls a provider */
    LABEL_UPSTREAM_MODEL,
    LABEL_ADDRESS,
    LABEL_ERROR,
    LABELS
};

/* How a provider is told in gen_ai metrics. */
struct vendor {
    char *known_as, *address;
};

struct metrics {
    struct metrics_options options;
    int64_t started_us;   /* wall clock */
    pthread_mutex_t lock; /* over labels and the lists of series */
    struct label labels[LABELS];
    struct series *series[FAMILIES], **series_end[FAMILIES];
    struct table series_by_labels[FAMILIES]; /* named by the addresses of their labels */
    struct metrics_worker **workers;
    struct table vendors;    /* by a provider's name: struct vendor */
    atomic_uint vendors_are; /* counts their changes */

    atomic_size_t page_bytes; /* of the last page that was written; 0 = none was */
    atomic_bool reload_good;
    atomic_int_fast64_t reload_at_us;
    _Atomic(struct ledger *) ledger;
    _Atomic(struct decisions *) decisions;
    _Atomic(struct content *) content;
    _Atomic(struct limits *) limits;
    _Atomic(struct cache *) cache;
    _Atomic(struct semantic *) semantic;
};

/* The status code that stands for HTTP code cell <i>; 0 = any other. */
int metrics_code_at(size_t i);
