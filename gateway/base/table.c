/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/table.h"

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

enum { FIRST_CAPACITY = 16 };

void table_init(struct table *table)
{
    *table = (struct table){0};
}

void table_done(struct table *table)
{
    memory_free(table->entries);
    *table = (struct table){0};
}

static struct table_entry *place_of(const struct table *table, struct text name, uint64_t hash)
{
    size_t at = hash & (table->capacity - 1);
    for (;;) {
        struct table_entry *entry = &table->entries[at];
        if (!entry->value || (entry->hash == hash && text_equal(entry->name, name)))
            return entry;
        at = (at + 1) & (table->capacity - 1);
    }
}

void *table_find(const struct table *table, struct text name)
{
    return table->count ? place_of(table, name, hash_name(name))->value : NULL;
}

static void widen(struct table *table, size_t capacity)
{
    struct table old = *table;
    table->capacity = capacity;
    table->entries = memory_new(table->capacity * sizeof(*table->entries));
    for (size_t i = 0; i < old.capacity; i++)
        if (old.entries[i].value)
            *place_of(table, old.entries[i].name, old.entries[i].hash) = old.entries[i];
    memory_free(old.entries);
}

void table_reserve(struct table *table, size_t count)
{
    size_t capacity = table->capacity ? table->capacity : FIRST_CAPACITY;
    while (capacity < count * 2)
        capacity *= 2;
    if (capacity > table->capacity)
        widen(table, capacity);
}

void *table_set(struct table *table, struct text name, void *value)
{
    if (table->count * 2 >= table->capacity)
        widen(table, table->capacity ? table->capacity * 2 : FIRST_CAPACITY);
    uint64_t hash = hash_name(name);
    struct table_entry *entry = place_of(table, name, hash);
    void *old = entry->value;
    if (!old)
        table->count++;
    *entry = (struct table_entry){name, value, hash};
    return old;
}

void *table_remove(struct table *table, struct text name)
{
    if (!table->count)
        return NULL;
    struct table_entry *entry = place_of(table, name, hash_name(name));
    void *old = entry->value;
    if (!old)
        return NULL;
    table->count--;
    *entry = (struct table_entry){0};
    /* Close the gap: whoever stands behind it may have been displaced by the one that left. */
    size_t at = (size_t)(entry - table->entries);
    for (;;) {
        at = (at + 1) & (table->capacity - 1);
        struct table_entry moved = table->entries[at];
        if (!moved.value)
            return old;
        table->entries[at] = (struct table_entry){0};
        *place_of(table, moved.name, moved.hash) = moved;
    }
}

bool table_next(const struct table *table, size_t *at, struct text *name, void **value)
{
    while (*at < table->capacity) {
        const struct table_entry *entry = &table->entries[(*at)++];
        if (!entry->value)
            continue;
        *name = entry->name;
        *value = entry->value;
        return true;
    }
    return false;
}
