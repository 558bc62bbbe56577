/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/gauges.h"

#include <stdio.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/gauge_text.h"
#include "gateway/worker_inside.h"

enum { ANSWER_MAX = 1 << 20, REQUEST_MAX = 4096, DOUBLINGS_MAX = 5 };

static const uint64_t LOOK_US = 1000000, EVERY_US = 2000000, PATIENCE_US = 2000000;

/* One provider's. */
struct asked {
    struct gauge_desk *desk;
    const struct provider_settings *provider;
    struct upstream_pool *pool;
    struct upstream_call upstream;
    struct timer timer; /* the next one is due; while it is asked: it takes too long */
    struct buffer answer;
    char request[REQUEST_MAX];
    size_t request_len;
    unsigned failures; /* in a row */
    bool busy;
};

struct gauge_desk {
    struct worker *worker;
    struct timer timer;        /* is there another configuration? */
    struct snapshot *snapshot; /* whose providers they are */
    struct asked *list;
    size_t count;
};

static uint64_t now_of(const struct asked *one)
{
    return loop_now_us(one->desk->worker->loop);
}

static void tell(struct asked *one, const struct gauges *gauges)
{
    const struct config *config = one->desk->snapshot->config;
    for (size_t i = 0; i < config->target_count; i++) {
        const struct target *target = &config->targets[i];
        if (target->provider != one->provider || !target->figures)
            continue;
        predict_told(&target->figures->predict, gauges->waiting, gauges->running, gauges->cache_ppm,
                     now_of(one));
    }
}

/* <problem>: what it was, or NULL. The next one is due. */
static void finish(struct asked *one, const char *problem)
{
    struct gauges gauges;
    upstream_abandon(&one->upstream);
    one->busy = false;
    if (!problem && !gauge_text_read(buffer_text(&one->answer), &gauges))
        problem = "it has none of the names that are known";
    if (!problem)
        tell(one, &gauges);
    else if (one->failures == 0)
        log_line(LOG_WARN, "upstream", "the metrics of the provider %.*s: %s",
                 TEXT_ARGS(one->provider->name), problem);
    one->failures = problem ? one->failures + 1 : 0;
    buffer_done(&one->answer);
    unsigned doublings = one->failures < DOUBLINGS_MAX ? one->failures : DOUBLINGS_MAX;
    timer_set(one->desk->worker->loop, &one->timer, now_of(one) + (EVERY_US << doublings));
}

static void on_connected(struct upstream_call *upstream)
{
    struct asked *one = LIST_MEMBER(upstream, struct asked, upstream);
    struct iovec piece = {one->request, one->request_len};
    upstream_send(upstream, &piece, 1, false);
}

static void on_nothing(struct upstream_call *upstream)
{
    (void)upstream;
}

static void on_head(struct upstream_call *upstream, const struct head *head)
{
    if (head->status != 200)
        finish(LIST_MEMBER(upstream, struct asked, upstream), "the answer is not 200");
}

static void on_body(struct upstream_call *upstream, struct text piece)
{
    struct asked *one = LIST_MEMBER(upstream, struct asked, upstream);
    if (one->busy && !buffer_append_text(&one->answer, piece))
        finish(one, "the answer is too long");
}

static void on_end(struct upstream_call *upstream)
{
    struct asked *one = LIST_MEMBER(upstream, struct asked, upstream);
    if (one->busy)
        finish(one, NULL);
}

static void on_fault(struct upstream_call *upstream, enum fault_kind kind, const char *why)
{
    struct asked *one = LIST_MEMBER(upstream, struct asked, upstream);
    (void)kind;
    if (one->busy)
        finish(one, why);
}

static const struct upstream_handlers handlers = {
    .on_connected = on_connected,
    .on_sent = on_nothing,
    .on_head = on_head,
    .on_body = on_body,
    .on_batch = on_nothing,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_room = on_nothing,
};

