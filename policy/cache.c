/* SPDX-License-Identifier: Apache-2.0 */

/* Which entries there are, by name, and which of them go when there is no room. */

#include "policy/cache.h"

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "policy/cache_inside.h"

enum { FIRST_BUCKETS = 64, EXPIRED_AT_ONCE = 2 };

struct cache *cache_new(const struct cache_options *options)
{
    struct cache *cache = memory_new(sizeof(*cache));
    for (size_t i = 0; i < CACHE_SHARDS; i++) {
        struct shard *shard = &cache->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        list_init(&shard->used);
        atomic_init(&shard->oldest, UINT64_MAX);
        shard->capacity = FIRST_BUCKETS;
        shard->buckets = memory_new(FIRST_BUCKETS * sizeof(struct cache_entry *));
    }
    atomic_init(&cache->max_bytes, options->max_bytes);
    atomic_init(&cache->max_entry_bytes, options->max_entry_bytes);
    return cache;
}

/* ------------------------------------------------------------- shards; under their lock */

/* Keyed: whoever makes bodies up does not choose where they stand. */
static uint64_t place_of(const struct digest *name)
{
    return hash_name((struct text){(const char *)name->bytes, sizeof(name->bytes)});
}

static struct shard *shard_of(struct cache *cache, const struct cache_entry *entry)
{
    return &cache->shards[place_of(&entry->name) % CACHE_SHARDS];
}

static struct cache_entry **bucket_of(const struct shard *shard, uint64_t place)
{
    return &shard->buckets[place / CACHE_SHARDS & (shard->capacity - 1)];
}

static bool is_named(const struct cache_entry *entry, const struct digest *name)
{
    return memcmp(entry->name.bytes, name->bytes, sizeof(name->bytes)) == 0;
}

static void widen(struct shard *shard)
{
    struct cache_entry **old = shard->buckets;
    size_t count = shard->capacity;
    shard->capacity *= 2;
    shard->buckets = memory_new(shard->capacity * sizeof(struct cache_entry *));
    for (size_t i = 0; i < count; i++) {
        for (struct cache_entry *entry = old[i], *next; entry; entry = next) {
            next = entry->next;
            struct cache_entry **bucket = bucket_of(shard, place_of(&entry->name));
            entry->next = *bucket;
            *bucket = entry;
        }
    }
    memory_free(old);
}

static void list_entry(struct cache *cache, struct shard *shard, struct cache_entry *entry)
{
    if (shard->count >= shard->capacity)
        widen(shard);
    struct cache_entry **bucket = bucket_of(shard, place_of(&entry->name));
    entry->next = *bucket;
    *bucket = entry;
    entry->listed = true;
    entry_ref(entry);
    shard->count++;
    atomic_fetch_add_explicit(&cache->entries, 1, memory_order_relaxed);
}

static void note_oldest(struct shard *shard)
{
    uint64_t oldest = UINT64_MAX;
    if (!list_is_empty(&shard->used))
        oldest = LIST_MEMBER(shard->used.next, struct cache_entry, used_link)->used;
    atomic_store_explicit(&shard->oldest, oldest, memory_order_relaxed);
}

/* It is used now; it must be kept. */
static void touch(struct cache *cache, struct shard *shard, struct cache_entry *entry)
{
    entry->used = atomic_fetch_add_explicit(&cache->uses, 1, memory_order_relaxed);
    list_remove(&entry->used_link);
    list_push_back(&shard->used, &entry->used_link);
    note_oldest(shard);
}

static void keep(struct cache *cache, struct shard *shard, struct cache_entry *entry)
{
    entry->kept = true;
    atomic_fetch_add(&cache->kept, entry->memory);
    touch(cache, shard, entry);
}

/* Gives back the shard's reference. */
static void unlist(struct cache *cache, struct shard *shard, struct cache_entry *entry)
{
    if (!entry->listed)
        return;
    struct cache_entry **at = bucket_of(shard, place_of(&entry->name));
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    shard->count--;
    entry->listed = false;
    atomic_fetch_sub_explicit(&cache->entries, 1, memory_order_relaxed);
    if (entry->kept) {
        entry->kept = false;
        list_remove(&entry->used_link);
        note_oldest(shard);
        atomic_fetch_sub(&cache->kept, entry->memory);
    }
    cache_entry_unref(entry);
}

/* ------------------------------------------------------------------------------ bounds */

static struct shard *oldest_shard(struct cache *cache)
{
    struct shard *oldest = NULL;
    uint64_t used = UINT64_MAX;
    for (size_t i = 0; i < CACHE_SHARDS; i++) {
        uint64_t at = atomic_load_explicit(&cache->shards[i].oldest, memory_order_relaxed);
        if (at < used) {
            used = at;
            oldest = &cache->shards[i];
        }
    }
    return oldest;
}

