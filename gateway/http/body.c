/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/body.h"

#include <assert.h>

#include "gateway/http/octets.h"

enum {
    IN_SIZE, /* of a chunk; line_len counts its digits */
    AT_SIZE_LF,
    IN_DATA, /* of a chunk, or of any other body */
    AT_DATA_CR,
    AT_DATA_LF,
    AT_TRAILER, /* the first byte of a line behind the last chunk */
    IN_TRAILER_NAME,
    IN_TRAILER_VALUE,
    AT_TRAILER_LF,
    AT_LAST_LF,
    AT_END,
    BROKEN,
};

enum { SIZE_DIGITS_MAX = 16, TRAILER_BYTES_MAX = 8192 };
static const uint64_t CHUNK_MAX = (uint64_t)1 << 60;

void body_init(struct body *body, enum body_kind kind, uint64_t length)
{
    *body = (struct body){.kind = kind, .state = IN_DATA};
    if (kind == BODY_CHUNKED)
        body->state = IN_SIZE;
    else if (kind == BODY_LENGTH)
        body->left = length;
    else if (kind == BODY_TO_CLOSE)
        body->left = UINT64_MAX;
    if (body->state == IN_DATA && body->left == 0)
        body->state = AT_END;
}

/* RFC 9110 6.5.1: what frames, routes or authenticates a message comes in its head or not at all.
 * We drop all trailers, so these would do no harm here; that they are sent is an attempt. */
static bool is_forbidden(const char *name, size_t len)
{
    static const struct text forbidden[] = {
        {"content-length", 14},
        {"transfer-encoding", 17},
        {"host", 4},
        {"connection", 10},
        {"trailer", 7},
        {"te", 2},
        {"upgrade", 7},
        {"expect", 6},
        {"authorization", 13},
        {"proxy-authorization", 19},
        {"cookie", 6},
        {"set-cookie", 10},
        {"x-api-key", 9},
        {"api-key", 7},
        {"x-goog-api-key", 14},
        {"content-type", 12},
        {"content-encoding", 16},
        {"content-range", 13},
        {"keep-alive", 10},
        {"www-authenticate", 16},
        {"proxy-authenticate", 18},
    };
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
        if (text_equal((struct text){name, len}, forbidden[i]))
            return true;
    return false;
}

static const char *take_size(struct body *body, char byte)
{
    if (octet_is(byte, OCTET_HEX)) {
        if (body->line_len == SIZE_DIGITS_MAX)
            return "The size of a chunk has more than 16 digits.";
        body->line_len++;
        body->left = body->left << 4 | octet_hex(byte);
        return body->left > CHUNK_MAX ? "The size of a chunk is beyond all reason." : NULL;
    }
    if (body->line_len == 0)
        return "A chunk does not begin with its size in hexadecimal digits.";
    if (byte == ';')
        return "Chunk extensions are not accepted.";
    if (byte != '\r')
        return "The size of a chunk is followed by something else than the end of its line.";
    body->line_len = 0;
    body->state = AT_SIZE_LF;
    return NULL;
}

static const char *take_name(struct body *body, char byte)
{
    if (octet_is(byte, OCTET_TOKEN)) {
        if (body->name_len < sizeof(body->name))
            body->name[body->name_len] = (char)(byte | 0x20);
        body->name_len +=
            body->name_len <= sizeof(body->name); /* once beyond: it is none of them */
        return NULL;
    }
    if (byte != ':')
        return "A trailer is not a name, a colon and a value.";
    body->state = IN_TRAILER_VALUE;
    return is_forbidden(body->name, body->name_len) ? "This field may not stand in a trailer."
                                                    : NULL;
}

static const char *take_trailer(struct body *body, char byte)
{
    if (body->line_len++ == TRAILER_BYTES_MAX)
        return "The trailers are too large.";
    if (body->state == IN_TRAILER_NAME)
        return take_name(body, byte);
    if (body->state == IN_TRAILER_VALUE) {
        if (byte == '\r')
            body->state = AT_TRAILER_LF;
        else if (octet_is_control(byte))
            return "There is a control byte in a trailer.";
        return NULL;
    }
    if (byte == '\r') {
        body->state = AT_LAST_LF;
        return NULL;
    }
    if (!octet_is(byte, OCTET_TOKEN))
        return "A trailer does not begin with a name.";
    body->state = IN_TRAILER_NAME;
    body->name_len = 0;
    return take_name(body, byte);
}

