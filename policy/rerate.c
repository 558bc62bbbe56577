/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that are booked, rated with other prices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "policy/book.h"
#include "policy/gather.h"
#include "policy/policy.h"

enum { AT_ONCE = 1000, SQL_BYTES = 256 };
static const int64_t DAY_US = 86400LL * 1000000;

enum ask { NOTE, ASK_SERIES, ASK_DAY, ASKS };

static const char *const asks[ASKS] = {
    [NOTE] = "INSERT INTO rerated (id, day, row, old_version, old_cost_nanos, new_version,"
             " new_cost_nanos, at_us, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [ASK_SERIES] = "SELECT id FROM series WHERE tenant = ? AND key = ? AND user = ? AND model = ?"
                   " AND target = ? AND provider = ? AND operation = ? AND status = ?"
                   " AND outcome = ?",
    [ASK_DAY] = "SELECT 1 FROM rollup_day WHERE bucket = ? AND series = ?",
};

struct rerating {
    const struct rerate_question *question;
    struct rerate_report *report;
    struct table models; /* name → its place in the report, from 1 */
    struct database *database;
    struct book *book; /* NULL: nothing is applied */
    struct statement *asks[ASKS], *sums[SPANS];
    struct statement *read, *write; /* of the day */
    int64_t now_us;
};

/* One call of a day. */
struct rated {
    int64_t day, row;
    struct record record;
    const struct price *price;
    int64_t cost_nanos;
};

/* ------------------------------------------------------------------------------------ applying */

static bool note(struct rerating *rerating, const struct rated *rated)
{
    struct statement *note = rerating->asks[NOTE];
    const struct ledger_row *row = &rated->record.row;
    statement_set_text(note, 1, row->id);
    statement_set(note, 2, rated->day);
    statement_set(note, 3, rated->row);
    statement_set(note, 4, row->price_version);
    statement_set(note, 5, row->cost_nanos);
    statement_set(note, 6, rated->price->version);
    statement_set(note, 7, rated->cost_nanos);
    statement_set(note, 8, rerating->now_us);
    statement_set_text(note, 9, text_of(rerating->question->why ? rerating->question->why : ""));
    return statement_run(note);
}

static bool write_line(struct rerating *rerating, const struct rated *rated)
{
    char body[RECORD_MAX_BYTES];
    struct ledger_row row = rated->record.row;
    row.cost_nanos = rated->cost_nanos;
    row.price_version = rated->price->version;
    statement_set_blob(rerating->write, 1, (struct text){body, record_write_body(body, &row)});
    statement_set(rerating->write, 2, rated->row);
    return statement_run(rerating->write);
}

/* The series of these names, when calls of that day are counted under it. 0 = no; -1 = failed. */
static int64_t series_of_day(struct rerating *rerating, const struct series_key *key, int64_t day)
{
    struct statement *ask = rerating->asks[ASK_SERIES];
    for (int i = 0; i < SERIES_NAMES; i++)
        statement_set_text(ask, i + 1, key->names[i]);
    statement_set(ask, SERIES_NAMES + 1, key->status);
    statement_set(ask, SERIES_NAMES + 2, (int64_t)key->outcome);
    enum statement_result result = statement_next(ask);
    int64_t series = result == STATEMENT_ROW ? statement_number(ask, 0) : 0;
    statement_reset(ask);
    if (result != STATEMENT_ROW)
        return result == STATEMENT_END ? 0 : -1;
    struct statement *has = rerating->asks[ASK_DAY];
    statement_set(has, 1, day * 86400);
    statement_set(has, 2, series);
    result = statement_next(has);
    statement_reset(has);
    if (result == STATEMENT_ROW)
        return series;
    return result == STATEMENT_END ? 0 : -1;
}

/* Of many names of a day, some are counted as "other" (rollup.h): the first way of counting it that
 * there is on its day is the one it was counted in. */
static int64_t find_series(struct rerating *rerating, const struct rated *rated)
{
    static const struct {
        bool user, model;
    } as_other[] = {{false, false}, {true, false}, {false, true}, {true, true}};
    for (size_t i = 0; i < sizeof(as_other) / sizeof(as_other[0]); i++) {
        struct series_key key;
        series_key_of(&rated->record.row, &key);
        if (as_other[i].user && key.names[NAME_USER].len)
            key.names[NAME_USER] = TEXT("other");
        if (as_other[i].model && key.names[NAME_MODEL].len)
            key.names[NAME_MODEL] = TEXT("other");
        int64_t series = series_of_day(rerating, &key, rated->day);
        if (series)
            return series;
    }
    return 0;
}

