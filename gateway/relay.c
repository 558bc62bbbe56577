/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/answer.h"
#include "gateway/aside.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/choosing.h"
#include "gateway/client.h"
#include "gateway/crossing.h"
#include "gateway/guarding.h"
#include "gateway/objects.h"
#include "gateway/outbound.h"
#include "gateway/realtime.h"
#include "gateway/relay_inner.h"
#include "gateway/replay.h"
#include "gateway/reserve.h"
#include "gateway/upload.h"
#include "gateway/waits.h"
#include "gateway/worker_inside.h"
#include "providers/answer_tap.h"

enum {
    REST_US = 2000000, /* an answer that is whole: so long its end may take to come */
    STALE_RETRIES = 1,
};

/* ------------------------------------------------------------------------------- the body */

static void give_up_whole(struct exchange *x)
{
    if ((relay_is_good(x) && (objects_narrows(x) || guarding_watches(x))) || crossing_is_on(x)) {
        upstream_abandon(&x->upstream);
        relay_fail(x, FAULT_TARGET_INVALID, "The target's answer is too long to be looked at.");
        exchange_run(x);
        return;
    }
    x->relay = RELAY_PIECES;
    relay_feed_tap(x, buffer_text(&x->held));
    relay_give(x, buffer_text(&x->held));
    relay_flush(x, false);
    buffer_done(&x->held);
}

/* It may not go on: what the target has said is passed on, and then why it ends here. */
static void tell_session(struct exchange *x, struct text piece)
{
    struct buffer words;
    buffer_init(&words, RELAY_WHOLE_MAX);
    bool may_say = realtime_cut(x, &piece);
    relay_gather(x, piece);
    if (may_say)
        realtime_say_fault(x, &words);
    relay_gather(x, buffer_text(&words));
    relay_flush(x, false);
    buffer_done(&words);
}

void relay_end_session(struct exchange *x, struct text piece)
{
    upstream_abandon(&x->upstream);
    if (relay_tells_session(x))
        tell_session(x, piece);
    x->facts.upstream = UPSTREAM_FAILED;
    exchange_run(x);
}

static void take_body(struct exchange *x, struct text piece)
{
    switch (x->relay) {
    case RELAY_WHOLE:
        if (x->length_out == (int64_t)piece.len && !buffer_length(&x->held)) {
            x->whole = piece;
            return;
        }
        if (buffer_append_text(&x->held, piece))
            return;
        give_up_whole(x);
        if (x->relay != RELAY_PIECES)
            return; /* it has ended, or another target is asked */
        __attribute__((fallthrough));
    case RELAY_PIECES:
        relay_feed_tap(x, piece);
        relay_give(x, piece);
        return;
    case RELAY_EVENTS:
        if (x->translation)
            relay_take_translated(x, piece);
        else
            relay_take_events(x, piece);
        if (x->guard_blocked || x->facts.upstream == UPSTREAM_FAILED)
            exchange_run(x); /* the call was given up: nobody else will */
        return;
    case RELAY_TUNNEL:
        if (realtime_down(x, &piece)) {
            relay_gather(x, piece);
            return;
        }
        relay_end_session(x, piece);
        return;
    }
}

static void on_body(struct upstream_call *call, struct text piece)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    x->was_begun = x->was_begun || relay_is_good(x);
    take_body(x, piece);
    choosing_body(x);
    if (x->guard_blocked) /* the call was given up: nothing more comes of it */
        exchange_run(x);
}

uint64_t relay_ours(const struct exchange *x, uint64_t now)
{
    /* What has been read now had waited for us since it arrived. */
    uint64_t round = loop_now_us(x->worker->loop), arrived = x->upstream.arrived_us;
    if (arrived && arrived < round)
        round = arrived;
    uint64_t from = x->ours_until_us > round ? x->ours_until_us : round;
    return x->ours_us + (now > from ? now - from : 0);
}

void relay_add_ours(struct exchange *x)
{
    uint64_t now = clock_now_us();
    x->ours_us = relay_ours(x, now);
    x->ours_until_us = now;
}

static void on_batch(struct upstream_call *call)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    if (x->relay == RELAY_WHOLE) {
        if (x->whole.len) { /* the read ended exactly here; keep it for on_end() */
            buffer_append_text(&x->held, x->whole);
            x->whole = (struct text){NULL, 0};
        }
        return;
    }
    if ((x->facts.last_held || x->guard_blocked) && !x->settled) {
        exchange_run(x);
        return;
    }
    if (x->worker->gather.owner == x)
        relay_flush(x, false);
    relay_add_ours(x);
    x->rest_from_us = loop_now_us(x->worker->loop);
    if (relay_rests_by(x) && x->state == EXCHANGE_RELAY)
        waits_set(x);
    if (x->relay == RELAY_EVENTS && x->state == EXCHANGE_RELAY && !reserve_watch(x)) {
        upstream_abandon(call);
        x->facts.upstream = UPSTREAM_FAILED;
        exchange_run(x);
    }
}

