/* SPDX-License-Identifier: Apache-2.0 */
/* The door: what a deployment is in, and the round in which everything is decided. */
#include "deploy/models/fleet.h"

#include <assert.h>
#include <stdio.h>

#include "deploy/models/fleet_inside.h"
#include "gateway/base/memory.h"

enum { CRASH_FREE_TIMES = 2 }; /* so many longest back-offs ready: its crashes are forgotten */

#define TO(state) (1U << DEPLOYMENT_##state)
#define STARTS    (TO(QUEUED) | TO(STARTING) | TO(READY) | TO(DEGRADED) | TO(UPDATING) | TO(BACKOFF))
#define ENDS      (TO(FAILED) | TO(STOPPING) | TO(STOPPED))

/* The diagram. What a deployment is in follows from its replicas and from what was ordered; whoever
 * rests (stopped, failed, idle) begins by starting. */
/* clang-format off */
static const struct {
    const char *name;
    bool rests; /* nothing has to happen next */
    unsigned leads_to;
} states[DEPLOYMENT_STATES] = {
    [DEPLOYMENT_QUEUED]   = {"queued",   false, STARTS | TO(IDLE) | ENDS},
    [DEPLOYMENT_STARTING] = {"starting", false, STARTS | TO(IDLE) | ENDS},
    [DEPLOYMENT_READY]    = {"ready",    false, STARTS | TO(IDLE) | ENDS},
    [DEPLOYMENT_DEGRADED] = {"degraded", false, STARTS | TO(IDLE) | ENDS},
    [DEPLOYMENT_IDLE]     = {"idle",     true,  STARTS | ENDS},
    [DEPLOYMENT_UPDATING] = {"updating", false, STARTS | TO(IDLE) | ENDS},
    [DEPLOYMENT_BACKOFF]  = {"backoff",  false, STARTS | TO(IDLE) | ENDS},
    [DEPLOYMENT_FAILED]   = {"failed",   true,  STARTS | TO(IDLE) | TO(STOPPING) | TO(STOPPED)},
    [DEPLOYMENT_STOPPING] = {"stopping", false, STARTS | TO(IDLE) | TO(STOPPED)},
    [DEPLOYMENT_STOPPED]  = {"stopped",  true,  STARTS | TO(IDLE) | TO(STOPPING)},
};
/* clang-format on */

const char *deployment_state_name(enum deployment_state state)
{
    return states[state].name;
}

