/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/roster_read.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND INT64_C(1000000)

enum { MODELS_MAX = 1000, BLOCK_BYTES = 1024, DOLLARS_MAX = 1000000000 };

struct reading {
    struct arena *arena;
    const struct roster_file *file;
    char *problem;
};

static bool bad(struct reading *reading, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool bad(struct reading *reading, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reading->problem, 256, format, args);
    va_end(args);
    return false;
}

/* ---------------------------------------------------------------------------- small values */

bool roster_read_time(struct text from, int64_t *wall_us)
{
    char words[40];
    struct tm utc = {0};
    if (from.len < 10 || from.len >= sizeof(words))
        return false;
    memcpy(words, from.at, from.len);
    words[from.len] = '\0';
    const char *end = strptime(words, "%Y-%m-%dT%H:%M:%S", &utc);
    if (!end)
        end = strptime(words, "%Y-%m-%d", &utc);
    if (!end)
        return false;
    if (*end == '.') /* parts of a second are dropped */
        for (end++; *end >= '0' && *end <= '9'; end++)
            continue;
    int hours = 0, minutes = 0;
    char sign = '+';
    bool zone = sscanf(end, "%c%2d:%2d", &sign, &hours, &minutes) == 3 && strlen(end) == 6 &&
                (sign == '+' || sign == '-');
    if (*end && strcmp(end, "Z") != 0 && !zone)
        return false;
    int64_t shift = zone ? (hours * 60 + minutes) * 60 : 0;
    *wall_us = ((int64_t)timegm(&utc) - (sign == '-' ? -shift : shift)) * SECOND;
    return true;
}

bool roster_read_money(struct text from, int64_t *nanos)
{
    if (text_ends(from, TEXT(" USD")))
        from = text_head(from, from.len - 4);
    int64_t whole = 0, part = 0, unit = 100000000;
    size_t i = 0;
    for (; i < from.len && from.at[i] >= '0' && from.at[i] <= '9'; i++)
        if ((whole = whole * 10 + (from.at[i] - '0')) > DOLLARS_MAX)
            return false;
    if (i == 0)
        return false;
    if (i < from.len && from.at[i] == '.')
        for (i++; i < from.len && from.at[i] >= '0' && from.at[i] <= '9'; i++, unit /= 10) {
            if (unit == 0)
                return false;
            part += unit * (from.at[i] - '0');
        }
    *nanos = whole * 1000000000 + part;
    return i == from.len;
}

bool roster_read_duration(struct text from, int64_t *us)
{
    static const struct {
        char letter;
        int64_t us;
    } units[] = {{'s', SECOND}, {'m', 60 * SECOND}, {'h', 3600 * SECOND}, {'d', 86400 * SECOND}};
    int64_t count = 0;
    size_t i = 0;
    for (; i < from.len && from.at[i] >= '0' && from.at[i] <= '9'; i++)
        if ((count = count * 10 + (from.at[i] - '0')) > 1000000000)
            return false;
    if (i == 0 || i + 1 != from.len)
        return false;
    for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++)
        if (units[u].letter == from.at[i]) {
            *us = count * units[u].us;
            return count > 0 && count < 4000 * (86400 * SECOND / units[u].us);
        }
    return false;
}

