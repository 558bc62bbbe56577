/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/steps.h"

#include <string.h>

#include "gateway/abandoned.h"
#include "gateway/access.h"
#include "gateway/admission.h"
#include "gateway/answer.h"
#include "gateway/aside.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/batch.h"
#include "gateway/capture.h"
#include "gateway/choosing.h"
#include "gateway/client.h"
#include "gateway/counting.h"
#include "gateway/crossing.h"
#include "gateway/detour.h"
#include "gateway/guarding.h"
#include "gateway/job_desk.h"
#include "gateway/mirror.h"
#include "gateway/miscount.h"
#include "gateway/objects.h"
#include "gateway/own_prompt.h"
#include "gateway/pages.h"
#include "gateway/realtime.h"
#include "gateway/references.h"
#include "gateway/relay.h"
#include "gateway/replay.h"
#include "gateway/reserve.h"
#include "gateway/resume.h"
#include "gateway/semantics.h"
#include "gateway/signature.h"
#include "gateway/tiers.h"
#include "gateway/trace.h"
#include "gateway/tracing.h"
#include "gateway/tries.h"
#include "gateway/upload.h"
#include "gateway/waits.h"
#include "gateway/worker_inside.h"

enum {
    RESTS_FROM = 3, /* times in a row that a target has asked to be left alone: it is believed */
    RESTS_MAX = 3,  /* waits for such a target */
};

/* ---------------------------------------------------------------------- read and admit */

enum exchange_state step_read(struct exchange *x)
{
    if (x->facts.client_gone)
        fault_set(exchange_fault(x), FAULT_CLIENT_GONE,
                  "The client left before its request was complete.");
    if (x->facts.client_gone || x->facts.request_bad)
        return EXCHANGE_REFUSE;
    if (!x->facts.request_whole)
        return EXCHANGE_READ;
    if (!x->facts.page_ready && x->match.endpoint->page == PAGE_NONE)
        return EXCHANGE_ADMIT;
    return pages_answer(x) ? EXCHANGE_SETTLE : EXCHANGE_READ;
}

enum exchange_state step_admit(struct exchange *x)
{
    if (x->facts.client_gone) {
        fault_set(exchange_fault(x), FAULT_CLIENT_GONE, "The client left before it was admitted.");
        return EXCHANGE_REFUSE;
    }
    if (x->signature && !signature_check(x))
        return EXCHANGE_REFUSE;
    if (!x->facts.owner_asked) {
        x->call.user = x->seeking->user_given;
        if (x->match.endpoint->body == BODY_JSON &&
            (!admission_read(x) || !own_prompt_fill(x) || !references_read(x)))
            return EXCHANGE_REFUSE;
        x->facts.owner_asked = true;
        x->facts.owner_known = !objects_ask(x);
    }
    if (!x->facts.owner_known)
        return EXCHANGE_ADMIT;
    bool changed;
    if (!x->facts.guard_looked) {
        if (!objects_allow(x) || !batch_admit(x) || !admission_route(x) || !ruling_apply(x) ||
            !guarding_request(x, &changed))
            return EXCHANGE_REFUSE;
        if (changed && !admission_read(x)) /* where things stand in it is not the same any more */
            return EXCHANGE_REFUSE;
        x->facts.guard_looked = true;
        guarding_ask_request(x);
    }
    if (x->facts.guard_waits)
        return EXCHANGE_ADMIT;
    if (!guarding_answered(x, &changed) || (changed && !admission_read(x)))
        return EXCHANGE_REFUSE;
    metrics_in_flight(x->worker->metrics, x->route ? x->route->name : TEXT("other"), 1);
    x->counted = true;
    return EXCHANGE_RECALL;
}

enum exchange_state step_recall(struct exchange *x)
{
    if (x->facts.client_gone) {
        fault_set(exchange_fault(x), FAULT_CLIENT_GONE, "The client left before it was admitted.");
        return EXCHANGE_REFUSE;
    }
    switch (replay_recall(x)) {
    case RECALL_NOTHING:
        semantics_prepare(x);
        return EXCHANGE_RESERVE;
    case RECALL_READS:
        return EXCHANGE_RESERVE;
    case RECALL_WAITS:
        return EXCHANGE_RECALL;
    case RECALL_REFUSED:
        break;
    }
    return EXCHANGE_REFUSE;
}

