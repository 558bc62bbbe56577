/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/share.h"

#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"

enum { TRIM_LEAST = 1000, TRIM_MOST = 10000 };

#define NUMBERED(span)                                                           \
    "ALTER TABLE rollup_" span " ADD COLUMN version INTEGER NOT NULL DEFAULT 0;" \
    "CREATE INDEX rollup_" span "_by_version ON rollup_" span " (version)"       \
    " WHERE version > 0;"

const char share_schema[] =
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"
    /* what calls cost before they were rated again: rerate.c */
    "CREATE TABLE rerated (id TEXT NOT NULL, day INTEGER NOT NULL, row INTEGER NOT NULL,"
    " old_version INTEGER NOT NULL, old_cost_nanos INTEGER NOT NULL,"
    " new_version INTEGER NOT NULL, new_cost_nanos INTEGER NOT NULL,"
    " at_us INTEGER NOT NULL, why TEXT NOT NULL);"
    "CREATE INDEX rerated_by_id ON rerated (id);"
    "CREATE TABLE outbox (seq INTEGER PRIMARY KEY, day INTEGER NOT NULL, row INTEGER NOT NULL);"
    /**/
    NUMBERED("minute") NUMBERED("hour") NUMBERED("day");

/* Number all rows of a table behind those of the table before. */
#define RENUMBER(span)                                                                       \
    "UPDATE rollup_" span " SET version = n + (SELECT value FROM facts"                      \
    " WHERE name = 'version') FROM (SELECT bucket AS b, series AS s, row_number() OVER"      \
    " (ORDER BY bucket, series) AS n FROM rollup_" span ") WHERE bucket = b AND series = s;" \
    "UPDATE facts SET value = (SELECT max(value, ifnull(max(version), 0)) FROM rollup_" span \
    " WHERE version > 0) WHERE name = 'version';"

/* Objects, too. */
#define RENUMBER_OBJECTS                                                                      \
    "UPDATE objects SET version = n + ifnull((SELECT value FROM facts"                        \
    " WHERE name = 'version'), 0) FROM (SELECT id AS i, row_number() OVER (ORDER BY id) AS n" \
    " FROM objects) WHERE id = i;"                                                            \
    "UPDATE facts SET value = (SELECT max(value, ifnull(max(version), 0)) FROM objects)"      \
    " WHERE name = 'version';"

const char share_objects_schema[] =
    "ALTER TABLE objects ADD COLUMN version INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE objects ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX objects_by_version ON objects (version) WHERE version > 0;"
    "CREATE INDEX objects_gone ON objects (made_us) WHERE gone;"
    /* who shares already tells what it has */
    RENUMBER_OBJECTS;

/* ---------------------------------------------------------------------------------- reading */

static bool ask_fact(struct statement *ask, const char *name, int64_t *number, char *text)
{
    statement_set_text(ask, 1, text_of(name));
    enum statement_result result = statement_next(ask);
    *number = 0;
    if (result == STATEMENT_ROW) {
        struct text value = text_head(statement_text(ask, 0), SHARE_NAME_BYTES - 1);
        *number = statement_number(ask, 0);
        if (text)
            memcpy(text, value.at, value.len);
    }
    statement_reset(ask);
    return result != STATEMENT_FAILED;
}

static bool read_facts(struct share *share, struct statement *ask)
{
    int64_t ignored;
    memset(share->ledger, 0, sizeof(share->ledger));
    return ask && ask_fact(ask, "ledger", &ignored, share->ledger) &&
           ask_fact(ask, "epoch", &share->epoch, NULL) &&
           ask_fact(ask, "version", &share->version, NULL) &&
           ask_fact(ask, "rows", &share->rows, NULL);
}

bool share_read(struct share *share)
{
    if (!read_facts(share, share->ask))
        return false;
    share->written_version = share->version;
    share->written_rows = share->rows;
    return true;
}

bool share_look(struct share *share, struct database *database)
{
    struct statement *ask = database_prepare(database, "SELECT value FROM facts WHERE name = ?");
    bool good = ask && read_facts(share, ask);
    statement_close(ask);
    return good && share->epoch > 0 && share->ledger[0];
}

/* ------------------------------------------------------------------------------------ on, off */

static void make_name(char name[SHARE_NAME_BYTES])
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint8_t random[SHARE_NAME_BYTES - 1];
    hash_random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        name[i] = letters[random[i] % 36];
    name[SHARE_NAME_BYTES - 1] = '\0';
}

