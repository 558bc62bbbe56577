/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/wire/upstream.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/http/h2_client.h"
#include "gateway/wire/upstream_inside.h"

enum {
    READS_PER_EVENT = 4, /* then others have their turn */
    INTERIM_MAX = 8,     /* 1xx answers in front of the real one */
    QUEUE_MAX = 4096,    /* calls that wait for a connection to one place */
    PUSH_HIGH = 256 * 1024,
    PUSH_LOW = 64 * 1024,
    PUSH_MAX = 1024 * 1024,
    WHY_BYTES = 192,
};

static void on_event(struct watch *watch, unsigned events);
static void on_timer(struct timer *timer);
static void send_put_off(struct put_off *put_off);

/* -------------------------------------------------------------------------- connections */

static void free_upstream(struct grave *grave)
{
    struct upstream *up = LIST_MEMBER(grave, struct upstream, grave);
    struct upstream_pool *pool = up->pool;
    buffer_done(&up->in);
    buffer_done(&up->out);
    memory_free(up->sending);
    memory_free(up->reaching);
    memory_free(up);
    pool_release(pool);
}

static struct upstream *upstream_new(struct upstream_pool *pool)
{
    struct upstream *up = memory_new(sizeof(*up));
    up->pool = pool;
    up->watch = (struct watch){.fd = -1, .on_event = on_event};
    up->stream.fd = -1;
    up->timer.on_time = on_timer;
    list_init(&up->link);
    list_init(&up->put_off.link);
    up->put_off.run = send_put_off;
    buffer_init(&up->in, UPSTREAM_HEAD_MAX + UPSTREAM_SCRATCH_BYTES);
    buffer_init(&up->out, PUSH_MAX);
    list_init(&up->in_trunk);
    pool->objects++;
    pool->connections++;
    return up;
}

void connection_close(struct upstream *up)
{
    if (up->state == UP_CLOSED)
        return;
    struct upstream_pool *pool = up->pool;
    if (up->state == UP_IDLE) {
        pool->idle_count--;
        pool->owner->figures.idle--;
    }
    list_remove(&up->link);
    list_remove(&up->put_off.link);
    if (up->reaching) {
        dns_cancel(&up->reaching->query);
        pool->reaching--;
    }
    timer_stop(&up->timer);
    loop_remove(pool->owner->loop, &up->watch); /* what has no descriptor may come again, too */
    up->watch.fd = -1;
    stream_close(&up->stream);
    up->state = UP_CLOSED;
    up->call = NULL;
    pool->connections--;
    if (!up->inside)
        pool->owner->figures.connections--;
    loop_bury(pool->owner->loop, &up->grave, free_upstream);
    pool_serve_waiting(pool);
}

