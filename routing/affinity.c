/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/affinity.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "gateway/base/memory.h"

enum {
    TICK_US = 1 << 22, /* times are kept in ticks of about four seconds, modulo 2^16 */
    ROWS_SHARED = 1 << 14,
    TAG_BITS = 24,
    OWNER_BITS = 24,
};

/* An entry is: part of the hash (24) | owner (24) | time (16); 0 = free. */
struct row {
    atomic_uint_fast64_t entries[AFFINITY_OWNERS];
};

struct affinity {
    uint64_t mask;
    struct row *rows;
};

struct affinity *affinity_new(unsigned rows)
{
    struct affinity *affinity = memory_new(sizeof(*affinity));
    affinity->mask = rows - 1;
    affinity->rows = memory_new((size_t)rows * sizeof(struct row));
    return affinity;
}

void affinity_free(struct affinity *affinity)
{
    if (!affinity)
        return;
    memory_free(affinity->rows);
    memory_free(affinity);
}

static struct affinity *shared;

static void make_shared(void)
{
    shared = affinity_new(ROWS_SHARED);
}

struct affinity *affinity_shared(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_shared);
    return shared;
}

uint32_t affinity_owner(uint64_t identity)
{
    uint32_t owner = (uint32_t)(identity >> 40);
    return owner ? owner : 1;
}

static uint64_t tag_of(uint64_t hash)
{
    return hash >> (64 - TAG_BITS) << (64 - TAG_BITS);
}

static struct row *row_of(const struct affinity *affinity, uint64_t hash)
{
    return &affinity->rows[hash & affinity->mask];
}

static uint16_t ticks(uint64_t now_us)
{
    return (uint16_t)(now_us / TICK_US);
}

static uint16_t age_of(uint64_t entry, uint64_t now_us)
{
    return (uint16_t)(ticks(now_us) - (uint16_t)entry);
}

void affinity_note(struct affinity *affinity, uint64_t hash, uint32_t owner, uint64_t now_us)
{
    struct row *row = row_of(affinity, hash);
    uint64_t entry = tag_of(hash) | (uint64_t)owner << 16 | ticks(now_us);
    unsigned place = 0;
    uint32_t oldest = 0;
    for (unsigned i = 0; i < AFFINITY_OWNERS; i++) {
        uint64_t old = atomic_load_explicit(&row->entries[i], memory_order_relaxed);
        if (old >> 16 == entry >> 16) { /* it is there */
            if (old != entry)
                atomic_store_explicit(&row->entries[i], entry, memory_order_relaxed);
            return;
        }
        uint32_t age = old ? age_of(old, now_us) : UINT32_MAX;
        if (age > oldest) {
            oldest = age;
            place = i;
        }
    }
    atomic_store_explicit(&row->entries[place], entry, memory_order_relaxed);
}

unsigned affinity_find(const struct affinity *affinity, uint64_t hash, uint64_t now_us,
                       int64_t ttl_us, uint32_t owners[AFFINITY_OWNERS])
{
    const struct row *row = row_of(affinity, hash);
    uint16_t ages[AFFINITY_OWNERS];
    unsigned count = 0;
    for (unsigned i = 0; i < AFFINITY_OWNERS; i++) {
        uint64_t entry = atomic_load_explicit(&row->entries[i], memory_order_relaxed);
        if (!entry || tag_of(entry) != tag_of(hash))
            continue;
        uint16_t age = age_of(entry, now_us);
        if ((int64_t)age * TICK_US > ttl_us)
            continue;
        unsigned at = count++;
        for (; at > 0 && ages[at - 1] > age; at--) {
            ages[at] = ages[at - 1];
            owners[at] = owners[at - 1];
        }
        ages[at] = age;
        owners[at] = (uint32_t)(entry >> 16 & ((1U << OWNER_BITS) - 1));
    }
    return count;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static const uint64_t odd = UINT64_C(0xa0761d6478bd642f), other = UINT64_C(0xe7037ed1a0b428db);

/* Each multiplication waits for the one before it: of what is long, four go side by side. */
enum { LANES = 4, LANES_LEAST = 256, LANES_BYTES = 2 * LANES * sizeof(uint64_t) };

/* <blocks> of LANES_BYTES, each <step> behind the one before it. */
static inline uint64_t hash_wide(const char *at, size_t blocks, size_t step, uint64_t hash)
{
    uint64_t lanes[LANES] = {hash, hash + odd, hash ^ other, hash - other};
    for (; blocks > 0; blocks--, at += step) /* no copy of a block: that may become a slow one */
        for (size_t i = 0; i < LANES; i++)
            lanes[i] = fold(text_word(at + 16 * i) ^ other, text_word(at + 16 * i + 8) ^ lanes[i]);
    return fold(fold(lanes[0], lanes[1] ^ odd), fold(lanes[2], lanes[3] ^ odd) ^ other);
}

/* Sixteen bytes with each multiplication, as wyhash does (public domain). */
uint64_t affinity_hash(struct text bytes, uint64_t salt)
{
    uint64_t hash = salt ^ odd, words[2];
    size_t at = 0;
    if (bytes.len >= LANES_LEAST) {
        at = bytes.len & ~(size_t)(LANES_BYTES - 1);
        hash = hash_wide(bytes.at, at / LANES_BYTES, LANES_BYTES, hash);
    }
    for (; bytes.len - at >= sizeof(words); at += sizeof(words)) {
        memcpy(words, bytes.at + at, sizeof(words));
        hash = fold(words[0] ^ other, words[1] ^ hash);
    }
    memset(words, 0, sizeof(words));
    if (at < bytes.len)
        memcpy(words, bytes.at + at, bytes.len - at);
    return fold(fold(words[0] ^ other, words[1] ^ hash) ^ odd, bytes.len ^ other);
}

uint64_t affinity_mark(struct text bytes, uint64_t salt)
{
    enum { PAGE = 4096, STEP = 512 };
    if (bytes.len <= PAGE)
        return affinity_hash(bytes, salt);
    uint64_t hash = hash_wide(bytes.at, bytes.len / STEP, STEP, salt);
    return fold(hash ^ odd, bytes.len ^ other);
}
