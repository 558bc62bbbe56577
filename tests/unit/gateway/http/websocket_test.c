/* SPDX-License-Identifier: Apache-2.0 */

/* Every stream of frames is fed whole, in two pieces cut at every byte, and byte by byte. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/websocket.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define BYTES(literal) (literal), sizeof(literal) - 1
enum { LONGEST = 16 };

struct test_case {
    const char *about, *at;
    size_t len;
    const char *events; /* messages in angle brackets, ! = closed */
    bool fine;
};

/* clang-format off */
static const struct test_case streams[] = {
    {"nothing",               BYTES(""), "", true},
    {"text",                  BYTES("\x81\x05hello"), "<hello>", true},
    {"two texts",             BYTES("\x81\x01" "a\x81\x01" "b"), "<a><b>", true},
    {"empty text",            BYTES("\x81\x00\x81\x01" "b"), "<><b>", true},
    {"masked (RFC 6455 5.7)", BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "<Hello>", true},
    {"masked, empty",         BYTES("\x81\x80\x37\xfa\x21\x3d"), "<>", true},
    {"fragments",             BYTES("\x01\x03Hel\x80\x02lo"), "<Hello>", true},
    {"three fragments",       BYTES("\x01\x01" "a\x00\x01" "b\x80\x01" "c"), "<abc>", true},
    {"an empty last one",     BYTES("\x01\x01" "a\x80\x00"), "<a>", true},
    {"a ping in between",     BYTES("\x01\x03Hel\x89\x01x\x80\x02lo"), "<Hello>", true},
    {"fragments, masked",     BYTES("\x01\x82\x01\x02\x03\x04\x60\x60\x80\x81\x01\x00\x00\x00\x62"), "<abc>", true},
    {"binary is passed over", BYTES("\x82\x02\x00\x01\x81\x01" "a"), "<a>", true},
    {"binary in fragments",   BYTES("\x02\x02xy\x80\x01z\x81\x01" "a"), "<a>", true},
    {"longest kept",          BYTES("\x81\x10" "0123456789abcdef"), "<0123456789abcdef>", true},
    {"too long is skipped",   BYTES("\x81\x11" "0123456789abcdefg\x81\x01" "a"), "<a>", true},
    {"too long in fragments", BYTES("\x01\x10" "0123456789abcdef\x00\x01x\x80\x01y\x81\x01" "a"), "<a>", true},
    {"too long, masked",      BYTES("\x81\x91\0\0\0\0" "0123456789abcdefg\x81\x01" "a"), "<a>", true},
    {"close",                 BYTES("\x88\x02\x03\xe8"), "!", true},
    {"close without a code",  BYTES("\x88\x00"), "!", true},
    {"text, then close",      BYTES("\x81\x01" "a\x88\x00"), "<a>!", true},
    {"close among fragments", BYTES("\x01\x01" "a\x88\x00"), "!", true},
    {"ping and pong",         BYTES("\x89\x00\x8a\x02xy"), "", true},
    {"half a frame",          BYTES("\x81\x05hel"), "", true},
    {"half a header",         BYTES("\x81\x7e\x00"), "", true},
    {"bytes behind a close",  BYTES("\x88\x00\x81\x01" "a"), "!", false},
    {"reserved bit 1",        BYTES("\xc1\x01" "a"), "", false},
    {"reserved bit 3",        BYTES("\x91\x01" "a"), "", false},
    {"opcode 3",              BYTES("\x83\x00"), "", false},
    {"opcode 11",             BYTES("\x8b\x00"), "", false},
    {"nothing to continue",   BYTES("\x80\x01" "a"), "", false},
    {"continued after its end", BYTES("\x81\x01" "a\x80\x01" "b"), "<a>", false},
    {"text in a text",        BYTES("\x01\x01" "a\x81\x01" "b"), "", false},
    {"binary in a text",      BYTES("\x01\x01" "a\x02\x01" "b"), "", false},
    {"ping in fragments",     BYTES("\x09\x00"), "", false},
    {"ping too long",         BYTES("\x89\x7e\x00\x7e"), "", false},
    {"length not shortest",   BYTES("\x81\x7e\x00\x7d"), "", false},
    {"length not shortest, 8", BYTES("\x81\x7f\0\0\0\0\0\0\xff\xff"), "", false},
    {"length 2^63",           BYTES("\x81\x7f\x80\0\0\0\0\0\0\0"), "", false},
    {"HTTP",                  BYTES("GET / HTTP/1.1\r\n"), "", false},
};
/* clang-format on */

static char events[256];

static void on_message(struct websocket *ws, struct text message)
{
    size_t len = strlen(events);
    (void)ws;
    snprintf(events + len, sizeof(events) - len, "<%.*s>", TEXT_ARGS(message));
}

static void on_close(struct websocket *ws)
{
    (void)ws;
    strncat(events, "!", sizeof(events) - strlen(events) - 1);
}

static void check(const struct test_case *item, size_t first, size_t step)
{
    struct websocket ws;
    bool fine = true;
    size_t at = 0, piece = first;
    websocket_init(&ws, LONGEST);
    ws.on_message = on_message;
    ws.on_close = on_close;
    events[0] = '\0';
    do {
        if (piece > item->len - at)
            piece = item->len - at;
        char *copy = malloc(piece ? piece : 1);
        memcpy(copy, item->at + at, piece);
        fine = websocket_feed(&ws, (struct text){copy, piece});
        free(copy);
        at += piece;
        piece = step;
    } while (fine && at < item->len);
    if (fine != item->fine || strcmp(events, item->events) != 0)
        fail_msg("%s, %zu then %zu: %s", item->about, first, step, events);
    if (!fine)
        assert_false(websocket_feed(&ws, TEXT("\x81\x01"
                                              "a")));
    websocket_done(&ws);
}

