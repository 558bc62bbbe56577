/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gemini's `parameters` and `responseSchema` are a subset of OpenAPI 3.0's schema object: types in
 * upper case (or as numbers), `nullable`, no references. JSON Schema has its own members there
 * (parametersJsonSchema, responseJsonSchema).
 */
#include "gateway/base/member.h"
#include "providers/gemini.h"

enum { DEPTH_MAX = 64, FIT_DEPTH_MAX = 16 };

/* What an object or array on the way down holds. */
enum level_kind { LEVEL_SCHEMA, LEVEL_NAMED, LEVEL_LISTED };

struct level {
    struct text rest;
    enum level_kind kind;
    bool nullable;
};

struct walk {
    struct level stack[DEPTH_MAX];
    size_t depth;
    struct buffer out;
};

static bool is_of(struct text json, char bracket)
{
    return json.len && json.at[0] == bracket;
}

static bool is_nullable(struct text schema)
{
    return said_of(member_find(schema, TEXT("nullable"))) == SAID_YES;
}

/* ------------------------------------------------------------------- from Gemini's to JSON's */

static const struct text types[] = {{"", 0},        {"string", 6}, {"number", 6}, {"integer", 7},
                                    {"boolean", 7}, {"array", 5},  {"object", 6}, {"null", 4}};

enum { TYPES = sizeof(types) / sizeof(types[0]) };

/* The JSON name of a type; empty when it says none. */
static struct text type_name(struct text json)
{
    int64_t number;
    struct text name = member_string(json);
    if (member_count(json, TYPES - 1, &number))
        return types[number];
    for (size_t i = 1; i < TYPES; i++)
        if (text_equal_nocase(name, types[i]))
            return types[i];
    return text_equal_nocase(name, TEXT("TYPE_UNSPECIFIED")) ? TEXT("") : name;
}

static void put_type(struct buffer *out, struct text json, bool nullable)
{
    struct text name = type_name(json);
    if (is_of(json, '['))
        put_json(out, "type", json);
    else if (name.len && !nullable)
        put_inner(out, "type", name);
    else if (name.len) {
        put_open(out, "type", '[');
        put_item(out, name);
        put_item(out, TEXT("null"));
        put_literal(out, "]");
    }
}

static void put_enum(struct buffer *out, struct text json, bool nullable)
{
    if (!nullable || !is_of(json, '[')) {
        put_json(out, "enum", json);
        return;
    }
    put_json(out, "enum", text_head(json, json.len - 1));
    put_comma(out);
    put_literal(out, "null]");
}

static void push(struct walk *w, struct text json, enum level_kind kind, bool nullable)
{
    w->stack[w->depth++] = (struct level){.rest = json, .kind = kind, .nullable = nullable};
}

/* Go down into a schema (or put it as it is, when it is none or too deep). */
static void enter(struct walk *w, struct text json)
{
    if (!is_of(json, '{') || w->depth == DEPTH_MAX) {
        put_text(&w->out, json);
        return;
    }
    put_literal(&w->out, "{");
    push(w, json, LEVEL_SCHEMA, is_nullable(json));
}

static void enter_list(struct walk *w, const char *name, struct text json, bool nullable)
{
    if (w->depth == DEPTH_MAX) {
        put_json(&w->out, name, json);
        return;
    }
    put_open(&w->out, name, json.at[0]);
    push(w, json, json.at[0] == '{' ? LEVEL_NAMED : LEVEL_LISTED, nullable);
}

/* The keywords that are written otherwise. */
static bool put_keyword(struct walk *w, struct text name, struct text value, bool nullable)
{
    struct buffer *out = &w->out;
    if (text_equal(name, TEXT("type")))
        put_type(out, value, nullable);
    else if (text_equal(name, TEXT("enum")))
        put_enum(out, value, nullable);
    else if (text_equal(name, TEXT("properties")) && is_of(value, '{'))
        enter_list(w, "properties", value, false);
    else if (gemini_named(name, TEXT("anyOf")) && is_of(value, '['))
        enter_list(w, "anyOf", value, nullable);
    else if (text_equal(name, TEXT("items"))) {
        put_json(out, "items", TEXT(""));
        enter(w, value);
    } else if (text_equal(name, TEXT("example"))) {
        put_json(out, "examples", TEXT("["));
        put_text(out, value);
        put_literal(out, "]");
    } else
        return text_equal(name, TEXT("nullable")) || gemini_named(name, TEXT("propertyOrdering")) ||
               (text_equal(name, TEXT("format")) && text_equal(value, TEXT("\"enum\"")));
    return true;
}

/* Whole numbers may stand as strings. */
static struct text as_number(struct text value)
{
    uint64_t number;
    struct text digits = member_string(value);
    if (!text_number(digits, INT64_MAX, &number))
        return value;
    while (digits.len > 1 && digits.at[0] == '0') /* which JSON has not */
        digits = text_from(digits, 1);
    return digits;
}

