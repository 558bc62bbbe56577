/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/gauges.h"

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/gauge_text.h"
#include "gateway/wire/ask.h"
#include "gateway/worker_inside.h"

enum { ANSWER_MAX = 1 << 20, REQUEST_MAX = 64 * 1024, DOUBLINGS_MAX = 5 };

static const uint64_t LOOK_US = 1000000, EVERY_US = 2000000, PATIENCE_US = 2000000;

/* One provider's. */
struct asked {
    struct gauge_desk *desk;
    const struct provider_settings *provider;
    struct upstream_pool *pool;
    struct ask ask;
    struct timer timer; /* the next one is due */
    struct buffer request;
    unsigned failures; /* in a row */
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

/* The next one is due. */
static void on_over(struct ask *ask, const char *problem)
{
    struct asked *one = LIST_MEMBER(ask, struct asked, ask);
    struct gauges gauges;
    if (!problem && ask->status != 200)
        problem = "the answer is not 200";
    if (!problem && !gauge_text_read(buffer_text(&ask->answer), &gauges))
        problem = "it has none of the names that are known";
    if (!problem)
        tell(one, &gauges);
    else if (one->failures == 0)
        log_line(LOG_WARN, "upstream", "the metrics of the provider %.*s: %s",
                 TEXT_ARGS(one->provider->name), problem);
    one->failures = problem ? one->failures + 1 : 0;
    buffer_done(&ask->answer);
    unsigned doublings = one->failures < DOUBLINGS_MAX ? one->failures : DOUBLINGS_MAX;
    timer_set(one->desk->worker->loop, &one->timer, now_of(one) + (EVERY_US << doublings));
}

static void on_time(struct timer *timer)
{
    struct asked *one = LIST_MEMBER(timer, struct asked, timer);
    ask_begin(&one->ask, one->pool, buffer_text(&one->request), (struct text){"", 0});
}

/* ---------------------------------------------------------------------------- configurations */

static void forget(struct gauge_desk *desk)
{
    for (size_t i = 0; i < desk->count; i++) {
        struct asked *one = &desk->list[i];
        timer_stop(&one->timer);
        ask_done(&one->ask);
        buffer_done(&one->request);
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

static void write_request(struct asked *one, const struct url *url)
{
    buffer_init(&one->request, REQUEST_MAX);
    ask_put_head(&one->request, "GET", url, NULL, one->pool);
    buffer_append_text(&one->request, TEXT("Accept: text/plain\r\n\r\n"));
}

static void add(struct gauge_desk *desk, const struct provider_settings *provider)
{
    struct asked *one = &desk->list[desk->count];
    *one = (struct asked){.desk = desk, .provider = provider};
    if (!provider->metrics_url || provider->off || !open_pool(one, provider))
        return;
    write_request(one, &provider->metrics);
    one->ask = (struct ask){.loop = desk->worker->loop,
                            .timeout_us = PATIENCE_US,
                            .answer_max = ANSWER_MAX,
                            .on_over = on_over};
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
