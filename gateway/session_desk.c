/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/session_desk.h"

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "gateway/service_state.h"
#include "gateway/worker_inside.h"

struct session_desk {
    struct worker *worker;
    struct timer timer;
    char *name;
    struct digest offer; /* what it is to be where there is none yet */
    bool known;
};

static void again(struct session_desk *desk)
{
    timer_set(desk->worker->loop, &desk->timer,
              loop_now_us(desk->worker->loop) +
                  (uint64_t)(desk->known ? SESSION_DESK_AGAIN_US : SESSION_DESK_SOON_US));
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct session_desk *desk = with;
    struct digest secret;
    if (fault != REDIS_ANSWERED || !hash_from_hex(redis_text(reply), &secret))
        return; /* also the answer to SET */
    desk->known = true;
    /* Who removes it wants another one. */
    if (hash_same(&secret, &desk->offer))
        hash_random(desk->offer.bytes, sizeof(desk->offer.bytes));
    admin_share_sessions(desk->worker->options.service, &secret);
}

static void on_time(struct timer *timer)
{
    struct session_desk *desk = LIST_MEMBER(timer, struct session_desk, timer);
    struct redis *redis = desk->worker->redis;
    char hex[HEX_BYTES];
    hash_hex(&desk->offer, hex);
    struct text name = text_of(desk->name);
    struct text set[] = {TEXT("SET"), name, text_of(hex), TEXT("NX")};
    struct text get[] = {TEXT("GET"), name};
    if (redis_is_up(redis) && redis_send(redis, name, set, 4, 0, on_answer, desk))
        redis_send(redis, name, get, 2, 0, on_answer, desk);
    memory_wipe(hex, sizeof(hex));
    again(desk);
}

static bool has_dashboard(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i].serve & SERVE_UI)
            return true;
    return false;
}

struct session_desk *session_desk_new(struct worker *worker)
{
    const struct config *config = worker->options.config;
    if (!worker->redis || !worker->options.service || !has_dashboard(config))
        return NULL;
    struct session_desk *desk = memory_new(sizeof(*desk));
    desk->worker = worker;
    desk->name = memory_format("%ssession_secret", config->store.key_prefix);
    desk->timer.on_time = on_time;
    hash_random(desk->offer.bytes, sizeof(desk->offer.bytes));
    timer_set(worker->loop, &desk->timer, loop_now_us(worker->loop));
    return desk;
}

void session_desk_stop(struct session_desk *desk)
{
    if (!desk)
        return;
    timer_stop(&desk->timer);
    redis_forget(desk->worker->redis, desk);
}

void session_desk_free(struct session_desk *desk)
{
    if (!desk)
        return;
    memory_wipe(&desk->offer, sizeof(desk->offer));
    memory_free(desk->name);
    memory_free(desk);
}
