/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/detour.h"

#include "gateway/reserve.h"
#include "gateway/tries.h"
#include "gateway/worker_inside.h"

/* What a name in the policy's list stands for: a model's targets, or one of them. */
struct place {
    const struct route *route;
    uint64_t closed; /* bits of its targets that are not meant */
};

static bool find_target(const struct config *config, struct text id, struct place *place)
{
    for (size_t i = 0; i < config->model_count; i++)
        for (size_t k = 0; k < config->models[i].target_count; k++)
            if (text_equal(config->models[i].targets[k].id, id)) {
                *place = (struct place){&config->models[i], ~(UINT64_C(1) << k)};
                return true;
            }
    return false;
}

static bool find_place(const struct config *config, struct text name, struct place *place)
{
    const struct route *route = routes_find(config->routes, name);
    if (route && text_equal(route->name, name)) {
        *place = (struct place){route, 0};
        return true;
    }
    return find_target(config, name, place);
}

/* Not where the call comes from: those were tried. One that rests is of use, but not <well>. */
static const struct target *find_use(const struct exchange *x, const struct place *place, bool well)
{
    const struct route *route = place->route;
    if (route == x->route && !place->closed)
        return NULL;
    uint64_t out = place->closed | ruling_out(x, route, true);
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        bool tried = route == x->route && x->tried_at_home >> i & 1;
        if (!target->off && !(out >> i & 1) && target != x->target && !tried &&
            (!well || tries_is_well(x, target)))
            return target;
    }
    return NULL;
}

/* The first one of use of those that were not taken; returns where it stands, or SIZE_MAX. */
static size_t find_next(const struct exchange *x, struct place *place, bool well)
{
    size_t count;
    const struct text *names = ruling_fallback(x, &count);
    for (size_t at = 0; at < count; at++)
        if (!(x->fallbacks_taken >> at & 1) && find_place(x->snapshot->config, names[at], place) &&
            find_use(x, place, well))
            return at;
    return SIZE_MAX;
}

/* Away from the model's own targets, of which some rested then: they were not asked. */
static bool has_left_some(const struct exchange *x)
{
    return x->detour && (x->rested_at_home & ~x->tried_at_home) != 0;
}

bool detour_is_there(const struct exchange *x)
{
    struct place place;
    return find_next(x, &place, false) != SIZE_MAX || has_left_some(x);
}

const struct target *detour_find_well(const struct exchange *x)
{
    struct place place;
    return find_next(x, &place, true) == SIZE_MAX ? NULL : find_use(x, &place, true);
}

bool detour_is_better(const struct exchange *x)
{
    return x->route && !x->pinned && !x->aside && x->again != AGAIN_SAME &&
           !tries_find_well(x, x->tried) && detour_find_well(x);
}

/* Those that are not asked because they rest. Who is well and was not asked is too dear, or full.
 */
static uint64_t find_resting(const struct exchange *x)
{
    uint64_t resting = 0;
    for (size_t i = 0; i < x->route->target_count; i++)
        if (!x->route->targets[i].off && !(x->tried >> i & 1) &&
            !tries_is_well(x, &x->route->targets[i]))
            resting |= UINT64_C(1) << i;
    return resting;
}

/* One of the model's own, which its policy may name, is not asked a second time. */
static void note_own(struct exchange *x)
{
    if (!x->detour) {
        x->tried_at_home = x->tried;
        x->rested_at_home = find_resting(x);
    } else if (x->detour == x->route && x->target) {
        x->tried_at_home |= UINT64_C(1) << (x->target - x->route->targets);
    }
}

static bool go_home(struct exchange *x)
{
    note_own(x);
    if (!has_left_some(x) || !reserve_detour(x, x->route))
        return false;
    x->detour = NULL;
    x->tried = x->tried_at_home;
    return true;
}

static bool take_next(struct exchange *x, bool well)
{
    struct place place;
    for (size_t at; (at = find_next(x, &place, well)) != SIZE_MAX;) {
        x->fallbacks_taken |= 1ULL << at;
        if (!reserve_detour(x, place.route))
            continue;
        note_own(x);
        x->detour = place.route;
        x->tried = place.closed | ruling_out(x, place.route, true) |
                   (place.route == x->route ? x->tried_at_home & ~x->ruling.out : 0);
        return true;
    }
    return false;
}

bool detour_take(struct exchange *x)
{
    return take_next(x, true) || go_home(x) || take_next(x, false);
}
