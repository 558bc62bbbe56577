/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/hedge.h"

enum { CALLS_MAX = 100000, PPM = 1000000 };

static uint64_t pack(uint64_t calls, uint64_t hedges)
{
    return calls << 32 | hedges;
}

void hedge_deposit(struct hedge_budget *budget)
{
    uint64_t before = atomic_load_explicit(&budget->counts, memory_order_relaxed), after;
    do {
        uint64_t calls = before >> 32, hedges = before & UINT32_MAX;
        after = calls >= CALLS_MAX ? pack(calls / 2 + 1, hedges / 2) : pack(calls + 1, hedges);
    } while (!atomic_compare_exchange_weak_explicit(&budget->counts, &before, after,
                                                    memory_order_relaxed, memory_order_relaxed));
}

bool hedge_take(struct hedge_budget *budget, int64_t max_ppm)
{
    uint64_t before = atomic_load_explicit(&budget->counts, memory_order_relaxed), after;
    do {
        uint64_t calls = before >> 32, hedges = before & UINT32_MAX;
        if (max_ppm <= 0 || hedges * PPM >= calls * (uint64_t)max_ppm)
            return false;
        after = pack(calls, hedges + 1);
    } while (!atomic_compare_exchange_weak_explicit(&budget->counts, &before, after,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}
