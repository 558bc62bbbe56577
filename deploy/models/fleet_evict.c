/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who makes room. Not who starts, is pinned, has just begun to serve (eviction.min_residency),
 * ranks higher, or would leave its deployment with fewer than scaling.min. Those who are idle
 * first; who has work only when the other one has waited for as long as everybody may stay.
 *
 * A victim is fenced before it is drained: it gets no new call, and what is on its way to it counts
 * as work that it has. Its room is promised to who waits, so that nobody else takes it.
 */
#include <stdio.h>

#include "deploy/models/fleet_place.h"

enum { CANDIDATES_MAX = SPEC_REPLICAS_MAX };

struct candidate {
    struct replica *one;
    int64_t cost;
};

static uint64_t residency_us(const struct fleet_deployment *deployment)
{
    int64_t us = deployment->spec->eviction.min_residency_us;
    return us > RESIDENCY_LEAST_US ? (uint64_t)us : RESIDENCY_LEAST_US;
}

/* How long it works, once it is there, though others wait: not shorter than it takes to start. */
static uint64_t quantum_us(const struct fleet_deployment *deployment)
{
    uint64_t us = residency_us(deployment), start_us = (uint64_t)look_median(deployment);
    us = us > start_us ? us : start_us;
    return us > QUANTUM_LEAST_US ? us : QUANTUM_LEAST_US;
}

static bool is_pinned(const struct fleet_deployment *deployment)
{
    return deployment->pinned || (deployment->spec->eviction.pin && !deployment->unpinned);
}

static bool is_leaving(const struct replica *one)
{
    return one->r.state == REPLICA_DRAINING || one->r.state == REPLICA_STOPPING;
}

static unsigned staying(const struct fleet_deployment *deployment)
{
    unsigned count = 0;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one))
        count += replica_holds(one->r.state) && !is_leaving(one);
    return count;
}

/* How many of <deployment> have to stay. Who has something already does not take the only one of
 * somebody who has work for it. */
static unsigned have_to_stay(const struct eviction *eviction,
                             const struct fleet_deployment *deployment)
{
    bool is_more = eviction->one && !eviction->one->is_first;
    bool below = deployment->spec->eviction.priority < eviction->spec->eviction.priority;
    unsigned least = below ? 0 : least_of(deployment);
    return least == 0 && is_more && demand_of(deployment) > 0 ? 1 : least;
}

/* Could it be made to go, be it now or when its time is over? Whoever is waited for has to pass
 * here: what is promised to one who waits for what never comes would be lost for everybody. */
static bool may_ever_go(const struct eviction *eviction, const struct replica *one)
{
    const struct fleet_deployment *deployment = one->of;
    if (eviction->one && eviction->one->of == deployment)
        return false;
    return !is_pinned(deployment) &&
           deployment->spec->eviction.priority <= eviction->spec->eviction.priority &&
           staying(deployment) > have_to_stay(eviction, deployment);
}

static bool has_begun(const struct replica *one)
{
    return one->r.state == REPLICA_READY || one->r.state == REPLICA_UNREADY ||
           one->r.state == REPLICA_SLEEPING || (one->r.state == REPLICA_LOST && one->was_ready);
}

/* Now, or, if it is asked so, when the time of all is over. */
static bool may_go(const struct eviction *eviction, const struct replica *one)
{
    bool busy = one->r.in_flight > 0 || one->of->demand.held > 0;
    uint64_t since_us = one->r.ready_us;
    if (one->r.state == REPLICA_READY && one->r.since_us > since_us)
        since_us = one->r.since_us;
    uint64_t stays_us = busy ? quantum_us(one->of) : residency_us(one->of);
    if (eviction->whenever)
        return replica_holds(one->r.state) && !is_leaving(one) && may_ever_go(eviction, one);
    if (!has_begun(one) || !may_ever_go(eviction, one) || eviction->now_us - since_us < stays_us)
        return false;
    return !busy || eviction->busy_too;
}

static int64_t size_of(const struct replica *one)
{
    return one->reserved.memory_bytes + one->reserved.vram_bytes;
}

/* What its going costs, as the one that needs the room reckons. */
static int64_t cost_of(const struct eviction *eviction, const struct replica *one)
{
    int64_t start_s, uses;
    switch (eviction->spec->eviction.policy) {
    case EVICT_OLDEST:
        return (int64_t)(one->r.used_us / 1000);
    case EVICT_BY_SIZE: /* rather one large one than many small ones */
        return INT64_MAX / 256 - size_of(one) / 1024;
    case EVICT_BY_COST:
        break;
    }
    start_s = look_median(one->of) / SECOND_US + 1;
    uses = (int64_t)window_sum(&one->of->uses, eviction->now_us) + 1;
    uses = uses < INT32_MAX ? uses : INT32_MAX;
    return (start_s < 1000000 ? start_s : 1000000) * uses;
}

