/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/aside.h"

#include "gateway/abandoned.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/relay.h"
#include "gateway/reserve.h"
#include "gateway/retry_after.h"
#include "gateway/steps.h"
#include "gateway/tracing.h"
#include "gateway/tries.h"
#include "gateway/waits.h"
#include "gateway/worker_inside.h"

/* The try that was set aside: what an exchange has of one that has not answered yet. */
struct aside {
    struct exchange *x;
    struct upstream_call upstream;
    struct route_try route_try;
    struct held_place place;
    const struct target *target;
    struct text upstream_model, provider_key;
    const struct translator *client_words, *target_words;
    struct translated_call translated;
    uint64_t sent_us, first_byte_by_us, try_by_us;
};

static const struct upstream_handlers handlers;

static uint64_t now_of(const struct exchange *x)
{
    return loop_now_us(x->worker->loop);
}

/* ------------------------------------------------------------------------------- may it be */

static bool is_hedged(const struct exchange *x)
{
    const struct route_policy *policy = x->route ? ruling_policy(x) : NULL;
    enum operation op = x->call.operation;
    bool writes = op == OPERATION_CHAT || op == OPERATION_COMPLETION ||
                  (op == OPERATION_RESPONSE && !x->background && !x->store);
    /* A whole answer's first byte comes with its last one: when it is late, it is only long. */
    bool plain = (writes && x->call.stream) || op == OPERATION_EMBEDDING;
    return policy && policy->hedge_after_us >= 0 && plain && !x->upload && !x->pinned &&
           !x->hedged && !x->resume.goes_on && !x->head_sent && x->attempts == 1;
}

uint64_t aside_due_us(const struct exchange *x)
{
    if (!is_hedged(x) || x->facts.upstream != UPSTREAM_ASKED || !x->was_sent || !x->sent_us)
        return 0;
    int64_t after = ruling_policy(x)->hedge_after_us;
    if (after == 0)
        after = tries_first_p95_us(x);
    return after > 0 ? x->sent_us + (uint64_t)after : 0;
}

static struct hedge_budget *budget_of(const struct exchange *x)
{
    const struct target *first = &x->route->targets[0];
    return first->figures ? &first->figures->hedges : NULL;
}

/* ------------------------------------------------------------------------------- there and back */

static void put_aside(struct exchange *x, struct aside *aside)
{
    *aside = (struct aside){
        .x = x,
        .route_try = x->route_try,
        .place = waking_take_out(x),
        .target = x->target,
        .upstream_model = x->upstream_model,
        .provider_key = x->provider_key,
        .client_words = x->client_words,
        .target_words = x->target_words,
        .translated = x->seeking->translated,
        .sent_us = x->sent_us,
        .first_byte_by_us = x->first_byte_by_us,
        .try_by_us = x->try_by_us,
    };
    upstream_move(&aside->upstream, &x->upstream);
    aside->upstream.on = &handlers;
    x->route_try = (struct route_try){0};
}

static void take_back(struct exchange *x, struct aside *aside)
{
    x->route_try = aside->route_try;
    waking_put_back(x, aside->place);
    x->target = aside->target;
    x->upstream_model = aside->upstream_model;
    x->provider_key = aside->provider_key;
    x->client_words = aside->client_words;
    x->target_words = aside->target_words;
    x->seeking->translated = aside->translated;
    x->sent_us = aside->sent_us;
    x->first_byte_by_us = aside->first_byte_by_us;
    x->try_by_us = aside->try_by_us;
    x->was_sent = true;
    exchange_clear_fault(x);
    x->retry_after_us = 0; /* the other one's */
    x->again = AGAIN_NO;
    x->facts.upstream = UPSTREAM_ASKED;
    upstream_move(&x->upstream, &aside->upstream);
    x->upstream.on = &relay_handlers;
    x->aside = NULL;
    memory_free(aside);
}

bool aside_begin(struct exchange *x)
{
    struct hedge_budget *budget = budget_of(x);
    x->hedged = true; /* asked for once, whatever comes of it */
    const struct target *other = tries_find_well(x, x->tried);
    if (!other || !budget || !hedge_take(budget, ruling_policy(x)->hedge_max_ppm))
        return false;
    if (!reserve_hedge(x))
        return false;
    x->aside = memory_new(sizeof(*x->aside));
    put_aside(x, x->aside);
    relay_reset(x);
    x->was_sent = x->was_begun = false;
    x->again = AGAIN_OTHER;
    x->again_at_us = 0;
    metrics_count(x->worker->metrics, COUNTER_HEDGED, 1);
    log_line(LOG_INFO, "upstream", "%s: target %.*s is late: another one is asked as well", x->id,
             TEXT_ARGS(x->aside->target->id));
    return true;
}

