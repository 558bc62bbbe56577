/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "routing/route.h"

static uint64_t bit(size_t i)
{
    return UINT64_C(1) << i;
}

static bool is_candidate(const struct target *target, uint64_t tried, size_t i)
{
    return !target->off && !(tried & bit(i));
}

static uint64_t sick_bits(const struct route *route, uint64_t now_us)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        enum health_word word =
            target->figures ? health_look(&target->figures->health, now_us) : HEALTH_WELL;
        bits |= word == HEALTH_WELL || word == HEALTH_PROBE ? 0 : bit(i);
    }
    return bits;
}

/* The lowest priority that still has a candidate, the sum of its weights, and how many there are.
 */
struct round {
    unsigned priority;
    uint64_t weights;
    size_t count;
};

static struct round next_round(const struct route *route, uint64_t tried)
{
    struct round round = {0};
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        if (!is_candidate(target, tried, i) || (round.count && target->priority > round.priority))
            continue;
        if (round.count && target->priority < round.priority)
            round = (struct round){0};
        round.priority = target->priority;
        round.weights += target->weight;
        round.count++;
    }
    return round;
}

static const struct target *pick(const struct route *route, uint64_t tried, uint64_t random)
{
    struct round round = next_round(route, tried);
    if (!round.count)
        return NULL;
    /* Where all weights are zero, none is preferred; else zero means: only when nothing else is
     * left, which is the case once the others have been tried. */
    uint64_t share = round.weights ? round.weights : round.count;
    uint64_t at = random % share;
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        if (!is_candidate(target, tried, i) || target->priority != round.priority)
            continue;
        uint64_t weight = round.weights ? target->weight : 1;
        if (at < weight)
            return target;
        at -= weight;
    }
    assert(!"a target of the round");
    return NULL;
}

const struct target *route_choose(const struct route *route, const struct route_policy *policy,
                                  const struct route_call *call, struct route_try *attempt,
                                  struct choice *choice)
{
    assert(route->target_count <= ROUTE_TARGETS_MAX);
    (void)policy;
    if (choice)
        *choice = (struct choice){0};
    const struct target *target =
        pick(route, call->tried | sick_bits(route, call->now_us), call->random);
    if (!target)
        target = pick(route, call->tried, call->random);
    if (target)
        route_take(target, call, attempt);
    if (target && target->figures && target->breaker &&
        health_look(&target->figures->health, call->now_us) == HEALTH_PROBE)
        attempt->probe = health_take_probe(&target->figures->health, target->breaker, call->now_us);
    return target;
}

void route_take(const struct target *target, const struct route_call *call,
                struct route_try *attempt)
{
    *attempt = (struct route_try){
        .target = target,
        .traffic = traffic_of(call->operation, call->input_tokens),
        .output_tokens = call->output_tokens,
        .begun_us = call->now_us,
    };
    if (target->figures)
        atomic_fetch_add_explicit(&target->figures->in_flight, 1, memory_order_relaxed);
}

void route_first(struct route_try *attempt, uint64_t now_us)
{
    if (attempt->target && !attempt->first_us)
        attempt->first_us = now_us;
}

void route_end(struct route_try *attempt, const struct route_outcome *outcome)
{
    const struct target *target = attempt->target;
    struct target_figures *figures = target ? target->figures : NULL;
    bool probe = attempt->probe;
    *attempt = (struct route_try){0};
    if (!figures)
        return;
    atomic_fetch_sub_explicit(&figures->in_flight, 1, memory_order_relaxed);
    if (outcome->not_sent)
        return;
    atomic_fetch_add_explicit(&figures->attempts, 1, memory_order_relaxed);
    if (outcome->fault != FAULT_NONE && fault_rule(outcome->fault)->blame_target)
        atomic_fetch_add_explicit(&figures->failures, 1, memory_order_relaxed);
    if (target->breaker)
        health_report(&figures->health, target->breaker, outcome->fault, probe,
                      outcome->retry_after_us, outcome->now_us);
}
