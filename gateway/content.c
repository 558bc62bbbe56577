/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/content.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/crash.h"

enum {
    ENTRY_TEXTS = 7,
    TIDY_US = 60000000,
    AT_ONCE = 256, /* are deleted in one transaction: others want to write, too */
    BYTES_AT_ONCE = 4 << 20,
    PAGES_AT_ONCE = 1024, /* are given back in one transaction */
    PAGES_KEPT = 256,     /* at least, and an eighth of those that are used: for what comes */
};

static const char *const schema[] = {
    "CREATE TABLE content(number INTEGER PRIMARY KEY, id TEXT NOT NULL, tenant TEXT NOT NULL, "
    "user TEXT NOT NULL, started_us INTEGER NOT NULL, bytes INTEGER NOT NULL, "
    "cut INTEGER NOT NULL, input TEXT NOT NULL, system TEXT NOT NULL, tools TEXT NOT NULL, "
    "output TEXT NOT NULL);"
    "CREATE INDEX content_id ON content(id);"
    "CREATE INDEX content_tenant ON content(tenant, user, started_us);"
    "CREATE INDEX content_age ON content(started_us, bytes);",
};
enum { SCHEMA = sizeof(schema) / sizeof(schema[0]) };
/* The oldest first, in the order of an index. */
#define AGE "started_us, bytes, number"

/* An entry in the queue; its texts are in the same piece of memory. */
struct waiting {
    struct waiting *next;
    size_t bytes;
    struct content_entry entry;
};

struct content {
    char *path;
    atomic_uint_fast64_t kept, dropped;
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t wake, written;
    struct waiting *first, **last;
    size_t waiting_bytes;
    uint64_t put, done; /* entries, since the start */
    struct content_keeping keeping;
    bool has_thread, closing, tidies; /* tidies: at once */
    pthread_t thread;
    /* the thread's own */
    struct database *database; /* NULL = not open */
    struct statement *insert;
    int64_t bytes;   /* of all texts in the file, but for what others have done since: */
    int64_t changes; /* database_changes() when they were added up; -1 = they are not */
    bool failing;
    bool tidying;                /* there may be more to delete */
    bool log_has_deleted;        /* it is to be emptied */
    int64_t tidy_at, rest_until; /* clock_now_us() */
};

/* ---------------------------------------------------------------------------------- the file */

static bool open_to_write(const char *path, struct database **database, struct fault *fault)
{
    *database = database_open(path, DATABASE_LOOSE, fault);
    if (!*database)
        return false;
    if (!database_upgrade(*database, schema, SCHEMA, fault)) {
        /* it has said why */
    } else if (database_run(*database, "PRAGMA secure_delete = ON")) {
        return true;
    } else {
        fault_set(fault, FAULT_INTERNAL, "%s: %s", path, database_problem(*database));
    }
    database_close(*database);
    *database = NULL;
    return false;
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0 || errno != ENOENT;
}

/* The first number that <sql> finds; -1 when it cannot. */
static int64_t ask_number(struct database *database, const char *sql)
{
    struct statement *statement = database_prepare(database, sql);
    int64_t number = -1;
    if (statement && statement_next(statement) == STATEMENT_ROW)
        number = statement_number(statement, 0);
    statement_close(statement);
    return number;
}

/* What was said stands in the log of changes, too. 0: nobody was in the way of it; -1: a fault. */
static int64_t empty_log(struct database *database)
{
    return ask_number(database, "PRAGMA wal_checkpoint(TRUNCATE)");
}

/* ------------------------------------------------------------------------- the thread's work */

static void close_file(struct content *content)
{
    database_close(content->database);
    content->database = NULL;
    content->insert = NULL;
}

static void note_failure(struct content *content, const char *why)
{
    if (!content->failing)
        log_line(LOG_ERROR, "content",
                 "what is said in calls cannot be kept, or be deleted when it is old: %s", why);
    content->failing = true;
}