enum exchange_state step_reserve(struct exchange *x)
{
    if (x->facts.client_gone) {
        reserve_forget(x);
        fault_set(exchange_fault(x), FAULT_CLIENT_GONE, "The client left before it was admitted.");
        return EXCHANGE_REFUSE;
    }
    enum reserve_result result =
        x->facts.reserve_asked ? (x->facts.reserve_known ? reserve_answered(x) : RESERVE_WAITS)
                               : reserve_begin(x, replay_reads(x));
    if (result == RESERVE_WAITS)
        return EXCHANGE_RESERVE;
    if (result != RESERVE_GRANTED)
        return EXCHANGE_REFUSE;
    reserve_degrade(x);
    if (replay_reads(x))
        return EXCHANGE_REPLAY;
    return semantics_wanted(x) ? EXCHANGE_LIKEN : EXCHANGE_ROUTE;
}

enum exchange_state step_liken(struct exchange *x)
{
    if (x->facts.client_gone) {
        semantics_stop(x);
        fault_set(exchange_fault(x), FAULT_CLIENT_GONE, "The client left before it was routed.");
        return EXCHANGE_REFUSE;
    }
    switch (semantics_ask(x)) {
    case SEMANTICS_WAITS:
        return EXCHANGE_LIKEN;
    case SEMANTICS_FOUND:
        return EXCHANGE_REPLAY;
    case SEMANTICS_NOTHING:
        break;
    }
    return EXCHANGE_ROUTE;
}

/* The exchange that this one had joined failed. Nothing was sent: ask anew, perhaps oneself. */
static enum exchange_state recall_again(struct exchange *x)
{
    reserve_return(x);
    replay_forget(x);
    relay_reset(x);
    x->target = NULL;
    exchange_clear_fault(x);
    return EXCHANGE_RECALL;
}

enum exchange_state step_replay(struct exchange *x)
{
    if (x->facts.client_gone) {
        fault_set(exchange_fault(x), FAULT_CLIENT_GONE, "The client left.");
        metrics_count(x->worker->metrics, COUNTER_CLIENT_LEFT, 1);
        return EXCHANGE_SETTLE;
    }
    replay_read(x);
    switch (x->facts.upstream) {
    case UPSTREAM_ANSWERED:
        return EXCHANGE_SETTLE;
    case UPSTREAM_FAILED:
        break;
    case UPSTREAM_IDLE:
    case UPSTREAM_ASKED:
    case UPSTREAM_ANSWERING:
        return EXCHANGE_REPLAY;
    }
    if (!x->head_sent && !x->facts.last_held)
        return recall_again(x);
    if (x->facts.last_held) /* it broke behind the end of the answer */
        x->facts.upstream = UPSTREAM_ANSWERED;
    else
        relay_break(x);
    return EXCHANGE_SETTLE;
}

/* -------------------------------------------------------------------------------- route */

static enum exchange_state no_target(struct exchange *x)
{
    if (exchange_why(x)->kind == FAULT_NONE && waking_turns(x) > 0)
        *exchange_fault(x) = x->waking->why;
    if (x->attempts > 0)
        return EXCHANGE_REFUSE; /* the last one's fault stands */
    if (exchange_why(x)->kind == FAULT_NONE && x->route && ruling_refuse(x))
        return EXCHANGE_REFUSE;
    /* Else the last one cannot do what is asked; but one that has no room now may. */
    enum fault_kind why = exchange_why(x)->kind;
    if (why == FAULT_NONE || (why == FAULT_UNSUPPORTED && choosing_some_full(x)))
        choosing_say_none(x);
    return EXCHANGE_REFUSE;
}

static const struct target *choose_one(struct exchange *x)
{
    const struct route *route = x->detour ? x->detour : x->route;
    struct route_call call;
    choosing_call(x, route, &call);
    if (x->pinned && x->attempts == 0) {
        route_take(x->pinned, &call, &x->route_try);
        return x->pinned;
    }
    if (!x->route)
        return NULL;
    if (x->again == AGAIN_SAME) {
        x->same_again++;
        route_take(x->target, &call, &x->route_try);
        return x->target;
    }
    static _Thread_local void *mine;
    struct choice *choice = memory_of_thread(&mine, sizeof(*choice));
    const struct target *target =
        route_choose(route, choosing_policy(x), &call, &x->route_try, choice);
    if (ruling_notes(x))
        ruling_note(x, route, choice);
    ruling_record(x, route, choice);
    if (target)
        x->tried |= UINT64_C(1) << (target - route->targets);
    return target;
}

