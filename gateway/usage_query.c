/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/usage_query.h"

#include <string.h>
#include <time.h>

enum { TIME_BYTES_MAX = 32 };

static const int64_t second_us = 1000000, day_us = 86400 * (int64_t)1000000;

/* "7d" is seven days before now. */
static bool read_age(struct text t, int64_t now_us, int64_t *us)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    uint64_t number;
    if (t.len < 2 || !text_number(text_head(t, t.len - 1), 100000, &number))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (t.at[t.len - 1] == units[i].letter) {
            *us = now_us - (int64_t)number * units[i].seconds * second_us;
            return true;
        }
    return false;
}

static bool read_date(struct text t, int64_t *us)
{
    static const char *const formats[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S",
                                          "%Y-%m-%d %H:%M:%S"};
    char z[TIME_BYTES_MAX];
    if (t.len >= sizeof z)
        return false;
    if (t.len > 0 && t.at[t.len - 1] == 'Z')
        t.len--;
    snprintf(z, sizeof z, "%.*s", TEXT_ARGS(t));
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct tm utc = {0};
        const char *end = strptime(z, formats[i], &utc);
        if (end != NULL && *end == 0) {
            *us = (int64_t)timegm(&utc) * second_us;
            return true;
        }
    }
    return false;
}

bool usage_time_read(const char *what, struct text t, int64_t now_us, int64_t *us,
                     struct fault *fault)
{
    if (text_equal(t, TEXT("now"))) {
        *us = now_us;
    } else if (!read_age(t, now_us, us) && !read_date(t, us)) {
        fault_set(fault, FAULT_BAD_REQUEST,
                  "%s \"%.*s\" is no time: 7d, 12h, 30m ago, 2026-11-23 or 2026-11-23T18:00:00Z",
                  what, TEXT_ARGS(text_head(t, 40)));
        fault->param = what;
        return false;
    }
    return true;
}

static bool complain_by(struct text name, struct fault *fault)
{
    const char *near = NULL;
    unsigned best = 3;
    for (unsigned i = 0; i < USAGE_BYS; i++) {
        const char *known = usage_by_name((enum usage_by)i);
        unsigned distance = text_distance(name, text_of(known), best);
        if (distance < best) {
            best = distance;
            near = known;
        }
    }
    return fault_set(fault, FAULT_BAD_REQUEST,
                     "cannot sum up by \"%.*s\"%s%s%s (tenant key user model target provider "
                     "operation status outcome minute hour day)",
                     TEXT_ARGS(text_head(name, 40)), near != NULL ? "; did you mean \"" : "",
                     near != NULL ? near : "", near != NULL ? "\"?" : "");
}

static bool read_by(struct text by, struct usage_query *query, struct fault *fault)
{
    struct text name;
    while (text_next(&by, ',', &name)) {
        enum usage_by one;
        if (!usage_by_find(name, &one))
            return complain_by(name, fault);
        for (size_t i = 0; i < query->by_count; i++)
            if (query->by[i] == one)
                return fault_set(fault, FAULT_BAD_REQUEST, "\"%.*s\" stands twice",
                                 TEXT_ARGS(name));
        query->by[query->by_count++] = one;
    }
    return true;
}

bool usage_query_read(struct text by, struct text since, struct text until, int64_t now_us,
                      struct usage_query *query, struct fault *fault)
{
    *query = (struct usage_query){.since_us = now_us - 30 * day_us, .until_us = now_us};
    if (by.len == 0)
        by = TEXT("tenant,model");
    if (!read_by(by, query, fault)) {
        fault->param = "by";
        return false;
    }
    if (since.len > 0 && !usage_time_read("since", since, now_us, &query->since_us, fault))
        return false;
    if (until.len > 0 && !usage_time_read("until", until, now_us, &query->until_us, fault))
        return false;
    if (query->since_us < query->until_us)
        return true;
    fault_set(fault, FAULT_BAD_REQUEST, "since must be before until");
    fault->param = "since";
    return false;
}

struct usage_report *usage_query_run(const struct usage_query *query, const struct config *config,
                                     struct fault *fault)
{
    struct usage_question question = {.directory = config->ledger_path,
                                      .database = config->database,
                                      .since_us = query->since_us,
                                      .until_us = query->until_us,
                                      .by = query->by,
                                      .by_count = query->by_count,
                                      .filter = query->filter,
                                      .rows_max = query->rows_max,
                                      .with_others = query->with_others};
    return usage_ask(&question, fault);
}

