/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many replicas: demand is what runs, what is held and what waits as a job. Its mean over a
 * fast window (scaling.up_window) and a slow one (ten times that) says how many replicas would have
 * work for scaling.target of their places. Twice as many as there are, by the fast one, is panic:
 * then it grows at once, and does not shrink before the slow window is over. It shrinks when for
 * the whole of scaling.down_delay fewer would have done, by half at most. From nothing it grows
 * with the first call; to nothing it goes when there was no call for scaling.idle_stop.
 */
#include <stdio.h>

#include "deploy/models/fleet_inside.h"

enum { SLOW_TIMES = 10, PANIC_TIMES = 2, USES_US = 10 * MINUTE_US };

/* --------------------------------------------------------------------------------- windows */

void window_set(struct window *window, uint64_t width_us)
{
    width_us = width_us >= WINDOW_BUCKETS ? width_us : WINDOW_BUCKETS;
    if (window->width_us != width_us)
        *window = (struct window){.width_us = width_us};
}

static uint64_t bucket_us(const struct window *window)
{
    return window->width_us / WINDOW_BUCKETS;
}

static size_t bucket_at(struct window *window, uint64_t at_us)
{
    uint64_t number = at_us / bucket_us(window) + 1;
    size_t index = number % WINDOW_BUCKETS;
    if (window->buckets[index].number != number) {
        memset(&window->buckets[index], 0, sizeof(window->buckets[index]));
        window->buckets[index].number = number;
    }
    return index;
}

/* Was <value> from then to then. */
void window_add(struct window *window, unsigned value, uint64_t from_us, uint64_t to_us)
{
    if (window->from_us == 0)
        window->from_us = from_us ? from_us : 1;
    if (to_us > window->width_us && from_us < to_us - window->width_us)
        from_us = to_us - window->width_us;
    do {
        size_t index = bucket_at(window, from_us);
        uint64_t ends_us = window->buckets[index].number * bucket_us(window);
        uint64_t until_us = ends_us < to_us ? ends_us : to_us;
        window->buckets[index].area += value * (until_us - from_us);
        window->buckets[index].time_us += until_us - from_us;
        if (value > window->buckets[index].peak)
            window->buckets[index].peak = value;
        from_us = until_us;
    } while (from_us < to_us);
}

void window_count(struct window *window, uint64_t count, uint64_t now_us)
{
    window->buckets[bucket_at(window, now_us)].sum += count;
}

static bool is_within(const struct window *window, size_t index, uint64_t now_us)
{
    uint64_t number = now_us / bucket_us(window) + 1;
    return window->buckets[index].number + WINDOW_BUCKETS > number;
}

/* In thousandths; what was before its first value counts as nothing. */
uint64_t window_mean_milli(const struct window *window, uint64_t now_us)
{
    uint64_t area = 0, time_us = 0;
    for (size_t i = 0; i < WINDOW_BUCKETS; i++) {
        if (!window->buckets[i].number || !is_within(window, i, now_us))
            continue;
        area += window->buckets[i].area;
        time_us += window->buckets[i].time_us;
    }
    time_us = time_us > window->width_us ? time_us : window->width_us;
    return (area * 1000 + time_us - 1) / time_us;
}

uint64_t window_sum(const struct window *window, uint64_t now_us)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < WINDOW_BUCKETS; i++)
        if (window->buckets[i].number && is_within(window, i, now_us))
            sum += window->buckets[i].sum;
    return sum;
}

unsigned window_peak(const struct window *window, uint64_t now_us)
{
    unsigned peak = 0;
    for (size_t i = 0; i < WINDOW_BUCKETS; i++)
        if (window->buckets[i].number && is_within(window, i, now_us) &&
            window->buckets[i].peak > peak)
            peak = window->buckets[i].peak;
    return peak;
}

/* ------------------------------------------------------------------------------ how many */

unsigned demand_of(const struct fleet_deployment *deployment)
{
    return deployment->demand.in_flight + deployment->demand.held + deployment->demand.jobs;
}

unsigned least_of(const struct fleet_deployment *deployment)
{
    unsigned least = deployment->bounded ? deployment->low : deployment->spec->scaling.min;
    return least < SPEC_REPLICAS_MAX ? least : SPEC_REPLICAS_MAX;
}

unsigned most_of(const struct fleet_deployment *deployment)
{
    unsigned most = deployment->bounded ? deployment->high : deployment->spec->scaling.max;
    unsigned least = least_of(deployment) ? least_of(deployment) : 1;
    most = most < SPEC_REPLICAS_MAX ? most : SPEC_REPLICAS_MAX;
    return most > least ? most : least;
}

void scale_configure(struct fleet_deployment *deployment)
{
    int64_t up_us = deployment->spec->scaling.up_window_us;
    int64_t down_us = deployment->spec->scaling.down_delay_us;
    up_us = up_us > 0 ? up_us : SECOND_US;
    window_set(&deployment->fast, (uint64_t)up_us);
    window_set(&deployment->slow, (uint64_t)up_us * SLOW_TIMES);
    window_set(&deployment->wants, (uint64_t)(down_us > 0 ? down_us : SECOND_US));
    window_set(&deployment->uses, USES_US);
}

