/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/waking.h"

#include "deploy/models/standing.h"
#include "gateway/aside.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/conversation.h"
#include "gateway/crossing.h"
#include "gateway/detour.h"
#include "gateway/reserve.h"
#include "gateway/steps.h"
#include "gateway/waits.h"
#include "gateway/worker_inside.h"

enum { SERVED_NAME_MAX = 256, MICROS = 1000000, ETA_UNKNOWN_US = 5000000 };

static uint64_t now_of(const struct exchange *x)
{
    return loop_now_us(x->worker->loop);
}

static const struct deployment_spec *spec_of(const struct exchange *x)
{
    return x->target->provider->spec;
}

static struct waking *begun(struct exchange *x)
{
    if (!x->waking) {
        x->waking = arena_new(&x->arena, sizeof(*x->waking));
        x->waking->exchange = x;
    }
    return x->waking;
}

void waking_pin(struct exchange *x, unsigned revision)
{
    if (x->waking || revision)
        begun(x)->revision = revision;
}

unsigned waking_turns(const struct exchange *x)
{
    return x->waking ? x->waking->turns : 0;
}

unsigned waking_lora(const struct exchange *x)
{
    return x->waking ? x->waking->lora : 0;
}

struct text waking_loading(const struct exchange *x)
{
    return x->waking ? x->waking->loading : (struct text){"", 0};
}

/* ------------------------------------------------------------------------- what is held */

static enum slot_outcome outcome_of(enum fault_kind kind)
{
    if (kind == FAULT_NONE)
        return SLOT_FINE;
    return fault_rule(kind)->blame_target ? SLOT_FAILED : SLOT_UNKNOWN;
}

void held_place_give(struct held_place *place, enum fault_kind outcome, int64_t ttft_us)
{
    if (!place->slot.generation)
        return;
    if (outcome == FAULT_TARGET_DOWN)
        slots_doubt(place->slots, &place->slot);
    slots_give(place->slots, &place->slot, outcome_of(outcome), ttft_us);
    *place = (struct held_place){0};
}

struct held_place waking_take_out(struct exchange *x)
{
    if (!x->waking)
        return (struct held_place){0};
    struct held_place place = {x->waking->slots, x->waking->slot};
    x->waking->slot = (struct slot){0};
    return place;
}

void waking_put_back(struct exchange *x, struct held_place place)
{
    if (!x->waking)
        return; /* neither has held one */
    x->waking->slots = place.slots;
    x->waking->slot = place.slot;
}

static int64_t ttft_of(const struct exchange *x)
{
    return x->sent_us && x->answered_us > x->sent_us ? (int64_t)(x->answered_us - x->sent_us) : 0;
}

void waking_give(struct exchange *x, enum fault_kind outcome)
{
    struct held_place place = waking_take_out(x);
    if (!place.slot.generation)
        return;
    x->waking->not_this = outcome_of(outcome) == SLOT_FAILED ? place.slot.replica : 0;
    held_place_give(&place, outcome, ttft_of(x));
}

bool waking_has_other(const struct exchange *x)
{
    struct slots *slots = x->target ? x->target->provider->slots : NULL;
    return slots && slots_figures(slots).ready > 1;
}

/* Wait no longer. A place that was granted meanwhile is given back. */
static void leave(struct exchange *x)
{
    struct waking *waking = x->waking;
    if (!waking)
        return;
    if (waking->waits)
        slots_leave(waking->slots, &waking->ticket);
    waking->waits = waking->answered = false;
}

void waking_forget(struct exchange *x)
{
    leave(x);
    waking_give(x, FAULT_CLIENT_GONE);
}

struct upstream_pool *waking_pool(struct exchange *x)
{
    return x->waking && x->waking->slot.generation
               ? replicas_pool(&x->worker->replicas, x->waking->slots, &x->waking->slot,
                               x->target->provider)
               : NULL;
}

/* --------------------------------------------------------------------------- why not */

/* What it says of itself, for a client that comes again. */
static void write_loading(struct exchange *x, const struct standing_view *view)
{
    struct slots_figures now = slots_figures(x->target->provider->slots);
    struct buffer out;
    buffer_init(&out, 1024);
    buffer_format(&out, "{\"state\":\"%s\"",
                  view->known ? deployment_state_name(view->state) : "starting");
    if (view->progress_permille >= 0)
        buffer_format(&out, ",\"progress\":%d.%03d", view->progress_permille / 1000,
                      view->progress_permille % 1000);
    if (view->eta_us >= 0)
        buffer_format(&out, ",\"eta_seconds\":%lld",
                      (long long)((view->eta_us + MICROS - 1) / MICROS));
    buffer_format(&out, ",\"position\":%u,\"queued\":%u}", now.held + 1, now.held);
    x->waking->loading = arena_copy(&x->arena, buffer_text(&out));
    x->waking->retry_after_us = view->eta_us >= 0 ? view->eta_us : ETA_UNKNOWN_US;
    buffer_done(&out);
}

