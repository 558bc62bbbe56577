/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/cache_answers.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum {
    WAITING_MAX = 4096,           /* searches, and records, that wait for the helper */
    WAITING_BYTES_MAX = 64 << 20, /* of records */
    TIDY_EVERY_US = 60 * 1000000, /* when anything is written */
    TIDY_AT_ONCE = 256,           /* records, when there are too many bytes */
};

static const char *const schema[] = {
    "CREATE TABLE idempotent(name BLOB PRIMARY KEY, expires INTEGER NOT NULL, bytes INTEGER NOT "
    "NULL, record BLOB NOT NULL);"
    "CREATE INDEX idempotent_expires ON idempotent(expires, bytes);",
};

/* A record to be kept. */
struct keeping {
    struct keeping *next;
    struct digest name;
    int64_t expires_us;
    struct buffer record;
};

struct answers {
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct answer_search *searches, **searches_end;
    struct keeping *keepings, **keepings_end;
    size_t search_count, keeping_count, keeping_bytes;
    const void *owner; /* of the search that is being done */
    bool stopping;
    pthread_t thread;
    atomic_ullong kept, lost;
    /* the helper's own */
    struct database *database;
    struct statement *find, *keep;
    size_t max_bytes, bytes;
    uint64_t tidy_us;
    bool failing;
};

/* ------------------------------------------------------------------------ the helper's work */

static struct text text_of_name(const struct digest *name)
{
    return (struct text){(const char *)name->bytes, sizeof(name->bytes)};
}

static void note_failure(struct answers *answers)
{
    if (!answers->failing)
        log_line(LOG_ERROR, "cache", "answers to an Idempotency-Key cannot be kept or found: %s",
                 database_problem(answers->database));
    answers->failing = true;
}

static void note_success(struct answers *answers)
{
    if (answers->failing)
        log_line(LOG_INFO, "cache", "answers to an Idempotency-Key are kept again");
    answers->failing = false;
}

static void find_record(struct answers *answers, struct answer_search *search)
{
    statement_set_blob(answers->find, 1, text_of_name(&search->name));
    statement_set(answers->find, 2, clock_wall_us());
    enum statement_result result = statement_next(answers->find);
    search->failed = result == STATEMENT_FAILED;
    search->found = result == STATEMENT_ROW;
    if (search->found) {
        search->expires_us = statement_number(answers->find, 0);
        search->failed = !buffer_append_text(&search->record, statement_text(answers->find, 1));
        search->found = !search->failed;
    }
    if (result == STATEMENT_FAILED)
        note_failure(answers);
    else
        statement_reset(answers->find);
}

static bool keep_record(struct answers *answers, const struct keeping *keeping)
{
    int64_t bytes = (int64_t)buffer_length(&keeping->record);
    statement_set_blob(answers->keep, 1, text_of_name(&keeping->name));
    statement_set(answers->keep, 2, keeping->expires_us);
    statement_set(answers->keep, 3, bytes);
    statement_set_blob(answers->keep, 4, buffer_text(&keeping->record));
    answers->bytes += (size_t)bytes;
    return statement_run(answers->keep);
}

static bool count_bytes(struct answers *answers)
{
    struct statement *sum =
        database_prepare(answers->database, "SELECT coalesce(sum(bytes), 0) FROM idempotent");
    bool counted = sum && statement_next(sum) == STATEMENT_ROW;
    if (counted)
        answers->bytes = (size_t)statement_number(sum, 0);
    if (sum)
        statement_close(sum);
    return counted;
}

/* Drop what has expired, and of the rest what is too much. Within a transaction. */
static bool tidy(struct answers *answers)
{
    if (clock_now_us() < answers->tidy_us && answers->bytes <= answers->max_bytes)
        return true;
    answers->tidy_us = clock_now_us() + TIDY_EVERY_US;
    bool good =
        database_run_format(answers->database, "DELETE FROM idempotent WHERE expires <= %lld",
                            (long long)clock_wall_us()) &&
        count_bytes(answers);
    while (good && answers->bytes > answers->max_bytes)
        good = database_run_format(answers->database,
                                   "DELETE FROM idempotent WHERE rowid IN (SELECT rowid FROM "
                                   "idempotent ORDER BY expires LIMIT %d)",
                                   TIDY_AT_ONCE) &&
               count_bytes(answers);
    return good;
}

/* All or, when it fails, none: the disk is full, or the file is damaged. */
static void keep_all(struct answers *answers, struct keeping *keepings)
{
    uint64_t count = 0;
    bool good = database_begin(answers->database);
    for (struct keeping *at = keepings; at; at = at->next, count++)
        good = good && keep_record(answers, at);
    good = good && tidy(answers);
    good = good && database_commit(answers->database);
    atomic_fetch_add(good ? &answers->kept : &answers->lost, count);
    if (good) {
        note_success(answers);
        return;
    }
    /* Before the rollback, which has no problem to tell of. */
    note_failure(answers);
    database_rollback(answers->database);
}

static void free_keepings(struct keeping *keepings)
{
    for (struct keeping *next; keepings; keepings = next) {
        next = keepings->next;
        buffer_done(&keepings->record);
        memory_free(keepings);
    }
}

/* ------------------------------------------------------------------------------ the thread */

/* Under the lock, which is given up meanwhile. What was to be kept before something is looked for
 * is there when it is. */
