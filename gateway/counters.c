/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/counters.h"

#include <string.h>

#include "gateway/base/hash.h"

enum { USER_PLAIN_MAX = 64, BLOCK_BYTES = 16 * 1024, DIGEST_DIGITS = 32 };

struct counter_name {
    const struct limit *limit; /* NULL = a free place */
    const void *level;
    struct text name;
};

struct counters {
    struct counter_name *places;
    size_t capacity, count; /* capacity: a power of two */
    struct arena arena;
};

struct counters *counters_new(void)
{
    struct counters *counters = memory_new(sizeof(*counters));
    arena_init(&counters->arena, BLOCK_BYTES);
    return counters;
}

void counters_free(struct counters *counters)
{
    arena_done(&counters->arena);
    memory_free(counters->places);
    memory_free(counters);
}

/* Addresses of ours: nobody outside chooses them. */
static size_t place_of(const struct counters *counters, const void *limit, const void *level)
{
    uint64_t mixed = ((uint64_t)(uintptr_t)limit * 0x9E3779B97F4A7C15U) ^
                     ((uint64_t)(uintptr_t)level * 0xC2B2AE3D27D4EB4FU);
    return (size_t)(mixed >> 32) & (counters->capacity - 1);
}

static struct counter_name *find(const struct counters *counters, const struct limit *limit,
                                 const void *level)
{
    size_t at = place_of(counters, limit, level);
    while (counters->places[at].limit &&
           (counters->places[at].limit != limit || counters->places[at].level != level))
        at = (at + 1) & (counters->capacity - 1);
    return &counters->places[at];
}

static void grow(struct counters *counters)
{
    struct counter_name *before = counters->places;
    size_t count = counters->capacity;
    counters->capacity = count ? count * 2 : 64;
    counters->places = memory_new(counters->capacity * sizeof(*counters->places));
    for (size_t i = 0; i < count; i++)
        if (before[i].limit)
            *find(counters, before[i].limit, before[i].level) = before[i];
    memory_free(before);
}

/* <begin>, the limit's name, and the model when it is for one. */
static struct text write_name(struct arena *arena, struct text begin, const struct limit *limit)
{
    char name[48];
    limit_name_write(limit, name);
    bool model = limit->model.len > 0;
    return arena_format(arena, "%.*s:%s%s%.*s", TEXT_ARGS(begin), name, model ? ":" : "",
                        TEXT_ARGS(limit->model));
}

struct text counters_find(struct counters *counters, const struct limit *limit,
                          const struct key *key, const struct tenant *tenant)
{
    const void *level = key ? (const void *)key : (const void *)tenant;
    if (counters->count * 2 >= counters->capacity)
        grow(counters);
    struct counter_name *place = find(counters, limit, level);
    if (place->limit)
        return place->name;
    struct text begin = key ? arena_format(&counters->arena, "k/%.*s/%.*s",
                                           TEXT_ARGS(tenant->name), TEXT_ARGS(key->name))
                            : arena_format(&counters->arena, "t/%.*s", TEXT_ARGS(tenant->name));
    *place = (struct counter_name){limit, level, write_name(&counters->arena, begin, limit)};
    counters->count++;
    return place->name;
}

static bool is_plain(struct text user)
{
    if (user.len > USER_PLAIN_MAX)
        return false;
    for (size_t i = 0; i < user.len; i++) {
        unsigned char c = (unsigned char)user.at[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     strchr("._@+=-", c);
        if (!plain || c == 0)
            return false;
    }
    return true;
}

struct text counters_of_user(struct arena *arena, const struct tenant *tenant, struct text user,
                             const struct limit *limit)
{
    char hex[HEX_BYTES];
    struct text shown = user;
    if (!is_plain(user)) {
        struct digest digest = hash_sha256(user);
        hash_hex(&digest, hex);
        shown = (struct text){hex, DIGEST_DIGITS};
    }
    struct text begin = arena_format(arena, "u/%.*s/%s%.*s", TEXT_ARGS(tenant->name),
                                     shown.at == hex ? "~" : "", TEXT_ARGS(shown));
    return write_name(arena, begin, limit);
}
