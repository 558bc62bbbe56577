/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * json - reading small documents as a tree, and writing strings that are always valid.
 *
 * The tree is for administration and the command line only: on the way of a request there is scan.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/base/text.h"

/* A value in a tree. All values and texts borrow from the root, which json_free() frees; texts have
 * a zero behind them. */
struct json;

struct json_problem {
    size_t line, column; /* from 1; columns count bytes */
    char what[160];
};

/* Read any JSON document. NULL, with a problem, when it is not valid, is nested deeper than
 * SCAN_DEPTH_MAX, a name stands twice in one object, a string has U+0000 or a lone surrogate in it,
 * or a number is too large for int64_t or double. */
struct json *json_read(struct text document, struct json_problem *problem);
void json_free(struct json *root);
/* The same in <arena>, whose end is the tree's: not for json_free(). */
struct json *json_read_in(struct arena *arena, struct text document, struct json_problem *problem);

/* Every function below takes NULL for a value that is absent. */

enum scan_kind json_kind(const struct json *value);
/* A member of an object; NULL when there is none or <object> is none. */
const struct json *json_member(const struct json *object, const char *name);
/* How many members or items; 0 for other values. */
size_t json_count(const struct json *value);
const struct json *json_item(const struct json *array, size_t i);
/* Walk the members: start with *at = NULL; false at the end. */
bool json_next(const struct json *object, void **at, struct text *name, const struct json **value);

/* The value as ...; false, and nothing is changed, when it is of another kind or out of range. */
bool json_to_text(const struct json *value, struct text *text);
bool json_to_int(const struct json *value, int64_t min, int64_t max, int64_t *number);
bool json_to_bool(const struct json *value, bool *flag);
/* Any number; a whole one may lose its last digits. Never for money or counters. */
bool json_to_number(const struct json *value, double *number);

/* Append <t> as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. False, and nothing is
 * appended, beyond the buffer's limit. */
bool json_write_string(struct buffer *out, struct text t);
/* The same with a colon behind it. */
bool json_write_key(struct buffer *out, struct text name);
