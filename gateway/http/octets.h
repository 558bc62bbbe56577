/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* octets - which byte may stand where in an HTTP head (RFC 9110 5.6.2, RFC 3986). Used within
 * gateway/http only. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

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

/* The first control byte but tab in [at, end), or <end>. Eight bytes at a time: this is the loop
 * that every byte of a head goes through twice. */
static inline const char *octet_find_control(const char *at, const char *end)
{
    const uint64_t ones = 0x0101010101010101;
    for (; end - at >= 8; at += 8) {
        uint64_t word, below, deleted;
        memcpy(&word, at, sizeof(word));
        below = (word - ones * 0x20) & ~word;
        deleted = word ^ ones * 0x7F;
        deleted = (deleted - ones) & ~deleted;
        if (!((below | deleted) & ones * 0x80))
            continue;
        /* A tab, or a borrow from a neighbour, may have raised a false alarm. */
        for (unsigned i = 0; i < 8; i++)
            if (octet_is_control(at[i]))
                return at + i;
    }
    while (at < end && !octet_is_control(*at))
        at++;
    return at;
}
