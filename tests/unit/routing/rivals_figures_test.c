/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Before anybody is compared with them, the formulas of rivals.h reproduce what their authors have
 * published: examples of their documentation, and the figures of their own tests. What needs
 * queues and servers is in simulate_test.c.
 */
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
static struct rival_server servers[RIVAL_TARGETS_MAX];

static void assert_between(double value, double low, double high)
{
    if (value < low || value > high)
        fail_msg("%.12g is not between %.12g and %.12g", value, low, high);
}

static void assert_near(double value, double expected)
{
    assert_between(value, expected - 1e-9, expected + 1e-9);
}

static struct rival_call call_at(double now, uint64_t random)
{
    return (struct rival_call){
        .now = now,
        .random = random,
        .there = UINT64_MAX >> (64 - rivals.count),
        .servers = servers,
    };
}

static size_t choose(double now, uint64_t random)
{
    struct rival_call call = call_at(now, random);
    return rivals_choose(&rivals, &call);
}

/* It took <seconds>, and is over at <now>. */
static void answer(size_t target, double seconds, double now)
{
    struct rival_end end = {.now = now, .seconds = seconds, .tokens = 1};
    rivals.targets[target].pending++;
    rivals.targets[target].unanswered++;
    rivals_end(&rivals, target, &end);
}

/* What of <draws> choices goes to <target>, when none of them is ever answered. */
static double share_of(size_t target, unsigned draws)
{
    unsigned hits = 0;
    for (uint64_t random = 0; random < draws; random++) {
        size_t chosen = choose(1, random);
        hits += chosen == target;
        rivals.targets[chosen].pending--;
    }
    return (double)hits / draws;
}

/* -------------------------------------------------------------------------------- textbook */

/* nginx, commit 27e94984: "in case of { 5, 1, 1 } weights this gives ... a, a, b, a, c, a, a". */
static void round_robin_is_as_smooth_as_nginxs(void **state)
{
    (void)state;
    char sequence[8] = "";
    rivals_begin(&rivals, RIVAL_ROUND_ROBIN, 3, 1);
    rivals.targets[0].weight = 5;
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 7; i++)
            sequence[i] = (char)('a' + choose(0, 0));
        assert_string_equal(sequence, "aabacaa");
    }
}

/* agentgateway's sampler_weighted_3_1_distribution: 75 %, +- 2. */
static void weights_of_three_and_one_give_three_quarters(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_WEIGHTED, 2, 1);
    rivals.targets[0].weight = 3;
    assert_between(share_of(0, 100000), 0.745, 0.755);
}

/* Envoy's documentation of the load balancer, weighted least request: a host of weight 2 with 4
 * calls has 2 / (4 + 1) ^ 1 = 0.4. */
static void least_request_weighs_as_envoy_documents(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_LEAST_REQUEST, 2, 1);
    rivals.targets[0].weight = 2;
    rivals.targets[0].pending = 4; /* 0.4 against */
    rivals.targets[1].pending = 1; /* 1 / 2, */
    assert_int_equal(choose(0, 1), 1);
    rivals.targets[1].pending = 2; /* and 1 / 3 */
    assert_int_equal(choose(0, 1), 0);
}

/* ----------------------------------------------------------------------------- tower, Finagle */

/* peak_ewma.rs, default_decay: 10 ms; a look 100 ms later is between 9 and 10, another between 8
 * and 9. Its decay is 1 s, ours 10: so there are ten times the seconds. */
static void towers_default_decays(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_TOWER, 1, 1);
    rivals.targets[0].estimate = 10;
    choose(0, 1);
    assert_near(rivals.targets[0].estimate, 10);
    choose(1, 1);
    assert_between(rivals.targets[0].estimate, 9, 10);
    choose(2, 1);
    assert_between(rivals.targets[0].estimate, 8, 9);
}

