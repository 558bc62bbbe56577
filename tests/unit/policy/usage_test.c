/* SPDX-License-Identifier: Apache-2.0 */
/* Usage reports: grouping, order, stretches of time, what is kept, old databases, other users. */
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

#include "policy/book.h"
#include "policy/rollup.h"
#include "tests/unit/child.h"
#include "tests/unit/policy/ledger_cases.h"

static struct place place;
static const int64_t MINUTE_US = 60 * 1000000LL, HOUR_US = 3600 * 1000000LL;
static const int64_t DAY_US = 86400 * 1000000LL;

static int set_up(void **state)
{
    (void)state;
    place_make(&place);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    place_remove(&place);
    return 0;
}

static void write_row(struct ledger *ledger, const struct ledger_row *row)
{
    struct ledger_mark mark;
    assert_true(ledger_open_call(ledger_journal(ledger, 0), row, &mark));
    assert_true(ledger_settle_call(ledger_journal(ledger, 0), row, &mark));
}

static void write_at(struct ledger *ledger, int64_t started_us, int64_t cost)
{
    struct ledger_row row = row_of("x", cost);
    row.started_us = started_us;
    write_row(ledger, &row);
}

static int64_t cost_between(int64_t since_us, int64_t until_us)
{
    struct fault fault;
    struct usage_report *report =
        usage_read(place.ledger, place.database, since_us, until_us, NULL, 0, &fault);
    assert_non_null(report);
    int64_t cost = report->rows[0].cost_nanos;
    usage_report_free(report);
    return cost;
}

static void every_by_has_a_name(void **state)
{
    (void)state;
    enum usage_by by;
    for (int i = 0; i < USAGE_BYS; i++) {
        assert_true(usage_by_find(text_of(usage_by_name((enum usage_by)i)), &by));
        assert_int_equal(by, i);
    }
    assert_false(usage_by_find(TEXT("tenants"), &by));
    assert_false(usage_by_find(TEXT(""), &by));
}

static void rows_are_grouped_and_the_dearest_comes_first(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct ledger_row row = row_of("x", 5);
    for (int i = 0; i < 30; i++) {
        row.tenant = i % 3 ? TEXT("small") : TEXT("large");
        row.model = i % 2 ? TEXT("fast") : TEXT("slow");
        row.cost_nanos = i % 3 ? 1 : 100;
        row.outcome = (enum ledger_outcome)(i % 4);
        row.status = i % 5 ? 200 : 429;
        row.counted = i % 2 ? COUNTED_PROVIDER : COUNTED_ESTIMATE;
        write_row(ledger, &row);
    }
    for (int drained = 0; drained < 2; drained++) {
        const enum usage_by by[] = {BY_TENANT, BY_MODEL};
        struct usage_report *report = report_of(&place, by, 2);
        assert_int_equal(report->count, 4);
        assert_string_equal(report->rows[0].by[0], "large");
        assert_string_equal(report->rows[3].by[0], "small");
        int64_t requests = 0, partial = 0, estimated = 0;
        for (size_t i = 0; i < report->count; i++) {
            assert_true(i == 0 || report->rows[i - 1].cost_nanos >= report->rows[i].cost_nanos);
            requests += report->rows[i].requests;
            partial += report->rows[i].partial;
            estimated += report->rows[i].estimated;
        }
        assert_int_equal(requests, 30);
        assert_int_equal(partial, 8);
        assert_int_equal(estimated, 15);
        usage_report_free(report);
        const enum usage_by status[] = {BY_STATUS, BY_OUTCOME};
        report = report_of(&place, status, 1);
        assert_int_equal(report->count, 2);
        assert_string_equal(report->rows[0].by[0], "200");
        usage_report_free(report);
        report = report_of(&place, status + 1, 1);
        assert_int_equal(report->count, 4);
        usage_report_free(report);
        if (!drained)
            ledger_close(ledger);
    }
}

