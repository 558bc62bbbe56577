/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/keeper.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/damage.h"

enum { BACKLOG_MAX = 256 << 20 /* bytes; more than this undrained, and the keeper drains, too */ };
enum {
    DRAIN_EVERY_US = 100 * 1000,
    DRAIN_SLOWLY_US = 1000 * 1000,
    FLUSH_EVERY_US = 5 * 1000,
    RETRY_US = 100 * 1000,        /* when the disk was full */
    FAILED_RETRY_US = 1000000,    /* when the database failed */
    REST_AFTER_US = 500000,       /* no line for so long: the database may give memory back */
    SLEEPY_AFTER_US = 1500000,    /* no line for so long: wait to be woken */
    LOOK_EVERY_US = 10 * 1000000, /* for what dead processes left */
    FREE_EVERY_US = 10 * 1000000, /* never quiet, and SQLite would come to hold 2 MB of pages */
    TRIM_EVERY_US = 60 * 1000000, /* a long backlog takes more memory than calls as they come */
};
static const uint64_t EXPIRE_EVERY_US = 3600ULL * 1000000;

/* ------------------------------------------------------------------------------------- sleeping */

void sleeper_init(struct sleeper *sleeper)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&sleeper->lock, NULL);
    pthread_cond_init(&sleeper->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void sleeper_done(struct sleeper *sleeper)
{
    pthread_cond_destroy(&sleeper->wake);
    pthread_mutex_destroy(&sleeper->lock);
}

void sleeper_tell(struct sleeper *sleeper)
{
    pthread_mutex_lock(&sleeper->lock);
    sleeper->told = true;
    pthread_cond_signal(&sleeper->wake);
    pthread_mutex_unlock(&sleeper->lock);
}

void sleeper_wait(struct sleeper *sleeper, uint64_t us)
{
    uint64_t until = clock_now_us() + us;
    struct timespec end = {(time_t)(until / 1000000), (long)(until % 1000000) * 1000};
    pthread_mutex_lock(&sleeper->lock);
    while (!sleeper->told)
        if (pthread_cond_timedwait(&sleeper->wake, &sleeper->lock, &end) != 0)
            break;
    sleeper->told = false;
    pthread_mutex_unlock(&sleeper->lock);
}

void ledger_want_segment(struct ledger *ledger)
{
    sleeper_tell(&ledger->keeper);
}

void ledger_has_work(struct ledger *ledger)
{
    if (!atomic_exchange(&ledger->sleeps, false))
        return;
    sleeper_tell(&ledger->drainer);
    if (ledger->sync != SYNC_OS)
        sleeper_tell(&ledger->keeper);
}

uint64_t journal_undrained(const struct journal *journal)
{
    uint64_t drained = atomic_load(&journal->drained_bytes);
    uint64_t written = atomic_load(&journal->written_bytes);
    return written > drained ? written - drained : 0;
}

static bool has_backlog(const struct ledger *ledger)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < ledger->workers; i++)
        bytes += journal_undrained(ledger->journals[i]);
    return ledger->book && bytes > BACKLOG_MAX;
}

void ledger_turned(struct ledger *ledger)
{
    if (has_backlog(ledger))
        sleeper_tell(&ledger->keeper);
}

/* ------------------------------------------------------------------------------------- draining */

static void note_result(struct ledger *ledger, enum drained result)
{
    if (result != DRAIN_FAILED) {
        if (ledger->failing)
            log_line(LOG_INFO, "ledger", "the database can be written again");
        ledger->failing = false;
        atomic_fetch_add(&ledger->drains, result == DRAINED_SOME);
        return;
    }
    atomic_fetch_add(&ledger->drain_errors, 1);
    if (!ledger->failing)
        log_line(LOG_ERROR, "ledger",
                 "the database cannot be written (%s); lines wait in the journal",
                 book_problem(ledger->book));
    ledger->failing = true;
    if (book_is_damaged(ledger->book) && !atomic_exchange(&ledger->damaged, true)) {
        damage_note(ledger->database);
        log_line(LOG_ERROR, "ledger",
                 "%s is damaged; the next start moves it aside and begins a new one",
                 ledger->database);
    }
}

enum drained drain_round(struct ledger *ledger)
{
    enum drained round = DRAINED_ALL;
    ledger->drain->calls = ledger->drain->sums = 0;
    for (unsigned i = 0; i < ledger->workers; i++) {
        enum drained result = drain_batch(ledger->drain, &ledger->sources[i]);
        note_result(ledger, result);
        if (result == DRAIN_FAILED)
            return result;
        if (result == DRAINED_SOME)
            round = DRAINED_SOME;
    }
    return round;
}

