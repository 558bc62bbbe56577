/* SPDX-License-Identifier: Apache-2.0 */
/* Places: which replica a call runs on, how many run there, what became of them. */
#include <assert.h>
#include <stdio.h>

#include "deploy/models/slots_inside.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"

/* A replica that knows the beginning of a conversation may have this much more to do than the mean
 * before another one gets the call. */
enum { AFFINITY_LOAD_PERCENT = 125 };

/* All slots of this program: they are found by name, made once, and never freed. */
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static struct table names;

struct slots *slots_of(struct text deployment)
{
    assert(deployment.len > 0 && deployment.len <= SPEC_NAME_MAX);
    pthread_mutex_lock(&names_lock);
    struct slots *slots = table_find(&names, deployment);
    if (!slots) {
        slots = memory_new(sizeof(*slots));
        memcpy(slots->name, deployment.at, deployment.len);
        slots_wait_init(slots);
        table_set(&names, text_of(slots->name), slots);
    }
    pthread_mutex_unlock(&names_lock);
    return slots;
}

/* ------------------------------------------------------------------------------ choosing */

static uint64_t mix(uint64_t number)
{
    number += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    number = (number ^ (number >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ (number >> 27)) * UINT64_C(0x94d049bb133111eb);
    return number ^ (number >> 31);
}

static struct place *place_at(const struct slots *slots, unsigned index)
{
    return atomic_load_explicit(&slots->places[index], memory_order_acquire);
}

static bool has_adapter(const struct place *place, uint64_t adapter)
{
    unsigned count = atomic_load_explicit(&place->adapter_count, memory_order_acquire);
    for (unsigned i = 0; i < count; i++)
        if (atomic_load_explicit(&place->adapters[i], memory_order_relaxed) == adapter)
            return true;
    return false;
}

/* What was seen of one place; it is taken only as long as its word says the same generation. */
struct look {
    unsigned index;
    uint64_t word, replica;
    unsigned calls, parallel, revision;
};

static bool look_at(const struct slots *slots, unsigned index, struct look *look)
{
    const struct place *place = place_at(slots, index);
    look->index = index;
    look->word = atomic_load(&place->word);
    if (!place_is_open(look->word))
        return false;
    look->calls = place_calls(look->word);
    look->parallel = atomic_load_explicit(&place->parallel, memory_order_acquire);
    look->revision = atomic_load_explicit(&place->revision, memory_order_acquire);
    look->replica = atomic_load_explicit(&place->replica, memory_order_acquire);
    return true;
}

static bool suits(const struct slots *slots, const struct look *look, const struct slots_wish *wish,
                  unsigned revision)
{
    if (revision && look->revision != revision)
        return false;
    return !wish->adapter || has_adapter(place_at(slots, look->index), wish->adapter);
}

static bool is_less_busy(const struct look *a, const struct look *b)
{
    return (uint64_t)a->calls * b->parallel < (uint64_t)b->calls * a->parallel;
}

struct search {
    const struct slots_wish *wish;
    unsigned revision;
    unsigned suitable, calls, places; /* of those that are open and suit */
    bool found, found_known;
    struct look best;  /* the least busy */
    struct look known; /* whom affinity means */
    uint64_t known_weight;
};

static void weigh(struct search *search, const struct look *look)
{
    search->suitable++;
    search->calls += look->calls;
    search->places += look->parallel;
    if (search->wish->affinity) { /* rendezvous: each beginning has an order of replicas */
        uint64_t weight = mix(search->wish->affinity ^ mix(look->replica));
        if (!search->found_known || weight > search->known_weight) {
            search->found_known = true;
            search->known_weight = weight;
            search->known = *look;
        }
    }
    if (look->calls >= look->parallel)
        return;
    if (!search->found || is_less_busy(look, &search->best)) {
        search->found = true;
        search->best = *look;
    }
}

/* Is the one that affinity means at most a quarter busier than the mean (one call more always
 * allowed)? */
static bool may_have_more(const struct search *search)
{
    uint64_t with_it = search->known.calls + 1;
    return search->known.calls < search->known.parallel &&
           (with_it <= 1 || with_it * search->places * 100 <= ((uint64_t)search->calls + 1) *
                                                                      search->known.parallel *
                                                                      AFFINITY_LOAD_PERCENT +
                                                                  (uint64_t)search->places * 100);
}

static void look_around(struct slots *slots, struct search *search, uint64_t not_this)
{
    unsigned used = atomic_load_explicit(&slots->used, memory_order_acquire);
    unsigned from = used ? atomic_fetch_add_explicit(&slots->next, 1, memory_order_relaxed) : 0;
    for (unsigned i = 0; i < used; i++) {
        struct look look;
        if (look_at(slots, (from + i) % used, &look) && look.replica != not_this &&
            suits(slots, &look, search->wish, search->revision))
            weigh(search, &look);
    }
}

/* Where a call of <revision> would go; false: nowhere now. <*open>: there is a replica for it, if
 * only it had a place. */
static bool choose(struct slots *slots, const struct slots_wish *wish, unsigned revision,
                   struct look *look, bool *open)
{
    struct search search = {.wish = wish, .revision = revision};
    look_around(slots, &search, wish->not_this);
    if (search.suitable == 0 && wish->not_this)
        look_around(slots, &search, 0); /* better the one that failed it than none */
    *open = search.suitable > 0;
    *look = search.found_known && may_have_more(&search) ? search.known : search.best;
    return search.found;
}

unsigned slots_side(const struct slots *slots, const struct slots_wish *wish)
{
    unsigned stable = atomic_load_explicit(&slots->stable, memory_order_relaxed);
    unsigned canary = atomic_load_explicit(&slots->canary, memory_order_relaxed);
    unsigned permille = atomic_load_explicit(&slots->permille, memory_order_relaxed);
    if (wish->revision)
        return wish->revision;
    if (!stable || !canary)
        return stable | canary;
    return mix(wish->share_hash) % 1000 < permille ? canary : stable;
}

/* The share that a call falls into, or what may stand in for it. */
static bool choose_side(struct slots *slots, const struct slots_wish *wish, struct look *look)
{
    bool open;
    unsigned side = slots_side(slots, wish);
    if (choose(slots, wish, side, look, &open))
        return true;
    unsigned stable = atomic_load_explicit(&slots->stable, memory_order_relaxed);
    unsigned canary = atomic_load_explicit(&slots->canary, memory_order_relaxed);
    if (wish->revision || !stable || !canary)
        return false;
    if (side == canary)
        return choose(slots, wish, stable, look, &open);
    return !open && choose(slots, wish, canary, look, &open);
}

bool slots_grab(struct slots *slots, const struct slots_wish *wish, struct slot *slot)
{
    struct look look;
    while (choose_side(slots, wish, &look)) {
        uint_fast64_t word = look.word;
        if (!atomic_compare_exchange_strong(&place_at(slots, look.index)->word, &word, word + 1))
            continue; /* somebody changed it: look again */
        *slot = (struct slot){.index = look.index,
                              .generation = place_generation(look.word),
                              .revision = look.revision,
                              .replica = look.replica};
        return true;
    }
    return false;
}

bool slots_have_room(const struct slots *slots)
{
    unsigned used = atomic_load_explicit(&slots->used, memory_order_acquire);
    for (unsigned i = 0; i < used; i++) {
        struct look look;
        if (look_at(slots, i, &look) && look.calls < look.parallel)
            return true;
    }
    return false;
}

/* --------------------------------------------------------------------------- any worker */

static struct place *place_of(const struct slots *slots, const struct slot *slot)
{
    assert(slot->generation != 0 && slot->index < SLOTS_MAX);
    return place_at(slots, slot->index);
}

bool slots_address(struct slots *slots, const struct slot *slot, struct launch_address *address)
{
    const struct place *place = place_of(slots, slot);
    uint64_t word = atomic_load(&place->word);
    assert(place_generation(word) == slot->generation && place_calls(word) > 0);
    *address = place->address;
    return place_is_open(word);
}

bool slots_is_open(const struct slots *slots, const struct slot *slot)
{
    uint64_t word = atomic_load(&place_of(slots, slot)->word);
    return place_generation(word) == slot->generation && place_is_open(word);
}

static void note_outcome(struct slots *slots, struct place *place, enum slot_outcome outcome,
                         int64_t ttft_us)
{
    if (outcome == SLOT_UNKNOWN)
        return;
    atomic_fetch_add_explicit(&place->calls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&slots->calls, 1, memory_order_relaxed);
    if (outcome == SLOT_FAILED) {
        atomic_fetch_add_explicit(&place->failures, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&slots->failures, 1, memory_order_relaxed);
    }
    if (outcome == SLOT_FINE && ttft_us > 0) {
        uint64_t log = trial_log(ttft_us);
        atomic_fetch_add_explicit(&place->timed, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&place->logs, log, memory_order_relaxed);
        atomic_fetch_add_explicit(&place->squares, log * log, memory_order_relaxed);
    }
}

void slots_give(struct slots *slots, struct slot *slot, enum slot_outcome outcome, int64_t ttft_us)
{
    struct place *place = place_of(slots, slot);
    note_outcome(slots, place, outcome, ttft_us);
    uint64_t before = atomic_fetch_sub(&place->word, 1);
    assert(place_generation(before) == slot->generation && place_calls(before) > 0);
    *slot = (struct slot){0};
    slots_serve(slots);
}

struct slots_figures slots_figures(struct slots *slots)
{
    struct slots_figures figures = {.held = atomic_load(&slots->held)};
    unsigned used = atomic_load_explicit(&slots->used, memory_order_acquire);
    for (unsigned i = 0; i < used; i++) {
        struct look look;
        bool open = look_at(slots, i, &look);
        figures.ready += open;
        figures.places += open ? look.parallel : 0;
        figures.in_flight += place_calls(look.word);
    }
    figures.calls = atomic_load_explicit(&slots->calls, memory_order_relaxed);
    figures.failures = atomic_load_explicit(&slots->failures, memory_order_relaxed);
    if (figures.held == 0)
        return figures;
    pthread_mutex_lock(&slots->lock);
    figures.held_bytes = slots->held_bytes;
    if (!list_is_empty(&slots->ages))
        figures.oldest_us = LIST_MEMBER(slots->ages.next, struct ticket, age)->since_us;
    pthread_mutex_unlock(&slots->lock);
    return figures;
}

/* -------------------------------------------------------------------------------- the desk */

static struct place *place_make(struct slots *slots, unsigned *index)
{
    unsigned used = atomic_load(&slots->used);
    for (*index = 0; *index < used; ++*index) {
        struct place *place = place_at(slots, *index);
        uint64_t word = atomic_load(&place->word);
        if (!place_is_open(word) && place_calls(word) == 0)
            return place;
    }
    if (used == SLOTS_MAX)
        return NULL;
    struct place *place = memory_new(sizeof(*place));
    atomic_store_explicit(&slots->places[used], place, memory_order_release);
    atomic_store_explicit(&slots->used, used + 1, memory_order_release);
    return place;
}

static void record_take(struct trial *sum, struct place *place)
{
    const struct trial more = {.calls = atomic_exchange(&place->calls, 0),
                               .failures = atomic_exchange(&place->failures, 0),
                               .timed = atomic_exchange(&place->timed, 0),
                               .logs = atomic_exchange(&place->logs, 0),
                               .squares = atomic_exchange(&place->squares, 0)};
    trial_add(sum, &more);
}

/* What nobody asked yet of a replica that is gone. */
static void keep_record(struct slots *slots, struct place *place)
{
    unsigned revision = atomic_load(&place->revision);
    struct record *record = NULL;
    if (atomic_load(&place->calls) == 0)
        return;
    for (size_t i = 0; i < SLOTS_OLD_RECORDS && !record; i++)
        if (slots->old[i].revision == revision)
            record = &slots->old[i];
    if (!record) {
        record = &slots->old[slots->old_next++ % SLOTS_OLD_RECORDS];
        *record = (struct record){.revision = revision};
    }
    record_take(&record->sum, place);
}

static struct slot open_place(struct slots *slots, uint64_t replica, unsigned revision,
                              const struct launch_address *address, unsigned parallel,
                              bool is_doubtful)
{
    unsigned index;
    struct place *place = place_make(slots, &index);
    if (!place)
        return (struct slot){0};
    uint32_t generation = place_generation(atomic_load(&place->word)) + 1;
    if (generation == 0)
        generation = 1;
    keep_record(slots, place);
    place->address = *address;
    atomic_store_explicit(&place->adapter_count, 0, memory_order_release);
    atomic_store_explicit(&place->parallel, parallel ? parallel : 1, memory_order_release);
    atomic_store_explicit(&place->revision, revision, memory_order_release);
    atomic_store_explicit(&place->replica, replica, memory_order_release);
    atomic_store_explicit(&place->is_doubtful, is_doubtful, memory_order_release);
    atomic_store(&place->word, (uint64_t)generation << 32 | PLACE_OPEN);
    slots_serve(slots);
    return (struct slot){
        .index = index, .generation = generation, .revision = revision, .replica = replica};
}

struct slot slots_open(struct slots *slots, uint64_t replica, unsigned revision,
                       const struct launch_address *address, unsigned parallel)
{
    return open_place(slots, replica, revision, address, parallel, false);
}

struct slot slots_open_doubtful(struct slots *slots, uint64_t replica, unsigned revision,
                                const struct launch_address *address, unsigned parallel)
{
    return open_place(slots, replica, revision, address, parallel, true);
}

void slots_doubt(struct slots *slots, const struct slot *slot)
{
    if (!atomic_load_explicit(&place_of(slots, slot)->is_doubtful, memory_order_acquire))
        return;
    slots_close(slots, slot);
    slots_ring(slots);
}

void slots_close(struct slots *slots, const struct slot *slot)
{
    struct place *place = place_of(slots, slot);
    uint_fast64_t word = atomic_load(&place->word);
    while (place_generation(word) == slot->generation && place_is_open(word))
        if (atomic_compare_exchange_weak(&place->word, &word, word & ~(uint64_t)PLACE_OPEN))
            break;
}

unsigned slots_in_flight(const struct slots *slots, const struct slot *slot)
{
    uint64_t word = atomic_load(&place_of(slots, slot)->word);
    return place_generation(word) == slot->generation ? place_calls(word) : 0;
}

void slots_share(struct slots *slots, unsigned stable, unsigned canary, unsigned permille)
{
    atomic_store_explicit(&slots->stable, stable, memory_order_relaxed);
    atomic_store_explicit(&slots->canary, canary, memory_order_relaxed);
    atomic_store_explicit(&slots->permille, permille, memory_order_relaxed);
    slots_serve(slots);
}

void slots_adapters(struct slots *slots, const struct slot *slot, const uint64_t *adapters,
                    size_t count)
{
    struct place *place = place_of(slots, slot);
    if (place_generation(atomic_load(&place->word)) != slot->generation)
        return;
    count = count < SPEC_ADAPTERS_MAX ? count : SPEC_ADAPTERS_MAX;
    for (size_t i = 0; i < count; i++)
        atomic_store_explicit(&place->adapters[i], adapters[i], memory_order_relaxed);
    atomic_store_explicit(&place->adapter_count, (unsigned)count, memory_order_release);
    slots_serve(slots);
}

struct trial slots_record(struct slots *slots, unsigned revision)
{
    struct trial sum = {0};
    unsigned used = atomic_load(&slots->used);
    for (unsigned i = 0; i < used; i++)
        if (atomic_load(&place_at(slots, i)->revision) == revision)
            record_take(&sum, place_at(slots, i));
    for (size_t i = 0; i < SLOTS_OLD_RECORDS; i++) {
        struct record *old = &slots->old[i];
        if (old->revision != revision)
            continue;
        trial_add(&sum, &old->sum);
        *old = (struct record){.revision = revision};
    }
    return sum;
}
