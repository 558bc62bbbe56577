/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* clang-format off */
/*
 * rivals - how others choose, from their public sources, at their documented defaults. For
 * comparisons (simulate.h) only. Each was held against its source line by line; and each one
 * reproduces a figure, or an example, that its authors have published: tests/unit/routing/
 * rivals_figures_test.c and simulate_test.c, listed in bench/ROUTING.md.
 *
 *   random, p2c      textbook; Mitzenmacher, "The power of two choices", 2001. Two different ones
 *   round-robin      smooth and weighted, as nginx has it: src/http/ngx_http_upstream_round_robin.c,
 *                    1.27 (commit 27e94984 explains it)
 *   weighted         at random, by weight
 *   least-request    the least (calls + 1) / weight of all: Kong 3.9, runloop/balancer/
 *                    least_connections.lua; Envoy 1.35, least_request_lb.cc, at active_request_bias 1
 *   tower            github.com/tower-rs/tower, 0.5.3, load/peak_ewma.rs and balance/p2c: of two the
 *                    one of the least estimate * (pending + 1); peaks count in full, else it decays.
 *                    The library has no default of its own: 30 ms and 10 s as in its examples/
 *                    tower-balance.rs; pending until the head of the answer (CompleteOnResponse)
 *   peak-ewma        github.com/twitter/finagle, 24.5.0, loadbalancer/PeakEwma.scala and p2c/
 *                    P2CPick.scala: the same with 10 s (Balancers.scala), over the whole call; one
 *                    that is asked, and of which nothing is known, is the last
 *   kong             github.com/Kong/kong, 3.9.3, runloop/balancer/latency.lua: the least moving mean
 *                    divided by the weight, which decays to 0 within 10 s; all are compared (its k
 *                    grows to their number), nothing in flight counts; those that come later begin
 *                    with the mean of all, themselves as 0
 *   agentgateway     github.com/agentgateway/agentgateway, 1.4.1-206-g75b4e6ce, types/loadbalancer.rs:
 *                    the better of two drawn with replacement, by capacity: health / (1 + L * (1 +
 *                    0.1 * pending)), alpha 0.3. Nobody is evicted unless a policy is configured
 *   litellm          github.com/BerriAI/litellm, 1.110.2, router_strategy/lowest_latency.py: the least
 *                    mean of the last ten values; of streams these are seconds to the first token, of
 *                    others the whole divided by the answer's tokens. router_utils/
 *                    cooldown_handlers.py: 5 s after 429, or when more than half of at least 5 calls
 *                    of this minute failed
 *   litellm-shuffle  the same, router_strategy/simple_shuffle.py: by weight; the same cooldown
 *   c3               Suresh et al., NSDI 2015, as in the authors' simulator github.com/lalithsuresh/
 *                    absim, 348dac6a, simulations/client.py (expDelay): R - 1/mu + q^3/mu, q = 1 +
 *                    ours in flight * clients + the server's queue; alpha 0.9 for the latest value.
 *                    Without its rate control
 *   prequal          Wydrowski et al., NSDI 2024: three probes a call, a pool of 16, at most 1 s old,
 *                    one removed with each call; hot above the 0.84 quantile of calls in flight, else
 *                    the least latency. What the paper leaves open (how the quantile is kept, one probe
 *                    of a server) is as in github.com/prequal-rs/prequal, 57887a47, prequal-core
 *   jiq              Lu et al., "Join-Idle-Queue", 2011: JIQ-Random. A server that becomes idle tells
 *                    one gateway, drawn at random; a gateway asks one that told it so, else any. Who
 *                    gets a call by chance withdraws its word (van Houdt et al., 2020)
 *   smg              github.com/lightseekorg/smg (once SGLang's router), 1.9.0-48-g73da68ca,
 *                    policies/cache_aware.rs, with the defaults of its command line (router_args.py):
 *                    who had more than 0.3 of the prompt, else the fewest calls, then the fewest ever;
 *                    the fewest calls too where they differ by more than 64 and by half
 *   chbl             Mirrokni et al., "Consistent hashing with bounded loads", 2018, with 1.25 as in
 *                    Vimeo's and brpc's: at most ceil(1.25 * calls / targets). A prefix has an order of
 *                    all targets instead of a ring
 *
 * c3, prequal and jiq learn from servers; what they hear is never old here, which is more than they
 * would have.
 */
/* clang-format on */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RIVAL_TARGETS_MAX = 64,
    RIVAL_LIST = 10,
    RIVAL_POOL = 16,
    RIVAL_NOTED = 64,
    RIVAL_PREFIXES_MAX = 1024
};

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

/* The latest values, oldest first. */
struct rival_list {
    double values[RIVAL_LIST];
    unsigned count;
};

/* What one replica has learnt of one target. */
struct rival_target {
    unsigned weight;
    int64_t credit;               /* of round robin */
    double estimate, stamp;       /* a moving mean of seconds, and when it was moved last */
    bool seen, met;               /* it has answered; it was there once */
    unsigned pending, unanswered; /* in flight; those without a first token */
    unsigned chosen;
    double health;
    struct rival_list whole, firsts; /* seconds per token; to the first one */
    double cool_until, minute;       /* of the counts below */
    unsigned tries, fails;
    double queue, service; /* as the server tells with each answer */
    uint64_t prefixes[RIVAL_PREFIXES_MAX / 64];
};

struct rival_probe {
    size_t target;
    double at, latency;
    unsigned in_flight, uses_left;
};

/* Prequal's. */
struct rival_pool {
    struct rival_probe probes[RIVAL_POOL]; /* oldest first */
    size_t count;
    unsigned notes[RIVAL_NOTED], sorted[RIVAL_NOTED], noted, next_note;
    bool worst_next;
};

struct rivals {
    enum rival rival;
    size_t count;
    unsigned replicas;
    struct rival_target targets[RIVAL_TARGETS_MAX];
    struct rival_pool pool;
    uint64_t idle; /* bits of those that told us so */
    bool any_answered;
};

/* What a server would answer to a probe. */
struct rival_server {
    unsigned running, waiting;
    double latency; /* of its latest first tokens */
};

struct rival_call {
    double now;
    uint64_t random;
    uint64_t there;  /* bits of the targets that there are and that this call has not tried */
    unsigned prefix; /* below RIVAL_PREFIXES_MAX */
    bool has_prefix, stream;
    double prefix_share;                /* of the prompt */
    const struct rival_server *servers; /* of every target, for those that ask */
};

void rivals_begin(struct rivals *rivals, enum rival rival, size_t count, unsigned replicas);
/* Which one; it is in flight from now on. <call>->there has at least one bit. */
size_t rivals_choose(struct rivals *rivals, const struct rival_call *call);
/* <target> has nothing to do, and tells this one of all replicas; or withdraws that, having got a
 * call by chance. */
void rivals_idle(struct rivals *rivals, size_t target, bool is_idle);
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