static void on_time(struct timer *timer)
{
    struct asked *one = LIST_MEMBER(timer, struct asked, timer);
    if (one->busy) {
        finish(one, "no answer in time");
        return;
    }
    one->busy = true;
    buffer_init(&one->answer, ANSWER_MAX);
    timer_set(one->desk->worker->loop, &one->timer, now_of(one) + PATIENCE_US);
    one->upstream = (struct upstream_call){.on = &handlers};
    upstream_begin(one->pool, &one->upstream);
}

/* ---------------------------------------------------------------------------- configurations */

static void forget(struct gauge_desk *desk)
{
    for (size_t i = 0; i < desk->count; i++) {
        struct asked *one = &desk->list[i];
        timer_stop(&one->timer);
        if (one->busy)
            upstream_abandon(&one->upstream);
        buffer_done(&one->answer);
        upstream_pool_unref(one->pool);
    }
    memory_free(desk->list);
    desk->list = NULL;
    desk->count = 0;
    if (desk->snapshot)
        snapshot_unref(desk->snapshot);
    desk->snapshot = NULL;
}

static bool open_pool(struct asked *one, const struct provider_settings *provider)
{
    const struct url *url = &provider->metrics;
    struct fault fault;
    char *host = memory_string(url->host);
    struct upstream_place place = {.host = host,
                                   .port = url->port,
                                   .has_tls = url->tls,
                                   .connect_us = (int64_t)PATIENCE_US,
                                   .idle_us = (int64_t)EVERY_US * 4,
                                   .max_connections = 1,
                                   .max_idle = 1,
                                   .allow_link_local = provider->allow_link_local};
    one->pool = upstream_pool_ref(one->desk->worker->upstreams, &place, &fault);
    memory_free(host);
    if (!one->pool)
        log_line(LOG_ERROR, "upstream", "%s", fault.text);
    return one->pool != NULL;
}

static bool write_request(struct asked *one, const struct url *url)
{
    int length =
        snprintf(one->request, sizeof(one->request),
                 "GET %.*s HTTP/1.1\r\nHost: %.*s:%u\r\nAccept: text/plain\r\n"
                 "User-Agent: sluice\r\n\r\n",
                 TEXT_ARGS(url->path.len ? url->path : TEXT("/")), TEXT_ARGS(url->host), url->port);
    one->request_len = length > 0 ? (size_t)length : 0;
    return one->request_len > 0 && one->request_len < sizeof(one->request);
}

static void add(struct gauge_desk *desk, const struct provider_settings *provider)
{
    struct asked *one = &desk->list[desk->count];
    *one = (struct asked){.desk = desk, .provider = provider};
    if (!provider->metrics_url || provider->off || !write_request(one, &provider->metrics) ||
        !open_pool(one, provider))
        return;
    one->timer.on_time = on_time;
    list_init(&one->timer.link);
    desk->count++;
    timer_set(desk->worker->loop, &one->timer, loop_now_us(desk->worker->loop));
}

static void take(struct gauge_desk *desk, struct snapshot *snapshot)
{
    forget(desk);
    desk->snapshot = snapshot_ref(snapshot);
    const struct config *config = snapshot->config;
    desk->list = memory_new((config->provider_count + 1) * sizeof(*desk->list));
    for (size_t i = 0; i < config->provider_count; i++)
        add(desk, &config->providers[i]);
}

static void on_look(struct timer *timer)
{
    struct gauge_desk *desk = LIST_MEMBER(timer, struct gauge_desk, timer);
    struct worker *worker = desk->worker;
    if (worker->now && worker->now != desk->snapshot)
        take(desk, worker->now);
    timer_set(worker->loop, &desk->timer, loop_now_us(worker->loop) + LOOK_US);
}

struct gauge_desk *gauges_new(struct worker *worker)
{
    struct gauge_desk *desk = memory_new(sizeof(*desk));
    desk->worker = worker;
    desk->timer.on_time = on_look;
    list_init(&desk->timer.link);
    timer_set(worker->loop, &desk->timer, loop_now_us(worker->loop));
    return desk;
}

void gauges_stop(struct gauge_desk *desk)
{
    if (!desk)
        return;
    timer_stop(&desk->timer);
    forget(desk);
}

void gauges_free(struct gauge_desk *desk)
{
    if (desk)
        memory_free(desk);
}
