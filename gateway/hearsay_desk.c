/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/hearsay_desk.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/node_records.h"
#include "gateway/wire/redis.h"
#include "gateway/worker_inside.h"
#include "routing/hearsay.h"

enum {
    TICK_US = 100000,
    IDLE_US = 500000, /* between questions, where nothing happens */
    IDLE_AFTER_US = 5000000,
    AGAIN_US = 1000000,    /* what has not changed is told again */
    BYTES_PER_TICK = 4096, /* what is longer is told less often */
    KEYS = 2,
    WORDS = 6,
    NUMBER_BYTES = 24,
};

/* KEYS: at, of. Returns the time, and what of the others is new (node_records.h). */
static const char source[] =
    RECORDS_BEGIN "local at, of = KEYS[1], KEYS[2]\n" RECORDS_TELL
                  "local out = {string.format('%.0f', now)}\n" RECORDS_HEAR "return out\n";

struct hearsay_desk {
    struct worker *worker;
    struct timer timer;
    struct snapshot *snapshot; /* whose targets are spoken of */
    struct hearsay *hearsay;
    struct redis_script script;
    char *keys[KEYS];
    bool asking, was_bad;
    uint64_t asked_us, told_us, happened_us;
    uint64_t told_sense;
    size_t told_bytes;
    int64_t since_us; /* of Redis' clock */
    char record[HEARSAY_BYTES_MAX];
};

/* There is one desk in a process. */
static atomic_int_fast64_t figure_nodes, figure_age_us;
static atomic_uint_fast64_t figure_told, figure_heard, figure_refused;

struct hearsay_figures hearsay_figures(void)
{
    return (struct hearsay_figures){
        .nodes = atomic_load_explicit(&figure_nodes, memory_order_relaxed),
        .age_us = atomic_load_explicit(&figure_age_us, memory_order_relaxed),
        .told = atomic_load_explicit(&figure_told, memory_order_relaxed),
        .heard = atomic_load_explicit(&figure_heard, memory_order_relaxed),
        .refused = atomic_load_explicit(&figure_refused, memory_order_relaxed),
    };
}

static uint64_t now_of(const struct hearsay_desk *desk)
{
    return loop_now_us(desk->worker->loop);
}

/* ------------------------------------------------------------------------------- hearing */

static void count(atomic_uint_fast64_t *figure)
{
    atomic_fetch_add_explicit(figure, 1, memory_order_relaxed);
}

static void hear(struct hearsay_desk *desk, const struct redis_reply *reply, size_t at)
{
    struct text node = redis_text(redis_item(reply, at));
    int64_t age = redis_number(redis_item(reply, at + 1));
    struct text record = redis_text(redis_item(reply, at + 2));
    if (hearsay_read(desk->hearsay, node, record, age, now_of(desk))) {
        count(&figure_heard);
        desk->happened_us = now_of(desk);
        return;
    }
    count(&figure_refused);
    if (!desk->was_bad)
        log_line(LOG_WARN, "store", "what node %.*s tells of its targets cannot be read",
                 TEXT_ARGS(text_head(node, HEARSAY_NAME_BYTES)));
    desk->was_bad = true;
}

/* Time has passed, or something was heard. */
static void fold(struct hearsay_desk *desk)
{
    int64_t age;
    hearsay_fold(desk->hearsay, now_of(desk));
    unsigned nodes = hearsay_nodes(desk->hearsay, now_of(desk), &age);
    atomic_store_explicit(&figure_nodes, nodes, memory_order_relaxed);
    atomic_store_explicit(&figure_age_us, age, memory_order_relaxed);
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct hearsay_desk *desk = with;
    desk->asking = false;
    if (fault != REDIS_ANSWERED || redis_kind(reply) != REDIS_LIST || redis_count(reply) == 0) {
        desk->told_sense = 0; /* who knows whether it came through? */
        return;
    }
    int64_t now = redis_number(redis_item(reply, 0));
    for (size_t i = 1; i + 2 < redis_count(reply); i += 3)
        hear(desk, reply, i);
    /* A clock that went back, or another server: what is there now is wanted in any case. */
    desk->since_us = now < desk->since_us ? 0 : now;
    fold(desk);
}

