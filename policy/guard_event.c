/* SPDX-License-Identifier: Apache-2.0 */
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

bool event_next(struct text *rest, struct event *event)
{
    struct sse_event parsed;
    *event = (struct event){.raw = *rest};
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

bool event_write(const struct event *event, struct text data, struct buffer *out)
{
    struct text raw = event->raw;
    if (!event->joined && text_find_byte(data, '\n') == SIZE_MAX) {
        size_t at = (size_t)(event->data.at - raw.at);
        return buffer_append(out, raw.at, at) && buffer_append_text(out, data) &&
               buffer_append_text(out, text_from(raw, at + event->data.len));
    }
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
