/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "gateway/base/database.h"
#include "gateway/base/log.h"
#include "policy/book.h"
#include "policy/roster_inside.h"

/*
 * Two tables beside those of the ledger, in a connection of our own:
 *
 *   roster        kind (0 tenant, 1 key), id, version, body; an empty body is one taken away, so
 * that another process learns of it. They go at the next start. roster_state  one row: the mark
 *   roster_copied one row while all of that is what Redis had; none of a file that was never with
 * it
 *
 * With Redis it is a copy for a start without it: a thread writes down what has been learnt, so
 * that no disk is waited for where changes arrive.
 */
static const char schema[] = ROSTER_TABLES "DELETE FROM roster WHERE body = ''";

enum { PUT, STATE, SET_STATE, NEWER, CLEAR, SET_COPIED, STATEMENTS };

static const char *const texts[STATEMENTS] = {
    [PUT] = "REPLACE INTO roster (kind, id, version, body) VALUES (?, ?, ?, ?)",
    [STATE] = "SELECT number, tag, life FROM roster_state",
    [SET_STATE] = "REPLACE INTO roster_state (one, number, tag, life) VALUES (1, ?, ?, ?)",
    [NEWER] = "SELECT kind, id, version, body FROM roster WHERE version > ?",
    [CLEAR] = "DELETE FROM roster",
    [SET_COPIED] = "INSERT OR IGNORE INTO roster_copied VALUES (1)",
};

/* More at once are not written one by one. */
enum { WAITING_MAX = 1000 };
enum {
    LOCK_MS = 1500,        /* less than ROSTER_ASK_US */
    START_LOCK_MS = 30000, /* the ledger is drained by a thread of the lowest priority */
};

struct waiting {
    struct roster_change changes[WAITING_MAX];
    size_t count;
    struct arena arena;
    struct roster_mark mark;
    struct directory *all; /* everything, before <changes>; or NULL */
};

struct roster_local {
    struct roster *roster;
    pthread_mutex_t lock; /* the connection */
    struct database *database;
    struct statement *statements[STATEMENTS];
    bool failing; /* said already */

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t door; /* what follows */
    pthread_cond_t bell;
    bool closing, full; /* full: there was more than could wait */
    struct waiting *waiting;
};

/* -------------------------------------------------------------------------------- the file */

static void note(struct roster_local *local, bool good)
{
    if (good == !local->failing)
        return;
    local->failing = !good;
    if (good)
        log_line(LOG_INFO, "keys", "the store can be written again");
    else
        log_line(LOG_ERROR, "keys", "the store: %s", database_problem(local->database));
}

static void copy_word(char out[ROSTER_WORD_BYTES], struct text from)
{
    snprintf(out, ROSTER_WORD_BYTES, "%.*s", TEXT_ARGS(from));
}

/* False when it failed. Without a row all is zero. */
static bool read_state(struct roster_local *local, struct roster_mark *mark)
{
    struct statement *state = local->statements[STATE];
    *mark = (struct roster_mark){0};
    enum statement_result result = statement_next(state);
    if (result == STATEMENT_ROW) {
        mark->number = (uint64_t)statement_number(state, 0);
        copy_word(mark->tag, statement_text(state, 1));
        copy_word(mark->life, statement_text(state, 2));
        statement_reset(state);
    }
    return result != STATEMENT_FAILED;
}

static bool write_state(struct roster_local *local, const struct roster_mark *mark)
{
    struct statement *set = local->statements[SET_STATE];
    statement_set(set, 1, (int64_t)mark->number);
    statement_set_text(set, 2, text_of(mark->tag));
    statement_set_text(set, 3, text_of(mark->life));
    return statement_run(set);
}

static bool write_row(struct roster_local *local, const struct roster_change *change)
{
    struct statement *put = local->statements[PUT];
    statement_set(put, 1, change->kind);
    statement_set_text(put, 2, change->id);
    statement_set(put, 3, (int64_t)change->version);
    statement_set_text(put, 4, change->body.at ? change->body : TEXT(""));
    return statement_run(put);
}

