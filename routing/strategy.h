/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * strategy - how a policy weighs the candidates. Pure: no clock, no figures of its own.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/text.h"
#include "routing/predict.h"

enum strategy {
    STRATEGY_SCORE, /* cost and time at an exchange rate; power of two choices */
    STRATEGY_COST,  /* the cheapest of those that are fast enough (max_ttft) */
    STRATEGY_LATENCY,
    STRATEGY_LEAST_BUSY,
    STRATEGY_WEIGHTED,
    STRATEGY_PRIORITY,
    STRATEGY_ROUND_ROBIN,
    STRATEGY_STICKY,
};

enum sticky_by { STICKY_NONE, STICKY_KEY, STICKY_USER, STICKY_CONVERSATION };
enum latency_signal {
    SIGNAL_TTFT_P50,
    SIGNAL_TTFT_P95,
    SIGNAL_TOTAL_P50,
    SIGNAL_TOTAL_P95,
    SIGNAL_TOKENS_PER_SECOND,
};

/* A row of routing.policies. Lives as long as the configuration. */
struct route_policy {
    struct text name;
    enum strategy strategy;
    int64_t second_nanos;                     /* what a second less is worth; the exchange rate */
    unsigned cost_ppm, latency_ppm, load_ppm; /* score: {cost, latency, load} */
    enum latency_signal signal;
    int64_t half_life_us;
    unsigned explore_ppm;
    enum sticky_by sticky_by;
    int64_t sticky_ttl_us;
    int64_t hedge_after_us; /* -1 = never; 0 = at the learnt p95 of the first token */
    unsigned hedge_max_ppm; /* of the calls */
    int64_t max_ttft_us;    /* 0 = any */
    struct text *fallback;  /* names of models or ids of targets, in order */
    size_t fallback_count;
    bool no_resume; /* an answer that broke off is not continued by another target */
};
