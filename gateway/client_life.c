/* SPDX-License-Identifier: Apache-2.0 */
/* How a client's connection begins and ends, and when it has had its time. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/carrier.h"
#include "gateway/client_inside.h"
#include "gateway/exchange.h"

enum {
    LINGER_US = 2000000,
    FLUSH_US = 10000000, /* without progress */
    SECOND_US = 1000000,
};

static void on_time(struct timer *timer);

static void free_client(struct grave *grave)
{
    struct client *client = LIST_MEMBER(grave, struct client, grave);
    buffer_done(&client->in);
    buffer_done(&client->out);
    memory_free(client);
}

static void bury(struct client *client)
{
    struct worker *worker = client->worker;
    loop_remove(worker->loop, &client->watch);
    timer_stop(&client->timer);
    list_remove(&client->link);
    list_remove(&client->put_off.link);
    client->state = CLIENT_CLOSED;
    worker->client_count--;
    if (client->stream.is_inside)
        worker->inside_count--;
    else
        metrics_gauge(worker->metrics, GAUGE_CONNECTIONS, -1);
    loop_bury(worker->loop, &client->grave, free_client);
    worker_check_idle(worker);
}

static void leave_exchange(struct client *client)
{
    struct exchange *x = client->exchange;
    client->exchange = NULL;
    if (x)
        exchange_abandon(x);
}

void client_close(struct client *client)
{
    if (client->state == CLIENT_CLOSED)
        return;
    if (client->state == CLIENT_CARRIER)
        carrier_end(client->carrier);
    bury(client);
    stream_close(&client->stream);
    leave_exchange(client);
}

void client_cut(struct client *client, bool bare)
{
    if (client->state == CLIENT_CLOSED)
        return;
    if (!list_is_empty(&client->put_off.link)) /* it was only put off */
        client_send_queued(client);
    /* What was sent may arrive, what is queued will not; the framing tells that it is not whole. */
    bool queued = buffer_length(&client->out) > 0;
    bury(client);
    if (queued || bare)
        stream_reset(&client->stream);
    else
        stream_close(&client->stream);
    leave_exchange(client);
}

/* Shut our side and read what still comes, so that no reset overtakes the answer. */
static void begin_linger(struct client *client)
{
    client->state = CLIENT_LINGER;
    client->discarded = 0;
    client->paused = false;
    client->resumed = true; /* what is in <in> is dropped there: take() may be at work on it */
    stream_shut(&client->stream);
    timer_stop(&client->timer);
    client_set_timer(client, LINGER_US);
    loop_again(client->worker->loop, &client->watch, LOOP_READ);
}

void client_end_now(struct client *client)
{
    bool more = client->linger || client->unread || buffer_length(&client->in);
    if (more && !client->hangup)
        begin_linger(client);
    else
        client_close(client);
}

void client_end_after_flush(struct client *client)
{
    if (buffer_length(&client->out) == 0) {
        client_end_now(client);
        return;
    }
    client->state = CLIENT_FLUSH;
    client->since_us = client_now_us(client);
    client_set_timer(client, FLUSH_US);
}

static void write_peer(struct client *client, const struct sockaddr_storage *from)
{
    if (from->ss_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)from)->sin_addr, client->peer,
                  sizeof(client->peer));
    else if (from->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)from)->sin6_addr, client->peer,
                  sizeof(client->peer));
    else
        snprintf(client->peer, sizeof(client->peer), "unix");
}

static void take_callbacks(struct client *client)
{
    client->watch.on_event = client_on_event;
    client->timer.on_time = on_time;
    client->put_off.run = client_send_put_off;
}

static struct client *begin(struct worker *worker, struct worker_listener *listener, int fd)
{
    struct client *client = memory_new(sizeof(*client));
    client->worker = worker;
    client->listener = listener;
    client->watch.fd = fd;
    take_callbacks(client);
    list_init(&client->put_off.link);
    buffer_init(&client->in, SIZE_MAX / 2);  /* bounded by what one read brings behind a head */
    buffer_init(&client->out, SIZE_MAX / 2); /* bounded by pausing the upstream */
    client->since_us = client_now_us(client);
    list_push_back(&worker->clients, &client->link);
    worker->client_count++;
    worker_check_idle(worker);
    client_set_timer(client, client_config(client)->timeouts.client_header_us);
    return client;
}

void client_new(struct worker *worker, struct worker_listener *listener, int fd,
                const struct sockaddr_storage *from)
{
    struct client *client = begin(worker, listener, fd);
    stream_init(&client->stream, fd);
    if (listener->tls)
        stream_tls_server(&client->stream, listener->tls);
    write_peer(client, from);
    client->state = listener->proxy_protocol != PROXY_NONE ? CLIENT_PROXY
                    : listener->tls                        ? CLIENT_SHAKE
                                                           : CLIENT_HEAD;
    metrics_gauge(worker->metrics, GAUGE_CONNECTIONS, 1);
    loop_add(worker->loop, &client->watch);
}