/* The first choice between the two says which load is less: theirs, or that of <seconds>. */
static void assert_load_above(double load, double now, bool is_above)
{
    struct rivals kept = rivals;
    rivals.targets[1].estimate = load;
    rivals.targets[1].stamp = now;
    assert_int_equal(choose(now, 1), is_above ? 1 : 0);
    rivals = kept;
}

/* compound_decay: 20 ms, two calls begun 100 ms apart, that end 200 ms later with loads of 400 and
 * 200 ms; below 100 ms 1 s after, below 0.1 ms 10 s after. In tenths again. */
static void towers_loads_compound(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_TOWER, 2, 1);
    rivals.targets[0].estimate = 0.2;
    struct rival_call call = call_at(1, 1);
    call.there = 1;
    rivals_choose(&rivals, &call);
    assert_load_above(0.2, 1, true);
    call.now = 2;
    rivals_choose(&rivals, &call);
    assert_load_above(0.4, 2, true);
    rivals_first(&rivals, 0, 2, 3);
    assert_load_above(3.99, 3, true); /* 2 s, one of which is left: 4 s */
    assert_load_above(4.01, 3, false);
    rivals_first(&rivals, 0, 2, 4);
    assert_load_above(1.99, 4, true);
    assert_load_above(2.01, 4, false);
    assert_load_above(1, 14, false);
    assert_load_above(0.001, 114, false);
}

/* P2CPeakEwmaTest.scala, "Probe a node without latency history at most once": nodes that take 1,
 * and one that never answers; it is asked once. */
static void finagle_probes_one_without_history_at_most_once(void **state)
{
    (void)state;
    enum { NODES = 11, ROUNDS = 100000 };
    unsigned asked = 0;
    rivals_begin(&rivals, RIVAL_PEAK_EWMA, NODES, 1);
    for (uint64_t step = 0; step < ROUNDS; step++) {
        size_t chosen = choose((double)step, step);
        if (chosen == NODES - 1) {
            asked++;
            continue;
        }
        struct rival_end end = {.now = (double)step + 1, .seconds = 1, .tokens = 1};
        rivals_end(&rivals, chosen, &end);
    }
    assert_int_equal(asked, 1);
}

/* ------------------------------------------------------------------------------------ Kong */

/* 70 choices, none of which is answered: how many go to the first one? */
static unsigned seventy(double now)
{
    unsigned first = 0;
    for (uint64_t i = 0; i < 70; i++)
        first += choose(now, i) == 0;
    return first;
}

/* latency_spec.lua answers twice, 10 ms apart. Its times are those of connection and answer. */
static void answer_twice(size_t target, double seconds, double *now)
{
    answer(target, seconds, *now);
    *now += 0.01;
    answer(target, seconds, *now);
}

static void begin_kongs_two(void)
{
    rivals_begin(&rivals, RIVAL_KONG, 2, 1);
    rivals.targets[0].weight = rivals.targets[1].weight = 20;
    rivals.targets[0].met = rivals.targets[1].met = true;
}

/* 06-latency_spec.lua, "select low latency target": 70 of 70; "long time update ewma address
 * score, ewma will use the most accurate value": 10 s after, with the times exchanged, the other
 * one has the next 70. */
static void kongs_seventy_go_to_the_faster(void **state)
{
    (void)state;
    double now = 0;
    begin_kongs_two();
    answer_twice(0, 0.2, &now);
    answer_twice(1, 0.4, &now);
    assert_int_equal(seventy(now), 70);
    now += 10;
    answer_twice(0, 0.4, &now);
    answer_twice(1, 0.2, &now);
    assert_int_equal(seventy(now), 0);
}

/* "first returns one, after update latency return another one". */
static void kong_returns_one_and_then_the_other(void **state)
{
    (void)state;
    double now = 0;
    begin_kongs_two();
    size_t first = choose(now, 1);
    answer_twice(first, 20, &now);
    assert_int_equal(choose(now, 2), 1 - first);
}

/* ---------------------------------------------------------------------------- agentgateway */

