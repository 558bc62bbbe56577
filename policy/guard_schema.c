/* SPDX-License-Identifier: Apache-2.0 */

/*
 * JSON Schema (2020-12), the part that says what a value looks like. A keyword that is not checked
 * here is refused when the configuration is read, so that nobody believes it is. `format` is an
 * annotation, as the specification has it. Bounded: depth, and steps of one check.
 */

#include <math.h>
#include <stdio.h>

#include "gateway/base/json.h"
#include "gateway/base/memory.h"
#include "gateway/base/utf8.h"
#include "policy/guard_inside.h"

enum { DEPTH_MAX = 512, STEPS_MAX = 1000000, DOCUMENT_MAX = 256 * 1024, NAME_BYTES = 256 };

struct pattern {
    const struct json *at; /* the keyword's value */
    struct regex *regex;
};

struct schema {
    struct json *root;
    struct pattern *patterns;
    size_t pattern_count;
};

/* A check of one value. */
struct check {
    const struct schema *schema;
    struct hunter *hunter;
    unsigned depth;
    unsigned long steps;
};

static bool fits(struct check *check, const struct json *schema, const struct json *value);

/* ------------------------------------------------------------------------------- numbers */

/* -1, 0, 1: how <a> stands to <b>, two numbers. */
static int compare(const struct json *a, const struct json *b)
{
    int64_t x, y;
    double u = 0, v = 0;
    if (json_to_int(a, INT64_MIN, INT64_MAX, &x) && json_to_int(b, INT64_MIN, INT64_MAX, &y))
        return x < y ? -1 : x > y;
    json_to_number(a, &u);
    json_to_number(b, &v);
    return u < v ? -1 : u > v;
}

static bool is_whole(const struct json *value)
{
    double number;
    return json_to_number(value, &number) && floor(number) == number;
}

static bool is_multiple(const struct json *value, const struct json *of)
{
    int64_t x, y;
    double u = 0, v = 1;
    if (json_to_int(value, INT64_MIN, INT64_MAX, &x) && json_to_int(of, 1, INT64_MAX, &y))
        return x % y == 0;
    json_to_number(value, &u);
    json_to_number(of, &v);
    double times = u / v;
    return fabs(times - round(times)) < 1e-9 * fmax(1, fabs(times));
}

/* ------------------------------------------------------------------------------ equality */

static bool is_equal(struct check *check, const struct json *a, const struct json *b);

static bool has_equal_members(struct check *check, const struct json *a, const struct json *b)
{
    void *at = NULL;
    struct text name;
    const struct json *value;
    while (json_next(a, &at, &name, &value)) {
        const struct json *other = json_member(b, name.at); /* jansson's names are C strings */
        if (!other || !is_equal(check, value, other))
            return false;
    }
    return true;
}

static bool is_equal(struct check *check, const struct json *a, const struct json *b)
{
    enum scan_kind kind = json_kind(a);
    struct text one = {"", 0}, two = {"", 0};
    if (++check->steps > STEPS_MAX || kind != json_kind(b))
        return false;
    if (kind == SCAN_NUMBER)
        return compare(a, b) == 0;
    if (kind == SCAN_STRING)
        return json_to_text(a, &one) && json_to_text(b, &two) && text_equal(one, two);
    if (json_count(a) != json_count(b))
        return false;
    if (kind == SCAN_OBJECT)
        return has_equal_members(check, a, b);
    for (size_t i = 0; kind == SCAN_ARRAY && i < json_count(a); i++)
        if (!is_equal(check, json_item(a, i), json_item(b, i)))
            return false;
    return true;
}

/* ------------------------------------------------------------------------------- keywords */

/* What a keyword is asked with: its own value, the schema it stands in, what is to fit. */
struct question {
    const struct json *word, *schema, *value;
};

static bool is_type(struct text name, const struct json *value)
{
    static const struct {
        struct text name;
        enum scan_kind kind;
    } types[] = {
        {{"string", 6}, SCAN_STRING}, {{"number", 6}, SCAN_NUMBER}, {{"object", 6}, SCAN_OBJECT},
        {{"array", 5}, SCAN_ARRAY},   {{"null", 4}, SCAN_NULL},
    };
    enum scan_kind kind = json_kind(value);
    if (text_equal(name, TEXT("integer")))
        return is_whole(value);
    if (text_equal(name, TEXT("boolean")))
        return kind == SCAN_TRUE || kind == SCAN_FALSE;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (text_equal(name, types[i].name))
            return kind == types[i].kind;
    return false;
}

