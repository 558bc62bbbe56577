/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/scan_kernel.h"
#include "gateway/base/utf8.h"
#include "policy/guard_inside.h"

enum { UNKNOWN_CHARACTER = 0xFFFD };

static unsigned read_four(const char *at)
{
    unsigned code = 0;
    for (size_t i = 0; i < 4; i++)
        code = code << 4 | (unsigned)scan_hex(at[i]);
    return code;
}

static unsigned letter(char escape)
{
    static const char names[] = "b\bf\fn\nr\rt\t";
    for (size_t i = 0; names[i]; i += 2)
        if (names[i] == escape)
            return (unsigned char)names[i + 1];
    return (unsigned char)escape;
}

void unit_read(const char *at, const char *end, struct unit *unit)
{
    unit->raw = scan_escape_length(at, end);
    unsigned code = '\\';
    if (unit->raw == 0)
        unit->raw = 1;
    else if (unit->raw == 2)
        code = letter(at[1]);
    else
        code = read_four(at + 2);
    bool high = unit->raw == 6 && code >= 0xD800 && code <= 0xDBFF;
    if (high && end - at >= 12 && at[6] == '\\' && scan_escape_length(at + 6, end) == 6) {
        unsigned low = read_four(at + 8);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            unit->raw = 12;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    if (code == 0 || (code >= 0xD800 && code <= 0xDFFF))
        code = UNKNOWN_CHARACTER;
    unit->plain = utf8_write(unit->bytes, code);
}

size_t text_unescape(struct text raw, char *out)
{
    const char *at = raw.at, *end = raw.at + raw.len;
    size_t len = 0;
    while (at < end) {
        const char *back = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((back ? back : end) - at);
        memcpy(out + len, at, plain);
        len += plain;
        at += plain;
        if (!back)
            break;
        struct unit unit;
        unit_read(at, end, &unit);
        memcpy(out + len, unit.bytes, unit.plain);
        len += unit.plain;
        at += unit.raw;
    }
    return len;
}

void text_mend(struct text raw, char *out)
{
    for (size_t i = 0; i < raw.len;) {
        size_t len = utf8_length(raw.at + i, raw.len - i);
        if (len == 0)
            out[i++] = '?';
        for (; len > 0; len--, i++)
            out[i] = raw.at[i];
    }
}

/* Move on while whole characters fit before the plain byte <plain>. */
static size_t seam_move(struct seam *seam, size_t plain, bool beyond)
{
    const char *end = seam->raw.at + seam->raw.len;
    while (seam->plain_at < plain && seam->raw_at < seam->raw.len) {
        const char *at = seam->raw.at + seam->raw_at;
        size_t left = (size_t)(end - at), want = plain - seam->plain_at;
        const char *back = seam->escaped ? memchr(at, '\\', want < left ? want : left) : NULL;
        size_t step = back ? (size_t)(back - at) : want < left ? want : left;
        seam->raw_at += step;
        seam->plain_at += step;
        if (!back)
            continue;
        struct unit unit;
        unit_read(back, end, &unit);
        if (seam->plain_at >= plain)
            break;
        if (seam->plain_at + unit.plain > plain && !beyond)
            break;
        seam->raw_at += unit.raw;
        seam->plain_at += unit.plain;
    }
    return seam->raw_at;
}

size_t seam_begin(struct seam *seam, size_t plain)
{
    return seam_move(seam, plain, false);
}

size_t seam_end(struct seam *seam, size_t plain)
{
    return seam_move(seam, plain, true);
}