/* loadbalancer.rs, ewma_record_sequence_failures and ewma_recovery_after_failures. */
static void agentgateways_health_is_as_its_tests_have_it(void **state)
{
    (void)state;
    static const double expected[] = {0.7, 0.49, 0.343};
    rivals_begin(&rivals, RIVAL_AGENTGATEWAY, 1, 1);
    for (size_t i = 0; i < 3; i++) {
        struct rival_end end = {.now = 1, .seconds = 1, .failed = true};
        choose(0, 1);
        rivals_end(&rivals, 0, &end);
        assert_near(rivals.targets[0].health, expected[i]);
    }
    answer(0, 1, 2);
    assert_near(rivals.targets[0].health, 0.5401);
    assert_near(rivals.targets[0].estimate, 1); /* ewma_first_record_from_zero_sets_directly */
}

/* locality_test.rs, capacity_weighted_p2c_splits_traffic_by_weight: of capacities 3 and 1 the first
 * has 0.75, +- 0.2, "above the pure-sampler 0.75" where scores differ. Where they do not, 0.75. */
static void agentgateway_draws_by_capacity(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_AGENTGATEWAY, 2, 1);
    rivals.targets[0].weight = 3;
    assert_between(share_of(0, 100000), 0.745, 0.755);
    rivals.targets[1].estimate = 0.001;
    assert_between(share_of(0, 100000), 0.93, 0.95); /* unless both draws are the other */
}

/* --------------------------------------------------------------------------------- LiteLLM */

/* test_lowest_latency_routing.py, test_lowest_latency_routing_time_to_first_token: 50 tokens each;
 * one has its first after 1 s and is done after 4, the other has all after 3. Streams go to the
 * former, the others to the latter. */
static void litellm_ranks_streams_by_first_tokens(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_LITELLM, 2, 1);
    for (size_t i = 0; i < 2; i++) {
        struct rival_end end = {
            .now = 4, .seconds = i ? 3 : 4, .first = i ? 3 : 1, .stream = true, .tokens = 50};
        rivals.targets[i].pending = rivals.targets[i].unanswered = 1;
        rivals_end(&rivals, i, &end);
    }
    struct rival_call call = call_at(5, 0);
    for (call.random = 0; call.random < 50; call.random++) {
        call.stream = true;
        assert_int_equal(rivals_choose(&rivals, &call), 0);
        call.stream = false;
        assert_int_equal(rivals_choose(&rivals, &call), 1);
    }
}

/* test_get_available_deployments: 3 s for the one, 2 s for the other. */
static void litellm_takes_the_faster_deployment(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_LITELLM, 2, 1);
    answer(0, 3, 3);
    answer(1, 2, 5);
    for (uint64_t random = 0; random < 20; random++)
        assert_int_equal(choose(6, random), 1);
}

/* test_latency_list_trimming_discards_oldest_entry, at the default of ten. */
static void litellms_list_discards_its_oldest(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_LITELLM, 1, 1);
    for (int i = 1; i <= 11; i++)
        answer(0, i, i);
    assert_int_equal(rivals.targets[0].whole.count, 10);
    assert_near(rivals.targets[0].whole.values[0], 2);
    assert_near(rivals.targets[0].whole.values[9], 11);
}

/* Its documentation: who has the weight 2 beside 1 is picked twice as often; and
 * test_router_get_deployments.py: of 1440 and 6, and of 90 and 5, the first has more than 0.89 of
 * 1,000. */
static void litellms_shuffle_follows_its_weights(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_LITELLM_SHUFFLE, 2, 1);
    rivals.targets[0].weight = 2;
    assert_between(share_of(0, 100000), 0.66, 0.673);
    rivals.targets[0].weight = 1440;
    rivals.targets[1].weight = 6;
    assert_between(share_of(0, 1000), 0.89, 1);
    rivals.targets[0].weight = 90;
    rivals.targets[1].weight = 5;
    assert_between(share_of(0, 1000), 0.89, 1);
}

/* ------------------------------------------------------------------------------ C3, Prequal */

