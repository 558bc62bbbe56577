/* SPDX-License-Identifier: Apache-2.0 */
/* The door to SQLite: transactions, upgrades, sums, readers with few rights. */
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/database.h"
#include "tests/unit/child.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static char folder[64], path[96];

static int make_folder(void **state)
{
    (void)state;
    /* '?' and '%' would mean something in a URI */
    snprintf(folder, sizeof(folder), "/tmp/database_%%41?test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    chmod(folder, 0755);
    snprintf(path, sizeof(path), "%s/test.db", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    const char *const ends[] = {"",           "-wal",       "-shm",        ".empty",
                                ".empty-wal", ".empty-shm", ".new",        ".new-wal",
                                ".new-shm",   ".theirs",    ".fresh",      ".fresh-wal",
                                ".fresh-shm", ".others",    ".others-wal", ".others-shm"};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[128];
        snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        unlink(name);
    }
    return rmdir(folder);
}

/* What the disk was waited for, in order: SQLite gets these, too, instead of the C library's. */
static ino_t synced[64];
static size_t sync_count;

static void note_sync(int file)
{
    struct stat facts;
    if (fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) && sync_count < 64)
        synced[sync_count++] = facts.st_ino;
}

int fsync(int file)
{
    note_sync(file);
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file)
{
    note_sync(file);
    return (int)syscall(SYS_fdatasync, file);
}

static ino_t inode_of(const char *name)
{
    struct stat facts;
    assert_int_equal(stat(name, &facts), 0);
    return facts.st_ino;
}

static size_t read_file(const char *name, unsigned char bytes[8192])
{
    FILE *file = fopen(name, "rb");
    assert_non_null(file);
    size_t len = fread(bytes, 1, 8192, file);
    fclose(file);
    return len;
}

static struct database *open_it(enum database_mode mode)
{
    struct fault fault = {0};
    struct database *database = database_open(path, mode, &fault);
    if (!database)
        print_message("%s\n", fault.text);
    return database;
}

static int64_t ask(struct database *database, const char *sql)
{
    struct statement *statement = database_prepare(database, sql);
    assert_non_null(statement);
    assert_int_equal(statement_next(statement), STATEMENT_ROW);
    int64_t number = statement_number(statement, 0);
    statement_close(statement);
    return number;
}

static void what_is_committed_stays_and_what_is_rolled_back_does_not(void **state)
{
    (void)state;
    struct database *database = open_it(DATABASE_WRITE);
    assert_non_null(database);
    assert_true(database_run(database, "CREATE TABLE t (a INTEGER, b TEXT, c BLOB)"));
    struct statement *add = database_prepare(database, "INSERT INTO t VALUES (?, ?, ?)");
    for (int i = 0; i < 2; i++) {
        assert_true(database_begin(database));
        statement_set(add, 1, INT64_MIN + i);
        statement_set_text(add, 2, TEXT("text"));
        statement_set_blob(add, 3, (struct text){"\0\xff", 2});
        assert_true(statement_run(add));
        if (i == 0)
            assert_true(database_commit(database));
        else
            database_rollback(database);
    }
    database_rollback(database); /* when there is none: no harm */
    struct statement *rows = database_prepare(database, "SELECT a, b, c FROM t");
    assert_int_equal(statement_next(rows), STATEMENT_ROW);
    assert_true(statement_number(rows, 0) == INT64_MIN);
    assert_true(text_equal(statement_text(rows, 1), TEXT("text")));
    assert_true(text_equal(statement_text(rows, 2), (struct text){"\0\xff", 2}));
    assert_int_equal(statement_next(rows), STATEMENT_END);
    assert_null(database_prepare(database, "SELECT nothing FROM nowhere"));
    assert_false(database_run(database, "CREATE TABLE t (a)"));
    assert_non_null(strstr(database_problem(database), "already exists"));
    database_close(database);
}

static void sums_saturate_and_stay_integers(void **state)
{
    (void)state;
    struct database *database = open_it(DATABASE_WRITE);
    assert_int_equal(ask(database, "SELECT add_up(40, 2)"), 42);
    assert_true(ask(database, "SELECT add_up(9223372036854775807, 1)") == INT64_MAX);
    assert_true(ask(database, "SELECT add_up(-9223372036854775807, -9)") == INT64_MIN);
    assert_int_equal(ask(database, "SELECT typeof(add_up(9223372036854775807, 7)) = 'integer'"), 1);
    database_close(database);
}

