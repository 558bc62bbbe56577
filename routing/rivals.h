/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * rivals - how others choose, from their public sources, at their documented defaults. For
 * comparisons (simulate.h) only.
 *
 *   round-robin, random, weighted, least-request, p2c   textbook; Mitzenmacher 2001 for p2c
 *   tower        github.com/tower-rs/tower, load/peak_ewma.rs and balance/p2c: of two the one of
 * the least estimate * (pending + 1); peaks count in full, else it decays. The library has no
 * default of its own: 30 ms and 10 s as in its examples/tower-balance.rs; pending until the head of
 * the answer (CompleteOnResponse) peak-ewma    github.com/twitter/finagle,
 * loadbalancer/PeakEwma.scala: the same with 10 s, over the whole call; one that is asked, and of
 * which nothing is known, is the last kong         github.com/Kong/kong,
 * runloop/balancer/latency.lua (to 3.9): the least moving mean, which decays to 0 within 10 s; all
 * are compared (its k grows to their number), nothing in flight counts; those that come later begin
 * with the mean agentgateway github.com/agentgateway/agentgateway, types/loadbalancer.rs: the
 * better of two drawn with replacement, health / (1 + L * (1 + 0.1 * pending)), alpha 0.3 litellm
 * github.com/BerriAI/litellm, router_strategy/lowest_latency.py: the least mean of ten values, of
 * which the last one is replaced; a value is the time to the first token (of a stream, else the
 * whole time) divided by the answer's tokens; 5 s of cooldown litellm-shuffle
 * router_strategy/simple_shuffle.py: by weight; the same cooldown c3           Suresh et al., NSDI
 * 2015: R - 1/mu + q^3/mu; without its rate control prequal      Wydrowski et al., NSDI 2024: three
 * probes a call, a pool of 16, hot above the 0.84 quantile of calls in flight, else the least
 * latency of answers that have come jiq          Lu et al., 2011: one that has no call at all, else
 * at random; every dispatcher knows of all that are idle, which is more than it would smg
 * github.com/sgl-project/sglang, its router's policies/cache_aware.rs, with the defaults of its
 * command line: the longest match above 0.3, else the smallest tree; the fewest calls where they
 * differ by more than 64 and by half chbl         Mirrokni et al., 2018: consistent hashing of the
 * prefix, load at most 1.25 of fair
 *
 * One published figure can be played with what is here: Finagle's slow node (linkerd.io, 2016), for
 * round robin, least request and Peak EWMA; tests/unit/routing/simulate_test.c holds it. Kong,
 * agentgateway, LiteLLM, tower and SMG have published none for their formulas, and the papers' (C3,
 * Prequal, JIQ) are of clusters that this does not model; of them tests/unit/routing/rivals_test.c
 * holds steps that were worked out by hand from the source.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RIVAL_TARGETS_MAX = 16, RIVAL_LIST = 10, RIVAL_POOL = 16, RIVAL_PREFIXES_MAX = 1024 };

enum rival {
    RIVAL_NONE,
    RIVAL_ROUND_ROBIN,
    RIVAL_RANDOM,
    RIVAL_WEIGHTED,
    RIVAL_LEAST_REQUEST,
    RIVAL_P2C,
    RIVAL_TOWER,
    RIVAL_PEAK_EWMA,
    RIVAL_KONG,
    RIVAL_AGENTGATEWAY,
    RIVAL_LITELLM,
    RIVAL_LITELLM_SHUFFLE,
    RIVAL_C3,
    RIVAL_PREQUAL,
    RIVAL_JIQ,
    RIVAL_SMG,
    RIVAL_CHBL,
    RIVALS
};
/* "round-robin", ...; RIVAL_NONE when there is none of that name. */
const char *rival_name(enum rival rival);
enum rival rival_find(const char *name, size_t length);

/* What one replica has learnt of one target. */
struct rival_target {
    unsigned weight;
    double estimate, stamp; /* a moving mean of seconds, and when it was moved last */
    bool seen;
    unsigned pending, unanswered; /* in flight; those without a first token */
    double health;
    double list[RIVAL_LIST];
    unsigned listed;
    double cool_until, minute; /* of the counts below */
    unsigned tries, fails;
    double queue, service; /* as the server tells with each answer */
    uint64_t prefixes[RIVAL_PREFIXES_MAX / 64];
};

struct rival_probe {
    size_t target;
    double at, latency;
    unsigned in_flight, uses;
};

struct rivals {
    enum rival rival;
    size_t count;
    unsigned replicas;
    uint64_t turn;
    struct rival_target targets[RIVAL_TARGETS_MAX];
    struct rival_probe pool[RIVAL_POOL];
    size_t pooled;
};

/* What a server would answer to a probe. */
struct rival_server {
    unsigned running, waiting, slots; /* slots 0 = any number */
    double latency;                   /* of its latest first tokens */
};

struct rival_call {
    double now;
    uint64_t random;
    uint64_t there;  /* bits of the targets that there are and that this call has not tried */
    unsigned prefix; /* below RIVAL_PREFIXES_MAX */
    bool has_prefix;
    double prefix_share;                /* of the prompt */
    const struct rival_server *servers; /* of every target, for those that ask */
};

void rivals_begin(struct rivals *rivals, enum rival rival, size_t count, unsigned replicas);
/* Which one; it is in flight from now on. <call>->there has at least one bit. */
size_t rivals_choose(struct rivals *rivals, const struct rival_call *call);
/* Its first token came <seconds> after it was chosen. */
void rivals_first(struct rivals *rivals, size_t target, double seconds, double now);

struct rival_end {
    double now, seconds;  /* since it was chosen */
    double first;         /* to the first token */
    bool stream;          /* somebody saw that */
    bool failed, is_busy; /* is_busy: 429 */
    int64_t tokens;
    double service; /* of those seconds, without queue: C3's servers tell */
    unsigned queue; /* there at the end: the same */
};
void rivals_end(struct rivals *rivals, size_t target, const struct rival_end *end);
