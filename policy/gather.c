/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/gather.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/base/memory.h"

/* A value as part of a group's name: one length byte, then up to 255 bytes. */
enum { VALUE_MAX = 256, TIME_BYTES = 32 };

static const char *const by_names[USAGE_BYS] = {
    [BY_TENANT] = "tenant",       [BY_KEY] = "key",       [BY_USER] = "user",
    [BY_MODEL] = "model",         [BY_TARGET] = "target", [BY_PROVIDER] = "provider",
    [BY_OPERATION] = "operation", [BY_STATUS] = "status", [BY_OUTCOME] = "outcome",
    [BY_MINUTE] = "minute",       [BY_HOUR] = "hour",     [BY_DAY] = "day",
};

static const char *const outcomes[] = {
    [LEDGER_COMPLETE] = "complete",
    [LEDGER_PARTIAL] = "partial",
    [LEDGER_REFUSED] = "refused",
    [LEDGER_LOST] = "lost",
};

bool usage_by_find(struct text name, enum usage_by *by)
{
    for (int i = 0; i < USAGE_BYS; i++) {
        if (!text_equal(name, text_of(by_names[i])))
            continue;
        *by = (enum usage_by)i;
        return true;
    }
    return false;
}

const char *usage_by_name(enum usage_by by)
{
    return by_names[by];
}

static bool is_time(enum usage_by by)
{
    return by >= BY_MINUTE;
}

void gather_init(struct gather *gather, const enum usage_by *by, size_t by_count)
{
    *gather = (struct gather){.by = by, .by_count = by_count};
}

/* ISO 8601, as short as the span allows, so that it sorts as a text. */
static size_t write_time(char *out, enum usage_by by, int64_t at_s)
{
    static const enum span spans[] = {SPAN_MINUTE, SPAN_HOUR, SPAN_DAY};
    time_t bucket = (time_t)span_bucket(spans[by - BY_MINUTE], at_s);
    struct tm utc;
    if (!gmtime_r(&bucket, &utc))
        return 0;
    return strftime(out, TIME_BYTES, by == BY_DAY ? "%Y-%m-%d" : "%Y-%m-%dT%H:%MZ", &utc);
}

/* The value of <by>, in <room> (TIME_BYTES) or borrowed from <key>. */
static struct text value_of(enum usage_by by, const struct series_key *key, int64_t at_s,
                            char *room)
{
    switch (by) {
    case BY_TENANT:
    case BY_KEY:
    case BY_USER:
    case BY_MODEL:
    case BY_TARGET:
    case BY_PROVIDER:
    case BY_OPERATION:
        return key->names[NAME_TENANT + (by - BY_TENANT)];
    case BY_STATUS:
        return (struct text){room, (size_t)snprintf(room, TIME_BYTES, "%d", key->status)};
    case BY_OUTCOME:
        return text_of(outcomes[key->outcome]);
    case BY_MINUTE:
    case BY_HOUR:
    case BY_DAY:
        return (struct text){room, write_time(room, by, at_s)};
    case USAGE_BYS:
        break;
    }
    return TEXT("");
}

/* NULL when there are too many. */
static struct usage_row *group_of(struct gather *gather, const struct series_key *key, int64_t at_s)
{
    char packed[USAGE_BYS * VALUE_MAX], room[TIME_BYTES];
    size_t len = 0;
    for (size_t i = 0; i < gather->by_count; i++) {
        struct text value = text_head(value_of(gather->by[i], key, at_s, room), VALUE_MAX - 1);
        packed[len++] = (char)value.len;
        memcpy(packed + len, value.at, value.len);
        len += value.len;
    }
    struct usage_row *row = table_find(&gather->groups, (struct text){packed, len});
    if (row)
        return row;
    if (gather->groups_max && gather->groups.count == gather->groups_max) {
        gather->overflows = true;
        return NULL;
    }
    /* The row and its name in the table are one piece of memory. */
    row = memory_new(sizeof(*row) + len + 1);
    char *name = (char *)(row + 1);
    memcpy(name, packed, len);
    for (size_t i = 0; i < gather->by_count; i++)
        row->by[i] = memory_string(value_of(gather->by[i], key, at_s, room));
    table_set(&gather->groups, (struct text){name, len}, row);
    return row;
}

static void add_usage(struct usage_row *row, const int64_t *sums)
{
    struct usage *usage = &row->usage;
    usage->input_tokens = sum_up(usage->input_tokens, sums[SUM_INPUT]);
    usage->cached_tokens = sum_up(usage->cached_tokens, sums[SUM_CACHED]);
    usage->cache_write_tokens = sum_up(usage->cache_write_tokens, sums[SUM_CACHE_WRITE]);
    usage->output_tokens = sum_up(usage->output_tokens, sums[SUM_OUTPUT]);
    usage->reasoning_tokens = sum_up(usage->reasoning_tokens, sums[SUM_REASONING]);
    usage->audio_input_tokens = sum_up(usage->audio_input_tokens, sums[SUM_AUDIO_INPUT]);
    usage->audio_output_tokens = sum_up(usage->audio_output_tokens, sums[SUM_AUDIO_OUTPUT]);
    usage->image_tokens = sum_up(usage->image_tokens, sums[SUM_IMAGE]);
    usage->units = sum_up(usage->units, sums[SUM_UNITS]);
}

