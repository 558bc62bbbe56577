/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * semantic - answers to calls that mean nearly the same. A door of policy; off by default.
 *
 * Of a call one text is compared by its meaning, as an embedding model sees it: what its last
 * message says. All the rest - tenant, route, model, parameters, tools, system prompt, earlier
 * messages - is its *place*, and must be the same. What is remembered in a place is vectors, each
 * with the name of an answer in the exact cache (cache.h), where the answer is found, or not any
 * more.
 *
 * Vectors are kept as int8 and compared, all of a place, on a helper thread (10,000 of 1,536
 * dimensions: about a millisecond); or in Redis, as vector sets, where the server has them (8.0),
 * so that replicas share them.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/hash.h"
#include "gateway/base/loop.h"
#include "gateway/base/text.h"
#include "providers/call.h"

enum {
    SEMANTIC_TEXT_MAX = 16 << 10, /* bytes of the text that is compared */
    SEMANTIC_DIMENSIONS_MAX = 8192,
};

/*
 * Take a call apart: append its text to <text>, and give its place. False when it is not of that
 * form: a chat whose last message is a user's and only text, a completion of one prompt, a response
 * to one text; or when there is no text, or too much, or the exact cache has no name for it.
 */
bool semantic_read(struct text scope, struct text route, enum operation operation, struct text body,
                   struct buffer *text, struct digest *place);

struct semantic_vector;
/* The first vector of an answer of the embeddings API ({"data": [{"embedding": [...]}]}, numbers or
 * base64 of little-endian floats); NULL when there is none that can be used. */
struct semantic_vector *semantic_vector_read(struct text json);
struct semantic_vector *semantic_vector_new(const float *numbers, size_t count);
void semantic_vector_free(struct semantic_vector *vector);
/* The cosine of the angle between them in millionths; -1,000,000 when the dimensions differ. */
int semantic_likeness(const struct semantic_vector *a, const struct semantic_vector *b);

/* ---------------------------------------------------------------------------- for all workers */

struct semantic_options {
    int threshold; /* the least likeness that counts, in millionths */
    int64_t ttl_us;
    size_t max_entries; /* in all places together; the oldest go; with Redis in each */
};
struct semantic;
/* NULL when there is no thread to be had. */
struct semantic *semantic_new(const struct semantic_options *options);
/* After all workers' semantic_desk_free(). */
void semantic_free(struct semantic *semantic);
void semantic_set_options(struct semantic *semantic, const struct semantic_options *options);

struct semantic_figures {
    uint64_t entries, places, finds, found;
};
struct semantic_figures semantic_figures(struct semantic *semantic);

/* --------------------------------------------------------------------------- for one of them */

struct redis;
struct semantic_desk;
/* <redis> may be NULL; it and <prefix> are borrowed. */
struct semantic_desk *semantic_desk_new(struct semantic *semantic, struct loop *loop,
                                        struct redis *redis, const char *prefix);
/* All searches have been told or forgotten. Call it before loop_clear() and redis_free(). */
void semantic_desk_free(struct semantic_desk *desk);

/* Embedded in its owner. */
struct semantic_search {
    struct digest place;
    struct semantic_vector *vector; /* the search's until it is told, then the owner's again */
    void (*on_found)(struct semantic_search *search);
    bool found;
    struct digest name; /* of the answer most alike */
    int likeness;       /* in millionths */
    /* its own */
    struct semantic_task *task;
};
/* <on_found> is called on the loop. False, and it is not, when too many are waiting: go on as if
 * nothing was found. */
bool semantic_find(struct semantic_desk *desk, struct semantic_search *search);
/* Do not call <on_found>; the vector is freed. Nothing when it was told. */
void semantic_forget(struct semantic_search *search);

/* Remember that the answer <name> is to what <vector> says; the vector is taken over. */
void semantic_put(struct semantic_desk *desk, const struct digest *place,
                  struct semantic_vector *vector, const struct digest *name);
/* The exact cache has <name> no longer. */
void semantic_drop(struct semantic_desk *desk, const struct digest *place,
                   const struct digest *name);
