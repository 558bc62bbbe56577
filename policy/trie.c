/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/trie.h"

#include <assert.h>
#include <stdatomic.h>

#include "gateway/base/memory.h"

enum { WAYS = 16, STEPS_MAX = 2 * TRIE_KEY_MAX };

/* Only the ways that are used have a place: <at> is in the order of the bits of <used>. */
struct trie_node {
    atomic_uint references;
    uint16_t used, leaves; /* leaves: the places that are leaves; the others are nodes */
    void *at[];
};

/* Which way <key> goes at <step>; behind its end as if zeros followed. */
static unsigned way_of(struct text key, unsigned step)
{
    size_t at = step / 2;
    unsigned byte = at < key.len ? (unsigned char)key.at[at] : 0;
    return step % 2 ? byte & 15 : byte >> 4;
}

/* How many of 16 bits are set. Not the compiler's: processors of long ago lack the instruction, so
 * that it calls a function. */
static unsigned count_of(unsigned bits)
{
    bits -= bits >> 1 & 0x5555;
    bits = (bits & 0x3333) + (bits >> 2 & 0x3333);
    bits = (bits + (bits >> 4)) & 0x0f0f;
    return (bits + (bits >> 8)) & 0x1f;
}

static unsigned place_of(const struct trie_node *node, unsigned way)
{
    return count_of(node->used & ((1U << way) - 1));
}

static bool is_leaf(const struct trie_node *node, unsigned way)
{
    return node->leaves >> way & 1;
}

static size_t bytes_of(unsigned places)
{
    return sizeof(struct trie_node) + places * sizeof(void *);
}

static struct trie_node *node_ref(struct trie_node *node)
{
    atomic_fetch_add_explicit(&node->references, 1, memory_order_relaxed);
    return node;
}

static void node_unref(const struct trie_type *type, struct trie_node *node)
{
    if (atomic_fetch_sub_explicit(&node->references, 1, memory_order_acq_rel) > 1)
        return;
    for (unsigned way = 0, place = 0; way < WAYS; way++) {
        if (!(node->used >> way & 1))
            continue;
        void *what = node->at[place++];
        if (is_leaf(node, way))
            type->unref(((struct leaf *)what)->of);
        else
            node_unref(type, what);
    }
    memory_free(node);
}

void trie_init(struct trie *trie, const struct trie_type *type)
{
    *trie = (struct trie){.type = type};
}

void trie_done(struct trie *trie)
{
    if (trie->root)
        node_unref(trie->type, trie->root);
    *trie = (struct trie){.type = trie->type};
}

void trie_copy(struct trie *trie, const struct trie *from)
{
    *trie = *from;
    if (trie->root)
        node_ref(trie->root);
}

/* -------------------------------------------------------------------------------- looking */

static bool is_same(struct text a, struct text b)
{
    unsigned differs = 0;
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        differs |= (unsigned char)(a.at[i] ^ b.at[i]);
    return differs == 0;
}

void *trie_find(const struct trie *trie, struct text key)
{
    const struct trie_node *node = trie->root;
    for (unsigned step = 0; node && step < STEPS_MAX; step++) {
        unsigned way = way_of(key, step);
        if (!(node->used >> way & 1))
            return NULL;
        void *what = node->at[place_of(node, way)];
        if (is_leaf(node, way))
            return is_same(((struct leaf *)what)->key, key) ? ((struct leaf *)what)->of : NULL;
        node = what;
    }
    return NULL;
}

static bool is_behind(struct text key, struct text after)
{
    size_t len = key.len < after.len ? key.len : after.len;
    int order = len ? memcmp(key.at, after.at, len) : 0;
    return order > 0 || (order == 0 && key.len > after.len);
}

/* The first below <node>; <bound>: of those behind <after>, which goes this way so far. */
static const struct leaf *first_behind(const struct trie_node *node, struct text after,
                                       unsigned step, bool bound)
{
    for (unsigned way = bound ? way_of(after, step) : 0; way < WAYS; way++) {
        if (!(node->used >> way & 1))
            continue;
        bool edge = bound && way == way_of(after, step);
        void *what = node->at[place_of(node, way)];
        const struct leaf *found = what;
        if (!is_leaf(node, way))
            found = first_behind(what, after, step + 1, edge);
        if (found && (!edge || is_behind(found->key, after)))
            return found;
    }
    return NULL;
}

