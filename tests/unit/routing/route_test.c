/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "routing/route.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { MODELS = 3 };

static struct text aliases_a[] = {{"alias", 5}, {"gpt-*", 5}};
static struct text aliases_b[] = {{"gpt-4*", 6}, {"b", 1}, {"*-mini", 6}};
static struct text aliases_c[] = {{"alias", 5}, {"*", 1}};

static const struct route models[MODELS] = {
    {.name = {"a", 1}, .aliases = aliases_a, .alias_count = 2},
    {.name = {"b", 1}, .aliases = aliases_b, .alias_count = 3},
    {.name = {"gpt-4o", 6}, .aliases = aliases_c, .alias_count = 2},
};

static const struct route *find(const struct routes *routes, const char *model)
{
    return routes_find(routes, text_of(model));
}

static void finds_names_then_aliases_then_patterns(void **state)
{
    (void)state;
    struct routes *routes = routes_new(models, MODELS);
    assert_ptr_equal(find(routes, "a"), &models[0]);
    assert_ptr_equal(find(routes, "b"), &models[1]);
    assert_ptr_equal(find(routes, "gpt-4o"), &models[2]); /* a name beats the longer pattern */
    assert_ptr_equal(find(routes, "alias"), &models[0]);  /* the first of equal aliases */
    assert_ptr_equal(find(routes, "gpt-3.5"), &models[0]);
    assert_ptr_equal(find(routes, "gpt-4.1"), &models[1]);     /* the longest pattern */
    assert_ptr_equal(find(routes, "gpt-4o-mini"), &models[1]); /* of equal length the first */
    assert_ptr_equal(find(routes, "o4-mini"), &models[1]);
    assert_ptr_equal(find(routes, "anything"), &models[2]);
    assert_ptr_equal(find(routes, ""), &models[2]);
    routes_free(routes);
}

static void finds_nothing_where_nothing_is(void **state)
{
    (void)state;
    struct routes *routes = routes_new(models, 2);
    assert_null(find(routes, "c"));
    assert_null(find(routes, "A"));
    assert_null(find(routes, ""));
    routes_free(routes);
    routes = routes_new(NULL, 0);
    assert_null(find(routes, "a"));
    routes_free(routes);
    routes_free(NULL);
}

/* Five targets: two of priority 1, one of them off; three of priority 2. */
static struct target_figures figures[5];
static struct target targets[5];
static const struct route route = {.targets = targets, .target_count = 5};

static int set_up(void **state)
{
    (void)state;
    static const unsigned weights[] = {1, 1, 70, 30, 0}, priorities[] = {1, 1, 2, 2, 2};
    for (size_t i = 0; i < 5; i++) {
        figures[i] = (struct target_figures){0};
        targets[i] = (struct target){
            .weight = weights[i],
            .priority = priorities[i],
            .off = i == 1,
            .figures = &figures[i],
        };
    }
    return 0;
}

static const struct route_policy weighted = {.strategy = STRATEGY_WEIGHTED, .half_life_us = 1};

/* Choose, and leave it in flight. <random> is one of a thousand. */
static const struct target *choose(const struct route *from, uint64_t *tried, uint64_t random,
                                   struct route_try *attempt)
{
    struct route_try own;
    struct route_call call = {
        .now_us = 1000000, .random = random % 1000 * (UINT64_MAX / 1000) + 1, .tried = *tried};
    const struct target *target =
        route_choose(from, &weighted, &call, attempt ? attempt : &own, NULL);
    if (target)
        *tried |= UINT64_C(1) << (target - from->targets);
    return target;
}

static void report(struct route_try *attempt, enum fault_kind fault)
{
    struct route_outcome outcome = {.now_us = 1000100, .fault = fault};
    route_end(attempt, &outcome);
    assert_null(attempt->target);
}

static void tries_each_target_once_in_order_of_priority(void **state)
{
    (void)state;
    for (uint64_t random = 0; random < 1000; random++) {
        uint64_t tried = 0;
        assert_ptr_equal(choose(&route, &tried, random, NULL), &targets[0]);
        const struct target *second = choose(&route, &tried, random, NULL);
        const struct target *third = choose(&route, &tried, random * 7, NULL);
        assert_int_equal(second->priority, 2);
        assert_true(second->weight > 0 && third->weight > 0);
        assert_ptr_not_equal(second, third);
        /* Weight 0: only when nothing else is left. */
        assert_ptr_equal(choose(&route, &tried, random, NULL), &targets[4]);
        assert_null(choose(&route, &tried, random, NULL));
        assert_int_equal(tried, 0x1d);
    }
}

static void shares_by_weight(void **state)
{
    (void)state;
    unsigned chosen[5] = {0};
    targets[0].off = true;
    for (uint64_t random = 0; random < 1000; random++) {
        uint64_t tried = 0;
        chosen[choose(&route, &tried, random, NULL) - targets]++;
    }
    assert_in_range(chosen[2], 699, 701);
    assert_in_range(chosen[3], 299, 301);
    targets[2].weight = targets[3].weight = 0; /* then all are equal */
    memset(chosen, 0, sizeof(chosen));
    for (uint64_t random = 0; random < 999; random++) {
        uint64_t tried = 0;
        chosen[choose(&route, &tried, random, NULL) - targets]++;
    }
    for (size_t i = 2; i < 5; i++)
        assert_in_range(chosen[i], 332, 334);
}