enum drained estate_round(struct ledger *ledger)
{
    uint64_t now_us = clock_now_us();
    if (now_us >= ledger->look_us) {
        estate_look(ledger->estate);
        ledger->look_us = now_us + LOOK_EVERY_US;
    }
    enum drained result = estate_step(ledger->estate, ledger->drain);
    note_result(ledger, result);
    if (result == DRAINED_ALL)
        ledger->estate_done = true;
    return result;
}

static void expire(struct ledger *ledger)
{
    uint64_t now_us = clock_now_us();
    if (now_us < ledger->expire_us)
        return;
    ledger->expire_us = now_us + EXPIRE_EVERY_US;
    if (!book_expire(ledger->book, &ledger->keep, clock_wall_us()))
        log_line(LOG_WARN, "ledger", "cannot drop what is too old: %s", book_problem(ledger->book));
}

/*
 * How long to wait for more lines. Sums are most of the work when nearly every call has its own
 * (many end users, or little traffic): then it pays to wait for calls that share them.
 */
static uint64_t pace(const struct drain *drain)
{
    if (drain->sums > drain->calls)
        return DRAIN_SLOWLY_US;
    return drain->sums * 4 > drain->calls ? DRAIN_EVERY_US * 3 : DRAIN_EVERY_US;
}

static uint64_t lines_undrained(const struct ledger *ledger)
{
    uint64_t lines = 0;
    for (unsigned i = 0; i < ledger->workers; i++)
        lines +=
            atomic_load(&ledger->journals[i]->written) - atomic_load(&ledger->journals[i]->drained);
    return lines;
}

/* Other nodes are told what was booked, and we hear how far they have been. */
static void tell_others(struct ledger *ledger, bool booked)
{
    struct share *share = book_share(ledger->book);
    if (!ledger->forward)
        return;
    share->told_to = forward_told_rows(ledger->forward);
    int64_t than = forward_older_than(ledger->forward);
    if (than >= share->epoch && !share_begin_epoch(share, than))
        log_line(LOG_ERROR, "ledger", "the database cannot be written (%s)",
                 book_problem(ledger->book));
    if (booked)
        forward_wake(ledger->forward);
}

/* What the drain does in one go; how long to wait then. Under the lock. */
static uint64_t drain_turn(struct ledger *ledger, uint64_t *busy_us)
{
    bool idle = lines_undrained(ledger) == 0;
    enum drained live = drain_round(ledger);
    enum drained dead = live == DRAIN_FAILED ? DRAIN_FAILED : estate_round(ledger);
    if (!idle || dead != DRAINED_ALL)
        *busy_us = clock_now_us();
    tell_others(ledger, live == DRAINED_SOME || dead == DRAINED_SOME);
    if (dead == DRAIN_FAILED)
        return FAILED_RETRY_US;
    expire(ledger);
    bool more = live == DRAINED_SOME && lines_undrained(ledger) >= DRAIN_BATCH;
    return more || dead == DRAINED_SOME ? 0 : pace(ledger->drain);
}

/* The lowest priority there is; calls go first. */
static void step_back(void)
{
    const struct sched_param none = {0};
    if (sched_setscheduler(0, SCHED_IDLE, &none) != 0)
        setpriority(PRIO_PROCESS, (id_t)gettid(), 19);
}

/* Wait for lines; when there were none for a while, until one comes. */
static void drain_wait(struct ledger *ledger, uint64_t wait_us, uint64_t busy_us)
{
    if (wait_us == 0 && atomic_load(&ledger->waiting) == 0)
        return;
    if (wait_us == 0)
        wait_us = 200; /* somebody in a hurry wants the lock */
    if (clock_now_us() - busy_us > SLEEPY_AFTER_US) {
        /* Said first, looked after: a line that comes in between is seen or wakes us. */
        atomic_store(&ledger->sleeps, true);
        wait_us = lines_undrained(ledger) ? 0 : LOOK_EVERY_US;
    }
    if (wait_us)
        sleeper_wait(&ledger->drainer, wait_us);
}