static bool is_same_mark(const struct roster_mark *a, const struct roster_mark *b)
{
    return a->number == b->number && strcmp(a->tag, b->tag) == 0 && strcmp(a->life, b->life) == 0;
}

static struct roster_change change_of(struct statement *row)
{
    struct text body = statement_text(row, 3);
    if (body.len == 0)
        body.at = NULL;
    return (struct roster_change){statement_number(row, 0) ? RECORD_KEY : RECORD_TENANT,
                                  statement_text(row, 1), (uint64_t)statement_number(row, 2), body};
}

/* Everything, into a view that nobody has seen yet. */
static bool load_all(struct roster_local *local, struct directory *view)
{
    struct statement *rows = local->statements[NEWER];
    enum statement_result result;
    statement_set(rows, 1, -1);
    while ((result = statement_next(rows)) == STATEMENT_ROW) {
        struct roster_change change = change_of(rows);
        if (change.body.at)
            roster_load(view, &change);
    }
    return result == STATEMENT_END;
}

/* Is what the file has a copy of what Redis had? Not after a start without it. */
static bool begin_copied(struct roster_local *local, bool *unknown)
{
    if (!local->roster->options.redis)
        return database_run(local->database, "DELETE FROM roster_copied");
    struct statement *copied = database_prepare(local->database, "SELECT one FROM roster_copied");
    enum statement_result result = copied ? statement_next(copied) : STATEMENT_FAILED;
    *unknown = result != STATEMENT_ROW;
    if (copied)
        statement_close(copied);
    return result != STATEMENT_FAILED;
}

/* A file of before there were marks, or a new one. */
static bool begin_state(struct roster_local *local, struct roster_mark *mark)
{
    if (!read_state(local, mark))
        return false;
    if (mark->life[0])
        return true;
    struct statement *most =
        database_prepare(local->database, "SELECT coalesce(max(version), 0) FROM roster");
    if (!most || statement_next(most) != STATEMENT_ROW)
        return false;
    mark->number = (uint64_t)statement_number(most, 0);
    statement_close(most);
    if (!local->roster->options.redis)
        roster_make_word(mark->life);
    return !mark->life[0] || write_state(local, mark);
}

static bool set_up(struct roster_local *local)
{
    database_set_wait(local->database, START_LOCK_MS);
    /* One transaction, and one wait for the disk. */
    if (!database_begin(local->database) || !database_run(local->database, schema))
        return false;
    for (int i = 0; i < STATEMENTS; i++)
        if (!(local->statements[i] = database_prepare(local->database, texts[i])))
            return false;
    struct directory *view = local->roster->view;
    if (!begin_copied(local, &view->unknown) || !begin_state(local, &view->mark) ||
        !database_commit(local->database))
        return false;
    database_set_wait(local->database, LOCK_MS);
    return load_all(local, local->roster->view);
}

/* --------------------------------------------------------------------------------- embedded */

static enum roster_written write_change(struct roster_local *local,
                                        const struct directory *based_on,
                                        struct roster_change *change, struct roster_mark *mark)
{
    if (!database_begin(local->database))
        return ROSTER_AWAY;
    enum roster_written result = ROSTER_AWAY;
    if (read_state(local, mark)) {
        result = is_same_mark(mark, &based_on->mark) ? ROSTER_WRITTEN : ROSTER_STALE;
        change->version = ++mark->number;
        roster_make_word(mark->tag);
    }
    if (result == ROSTER_WRITTEN && !(write_row(local, change) && write_state(local, mark)))
        result = ROSTER_AWAY;
    if (result == ROSTER_WRITTEN)
        return database_commit(local->database) ? ROSTER_WRITTEN : ROSTER_AWAY;
    if (result == ROSTER_AWAY)
        note(local, false);
    database_rollback(local->database);
    return result;
}