static void note_success(struct content *content)
{
    if (content->failing)
        log_line(LOG_INFO, "content", "what is said in calls is kept again");
    content->failing = false;
}

/* A broken file is opened anew each time: until somebody has taken it away. */
static void give_up(struct content *content)
{
    bool broken = database_is_damaged(content->database);
    note_failure(content, database_problem(content->database));
    database_rollback(content->database);
    if (broken)
        close_file(content);
}

/* Others delete from the file; before and after an upgrade in place two processes write. */
static bool count_bytes(struct content *content)
{
    int64_t changes = database_changes(content->database);
    if (changes >= 0 && changes == content->changes)
        return true;
    content->bytes = ask_number(content->database, "SELECT coalesce(sum(bytes), 0) FROM content");
    content->changes = content->bytes >= 0 ? changes : -1;
    return content->changes >= 0;
}

/* Delete what stands beside a file that is gone: SQLite would take its log for that of the next
 * one. First the log is looked for, then the file: another process may be making both. */
static void remove_rest(const struct content *content)
{
    char *log = memory_format("%s-wal", content->path);
    char *index = memory_format("%s-shm", content->path);
    if ((is_there(log) || is_there(index)) && !is_there(content->path)) {
        unlink(log);
        unlink(index);
    }
    memory_free(log);
    memory_free(index);
}

/* Whoever takes the file away wants another to begin. */
static void look_for_file(struct content *content)
{
    if (content->database && database_has_moved(content->database)) {
        log_line(LOG_WARN, "content", "%s was taken away; another begins", content->path);
        close_file(content);
    }
    if (!content->database)
        remove_rest(content);
}

