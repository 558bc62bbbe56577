/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "routing/simulate.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { SECOND = 1000000, SEEDS = 3 };

/* Finagle's: 11 backends, a median of 167 ms, 1,000 calls a second, one needs 2 s for 30 s. */
static struct simulate_scenario slow_node(void)
{
    struct simulate_scenario scenario = {
        .target_count = 11,
        .answer_count = 1,
        .answers = {{.tokens = 1, .share = 1}},
        .rate = 1000,
        .seconds_us = INT64_C(60) * SECOND,
        .input_tokens = 1,
        .whole = true,
        .objective_us = SECOND,
        .replicas = 1,
    };
    for (size_t i = 0; i < scenario.target_count; i++)
        scenario.targets[i] =
            (struct simulate_target){.first_us = 167000, .spread = 0.25, .weight = 1};
    scenario.targets[10].trouble = TROUBLE_SLOW;
    scenario.targets[10].from_us = INT64_C(15) * SECOND;
    scenario.targets[10].until_us = INT64_C(45) * SECOND;
    scenario.targets[10].takes_us = 2 * SECOND;
    return scenario;
}

static double within(const struct simulate_scenario *scenario, enum rival rival)
{
    struct simulate_picker picker = {.name = rival_name(rival), .rival = rival};
    struct simulate_result result;
    double sum = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        simulate_run(scenario, &picker, seed, &result);
        sum += result.within;
    }
    return sum / SEEDS;
}

static void assert_between(double value, double low, double high)
{
    if (value < low || value > high)
        fail_msg("%g is not between %g and %g", value, low, high);
}

static void finagles_slow_node_is_reproduced(void **state)
{
    (void)state;
    struct simulate_scenario scenario = slow_node();
    assert_between(within(&scenario, RIVAL_ROUND_ROBIN), 0.945, 0.96);    /* 95 % */
    assert_between(within(&scenario, RIVAL_LEAST_REQUEST), 0.985, 0.997); /* 99 % */
    assert_between(within(&scenario, RIVAL_PEAK_EWMA), 0.998, 0.9999);    /* 99.9 % */
    assert_between(within(&scenario, RIVAL_NONE), 0.999, 1);
}

static void the_same_seed_gives_the_same_figures(void **state)
{
    (void)state;
    struct simulate_scenario scenario = slow_node();
    struct simulate_result first, second, other;
    scenario.seconds_us = INT64_C(20) * SECOND;
    for (int rival = RIVAL_NONE; rival < RIVALS; rival++) {
        struct simulate_picker picker = {.name = rival_name((enum rival)rival),
                                         .rival = (enum rival)rival};
        simulate_run(&scenario, &picker, 7, &first);
        simulate_run(&scenario, &picker, 7, &second);
        simulate_run(&scenario, &picker, 8, &other);
        assert_memory_equal(&first, &second, sizeof(first));
        assert_true(first.total_mean < other.total_mean || first.total_mean > other.total_mean);
    }
}

/* Servers with one place each, Poisson arrivals, exponential times of 1 s in the mean. */
static double stay(enum rival rival, size_t servers, unsigned gateways, double load, int64_t lasts)
{
    struct simulate_scenario scenario = {
        .target_count = servers,
        .answer_count = 1,
        .answers = {{.tokens = 10000, .share = 1, .memoryless = true}},
        .rate = load * (double)servers,
        .seconds_us = lasts * SECOND,
        .warmup_us = lasts / 10 * SECOND,
        .input_tokens = 1,
        .objective_us = SECOND,
        .replicas = gateways,
    };
    for (size_t i = 0; i < servers; i++)
        scenario.targets[i] = (struct simulate_target){.token_us = 100, .slots = 1, .weight = 1};
    struct simulate_picker picker = {.name = rival_name(rival), .rival = rival};
    struct simulate_result result;
    simulate_run(&scenario, &picker, 1, &result);
    return result.total_mean;
}

static void assert_ratio(double value, double published, double tolerance)
{
    if (fabs(value / published - 1) > tolerance)
        fail_msg("%.4g is %+.1f %% off the published %.4g", value, (value / published - 1) * 100,
                 published);
}

/* M/M/1: 1 / (1 - load). Mitzenmacher 2001 has it as the case of one choice. */
static void random_choices_stay_as_long_as_theory_says(void **state)
{
    (void)state;
    assert_ratio(stay(RIVAL_RANDOM, 64, 1, 0.5, 2000), 2, 0.02);
    assert_ratio(stay(RIVAL_RANDOM, 64, 1, 0.7, 3000), 1 / 0.3, 0.02);
    assert_ratio(stay(RIVAL_RANDOM, 64, 1, 0.9, 6000), 10, 0.05);
    assert_ratio(stay(RIVAL_WEIGHTED, 64, 1, 0.7, 3000), 1 / 0.3, 0.02);
    assert_ratio(stay(RIVAL_LITELLM_SHUFFLE, 64, 1, 0.7, 3000), 1 / 0.3, 0.02);
}

