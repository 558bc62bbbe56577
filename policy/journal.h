/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * journal - the inside of `struct journal` (ledger.h), shared by those who write it, drain it and
 * flush it.
 *
 * The segments of a journal are one chain: drained ones leave at its front (the drain does that),
 * then comes the one that is written, then those allocated ahead, appended at the back by whoever
 * holds <growing>. The worker walks from one to the next without a lock.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "policy/ledger.h"
#include "policy/segment.h"

struct journal {
    /* The worker's own. */
    _Alignas(64) struct ledger *ledger;
    const atomic_bool *drain_sleeps; /* then a line must wake it */
    struct segment *current;
    char *at, *end; /* the part of <current> that is still free */
    uint64_t sequence, bytes, open_calls;
    struct ship_box *ship; /* SYNC_STORE: what takes settling lines there */
    uint64_t retry_us;     /* no room was found: when to try again */

    /* Written by the worker, read by others. */
    _Alignas(64) atomic_uint_fast64_t written; /* sequence of the last line */
    atomic_uint_fast64_t written_bytes;        /* of all lines so far */
    atomic_uint wanted;                        /* segments that should be ahead */
    atomic_bool asked;                         /* the keeper was told to look */

    /* Written by others. */
    _Alignas(64) atomic_uint ahead; /* segments behind <current> in the chain */
    atomic_uint_fast64_t drained, drained_bytes;
    atomic_uint_fast64_t safe; /* on disk up to this sequence */
    /* Settling lines up to this sequence are in Redis, or went on without. */
    atomic_uint_fast64_t stored;
    atomic_bool full; /* the last try to get a segment failed */

    pthread_mutex_t growing; /* guards last, next_number */
    struct segment *last;
    uint32_t next_number;

    pthread_mutex_t telling;   /* guards on_safe */
    pthread_mutex_t shrinking; /* guards first against the one who flushes */
    struct segment *first;
    atomic_uint writing;   /* number of the segment that the worker writes */
    uint32_t flushed;      /* all segments before this number are on disk; the keeper's own */
    atomic_bool new_names; /* the directory has entries that are not on disk */
    bool sick;             /* the last flush failed: said once; the keeper's own */

    struct journal_id id;
    int directory;
    size_t segment_bytes;
    void (*on_safe)(void *with);
    void *on_safe_with;
};

/* Begin a journal with one segment; the caller sets ledger, drain_sleeps and, with SYNC_OS, safe.
 * NULL and errno when there is no room. */
struct journal *journal_new(const struct journal_id *id, int directory, size_t segment_bytes);
/* Give up the memory; the files stay. */
void journal_free(struct journal *journal);

/* Append one more segment to the chain when fewer than <ahead> are there; false when there is no
 * room on disk. Any thread. */
bool journal_grow(struct journal *journal, unsigned ahead);

/* Take the first segment, which is drained, off the chain and remove its file. */
void journal_shrink(struct journal *journal);

/* SYNC_DISK: bring the lines written so far to disk, then say so. False when all were there. */
bool journal_flush(struct journal *journal);

/* SYNC_STORE: settling lines up to <sequence> are where they can be. Any thread. */
void journal_stored(struct journal *journal, uint64_t sequence);
/* Something is safe that was not. */
void journal_tell(struct journal *journal);

/* What a segment of <bytes> is sure to hold, however the lines fall. */
size_t journal_usable(const struct journal *journal);

/* For journal.c: things the ledger does when the worker notices something. */
void ledger_want_segment(struct ledger *ledger); /* wakes the keeper */
void ledger_has_work(struct ledger *ledger);     /* wakes the drain when it sleeps */
void ledger_turned(struct ledger *ledger);       /* a segment is full: look at the backlog */