bool filter_takes(const struct call_filter *filter, const struct series_key *key)
{
    if (!filter)
        return true;
    for (int i = 0; i < FILTER_NAMES; i++)
        if (filter->only[i].len && !text_equal(filter->only[i], key->names[i]))
            return false;
    if (filter->status_max &&
        (key->status < filter->status_min || key->status > filter->status_max))
        return false;
    return !filter->sees || filter->sees(filter->with, key->names[NAME_TENANT]);
}

static void add_times(struct usage_row *row, const int64_t *sums)
{
    row->attempts = sum_up(row->attempts, sums[SUM_ATTEMPTS]);
    row->duration_us = sum_up(row->duration_us, sums[SUM_DURATION_US]);
    row->overhead_us = sum_up(row->overhead_us, sums[SUM_OVERHEAD_US]);
    row->ttft_us = sum_up(row->ttft_us, sums[SUM_TTFT_US]);
    row->ttfts = sum_up(row->ttfts, sums[SUM_TTFTS]);
}

void gather_add(struct gather *gather, const struct series_key *key, int64_t at_s,
                const struct tally *tally)
{
    const int64_t *sums = tally->sums;
    if (!filter_takes(gather->filter, key))
        return;
    struct usage_row *row = group_of(gather, key, at_s);
    if (!row)
        return;
    int64_t *by_outcome[] = {
        [LEDGER_COMPLETE] = &row->complete,
        [LEDGER_PARTIAL] = &row->partial,
        [LEDGER_REFUSED] = &row->refused,
        [LEDGER_LOST] = &row->lost,
    };
    row->requests = sum_up(row->requests, sums[SUM_REQUESTS]);
    *by_outcome[key->outcome] = sum_up(*by_outcome[key->outcome], sums[SUM_REQUESTS]);
    add_usage(row, sums);
    row->cost_nanos = sum_up(row->cost_nanos, sums[SUM_COST]);
    row->saved_nanos = sum_up(row->saved_nanos, sums[SUM_SAVED]);
    row->estimated = sum_up(row->estimated, sums[SUM_ESTIMATED]);
    if (key->status >= 400 && key->status != 499)
        row->errors = sum_up(row->errors, sums[SUM_REQUESTS]);
    add_times(row, sums);
}

void gather_add_call(struct gather *gather, const struct ledger_row *row)
{
    int64_t minute_s = span_bucket_us(SPAN_MINUTE, row->started_us);
    if (minute_s < gather->from_s || minute_s >= gather->to_s)
        return;
    struct tally tally = {{0}};
    struct series_key key;
    series_key_of(row, &key);
    tally_add_call(&tally, row);
    gather_add(gather, &key, minute_s, &tally);
}

/* -------------------------------------------------------------------------------------- reports */

/* What qsort() cannot be told: which of the values are times. */
struct order {
    const enum usage_by *by;
    size_t by_count;
};

static int by_values(const struct usage_row *a, const struct usage_row *b,
                     const struct order *order, bool times)
{
    for (size_t i = 0; i < order->by_count; i++) {
        int result = is_time(order->by[i]) == times ? strcmp(a->by[i], b->by[i]) : 0;
        if (result)
            return result;
    }
    return 0;
}

static int compare(const void *one, const void *two, void *with)
{
    const struct usage_row *a = one, *b = two;
    int result = by_values(a, b, with, true);
    if (result == 0)
        result = (a->cost_nanos < b->cost_nanos) - (a->cost_nanos > b->cost_nanos);
    return result ? result : by_values(a, b, with, false);
}

struct usage_report *gather_report(struct gather *gather)
{
    struct usage_report *report = memory_new(sizeof(*report));
    /* Without a <by> there is one row, even of nothing. */
    if (gather->by_count == 0)
        group_of(gather, NULL, 0);
    report->rows = memory_new(gather->groups.count * sizeof(*report->rows));
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&gather->groups, &at, &name, &value)) {
        report->rows[report->count++] = *(struct usage_row *)value;
        memory_free(value);
    }
    table_done(&gather->groups);
    struct order order = {gather->by, gather->by_count};
    qsort_r(report->rows, report->count, sizeof(*report->rows), compare, &order);
    return report;
}

void gather_done(struct gather *gather)
{
    usage_report_free(gather_report(gather));
}

void usage_report_free(struct usage_report *report)
{
    if (!report)
        return;
    for (size_t i = 0; i < report->count; i++)
        for (int j = 0; j < USAGE_BYS; j++)
            memory_free(report->rows[i].by[j]);
    memory_free(report->rows);
    memory_free(report);
}
