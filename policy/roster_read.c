/* SPDX-License-Identifier: Apache-2.0 */
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/quantity.h"
#include "policy/roster_reading.h"

enum {
    MODELS_MAX = 1000,
    ROOM_BYTES = 8 * 1024, /* for most bodies */
    BLOCK_BYTES = 16 * 1024,
    HINT_WORD_MAX = 60,
    SERIAL_MAX = 32,
    TENANT_NAME_MAX = 128
};
static const int64_t LATEST_US = INT64_C(253402300800) * 1000000; /* the year 10000 */

bool reading_bad(struct reading *reading, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reading->problem, 256, format, args);
    va_end(args);
    return false;
}

/* ------------------------------------------------------------------------------ small parts */

bool reading_is_given(const struct json *value)
{
    return value && json_kind(value) != SCAN_NULL;
}

const char *reading_hint(struct reading *reading, struct text word, const char *const *names)
{
    unsigned limit = word.len < 4 ? 2 : word.len < 8 ? 3 : 4;
    const char *nearest = NULL;
    static __thread char hint[96];
    (void)reading;
    for (size_t i = 0; word.len <= HINT_WORD_MAX && names[i]; i++) {
        unsigned distance = text_distance(word, text_of(names[i]), limit);
        if (distance < limit) {
            limit = distance;
            nearest = names[i];
        }
    }
    snprintf(hint, sizeof(hint), nearest ? " Did you mean '%s'?" : "%s", nearest ? nearest : "");
    return hint;
}

bool reading_members(struct reading *reading, const struct json *object, const char *const *allowed,
                     const char *where)
{
    void *at = NULL;
    struct text name;
    const struct json *value;
    while (json_next(object, &at, &name, &value)) {
        bool known = false;
        for (size_t i = 0; allowed[i]; i++)
            known = known || text_equal(name, text_of(allowed[i]));
        if (!known)
            return reading_bad(reading, "'%s' has no member '%.*s'.%s", where,
                               TEXT_ARGS(text_head(name, 60)),
                               reading_hint(reading, name, allowed));
    }
    return true;
}

bool reading_text(struct reading *reading, const struct json *value, const char *name,
                  struct text *to)
{
    struct text text;
    if (!reading_is_given(value))
        return true;
    if (!json_to_text(value, &text))
        return reading_bad(reading, "'%s' must be a string.", name);
    *to = arena_copy(reading->arena, text);
    return true;
}

/* Of those made here: what is safe in paths, in names of counters and in Redis. */
static bool is_name(struct text name)
{
    if (name.len == 0 || name.len > ROSTER_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_' || c == '.' || c == '@' || c == '+';
        if (!good)
            return false;
    }
    return true;
}

static bool read_time(struct reading *reading, const struct json *value, const char *name,
                      int64_t *us)
{
    struct text text = {"", 0};
    if (!reading_text(reading, value, name, &text))
        return false;
    if (!reading_is_given(value))
        return true;
    return (date_read(text, us) && *us > 0 && *us < LATEST_US) ||
           reading_bad(reading, "'%s' must be a date such as \"2027-01-01\" or a time of RFC 3339.",
                       name);
}

static bool read_digest(struct reading *reading, const struct json *value, struct digest *digest,
                        bool *given)
{
    struct text hex = {"", 0};
    if (!reading_text(reading, value, "hash", &hex) || !reading_is_given(value))
        return !reading_is_given(value);
    *given = hash_from_hex(hex, digest);
    return *given || reading_bad(reading, "'hash' is none.");
}

/* ---------------------------------------------------------------------------- lists, tags */

static bool read_models(struct reading *reading, const struct json *list,
                        struct roster_record *record)
{
    size_t count = json_count(list);
    if (!reading_is_given(list))
        return true;
    if (json_kind(list) != SCAN_ARRAY || count > MODELS_MAX)
        return reading_bad(reading, "'models' must be a list of at most %d names.", MODELS_MAX);
    record->models = arena_new(reading->arena, (count + 1) * sizeof(*record->models));
    for (size_t i = 0; i < count; i++) {
        struct text name;
        if (!json_to_text(json_item(list, i), &name) || name.len == 0)
            return reading_bad(reading, "'models' must be a list of names.");
        record->models[record->model_count++] = arena_copy(reading->arena, name);
    }
    return true;
}

