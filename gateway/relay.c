/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/relay.h"

#include <assert.h>
#include <stdio.h>

#include "gateway/answer.h"
#include "gateway/aside.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/choosing.h"
#include "gateway/client.h"
#include "gateway/crossing.h"
#include "gateway/guarding.h"
#include "gateway/http/sse.h"
#include "gateway/objects.h"
#include "gateway/outbound.h"
#include "gateway/realtime.h"
#include "gateway/replay.h"
#include "gateway/reserve.h"
#include "gateway/resume.h"
#include "gateway/retry_after.h"
#include "gateway/steps.h"
#include "gateway/tries.h"
#include "gateway/upload.h"
#include "gateway/waits.h"
#include "gateway/worker_inside.h"
#include "providers/refusal.h"

enum {
    WHOLE_MAX = 256 * 1024,             /* an answer up to here is gathered and checked */
    LIST_MAX = 8 * 1024 * 1024,         /* a list of objects, which is filtered */
    EVENT_MAX = 1024 * 1024,            /* an event up to here is held until it is whole */
    EVENT_IMAGE_MAX = 32 * 1024 * 1024, /* events of images have the image in them */
    END_WAIT_US = 1000000, /* after the last event: so long the framing may take to end */
    STALE_RETRIES = 1,
    STALE_US = 1000000, /* from sending to the news that nobody was there */
    ERROR_BYTES = 2048,
    TRANSLATED_MAX = 64 * 1024 * 1024, /* an answer that is translated as a whole */
    TYPE_MAX = 1024,                   /* of a Content-Type */
    EARLY_MAX = 16 * 1024,             /* of a stream's beginning that says nothing yet */
    BAD_EVENTS_MAX = 16,               /* that are left out; more, and the stream is broken */
};

static void fail(struct exchange *x, enum fault_kind kind, const char *words)
{
    fault_set(&x->fault, kind, "%s", words);
    x->facts.upstream = UPSTREAM_FAILED;
}

/* ------------------------------------------------------------------------- to the client */

static size_t client_limit(const struct exchange *x)
{
    return x->snapshot->config->limits.client_buffer_bytes;
}

/* The beginning of a stream that says nothing yet is kept while another target could be asked
 * instead: nothing of it may have gone then. */
bool relay_keeps_early(const struct exchange *x)
{
    return !x->head_sent && x->relay == RELAY_EVENTS && x->status == 200 &&
           x->facts.upstream == UPSTREAM_ANSWERING && x->answer.events == 0 && !x->answer.ended &&
           !x->answer.failed && !x->facts.last_held && !x->unwatched &&
           buffer_length(&x->early) < EARLY_MAX && !replay_reads(x) && tries_may_turn(x);
}

/* It is this target's answer now. */
static void tell_early(struct exchange *x)
{
    if (x->early_told || !buffer_length(&x->early))
        return;
    x->early_told = true;
    replay_write(x, buffer_text(&x->early));
}

/* Send the head (when it has not gone yet), what is gathered, and the end of the framing. */
static void flush(struct exchange *x, bool end)
{
    struct worker *worker = x->worker;
    struct gather *gather = &worker->gather;
    __attribute__((uninitialized)) struct iovec pieces[GATHER_PIECES + 5];
    char chunk[BODY_CHUNK_HEAD_BYTES];
    int count = 0;
    bool mine = gather->owner == x;
    struct text early = buffer_text(&x->early);
    size_t bytes = (mine ? gather->bytes : 0) + early.len;
    if (!end && (x->again != AGAIN_NO || (!mine && relay_keeps_early(x))))
        return;
    tell_early(x);
    if (!x->head_sent) {
        x->answered_us = loop_now_us(worker->loop);
        answer_head(x, &worker->head_out, x->length_out);
        pieces[count++] = (struct iovec){worker->head_out.data + worker->head_out.begin,
                                         buffer_length(&worker->head_out)};
        x->head_sent = true;
        x->first_us = clock_now_us();
        if (x->sent_us && x->resume.state != RESUME_WATCHES) { /* no other target will be asked */
            buffer_done(&x->body);
            buffer_done(&x->translated_body);
        }
    }
    if (bytes && x->chunked_out)
        pieces[count++] = (struct iovec){chunk, body_chunk_head(bytes, chunk)};
    if (early.len)
        pieces[count++] = (struct iovec){(void *)(uintptr_t)early.at, early.len};
    for (int i = 0; mine && i < gather->count; i++)
        pieces[count++] = gather->pieces[i];
    if (x->chunked_out && end && !x->cut_out)
        pieces[count++] = bytes ? (struct iovec){(char *)(uintptr_t) "\r\n0\r\n\r\n", 7}
                                : (struct iovec){(char *)(uintptr_t) "0\r\n\r\n", 5};
    else if (x->chunked_out && bytes)
        pieces[count++] = (struct iovec){(char *)(uintptr_t) "\r\n", 2};
    gather->owner = NULL;
    gather->count = 0;
    gather->bytes = 0;
    x->ended_out = x->ended_out || end;
    if (count && x->client && client_send(x->client, pieces, count) &&
        client_queued(x->client) > client_limit(x) && !replay_reads(x))
        upstream_pause(&x->upstream);
    buffer_done(&x->early);
}

bool relay_is_full(const struct exchange *x)
{
    return x->client && client_queued(x->client) > client_limit(x);
}

