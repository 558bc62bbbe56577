/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/checkups.h"

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/outbound.h"
#include "gateway/wire/ask.h"
#include "gateway/worker_inside.h"

enum { HEAD_MAX = 64 * 1024 };

static const uint64_t LOOK_US = 1000000, PATIENCE_US = 5000000;

/* One provider's. */
struct checkup {
    struct checkups *owner;
    const struct provider_settings *provider;
    const struct target *target; /* one of its, whose credentials it goes up with */
    struct ask ask;
    struct timer timer; /* the next one is due */
    struct buffer head;
    bool was_bad;
};

struct checkups {
    struct worker *worker;
    struct timer timer;        /* is there another configuration? */
    struct snapshot *snapshot; /* whose providers they are */
    struct checkup *list;
    size_t count;
};

static uint64_t now_of(const struct checkup *one)
{
    return loop_now_us(one->owner->worker->loop);
}

static void tell(struct checkup *one, bool well)
{
    const struct config *config = one->owner->snapshot->config;
    for (size_t i = 0; i < config->target_count; i++) {
        const struct target *target = &config->targets[i];
        if (target->provider == one->provider && target->figures)
            health_asked(&target->figures->health, &one->provider->breaker, well, now_of(one));
    }
    if (well == one->was_bad)
        log_line(well ? LOG_INFO : LOG_WARN, "upstream", "the provider %.*s %s",
                 TEXT_ARGS(one->provider->name), well ? "is well again" : "is not well");
    one->was_bad = !well;
}

static void plan(struct checkup *one)
{
    timer_set(one->owner->worker->loop, &one->timer,
              now_of(one) + (uint64_t)one->provider->health_interval_us);
}

/* It has answered, or has not: the next one is due. */
static void finish(struct checkup *one, bool well)
{
    tell(one, well);
    plan(one);
}

/* A server that refuses is there: whether our key is good is seen by calls. */
static void on_over(struct ask *ask, const char *problem)
{
    struct checkup *one = LIST_MEMBER(ask, struct checkup, ask);
    if (ask->is_ours)
        plan(one);
    else
        finish(one, !problem && ask->status < 500);
}

static void look(struct checkup *one)
{
    struct snapshot *snapshot = one->owner->snapshot;
    struct upstream_pool *pool = snapshot_pool(snapshot, one->provider);
    if (!pool) {
        finish(one, false);
        return;
    }
    buffer_clear(&one->head);
    outbound_put_get(&one->head, snapshot, one->target, text_of(one->provider->health_path));
    ask_begin(&one->ask, pool, buffer_text(&one->head), (struct text){"", 0});
}

static void on_time(struct timer *timer)
{
    look(LIST_MEMBER(timer, struct checkup, timer));
}

/* ---------------------------------------------------------------------------- configurations */

static void forget(struct checkups *checkups)
{
    for (size_t i = 0; i < checkups->count; i++) {
        struct checkup *one = &checkups->list[i];
        timer_stop(&one->timer);
        ask_done(&one->ask);
        buffer_done(&one->head);
    }
    memory_free(checkups->list);
    checkups->list = NULL;
    checkups->count = 0;
    if (checkups->snapshot)
        snapshot_unref(checkups->snapshot);
    checkups->snapshot = NULL;
}

static const struct target *target_of(const struct config *config,
                                      const struct provider_settings *provider)
{
    for (size_t i = 0; i < config->target_count; i++)
        if (config->targets[i].provider == provider && !config->targets[i].off)
            return &config->targets[i];
    return NULL;
}

static void add(struct checkups *checkups, const struct provider_settings *provider)
{
    struct checkup *one = &checkups->list[checkups->count];
    one->target = target_of(checkups->snapshot->config, provider);
    if (!provider->health_active || provider->off || !one->target)
        return;
    one->owner = checkups;
    one->provider = provider;
    one->timer.on_time = on_time;
    one->ask = (struct ask){.loop = checkups->worker->loop,
                            .timeout_us = PATIENCE_US,
                            .when_long = ASK_CUT, /* its status is enough */
                            .fresh = true,
                            .on_over = on_over};
    list_init(&one->timer.link);
    buffer_init(&one->head, HEAD_MAX);
    checkups->count++;
    timer_set(checkups->worker->loop, &one->timer, loop_now_us(checkups->worker->loop));
}

static void take(struct checkups *checkups, struct snapshot *snapshot)
{
    forget(checkups);
    checkups->snapshot = snapshot_ref(snapshot);
    const struct config *config = snapshot->config;
    checkups->list = memory_new((config->provider_count + 1) * sizeof(*checkups->list));
    for (size_t i = 0; i < config->provider_count; i++)
        add(checkups, &config->providers[i]);
}

static void on_look(struct timer *timer)
{
    struct checkups *checkups = LIST_MEMBER(timer, struct checkups, timer);
    struct worker *worker = checkups->worker;
    if (worker->now && worker->now != checkups->snapshot)
        take(checkups, worker->now);
    timer_set(worker->loop, &checkups->timer, loop_now_us(worker->loop) + LOOK_US);
}

struct checkups *checkups_new(struct worker *worker)
{
    struct checkups *checkups = memory_new(sizeof(*checkups));
    checkups->worker = worker;
    checkups->timer.on_time = on_look;
    list_init(&checkups->timer.link);
    timer_set(worker->loop, &checkups->timer, loop_now_us(worker->loop));
    return checkups;
}

void checkups_stop(struct checkups *checkups)
{
    if (!checkups)
        return;
    timer_stop(&checkups->timer);
    forget(checkups);
}

void checkups_free(struct checkups *checkups)
{
    if (checkups)
        memory_free(checkups);
}