/* Drop what was not used for the longest time, until what is kept has room. */
static void evict(struct cache *cache)
{
    while (atomic_load(&cache->kept) > atomic_load(&cache->max_bytes)) {
        struct shard *shard = oldest_shard(cache);
        if (!shard)
            return;
        pthread_mutex_lock(&shard->lock);
        if (!list_is_empty(&shard->used)) {
            unlist(cache, shard, LIST_MEMBER(shard->used.next, struct cache_entry, used_link));
            atomic_fetch_add_explicit(&cache->evicted, 1, memory_order_relaxed);
        }
        pthread_mutex_unlock(&shard->lock);
    }
}

void cache_set_options(struct cache *cache, const struct cache_options *options)
{
    atomic_store(&cache->max_bytes, options->max_bytes);
    atomic_store(&cache->max_entry_bytes, options->max_entry_bytes);
    evict(cache);
}

void cache_unlist(struct cache *cache, struct cache_entry *entry)
{
    struct shard *shard = shard_of(cache, entry);
    pthread_mutex_lock(&shard->lock);
    unlist(cache, shard, entry);
    pthread_mutex_unlock(&shard->lock);
}

void cache_close(struct cache *cache, struct cache_entry *entry)
{
    struct shard *shard = shard_of(cache, entry);
    pthread_mutex_lock(&shard->lock);
    entry->closed = true;
    if (!entry->idempotency)
        unlist(cache, shard, entry);
    pthread_mutex_unlock(&shard->lock);
}

/* Those that <entry> replaces, and a few that nobody may have any more. */
static void drop_older(struct cache *cache, struct shard *shard, const struct cache_entry *entry)
{
    struct cache_entry *next;
    for (struct cache_entry *at = *bucket_of(shard, place_of(&entry->name)); at; at = next) {
        next = at->next;
        if (at != entry && at->kept && at->stream == entry->stream && is_named(at, &entry->name))
            unlist(cache, shard, at);
    }
    for (size_t i = 0; i < EXPIRED_AT_ONCE && !list_is_empty(&shard->used); i++) {
        struct cache_entry *oldest = LIST_MEMBER(shard->used.next, struct cache_entry, used_link);
        if (oldest->expires_us > entry->made_us + entry->age_us)
            break;
        unlist(cache, shard, oldest);
    }
}

void cache_keep(struct cache *cache, struct cache_entry *entry, int64_t ttl_us)
{
    struct shard *shard = shard_of(cache, entry);
    pthread_mutex_lock(&shard->lock);
    int64_t now_us = (int64_t)clock_now_us();
    entry->made_us = now_us - entry->age_us;
    entry->expires_us = ttl_us < INT64_MAX - now_us ? now_us + ttl_us : INT64_MAX;
    if (ttl_us <= 0) {
        unlist(cache, shard, entry);
    } else if (entry->listed) {
        drop_older(cache, shard, entry);
        keep(cache, shard, entry);
    }
    pthread_mutex_unlock(&shard->lock);
    evict(cache);
}

/* ------------------------------------------------------------------------------ finding */

static bool is_growing(const struct cache_entry *entry)
{
    return atomic_load_explicit(&entry->state, memory_order_acquire) == ENTRY_GROWS;
}

/* Kept, and not too old for who asks? The asker's clock may be that of a round which began before
 * the answer was there. */
static bool is_good(const struct cache_entry *entry, const struct cache_ask *ask)
{
    int64_t age_us = ask->now_us > entry->made_us ? ask->now_us - entry->made_us : 0;
    return entry->kept && age_us < ask->max_age_us;
}

/* How well <entry> answers <ask>: 0 = not at all. */
static int fitness(const struct cache_entry *entry, const struct cache_ask *ask)
{
    bool is_form = entry->stream == ask->stream;
    if (is_good(entry, ask) && !is_growing(entry))
        return is_form ? 3 : 2;
    /* Between being kept and being whole it is joined like one that grows. */
    return is_form && ask->may_join && is_growing(entry) ? 1 : 0;
}

/* The entry that answers best. What has expired goes. */
static struct cache_entry *find_best(struct cache *cache, struct shard *shard,
                                     const struct cache_ask *ask, uint64_t place)
{
    struct cache_entry *best = NULL, *next;
    int best_fits = 0;
    for (struct cache_entry *at = *bucket_of(shard, place); at; at = next) {
        next = at->next;
        if (!is_named(at, &ask->name))
            continue;
        if (at->kept && at->expires_us <= ask->now_us) {
            unlist(cache, shard, at);
            continue;
        }
        int fits = ask->idempotency ? 1 : fitness(at, ask);
        if (fits > best_fits) {
            best = at;
            best_fits = fits;
        }
    }
    return best;
}

