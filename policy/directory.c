/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "gateway/base/table.h"
#include "policy/directory_view.h"

enum { MAY_TAGS = 1, MAY_POLICY = 2, MAY_EXPLAIN = 4 };

struct directory {
    atomic_uint references;
    struct roster_file file;
    struct roster_record **records;
    size_t record_count;
    struct tenant *tenants; /* of the store */
    size_t tenant_count;
    struct key *keys; /* of the file and the store, old secrets too */
    size_t key_count;
    struct keys *lookup;
    struct table names; /* of tenants */
    struct arena arena;
};

/* ----------------------------------------------------------------------------- records */

struct roster_record *roster_record_ref(struct roster_record *record)
{
    atomic_fetch_add_explicit(&record->references, 1, memory_order_relaxed);
    return record;
}

void roster_record_unref(struct roster_record *record)
{
    if (atomic_fetch_sub_explicit(&record->references, 1, memory_order_acq_rel) > 1)
        return;
    struct arena arena = record->arena; /* the record itself is in no arena */
    memory_free(record);
    arena_done(&arena);
}

/* ----------------------------------------------------------------------------- making one */

static void fill_tenant(struct directory *directory, struct tenant *tenant,
                        const struct roster_record *record)
{
    *tenant = (struct tenant){
        .name = record->name,
        .models = record->models,
        .model_count = record->model_count,
        .tags = record->tags,
        .limits = record->limits,
        .user_limits = record->user_limits,
        .may_set_tags = record->may_set & MAY_TAGS,
        .may_set_policy = record->may_set & MAY_POLICY,
        .may_set_explain = record->may_set & MAY_EXPLAIN,
        .is_stored = true,
        .is_off = record->off,
    };
    table_set(&directory->names, tenant->name, tenant);
}

static struct text join_tags(struct directory *directory, struct text own, struct text above)
{
    if (own.len == 0 || above.len == 0)
        return own.len ? own : above;
    if (own.len + above.len + 1 > TENANT_TAGS_MAX)
        return own;
    return arena_format(&directory->arena, "%.*s,%.*s", TEXT_ARGS(own), TEXT_ARGS(above));
}

/* Parents may come in any order: a tenant is linked once its parent is. */
static bool link_tenant(struct directory *directory, struct tenant *tenant,
                        const struct roster_record *record)
{
    if (record->owner.len == 0)
        return true;
    const struct tenant *parent = table_find(&directory->names, record->owner);
    if (!parent || parent->depth + 1 >= TENANT_DEPTH_MAX)
        return false;
    tenant->parent = parent;
    tenant->depth = parent->depth + 1;
    tenant->tags = join_tags(directory, record->tags, parent->tags);
    return true;
}

/* Is the parent the file's, or one of the store that is linked already? */
static bool is_ready(const struct directory *directory, const struct roster_record *record,
                     const struct tenant *tenants, const bool *linked)
{
    const struct tenant *parent = table_find(&directory->names, record->owner);
    if (record->owner.len == 0 || !parent || !parent->is_stored)
        return true;
    return linked[parent - tenants];
}

static void take_tenants(struct directory *directory)
{
    size_t count = 0;
    for (size_t i = 0; i < directory->record_count; i++)
        count += directory->records[i]->kind == RECORD_TENANT;
    directory->tenants = memory_new((count + 1) * sizeof(*directory->tenants));
    const struct roster_record **of = memory_new((count + 1) * sizeof(*of));
    bool *linked = memory_new(count + 1);
    for (size_t i = 0; i < directory->record_count; i++) {
        const struct roster_record *record = directory->records[i];
        if (record->kind != RECORD_TENANT || table_find(&directory->names, record->name))
            continue;
        of[directory->tenant_count] = record;
        fill_tenant(directory, &directory->tenants[directory->tenant_count++], record);
    }
    /* As often as tenants may be nested, and no oftener: a circle stays unlinked. */
    for (int round = 0; round < TENANT_DEPTH_MAX; round++)
        for (size_t i = 0; i < directory->tenant_count; i++)
            if (!linked[i] && is_ready(directory, of[i], directory->tenants, linked))
                linked[i] = link_tenant(directory, &directory->tenants[i], of[i]);
    for (size_t i = 0; i < directory->tenant_count; i++)
        if (!linked[i]) { /* it hangs in the air: its keys open nothing */
            directory->tenants[i].is_off = true;
            directory->tenants[i].parent = NULL;
        }
    memory_free(of);
    memory_free(linked);
}

