/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "routing/rivals.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct rivals rivals;
static const struct rival_server servers[RIVAL_TARGETS_MAX];

static void assert_near(double value, double expected)
{
    if (fabs(value - expected) > 1e-9 * (1 + fabs(expected)))
        fail_msg("%.12g is not %.12g", value, expected);
}

static size_t choose(double now, uint64_t random)
{
    struct rival_call call = {
        .now = now,
        .random = random,
        .there = (UINT64_C(1) << rivals.count) - 1,
        .servers = servers,
    };
    return rivals_choose(&rivals, &call);
}

/* Begun at <begun>, ended at <now>. */
static void end(size_t target, double begun, double now, bool failed)
{
    struct rival_end outcome = {
        .now = now, .seconds = now - begun, .failed = failed, .tokens = 10, .service = now - begun};
    rivals_end(&rivals, target, &outcome);
}

static void tower_takes_peaks_in_full_and_forgets_them(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_TOWER, 1, 1);
    assert_near(rivals.targets[0].estimate, 0.03);
    choose(0, 1);
    rivals_first(&rivals, 0, 2, 2);
    assert_near(rivals.targets[0].estimate, 2);
    choose(12, 1); /* reads fade: 10 s later it is 2 / e */
    assert_near(rivals.targets[0].estimate, 2 * exp(-1));
    rivals_first(&rivals, 0, 0.1, 22); /* another 10 s */
    assert_near(rivals.targets[0].estimate, 2 * exp(-2) + 0.1 * (1 - exp(-1)));
}

/* PeakEwma.scala, get(): nothing is known and something is asked: Penalty + pending, else cost *
 * (pending + 1). */
static void finagle_asks_one_of_which_nothing_is_known_once(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_PEAK_EWMA, 2, 1);
    rivals.targets[0].estimate = 5;
    rivals.targets[1].pending = 1;
    assert_int_equal(choose(0, 1), 0);
    rivals.targets[1].pending = 0;
    assert_int_equal(choose(0, 1), 1);
    end(1, 0, 0.5, false);
    assert_near(rivals.targets[1].estimate, 0.5);
}

/* latency.lua: a look does not move what it looks at; who comes later begins with the mean. */
static void kongs_looks_do_not_move_the_mean(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_KONG, 3, 1);
    struct rival_call call = {.there = 3, .now = 0, .random = 1};
    size_t first = rivals_choose(&rivals, &call);
    end(first, 0, 10, false); /* 10 s: e^-1 of nothing, and the rest of 10 */
    assert_near(rivals.targets[first].estimate, 10 * (1 - exp(-1)));
    call.now = 20;
    rivals_choose(&rivals, &call);
    assert_near(rivals.targets[first].estimate, 10 * (1 - exp(-1)));
    call.there = 7;
    rivals_choose(&rivals, &call);
    assert_near(rivals.targets[2].estimate, 10 * (1 - exp(-1)) / 3);
}

/* lowest_latency.py: seconds to the first token of streams, the whole per token of others; who
 * comes when there is a list begins it with a 0. */
static void litellm_lists_first_tokens_and_the_whole_per_token(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_LITELLM, 2, 1);
    size_t first = choose(0, 1);
    struct rival_end outcome = {.now = 4, .seconds = 4, .first = 0.5, .stream = true, .tokens = 10};
    rivals_end(&rivals, first, &outcome);
    assert_near(rivals.targets[first].firsts.values[0], 0.5);
    assert_near(rivals.targets[first].whole.values[0], 0.4);
    outcome.stream = false;
    assert_int_equal(choose(4, 1), 1 - first);
    rivals_end(&rivals, 1 - first, &outcome);
    assert_int_equal(rivals.targets[1 - first].firsts.count, 0);
    assert_int_equal(rivals.targets[1 - first].whole.count, 2);
    assert_near(rivals.targets[1 - first].whole.values[0], 0);
    assert_near(rivals.targets[1 - first].whole.values[1], 0.4);
}

