/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * route - from a model name to the next target to try. A door of routing.
 *
 * Routing decides and remembers; it does no I/O. Ask route_choose() before each try, report every
 * try with route_report() exactly once.
 */

#include "gateway/base/fault.h"
#include "routing/target.h"

enum { ROUTE_TARGETS_MAX = 64 };

/* A configured model. All of it lives as long as the configuration. */
struct route {
    struct text name;
    struct text *aliases; /* may hold '*' */
    size_t alias_count;
    struct text description;
    struct text *capabilities; /* as they were declared: tools, vision, ... */
    size_t capability_count;
    int64_t context_window; /* 0 = unknown */
    int64_t output_tokens;  /* the longest answer of any of its targets; 0 = unknown of one */
    const struct target *targets;
    size_t target_count; /* at most ROUTE_TARGETS_MAX */
};

struct routes;

/* Build the lookup over <list> (borrowed). */
struct routes *routes_new(const struct route *list, size_t count);
void routes_free(struct routes *routes);
/* By name, then by alias, then by the longest matching pattern; NULL when there is none. */
const struct route *routes_find(const struct routes *routes, struct text model);

/*
 * The next target to try: of those that are on and not in the set of bits <tried>, the lowest
 * priority, there by weight (<random> decides). Marks it as tried and in flight. NULL when none is
 * left.
 */
const struct target *route_choose(const struct route *route, uint64_t *tried, uint64_t random);

/* How the try on <target> ended: FAULT_NONE for a good answer. */
void route_report(const struct target *target, enum fault_kind outcome);
