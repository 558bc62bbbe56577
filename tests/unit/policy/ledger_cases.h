/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of the ledger have in common: a place, a row, a look at what came out. */

#include <dirent.h>
#include <ftw.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/memory.h"
#include "policy/ledger.h"
#include "policy/record.h"
#include "policy/segment.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { SMALL_SEGMENT = 64 << 10 };
/* 2025-11-24 16:00:00 UTC */
#define A_DAY_US (1764000000LL * 1000000)

struct place {
    char folder[64], ledger[80], database[80];
};

static inline void place_make(struct place *place)
{
    snprintf(place->folder, sizeof(place->folder), "/tmp/ledger_test.XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    snprintf(place->ledger, sizeof(place->ledger), "%s/a/ledger", place->folder);
    snprintf(place->database, sizeof(place->database), "%s/store.db", place->folder);
}

static inline int remove_one(const char *path, const struct stat *facts, int type,
                             struct FTW *where)
{
    (void)facts;
    (void)type;
    (void)where;
    return remove(path);
}

static inline void place_remove(const struct place *place)
{
    nftw(place->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* The first path that matches <pattern> below the ledger; free it. NULL when there is none. */
static inline char *find_path(const struct place *place, const char *pattern)
{
    char *whole = memory_format("%s/%s", place->ledger, pattern), *found = NULL;
    glob_t paths = {0};
    if (glob(whole, 0, NULL, &paths) == 0)
        found = memory_string(text_of(paths.gl_pathv[0]));
    globfree(&paths);
    memory_free(whole);
    return found;
}

static inline struct ledger *ledger_at(const struct place *place, unsigned workers)
{
    struct ledger_options options = {.directory = place->ledger,
                                     .database = place->database,
                                     .segment_bytes = SMALL_SEGMENT,
                                     .workers = workers};
    struct fault fault = {0};
    struct ledger *ledger = ledger_open(&options, &fault);
    if (!ledger)
        print_message("%s\n", fault.text);
    assert_non_null(ledger);
    return ledger;
}

/* A call that cost <cost> nano-dollars; <id> is kept by the caller. */
static inline struct ledger_row row_of(const char *id, int64_t cost)
{
    return (struct ledger_row){.id = text_of(id),
                               .started_us = A_DAY_US,
                               .tenant = TEXT("acme"),
                               .key = TEXT("ci"),
                               .model = TEXT("fast"),
                               .target = TEXT("mini"),
                               .provider = TEXT("openai"),
                               .upstream_model = TEXT("gpt"),
                               .dialect = TEXT("openai"),
                               .upstream_dialect = TEXT("openai"),
                               .operation = TEXT("chat"),
                               .finish = TEXT("stop"),
                               .status = 200,
                               .counted = COUNTED_PROVIDER,
                               .usage = {.input_tokens = 10, .output_tokens = 3},
                               .price_version = 7,
                               .cost_nanos = cost,
                               .attempts = 1,
                               .duration_us = 1000};
}

/* Open and settle one call. */
static inline void call_once(struct journal *journal, const char *id, int64_t cost)
{
    struct ledger_row row = row_of(id, cost);
    struct ledger_mark mark;
    assert_true(ledger_open_call(journal, &row, &mark));
    assert_true(ledger_settle_call(journal, &row, &mark));
}

static inline struct usage_report *report_of(const struct place *place, const enum usage_by *by,
                                             size_t count)
{
    struct fault fault = {0};
    struct usage_report *report =
        usage_read(place->ledger, place->database, 0, INT64_MAX, by, count, &fault);
    if (!report)
        print_message("%s\n", fault.text);
    assert_non_null(report);
    return report;
}

/* Everything there is, in one row. */
static inline struct usage_row total_of(const struct place *place)
{
    struct usage_report *report = report_of(place, NULL, 0);
    assert_int_equal(report->count, 1);
    struct usage_row row = report->rows[0];
    usage_report_free(report);
    return row;
}

/* A number from the database. */
static inline int64_t ask_number(const struct place *place, const char *sql)
{
    struct fault fault = {0};
    struct database *database = database_open(place->database, DATABASE_READ, &fault);
    assert_non_null(database);
    struct statement *statement = database_prepare(database, sql);
    if (!statement)
        print_message("%s: %s\n", sql, database_problem(database));
    assert_non_null(statement);
    assert_int_equal(statement_next(statement), STATEMENT_ROW);
    int64_t number = statement_number(statement, 0);
    statement_close(statement);
    database_close(database);
    return number;
}

/* How many entries of <path> have <part> in their name. */
static inline int count_entries(const char *path, const char *part)
{
    int count = 0;
    DIR *entries = opendir(path);
    for (struct dirent *entry; entries && (entry = readdir(entries));)
        count += entry->d_name[0] != '.' && strstr(entry->d_name, part);
    if (entries)
        closedir(entries);
    return count;
}

/* Call <done> every millisecond until it says so; false after ten seconds. */
static inline bool wait_until(bool (*done)(void *with), void *with)
{
    for (int i = 0; i < 60000; i++) { /* it is long where others use the machine */
        if (done(with))
            return true;
        usleep(1000);
    }
    return false;
}

static inline bool is_drained(void *with)
{
    return ledger_figures(with).lines_undrained == 0;
}
