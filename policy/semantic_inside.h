/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* semantic_inside - what the files of the semantic cache share. */

#include <stdatomic.h>

#include "policy/cache_helper.h"
#include "policy/semantic.h"

enum { SEMANTIC_STRIDE = 32 /* bytes: vectors are padded with zeros to a multiple of it */ };

struct semantic_vector {
    size_t dimensions;
    float length; /* of what stands in <at> */
    int8_t at[];  /* as many as the stride says */
};

static inline size_t semantic_stride(size_t dimensions)
{
    return (dimensions + SEMANTIC_STRIDE - 1) / SEMANTIC_STRIDE * SEMANTIC_STRIDE;
}

/* The inner product of <count> numbers, a multiple of the stride. */
int32_t semantic_product(const int8_t *a, const int8_t *b, size_t count);

/* ---- semantic_shelf.c: the vectors, by place; for one thread ---- */

struct shelves;
struct shelves *shelves_new(void);
void shelves_free(struct shelves *shelves);
/* The one in <place> most like <vector>, if it was put after <since_us>; -1,000,001 = none. */
int shelves_find(struct shelves *shelves, const struct digest *place,
                 const struct semantic_vector *vector, int64_t since_us, struct digest *name);
void shelves_put(struct shelves *shelves, const struct digest *place,
                 const struct semantic_vector *vector, const struct digest *name, int64_t now_us);
void shelves_drop(struct shelves *shelves, const struct digest *place, const struct digest *name);
/* Let go of what is beyond <max_entries> or was put before <since_us>, the oldest first. */
void shelves_trim(struct shelves *shelves, size_t max_entries, int64_t since_us);
size_t shelves_entries(const struct shelves *shelves);
size_t shelves_places(const struct shelves *shelves);

/* ---- semantic.c ---- */

struct semantic {
    struct helper *helper;
    struct shelves *shelves; /* the helper's */
    atomic_int threshold;
    atomic_llong ttl_us;
    atomic_size_t max_entries;
    atomic_ullong entries, places, finds, found;
};

/* One thing asked of the helper or of Redis. */
struct semantic_task {
    struct task task;
    struct errand errand;
    struct semantic *semantic;
    struct semantic_desk *desk;     /* NULL: its worker has ended */
    struct semantic_search *search; /* NULL: a put or drop, or it was forgotten */
    struct digest place, name;
    struct semantic_vector *vector;
    bool found;
    int likeness;
    struct link link; /* of those that Redis has */
};

struct semantic_desk {
    struct semantic *semantic;
    struct loop *loop;
    struct redis *redis;
    const char *prefix;
    uint64_t life; /* of the server that was asked whether it has vector sets */
    bool has_sets;
    struct link asked; /* tasks that Redis has */
};

/* What came of a search; ends the task. On the worker's thread. */
void semantic_tell(struct semantic_task *task);
/* Give the task to the helper; false when too many wait. */
bool semantic_ask_helper(struct semantic_task *task);
void semantic_task_free(struct semantic_task *task);

/* ---- semantic_redis.c ---- */

/* Is there a Redis with vector sets? Asks it, when it is a new one, and says no meanwhile. */
bool semantic_has_sets(struct semantic_desk *desk);
/* False when nothing can be sent now. */
bool semantic_ask_redis(struct semantic_desk *desk, struct semantic_task *task);
/* Takes the task over. */
void semantic_put_redis(struct semantic_desk *desk, struct semantic_task *task);
void semantic_drop_redis(struct semantic_desk *desk, const struct digest *place,
                         const struct digest *name);
void semantic_leave_redis(struct semantic_desk *desk);