static size_t gather(const struct eviction *eviction, size_t node, struct candidate *into)
{
    const struct fleet *fleet = eviction->fleet;
    size_t count = 0;
    for (size_t i = 0; i < fleet->count; i++)
        for (struct replica *one = replica_first(fleet->deployments[i]); one;
             one = replica_next(one)) {
            if (count == CANDIDATES_MAX || one->r.node != node || !may_go(eviction, one))
                continue;
            struct candidate next = {one, cost_of(eviction, one)};
            size_t place = count++;
            for (; place > 0 && into[place - 1].cost > next.cost; place--)
                into[place] = into[place - 1];
            into[place] = next;
        }
    return count;
}

/* What is in use on <node> when all have gone who are on their way out. */
static struct resources used_later(const struct fleet *fleet, size_t node)
{
    struct resources used = fleet->nodes[node].reserved;
    for (size_t i = 0; i < fleet->count; i++)
        for (struct replica *one = replica_first(fleet->deployments[i]); one;
             one = replica_next(one))
            if (one->r.node == node && is_leaving(one))
                resources_add(&used, &one->reserved, -1);
    return used;
}

/* Would taking <one> as well leave its deployment with too few? */
static bool is_too_many(const struct eviction *eviction, struct candidate *chosen, size_t count,
                        const struct replica *one)
{
    unsigned going = 1;
    for (size_t i = 0; i < count; i++)
        going += chosen[i].one->of == one->of;
    return staying(one->of) < have_to_stay(eviction, one->of) + going;
}

/* Where <one> would be one too many and is larger than another of its deployment (of another
 * revision, say), that one may stay instead. */
static void choose_larger(struct candidate *chosen, size_t count, const struct candidate *one,
                          struct resources *used)
{
    struct candidate *smallest = NULL;
    for (size_t i = 0; i < count; i++)
        if (chosen[i].one->of == one->one->of &&
            (!smallest || size_of(chosen[i].one) < size_of(smallest->one)))
            smallest = &chosen[i];
    if (!smallest || size_of(smallest->one) >= size_of(one->one))
        return;
    resources_add(used, &smallest->one->reserved, 1);
    resources_add(used, &one->one->reserved, -1);
    *smallest = *one;
}

/* From the cheapest on until it fits; then, from the dearest on, back those who need not go. */
static int64_t choose_on(const struct eviction *eviction, size_t node, struct candidate *chosen,
                         size_t *count)
{
    struct candidate all[CANDIDATES_MAX];
    const struct fleet_node *at = &eviction->fleet->nodes[node];
    struct resources used = used_later(eviction->fleet, node);
    size_t many = gather(eviction, node, all);
    int64_t cost = 0;
    *count = 0;
    if (!eviction->whenever)
        place_add_promised(eviction->fleet, node, eviction->one, &used);
    for (size_t i = 0; i < many && !resources_fit(&at->spec.has, &used, &eviction->need); i++) {
        if (is_too_many(eviction, chosen, *count, all[i].one)) {
            choose_larger(chosen, *count, &all[i], &used);
            continue;
        }
        resources_add(&used, &all[i].one->reserved, -1);
        chosen[(*count)++] = all[i];
    }
    if (!resources_fit(&at->spec.has, &used, &eviction->need))
        return INT64_MAX;
    for (size_t i = *count; i-- > 0;) {
        resources_add(&used, &chosen[i].one->reserved, 1);
        if (resources_fit(&at->spec.has, &used, &eviction->need)) {
            memmove(chosen + i, chosen + i + 1, (--*count - i) * sizeof(*chosen));
            continue;
        }
        resources_add(&used, &chosen[i].one->reserved, -1);
        cost += chosen[i].cost < INT64_MAX / 256 ? chosen[i].cost : INT64_MAX / 256;
    }
    return cost;
}

bool evict_choose(struct eviction *eviction)
{
    const struct fleet *fleet = eviction->fleet;
    int64_t least = INT64_MAX;
    eviction->node = SIZE_MAX;
    for (size_t i = 0; i < fleet->node_count; i++) {
        struct candidate chosen[CANDIDATES_MAX];
        size_t count;
        if (!fleet->nodes[i].usable ||
            !place_fits(&fleet->nodes[i], eviction->spec, &eviction->need))
            continue;
        int64_t cost = choose_on(eviction, i, chosen, &count);
        if (cost >= least)
            continue;
        least = cost;
        eviction->node = i;
        eviction->count = count;
        for (size_t v = 0; v < count; v++)
            eviction->victims[v] = chosen[v].one;
    }
    return eviction->node != SIZE_MAX;
}

/* -------------------------------------------------------------------------------- making room */

static bool is_needed(const struct replica *one)
{
    const struct fleet_deployment *deployment = one->of;
    return demand_of(deployment) > 0 || deployment->ordered ||
           fleet_census(deployment, 0).counted <= least_of(deployment);
}

