/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/made/made.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "deploy/models/deployment.h"
#include "gateway/base/clock.h"
#include "gateway/made/inside.h"

static const char *const schema[] = {
    "CREATE TABLE deployments (name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT "
    "NULL, token TEXT NOT NULL, document TEXT NOT NULL, by TEXT NOT NULL, version INTEGER NOT "
    "NULL, made_us INTEGER NOT NULL, changed_us INTEGER NOT NULL);"
    "CREATE TABLE versions (name TEXT NOT NULL, version INTEGER NOT NULL, document TEXT NOT NULL, "
    "by TEXT NOT NULL, at_us INTEGER NOT NULL, PRIMARY KEY (name, version));"
    "CREATE TABLE ended (id TEXT PRIMARY KEY, name TEXT NOT NULL, tenant TEXT NOT NULL, at_us "
    "INTEGER NOT NULL);"
    "CREATE TABLE orders (name TEXT PRIMARY KEY, stopped INTEGER NOT NULL, pinned INTEGER NOT "
    "NULL, unpinned INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL);",
    "CREATE TABLE mark (one INTEGER PRIMARY KEY CHECK (one = 1), life TEXT NOT NULL, number "
    "INTEGER "
    "NOT NULL);",
    "CREATE TABLE spent (one INTEGER PRIMARY KEY CHECK (one = 1), lines TEXT NOT NULL);",
    "CREATE TABLE verdicts (name TEXT PRIMARY KEY, words TEXT NOT NULL);",
};

static const int64_t ENDED_KEPT_US = INT64_C(86400000000);

enum { ARENA_BLOCK = 16 << 10, ROOM_FIRST = 16 };

static bool open_file(struct made *made, struct fault *fault)
{
    struct database *database = database_open(made->path, DATABASE_SAFE, fault);
    if (database && !database_upgrade(database, schema, MADE_SCHEMA, fault)) {
        database_close(database);
        database = NULL;
    }
    made->database = database;
    return database != NULL;
}

struct made *made_open(const char *state, struct fault *fault)
{
    struct made *made = memory_new(sizeof(*made));
    made->path = memory_format("%s/deployments.db", state);
    if ((access(made->path, F_OK) == 0 || errno != ENOENT) && !open_file(made, fault)) {
        made_close(made);
        return NULL;
    }
    return made;
}

void made_close(struct made *made)
{
    if (!made)
        return;
    database_close(made->database);
    memory_free(made->path);
    memory_free(made);
}

/* ------------------------------------------------------------------------------------ lists */

static struct made_list *list_new(void)
{
    struct made_list *list = memory_new(sizeof(*list));
    arena_init(&list->arena, ARENA_BLOCK);
    return list;
}

void made_list_free(struct made_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->count; i++) {
        memory_wipe((void *)(uintptr_t)list->at[i].document.at, list->at[i].document.len);
        memory_wipe((void *)(uintptr_t)list->at[i].token.at, list->at[i].token.len);
    }
    arena_done(&list->arena);
    memory_free(list);
}

static void push(struct made_list *list, const struct made_deployment *one)
{
    struct arena *arena = &list->arena;
    bool is_power = (list->count & (list->count - 1)) == 0;
    if (list->count == 0 || (list->count >= ROOM_FIRST && is_power)) {
        size_t room = list->count ? 2 * list->count : ROOM_FIRST;
        struct made_deployment *more = arena_new(arena, room * sizeof(*more));
        if (list->count)
            memcpy(more, list->at, list->count * sizeof(*more));
        list->at = more;
    }
    struct made_deployment *to = &list->at[list->count++];
    *to = *one;
    to->name = arena_copy(arena, one->name);
    to->id = arena_copy(arena, one->id);
    to->tenant = arena_copy(arena, one->tenant);
    to->token = arena_copy(arena, one->token);
    to->document = arena_copy(arena, one->document);
    to->by = arena_copy(arena, one->by);
}

struct made_list *made_list_with(const struct made_list *list, const struct made_deployment *more,
                                 struct text less)
{
    struct made_list *copy = list_new();
    bool placed = more == NULL;
    for (size_t i = 0; i < list->count; i++) {
        const struct made_deployment *one = &list->at[i];
        if (less.len && text_equal(one->name, less))
            continue;
        bool is_it = more && text_equal(one->name, more->name);
        push(copy, is_it ? more : one);
        placed = placed || is_it;
    }
    if (!placed)
        push(copy, more);
    return copy;
}

