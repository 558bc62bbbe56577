/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/choosing.h"

#include "deploy/models/standing.h"
#include "gateway/base/clock.h"
#include "gateway/conversation.h"
#include "gateway/quota_head.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

enum { USUAL_BYTES_PER_TOKEN = 4, ETA_UNKNOWN_US = 20000000, PROMPT_WITHIN = 4096 };

const struct route_policy *choosing_policy(const struct exchange *x)
{
    return ruling_policy(x);
}

/* ------------------------------------------------------------------------------ what is known */

/* Is there more than one that it could go to, or one that may not get it? */
static bool is_choice(const struct route *route)
{
    unsigned on = 0;
    if (route && route->sum.known)
        return route->sum.limited || (route->sum.on & (route->sum.on - 1)) != 0;
    for (size_t i = 0; route && i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        if (target->off)
            continue;
        if (target->quotas[0].figures || target->quotas[1].figures)
            return true;
        on++;
    }
    return on > 1;
}

static bool has_prompt(enum operation operation)
{
    return operation == OPERATION_CHAT || operation == OPERATION_COMPLETION ||
           operation == OPERATION_RESPONSE;
}

static void fill_tokens(struct exchange *x, bool chooses, struct route_call *call)
{
    call->input_tokens = x->body_bytes / USUAL_BYTES_PER_TOKEN;
    call->output_tokens = x->call.max_tokens;
    bool there = x->estimated || buffer_length(&x->body) > 0;
    bool read = chooses && there && x->match.endpoint->body == BODY_JSON && x->key && !x->batch &&
                (has_prompt(x->call.operation) || x->call.operation == OPERATION_EMBEDDING);
    if (!read)
        return;
    const struct estimate *estimate = reserve_estimate(x);
    call->input_tokens = estimate->input_mean;
    call->output_tokens = estimate->output_mean;
}

/* Whoever it is, nobody else's calls are mixed with it. */
static uint64_t salt_of(const struct exchange *x)
{
    return affinity_hash(tenant_scope(x->key->tenant), 1);
}

/* Where the prompt begins: what stands before it in the body (the model, a temperature) is none of
 * it. Where much does (tools), all of the body is taken for it. */
static struct text prompt_of(const struct exchange *x)
{
    static const struct text names[] = {
        {"\"messages\"", 10}, {"\"contents\"", 10}, {"\"input\"", 7}, {"\"prompt\"", 8}};
    struct text body = buffer_text(&x->body);
    struct text begin = {body.at, body.len < PROMPT_WITHIN ? body.len : PROMPT_WITHIN};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t at = text_find(begin, names[i]);
        if (at != SIZE_MAX)
            return text_from(body, at + names[i].len);
    }
    return body;
}

static void hash_prompt(struct exchange *x)
{
    struct text prompt = prompt_of(x);
    uint64_t hash = salt_of(x);
    size_t from = 0, until = PREFIX_BYTES;
    for (size_t i = 0; i < PREFIX_LEVELS && until <= prompt.len; i++, until *= 4) {
        hash = affinity_mark((struct text){prompt.at + from, until - from}, hash);
        x->seeking->prefix[i] = hash ? hash : 1;
        from = until;
    }
}

/* 0: of nobody in particular. */
static uint64_t sticky_of(const struct exchange *x, const struct route_policy *policy)
{
    enum sticky_by by = policy->sticky_by;
    uint64_t hash = 0;
    if (by == STICKY_NONE && policy->strategy == STRATEGY_STICKY)
        by = STICKY_KEY;
    switch (by) {
    case STICKY_NONE:
        return 0;
    case STICKY_KEY:
        hash = reserve_key_hash(x->key);
        break;
    case STICKY_USER:
        hash = x->call.user.len ? affinity_hash(x->call.user, 2) : 0;
        break;
    case STICKY_CONVERSATION:
        hash = conversation_of(buffer_text(&x->body));
        break;
    }
    return hash ? strategy_mix(hash ^ salt_of(x)) | 1 : 0;
}

