/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/book.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum { DAY_STATEMENTS = 4, DAY_NAME_BYTES = 24, LAST_DAY = 2932896 /* 9999-12-31 */ };
enum {
    ROWS_AT_ONCE = 32, /* calls that one statement adds */
    CALL_COLUMNS = 3,
};
enum { EXPIRE_AT_ONCE = 5000 };
static const int64_t DAY_US = 86400LL * 1000000;

/* --------------------------------------------------------------------------------------- schema */

#define ROLLUP_1(span)                                                                           \
    "CREATE TABLE rollup_" span " (bucket INTEGER NOT NULL, series INTEGER NOT NULL,"            \
    " requests INTEGER NOT NULL, input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL," \
    " cache_write_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,"                      \
    " reasoning_tokens INTEGER NOT NULL, audio_input_tokens INTEGER NOT NULL,"                   \
    " audio_output_tokens INTEGER NOT NULL, image_tokens INTEGER NOT NULL,"                      \
    " units INTEGER NOT NULL, cost_nanos INTEGER NOT NULL, saved_nanos INTEGER NOT NULL,"        \
    " estimated INTEGER NOT NULL, PRIMARY KEY (bucket, series)) WITHOUT ROWID;"

#define ROLLUP_2(span)                                                               \
    "ALTER TABLE rollup_" span " ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;"    \
    "ALTER TABLE rollup_" span " ADD COLUMN duration_us INTEGER NOT NULL DEFAULT 0;" \
    "ALTER TABLE rollup_" span " ADD COLUMN overhead_us INTEGER NOT NULL DEFAULT 0;" \
    "ALTER TABLE rollup_" span " ADD COLUMN ttft_us INTEGER NOT NULL DEFAULT 0;"     \
    "ALTER TABLE rollup_" span " ADD COLUMN ttfts INTEGER NOT NULL DEFAULT 0;"

/* One string per version; a step that was released is never changed. */
const char *const book_steps[] = {
    /* 1 */
    "CREATE TABLE series (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, key TEXT NOT NULL,"
    " user TEXT NOT NULL, model TEXT NOT NULL, target TEXT NOT NULL, provider TEXT NOT NULL,"
    " operation TEXT NOT NULL, status INTEGER NOT NULL, outcome INTEGER NOT NULL,"
    " UNIQUE (tenant, key, user, model, target, provider, operation, status, outcome));"
    "CREATE TABLE journals (instance TEXT NOT NULL, worker INTEGER NOT NULL,"
    " sequence INTEGER NOT NULL, PRIMARY KEY (instance, worker)) WITHOUT ROWID;"
    "CREATE TABLE objects (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, target TEXT NOT NULL,"
    " model TEXT NOT NULL) WITHOUT ROWID;" /**/
    ROLLUP_1("minute") ROLLUP_1("hour") ROLLUP_1("day"),
    /* 2: times and tries in the rollups; calls that outlive their segment; what objects are */
    ROLLUP_2("minute") ROLLUP_2("hour") ROLLUP_2("day") /**/
    "CREATE TABLE open_calls (instance TEXT NOT NULL, worker INTEGER NOT NULL,"
    " sequence INTEGER NOT NULL, line BLOB NOT NULL, PRIMARY KEY (instance, worker, sequence))"
    " WITHOUT ROWID;"
    "ALTER TABLE journals ADD COLUMN segment INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE objects ADD COLUMN kind TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE objects ADD COLUMN made_us INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX responses_by_age ON objects (made_us) WHERE kind = 'response';",
    /* 3: what other nodes are told; calls that were rated again */
    share_schema,
    /* 4: batches that run; what else is known of a file */
    "CREATE TABLE held (id TEXT NOT NULL, model TEXT NOT NULL, line BLOB NOT NULL,"
    " PRIMARY KEY (id, model)) WITHOUT ROWID;"
    "ALTER TABLE objects ADD COLUMN facts TEXT NOT NULL DEFAULT '';",
    /* 5: other nodes are told of objects */
    share_objects_schema,
    /* 6: tenants that are gone */
    lineage_schema,
};
const int book_step_count = sizeof(book_steps) / sizeof(book_steps[0]);