static void times_come_in_order_of_time(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    write_at(ledger, A_DAY_US + 3 * HOUR_US, 1);
    write_at(ledger, A_DAY_US, 5);
    write_at(ledger, A_DAY_US + DAY_US, 100);
    write_at(ledger, A_DAY_US + 61 * 1000000LL, 7);
    for (int drained = 0; drained < 2; drained++) {
        const enum usage_by hour[] = {BY_HOUR}, minute[] = {BY_MINUTE}, day[] = {BY_DAY};
        struct usage_report *report = report_of(&place, hour, 1);
        assert_int_equal(report->count, 3);
        assert_string_equal(report->rows[0].by[0], "2025-11-24T16:00Z");
        assert_int_equal(report->rows[0].cost_nanos, 12);
        assert_string_equal(report->rows[2].by[0], "2025-11-25T16:00Z");
        usage_report_free(report);
        report = report_of(&place, minute, 1);
        assert_int_equal(report->count, 4);
        assert_string_equal(report->rows[1].by[0], "2025-11-24T16:01Z");
        usage_report_free(report);
        report = report_of(&place, day, 1);
        assert_int_equal(report->count, 2);
        assert_string_equal(report->rows[1].by[0], "2025-11-25");
        usage_report_free(report);
        if (!drained)
            ledger_close(ledger);
    }
}

/* One call a minute over three days; any stretch of time must have its minutes. */
static void any_stretch_of_time_has_its_calls(void **state)
{
    (void)state;
    enum { MINUTES = 3 * 1440 };
    const int64_t start = A_DAY_US - A_DAY_US % DAY_US;
    struct ledger *ledger = ledger_at(&place, 1);
    for (int i = 0; i < MINUTES; i++)
        write_at(ledger, start + i * MINUTE_US + 30000000, 1);
    ledger_close(ledger);
    srandom(3);
    for (int i = 0; i < 300; i++) {
        int64_t from = random() % MINUTES, to = from + random() % (MINUTES - from);
        assert_int_equal(cost_between(start + from * MINUTE_US, start + to * MINUTE_US), to - from);
    }
    /* what is not on a minute is rounded outward */
    assert_int_equal(cost_between(start + 90000000, start + 91000000), 1);
    assert_int_equal(cost_between(start - DAY_US, start), 0);
    assert_int_equal(cost_between(INT64_MIN, INT64_MAX), MINUTES);
    assert_int_equal(cost_between(start + DAY_US, start), 0);

    /* minutes and hours that are not kept any more: the next longer stretch is taken whole */
    struct fault fault;
    struct database *database = database_open(place.database, DATABASE_WRITE, &fault);
    assert_true(database_run(database, "DELETE FROM rollup_minute"));
    assert_int_equal(cost_between(start + 90 * MINUTE_US, start + 3 * HOUR_US), 120);
    assert_int_equal(cost_between(start + HOUR_US, start + DAY_US + HOUR_US), 1440);
    assert_true(database_run(database, "DELETE FROM rollup_hour"));
    assert_int_equal(cost_between(start + 90 * MINUTE_US, start + 3 * HOUR_US), 1440);
    database_close(database);
}

static void sums_are_cut_and_never_wrap(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    for (int i = 0; i < 3; i++) {
        write_at(ledger, A_DAY_US, INT64_MAX);
        assert_true(wait_until(is_drained, ledger)); /* one transaction each */
    }
    assert_true(total_of(&place).cost_nanos == INT64_MAX);
    assert_int_equal(ask_number(&place, "SELECT typeof(cost_nanos) = 'integer' FROM rollup_day"),
                     1);
    ledger_close(ledger);
}

static void names_that_clients_choose_are_bounded(void **state)
{
    (void)state;
    enum { USERS = ROLLUP_NAMES_MAX + 200 };
    char user[32];
    for (int life = 0; life < 2; life++) { /* the bound outlives the process */
        struct ledger *ledger = ledger_at(&place, 1);
        struct ledger_row row = row_of("x", 1);
        for (int i = 0; i < USERS; i++) {
            snprintf(user, sizeof(user), "user_%d", i);
            row.user = text_of(user);
            write_row(ledger, &row);
            row.user = TEXT("");
            row.model = text_of(user);
            write_row(ledger, &row);
            row.model = TEXT("fast");
        }
        row.tenant = TEXT("other tenant");
        row.user = TEXT("late");
        write_row(ledger, &row);
        ledger_close(ledger);
    }
    const enum usage_by by[] = {BY_USER}, models[] = {BY_MODEL}, both[] = {BY_TENANT, BY_USER};
    struct usage_report *report = report_of(&place, by, 1);
    /* the named ones, the nameless, the others, and the one of the other tenant */
    assert_int_equal(report->count, ROLLUP_NAMES_MAX + 3);
    usage_report_free(report);
    report = report_of(&place, models, 1);
    assert_int_equal(report->count, ROLLUP_NAMES_MAX + 1);
    usage_report_free(report);
    report = report_of(&place, both, 2);
    int64_t others = 0;
    for (size_t i = 0; i < report->count; i++)
        if (strcmp(report->rows[i].by[1], "other") == 0)
            others += report->rows[i].requests;
    assert_int_equal(others, 2 * 200);
    usage_report_free(report);
    assert_int_equal(total_of(&place).requests, 2 * (2 * USERS + 1));
}

