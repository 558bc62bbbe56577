/* SPDX-License-Identifier: Apache-2.0 */

/* One answer: how it grows, and how it is read meanwhile and afterwards. */

#include <assert.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "policy/cache_inside.h"

struct cache_entry *entry_new(struct cache *cache, const struct cache_ask *ask)
{
    struct cache_entry *entry = memory_new(sizeof(*entry));
    entry->cache = cache;
    entry->name = ask->name;
    entry->body = ask->body;
    entry->stream = ask->stream;
    entry->idempotency = ask->idempotency;
    atomic_init(&entry->refs, 1);
    entry->memory = sizeof(*entry);
    list_init(&entry->used_link);
    list_init(&entry->reading);
    pthread_mutex_init(&entry->lock, NULL);
    atomic_fetch_add(&cache->alive, sizeof(*entry));
    atomic_fetch_add(&cache->growing, 1);
    return entry;
}

void entry_ref(struct cache_entry *entry)
{
    atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
}

static void free_chunks(struct cache_chunk *chunk)
{
    while (chunk) {
        struct cache_chunk *next = chunk->next;
        memory_free(chunk);
        chunk = next;
    }
}

void cache_entry_unref(struct cache_entry *entry)
{
    if (atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* A writer that left without an end would let others wait for ever. */
    assert(atomic_load(&entry->state) != ENTRY_GROWS);
    atomic_fetch_sub(&entry->cache->alive, entry->memory);
    free_chunks(entry->first);
    pthread_mutex_destroy(&entry->lock);
    memory_free(entry);
}

static enum entry_state state_of(const struct cache_entry *entry)
{
    return (enum entry_state)atomic_load_explicit(&entry->state, memory_order_acquire);
}

/* ------------------------------------------------------------------------------ waking */

static void run_reader(struct errand *errand)
{
    struct cache_reader *reader = LIST_MEMBER(errand, struct cache_reader, errand);
    if (reader->gone) {
        reader->on_gone(reader);
        return;
    }
    pthread_mutex_lock(&reader->entry->lock);
    reader->posted = false;
    pthread_mutex_unlock(&reader->entry->lock);
    reader->on_more(reader);
}

/* Under the entry's lock. */
static void wake_readers(struct cache_entry *entry)
{
    for (struct link *at = entry->reading.next; at != &entry->reading; at = at->next) {
        struct cache_reader *reader = LIST_MEMBER(at, struct cache_reader, link);
        if (!reader->waits)
            continue;
        reader->waits = false;
        if (!reader->posted)
            loop_post(reader->loop, &reader->errand);
        reader->posted = true;
    }
}

/* ------------------------------------------------------------------------------ writing */

void cache_write_facts(struct cache_entry *entry, const struct cache_facts *facts)
{
    if (atomic_load_explicit(&entry->has_facts, memory_order_relaxed))
        return;
    entry->facts = *facts;
    atomic_store_explicit(&entry->has_facts, true, memory_order_release);
    pthread_mutex_lock(&entry->lock);
    wake_readers(entry);
    pthread_mutex_unlock(&entry->lock);
}

static struct cache_chunk *add_chunk(struct cache_entry *entry, size_t wanted)
{
    /* As much again as there is, so that small answers waste little and large ones have few. */
    size_t capacity = wanted > entry->size ? wanted : entry->size;
    if (capacity < CACHE_CHUNK_FIRST)
        capacity = CACHE_CHUNK_FIRST;
    if (capacity > CACHE_CHUNK_MAX)
        capacity = CACHE_CHUNK_MAX;
    /* Not zeroed: every byte is written before it is read. */
    struct cache_chunk *chunk = memory_resize(NULL, sizeof(*chunk) + capacity);
    *chunk = (struct cache_chunk){.capacity = capacity};
    if (entry->last)
        entry->last->next = chunk;
    else
        entry->first = chunk;
    entry->last = chunk;
    entry->memory += sizeof(*chunk) + capacity;
    atomic_fetch_add(&entry->cache->alive, sizeof(*chunk) + capacity);
    return chunk;
}

/* Under the entry's lock. */
static void append(struct cache_entry *entry, struct text bytes)
{
    while (bytes.len > 0) {
        struct cache_chunk *chunk = entry->last;
        if (!chunk || chunk->len == chunk->capacity)
            chunk = add_chunk(entry, bytes.len);
        struct text piece = text_head(bytes, chunk->capacity - chunk->len);
        memcpy(chunk->bytes + chunk->len, piece.at, piece.len);
        chunk->len += piece.len;
        entry->size += piece.len;
        bytes = text_from(bytes, piece.len);
    }
}

/* Under the entry's lock. */
static void drop_bytes(struct cache_entry *entry)
{
    size_t bytes = entry->memory - sizeof(*entry);
    free_chunks(entry->first);
    entry->first = entry->last = NULL;
    entry->memory = sizeof(*entry);
    entry->deaf = true;
    atomic_fetch_sub(&entry->cache->alive, bytes);
}

/* Under the entry's lock. */
static void set_state(struct cache_entry *entry, enum entry_state state)
{
    if (state_of(entry) == ENTRY_GROWS)
        atomic_fetch_sub(&entry->cache->growing, 1);
    atomic_store_explicit(&entry->state, state, memory_order_release);
    wake_readers(entry);
}

void entry_break(struct cache_entry *entry, const char *why)
{
    pthread_mutex_lock(&entry->lock);
    if (state_of(entry) == ENTRY_GROWS) {
        entry->why = why;
        entry->deaf = true;
        set_state(entry, ENTRY_BROKEN);
    }
    pthread_mutex_unlock(&entry->lock);
}

/* Under the entry's lock, when nobody new can come: nobody reads it, and nobody will? */
static bool is_alone(const struct cache_entry *entry)
{
    return atomic_load_explicit(&entry->refs, memory_order_acquire) == (entry->idempotency ? 2 : 1);
}

/* Nobody new can come: when those who read have left, nobody needs what there is. */
static void drop_when_alone(struct cache_entry *entry)
{
    pthread_mutex_lock(&entry->lock);
    if (is_alone(entry))
        drop_bytes(entry);
    pthread_mutex_unlock(&entry->lock);
}

/* An entry that is too large to be kept goes on for those who read it, while there is room. */
static void bound(struct cache_entry *entry)
{
    struct cache *cache = entry->cache;
    size_t max = atomic_load_explicit(&cache->max_entry_bytes, memory_order_relaxed);
    bool is_full = atomic_load_explicit(&cache->alive, memory_order_relaxed) / 3 >
                   atomic_load_explicit(&cache->max_bytes, memory_order_relaxed);
    if (entry->size <= max && !is_full)
        return;
    cache_close(cache, entry);
    drop_when_alone(entry);
    if (entry->deaf || (!is_full && entry->size <= CACHE_HOLD_BYTES))
        return;
    entry_break(entry, is_full ? "cache_full" : "too_large_to_share");
}

void cache_write(struct cache_entry *entry, struct text bytes)
{
    /* Only the writer's thread makes it deaf. */
    if (entry->deaf) {
        drop_when_alone(entry);
        return;
    }
    if (bytes.len == 0)
        return;
    pthread_mutex_lock(&entry->lock);
    append(entry, bytes);
    wake_readers(entry);
    pthread_mutex_unlock(&entry->lock);
    bound(entry);
}

void cache_write_copy(struct cache_entry *entry, const struct cache_entry *from)
{
    cache_write_facts(entry, &from->facts);
    for (const struct cache_chunk *chunk = from->first; chunk; chunk = chunk->next)
        cache_write(entry, (struct text){chunk->bytes, chunk->len});
    entry->age_us = cache_entry_age_us(from, (int64_t)clock_now_us());
}

void cache_write_end(struct cache_entry *entry, const struct cache_end *end, int64_t ttl_us)
{
    entry->end = *end;
    /* Set by this thread only. What nobody may have need not be kept. */
    if (entry->closed)
        drop_when_alone(entry);
    cache_keep(entry->cache, entry, ttl_us);
    pthread_mutex_lock(&entry->lock);
    if (state_of(entry) == ENTRY_GROWS)
        set_state(entry, ENTRY_WHOLE);
    pthread_mutex_unlock(&entry->lock);
}

void entry_give_back(struct cache_entry *entry)
{
    if (entry->taken)
        underway_give_back(entry->cache->underway, &entry->name);
    entry->taken = false;
}

void cache_write_broken(struct cache_entry *entry, const char *why)
{
    entry_give_back(entry);
    cache_unlist(entry->cache, entry);
    entry_break(entry, why);
}

unsigned cache_entry_readers(const struct cache_entry *entry)
{
    return atomic_load_explicit(&entry->readers, memory_order_acquire);
}

/* ------------------------------------------------------- a writer that others depend on */

static void run_writer(struct errand *errand)
{
    struct cache_writer *writer = LIST_MEMBER(errand, struct cache_writer, errand);
    if (writer->gone) {
        writer->on_gone(writer);
        return;
    }
    pthread_mutex_lock(&writer->entry->lock);
    writer->posted = false;
    pthread_mutex_unlock(&writer->entry->lock);
    /* Somebody may have come meanwhile. */
    if (cache_entry_readers(writer->entry) == 0)
        writer->on_alone(writer);
}

void cache_writer_init(struct cache_writer *writer, struct cache_entry *entry, struct loop *loop,
                       void (*on_alone)(struct cache_writer *writer))
{
    *writer = (struct cache_writer){.entry = entry, .loop = loop, .on_alone = on_alone};
    writer->errand.run = run_writer;
    pthread_mutex_lock(&entry->lock);
    entry->writer = writer;
    pthread_mutex_unlock(&entry->lock);
}

void cache_writer_done(struct cache_writer *writer, void (*on_gone)(struct cache_writer *writer))
{
    struct cache_entry *entry = writer->entry;
    pthread_mutex_lock(&entry->lock);
    entry->writer = NULL;
    bool is_posted = writer->posted;
    pthread_mutex_unlock(&entry->lock);
    writer->gone = true;
    writer->on_gone = on_gone;
    if (!is_posted)
        on_gone(writer);
}

/* Under the entry's lock. */
static void wake_writer(struct cache_entry *entry)
{
    struct cache_writer *writer = entry->writer;
    if (!writer || writer->posted)
        return;
    writer->posted = true;
    loop_post(writer->loop, &writer->errand);
}

/* ------------------------------------------------------------------------------ reading */

void cache_reader_init(struct cache_reader *reader, struct cache_entry *entry, struct loop *loop,
                       void (*on_more)(struct cache_reader *reader))
{
    *reader = (struct cache_reader){.entry = entry, .loop = loop, .on_more = on_more};
    reader->errand.run = run_reader;
    /* Whole it stays, and is never waited for: nobody need know who reads it. */
    if (state_of(entry) == ENTRY_WHOLE)
        return;
    reader->listed = true;
    pthread_mutex_lock(&entry->lock);
    list_push_back(&entry->reading, &reader->link);
    atomic_fetch_add_explicit(&entry->readers, 1, memory_order_release);
    pthread_mutex_unlock(&entry->lock);
}

/* Under the lock, or of a whole entry. */
static bool take_piece(struct cache_reader *reader, struct text *piece)
{
    if (!reader->chunk)
        reader->chunk = reader->entry->first;
    const struct cache_chunk *chunk = reader->chunk;
    if (chunk && reader->chunk_at == chunk->len && chunk->next) {
        reader->chunk = chunk = chunk->next;
        reader->chunk_at = 0;
    }
    if (!chunk || reader->chunk_at == chunk->len)
        return false;
    *piece = (struct text){chunk->bytes + reader->chunk_at, chunk->len - reader->chunk_at};
    reader->chunk_at += piece->len;
    reader->at += piece->len;
    return true;
}

static enum cache_read_result read_growing(struct cache_reader *reader, struct text *piece)
{
    if (take_piece(reader, piece))
        return CACHE_READ_MORE;
    enum entry_state state = state_of(reader->entry);
    reader->waits = state == ENTRY_GROWS;
    if (reader->waits)
        return CACHE_READ_WAIT;
    return state == ENTRY_WHOLE ? CACHE_READ_END : CACHE_READ_BROKEN;
}

enum cache_read_result cache_read(struct cache_reader *reader, struct text *piece)
{
    struct cache_entry *entry = reader->entry;
    if (state_of(entry) == ENTRY_WHOLE)
        return take_piece(reader, piece) ? CACHE_READ_MORE : CACHE_READ_END;
    pthread_mutex_lock(&entry->lock);
    enum cache_read_result result = read_growing(reader, piece);
    pthread_mutex_unlock(&entry->lock);
    return result;
}

bool cache_entry_facts(const struct cache_entry *entry, struct cache_facts *facts)
{
    if (!atomic_load_explicit(&entry->has_facts, memory_order_acquire))
        return false;
    *facts = entry->facts;
    return true;
}

const char *cache_entry_why(const struct cache_entry *entry)
{
    return state_of(entry) == ENTRY_BROKEN && entry->why ? entry->why : "";
}

void cache_entry_end(const struct cache_entry *entry, struct cache_end *end)
{
    *end = state_of(entry) == ENTRY_WHOLE ? entry->end : (struct cache_end){0};
}

int64_t cache_entry_length(const struct cache_entry *entry)
{
    return state_of(entry) == ENTRY_WHOLE ? (int64_t)entry->size : -1;
}

int64_t cache_entry_age_us(const struct cache_entry *entry, int64_t now_us)
{
    bool is_whole = state_of(entry) == ENTRY_WHOLE && now_us > entry->made_us;
    return is_whole ? now_us - entry->made_us : 0;
}

/* True when its errand is under way. */
static bool unlist_reader(struct cache_entry *entry, struct cache_reader *reader)
{
    pthread_mutex_lock(&entry->lock);
    list_remove(&reader->link);
    if (atomic_fetch_sub_explicit(&entry->readers, 1, memory_order_acq_rel) == 1)
        wake_writer(entry);
    bool is_posted = reader->posted;
    pthread_mutex_unlock(&entry->lock);
    return is_posted;
}

void cache_reader_done(struct cache_reader *reader, void (*on_gone)(struct cache_reader *reader))
{
    struct cache_entry *entry = reader->entry;
    bool is_posted = reader->listed && unlist_reader(entry, reader);
    reader->gone = true;
    reader->entry = NULL;
    reader->on_gone = on_gone;
    cache_entry_unref(entry);
    if (!is_posted)
        on_gone(reader);
}
