/* SPDX-License-Identifier: Apache-2.0 */
/* What other nodes are told, read from the database and put into words. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway/base/table.h"
#include "policy/forward_inside.h"
#include "policy/owners_inside.h"

enum {
    SQL_BYTES = 2048,
    VALUE_BYTES = 24 * (TALLY_SUMS + 1),
    NAME_BYTES = 32,
    SUMS_MAX = SPANS * FORWARD_SUMS,
};
static const int64_t SECOND_US = 1000000;

const struct forward_span forward_spans[SPANS] = {
    [SPAN_MINUTE] = {"minute", "minutes"},
    [SPAN_HOUR] = {"hour", "hours"},
    [SPAN_DAY] = {"day", "days"},
};

struct forward_reader {
    struct database *database;
    struct statement *cuts[SPANS], *sums[SPANS], *rows, *objects;
};

struct text forward_key(struct arena *arena, const char *prefix, const char *name)
{
    return arena_format(arena, "%s{ledger}:%s", prefix, name);
}

/* --------------------------------------------------------------------------------- opening */

static struct statement *prepare_sums(struct database *database, enum span span)
{
    char sql[SQL_BYTES];
    size_t len = (size_t)snprintf(sql, sizeof(sql), "SELECT version, bucket, status, outcome");
    for (int i = 0; i < SERIES_NAMES; i++)
        len += (size_t)snprintf(sql + len, sizeof(sql) - len, ", %s", series_columns[i]);
    for (int i = 0; i < TALLY_SUMS; i++)
        len += (size_t)snprintf(sql + len, sizeof(sql) - len, ", %s", tally_columns[i]);
    snprintf(sql + len, sizeof(sql) - len,
             " FROM %s JOIN series ON id = series WHERE version > 0 AND version > ?"
             " AND version <= ? ORDER BY version",
             span_facts[span].table);
    return database_prepare(database, sql);
}

/* The number of the last sum that would be one batch. */
static struct statement *prepare_cut(struct database *database, enum span span)
{
    char sql[SQL_BYTES];
    snprintf(sql, sizeof(sql),
             "SELECT version FROM %s WHERE version > 0 AND version > ? ORDER BY version"
             " LIMIT 1 OFFSET %d",
             span_facts[span].table, FORWARD_SUMS - 1);
    return database_prepare(database, sql);
}

static bool prepare_all(struct forward_reader *reader)
{
    struct database *database = reader->database;
    for (enum span span = 0; span < SPANS; span++) {
        reader->cuts[span] = prepare_cut(database, span);
        reader->sums[span] = prepare_sums(database, span);
        if (!reader->cuts[span] || !reader->sums[span])
            return false;
    }
    reader->rows = database_prepare(
        database, "SELECT seq, day, row FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?");
    reader->objects = database_prepare(
        database, "SELECT version, id, kind, tenant, target, model, facts, made_us, gone"
                  " FROM objects WHERE version > 0 AND version > ? ORDER BY version LIMIT ?");
    return reader->rows && reader->objects;
}

struct forward_reader *forward_reader_open(const char *path, struct fault *fault)
{
    struct database *database = database_open(path, DATABASE_READ, fault);
    if (!database)
        return NULL;
    struct forward_reader *reader = memory_new(sizeof(*reader));
    reader->database = database;
    if (prepare_all(reader))
        return reader;
    fault_set(fault, FAULT_INTERNAL, "%s: %s", path, database_problem(database));
    forward_reader_close(reader);
    return NULL;
}

void forward_reader_close(struct forward_reader *reader)
{
    if (!reader)
        return;
    database_close(reader->database);
    memory_free(reader);
}

const char *forward_reader_problem(struct forward_reader *reader)
{
    return database_problem(reader->database);
}

bool forward_read_facts(struct forward_reader *reader, struct share *facts)
{
    return share_look(facts, reader->database);
}

/* ------------------------------------------------------------------------------------ sums */

/* One sum, before it is known which keys there are. */
struct told_sum {
    size_t bucket; /* from 1 */
    int64_t version;
    struct text field, value;
};

