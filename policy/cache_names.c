/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/cache_names.h"

#include <string.h>

#include "gateway/base/memory.h"

enum { PARTS = 4 };

/* What a name is made of; texts end with their lengths, which tell them apart. */
struct parts {
    struct text texts[PARTS];
    struct {
        uint32_t scope, route, operation, body;
    } lengths;
    uint32_t bytes;
};

static void take_apart(const struct cache_call *call, struct parts *parts)
{
    parts->lengths.scope = (uint32_t)call->scope.len;
    parts->lengths.route = (uint32_t)call->route.len;
    parts->lengths.operation = (uint32_t)call->operation;
    parts->lengths.body = (uint32_t)call->body.len;
    parts->texts[0] = call->body;
    parts->texts[1] = call->scope;
    parts->texts[2] = call->route;
    parts->texts[3] = (struct text){(const char *)&parts->lengths, sizeof(parts->lengths)};
    parts->bytes = 0;
    for (int i = 0; i < PARTS; i++)
        parts->bytes += (uint32_t)parts->texts[i].len;
}

/* Two words at once, by one multiplication of which both halves count. */
static inline uint64_t mix(uint64_t sum, uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product =
        (unsigned __int128)(sum ^ a) * (b ^ UINT64_C(0x9e3779b97f4a7c15));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Two sums side by side, of which none waits for the other: a body is long. */
static uint64_t mix_text(uint64_t sum, struct text text)
{
    enum { WORD = 8, STEP = 4 * WORD };
    uint64_t other = ~sum, last = 0;
    const char *at = text.at;
    size_t left = text.len;
    for (; left >= STEP; at += STEP, left -= STEP) {
        sum = mix(sum, text_word(at), text_word(at + WORD));
        other = mix(other, text_word(at + 2 * WORD), text_word(at + 3 * WORD));
    }
    for (; left >= WORD; at += WORD, left -= WORD)
        sum = mix(sum, text_word(at), left);
    if (left)
        memcpy(&last, at, left);
    return mix(sum, last, other);
}

/* Where a call is looked for: who finds another one there looks at all of it. */
static uint32_t sum_of(const struct parts *parts)
{
    uint64_t sum = 0;
    for (int i = 0; i < PARTS; i++)
        sum = mix_text(sum, parts->texts[i]);
    return (uint32_t)(sum >> 32);
}

static bool is_same(const char *call, const struct parts *parts)
{
    for (int i = 0; i < PARTS; i++) {
        if (parts->texts[i].len && memcmp(call, parts->texts[i].at, parts->texts[i].len) != 0)
            return false;
        call += parts->texts[i].len;
    }
    return true;
}

static void forget(struct cache_names *names, struct cache_named *place)
{
    if (!place->call)
        return;
    names->bytes -= place->bytes;
    memory_free(place->call);
    place->call = NULL;
}

static void remember(struct cache_names *names, struct cache_named *place,
                     const struct parts *parts, const struct digest *name)
{
    while (names->bytes + parts->bytes > CACHE_NAMES_BYTES)
        forget(names, &names->places[names->clear++ % CACHE_NAMES]);
    char *at = place->call = memory_resize(NULL, parts->bytes);
    for (int i = 0; i < PARTS; i++) {
        if (parts->texts[i].len)
            memcpy(at, parts->texts[i].at, parts->texts[i].len);
        at += parts->texts[i].len;
    }
    names->bytes += parts->bytes;
    place->name = *name;
}

static bool make(const struct cache_call *call, struct digest *name)
{
    return cache_name(call->scope, call->route, call->operation, call->body, name);
}

bool cache_names_find(struct cache_names *names, const struct cache_call *call, struct digest *name)
{
    struct parts parts;
    if (call->body.len > CACHE_NAMED_BYTES_MAX || call->scope.len > CACHE_NAMED_BYTES_MAX ||
        call->route.len > CACHE_NAMED_BYTES_MAX)
        return make(call, name);
    take_apart(call, &parts);
    uint32_t sum = sum_of(&parts);
    struct cache_named *place = &names->places[sum % CACHE_NAMES];
    bool again = place->sum == sum && place->bytes == parts.bytes;
    if (again && place->call && is_same(place->call, &parts)) {
        *name = place->name;
        return true;
    }
    forget(names, place);
    place->sum = sum;
    place->bytes = parts.bytes;
    if (!make(call, name))
        return false;
    if (again)
        remember(names, place, &parts, name);
    return true;
}

void cache_names_done(struct cache_names *names)
{
    for (size_t i = 0; i < CACHE_NAMES; i++)
        forget(names, &names->places[i]);
}
