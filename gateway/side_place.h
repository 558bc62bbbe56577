/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * side_place - a place on a replica for a call that sluice makes on the side: a mirrored call, an
 * embedding for the cache. It is taken where one is free at once, and nobody who waits for that
 * deployment would rather have it; else there is none, and the call is not made. Inside gateway; a
 * worker's thread.
 */

#include "gateway/base/memory.h"
#include "gateway/waking.h"

struct target;
struct worker;

struct side_place {
    struct held_place held;
    struct text model; /* what the replica calls it; in the arena, or the target's */
};

/* A place on the deployment that <target> is. False: there is none that would do; nothing is held.
 * <wakes>: it is to wake for the next one, if it sleeps. */
bool side_place_take(struct worker *worker, struct arena *arena, const struct target *target,
                     bool wakes, struct side_place *place);
/* The connections to it; NULL = it has been closed. */
struct upstream_pool *side_place_pool(struct worker *worker, const struct target *target,
                                      const struct side_place *place);
/* Give it back, if it is held; <ttft_us> 0 = not known. */
void side_place_give(struct side_place *place, enum fault_kind outcome, int64_t ttft_us);
