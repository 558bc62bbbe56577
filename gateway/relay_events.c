/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/crossing.h"
#include "gateway/guarding.h"
#include "gateway/relay_inner.h"
#include "gateway/replay.h"
#include "gateway/resume.h"
#include "gateway/tries.h"
#include "gateway/worker_inside.h"
#include "providers/answer_tap.h"

enum {
    BAD_EVENTS_MAX = 16, /* that are left out; more, and the stream is broken */
};

/* -------------------------------------------------------------------------------- watching */

/* Whose words the answer is in: the target's, which are the client's unless the call crosses; what
 * was kept was written for such a client. */
const struct dialect *relay_dialect(const struct exchange *x)
{
    return replay_reads(x) || crossing_is_on(x) ? x->dialect : crossing_target_words(x);
}

bool relay_is_good(const struct exchange *x)
{
    return x->status / 100 == 2;
}

bool relay_watch_whole(struct exchange *x, struct text body)
{
    const struct dialect *dialect = relay_dialect(x);
    struct scan_value values[DIALECT_WANTS];
    struct scan_problem problem;
    bool read = scan_json(body, dialect->wants, dialect->want_count, values, &problem);
    if (read)
        dialect->watch_body(&x->answer, values);
    enum operation op = x->call.operation;
    if (read && op == OPERATION_RESPONSE && !x->answer.usage.searches)
        x->answer.usage.searches = response_searches(body);
    bool writes = op == OPERATION_CHAT || op == OPERATION_COMPLETION || op == OPERATION_RESPONSE;
    if (writes && x->answer.content_bytes == 0)
        x->answer.content_bytes = (int64_t)body.len; /* for an estimate: never too little */
    /* An array, or a member that stands twice, cannot be read and is passed on all the same. */
    return read || scan_is_valid(body);
}