static bool open_file(struct content *content)
{
    struct fault why;
    if (content->database)
        return true;
    if (!open_to_write(content->path, &content->database, &why)) {
        note_failure(content, why.text);
        return false;
    }
    content->insert = database_prepare(
        content->database, "INSERT INTO content(id, tenant, user, started_us, bytes, cut, input, "
                           "system, tools, output) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    content->changes = -1;
    if (content->insert && count_bytes(content))
        return true;
    note_failure(content, database_problem(content->database));
    close_file(content);
    return false;
}

static bool insert(struct content *content, const struct waiting *waiting)
{
    const struct content_entry *entry = &waiting->entry;
    statement_set_text(content->insert, 1, entry->id);
    statement_set_text(content->insert, 2, entry->tenant);
    statement_set_text(content->insert, 3, entry->user);
    statement_set(content->insert, 4, entry->started_us);
    statement_set(content->insert, 5, (int64_t)waiting->bytes);
    statement_set(content->insert, 6, entry->cut);
    statement_set_text(content->insert, 7, entry->input);
    statement_set_text(content->insert, 8, entry->system);
    statement_set_text(content->insert, 9, entry->tools);
    statement_set_text(content->insert, 10, entry->output);
    return statement_run(content->insert);
}

static void write_all(struct content *content, const struct waiting *first)
{
    uint64_t count = 0;
    int64_t bytes = 0;
    bool good = open_file(content);
    bool began = good && database_begin(content->database);
    for (const struct waiting *waiting = first; waiting; waiting = waiting->next) {
        began = began && insert(content, waiting);
        bytes += (int64_t)waiting->bytes;
        count++;
    }
    if (began && database_commit(content->database)) {
        atomic_fetch_add_explicit(&content->kept, count, memory_order_relaxed);
        content->bytes += bytes;
        note_success(content);
        return;
    }
    atomic_fetch_add_explicit(&content->dropped, count, memory_order_relaxed);
    if (good)
        give_up(content);
}

/* How many of the oldest are too old, or too much, and are deleted next; and their bytes. -1: they
 * cannot be read. */
static int64_t count_oldest(struct content *content, const struct content_keeping *keeping,
                            int64_t *bytes)
{
    int64_t count = 0, until = clock_wall_us() - keeping->keep_us;
    struct statement *row = database_prepare(
        content->database, "SELECT started_us, bytes FROM content ORDER BY " AGE " LIMIT ?");
    enum statement_result next = STATEMENT_FAILED;
    if (row)
        statement_set(row, 1, AT_ONCE);
    while (row && *bytes < BYTES_AT_ONCE && (next = statement_next(row)) == STATEMENT_ROW) {
        if (statement_number(row, 0) > until && content->bytes - *bytes <= keeping->max_bytes)
            break;
        *bytes += statement_number(row, 1);
        count++;
    }
    statement_close(row);
    return next == STATEMENT_FAILED ? -1 : count;
}

/* Give back a piece of the file where nothing stands any more. 1: there may be more; 0: that was
 * all; -1: a fault. */
static int shrink_some(struct content *content)
{
    int64_t all = ask_number(content->database, "PRAGMA page_count");
    int64_t spare = ask_number(content->database, "PRAGMA freelist_count");
    if (all < 0 || spare < 0)
        return -1;
    int64_t kept = (all - spare) / 8 > PAGES_KEPT ? (all - spare) / 8 : PAGES_KEPT;
    if (spare <= kept || ask_number(content->database, "PRAGMA auto_vacuum") != 2)
        return 0; /* a file that was not made for it stays as large as it is */
    int64_t pages = spare - kept < PAGES_AT_ONCE ? spare - kept : PAGES_AT_ONCE;
    if (!database_run_format(content->database, "PRAGMA incremental_vacuum(%lld)",
                             (long long)pages))
        return -1;
    content->log_has_deleted = true; /* with it the file becomes smaller */
    return spare - kept > pages;
}

/* One piece of it: others want to write, too. False: that was all, or it failed. */
static bool tidy_some(struct content *content, const struct content_keeping *keeping)
{
    int64_t bytes = 0, count = -1;
    if ((!content->database && !is_there(content->path)) || !open_file(content))
        return false;
    if (database_begin(content->database) && count_bytes(content))
        count = count_oldest(content, keeping, &bytes);
    if (count > 0 && !database_run_format(content->database,
                                          "DELETE FROM content WHERE number IN (SELECT number FROM "
                                          "content ORDER BY " AGE " LIMIT %lld)",
                                          (long long)count))
        count = -1;
    if (count < 0 || !database_commit(content->database)) {
        give_up(content);
        content->changes = -1;
        return false;
    }
    content->bytes -= bytes;
    if (count > 0) {
        content->log_has_deleted = true;
        return true;
    }
    int more = shrink_some(content);
    if (more < 0)
        give_up(content);
    if (more != 0)
        return more > 0;
    if (content->log_has_deleted && empty_log(content->database) == 0) /* or the next time */
        content->log_has_deleted = false;
    database_rest(content->database);
    return false;
}

static void free_all(struct waiting *first)
{
    while (first) {
        struct waiting *next = first->next;
        memory_free(first);
        first = next;
    }
}

/* False: it is <until>, of clock_now_us(). */
static bool wait_until(pthread_cond_t *change, pthread_mutex_t *lock, int64_t until)
{
    struct timespec time = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    return pthread_cond_timedwait(change, lock, &time) != ETIMEDOUT;
}

/* Wait until there is something to do, under the lock. */
static void await(struct content *content)
{
    while (!content->first && !content->closing && !content->tidies)
        if (!wait_until(&content->wake, &content->lock,
                        content->tidying ? content->rest_until : content->tidy_at))
            break;
}

/* Under the lock: is it time to tidy up? After each piece it rests for as long as that took, so
 * that others come to their turn, who ask for the file only now and then. */
static bool is_to_tidy(struct content *content, const struct content_keeping *keeping)
{
    int64_t now = (int64_t)clock_now_us();
    bool is_much = content->database && content->bytes > keeping->max_bytes;
    if (content->tidies || is_much || now >= content->tidy_at) {
        content->tidying = true;
        content->tidies = false;
        content->tidy_at = now + TIDY_US;
    }
    return content->tidying && !content->closing && now >= content->rest_until;
}

static void tidy(struct content *content, const struct content_keeping *keeping)
{
    int64_t began = (int64_t)clock_now_us();
    content->tidying = tidy_some(content, keeping);
    int64_t now = (int64_t)clock_now_us();
    content->rest_until = now + (now - began);
}

static void *run(void *with)
{
    struct content *content = with;
    pthread_setname_np(pthread_self(), "content");
    crash_arm_thread();
    pthread_mutex_lock(&content->lock);
    while (!content->closing || content->first) {
        await(content);
        struct waiting *first = content->first;
        uint64_t put = content->put;
        content->first = NULL;
        content->last = &content->first;
        content->waiting_bytes = 0;
        pthread_mutex_unlock(&content->lock);
        look_for_file(content);
        if (first)
            write_all(content, first);
        free_all(first);
        pthread_mutex_lock(&content->lock);
        content->done = put;
        pthread_cond_broadcast(&content->written);
        struct content_keeping keeping = content->keeping;
        if (!is_to_tidy(content, &keeping))
            continue;
        pthread_mutex_unlock(&content->lock);
        tidy(content, &keeping);
        pthread_mutex_lock(&content->lock);
    }
    pthread_mutex_unlock(&content->lock);
    close_file(content);
    return NULL;
}

/* --------------------------------------------------------------------------- opening, closing */

struct content *content_open(const char *path)
{
    struct content *content = memory_new(sizeof(*content));
    content->path = memory_string(text_of(path));
    content->last = &content->first;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&content->wake, &attributes);
    pthread_cond_init(&content->written, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&content->lock, NULL);
    return content;
}