static void put_other(struct buffer *out, struct text name, struct text value)
{
    static const struct text sizes[] = {{"minItems", 8},       {"maxItems", 8},
                                        {"minLength", 9},      {"maxLength", 9},
                                        {"minProperties", 13}, {"maxProperties", 13}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (gemini_named(name, sizes[i])) {
            put_json(out, sizes[i].at, as_number(value));
            return;
        }
    put_item(out, name);
    put_literal(out, ":");
    put_text(out, value);
}

static void leave(struct walk *w)
{
    const struct level *level = &w->stack[--w->depth];
    if (level->kind == LEVEL_LISTED && level->nullable) {
        put_comma(&w->out);
        put_literal(&w->out, "{\"type\":\"null\"}");
    }
    put_literal(&w->out, level->kind == LEVEL_LISTED ? "]" : "}");
}

static void step(struct walk *w)
{
    struct level *level = &w->stack[w->depth - 1];
    struct text name, value;
    if (!member_next(&level->rest, &name, &value)) {
        leave(w);
        return;
    }
    if (level->kind == LEVEL_SCHEMA) {
        if (!put_keyword(w, name, value, level->nullable))
            put_other(&w->out, name, value);
        return;
    }
    if (level->kind == LEVEL_NAMED) {
        put_item(&w->out, name);
        put_literal(&w->out, ":");
    } else {
        put_comma(&w->out);
    }
    enter(w, value);
}

struct text gemini_schema_read(struct arena *arena, struct text schema)
{
    struct walk *w = arena_new(arena, sizeof(*w));
    /* A type that may be null grows, and so may an enum: the shortest, {"nullable":1}, by less than
     * its own length. */
    buffer_init(&w->out, 8 * schema.len + 64);
    enter(w, schema);
    while (w->depth)
        step(w);
    struct text made = arena_copy(arena, buffer_text(&w->out));
    buffer_done(&w->out);
    return made;
}

/* ------------------------------------------------------------------- from JSON's to Gemini's */

/* What is seen of one schema object. */
struct seen {
    struct text type, format, list, properties, items, any;
    bool foreign;
};

static bool is_plain_keyword(struct text name)
{
    static const struct text plain[] = {{"description", 11}, {"title", 5},    {"required", 8},
                                        {"nullable", 8},     {"minItems", 8}, {"maxItems", 8},
                                        {"minimum", 7},      {"maximum", 7}};
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        if (text_equal(name, plain[i]))
            return true;
    return false;
}

static void see(struct seen *seen, struct text schema)
{
    const struct {
        struct text name;
        struct text *value;
    } kept[] = {{{"type", 4}, &seen->type},   {{"format", 6}, &seen->format},
                {{"enum", 4}, &seen->list},   {{"properties", 10}, &seen->properties},
                {{"items", 5}, &seen->items}, {{"anyOf", 5}, &seen->any}};
    struct text name, value;
    while (member_next(&schema, &name, &value)) {
        bool found = is_plain_keyword(name);
        for (size_t i = 0; !found && i < sizeof(kept) / sizeof(kept[0]); i++)
            if (text_equal(name, kept[i].name)) {
                *kept[i].value = value;
                found = true;
            }
        seen->foreign |= !found;
    }
}

static bool all_strings(struct text list)
{
    struct text name, item;
    bool some = false;
    while (member_next(&list, &name, &item)) {
        if (member_string(item).len == 0)
            return false;
        some = true;
    }
    return some;
}

static bool fits_format(struct text type, struct text format)
{
    if (!format.at)
        return true;
    if (text_equal(type, TEXT("string")))
        return inner_is(format, "date-time") || inner_is(format, "enum");
    if (text_equal(type, TEXT("number")))
        return inner_is(format, "float") || inner_is(format, "double");
    return text_equal(type, TEXT("integer")) &&
           (inner_is(format, "int32") || inner_is(format, "int64"));
}

/* One object, without what stands below it. */
static bool fits_one(const struct seen *seen)
{
    struct text type = type_name(seen->type), unused, first, rest = seen->properties;
    if (seen->foreign || (seen->any.at && !is_of(seen->any, '[')))
        return false;
    if (!seen->type.at)
        return seen->any.at && !seen->properties.at && !seen->items.at && !seen->list.at;
    if (!member_string(seen->type).len || text_equal(type, TEXT("null")))
        return false;
    if (seen->list.at && !(text_equal(type, TEXT("string")) && all_strings(seen->list)))
        return false;
    /* An object without properties and an array without items are refused. */
    if (text_equal(type, TEXT("object")) !=
        (is_of(rest, '{') && member_next(&rest, &unused, &first)))
        return false;
    if (text_equal(type, TEXT("array")) != is_of(seen->items, '{'))
        return false;
    return fits_format(type, member_string(seen->format));
}

/* Look at a schema object; what it holds is looked at later, but for an array's items: at once. */
static bool fits_here(struct level *stack, size_t *depth, struct text schema)
{
    for (int down = 0; down < FIT_DEPTH_MAX; down++) {
        struct seen seen = {0};
        if (!is_of(schema, '{') || *depth + 2 > FIT_DEPTH_MAX)
            return false;
        see(&seen, schema);
        if (!fits_one(&seen))
            return false;
        if (seen.properties.at)
            stack[(*depth)++] = (struct level){.rest = seen.properties};
        if (seen.any.at)
            stack[(*depth)++] = (struct level){.rest = seen.any};
        if (!seen.items.at)
            return true;
        schema = seen.items;
    }
    return false;
}

bool gemini_schema_fits(struct text schema)
{
    struct level stack[FIT_DEPTH_MAX];
    size_t depth = 0;
    struct text name, value;
    if (!fits_here(stack, &depth, schema))
        return false;
    while (depth) {
        if (!member_next(&stack[depth - 1].rest, &name, &value))
            depth--;
        else if (!fits_here(stack, &depth, value))
            return false;
    }
    return true;
}
