/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/text.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void equal_compares_bytes_and_length(void **state)
{
    (void)state;
    assert_true(text_equal(TEXT("abc"), TEXT("abc")));
    assert_false(text_equal(TEXT("abc"), TEXT("abd")));
    assert_false(text_equal(TEXT("abc"), TEXT("ab")));
    assert_true(text_equal(TEXT(""), (struct text){NULL, 0}));
    assert_false(text_equal(TEXT("a\0b"), TEXT("a\0c")));
}

static void nocase_knows_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(text_equal_nocase(TEXT("Content-Type"), TEXT("content-tYPE")));
    assert_false(text_equal_nocase(TEXT("a"), TEXT("ab")));
    assert_false(text_equal_nocase(TEXT("@"), TEXT("`"))); /* 0x40 and 0x60 */
    assert_false(text_equal_nocase(TEXT("["), TEXT("{"))); /* 0x5B and 0x7B */
    assert_false(text_equal_nocase(TEXT("\xC4"), TEXT("\xE4")));
    assert_true(text_starts_nocase(TEXT("Bearer x"), TEXT("bEARER ")));
    assert_false(text_starts_nocase(TEXT("Bear"), TEXT("bearer")));
}

static void names_are_the_same_in_any_case(void **state)
{
    (void)state;
    assert_true(text_is_name(TEXT("Max_Tokens"), TEXT("max_tokens")));
    assert_true(text_is_name(TEXT("functioncall"), TEXT("functionCall")));
    assert_true(text_is_name(TEXT("max_to\xe2\x84\xaa"
                                  "en\xc5\xbf"),
                             TEXT("max_tokens")));
    assert_false(text_is_name(TEXT("max_token"), TEXT("max_tokens")));
    assert_false(text_is_name(TEXT("max_tokens2"), TEXT("max_tokens")));
    assert_false(text_is_name(TEXT("max-tokens"), TEXT("max_tokens")));
    assert_false(text_is_name(TEXT("\xe2\x84"), TEXT("k")));
    assert_false(text_is_name(TEXT(""), TEXT("k")));
}

static void starts_and_ends(void **state)
{
    (void)state;
    assert_true(text_starts(TEXT("abc"), TEXT("ab")));
    assert_true(text_starts(TEXT("abc"), TEXT("")));
    assert_false(text_starts(TEXT("ab"), TEXT("abc")));
    assert_true(text_ends(TEXT("abc"), TEXT("bc")));
    assert_true(text_ends((struct text){NULL, 0}, TEXT("")));
    assert_false(text_ends(TEXT("bc"), TEXT("abc")));
}

static void parts_stay_inside(void **state)
{
    (void)state;
    assert_true(text_equal(text_from(TEXT("abc"), 1), TEXT("bc")));
    assert_int_equal(text_from(TEXT("abc"), 99).len, 0);
    assert_true(text_equal(text_head(TEXT("abc"), 2), TEXT("ab")));
    assert_true(text_equal(text_head(TEXT("abc"), SIZE_MAX), TEXT("abc")));
    assert_true(text_equal(text_trim(TEXT(" \t a b\t ")), TEXT("a b")));
    assert_int_equal(text_trim(TEXT(" \t ")).len, 0);
    assert_true(text_equal(text_trim(TEXT("\na\r")), TEXT("\na\r")));
}

static void find_tells_the_first_place(void **state)
{
    (void)state;
    assert_int_equal(text_find(TEXT("ababc"), TEXT("abc")), 2);
    assert_int_equal(text_find(TEXT("abc"), TEXT("")), 0);
    assert_true(text_find(TEXT("ab"), TEXT("abc")) == SIZE_MAX);
    assert_true(text_find((struct text){NULL, 0}, TEXT("a")) == SIZE_MAX);
    assert_int_equal(text_find_byte(TEXT("a,b,c"), ','), 1);
    assert_int_equal(text_find_byte(TEXT("a\0b"), '\0'), 1);
    assert_true(text_find_byte((struct text){NULL, 0}, ',') == SIZE_MAX);
}

static void next_takes_a_list_apart(void **state)
{
    (void)state;
    struct text rest = TEXT("a, b\t,, c d ,"), item;
    static const char *const items[] = {"a", "b", "", "c d", ""};
    for (size_t i = 0; i < 5; i++) {
        assert_true(text_next(&rest, ',', &item));
        assert_true(text_equal(item, text_of(items[i])));
    }
    assert_false(text_next(&rest, ',', &item));
    assert_false(text_next(&rest, ',', &item));
    rest = TEXT("");
    assert_true(text_next(&rest, ',', &item));
    assert_int_equal(item.len, 0);
    assert_false(text_next(&rest, ',', &item));
}

