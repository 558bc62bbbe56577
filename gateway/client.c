/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/client.h"

#include <assert.h>

#include "gateway/base/clock.h"
#include "gateway/carrier.h"
#include "gateway/client_inside.h"
#include "gateway/exchange.h"
#include "gateway/http/h2.h"
#include "gateway/http/proxy.h"
#include "gateway/worker_inside.h"

enum {
    READS_PER_EVENT = 4, /* then others have their turn */
    REQUESTS_PER_EVENT = 16,
    HEAD_READ_BYTES = 8 * 1024,
    STRAIGHT_BYTES = 4096,
    STRAIGHT_MAX = 1024 * 1024,
    LINGER_BYTES = 256 * 1024,
    PUT_OFF_MAX = 16384, /* bytes: longer pieces are not copied for it */
};

/* ----------------------------------------------------------------------------- sending */

size_t client_queued(const struct client *client)
{
    return buffer_length(&client->out);
}

static void queue(struct client *client, const struct iovec *pieces, int count, size_t all,
                  size_t skip)
{
    if (!client->out.data)
        spares_room(&client->worker->spares, &client->out, all - skip);
    for (int i = 0; i < count; i++) {
        size_t len = pieces[i].iov_len;
        size_t drop = skip < len ? skip : len;
        skip -= drop;
        buffer_append(&client->out, (const char *)pieces[i].iov_base + drop, len - drop);
    }
}

/* A write to the client is a part of our time that its figures, which go out with it, cannot hold:
 * they hold what it cost lately. One in WRITES_PER_LOOK is looked at. Half of it counts: on one
 * machine the client was seen to have the bytes about then, while the call goes on. */
static ssize_t timed_write(struct client *client, const struct iovec *pieces, int count)
{
    enum { WRITES_PER_LOOK = 16, WEIGHT = 8 };
    struct worker *worker = client->worker;
    if (worker->writes++ % WRITES_PER_LOOK)
        return stream_write(&client->stream, pieces, count);
    uint64_t begun = clock_now_us();
    ssize_t done = stream_write(&client->stream, pieces, count);
    uint64_t took = (clock_now_us() - begun) / 2;
    if (took < WRITE_COST_MAX_US)
        worker->write_cost_us =
            worker->write_cost_us ? (worker->write_cost_us * (WEIGHT - 1) + took) / WEIGHT : took;
    return done;
}

static void await_room(struct client *client)
{
    client->since_us = client_now_us(client);
    timer_stop(&client->timer);
    client_set_timer(client, client_config(client)->timeouts.stream_idle_us);
}

bool client_send(struct client *client, const struct iovec *pieces, int count)
{
    size_t all = 0, sent = 0;
    if (client->state == CLIENT_CLOSED)
        return false;
    for (int i = 0; i < count; i++)
        all += pieces[i].iov_len;
    client->worker->bytes_out += all;
    if (all <= PUT_OFF_MAX && loop_is_crowded(client->worker->loop)) {
        loop_put_off(client->worker->loop, &client->put_off, true);
    } else if (buffer_length(&client->out) == 0) {
        ssize_t done = timed_write(client, pieces, count);
        if (done == STREAM_BROKEN) {
            /* Not from here: whoever sends is in the middle of something. */
            client->hangup = true;
            loop_again(client->worker->loop, &client->watch, LOOP_BROKEN | LOOP_HANGUP);
            return false;
        }
        sent = done > 0 ? (size_t)done : 0;
        if (sent == all)
            return true;
        await_room(client);
    }
    queue(client, pieces, count, all, sent);
    return true;
}

/* Is there a next request, or an end, that no event will tell of any more? */
static void look_again(struct client *client)
{
    client->resumed = buffer_length(&client->in) > 0;
    if (client->unread || client->hangup || client->resumed)
        loop_again(client->worker->loop, &client->watch, LOOP_READ);
}

