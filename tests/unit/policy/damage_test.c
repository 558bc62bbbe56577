/* SPDX-License-Identifier: Apache-2.0 */
/* A damaged database: calls go on, and the next start begins a new one with what the journals hold.
 */
#include <fcntl.h>

#include "tests/unit/policy/ledger_cases.h"

enum { CALLS = 400 };

static struct place place;

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

static void calls(struct ledger *ledger, int from, int count)
{
    char id[32];
    for (int i = from; i < from + count; i++) {
        snprintf(id, sizeof(id), "call-%d", i);
        call_once(ledger_journal(ledger, 0), id, 1);
    }
}

/* Whatever others have read of the database they have to read again. */
static void change_something(void)
{
    struct fault fault = {0};
    struct database *database = database_open(place.database, DATABASE_WRITE, &fault);
    assert_true(database_run(database, "INSERT INTO facts (name, value) VALUES ('test', 1)"));
    database_close(database);
}

/* Write rubbish over what comes behind <offset>. */
static void damage_file(off_t offset)
{
    char rubbish[4096];
    int file = open(place.database, O_RDWR);
    off_t size = lseek(file, 0, SEEK_END);
    memset(rubbish, 0x5a, sizeof(rubbish));
    for (; offset < size; offset += (off_t)sizeof(rubbish))
        assert_int_equal(pwrite(file, rubbish, sizeof(rubbish), offset), sizeof(rubbish));
    close(file);
}

static bool fails(void *with)
{
    return ledger_figures(with).damaged;
}

/* What dead processes left is drained. */
static bool is_alone(void *with)
{
    (void)with;
    return count_entries(place.ledger, "-") == 1;
}

static int files_aside(void)
{
    return count_entries(place.folder, ".corrupt-") - count_entries(place.folder, "Z-");
}

static int64_t rows_in_days(void)
{
    return ask_number(&place, "SELECT sum(requests) FROM rollup_day");
}

static void what_is_no_database_is_moved_aside(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    calls(ledger, 0, 10);
    ledger_close(ledger);
    damage_file(0);
    ledger = ledger_at(&place, 1);
    assert_non_null(ledger_set_aside(ledger));
    assert_non_null(strstr(ledger_set_aside(ledger), ".corrupt-"));
    assert_int_equal(access(ledger_set_aside(ledger), F_OK), 0);
    calls(ledger, 10, 5);
    assert_true(wait_until(is_drained, ledger));
    assert_int_equal(rows_in_days(), 5);
    ledger_close(ledger);
    ledger = ledger_at(&place, 1);
    assert_null(ledger_set_aside(ledger));
    ledger_close(ledger);
    assert_int_equal(files_aside(), 1);
}

static void inner_damage_is_noticed_while_it_is_used(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    calls(ledger, 0, CALLS);
    ledger_close(ledger);
    char *wal = memory_format("%s-wal", place.database);
    unlink(wal); /* all of it is in the file */
    memory_free(wal);
    ledger = ledger_at(&place, 1);
    assert_null(ledger_set_aside(ledger));
    change_something();
    damage_file(4096); /* the schema stays */
    for (int i = 0; !fails(ledger) && i < 3000; i++) {
        calls(ledger, CALLS + i, 1); /* and none of them is refused */
        usleep(20000);
    }
    assert_true(fails(ledger));
    calls(ledger, 2 * CALLS, 50);
    uint64_t waiting = ledger_figures(ledger).lines_undrained;
    assert_true(waiting >= 100);
    assert_true(ledger_figures(ledger).drain_errors > 0);
    ledger_close(ledger); /* what is not booked stays in the journal */
    assert_true(count_entries(place.ledger, "-") >= 1);

    ledger = ledger_at(&place, 1);
    assert_non_null(ledger_set_aside(ledger));
    assert_false(fails(ledger));
    assert_true(wait_until(is_alone, NULL));
    ledger_close(ledger);
    ledger = ledger_at(&place, 1);
    assert_null(ledger_set_aside(ledger));
    ledger_close(ledger);
    /* At least what waited; and what was booked but still stood in the journal. */
    assert_true(rows_in_days() >= (int64_t)waiting / 2);
    assert_int_equal(files_aside(), 1);
    assert_int_equal(count_entries(place.folder, ".damaged"), 0);
}

/* Somebody else keeps it for long: lines wait, nothing is lost, and it goes on by itself. */
static void a_locked_database_is_waited_for(void **state)
{
    (void)state;
    struct fault fault = {0};
    struct ledger *ledger = ledger_at(&place, 1);
    struct database *other = database_open(place.database, DATABASE_WRITE, &fault);
    assert_true(database_begin(other));
    calls(ledger, 0, 100);
    for (int i = 0; i < 3000 && ledger_figures(ledger).drain_errors == 0; i++)
        usleep(10000);
    assert_true(ledger_figures(ledger).drain_errors > 0);
    assert_false(fails(ledger));
    assert_int_equal(ledger_figures(ledger).lines_undrained, 200);
    assert_int_equal(total_of(&place).requests, 100);
    calls(ledger, 100, 100);
    database_rollback(other);
    database_close(other);
    assert_true(wait_until(is_drained, ledger));
    ledger_close(ledger);
    assert_int_equal(rows_in_days(), 200);
    assert_int_equal(count_entries(place.folder, ".damaged"), 0);
}

/* A note that was left of a database that is good again, restored for one, is forgotten. */
static void a_good_database_is_left_alone(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    calls(ledger, 0, 10);
    ledger_close(ledger);
    char *note = memory_format("%s.damaged", place.database);
    close(open(note, O_WRONLY | O_CREAT, 0640));
    ledger = ledger_at(&place, 1);
    assert_null(ledger_set_aside(ledger));
    ledger_close(ledger);
    assert_int_equal(access(note, F_OK), -1);
    assert_int_equal(rows_in_days(), 10);
    memory_free(note);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_no_database_is_moved_aside),
        CASE(inner_damage_is_noticed_while_it_is_used),
        CASE(a_locked_database_is_waited_for),
        CASE(a_good_database_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
