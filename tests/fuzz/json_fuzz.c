/* SPDX-License-Identifier: Apache-2.0 */

/*
 * json_read() against jansson: both refuse a document, or both find the same in it. Only we bound
 * the depth as scan.h does.
 */

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"

static void compare(const struct json *ours, json_t *theirs);

static void compare_members(const struct json *ours, json_t *theirs)
{
    void *at = NULL, *their_at = json_object_iter(theirs);
    struct text name;
    const struct json *value;
    assert(json_count(ours) == json_object_size(theirs));
    for (; json_next(ours, &at, &name, &value);
         their_at = json_object_iter_next(theirs, their_at)) {
        const char *their_name = json_object_iter_key(their_at);
        assert(their_name && text_equal(name, text_of(their_name)) && name.at[name.len] == 0);
        assert(json_member(ours, their_name) == value);
        compare(value, json_object_iter_value(their_at));
    }
    assert(!their_at);
}

static void compare_items(const struct json *ours, json_t *theirs)
{
    assert(json_count(ours) == json_array_size(theirs));
    for (size_t i = 0; i < json_count(ours); i++)
        compare(json_item(ours, i), json_array_get(theirs, i));
    assert(!json_item(ours, json_count(ours)));
}

static void compare_numbers(const struct json *ours, const json_t *theirs)
{
    int64_t whole = 0;
    double number = 0;
    bool is_whole = json_to_int(ours, INT64_MIN, INT64_MAX, &whole);
    assert(is_whole == json_is_integer(theirs) && whole == json_integer_value(theirs));
    assert(json_to_number(ours, &number) && number == json_number_value(theirs));
}

static void compare(const struct json *ours, json_t *theirs)
{
    struct text text;
    switch (json_typeof(theirs)) {
    case JSON_OBJECT:
        assert(json_kind(ours) == SCAN_OBJECT);
        compare_members(ours, theirs);
        break;
    case JSON_ARRAY:
        assert(json_kind(ours) == SCAN_ARRAY);
        compare_items(ours, theirs);
        break;
    case JSON_STRING:
        assert(json_to_text(ours, &text) && text.len == json_string_length(theirs));
        assert(memcmp(text.at, json_string_value(theirs), text.len + 1) == 0);
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        compare_numbers(ours, theirs);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL:
        assert(json_kind(ours) == (json_is_true(theirs)    ? SCAN_TRUE
                                   : json_is_false(theirs) ? SCAN_FALSE
                                                           : SCAN_NULL));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_problem problem;
    json_error_t error;
    /* A copy of the exact size, so that reading behind the end is seen. */
    char *own = malloc(size ? size : 1);
    memcpy(own, data, size);
    struct text document = {own, size};
    struct json *ours = json_read(document, &problem);
    json_t *theirs =
        json_loadb(document.at, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (text_find_byte(document, '\0') != SIZE_MAX) {
        assert(!ours); /* jansson passes over one that stands behind a number */
    } else if (ours) {
        assert(theirs);
        compare(ours, theirs);
    } else {
        assert(!theirs || strstr(problem.what, "nested too deeply"));
    }
    json_free(ours);
    json_decref(theirs);
    free(own);
    return 0;
}
