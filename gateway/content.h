/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * content - what was said in calls and in their answers, kept for looking at them later
 * (store.capture: full), in STATE/content.db.
 *
 * Workers put entries into a queue; a thread of its own writes them. Nobody waits for that: what
 * does not fit into the queue (CONTENT_QUEUE_BYTES), or what the disk does not take, is dropped and
 * counted, and a crash loses what is in the queue. It is no ledger; money is reckoned elsewhere,
 * and a file that is broken breaks nothing else. The oldest are deleted when they are older than is
 * asked for or all together larger, in pieces between which it writes; what is deleted is
 * overwritten on disk, and the file gives back its room, but for an eighth. A file that was taken
 * away begins anew. Without content, and where none is to be kept, there is neither a file nor a
 * thread.
 *
 * Texts are borrowed for the time of the function call. Times are microseconds of the wall clock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/text.h"

enum { CONTENT_QUEUE_BYTES = 16 << 20 };

struct content; /* one per process */

/* Of one call; the last four are JSON texts (transcript.h), or empty. */
struct content_entry {
    struct text id, tenant, user; /* as in the ledger */
    int64_t started_us;
    struct text input, system, tools, output;
    bool cut; /* there was more */
};

/* Never NULL. <path>: of the file; it is made with the first entry. */
struct content *content_open(const char *path);
/* Write what is in the queue, and end: what is old goes the next time. NULL is allowed. */
void content_close(struct content *content);
/* Is content kept at all; how long, and how many bytes of texts? Any thread. */
struct content_keeping {
    bool wanted; /* false: nothing new, what there is goes when it is old */
    int64_t keep_us, max_bytes;
};
void content_keep(struct content *content, const struct content_keeping *keeping);

/* Keep an entry. Never waits for the disk; any thread. */
void content_put(struct content *content, const struct content_entry *entry);
/* Wait until what was put before this has been written, or dropped: at most <wait_us>. False: it
 * has not. Blocks. */
bool content_catch_up(struct content *content, int64_t wait_us);

struct content_figures {
    uint64_t kept, dropped;
};
struct content_figures content_figures(const struct content *content);

/* Give what there is of a call to <see>. NONE: nothing is kept of it. FAILED: and *fault. Reads the
 * file. */
enum content_result { CONTENT_FOUND, CONTENT_NONE, CONTENT_FAILED };
struct content_name {
    struct text id, tenant;
    int64_t started_us;
};
enum content_result content_find(const struct content *content, const struct content_name *name,
                                 void (*see)(void *with, const struct content_entry *entry),
                                 void *with, struct fault *fault);

/* What is to be deleted: of all that fits. */
struct content_wish {
    bool (*is_of)(void *with, struct text tenant); /* NULL = of all tenants */
    void *with;
    struct text user;  /* empty = of all users, and of none */
    int64_t before_us; /* began before; INT64_MAX = all */
    int64_t within_us; /* stop after about that long, when some were deleted */
};
struct content_deleted {
    int64_t calls;
    bool more; /* it has stopped: there may be more */
};
/* Delete it, also from the file's log of changes. False and *fault: some may be left. Blocks; what
 * is in the queue is not looked at: see content_catch_up(). */
bool content_delete(struct content *content, const struct content_wish *wish,
                    struct content_deleted *deleted, struct fault *fault);