static void write_row(const struct usage_query *query, const struct usage_row *row,
                      struct json_write *json)
{
    json_open(json, '{');
    for (size_t i = 0; i < query->by_count; i++)
        json_text_member(json, usage_by_name(query->by[i]), text_of(row->by[i]));
    json_int_member(json, "requests", row->requests);
    json_int_member(json, "input_tokens", row->usage.input_tokens);
    json_int_member(json, "cached_tokens", row->usage.cached_tokens);
    json_int_member(json, "cache_write_tokens", row->usage.cache_write_tokens);
    json_int_member(json, "output_tokens", row->usage.output_tokens);
    json_int_member(json, "reasoning_tokens", row->usage.reasoning_tokens);
    json_int_member(json, "cost_nanos", row->cost_nanos);
    json_int_member(json, "saved_nanos", row->saved_nanos);
    json_int_member(json, "complete", row->complete);
    json_int_member(json, "partial", row->partial);
    json_int_member(json, "refused", row->refused);
    json_int_member(json, "lost", row->lost);
    json_int_member(json, "estimated", row->estimated);
    json_close(json, '}');
}

void usage_write_json(const struct usage_query *query, const struct usage_report *report,
                      struct json_write *json)
{
    json_open(json, '[');
    for (size_t i = 0; i < report->count; i++)
        write_row(query, &report->rows[i], json);
    json_close(json, ']');
}

/* ---------------------------------------------------------------------------- single calls */

static const char *outcome_word(enum ledger_outcome outcome)
{
    static const char *const words[] = {[LEDGER_COMPLETE] = "complete",
                                        [LEDGER_PARTIAL] = "partial",
                                        [LEDGER_REFUSED] = "refused",
                                        [LEDGER_LOST] = "lost"};
    return words[outcome];
}

static const char *counted_word(enum ledger_counted counted)
{
    static const char *const words[] = {[COUNTED_NONE] = "nobody",
                                        [COUNTED_PROVIDER] = "provider",
                                        [COUNTED_ESTIMATE] = "estimate"};
    return words[counted];
}

static void write_names(const struct ledger_row *row, struct json_write *json)
{
    json_text_member(json, "id", row->id);
    json_time_member(json, "started_at", row->started_us);
    json_text_member(json, "tenant", row->tenant);
    json_text_member(json, "key", row->key);
    json_text_member(json, "user", row->user);
    json_text_member(json, "tags", row->tags);
    json_text_member(json, "operation", row->operation);
    json_text_member(json, "dialect", row->dialect);
    json_text_member(json, "model", row->model);
    json_text_member(json, "target", row->target);
    json_text_member(json, "provider", row->provider);
    json_text_member(json, "upstream_model", row->upstream_model);
    json_text_member(json, "upstream_dialect", row->upstream_dialect);
}

void call_write_members(const struct ledger_row *row, struct json_write *json)
{
    const struct usage *usage = &row->usage;
    write_names(row, json);
    json_int_member(json, "status", row->status);
    json_text_member(json, "outcome", text_of(outcome_word(row->outcome)));
    json_text_member(json, "error", row->fault);
    json_text_member(json, "finish", row->finish);
    json_bool_member(json, "stream", row->stream);
    json_text_member(json, "counted", text_of(counted_word(row->counted)));
    json_int_member(json, "input_tokens", usage->input_tokens);
    json_int_member(json, "cached_tokens", usage->cached_tokens);
    json_int_member(json, "cache_write_tokens", usage->cache_write_tokens);
    json_int_member(json, "cache_write_1h_tokens", usage->cache_write_1h_tokens);
    json_int_member(json, "output_tokens", usage->output_tokens);
    json_int_member(json, "reasoning_tokens", usage->reasoning_tokens);
    json_int_member(json, "audio_input_tokens", usage->audio_input_tokens);
    json_int_member(json, "audio_output_tokens", usage->audio_output_tokens);
    json_int_member(json, "image_tokens", usage->image_tokens);
    json_int_member(json, "image_output_tokens", usage->image_output_tokens);
    json_int_member(json, "units", usage->units);
    json_int_member(json, "searches", usage->searches);
    json_text_member(json, "service_tier", text_of(service_tier_name(usage->service)));
    json_int_member(json, "price_version", row->price_version);
    json_int_member(json, "cost_nanos", row->cost_nanos);
    json_int_member(json, "saved_nanos", row->saved_nanos);
    json_int_member(json, "attempts", row->attempts);
    json_int_member(json, "ttft_us", row->ttft_us);
    json_int_member(json, "duration_us", row->duration_us);
    json_int_member(json, "overhead_us", row->overhead_us);
}

void call_write_json(const struct ledger_row *row, struct json_write *json)
{
    json_open(json, '{');
    call_write_members(row, json);
    json_close(json, '}');
}
