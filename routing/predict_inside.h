/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * predict_inside - what predicting (predict.c) and learning (predict_learn.c) have in common.
 *
 * Times are in microseconds, rooms in thousandths of a call. Nothing here fails.
 */

#include "routing/predict.h"

enum {
    MILLION = 1000000,
    PER_MILLE = 1000,
    LATE_PART = 32,           /* of the half-life: how fast what was late fades, */
    FAIL_PART = 8,            /* and what failed */
    ROOM_NEW_MILLI = 4000,    /* calls at once for whom nobody knows */
    APART_LEAST_PPM = 100000, /* from then on its own room is believed, in part */
    WAITING_BITS = 16,
    CALLS_MAX = 100000000,
    JOINED_LEAST_US = MILLION, /* nobody is known to be slow for less */
};

/* No time that is learnt or predicted is longer, no number of tokens higher. */
static const int64_t TIME_MAX_US = INT64_C(3600) * MILLION;
static const int64_t TOKENS_MAX = INT64_C(100) * MILLION;
static const int64_t TOKEN_MAX_NS = INT64_C(60) * 1000 * MILLION;

static inline int64_t get(const atomic_int_fast64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

/* A lost update of two workers at once does no harm: the next call teaches the same. */
static inline void set(atomic_int_fast64_t *figure, int64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

static inline int64_t add(atomic_int_fast64_t *figure, int64_t value)
{
    return atomic_fetch_add_explicit(figure, value, memory_order_relaxed) + value;
}

static inline int64_t clamp(int64_t value, int64_t most)
{
    return value < 0 ? 0 : value > most ? most : value;
}

static inline int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t room_of(const struct predict_figures *figures)
{
    int64_t room = get(&figures->room_milli);
    return room ? room : ROOM_NEW_MILLI;
}

/* Those that came while much was in flight did not have to wait. */
static inline bool is_roomy(const struct predict_class *class)
{
    int64_t calm = get(&class->calm_us), busy = get(&class->busy_us);
    return busy && busy < calm + calm / 16;
}

/* So much of its prompt is thought to be in the cache that it shows. */
static inline bool is_hit(const struct predict_ask *ask)
{
    return ask->cached_tokens > 0 && ask->cached_tokens >= ask->input_tokens / 4;
}
