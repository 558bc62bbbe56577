/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants and keys as answers give them (docs/KEYS.md): what is in force, with all members. */
#include <stdio.h>

#include "gateway/base/clock.h"
#include "policy/roster_read.h"
#include "policy/zone.h"

static void put(struct buffer *out, struct text t)
{
    buffer_append_text(out, t);
}

static void put_member(struct buffer *out, const char *name)
{
    struct text so_far = buffer_text(out);
    if (so_far.len && so_far.at[so_far.len - 1] != '{')
        put(out, TEXT(","));
    json_write_key(out, text_of(name));
}

static void put_text(struct buffer *out, const char *name, struct text value)
{
    put_member(out, name);
    if (value.len)
        json_write_string(out, value);
    else
        put(out, TEXT("null"));
}

static void put_time(struct buffer *out, const char *name, int64_t us)
{
    char stamp[CLOCK_STAMP_BYTES] = "";
    if (us)
        clock_stamp(us, stamp);
    put_text(out, name, text_of(stamp));
}

static void put_texts(struct buffer *out, const char *name, const struct text *texts, size_t count)
{
    put_member(out, name);
    put(out, TEXT("["));
    for (size_t i = 0; i < count; i++) {
        put(out, i ? TEXT(",") : TEXT(""));
        json_write_string(out, texts[i]);
    }
    put(out, TEXT("]"));
}

static void put_tags(struct buffer *out, struct text tags)
{
    struct text tag;
    const char *between = "";
    put_member(out, "tags");
    put(out, TEXT("{"));
    while (text_next(&tags, ',', &tag)) {
        size_t equal = text_find_byte(tag, '=');
        if (equal == SIZE_MAX)
            continue;
        put(out, text_of(between));
        json_write_key(out, text_head(tag, equal));
        json_write_string(out, text_from(tag, equal + 1));
        between = ",";
    }
    put(out, TEXT("}"));
}

/* --------------------------------------------------------------------------------- limits */

static const char *const away_words[] = {
    [AWAY_LOCAL] = "local", [AWAY_OPEN] = "open", [AWAY_CLOSED] = "closed"};

static bool counts_tokens(const struct limit *limit)
{
    return limit->kind == LIMIT_TOKENS || limit->kind == LIMIT_INPUT_TOKENS ||
           limit->kind == LIMIT_OUTPUT_TOKENS;
}

/* How the section's limits are kept, where that is not as the file says for all. */
static void put_manner(struct buffer *out, const struct limit_list *list, struct text model,
                       const struct roster_file *file)
{
    bool strict = file->strict_tokens;
    const struct limit *one = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const struct limit *limit = &list->at[i];
        if (limit->kind == LIMIT_MONEY || !text_equal(limit->model, model))
            continue;
        one = limit;
        if (counts_tokens(limit))
            strict = limit->strict;
    }
    if (strict != file->strict_tokens) {
        put_member(out, "strict");
        put(out, strict ? TEXT("true") : TEXT("false"));
    }
    if (one && one->algorithm != file->algorithm)
        put_text(out, "algorithm",
                 one->algorithm == LIMIT_TOKEN_BUCKET ? TEXT("token_bucket")
                                                      : TEXT("sliding_window"));
    if (one && one->away != file->away_limits)
        put_text(out, "on_error", text_of(away_words[one->away]));
}

static void put_rates(struct buffer *out, const struct limit_list *list, struct text model,
                      const struct roster_file *file)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct limit *limit = &list->at[i];
        char name[48];
        if (limit->kind == LIMIT_MONEY || !text_equal(limit->model, model))
            continue;
        limit_name_write(limit, name);
        put_member(out, name);
        buffer_format(out, "%lld", (long long)limit->amount);
    }
    put_manner(out, list, model, file);
}

/* Is this the first limit of its model, other than money? */
static bool begins_model(const struct limit_list *list, size_t at)
{
    if (list->at[at].kind == LIMIT_MONEY || list->at[at].model.len == 0)
        return false;
    for (size_t i = 0; i < at; i++)
        if (list->at[i].kind != LIMIT_MONEY && text_equal(list->at[i].model, list->at[at].model))
            return false;
    return true;
}