const struct made_deployment *made_find(const struct made_list *list, struct text name)
{
    for (size_t i = 0; i < list->count; i++)
        if (text_equal(list->at[i].name, name) || text_equal(list->at[i].id, name))
            return &list->at[i];
    return NULL;
}

/* ------------------------------------------------------------------------------------ reading */

static void read_rows(struct statement *statement, struct made_list *list)
{
    while (statement && statement_next(statement) == STATEMENT_ROW) {
        struct made_deployment one = {
            .name = statement_text(statement, 0),
            .id = statement_text(statement, 1),
            .tenant = statement_text(statement, 2),
            .token = statement_text(statement, 3),
            .document = statement_text(statement, 4),
            .by = statement_text(statement, 5),
            .version = statement_number(statement, 6),
            .made_us = statement_number(statement, 7),
            .changed_us = statement_number(statement, 8),
        };
        push(list, &one);
    }
    if (statement)
        statement_close(statement);
}

struct made_list *made_read(struct made *made)
{
    struct made_list *list = list_new();
    if (made && made->database)
        read_rows(database_prepare(made->database,
                                   "SELECT name, id, tenant, token, document, by, version, "
                                   "made_us, changed_us FROM deployments ORDER BY name"),
                  list);
    return list;
}

struct made_list *made_versions(struct made *made, struct text name)
{
    struct made_list *list = list_new();
    if (!made || !made->database)
        return list;
    struct statement *statement =
        database_prepare(made->database, "SELECT name, '', '', '', document, by, version, at_us, "
                                         "at_us FROM versions WHERE name = ? ORDER BY version "
                                         "DESC");
    if (statement)
        statement_set_text(statement, 1, name);
    read_rows(statement, list);
    return list;
}

/* ------------------------------------------------------------------------------------ writing */

static bool is_open(struct made *made, struct fault *fault)
{
    struct fault why;
    return made->database || open_file(made, &why) ||
           fault_set(fault, FAULT_LEDGER_FULL, "The store of deployments: %s", why.text);
}

static bool fail(struct made *made, struct fault *fault)
{
    return fault_set(fault, FAULT_LEDGER_FULL, "The store of deployments: %s.",
                     database_problem(made->database));
}

static bool put_row(struct made *made, const struct made_deployment *one)
{
    struct statement *statement = database_prepare(
        made->database,
        "INSERT INTO deployments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT(name) DO "
        "UPDATE SET token = ?4, document = ?5, by = ?6, version = ?7, changed_us = ?9");
    if (!statement)
        return false;
    statement_set_text(statement, 1, one->name);
    statement_set_text(statement, 2, one->id);
    statement_set_text(statement, 3, one->tenant);
    statement_set_text(statement, 4, one->token);
    statement_set_text(statement, 5, one->document);
    statement_set_text(statement, 6, one->by);
    statement_set(statement, 7, one->version);
    statement_set(statement, 8, one->made_us);
    statement_set(statement, 9, one->changed_us);
    bool done = statement_run(statement);
    statement_close(statement);
    return done;
}

static bool put_version(struct made *made, const struct made_deployment *one)
{
    struct statement *add =
        database_prepare(made->database, "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?)");
    struct statement *cut =
        database_prepare(made->database, "DELETE FROM versions WHERE name = ? AND version <= ?");
    bool done = add && cut;
    if (done) {
        statement_set_text(add, 1, one->name);
        statement_set(add, 2, one->version);
        statement_set_text(add, 3, one->document);
        statement_set_text(add, 4, one->by);
        statement_set(add, 5, one->changed_us);
        statement_set_text(cut, 1, one->name);
        statement_set(cut, 2, one->version - MADE_VERSIONS);
        done = statement_run(add) && statement_run(cut);
    }
    if (add)
        statement_close(add);
    if (cut)
        statement_close(cut);
    return done;
}

bool made_keep(struct made *made, const struct made_deployment *one, struct fault *fault)
{
    if (!is_open(made, fault))
        return false;
    if (!database_begin(made->database))
        return fail(made, fault);
    if (put_row(made, one) && put_version(made, one) && database_commit(made->database))
        return true;
    fail(made, fault);
    database_rollback(made->database);
    return false;
}

bool made_put(struct made *made, const struct made_deployment *wanted, struct fault *fault)
{
    struct made_deployment one = *wanted;
    one.changed_us = clock_wall_us();
    one.made_us = one.made_us ? one.made_us : one.changed_us;
    return (!made->shared || made_tell(made, &one, fault)) && made_keep(made, &one, fault);
}