struct client *client_new_inside(struct client *outer, const struct stream_inside *how,
                                 void *carried)
{
    struct client *client = begin(outer->worker, outer->listener, -1);
    stream_init_inside(&client->stream, how, carried);
    outer->worker->inside_count++;
    memcpy(client->peer, outer->peer, sizeof(client->peer));
    client->state = CLIENT_HEAD;
    loop_again(outer->worker->loop, &client->watch, LOOP_READ);
    return client;
}

void client_end_carrier(struct client *client)
{
    take_callbacks(client);
    client->state = CLIENT_FLUSH;
    client->carrier = NULL;
    client->linger = true;
    client_end_after_flush(client);
}

/* ---------------------------------------------------------------------------- idle ones */

bool client_is_idle(const struct client *client)
{
    if (client->state == CLIENT_CARRIER)
        return carrier_is_idle(client->carrier);
    if (client->stream.is_inside) /* its request is there */
        return false;
    return client->state == CLIENT_HEAD && !client->started && !buffer_length(&client->out) &&
           !buffer_length(&client->in);
}

bool client_close_idle(struct client *client)
{
    char byte;
    if (client->unread || recv(client->stream.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
        client->unread = true;
        return false;
    }
    client_close(client);
    return true;
}

void client_drain(struct client *client)
{
    if (client->listener->is_admin_socket)
        return;
    if (client->state == CLIENT_CARRIER)
        carrier_drain(client->carrier);
    else if (client->state == CLIENT_PROXY || client->state == CLIENT_SHAKE)
        client_close(client);
    else if (client_is_idle(client))
        client_close_idle(client); /* or its request is answered, the last one */
}

/* It is not closed while it waits: its next request may be on the way, and would be lost. */
void client_leave(struct client *client)
{
    if (client->state == CLIENT_CARRIER)
        carrier_leave(client->carrier);
}

/* ---------------------------------------------------------------------------- time outs */

/* When does the present phase end? */
static uint64_t deadline(const struct client *client)
{
    const struct config *config = client_config(client);
    uint64_t since = client->since_us;
    switch (client->state) {
    case CLIENT_PROXY:
    case CLIENT_SHAKE:
        return since + (uint64_t)config->timeouts.client_header_us;
    case CLIENT_HEAD:
        if (client->started || !client->served)
            return since + (uint64_t)config->timeouts.client_header_us;
        return since + (uint64_t)config->timeouts.client_idle_us;
    case CLIENT_BODY: {
        uint64_t allowed = (uint64_t)config->timeouts.client_body_us;
        int64_t rate = config->timeouts.client_body_min_rate;
        if (rate > 0)
            allowed += client->body.total * SECOND_US / (uint64_t)rate;
        return client->paused ? UINT64_MAX : since + allowed;
    }
    case CLIENT_BUSY:
    case CLIENT_TUNNEL:
        return buffer_length(&client->out) ? since + (uint64_t)config->timeouts.stream_idle_us
                                           : UINT64_MAX;
    case CLIENT_FLUSH:
        return since + FLUSH_US;
    case CLIENT_LINGER:
        return 0;
    case CLIENT_CARRIER:
    case CLIENT_CLOSED:
        break;
    }
    return UINT64_MAX;
}

static void run_out_of_time(struct client *client)
{
    struct fault fault;
    fault_set(&fault, FAULT_TIMED_OUT, "The request did not arrive in time.");
    if (client->state == CLIENT_HEAD && client->started) {
        client->keep = false;
        client_refuse_head(client, &fault, buffer_text(&client->in));
    } else if (client->state == CLIENT_BODY) {
        client->keep = false;
        client->linger = true;
        exchange_body_bad(client->exchange, &fault);
    } else if (client->stream.is_inside) { /* what it has not taken is not left to its connection */
        client_cut(client, true);
    } else {
        client_close(client);
    }
}

static void on_time(struct timer *timer)
{
    struct client *client = LIST_MEMBER(timer, struct client, timer);
    uint64_t by = deadline(client);
    if (by == UINT64_MAX) {
        if (client->state == CLIENT_BODY) /* paused: look again */
            client_set_timer(client, client_config(client)->timeouts.client_body_us);
        return;
    }
    if (client_now_us(client) >= by)
        run_out_of_time(client);
    else
        timer_set(client->worker->loop, &client->timer, by);
}