struct sums {
    struct forward_reader *reader;
    const struct forward_options *options;
    struct waiting *waiting;
    struct words *words;
    const struct share *facts;
    struct told_sum *at;
    size_t count, bucket_count;
    struct table buckets; /* name of the key → its number */
    struct {
        struct text key;
        enum span span;
        int64_t begin;
    } * seen;
};

static size_t bucket_of(struct sums *sums, enum span span, int64_t begin)
{
    char name[NAME_BYTES];
    struct arena *arena = &sums->words->arena;
    snprintf(name, sizeof(name), "%s:%" PRId64, forward_spans[span].one, begin);
    size_t number = (size_t)(uintptr_t)table_find(&sums->buckets, text_of(name));
    if (number)
        return number;
    number = ++sums->bucket_count;
    struct text key = forward_key(arena, sums->options->prefix, name);
    sums->seen[number - 1].key = key;
    sums->seen[number - 1].span = span;
    sums->seen[number - 1].begin = begin;
    table_set(&sums->buckets, arena_copy(arena, text_of(name)), (void *)(uintptr_t)number);
    return number;
}

static struct text field_of(struct sums *sums, struct statement *row)
{
    char packed[SERIES_PACKED_MAX];
    struct series_key key = {.status = (int)statement_number(row, 2),
                             .outcome = (enum ledger_outcome)(statement_number(row, 3) & 3)};
    for (int i = 0; i < SERIES_NAMES; i++)
        key.names[i] = statement_text(row, 4 + i);
    struct text series = series_pack(&key, packed);
    size_t len = strlen(sums->facts->ledger);
    char *at = arena_take(&sums->words->arena, len + 1 + series.len);
    memcpy(at, sums->facts->ledger, len);
    at[len] = '|';
    memcpy(at + len + 1, series.at, series.len);
    return (struct text){at, len + 1 + series.len};
}

static struct text value_of(struct sums *sums, struct statement *row)
{
    char value[VALUE_BYTES];
    size_t len = (size_t)snprintf(value, sizeof(value), "%" PRId64, sums->facts->epoch);
    for (int i = 0; i < TALLY_SUMS; i++)
        len += (size_t)snprintf(value + len, sizeof(value) - len, " %" PRId64,
                                statement_number(row, 4 + SERIES_NAMES + i));
    return arena_copy(&sums->words->arena, (struct text){value, len});
}

static bool read_span(struct sums *sums, enum span span, const struct batch *batch)
{
    struct statement *row = sums->reader->sums[span];
    enum statement_result result;
    statement_set(row, 1, batch->before);
    statement_set(row, 2, batch->after);
    while ((result = statement_next(row)) == STATEMENT_ROW) {
        struct told_sum *sum = &sums->at[sums->count++];
        sum->version = statement_number(row, 0);
        sum->bucket = bucket_of(sums, span, statement_number(row, 1));
        sum->field = field_of(sums, row);
        sum->value = value_of(sums, row);
    }
    return result == STATEMENT_END;
}

/* A batch ends where one of the spans has enough. */
static bool find_cut(struct forward_reader *reader, struct batch *batch)
{
    for (enum span span = 0; span < SPANS; span++) {
        struct statement *ask = reader->cuts[span];
        statement_set(ask, 1, batch->before);
        enum statement_result result = statement_next(ask);
        if (result == STATEMENT_ROW && statement_number(ask, 0) < batch->after)
            batch->after = statement_number(ask, 0);
        statement_reset(ask);
        if (result == STATEMENT_FAILED)
            return false;
    }
    return true;
}

static void put_head(struct words *words, const struct share *facts, const struct batch *batch)
{
    words_add(words, text_of(facts->ledger));
    words_number(words, facts->epoch);
    words_number(words, batch->before);
    words_number(words, batch->after);
}

static int64_t kept_s(int64_t us)
{
    return us > 0 ? us / SECOND_US + 1 : 0;
}

