/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing the ledger, and its figures. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/damage.h"
#include "policy/keeper.h"
#include "policy/told.h"

enum {
    SEGMENT_BYTES = 4 << 20,
    SEGMENT_BYTES_MIN = 64 << 10,
    SEGMENT_BYTES_MAX = 1 << 30,
    TELL_WAIT_US = 5 * 1000000,
};

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
        (ledger->sync != SYNC_OS && fsync(ledger->root) != 0))
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

/* The directory that the database is to be in. */
static bool make_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return true;
    char *parent = memory_string((struct text){path, (size_t)(slash - path)});
    bool good = make_directories(parent);
    memory_free(parent);
    return good;
}

static struct book *open_book_file(const struct ledger_options *options, struct fault *fault)
{
    return book_open(options->database, options->sync != SYNC_OS,
                     options->shared ? SHARING_ON : SHARING_OFF, fault);
}

static char *told_path(const struct ledger_options *options)
{
    return memory_format("%s/told", options->directory);
}

/* What Redis has of the database that was damaged is not booked again. */
static bool import_told(struct ledger *ledger, const struct ledger_options *options,
                        struct fault *fault)
{
    if (!options->shared)
        return true;
    char *path = told_path(options);
    struct told_place place = {path, ledger->root, options->shared->redis, options->shared->prefix};
    bool good = !ledger->set_aside || told_import(&place, ledger->book);
    if (good)
        told_begin(path, ledger->book);
    else
        fault_set(fault, FAULT_INTERNAL, "%s: %s", options->database, book_problem(ledger->book));
    memory_free(path);
    return good;
}

static bool open_book(struct ledger *ledger, const struct ledger_options *options,
                      struct fault *fault)
{
    if (!options->database)
        return true;
    if (!make_parent(options->database))
        return fault_set(fault, FAULT_INTERNAL, "ledger: %s: %m", options->database);
    ledger->database = memory_string(text_of(options->database));
    ledger->set_aside = damage_set_aside(options->database, false);
    ledger->book = open_book_file(options, fault);
    if (!ledger->book && !ledger->set_aside &&
        (ledger->set_aside = damage_set_aside(options->database, true)))
        ledger->book = open_book_file(options, fault);
    if (!ledger->book || !import_told(ledger, options, fault))
        return false;
    ledger->drain = drain_new(ledger->book);
    ledger->estate = estate_new(ledger->root, ledger->instance);
    ledger->sources = memory_new(ledger->workers * sizeof(*ledger->sources));
    for (unsigned i = 0; i < ledger->workers; i++)
        source_init_live(&ledger->sources[i], ledger->journals[i]);
    return true;
}

/* On the thread of forward. */
static void on_older(void *with)
{
    struct ledger *ledger = with;
    sleeper_tell(&ledger->drainer);
}

/* A name that the database has, so that who reads knows whose lines they are. */
static bool open_ship(struct ledger *ledger, const struct ledger_options *options,
                      struct fault *fault)
{
    if (options->sync != SYNC_STORE || !ledger->forward)
        return true;
    struct ship_options ship = {.redis = options->shared->redis,
                                .prefix = options->shared->prefix,
                                .ledger = book_share(ledger->book)->ledger,
                                .keep_us = options->keep_days_us};
    ledger->ship = ship_open(&ship, fault);
    for (unsigned i = 0; ledger->ship && i < ledger->workers; i++)
        ledger->journals[i]->ship = ship_box_new(ledger->ship, ledger->journals[i]);
    return ledger->ship != NULL;
}

static bool open_forward(struct ledger *ledger, const struct ledger_options *options,
                         struct fault *fault)
{
    if (!ledger->book || !options->shared)
        return true;
    char *told = told_path(options);
    struct forward_options forward = {.redis = options->shared->redis,
                                      .prefix = options->shared->prefix,
                                      .database = options->database,
                                      .keep = ledger->keep,
                                      .told = told,
                                      .on_older = on_older,
                                      .with = ledger};
    ledger->forward = forward_open(&forward, fault);
    memory_free(told);
    return ledger->forward != NULL;
}

