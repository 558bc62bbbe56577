/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * batches - those that run: what each may cost is held, in the ledger and in the limits, until it
 * has ended and what it did cost is booked.
 *
 * One `struct batches` per process. Any worker adds to it, the first one's desk asks providers how
 * batches are doing (config batches.poll), and whoever sees that one has ended tells the desk. A
 * process that begins makes it anew from the ledger. So a batch is settled once: what the ledger
 * holds is released in the transaction that books it.
 *
 * Bounds: BATCHES_MAX batches; of the desk batch_desk.c.
 */

#include "gateway/config/config.h"
#include "gateway/exchange.h"
#include "policy/directory.h"

enum { BATCHES_MAX = 10000 };

struct batches;
struct batch_desk;

/* One batch that runs. Everything in it lives in its arena. */
struct batch_hold {
    struct link link;
    struct arena arena;
    struct text id;
    struct ledger_row parts[BATCH_PARTS_MAX]; /* usage and cost: what is held */
    bool booked[BATCH_PARTS_MAX];
    size_t count;
    struct reservation reservation; /* may be not live: no limit concerned it */
    uint64_t due_us;                /* the desk asks then (monotonic) */
    bool is_asked;                  /* the desk is at it */
};

struct batches *batches_new(void);
/* After all workers. What is held stays so in the ledger. */
void batches_free(struct batches *batches);

/* At the start: hold what the ledger does, beyond limits if need be. False: it cannot be read. */
bool batches_rebuild(struct batches *batches, struct limits *limits, const struct config *config,
                     struct directory *directory, struct ledger_reader *reader,
                     struct fault *fault);

/* How many run. Any thread. */
size_t batches_open(struct batches *batches);
/* One is about to be submitted: counted until batches_submitted(), which is behind its being held.
 * False: none may be, for another process takes over that would not see it. Any thread. */
bool batches_may_submit(struct batches *batches);
void batches_submitted(struct batches *batches);
/* Let no more be submitted, or let them again. */
void batches_shut(struct batches *batches, bool is_shut);
/* How many are being submitted. */
unsigned batches_submitting(struct batches *batches);
bool batches_have_room(struct batches *batches);
/* Do a batch's calls count against <limit>? Against money always; against requests and tokens in
 * windows of a day or longer. Shorter ones are for calls that somebody waits for: a batch is run
 * within a day, whenever its provider has room. */
bool batches_count(const struct limit *limit);
/* How much <parts> want of <limit>: of what is held when their rows are (the likely figures where a
 * window of tokens is not strict), each call a request and one for the batch. */
int64_t batches_amount(const struct ledger_row *parts, size_t count, const struct limit *limit);
/* The batch of <x>, whose call comes to <row>, runs: settle the call in the journal and hold the
 * parts. False: there is no room to write it down. */
bool batches_hold(struct batches *batches, struct exchange *x, const struct ledger_row *row);
/* A batch was seen in a state that is its last: the desk is to look. Any thread; unknown ones are
 * ignored. */
void batches_look(struct batches *batches, struct text id);
/* Does this status of a batch mean that it has ended? */
bool batches_is_last(struct text status);

/* ------------------------------------------------------------------ for batch_desk.c only */

/* Of the first worker. <batches> wakes it, as long as it is not freed. */
struct batch_desk *batch_desk_new(struct batches *batches, struct worker *worker);
/* On its thread: give up what is being asked. What waits for the ledger ends with its answer. */
void batch_desk_stop(struct batch_desk *desk);
void batch_desk_free(struct batch_desk *desk);
/* Wake <desk> from now on with <errand>; NULL: nobody. */
void batches_set_desk(struct batches *batches, struct loop *loop, struct errand *errand);
/* The next one that is due and not asked yet, marked as asked; else NULL, and when the next is due
 * (0 = there is none). */
struct batch_hold *batches_next(struct batches *batches, uint64_t now_us, uint64_t *due_us);
/* Asked: it still runs, or could not be found out. */
void batches_later(struct batches *batches, struct batch_hold *hold, uint64_t due_us);
/* It is booked: <rows> say what its parts used. Settles and frees it; on the desk's thread. */
void batches_settle(struct batches *batches, struct batch_hold *hold, struct worker *worker,
                    const struct ledger_row *rows);