static void gather_add(struct exchange *x, struct text piece)
{
    struct gather *gather = &x->worker->gather;
    if (piece.len == 0)
        return;
    if (gather->owner == x && gather->count == GATHER_PIECES)
        flush(x, false);
    assert(gather->owner == NULL || gather->owner == x);
    gather->owner = x;
    struct iovec *last = gather->count ? &gather->pieces[gather->count - 1] : NULL;
    if (last && (const char *)last->iov_base + last->iov_len == piece.at)
        last->iov_len += piece.len;
    else
        gather->pieces[gather->count++] = (struct iovec){(void *)(uintptr_t)piece.at, piece.len};
    gather->bytes += piece.len;
    x->bytes_out += piece.len;
    x->idle_since_us = loop_now_us(x->worker->loop);
}

/* The same for bytes that are part of the answer, to whoever else listens to it. */
static void give(struct exchange *x, struct text piece)
{
    if (piece.len == 0)
        return;
    if (relay_keeps_early(x)) {
        if (!x->early.limit)
            buffer_init(&x->early, SIZE_MAX / 2); /* EARLY_MAX, and an event more */
        buffer_append_text(&x->early, piece);
        x->bytes_out += piece.len;
        return;
    }
    tell_early(x);
    replay_write(x, piece);
    gather_add(x, piece);
}

static void forget_gathered(struct exchange *x)
{
    struct gather *gather = &x->worker->gather;
    if (gather->owner != x)
        return;
    gather->owner = NULL;
    gather->count = 0;
    gather->bytes = 0;
}

void relay_room(struct exchange *x)
{
    if (!x->client || client_queued(x->client) > client_limit(x) / 2)
        return;
    if (x->state == EXCHANGE_REPLAY)
        exchange_run(x);
    if (!x->upstream.paused)
        return;
    upstream_resume(&x->upstream);
    waits_resume(x);
}

/* -------------------------------------------------------------------------------- watching */

/* Whose words the answer is in: the target's, which are the client's unless the call crosses; what
 * was kept was written for such a client. */
static const struct dialect *dialect_of(const struct exchange *x)
{
    return replay_reads(x) || crossing_is_on(x) ? x->dialect : x->target->provider->dialect;
}

static bool is_good(const struct exchange *x)
{
    return x->status / 100 == 2;
}

/* Read the members that matter. False when it is not JSON at all. */
static bool watch_whole(struct exchange *x, struct text body)
{
    const struct dialect *dialect = dialect_of(x);
    struct scan_value values[DIALECT_WANTS];
    struct scan_problem problem;
    bool read = scan_json(body, dialect->wants, dialect->want_count, values, &problem);
    if (read)
        dialect->watch_body(&x->answer, values);
    enum operation op = x->call.operation;
    bool writes = op == OPERATION_CHAT || op == OPERATION_COMPLETION || op == OPERATION_RESPONSE;
    if (writes && x->answer.content_bytes == 0)
        x->answer.content_bytes = (int64_t)body.len; /* for an estimate: never too little */
    /* An array, or a member that stands twice, cannot be read and is passed on all the same. */
    return read || scan_is_valid(body);
}

static void watch_tap(struct exchange *x)
{
    const struct dialect *dialect = dialect_of(x);
    struct scan_value values[DIALECT_WANTS];
    for (size_t i = 0; i < dialect->want_count; i++)
        values[i] = tap_value(&x->tap, i);
    dialect->watch_body(&x->answer, values);
}

static void feed_tap(struct exchange *x, struct text piece)
{
    if (x->unwatched || !is_good(x))
        return;
    if (!x->tap_used) {
        tap_init(&x->tap, dialect_of(x)->wants, dialect_of(x)->want_count);
        x->tap_used = true;
    }
    tap_feed(&x->tap, piece);
}

/* Only of events in the dialect's own form is it known when they are complete. */
static void look_at_form(struct exchange *x, struct text data)
{
    if (text_find(data, TEXT("\"choices\"")) != SIZE_MAX ||
        text_find(data, TEXT("\"type\"")) != SIZE_MAX ||
        text_find(data, TEXT("\"candidates\"")) != SIZE_MAX)
        x->form = FORM_OURS;
    else if (text_starts(data, TEXT("{")))
        x->form = FORM_FOREIGN;
}

/* What was kept was looked at when it was made. */
static bool is_guarded(struct exchange *x)
{
    return is_good(x) && !replay_reads(x) && guarding_watches(x);
}

/* Bounded by what brings the bytes: one read, one event, or one gathered answer. */
static void ready_init(struct exchange *x)
{
    if (!x->ready.limit)
        buffer_init(&x->ready, SIZE_MAX / 2);
}

static void stop_guarded(struct exchange *x)
{
    upstream_abandon(&x->upstream);
    x->guard_blocked = true;
    x->facts.last_held = false;
    x->facts.upstream = UPSTREAM_FAILED;
}

static void pass_event(struct exchange *x, struct text event, bool last)
{
    if (!is_guarded(x))
        give(x, event);
    else if (!guarding_event(x, event, last))
        stop_guarded(x);
}

/* The same, in the client's dialect, of a stream that may be continued elsewhere or is. */
static void pass_noted(struct exchange *x, const struct sse_event *event, bool last)
{
    if (resume_drops(x, event))
        return;
    resume_note(x, event);
    pass_event(x, event->raw, last);
}

