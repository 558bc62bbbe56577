/* SPDX-License-Identifier: Apache-2.0 */
/* Counters for people to see, in the order of their ids. */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "policy/meter_inside.h"

enum {
    LIST_MAX = 10000,
    CHAINS_LOCKED = 256, /* looked at under one lock */
};

/* A copy, so that nothing is locked while it is looked at. */
struct seen {
    struct counter_view view;
    char *id, *root;
};

/* The <max> least ids behind <after>, as a heap with the greatest on top. */
struct listing {
    struct text root, after;
    struct seen *heap;
    size_t count, max;
};

static int text_order(struct text a, struct text b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.at, b.at, len) : 0;
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

static int seen_order(const void *a, const void *b)
{
    const struct seen *left = a, *right = b;
    int order = text_order(left->view.counter, right->view.counter);
    return order ? order : text_order(left->view.root, right->view.root);
}

static void heap_sink(struct seen *heap, size_t count, size_t at)
{
    for (;;) {
        size_t top = at;
        for (size_t child = at * 2 + 1; child <= at * 2 + 2 && child < count; child++)
            if (seen_order(&heap[child], &heap[top]) > 0)
                top = child;
        if (top == at)
            return;
        struct seen moved = heap[at];
        heap[at] = heap[top];
        heap[top] = moved;
        at = top;
    }
}

static void heap_lift(struct seen *heap, size_t at)
{
    while (at > 0 && seen_order(&heap[at], &heap[(at - 1) / 2]) > 0) {
        struct seen moved = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = moved;
        at = (at - 1) / 2;
    }
}

static void seen_copy(struct seen *seen, struct counter *counter, const struct meter *meter,
                      int64_t now_us)
{
    counter_turn(counter, meter, now_us);
    seen->id = memory_string(counter_id(counter));
    seen->root = memory_string(root_name(counter->root));
    struct counter_view *view = &seen->view;
    view->counter = (struct text){seen->id, counter->id_len};
    view->root = text_of(seen->root);
    view->limit = (struct limit){
        .kind = (enum limit_kind)counter->kind,
        .period = (enum limit_period)counter->period,
        .algorithm = (enum limit_algorithm)counter->algorithm,
        .away = (enum limit_away)counter->away,
        .exceeded = (enum limit_exceeded)counter->exceeded,
        .strict = counter->strict,
        .amount = counter->amount,
        .window_us = counter->period == PERIOD_ROLLING ? counter->window_us : 0,
        .zone = counter->zone,
        .model = {seen->id + counter->model_at, counter->model_len},
    };
    memcpy(view->limit.warn_at, counter->warn_at, sizeof(counter->warn_at));
    view->held = counter->held < counter->sum ? counter->held : counter->sum;
    view->used = counter->sum - view->held;
    view->slot = counter->current;
    view->reset_us = counter_reset(counter, now_us);
}

static void seen_done(struct seen *seen)
{
    memory_free(seen->id);
    memory_free(seen->root);
}

static bool is_wanted(const struct listing *listing, const struct counter *counter)
{
    if (listing->root.len > 0 && !text_equal(root_name(counter->root), listing->root))
        return false;
    struct text id = counter_id(counter);
    if (listing->after.len > 0 && text_order(id, listing->after) <= 0)
        return false;
    return listing->count < listing->max || text_order(id, listing->heap[0].view.counter) < 0;
}

static void listing_add(struct listing *listing, struct counter *counter, const struct meter *meter,
                        int64_t now_us)
{
    if (!is_wanted(listing, counter))
        return;
    if (listing->count < listing->max) {
        seen_copy(&listing->heap[listing->count], counter, meter, now_us);
        heap_lift(listing->heap, listing->count++);
        return;
    }
    seen_done(&listing->heap[0]);
    seen_copy(&listing->heap[0], counter, meter, now_us);
    heap_sink(listing->heap, listing->count, 0);
}

static void listing_shard(struct listing *listing, struct meter *meter, struct shard *shard)
{
    shard_lock(shard);
    for (size_t i = 0; i < shard->chain_count; i++) {
        if (i > 0 && i % CHAINS_LOCKED == 0) {
            shard_unlock(shard);
            shard_lock(shard);
        }
        int64_t now = meter_now_us(meter);
        for (struct counter *counter = shard->chains[i]; counter; counter = counter->next)
            listing_add(listing, counter, meter, now);
    }
    shard_unlock(shard);
}

void meter_know(struct meter *meter, struct text root, const struct use *uses, size_t count)
{
    struct place place = place_lock(meter, root);
    int64_t now = meter_now_us(meter);
    for (size_t i = 0; i < count; i++) {
        if (counter_lookup(&place, uses[i].counter))
            continue;
        struct counter *counter = counter_get(meter, &place, &uses[i], now);
        if (counter)
            counter->touched_us = now;
    }
    shard_unlock(place.shard);
}

void meter_list(struct meter *meter, struct text root, struct text after, size_t max,
                void (*see)(void *with, const struct counter_view *view), void *with)
{
    max = max < LIST_MAX ? max : LIST_MAX;
    struct listing listing = {.root = root, .after = after, .max = max};
    if (max == 0)
        return;
    listing.heap = memory_new(max * sizeof(struct seen));
    for (size_t i = 0; i < METER_SHARDS; i++)
        listing_shard(&listing, meter, &meter->shards[i]);
    qsort(listing.heap, listing.count, sizeof(struct seen), seen_order);
    /* Seen twice when its chain was parted between two locks. */
    for (size_t i = 0; i < listing.count; i++)
        if (i == 0 || seen_order(&listing.heap[i - 1], &listing.heap[i]) != 0)
            see(with, &listing.heap[i].view);
    for (size_t i = 0; i < listing.count; i++)
        seen_done(&listing.heap[i]);
    memory_free(listing.heap);
}

struct meter_figures meter_figures(struct meter *meter)
{
    struct meter_figures figures = {0};
    for (size_t i = 0; i < METER_SHARDS; i++) {
        struct shard *shard = &meter->shards[i];
        shard_lock(shard);
        figures.counters += shard->counters;
        figures.live += shard->live;
        shard_unlock(shard);
    }
    return figures;
}