/* Sums that are not kept any more have nothing to change. */
static bool change_sums(struct rerating *rerating, const struct rated *rated)
{
    int64_t series = find_series(rerating, rated);
    int64_t more = rated->cost_nanos - rated->record.row.cost_nanos;
    for (enum span span = 0; span < SPANS && series > 0; span++) {
        struct statement *change = rerating->sums[span];
        statement_set(change, 1, more);
        statement_set(change, 2, share_next(book_share(rerating->book)));
        statement_set(change, 3, span_bucket_us(span, rated->record.row.started_us));
        statement_set(change, 4, series);
        if (!statement_run(change))
            return false;
    }
    return series >= 0;
}

static bool apply(struct rerating *rerating, const struct rated *rated)
{
    return note(rerating, rated) && change_sums(rerating, rated) && write_line(rerating, rated);
}

/* -------------------------------------------------------------------------------------- rating */

static struct rerated_model *model_of(struct rerating *rerating, struct text name)
{
    struct rerate_report *report = rerating->report;
    size_t place = (size_t)(uintptr_t)table_find(&rerating->models, name);
    if (place)
        return &report->models[place - 1];
    report->models = memory_resize(report->models, (report->count + 1) * sizeof(*report->models));
    struct rerated_model *model = &report->models[report->count++];
    *model = (struct rerated_model){.model = memory_string(name)};
    table_set(&rerating->models, (struct text){model->model, name.len},
              (void *)(uintptr_t)report->count);
    return model;
}

/* The row of a batch is a sum of calls, of which each paid its fixed price; how long each was is
 * not known any more. */
static int64_t cost_of_batch(const struct ledger_row *row, const struct price *price)
{
    struct price flat = *price;
    flat.tier_above_tokens = flat.request = 0;
    int64_t fixed = price->request > 0 ? price->request : 0, cost = price_cost(&flat, &row->usage);
    __int128 all = (__int128)fixed * row->attempts + cost;
    return all < INT64_MAX ? (int64_t)all : INT64_MAX;
}

/* What is reserved for a call: it may be answered in the standard tier, whatever was asked for. */
static int64_t bound_of(const struct usage *usage, const struct price *price)
{
    struct price room;
    const struct price *asked = price_of_service(price, usage->service, &room);
    int64_t its = price_bound(asked, usage->input_tokens, usage->output_tokens, usage->units);
    int64_t standard = price_bound(price, usage->input_tokens, usage->output_tokens, usage->units);
    int64_t most = its > standard ? its : standard;
    return price_bound_with(price, usage, most);
}

static int64_t cost_of(const struct ledger_row *row, const struct price *price)
{
    const struct usage *usage = &row->usage;
    if (row->outcome == LEDGER_LOST) /* booked at its reservation */
        return bound_of(usage, price);
    if (text_equal(row->operation, TEXT("batch")))
        return cost_of_batch(row, price);
    return price_cost(price, usage);
}

/* One call; false when the database failed. */
static bool rate(struct rerating *rerating, struct rated *rated)
{
    const struct rerate_question *question = rerating->question;
    const struct ledger_row *row = &rated->record.row;
    if (row->started_us < question->since_us || row->started_us >= question->until_us ||
        row->counted == COUNTED_NONE)
        return true;
    rated->price = question->price_of(question->with, row);
    if (!rated->price || !price_has_service(rated->price, row->usage.service)) {
        rerating->report->unpriced++;
        return true;
    }
    rated->cost_nanos = cost_of(row, rated->price);
    struct rerated_model *model = model_of(rerating, row->model);
    model->calls++;
    model->old_nanos = sum_up(model->old_nanos, row->cost_nanos);
    model->new_nanos = sum_up(model->new_nanos, rated->cost_nanos);
    if (rated->cost_nanos == row->cost_nanos && rated->price->version == row->price_version)
        return true;
    model->changed++;
    return !rerating->book || apply(rerating, rated);
}

/* Up to AT_ONCE calls behind *after. False when the database failed; *more: there may be others. */
static bool rate_some(struct rerating *rerating, int64_t day, int64_t *after, bool *more)
{
    enum statement_result result;
    bool good = true;
    size_t count = 0;
    statement_set(rerating->read, 1, *after);
    while (good && (result = statement_next(rerating->read)) == STATEMENT_ROW) {
        struct rated rated = {.day = day, .row = statement_number(rerating->read, 0)};
        count++;
        *after = rated.row;
        if (record_read_body(statement_text(rerating->read, 1), &rated.record))
            good = rate(rerating, &rated);
    }
    good = good && result == STATEMENT_END;
    statement_reset(rerating->read);
    *more = count == AT_ONCE;
    return good;
}

