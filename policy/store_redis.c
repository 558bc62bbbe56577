/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's connection to the shared counters. */
#include "gateway/base/clock.h"
#include "policy/store_inside.h"

/* ------------------------------------------------------------------------ what all need */

bool store_may_ask(const struct store_redis *store)
{
    return atomic_load_explicit(&store->shared->up, memory_order_acquire) &&
           redis_is_up(store->redis) && !shared_is_resting(store->shared);
}

int64_t store_patience(const struct store_redis *store)
{
    bool calls = atomic_load_explicit(&store->shared->up, memory_order_relaxed);
    int64_t usual = store->shared->redis->timeout_us;
    return calls || usual >= STORE_PATIENT_US ? 0 : STORE_PATIENT_US;
}

bool store_eval(struct store_redis *store, const struct redis_script *script, int64_t timeout_us,
                redis_answer *answer, void *with)
{
    const struct words *words = &store->words;
    return redis_eval(store->redis, script, words->keys, words->at, words->count, timeout_us,
                      answer, with);
}

int64_t store_number(const struct redis_reply *reply, size_t i)
{
    return i < redis_count(reply) ? redis_number(redis_item(reply, i)) : 0;
}

bool store_answered(struct store_redis *store, uint64_t incarnation, enum redis_fault fault,
                    const struct redis_reply *reply)
{
    struct shared *shared = store->shared;
    if (fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST && redis_count(reply) >= 2)
        return true;
    if (fault == REDIS_AWAY)
        return false;
    if (fault == REDIS_UNKNOWN)
        atomic_fetch_add_explicit(&shared->timeouts, 1, memory_order_relaxed);
    else
        shared_rest(shared, reply);
    atomic_store_explicit(&shared->up, false, memory_order_release);
    shared_lose(shared, incarnation);
    return false;
}

/* ------------------------------------------------------------------------- one per worker */

static void count_connected(struct store_redis *store, bool is_connected)
{
    if (store->is_connected == is_connected)
        return;
    store->is_connected = is_connected;
    if (is_connected)
        atomic_fetch_add(&store->shared->connected, 1);
    else
        atomic_fetch_sub(&store->shared->connected, 1);
}

static void on_change(void *with)
{
    struct store_redis *store = with;
    struct shared *shared = store->shared;
    count_connected(store, redis_is_up(store->redis));
    uint64_t life = redis_life(store->redis), last = atomic_load(&shared->life);
    if (redis_is_up(store->redis) && life != store->life) {
        /* Another server: what the last one was told may not have got there. */
        if (store->life || (last && last != life))
            shared_lose(shared, shared_incarnation(shared));
        store->life = life;
        atomic_store(&shared->life, life);
    }
    if (store->duties)
        life_changed(store->duties);
}

struct store_redis *store_redis_new(struct shared *shared, struct loop *loop, struct dns *dns,
                                    unsigned worker, struct fault *fault)
{
    struct redis *redis = redis_new(loop, dns, shared->redis, fault);
    if (!redis)
        return NULL;
    struct store_redis *store = memory_new(sizeof(*store));
    store->shared = shared;
    store->loop = loop;
    store->redis = redis;
    words_init(&store->words);
    questions_init(store);
    redis_on_change(redis, on_change, store);
    store->reports = reports_new(store);
    if (worker == 0)
        store->duties = life_new(store);
    return store;
}

void store_redis_free(struct store_redis *store)
{
    if (!store)
        return;
    redis_free(store->redis);
    count_connected(store, false);
    questions_done(store);
    life_free(store->duties);
    reports_free(store->reports);
    words_done(&store->words);
    memory_free(store);
}

void store_redis_hurry(struct store_redis *store, struct text root)
{
    reports_hurry(store->reports, root);
}
