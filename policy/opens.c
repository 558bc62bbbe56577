/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/opens.h"

#include "gateway/base/memory.h"

enum { FIRST_CAPACITY = 64, KEPT_CAPACITY = 1024 /* when none is open any more */ };

void opens_done(struct opens *opens)
{
    memory_free(opens->places);
    *opens = (struct opens){0};
}

/* Sequences are dense; spread them, so that neighbours do not pile up. */
static size_t first_place(const struct opens *opens, uint64_t sequence)
{
    return (size_t)(sequence * 0x9e3779b97f4a7c15U >> 32) & (opens->capacity - 1);
}

static struct open_call *place_of(const struct opens *opens, uint64_t sequence)
{
    size_t at = first_place(opens, sequence);
    while (opens->places[at].sequence && opens->places[at].sequence != sequence)
        at = (at + 1) & (opens->capacity - 1);
    return &opens->places[at];
}

static void widen(struct opens *opens)
{
    struct opens old = *opens;
    opens->capacity = old.capacity ? old.capacity * 2 : FIRST_CAPACITY;
    opens->places = memory_new(opens->capacity * sizeof(*opens->places));
    for (size_t i = 0; i < old.capacity; i++)
        if (old.places[i].sequence)
            *place_of(opens, old.places[i].sequence) = old.places[i];
    memory_free(old.places);
}

void opens_put(struct opens *opens, const struct open_call *call)
{
    if (opens->count * 4 >= opens->capacity * 3)
        widen(opens);
    struct open_call *place = place_of(opens, call->sequence);
    if (place->sequence)
        return;
    *place = *call;
    opens->count++;
}

struct open_call *opens_find(const struct opens *opens, uint64_t sequence)
{
    if (!opens->count || !sequence)
        return NULL;
    struct open_call *place = place_of(opens, sequence);
    return place->sequence ? place : NULL;
}

void opens_remove(struct opens *opens, uint64_t sequence)
{
    struct open_call *place = opens_find(opens, sequence);
    if (!place)
        return;
    *place = (struct open_call){0};
    if (--opens->count == 0 && opens->capacity > KEPT_CAPACITY) {
        opens_done(opens);
        return;
    }
    /* Close the gap: who stands behind it may have been displaced by the one that left. */
    size_t at = (size_t)(place - opens->places);
    for (;;) {
        at = (at + 1) & (opens->capacity - 1);
        struct open_call moved = opens->places[at];
        if (!moved.sequence)
            return;
        opens->places[at] = (struct open_call){0};
        *place_of(opens, moved.sequence) = moved;
    }
}

struct open_call *opens_next(const struct opens *opens, size_t *at)
{
    while (*at < opens->capacity) {
        struct open_call *place = &opens->places[(*at)++];
        if (place->sequence)
            return place;
    }
    return NULL;
}
