/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/drain.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"

struct drain *drain_new(struct book *book)
{
    struct drain *drain = memory_new(sizeof(*drain));
    drain->book = book;
    drain->rollup = rollup_new(book);
    drain->settled = memory_new(DRAIN_BATCH * sizeof(*drain->settled));
    return drain;
}

void drain_free(struct drain *drain)
{
    if (!drain)
        return;
    rollup_free(drain->rollup);
    memory_free(drain->settled);
    memory_free(drain);
}

/* -------------------------------------------------------------------------------------- sources */

void source_init_live(struct source *source, struct journal *journal)
{
    *source = (struct source){.id = journal->id,
                              .directory = journal->directory,
                              .journal = journal,
                              .segment = journal->first,
                              .offset = SEGMENT_HEAD_BYTES};
}

void source_init_dead(struct source *source, const struct journal_id *id, int directory,
                      struct segment_name *names, size_t count)
{
    *source =
        (struct source){.id = *id, .directory = directory, .names = names, .name_count = count};
}

void source_done(struct source *source)
{
    if (!source->journal)
        segment_close(source->segment);
    opens_done(&source->opens);
    memory_free(source->names);
    *source = (struct source){0};
}

/* Open the next file that a dead process left; false at the end. What is no segment is set aside.
 */
static bool next_dead_segment(struct source *source)
{
    while (source->next_name < source->name_count) {
        uint32_t number = source->names[source->next_name++].number;
        if (number <= source->finished) {
            /* We died, or could not remove it, after its last line was booked. */
            segment_remove(source->directory, &source->id, &(struct segment){.number = number});
            continue;
        }
        source->segment = segment_open(source->directory, &source->id, number);
        source->offset = SEGMENT_HEAD_BYTES;
        if (source->segment)
            return true;
        if (errno == ENOENT)
            continue;
        log_line(LOG_WARN, "ledger", "%s/%u-%u.journal: %s; set aside", source->id.instance,
                 source->id.worker, number,
                 errno == EBADMSG ? "not a journal of a format that is known" : strerror(errno));
        struct segment set_aside = {.number = number, .damaged = true};
        segment_remove(source->directory, &source->id, &set_aside);
    }
    source->ended = true;
    return false;
}

static void note_carried(void *with, uint64_t sequence, struct text body)
{
    struct source *source = with;
    (void)body;
    opens_put(&source->opens, &(struct open_call){.sequence = sequence});
}

/* Learn from the database how far we were. */
static bool source_begin(struct source *source, struct book *book)
{
    if (source->begun)
        return true;
    struct book_mark mark;
    if (!book_find_mark(book, &source->id, &mark) ||
        !book_each_carried(book, &source->id, note_carried, source))
        return false;
    source->drained = mark.sequence;
    source->finished = mark.segment;
    source->ended = mark.sequence == BOOK_FINISHED;
    source->begun = true;
    return true;
}

static enum record_found source_read(struct source *source, struct record *record)
{
    size_t offset = source->offset;
    enum record_found found =
        record_skim(source->segment->map + offset, source->segment->bytes - offset, record);
    if (found == RECORD_HERE && record->sequence <= source->seen)
        return RECORD_BAD; /* lines only ever count up */
    return found;
}

/* ------------------------------------------------------------------------------ one transaction */

static void call_opened(struct source *source, const struct record *record)
{
    opens_put(&source->opens, &(struct open_call){.sequence = record->sequence,
                                                  .segment = source->segment,
                                                  .offset = (uint32_t)source->offset});
}

static bool call_settled(struct drain *drain, struct source *source, const struct record *record)
{
    struct open_call *call = opens_find(&source->opens, record->opened);
    if (call) {
        if (!call->segment && !book_drop_carried(drain->book, &source->id, call->sequence))
            return false;
        if (call->segment == source->segment && call->offset >= drain->from) {
            /* Opened by this transaction: undone, both lines are read again. */
            opens_remove(&source->opens, call->sequence);
        } else {
            call->settled = true;
            drain->settled[drain->settled_count++] = call->sequence;
        }
    }
    drain->calls++;
    return book_add_call(drain->book, record) && rollup_add(drain->rollup, &record->row);
}

/* What has become of a part of a batch: booked once, whoever says it how often. */
static bool call_released(struct drain *drain, const struct record *record)
{
    bool was_held;
    char bytes[RECORD_MAX_BYTES];
    if (!book_release(drain->book, &record->row, &was_held))
        return false;
    if (!was_held)
        return true;
    struct record settled = {.kind = RECORD_SETTLE, .row = record->row};
    settled.body = (struct text){bytes, record_write_body(bytes, &settled.row)};
    drain->calls++;
    return book_add_call(drain->book, &settled) && rollup_add(drain->rollup, &settled.row);
}

