/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "policy/directory_view.h"

enum { MAY_TAGS = 1, MAY_POLICY = 2, MAY_EXPLAIN = 4 };
enum { STALE_MAX = 1024 };

/* A stored key as it is in a domain. */
struct seat {
    struct roster_record *record; /* with a reference */
    bool aside;                   /* the file has a key of that name */
    struct key key;
    char tags[];
};

/*
 * Seats by the number of their record: a trie that only grows, without locks. Each branch is a seat
 * or, with its lowest bit set, a node; whoever finds two seats in one place puts a node there that
 * leads to the first.
 */
enum { WAYS = 16, WAY_BITS = 4, NODE_BIT = 1 };

struct seat_node {
    atomic_uintptr_t ways[WAYS];
};

struct domain {
    atomic_uint references;
    atomic_uint stale;
    const struct tenant *tenant; /* the file's, or <own> */
    struct tenant own;
    struct roster_record *record; /* NULL = of the file */
    struct domain *parent;        /* with a reference */
    bool closed;
    struct digest hash; /* SHA-256 of the name */
    struct leaf leaf;
    struct seat_node seats;
    char tags[];
};

/* ----------------------------------------------------------------------------------- tags */

static struct text name_of_tag(struct text tag)
{
    return text_head(tag, text_find_byte(tag, '='));
}

static bool has_tag(struct text tags, struct text name)
{
    struct text tag;
    while (text_next(&tags, ',', &tag))
        if (text_equal(name_of_tag(tag), name))
            return true;
    return false;
}

/* Its own, and those above that it does not set itself; <room> has TENANT_TAGS_MAX bytes. What does
 * not fit is left out, from above. */
static struct text join_tags(struct text own, struct text above, char *room)
{
    struct text tag, rest = above;
    size_t len = own.len < TENANT_TAGS_MAX ? own.len : TENANT_TAGS_MAX;
    if (len)
        memcpy(room, own.at, len);
    while (text_next(&rest, ',', &tag)) {
        if (tag.len == 0 || has_tag(own, name_of_tag(tag)) || len + 1 + tag.len > TENANT_TAGS_MAX)
            continue;
        if (len)
            room[len++] = ',';
        memcpy(room + len, tag.at, tag.len);
        len += tag.len;
    }
    return (struct text){room, len};
}

/* --------------------------------------------------------------------------------- domains */

static void domain_ref(void *of)
{
    struct domain *domain = of;
    atomic_fetch_add_explicit(&domain->references, 1, memory_order_relaxed);
}

static void free_seats(struct seat_node *node);

static void domain_unref(void *of)
{
    struct domain *domain = of;
    if (atomic_fetch_sub_explicit(&domain->references, 1, memory_order_acq_rel) > 1)
        return;
    free_seats(&domain->seats);
    if (domain->record)
        roster_record_unref(domain->record);
    if (domain->parent)
        domain_unref(domain->parent);
    memory_free(domain);
}

const struct trie_type domain_type = {domain_ref, domain_unref};

const struct tenant *domain_tenant(const struct domain *domain)
{
    return domain->tenant;
}

bool domain_is_closed(const struct domain *domain)
{
    return domain->closed;
}

struct leaf *domain_leaf(struct domain *domain)
{
    return &domain->leaf;
}

static struct tenant tenant_of(const struct roster_record *record, const struct tenant *parent)
{
    return (struct tenant){
        .name = record->name,
        .parent = parent,
        .depth = parent ? parent->depth + 1 : 0,
        .models = record->models,
        .model_count = record->model_count,
        .limits = record->limits,
        .user_limits = record->user_limits,
        .may_set_tags = record->may_set & MAY_TAGS,
        .may_set_policy = record->may_set & MAY_POLICY,
        .may_set_explain = record->may_set & MAY_EXPLAIN,
        .scope = record->scope,
        .made_us = record->created_us,
        .is_stored = true,
        .is_off = record->off,
    };
}

struct domain *domain_new(const struct tenant *tenant, struct roster_record *record,
                          struct domain *parent)
{
    struct domain *domain = memory_new(sizeof(*domain) + (record ? TENANT_TAGS_MAX : 0));
    domain->references = 1;
    domain->tenant = tenant;
    if (record) {
        const struct tenant *above = parent ? parent->tenant : NULL;
        domain->record = roster_record_ref(record);
        domain->own = tenant_of(record, above);
        domain->own.tags = join_tags(record->tags, above ? above->tags : TEXT(""), domain->tags);
        domain->tenant = &domain->own;
    }
    if (parent)
        domain_ref(parent);
    domain->parent = parent;
    domain->closed = domain->tenant->is_off || (parent && parent->closed);
    domain->hash = hash_sha256(domain->tenant->name);
    domain->leaf =
        (struct leaf){{(const char *)domain->hash.bytes, sizeof(domain->hash.bytes)}, domain};
    return domain;
}