static bool run_named(struct made *made, const char *sql, struct text name)
{
    struct statement *statement = database_prepare(made->database, sql);
    if (!statement)
        return false;
    statement_set_text(statement, 1, name);
    bool done = statement_run(statement);
    statement_close(statement);
    return done;
}

/* Who asks for it in the next day hears that it is over. */
static bool note_end(struct made *made, struct text name)
{
    int64_t now = clock_wall_us();
    struct statement *cut = database_prepare(made->database, "DELETE FROM ended WHERE at_us < ?");
    struct statement *add =
        database_prepare(made->database, "INSERT OR REPLACE INTO ended SELECT id, name, tenant, ? "
                                         "FROM deployments WHERE name = ?");
    bool done = cut && add;
    if (done) {
        statement_set(cut, 1, now - ENDED_KEPT_US);
        statement_set(add, 1, now);
        statement_set_text(add, 2, name);
        done = statement_run(cut) && statement_run(add);
    }
    if (cut)
        statement_close(cut);
    if (add)
        statement_close(add);
    return done;
}

bool made_find_ended(struct made *made, struct text id, struct made_list *list,
                     struct made_deployment *ended)
{
    struct statement *statement =
        made && made->database
            ? database_prepare(made->database, "SELECT id, name, tenant FROM ended WHERE id = ?")
            : NULL;
    bool found = false;
    *ended = (struct made_deployment){.version = 0};
    if (!statement)
        return false;
    statement_set_text(statement, 1, id);
    if (statement_next(statement) == STATEMENT_ROW) {
        found = true;
        ended->id = arena_copy(&list->arena, statement_text(statement, 0));
        ended->name = arena_copy(&list->arena, statement_text(statement, 1));
        ended->tenant = arena_copy(&list->arena, statement_text(statement, 2));
    }
    statement_close(statement);
    return found;
}

bool made_remove(struct made *made, const struct made_deployment *one, struct fault *fault)
{
    return (!made->shared || made_tell_end(made, one, fault)) && made_drop(made, one->name, fault);
}

bool made_drop(struct made *made, struct text name, struct fault *fault)
{
    if (!is_open(made, fault))
        return false;
    if (!database_begin(made->database))
        return fail(made, fault);
    if (note_end(made, name) && run_named(made, "DELETE FROM deployments WHERE name = ?", name) &&
        run_named(made, "DELETE FROM versions WHERE name = ?", name) &&
        run_named(made, "DELETE FROM orders WHERE name = ?", name) &&
        run_named(made, "DELETE FROM verdicts WHERE name = ?", name) &&
        database_commit(made->database))
        return true;
    fail(made, fault);
    database_rollback(made->database);
    return false;
}

/* ------------------------------------------------------------------------------------ orders */

bool made_order_put(struct made *made, const struct made_order *order, struct fault *fault)
{
    return (!made->shared || made_tell_order(made, order, fault)) &&
           made_order_keep(made, order, fault);
}

bool made_order_keep(struct made *made, const struct made_order *order, struct fault *fault)
{
    if (!is_open(made, fault))
        return false;
    struct statement *statement =
        database_prepare(made->database, "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?)");
    if (!statement)
        return fail(made, fault);
    statement_set_text(statement, 1, order->name);
    statement_set(statement, 2, order->stopped);
    statement_set(statement, 3, order->pinned);
    statement_set(statement, 4, order->unpinned);
    statement_set(statement, 5, order->low);
    statement_set(statement, 6, order->high);
    bool done = statement_run(statement);
    statement_close(statement);
    return done || fail(made, fault);
}

void made_orders_each(struct made *made, void (*each)(void *with, const struct made_order *order),
                      void *with)
{
    if (!made->database)
        return;
    struct statement *statement = database_prepare(
        made->database, "SELECT name, stopped, pinned, unpinned, low, high FROM orders");
    while (statement && statement_next(statement) == STATEMENT_ROW) {
        struct made_order order = {
            .name = statement_text(statement, 0),
            .stopped = statement_number(statement, 1) != 0,
            .pinned = statement_number(statement, 2) != 0,
            .unpinned = statement_number(statement, 3) != 0,
            .low = statement_number(statement, 4),
            .high = statement_number(statement, 5),
        };
        each(with, &order);
    }
    if (statement)
        statement_close(statement);
}

