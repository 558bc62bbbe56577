/* SPDX-License-Identifier: Apache-2.0 */
/* What goes on after its call: handed over, settled later use by use, held again after a start. */
#include <string.h>

#include "tests/unit/policy/meter_cases.h"

static struct meter *meter_at(int64_t now_us)
{
    struct meter *meter = meter_new(false);
    meter_freeze(meter, now_us);
    return meter;
}

static void what_is_handed_over_outlives_its_call(void **state)
{
    (void)state;
    struct meter *meter = meter_at(START);
    struct limit money = budget(100, PERIOD_DAY), at_once = parallel(1);
    struct call call = {0}, later = {0};
    call_add(&call, &at_once, "p", 1, 1);
    call_add(&call, &money, "m", 80, 80);
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    later.r.root = call.r.root;
    later.r.uses = later.uses;
    meter_hand_over(meter, &call.r, &later.r);
    assert_int_equal(later.r.use_count, 1);
    struct limit_view view;
    meter_view(meter, &call.r, 1, &view);
    assert_int_equal(view.left, 20);
    assert_int_equal(used_of(meter, "p"), 1);
    meter_settle(meter, &call.r, &(struct used){.sent = true});
    assert_int_equal(used_of(meter, "p"), 0);
    assert_int_equal(used_of(meter, "m"), 80);
    assert_int_equal(meter_figures(meter).live, 1);
    assert_int_equal(take(meter, &call, &money, 30, 30), METER_TAKEN); /* of another counter */
    meter_settle(meter, &call.r, &(struct used){0});
    meter_settle(meter, &later.r, &(struct used){.cost_nanos = 30});
    meter_settle(meter, &later.r, &(struct used){.cost_nanos = 99});
    assert_int_equal(used_of(meter, "m"), 30);
    assert_int_equal(meter_figures(meter).live, 0);
    meter_free(meter);
}

static void each_use_is_settled_by_its_own_figures(void **state)
{
    (void)state;
    struct meter *meter = meter_at(START);
    struct limit all = budget(1000, PERIOD_DAY), model = budget(1000, PERIOD_DAY);
    struct limit requests = rolling(LIMIT_REQUESTS, 100, DAY);
    struct call call = {0};
    call_add(&call, &all, "all", 300, 300);
    call_add(&call, &model, "model", 100, 100);
    call_add(&call, &requests, "r", 7, 7);
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    assert_int_equal(used_of(meter, "all"), 300);
    assert_int_equal(used_of(meter, "model"), 100); /* not cut to one another */
    const struct used each[] = {
        {.cost_nanos = 50}, {.cost_nanos = 20}, {.sent = true, .requests = 3}};
    meter_settle_each(meter, &call.r, each);
    assert_int_equal(used_of(meter, "all"), 50);
    assert_int_equal(used_of(meter, "model"), 20);
    assert_int_equal(used_of(meter, "r"), 3);
    meter_free(meter);
}

static void all_of_it_or_nothing_of_different_amounts_of_money(void **state)
{
    (void)state;
    struct meter *meter = meter_at(START);
    struct limit all = budget(300, PERIOD_DAY), model = budget(99, PERIOD_DAY);
    struct call call = {0};
    call_add(&call, &all, "all", 300, 300);
    call_add(&call, &model, "model", 100, 100);
    assert_int_equal(meter_take(meter, &call.r), METER_FULL);
    assert_int_equal(call.r.refused, 1);
    assert_int_equal(used_of(meter, "all"), 0);
    model.amount = 100;
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    meter_settle(meter, &call.r, &(struct used){0});
    meter_free(meter);
}

static void after_a_start_it_is_held_where_it_was(void **state)
{
    (void)state;
    struct meter *meter = meter_at(START + 30 * HOUR);
    struct limit day = budget(100, PERIOD_DAY), month = budget(100, PERIOD_MONTH);
    struct limit window = rolling(LIMIT_TOKENS, 1000, 2 * DAY);
    struct call call = {0};
    call_add(&call, &day, "day", 80, 80);
    call_add(&call, &month, "month", 130, 130); /* more than there is: it was let in before */
    call_add(&call, &window, "window", 500, 500);
    meter_rebuild_held(meter, &call.r, START + HOUR);
    assert_true(call.r.live);
    assert_int_equal(used_of(meter, "day"), 0); /* that day is over */
    assert_int_equal(used_of(meter, "month"), 130);
    assert_int_equal(used_of(meter, "window"), 500);
    meter_freeze(meter, START + 47 * HOUR);
    assert_int_equal(used_of(meter, "window"), 500);
    meter_freeze(meter, START + 51 * HOUR);
    assert_int_equal(used_of(meter, "window"), 0);
    meter_settle(meter, &call.r, &(struct used){.cost_nanos = 10, .input_tokens = 40});
    assert_int_equal(used_of(meter, "day"), 0);
    assert_int_equal(used_of(meter, "month"), 10);
    assert_int_equal(used_of(meter, "window"), 0);
    assert_int_equal(meter_figures(meter).live, 0);
    meter_free(meter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_handed_over_outlives_its_call),
        cmocka_unit_test(each_use_is_settled_by_its_own_figures),
        cmocka_unit_test(all_of_it_or_nothing_of_different_amounts_of_money),
        cmocka_unit_test(after_a_start_it_is_held_where_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