void content_close(struct content *content)
{
    if (!content)
        return;
    pthread_mutex_lock(&content->lock);
    content->closing = true;
    pthread_cond_signal(&content->wake);
    pthread_mutex_unlock(&content->lock);
    if (content->has_thread)
        pthread_join(content->thread, NULL);
    pthread_cond_destroy(&content->wake);
    pthread_cond_destroy(&content->written);
    pthread_mutex_destroy(&content->lock);
    memory_free(content->path);
    memory_free(content);
}

void content_keep(struct content *content, const struct content_keeping *keeping)
{
    pthread_mutex_lock(&content->lock);
    content->keeping = *keeping;
    content->tidies = true;
    if (!content->has_thread && (keeping->wanted || is_there(content->path))) {
        content->has_thread = pthread_create(&content->thread, NULL, run, content) == 0;
        if (!content->has_thread)
            log_line(LOG_ERROR, "content", "there is no thread to keep what is said in calls");
    }
    pthread_cond_signal(&content->wake);
    pthread_mutex_unlock(&content->lock);
}

/* ---------------------------------------------------------------------------------- the queue */

static struct text take_copy(char **at, struct text text)
{
    struct text copy = {*at, text.len};
    if (text.len)
        memcpy(*at, text.at, text.len);
    *at += text.len;
    return copy;
}

static struct waiting *copy_of(const struct content_entry *entry)
{
    const struct text *texts[ENTRY_TEXTS] = {&entry->id,    &entry->tenant, &entry->user,
                                             &entry->input, &entry->system, &entry->tools,
                                             &entry->output};
    size_t bytes = 0;
    for (size_t i = 0; i < ENTRY_TEXTS; i++)
        bytes += texts[i]->len;
    struct waiting *waiting = memory_new(sizeof(*waiting) + bytes);
    char *at = (char *)(waiting + 1);
    waiting->bytes = bytes;
    waiting->entry = (struct content_entry){.id = take_copy(&at, entry->id),
                                            .tenant = take_copy(&at, entry->tenant),
                                            .user = take_copy(&at, entry->user),
                                            .started_us = entry->started_us,
                                            .input = take_copy(&at, entry->input),
                                            .system = take_copy(&at, entry->system),
                                            .tools = take_copy(&at, entry->tools),
                                            .output = take_copy(&at, entry->output),
                                            .cut = entry->cut};
    return waiting;
}