/* It was chosen, and is not asked after all. */
void step_unchoose(struct exchange *x)
{
    struct route_outcome outcome = {.now_us = loop_now_us(x->worker->loop), .not_sent = true};
    waking_give(x, FAULT_CLIENT_GONE);
    route_end(&x->route_try, &outcome);
}

/* The next target that has not been tried and can be asked for this; NULL when there is none. What
 * the last try failed of stands, and is not covered up by what another one cannot do. */
static const struct target *choose(struct exchange *x)
{
    struct fault before = *exchange_why(x);
    while ((x->target = choose_one(x)) != NULL) {
        x->upstream_model =
            text_equal(x->target->model, TEXT("*")) ? x->call.model : x->target->model;
        if (crossing_prepare(x))
            break;
        step_unchoose(x);
        if ((x->pinned && x->attempts == 0) || x->again == AGAIN_SAME)
            return NULL;
    }
    if (before.kind != FAULT_NONE)
        *exchange_fault(x) = before;
    else if (x->target)
        exchange_clear_fault(x);
    return x->target;
}

/* What the last try has brought is booked, where it is paid for, and forgotten. */
static bool leave_try(struct exchange *x)
{
    if (x->tries_left == 0 || x->pinned || (abandoned_is_paid(x) && !abandoned_book(x)))
        return false;
    x->tries_left--;
    if (!x->resume.goes_on)
        replay_restart(x);
    x->was_sent = x->was_begun = false; /* what was, is booked */
    relay_reset(x);
    return true;
}

/* The chosen target has asked to be left alone, again and again, and there is no other: wait for
 * it, where that is not too long, or say so. */
static bool must_rest(struct exchange *x)
{
    const struct target_figures *figures = x->target->figures;
    uint64_t now = loop_now_us(x->worker->loop);
    if (x->again == AGAIN_SAME || x->pinned || !figures || x->rests >= RESTS_MAX ||
        atomic_load_explicit(&figures->health.busy_in_row, memory_order_relaxed) < RESTS_FROM ||
        x->target->provider->retry_attempts == 0 || /* then the client hears it from the target */
        health_look(&figures->health, now) != HEALTH_COOLING)
        return false;
    x->rests++;
    step_unchoose(x);
    const struct route *route = x->detour ? x->detour : x->route;
    x->tried &= ~(UINT64_C(1) << (x->target - route->targets));
    x->again_at_us = health_again_us(&figures->health, now);
    x->retry_after_us = (int64_t)(x->again_at_us - now);
    if (tries_may_wait(x, x->again_at_us)) {
        x->waited_us += x->again_at_us - now;
        return true;
    }
    if (exchange_why(x)->kind == FAULT_NONE)
        fault_set(exchange_fault(x), FAULT_TARGET_BUSY,
                  "The target has asked to be left alone for another %lld s.",
                  (long long)x->retry_after_us / 1000000 + 1);
    return true;
}

/* Of the model, or of what it falls back on: where one of these has nobody for the call (they are
 * too dear, or full), the next. What is begun is gone on with where it is known that it can be. */
static bool choose_anywhere(struct exchange *x)
{
    bool stays = x->aside || x->resume.goes_on;
    if (!stays && detour_is_better(x))
        (void)detour_take(x);
    bool found = choose(x) != NULL;
    while (!found && !stays && detour_take(x))
        found = choose(x) != NULL;
    return found;
}

