/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "routing/rivals_inside.h"

/* The documented defaults of each. */
static const double TOWER_DECAY = 10, FINAGLE_DECAY = 10, FINAGLE_PENALTY = 140737.488355327,
                    KONG_DECAY = 10, AGENTGATEWAY_ALPHA = 0.3, AGENTGATEWAY_PENDING = 0.1,
                    LITELLM_COOLDOWN = 5, LITELLM_FAILS = 0.5, MINUTE = 60;
enum { LITELLM_FEW = 5, LITELLM_MANY = 1000 };

/* ------------------------------------------------------------------------- peaks that decay */

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

size_t choose_peak(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    size_t two[2];
    rival_two(call->there, random, two);
    double first = peak_cost(rivals, &rivals->targets[two[0]], call->now);
    double second = peak_cost(rivals, &rivals->targets[two[1]], call->now);
    return first <= second ? two[0] : two[1];
}

void first_tower(struct rival_target *target, double seconds, double now)
{
    learn_peak(target, seconds, now, TOWER_DECAY);
}

void end_peak(struct rival_target *target, const struct rival_end *end)
{
    learn_peak(target, end->seconds, end->now, FINAGLE_DECAY);
}

/* ------------------------------------------------------------------------------------ Kong */

/* Those that come later begin with the mean of all that are there now, in which newcomers count
 * as 0. */
static void begin_kong(struct rivals *rivals, const struct rival_call *call)
{
    double sum = 0;
    unsigned count = 0;
    uint64_t unseen = 0;
    for (size_t i = 0; i < rivals->count; i++) {
        const struct rival_target *target = &rivals->targets[i];
        bool is_new = !target->met && call->there & rival_bit(i);
        sum += target->met ? target->estimate : 0;
        count += target->met || is_new;
        unseen |= is_new ? rival_bit(i) : 0;
    }
    for (; unseen; unseen &= unseen - 1) {
        struct rival_target *target = &rivals->targets[__builtin_ctzll(unseen)];
        target->met = true;
        target->estimate = sum / count;
        target->stamp = call->now;
    }
}

/* Looking does not move the mean; of equal ones the first in an order that never changes. */
size_t choose_kong(struct rivals *rivals, const struct rival_call *call)
{
    double lowest = INFINITY;
    size_t chosen = (size_t)__builtin_ctzll(call->there);
    begin_kong(rivals, call);
    for (uint64_t left = call->there; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const struct rival_target *target = &rivals->targets[i];
        double score =
            target->estimate * exp(-(call->now - target->stamp) / KONG_DECAY) / target->weight;
        if (score < lowest) {
            lowest = score;
            chosen = i;
        }
    }
    return chosen;
}

void end_kong(struct rival_target *target, const struct rival_end *end)
{
    decay_to(target, end->seconds, end->now, KONG_DECAY);
}

/* ---------------------------------------------------------------------------- agentgateway */

static double agentgateway_score(const struct rival_target *target)
{
    return target->health / (1 + target->estimate * (1 + AGENTGATEWAY_PENDING * target->pending));
}

/* Both are drawn from all of them, by their capacity. */
size_t choose_agentgateway(const struct rivals *rivals, const struct rival_call *call,
                           uint64_t *random)
{
    size_t first = rival_by_weight(rivals, call->there, random);
    size_t second = rival_by_weight(rivals, call->there, random);
    return agentgateway_score(&rivals->targets[second]) >=
                   agentgateway_score(&rivals->targets[first])
               ? second
               : first;
}

/* Of nothing the first value is the mean. */
static double agentgateway_mean(double mean, double value)
{
    return mean > 0 ? AGENTGATEWAY_ALPHA * value + (1 - AGENTGATEWAY_ALPHA) * mean : value;
}

void end_agentgateway(struct rival_target *target, const struct rival_end *end)
{
    target->health = agentgateway_mean(target->health, end->failed ? 0 : 1);
    if (!end->failed)
        target->estimate = agentgateway_mean(target->estimate, end->seconds);
}

/* --------------------------------------------------------------------------------- LiteLLM */

uint64_t rival_not_cooling(const struct rivals *rivals, const struct rival_call *call)
{
    uint64_t set = 0;
    for (uint64_t left = call->there; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (rivals->targets[i].cool_until <= call->now)
            set |= rival_bit(i);
    }
    return set ? set : call->there;
}

static double mean_of(const struct rival_list *list)
{
    double sum = 0;
    for (unsigned i = 0; i < list->count; i++)
        sum += list->values[i];
    return list->count ? sum / list->count : 0;
}

static void add_value(struct rival_list *list, double value)
{
    if (list->count == RIVAL_LIST) {
        for (unsigned i = 0; i + 1 < RIVAL_LIST; i++)
            list->values[i] = list->values[i + 1];
        list->count--;
    }
    list->values[list->count++] = value;
}

/* Who is met for the first time is listed with a 0, once there is a list at all: it stays the
 * first of its ten values. */
size_t choose_litellm(struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    double scores[RIVAL_TARGETS_MAX];
    for (uint64_t left = call->there; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        struct rival_target *target = &rivals->targets[i];
        if (rivals->any_answered && !target->whole.count)
            add_value(&target->whole, 0);
        scores[i] =
            mean_of(call->stream && target->firsts.count ? &target->firsts : &target->whole);
    }
    return rival_least(scores, rival_not_cooling(rivals, call), random);
}

static bool is_failing(const struct rival_target *target)
{
    return (target->fails == target->tries && target->tries >= LITELLM_MANY) ||
           (target->fails > LITELLM_FAILS * target->tries && target->tries >= LITELLM_FEW);
}

void end_litellm(struct rivals *rivals, struct rival_target *target, const struct rival_end *end)
{
    if (end->now >= target->minute + MINUTE) {
        target->minute = floor(end->now / MINUTE) * MINUTE;
        target->tries = target->fails = 0;
    }
    target->tries++;
    target->fails += end->failed;
    if (end->failed && (end->is_busy || is_failing(target)))
        target->cool_until = end->now + LITELLM_COOLDOWN;
    if (end->failed)
        return; /* only one that ran into its timeout would be listed */
    rivals->any_answered = true;
    add_value(&target->whole, end->tokens > 0 ? end->seconds / (double)end->tokens : end->seconds);
    if (end->stream)
        add_value(&target->firsts, end->first);
}
