/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where: the cheapest node with room, and on equal terms the one that is left fullest. A node's
 * reservations are those of all its replicas that have not ended: who makes room holds it until its
 * launcher says that nothing of it runs any more, so that nobody starts into memory that is still
 * in use.
 *
 * Room that is promised to one who waits is nobody else's. That, and that a replica just started
 * stays for a while, is why nobody starves and nothing is swapped to and fro: fleet_evict.c.
 */
#include "deploy/models/fleet_place.h"

#include <stdio.h>

#include "gateway/base/memory.h"

/* ----------------------------------------------------------------------------------- nodes */

static struct text keep(struct text from)
{
    return (struct text){memory_string(from), from.len};
}

static void node_keep(struct node_spec *to, const struct node_spec *from)
{
    *to = *from;
    to->name = keep(from->name);
    to->endpoint = keep(from->endpoint);
    to->name_space = keep(from->name_space);
    to->ca_file = keep(from->ca_file);
    to->cert_file = keep(from->cert_file);
    to->key_file = keep(from->key_file);
    to->token_file = keep(from->token_file);
}

static void node_drop(struct node_spec *spec)
{
    const struct text texts[] = {spec->name,      spec->endpoint, spec->name_space, spec->ca_file,
                                 spec->cert_file, spec->key_file, spec->token_file};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        memory_free((void *)(uintptr_t)texts[i].at);
}

static size_t node_named(const struct fleet *fleet, struct text name)
{
    for (size_t i = 0; i < fleet->node_count; i++)
        if (text_equal(fleet->nodes[i].spec.name, name))
            return i;
    return SIZE_MAX;
}

static void renumber(struct fleet *fleet, const unsigned *to)
{
    for (size_t i = 0; i < fleet->count; i++)
        for (struct replica *one = replica_first(fleet->deployments[i]); one;
             one = replica_next(one))
            one->r.node = to[one->r.node];
}

/* The configured ones in their order, then those on which something is left. */
void place_nodes(struct fleet *fleet, const struct node_spec *nodes, size_t count)
{
    size_t old_count = fleet->node_count, at = count;
    struct fleet_node *merged = memory_new((count + old_count + 1) * sizeof(*merged));
    unsigned *to = memory_new((old_count + 1) * sizeof(*to));
    bool *taken = memory_new(old_count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t old = node_named(fleet, nodes[i].name);
        if (old != SIZE_MAX && !taken[old]) {
            merged[i] = fleet->nodes[old];
            taken[old] = true;
            to[old] = (unsigned)i;
        }
        merged[i].gone = false;
        node_keep(&merged[i].spec, &nodes[i]);
    }
    for (size_t i = 0; i < old_count; i++) {
        if (taken[i] || fleet->nodes[i].replicas == 0) {
            node_drop(&fleet->nodes[i].spec);
            continue;
        }
        to[i] = (unsigned)at;
        merged[at] = fleet->nodes[i];
        merged[at++].gone = true;
    }
    renumber(fleet, to);
    memory_free(fleet->nodes);
    memory_free(to);
    memory_free(taken);
    fleet->nodes = merged;
    fleet->node_count = at;
}

void place_free(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->node_count; i++)
        node_drop(&fleet->nodes[i].spec);
    memory_free(fleet->nodes);
}

void fleet_node(struct fleet *fleet, unsigned node, bool usable, uint64_t now_us)
{
    if (node >= fleet->node_count || fleet->nodes[node].usable == usable)
        return;
    fleet->nodes[node].usable = usable;
    fleet->due_us = now_us;
}

/* -------------------------------------------------------------------------------- resources */

void resources_add(struct resources *to, const struct resources *what, int sign)
{
    to->memory_bytes += sign * what->memory_bytes;
    to->vram_bytes += sign * what->vram_bytes;
    to->cpus_milli += sign * what->cpus_milli;
    to->gpus += sign * what->gpus;
}

static bool is_enough(int64_t has, int64_t used, int64_t need)
{
    return has <= 0 || need <= 0 || used + need <= has;
}