/* Why those who wait are told that it is no use, for people. */
static void say_reason(const char *reason, char *into, size_t size)
{
    static const struct {
        const char *reason, *words;
    } known[] = {{"removed", "is gone"},
                 {"stopped", "is stopped"},
                 {"adapter_failed", "could not load the adapter"},
                 {"queue_full", "has as many calls waiting as it may"}};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (strcmp(known[i].reason, reason) == 0) {
            snprintf(into, size, "%s", known[i].words);
            return;
        }
    snprintf(into, size, "could not be started: %s", reason);
}

/* In <why>, for when nobody else answers either. */
static void say_why(struct exchange *x, const char *what)
{
    struct standing_view view = standing_look(x->target->provider->standing);
    struct text name = spec_of(x)->name;
    bool off = view.known && (view.state == DEPLOYMENT_STOPPED || view.state == DEPLOYMENT_FAILED);
    if (off)
        fault_set(&x->waking->why, FAULT_NO_TARGET, "The deployment '%.*s' %s%s%s.",
                  TEXT_ARGS(name),
                  view.state == DEPLOYMENT_STOPPED ? "is stopped" : "could not be started",
                  view.reason[0] ? ": " : "", view.reason);
    else
        fault_set(&x->waking->why, FAULT_OVERLOADED, "The deployment '%.*s' %s.", TEXT_ARGS(name),
                  what);
    write_loading(x, &view);
}

/* Another target is there that may be tried in its place. */
static bool may_turn(const struct exchange *x)
{
    return !x->pinned && (step_has_another(x) || detour_is_there(x));
}

/* It has no place for this call: another target, or an end. */
static enum exchange_state turn_away(struct exchange *x, const char *what)
{
    timer_stop(&x->timer);
    leave(x);
    say_why(x, what);
    if (x->aside)
        return aside_return(x) ? EXCHANGE_SEND : EXCHANGE_REFUSE;
    if (may_turn(x)) {
        x->waking->turns++;
        step_unchoose(x);
        return EXCHANGE_ROUTE;
    }
    *exchange_fault(x) = x->waking->why;
    return EXCHANGE_REFUSE;
}

/* ------------------------------------------------------------------------------- waiting */

static void on_grant(struct ticket *ticket)
{
    struct waking *waking = LIST_MEMBER(ticket, struct waking, ticket);
    struct exchange *x = waking->exchange;
    waking->answered = true;
    exchange_run(x);
}

static uint64_t share_of(struct exchange *x)
{
    return x->affinity ? strategy_mix(x->affinity) : worker_random(x->worker);
}

/* Who goes on with a conversation goes where its beginning is known. */
static uint64_t affinity_of(struct exchange *x)
{
    if (slots_figures(x->target->provider->slots).ready < 2 || !x->key)
        return 0;
    uint64_t hash = x->affinity ? x->affinity : conversation_of(buffer_text(&x->body));
    return hash ? strategy_mix(hash ^ affinity_hash(tenant_scope(x->key->tenant), 1)) | 1 : 0;
}

static struct slots_wish wish_of(struct exchange *x)
{
    struct text adapter = x->target->adapter;
    return (struct slots_wish){
        .revision = x->waking->revision,
        .share_hash = share_of(x),
        .affinity = affinity_of(x),
        .adapter = adapter.len ? hash_name(adapter) : 0,
        .not_this = x->waking->not_this,
    };
}

/* Until its own time is over, or that of the client's wish. */
static void set_end(struct exchange *x)
{
    uint64_t now = now_of(x);
    x->waking->since_us = now;
    x->waking->until_us = now + (uint64_t)spec_of(x)->hold.timeout_us;
    if (x->wished_by_us && x->wished_by_us < x->waking->until_us)
        x->waking->until_us = x->wished_by_us;
}

/* What the replica calls the model, or the adapter: known only now, since it may have just learnt
 * to. False: it has not got it any more. */