bool client_send_queued(struct client *client)
{
    while (buffer_length(&client->out)) {
        struct iovec piece = {client->out.data + client->out.begin, buffer_length(&client->out)};
        ssize_t done = timed_write(client, &piece, 1);
        if (done == STREAM_BROKEN)
            return false;
        if (done <= 0)
            break;
        client->since_us = client_now_us(client);
        buffer_drop(&client->out, (size_t)done);
    }
    return true;
}

/* Its last answer is out. */
static void go_on(struct client *client)
{
    if (client->worker->draining && client_is_idle(client) && client_close_idle(client))
        return;
    look_again(client);
}

static void flush_out(struct client *client)
{
    if (!client_send_queued(client)) {
        client_close(client);
        return;
    }
    if (buffer_length(&client->out) == 0)
        spares_give(&client->worker->spares, &client->out);
    if (client->exchange)
        exchange_room(client->exchange);
    else if (client->state == CLIENT_FLUSH && buffer_length(&client->out) == 0)
        client_end_now(client);
    else if (client->state == CLIENT_HEAD && buffer_length(&client->out) == 0)
        go_on(client);
}

void client_send_put_off(struct put_off *put_off)
{
    struct client *client = LIST_MEMBER(put_off, struct client, put_off);
    if (client->state == CLIENT_CLOSED || !buffer_length(&client->out))
        return;
    flush_out(client);
    if (client->state != CLIENT_CLOSED && client->exchange && buffer_length(&client->out))
        await_room(client);
}

/* ---------------------------------------------------------------------------- requests */

static void await_request(struct client *client)
{
    client->state = CLIENT_HEAD;
    client->find = (struct head_find){0};
    client->started = false;
    client->linger = false;
    client->since_us = client_now_us(client);
    client_set_timer(client, client_config(client)->timeouts.client_idle_us);
    look_again(client);
}

void client_finish(struct client *client)
{
    client->exchange = NULL;
    if (client->state == CLIENT_CLOSED)
        return;
    if (client->state == CLIENT_BODY) { /* answered before all of it was read */
        client->keep = false;
        client->linger = true;
    }
    if (client->state == CLIENT_TUNNEL)
        client->keep = false;
    if (!client->keep || client->worker->draining)
        client_end_after_flush(client);
    else
        await_request(client);
}

void client_refuse_head(struct client *client, const struct fault *fault, struct text bytes)
{
    client->state = CLIENT_BUSY;
    exchange_refuse_head(client, fault, text_starts(bytes, TEXT("HEAD ")));
}

static void begin_body(struct client *client, const struct head *head)
{
    if (head->chunked)
        body_init(&client->body, BODY_CHUNKED, 0);
    else if (head->content_length > 0)
        body_init(&client->body, BODY_LENGTH, (uint64_t)head->content_length);
    else
        body_init(&client->body, BODY_NONE, 0);
    client->state = client->body.kind == BODY_NONE ? CLIENT_BUSY : CLIENT_BODY;
}