enum exchange_state step_route(struct exchange *x)
{
    if (x->facts.client_gone) {
        fault_set(exchange_fault(x), FAULT_CLIENT_GONE, "The client left while it was routed.");
        return EXCHANGE_REFUSE;
    }
    if (x->facts.upstream == UPSTREAM_FAILED && !leave_try(x))
        return no_target(x);
    if (tries_wait(x))
        return EXCHANGE_ROUTE;
    if (x->attempts == 0 && x->rests == 0 && waking_turns(x) == 0) {
        tries_begin(x);
        waits_wish(x);
    }
    x->seeking->sign_in_by_us = 0;
    x->keys_tried = 0;
    if (!choose_anywhere(x)) {
        if (aside_return(x))
            return EXCHANGE_SEND;
        x->target = NULL;
        bool counts = x->call.operation == OPERATION_COUNT && x->attempts == 0;
        return counts && counting_answer(x) ? EXCHANGE_SETTLE : no_target(x);
    }
    if (x->aside && must_rest(x))
        return aside_return(x) ? EXCHANGE_SEND : EXCHANGE_REFUSE;
    if (must_rest(x))
        return exchange_why(x)->kind == FAULT_NONE && tries_wait(x) ? EXCHANGE_ROUTE
                                                                    : EXCHANGE_REFUSE;
    x->again = AGAIN_NO;
    x->again_at_us = 0;
    x->retry_after_us = 0;
    x->attempts_before = x->attempts;
    upload_target(x);
    if (x->attempts == 0)
        x->tries_left = x->target->provider->retry_attempts;
    return x->target->provider->slots ? EXCHANGE_WAKE : EXCHANGE_SEND;
}

void step_report(struct exchange *x, enum fault_kind outcome)
{
    if (!x->target || !x->route_try.target)
        return;
    enum fault_kind fault =
        outcome == FAULT_NONE && x->answer.failed ? FAULT_TARGET_ERROR : outcome;
    bool failed = fault != FAULT_NONE && fault != FAULT_CLIENT_GONE && !x->facts.client_gone;
    enum circuit before = failed ? tries_circuit(x) : CIRCUIT_CLOSED;
    choosing_end(x, outcome, x->attempts != x->attempts_before);
    if (failed)
        tries_look_at_circuit(x, fault, before);
    if (x->trace)
        tracing_end_try(x, x->target, outcome);
    if (x->attempts > 0)
        metrics_attempt(x->worker->metrics, x->target->id, outcome);
}

/* -------------------------------------------------------------------------------- send */

static enum exchange_state leave(struct exchange *x)
{
    upstream_abandon(&x->upstream);
    fault_set(exchange_fault(x), FAULT_CLIENT_GONE, "The client left.");
    metrics_count(x->worker->metrics, COUNTER_CLIENT_LEFT, 1);
    return EXCHANGE_REFUSE;
}

static bool write_down(struct exchange *x)
{
    struct ledger_row row;
    admission_row(x, &row);
    if (ledger_open_call(x->worker->journal, &row, &x->mark)) {
        x->opened = true;
        return true;
    }
    return fault_set(exchange_fault(x), FAULT_LEDGER_FULL,
                     "The call cannot be written down: the disk of the ledger is full.");
}

bool step_goes_on(const struct exchange *x)
{
    return replay_goes_on(x) || batch_goes_on(x);
}

static void on_sign_in(struct sign_in_wait *wait)
{
    exchange_run(LIST_MEMBER(wait, struct seeking, sign_in_wait)->exchange);
}

static void count_try(struct exchange *x)
{
    x->attempts++;
    x->asked = x->target;
}

/* Is the credential of the target's provider still to come? When it comes too late, the try has
 * failed. */
static bool waits_for_sign_in(struct exchange *x)
{
    const struct provider_settings *provider = x->target->provider;
    struct sign_in *sign_in = snapshot_sign_in(x->snapshot, provider);
    if (!sign_in || sign_in_token(sign_in).len)
        return false;
    uint64_t now = loop_now_us(x->worker->loop);
    if (!x->seeking->sign_in_by_us)
        x->seeking->sign_in_by_us = now + (uint64_t)provider->connect_us;
    x->seeking->sign_in_wait.on_end = on_sign_in;
    if (now < x->seeking->sign_in_by_us &&
        sign_in_wait(sign_in, &x->seeking->sign_in_wait, x->seeking->sign_in_by_us))
        return true;
    count_try(x);
    fault_set(exchange_fault(x), FAULT_TARGET_DOWN, "The target's provider gave no credential.");
    x->facts.upstream = UPSTREAM_FAILED;
    return false;
}

/* The client has the beginning of an answer that broke off: another target goes on with it, or the
 * client is told. */
static enum exchange_state break_off(struct exchange *x)
{
    if (resume_begin(x)) {
        step_report(x, exchange_why(x)->kind);
        return EXCHANGE_ROUTE;
    }
    relay_break(x);
    return EXCHANGE_SETTLE;
}