static void upgrades_go_step_by_step_and_never_back(void **state)
{
    (void)state;
    static const char *const steps[] = {"CREATE TABLE one (a)", "CREATE TABLE two (a)",
                                        "CREATE TABLE three (a); nonsense"};
    struct fault fault = {0};
    struct database *database = open_it(DATABASE_WRITE);
    assert_int_equal(database_version(database), 0);
    assert_true(database_upgrade(database, steps, 1, &fault));
    assert_int_equal(database_version(database), 1);
    assert_true(database_upgrade(database, steps, 2, &fault));
    assert_int_equal(database_version(database), 2);
    assert_true(database_upgrade(database, steps, 2, &fault));
    assert_false(database_upgrade(database, steps, 3, &fault));
    assert_int_equal(database_version(database), 2);
    assert_int_equal(ask(database, "SELECT count(*) FROM sqlite_schema WHERE name = 'three'"), 0);
    assert_false(database_upgrade(database, steps, 1, &fault));
    assert_non_null(strstr(fault.text, "newer"));
    database_close(database);
}

/* Such a file is sound, and of use to another; a damaged one is nobody's. */
static void what_another_has_is_told_apart_from_damage(void **state)
{
    (void)state;
    static const char *const steps[] = {"CREATE TABLE one (a)", "CREATE TABLE two (a)", "nonsense"};
    struct fault fault = {0};
    char file[300];
    snprintf(file, sizeof(file), "%s.others", path);
    struct database *other = database_open(file, DATABASE_WRITE, &fault);
    struct database *database = database_open(file, DATABASE_WRITE, &fault);
    database_set_wait(database, 1);
    assert_true(database_begin(other));
    assert_false(database_upgrade(database, steps, 1, &fault));
    assert_int_equal(fault.kind, FAULT_STORE_AWAY);
    assert_int_equal(database_fault(database), FAULT_STORE_AWAY);
    database_rollback(other);
    assert_true(database_upgrade(database, steps, 2, &fault));
    assert_false(database_upgrade(database, steps, 1, &fault)); /* it is newer */
    assert_int_equal(fault.kind, FAULT_STORE_AWAY);
    assert_false(database_upgrade(database, steps, 3, &fault));
    assert_int_equal(fault.kind, FAULT_INTERNAL);
    database_keep_versions(true);
    assert_false(database_upgrade(database, steps, 3, &fault));
    database_keep_versions(false);
    assert_int_equal(fault.kind, FAULT_STORE_AWAY);
    database_close(database);
    database_close(other);
}

static void all_steps_are_taken_at_once_where_nothing_is(void **state)
{
    (void)state;
    static const char *const steps[] = {"CREATE TABLE one (a)", "ALTER TABLE one ADD COLUMN b"};
    struct fault fault = {0};
    char empty[300];
    snprintf(empty, sizeof(empty), "%s.empty", path);
    struct database *database = database_open(empty, DATABASE_WRITE, &fault);
    assert_non_null(database);
    assert_true(database_make(database, "CREATE TABLE one (a, b); nonsense", 2, &fault));
    assert_int_equal(ask(database, "SELECT count(*) FROM sqlite_schema"), 0);
    assert_int_equal(database_version(database), 0);
    assert_true(database_upgrade(database, steps, 1, &fault));
    assert_true(database_make(database, "CREATE TABLE other (a)", 2, &fault));
    assert_int_equal(database_version(database), 1);
    assert_int_equal(ask(database, "SELECT count(*) FROM sqlite_schema"), 1);
    assert_true(database_upgrade(database, steps, 2, &fault));
    assert_true(database_run(database, "DROP TABLE one; PRAGMA user_version = 0"));
    assert_true(database_make(database, "CREATE TABLE one (a, b)", 2, &fault));
    assert_true(database_upgrade(database, steps, 2, &fault));
    assert_int_equal(database_version(database), 2);
    assert_int_equal(ask(database, "SELECT count(*) FROM sqlite_schema"), 1);
    assert_int_not_equal(ask(database, "PRAGMA synchronous"), 0);
    database_close(database);
}

