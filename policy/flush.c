/* SPDX-License-Identifier: Apache-2.0 */
/* SYNC_DISK: lines survive a loss of power, in groups, a few milliseconds after they were written.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "policy/journal.h"

enum { PAGE_BYTES = 4096 };

/*
 * After an error the kernel takes the pages for clean, and the next flush would succeed without
 * having written them. Make them dirty again, without changing them.
 */
static void make_dirty(struct segment *segment)
{
    for (size_t at = 0; at < segment->bytes; at += PAGE_BYTES)
        atomic_fetch_or((_Atomic uint32_t *)(void *)(segment->map + at), 0);
}

/* Bring the segments from number <flushed> to <writing> to disk. Under the lock. */
static bool flush_segments(struct journal *journal, uint32_t writing)
{
    if (atomic_exchange(&journal->new_names, false) && fsync(journal->directory) != 0) {
        atomic_store(&journal->new_names, true);
        return false;
    }
    struct segment *segment = journal->first;
    for (; segment && segment->number <= writing; segment = atomic_load(&segment->next)) {
        if (segment->number < journal->flushed)
            continue;
        if (msync(segment->map, segment->bytes, MS_SYNC) != 0) {
            int problem = errno;
            make_dirty(segment);
            errno = problem;
            return false;
        }
    }
    return true;
}

static void note_health(struct journal *journal, bool good)
{
    if (!good && !journal->sick)
        log_line(LOG_ERROR, "ledger", "worker %u: the journal cannot be brought to disk: %s",
                 journal->id.worker, strerror(errno));
    if (good && journal->sick)
        log_line(LOG_INFO, "ledger", "worker %u: the journal reaches the disk again",
                 journal->id.worker);
    journal->sick = !good;
}

bool journal_flush(struct journal *journal)
{
    uint64_t written = atomic_load_explicit(&journal->written, memory_order_acquire);
    if (written <= atomic_load(&journal->safe))
        return false;
    /* Asked after: it holds the last of these lines, or a later one does. */
    uint32_t writing = atomic_load_explicit(&journal->writing, memory_order_acquire);
    pthread_mutex_lock(&journal->shrinking);
    bool good = flush_segments(journal, writing);
    note_health(journal, good);
    if (good) {
        journal->flushed = writing;
        atomic_store_explicit(&journal->safe, written, memory_order_release);
    }
    pthread_mutex_unlock(&journal->shrinking);
    if (good)
        journal_tell(journal);
    return true;
}
