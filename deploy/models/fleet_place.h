/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between fleet_place.c (where) and fleet_evict.c (who makes room). */

#include "deploy/models/fleet_inside.h"

void resources_add(struct resources *to, const struct resources *what, int sign);
/* 0 of <has> = not bounded. */
bool resources_fit(const struct resources *has, const struct resources *used,
                   const struct resources *need);
bool resources_are_over(const struct resources *has, const struct resources *used);
/* The node where it would go now, or SIZE_MAX. */
size_t place_best(const struct fleet *fleet, const struct deployment_spec *spec,
                  const struct resources *need);
void place_promise(struct fleet *fleet, struct replica *one, size_t node,
                   const struct resources *need);
/* Add what is promised on <node> to others, of a replica that has a promise itself only what was
 * promised before. */
void place_add_promised(const struct fleet *fleet, size_t node, const struct replica *one,
                        struct resources *used);

/* Who makes room for a replica; <one> NULL = for a deployment that does not exist yet. */
struct eviction {
    const struct fleet *fleet;
    const struct replica *one;
    const struct deployment_spec *spec;
    struct resources need;
    uint64_t now_us;
    bool busy_too; /* who has work may be made to go as well */
    bool whenever; /* as if the time of all who may be made to go were over, and nothing promised */
    size_t node;   /* the answer: where */
    struct replica *victims[SPEC_REPLICAS_MAX];
    size_t count;
};
/* The cheapest set of victims on any node; false: nobody may be made to go. A count of 0 means that
 * what is on its way out already is enough. */
bool evict_choose(struct eviction *eviction);
/* Make victims go, and promise their room. False: nobody can. */
bool evict_for(struct fleet *fleet, struct replica *one, const struct resources *need,
               uint64_t now_us);
/* Of one that has a promise: who has to go for it, and may by now, goes. False: it is not needed
 * any more, or there will never be room. */
bool evict_on(struct fleet *fleet, struct replica *one, uint64_t now_us);
/* Nodes that have less than they had: somebody has to go. */
void evict_overfull(struct fleet *fleet, uint64_t now_us);
