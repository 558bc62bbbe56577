/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * hindsight - what another policy would have chosen: what was known of each target when one was
 * chosen goes through the same picker again, for `sluice replay` and the admin API alike.
 *
 * Both choices are weighed by the predictions, so that the difference of the two is that of the
 * policies and not of the predictions; the faults of a target are those of its calls.
 *
 * Times are in microseconds of the wall clock, money in nano-dollars. One thread at a time.
 */

#include "gateway/base/json_write.h"
#include "routing/decision.h"
#include "routing/route.h"

enum {
    HINDSIGHT_TARGETS_MAX = 256, /* that are told apart; calls of others are left out */
    HINDSIGHT_NAME_BYTES = 256,  /* of a target, with its NUL; what is longer is cut */
    HINDSIGHT_FIGURES = 4
};

/* What was known when one was chosen. The texts are borrowed. */
struct considered {
    struct target targets[ROUTE_TARGETS_MAX]; /* id, priority, weight */
    struct prediction predictions[ROUTE_TARGETS_MAX];
    bool out[ROUTE_TARGETS_MAX]; /* see hindsight_is_out() */
    size_t count;
};

struct hindsight;

/* Of calls that ended at <since_us> or later (0: of all), and of <model> (empty: of all). <policy>
 * and <model> are borrowed until hindsight_free(). */
struct hindsight *hindsight_new(const struct route_policy *policy, int64_t since_us,
                                struct text model);
void hindsight_free(struct hindsight *hindsight);

/* Is a target out for this policy? <struck>: it was out then, for another reason than that it was
 * slow, which it need not be for this one. */
bool hindsight_is_out(const struct hindsight *hindsight, bool struck,
                      const struct prediction *prediction);

/* One call: what was considered, and chosen at place <was>; <failed>: that did not answer well. A
 * <was> that is no place: its record is incomplete, and it is left out. */
void hindsight_see(struct hindsight *hindsight, const struct considered *considered, size_t was,
                   bool failed);
/* One record (decision.h), for decisions_each(); <with> is the hindsight. */
void hindsight_see_record(void *with, struct text record);

struct hindsight_figure {
    const char *title, *name, *unit; /* for people; as a member of JSON */
    double recorded, difference;     /* means per call */
    double half_interval;            /* of the difference: it holds in 95 of 100 cases */
};

struct hindsight_report {
    int64_t calls, to_another_target, left_out;
    struct hindsight_figure figures[HINDSIGHT_FIGURES];
};

void hindsight_report(const struct hindsight *hindsight, struct hindsight_report *report);
/* How often a target was chosen; false behind the last one. */
struct hindsight_target {
    struct text id; /* borrowed */
    int64_t recorded, replayed;
};
bool hindsight_target(const struct hindsight *hindsight, size_t i, struct hindsight_target *target);

/* All of it as an object. */
void hindsight_write(const struct hindsight *hindsight, struct json_write *json);