static bool set_number(struct share *share, const char *name, int64_t number)
{
    statement_set_text(share->set, 1, text_of(name));
    statement_set(share->set, 2, number);
    return statement_run(share->set);
}

static bool name_it(struct share *share)
{
    if (share->ledger[0])
        return true;
    make_name(share->ledger);
    statement_set_text(share->set, 1, TEXT("ledger"));
    statement_set_text(share->set, 2, text_of(share->ledger));
    return statement_run(share->set) && set_number(share, "version", 0) &&
           set_number(share, "rows", 0);
}

/* Whatever was changed while nobody was told has no number, or an old one. */
static bool turn(struct share *share, bool on)
{
    if (on == (share->epoch > 0))
        return true;
    if (!on)
        return database_run(share->database, "DELETE FROM facts WHERE name = 'epoch';"
                                             "DELETE FROM outbox;");
    return database_run(share->database,
                        RENUMBER("day") RENUMBER("hour") RENUMBER("minute") RENUMBER_OBJECTS) &&
           set_number(share, "epoch", clock_wall_us());
}

static bool prepare(struct share *share)
{
    struct database *database = share->database;
    share->ask = database_prepare(database, "SELECT value FROM facts WHERE name = ?");
    share->set = database_prepare(database, "INSERT INTO facts (name, value) VALUES (?, ?) ON"
                                            " CONFLICT DO UPDATE SET value = excluded.value");
    share->put = database_prepare(database, "INSERT INTO outbox (seq, day, row) VALUES (?, ?, ?)");
    share->trim = database_prepare(database, "DELETE FROM outbox WHERE seq <= ?");
    return share->ask && share->set && share->put && share->trim;
}

static bool find_oldest(struct share *share)
{
    struct statement *ask =
        database_prepare(share->database, "SELECT ifnull(min(seq), 0) FROM outbox");
    bool good = ask && statement_next(ask) == STATEMENT_ROW;
    share->oldest = good ? statement_number(ask, 0) : 0;
    statement_close(ask);
    return good;
}

bool share_open(struct share *share, struct database *database, enum sharing sharing)
{
    *share = (struct share){.database = database};
    if (!prepare(share) || !database_begin(database))
        return false;
    bool good = share_read(share) && name_it(share);
    share->on = sharing == SHARING_AS_IT_IS ? share->epoch > 0 : sharing == SHARING_ON;
    if (good && turn(share, share->on) && database_commit(database))
        return share_read(share) && find_oldest(share);
    database_rollback(database);
    return false;
}

bool share_begin_epoch(struct share *share, int64_t than)
{
    int64_t now = clock_wall_us();
    if (!database_begin(share->database))
        return false;
    if (set_number(share, "epoch", now > than ? now : than + 1) && database_commit(share->database))
        return share_read(share);
    database_rollback(share->database);
    return false;
}

/* ------------------------------------------------------------------------------------ numbers */

int64_t share_next(struct share *share)
{
    return share->on ? ++share->version : 0;
}

bool share_add(struct share *share, int64_t day, int64_t row)
{
    if (!share->on)
        return true;
    statement_set(share->put, 1, ++share->rows);
    statement_set(share->put, 2, day);
    statement_set(share->put, 3, row);
    return statement_run(share->put);
}

/* A bit at a time, so that a commit takes about as long as ever. */
static bool trim(struct share *share)
{
    int64_t last = share->told_to - SHARE_KEPT;
    if (last < share->rows - SHARE_MOST)
        last = share->rows - SHARE_MOST;
    if (last - share->oldest < TRIM_LEAST)
        return true;
    if (last - share->oldest > TRIM_MOST)
        last = share->oldest + TRIM_MOST;
    statement_set(share->trim, 1, last);
    share->oldest = last;
    return statement_run(share->trim);
}

bool share_write(struct share *share)
{
    if (!share->on)
        return true;
    return (share->version == share->written_version ||
            set_number(share, "version", share->version)) &&
           (share->rows == share->written_rows ||
            (set_number(share, "rows", share->rows) && trim(share)));
}

void share_written(struct share *share)
{
    share->written_version = share->version;
    share->written_rows = share->rows;
}

void share_undo(struct share *share)
{
    share->version = share->written_version;
    share->rows = share->written_rows;
}