static void put_journal_keys(struct sums *sums, const struct batch *batch)
{
    struct words *words = sums->words;
    const char *prefix = sums->options->prefix, *ledger = sums->facts->ledger;
    words_add(words, forward_key(&words->arena, prefix, "waiting"));
    words_add(words, arena_format(&words->arena, "%s{ledger}:journals:%s", prefix, ledger));
    for (size_t i = 0; i < batch->journals.count; i++)
        words_add(words, arena_format(&words->arena, "%s{ledger}:waiting:%s/%.*s", prefix, ledger,
                                      TEXT_ARGS(batch->journals.at[i].name)));
}

static void put_sums(struct sums *sums, const struct batch *batch)
{
    struct words *words = sums->words;
    const char *prefix = sums->options->prefix;
    words_add(words, forward_key(&words->arena, prefix, "ledgers"));
    for (enum span span = 0; span < SPANS; span++)
        words_add(words, forward_key(&words->arena, prefix, forward_spans[span].all));
    for (size_t i = 0; i < sums->bucket_count; i++)
        words_add(words, sums->seen[i].key);
    if (batch->journals.count)
        put_journal_keys(sums, batch);
    words->keys = words->count;
    put_head(words, sums->facts, batch);
    for (enum span span = 0; span < SPANS; span++)
        words_number(words, kept_s(sums->options->keep.spans_us[span]));
    words_number(words, (int64_t)sums->bucket_count);
    for (size_t i = 0; i < sums->bucket_count; i++) {
        words_number(words, (int64_t)sums->seen[i].span + 1);
        words_number(words, sums->seen[i].begin);
    }
    words_number(words, (int64_t)batch->journals.count);
    for (size_t i = 0; i < batch->journals.count; i++) {
        words_add(words, batch->journals.at[i].name);
        words_number(words, batch->journals.at[i].sequence);
    }
    for (size_t i = 0; i < sums->count; i++) {
        words_number(words, (int64_t)sums->at[i].bucket);
        words_number(words, sums->at[i].version);
        words_add(words, sums->at[i].field);
        words_add(words, sums->at[i].value);
    }
}

static bool read_sums(struct sums *sums, struct share *facts, struct batch *batch)
{
    if (!share_look(facts, sums->reader->database))
        return false;
    batch->after = facts->version;
    if (!find_cut(sums->reader, batch))
        return false;
    for (enum span span = 0; span < SPANS; span++)
        if (!read_span(sums, span, batch))
            return false;
    /* Only who has all the sums has what the journals' marks say. */
    return batch->after < facts->version || waiting_read(sums->waiting, sums->reader->database,
                                                         &sums->words->arena, &batch->journals);
}

/* NOLINTNEXTLINE(readability-function-size): six parameters, each another thing */
bool forward_read_sums(struct forward_reader *reader, const struct forward_options *options,
                       struct waiting *waiting, struct batch *batch, struct words *words,
                       struct share *facts)
{
    struct sums sums = {
        .reader = reader, .options = options, .waiting = waiting, .words = words, .facts = facts};
    words_begin(words);
    if (!database_begin_read(reader->database))
        return false;
    sums.at = arena_take(&words->arena, SUMS_MAX * sizeof(*sums.at));
    sums.seen = arena_take(&words->arena, SUMS_MAX * sizeof(*sums.seen));
    table_init(&sums.buckets);
    bool good = read_sums(&sums, facts, batch);
    database_rollback(reader->database);
    if (good)
        put_sums(&sums, batch);
    batch->count = good ? sums.count + batch->journals.count : 0;
    table_done(&sums.buckets);
    return good;
}

/* ------------------------------------------------------------------------------------ rows */

struct rows {
    struct forward_reader *reader;
    struct words *words;
    int64_t day; /* of <line> */
    struct statement *line;
    bool has_day;
};

/* The statement that reads a row of <day>; NULL when the day is not kept any more. */
static struct statement *line_of(struct rows *rows, int64_t day)
{
    char name[NAME_BYTES], sql[2 * NAME_BYTES + 32];
    time_t at = (time_t)(day * 86400);
    struct tm utc;
    if (rows->has_day && rows->day == day)
        return rows->line;
    gmtime_r(&at, &utc);
    strftime(name, sizeof(name), "requests_%Y%m%d", &utc);
    snprintf(sql, sizeof(sql), "SELECT line FROM %s WHERE rowid = ?", name);
    statement_close(rows->line);
    rows->line = database_prepare(rows->reader->database, sql);
    rows->day = day;
    rows->has_day = true;
    return rows->line;
}

