/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * strategy - how a policy weighs the candidates. Pure: no clock, no figures of its own.
 *
 *   score     money, and time at an exchange rate (second_nanos: what a second less is worth)
 *   cost      the cheapest of those that are fast enough (max_ttft_us), a queue counted six times;
 *             time among equals
 *   latency   time alone (signal)
 *
 * These three take those whose score is as good as the best one's - nearer than a prediction can be
 * trusted, and of score and latency those that too few calls have shown to be worse - and among
 * these the one with the least work in flight for its weight. Ties go at random. Where the prompt
 * of the call may be cached, the one that has it goes first (of several the one that its beginning
 * is drawn to, unless it has a quarter more in flight than another), then the one that its
 * beginning is drawn to (rendezvous hashing, so that all replicas agree; of two the one that was
 * given fewer new beginnings), as long as it has not a quarter more in flight than the others.
 *
 * score and latency: where calls come fast, no more of them wait for the first token of one target
 * than come within 12 ms, as long as others are nearly as good and not dearer.
 *
 *   least_busy     the fewest calls in flight for its weight
 *   weighted       at random, by weight
 *   round_robin    in turn, by weight
 *   priority       the first of the file
 *   sticky         by whose call it is (rendezvous hashing, by weight)
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/text.h"
#include "routing/predict.h"

enum strategy {
    STRATEGY_SCORE,
    STRATEGY_WEIGHTED,
    STRATEGY_PRIORITY,
    STRATEGY_LATENCY,
    STRATEGY_COST,
    STRATEGY_LEAST_BUSY,
    STRATEGY_ROUND_ROBIN,
    STRATEGY_STICKY,
};

enum sticky_by { STICKY_NONE, STICKY_KEY, STICKY_USER, STICKY_CONVERSATION };
enum latency_signal {
    SIGNAL_AUTO, /* latency: the first token; score: the whole answer */
    SIGNAL_TTFT_P50,
    SIGNAL_TTFT_P95,
    SIGNAL_TOTAL_P50,
    SIGNAL_TOTAL_P95,
    SIGNAL_TOKENS_PER_SECOND,
};

enum { FALLBACKS_MAX = 64 }; /* bits of a call's say which were taken */

/* A row of routing.policies. Lives as long as the configuration. */
struct route_policy {
    struct text name;
    enum strategy strategy;
    int64_t second_nanos; /* what a second less is worth; the exchange rate */
    /* Relative weights (score: {cost, latency, load}). Those of the default, 0.4 0.4 0.2, take
     * money as it is and time at the exchange rate; twice the latency makes a second worth twice as
     * much, load the same for the seconds that are queue. */
    int64_t cost_ppm, latency_ppm, load_ppm;
    enum latency_signal signal;
    int64_t half_life_us;
    int64_t explore_ppm;
    enum sticky_by sticky_by;
    int64_t sticky_ttl_us;
    int64_t hedge_after_us; /* -1 = never; 0 = at the learnt p95 of the first token */
    int64_t hedge_max_ppm;  /* of the calls */
    int64_t max_ttft_us;    /* 0 = any */
    int64_t max_cost_nanos; /* of a call, as expected; 0 = any */
    struct text *fallback;  /* names of models or ids of targets, in order */
    size_t fallback_count;  /* at most FALLBACKS_MAX; so of a rule's */
    bool no_resume;         /* an answer that broke off is not continued by another target */
};

/* The policy that is built in: "balanced". */
extern const struct route_policy strategy_balanced;

/* What decides: the time that the policy means, and the score (lower is better). Both are
 * saturated, never negative. */
int64_t strategy_time(const struct route_policy *policy, const struct prediction *prediction);
int64_t strategy_score(const struct route_policy *policy, const struct prediction *prediction);

/* A candidate that may be asked. */
struct bid {
    const struct prediction *prediction;
    int64_t score;
    unsigned weight;
    uint64_t identity; /* hash of its id */
    bool better;       /* it has just been much better than predicted: look again */
};

/* What falls out differently each time. */
struct chance {
    uint64_t random;
    uint64_t turn;   /* counts the choices of a route */
    uint64_t sticky; /* whose call it is; 0 = nobody's */
    uint64_t prefix; /* of the longest beginning of the prompt; 0 = too short to matter */
    int64_t gap_ns;  /* between two calls of this route: a mean; 0 = not known */
    bool all_slow;   /* too slow for the policy: any one may be asked instead */
    bool is_long;    /* its answer is expected to be far longer than this route's others */
};

/* The place of the one that is asked, among <count> of them (at least 1), and why. */
size_t strategy_pick(const struct route_policy *policy, const struct bid *bids, size_t count,
                     const struct chance *chance, const char **why);
/* The one whose figures are the oldest, and so old that a call may be spent on it: the older, the
 * more it costs and the fewer calls come (one every <gap_ns>; 0 = not known). <count> = none. */
size_t strategy_explore(const struct route_policy *policy, const struct bid *bids, size_t count,
                        int64_t gap_ns);

/* 64 bits that are as good as random, made of others. */
uint64_t strategy_mix(uint64_t bits);
