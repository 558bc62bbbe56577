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