static bool is_tag(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f || text.at[i] == ',' ||
            text.at[i] == '=')
            return false;
    return true;
}

static bool read_tags(struct reading *reading, const struct json *tags, struct text *to)
{
    struct buffer out;
    void *at = NULL;
    struct text name, text;
    const struct json *value;
    bool good = true;
    if (!reading_is_given(tags))
        return true;
    if (json_kind(tags) != SCAN_OBJECT)
        return reading_bad(reading, "'tags' must be an object of strings.");
    buffer_init(&out, TENANT_TAGS_MAX + 1);
    while (good && json_next(tags, &at, &name, &value)) {
        if (json_kind(value) == SCAN_NULL)
            continue;
        good = json_to_text(value, &text) && is_tag(name) && is_tag(text) && name.len > 0 &&
               buffer_format(&out, "%s%.*s=%.*s", buffer_length(&out) ? "," : "", TEXT_ARGS(name),
                             TEXT_ARGS(text));
    }
    *to = arena_copy(reading->arena, buffer_text(&out));
    buffer_done(&out);
    return (good && to->len <= TENANT_TAGS_MAX) ||
           reading_bad(reading, "'tags' must be strings without ',' and '=', %d bytes in all.",
                       TENANT_TAGS_MAX);
}

static bool read_may_set(struct reading *reading, const struct json *list, unsigned *bits)
{
    static const struct text words[] = {{"tags", 4}, {"policy", 6}, {"explain", 7}};
    struct text word;
    bool good = !reading_is_given(list) || json_kind(list) == SCAN_ARRAY;
    for (size_t i = 0; good && i < json_count(list); i++) {
        good = false;
        for (size_t w = 0; w < 3 && json_to_text(json_item(list, i), &word); w++)
            if (text_equal(word, words[w])) {
                *bits |= 1U << w;
                good = true;
            }
    }
    return good || reading_bad(reading, "'may_set' must be a list of: tags, policy, explain.");
}

/* Whoever sets no limits of his own has those of the file's limits.default. */
static void take_defaults(struct reading *reading, const struct json *owner,
                          struct roster_record *record)
{
    const struct roster_file *file = reading->file;
    struct limit_list *list = &record->limits;
    record->own_limits = list->count;
    if (reading_is_given(json_member(owner, "limits")) || file->default_count == 0)
        return;
    size_t count = list->count + file->default_count;
    struct limit *all = arena_new(reading->arena, count * sizeof(*all));
    if (list->count)
        memcpy(all, list->at, list->count * sizeof(*all));
    for (size_t i = 0; i < file->default_count; i++) {
        struct limit *limit = &all[list->count + i];
        *limit = file->defaults[i];
        limit->model = arena_copy(reading->arena, limit->model);
    }
    *list = (struct limit_list){all, count};
}

/* ----------------------------------------------------------------------------------- all */

/* What a client may give; behind that what only answers have; and what only the store has. */
static const char *const tenant_members[] = {"name",    "parent",  "models", "limits",
                                             "budget",  "budgets", "users",  "tags",
                                             "may_set", "off",     NULL};
static const char *const key_members[] = {"name",    "tenant", "models",     "limits", "budget",
                                          "budgets", "tags",   "expires_at", NULL};
static const char *const answer_members[] = {
    "id",         "prefix",        "origin",     "created_at", "updated_at",
    "rotated_at", "overlap_until", "revoked_at", NULL};

static bool is_among(struct text name, const char *const *names)
{
    for (size_t i = 0; names[i]; i++)
        if (text_equal(name, text_of(names[i])))
            return true;
    return false;
}

bool roster_read_is_answer(struct text name)
{
    return is_among(name, answer_members);
}

bool roster_read_allows(enum record_of kind, const struct json *body, bool change,
                        char problem[256])
{
    struct reading reading = {.problem = problem};
    const char *const *members = kind == RECORD_TENANT ? tenant_members : key_members;
    void *at = NULL;
    struct text name;
    const struct json *value;
    if (json_kind(body) != SCAN_OBJECT)
        return reading_bad(&reading, "The body must be an object.");
    while (json_next(body, &at, &name, &value))
        if (!is_among(name, members) && !(change && roster_read_is_answer(name)))
            return reading_bad(
                &reading, "'%.*s' is no member of a %s.%s", TEXT_ARGS(text_head(name, 60)),
                kind == RECORD_TENANT ? "tenant" : "key", reading_hint(&reading, name, members));
    return true;
}