enum roster_written roster_local_write(struct roster_local *local, const struct directory *based_on,
                                       const struct roster_change *change)
{
    struct roster_change written = *change;
    struct roster_mark mark;
    size_t kept;
    pthread_mutex_lock(&local->lock);
    enum roster_written result = write_change(local, based_on, &written, &mark);
    if (result != ROSTER_STALE)
        note(local, result == ROSTER_WRITTEN);
    if (result == ROSTER_WRITTEN)
        roster_apply(local->roster, &written, 1, &mark, &kept);
    pthread_mutex_unlock(&local->lock);
    return result;
}

static bool load_anew(struct roster_local *local, const struct directory *before,
                      const struct roster_mark *mark)
{
    struct directory *view = directory_blank(before);
    view->mark = *mark;
    bool good = load_all(local, view);
    if (good)
        roster_replace(local->roster, view);
    else
        directory_unref(view);
    return good;
}

static bool load_newer(struct roster_local *local, const struct directory *before,
                       const struct roster_mark *mark)
{
    struct statement *rows = local->statements[NEWER];
    struct roster_change *changes = NULL;
    struct arena arena;
    size_t count = 0, kept;
    enum statement_result result;
    arena_init(&arena, 4096);
    statement_set(rows, 1, (int64_t)before->mark.number);
    while ((result = statement_next(rows)) == STATEMENT_ROW) {
        changes = memory_resize(changes, (count + 1) * sizeof(*changes));
        changes[count] = change_of(rows);
        changes[count].id = arena_copy(&arena, changes[count].id);
        if (changes[count].body.at)
            changes[count].body = arena_copy(&arena, changes[count].body);
        count++;
    }
    if (result == STATEMENT_END)
        roster_apply(local->roster, changes, count, mark, &kept);
    memory_free(changes);
    arena_done(&arena);
    return result == STATEMENT_END;
}

bool roster_local_look(struct roster_local *local)
{
    struct roster_mark mark;
    pthread_mutex_lock(&local->lock);
    struct directory *before = roster_view(local->roster);
    bool good = database_begin_read(local->database);
    if (good) {
        good = read_state(local, &mark);
        bool same = good && is_same_mark(&mark, &before->mark);
        bool follows =
            good && strcmp(mark.life, before->mark.life) == 0 && mark.number > before->mark.number;
        if (good && !same)
            good = (follows ? load_newer : load_anew)(local, before, &mark);
        database_rollback(local->database);
    }
    directory_unref(before);
    pthread_mutex_unlock(&local->lock);
    return good;
}

/* ------------------------------------------------------------------------- kept from Redis */

static bool keep_view(struct roster_local *local, const struct directory *view)
{
    bool good = statement_run(local->statements[CLEAR]);
    for (int kind = RECORD_TENANT; kind <= RECORD_KEY; kind++) {
        const struct roster_record *record = NULL;
        while (good && (record = directory_next(view, (enum record_of)kind,
                                                record ? record->id : TEXT("")))) {
            struct roster_change change = {record->kind, record->id, record->version, record->body};
            good = write_row(local, &change);
        }
    }
    return good;
}

static void keep_waiting(struct roster_local *local, struct waiting *waiting)
{
    pthread_mutex_lock(&local->lock);
    bool good = database_begin(local->database);
    if (good && waiting->all)
        good = keep_view(local, waiting->all);
    for (size_t i = 0; good && i < waiting->count; i++)
        good = write_row(local, &waiting->changes[i]);
    good =
        good && write_state(local, &waiting->mark) && statement_run(local->statements[SET_COPIED]);
    if (!good || !database_commit(local->database)) {
        note(local, false);
        database_rollback(local->database);
        /* Less than all is of no use now: all, with the next that comes. */
        pthread_mutex_lock(&local->door);
        local->full = true;
        pthread_mutex_unlock(&local->door);
    } else {
        note(local, true);
    }
    pthread_mutex_unlock(&local->lock);
}

static void waiting_free(struct waiting *waiting)
{
    if (!waiting)
        return;
    if (waiting->all)
        directory_unref(waiting->all);
    arena_done(&waiting->arena);
    memory_free(waiting);
}

