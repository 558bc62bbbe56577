/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The vectors of the semantic cache: a shelf for each place, on which rows stand in the order in
 * which they were put. The oldest row of all is the first of some shelf, so rows go at the front
 * only; one that was dropped or replaced is dead and stands until its time comes.
 */

#include <math.h>

#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "policy/semantic_inside.h"

enum { FIRST_ROWS = 4, FIRST_ORDER = 64, MILLION = 1000000, NONE = -MILLION - 1 };

struct row {
    struct digest name;
    int64_t put_us;
    float length;
    bool dead;
};

struct shelf {
    struct digest place;
    size_t dimensions, stride;
    size_t begin, end, capacity; /* rows [begin..end) */
    struct row *rows;
    int8_t *vectors;
};

struct shelves {
    struct table places;  /* by digest */
    struct shelf **order; /* of all rows, the oldest first: the shelf that each stands on */
    size_t first, count, capacity;
};

struct shelves *shelves_new(void)
{
    struct shelves *shelves = memory_new(sizeof(*shelves));
    table_init(&shelves->places);
    return shelves;
}

static struct text key_of(const struct digest *place)
{
    return (struct text){(const char *)place->bytes, sizeof(place->bytes)};
}

/* ------------------------------------------------------------------------------- a shelf */

static struct shelf *shelf_new(struct shelves *shelves, const struct digest *place,
                               size_t dimensions)
{
    struct shelf *shelf = memory_new(sizeof(*shelf));
    shelf->place = *place;
    shelf->dimensions = dimensions;
    shelf->stride = semantic_stride(dimensions);
    table_set(&shelves->places, key_of(&shelf->place), shelf);
    return shelf;
}

static void shelf_free(struct shelves *shelves, struct shelf *shelf)
{
    table_remove(&shelves->places, key_of(&shelf->place));
    memory_free(shelf->rows);
    memory_free(shelf->vectors);
    memory_free(shelf);
}

/* Room for one more row: at the front, when half of it is free, or more. */
static void make_room(struct shelf *shelf)
{
    if (shelf->end < shelf->capacity)
        return;
    size_t count = shelf->end - shelf->begin;
    if (shelf->begin > 0 && shelf->begin >= count) {
        memmove(shelf->rows, shelf->rows + shelf->begin, count * sizeof(*shelf->rows));
        memmove(shelf->vectors, shelf->vectors + shelf->begin * shelf->stride,
                count * shelf->stride);
        shelf->begin = 0;
        shelf->end = count;
        return;
    }
    shelf->capacity = shelf->capacity ? shelf->capacity * 2 : FIRST_ROWS;
    shelf->rows = memory_resize(shelf->rows, shelf->capacity * sizeof(*shelf->rows));
    shelf->vectors = memory_resize(shelf->vectors, shelf->capacity * shelf->stride);
}

static void kill_row(struct shelf *shelf, const struct digest *name)
{
    for (size_t i = shelf->begin; i < shelf->end; i++)
        if (memcmp(shelf->rows[i].name.bytes, name->bytes, sizeof(name->bytes)) == 0)
            shelf->rows[i].dead = true;
}

/* ------------------------------------------------------------------------------ the order */

static void note_order(struct shelves *shelves, struct shelf *shelf)
{
    if (shelves->count == shelves->capacity) {
        size_t capacity = shelves->capacity ? shelves->capacity * 2 : FIRST_ORDER;
        struct shelf **order = memory_new(capacity * sizeof(struct shelf *));
        for (size_t i = 0; i < shelves->count; i++)
            order[i] = shelves->order[(shelves->first + i) % shelves->capacity];
        memory_free(shelves->order);
        shelves->order = order;
        shelves->capacity = capacity;
        shelves->first = 0;
    }
    shelves->order[(shelves->first + shelves->count++) % shelves->capacity] = shelf;
}

/* Take all rows of one shelf out, and the shelf. */
static void clear_shelf(struct shelves *shelves, struct shelf *shelf)
{
    size_t kept = 0;
    for (size_t i = 0; i < shelves->count; i++) {
        struct shelf *at = shelves->order[(shelves->first + i) % shelves->capacity];
        if (at != shelf)
            shelves->order[(shelves->first + kept++) % shelves->capacity] = at;
    }
    shelves->count = kept;
    shelf_free(shelves, shelf);
}

static void drop_oldest(struct shelves *shelves)
{
    struct shelf *shelf = shelves->order[shelves->first];
    shelves->first = (shelves->first + 1) % shelves->capacity;
    shelves->count--;
    if (++shelf->begin == shelf->end)
        shelf_free(shelves, shelf);
}

void shelves_trim(struct shelves *shelves, size_t max_entries, int64_t since_us)
{
    while (shelves->count > 0) {
        const struct shelf *shelf = shelves->order[shelves->first];
        if (shelves->count <= max_entries && shelf->rows[shelf->begin].put_us >= since_us)
            return;
        drop_oldest(shelves);
    }
}

void shelves_free(struct shelves *shelves)
{
    shelves_trim(shelves, 0, 0);
    memory_free(shelves->order);
    table_done(&shelves->places);
    memory_free(shelves);
}

/* ------------------------------------------------------------------------------- the door */

int shelves_find(struct shelves *shelves, const struct digest *place,
                 const struct semantic_vector *vector, int64_t since_us, struct digest *name)
{
    const struct shelf *shelf = table_find(&shelves->places, key_of(place));
    if (!shelf || shelf->dimensions != vector->dimensions)
        return NONE;
    const struct row *best = NULL;
    float best_likeness = 0;
    for (size_t i = shelf->begin; i < shelf->end; i++) {
        const struct row *row = &shelf->rows[i];
        if (row->dead || row->put_us < since_us)
            continue;
        const int8_t *at = shelf->vectors + i * shelf->stride;
        float likeness =
            (float)semantic_product(at, vector->at, shelf->stride) / (row->length * vector->length);
        if (best && likeness <= best_likeness)
            continue;
        best = row;
        best_likeness = likeness;
    }
    if (!best)
        return NONE;
    *name = best->name;
    return (int)lroundf(best_likeness * MILLION);
}

void shelves_put(struct shelves *shelves, const struct digest *place,
                 const struct semantic_vector *vector, const struct digest *name, int64_t now_us)
{
    struct shelf *shelf = table_find(&shelves->places, key_of(place));
    /* Another embedding model: what it says cannot be compared with what the one before said. */
    if (shelf && shelf->dimensions != vector->dimensions) {
        clear_shelf(shelves, shelf);
        shelf = NULL;
    }
    if (!shelf)
        shelf = shelf_new(shelves, place, vector->dimensions);
    kill_row(shelf, name);
    make_room(shelf);
    memcpy(shelf->vectors + shelf->end * shelf->stride, vector->at, shelf->stride);
    shelf->rows[shelf->end++] = (struct row){*name, now_us, vector->length, false};
    note_order(shelves, shelf);
}

void shelves_drop(struct shelves *shelves, const struct digest *place, const struct digest *name)
{
    struct shelf *shelf = table_find(&shelves->places, key_of(place));
    if (shelf)
        kill_row(shelf, name);
}

size_t shelves_entries(const struct shelves *shelves)
{
    return shelves->count;
}

size_t shelves_places(const struct shelves *shelves)
{
    return shelves->places.count;
}
