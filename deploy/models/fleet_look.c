/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of it: pages, times, money. */
#include <stdio.h>

#include "deploy/models/fleet_place.h"

static const int64_t hour_us = INT64_C(3600) * SECOND_US;

/* ----------------------------------------------------------------------------------- money */

static int64_t rate_of(const struct fleet *fleet, const struct fleet_deployment *deployment)
{
    int64_t sum = 0;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (replica_holds(one->r.state))
            sum += place_rate(&fleet->nodes[one->r.node], &one->reserved);
    }
    return sum;
}

/* What one replica would cost where it is cheapest. */
static int64_t cheapest(const struct fleet *fleet, const struct fleet_deployment *deployment)
{
    struct resources need = place_need(fleet, deployment, deployment->spec);
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < fleet->node_count; i++) {
        if (!place_fits(&fleet->nodes[i], deployment->spec, &need))
            continue;
        int64_t rate = place_rate(&fleet->nodes[i], &need);
        least = rate < least ? rate : least;
    }
    return least == INT64_MAX ? 0 : least;
}

/* What others look after counts as if it ran where it is cheapest. Everybody reckons so, whoever
 * leads: whoever leads next goes on from there. */
void look_accrue(struct fleet *fleet, uint64_t now_us)
{
    uint64_t past_us = fleet->accrued_us ? now_us - fleet->accrued_us : 0;
    fleet->accrued_us = now_us;
    if (past_us == 0)
        return;
    for (size_t i = 0; i < fleet->count; i++) {
        struct fleet_deployment *deployment = fleet->deployments[i];
        int64_t each = cheapest(fleet, deployment);
        int64_t rate = rate_of(fleet, deployment) + each * deployment->elsewhere;
        unsigned least = least_of(deployment) ? least_of(deployment) : 1;
        int64_t without = each * least;
        deployment->spent += (__int128)rate * (int64_t)past_us;
        if (!deployment->stopped && without > rate)
            deployment->saved += (__int128)(without - rate) * (int64_t)past_us;
    }
}

/* Nobody has counted it since the last record, or since it began. */
static int64_t uncounted_us(const struct replica *one, uint64_t now_us)
{
    const struct fleet_deployment *deployment = one->of;
    int64_t since_us = (int64_t)(now_us - deployment->recalled_us); /* below 0: adopted before */
    if (deployment->unseen_us == 0)
        return 0;
    if (deployment->unseen_us == FLEET_UNSEEN)
        return one->age_us;
    int64_t unseen_us = deployment->unseen_us + since_us;
    return one->age_us >= 0 && one->age_us < unseen_us ? one->age_us : unseen_us;
}

void look_adopted(struct fleet *fleet, const struct replica *one, uint64_t now_us)
{
    int64_t us = uncounted_us(one, now_us);
    if (us > 0 && replica_holds(one->r.state))
        one->of->spent += (__int128)place_rate(&fleet->nodes[one->r.node], &one->reserved) * us;
}

int64_t look_spent(const struct fleet_deployment *deployment)
{
    return (int64_t)(deployment->spent / hour_us);
}

bool fleet_spent(const struct fleet *fleet, size_t index, struct fleet_spent *spent,
                 uint64_t now_us)
{
    if (index >= fleet->count)
        return false;
    const struct fleet_deployment *deployment = fleet->deployments[index];
    bool lags = fleet->accrued_us > 0 && fleet->accrued_us < now_us;
    *spent = (struct fleet_spent){deployment_text(deployment), look_spent(deployment),
                                  (int64_t)(now_us - deployment->created_us),
                                  lags ? (int64_t)(now_us - fleet->accrued_us) : 0};
    return true;
}

