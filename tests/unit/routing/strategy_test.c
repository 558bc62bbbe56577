/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "routing/strategy.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { BIDS = 4, ROUNDS = 20000 };

static struct prediction predictions[BIDS];
static struct bid bids[BIDS];
static struct route_policy policy;
static unsigned chosen[BIDS];

static int set_up(void **state)
{
    (void)state;
    policy = strategy_balanced;
    memset(chosen, 0, sizeof(chosen));
    for (size_t i = 0; i < BIDS; i++) {
        predictions[i] = (struct prediction){
            .first_us = 300000, .first_p95_us = 600000, .total_us = 1300000, .cost_nanos = 1000000};
        bids[i] = (struct bid){
            .prediction = &predictions[i], .weight = 1, .identity = strategy_mix(100 + i)};
    }
    return 0;
}

static void score_all(void)
{
    for (size_t i = 0; i < BIDS; i++)
        bids[i].score = strategy_score(&policy, &predictions[i]);
}

static size_t pick(struct chance chance)
{
    const char *why = NULL;
    score_all();
    size_t at = strategy_pick(&policy, bids, BIDS, &chance, &why);
    assert_true(at < BIDS);
    assert_non_null(why);
    return at;
}

static void pick_many(void)
{
    memset(chosen, 0, sizeof(chosen));
    for (uint64_t i = 0; i < ROUNDS; i++)
        chosen[pick((struct chance){.random = strategy_mix(i), .turn = i})]++;
}

static void weighs_time_at_the_exchange_rate(void **state)
{
    (void)state;
    /* a second is worth 0.2 cents: 2,000,000 nano-dollars */
    assert_int_equal(strategy_score(&policy, &predictions[0]), 1000000 + 2600000);
    policy.second_nanos = 10000000;
    assert_int_equal(strategy_score(&policy, &predictions[0]), 1000000 + 13000000);
    policy.second_nanos = 0;
    assert_int_equal(strategy_score(&policy, &predictions[0]), 1000000);
}

static void weighs_cost_latency_and_load_by_their_weights(void **state)
{
    (void)state;
    predictions[0].wait_us = 300000;
    /* 0.3 s of 1.3 s are queue, which counts six times: all wait that come later */
    assert_int_equal(strategy_score(&policy, &predictions[0]), 1000000 + 2000000 + 3600000);
    policy.latency_ppm = 800000; /* all but the queue counts twice */
    assert_int_equal(strategy_score(&policy, &predictions[0]), 1000000 + 4000000 + 3600000);
    predictions[0].cached_tokens = 100; /* it makes the queue shorter by what it need not read */
    assert_int_equal(strategy_score(&policy, &predictions[0]), 1000000 + 4000000 + 1200000);
    policy.load_ppm = 0; /* and the queue not at all */
    assert_int_equal(strategy_score(&policy, &predictions[0]), 1000000 + 4000000);
    policy.cost_ppm = 0;
    assert_int_equal(strategy_score(&policy, &predictions[0]), 4000000);
}

static void takes_latency_as_the_policy_means_it(void **state)
{
    (void)state;
    policy.strategy = STRATEGY_LATENCY;
    assert_int_equal(strategy_time(&policy, &predictions[0]), 300000);
    policy.signal = SIGNAL_TTFT_P95;
    assert_int_equal(strategy_time(&policy, &predictions[0]), 600000);
    policy.signal = SIGNAL_TOTAL_P50;
    assert_int_equal(strategy_time(&policy, &predictions[0]), 1300000);
    policy.signal = SIGNAL_TOTAL_P95;
    assert_int_equal(strategy_time(&policy, &predictions[0]), 1600000);
    predictions[1].token_ns = 5000;
    policy.signal = SIGNAL_TOKENS_PER_SECOND;
    assert_true(strategy_time(&policy, &predictions[0]) < strategy_time(&policy, &predictions[1]));
}

static void trusts_means_less_where_times_differ_much(void **state)
{
    (void)state;
    policy.strategy = STRATEGY_LATENCY;
    for (size_t i = 0; i < BIDS; i++) {
        predictions[i].first_us = i ? 400000 : 300000;
        predictions[i].first_p95_us = predictions[i].first_us + 200000;
        predictions[i].calls = i ? 0 : 10;
    }
    assert_int_equal(pick((struct chance){0}), 0); /* it is faster, however busy */
    for (size_t i = 0; i < BIDS; i++)
        predictions[i].first_p95_us = predictions[i].first_us + 900000;
    assert_int_not_equal(pick((struct chance){0}), 0); /* nobody knows */
}

