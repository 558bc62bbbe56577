/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "routing/route.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* Four targets: two of priority 1, two of priority 2. */
enum { TARGETS = 4, SECOND = 1000000 };

static struct target_figures figures[TARGETS];
static struct quota_figures quota_counters;
static struct target targets[TARGETS];
static struct affinity *affinity;
static struct route route;
static struct route_policy policy;
static struct breaker_settings breaker;
static struct choice choice;
static struct route_try attempt;
static uint64_t now, drawn;

static int set_up(void **state)
{
    (void)state;
    now = UINT64_C(1000) * SECOND;
    memset(figures, 0, sizeof(figures));
    memset(&quota_counters, 0, sizeof(quota_counters));
    breaker = (struct breaker_settings){
        .window_us = 30 * SECOND, .min_requests = 20, .error_ppm = 500000, .open_us = 15 * SECOND};
    for (size_t i = 0; i < TARGETS; i++) {
        figures[i].identity = strategy_mix(i + 1);
        targets[i] = (struct target){
            .weight = 1,
            .priority = i < 2 ? 1 : 2,
            .figures = &figures[i],
            .breaker = &breaker,
            .price = {.input = 1000000000, .output = 1000000000, .known = true},
        };
    }
    affinity = affinity_new(64);
    route = (struct route){.targets = targets, .target_count = TARGETS, .affinity = affinity};
    policy = strategy_balanced;
    policy.explore_ppm = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    affinity_free(affinity);
    return 0;
}

static struct route_call call(void)
{
    return (struct route_call){.now_us = now,
                               .random = strategy_mix(++drawn),
                               .stream = true,
                               .input_tokens = 500,
                               .output_tokens = 20};
}

/* The place of the target that gets <asked>; TARGETS = none. */
static size_t chosen_for(struct route_call asked)
{
    const struct target *target = route_choose(&route, &policy, &asked, &attempt, &choice);
    assert_ptr_equal(target, choice.target);
    assert_ptr_equal(target, attempt.target);
    return target ? (size_t)(target - targets) : TARGETS;
}

static void end(enum fault_kind fault)
{
    struct route_outcome outcome = {.now_us = now, .fault = fault, .output_tokens = 20};
    route_end(&attempt, &outcome);
    assert_null(attempt.target);
}

/* One whole call, which takes <first_us> and ends with <fault>. */
static size_t run(int64_t first_us, enum fault_kind fault)
{
    size_t at = chosen_for(call());
    now += (uint64_t)first_us;
    if (fault == FAULT_NONE)
        route_first(&attempt, now);
    now += 200000;
    end(fault);
    return at;
}

/* What a target is taught, by calls that have no other. */
static void teach(size_t target, int64_t first_us, enum fault_kind fault, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct route_call asked = call();
        asked.allowed = UINT64_C(1) << target;
        assert_int_equal(chosen_for(asked), target);
        now += (uint64_t)first_us;
        if (fault == FAULT_NONE)
            route_first(&attempt, now);
        now += 200000;
        end(fault);
    }
}

static void asks_the_next_rank_only_when_the_first_is_out(void **state)
{
    (void)state;
    struct route_call asked = call();
    teach(0, 900000, FAULT_NONE, 8);
    teach(1, 900000, FAULT_NONE, 8);
    teach(2, 100000, FAULT_NONE, 8);
    for (unsigned i = 0; i < 50; i++)
        assert_true(run(900000, FAULT_NONE) < 2);
    asked.tried = 3;
    assert_in_range(chosen_for(asked), 2, 3);
    end(FAULT_NONE);
    asked.tried = 15;
    assert_int_equal(chosen_for(asked), TARGETS);
    assert_int_equal(choice.candidates[0].strike, STRIKE_TRIED);
    assert_string_equal(choice.why, "nobody is left");
}

static void takes_weight_zero_last(void **state)
{
    (void)state;
    targets[0].weight = 0;
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(run(100000, FAULT_NONE), 1);
    struct route_call asked = call();
    asked.tried = 2;
    assert_int_equal(chosen_for(asked), 0);
}

