/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/bpe.h"

#include "policy/bpe_inside.h"

static size_t count_piece(const struct bpe_table *table, const char *at, size_t len,
                          struct bpe_room *room)
{
    if (len == 1 || (len <= BPE_TOKEN_MAX && bpe_rank(table, at, len) != BPE_NO_RANK))
        return 1;
    size_t tokens = 0;
    for (; len > BPE_PIECE_MAX; at += BPE_PIECE_MAX, len -= BPE_PIECE_MAX)
        tokens += bpe_merge(table, at, BPE_PIECE_MAX, room);
    return tokens + bpe_merge(table, at, len, room);
}

int64_t bpe_count(enum tokenizer tokenizer, struct text text)
{
    const struct bpe_table *table = bpe_table(tokenizer);
    const char *at = text.at, *end = at + text.len;
    struct bpe_room room = {.memory = NULL};
    int64_t tokens = 0;
    while (at < end) {
        size_t len = bpe_piece(tokenizer, at, end);
        tokens += (int64_t)count_piece(table, at, len, &room);
        at += len;
    }
    bpe_room_done(&room);
    return tokens;
}
