/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How long a choice takes, in ns, for 1 to 64 targets; with the beginning and the end of the try,
 * and without. Not part of the tests: it measures.
 *
 *   make && cc -O2 -std=c11 -D_GNU_SOURCE -I. tests/bench/route_bench.c build/parts.a -lz -lcrypto
 * \ -lpthread -o route_bench
 */

#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "routing/route.h"

enum { ROUNDS = 200000, REPEATS = 5, SECOND = 1000000 };

static struct target_figures figures[ROUTE_TARGETS_MAX];
static struct target targets[ROUTE_TARGETS_MAX];

static void fill(void)
{
    for (size_t i = 0; i < ROUTE_TARGETS_MAX; i++) {
        figures[i].identity = strategy_mix(i);
        targets[i] = (struct target){
            .weight = 1,
            .priority = 1,
            .figures = &figures[i],
            .price = {.input = 150000000, .cached_input = 75000000, .output = 600000000},
        };
    }
}

static struct route_call call_at(uint64_t now, bool prompt)
{
    struct route_call call = {.now_us = now,
                              .random = strategy_mix(now),
                              .stream = true,
                              .input_tokens = 3000,
                              .output_tokens = 200};
    for (size_t i = 0; prompt && i < 3; i++)
        call.prefix[i] = strategy_mix(now % 5000 + i);
    return call;
}

/* ns of one of <ROUNDS>. */
static double measure(const struct route *route, bool whole, bool prompt)
{
    struct choice choice;
    uint64_t now = UINT64_C(1000) * SECOND, begun = clock_now_us();
    for (unsigned i = 0; i < ROUNDS; i++, now += 100) {
        struct route_call call = call_at(now, prompt);
        struct route_try attempt;
        if (!whole) {
            route_consider(route, NULL, &call, &choice);
            continue;
        }
        struct route_outcome outcome = {.now_us = now + 90, .output_tokens = 200};
        route_choose(route, NULL, &call, &attempt, NULL);
        route_first(&attempt, now + 40);
        route_end(&attempt, &outcome);
    }
    return (double)(clock_now_us() - begun) * 1000.0 / ROUNDS;
}

static double best_of(const struct route *route, bool whole, bool prompt)
{
    double best = 1e9;
    for (int i = 0; i < REPEATS; i++) {
        double now = measure(route, whole, prompt);
        best = now < best ? now : best;
    }
    return best;
}

int main(void)
{
    static const size_t sizes[] = {1, 2, 8, 16, 64};
    fill();
    printf("targets   choice   with a prompt   choice, first token and end   (ns)\n");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct route route = {
            .targets = targets, .target_count = sizes[i], .affinity = affinity_shared()};
        double choice = best_of(&route, false, false), prompt = best_of(&route, false, true);
        printf("%7zu %8.0f %15.0f %29.0f\n", sizes[i], choice, prompt, best_of(&route, true, true));
    }
    return 0;
}
