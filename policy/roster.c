/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "gateway/base/log.h"
#include "policy/roster_inside.h"

enum { NAMES_BYTES = 16 * 1024 };

/* ----------------------------------------------------------------------------- in memory */

static struct text key_of(enum record_of kind, struct text id, char room[ROSTER_ID_BYTES])
{
    int len = snprintf(room, ROSTER_ID_BYTES, "%c/%.*s", kind == RECORD_TENANT ? 't' : 'k',
                       TEXT_ARGS(text_head(id, ROSTER_ID_BYTES - 4)));
    return (struct text){room, (size_t)len};
}

static size_t place_of(const struct roster *roster, enum record_of kind, struct text id)
{
    char room[ROSTER_ID_BYTES];
    return (size_t)(uintptr_t)table_find(&roster->ids, key_of(kind, id, room));
}

struct roster_record *roster_find(const struct roster *roster, enum record_of kind, struct text id)
{
    size_t place = place_of(roster, kind, id);
    return place ? roster->records[place - 1] : NULL;
}

void roster_apply(struct roster *roster, struct roster_record *record)
{
    size_t place = place_of(roster, record->kind, record->id);
    if (place) {
        roster_record_unref(roster->records[place - 1]);
        roster->records[place - 1] = record;
        return;
    }
    if (roster->count == roster->capacity) {
        roster->capacity = roster->capacity ? roster->capacity * 2 : 64;
        roster->records =
            memory_resize(roster->records, roster->capacity * sizeof(*roster->records));
    }
    char room[ROSTER_ID_BYTES];
    struct text name = arena_copy(&roster->names, key_of(record->kind, record->id, room));
    roster->records[roster->count++] = record;
    table_set(&roster->ids, name, (void *)(uintptr_t)roster->count);
    *(record->kind == RECORD_TENANT ? &roster->tenants : &roster->keys) += 1;
}

/* The last one takes its place. */
void roster_remove(struct roster *roster, enum record_of kind, struct text id)
{
    char room[ROSTER_ID_BYTES];
    size_t place = place_of(roster, kind, id);
    if (!place)
        return;
    struct roster_record *gone = roster->records[place - 1];
    struct roster_record *last = roster->records[roster->count - 1];
    table_remove(&roster->ids, key_of(kind, id, room));
    if (last != gone) {
        struct text moved = arena_copy(&roster->names, key_of(last->kind, last->id, room));
        roster->records[place - 1] = last;
        table_set(&roster->ids, moved, (void *)(uintptr_t)place);
    }
    roster->count--;
    *(kind == RECORD_TENANT ? &roster->tenants : &roster->keys) -= 1;
    roster_record_unref(gone);
}

void roster_renew(struct roster *roster)
{
    struct directory *view = directory_new(&roster->file, roster->records, roster->count);
    struct directory *before = roster->view;
    roster->view = view;
    roster->version++;
    if (before)
        directory_unref(before);
    roster->options.on_change(roster->options.with, directory_ref(view));
}