#define ROLLUP(span)                                                                             \
    "CREATE TABLE rollup_" span " (bucket INTEGER NOT NULL, series INTEGER NOT NULL,"            \
    " requests INTEGER NOT NULL, input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL," \
    " cache_write_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,"                      \
    " reasoning_tokens INTEGER NOT NULL, audio_input_tokens INTEGER NOT NULL,"                   \
    " audio_output_tokens INTEGER NOT NULL, image_tokens INTEGER NOT NULL,"                      \
    " units INTEGER NOT NULL, cost_nanos INTEGER NOT NULL, saved_nanos INTEGER NOT NULL,"        \
    " estimated INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,"                          \
    " duration_us INTEGER NOT NULL DEFAULT 0, overhead_us INTEGER NOT NULL DEFAULT 0,"           \
    " ttft_us INTEGER NOT NULL DEFAULT 0, ttfts INTEGER NOT NULL DEFAULT 0,"                     \
    " version INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (bucket, series)) WITHOUT ROWID;"          \
    "CREATE INDEX rollup_" span "_by_version ON rollup_" span " (version)"                       \
    " WHERE version > 0;"

/* What all steps lead to, word for word: SQLite reads its whole schema again for each column that
 * is added, which was most of the work of a first start. */
#define CALLS_AND_OBJECTS                                                                      \
    "CREATE TABLE series (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, key TEXT NOT NULL,"    \
    " user TEXT NOT NULL, model TEXT NOT NULL, target TEXT NOT NULL, provider TEXT NOT NULL,"  \
    " operation TEXT NOT NULL, status INTEGER NOT NULL, outcome INTEGER NOT NULL,"             \
    " UNIQUE (tenant, key, user, model, target, provider, operation, status, outcome));"       \
    "CREATE TABLE journals (instance TEXT NOT NULL, worker INTEGER NOT NULL,"                  \
    " sequence INTEGER NOT NULL, segment INTEGER NOT NULL DEFAULT 0,"                          \
    " PRIMARY KEY (instance, worker)) WITHOUT ROWID;"                                          \
    "CREATE TABLE objects (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, target TEXT NOT NULL,"   \
    " model TEXT NOT NULL, kind TEXT NOT NULL DEFAULT '', made_us INTEGER NOT NULL DEFAULT 0," \
    " facts TEXT NOT NULL DEFAULT '', version INTEGER NOT NULL DEFAULT 0,"                     \
    " gone INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"                                         \
    "CREATE INDEX responses_by_age ON objects (made_us) WHERE kind = 'response';"              \
    "CREATE INDEX objects_by_version ON objects (version) WHERE version > 0;"                  \
    "CREATE INDEX objects_gone ON objects (made_us) WHERE gone;"
#define ROLLUPS ROLLUP("minute") ROLLUP("hour") ROLLUP("day")
#define OPEN_AND_MENDED                                                                            \
    "CREATE TABLE open_calls (instance TEXT NOT NULL, worker INTEGER NOT NULL,"                    \
    " sequence INTEGER NOT NULL, line BLOB NOT NULL, PRIMARY KEY (instance, worker, sequence))"    \
    " WITHOUT ROWID;"                                                                              \
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"                    \
    "CREATE TABLE rerated (id TEXT NOT NULL, day INTEGER NOT NULL, row INTEGER NOT NULL,"          \
    " old_version INTEGER NOT NULL, old_cost_nanos INTEGER NOT NULL,"                              \
    " new_version INTEGER NOT NULL, new_cost_nanos INTEGER NOT NULL,"                              \
    " at_us INTEGER NOT NULL, why TEXT NOT NULL);"                                                 \
    "CREATE INDEX rerated_by_id ON rerated (id);"                                                  \
    "CREATE TABLE outbox (seq INTEGER PRIMARY KEY, day INTEGER NOT NULL, row INTEGER NOT NULL);"   \
    "CREATE TABLE held (id TEXT NOT NULL, model TEXT NOT NULL, line BLOB NOT NULL,"                \
    " PRIMARY KEY (id, model)) WITHOUT ROWID;"                                                     \
    "CREATE TABLE lineage (tenant TEXT NOT NULL, since_us INTEGER NOT NULL, parent TEXT NOT NULL," \
    " seen_us INTEGER NOT NULL, PRIMARY KEY (tenant, since_us)) WITHOUT ROWID;"
