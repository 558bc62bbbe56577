/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gather - sums grouped by what was asked for: how a usage report is made up, whether its figures
 * come from rollups or from lines that are not drained yet.
 */

#include "gateway/base/table.h"
#include "policy/record.h"
#include "policy/tally.h"

struct database;

/* Open the database to read one state of it. NULL without a fault: there is none (yet), or nothing
 * in it. */
struct database *gather_open(const char *path, struct fault *fault);
/* The same by way of a reader, for as long as one question lasts. */
struct database *gather_begin(struct ledger_reader *reader, struct fault *fault);
void gather_end(struct ledger_reader *reader);

struct gather {
    const enum usage_by *by; /* borrowed */
    size_t by_count;
    struct table groups;              /* packed values → struct usage_row */
    int64_t from_s, to_s;             /* calls that began in [from_s, to_s), whole minutes */
    const struct call_filter *filter; /* NULL = all */
    size_t groups_max;                /* 0 = any number */
    bool overflows;                   /* there were more; they are left out */
};

void gather_init(struct gather *gather, const enum usage_by *by, size_t by_count);
/* Add <tally>, the sums of calls with the names and the outcome of <key>, begun about <at_s>. */
void gather_add(struct gather *gather, const struct series_key *key, int64_t at_s,
                const struct tally *tally);
/* Add one call, if it began within the time asked for. */
void gather_add_call(struct gather *gather, const struct ledger_row *row);
/* Is a call with the names and the status of <key> meant by <filter>? */
bool filter_takes(const struct call_filter *filter, const struct series_key *key);
/* Turn it into a report, and end it. */
struct usage_report *gather_report(struct gather *gather);
/* End it without. */
void gather_done(struct gather *gather);

/*
 * The lines of all journals, as files, from one moment on: opened before the database is asked how
 * far they are drained, so that no line can fall between the two. usage_lines.c.
 */
struct lines;

/* NULL and errno: ENOENT when there is no directory <path>, else it cannot be read. <all_dead>:
 * what is open in any of them is lost, and what cannot be read is logged and left out; else lost
 * only where nobody holds their lock. */
struct lines *lines_open(const char *path, bool all_dead);
/* Add the calls that are not in the database (NULL: all). False when it cannot be read. */
bool lines_gather(struct lines *lines, struct database *database, struct gather *gather);
/* After that: the parts of batches that run (ledger_each_held()). */
bool lines_each_held(const struct lines *lines, struct database *database,
                     void (*see)(void *with, const struct ledger_row *part), void *with);
void lines_close(struct lines *lines);

/* Add the sums of the database, usage_rollups.c. False when it cannot be read. */
bool rollups_gather(struct database *database, struct gather *gather);

/* Sums of three lengths, wherever they are kept. */
struct span_source {
    /* Add those of the buckets of <span> that begin in [from_s, to_s). */
    bool (*read)(void *with, enum span span, int64_t from_s, int64_t to_s);
    /* How many calls do they stand for? */
    bool (*count)(void *with, enum span span, int64_t from_s, int64_t to_s, int64_t *calls);
    void *with;
};
/* The longest span that tells apart what is asked for. */
enum span gather_longest(const struct gather *gather);
/* Read [from_s, to_s) from buckets of <span> and, at both ends, shorter ones, as long as these are
 * kept. False when reading failed. */
bool spans_read(const struct span_source *source, enum span span, int64_t from_s, int64_t to_s);

/* Days of which single calls are kept, in the order they are read; those that are asked for. */
enum { DAYS_MAX = 8192 };
struct days {
    int64_t at[DAYS_MAX];
    size_t count;
};
bool days_find(struct database *database, const struct rows_question *question, struct days *days);
/* The name of a day's table. */
void day_name(int64_t day, char name[32]);
/* Is the call one that is asked for? */
bool rows_are_meant(const struct rows_question *question, const struct ledger_row *row);
/* Read a page of our own calls, rows.c: <take> gets each with its place. */
typedef void rows_take(void *with, struct rows_place place, const struct record *record);
enum rows_result rows_read_own(const struct rows_question *question, struct rows_place *next,
                               rows_take *take, void *with, struct fault *fault);
/* The same of other nodes, rows_others.c; the fields <other…> of places. <id>: only that call. */
enum rows_result rows_read_others(const struct rows_question *question, struct text id,
                                  struct rows_place *next, rows_take *take, void *with,
                                  struct fault *fault);
/* A page of both. */
enum rows_result rows_read_all(const struct rows_question *question, struct rows_place *next,
                               struct fault *fault);

/* Add what other nodes have told, usage_others.c. Blocks, a few seconds at most. False and *fault
 * when they cannot be asked. */
struct forward;
bool others_gather(struct forward *forward, struct gather *gather, struct fault *fault);
