/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * descriptors - some that are kept free of connections of clients.
 *
 * Who is let in needs one more for its upstream; the log, the journal, the database and the
 * resolver need some, too. So the process holds a reserve of open ones that stand for nothing.
 * Whoever finds that there is none left gives it up: what it held is there for all but clients, who
 * are not let in until it is whole again. It is taken when half of all may be in use: as long as
 * there are enough this costs nothing.
 *
 * One reserve for the process; any thread.
 */

#include <stdbool.h>

enum {
    DESCRIPTORS_KEPT_MAX = 128,
    DESCRIPTORS_PART = 4, /* of what RLIMIT_NOFILE allows one in so many is kept, */
    DESCRIPTORS_HALF = 2, /* and at first not more than half of those that are free */
};

/* At the start: how many may there be? Nothing is held before half of them are in use. */
void descriptors_begin(void);

/* A client was let in with <fd>, the lowest number that was free: when that is beyond the half, and
 * the reserve was never held, hold it. Two relaxed loads. */
void descriptors_note(int fd);

/* Hold the reserve. 0 when it is held, and was perhaps before; else how many descriptors must be
 * closed until it can be, and none is held. The first call also decides how large it is. */
unsigned descriptors_keep(void);

/* Give the reserve up. False when it was not held. */
bool descriptors_yield(void);

/* Has it been given up, and was not held again since? One relaxed load. */
bool descriptors_are_yielded(void);

/* How many the reserve holds now. */
unsigned descriptors_kept(void);

/* Does <error>, an errno, say that there is no descriptor left? */
bool descriptors_ran_out(int error);

/* Is there none left at this moment? For who is told of a failure without its errno; it takes one
 * to find out. */
bool descriptors_are_out(void);

/* At the end, when no other thread is there: close the reserve, and forget how large it was. */
void descriptors_done(void);
