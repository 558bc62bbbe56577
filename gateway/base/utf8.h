/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* utf8 - the one definition of a well-formed character (RFC 3629 4). Inline: it runs per byte. */

#include <stdbool.h>
#include <stddef.h>

static inline bool utf8_is_tail(unsigned char byte)
{
    return (byte & 0xC0) == 0x80;
}

/* How many of the <left> (at least 1) bytes at <at> make the first character: 1 to 4, or 0 when
 * they make none - cut short, longer than needed, a surrogate, or beyond U+10FFFF. */
static inline size_t utf8_length(const char *at, size_t left)
{
    const unsigned char *u = (const unsigned char *)at;
    if (u[0] < 0x80)
        return 1;
    if (u[0] < 0xC2 || u[0] > 0xF4 || left < 2 || !utf8_is_tail(u[1]))
        return 0;
    if (u[0] < 0xE0)
        return 2;
    if (left < 3 || !utf8_is_tail(u[2]))
        return 0;
    if (u[0] < 0xF0)
        return (u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F) ? 0 : 3;
    if (left < 4 || !utf8_is_tail(u[3]))
        return 0;
    return (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F) ? 0 : 4;
}

/* Write <code>, a Unicode scalar value, to <out>; returns the length, 1 to 4. */
static inline size_t utf8_write(char *out, unsigned code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}
