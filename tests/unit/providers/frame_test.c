/* SPDX-License-Identifier: Apache-2.0 */

/* Streams cut into frames: whole, byte by byte, and broken ones. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "providers/frame.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { FRAMES_MAX = 16, SCRATCH_MAX = 1 << 20 };

struct frames {
    char seen[FRAMES_MAX][64]; /* "name|kind|data" */
    size_t count;
    bool bad;
};

static void add(struct frames *frames, const struct frame *frame)
{
    assert_true(frames->count < FRAMES_MAX);
    char *text = memory_format("%.*s|%.*s|%.*s", TEXT_ARGS(frame->name), TEXT_ARGS(frame->kind),
                               TEXT_ARGS(frame->data));
    assert_true(strlen(text) < sizeof(frames->seen[0]));
    strcpy(frames->seen[frames->count++], text);
    memory_free(text);
}

/* Take all frames of <bytes>, of which so many more are there each time. */
static struct frames cut(enum framing framing, struct text bytes, size_t each)
{
    struct frames frames = {.count = 0};
    struct buffer scratch;
    buffer_init(&scratch, SCRATCH_MAX);
    size_t begin = 0, end = 0, looked = 0;
    while (end < bytes.len && !frames.bad) {
        end = end + each < bytes.len ? end + each : bytes.len;
        struct text rest = {bytes.at + begin, end - begin};
        struct frame frame;
        enum frame_result result;
        size_t seen = looked;
        while ((result = frame_next(framing, &rest, seen, end == bytes.len, &scratch, &frame)) ==
               FRAME_HERE) {
            add(&frames, &frame);
            seen = 0;
        }
        frames.bad = result == FRAME_BAD;
        begin = end - rest.len;
        looked = rest.len;
    }
    buffer_done(&scratch);
    return frames;
}

static void expect(enum framing framing, struct text bytes, const char *const *expected)
{
    for (size_t each = 1; each <= bytes.len; each += each < 8 ? 1 : bytes.len) {
        struct frames frames = cut(framing, bytes, each);
        assert_false(frames.bad);
        size_t i = 0;
        for (; expected[i]; i++) {
            assert_true(i < frames.count);
            assert_string_equal(frames.seen[i], expected[i]);
        }
        assert_int_equal(frames.count, i);
    }
}

static void events_with_names_comments_and_several_lines(void **state)
{
    (void)state;
    expect(FRAMING_SSE,
           TEXT(": hello\n\nevent: a\ndata: 1\n\ndata: x\r\ndata: y\r\n\r\nid: 7\n\ndata:last"),
           (const char *const[]){"a||1", "||x\ny", "||last", NULL});
}

static void a_mark_alone_on_its_line_hides_nothing(void **state)
{
    (void)state;
    static const char *const expected[] = {"||1", "||2", NULL};
    expect(FRAMING_SSE, TEXT("data: 1\n\n\xEF\xBB\xBF\ndata: 2"), expected);
}

static void lines_of_json(void **state)
{
    (void)state;
    expect(FRAMING_LINES, TEXT("{\"a\":1}\n\r\n{\"b\":2}\r\n{\"c\":3}"),
           (const char *const[]){"||{\"a\":1}", "||{\"b\":2}", "||{\"c\":3}", NULL});
}

static void frames_of_aws_with_their_checksums(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, SCRATCH_MAX);
    frame_put_aws(&out, TEXT("event"), TEXT("messageStart"), TEXT("{\"role\":\"assistant\"}"));
    frame_put_aws(&out, TEXT("exception"), TEXT("throttlingException"), TEXT("{}"));
    expect(FRAMING_AWS, buffer_text(&out),
           (const char *const[]){"messageStart|event|{\"role\":\"assistant\"}",
                                 "throttlingException|exception|{}", NULL});
    for (size_t i = 0; i < buffer_length(&out); i++) { /* no byte may be another */
        out.data[out.begin + i] ^= 1;
        struct frames frames = cut(FRAMING_AWS, buffer_text(&out), buffer_length(&out));
        assert_true(frames.bad || frames.count < 2);
        out.data[out.begin + i] ^= 1;
    }
    buffer_done(&out);
}

static void what_is_no_frame_is_bad(void **state)
{
    (void)state;
    assert_true(cut(FRAMING_AWS, TEXT("{\"message\":\"not an event stream\"}"), 64).bad);
    struct frames none = cut(FRAMING_SSE, TEXT("{\"a\":1}"), 64);
    assert_false(none.bad);
    assert_int_equal(none.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_with_names_comments_and_several_lines),
        cmocka_unit_test(a_mark_alone_on_its_line_hides_nothing),
        cmocka_unit_test(lines_of_json),
        cmocka_unit_test(frames_of_aws_with_their_checksums),
        cmocka_unit_test(what_is_no_frame_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
