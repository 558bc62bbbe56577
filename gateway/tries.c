/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/tries.h"

#include "gateway/base/log.h"
#include "gateway/detour.h"
#include "gateway/steps.h"
#include "gateway/waits.h"
#include "gateway/worker_inside.h"

enum {
    SAME_AGAIN_MAX = 3, /* tries on a target that has failed, whatever `attempts` says */
    BYTES_PER_TOKEN = 4,
};

static uint64_t now_of(const struct exchange *x)
{
    return loop_now_us(x->worker->loop);
}

/* ------------------------------------------------------------------------------ who is left */

/* Where the targets are taken from: the model's, or its policy's fallback. */
static const struct route *route_of(const struct exchange *x)
{
    return x->detour ? x->detour : x->route;
}

bool tries_is_well(const struct exchange *x, const struct target *target)
{
    if (!target->figures)
        return true;
    enum health_word word = health_look(&target->figures->health, now_of(x));
    return word == HEALTH_WELL || word == HEALTH_PROBE;
}

/* Another target that may be asked at once, or NULL. */
const struct target *tries_find_well(const struct exchange *x, uint64_t tried)
{
    const struct route *route = route_of(x);
    for (size_t i = 0; route && i < route->target_count; i++)
        if (!route->targets[i].off && !(tried >> i & 1) && tries_is_well(x, &route->targets[i]))
            return &route->targets[i];
    return NULL;
}

/* When the first of the others of <route> that only ask for time may be asked; 0 = there is none.
 */
static uint64_t other_again_us(const struct exchange *x, const struct route *route, uint64_t tried)
{
    uint64_t now = now_of(x), first = 0;
    for (size_t i = 0; route && i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        if (target->off || tried >> i & 1 || !target->figures)
            continue;
        enum health_word word = health_look(&target->figures->health, now);
        uint64_t at = health_again_us(&target->figures->health, now);
        if ((word == HEALTH_COOLING || word == HEALTH_DRY) && at && (!first || at < first))
            first = at;
    }
    return first;
}

/* Is the present target the only one that there is? */
static bool is_alone(const struct exchange *x)
{
    for (size_t i = 0; x->route && i < x->route->target_count; i++)
        if (!x->route->targets[i].off && &x->route->targets[i] != x->target)
            return false;
    return !x->detour;
}

bool step_has_another(const struct exchange *x)
{
    const struct route *route = route_of(x);
    if (!route || x->pinned)
        return false;
    for (size_t i = 0; i < route->target_count; i++)
        if (!route->targets[i].off && !(x->tried >> i & 1))
            return true;
    return false;
}

/* -------------------------------------------------------------------------- may there be one */

static bool may_go_on(const struct exchange *x)
{
    uint64_t end = waits_end_us(x);
    return x->route && !x->pinned && !x->upload && x->relay != RELAY_TUNNEL && !x->head_sent &&
           x->tries_left > 0 && x->attempts > 0 && !(end && now_of(x) >= end);
}

bool tries_may_turn(const struct exchange *x)
{
    return may_go_on(x) && (tries_find_well(x, x->tried) || detour_is_there(x));
}

/* ------------------------------------------------------------------------------- the budget */

static struct retry_budget *budget_of(const struct exchange *x)
{
    const struct route *route = x->route;
    return route && route->target_count && route->targets[0].figures
               ? &route->targets[0].figures->retries
               : NULL;
}

void tries_begin(struct exchange *x)
{
    struct retry_budget *budget = budget_of(x);
    if (budget)
        retry_deposit(budget, RETRY_SHARE_PPM);
    if (budget && x->route->policy && x->route->policy->hedge_after_us >= 0)
        hedge_deposit(&x->route->targets[0].figures->hedges);
}

/* One that answers well, and has not failed since, is no part of a storm. */
static bool is_free(const struct target *target, uint64_t now_us)
{
    return target && target->figures && target->breaker &&
           health_is_proven(&target->figures->health, target->breaker, now_us);
}

bool tries_pay(struct exchange *x, const struct target *next)
{
    struct retry_budget *budget = budget_of(x);
    if (!budget || is_free(next, now_of(x)) || retry_withdraw(budget, now_of(x)))
        return true;
    log_line(LOG_WARN, "upstream",
             "%s: no further try: the budget of tries of the model %.*s is spent", x->id,
             TEXT_ARGS(x->route->name));
    metrics_count(x->worker->metrics, COUNTER_RETRY_DENIED, 1);
    return false;
}

/* -------------------------------------------------------------------------------- the choice */

/* Faults of the moment, which the same target may not have a second time. */
static bool is_momentary(enum fault_kind kind)
{
    return kind == FAULT_TARGET_ERROR || kind == FAULT_TARGET_DOWN || kind == FAULT_TARGET_BUSY;
}

static bool may_same(const struct exchange *x, enum fault_kind kind, unsigned status)
{
    if (!is_momentary(kind) || !is_alone(x) || x->same_again >= SAME_AGAIN_MAX ||
        (status >= 400 && status < 429)) /* our key or account: it stays so */
        return false;
    if (!x->target->figures)
        return true;
    enum health_word word = health_look(&x->target->figures->health, now_of(x));
    return word == HEALTH_WELL || word == HEALTH_COOLING;
}