static bool check_type(struct check *check, const struct question *q)
{
    (void)check;
    struct text name;
    if (json_to_text(q->word, &name))
        return is_type(name, q->value);
    for (size_t i = 0; i < json_count(q->word); i++)
        if (json_to_text(json_item(q->word, i), &name) && is_type(name, q->value))
            return true;
    return false;
}

static bool check_enum(struct check *check, const struct question *q)
{
    for (size_t i = 0; i < json_count(q->word); i++)
        if (is_equal(check, json_item(q->word, i), q->value))
            return true;
    return false;
}

static bool check_const(struct check *check, const struct question *q)
{
    return is_equal(check, q->word, q->value);
}

static bool check_required(struct check *check, const struct question *q)
{
    (void)check;
    struct text name;
    for (size_t i = 0; json_kind(q->value) == SCAN_OBJECT && i < json_count(q->word); i++)
        if (json_to_text(json_item(q->word, i), &name) && !json_member(q->value, name.at))
            return false;
    return true;
}

static bool check_properties(struct check *check, const struct question *q)
{
    void *at = NULL;
    struct text name;
    const struct json *schema;
    while (json_kind(q->value) == SCAN_OBJECT && json_next(q->word, &at, &name, &schema)) {
        const struct json *member = json_member(q->value, name.at);
        if (member && !fits(check, schema, member))
            return false;
    }
    return true;
}

static bool check_additional(struct check *check, const struct question *q)
{
    const struct json *known = json_member(q->schema, "properties"), *member;
    void *at = NULL;
    struct text name;
    while (json_next(q->value, &at, &name, &member))
        if (!json_member(known, name.at) && !fits(check, q->word, member))
            return false;
    return true;
}

static bool check_prefix(struct check *check, const struct question *q)
{
    bool array = json_kind(q->value) == SCAN_ARRAY;
    for (size_t i = 0; array && i < json_count(q->word) && i < json_count(q->value); i++)
        if (!fits(check, json_item(q->word, i), json_item(q->value, i)))
            return false;
    return true;
}

static bool check_items(struct check *check, const struct question *q)
{
    bool array = json_kind(q->value) == SCAN_ARRAY;
    size_t i = json_count(json_member(q->schema, "prefixItems"));
    for (; array && i < json_count(q->value); i++)
        if (!fits(check, q->word, json_item(q->value, i)))
            return false;
    return true;
}

static bool check_unique(struct check *check, const struct question *q)
{
    bool wanted = false;
    json_to_bool(q->word, &wanted);
    size_t count = wanted && json_kind(q->value) == SCAN_ARRAY ? json_count(q->value) : 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (is_equal(check, json_item(q->value, i), json_item(q->value, j)) ||
                check->steps > STEPS_MAX)
                return false;
    return true;
}

static bool check_minimum(struct check *check, const struct question *q)
{
    (void)check;
    return json_kind(q->value) != SCAN_NUMBER || compare(q->value, q->word) >= 0;
}

static bool check_maximum(struct check *check, const struct question *q)
{
    (void)check;
    return json_kind(q->value) != SCAN_NUMBER || compare(q->value, q->word) <= 0;
}

static bool check_above(struct check *check, const struct question *q)
{
    (void)check;
    return json_kind(q->value) != SCAN_NUMBER || compare(q->value, q->word) > 0;
}

static bool check_below(struct check *check, const struct question *q)
{
    (void)check;
    return json_kind(q->value) != SCAN_NUMBER || compare(q->value, q->word) < 0;
}

static bool check_multiple(struct check *check, const struct question *q)
{
    (void)check;
    return json_kind(q->value) != SCAN_NUMBER || is_multiple(q->value, q->word);
}

/* How long the value is, if it is of <kind>: characters, items or members; else -1. */
static int64_t length(const struct json *value, enum scan_kind kind)
{
    struct text text;
    if (json_kind(value) != kind)
        return -1;
    if (!json_to_text(value, &text))
        return (int64_t)json_count(value);
    int64_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += !utf8_is_tail((unsigned char)text.at[i]);
    return count;
}

static bool is_least(const struct question *q, enum scan_kind kind)
{
    int64_t len = length(q->value, kind), bound = 0;
    return len < 0 || !json_to_int(q->word, 0, INT64_MAX, &bound) || len >= bound;
}

static bool is_most(const struct question *q, enum scan_kind kind)
{
    int64_t len = length(q->value, kind), bound = 0;
    return len < 0 || !json_to_int(q->word, 0, INT64_MAX, &bound) || len <= bound;
}

static bool check_min_length(struct check *check, const struct question *q)
{
    (void)check;
    return is_least(q, SCAN_STRING);
}

static bool check_max_length(struct check *check, const struct question *q)
{
    (void)check;
    return is_most(q, SCAN_STRING);
}

