/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * told - how far the journals are in the sums that other nodes were told, for a database that has
 * to begin anew.
 *
 * When a database is damaged and another begins in its place, Redis still has the sums of the
 * first, under its name. What they have of journals that are still there is not to be booked again.
 * The file ledger.path/told says how far that is:
 *
 *   <ledger>                                a line with the name of the database
 *   <instance>/<worker> <sequence>          one for each journal
 *
 * It is written after Redis has answered, so a process that is killed in between leaves one that
 * says less than is true. Redis has the same numbers, written with the sums
 * (<prefix>{ledger}:journals:<ledger>): where it can be asked, what it says of a journal counts.
 */

#include "gateway/wire/redis.h"
#include "policy/book.h"

struct told_place {
    const char *path; /* of the file */
    int root;         /* the directory of the journals */
    const struct redis_options *redis;
    const char *prefix;
};

/* Note in a database that is new what another one has told of; waits for Redis, 5 s at most. False
 * when the database cannot be written. */
bool told_import(const struct told_place *place, struct book *book);
/* Have the file begin with the name of <book>, before anything is told: without it nobody could ask
 * Redis. Of another database's lines those stay that <book> knows. When it cannot be written it is
 * as it was. */
void told_begin(const char *path, struct book *book);
