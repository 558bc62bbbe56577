/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in a segment, wherever one looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "policy/segment.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void a_byte_is_found_wherever_it_stands(void **state)
{
    (void)state;
    enum { BYTES = 300 };
    char bytes[BYTES] = "";
    struct segment segment = {.map = bytes, .bytes = BYTES};
    assert_true(segment_is_empty(&segment, 0, BYTES));
    for (size_t at = 0; at < BYTES; at++) {
        bytes[at] = (char)(at % 255 + 1);
        assert_false(segment_is_empty(&segment, 0, BYTES));
        assert_false(segment_is_empty(&segment, at, at + 1));
        assert_true(segment_is_empty(&segment, 0, at));
        assert_true(segment_is_empty(&segment, at + 1, BYTES));
        bytes[at] = 0;
    }
    memset(bytes, 'x', BYTES); /* all are alike, and none is zero */
    assert_false(segment_is_empty(&segment, 0, BYTES));
}

static void nothing_is_looked_at_behind_the_end(void **state)
{
    (void)state;
    char bytes[] = {0, 0, 0, 0, 'x'};
    struct segment segment = {.map = bytes, .bytes = 4};
    assert_true(segment_is_empty(&segment, 0, 5));
    assert_true(segment_is_empty(&segment, 3, SIZE_MAX));
    assert_true(segment_is_empty(&segment, 4, 5));
    assert_true(segment_is_empty(&segment, 5, 9));
    assert_true(segment_is_empty(&segment, 3, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_byte_is_found_wherever_it_stands),
        cmocka_unit_test(nothing_is_looked_at_behind_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
