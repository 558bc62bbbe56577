/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/scan.h"
#include "gateway/base/scan_kernel.h"
#include "gateway/base/utf8.h"

/* The character that the \u escape at <at> stands for; *len gets 6, or 12 for two surrogates.
 * Zero when it is U+0000 or a lone surrogate. */
static unsigned read_code(const char *at, const char *end, size_t *len)
{
    unsigned unit = scan_unit(at + 2);
    *len = 6;
    if (unit < 0xD800 || unit > 0xDFFF)
        return unit;
    if (unit > 0xDBFF || end - at < 12 || at[6] != '\\' || at[7] != 'u')
        return 0;
    unsigned low = scan_unit(at + 8);
    if (low < 0xDC00 || low > 0xDFFF)
        return 0;
    *len = 12;
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
}

static char letter_of(char escape)
{
    switch (escape) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return escape;
    }
}

size_t scan_string(const struct scan_value *value, char *out)
{
    if (value->kind != SCAN_STRING)
        return SIZE_MAX;
    const char *at = value->raw.at + 1, *end = value->raw.at + value->raw.len - 1;
    char *to = out;
    while (at < end) {
        struct text rest = {at, (size_t)(end - at)};
        size_t plain = value->escaped ? text_find_byte(rest, '\\') : rest.len;
        plain = text_head(rest, plain).len;
        if (plain > 0)
            memcpy(to, at, plain);
        to += plain;
        at += plain;
        if (at == end)
            break;
        size_t len = 2;
        unsigned code = (unsigned char)letter_of(at[1]);
        if (at[1] == 'u')
            code = read_code(at, end, &len);
        if (code == 0)
            return SIZE_MAX;
        to += utf8_write(to, code);
        at += len;
    }
    return (size_t)(to - out);
}

bool scan_count(const struct scan_value *value, uint64_t max, uint64_t *count)
{
    return value->kind == SCAN_NUMBER && text_number(value->raw, max, count);
}