/* Whose score is less: 4 ms with <fast> in its queue, or 20 ms with <slow>? */
static size_t between_c3s(double fast, double slow)
{
    rivals_begin(&rivals, RIVAL_C3, 2, 1);
    rivals.targets[0] = (struct rival_target){.estimate = 0.004, .service = 0.004, .seen = true};
    rivals.targets[1] = (struct rival_target){.estimate = 0.02, .service = 0.02, .seen = true};
    rivals.targets[0].queue = fast - 1; /* the call itself is the one more */
    rivals.targets[1].queue = slow - 1;
    return choose(0, 1);
}

/* The paper's comparison of linear and cubic scores, of servers that need 4 and 20 ms: a queue of
 * 20 at the slower is worth one of 100 with the former, of about 35 with the latter. */
static void c3s_cube_balances_20_with_34(void **state)
{
    (void)state;
    assert_int_equal(between_c3s(34, 20), 0);
    assert_int_equal(between_c3s(35, 20), 1);
}

/* client.py, updateEma: 0.9 of the new value and 0.1 of the old. */
static void c3_forgets_as_its_simulator_does(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_C3, 1, 1);
    answer(0, 1, 1);
    answer(0, 2, 2);
    assert_near(rivals.targets[0].estimate, 0.9 * 2 + 0.1 * 1);
}

static void probed(size_t target, double at, unsigned in_flight, double latency)
{
    rivals.pool.probes[rivals.pool.count++] = (struct rival_probe){
        .target = target, .at = at, .in_flight = in_flight, .latency = latency, .uses_left = 2};
}

/* prequal-core, pool.rs: with a threshold of 5 the cold one of 20 ms before the cold one of 50 and
 * the hot one of 1; where all are hot the one of 8 before the one of 10. */
static void prequals_pool_is_as_its_tests_have_it(void **state)
{
    (void)state;
    rivals_begin(&rivals, RIVAL_PREQUAL, 3, 1);
    rivals.pool.noted = 1;
    rivals.pool.sorted[0] = rivals.pool.notes[0] = 5;
    rivals.pool.next_note = 1;
    probed(0, 0, 10, 1);
    probed(1, 0, 2, 50);
    probed(2, 0, 3, 20);
    struct rivals kept = rivals;
    assert_int_equal(choose(0, 1), 2);
    rivals = kept;
    rivals.pool.count = 0;
    probed(0, 0, 10, 1);
    probed(1, 0, 8, 90);
    assert_int_equal(choose(0, 1), 1);
}

/* balancer.rs, routes_away_from_loaded_replicas: in flight are 40, 1, 35 and 50, latencies as much;
 * more than 150 of 200 go to the second. */
static void prequal_routes_away_from_loaded_replicas(void **state)
{
    (void)state;
    static const unsigned loads[] = {40, 1, 35, 50};
    unsigned hits = 0;
    rivals_begin(&rivals, RIVAL_PREQUAL, 4, 1);
    for (size_t i = 0; i < 4; i++)
        servers[i] = (struct rival_server){.running = loads[i], .latency = loads[i] * 1e-4};
    for (uint64_t i = 0; i < 200; i++)
        hits += choose((double)i * 1e-6, i) == 1;
    memset(servers, 0, sizeof(servers));
    assert_between(hits, 151, 200);
}

/* The paper: 16 places, 100 servers, 3 probes and 1 removal per call, delta 1: (1 + 1) / (0.84 * 3
 * - 1) = 1.32 uses of each. */
static void prequals_probes_serve_as_many_calls_as_the_paper_says(void **state)
{
    (void)state;
    enum { SERVERS = 64, CALLS = 2000 };
    double expected = 2 / ((1 - 16.0 / SERVERS) * 3 - 1), uses = 0;
    unsigned probes = 0;
    rivals_begin(&rivals, RIVAL_PREQUAL, SERVERS, 1);
    for (uint64_t i = 0; i < CALLS; i++) {
        choose((double)i * 1e-6, i);
        for (size_t k = rivals.pool.count - 3; k < rivals.pool.count; k++, probes++)
            uses += rivals.pool.probes[k].uses_left;
    }
    assert_between(uses / probes, expected * 0.98, expected * 1.02);
}

