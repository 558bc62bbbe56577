/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cache_helper - a thread that does, one after the other, what would take a loop too long: asking a
 * database, comparing with thousands of vectors.
 */

#include <stdbool.h>
#include <stddef.h>

/* One thing to do. The helper's from helper_give() until it calls <run>, on its own thread, or
 * <drop>, on the thread of helper_cancel(); each is called once, and then it is nobody's. */
struct task {
    struct task *next;
    void (*run)(struct task *task);
    void (*drop)(struct task *task); /* NULL: it has no owner */
    const void *owner;               /* NULL = none: it is done in any case */
};

struct helper;

/* At most <waiting_max> tasks wait. NULL when there is no thread to be had. */
struct helper *helper_new(const char *name, size_t waiting_max);
/* Do what waits, and end. Owners must have cancelled. NULL is nobody. */
void helper_free(struct helper *helper);

/* False, and it is the caller's still, when too many wait. Any thread. */
bool helper_give(struct helper *helper, struct task *task);
/* Drop what <owner> has waiting. When this returns nothing of it is being done. */
void helper_cancel(struct helper *helper, const void *owner);
