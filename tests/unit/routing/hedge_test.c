/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "routing/hedge.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void a_share_of_the_calls_is_asked_twice_and_no_more(void **state)
{
    (void)state;
    struct hedge_budget budget = {0};
    int taken = 0;
    for (int i = 0; i < 1000; i++) {
        hedge_deposit(&budget);
        taken += hedge_take(&budget, 20000);
    }
    assert_int_equal(taken, 20);
}

static void without_calls_or_a_share_there_is_none(void **state)
{
    (void)state;
    struct hedge_budget budget = {0};
    assert_false(hedge_take(&budget, 1000000));
    hedge_deposit(&budget);
    assert_false(hedge_take(&budget, 0));
    assert_true(hedge_take(&budget, 1000000));
    assert_false(hedge_take(&budget, 1000000));
}

static void calls_of_long_ago_fade(void **state)
{
    (void)state;
    struct hedge_budget budget = {0};
    int burst = 0;
    for (int i = 0; i < 10000000; i++)
        hedge_deposit(&budget);
    while (hedge_take(&budget, 20000))
        burst++;
    assert_in_range(burst, 1000, 2000); /* of the last 100,000 calls */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_share_of_the_calls_is_asked_twice_and_no_more),
        cmocka_unit_test(without_calls_or_a_share_there_is_none),
        cmocka_unit_test(calls_of_long_ago_fade),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
