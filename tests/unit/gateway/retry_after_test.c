/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/retry_after.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const int64_t SECOND = 1000000,
                     WALL = INT64_C(784111777) * 1000000; /* 6 Nov 1994 08:49:37 */

static int64_t of_status(unsigned status, const char *first, const char *value, const char *second,
                         const char *other)
{
    struct head head = {.status = status, .names = UINT64_MAX, .field_count = second ? 2 : 1};
    head.fields[0] = (struct head_field){text_of(first), text_of(value)};
    if (second)
        head.fields[1] = (struct head_field){text_of(second), text_of(other)};
    return retry_after_us(&head, WALL);
}

static int64_t of(const char *name, const char *value)
{
    return of_status(429, name, value, NULL, NULL);
}

static void seconds_milliseconds_and_dates(void **state)
{
    (void)state;
    assert_int_equal(of("retry-after", "7"), 7 * SECOND);
    assert_int_equal(of("Retry-After", "1.5"), 3 * SECOND / 2);
    assert_int_equal(of("retry-after-ms", "250"), SECOND / 4);
    assert_int_equal(of("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), 10 * SECOND);
    assert_int_equal(of("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT"), 0); /* it is over */
    assert_int_equal(of_status(429, "retry-after", "9", "retry-after-ms", "100"), SECOND / 10);
    assert_int_equal(of_status(503, "retry-after", "9", NULL, NULL), 9 * SECOND);
}

static void nonsense_says_nothing_and_nothing_is_for_ever(void **state)
{
    (void)state;
    static const char *const nonsense[] = {"", "-1", "soon", "1e9", "Sun, 06 Nov", "7 s", "0x10"};
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
        assert_int_equal(of("retry-after", nonsense[i]), 0);
    assert_int_equal(of("retry-after", "999999999999"), 86400 * SECOND);
    assert_int_equal(of("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"), 86400 * SECOND);
}

static void what_is_spent_comes_back(void **state)
{
    (void)state;
    assert_int_equal(
        of_status(429, "x-ratelimit-reset-requests", "6m0s", "x-ratelimit-remaining-requests", "0"),
        360 * SECOND);
    assert_int_equal(
        of_status(429, "x-ratelimit-reset-tokens", "250ms", "x-ratelimit-remaining-tokens", "0"),
        SECOND / 4);
    assert_int_equal(
        of_status(429, "x-ratelimit-reset-tokens", "250ms", "x-ratelimit-remaining-tokens", "12"),
        0);
    assert_int_equal(of_status(429, "anthropic-ratelimit-requests-reset", "1994-11-06T08:50:37Z",
                               "anthropic-ratelimit-requests-remaining", "0"),
                     60 * SECOND);
    assert_int_equal(of("x-ratelimit-reset", "784111787"), 10 * SECOND);
    assert_int_equal(of("ratelimit-reset", "3"), 3 * SECOND);
    assert_int_equal(of_status(200, "ratelimit-reset", "3", NULL, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seconds_milliseconds_and_dates),
        cmocka_unit_test(nonsense_says_nothing_and_nothing_is_for_ever),
        cmocka_unit_test(what_is_spent_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
