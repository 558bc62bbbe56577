/* SPDX-License-Identifier: Apache-2.0 */
/* What is wanted from outside: the configuration, and orders. */
#include <stdio.h>
#include <stdlib.h>

#include "deploy/models/fleet_inside.h"
#include "gateway/base/memory.h"

/* --------------------------------------------------------------------------- configuration */

static struct fleet_deployment *deployment_new(struct fleet *fleet, struct text name,
                                               uint64_t now_us)
{
    struct fleet_deployment *deployment = memory_new(sizeof(*deployment));
    size_t len = name.len < SPEC_NAME_MAX ? name.len : SPEC_NAME_MAX;
    memcpy(deployment->name, name.at, len);
    deployment->state = DEPLOYMENT_IDLE;
    deployment->since_us = deployment->created_us = deployment->busy_us = now_us;
    list_init(&deployment->replicas);
    size_t at = fleet->count;
    fleet->deployments =
        memory_resize(fleet->deployments, (fleet->count + 1) * sizeof(*fleet->deployments));
    while (at > 0 && strcmp(fleet->deployments[at - 1]->name, deployment->name) > 0) {
        fleet->deployments[at] = fleet->deployments[at - 1];
        at--;
    }
    fleet->deployments[at] = deployment;
    fleet->count++;
    return deployment;
}

/* The same digest: what runs takes it over. */
static void respec(struct fleet *fleet, struct fleet_deployment *deployment,
                   struct revision *revision, struct deployment_spec *spec)
{
    bool anew = revision->spec->scaling.parallel != spec->scaling.parallel;
    struct deployment_spec *old = revision->spec;
    revision->spec = spec_ref(spec);
    spec_unref(old);
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (one->r.revision != revision->number)
            continue;
        old = one->r.spec;
        one->r.spec = spec_ref(spec);
        spec_unref(old);
        if (!anew || !one->is_open)
            continue;
        fleet->hands.close(fleet->hands.with, &one->r);
        fleet->hands.open(fleet->hands.with, &one->r);
    }
}

static void revise(struct fleet *fleet, struct fleet_deployment *deployment,
                   struct deployment_spec *spec, uint64_t now_us)
{
    if (!deployment->stable.spec) {
        deployment->stable = (struct revision){++deployment->last_number, spec_ref(spec), false};
        return;
    }
    if (deployment->next.spec && deployment->next.spec->digest == spec->digest) {
        respec(fleet, deployment, &deployment->next, spec);
        return;
    }
    if (deployment->stable.spec->digest == spec->digest) {
        respec(fleet, deployment, &deployment->stable, spec);
        if (deployment->next.spec)
            roll_back(fleet, deployment, "reverted", now_us);
        deployment->rejected_digest = 0;
        return;
    }
    if (deployment->rejected_digest != spec->digest)
        roll_declared(fleet, deployment, "revised", now_us);
}

/* What ends yet of an earlier one of its name was ordered, spent and given up by that. */
static void begin_anew(struct fleet_deployment *deployment, uint64_t now_us)
{
    deployment->stopped = deployment->pinned = deployment->unpinned = deployment->asleep = false;
    deployment->ordered = deployment->bounded = deployment->failed = deployment->last_try = false;
    deployment->spent = deployment->saved = 0;
    deployment->rejected_digest = 0;
    deployment->created_us = deployment->busy_us = now_us;
}

static void configure_one(struct fleet *fleet, struct deployment_spec *spec, uint64_t now_us)
{
    struct fleet_deployment *deployment = fleet_find(fleet, spec->name);
    if (!deployment)
        deployment = deployment_new(fleet, spec->name, now_us);
    struct deployment_spec *old = deployment->spec;
    if (old && (old->scaling.min != spec->scaling.min || old->scaling.max != spec->scaling.max))
        deployment->bounded = false;
    if (deployment->was_removed)
        begin_anew(deployment, now_us);
    deployment->removed = deployment->was_removed = false;
    deployment->spec = spec_ref(spec);
    spec_unref(old);
    scale_configure(deployment);
    revise(fleet, deployment, spec, now_us);
}