static void says_why_not(void **state)
{
    (void)state;
    struct route_call asked = call();
    targets[0].off = true;
    targets[1].quotas[0] = (struct quota){{.calls = 1}, &quota_counters};
    quota_force(&targets[1].quotas[0], 0, now);
    targets[3].price.output = INT64_C(1000000000000);
    asked.max_cost_nanos = 1000000;
    assert_int_equal(chosen_for(asked), 2);
    assert_int_equal(choice.candidates[0].strike, STRIKE_OFF);
    assert_int_equal(choice.candidates[1].strike, STRIKE_FULL);
    assert_int_equal(choice.candidates[2].strike, STRIKE_NONE);
    assert_int_equal(choice.candidates[3].strike, STRIKE_DEAR);
    end(FAULT_CLIENT_GONE);
    asked.allowed = 8;
    assert_int_equal(chosen_for(asked), TARGETS); /* what protects is never relaxed */
    assert_int_equal(choice.candidates[2].strike, STRIKE_RULE);
    for (int s = 0; s < STRIKES; s++)
        assert_non_null(strike_name((enum strike)s));
}

static void leaves_the_one_that_fails(void **state)
{
    (void)state;
    teach(0, 300000, FAULT_NONE, 20);
    teach(1, 300000, FAULT_NONE, 20);
    teach(0, 1000, FAULT_TARGET_ERROR, 1); /* fast as it was */
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(run(300000, FAULT_NONE), 1);
}

static void leaves_the_one_that_becomes_slow(void **state)
{
    (void)state;
    teach(0, 200000, FAULT_NONE, 20);
    teach(1, 200000, FAULT_NONE, 20);
    teach(0, 3000000, FAULT_NONE, 2);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(run(200000, FAULT_NONE), 1);
}

static void opens_a_circuit_and_probes_it_once(void **state)
{
    (void)state;
    teach(0, 300000, FAULT_NONE, 2);
    teach(1, 300000, FAULT_NONE, 2);
    teach(0, 1000, FAULT_TARGET_DOWN, 3);
    assert_int_equal(run(300000, FAULT_NONE), 1);
    assert_int_equal(choice.candidates[0].strike, STRIKE_SICK);
    now += UINT64_C(20) * SECOND;
    assert_int_equal(chosen_for(call()), 0);
    assert_string_equal(choice.why, "probe");
    assert_true(attempt.probe);
    struct route_try probe = attempt;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(run(1000, FAULT_NONE), 1); /* the others go elsewhere meanwhile */
    attempt = probe;
    now += 300000;
    route_first(&attempt, now);
    end(FAULT_NONE);
    assert_int_equal(health_circuit(&figures[0].health), CIRCUIT_CLOSED);
}

static void tries_the_least_bad_when_all_are_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < TARGETS; i++)
        teach(i, 1000, FAULT_TARGET_DOWN, 3);
    assert_in_range(chosen_for(call()), 0, 1);
    assert_int_equal(choice.relaxed, STRIKE_SICK);
    end(FAULT_TARGET_DOWN);
}

static void leaves_alone_who_asked_for_it(void **state)
{
    (void)state;
    struct route_call asked = call();
    asked.allowed = 1;
    assert_int_equal(chosen_for(asked), 0);
    struct route_outcome outcome = {
        .now_us = now, .fault = FAULT_TARGET_BUSY, .retry_after_us = 60 * SECOND};
    route_end(&attempt, &outcome);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(run(300000, FAULT_NONE), 1);
    assert_int_equal(choice.candidates[0].strike, STRIKE_COOLING);
}

static void leaves_alone_whose_quota_is_nearly_spent(void **state)
{
    (void)state;
    struct quota_seen seen = {3, 1000, 60 * SECOND, -1, -1, 0};
    quota_said(&figures[1].left, &seen, now);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(run(1000, FAULT_NONE), 0);
    assert_int_equal(choice.candidates[1].strike, STRIKE_DRY);
    targets[0].off = targets[2].off = targets[3].off = true; /* better that one than none */
    assert_int_equal(chosen_for(call()), 1);
    assert_int_equal(choice.relaxed, STRIKE_DRY);
}