#define WHOLE CALLS_AND_OBJECTS ROLLUPS OPEN_AND_MENDED

const char book_whole[] = WHOLE;
static const char all_tables[] = WHOLE ROSTER_TABLES;

/* ----------------------------------------------------------------------------------- statements */

enum ask {
    ASK_SERIES,
    ADD_SERIES,
    ASK_NAMES_USER,
    ASK_NAMES_MODEL,
    ASK_MARK,
    ASK_JOURNALS,
    SET_MARK,
    CARRY,
    DROP_CARRIED,
    ASK_CARRIED,
    DROP_ALL_CARRIED,
    OWN,
    DISOWN,
    BURY,
    ASK_OWNER,
    HOLD,
    RELEASE,
    ASKS
};

#define SAME_SERIES                                                                      \
    " tenant = ? AND key = ? AND user = ? AND model = ? AND target = ? AND provider = ?" \
    " AND operation = ? AND status = ? AND outcome = ?"
#define NAMES(column)                                                       \
    "SELECT DISTINCT " column " FROM rollup_day JOIN series ON id = series" \
    " WHERE bucket = ? AND tenant = ?"
#define SAME_JOURNAL " WHERE instance = ? AND worker = ?"

static const char *const asks[ASKS] = {
    [ASK_SERIES] = "SELECT id FROM series WHERE" SAME_SERIES,
    [ADD_SERIES] = "INSERT INTO series (tenant, key, user, model, target, provider, operation,"
                   " status, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
    [ASK_NAMES_USER] = NAMES("user"),
    [ASK_NAMES_MODEL] = NAMES("model"),
    [ASK_MARK] = "SELECT sequence, segment FROM journals" SAME_JOURNAL,
    [ASK_JOURNALS] = "SELECT worker FROM journals WHERE instance = ? AND sequence < ?",
    [SET_MARK] = "INSERT INTO journals (instance, worker, sequence, segment) VALUES (?, ?, ?, ?)"
                 " ON CONFLICT DO UPDATE SET sequence = excluded.sequence,"
                 " segment = excluded.segment",
    [CARRY] = "INSERT INTO open_calls (instance, worker, sequence, line) VALUES (?, ?, ?, ?)",
    [DROP_CARRIED] = "DELETE FROM open_calls" SAME_JOURNAL " AND sequence = ?",
    [ASK_CARRIED] = "SELECT sequence, line FROM open_calls" SAME_JOURNAL,
    [DROP_ALL_CARRIED] = "DELETE FROM open_calls" SAME_JOURNAL,
    [OWN] = "INSERT OR REPLACE INTO objects (id, kind, tenant, target, model, made_us, facts,"
            " version) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [DISOWN] = "DELETE FROM objects WHERE id = ?",
    /* others may know it only from us, or we only from others */
    [BURY] = "INSERT OR REPLACE INTO objects (id, tenant, target, model, made_us, version, gone)"
             " VALUES (?, '', '', '', ?, ?, 1)",
    [ASK_OWNER] = "SELECT tenant, target, model, facts FROM objects WHERE id = ? AND NOT gone",
    [HOLD] = "INSERT OR IGNORE INTO held (id, model, line) VALUES (?, ?, ?)",
    [RELEASE] = "DELETE FROM held WHERE id = ? AND model = ? RETURNING 1",
};