static void tower_prefers_who_has_fewer_waiting(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_TOWER, 2, 1);
    size_t first = choose(0, 1);
    for (uint64_t random = 0; random < 20; random++) {
        size_t second = choose(0, random);
        assert_int_equal(second, 1 - first);
        rivals.targets[second].pending--;
        rivals.targets[second].unanswered--;
    }
}

static void kong_asks_the_least_mean_whatever_is_in_flight(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_KONG, 3, 1);
    for (size_t i = 0; i < 3; i++) {
        rivals.targets[i].pending = rivals.targets[i].unanswered = 1;
        end(i, 0, 1 + (double)i, false);
    }
    assert_near(rivals.targets[0].estimate, 1 - exp(-0.1));
    for (uint64_t random = 0; random < 20; random++)
        assert_int_equal(choose(3, random), 0);
}

static void agentgateway_draws_two_with_replacement(void **state)
{
    (void)state;
    unsigned worse = 0, draws = 4000;
    rivals_begin(&rivals, RIVAL_AGENTGATEWAY, 2, 1);
    rivals.targets[0].pending = rivals.targets[1].pending = 2;
    rivals.targets[0].unanswered = rivals.targets[1].unanswered = 2;
    end(0, 0, 1, false);
    end(1, 0, 3, false);
    end(1, 0, 1, false);
    assert_near(rivals.targets[1].estimate, 3 + 0.3 * (1 - 3));
    for (uint64_t random = 0; random < draws; random++) {
        size_t chosen = choose(1, random);
        worse += chosen == 1;
        rivals.targets[chosen].pending--;
    }
    assert_in_range(worse, draws * 22 / 100, draws * 28 / 100); /* both times: a quarter */
}

static void agentgateways_health_falls_with_failures(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_AGENTGATEWAY, 1, 1);
    rivals.targets[0].pending = rivals.targets[0].unanswered = 2;
    end(0, 0, 1, true);
    assert_near(rivals.targets[0].health, 0.7);
    assert_near(rivals.targets[0].estimate, 0); /* only successes teach latency */
}

static void litellm_cools_down_who_is_busy_or_fails_often(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_LITELLM_SHUFFLE, 2, 1);
    rivals.targets[0].pending = rivals.targets[0].unanswered = 9;
    struct rival_end busy = {.now = 10, .seconds = 1, .failed = true, .is_busy = true};
    rivals_end(&rivals, 0, &busy);
    for (uint64_t random = 0; random < 20; random++)
        assert_int_equal(choose(14.9, random), 1);
    unsigned first = 0;
    for (uint64_t random = 0; random < 100; random++)
        first += choose(15, random) == 0;
    assert_in_range(first, 30, 70);
    busy.is_busy = false;
    busy.now = 70; /* a new minute: four failures of four are no reason, */
    for (int i = 0; i < 4; i++)
        rivals_end(&rivals, 0, &busy);
    assert_near(rivals.targets[0].cool_until, 15);
    rivals_end(&rivals, 0, &busy); /* the fifth one is */
    assert_near(rivals.targets[0].cool_until, 75);
}

static void c3_counts_the_queue_to_the_third_power(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_C3, 2, 1);
    for (size_t i = 0; i < 2; i++)
        rivals.targets[i] = (struct rival_target){.estimate = 1, .service = 1, .seen = true};
    rivals.targets[0].service = 0.1;
    rivals.targets[0].pending = 1; /* 1 - 0.1 + 8 * 0.1 = 1.7, against 1 - 1 + 1 = 1 */
    assert_int_equal(choose(0, 1), 1);
    rivals.targets[1].pending = 1; /* against 8 */
    assert_int_equal(choose(0, 1), 0);
}

