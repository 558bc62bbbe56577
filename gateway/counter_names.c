/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/counter_names.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/hash.h"

enum { USER_PLAIN_MAX = 64, BLOCK_BYTES = 16 * 1024, DIGEST_DIGITS = 32 };

struct counter_name {
    const struct limit *limit; /* NULL = a free place */
    const void *level;
    struct text name;
    uint64_t hash;
};

struct counter_names {
    struct counter_name *places;
    size_t capacity, count; /* capacity: a power of two */
    struct arena arena;
};

struct counter_names *counter_names_new(void)
{
    struct counter_names *counter_names = memory_new(sizeof(*counter_names));
    arena_init(&counter_names->arena, BLOCK_BYTES);
    return counter_names;
}

void counter_names_free(struct counter_names *counter_names)
{
    arena_done(&counter_names->arena);
    memory_free(counter_names->places);
    memory_free(counter_names);
}

/* Addresses of ours: nobody outside chooses them. */
static size_t place_of(const struct counter_names *counter_names, const void *limit,
                       const void *level)
{
    uint64_t mixed = ((uint64_t)(uintptr_t)limit * 0x9E3779B97F4A7C15U) ^
                     ((uint64_t)(uintptr_t)level * 0xC2B2AE3D27D4EB4FU);
    return (size_t)(mixed >> 32) & (counter_names->capacity - 1);
}

static struct counter_name *find(const struct counter_names *counter_names,
                                 const struct limit *limit, const void *level)
{
    size_t at = place_of(counter_names, limit, level);
    while (counter_names->places[at].limit &&
           (counter_names->places[at].limit != limit || counter_names->places[at].level != level))
        at = (at + 1) & (counter_names->capacity - 1);
    return &counter_names->places[at];
}

static void grow(struct counter_names *counter_names)
{
    struct counter_name *before = counter_names->places;
    size_t count = counter_names->capacity;
    counter_names->capacity = count ? count * 2 : 64;
    counter_names->places = memory_new(counter_names->capacity * sizeof(*counter_names->places));
    for (size_t i = 0; i < count; i++)
        if (before[i].limit)
            *find(counter_names, before[i].limit, before[i].level) = before[i];
    memory_free(before);
}

static bool is_special(char c)
{
    return c == '/' || c == ':' || c == '%' || c == '#';
}

/* Names of tenants and keys may have any characters in them; two of them never make one counter. */
static struct text escaped(struct arena *arena, struct text name)
{
    size_t special = 0, len = 0;
    for (size_t i = 0; i < name.len; i++)
        special += is_special(name.at[i]);
    if (special == 0)
        return name;
    char *out = arena_new(arena, name.len + 2 * special + 1);
    for (size_t i = 0; i < name.len; i++)
        len += (size_t)sprintf(out + len, is_special(name.at[i]) ? "%%%02x" : "%c",
                               (unsigned char)name.at[i]);
    return (struct text){out, len};
}

/* "acme"; "acme#0aZ…" of a tenant that was made through the API. */
static struct text owner_of(struct arena *arena, const struct tenant *tenant)
{
    struct text name = escaped(arena, tenant->name);
    if (!tenant->scope.len)
        return name;
    return arena_format(arena, "%.*s%.*s", TEXT_ARGS(name),
                        TEXT_ARGS(text_from(tenant->scope, tenant->name.len)));
}

static unsigned digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

struct text counter_name_part(struct text part, char *room)
{
    size_t len = 0;
    for (size_t i = 0; i < part.len; i++) {
        if (part.at[i] == '#')
            while (i < part.len && part.at[i] != '/')
                i++;
        if (i == part.len)
            break;
        bool is_escape = part.at[i] == '%' && i + 2 < part.len;
        room[len++] =
            is_escape ? (char)(digit(part.at[i + 1]) << 4 | digit(part.at[i + 2])) : part.at[i];
        i += is_escape ? 2 : 0;
    }
    return (struct text){room, len};
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

static struct counter_name make_name(struct arena *arena, const struct limit *limit,
                                     const struct key *key, const struct tenant *tenant)
{
    struct text owner = owner_of(arena, tenant);
    struct text inside = key ? escaped(arena, key->name) : TEXT("");
    struct text begin =
        key ? arena_format(arena, "k/%.*s/%.*s", TEXT_ARGS(owner), TEXT_ARGS(inside))
            : arena_format(arena, "t/%.*s", TEXT_ARGS(owner));
    struct text name = write_name(arena, begin, limit);
    return (struct counter_name){
        .limit = limit,
        .level = key ? (const void *)key : (const void *)tenant,
        .name = name,
        .hash = hash_name(name),
    };
}

struct text counter_names_find(struct counter_names *counter_names, const struct limit *limit,
                               const struct key *key, const struct tenant *tenant, uint64_t *hash)
{
    if (counter_names->count * 2 >= counter_names->capacity)
        grow(counter_names);
    struct counter_name *place =
        find(counter_names, limit, key ? (const void *)key : (const void *)tenant);
    if (!place->limit) {
        *place = make_name(&counter_names->arena, limit, key, tenant);
        counter_names->count++;
    }
    if (hash)
        *hash = place->hash;
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

struct text counter_name_of_user(struct arena *arena, const struct tenant *tenant, struct text user,
                                 const struct limit *limit)
{
    char hex[HEX_BYTES];
    struct text shown = user;
    if (!is_plain(user)) {
        struct digest digest = hash_sha256(user);
        hash_hex(&digest, hex);
        shown = (struct text){hex, DIGEST_DIGITS};
    }
    struct text owner = owner_of(arena, tenant);
    struct text begin = arena_format(arena, "u/%.*s/%s%.*s", TEXT_ARGS(owner),
                                     shown.at == hex ? "~" : "", TEXT_ARGS(shown));
    return write_name(arena, begin, limit);
}

struct text counter_name_limit(struct text counter, const struct limit *limit)
{
    size_t model = limit->model.len ? limit->model.len + 1 : 0;
    struct text name = text_head(counter, counter.len - model);
    size_t from = name.len;
    while (from > 0 && name.at[from - 1] != ':')
        from--;
    return text_from(name, from);
}
