/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/sse.h"

/* How far memchr() looks at a time. Bounded, because a search for an LF that never comes must not
 * be made anew over all bytes for each CR. */
enum { WINDOW_BYTES = 512 };

static inline bool is_end(char byte)
{
    return byte == '\n' || byte == '\r';
}

/* Whole events when lines may end in CR: byte by byte, from the end down to <floor>. */
static size_t whole_with_cr(struct text bytes, size_t floor)
{
    for (size_t i = bytes.len; i-- > floor;) {
        size_t line = i; /* where the line end at i begins */
        if (!is_end(bytes.at[i]))
            continue;
        if (bytes.at[i] == '\r' && (i + 1 == bytes.len || bytes.at[i + 1] == '\n'))
            continue;
        if (bytes.at[i] == '\n' && i > 0 && bytes.at[i - 1] == '\r')
            line--;
        if (line == 0 || is_end(bytes.at[line - 1]))
            return i + 1;
    }
    return 0;
}

size_t sse_whole_after(struct text bytes, size_t seen)
{
    size_t floor = seen > 0 ? seen - 1 : 0; /* a CR there may have been left for later */
    if (bytes.len <= seen)
        return 0;
    if (memchr(bytes.at + floor, '\r', bytes.len - floor))
        return whole_with_cr(bytes, floor);
    for (size_t end = bytes.len; end > floor;) {
        const char *lf = memrchr(bytes.at + floor, '\n', end - floor);
        if (!lf)
            return 0;
        end = (size_t)(lf - bytes.at);
        if (end == 0 || lf[-1] == '\n')
            return end + 1;
    }
    return 0;
}

size_t sse_whole(struct text bytes)
{
    return sse_whole_after(bytes, 0);
}

/* Take a line off the front of <rest>, without its end; false when none ends there. */
static bool next_line(struct text *rest, struct text *line)
{
    size_t from = 0, window, at;
    do {
        window = rest->len - from < WINDOW_BYTES ? rest->len - from : WINDOW_BYTES;
        if (window == 0)
            return false;
        const char *lf = memchr(rest->at + from, '\n', window);
        at = lf ? (size_t)(lf - rest->at) : from + window;
        const char *cr = memchr(rest->at + from, '\r', at - from);
        if (cr)
            at = (size_t)(cr - rest->at);
        from += window;
    } while (at == from);
    *line = text_head(*rest, at);
    bool is_pair = rest->at[at] == '\r' && at + 1 < rest->len && rest->at[at + 1] == '\n';
    *rest = text_from(*rest, at + 1 + is_pair);
    return true;
}

/* Is <line> the field <name>? Its value, without the one space that may stand in front of it. */
static bool read_field(struct text line, struct text name, struct text *value)
{
    if (!text_starts(line, name))
        return false;
    line = text_from(line, name.len);
    if (line.len > 0 && line.at[0] != ':')
        return false;
    *value = text_from(line, line.len > 1 && line.at[1] == ' ' ? 2 : 1);
    return true;
}

/* Some senders begin with a byte order mark. */
static struct text without_mark(struct text bytes)
{
    return text_starts(bytes, TEXT("\xEF\xBB\xBF")) ? text_from(bytes, 3) : bytes;
}

bool sse_next(struct text *bytes, struct sse_event *event)
{
    struct text rest = without_mark(*bytes), line, value;
    event->name = event->data = (struct text){NULL, 0};
    event->lines = 0;
    for (;;) {
        if (!next_line(&rest, &line))
            return false;
        if (line.len == 0)
            break;
        if (read_field(line, TEXT("data"), &value)) {
            if (event->lines++ == 0)
                event->data = value;
        } else if (read_field(line, TEXT("event"), &value)) {
            event->name = value;
        }
    }
    event->raw = text_head(*bytes, bytes->len - rest.len);
    *bytes = rest;
    return true;
}

size_t sse_data(const struct sse_event *event, char *out)
{
    struct text rest = without_mark(event->raw), line, value;
    size_t len = 0;
    unsigned lines = 0;
    while (next_line(&rest, &line)) {
        if (!read_field(line, TEXT("data"), &value))
            continue;
        if (lines++ > 0)
            out[len++] = '\n';
        if (value.len > 0)
            memcpy(out + len, value.at, value.len);
        len += value.len;
    }
    return len;
}