uint64_t fleet_chance(struct fleet *fleet)
{
    uint64_t number = fleet->chance += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    number = (number ^ (number >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ (number >> 27)) * UINT64_C(0x94d049bb133111eb);
    return number ^ (number >> 31);
}

struct fleet *fleet_new(const struct fleet_hands *hands, uint64_t seed)
{
    enum { FIRST = 60466176, SPREAD = 604661760 }; /* six or seven digits of base 36 */
    struct fleet *fleet = memory_new(sizeof(*fleet));
    fleet->hands = *hands;
    fleet->chance = seed;
    fleet->leads = true;
    fleet->number = FIRST + fleet_chance(fleet) % SPREAD;
    return fleet;
}

void deployment_free(struct fleet_deployment *deployment)
{
    while (!list_is_empty(&deployment->replicas))
        replica_free(replica_at(deployment->replicas.next));
    spec_unref(deployment->spec);
    spec_unref(deployment->stable.spec);
    spec_unref(deployment->next.spec);
    spec_unref(deployment->previous.spec);
    spec_unref(deployment->earlier);
    memory_free(deployment);
}

void fleet_free(struct fleet *fleet)
{
    if (!fleet)
        return;
    for (size_t i = 0; i < fleet->count; i++)
        deployment_free(fleet->deployments[i]);
    memory_free(fleet->deployments);
    place_free(fleet);
    memory_free(fleet);
}

struct fleet_deployment *fleet_find(const struct fleet *fleet, struct text name)
{
    size_t low = 0, high = fleet->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct text at = deployment_text(fleet->deployments[middle]);
        size_t shorter = at.len < name.len ? at.len : name.len;
        int order = shorter ? memcmp(at.at, name.at, shorter) : 0;
        if (order == 0 && at.len == name.len)
            return fleet->deployments[middle];
        if (order < 0 || (order == 0 && at.len < name.len))
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

struct census fleet_census(const struct fleet_deployment *deployment, unsigned revision)
{
    struct census census = {0};
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        enum replica_state state = one->r.state;
        if (state == REPLICA_ENDED || (revision && one->r.revision != revision))
            continue;
        census.live++;
        census.counted += replica_counts(one);
        census.ready += one->is_open;
        census.starting += state == REPLICA_LAUNCHING || state == REPLICA_LOADING;
        census.pending += state == REPLICA_PENDING;
        census.backoff += state == REPLICA_BACKOFF;
        census.sleeping += state == REPLICA_SLEEPING;
        census.troubled += state == REPLICA_UNREADY || state == REPLICA_LOST;
    }
    return census;
}

unsigned deployment_serving(const struct fleet_deployment *deployment)
{
    bool only_stable = deployment->share.stable && !deployment->share.canary;
    return fleet_census(deployment, only_stable ? deployment->share.stable : 0).ready +
           deployment->elsewhere_ready;
}

void fleet_event(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t replica,
                 const char *reason, const char *words)
{
    fleet->hands.event(fleet->hands.with, deployment_text(deployment), replica, reason, words);
}

void deployment_say(struct fleet_deployment *deployment, const char *reason, const char *words)
{
    if (reason != deployment->reason)
        snprintf(deployment->reason, sizeof(deployment->reason), "%s", reason);
    if (words != deployment->words)
        snprintf(deployment->words, sizeof(deployment->words), "%s", words);
}

/* ------------------------------------------------------------------------------ what it is in */

static bool is_stopped(const struct fleet *fleet, const struct fleet_deployment *deployment)
{
    return fleet->shut || deployment->removed || deployment->stopped;
}

static enum deployment_state judge(const struct fleet *fleet,
                                   const struct fleet_deployment *deployment)
{
    struct census all = fleet_census(deployment, 0);
    if (is_stopped(fleet, deployment))
        return all.live ? DEPLOYMENT_STOPPING : DEPLOYMENT_STOPPED;
    all.ready += deployment->elsewhere_ready;
    all.starting += deployment->elsewhere - deployment->elsewhere_ready;
    if (all.ready && deployment->next.spec &&
        fleet_census(deployment, deployment->next.number).counted)
        return DEPLOYMENT_UPDATING;
    if (all.ready)
        return all.ready >= deployment->wanted && !deployment->failed ? DEPLOYMENT_READY
                                                                      : DEPLOYMENT_DEGRADED;
    if (all.starting)
        return DEPLOYMENT_STARTING;
    if (deployment->failed)
        return DEPLOYMENT_FAILED;
    if (all.troubled)
        return DEPLOYMENT_DEGRADED;
    if (all.backoff)
        return DEPLOYMENT_BACKOFF;
    if (all.pending || (deployment->wanted && !all.sleeping))
        return DEPLOYMENT_QUEUED;
    return DEPLOYMENT_IDLE;
}

/* Of the replica that explains best why it is no better. */
static const struct replica *witness(const struct fleet_deployment *deployment)
{
    const struct replica *latest = NULL;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (!latest || one->r.since_us > latest->r.since_us)
            latest = one;
    }
    return latest;
}

static uint64_t next_due(const struct fleet_deployment *deployment, uint64_t now_us)
{
    uint64_t due_us = states[deployment->state].rests ? UINT64_MAX : now_us + FLEET_TICK_US;
    if (demand_of(deployment) > 0 || deployment->wanted > 0)
        due_us = now_us + FLEET_TICK_US;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one))
        if (one->r.due_us < due_us)
            due_us = one->r.due_us;
    return due_us;
}

void deployment_settle(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    enum deployment_state state = judge(fleet, deployment);
    const struct replica *why = witness(deployment);
    if (state == DEPLOYMENT_FAILED)
        deployment_say(deployment, deployment->fail_reason, why ? why->r.words : "");
    else if (why && state != deployment->state)
        deployment_say(deployment, why->r.reason, why->r.words);
    if (state != deployment->state) {
        assert(states[deployment->state].leads_to & (1U << state));
        deployment->state = state;
        deployment->since_us = now_us;
        char reason[FLEET_REASON_MAX + 16];
        snprintf(reason, sizeof(reason), "%s", states[state].name);
        fleet_event(fleet, deployment, 0, reason, deployment->reason);
    }
    deployment->due_us = next_due(deployment, now_us);
    if (deployment->due_us < fleet->due_us)
        fleet->due_us = deployment->due_us;
}

