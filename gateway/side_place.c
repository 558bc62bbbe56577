/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/side_place.h"

#include "deploy/models/standing.h"
#include "gateway/base/hash.h"
#include "gateway/config/config.h"
#include "gateway/worker_inside.h"

enum { SERVED_NAME_MAX = 256 };

/* What the replica calls its model, or the adapter. False: an adapter that it has not got, or a
 * llama.cpp that has some: there a call has to say by their numbers which of them it wants, and
 * this one is sent as it is. */
static bool find_name(struct arena *arena, const struct target *target, struct side_place *place)
{
    const struct deployment_spec *spec = target->provider->spec;
    struct deployments *desk = standing_fleet();
    char name[SERVED_NAME_MAX + 1];
    place->model = target->model;
    if (spec->engine == ENGINE_LLAMA_CPP && spec->adapter_count > 0)
        return false;
    if (target->adapter.len) {
        struct adapter_wire wire;
        if (!desk ||
            !deployments_adapter(desk, spec->name, &place->held.slot, target->adapter, &wire))
            return false;
        place->model = arena_copy(arena, text_of(wire.name));
    } else if (desk && deployments_served_name(desk, spec->name, &place->held.slot, name,
                                               sizeof(name)) > 0) {
        place->model = arena_copy(arena, text_of(name));
    }
    return true;
}

bool side_place_take(struct worker *worker, struct arena *arena, const struct target *target,
                     bool wakes, struct side_place *place)
{
    struct slots *slots = target->provider->slots;
    struct slots_wish wish = {.share_hash = worker_random(worker),
                              .adapter = target->adapter.len ? hash_name(target->adapter) : 0};
    *place = (struct side_place){.held = {.slots = slots}};
    bool taken = slots_figures(slots).held == 0 && slots_take(slots, &wish, &place->held.slot);
    if (!taken && wakes)
        standing_knock(target->provider->standing);
    if (taken && find_name(arena, target, place))
        return true;
    side_place_give(place, FAULT_CLIENT_GONE, 0);
    return false;
}

struct upstream_pool *side_place_pool(struct worker *worker, const struct target *target,
                                      const struct side_place *place)
{
    return replicas_pool(&worker->replicas, place->held.slots, &place->held.slot, target->provider);
}

void side_place_give(struct side_place *place, enum fault_kind outcome, int64_t ttft_us)
{
    held_place_give(&place->held, outcome, ttft_us);
}
