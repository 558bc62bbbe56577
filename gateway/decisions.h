/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * decisions - the records (decision.h) of the calls of the last days, in STATE/decisions.
 *
 * Each worker puts records into memory of its own; once a second, or when much has come together,
 * a thread takes it and appends it to a file. Nobody waits for that: what the disk does not take is
 * dropped and counted, and a crash loses a second of it. It is no ledger; money is reckoned
 * elsewhere. Files are closed at DECISIONS_FILE_BYTES, and the oldest are deleted when they are
 * older than is asked for or all together larger. Each begins with decisions_head; a record is its
 * length (two bytes, the lower first) and its bytes. The last one may be torn.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

enum { DECISIONS_FILE_BYTES = 4 << 20 };

struct decisions;
struct decision_pen;

/* Never NULL: where nothing can be written, it is said once, and all is dropped. */
struct decisions *decisions_open(const char *directory, unsigned workers);
/* After all workers: what they have is written. NULL is allowed. */
void decisions_close(struct decisions *decisions);
/* How long and how much is kept; 0 us = nothing is written any more, and all is deleted. Any
 * thread. */
void decisions_keep(struct decisions *decisions, int64_t keep_us, int64_t max_bytes);

/* A worker's. */
struct decision_pen *decisions_pen(struct decisions *decisions, unsigned worker);
/* Put a record of two parts in. */
void decisions_put(struct decision_pen *pen, struct text first, struct text rest);
/* Called once a second: what there is may be taken. */
void decisions_offer(struct decision_pen *pen);

struct decisions_figures {
    uint64_t written, dropped;
};
struct decisions_figures decisions_figures(const struct decisions *decisions);

/* Is this the name of a file of records? */
bool decisions_names_file(struct text name);
/* Give the files in <directory> to <see>, the oldest first; false: <see> has said so. */
bool decisions_files(const char *directory, bool (*see)(void *with, const char *name), void *with);

/* Give all records in <directory> to <see>, file by file, the oldest file first; files that were
 * written last before <since_us> (wall clock) are passed over. False, and errno says why: there is
 * no such directory (ENOENT), or it or a file cannot be read. */
bool decisions_each(const char *directory, int64_t since_us,
                    void (*see)(void *with, struct text record), void *with);
/* The same, of those that were written before <until_us>, and of some that came later. */
bool decisions_between(const char *directory, int64_t since_us, int64_t until_us,
                       void (*see)(void *with, struct text record), void *with);