static void keeps_to_its_limits(void **state)
{
    (void)state;
    struct route_try tries[3];
    targets[0].quotas[0] = (struct quota){{.calls = 2}, &quota_counters};
    struct route_call asked = call();
    asked.allowed = 1;
    assert_non_null(route_choose(&route, &policy, &asked, &tries[0], NULL));
    assert_non_null(route_choose(&route, &policy, &asked, &tries[1], NULL));
    assert_null(route_choose(&route, &policy, &asked, &tries[2], NULL));
    struct route_outcome outcome = {.now_us = now, .not_sent = true};
    route_end(&tries[0], &outcome);
    assert_non_null(route_choose(&route, &policy, &asked, &tries[2], NULL));
    assert_int_equal(figures[0].in_flight, 2);
}

static void our_own_want_is_not_held_against_a_target(void **state)
{
    (void)state;
    struct route_try one;
    struct route_call asked = call();
    for (int i = 0; i < 50; i++) {
        assert_non_null(route_choose(&route, &policy, &asked, &one, NULL));
        struct route_outcome outcome = {.now_us = now, .fault = FAULT_OVERLOADED};
        route_end(&one, &outcome);
    }
    for (size_t i = 0; i < TARGETS; i++) {
        assert_int_equal(figures[i].attempts, 0); /* neither for it: it was not asked */
        assert_int_equal(figures[i].failures, 0);
        assert_int_equal(figures[i].in_flight, 0);
        assert_int_equal(figures[i].health.good_us, 0);
        assert_int_equal(health_circuit(&figures[i].health), CIRCUIT_CLOSED);
    }
}

static void takes_the_cheapest_that_is_fast_enough(void **state)
{
    (void)state;
    policy.strategy = STRATEGY_COST;
    policy.max_ttft_us = 2 * SECOND;
    for (size_t i = 0; i < TARGETS; i++) {
        targets[i].priority = 1;
        targets[i].price.output = INT64_C(1000000000) * (int64_t)(i + 1);
    }
    teach(0, 5000000, FAULT_NONE, 30);
    teach(1, 500000, FAULT_NONE, 30);
    teach(2, 100000, FAULT_NONE, 30);
    assert_int_equal(run(500000, FAULT_NONE), 1);
    assert_int_equal(choice.candidates[0].strike, STRIKE_SLOW);
    teach(3, 100000, FAULT_NONE, 30);
    policy.max_ttft_us = 1000; /* nobody is: then the best of them */
    assert_int_not_equal(chosen_for(call()), TARGETS);
    assert_int_equal(choice.relaxed, STRIKE_SLOW);
    end(FAULT_CLIENT_GONE);
}

static void asks_the_fastest_when_the_cheapest_are_all_too_slow(void **state)
{
    (void)state;
    targets[1].price = (struct price){.input = 1000, .output = 1000, .known = true};
    teach(0, 300000, FAULT_NONE, 20);
    teach(1, 900000, FAULT_NONE, 20);
    route.target_count = 2;
    policy.strategy = STRATEGY_COST;
    policy.max_ttft_us = 100000;
    assert_int_equal(chosen_for(call()), 0);
    assert_int_equal(choice.relaxed, STRIKE_SLOW);
    assert_string_equal(choice.why, "nobody else is left");
}

/* All that come after wait for a queue, too: who has none is asked before it is as long. */
static void does_not_queue_long_for_the_fastest_of_the_slow(void **state)
{
    (void)state;
    targets[1].price = (struct price){.input = 1000, .output = 1000, .known = true};
    teach(0, 300000, FAULT_NONE, 20);
    teach(1, 900000, FAULT_NONE, 20);
    route.target_count = 2;
    policy.strategy = STRATEGY_COST;
    policy.max_ttft_us = 100000;
    for (unsigned asked = 0; chosen_for(call()) == 0; asked++)
        assert_true(asked < 100);
    const struct prediction *fast = &choice.candidates[0].prediction;
    assert_int_equal(choice.relaxed, STRIKE_SLOW);
    assert_true(fast->wait_us > 0);
    assert_true(fast->first_us < 900000 * 2 / 3);
}