void deployment_fail(struct fleet *fleet, struct fleet_deployment *deployment, const char *reason,
                     uint64_t now_us)
{
    int64_t again_us = deployment->spec->restart.max_backoff_us;
    deployment->failed = true;
    deployment->last_try = deployment->ordered = false;
    deployment->rearm_us = now_us + (uint64_t)(again_us > 0 ? again_us : SECOND_US);
    if (reason != deployment->fail_reason)
        snprintf(deployment->fail_reason, sizeof(deployment->fail_reason), "%s", reason);
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (one->r.revision == deployment->stable.number && replica_counts(one) && !one->was_ready)
            replica_retire(fleet, one, reason, now_us);
    }
    const struct replica *why = witness(deployment);
    fleet_event(fleet, deployment, 0, reason, why ? why->r.words : "");
    if (deployment_serving(deployment) == 0)
        fleet->hands.fail_waiting(fleet->hands.with, deployment_text(deployment), reason);
}

/* ----------------------------------------------------------------------------------- facts */

void fleet_lead(struct fleet *fleet, bool leads, uint64_t now_us)
{
    bool begins = leads && !fleet->leads;
    fleet->leads = leads;
    if (leads)
        fleet->yields = false;
    for (size_t i = 0; begins && i < fleet->count; i++)
        roll_inherit(fleet, fleet->deployments[i]);
    fleet->due_us = now_us;
}

void fleet_yield(struct fleet *fleet, uint64_t now_us)
{
    fleet->leads = false;
    fleet->yields = true;
    fleet->due_us = now_us;
}

void fleet_abandon(struct fleet *fleet, unsigned node, uint64_t now_us)
{
    for (size_t i = 0; i < fleet->count; i++) {
        struct fleet_deployment *deployment = fleet->deployments[i];
        for (struct replica *one = replica_first(deployment); one; one = replica_next(one))
            if (one->r.node == node)
                replica_abandon(fleet, one, now_us);
        deployment_settle(fleet, deployment, now_us);
    }
}

void fleet_elsewhere(struct fleet *fleet, struct text name, unsigned live, unsigned ready,
                     uint64_t now_us)
{
    struct fleet_deployment *deployment = fleet_find(fleet, name);
    if (!deployment || (deployment->elsewhere == live && deployment->elsewhere_ready == ready))
        return;
    if (live > deployment->elsewhere || ready > deployment->elsewhere_ready)
        deployment->busy_us = now_us; /* it has just come: not idle yet */
    unsigned all = fleet_census(deployment, 0).counted + live;
    if (live > deployment->elsewhere && all > deployment->wanted)
        deployment->wanted = all < most_of(deployment) ? all : most_of(deployment);
    deployment->elsewhere = live;
    deployment->elsewhere_ready = ready < live ? ready : live;
    if (ready > 0)
        deployment->failed = deployment->last_try = deployment->ordered = false;
    deployment_settle(fleet, deployment, now_us);
    fleet->due_us = now_us;
}

bool fleet_retire(struct fleet *fleet, uint64_t number, const char *reason, uint64_t now_us)
{
    for (size_t i = 0; i < fleet->count; i++)
        for (struct replica *one = replica_first(fleet->deployments[i]); one;
             one = replica_next(one))
            if (one->r.number == number) {
                replica_retire(fleet, one, reason, now_us);
                fleet->due_us = now_us;
                return true;
            }
    return false;
}

/* Another leads: what does not run is not started again here. */
static void drop_pending(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one))
        if (one->r.state == REPLICA_PENDING || one->r.state == REPLICA_BACKOFF)
            replica_retire(fleet, one, "handed_over", now_us);
    deployment->wanted = fleet_census(deployment, 0).counted + deployment->elsewhere;
}

