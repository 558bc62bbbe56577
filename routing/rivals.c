/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/rivals.h"

#include <math.h>
#include <string.h>

#include "routing/strategy.h"

/* The documented defaults of each. */
static const double TOWER_RTT = 0.03, TOWER_DECAY = 10, FINAGLE_DECAY = 10, KONG_DECAY = 10,
                    FINAGLE_PENALTY = 140737.488355327, AGENTGATEWAY_ALPHA = 0.3,
                    AGENTGATEWAY_PENDING = 0.1, LITELLM_COOLDOWN = 5, LITELLM_FAILS = 0.5,
                    MINUTE = 60, C3_ALPHA = 0.9, PREQUAL_QUANTILE = 0.84, PREQUAL_AGE = 1,
                    CHBL_FACTOR = 1.25, SMG_REL = 1.5, SMG_MATCH = 0.3;
enum { PREQUAL_PROBES = 3, SMG_ABS = 64 };

static const char *const names[RIVALS] = {
    [RIVAL_NONE] = "none",       [RIVAL_ROUND_ROBIN] = "round-robin",
    [RIVAL_RANDOM] = "random",   [RIVAL_WEIGHTED] = "weighted",
    [RIVAL_P2C] = "p2c",         [RIVAL_LEAST_REQUEST] = "least-request",
    [RIVAL_TOWER] = "tower",     [RIVAL_PEAK_EWMA] = "peak-ewma",
    [RIVAL_KONG] = "kong",       [RIVAL_AGENTGATEWAY] = "agentgateway",
    [RIVAL_LITELLM] = "litellm", [RIVAL_LITELLM_SHUFFLE] = "litellm-shuffle",
    [RIVAL_C3] = "c3",           [RIVAL_PREQUAL] = "prequal",
    [RIVAL_JIQ] = "jiq",         [RIVAL_SMG] = "smg",
    [RIVAL_CHBL] = "chbl",
};

const char *rival_name(enum rival rival)
{
    return names[rival];
}

enum rival rival_find(const char *name, size_t length)
{
    for (int i = RIVAL_NONE + 1; i < RIVALS; i++)
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
            return (enum rival)i;
    return RIVAL_NONE;
}

void rivals_begin(struct rivals *rivals, enum rival rival, size_t count, unsigned replicas)
{
    *rivals = (struct rivals){.rival = rival, .count = count, .replicas = replicas};
    for (size_t i = 0; i < count; i++) {
        rivals->targets[i].health = 1;
        rivals->targets[i].weight = 1;
        if (rival == RIVAL_TOWER)
            rivals->targets[i].estimate = TOWER_RTT;
    }
}

/* ------------------------------------------------------------------------------ drawing */

static uint64_t bit(size_t i)
{
    return UINT64_C(1) << i;
}

static size_t nth(uint64_t set, uint64_t n)
{
    for (n %= (uint64_t)__builtin_popcountll(set); n > 0; n--)
        set &= set - 1;
    return (size_t)__builtin_ctzll(set);
}

static size_t any(uint64_t set, uint64_t *random)
{
    *random = strategy_mix(*random);
    return nth(set, *random >> 8);
}

static size_t least(const double *scores, uint64_t set, uint64_t *random)
{
    double lowest = INFINITY;
    uint64_t ties = 0;
    for (uint64_t left = set; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (scores[i] < lowest)
            ties = 0;
        if (scores[i] <= lowest) {
            lowest = scores[i];
            ties |= bit(i);
        }
    }
    return any(ties ? ties : set, random);
}

/* Two of <set>, the same one twice where <may_be_same>, or where there is only one. */
static void two_of(uint64_t set, bool may_be_same, uint64_t *random, size_t two[2])
{
    two[0] = any(set, random);
    uint64_t rest = may_be_same ? set : set & ~bit(two[0]);
    two[1] = rest ? any(rest, random) : two[0];
}

static size_t by_weight(const struct rivals *rivals, uint64_t set, uint64_t *random)
{
    uint64_t sum = 0;
    for (uint64_t left = set; left; left &= left - 1)
        sum += rivals->targets[__builtin_ctzll(left)].weight;
    if (!sum)
        return any(set, random);
    *random = strategy_mix(*random);
    uint64_t at = (*random >> 8) % sum;
    for (uint64_t left = set; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (at < rivals->targets[i].weight)
            return i;
        at -= rivals->targets[i].weight;
    }
    return any(set, random);
}

/* ----------------------------------------------------------------------- moving means */

static void decay_to(struct rival_target *target, double sample, double now, double decay)
{
    double keep = exp(-(now - target->stamp) / decay);
    target->estimate = target->estimate * keep + sample * (1 - keep);
    target->stamp = now;
}