/* Write down the demand of the time since it was seen last. */
void scale_see(struct fleet_deployment *deployment, uint64_t now_us)
{
    unsigned demand = demand_of(deployment);
    uint64_t from_us = deployment->seen_us ? deployment->seen_us : now_us;
    window_add(&deployment->fast, demand, from_us, now_us);
    window_add(&deployment->slow, demand, from_us, now_us);
    deployment->seen_us = now_us;
    if (demand)
        deployment->busy_us = now_us;
}

static unsigned enough_for(const struct fleet_deployment *deployment, uint64_t demand_milli)
{
    uint64_t parallel = deployment->spec->scaling.parallel;
    uint64_t target = deployment->spec->scaling.target_permille;
    uint64_t each = (parallel ? parallel : 1) * (target ? target : 1000);
    uint64_t many = (demand_milli + each - 1) / each;
    return many < SPEC_REPLICAS_MAX ? (unsigned)many : SPEC_REPLICAS_MAX;
}

static unsigned larger(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

/* How many would have work. */
static unsigned wants(struct fleet_deployment *deployment, uint64_t now_us)
{
    unsigned slow = enough_for(deployment, window_mean_milli(&deployment->slow, now_us));
    unsigned fast = enough_for(deployment, window_mean_milli(&deployment->fast, now_us));
    unsigned demand = demand_of(deployment);
    if (fast >= PANIC_TIMES * larger(1, deployment->wanted) && fast > deployment->wanted) {
        deployment->panic_wanted = larger(deployment->panic_wanted, fast);
        deployment->panic_until_us = now_us + deployment->slow.width_us;
    }
    if (now_us >= deployment->panic_until_us)
        deployment->panic_wanted = 0;
    unsigned many = larger(slow, deployment->panic_wanted);
    if (demand && deployment->wanted == 0)
        many = larger(many, enough_for(deployment, (uint64_t)demand * 1000));
    return demand ? larger(many, 1) : many;
}

static uint64_t idle_since(const struct fleet_deployment *deployment)
{
    uint64_t since_us = deployment->busy_us;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (one->r.state == REPLICA_ENDED)
            continue;
        since_us = one->r.ready_us > since_us ? one->r.ready_us : since_us;
        since_us = one->r.used_us > since_us ? one->r.used_us : since_us;
    }
    return since_us;
}

/* Nobody asks, nobody has to be there; and what starts is never stopped for that. */
static bool may_be_nothing(const struct fleet_deployment *deployment, uint64_t now_us)
{
    struct census all = fleet_census(deployment, 0);
    int64_t idle_us = deployment->spec->scaling.idle_stop_us;
    if (demand_of(deployment) || least_of(deployment) || all.starting)
        return false;
    /* One that has crashed is kept for a while: the call that it failed is about to come again. */
    if (all.live == all.pending + all.backoff && deployment->elsewhere == 0)
        return all.backoff == 0 && !deployment->ordered;
    return idle_us > 0 && now_us - idle_since(deployment) >= (uint64_t)idle_us;
}

static unsigned shrink(struct fleet_deployment *deployment, unsigned many, uint64_t now_us)
{
    unsigned now = deployment->wanted;
    uint64_t seen_us = now_us - deployment->wants.from_us;
    unsigned peak = window_peak(&deployment->wants, now_us);
    if (deployment->panic_wanted || !deployment->wants.from_us ||
        seen_us < deployment->wants.width_us || peak >= now)
        return now;
    return larger(larger(many, peak), larger(now / 2, 1));
}

void scale_decide(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    unsigned least = least_of(deployment), most = most_of(deployment);
    if (fleet->shut || deployment->stopped || deployment->removed) {
        deployment->wanted = 0;
        return;
    }
    unsigned many = wants(deployment, now_us);
    window_add(&deployment->wants, many, now_us, now_us);
    unsigned before = deployment->wanted;
    if (many > before)
        deployment->wanted =
            before ? (many < larger(before + 1, before * 2) ? many : larger(before + 1, before * 2))
                   : many;
    else if (many < before)
        deployment->wanted = shrink(deployment, many, now_us);
    if (deployment->wanted && may_be_nothing(deployment, now_us))
        deployment->wanted = 0;
    if (deployment->ordered)
        deployment->wanted = larger(deployment->wanted, 1);
    deployment->wanted = larger(deployment->wanted, least);
    deployment->wanted = deployment->wanted < most ? deployment->wanted : most;
    if (deployment->wanted != before) {
        char words[64];
        snprintf(words, sizeof(words), "%u instead of %u", deployment->wanted, before);
        fleet_event(fleet, deployment, 0,
                    deployment->wanted > before ? "scale_up"
                    : deployment->wanted        ? "scale_down"
                                                : "idle",
                    words);
    }
}