static uint64_t read_number(struct text name)
{
    uint64_t number = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (c == '-') {
            number = 0;
            continue;
        }
        bool is_digit = c >= '0' && c <= '9', is_letter = c >= 'a' && c <= 'z';
        if ((!is_digit && !is_letter) || number > (UINT64_MAX >> 6))
            return 0;
        number = number * 36 + (uint64_t)(is_digit ? c - '0' : c - 'a' + 10);
    }
    return number;
}

void fleet_number_name(uint64_t number, char name[FLEET_NUMBER_BYTES])
{
    char digits[FLEET_NUMBER_BYTES];
    size_t count = 0;
    do {
        digits[count++] = "0123456789abcdefghijklmnopqrstuvwxyz"[number % 36];
        number /= 36;
    } while (number);
    for (size_t i = 0; i < count; i++)
        name[i] = digits[count - 1 - i];
    name[count] = 0;
}

static bool is_known(const struct fleet *fleet, uint64_t number)
{
    for (size_t i = 0; i < fleet->count; i++)
        for (struct replica *one = replica_first(fleet->deployments[i]); one;
             one = replica_next(one))
            if (one->r.number == number)
                return true;
    return false;
}

/* Revisions are numbered anew by each sluice: what it finds may be further on. */
static void take_number(struct fleet_deployment *deployment, unsigned revision)
{
    if (revision <= deployment->last_number || deployment->next.spec ||
        fleet_census(deployment, 0).live > 0)
        return;
    deployment->last_number = deployment->stable.number = revision;
}

/* What was wanted before it was known that one runs already: that one is it. */
static void give_way(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one))
        if (one->r.state == REPLICA_PENDING) {
            replica_retire(fleet, one, "adopted", now_us);
            return;
        }
}

struct fleet_replica *fleet_adopt(struct fleet *fleet, const struct launch_name *name,
                                  unsigned node, int64_t age_us, uint64_t now_us)
{
    struct fleet_deployment *deployment = fleet_find(fleet, text_of(name->deployment));
    uint64_t number = read_number(text_of(name->replica));
    if (number >= fleet->number && number < UINT64_MAX / 2)
        fleet->number = number + 1; /* wanted or not: it was used */
    if (!deployment || is_stopped(fleet, deployment) || number == 0 || is_known(fleet, number) ||
        node >= fleet->node_count)
        return NULL;
    const struct revision *revision = roll_find(deployment, name->digest);
    if (!revision)
        return NULL;
    give_way(fleet, deployment, now_us);
    if (fleet_census(deployment, revision->number).live >= most_of(deployment))
        return NULL;
    struct resources need = place_need(fleet, deployment, revision->spec);
    const struct fleet_node *at = &fleet->nodes[node];
    if (!place_fits_now(at, revision->spec, &need))
        return NULL;
    take_number(deployment, name->revision);
    struct replica *one = replica_new(fleet, deployment, revision, "adopted", now_us);
    one->r.number = number;
    if (number >= fleet->number && number < UINT64_MAX / 2)
        fleet->number = number + 1;
    one->age_us = age_us;
    look_accrue(fleet, now_us); /* it has a price from now on; what was before is another matter */
    replica_adopt(fleet, one, node, &need, now_us);
    look_adopted(fleet, one, now_us);
    unsigned counted = fleet_census(deployment, 0).counted;
    deployment->wanted = counted > deployment->wanted ? counted : deployment->wanted;
    deployment->busy_us = now_us;
    deployment_settle(fleet, deployment, now_us);
    return &one->r;
}

void fleet_demand(struct fleet *fleet, struct text name, const struct fleet_demand *demand,
                  uint64_t now_us)
{
    struct fleet_deployment *deployment = fleet_find(fleet, name);
    if (!deployment)
        return;
    scale_see(deployment, now_us);
    deployment->demand = *demand;
    if (demand_of(deployment))
        deployment->busy_us = now_us;
}

/* ------------------------------------------------------------------------------- the round */

static void see_replicas(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    unsigned ended = 0;
    struct replica *next;
    for (struct replica *one = replica_first(deployment); one; one = next) {
        next = replica_next(one);
        int64_t longest = one->r.spec->restart.max_backoff_us;
        if (one->r.state == REPLICA_READY && one->crashes &&
            now_us - one->r.since_us >= (uint64_t)(longest > 0 ? longest : 0) * CRASH_FREE_TIMES)
            one->crashes = 0;
        if (one->r.state == REPLICA_ENDED && ++ended > ENDED_KEPT)
            replica_free(one);
        else if (one->r.due_us <= now_us)
            replica_is_due(fleet, one, now_us);
    }
}

