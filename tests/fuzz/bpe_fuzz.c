/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Counting tokens: whatever the bytes are, each piece is where it ought to be, and merging a piece
 * quickly gives what merging it in the simplest way does. The first byte says which tokenizer.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "policy/bpe_inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 4000 };

/* Parts of a piece as lengths; the lowest pair is looked for from the left, and so on. A piece that
 * is a token is one, though a few cannot be reached by merging. */
static size_t merge_simply(const struct bpe_table *table, const char *at, size_t len)
{
    static size_t parts[INPUT_MAX];
    size_t count = len;
    if (len <= BPE_TOKEN_MAX && bpe_rank(table, at, len) != BPE_NO_RANK)
        return 1;
    for (size_t i = 0; i < len; i++)
        parts[i] = 1;
    for (;;) {
        uint32_t lowest = BPE_NO_RANK;
        size_t best = 0, begin = 0;
        for (size_t i = 0; i + 1 < count; begin += parts[i++]) {
            size_t both = parts[i] + parts[i + 1];
            uint32_t rank = both <= BPE_TOKEN_MAX ? bpe_rank(table, at + begin, both) : BPE_NO_RANK;
            if (rank < lowest)
                lowest = rank, best = i;
        }
        if (lowest == BPE_NO_RANK)
            return count;
        parts[best] += parts[best + 1];
        count--;
        for (size_t i = best + 1; i < count; i++)
            parts[i] = parts[i + 1];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_MAX)
        return 0;
    enum tokenizer tokenizer = data[0] & 1 ? TOKENIZER_O200K : TOKENIZER_CL100K;
    const struct bpe_table *table = bpe_table(tokenizer);
    struct text text = {(const char *)data + 1, size - 1};
    const char *at = text.at, *end = at + text.len;
    int64_t tokens = 0;
    while (at < end) {
        size_t len = bpe_piece(tokenizer, at, end);
        assert(len >= 1 && len <= (size_t)(end - at));
        for (size_t i = 0; i < len; i += BPE_PIECE_MAX)
            tokens += (int64_t)merge_simply(table, at + i,
                                            len - i < BPE_PIECE_MAX ? len - i : BPE_PIECE_MAX);
        at += len;
    }
    int64_t counted = bpe_count(tokenizer, text);
    assert(counted == tokens && counted <= (int64_t)text.len);
    assert(tokens_of_string(tokenizer, text) >= 0);
    return 0;
}
