/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * websocket - watches the frames (RFC 6455 5.2) of one direction go by, cut anywhere, and gives
 * out whole text messages up to a limit. It does not change the bytes.
 */

#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/text.h"

struct websocket {
    unsigned char state, opcode, header_len;
    bool final, masked, broken, skipping;
    bool fragmented; /* a text or binary message has begun and not ended */
    unsigned char header[14];
    unsigned char mask[4];
    uint64_t left, offset;
    uint64_t lost; /* bytes of messages that were never given out; whoever counts them clears it */
    size_t whole;  /* so much of what was fed last ended with a whole message */
    struct buffer message; /* of the text message being put together; limit = the longest kept */
    void (*on_message)(struct websocket *ws, struct text message);
    void (*on_close)(struct websocket *ws);
};

void websocket_init(struct websocket *ws, size_t longest_message);
/* Feed the next bytes; on_message and on_close are called from here, and must not end <ws>. False
 * when it is no WebSocket any more, or bytes follow a Close frame (then stop feeding). */
bool websocket_feed(struct websocket *ws, struct text bytes);
void websocket_done(struct websocket *ws);
/* Has all that was fed ended with a whole message, so that another frame may follow? */
bool websocket_is_between(const struct websocket *ws);
/* Write the head of an unmasked text frame of <length> bytes; returns its length (at most 10). */
size_t websocket_text_head(uint64_t length, unsigned char out[10]);
/* Is it a Sec-WebSocket-Key: 16 bytes in base64? */
bool websocket_key_is_valid(struct text key);
/* The Sec-WebSocket-Accept that belongs to a Sec-WebSocket-Key (RFC 6455 4.2.2). <out> 29 bytes. */
void websocket_accept(struct text key, char out[29]);