bool resources_fit(const struct resources *has, const struct resources *used,
                   const struct resources *need)
{
    return is_enough(has->memory_bytes, used->memory_bytes, need->memory_bytes) &&
           is_enough(has->vram_bytes, used->vram_bytes, need->vram_bytes) &&
           is_enough(has->cpus_milli, used->cpus_milli, need->cpus_milli) &&
           is_enough(has->gpus, used->gpus, need->gpus);
}

bool resources_are_over(const struct resources *has, const struct resources *used)
{
    return (has->memory_bytes > 0 && used->memory_bytes > has->memory_bytes) ||
           (has->vram_bytes > 0 && used->vram_bytes > has->vram_bytes) ||
           (has->cpus_milli > 0 && used->cpus_milli > has->cpus_milli) ||
           (has->gpus > 0 && used->gpus > has->gpus);
}

void place_reserve(struct fleet *fleet, struct replica *one)
{
    struct fleet_node *node = &fleet->nodes[one->r.node];
    resources_add(&node->reserved, &one->reserved, 1);
    node->replicas++;
}

void place_release(struct fleet *fleet, struct replica *one)
{
    struct fleet_node *node = &fleet->nodes[one->r.node];
    resources_add(&node->reserved, &one->reserved, -1);
    one->reserved = (struct resources){0};
    node->replicas--;
}

void place_promise(struct fleet *fleet, struct replica *one, size_t node,
                   const struct resources *need)
{
    one->r.node = (unsigned)node;
    one->promise = *need;
    one->promise_turn = ++fleet->turns;
    resources_add(&fleet->nodes[node].promised, need, 1);
    fleet->nodes[node].replicas++; /* so that the node stays */
}

void place_unpromise(struct fleet *fleet, struct replica *one)
{
    if (one->promise_turn == 0)
        return;
    resources_add(&fleet->nodes[one->r.node].promised, &one->promise, -1);
    fleet->nodes[one->r.node].replicas--;
    one->promise = (struct resources){0};
    one->promise_turn = 0;
}

void place_add_promised(const struct fleet *fleet, size_t node, const struct replica *one,
                        struct resources *used)
{
    if (!one || one->promise_turn == 0) {
        resources_add(used, &fleet->nodes[node].promised, 1);
        return;
    }
    for (size_t i = 0; i < fleet->count; i++)
        for (struct replica *other = replica_first(fleet->deployments[i]); other;
             other = replica_next(other))
            if (other->promise_turn && other->promise_turn < one->promise_turn &&
                other->r.node == node)
                resources_add(used, &other->promise, 1);
}

static bool may_run_on(const struct fleet_node *node, const struct deployment_spec *spec)
{
    return !node->gone && node->spec.launcher == spec->launcher &&
           (spec->node.len == 0 || text_equal(spec->node, node->spec.name));
}

/* Would it fit, if it were alone there? */
bool place_fits(const struct fleet_node *node, const struct deployment_spec *spec,
                const struct resources *need)
{
    const struct resources nothing = {0};
    return may_run_on(node, spec) && resources_fit(&node->spec.has, &nothing, need);
}

/* Does it fit there beside what is there and promised? */
bool place_fits_now(const struct fleet_node *node, const struct deployment_spec *spec,
                    const struct resources *need)
{
    struct resources used = node->reserved;
    resources_add(&used, &node->promised, 1);
    return may_run_on(node, spec) && resources_fit(&node->spec.has, &used, need);
}

static bool fits_somewhere(const struct fleet *fleet, const struct deployment_spec *spec,
                           const struct resources *need)
{
    for (size_t i = 0; i < fleet->node_count; i++)
        if (place_fits(&fleet->nodes[i], spec, need))
            return true;
    return false;
}

/* What it says, or what it was seen to need where a node has that much. */
struct resources place_need(const struct fleet *fleet, const struct fleet_deployment *deployment,
                            const struct deployment_spec *spec)
{
    struct resources need = spec->resources;
    if (!deployment || deployment->learned_bytes <= need.memory_bytes)
        return need;
    need.memory_bytes = deployment->learned_bytes;
    return fits_somewhere(fleet, spec, &need) ? need : spec->resources;
}

