/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"

enum {
    BLOCK_MIN = 1024,
    BLOCK_MAX = 64 * 1024,
    FEW = 8, /* members are looked for one by one */
    DIGITS = 64,
};

/* All of a tree stands in the arena of its root. */
struct json {
    enum scan_kind kind;
    bool is_whole; /* a number */
    size_t count;  /* members or items */
    struct json *next;
    struct text name; /* of a member */
    union {
        struct text text; /* closed with a zero, as names are */
        int64_t whole;
        double real;
        struct {
            struct json *first;
            struct json **index; /* of items by number; of more than FEW members by hash */
        };
    };
};

struct root {
    struct json value; /* first: it is what json_free() gets */
    struct arena arena;
};

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

/* What has been checked already but for what only a tree has to refuse. */
struct reading {
    const char *at, *end;
    struct arena *arena;
    const char *wrong; /* static; found in front of <at> */
};

static bool read_value(struct reading *reading, struct json *value);

static bool refuse(struct reading *reading, const char *why)
{
    reading->wrong = why;
    return false;
}

static void skip_space(struct reading *reading)
{
    const char *at = reading->at;
    while (at < reading->end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    reading->at = at;
}

static bool read_string(struct reading *reading, struct text *to)
{
    const char *begin = reading->at, *close = member_string_end(begin, reading->end);
    struct text inside = {begin + 1, (size_t)(close - begin) - 1};
    reading->at = close + 1;
    if (text_find_byte(inside, '\\') == SIZE_MAX) {
        *to = arena_copy(reading->arena, inside);
        return true;
    }
    struct scan_value raw = {SCAN_STRING, {begin, inside.len + 2}, true};
    char *out = arena_take(reading->arena, inside.len + 1);
    size_t len = scan_string(&raw, out);
    if (len == SIZE_MAX)
        return refuse(reading, "\\u0000 or half of a pair of Unicode surrogates in a string");
    out[len] = '\0';
    *to = (struct text){out, len};
    return true;
}

static bool read_whole(struct reading *reading, struct text digits, struct json *value)
{
    bool below = digits.at[0] == '-';
    int64_t whole = 0;
    for (size_t i = below; i < digits.len; i++) {
        int digit = digits.at[i] - '0';
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, below ? -digit : digit, &whole))
            return refuse(reading, "the integer is too big");
    }
    value->is_whole = true;
    value->whole = whole;
    return true;
}

static bool read_number(struct reading *reading, struct json *value)
{
    char few[DIGITS];
    const char *begin = reading->at, *at = begin;
    bool whole = true;
    for (; at < reading->end && ((*at >= '0' && *at <= '9') || *at == '-' || *at == '+' ||
                                 *at == '.' || *at == 'e' || *at == 'E');
         at++)
        whole = whole && *at != '.' && *at != 'e' && *at != 'E';
    struct text digits = {begin, (size_t)(at - begin)};
    reading->at = at;
    value->kind = SCAN_NUMBER;
    if (whole)
        return read_whole(reading, digits, value);
    char *closed = digits.len < DIGITS ? few : arena_take(reading->arena, digits.len + 1);
    memcpy(closed, digits.at, digits.len);
    closed[digits.len] = '\0';
    value->real = strtod(closed, NULL);
    return !isinf(value->real) || refuse(reading, "the number is too big");
}

/* Where <name> stands in the index, or a free place. */
static struct json **place_of(struct json **index, size_t capacity, struct text name)
{
    size_t at = hash_name(name) & (capacity - 1);
    while (index[at] && !text_equal(index[at]->name, name))
        at = (at + 1) & (capacity - 1);
    return &index[at];
}

static size_t capacity_for(size_t count)
{
    size_t capacity = 2 * FEW;
    while (capacity < 2 * count)
        capacity *= 2;
    return capacity;
}

static struct json *find_member(const struct json *object, struct text name)
{
    if (object->index)
        return *place_of(object->index, capacity_for(object->count), name);
    struct json *member = object->first;
    while (member && !text_equal(member->name, name))
        member = member->next;
    return member;
}

/* Each time when it is full, twice as wide; <object> has its newest member already. */
static void widen_index(struct reading *reading, struct json *object)
{
    size_t capacity = capacity_for(object->count);
    if (object->count <= FEW || (object->index && capacity == capacity_for(object->count - 1)))
        return;
    object->index = arena_new(reading->arena, capacity * sizeof(struct json *));
    for (struct json *member = object->first; member; member = member->next)
        *place_of(object->index, capacity, member->name) = member;
}

static bool read_member(struct reading *reading, struct json *object, struct json **last)
{
    struct json *member = arena_new(reading->arena, sizeof(*member));
    if (!read_string(reading, &member->name))
        return false;
    if (find_member(object, member->name))
        return refuse(reading, "duplicate name in an object");
    if (*last)
        (*last)->next = member;
    else
        object->first = member;
    *last = member;
    object->count++;
    widen_index(reading, object);
    if (object->index)
        *place_of(object->index, capacity_for(object->count), member->name) = member;
    skip_space(reading);
    reading->at++; /* the colon */
    return read_value(reading, member);
}