static enum cache_found take(struct cache *cache, struct shard *shard, struct cache_entry *entry,
                             const struct cache_ask *ask)
{
    if (ask->idempotency && !hash_same(&entry->body, &ask->body))
        return CACHE_OTHER_BODY;
    if (entry->closed)
        return CACHE_NOT_KEPT;
    entry_ref(entry);
    if (entry->kept)
        touch(cache, shard, entry);
    bool joins = is_growing(entry);
    atomic_fetch_add_explicit(joins ? &cache->joins : &cache->hits, 1, memory_order_relaxed);
    return joins ? CACHE_JOIN : CACHE_HIT;
}

static bool is_busy(struct cache *cache)
{
    return atomic_load_explicit(&cache->growing, memory_order_relaxed) >= CACHE_GROWING_MAX ||
           atomic_load_explicit(&cache->alive, memory_order_relaxed) / 2 >=
               atomic_load_explicit(&cache->max_bytes, memory_order_relaxed);
}

static enum cache_found begin(struct cache *cache, struct shard *shard, const struct cache_ask *ask,
                              struct cache_entry **entry)
{
    atomic_fetch_add_explicit(&cache->misses, 1, memory_order_relaxed);
    if (!ask->may_store)
        return CACHE_MISS;
    if (is_busy(cache))
        return CACHE_BUSY;
    *entry = entry_new(cache, ask);
    list_entry(cache, shard, *entry);
    return CACHE_MISS;
}

enum cache_found cache_find(struct cache *cache, const struct cache_ask *ask,
                            struct cache_entry **entry)
{
    uint64_t place = place_of(&ask->name);
    struct shard *shard = &cache->shards[place % CACHE_SHARDS];
    *entry = NULL;
    pthread_mutex_lock(&shard->lock);
    struct cache_entry *best = find_best(cache, shard, ask, place);
    enum cache_found found;
    if (best) {
        found = take(cache, shard, best, ask);
        *entry = found == CACHE_HIT || found == CACHE_JOIN ? best : NULL;
    } else {
        found = begin(cache, shard, ask, entry);
    }
    pthread_mutex_unlock(&shard->lock);
    return found;
}

/* ------------------------------------------------------------------------------ the rest */

static bool is_of_scope(const struct cache_entry *entry, const struct digest *scope)
{
    return memcmp(entry->name.bytes, scope->bytes, CACHE_SCOPE_BYTES) == 0;
}

/* Unlist what is of <scope>, or all when it is NULL. */
static void sweep(struct cache *cache, const struct digest *scope, bool idempotency)
{
    for (size_t i = 0; i < CACHE_SHARDS; i++) {
        struct shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->lock);
        for (size_t b = 0; b < shard->capacity; b++) {
            for (struct cache_entry *at = shard->buckets[b], *next; at; at = next) {
                next = at->next;
                if ((!at->idempotency || idempotency) && (!scope || is_of_scope(at, scope)))
                    unlist(cache, shard, at);
            }
        }
        pthread_mutex_unlock(&shard->lock);
    }
}

void cache_purge(struct cache *cache, struct text scope)
{
    struct digest digest = hash_sha256(scope);
    atomic_fetch_add(&cache->purges, 1);
    sweep(cache, scope.len > 0 ? &digest : NULL, false);
}

bool cache_remember(struct cache *cache, const char *path, size_t max_bytes, struct fault *fault)
{
    cache->answers = answers_open(path, max_bytes, fault);
    return cache->answers != NULL;
}

void cache_mind_others(struct cache *cache, struct underway *table)
{
    cache->underway = table;
}

void cache_free(struct cache *cache)
{
    answers_close(cache->answers);
    underway_close(cache->underway);
    sweep(cache, NULL, true);
    for (size_t i = 0; i < CACHE_SHARDS; i++) {
        pthread_mutex_destroy(&cache->shards[i].lock);
        memory_free(cache->shards[i].buckets);
    }
    memory_free(cache);
}

struct cache_figures cache_figures(struct cache *cache)
{
    return (struct cache_figures){
        .entries = atomic_load_explicit(&cache->entries, memory_order_relaxed),
        .bytes = atomic_load_explicit(&cache->kept, memory_order_relaxed),
        .hits = atomic_load_explicit(&cache->hits, memory_order_relaxed),
        .joins = atomic_load_explicit(&cache->joins, memory_order_relaxed),
        .misses = atomic_load_explicit(&cache->misses, memory_order_relaxed),
        .evicted = atomic_load_explicit(&cache->evicted, memory_order_relaxed),
    };
}