/* Calls of one day that wait to be written. */
struct waiting {
    int64_t day;
    unsigned count;
    size_t used; /* of <bytes> */
    struct {
        int64_t at_us;
        struct text id, line; /* in <bytes> */
    } rows[ROWS_AT_ONCE];
    char bytes[ROWS_AT_ONCE * 256 + RECORD_TEXT_MAX + RECORD_MAX_BYTES];
};

/* What adds calls to a day's table. */
struct day {
    int64_t day;
    struct statement *add, *add_many; /* one, ROWS_AT_ONCE of them; NULL = free */
};

struct book {
    struct database *database;
    struct statement *asks[ASKS];
    struct statement *tallies[SPANS]; /* NULL = not needed yet: they are long */
    struct share share;
    struct day days[DAY_STATEMENTS]; /* the last few; the oldest made is replaced */
    unsigned next_day;
    struct waiting waiting;
    int64_t changes;
    bool changed;
};

/* INSERT … ON CONFLICT DO UPDATE SET x = add_up(x, excluded.x), … for all sums. */
static struct statement *prepare_tally(struct database *database, enum span span)
{
    char sql[4096];
    size_t len = (size_t)snprintf(sql, sizeof(sql), "INSERT INTO %s (bucket, series, version",
                                  span_facts[span].table);
    for (int i = 0; i < TALLY_SUMS; i++)
        len += (size_t)snprintf(sql + len, sizeof(sql) - len, ", %s", tally_columns[i]);
    len += (size_t)snprintf(sql + len, sizeof(sql) - len, ") VALUES (?, ?, ?");
    for (int i = 0; i < TALLY_SUMS; i++)
        len += (size_t)snprintf(sql + len, sizeof(sql) - len, ", ?");
    len += (size_t)snprintf(sql + len, sizeof(sql) - len,
                            ") ON CONFLICT DO UPDATE SET version = excluded.version");
    for (int i = 0; i < TALLY_SUMS; i++)
        len += (size_t)snprintf(sql + len, sizeof(sql) - len, ", %s = add_up(%s, excluded.%s)",
                                tally_columns[i], tally_columns[i], tally_columns[i]);
    return database_prepare(database, sql);
}

static bool prepare_all(struct book *book)
{
    for (int i = 0; i < ASKS; i++)
        if (!(book->asks[i] = database_prepare(book->database, asks[i])))
            return false;
    return true;
}

struct book *book_open(const char *path, bool safe, enum sharing sharing, struct fault *fault)
{
    struct database *database = database_open(path, safe ? DATABASE_SAFE : DATABASE_WRITE, fault);
    if (!database)
        return NULL;
    struct book *book = memory_new(sizeof(*book));
    book->database = database;
    if (database_make(database, all_tables, book_step_count, fault) &&
        database_upgrade(database, book_steps, book_step_count, fault)) {
        if (prepare_all(book) && share_open(&book->share, database, sharing))
            return book;
        fault_set(fault, FAULT_INTERNAL, "%s: %s", path, database_problem(database));
    }
    book_close(book);
    return NULL;
}

void book_close(struct book *book)
{
    if (!book)
        return;
    database_close(book->database);
    memory_free(book);
}

/* ---------------------------------------------------------------------------------------- calls */

static void name_day(int64_t day, char name[DAY_NAME_BYTES])
{
    time_t at = (time_t)(day * 86400);
    struct tm utc;
    gmtime_r(&at, &utc);
    strftime(name, DAY_NAME_BYTES, "requests_%Y%m%d", &utc);
}

static int64_t day_of(int64_t at_us)
{
    int64_t day = at_us / DAY_US;
    return day < 0 ? 0 : day > LAST_DAY ? LAST_DAY : day;
}

/* Statements for tables that were made in the transaction would fail from now on. */
static void forget_days(struct book *book)
{
    for (int i = 0; i < DAY_STATEMENTS; i++) {
        statement_close(book->days[i].add);
        statement_close(book->days[i].add_many);
        book->days[i] = (struct day){0};
    }
}

