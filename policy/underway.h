/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * underway - which process makes the call that has an Idempotency-Key, where several serve on one
 * machine: the one that was replaced (an upgrade in place) and its successor. Embedded only: with
 * Redis that is said there (cache_redis.h).
 *
 * A table in shared memory, without a name, made by the supervisor, which hands it to all that it
 * starts and takes out what a process has left in it that died. Nothing in it outlives the
 * supervisor. A process that dies in the middle of a change leaves it as it was.
 *
 * It is no larger than what it holds: some 80 bytes for each call that is under way at once.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "gateway/base/hash.h"

enum { UNDERWAY_MAX = 1 << 16 }; /* calls of all processes */

struct underway;

/* A descriptor of a new, empty table, close-on-exec; -1 and errno. */
int underway_make(void);
/* The table behind <fd>, which stays the caller's. NULL: it is none that is known here (another
 * version has made it), or there is no memory. */
struct underway *underway_open(int fd);
/* NULL is nobody. What this process holds stays held. */
void underway_close(struct underway *underway);

enum underway_result {
    UNDERWAY_OURS,       /* it was nobody's, and is this process's now, to be given back */
    UNDERWAY_THEIRS,     /* a process makes it already, which may be this one */
    UNDERWAY_OTHER_BODY, /* so it does, and for another request */
    UNDERWAY_FULL,       /* nothing can be said */
};
/* Any thread, as the one below. */
enum underway_result underway_take(struct underway *underway, const struct digest *name,
                                   const struct digest *body);
/* This process makes it no more; whoever could find its answer must be able to by now. */
void underway_give_back(struct underway *underway, const struct digest *name);
/* <pid> has died, and its number is nobody else's yet: what it held is nobody's. */
void underway_bury(struct underway *underway, pid_t pid);
