/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a usage report that comes from journals: lines that are not in the database yet. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/database.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/estate.h"
#include "policy/gather.h"

enum { HELD_VERSION = 4 }; /* of the schema: since then batches are held */

/* One journal, its files open since before the database was asked. */
struct shelf {
    struct shelf *next;
    struct journal_id id;
    bool dead; /* nobody writes to it any more: what is open is lost */
    struct segment **segments;
    size_t count;
    uint64_t drained;
    uint32_t finished;
    struct opens opens; /* of a dead one */
};

/* A process that is gone. Its files are open before the database is asked, and what that says is of
 * one moment: a drain that goes on meanwhile changes nothing for us, and need not be kept out. */
struct dead {
    char instance[INSTANCE_BYTES];
};

/* Lines about batches: which of them count is known only when all are read. */
struct parts {
    struct ledger_row *rows; /* texts borrow from the files */
    size_t count;
};

struct lines {
    struct parts held, released;
    struct shelf *shelves;
    struct dead *dead;
    size_t dead_count;
    bool denied; /* something could not be read, so the figures would be wrong */
    bool all_dead;
};

static struct shelf *shelf_of(struct lines *lines, const char *instance, unsigned worker, bool dead)
{
    for (struct shelf *shelf = lines->shelves; shelf; shelf = shelf->next)
        if (shelf->id.worker == worker && strcmp(shelf->id.instance, instance) == 0)
            return shelf;
    struct shelf *shelf = memory_new(sizeof(*shelf));
    memcpy(shelf->id.instance, instance, strnlen(instance, INSTANCE_BYTES - 1));
    shelf->id.worker = worker;
    shelf->dead = dead;
    shelf->next = lines->shelves;
    lines->shelves = shelf;
    return shelf;
}

/* errno says why. Figures for people would be wrong; limits and budgets had better be counted of
 * all the rest than begin at nothing. */
static void cannot_read(struct lines *lines, const char *instance)
{
    if (lines->all_dead)
        log_line(LOG_ERROR, "ledger", "not all of %s can be read (%m): it is not counted",
                 instance);
    else
        lines->denied = true;
}

static void open_segments(struct lines *lines, const char *instance, int directory, bool dead)
{
    struct segment_name *names;
    size_t count;
    if (!segment_list(directory, &names, &count)) {
        cannot_read(lines, instance);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct shelf *shelf = shelf_of(lines, instance, names[i].worker, dead);
        /* Gone since it was listed: then it is in the database, which is asked later. */
        struct segment *segment = segment_open(directory, &shelf->id, names[i].number);
        if (!segment) {
            if (errno != ENOENT && errno != EBADMSG)
                cannot_read(lines, instance);
            continue;
        }
        shelf->segments =
            memory_resize(shelf->segments, (shelf->count + 1) * sizeof(struct segment *));
        shelf->segments[shelf->count++] = segment;
    }
    memory_free(names);
}

