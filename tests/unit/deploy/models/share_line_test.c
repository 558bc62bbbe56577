/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "deploy/models/share_line.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct buffer out;
    struct share_line line = {
        .kind = SHARE_REPLICA, .name = TEXT("qwen"), .rest = TEXT("/a b/\nc")};
    struct share_line read;
    buffer_init(&out, 4096);
    for (int i = 0; i < SERVER_NUMBERS; i++)
        line.numbers[i] = i % 2 ? INT64_MIN + i : INT64_MAX - i;
    share_line_write(&out, &line);
    struct text rest = buffer_text(&out);
    assert_true(share_line_next(&rest, &read));
    assert_int_equal(read.kind, SHARE_REPLICA);
    assert_true(text_equal(read.name, TEXT("qwen")));
    assert_true(text_equal(read.rest, TEXT("/a b/ c")));
    assert_memory_equal(read.numbers, line.numbers, SERVER_NUMBERS * sizeof(int64_t));
    assert_false(share_line_next(&rest, &read));
    buffer_done(&out);
}

static void what_cannot_be_read_is_passed_over(void **state)
{
    (void)state;
    struct text record = TEXT("\nq x 1\ns\ns  1\ns node\ns node x\ns node 99999999999999999999\n"
                              "s no\0de 3\ns node - \ns node 1.5\nss node 1\ns node 12\nz node 1");
    struct share_line line;
    assert_true(share_line_next(&record, &line));
    assert_int_equal(line.kind, SHARE_ACK);
    assert_true(text_equal(line.name, TEXT("node")));
    assert_int_equal(line.numbers[0], 12);
    assert_false(share_line_next(&record, &line));
}

static void what_has_no_room_is_left_out_whole(void **state)
{
    (void)state;
    struct buffer out;
    struct share_line line = {.kind = SHARE_ACK, .name = TEXT("node"), .rest = {"", 0}}, read;
    size_t count = 0;
    buffer_init(&out, 100);
    for (int i = 0; i < 50; i++)
        share_line_write(&out, &line);
    struct text rest = buffer_text(&out);
    assert_true(rest.len > 80 && rest.at[rest.len - 1] == '\n');
    while (share_line_next(&rest, &read))
        count++;
    assert_int_equal(count, 100 / sizeof("s node 0 "));
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_cannot_be_read_is_passed_over),
        cmocka_unit_test(what_has_no_room_is_left_out_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