void content_put(struct content *content, const struct content_entry *entry)
{
    struct waiting *waiting = copy_of(entry);
    size_t bytes = sizeof(*waiting) + waiting->bytes;
    pthread_mutex_lock(&content->lock);
    bool fits = content->has_thread && !content->closing &&
                content->waiting_bytes + bytes <= CONTENT_QUEUE_BYTES;
    if (fits) {
        if (!content->first)
            pthread_cond_signal(&content->wake);
        *content->last = waiting;
        content->last = &waiting->next;
        content->waiting_bytes += bytes;
        content->put++;
    }
    pthread_mutex_unlock(&content->lock);
    if (!fits) {
        memory_free(waiting);
        atomic_fetch_add_explicit(&content->dropped, 1, memory_order_relaxed);
    }
}

bool content_catch_up(struct content *content, int64_t wait_us)
{
    int64_t until = (int64_t)clock_now_us() + wait_us;
    pthread_mutex_lock(&content->lock);
    uint64_t wanted = content->put;
    while (content->done < wanted && wait_until(&content->written, &content->lock, until))
        ;
    bool good = content->done >= wanted;
    pthread_mutex_unlock(&content->lock);
    return good;
}

struct content_figures content_figures(const struct content *content)
{
    return (struct content_figures){
        .kept = atomic_load_explicit(&content->kept, memory_order_relaxed),
        .dropped = atomic_load_explicit(&content->dropped, memory_order_relaxed)};
}

/* ----------------------------------------------------------------------------------- reading */

static bool say_problem(const struct content *content, struct database *database,
                        struct fault *fault)
{
    return fault_set(fault, FAULT_INTERNAL, "%s: %s", content->path, database_problem(database));
}

enum content_result content_find(const struct content *content, const struct content_name *name,
                                 void (*see)(void *with, const struct content_entry *entry),
                                 void *with, struct fault *fault)
{
    if (!is_there(content->path))
        return CONTENT_NONE;
    struct database *database = database_open(content->path, DATABASE_READ, fault);
    if (!database)
        return CONTENT_FAILED;
    bool is_made = database_version(database) != 0; /* or it is just being made */
    struct statement *row =
        !is_made
            ? NULL
            : database_prepare(database, "SELECT user, cut, input, system, tools, output FROM "
                                         "content WHERE id = ? AND started_us = ? AND tenant = ?");
    enum content_result result = CONTENT_NONE;
    if (row) {
        statement_set_text(row, 1, name->id);
        statement_set(row, 2, name->started_us);
        statement_set_text(row, 3, name->tenant);
        enum statement_result next = statement_next(row);
        result = next == STATEMENT_ROW   ? CONTENT_FOUND
                 : next == STATEMENT_END ? CONTENT_NONE
                                         : CONTENT_FAILED;
    } else if (is_made) {
        result = CONTENT_FAILED;
    }
    if (result == CONTENT_FAILED)
        say_problem(content, database, fault);
    if (result == CONTENT_FOUND) {
        struct content_entry entry = {.id = name->id,
                                      .tenant = name->tenant,
                                      .started_us = name->started_us,
                                      .user = statement_text(row, 0),
                                      .cut = statement_number(row, 1) != 0,
                                      .input = statement_text(row, 2),
                                      .system = statement_text(row, 3),
                                      .tools = statement_text(row, 4),
                                      .output = statement_text(row, 5)};
        see(with, &entry);
    }
    database_close(database);
    return result;
}

/* ---------------------------------------------------------------------------------- deleting */

