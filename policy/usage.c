/* SPDX-License-Identifier: Apache-2.0 */
/* A usage report: what the rollups say, and what the journals hold beyond it. */
#include <errno.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "policy/book.h"
#include "policy/gather.h"
#include "policy/keeper.h"

enum { MINUTE_S = 60 };

/* Some time beyond all that can be, so that sums with a day do not overflow. */
static const int64_t END_OF_TIME_S = INT64_MAX / 1000000;

static void set_range(struct gather *gather, int64_t since_us, int64_t until_us)
{
    gather->from_s = since_us > 0 ? span_bucket_us(SPAN_MINUTE, since_us) : 0;
    gather->to_s = END_OF_TIME_S;
    if (until_us < INT64_MAX - MINUTE_S * 1000000LL)
        gather->to_s = span_bucket_us(SPAN_MINUTE, until_us + MINUTE_S * 1000000LL - 1);
}

struct ledger_reader {
    const char *path;
    struct database *database; /* NULL = not opened yet */
};

struct ledger_reader *ledger_reader_new(const char *database)
{
    struct ledger_reader *reader = memory_new(sizeof(*reader));
    reader->path = database;
    return reader;
}

void ledger_reader_free(struct ledger_reader *reader)
{
    if (!reader)
        return;
    database_close(reader->database);
    memory_free(reader);
}

struct database *gather_begin(struct ledger_reader *reader, struct fault *fault)
{
    fault->kind = FAULT_NONE;
    if (!reader->database) {
        if (!reader->path || (access(reader->path, F_OK) != 0 && errno == ENOENT))
            return NULL;
        reader->database = database_open(reader->path, DATABASE_READ, fault);
        if (!reader->database)
            return NULL;
    }
    int version = database_version(reader->database);
    if (version > 0 && version <= book_step_count && database_begin_read(reader->database))
        return reader->database;
    if (version != 0)
        fault_set(fault, FAULT_INTERNAL, "%s: its format %d is not known to this program",
                  reader->path, version);
    return NULL;
}

void gather_end(struct ledger_reader *reader)
{
    if (reader->database)
        database_rollback(reader->database);
}

struct database *gather_open(const char *path, struct fault *fault)
{
    struct ledger_reader reader = {.path = path};
    struct database *database = gather_begin(&reader, fault);
    if (!database)
        database_close(reader.database);
    return database;
}

static bool gather_all(struct lines *lines, struct database *database, struct gather *gather,
                       struct fault *fault)
{
    if (database && !rollups_gather(database, gather))
        return fault_set(fault, FAULT_INTERNAL, "usage: %s", database_problem(database));
    if (lines && !lines_gather(lines, database, gather))
        return fault_set(fault, FAULT_INTERNAL, "usage: %s", database_problem(database));
    return true;
}

struct usage_report *usage_ask(const struct usage_question *question, struct fault *fault)
{
    struct gather gather;
    struct usage_report *report = NULL;
    gather_init(&gather, question->by, question->by_count);
    gather.filter = question->filter;
    gather.groups_max = question->rows_max;
    set_range(&gather, question->since_us, question->until_us);
    /* The files first: what is drained after this is in the database and in them, and the marks
     * tell; what was drained before is in the database. */
    struct lines *lines = lines_open(question->directory, question->at_start);
    int problem = errno;
    struct ledger_reader own = {.path = question->database};
    struct ledger_reader *reader = question->reader ? question->reader : &own;
    struct database *database = gather_begin(reader, fault);
    if (!lines && problem != ENOENT)
        fault_set(fault, FAULT_INTERNAL, "usage: %s: %s", question->directory, strerror(problem));
    else if (!lines && !database && fault->kind == FAULT_NONE)
        fault_set(fault, FAULT_INTERNAL, "usage: there is neither a database nor a ledger in %s",
                  question->directory);
    bool good = fault->kind == FAULT_NONE && gather_all(lines, database, &gather, fault);
    gather_end(reader);
    database_close(own.database);
    lines_close(lines);
    struct forward *others = question->with_others ? question->with_others->forward : NULL;
    good = good && (!others || others_gather(others, &gather, fault));
    if (good && gather.overflows)
        good = fault_set(fault, FAULT_TOO_LARGE,
                         "more than %zu rows; ask for less time, or sum up by less",
                         question->rows_max);
    if (good)
        report = gather_report(&gather);
    else
        gather_done(&gather);
    return report;
}

bool ledger_each_held(const char *directory, struct ledger_reader *reader,
                      void (*see)(void *with, const struct ledger_row *part), void *with,
                      struct fault *fault)
{
    struct gather gather;
    gather_init(&gather, NULL, 0);
    set_range(&gather, 0, INT64_MAX);
    struct lines *lines = lines_open(directory, true);
    int problem = errno;
    struct database *database = gather_begin(reader, fault);
    bool good = fault->kind == FAULT_NONE;
    if (!lines && problem != ENOENT)
        good = fault_set(fault, FAULT_INTERNAL, "%s: %s", directory, strerror(problem));
    if (good && lines &&
        (!lines_gather(lines, database, &gather) || !lines_each_held(lines, database, see, with)))
        good = fault_set(fault, FAULT_INTERNAL, "batches: %s",
                         database ? database_problem(database) : strerror(EIO));
    gather_done(&gather);
    gather_end(reader);
    lines_close(lines);
    return good;
}

/* NOLINTNEXTLINE(readability-function-size): seven parameters, by contract */
struct usage_report *usage_read(const char *directory, const char *database, int64_t since_us,
                                int64_t until_us, const enum usage_by *by, size_t by_count,
                                struct fault *fault)
{
    struct usage_question question = {.directory = directory,
                                      .database = database,
                                      .since_us = since_us,
                                      .until_us = until_us,
                                      .by = by,
                                      .by_count = by_count};
    return usage_ask(&question, fault);
}
