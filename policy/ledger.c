/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening, closing, and the two threads of the ledger. The keeper, at normal priority, sees to what
 * calls wait for: segments in time, lines flushed to disk, questions answered. The drain, at the
 * lowest priority, moves lines into the database. When it cannot keep up, the keeper lends a hand.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/drain.h"
#include "policy/estate.h"

enum {
    SEGMENT_BYTES = 4 << 20,
    SEGMENT_BYTES_MIN = 64 << 10,
    SEGMENT_BYTES_MAX = 1 << 30,
    BACKLOG_MAX = 256 << 20, /* more than this undrained, and the keeper drains, too */
    QUESTIONS_MAX = 4096,
};
enum {
    DRAIN_EVERY_US = 100 * 1000,
    FLUSH_EVERY_US = 5 * 1000,
    RETRY_US = 100 * 1000,        /* when the disk was full */
    FAILED_RETRY_US = 1000000,    /* when the database failed */
    SLEEPY_AFTER_US = 1000000,    /* no line for so long: wait to be woken */
    LOOK_EVERY_US = 10 * 1000000, /* for what dead processes left */
    ESTATE_WAIT_US = 2 * 1000000, /* questions wait so long for it at most */
};
static const uint64_t EXPIRE_EVERY_US = 3600ULL * 1000000;

/* A thread that sleeps until it is told or its time has come. */
struct sleeper {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool told;
};

struct ledger {
    /* Read by the workers with every line; set when a thread of ours sleeps until it is woken. */
    _Alignas(64) atomic_bool sleeps;

    _Alignas(64) int root, directory; /* ledger.path, and our own one below it, which is locked */
    char instance[INSTANCE_BYTES];
    unsigned workers;
    struct journal **journals;
    enum ledger_sync sync;
    struct book_keep keep;

    pthread_t keeper_thread, drain_thread;
    struct sleeper keeper, drainer;
    atomic_bool stopping;

    pthread_mutex_t draining; /* guards all of this */
    struct book *book;        /* NULL: journals only */
    struct drain *drain;
    struct source *sources;
    struct estate *estate;
    uint64_t look_us, expire_us; /* when to do it next */
    bool estate_done;            /* what was found at the start is drained */
    bool failing;                /* the last try failed: said once */

    atomic_uint waiting; /* for <draining>, and more in a hurry than the drain */
    atomic_uint_fast64_t drains, drain_errors;

    pthread_mutex_t asking; /* guards the questions */
    struct owner_question *questions, **questions_end;
    unsigned question_count;
};

/* ------------------------------------------------------------------------------------- sleeping */

static void sleeper_init(struct sleeper *sleeper)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&sleeper->lock, NULL);
    pthread_cond_init(&sleeper->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void sleeper_done(struct sleeper *sleeper)
{
    pthread_cond_destroy(&sleeper->wake);
    pthread_mutex_destroy(&sleeper->lock);
}

static void sleeper_tell(struct sleeper *sleeper)
{
    pthread_mutex_lock(&sleeper->lock);
    sleeper->told = true;
    pthread_cond_signal(&sleeper->wake);
    pthread_mutex_unlock(&sleeper->lock);
}

static void sleeper_wait(struct sleeper *sleeper, uint64_t us)
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
    if (ledger->sync == SYNC_DISK)
        sleeper_tell(&ledger->keeper);
}

static uint64_t bytes_undrained(const struct journal *journal)
{
    uint64_t drained = atomic_load(&journal->drained_bytes);
    uint64_t written = atomic_load(&journal->written_bytes);
    return written > drained ? written - drained : 0;
}

static bool has_backlog(const struct ledger *ledger)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < ledger->workers; i++)
        bytes += bytes_undrained(ledger->journals[i]);
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
}

