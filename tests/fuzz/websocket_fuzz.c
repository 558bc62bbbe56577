/* SPDX-License-Identifier: Apache-2.0 */

/*
 * WebSocket frames: the same messages and the same judgement however they are cut, and nothing
 * longer than the limit is kept. The first byte of the input says how it is cut, the second the
 * limit.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/http/websocket.h"

static uint64_t sum;
static size_t longest;

static void add(struct text t)
{
    for (size_t i = 0; i < t.len; i++)
        sum = (sum ^ (unsigned char)t.at[i]) * 0x100000001b3;
    sum = (sum ^ (t.len + 1)) * 0x100000001b3;
}

static void on_message(struct websocket *ws, struct text message)
{
    (void)ws;
    assert(message.len <= longest);
    add(message);
}

static void on_close(struct websocket *ws)
{
    (void)ws;
    sum = ~sum;
}

/* The sum of all that was told; its lowest bit says whether all went well. */
static uint64_t feed(struct text from, size_t first, size_t step)
{
    struct websocket ws;
    bool fine;
    size_t at = 0, piece = first;
    websocket_init(&ws, longest);
    ws.on_message = on_message;
    ws.on_close = on_close;
    sum = 0;
    do {
        if (piece > from.len - at)
            piece = from.len - at;
        char *copy = malloc(piece ? piece : 1);
        if (piece > 0)
            memcpy(copy, from.at + at, piece);
        fine = websocket_feed(&ws, (struct text){copy, piece});
        free(copy);
        assert(buffer_length(&ws.message) <= longest && ws.message.capacity <= longest);
        assert(fine || ws.message.capacity == 0);
        at += piece;
        piece = step;
    } while (fine && at < from.len);
    websocket_done(&ws);
    return sum << 1 | fine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 70000)
        return 0;
    struct text from = {(const char *)data + 2, size - 2};
    longest = data[1];
    uint64_t whole = feed(from, from.len, 1);
    assert(whole == feed(from, data[0] & 15, from.len + 1));
    assert(whole == feed(from, data[0], 7));
    if (size < 4096)
        assert(whole == feed(from, 0, 1));

    char accept[29];
    unsigned char head[10];
    struct text key = text_head(from, 80);
    websocket_accept(key, accept);
    assert(strlen(accept) == 28);
    assert(!websocket_key_is_valid(key) || key.len == 24);
    assert(websocket_text_head((uint64_t)size << (data[1] & 47), head) <= sizeof(head));
    return 0;
}
