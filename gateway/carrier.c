/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/carrier.h"

#include <assert.h>

#include "gateway/acceptor.h"
#include "gateway/base/memory.h"
#include "gateway/client.h"
#include "gateway/http/h2.h"
#include "gateway/worker_inside.h"

enum {
    READS_PER_EVENT = 4,
    READ_BYTES = 32 * 1024,
    WRITE_BYTES = 64 * 1024, /* at once */
    WRITES_PER_EVENT = 8,    /* then others have their turn */
    LEAVE_US = 1000000,      /* for a client to hear that it has to go elsewhere */
    LOOK_US = 1000000,       /* between two looks at answers that nobody takes */
    UNTAKEN_US =
        10000000, /* for one of them: as long as an HTTP/1.1 client has for its last bytes */
};

struct carrier {
    struct grave grave;
    struct client *client;
    struct h2 *h2;
    bool left;           /* the client was told so, once and for all */
    uint64_t idle_us;    /* no stream is open since; 0 = one is */
    uint64_t stuck_us;   /* the client takes nothing since; 0 = it does */
    uint64_t leaving_us; /* it was told that we will, then; 0 = it was not */
    uint64_t look_us; /* when answers that nobody takes are looked at next; 0 = no stream is open */
    unsigned counted; /* its streams, in worker->stream_count */
};

static uint64_t now_us(const struct carrier *carrier)
{
    return loop_now_us(carrier->client->worker->loop);
}

static const struct config *config_of(const struct carrier *carrier)
{
    return carrier->client->worker->now->config;
}

/* --------------------------------------------------------------------- what is carried */

/* What it does may leave something to be sent: a window that opens, too. */
static void send_soon(struct carrier *carrier)
{
    loop_put_off(carrier->client->worker->loop, &carrier->client->put_off, true);
}

static void send_what_comes(const struct h2_stream *stream)
{
    if (h2_with(stream))
        send_soon(h2_with(stream));
}

static ssize_t read_inside(void *carried, void *into, size_t bytes)
{
    static_assert((int)H2_WAIT == (int)STREAM_WAIT && (int)H2_BROKEN == (int)STREAM_BROKEN,
                  "they go through as they are");
    ssize_t got = h2_read(carried, into, bytes);
    if (got > 0)
        send_what_comes(carried);
    return got;
}

static bool has_more_inside(const void *carried)
{
    return h2_has_more(carried);
}

static ssize_t write_inside(void *carried, const struct iovec *pieces, int count)
{
    ssize_t taken = h2_write(carried, pieces, count);
    send_what_comes(carried);
    return taken;
}

static void shut_inside(void *carried)
{
    h2_shut(carried);
    send_what_comes(carried);
}

static void close_inside(void *carried, bool reset)
{
    send_what_comes(carried);
    h2_close(carried, reset);
}

static const struct stream_inside inside = {
    .read = read_inside,
    .has_more = has_more_inside,
    .write = write_inside,
    .shut = shut_inside,
    .close = close_inside,
};

static void begin_stream(struct carrier *carrier, struct h2_stream *stream)
{
    struct worker *worker = carrier->client->worker;
    if (acceptor_is_full(worker)) {
        metrics_count(worker->metrics, COUNTER_REFUSED, 1);
        h2_refuse(stream);
        return;
    }
    h2_own(stream, client_new_inside(carrier->client, &inside, stream));
}

/* In the midst of things: the stream's client hears of it in the next round. */
static void on_news(void *with, struct h2_stream *stream, enum h2_news news)
{
    static const unsigned events[] = {
        [H2_MORE] = LOOP_READ, [H2_ROOM] = LOOP_WRITE, [H2_GONE] = LOOP_HANGUP | LOOP_BROKEN};
    struct carrier *carrier = with;
    struct client *client = h2_owner(stream);
    if (news == H2_BEGUN)
        begin_stream(carrier, stream);
    else
        loop_again(carrier->client->worker->loop, &client->watch, events[news]);
}

/* ----------------------------------------------------------------------------- the end */

static void free_carrier(struct grave *grave)
{
    memory_free(LIST_MEMBER(grave, struct carrier, grave));
}

static void count_streams(struct carrier *carrier, unsigned now)
{
    carrier->client->worker->stream_count += now - carrier->counted;
    carrier->counted = now;
}

