/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: schemas of JSON as structured outputs take them. They know a part of JSON Schema,
 * and refuse the rest; objects have to say that they have no other properties.
 *
 * Source: Anthropic's document on structured outputs, "JSON Schema limitations".
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"

enum { DEPTH_MAX = 32 }; /* below, it is left as it is: the provider says what it thinks of it */

struct fitting {
    struct anthropic_writing *w;
    const char *where;
};

static void put_fitting(struct fitting *fitting, struct text schema, unsigned depth);

static bool is_object(struct text json)
{
    return json.len > 0 && json.at[0] == '{';
}

static bool is_among(struct text word, const struct text *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(words[i], word))
            return true;
    return false;
}

/* Limits that it does not enforce, and so refuses. */
static bool is_refused(struct text name, struct text value)
{
    static const struct text names[] = {
        {"minimum", 7},
        {"maximum", 7},
        {"exclusiveMinimum", 16},
        {"exclusiveMaximum", 16},
        {"multipleOf", 10},
        {"minLength", 9},
        {"maxLength", 9},
        {"maxItems", 8},
        {"uniqueItems", 11},
        {"minProperties", 13},
        {"maxProperties", 13},
        {"patternProperties", 17},
        {"propertyNames", 13},
        {"contains", 8},
        {"if", 2},
        {"then", 4},
        {"else", 4},
        {"not", 3},
    };
    static const struct text formats[] = {
        {"date-time", 9}, {"time", 4}, {"date", 4}, {"duration", 8}, {"email", 5},
        {"hostname", 8},  {"uri", 3},  {"ipv4", 4}, {"ipv6", 4},     {"uuid", 4},
    };
    if (text_equal(name, TEXT("minItems")))
        return !text_equal(value, TEXT("0")) && !text_equal(value, TEXT("1"));
    if (text_equal(name, TEXT("format")))
        return !is_among(member_string(value), formats, sizeof(formats) / sizeof(formats[0]));
    return is_among(name, names, sizeof(names) / sizeof(names[0]));
}

static void put_each(struct fitting *fitting, struct text all, unsigned depth)
{
    struct buffer *out = fitting->w->out;
    bool named = is_object(all);
    struct text name, value;
    put_literal(out, named ? "{" : "[");
    while (member_next(&all, &name, &value)) {
        if (named)
            anthropic_put_name(out, name);
        else
            put_comma(out);
        put_fitting(fitting, value, depth + 1);
    }
    put_literal(out, named ? "}" : "]");
}

static void put_keyword(struct fitting *fitting, struct text name, struct text value,
                        unsigned depth)
{
    static const struct text schemas[] = {
        {"properties", 10}, {"$defs", 5}, {"definitions", 11}, {"anyOf", 5},
        {"allOf", 5},       {"items", 5}, {"prefixItems", 11},
    };
    struct buffer *out = fitting->w->out;
    if (text_equal(name, TEXT("oneOf"))) { /* one of them is any of them */
        anthropic_put_name(out, TEXT("anyOf"));
        put_each(fitting, value, depth);
        return;
    }
    anthropic_put_name(out, name);
    if (!is_among(name, schemas, sizeof(schemas) / sizeof(schemas[0])))
        put_text(out, value);
    else if (text_equal(name, TEXT("items")) && is_object(value))
        put_fitting(fitting, value, depth + 1);
    else if (is_object(value) || (value.len && value.at[0] == '['))
        put_each(fitting, value, depth);
    else
        put_text(out, value);
}

static void put_fitting(struct fitting *fitting, struct text schema, unsigned depth)
{
    struct buffer *out = fitting->w->out;
    struct text name, value, rest = schema;
    bool is_of_object = false;
    if (!is_object(schema) || depth > DEPTH_MAX) {
        put_text(out, schema);
        return;
    }
    put_literal(out, "{");
    while (member_next(&rest, &name, &value)) {
        bool is_more = text_equal(name, TEXT("additionalProperties"));
        is_of_object =
            is_of_object || is_more || text_equal(name, TEXT("properties")) ||
            (text_equal(name, TEXT("type")) && text_find(value, TEXT("\"object\"")) != SIZE_MAX);
        if (is_refused(name, value) || (is_more && !text_equal(value, TEXT("false"))))
            loss_hint(fitting->w->losses, "%s.%.*s", fitting->where, TEXT_ARGS(name));
        else if (!is_more && !text_equal(name, TEXT("$schema")))
            put_keyword(fitting, name, value, depth);
    }
    if (is_of_object)
        put_json(out, "additionalProperties", TEXT("false"));
    put_literal(out, "}");
}

void anthropic_put_schema(struct anthropic_writing *w, struct text schema, const char *where)
{
    struct fitting fitting = {w, where};
    if (w->own)
        put_text(w->out, schema);
    else
        put_fitting(&fitting, schema, 0);
}
