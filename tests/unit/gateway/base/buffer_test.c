/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include "gateway/base/buffer.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void assert_held(const struct buffer *buffer, struct text expected)
{
    assert_int_equal(buffer_length(buffer), expected.len);
    assert_true(text_equal(buffer_text(buffer), expected));
}

static void empty_buffer_holds_no_memory(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    assert_null(buffer.data);
    assert_true(buffer_append(&buffer, NULL, 0));
    assert_null(buffer.data);
    assert_true(buffer_append_text(&buffer, TEXT("x")));
    buffer_done(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.limit, 100);
    buffer_done(&buffer);
}

static void bytes_go_in_behind_and_out_in_front(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    assert_true(buffer_append_text(&buffer, TEXT("hello ")));
    assert_true(buffer_format(&buffer, "%s %d", "world", 7));
    assert_held(&buffer, TEXT("hello world 7"));
    buffer_drop(&buffer, 6);
    assert_held(&buffer, TEXT("world 7"));
    buffer_drop(&buffer, 7);
    assert_held(&buffer, TEXT(""));
    assert_int_equal(buffer.begin, 0);
    assert_true(buffer_append_text(&buffer, TEXT("a")));
    buffer_clear(&buffer);
    assert_held(&buffer, TEXT(""));
    assert_non_null(buffer.data);
    buffer_done(&buffer);
}

static void limit_is_never_passed(void **state)
{
    (void)state;
    static char bytes[2000];
    for (size_t limit = 0; limit < 1200; limit += 37) {
        struct buffer buffer;
        buffer_init(&buffer, limit);
        assert_false(buffer_append(&buffer, bytes, limit + 1));
        assert_int_equal(buffer_length(&buffer), 0);
        for (size_t len = 0; len < limit; len++)
            assert_true(buffer_append(&buffer, "x", 1));
        assert_false(buffer_append(&buffer, "x", 1));
        assert_int_equal(buffer_length(&buffer), limit);
        assert_true(buffer.capacity <= limit);
        assert_null(buffer_room(&buffer, SIZE_MAX));
        buffer_done(&buffer);
    }
}

static void room_moves_what_is_held_before_it_grows(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    char *room = buffer_room(&buffer, 100);
    assert_non_null(room);
    memset(room, 'a', 98);
    room[98] = 'y';
    room[99] = 'z';
    buffer_grow(&buffer, 100);
    buffer_drop(&buffer, 98);
    room = buffer_room(&buffer, 98);
    assert_non_null(room);
    memset(room, 'b', 98);
    buffer_grow(&buffer, 98);
    assert_int_equal(buffer_length(&buffer), 100);
    assert_memory_equal(buffer_text(&buffer).at, "yzbb", 4);
    buffer_done(&buffer);
}

static void format_is_all_or_nothing(void **state)
{
    (void)state;
    char longer[2001];
    memset(longer, 'x', 2000);
    longer[2000] = '\0';
    struct buffer buffer;
    buffer_init(&buffer, 3000);
    for (int len = 508; len < 516; len++) {
        buffer_clear(&buffer);
        assert_true(buffer_format(&buffer, "%.*s", len, longer));
        assert_held(&buffer, (struct text){longer, (size_t)len});
    }
    assert_true(buffer_format(&buffer, "%s", longer));
    size_t before = buffer_length(&buffer);
    assert_false(buffer_format(&buffer, "%s", longer));
    assert_int_equal(buffer_length(&buffer), before);
    buffer_done(&buffer);
}

static void random_traffic_comes_out_as_it_went_in(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 5000);
    unsigned char in = 0, out = 0;
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1103515245U + 12345U;
        size_t len = (seed >> 16) % 300;
        unsigned char bytes[300];
        for (size_t i = 0; i < len; i++)
            bytes[i] = (unsigned char)(in + i);
        if (buffer_append(&buffer, bytes, len))
            in = (unsigned char)(in + len);
        seed = seed * 1103515245U + 12345U;
        size_t take = (seed >> 16) % 310;
        struct text held = text_head(buffer_text(&buffer), take);
        for (size_t i = 0; i < held.len; i++)
            assert_int_equal((unsigned char)held.at[i], (unsigned char)(out + i));
        out = (unsigned char)(out + held.len);
        buffer_drop(&buffer, held.len);
    }
    buffer_done(&buffer);
}

static void what_found_no_room_is_remembered(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 4);
    assert_true(buffer_append_text(&buffer, TEXT("abc")));
    assert_false(buffer.overrun);
    assert_false(buffer_append_text(&buffer, TEXT("de")));
    assert_true(buffer.overrun);
    assert_true(buffer_append_text(&buffer, TEXT("f"))); /* there is a hole before it */
    buffer_drop(&buffer, 4);
    assert_true(buffer.overrun);
    buffer_clear(&buffer);
    assert_false(buffer.overrun);
    assert_false(buffer_format(&buffer, "%s", "12345"));
    assert_true(buffer.overrun);
    buffer_done(&buffer);
    assert_false(buffer.overrun);
    assert_null(buffer_room(&buffer, 5));
    assert_true(buffer.overrun);
    buffer_init(&buffer, 4);
    assert_false(buffer.overrun);
    buffer_done(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_buffer_holds_no_memory),
        cmocka_unit_test(bytes_go_in_behind_and_out_in_front),
        cmocka_unit_test(limit_is_never_passed),
        cmocka_unit_test(what_found_no_room_is_remembered),
        cmocka_unit_test(room_moves_what_is_held_before_it_grows),
        cmocka_unit_test(format_is_all_or_nothing),
        cmocka_unit_test(random_traffic_comes_out_as_it_went_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