static void bounded_loads_stay_within_a_quarter_of_fair(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_CHBL, 4, 1);
    for (uint64_t i = 0; i < 100; i++) { /* all of one prefix */
        struct rival_call call = {.there = 15, .random = i, .has_prefix = true, .prefix = 5};
        rivals_choose(&rivals, &call);
    }
    for (size_t i = 0; i < 4; i++)
        assert_in_range(rivals.targets[i].pending, 1, 32); /* ceil(1.25 * 101 / 4) */
}

static void prefixes_stay_with_smgs_worker_until_loads_differ(void **state)
{
    (void)state;
    struct rival_call call = {.there = 3, .has_prefix = true, .prefix = 9, .prefix_share = 0.5};
    rivals_begin(&rivals, RIVAL_SMG, 2, 1);
    size_t first = rivals_choose(&rivals, &call);
    for (int i = 0; i < 64; i++)
        assert_int_equal(rivals_choose(&rivals, &call), first);
    assert_int_equal(rivals_choose(&rivals, &call), 1 - first);
}

static void jiq_asks_one_that_said_that_it_is_idle_once(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_JIQ, 3, 1);
    for (uint64_t random = 0; random < 20; random++) {
        rivals_idle(&rivals, random % 3, true);
        assert_int_equal(choose(0, random), random % 3);
    }
    unsigned second = 0;
    rivals_idle(&rivals, 0, true);
    rivals_idle(&rivals, 0, false);
    for (uint64_t random = 0; random < 300; random++)
        second += choose(0, random) == 1;
    assert_in_range(second, 70, 130); /* nobody says so: any */
}

/* One is too few to compare, and old ones are dropped. */
static void prequal_asks_anyone_when_its_pool_is_dry(void **state)
{
    (void)state;
    unsigned second = 0;
    rivals_begin(&rivals, RIVAL_PREQUAL, 3, 1);
    for (uint64_t random = 0; random < 300; random++) {
        rivals.pool.count = 1;
        rivals.pool.probes[0] = (struct rival_probe){.target = 1, .at = 1, .uses_left = 9};
        second += choose(1, random) == 1;
    }
    assert_in_range(second, 70, 130);
    second = 0;
    for (uint64_t random = 0; random < 300; random++) {
        for (size_t i = 0; i < 3; i++)
            rivals.pool.probes[i] = (struct rival_probe){.target = i, .at = 1, .latency = i != 1};
        rivals.pool.count = 3;
        second += choose(2.5, random) == 1;
    }
    assert_in_range(second, 70, 130);
}

static void everybody_has_a_name(void **state)
{
    (void)state;
    for (int i = RIVAL_NONE + 1; i < RIVALS; i++) {
        const char *name = rival_name((enum rival)i);
        assert_int_equal(rival_find(name, strlen(name)), i);
    }
    assert_int_equal(rival_find("nobody", 6), RIVAL_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tower_takes_peaks_in_full_and_forgets_them),
        cmocka_unit_test(finagle_asks_one_of_which_nothing_is_known_once),
        cmocka_unit_test(kongs_looks_do_not_move_the_mean),
        cmocka_unit_test(litellm_lists_first_tokens_and_the_whole_per_token),
        cmocka_unit_test(tower_prefers_who_has_fewer_waiting),
        cmocka_unit_test(kong_asks_the_least_mean_whatever_is_in_flight),
        cmocka_unit_test(agentgateway_draws_two_with_replacement),
        cmocka_unit_test(agentgateways_health_falls_with_failures),
        cmocka_unit_test(litellm_cools_down_who_is_busy_or_fails_often),
        cmocka_unit_test(c3_counts_the_queue_to_the_third_power),
        cmocka_unit_test(bounded_loads_stay_within_a_quarter_of_fair),
        cmocka_unit_test(prefixes_stay_with_smgs_worker_until_loads_differ),
        cmocka_unit_test(jiq_asks_one_that_said_that_it_is_idle_once),
        cmocka_unit_test(prequal_asks_anyone_when_its_pool_is_dry),
        cmocka_unit_test(everybody_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
