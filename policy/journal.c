/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's side: lines are written here, without a lock, a system call or an allocation. */
#include "policy/journal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/record.h"
#include "policy/ship.h"

enum { RETRY_US = 100000 };

/* A mark that was settled has this bit: settling twice would book twice. */
static const uint64_t SETTLED = (uint64_t)1 << 63;

/* ------------------------------------------------------------------------------------ the chain */

static void use_segment(struct journal *journal, struct segment *segment)
{
    journal->current = segment;
    atomic_store_explicit(&journal->writing, segment->number, memory_order_release);
    journal->at = segment->map + SEGMENT_HEAD_BYTES;
    journal->end = segment->map + segment->bytes;
}

struct journal *journal_new(const struct journal_id *id, int directory, size_t segment_bytes)
{
    struct segment *segment = segment_new(directory, id, 1, segment_bytes, false);
    if (!segment)
        return NULL;
    struct journal *journal = aligned_alloc(_Alignof(struct journal), sizeof(*journal));
    assert(journal);
    *journal = (struct journal){.first = segment,
                                .last = segment,
                                .next_number = 2,
                                .id = *id,
                                .directory = directory,
                                .segment_bytes = segment_bytes};
    atomic_init(&journal->wanted, 1);
    atomic_init(&journal->new_names, true);
    pthread_mutex_init(&journal->growing, NULL);
    pthread_mutex_init(&journal->telling, NULL);
    pthread_mutex_init(&journal->shrinking, NULL);
    use_segment(journal, segment);
    return journal;
}

void journal_free(struct journal *journal)
{
    if (!journal)
        return;
    for (struct segment *segment = journal->first, *next; segment; segment = next) {
        next = atomic_load(&segment->next);
        segment_close(segment);
    }
    pthread_mutex_destroy(&journal->growing);
    pthread_mutex_destroy(&journal->telling);
    pthread_mutex_destroy(&journal->shrinking);
    free(journal);
}

size_t journal_usable(const struct journal *journal)
{
    /* At its end a line may not fit by one byte. */
    return journal->segment_bytes - SEGMENT_HEAD_BYTES - RECORD_MAX_BYTES;
}

/* Say it once when the disk is full, and once when it is not any more. */
static void tell_room(struct journal *journal, bool enough)
{
    int problem = errno;
    if (atomic_exchange(&journal->full, !enough) == !enough)
        return;
    if (enough)
        log_line(LOG_INFO, "ledger", "worker %u: there is room for the journal again",
                 journal->id.worker);
    else
        log_line(LOG_ERROR, "ledger",
                 "worker %u: no room for another %zu bytes of journal (%s); calls are refused when "
                 "what is allocated is used up",
                 journal->id.worker, journal->segment_bytes, strerror(problem));
}

static void append(struct journal *journal, struct segment *segment)
{
    /* The chain first: whoever counts on the segment finds it there. */
    atomic_store_explicit(&journal->last->next, segment, memory_order_release);
    journal->last = segment;
    journal->next_number++;
    atomic_store(&journal->new_names, true);
    atomic_fetch_add_explicit(&journal->ahead, 1, memory_order_release);
}

bool journal_grow(struct journal *journal, unsigned ahead)
{
    bool enough = true;
    pthread_mutex_lock(&journal->growing);
    unsigned there = atomic_load(&journal->ahead);
    if (there < ahead) {
        /* Only the next one, and not where all that it holds is flushed to the disk. */
        bool filled = there == 0 && atomic_load(&journal->safe) == UINT64_MAX;
        struct segment *segment = segment_new(journal->directory, &journal->id,
                                              journal->next_number, journal->segment_bytes, filled);
        enough = segment != NULL;
        tell_room(journal, enough);
        if (enough)
            append(journal, segment);
    }
    pthread_mutex_unlock(&journal->growing);
    return enough;
}

void journal_shrink(struct journal *journal)
{
    pthread_mutex_lock(&journal->shrinking);
    struct segment *segment = journal->first;
    journal->first = atomic_load_explicit(&segment->next, memory_order_acquire);
    assert(journal->first);
    segment_remove(journal->directory, &journal->id, segment);
    segment_close(segment);
    pthread_mutex_unlock(&journal->shrinking);
}

/* ------------------------------------------------------------------------------------ admission */

/* How many bytes are sure to fit into what is allocated. */
static size_t room_left(const struct journal *journal)
{
    size_t here = (size_t)(journal->end - journal->at);
    here = here > RECORD_MAX_BYTES ? here - RECORD_MAX_BYTES : 0;
    return here +
           atomic_load_explicit(&journal->ahead, memory_order_acquire) * journal_usable(journal);
}