/* The one that is being filled; under the door's lock. */
static struct waiting *waiting_of(struct roster_local *local)
{
    if (!local->waiting) {
        local->waiting = memory_new(sizeof(*local->waiting));
        arena_init(&local->waiting->arena, 4096);
    }
    return local->waiting;
}

void roster_local_keep(struct roster_local *local, const struct roster_change *changes,
                       size_t count, const struct roster_mark *mark)
{
    pthread_mutex_lock(&local->door);
    struct waiting *waiting = waiting_of(local);
    bool full = local->full || waiting->count + count > WAITING_MAX;
    for (size_t i = 0; !full && i < count; i++) {
        struct roster_change *change = &waiting->changes[waiting->count++];
        *change = changes[i];
        change->id = arena_copy(&waiting->arena, change->id);
        if (change->body.at)
            change->body = arena_copy(&waiting->arena, change->body);
    }
    waiting->mark = *mark;
    pthread_cond_signal(&local->bell);
    pthread_mutex_unlock(&local->door);
    if (!full)
        return;
    struct directory *view = roster_view(local->roster);
    roster_local_keep_all(local, view);
    directory_unref(view);
}

void roster_local_keep_all(struct roster_local *local, const struct directory *view)
{
    pthread_mutex_lock(&local->door);
    waiting_free(local->waiting);
    local->waiting = NULL;
    struct waiting *waiting = waiting_of(local);
    waiting->all = directory_ref((struct directory *)(uintptr_t)view);
    waiting->mark = view->mark;
    local->full = false;
    pthread_cond_signal(&local->bell);
    pthread_mutex_unlock(&local->door);
}

/* ------------------------------------------------------------------------------ the thread */

/* Wait for something to write, or, embedded, for the next look. False: the end. */
static bool wait_for_work(struct roster_local *local, struct waiting **waiting)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ROSTER_POLL_US / 1000000;
    pthread_mutex_lock(&local->door);
    while (!local->closing && !local->waiting &&
           pthread_cond_timedwait(&local->bell, &local->door, &until) == 0)
        continue;
    *waiting = local->waiting;
    local->waiting = NULL;
    bool more = !local->closing || *waiting;
    pthread_mutex_unlock(&local->door);
    return more;
}

static void *work(void *with)
{
    struct roster_local *local = with;
    struct waiting *waiting;
    while (wait_for_work(local, &waiting)) {
        if (waiting)
            keep_waiting(local, waiting);
        else if (!local->roster->options.redis)
            roster_local_look(local);
        waiting_free(waiting);
    }
    return NULL;
}

void roster_local_start(struct roster_local *local)
{
    local->has_thread = pthread_create(&local->thread, NULL, work, local) == 0;
    if (!local->has_thread)
        log_line(LOG_ERROR, "keys", "no thread could be started to look at the store");
}

struct roster_local *roster_local_open(struct roster *roster, struct fault *fault)
{
    struct roster_local *local = memory_new(sizeof(*local));
    pthread_condattr_t attributes;
    local->roster = roster;
    pthread_mutex_init(&local->lock, NULL);
    pthread_mutex_init(&local->door, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&local->bell, &attributes);
    pthread_condattr_destroy(&attributes);
    local->database = database_open(roster->options.database,
                                    roster->options.redis ? DATABASE_WRITE : DATABASE_SAFE, fault);
    if (local->database && set_up(local))
        return local;
    if (local->database)
        fault_set(fault, FAULT_INTERNAL, "%s: %s", roster->options.database,
                  database_problem(local->database));
    roster_local_close(local);
    return NULL;
}

void roster_local_close(struct roster_local *local)
{
    pthread_mutex_lock(&local->door);
    local->closing = true;
    pthread_cond_signal(&local->bell);
    pthread_mutex_unlock(&local->door);
    if (local->has_thread)
        pthread_join(local->thread, NULL);
    waiting_free(local->waiting);
    database_close(local->database);
    pthread_mutex_destroy(&local->lock);
    pthread_mutex_destroy(&local->door);
    pthread_cond_destroy(&local->bell);
    memory_free(local);
}
