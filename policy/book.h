/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * book - the ledger's tables in the embedded store (SQLite), and nothing but them: schema, upgrade,
 * and one function per thing that is written or asked.
 *
 *   requests_YYYYMMDD  one row per call: when, id, and the body of its settling line (record.h).
 *                      A table per day, so that old ones are dropped whole.
 *   series             what calls are told apart by, each combination once
 *   rollup_minute _hour _day   sums per bucket (when it begins, in seconds) and series
 *   journals           how far each journal is booked: written in the same transaction as the rest
 *   open_calls         calls whose opening line was in a segment that is gone already
 *   objects            who owns what was made through us
 *   held               parts of batches that run: the bodies of their holding lines
 *   facts, outbox      what other nodes are to be told: share.h
 *   lineage            which tenant belonged to which: lineage.c
 *   rerated            what calls cost before: rerate.c
 *
 * One thread at a time. Functions return false when the database failed; then the transaction must
 * be rolled back, and nothing has happened.
 */

#include "gateway/base/database.h"
#include "policy/record.h"
#include "policy/segment.h"
#include "policy/share.h"
#include "policy/tally.h"

struct book;

/* Journals end here: no line will ever come from them again. */
#define BOOK_FINISHED (uint64_t) INT64_MAX

/* Open and upgrade the database. NULL and *fault on failure. */
struct book *book_open(const char *path, bool safe, enum sharing sharing, struct fault *fault);
void book_close(struct book *book);
/* The schema's steps, for tests. */
extern const char lineage_schema[]; /* lineage.c */
extern const char *const book_steps[];
extern const int book_step_count;
/* The same in one, for an empty database: a new step changes it, too. */
extern const char book_whole[];

/* Tenants and keys, in the same database: made with the rest where all of it is new (each change of
 * its schema has to be read by all who have it open), and by roster_local.c where they are missing.
 */
#define ROSTER_TABLES                                                                       \
    "CREATE TABLE IF NOT EXISTS roster (kind INTEGER NOT NULL, id TEXT NOT NULL,"           \
    " version INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;" \
    "CREATE TABLE IF NOT EXISTS roster_state (one INTEGER PRIMARY KEY CHECK (one = 1),"     \
    " number INTEGER NOT NULL, tag TEXT NOT NULL, life TEXT NOT NULL);"                     \
    "CREATE TABLE IF NOT EXISTS roster_copied (one INTEGER PRIMARY KEY CHECK (one = 1));"

bool book_begin(struct book *book);
/* Did another process write since the last time? Then what was remembered of it is void. */
bool book_changed(struct book *book);
bool book_commit(struct book *book);
void book_rollback(struct book *book);
const char *book_problem(struct book *book);
/* Was it that the file is damaged? */
bool book_is_damaged(struct book *book);
/* What other nodes are told; the book's own. */
struct share *book_share(struct book *book);
/* For who has more to do in its transactions; the book's own. */
struct database *book_database(struct book *book);

/* One call: a row of its day. Rows are copied, and written several at once: at the latest by
 * book_commit(), which then tells of their failure. */
bool book_add_call(struct book *book, const struct record *settled);

/* The id of a series, made when it is new; 0 on failure. */
int64_t book_series(struct book *book, const struct series_key *key);
bool book_add_tally(struct book *book, enum span span, int64_t bucket, int64_t series,
                    const struct tally *tally);
/* Call <see> for every name that stands in column <which> (NAME_USER or NAME_MODEL) of <tenant>'s
 * rollups of the day that begins at <bucket>. */
bool book_each_name(struct book *book, int64_t bucket, struct text tenant, enum series_name which,
                    void (*see)(void *with, struct text name), void *with);

/* How far a journal is booked; zeros = nothing yet. */
struct book_mark {
    uint64_t sequence; /* of the last line, or BOOK_FINISHED */
    uint32_t segment;  /* the last one that is booked whole and may be removed */
};
bool book_find_mark(struct book *book, const struct journal_id *id, struct book_mark *mark);
bool book_set_mark(struct book *book, const struct journal_id *id, const struct book_mark *mark);
/* Call <see> for every journal of <instance> that is known and not finished. */
bool book_each_journal(struct book *book, const char *instance,
                       void (*see)(void *with, unsigned worker), void *with);

/* Calls that stay open beyond their segment. */
bool book_carry(struct book *book, const struct journal_id *id, uint64_t sequence,
                struct text body);
bool book_drop_carried(struct book *book, const struct journal_id *id, uint64_t sequence);
bool book_each_carried(struct book *book, const struct journal_id *id,
                       void (*see)(void *with, uint64_t sequence, struct text body), void *with);
bool book_drop_all_carried(struct book *book, const struct journal_id *id);

/* Stored responses, and objects that are gone, are forgotten then. */
enum { OBJECT_KEPT_DAYS = 31 };
bool book_own(struct book *book, const struct object *object);
/* <made_us> of <object>: when it went. */
bool book_disown(struct book *book, const struct object *object);
/* Fill in the rest of <owner>, and <facts> (OBJECT_FACTS_BYTES + 1) if it is not NULL. False when
 * the database failed, not when there is none. */
bool book_find_owner(struct book *book, struct owner *owner, char *facts);
/* Say that it is found; facts have OBJECT_FACTS_BYTES + 1. owners.c */
void owner_set(struct owner *owner, struct text tenant, struct text target, struct text model);
void owner_set_facts(char *facts, struct text text);

/* A part of a batch runs; twice is once. */
bool book_hold(struct book *book, const struct record *held);
/* It has ended. *was_held: it ran until now, so that it has to be booked. */
bool book_release(struct book *book, const struct ledger_row *part, bool *was_held);

/* What is kept, in microseconds; 0 = for ever. */
struct book_keep {
    int64_t requests_us, spans_us[SPANS];
};
/* Drop what is older. Its own transactions. */
bool book_expire(struct book *book, const struct book_keep *keep, int64_t now_us);
