/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_listen - what is published, on a line of its own to the server that commands go to.
 */
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/wire/redis_inside.h"

static void on_subscribed(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct redis_line *line = with;
    if (fault != REDIS_ANSWERED)
        return;
    if (reply->kind == REDIS_ERROR)
        redis_line_fail(line, "SUBSCRIBE: %.*s", (int)text_head(reply->text, 120).len,
                        reply->text.at);
    else
        line->redis->message(line->redis->message_with, TEXT(""));
}

static void on_up(struct redis_line *line)
{
    struct redis *redis = line->redis;
    struct text words[] = {TEXT("SUBSCRIBE"), text_of(redis->channel)};
    redis_line_ask(line, words, 2, on_subscribed, line);
}

static void listen_later(struct redis *redis, uint64_t wait_us)
{
    timer_stop(&redis->listen_again);
    timer_set(redis->loop, &redis->listen_again, clock_now_us() + wait_us);
}

static void on_down(struct redis_line *line, const char *why)
{
    log_line(LOG_DEBUG, "redis", "listening: %s", why);
    listen_later(line->redis, redis_line_retry_us(line));
}

static void on_push(struct redis_line *line, const struct redis_reply *reply)
{
    struct redis *redis = line->redis;
    if (text_equal(redis_text(redis_item(reply, 1)), text_of(redis->channel)))
        redis->message(redis->message_with, redis_text(redis_item(reply, 2)));
}

static const struct redis_line_owner owner = {on_up, on_down, NULL, on_push};

/* Where to listen; <now> is where it does, NULL = nowhere. */
static bool find_place(const struct redis *redis, const struct redis_place *now,
                       struct redis_place *place)
{
    if (!redis_is_up(redis))
        return false;
    if (redis->cluster)
        return redis_cluster_listen_place(redis->cluster, now, place);
    *place = redis->line.place;
    return true;
}

/* While there is nowhere to listen, redis_listen_move() is what goes on with it. */
static void on_listen_again(struct timer *timer)
{
    struct redis *redis = LIST_MEMBER(timer, struct redis, listen_again);
    struct redis_line *line = &redis->listener;
    if (line->state != REDIS_LINE_CLOSED || !find_place(redis, NULL, &line->place))
        return;
    redis_line_open(line);
}

void redis_listen_move(struct redis *redis)
{
    if (!redis->channel)
        return;
    struct redis_line *line = &redis->listener;
    struct redis_place place;
    if (line->state != REDIS_LINE_CLOSED && find_place(redis, &line->place, &place) &&
        redis_place_same(&line->place, &place))
        return;
    redis_line_close(line);
    listen_later(redis, 0);
}

void redis_listen_init(struct redis *redis)
{
    redis_line_init(&redis->listener, redis, &owner);
    redis->listener.user = redis->url.user;
    redis->listener.password = redis->url.password;
    redis->listen_again.on_time = on_listen_again;
}

void redis_subscribe(struct redis *redis, struct text channel,
                     void (*message)(void *with, struct text text), void *with)
{
    redis->message = message;
    redis->message_with = with;
    memory_free(redis->channel);
    redis->channel = memory_string(channel);
    redis_line_close(&redis->listener);
    if (redis_is_up(redis))
        listen_later(redis, 0);
}
