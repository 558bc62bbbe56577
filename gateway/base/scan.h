/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * scan - JSON in one pass, without building a tree (RFC 8259).
 *
 * scan_json() validates a whole document - UTF-8, escapes, numbers, depth, nothing behind the end
 * - and finds the values that policy reads. What it accepts is what jansson accepts with
 * JSON_REJECT_DUPLICATES (fuzzed against it), but for: a duplicate key is refused only among the
 * names asked for, lone surrogate escapes and \u0000 in values are allowed (models emit them),
 * and numbers are checked as text, so any size is fine.
 *
 * tap_*() watches an answer go by, cut anywhere, and keeps the raw values of a few top-level
 * members; it never refuses.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/text.h"

enum scan_kind {
    SCAN_ABSENT,
    SCAN_NULL,
    SCAN_FALSE,
    SCAN_TRUE,
    SCAN_NUMBER,
    SCAN_STRING,
    SCAN_ARRAY,
    SCAN_OBJECT,
};

struct scan_value {
    enum scan_kind kind;
    struct text raw; /* as it stands in the document; a string with its quotes */
    bool escaped;    /* a string that has a backslash in it */
};

enum { SCAN_DEPTH_MAX = 128, SCAN_WANTS_MAX = 32 };

struct scan_problem {
    size_t at;        /* byte offset */
    const char *what; /* static, e.g. "a string is not closed" */
    const char *name; /* the wanted name it is about, or NULL */
    bool other_case;  /* it is written in another case */
};

/*
 * Validate <json>, which must be one object. wants[i] names a member of the top level ("model") or
 * one level below ("stream_options.include_usage"); its value goes to values[i] (SCAN_ABSENT when
 * there is none). A name in the document may be written with escapes ("\u006dodel"): it is
 * recognised. A wanted name that stands twice is a problem. Returns false and fills in <problem>
 * when the document is not valid. All texts borrow from <json>; problem->name borrows from <wants>,
 * whose names must be C strings (TEXT("model")) and at most SCAN_WANTS_MAX.
 */
bool scan_json(struct text json, const struct text *wants, size_t count, struct scan_value *values,
               struct scan_problem *problem);

/*
 * What was seen on the way, so that who reads the same document next need not look at each byte
 * again: where its long strings are, and whether a name stands in it.
 */
enum { SCAN_LONG_BYTES = 256 };

struct scan_long {
    uint32_t at, length; /* of its opening quote; from there to the closing one */
};

struct scan_outline {
    struct text document;    /* which it is about */
    struct text anywhere;    /* asked for: how a name begins, on any level; not empty */
    bool has_name;           /* one that begins so, or is written with escapes, stands in it */
    struct scan_long *longs; /* the caller's room: the first ones, in their order */
    unsigned room, count;
};

/*
 * The same for what a client sends on to a provider: a name that is a wanted one but for its case
 * is a problem, too. Servers written in Go take it for the same name (package encoding/json,
 * Unmarshal), and would follow what nobody here has read. Of "a.b" also "a" must be wanted.
 * <outline> is filled in, but for what it asks for; NULL: nobody wants it.
 */
bool scan_request(struct text json, const struct text *wants, size_t count,
                  struct scan_value *values, struct scan_problem *problem,
                  struct scan_outline *outline);

/* Validate any JSON document, not only an object; false when it is not valid, with a problem. */
bool scan_check(struct text json, struct scan_problem *problem);
bool scan_is_valid(struct text json);

/* Write the string value with its escapes resolved to <out> (needs raw.len bytes); returns the
 * length, or SIZE_MAX if value is no string or has a lone surrogate or U+0000 in it. */
size_t scan_string(const struct scan_value *value, char *out);

/* A whole number that is not negative, at most <max>; false otherwise (also 1.5, 1e3, -0). */
bool scan_count(const struct scan_value *value, uint64_t max, uint64_t *count);

/*
 * The tap. Feed it the pieces of one JSON document in order; it keeps the raw text of the wanted
 * top-level members (each at most TAP_VALUE_BYTES, longer ones are dropped and marked). Documents
 * that are no object, or not JSON, give nothing and do no harm. Skips strings and arrays with
 * vector instructions; costs well under 1 ns per byte. One of them may be passed on to whoever
 * looks into it instead: that may have any length.
 */
enum { TAP_WANTS_MAX = 9, TAP_VALUE_BYTES = 2048 };

struct tap {
    const struct text *wants; /* borrowed, as long as the tap lives */
    size_t count;
    unsigned char state;
    bool in_string, escape, too_long[TAP_WANTS_MAX];
    unsigned char digits_left; /* of a \u escape in a name */
    uint16_t code;             /* what it has come to */
    unsigned depth;
    int capturing; /* index of the wanted member being kept, or -1 */
    size_t name_len;
    char name[32];
    size_t kept[TAP_WANTS_MAX];  /* bytes kept of each */
    char *values[TAP_WANTS_MAX]; /* memory_new()ed when first needed */
    size_t passed;               /* index of the wanted member that is passed on to <pass> */
    void (*pass)(void *owner, struct text piece); /* NULL = none is */
    void *owner;
};

/* <wants> at most TAP_WANTS_MAX names, each of ASCII and shorter than 32 bytes. Allocates nothing
 * yet. */
void tap_init(struct tap *tap, const struct text *wants, size_t count);
/* The raw text of wants[i] is given to <pass>, in the pieces that it comes in; none of it is kept.
 */
void tap_pass(struct tap *tap, size_t i, void (*pass)(void *owner, struct text piece), void *owner);
/* Returns how much of <piece> was looked at: less than all of it where the document ends within. */
size_t tap_feed(struct tap *tap, struct text piece);
/* Of a list of objects that goes by in pieces, the tap looks at one after another. True: one has
 * ended, its values are there until the next call, and <piece> is what comes behind it. False: all
 * of <piece> was looked at. */
bool tap_next_item(struct tap *tap, struct text *piece);
/* Forget what was seen, for another document. */
void tap_again(struct tap *tap);
/* The value kept for wants[i], or SCAN_ABSENT - also while it is not whole, when it was too long or
 * is no JSON; borrowed from the tap. */
struct scan_value tap_value(const struct tap *tap, size_t i);
void tap_done(struct tap *tap);