void fleet_configure(struct fleet *fleet, const struct node_spec *nodes, size_t node_count,
                     struct deployment_spec *const *specs, size_t count, uint64_t now_us)
{
    place_nodes(fleet, nodes, node_count);
    for (size_t i = 0; i < fleet->count; i++) {
        fleet->deployments[i]->was_removed = fleet->deployments[i]->removed;
        fleet->deployments[i]->removed = true;
    }
    for (size_t i = 0; i < count && i < SPEC_DEPLOYMENTS_MAX; i++)
        configure_one(fleet, specs[i], now_us);
    for (size_t i = 0; i < fleet->count; i++)
        deployment_settle(fleet, fleet->deployments[i], now_us);
    fleet->due_us = now_us;
}

/* ---------------------------------------------------------------------------------- orders */

static bool no(const char **why, const char *words)
{
    *why = words;
    return false;
}

static bool limits_are_over(const struct fleet_deployment *deployment, uint64_t now_us)
{
    int64_t spend = deployment->spec->max_spend_nanos, age_us = deployment->spec->max_age_us;
    return (spend > 0 && look_spent(deployment) >= spend) ||
           (age_us > 0 && now_us - deployment->created_us >= (uint64_t)age_us);
}

static bool start(struct fleet_deployment *deployment, uint64_t now_us, const char **why)
{
    if (limits_are_over(deployment, now_us))
        return no(why, "its max_spend or max_age is used up");
    deployment->stopped = deployment->failed = deployment->last_try = false;
    deployment->asleep = false;
    deployment->ordered = true;
    deployment->busy_us = now_us;
    return true;
}

static bool stop(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    deployment->stopped = true;
    deployment->ordered = deployment->asleep = false;
    scale_retire_all(fleet, deployment, 0, "user", now_us);
    fleet->hands.fail_waiting(fleet->hands.with, deployment_text(deployment), "stopped");
    return true;
}

static bool restart(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us,
                    const char **why)
{
    if (deployment->next.spec)
        return no(why, "a rollout is under way");
    if (deployment->stopped || deployment->failed || fleet_census(deployment, 0).live == 0)
        return start(deployment, now_us, why);
    roll_to(fleet, deployment, deployment->stable.spec, "restart", now_us);
    return true;
}

static bool put_to_sleep(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us,
                         const char **why)
{
    unsigned count = 0;
    if (deployment->spec->engine != ENGINE_VLLM)
        return no(why, "its engine has no sleep");
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (one->r.state != REPLICA_READY)
            continue;
        replica_sleep(fleet, one, "user", now_us);
        count++;
    }
    deployment->asleep = count > 0;
    return count > 0 || no(why, "none of it is ready");
}

static bool cancel(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us,
                   const char **why)
{
    struct census all = fleet_census(deployment, 0);
    if (deployment->next.spec) {
        roll_back(fleet, deployment, "cancelled", now_us);
        return true;
    }
    if (all.starting + all.pending + all.backoff == 0)
        return no(why, "nothing of it is starting");
    deployment_fail(fleet, deployment, "cancelled", now_us);
    return true;
}

static bool roll_by_order(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us,
                          const char **why)
{
    struct deployment_spec *back = deployment->previous.spec;
    if (deployment->next.spec) {
        roll_back(fleet, deployment, "user", now_us);
        return true;
    }
    if (!back)
        return no(why, "there is no earlier revision");
    if (back->digest == deployment->spec->digest)
        deployment->rejected_digest = 0;
    else
        roll_reject(deployment, deployment->spec->digest, "user");
    roll_to(fleet, deployment, back, "user", now_us);
    return true;
}