static void *drain_main(void *with)
{
    struct ledger *ledger = with;
    uint64_t busy_us = clock_now_us(), rested_us = 0; /* busy_us when it was last given a rest */
    uint64_t trimmed_us = busy_us, freed_us = busy_us;
    step_back();
    while (!atomic_load(&ledger->stopping)) {
        pthread_mutex_lock(&ledger->draining);
        uint64_t wait_us = drain_turn(ledger, &busy_us);
        bool rests = busy_us != rested_us && clock_now_us() - busy_us > REST_AFTER_US;
        bool trims = rests || clock_now_us() - trimmed_us > TRIM_EVERY_US;
        if (ledger->book && (rests || clock_now_us() - freed_us > FREE_EVERY_US)) {
            database_rest(book_database(ledger->book));
            freed_us = clock_now_us();
        }
        pthread_mutex_unlock(&ledger->draining);
        if (rests)
            rested_us = busy_us;
        if (trims) {
            memory_trim();
            trimmed_us = clock_now_us();
        }
        drain_wait(ledger, wait_us, busy_us);
    }
    return NULL;
}

/* -------------------------------------------------------------------------------------- keeping */

/* See to it that the workers have segments; false when the disk is full. */
static bool grow_all(struct ledger *ledger)
{
    bool enough = true;
    for (unsigned i = 0; i < ledger->workers; i++) {
        struct journal *journal = ledger->journals[i];
        bool grown = true;
        unsigned wanted = atomic_load(&journal->wanted);
        while (grown && atomic_load(&journal->ahead) < wanted)
            grown = journal_grow(journal, wanted);
        enough = enough && grown;
        if (grown)
            atomic_store(&journal->asked, false);
    }
    return enough;
}

static bool lend_a_hand(struct ledger *ledger)
{
    if (!has_backlog(ledger))
        return false;
    atomic_fetch_add(&ledger->waiting, 1);
    pthread_mutex_lock(&ledger->draining);
    enum drained result = drain_round(ledger);
    pthread_mutex_unlock(&ledger->draining);
    atomic_fetch_sub(&ledger->waiting, 1);
    return result == DRAINED_SOME;
}

/* Flush what waits for it; false when nothing did. */
static bool flush_all(struct ledger *ledger)
{
    bool any = false;
    if (ledger->sync == SYNC_OS)
        return false;
    for (unsigned i = 0; i < ledger->workers; i++)
        any = journal_flush(ledger->journals[i]) || any;
    return any;
}

static uint64_t keep_turn(struct ledger *ledger, uint64_t *flushed_us)
{
    bool enough = grow_all(ledger);
    if (flush_all(ledger))
        *flushed_us = clock_now_us();
    answer_questions(ledger);
    if (lend_a_hand(ledger))
        return 0;
    if (ledger->sync != SYNC_OS && clock_now_us() - *flushed_us < SLEEPY_AFTER_US)
        return FLUSH_EVERY_US;
    return enough ? LOOK_EVERY_US : RETRY_US;
}

static bool all_flushed(const struct ledger *ledger)
{
    for (unsigned i = 0; i < ledger->workers; i++)
        if (atomic_load(&ledger->journals[i]->written) > atomic_load(&ledger->journals[i]->safe))
            return false;
    return true;
}

static void *keeper_main(void *with)
{
    struct ledger *ledger = with;
    uint64_t flushed_us = 0;
    while (!atomic_load(&ledger->stopping)) {
        uint64_t wait_us = keep_turn(ledger, &flushed_us);
        if (ledger->sync != SYNC_OS && wait_us > FLUSH_EVERY_US) {
            /* Said first, looked after: a line that comes in between is seen or wakes us. */
            atomic_store(&ledger->sleeps, true);
            if (!all_flushed(ledger))
                continue;
        }
        if (wait_us)
            sleeper_wait(&ledger->keeper, wait_us);
    }
    answer_questions(ledger);
    return NULL;
}

bool ledger_thread(pthread_t *thread, const char *name, void *(*run)(void *with), void *with)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool good = pthread_create(thread, NULL, run, with) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (good)
        pthread_setname_np(*thread, name);
    return good;
}

bool keeper_start(struct ledger *ledger)
{
    if (ledger->book && !ledger_thread(&ledger->drain_thread, "ledger-drain", drain_main, ledger))
        return false;
    if (ledger_thread(&ledger->keeper_thread, "ledger-keeper", keeper_main, ledger))
        return true;
    atomic_store(&ledger->stopping, true);
    sleeper_tell(&ledger->drainer);
    if (ledger->book)
        pthread_join(ledger->drain_thread, NULL);
    return false;
}

void keeper_stop(struct ledger *ledger)
{
    atomic_store(&ledger->stopping, true);
    sleeper_tell(&ledger->keeper);
    sleeper_tell(&ledger->drainer);
    pthread_join(ledger->keeper_thread, NULL);
    if (ledger->book)
        pthread_join(ledger->drain_thread, NULL);
}
