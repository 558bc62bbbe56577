/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/jwks.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum {
    DOCUMENT_MAX = 1 << 20,
    REQUEST_MAX = 4096,
    CONNECT_US = 5000000,
    ANSWER_US = 10000000,
    WANT_US = 10000000,  /* between two that were asked for */
    FAILED_US = 2000000, /* after a failure, doubled up to the usual interval */
    DOUBLINGS_MAX = 8,
};

static void plan(struct jwks *jwks)
{
    uint64_t wait = (uint64_t)jwks->config->jwt.refresh_us;
    if (jwks->failures > 0) {
        unsigned doublings =
            jwks->failures - 1 < DOUBLINGS_MAX ? jwks->failures - 1 : DOUBLINGS_MAX;
        uint64_t soon = (uint64_t)FAILED_US << doublings;
        wait = soon < wait ? soon : wait;
    }
    timer_set(jwks->loop, &jwks->timer, loop_now_us(jwks->loop) + wait);
}

static void fetched(struct jwks *jwks, const char *problem)
{
    jwks->asking = false;
    upstream_abandon(&jwks->call);
    if (problem) {
        if (jwks->failures++ == 0)
            log_line(LOG_WARN, "jwt", "the issuer's keys cannot be fetched: %s", problem);
    } else if (jwks->on_keys(jwks->with, buffer_text(&jwks->answer))) {
        jwks->failures = 0;
        memory_free(jwks->keys);
        jwks->keys = memory_string(buffer_text(&jwks->answer));
    } else {
        if (jwks->failures++ == 0)
            log_line(LOG_ERROR, "jwt", "the issuer's document has no key that can be used");
    }
    buffer_done(&jwks->answer);
    plan(jwks);
}

/* ------------------------------------------------------------------------------- the call */

static void on_connected(struct upstream_call *call)
{
    struct jwks *jwks = LIST_MEMBER(call, struct jwks, call);
    const struct url *url = &jwks->config->jwt.jwks;
    static _Thread_local void *mine; /* must stay until it is sent */
    char *request = memory_of_thread(&mine, REQUEST_MAX);
    int length =
        snprintf(request, REQUEST_MAX,
                 "GET %.*s HTTP/1.1\r\nHost: %.*s:%u\r\nAccept: application/json\r\n"
                 "User-Agent: sluice\r\n\r\n",
                 TEXT_ARGS(url->path.len ? url->path : TEXT("/")), TEXT_ARGS(url->host), url->port);
    struct iovec piece = {request, (size_t)length < REQUEST_MAX ? (size_t)length : 0};
    upstream_send(call, &piece, 1, false);
}

static void on_sent(struct upstream_call *call)
{
    (void)call;
}

static void on_head(struct upstream_call *call, const struct head *head)
{
    if (head->status != 200)
        fetched(LIST_MEMBER(call, struct jwks, call), "it did not answer with 200");
}

static void on_body(struct upstream_call *call, struct text piece)
{
    struct jwks *jwks = LIST_MEMBER(call, struct jwks, call);
    if (jwks->asking && !buffer_append_text(&jwks->answer, piece))
        fetched(jwks, "the document is too long");
}

static void on_batch(struct upstream_call *call)
{
    (void)call;
}

static void on_end(struct upstream_call *call)
{
    struct jwks *jwks = LIST_MEMBER(call, struct jwks, call);
    if (jwks->asking)
        fetched(jwks, NULL);
}

static void on_fault(struct upstream_call *call, enum fault_kind kind, const char *why)
{
    struct jwks *jwks = LIST_MEMBER(call, struct jwks, call);
    (void)kind;
    if (jwks->asking)
        fetched(jwks, why);
}

static void on_room(struct upstream_call *call)
{
    (void)call;
}

static const struct upstream_handlers handlers = {
    .on_connected = on_connected,
    .on_sent = on_sent,
    .on_head = on_head,
    .on_body = on_body,
    .on_batch = on_batch,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_room = on_room,
};

static void ask(struct jwks *jwks)
{
    jwks->asking = true;
    jwks->asked_us = loop_now_us(jwks->loop);
    buffer_init(&jwks->answer, DOCUMENT_MAX);
    jwks->call = (struct upstream_call){.on = &handlers};
    timer_set(jwks->loop, &jwks->timer, jwks->asked_us + ANSWER_US);
    upstream_begin(jwks->pool, &jwks->call);
}

static void on_time(struct timer *timer)
{
    struct jwks *jwks = LIST_MEMBER(timer, struct jwks, timer);
    if (jwks->asking)
        fetched(jwks, "no answer in time");
    else
        ask(jwks);
}

/* ------------------------------------------------------------------------------- settings */

static void stop(struct jwks *jwks)
{
    timer_stop(&jwks->timer);
    if (jwks->asking)
        upstream_abandon(&jwks->call);
    jwks->asking = false;
    buffer_done(&jwks->answer);
    if (jwks->pool)
        upstream_pool_unref(jwks->pool);
    jwks->pool = NULL;
    if (jwks->config)
        config_unref((struct config *)(uintptr_t)jwks->config);
    jwks->config = NULL;
}

static bool open_pool(struct jwks *jwks, const struct url *url)
{
    struct fault fault;
    char *host = memory_string(url->host);
    struct upstream_place place = {.host = host,
                                   .port = url->port,
                                   .has_tls = url->tls,
                                   .connect_us = CONNECT_US,
                                   .idle_us = CONNECT_US,
                                   .max_connections = 1,
                                   .max_idle = 1};
    jwks->pool = upstream_pool_ref(jwks->upstreams, &place, &fault);
    memory_free(host);
    if (!jwks->pool)
        log_line(LOG_ERROR, "jwt", "%s", fault.text);
    return jwks->pool != NULL;
}

void jwks_set(struct jwks *jwks, struct config *config)
{
    bool same = jwks->config && config->jwt.enabled &&
                strcmp(jwks->config->jwt.jwks_url, config->jwt.jwks_url) == 0;
    stop(jwks);
    if (!same) {
        memory_free(jwks->keys);
        jwks->keys = NULL;
    }
    if (!config->jwt.enabled || !open_pool(jwks, &config->jwt.jwks))
        return;
    jwks->config = config_ref(config);
    jwks->failures = 0;
    ask(jwks);
}

void jwks_want(struct jwks *jwks)
{
    if (jwks->config && !jwks->asking && loop_now_us(jwks->loop) - jwks->asked_us >= WANT_US)
        ask(jwks);
}

void jwks_init(struct jwks *jwks, struct loop *loop, struct upstreams *upstreams,
               bool (*on_keys)(void *with, struct text keys), void *with)
{
    *jwks = (struct jwks){.loop = loop, .upstreams = upstreams, .on_keys = on_keys, .with = with};
    jwks->timer.on_time = on_time;
}

void jwks_done(struct jwks *jwks)
{
    stop(jwks);
    memory_free(jwks->keys);
}
