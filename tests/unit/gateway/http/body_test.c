/* SPDX-License-Identifier: Apache-2.0 */

/* Every body is read whole, in two pieces cut at every byte, and byte by byte: same outcome. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/body.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define BYTES(literal) (literal), sizeof(literal) - 1
#define END            "0\r\n\r\n"

struct test_case {
    const char *about, *at;
    size_t len;
    enum body_result want;
    const char *data, *behind; /* the body, and what comes behind it; of a good one */
};

/* clang-format off */
static const struct test_case chunked[] = {
    {"one chunk",               BYTES("5\r\nhello\r\n" END), BODY_END, "hello", ""},
    {"no chunk",                BYTES(END), BODY_END, "", ""},
    {"three chunks",            BYTES("1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n" END), BODY_END, "abcdef", ""},
    {"what comes behind stays", BYTES("1\r\na\r\n" END "GET / HTTP/1.1\r\n"), BODY_END, "a", "GET / HTTP/1.1\r\n"},
    {"hexadecimal, small",      BYTES("a\r\n0123456789\r\n" END), BODY_END, "0123456789", ""},
    {"hexadecimal, capitals",   BYTES("A\r\n0123456789\r\n" END), BODY_END, "0123456789", ""},
    {"zeros in front",          BYTES("0000000000000001\r\na\r\n" END), BODY_END, "a", ""},
    {"several zeros at the end", BYTES("1\r\na\r\n000\r\n\r\n"), BODY_END, "a", ""},
    {"line ends in the data",   BYTES("6\r\n\r\n0\r\n\r\r\n" END), BODY_END, "\r\n0\r\n\r", ""},
    {"trailer",                 BYTES("1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"), BODY_END, "a", ""},
    {"two trailers, one empty", BYTES("0\r\nX: \ty\r\nZ:\r\n\r\nnext"), BODY_END, "", "next"},
    {"obs-text in a trailer",   BYTES("0\r\nX: \xc3\xa9\r\n\r\n"), BODY_END, "", ""},
    {"trailer of a long name",  BYTES("0\r\nX-A-Name-Longer-Than-Twenty-Bytes: y\r\n\r\n"), BODY_END, "", ""},
    {"trailer, name goes on",   BYTES("0\r\nHosts: y\r\nTee: z\r\n\r\n"), BODY_END, "", ""},
    {"not at its end: size",    BYTES("1\r\na\r\n"), BODY_WAIT, "a", ""},
    {"not at its end: data",    BYTES("5\r\nhel"), BODY_WAIT, "hel", ""},
    {"not at its end: CR LF",   BYTES("1\r\na"), BODY_WAIT, "a", ""},
    {"final CR LF missing",     BYTES("1\r\na\r\n0\r\n"), BODY_WAIT, "a", ""},
    {"final LF missing",        BYTES("1\r\na\r\n0\r\n\r"), BODY_WAIT, "a", ""},
    {"sign +",                  BYTES("+1\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"sign -",                  BYTES("-1\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"-0 ends nothing",         BYTES("-0\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"0x",                      BYTES("0x1\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"0X",                      BYTES("0X1\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"no hexadecimal digit",    BYTES("g\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"underscore",              BYTES("1_0\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"point",                   BYTES("1.0\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"NUL behind the size",     BYTES("1\0\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"NUL before the size",     BYTES("\0" "1\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"space before the size",   BYTES(" 1\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"space behind the size",   BYTES("1 \r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"space for the CR",        BYTES("1 \na\r\n" END), BODY_BAD, NULL, NULL},
    {"tab behind the size",     BYTES("1\t\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"VT before the size",      BYTES("\x0b" "1\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"obs-text",                BYTES("\xb1\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"empty size",              BYTES("\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"extension",               BYTES("1;x=y\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"extension without a name", BYTES("1;\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"extension ended by LF",   BYTES("1;\n" "a\r\n" END), BODY_BAD, NULL, NULL},
    {"extension, space before", BYTES("1 ;x\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"extension of the last",   BYTES("0;x\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"LF ends the size",        BYTES("1\na\r\n" END), BODY_BAD, NULL, NULL},
    {"CR alone ends the size",  BYTES("1\ra\r\n" END), BODY_BAD, NULL, NULL},
    {"CR CR LF ends the size",  BYTES("1\r\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"LF ends the data",        BYTES("1\r\na\n" END), BODY_BAD, NULL, NULL},
    {"CR alone ends the data",  BYTES("1\r\na\r" END), BODY_BAD, NULL, NULL},
    {"nothing ends the data",   BYTES("1\r\na" END), BODY_BAD, NULL, NULL},
    {"longer than its size",    BYTES("1\r\nab\r\n" END), BODY_BAD, NULL, NULL},
    {"shorter than its size",   BYTES("5\r\nabc\r\n" END), BODY_BAD, NULL, NULL},
    {"line between chunks",     BYTES("1\r\na\r\n\r\n1\r\nb\r\n" END), BODY_BAD, NULL, NULL},
    {"LF ends the last size",   BYTES("0\n\r\n"), BODY_BAD, NULL, NULL},
    {"LF ends the body",        BYTES("0\r\n\n"), BODY_BAD, NULL, NULL},
    {"CR CR ends the body",     BYTES("0\r\n\r\r"), BODY_BAD, NULL, NULL},
    {"size 2^60",               BYTES("1000000000000000\r\n"), BODY_WAIT, "", ""},
    {"size 2^60 + 1",           BYTES("1000000000000001\r\n"), BODY_BAD, NULL, NULL},
    {"size 2^63",               BYTES("8000000000000000\r\n"), BODY_BAD, NULL, NULL},
    {"size 2^64 - 1",           BYTES("ffffffffffffffff\r\n"), BODY_BAD, NULL, NULL},
    {"size 2^64",               BYTES("10000000000000000\r\n"), BODY_BAD, NULL, NULL},
    {"size 2^64 + 1",           BYTES("10000000000000001\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"size of 17 digits",       BYTES("00000000000000001\r\na\r\n" END), BODY_BAD, NULL, NULL},
    {"no chunks at all",        BYTES("hello world"), BODY_BAD, NULL, NULL},
    {"trailer Content-Length",  BYTES("0\r\nContent-Length: 5\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer Transfer-Encoding", BYTES("0\r\nTRANSFER-ENCODING: chunked\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer Host",            BYTES("0\r\nhost: a\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer Authorization",   BYTES("0\r\nAuthorization: Bearer x\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer x-api-key",       BYTES("0\r\nX: y\r\nx-api-key: k\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer Connection",      BYTES("0\r\nConnection: close\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer without a colon", BYTES("0\r\nX\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer without a name",  BYTES("0\r\n: y\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer, space in name",  BYTES("0\r\nX y: z\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer, space in front", BYTES("0\r\n X: z\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer, space behind",   BYTES("0\r\nX : z\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer, folded",         BYTES("0\r\nX: y\r\n z\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer, LF ends it",     BYTES("0\r\nX: y\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer, CR in it",       BYTES("0\r\nX: y\rz\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer, NUL in it",      BYTES("0\r\nX: y\0\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer, NUL in name",    BYTES("0\r\nX\0: y\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"trailer, obs-text name",  BYTES("0\r\n\xe9: y\r\n\r\n"), BODY_BAD, NULL, NULL},
    {"request for a trailer",   BYTES("0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), BODY_BAD, NULL, NULL},
};
/* clang-format on */

struct outcome {
    enum body_result result;
    char data[64];
    size_t data_len, behind_at; /* where in the input the body ended */
    uint64_t total;
};

/* Feed <in> in pieces: up to <first>, then <step> bytes each, in memory of just their size. */
static struct outcome feed(enum body_kind kind, uint64_t length, struct text in, size_t first,
                           size_t step)
{
    struct body body;
    struct outcome out = {.result = BODY_WAIT};
    size_t at = 0, piece = first;
    body_init(&body, kind, length);
    do {
        struct fault why = {.kind = FAULT_NONE};
        struct text data, bytes;
        if (piece > in.len - at)
            piece = in.len - at;
        char *copy = malloc(piece ? piece : 1);
        memcpy(copy, in.at + at, piece);
        bytes = (struct text){copy, piece};
        while ((out.result = body_next(&body, &bytes, &data, &why)) == BODY_DATA) {
            assert_true(data.len > 0 && out.data_len + data.len < sizeof(out.data));
            memcpy(out.data + out.data_len, data.at, data.len);
            out.data_len += data.len;
        }
        assert_int_equal(why.kind, out.result == BODY_BAD ? FAULT_BAD_HTTP : FAULT_NONE);
        at += piece - bytes.len;
        out.behind_at = at;
        free(copy);
        piece = step;
    } while (out.result == BODY_WAIT && at < in.len);
    out.total = body.total;
    return out;
}

static void check(const struct test_case *item, size_t first, size_t step)
{
    struct text in = {item->at, item->len};
    struct outcome out = feed(BODY_CHUNKED, 0, in, first, step);
    if (out.result != item->want)
        fail_msg("%s, %zu then %zu: %d instead of %d", item->about, first, step, out.result,
                 item->want);
    if (out.result == BODY_BAD)
        return;
    assert_string_equal(out.data, item->data);
    assert_int_equal(out.total, out.data_len);
    assert_string_equal(in.at + out.behind_at, item->behind);
}

static void chunks_are_judged_at_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(chunked) / sizeof(chunked[0]); i++) {
        for (size_t cut = 0; cut <= chunked[i].len; cut++)
            check(&chunked[i], cut, chunked[i].len);
        check(&chunked[i], 0, 1);
    }
}

static void a_length_is_kept(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 9; cut++) {
        struct outcome out = feed(BODY_LENGTH, 5, TEXT("helloGET"), cut, 3);
        assert_int_equal(out.result, BODY_END);
        assert_string_equal(out.data, "hello");
    }
    assert_int_equal(feed(BODY_LENGTH, 5, TEXT("hell"), 4, 1).result, BODY_WAIT);
    assert_int_equal(feed(BODY_LENGTH, 0, TEXT("x"), 1, 1).result, BODY_END);
    assert_int_equal(feed(BODY_LENGTH, INT64_MAX, TEXT("x"), 1, 1).result, BODY_WAIT);
    assert_int_equal(feed(BODY_NONE, 7, TEXT("GET"), 3, 1).result, BODY_END);
    assert_int_equal(feed(BODY_NONE, 7, TEXT("GET"), 3, 1).behind_at, 0);
}

static void the_end_needs_no_more_bytes(void **state)
{
    struct body body;
    struct text bytes = TEXT("ab"), data;
    struct fault why;
    (void)state;
    body_init(&body, BODY_LENGTH, 2);
    assert_false(body_may_end_here(&body));
    assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_DATA);
    assert_int_equal(bytes.len, 0);
    assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_END);
    assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_END);
    assert_true(body_may_end_here(&body));
}

static void only_a_body_to_the_close_may_be_cut(void **state)
{
    struct body body;
    struct text bytes = TEXT("ab"), data;
    struct fault why;
    (void)state;
    body_init(&body, BODY_TO_CLOSE, 0);
    assert_true(body_may_end_here(&body));
    assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_DATA);
    assert_int_equal(data.len, 2);
    assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_WAIT);
    assert_int_equal(body.total, 2);
    body_init(&body, BODY_CHUNKED, 0);
    bytes = TEXT("1\r\na\r\n0\r\n\r");
    while (body_next(&body, &bytes, &data, &why) == BODY_DATA)
        assert_false(body_may_end_here(&body));
    assert_false(body_may_end_here(&body));
    bytes = TEXT("\n");
    assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_END);
    assert_true(body_may_end_here(&body));
}

static void what_is_broken_stays_broken(void **state)
{
    struct body body;
    struct text bytes = TEXT("x"), data;
    struct fault why;
    (void)state;
    body_init(&body, BODY_CHUNKED, 0);
    assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_BAD);
    bytes = TEXT("0\r\n\r\n");
    assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_BAD);
    bytes = TEXT("");
    assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_BAD);
    assert_false(body_may_end_here(&body));
}

/* Trailers of <len> bytes, without the line that ends them. */
static enum body_result judge_trailers(size_t len)
{
    char *z = malloc(len + 16);
    struct body body;
    struct text bytes = {z, len + 7}, data;
    struct fault why;
    memset(z, 'v', len + 16);
    memcpy(z, "0\r\nX:", sizeof("0\r\nX:") - 1);
    memcpy(z + 3 + len, "\r\n\r\n", sizeof("\r\n\r\n") - 1);
    body_init(&body, BODY_CHUNKED, 0);
    enum body_result result = body_next(&body, &bytes, &data, &why);
    free(z);
    return result;
}

static void trailers_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(judge_trailers(8000), BODY_END);
    assert_int_equal(judge_trailers(8200), BODY_BAD);
}

static void chunk_heads_are_read_back(void **state)
{
    static const uint64_t lengths[] = {1, 9, 10, 15, 16, 255, 256, 4095, 65536, (uint64_t)1 << 60};
    char head[BODY_CHUNK_HEAD_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct body body;
        struct text bytes = {head, body_chunk_head(lengths[i], head)}, data;
        struct fault why;
        body_init(&body, BODY_CHUNKED, 0);
        assert_int_equal(body_next(&body, &bytes, &data, &why), BODY_WAIT);
        assert_true(body.left == lengths[i]);
    }
    assert_int_equal(body_chunk_head(0x1a2b, head), 6);
    assert_memory_equal(head, "1a2b\r\n", 6);
    assert_int_equal(body_chunk_head(UINT64_MAX, head), 18);
}

/* Chunks are put together where they stand: whatever their sizes, the data is one text. */
static void chunks_are_taken_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *in, *data, *behind;
        enum body_result result;
    } rows[] = {
        {"5\r\nhello\r\n0\r\n\r\nnext", "hello", "next", BODY_END},
        {"1\r\nh\r\n1\r\ne\r\n3\r\nllo\r\n0\r\n\r\n", "hello", "", BODY_END},
        {"1\r\nh\r\n4\r\nel", "hel", "", BODY_WAIT},
        {"3\r\nhel\r\n2\r", "hel", "", BODY_WAIT},
        {"3\r\nhel\r\nx\r\n", "hel", NULL, BODY_BAD},
        {"", "", "", BODY_WAIT},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char bytes[64];
        struct body body;
        struct fault why;
        struct text data;
        strcpy(bytes, rows[i].in);
        struct text rest = text_of(bytes);
        body_init(&body, BODY_CHUNKED, 0);
        assert_int_equal(body_take(&body, &rest, &data, &why), rows[i].result);
        assert_true(text_equal(data, text_of(rows[i].data)));
        if (rows[i].behind)
            assert_true(text_equal(rest, text_of(rows[i].behind)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_taken_at_once),
        cmocka_unit_test(chunks_are_judged_at_every_cut),
        cmocka_unit_test(a_length_is_kept),
        cmocka_unit_test(the_end_needs_no_more_bytes),
        cmocka_unit_test(only_a_body_to_the_close_may_be_cut),
        cmocka_unit_test(what_is_broken_stays_broken),
        cmocka_unit_test(trailers_are_bounded),
        cmocka_unit_test(chunk_heads_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