static bool is_name(struct text name)
{
    if (name.len == 0 || name.len > ROSTER_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.at[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    (c && strchr("-_.@+", c));
        if (!good)
            return false;
    }
    return true;
}

static bool read_text(struct reading *reading, const struct json *value, const char *name,
                      struct text *to)
{
    struct text text;
    if (!value || json_kind(value) == SCAN_NULL)
        return true;
    if (!json_to_text(value, &text))
        return bad(reading, "'%s' must be a string.", name);
    *to = arena_copy(reading->arena, text);
    return true;
}

static bool read_time(struct reading *reading, const struct json *value, const char *name,
                      int64_t *us)
{
    struct text text = {"", 0};
    if (!read_text(reading, value, name, &text))
        return false;
    return text.len == 0 || roster_read_time(text, us) ||
           bad(reading, "'%s' must be a date such as \"2027-01-01\" or a time of RFC 3339.", name);
}

static bool read_digest(struct reading *reading, const struct json *value, struct digest *digest,
                        bool *given)
{
    struct text hex = {"", 0};
    if (!read_text(reading, value, "hash", &hex) || hex.len == 0)
        return true;
    *given = hash_from_hex(hex, digest);
    return *given || bad(reading, "'hash' is none.");
}

/* ---------------------------------------------------------------------------- lists, tags */

static bool read_models(struct reading *reading, const struct json *list,
                        struct roster_record *record)
{
    size_t count = json_count(list);
    if (!list || json_kind(list) == SCAN_NULL)
        return true;
    if (json_kind(list) != SCAN_ARRAY || count > MODELS_MAX)
        return bad(reading, "'models' must be a list of at most %d names.", MODELS_MAX);
    record->models = arena_new(reading->arena, (count + 1) * sizeof(*record->models));
    for (size_t i = 0; i < count; i++) {
        struct text name = {"", 0};
        if (!read_text(reading, json_item(list, i), "models", &name) || name.len == 0)
            return bad(reading, "'models' must be a list of names.");
        record->models[record->model_count++] = name;
    }
    return true;
}

static bool is_tag(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.at[i] < ' ' || text.at[i] == ',' || text.at[i] == '=')
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
    if (!tags || json_kind(tags) == SCAN_NULL)
        return true;
    if (json_kind(tags) != SCAN_OBJECT)
        return bad(reading, "'tags' must be an object of strings.");
    buffer_init(&out, TENANT_TAGS_MAX);
    while (good && json_next(tags, &at, &name, &value)) {
        good = json_to_text(value, &text) && is_tag(name) && is_tag(text) && name.len > 0;
        good = good && buffer_format(&out, "%s%.*s=%.*s", buffer_length(&out) ? "," : "",
                                     TEXT_ARGS(name), TEXT_ARGS(text));
    }
    *to = arena_copy(reading->arena, buffer_text(&out));
    buffer_done(&out);
    return good || bad(reading, "'tags' must be strings without ',' and '=', %d bytes in all.",
                       TENANT_TAGS_MAX);
}

static bool read_may_set(struct reading *reading, const struct json *list, unsigned *bits)
{
    static const struct text words[] = {{"tags", 4}, {"policy", 6}, {"explain", 7}};
    struct text word;
    for (size_t i = 0; i < json_count(list); i++) {
        bool known = false;
        for (size_t w = 0; w < 3 && json_to_text(json_item(list, i), &word); w++)
            if (text_equal(word, words[w])) {
                *bits |= 1U << w;
                known = true;
            }
        if (!known)
            return bad(reading, "'may_set' takes tags, policy, explain.");
    }
    return true;
}

/* -------------------------------------------------------------------------------- limits */

/* Limits while they are gathered; bounded. */
struct gathered {
    struct limit *at;
    size_t count;
};

static bool add_limit(struct reading *reading, struct gathered *limits, const struct limit *limit)
{
    if (limits->count == ROSTER_LIMITS_MAX)
        return bad(reading, "More than %d limits.", ROSTER_LIMITS_MAX);
    for (size_t i = 0; i < limits->count; i++) {
        const struct limit *other = &limits->at[i];
        if (other->kind == limit->kind && other->period == limit->period &&
            other->window_us == limit->window_us && text_equal(other->model, limit->model))
            return bad(reading, "The same limit stands there twice.");
    }
    limits->at[limits->count++] = *limit;
    return true;
}

static bool read_away(struct reading *reading, const struct json *value, enum limit_away *away)
{
    static const struct text words[] = {{"local", 5}, {"open", 4}, {"closed", 6}};
    struct text word;
    if (!value || json_kind(value) == SCAN_NULL)
        return true;
    for (int i = 0; json_to_text(value, &word) && i < 3; i++)
        if (text_equal(word, words[i])) {
            *away = (enum limit_away)i;
            return true;
        }
    return bad(reading, "'on_error' is local, open or closed.");
}

static bool read_period(struct reading *reading, const struct json *value, struct limit *limit)
{
    static const struct {
        const char *word;
        enum limit_period period;
    } words[] = {{"hour", PERIOD_HOUR},
                 {"day", PERIOD_DAY},
                 {"week", PERIOD_WEEK},
                 {"month", PERIOD_MONTH},
                 {"total", PERIOD_TOTAL}};
    struct text word = TEXT("month");
    if (value && json_kind(value) != SCAN_NULL && !json_to_text(value, &word))
        return bad(reading, "'period' must be a string.");
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (text_equal(word, text_of(words[i].word))) {
            limit->period = words[i].period;
            return true;
        }
    limit->period = PERIOD_ROLLING;
    return roster_read_duration(word, &limit->window_us) ||
           bad(reading,
               "'period' is hour, day, week, month, total, or a duration such as \"30d\".");
}

