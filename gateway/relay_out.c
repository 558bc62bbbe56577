/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "gateway/answer.h"
#include "gateway/base/clock.h"
#include "gateway/capture.h"
#include "gateway/client.h"
#include "gateway/realtime.h"
#include "gateway/relay_inner.h"
#include "gateway/replay.h"
#include "gateway/reserve.h"
#include "gateway/tries.h"
#include "gateway/waits.h"
#include "gateway/worker_inside.h"

enum {
    EARLY_MAX = 16 * 1024, /* of a stream's beginning that says nothing yet */
    END_WAIT_US = 1000000, /* after the last event: so long the framing may take to end */
};

/* Above it no more is asked for: what one more read may bring has room then. */
static size_t client_limit(const struct exchange *x)
{
    size_t most = x->snapshot->config->limits.client_buffer_bytes;
    return most > 2 * UPSTREAM_READ_MAX ? most - UPSTREAM_READ_MAX : most / 2;
}

void relay_note_given(struct exchange *x, struct text bytes)
{
    replay_write(x, bytes);
    if (x->capture)
        capture_answer(x, bytes);
}

bool relay_keeps_early(const struct exchange *x)
{
    return !x->head_sent && x->relay == RELAY_EVENTS && x->status == 200 &&
           x->facts.upstream == UPSTREAM_ANSWERING && x->answer.events == 0 && !x->answer.ended &&
           !x->answer.failed && !x->facts.last_held && !x->unwatched && x->seeking &&
           buffer_length(&x->seeking->early) < EARLY_MAX && !replay_reads(x) && tries_may_turn(x);
}

void relay_tell_early(struct exchange *x)
{
    if (!x->seeking || x->seeking->early_told || !buffer_length(&x->seeking->early))
        return;
    x->seeking->early_told = true;
    relay_note_given(x, buffer_text(&x->seeking->early));
}

/* No other target will be asked. At the end of an answer all of it is about to go anyway. */
static void give_up_seeking(struct exchange *x, bool end)
{
    spares_give(&x->worker->spares, &x->body);
    buffer_done(&x->seeking->early);
    buffer_done(&x->seeking->translated_body);
    if (end)
        return;
    x->answer_head = (struct text){"", 0}; /* it has gone, and stood there */
    worker_give_seeking(x);
}