/* The luckiest of many is further ahead of the others than that of two. */
static void trusts_means_less_where_there_are_more(void **state)
{
    const char *why = NULL;
    (void)state;
    policy.strategy = STRATEGY_LATENCY;
    for (size_t i = 0; i < BIDS; i++) {
        predictions[i].first_us = i ? 385000 : 300000;
        predictions[i].first_p95_us = predictions[i].first_us + 300000;
        predictions[i].calls = i ? 0 : 10;
    }
    assert_int_not_equal(pick((struct chance){0}), 0);
    assert_int_equal(strategy_pick(&policy, bids, 2, &(struct chance){0}, &why), 0);
}

/* Few calls may have been unlucky ones; what they cost is no matter of luck. */
static void does_not_judge_by_a_few_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < BIDS; i++) {
        predictions[i].first_p95_us = predictions[i].first_us + 900000;
        predictions[i].samples = 100;
        predictions[i].calls = 10;
    }
    predictions[2].first_us = 900000;
    predictions[2].total_us = 1900000;
    predictions[2].calls = 0;
    assert_int_not_equal(pick((struct chance){0}), 2);
    predictions[2].samples = 2;
    assert_int_equal(pick((struct chance){0}), 2);
    predictions[2].total_us = 3000000; /* as late as none was */
    assert_int_not_equal(pick((struct chance){0}), 2);
    predictions[2].total_us = 1900000;
    predictions[2].cost_nanos += 100000;
    assert_int_not_equal(pick((struct chance){0}), 2);
    for (size_t i = 0; i < BIDS; i++) { /* where times hardly differ, two are enough */
        predictions[i].first_p95_us = predictions[i].first_us + 100000;
        predictions[i].cost_nanos = 1000000;
    }
    assert_int_not_equal(pick((struct chance){0}), 2);
}

static void spends_money_where_time_is_worth_it(void **state)
{
    (void)state;
    for (size_t i = 1; i < BIDS; i++)
        predictions[i].total_us = 20000000;
    predictions[0].cost_nanos = 30000000; /* 2.9 cents more for 18.7 s */
    assert_int_equal(pick((struct chance){0}), 0);
    predictions[0].cost_nanos = 45000000;
    assert_int_not_equal(pick((struct chance){0}), 0);
}

static void spreads_calls_over_those_that_are_as_good(void **state)
{
    (void)state;
    predictions[1].total_us = 1350000; /* no prediction is that exact */
    predictions[3].total_us = 4000000;
    pick_many();
    for (size_t i = 0; i < 3; i++)
        assert_in_range(chosen[i], ROUNDS / 3 - 500, ROUNDS / 3 + 500);
    assert_int_equal(chosen[3], 0);
    predictions[0].calls = 5;
    predictions[1].calls = 4;
    predictions[2].calls = 5;
    assert_int_equal(pick((struct chance){.random = 7}), 1);
    bids[2].weight = 3; /* six calls of three shares are fewer than five of one */
    assert_int_equal(pick((struct chance){.random = 7}), 2);
    bids[2].weight = 1;
    predictions[0].calls = predictions[2].calls = 4;
    predictions[0].work_tokens = predictions[1].work_tokens = 5000;
    assert_int_equal(pick((struct chance){.random = 7}), 2);
}

static void takes_the_cheapest_and_the_faster_of_equals(void **state)
{
    (void)state;
    policy.strategy = STRATEGY_COST;
    predictions[0].total_us = 9000000;
    predictions[2].cost_nanos = predictions[3].cost_nanos = 1100000;
    predictions[2].total_us = predictions[3].total_us = 100000;
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(pick((struct chance){.random = strategy_mix(i)}), 1);
    predictions[0].cost_nanos = 900000;
    assert_int_equal(pick((struct chance){0}), 0);
}

static void goes_where_the_prompt_is_cached_unless_it_is_crowded(void **state)
{
    (void)state;
    struct chance chance = {.prefix = 77};
    predictions[2].cached_tokens = 4000;
    predictions[2].calls = 2;
    assert_int_equal(pick(chance), 2);
    predictions[2].calls = 20; /* which makes nobody wait */
    assert_int_equal(pick(chance), 2);
    predictions[2].calls = 200;
    assert_int_not_equal(pick(chance), 2);
    predictions[2].calls = 20;
    predictions[2].total_us *= 2; /* now it does */
    assert_int_not_equal(pick(chance), 2);
    predictions[2].total_us /= 2;
    for (size_t i = 0; i < BIDS; i++)
        predictions[i].calls = 20; /* so are all */
    assert_int_equal(pick(chance), 2);
}