static bool apply(struct drain *drain, struct source *source, const struct record *record)
{
    switch (record->kind) {
    case RECORD_OPEN:
        call_opened(source, record);
        return true;
    case RECORD_SETTLE:
        return call_settled(drain, source, record);
    case RECORD_OWN:
        return book_own(drain->book, &record->object);
    case RECORD_DISOWN:
        return book_disown(drain->book, &record->object);
    case RECORD_HOLD:
        return book_hold(drain->book, record);
    case RECORD_RELEASE:
        return call_released(drain, record);
    }
    return true;
}

/* A line that is in the database already: it only says which calls are open. */
static void apply_again(struct source *source, const struct record *record)
{
    if (record->kind == RECORD_OPEN)
        call_opened(source, record);
    if (record->kind == RECORD_SETTLE)
        opens_remove(&source->opens, record->opened);
}

/* What a dead segment has behind its last good line: nothing, a line that was being written when
 * the process died, or damage. */
static void look_behind(struct source *source, enum record_found found)
{
    struct segment *segment = source->segment;
    bool torn = found == RECORD_NONE &&
                segment_is_empty(segment, source->offset + RECORD_GROUP_MAX * RECORD_MAX_BYTES,
                                 segment->bytes);
    if (torn || segment_is_empty(segment, source->offset, segment->bytes))
        return;
    segment->damaged = true;
    log_line(LOG_WARN, "ledger", "%s/%u-%u.journal: damaged at byte %zu; what follows is left out",
             source->id.instance, source->id.worker, segment->number, source->offset);
}

/* Has the worker gone on to the segment behind this one? */
static bool worker_left(const struct source *source)
{
    const struct segment *next = atomic_load_explicit(&source->segment->next, memory_order_acquire);
    struct record record;
    return next && record_read(next->map + SEGMENT_HEAD_BYTES, next->bytes - SEGMENT_HEAD_BYTES,
                               &record) != RECORD_NONE;
}

/* Nothing more can be read here: is that the end of the segment, or just of what is written? */
static bool is_segment_end(struct source *source, enum record_found found)
{
    /* In a segment that is full to its last byte the worker may still be: nothing says that it left
     * but its first line in the next. */
    if (found == RECORD_TURN && source->journal && source->offset == source->segment->bytes)
        return worker_left(source);
    if (found == RECORD_TURN)
        return true;
    if (!source->journal) {
        look_behind(source, found);
        return true;
    }
    if (found == RECORD_NONE)
        return false;
    if (!source->stuck)
        log_line(LOG_ERROR, "ledger", "worker %u, segment %u: a line at byte %zu is damaged",
                 source->id.worker, source->segment->number, source->offset);
    source->stuck = true;
    source->segment->damaged = true;
    return worker_left(source);
}

static void note_gap(const struct source *source, uint64_t sequence)
{
    uint64_t before = source->seen > source->drained ? source->seen : source->drained;
    if (sequence > before + 1)
        log_line(LOG_WARN, "ledger", "%s, worker %u: lines %llu to %llu are missing",
                 source->id.instance, source->id.worker, (unsigned long long)before + 1,
                 (unsigned long long)sequence - 1);
}

/* Read and apply lines until the batch is full (false) or the segment is at its end (true). */
static bool take_lines(struct drain *drain, struct source *source, bool *good)
{
    struct record record;
    for (int i = 0; i < DRAIN_BATCH; i++) {
        enum record_found found = source_read(source, &record);
        if (found != RECORD_HERE)
            return is_segment_end(source, found);
        if (record.sequence <= source->drained) {
            apply_again(source, &record);
        } else {
            note_gap(source, record.sequence);
            *good = apply(drain, source, &record);
        }
        if (!*good)
            return false;
        source->seen = record.sequence;
        source->offset += record.bytes;
        drain->bytes += record.bytes;
    }
    return false;
}

/* Write down the calls that are still open at the end of their segment. */
static bool carry_open_calls(struct drain *drain, struct source *source)
{
    size_t at = 0;
    for (struct open_call *call; (call = opens_next(&source->opens, &at));) {
        struct record record;
        if (call->segment != source->segment || call->settled)
            continue;
        if (record_read(source->segment->map + call->offset, source->segment->bytes - call->offset,
                        &record) != RECORD_HERE)
            continue; /* damaged since it was read: the segment is kept as it is */
        if (!book_carry(drain->book, &source->id, call->sequence, record.body))
            return false;
    }
    return true;
}

static void leave_segment(struct source *source)
{
    size_t at = 0;
    for (struct open_call *call; (call = opens_next(&source->opens, &at));)
        if (call->segment == source->segment)
            call->segment = NULL;
    struct segment *left = source->segment;
    source->stuck = false;
    if (source->journal) {
        source->segment = atomic_load_explicit(&left->next, memory_order_acquire);
        source->offset = SEGMENT_HEAD_BYTES;
        journal_shrink(source->journal);
        return;
    }
    segment_remove(source->directory, &source->id, left);
    segment_close(left);
    source->segment = NULL;
}

