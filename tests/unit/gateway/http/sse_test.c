/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/sse.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define BYTES(literal) (literal), sizeof(literal) - 1

/* A stream, and its events as "name|data|lines" each in angle brackets. */
struct test_case {
    const char *at;
    size_t len;
    const char *events;
    size_t left; /* bytes at the end that are no whole event yet */
};

/* clang-format off */
static const struct test_case streams[] = {
    {BYTES(""), "", 0},
    {BYTES("data: 1\n\n"), "<|1|1>", 0},
    {BYTES("data: 1\r\n\r\n"), "<|1|1>", 0},
    {BYTES("data: 1\r\rd"), "<|1|1>", 1},
    {BYTES("data: 1\r\r"), "", 9},
    {BYTES("data: 1\n\r"), "", 9},
    {BYTES("data: 1\n\r\nx"), "<|1|1>", 1},
    {BYTES("data: 1\r\n\nx"), "<|1|1>", 1},
    {BYTES("data: 1\r\r\nx"), "<|1|1>", 1},
    {BYTES("data: 1\n"), "", 8},
    {BYTES("data: 1\r\n"), "", 9},
    {BYTES("data: 1\r\n\r"), "", 10},
    {BYTES("data:1\n\n"), "<|1|1>", 0},
    {BYTES("data:  1\n\n"), "<| 1|1>", 0},
    {BYTES("data: 1 \n\n"), "<|1 |1>", 0},
    {BYTES("data\n\n"), "<||1>", 0},
    {BYTES("data:\n\n"), "<||1>", 0},
    {BYTES("data: \n\n"), "<||1>", 0},
    {BYTES("datax: 1\n\n"), "<||0>", 0},
    {BYTES("Data: 1\n\n"), "<||0>", 0},
    {BYTES(" data: 1\n\n"), "<||0>", 0},
    {BYTES("data : 1\n\n"), "<||0>", 0},
    {BYTES("data: a: b\n\n"), "<|a: b|1>", 0},
    {BYTES(": ping\n\n"), "<||0>", 0},
    {BYTES(":\n\n:\n\n"), "<||0><||0>", 0},
    {BYTES("id: 7\nretry: 10\n\n"), "<||0>", 0},
    {BYTES("event: x\ndata: 1\n\n"), "<x|1|1>", 0},
    {BYTES("data: 1\nevent:x\n\n"), "<x|1|1>", 0},
    {BYTES("event: x\nevent: y\ndata: 1\n\n"), "<y|1|1>", 0},
    {BYTES("data: 1\ndata: 2\ndata: 3\n\n"), "<|1|3>", 0},
    {BYTES("\n\n"), "<||0><||0>", 0},
    {BYTES("\r\n\r\n"), "<||0><||0>", 0},
    {BYTES("\r\rx"), "<||0><||0>", 1},
    {BYTES("\ndata: 1\n\n"), "<||0><|1|1>", 0},
    {BYTES("data: 1\n\n\ndata: 2\n\n"), "<|1|1><||0><|2|1>", 0},
    {BYTES("data: 1\n\ndata: 2\r\n\r\ndata: 3\r\revent: x\r\ndata: 4\n\npart"), "<|1|1><|2|1><|3|1><x|4|1>", 4},
    {BYTES("\xEF\xBB\xBF" "data: 1\n\n"), "<|1|1>", 0},
    {BYTES("data: a\0b\n\n"), "<|a|1>", 0}, /* as printed by %s: all its bytes are there */
    {BYTES("data: [DONE]\n\n"), "<|[DONE]|1>", 0},
};
/* clang-format on */

/* Append the events of <bytes> to <out>; what they are made of must be all of the bytes. */
static void print_events(struct text bytes, char *out, size_t room)
{
    struct sse_event event;
    const char *at = bytes.at;
    while (sse_next(&bytes, &event)) {
        char name[64], data[64];
        assert_ptr_equal(event.raw.at, at);
        at += event.raw.len;
        assert_ptr_equal(bytes.at, at);
        snprintf(name, sizeof(name), "%.*s", TEXT_ARGS(event.name));
        snprintf(data, sizeof(data), "%.*s", TEXT_ARGS(event.data));
        size_t len = strlen(out);
        snprintf(out + len, room - len, "<%s|%s|%u>", name, data, event.lines);
    }
    assert_int_equal(bytes.len, 0);
}

/* The stream arrives up to <first>, then <step> bytes at a time, behind what was left over. */
static void check(const struct test_case *item, size_t first, size_t step)
{
    char events[256] = "";
    size_t done = 0, seen = 0;
    for (size_t len = first;; len = item->len - len < step ? item->len : len + step) {
        char *copy = malloc(len - done ? len - done : 1);
        memcpy(copy, item->at + done, len - done);
        struct text bytes = {copy, len - done};
        size_t whole = sse_whole(bytes);
        assert_int_equal(whole, sse_whole_after(bytes, seen));
        print_events(text_head(bytes, whole), events, sizeof(events));
        free(copy);
        done += whole;
        seen = len - done;
        if (len == item->len)
            break;
    }
    if (strcmp(events, item->events) != 0 || item->len - done != item->left)
        fail_msg("%s: %s and %zu left, %zu then %zu", item->at, events, item->len - done, first,
                 step);
}

static void events_are_the_same_at_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        for (size_t cut = 0; cut <= streams[i].len; cut++)
            check(&streams[i], cut, streams[i].len ? streams[i].len : 1);
        check(&streams[i], 0, 1);
    }
}

static void no_event_is_taken_from_a_part(void **state)
{
    struct text bytes = TEXT("data: 1\nevent: x\n");
    struct sse_event event;
    (void)state;
    assert_false(sse_next(&bytes, &event));
    assert_int_equal(bytes.len, 17);
    bytes = TEXT("");
    assert_false(sse_next(&bytes, &event));
    /* At the end of a stream a CR may stand for itself. */
    bytes = TEXT("data: 1\r\r");
    assert_true(sse_next(&bytes, &event));
    assert_int_equal(event.raw.len, 9);
}

static void lines_of_data_are_joined(void **state)
{
    struct text bytes = TEXT("data: a\nevent: x\r\ndata\rdata:b\n: c\ndata:  d\n\n");
    struct sse_event event;
    char out[64];
    (void)state;
    assert_true(sse_next(&bytes, &event));
    assert_int_equal(event.lines, 4);
    assert_int_equal(sse_data(&event, out), 7);
    assert_memory_equal(out, "a\n\nb\n d", 7);
}

/* Lines that go on beyond the windows of the search. */
static void long_lines_are_found(void **state)
{
    static const char *ends[] = {"\n", "\r\n", "\r"};
    (void)state;
    for (size_t len = 500; len < 1600; len += 3) {
        for (size_t i = 0; i < 3; i++) {
            char z[2048];
            size_t at = (size_t)sprintf(z, "data: ");
            memset(z + at, 'v', len);
            at += len;
            at += (size_t)sprintf(z + at, "%s%sx", ends[i], ends[i]);
            struct text bytes = {z, at - 1};
            struct sse_event event;
            assert_int_equal(sse_whole((struct text){z, at}), at - 1);
            assert_true(sse_next(&bytes, &event));
            assert_int_equal(event.data.len, len);
            assert_int_equal(bytes.len, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_at_every_cut),
        cmocka_unit_test(no_event_is_taken_from_a_part),
        cmocka_unit_test(lines_of_data_are_joined),
        cmocka_unit_test(long_lines_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
