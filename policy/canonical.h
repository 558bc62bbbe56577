/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * canonical - one form for all ways of writing the same JSON (RFC 8259).
 *
 * Two documents come to the same bytes exactly when they differ only in white space, in the order
 * of members, in how characters are escaped, and in how numbers are written (1, 1.0 and 10e-1 are
 * one number, compared as decimals of any length; nothing is rounded). The bytes are for hashing,
 * not for reading: lengths stand before strings, and an object of more than CANONICAL_FOLD_BYTES is
 * replaced by its SHA-256, so that members that are sorted on every level are moved once, not on
 * every level.
 */

#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/buffer.h"
#include "gateway/base/text.h"

enum {
    CANONICAL_BODY_MAX = 1 << 20,    /* longer documents have no form */
    CANONICAL_OBJECT_MEMBERS = 1024, /* nor have those with more members in one object */
    CANONICAL_MEMBERS_MAX = 1 << 16, /* or in all of them */
    CANONICAL_EXPONENT_DIGITS = 9,   /* or with a number whose exponent has more digits */
    CANONICAL_FOLD_BYTES = 4096,
};

/* A member of the top level that is left out: always, or when it has this value. */
struct canonical_omission {
    struct text name;
    struct text value; /* a scalar in JSON; empty = whatever it is */
};

enum { CANONICAL_OMISSIONS_MAX = 32 };

/*
 * Append the form of <json>, which must be an object, to <out>, without the <count> omissions.
 * False, with anything appended, when it has none: not valid, a name twice in one object, more
 * than the limits above or the limit of <out> (four times the length and 64 bytes is always
 * enough).
 */
bool canonical_write(struct text json, const struct canonical_omission *omissions, size_t count,
                     struct buffer *out);