/* What tells the tenant from others of its name, before it and after. */
static bool read_serial(struct reading *reading, const struct json *value,
                        struct roster_record *record)
{
    struct text serial = {"", 0};
    if (!reading_text(reading, value, "serial", &serial) || !reading_is_given(value))
        return !reading_is_given(value);
    if (!is_name(serial) || serial.len > SERIAL_MAX)
        return reading_bad(reading, "'serial' is none.");
    record->scope =
        arena_format(reading->arena, "%.*s#%.*s", TEXT_ARGS(record->name), TEXT_ARGS(serial));
    return true;
}

static bool read_tenant(struct reading *reading, const struct json *body,
                        struct roster_record *record)
{
    static const char *const members[] = {"limits", "budget", "budgets", NULL};
    const struct json *users = json_member(body, "users"), *off = json_member(body, "off");
    record->id = record->name;
    if (reading_is_given(users) && json_kind(users) != SCAN_OBJECT)
        return reading_bad(reading, "'users' must be an object.");
    if (reading_is_given(off) && !json_to_bool(off, &record->off))
        return reading_bad(reading, "'off' must be true or false.");
    return reading_text(reading, json_member(body, "parent"), "parent", &record->owner) &&
           read_serial(reading, json_member(body, "serial"), record) &&
           reading_members(reading, users, members, "users") &&
           read_may_set(reading, json_member(body, "may_set"), &record->may_set) &&
           reading_limits(reading, users, &record->user_limits);
}

static bool read_key(struct reading *reading, const struct json *body, struct roster_record *record)
{
    bool has = false;
    return reading_text(reading, json_member(body, "id"), "id", &record->id) &&
           reading_text(reading, json_member(body, "tenant"), "tenant", &record->owner) &&
           reading_text(reading, json_member(body, "prefix"), "prefix", &record->prefix) &&
           read_time(reading, json_member(body, "expires_at"), "expires_at", &record->expires_us) &&
           read_time(reading, json_member(body, "rotated_at"), "rotated_at", &record->rotated_us) &&
           read_time(reading, json_member(body, "overlap_until"), "overlap_until",
                     &record->overlap_until_us) &&
           read_time(reading, json_member(body, "revoked_at"), "revoked_at", &record->revoked_us) &&
           read_digest(reading, json_member(body, "hash"), &record->digest, &has) &&
           read_digest(reading, json_member(body, "old_hash"), &record->old_digest,
                       &record->has_old) &&
           (has || reading_bad(reading, "'hash' is missing.")) &&
           ((text_starts(record->id, TEXT("key_")) && is_name(record->id)) ||
            reading_bad(reading, "'id' is none."));
}

static bool read_record(struct reading *reading, const struct json *body,
                        struct roster_record *record)
{
    if (json_kind(body) != SCAN_OBJECT)
        return reading_bad(reading, "The body must be an object.");
    if (!reading_text(reading, json_member(body, "name"), "name", &record->name))
        return false;
    if (!is_name(record->name))
        return reading_bad(reading, "'name' must be 1 to %d letters, digits, and - _ . @ +.",
                           ROSTER_NAME_MAX);
    if (!read_models(reading, json_member(body, "models"), record) ||
        !read_tags(reading, json_member(body, "tags"), &record->tags) ||
        !read_time(reading, json_member(body, "created_at"), "created_at", &record->created_us) ||
        !read_time(reading, json_member(body, "updated_at"), "updated_at", &record->updated_us) ||
        !reading_limits(reading, body, &record->limits))
        return false;
    take_defaults(reading, body, record);
    bool good = record->kind == RECORD_TENANT ? read_tenant(reading, body, record)
                                              : read_key(reading, body, record);
    return good && (record->owner.len <= TENANT_NAME_MAX ||
                    reading_bad(reading, "'%s' is too long.",
                                record->kind == RECORD_TENANT ? "parent" : "tenant"));
}

/* Of a key that was revoked only this is asked for: whose it was, and since when it opens nothing.
 * All else is read from its body again where somebody wants to see it. */
