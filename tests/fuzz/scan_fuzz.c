/* SPDX-License-Identifier: Apache-2.0 */

/*
 * scan_json() and scan_is_valid() against jansson: they must accept the same documents and find the
 * same values. The differences that scan.h allows are taken out of the copy that jansson gets (lone
 * surrogates, U+0000, numbers too big for it), or looked for (depth, names that stand twice).
 * Every instruction set must say the same of every string, too.
 */

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>

#include "gateway/base/scan.h"
#include "gateway/base/scan_kernel.h"

static const struct text wants[] = {TEXT("model"), TEXT("n"), TEXT("a.b"), TEXT("a.n"), TEXT("a")};
enum { WANTS = sizeof(wants) / sizeof(*wants), DIGITS_KEPT = 15 };

/* What jansson gets. */
struct copy {
    char *at;
    size_t len;
    bool changed; /* the inside of a string: values cannot be compared */
};

static unsigned unit_of(const char *digits)
{
    char text[5] = {0};
    memcpy(text, digits, 4);
    return (unsigned)strtoul(text, NULL, 16);
}

/* Copy the escape at from[i] with a harmless character in place of what jansson refuses. */
static size_t copy_escape(struct copy *copy, struct text from, size_t i)
{
    size_t len = scan_escape_length(from.at + i, from.at + from.len);
    if (len == 0) {
        copy->at[copy->len++] = from.at[i];
        return 1;
    }
    bool is_refused = false;
    if (len == 6) {
        unsigned unit = unit_of(from.at + i + 2);
        is_refused = unit == 0 || (unit >= 0xD800 && unit <= 0xDFFF);
    }
    memcpy(copy->at + copy->len, is_refused ? "\\u0041" : from.at + i, len);
    copy->changed = copy->changed || is_refused;
    copy->len += len;
    return len;
}

/* Copy digits, no more than jansson can take as a number; only one of an exponent. */
static size_t copy_digits(struct copy *copy, struct text from, size_t i)
{
    size_t len = 0;
    while (i + len < from.len && from.at[i + len] >= '0' && from.at[i + len] <= '9')
        len++;
    char before = i > 0 ? from.at[i - 1] : ' ';
    bool is_exponent = before == 'e' || before == 'E' || before == '+' ||
                       (before == '-' && i > 1 && (from.at[i - 2] | 0x20) == 'e');
    size_t kept = is_exponent ? 1 : len < DIGITS_KEPT ? len : DIGITS_KEPT;
    memcpy(copy->at + copy->len, from.at + i, kept);
    copy->len += kept;
    return len;
}

static struct copy copy_for_jansson(struct text from)
{
    struct copy copy = {malloc(from.len + 1), 0, false};
    bool in_string = false;
    for (size_t i = 0; i < from.len;) {
        char c = from.at[i];
        if (in_string && c == '\\') {
            i += copy_escape(&copy, from, i);
            continue;
        }
        if (!in_string && c >= '0' && c <= '9') {
            i += copy_digits(&copy, from, i);
            continue;
        }
        in_string = in_string != (c == '"');
        copy.at[copy.len++] = c;
        i++;
    }
    return copy;
}

static size_t depth_of(const json_t *value)
{
    size_t most = 0, i;
    const char *key;
    json_t *member;
    if (json_is_object(value))
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            size_t depth = depth_of(member);
            most = depth > most ? depth : most;
        }
    if (json_is_array(value))
        json_array_foreach(value, i, member)
        {
            size_t depth = depth_of(member);
            most = depth > most ? depth : most;
        }
    return json_is_object(value) || json_is_array(value) ? most + 1 : 0;
}

static enum scan_kind kind_of(const json_t *value)
{
    if (!value)
        return SCAN_ABSENT;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return SCAN_OBJECT;
    case JSON_ARRAY:
        return SCAN_ARRAY;
    case JSON_STRING:
        return SCAN_STRING;
    case JSON_TRUE:
        return SCAN_TRUE;
    case JSON_FALSE:
        return SCAN_FALSE;
    case JSON_NULL:
        return SCAN_NULL;
    case JSON_INTEGER:
    case JSON_REAL:
    default:
        return SCAN_NUMBER;
    }
}

static json_t *find(json_t *document, struct text want)
{
    size_t dot = text_find_byte(want, '.');
    if (dot == SIZE_MAX)
        return json_object_getn(document, want.at, want.len);
    struct text below = text_from(want, dot + 1);
    return json_object_getn(json_object_getn(document, want.at, dot), below.at, below.len);
}