/* What the guardrails have let pass stands in a buffer that the next event moves: it goes now, or
 * is kept when it is the end. */
static void leave_guarded(struct exchange *x)
{
    if (!x->guard_stream || x->guard_question || !buffer_length(&x->guarded))
        return; /* nothing there, or a webhook is still asked about it */
    bool over = x->facts.last_held || x->facts.upstream == UPSTREAM_ANSWERED;
    if (over && !x->guard_asked &&
        guard_stream_gathers(x->guard_stream)) { /* of gathered events nothing has left so far */
        x->guard_asked = true;
        guarding_ask_answer(x);
        if (x->guard_question)
            return;
    }
    give(x, buffer_text(&x->guarded));
    if (x->facts.last_held)
        relay_hold(x);
    else
        flush(x, false);
    buffer_clear(&x->guarded);
}

/* Where no event says that it is the last one, the one that makes the answer whole and all behind
 * it are kept until the stream is over and the call is booked. */
static bool holds_end(struct exchange *x)
{
    return dialect_of(x)->ends_with_stream && x->answer.ended && !is_guarded(x) &&
           buffer_length(&x->ready) < EVENT_MAX;
}

static void hold_event(struct exchange *x, struct text event)
{
    if (x->worker->gather.owner == x)
        flush(x, false); /* what came before it */
    tell_early(x);
    replay_write(x, event);
    ready_init(x);
    buffer_append_text(&x->ready, event);
    x->bytes_out += event.len;
}

/* How much of <bytes> is whole events, and the next of them, in the framing of the dialect. */
static size_t whole_events(const struct exchange *x, struct text bytes, size_t seen)
{
    const struct dialect *dialect = dialect_of(x);
    return dialect->whole_events ? dialect->whole_events(bytes) : sse_whole_after(bytes, seen);
}

static bool next_event(const struct dialect *dialect, struct text *bytes, struct sse_event *event)
{
    return dialect->next_event ? dialect->next_event(bytes, event) : sse_next(bytes, event);
}

/* An event that is no JSON would break the client; what is behind it may be well. */
static bool is_bad_event(const struct exchange *x, const struct sse_event *event)
{
    enum operation op = x->call.operation;
    bool is_ours = op == OPERATION_CHAT || op == OPERATION_COMPLETION || op == OPERATION_RESPONSE;
    return is_ours && event->lines > 0 && event->data.len > 0 && !dialect_of(x)->next_event &&
           event->data.at[0] == '{' && !scan_is_valid(event->data);
}

/* False when there were too many: then it is the stream that is broken. */
static bool leave_out(struct exchange *x)
{
    if (x->bad_events++ == 0)
        log_line(LOG_WARN, "upstream", "%s: target %.*s: an event that is no JSON is left out",
                 x->id, TEXT_ARGS(x->target->id));
    if (x->bad_events <= BAD_EVENTS_MAX)
        return true;
    upstream_abandon(&x->upstream);
    fail(x, FAULT_TARGET_INVALID, "The target's stream is broken.");
    if (!x->head_sent)
        tries_claim(x, x->fault.kind, 0);
    return false;
}

/* An error inside a stream of which nothing has gone yet is as good as one with its status. */
static bool fail_early(struct exchange *x, struct text data)
{
    struct provider_error error = {.kind = FAULT_TARGET_ERROR};
    x->target->provider->dialect->read_error(500, text_head(data, ERROR_BYTES), &error);
    if (!tries_claim(x, error.kind, 0))
        return false;
    upstream_abandon(&x->upstream);
    fault_set(&x->fault, error.kind, "%s", error.message);
    x->facts.upstream = UPSTREAM_FAILED;
    return true;
}

/* The same behind what has gone, where another target can go on. */
static bool fail_late(struct exchange *x, struct text data)
{
    struct provider_error error = {.kind = FAULT_TARGET_ERROR};
    if (!resume_may(x))
        return false;
    x->target->provider->dialect->read_error(500, text_head(data, ERROR_BYTES), &error);
    upstream_abandon(&x->upstream);
    fault_set(&x->fault, error.kind, "%s", error.message);
    x->facts.upstream = UPSTREAM_FAILED;
    return true;
}

/* Gather the events of <bytes>, which are whole. After the one that ends the answer nothing is sent
 * before the exchange is booked: on_batch() and on_end() see answer.ended. */
static void relay_events(struct exchange *x, struct text bytes)
{
    struct sse_event event;
    while (next_event(dialect_of(x), &bytes, &event)) {
        if (is_bad_event(x, &event)) {
            if (leave_out(x))
                continue;
            return;
        }
        if (x->form != FORM_OURS && !dialect_of(x)->next_event)
            look_at_form(x, event.data);
        switch (dialect_of(x)->watch_event(&x->answer, &event)) {
        case EVENT_HIDE:
            tell_early(x);
            replay_write(x, event.raw); /* who listens, or comes later, may have asked for it */
            break;
        case EVENT_LAST:
            x->facts.last_held = true;
            pass_noted(x, &event, true);
            break;
        case EVENT_FAIL:
            if (x->head_sent ? fail_late(x, event.data) : fail_early(x, event.data))
                return;
            __attribute__((fallthrough));
        case EVENT_PASS:
            if (holds_end(x))
                hold_event(x, event.raw);
            else
                pass_noted(x, &event, false);
            break;
        }
        if (x->guard_blocked)
            return;
    }
    leave_guarded(x);
}