static void stop_for(struct fleet *fleet, struct fleet_deployment *deployment, const char *reason,
                     uint64_t now_us)
{
    deployment->stopped = true;
    deployment->ordered = false;
    scale_retire_all(fleet, deployment, 0, reason, now_us);
    deployment_say(deployment, reason, "");
    fleet_event(fleet, deployment, 0, reason, "");
}

static void see_limits(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    int64_t spend = deployment->spec->max_spend_nanos, age_us = deployment->spec->max_age_us;
    if (is_stopped(fleet, deployment) || !fleet->leads)
        return;
    if (spend > 0 && look_spent(deployment) >= spend)
        stop_for(fleet, deployment, "max_spend", now_us);
    else if (age_us > 0 && now_us - deployment->created_us >= (uint64_t)age_us)
        stop_for(fleet, deployment, "max_age", now_us);
}

/* A call tries again what was given up, but not each call. */
static void see_failed(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    if (!deployment->failed || is_stopped(fleet, deployment) || !fleet->leads ||
        deployment->demand.held + deployment->demand.jobs == 0 || now_us < deployment->rearm_us)
        return;
    deployment->failed = false;
    deployment->last_try = true;
    fleet_event(fleet, deployment, 0, "tried_again", "");
}

/* Who waits for what will not come is told. */
static void see_waiting(struct fleet *fleet, struct fleet_deployment *deployment)
{
    const char *why = NULL;
    if (!deployment->demand.held)
        return;
    if (is_stopped(fleet, deployment))
        why = fleet->shut || deployment->removed ? "removed" : "stopped";
    else if (deployment->failed && deployment_serving(deployment) == 0)
        why = deployment->fail_reason;
    if (why)
        fleet->hands.fail_waiting(fleet->hands.with, deployment_text(deployment), why);
}

static void decide(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    see_replicas(fleet, deployment, now_us);
    scale_see(deployment, now_us);
    see_limits(fleet, deployment, now_us);
    see_failed(fleet, deployment, now_us);
    if (is_stopped(fleet, deployment)) {
        deployment->wanted = 0;
        scale_retire_all(fleet, deployment, 0, deployment->removed ? "removed" : "stopped", now_us);
        return;
    }
    if (fleet->yields)
        drop_pending(fleet, deployment, now_us);
    if (!fleet->leads)
        return;
    scale_decide(fleet, deployment, now_us);
    roll_step(fleet, deployment, now_us);
}

static void bury_removed(struct fleet *fleet)
{
    size_t kept = 0;
    for (size_t i = 0; i < fleet->count; i++) {
        struct fleet_deployment *deployment = fleet->deployments[i];
        if (!deployment->removed || fleet_census(deployment, 0).live > 0) {
            fleet->deployments[kept++] = deployment;
            continue;
        }
        fleet->hands.share(fleet->hands.with, deployment_text(deployment), 0, 0, 0);
        deployment_free(deployment);
    }
    fleet->count = kept;
}

void fleet_tick(struct fleet *fleet, uint64_t now_us)
{
    look_accrue(fleet, now_us);
    for (size_t i = 0; i < fleet->count; i++)
        decide(fleet, fleet->deployments[i], now_us);
    if (fleet->leads && !fleet->shut)
        place_all(fleet, now_us);
    fleet->due_us = UINT64_MAX;
    for (size_t i = 0; i < fleet->count; i++) {
        see_waiting(fleet, fleet->deployments[i]);
        deployment_settle(fleet, fleet->deployments[i], now_us);
    }
    bury_removed(fleet);
}

uint64_t fleet_due_us(const struct fleet *fleet)
{
    return fleet->due_us;
}

void fleet_shut(struct fleet *fleet, uint64_t now_us)
{
    fleet->shut = true;
    fleet_tick(fleet, now_us);
}

bool fleet_is_quiet(const struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->count; i++)
        if (fleet_census(fleet->deployments[i], 0).live > 0)
            return false;
    return true;
}