/* --------------------------------------------------------------------------------- choosing */

/* How much of the node's scarcest resource would be left, in millionths. */
static int64_t left_over(const struct fleet_node *node, const struct resources *need)
{
    const int64_t has[] = {node->spec.has.memory_bytes, node->spec.has.vram_bytes,
                           node->spec.has.cpus_milli, node->spec.has.gpus};
    const int64_t used[] = {node->reserved.memory_bytes + need->memory_bytes,
                            node->reserved.vram_bytes + need->vram_bytes,
                            node->reserved.cpus_milli + need->cpus_milli,
                            node->reserved.gpus + need->gpus};
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < 4; i++) {
        int64_t left =
            has[i] > 0 ? (int64_t)((__int128)(has[i] - used[i]) * 1000000 / has[i]) : INT64_MAX;
        least = left < least ? left : least;
    }
    return least;
}

size_t place_best(const struct fleet *fleet, const struct deployment_spec *spec,
                  const struct resources *need)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < fleet->node_count; i++) {
        const struct fleet_node *node = &fleet->nodes[i];
        if (!node->usable || !place_fits_now(node, spec, need))
            continue;
        if (best == SIZE_MAX ||
            node->spec.price_nanos_per_hour < fleet->nodes[best].spec.price_nanos_per_hour ||
            (node->spec.price_nanos_per_hour == fleet->nodes[best].spec.price_nanos_per_hour &&
             left_over(node, need) < left_over(&fleet->nodes[best], need)))
            best = i;
    }
    return best;
}

/* What a replica costs an hour: its share of the node, by what it has most of. */
int64_t place_rate(const struct fleet_node *node, const struct resources *reserved)
{
    const int64_t has[] = {node->spec.has.memory_bytes, node->spec.has.vram_bytes,
                           node->spec.has.cpus_milli, node->spec.has.gpus};
    const int64_t takes[] = {reserved->memory_bytes, reserved->vram_bytes, reserved->cpus_milli,
                             reserved->gpus};
    int64_t price = node->spec.price_nanos_per_hour, most = 0;
    bool bounded = false;
    for (size_t i = 0; i < 4; i++) {
        if (has[i] <= 0 || takes[i] <= 0)
            continue;
        bounded = true;
        int64_t part = takes[i] >= has[i] ? price : (int64_t)((__int128)price * takes[i] / has[i]);
        most = part > most ? part : most;
    }
    return bounded ? most : price;
}

/* ---------------------------------------------------------------------------------- the round */

static void wait_because(struct replica *one, const char *reason)
{
    if (reason != one->r.reason && strcmp(one->r.reason, reason) != 0)
        snprintf(one->r.reason, sizeof(one->r.reason), "%s", reason);
}

/* Room is being made for it: does it fit by now? True: it is settled, for this round. It does not
 * wait for one node when another has room. */
static bool use_promise(struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    struct fleet_node *node = &fleet->nodes[one->r.node];
    struct resources used = node->reserved, need = one->promise;
    if (one->promise_turn == 0)
        return false;
    place_add_promised(fleet, one->r.node, one, &used);
    if (node->usable && !node->gone && resources_fit(&node->spec.has, &used, &need)) {
        unsigned index = one->r.node;
        place_unpromise(fleet, one);
        replica_launch(fleet, one, index, &need, now_us);
        return true;
    }
    if (node->usable && !node->gone && place_best(fleet, one->r.spec, &need) == SIZE_MAX &&
        evict_on(fleet, one, now_us))
        return true;
    place_unpromise(fleet, one);
    return false;
}

/* Is there a node that could have it, if only it had room? */
static bool has_usable_node(const struct fleet *fleet, const struct replica *one,
                            const struct resources *need)
{
    for (size_t i = 0; i < fleet->node_count; i++)
        if (fleet->nodes[i].usable && place_fits(&fleet->nodes[i], one->r.spec, need))
            return true;
    return false;
}

/* What has failed before says so for as long as it is not tried again: that others have taken its
 * room since is not what is wrong with it. */