static bool read_item(struct reading *reading, struct json *array, struct json **last)
{
    struct json *item = arena_new(reading->arena, sizeof(*item));
    if (*last)
        (*last)->next = item;
    else
        array->first = item;
    *last = item;
    array->count++;
    return read_value(reading, item);
}

static bool read_inside(struct reading *reading, struct json *value, char close)
{
    struct json *last = NULL;
    reading->at++;
    for (skip_space(reading); *reading->at != close; skip_space(reading)) {
        if (*reading->at == ',') {
            reading->at++;
            skip_space(reading);
        }
        if (!(close == '}' ? read_member : read_item)(reading, value, &last))
            return false;
    }
    reading->at++;
    return true;
}

static bool read_array(struct reading *reading, struct json *array)
{
    array->kind = SCAN_ARRAY;
    if (!read_inside(reading, array, ']'))
        return false;
    array->index = arena_take(reading->arena, array->count * sizeof(struct json *));
    size_t i = 0;
    for (struct json *item = array->first; item; item = item->next)
        array->index[i++] = item;
    return true;
}

static bool read_word(struct reading *reading, struct json *value, enum scan_kind kind, size_t len)
{
    value->kind = kind;
    reading->at += len;
    return true;
}

/* Never deeper than SCAN_DEPTH_MAX. */
static bool read_value(struct reading *reading, struct json *value)
{
    skip_space(reading);
    switch (*reading->at) {
    case '{':
        value->kind = SCAN_OBJECT;
        return read_inside(reading, value, '}');
    case '[':
        return read_array(reading, value);
    case '"':
        value->kind = SCAN_STRING;
        return read_string(reading, &value->text);
    case 't':
        return read_word(reading, value, SCAN_TRUE, 4);
    case 'f':
        return read_word(reading, value, SCAN_FALSE, 5);
    case 'n':
        return read_word(reading, value, SCAN_NULL, 4);
    default:
        return read_number(reading, value);
    }
}

struct json *json_read_in(struct arena *arena, struct text document, struct json_problem *problem)
{
    /* First the look that requests get: it bounds the depth, and what it has seen to is so. */
    struct scan_problem found;
    if (!scan_check(document, &found)) {
        locate(problem, document, found.at);
        snprintf(problem->what, sizeof(problem->what), "%s", found.what);
        return NULL;
    }
    struct json *root = arena_new(arena, sizeof(*root));
    struct reading reading = {document.at, document.at + document.len, arena, NULL};
    if (read_value(&reading, root))
        return root;
    locate(problem, document, (size_t)(reading.at - document.at));
    snprintf(problem->what, sizeof(problem->what), "%s", reading.wrong);
    return NULL;
}

struct json *json_read(struct text document, struct json_problem *problem)
{
    struct arena arena;
    size_t block = document.len < BLOCK_MAX / 2 ? 2 * document.len : BLOCK_MAX;
    arena_init(&arena, block > BLOCK_MIN ? block : BLOCK_MIN);
    struct root *whole = arena_new(&arena, sizeof(*whole));
    struct json *root = json_read_in(&arena, document, problem);
    if (root) {
        whole->value = *root; /* its members and items know nothing of where it stands */
        whole->arena = arena;
        return &whole->value;
    }
    arena_done(&arena);
    return NULL;
}

void json_free(struct json *root)
{
    if (!root)
        return;
    struct arena arena = ((struct root *)(void *)root)->arena; /* in which it stands itself */
    arena_done(&arena);
}

enum scan_kind json_kind(const struct json *value)
{
    return value ? value->kind : SCAN_ABSENT;
}

const struct json *json_member(const struct json *object, const char *name)
{
    return json_kind(object) == SCAN_OBJECT ? find_member(object, text_of(name)) : NULL;
}

size_t json_count(const struct json *value)
{
    return value ? value->count : 0;
}

const struct json *json_item(const struct json *array, size_t i)
{
    return json_kind(array) == SCAN_ARRAY && i < array->count ? array->index[i] : NULL;
}

bool json_next(const struct json *object, void **at, struct text *name, const struct json **value)
{
    if (json_kind(object) != SCAN_OBJECT)
        return false;
    struct json *member = *at ? ((struct json *)*at)->next : object->first;
    if (!member)
        return false;
    *at = member;
    *name = member->name;
    *value = member;
    return true;
}

bool json_to_text(const struct json *value, struct text *text)
{
    if (json_kind(value) != SCAN_STRING)
        return false;
    *text = value->text;
    return true;
}

bool json_to_int(const struct json *value, int64_t min, int64_t max, int64_t *number)
{
    if (json_kind(value) != SCAN_NUMBER || !value->is_whole)
        return false;
    if (value->whole < min || value->whole > max)
        return false;
    *number = value->whole;
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
    *number = value->is_whole ? (double)value->whole : value->real;
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
