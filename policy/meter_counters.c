/* SPDX-License-Identifier: Apache-2.0 */
/* Where counters stand: shards, roots, chains; made when first used, forgotten when idle. */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "policy/meter_inside.h"

enum {
    CHAINS_FIRST = 64,
    TIDY_ROUND = 32,        /* calls of meter_tidy() until all chains were seen */
    TIDY_LOCKED = 256,      /* chains looked at under one lock */
    IDLE_US = 10 * 1000000, /* an answer of the store may still be on its way until then */
    CLOCK_BACK_US = 10000,
    CALENDAR_NEAR_US = 300000,
};

/* -------------------------------------------------------------------------------- the clock */

int64_t meter_now_us(const struct meter *meter)
{
    int64_t frozen = atomic_load_explicit(&meter->frozen_us, memory_order_relaxed);
    if (frozen)
        return frozen;
    return (int64_t)clock_now_us() + atomic_load_explicit(&meter->offset_us, memory_order_relaxed);
}

void meter_freeze(struct meter *meter, int64_t now_us)
{
    atomic_store(&meter->frozen_us, now_us);
}

/* With all locks held, so that nobody sees the new time and the old place of the slots. */
static void clock_leap(struct meter *meter, int64_t offset_us)
{
    for (size_t i = 0; i < METER_SHARDS; i++)
        shard_lock(&meter->shards[i]);
    int64_t by = offset_us - atomic_load(&meter->offset_us);
    atomic_fetch_add(&meter->shift_us, by);
    atomic_store(&meter->offset_us, offset_us);
    for (size_t i = 0; i < METER_SHARDS; i++)
        shard_unlock(&meter->shards[i]);
}

void meter_set_clock(struct meter *meter, int64_t store_us, uint64_t mono_us, bool force)
{
    int64_t offset = store_us - (int64_t)mono_us;
    int64_t before = atomic_load(&meter->offset_us);
    if (force) {
        clock_leap(meter, offset);
        return;
    }
    if (offset < before - CLOCK_BACK_US)
        offset = before - CLOCK_BACK_US;
    /* Somebody else may have set it meanwhile; his is as good. */
    atomic_compare_exchange_strong(&meter->offset_us, &before, offset);
}

void meter_set_calendar(struct meter *meter, int64_t day_us, uint64_t mono_us)
{
    int64_t off = day_us - (int64_t)mono_us - atomic_load(&meter->offset_us);
    bool near =
        off < CALENDAR_NEAR_US && off > -CALENDAR_NEAR_US; /* what is on its way takes time */
    atomic_store(&meter->day_us, near ? 0 : off);
}

/* ------------------------------------------------------------------------------- the shards */

struct meter *meter_new(bool shared)
{
    struct meter *meter = aligned_alloc(_Alignof(struct meter), sizeof(*meter));
    if (!meter)
        abort();
    memset(meter, 0, sizeof(*meter));
    meter->shared = shared;
    meter->pass = 1;
    atomic_store(&meter->offset_us, clock_wall_us() - (int64_t)clock_now_us());
    pthread_mutex_init(&meter->pass_lock, NULL);
    for (size_t i = 0; i < METER_SHARDS; i++) {
        struct shard *shard = &meter->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        table_init(&shard->roots);
        shard->chain_count = CHAINS_FIRST;
        shard->chains = memory_new(CHAINS_FIRST * sizeof(struct counter *));
    }
    return meter;
}

void shard_lock(struct shard *shard)
{
    pthread_mutex_lock(&shard->lock);
}

void shard_unlock(struct shard *shard)
{
    pthread_mutex_unlock(&shard->lock);
}

struct place place_lock(struct meter *meter, struct text root)
{
    uint64_t hash = hash_name(root);
    struct shard *shard = &meter->shards[hash % METER_SHARDS];
    shard_lock(shard);
    return (struct place){.root = root, .hash = hash, .shard = shard};
}

struct text root_name(const struct root *root)
{
    return (struct text){root->name, root->name_len};
}

struct text counter_id(const struct counter *counter)
{
    return (struct text){counter->id, counter->id_len};
}

struct root *root_get(const struct place *place)
{
    struct root *root = table_find(&place->shard->roots, place->root);
    if (root)
        return root;
    root = memory_new(sizeof(*root) + place->root.len);
    root->shard = place->shard;
    root->hash = place->hash;
    root->name_len = (uint16_t)place->root.len;
    if (place->root.len)
        memcpy(root->name, place->root.at, place->root.len);
    list_init(&root->counters);
    list_init(&root->unsaid);
    list_init(&root->watched);
    table_set(&place->shard->roots, root_name(root), root);
    return root;
}

static void root_drop_if_empty(struct root *root)
{
    if (root->count > 0)
        return;
    table_remove(&root->shard->roots, root_name(root));
    memory_free(root);
}