static void turn(struct answers *answers)
{
    struct keeping *keepings = answers->keepings;
    struct answer_search *search = answers->searches;
    answers->keepings = NULL;
    answers->keepings_end = &answers->keepings;
    answers->keeping_count = answers->keeping_bytes = 0;
    if (search) {
        answers->searches = search->next;
        answers->search_count--;
        answers->owner = search->owner;
    }
    if (!answers->searches)
        answers->searches_end = &answers->searches;
    pthread_mutex_unlock(&answers->lock);
    if (keepings)
        keep_all(answers, keepings);
    free_keepings(keepings);
    if (search) {
        find_record(answers, search);
        loop_post(search->loop, &search->errand);
    }
    pthread_mutex_lock(&answers->lock);
    answers->owner = NULL;
    pthread_cond_broadcast(&answers->idle);
}

static void *answers_main(void *with)
{
    struct answers *answers = with;
    pthread_mutex_lock(&answers->lock);
    for (;;) {
        if (answers->keepings || answers->searches)
            turn(answers);
        else if (answers->stopping)
            break;
        else
            pthread_cond_wait(&answers->work, &answers->lock);
    }
    pthread_mutex_unlock(&answers->lock);
    return NULL;
}

static bool start(struct answers *answers, struct fault *fault)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool good = pthread_create(&answers->thread, NULL, answers_main, answers) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!good)
        return fault_set(fault, FAULT_INTERNAL, "No thread can be started for the cache.");
    pthread_setname_np(answers->thread, "cache-answers");
    return true;
}

static bool prepare(struct answers *answers, const char *path, struct fault *fault)
{
    answers->database = database_open(path, DATABASE_WRITE, fault);
    if (!answers->database || !database_upgrade(answers->database, schema, 1, fault))
        return false;
    answers->find = database_prepare(
        answers->database, "SELECT expires, record FROM idempotent WHERE name = ? AND expires > ?");
    answers->keep = database_prepare(
        answers->database,
        "INSERT OR REPLACE INTO idempotent(name, expires, bytes, record) VALUES (?, ?, ?, ?)");
    if (answers->find && answers->keep && count_bytes(answers))
        return true;
    return fault_set(fault, FAULT_INTERNAL, "%s: %s", path, database_problem(answers->database));
}

struct answers *answers_open(const char *path, size_t max_bytes, struct fault *fault)
{
    struct answers *answers = memory_new(sizeof(*answers));
    answers->max_bytes = max_bytes;
    answers->searches_end = &answers->searches;
    answers->keepings_end = &answers->keepings;
    pthread_mutex_init(&answers->lock, NULL);
    pthread_cond_init(&answers->work, NULL);
    pthread_cond_init(&answers->idle, NULL);
    if (prepare(answers, path, fault) && start(answers, fault))
        return answers;
    database_close(answers->database);
    memory_free(answers);
    return NULL;
}

void answers_close(struct answers *answers)
{
    if (!answers)
        return;
    pthread_mutex_lock(&answers->lock);
    answers->stopping = true;
    pthread_cond_signal(&answers->work);
    pthread_mutex_unlock(&answers->lock);
    pthread_join(answers->thread, NULL);
    pthread_mutex_destroy(&answers->lock);
    pthread_cond_destroy(&answers->work);
    pthread_cond_destroy(&answers->idle);
    database_close(answers->database);
    memory_free(answers);
}

/* ------------------------------------------------------------------------------ the door */

bool answers_find(struct answers *answers, struct answer_search *search)
{
    search->next = NULL;
    search->found = search->failed = false;
    pthread_mutex_lock(&answers->lock);
    bool has_room = answers->search_count < WAITING_MAX;
    if (has_room) {
        *answers->searches_end = search;
        answers->searches_end = &search->next;
        answers->search_count++;
        pthread_cond_signal(&answers->work);
    }
    pthread_mutex_unlock(&answers->lock);
    return has_room;
}

void answers_cancel(struct answers *answers, const void *owner)
{
    pthread_mutex_lock(&answers->lock);
    struct answer_search **at = &answers->searches;
    while (*at) {
        struct answer_search *search = *at;
        if (search->owner != owner) {
            at = &search->next;
            continue;
        }
        *at = search->next;
        answers->search_count--;
        search->failed = true;
        loop_post(search->loop, &search->errand);
    }
    answers->searches_end = at;
    while (answers->owner == owner)
        pthread_cond_wait(&answers->idle, &answers->lock);
    pthread_mutex_unlock(&answers->lock);
}

bool answers_keep(struct answers *answers, const struct digest *name, struct buffer *record,
                  int64_t expires_us)
{
    size_t bytes = buffer_length(record);
    pthread_mutex_lock(&answers->lock);
    bool has_room =
        answers->keeping_count < WAITING_MAX && answers->keeping_bytes + bytes <= WAITING_BYTES_MAX;
    if (has_room) {
        struct keeping *keeping = memory_new(sizeof(*keeping));
        *keeping = (struct keeping){NULL, *name, expires_us, *record};
        buffer_init(record, 0);
        *answers->keepings_end = keeping;
        answers->keepings_end = &keeping->next;
        answers->keeping_count++;
        answers->keeping_bytes += bytes;
        pthread_cond_signal(&answers->work);
    }
    pthread_mutex_unlock(&answers->lock);
    if (!has_room)
        atomic_fetch_add(&answers->lost, 1);
    return has_room;
}

struct answers_figures answers_figures(const struct answers *answers)
{
    return (struct answers_figures){atomic_load(&answers->kept), atomic_load(&answers->lost)};
}