static void put_row(struct rows *rows, struct statement *waiting)
{
    struct statement *line = line_of(rows, statement_number(waiting, 1));
    if (!line)
        return;
    statement_set(line, 1, statement_number(waiting, 2));
    if (statement_next(line) == STATEMENT_ROW) {
        words_number(rows->words, statement_number(waiting, 0));
        words_add(rows->words, arena_copy(&rows->words->arena, statement_text(line, 0)));
    }
    statement_reset(line);
}

/* The mark that the batch leads to is not known before its end: its word is set then. */
static bool read_rows(struct rows *rows, struct batch *batch)
{
    struct statement *waiting = rows->reader->rows;
    enum statement_result result;
    statement_set(waiting, 1, batch->before);
    statement_set(waiting, 2, FORWARD_ROWS);
    while ((result = statement_next(waiting)) == STATEMENT_ROW) {
        put_row(rows, waiting);
        batch->after = statement_number(waiting, 0);
        batch->count++;
    }
    return result == STATEMENT_END;
}

bool forward_read_rows(struct forward_reader *reader, const struct forward_options *options,
                       struct batch *batch, struct words *words, struct share *facts)
{
    struct rows rows = {.reader = reader, .words = words};
    words_begin(words);
    if (!database_begin_read(reader->database))
        return false;
    batch->count = 0;
    batch->after = batch->before;
    bool good = share_look(facts, reader->database);
    words_add(words, forward_key(&words->arena, options->prefix, "ledgers"));
    words_add(words, forward_key(&words->arena, options->prefix, "calls"));
    words->keys = words->count;
    put_head(words, facts, batch);
    size_t after = words->count - 1;
    words_number(words, FORWARD_STREAM);
    words_number(words, kept_s(options->keep.requests_us));
    good = good && read_rows(&rows, batch);
    statement_close(rows.line);
    database_rollback(reader->database);
    words->at[after] = arena_format(&words->arena, "%" PRId64, batch->after);
    return good;
}

/* --------------------------------------------------------------------------------- objects */

static void read_object(struct statement *row, struct object *object)
{
    *object = (struct object){.id = statement_text(row, 1),
                              .kind = statement_text(row, 2),
                              .tenant = statement_text(row, 3),
                              .target = statement_text(row, 4),
                              .model = statement_text(row, 5),
                              .facts = statement_text(row, 6),
                              .made_us = statement_number(row, 7)};
}

/* Twice: keys come before values. */
static bool each_object(struct statement *row, struct batch *batch, struct words *words,
                        const char *prefix)
{
    enum statement_result result;
    struct object object;
    statement_set(row, 1, batch->before);
    statement_set(row, 2, FORWARD_OBJECTS);
    while ((result = statement_next(row)) == STATEMENT_ROW) {
        read_object(row, &object);
        if (prefix) {
            owners_words_key(words, prefix, object.id);
            continue;
        }
        batch->after = statement_number(row, 0);
        batch->count++;
        owners_words_object(words, batch->after, &object, statement_number(row, 8) != 0);
    }
    return result == STATEMENT_END;
}

bool forward_read_objects(struct forward_reader *reader, const struct forward_options *options,
                          struct batch *batch, struct words *words, struct share *facts)
{
    words_begin(words);
    if (!database_begin_read(reader->database))
        return false;
    batch->count = 0;
    batch->after = batch->before;
    words_add(words, forward_key(&words->arena, options->prefix, "ledgers"));
    words_add(words, forward_key(&words->arena, options->prefix, "objects"));
    bool good = share_look(facts, reader->database) &&
                each_object(reader->objects, batch, words, options->prefix);
    words->keys = words->count;
    put_head(words, facts, batch);
    size_t after = words->count - 1;
    words_number(words, batch->is_anew);
    good = good && each_object(reader->objects, batch, words, NULL);
    database_rollback(reader->database);
    words->at[after] = arena_format(&words->arena, "%" PRId64, batch->after);
    return good;
}
