/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/h2_message.h"

#include <string.h>

/* ------------------------------------------------------------- what is written, to be sent */

void h2_outgoing_init(struct h2_outgoing *message, size_t head_bytes, size_t body_bytes)
{
    *message = (struct h2_outgoing){.state = H2_OUT_HEAD};
    buffer_init(&message->words, head_bytes);
    buffer_init(&message->out, body_bytes);
}

void h2_outgoing_done(struct h2_outgoing *message)
{
    buffer_done(&message->words);
    buffer_done(&message->out);
}

void h2_outgoing_cut(struct h2_outgoing *message)
{
    message->state = H2_OUT_CUT;
    h2_outgoing_done(message);
}

/* Up to the end of the head, or of one that goes before it. */
static size_t write_words(struct h2_outgoing *message, struct text bytes,
                          h2_send_head_fn *send_head, void *with)
{
    static const char end[] = "\r\n\r\n";
    size_t used = 0;
    while (used < bytes.len && message->line_at < sizeof(end) - 1) {
        char byte = bytes.at[used++];
        bool goes_on = byte == end[message->line_at];
        message->line_at = goes_on ? (unsigned char)(message->line_at + 1) : byte == '\r';
    }
    bool fits = buffer_append_text(&message->words, text_head(bytes, used));
    bool whole = message->line_at == sizeof(end) - 1;
    if (!fits || (whole && !send_head(with))) {
        h2_outgoing_cut(message);
        return bytes.len;
    }
    if (whole) {
        message->line_at = 0;
        buffer_done(&message->words);
    }
    return used;
}

/* Of a body's bytes those for which there is room. */
static size_t write_body(struct h2_outgoing *message, struct text bytes)
{
    size_t used = 0;
    for (;;) {
        size_t room = message->out.limit - buffer_length(&message->out);
        struct text part = text_head(text_from(bytes, used), room), data;
        size_t before = part.len;
        struct fault why;
        enum body_result result = body_next(&message->body, &part, &data, &why);
        used += before - part.len;
        if (result == BODY_DATA)
            buffer_append_text(&message->out, data);
        if (result == BODY_BAD)
            h2_outgoing_cut(message);
        if (result == BODY_END)
            message->state = H2_OUT_WHOLE;
        if (result == BODY_BAD || result == BODY_END)
            return bytes.len;
        if (result == BODY_WAIT && (used == bytes.len || before == 0))
            return used;
    }
}

size_t h2_outgoing_write(struct h2_outgoing *message, const struct iovec *pieces, int count,
                         h2_send_head_fn *send_head, void *with)
{
    size_t taken = 0;
    for (int i = 0; i < count && !message->wants_room; i++) {
        struct text bytes = {pieces[i].iov_base, pieces[i].iov_len};
        while (bytes.len && !message->wants_room) {
            size_t used = bytes.len;
            if (message->state == H2_OUT_HEAD) {
                used = write_words(message, bytes, send_head, with);
            } else if (message->state == H2_OUT_BODY) {
                used = write_body(message, bytes);
                message->wants_room = used < bytes.len;
            }
            bytes = text_from(bytes, used);
            taken += used;
        }
    }
    return taken;
}

ssize_t h2_outgoing_read(struct h2_outgoing *message, void *into, size_t room, uint32_t *flags)
{
    size_t taken = h2_take(&message->out, into, room);
    if (!buffer_length(&message->out) && message->state == H2_OUT_WHOLE) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (taken == 0) {
        if (message->state == H2_OUT_CUT)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets it */
        message->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)taken;
}

bool h2_outgoing_has_room_again(struct h2_outgoing *message)
{
    if (!message->wants_room || buffer_length(&message->out) > message->out.limit / 2)
        return false;
    message->wants_room = false;
    return true;
}

bool h2_outgoing_wakes(struct h2_outgoing *message)
{
    bool wakes = message->deferred;
    message->deferred = false;
    return wakes;
}

/* --------------------------------------------------------------- what has come, to be read */

size_t h2_take(struct buffer *from, void *into, size_t most)
{
    struct text have = text_head(buffer_text(from), most);
    memcpy(into, have.at, have.len);
    buffer_drop(from, have.len);
    if (!buffer_length(from))
        buffer_done(from);
    return have.len;
}

size_t h2_take_body(struct buffer *from, bool chunked, char *into, size_t room, size_t *taken)
{
    if (!chunked) {
        *taken = h2_take(from, into, room);
        return *taken;
    }
    size_t have = buffer_length(from), most = room - BODY_CHUNK_HEAD_BYTES - 2;
    size_t bytes = have < most ? have : most;
    size_t head = body_chunk_head(bytes, into);
    *taken = h2_take(from, into + head, bytes);
    memcpy(into + head + *taken, "\r\n", 2);
    return head + *taken + 2;
}
