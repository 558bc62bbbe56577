/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "routing/retry.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const uint64_t SECOND = 1000000, BEGIN = UINT64_C(7000) * 1000000;

static void a_floor_is_there_at_first(void **state)
{
    (void)state;
    struct retry_budget budget = {0};
    for (int i = 0; i < RETRY_FLOOR; i++)
        assert_true(retry_withdraw(&budget, BEGIN));
    assert_false(retry_withdraw(&budget, BEGIN));
    assert_int_equal(retry_left(&budget), 0);
}

static void when_everything_fails_there_are_at_most_a_fifth_more_tries(void **state)
{
    (void)state;
    struct retry_budget budget = {0};
    int tries = 0;
    for (int i = 0; i < 1000; i++) { /* a thousand calls within a second, each tries thrice */
        retry_deposit(&budget, RETRY_SHARE_PPM);
        tries++;
        for (int k = 0; k < 2 && retry_withdraw(&budget, BEGIN + (uint64_t)i * 1000); k++)
            tries++;
    }
    assert_in_range(tries, 1100, 1200);
}

static void few_calls_may_try_again_with_time(void **state)
{
    (void)state;
    struct retry_budget budget = {0};
    while (retry_withdraw(&budget, BEGIN))
        continue;
    assert_false(retry_withdraw(&budget, BEGIN + 4 * SECOND));
    assert_true(retry_withdraw(&budget, BEGIN + 10 * SECOND));
    int more = 0;
    while (retry_withdraw(&budget, BEGIN + 5000 * SECOND))
        more++;
    assert_int_equal(more, RETRY_FLOOR); /* never beyond the floor */
}

static void what_good_times_have_saved_is_bounded(void **state)
{
    (void)state;
    struct retry_budget budget = {0};
    int tries = 0;
    for (int i = 0; i < 100000; i++)
        retry_deposit(&budget, RETRY_SHARE_PPM);
    while (retry_withdraw(&budget, BEGIN))
        tries++;
    assert_int_equal(tries, RETRY_MAX);
}

static void waits_grow_and_are_spread(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 12; n++) {
        int64_t whole = 250000LL << (n - 1);
        whole = whole > 8000000 ? 8000000 : whole;
        assert_int_equal(retry_backoff_us(250000, 8000000, n, 0), whole / 2);
        for (uint64_t random = 1; random < 1000; random++)
            assert_in_range(
                retry_backoff_us(250000, 8000000, n, random * UINT64_C(0x9e3779b97f4a7c15)),
                whole / 2, whole);
    }
    assert_int_equal(retry_backoff_us(0, 8000000, 3, 7), 0);
    assert_in_range(retry_backoff_us(INT64_MAX / 4, INT64_MAX / 2, 60, UINT64_MAX), 1,
                    INT64_MAX / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_floor_is_there_at_first),
        cmocka_unit_test(when_everything_fails_there_are_at_most_a_fifth_more_tries),
        cmocka_unit_test(few_calls_may_try_again_with_time),
        cmocka_unit_test(what_good_times_have_saved_is_bounded),
        cmocka_unit_test(waits_grow_and_are_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