static void changes_of_others_are_noticed(void **state)
{
    (void)state;
    struct database *one = open_it(DATABASE_WRITE), *two = open_it(DATABASE_WRITE);
    int64_t before = database_changes(one);
    assert_true(database_run(one, "CREATE TABLE mine (a)"));
    assert_int_equal(database_changes(one), before);
    assert_true(database_run(two, "CREATE TABLE theirs (a)"));
    assert_int_not_equal(database_changes(one), before);
    database_close(one);
    database_close(two);
}

static void a_reader_sees_one_state_and_cannot_write(void **state)
{
    (void)state;
    struct database *writer = open_it(DATABASE_WRITE), *reader = open_it(DATABASE_READ);
    assert_true(database_run(writer, "CREATE TABLE n (a); INSERT INTO n VALUES (1)"));
    assert_true(database_begin_read(reader));
    assert_int_equal(ask(reader, "SELECT count(*) FROM n"), 1);
    assert_true(database_run(writer, "INSERT INTO n VALUES (2)"));
    assert_int_equal(ask(reader, "SELECT count(*) FROM n"), 1);
    assert_true(database_commit(reader));
    assert_int_equal(ask(reader, "SELECT count(*) FROM n"), 2);
    assert_false(database_run(reader, "INSERT INTO n VALUES (3)"));
    database_close(reader);
    database_close(writer);
}

