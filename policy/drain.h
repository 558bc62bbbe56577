/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * drain - from journals into the database, each line exactly once.
 *
 * What lines say, the sums over them and how far the journal is drained go into the database in one
 * transaction; a segment is removed only after the transaction that took its last line. So whatever
 * moment we die at, the next drain goes on behind the last line that is in the database.
 *
 * Calls that are still open when their segment ends are carried over into the database. Therefore
 * segments leave in order, and one long call does not keep all later ones on disk.
 */

#include "policy/book.h"
#include "policy/journal.h"
#include "policy/opens.h"
#include "policy/rollup.h"

enum { DRAIN_BATCH = 8192 }; /* lines in one transaction: some ten milliseconds of work */

/* One journal as the drain sees it: a live one, or files that a dead process left behind. */
struct source {
    struct journal_id id;
    int directory;           /* borrowed */
    struct journal *journal; /* NULL: it is dead */
    struct segment *segment; /* being read; of a dead one it is ours */
    size_t offset;
    uint64_t seen;     /* sequence of the last line that was read */
    uint64_t drained;  /* of the last line that is in the database */
    uint32_t finished; /* number of the last segment that is in the database whole */
    bool begun, ended; /* ended: a dead one has no more lines */
    bool stuck;        /* a live one has a bad line; skipped when its worker has left the segment */
    struct opens opens;
    struct segment_name *names; /* of a dead one: its segments, in order; ours */
    size_t name_count, next_name;
};

struct drain {
    struct book *book;
    struct rollup *rollup;
    size_t from;       /* offset of the first line that the transaction under way takes */
    uint64_t *settled; /* calls that it settles and others have opened */
    size_t settled_count;
    size_t bytes;       /* of the lines that the transaction takes */
    size_t calls, sums; /* booked, and written for them, since somebody set them to 0 */
};

/* DRAIN_WAITS, of estates only: the rest cannot be had just now; try again. */
enum drained { DRAINED_ALL, DRAINED_SOME, DRAIN_FAILED, DRAIN_WAITS };

struct drain *drain_new(struct book *book);
void drain_free(struct drain *drain);

void source_init_live(struct source *source, struct journal *journal);
/* <names> is taken. */
void source_init_dead(struct source *source, const struct journal_id *id, int directory,
                      struct segment_name *names, size_t count);
void source_done(struct source *source);

/* Take up to DRAIN_BATCH lines. DRAINED_SOME: there may be more. A failure leaves everything as it
 * was and may be tried again. */
enum drained drain_batch(struct drain *drain, struct source *source);

/* A source that has ended: book its open calls as lost, and close it in the database. */
bool drain_finish(struct drain *drain, struct source *source);
