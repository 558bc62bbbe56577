/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/frame.h"

#include <string.h>

#include "gateway/base/buffer.h"
#include "gateway/base/hash.h"
#include "gateway/http/sse.h"

/* ------------------------------------------------------------------------------------ SSE */

/* The data of an event; more lines than one are joined behind what is in <scratch>. */
static bool take_event(const struct sse_event *event, struct buffer *scratch, struct frame *frame)
{
    *frame = (struct frame){.name = event->name, .kind = {"", 0}, .data = event->data};
    if (event->lines < 2)
        return true;
    char *room = buffer_room(scratch, event->raw.len);
    if (room)
        frame->data = (struct text){room, sse_data(event, room)};
    return room != NULL;
}

/* What is left at the very end, which no empty line closes. */
static enum frame_result last_event(struct text *bytes, struct buffer *scratch, struct frame *frame)
{
    struct sse_event event;
    if (!bytes->len)
        return FRAME_MORE;
    /* Room for its data too, so that nothing moves when they are joined. */
    if (!buffer_room(scratch, 2 * bytes->len + 4))
        return FRAME_BAD;
    buffer_append_text(scratch, *bytes);
    buffer_append_text(scratch, TEXT("\n\n"));
    *bytes = text_from(*bytes, bytes->len);
    struct text closed = buffer_text(scratch);
    while (sse_next(&closed, &event)) /* a byte order mark alone on its line is one of nothing */
        if (event.lines > 0)
            return take_event(&event, scratch, frame) ? FRAME_HERE : FRAME_BAD;
    return FRAME_MORE;
}

static enum frame_result next_event(struct text *bytes, size_t seen, bool last,
                                    struct buffer *scratch, struct frame *frame)
{
    struct sse_event event;
    buffer_clear(scratch);
    /* Only what trickles in is looked through for its end first: of a row of events each would cost
     * as much as all that are behind it. */
    bool ends = !seen || sse_whole_after(*bytes, seen) > 0;
    while (ends && bytes->len && sse_next(bytes, &event))
        if (event.lines)
            return take_event(&event, scratch, frame) ? FRAME_HERE : FRAME_BAD;
    if (last)
        return last_event(bytes, scratch, frame);
    return bytes->len > FRAME_MAX ? FRAME_BAD : FRAME_MORE;
}

/* ---------------------------------------------------------------------------------- lines */

static enum frame_result next_line(struct text *bytes, size_t seen, bool last, struct frame *frame)
{
    while (bytes->len) {
        const char *from = bytes->at + (seen < bytes->len ? seen : 0);
        const char *newline = memchr(from, '\n', bytes->len - (size_t)(from - bytes->at));
        if (!newline && !last)
            return bytes->len > FRAME_MAX ? FRAME_BAD : FRAME_MORE;
        size_t len = newline ? (size_t)(newline - bytes->at) : bytes->len;
        struct text line = text_head(*bytes, len);
        *bytes = text_from(*bytes, len + 1);
        seen = 0;
        while (line.len && (line.at[line.len - 1] == '\r' || line.at[line.len - 1] == ' '))
            line.len--;
        if (!line.len)
            continue;
        *frame = (struct frame){.name = {"", 0}, .kind = {"", 0}, .data = line};
        return FRAME_HERE;
    }
    return FRAME_MORE;
}

/* ------------------------------------------------------------------------------------ AWS */

enum { AWS_PRELUDE = 12, AWS_FRAME_MIN = 16, AWS_STRING = 7 };