static void see_all(const struct trie_node *node, void (*see)(void *with, const struct leaf *leaf),
                    void *with)
{
    for (unsigned way = 0, place = 0; way < WAYS; way++) {
        if (!(node->used >> way & 1))
            continue;
        void *what = node->at[place++];
        if (is_leaf(node, way))
            see(with, what);
        else
            see_all(what, see, with);
    }
}

void trie_each(const struct trie *trie, void (*see)(void *with, const struct leaf *leaf),
               void *with)
{
    if (trie->root)
        see_all(trie->root, see, with);
}

const struct leaf *trie_after(const struct trie *trie, struct text key)
{
    return trie->root ? first_behind(trie->root, key, 0, key.len > 0) : NULL;
}

/* ------------------------------------------------------------------------------- changing */

static struct trie_node *node_new(unsigned places)
{
    struct trie_node *node = memory_new(bytes_of(places));
    node->references = 1;
    return node;
}

/* Make *at this trie's alone: a copy, unless it is already. */
static struct trie_node *own(const struct trie_type *type, struct trie_node **at)
{
    struct trie_node *before = *at;
    if (atomic_load_explicit(&before->references, memory_order_acquire) == 1)
        return before;
    unsigned places = count_of(before->used);
    struct trie_node *node = node_new(places);
    node->used = before->used;
    node->leaves = before->leaves;
    for (unsigned way = 0, place = 0; way < WAYS; way++) {
        if (!(before->used >> way & 1))
            continue;
        void *what = node->at[place] = before->at[place];
        place++;
        if (is_leaf(before, way))
            type->ref(((struct leaf *)what)->of);
        else
            node_ref(what);
    }
    node_unref(type, before);
    *at = node;
    return node;
}

/* Open <way>, which is not used yet, for a leaf. */
static void add_leaf(struct trie_node **at, unsigned way, struct leaf *leaf)
{
    unsigned places = count_of((*at)->used), place = place_of(*at, way);
    struct trie_node *node = memory_resize(*at, bytes_of(places + 1));
    memmove(&node->at[place + 1], &node->at[place], (places - place) * sizeof(void *));
    node->at[place] = leaf;
    node->used |= (uint16_t)(1U << way);
    node->leaves |= (uint16_t)(1U << way);
    *at = node;
}

void trie_put(struct trie *trie, struct leaf *leaf)
{
    struct trie_node **at = &trie->root;
    assert(leaf->key.len > 0 && leaf->key.len <= TRIE_KEY_MAX);
    trie->type->ref(leaf->of);
    for (unsigned step = 0;; step++) {
        assert(step < STEPS_MAX);
        unsigned way = way_of(leaf->key, step);
        struct trie_node *node = *at ? own(trie->type, at) : (*at = node_new(0));
        if (!(node->used >> way & 1)) {
            add_leaf(at, way, leaf);
            trie->count++;
            return;
        }
        void **place = &node->at[place_of(node, way)];
        if (is_leaf(node, way)) {
            struct leaf *other = *place;
            if (is_same(other->key, leaf->key)) {
                *place = leaf;
                trie->type->unref(other->of);
                return;
            }
            /* Both move one step down. */
            struct trie_node *below = node_new(0);
            add_leaf(&below, way_of(other->key, step + 1), other);
            *place = below;
            node->leaves &= (uint16_t) ~(1U << way);
        }
        at = (struct trie_node **)(void *)place;
    }
}

static void drop_place(struct trie_node *node, unsigned way)
{
    unsigned places = count_of(node->used), place = place_of(node, way);
    memmove(&node->at[place], &node->at[place + 1], (places - place - 1) * sizeof(void *));
    node->used &= (uint16_t) ~(1U << way);
    node->leaves &= (uint16_t) ~(1U << way);
}

/* The key is there. */
static void take_out(const struct trie_type *type, struct trie_node **at, struct text key,
                     unsigned step)
{
    struct trie_node *node = own(type, at);
    unsigned way = way_of(key, step);
    void **place = &node->at[place_of(node, way)];
    if (is_leaf(node, way)) {
        void *of = ((struct leaf *)*place)->of;
        drop_place(node, way);
        type->unref(of);
    } else {
        struct trie_node *below = *place;
        take_out(type, &below, key, step + 1);
        *place = below;
        if (!below)
            drop_place(node, way);
    }
    if (!node->used) {
        memory_free(node);
        *at = NULL;
    }
}

bool trie_remove(struct trie *trie, struct text key)
{
    if (!trie_find(trie, key))
        return false;
    take_out(trie->type, &trie->root, key, 0);
    trie->count--;
    return true;
}