static void put_limits(struct buffer *out, const struct limit_list *list,
                       const struct roster_file *file)
{
    bool models = false;
    put_member(out, "limits");
    put(out, TEXT("{"));
    put_rates(out, list, TEXT(""), file);
    for (size_t i = 0; i < list->count; i++) {
        if (!begins_model(list, i))
            continue;
        if (!models) {
            put_member(out, "models");
            put(out, TEXT("{"));
        }
        put(out, models ? TEXT(",") : TEXT(""));
        models = true;
        json_write_key(out, list->at[i].model);
        put(out, TEXT("{"));
        put_rates(out, list, list->at[i].model, file);
        put(out, TEXT("}"));
    }
    put(out, models ? TEXT("}}") : TEXT("}"));
}

/* -------------------------------------------------------------------------------- budgets */

static void put_money(struct buffer *out, int64_t nanos)
{
    char part[16];
    int digits = snprintf(part, sizeof(part), "%09lld", (long long)(nanos % 1000000000));
    while (digits > 2 && part[digits - 1] == '0')
        digits--;
    put_member(out, "amount");
    buffer_format(out, "\"%lld.%.*s USD\"", (long long)(nanos / 1000000000), digits, part);
}

static void put_period(struct buffer *out, const struct limit *limit)
{
    char name[48];
    limit_name_write(limit, name);
    struct text period = text_of(name);
    /* "budget_per_month", "budget_per_30d", "budget_total" */
    size_t last = 0;
    for (size_t i = 0; i < period.len; i++)
        if (period.at[i] == '_')
            last = i + 1;
    put_text(out, "period", text_from(period, last));
}

static void put_budget(struct buffer *out, const struct limit *limit,
                       const struct roster_file *file)
{
    static const char *const exceeded[] = {
        [EXCEEDED_REJECT] = "reject", [EXCEEDED_DEGRADE] = "degrade", [EXCEEDED_WARN] = "warn"};
    put(out, TEXT("{"));
    put_money(out, limit->amount);
    put_period(out, limit);
    put_text(out, "time_zone",
             limit->period == PERIOD_ROLLING || limit->period == PERIOD_TOTAL
                 ? TEXT("")
                 : (limit->zone ? zone_name(limit->zone) : TEXT("UTC")));
    put_member(out, "warn_at");
    put(out, TEXT("["));
    for (int i = 0; i < LIMIT_WARNINGS && limit->warn_at[i]; i++)
        buffer_format(out, "%s%.4g", i ? "," : "", limit->warn_at[i] / 1000.0);
    put(out, TEXT("]"));
    put_text(out, "on_exceeded", text_of(exceeded[limit->exceeded]));
    if (limit->away != file->away_budgets)
        put_text(out, "on_error", text_of(away_words[limit->away]));
    put_text(out, "model", limit->model);
    put(out, TEXT("}"));
}

/* The first is `budget`, the others `budgets`. */
static void put_budgets(struct buffer *out, const struct limit_list *list,
                        const struct roster_file *file)
{
    size_t count = 0;
    put_member(out, "budget");
    for (size_t i = 0; i < list->count; i++) {
        if (list->at[i].kind != LIMIT_MONEY)
            continue;
        if (count == 1) {
            put_member(out, "budgets");
            put(out, TEXT("["));
        }
        put(out, count > 1 ? TEXT(",") : TEXT(""));
        put_budget(out, &list->at[i], file);
        count++;
    }
    if (count == 0)
        put(out, TEXT("null"));
    if (count <= 1) {
        put_member(out, "budgets");
        put(out, TEXT("["));
    }
    put(out, TEXT("]"));
}

static void put_level(struct buffer *out, const struct limit_list *list,
                      const struct roster_file *file)
{
    put_limits(out, list, file);
    put_budgets(out, list, file);
}

/* ------------------------------------------------------------------------------------ all */

static void put_may_set(struct buffer *out, const struct tenant *tenant)
{
    struct text words[3];
    size_t count = 0;
    if (tenant->may_set_tags)
        words[count++] = TEXT("tags");
    if (tenant->may_set_policy)
        words[count++] = TEXT("policy");
    if (tenant->may_set_explain)
        words[count++] = TEXT("explain");
    put_texts(out, "may_set", words, count);
}