/* ------------------------------------------------------------------------------ by prefix */

/* cache_aware.rs, test_cache_aware_with_balanced_load: the same text, and a similar one, go where
 * the first one went. test_cache_aware_with_imbalanced_load: 20 calls at one of two, thresholds 5
 * and 2; all five go to the other. Ours are 64 and 1.5. */
static void smg_keeps_a_prompt_until_loads_differ(void **state)
{
    (void)state;
    struct rival_call call = {.there = 3, .has_prefix = true, .prefix = 7, .prefix_share = 1};
    rivals_begin(&rivals, RIVAL_SMG, 2, 1);
    size_t first = rivals_choose(&rivals, &call);
    assert_int_equal(rivals_choose(&rivals, &call), first);
    call.prefix_share = 0.5;
    assert_int_equal(rivals_choose(&rivals, &call), first);
    rivals.targets[first].pending = 65 + 5;
    for (int i = 0; i < 5; i++)
        assert_int_equal(rivals_choose(&rivals, &call), 1 - first);
}

/* HAProxy's hash-balance-factor and brpc's c_murmurhash_bl document the same bound as the paper: at
 * most ceil(c * average) calls, whatever is hot; and where nothing is full a key stays. */
static void bounded_loads_hold_their_bound_under_a_hot_key(void **state)
{
    (void)state;
    enum { TARGETS = 10 };
    struct rival_call call = {.there = (1 << TARGETS) - 1, .has_prefix = true};
    rivals_begin(&rivals, RIVAL_CHBL, TARGETS, 1);
    for (uint64_t i = 1; i <= 1000; i++) {
        call.random = i;
        call.prefix = i % 5 ? 3 : (unsigned)(i % RIVAL_PREFIXES_MAX); /* four of five are one */
        size_t chosen = rivals_choose(&rivals, &call);
        assert_true(rivals.targets[chosen].pending <= ceil(1.25 * (double)i / TARGETS));
    }
    size_t home = TARGETS;
    for (size_t i = 0; i < TARGETS; i++)
        rivals.targets[i].pending = 100;
    for (uint64_t i = 0; i < 20; i++) {
        call.prefix = 3;
        size_t chosen = rivals_choose(&rivals, &call);
        assert_true(home == TARGETS || chosen == home);
        home = chosen;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin_is_as_smooth_as_nginxs),
        cmocka_unit_test(weights_of_three_and_one_give_three_quarters),
        cmocka_unit_test(least_request_weighs_as_envoy_documents),
        cmocka_unit_test(towers_default_decays),
        cmocka_unit_test(towers_loads_compound),
        cmocka_unit_test(finagle_probes_one_without_history_at_most_once),
        cmocka_unit_test(kongs_seventy_go_to_the_faster),
        cmocka_unit_test(kong_returns_one_and_then_the_other),
        cmocka_unit_test(agentgateways_health_is_as_its_tests_have_it),
        cmocka_unit_test(agentgateway_draws_by_capacity),
        cmocka_unit_test(litellm_ranks_streams_by_first_tokens),
        cmocka_unit_test(litellm_takes_the_faster_deployment),
        cmocka_unit_test(litellms_list_discards_its_oldest),
        cmocka_unit_test(litellms_shuffle_follows_its_weights),
        cmocka_unit_test(c3s_cube_balances_20_with_34),
        cmocka_unit_test(c3_forgets_as_its_simulator_does),
        cmocka_unit_test(prequals_pool_is_as_its_tests_have_it),
        cmocka_unit_test(prequal_routes_away_from_loaded_replicas),
        cmocka_unit_test(prequals_probes_serve_as_many_calls_as_the_paper_says),
        cmocka_unit_test(smg_keeps_a_prompt_until_loads_differ),
        cmocka_unit_test(bounded_loads_hold_their_bound_under_a_hot_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