static void committed(struct drain *drain, struct source *source, bool at_end)
{
    for (size_t i = 0; i < drain->settled_count; i++)
        opens_remove(&source->opens, drain->settled[i]);
    if (source->seen > source->drained)
        source->drained = source->seen;
    if (at_end)
        leave_segment(source);
    else
        segment_give_back(source->segment, source->offset);
}

static void undo(struct drain *drain, struct source *source, size_t offset, uint64_t seen)
{
    book_rollback(drain->book);
    rollup_forget(drain->rollup);
    for (size_t i = 0; i < drain->settled_count; i++)
        opens_find(&source->opens, drain->settled[i])->settled = false;
    source->offset = offset;
    source->seen = seen;
}

static bool begin(struct drain *drain)
{
    drain->settled_count = drain->bytes = 0;
    if (!book_begin(drain->book))
        return false;
    if (book_changed(drain->book))
        rollup_forget(drain->rollup);
    return true;
}

static enum drained drain_segment(struct drain *drain, struct source *source)
{
    size_t offset = source->offset;
    uint64_t seen = source->seen;
    bool good = begin(drain);
    drain->from = offset;
    bool at_end = good && take_lines(drain, source, &good);
    struct book_mark mark = {
        .sequence = source->seen > source->drained ? source->seen : source->drained,
        .segment = at_end ? source->segment->number : source->segment->number - 1};
    bool idle = good && !at_end && source->offset == offset;
    good = good && (!at_end || carry_open_calls(drain, source)) &&
           rollup_write(drain->rollup, &drain->sums) &&
           (idle || book_set_mark(drain->book, &source->id, &mark)) && book_commit(drain->book);
    if (!good) {
        undo(drain, source, offset, seen);
        return DRAIN_FAILED;
    }
    committed(drain, source, at_end);
    return idle ? DRAINED_ALL : DRAINED_SOME;
}

static enum drained drain_dead(struct drain *drain, struct source *source)
{
    if (source->ended || (!source->segment && !next_dead_segment(source)))
        return DRAINED_ALL;
    return drain_segment(drain, source);
}

enum drained drain_batch(struct drain *drain, struct source *source)
{
    struct journal *journal = source->journal;
    if (!source_begin(source, drain->book))
        return DRAIN_FAILED;
    if (!journal)
        return drain_dead(drain, source);
    if (atomic_load_explicit(&journal->written, memory_order_acquire) == source->drained)
        return DRAINED_ALL;
    enum drained result = drain_segment(drain, source);
    if (result == DRAINED_SOME)
        atomic_fetch_add(&journal->drained_bytes, drain->bytes);
    atomic_store(&journal->drained, source->drained);
    return result;
}

/* ----------------------------------------------------------------------------- the dead's calls */

struct finish {
    struct drain *drain;
    bool good;
};

static void book_lost(void *with, uint64_t sequence, struct text body)
{
    struct finish *finish = with;
    struct record opened;
    char bytes[RECORD_MAX_BYTES];
    if (!finish->good)
        return;
    if (!record_read_body(body, &opened)) {
        log_line(LOG_ERROR, "ledger",
                 "the opening line %llu cannot be read; its call is not booked",
                 (unsigned long long)sequence);
        return;
    }
    struct record lost = {.kind = RECORD_SETTLE, .row = opened.row};
    lost.row.outcome = LEDGER_LOST;
    lost.row.counted = COUNTED_ESTIMATE;
    lost.body = (struct text){bytes, record_write_body(bytes, &lost.row)};
    finish->good =
        book_add_call(finish->drain->book, &lost) && rollup_add(finish->drain->rollup, &lost.row);
}

bool drain_finish(struct drain *drain, struct source *source)
{
    static const struct book_mark finished = {.sequence = BOOK_FINISHED, .segment = UINT32_MAX};
    struct finish finish = {drain, false};
    assert(source->ended);
    if (source->drained == BOOK_FINISHED)
        return true;
    finish.good = begin(drain);
    if (finish.good && book_each_carried(drain->book, &source->id, book_lost, &finish) &&
        finish.good && rollup_write(drain->rollup, &drain->sums) &&
        book_drop_all_carried(drain->book, &source->id) &&
        book_set_mark(drain->book, &source->id, &finished) && book_commit(drain->book)) {
        source->drained = BOOK_FINISHED;
        if (source->opens.count)
            log_line(
                LOG_WARN, "ledger",
                "%s, worker %u: %zu calls were cut by our own end; booked at their reservation",
                source->id.instance, source->id.worker, source->opens.count);
        return true;
    }
    book_rollback(drain->book);
    rollup_forget(drain->rollup);
    return false;
}
