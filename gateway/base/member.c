/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/member.h"

#include "gateway/base/short_string.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

const char *member_string_end(const char *at, const char *end)
{
    const char *from = at + 1, *simple = short_string_end(from, end);
    if (simple)
        return simple;
    while (from < end) {
        const char *quote = memchr(from, '"', (size_t)(end - from));
        if (quote == NULL)
            return end;
        const char *back = quote;
        while (back > at + 1 && back[-1] == '\\')
            back--;
        if ((quote - back) % 2 == 0)
            return quote;
        from = quote + 1;
    }
    return end;
}

/* Behind an object or array that begins at <at>. */
static const char *skip_nested(const char *at, const char *end)
{
    size_t depth = 0;
    while (at < end) {
        char c = *at;
        if (c == '"') {
            at = member_string_end(at, end);
            if (at == end)
                return end;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (--depth == 0)
                return at + 1;
        }
        at++;
    }
    return end;
}

static const char *skip_value(const char *at, const char *end)
{
    if (at == end)
        return end;
    if (*at == '"') {
        at = member_string_end(at, end);
        return at < end ? at + 1 : end;
    }
    if (*at == '{' || *at == '[')
        return skip_nested(at, end);
    while (at < end && *at != ',' && *at != '}' && *at != ']' && !is_space(*at))
        at++;
    return at;
}

bool member_next(struct text *rest, struct text *name, struct text *value)
{
    const char *at = rest->at, *end = rest->at + rest->len;
    at = skip_space(at, end);
    if (at < end && (*at == '{' || *at == '[' || *at == ','))
        at = skip_space(at + 1, end);
    if (at == end || *at == '}' || *at == ']')
        return false;
    *name = (struct text){at, 0};
    const char *after = skip_value(at, end);
    const char *colon = skip_space(after, end);
    if (*at == '"' && colon < end && *colon == ':') {
        *name = (struct text){at + 1, (size_t)(after - at) - 2};
        at = skip_space(colon + 1, end);
        after = skip_value(at, end);
    }
    if (after == at)
        return false;
    *value = (struct text){at, (size_t)(after - at)};
    *rest = (struct text){after, (size_t)(end - after)};
    return true;
}

struct text member_find(struct text object, struct text name)
{
    struct text found = {NULL, 0}, at, value;
    while (member_next(&object, &at, &value))
        if (text_equal(at, name))
            found = value;
    return found;
}

struct text member_string(struct text value)
{
    if (value.len < 2 || value.at[0] != '"' || value.at[value.len - 1] != '"')
        return (struct text){NULL, 0};
    return (struct text){value.at + 1, value.len - 2};
}

bool member_is_something(struct text value)
{
    return value.len > 2 && (value.at[0] == '{' || value.at[0] == '"');
}

bool member_count(struct text value, int64_t max, int64_t *count)
{
    uint64_t number;
    if (!text_number(value, (uint64_t)max, &number))
        return false;
    *count = (int64_t)number;
    return true;
}