static void chains_double(struct shard *shard)
{
    size_t count = shard->chain_count * 2;
    struct counter **chains = memory_new(count * sizeof(struct counter *));
    for (size_t i = 0; i < shard->chain_count; i++)
        for (struct counter *counter = shard->chains[i], *next; counter; counter = next) {
            struct counter **chain = &chains[(counter->hash / METER_SHARDS) & (count - 1)];
            next = counter->next;
            counter->next = *chain;
            *chain = counter;
        }
    memory_free(shard->chains);
    shard->chains = chains;
    shard->chain_count = count;
}

static struct counter **chain_of(const struct shard *shard, uint64_t hash)
{
    return &shard->chains[(hash / METER_SHARDS) & (shard->chain_count - 1)];
}

static struct counter *counter_at(const struct place *place, struct text id, uint64_t hash)
{
    struct counter *counter = *chain_of(place->shard, hash);
    while (counter && !(counter->hash == hash && text_same_name(counter_id(counter), id) &&
                        text_same_name(root_name(counter->root), place->root)))
        counter = counter->next;
    return counter;
}

struct counter *counter_lookup(const struct place *place, struct text id)
{
    return counter_at(place, id, hash_name(id) + place->hash);
}

/* -------------------------------------------------------------------------------- the terms */

static bool has_pace(const struct limit *limit)
{
    return limit->algorithm == LIMIT_TOKEN_BUCKET && limit->period == PERIOD_ROLLING &&
           limit->amount >= 20;
}

static void fit_pace(struct counter *counter, const struct limit *limit, int64_t now_us)
{
    if (has_pace(limit) == (counter->pace != NULL))
        return;
    memory_free(counter->pace);
    counter->pace = NULL;
    if (!has_pace(limit))
        return;
    counter->pace = memory_new(sizeof(*counter->pace));
    counter->pace->at_us = now_us;
    counter->pace->level = limit->amount / 20;
}

static void fit_span(struct counter *counter, const struct limit *limit)
{
    counter->kind = (uint8_t)limit->kind;
    counter->period = (uint8_t)limit->period;
    counter->zone = limit->zone;
    counter->window_us = limit->window_us > 0 ? limit->window_us : 1;
    counter->slot_us = (counter->window_us + METER_SLOTS - 1) / METER_SLOTS;
    counter->current = 0;
    counter->ends_us = 0;
    if (counter->demand)
        counter->demand->day_us = 0;
}

/* The same id with another span (a time zone was changed): what was used so far counts on, as if it
 * had been used now. */
static void change_span(struct counter *counter, const struct limit *limit,
                        const struct meter *meter, int64_t now_us)
{
    counter_turn(counter, meter, now_us);
    int64_t sum = counter->sum;
    counter_slots_done(counter);
    counter->sum = 0;
    counter->turn++;
    fit_span(counter, limit);
    counter_turn(counter, meter, now_us);
    if (sum == 0)
        return;
    struct slot *slot = counter_open(counter, counter->current);
    counter_add(counter, slot, sum);
    if (meter->shared)
        counter_watch(counter, slot);
}

static void counter_fit(struct counter *counter, const struct limit *limit,
                        const struct meter *meter, int64_t now_us)
{
    bool same = counter->period == limit->period;
    if (same && limit->period == PERIOD_ROLLING)
        same = counter->window_us == limit->window_us;
    else if (same)
        same = counter->zone == limit->zone;
    if (!same)
        change_span(counter, limit, meter, now_us);
    counter->kind = (uint8_t)limit->kind;
    counter->amount = limit->amount > 0 ? limit->amount : 0;
    counter->algorithm = (uint8_t)limit->algorithm;
    counter->away = (uint8_t)limit->away;
    counter->exceeded = (uint8_t)limit->exceeded;
    counter->strict = limit->strict;
    memcpy(counter->warn_at, limit->warn_at, sizeof(counter->warn_at));
    fit_pace(counter, limit, now_us);
}

/* ----------------------------------------------------------------------- made and forgotten */

static struct counter *counter_new(struct meter *meter, const struct place *place,
                                   const struct use *use, uint64_t hash, int64_t now_us)
{
    struct text id = use->counter, model = use->limit->model;
    struct counter *counter = memory_new(sizeof(*counter) + id.len);
    counter->hash = hash;
    counter->root = root_get(place);
    list_push_back(&counter->root->counters, &counter->sibling);
    counter->root->count++;
    counter->said = counter->sure = counter->root->round; /* nothing is claimed yet */
    counter->slots = &counter->one;
    counter->capacity = 1;
    counter->id_len = (uint16_t)id.len;
    memcpy(counter->id, id.at, id.len);
    if (model.len > 0 && text_ends(id, model)) {
        counter->model_at = (uint16_t)(id.len - model.len);
        counter->model_len = (uint16_t)model.len;
    }
    list_init(&counter->watched);
    counter->shift_us = atomic_load(&meter->shift_us);
    if (meter->shared)
        counter->demand = memory_new(sizeof(*counter->demand));
    fit_span(counter, use->limit);
    struct shard *shard = place->shard;
    if (++shard->counters > shard->chain_count)
        chains_double(shard);
    struct counter **chain = chain_of(shard, hash);
    counter->next = *chain;
    *chain = counter;
    counter_turn(counter, meter, now_us);
    return counter;
}