/* Allocate here and now, because the keeper was not quick enough. */
static bool grow_now(struct journal *journal, size_t needed)
{
    uint64_t now_us = clock_now_us();
    if (now_us < journal->retry_us && atomic_load(&journal->full))
        return false;
    while (room_left(journal) < needed) {
        if (journal_grow(journal, atomic_load(&journal->ahead) + 1))
            continue;
        /* The disk is full: not one try per refused call. */
        journal->retry_us = now_us + RETRY_US;
        return false;
    }
    return true;
}

/* Ask the keeper for segments in time. */
static void ask_ahead(struct journal *journal, size_t needed)
{
    unsigned wanted = (unsigned)(needed / journal_usable(journal)) + 1;
    atomic_store_explicit(&journal->wanted, wanted, memory_order_relaxed);
    if (atomic_load_explicit(&journal->ahead, memory_order_relaxed) < wanted &&
        !atomic_exchange(&journal->asked, true))
        ledger_want_segment(journal->ledger);
}

/* Is there room for <lines> more lines beside the settling lines of all open calls? */
static bool has_room(struct journal *journal, uint64_t lines)
{
    size_t needed = (journal->open_calls + lines) * RECORD_MAX_BYTES;
    size_t room = room_left(journal);
    if (room < needed + journal_usable(journal) / 2)
        ask_ahead(journal, needed);
    return room >= needed || grow_now(journal, needed);
}

/* -------------------------------------------------------------------------------------- writing */

/* Go on in the next segment. Admission has seen to it that there is one. */
static void turn(struct journal *journal)
{
    struct segment *next = atomic_load_explicit(&journal->current->next, memory_order_acquire);
    assert(next);
    /* When the drain is behind, its backlog is to be in the page cache, not in our memory. */
    segment_leave(journal->current);
    /* From this word on the drain may take the segment away. */
    if (journal->at < journal->end)
        record_publish(journal->at, RECORD_END_MARK);
    atomic_fetch_sub(&journal->ahead, 1);
    use_segment(journal, next);
    ledger_turned(journal->ledger);
}

static char *place_for(struct journal *journal, size_t room)
{
    if ((size_t)(journal->end - journal->at) < room)
        turn(journal);
    return journal->at;
}

/* Publish the line of <length> bytes that stands at <at>; returns its sequence. */
static uint64_t wrote(struct journal *journal, size_t length)
{
    record_publish(journal->at, (uint32_t)length);
    journal->at += record_padded(length);
    journal->bytes += record_padded(length);
    atomic_store_explicit(&journal->written_bytes, journal->bytes, memory_order_relaxed);
    /* In one order with the flag, for all threads: either we see that they sleep, or they see the
     * line before they do. */
    atomic_store(&journal->written, ++journal->sequence);
    if (atomic_load(journal->drain_sleeps))
        ledger_has_work(journal->ledger);
    return journal->sequence;
}

static uint64_t write_call(struct journal *journal, enum record_kind kind, uint64_t opened,
                           const struct ledger_row *row)
{
    char *at = place_for(journal, record_room_call(row));
    size_t length = record_write_call(at, kind, journal->sequence + 1, opened, row);
    uint64_t sequence = wrote(journal, length);
    if (kind == RECORD_SETTLE && journal->ship)
        ship_line(journal->ship, sequence,
                  (struct text){at + RECORD_HEAD_BYTES, length - RECORD_HEAD_BYTES});
    return sequence;
}

static bool write_object(struct journal *journal, enum record_kind kind,
                         const struct object *object)
{
    if (!has_room(journal, 1))
        return false;
    char *at = place_for(journal, record_room_object(object));
    wrote(journal, record_write_object(at, kind, journal->sequence + 1, object));
    return true;
}

bool ledger_open_call(struct journal *journal, const struct ledger_row *row,
                      struct ledger_mark *mark)
{
    mark->sequence = 0;
    if (!has_room(journal, 2))
        return false;
    mark->sequence = write_call(journal, RECORD_OPEN, 0, row);
    journal->open_calls++;
    return true;
}

bool ledger_settle_call(struct journal *journal, const struct ledger_row *row,
                        struct ledger_mark *mark)
{
    uint64_t opened = mark->sequence;
    assert(!(opened & SETTLED));
    if (!opened && !has_room(journal, 1))
        return false;
    mark->sequence = write_call(journal, RECORD_SETTLE, opened, row) | SETTLED;
    if (opened) {
        assert(journal->open_calls > 0);
        journal->open_calls--;
    }
    return true;
}