static bool check_min_items(struct check *check, const struct question *q)
{
    (void)check;
    return is_least(q, SCAN_ARRAY);
}

static bool check_max_items(struct check *check, const struct question *q)
{
    (void)check;
    return is_most(q, SCAN_ARRAY);
}

static bool check_min_members(struct check *check, const struct question *q)
{
    (void)check;
    return is_least(q, SCAN_OBJECT);
}

static bool check_max_members(struct check *check, const struct question *q)
{
    (void)check;
    return is_most(q, SCAN_OBJECT);
}

static bool check_pattern(struct check *check, const struct question *q)
{
    struct text text;
    if (!json_to_text(q->value, &text))
        return true;
    const struct pattern *pattern = check->schema->patterns;
    while (pattern->at != q->word) /* each one was compiled */
        pattern++;
    return regex_fits(pattern->regex, text, check->hunter);
}

static size_t count_fits(struct check *check, const struct question *q)
{
    size_t count = 0;
    for (size_t i = 0; i < json_count(q->word); i++)
        count += fits(check, json_item(q->word, i), q->value);
    return count;
}

static bool check_all(struct check *check, const struct question *q)
{
    return count_fits(check, q) == json_count(q->word);
}

static bool check_any(struct check *check, const struct question *q)
{
    for (size_t i = 0; i < json_count(q->word); i++)
        if (fits(check, json_item(q->word, i), q->value))
            return true;
    return false;
}

static bool check_one(struct check *check, const struct question *q)
{
    return count_fits(check, q) == 1;
}

static bool check_not(struct check *check, const struct question *q)
{
    bool inside = fits(check, q->word, q->value);
    return !inside && check->steps <= STEPS_MAX;
}

/* ----------------------------------------------------------------------------- references */

/* One segment of a JSON pointer (RFC 6901). */
static bool read_name(struct text segment, char *name)
{
    size_t len = 0;
    for (size_t i = 0; i < segment.len; i++) {
        bool tilde = segment.at[i] == '~' && i + 1 < segment.len;
        if (segment.at[i] == '/')
            return false;
        name[len++] = tilde ? (segment.at[i + 1] == '1' ? '/' : '~') : segment.at[i];
        i += tilde;
    }
    name[len] = '\0';
    return true;
}

/* "#", "#/$defs/NAME" or "#/definitions/NAME": places that are read when the schema is, so that
 * what stands there is known to be one. NULL for all else. */
static const struct json *follow(const struct schema *schema, const struct json *reference)
{
    static const char *const places[] = {"$defs", "definitions"};
    struct text pointer;
    if (!json_to_text(reference, &pointer))
        return NULL;
    if (text_equal(pointer, TEXT("#")))
        return schema->root;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct text place = text_of(places[i]), rest = text_from(pointer, 2 + place.len);
        if (!text_starts(pointer, TEXT("#/")) || !text_starts(text_from(pointer, 2), place) ||
            rest.len < 2 || rest.at[0] != '/' || rest.len >= NAME_BYTES)
            continue;
        char name[NAME_BYTES];
        return read_name(text_from(rest, 1), name)
                   ? json_member(json_member(schema->root, places[i]), name)
                   : NULL;
    }
    return NULL;
}

static bool check_reference(struct check *check, const struct question *q)
{
    return fits(check, follow(check->schema, q->word), q->value);
}

/* ---------------------------------------------------------------------------- all of them */

/* What a keyword's own value has to be. */
enum shape {
    SHAPE_NOTE, /* an annotation: anything */
    SHAPE_ANY,
    SHAPE_SCHEMA,
    SHAPE_SCHEMAS, /* an array of them, not empty */
    SHAPE_MEMBERS, /* an object of them */
    SHAPE_NUMBER,
    SHAPE_COUNT,
    SHAPE_FLAG,
    SHAPE_TYPES,
    SHAPE_LIST,
    SHAPE_NAMES,
    SHAPE_PATTERN,
    SHAPE_REFERENCE,
};

struct keyword {
    const char *name;
    enum shape shape;
    bool (*check)(struct check *check, const struct question *q);
};