/* Count a call of each of many users, in transactions of a hundred; bytes of the heap afterwards.
 */
static size_t count_users(struct rollup *rollup, struct book *book, int first, int count)
{
    size_t sums = 0;
    char user[32];
    struct ledger_row row = row_of("x", 1);
    for (int i = first; i < first + count; i++) {
        if (i % 100 == 0)
            assert_true(book_begin(book));
        snprintf(user, sizeof(user), "user_%d", i);
        row.user = text_of(user);
        assert_true(rollup_add(rollup, &row));
        if (i % 100 == 99)
            assert_true(rollup_write(rollup, &sums) && book_commit(book));
    }
    return mallinfo2().uordblks;
}

static void names_that_are_not_told_apart_are_not_remembered(void **state)
{
    (void)state;
    struct fault fault;
    ledger_close(ledger_at(&place, 1));
    struct book *book = book_open(place.database, false, SHARING_OFF, &fault);
    assert_non_null(book);
    struct rollup *rollup = rollup_new(book);
    size_t before = count_users(rollup, book, 0, 1000);
    size_t after = count_users(rollup, book, 1000, 10000);
    assert_in_range(after, 0, before + 100000);
    rollup_free(rollup);
    book_close(book);
}

/* ------------------------------------------------------------------------------------ retention */

static void expire_at(int64_t now_us)
{
    struct fault fault;
    struct book *book = book_open(place.database, false, SHARING_OFF, &fault);
    const struct book_keep keep = {14 * DAY_US, {3 * DAY_US, 90 * DAY_US, 1825 * DAY_US}};
    assert_non_null(book);
    assert_true(book_expire(book, &keep, now_us));
    book_close(book);
}

static void what_is_too_old_is_dropped(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    for (int day = 0; day < 100; day++)
        write_at(ledger, A_DAY_US - day * DAY_US, 1);
    assert_true(ledger_own(ledger_journal(ledger, 0), TEXT("resp_1"), TEXT("response"),
                           TEXT("acme"), TEXT("mini"), TEXT("gpt")));
    assert_true(ledger_own(ledger_journal(ledger, 0), TEXT("file-1"), TEXT("file"), TEXT("acme"),
                           TEXT("mini"), TEXT("gpt")));
    ledger_close(ledger);
    const char *tables = "SELECT count(*) FROM sqlite_schema WHERE name GLOB 'requests_*'";
    assert_int_equal(ask_number(&place, tables), 100);
    expire_at(A_DAY_US);
    assert_int_equal(ask_number(&place, tables), 15); /* the day that is cut is kept */
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM rollup_minute"), 4);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM rollup_hour"), 91);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM rollup_day"), 100);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM objects"), 2);
    assert_int_equal(total_of(&place).requests, 100);
    /* a clock that is years ahead for a moment does not empty everything */
    expire_at(A_DAY_US + 3650 * DAY_US);
    assert_in_range(ask_number(&place, tables), 12, 15);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM rollup_day"), 100);
    /* a stored response is forgotten some day, a file is not */
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM objects WHERE id = 'file-1'"), 1);
    expire_at(clock_wall_us() + 40 * DAY_US);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM objects"), 1);
}

static void a_clock_that_goes_back_breaks_nothing(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    write_at(ledger, A_DAY_US, 1);
    assert_true(wait_until(is_drained, ledger));
    write_at(ledger, A_DAY_US - 2 * DAY_US, 10);
    assert_true(wait_until(is_drained, ledger));
    write_at(ledger, 5, 100);
    write_at(ledger, INT64_MAX, 1000);
    write_at(ledger, A_DAY_US + DAY_US, 10000);
    ledger_close(ledger);
    assert_int_equal(cost_between(0, A_DAY_US + 2 * DAY_US), 10111);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_19700101"), 1);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_99991231"), 1);
}

static int64_t cost_by(struct ledger_reader *reader)
{
    struct fault fault;
    struct usage_question question = {
        .directory = place.ledger, .reader = reader, .until_us = A_DAY_US + DAY_US};
    struct usage_report *report = usage_ask(&question, &fault);
    assert_non_null(report);
    int64_t cost = report->rows[0].cost_nanos;
    usage_report_free(report);
    return cost;
}

