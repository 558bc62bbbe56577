/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/http/sse.h"
#include "policy/guard_inside.h"

/* The data of <parsed>, whose bytes are a copy of event->raw or that itself. */
static void take_data(struct event *event, const struct sse_event *parsed)
{
    event->data = (struct text){event->raw.at, 0};
    if (parsed->lines > 1) {
        event->joined = memory_new(parsed->raw.len);
        event->data = (struct text){event->joined, sse_data(parsed, event->joined)};
    } else if (parsed->lines == 1) {
        event->data.at = event->raw.at + (parsed->data.at - parsed->raw.at);
        event->data.len = parsed->data.len;
    }
}

static bool next_sse(struct text *rest, struct event *event)
{
    struct sse_event parsed;
    if (sse_next(rest, &parsed)) {
        event->raw = parsed.raw;
        take_data(event, &parsed);
        return true;
    }
    if (rest->len == 0)
        return false;
    /* The last event need not be followed by an empty line. */
    char *copy = memory_new(rest->len + 2);
    memcpy(copy, rest->at, rest->len);
    memcpy(copy + rest->len, "\n\n", 2);
    struct text ended = {copy, rest->len + 2};
    if (sse_next(&ended, &parsed))
        take_data(event, &parsed);
    memory_free(copy);
    *rest = text_from(*rest, rest->len);
    return true;
}

/* The next <len> bytes are an event with these data. */
static bool take_bytes(struct text *rest, struct event *event, size_t len, struct text data)
{
    event->raw = text_head(*rest, len);
    event->data = data;
    *rest = text_from(*rest, len);
    return true;
}

static bool next_line(struct text *rest, struct event *event)
{
    size_t end = text_find_byte(*rest, '\n');
    size_t len = end == SIZE_MAX ? rest->len : end + 1;
    return take_bytes(rest, event, len, text_trim(text_head(*rest, end)));
}

/* An object, with what stands before it; or what stands behind the last one. */
static bool next_item(struct text *rest, struct event *event)
{
    const char *end = rest->at + rest->len, *from = memchr(rest->at, '{', rest->len), *at = from;
    if (!from)
        return take_bytes(rest, event, rest->len, (struct text){rest->at, 0});
    for (size_t depth = 0; at < end; at++) {
        if (*at == '"')
            at = member_string_end(at, end);
        else if (*at == '{')
            depth++;
        else if (*at == '}' && --depth == 0)
            break;
        if (at == end)
            break;
    }
    at += at < end;
    return take_bytes(rest, event, (size_t)(at - rest->at),
                      (struct text){from, (size_t)(at - from)});
}

/* https://smithy.io/2.0/aws/amazon-eventstream.html: total and header length, a CRC of these,
 * headers, payload, a CRC of all, big-endian. */
enum { FRAME_HEAD = 12, FRAME_LEAST = 16 };

