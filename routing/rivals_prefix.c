/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "routing/rivals_inside.h"
#include "routing/strategy.h"

/* The documented defaults of each. */
static const double CHBL_FACTOR = 1.25, SMG_REL = 1.5, SMG_MATCH = 0.3, SMG_LOAD = 1e9;
enum { SMG_ABS = 64 };

/* The fewest calls now; of those the one that was chosen least often, and then the first. */
static size_t least_loaded(const struct rivals *rivals, uint64_t set)
{
    double lowest = INFINITY;
    size_t chosen = (size_t)__builtin_ctzll(set);
    for (uint64_t left = set; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        double load = rivals->targets[i].pending * SMG_LOAD + rivals->targets[i].chosen;
        if (load < lowest) {
            lowest = load;
            chosen = i;
        }
    }
    return chosen;
}

static uint64_t holders_of(const struct rivals *rivals, const struct rival_call *call)
{
    uint64_t holders = 0;
    if (!call->has_prefix || call->prefix_share <= SMG_MATCH)
        return 0;
    for (uint64_t left = call->there; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (rivals->targets[i].prefixes[call->prefix / 64] >> call->prefix % 64 & 1)
            holders |= rival_bit(i);
    }
    return holders;
}

size_t choose_smg(struct rivals *rivals, const struct rival_call *call)
{
    double low = INFINITY, high = 0;
    for (uint64_t left = call->there; left; left &= left - 1) {
        double load = rivals->targets[__builtin_ctzll(left)].pending;
        low = load < low ? load : low;
        high = load > high ? load : high;
    }
    bool uneven = high - low > SMG_ABS && high > SMG_REL * low;
    uint64_t holders = uneven ? 0 : holders_of(rivals, call);
    size_t chosen = holders ? (size_t)__builtin_ctzll(holders) : least_loaded(rivals, call->there);
    rivals->targets[chosen].chosen++;
    if (call->has_prefix)
        rivals->targets[chosen].prefixes[call->prefix / 64] |= rival_bit(call->prefix % 64);
    return chosen;
}

/* Each prefix has an order of its own of all targets, as on a ring; the first that has room. */
size_t choose_chbl(const struct rivals *rivals, const struct rival_call *call, uint64_t *random)
{
    double ways[RIVAL_TARGETS_MAX], loads[RIVAL_TARGETS_MAX], all = 1;
    uint64_t key = call->has_prefix ? strategy_mix(call->prefix) : *random;
    rival_pending(rivals, loads);
    for (size_t i = 0; i < rivals->count; i++) {
        all += call->there & rival_bit(i) ? loads[i] : 0;
        ways[i] = (double)(strategy_mix(key ^ strategy_mix(i + 1)) >> 11);
    }
    double most = ceil(CHBL_FACTOR * all / __builtin_popcountll(call->there));
    uint64_t left = call->there;
    while (left & (left - 1)) {
        size_t at = rival_least(ways, left, random);
        if (loads[at] + 1 <= most)
            return at;
        left &= ~rival_bit(at);
    }
    return (size_t)__builtin_ctzll(left);
}