static void retire(struct fleet *fleet, struct replica *victim, const char *reason, uint64_t now_us)
{
    struct fleet_deployment *deployment = victim->of;
    replica_retire(fleet, victim, reason, now_us);
    if (deployment->wanted > least_of(deployment))
        deployment->wanted--;
}

/* It has waited for so long that who has work goes too. */
static bool is_overdue(const struct replica *one, uint64_t now_us)
{
    uint64_t oldest_us = one->of->demand.oldest_held_us;
    uint64_t since_us = oldest_us && oldest_us < one->asked_us ? oldest_us : one->asked_us;
    return now_us - since_us >= residency_us(one->of);
}

static void make_go(struct fleet *fleet, const struct eviction *eviction, uint64_t now_us)
{
    char reason[FLEET_REASON_MAX];
    snprintf(reason, sizeof(reason), "evicted_for:%s", eviction->one->of->name);
    for (size_t i = 0; i < eviction->count; i++)
        retire(fleet, eviction->victims[i], reason, now_us);
}

static void wait_for(struct replica *one, const char *whom)
{
    snprintf(one->r.reason, sizeof(one->r.reason), "waits_for:%.60s", whom);
}

/* Would there be room on <node>, when the time of all is over who can be made to go? Others to whom
 * room is promised there have their turn before, and then it is over too. */
static bool will_fit(const struct eviction *eviction, size_t node)
{
    const struct fleet_node *at = &eviction->fleet->nodes[node];
    struct candidate chosen[CANDIDATES_MAX];
    struct eviction later = *eviction;
    size_t count;
    later.whenever = true;
    return at->usable && place_fits(at, eviction->spec, &eviction->need) &&
           choose_on(&later, node, chosen, &count) != INT64_MAX;
}

/* It has waited long, and those who are there never have served their time all at once, since each
 * is followed by another: from now on nobody else follows on one node. */
static bool claim(struct fleet *fleet, struct replica *one, const struct eviction *eviction)
{
    for (size_t i = 0; i < fleet->node_count && one->is_first; i++) {
        if (!will_fit(eviction, i))
            continue;
        place_promise(fleet, one, i, &eviction->need);
        wait_for(one, "its_turn");
        return true;
    }
    return false;
}

bool evict_for(struct fleet *fleet, struct replica *one, const struct resources *need,
               uint64_t now_us)
{
    struct eviction eviction = {
        .fleet = fleet, .one = one, .spec = one->r.spec, .need = *need, .now_us = now_us};
    if (!is_needed(one))
        return false;
    if (!evict_choose(&eviction)) {
        eviction.busy_too = is_overdue(one, now_us);
        if (!eviction.busy_too)
            return false;
        if (!evict_choose(&eviction))
            return claim(fleet, one, &eviction);
    }
    make_go(fleet, &eviction, now_us);
    place_promise(fleet, one, eviction.node, need);
    wait_for(one, eviction.count ? eviction.victims[0]->of->name : "room");
    return true;
}

bool evict_on(struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    struct candidate chosen[CANDIDATES_MAX];
    struct eviction eviction = {.fleet = fleet,
                                .one = one,
                                .spec = one->r.spec,
                                .need = one->promise,
                                .now_us = now_us,
                                .busy_too = is_overdue(one, now_us)};
    if (!is_needed(one) || !will_fit(&eviction, one->r.node))
        return false;
    int64_t cost = choose_on(&eviction, one->r.node, chosen, &eviction.count);
    if (cost == INT64_MAX || eviction.count == 0)
        return true;
    for (size_t i = 0; i < eviction.count; i++)
        eviction.victims[i] = chosen[i].one;
    make_go(fleet, &eviction, now_us);
    wait_for(one, eviction.victims[0]->of->name);
    return true;
}

/* Of all on <node>: who ranks lowest, is idle, costs least. */
static struct replica *least_dear(const struct fleet *fleet, size_t node)
{
    struct replica *least = NULL;
    for (size_t i = 0; i < fleet->count; i++)
        for (struct replica *one = replica_first(fleet->deployments[i]); one;
             one = replica_next(one)) {
            if (one->r.node != node || !replica_holds(one->r.state) || is_leaving(one))
                continue;
            int rank = one->of->spec->eviction.priority;
            int other = least ? least->of->spec->eviction.priority : 0;
            if (!least || rank < other || (rank == other && one->r.in_flight < least->r.in_flight))
                least = one;
        }
    return least;
}

void evict_overfull(struct fleet *fleet, uint64_t now_us)
{
    for (size_t i = 0; i < fleet->node_count; i++) {
        const struct fleet_node *node = &fleet->nodes[i];
        struct resources used = used_later(fleet, i);
        while (resources_are_over(&node->spec.has, &used) || (node->gone && node->replicas)) {
            struct replica *one = least_dear(fleet, i);
            if (!one)
                break;
            resources_add(&used, &one->reserved, -1);
            replica_retire(fleet, one, node->gone ? "node_removed" : "node_smaller", now_us);
        }
    }
}