static struct statement *prepare_add(struct book *book, const char *name, unsigned rows)
{
    char sql[64 + ROWS_AT_ONCE * 12];
    int len = snprintf(sql, sizeof(sql), "INSERT INTO %s (at, id, line) VALUES (?, ?, ?)", name);
    for (unsigned i = 1; i < rows; i++)
        len += snprintf(sql + len, sizeof(sql) - (size_t)len, ", (?, ?, ?)");
    return database_prepare(book->database, sql);
}

/* The statements that add to <day>'s table, which is made when it is missing. */
static struct day *find_day(struct book *book, int64_t day)
{
    for (int i = 0; i < DAY_STATEMENTS; i++)
        if (book->days[i].add && book->days[i].day == day)
            return &book->days[i];
    char name[DAY_NAME_BYTES];
    name_day(day, name);
    if (!database_run_format(book->database,
                             "CREATE TABLE IF NOT EXISTS %s"
                             " (at INTEGER NOT NULL, id TEXT NOT NULL, line BLOB NOT NULL)",
                             name))
        return NULL;
    struct day *found = &book->days[book->next_day++ % DAY_STATEMENTS];
    statement_close(found->add);
    statement_close(found->add_many);
    *found = (struct day){day, prepare_add(book, name, 1), prepare_add(book, name, ROWS_AT_ONCE)};
    return found->add && found->add_many ? found : NULL;
}

/* Add <count> of what waits, beginning at <first>. */
static bool add_rows(struct book *book, struct statement *add, unsigned first, unsigned count)
{
    const struct waiting *waiting = &book->waiting;
    for (unsigned i = 0; i < count; i++) {
        int at = (int)i * CALL_COLUMNS;
        statement_set(add, at + 1, waiting->rows[first + i].at_us);
        statement_set_text(add, at + 2, waiting->rows[first + i].id);
        statement_set_blob(add, at + 3, waiting->rows[first + i].line);
    }
    if (!statement_run(add))
        return false;
    /* Nobody else adds meanwhile, so that these have the last numbers there are. */
    int64_t last = database_last_row(book->database);
    for (unsigned i = count; i-- > 0;)
        if (!share_add(&book->share, waiting->day, last - i))
            return false;
    return true;
}

static bool write_waiting(struct book *book)
{
    struct waiting *waiting = &book->waiting;
    struct day *day = waiting->count ? find_day(book, waiting->day) : NULL;
    bool good = day || !waiting->count;
    if (good && waiting->count == ROWS_AT_ONCE)
        good = add_rows(book, day->add_many, 0, ROWS_AT_ONCE);
    else
        for (unsigned i = 0; good && i < waiting->count; i++)
            good = add_rows(book, day->add, i, 1);
    waiting->count = 0;
    waiting->used = 0;
    return good;
}

static struct text copy_waiting(struct waiting *waiting, struct text text)
{
    struct text copy = {waiting->bytes + waiting->used, text.len};
    if (text.len)
        memcpy(waiting->bytes + waiting->used, text.at, text.len);
    waiting->used += text.len;
    return copy;
}

bool book_add_call(struct book *book, const struct record *settled)
{
    struct waiting *waiting = &book->waiting;
    int64_t day = day_of(settled->row.started_us);
    size_t bytes = settled->row.id.len + settled->body.len;
    if (waiting->count &&
        (waiting->count == ROWS_AT_ONCE || waiting->day != day ||
         waiting->used + bytes > sizeof(waiting->bytes)) &&
        !write_waiting(book))
        return false;
    waiting->day = day;
    waiting->rows[waiting->count].at_us = settled->row.started_us;
    waiting->rows[waiting->count].id = copy_waiting(waiting, settled->row.id);
    waiting->rows[waiting->count].line = copy_waiting(waiting, settled->body);
    waiting->count++;
    return true;
}

bool book_begin(struct book *book)
{
    if (!database_begin(book->database))
        return false;
    int64_t changes = database_changes(book->database);
    book->changed = changes != book->changes;
    book->changes = changes;
    return !book->changed || share_read(&book->share);
}

