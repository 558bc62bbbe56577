/* SPDX-License-Identifier: Apache-2.0 */

/* A client of libnghttp2 on one side, a server that reads and writes HTTP/1.1 on the other. */

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/buffer.h"
#include "gateway/http/h2.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { STREAMS = 8, HEAD_BYTES = 4096, SECOND_US = 1000000 };

/* What the server knows of a stream. */
struct served {
    struct h2_stream *stream;
    unsigned news; /* bits of enum h2_news */
};

struct pair {
    struct h2 *h2;
    nghttp2_session *client;
    uint64_t now_us;
    bool refuses;
    struct served served[STREAMS];
    size_t count;
    /* what the client was told, of its last stream */
    char status[8], field[64];
    struct buffer body;
    bool ended, held; /* <held>: it takes nothing */
    uint32_t reset;   /* UINT32_MAX = it was not */
    uint32_t goaway;  /* the same */
    unsigned informational;
};

static void on_news(void *with, struct h2_stream *stream, enum h2_news news)
{
    struct pair *pair = with;
    if (news == H2_BEGUN && pair->refuses) {
        h2_refuse(stream);
        return;
    }
    if (news == H2_BEGUN) {
        assert_true(pair->count < STREAMS);
        struct served *served = &pair->served[pair->count++];
        served->stream = stream;
        h2_own(stream, served);
        assert_ptr_equal(h2_with(stream), pair);
    }
    struct served *served = h2_owner(stream);
    served->news |= 1U << news;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                     void *with)
{
    struct pair *pair = with;
    (void)session, (void)frame, (void)flags;
    if (name_bytes == 7 && !memcmp(name, ":status", 7)) {
        snprintf(pair->status, sizeof(pair->status), "%.*s", (int)value_bytes, value);
        pair->informational += value[0] == '1';
    } else if (name_bytes == 3 && !memcmp(name, "x-a", 3)) {
        snprintf(pair->field, sizeof(pair->field), "%.*s", (int)value_bytes, value);
    } else {
        assert_false(name_bytes == 10 && !memcmp(name, "connection", 10));
        assert_false(name_bytes == 17 && !memcmp(name, "transfer-encoding", 17));
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t length, void *with)
{
    struct pair *pair = with;
    (void)flags;
    buffer_append(&pair->body, bytes, length);
    if (!pair->held)
        nghttp2_session_consume(session, id, length);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *with)
{
    struct pair *pair = with;
    (void)session;
    bool carries = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (carries && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        pair->ended = true;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        pair->reset = frame->rst_stream.error_code;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        pair->goaway = frame->goaway.error_code;
    return 0;
}

/* Until neither has anything to say. */
static void pump(struct pair *pair)
{
    static char out[2 * H2_PRODUCE_MIN];
    for (bool more = true; more;) {
        const uint8_t *bytes;
        ssize_t length = nghttp2_session_mem_send(pair->client, &bytes);
        assert_true(length >= 0);
        more = length > 0;
        if (more)
            h2_receive(pair->h2, (struct text){(const char *)bytes, (size_t)length}, pair->now_us);
        size_t made = h2_produce(pair->h2, out, sizeof(out), pair->now_us);
        more |= made > 0;
        assert_int_equal(nghttp2_session_mem_recv(pair->client, (uint8_t *)out, made), made);
    }
}

static int set_up(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    pair->now_us = SECOND_US;
    pair->reset = pair->goaway = UINT32_MAX;
    buffer_init(&pair->body, 1 << 24);
    struct h2_settings settings = {STREAMS, HEAD_BYTES, on_news, pair};
    pair->h2 = h2_new(&settings, pair->now_us);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_http_messaging(option, 1); /* it sends what it is told */
    nghttp2_session_client_new2(&pair->client, callbacks, pair, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(pair->client, 0, NULL, 0);
    assert_int_equal(h2_head_since(pair->h2), SECOND_US);
    pump(pair);
    assert_int_equal(h2_head_since(pair->h2), 0);
    *state = pair;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *pair = *state;
    h2_free(pair->h2);
    for (size_t i = 0; i < pair->count; i++)
        if (pair->served[i].stream) {
            assert_true(pair->served[i].news & 1U << H2_GONE);
            assert_null(h2_with(pair->served[i].stream));
            h2_close(pair->served[i].stream, false);
        }
    nghttp2_session_del(pair->client);
    buffer_done(&pair->body);
    free(pair);
    return 0;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), 0};
}

/* A body for the client to send: <left> bytes of 'x', in the end of which it may be held back. */
static struct upload {
    size_t left;
    bool open;
} upload;

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *into, size_t length,
                       uint32_t *flags, nghttp2_data_source *source, void *with)
{
    (void)session, (void)id, (void)source, (void)with;
    size_t n = upload.left < length ? upload.left : length;
    if (n == 0 && upload.open)
        return NGHTTP2_ERR_DEFERRED;
    memset(into, 'x', n);
    upload.left -= n;
    if (upload.left == 0 && !upload.open)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int32_t ask(struct pair *pair, const char *method, const nghttp2_nv *more, size_t count,
                   bool has_body)
{
    nghttp2_nv fields[16] = {nv(":method", method), nv(":path", "/v1/x?y"), nv(":scheme", "http"),
                             nv(":authority", "a.test")};
    for (size_t i = 0; i < count; i++)
        fields[4 + i] = more[i];
    nghttp2_data_provider body = {.read_callback = on_read};
    pair->ended = false;
    pair->reset = UINT32_MAX;
    buffer_clear(&pair->body);
    int32_t id = nghttp2_submit_request(pair->client, NULL, fields, 4 + count,
                                        has_body ? &body : NULL, NULL);
    pump(pair);
    return id;
}

static const char *read_all(struct h2_stream *stream)
{
    static char bytes[1 << 20];
    size_t at = 0;
    ssize_t got;
    while ((got = h2_read(stream, bytes + at, 1000)) > 0)
        at += (size_t)got;
    bytes[at] = '\0';
    return bytes;
}

static ssize_t write_words(struct pair *pair, struct h2_stream *stream, const char *words)
{
    struct iovec piece = {(void *)(uintptr_t)words, strlen(words)};
    ssize_t taken = h2_write(stream, &piece, 1);
    pump(pair);
    return taken;
}

static void leave(struct pair *pair, size_t which, bool at_once)
{
    h2_close(pair->served[which].stream, at_once);
    pair->served[which].stream = NULL;
    pump(pair);
}

static void test_a_call(void **state)
{
    struct pair *pair = *state;
    nghttp2_nv more[] = {nv("x-b", "c"), nv("cookie", "a=1"), nv("te", "trailers"),
                         nv("cookie", "b=2"), nv("host", "A.test")};
    ask(pair, "GET", more, 5, false);
    struct h2_stream *stream = pair->served[0].stream;
    assert_true(h2_has_more(stream));
    assert_string_equal(read_all(stream), "GET /v1/x?y HTTP/1.1\r\nhost: a.test\r\nx-b: c\r\n"
                                          "cookie: a=1; b=2\r\nconnection: close\r\n\r\n");
    assert_int_equal(h2_read(stream, pair, H2_READ_MIN), H2_WAIT);
    assert_true(write_words(pair, stream, "HTTP/1.1 100 Continue\r\n\r\n") > 0);
    assert_int_equal(pair->informational, 1);
    const char words[] = "HTTP/1.1 200 OK\r\nX-A: b\r\nconnection: close\r\nTransfer-Encoding: "
                         "chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
    for (size_t i = 0; i < sizeof(words) - 1; i++) {
        struct iovec piece = {(void *)(uintptr_t)&words[i], 1};
        assert_int_equal(h2_write(stream, &piece, 1), 1);
    }
    leave(pair, 0, false);
    assert_string_equal(pair->status, "200");
    assert_string_equal(pair->field, "b");
    assert_true(text_equal(buffer_text(&pair->body), TEXT("helloyou")));
    assert_true(pair->ended && pair->reset == UINT32_MAX);
    assert_int_equal(h2_stream_count(pair->h2), 0);
}

static void test_bodies(void **state)
{
    struct pair *pair = *state;
    nghttp2_nv length[] = {nv("content-length", "5")};
    upload = (struct upload){5, false};
    ask(pair, "POST", length, 1, true);
    assert_string_equal(read_all(pair->served[0].stream),
                        "POST /v1/x?y HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n"
                        "connection: close\r\n\r\nxxxxx");
    upload = (struct upload){5, false};
    ask(pair, "POST", NULL, 0, true);
    assert_string_equal(read_all(pair->served[1].stream),
                        "POST /v1/x?y HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n"
                        "connection: close\r\n\r\n5\r\nxxxxx\r\n0\r\n\r\n");
    ask(pair, "POST", NULL, 0, false);
    assert_string_equal(read_all(pair->served[2].stream),
                        "POST /v1/x?y HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n"
                        "connection: close\r\n\r\n");
    write_words(pair, pair->served[2].stream, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_true(pair->ended && pair->body.end == 0);
    ask(pair, "HEAD", NULL, 0, false);
    write_words(pair, pair->served[3].stream, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
    assert_true(pair->ended && pair->body.end == 0);
    ask(pair, "GET", NULL, 0, false);
    write_words(pair, pair->served[4].stream, "HTTP/1.1 200 OK\r\n\r\nto the end");
    assert_false(pair->ended);
    h2_shut(pair->served[4].stream);
    pump(pair);
    assert_true(pair->ended);
    assert_int_equal(h2_read(pair->served[4].stream, pair, H2_READ_MIN), H2_BROKEN);
    assert_true(text_equal(buffer_text(&pair->body), TEXT("to the end")));
}

static void test_what_is_not_whole_is_reset(void **state)
{
    struct pair *pair = *state;
    ask(pair, "GET", NULL, 0, false);
    write_words(pair, pair->served[0].stream, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
    leave(pair, 0, false);
    assert_int_equal(pair->reset, NGHTTP2_INTERNAL_ERROR);
    assert_true(text_equal(buffer_text(&pair->body), TEXT("half")));
    ask(pair, "GET", NULL, 0, false);
    leave(pair, 1, false);
    assert_int_equal(pair->reset, NGHTTP2_REFUSED_STREAM); /* nobody has looked at it */
    ask(pair, "GET", NULL, 0, false);
    read_all(pair->served[2].stream);
    leave(pair, 2, true);
    assert_int_equal(pair->reset, NGHTTP2_INTERNAL_ERROR);
    ask(pair, "GET", NULL, 0, false);
    assert_int_equal(write_words(pair, pair->served[3].stream, "nonsense\r\n\r\n"), H2_BROKEN);
    assert_int_equal(pair->reset, NGHTTP2_INTERNAL_ERROR);
    pair->refuses = true;
    ask(pair, "GET", NULL, 0, false);
    assert_int_equal(pair->reset, NGHTTP2_REFUSED_STREAM);
}

static char *many_fields(size_t count)
{
    static const char begin[] = "HTTP/1.1 200 OK\r\n", field[] = "a: b\r\n";
    char *words = malloc(sizeof(begin) + count * (sizeof(field) - 1) + 16);
    char *at = stpcpy(words, begin);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, field);
    strcpy(at, "\r\nbody");
    return words;
}

/* The library does not send a head that may come to more than it is told, and says so to us only.
 */
static void test_a_head_that_cannot_be_sent_is_reset(void **state)
{
    struct pair *pair = *state;
    char *words = many_fields(12000); /* short here, long as HPACK at its worst */
    ask(pair, "GET", NULL, 0, false);
    write_words(pair, pair->served[0].stream, words);
    assert_int_equal(pair->reset, NGHTTP2_INTERNAL_ERROR);
    assert_true(pair->served[0].news & 1U << H2_GONE);
    assert_int_equal(write_words(pair, pair->served[0].stream, "more"), H2_BROKEN);
    free(words);
    words = many_fields(30000);
    ask(pair, "GET", NULL, 0, false);
    assert_int_equal(write_words(pair, pair->served[1].stream, words), H2_BROKEN);
    assert_int_equal(pair->reset, NGHTTP2_INTERNAL_ERROR);
    free(words);
}

/* Of one window both have their part. */
static void test_streams_take_turns(void **state)
{
    struct pair *pair = *state;
    enum { LENGTH = 60000, WINDOW = 65535 };
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n";
    static char words[2][sizeof(head) + LENGTH];
    pair->held = true;
    for (int i = 0; i < 2; i++) {
        memset(stpcpy(words[i], head), 'x' + i, LENGTH);
        ask(pair, "GET", NULL, 0, false);
    }
    for (size_t i = 0; i < 2; i++) {
        struct iovec piece = {words[i], sizeof(head) - 1 + LENGTH};
        assert_int_equal(h2_write(pair->served[i].stream, &piece, 1), piece.iov_len);
    }
    pump(pair);
    size_t firsts = 0, count = buffer_length(&pair->body);
    for (size_t i = 0; i < count; i++)
        firsts += buffer_text(&pair->body).at[i] == 'x';
    assert_int_equal(count, WINDOW);
    assert_in_range(firsts, WINDOW / 4, WINDOW * 3 / 4);
}

/* One frame of the client's, as no library would send it. */
static void send_raw(struct pair *pair, unsigned char type, unsigned char id)
{
    static char out[2 * H2_PRODUCE_MIN];
    char frame[] = {0, 0, 1, (char)type, 0, 0, 0, 0, (char)id, 0};
    h2_receive(pair->h2, (struct text){frame, sizeof(frame)}, pair->now_us);
    size_t made = h2_produce(pair->h2, out, sizeof(out), pair->now_us);
    nghttp2_session_mem_recv(pair->client, (uint8_t *)out, made);
}

/* RFC 9113 5.1. A client that has not heard yet that we ended a stream may go on, though. */
static void test_who_has_ended_a_stream_does_not_go_on(void **state)
{
    struct pair *pair = *state;
    upload = (struct upload){0, true};
    int32_t id = ask(pair, "POST", NULL, 0, true);
    leave(pair, 0, true);
    assert_int_equal(pair->reset, NGHTTP2_REFUSED_STREAM);
    send_raw(pair, NGHTTP2_DATA, (unsigned char)id);
    assert_false(h2_is_over(pair->h2));
    id = ask(pair, "GET", NULL, 0, false);
    write_words(pair, pair->served[1].stream, "HTTP/1.1 204 No Content\r\n\r\n");
    leave(pair, 1, false);
    assert_true(pair->ended);
    send_raw(pair, NGHTTP2_DATA, (unsigned char)id);
    assert_true(h2_is_over(pair->h2));
    assert_int_equal(pair->goaway, NGHTTP2_STREAM_CLOSED);
}

static void test_who_has_reset_a_stream_does_not_go_on(void **state)
{
    struct pair *pair = *state;
    upload = (struct upload){0, true};
    int32_t id = ask(pair, "POST", NULL, 0, true);
    nghttp2_submit_rst_stream(pair->client, 0, id, NGHTTP2_CANCEL);
    pump(pair);
    send_raw(pair, NGHTTP2_HEADERS, (unsigned char)id);
    assert_int_equal(pair->goaway, NGHTTP2_STREAM_CLOSED);
}

static void test_the_client_leaves(void **state)
{
    struct pair *pair = *state;
    int32_t id = ask(pair, "GET", NULL, 0, false);
    nghttp2_submit_rst_stream(pair->client, 0, id, NGHTTP2_CANCEL);
    pump(pair);
    assert_true(pair->served[0].news & 1U << H2_GONE);
    assert_int_equal(h2_read(pair->served[0].stream, pair, H2_READ_MIN), H2_BROKEN);
    assert_int_equal(write_words(pair, pair->served[0].stream, "HTTP/1.1 200 OK\r\n\r\n"),
                     H2_BROKEN);
    leave(pair, 0, false);
}

static void test_back_pressure(void **state)
{
    struct pair *pair = *state;
    static char much[1 << 20];
    memset(much, 'y', sizeof(much) - 1);
    ask(pair, "GET", NULL, 0, false);
    struct served *served = &pair->served[0];
    write_words(pair, served->stream, "HTTP/1.1 200 OK\r\ncontent-length: 1048575\r\n\r\n");
    pair->held = true;
    size_t sent = 0;
    ssize_t taken;
    while ((taken = write_words(pair, served->stream, much + sent)) > 0)
        sent += (size_t)taken;
    assert_int_equal(taken, H2_WAIT);
    assert_true(pair->body.end == 65535 && sent <= 65535 + (64 << 10)); /* a window, and ours */
    served->news = 0;
    nghttp2_session_consume(pair->client, 1, 65535);
    pair->held = false;
    pump(pair);
    assert_true(served->news & 1U << H2_ROOM);
    while (sent < sizeof(much) - 1) {
        taken = write_words(pair, served->stream, much + sent);
        assert_true(taken > 0);
        sent += (size_t)taken;
    }
    leave(pair, 0, false);
    assert_true(pair->ended && pair->body.end == sizeof(much) - 1);

    upload = (struct upload){1 << 20, false}; /* the other way */
    ask(pair, "POST", NULL, 0, true);
    assert_int_equal(upload.left, (1 << 20) - (256 << 10));
    while (read_all(pair->served[1].stream)[0])
        pump(pair);
    assert_int_equal(upload.left, 0);
}

static void test_answered_early(void **state)
{
    struct pair *pair = *state;
    const char refusal[] = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno";
    upload = (struct upload){10, true};
    int32_t id = ask(pair, "POST", NULL, 0, true);
    write_words(pair, pair->served[0].stream, refusal);
    leave(pair, 0, false);
    assert_true(pair->ended && pair->reset == UINT32_MAX);
    upload.open = false; /* it may still end it */
    nghttp2_session_resume_data(pair->client, id);
    pump(pair);
    assert_true(pair->reset == UINT32_MAX && h2_stream_count(pair->h2) == 0);

    upload = (struct upload){10, true}; /* or be told after a while */
    ask(pair, "POST", NULL, 0, true);
    write_words(pair, pair->served[1].stream, refusal);
    leave(pair, 1, false);
    h2_sweep(pair->h2, pair->now_us, 60 * SECOND_US);
    h2_sweep(pair->h2, pair->now_us + 2 * SECOND_US, 60 * SECOND_US);
    pump(pair);
    assert_int_equal(pair->reset, NGHTTP2_NO_ERROR);

    upload = (struct upload){1 << 20, false}; /* or when it goes on and on */
    ask(pair, "POST", NULL, 0, true);
    write_words(pair, pair->served[2].stream, refusal);
    leave(pair, 2, false);
    assert_int_equal(pair->reset, NGHTTP2_NO_ERROR);
    assert_true(upload.left > 1 << 19);
}

static void test_what_nobody_takes_is_given_up(void **state)
{
    struct pair *pair = *state;
    static char words[60000] = "HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n";
    pair->held = true;
    for (size_t i = 0; i < 2; i++) { /* the second one waits for the connection's window */
        memset(words + 42, 'z', 50000);
        ask(pair, "GET", NULL, 0, false);
        write_words(pair, pair->served[i].stream, words);
        leave(pair, i, false);
    }
    assert_int_equal(h2_stream_count(pair->h2), 1);
    h2_sweep(pair->h2, pair->now_us, SECOND_US);
    h2_sweep(pair->h2, pair->now_us + SECOND_US / 2, SECOND_US);
    pump(pair);
    assert_int_equal(h2_stream_count(pair->h2), 1);
    h2_sweep(pair->h2, pair->now_us + SECOND_US, SECOND_US);
    pump(pair);
    assert_int_equal(pair->reset, NGHTTP2_CANCEL);
}

static void test_the_end(void **state)
{
    struct pair *pair = *state;
    ask(pair, "GET", NULL, 0, false);
    h2_leave(pair->h2, true);
    pump(pair);
    assert_false(h2_is_over(pair->h2));
    h2_leave(pair->h2, false);
    pump(pair);
    assert_false(h2_is_over(pair->h2));
    write_words(pair, pair->served[0].stream, "HTTP/1.1 204 No Content\r\n\r\n");
    leave(pair, 0, false);
    assert_true(h2_is_over(pair->h2));
}

static void test_malformed(void **state)
{
    struct pair *pair = *state;
    nghttp2_nv bad[] = {
        nv("connection", "close"), nv("upgrade", "x"), nv("transfer-encoding", "chunked"),
        nv("x-a", "a\r\nb: c"),    nv("te", "gzip"),   nv(":path", "/"),
        nv("content-length", "x")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ask(pair, "GET", &bad[i], 1, false);
        if (pair->reset != NGHTTP2_PROTOCOL_ERROR)
            fail_msg("%s", bad[i].name);
    }
    assert_int_equal(pair->count, 0);
    static char large[HEAD_BYTES + 1];
    memset(large, 'a', HEAD_BYTES);
    nghttp2_nv much[] = {nv("x-a", large)};
    ask(pair, "GET", much, 1, false);
    const char *words = read_all(pair->served[0].stream);
    assert_true(strlen(words) > HEAD_BYTES && !strstr(words, "\r\n\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bodies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_not_whole_is_reset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_head_that_cannot_be_sent_is_reset, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_streams_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_has_ended_a_stream_does_not_go_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_who_has_reset_a_stream_does_not_go_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_client_leaves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_back_pressure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answered_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_nobody_takes_is_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_malformed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
