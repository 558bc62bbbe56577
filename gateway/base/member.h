/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * member - walks over the members of one JSON object or array without building anything.
 *
 * For what providers send: it never refuses, never recurses, never reads past the end. From JSON
 * that is broken it gives nonsense or nothing, so every figure taken from it is checked again.
 * (What clients send goes through scan_json(), which validates.)
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

/*
 * Take the next member off the front of <rest>, which at first is the whole object or array. <name>
 * is without quotes and not unescaped, and empty for the items of an array; <value> is raw, a
 * string with its quotes. False behind the last one.
 */
bool member_next(struct text *rest, struct text *name, struct text *value);

/* The value of the member <name> of <object>, or at == NULL. The last of equal names counts. */
struct text member_find(struct text object, struct text name);

/* The inside of a string value, not unescaped; at == NULL when it is none. */
struct text member_string(struct text value);

/* Where the string that begins at <at> (its opening quote) is closed, or <end>. */
const char *member_string_end(const char *at, const char *end);

/* Is the value an object or a string that is not empty, i.e. neither null, false nor ""? */
bool member_is_something(struct text value);

/* A whole number from 0 to <max>; false for all else: negative, huge, fractional, a string. */
bool member_count(struct text value, int64_t max, int64_t *count);
