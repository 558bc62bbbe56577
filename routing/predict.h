/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * predict - how long, and how dear, this call would be at that target. Integers only.
 *
 * Learnt per target and class of traffic, from whole answers: time to the first token, and time per
 * token after it; never the time of a whole call, which says more about its length than about the
 * target. Peaks count at once and fade with time. A failure is charged as a penalty, and is never a
 * fast sample.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "providers/call.h"

/* By the length of the prompt, since that makes the first token late. */
enum traffic {
    TRAFFIC_SHORT,  /* below 1,024 tokens */
    TRAFFIC_MIDDLE, /* below 8,192 */
    TRAFFIC_LONG,   /* below 65,536 */
    TRAFFIC_HUGE,
    TRAFFIC_OTHER, /* makes no tokens: embeddings, images, ... */
    TRAFFIC_CLASSES
};

enum traffic traffic_of(enum operation operation, int64_t input_tokens);

/* What one target's class has taught. Relaxed atomics; zero = nothing. */
struct predict_class {
    atomic_int_fast64_t first_us;     /* peak-sensitive, decayed mean of the time to first token */
    atomic_int_fast64_t first_p95_us; /* running quantile of it */
    atomic_int_fast64_t token_ns;     /* per output token after the first */
    atomic_int_fast64_t learnt_us;    /* monotonic time of the last sample */
    atomic_int_fast64_t samples;
};

struct predict_figures {
    struct predict_class classes[TRAFFIC_CLASSES];
    atomic_int_fast64_t work_tokens; /* in flight: what is still to be read and written */
    atomic_int_fast64_t penalty_us;  /* of failures; fades */
    atomic_int_fast64_t penalty_at_us;
};

struct prediction {
    int64_t first_us, first_p95_us; /* to the first token, queue and penalties included */
    int64_t total_us;               /* to the last one */
    int64_t wait_us;                /* its part that is queue */
    int64_t penalty_us;             /* its part that is for failures */
    int64_t cost_nanos;             /* of the call, as expected */
    int64_t cached_tokens;          /* of the prompt, expected to be in a cache there */
    int64_t work_tokens;            /* in flight there */
    bool known;                     /* false: nobody knows it; a prior */
};