static void free_all(struct ledger *ledger)
{
    ship_close(ledger->ship);
    forward_close(ledger->forward, 0);
    for (unsigned i = 0; ledger->sources && i < ledger->workers; i++)
        source_done(&ledger->sources[i]);
    for (unsigned i = 0; i < ledger->workers; i++)
        journal_free(ledger->journals[i]);
    estate_free(ledger->estate);
    drain_free(ledger->drain);
    book_close(ledger->book);
    memory_free(ledger->sources);
    memory_free(ledger->journals);
    memory_free(ledger->database);
    memory_free(ledger->set_aside);
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
        open_forward(ledger, options, fault) && open_ship(ledger, options, fault)) {
        if (keeper_start(ledger))
            return ledger;
        fault_set(fault, FAULT_INTERNAL, "ledger: no thread: %m");
    }
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
    for (int tries = 0; tries < ESTATE_TRIES; tries++) {
        while ((result = estate_step(ledger->estate, ledger->drain)) == DRAINED_SOME)
            ;
        if (result != DRAIN_WAITS)
            break;
        usleep(ESTATE_WAIT_US);
    }
    if (result == DRAIN_FAILED)
        log_line(LOG_ERROR, "ledger", "the database cannot be written (%s); %s is drained later",
                 book_problem(ledger->book), ledger->instance);
}

void ledger_close(struct ledger *ledger)
{
    if (!ledger)
        return;
    keeper_stop(ledger);
    ship_close(ledger->ship);
    ledger->ship = NULL;
    if (ledger->book) {
        enum drained result;
        while ((result = drain_round(ledger)) == DRAINED_SOME)
            ;
        for (unsigned i = 0; i < ledger->workers; i++)
            source_done(&ledger->sources[i]);
        memory_free(ledger->sources);
        ledger->sources = NULL;
        if (result == DRAINED_ALL)
            bury(ledger);
        forward_close(ledger->forward, TELL_WAIT_US);
        ledger->forward = NULL;
    } else {
        leave_files(ledger);
    }
    free_all(ledger);
}

void journal_on_safe(struct journal *journal, void (*on_safe)(void *with), void *with)
{
    pthread_mutex_lock(&journal->telling);
    journal->on_safe = on_safe;
    journal->on_safe_with = with;
    pthread_mutex_unlock(&journal->telling);
}

const char *ledger_set_aside(const struct ledger *ledger)
{
    return ledger->set_aside;
}

struct journal *ledger_journal(struct ledger *ledger, unsigned worker)
{
    assert(worker < ledger->workers);
    return ledger->journals[worker];
}

struct ledger_figures ledger_figures(struct ledger *ledger)
{
    struct ledger_figures figures = {.damaged = atomic_load(&ledger->damaged),
                                     .drains = atomic_load(&ledger->drains),
                                     .drain_errors = atomic_load(&ledger->drain_errors)};
    for (unsigned i = 0; i < ledger->workers; i++) {
        struct journal *journal = ledger->journals[i];
        /* In this order, so that the difference is never negative. */
        uint64_t drained = atomic_load(&journal->drained);
        uint64_t written = atomic_load(&journal->written);
        figures.lines += written;
        figures.lines_undrained += written - drained;
        figures.bytes_undrained += journal_undrained(journal);
        figures.full = figures.full || atomic_load(&journal->full);
    }
    if (ledger->forward) {
        struct forward_figures told = forward_figures(ledger->forward);
        figures.is_shared = true;
        figures.others_up = told.up;
        figures.calls_untold = told.calls_left;
        figures.tellings = told.batches;
        figures.telling_errors = told.failures;
    }
    if (ledger->ship)
        figures.lines_unstored = ship_unstored(ledger->ship);
    return figures;
}

bool ledger_is_damaged(struct ledger *ledger)
{
    if (!ledger->database || !database_file_is_damaged(ledger->database))
        return false;
    damage_note(ledger->database);
    return true;
}
