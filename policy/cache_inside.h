/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cache_inside - what the files of the cache share.
 *
 * Two kinds of locks: a shard's, for which entries are listed under which name and in which order
 * they were used, and an entry's, for its growing. Nobody holds both.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "policy/cache.h"
#include "policy/cache_answers.h"
#include "policy/underway.h"

enum {
    CACHE_SHARDS = 16,
    CACHE_SCOPE_BYTES = 8,      /* of a name, that stand for its scope */
    CACHE_CHUNK_FIRST = 1024,   /* bytes */
    CACHE_CHUNK_MAX = 64 << 10, /* bytes */
    CACHE_HOLD_BYTES = 8 << 20, /* of an answer that is too large to be kept but is read yet */
    CACHE_GROWING_MAX = 16384,  /* entries in the making */
};

enum entry_state { ENTRY_GROWS, ENTRY_WHOLE, ENTRY_BROKEN };

/* Bytes that never move; all but the last are full. */
struct cache_chunk {
    struct cache_chunk *next;
    size_t len, capacity;
    char bytes[];
};

struct cache_entry {
    struct cache *cache;
    atomic_uint refs; /* the shard's while listed, the writer's, the readers' */
    /* never changed */
    struct digest name, body;
    bool stream, idempotency;
    /* under the shard's lock */
    struct cache_entry *next; /* of those with the same bucket */
    struct link used_link;    /* in the order of use; only when kept */
    uint64_t used;            /* when, counted in uses */
    bool listed, kept;
    bool closed; /* nobody new may have it: it is larger than what is kept */
    /* set before the state says that it is whole */
    int64_t made_us, expires_us;
    struct cache_end end;
    /* set once, before has_facts */
    struct cache_facts facts;
    atomic_bool has_facts;
    atomic_int state; /* changed under the entry's lock */
    atomic_uint readers;
    /* under the entry's lock, until it is whole */
    pthread_mutex_t lock;
    struct cache_chunk *first, *last;
    size_t size;     /* bytes of the answer so far */
    size_t memory;   /* bytes that it takes, its own included */
    bool deaf;       /* its bytes were dropped and more are not wanted */
    const char *why; /* it broke */
    struct link reading;
    struct cache_writer *writer;
    /* its writer's thread's only */
    struct cache_claim *claim; /* other replicas wait for it */
    bool taken;                /* other processes do: cache->underway has it */
    int64_t age_us;            /* it had when it was found elsewhere */
};

struct shard {
    pthread_mutex_t lock;
    struct cache_entry **buckets;
    size_t capacity, count;
    struct link used;     /* entries that are kept, the least recently used first */
    atomic_ullong oldest; /* when the first of them was used; UINT64_MAX = there is none */
};

struct cache {
    struct shard shards[CACHE_SHARDS];
    atomic_size_t max_bytes, max_entry_bytes;
    atomic_size_t kept;  /* bytes of entries that are kept */
    atomic_size_t alive; /* bytes of all that there are */
    atomic_uint growing; /* entries in the making */
    atomic_uint purges;  /* so far: who remembers calls forgets them then */
    atomic_ullong uses;
    struct answers *answers;   /* NULL = only in memory */
    struct underway *underway; /* NULL = there is no other process */
    atomic_ullong entries, hits, joins, misses, evicted;
};

/* A new entry that grows, with one reference. */
struct cache_entry *entry_new(struct cache *cache, const struct cache_ask *ask);
void entry_ref(struct cache_entry *entry);
/* It will not be whole; where it is listed it stays. */
void entry_break(struct cache_entry *entry, const char *why);

/* Other processes need not wait for it any more. Before it is taken out of its shard. */
void entry_give_back(struct cache_entry *entry);

/* cache.c: take it out of its shard; nobody finds it any more. */
void cache_unlist(struct cache *cache, struct cache_entry *entry);
/* Nobody new may have it: taken out, or, for Idempotency-Key, marked. */
void cache_close(struct cache *cache, struct cache_entry *entry);
/* It is about to be whole: keep it in place of older ones, or take it out. */
void cache_keep(struct cache *cache, struct cache_entry *entry, int64_t ttl_us);