static void takes_large_weights_and_many_targets(void **state)
{
    (void)state;
    static struct target many[ROUTE_TARGETS_MAX];
    struct route wide = {.targets = many, .target_count = ROUTE_TARGETS_MAX};
    uint64_t tried = 0;
    for (size_t i = 0; i < ROUTE_TARGETS_MAX; i++)
        many[i] = (struct target){.weight = UINT32_MAX};
    for (size_t i = 0; i < ROUTE_TARGETS_MAX; i++)
        assert_non_null(choose(&wide, &tried, UINT64_MAX - i, NULL));
    assert_int_equal(tried, UINT64_MAX);
    assert_null(choose(&wide, &tried, 0, NULL));
}

static void counts_every_try(void **state)
{
    (void)state;
    uint64_t tried = 0;
    struct route_try attempt;
    choose(&route, &tried, 0, &attempt);
    assert_int_equal(figures[0].in_flight, 1);
    assert_int_equal(figures[0].attempts, 0);
    report(&attempt, FAULT_TARGET_ERROR);
    assert_int_equal(figures[0].in_flight, 0);
    assert_int_equal(figures[0].attempts, 1);
    assert_int_equal(figures[0].failures, 1);
    static const enum fault_kind blameless[] = {FAULT_NONE, FAULT_CLIENT_GONE,
                                                FAULT_TARGET_REFUSED};
    for (size_t i = 0; i < 3; i++) {
        tried = 0;
        choose(&route, &tried, 0, &attempt);
        report(&attempt, blameless[i]);
    }
    report(&attempt, FAULT_TARGET_ERROR); /* it has ended already */
    assert_int_equal(figures[0].in_flight, 0);
    assert_int_equal(figures[0].attempts, 4);
    assert_int_equal(figures[0].failures, 1);
}

static void *ask_for_figures(void *out)
{
    for (size_t i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "target-%zu", i);
        ((struct target_figures **)out)[i] = target_figures(text_of(name));
    }
    return NULL;
}

static void keeps_figures_over_reloads(void **state)
{
    (void)state;
    struct target_figures *one = target_figures(TEXT("one"));
    atomic_fetch_add(&one->attempts, 5);
    assert_ptr_equal(target_figures(TEXT("one")), one);
    assert_int_equal(target_figures(TEXT("one"))->attempts, 5);
    assert_ptr_not_equal(target_figures(TEXT("two")), one);
    static struct target_figures *seen[2][1000];
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_figures, seen[i]), 0);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_memory_equal(seen[0], seen[1], sizeof(seen[0]));
}

/* ------------------------------------------------------------------------------ all together */

static void all_targets_are_looked_at_once(void **state)
{
    (void)state;
    static struct quota_figures counters;
    struct target several[5];
    struct route sealed = {.targets = several, .target_count = 5};
    for (size_t i = 0; i < 5; i++)
        several[i] = (struct target){.weight = 2,
                                     .priority = 3,
                                     .can = CAN_ALL,
                                     .price = {.input = 100, .output = 400, .known = true}};
    route_seal(&sealed);
    assert_true(sealed.sum.known && sealed.sum.even && !sealed.sum.limited);
    assert_int_equal(sealed.sum.can, CAN_ALL);
    assert_int_equal(sealed.sum.context_tokens, 0);
    assert_int_equal(sealed.sum.on, 31);
    assert_int_equal(sealed.sum.dearest, 1); /* of equal ones the first */

    several[0].off = true;
    several[0].price.input = 1000;
    several[0].quotas[0].figures = &counters; /* of one that is off: nobody asks it */
    several[1].context_tokens = 8000;
    several[2].context_tokens = 4000;
    several[2].can = CAN_ALL & ~(unsigned)CAN_TOOLS;
    several[2].price.input = 200;
    several[3].price.output = 500;
    several[4].weight = 0;
    route_seal(&sealed);
    assert_true(sealed.sum.known && !sealed.sum.even && !sealed.sum.limited);
    assert_int_equal(sealed.sum.can, CAN_ALL & ~(unsigned)CAN_TOOLS);
    assert_int_equal(sealed.sum.context_tokens, 4000);
    assert_int_equal(sealed.sum.longest_tokens, 0); /* of two it is not known */
    sealed.context_window = 5000;
    assert_int_equal(route_context(&sealed), 5000);
    several[3].context_tokens = several[4].context_tokens = 6000;
    route_seal(&sealed);
    assert_int_equal(sealed.sum.longest_tokens, 8000);
    assert_int_equal(route_context(&sealed), 8000);
    assert_int_equal(sealed.sum.on, 30);
    assert_int_equal(sealed.sum.dearest, 4 | 8); /* one for its prompts, one for its answers */

    several[4].price.input = 900, several[4].price.output = 900;
    several[4].quotas[1].figures = &counters;
    several[4].weight = 1;
    several[4].priority = 4;
    route_seal(&sealed);
    assert_true(!sealed.sum.even && sealed.sum.limited);
    assert_int_equal(sealed.sum.dearest, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_names_then_aliases_then_patterns),
        cmocka_unit_test(finds_nothing_where_nothing_is),
        cmocka_unit_test_setup(tries_each_target_once_in_order_of_priority, set_up),
        cmocka_unit_test_setup(shares_by_weight, set_up),
        cmocka_unit_test_setup(takes_large_weights_and_many_targets, set_up),
        cmocka_unit_test_setup(counts_every_try, set_up),
        cmocka_unit_test(keeps_figures_over_reloads),
        cmocka_unit_test(all_targets_are_looked_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