/* ------------------------------------------------------------------------------- telling */

static bool is_due(const struct hearsay_desk *desk, uint64_t sense)
{
    uint64_t now = now_of(desk), ticks = 1 + desk->told_bytes / BYTES_PER_TICK;
    if (sense == desk->told_sense)
        return now >= desk->told_us + AGAIN_US;
    return ticks == 1 || now >= desk->told_us + ticks * TICK_US;
}

static void ask(struct hearsay_desk *desk, struct text record)
{
    char since[NUMBER_BYTES], kept[NUMBER_BYTES];
    snprintf(since, sizeof(since), "%lld", (long long)desk->since_us);
    snprintf(kept, sizeof(kept), "%d", HEARSAY_GONE_US);
    struct text words[WORDS] = {
        text_of(desk->keys[0]), text_of(desk->keys[1]), text_of(desk->worker->options.node), record,
        text_of(since),         text_of(kept)};
    desk->asked_us = now_of(desk);
    desk->asking =
        redis_eval(desk->worker->redis, &desk->script, KEYS, words, WORDS, 0, on_answer, desk);
    if (desk->asking && record.len > 0)
        count(&figure_told);
}

static void tell(struct hearsay_desk *desk)
{
    uint64_t now = now_of(desk), sense;
    size_t len = hearsay_write(desk->hearsay, now, desk->record, &sense);
    bool changed = sense != desk->told_sense, due = is_due(desk, sense);
    if (changed)
        desk->happened_us = now;
    bool idle = now >= desk->happened_us + IDLE_AFTER_US;
    if (idle && !due && now < desk->asked_us + IDLE_US)
        return;
    ask(desk, due ? (struct text){desk->record, len} : TEXT(""));
    if (!desk->asking || !due)
        return;
    desk->told_us = now;
    desk->told_sense = sense;
    desk->told_bytes = len;
}

static void take_config(struct hearsay_desk *desk)
{
    struct snapshot *before = desk->snapshot;
    desk->snapshot = snapshot_ref(desk->worker->now);
    hearsay_set_targets(desk->hearsay, desk->snapshot->config->targets,
                        desk->snapshot->config->target_count);
    desk->since_us = 0; /* all that is there is wanted anew */
    if (before)
        snapshot_unref(before);
}

static void on_tick(struct timer *timer)
{
    struct hearsay_desk *desk = LIST_MEMBER(timer, struct hearsay_desk, timer);
    timer_set(desk->worker->loop, timer, now_of(desk) + TICK_US);
    if (desk->worker->now && desk->worker->now != desk->snapshot)
        take_config(desk);
    fold(desk);
    if (!desk->asking && desk->snapshot && redis_is_up(desk->worker->redis))
        tell(desk);
}

/* ------------------------------------------------------------------------- begin and end */

struct hearsay_desk *hearsay_desk_new(struct worker *worker)
{
    if (!worker->redis)
        return NULL;
    struct hearsay_desk *desk = memory_new(sizeof(*desk));
    const char *prefix = worker->options.start->store.key_prefix;
    desk->worker = worker;
    desk->hearsay = hearsay_new();
    desk->keys[0] = memory_format("%s{figures}:at", prefix);
    desk->keys[1] = memory_format("%s{figures}:of", prefix);
    redis_script_init(&desk->script, (struct text){source, sizeof(source) - 1});
    desk->timer.on_time = on_tick;
    list_init(&desk->timer.link);
    timer_set(worker->loop, &desk->timer, now_of(desk) + TICK_US);
    return desk;
}

void hearsay_desk_stop(struct hearsay_desk *desk)
{
    if (!desk)
        return;
    timer_stop(&desk->timer);
    redis_forget(desk->worker->redis, desk);
    desk->asking = true; /* nothing is asked any more */
    if (desk->snapshot)
        snapshot_unref(desk->snapshot);
    desk->snapshot = NULL;
}

void hearsay_desk_free(struct hearsay_desk *desk)
{
    if (!desk)
        return;
    hearsay_free(desk->hearsay);
    memory_free(desk->keys[0]);
    memory_free(desk->keys[1]);
    memory_free(desk);
}