/* Is what came the whole of what was asked for? */
static bool is_cut(const struct exchange *x)
{
    enum operation op = x->call.operation;
    return x->relay == RELAY_EVENTS && relay_is_good(x) && !x->unwatched && !x->answer.ended &&
           !x->answer.failed && !x->answer.finish[0] && x->form != FORM_FOREIGN &&
           (op == OPERATION_CHAT || op == OPERATION_COMPLETION || op == OPERATION_RESPONSE);
}

static bool must_be_json(const struct exchange *x)
{
    switch (x->call.operation) {
    case OPERATION_CHAT:
    case OPERATION_COMPLETION:
    case OPERATION_RESPONSE:
    case OPERATION_EMBEDDING:
    case OPERATION_MODERATION:
    case OPERATION_RERANK:
    case OPERATION_COUNT:
        return true;
    case OPERATION_IMAGE:
    case OPERATION_SPEECH:
    case OPERATION_TRANSCRIPTION:
    case OPERATION_FILE:
    case OPERATION_BATCH:
    case OPERATION_REALTIME:
    case OPERATION_OBJECT:
    case OPERATIONS:
        return false;
    }
    return false;
}

static void note_error(struct exchange *x, struct text body)
{
    struct provider_error error = {.kind = FAULT_TARGET_ERROR};
    relay_dialect(x)->read_error(x->status, text_head(body, RELAY_ERROR_BYTES), &error);
    answer_note_retry(x, error.retry_ms);
    fault_set(exchange_fault(x), error.kind, "%s", error.message);
}

static void take_whole(struct exchange *x)
{
    if (buffer_length(&x->held))
        x->whole = buffer_text(&x->held);
    x->length_out = (int64_t)x->whole.len;
}

static void end_whole(struct exchange *x)
{
    take_whole(x);
    if (!relay_is_good(x)) {
        if (relay_is_turned_away(x))
            return;
        if (crossing_is_on(x))
            crossing_say_error(x);
        else
            note_error(x, x->whole);
        x->length_out = (int64_t)x->whole.len;
        return;
    }
    bool guarded = relay_is_guarded(x);
    if (x->translation) {
        relay_translate_whole(x);
        if (x->facts.upstream == UPSTREAM_FAILED)
            return;
    }
    bool json = relay_is_json(x->answer_type) || x->answer_type.len == 0;
    if (!x->translation && (json || must_be_json(x)) && !relay_watch_whole(x, x->whole) &&
        must_be_json(x)) {
        relay_fail(x, FAULT_TARGET_INVALID, "The target's answer is not valid JSON.");
        return;
    }
    if (guarded && !guarding_whole(x)) {
        relay_stop_guarded(x);
        return;
    }
    if (guarded && !x->guard_asked) {
        x->guard_asked = true;
        relay_hold(x); /* what is borrowed may have to wait */
        guarding_ask_answer(x);
    }
    if (guarded && !x->guard_question && !relay_restate_whole(x))
        return;
    if (objects_filter(x))
        x->facts.upstream = UPSTREAM_ANSWERING; /* until the owners are known */
}

static void on_end(struct upstream_call *call)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    x->facts.upstream = UPSTREAM_ANSWERED;
    switch (x->relay) {
    case RELAY_WHOLE:
        end_whole(x);
        break;
    case RELAY_PIECES:
        if (x->tap && !x->settled)
            answer_tap_watch(x->tap, &x->answer);
        break;
    case RELAY_EVENTS:
        if (x->translation) {
            relay_end_translated(x);
            break;
        }
        /* The last event need not be followed by an empty line. */
        if (buffer_length(&x->held) && !relay_is_left_out(x, buffer_text(&x->held)))
            relay_pass_event(x, buffer_text(&x->held), false);
        if (!x->guard_blocked && !x->facts.last_held && relay_is_guarded(x) && !guarding_end(x))
            relay_stop_guarded(x);
        relay_leave_guarded(x);
        if (x->guard_blocked)
            break;
        if (is_cut(x) && !x->settled)
            relay_fail(x, FAULT_TARGET_CUT, "The target's answer ended before it was finished.");
        break;
    case RELAY_TUNNEL:
        break;
    }
    exchange_run(x);
}

