/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * table - names to pointers. Open addressing, keyed hash (clients choose some of the names).
 *
 * Names are borrowed and must live as long as their entry; values are not owned. Not safe for
 * several threads, except that any number may find in a table that nobody changes.
 */

#include "gateway/base/text.h"

struct table_entry {
    struct text name;
    void *value; /* NULL = free place */
    uint64_t hash;
};

struct table {
    struct table_entry *entries;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

void table_init(struct table *table);
void table_done(struct table *table);
/* Make room for <count> names, so that it need not grow again and again until they are in. */
void table_reserve(struct table *table, size_t count);
/* The value, or NULL. */
void *table_find(const struct table *table, struct text name);
/* Put <value> (not NULL) under <name>; returns the value it replaces, or NULL. */
void *table_set(struct table *table, struct text name, void *value);
/* Take the entry out; returns its value or NULL. */
void *table_remove(struct table *table, struct text name);
/* Walk: start with *at = 0; false at the end. Do not change the table meanwhile. */
bool table_next(const struct table *table, size_t *at, struct text *name, void **value);
