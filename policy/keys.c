/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "policy/policy.h"

/* Longer names than this are nobody's model: bounds the work of matching patterns. */
enum { MODEL_NAME_MAX = 1024, INDEX_LEAST = 8 /* of fewer names none is made */ };

/*
 * Open addressing by the first bytes of the digest. A digest is as good as random, and whoever
 * tries keys cannot choose which ones are configured, so no keyed hash is needed here.
 */
struct keys {
    size_t capacity; /* a power of two, at least twice the number of keys: some place is free */
    const struct key *places[];
};

static size_t place_of(const struct keys *keys, const struct digest *digest)
{
    uint64_t first;
    memcpy(&first, digest->bytes, sizeof(first));
    return first & (keys->capacity - 1);
}

/* Put <key> in; returns the key that has the same digest and stands there already, or NULL. */
static const struct key *keys_add(struct keys *keys, const struct key *key)
{
    size_t at = place_of(keys, &key->digest);
    for (; keys->places[at]; at = (at + 1) & (keys->capacity - 1))
        if (hash_same(&keys->places[at]->digest, &key->digest))
            return keys->places[at];
    keys->places[at] = key;
    return NULL;
}

struct keys *keys_new(const struct key *keys, size_t count, const struct key **repeated)
{
    size_t capacity = 16;
    while (capacity < count * 2)
        capacity *= 2;
    struct keys *made = memory_new(sizeof(*made) + capacity * sizeof(made->places[0]));
    made->capacity = capacity;
    if (repeated)
        *repeated = NULL;
    for (size_t i = 0; i < count; i++)
        if (keys_add(made, &keys[i]) && repeated && !*repeated)
            *repeated = &keys[i];
    return made;
}

void keys_free(struct keys *keys)
{
    memory_free(keys);
}

const struct key *keys_find_digest(const struct keys *keys, const struct digest *digest,
                                   int64_t wall_us)
{
    static const struct key nobody;
    const struct key *found = NULL;
    size_t at = place_of(keys, digest);
    /* An empty place costs a comparison too: unknown and known keys take the same steps. */
    bool same = hash_same(keys->places[at] ? &keys->places[at]->digest : &nobody.digest, digest);
    while (keys->places[at]) {
        if (same)
            found = keys->places[at];
        at = (at + 1) & (keys->capacity - 1);
        same = keys->places[at] && hash_same(&keys->places[at]->digest, digest);
    }
    return found && found->expires_us && wall_us >= found->expires_us ? NULL : found;
}

/* ------------------------------------------------------------------------- allowed models */

struct model_index {
    size_t exact, count;
    struct text names[]; /* those without '*' in order, and then the patterns */
};

static int name_order(const void *left, const void *right)
{
    const struct text *a = left, *b = right;
    size_t len = a->len < b->len ? a->len : b->len;
    int order = len ? memcmp(a->at, b->at, len) : 0;
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

static bool is_pattern(struct text name)
{
    return text_find_byte(name, '*') != SIZE_MAX;
}

const struct model_index *model_index_new(struct arena *arena, const struct text *models,
                                          size_t count)
{
    if (count < INDEX_LEAST)
        return NULL;
    struct model_index *index = arena_new(arena, sizeof(*index) + count * sizeof(index->names[0]));
    for (size_t i = 0; i < count; i++)
        if (!is_pattern(models[i]))
            index->names[index->exact++] = models[i];
    qsort(index->names, index->exact, sizeof(index->names[0]), name_order);
    index->count = index->exact;
    for (size_t i = 0; i < count; i++)
        if (is_pattern(models[i]))
            index->names[index->count++] = models[i];
    return index;
}

static bool is_among(const struct text *patterns, size_t count, struct text model)
{
    for (size_t i = 0; i < count; i++)
        if (text_matches(model, patterns[i]))
            return true;
    return false;
}

static bool is_listed(const struct text *models, size_t count, const struct model_index *index,
                      struct text model)
{
    if (!index)
        return is_among(models, count, model);
    return bsearch(&model, index->names, index->exact, sizeof(model), name_order) ||
           is_among(index->names + index->exact, index->count - index->exact, model);
}

struct text tenant_scope(const struct tenant *tenant)
{
    return tenant->scope.len ? tenant->scope : tenant->name;
}

const struct tenant *tenant_root(const struct tenant *tenant)
{
    while (tenant->parent)
        tenant = tenant->parent;
    return tenant;
}

/* None given: the topmost tenant allows nothing, a nested one leaves it to those above. */
static bool tenant_may_call(const struct tenant *tenant, struct text model)
{
    for (; tenant; tenant = tenant->parent) {
        if (tenant->model_count == 0 && tenant->parent)
            continue;
        if (!is_listed(tenant->models, tenant->model_count, tenant->model_index, model))
            return false;
    }
    return true;
}

bool key_may_call(const struct key *key, struct text model)
{
    if (model.len == 0 || model.len > MODEL_NAME_MAX)
        return false;
    return tenant_may_call(key->tenant, model) &&
           (key->model_count == 0 ||
            is_listed(key->models, key->model_count, key->model_index, model));
}