static void open_instance(struct lines *lines, int root, const char *instance)
{
    int directory = openat(root, instance, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (directory < 0) {
        if (errno != ENOENT)
            cannot_read(lines, instance);
        return;
    }
    bool dead = lines->all_dead || instance_is_dead(directory);
    if (dead) {
        struct dead one = {0};
        memcpy(one.instance, instance, strnlen(instance, INSTANCE_BYTES - 1));
        lines->dead = memory_resize(lines->dead, (lines->dead_count + 1) * sizeof(*lines->dead));
        lines->dead[lines->dead_count++] = one;
    }
    open_segments(lines, instance, directory, dead);
    close(directory);
}

void lines_close(struct lines *lines)
{
    if (!lines)
        return;
    for (struct shelf *shelf = lines->shelves, *next; shelf; shelf = next) {
        next = shelf->next;
        for (size_t i = 0; i < shelf->count; i++)
            segment_close(shelf->segments[i]);
        opens_done(&shelf->opens);
        memory_free(shelf->segments);
        memory_free(shelf);
    }
    memory_free(lines->dead);
    memory_free(lines->held.rows);
    memory_free(lines->released.rows);
    memory_free(lines);
}

struct lines *lines_open(const char *path, bool all_dead)
{
    DIR *entries = opendir(path);
    if (!entries)
        return NULL;
    struct lines *lines = memory_new(sizeof(*lines));
    lines->all_dead = all_dead;
    for (struct dirent *entry; (entry = readdir(entries));)
        if (instance_is_name(entry->d_name))
            open_instance(lines, dirfd(entries), entry->d_name);
    closedir(entries);
    if (!lines->denied)
        return lines;
    lines_close(lines);
    errno = EACCES;
    return NULL;
}

/* -------------------------------------------------------------------------------------- reading */

static void part_note(struct parts *parts, const struct ledger_row *row)
{
    parts->rows = memory_resize(parts->rows, (parts->count + 1) * sizeof(*row));
    parts->rows[parts->count++] = *row;
}

static bool part_is(const struct ledger_row *a, const struct ledger_row *b)
{
    return text_equal(a->id, b->id) && text_equal(a->upstream_model, b->upstream_model);
}

/* The first <count> of them. */
static bool part_is_among(const struct ledger_row *rows, size_t count, const struct ledger_row *row)
{
    for (size_t i = 0; i < count; i++)
        if (part_is(&rows[i], row))
            return true;
    return false;
}

static void note_part(struct lines *lines, const struct shelf *shelf, const struct record *record)
{
    if (record->sequence <= shelf->drained)
        return;
    if (record->kind == RECORD_HOLD)
        part_note(&lines->held, &record->row);
    if (record->kind == RECORD_RELEASE)
        part_note(&lines->released, &record->row);
}

static void read_line(struct lines *lines, struct shelf *shelf, const struct segment *segment,
                      size_t offset, const struct record *record, struct gather *gather)
{
    if (record->kind == RECORD_OPEN && shelf->dead)
        opens_put(&shelf->opens, &(struct open_call){.sequence = record->sequence,
                                                     .segment = segment,
                                                     .offset = (uint32_t)offset});
    note_part(lines, shelf, record);
    if (record->kind != RECORD_SETTLE)
        return;
    opens_remove(&shelf->opens, record->opened);
    if (record->sequence > shelf->drained)
        gather_add_call(gather, &record->row);
}

static void read_segment(struct lines *lines, struct shelf *shelf, const struct segment *segment,
                         struct gather *gather)
{
    struct record record;
    size_t offset = SEGMENT_HEAD_BYTES;
    while (record_read(segment->map + offset, segment->bytes - offset, &record) == RECORD_HERE) {
        read_line(lines, shelf, segment, offset, &record, gather);
        offset += record.bytes;
    }
    segment_leave(segment);
}

/* A call that a dead process left open: what the drain will book for it. */
static void add_lost(struct gather *gather, const struct record *opened)
{
    struct ledger_row row = opened->row;
    row.outcome = LEDGER_LOST;
    row.counted = COUNTED_ESTIMATE;
    gather_add_call(gather, &row);
}

static void read_opens(const struct shelf *shelf, struct gather *gather)
{
    size_t at = 0;
    struct record record;
    for (struct open_call *call; (call = opens_next(&shelf->opens, &at));)
        if (call->segment &&
            record_read(call->segment->map + call->offset, call->segment->bytes - call->offset,
                        &record) == RECORD_HERE)
            add_lost(gather, &record);
}

static bool ask_mark(struct shelf *shelf, struct database *database)
{
    /* The first version of the schema carries no calls over and knows no finished segments. */
    bool first_version = database_version(database) < 2;
    struct statement *ask = database_prepare(
        database, first_version
                      ? "SELECT sequence, 0 FROM journals WHERE instance = ? AND worker = ?"
                      : "SELECT sequence, segment FROM journals WHERE instance = ? AND worker = ?");
    if (!ask)
        return false;
    statement_set_text(ask, 1, text_of(shelf->id.instance));
    statement_set(ask, 2, shelf->id.worker);
    enum statement_result result = statement_next(ask);
    if (result == STATEMENT_ROW) {
        shelf->drained = (uint64_t)statement_number(ask, 0);
        shelf->finished = (uint32_t)statement_number(ask, 1);
    }
    statement_close(ask);
    return result != STATEMENT_FAILED;
}

/* Calls that were carried over: the lost ones are those that no line settles behind the mark. */
static bool read_carried(struct shelf *shelf, struct database *database, struct gather *gather,
                         bool as_lost)
{
    if (!shelf->dead || database_version(database) < 2)
        return true;
    struct statement *ask = database_prepare(
        database, "SELECT sequence, line FROM open_calls WHERE instance = ? AND worker = ?");
    if (!ask)
        return false;
    statement_set_text(ask, 1, text_of(shelf->id.instance));
    statement_set(ask, 2, shelf->id.worker);
    enum statement_result result;
    while ((result = statement_next(ask)) == STATEMENT_ROW) {
        uint64_t sequence = (uint64_t)statement_number(ask, 0);
        struct record record;
        if (!as_lost)
            opens_put(&shelf->opens, &(struct open_call){.sequence = sequence});
        else if (opens_find(&shelf->opens, sequence) &&
                 record_read_body(statement_text(ask, 1), &record))
            add_lost(gather, &record);
    }
    statement_close(ask);
    return result == STATEMENT_END;
}

static bool read_shelf(struct lines *lines, struct shelf *shelf, struct database *database,
                       struct gather *gather)
{
    if (database && (!ask_mark(shelf, database) || !read_carried(shelf, database, gather, false)))
        return false;
    if (shelf->drained == BOOK_FINISHED)
        return true;
    for (size_t i = 0; i < shelf->count; i++)
        if (shelf->segments[i]->number > shelf->finished)
            read_segment(lines, shelf, shelf->segments[i], gather);
    read_opens(shelf, gather);
    return !database || read_carried(shelf, database, gather, true);
}

/* Calls may be carried over of a journal whose last file is gone already. */
static bool add_shelves(struct lines *lines, struct database *database)
{
    if (!database || database_version(database) < 2)
        return true;
    struct statement *ask =
        database_prepare(database, "SELECT DISTINCT worker FROM open_calls WHERE instance = ?");
    bool good = ask != NULL;
    for (size_t i = 0; good && i < lines->dead_count; i++) {
        enum statement_result result;
        statement_set_text(ask, 1, text_of(lines->dead[i].instance));
        while ((result = statement_next(ask)) == STATEMENT_ROW)
            shelf_of(lines, lines->dead[i].instance, (unsigned)statement_number(ask, 0), true);
        good = result == STATEMENT_END;
    }
    statement_close(ask);
    return good;
}

/* A part that was released counts when it was held until then, and once. */
static bool gather_released(struct lines *lines, struct database *database, struct gather *gather)
{
    if (lines->released.count == 0)
        return true;
    bool has_table = database && database_version(database) >= HELD_VERSION;
    struct statement *ask =
        has_table ? database_prepare(database, "SELECT 1 FROM held WHERE id = ? AND model = ?")
                  : NULL;
    bool good = ask || !has_table;
    for (size_t i = 0; good && i < lines->released.count; i++) {
        const struct ledger_row *row = &lines->released.rows[i];
        if (part_is_among(lines->released.rows, i, row))
            continue;
        bool was_held = part_is_among(lines->held.rows, lines->held.count, row);
        if (!was_held && ask) {
            statement_set_text(ask, 1, row->id);
            statement_set_text(ask, 2, row->upstream_model);
            enum statement_result result = statement_next(ask);
            was_held = result == STATEMENT_ROW;
            good = result != STATEMENT_FAILED;
            statement_reset(ask);
        }
        if (was_held)
            gather_add_call(gather, row);
    }
    statement_close(ask);
    return good;
}

bool lines_gather(struct lines *lines, struct database *database, struct gather *gather)
{
    if (!add_shelves(lines, database))
        return false;
    for (struct shelf *shelf = lines->shelves; shelf; shelf = shelf->next)
        if (!read_shelf(lines, shelf, database, gather))
            return false;
    return gather_released(lines, database, gather);
}

/* Parts that the database has as held, and no line says otherwise. */
static bool held_in_database(const struct lines *lines, struct database *database,
                             void (*see)(void *with, const struct ledger_row *part), void *with)
{
    struct statement *ask = database_prepare(database, "SELECT line FROM held");
    if (!ask)
        return false;
    enum statement_result result;
    struct record record;
    while ((result = statement_next(ask)) == STATEMENT_ROW)
        if (record_read_body(statement_text(ask, 0), &record) &&
            !part_is_among(lines->released.rows, lines->released.count, &record.row))
            see(with, &record.row);
    statement_close(ask);
    return result == STATEMENT_END;
}

bool lines_each_held(const struct lines *lines, struct database *database,
                     void (*see)(void *with, const struct ledger_row *part), void *with)
{
    for (size_t i = 0; i < lines->held.count; i++)
        if (!part_is_among(lines->released.rows, lines->released.count, &lines->held.rows[i]))
            see(with, &lines->held.rows[i]);
    return !database || database_version(database) < HELD_VERSION ||
           held_in_database(lines, database, see, with);
}