static void bury(struct carrier *carrier)
{
    count_streams(carrier, 0);
    h2_free(carrier->h2);
    loop_bury(carrier->client->worker->loop, &carrier->grave, free_carrier);
}

void carrier_end(struct carrier *carrier)
{
    struct client *client = carrier->client;
    char words[H2_PRODUCE_MIN];
    h2_terminate(carrier->h2);
    size_t length = h2_produce(carrier->h2, words, sizeof(words), now_us(carrier));
    if (!client->hangup && length > 0 && !buffer_length(&client->out))
        stream_write(&client->stream, &(struct iovec){words, length}, 1); /* or not */
    bury(carrier);
}

/* All is said: the rest is as with any other client. */
static void finish(struct carrier *carrier)
{
    struct client *client = carrier->client;
    bury(carrier);
    client_end_carrier(client);
}

bool carrier_is_idle(const struct carrier *carrier)
{
    return !h2_stream_count(carrier->h2) && !buffer_length(&carrier->client->out);
}

void carrier_drain(struct carrier *carrier)
{
    if (carrier->leaving_us)
        return;
    if (carrier_is_idle(carrier) && client_close_idle(carrier->client))
        return;
    carrier_leave(carrier);
}

void carrier_leave(struct carrier *carrier)
{
    if (carrier->leaving_us)
        return;
    carrier->leaving_us = now_us(carrier);
    h2_leave(carrier->h2, true);
    send_soon(carrier);
}

/* ----------------------------------------------------------------------- timers */

/* When is there something to be looked at? */
static uint64_t next_look(const struct carrier *carrier)
{
    const struct config *config = config_of(carrier);
    uint64_t head = h2_head_since(carrier->h2);
    uint64_t times[] = {
        head ? head + (uint64_t)config->timeouts.client_header_us : UINT64_MAX,
        carrier->stuck_us ? carrier->stuck_us + (uint64_t)config->timeouts.stream_idle_us
                          : UINT64_MAX,
        carrier->idle_us ? carrier->idle_us + (uint64_t)config->timeouts.client_idle_us
                         : carrier->look_us,
        carrier->leaving_us && !carrier->left ? carrier->leaving_us + LEAVE_US : UINT64_MAX,
    };
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        next = times[i] < next ? times[i] : next;
    return next;
}

/* Something has happened. */
static void settle(struct carrier *carrier)
{
    unsigned streams = h2_stream_count(carrier->h2);
    bool idle = streams == 0;
    count_streams(carrier, streams);
    if (idle)
        carrier->look_us = 0;
    else if (!carrier->look_us)
        carrier->look_us = now_us(carrier) + LOOK_US;
    if (!idle)
        carrier->idle_us = 0;
    else if (!carrier->idle_us)
        carrier->client->since_us = carrier->idle_us = now_us(carrier);
    timer_set(carrier->client->worker->loop, &carrier->client->timer, next_look(carrier));
}

static void on_time(struct timer *timer)
{
    struct client *client = LIST_MEMBER(timer, struct client, timer);
    struct carrier *carrier = client->carrier;
    const struct config *config = config_of(carrier);
    uint64_t now = now_us(carrier), head = h2_head_since(carrier->h2);
    if (carrier->stuck_us && now >= carrier->stuck_us + (uint64_t)config->timeouts.stream_idle_us) {
        client_close(client);
        return;
    }
    bool late = head && now >= head + (uint64_t)config->timeouts.client_header_us;
    bool idle =
        carrier->idle_us && now >= carrier->idle_us + (uint64_t)config->timeouts.client_idle_us;
    if ((late || idle) &&
        buffer_length(&client->out)) { /* it takes nothing: nor would it take why */
        client_close(client);
        return;
    }
    if (late || idle) {
        h2_terminate(carrier->h2);
    } else if (carrier->leaving_us && !carrier->left && now >= carrier->leaving_us + LEAVE_US) {
        carrier->left = true;
        h2_leave(carrier->h2, false);
    }
    if (carrier->look_us && now >= carrier->look_us) {
        h2_sweep(carrier->h2, now, UNTAKEN_US);
        carrier->look_us = now + LOOK_US;
    }
    send_soon(carrier);
    settle(carrier);
}

