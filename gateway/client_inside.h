/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * client, from inside: what client.c, which reads requests and sends answers, and client_life.c,
 * which begins and ends connections, share. For nobody else. The loop's thread only; none of these
 * takes ownership.
 */

#include "gateway/client.h"
#include "gateway/worker_inside.h"

/* When the loop's round began (monotonic). */
static inline uint64_t client_now_us(const struct client *client)
{
    return loop_now_us(client->worker->loop);
}

/* What is in force now; of the worker. */
static inline const struct config *client_config(const struct client *client)
{
    return client->worker->now->config;
}

static inline void client_set_timer(struct client *client, int64_t from_now_us)
{
    timer_set(client->worker->loop, &client->timer, client_now_us(client) + (uint64_t)from_now_us);
}

/* client.c: the callbacks of its socket and of what was put off. */
void client_on_event(struct watch *watch, unsigned events);
void client_send_put_off(struct put_off *put_off);
/* Send of <out> what there is room for. False when nothing can be sent any more. */
bool client_send_queued(struct client *client);
/* Answer the request whose head is being read, and begins with <bytes>, with <fault>. */
void client_refuse_head(struct client *client, const struct fault *fault, struct text bytes);

/* client_life.c: close, lingering where the peer may still send. */
void client_end_now(struct client *client);
/* The same once <out> has gone. */
void client_end_after_flush(struct client *client);