static const char *take_end_of_line(struct body *body, char byte)
{
    static const unsigned char next[] = {
        [AT_DATA_CR] = AT_DATA_LF,
        [AT_DATA_LF] = IN_SIZE,
        [AT_TRAILER_LF] = AT_TRAILER,
        [AT_LAST_LF] = AT_END,
    };
    if (byte != (body->state == AT_DATA_CR ? '\r' : '\n'))
        return body->state == AT_DATA_CR || body->state == AT_DATA_LF
                   ? "A chunk is longer than its size."
                   : "A line of the chunked body does not end in CR LF.";
    if (body->state == AT_SIZE_LF)
        body->state = body->left > 0 ? IN_DATA : AT_TRAILER;
    else
        body->state = next[body->state];
    return NULL;
}

/* Take one byte of the framing; NULL, or what is wrong. */
static const char *take_byte(struct body *body, char byte)
{
    switch (body->state) {
    case IN_SIZE:
        return take_size(body, byte);
    case AT_TRAILER:
    case IN_TRAILER_NAME:
    case IN_TRAILER_VALUE:
        return take_trailer(body, byte);
    case AT_SIZE_LF:
    case AT_DATA_CR:
    case AT_DATA_LF:
    case AT_TRAILER_LF:
    case AT_LAST_LF:
        return take_end_of_line(body, byte);
    default:
        return "The body is broken already.";
    }
}

static void take_data(struct body *body, struct text *bytes, struct text *data)
{
    size_t len = bytes->len < body->left ? bytes->len : (size_t)body->left;
    *data = text_head(*bytes, len);
    *bytes = text_from(*bytes, len);
    body->total += len;
    if (body->kind == BODY_TO_CLOSE)
        return;
    body->left -= len;
    if (body->left == 0)
        body->state = body->kind == BODY_CHUNKED ? AT_DATA_CR : AT_END;
}

enum body_result body_next(struct body *body, struct text *bytes, struct text *data,
                           struct fault *why)
{
    while (body->state != AT_END) {
        if (bytes->len == 0 && body->state != BROKEN)
            return BODY_WAIT;
        if (body->state == IN_DATA) {
            take_data(body, bytes, data);
            return BODY_DATA;
        }
        const char *problem = take_byte(body, bytes->len ? bytes->at[0] : '\0');
        if (problem) {
            body->state = BROKEN;
            fault_set(why, FAULT_BAD_HTTP, "%s", problem);
            return BODY_BAD;
        }
        *bytes = text_from(*bytes, 1);
    }
    return BODY_END;
}

enum body_result body_take(struct body *body, struct text *bytes, struct text *data,
                           struct fault *why)
{
    *data = (struct text){bytes->at, 0};
    for (;;) {
        struct text piece;
        enum body_result result = body_next(body, bytes, &piece, why);
        if (result != BODY_DATA)
            return result;
        if (data->len == 0)
            data->at = piece.at; /* the first stays where it is, and most often is the only one */
        char *end = (char *)(uintptr_t)data->at + data->len;
        if (piece.at != end)
            memmove(end, piece.at, piece.len);
        data->len += piece.len;
    }
}

bool body_may_end_here(const struct body *body)
{
    return body->state == AT_END || body->kind == BODY_TO_CLOSE;
}

size_t body_chunk_head(uint64_t length, char out[BODY_CHUNK_HEAD_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    size_t count = 1, at;
    assert(length > 0); /* a chunk of nothing would end the body */
    while (count < SIZE_DIGITS_MAX && length >> (4 * count))
        count++;
    for (at = 0; at < count; at++)
        out[at] = digits[length >> (4 * (count - 1 - at)) & 0xF];
    out[at++] = '\r';
    out[at++] = '\n';
    return at;
}