/* What is not looked at counts by its length, where no usage comes. */
static void pass_unwatched(struct exchange *x, struct text piece)
{
    x->answer.content_bytes += (int64_t)piece.len;
    give(x, piece);
}

/* The event is too long to be looked at: let it and all that follows pass. */
static void stop_watching(struct exchange *x)
{
    if (is_guarded(x)) { /* what cannot be looked at does not pass */
        fault_set(&x->fault, FAULT_GUARDED,
                  "An event of the answer is too long for the guardrails.");
        stop_guarded(x);
        return;
    }
    x->unwatched = true;
    pass_unwatched(x, buffer_text(&x->held));
    flush(x, false);
    buffer_done(&x->held);
}

static void take_events(struct exchange *x, struct text piece)
{
    if (x->unwatched) {
        pass_unwatched(x, piece);
        return;
    }
    size_t seen = buffer_length(&x->held);
    bool stored = seen > 0;
    struct text bytes = piece;
    if (stored) {
        /* What is gathered may stand in <held>, which is about to move. */
        if (x->worker->gather.owner == x)
            flush(x, false);
        if (!buffer_append_text(&x->held, piece)) {
            stop_watching(x);
            if (x->unwatched)
                pass_unwatched(x, piece);
            return;
        }
        bytes = buffer_text(&x->held);
    }
    size_t whole = whole_events(x, bytes, seen);
    relay_events(x, text_head(bytes, whole));
    if (!stored) {
        if (!buffer_append_text(&x->held, text_from(bytes, whole)))
            stop_watching(x);
    } else if (whole) {
        if (!x->facts.last_held)
            flush(x, false);
        else
            relay_hold(x);
        buffer_drop(&x->held, whole);
        if (!buffer_length(&x->held))
            buffer_done(&x->held);
    }
}

/* ---------------------------------------------------------------------- in another dialect */

/* What was made of the target's bytes, at the ends of events. */
static void pass_translated(struct exchange *x, struct text made, bool last)
{
    struct sse_event event;
    bool noted = x->resume.state == RESUME_WATCHES || x->resume.goes_on;
    if (!is_guarded(x) && !noted) {
        give(x, made);
        return;
    }
    while (noted && sse_next(&made, &event))
        pass_noted(x, &event, last && !made.len);
    if (noted) {
        give(x, made); /* what is no event of this kind */
        return;
    }
    while (!x->guard_blocked && sse_next(&made, &event))
        pass_event(x, event.raw, last && !made.len);
    if (!x->guard_blocked)
        leave_guarded(x);
}

static void fail_translated(struct exchange *x)
{
    x->fault = *translation_fault(x->translation);
    upstream_abandon(&x->upstream);
    x->facts.upstream = UPSTREAM_FAILED;
}

/* Translate a piece of the target's stream, or its end. Behind the end of the answer nothing comes
 * any more. */
static void take_translated(struct exchange *x, struct text piece, bool end)
{
    struct buffer *out = &x->translated_out;
    if (x->facts.last_held)
        return;
    if (x->worker->gather.owner == x)
        flush(x, false); /* it may stand in <out>, which begins anew */
    buffer_clear(out);
    enum translation_state state =
        end ? translation_close(x->translation, out) : translation_feed(x->translation, piece, out);
    struct text made = buffer_text(out);
    size_t end_at = translation_end_at(x->translation);
    if (state == TRANSLATION_FAILED && !x->head_sent && x->answer.events == 0 &&
        tries_claim(x, translation_fault(x->translation)->kind, 0)) {
        fail_translated(x);
        return;
    }
    pass_translated(x, text_head(made, end_at), false);
    if (x->guard_blocked || state == TRANSLATION_GOES)
        return;
    if (state == TRANSLATION_FAILED) {
        if (x->worker->gather.owner == x)
            flush(x, false);
        fail_translated(x);
        return;
    }
    x->facts.last_held = true;
    pass_translated(x, text_from(made, end_at), true);
    relay_hold(x);
}

/* Translate an answer that is whole. */
static void translate_whole(struct exchange *x)
{
    struct buffer *out = &x->translated_out;
    translation_feed(x->translation, x->whole, out);
    if (translation_close(x->translation, out) != TRANSLATION_ENDED) {
        fail_translated(x);
        return;
    }
    x->whole = buffer_text(out);
    x->length_out = (int64_t)x->whole.len;
}

/* ------------------------------------------------------------------------------- the head */

static bool is_retry_status(const struct exchange *x, unsigned status)
{
    const uint16_t *statuses = x->target->provider->retry_statuses;
    for (size_t i = 0; i < 16 && statuses[i]; i++)
        if (statuses[i] == status)
            return true;
    return false;
}

/* A refusal whose head says all that matters: whether to try again, and when. What says too many
 * calls and not for how long may say it in its body. */
static bool is_turned_away_at_once(struct exchange *x, const struct head *head)
{
    bool busy = head->status == 429 || head->status == 529;
    return is_retry_status(x, head->status) && (!busy || x->retry_after_us > 0) &&
           tries_claim(x, busy ? FAULT_TARGET_BUSY : FAULT_TARGET_ERROR, head->status);
}