static void number_takes_digits_up_to_the_maximum(void **state)
{
    (void)state;
    uint64_t n = 99;
    assert_true(text_number(TEXT("0"), 0, &n));
    assert_true(n == 0);
    assert_true(text_number(TEXT("0042"), 42, &n));
    assert_true(n == 42);
    assert_true(text_number(TEXT("18446744073709551615"), UINT64_MAX, &n));
    assert_true(n == UINT64_MAX);
    static const struct {
        const char *text;
        uint64_t max;
    } bad[] = {{"", 9},
               {"-1", 9},
               {"+1", 9},
               {" 1", 9},
               {"1 ", 9},
               {"0x1", 9},
               {"10", 9},
               {"7", 5},
               {"1.0", 9},
               {"18446744073709551616", UINT64_MAX},
               {"99999999999999999999", UINT64_MAX}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        n = 77;
        assert_false(text_number(text_of(bad[i].text), bad[i].max, &n));
        assert_true(n == 77);
    }
}

static void numbers_are_written_as_printf_does(void **state)
{
    (void)state;
    char room[TEXT_NUMBER_BYTES], want[TEXT_NUMBER_BYTES + 1];
    uint64_t power = 1;
    for (unsigned digits = 1; digits <= TEXT_NUMBER_BYTES; digits++, power *= 10) {
        const uint64_t numbers[] = {power - 1, power, power + 1, power + power / 3, UINT64_MAX, 0};
        for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
            snprintf(want, sizeof(want), "%" PRIu64, numbers[i]);
            assert_true(text_equal(text_write_number(numbers[i], room), text_of(want)));
            size_t length = (size_t)(text_put_number(room, numbers[i]) - room);
            assert_true(text_equal((struct text){room, length}, text_of(want)));
        }
    }
}

static void same_looks_at_each_byte(void **state)
{
    (void)state;
    char one[40], other[40];
    for (size_t len = 0; len <= sizeof(one); len++) {
        memset(one, 'a', sizeof(one));
        memset(other, 'a', sizeof(other));
        for (size_t i = 0; i < sizeof(one); i++) {
            other[i] = 'b';
            assert_true(text_same(one, other, len) == (i >= len));
            other[i] = 'a';
        }
        assert_true(text_same(one, other, len));
    }
    assert_true(text_same(NULL, NULL, 0));
}

static void star_stands_for_any_bytes(void **state)
{
    (void)state;
    assert_true(text_matches(TEXT("gpt-4o-mini"), TEXT("gpt-*")));
    assert_true(text_matches(TEXT("gpt-"), TEXT("gpt-*")));
    assert_true(text_matches(TEXT(""), TEXT("*")));
    assert_true(text_matches(TEXT(""), TEXT("")));
    assert_true(text_matches(TEXT("abcbcd"), TEXT("a*bcd")));
    assert_true(text_matches(TEXT("a/b/c"), TEXT("*/c")));
    assert_true(text_matches(TEXT("aXbXXc"), TEXT("a**b*c")));
    assert_false(text_matches(TEXT("xgpt-4"), TEXT("gpt-*")));
    assert_false(text_matches(TEXT("gpt-4x"), TEXT("*-4")));
    assert_false(text_matches(TEXT("a"), TEXT("")));
    assert_false(text_matches(TEXT(""), TEXT("?")));
}

static void distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(text_distance(TEXT("model"), TEXT("model"), 9), 0);
    assert_int_equal(text_distance(TEXT("model"), TEXT("modle"), 9), 1);
    assert_int_equal(text_distance(TEXT("model"), TEXT("models"), 9), 1);
    assert_int_equal(text_distance(TEXT("model"), TEXT("mdel"), 9), 1);
    assert_int_equal(text_distance(TEXT("kitten"), TEXT("sitting"), 9), 3);
    assert_int_equal(text_distance(TEXT(""), TEXT("abc"), 9), 3);
    assert_int_equal(text_distance(TEXT("abc"), TEXT("xyzuvw"), 2), 2);
    char longer[70];
    memset(longer, 'x', sizeof(longer));
    assert_int_equal(text_distance((struct text){longer, 70}, TEXT("x"), 4), 4);
    assert_int_equal(text_distance((struct text){longer, 63}, (struct text){longer, 60}, 9), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_compares_bytes_and_length),
        cmocka_unit_test(nocase_knows_ascii_letters_only),
        cmocka_unit_test(names_are_the_same_in_any_case),
        cmocka_unit_test(starts_and_ends),
        cmocka_unit_test(parts_stay_inside),
        cmocka_unit_test(find_tells_the_first_place),
        cmocka_unit_test(next_takes_a_list_apart),
        cmocka_unit_test(number_takes_digits_up_to_the_maximum),
        cmocka_unit_test(numbers_are_written_as_printf_does),
        cmocka_unit_test(same_looks_at_each_byte),
        cmocka_unit_test(star_stands_for_any_bytes),
        cmocka_unit_test(distance_counts_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
