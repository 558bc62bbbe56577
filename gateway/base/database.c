/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/database.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/memory.h"

enum { BUSY_WAIT_MS = 5000, PAGE_BYTES = 4096 };

struct database {
    sqlite3 *handle;
    enum database_mode mode;
    struct statement *statements;
    struct statement *begin, *begin_read, *commit, *rollback, *changes;
    /* Why a transaction was rolled back: rolling back is no problem, and hides it. */
    int code;
    char problem[160];
};

struct statement {
    struct statement *next;
    struct database *database;
    sqlite3_stmt *handle;
};

/* add_up(a, b): the sum of two integers, cut where int64 ends. */
static void on_add_up(sqlite3_context *call, int count, sqlite3_value **values)
{
    (void)count;
    sqlite3_int64 a = sqlite3_value_int64(values[0]), b = sqlite3_value_int64(values[1]), sum;
    if (__builtin_add_overflow(a, b, &sum))
        sum = a > 0 ? INT64_MAX : INT64_MIN;
    sqlite3_result_int64(call, sum);
}

static bool prepare_own(struct database *database)
{
    database->begin = database_prepare(database, "BEGIN IMMEDIATE");
    database->begin_read = database_prepare(database, "BEGIN");
    database->commit = database_prepare(database, "COMMIT");
    database->rollback = database_prepare(database, "ROLLBACK");
    database->changes = database_prepare(database, "PRAGMA data_version");
    return database->begin && database->begin_read && database->commit && database->rollback &&
           database->changes;
}

/* When SQLite waits for the disk. */
static bool set_synchronous(struct database *database, const char *when)
{
    return database_run_format(database, "PRAGMA synchronous = %s", when);
}

/* What is in the WAL alone counts for nothing when the file itself is found empty after a loss of
 * power: SQLite deletes the WAL then (pagerOpenWalIfPresent() in its pager.c). A file that never
 * had more than its first page may not be on the disk yet. */
static bool sync_first_page(struct database *database)
{
    sqlite3_file *file = NULL;
    sqlite3_int64 bytes = 0;
    sqlite3_file_control(database->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (!file || !file->pMethods || file->pMethods->xFileSize(file, &bytes) != SQLITE_OK ||
        bytes > PAGE_BYTES ||
        file->pMethods->xSync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY) == SQLITE_OK)
        return true;
    database->code = SQLITE_IOERR_FSYNC;
    snprintf(database->problem, sizeof(database->problem), "its first page: %s", strerror(errno));
    return false;
}

/*
 * The WAL stays when the last writer leaves: a user who may only read could not open the file
 * without it.
 */
