/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_sentinel - who is the master? One Sentinel after the other is asked until one answers; it
 * is asked again every second, and whenever the line to the master breaks. That the master is one
 * is verified by its ROLE (redis.io/docs/reference/sentinel-clients).
 *
 * Sentinels hear of a failover one after the other, up to seconds later, and a master that was only
 * asleep still takes itself for one: so whoever has seen a failover (its number is the
 * config-epoch, redis.io/docs/latest/operate/oss_and_stack/management/sentinel) minds no Sentinel
 * that has not.
 */
#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/wire/redis_inside.h"

enum {
    ASK_EVERY_US = 1000000,
    TRIES_EACH = 3, /* of a master that one Sentinel names */
    /* After so long with none that has seen what we have: they were set up anew. */
    BEHIND_MAX_US = 10000000,
};

struct redis_sentinel {
    struct redis *redis;
    struct redis_place places[REDIS_SENTINELS_MAX];
    size_t count, at;
    char *master, *user, *password;
    struct redis_line line;
    struct timer tick;        /* ask again, or open the line again */
    int64_t epoch, told;      /* of failovers: seen, and of the last answer (-1: not said) */
    uint64_t behind_since_us; /* all answers since were of an earlier epoch; 0 = the last was not */
    bool asking;
    bool wanted; /* the client's line waits for the master */
};

static struct redis_sentinel *sentinel_of(struct redis_line *line)
{
    return LIST_MEMBER(line, struct redis_sentinel, line);
}

static void tick_in(struct redis_sentinel *sentinel, uint64_t wait_us)
{
    timer_stop(&sentinel->tick);
    timer_set(sentinel->redis->loop, &sentinel->tick, clock_now_us() + wait_us);
}

/* ----------------------------------------------------------------------------- answers */

static void take_master(struct redis_sentinel *sentinel, const struct redis_place *place)
{
    struct redis *redis = sentinel->redis;
    struct redis_line *line = &redis->line;
    if (line->state != REDIS_LINE_CLOSED) {
        if (!redis_place_same(&line->place, place))
            redis_line_fail(line, "the master is %s:%u now", place->host, place->port);
        return;
    }
    if (!sentinel->wanted)
        return; /* it waits before it tries again */
    sentinel->wanted = false;
    line->place = *place;
    redis_line_open(line);
}

/* Names and values by turns. */
static void on_facts(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct redis_sentinel *sentinel = with;
    size_t count = fault == REDIS_ANSWERED ? redis_count(reply) : 0;
    sentinel->told = -1;
    for (size_t i = 0; i + 1 < count; i += 2)
        if (text_equal(redis_text(redis_item(reply, i)), TEXT("config-epoch")))
            sentinel->told = redis_number(redis_item(reply, i + 1));
}

static bool is_behind(struct redis_sentinel *sentinel)
{
    uint64_t now = clock_now_us();
    if (sentinel->told < 0)
        return false;
    if (sentinel->told < sentinel->epoch) {
        if (!sentinel->behind_since_us)
            sentinel->behind_since_us = now;
        if (now - sentinel->behind_since_us < BEHIND_MAX_US)
            return true;
    }
    sentinel->behind_since_us = 0;
    sentinel->epoch = sentinel->told;
    return false;
}

static void on_master(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct redis_sentinel *sentinel = with;
    struct redis_place place;
    sentinel->asking = false;
    if (fault != REDIS_ANSWERED || sentinel->line.state != REDIS_LINE_UP)
        return;
    if (is_behind(sentinel)) {
        redis_line_fail(&sentinel->line, "Sentinel %s has not heard of the last failover",
                        sentinel->line.name);
        return;
    }
    if (redis_place_told(redis_text(redis_item(reply, 0)), redis_number(redis_item(reply, 1)),
                         &place) &&
        place.host[0])
        take_master(sentinel, &place);
    else
        redis_line_fail(&sentinel->line, "Sentinel %s knows no master %s", sentinel->line.name,
                        sentinel->master);
}