static void compare_value(const struct scan_value *value, json_t *expected, bool changed)
{
    assert(value->kind == kind_of(expected));
    if (value->kind == SCAN_ABSENT)
        return;
    assert(scan_is_valid(value->raw)); /* exactly one value, without what is around it */
    assert((unsigned char)value->raw.at[0] > ' ' &&
           (unsigned char)value->raw.at[value->raw.len - 1] > ' ');
    uint64_t count = 0;
    if (scan_count(value, 1000000, &count))
        assert(json_is_integer(expected) && json_integer_value(expected) == (json_int_t)count);
    if (value->kind != SCAN_STRING)
        return;
    bool has_slash = text_find_byte(value->raw, '\\') != SIZE_MAX;
    assert(value->escaped == has_slash);
    char *plain = malloc(value->raw.len);
    size_t len = scan_string(value, plain);
    assert(changed || (len == json_string_length(expected) &&
                       memcmp(plain, json_string_value(expected), len) == 0));
    free(plain);
}

static void check_object(struct text json, const struct copy *copy, json_t *document)
{
    struct scan_value values[WANTS];
    struct scan_problem problem = {SIZE_MAX, NULL, NULL, false};
    bool accepted = scan_json(json, wants, WANTS, values, &problem);
    if (!accepted) {
        assert(problem.at <= json.len && problem.what);
        if (!json_is_object(document) || depth_of(document) > SCAN_DEPTH_MAX)
            return;
        /* The only reason left is a name that stands twice, and jansson must see that as well. */
        assert(problem.name);
        json_t *strict =
            json_loadb(copy->at, copy->len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        assert(!strict);
        return;
    }
    assert(json_is_object(document));
    for (size_t i = 0; i < WANTS; i++)
        compare_value(&values[i], find(document, wants[i]), copy->changed);
}

/* All instruction sets, with any byte of the document as the beginning of a string. */
static void check_kernels(struct text json)
{
    const struct scan_kernel *const *all = scan_kernel_all();
    const char *end = json.at + json.len;
    for (size_t from = 0; from < json.len && from < 80; from++) {
        const char *at = json.at + from;
        bool escape = false, escape_here = false;
        const char *close = all[0]->close_string(at, end, &escape);
        for (size_t i = 1; all[i]; i++) {
            assert(all[i]->close_string(at, end, &escape_here) == close);
            assert(!close || escape_here == escape);
        }
    }
}

/* The same of one long string of whatever bytes there are, so that it is UTF-8 that decides. */
static void check_utf8(struct text json)
{
    char *own = malloc(json.len + 1);
    for (size_t i = 0; i < json.len; i++) {
        unsigned char c = (unsigned char)json.at[i];
        own[i] = c < 0x20 || c == '"' || c == '\\' ? 'x' : (char)c;
    }
    own[json.len] = '"';
    check_kernels((struct text){own, json.len + 1});
    const char *end = own + json.len;
    bool escape = true;
    const char *close = scan_kernel_best()->close_string(own, end + 1, &escape);
    assert(close == (scan_is_utf8_plain(own, end) ? end : NULL));
    assert(!close || !escape);
    free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of the exact size, so that reading behind the end is seen. */
    char *own = malloc(size ? size : 1);
    memcpy(own, data, size);
    struct text json = {own, size};
    if (text_find_byte(json, '\0') != SIZE_MAX) {
        /* Never allowed, but jansson passes over one that stands behind a number. */
        assert(!scan_is_valid(json));
        check_kernels(json);
        check_utf8(json);
        free(own);
        return 0;
    }
    struct copy copy = copy_for_jansson(json);
    json_error_t error;
    json_t *document = json_loadb(copy.at, copy.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    /* Its own limits, which are not about JSON. */
    bool cannot_say = !document && (json_error_code(&error) == json_error_stack_overflow ||
                                    json_error_code(&error) == json_error_null_byte_in_key);
    bool is_deep = document && depth_of(document) > SCAN_DEPTH_MAX;
    if (!cannot_say && !is_deep)
        assert(scan_is_valid(json) == (document != NULL));
    if (is_deep)
        assert(!scan_is_valid(json));
    if (!cannot_say)
        check_object(json, &copy, document);
    check_kernels(json);
    check_utf8(json);
    json_decref(document);
    free(copy.at);
    free(own);
    return 0;
}