/* Each batch in a transaction of its own. */
static bool rate_batch(struct rerating *rerating, int64_t day, int64_t *after, bool *more)
{
    if (!rerating->book)
        return rate_some(rerating, day, after, more);
    if (book_begin(rerating->book) && rate_some(rerating, day, after, more) &&
        book_commit(rerating->book))
        return true;
    book_rollback(rerating->book);
    return false;
}

static bool rate_day(struct rerating *rerating, int64_t day)
{
    char name[32], sql[SQL_BYTES];
    int64_t after = 0;
    bool more = true;
    day_name(day, name);
    snprintf(sql, sizeof(sql), "SELECT rowid, line FROM %s WHERE rowid > ? ORDER BY rowid LIMIT %d",
             name, AT_ONCE);
    rerating->read = database_prepare(rerating->database, sql);
    snprintf(sql, sizeof(sql), "UPDATE %s SET line = ? WHERE rowid = ?", name);
    rerating->write = rerating->book ? database_prepare(rerating->database, sql) : NULL;
    bool good = rerating->read && (!rerating->book || rerating->write);
    while (good && more)
        good = rate_batch(rerating, day, &after, &more);
    statement_close(rerating->read);
    statement_close(rerating->write);
    return good;
}

/* ----------------------------------------------------------------------------------- the whole */

static bool prepare(struct rerating *rerating)
{
    char sql[SQL_BYTES];
    for (int i = 0; i < ASKS; i++)
        if (!(rerating->asks[i] = database_prepare(rerating->database, asks[i])))
            return false;
    for (enum span span = 0; span < SPANS; span++) {
        snprintf(sql, sizeof(sql),
                 "UPDATE %s SET cost_nanos = add_up(cost_nanos, ?), version = ?"
                 " WHERE bucket = ? AND series = ?",
                 span_facts[span].table);
        if (!(rerating->sums[span] = database_prepare(rerating->database, sql)))
            return false;
    }
    return true;
}

static bool open_it(struct rerating *rerating, struct fault *fault)
{
    const struct rerate_question *question = rerating->question;
    fault->kind = FAULT_NONE;
    if (!question->apply) {
        rerating->database = gather_open(question->database, fault);
        return rerating->database != NULL;
    }
    rerating->book = book_open(question->database, false, SHARING_AS_IT_IS, fault);
    if (!rerating->book)
        return false;
    rerating->database = book_database(rerating->book);
    return prepare(rerating);
}

static int by_name(const void *one, const void *two)
{
    const struct rerated_model *a = one, *b = two;
    return strcmp(a->model, b->model);
}

static bool rate_all(struct rerating *rerating)
{
    const struct rerate_question *question = rerating->question;
    struct rows_question between = {
        .since_us = question->since_us, .until_us = question->until_us, .oldest_first = true};
    struct rows_question ever = {.until_us = INT64_MAX, .oldest_first = true};
    struct days *days = memory_new(sizeof(*days));
    bool good = days_find(rerating->database, &ever, days);
    rerating->report->kept_us = days->count ? days->at[0] * DAY_US : 0;
    days->count = 0;
    good = good && days_find(rerating->database, &between, days);
    for (size_t i = 0; good && i < days->count; i++)
        good = rate_day(rerating, days->at[i]);
    memory_free(days);
    return good;
}

struct rerate_report *ledger_rerate(const struct rerate_question *question, struct fault *fault)
{
    struct rerating rerating = {.question = question, .now_us = clock_wall_us()};
    rerating.report = memory_new(sizeof(*rerating.report));
    table_init(&rerating.models);
    bool opened = open_it(&rerating, fault), good = opened && rate_all(&rerating);
    if (rerating.database && !good)
        fault_set(fault, FAULT_INTERNAL, "%s: %s", question->database,
                  database_problem(rerating.database));
    else if (!good && fault->kind == FAULT_NONE)
        fault_set(fault, FAULT_INTERNAL, "%s: there is nothing in it", question->database);
    if (rerating.book)
        book_close(rerating.book);
    else if (rerating.database)
        database_close(rerating.database);
    table_done(&rerating.models);
    if (!good) {
        rerate_report_free(rerating.report);
        return NULL;
    }
    if (rerating.report->count > 1)
        qsort(rerating.report->models, rerating.report->count, sizeof(*rerating.report->models),
              by_name);
    return rerating.report;
}

void rerate_report_free(struct rerate_report *report)
{
    if (!report)
        return;
    for (size_t i = 0; i < report->count; i++)
        memory_free(report->models[i].model);
    memory_free(report->models);
    memory_free(report);
}