bool domain_note_stale(struct domain *domain)
{
    return atomic_fetch_add_explicit(&domain->stale, 1, memory_order_relaxed) >= STALE_MAX;
}

/* ---------------------------------------------------------------------------------- seats */

static void seat_free(struct seat *seat)
{
    roster_record_unref(seat->record);
    memory_free(seat);
}

static void free_seats(struct seat_node *node)
{
    for (int way = 0; way < WAYS; way++) {
        uintptr_t what = atomic_load_explicit(&node->ways[way], memory_order_relaxed);
        if (what & NODE_BIT) {
            struct seat_node *below = (struct seat_node *)(what & ~(uintptr_t)NODE_BIT);
            free_seats(below);
            memory_free(below);
        } else if (what) {
            seat_free((struct seat *)what);
        }
    }
}

/* Numbers are counted up: multiplied by an odd number they stay apart, and spread. */
static uint64_t path_of(const struct roster_record *record)
{
    return record->number * UINT64_C(0x9E3779B97F4A7C15);
}

static unsigned way_of(uint64_t path, unsigned step)
{
    return (unsigned)(path >> (64 - WAY_BITS * (step + 1))) & (WAYS - 1);
}

/* Where the search for <record> ends: a place that is free, or has a seat; <step> is its depth. */
static atomic_uintptr_t *place_of(struct seat_node *node, const struct roster_record *record,
                                  unsigned *step, uintptr_t *what)
{
    for (*step = 0;; ++*step) {
        atomic_uintptr_t *place = &node->ways[way_of(path_of(record), *step)];
        *what = atomic_load_explicit(place, memory_order_acquire);
        if (!(*what & NODE_BIT))
            return place;
        node = (struct seat_node *)(*what & ~(uintptr_t)NODE_BIT);
    }
}

static struct key key_of(const struct domain *domain, const struct roster_record *record,
                         struct text tags)
{
    return (struct key){
        .name = record->name,
        .digest = record->digest,
        .tenant = domain->tenant,
        .models = record->models,
        .model_count = record->model_count,
        .limits = record->limits,
        .tags = tags,
        .expires_us = record->expires_us,
        .is_stored = true,
    };
}

static bool is_aside(const struct declared *declared, const struct roster_record *record)
{
    struct text place = {(const char *)record->place.bytes, sizeof(record->place.bytes)};
    return table_find(&declared->places, place) != NULL;
}

static struct seat *seat_new(const struct domain *domain, const struct declared *declared,
                             struct roster_record *record)
{
    char room[TENANT_TAGS_MAX];
    struct text tags = domain->tenant->tags;
    if (record->tags.len)
        tags = join_tags(record->tags, tags, room);
    struct seat *seat = memory_new(sizeof(*seat) + tags.len);
    if (tags.at == room) {
        memcpy(seat->tags, room, tags.len);
        tags.at = seat->tags;
    }
    seat->record = roster_record_ref(record);
    seat->aside = is_aside(declared, record);
    seat->key = key_of(domain, record, tags);
    return seat;
}

bool domain_describe(const struct domain *domain, const struct declared *declared,
                     const struct roster_record *record, struct key *key)
{
    *key = key_of(domain, record, record->tags);
    return !is_aside(declared, record);
}

/* Put a node where <other> stands, which leads to it. False when somebody else was quicker. */
static bool split(atomic_uintptr_t *place, struct seat *other, unsigned step)
{
    uintptr_t before = (uintptr_t)other;
    struct seat_node *node = memory_new(sizeof(*node));
    atomic_init(&node->ways[way_of(path_of(other->record), step + 1)], before);
    if (atomic_compare_exchange_strong(place, &before, (uintptr_t)node | NODE_BIT))
        return true;
    memory_free(node);
    return false;
}

const struct key *domain_key(struct domain *domain, const struct declared *declared,
                             struct roster_record *record)
{
    struct seat *made = NULL;
    for (;;) {
        unsigned step;
        uintptr_t what;
        atomic_uintptr_t *place = place_of(&domain->seats, record, &step, &what);
        struct seat *seat = (struct seat *)what;
        if (seat && seat->record != record) {
            split(place, seat, step);
            continue;
        }
        if (!seat) {
            if (!made)
                made = seat_new(domain, declared, record);
            if (!atomic_compare_exchange_strong(place, &what, (uintptr_t)made))
                continue;
            seat = made;
        }
        if (made && made != seat)
            seat_free(made);
        return seat->aside ? NULL : &seat->key;
    }
}