static void frames_are_read_at_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        for (size_t cut = 0; cut <= streams[i].len; cut++)
            check(&streams[i], cut, streams[i].len ? streams[i].len : 1);
        check(&streams[i], 0, 1);
    }
}

/* Every byte of a message is given out, or counted as lost. */
static void what_is_not_given_out_is_counted(void **state)
{
    static const struct {
        const char *at;
        size_t len, lost;
    } cases[] = {
        {BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), 0},
        {BYTES("\x01\x03Hel\x89\x01x\x80\x02lo"), 0},
        {BYTES("\x82\x02\x00\x01\x81\x01"
               "a"),
         2},
        {BYTES("\x81\x11"
               "0123456789abcdefg\x81\x01"
               "a"),
         17},
        {BYTES("\x81\x91\0\0\0\0"
               "0123456789abcdefg\x81\x81\0\0\0\0"
               "a"),
         17},
        {BYTES("\x01\x10"
               "0123456789abcdef\x00\x01x\x80\x01y\x81\x01"
               "a"),
         18},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t cut = 0; cut <= cases[i].len; cut++) {
            struct websocket ws;
            websocket_init(&ws, LONGEST);
            assert_true(websocket_feed(&ws, (struct text){cases[i].at, cut}));
            assert_true(websocket_feed(&ws, (struct text){cases[i].at + cut, cases[i].len - cut}));
            assert_int_equal(ws.lost, cases[i].lost);
            websocket_done(&ws);
        }
    }
}

static void all_is_lost_of_what_is_no_websocket(void **state)
{
    struct websocket ws;
    (void)state;
    websocket_init(&ws, LONGEST);
    assert_true(websocket_feed(&ws, TEXT("\x01\x03"
                                         "abc")));
    assert_false(websocket_feed(&ws, TEXT("\x83\x00"
                                          "defg")));
    assert_int_equal(ws.lost, 3 + 4);
    assert_false(websocket_feed(&ws, TEXT("hi")));
    assert_int_equal(ws.lost, 3 + 4 + 2);
    websocket_done(&ws);
}

static size_t last_length;

static void on_long_message(struct websocket *ws, struct text message)
{
    (void)ws;
    last_length = message.len;
}

/* What is written is read back; also lengths of two and of eight bytes. */
static void heads_are_read_back(void **state)
{
    static const size_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, 70000};
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct websocket ws;
        unsigned char head[10];
        char *payload = calloc(1, lengths[i] + 1);
        size_t len = websocket_text_head(lengths[i], head);
        websocket_init(&ws, 100000);
        ws.on_message = on_long_message;
        last_length = SIZE_MAX;
        assert_true(websocket_feed(&ws, (struct text){(char *)head, len}));
        assert_true(websocket_feed(&ws, (struct text){payload, lengths[i]}));
        assert_int_equal(last_length, lengths[i]);
        /* The same in two pieces goes through the buffer, which is not kept when it is large. */
        assert_true(websocket_feed(&ws, (struct text){(char *)head, len}));
        last_length = SIZE_MAX;
        assert_true(websocket_feed(&ws, (struct text){payload, lengths[i] / 2}));
        assert_true(websocket_feed(&ws, (struct text){payload, lengths[i] - lengths[i] / 2}));
        assert_int_equal(ws.message.capacity > 16384, false);
        if (lengths[i] > 0)
            assert_int_equal(last_length, lengths[i]);
        websocket_done(&ws);
        free(payload);
    }
}

static void the_handshake_is_answered(void **state)
{
    char out[29];
    (void)state;
    websocket_accept(TEXT("dGhlIHNhbXBsZSBub25jZQ=="), out); /* RFC 6455 1.3 */
    assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_true(websocket_key_is_valid(TEXT("dGhlIHNhbXBsZSBub25jZQ==")));
    assert_false(websocket_key_is_valid(TEXT("dGhlIHNhbXBsZSBub25jZR==")));
    assert_false(websocket_key_is_valid(TEXT("dGhlIHNhbXBsZSBub25jZQ=")));
    assert_false(websocket_key_is_valid(TEXT("dGhlIHNhbXBsZSBub25j\r\n==")));
    assert_false(websocket_key_is_valid(TEXT("dGhlIHNhbXBsZSBub25jZ\0==")));
    assert_false(websocket_key_is_valid(TEXT("")));
}

static void where_whole_messages_end_is_told(void **state)
{
    struct websocket ws;
    (void)state;
    websocket_init(&ws, LONGEST);
    assert_true(websocket_feed(&ws, TEXT("\x81\x01"
                                         "a"
                                         "\x81\x02"
                                         "b")));
    assert_int_equal(ws.whole, 3);
    assert_true(websocket_feed(&ws, TEXT("c")));
    assert_int_equal(ws.whole, 1);
    assert_true(websocket_feed(&ws, TEXT("\x01\x01"
                                         "d"
                                         "\x89\x00"))); /* a ping within it */
    assert_int_equal(ws.whole, 0);
    assert_true(websocket_feed(&ws, TEXT("\x80\x01"
                                         "e"
                                         "\x81")));
    assert_int_equal(ws.whole, 3);
    websocket_done(&ws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_read_at_every_cut),
        cmocka_unit_test(what_is_not_given_out_is_counted),
        cmocka_unit_test(all_is_lost_of_what_is_no_websocket),
        cmocka_unit_test(heads_are_read_back),
        cmocka_unit_test(where_whole_messages_end_is_told),
        cmocka_unit_test(the_handshake_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