bool book_changed(struct book *book)
{
    return book->changed;
}

bool book_commit(struct book *book)
{
    if (!write_waiting(book) || !share_write(&book->share) || !database_commit(book->database))
        return false;
    share_written(&book->share);
    return true;
}

void book_rollback(struct book *book)
{
    forget_days(book);
    book->waiting.count = 0;
    share_undo(&book->share);
    database_rollback(book->database);
}

bool book_is_damaged(struct book *book)
{
    return database_is_damaged(book->database);
}

struct database *book_database(struct book *book)
{
    return book->database;
}

struct share *book_share(struct book *book)
{
    return &book->share;
}

const char *book_problem(struct book *book)
{
    return database_problem(book->database);
}

/* -------------------------------------------------------------------------------------- rollups */

static int64_t ask_number(struct statement *ask)
{
    int64_t number = 0;
    if (statement_next(ask) == STATEMENT_ROW)
        number = statement_number(ask, 0);
    statement_reset(ask);
    return number;
}

static void set_series(struct statement *statement, const struct series_key *key)
{
    for (int i = 0; i < SERIES_NAMES; i++)
        statement_set_text(statement, i + 1, key->names[i]);
    statement_set(statement, SERIES_NAMES + 1, key->status);
    statement_set(statement, SERIES_NAMES + 2, (int64_t)key->outcome);
}

int64_t book_series(struct book *book, const struct series_key *key)
{
    set_series(book->asks[ASK_SERIES], key);
    int64_t id = ask_number(book->asks[ASK_SERIES]);
    if (id)
        return id;
    set_series(book->asks[ADD_SERIES], key);
    return ask_number(book->asks[ADD_SERIES]);
}

bool book_add_tally(struct book *book, enum span span, int64_t bucket, int64_t series,
                    const struct tally *tally)
{
    if (!book->tallies[span])
        book->tallies[span] = prepare_tally(book->database, span);
    struct statement *add = book->tallies[span];
    if (!add)
        return false;
    statement_set(add, 1, bucket);
    statement_set(add, 2, series);
    statement_set(add, 3, share_next(&book->share));
    for (int i = 0; i < TALLY_SUMS; i++)
        statement_set(add, i + 4, tally->sums[i]);
    return statement_run(add);
}

bool book_each_name(struct book *book, int64_t bucket, struct text tenant, enum series_name which,
                    void (*see)(void *with, struct text name), void *with)
{
    struct statement *ask = book->asks[which == NAME_USER ? ASK_NAMES_USER : ASK_NAMES_MODEL];
    statement_set(ask, 1, bucket);
    statement_set_text(ask, 2, tenant);
    enum statement_result result;
    while ((result = statement_next(ask)) == STATEMENT_ROW)
        see(with, statement_text(ask, 0));
    return result == STATEMENT_END;
}

/* ------------------------------------------------------------------------------------- journals */

static void set_journal(struct statement *statement, const struct journal_id *id)
{
    statement_set_text(statement, 1, text_of(id->instance));
    statement_set(statement, 2, id->worker);
}

bool book_find_mark(struct book *book, const struct journal_id *id, struct book_mark *mark)
{
    struct statement *ask = book->asks[ASK_MARK];
    set_journal(ask, id);
    *mark = (struct book_mark){0};
    enum statement_result result = statement_next(ask);
    if (result == STATEMENT_ROW) {
        mark->sequence = (uint64_t)statement_number(ask, 0);
        mark->segment = (uint32_t)statement_number(ask, 1);
    }
    statement_reset(ask);
    return result != STATEMENT_FAILED;
}

bool book_set_mark(struct book *book, const struct journal_id *id, const struct book_mark *mark)
{
    struct statement *set = book->asks[SET_MARK];
    set_journal(set, id);
    statement_set(set, 3, (int64_t)mark->sequence);
    statement_set(set, 4, mark->segment);
    return statement_run(set);
}

