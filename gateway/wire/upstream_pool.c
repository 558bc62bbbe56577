/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream_pool - the places that calls go to, and what connections are kept to them.
 */
#include <assert.h>
#include <stdio.h>

#include "gateway/base/memory.h"
#include "gateway/wire/upstream_inside.h"

struct upstreams *upstreams_new(struct loop *loop, struct dns *dns)
{
    struct upstreams *upstreams = memory_new(sizeof(*upstreams));
    upstreams->loop = loop;
    upstreams->dns = dns;
    list_init(&upstreams->pools);
    return upstreams;
}

void upstreams_on_full(struct upstreams *upstreams, bool (*make_room)(void *with), void *with)
{
    upstreams->make_room = make_room;
    upstreams->make_room_with = with;
}

struct upstreams_figures upstreams_figures(const struct upstreams *upstreams)
{
    return upstreams->figures;
}

static char *copy_or_null(const char *z)
{
    return z ? memory_string(text_of(z)) : NULL;
}

static char *identity_of(const struct upstream_place *p)
{
    return memory_format(
        "%s|%u|%d%d%d%d|%s|%s|%s|%d%d|%s|%u|%s|%lld|%lld|%u|%u|%p", p->host ? p->host : "", p->port,
        p->is_unix, p->has_tls, p->allow_link_local, p->public_only,
        p->tls.cert_file ? p->tls.cert_file : "", p->tls.key_file ? p->tls.key_file : "",
        p->tls.ca_file ? p->tls.ca_file : "", p->tls.tls13_only, p->tls.http2,
        p->proxy_host ? p->proxy_host : "", p->proxy_port, p->proxy_user ? p->proxy_user : "",
        (long long)p->connect_us, (long long)p->idle_us, p->max_connections, p->max_idle, p->with);
}

static void pool_free(struct upstream_pool *pool)
{
    list_remove(&pool->link);
    if (pool->tls)
        tls_unref(pool->tls);
    if (pool->session)
        tls_session_free(pool->session);
    const char *texts[] = {pool->place.host,         pool->place.tls.cert_file,
                           pool->place.tls.key_file, pool->place.tls.ca_file,
                           pool->place.proxy_host,   pool->place.proxy_user};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        memory_free((void *)(uintptr_t)texts[i]);
    memory_free(pool->identity);
    memory_free(pool);
}

struct upstream_pool *upstream_pool_ref(struct upstreams *upstreams,
                                        const struct upstream_place *place, struct fault *fault)
{
    char *identity = identity_of(place);
    for (struct link *at = upstreams->pools.next; at != &upstreams->pools; at = at->next) {
        struct upstream_pool *pool = LIST_MEMBER(at, struct upstream_pool, link);
        /* TLS files may have changed on disk: contexts are made anew with each configuration. */
        if (strcmp(pool->identity, identity) == 0 && !place->has_tls) {
            memory_free(identity);
            pool->references++;
            return pool;
        }
    }
    struct tls *tls = NULL;
    if (place->has_tls && !(tls = tls_new_client(&place->tls, fault))) {
        memory_free(identity);
        return NULL;
    }
    struct upstream_pool *pool = memory_new(sizeof(*pool));
    pool->owner = upstreams;
    pool->references = 1;
    pool->identity = identity;
    pool->tls = tls;
    pool->place = *place;
    pool->place.host = copy_or_null(place->host);
    pool->place.tls.cert_file = copy_or_null(place->tls.cert_file);
    pool->place.tls.key_file = copy_or_null(place->tls.key_file);
    pool->place.tls.ca_file = copy_or_null(place->tls.ca_file);
    pool->place.proxy_host = copy_or_null(place->proxy_host);
    pool->place.proxy_user = copy_or_null(place->proxy_user);
    list_init(&pool->idle);
    list_init(&pool->waiting);
    list_init(&pool->trunks);
    list_push_back(&upstreams->pools, &pool->link);
    return pool;
}

bool upstream_pool_wants_url(const struct upstream_pool *pool)
{
    return pool->place.proxy_host && !pool->place.has_tls;
}

const char *upstream_pool_proxy_user(const struct upstream_pool *pool)
{
    return pool->place.proxy_user;
}

static void pool_try_free(struct upstream_pool *pool)
{
    if (pool->references == 0 && pool->objects == 0)
        pool_free(pool);
}

void pool_release(struct upstream_pool *pool)
{
    pool->objects--;
    pool_try_free(pool);
}

void upstream_pool_unref(struct upstream_pool *pool)
{
    assert(pool->references > 0);
    if (--pool->references > 0)
        return;
    pool->objects++; /* hold it while its connections go */
    while (!list_is_empty(&pool->idle))
        connection_close(LIST_MEMBER(pool->idle.next, struct upstream, link));
    trunks_retire(pool);
    pool_release(pool);
}

/* When it became idle, by the time at which it will have been too long. */
static uint64_t idle_since_us(const struct upstream *up)
{
    return up->timer.due_us - (uint64_t)up->pool->place.idle_us;
}

bool upstreams_close_idle(struct upstreams *upstreams, uint64_t before_us)
{
    struct upstream *longest = NULL;
    struct trunk *trunk = NULL;
    uint64_t since_us = before_us + 1;
    for (struct link *at = upstreams->pools.next; at != &upstreams->pools; at = at->next) {
        struct upstream_pool *pool = LIST_MEMBER(at, struct upstream_pool, link);
        uint64_t idle_us = 0;
        struct trunk *idle = trunk_find_idle(pool, &idle_us);
        if (idle && idle_us < since_us) {
            since_us = idle_us;
            trunk = idle;
            longest = NULL;
        }
        if (list_is_empty(&pool->idle))
            continue;
        struct upstream *last = LIST_MEMBER(pool->idle.prev, struct upstream, link);
        if (idle_since_us(last) < since_us) {
            since_us = idle_since_us(last);
            longest = last;
            trunk = NULL;
        }
    }
    if (longest)
        connection_close(longest);
    if (trunk)
        trunk_end(trunk);
    return longest || trunk;
}

void upstreams_free(struct upstreams *upstreams)
{
    assert(list_is_empty(&upstreams->pools));
    memory_free(upstreams);
}
