/* SPDX-License-Identifier: Apache-2.0 */
/* How many pieces a call is of, as its body says it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/lengths.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct scan_value value(enum scan_kind kind, const char *raw)
{
    return (struct scan_value){.kind = kind, .raw = text_of(raw)};
}

static void counts_characters(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        int64_t characters;
    } cases[] = {
        {"\"\"", 0},
        {"\"hi\"", 2},
        {"\"日本語\"", 3},
        {"\"\\u65e5\\u672C\"", 2},
        {"\"\\n\\\\\\\"\\/\"", 4},
        {"\"😀\"", 1},
        {"\"\\ud83d\\ude00\"", 1},
        {"\"\\uD83D\\uDE00\\uD7FF\\ud800\"", 3},
        {"\"\\\\ude00\"", 6},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scan_value string = value(SCAN_STRING, cases[i].raw);
        assert_int_equal(lengths_characters(&string), cases[i].characters);
    }
    struct scan_value none = value(SCAN_ABSENT, ""), number = value(SCAN_NUMBER, "12");
    assert_int_equal(lengths_characters(&none), 0);
    assert_int_equal(lengths_characters(&number), 0);
}

/* The escape of a character costs no more than the character itself does at most. */
static void counts_what_is_spoken(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        int64_t tokens;
    } cases[] = {
        {"\"\"", 0},        {"\"hi, you.\"", 24},       {"\"12\"", 16},      {"\"AI\"", 16},
        {"\"日本語\"", 27}, {"\"\\u65e5\\u672C\"", 18}, {"\"\\n\\\"\"", 16},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scan_value string = value(SCAN_STRING, cases[i].raw);
        assert_int_equal(lengths_spoken(&string), cases[i].tokens);
    }
    struct scan_value number = value(SCAN_NUMBER, "12");
    assert_int_equal(lengths_spoken(&number), 0);
}

static void counts_items(void **state)
{
    (void)state;
    struct scan_value list = value(SCAN_ARRAY, "[\"a,b\",{\"text\":\"a\"},[1,2]]");
    struct scan_value empty = value(SCAN_ARRAY, "[ ]"), none = value(SCAN_STRING, "\"a\"");
    assert_int_equal(lengths_items(&list), 3);
    assert_int_equal(lengths_items(&empty), 0);
    assert_int_equal(lengths_items(&none), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_characters),
        cmocka_unit_test(counts_what_is_spoken),
        cmocka_unit_test(counts_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
