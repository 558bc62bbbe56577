/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/form.h"

bool form_put_escaped(struct buffer *out, struct text value)
{
    static const char hex[] = "0123456789ABCDEF";
    bool good = true;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     (c && strchr("-._~", c));
        char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};
        good &= buffer_append(out, plain ? (const char *)&c : escaped, plain ? 1 : sizeof(escaped));
    }
    return good;
}

bool form_put_pair(struct buffer *out, const char *name, struct text value)
{
    bool good = buffer_length(out) == 0 || buffer_append_text(out, TEXT("&"));
    good &= buffer_append_text(out, text_of(name)) && buffer_append_text(out, TEXT("="));
    return form_put_escaped(out, value) && good;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unescape(struct text raw, char *room, size_t bytes, struct text *value)
{
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        int byte = (unsigned char)raw.at[i];
        if (raw.at[i] == '+') {
            byte = ' ';
        } else if (raw.at[i] == '%') {
            int high = raw.len - i > 2 ? digit_of(raw.at[i + 1]) : -1;
            int low = raw.len - i > 2 ? digit_of(raw.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            byte = high << 4 | low;
            i += 2;
        }
        if (byte < ' ' || byte == 0x7f || len == bytes)
            return false;
        room[len++] = (char)byte;
    }
    *value = (struct text){room, len};
    return true;
}

enum form_result form_find(struct text query, struct text name, char *room, size_t bytes,
                           struct text *value)
{
    struct text rest = query, pair, raw = {NULL, 0};
    *value = (struct text){"", 0};
    while (rest.len > 0 && text_next(&rest, '&', &pair)) {
        size_t equals = text_find_byte(pair, '=');
        if (!text_equal(text_head(pair, equals), name))
            continue;
        if (raw.at)
            return FORM_BAD;
        raw = equals == SIZE_MAX ? (struct text){"", 0} : text_from(pair, equals + 1);
    }
    if (!raw.at)
        return FORM_ABSENT;
    if (unescape(raw, room, bytes, value))
        return FORM_FOUND;
    *value = (struct text){"", 0};
    return FORM_BAD;
}
