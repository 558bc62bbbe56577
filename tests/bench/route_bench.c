/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How long a choice takes, in ns, for 1 to 64 targets: the choice alone, with a prompt whose
 * beginning may be cached somewhere, and all that is done for each target of a call: the most that
 * the call may cost, the choice, the record of it, its first token and its end. The least of many
 * short rounds, so that what else the machine does is not counted. Not part of the tests: it
 * measures.
 *
 *   make && cc -O2 -std=c11 -D_GNU_SOURCE -I. tests/bench/route_bench.c build/parts.a -lz -lcrypto
 * \ -lpthread -o route_bench
 */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "routing/decision.h"
#include "routing/route.h"

enum { ROUNDS = 500, REPEATS = 400, SECOND = 1000000 };

static struct target_figures figures[ROUTE_TARGETS_MAX];
static struct target targets[ROUTE_TARGETS_MAX];
static char names[ROUTE_TARGETS_MAX][16];
static char record[DECISION_BYTES];
static volatile int64_t seen; /* what is reckoned is not left out */

enum kind { KIND_CHOICE, KIND_PROMPT, KIND_WHOLE };

static void fill(void)
{
    for (size_t i = 0; i < ROUTE_TARGETS_MAX; i++) {
        int len = snprintf(names[i], sizeof(names[i]), "target-%zu", i);
        figures[i].identity = strategy_mix(i);
        targets[i] = (struct target){
            .id = {names[i], (size_t)len},
            .weight = 10,
            .priority = 1,
            .can = CAN_ALL,
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

/* As the gateway does it. */
static int64_t bound_of(const struct route *route)
{
    int64_t most = 0;
    for (uint64_t left = route->sum.dearest; left; left &= left - 1) {
        int64_t cost = price_bound(&route->targets[__builtin_ctzll(left)].price, 3000, 200, 0);
        most = cost > most ? cost : most;
    }
    return most;
}

static void call_once(const struct route *route, uint64_t now, enum kind kind)
{
    static struct choice choice;
    struct route_call call = call_at(now, kind != KIND_CHOICE);
    struct route_try attempt;
    if (kind != KIND_WHOLE) {
        route_consider(route, NULL, &call, &choice);
        return;
    }
    struct route_outcome outcome = {.now_us = now + 50 + strategy_mix(now) % 50,
                                    .output_tokens = 200};
    seen += bound_of(route);
    route_choose(route, NULL, &call, &attempt, &choice);
    seen += (int64_t)decision_write_choice(&choice, route, TEXT("balanced"), record);
    route_first(&attempt, now + 40);
    route_end(&attempt, &outcome);
}

static int64_t cpu_now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* ns of one call, in the quickest of all rounds. */
static int64_t measure(const struct route *route, enum kind kind)
{
    static uint64_t now = UINT64_C(1000) * SECOND;
    int64_t best = INT64_MAX;
    for (unsigned round = 0; round < REPEATS; round++) {
        int64_t begun = cpu_now_ns();
        for (unsigned i = 0; i < ROUNDS; i++, now += 100)
            call_once(route, now, kind);
        int64_t took = (cpu_now_ns() - begun) / ROUNDS;
        best = took < best ? took : best;
    }
    return best;
}

int main(void)
{
    static const size_t sizes[] = {1, 2, 8, 16, 64};
    fill();
    printf("targets   choice   with a prompt   with all that a call takes   (ns)\n");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct route route = {.name = TEXT("model"),
                              .targets = targets,
                              .target_count = sizes[i],
                              .affinity = affinity_shared()};
        char written[DECISION_BYTES];
        route_seal(&route);
        route.sum.written =
            (struct text){written, decision_write_names(&route, written, sizeof(written))};
        long long whole = measure(&route, KIND_WHOLE), choice = measure(&route, KIND_CHOICE);
        printf("%7zu %8lld %15lld %28lld\n", sizes[i], choice,
               (long long)measure(&route, KIND_PROMPT), whole);
    }
    return 0;
}
