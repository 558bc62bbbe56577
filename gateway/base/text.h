/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * text - a borrowed slice of bytes.
 *
 * Passed by value. Owns nothing and promises no closing NUL: whoever gave it to you says how long
 * it stays valid. Print it with "%.*s", TEXT_ARGS(t).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
    const char *at;
    size_t len;
};

#define TEXT(literal) ((struct text){(literal), sizeof(literal) - 1})
#define TEXT_ARGS(t)  (int)(t).len, (t).at

static inline struct text text_of(const char *z)
{
    return (struct text){z, strlen(z)};
}

static inline bool text_equal(struct text a, struct text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* The eight bytes at <at>, as they lie there. */
static inline uint64_t text_word(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* Are the <len> bytes the same? For names that are both unknown to the compiler: there it is faster
 * than the call of memcmp() that text_equal() becomes. */
bool text_same(const char *a, const char *b, size_t len);

static inline bool text_same_name(struct text a, struct text b)
{
    return a.len == b.len && text_same(a.at, b.at, a.len);
}

/* Compare without regard to the case of ASCII letters. */
bool text_same_nocase(const char *a, const char *b, size_t len);

static inline bool text_starts_nocase(struct text t, struct text prefix)
{
    /* Most that are compared differ in their first letter. */
    return t.len >= prefix.len &&
           (prefix.len == 0 || (((t.at[0] ^ prefix.at[0]) & ~0x20) == 0 &&
                                text_same_nocase(t.at, prefix.at, prefix.len)));
}

static inline bool text_equal_nocase(struct text a, struct text b)
{
    return a.len == b.len && text_starts_nocase(a, b);
}

/* Is <name>, which may be any UTF-8, the name <plain> of ASCII to who compares names of JSON
 * without regard to case, as Go's package encoding/json does? There the long s and the Kelvin sign
 * are s and k. */
bool text_is_name(struct text name, struct text plain);

static inline bool text_starts(struct text t, struct text prefix)
{
    return t.len >= prefix.len && (prefix.len == 0 || memcmp(t.at, prefix.at, prefix.len) == 0);
}

static inline bool text_ends(struct text t, struct text suffix)
{
    return t.len >= suffix.len &&
           (suffix.len == 0 || memcmp(t.at + t.len - suffix.len, suffix.at, suffix.len) == 0);
}

/* The part of <t> from byte <from> on; empty when <from> is behind the end. */
static inline struct text text_from(struct text t, size_t from)
{
    if (from > t.len)
        from = t.len;
    return (struct text){t.at + from, t.len - from};
}

/* The first <len> bytes of <t>, or all of it. */
static inline struct text text_head(struct text t, size_t len)
{
    return (struct text){t.at, len < t.len ? len : t.len};
}

/* Without the spaces and tabs at both ends. */
struct text text_trim(struct text t);

/* Where <needle> first stands in <t>, or SIZE_MAX. */
size_t text_find(struct text t, struct text needle);

/* Where <byte> first stands in <t>, or SIZE_MAX. */
size_t text_find_byte(struct text t, char byte);

/*
 * Take the next item of a list such as "a, b, c" off the front of <rest>, without the white space
 * around it. Returns false when nothing is left. Items may be empty.
 */
bool text_next(struct text *rest, char separator, struct text *item);

/* <number> in decimal digits, in <room>. */
enum { TEXT_NUMBER_BYTES = 20 };
struct text text_write_number(uint64_t number, char room[TEXT_NUMBER_BYTES]);

/* The same at <at>, where room for the longest must be; returns where it ends. */
char *text_put_number(char *at, uint64_t number);

/* Read decimal digits only (no sign, no space, at least one) up to <max>; false otherwise. */
bool text_number(struct text t, uint64_t max, uint64_t *number);

/* Is <t> matched by <pattern>, in which '*' stands for any bytes? */
bool text_matches(struct text t, struct text pattern);

/* Edit distance (insert, delete, replace, swap neighbours), for "did you mean"; at most <limit>. */
unsigned text_distance(struct text a, struct text b, unsigned limit);
