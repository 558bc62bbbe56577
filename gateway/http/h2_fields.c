/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/h2_fields.h"

#include "gateway/http/octets.h"

bool h2_is_clean_value(struct text value)
{
    const char *end = value.at + value.len;
    return octet_find_control(value.at, end) == end;
}

bool h2_is_clean_word(struct text word)
{
    for (size_t i = 0; i < word.len; i++)
        if ((unsigned char)word.at[i] <= ' ' || word.at[i] == 0x7F)
            return false;
    return word.len > 0;
}

bool h2_is_clean_name(struct text name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!octet_is(name.at[i], OCTET_TOKEN) || (name.at[i] >= 'A' && name.at[i] <= 'Z'))
            return false;
    return name.len > 0;
}

bool h2_is_of_connection(struct text name)
{
    return text_equal(name, TEXT("connection")) || text_equal(name, TEXT("keep-alive")) ||
           text_equal(name, TEXT("proxy-connection")) ||
           text_equal(name, TEXT("transfer-encoding")) || text_equal(name, TEXT("upgrade"));
}

void h2_put_line(struct buffer *to, struct text name, struct text value)
{
    buffer_append_text(to, name);
    buffer_append_text(to, TEXT(": "));
    buffer_append_text(to, value);
    buffer_append_text(to, TEXT("\r\n"));
}

struct text h2_next_line(struct text *rest)
{
    size_t end = text_find_byte(*rest, '\r');
    struct text line = text_head(*rest, end);
    *rest = text_from(*rest, end == SIZE_MAX ? rest->len : end + 2);
    return line;
}

size_t h2_count_lines(struct text head)
{
    size_t count = 0;
    for (size_t i = 0; i < head.len; i++)
        count += head.at[i] == '\n';
    return count;
}

nghttp2_nv h2_pair(struct text name, struct text value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.at,
                        .value = (uint8_t *)(uintptr_t)value.at,
                        .namelen = name.len,
                        .valuelen = value.len};
}

static void lower(struct text name)
{
    char *at = (char *)(uintptr_t)name.at; /* our own buffer */
    for (size_t i = 0; i < name.len; i++)
        if (at[i] >= 'A' && at[i] <= 'Z')
            at[i] |= 0x20;
}

size_t h2_read_fields(struct text rest, nghttp2_nv *pairs, struct h2_framing *framing)
{
    size_t count = 0;
    for (;;) {
        struct text line = h2_next_line(&rest);
        size_t colon = text_find_byte(line, ':');
        if (line.len == 0 || colon == SIZE_MAX)
            return count;
        struct text name = text_head(line, colon), value = text_trim(text_from(line, colon + 1));
        lower(name);
        framing->chunked |= text_equal(name, TEXT("transfer-encoding"));
        if (text_equal(name, TEXT("content-length")) &&
            !text_number(value, INT64_MAX, &framing->length))
            return 0;
        if (!h2_is_of_connection(name))
            pairs[count++] = h2_pair(name, value);
    }
}
