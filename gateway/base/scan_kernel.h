/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * scan_kernel - the loops of scan and tap that see every byte, one set per instruction set.
 *
 * All sets give the same answers; scan_kernel_best() names the fastest one that runs here. None
 * reads a byte at or behind <end>.
 */

#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/scan.h"

/* Where the tap is in a value that is an object or array. */
struct scan_nest {
    unsigned depth; /* 2 or more */
    bool in_string;
    bool escape; /* a backslash takes the next byte with it, wherever it stands */
};

struct scan_kernel {
    const char *name;
    /* The closing quote of the string whose inside begins at <at>; NULL when there is none, or a
     * control character, a bad escape or what is not UTF-8 (RFC 3629 4) stands before it.
     * *has_escape is set when one is found, and says whether a backslash stands in the string. */
    const char *(*close_string)(const char *at, const char *end, bool *has_escape);
    /* For the tap, which takes JSON as it comes: the quote that ends the string we are in, or
     * <end>. *escape says that a backslash stood before <at>, and then before <end>. */
    const char *(*skip_string)(const char *at, const char *end, bool *escape);
    /* Also for the tap: the bracket with which <nest> comes back to depth 1, or the one with which
     * it gets deeper than SCAN_DEPTH_MAX, or <end>. Kinds of brackets are not told apart. */
    const char *(*skip_nested)(const char *at, const char *end, struct scan_nest *nest);
};

const struct scan_kernel *scan_kernel_best(void);

/* Every set that runs on this machine, the plain C one first, NULL behind the last (tests). */
const struct scan_kernel *const *scan_kernel_all(void);

/* The plain C set, for those that have nothing better for one of the loops. */
extern const struct scan_kernel scan_kernel_plain;

bool scan_is_utf8_plain(const char *at, const char *end);

/* The value of a hexadecimal digit, or -1. */
static inline int scan_hex(char c)
{
    unsigned char digit = (unsigned char)(c - '0'), letter = (unsigned char)((c | 0x20) - 'a');
    return digit < 10 ? digit : letter < 6 ? letter + 10 : -1;
}

/* The four digits of a \u escape, which is known to be valid. */
static inline unsigned scan_unit(const char *at)
{
    unsigned unit = 0;
    for (size_t i = 0; i < 4; i++)
        unit = unit << 4 | (unsigned)scan_hex(at[i]);
    return unit;
}

/* The length of the escape at <at>, which points to its backslash; 0 when it is not valid. */
static inline size_t scan_escape_length(const char *at, const char *end)
{
    if (end - at < 2)
        return 0;
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;
    case 'u':
        if (end - at < 6)
            return 0;
        return (scan_hex(at[2]) | scan_hex(at[3]) | scan_hex(at[4]) | scan_hex(at[5])) < 0 ? 0 : 6;
    default:
        return 0;
    }
}

/* The ways to find the next byte of interest in [at, end), or <end>, from which the slower sets are
 * built. All are constants where they are used, so that they are inlined. */
struct scan_finder {
    /* A quote, backslash or control character; *wide is set when a byte beyond ASCII was passed. */
    const char *(*find_special)(const char *at, const char *end, bool *wide);
    /* A quote or backslash. */
    const char *(*find_quote)(const char *at, const char *end);
    /* A quote, backslash or one of { } [ ]. */
    const char *(*find_bracket)(const char *at, const char *end);
    /* Are the bytes well-formed UTF-8? */
    bool (*is_utf8)(const char *at, const char *end);
};

#define SCAN_INLINE static inline __attribute__((always_inline))

SCAN_INLINE const char *scan_close_with(const struct scan_finder *finder, const char *at,
                                        const char *end, bool *has_escape)
{
    const char *begin = at;
    bool wide = false;
    *has_escape = false;
    for (;;) {
        at = finder->find_special(at, end, &wide);
        if (at == end)
            return NULL;
        if (*at != '\\')
            break;
        size_t len = scan_escape_length(at, end);
        if (len == 0)
            return NULL;
        *has_escape = true;
        at += len;
    }
    return *at == '"' && (!wide || finder->is_utf8(begin, at)) ? at : NULL;
}

SCAN_INLINE const char *scan_skip_string_with(const struct scan_finder *finder, const char *at,
                                              const char *end, bool *escape)
{
    while (at < end) {
        if (*escape) {
            *escape = false;
            at++;
            continue;
        }
        at = finder->find_quote(at, end);
        if (at == end || *at == '"')
            break;
        *escape = true;
        at++;
    }
    return at;
}

SCAN_INLINE const char *scan_skip_nested_with(const struct scan_finder *finder, const char *at,
                                              const char *end, struct scan_nest *nest)
{
    for (; at < end; at++) {
        if (nest->escape) {
            nest->escape = false;
            continue;
        }
        at = nest->in_string ? finder->find_quote(at, end) : finder->find_bracket(at, end);
        if (at == end)
            break;
        if (*at == '\\')
            nest->escape = true;
        else if (*at == '"')
            nest->in_string = !nest->in_string;
        else if (*at == '{' || *at == '[')
            nest->depth++;
        else
            nest->depth--;
        if (nest->depth == 1 || nest->depth > SCAN_DEPTH_MAX)
            break;
    }
    return at;
}