static uint32_t read_u32(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static uint32_t checksum(const char *at, size_t len)
{
    return hash_crc32((struct text){at, len});
}

/* Bytes of the value of a header by its type; strings and byte arrays say their own. */
static size_t value_bytes(unsigned char type, struct text rest)
{
    static const unsigned char fixed[] = {0, 0, 1, 2, 4, 8, 0, 0, 8, 16};
    if (type == 6 || type == AWS_STRING)
        return rest.len < 2
                   ? SIZE_MAX
                   : 2u + ((size_t)(unsigned char)rest.at[0] << 8 | (unsigned char)rest.at[1]);
    return type < sizeof(fixed) ? fixed[type] : SIZE_MAX;
}

static bool read_headers(struct text rest, struct frame *frame)
{
    while (rest.len) {
        size_t name_len = (unsigned char)rest.at[0];
        if (rest.len < name_len + 2)
            return false;
        struct text name = {rest.at + 1, name_len};
        unsigned char type = (unsigned char)rest.at[1 + name_len];
        rest = text_from(rest, name_len + 2);
        size_t len = value_bytes(type, rest);
        if (len > rest.len)
            return false;
        struct text value = {rest.at, len};
        rest = text_from(rest, len);
        if (type != AWS_STRING)
            continue;
        value = text_from(value, 2);
        if (text_equal(name, TEXT(":event-type")) || text_equal(name, TEXT(":exception-type")))
            frame->name = value;
        else if (text_equal(name, TEXT(":message-type")))
            frame->kind = value;
    }
    return true;
}

static enum frame_result next_message(struct text *bytes, struct frame *frame)
{
    if (bytes->len < AWS_PRELUDE)
        return FRAME_MORE;
    size_t total = read_u32(bytes->at), headers = read_u32(bytes->at + 4);
    if (checksum(bytes->at, 8) != read_u32(bytes->at + 8) || total < AWS_FRAME_MIN ||
        total > FRAME_MAX || headers > total - AWS_FRAME_MIN)
        return FRAME_BAD;
    if (bytes->len < total)
        return FRAME_MORE;
    if (checksum(bytes->at, total - 4) != read_u32(bytes->at + total - 4))
        return FRAME_BAD;
    *frame = (struct frame){.name = {"", 0}, .kind = {"", 0}};
    if (!read_headers((struct text){bytes->at + AWS_PRELUDE, headers}, frame))
        return FRAME_BAD;
    frame->data = (struct text){bytes->at + AWS_PRELUDE + headers, total - headers - AWS_FRAME_MIN};
    *bytes = text_from(*bytes, total);
    return FRAME_HERE;
}

size_t frame_whole_aws(struct text bytes)
{
    size_t whole = 0;
    while (bytes.len - whole >= AWS_PRELUDE) {
        size_t total = read_u32(bytes.at + whole);
        if (total < AWS_FRAME_MIN || total > FRAME_MAX || total > bytes.len - whole)
            break;
        whole += total;
    }
    return whole;
}

static void put_u32(struct buffer *out, size_t number)
{
    char bytes[4] = {(char)(number >> 24), (char)(number >> 16), (char)(number >> 8), (char)number};
    buffer_append(out, bytes, sizeof(bytes));
}

static void put_header(struct buffer *out, struct text name, struct text value)
{
    char name_len = (char)name.len;
    char head[3] = {AWS_STRING, (char)(value.len >> 8), (char)value.len};
    buffer_append(out, &name_len, 1);
    buffer_append_text(out, name);
    buffer_append(out, head, sizeof(head));
    buffer_append_text(out, value);
}

void frame_put_aws(struct buffer *out, struct text kind, struct text name, struct text json)
{
    struct buffer headers;
    buffer_init(&headers, 1024);
    bool event = text_equal(kind, TEXT("event"));
    put_header(&headers, event ? TEXT(":event-type") : TEXT(":exception-type"), name);
    put_header(&headers, TEXT(":content-type"), TEXT("application/json"));
    put_header(&headers, TEXT(":message-type"), kind);
    size_t begin = buffer_length(out), total = AWS_FRAME_MIN + buffer_length(&headers) + json.len;
    put_u32(out, total);
    put_u32(out, buffer_length(&headers));
    put_u32(out, checksum(buffer_text(out).at + begin, 8));
    buffer_append_text(out, buffer_text(&headers));
    buffer_append_text(out, json);
    put_u32(out, checksum(buffer_text(out).at + begin, total - 4));
    buffer_done(&headers);
}

enum frame_result frame_next(enum framing framing, struct text *bytes, size_t seen, bool last,
                             struct buffer *scratch, struct frame *frame)
{
    switch (framing) {
    case FRAMING_SSE:
        return next_event(bytes, seen, last, scratch, frame);
    case FRAMING_LINES:
        return next_line(bytes, seen, last, frame);
    case FRAMING_AWS:
        return next_message(bytes, frame);
    }
    return FRAME_BAD;
}