static bool read_amount(struct reading *reading, const struct json *value, int64_t *nanos)
{
    struct text text;
    int64_t whole;
    if (json_to_int(value, 0, DOLLARS_MAX, &whole)) {
        *nanos = whole * 1000000000;
        return true;
    }
    return (json_to_text(value, &text) && roster_read_money(text, nanos)) ||
           bad(reading, "'amount' must be a string such as \"500.00 USD\".");
}

/* Shares as decimal strings or numbers, kept per mille. */
static bool read_warnings(struct reading *reading, const struct json *list, struct limit *limit)
{
    size_t count = json_count(list);
    static const uint16_t usual[] = {500, 800};
    if (!list || json_kind(list) == SCAN_NULL) {
        memcpy(limit->warn_at, usual, sizeof(usual));
        return true;
    }
    if (json_kind(list) != SCAN_ARRAY || count > LIMIT_WARNINGS)
        return bad(reading, "'warn_at' is a list of at most %d shares.", LIMIT_WARNINGS);
    for (size_t i = 0; i < count; i++) {
        double share;
        if (!json_to_number(json_item(list, i), &share) || share <= 0 || share > 1)
            return bad(reading, "'warn_at' has shares above 0 up to 1.");
        limit->warn_at[i] = (uint16_t)(share * 1000 + 0.5);
    }
    return true;
}

static bool read_exceeded(struct reading *reading, const struct json *value, struct limit *limit)
{
    static const struct text words[] = {{"reject", 6}, {"degrade", 7}, {"warn", 4}};
    struct text word;
    if (!value || json_kind(value) == SCAN_NULL)
        return true;
    for (int i = 0; json_to_text(value, &word) && i < 3; i++)
        if (text_equal(word, words[i])) {
            limit->exceeded = (enum limit_exceeded)i;
            return true;
        }
    return bad(reading, "'on_exceeded' is reject, degrade or warn.");
}

static bool read_zone(struct reading *reading, const struct json *value, struct limit *limit)
{
    struct text name = {"", 0};
    if (!read_text(reading, value, "time_zone", &name))
        return false;
    if (name.len == 0 || text_equal(name, TEXT("UTC")))
        return true;
    limit->zone = zone_find(name);
    return limit->zone ||
           bad(reading, "There is no time zone '%.*s'.", TEXT_ARGS(text_head(name, 60)));
}

static bool check_members(struct reading *reading, const struct json *object,
                          const char *const *allowed, const char *where)
{
    void *at = NULL;
    struct text name;
    const struct json *value;
    while (json_next(object, &at, &name, &value)) {
        bool known = false;
        for (size_t i = 0; allowed[i]; i++)
            known = known || text_equal(name, text_of(allowed[i]));
        if (!known)
            return bad(reading, "'%s' has no member '%.*s'.", where,
                       TEXT_ARGS(text_head(name, 60)));
    }
    return true;
}

static bool read_budget(struct reading *reading, const struct json *budget, struct text model,
                        struct gathered *limits)
{
    static const char *const members[] = {"amount",      "period",   "time_zone", "warn_at",
                                          "on_exceeded", "on_error", NULL};
    struct limit limit = {.kind = LIMIT_MONEY, .model = model, .away = reading->file->away_budgets};
    if (!budget || json_kind(budget) == SCAN_NULL)
        return true;
    if (json_kind(budget) != SCAN_OBJECT)
        return bad(reading, "'budget' must be an object.");
    return check_members(reading, budget, members, "budget") &&
           read_amount(reading, json_member(budget, "amount"), &limit.amount) &&
           read_period(reading, json_member(budget, "period"), &limit) &&
           read_zone(reading, json_member(budget, "time_zone"), &limit) &&
           read_warnings(reading, json_member(budget, "warn_at"), &limit) &&
           read_exceeded(reading, json_member(budget, "on_exceeded"), &limit) &&
           read_away(reading, json_member(budget, "on_error"), &limit.away) &&
           add_limit(reading, limits, &limit);
}