static void send_continue(struct client *client)
{
    static const char words[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec piece = {(void *)(uintptr_t)words, sizeof(words) - 1};
    client_send(client, &piece, 1);
}

/* By prior knowledge (RFC 9113 3.3): over TLS it is agreed upon. */
static bool is_http2(const struct client *client, struct text bytes)
{
    struct text preface = TEXT(H2_PREFACE);
    size_t there = bytes.len < preface.len ? bytes.len : preface.len; /* of it: at least its head */
    return client->listener->http2 && !client->listener->tls && !client->served &&
           !client->stream.is_inside &&
           text_equal(text_head(bytes, there), text_head(preface, there));
}

/* From now on the carrier is told what happens. */
static void begin_carrier(struct client *client, struct text bytes)
{
    client->state = CLIENT_CARRIER;
    client->carrier = carrier_new(client);
    if (client->worker->leaving)
        carrier_leave(client->carrier);
    carrier_take(client->carrier, bytes);
}

/* A head of <length> bytes at the front of <bytes>. */
static void take_head(struct client *client, struct text bytes, size_t length)
{
    struct worker *worker = client->worker;
    struct fault fault;
    client->find = (struct head_find){0};
    client->requests++;
    if (!head_read_request(text_head(bytes, length), &worker->head, &fault)) {
        if (is_http2(client, bytes))
            begin_carrier(client, bytes);
        else
            client_refuse_head(client, &fault, bytes);
        return;
    }
    client->keep = worker->head.keep_alive && !worker->draining && !worker->leaving;
    client->served = true;
    begin_body(client, &worker->head);
    struct exchange *x = exchange_new(client, &worker->head);
    if (client->exchange != x || client->state == CLIENT_CLOSED)
        return; /* it is answered already */
    if (client->state == CLIENT_BUSY) {
        exchange_body_end(x);
        return;
    }
    if (x->expects_continue && bytes.len == length)
        send_continue(client);
    const struct config *config = client_config(client);
    client->since_us = client_now_us(client);
    if (bytes.len - length < (size_t)worker->head.content_length || worker->head.chunked) {
        timer_stop(&client->timer);
        client_set_timer(client, config->timeouts.client_body_us);
    }
}

static size_t take_head_bytes(struct client *client, struct text bytes)
{
    struct fault fault;
    size_t length = 0;
    if (!client->started) {
        client->started = true;
        client->since_us = client_now_us(client);
    }
    switch (head_find(&client->find, bytes, true, client_config(client)->limits.max_header_bytes,
                      &length, &fault)) {
    case HEAD_WAIT:
        client_set_timer(client, 0); /* on_time() sees how long there is left */
        return 0;
    case HEAD_DONE:
        take_head(client, bytes, length);
        return client->state == CLIENT_CARRIER ? bytes.len : length;
    case HEAD_BAD:
        client_refuse_head(client, &fault, bytes);
        break;
    }
    return bytes.len;
}

static size_t take_body_bytes(struct client *client, struct text bytes)
{
    struct exchange *x = client->exchange;
    size_t all = bytes.len;
    struct text data;
    struct fault fault;
    enum body_result result = body_take(&client->body, &bytes, &data, &fault);
    if (result != BODY_BAD && data.len) {
        if (!exchange_body(x, data))
            client->paused = true;
        if (client->exchange != x || client->paused)
            return all - bytes.len; /* its end, if it was that, is told later */
    }
    switch (result) {
    case BODY_END:
        client->state = CLIENT_BUSY;
        exchange_body_end(x);
        return all - bytes.len;
    case BODY_BAD:
        client->keep = false;
        client->linger = true;
        exchange_body_bad(x, &fault);
        return all;
    case BODY_WAIT:
    case BODY_DATA:
        break;
    }
    if (client->body.kind == BODY_CHUNKED)
        exchange_body_announced(x, client->body.left);
    return all;
}

static size_t take_proxy_bytes(struct client *client, struct text bytes)
{
    size_t length = 0;
    enum proxy_protocol allowed = client->listener->proxy_protocol;
    switch (proxy_read(bytes, allowed != PROXY_V2, allowed != PROXY_V1, &length, client->peer)) {
    case PROXY_READ_WAIT:
        return 0;
    case PROXY_READ_DONE:
        client->state = client->listener->tls ? CLIENT_SHAKE : CLIENT_HEAD;
        return length;
    case PROXY_READ_BAD:
        break;
    }
    client_close(client);
    return bytes.len;
}

/* Work on <bytes>; returns how many were used up. */
static size_t take_some(struct client *client, struct text bytes)
{
    switch (client->state) {
    case CLIENT_PROXY:
        return take_proxy_bytes(client, bytes);
    case CLIENT_HEAD:
        return take_head_bytes(client, bytes);
    case CLIENT_BODY:
        return take_body_bytes(client, bytes);
    case CLIENT_TUNNEL:
        if (!exchange_body(client->exchange, bytes))
            client->paused = true;
        return bytes.len;
    case CLIENT_LINGER:
        /* Closing now would be a reset that overtakes our answer; a shut window makes who still
         * writes look at what there is to read. */
        client->discarded += bytes.len;
        client->paused = client->discarded > LINGER_BYTES;
        return bytes.len;
    case CLIENT_SHAKE:
    case CLIENT_BUSY:
    case CLIENT_CARRIER:
    case CLIENT_FLUSH:
    case CLIENT_CLOSED:
        return 0;
    }
    return 0;
}

static bool wants_bytes(const struct client *client)
{
    if (client->paused)
        return false;
    switch (client->state) {
    case CLIENT_HEAD:
        /* Who does not take its answers may not ask for more, and others have their turn. */
        return buffer_length(&client->out) == 0 && client->requests < REQUESTS_PER_EVENT;
    case CLIENT_PROXY:
    case CLIENT_BODY:
    case CLIENT_TUNNEL:
    case CLIENT_LINGER:
        return true;
    case CLIENT_SHAKE:
    case CLIENT_BUSY:
    case CLIENT_CARRIER:
    case CLIENT_FLUSH:
    case CLIENT_CLOSED:
        return false;
    }
    return false;
}

static void take(struct client *client, struct text bytes, bool stored)
{
    size_t all = bytes.len;
    /* A body whose last byte was taken before a pause still has to be told its end. */
    bool look = client->state == CLIENT_BODY;
    while (bytes.len || look) {
        look = false;
        size_t used = take_some(client, bytes);
        if (client->state == CLIENT_CLOSED)
            return;
        bytes = text_from(bytes, used);
        if (used == 0 || !wants_bytes(client))
            break;
    }
    if (stored)
        buffer_drop(&client->in, all - bytes.len);
    else
        buffer_append_text(&client->in, bytes);
    if (!buffer_length(&client->in))
        buffer_done(&client->in);
}

/* The peer has ended its half, or the connection is broken. */
static void take_end(struct client *client)
{
    client->hangup = true;
    client_close(client);
}

static void shake(struct client *client)
{
    struct fault fault;
    switch (stream_shake(&client->stream, &fault)) {
    case 0:
        client->state = CLIENT_HEAD;
        if (stream_is_http2(&client->stream))
            begin_carrier(client, (struct text){"", 0});
        break;
    case STREAM_WAIT:
        break;
    default:
        metrics_count(client->worker->metrics, COUNTER_HANDSHAKE_FAILURES, 1);
        client_close(client);
    }
}

/* Bytes that came behind a PROXY header belong to TLS, which reads from the socket: the header is
 * read alone then. With a head comes the beginning of its body only: the rest of a long one is read
 * to where it stays. */
static size_t read_size(const struct client *client)
{
    bool alone = client->state == CLIENT_PROXY && client->listener->tls;
    return alone ? 1 : client->state == CLIENT_HEAD ? HEAD_READ_BYTES : CLIENT_SCRATCH_BYTES;
}

static ssize_t read_bytes(struct client *client, size_t size)
{
    if (client->state == CLIENT_PROXY && client->listener->tls)
        return recv(client->stream.fd, client->worker->scratch, size, MSG_DONTWAIT);
    client->stream.untimed = loop_is_crowded(client->worker->loop);
    return stream_read(&client->stream, client->worker->scratch, size);
}

static void note_arrival(struct client *client)
{
    uint32_t waited = client->stream.waited_us;
    client->arrived_us = waited ? clock_now_us() - waited : 0;
}

uint64_t client_arrived_us(struct client *client)
{
    uint64_t round = loop_now_us(client->worker->loop), arrived = client->arrived_us;
    client->arrived_us = 0;
    return arrived && arrived < round ? arrived : round;
}

/* A long body of known length is read to where it will stay, without a stop in the scratch. */
static bool reads_straight(const struct client *client)
{
    return client->state == CLIENT_BODY && client->body.kind == BODY_LENGTH &&
           client->body.left >= STRAIGHT_BYTES && !buffer_length(&client->in) &&
           exchange_takes_straight(client->exchange);
}

/* False when nothing more can be read now. */
static bool read_straight(struct client *client)
{
    struct exchange *x = client->exchange;
    assert(x);
    size_t size = client->body.left < STRAIGHT_MAX ? (size_t)client->body.left : STRAIGHT_MAX;
    client->unread = false;
    ssize_t got = stream_read(&client->stream, buffer_room(&x->body, size), size);
    if (got == STREAM_WAIT)
        return false;
    if (got <= 0) {
        take_end(client);
        return false;
    }
    note_arrival(client);
    buffer_grow(&x->body, (size_t)got);
    x->body_bytes += got;
    client->worker->bytes_in += (uint64_t)got;
    client->body.left -= (uint64_t)got;
    client->body.total += (uint64_t)got;
    if (client->body.left == 0) {
        client->state = CLIENT_BUSY;
        exchange_body_end(x);
    } else if (!stream_may_have_more(&client->stream, (size_t)got, size) && !client->hangup) {
        return false;
    }
    client->unread = true;
    return true;
}

static void read_some(struct client *client)
{
    struct worker *worker = client->worker;
    if (client->resumed && wants_bytes(client)) {
        client->resumed = false;
        take(client, buffer_text(&client->in), true);
    }
    for (int reads = 0; wants_bytes(client); reads++) {
        bool by_byte = client->state == CLIENT_PROXY && client->listener->tls;
        if (reads >= READS_PER_EVENT && !by_byte) {
            loop_again(worker->loop, &client->watch, LOOP_READ);
            return;
        }
        if (reads_straight(client)) {
            if (!read_straight(client))
                return;
            continue;
        }
        size_t size = read_size(client);
        client->unread = false;
        ssize_t got = read_bytes(client, size);
        if (got == STREAM_WAIT)
            return;
        if (got <= 0) {
            take_end(client);
            return;
        }
        worker->bytes_in += (uint64_t)got;
        note_arrival(client);
        struct text bytes = {worker->scratch, (size_t)got};
        bool stored = buffer_length(&client->in) > 0;
        if (stored) {
            buffer_append_text(&client->in, bytes);
            bytes = buffer_text(&client->in);
        }
        take(client, bytes, stored);
        if (client->state == CLIENT_SHAKE) {
            shake(client);
            continue;
        }
        if (!stream_may_have_more(&client->stream, (size_t)got, size) && !client->hangup)
            return;
        client->unread = true;
    }
}

void client_resume(struct client *client)
{
    if (!client->paused)
        return;
    client->paused = false;
    client->resumed = true;
    loop_again(client->worker->loop, &client->watch, LOOP_READ);
}

void client_tunnel(struct client *client)
{
    if (client->state == CLIENT_CLOSED)
        return;
    client->state = CLIENT_TUNNEL;
    client->resumed = true;
    loop_again(client->worker->loop, &client->watch, LOOP_READ);
}

/* ----------------------------------------------------------------------- events, timers */

/* Whoever hangs up while it is waited for an answer has left: nobody may pay for what nobody reads.
 * The end may come with the request itself. Who lingers and is not read any more has our answer. */
static void leave_if_gone(struct client *client)
{
    bool waits = client->exchange || client->state == CLIENT_LINGER;
    if (client->hangup && waits && !wants_bytes(client))
        client_close(client);
}

void client_on_event(struct watch *watch, unsigned events)
{
    struct client *client = LIST_MEMBER(watch, struct client, watch);
    client->requests = 0;
    if (events & LOOP_HANGUP)
        client->hangup = true;
    if (buffer_length(&client->out) && events & (LOOP_WRITE | LOOP_READ))
        flush_out(client);
    if (client->state == CLIENT_CLOSED)
        return;
    if (events & LOOP_BROKEN) {
        client_close(client);
        return;
    }
    bool shaken = false;
    if (client->state == CLIENT_SHAKE) {
        shake(client);
        shaken = client->state == CLIENT_HEAD;
    }
    if (client->state == CLIENT_CARRIER || client->state == CLIENT_CLOSED)
        return;
    bool shaking = client->state == CLIENT_SHAKE; /* waits for its peer */
    if (!shaking && !wants_bytes(client)) {
        client->unread = client->unread || events & LOOP_READ;
        leave_if_gone(client);
        return;
    }
    if (events & LOOP_READ || shaken)
        read_some(client);
    if (client->state == CLIENT_HEAD && client->requests >= REQUESTS_PER_EVENT)
        look_again(client);
    leave_if_gone(client);
}