/* What is made or continued belongs to an account: those calls go up with its first key. */
static bool may_turn(const struct exchange *x)
{
    enum operation operation = x->call.operation;
    return operation != OPERATION_FILE && operation != OPERATION_BATCH &&
           operation != OPERATION_OBJECT && operation != OPERATION_RESPONSE && !x->pinned &&
           !x->file_count;
}

static void choose_key(struct exchange *x)
{
    const struct provider_settings *provider = x->target->provider;
    x->provider_key = provider->api_key;
    if (provider->api_key_count > 1 && may_turn(x))
        x->provider_key =
            key_ring_choose(&x->worker->key_rests, provider,
                            x->snapshot->turns[provider - x->snapshot->config->providers]++,
                            loop_now_us(x->worker->loop));
}

/* A key that is at its limit, or opens nothing, rests; may another one of the same provider be
 * tried at once? */
static bool has_other_key(struct exchange *x, const struct head *head)
{
    const struct provider_settings *provider = x->target->provider;
    struct sign_in *sign_in = snapshot_sign_in(x->snapshot, provider);
    uint64_t now = loop_now_us(x->worker->loop);
    if (sign_in && head->status == 401)
        sign_in_doubt(sign_in);
    if (provider->api_key_count < 2 || !may_turn(x) ||
        !key_ring_refused(&x->worker->key_rests, x->provider_key, head, now))
        return false;
    return !x->head_sent && !x->upload && x->relay != RELAY_TUNNEL && !x->facts.client_gone &&
           ++x->keys_tried < provider->api_key_count &&
           key_ring_has_one(&x->worker->key_rests, provider, now);
}

static bool is_json(struct text type)
{
    return text_starts_nocase(type, TEXT("application/json"));
}

static void choose_mode(struct exchange *x, const struct head *head)
{
    bool coded = head_value(head, TEXT("content-encoding")).len > 0 &&
                 !text_equal_nocase(head_value(head, TEXT("content-encoding")), TEXT("identity"));
    x->length_out = head->content_length;
    x->unwatched = coded;
    x->held_limit = WHOLE_MAX;
    if (crossing_is_on(x)) {
        x->relay = is_good(x) && x->call.stream ? RELAY_EVENTS : RELAY_WHOLE;
        x->held_limit = TRANSLATED_MAX;
        x->length_out = x->relay == RELAY_EVENTS ? -1 : x->length_out;
        if (is_good(x))
            crossing_begin(x, x->answer_type);
        x->answer_type =
            x->relay == RELAY_EVENTS ? crossing_stream_type(x) : TEXT("application/json");
    } else if (head->status == 101) {
        x->relay = RELAY_TUNNEL;
        x->length_out = 0;
    } else if (objects_narrows(x) && is_good(x)) {
        x->relay = RELAY_WHOLE;
        x->held_limit = LIST_MAX;
    } else if (text_starts_nocase(x->answer_type, TEXT("text/event-stream")) ||
               (dialect_of(x)->next_event &&
                text_starts_nocase(x->answer_type, TEXT("application/vnd.amazon.eventstream")))) {
        x->relay = RELAY_EVENTS;
        x->length_out = -1;
        bool pictures =
            x->call.operation == OPERATION_IMAGE || x->call.operation == OPERATION_RESPONSE;
        x->held_limit = pictures ? EVENT_IMAGE_MAX : EVENT_MAX;
    } else if (is_good(x) && !coded && guarding_watches(x)) {
        x->relay = RELAY_WHOLE; /* looked at as a whole */
        x->held_limit = LIST_MAX;
    } else if (head->content_length <= WHOLE_MAX && !coded) {
        x->relay = RELAY_WHOLE;
    } else {
        x->relay = RELAY_PIECES;
    }
    buffer_init(&x->held, x->held_limit);
}

static bool goes_on_well(const struct head *head)
{
    return head->status == 200 &&
           text_starts_nocase(head_value(head, TEXT("content-type")), TEXT("text/event-stream"));
}