static void asks_the_idler_one_of_several_that_have_the_prompt(void **state)
{
    (void)state;
    struct chance chance = {.prefix = 77};
    predictions[1].cached_tokens = predictions[2].cached_tokens = 4000;
    size_t drawn = pick(chance), other = 3 - drawn;
    assert_true(drawn == 1 || drawn == 2);
    predictions[drawn].calls = 12; /* 8 * 5 / 4 + 2 */
    predictions[other].calls = 8;
    for (chance.random = 0; chance.random < 20; chance.random++)
        assert_int_equal(pick(chance), drawn);
    predictions[drawn].calls = 13;
    for (chance.random = 0; chance.random < 20; chance.random++)
        assert_int_equal(pick(chance), other);
    bids[drawn].weight = 2; /* for which that is less */
    assert_int_equal(pick(chance), drawn);
}

static void draws_equal_prompts_to_the_same_target(void **state)
{
    (void)state;
    unsigned moved = 0;
    for (uint64_t prefix = 1; prefix <= 4000; prefix++) {
        struct chance chance = {.random = strategy_mix(prefix), .prefix = strategy_mix(prefix)};
        size_t at = pick(chance);
        chance.random++;
        assert_int_equal(pick(chance), at);
        chosen[at]++;
        predictions[3].total_us = 9000000; /* when one goes, only its own move */
        size_t without = pick(chance);
        predictions[3].total_us = 1300000;
        moved += without != at;
        assert_true(at == 3 || without == at);
    }
    for (size_t i = 0; i < BIDS; i++)
        assert_in_range(chosen[i], 850, 1150);
    assert_int_equal(moved, chosen[3]);
}

static void keeps_shares_at_random_and_in_turn(void **state)
{
    (void)state;
    static const unsigned weights[BIDS] = {1, 2, 3, 4};
    for (size_t i = 0; i < BIDS; i++)
        bids[i].weight = weights[i];
    policy.strategy = STRATEGY_WEIGHTED;
    pick_many();
    for (size_t i = 0; i < BIDS; i++)
        assert_in_range(chosen[i], ROUNDS / 10 * weights[i] - 400, ROUNDS / 10 * weights[i] + 400);
    policy.strategy = STRATEGY_ROUND_ROBIN;
    pick_many();
    for (size_t i = 0; i < BIDS; i++)
        assert_in_range(chosen[i], ROUNDS / 10 * weights[i] - 10, ROUNDS / 10 * weights[i] + 10);
    for (size_t i = 0; i < BIDS; i++)
        bids[i].weight = 5;
    for (uint64_t turn = 0; turn < 12; turn++)
        assert_int_equal(pick((struct chance){.turn = turn}), turn % BIDS);
    policy.strategy = STRATEGY_STICKY;
    for (size_t i = 0; i < BIDS; i++)
        bids[i].weight = weights[i];
    memset(chosen, 0, sizeof(chosen));
    for (uint64_t i = 0; i < ROUNDS; i++)
        chosen[pick((struct chance){.sticky = strategy_mix(i) | 1})]++;
    for (size_t i = 0; i < BIDS; i++)
        assert_in_range(chosen[i], ROUNDS / 10 * weights[i] - 500, ROUNDS / 10 * weights[i] + 500);
}

static void keeps_whose_calls_they_are_together(void **state)
{
    (void)state;
    policy.strategy = STRATEGY_STICKY;
    for (uint64_t who = 1; who < 100; who++) {
        size_t at = pick((struct chance){.sticky = strategy_mix(who), .random = 1});
        assert_int_equal(pick((struct chance){.sticky = strategy_mix(who), .random = 2}), at);
    }
}

static void takes_the_least_busy_and_the_first(void **state)
{
    (void)state;
    policy.strategy = STRATEGY_LEAST_BUSY;
    for (size_t i = 0; i < BIDS; i++)
        predictions[i].calls = 5;
    predictions[2].calls = 3;
    assert_int_equal(pick((struct chance){.random = 9}), 2);
    policy.strategy = STRATEGY_PRIORITY;
    assert_int_equal(pick((struct chance){.random = 9}), 0);
}

