/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * short_string - the end of a string of JSON that is short and plain, seen without a call: most
 * names are, and many values.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/*
 * The closing quote of the string whose inside begins at <at>; NULL when it is not that simple:
 * when it is longer than a few words, stands near <end>, is not closed, or has an escape, a control
 * byte or anything beyond ASCII in it. Then the caller has to look for itself. Reads nothing behind
 * <end>.
 */
#ifdef __SSE2__
static inline const char *short_string_end(const char *at, const char *end)
{
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1F);
    enum { STEP = sizeof(quote), STEPS = 2 };
    for (int i = 0; i < STEPS && end - at >= STEP; i++, at += STEP) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i other = _mm_or_si128(_mm_cmpeq_epi8(bytes, slash),
                                     _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes));
        unsigned quotes = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, quote));
        unsigned others = (unsigned)_mm_movemask_epi8(_mm_or_si128(other, bytes)); /* and wide */
        if (others & (quotes ^ (quotes - 1))) /* before the quote, or at all */
            return NULL;
        if (quotes)
            return at + __builtin_ctz(quotes);
    }
    return NULL;
}
#else
static inline const char *short_string_end(const char *at, const char *end)
{
    const uint64_t each = 0x0101010101010101U, tops = 0x8080808080808080U;
    if (end - at < 8 || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
        return NULL;
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    uint64_t quote = word ^ (each * '"'), slash = word ^ (each * '\\');
    /* The lowest bit of each of these is true; those above it may not be. */
    uint64_t quotes = (quote - each) & ~quote & tops;
    uint64_t others =
        ((slash - each) & ~slash & tops) | (word & tops) | ((word - each * 0x20) & ~word & tops);
    bool is_simple = quotes && (others & (quotes ^ (quotes - 1))) == 0;
    return is_simple ? at + __builtin_ctzll(quotes) / 8 : NULL;
}
#endif