/* Mitzenmacher, "The power of two choices in randomized load balancing", 2001, his table of two
 * choices of 100 queues: what he simulated, next to what his limit predicts. */
static void two_choices_reproduce_mitzenmachers_table(void **state)
{
    (void)state;
    static const struct {
        double load, simulated, predicted;
    } table[] = {{0.5, 1.2673, 1.2657},
                 {0.7, 1.6202, 1.6145},
                 {0.8, 1.9585, 1.9474},
                 {0.9, 2.6454, 2.6141},
                 {0.95, 3.4610, 3.3830}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        double predicted = 0;
        for (int k = 1; k < 40; k++)
            predicted += pow(table[i].load, pow(2, k) - 2);
        assert_ratio(predicted, table[i].predicted, 0.0001);
        assert_ratio(stay(RIVAL_P2C, 64, 1, table[i].load, 3000), table[i].simulated, 0.025);
    }
}

/* The share of gateways that know of no idle server, with <r> servers for each. What one of them
 * knows is a birth-death process: servers become idle at the rate at which they are taken, which
 * happens to those that are known and, by chance, to any. */
static double share_without_idle(double load, double r)
{
    double low = 0, high = 1;
    for (int i = 0; i < 60; i++) {
        double none = (low + high) / 2, sum = 1, term = 1;
        double birth = r * (load * (1 - none) + (1 - load) * load * none);
        for (int k = 1; k < 200; k++) {
            term *= birth / (load * r + k * load * none);
            sum += term;
        }
        if (1 / sum > none)
            low = none;
        else
            high = none;
    }
    return low;
}

/* Lu et al., "Join-Idle-Queue", 2011, theorems 1 and 2: the share <p> of gateways that know of an
 * idle server is that for which p / (1 - p) = r (1 - load), and servers queue as if their load were
 * load * (1 - p). Van Houdt et al., 2020 say that this is not exact, and what is where words are
 * withdrawn: M/M/1 with load * (the share that knows of none). */
static void idle_queues_reproduce_the_theorems(void **state)
{
    (void)state;
    static const double loads[] = {0.5, 0.7, 0.8, 0.9};
    for (size_t i = 0; i < 4; i++) {
        double known = 8 * (1 - loads[i]), lus = 1 / (1 - loads[i] / (1 + known));
        double exact = 1 / (1 - loads[i] * share_without_idle(loads[i], 8));
        double ours = stay(RIVAL_JIQ, 64, 8, loads[i], 3000);
        assert_ratio(ours, exact, 0.04);
        assert_ratio(ours, lus, 0.05);
        assert_true(ours < stay(RIVAL_P2C, 64, 1, loads[i], 1000)); /* Lu's claim */
    }
}

/* The end of the slowest hundredth, of 8 gateways before 64 servers, of which half need twice as
 * long: nine tenths full. */
static double tail_of_unlike(enum rival rival)
{
    struct simulate_scenario scenario = {
        .target_count = 64,
        .answer_count = 1,
        .answers = {{.tokens = 10000, .share = 1, .memoryless = true}},
        .rate = 1050,
        .seconds_us = INT64_C(60) * SECOND,
        .warmup_us = INT64_C(10) * SECOND,
        .input_tokens = 1,
        .whole = true,
        .objective_us = SECOND,
        .replicas = 8,
    };
    for (size_t i = 0; i < scenario.target_count; i++)
        scenario.targets[i] = (struct simulate_target){
            .first_us = 1000, .token_us = i % 2 ? 4 : 8, .slots = 1, .weight = 1};
    struct simulate_picker picker = {.name = rival_name(rival), .rival = rival};
    struct simulate_result result;
    simulate_run(&scenario, &picker, 1, &result);
    return result.total_p99;
}

/* Wydrowski et al., NSDI 2024, compare rules on servers of which half are slower: Prequal and C3
 * end first, those that know of their own calls only behind them, and far behind round robin and
 * random choices, which run into timeouts. */
static void rules_end_in_the_order_of_prequals_paper(void **state)
{
    (void)state;
    double prequal = tail_of_unlike(RIVAL_PREQUAL), c3 = tail_of_unlike(RIVAL_C3);
    double least = tail_of_unlike(RIVAL_LEAST_REQUEST), two = tail_of_unlike(RIVAL_P2C);
    double worse = prequal > c3 ? prequal : c3, better = least < two ? least : two;
    assert_true(worse * 1.2 < better);
    assert_true(two > least);
    assert_true(tail_of_unlike(RIVAL_ROUND_ROBIN) > 5 && tail_of_unlike(RIVAL_RANDOM) > 5);
}