static bool name_model(struct exchange *x)
{
    struct deployments *desk = standing_fleet();
    const struct deployment_spec *spec = spec_of(x);
    struct text before = x->upstream_model, now = before;
    struct adapter_wire wire;
    char name[SERVED_NAME_MAX + 1];
    x->waking->lora = 0;
    if (x->target->adapter.len) {
        if (!desk ||
            !deployments_adapter(desk, spec->name, &x->waking->slot, x->target->adapter, &wire))
            return false;
        if (wire.kind == ADAPTER_AS_NUMBER)
            x->waking->lora = wire.number + 1;
        else
            now = text_of(wire.name);
    }
    if (desk && (!x->target->adapter.len || x->waking->lora) &&
        deployments_served_name(desk, spec->name, &x->waking->slot, name, sizeof(name)) > 0)
        now = text_of(name);
    else if (x->waking->lora)
        now = spec->served_name;
    if (!now.len || text_equal(now, before))
        return true;
    x->upstream_model = arena_copy(&x->arena, now);
    return !crossing_is_on(x) || crossing_prepare(x); /* its name stands in what was translated */
}

static enum exchange_state dispatch(struct exchange *x)
{
    struct waking *waking = x->waking;
    uint64_t waited = waking->since_us ? now_of(x) - waking->since_us : 0;
    timer_stop(&x->timer);
    if (x->whole_us) /* nor is it ours */
        x->whole_us += waited;
    if (x->total_by_us) /* of an earlier try: the time in the queue is not the target's */
        x->total_by_us += waited;
    if (waited)
        standing_note(x->target->provider->standing, STANDING_HELD, (int64_t)waited);
    x->route_try.call.begun_us += waited; /* it teaches nothing of how fast the target is */
    x->route_try.call.due_ms += waited / 1000;
    waking->since_us = 0;
    waking->loading = (struct text){"", 0};
    if (name_model(x))
        return EXCHANGE_SEND;
    waking_give(x, FAULT_CLIENT_GONE);
    return turn_away(x, "has the adapter no more");
}

static enum exchange_state begin(struct exchange *x)
{
    const struct deployment_spec *spec = spec_of(x);
    struct waking *waking = x->waking;
    struct slots *slots = waking->slots = x->target->provider->slots;
    struct slots_wish wish = wish_of(x);
    bool falls_back = spec->hold.policy == HOLD_FALLBACK && may_turn(x);
    if (x->aside || spec->hold.policy == HOLD_REJECT || falls_back) {
        if (slots_take(slots, &wish, &waking->slot))
            return dispatch(x);
        if (!x->aside)
            standing_knock(x->target->provider->standing);
        return turn_away(x, "has no free place");
    }
    waking->ticket = (struct ticket){.wish = wish,
                                     .key = x->key ? reserve_key_hash(x->key) : 0,
                                     .bytes = (int64_t)buffer_length(&x->body),
                                     .loop = x->worker->loop,
                                     .on_grant = on_grant};
    set_end(x);
    switch (slots_wait(slots, &waking->ticket, spec->hold.max_requests, spec->hold.max_bytes,
                       now_of(x))) {
    case TICKET_TAKEN:
        waking->slot = waking->ticket.slot;
        return dispatch(x);
    case TICKET_FULL:
        return turn_away(x, "has as many calls waiting as it may");
    case TICKET_WAITS:
        break;
    }
    waking->waits = true;
    waking->answered = false;
    waits_until(x, waking->until_us);
    return EXCHANGE_WAKE;
}

/* The ticket was told something, or its time is over. */
static enum exchange_state go_on(struct exchange *x)
{
    struct waking *waking = x->waking;
    if (waking->answered && waking->ticket.slot.generation) {
        waking->slot = waking->ticket.slot;
        waking->ticket.slot = (struct slot){0};
        waking->waits = false;
        return dispatch(x);
    }
    if (waking->answered) {
        char words[sizeof(waking->ticket.why) + 32];
        say_reason(waking->ticket.why_not ? waking->ticket.why_not : "removed", words,
                   sizeof(words));
        return turn_away(x, words);
    }
    if (now_of(x) >= waking->until_us)
        return turn_away(x, "was not ready in time");
    return EXCHANGE_WAKE;
}

enum exchange_state step_wake(struct exchange *x)
{
    if (x->facts.client_gone && !step_goes_on(x)) {
        timer_stop(&x->timer);
        leave(x);
        fault_set(exchange_fault(x), FAULT_CLIENT_GONE, "The client left.");
        metrics_count(x->worker->metrics, COUNTER_CLIENT_LEFT, 1);
        return EXCHANGE_REFUSE;
    }
    struct waking *waking = begun(x);
    if (waking->slot.generation)
        return dispatch(x);
    return waking->waits ? go_on(x) : begin(x);
}