/* clang-format off */
static const struct keyword keywords[] = {
    {"$schema",              SHAPE_NOTE,      NULL},
    {"$id",                  SHAPE_NOTE,      NULL},
    {"$comment",             SHAPE_NOTE,      NULL},
    {"title",                SHAPE_NOTE,      NULL},
    {"description",          SHAPE_NOTE,      NULL},
    {"default",              SHAPE_NOTE,      NULL},
    {"examples",             SHAPE_NOTE,      NULL},
    {"deprecated",           SHAPE_NOTE,      NULL},
    {"readOnly",             SHAPE_NOTE,      NULL},
    {"writeOnly",            SHAPE_NOTE,      NULL},
    {"format",               SHAPE_NOTE,      NULL},
    {"$defs",                SHAPE_MEMBERS,   NULL},
    {"definitions",          SHAPE_MEMBERS,   NULL},
    {"$ref",                 SHAPE_REFERENCE, check_reference},
    {"type",                 SHAPE_TYPES,     check_type},
    {"enum",                 SHAPE_LIST,      check_enum},
    {"const",                SHAPE_ANY,       check_const},
    {"required",             SHAPE_NAMES,     check_required},
    {"properties",           SHAPE_MEMBERS,   check_properties},
    {"additionalProperties", SHAPE_SCHEMA,    check_additional},
    {"prefixItems",          SHAPE_SCHEMAS,   check_prefix},
    {"items",                SHAPE_SCHEMA,    check_items},
    {"uniqueItems",          SHAPE_FLAG,      check_unique},
    {"minimum",              SHAPE_NUMBER,    check_minimum},
    {"maximum",              SHAPE_NUMBER,    check_maximum},
    {"exclusiveMinimum",     SHAPE_NUMBER,    check_above},
    {"exclusiveMaximum",     SHAPE_NUMBER,    check_below},
    {"multipleOf",           SHAPE_NUMBER,    check_multiple},
    {"minLength",            SHAPE_COUNT,     check_min_length},
    {"maxLength",            SHAPE_COUNT,     check_max_length},
    {"minItems",             SHAPE_COUNT,     check_min_items},
    {"maxItems",             SHAPE_COUNT,     check_max_items},
    {"minProperties",        SHAPE_COUNT,     check_min_members},
    {"maxProperties",        SHAPE_COUNT,     check_max_members},
    {"pattern",              SHAPE_PATTERN,   check_pattern},
    {"allOf",                SHAPE_SCHEMAS,   check_all},
    {"anyOf",                SHAPE_SCHEMAS,   check_any},
    {"oneOf",                SHAPE_SCHEMAS,   check_one},
    {"not",                  SHAPE_SCHEMA,    check_not},
};
/* clang-format on */

static const struct keyword *keyword_find(struct text name)
{
    for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
        if (text_equal(name, text_of(keywords[i].name)))
            return &keywords[i];
    return NULL;
}

static bool fits(struct check *check, const struct json *schema, const struct json *value)
{
    void *at = NULL;
    struct text name;
    const struct json *word;
    bool good = json_kind(schema) == SCAN_OBJECT || json_kind(schema) == SCAN_TRUE;
    if (check->depth >= DEPTH_MAX)
        check->steps = STEPS_MAX; /* nothing fits any more, not even what must not fit */
    if (++check->steps > STEPS_MAX)
        return false;
    check->depth++;
    while (good && json_next(schema, &at, &name, &word)) {
        const struct keyword *keyword = keyword_find(name);
        struct question q = {word, schema, value};
        good = !keyword || !keyword->check || keyword->check(check, &q);
    }
    check->depth--;
    return good && check->steps <= STEPS_MAX;
}

bool schema_fits(const struct schema *schema, struct text text, struct hunter *hunter)
{
    struct json_problem problem;
    struct json *value = json_read(text, &problem);
    struct check check = {.schema = schema, .hunter = hunter};
    bool good = value && fits(&check, schema->root, value);
    json_free(value);
    return good;
}

/* ------------------------------------------------------------------------------- compiling */

struct reading {
    struct schema *schema;
    unsigned depth;
    char *words;
    size_t room;
};

static bool read_schema(struct reading *reading, const struct json *schema);

static bool read_schemas(struct reading *reading, const struct json *array)
{
    for (size_t i = 0; i < json_count(array); i++)
        if (!read_schema(reading, json_item(array, i)))
            return false;
    return json_kind(array) == SCAN_ARRAY && json_count(array) > 0;
}

static bool read_members(struct reading *reading, const struct json *object)
{
    void *at = NULL;
    struct text name;
    const struct json *schema;
    while (json_next(object, &at, &name, &schema))
        if (!read_schema(reading, schema))
            return false;
    return json_kind(object) == SCAN_OBJECT;
}

static bool is_type_name(const struct json *word)
{
    static const char *const names[] = {"string", "number", "integer", "object",
                                        "array",  "null",   "boolean"};
    struct text name;
    for (size_t i = 0; json_to_text(word, &name) && i < sizeof(names) / sizeof(names[0]); i++)
        if (text_equal(name, text_of(names[i])))
            return true;
    return false;
}