static void does_not_queue_for_the_cheapest(void **state)
{
    (void)state;
    targets[1].price = (struct price){.input = 1000, .output = 1000, .known = true};
    teach(0, 300000, FAULT_NONE, 20);
    teach(1, 300000, FAULT_NONE, 20);
    route.target_count = 2;
    policy.strategy = STRATEGY_COST;
    policy.max_ttft_us = 2 * SECOND;
    unsigned asked = 0;
    for (; chosen_for(call()) == 1; asked++)
        assert_true(asked < 100);
    const struct prediction *cheap = &choice.candidates[1].prediction;
    assert_int_equal(choice.candidates[1].strike, STRIKE_SLOW);
    assert_true(asked > 2 && cheap->wait_us > 0);
    assert_true(cheap->first_p95_us < policy.max_ttft_us); /* it would still be in time */
}

static void explores_within_its_share(void **state)
{
    (void)state;
    unsigned explored = 0;
    policy.explore_ppm = 20000;
    teach(0, 100000, FAULT_NONE, 30);
    teach(1, 4000000, FAULT_NONE, 30);
    for (unsigned i = 0; i < 3000; i++) { /* 600 s */
        now += 100000;
        size_t at = run(100000, FAULT_NONE);
        explored += at == 1;
    }
    /* It has become fast, and is found to be: first now and then, later as the other one. */
    assert_in_range(explored, 100, 2000);
    teach(1, 4000000, FAULT_NONE, 30);
    explored = 0;
    for (unsigned i = 0; i < 1500; i++) { /* 600 s, and it stays slow */
        now += 100000;
        size_t at = chosen_for(call());
        now += at == 1 ? 4000000 : 100000;
        route_first(&attempt, now);
        now += 200000;
        end(FAULT_NONE);
        explored += at == 1;
    }
    assert_in_range(explored, 1, 60);
}

static void stays_with_whom_it_has_begun(void **state)
{
    (void)state;
    policy.sticky_by = STICKY_KEY;
    for (uint64_t who = 1; who < 20; who++) {
        struct route_call asked = call();
        asked.sticky = strategy_mix(who);
        size_t at = chosen_for(asked);
        end(FAULT_CLIENT_GONE);
        for (unsigned i = 0; i < 10; i++) {
            asked.random = strategy_mix(++drawn);
            assert_int_equal(chosen_for(asked), at);
            end(FAULT_CLIENT_GONE);
        }
    }
    struct route_call asked = call();
    asked.sticky = strategy_mix(3);
    size_t before = chosen_for(asked);
    end(FAULT_CLIENT_GONE);
    teach(before, 1000, FAULT_TARGET_DOWN, 3); /* but not with one that is down */
    asked.now_us = now;
    assert_int_not_equal(chosen_for(asked), before);
}

static void goes_back_to_the_cache_that_has_the_prompt(void **state)
{
    (void)state;
    for (uint64_t prompt = 1; prompt < 30; prompt++) {
        struct route_call asked = call();
        asked.input_tokens = 6000;
        for (size_t i = 0; i < 3; i++)
            asked.prefix[i] = strategy_mix(prompt * 10 + i);
        size_t at = chosen_for(asked);
        end(FAULT_CLIENT_GONE);
        asked.random = strategy_mix(++drawn);
        assert_int_equal(chosen_for(asked), at);
        assert_int_equal(choice.candidates[at].prediction.cached_tokens, 4096);
        end(FAULT_CLIENT_GONE);
        asked.prefix[2] = strategy_mix(prompt * 10 + 9); /* it goes on otherwise */
        asked.random = strategy_mix(++drawn);
        assert_int_equal(chosen_for(asked), at);
        assert_int_equal(choice.candidates[at].prediction.cached_tokens, 1024);
        end(FAULT_CLIENT_GONE);
    }
}

static void pays_less_for_a_prompt_that_is_cached(void **state)
{
    (void)state;
    targets[0].price.cached_input = 100000000;
    targets[1].price.cached_input = 100000000;
    struct route_call asked = call();
    asked.input_tokens = 4096;
    asked.output_tokens = 0;
    for (size_t i = 0; i < 3; i++)
        asked.prefix[i] = strategy_mix(i + 50);
    size_t at = chosen_for(asked);
    assert_int_equal(choice.candidates[at].prediction.cost_nanos, 4096000);
    end(FAULT_CLIENT_GONE);
    chosen_for(asked);
    assert_int_equal(choice.candidates[at].prediction.cost_nanos, 409600);
    end(FAULT_CLIENT_GONE);
}