static bool counter_may_be_made(struct meter *meter, const struct place *place, struct text id)
{
    if (id.len == 0 || id.len > METER_ID_MAX || place->root.len > METER_ID_MAX)
        return false;
    const struct root *root = table_find(&place->shard->roots, place->root);
    if (root && root->count >= METER_ROOT_MAX)
        return false;
    if (atomic_fetch_add(&meter->counters, 1) < METER_COUNTERS_MAX)
        return true;
    atomic_fetch_sub(&meter->counters, 1);
    return false;
}

struct counter *counter_get(struct meter *meter, const struct place *place, const struct use *use,
                            int64_t now_us)
{
    uint64_t hash = (use->hash ? use->hash : hash_name(use->counter)) + place->hash;
    struct counter *counter = counter_at(place, use->counter, hash);
    if (!counter) {
        if (!counter_may_be_made(meter, place, use->counter))
            return NULL;
        counter = counter_new(meter, place, use, hash, now_us);
    }
    counter_fit(counter, use->limit, meter, now_us);
    counter_turn(counter, meter, now_us);
    return counter;
}

static void counter_free_all(struct counter *counter)
{
    list_remove(&counter->sibling);
    list_remove(&counter->watched);
    counter_slots_done(counter);
    memory_free(counter->pace);
    memory_free(counter->demand);
    memory_free(counter);
}

void meter_free(struct meter *meter)
{
    if (!meter)
        return;
    for (size_t i = 0; i < METER_SHARDS; i++) {
        struct shard *shard = &meter->shards[i];
        for (size_t c = 0; c < shard->chain_count; c++)
            for (struct counter *counter = shard->chains[c], *next; counter; counter = next) {
                next = counter->next;
                counter_free_all(counter);
            }
        memory_free(shard->chains);
        size_t at = 0;
        struct text name;
        void *root;
        while (table_next(&shard->roots, &at, &name, &root))
            memory_free(root);
        table_done(&shard->roots);
        pthread_mutex_destroy(&shard->lock);
    }
    pthread_mutex_destroy(&meter->pass_lock);
    memory_free(meter);
}

/* Nothing counts in it any more, and nothing that the store should hear. */
static bool counter_is_idle(const struct counter *counter, int64_t now_us)
{
    if (counter->pins > 0 || counter->theirs || counter->root->doubtful ||
        counter->root->asserting || now_us - counter->touched_us < IDLE_US)
        return false;
    for (size_t i = 0; i < counter->count; i++) {
        const struct slot *slot = &counter->slots[i];
        bool gone = counter_slot_gone(counter, slot->number) <= counter_clock(counter, now_us);
        if (!gone && (slot->used || slot->claimed || slot->told || slot->sent))
            return false;
    }
    return true;
}

static void chain_tidy(struct meter *meter, struct shard *shard, size_t chain, int64_t now_us)
{
    struct counter **at = &shard->chains[chain];
    while (*at) {
        struct counter *counter = *at;
        if (!counter_is_idle(counter, now_us)) {
            at = &counter->next;
            continue;
        }
        *at = counter->next;
        struct root *root = counter->root;
        counter_free_all(counter);
        root->count--;
        if (!meter
                 ->shared) /* else it knows that it has been asserted: the next call need not ask */
            root_drop_if_empty(root);
        shard->counters--;
        atomic_fetch_sub(&meter->counters, 1);
    }
}

static void shard_tidy(struct meter *meter, struct shard *shard)
{
    shard_lock(shard);
    int64_t now = meter_now_us(meter);
    size_t todo = (shard->chain_count + TIDY_ROUND - 1) / TIDY_ROUND;
    for (size_t i = 0; i < todo; i++) {
        if (i > 0 && i % TIDY_LOCKED == 0) {
            shard_unlock(shard);
            shard_lock(shard);
        }
        shard->swept = (shard->swept + 1) & (shard->chain_count - 1);
        chain_tidy(meter, shard, shard->swept, now);
    }
    shard_unlock(shard);
}

void meter_tidy(struct meter *meter)
{
    for (size_t i = 0; i < METER_SHARDS; i++)
        shard_tidy(meter, &meter->shards[i]);
}
