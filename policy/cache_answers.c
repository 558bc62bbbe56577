/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/cache_answers.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/underway.h"

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
    struct task task;
    struct answers *answers;
    struct digest name;
    int64_t expires_us;
    struct buffer record;
    struct underway *held;
};

struct answers {
    struct helper *helper;
    atomic_size_t waiting_bytes;
    atomic_ullong kept, lost;
    /* the helper's own */
    char *path;
    struct database *database; /* NULL = there is no file yet, since nothing was kept */
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

static void note_failure(struct answers *answers, const char *why)
{
    if (!answers->failing)
        log_line(LOG_ERROR, "cache", "answers to an Idempotency-Key cannot be kept or found: %s",
                 why);
    answers->failing = true;
}

static void note_success(struct answers *answers)
{
    if (answers->failing)
        log_line(LOG_INFO, "cache", "answers to an Idempotency-Key are kept again");
    answers->failing = false;
}

static bool open_file(struct answers *answers, struct fault *fault);

static void find_record(struct answers *answers, struct answer_search *search)
{
    struct fault why;
    /* Another process may have made it: the one before this, after an upgrade in place. */
    if (!answers->database && (access(answers->path, F_OK) != 0 || !open_file(answers, &why)))
        return;
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
        note_failure(answers, database_problem(answers->database));
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

static bool prepare(struct answers *answers, struct fault *fault)
{
    answers->find = database_prepare(
        answers->database, "SELECT expires, record FROM idempotent WHERE name = ? AND expires > ?");
    answers->keep = database_prepare(
        answers->database,
        "INSERT OR REPLACE INTO idempotent(name, expires, bytes, record) VALUES (?, ?, ?, ?)");
    if (answers->find && answers->keep && count_bytes(answers))
        return true;
    return fault_set(fault, database_fault(answers->database), "%s: %s", answers->path,
                     database_problem(answers->database));
}

static bool open_file(struct answers *answers, struct fault *fault)
{
    answers->database = database_open(answers->path, DATABASE_WRITE, fault);
    if (answers->database && database_upgrade(answers->database, schema, 1, fault) &&
        prepare(answers, fault))
        return true;
    database_close(answers->database);
    answers->database = NULL;
    return false;
}

static bool keep(struct answers *answers, const struct keeping *keeping)
{
    struct fault why;
    if (!answers->database && !open_file(answers, &why)) {
        note_failure(answers, why.text);
        return false;
    }
    if (database_begin(answers->database) && keep_record(answers, keeping) && tidy(answers) &&
        database_commit(answers->database)) {
        note_success(answers);
        return true;
    }
    /* Before the rollback, which has no problem to tell of. */
    note_failure(answers, database_problem(answers->database));
    database_rollback(answers->database);
    return false;
}

static void run_keeping(struct task *task)
{
    struct keeping *keeping = LIST_MEMBER(task, struct keeping, task);
    struct answers *answers = keeping->answers;
    atomic_fetch_add(keep(answers, keeping) ? &answers->kept : &answers->lost, 1);
    if (keeping->held)
        underway_give_back(keeping->held, &keeping->name);
    atomic_fetch_sub(&answers->waiting_bytes, buffer_length(&keeping->record));
    buffer_done(&keeping->record);
    memory_free(keeping);
}

static void run_search(struct task *task)
{
    struct answer_search *search = LIST_MEMBER(task, struct answer_search, task);
    find_record(search->answers, search);
    loop_post(search->loop, &search->errand);
}

static void drop_search(struct task *task)
{
    struct answer_search *search = LIST_MEMBER(task, struct answer_search, task);
    search->failed = true;
    loop_post(search->loop, &search->errand);
}

/* ------------------------------------------------------------------------ opening, closing */

static void free_all(struct answers *answers)
{
    database_close(answers->database);
    memory_free(answers->path);
    memory_free(answers);
}

struct answers *answers_open(const char *path, size_t max_bytes, struct fault *fault)
{
    struct answers *answers = memory_new(sizeof(*answers));
    answers->max_bytes = max_bytes;
    answers->path = memory_string(text_of(path));
    if ((access(path, F_OK) != 0 && errno == ENOENT) || open_file(answers, fault)) {
        answers->helper = helper_new("cache-answers", WAITING_MAX);
        if (answers->helper)
            return answers;
        fault_set(fault, FAULT_INTERNAL, "No thread can be started for the cache.");
    }
    free_all(answers);
    return NULL;
}

void answers_close(struct answers *answers)
{
    if (!answers)
        return;
    helper_free(answers->helper);
    free_all(answers);
}

/* ------------------------------------------------------------------------------ the door */

bool answers_find(struct answers *answers, struct answer_search *search)
{
    search->answers = answers;
    search->task.run = run_search;
    search->task.drop = drop_search;
    search->found = search->failed = false;
    return helper_give(answers->helper, &search->task);
}

void answers_cancel(struct answers *answers, const void *owner)
{
    helper_cancel(answers->helper, owner);
}

/* Take note of <bytes> that wait; false when they would be too many. */
static bool reserve_bytes(struct answers *answers, size_t bytes)
{
    if (atomic_fetch_add(&answers->waiting_bytes, bytes) + bytes <= WAITING_BYTES_MAX)
        return true;
    atomic_fetch_sub(&answers->waiting_bytes, bytes);
    return false;
}

bool answers_keep(struct answers *answers, const struct digest *name, struct buffer *record,
                  int64_t expires_us, struct underway *held)
{
    size_t bytes = buffer_length(record);
    if (!reserve_bytes(answers, bytes)) {
        atomic_fetch_add(&answers->lost, 1);
        return false;
    }
    struct keeping *keeping = memory_new(sizeof(*keeping));
    *keeping = (struct keeping){{.run = run_keeping}, answers, *name, expires_us, *record, held};
    if (helper_give(answers->helper, &keeping->task)) {
        buffer_init(record, 0);
        return true;
    }
    atomic_fetch_sub(&answers->waiting_bytes, bytes);
    atomic_fetch_add(&answers->lost, 1);
    memory_free(keeping);
    return false;
}

struct answers_figures answers_figures(const struct answers *answers)
{
    return (struct answers_figures){atomic_load(&answers->kept), atomic_load(&answers->lost)};
}