static bool are_types(const struct json *word)
{
    bool good = json_kind(word) == SCAN_ARRAY && json_count(word) > 0;
    for (size_t i = 0; good && i < json_count(word); i++)
        good = is_type_name(json_item(word, i));
    return good || is_type_name(word);
}

static bool are_names(const struct json *word)
{
    bool good = json_kind(word) == SCAN_ARRAY;
    for (size_t i = 0; good && i < json_count(word); i++)
        good = json_kind(json_item(word, i)) == SCAN_STRING;
    return good;
}

static bool read_pattern(struct reading *reading, const struct json *word)
{
    struct text text;
    struct schema *schema = reading->schema;
    if (!json_to_text(word, &text))
        return false;
    struct regex *regex = regex_new(text, false, reading->words, reading->room);
    if (!regex)
        return false;
    size_t bytes = (schema->pattern_count + 1) * sizeof(*schema->patterns);
    schema->patterns = memory_resize(schema->patterns, bytes);
    schema->patterns[schema->pattern_count++] = (struct pattern){word, regex};
    return true;
}

static bool is_shaped(struct reading *reading, enum shape shape, const struct json *word)
{
    int64_t count;
    enum scan_kind kind = json_kind(word);
    switch (shape) {
    case SHAPE_NOTE:
    case SHAPE_ANY:
        return true;
    case SHAPE_SCHEMA:
        return read_schema(reading, word);
    case SHAPE_SCHEMAS:
        return read_schemas(reading, word);
    case SHAPE_MEMBERS:
        return read_members(reading, word);
    case SHAPE_NUMBER:
        return kind == SCAN_NUMBER;
    case SHAPE_COUNT:
        return json_to_int(word, 0, INT64_MAX, &count);
    case SHAPE_FLAG:
        return kind == SCAN_TRUE || kind == SCAN_FALSE;
    case SHAPE_TYPES:
        return are_types(word);
    case SHAPE_LIST:
        return kind == SCAN_ARRAY && json_count(word) > 0;
    case SHAPE_NAMES:
        return are_names(word);
    case SHAPE_PATTERN:
        return read_pattern(reading, word);
    case SHAPE_REFERENCE:
        kind = json_kind(follow(reading->schema, word));
        return kind == SCAN_OBJECT || kind == SCAN_TRUE || kind == SCAN_FALSE;
    }
    return false;
}

/* The innermost problem is the one that is told. */
static bool refuse(struct reading *reading, struct text name, const char *why)
{
    int len = (int)(name.len < 60 ? name.len : 60);
    char inner[160];
    snprintf(inner, sizeof(inner), "%s", reading->words);
    if (!text_starts(text_of(inner), TEXT("schema: ")))
        snprintf(reading->words, reading->room, "schema: '%.*s' %s%s%s", len, name.at, why,
                 *inner ? ": " : "", inner);
    return false;
}

static bool read_schema(struct reading *reading, const struct json *schema)
{
    void *at = NULL;
    struct text name;
    const struct json *word;
    enum scan_kind kind = json_kind(schema);
    if (kind == SCAN_TRUE || kind == SCAN_FALSE)
        return true;
    if (kind != SCAN_OBJECT || reading->depth >= DEPTH_MAX)
        return false;
    reading->depth++;
    while (json_next(schema, &at, &name, &word)) {
        const struct keyword *keyword = keyword_find(name);
        if (!keyword)
            return refuse(reading, name, "cannot be checked, so it is refused");
        if (!is_shaped(reading, keyword->shape, word))
            return refuse(reading, name, "has a value that it cannot have");
    }
    reading->depth--;
    return true;
}

struct schema *schema_new(struct text document, char *words, size_t room)
{
    struct json_problem problem = {0};
    struct schema *schema = memory_new(sizeof(*schema));
    struct reading reading = {.schema = schema, .words = words, .room = room};
    words[0] = '\0';
    schema->root = document.len <= DOCUMENT_MAX ? json_read(document, &problem) : NULL;
    if (schema->root && read_schema(&reading, schema->root))
        return schema;
    if (!schema->root)
        snprintf(words, room, "schema: no JSON of at most %d bytes: %s", DOCUMENT_MAX,
                 problem.what);
    else if (!words[0])
        snprintf(words, room, "schema: it must be an object");
    schema_free(schema);
    return NULL;
}

void schema_free(struct schema *schema)
{
    if (!schema)
        return;
    for (size_t i = 0; i < schema->pattern_count; i++)
        regex_free(schema->patterns[i].regex);
    memory_free(schema->patterns);
    json_free(schema->root);
    memory_free(schema);
}