/* One batch of every live journal. Under the lock. */
static enum drained drain_round(struct ledger *ledger)
{
    enum drained round = DRAINED_ALL;
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

/* A bit of what dead processes left. Under the lock. */
static enum drained estate_round(struct ledger *ledger)
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

/* What the drain does in one go; how long to wait then. Under the lock. */
static uint64_t drain_turn(struct ledger *ledger)
{
    enum drained live = drain_round(ledger);
    enum drained dead = live == DRAIN_FAILED ? DRAIN_FAILED : estate_round(ledger);
    if (live == DRAIN_FAILED || dead == DRAIN_FAILED)
        return FAILED_RETRY_US;
    expire(ledger);
    return live == DRAINED_SOME || dead == DRAINED_SOME ? 0 : DRAIN_EVERY_US;
}

static bool all_drained(const struct ledger *ledger)
{
    for (unsigned i = 0; i < ledger->workers; i++)
        if (atomic_load(&ledger->journals[i]->written) !=
            atomic_load(&ledger->journals[i]->drained))
            return false;
    return true;
}

/* The lowest priority there is; calls go first. */
static void step_back(void)
{
    const struct sched_param none = {0};
    if (sched_setscheduler(0, SCHED_IDLE, &none) != 0)
        setpriority(PRIO_PROCESS, (id_t)gettid(), 19);
}

/* Wait for lines; when there were none for a while, until one comes. */
static void drain_wait(struct ledger *ledger, uint64_t wait_us, uint64_t *busy_us)
{
    uint64_t now_us = clock_now_us();
    if (wait_us != DRAIN_EVERY_US || !all_drained(ledger))
        *busy_us = now_us;
    if (wait_us == 0 && atomic_load(&ledger->waiting) == 0)
        return;
    if (wait_us == 0)
        wait_us = 200; /* somebody in a hurry wants the lock */
    if (now_us - *busy_us > SLEEPY_AFTER_US) {
        atomic_store(&ledger->sleeps, true);
        wait_us = all_drained(ledger) ? LOOK_EVERY_US : 0;
    }
    if (wait_us)
        sleeper_wait(&ledger->drainer, wait_us);
}

static void *drain_main(void *with)
{
    struct ledger *ledger = with;
    uint64_t busy_us = clock_now_us();
    step_back();
    while (!atomic_load(&ledger->stopping)) {
        pthread_mutex_lock(&ledger->draining);
        uint64_t wait_us = drain_turn(ledger);
        pthread_mutex_unlock(&ledger->draining);
        drain_wait(ledger, wait_us, &busy_us);
    }
    return NULL;
}

/* --------------------------------------------------------------------------------------- owners */

void ledger_ask_owners(struct ledger *ledger, struct owner_question *question)
{
    question->next = NULL;
    question->failed = false;
    pthread_mutex_lock(&ledger->asking);
    /* Beyond the limit nothing is looked up: the keeper just says so. */
    if (++ledger->question_count > QUESTIONS_MAX)
        question->failed = true;
    *ledger->questions_end = question;
    ledger->questions_end = &question->next;
    pthread_mutex_unlock(&ledger->asking);
    sleeper_tell(&ledger->keeper);
}

static struct owner_question *take_questions(struct ledger *ledger)
{
    pthread_mutex_lock(&ledger->asking);
    struct owner_question *questions = ledger->questions;
    ledger->questions = NULL;
    ledger->questions_end = &ledger->questions;
    ledger->question_count = 0;
    pthread_mutex_unlock(&ledger->asking);
    return questions;
}

/* Drain what was there when we were called, also what dead processes left. False when that was not
 * possible in time: then "not found" would not be the truth. */
static bool catch_up(struct ledger *ledger)
{
    uint64_t end_us = clock_now_us() + ESTATE_WAIT_US;
    enum drained result;
    while ((result = drain_round(ledger)) == DRAINED_SOME)
        if (clock_now_us() > end_us)
            return false;
    while (result != DRAIN_FAILED && !ledger->estate_done && clock_now_us() < end_us)
        result = estate_round(ledger);
    return result != DRAIN_FAILED && ledger->estate_done;
}

static void find_owners(struct ledger *ledger, struct owner_question *question, bool caught_up)
{
    for (size_t i = 0; i < question->count; i++) {
        struct owner *owner = &question->owners[i];
        owner->found = false;
        if (question->failed)
            continue;
        if (!book_find_owner(ledger->book, owner) || (!owner->found && !caught_up))
            question->failed = true;
    }
}

static void answer_questions(struct ledger *ledger)
{
    struct owner_question *questions = take_questions(ledger);
    if (!questions)
        return;
    atomic_fetch_add(&ledger->waiting, 1);
    pthread_mutex_lock(&ledger->draining);
    bool caught_up = ledger->book && catch_up(ledger);
    for (struct owner_question *question = questions; question; question = question->next) {
        question->failed = question->failed || !ledger->book;
        find_owners(ledger, question, caught_up);
    }
    pthread_mutex_unlock(&ledger->draining);
    atomic_fetch_sub(&ledger->waiting, 1);
    for (struct owner_question *next; questions; questions = next) {
        next = questions->next; /* it is not ours any more when it was answered */
        questions->answer(questions);
    }
}

/* --------------------------------------------------------------------------------------- keeping
 */

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
    if (ledger->sync != SYNC_DISK)
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
    if (ledger->sync == SYNC_DISK && clock_now_us() - *flushed_us < SLEEPY_AFTER_US)
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
        if (ledger->sync == SYNC_DISK && wait_us > FLUSH_EVERY_US) {
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

void journal_on_safe(struct journal *journal, void (*on_safe)(void *with), void *with)
{
    pthread_mutex_lock(&journal->shrinking);
    journal->on_safe = on_safe;
    journal->on_safe_with = with;
    pthread_mutex_unlock(&journal->shrinking);
}

/* -------------------------------------------------------------------------------- open and close
 */

/* Make <path> and what is missing above it; false and errno. */
static bool make_directories(const char *path)
{
    char *part = memory_string(text_of(path));
    bool good = true;
    for (char *at = part + 1; good && *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        good = mkdir(part, 0750) == 0 || errno == EEXIST;
        *at = '/';
    }
    good = good && (mkdir(part, 0750) == 0 || errno == EEXIST);
    memory_free(part);
    return good;
}

static bool open_directories(struct ledger *ledger, const char *path, struct fault *fault)
{
    ledger->root = -1;
    if (make_directories(path))
        ledger->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ledger->root >= 0)
        ledger->directory = instance_new(ledger->root, ledger->instance);
    if (ledger->root < 0 || ledger->directory < 0 ||
        (ledger->sync == SYNC_DISK && fsync(ledger->root) != 0))
        return fault_set(fault, FAULT_INTERNAL, "ledger: %s: %m", path);
    return true;
}

static size_t segment_size(size_t wanted)
{
    size_t bytes = wanted ? wanted : SEGMENT_BYTES;
    bytes = bytes < SEGMENT_BYTES_MIN ? SEGMENT_BYTES_MIN : bytes;
    bytes = bytes > SEGMENT_BYTES_MAX ? SEGMENT_BYTES_MAX : bytes;
    return (bytes + 4095) & ~(size_t)4095;
}

static bool open_journals(struct ledger *ledger, const struct ledger_options *options,
                          struct fault *fault)
{
    size_t bytes = segment_size(options->segment_bytes);
    ledger->journals = memory_new(options->workers * sizeof(struct journal *));
    for (unsigned i = 0; i < options->workers; i++) {
        struct journal_id id = {.worker = i};
        memcpy(id.instance, ledger->instance, INSTANCE_BYTES);
        struct journal *journal = journal_new(&id, ledger->directory, bytes);
        if (!journal)
            return fault_set(fault, FAULT_INTERNAL, "ledger: no room for %zu bytes in %s: %m",
                             bytes, options->directory);
        journal->ledger = ledger;
        journal->drain_sleeps = &ledger->sleeps;
        if (options->sync == SYNC_OS)
            atomic_store(&journal->safe, UINT64_MAX); /* that is all it promises */
        ledger->journals[ledger->workers++] = journal;
    }
    return true;
}

static bool open_book(struct ledger *ledger, const struct ledger_options *options,
                      struct fault *fault)
{
    if (!options->database)
        return true;
    ledger->book = book_open(options->database, options->sync == SYNC_DISK, fault);
    if (!ledger->book)
        return false;
    ledger->drain = drain_new(ledger->book);
    ledger->estate = estate_new(ledger->root, ledger->instance);
    ledger->sources = memory_new(ledger->workers * sizeof(*ledger->sources));
    for (unsigned i = 0; i < ledger->workers; i++)
        source_init_live(&ledger->sources[i], ledger->journals[i]);
    return true;
}

static void free_all(struct ledger *ledger)
{
    for (unsigned i = 0; ledger->sources && i < ledger->workers; i++)
        source_done(&ledger->sources[i]);
    for (unsigned i = 0; i < ledger->workers; i++)
        journal_free(ledger->journals[i]);
    estate_free(ledger->estate);
    drain_free(ledger->drain);
    book_close(ledger->book);
    memory_free(ledger->sources);
    memory_free(ledger->journals);
    if (ledger->directory >= 0)
        close(ledger->directory);
    if (ledger->root >= 0)
        close(ledger->root);
    sleeper_done(&ledger->keeper);
    sleeper_done(&ledger->drainer);
    pthread_mutex_destroy(&ledger->draining);
    pthread_mutex_destroy(&ledger->asking);
    free(ledger);
}

static struct ledger *ledger_new(const struct ledger_options *options)
{
    struct ledger *ledger = aligned_alloc(_Alignof(struct ledger), sizeof(*ledger));
    assert(ledger);
    *ledger = (struct ledger){
        .root = -1,
        .directory = -1,
        .sync = options->sync,
        .keep = {options->keep_requests_us,
                 {options->keep_minutes_us, options->keep_hours_us, options->keep_days_us}},
    };
    ledger->questions_end = &ledger->questions;
    sleeper_init(&ledger->keeper);
    sleeper_init(&ledger->drainer);
    pthread_mutex_init(&ledger->draining, NULL);
    pthread_mutex_init(&ledger->asking, NULL);
    return ledger;
}

static bool start(struct ledger *ledger, struct fault *fault)
{
    if (ledger->book && pthread_create(&ledger->drain_thread, NULL, drain_main, ledger) != 0)
        return fault_set(fault, FAULT_INTERNAL, "ledger: no thread: %m");
    if (pthread_create(&ledger->keeper_thread, NULL, keeper_main, ledger) == 0)
        return true;
    fault_set(fault, FAULT_INTERNAL, "ledger: no thread: %m");
    atomic_store(&ledger->stopping, true);
    sleeper_tell(&ledger->drainer);
    if (ledger->book)
        pthread_join(ledger->drain_thread, NULL);
    return false;
}

/* Undo what a failed opening has made. */
static void give_up(struct ledger *ledger)
{
    if (ledger->directory >= 0)
        instance_remove(ledger->root, ledger->instance, ledger->directory);
    free_all(ledger);
}

struct ledger *ledger_open(const struct ledger_options *options, struct fault *fault)
{
    struct ledger *ledger = ledger_new(options);
    if (open_directories(ledger, options->directory, fault) &&
        open_journals(ledger, options, fault) && open_book(ledger, options, fault) &&
        start(ledger, fault))
        return ledger;
    give_up(ledger);
    return NULL;
}

/* Without a database the lines stay for whoever drains them; what is empty goes. */
static void leave_files(struct ledger *ledger)
{
    bool any = false;
    for (unsigned i = 0; i < ledger->workers; i++) {
        struct journal *journal = ledger->journals[i];
        struct segment *segment = journal->current;
        if (journal->sequence) {
            any = true;
            segment = atomic_load(&segment->next);
        }
        for (; segment; segment = atomic_load(&segment->next))
            segment_remove(ledger->directory, &journal->id, segment);
    }
    if (!any)
        instance_remove(ledger->root, ledger->instance, ledger->directory);
}

/* We are as good as dead: what is still open is lost, and our directory goes. */
static void bury(struct ledger *ledger)
{
    for (unsigned i = 0; i < ledger->workers; i++)
        journal_free(ledger->journals[i]);
    ledger->workers = 0;
    close(ledger->directory);
    ledger->directory = -1;
    /* Only ours: what others left can wait for the next process, a stop cannot. */
    estate_free(ledger->estate);
    ledger->estate = estate_new(ledger->root, ledger->instance);
    estate_add(ledger->estate, ledger->instance);
    enum drained result;
    while ((result = estate_step(ledger->estate, ledger->drain)) == DRAINED_SOME)
        ;
    if (result == DRAIN_FAILED)
        log_line(LOG_ERROR, "ledger", "the database cannot be written (%s); %s is drained later",
                 book_problem(ledger->book), ledger->instance);
}

void ledger_close(struct ledger *ledger)
{
    if (!ledger)
        return;
    atomic_store(&ledger->stopping, true);
    sleeper_tell(&ledger->keeper);
    sleeper_tell(&ledger->drainer);
    pthread_join(ledger->keeper_thread, NULL);
    if (ledger->book) {
        pthread_join(ledger->drain_thread, NULL);
        enum drained result;
        while ((result = drain_round(ledger)) == DRAINED_SOME)
            ;
        for (unsigned i = 0; i < ledger->workers; i++)
            source_done(&ledger->sources[i]);
        memory_free(ledger->sources);
        ledger->sources = NULL;
        if (result == DRAINED_ALL)
            bury(ledger);
    } else {
        leave_files(ledger);
    }
    free_all(ledger);
}

struct journal *ledger_journal(struct ledger *ledger, unsigned worker)
{
    assert(worker < ledger->workers);
    return ledger->journals[worker];
}

struct ledger_figures ledger_figures(struct ledger *ledger)
{
    struct ledger_figures figures = {.drains = atomic_load(&ledger->drains),
                                     .drain_errors = atomic_load(&ledger->drain_errors)};
    for (unsigned i = 0; i < ledger->workers; i++) {
        struct journal *journal = ledger->journals[i];
        /* In this order, so that the difference is never negative. */
        uint64_t drained = atomic_load(&journal->drained);
        uint64_t written = atomic_load(&journal->written);
        figures.lines += written;
        figures.lines_undrained += written - drained;
        figures.bytes_undrained += bytes_undrained(journal);
        figures.full = figures.full || atomic_load(&journal->full);
    }
    return figures;
}