/* Lines that become visible together: the first one, which hides the others, is published last. */
static void write_group(struct journal *journal, const struct ledger_row *row, uint64_t opened,
                        const struct ledger_row *parts, size_t count)
{
    size_t room = record_room_call(row), lengths[RECORD_GROUP_MAX];
    for (size_t i = 0; i < count; i++)
        room += record_room_call(&parts[i]);
    char *first = place_for(journal, room), *at = first;
    for (size_t i = 0; i <= count; i++) {
        lengths[i] =
            i == 0
                ? record_write_call(at, RECORD_SETTLE, journal->sequence + 1, opened, row)
                : record_write_call(at, RECORD_HOLD, journal->sequence + 1 + i, 0, &parts[i - 1]);
        at += record_padded(lengths[i]);
    }
    for (size_t i = count; i > 0; i--) {
        at -= record_padded(lengths[i]);
        record_publish(at, (uint32_t)lengths[i]);
    }
    for (size_t i = 0; i <= count; i++)
        wrote(journal, lengths[i]);
}

/* Of Redis a line that books something is kept as what it comes to. */
static void ship_call(struct journal *journal, uint64_t sequence, const struct ledger_row *row)
{
    if (!journal->ship)
        return;
    char body[RECORD_MAX_BYTES];
    ship_line(journal->ship, sequence, (struct text){body, record_write_body(body, row)});
}

bool ledger_settle_batch(struct journal *journal, const struct ledger_row *row,
                         struct ledger_mark *mark, const struct ledger_row *parts, size_t count)
{
    uint64_t opened = mark->sequence;
    assert(opened && !(opened & SETTLED) && count <= BATCH_PARTS_MAX);
    /* As much again may be left unused at the end of a segment. */
    if (!has_room(journal, 2 * (count + 1)))
        return false;
    mark->sequence = (journal->sequence + 1) | SETTLED;
    write_group(journal, row, opened, parts, count);
    ship_call(journal, mark->sequence & ~SETTLED, row);
    assert(journal->open_calls > 0);
    journal->open_calls--;
    return true;
}

bool ledger_release(struct journal *journal, const struct ledger_row *part)
{
    if (!has_room(journal, 1))
        return false;
    ship_call(journal, write_call(journal, RECORD_RELEASE, 0, part), part);
    return true;
}

bool ledger_own(struct journal *journal, struct text id, struct text kind, struct text tenant,
                struct text target, struct text model)
{
    struct object object = {.id = id,
                            .kind = kind,
                            .tenant = tenant,
                            .target = target,
                            .model = model,
                            .made_us = clock_wall_us()};
    return write_object(journal, RECORD_OWN, &object);
}

bool ledger_own_file(struct journal *journal, struct text id, struct text tenant,
                     struct text target, struct text facts)
{
    struct object object = {.id = id,
                            .kind = TEXT("file"),
                            .tenant = tenant,
                            .target = target,
                            .facts = facts,
                            .made_us = clock_wall_us()};
    return write_object(journal, RECORD_OWN, &object);
}

bool ledger_disown(struct journal *journal, struct text id)
{
    struct object object = {.id = id, .made_us = clock_wall_us()};
    return write_object(journal, RECORD_DISOWN, &object);
}

void journal_stored(struct journal *journal, uint64_t sequence)
{
    uint64_t before = atomic_load_explicit(&journal->stored, memory_order_relaxed);
    while (before < sequence &&
           !atomic_compare_exchange_weak_explicit(&journal->stored, &before, sequence,
                                                  memory_order_release, memory_order_relaxed))
        ;
    journal_tell(journal);
}

void journal_tell(struct journal *journal)
{
    pthread_mutex_lock(&journal->telling);
    if (journal->on_safe)
        journal->on_safe(journal->on_safe_with);
    pthread_mutex_unlock(&journal->telling);
}

bool journal_is_safe(const struct journal *journal, struct ledger_mark mark)
{
    uint64_t sequence = mark.sequence & ~SETTLED;
    if (atomic_load_explicit(&journal->safe, memory_order_acquire) < sequence)
        return false;
    return !(mark.sequence & SETTLED) || !journal->ship ||
           atomic_load_explicit(&journal->stored, memory_order_acquire) >= sequence;
}