static bool resume(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us,
                   const char **why)
{
    if (deployment->next.spec) {
        deployment->paused = false;
        deployment->roll_us = now_us;
        deployment->step_begun = false;
        return true;
    }
    if (deployment->spec->digest == deployment->stable.spec->digest)
        return no(why, "there is no rollout");
    roll_declared(fleet, deployment, "user", now_us);
    return true;
}

static bool set_bounds(struct fleet_deployment *deployment, unsigned low, unsigned high,
                       const char **why)
{
    if (low > high || high > SPEC_REPLICAS_MAX)
        return no(why, "the bounds must be low <= high <= 64");
    if (high == 0)
        return no(why, "to have none of it, stop it");
    deployment->bounded = true;
    deployment->low = low;
    deployment->high = high;
    return true;
}

void fleet_recall(struct fleet *fleet, struct text name, const struct fleet_orders *orders,
                  uint64_t now_us)
{
    struct fleet_deployment *deployment = fleet_find(fleet, name);
    if (!deployment)
        return;
    if (deployment->stopped && !orders->stopped)
        deployment->failed = deployment->last_try = false;
    deployment->stopped = orders->stopped;
    deployment->pinned = orders->pinned;
    deployment->unpinned = orders->unpinned;
    deployment->bounded = orders->low >= 0 && orders->high > 0 && orders->low <= orders->high &&
                          orders->high <= SPEC_REPLICAS_MAX;
    if (deployment->bounded) {
        deployment->low = (unsigned)orders->low;
        deployment->high = (unsigned)orders->high;
    }
    deployment_settle(fleet, deployment, now_us);
    fleet->due_us = now_us;
}

static bool obey(struct fleet *fleet, struct fleet_deployment *deployment, enum fleet_order order,
                 uint64_t now_us, const char **why)
{
    switch (order) {
    case FLEET_START:
    case FLEET_WAKE:
        return start(deployment, now_us, why);
    case FLEET_STOP:
        return stop(fleet, deployment, now_us);
    case FLEET_RESTART:
        return restart(fleet, deployment, now_us, why);
    case FLEET_PIN:
    case FLEET_UNPIN:
        deployment->pinned = order == FLEET_PIN;
        deployment->unpinned = order == FLEET_UNPIN;
        return true;
    case FLEET_SLEEP:
        return put_to_sleep(fleet, deployment, now_us, why);
    case FLEET_CANCEL:
        return cancel(fleet, deployment, now_us, why);
    case FLEET_PROMOTE:
    case FLEET_PAUSE:
        if (!deployment->next.spec)
            return no(why, "there is no rollout");
        if (order == FLEET_PAUSE)
            deployment->paused = true;
        else
            roll_promote(fleet, deployment, now_us);
        return true;
    case FLEET_RESUME:
        return resume(fleet, deployment, now_us, why);
    case FLEET_ROLLBACK:
        return roll_by_order(fleet, deployment, now_us, why);
    case FLEET_RETRY:
        if (deployment->rejected_digest == deployment->spec->digest)
            roll_declared(fleet, deployment, "revised", now_us);
        return true;
    case FLEET_SCALE:
        break;
    }
    return no(why, "there is no such order");
}

/* NOLINTNEXTLINE(readability-function-size): seven parameters, by contract */
bool fleet_obey(struct fleet *fleet, struct text name, enum fleet_order order, unsigned low,
                unsigned high, uint64_t now_us, const char **why)
{
    struct fleet_deployment *deployment = fleet_find(fleet, name);
    *why = "";
    if (!deployment || deployment->removed)
        return no(why, "there is no deployment of that name");
    if (fleet->shut)
        return no(why, "sluice is ending");
    bool done = order == FLEET_SCALE ? set_bounds(deployment, low, high, why)
                                     : obey(fleet, deployment, order, now_us, why);
    deployment_settle(fleet, deployment, now_us);
    fleet->due_us = now_us;
    return done;
}