static const char *why_it_waits(const struct fleet *fleet, const struct replica *one,
                                const struct resources *need)
{
    if (one->crashes > 0 && one->r.reason[0])
        return one->r.reason;
    return has_usable_node(fleet, one, need) ? "no_room" : "node_away";
}

/* Where what is declared was rolled back, that says more than that what served before has no room
 * now: callers are told both. */
static void say_to_callers(const struct fleet_deployment *deployment, const char *reason,
                           char told[FLEET_REASON_MAX])
{
    if (deployment->rejected_digest == deployment->spec->digest)
        snprintf(told, FLEET_REASON_MAX, "%.30s:rolled_back:%.50s", reason,
                 deployment->rejected_for);
    else
        snprintf(told, FLEET_REASON_MAX, "%s", reason);
}

/* Nobody can make room: who waits as long as a call may wait is told. */
static void no_room(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us)
{
    const struct fleet_deployment *deployment = one->of;
    uint64_t oldest_us = deployment->demand.oldest_held_us;
    int64_t timeout_us = deployment->spec->hold.timeout_us;
    wait_because(one, reason);
    if (!deployment->demand.held || !oldest_us || timeout_us <= 0 ||
        deployment_serving(deployment) > 0 || now_us < oldest_us + (uint64_t)timeout_us)
        return;
    char told[FLEET_REASON_MAX];
    say_to_callers(deployment, reason, told);
    fleet->hands.fail_waiting(fleet->hands.with, deployment_text(deployment), told);
}

static void place_one(struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    struct resources need = place_need(fleet, one->of, one->r.spec);
    if (use_promise(fleet, one, now_us))
        return;
    if (!fits_somewhere(fleet, one->r.spec, &need)) {
        struct fleet_deployment *deployment = one->of;
        unsigned revision = one->r.revision;
        replica_retire(fleet, one, "too_large", now_us);
        roll_failed(fleet, deployment, revision, "launch_failed:too_large", now_us);
        return;
    }
    size_t node = place_best(fleet, one->r.spec, &need);
    if (node != SIZE_MAX) {
        replica_launch(fleet, one, (unsigned)node, &need, now_us);
        return;
    }
    if (!evict_for(fleet, one, &need, now_us))
        no_room(fleet, one, why_it_waits(fleet, one, &need), now_us);
}

static bool comes_before(const struct replica *a, const struct replica *b)
{
    int first = a->of->spec->eviction.priority, second = b->of->spec->eviction.priority;
    if (first != second)
        return first > second;
    if (a->is_first != b->is_first)
        return a->is_first;
    if (a->asked_us != b->asked_us)
        return a->asked_us < b->asked_us;
    return a->r.number < b->r.number;
}

/* Does none of its deployment have room? What is silent on a node that is away is none: nobody
 * knows when it ends. */
static bool is_first(const struct fleet *fleet, const struct fleet_deployment *deployment)
{
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one))
        if (replica_holds(one->r.state) && (one->is_open || fleet->nodes[one->r.node].usable))
            return false;
    return true;
}

/* The dearest first; of the same rank those that have nothing yet, and who has waited longest. */
static struct replica *next_in_line(const struct fleet *fleet, const struct replica *after)
{
    struct replica *first = NULL;
    for (size_t i = 0; i < fleet->count; i++)
        for (struct replica *one = replica_first(fleet->deployments[i]); one;
             one = replica_next(one)) {
            if (one->r.state == REPLICA_PENDING && (!after || comes_before(after, one)) &&
                (!first || comes_before(one, first)))
                first = one;
        }
    return first;
}

void place_all(struct fleet *fleet, uint64_t now_us)
{
    struct replica *one = NULL;
    evict_overfull(fleet, now_us);
    for (size_t i = 0; i < fleet->count; i++)
        for (one = replica_first(fleet->deployments[i]); one; one = replica_next(one))
            one->is_first = is_first(fleet, one->of);
    while ((one = next_in_line(fleet, one)) != NULL)
        place_one(fleet, one, now_us);
}
