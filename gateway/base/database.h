/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * database - the embedded store, as little of SQLite as we need.
 *
 * A connection and its statements belong to one thread at a time; the owner takes care of that.
 * Only sluice writes to the file, so a statement that fails means the disk is full, the file is
 * damaged, or another process holds it: database_problem() says which.
 *
 * Money is added up with the SQL function add_up(a, b) given here, which saturates: SQLite's own
 * "+" turns a sum that does not fit into a float.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/text.h"

struct database;  /* one connection */
struct statement; /* one prepared statement */

enum database_mode {
    DATABASE_WRITE, /* create the file when missing (mode 0640); WAL, fsync at checkpoints */
    DATABASE_LOOSE, /* the same; of a file that is made so, PRAGMA incremental_vacuum gives back
                       pages in which nothing stands */
    DATABASE_SAFE,  /* as WRITE, and every commit is on disk when it returns (power loss) */
    DATABASE_READ,  /* never writes; works beside a writer, without one, and for another user who
                       may read the files */
};

/* Open <path>. Waits up to 5 s for a lock whenever it needs one. NULL and *fault on failure, of the
 * kind that database_fault() says. */
struct database *database_open(const char *path, enum database_mode mode, struct fault *fault);
/* Wait at most <ms> for a lock from now on. */
void database_set_wait(struct database *database, int ms);
/* Close it and all statements that were prepared on it. NULL is nobody. */
void database_close(struct database *database);

/* Run one or several statements that return nothing. False on failure. */
bool database_run(struct database *database, const char *sql);
/* The same, made by printf; the arguments must be our own words, never a client's. */
bool database_run_format(struct database *database, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* It will not be needed for a while: give up the pages of the file that are kept in memory. */
void database_rest(struct database *database);

/* A transaction that may write from its first statement on. */
bool database_begin(struct database *database);
/* A transaction that sees one state of the file, however long it takes. */
bool database_begin_read(struct database *database);
/* False when it could not be made durable; it is rolled back then. */
bool database_commit(struct database *database);
void database_rollback(struct database *database);

/* The last problem in words; static, or valid until the next call. */
const char *database_problem(struct database *database);
/* Its kind: FAULT_STORE_AWAY when another process holds the file locked, else FAULT_INTERNAL. */
enum fault_kind database_fault(struct database *database);
/* Has the disk run out of room? */
bool database_is_full(struct database *database);
/* Was the last problem that the file is damaged, or no database? */
bool database_is_damaged(struct database *database);
/* Is the file at <path> damaged, or no database? Reads all of it. False also when it cannot be
 * read. */
bool database_file_is_damaged(const char *path);

/* Is what stands at its path another file, or none? What is written is lost then. */
bool database_has_moved(struct database *database);

/* The rowid of the row that was inserted last on this connection. */
int64_t database_last_row(struct database *database);

/* PRAGMA user_version: which schema the file has. -1 when it cannot be read. */
int database_version(struct database *database);
/* A number that changes whenever another connection changes the file. */
int64_t database_changes(struct database *database);

/* In an empty database, take all steps to <version> at once: <whole> is what they lead to. Does
 * nothing to another one, nor when another process is faster; database_upgrade() goes on from what
 * is there. False and *fault when the database cannot be used from now on. */
bool database_make(struct database *database, const char *whole, int version, struct fault *fault);

/*
 * Bring the schema up to date: steps[i] leads from version i to version i + 1, each in a
 * transaction with its number. False and *fault when a step fails or the file is newer than
 * <count>: for that, for a step that is not to be taken and for a lock FAULT_STORE_AWAY, since the
 * file is sound and of use to another.
 */
bool database_upgrade(struct database *database, const char *const *steps, int count,
                      struct fault *fault);
/* From now on database_upgrade() refuses files that need a step, but for those that have taken none
 * at all: another process relies on what they are like. Of the whole process; any thread. */
void database_keep_versions(bool keep);

/* Copy the state that <database> sees (in a transaction that has read: that one) to a new file at
 * <path>, mode 0640. False and *fault on failure; then there is no file. */
bool database_backup(struct database *database, const char *path, struct fault *fault);
/* Is the file sound? Reads all of it. False and *fault when it is damaged. */
bool database_check(struct database *database, struct fault *fault);

/* Is the database at <path> sound, and of a version that is not above <newest>? Reads all of it. */
bool database_is_sound(const char *path, int newest, struct fault *fault);

/* NULL on failure. Closed with the connection, or earlier by statement_close(). */
struct statement *database_prepare(struct database *database, const char *sql);
void statement_close(struct statement *statement);

/* Set the <i>th "?" (from 1). Texts and blobs are borrowed until the statement is reset. */
void statement_set(struct statement *statement, int i, int64_t number);
void statement_set_text(struct statement *statement, int i, struct text text);
void statement_set_blob(struct statement *statement, int i, struct text bytes);

/* Run a statement that returns no row, and reset it. False on failure. */
bool statement_run(struct statement *statement);

enum statement_result { STATEMENT_ROW, STATEMENT_END, STATEMENT_FAILED };

/* The next row. After END or FAILED the statement is reset. */
enum statement_result statement_next(struct statement *statement);
/* Give up the rows that are left. */
void statement_reset(struct statement *statement);

/* Columns of the row, from 0; texts are valid until the next row. */
int64_t statement_number(struct statement *statement, int column);
struct text statement_text(struct statement *statement, int column);
