/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/rivals.h"

#include <math.h>
#include <string.h>

#include "routing/rivals_inside.h"
#include "routing/strategy.h"

static const double TOWER_RTT = 0.03;

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

uint64_t rival_bit(size_t i)
{
    return UINT64_C(1) << i;
}

size_t rival_any(uint64_t set, uint64_t *random)
{
    *random = strategy_mix(*random);
    uint64_t n = (*random >> 8) % (uint64_t)__builtin_popcountll(set);
    for (; n > 0; n--)
        set &= set - 1;
    return (size_t)__builtin_ctzll(set);
}

size_t rival_least(const double *scores, uint64_t set, uint64_t *random)
{
    double lowest = INFINITY;
    uint64_t ties = 0;
    for (uint64_t left = set; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (scores[i] < lowest)
            ties = 0;
        if (scores[i] <= lowest) {
            lowest = scores[i];
            ties |= rival_bit(i);
        }
    }
    return rival_any(ties ? ties : set, random);
}

void rival_two(uint64_t set, uint64_t *random, size_t two[2])
{
    two[0] = rival_any(set, random);
    uint64_t rest = set & ~rival_bit(two[0]);
    two[1] = rest ? rival_any(rest, random) : two[0];
}

size_t rival_by_weight(const struct rivals *rivals, uint64_t set, uint64_t *random)
{
    uint64_t sum = 0;
    for (uint64_t left = set; left; left &= left - 1)
        sum += rivals->targets[__builtin_ctzll(left)].weight;
    if (!sum)
        return rival_any(set, random);
    *random = strategy_mix(*random);
    uint64_t at = (*random >> 8) % sum;
    for (uint64_t left = set; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (at < rivals->targets[i].weight)
            return i;
        at -= rivals->targets[i].weight;
    }
    return rival_any(set, random);
}

void rival_pending(const struct rivals *rivals, double *scores)
{
    for (size_t i = 0; i < rivals->count; i++)
        scores[i] = rivals->targets[i].pending;
}

/* ----------------------------------------------------------------------------- textbook */

/* Smooth: each gains its weight, the first that has most is taken and pays the sum of all. */
static size_t choose_round_robin(struct rivals *rivals, const struct rival_call *call)
{
    int64_t sum = 0, most = INT64_MIN;
    size_t chosen = 0;
    for (uint64_t left = call->there; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        struct rival_target *target = &rivals->targets[i];
        sum += target->weight;
        target->credit += target->weight;
        if (target->credit > most) {
            most = target->credit;
            chosen = i;
        }
    }
    rivals->targets[chosen].credit -= sum;
    return chosen;
}

static size_t choose_least_request(const struct rivals *rivals, const struct rival_call *call,
                                   uint64_t *random)
{
    double scores[RIVAL_TARGETS_MAX];
    for (size_t i = 0; i < rivals->count; i++)
        scores[i] = (rivals->targets[i].pending + 1.0) / rivals->targets[i].weight;
    return rival_least(scores, call->there, random);
}

static size_t choose_p2c(const struct rivals *rivals, const struct rival_call *call,
                         uint64_t *random)
{
    size_t two[2];
    rival_two(call->there, random, two);
    return rivals->targets[two[0]].pending <= rivals->targets[two[1]].pending ? two[0] : two[1];
}

/* ------------------------------------------------------------------------------- the doors */

static size_t choose(struct rivals *rivals, const struct rival_call *call)
{
    uint64_t random = call->random;
    switch (rivals->rival) {
    case RIVAL_ROUND_ROBIN:
        return choose_round_robin(rivals, call);
    case RIVAL_WEIGHTED:
        return rival_by_weight(rivals, call->there, &random);
    case RIVAL_LITELLM_SHUFFLE:
        return rival_by_weight(rivals, rival_not_cooling(rivals, call), &random);
    case RIVAL_LEAST_REQUEST:
        return choose_least_request(rivals, call, &random);
    case RIVAL_P2C:
        return choose_p2c(rivals, call, &random);
    case RIVAL_TOWER:
    case RIVAL_PEAK_EWMA:
        return choose_peak(rivals, call, &random);
    case RIVAL_KONG:
        return choose_kong(rivals, call);
    case RIVAL_AGENTGATEWAY:
        return choose_agentgateway(rivals, call, &random);
    case RIVAL_LITELLM:
        return choose_litellm(rivals, call, &random);
    case RIVAL_C3:
        return choose_c3(rivals, call, &random);
    case RIVAL_PREQUAL:
        return choose_prequal(rivals, call, &random);
    case RIVAL_JIQ:
        return choose_jiq(rivals, call, &random);
    case RIVAL_SMG:
        return choose_smg(rivals, call);
    case RIVAL_CHBL:
        return choose_chbl(rivals, call, &random);
    case RIVAL_NONE:
    case RIVAL_RANDOM:
    case RIVALS:
        break;
    }
    return rival_any(call->there, &random);
}

size_t rivals_choose(struct rivals *rivals, const struct rival_call *call)
{
    size_t chosen = choose(rivals, call);
    rivals->targets[chosen].pending++;
    rivals->targets[chosen].unanswered++;
    return chosen;
}

void rivals_idle(struct rivals *rivals, size_t target, bool is_idle)
{
    rivals->idle &= ~rival_bit(target);
    rivals->idle |= is_idle ? rival_bit(target) : 0;
}

void rivals_first(struct rivals *rivals, size_t target, double seconds, double now)
{
    struct rival_target *at = &rivals->targets[target];
    at->unanswered--;
    if (rivals->rival == RIVAL_TOWER)
        first_tower(at, seconds, now);
}

void rivals_end(struct rivals *rivals, size_t target, const struct rival_end *end)
{
    struct rival_target *at = &rivals->targets[target];
    at->pending--;
    if (end->failed) /* there was no first token */
        rivals_first(rivals, target, end->seconds, end->now);
    if (rivals->rival == RIVAL_PEAK_EWMA)
        end_peak(at, end);
    if (rivals->rival == RIVAL_KONG)
        end_kong(at, end);
    if (rivals->rival == RIVAL_AGENTGATEWAY)
        end_agentgateway(at, end);
    if (rivals->rival == RIVAL_LITELLM || rivals->rival == RIVAL_LITELLM_SHUFFLE)
        end_litellm(rivals, at, end);
    if (rivals->rival == RIVAL_C3)
        end_c3(at, end);
    at->seen = at->seen || !end->failed;
}
