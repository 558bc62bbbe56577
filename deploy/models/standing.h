/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * standing - how each deployment stands, as the desk has last said: for choices, for those who
 * wait, and for pages.
 *
 * Written by the desk (worker 0) ten times a second and read by any thread; standing_is_off() takes
 * no lock, and is for each choice.
 */

#include <stdbool.h>
#include <stdint.h>

#include "deploy/models/deployment.h"
#include "gateway/base/loop.h"
#include "gateway/base/text.h"

struct standing; /* of one deployment; the same for the life of the process */

/* Found by name, or made. Any thread. */
struct standing *standing_of(struct text deployment);

struct standing_view {
    bool known; /* the desk has said something */
    enum deployment_state state;
    int progress_permille; /* of what starts; -1 = not known */
    int64_t eta_us;        /* until it is ready; -1 = not known */
    unsigned ready;        /* replicas */
    char reason[FLEET_REASON_MAX];
};
struct standing_view standing_look(struct standing *standing);

/* The desk says. <view> NULL: there is no such deployment any more. */
void standing_say(struct standing *standing, const struct fleet_view *view);

/* A call was turned away that would have waited: whoever idles is to wake all the same. Any thread.
 */
void standing_knock(struct standing *standing);
/* Has anybody knocked since it was last asked? For the desk. */
bool standing_knocked(struct standing *standing);
/* Whom to wake on a knock; NULL = nobody. */
void standing_set_desk(struct loop *loop, struct errand *errand);
/* What runs in this process, for the calls of all workers; NULL = nothing does. Any thread. */
void standing_set_fleet(struct deployments *fleet);
struct deployments *standing_fleet(void);

/* How long things took: calls in the queue, servers until they were ready. */
enum standing_time { STANDING_HELD, STANDING_COLD_START, STANDING_TIMES };
enum { STANDING_BUCKETS = 11 }; /* the last one is for all that is longer */
extern const int64_t standing_bounds_us[STANDING_BUCKETS - 1];
void standing_note(struct standing *standing, enum standing_time what, int64_t us);
struct standing_histogram {
    uint64_t counts[STANDING_BUCKETS], count;
    int64_t sum_us;
};
struct standing_histogram standing_histogram(struct standing *standing, enum standing_time what);
/* It was ended so that another one has room. */
void standing_note_eviction(struct standing *standing);
uint64_t standing_evictions(struct standing *standing);

/* Can no call be answered before somebody does something: stopped by order, or given up? A call
 * may try one again that was given up, where there is nobody else. */
bool standing_is_off(struct standing *standing);
