/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/replicas.h"

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/config/config.h"

struct replica {
    struct link link;
    struct slots *slots;
    struct slot slot; /* a copy, to ask where it is: no place is held by it */
    struct upstream_pool *pool;
};

void replicas_init(struct replicas *replicas, struct upstreams *upstreams)
{
    replicas->upstreams = upstreams;
    for (size_t i = 0; i < REPLICA_BUCKETS; i++)
        list_init(&replicas->buckets[i]);
}

static void drop(struct replica *replica)
{
    list_remove(&replica->link);
    upstream_pool_unref(replica->pool);
    memory_free(replica);
}

static struct upstream_pool *pool_of(struct replicas *replicas,
                                     const struct launch_address *address,
                                     const struct provider_settings *provider)
{
    struct fault fault;
    struct upstream_place place = {
        .host = address->host,
        .port = address->port,
        .is_unix = address->is_unix,
        .connect_us = provider->connect_us,
        .idle_us = provider->idle_us,
        .max_connections = provider->max_connections,
        .max_idle = provider->max_idle,
    };
    struct upstream_pool *pool = upstream_pool_ref(replicas->upstreams, &place, &fault);
    if (!pool)
        log_line(LOG_ERROR, "upstream", "a replica of %.*s: %s", TEXT_ARGS(provider->name),
                 fault.text);
    return pool;
}

struct upstream_pool *replicas_pool(struct replicas *replicas, struct slots *slots,
                                    const struct slot *slot,
                                    const struct provider_settings *provider)
{
    struct link *bucket = &replicas->buckets[slot->replica % REPLICA_BUCKETS];
    struct launch_address address;
    if (!slots_address(slots, slot, &address))
        return NULL;
    for (struct link *at = bucket->next; at != bucket; at = at->next) {
        struct replica *replica = LIST_MEMBER(at, struct replica, link);
        if (replica->slots == slots && replica->slot.replica == slot->replica &&
            replica->slot.generation == slot->generation)
            return replica->pool;
    }
    struct upstream_pool *pool = pool_of(replicas, &address, provider);
    if (!pool)
        return NULL;
    struct replica *replica = memory_new(sizeof(*replica));
    *replica = (struct replica){.slots = slots, .slot = *slot, .pool = pool};
    list_push_back(bucket, &replica->link);
    return pool;
}

void replicas_sweep(struct replicas *replicas)
{
    for (size_t i = 0; i < REPLICA_BUCKETS; i++) {
        struct link *bucket = &replicas->buckets[i];
        for (struct link *at = bucket->next, *next; at != bucket; at = next) {
            struct replica *replica = LIST_MEMBER(at, struct replica, link);
            next = at->next;
            if (!slots_is_open(replica->slots, &replica->slot))
                drop(replica);
        }
    }
}

void replicas_done(struct replicas *replicas)
{
    for (size_t i = 0; i < REPLICA_BUCKETS; i++)
        while (!list_is_empty(&replicas->buckets[i]))
            drop(LIST_MEMBER(replicas->buckets[i].next, struct replica, link));
}