/* One server of two places, nearly full: what is inside is what comes times how long it stays. */
static void queues_obey_littles_law(void **state)
{
    (void)state;
    struct simulate_scenario scenario = {
        .target_count = 1,
        .answer_count = 1,
        .answers = {{.tokens = 50, .share = 1, .spread = 0.5}},
        .targets = {{.first_us = 100000, .spread = 0.3, .token_us = 2000, .slots = 2, .weight = 1}},
        .rate = 8,
        .seconds_us = INT64_C(3000) * SECOND,
        .input_tokens = 10,
        .objective_us = SECOND,
        .replicas = 1,
    };
    struct simulate_picker picker = {.name = "random", .rival = RIVAL_RANDOM};
    struct simulate_result result;
    simulate_run(&scenario, &picker, 1, &result);
    double rate = (double)result.calls / 3000;
    assert_between(rate, 7.7, 8.3);
    assert_between(result.in_flight / (rate * result.total_mean), 0.99, 1.01);
    assert_true(result.first_p99 > 2 * result.first_p50); /* there was a queue */
}

/* M/D/1: half of M/M/1's wait, load / (2 * (1 - load)) services. */
static void a_queue_of_even_calls_waits_as_theory_says(void **state)
{
    (void)state;
    struct simulate_scenario scenario = {
        .target_count = 1,
        .answer_count = 1,
        .answers = {{.tokens = 1, .share = 1}},
        .targets = {{.first_us = 100000, .slots = 1, .weight = 1}},
        .rate = 7,
        .seconds_us = INT64_C(20000) * SECOND,
        .input_tokens = 10,
        .objective_us = SECOND,
        .replicas = 1,
    };
    struct simulate_picker picker = {.name = "random", .rival = RIVAL_RANDOM};
    struct simulate_result result;
    simulate_run(&scenario, &picker, 1, &result);
    double expected = 0.1 * (1 + 0.7 / (2 * 0.3));
    assert_between(result.total_mean / expected, 0.97, 1.03);
}

static void a_cache_of_prefixes_makes_hits(void **state)
{
    (void)state;
    struct simulate_scenario scenario = {
        .target_count = 1,
        .answer_count = 1,
        .answers = {{.tokens = 1, .share = 1}},
        .targets = {{.first_us = 1000, .read_rate = 10000, .cache = 10, .weight = 1}},
        .rate = 50,
        .seconds_us = INT64_C(100) * SECOND,
        .warmup_us = INT64_C(10) * SECOND,
        .input_tokens = 1000,
        .prefix_tokens = 1000,
        .prefixes = 10,
        .prompts = 1,
        .objective_us = SECOND,
        .replicas = 1,
    };
    struct simulate_picker picker = {.name = "random", .rival = RIVAL_RANDOM};
    struct simulate_result result;
    simulate_run(&scenario, &picker, 1, &result);
    assert_between(result.hits, 1, 1);
    scenario.targets[0].cache = 5; /* of ten, any of which comes next: half of them */
    simulate_run(&scenario, &picker, 1, &result);
    assert_between(result.hits, 0.47, 0.53);
}

static void a_quota_refuses_what_is_beyond_it(void **state)
{
    (void)state;
    struct simulate_scenario scenario = {
        .target_count = 1,
        .answer_count = 1,
        .answers = {{.tokens = 100, .share = 1}},
        .targets = {{.first_us = 1000, .tokens_per_minute = 60000, .weight = 1}},
        .rate = 20, /* of 200 tokens: 4,000 a second, of which 1,000 are allowed */
        .seconds_us = INT64_C(600) * SECOND,
        .warmup_us = INT64_C(60) * SECOND,
        .input_tokens = 100,
        .objective_us = SECOND,
        .replicas = 1,
    };
    struct simulate_picker picker = {.name = "random", .rival = RIVAL_RANDOM};
    struct simulate_result result;
    simulate_run(&scenario, &picker, 1, &result);
    assert_between(result.errors, 0.73, 0.77);
}

static void intervals_are_students(void **state)
{
    (void)state;
    const double ours[] = {1, 2, 3, 4}, theirs[] = {0, 0, 0, 0};
    struct simulate_interval interval = simulate_compare(ours, theirs, 4);
    /* mean 2.5, deviation 1.291, t(3) = 3.182: 2.5 +- 2.054 */
    assert_between(interval.mean, 2.5, 2.5);
    assert_between(interval.low, 0.445, 0.447);
    assert_between(interval.high, 4.553, 4.555);
    interval = simulate_compare(ours, theirs, 1);
    assert_true(isinf(interval.low) && isinf(interval.high));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finagles_slow_node_is_reproduced),
        cmocka_unit_test(the_same_seed_gives_the_same_figures),
        cmocka_unit_test(random_choices_stay_as_long_as_theory_says),
        cmocka_unit_test(two_choices_reproduce_mitzenmachers_table),
        cmocka_unit_test(idle_queues_reproduce_the_theorems),
        cmocka_unit_test(rules_end_in_the_order_of_prequals_paper),
        cmocka_unit_test(queues_obey_littles_law),
        cmocka_unit_test(a_queue_of_even_calls_waits_as_theory_says),
        cmocka_unit_test(a_cache_of_prefixes_makes_hits),
        cmocka_unit_test(a_quota_refuses_what_is_beyond_it),
        cmocka_unit_test(intervals_are_students),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