/* What another user sees, who may read and not write; -1 = cannot open. */
static int count_as_nobody(void)
{
    pid_t child = child_fork();
    if (child == 0) {
        struct fault fault;
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(99);
        struct database *database = database_open(path, DATABASE_READ, &fault);
        _exit(database ? (int)ask(database, "SELECT count(*) FROM n") : 98);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void let_others_read(void)
{
    const char *const ends[] = {"",           "-wal", "-shm",     ".empty",   ".empty-wal",
                                ".empty-shm", ".new", ".new-wal", ".new-shm", ".theirs"};
    for (int i = 0; i < 3; i++) {
        char name[128];
        snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        chmod(name, 0644);
    }
}

static void another_user_reads_beside_a_writer_after_it_and_after_its_death(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct database *writer = open_it(DATABASE_WRITE);
    assert_int_equal(count_as_nobody(), 98);
    let_others_read();
    assert_int_equal(count_as_nobody(), 2);
    assert_true(database_run(writer, "INSERT INTO n VALUES (3)"));
    assert_int_equal(count_as_nobody(), 3);
    database_close(writer);
    assert_int_equal(count_as_nobody(), 3);
    pid_t child = child_fork();
    if (child == 0) {
        struct fault fault;
        struct database *dying = database_open(path, DATABASE_WRITE, &fault);
        database_run(dying, "INSERT INTO n VALUES (4)");
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    let_others_read();
    assert_int_equal(count_as_nobody(), 4);
    /* the log is gone, as after a copy of the file alone */
    struct database *again = open_it(DATABASE_WRITE);
    assert_true(database_run(again, "PRAGMA wal_checkpoint(TRUNCATE)"));
    database_close(again);
    char name[128];
    snprintf(name, sizeof(name), "%s-wal", path);
    unlink(name);
    snprintf(name, sizeof(name), "%s-shm", path);
    unlink(name);
    assert_int_equal(count_as_nobody(), 4);
}

/* Killed while it makes the file, again and again: readers find none, or a good one. */
static void a_file_is_there_whole_or_not_at_all(void **state)
{
    (void)state;
    char name[128];
    int found = 0;
    snprintf(name, sizeof(name), "%s/fresh.db", folder);
    for (int i = 0; i < 40; i++) {
        struct fault fault = {0};
        pid_t child = child_fork();
        if (child == 0) {
            struct database *database = database_open(name, DATABASE_WRITE, &fault);
            database_run(database, "CREATE TABLE t (a)");
            pause();
        }
        usleep((useconds_t)i * 500);
        for (int wait = 0; i == 39 && wait < 10000 && access(name, F_OK) != 0; wait++)
            usleep(1000); /* the last one gets as far as there is a file, however busy it is here */
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        struct database *database = database_open(name, DATABASE_READ, &fault);
        assert_int_equal(database != NULL, access(name, F_OK) == 0);
        found += database != NULL;
        database_close(database);
        const char *const ends[] = {"",           "-wal", "-shm",     ".empty",   ".empty-wal",
                                    ".empty-shm", ".new", ".new-wal", ".new-shm", ".theirs"};
        for (int end = 0; end < 4; end++) {
            char gone[192];
            snprintf(gone, sizeof(gone), "%s%s", name, ends[end]);
            unlink(gone);
            snprintf(gone, sizeof(gone), "%s.new-%d%s", name, (int)child, ends[end]);
            unlink(gone);
        }
    }
    assert_true(found > 0);
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    struct fault fault = {0};
    char name[128];
    snprintf(name, sizeof(name), "%s/none/such.db", folder);
    assert_null(database_open(name, DATABASE_WRITE, &fault));
    assert_non_null(strstr(fault.text, "such.db"));
    assert_null(database_open(name, DATABASE_READ, &fault));
    snprintf(name, sizeof(name), "%s/text", folder);
    FILE *file = fopen(name, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is not a database\n", file);
    fclose(file);
    assert_null(database_open(name, DATABASE_WRITE, &fault));
    assert_int_equal(fault.kind, FAULT_INTERNAL);
    assert_null(database_open(name, DATABASE_READ, &fault));
    unlink(name);
}

/* What SQLite itself makes of an empty file that is to have a WAL. */
static void a_new_database_is_what_sqlite_makes(void **state)
{
    (void)state;
    char theirs[128], ours[128];
    unsigned char page[2][8192];
    sqlite3 *handle = NULL;
    struct fault fault = {0};
    snprintf(ours, sizeof(ours), "%s.new", path);
    snprintf(theirs, sizeof(theirs), "%s.theirs", path);
    struct database *database = database_open(ours, DATABASE_WRITE, &fault);
    assert_non_null(database);
    assert_int_equal(read_file(ours, page[0]), 4096);
    assert_int_equal(sqlite3_open(theirs, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, "PRAGMA journal_mode = WAL", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(handle);
    assert_int_equal(read_file(theirs, page[1]), 4096);
    memset(page[0] + 96, 0, 4); /* of the version that wrote it: built with, and runs with */
    memset(page[1] + 96, 0, 4);
    assert_memory_equal(page[0], page[1], 4096);
    assert_true(database_check(database, &fault));
    database_close(database);
}

/* SQLite deletes a WAL beside a file that is empty, so the file has to be on the disk before any
 * commit is; and before that nobody waits for it. */
static void a_new_file_is_on_the_disk_before_what_is_to_be_safe(void **state)
{
    (void)state;
    char fresh[128], wal[136];
    struct fault fault = {0};
    snprintf(fresh, sizeof(fresh), "%s.fresh", path);
    snprintf(wal, sizeof(wal), "%s-wal", fresh);
    sync_count = 0;
    struct database *first = database_open(fresh, DATABASE_WRITE, &fault);
    assert_non_null(first);
    assert_int_equal(sync_count, 0);
    struct database *database = database_open(fresh, DATABASE_SAFE, &fault);
    assert_non_null(database);
    assert_true(database_run(database, "CREATE TABLE t (a)"));
    assert_in_range(sync_count, 2, 64);
    assert_int_equal(synced[0], inode_of(fresh));
    assert_int_equal(synced[sync_count - 1], inode_of(wal));
    database_close(database);
    database_close(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_committed_stays_and_what_is_rolled_back_does_not),
        cmocka_unit_test(sums_saturate_and_stay_integers),
        cmocka_unit_test(upgrades_go_step_by_step_and_never_back),
        cmocka_unit_test(what_another_has_is_told_apart_from_damage),
        cmocka_unit_test(all_steps_are_taken_at_once_where_nothing_is),
        cmocka_unit_test(changes_of_others_are_noticed),
        cmocka_unit_test(a_reader_sees_one_state_and_cannot_write),
        cmocka_unit_test(another_user_reads_beside_a_writer_after_it_and_after_its_death),
        cmocka_unit_test(a_file_is_there_whole_or_not_at_all),
        cmocka_unit_test(a_new_database_is_what_sqlite_makes),
        cmocka_unit_test(a_new_file_is_on_the_disk_before_what_is_to_be_safe),
        cmocka_unit_test(what_is_no_database_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