bool tries_may_wait(const struct exchange *x, uint64_t at_us)
{
    uint64_t end = waits_end_us(x), wait = at_us - now_of(x) + x->waited_us;
    return wait <= (uint64_t)x->target->provider->max_backoff_us && (!end || at_us < end);
}

static bool take(struct exchange *x, enum again again, uint64_t at_us, const struct target *next)
{
    if (!tries_pay(x, next))
        return false;
    x->again = again;
    x->again_at_us = at_us;
    x->waited_us += at_us ? at_us - now_of(x) : 0;
    return true;
}

static uint64_t same_at(struct exchange *x)
{
    const struct provider_settings *provider = x->target->provider;
    int64_t wait = retry_backoff_us(provider->backoff_us, provider->max_backoff_us,
                                    x->same_again + 1, worker_random(x->worker));
    if (x->retry_after_us > wait)
        wait = x->retry_after_us;
    return now_of(x) + (uint64_t)wait;
}

bool tries_claim(struct exchange *x, enum fault_kind kind, unsigned status)
{
    if (x->again != AGAIN_NO)
        return true;
    if (kind == FAULT_TARGET_CUT) /* nothing of it has gone */
        kind = FAULT_TARGET_INVALID;
    if (!may_go_on(x) || !fault_rule(kind)->may_retry ||
        (kind == FAULT_TARGET_DOWN && !x->target->provider->retry_connect))
        return false;
    if (is_momentary(kind) && waking_has_other(x) && x->same_again < SAME_AGAIN_MAX)
        return take(x, AGAIN_SAME, 0, x->target); /* another replica, at once */
    const struct target *other = tries_find_well(x, x->tried);
    if (!other)
        other = detour_find_well(x);
    if (other)
        return take(x, AGAIN_OTHER, 0, other);
    uint64_t again = other_again_us(x, route_of(x), x->tried);
    if (!again && x->detour)
        again = other_again_us(x, x->route, x->tried_at_home);
    if (again && tries_may_wait(x, again))
        return take(x, AGAIN_OTHER, again, NULL);
    if (detour_is_there(x))
        return take(x, AGAIN_OTHER, 0, NULL);
    again = same_at(x);
    return may_same(x, kind, status) && tries_may_wait(x, again) &&
           take(x, AGAIN_SAME, again, NULL);
}

/* Those that would refuse it for the same reason. */
static uint64_t same_refusers(const struct exchange *x, const struct route *route,
                              enum refusal refusal)
{
    uint64_t out = 0;
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        bool shorter = x->target->context_tokens && target->context_tokens &&
                       target->context_tokens <= x->target->context_tokens;
        bool same = refusal == REFUSAL_CONTEXT  ? shorter
                    : refusal == REFUSAL_FILTER ? target->provider == x->target->provider
                                                : false;
        out |= same ? UINT64_C(1) << i : 0;
    }
    return out;
}

/* Nobody failed: such a try is no part of a storm, and free. */
bool tries_claim_refusal(struct exchange *x, enum refusal refusal)
{
    if (refusal == REFUSAL_OTHER || x->again != AGAIN_NO || !may_go_on(x))
        return false;
    x->tried |= same_refusers(x, route_of(x), refusal);
    if (x->detour)
        x->tried_at_home |= same_refusers(x, x->route, refusal);
    if (!tries_find_well(x, x->tried) && !detour_is_there(x))
        return false;
    x->again = AGAIN_OTHER;
    x->again_at_us = 0;
    return true;
}

int64_t tries_first_p95_us(const struct exchange *x)
{
    const struct target_figures *figures = x->target->figures;
    if (!figures)
        return 0;
    const struct predict_class *learnt =
        &figures->predict.classes[traffic_of(x->call.operation, x->body_bytes / BYTES_PER_TOKEN)];
    return atomic_load_explicit(&learnt->p95_us, memory_order_relaxed);
}

enum circuit tries_circuit(const struct exchange *x)
{
    return x->target && x->target->figures ? health_circuit(&x->target->figures->health)
                                           : CIRCUIT_CLOSED;
}

void tries_look_at_circuit(struct exchange *x, enum fault_kind fault, enum circuit before)
{
    struct health_figures *all[ROUTE_TARGETS_MAX];
    const struct route *route = route_of(x);
    const struct target *target = x->target;
    size_t count = 0;
    if (!route || x->pinned || !target || !target->figures || !target->breaker)
        return;
    for (size_t i = 0; i < route->target_count; i++)
        if (route->targets[i].figures && !route->targets[i].off)
            all[count++] = &route->targets[i].figures->health;
    health_compare(&target->figures->health, all, count, target->breaker, now_of(x));
    if (before == CIRCUIT_CLOSED && tries_circuit(x) == CIRCUIT_OPEN)
        log_line(LOG_WARN, "upstream", "target %.*s is left alone for a while: it fails (%s)",
                 TEXT_ARGS(target->id), fault_rule(fault)->name);
}

enum exchange_state tries_after_failure(struct exchange *x)
{
    bool again = x->facts.client_gone ? false : tries_claim(x, exchange_why(x)->kind, 0);
    step_report(x, exchange_why(x)->kind);
    return again ? EXCHANGE_ROUTE : EXCHANGE_REFUSE;
}

bool tries_wait(struct exchange *x)
{
    if (x->again_at_us <= now_of(x))
        return false;
    waits_until(x, x->again_at_us);
    return true;
}
