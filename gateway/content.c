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

enum {
    ENTRY_TEXTS = 7,
    TIDY_S = 60,
    AT_ONCE = 256, /* are deleted in one transaction: others want to write, too */
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
    int64_t bytes; /* of all texts in the file; more, where others have deleted some */
    bool failing;
};

/* ---------------------------------------------------------------------------------- the file */

static bool open_to_write(const char *path, struct database **database, struct fault *fault)
{
    *database = database_open(path, DATABASE_WRITE, fault);
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

static int64_t sum_bytes(struct database *database)
{
    return ask_number(database, "SELECT coalesce(sum(bytes), 0) FROM content");
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
    content->bytes = sum_bytes(content->database);
    if (content->insert && content->bytes >= 0)
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

/* The oldest that are too old, and of the rest those that are too much. */
static void tidy(struct content *content, const struct content_keeping *keeping)
{
    int64_t gone = 1, all = 0, until = clock_wall_us() - keeping->keep_us;
    if ((!content->database && !is_there(content->path)) || !open_file(content))
        return;
    while (gone > 0) {
        bool good = database_run_format(
            content->database,
            "DELETE FROM content WHERE number IN (SELECT number FROM content "
            "WHERE started_us <= %lld ORDER BY started_us LIMIT %d)",
            (long long)(content->bytes > keeping->max_bytes ? INT64_MAX : until), AT_ONCE);
        gone = good ? ask_number(content->database, "SELECT changes()") : -1;
        content->bytes = gone >= 0 ? sum_bytes(content->database) : -1;
        if (content->bytes < 0) {
            content->bytes = 0;
            give_up(content);
            return;
        }
        all += gone;
    }
    if (all > 0)
        empty_log(content->database); /* or the next time */
    database_rest(content->database);
}

static void free_all(struct waiting *first)
{
    while (first) {
        struct waiting *next = first->next;
        memory_free(first);
        first = next;
    }
}

/* Wait until there is something to do, under the lock; true: it is time to tidy up. */
static bool await(struct content *content, struct timespec *tidy_at)
{
    while (!content->first && !content->closing && !content->tidies)
        if (pthread_cond_timedwait(&content->wake, &content->lock, tidy_at) == ETIMEDOUT)
            break;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!content->tidies && now.tv_sec < tidy_at->tv_sec)
        return false;
    content->tidies = false;
    tidy_at->tv_sec = now.tv_sec + TIDY_S;
    return true;
}

static void *run(void *with)
{
    struct content *content = with;
    struct timespec tidy_at = {0}; /* at the start */
    pthread_setname_np(pthread_self(), "content");
    pthread_mutex_lock(&content->lock);
    while (!content->closing || content->first || content->tidies) {
        bool tidies = await(content, &tidy_at);
        struct waiting *first = content->first;
        struct content_keeping keeping = content->keeping;
        uint64_t put = content->put;
        content->first = NULL;
        content->last = &content->first;
        content->waiting_bytes = 0;
        pthread_mutex_unlock(&content->lock);
        if (first)
            write_all(content, first);
        if (tidies || (content->database && content->bytes > keeping.max_bytes))
            tidy(content, &keeping);
        free_all(first);
        pthread_mutex_lock(&content->lock);
        content->done = put;
        pthread_cond_broadcast(&content->written);
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
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_us / 1000000;
    until.tv_nsec += wait_us % 1000000 * 1000;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&content->lock);
    uint64_t wanted = content->put;
    int result = 0;
    while (content->done < wanted && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&content->written, &content->lock, &until);
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
    struct statement *row = database_prepare(database, "SELECT DISTINCT tenant FROM content");
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

static bool delete_of(struct database *database, const struct content_wish *wish,
                      struct text tenant, int64_t *deleted)
{
    struct statement *delete = database_prepare(
        database, "DELETE FROM content WHERE number IN (SELECT number FROM content WHERE "
                  "tenant = ?1 AND (?2 = '' OR user = ?2) AND started_us < ?3 LIMIT ?4)");
    int64_t gone = delete ? 1 : -1;
    while (gone > 0) {
        statement_set_text(delete, 1, tenant);
        statement_set_text(delete, 2, wish->user);
        statement_set(delete, 3, wish->before_us);
        statement_set(delete, 4, AT_ONCE);
        gone = statement_run(delete) ? ask_number(database, "SELECT changes()") : -1;
        *deleted += gone > 0 ? gone : 0;
    }
    statement_close(delete);
    return gone == 0;
}

bool content_delete(const struct content *content, const struct content_wish *wish,
                    int64_t *deleted, struct fault *fault)
{
    enum { NAMES_BYTES = 16 << 20 };
    struct database *database;
    struct buffer names;
    *deleted = 0;
    if (!is_there(content->path))
        return true;
    if (!open_to_write(content->path, &database, fault))
        return false;
    buffer_init(&names, NAMES_BYTES);
    bool good = list_tenants(database, wish, &names) >= 0;
    struct text rest = buffer_text(&names);
    while (good && rest.len > 0) {
        struct text tenant = text_head(rest, text_find_byte(rest, '\0'));
        good = delete_of(database, wish, tenant, deleted);
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
    return good;
}
