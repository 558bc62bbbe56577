/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * rollup - sums over the calls of one transaction, in memory, so that the database sees a few rows
 * instead of three per call.
 *
 * Bounds what clients choose: of a tenant, at most ROLLUP_NAMES_MAX end users and as many model
 * names are told apart per day; the others are summed up as "other". The rows of the single calls
 * keep the truth.
 */

#include "policy/book.h"

enum { ROLLUP_NAMES_MAX = 500 };

struct rollup;

struct rollup *rollup_new(struct book *book);
void rollup_free(struct rollup *rollup);

/* Count a call. False when the database failed. */
bool rollup_add(struct rollup *rollup, const struct ledger_row *row);
/* Write the sums to the database, within its transaction, and begin anew. Adds to <sums> how many
 * there were. */
bool rollup_write(struct rollup *rollup, size_t *sums);
/* Forget the sums and all that was learnt: the transaction was rolled back, or somebody else
 * changed the database. */
void rollup_forget(struct rollup *rollup);