/* As tower and Finagle do it: a peak counts in full. */
static void learn_peak(struct rival_target *target, double sample, double now, double decay)
{
    if (sample > target->estimate) {
        target->estimate = sample;
        target->stamp = now;
    } else {
        decay_to(target, sample, now, decay);
    }
}

/* What it costs to ask. Looking at it moves its mean, and the time of that: so both sources do. */
static double peak_cost(const struct rivals *rivals, struct rival_target *target, double now)
{
    bool tower = rivals->rival == RIVAL_TOWER;
    unsigned pending = tower ? target->unanswered : target->pending;
    decay_to(target, 0, now, tower ? TOWER_DECAY : FINAGLE_DECAY);
    if (!tower && pending && target->estimate <= 0) /* nothing is known of it, and it is asked */
        return FINAGLE_PENALTY + pending;
    return target->estimate * (pending + 1);
}

static size_t choose_peak(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    size_t two[2];
    two_of(call->there, false, random, two);
    double first = peak_cost(rivals, &rivals->targets[two[0]], call->now);
    double second = peak_cost(rivals, &rivals->targets[two[1]], call->now);
    return first <= second ? two[0] : two[1];
}

/* Those that come later begin with the mean of those that are there; at first that is 0. */
static void begin_kong(struct rivals *rivals, const struct rival_call *call)
{
    double sum = 0;
    unsigned count = 0;
    for (size_t i = 0; i < rivals->count; i++) {
        sum += rivals->targets[i].seen ? rivals->targets[i].estimate : 0;
        count += rivals->targets[i].seen;
    }
    for (uint64_t left = call->there; left; left &= left - 1) {
        struct rival_target *target = &rivals->targets[__builtin_ctzll(left)];
        if (target->seen)
            continue;
        target->seen = true;
        target->estimate = count ? sum / count : 0;
        target->stamp = call->now;
    }
}

/* Looking does not move the mean. */
static size_t choose_kong(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    double scores[RIVAL_TARGETS_MAX];
    begin_kong(rivals, call);
    for (size_t i = 0; i < rivals->count; i++) {
        const struct rival_target *target = &rivals->targets[i];
        scores[i] =
            target->estimate * exp(-(call->now - target->stamp) / KONG_DECAY) / target->weight;
    }
    return least(scores, call->there, random);
}

static double agentgateway_score(const struct rival_target *target)
{
    return target->health / (1 + target->estimate * (1 + AGENTGATEWAY_PENDING * target->pending));
}

static size_t choose_agentgateway(struct rivals *rivals, const struct rival_call *call,
                                  uint64_t *random)
{
    size_t two[2];
    two_of(call->there, true, random, two);
    double first = agentgateway_score(&rivals->targets[two[0]]);
    double second = agentgateway_score(&rivals->targets[two[1]]);
    return second >= first ? two[1] : two[0];
}

static size_t choose_p2c(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    size_t two[2];
    two_of(call->there, false, random, two);
    return rivals->targets[two[0]].pending <= rivals->targets[two[1]].pending ? two[0] : two[1];
}

/* -------------------------------------------------------------------------------- LiteLLM */

/* All that cool down: better one of them than none. */
static uint64_t not_cooling(const struct rivals *rivals, const struct rival_call *call)
{
    uint64_t set = 0;
    for (uint64_t left = call->there; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (rivals->targets[i].cool_until <= call->now)
            set |= bit(i);
    }
    return set ? set : call->there;
}

static size_t choose_litellm(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    double scores[RIVAL_TARGETS_MAX];
    for (size_t i = 0; i < rivals->count; i++) {
        const struct rival_target *target = &rivals->targets[i];
        double sum = 0;
        for (unsigned k = 0; k < target->listed; k++)
            sum += target->list[k];
        scores[i] = target->listed ? sum / target->listed : 0;
    }
    return least(scores, not_cooling(rivals, call), random);
}

static void end_litellm(struct rival_target *target, const struct rival_end *end)
{
    /* Of a stream it is the time to its first token that is divided by all of its tokens. */
    double value =
        (end->stream ? end->first : end->seconds) / (double)(end->tokens > 0 ? end->tokens : 1);
    if (end->now >= target->minute + MINUTE) {
        target->minute = floor(end->now / MINUTE) * MINUTE;
        target->tries = target->fails = 0;
    }
    target->tries++;
    target->fails += end->failed;
    bool failing = target->tries > 1 && target->fails > LITELLM_FAILS * target->tries;
    if (end->failed && (end->is_busy || failing))
        target->cool_until = end->now + LITELLM_COOLDOWN;
    if (end->failed)
        return; /* only one that ran into its timeout would be listed */
    if (target->listed < RIVAL_LIST)
        target->list[target->listed++] = value;
    else /* list[:9] + [new] */
        target->list[RIVAL_LIST - 1] = value;
}