void fleet_recall_spent(struct fleet *fleet, const struct fleet_spent *spent, uint64_t now_us)
{
    struct fleet_deployment *deployment = fleet_find(fleet, spent->name);
    if (!deployment)
        return;
    if (spent->nanos > look_spent(deployment))
        deployment->spent = (__int128)spent->nanos * hour_us;
    if (spent->age_us > (int64_t)(now_us - deployment->created_us))
        deployment->created_us = now_us - (uint64_t)spent->age_us; /* may be before the clock's 0 */
    deployment->unseen_us = spent->unseen_us > 0 ? spent->unseen_us : 0;
    deployment->recalled_us = now_us;
    deployment->recalled = true;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one))
        if (one->adopted) /* until then; what came after was counted */
            look_adopted(fleet, one, one->r.launched_us);
}

void fleet_recalled_all(struct fleet *fleet, uint64_t now_us)
{
    for (size_t i = 0; i < fleet->count; i++) {
        const struct fleet_deployment *deployment = fleet->deployments[i];
        struct fleet_spent none = {.name = deployment_text(deployment), .unseen_us = FLEET_UNSEEN};
        if (!deployment->recalled)
            fleet_recall_spent(fleet, &none, now_us);
    }
}

/* ----------------------------------------------------------------------------------- times */

void look_started(struct fleet_deployment *deployment, int64_t took_us)
{
    deployment->starts_us[deployment->start_count++ % STARTS_KEPT] = took_us;
}

/* Of the last starts; 0 = there was none. */
int64_t look_median(const struct fleet_deployment *deployment)
{
    int64_t sorted[STARTS_KEPT] = {0};
    unsigned count = deployment->start_count < STARTS_KEPT ? deployment->start_count : STARTS_KEPT;
    for (unsigned i = 0; i < count; i++) {
        unsigned at = i;
        for (; at > 0 && sorted[at - 1] > deployment->starts_us[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = deployment->starts_us[i];
    }
    return count ? sorted[count / 2] : 0;
}

/* The one that will be ready first, as far as one can know. */
static const struct replica *first_starting(const struct fleet_deployment *deployment)
{
    const struct replica *first = NULL;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if ((one->r.state == REPLICA_LAUNCHING || one->r.state == REPLICA_LOADING) &&
            (!first || one->r.launched_us < first->r.launched_us))
            first = one;
    }
    return first;
}

static int64_t eta_us(const struct fleet_deployment *deployment, uint64_t now_us)
{
    int64_t takes_us = look_median(deployment);
    const struct replica *first = first_starting(deployment);
    if (fleet_census(deployment, 0).ready > 0)
        return 0;
    if (takes_us == 0)
        return -1;
    int64_t past_us = first ? (int64_t)(now_us - first->r.launched_us) : 0;
    return takes_us > past_us + SECOND_US ? takes_us - past_us : SECOND_US;
}

static uint64_t retry_at(const struct fleet_deployment *deployment)
{
    uint64_t at_us = deployment->failed ? deployment->rearm_us : 0;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (one->r.state == REPLICA_BACKOFF && (at_us == 0 || one->r.due_us < at_us))
            at_us = one->r.due_us;
    }
    return at_us;
}

/* ----------------------------------------------------------------------------------- pages */

size_t fleet_count(const struct fleet *fleet)
{
    return fleet->count;
}