/* ------------------------------------------------------------------------------- the loser */

/* The present try is given up: it has failed, or lost. What it has been sent is worked on, and
 * booked. */
static void give_up(struct exchange *x, enum fault_kind fault)
{
    upstream_abandon(&x->upstream);
    fault_set(exchange_fault(x), fault, "Another target was faster.");
    if (abandoned_is_paid(x))
        abandoned_book(x);
    step_report(x, fault == FAULT_TOO_LATE ? FAULT_CLIENT_GONE : fault);
    relay_reset(x);
    x->was_sent = x->was_begun = false;
}

bool aside_return(struct exchange *x)
{
    if (!x->aside)
        return false;
    give_up(x, exchange_why(x)->kind == FAULT_NONE ? FAULT_TOO_LATE : exchange_why(x)->kind);
    take_back(x, x->aside);
    waits_again(x);
    return true;
}

void aside_cancel(struct exchange *x)
{
    struct aside *aside = x->aside;
    struct aside present;
    if (!aside)
        return;
    x->aside = NULL;
    upstream_abandon(&aside->upstream);
    /* Booked as what it was: the present one steps back for a moment, but for its connection. */
    present = (struct aside){.route_try = x->route_try,
                             .place = waking_take_out(x),
                             .target = x->target,
                             .upstream_model = x->upstream_model,
                             .target_words = x->target_words};
    struct fault fault = *exchange_why(x);
    bool was_sent = x->was_sent, was_begun = x->was_begun;
    x->route_try = aside->route_try;
    waking_put_back(x, aside->place);
    x->target = aside->target;
    x->upstream_model = aside->upstream_model;
    x->target_words = aside->target_words;
    x->was_sent = true;
    x->was_begun = false;
    fault_set(exchange_fault(x), FAULT_TOO_LATE, "Another target was faster.");
    if (abandoned_is_paid(x))
        abandoned_book(x);
    step_report(x, FAULT_CLIENT_GONE);
    x->route_try = present.route_try;
    waking_put_back(x, present.place);
    x->target = present.target;
    x->upstream_model = present.upstream_model;
    x->target_words = present.target_words;
    x->was_sent = was_sent;
    x->was_begun = was_begun;
    *exchange_fault(x) = fault;
    memory_free(aside);
}

/* ------------------------------------------------------------------------------- what it says */

static void on_nothing(struct upstream_call *call)
{
    (void)call;
}

static void on_body(struct upstream_call *call, struct text piece)
{
    (void)call;
    (void)piece;
}

/* The one aside has failed: the present one is alone now. */
static void drop(struct aside *aside, enum fault_kind kind, int64_t again_us)
{
    struct exchange *x = aside->x;
    struct route_outcome outcome = {.now_us = now_of(x), .fault = kind, .retry_after_us = again_us};
    metrics_attempt(x->worker->metrics, aside->target->id, kind);
    if (x->trace)
        tracing_end_try(x, aside->target, kind);
    held_place_give(&aside->place, kind, 0);
    route_end(&aside->route_try, &outcome);
    x->aside = NULL;
    memory_free(aside);
}

static void on_head(struct upstream_call *call, const struct head *head)
{
    struct aside *aside = LIST_MEMBER(call, struct aside, upstream);
    struct exchange *x = aside->x;
    if (head->status / 100 != 2) {
        upstream_abandon(call);
        drop(aside, relay_refusal(head->status), retry_after_us(head, clock_wall_us()));
        return;
    }
    give_up(x, FAULT_TOO_LATE);
    take_back(x, aside);
    waits_again(x);
    x->upstream.on->on_head(&x->upstream, head);
}

static void on_fault(struct upstream_call *call, enum fault_kind kind, const char *why)
{
    struct aside *aside = LIST_MEMBER(call, struct aside, upstream);
    log_line(LOG_WARN, "upstream", "%s: target %.*s: %s", aside->x->id,
             TEXT_ARGS(aside->target->id), why);
    drop(aside, kind, 0);
}

static const struct upstream_handlers handlers = {
    .on_connected = on_nothing,
    .on_sent = on_nothing,
    .on_head = on_head,
    .on_body = on_body,
    .on_batch = on_nothing,
    .on_end = on_nothing,
    .on_fault = on_fault,
    .on_room = on_nothing,
};
