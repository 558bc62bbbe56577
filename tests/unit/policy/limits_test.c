/* SPDX-License-Identifier: Apache-2.0 */
/* The limiter of a worker, alone: from reserving to settling, and the figures of it. */
#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "tests/unit/policy/meter_cases.h"

struct fixture {
    struct limits *limits;
    struct loop *loop;
    struct limiter *limiter;
};

static void begin(struct fixture *fixture)
{
    struct limits_options options = {.prefix = "sluice:", .node = "n1", .replicas_max = 4};
    struct fault fault;
    fixture->limits = limits_new(&options);
    fixture->loop = loop_new();
    fixture->limiter = limiter_new(fixture->limits, fixture->loop, NULL, 0, &fault);
    assert_non_null(fixture->limiter);
}

static void end(struct fixture *fixture)
{
    limiter_free(fixture->limiter);
    limits_free(fixture->limits);
    loop_free(fixture->loop);
}

static void alone_everything_is_decided_at_once(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    struct limit requests = rolling(LIMIT_REQUESTS, 2, HOUR), money = budget(100, PERIOD_TOTAL);
    struct call call = {0};
    call_add(&call, &requests, "r", 1, 1);
    call_add(&call, &money, "m", 30, 10);
    assert_int_equal(limits_reserve(fixture.limiter, &call.r), RESERVE_GRANTED);
    assert_true(call.r.live);
    assert_false(call.r.local);
    assert_int_equal(limits_figures(fixture.limits).live, 1);
    struct limit_view view;
    limits_view(&call.r, 1, &view);
    assert_int_equal(view.left, 70);
    assert_true(limits_extend(&call.r, LIMIT_MONEY, 70));
    assert_false(limits_extend(&call.r, LIMIT_MONEY, 1));
    limits_abandon(&call.r);
    struct used used = {.sent = true, .cost_nanos = 95};
    limits_settle(&call.r, &used);
    limits_settle(&call.r, &used);
    limits_view(&call.r, 1, &view);
    assert_int_equal(view.left, 5);
    assert_int_equal(limits_reserve(fixture.limiter, &call.r), RESERVE_REFUSED);
    assert_int_equal(call.r.refused, 1);
    struct limits_figures figures = limits_figures(fixture.limits);
    assert_int_equal(figures.granted, 1);
    assert_int_equal(figures.refused, 1);
    assert_int_equal(figures.live, 0);
    assert_int_equal(figures.counters, 2);
    assert_int_equal(figures.replicas, 1);
    assert_true(figures.store_up);
    end(&fixture);
}

static void on_counter(void *with, const struct counter_view *view)
{
    char name[48];
    limit_name_write(&view->limit, name);
    snprintf(with, 128, "%.*s %.*s %s %.*s %d+%d of %d", TEXT_ARGS(view->root),
             TEXT_ARGS(view->counter), name, TEXT_ARGS(view->limit.model), (int)view->used,
             (int)view->held, (int)view->limit.amount);
}

static void what_was_rebuilt_is_listed(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    struct limit limit = rolling(LIMIT_TOKENS, 500, MINUTE);
    limit.model = TEXT("fast");
    struct use use = {
        .limit = &limit, .counter = TEXT("k/acme/ci:tokens_per_minute:fast"), .want = 123};
    assert_int_equal(limits_settled(fixture.limits, TEXT("acme"), use.counter), -1);
    limits_rebuild(fixture.limits, TEXT("acme"), &use, 1, clock_wall_us());
    assert_int_equal(limits_settled(fixture.limits, TEXT("acme"), use.counter), 123);
    assert_int_equal(limits_settled(fixture.limits, TEXT("other"), use.counter), -1);
    char line[128] = "";
    limits_list(fixture.limits, TEXT("acme"), TEXT(""), 10, on_counter, line);
    assert_string_equal(
        line, "acme k/acme/ci:tokens_per_minute:fast tokens_per_minute fast 123+0 of 500");
    end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_everything_is_decided_at_once),
        cmocka_unit_test(what_was_rebuilt_is_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