/* ------------------------------------------------------------------------ those that ask */

static size_t choose_c3(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    double scores[RIVAL_TARGETS_MAX];
    for (size_t i = 0; i < rivals->count; i++) {
        const struct rival_target *target = &rivals->targets[i];
        double queue = 1 + (double)target->pending * rivals->replicas + target->queue;
        scores[i] = target->seen ? target->estimate - target->service +
                                       queue * queue * queue * target->service
                                 : 0;
    }
    return least(scores, call->there, random);
}

static void end_c3(struct rival_target *target, const struct rival_end *end)
{
    double keep = target->seen ? C3_ALPHA : 0;
    target->estimate = target->estimate * keep + end->seconds * (1 - keep);
    target->service = target->service * keep + end->service * (1 - keep);
    target->queue = target->queue * keep + end->queue * (1 - keep);
}

static void add_probe(struct rivals *rivals, const struct rival_call *call, size_t target)
{
    const struct rival_server *server = &call->servers[target];
    if (rivals->pooled == RIVAL_POOL)
        memmove(rivals->pool, rivals->pool + 1, sizeof(rivals->pool[0]) * --rivals->pooled);
    rivals->pool[rivals->pooled++] = (struct rival_probe){target, call->now, server->latency,
                                                          server->running + server->waiting, 0};
}

static void drop_old_probes(struct rivals *rivals, double now, uint64_t there)
{
    size_t kept = 0;
    for (size_t i = 0; i < rivals->pooled; i++)
        if (now - rivals->pool[i].at <= PREQUAL_AGE && there & bit(rivals->pool[i].target) &&
            rivals->pool[i].uses < 2)
            rivals->pool[kept++] = rivals->pool[i];
    rivals->pooled = kept;
}

/* How many in the pool have fewer in flight? That many of them make the quantile. */
static bool is_hot(const struct rivals *rivals, size_t at)
{
    size_t below = 0;
    for (size_t i = 0; i < rivals->pooled; i++)
        below += rivals->pool[i].in_flight < rivals->pool[at].in_flight;
    return (double)below >= PREQUAL_QUANTILE * (double)rivals->pooled;
}

static size_t choose_prequal(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    drop_old_probes(rivals, call->now, call->there);
    size_t best = rivals->pooled;
    bool best_hot = true;
    for (size_t i = 0; i < rivals->pooled; i++) {
        bool hot = is_hot(rivals, i);
        const struct rival_probe *a = &rivals->pool[i];
        const struct rival_probe *b = best < rivals->pooled ? &rivals->pool[best] : NULL;
        if (!b || (best_hot && !hot) ||
            (hot == best_hot && (hot ? a->in_flight < b->in_flight : a->latency < b->latency))) {
            best = i;
            best_hot = hot;
        }
    }
    size_t chosen = best < rivals->pooled ? rivals->pool[best].target : any(call->there, random);
    if (best < rivals->pooled) {
        rivals->pool[best].in_flight++;
        rivals->pool[best].uses++;
    }
    for (int i = 0; i < PREQUAL_PROBES; i++) /* their answers serve the next calls */
        add_probe(rivals, call, any(call->there, random));
    return chosen;
}

static size_t choose_jiq(const struct rival_call *call, uint64_t *random)
{
    uint64_t idle = 0;
    for (uint64_t left = call->there; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const struct rival_server *server = &call->servers[i];
        if (!server->running && !server->waiting)
            idle |= bit(i);
    }
    return any(idle ? idle : call->there, random);
}

/* ------------------------------------------------------------------------------ by prefix */

static void pending_of(const struct rivals *rivals, double *scores)
{
    for (size_t i = 0; i < rivals->count; i++)
        scores[i] = rivals->targets[i].pending;
}

static size_t choose_smg(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    double loads[RIVAL_TARGETS_MAX], trees[RIVAL_TARGETS_MAX], low = INFINITY, high = 0;
    uint64_t holders = 0;
    pending_of(rivals, loads);
    for (uint64_t left = call->there; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const uint64_t *prefixes = rivals->targets[i].prefixes;
        low = loads[i] < low ? loads[i] : low;
        high = loads[i] > high ? loads[i] : high;
        trees[i] = 0;
        for (size_t k = 0; k < RIVAL_PREFIXES_MAX / 64; k++)
            trees[i] += __builtin_popcountll(prefixes[k]);
        if (call->has_prefix && prefixes[call->prefix / 64] >> call->prefix % 64 & 1)
            holders |= bit(i);
    }
    bool uneven = high - low > SMG_ABS && high > SMG_REL * low;
    size_t chosen = uneven || !call->has_prefix                 ? least(loads, call->there, random)
                    : holders && call->prefix_share > SMG_MATCH ? nth(holders, 0)
                                                                : least(trees, call->there, random);
    if (call->has_prefix)
        rivals->targets[chosen].prefixes[call->prefix / 64] |= bit(call->prefix % 64);
    return chosen;
}