static void explores_what_is_oldest_and_idle(void **state)
{
    (void)state;
    for (size_t i = 0; i < BIDS; i++)
        predictions[i].age_us = 1000000;
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 0), BIDS);
    predictions[1].age_us = 40000000;
    predictions[2].age_us = 50000000;
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 0), 2);
    predictions[2].calls = 1;
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 0), 1);
    predictions[1].age_us = 3000000;
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 0), BIDS);
    predictions[1].age_us = 40000000;
    predictions[1].usual = true; /* nothing is wrong with it */
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 0), BIDS);
    predictions[1].age_us = 2 * policy.half_life_us;
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 0), 1);
    predictions[1].age_us = 3000000;
    bids[1].better = true; /* it was much better than it was thought to be */
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 0), 1);
}

/* One of 11 s costs ten seconds more than the best of 1 s: at 10 calls a second, a
 * sixteen-thousandth of all time pays for that once in 16,000 s, and no figure gets older than two
 * half-lives. */
static void explores_the_less_the_dearer_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < BIDS; i++) {
        predictions[i].age_us = i == 1 ? 60000000 : 0;
        predictions[i].total_us = i == 1 ? 11000000 : 1000000;
        bids[i].score = predictions[i].total_us;
    }
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 0), 1);
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 250000), 1); /* 40 s */
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 100000000), BIDS);
    predictions[1].age_us = 2 * policy.half_life_us;
    assert_int_equal(strategy_explore(&policy, bids, BIDS, 100000000), 1);
}

/* A thousand calls a second: 24 wait for the best one, and with the next it would be too many. */
static void spreads_what_would_stall_with_one(void **state)
{
    (void)state;
    policy.strategy = STRATEGY_SCORE;
    for (size_t i = 0; i < BIDS; i++) {
        predictions[i] = (struct prediction){.first_us = 200000, .total_us = 200000};
        bids[i] = (struct bid){.prediction = &predictions[i], .score = 400, .weight = 1};
    }
    predictions[1].first_us = predictions[1].total_us = 100000;
    bids[1].score = 200;
    predictions[1].waiting = predictions[1].calls = 11;
    assert_int_equal(pick((struct chance){.gap_ns = 1000000}), 1);
    predictions[1].waiting = predictions[1].calls = 12;
    assert_int_not_equal(pick((struct chance){.gap_ns = 1000000}), 1);
    assert_int_equal(pick((struct chance){.gap_ns = 100000000}), 1); /* few calls come: no matter */
    for (size_t i = 0; i < BIDS; i++) {
        predictions[i].base_us = predictions[i].total_us;
        predictions[i].penalty_us = i == 1 ? 0 : 50000;
    }
    assert_int_equal(pick((struct chance){.gap_ns = 1000000}), 1); /* not with who has failed */
    for (size_t i = 0; i < BIDS; i++)
        predictions[i].penalty_us = 0;
    for (size_t i = 0; i < BIDS; i++)
        predictions[i].cost_nanos = i == 1 ? 100 : 200; /* never for more money */
    assert_int_equal(pick((struct chance){.gap_ns = 1000000}), 1);
}

/* Three share the risk: the fourth one, which is half as slow again, would not make it much
 * smaller. */
static void does_not_spread_to_the_worse_half(void **state)
{
    (void)state;
    policy.strategy = STRATEGY_SCORE;
    for (size_t i = 0; i < BIDS; i++)
        predictions[i] =
            (struct prediction){.first_us = i == 3 ? 150000 : 100000 + 4000 * (int64_t)i,
                                .total_us = i == 3 ? 150000 : 100000 + 4000 * (int64_t)i,
                                .calls = i == 3 ? 0 : 20,
                                .waiting = i == 3 ? 0 : 20};
    assert_int_not_equal(pick((struct chance){.gap_ns = 1000000}), 3);
    predictions[0].waiting = predictions[0].calls = 40; /* one has far too many: the other two */
    for (uint64_t i = 0; i < 100; i++) {
        size_t at = pick((struct chance){.gap_ns = 1000000, .random = i});
        assert_true(at == 1 || at == 2);
    }
    for (size_t i = 1; i < BIDS; i++) /* one that is far ahead shares with all */
        predictions[i].first_us = predictions[i].total_us = 140000 + 20000 * (int64_t)i;
    predictions[1].waiting = predictions[2].waiting = 40;
    assert_int_equal(pick((struct chance){.gap_ns = 1000000}), 3);
}

