/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * told - the file ledger.path/told: how far the journals are in the sums that other nodes were
 * told.
 *
 * When a database is damaged and another begins in its place, Redis still has the sums of the
 * first, under its name. What they have of journals that are still there is not to be booked again:
 *
 *   <ledger>                                a line with the name of the database
 *   <instance>/<worker> <sequence>          one for each journal
 */

#include "policy/book.h"

/* Note in a database that is new what another one has told of. False when it cannot be written. */
bool told_import(const char *path, struct book *book);