static void keep_little(struct roster_record *record)
{
    struct text *kept[] = {&record->body, &record->id, &record->name, &record->owner};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
        bytes += kept[i]->len + sizeof(void *); /* closed, and aligned */
    arena_init(&record->arena, bytes);
    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
        *kept[i] = arena_copy(&record->arena, *kept[i]);
    record->models = NULL;
    record->model_count = record->own_limits = 0;
    record->limits = record->user_limits = (struct limit_list){NULL, 0};
    record->tags = record->prefix = record->scope = TEXT("");
}

static void pack_limits(struct arena *arena, struct limit_list *list)
{
    if (!list->count)
        return;
    struct limit *all = arena_take(arena, list->count * sizeof(*all));
    memcpy(all, list->at, list->count * sizeof(*all));
    for (size_t i = 0; i < list->count; i++)
        if (all[i].model.len)
            all[i].model = arena_copy(arena, all[i].model);
    list->at = all;
}

static size_t limits_bytes(const struct limit_list *list)
{
    size_t bytes = list->count * sizeof(*list->at);
    for (size_t i = 0; i < list->count; i++)
        bytes += list->at[i].model.len + sizeof(void *);
    return bytes;
}

/* There may be a million of these: all that it has, into one piece of the right size. */
static void keep_all(struct roster_record *record)
{
    struct text *texts[] = {&record->body, &record->id,     &record->name, &record->owner,
                            &record->tags, &record->prefix, &record->scope};
    enum { TEXTS = sizeof(texts) / sizeof(*texts) };
    struct text *models = record->models;
    bool named_twice = record->id.at == record->name.at; /* a tenant's */
    size_t bytes = record->model_count * sizeof(*models) + limits_bytes(&record->limits) +
                   limits_bytes(&record->user_limits);
    for (size_t i = 0; i < TEXTS; i++)
        bytes += texts[i]->len + sizeof(void *); /* closed, and aligned */
    for (size_t i = 0; i < record->model_count; i++)
        bytes += models[i].len + sizeof(void *);
    arena_init(&record->arena, bytes);
    for (size_t i = 0; i < TEXTS; i++)
        *texts[i] = texts[i]->len ? arena_copy(&record->arena, *texts[i]) : TEXT("");
    if (named_twice)
        record->id = record->name;
    if (models)
        record->models = arena_take(&record->arena, record->model_count * sizeof(*models));
    for (size_t i = 0; i < record->model_count; i++)
        record->models[i] = arena_copy(&record->arena, models[i]);
    pack_limits(&record->arena, &record->limits);
    pack_limits(&record->arena, &record->user_limits);
}

/* What it reads is in <room> as long as it reads: most of it is not kept. */
static struct roster_record *read_into(struct arena *arena, enum record_of kind, struct text body,
                                       const struct roster_file *file, char problem[256])
{
    struct json_problem wrong;
    struct json *root = json_read_in(arena, body, &wrong);
    if (!root) {
        snprintf(problem, 256, "The body is not valid JSON: %s, line %zu.", wrong.what, wrong.line);
        return NULL;
    }
    struct roster_record read = {.references = 1, .kind = kind, .body = body};
    read.id = read.name = read.owner = read.tags = read.prefix = read.scope = TEXT("");
    struct reading reading = {arena, file, problem};
    if (!read_record(&reading, root, &read))
        return NULL;
    struct roster_record *record = memory_new(sizeof(*record));
    memcpy(record, &read, sizeof(read));
    return record;
}

static struct roster_record *read_with(enum record_of kind, struct text body,
                                       const struct roster_file *file, char problem[256],
                                       bool whole)
{
    __attribute__((uninitialized)) alignas(8) char room[ROOM_BYTES];
    struct arena arena;
    arena_init_in(&arena, room, sizeof(room), BLOCK_BYTES);
    struct roster_record *record = read_into(&arena, kind, body, file, problem);
    if (record)
        (record->revoked_us && !whole ? keep_little : keep_all)(record);
    arena_done(&arena);
    return record;
}

struct roster_record *roster_read(enum record_of kind, struct text body,
                                  const struct roster_file *file, char problem[256])
{
    struct roster_record *record = read_with(kind, body, file, problem, false);
    if (record)
        roster_record_seal(record);
    return record;
}

struct roster_record *roster_read_whole(enum record_of kind, struct text body,
                                        const struct roster_file *file, char problem[256])
{
    return read_with(kind, body, file, problem, true);
}
