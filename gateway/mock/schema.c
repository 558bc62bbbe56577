/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/mock/inside.h"

/* JSON Schema, as far as structured outputs and tools use it (2020-12: type, enum, const,
 * properties, items, anyOf, $ref, bounds). */

enum {
    SCHEMA_DEPTH = 12,
    SCHEMA_PROPERTIES = 64,
    SCHEMA_ITEMS = 16,
    SCHEMA_REFS = 4,
    SCHEMA_MAX = 64 * 1024
};
enum { SCHEMA_BYTES = 8192, SCHEMA_NAME = 200 }; /* whatever the schema asks for, no more */

struct filler {
    struct buffer *out;
    struct text root;
    size_t limit; /* length of <out> at which nothing more is begun */
};

static bool has_room(const struct filler *f)
{
    return buffer_length(f->out) < f->limit;
}

static void fill(const struct filler *f, struct text schema, struct text name, unsigned depth);

/* The schema that "#/$defs/Name" means; the schema itself when it refers to nothing. */
static struct text resolve(const struct filler *f, struct text schema)
{
    for (unsigned hops = 0; hops < SCHEMA_REFS; hops++) {
        struct text path = member_words(schema, "$ref"), step;
        if (path.len == 0 || path.at[0] != '#')
            return schema;
        struct text at = f->root;
        path = text_from(path, 2);
        while (text_next(&path, '/', &step) && at.at != NULL)
            at = member_find(at, step);
        if (at.at == NULL)
            return schema;
        schema = at;
    }
    return TEXT("{}");
}

static struct text first_of(struct text list)
{
    struct text name, item = {NULL, 0};
    if (list.len > 0 && list.at[0] == '[')
        member_next(&list, &name, &item);
    return item;
}

/* "string" of "string" or of ["string","null"]. */
static struct text type_of(struct text schema)
{
    struct text type = member_find(schema, TEXT("type"));
    if (type.len > 0 && type.at[0] == '[')
        type = first_of(type);
    type = member_string(type);
    if (type.len > 0)
        return type;
    return member_find(schema, TEXT("properties")).at != NULL ? TEXT("object") : TEXT("string");
}

static void fill_string(const struct filler *f, struct text schema, struct text name)
{
    /* clang-format off */
    static const struct { const char *format, *value; } formats[] = {
        {"date-time", "2026-01-15T09:30:00Z"}, {"date", "2026-01-15"}, {"time", "09:30:00Z"}, {"email", "ada@example.com"},
        {"uri", "https://example.com/"}, {"uuid", "6f1c8b52-3b1e-4c55-9a57-1d2f3a4b5c6d"}, {"ipv4", "192.0.2.1"},
    };
    static const struct { const char *part, *value; } names[] = {
        {"city", "Paris"}, {"location", "Paris, France"}, {"place", "Paris"}, {"country", "France"}, {"name", "Ada"}, {"date", "2026-01-15"},
        {"unit", "celsius"}, {"query", "river stones"}, {"url", "https://example.com/"}, {"email", "ada@example.com"}, {"expression", "2+2"},
    };
    /* clang-format on */
    const char *value = "made up";
    struct text format = member_words(schema, "format");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (format.len == 0 && text_find(name, text_of(names[i].part)) != SIZE_MAX) {
            value = names[i].value;
            break;
        }
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (text_equal(format, text_of(formats[i].format)))
            value = formats[i].value;
    int64_t longest = member_number(schema, "maxLength", 1000);
    int64_t shortest = member_number(schema, "minLength", 0);
    struct text text = text_head(text_of(value), (size_t)longest);
    put_format(f->out, "\"%.*s", TEXT_ARGS(text));
    for (int64_t i = (int64_t)text.len; i < shortest && i < 1000; i++)
        put(f->out, TEXT("x"));
    put(f->out, TEXT("\""));
}

static void fill_object(const struct filler *f, struct text schema, unsigned depth)
{
    struct text properties = member_find(schema, TEXT("properties")), name, property;
    unsigned count = 0;
    put(f->out, TEXT("{"));
    while (count < SCHEMA_PROPERTIES && has_room(f) && member_next(&properties, &name, &property)) {
        if (name.len > SCHEMA_NAME)
            continue;
        put_format(f->out, "%s\"", count++ > 0 ? "," : "");
        put(f->out, name);
        put(f->out, TEXT("\":"));
        fill(f, property, name, depth + 1);
    }
    put(f->out, TEXT("}"));
}

static void fill_array(const struct filler *f, struct text schema, struct text name, unsigned depth)
{
    int64_t count = member_number(schema, "minItems", 1);
    if (member_number(schema, "maxItems", 1) == 0)
        count = 0;
    put(f->out, TEXT("["));
    for (int64_t i = 0; i < count && i < SCHEMA_ITEMS && has_room(f); i++) {
        put(f->out, i > 0 ? TEXT(",") : TEXT(""));
        fill(f, member_find(schema, TEXT("items")), name, depth + 1);
    }
    put(f->out, TEXT("]"));
}

/* A value that the schema itself names: const, the first of enum, a default. */
static bool fill_given(const struct filler *f, struct text schema)
{
    struct text given = member_find(schema, TEXT("const"));
    if (given.at == NULL)
        given = first_of(member_find(schema, TEXT("enum")));
    if (given.at == NULL)
        given = member_find(schema, TEXT("default"));
    if (given.at != NULL && given.len < 1000)
        put(f->out, given);
    return given.at != NULL && given.len < 1000;
}

static void fill(const struct filler *f, struct text schema, struct text name, unsigned depth)
{
    schema = resolve(f, schema);
    struct text choice = first_of(member_find(schema, TEXT("anyOf")));
    if (choice.at != NULL)
        schema = resolve(f, choice);
    if (depth > SCHEMA_DEPTH) {
        put(f->out, TEXT("null"));
        return;
    }
    if (fill_given(f, schema))
        return;
    struct text type = type_of(schema);
    if (text_equal(type, TEXT("object")))
        fill_object(f, schema, depth);
    else if (text_equal(type, TEXT("array")))
        fill_array(f, schema, name, depth);
    else if (text_equal(type, TEXT("integer")) || text_equal(type, TEXT("number")))
        put_format(f->out, "%lld", (long long)member_number(schema, "minimum", 7));
    else if (text_equal(type, TEXT("boolean")))
        put(f->out, TEXT("true"));
    else if (text_equal(type, TEXT("null")))
        put(f->out, TEXT("null"));
    else
        fill_string(f, schema, name);
}

void schema_fill(struct buffer *out, struct text root, struct text schema)
{
    struct filler filler = {out, root, buffer_length(out) + SCHEMA_BYTES};
    if (root.len <= SCHEMA_MAX)
        fill(&filler, schema, TEXT(""), 0);
    else
        put(out, TEXT("{}"));
}