/* The target's server has no such call, though others of its type have. */
static enum exchange_state count_here(struct exchange *x)
{
    step_report(x, FAULT_UNSUPPORTED);
    relay_reset(x);
    return counting_answer(x) ? EXCHANGE_SETTLE : EXCHANGE_REFUSE;
}

enum exchange_state step_send(struct exchange *x)
{
    sign_in_leave(&x->seeking->sign_in_wait);
    if (x->facts.client_gone && !step_goes_on(x))
        return leave(x);
    if (x->facts.request_bad) { /* an upload that turned out to be broken on its way */
        upstream_abandon(&x->upstream);
        return EXCHANGE_REFUSE;
    }
    if (!x->opened && !write_down(x))
        return EXCHANGE_REFUSE;
    if (x->facts.upstream == UPSTREAM_IDLE && x->again == AGAIN_OTHER)
        return EXCHANGE_ROUTE; /* a second target is asked beside the one that is late */
    if (x->facts.upstream == UPSTREAM_IDLE) {
        if (!journal_is_safe(x->worker->journal, x->mark)) {
            worker_wait_safe(x->worker, x);
            return EXCHANGE_SEND;
        }
        if (waits_for_sign_in(x))
            return EXCHANGE_SEND;
    }
    if (x->facts.upstream == UPSTREAM_IDLE) {
        mirror_begin(x);
        x->facts.upstream = UPSTREAM_ASKED;
        count_try(x);
        if (x->trace)
            tracing_begin_try(x);
        capture_begin(x);
        waits_begin(x);
        relay_begin(x);
    }
    switch (x->facts.upstream) {
    case UPSTREAM_IDLE:
    case UPSTREAM_ASKED:
        return EXCHANGE_SEND;
    case UPSTREAM_ANSWERING:
    case UPSTREAM_ANSWERED:
        return EXCHANGE_RELAY;
    case UPSTREAM_FAILED:
        break;
    }
    if (aside_return(x))
        return EXCHANGE_SEND;
    if (x->call.operation == OPERATION_COUNT && exchange_why(x)->kind == FAULT_UNSUPPORTED)
        return count_here(x);
    return x->head_sent ? break_off(x) : tries_after_failure(x);
}

enum exchange_state step_relay(struct exchange *x)
{
    if (x->facts.client_gone && !step_goes_on(x)) {
        upstream_abandon(&x->upstream);
        fault_set(exchange_fault(x), FAULT_CLIENT_GONE, "The client left.");
        metrics_count(x->worker->metrics, COUNTER_CLIENT_LEFT, 1);
        return EXCHANGE_SETTLE;
    }
    if (x->facts.guard_waits)
        return EXCHANGE_RELAY;
    relay_guarded(x);
    if (x->facts.request_bad && x->facts.upstream == UPSTREAM_ANSWERING) {
        upstream_abandon(&x->upstream); /* it would wait for the rest of the form */
        x->facts.upstream = UPSTREAM_FAILED;
    }
    switch (x->facts.upstream) {
    case UPSTREAM_ANSWERING:
        waits_set(x);
        return x->facts.last_held ? EXCHANGE_SETTLE : EXCHANGE_RELAY;
    case UPSTREAM_ANSWERED:
        return EXCHANGE_SETTLE;
    case UPSTREAM_IDLE:
    case UPSTREAM_ASKED:
    case UPSTREAM_FAILED:
        break;
    }
    if (!x->head_sent) {
        /* The message had begun: count it as cut, but the client has seen nothing of it. */
        if (exchange_why(x)->kind == FAULT_TARGET_CUT)
            exchange_fault(x)->kind = FAULT_TARGET_INVALID;
        return tries_after_failure(x);
    }
    return break_off(x);
}

static void count_refusal(struct exchange *x)
{
    static const struct {
        enum fault_kind kind;
        enum metric_counter counter;
    } counted[] = {{FAULT_RATE_REQUESTS, COUNTER_LIMITED_REQUESTS},
                   {FAULT_RATE_TOKENS, COUNTER_LIMITED_TOKENS},
                   {FAULT_BUDGET, COUNTER_LIMITED_BUDGET},
                   {FAULT_GUARDED, COUNTER_GUARDED},
                   {FAULT_STORE_AWAY, COUNTER_STORE_AWAY}};
    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++)
        if (counted[i].kind == exchange_why(x)->kind)
            metrics_count(x->worker->metrics, counted[i].counter, 1);
}

