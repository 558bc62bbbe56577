/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * share - what of a ledger's database other nodes are to be told (forward.h does it), kept in the
 * transactions that book it, so that it is right whatever we die at.
 *
 *   facts     <ledger>, a name that the database got when it was made; <epoch>, when it began to
 *             share, or was restored (microseconds); <version> and <rows>, the numbers given last
 *   rollups   each row has the number of its last change, of one count over all three tables
 *   objects   the same; one that is gone stays for a while, to say so
 *   outbox    single calls in the order of booking: number, day, row of that day's table
 *
 * Whoever has been told everything up to a number goes on behind it: nothing here notes what was
 * sent. Of the outbox, SHARE_KEPT rows stay behind what was told, to be told again, and no more
 * than SHARE_MOST wait; beyond that the oldest leave it. They are still in the tables of days.
 *
 * Part of the book: one thread at a time, within its transactions.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/database.h"

enum { SHARE_NAME_BYTES = 13, SHARE_KEPT = 100 * 1000, SHARE_MOST = 10 * 1000 * 1000 };

struct share {
    struct database *database;
    bool on;
    char ledger[SHARE_NAME_BYTES];
    int64_t epoch, version, rows;          /* rows: of the outbox; given so far */
    int64_t written_version, written_rows; /* as in the database */
    int64_t oldest;                        /* of the outbox; about */
    int64_t told_to; /* the last row that others have been told of; set from outside */
    struct statement *ask, *set, *put, *trim;
};

/* The schema's steps for it. */
extern const char share_schema[], share_objects_schema[];

/* Does the database share? ON: changes are numbered from now on, and what was booked while it was
 * off is numbered now. */
enum sharing { SHARING_OFF, SHARING_ON, SHARING_AS_IT_IS };

/* Read the facts, make what is missing. False when the database failed. */
bool share_open(struct share *share, struct database *database, enum sharing sharing);

/* Another process has written: read the numbers again. */
bool share_read(struct share *share);
/* The number for a row of a rollup that changes; 0 when it is off. */
int64_t share_next(struct share *share);
/* A call was booked. */
bool share_add(struct share *share, int64_t day, int64_t row);
/* Before the commit: write down the numbers that were given, trim the outbox. */
bool share_write(struct share *share);
/* After it. */
void share_written(struct share *share);
/* The transaction is undone. */
void share_undo(struct share *share);
/* Begin a new epoch, later than <than>: all that others know of this ledger is void. Its own
 * transaction. */
bool share_begin_epoch(struct share *share, int64_t than);

/* Read-only: the facts as they are in <database>. False when they cannot be read, or it does not
 * share. */
bool share_look(struct share *share, struct database *database);