bool book_each_journal(struct book *book, const char *instance,
                       void (*see)(void *with, unsigned worker), void *with)
{
    struct statement *ask = book->asks[ASK_JOURNALS];
    statement_set_text(ask, 1, text_of(instance));
    statement_set(ask, 2, (int64_t)BOOK_FINISHED);
    enum statement_result result;
    while ((result = statement_next(ask)) == STATEMENT_ROW)
        see(with, (unsigned)statement_number(ask, 0));
    return result == STATEMENT_END;
}

bool book_carry(struct book *book, const struct journal_id *id, uint64_t sequence, struct text body)
{
    struct statement *carry = book->asks[CARRY];
    set_journal(carry, id);
    statement_set(carry, 3, (int64_t)sequence);
    statement_set_blob(carry, 4, body);
    return statement_run(carry);
}

bool book_drop_carried(struct book *book, const struct journal_id *id, uint64_t sequence)
{
    struct statement *drop = book->asks[DROP_CARRIED];
    set_journal(drop, id);
    statement_set(drop, 3, (int64_t)sequence);
    return statement_run(drop);
}

bool book_each_carried(struct book *book, const struct journal_id *id,
                       void (*see)(void *with, uint64_t sequence, struct text body), void *with)
{
    struct statement *ask = book->asks[ASK_CARRIED];
    set_journal(ask, id);
    enum statement_result result;
    while ((result = statement_next(ask)) == STATEMENT_ROW)
        see(with, (uint64_t)statement_number(ask, 0), statement_text(ask, 1));
    return result == STATEMENT_END;
}

bool book_drop_all_carried(struct book *book, const struct journal_id *id)
{
    set_journal(book->asks[DROP_ALL_CARRIED], id);
    return statement_run(book->asks[DROP_ALL_CARRIED]);
}

/* -------------------------------------------------------------------------------------- objects */

bool book_own(struct book *book, const struct object *object)
{
    struct statement *own = book->asks[OWN];
    statement_set_text(own, 1, object->id);
    statement_set_text(own, 2, object->kind);
    statement_set_text(own, 3, object->tenant);
    statement_set_text(own, 4, object->target);
    statement_set_text(own, 5, object->model);
    statement_set(own, 6, object->made_us);
    statement_set_text(own, 7, object->facts);
    statement_set(own, 8, share_next(&book->share));
    return statement_run(own);
}

bool book_disown(struct book *book, const struct object *object)
{
    struct statement *gone = book->asks[book->share.on ? BURY : DISOWN];
    statement_set_text(gone, 1, object->id);
    if (book->share.on) {
        statement_set(gone, 2, object->made_us);
        statement_set(gone, 3, share_next(&book->share));
    }
    return statement_run(gone);
}

bool book_find_owner(struct book *book, struct owner *owner, char *facts)
{
    struct statement *ask = book->asks[ASK_OWNER];
    statement_set_text(ask, 1, (struct text){owner->id, strnlen(owner->id, OWNER_TEXT_BYTES)});
    enum statement_result result = statement_next(ask);
    owner->found = result == STATEMENT_ROW;
    if (owner->found) {
        owner_set(owner, statement_text(ask, 0), statement_text(ask, 1), statement_text(ask, 2));
        if (facts)
            owner_set_facts(facts, statement_text(ask, 3));
    }
    statement_reset(ask);
    return result != STATEMENT_FAILED;
}

/* -------------------------------------------------------------------------------------- batches */

bool book_hold(struct book *book, const struct record *held)
{
    struct statement *hold = book->asks[HOLD];
    statement_set_text(hold, 1, held->row.id);
    statement_set_text(hold, 2, held->row.upstream_model);
    statement_set_blob(hold, 3, held->body);
    return statement_run(hold);
}

bool book_release(struct book *book, const struct ledger_row *part, bool *was_held)
{
    struct statement *release = book->asks[RELEASE];
    statement_set_text(release, 1, part->id);
    statement_set_text(release, 2, part->upstream_model);
    enum statement_result result = statement_next(release);
    *was_held = result == STATEMENT_ROW;
    if (result == STATEMENT_ROW)
        result = statement_next(release);
    statement_reset(release);
    return result == STATEMENT_END;
}

