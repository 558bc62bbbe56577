/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "routing/quota.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { SECOND = 1000000 };

static const uint64_t start = UINT64_C(5000) * SECOND;
static struct quota_figures figures;
static struct quota_left left;

static int set_up(void **state)
{
    (void)state;
    memset(&figures, 0, sizeof(figures));
    memset(&left, 0, sizeof(left));
    return 0;
}

static void bounds_calls_at_once(void **state)
{
    (void)state;
    struct quota quota = {{.calls = 2}, &figures};
    assert_true(quota_take(&quota, 5, start) && quota_take(&quota, 5, start));
    assert_false(quota_look(&quota, 5, start) || quota_take(&quota, 5, start));
    quota_end(&quota, 5, 5, start, start + SECOND);
    assert_true(quota_look(&quota, 5, start) && quota_take(&quota, 5, start));
    quota_return(&quota, 5, start);
    assert_true(quota_take(&quota, 5, start));
}

static void admits_no_more_in_any_minute(void **state)
{
    (void)state;
    struct quota quota = {{.requests = 60}, &figures};
    uint64_t taken[4000];
    size_t count = 0;
    for (uint64_t now = start; now < start + UINT64_C(400) * SECOND; now += SECOND / 10)
        if (quota_take(&quota, 0, now))
            taken[count++] = now;
    for (size_t i = 0; i + 60 < count; i++)
        assert_true(taken[i + 60] - taken[i] >= UINT64_C(60) * SECOND);
    assert_in_range(count, 60 * 6, 60 * 7); /* and nearly as much as that */
}

static void counts_tokens_as_they_turn_out(void **state)
{
    (void)state;
    struct quota quota = {{.tokens = 1000}, &figures};
    assert_true(quota_take(&quota, 900, start));
    assert_false(quota_take(&quota, 200, start));
    quota_end(&quota, 900, 100, start, start + SECOND);
    assert_true(quota_take(&quota, 200, start + SECOND));
    quota_end(&quota, 200, 900, start + SECOND, start + 5 * SECOND); /* more than was thought */
    assert_false(quota_look(&quota, 1, start + 6 * SECOND));
    assert_true(quota_look(&quota, 1, start + 70 * SECOND));
    assert_false(quota_look(&quota, INT64_MAX, start + 70 * SECOND));
    assert_true(quota_look(&quota, -5, start + 70 * SECOND));
}

static void counts_what_it_cannot_refuse(void **state)
{
    (void)state;
    struct quota quota = {{.requests = 1}, &figures};
    quota_force(&quota, 0, start);
    quota_force(&quota, 0, start);
    assert_false(quota_look(&quota, 0, start + 30 * SECOND));
    assert_true(quota_look(&quota, 0, start + 66 * SECOND));
}

enum { THREADS = 4, TRIES = 2000 };

static void *take_many(void *out)
{
    struct quota quota = {{.requests = 1000}, &figures};
    for (unsigned i = 0; i < TRIES; i++)
        *(unsigned *)out += quota_take(&quota, 1, start);
    return NULL;
}

static void is_not_exceeded_by_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    unsigned taken[THREADS] = {0}, sum = 0;
    for (unsigned i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, take_many, &taken[i]);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += taken[i];
    }
    assert_in_range(sum, 900, 1000);
}

static struct quota_seen seen(int64_t requests, int64_t tokens)
{
    return (struct quota_seen){requests, 1000, 60 * SECOND, tokens, 100000, 60 * SECOND};
}

static void is_dry_before_nothing_is_left(void **state)
{
    (void)state;
    struct quota_seen some = seen(500, 50000), few = seen(10, 50000);
    assert_int_equal(quota_dry_until(&left, 100, start), 0); /* nothing was said */
    quota_said(&left, &some, start);
    assert_int_equal(quota_dry_until(&left, 100, start), 0);
    assert_true(quota_dry_until(&left, 49000, start) > start); /* too much for this one call */
    quota_said(&left, &few, start);
    uint64_t until = quota_dry_until(&left, 100, start);
    /* 11 of 990 come back within 60 s */
    assert_in_range(until, start + 600000, start + 700000);
    assert_int_equal(quota_dry_until(&left, 100, until), 0);
}

static void takes_off_what_is_begun(void **state)
{
    (void)state;
    struct quota_seen some = seen(100, 90000);
    quota_said(&left, &some, start);
    for (unsigned i = 0; i < 90; i++)
        quota_spend(&left, 10);
    assert_true(quota_dry_until(&left, 10, start) > start);
    quota_said(&left, &some, start);
    quota_spend(&left, 89000);
    assert_true(quota_dry_until(&left, 10, start) > start);
    assert_int_equal(quota_dry_until(&left, 10, start + UINT64_C(61) * SECOND), 0);
}

static void understands_what_is_said_in_part(void **state)
{
    (void)state;
    struct quota_seen only = {-1, -1, 0, 0, -1, 0};
    quota_said(&left, &only, start);
    assert_int_equal(quota_dry_until(&left, 10, start), 0); /* of no limit nothing can be left */
    only.tokens_left = 40000;
    quota_said(&left, &only, start);
    assert_int_equal(quota_dry_until(&left, 10, start), 0);
    only.tokens_left = 100; /* of the 40,000 that there were */
    quota_said(&left, &only, start);
    assert_true(quota_dry_until(&left, 10, start) > start);
    struct quota_seen odd = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    quota_said(&left, &odd, start);
    assert_int_equal(quota_dry_until(&left, INT64_MAX, start) > 0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bounds_calls_at_once, set_up),
        cmocka_unit_test_setup(admits_no_more_in_any_minute, set_up),
        cmocka_unit_test_setup(counts_tokens_as_they_turn_out, set_up),
        cmocka_unit_test_setup(counts_what_it_cannot_refuse, set_up),
        cmocka_unit_test_setup(is_not_exceeded_by_threads, set_up),
        cmocka_unit_test_setup(is_dry_before_nothing_is_left, set_up),
        cmocka_unit_test_setup(takes_off_what_is_begun, set_up),
        cmocka_unit_test_setup(understands_what_is_said_in_part, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