/* ------------------------------------------------------------------------------- SQLite */

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS roster (kind INTEGER NOT NULL, id TEXT NOT NULL, "
    "version INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID";

static void load_row(struct roster *roster, struct statement *row)
{
    char problem[256];
    enum record_of kind = (enum record_of)statement_number(row, 0);
    struct roster_record *record =
        roster_read(kind, statement_text(row, 3), &roster->file, problem);
    if (!record) {
        log_line(LOG_ERROR, "keys", "%.*s in the store cannot be used: %s",
                 TEXT_ARGS(statement_text(row, 1)), problem);
        return;
    }
    record->version = (uint64_t)statement_number(row, 2);
    roster_apply(roster, record);
}

static bool load(struct roster *roster)
{
    struct statement *rows =
        database_prepare(roster->database, "SELECT kind, id, version, body FROM roster");
    enum statement_result result = STATEMENT_FAILED;
    while (rows && (result = statement_next(rows)) == STATEMENT_ROW)
        load_row(roster, rows);
    if (rows)
        statement_close(rows);
    return result == STATEMENT_END;
}

static bool open_database(struct roster *roster, struct fault *fault)
{
    if (!roster->options.database)
        return true;
    roster->database = database_open(roster->options.database, DATABASE_SAFE, fault);
    if (!roster->database)
        return false;
    bool good = database_run(roster->database, schema) && load(roster);
    if (good) {
        roster->put =
            database_prepare(roster->database, "REPLACE INTO roster (kind, id, version, body) "
                                               "VALUES (?, ?, ?, ?)");
        roster->drop =
            database_prepare(roster->database, "DELETE FROM roster WHERE kind = ? AND id = ?");
    }
    return (good && roster->put && roster->drop) ||
           fault_set(fault, FAULT_INTERNAL, "%s: %s", roster->options.database,
                     database_problem(roster->database));
}

static enum roster_written write_row(struct roster *roster, enum record_of kind, struct text id,
                                     const struct roster_record *record, uint64_t known)
{
    struct statement *statement = record ? roster->put : roster->drop;
    statement_set(statement, 1, kind);
    statement_set_text(statement, 2, id);
    if (record) {
        statement_set(statement, 3, (int64_t)known + 1);
        statement_set_text(statement, 4, record->body);
    }
    if (statement_run(statement))
        return ROSTER_WRITTEN;
    log_line(LOG_ERROR, "keys", "the store: %s", database_problem(roster->database));
    return ROSTER_AWAY;
}

void roster_keep_here(struct roster *roster, enum record_of kind, struct text id,
                      const struct roster_record *record)
{
    if (roster->remote && roster->database)
        write_row(roster, kind, id, record, record ? record->version - 1 : 0);
}

enum roster_written roster_write(struct roster *roster, enum record_of kind, struct text id,
                                 const struct roster_record *record, uint64_t known)
{
    if (roster->remote) {
        enum roster_written written = roster_remote_write(roster->remote, kind, id, record, known);
        if (written == ROSTER_WRITTEN && roster->database)
            write_row(roster, kind, id, record, known);
        return written;
    }
    if (roster->database)
        return write_row(roster, kind, id, record, known);
    return ROSTER_AWAY;
}

/* ------------------------------------------------------------------------- begin and end */

static void keep_file(struct roster *roster, const struct roster_file *file)
{
    struct roster_file before = roster->file;
    roster->file = *file;
    if (file->owner)
        file->owner_ref(file->owner);
    if (before.owner)
        before.owner_unref(before.owner);
}

struct roster *roster_open(const struct roster_options *options, const struct roster_file *file,
                           struct fault *fault)
{
    struct roster *roster = memory_new(sizeof(*roster));
    roster->options = *options;
    pthread_mutex_init(&roster->lock, NULL);
    table_init(&roster->ids);
    arena_init(&roster->names, NAMES_BYTES);
    keep_file(roster, file);
    bool good = open_database(roster, fault);
    if (good) {
        roster->view = directory_new(&roster->file, roster->records, roster->count);
        if (options->redis)
            good = (roster->remote = roster_remote_new(roster, fault)) != NULL;
    }
    if (good)
        return roster;
    roster_close(roster);
    return NULL;
}

void roster_close(struct roster *roster)
{
    if (roster->remote)
        roster_remote_free(roster->remote);
    database_close(roster->database);
    for (size_t i = 0; i < roster->count; i++)
        roster_record_unref(roster->records[i]);
    memory_free(roster->records);
    table_done(&roster->ids);
    arena_done(&roster->names);
    if (roster->view)
        directory_unref(roster->view);
    if (roster->file.owner)
        roster->file.owner_unref(roster->file.owner);
    pthread_mutex_destroy(&roster->lock);
    memory_free(roster);
}

/* The defaults of limits are the file's: what has none of its own is read anew. */
static void read_again(struct roster *roster)
{
    char problem[256];
    for (size_t i = 0; i < roster->count; i++) {
        struct roster_record *before = roster->records[i];
        struct roster_record *record =
            roster_read(before->kind, before->body, &roster->file, problem);
        if (!record)
            continue;
        record->version = before->version;
        roster->records[i] = record;
        roster_record_unref(before);
    }
}

struct directory *roster_set_file(struct roster *roster, const struct roster_file *file)
{
    pthread_mutex_lock(&roster->lock);
    keep_file(roster, file);
    read_again(roster);
    struct directory *view = directory_new(&roster->file, roster->records, roster->count);
    directory_unref(roster->view);
    roster->view = view;
    roster->version++;
    directory_ref(view);
    pthread_mutex_unlock(&roster->lock);
    return view;
}

struct directory *roster_view(struct roster *roster)
{
    pthread_mutex_lock(&roster->lock);
    struct directory *view = directory_ref(roster->view);
    pthread_mutex_unlock(&roster->lock);
    return view;
}

struct roster_figures roster_figures(struct roster *roster)
{
    pthread_mutex_lock(&roster->lock);
    struct roster_figures figures = {
        .tenants = roster->file.tenant_count + roster->tenants,
        .keys = roster->file.key_count + roster->keys,
        .version = roster->version,
        .up = !roster->remote || roster_remote_is_up(roster->remote),
    };
    pthread_mutex_unlock(&roster->lock);
    return figures;
}