void connection_fail(struct upstream *up, enum fault_kind kind, const char *format, ...)
{
    char why[WHY_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    struct upstream_call *call = up->call;
    if (up->reaching) /* those that wait for it try for themselves */
        up->pool->has_spoken_h2 = false;
    connection_close(up);
    if (call) {
        call->connection = NULL;
        call->on->on_fault(call, kind, why);
    }
}

/* Is <up> still with the call that it had then? A handler may have ended it, or moved it. */
static bool is_with(const struct upstream *up, unsigned serial)
{
    return up->call && up->serial == serial;
}

static void attach(struct upstream *up, struct upstream_call *call)
{
    up->serial++;
    up->call = call;
    call->connection = up;
    call->reused = up->calls > 0;
}

static void take_idle(struct upstream *up, struct upstream_call *call)
{
    list_remove(&up->link);
    up->pool->idle_count--;
    up->pool->owner->figures.idle--;
    up->pool->owner->figures.reuses++;
    attach(up, call);
    connection_ready(up);
}

static void connection_open(struct upstream_pool *pool, struct upstream_call *call)
{
    struct upstream *up = upstream_new(pool);
    pool->owner->figures.connections++;
    pool->owner->figures.connects++;
    attach(up, call);
    connect_begin(up);
}

static void open_inside(struct trunk *trunk, struct upstream_call *call)
{
    struct upstream *up = upstream_new(call->pool);
    trunk_join(trunk, up);
    up->pool->owner->figures.reuses++;
    attach(up, call);
    connection_ready(up);
}

/* Begin <call>, if there is a way; an idle connection may be one that has died unnoticed. */
static bool begin_now(struct upstream_pool *pool, struct upstream_call *call, bool take_any)
{
    if ((take_any || !call->fresh) && !list_is_empty(&pool->idle)) {
        take_idle(LIST_MEMBER(pool->idle.next, struct upstream, link), call);
        return true;
    }
    if (pool->connections >= pool->place.max_connections)
        return false;
    struct trunk *trunk = call->wants_upgrade ? NULL : trunk_find(pool, call->fresh);
    if (trunk) {
        open_inside(trunk, call);
        return true;
    }
    /* One is on its way that will carry it. */
    if (!call->wants_upgrade && pool->has_spoken_h2 && pool->reaching)
        return false;
    connection_open(pool, call);
    return true;
}

static void wait_in_line(struct upstream_pool *pool, struct upstream_call *call, bool in_front)
{
    pool->waiting_count++;
    if (in_front)
        list_push_front(&pool->waiting, &call->waiting);
    else
        list_push_back(&pool->waiting, &call->waiting);
}

static void leave_line(struct upstream_pool *pool, struct upstream_call *call)
{
    list_remove(&call->waiting);
    pool->waiting_count--;
}

static void serve_some(struct errand *errand)
{
    struct upstream_pool *pool = LIST_MEMBER(errand, struct upstream_pool, serve);
    pool->serving = false;
    while (!list_is_empty(&pool->waiting)) {
        struct upstream_call *call = LIST_MEMBER(pool->waiting.next, struct upstream_call, waiting);
        leave_line(pool, call);
        if (!begin_now(pool, call, true)) {
            wait_in_line(pool, call, true);
            break;
        }
    }
    pool_release(pool); /* the errand's hold */
}

void pool_serve_waiting(struct upstream_pool *pool)
{
    if (list_is_empty(&pool->waiting) || pool->serving)
        return;
    pool->serving = true;
    pool->objects++;
    pool->serve.run = serve_some;
    loop_post(pool->owner->loop, &pool->serve);
}

static void forget_sending(struct upstream *up)
{
    memory_free(up->sending);
    up->sending = NULL;
}

static void connection_give_back(struct upstream *up)
{
    struct upstream_pool *pool = up->pool;
    up->call = NULL;
    up->calls++;
    list_remove(&up->put_off.link);
    buffer_done(&up->in);
    buffer_done(&up->out);
    forget_sending(up);
    /* A place that no configuration names any more keeps no connections. */
    if (!up->keep || up->hangup || pool->references == 0 ||
        pool->idle_count >= pool->place.max_idle) {
        connection_close(up);
        return;
    }
    up->state = UP_IDLE;
    pool->idle_count++;
    pool->owner->figures.idle++;
    list_push_front(&pool->idle, &up->link);
    timer_set(pool->owner->loop, &up->timer,
              loop_now_us(pool->owner->loop) + (uint64_t)pool->place.idle_us);
    pool_serve_waiting(pool);
}

/* -------------------------------------------------------------------------------- calls */

/* It has the connection that it was on its way to. */
static void reached(struct upstream *up)
{
    struct upstream_pool *pool = up->pool;
    memory_free(up->reaching); /* its query was answered in another round */
    up->reaching = NULL;
    pool->reaching--;
    if (up->inside)
        return;
    /* It will not carry those that wait for it. */
    pool->has_spoken_h2 = pool->has_spoken_h2 && up->call->wants_upgrade;
    pool_serve_waiting(pool);
}

void connection_ready(struct upstream *up)
{
    timer_stop(&up->timer);
    up->state = UP_CALL;
    up->keep = !up->inside; /* there is one for each call */
    if (up->reaching)
        reached(up);
    up->sent_head = up->request_over = up->told_sent = up->pushed_high = false;
    up->find = (struct head_find){0};
    up->head_read = up->tunnel = false;
    up->interim = 0;
    up->call->on->on_connected(up->call);
}

void upstream_begin(struct upstream_pool *pool, struct upstream_call *call)
{
    call->pool = pool;
    list_init(&call->waiting);
    if (begin_now(pool, call, false))
        return;
    if (pool->waiting_count < QUEUE_MAX)
        wait_in_line(pool, call, false);
    else
        call->on->on_fault(call, FAULT_TARGET_BUSY, "too many calls wait for this target");
}

/* -------------------------------------------------------------------------- the request */

/* What is left of <sending> when <sent> bytes of it, or of what stands behind it, have gone. */
static size_t take_pieces(struct sending *sending, size_t sent)
{
    while (sending->at < sending->count && sent >= sending->pieces[sending->at].iov_len)
        sent -= sending->pieces[sending->at++].iov_len;
    if (sending->at == sending->count)
        return sent;
    struct iovec *piece = &sending->pieces[sending->at];
    piece->iov_base = (char *)piece->iov_base + sent;
    piece->iov_len -= sent;
    return 0;
}

static void take_sent(struct upstream *up, size_t sent)
{
    if (up->sending) {
        sent = take_pieces(up->sending, sent);
        if (up->sending->at == up->sending->count)
            forget_sending(up);
    }
    if (sent)
        buffer_drop(&up->out, sent);
}

/* Nothing is left to be written for now. */
static void tell_sent(struct upstream *up)
{
    struct upstream_call *call = up->call;
    if (up->pushed_high) {
        up->pushed_high = false;
        call->on->on_room(call);
    }
    if (up->call == call && up->request_over && !up->told_sent && !up->sending &&
        !buffer_length(&up->out)) {
        up->told_sent = true;
        call->on->on_sent(call);
    }
}

/* Write what there is. A failure to write is not the end: the answer (such as an early 413) may be
 * there to be read; the reader finds out. */
static void write_request(struct upstream *up)
{
    for (;;) {
        __attribute__((uninitialized)) struct iovec pieces[UPSTREAM_PIECES + 1];
        int count = 0;
        for (int i = up->sending ? up->sending->at : 0; up->sending && i < up->sending->count; i++)
            pieces[count++] = up->sending->pieces[i];
        if (buffer_length(&up->out))
            pieces[count++] = (struct iovec){up->out.data + up->out.begin, buffer_length(&up->out)};
        if (count == 0)
            break;
        ssize_t sent = stream_write(&up->stream, pieces, count);
        if (sent == STREAM_BROKEN)
            up->keep = false;
        if (sent < 0)
            return;
        take_sent(up, (size_t)sent);
    }
    tell_sent(up);
}

static void send_put_off(struct put_off *put_off)
{
    write_request(LIST_MEMBER(put_off, struct upstream, put_off));
}

static void keep_sending(struct upstream *up, const struct iovec *pieces, int count, size_t sent)
{
    size_t bytes = (size_t)count * sizeof(*pieces);
    struct sending *sending = memory_resize(NULL, sizeof(*sending) + bytes); /* all of it is set */
    sending->at = 0;
    memcpy(sending->pieces, pieces, bytes);
    sending->count = count;
    up->sending = sending;
    take_sent(up, sent);
}

void upstream_send(struct upstream_call *call, const struct iovec *pieces, int count, bool more)
{
    struct upstream *up = call->connection;
    size_t all = 0;
    assert(count <= UPSTREAM_PIECES && !up->sending);
    up->sent_head = true;
    up->request_over = !more;
    if (loop_is_crowded(up->pool->owner->loop)) {
        keep_sending(up, pieces, count, 0);
        loop_put_off(up->pool->owner->loop, &up->put_off, false);
        return;
    }
    for (int i = 0; i < count; i++)
        all += pieces[i].iov_len;
    ssize_t sent = stream_write(&up->stream, pieces, count);
    if (sent == STREAM_BROKEN)
        up->keep = false;
    if (sent < 0 || (size_t)sent < all)
        keep_sending(up, pieces, count, sent < 0 ? 0 : (size_t)sent);
    if (sent >= 0)
        write_request(up); /* until no more can be, or all was */
}

bool upstream_push(struct upstream_call *call, struct text bytes, bool last)
{
    struct upstream *up = call->connection;
    assert(up->state == UP_CALL && up->sent_head); /* not before the head, nor before TLS */
    up->request_over = last;
    /* The caller stops at the mark, so only one read's worth can come behind it. */
    bool fits = buffer_append_text(&up->out, bytes);
    assert(fits);
    bool before = up->pushed_high;
    up->pushed_high = false;
    write_request(up);
    if (call->connection != up)
        return true;
    up->pushed_high = buffer_length(&up->out) > (before ? PUSH_LOW : PUSH_HIGH);
    return !up->pushed_high;
}

void upstream_push_later(struct upstream_call *call)
{
    struct upstream *up = call->connection;
    up->pushed_high = true;
    loop_again(up->pool->owner->loop, &up->watch, LOOP_WRITE);
}

/* --------------------------------------------------------------------------- the answer */

static bool begin_body(struct upstream *up, const struct head *head)
{
    bool none = head->status / 100 == 1 || head->status == 204 || head->status == 304;
    if (none)
        body_init(&up->body, BODY_NONE, 0);
    else if (head->chunked)
        body_init(&up->body, BODY_CHUNKED, 0);
    else if (head->content_length >= 0)
        body_init(&up->body, BODY_LENGTH, (uint64_t)head->content_length);
    else
        body_init(&up->body, BODY_TO_CLOSE, 0);
    up->keep = up->keep && head->keep_alive && up->body.kind != BODY_TO_CLOSE;
    return true;
}

/* A head has been read: an interim one is skipped, a switch of protocols must have been asked for.
 * False when the connection is gone. */
static bool take_head(struct upstream *up, const struct head *head)
{
    struct upstream_call *call = up->call;
    if (head->status == 101) {
        if (!call->wants_upgrade) {
            connection_fail(up, FAULT_TARGET_INVALID, "a protocol switch nobody asked for");
            return false;
        }
        up->tunnel = true;
        up->keep = false;
        body_init(&up->body, BODY_TO_CLOSE, 0);
    } else if (head->status < 200) {
        if (++up->interim > INTERIM_MAX) {
            connection_fail(up, FAULT_TARGET_INVALID, "too many interim answers");
            return false;
        }
        return true;
    } else {
        begin_body(up, head);
    }
    up->head_read = true;
    unsigned serial = up->serial;
    call->on->on_head(call, head);
    return is_with(up, serial);
}

/* Find and read heads at the front of <bytes>. False to stop (more is needed, or gone). */
static bool read_heads(struct upstream *up, struct text *bytes)
{
    struct head *head = &up->pool->owner->head;
    while (!up->head_read) {
        struct fault fault;
        size_t length;
        enum head_result found =
            head_find(&up->find, *bytes, false, UPSTREAM_HEAD_MAX, &length, &fault);
        if (found == HEAD_WAIT)
            return false;
        if (found == HEAD_BAD || !head_read_response(text_head(*bytes, length), head, &fault)) {
            connection_fail(up, FAULT_TARGET_INVALID, "bad HTTP from the target: %s", fault.text);
            return false;
        }
        up->find = (struct head_find){0};
        if (!take_head(up, head))
            return false;
        *bytes = text_from(*bytes, length);
    }
    return true;
}

static void finish_answer(struct upstream *up, struct text behind)
{
    struct upstream_call *call = up->call;
    bool request_whole = !up->sending && !buffer_length(&up->out) && up->request_over;
    if (behind.len > 0 || !request_whole)
        up->keep = false; /* nobody asked for what stands behind the answer */
    /* What was given out may stand in <in>: it is borrowed until on_end() has returned, and <up>
     * may be with another call by then. */
    struct buffer in = up->in;
    buffer_init(&up->in, in.limit);
    call->connection = NULL;
    connection_give_back(up);
    call->on->on_end(call);
    buffer_done(&in);
}

/* Give out what there is of the body. False when the call is over or the connection is gone. */
static bool read_body(struct upstream *up, struct text *bytes)
{
    struct upstream_call *call = up->call;
    struct text data;
    struct fault fault;
    enum body_result result = body_take(&up->body, bytes, &data, &fault);
    if (data.len)
        call->on->on_body(call, data);
    if (up->call != call)
        return false;
    if (result == BODY_END)
        finish_answer(up, *bytes);
    else if (result == BODY_BAD)
        connection_fail(up, FAULT_TARGET_INVALID, "bad HTTP from the target: %s", fault.text);
    return result == BODY_WAIT;
}

/* Work on <bytes>, which stand in the scratch or in up->in. False when there is nothing more to do.
 */
static bool take_bytes(struct upstream *up, struct text bytes, bool stored)
{
    unsigned serial = up->serial;
    size_t all = bytes.len;
    up->call->answered = true;
    if (!read_heads(up, &bytes)) {
        if (!is_with(up, serial))
            return false;
        if (stored)
            buffer_drop(&up->in, all - bytes.len);
        else
            buffer_append_text(&up->in, bytes);
        return true;
    }
    if (!read_body(up, &bytes))
        return false;
    up->call->on->on_batch(up->call);
    if (!is_with(up, serial))
        return false;
    if (stored)
        buffer_done(&up->in);
    return true;
}

static void answer_closed(struct upstream *up, bool broken)
{
    struct upstream_call *call = up->call;
    up->keep = false;
    if (up->inside && h2_call_is_answered(up->inside))
        call->answered = true; /* by what is none */
    call->unread = !call->answered && stream_is_unconfirmed(&up->stream);
    /* Inside, nearly each call follows another: that it was not read, the server says. */
    if (up->inside)
        call->reused = call->unread || (call->reused && !up->told_sent);
    if (up->head_read && !broken && body_may_end_here(&up->body)) {
        finish_answer(up, (struct text){"", 0});
        return;
    }
    if (!call->answered)
        connection_fail(up, FAULT_TARGET_DOWN,
                        "the target closed the connection without an answer");
    else if (!up->head_read)
        connection_fail(up, FAULT_TARGET_INVALID,
                        "the target closed the connection in the head of its answer");
    else
        connection_fail(up, FAULT_TARGET_CUT,
                        "the target closed the connection in the middle of its answer");
}

static void read_answer(struct upstream *up)
{
    struct upstreams *owner = up->pool->owner;
    for (int reads = 0; reads < READS_PER_EVENT; reads++) {
        if (up->call->paused)
            return; /* upstream_resume() reads on */
        up->stream.untimed = loop_is_crowded(owner->loop);
        ssize_t got = stream_read(&up->stream, owner->scratch, sizeof(owner->scratch));
        if (got == STREAM_WAIT)
            return;
        if (got <= 0) {
            answer_closed(up, got == STREAM_BROKEN);
            return;
        }
        up->call->arrived_us = up->stream.waited_us ? clock_now_us() - up->stream.waited_us : 0;
        struct text bytes = {owner->scratch, (size_t)got};
        bool stored = buffer_length(&up->in) > 0;
        if (stored) {
            if (!buffer_append_text(&up->in, bytes)) {
                connection_fail(up, FAULT_TARGET_INVALID, "the head of the answer is too long");
                return;
            }
            bytes = buffer_text(&up->in);
        }
        if (!take_bytes(up, bytes, stored))
            return;
        if (!stream_may_have_more(&up->stream, (size_t)got, sizeof(owner->scratch)) && !up->hangup)
            return;
    }
    loop_again(owner->loop, &up->watch, LOOP_READ);
}

/* ------------------------------------------------------------------------------- events */

/* An answer, or an end, that came together with the connection is not told of again. */
static void read_later(struct upstream *up, unsigned events)
{
    if (up->state == UP_CALL && events & LOOP_READ)
        loop_again(up->pool->owner->loop, &up->watch, LOOP_READ);
}

static void on_event(struct watch *watch, unsigned events)
{
    struct upstream *up = LIST_MEMBER(watch, struct upstream, watch);
    if (events & LOOP_HANGUP)
        up->hangup = true;
    switch (up->state) {
    case UP_CONNECT:
    case UP_PROXY:
    case UP_SHAKE:
        connect_event(up, events);
        read_later(up, events);
        return;
    case UP_IDLE:
        /* TLS may bring a session ticket; anything else here is not ours. */
        if (events & LOOP_READ) {
            char byte;
            if (stream_read(&up->stream, &byte, 1) != STREAM_WAIT)
                connection_close(up);
        }
        return;
    case UP_CALL:
        if (events & LOOP_WRITE)
            write_request(up);
        if (up->state == UP_CALL && events & LOOP_READ)
            read_answer(up);
        return;
    case UP_RESOLVE:
    case UP_CLOSED:
        return;
    }
}

static void on_timer(struct timer *timer)
{
    struct upstream *up = LIST_MEMBER(timer, struct upstream, timer);
    switch (up->state) {
    case UP_IDLE:
        connection_close(up);
        return;
    case UP_RESOLVE:
    case UP_CONNECT:
    case UP_PROXY:
    case UP_SHAKE:
        connect_time(up);
        return;
    case UP_CALL:
    case UP_CLOSED:
        return;
    }
}

void upstream_pause(struct upstream_call *call)
{
    call->paused = true;
}

void upstream_resume(struct upstream_call *call)
{
    if (!call->paused)
        return;
    call->paused = false;
    if (call->connection)
        loop_again(call->connection->pool->owner->loop, &call->connection->watch, LOOP_READ);
}

void upstream_move(struct upstream_call *to, struct upstream_call *from)
{
    assert(from->connection || !from->pool || list_is_empty(&from->waiting));
    *to = *from;
    list_init(&to->waiting);
    if (to->connection)
        to->connection->call = to;
    from->connection = NULL;
    from->pool = NULL;
}

void upstream_abandon(struct upstream_call *call)
{
    if (call->connection) {
        struct upstream *up = call->connection;
        call->connection = NULL;
        connection_close(up);
    } else if (call->pool && !list_is_empty(&call->waiting)) {
        leave_line(call->pool, call);
    }
}