void relay_feed_tap(struct exchange *x, struct text piece)
{
    if (x->unwatched || !relay_is_good(x))
        return;
    if (!x->tap) {
        x->tap = arena_new(&x->arena, sizeof(*x->tap));
        answer_tap_init(x->tap, relay_dialect(x), x->call.operation);
    }
    answer_tap_feed(x->tap, piece);
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
bool relay_is_guarded(struct exchange *x)
{
    return relay_is_good(x) && !replay_reads(x) && guarding_watches(x);
}

void relay_stop_guarded(struct exchange *x)
{
    upstream_abandon(&x->upstream);
    x->guard_blocked = true;
    x->facts.last_held = false;
    x->facts.upstream = UPSTREAM_FAILED;
}

void relay_pass_event(struct exchange *x, struct text event, bool last)
{
    if (!relay_is_guarded(x))
        relay_give(x, event);
    else if (!guarding_event(x, event, last))
        relay_stop_guarded(x);
}

void relay_pass_noted(struct exchange *x, const struct sse_event *event, bool last)
{
    struct sse_event joined = *event;
    if (resume_drops(x, event))
        return;
    resume_join(x, &joined);
    resume_note(x, &joined);
    relay_pass_event(x, joined.raw, last);
}

/* The head and the role have gone long before: a client has waited for the first text. */
static void note_first_text(struct exchange *x)
{
    if (x->guard_begun || !guard_stream_has_begun(x->guard_stream))
        return;
    x->guard_begun = true;
    x->first_us = clock_now_us();
}

/* What the guardrails have let pass stands in a buffer that the next event moves: it goes now, or
 * is kept when it is the end. */
void relay_leave_guarded(struct exchange *x)
{
    if (!x->guard_stream || x->guard_question || !buffer_length(x->guarded))
        return; /* nothing there, or a webhook is still asked about it */
    bool over = x->facts.last_held || x->facts.upstream == UPSTREAM_ANSWERED;
    if (over && !x->guard_asked &&
        guard_stream_gathers(x->guard_stream)) { /* of gathered events nothing has left so far */
        x->guard_asked = true;
        guarding_ask_answer(x);
        if (x->guard_question)
            return;
    }
    struct text passed = buffer_text(x->guarded);
    if (!relay_restate(x, &passed))
        return;
    relay_give(x, passed);
    if (x->facts.last_held)
        relay_hold(x);
    else
        relay_flush(x, false);
    note_first_text(x);
    buffer_clear(x->guarded);
}

/* Where no event says that it is the last one, the one that makes the answer whole and all behind
 * it are kept until the stream is over and the call is booked. */
static bool holds_end(struct exchange *x)
{
    return relay_dialect(x)->ends_with_stream && x->answer.ended && !relay_is_guarded(x);
}

/* Nothing may overtake what is held: a target that goes on and on behind the end of its answer has
 * broken its dialect. */
static void hold_event(struct exchange *x, struct text event)
{
    if (x->worker->gather.owner == x)
        relay_flush(x, false); /* what came before it */
    size_t held = buffer_length(&x->ready);
    if (held && held + event.len > x->held_limit) {
        upstream_abandon(&x->upstream);
        relay_fail(x, FAULT_TARGET_INVALID,
                   "The target sends too much behind the end of its answer.");
        return;
    }
    relay_tell_early(x);
    relay_note_given(x, event);
    relay_ready(x);
    buffer_append_text(&x->ready, event);
    x->bytes_out += event.len;
}

/* How much of <bytes> is whole events, and the next of them, in the framing of the dialect. */
static size_t whole_events(const struct exchange *x, struct text bytes, size_t seen)
{
    const struct dialect *dialect = relay_dialect(x);
    return dialect->whole_events ? dialect->whole_events(bytes) : sse_whole_after(bytes, seen);
}

static bool next_event(const struct dialect *dialect, struct text *bytes, struct sse_event *event)
{
    return dialect->next_event ? dialect->next_event(bytes, event) : sse_next(bytes, event);
}

/* Does <bytes>, the beginning of an event, begin as none does: not with a field, not with a
 * comment? A page of HTML does, whatever its type says. */
static bool is_no_event(struct text bytes)
{
    static const struct text begins[] = {TEXT("data"),  TEXT("event"),       TEXT("id"),
                                         TEXT("retry"), TEXT(":"),           TEXT("\n"),
                                         TEXT("\r"),    TEXT("\xef\xbb\xbf")};
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
        if (text_starts(bytes, begins[i]))
            return false;
    return bytes.len > 0;
}

static bool is_our_stream(const struct exchange *x)
{
    enum operation op = x->call.operation;
    bool is_ours = op == OPERATION_CHAT || op == OPERATION_COMPLETION || op == OPERATION_RESPONSE;
    return is_ours && !relay_dialect(x)->next_event;
}

/* An event that is no JSON would break the client; what is behind it may be well. One in several
 * lines is rare, and passes as it is. One without data is looked at while the client has nothing:
 * then it can still be told what is wrong. */
static bool is_bad_event(const struct exchange *x, const struct sse_event *event)
{
    if (event->lines > 1 || !is_our_stream(x))
        return false;
    if (event->lines == 0)
        return !x->head_sent && (is_no_event(event->raw) || relay_is_left_out(x, event->raw));
    return event->data.len > 0 && event->data.at[0] == '{' && !scan_is_valid(event->data);
}

bool relay_is_left_out(const struct exchange *x, struct text rest)
{
    while (rest.len && (rest.at[0] == '\n' || rest.at[0] == '\r'))
        rest = text_from(rest, 1);
    return x->bad_events && !x->head_sent && rest.len == 0;
}

static void break_stream(struct exchange *x)
{
    upstream_abandon(&x->upstream);
    relay_fail(x, FAULT_TARGET_INVALID, "The target's stream is broken.");
    if (!x->head_sent)
        tries_claim(x, exchange_why(x)->kind, 0);
}

/* False when there were too many: then it is the stream that is broken. */
static bool leave_out(struct exchange *x)
{
    if (x->bad_events++ == 0)
        log_line(LOG_WARN, "upstream", "%s: target %.*s: an event that is no JSON is left out",
                 x->id, TEXT_ARGS(x->target->id));
    if (x->bad_events <= BAD_EVENTS_MAX)
        return true;
    break_stream(x);
    return false;
}

/* An error inside a stream of which nothing has gone yet is as good as one with its status. */
static bool fail_early(struct exchange *x, struct text data)
{
    struct provider_error error = {.kind = FAULT_TARGET_ERROR};
    data = text_head(data, RELAY_ERROR_BYTES);
    enum refusal refusal = refusal_read(RELAY_REFUSED, data);
    relay_dialect(x)->read_error(refusal != REFUSAL_OTHER ? RELAY_REFUSED : 500, data, &error);
    if (!tries_claim_refusal(x, refusal) && !tries_claim(x, error.kind, 0))
        return false;
    upstream_abandon(&x->upstream);
    relay_fail(x, error.kind, error.message);
    return true;
}

/* The same behind what has gone, where another target can go on. */
static bool fail_late(struct exchange *x, struct text data)
{
    struct provider_error error = {.kind = FAULT_TARGET_ERROR};
    if (!resume_may(x))
        return false;
    relay_dialect(x)->read_error(500, text_head(data, RELAY_ERROR_BYTES), &error);
    upstream_abandon(&x->upstream);
    relay_fail(x, error.kind, error.message);
    return true;
}

/* Gather the events of <bytes>, which are whole. After the one that ends the answer nothing is sent
 * before the exchange is booked: on_batch() and on_end() see answer.ended. */
static void relay_events(struct exchange *x, struct text bytes)
{
    struct sse_event event;
    while (next_event(relay_dialect(x), &bytes, &event)) {
        if (is_bad_event(x, &event)) {
            if (leave_out(x))
                continue;
            return;
        }
        if (x->form != FORM_OURS && !relay_dialect(x)->next_event)
            look_at_form(x, event.data);
        switch (relay_dialect(x)->watch_event(&x->answer, &event)) {
        case EVENT_HIDE:
            relay_tell_early(x);
            relay_note_given(x, event.raw); /* who listens, or comes later, may have asked for it */
            break;
        case EVENT_LAST:
            x->facts.last_held = true;
            relay_pass_noted(x, &event, true);
            break;
        case EVENT_FAIL:
            if (x->head_sent ? fail_late(x, event.data) : fail_early(x, event.data))
                return;
            __attribute__((fallthrough));
        case EVENT_PASS:
            if (holds_end(x))
                hold_event(x, event.raw);
            else
                relay_pass_noted(x, &event, false);
            break;
        }
        if (x->guard_blocked || x->facts.upstream == UPSTREAM_FAILED)
            return;
    }
    relay_leave_guarded(x);
}

/* What is not looked at counts by its length, where no usage comes. */
static void pass_unwatched(struct exchange *x, struct text piece)
{
    x->answer.content_bytes += (int64_t)piece.len;
    relay_give(x, piece);
}

/* The event is too long to be looked at: let it and all that follows pass. */
static void stop_watching(struct exchange *x)
{
    if (relay_is_guarded(x)) { /* what cannot be looked at does not pass */
        fault_set(exchange_fault(x), FAULT_GUARDED,
                  "An event of the answer is too long for the guardrails.");
        relay_stop_guarded(x);
        return;
    }
    if (!x->head_sent && is_our_stream(x) && is_no_event(buffer_text(&x->held))) {
        break_stream(x);
        return;
    }
    x->unwatched = true;
    pass_unwatched(x, buffer_text(&x->held));
    relay_flush(x, false);
    buffer_done(&x->held);
}

void relay_take_events(struct exchange *x, struct text piece)
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
            relay_flush(x, false);
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
        if (x->facts.last_held)
            relay_hold(x);
        else if (x->bad_events && !x->head_sent)
            relay_give_out(x); /* nothing, where all of it was left out: then no head either */
        else
            relay_flush(x, false);
        buffer_drop(&x->held, whole);
        if (!buffer_length(&x->held))
            buffer_done(&x->held);
    }
}