/* Whether calls stand in journals or in the database already, and also where that is made later. */
static void a_reader_sees_a_moment_of_its_own_each_time(void **state)
{
    (void)state;
    struct ledger_reader *reader = ledger_reader_new(place.database);
    struct ledger *ledger = ledger_at(&place, 1);
    assert_int_equal(cost_by(reader), 0);
    for (int64_t cost = 1, sum = 1; cost < 1000; cost *= 10, sum += cost) {
        write_at(ledger, A_DAY_US, cost);
        assert_int_equal(cost_by(reader), sum);
        assert_true(wait_until(is_drained, ledger));
        assert_int_equal(cost_by(reader), sum);
    }
    ledger_close(ledger);
    assert_int_equal(cost_by(reader), 111);
    ledger_reader_free(reader);
}

/* -------------------------------------------------------------------------------- old databases */

/* All that is said of a database's tables; free it. */
static char *schema_of(const char *name, bool whole)
{
    struct fault fault;
    char path[sizeof(place.folder) + 16];
    snprintf(path, sizeof(path), "%s/%s", place.folder, name);
    struct database *database = database_open(path, DATABASE_WRITE, &fault);
    assert_non_null(database);
    if (whole)
        assert_true(database_make(database, book_whole, book_step_count, &fault));
    else
        assert_true(database_upgrade(database, book_steps, book_step_count, &fault));
    assert_int_equal(database_version(database), book_step_count);
    struct statement *ask = database_prepare(
        database, "SELECT group_concat(said, x'0a') FROM (SELECT type || ' ' || name || ' ' ||"
                  " tbl_name || ' ' || ifnull(sql, '') AS said FROM sqlite_schema ORDER BY 1)");
    assert_int_equal(statement_next(ask), STATEMENT_ROW);
    char *schema = memory_string(statement_text(ask, 0));
    statement_close(ask);
    database_close(database);
    return schema;
}

static void a_new_database_is_as_an_old_one_becomes(void **state)
{
    (void)state;
    char *whole = schema_of("whole.db", true), *steps = schema_of("steps.db", false);
    assert_string_equal(whole, steps);
    assert_true(strlen(whole) > 1000);
    memory_free(whole);
    memory_free(steps);
}

/* A database as version 1 made it, with one call in it and a journal that is drained up to 10. */
static void make_version_1(void)
{
    struct fault fault;
    struct database *database = database_open(place.database, DATABASE_WRITE, &fault);
    assert_non_null(database);
    assert_true(database_upgrade(database, book_steps, 1, &fault));
    assert_true(database_run(
        database,
        "INSERT INTO series VALUES (1, 'acme', 'ci', '', 'fast', 'mini', 'openai', 'chat', 200, 0);"
        "INSERT INTO rollup_minute VALUES (1764000000, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, "
        "1);"
        "INSERT INTO rollup_hour VALUES (1764000000, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1);"
        "INSERT INTO rollup_day VALUES (1763942400, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1);"
        "INSERT INTO objects VALUES ('file-9', 'acme', 'mini', 'gpt');"
        "INSERT INTO journals VALUES ('0006611f6a54b3dd-8c53b5ed', 0, 10);"));
    database_close(database);
}

static void assert_is_version_1_call(const struct usage_row *row)
{
    const struct usage expected = {2, 3, 4, 5, 6, 7, 8, 9, 10, SERVICE_STANDARD, 0, 0, 0, 0, 0};
    assert_int_equal(row->requests, 1);
    assert_memory_equal(&row->usage, &expected, offsetof(struct usage, service));
    assert_int_equal(row->usage.service, expected.service);
    assert_int_equal(row->cost_nanos, 11);
    assert_int_equal(row->saved_nanos, 12);
    assert_int_equal(row->estimated, 1);
}

static void a_database_of_version_1_is_read_and_upgraded(void **state)
{
    (void)state;
    make_version_1();
    assert_int_equal(ask_number(&place, "PRAGMA user_version"), 1);
    struct usage_row total = total_of(&place);
    assert_is_version_1_call(&total);
    struct ledger *ledger = ledger_at(&place, 1);
    assert_int_equal(ask_number(&place, "PRAGMA user_version"), book_step_count);
    total = total_of(&place);
    assert_is_version_1_call(&total);
    call_once(ledger_journal(ledger, 0), "new", 100);
    ledger_close(ledger);
    assert_int_equal(total_of(&place).cost_nanos, 111);
    assert_int_equal(ask_number(&place, "SELECT sequence FROM journals WHERE instance ="
                                        " '0006611f6a54b3dd-8c53b5ed' AND segment = 0"),
                     10);
    assert_int_equal(ask_number(&place, "SELECT kind = '' FROM objects WHERE id = 'file-9'"), 1);
    /* the same series: one call without a duration, one with it */
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM series"), 1);
    assert_int_equal(ask_number(&place, "SELECT sum(duration_us) FROM rollup_hour"), 1000);
}