/* ------------------------------------------------------------------------ making it so */

bool replica_counts(const struct replica *one)
{
    switch (one->r.state) {
    case REPLICA_PENDING:
    case REPLICA_LAUNCHING:
    case REPLICA_LOADING:
    case REPLICA_READY:
    case REPLICA_UNREADY:
    case REPLICA_BACKOFF:
        return true;
    case REPLICA_LOST: /* another one is started for one that is silent */
        return one->is_open || !one->was_ready;
    case REPLICA_STOPPING: /* it comes back, later each time */
        return one->retry;
    case REPLICA_SLEEPING:
    case REPLICA_DRAINING:
    case REPLICA_ENDED:
    case REPLICA_STATES:
        return false;
    }
    return false;
}

/* The smaller, the sooner it goes; among equals the newest. */
static unsigned worth(const struct replica *one)
{
    static const unsigned worths[REPLICA_STATES] = {
        [REPLICA_BACKOFF] = 1,   [REPLICA_PENDING] = 2, [REPLICA_UNREADY] = 3, [REPLICA_LOST] = 4,
        [REPLICA_LAUNCHING] = 5, [REPLICA_LOADING] = 6, [REPLICA_READY] = 7};
    return worths[one->r.state] + (one->r.state == REPLICA_READY ? one->r.in_flight : 0);
}

static struct replica *least_worth(const struct fleet_deployment *deployment, unsigned revision)
{
    struct replica *least = NULL;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (one->r.revision == revision && replica_counts(one) &&
            (!least || worth(one) < worth(least)))
            least = one;
    }
    return least;
}

static struct replica *first_in(const struct fleet_deployment *deployment, unsigned revision,
                                enum replica_state state)
{
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (one->r.revision == revision && one->r.state == state &&
            (state != REPLICA_DRAINING || one->revivable))
            return one;
    }
    return NULL;
}

static bool is_promised(const struct fleet_node *node)
{
    return node->promised.memory_bytes || node->promised.vram_bytes || node->promised.cpus_milli ||
           node->promised.gpus;
}

/* One more, as cheaply as it can be had. */
static bool grow(struct fleet *fleet, struct fleet_deployment *deployment,
                 const struct revision *revision, uint64_t now_us)
{
    struct replica *one = first_in(deployment, revision->number, REPLICA_SLEEPING);
    if (one) {
        replica_wake(fleet, one, "wake", now_us);
        return true;
    }
    one = first_in(deployment, revision->number, REPLICA_DRAINING);
    if (one && one->r.probed_ok && !is_promised(&fleet->nodes[one->r.node])) {
        replica_revive(fleet, one, "scale_up", now_us);
        return true;
    }
    if (fleet_census(deployment, 0).live >= FLEET_LIVE_MAX)
        return false;
    replica_new(fleet, deployment, revision, "scale_up", now_us);
    return true;
}

/* <reason> NULL: since nobody needs it. */
static void shrink_by_one(struct fleet *fleet, struct fleet_deployment *deployment,
                          struct replica *one, const char *reason, uint64_t now_us)
{
    bool idle = deployment->wanted == 0;
    if (reason) {
        replica_retire(fleet, one, reason, now_us);
        return;
    }
    reason = idle ? "idle" : "scale_down";
    if (idle && deployment->spec->sleep_first && one->r.state == REPLICA_READY)
        replica_sleep(fleet, one, reason, now_us);
    else
        replica_retire(fleet, one, reason, now_us);
    one->revivable = one->r.state == REPLICA_DRAINING;
}

void scale_shrink(struct fleet *fleet, struct fleet_deployment *deployment, unsigned revision,
                  unsigned keep, const char *reason, uint64_t now_us)
{
    unsigned have = fleet_census(deployment, revision).counted;
    for (; have > keep; have--)
        shrink_by_one(fleet, deployment, least_worth(deployment, revision), reason, now_us);
}

void scale_converge(struct fleet *fleet, struct fleet_deployment *deployment,
                    const struct revision *revision, unsigned want, uint64_t now_us)
{
    bool is_stable = revision == &deployment->stable;
    if (deployment->asleep && demand_of(deployment) == 0 && !deployment->ordered)
        return; /* by order; the next call wakes it */
    deployment->asleep = false;
    if (is_stable && deployment->last_try && want > 1)
        want = 1;
    scale_shrink(fleet, deployment, revision->number, want, NULL, now_us);
    unsigned have = fleet_census(deployment, revision->number).counted;
    while (have < want && !(is_stable && deployment->failed)) {
        if (!grow(fleet, deployment, revision, now_us))
            return;
        have++;
    }
}

void scale_retire_all(struct fleet *fleet, struct fleet_deployment *deployment, unsigned revision,
                      const char *reason, uint64_t now_us)
{
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (revision == 0 || one->r.revision == revision)
            replica_retire(fleet, one, reason, now_us);
    }
}