static void on_head(struct upstream_call *call, const struct head *head)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    if (head->status / 100 == 4 && has_other_key(x, head)) {
        upstream_abandon(call);
        x->was_sent = false;
        relay_begin(x);
        return;
    }
    if (x->aside && head->status / 100 != 2) { /* the other one is still there */
        upstream_abandon(call);
        fail(x, head->status / 100 == 5 ? FAULT_TARGET_ERROR : FAULT_TARGET_REFUSED,
             "The target refused the call.");
        exchange_run(x);
        return;
    }
    aside_cancel(x);
    x->answered_us = x->idle_since_us = loop_now_us(x->worker->loop);
    if (head->status != 200 || !waits_for_first_token(x))
        x->first_byte_by_us = 0;
    x->was_sent = head->status / 100 <= 2; /* nobody counts what he refuses */
    choosing_head(x, head);
    x->status = head->status;
    if (head->status / 100 == 3) {
        upstream_abandon(call);
        fail(x, FAULT_TARGET_INVALID,
             "The target answered with a redirect, which is not followed.");
        exchange_run(x);
        return;
    }
    if (x->resume.goes_on && !goes_on_well(head)) {
        upstream_abandon(call);
        fail(x, FAULT_TARGET_REFUSED, "The target does not go on with an answer that is begun.");
        exchange_run(x);
        return;
    }
    x->retry_after_us = is_good(x) ? 0 : retry_after_us(head, clock_wall_us());
    if (!is_good(x) && is_turned_away_at_once(x, head)) {
        upstream_abandon(call);
        fail(x, head->status == 429 || head->status == 529 ? FAULT_TARGET_BUSY : FAULT_TARGET_ERROR,
             "The target refused the call for now.");
        exchange_run(x);
        return;
    }
    if (head->status == 101 && !realtime_accepts(x, head)) {
        upstream_abandon(call);
        fail(x, FAULT_TARGET_INVALID, "The target answered the WebSocket handshake wrongly.");
        exchange_run(x);
        return;
    }
    struct text type = head_value(head, TEXT("content-type"));
    bool good_type = type.at && type.len <= TYPE_MAX && head_may_write(type);
    x->answer_type = good_type ? arena_copy(&x->arena, type) : (struct text){"", 0};
    x->answer.operation = x->call.operation;
    x->answer.owns = x->call.operation == OPERATION_RESPONSE && x->store;
    choose_mode(x, head);
    if (x->unwatched && is_good(x) && (guarding_watches(x) || crossing_is_on(x))) {
        upstream_abandon(call);
        fail(x, FAULT_TARGET_INVALID, "The target's answer is coded and cannot be looked at.");
        exchange_run(x);
        return;
    }
    x->answer_head = answer_keep(x, head);
    if (x->relay == RELAY_EVENTS && !x->streams) {
        x->streams = x->call.stream = true;
        metrics_gauge(x->worker->metrics, GAUGE_STREAMS, 1);
    }
    x->facts.upstream = UPSTREAM_ANSWERING;
    if (x->relay == RELAY_EVENTS && is_good(x))
        resume_watch(x);
    exchange_run(x);
    if (x->relay == RELAY_TUNNEL && x->state == EXCHANGE_RELAY)
        realtime_begin(x);
}

/* ------------------------------------------------------------------------------- the body */

static void give_up_whole(struct exchange *x)
{
    if ((is_good(x) && (objects_narrows(x) || guarding_watches(x))) || crossing_is_on(x)) {
        upstream_abandon(&x->upstream);
        fail(x, FAULT_TARGET_INVALID, "The target's answer is too long to be looked at.");
        exchange_run(x);
        return;
    }
    x->relay = RELAY_PIECES;
    feed_tap(x, buffer_text(&x->held));
    give(x, buffer_text(&x->held));
    flush(x, false);
    buffer_done(&x->held);
}

/* The budget is gone: what the target has said is passed on, and then why it ends here. */
static void end_session(struct exchange *x, struct text piece)
{
    struct buffer words;
    buffer_init(&words, WHOLE_MAX);
    gather_add(x, piece);
    if (realtime_is_between_frames(x))
        realtime_say_fault(x, &words);
    gather_add(x, buffer_text(&words));
    flush(x, false);
    buffer_done(&words);
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
        feed_tap(x, piece);
        give(x, piece);
        return;
    case RELAY_EVENTS:
        if (x->translation)
            take_translated(x, piece, false);
        else
            take_events(x, piece);
        if (x->guard_blocked || x->facts.upstream == UPSTREAM_FAILED)
            exchange_run(x); /* the call was given up: nobody else will */
        return;
    case RELAY_TUNNEL:
        if (realtime_down(x, piece)) {
            gather_add(x, piece);
            return;
        }
        upstream_abandon(&x->upstream);
        if (x->fault.kind == FAULT_BUDGET)
            end_session(x, piece);
        x->facts.upstream = UPSTREAM_FAILED;
        exchange_run(x);
        return;
    }
}

static void on_body(struct upstream_call *call, struct text piece)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    x->was_begun = x->was_begun || is_good(x);
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

static void add_ours(struct exchange *x)
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
        flush(x, false);
    add_ours(x);
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
    return x->relay == RELAY_EVENTS && is_good(x) && !x->unwatched && !x->answer.ended &&
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

/* A refusal that another target, or a later time, can cure? Then nothing of it goes to the client.
 */
static bool is_turned_away(struct exchange *x)
{
    struct provider_error error = {.kind = FAULT_TARGET_ERROR};
    struct text body = text_head(x->whole, ERROR_BYTES);
    x->target->provider->dialect->read_error(x->status, body, &error);
    if (!x->retry_after_us && error.retry_ms > 0)
        x->retry_after_us = error.retry_ms * 1000;
    if (!x->retry_after_us && (x->status == 429 || x->status == 529))
        x->retry_after_us = refusal_wait_ms(body) * 1000;
    bool ours = x->status == 401 || x->status == 402 || x->status == 403; /* another has a key */
    bool claimed = is_retry_status(x, x->status) || (ours && fault_rule(error.kind)->may_retry)
                       ? tries_claim(x, error.kind, x->status)
                       : tries_claim_refusal(x, refusal_read(x->status, body));
    if (!claimed)
        return false;
    fault_set(&x->fault, error.kind, "%s", error.message);
    x->facts.upstream = UPSTREAM_FAILED;
    return true;
}

static void note_error(struct exchange *x, struct text body)
{
    struct provider_error error = {.kind = FAULT_TARGET_ERROR};
    dialect_of(x)->read_error(x->status, text_head(body, ERROR_BYTES), &error);
    fault_set(&x->fault, error.kind, "%s", error.message);
}