/* ---------------------------------------------------------------------------------- other users */

/* Another user, who reads when it is asked. It is forked while there is no other thread: a child of
 * several may find a lock of SQLite's held for ever. */
struct reader {
    pid_t pid;
    int ask, told;
};

static void reader_main(int asked, int tell)
{
    char question;
    if (setgid(65534) != 0 || setuid(65534) != 0)
        _exit(99);
    while (read(asked, &question, 1) == 1) {
        struct fault fault;
        struct usage_report *report =
            usage_read(place.ledger, place.database, 0, INT64_MAX, NULL, 0, &fault);
        int64_t cost = report ? report->rows[0].cost_nanos : -1;
        usage_report_free(report);
        if (write(tell, &cost, sizeof(cost)) != sizeof(cost))
            _exit(98);
    }
    _exit(0);
}

static struct reader reader_start(void)
{
    int ask[2], told[2];
    assert_int_equal(pipe(ask), 0);
    assert_int_equal(pipe(told), 0);
    pid_t pid = child_fork();
    if (pid == 0) {
        close(ask[1]);
        close(told[0]);
        reader_main(ask[0], told[1]);
    }
    close(ask[0]);
    close(told[1]);
    return (struct reader){pid, ask[1], told[0]};
}

/* The cost that it sees; -1 = it is not allowed to. */
static int64_t cost_as_nobody(const struct reader *reader)
{
    int64_t cost = -2;
    assert_int_equal(write(reader->ask, "?", 1), 1);
    assert_int_equal(read(reader->told, &cost, sizeof(cost)), sizeof(cost));
    return cost;
}

static void reader_end(const struct reader *reader)
{
    int status;
    close(reader->ask);
    assert_int_equal(waitpid(reader->pid, &status, 0), reader->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(reader->told);
}

static void let_others_read(void)
{
    char *command = memory_format("chmod -R a+rX %s", place.folder);
    assert_int_equal(system(command), 0);
    memory_free(command);
}

/* The ledger may make a file just after the others were let. */
static void assert_others_read(const struct reader *reader, int64_t cost)
{
    int64_t seen = -1;
    for (int tries = 0; tries < 1000 && seen != cost; tries++) {
        let_others_read();
        seen = cost_as_nobody(reader);
        if (seen != cost)
            usleep(10000);
    }
    assert_int_equal(seen, cost);
}

static void another_user_may_read_when_the_files_may_be_read(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct reader reader = reader_start();
    struct ledger *ledger = ledger_at(&place, 1);
    call_once(ledger_journal(ledger, 0), "a", 5);
    assert_int_equal(cost_as_nobody(&reader), -1);
    assert_others_read(&reader, 5);
    assert_true(wait_until(is_drained, ledger));
    assert_others_read(&reader, 5);
    call_once(ledger_journal(ledger, 0), "b", 7);
    assert_others_read(&reader, 12);
    ledger_close(ledger);
    assert_others_read(&reader, 12);
    pid_t child = child_fork();
    if (child == 0) {
        ledger = ledger_at(&place, 1);
        call_once(ledger_journal(ledger, 0), "c", 20);
        struct ledger_row row = row_of("d", 30);
        struct ledger_mark mark;
        ledger_open_call(ledger_journal(ledger, 0), &row, &mark);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    let_others_read();
    assert_int_equal(cost_as_nobody(&reader), 62);
    reader_end(&reader);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_new_database_is_as_an_old_one_becomes),
        CASE(every_by_has_a_name),
        CASE(rows_are_grouped_and_the_dearest_comes_first),
        CASE(times_come_in_order_of_time),
        CASE(any_stretch_of_time_has_its_calls),
        CASE(sums_are_cut_and_never_wrap),
        CASE(names_that_clients_choose_are_bounded),
        CASE(names_that_are_not_told_apart_are_not_remembered),
        CASE(what_is_too_old_is_dropped),
        CASE(a_clock_that_goes_back_breaks_nothing),
        CASE(a_reader_sees_a_moment_of_its_own_each_time),
        CASE(a_database_of_version_1_is_read_and_upgraded),
        CASE(another_user_may_read_when_the_files_may_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
