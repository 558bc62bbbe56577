/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a usage report that comes from the rollups. */
#include <stdio.h>
#include <string.h>

#include "gateway/base/database.h"
#include "policy/gather.h"

/* The first version of the schema has no times and tries. */
enum { SUMS_FIRST = SUM_ESTIMATED + 1, SQL_BYTES = 2048 };

struct rollups {
    struct database *database;
    struct gather *gather;
    int sums;                        /* columns that this version has */
    struct statement *rows[SPANS];   /* all rows of a stretch of time */
    struct statement *counts[SPANS]; /* how many calls they stand for */
};

static bool wants(const struct gather *gather, enum usage_by by)
{
    for (size_t i = 0; i < gather->by_count; i++)
        if (gather->by[i] == by)
            return true;
    const struct call_filter *filter = gather->filter;
    return filter && (int)by < (int)FILTER_NAMES &&
           (filter->only[by].len || (by == BY_TENANT && filter->sees));
}

/* Names that nobody asked for are not fetched: they are most of the work. */
static bool prepare(struct rollups *rollups, enum span span)
{
    char sql[SQL_BYTES];
    size_t len = (size_t)snprintf(sql, sizeof(sql), "SELECT bucket, status, outcome");
    for (int i = 0; i < SERIES_NAMES; i++)
        len += (size_t)snprintf(
            sql + len, sizeof(sql) - len, ", %s",
            wants(rollups->gather, (enum usage_by)(BY_TENANT + i)) ? series_columns[i] : "''");
    for (int i = 0; i < rollups->sums; i++)
        len += (size_t)snprintf(sql + len, sizeof(sql) - len, ", %s", tally_columns[i]);
    snprintf(sql + len, sizeof(sql) - len,
             " FROM %s JOIN series ON id = series WHERE bucket >= ? AND bucket < ?",
             span_facts[span].table);
    rollups->rows[span] = database_prepare(rollups->database, sql);
    snprintf(sql, sizeof(sql),
             "SELECT ifnull(sum(requests), 0) FROM %s WHERE bucket >= ? AND bucket < ?",
             span_facts[span].table);
    rollups->counts[span] = database_prepare(rollups->database, sql);
    return rollups->rows[span] && rollups->counts[span];
}

static void read_row(struct statement *row, int sums, struct series_key *key, struct tally *tally)
{
    key->status = (int)statement_number(row, 1);
    key->outcome = (enum ledger_outcome)(statement_number(row, 2) & 3);
    for (int i = 0; i < SERIES_NAMES; i++)
        key->names[i] = statement_text(row, 3 + i);
    for (int i = 0; i < sums; i++)
        tally->sums[i] = statement_number(row, 3 + SERIES_NAMES + i);
}

static bool read_stretch(void *with, enum span span, int64_t from_s, int64_t to_s)
{
    struct rollups *rollups = with;
    struct statement *row = rollups->rows[span];
    struct series_key key;
    struct tally tally = {{0}};
    enum statement_result result;
    statement_set(row, 1, from_s);
    statement_set(row, 2, to_s);
    while ((result = statement_next(row)) == STATEMENT_ROW) {
        read_row(row, rollups->sums, &key, &tally);
        gather_add(rollups->gather, &key, statement_number(row, 0), &tally);
    }
    return result == STATEMENT_END;
}

static bool count_calls(void *with, enum span span, int64_t from_s, int64_t to_s, int64_t *count)
{
    struct rollups *rollups = with;
    struct statement *ask = rollups->counts[span];
    statement_set(ask, 1, from_s);
    statement_set(ask, 2, to_s);
    bool good = statement_next(ask) == STATEMENT_ROW;
    *count = good ? statement_number(ask, 0) : 0;
    statement_reset(ask);
    return good;
}

enum span gather_longest(const struct gather *gather)
{
    return wants(gather, BY_MINUTE) ? SPAN_MINUTE : wants(gather, BY_HOUR) ? SPAN_HOUR : SPAN_DAY;
}

/*
 * Read [from_s, to_s), which is a part of one bucket of <span>: from the shorter buckets in it, as
 * long as they are kept. When they are not - they do not stand for as many calls - the whole bucket
 * is taken.
 */
static bool read_part(const struct span_source *source, enum span span, int64_t from_s,
                      int64_t to_s)
{
    int64_t all, kept;
    int64_t bucket = span_bucket(span, from_s), end = bucket + span_facts[span].seconds;
    if (from_s >= to_s)
        return true;
    if (!source->count(source->with, span, bucket, end, &all) ||
        !source->count(source->with, span - 1, bucket, end, &kept))
        return false;
    return all == kept ? spans_read(source, span - 1, from_s, to_s)
                       : source->read(source->with, span, bucket, end);
}

/* Whole buckets of <span> from its own table, the rest at both ends from shorter ones. */
bool spans_read(const struct span_source *source, enum span span, int64_t from_s, int64_t to_s)
{
    int64_t seconds = span_facts[span].seconds;
    if (span == SPAN_MINUTE)
        return source->read(source->with, span, from_s, to_s);
    int64_t first = span_bucket(span, from_s + seconds - 1), last = span_bucket(span, to_s);
    if (first > last)
        return read_part(source, span, from_s, to_s);
    return read_part(source, span, from_s, first) &&
           source->read(source->with, span, first, last) && read_part(source, span, last, to_s);
}

bool rollups_gather(struct database *database, struct gather *gather)
{
    struct rollups rollups = {.database = database, .gather = gather, .sums = TALLY_SUMS};
    struct span_source source = {read_stretch, count_calls, &rollups};
    if (database_version(database) < 2)
        rollups.sums = SUMS_FIRST;
    enum span longest = gather_longest(gather);
    for (enum span span = SPAN_MINUTE; span <= longest; span++)
        if (!prepare(&rollups, span))
            return false;
    bool good = spans_read(&source, longest, gather->from_s, gather->to_s);
    for (enum span span = SPAN_MINUTE; span <= longest; span++) {
        statement_close(rollups.rows[span]);
        statement_close(rollups.counts[span]);
    }
    return good;
}