enum exchange_state step_refuse(struct exchange *x)
{
    signature_forget(x);
    count_refusal(x);
    semantics_stop(x); /* also when it had not begun: nothing was asked aside */
    timer_stop(&x->timer);
    x->refused = true;
    if (x->client && x->head_sent)
        relay_break(x); /* no other one could go on with what it has */
    else if (x->client)
        relay_refuse(x);
    else
        upstream_abandon(&x->upstream);
    return EXCHANGE_SETTLE;
}

/* ------------------------------------------------------------------------------- settle */

static enum ledger_outcome outcome_of(const struct exchange *x)
{
    bool broke = x->refused || x->facts.upstream == UPSTREAM_FAILED;
    if (broke && !x->guard_blocked && (x->was_begun || abandoned_is_paid(x)))
        return LEDGER_PARTIAL;                    /* also when the client has seen nothing of it */
    if (x->status / 100 > 2 && !x->guard_blocked) /* also when the client did not wait for it */
        return LEDGER_REFUSED;
    bool went_on = x->facts.client_gone && step_goes_on(x) &&
                   x->facts.upstream == UPSTREAM_ANSWERED && !x->refused;
    if (went_on)
        return x->answer.failed ? LEDGER_PARTIAL : LEDGER_COMPLETE;
    if (x->facts.client_gone || x->facts.upstream == UPSTREAM_FAILED)
        return x->was_sent ? LEDGER_PARTIAL : LEDGER_REFUSED;
    if (x->refused) /* an answer that a guardrail stopped was made and is paid for */
        return x->guard_blocked ? LEDGER_COMPLETE : LEDGER_REFUSED;
    return x->answer.failed ? LEDGER_PARTIAL : LEDGER_COMPLETE;
}

void step_count(struct exchange *x, struct ledger_row *row)
{
    row->usage = (struct usage){0};
    row->cost_nanos = 0;
    row->counted = COUNTED_NONE;
    /* What goes on in the background is never seen to end. */
    if (x->background && row->outcome != LEDGER_REFUSED && !x->answer.usage_seen) {
        reserve_row(x, row);
        return;
    }
    if (x->free_of_charge) /* it was counted where it was made */
        return;
    if (row->outcome == LEDGER_REFUSED || !operation_has_tokens(x->call.operation))
        return;
    if (x->answer.usage_seen) {
        row->usage = x->answer.usage;
        bool mended = miscount_mend(x, row->outcome != LEDGER_COMPLETE, &row->usage);
        row->counted = mended ? COUNTED_ESTIMATE : COUNTED_PROVIDER;
    } else {
        row->usage = x->answer.usage; /* what it did say, if only of the input */
        if (x->seeking && x->seeking->may_search && buffer_length(&x->body))
            reserve_estimate(x); /* what it may have searched */
        reserve_expect(x, row->outcome != LEDGER_COMPLETE, &row->usage);
        row->counted = COUNTED_ESTIMATE;
    }
    if (row->usage.units == 0)
        row->usage.units = reserve_units(x);
    if (x->call.operation == OPERATION_SPEECH && row->usage.audio_output_tokens == 0)
        row->usage.audio_output_tokens = row->usage.output_tokens; /* it is nothing else */
    tiers_note(x, &row->usage);
    tiers_warn_searches(x, &row->usage);
    if (x->target)
        row->cost_nanos = price_cost(&x->target->price, &row->usage);
}

static void fill_row(struct exchange *x, struct ledger_row *row)
{
    uint64_t now = clock_now_us();
    bool was_opened = x->opened;
    x->opened = true; /* no reservation in this one */
    admission_row(x, row);
    x->opened = was_opened;
    row->outcome = outcome_of(x);
    row->status = x->facts.client_gone ? 499 : (int)x->status;
    row->finish = text_of(x->answer.finish);
    if (exchange_why(x)->kind != FAULT_NONE)
        row->fault = text_of(fault_rule(exchange_why(x)->kind)->name);
    row->saved_nanos = x->saved_nanos;
    step_count(x, row);
    if (x->first_us)
        row->ttft_us = (int64_t)(x->first_us - x->begun_us);
    else if (row->outcome == LEDGER_COMPLETE)
        row->ttft_us = (int64_t)(now - x->begun_us);
    row->duration_us = (int64_t)(now - x->begun_us);
    row->overhead_us = (int64_t)(relay_ours(x, now) + x->worker->write_cost_us);
    if (row->overhead_us > row->duration_us)
        row->overhead_us = row->duration_us;
}