static size_t choose_chbl(const struct rivals *rivals, const struct rival_call *call,
                          uint64_t *random)
{
    double ways[RIVAL_TARGETS_MAX], loads[RIVAL_TARGETS_MAX], all = 1;
    uint64_t key = call->has_prefix ? strategy_mix(call->prefix) : *random;
    pending_of(rivals, loads);
    for (size_t i = 0; i < rivals->count; i++) {
        all += call->there & bit(i) ? loads[i] : 0;
        ways[i] = (double)(strategy_mix(key ^ strategy_mix(i + 1)) >> 11);
    }
    double most = ceil(CHBL_FACTOR * all / __builtin_popcountll(call->there));
    uint64_t left = call->there;
    while (left & (left - 1)) {
        size_t at = least(ways, left, random);
        if (loads[at] + 1 <= most)
            return at;
        left &= ~bit(at);
    }
    return (size_t)__builtin_ctzll(left);
}

/* ------------------------------------------------------------------------------- the doors */

static size_t choose(struct rivals *rivals, const struct rival_call *call)
{
    double scores[RIVAL_TARGETS_MAX];
    uint64_t random = call->random;
    pending_of(rivals, scores);
    switch (rivals->rival) {
    case RIVAL_ROUND_ROBIN:
        return nth(call->there, rivals->turn++);
    case RIVAL_WEIGHTED:
        return by_weight(rivals, call->there, &random);
    case RIVAL_LITELLM_SHUFFLE:
        return by_weight(rivals, not_cooling(rivals, call), &random);
    case RIVAL_LEAST_REQUEST:
        return least(scores, call->there, &random);
    case RIVAL_P2C:
        return choose_p2c(rivals, call, &random);
    case RIVAL_TOWER:
    case RIVAL_PEAK_EWMA:
        return choose_peak(rivals, call, &random);
    case RIVAL_KONG:
        return choose_kong(rivals, call, &random);
    case RIVAL_AGENTGATEWAY:
        return choose_agentgateway(rivals, call, &random);
    case RIVAL_LITELLM:
        return choose_litellm(rivals, call, &random);
    case RIVAL_C3:
        return choose_c3(rivals, call, &random);
    case RIVAL_PREQUAL:
        return choose_prequal(rivals, call, &random);
    case RIVAL_JIQ:
        return choose_jiq(call, &random);
    case RIVAL_SMG:
        return choose_smg(rivals, call, &random);
    case RIVAL_CHBL:
        return choose_chbl(rivals, call, &random);
    case RIVAL_NONE:
    case RIVAL_RANDOM:
    case RIVALS:
        break;
    }
    return any(call->there, &random);
}

size_t rivals_choose(struct rivals *rivals, const struct rival_call *call)
{
    size_t chosen = choose(rivals, call);
    rivals->targets[chosen].pending++;
    rivals->targets[chosen].unanswered++;
    return chosen;
}

void rivals_first(struct rivals *rivals, size_t target, double seconds, double now)
{
    struct rival_target *at = &rivals->targets[target];
    at->unanswered--;
    if (rivals->rival == RIVAL_TOWER)
        learn_peak(at, seconds, now, TOWER_DECAY);
}

void rivals_end(struct rivals *rivals, size_t target, const struct rival_end *end)
{
    struct rival_target *at = &rivals->targets[target];
    at->pending--;
    if (end->failed) /* there was no first token */
        rivals_first(rivals, target, end->seconds, end->now);
    if (rivals->rival == RIVAL_PEAK_EWMA)
        learn_peak(at, end->seconds, end->now, FINAGLE_DECAY);
    if (rivals->rival == RIVAL_KONG)
        decay_to(at, end->seconds, end->now, KONG_DECAY);
    if (rivals->rival == RIVAL_AGENTGATEWAY) {
        at->health += AGENTGATEWAY_ALPHA * ((end->failed ? 0 : 1) - at->health);
        if (!end->failed)
            at->estimate = at->seen
                               ? at->estimate + AGENTGATEWAY_ALPHA * (end->seconds - at->estimate)
                               : end->seconds;
    }
    if (rivals->rival == RIVAL_LITELLM || rivals->rival == RIVAL_LITELLM_SHUFFLE)
        end_litellm(at, end);
    if (rivals->rival == RIVAL_C3)
        end_c3(at, end);
    at->seen = at->seen || !end->failed;
}