static void add_key(struct directory *directory, const struct roster_record *record,
                    const struct tenant *tenant, const struct digest *digest, int64_t expires_us)
{
    directory->keys[directory->key_count++] = (struct key){
        .name = record->name,
        .digest = *digest,
        .tenant = tenant,
        .models = record->models,
        .model_count = record->model_count,
        .limits = record->limits,
        .tags = join_tags(directory, record->tags, tenant->tags),
        .expires_us = expires_us,
        .is_stored = true,
    };
}

static void take_keys(struct directory *directory)
{
    size_t most = directory->file.key_count + 2 * directory->record_count;
    directory->keys = memory_new((most + 1) * sizeof(*directory->keys));
    for (size_t i = 0; i < directory->file.key_count; i++)
        directory->keys[directory->key_count++] = directory->file.keys[i];
    for (size_t i = 0; i < directory->record_count; i++) {
        const struct roster_record *record = directory->records[i];
        if (record->kind != RECORD_KEY || record->revoked_us)
            continue;
        const struct tenant *tenant = table_find(&directory->names, record->owner);
        if (!tenant)
            continue;
        add_key(directory, record, tenant, &record->digest, record->expires_us);
        int64_t until = record->overlap_until_us;
        if (record->expires_us && record->expires_us < until)
            until = record->expires_us;
        if (record->has_old)
            add_key(directory, record, tenant, &record->old_digest, until);
    }
    directory->lookup = keys_new(directory->keys, directory->key_count, NULL);
}

struct directory *directory_new(const struct roster_file *file,
                                struct roster_record *const *records, size_t count)
{
    struct directory *directory = memory_new(sizeof(*directory));
    directory->references = 1;
    directory->file = *file;
    if (file->owner)
        file->owner_ref(file->owner);
    arena_init(&directory->arena, 4096);
    table_init(&directory->names);
    for (size_t i = 0; i < file->tenant_count; i++)
        table_set(&directory->names, file->tenants[i].name, (void *)(uintptr_t)&file->tenants[i]);
    directory->records = memory_new((count + 1) * sizeof(*directory->records));
    directory->record_count = count;
    for (size_t i = 0; i < count; i++)
        directory->records[i] = roster_record_ref(records[i]);
    take_tenants(directory);
    take_keys(directory);
    return directory;
}

struct directory *directory_ref(struct directory *directory)
{
    atomic_fetch_add_explicit(&directory->references, 1, memory_order_relaxed);
    return directory;
}

void directory_unref(struct directory *directory)
{
    if (atomic_fetch_sub_explicit(&directory->references, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < directory->record_count; i++)
        roster_record_unref(directory->records[i]);
    memory_free(directory->records);
    memory_free(directory->tenants);
    memory_free(directory->keys);
    keys_free(directory->lookup);
    table_done(&directory->names);
    arena_done(&directory->arena);
    if (directory->file.owner)
        directory->file.owner_unref(directory->file.owner);
    memory_free(directory);
}

/* ----------------------------------------------------------------------------- asking */

const struct key *directory_find_key(const struct directory *directory, struct text secret,
                                     int64_t wall_us)
{
    const struct key *key = keys_find(directory->lookup, secret, wall_us);
    for (const struct tenant *at = key ? key->tenant : NULL; at; at = at->parent)
        if (at->is_off)
            return NULL;
    return key;
}

const struct tenant *directory_find_tenant(const struct directory *directory, struct text name)
{
    return table_find(&directory->names, name);
}

void directory_each_key(const struct directory *directory,
                        void (*see)(void *with, const struct key *key), void *with)
{
    for (size_t i = 0; i < directory->key_count; i++)
        see(with, &directory->keys[i]);
}

void directory_each_tenant(const struct directory *directory,
                           void (*see)(void *with, const struct tenant *tenant), void *with)
{
    for (size_t i = 0; i < directory->file.tenant_count; i++)
        see(with, &directory->file.tenants[i]);
    for (size_t i = 0; i < directory->tenant_count; i++)
        see(with, &directory->tenants[i]);
}
