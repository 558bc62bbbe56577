/* SPDX-License-Identifier: Apache-2.0 */
/* What people write down, and that what cannot be read changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/quantity.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void figures_are_read_with_their_units(void **state)
{
    (void)state;
    int64_t figure = 0;
    assert_true(duration_read(TEXT("250ms"), &figure));
    assert_int_equal(figure, 250000);
    assert_true(size_read(TEXT("64KiB"), &figure));
    assert_int_equal(figure, 65536);
    assert_true(decimal_read(TEXT("0.123456789"), &figure));
    assert_int_equal(figure, 123456789);
    assert_true(money_read(TEXT("12.50 USD"), &figure));
    assert_int_equal(figure, 12500000000);
}

static void what_cannot_be_read_changes_nothing(void **state)
{
    (void)state;
    static const char *const durations[] = {
        "", "5", "5 s", "-1s", "1.5s", "97136854777y", "s", "9223372036854775807ms"};
    int64_t figure = -77;
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++)
        assert_false(duration_read(text_of(durations[i]), &figure));
    assert_false(size_read(TEXT("9223372036854775807TiB"), &figure));
    assert_false(size_read(TEXT("18446744073709551616"), &figure));
    assert_false(decimal_read(TEXT("9223372036.1"), &figure));
    assert_false(decimal_read(TEXT("1."), &figure));
    assert_false(decimal_read(TEXT("0.1234567890"), &figure));
    assert_false(money_read(TEXT("1 EUR"), &figure));
    assert_int_equal(figure, -77);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_read_with_their_units),
        cmocka_unit_test(what_cannot_be_read_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
