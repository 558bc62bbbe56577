/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/retry.h"

enum { TOKEN_PPM = 1000000, DOUBLINGS_MAX = 20 };

static const int64_t FLOOR_PPM = (int64_t)RETRY_FLOOR * TOKEN_PPM,
                     MAX_PPM = (int64_t)RETRY_MAX * TOKEN_PPM;

/* Put <ppm> in; at most MAX_PPM are kept. */
static void put_in(struct retry_budget *budget, int64_t ppm, int64_t max_ppm)
{
    int64_t lowest = FLOOR_PPM - max_ppm;
    int64_t spent = atomic_load_explicit(&budget->spent_ppm, memory_order_relaxed), after;
    do {
        if (spent <= lowest)
            return;
        after = spent - ppm < lowest ? lowest : spent - ppm;
    } while (!atomic_compare_exchange_weak_explicit(&budget->spent_ppm, &spent, after,
                                                    memory_order_relaxed, memory_order_relaxed));
}

void retry_deposit(struct retry_budget *budget, unsigned share_ppm)
{
    put_in(budget, share_ppm, MAX_PPM);
}

/* What came with time since the last look, up to the floor: whoever has few calls may try again
 * all the same. */
static void fill(struct retry_budget *budget, uint64_t now_us)
{
    uint64_t before = atomic_load_explicit(&budget->filled_us, memory_order_relaxed);
    if (now_us <= before ||
        !atomic_compare_exchange_strong_explicit(&budget->filled_us, &before, now_us,
                                                 memory_order_relaxed, memory_order_relaxed))
        return;
    uint64_t us = before ? now_us - before : 0;
    if (us > UINT64_C(60) * 1000000)
        us = UINT64_C(60) * 1000000;
    put_in(budget, (int64_t)(us * RETRY_PER_SECOND_PPM / 1000000), FLOOR_PPM);
}

bool retry_withdraw(struct retry_budget *budget, uint64_t now_us)
{
    fill(budget, now_us);
    int64_t spent = atomic_load_explicit(&budget->spent_ppm, memory_order_relaxed);
    do {
        if (spent + TOKEN_PPM > FLOOR_PPM)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->spent_ppm, &spent, spent + TOKEN_PPM,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

int64_t retry_left(const struct retry_budget *budget)
{
    int64_t spent = atomic_load_explicit(&budget->spent_ppm, memory_order_relaxed);
    return (FLOOR_PPM - spent) / TOKEN_PPM;
}

int64_t retry_backoff_us(int64_t first_us, int64_t max_us, unsigned n, uint64_t random)
{
    if (first_us <= 0 || n == 0)
        return 0;
    int64_t wait = first_us;
    for (unsigned i = 1; i < n && i < DOUBLINGS_MAX && wait < max_us; i++)
        wait = wait > max_us / 2 ? max_us : wait * 2;
    if (wait > max_us)
        wait = max_us;
    return wait / 2 + (int64_t)(random % (uint64_t)(wait - wait / 2 + 1));
}