static bool read_budgets(struct reading *reading, const struct json *object, struct text model,
                         struct gathered *limits)
{
    const struct json *list = json_member(object, "budgets");
    if (!read_budget(reading, json_member(object, "budget"), model, limits))
        return false;
    for (size_t i = 0; i < json_count(list); i++)
        if (!read_budget(reading, json_item(list, i), model, limits))
            return false;
    return true;
}

/* What limits of one section share. */
struct manner {
    struct text model;
    enum limit_algorithm algorithm;
    enum limit_away away;
    bool strict;
};

static bool read_algorithm(struct reading *reading, const struct json *value,
                           enum limit_algorithm *algorithm)
{
    struct text word;
    if (!value || json_kind(value) == SCAN_NULL)
        return true;
    if (!json_to_text(value, &word) ||
        (!text_equal(word, TEXT("sliding_window")) && !text_equal(word, TEXT("token_bucket"))))
        return bad(reading, "'algorithm' is sliding_window or token_bucket.");
    *algorithm = text_equal(word, TEXT("token_bucket")) ? LIMIT_TOKEN_BUCKET : LIMIT_SLIDING_WINDOW;
    return true;
}

static bool is_manner(struct text name)
{
    static const struct text names[] = {{"strict", 6}, {"algorithm", 9}, {"on_error", 8},
                                        {"models", 6}, {"budget", 6},    {"budgets", 7}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (text_equal(name, names[i]))
            return true;
    return false;
}

static bool read_rates(struct reading *reading, const struct json *object,
                       const struct manner *manner, struct gathered *limits)
{
    void *at = NULL;
    struct text name;
    const struct json *value;
    while (json_next(object, &at, &name, &value)) {
        struct limit limit = {0};
        if (is_manner(name) || json_kind(value) == SCAN_NULL)
            continue;
        if (!limit_name_read(name, &limit))
            return bad(reading, "There is no limit '%.*s'.", TEXT_ARGS(text_head(name, 60)));
        if (!json_to_int(value, 0, INT64_C(1000000000000000), &limit.amount))
            return bad(reading, "'%.*s' must be a whole number.", TEXT_ARGS(text_head(name, 60)));
        limit.model = manner->model;
        limit.algorithm = manner->algorithm;
        limit.away = manner->away;
        limit.strict = manner->strict;
        if (!add_limit(reading, limits, &limit))
            return false;
    }
    return true;
}

static bool read_section(struct reading *reading, const struct json *object, struct text model,
                         struct gathered *limits)
{
    struct manner manner = {.model = model,
                            .algorithm = reading->file->algorithm,
                            .away = reading->file->away_limits,
                            .strict = reading->file->strict_tokens};
    if (!object || json_kind(object) == SCAN_NULL)
        return true;
    if (json_kind(object) != SCAN_OBJECT)
        return bad(reading, "'limits' must be an object.");
    const struct json *strict = json_member(object, "strict");
    if (strict && json_kind(strict) != SCAN_NULL && !json_to_bool(strict, &manner.strict))
        return bad(reading, "'strict' must be true or false.");
    return read_algorithm(reading, json_member(object, "algorithm"), &manner.algorithm) &&
           read_away(reading, json_member(object, "on_error"), &manner.away) &&
           read_rates(reading, object, &manner, limits);
}

/* The section itself, and the one of each model in it. */
static bool read_limits(struct reading *reading, const struct json *owner, struct limit_list *list)
{
    struct limit room[ROSTER_LIMITS_MAX];
    struct gathered limits = {room, 0};
    const struct json *section = json_member(owner, "limits");
    const struct json *models = json_member(section, "models"), *value;
    void *at = NULL;
    struct text name;
    if (!read_section(reading, section, (struct text){"", 0}, &limits) ||
        !read_budgets(reading, owner, (struct text){"", 0}, &limits))
        return false;
    while (models && json_next(models, &at, &name, &value)) {
        struct text model = arena_copy(reading->arena, name);
        if (!read_section(reading, value, model, &limits) ||
            !read_budgets(reading, value, model, &limits))
            return false;
    }
    struct limit *kept = arena_new(reading->arena, (limits.count + 1) * sizeof(*kept));
    memcpy(kept, room, limits.count * sizeof(*kept));
    *list = (struct limit_list){kept, limits.count};
    return true;
}

/* Whoever sets no limits of his own has those of the file's limits.default. */
static void take_defaults(struct reading *reading, const struct json *owner,
                          struct limit_list *list)
{
    size_t extra = reading->file->default_count;
    if (json_member(owner, "limits") || extra == 0)
        return;
    struct limit *all = arena_new(reading->arena, (list->count + extra) * sizeof(*all));
    memcpy(all, list->at, list->count * sizeof(*all));
    for (size_t i = 0; i < extra; i++) {
        all[list->count + i] = reading->file->defaults[i];
        all[list->count + i].model = arena_copy(reading->arena, all[list->count + i].model);
    }
    *list = (struct limit_list){all, list->count + extra};
}

/* ----------------------------------------------------------------------------------- all */

static const char *const tenant_members[] = {"name",    "parent",  "models", "limits",
                                             "budget",  "budgets", "users",  "tags",
                                             "may_set", "off",     NULL};
static const char *const key_members[] = {"name",    "tenant", "models",     "limits", "budget",
                                          "budgets", "tags",   "expires_at", NULL};

bool roster_read_allows(enum record_of kind, const struct json *body, char problem[256])
{
    struct reading reading = {.problem = problem};
    return check_members(&reading, body, kind == RECORD_TENANT ? tenant_members : key_members,
                         kind == RECORD_TENANT ? "tenant" : "key");
}

static bool read_tenant(struct reading *reading, const struct json *body,
                        struct roster_record *record)
{
    static const char *const members[] = {"limits", "budget", "budgets", NULL};
    const struct json *users = json_member(body, "users"), *off = json_member(body, "off");
    record->id = record->name;
    if (users && json_kind(users) == SCAN_OBJECT &&
        !check_members(reading, users, members, "users"))
        return false;
    if (off && json_kind(off) != SCAN_NULL && !json_to_bool(off, &record->off))
        return bad(reading, "'off' must be true or false.");
    return read_text(reading, json_member(body, "parent"), "parent", &record->owner) &&
           read_may_set(reading, json_member(body, "may_set"), &record->may_set) &&
           (!users || read_limits(reading, users, &record->user_limits));
}

static bool read_key(struct reading *reading, const struct json *body, struct roster_record *record)
{
    bool has = false;
    return read_text(reading, json_member(body, "id"), "id", &record->id) &&
           read_text(reading, json_member(body, "tenant"), "tenant", &record->owner) &&
           read_time(reading, json_member(body, "expires_at"), "expires_at", &record->expires_us) &&
           read_time(reading, json_member(body, "overlap_until"), "overlap_until",
                     &record->overlap_until_us) &&
           read_time(reading, json_member(body, "revoked_at"), "revoked_at", &record->revoked_us) &&
           read_digest(reading, json_member(body, "hash"), &record->digest, &has) &&
           read_digest(reading, json_member(body, "old_hash"), &record->old_digest,
                       &record->has_old);
}

static bool read_record(struct reading *reading, const struct json *body,
                        struct roster_record *record)
{
    if (json_kind(body) != SCAN_OBJECT)
        return bad(reading, "The body must be an object.");
    if (!read_text(reading, json_member(body, "name"), "name", &record->name) ||
        !is_name(record->name))
        return bad(reading, "'name' must be 1 to %d letters, digits, and - _ . @ +.",
                   ROSTER_NAME_MAX);
    if (!read_models(reading, json_member(body, "models"), record) ||
        !read_tags(reading, json_member(body, "tags"), &record->tags) ||
        !read_time(reading, json_member(body, "created_at"), "created_at", &record->created_us) ||
        !read_limits(reading, body, &record->limits))
        return false;
    take_defaults(reading, body, &record->limits);
    return record->kind == RECORD_TENANT ? read_tenant(reading, body, record)
                                         : read_key(reading, body, record);
}

struct roster_record *roster_read(enum record_of kind, struct text body,
                                  const struct roster_file *file, char problem[256])
{
    struct json_problem wrong;
    struct json *root = json_read(body, &wrong);
    if (!root) {
        snprintf(problem, 256, "The body is not valid JSON: %s, line %zu.", wrong.what, wrong.line);
        return NULL;
    }
    struct roster_record *record = memory_new(sizeof(*record));
    record->references = 1;
    record->kind = kind;
    arena_init(&record->arena, BLOCK_BYTES);
    struct reading reading = {&record->arena, file, problem};
    record->body = arena_copy(&record->arena, body);
    bool good = read_record(&reading, root, record);
    json_free(root);
    if (!good) {
        roster_record_unref(record);
        return NULL;
    }
    return record;
}
