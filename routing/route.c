/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/route.h"

#include <stdlib.h>

#include "gateway/base/memory.h"
#include "gateway/base/table.h"

struct pattern {
    struct text text;
    const struct route *route;
    size_t order;
};

struct routes {
    struct table names, aliases;
    struct pattern *patterns; /* the longest first */
    size_t pattern_count;
};

static int longest_first(const void *left, const void *right)
{
    const struct pattern *a = left, *b = right;
    if (a->text.len != b->text.len)
        return a->text.len > b->text.len ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static void add_alias(struct routes *routes, const struct route *route, struct text alias)
{
    if (text_find_byte(alias, '*') != SIZE_MAX) {
        routes->patterns[routes->pattern_count] =
            (struct pattern){alias, route, routes->pattern_count};
        routes->pattern_count++;
    } else if (!table_find(&routes->aliases, alias)) {
        table_set(&routes->aliases, alias, (void *)(uintptr_t)route);
    }
}

struct routes *routes_new(const struct route *list, size_t count)
{
    struct routes *routes = memory_new(sizeof(*routes));
    size_t aliases = 0;
    for (size_t i = 0; i < count; i++)
        aliases += list[i].alias_count;
    table_init(&routes->names);
    table_init(&routes->aliases);
    routes->patterns = memory_new((aliases + 1) * sizeof(*routes->patterns));
    for (size_t i = 0; i < count; i++) {
        if (!table_find(&routes->names, list[i].name))
            table_set(&routes->names, list[i].name, (void *)(uintptr_t)&list[i]);
        for (size_t j = 0; j < list[i].alias_count; j++)
            add_alias(routes, &list[i], list[i].aliases[j]);
    }
    qsort(routes->patterns, routes->pattern_count, sizeof(*routes->patterns), longest_first);
    return routes;
}

void routes_free(struct routes *routes)
{
    if (!routes)
        return;
    table_done(&routes->names);
    table_done(&routes->aliases);
    memory_free(routes->patterns);
    memory_free(routes);
}

/* ------------------------------------------------------------------------------ all together */

static void sum_target(struct route_sum *sum, const struct target *target)
{
    int64_t context = target->context_tokens;
    sum->can &= target->can;
    if (context && (!sum->context_tokens || context < sum->context_tokens))
        sum->context_tokens = context;
    if (!target->off && (target->quotas[0].figures || target->quotas[1].figures))
        sum->limited = true;
    if (!target->off && target->price.no_search)
        sum->unsearched = true;
}

static int64_t longest_window(const struct route *route)
{
    int64_t longest = 0;
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        if (!target->off && !target->context_tokens)
            return 0;
        if (!target->off && target->context_tokens > longest)
            longest = target->context_tokens;
    }
    return longest;
}

/* Of prices that cover each other the first stays. */
static uint64_t dearest_of(const struct route *route, uint64_t on)
{
    uint64_t found = 0;
    for (uint64_t left = on; left; left &= left - 1) {
        size_t at = (size_t)__builtin_ctzll(left);
        const struct price *price = &route->targets[at].price;
        bool covered = false;
        for (uint64_t other = found; other && !covered; other &= other - 1)
            covered = price_covers(&route->targets[__builtin_ctzll(other)].price, price);
        for (uint64_t other = covered ? 0 : found; other; other &= other - 1)
            if (price_covers(price, &route->targets[__builtin_ctzll(other)].price))
                found &= ~(other & -other);
        found |= covered ? 0 : UINT64_C(1) << at;
    }
    return found;
}

void route_seal(struct route *route)
{
    struct route_sum sum = {.known = route->target_count <= ROUTE_TARGETS_MAX, .can = CAN_ALL};
    sum.even = sum.plain = sum.known;
    for (size_t i = 0; sum.known && i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        sum_target(&sum, target);
        sum.even = sum.even && target->weight && target->priority == route->targets[0].priority;
        sum.plain = sum.plain && target->service != SERVICE_PRIORITY;
        sum.on |= target->off ? 0 : UINT64_C(1) << i;
    }
    sum.dearest = dearest_of(route, sum.on);
    sum.longest_tokens = longest_window(route);
    route->sum = sum;
}

int64_t route_context(const struct route *route)
{
    return route->sum.longest_tokens ? route->sum.longest_tokens : route->context_window;
}

/* ------------------------------------------------------------------------------------ by name */

const struct route *routes_find(const struct routes *routes, struct text model)
{
    const struct route *route = table_find(&routes->names, model);
    if (!route)
        route = table_find(&routes->aliases, model);
    for (size_t i = 0; !route && i < routes->pattern_count; i++)
        if (text_matches(model, routes->patterns[i].text))
            route = routes->patterns[i].route;
    return route;
}