/* -------------------------------------------------------------------------- sending */

/* False when nothing more can be sent now. */
static bool send_some(struct carrier *carrier)
{
    static _Thread_local void *mine;
    struct client *client = carrier->client;
    char *words = memory_of_thread(&mine, WRITE_BYTES);
    bool queued = buffer_length(&client->out) > 0;
    struct text bytes = buffer_text(&client->out);
    if (!queued)
        bytes = (struct text){words, h2_produce(carrier->h2, words, WRITE_BYTES, now_us(carrier))};
    if (bytes.len == 0)
        return false;
    struct iovec piece = {(void *)(uintptr_t)bytes.at, bytes.len};
    ssize_t done = stream_write(&client->stream, &piece, 1);
    if (done == STREAM_BROKEN) {
        client->hangup = true;
        loop_again(client->worker->loop, &client->watch, LOOP_BROKEN);
        return false;
    }
    size_t sent = done > 0 ? (size_t)done : 0;
    if (queued)
        buffer_drop(&client->out, sent);
    else
        buffer_append_text(&client->out, text_from(bytes, sent));
    if (sent > 0 || !carrier->stuck_us)
        carrier->stuck_us = now_us(carrier);
    if (buffer_length(&client->out))
        return false;
    carrier->stuck_us = 0;
    buffer_done(&client->out);
    return true;
}

static void send_all(struct put_off *put_off)
{
    struct client *client = LIST_MEMBER(put_off, struct client, put_off);
    struct carrier *carrier = client->carrier;
    int writes = 0;
    while (writes < WRITES_PER_EVENT && send_some(carrier))
        writes++;
    if (writes == WRITES_PER_EVENT)
        loop_again(client->worker->loop, &client->watch, LOOP_WRITE);
    else if (h2_is_over(carrier->h2) && !buffer_length(&client->out) && !client->hangup) {
        finish(carrier);
        return;
    }
    settle(carrier);
}

/* -------------------------------------------------------------------------- reading */

/* False: the client has gone. */
static bool read_some(struct carrier *carrier)
{
    struct client *client = carrier->client;
    struct worker *worker = client->worker;
    for (int reads = 0; reads < READS_PER_EVENT; reads++) {
        client->stream.untimed = true;
        client->unread = false;
        ssize_t got = stream_read(&client->stream, worker->scratch, READ_BYTES);
        if (got == STREAM_WAIT)
            return true;
        if (got <= 0) {
            client_close(client);
            return false;
        }
        h2_receive(carrier->h2, (struct text){worker->scratch, (size_t)got}, now_us(carrier));
        if (!stream_may_have_more(&client->stream, (size_t)got, READ_BYTES) && !client->hangup)
            return true;
    }
    loop_again(worker->loop, &client->watch, LOOP_READ);
    return true;
}

static void on_event(struct watch *watch, unsigned events)
{
    struct client *client = LIST_MEMBER(watch, struct client, watch);
    struct carrier *carrier = client->carrier;
    if (events & LOOP_HANGUP)
        client->hangup = true;
    if (events & LOOP_BROKEN) {
        client_close(client);
        return;
    }
    if ((events & LOOP_READ || client->hangup) && !read_some(carrier))
        return;
    send_soon(carrier);
    settle(carrier);
}

/* ---------------------------------------------------------------------------- begin */

struct carrier *carrier_new(struct client *client)
{
    const struct config *config = client->worker->now->config;
    struct carrier *carrier = memory_new(sizeof(*carrier));
    struct h2_settings settings = {.max_streams = config->limits.max_streams,
                                   .max_header_bytes = config->limits.max_header_bytes,
                                   .tell = on_news,
                                   .with = carrier};
    carrier->client = client;
    carrier->h2 = h2_new(&settings, now_us(carrier));
    carrier->idle_us = now_us(carrier);
    client->watch.on_event = on_event;
    client->timer.on_time = on_time;
    client->put_off.run = send_all;
    return carrier;
}

void carrier_take(struct carrier *carrier, struct text bytes)
{
    if (bytes.len)
        h2_receive(carrier->h2, bytes, now_us(carrier));
    loop_again(carrier->client->worker->loop, &carrier->client->watch, LOOP_READ | LOOP_WRITE);
    send_soon(carrier);
    settle(carrier);
}