static bool set_up_writer(struct database *database, enum database_mode mode)
{
    int yes = 1;
    sqlite3_file_control(database->handle, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    return (mode != DATABASE_SAFE || sync_first_page(database)) &&
           database_run(database, "PRAGMA journal_mode = WAL") &&
           set_synchronous(database, mode == DATABASE_SAFE ? "FULL" : "NORMAL") &&
           database_run(database, "PRAGMA journal_size_limit = 16777216") &&
           database_run(database, "PRAGMA foreign_keys = OFF");
}

static bool set_up(struct database *database, enum database_mode mode)
{
    sqlite3_extended_result_codes(database->handle, 1);
    sqlite3_busy_timeout(database->handle, BUSY_WAIT_MS);
    sqlite3_create_function(database->handle, "add_up", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                            on_add_up, NULL, NULL);
    /* Who only reads goes through many pages once, and the kernel has them: 2 MB of copies, which a
     * reader would come to hold as the file grows, make no question quicker. */
    bool good = mode == DATABASE_READ ? database_run(database, "PRAGMA cache_size = -400")
                                      : set_up_writer(database, mode);
    if (!good)
        return false;
    /* Reading the schema finds out whether it is a database at all, and may be read. */
    return database_run(database, "SELECT count(*) FROM sqlite_schema") && prepare_own(database);
}

/* Twenty pages of each connection are not fetched at once, most of which it never needs; and what
 * SQLite has allocated is not counted, for which it took a lock each time. */
static void set_up_library(void)
{
    sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int open_handle(const char *name, int flags, sqlite3 **handle)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up_library);
    return sqlite3_open_v2(name, handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
}

static struct database *open_as(const char *name, int flags, enum database_mode mode,
                                struct fault *fault)
{
    struct database *database = memory_new(sizeof(*database));
    database->mode = mode;
    int result = open_handle(name, flags, &database->handle);
    if (result == SQLITE_OK && set_up(database, mode))
        return database;
    fault_set(fault, database_fault(database), "%s: %s", name, database_problem(database));
    database_close(database);
    return NULL;
}

/* A file: URI for SQLite, in which '?', '#' and '%' must be escaped. */
static char *uri_of(const char *path, const char *query)
{
    size_t len = 0;
    char *escaped = memory_new(strlen(path) * 3 + 1);
    for (const char *at = path; *at; at++)
        len += (size_t)sprintf(escaped + len, strchr("?#%", *at) ? "%%%02X" : "%c",
                               (unsigned char)*at);
    char *uri = memory_format("file:%s?%s", escaped, query);
    memory_free(escaped);
    return uri;
}

/* Is there no log of changes that are not in the file itself yet? */
static bool has_no_wal(const char *path)
{
    struct stat facts;
    char *wal = memory_format("%s-wal", path);
    bool none = stat(wal, &facts) != 0 || facts.st_size == 0;
    memory_free(wal);
    return none;
}

/*
 * A reader who may not write cannot open a WAL database that nobody has open unless the WAL's index
 * is there. Without a WAL, the file alone is the whole truth and does not change.
 */
static struct database *open_to_read(const char *path, struct fault *fault)
{
    struct database *database = open_as(path, SQLITE_OPEN_READONLY, DATABASE_READ, fault);
    if (database || access(path, R_OK) != 0 || !has_no_wal(path))
        return database;
    char *uri = uri_of(path, "immutable=1");
    database = open_as(uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, DATABASE_READ, fault);
    memory_free(uri);
    return database;
}

/*
 * An empty database of one page in WAL mode (https://www.sqlite.org/fileformat2.html, section 1.3),
 * as SQLite makes it with four times the work. It takes nothing of it from the page but what is set
 * here; its own version number is for people.
 */
static void write_first_page(unsigned char page[PAGE_BYTES], enum database_mode mode)
{
    enum { HEAD = 100 /* behind it is the page's own: a leaf of a table, without cells */ };
    memset(page, 0, PAGE_BYTES);
    memcpy(page, "SQLite format 3", 16);
    page[16] = PAGE_BYTES >> 8; /* and 17: big-endian, as all numbers are */
    page[18] = page[19] = 2;    /* written and read with a WAL */
    page[21] = 64, page[22] = page[23] = 32;
    page[27] = page[31] = page[95] = 1; /* one change, one page, at the first change */
    page[96] = (unsigned char)(SQLITE_VERSION_NUMBER >> 24);
    page[97] = (unsigned char)(SQLITE_VERSION_NUMBER >> 16);
    page[98] = (unsigned char)(SQLITE_VERSION_NUMBER >> 8);
    page[99] = (unsigned char)SQLITE_VERSION_NUMBER;
    if (mode == DATABASE_LOOSE)
        page[55] = page[67] = 1; /* the last root; "incremental_vacuum" */
    page[HEAD] = 13;
    page[HEAD + 5] = PAGE_BYTES >> 8; /* where cells begin: at the end */
}

/* An empty database in WAL mode at <path>; whoever may read everything else of ours may read it.
 * There is nothing in it to wait for the disk for, until something is to be safe: see
 * sync_first_page(). */
static bool make_empty(const char *path, enum database_mode mode, struct fault *fault)
{
    unsigned char page[PAGE_BYTES];
    unlink(path);
    /* SQLite would let everybody read it; the WAL takes its mode. */
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (file < 0)
        return fault_set(fault, FAULT_INTERNAL, "%s: %m", path);
    write_first_page(page, mode);
    errno = ENOSPC; /* when it is cut short */
    bool good = write(file, page, PAGE_BYTES) == PAGE_BYTES;
    if (!good) /* in SQLite's words, as a full disk is told of elsewhere */
        fault_set(fault, FAULT_INTERNAL, "%s: %s", path,
                  errno == ENOSPC ? "database or disk is full" : strerror(errno));
    close(file);
    return good;
}

/*
 * The file gets its name when it is whole: while SQLite turns a new file into a WAL database there
 * is a moment at which nobody can read it who may not write.
 */
static bool make_file(const char *path, enum database_mode mode, struct fault *fault)
{
    if (access(path, F_OK) == 0)
        return true;
    char *unfinished = memory_format("%s.new-%d", path, (int)getpid());
    bool good = make_empty(unfinished, mode, fault);
    /* Somebody else may have been quicker: then theirs it is. */
    if (good && link(unfinished, path) != 0 && errno != EEXIST)
        good = fault_set(fault, FAULT_INTERNAL, "%s: %m", path);
    unlink(unfinished);
    memory_free(unfinished);
    return good;
}

struct database *database_open(const char *path, enum database_mode mode, struct fault *fault)
{
    if (mode == DATABASE_READ)
        return open_to_read(path, fault);
    if (!make_file(path, mode, fault))
        return NULL;
    return open_as(path, SQLITE_OPEN_READWRITE, mode, fault);
}

void database_set_wait(struct database *database, int ms)
{
    sqlite3_busy_timeout(database->handle, ms);
}

void database_close(struct database *database)
{
    if (!database)
        return;
    while (database->statements)
        statement_close(database->statements);
    sqlite3_close(database->handle);
    memory_free(database);
}

bool database_run(struct database *database, const char *sql)
{
    return sqlite3_exec(database->handle, sql, NULL, NULL, NULL) == SQLITE_OK;
}

bool database_run_format(struct database *database, const char *format, ...)
{
    char sql[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(sql, sizeof(sql), format, args);
    va_end(args);
    assert(len > 0 && (size_t)len < sizeof(sql));
    return database_run(database, sql);
}

static bool is_problem(int code)
{
    return code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE;
}

void database_rest(struct database *database)
{
    sqlite3_db_release_memory(database->handle);
}

bool database_begin(struct database *database)
{
    database->code = SQLITE_OK;
    return statement_run(database->begin);
}

bool database_begin_read(struct database *database)
{
    return statement_run(database->begin_read);
}

bool database_commit(struct database *database)
{
    if (statement_run(database->commit))
        return true;
    database_rollback(database);
    return false;
}

void database_rollback(struct database *database)
{
    if (is_problem(sqlite3_errcode(database->handle))) {
        database->code = sqlite3_errcode(database->handle);
        snprintf(database->problem, sizeof(database->problem), "%s",
                 sqlite3_errmsg(database->handle));
    }
    /* Some failures, a full disk for one, have rolled it back already. */
    if (!sqlite3_get_autocommit(database->handle))
        statement_run(database->rollback);
}

/* Of the last statement, or else of the transaction that was rolled back last. */
static int last_code(struct database *database)
{
    int code = sqlite3_errcode(database->handle);
    return is_problem(code) ? code : database->code;
}

static bool is_damage(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

static bool is_error_of_device(int error)
{
    return error == EIO || error == ENXIO || error == ERANGE;
}

/* SQLite calls it damage, too, when the file (or its log) could not be read (unixRead() in its
 * os_unix.c; SQLITE_FCNTL_LAST_ERRNO: https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html).
 * What is there may be sound. */
static bool is_unreadable(sqlite3 *handle)
{
    int error = 0;
    sqlite3_file *journal = NULL;
    if (sqlite3_file_control(handle, "main", SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK &&
        is_error_of_device(error))
        return true;
    return sqlite3_file_control(handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &journal) ==
               SQLITE_OK &&
           journal && journal->pMethods &&
           journal->pMethods->xFileControl(journal, SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK &&
           is_error_of_device(error);
}

const char *database_problem(struct database *database)
{
    if (is_damage(last_code(database)) && is_unreadable(database->handle))
        return sqlite3_errstr(SQLITE_IOERR);
    if (is_problem(sqlite3_errcode(database->handle)) || !is_problem(database->code))
        return sqlite3_errmsg(database->handle);
    return database->problem;
}

enum fault_kind database_fault(struct database *database)
{
    int code = last_code(database) & 0xff;
    return code == SQLITE_BUSY || code == SQLITE_LOCKED ? FAULT_STORE_AWAY : FAULT_INTERNAL;
}

bool database_is_full(struct database *database)
{
    return (last_code(database) & 0xff) == SQLITE_FULL;
}

bool database_is_damaged(struct database *database)
{
    return is_damage(last_code(database)) && !is_unreadable(database->handle);
}

/* The answer of quick_check is one row, "ok". */
static bool check_says_damaged(sqlite3 *handle)
{
    sqlite3_stmt *ask = NULL;
    if (sqlite3_prepare_v2(handle, "PRAGMA quick_check(1)", -1, &ask, NULL) != SQLITE_OK)
        return is_damage(sqlite3_errcode(handle));
    int result = sqlite3_step(ask);
    const char *said = result == SQLITE_ROW ? (const char *)sqlite3_column_text(ask, 0) : NULL;
    bool damaged = is_damage(result) || (said && strcmp(said, "ok") != 0);
    sqlite3_finalize(ask);
    return damaged;
}

bool database_file_is_damaged(const char *path)
{
    sqlite3 *handle = NULL;
    if (access(path, F_OK) != 0)
        return false;
    int result = open_handle(path, SQLITE_OPEN_READWRITE, &handle);
    bool damaged = result == SQLITE_OK ? check_says_damaged(handle) : is_damage(result);
    damaged = damaged && !is_unreadable(handle);
    sqlite3_close(handle);
    return damaged;
}

bool database_has_moved(struct database *database)
{
    int moved = 0;
    return sqlite3_file_control(database->handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved) ==
               SQLITE_OK &&
           moved != 0;
}

int64_t database_last_row(struct database *database)
{
    return sqlite3_last_insert_rowid(database->handle);
}

int database_version(struct database *database)
{
    struct statement *ask = database_prepare(database, "PRAGMA user_version");
    int version = -1;
    if (ask && statement_next(ask) == STATEMENT_ROW)
        version = (int)statement_number(ask, 0);
    statement_close(ask);
    return version;
}

int64_t database_changes(struct database *database)
{
    int64_t changes = -1;
    if (statement_next(database->changes) == STATEMENT_ROW)
        changes = statement_number(database->changes, 0);
    statement_reset(database->changes);
    return changes;
}

static bool take_step(struct database *database, const char *step, int version)
{
    if (!database_begin(database))
        return false;
    /* Another process may have taken it while we waited for the lock. */
    if (database_version(database) >= version)
        return database_commit(database);
    if (database_run(database, step) &&
        database_run_format(database, "PRAGMA user_version = %d", version))
        return database_commit(database);
    return false;
}

static atomic_bool keeps_versions;

void database_keep_versions(bool keep)
{
    atomic_store(&keeps_versions, keep);
}

static bool take_steps(struct database *database, const char *const *steps, int from, int to,
                       struct fault *fault)
{
    if (from > 0 && from < to && atomic_load(&keeps_versions)) {
        return fault_set(fault, FAULT_STORE_AWAY,
                         "the database must be upgraded from format %d to %d: that takes a restart",
                         from, to);
    }
    for (int version = from; version < to; version++) {
        if (take_step(database, steps[version], version + 1))
            continue;
        fault_set(fault, database_fault(database), "database: upgrade to format %d: %s",
                  version + 1, database_problem(database));
        database_rollback(database);
        return false;
    }
    return true;
}

/* Is there no table in it, not even another one's? */
static bool is_empty(struct database *database)
{
    struct statement *ask = database_prepare(database, "SELECT count(*) FROM sqlite_schema");
    bool empty = ask && statement_next(ask) == STATEMENT_ROW && statement_number(ask, 0) == 0;
    statement_close(ask);
    return empty;
}

static bool set_usual_synchronous(struct database *database, struct fault *fault)
{
    return set_synchronous(database, database->mode == DATABASE_SAFE ? "FULL" : "NORMAL") ||
           fault_set(fault, FAULT_INTERNAL, "database: %s", database_problem(database));
}

bool database_make(struct database *database, const char *whole, int version, struct fault *fault)
{
    if (database_version(database) != 0 || !is_empty(database))
        return true;
    if (!set_synchronous(database, "OFF")) /* see below */
        return true;
    if (!take_step(database, whole, version))
        database_rollback(database);
    return set_usual_synchronous(database, fault);
}

bool database_upgrade(struct database *database, const char *const *steps, int count,
                      struct fault *fault)
{
    int version = database_version(database);
    if (version < 0)
        return fault_set(fault, database_fault(database), "database: %s",
                         database_problem(database));
    if (version > count)
        return fault_set(fault, FAULT_STORE_AWAY,
                         "database: its format %d is newer than this program's (%d)", version,
                         count);
    if (version == count)
        return true;
    /* Empty tables are made again when they are lost: nobody need wait for the disk. */
    bool waits = version > 0 || !is_empty(database);
    bool good = (waits || set_synchronous(database, "OFF")) &&
                take_steps(database, steps, version, count, fault);
    if (!waits && !set_usual_synchronous(database, fault))
        good = false;
    return good;
}

/* All pages at once, into an empty file that is there. */
static bool copy_pages(struct database *database, sqlite3 *to, struct fault *fault)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", database->handle, "main");
    int result = backup ? sqlite3_backup_step(backup, -1) : SQLITE_ERROR;
    if (backup)
        sqlite3_backup_finish(backup);
    return result == SQLITE_DONE ||
           fault_set(fault, FAULT_INTERNAL, "the copy of the database: %s",
                     sqlite3_errstr(backup ? result : sqlite3_errcode(to)));
}

bool database_backup(struct database *database, const char *path, struct fault *fault)
{
    sqlite3 *to = NULL;
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (file < 0)
        return fault_set(fault, FAULT_INTERNAL, "%s: %m", path);
    bool good = open_handle(path, SQLITE_OPEN_READWRITE, &to) == SQLITE_OK &&
                copy_pages(database, to, fault);
    if (!good && fault->kind == FAULT_NONE)
        fault_set(fault, FAULT_INTERNAL, "%s: %s", path, sqlite3_errmsg(to));
    sqlite3_close(to);
    if (good && fsync(file) != 0)
        good = fault_set(fault, FAULT_INTERNAL, "%s: %m", path);
    close(file);
    if (!good)
        unlink(path);
    return good;
}

bool database_check(struct database *database, struct fault *fault)
{
    struct statement *ask = database_prepare(database, "PRAGMA quick_check(1)");
    bool said = ask && statement_next(ask) == STATEMENT_ROW;
    bool good = said && text_equal(statement_text(ask, 0), TEXT("ok"));
    if (said && !good)
        fault_set(fault, FAULT_INTERNAL, "the database is damaged: %.*s",
                  TEXT_ARGS(statement_text(ask, 0)));
    else if (!good)
        fault_set(fault, FAULT_INTERNAL, "the database: %s", database_problem(database));
    statement_close(ask);
    return good;
}

bool database_is_sound(const char *path, int newest, struct fault *fault)
{
    fault->kind = FAULT_NONE;
    struct database *database = database_open(path, DATABASE_READ, fault);
    if (!database)
        return false;
    int version = database_version(database);
    bool good = database_check(database, fault);
    if (good && (version < 0 || version > newest))
        good = fault_set(fault, FAULT_INTERNAL,
                         "the database has the format %d, which is newer than this program's (%d)",
                         version, newest);
    database_close(database);
    return good;
}

struct statement *database_prepare(struct database *database, const char *sql)
{
    sqlite3_stmt *handle = NULL;
    if (sqlite3_prepare_v3(database->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, NULL) !=
        SQLITE_OK)
        return NULL;
    struct statement *statement = memory_new(sizeof(*statement));
    *statement = (struct statement){database->statements, database, handle};
    database->statements = statement;
    return statement;
}

void statement_close(struct statement *statement)
{
    if (!statement)
        return;
    struct statement **at = &statement->database->statements;
    while (*at != statement)
        at = &(*at)->next;
    *at = statement->next;
    sqlite3_finalize(statement->handle);
    memory_free(statement);
}

/* Binding can only fail for want of memory, or by a mistake of ours. */
static void check_bound(int result)
{
    assert(result == SQLITE_OK);
    (void)result;
}

void statement_set(struct statement *statement, int i, int64_t number)
{
    check_bound(sqlite3_bind_int64(statement->handle, i, number));
}

void statement_set_text(struct statement *statement, int i, struct text text)
{
    check_bound(sqlite3_bind_text(statement->handle, i, text.len ? text.at : "", (int)text.len,
                                  SQLITE_STATIC));
}

void statement_set_blob(struct statement *statement, int i, struct text bytes)
{
    check_bound(sqlite3_bind_blob(statement->handle, i, bytes.len ? bytes.at : "", (int)bytes.len,
                                  SQLITE_STATIC));
}

bool statement_run(struct statement *statement)
{
    int result = sqlite3_step(statement->handle);
    return sqlite3_reset(statement->handle) == SQLITE_OK &&
           (result == SQLITE_DONE || result == SQLITE_ROW);
}

enum statement_result statement_next(struct statement *statement)
{
    int result = sqlite3_step(statement->handle);
    if (result == SQLITE_ROW)
        return STATEMENT_ROW;
    sqlite3_reset(statement->handle);
    return result == SQLITE_DONE ? STATEMENT_END : STATEMENT_FAILED;
}

void statement_reset(struct statement *statement)
{
    sqlite3_reset(statement->handle);
}

int64_t statement_number(struct statement *statement, int column)
{
    return sqlite3_column_int64(statement->handle, column);
}

struct text statement_text(struct statement *statement, int column)
{
    /* Bytes first would be the length of another encoding: SQLite asks for this order. */
    const char *at = sqlite3_column_blob(statement->handle, column);
    int len = sqlite3_column_bytes(statement->handle, column);
    return (struct text){at ? at : "", (size_t)len};
}