/* The names of tenants that are wanted, one after the other with a NUL behind each; -1: it cannot
 * be read. */
static int64_t list_tenants(struct database *database, const struct content_wish *wish,
                            struct buffer *names)
{
    /* From one to the next in the index: there are few, and many rows of each. */
    struct statement *row = database_prepare(
        database, "WITH RECURSIVE one(name) AS (SELECT min(tenant) FROM content UNION ALL SELECT "
                  "(SELECT min(tenant) FROM content WHERE tenant > name) FROM one WHERE name IS "
                  "NOT NULL) SELECT name FROM one WHERE name IS NOT NULL");
    enum statement_result next = STATEMENT_FAILED;
    int64_t count = 0;
    while (row && (next = statement_next(row)) == STATEMENT_ROW) {
        struct text name = statement_text(row, 0);
        if (wish->is_of && !wish->is_of(wish->with, name))
            continue;
        if (!buffer_append_text(names, name) || !buffer_append(names, "", 1))
            break;
        count++;
    }
    statement_close(row);
    return next == STATEMENT_END ? count : -1;
}

/* Until <until>, of clock_now_us(); a piece at least. */
static bool delete_of(struct database *database, const struct content_wish *wish,
                      struct text tenant, int64_t until, struct content_deleted *deleted)
{
    struct statement *delete = database_prepare(
        database, wish->user.len > 0
                      ? "DELETE FROM content WHERE number IN (SELECT number FROM content WHERE "
                        "tenant = ?1 AND user = ?2 AND started_us < ?3 LIMIT ?4)"
                      : "DELETE FROM content WHERE number IN (SELECT number FROM content WHERE "
                        "tenant = ?1 AND ?2 = '' AND started_us < ?3 LIMIT ?4)");
    int64_t gone = delete ? 1 : -1;
    while (gone > 0 && !deleted->more) {
        statement_set_text(delete, 1, tenant);
        statement_set_text(delete, 2, wish->user);
        statement_set(delete, 3, wish->before_us);
        statement_set(delete, 4, AT_ONCE);
        gone = statement_run(delete) ? ask_number(database, "SELECT changes()") : -1;
        deleted->calls += gone > 0 ? gone : 0;
        deleted->more = gone > 0 && (int64_t)clock_now_us() >= until;
    }
    statement_close(delete);
    return gone >= 0;
}

/* The thread gives the room back. */
static void wish_to_tidy(struct content *content)
{
    pthread_mutex_lock(&content->lock);
    content->tidies = true;
    pthread_cond_signal(&content->wake);
    pthread_mutex_unlock(&content->lock);
}

bool content_delete(struct content *content, const struct content_wish *wish,
                    struct content_deleted *deleted, struct fault *fault)
{
    enum { NAMES_BYTES = 16 << 20 };
    struct database *database;
    struct buffer names;
    *deleted = (struct content_deleted){0};
    if (!is_there(content->path))
        return true;
    int64_t until = (int64_t)clock_now_us() + wish->within_us;
    if (!open_to_write(content->path, &database, fault))
        return false;
    buffer_init(&names, NAMES_BYTES);
    bool good = list_tenants(database, wish, &names) >= 0;
    struct text rest = buffer_text(&names);
    while (good && rest.len > 0 && !deleted->more) {
        struct text tenant = text_head(rest, text_find_byte(rest, '\0'));
        good = delete_of(database, wish, tenant, until, deleted);
        rest = text_from(rest, tenant.len + 1);
    }
    int64_t busy = good ? empty_log(database) : 0;
    if (busy > 0)
        good = fault_set(fault, FAULT_INTERNAL,
                         "%s: it is in use, and its log still has what was deleted; try again",
                         content->path);
    else if (!good || busy < 0)
        good = say_problem(content, database, fault);
    buffer_done(&names);
    database_close(database);
    if (deleted->calls > 0 && !deleted->more)
        wish_to_tidy(content);
    return good;
}