static void ask(struct redis_sentinel *sentinel)
{
    struct text words[] = {TEXT("SENTINEL"), TEXT("MASTER"), text_of(sentinel->master)};
    if (sentinel->asking || sentinel->line.state != REDIS_LINE_UP)
        return;
    sentinel->asking = true;
    redis_line_ask(&sentinel->line, words, 3, on_facts, sentinel);
    if (sentinel->line.state != REDIS_LINE_UP)
        return;
    words[1] = TEXT("GET-MASTER-ADDR-BY-NAME"); /* during a failover ahead of the other's address */
    redis_line_ask(&sentinel->line, words, 3, on_master, sentinel);
}

/* -------------------------------------------------------------------------------- its line */

static void on_up(struct redis_line *line)
{
    struct redis_sentinel *sentinel = sentinel_of(line);
    if (line->mode != REDIS_SENTINEL) {
        redis_line_fail(line, "%s is no Sentinel", line->name);
        return;
    }
    ask(sentinel);
    tick_in(sentinel, ASK_EVERY_US);
}

static void on_down(struct redis_line *line, const char *why)
{
    struct redis_sentinel *sentinel = sentinel_of(line);
    redis_blame(line, why);
    sentinel->asking = false;
    sentinel->at = (sentinel->at + 1) % sentinel->count;
    tick_in(sentinel, redis_line_retry_us(line));
}

static const struct redis_line_owner owner = {on_up, on_down, NULL, NULL};

static void on_tick(struct timer *timer)
{
    struct redis_sentinel *sentinel = LIST_MEMBER(timer, struct redis_sentinel, tick);
    if (sentinel->line.state == REDIS_LINE_UP) {
        ask(sentinel);
        tick_in(sentinel, ASK_EVERY_US);
    } else if (sentinel->line.state == REDIS_LINE_CLOSED) {
        sentinel->line.place = sentinel->places[sentinel->at];
        redis_line_open(&sentinel->line);
    }
}

/* A Sentinel that is cut off from the others names a master that is none any more. */
void redis_sentinel_seek(struct redis_sentinel *sentinel)
{
    unsigned failures = sentinel->redis->line.failures;
    sentinel->wanted = true;
    if (failures > 0 && failures % TRIES_EACH == 0 && sentinel->count > 1)
        redis_line_fail(&sentinel->line, "Sentinel %s names a master that cannot be reached",
                        sentinel->line.name);
    ask(sentinel);
}

/* --------------------------------------------------------------------- beginning and end */

static bool read_places(struct redis_sentinel *sentinel, const struct redis_options *options,
                        struct fault *fault)
{
    for (size_t i = 0; i < REDIS_SENTINELS_MAX && options->sentinels[i]; i++)
        if (!redis_place_read(text_of(options->sentinels[i]), REDIS_SENTINEL_PORT,
                              &sentinel->places[sentinel->count++]))
            return fault_set(fault, FAULT_BAD_REQUEST,
                             "the Sentinel %s cannot be read; it is host:port",
                             options->sentinels[i]);
    if (sentinel->count == 0 || !options->sentinel_master)
        return fault_set(fault, FAULT_BAD_REQUEST,
                         "Sentinels need their addresses and the name of the master");
    return true;
}

static char *copy(const char *from)
{
    return memory_string(text_of(from ? from : ""));
}

struct redis_sentinel *redis_sentinel_new(struct redis *redis, const struct redis_options *options,
                                          struct fault *fault)
{
    struct redis_sentinel *sentinel = memory_new(sizeof(*sentinel));
    if (!read_places(sentinel, options, fault)) {
        memory_free(sentinel);
        return NULL;
    }
    sentinel->redis = redis;
    sentinel->master = copy(options->sentinel_master);
    sentinel->user = copy(options->sentinel_username);
    sentinel->password = copy(options->sentinel_password);
    sentinel->tick.on_time = on_tick;
    redis_line_init(&sentinel->line, redis, &owner);
    sentinel->line.user = sentinel->user;
    sentinel->line.password = sentinel->password;
    tick_in(sentinel, 0);
    return sentinel;
}

void redis_sentinel_close(struct redis_sentinel *sentinel)
{
    timer_stop(&sentinel->tick);
    redis_line_close(&sentinel->line);
}

void redis_sentinel_free(struct redis_sentinel *sentinel)
{
    redis_line_done(&sentinel->line);
    memory_wipe(sentinel->password, strlen(sentinel->password));
    memory_free(sentinel->password);
    memory_free(sentinel->user);
    memory_free(sentinel->master);
    memory_free(sentinel);
}
