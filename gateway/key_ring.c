/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/key_ring.h"

enum {
    LIMITED_MS = 10000,   /* when the answer does not say how long */
    REVOKED_MS = 60000,   /* so long for a key that is not valid, or has no money */
    REST_MAX_MS = 3600000 /* no provider may turn a key off for good */
};

/* When it will be awake; 0: it is. */
static uint64_t rests_until(const struct key_rests *rests, struct text key, uint64_t now_us)
{
    if (!rests->count)
        return 0;
    struct digest digest = hash_sha256(key);
    for (unsigned i = 0; i < rests->count; i++)
        if (hash_same(&rests->list[i].key, &digest))
            return rests->list[i].until_us > now_us ? rests->list[i].until_us : 0;
    return 0;
}

struct text key_ring_choose(const struct key_rests *rests, const struct provider_settings *provider,
                            unsigned turn, uint64_t now_us)
{
    struct text best = provider->api_key;
    uint64_t best_until = UINT64_MAX;
    for (size_t i = 0; i < provider->api_key_count; i++) {
        struct text key = provider->api_keys[(turn + i) % provider->api_key_count];
        uint64_t until = rests_until(rests, key, now_us);
        if (until == 0)
            return key;
        if (until < best_until) {
            best = key;
            best_until = until;
        }
    }
    return best;
}

/* The finalizer of SplitMix64: each bit of <number> has a say in each of what comes out. */
static uint64_t mix(uint64_t number)
{
    number = (number ^ (number >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ (number >> 27)) * UINT64_C(0x94d049bb133111eb);
    return number ^ (number >> 31);
}

unsigned key_ring_place(const struct provider_settings *provider, uint64_t affinity)
{
    uint64_t best = 0;
    unsigned place = 0;
    for (size_t i = 0; i < provider->api_key_count; i++) {
        uint64_t weight = mix(affinity ^ mix(1 + (uint64_t)hash_crc32(provider->api_keys[i])));
        if (weight > best) {
            best = weight;
            place = (unsigned)i;
        }
    }
    return place;
}

bool key_ring_has_one(const struct key_rests *rests, const struct provider_settings *provider,
                      uint64_t now_us)
{
    for (size_t i = 0; i < provider->api_key_count; i++)
        if (rests_until(rests, provider->api_keys[i], now_us) == 0)
            return true;
    return false;
}

/* Retry-After in seconds (a date is as good as nothing), or retry-after-ms. */
static uint64_t wished_ms(const struct head *head)
{
    uint64_t number;
    if (text_number(head_value(head, TEXT("retry-after-ms")), REST_MAX_MS, &number))
        return number;
    if (text_number(head_value(head, TEXT("retry-after")), UINT32_MAX, &number))
        return number * 1000;
    return 0;
}

/* Where to write it down: its own place, one that is over, a new one, or the shortest. */
static struct key_rest *place_for(struct key_rests *rests, const struct digest *key)
{
    struct key_rest *shortest = &rests->list[0];
    for (unsigned i = 0; i < rests->count; i++) {
        if (hash_same(&rests->list[i].key, key))
            return &rests->list[i];
        if (rests->list[i].until_us < shortest->until_us)
            shortest = &rests->list[i];
    }
    return rests->count < KEY_RESTS_MAX ? &rests->list[rests->count++] : shortest;
}

bool key_ring_refused(struct key_rests *rests, struct text key, const struct head *head,
                      uint64_t now_us)
{
    bool is_limited = head->status == 429, is_revoked = head->status == 401 || head->status == 402;
    if (!is_limited && !is_revoked)
        return false;
    uint64_t rest_ms = wished_ms(head);
    if (!rest_ms)
        rest_ms = is_limited ? LIMITED_MS : REVOKED_MS;
    if (rest_ms > REST_MAX_MS)
        rest_ms = REST_MAX_MS;
    struct digest digest = hash_sha256(key);
    *place_for(rests, &digest) = (struct key_rest){digest, now_us + rest_ms * 1000};
    return true;
}
