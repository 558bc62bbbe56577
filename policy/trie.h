/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * trie - an index whose copies share what is equal, so that a change costs as much as the way to
 * the leaf, however many leaves there are, and whoever holds an older copy goes on reading it.
 *
 * Sixteen ways at each half byte of the key; nodes are counted. A copy belongs to one thread as
 * long as it is changed; after that any number may read it and make copies of it.
 *
 * Leaves stand inside of what they lead to, and are counted through the trie's type. Keys are bytes
 * in which no zero byte stands at the end, of at most TRIE_KEY_MAX; they are in the order of their
 * bytes.
 */

#include "gateway/base/text.h"

enum { TRIE_KEY_MAX = 256 };

struct leaf {
    struct text key;
    void *of; /* what it leads to */
};

/* How that is counted. */
struct trie_type {
    void (*ref)(void *of);
    void (*unref)(void *of);
};

struct trie_node;

struct trie {
    const struct trie_type *type;
    struct trie_node *root; /* NULL = empty */
    size_t count;
};

void trie_init(struct trie *trie, const struct trie_type *type);
void trie_done(struct trie *trie);
/* <trie> becomes a copy of <from>; any thread that holds <from>. */
void trie_copy(struct trie *trie, const struct trie *from);

/* What has this key, or NULL. Compares whole keys, in the same time wherever they differ. */
void *trie_find(const struct trie *trie, struct text key);
/* The first leaf behind <key> (empty = the first of all) in order, or NULL. */
const struct leaf *trie_after(const struct trie *trie, struct text key);

/* All leaves in order: from one to the next it goes up no further than it has to. */
void trie_each(const struct trie *trie, void (*see)(void *with, const struct leaf *leaf),
               void *with);

/* Put <leaf> in, with a reference to what it leads to; the one with the same key goes. */
void trie_put(struct trie *trie, struct leaf *leaf);
/* Take the leaf with this key out; false when there is none. */
bool trie_remove(struct trie *trie, struct text key);