/* Can it be that all of the answer has come? Of several choices nobody tells how many are to come.
 */
static bool may_rest(const struct exchange *x)
{
    return x->relay == RELAY_EVENTS && x->state == EXCHANGE_RELAY && relay_is_good(x) &&
           x->facts.upstream == UPSTREAM_ANSWERING && !x->facts.last_held && !x->unwatched &&
           !x->answer.failed && !x->upstream.paused && !x->guard_question && x->call.choices <= 1 &&
           (x->translation || x->answer.ended) && !(buffer_length(&x->held) && !x->translation);
}

uint64_t relay_rests_by(const struct exchange *x)
{
    if (!may_rest(x) || (!x->translation && !x->answer.usage_seen))
        return 0;
    uint64_t from = x->rest_from_us > x->idle_since_us ? x->rest_from_us : x->idle_since_us;
    return from + REST_US;
}

bool relay_rest(struct exchange *x, bool late)
{
    x->rest_from_us = loop_now_us(x->worker->loop);
    if (!may_rest(x))
        return false;
    if (x->translation)
        relay_rest_translated(x, late);
    bool is_whole = x->translation ? x->facts.last_held || x->guard_blocked ||
                                         x->facts.upstream == UPSTREAM_FAILED
                                   : x->answer.usage_seen || late;
    if (!is_whole)
        return false;
    x->ours_until_us = clock_now_us(); /* it was not we who waited */
    upstream_abandon(&x->upstream);
    if (x->guard_blocked || x->facts.upstream == UPSTREAM_FAILED) {
        exchange_run(x);
        return true;
    }
    if (!x->translation && relay_dialect(x)->last_event.len) {
        x->facts.last_held = true;
        relay_pass_event(x, relay_dialect(x)->last_event, true);
    }
    on_end(&x->upstream);
    return true;
}

void relay_guarded(struct exchange *x)
{
    bool changed;
    if (!x->guard_question)
        return;
    if (!guarding_answered(x, &changed)) {
        relay_stop_guarded(x);
        return;
    }
    if (x->relay == RELAY_EVENTS)
        relay_leave_guarded(x);
    else
        relay_restate_whole(x);
}

void relay_lend_id(struct exchange *x)
{
    if (x->answer.object_id ||
        !(x->match.endpoint->creates || x->call.operation == OPERATION_BATCH))
        return;
    x->answer.object_id = arena_new(&x->arena, ANSWER_ID_BYTES);
}

/* ---------------------------------------------------------------------- another's answer */

/* Goes with every kept answer, so that no printf makes it. */
static struct text own_id_line(struct exchange *x)
{
    const struct text name = TEXT("request-id: "), end = TEXT("\r\n");
    size_t length = strlen(x->id);
    char *line = arena_take(&x->arena, name.len + length + end.len);
    memcpy(line, name.at, name.len);
    memcpy(line + name.len, x->id, length);
    memcpy(line + name.len + length, end.at, end.len);
    return (struct text){line, name.len + length + end.len};
}

void relay_replay_head(struct exchange *x, unsigned status, struct text type, bool stream,
                       int64_t length)
{
    x->answered_us = x->idle_since_us = loop_now_us(x->worker->loop);
    x->target_words = x->client_words = NULL; /* what was kept is in the client's own */
    x->status = status;
    x->was_sent = true;
    x->answer_type = type;
    relay_lend_id(x);
    x->answer.operation = x->call.operation;
    x->answer.hide_usage = stream && !x->call.asked_usage;
    x->answer_head = own_id_line(x);
    x->length_out = stream ? -1 : length;
    x->relay = stream ? RELAY_EVENTS : RELAY_WHOLE;
    x->held_limit = stream ? RELAY_EVENT_MAX : RELAY_LIST_MAX;
    buffer_init(&x->held, x->held_limit);
    if (stream && !x->streams) {
        x->streams = true;
        metrics_gauge(x->worker->metrics, GAUGE_STREAMS, 1);
    }
    x->facts.upstream = UPSTREAM_ANSWERING;
}

void relay_replay_piece(struct exchange *x, struct text piece)
{
    take_body(x, piece);
    if (x->facts.last_held)
        relay_hold(x);
    else if (x->worker->gather.owner == x)
        relay_flush(x, false);
}