static void put_tenant(struct buffer *out, const struct tenant *tenant, struct text parent,
                       const struct roster_file *file)
{
    put_text(out, "name", tenant->name);
    put_text(out, "parent", parent);
    put_texts(out, "models", tenant->models, tenant->model_count);
    put_level(out, &tenant->limits, file);
    put_member(out, "users");
    put(out, TEXT("{"));
    put_level(out, &tenant->user_limits, file);
    put(out, TEXT("}"));
    put_tags(out, tenant->tags);
    put_may_set(out, tenant);
    put_member(out, "off");
    put(out, tenant->is_off ? TEXT("true") : TEXT("false"));
}

static void put_times(struct buffer *out, struct text origin, int64_t created_us,
                      int64_t updated_us)
{
    put_text(out, "origin", origin);
    put_time(out, "created_at", created_us);
    put_time(out, "updated_at", updated_us);
}

void roster_write_file_tenant(struct buffer *out, const struct directory *view,
                              const struct tenant *tenant)
{
    put(out, TEXT("{"));
    put_tenant(out, tenant, tenant->parent ? tenant->parent->name : TEXT(""),
               &view->declared->file);
    put_times(out, TEXT("file"), 0, 0);
    put(out, TEXT("}"));
}

static void write_tenant(struct buffer *out, const struct directory *view,
                         const struct roster_record *record)
{
    struct tenant tenant = {.name = record->name,
                            .models = record->models,
                            .model_count = record->model_count,
                            .limits = {record->limits.at, record->own_limits},
                            .user_limits = record->user_limits,
                            .tags = record->tags,
                            .may_set_tags = record->may_set & 1,
                            .may_set_policy = record->may_set & 2,
                            .may_set_explain = record->may_set & 4,
                            .is_off = record->off};
    put(out, TEXT("{"));
    put_tenant(out, &tenant, record->owner, &view->declared->file);
    put_times(out, TEXT("api"), record->created_us, record->updated_us);
    put(out, TEXT("}"));
}

void roster_write_file_key(struct buffer *out, const struct directory *view, const struct key *key)
{
    char id[2 * ROSTER_NAME_MAX + 2];
    snprintf(id, sizeof(id), "%.*s:%.*s", TEXT_ARGS(key->tenant->name), TEXT_ARGS(key->name));
    put(out, TEXT("{"));
    put_text(out, "id", text_of(id));
    put_text(out, "name", key->name);
    put_text(out, "tenant", key->tenant->name);
    put_texts(out, "models", key->models, key->model_count);
    put_level(out, &key->limits, &view->declared->file);
    put_tags(out, key->tags);
    put_time(out, "expires_at", key->expires_us);
    put_text(out, "prefix", TEXT(""));
    put_times(out, TEXT("file"), 0, 0);
    put_time(out, "rotated_at", 0);
    put_time(out, "overlap_until", 0);
    put_time(out, "revoked_at", 0);
    put(out, TEXT("}"));
}

static void write_key(struct buffer *out, const struct directory *view,
                      const struct roster_record *record, struct text secret)
{
    struct limit_list own = {record->limits.at, record->own_limits};
    put(out, TEXT("{"));
    put_text(out, "id", record->id);
    put_text(out, "name", record->name);
    put_text(out, "tenant", record->owner);
    put_texts(out, "models", record->models, record->model_count);
    put_level(out, &own, &view->declared->file);
    put_tags(out, record->tags);
    put_time(out, "expires_at", record->expires_us);
    put_text(out, "prefix", record->prefix);
    put_times(out, TEXT("api"), record->created_us, record->updated_us);
    put_time(out, "rotated_at", record->rotated_us);
    put_time(out, "overlap_until", record->overlap_until_us);
    put_time(out, "revoked_at", record->revoked_us);
    if (secret.len)
        put_text(out, "secret", secret);
    put(out, TEXT("}"));
}

/* Of a key that was revoked its body alone says all. */
static void write_revoked(struct buffer *out, const struct directory *view,
                          const struct roster_record *record, struct text secret)
{
    char problem[256];
    struct roster_record *whole =
        roster_read_whole(RECORD_KEY, record->body, &view->declared->file, problem);
    write_key(out, view, whole ? whole : record, secret);
    if (whole)
        roster_record_unref(whole);
}

void roster_write_record(struct buffer *out, const struct directory *view,
                         const struct roster_record *record, struct text secret)
{
    if (record->kind == RECORD_TENANT)
        write_tenant(out, view, record);
    else if (record->revoked_us)
        write_revoked(out, view, record, secret);
    else
        write_key(out, view, record, secret);
}
