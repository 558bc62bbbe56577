/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* octets - which byte may stand where in an HTTP head (RFC 9110 5.6.2, RFC 3986). Used within
 * gateway/http only. */

#include <stdbool.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum octet_class {
    OCTET_TOKEN = 1,  /* a method or a field name */
    OCTET_PATH = 2,   /* a request target up to the '?' */
    OCTET_QUERY = 4,  /* and behind it */
    OCTET_CLEAN = 8,  /* the only bytes of a path that is routed, but for '/' */
    OCTET_KEY = 16,   /* a credential */
    OCTET_HOST = 32,  /* a registered name; '_' is none by the letter, but containers have it */
    OCTET_DIGIT = 64, /* 0-9 */
    OCTET_HEX = 128,  /* 0-9 A-F a-f */
};

extern const unsigned char octet_classes[256];

static inline bool octet_is(char byte, enum octet_class kind)
{
    return (octet_classes[(unsigned char)byte] & kind) != 0;
}

static inline bool octet_is_control(char byte)
{
    return ((unsigned char)byte < 0x20 && byte != '\t') || byte == 0x7F;
}

/* The value of a hexadecimal digit that was checked to be one. */
static inline unsigned octet_hex(char digit)
{
    return ((unsigned)digit & 0xF) + (octet_is(digit, OCTET_DIGIT) ? 0 : 9);
}

enum { OCTETS_STEP = 16 };

/* Of the 16 bytes at <at>: bit i is set where at[i] is a control byte other than tab. */
#ifdef __SSE2__
static inline unsigned octet_controls(const char *at)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    const __m128i top = _mm_set1_epi8(0x1F);
    const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, top), bytes);
    const __m128i tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
    const __m128i deleted = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7F));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, low), deleted));
}
#else
static inline unsigned octet_controls(const char *at)
{
    unsigned mask = 0;
    for (unsigned i = 0; i < OCTETS_STEP; i++)
        mask |= (unsigned)octet_is_control(at[i]) << i;
    return mask;
}
#endif

/* The first control byte but tab in [at, end), or <end>. Every byte of a head goes through here
 * twice. */
static inline const char *octet_find_control(const char *at, const char *end)
{
    for (; end - at >= OCTETS_STEP; at += OCTETS_STEP) {
        unsigned mask = octet_controls(at);
        if (mask)
            return at + __builtin_ctz(mask);
    }
    while (at < end && !octet_is_control(*at))
        at++;
    return at;
}