static void end_whole(struct exchange *x)
{
    if (buffer_length(&x->held))
        x->whole = buffer_text(&x->held);
    x->length_out = (int64_t)x->whole.len;
    if (!is_good(x)) {
        if (is_turned_away(x))
            return;
        if (crossing_is_on(x))
            crossing_say_error(x);
        else
            note_error(x, x->whole);
        x->length_out = (int64_t)x->whole.len;
        return;
    }
    if (x->translation) {
        translate_whole(x);
        if (x->facts.upstream == UPSTREAM_FAILED)
            return;
    }
    bool json = is_json(x->answer_type) || x->answer_type.len == 0;
    if (!x->translation && (json || must_be_json(x)) && !watch_whole(x, x->whole) &&
        must_be_json(x)) {
        fail(x, FAULT_TARGET_INVALID, "The target's answer is not valid JSON.");
        return;
    }
    if (is_guarded(x) && !guarding_whole(x)) {
        stop_guarded(x);
        return;
    }
    if (is_guarded(x) && !x->guard_asked) {
        x->guard_asked = true;
        relay_hold(x); /* what is borrowed may have to wait */
        guarding_ask_answer(x);
    }
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
        if (x->tap_used && !x->settled)
            watch_tap(x);
        break;
    case RELAY_EVENTS:
        if (x->translation) {
            take_translated(x, TEXT(""), true);
            break;
        }
        if (buffer_length(&x->held)) /* the last event need not be followed by an empty line */
            pass_event(x, buffer_text(&x->held), false);
        if (!x->guard_blocked && !x->facts.last_held && is_guarded(x) && !guarding_end(x))
            stop_guarded(x);
        leave_guarded(x);
        if (x->guard_blocked)
            break;
        if (is_cut(x) && !x->settled)
            fail(x, FAULT_TARGET_CUT, "The target's answer ended before it was finished.");
        break;
    case RELAY_TUNNEL:
        break;
    }
    exchange_run(x);
}

void relay_guarded(struct exchange *x)
{
    bool changed;
    if (!x->guard_question)
        return;
    if (!guarding_answered(x, &changed)) {
        stop_guarded(x);
        return;
    }
    if (x->relay == RELAY_EVENTS)
        leave_guarded(x);
}

/* ---------------------------------------------------------------------- another's answer */

void relay_replay_head(struct exchange *x, unsigned status, struct text type, bool stream)
{
    x->answered_us = x->idle_since_us = loop_now_us(x->worker->loop);
    x->status = status;
    x->was_sent = true;
    x->answer_type = type;
    x->answer.operation = x->call.operation;
    x->answer.hide_usage = stream && !x->call.asked_usage;
    x->answer_head = arena_format(&x->arena, "request-id: %s\r\n", x->id);
    x->length_out = -1;
    x->relay = stream ? RELAY_EVENTS : RELAY_WHOLE;
    buffer_init(&x->held, stream ? EVENT_MAX : LIST_MAX);
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
        flush(x, false);
}

void relay_replay_end(struct exchange *x)
{
    x->facts.upstream = UPSTREAM_ANSWERED;
    if (x->relay == RELAY_WHOLE)
        end_whole(x);
    else if (buffer_length(&x->held))
        give(x, buffer_text(&x->held));
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
    return "The target cannot be reached.";
}

static void on_fault(struct upstream_call *call, enum fault_kind kind, const char *why)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    /* An idle connection that the target closed just now: the call has not been read. Later it
     * may have been, and worked on, and it must not be made twice as one. */
    bool at_once = !x->sent_us || clock_now_us() - x->sent_us < STALE_US;
    bool stale = at_once && call->reused && !call->answered && kind == FAULT_TARGET_DOWN &&
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
        fail(x, kind, words_for(kind));
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
    .on_head = on_head,
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
    choose_key(x);
    x->sent_us = 0; /* this target has not got the body yet: flush() may not let it go */
    size_t i = (size_t)(x->target->provider - x->snapshot->config->providers);
    struct upstream_pool *pool = x->snapshot->pools[i];
    if (pool)
        upstream_begin(pool, &x->upstream);
    else
        on_fault(&x->upstream, FAULT_TARGET_DOWN, "its provider cannot be reached");
}

/* ----------------------------------------------------------------------------------- ends */

void relay_reset(struct exchange *x)
{
    upstream_abandon(&x->upstream);
    forget_gathered(x);
    guarding_forget(x);
    crossing_forget(x);
    buffer_done(&x->held);
    buffer_done(&x->early);
    x->early_told = false;
    x->bad_events = 0;
    if (x->tap_used)
        tap_done(&x->tap);
    x->tap_used = false;
    x->whole = (struct text){NULL, 0};
    struct answer blank = {.operation = x->call.operation};
    x->answer = blank;
    x->answer_type = x->answer_head = (struct text){"", 0};
    x->status = 0;
    x->stale_retries = 0;
    x->form = FORM_UNKNOWN;
    x->facts.last_held = false;
    x->facts.upstream = UPSTREAM_IDLE;
}

void relay_give_out(struct exchange *x)
{
    if (x->worker->gather.owner == x)
        flush(x, false);
}

