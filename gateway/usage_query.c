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

static bool read_time(const char *what, struct text t, int64_t now_us, int64_t *us,
                      struct fault *fault)
{
    if (text_equal(t, TEXT("now")))
        *us = now_us;
    else if (!read_age(t, now_us, us) && !read_date(t, us))
        return fault_set(fault, FAULT_BAD_REQUEST,
                         "%s \"%.*s\" is no time: 7d, 12h, 30m ago, 2026-11-23 or "
                         "2026-11-23T18:00:00Z",
                         what, TEXT_ARGS(text_head(t, 40)));
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
    if (!read_by(by, query, fault))
        return false;
    if (since.len > 0 && !read_time("since", since, now_us, &query->since_us, fault))
        return false;
    if (until.len > 0 && !read_time("until", until, now_us, &query->until_us, fault))
        return false;
    if (query->since_us >= query->until_us)
        return fault_set(fault, FAULT_BAD_REQUEST, "since must be before until");
    return true;
}

struct usage_report *usage_query_run(const struct usage_query *query, const struct config *config,
                                     struct fault *fault)
{
    return usage_read(config->ledger_path, config->database, query->since_us, query->until_us,
                      query->by, query->by_count, fault);
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
