/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * hearsay_desk - carries the figures of targets (routing/hearsay.h) between the nodes that share a
 * Redis. The first worker's, and there only with `store: {type: redis}`.
 *
 * Ten times a second one script tells what has changed here and brings what others have told since
 * the last time: one round trip, and nobody waits for it. Where nothing happens it is asked twice a
 * second, and what is long is told less often. While Redis is away there are our own figures, and
 * within HEARSAY_GONE_US what the others said is forgotten.
 *
 * In Redis, both ending by themselves within seconds:
 *
 *   <prefix>{figures}:at   sorted set: when each node has told, in microseconds of Redis' clock
 *   <prefix>{figures}:of   hash: what
 *
 * One thread: the worker's, which owns it.
 */

#include <stdint.h>

struct worker;
struct hearsay_desk;

/* NULL when there is no Redis. */
struct hearsay_desk *hearsay_desk_new(struct worker *worker);
/* NULL is allowed. In the loop's thread, before it is cleared. */
void hearsay_desk_stop(struct hearsay_desk *desk);
void hearsay_desk_free(struct hearsay_desk *desk);

/* Of this process; any thread. */
struct hearsay_figures {
    int64_t nodes;                 /* others whose figures count now */
    int64_t age_us;                /* of the oldest of them */
    uint64_t told, heard, refused; /* records; refused: they could not be read */
};
struct hearsay_figures hearsay_figures(void);
