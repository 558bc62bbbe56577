/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* bpe_inside - the parts of bpe: splitting into pieces, finding ranks, merging a piece. */

#include "policy/bpe.h"

/* ---- bpe_split.c */

/* The length of the first piece of what stands at <at>, before <end>; at least 1. */
size_t bpe_piece(enum tokenizer tokenizer, const char *at, const char *end);

/* ---- bpe_table.c */

enum { BPE_TOKEN_MAX = 128, BPE_NO_RANK = UINT32_MAX };

/* All tokens by their bytes: open addressing with 2^<bits> slots. */
struct bpe_table {
    uint32_t *slots;  /* rank + 1, and above its RANK_BITS a few bits of the hash; 0 = free */
    uint32_t *starts; /* by rank: where its bytes begin; one more for the end */
    char *bytes;
    unsigned bits;
    size_t tokens;
};

const struct bpe_table *bpe_table(enum tokenizer tokenizer);
/* The rank of the token of these bytes, at least 1; BPE_NO_RANK = none. */
uint32_t bpe_rank(const struct bpe_table *table, const char *at, size_t len);

/* ---- bpe_merge.c */

/* Room for merging long pieces; zeroed at first, grows, freed by bpe_room_done(). */
struct bpe_room {
    void *memory;
    size_t bytes;
};

/* How many tokens a piece of 1 to BPE_PIECE_MAX bytes is that is not one. */
size_t bpe_merge(const struct bpe_table *table, const char *at, size_t len, struct bpe_room *room);
void bpe_room_done(struct bpe_room *room);
