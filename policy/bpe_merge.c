/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "gateway/base/memory.h"
#include "policy/bpe_inside.h"

static uint32_t rank_of_span(const struct bpe_table *table, const char *at, size_t len)
{
    return len <= BPE_TOKEN_MAX ? bpe_rank(table, at, len) : BPE_NO_RANK;
}

/* ---------------------------------------------------------------------------------- short */

enum { SHORT_MAX = 48 };

/* Parts in a row, as where they begin; each with the rank of itself and the next together. The
 * lowest is looked for anew each time, which is fast while there are few. */
static size_t merge_short(const struct bpe_table *table, const char *at, size_t len)
{
    __attribute__((uninitialized)) uint32_t ranks[SHORT_MAX + 1];
    __attribute__((uninitialized)) uint8_t starts[SHORT_MAX + 1];
    size_t parts = len;
    for (size_t i = 0; i <= len; i++) {
        starts[i] = (uint8_t)i;
        ranks[i] = i + 2 <= len ? bpe_rank(table, at + i, 2) : BPE_NO_RANK;
    }
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < parts; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (parts < 2 || ranks[best] == BPE_NO_RANK)
            return parts;
        memmove(starts + best + 1, starts + best + 2, parts - best - 1);
        memmove(ranks + best + 1, ranks + best + 2, (parts - best - 1) * sizeof(*ranks));
        parts--;
        for (size_t i = best ? best - 1 : 0; i <= best; i++)
            ranks[i] = i + 2 <= parts ? rank_of_span(table, at + starts[i],
                                                     (size_t)(starts[i + 2] - starts[i]))
                                      : BPE_NO_RANK;
    }
}

/* ----------------------------------------------------------------------------------- long */

/* The part that begins at a byte: where the next and the one before it begin. */
struct part {
    uint32_t next, before;
    uint32_t rank; /* of both together with the next; BPE_NO_RANK = none, or this is no part */
};

/* The pairs that may be merged, the lowest rank first, then the leftmost: rank << 32 | place. What
 * is no longer so is left in and passed over. */
struct heap {
    uint64_t *pairs;
    size_t count;
};

static void heap_push(struct heap *heap, uint64_t pair)
{
    size_t at = heap->count++;
    for (; at > 0 && heap->pairs[(at - 1) / 2] > pair; at = (at - 1) / 2)
        heap->pairs[at] = heap->pairs[(at - 1) / 2];
    heap->pairs[at] = pair;
}

static uint64_t heap_pop(struct heap *heap)
{
    uint64_t first = heap->pairs[0], last = heap->pairs[--heap->count];
    size_t at = 0;
    for (size_t child = 1; child < heap->count; child = 2 * at + 1) {
        if (child + 1 < heap->count && heap->pairs[child + 1] < heap->pairs[child])
            child++;
        if (heap->pairs[child] >= last)
            break;
        heap->pairs[at] = heap->pairs[child];
        at = child;
    }
    heap->pairs[at] = last;
    return first;
}

struct merging {
    const struct bpe_table *table;
    const char *at;
    uint32_t len;
    struct part *parts;
    struct heap heap;
};

/* Find out what part <i> and the next are together. */
static void look_at_pair(struct merging *merging, uint32_t i)
{
    struct part *part = &merging->parts[i];
    part->rank = BPE_NO_RANK;
    if (part->next >= merging->len)
        return;
    uint32_t end = merging->parts[part->next].next;
    part->rank = rank_of_span(merging->table, merging->at + i, end - i);
    if (part->rank != BPE_NO_RANK)
        heap_push(&merging->heap, (uint64_t)part->rank << 32 | i);
}

static void merge_pair(struct merging *merging, uint32_t i)
{
    struct part *part = &merging->parts[i], *gone = &merging->parts[part->next];
    part->next = gone->next;
    gone->rank = BPE_NO_RANK;
    if (part->next < merging->len)
        merging->parts[part->next].before = i;
    look_at_pair(merging, i);
    if (i > 0)
        look_at_pair(merging, part->before);
}

/* Each of len - 1 merges looks at two pairs more. */
static size_t room_of(size_t len)
{
    return len * sizeof(struct part) + 3 * len * sizeof(uint64_t);
}

static size_t merge_long(const struct bpe_table *table, const char *at, size_t len,
                         struct bpe_room *room)
{
    if (room->bytes < room_of(len)) {
        room->bytes = room_of(len);
        room->memory = memory_resize(room->memory, room->bytes);
    }
    struct merging merging = {.table = table, .at = at, .len = (uint32_t)len};
    merging.heap.pairs = room->memory;
    merging.parts = (struct part *)(merging.heap.pairs + 3 * len);
    size_t parts = len;
    for (uint32_t i = 0; i < len; i++)
        merging.parts[i] = (struct part){.next = i + 1, .before = i - 1, .rank = BPE_NO_RANK};
    for (uint32_t i = 0; i < len; i++)
        look_at_pair(&merging, i);
    while (merging.heap.count) {
        uint64_t pair = heap_pop(&merging.heap);
        uint32_t i = (uint32_t)pair;
        if (merging.parts[i].rank != pair >> 32)
            continue;
        merge_pair(&merging, i);
        parts--;
    }
    return parts;
}

size_t bpe_merge(const struct bpe_table *table, const char *at, size_t len, struct bpe_room *room)
{
    assert(len > 0 && len <= BPE_PIECE_MAX);
    return len <= SHORT_MAX ? merge_short(table, at, len) : merge_long(table, at, len, room);
}

void bpe_room_done(struct bpe_room *room)
{
    memory_free(room->memory);
    *room = (struct bpe_room){.memory = NULL};
}