static void look(const struct fleet *fleet, const struct fleet_deployment *deployment,
                 struct fleet_view *view, uint64_t now_us)
{
    const struct replica *first = first_starting(deployment);
    *view = (struct fleet_view){
        .spec = deployment->spec,
        .state = deployment->state,
        .since_us = deployment->since_us,
        .retry_at_us = retry_at(deployment),
        .revision = deployment->next.spec ? deployment->next.number : deployment->stable.number,
        .stable = deployment->stable.number,
        .wanted = deployment->wanted,
        .ready = fleet_census(deployment, 0).ready + deployment->elsewhere_ready,
        .restarts = deployment->restarts,
        .min = least_of(deployment),
        .max = most_of(deployment),
        .progress_permille = first ? first->r.progress_permille : -1,
        .eta_us = eta_us(deployment, now_us),
        .spent_nanos = look_spent(deployment),
        .saved_nanos = (int64_t)(deployment->saved / hour_us),
        .nanos_per_hour = rate_of(fleet, deployment),
        .canary_permille = deployment->share.canary ? deployment->share.permille : 0,
        .share = {deployment->share.stable, deployment->share.canary, deployment->share.permille},
        .stable_digest = deployment->stable.spec->digest,
        .next_digest = deployment->next.spec ? deployment->next.spec->digest : 0,
        .stopped = deployment->stopped,
    };
    snprintf(view->reason, sizeof(view->reason), "%s", deployment->reason);
    snprintf(view->words, sizeof(view->words), "%s", deployment->words);
    if (deployment->rejected_digest == deployment->spec->digest)
        snprintf(view->rejected_for, sizeof(view->rejected_for), "%s", deployment->rejected_for);
    view->verdict = roll_sense(deployment);
}

bool fleet_look(const struct fleet *fleet, struct text name, struct fleet_view *view,
                uint64_t now_us)
{
    const struct fleet_deployment *deployment = fleet_find(fleet, name);
    if (deployment)
        look(fleet, deployment, view, now_us);
    return deployment != NULL;
}

bool fleet_look_at(const struct fleet *fleet, size_t index, struct fleet_view *view,
                   uint64_t now_us)
{
    if (index >= fleet->count)
        return false;
    look(fleet, fleet->deployments[index], view, now_us);
    return true;
}

size_t fleet_replicas(const struct fleet *fleet, struct text name,
                      const struct fleet_replica **into, size_t max)
{
    const struct fleet_deployment *deployment = fleet_find(fleet, name);
    size_t count = 0;
    if (!deployment)
        return 0;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one))
        if (count < max)
            into[count++] = &one->r;
    return count;
}

size_t fleet_places(const struct fleet *fleet, struct fleet_place *into, size_t max)
{
    size_t count = fleet->node_count < max ? fleet->node_count : max;
    for (size_t i = 0; i < count; i++) {
        const struct fleet_node *node = &fleet->nodes[i];
        into[i] = (struct fleet_place){&node->spec, node->usable && !node->gone, node->reserved,
                                       node->replicas};
    }
    return count;
}

static void say_victims(const struct eviction *eviction, char *words, size_t size)
{
    const struct fleet_node *node = &eviction->fleet->nodes[eviction->node];
    int used =
        snprintf(words, size, "on %.*s, when there is no more of", TEXT_ARGS(node->spec.name));
    for (size_t i = 0; i < eviction->count && used > 0 && (size_t)used < size; i++)
        used += snprintf(words + used, size - (size_t)used, "%s %s", i ? "," : "",
                         eviction->victims[i]->of->name);
    if (eviction->count == 0)
        snprintf(words, size, "on %.*s, as soon as those have gone that are on their way out",
                 TEXT_ARGS(node->spec.name));
}

bool fleet_would_fit(const struct fleet *fleet, const struct deployment_spec *spec, uint64_t now_us,
                     char *words, size_t size)
{
    const struct fleet_deployment *known = fleet_find(fleet, spec->name);
    struct eviction eviction = {
        .fleet = fleet, .spec = spec, .now_us = now_us, .need = place_need(fleet, known, spec)};
    size_t node = place_best(fleet, spec, &eviction.need);
    if (node != SIZE_MAX) {
        snprintf(words, size, "on %.*s", TEXT_ARGS(fleet->nodes[node].spec.name));
        return true;
    }
    if (evict_choose(&eviction)) {
        say_victims(&eviction, words, size);
        return true;
    }
    eviction.busy_too = true;
    if (evict_choose(&eviction)) {
        say_victims(&eviction, words, size);
        return true;
    }
    snprintf(words, size, "nowhere now");
    return false;
}