bool made_set_mark(struct made *made, const struct made_mark *mark)
{
    struct fault fault;
    if (!is_open(made, &fault))
        return false;
    struct statement *statement =
        database_prepare(made->database, "INSERT OR REPLACE INTO mark VALUES (1, ?, ?)");
    if (!statement)
        return false;
    statement_set_text(statement, 1, text_of(mark->life));
    statement_set(statement, 2, mark->number);
    bool done = statement_run(statement);
    statement_close(statement);
    return done;
}

struct made_mark made_mark_of(struct made *made)
{
    struct made_mark mark = {.number = 0};
    struct statement *statement =
        made->database
            ? database_prepare(made->database, "SELECT life, number FROM mark WHERE one = 1")
            : NULL;
    if (statement && statement_next(statement) == STATEMENT_ROW) {
        struct text life = text_head(statement_text(statement, 0), sizeof(mark.life) - 1);
        memcpy(mark.life, life.at, life.len);
        mark.number = statement_number(statement, 1);
    }
    if (statement)
        statement_close(statement);
    return mark;
}

struct made_order made_order_of(struct made *made, struct text name)
{
    struct made_order order = {.name = name, .low = -1, .high = -1};
    struct statement *statement =
        made && made->database
            ? database_prepare(made->database, "SELECT stopped, pinned, unpinned, low, high FROM "
                                               "orders WHERE name = ?")
            : NULL;
    if (!statement)
        return order;
    statement_set_text(statement, 1, name);
    if (statement_next(statement) == STATEMENT_ROW) {
        order.stopped = statement_number(statement, 0) != 0;
        order.pinned = statement_number(statement, 1) != 0;
        order.unpinned = statement_number(statement, 2) != 0;
        order.low = statement_number(statement, 3);
        order.high = statement_number(statement, 4);
    }
    statement_close(statement);
    return order;
}

/* ---------------------------------------------------------------------------------- verdicts */

bool made_verdict_put(struct made *made, struct text name, struct text words, struct fault *fault)
{
    return (!made->shared || made_tell_verdict(made, name, words, fault)) &&
           made_verdict_keep(made, name, words, fault);
}

bool made_verdict_keep(struct made *made, struct text name, struct text words, struct fault *fault)
{
    if (!is_open(made, fault))
        return false;
    if (words.len == 0)
        return run_named(made, "DELETE FROM verdicts WHERE name = ?", name) || fail(made, fault);
    struct statement *statement =
        database_prepare(made->database, /* the same once more is not written once more */
                         "INSERT INTO verdicts VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET "
                         "words = ?2 WHERE words <> ?2");
    if (!statement)
        return fail(made, fault);
    statement_set_text(statement, 1, name);
    statement_set_text(statement, 2, words);
    bool done = statement_run(statement);
    statement_close(statement);
    return done || fail(made, fault);
}

struct text made_verdicts(struct made *made, struct arena *arena)
{
    struct buffer lines;
    struct statement *statement =
        made && made->database
            ? database_prepare(made->database, "SELECT name, words FROM verdicts ORDER BY name")
            : NULL;
    buffer_init(&lines, DEPLOYMENTS_VERDICTS_BYTES);
    while (statement && statement_next(statement) == STATEMENT_ROW)
        buffer_format(&lines, "%.*s %.*s\n", TEXT_ARGS(statement_text(statement, 0)),
                      TEXT_ARGS(statement_text(statement, 1)));
    if (statement)
        statement_close(statement);
    struct text all = arena_copy(arena, buffer_text(&lines));
    buffer_done(&lines);
    return all;
}

/* ------------------------------------------------------------------------------------- money */

bool made_keep_spent(struct made *made, struct text lines, struct fault *fault)
{
    if (lines.len == 0 && !made->database)
        return true;
    if (!is_open(made, fault))
        return false;
    return run_named(made, "INSERT OR REPLACE INTO spent VALUES (1, ?)", lines) ||
           fail(made, fault);
}

struct text made_spent(struct made *made, struct arena *arena)
{
    struct text lines = {"", 0};
    struct statement *statement =
        made && made->database
            ? database_prepare(made->database, "SELECT lines FROM spent WHERE one = 1")
            : NULL;
    if (statement && statement_next(statement) == STATEMENT_ROW)
        lines = arena_copy(arena, statement_text(statement, 0));
    if (statement)
        statement_close(statement);
    return lines;
}