void relay_replay_end(struct exchange *x, bool is_known)
{
    x->facts.upstream = UPSTREAM_ANSWERED;
    if (x->relay == RELAY_WHOLE && is_known)
        take_whole(x);
    else if (x->relay == RELAY_WHOLE)
        end_whole(x);
    else if (buffer_length(&x->held))
        relay_give(x, buffer_text(&x->held));
}

/* --------------------------------------------------------------------------------- faults */

static const char *words_for(enum fault_kind kind)
{
    if (kind == FAULT_TARGET_INVALID)
        return "The target broke the HTTP protocol.";
    if (kind == FAULT_TARGET_CUT)
        return "The target's answer broke off.";
    if (kind == FAULT_TARGET_BUSY)
        return "Too many calls wait for the target.";
    if (kind == FAULT_OVERLOADED)
        return "No descriptor is left for a connection to the target; try again in a moment.";
    return "The target cannot be reached.";
}

static void on_fault(struct upstream_call *call, enum fault_kind kind, const char *why)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    /* An idle connection that the target closed just now: the call has not been read. What has
     * arrived there may have been read and worked on, and must not be made twice as one. */
    bool unread = !x->sent_us || call->unread;
    bool stale = unread && call->reused && !call->answered && kind == FAULT_TARGET_DOWN &&
                 !x->upload && x->stale_retries < STALE_RETRIES && !x->facts.client_gone;
    if (stale) {
        x->stale_retries++;
        relay_begin(x);
        return;
    }
    log_line(LOG_WARN, "upstream", "%s: target %.*s: %s", x->id, TEXT_ARGS(x->target->id), why);
    if (x->settled) {
        x->facts.upstream = UPSTREAM_ANSWERED; /* all that matters had come */
        x->cut_out = x->cut_out || !x->facts.last_held;
    } else {
        relay_fail(x, kind, words_for(kind));
    }
    exchange_run(x);
}

static void on_connected(struct upstream_call *call)
{
    outbound_send(LIST_MEMBER(call, struct exchange, upstream));
}

static void on_sent(struct upstream_call *call)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    x->sent_us = clock_now_us();
    x->was_sent = true;
    if (x->whole_us && x->sent_us > x->whole_us)
        x->ours_us += x->sent_us - x->whole_us;
    x->ours_until_us = x->sent_us;
    x->whole_us = 0;
    if (aside_due_us(x))
        waits_set(x);
}

static void on_room(struct upstream_call *call)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    if (x->upload)
        upload_pump(x);
    else if (x->client)
        client_resume(x->client);
}

const struct upstream_handlers relay_handlers = {
    .on_connected = on_connected,
    .on_sent = on_sent,
    .on_head = relay_on_head,
    .on_body = on_body,
    .on_batch = on_batch,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_room = on_room,
};

void relay_begin(struct exchange *x)
{
    bool upgrade = x->call.operation == OPERATION_REALTIME;
    x->upstream = (struct upstream_call){
        .on = &relay_handlers, .wants_upgrade = upgrade, .fresh = x->stale_retries > 0};
    x->relay = upgrade ? RELAY_TUNNEL : RELAY_WHOLE;
    relay_choose_key(x);
    x->sent_us = 0; /* this target has not got the body yet: relay_flush() may not let it go */
    size_t i = (size_t)(x->target->provider - x->snapshot->config->providers);
    struct upstream_pool *pool =
        x->target->provider->slots ? waking_pool(x) : x->snapshot->pools[i];
    if (pool)
        upstream_begin(pool, &x->upstream);
    else
        on_fault(&x->upstream, FAULT_TARGET_DOWN, "its provider cannot be reached");
}

/* ----------------------------------------------------------------------------------- ends */

void relay_reset(struct exchange *x)
{
    upstream_abandon(&x->upstream);
    relay_forget(x);
    guarding_forget(x);
    crossing_forget(x);
    buffer_done(&x->held);
    if (x->seeking) {
        buffer_done(&x->seeking->early);
        x->seeking->early_told = false;
    }
    x->bad_events = 0;
    if (x->tap)
        answer_tap_done(x->tap);
    x->tap = NULL;
    x->whole = (struct text){NULL, 0};
    if (x->answer.object_id)
        x->answer.object_id[0] = '\0';
    struct answer blank = {.operation = x->call.operation, .object_id = x->answer.object_id};
    x->answer = blank;
    x->answer_type = x->answer_head = (struct text){"", 0};
    x->status = 0;
    x->their_error = NULL;
    x->stale_retries = 0;
    x->form = FORM_UNKNOWN;
    x->facts.last_held = false;
    x->facts.upstream = UPSTREAM_IDLE;
}
