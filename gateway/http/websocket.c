/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/websocket.h"

#include "gateway/base/hash.h"

/* RFC 6455 5.2 and 11.8 */
enum { CONTINUATION = 0, TEXT_FRAME = 1, BINARY_FRAME = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum { FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0F, MASK = 0x80, LENGTH = 0x7F };
enum { CONTROL_MAX = 125, KEEP_BYTES = 16384 };
enum { IN_HEADER, IN_PAYLOAD, CLOSED };

void websocket_init(struct websocket *ws, size_t longest_message)
{
    *ws = (struct websocket){.state = IN_HEADER};
    buffer_init(&ws->message, longest_message);
}

void websocket_done(struct websocket *ws)
{
    buffer_done(&ws->message);
}

bool websocket_is_between(const struct websocket *ws)
{
    return ws->state == IN_HEADER && ws->header_len == 0 && !ws->fragmented && !ws->broken;
}

static size_t header_bytes(const struct websocket *ws)
{
    unsigned length = ws->header[1] & LENGTH;
    return 2U + (length == 126 ? 2 : length == 127 ? 8 : 0) + (ws->header[1] & MASK ? 4 : 0);
}

/* May a frame of this kind stand here? Also opens and continues messages. */
static bool begin_frame(struct websocket *ws)
{
    if (ws->header[0] & RESERVED) /* no extension is ever agreed on through us */
        return false;
    ws->final = (ws->header[0] & FIN) != 0;
    ws->opcode = ws->header[0] & OPCODE;
    switch (ws->opcode) {
    case CONTINUATION:
        return ws->fragmented;
    case TEXT_FRAME:
    case BINARY_FRAME:
        if (ws->fragmented)
            return false;
        ws->fragmented = true; /* until its last frame has ended */
        ws->skipping = ws->opcode == BINARY_FRAME;
        buffer_clear(&ws->message);
        return true;
    case CLOSE:
    case PING:
    case PONG:
        return ws->final && (ws->header[1] & LENGTH) <= CONTROL_MAX;
    default:
        return false;
    }
}

/* The header is whole: read the length (in its shortest form) and the mask. */
static bool read_header(struct websocket *ws)
{
    unsigned length = ws->header[1] & LENGTH, at = 2, bytes = length == 126 ? 2 : 8;
    ws->left = length;
    if (length >= 126) {
        ws->left = 0;
        for (; at < 2 + bytes; at++)
            ws->left = ws->left << 8 | ws->header[at];
        if (ws->left >> 63 || ws->left < (length == 126 ? 126 : 65536))
            return false;
    }
    ws->masked = (ws->header[1] & MASK) != 0;
    if (ws->masked)
        memcpy(ws->mask, ws->header + at, 4);
    ws->offset = 0;
    ws->header_len = 0;
    ws->state = IN_PAYLOAD;
    return begin_frame(ws);
}

static bool is_control(const struct websocket *ws)
{
    return ws->opcode >= CLOSE;
}

/* Too long to be kept: let go of the memory too. */
static void skip(struct websocket *ws)
{
    ws->skipping = true;
    ws->lost += buffer_length(&ws->message);
    buffer_done(&ws->message);
}

static void keep(struct websocket *ws, struct text piece)
{
    if (is_control(ws) || piece.len == 0)
        return;
    char *room = ws->skipping ? NULL : buffer_room(&ws->message, piece.len);
    if (!room) {
        skip(ws);
        ws->lost += piece.len;
        return;
    }
    memcpy(room, piece.at, piece.len);
    for (size_t i = 0; ws->masked && i < piece.len; i++)
        room[i] = (char)(room[i] ^ (char)ws->mask[(ws->offset + i) & 3]);
    buffer_grow(&ws->message, piece.len);
}

static void end_frame(struct websocket *ws)
{
    ws->state = ws->opcode == CLOSE ? CLOSED : IN_HEADER;
    if (ws->opcode == CLOSE && ws->on_close)
        ws->on_close(ws);
    if (is_control(ws) || !ws->final)
        return;
    ws->fragmented = false;
    bool is_empty = buffer_length(&ws->message) == 0;
    if (!ws->skipping && ws->on_message)
        ws->on_message(ws, is_empty ? TEXT("") : buffer_text(&ws->message));
    if (ws->message.capacity > KEEP_BYTES)
        buffer_done(&ws->message);
    else
        buffer_clear(&ws->message);
}

/* A text message that lies there whole and unmasked needs no copy. */
static bool give_whole(struct websocket *ws, struct text payload)
{
    if (ws->opcode != TEXT_FRAME || !ws->final || ws->masked || ws->offset > 0 ||
        payload.len < ws->left || ws->left > ws->message.limit)
        return false;
    struct text message = text_head(payload, (size_t)ws->left);
    ws->skipping = true; /* given here, so not at the end of the frame */
    if (ws->on_message)
        ws->on_message(ws, message);
    return true;
}

static size_t take_payload(struct websocket *ws, struct text bytes)
{
    struct text piece = bytes.len < ws->left ? bytes : text_head(bytes, (size_t)ws->left);
    if (!give_whole(ws, piece))
        keep(ws, piece);
    ws->offset += piece.len;
    ws->left -= piece.len;
    if (ws->left == 0)
        end_frame(ws);
    return piece.len;
}

bool websocket_feed(struct websocket *ws, struct text bytes)
{
    size_t all = bytes.len;
    ws->whole = 0;
    while (bytes.len > 0 && !ws->broken) {
        size_t taken = 1;
        if (ws->state == IN_PAYLOAD) {
            taken = take_payload(ws, bytes);
        } else if (ws->state == CLOSED) {
            ws->broken = true;
        } else {
            ws->header[ws->header_len++] = (unsigned char)bytes.at[0];
            if (ws->header_len >= 2 && ws->header_len == header_bytes(ws)) {
                ws->broken = !read_header(ws);
                if (!ws->broken && ws->left == 0)
                    take_payload(ws, (struct text){bytes.at, 0});
            }
        }
        bytes = text_from(bytes, taken);
        if (websocket_is_between(ws))
            ws->whole = all - bytes.len;
    }
    if (ws->broken) {
        skip(ws);
        ws->lost += bytes.len;
    }
    return !ws->broken;
}

size_t websocket_text_head(uint64_t length, unsigned char out[10])
{
    unsigned bytes = length < 126 ? 0 : length < 65536 ? 2 : 8;
    out[0] = FIN | TEXT_FRAME;
    out[1] = (unsigned char)(bytes == 0 ? length : bytes == 2 ? 126 : 127);
    for (unsigned i = 0; i < bytes; i++)
        out[2 + i] = (unsigned char)(length >> (8 * (bytes - 1 - i)));
    return 2 + bytes;
}

bool websocket_key_is_valid(struct text key)
{
    /* 16 bytes in base64: 21 whole digits, one of which only two bits count, and the padding. */
    if (key.len != 24 || key.at[22] != '=' || key.at[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++) {
        char c = key.at[i];
        if (!(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
            c != '+' && c != '/')
            return false;
    }
    return strchr("AQgw", key.at[21]) != NULL;
}

void websocket_accept(struct text key, char out[29])
{
    static const struct text guid = {"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36};
    char both[64 + 36];
    uint8_t digest[20];
    key = text_head(key, 64);
    if (key.len > 0)
        memcpy(both, key.at, key.len);
    memcpy(both + key.len, guid.at, guid.len);
    hash_sha1((struct text){both, key.len + guid.len}, digest);
    hash_base64(digest, sizeof(digest), out);
}
