/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A client's side of HTTP/2, behind the preface and its settings: whatever it sends, each stream is
 * a row of bytes in which an HTTP/1.1 reader finds one request and nothing behind it, however the
 * bytes are cut.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/http/body.h"
#include "gateway/http/h2.h"
#include "gateway/http/head.h"

enum { STREAMS_MAX = 64, HEAD_MAX = 4096, READ_BYTES = 512, ROUNDS_MAX = 1000 };

struct served {
    struct h2_stream *stream;
    char bytes[2 * HEAD_MAX + READ_BYTES];
    size_t length;
    struct head_find find;
    struct body body;
    bool has_head, refused, whole, gone, answered;
    size_t sent;
};

struct server {
    struct h2 *h2;
    struct served served[STREAMS_MAX];
    size_t count;
};

static void on_news(void *with, struct h2_stream *stream, enum h2_news news)
{
    struct server *server = with;
    if (news == H2_BEGUN) {
        if (server->count == STREAMS_MAX) {
            h2_refuse(stream);
            return;
        }
        struct served *one = &server->served[server->count++];
        *one = (struct served){.stream = stream};
        h2_own(stream, one);
        return;
    }
    struct served *one = h2_owner(stream);
    assert(one && one->stream == stream && !one->gone);
    one->gone = news == H2_GONE;
}

static void read_body(struct served *one, struct text bytes)
{
    struct text data;
    struct fault why;
    enum body_result result = body_take(&one->body, &bytes, &data, &why);
    /* Only what a trailer is called, or how much of them there is, may be wrong with it. */
    one->refused = result == BODY_BAD;
    assert(!one->refused || one->body.kind == BODY_CHUNKED);
    one->whole = result == BODY_END;
    assert(!one->whole || bytes.len == 0);
}

static void read_head(struct served *one)
{
    size_t length;
    struct fault why;
    struct text bytes = {one->bytes, one->length};
    enum head_result result = head_find(&one->find, bytes, true, HEAD_MAX, &length, &why);
    if (result == HEAD_WAIT)
        return;
    static struct head head;
    one->has_head = true;
    bool good = result == HEAD_DONE && head_read_request(text_head(bytes, length), &head, &why);
    if (!good) {
        one->refused = true;
        return;
    }
    assert(!head.keep_alive && !head.upgrade && head.minor == 1 && head.host.len > 0);
    enum body_kind kind = head.chunked              ? BODY_CHUNKED
                          : head.content_length > 0 ? BODY_LENGTH
                                                    : BODY_NONE;
    body_init(&one->body, kind, (uint64_t)head.content_length);
    read_body(one, text_from(bytes, length));
}

static bool read_some(struct served *one)
{
    char piece[READ_BYTES];
    ssize_t got = one->gone || one->refused ? H2_WAIT : h2_read(one->stream, piece, sizeof(piece));
    if (got <= 0)
        return false;
    assert(!one->whole && (size_t)got <= sizeof(piece));
    if (one->has_head) {
        read_body(one, (struct text){piece, (size_t)got});
        return true;
    }
    assert(one->length + (size_t)got <= sizeof(one->bytes));
    memcpy(one->bytes + one->length, piece, (size_t)got);
    one->length += (size_t)got;
    read_head(one);
    return true;
}

static bool answer(struct served *one)
{
    static const char words[] = "HTTP/1.1 100 Continue\r\n\r\n"
                                "HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
    if (one->gone || one->answered || !(one->whole || one->refused))
        return false;
    size_t left = sizeof(words) - 1 - one->sent, step = left < 17 ? left : 17;
    struct iovec piece = {(char *)(uintptr_t)words + one->sent, step};
    ssize_t taken = h2_write(one->stream, &piece, 1);
    if (taken <= 0)
        return false;
    one->sent += (size_t)taken;
    one->answered = one->sent == sizeof(words) - 1;
    return true;
}

static void serve(struct server *server, uint64_t now)
{
    static char out[2 * H2_PRODUCE_MIN];
    bool more = true;
    for (int rounds = 0; more && rounds < ROUNDS_MAX; rounds++) {
        more = h2_produce(server->h2, out, sizeof(out), now) > 0;
        for (size_t i = 0; i < server->count; i++) {
            struct served *one = &server->served[i];
            if (!one->stream)
                continue;
            more |= read_some(one) || answer(one);
            if (one->gone || one->answered) {
                h2_close(one->stream, one->refused);
                one->stream = NULL;
            }
        }
    }
}

static void feed(struct text words, size_t step)
{
    static struct server server;
    static const char begin[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    server.count = 0;
    struct h2_settings settings = {STREAMS_MAX / 2, HEAD_MAX, on_news, &server};
    uint64_t now = 1;
    server.h2 = h2_new(&settings, now);
    bool good = h2_receive(server.h2, (struct text){begin, sizeof(begin) - 1}, now);
    assert(good);
    while (words.len && good) {
        struct text piece = text_head(words, step);
        char *copy = malloc(piece.len);
        memcpy(copy, piece.at, piece.len);
        good = h2_receive(server.h2, (struct text){copy, piece.len}, now);
        free(copy);
        if (step < 1024)
            serve(&server, now);
        words = text_from(words, piece.len);
    }
    serve(&server, now);
    h2_sweep(server.h2, now += 1000, 500);
    h2_sweep(server.h2, now += 1000, 500);
    serve(&server, now);
    if (words.len % 2)
        h2_leave(server.h2, words.len % 4 == 1);
    h2_free(server.h2);
    for (size_t i = 0; i < server.count; i++)
        if (server.served[i].stream) {
            assert(server.served[i].gone);
            h2_close(server.served[i].stream, false);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text words = {(const char *)data, size};
    feed(words, size ? size : 1);
    feed(words, 7);
    return 0;
}