/* ------------------------------------------------------------------------------------ retention */

/* The oldest table of a day before <day>, or false. */
static bool find_old_day(struct book *book, int64_t day, char name[DAY_NAME_BYTES])
{
    char first_kept[DAY_NAME_BYTES];
    name_day(day, first_kept);
    struct statement *ask =
        database_prepare(book->database, "SELECT name FROM sqlite_schema WHERE type = 'table'"
                                         " AND name GLOB 'requests_[0-9]*' AND name < ?"
                                         " ORDER BY name LIMIT 1");
    if (!ask)
        return false;
    statement_set_text(ask, 1, text_of(first_kept));
    bool found = statement_next(ask) == STATEMENT_ROW;
    if (found)
        snprintf(name, DAY_NAME_BYTES, "%.*s", TEXT_ARGS(statement_text(ask, 0)));
    statement_close(ask);
    return found;
}

static bool expire_requests(struct book *book, int64_t before_us)
{
    char name[DAY_NAME_BYTES];
    forget_days(book);
    while (find_old_day(book, day_of(before_us), name)) {
        if (!database_run_format(book->database, "DROP TABLE %s", name))
            return false;
        log_line(LOG_INFO, "ledger", "dropped %s", name);
    }
    return database_run_format(book->database, "DELETE FROM rerated WHERE day < %lld",
                               (long long)day_of(before_us));
}

/* Delete at most so many rows at a time, so that nobody waits long for the lock. */
static bool expire_rows(struct book *book, const char *table, const char *key, const char *where,
                        int64_t before)
{
    struct statement *count = NULL;
    bool good = true;
    for (int64_t gone = EXPIRE_AT_ONCE; good && gone >= EXPIRE_AT_ONCE;) {
        good =
            database_run_format(book->database,
                                "DELETE FROM %s WHERE (%s) IN (SELECT %s FROM %s WHERE %s < "
                                "%lld LIMIT %d)",
                                table, key, key, table, where, (long long)before, EXPIRE_AT_ONCE);
        count = count ? count : database_prepare(book->database, "SELECT changes()");
        gone = count ? ask_number(count) : 0;
    }
    statement_close(count);
    return good;
}

/*
 * A clock that once jumped ahead must not make us drop everything: nothing is older than the
 * newest day that was booked allows. -1 when that cannot be found out.
 */
static int64_t trusted_now_us(struct book *book, int64_t now_us)
{
    struct statement *ask =
        database_prepare(book->database, "SELECT ifnull(max(bucket), 0) FROM rollup_day");
    int64_t newest = ask ? ask_number(ask) : 0;
    statement_close(ask);
    int64_t limit_us = newest > 0 && newest < INT64_MAX / 1000000 - 2 * 86400
                           ? newest * 1000000 + 2 * DAY_US
                           : now_us;
    return now_us < limit_us ? now_us : limit_us;
}

bool book_expire(struct book *book, const struct book_keep *keep, int64_t now_us)
{
    bool good = true;
    int64_t trusted_us = trusted_now_us(book, now_us);
    if (keep->requests_us)
        good = expire_requests(book, trusted_us - keep->requests_us);
    for (enum span span = 0; span < SPANS && good; span++)
        if (keep->spans_us[span])
            good = expire_rows(book, span_facts[span].table, "bucket, series", "bucket",
                               span_bucket_us(span, trusted_us - keep->spans_us[span]));
    int64_t kept_us = now_us - OBJECT_KEPT_DAYS * DAY_US;
    return good && expire_rows(book, "objects", "id", "kind = 'response' AND made_us", kept_us) &&
           expire_rows(book, "objects", "id", "gone AND made_us", kept_us) &&
           (keep->spans_us[SPAN_DAY] == 0 ||
            expire_rows(book, "lineage", "tenant, since_us", "seen_us",
                        trusted_us - keep->spans_us[SPAN_DAY]));
}
