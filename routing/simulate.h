/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * simulate - a world of targets and calls, event by event, around the picker that the gateway uses
 * (route_choose, route_first, route_end), and around the formulas of others (rivals.h).
 *
 * The calls of a seed are drawn first - when each comes, how long it is, how lucky it is - and are
 * the same for everyone who is compared: differences are paired. A target serves so many calls at
 * once and keeps the others in a queue, first come, first served. A call holds its place while its
 * prompt is read and while its answer is written.
 *
 * Seconds are doubles here; what the gateway itself decides with is as it is there.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "routing/rivals.h"
#include "routing/route.h"

enum {
    SIMULATE_TARGETS_MAX = RIVAL_TARGETS_MAX,
    SIMULATE_REPLICAS_MAX = 8,
    SIMULATE_ANSWERS_MAX = 4,
    SIMULATE_TENANTS_MAX = 4,
    SIMULATE_PREFIXES_MAX = RIVAL_PREFIXES_MAX,
    SIMULATE_CALLS_MAX = 1 << 21,
    SIMULATE_SEEDS_MAX = 1000,
};

enum trouble {
    TROUBLE_NONE,
    TROUBLE_SLOW,  /* the median of its first token is <takes> */
    TROUBLE_FAIL,  /* a share of its calls ends in 503 after <takes> */
    TROUBLE_BUSY,  /* the same with 429 */
    TROUBLE_STALL, /* a share of its first tokens comes <takes> later */
};

struct simulate_target {
    struct text name;
    int64_t first_us;          /* median to the first token, without queue and prompt */
    double spread;             /* sigma of its logarithm */
    int64_t token_us;          /* per output token after the first */
    int64_t read_rate;         /* prompt tokens a second; 0 = they take no time */
    unsigned slots;            /* calls at once; 0 = any */
    unsigned cache;            /* shared prefixes that it holds, the latest ones */
    int64_t tokens_per_minute; /* 0 = any; beyond it 429 with Retry-After */
    int64_t joins_us;          /* it is not there before */
    int64_t warms_us;          /* for so long after that everything takes warms_times */
    unsigned warms_times, weight;
    struct price price;
    int trouble; /* enum trouble */
    int64_t from_us, until_us, takes_us;
    double share; /* of the calls in that time */
};

/* What some of the calls' answers are like. */
struct simulate_answer {
    int64_t tokens;  /* the median */
    double share;    /* of the calls */
    double spread;   /* sigma of its logarithm */
    bool memoryless; /* exponential instead, of mean <tokens> */
    double tail;     /* > 0: Pareto instead, of 1 / this exponent, with <tokens> as the least */
};

enum judged {
    JUDGED_MISSES,
    JUDGED_FIRST,
    JUDGED_FIRST_P99,
    JUDGED_TOTAL,
    JUDGED_ERRORS,
    JUDGED_BILL
};

struct simulate_scenario {
    struct text name, about;
    struct simulate_target targets[SIMULATE_TARGETS_MAX];
    size_t target_count;
    struct simulate_answer answers[SIMULATE_ANSWERS_MAX];
    size_t answer_count;
    double rate;                   /* calls a second, Poisson */
    int64_t seconds_us, warmup_us; /* until the last one comes; those before are not counted */
    unsigned burst_times;          /* so many times the rate, */
    int64_t burst_every_us, burst_for_us;
    int64_t input_tokens;
    unsigned prefixes;     /* shared beginnings of prompts, each as often; 0 = none is shared */
    unsigned prompts;      /* different ones of each prefix */
    int64_t prefix_tokens; /* of input_tokens */
    bool lengths_known;    /* what a call will write is known before (max_tokens) */
    bool whole;            /* answers in one piece: nobody sees a first token */
    int64_t objective_us;  /* of the first token */
    int64_t miss_nanos;    /* what one that is later is worth, for JUDGED_BILL */
    unsigned replicas;     /* gateways, each with its own figures */
    int64_t told_us;       /* so often servers tell how many calls they have; 0 = never */
    unsigned retries;      /* on other targets, before the first token */
    double noisy_share;    /* of the calls; they come together, in bursts, from one tenant */
    int64_t noisy_tokens;  /* and write so much */
    int judged;            /* enum judged: what is compared */
};

/* Who picks: a policy of ours, or a rival's formula. */
struct simulate_picker {
    const char *name;
    enum rival rival;                  /* RIVAL_NONE: ours */
    const struct route_policy *policy; /* ours; NULL = the one that is built in */
};

/* Of one seed. Seconds, and shares of 1. */
struct simulate_result {
    double first_mean, first_p50, first_p99, first_p999;
    double total_mean, total_p99;
    double within;       /* share that met the objective */
    double quiet_within; /* the same of those that are not noisy */
    double errors;       /* share that the client sees */
    double extra;        /* tries beyond one, per call */
    double cost;         /* USD per 1,000 calls */
    double spread;       /* coefficient of variation of the targets' calls, for their weight */
    double hits;         /* share of calls whose prefix was cached */
    double in_flight;    /* mean calls in the system; by Little's law rate * total_mean */
    size_t calls;
    double judged; /* what the scenario compares; lower is better */
};

void simulate_run(const struct simulate_scenario *scenario, const struct simulate_picker *picker,
                  uint64_t seed, struct simulate_result *result);

/* Paired differences, and the 95 % interval of their mean (Student's t). */
struct simulate_interval {
    double mean, low, high;
};
struct simulate_interval simulate_compare(const double *ours, const double *theirs, size_t count);
