/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A server's side of HTTP/2, while three calls are open: whatever it sends, each call is a row of
 * bytes in which an HTTP/1.1 reader finds one answer and nothing behind it, however the bytes are
 * cut; and what ends in 0 is whole.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/http/body.h"
#include "gateway/http/h2_client.h"
#include "gateway/http/head.h"

enum { CALLS = 3, READ_BYTES = 512, ROUNDS_MAX = 1000, PIECE_BYTES = 17 };

struct asked {
    struct h2_call *call;
    char head[H2_CALL_HEAD_BYTES + READ_BYTES];
    size_t length, sent;
    struct head_find find;
    struct body body;
    bool has_head, whole, gone, over;
};

static void on_news(void *owner, enum h2_call_news news)
{
    struct asked *one = owner;
    assert(!one->gone && one->call);
    one->gone = news == H2_CALL_GONE;
}

static void read_body(struct asked *one, struct text bytes)
{
    struct text data;
    struct fault why;
    enum body_result result = body_take(&one->body, &bytes, &data, &why);
    assert(result != BODY_BAD);
    one->whole = result == BODY_END;
    assert(!one->whole || bytes.len == 0 || one->body.kind != BODY_CHUNKED);
}

static void read_head(struct asked *one)
{
    static struct head head;
    size_t length;
    struct fault why;
    struct text bytes = {one->head, one->length};
    enum head_result result = head_find(&one->find, bytes, false, sizeof(one->head), &length, &why);
    assert(result != HEAD_WAIT || one->length < sizeof(one->head) - READ_BYTES);
    if (result == HEAD_WAIT)
        return;
    /* What HTTP/1.1 does not take is its reader's to refuse. */
    if (result == HEAD_BAD || !head_read_response(text_head(bytes, length), &head, &why)) {
        one->over = true;
        return;
    }
    assert(head.status >= 200 && head.minor == 1);
    bool none = head.status == 204 || head.status == 304;
    one->has_head = true;
    body_init(&one->body,
              none           ? BODY_NONE
              : head.chunked ? BODY_CHUNKED
                             : BODY_LENGTH,
              (uint64_t)(head.content_length > 0 ? head.content_length : 0));
    read_body(one, text_from(bytes, length));
}

static bool read_some(struct asked *one)
{
    char piece[READ_BYTES];
    if (one->over || one->whole)
        return false;
    ssize_t got = h2_call_read(one->call, piece, sizeof(piece));
    assert(got <= (ssize_t)sizeof(piece) && (got != H2_WAIT || !one->gone));
    assert(got != 0 || (one->has_head && body_may_end_here(&one->body)) || one->whole);
    one->over = got == H2_BROKEN || got == 0;
    if (got <= 0)
        return false;
    if (one->has_head) {
        read_body(one, (struct text){piece, (size_t)got});
        return true;
    }
    assert(one->length + (size_t)got <= sizeof(one->head));
    memcpy(one->head + one->length, piece, (size_t)got);
    one->length += (size_t)got;
    read_head(one);
    return true;
}

static bool ask(struct asked *one, size_t which)
{
    static const char *const requests[CALLS] = {
        "POST /v1/chat HTTP/1.1\r\nHost: up.test\r\nContent-Length: 5\r\n\r\nhello",
        "GET /v1/models HTTP/1.1\r\nHost: up.test\r\nConnection: close\r\n\r\n",
        ("POST /v1/files HTTP/1.1\r\nHost: up.test\r\nTransfer-Encoding: chunked\r\n\r\n"
         "5\r\nhello\r\n0\r\n\r\n")};
    size_t all = strlen(requests[which]), left = all - one->sent;
    size_t step = left < PIECE_BYTES ? left : PIECE_BYTES;
    if (left == 0)
        return false;
    struct iovec piece = {(char *)(uintptr_t)requests[which] + one->sent, step};
    ssize_t taken = h2_call_write(one->call, &piece, 1);
    if (taken == H2_BROKEN)
        one->sent = all;
    if (taken > 0)
        one->sent += (size_t)taken;
    return taken > 0;
}

static void work(struct h2_client *client, struct asked *asked)
{
    static char out[2 * H2_PRODUCE_MIN];
    bool more = true;
    for (int rounds = 0; more && rounds < ROUNDS_MAX; rounds++) {
        more = h2_client_produce(client, out, sizeof(out)) > 0;
        for (size_t i = 0; i < CALLS; i++) {
            struct asked *one = &asked[i];
            if (!one->call)
                continue;
            more |= ask(one, i) || read_some(one);
            if (one->over || one->whole) {
                h2_call_close(one->call);
                one->call = NULL;
            }
        }
    }
}

static void feed(struct text words, size_t step)
{
    static struct asked asked[CALLS];
    static const char begin[] = "\0\0\0\4\0\0\0\0\0";
    struct h2_client *client = h2_client_new(on_news);
    bool good = h2_client_receive(client, (struct text){begin, sizeof(begin) - 1});
    assert(good && h2_client_room(client) >= CALLS);
    for (size_t i = 0; i < CALLS; i++) {
        asked[i] = (struct asked){0};
        asked[i].call = h2_call_begin(client, &asked[i]);
    }
    work(client, asked);
    while (words.len && good) {
        struct text piece = text_head(words, step);
        char *copy = malloc(piece.len);
        memcpy(copy, piece.at, piece.len);
        good = h2_client_receive(client, (struct text){copy, piece.len});
        free(copy);
        if (step < 1024)
            work(client, asked);
        words = text_from(words, piece.len);
    }
    work(client, asked);
    h2_client_free(client);
    for (size_t i = 0; i < CALLS; i++)
        while (asked[i].call) {
            assert(asked[i].gone);
            if (read_some(&asked[i]))
                continue;
            h2_call_close(asked[i].call);
            asked[i].call = NULL;
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