/* A deployment that is not ready is as late as its start takes. */
static const int64_t *delays_of(struct exchange *x, const struct route *route)
{
    int64_t *delays = NULL;
    if (route->sum.known && !route->sum.deployed)
        return NULL;
    for (size_t i = 0; i < route->target_count; i++) {
        struct slots *slots = route->targets[i].provider->slots;
        if (!slots || slots_figures(slots).ready > 0)
            continue;
        if (!delays)
            delays = arena_new(&x->arena, route->target_count * sizeof(*delays));
        struct standing_view view = standing_look(route->targets[i].provider->standing);
        delays[i] = view.eta_us >= 0 ? view.eta_us : ETA_UNKNOWN_US;
    }
    return delays;
}

void choosing_call(struct exchange *x, const struct route *route, struct route_call *call)
{
    bool chooses = is_choice(route);
    *call = (struct route_call){
        .now_us = loop_now_us(x->worker->loop),
        .random = worker_random(x->worker),
        .operation = x->call.operation,
        .stream = x->call.stream,
        .tried = x->tried,
        .max_cost_nanos = x->ruling.max_cost_nanos,
        .service = x->call.service,
        .service_said = x->call.service_said,
        .struck = ruling_struck(x, route),
    };
    fill_tokens(x, chooses, call);
    if (!chooses || !x->key || x->match.endpoint->body != BODY_JSON)
        return;
    if (has_prompt(x->call.operation) && !x->seeking->prefix_known) {
        x->seeking->prefix_known = true;
        hash_prompt(x);
    }
    call->delays_us = delays_of(x, route);
    memcpy(call->prefix, x->seeking->prefix, sizeof(call->prefix));
    call->sticky = sticky_of(x, choosing_policy(x));
}

bool choosing_some_full(struct exchange *x)
{
    if (!x->route)
        return false;
    struct choice *choice = arena_new(&x->arena, sizeof(*choice));
    struct route_call call;
    bool full = false;
    choosing_call(x, x->route, &call);
    route_consider(x->route, choosing_policy(x), &call, choice);
    for (size_t i = 0; i < choice->count; i++)
        full = full || choice->candidates[i].strike == STRIKE_FULL;
    return full;
}

void choosing_say_none(struct exchange *x)
{
    const struct route *route = x->route;
    const char *why = "no target is in force";
    if (route && route->target_count && route->targets[0].off_because)
        why = route->targets[0].off_because;
    if (choosing_some_full(x))
        fault_set(exchange_fault(x), FAULT_OVERLOADED,
                  "All targets of this model have as many calls as their limits allow.");
    else
        fault_set(exchange_fault(x), FAULT_NO_TARGET, "No target can take this call: %s.", why);
}

/* ------------------------------------------------------------------------------ what it taught */

/* With several keys nobody knows which of them the next call goes up with. */
void choosing_head(struct exchange *x, const struct head *head)
{
    struct quota_seen seen;
    struct target_figures *figures = x->target ? x->target->figures : NULL;
    if (!figures || x->target->provider->api_key_count > 1 || !quota_head_may_speak(head))
        return;
    if (quota_head_read(head, clock_wall_us(), &seen))
        quota_said(&figures->left, &seen, loop_now_us(x->worker->loop));
}

void choosing_body(struct exchange *x)
{
    if (!x->route_try.call.waits || x->relay != RELAY_EVENTS || x->status / 100 != 2)
        return;
    bool has_prompt_answer = has_prompt(x->call.operation) && !x->unwatched;
    if (!has_prompt_answer || x->answer.events > 0 || x->facts.last_held)
        route_first(&x->route_try, loop_now_us(x->worker->loop));
}

void choosing_end(struct exchange *x, enum fault_kind fault, bool made)
{
    const struct usage *usage = &x->answer.usage;
    bool good = fault == FAULT_NONE;
    if (good && x->facts.client_gone)
        fault = FAULT_CLIENT_GONE;
    else if (good && x->answer.failed)
        fault = FAULT_TARGET_ERROR;
    struct route_outcome end = {
        .now_us = loop_now_us(x->worker->loop),
        .fault = fault,
        .not_sent = !made,
        .retry_after_us = x->retry_after_us,
        .output_tokens = good ? usage->output_tokens : 0,
        .tokens = good ? usage->input_tokens + usage->output_tokens : 0,
    };
    waking_give(x, fault);
    route_end(&x->route_try, &end);
}