/* All have a queue before an answer of ten seconds. */
static void queue_all(void)
{
    static const int64_t waits[BIDS] = {300000, 2000000, 5000000, 6000000};
    for (size_t i = 0; i < BIDS; i++)
        predictions[i] = (struct prediction){.base_us = 300000 + waits[i],
                                             .first_us = 300000 + waits[i],
                                             .first_p95_us = 400000 + waits[i],
                                             .total_us = 10000000 + waits[i],
                                             .wait_us = waits[i]};
}

/* The longest queue but one makes it half as long again. */
static void lets_long_calls_stand_where_the_queue_is_long(void **state)
{
    (void)state;
    const struct chance longer = {.is_long = true};
    queue_all();
    assert_int_equal(pick((struct chance){.is_long = false}), 0);
    assert_int_equal(pick(longer), 2);
    predictions[0].base_us = 300000 + 150000; /* one is next to free */
    predictions[0].wait_us = 150000;
    predictions[0].total_us = 10150000;
    assert_int_equal(pick(longer), 0);
    queue_all();
    predictions[2].cost_nanos = 100; /* never for more money */
    assert_int_equal(pick(longer), 1);
    queue_all();
    predictions[2].wait_us = 3900000; /* nor where it is slow, or in trouble */
    assert_int_equal(pick(longer), 1);
    queue_all();
    predictions[0].cached_tokens = 100;
    assert_int_equal(pick(longer), 0);
    queue_all();
    policy.signal = SIGNAL_TTFT_P50;
    assert_int_equal(pick(longer), 0);
    policy.strategy = STRATEGY_LATENCY;
    assert_int_equal(pick(longer), 0);
}

static void bears_the_greatest_figures(void **state)
{
    (void)state;
    for (size_t i = 0; i < BIDS; i++)
        predictions[i] = (struct prediction){.first_us = INT64_C(3600000000),
                                             .total_us = INT64_C(3600000000),
                                             .wait_us = INT64_C(3600000000),
                                             .cost_nanos = INT64_MAX,
                                             .calls = 100000000,
                                             .first_p95_us = i ? INT64_C(7200000000) : 0,
                                             .samples = (int64_t)i,
                                             .work_tokens = INT64_C(100000000000)};
    policy.second_nanos = INT64_C(1000000000000);
    policy.cost_ppm = policy.latency_ppm = policy.load_ppm = 1000000;
    for (size_t i = 0; i < BIDS; i++)
        bids[i].weight = i % 2 ? UINT32_MAX : 0;
    for (int s = STRATEGY_SCORE; s <= STRATEGY_STICKY; s++) {
        policy.strategy = (enum strategy)s;
        assert_true(strategy_score(&policy, &predictions[0]) > 0);
        pick((struct chance){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 1, true, true});
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(weighs_time_at_the_exchange_rate, set_up),
        cmocka_unit_test_setup(weighs_cost_latency_and_load_by_their_weights, set_up),
        cmocka_unit_test_setup(takes_latency_as_the_policy_means_it, set_up),
        cmocka_unit_test_setup(trusts_means_less_where_times_differ_much, set_up),
        cmocka_unit_test_setup(trusts_means_less_where_there_are_more, set_up),
        cmocka_unit_test_setup(does_not_judge_by_a_few_calls, set_up),
        cmocka_unit_test_setup(spends_money_where_time_is_worth_it, set_up),
        cmocka_unit_test_setup(spreads_calls_over_those_that_are_as_good, set_up),
        cmocka_unit_test_setup(takes_the_cheapest_and_the_faster_of_equals, set_up),
        cmocka_unit_test_setup(goes_where_the_prompt_is_cached_unless_it_is_crowded, set_up),
        cmocka_unit_test_setup(asks_the_idler_one_of_several_that_have_the_prompt, set_up),
        cmocka_unit_test_setup(draws_equal_prompts_to_the_same_target, set_up),
        cmocka_unit_test_setup(keeps_shares_at_random_and_in_turn, set_up),
        cmocka_unit_test_setup(keeps_whose_calls_they_are_together, set_up),
        cmocka_unit_test_setup(takes_the_least_busy_and_the_first, set_up),
        cmocka_unit_test_setup(explores_what_is_oldest_and_idle, set_up),
        cmocka_unit_test_setup(explores_the_less_the_dearer_it_is, set_up),
        cmocka_unit_test_setup(spreads_what_would_stall_with_one, set_up),
        cmocka_unit_test_setup(does_not_spread_to_the_worse_half, set_up),
        cmocka_unit_test_setup(lets_long_calls_stand_where_the_queue_is_long, set_up),
        cmocka_unit_test_setup(bears_the_greatest_figures, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