void relay_flush(struct exchange *x, bool end)
{
    struct worker *worker = x->worker;
    struct gather *gather = &worker->gather;
    __attribute__((uninitialized)) struct iovec pieces[GATHER_PIECES + 5];
    char chunk[BODY_CHUNK_HEAD_BYTES];
    int count = 0;
    bool mine = gather->owner == x;
    struct text early = x->seeking ? buffer_text(&x->seeking->early) : (struct text){"", 0};
    bool given = false;
    size_t bytes = (mine ? gather->bytes : 0) + early.len;
    if (!end && (x->again != AGAIN_NO || (!mine && relay_keeps_early(x))))
        return;
    relay_tell_early(x);
    if (!x->head_sent) {
        x->answered_us = loop_now_us(worker->loop);
        x->first_us = clock_now_us();
        answer_head(x, &worker->head_out, x->length_out);
        pieces[count++] = (struct iovec){worker->head_out.data + worker->head_out.begin,
                                         buffer_length(&worker->head_out)};
        x->head_sent = true;
        given = x->sent_us && x->resume.state != RESUME_WATCHES;
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
    if (given)
        give_up_seeking(x, end);
    else if (early.len)
        buffer_done(&x->seeking->early);
}

bool relay_is_full(const struct exchange *x)
{
    return x->client && client_queued(x->client) > client_limit(x);
}

void relay_gather(struct exchange *x, struct text piece)
{
    struct gather *gather = &x->worker->gather;
    if (piece.len == 0)
        return;
    if (gather->owner == x && gather->count == GATHER_PIECES)
        relay_flush(x, false);
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

void relay_give(struct exchange *x, struct text piece)
{
    if (piece.len == 0)
        return;
    if (relay_keeps_early(x)) {
        if (!x->seeking->early.limit)
            buffer_init(&x->seeking->early, SIZE_MAX / 2); /* EARLY_MAX, and an event more */
        buffer_append_text(&x->seeking->early, piece);
        x->bytes_out += piece.len;
        return;
    }
    relay_tell_early(x);
    relay_note_given(x, piece);
    relay_gather(x, piece);
}

void relay_forget(struct exchange *x)
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
    if (!x->upstream.paused || realtime_is_short(x))
        return;
    upstream_resume(&x->upstream);
    waits_resume(x);
}

/* ----------------------------------------------------------------------------------- ends */

/* Bounded by what brings the bytes: one read, one event, or one gathered answer. */
void relay_ready(struct exchange *x)
{
    if (!x->ready.limit)
        buffer_init(&x->ready, SIZE_MAX / 2);
}

static bool is_in(struct text t, const struct buffer *buffer)
{
    return buffer && buffer_length(buffer) && t.at == buffer_text(buffer).at;
}

void relay_give_out(struct exchange *x)
{
    if (x->worker->gather.owner == x)
        relay_flush(x, false);
}

void relay_hold(struct exchange *x)
{
    struct gather *gather = &x->worker->gather;
    relay_ready(x);
    if (gather->owner == x)
        for (int i = 0; i < gather->count; i++)
            buffer_append(&x->ready, gather->pieces[i].iov_base, gather->pieces[i].iov_len);
    relay_forget(x);
    bool owned = is_in(x->whole, &x->held) || is_in(x->whole, x->translated_out) ||
                 is_in(x->whole, x->restated_out) || is_in(x->whole, x->guarded);
    if (x->whole.len && !owned) {
        buffer_clear(&x->held); /* what it has been made of */
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
        relay_gather(x, buffer_text(&x->ready));
    }
    if (x->relay == RELAY_WHOLE)
        relay_give(x, x->whole);
    bool over = x->facts.upstream != UPSTREAM_ANSWERING;
    replay_written(x); /* all of it: nothing that matters comes after it is booked */
    relay_flush(x, over);
    buffer_done(&x->ready);
    if (over)
        return;
    relay_add_ours(x); /* it is booked in a later round */
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
    buffer_init(&x->held, RELAY_WHOLE_MAX);
    answer_error(x, &x->held);
    if (x->status == 401)
        extra = TEXT("www-authenticate: Bearer\r\n");
    else if (exchange_why(x)->kind == FAULT_RATE_REQUESTS ||
             exchange_why(x)->kind == FAULT_RATE_TOKENS || exchange_why(x)->kind == FAULT_BUDGET ||
             exchange_why(x)->kind == FAULT_STORE_AWAY)
        extra = reserve_refusal_lines(x);
    else if (exchange_why(x)->kind == FAULT_CONFLICT)
        extra = replay_refusal_lines(x);
    else if (exchange_why(x)->kind == FAULT_TARGET_BUSY && x->retry_after_us > 0)
        extra = arena_format(&x->arena, "retry-after: %lld\r\nretry-after-ms: %lld\r\n",
                             (long long)((x->retry_after_us + 999999) / 1000000),
                             (long long)((x->retry_after_us + 999) / 1000));
    else if (waking_loading(x).len)
        extra = arena_format(&x->arena, "retry-after: %lld\r\nretry-after-ms: %lld\r\n",
                             (long long)((x->waking->retry_after_us + 999999) / 1000000),
                             (long long)((x->waking->retry_after_us + 999) / 1000));
    else if (exchange_why(x)->kind == FAULT_OVERLOADED ||
             exchange_why(x)->kind == FAULT_LEDGER_FULL)
        extra = TEXT("retry-after: 1\r\n");
    else if (x->attempts > 1)
        extra = TEXT("x-should-retry: false\r\n");
    if (exchange_why(x)->kind == FAULT_BAD_METHOD) {
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
    relay_ready(x);
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
    if (x->relay == RELAY_TUNNEL && relay_tells_session(x)) {
        x->cut_out = false;
        return;
    }
    if (x->relay != RELAY_EVENTS || x->unwatched)
        return;
    /* A stream of whole events can say what happened, and then end as a message should. */
    x->cut_out = false;
    relay_ready(x);
    if (x->worker->gather.owner == x)
        relay_hold(x);
    /* What a failed response repeats of itself must not be what a guardrail has stopped. */
    bool own_words = x->translation && !x->restating && !x->guard_blocked;
    if (!own_words || !translation_say_failure(x->translation, exchange_fault(x), &x->ready))
        answer_error_event(x, &x->ready);
}

void relay_ping(struct exchange *x)
{
    uint64_t since = x->idle_since_us;
    relay_gather(x, x->match.shape == SHAPE_ANTHROPIC
                        ? TEXT("event: ping\ndata: {\"type\": \"ping\"}\n\n")
                        : TEXT(": ping\n\n"));
    relay_flush(x, false);
    x->idle_since_us = since; /* the target is as silent as before */
}

void relay_tunnel_begin(struct exchange *x)
{
    relay_flush(x, false);
    if (x->client)
        client_tunnel(x->client);
}

void relay_tunnel_give(struct exchange *x, struct text bytes)
{
    relay_gather(x, bytes);
    relay_flush(x, false);
}

bool relay_tunnel(struct exchange *x, struct text bytes)
{
    if (x->relay != RELAY_TUNNEL || x->facts.upstream != UPSTREAM_ANSWERING)
        return true;
    x->idle_since_us = loop_now_us(x->worker->loop); /* who speaks is not idle */
    return realtime_up(x, bytes);
}
