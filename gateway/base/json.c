/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/json.h"

#include <jansson.h>
#include <stdio.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"

static inline const json_t *tree_of(const struct json *value)
{
    return (const json_t *)(const void *)value;
}

static inline const struct json *value_of(const json_t *tree)
{
    return (const struct json *)(const void *)tree;
}

/* ---- reading ---- */

static void locate(struct json_problem *problem, struct text document, size_t at)
{
    struct text before = text_head(document, at);
    problem->line = 1;
    for (size_t end; (end = text_find_byte(before, '\n')) != SIZE_MAX;) {
        problem->line++;
        before = text_from(before, end + 1);
    }
    problem->column = before.len + 1;
}

struct json *json_read(struct text document, struct json_problem *problem)
{
    /* First our own look: it bounds the depth, and it is the one that requests get. */
    struct scan_problem found;
    if (!scan_check(document, &found)) {
        locate(problem, document, found.at);
        snprintf(problem->what, sizeof(problem->what), "%s", found.what);
        return NULL;
    }
    json_error_t error;
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_t *tree = json_loadb(document.at, document.len, flags, &error);
    if (!tree) {
        locate(problem, document, error.position > 0 ? (size_t)error.position : 0);
        snprintf(problem->what, sizeof(problem->what), "%s", error.text);
    }
    return (struct json *)(void *)tree;
}

void json_free(struct json *root)
{
    json_decref((json_t *)(void *)root);
}

enum scan_kind json_kind(const struct json *value)
{
    if (!value)
        return SCAN_ABSENT;
    switch (json_typeof(tree_of(value))) {
    case JSON_OBJECT:
        return SCAN_OBJECT;
    case JSON_ARRAY:
        return SCAN_ARRAY;
    case JSON_STRING:
        return SCAN_STRING;
    case JSON_INTEGER:
    case JSON_REAL:
        return SCAN_NUMBER;
    case JSON_TRUE:
        return SCAN_TRUE;
    case JSON_FALSE:
        return SCAN_FALSE;
    case JSON_NULL:
        break;
    }
    return SCAN_NULL;
}

const struct json *json_member(const struct json *object, const char *name)
{
    return value_of(json_object_get(tree_of(object), name));
}

size_t json_count(const struct json *value)
{
    const json_t *tree = tree_of(value);
    return json_is_object(tree) ? json_object_size(tree) : json_array_size(tree);
}

const struct json *json_item(const struct json *array, size_t i)
{
    return value_of(json_array_get(tree_of(array), i));
}

bool json_next(const struct json *object, void **at, struct text *name, const struct json **value)
{
    if (json_kind(object) != SCAN_OBJECT)
        return false;
    /* jansson does not change what it walks, but does not say so. */
    json_t *tree = (json_t *)(uintptr_t)object;
    *at = *at ? json_object_iter_next(tree, *at) : json_object_iter(tree);
    if (!*at)
        return false;
    *name = (struct text){json_object_iter_key(*at), json_object_iter_key_len(*at)};
    *value = value_of(json_object_iter_value(*at));
    return true;
}

bool json_to_text(const struct json *value, struct text *text)
{
    if (json_kind(value) != SCAN_STRING)
        return false;
    *text = (struct text){json_string_value(tree_of(value)), json_string_length(tree_of(value))};
    return true;
}

bool json_to_int(const struct json *value, int64_t min, int64_t max, int64_t *number)
{
    if (!json_is_integer(tree_of(value)))
        return false;
    int64_t n = json_integer_value(tree_of(value));
    if (n < min || n > max)
        return false;
    *number = n;
    return true;
}

bool json_to_bool(const struct json *value, bool *flag)
{
    enum scan_kind kind = json_kind(value);
    if (kind != SCAN_TRUE && kind != SCAN_FALSE)
        return false;
    *flag = kind == SCAN_TRUE;
    return true;
}

bool json_to_number(const struct json *value, double *number)
{
    if (json_kind(value) != SCAN_NUMBER)
        return false;
    *number = json_number_value(tree_of(value));
    return true;
}

/* ---- writing ---- */

/* Append <t> in quotes, and <end> behind them. */
static bool write_quoted(struct buffer *out, struct text t, struct text end)
{
    size_t most = 6 * t.len + 1 + end.len;
    /* Where the worst case does not fit, the string still may. */
    char *room = buffer_room(out, most);
    char *aside = room ? NULL : memory_new(most);
    char *at = room ? room : aside;
    size_t len = 0;
    at[len++] = '"';
    len += log_escape(at + len, 6 * t.len, t);
    memcpy(at + len, end.at, end.len);
    len += end.len;
    if (room) {
        buffer_grow(out, len);
        return true;
    }
    bool fits = buffer_append(out, aside, len);
    memory_free(aside);
    return fits;
}

bool json_write_string(struct buffer *out, struct text t)
{
    return write_quoted(out, t, TEXT("\""));
}

bool json_write_key(struct buffer *out, struct text name)
{
    return write_quoted(out, name, TEXT("\":"));
}
