/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "policy/roster_api.h"

/* Deeper than anything that a body may hold: what is below is cut off, and refused when it is read.
 */
enum { DEPTH_MAX = 16 };

static void put(struct buffer *out, struct text t)
{
    buffer_append_text(out, t);
}

static void put_merged(struct buffer *out, const struct json *before, const struct json *changes,
                       int depth);

static void put_number(struct buffer *out, const struct json *value)
{
    int64_t whole;
    double real = 0;
    char words[40];
    if (json_to_int(value, INT64_MIN, INT64_MAX, &whole)) {
        buffer_format(out, "%lld", (long long)whole);
        return;
    }
    json_to_number(value, &real);
    /* All that is needed to read the same number again, and no more where less will do. */
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(words, sizeof(words), "%.*g", digits, real);
        if (strtod(words, NULL) == real)
            break;
    }
    put(out, text_of(words));
}

static void put_array(struct buffer *out, const struct json *array, int depth)
{
    put(out, TEXT("["));
    for (size_t i = 0; i < json_count(array); i++) {
        put(out, i ? TEXT(",") : TEXT(""));
        put_merged(out, json_item(array, i), NULL, depth + 1);
    }
    put(out, TEXT("]"));
}

/* The members of an object; those of <changes> that are null are taken away. */
static void put_members(struct buffer *out, const struct json *before, const struct json *changes,
                        int depth, const char **between)
{
    void *at = NULL;
    struct text name;
    const struct json *value;
    while (json_next(before, &at, &name, &value)) {
        const struct json *change = json_member(changes, name.at);
        if (json_kind(change) == SCAN_NULL)
            continue;
        put(out, text_of(*between));
        *between = ",";
        json_write_key(out, name);
        put_merged(out, value, change, depth + 1);
    }
    at = NULL;
    while (json_next(changes, &at, &name, &value)) {
        if (json_kind(value) == SCAN_NULL || json_member(before, name.at))
            continue;
        put(out, text_of(*between));
        *between = ",";
        json_write_key(out, name);
        put_merged(out, NULL, value, depth + 1);
    }
}

/* <before> changed by <changes>; NULL = unchanged, or new. */
static void put_merged(struct buffer *out, const struct json *before, const struct json *changes,
                       int depth)
{
    const struct json *value = changes ? changes : before;
    const char *between = "";
    struct text text;
    switch (depth > DEPTH_MAX ? SCAN_NULL : json_kind(value)) {
    case SCAN_OBJECT:
        put(out, TEXT("{"));
        if (json_kind(before) != SCAN_OBJECT)
            before = NULL;
        put_members(out, before, changes, depth, &between);
        put(out, TEXT("}"));
        break;
    case SCAN_ARRAY:
        put_array(out, value, depth);
        break;
    case SCAN_STRING:
        json_to_text(value, &text);
        json_write_string(out, text);
        break;
    case SCAN_NUMBER:
        put_number(out, value);
        break;
    case SCAN_TRUE:
        put(out, TEXT("true"));
        break;
    case SCAN_FALSE:
        put(out, TEXT("false"));
        break;
    case SCAN_NULL:
    case SCAN_ABSENT:
        put(out, TEXT("null"));
        break;
    }
}

static bool is_among(struct text name, const char *const *names)
{
    for (size_t i = 0; names && names[i]; i++)
        if (text_equal(name, text_of(names[i])))
            return true;
    return false;
}

static void put_top(struct buffer *out, const char **between, struct text name)
{
    put(out, text_of(*between));
    *between = ",";
    json_write_key(out, name);
}

void members_begin(struct buffer *out, const struct json *before, const struct json *changes,
                   const char *const *without)
{
    void *at = NULL;
    struct text name;
    const struct json *value;
    const char *between = "{";
    while (json_next(before, &at, &name, &value)) {
        const struct json *change =
            roster_read_is_answer(name) ? NULL : json_member(changes, name.at);
        if (is_among(name, without) || json_kind(change) == SCAN_NULL)
            continue;
        put_top(out, &between, name);
        put_merged(out, value, change, 1);
    }
    at = NULL;
    while (json_next(changes, &at, &name, &value)) {
        if (roster_read_is_answer(name) || json_kind(value) == SCAN_NULL ||
            json_member(before, name.at))
            continue;
        put_top(out, &between, name);
        put_merged(out, NULL, value, 1);
    }
    /* So that a comma may follow. */
    if (*between == '{')
        put(out, TEXT("{\"name\":\"\""));
}

void members_end(struct buffer *out)
{
    put(out, TEXT("}"));
}
