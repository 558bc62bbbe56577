/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <pthread.h>

#include "gateway/base/inflate.h"
#include "gateway/base/memory.h"
#include "policy/bpe_inside.h"

/* How a table is packed: policy/bpe/pack.py. */

enum { RANK_BITS = 18, RANK_MASK = (1 << RANK_BITS) - 1, COLUMNS = 5 };

extern const char bpe_o200k[], bpe_o200k_end[], bpe_cl100k[], bpe_cl100k_end[];

static const struct packed {
    const char *at, *end;
    size_t tokens, bytes; /* bytes of all tokens */
    size_t rest;          /* of them, those that are not shared with the token before */
    unsigned bits;
} packed[TOKENIZERS] = {
    [TOKENIZER_O200K] = {bpe_o200k, bpe_o200k_end, 199998, 1397670, 421660, 19},
    [TOKENIZER_CL100K] = {bpe_cl100k, bpe_cl100k_end, 100256, 643830, 216749, 18},
};

static struct bpe_table tables[TOKENIZERS];

/* ------------------------------------------------------------------------------- finding */

static inline uint64_t load4(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t mix(uint64_t hash)
{
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

/* Not keyed: what is in the table is ours, and nobody can add to it. */
static inline uint64_t hash_of(const char *at, size_t len)
{
    if (len >= 8) {
        uint64_t hash = len;
        for (size_t i = 0; i + 8 < len; i += 8)
            hash = mix(hash ^ text_word(at + i));
        return mix(mix(hash ^ text_word(at + len - 8)));
    }
    if (len >= 4)
        return mix(mix(load4(at) | load4(at + len - 4) << 32) + len);
    unsigned char first = (unsigned char)at[0], middle = (unsigned char)at[len / 2];
    uint64_t last = (unsigned char)at[len - 1];
    return mix(mix(first | (uint64_t)middle << 8 | last << 16 | (uint64_t)len << 24));
}

/* The bits of a slot that are not the rank. */
static inline uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)hash << RANK_BITS;
}

static inline size_t place_of(const struct bpe_table *table, uint64_t hash)
{
    return (size_t)(hash >> (64 - table->bits));
}

uint32_t bpe_rank(const struct bpe_table *table, const char *at, size_t len)
{
    uint64_t hash = hash_of(at, len);
    size_t mask = ((size_t)1 << table->bits) - 1;
    for (size_t place = place_of(table, hash);; place = (place + 1) & mask) {
        uint32_t slot = table->slots[place];
        if (!slot)
            return BPE_NO_RANK;
        if ((slot & ~(uint32_t)RANK_MASK) != tag_of(hash))
            continue;
        uint32_t rank = (slot & RANK_MASK) - 1, start = table->starts[rank];
        if (table->starts[rank + 1] - start == len && memcmp(table->bytes + start, at, len) == 0)
            return rank;
    }
}

/* ----------------------------------------------------------------------------- unpacking */

static uint32_t rank_of(const unsigned char *columns, size_t tokens, size_t i)
{
    const unsigned char *low = columns + 2 * tokens, *middle = low + tokens,
                        *high = middle + tokens;
    return low[i] | (uint32_t)middle[i] << 8 | (uint32_t)high[i] << 16;
}

static void add_token(struct bpe_table *table, uint32_t rank, const char *bytes, size_t len)
{
    uint64_t hash = hash_of(bytes, len);
    size_t place = place_of(table, hash), mask = ((size_t)1 << table->bits) - 1;
    memcpy(table->bytes + table->starts[rank], bytes, len);
    while (table->slots[place])
        place = (place + 1) & mask;
    table->slots[place] = tag_of(hash) | (rank + 1);
}

static void fill_starts(struct bpe_table *table, const unsigned char *columns)
{
    const unsigned char *shared = columns, *rest = columns + table->tokens;
    uint32_t start = 0;
    for (size_t i = 0; i < table->tokens; i++) {
        uint32_t rank = rank_of(columns, table->tokens, i);
        assert(rank < table->tokens && shared[i] + rest[i] <= BPE_TOKEN_MAX);
        table->starts[rank + 1] = (uint32_t)shared[i] + rest[i];
    }
    for (size_t rank = 0; rank <= table->tokens; rank++)
        start = table->starts[rank] += start;
}

static void fill_table(struct bpe_table *table, const unsigned char *columns)
{
    const unsigned char *shared = columns, *rest = columns + table->tokens;
    const unsigned char *tail = columns + COLUMNS * table->tokens;
    char token[BPE_TOKEN_MAX];
    fill_starts(table, columns);
    for (size_t i = 0; i < table->tokens; i++) {
        memcpy(token + shared[i], tail, rest[i]);
        tail += rest[i];
        add_token(table, rank_of(columns, table->tokens, i), token, (size_t)shared[i] + rest[i]);
    }
}

static void unpack(enum tokenizer tokenizer)
{
    const struct packed *from = &packed[tokenizer];
    struct bpe_table *table = &tables[tokenizer];
    size_t bytes = COLUMNS * from->tokens + from->rest;
    unsigned char *columns = memory_new(bytes);
    bool is_whole = inflate_whole(from->at, (size_t)(from->end - from->at), columns, bytes);
    assert(is_whole);
    table->tokens = from->tokens;
    table->bits = from->bits;
    table->slots = memory_new(sizeof(uint32_t) << from->bits);
    table->starts = memory_new((from->tokens + 1) * sizeof(uint32_t));
    table->bytes = memory_new(from->bytes);
    fill_table(table, columns);
    assert(table->starts[table->tokens] == from->bytes);
    memory_free(columns);
}

static void unpack_o200k(void)
{
    unpack(TOKENIZER_O200K);
}

static void unpack_cl100k(void)
{
    unpack(TOKENIZER_CL100K);
}

const struct bpe_table *bpe_table(enum tokenizer tokenizer)
{
    static pthread_once_t o200k = PTHREAD_ONCE_INIT, cl100k = PTHREAD_ONCE_INIT;
    if (tokenizer == TOKENIZER_O200K)
        pthread_once(&o200k, unpack_o200k);
    else
        pthread_once(&cl100k, unpack_cl100k);
    return &tables[tokenizer];
}
