/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/exchange.h"

#include <assert.h>

#include "gateway/client.h"
#include "gateway/follow.h"
#include "gateway/guarding.h"
#include "gateway/job_desk.h"
#include "gateway/job_page.h"
#include "gateway/objects.h"
#include "gateway/oidc_page.h"
#include "gateway/pages.h"
#include "gateway/realtime.h"
#include "gateway/relay.h"
#include "gateway/replay.h"
#include "gateway/reserve.h"
#include "gateway/semantics.h"
#include "gateway/steps.h"
#include "gateway/upload.h"
#include "gateway/worker_inside.h"

#define TO(state) (1U << EXCHANGE_##state)

/*
 * The diagram. A step does its work and returns the state to go to, or its own state when it has
 * to wait; whoever wakes it calls exchange_run() and the step looks at the facts again.
 */
/* clang-format off */
static const struct {
    const char *name;
    enum exchange_state (*act)(struct exchange *x);
    unsigned leads_to;
} steps[EXCHANGE_STATES] = {
    /*                    name      step         leads to                                       */
    [EXCHANGE_READ]   = {"read",   step_read,   TO(ADMIT) | TO(REFUSE) | TO(SETTLE)},
    [EXCHANGE_ADMIT]   = {"admit",   step_admit,   TO(RECALL) | TO(REFUSE)},
    [EXCHANGE_RECALL]  = {"recall",  step_recall,  TO(RESERVE) | TO(REFUSE)},
    [EXCHANGE_RESERVE] = {"reserve", step_reserve, TO(ROUTE) | TO(LIKEN) | TO(REPLAY) | TO(REFUSE)},
    [EXCHANGE_LIKEN]  = {"liken",  step_liken,  TO(ROUTE) | TO(REPLAY) | TO(REFUSE)},
    [EXCHANGE_ROUTE]   = {"route",   step_route,   TO(WAKE) | TO(SEND) | TO(SETTLE) | TO(REFUSE)},
    [EXCHANGE_WAKE]   = {"wake",    step_wake,    TO(SEND) | TO(ROUTE) | TO(REFUSE)},
    [EXCHANGE_SEND]    = {"send",    step_send,    TO(RELAY) | TO(ROUTE) | TO(REFUSE) | TO(SETTLE)},
    [EXCHANGE_RELAY]   = {"relay",   step_relay,   TO(SETTLE) | TO(ROUTE) | TO(REFUSE)},
    [EXCHANGE_REPLAY]  = {"replay",  step_replay,  TO(SETTLE) | TO(RECALL) | TO(REFUSE)},
    [EXCHANGE_REFUSE]  = {"refuse",  step_refuse,  TO(SETTLE)},
    [EXCHANGE_SETTLE] = {"settle", step_settle, TO(DONE)},
    [EXCHANGE_DONE]   = {"done",   NULL,        0},
};
/* clang-format on */

const char *exchange_state_name(enum exchange_state state)
{
    return steps[state].name;
}

static void free_exchange(struct grave *grave)
{
    worker_give_exchange(LIST_MEMBER(grave, struct exchange, grave));
}

static void bury(struct exchange *x)
{
    timer_stop(&x->timer);
    list_remove(&x->link);
    upstream_abandon(&x->upstream);
    if (x->streams)
        metrics_gauge(x->worker->metrics, GAUGE_STREAMS, -1);
    waking_forget(x);
    reserve_forget(x);
    semantics_forget(x);
    replay_forget(x);
    guarding_forget(x);
    objects_forget(x);
    pages_forget(x);
    oidc_page_forget(x);
    follow_forget(x);
    realtime_forget(x);
    upload_forget(x);
    job_desk_forget(x);
    job_page_forget(x);
    job_upload_forget(x);
    struct client *client = x->client;
    x->client = NULL;
    loop_bury(x->worker->loop, &x->grave, free_exchange);
    if (!client)
        return;
    client->exchange = NULL;
    if (x->close_after)
        client->keep = false;
    if (x->cut_out)
        client_cut(client, x->length_out < 0 && !x->chunked_out);
    else
        client_finish(client);
}

uint64_t exchange_affinity(struct text name)
{
    struct digest digest = hash_sha256(name);
    uint64_t number;
    memcpy(&number, digest.bytes, sizeof(number));
    return number | 1;
}

/* A step may call something that answers at once and so calls back in here; that call only leaves
 * a note, and the loop below takes the step again. */
void exchange_run(struct exchange *x)
{
    x->run_again = true;
    if (x->running || x->state == EXCHANGE_DONE)
        return;
    x->running = true;
    while (x->run_again && x->state != EXCHANGE_DONE) {
        x->run_again = false;
        enum exchange_state next = steps[x->state].act(x);
        if (next == x->state)
            continue;
        assert(steps[x->state].leads_to & (1U << next));
        x->state = next;
        x->run_again = true;
    }
    x->running = false;
    if (x->state == EXCHANGE_DONE)
        bury(x);
}

bool exchange_body(struct exchange *x, struct text piece)
{
    if (x->relay == RELAY_TUNNEL)
        return relay_tunnel(x, piece);
    x->body_bytes += (int64_t)piece.len;
    if (x->upload)
        return upload_take(x, piece);
    if (x->job_upload)
        return job_upload_take(x, piece);
    if (x->facts.request_bad)
        return true;
    bool unwanted = x->match.endpoint && x->match.endpoint->body == BODY_ABSENT;
    if (unwanted ? (size_t)x->body_bytes > x->body.limit : !buffer_append_text(&x->body, piece)) {
        struct fault fault;
        fault_set(&fault, FAULT_TOO_LARGE, "The request body is larger than %zu bytes.",
                  x->body.limit);
        exchange_body_bad(x, &fault);
    }
    return true;
}

void exchange_body_announced(struct exchange *x, uint64_t more)
{
    struct fault fault;
    uint64_t limit =
        x->upload ? x->snapshot->config->limits.max_upload_bytes : (uint64_t)x->body.limit;
    if (x->relay == RELAY_TUNNEL || (uint64_t)x->body_bytes + more <= limit)
        return;
    fault_set(&fault, FAULT_TOO_LARGE, "The request body is larger than %llu bytes.",
              (unsigned long long)limit);
    exchange_body_bad(x, &fault);
}

bool exchange_takes_straight(const struct exchange *x)
{
    return !x->upload && x->relay != RELAY_TUNNEL && !x->facts.request_bad &&
           x->match.endpoint->body == BODY_JSON && x->match.endpoint->page == PAGE_NONE;
}

void exchange_body_end(struct exchange *x)
{
    x->whole_us = x->client ? client_arrived_us(x->client) : loop_now_us(x->worker->loop);
    if (x->upload) {
        upload_end(x);
        return;
    }
    x->facts.request_whole = true;
    exchange_run(x);
}

void exchange_body_bad(struct exchange *x, const struct fault *fault)
{
    if (x->facts.request_bad)
        return;
    x->facts.request_bad = true;
    *exchange_fault(x) = *fault;
    if (x->client && x->client->state == CLIENT_BODY) { /* what else comes is not looked at */
        x->close_after = true;
        x->client->keep = false;
        x->client->linger = true;
    }
    exchange_run(x);
}

void exchange_abandon(struct exchange *x)
{
    if (x->client && !x->peer.len)
        x->peer = arena_copy(&x->arena, text_of(x->client->peer));
    x->client = NULL;
    x->facts.client_gone = true;
    exchange_run(x);
}

void exchange_room(struct exchange *x)
{
    relay_room(x);
}
