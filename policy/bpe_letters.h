/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * bpe_letters - what a character is, as far as splitting a text into pieces goes. Written by
 * policy/bpe/pack.py from what the regular expressions of OpenAI's library match.
 */

#include "gateway/base/utf8.h"

enum letter_class {
    LETTER_OTHER,
    LETTER_UPPER,   /* Lu, Lt */
    LETTER_LOWER,   /* Ll */
    LETTER_NEITHER, /* Lm, Lo: counts as both */
    LETTER_MARK,    /* M */
    LETTER_NUMBER,  /* N */
    LETTER_NEWLINE, /* CR, LF */
    LETTER_SPACE,   /* all other white space */
};

enum { LETTER_BLOCKS = 0x1100 };
/* The block of each 256 code points; then the blocks, 128 bytes each, the first in the low half. */
extern const unsigned char bpe_letters[];

/* What stands at <at>, before <end>; its length, at least 1, goes to <len>. Bytes that make no
 * character are others. */
static inline enum letter_class letter_at(const char *at, const char *end, size_t *len)
{
    const unsigned char *u = (const unsigned char *)at;
    unsigned code = u[0];
    *len = 1;
    if (code >= 0x80) {
        size_t length = utf8_length(at, (size_t)(end - at));
        if (!length)
            return LETTER_OTHER;
        *len = length;
        code &= 0xFFu >> (length + 1);
        for (size_t i = 1; i < length; i++)
            code = code << 6 | (u[i] & 0x3F);
    }
    const unsigned char *block = bpe_letters + LETTER_BLOCKS + (size_t)bpe_letters[code >> 8] * 128;
    return (enum letter_class)(block[(code & 0xFF) / 2] >> (code & 1) * 4 & 0xF);
}