static uint32_t read_u32(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static bool is_frame(struct text bytes)
{
    if (bytes.len < FRAME_LEAST)
        return false;
    size_t total = read_u32(bytes.at);
    return total >= FRAME_LEAST && total <= bytes.len &&
           read_u32(bytes.at + 4) <= total - FRAME_LEAST;
}

/* What InvokeModel says is in base64: {"bytes":"..."}. */
static void decode(struct event *event)
{
    bool object = event->data.len && event->data.at[0] == '{';
    struct text coded =
        object ? member_string(member_find(event->data, TEXT("bytes"))) : (struct text){NULL, 0};
    if (!coded.len)
        return;
    char *plain = memory_new(3 * ((coded.len + 3) / 4));
    size_t len = hash_unbase64(coded, (uint8_t *)plain);
    if (len == 0 || len > coded.len) {
        memory_free(plain);
        return;
    }
    event->coded_at = (size_t)(coded.at - event->raw.at);
    event->coded_len = coded.len;
    event->joined = plain;
    event->data = (struct text){plain, len};
}

/* What is no frame is a text as it stands. */
static bool next_frame(struct text *rest, struct event *event)
{
    if (!is_frame(*rest))
        return take_bytes(rest, event, rest->len, *rest);
    size_t total = read_u32(rest->at), at = FRAME_HEAD + read_u32(rest->at + 4);
    take_bytes(rest, event, total, (struct text){rest->at + at, total - at - 4});
    decode(event);
    return true;
}

bool form_is_stream(enum guard_form form)
{
    return form >= GUARD_FORM_EVENTS;
}

bool event_next(struct text *rest, enum guard_form form, struct event *event)
{
    *event = (struct event){.form = form, .raw = *rest};
    if (form == GUARD_FORM_EVENTS)
        return next_sse(rest, event);
    if (!rest->len)
        return false;
    if (form == GUARD_FORM_FRAMES)
        return next_frame(rest, event);
    return form == GUARD_FORM_ITEMS ? next_item(rest, event) : next_line(rest, event);
}

void event_done(struct event *event)
{
    memory_free(event->joined);
    event->joined = NULL;
}

void event_texts(const struct event *event, bool (*take)(void *with, const struct found *found),
                 void *with)
{
    struct text data = text_trim(event->data);
    if (data.len == 0 || text_equal(data, TEXT("[DONE]")))
        return;
    struct found all = {.kind = TEXT_RAW, .raw = event->data};
    if (data.at[0] == '{' && scan_is_valid(data))
        texts_find(TEXTS_OF_EVENTS, event->data, take, with);
    else
        take(with, &all);
}

/* Each line of <data> as one of the event. */
static bool write_lines(struct text data, struct buffer *out)
{
    bool fits = true;
    for (bool last = false; !last && fits;) {
        size_t cut = text_find_byte(data, '\n');
        last = cut == SIZE_MAX;
        fits = buffer_append_text(out, TEXT("data: ")) &&
               buffer_append_text(out, text_head(data, cut)) && buffer_append_text(out, TEXT("\n"));
        data = text_from(data, last ? data.len : cut + 1);
    }
    return fits;
}

static size_t line_length(struct text raw)
{
    size_t end = 0;
    while (end < raw.len && raw.at[end] != '\n' && raw.at[end] != '\r')
        end++;
    if (end + 1 < raw.len && raw.at[end] == '\r' && raw.at[end + 1] == '\n')
        return end + 2;
    return end < raw.len ? end + 1 : end;
}

static bool splice(struct text raw, size_t at, size_t len, struct text with, struct buffer *out)
{
    return buffer_append(out, raw.at, at) && buffer_append_text(out, with) &&
           buffer_append_text(out, text_from(raw, at + len));
}

static void put_u32(struct buffer *out, size_t number)
{
    char bytes[4] = {(char)(number >> 24), (char)(number >> 16), (char)(number >> 8), (char)number};
    buffer_append(out, bytes, sizeof(bytes));
}

/* The frame <raw> with the bytes from <at> on, <len> of its payload, as <with>. */
static bool write_frame(struct text raw, size_t at, size_t len, struct text with,
                        struct buffer *out)
{
    struct buffer frame;
    buffer_init(&frame, SIZE_MAX / 2); /* not more than the event and its markers */
    put_u32(&frame, raw.len - len + with.len);
    buffer_append(&frame, raw.at + 4, 4);
    put_u32(&frame, hash_crc32(buffer_text(&frame)));
    splice(text_from(text_head(raw, raw.len - 4), FRAME_HEAD), at - FRAME_HEAD, len, with, &frame);
    put_u32(&frame, hash_crc32(buffer_text(&frame)));
    bool fits = buffer_append_text(out, buffer_text(&frame));
    buffer_done(&frame);
    return fits;
}

static bool write_coded(const struct event *event, struct text data, struct buffer *out)
{
    char *coded = memory_new(4 * ((data.len + 2) / 3) + 1);
    struct text text = {coded, hash_base64(data.at, data.len, coded)};
    bool fits = write_frame(event->raw, event->coded_at, event->coded_len, text, out);
    memory_free(coded);
    return fits;
}

bool event_write(const struct event *event, struct text data, struct buffer *out)
{
    struct text raw = event->raw;
    if (event->coded_len)
        return write_coded(event, data, out);
    size_t at = event->joined ? 0 : (size_t)(event->data.at - raw.at);
    if (event->form == GUARD_FORM_FRAMES && is_frame(raw))
        return write_frame(raw, at, event->data.len, data, out);
    if (event->form != GUARD_FORM_EVENTS ||
        (!event->joined && text_find_byte(data, '\n') == SIZE_MAX))
        return splice(raw, at, event->data.len, data, out);
    bool written = false, fits = true;
    while (raw.len && fits) {
        struct text line = text_head(raw, line_length(raw));
        raw = text_from(raw, line.len);
        if (!text_starts(line, TEXT("data")) || (line.len > 4 && !strchr(":\r\n", line.at[4]))) {
            fits = buffer_append_text(out, line);
        } else if (!written) {
            fits = write_lines(data, out);
            written = true;
        }
    }
    return fits;
}