static void considers_without_marking(void **state)
{
    (void)state;
    struct route_call asked = call();
    route_consider(&route, &policy, &asked, &choice);
    assert_non_null(choice.target);
    for (size_t i = 0; i < TARGETS; i++) {
        assert_int_equal(figures[i].in_flight, 0);
        assert_int_equal(figures[i].predict.calls, 0);
    }
    assert_int_equal(choice.count, TARGETS);
    assert_true(choice.candidates[0].score_nanos > 0);
}

static void counts_who_was_not_chosen(void **state)
{
    (void)state;
    struct route_call asked = call();
    route_take(&targets[2], &asked, &attempt);
    assert_int_equal(figures[2].in_flight, 1);
    now += 400000;
    route_first(&attempt, now);
    end(FAULT_NONE);
    assert_int_equal(figures[2].in_flight, 0);
    assert_int_equal(figures[2].attempts, 1);
    assert_int_equal(figures[2].predict.classes[TRAFFIC_SHORT].samples, 1);
}

/* Both serve one at a time; one has a call, the other three. */
static void sends_calls_of_long_answers_where_the_queue_is_long(void **state)
{
    (void)state;
    struct route_try others[4];
    teach(0, 300000, FAULT_NONE, 20);
    teach(1, 300000, FAULT_NONE, 20);
    struct route_call short_one = call(), long_one = call();
    for (size_t i = 0; i < 4; i++) {
        figures[i].predict.room_milli = 1000;
        route_take(&targets[i ? 1 : 0], &short_one, &others[i]);
    }
    long_one.output_tokens = 41; /* of 20 as a mean */
    route_consider(&route, &policy, &short_one, &choice);
    assert_ptr_equal(choice.target, &targets[0]);
    route_consider(&route, &policy, &long_one, &choice);
    assert_ptr_equal(choice.target, &targets[0]); /* it would be thrice as long */
    long_one.output_tokens = 4000;
    assert_int_equal(chosen_for(long_one), 1);
    long_one.output_tokens = 40; /* that one counts for one of 256 */
    assert_in_range(figures[0].writes_milli, 35000, 36000);
    figures[0].writes_milli = 0; /* nobody knows */
    route_consider(&route, &policy, &long_one, &choice);
    assert_ptr_equal(choice.target, &targets[0]);
}

static void balances_what_all_are_equal_for(void **state)
{
    (void)state;
    struct route_try tries[200];
    for (size_t i = 0; i < TARGETS; i++)
        targets[i].priority = 1;
    for (unsigned i = 0; i < 200; i++) {
        struct route_call asked = call();
        assert_non_null(route_choose(&route, &policy, &asked, &tries[i], NULL));
    }
    for (size_t i = 0; i < TARGETS; i++)
        assert_int_equal(figures[i].in_flight, 50);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(asks_the_next_rank_only_when_the_first_is_out),
        TEST(takes_weight_zero_last),
        TEST(says_why_not),
        TEST(leaves_the_one_that_fails),
        TEST(leaves_the_one_that_becomes_slow),
        TEST(opens_a_circuit_and_probes_it_once),
        TEST(tries_the_least_bad_when_all_are_out),
        TEST(leaves_alone_who_asked_for_it),
        TEST(leaves_alone_whose_quota_is_nearly_spent),
        TEST(keeps_to_its_limits),
        TEST(our_own_want_is_not_held_against_a_target),
        TEST(takes_the_cheapest_that_is_fast_enough),
        TEST(asks_the_fastest_when_the_cheapest_are_all_too_slow),
        TEST(does_not_queue_long_for_the_fastest_of_the_slow),
        TEST(does_not_queue_for_the_cheapest),
        TEST(explores_within_its_share),
        TEST(stays_with_whom_it_has_begun),
        TEST(goes_back_to_the_cache_that_has_the_prompt),
        TEST(pays_less_for_a_prompt_that_is_cached),
        TEST(considers_without_marking),
        TEST(counts_who_was_not_chosen),
        TEST(sends_calls_of_long_answers_where_the_queue_is_long),
        TEST(balances_what_all_are_equal_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