void relay_hold(struct exchange *x)
{
    struct gather *gather = &x->worker->gather;
    ready_init(x);
    if (gather->owner == x)
        for (int i = 0; i < gather->count; i++)
            buffer_append(&x->ready, gather->pieces[i].iov_base, gather->pieces[i].iov_len);
    forget_gathered(x);
    if (x->whole.len && x->whole.at != x->held.data + x->held.begin) {
        buffer_append_text(&x->held, x->whole);
        x->whole = buffer_text(&x->held);
    }
}

void relay_end(struct exchange *x)
{
    if (x->ended_out)
        return;
    if (buffer_length(&x->ready)) { /* held back before what is gathered now */
        struct gather *gather = &x->worker->gather;
        if (gather->owner == x)
            relay_hold(x);
        gather_add(x, buffer_text(&x->ready));
    }
    if (x->relay == RELAY_WHOLE)
        give(x, x->whole);
    bool over = x->facts.upstream != UPSTREAM_ANSWERING;
    replay_written(x); /* all of it: nothing that matters comes after it is booked */
    flush(x, over);
    buffer_done(&x->ready);
    add_ours(x);
    if (!over)
        timer_set(x->worker->loop, &x->timer, loop_now_us(x->worker->loop) + END_WAIT_US);
}

void relay_refuse(struct exchange *x)
{
    struct buffer *out = &x->worker->head_out;
    struct text extra = {"", 0};
    struct answer paid = x->answer;
    relay_reset(x);
    if (x->guard_blocked || x->was_begun)
        x->answer = paid;
    x->relay = RELAY_WHOLE;
    x->facts.upstream = UPSTREAM_ANSWERED;
    x->status = answer_error_status(x);
    x->answer_type = x->match.shape == SHAPE_PROBLEM ? TEXT("application/problem+json")
                                                     : TEXT("application/json");
    buffer_init(&x->held, WHOLE_MAX);
    answer_error(x, &x->held);
    if (x->status == 401)
        extra = TEXT("www-authenticate: Bearer\r\n");
    else if (x->fault.kind == FAULT_RATE_REQUESTS || x->fault.kind == FAULT_RATE_TOKENS ||
             x->fault.kind == FAULT_BUDGET || x->fault.kind == FAULT_STORE_AWAY)
        extra = reserve_refusal_lines(x);
    else if (x->fault.kind == FAULT_CONFLICT)
        extra = replay_refusal_lines(x);
    else if (x->fault.kind == FAULT_TARGET_BUSY && x->retry_after_us > 0)
        extra = arena_format(&x->arena, "retry-after: %lld\r\nretry-after-ms: %lld\r\n",
                             (long long)((x->retry_after_us + 999999) / 1000000),
                             (long long)((x->retry_after_us + 999) / 1000));
    else if (x->attempts > 1)
        extra = TEXT("x-should-retry: false\r\n");
    else if (x->fault.kind == FAULT_OVERLOADED || x->fault.kind == FAULT_LEDGER_FULL)
        extra = TEXT("retry-after: 1\r\n");
    if (x->fault.kind == FAULT_BAD_METHOD) {
        char methods[64];
        endpoint_methods(x->path, methods);
        extra = arena_format(&x->arena, "allow: %s\r\n", methods);
    }
    x->whole = buffer_text(&x->held);
    answer_own_head(x, out, x->answer_type, extra, x->whole.len);
    if (x->head_only)
        x->whole = (struct text){NULL, 0};
    struct text head = arena_copy(&x->arena, buffer_text(out));
    x->head_sent = true;
    ready_init(x);
    buffer_append_text(&x->ready, head);
}

void relay_break(struct exchange *x)
{
    if (x->resume.goes_on) { /* whatever the last try was, the client has a stream */
        x->relay = RELAY_EVENTS;
        x->status = 200;
    }
    x->close_after = x->cut_out = true;
    if (x->client)
        x->client->keep = false;
    upstream_abandon(&x->upstream);
    if (x->relay == RELAY_TUNNEL && x->fault.kind == FAULT_BUDGET) {
        x->cut_out = false; /* it was told */
        return;
    }
    if (x->relay != RELAY_EVENTS || x->unwatched)
        return;
    /* A stream of whole events can say what happened, and then end as a message should. */
    x->cut_out = false;
    ready_init(x);
    if (x->worker->gather.owner == x)
        relay_hold(x);
    /* What a failed response repeats of itself must not be what a guardrail has stopped. */
    bool own_words = x->translation && !x->guard_blocked;
    if (!own_words || !translation_say_failure(x->translation, &x->fault, &x->ready))
        answer_error_event(x, &x->ready);
}

void relay_ping(struct exchange *x)
{
    uint64_t since = x->idle_since_us;
    gather_add(x, x->match.shape == SHAPE_ANTHROPIC
                      ? TEXT("event: ping\ndata: {\"type\": \"ping\"}\n\n")
                      : TEXT(": ping\n\n"));
    flush(x, false);
    x->idle_since_us = since; /* the target is as silent as before */
}

void relay_tunnel_begin(struct exchange *x)
{
    flush(x, false);
    if (x->client)
        client_tunnel(x->client);
}

bool relay_tunnel(struct exchange *x, struct text bytes)
{
    if (x->relay != RELAY_TUNNEL || x->facts.upstream != UPSTREAM_ANSWERING)
        return true;
    x->idle_since_us = loop_now_us(x->worker->loop); /* who speaks is not idle */
    return upstream_push(&x->upstream, bytes, false);
}
