/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * memory - allocation that cannot fail, and arenas.
 *
 * Running out of memory ends the process; no caller checks for NULL. That is safe only because
 * every size that comes from outside is bounded before it gets here.
 *
 * An arena belongs to exactly one owner, usually an exchange. What is taken from it dies with it;
 * nothing in it is ever freed alone. Its first block is kept over arena_reset(), so that an arena
 * that is used again allocates nothing on the steady path.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/text.h"

/* Zeroed memory; free it with memory_free(). */
void *memory_new(size_t bytes) __attribute__((malloc, returns_nonnull));
void *memory_resize(void *what, size_t bytes) __attribute__((returns_nonnull));
void memory_free(void *what);

/* How much is kept, of what is free at the end of each thread's part of the heap, for what comes.
 */
void memory_keep_free(size_t bytes);
/* Give that of this thread back to the kernel, from 64 KiB on. Once in a while, where a thread has
 * had more to do than it usually has: what is needed again costs a page fault for each 4 KiB. */
void memory_trim(void);
/* Give back to the heap what the C library keeps at hand of what this thread has freed: some 50 KiB
 * at most, but after a crowd each piece of it can be all that holds a page. A thread of its own
 * does that, in some 0.1 ms, or later where the processors are busy: nobody waits for it. For who
 * has nothing to do, before the heap is trimmed. What is returned is given back by one of the two
 * below.
 */
struct let_go;
struct let_go *memory_let_go(void) __attribute__((returns_nonnull));
/* Is it done? Then <let_go> is freed. Never waits. */
bool memory_has_gone(struct let_go *let_go);
/* Wait until it is done, and free <let_go>; NULL is nothing. Not for a loop. */
void memory_wait_gone(struct let_go *let_go);

/* A NUL-terminated copy of <from>; free it with memory_free(). */
char *memory_string(struct text from) __attribute__((returns_nonnull));

/* A NUL-terminated, formatted string; free it with memory_free(). */
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

void *memory_for_thread(void **at, size_t bytes) __attribute__((returns_nonnull));
/* <bytes> of this thread alone: zeroed memory when <*at> is NULL, which is a `static _Thread_local`
 * of the caller, else what it points to; freed when the thread ends. Big arrays that are themselves
 * `_Thread_local` cost every thread that much, whether it comes there or not. */
static inline void *memory_of_thread(void **at, size_t bytes)
{
    return *at ? *at : memory_for_thread(at, bytes);
}

/* Overwrite secrets so that the compiler cannot leave it out. */
void memory_wipe(void *what, size_t bytes);

struct arena_block;

struct arena {
    struct arena_block *blocks; /* the newest first; the last one is kept over a reset */
    struct arena_block *spare;  /* kept over a reset, for the next one of at most its size */
    char *at;                   /* where the next piece is cut from */
    size_t left;
    size_t block_bytes;
};

/* Begin an empty arena whose first block has <block_bytes>, and the others twice as much;
 * allocates nothing yet. Behind the first, a piece that would fill a block has one of its own, of
 * its size. */
void arena_init(struct arena *arena, size_t block_bytes);
/* The same, which begins with the <bytes> at <room> (aligned to 8; the caller's, for as long as the
 * arena lives) and takes blocks only when they are used up. Not to be reset. */
void arena_init_in(struct arena *arena, void *room, size_t bytes, size_t block_bytes);
/* Forget everything taken; keep the first block, and one more that is small. */
void arena_reset(struct arena *arena);
void arena_done(struct arena *arena);

/* Memory (NOT zeroed, 8-byte aligned) that lives as long as the arena. */
void *arena_take(struct arena *arena, size_t bytes) __attribute__((returns_nonnull));
/* The same, zeroed. */
void *arena_new(struct arena *arena, size_t bytes) __attribute__((returns_nonnull));
/* Copy <from> into the arena; the copy is NUL-terminated for the C library's sake. */
struct text arena_copy(struct arena *arena, struct text from);
/* A formatted, NUL-terminated text in the arena. */
struct text arena_format(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