/* What monitoring asks every few seconds is not worth a line. */
static bool is_probe(const struct exchange *x)
{
    return x->match.endpoint &&
           (x->match.endpoint->page == PAGE_HEALTH || x->match.endpoint->page == PAGE_METRICS ||
            x->match.endpoint->page == PAGE_ALIVE);
}

static void log_access(struct exchange *x, const struct ledger_row *row)
{
    const struct config *config = x->snapshot->config;
    if (!config->telemetry.access_enabled || is_probe(x))
        return;
    bool went_well = row->outcome == LEDGER_COMPLETE && row->status < 400;
    if (went_well && config->telemetry.access_sample < 1.0 &&
        (double)(worker_random(x->worker) >> 11) / 9007199254740992.0 >=
            config->telemetry.access_sample)
        return;
    char trace_id[2 * TRACE_ID_BYTES + 1] = "";
    if (x->trace)
        trace_write_id(x->trace, trace_id);
    struct access_extra extra = {
        .trace_id = x->trace                   ? text_of(trace_id)
                    : x->traceparent.len >= 35 ? text_head(text_from(x->traceparent, 3), 32)
                                               : (struct text){"", 0},
        .peer = x->peer.len || !x->client ? x->peer : text_of(x->client->peer),
        .listener = x->listener_name,
        .method = x->method,
        .path = x->path,
        .route = x->route ? x->route->name : (struct text){"", 0},
        .rule = x->ruling.rule ? x->ruling.rule->name : (struct text){"", 0},
        .decision = config->telemetry.decisions ? x->ruling.first_decision : (struct text){"", 0},
        .fields = config->telemetry.access_fields,
        .field_count = config->telemetry.access_field_count,
        .bytes_in = (uint64_t)x->body_bytes,
        .bytes_out = x->bytes_out + (x->relay == RELAY_WHOLE ? x->whole.len : 0),
    };
    access_log(row, &extra);
}

static void settle(struct exchange *x)
{
    struct ledger_row row;
    aside_cancel(x);
    fill_row(x, &row);
    bool broke = x->facts.upstream == UPSTREAM_FAILED && exchange_why(x)->kind != FAULT_NONE;
    bool good = x->facts.client_gone || (x->status / 100 == 2 && !broke);
    step_report(x, good ? FAULT_NONE : exchange_why(x)->kind);
    bool is_call = x->key && x->match.endpoint && x->match.endpoint->page == PAGE_NONE;
    objects_note(x); /* in front of the line whose mark is waited for */
    bool is_settled = batch_settle(x, &row);
    if (!is_settled && (x->opened || is_call))
        ledger_settle_call(x->worker->journal, &row, &x->mark);
    x->settled = true;
    reserve_settle(x, &row);
    batch_done(x);
    job_desk_note(x, &row);
    replay_booked(x, &row);
    log_access(x, &row);
    if (x->trace)
        tracing_settle(x, &row);
    if (x->capture)
        capture_settle(x, &row);
    ruling_keep(x, &row);
    struct text route = x->route ? x->route->name : (struct text){"", 0};
    if (is_call)
        metrics_call(x->worker->metrics, &row, route);
    metrics_http(x->worker->metrics, x->listener_name, x->method, row.status);
    if (x->counted)
        metrics_in_flight(x->worker->metrics, x->route ? x->route->name : TEXT("other"), -1);
}

enum exchange_state step_settle(struct exchange *x)
{
    if (!x->settled) {
        timer_stop(&x->timer);
        realtime_end(x);
        settle(x);
    }
    if (x->facts.client_gone || !x->client) {
        upstream_abandon(&x->upstream);
        if (replay_goes_on(x) && !x->refused) /* there may be no answer: not even a target */
            relay_end(x);
        return EXCHANGE_DONE;
    }
    if (!x->ended_out && (!journal_is_safe(x->worker->journal, x->mark) || !objects_are_told(x))) {
        relay_hold(x);
        worker_wait_safe(x->worker, x);
        return EXCHANGE_SETTLE;
    }
    relay_end(x);
    return x->facts.upstream == UPSTREAM_ANSWERING ? EXCHANGE_SETTLE : EXCHANGE_DONE;
}
