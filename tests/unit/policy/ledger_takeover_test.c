/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a dead process left is counted once in every report, whatever step its drain has come to,
 * and whatever of it happens while a report is being read.
 *
 * The steps are the system calls by which a drain and a reader see each other's doing: they are
 * called by way of this file, which does something of the other's in front of and behind each.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "gateway/base/log.h"
#include "policy/estate.h"
#include "tests/unit/child.h"
#include "tests/unit/policy/ledger_cases.h"

enum { CALLS = 600, OPENED_EVERY = 60, LOST = CALLS / OPENED_EVERY, STEPS_MAX = 200 };

static struct place place;
static int root = -1;
static struct book *book;
static struct drain *drain;
static struct estate *estate;
static int64_t requests, lost; /* of all that died so far */

/* ------------------------------------------------------------------------------ in between */

static void (*between)(void); /* NULL: nothing happens */

static void happen(void)
{
    void (*now)(void) = between;
    if (!now)
        return;
    int problem = errno;
    between = NULL; /* what happens has steps, too */
    now();
    between = now;
    errno = problem;
}

int flock(int fd, int operation)
{
    happen();
    int result = (int)syscall(SYS_flock, fd, operation);
    happen();
    return result;
}

int unlinkat(int fd, const char *name, int flags)
{
    happen();
    int result = (int)syscall(SYS_unlinkat, fd, name, flags);
    happen();
    return result;
}

int faccessat(int fd, const char *path, int type, int flags)
{
    (void)flags; /* none are used */
    happen();
    int result = (int)syscall(SYS_faccessat, fd, path, type);
    happen();
    return result;
}

int access(const char *path, int type)
{
    happen();
    return (int)syscall(SYS_faccessat, AT_FDCWD, path, type);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
    int result = (int)syscall(SYS_mkdirat, fd, path, mode);
    happen();
    return result;
}

/* ---------------------------------------------------------------------------------- the dead */

/* Its lines fill more than one segment; calls are left open in each. */
static void die(void)
{
    struct ledger_options options = {
        .directory = place.ledger, .segment_bytes = SMALL_SEGMENT, .workers = 2};
    struct fault fault;
    struct ledger *ledger = ledger_open(&options, &fault);
    for (int i = 0; ledger && i < CALLS; i++) {
        struct ledger_mark mark;
        char id[32];
        snprintf(id, sizeof(id), "%d-%d", (int)getpid(), i);
        struct ledger_row row = row_of(id, 5);
        struct journal *journal = ledger_journal(ledger, (unsigned)i % 2);
        if (!ledger_open_call(journal, &row, &mark))
            _exit(1);
        if (i % OPENED_EVERY)
            ledger_settle_call(journal, &row, &mark);
    }
    _exit(!ledger);
}

static void one_dies(void)
{
    int status;
    pid_t child = child_fork();
    if (child == 0)
        die();
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    requests += CALLS;
    lost += LOST;
    estate_look(estate);
}

static void assert_all_counted(void)
{
    struct usage_row total = total_of(&place);
    assert_int_equal(total.requests, requests);
    assert_int_equal(total.lost, lost);
    assert_int_equal(total.cost_nanos, requests * 5);
}

static void drain_all(void)
{
    enum drained result;
    while ((result = estate_step(estate, drain)) == DRAINED_SOME)
        ;
    assert_int_equal(result, DRAINED_ALL);
}

/* ------------------------------------------------------------------------------------- tests */

static void what_is_taken_over_is_in_a_report_at_every_step(void **state)
{
    (void)state;
    int steps = 0;
    one_dies();
    one_dies();
    assert_all_counted();
    between = assert_all_counted;
    for (enum drained result = DRAINED_SOME; result != DRAINED_ALL; steps++) {
        result = estate_step(estate, drain);
        assert_int_not_equal(result, DRAIN_FAILED);
        assert_true(steps < STEPS_MAX);
        between = NULL;
        assert_all_counted();
        between = assert_all_counted;
    }
    between = NULL;
    assert_true(steps > 4);
    assert_int_equal(count_entries(place.ledger, "-"), 0);
}

static int until, far; /* at which step of the reader; how much is drained then */

static void drain_some(void)
{
    if (until-- != 0)
        return;
    for (int i = 0; i < far; i++)
        assert_int_not_equal(estate_step(estate, drain), DRAIN_FAILED);
}

static void a_report_has_all_whatever_is_taken_over_meanwhile(void **state)
{
    (void)state;
    for (far = 1; far < STEPS_MAX; far *= 3) {
        bool any = true;
        for (int at = 0; any; at++) {
            one_dies();
            until = at;
            between = drain_some;
            assert_all_counted();
            between = NULL;
            any = until < 0;
            assert_true(at < STEPS_MAX);
            drain_all();
            assert_all_counted();
        }
    }
}

static void what_somebody_reads_is_taken_over_later(void **state)
{
    (void)state;
    one_dies();
    char *path = find_path(&place, "*-*");
    int reading = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(reading >= 0);
    assert_int_equal(flock(reading, LOCK_SH | LOCK_NB), 0);
    one_dies(); /* does not wait for it */
    for (int i = 0; i < STEPS_MAX; i++)
        assert_int_not_equal(estate_step(estate, drain), DRAIN_FAILED);
    assert_all_counted();
    assert_int_equal(estate_step(estate, drain), DRAIN_WAITS);
    assert_int_equal(count_entries(place.ledger, "-"), 1);
    close(reading);
    drain_all();
    assert_all_counted();
    assert_int_equal(count_entries(place.ledger, "-"), 0);
    memory_free(path);
}

static void mark_as_dead(void)
{
    static bool marked;
    if (marked)
        return;
    marked = true;
    char *path = find_path(&place, "*-*"), *mark = memory_format("%s/dead", path);
    int file = open(mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0640);
    assert_true(file >= 0);
    close(file);
    memory_free(mark);
    memory_free(path);
}

/* Somebody took the directory for a dead one's before it was locked, and let go of it. */
static void who_begins_is_not_dead(void **state)
{
    (void)state;
    char instance[INSTANCE_BYTES];
    between = mark_as_dead;
    int directory = instance_new(root, instance);
    between = NULL;
    assert_true(directory >= 0);
    int again = openat(root, instance, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_false(instance_is_dead(again));
    close(again);
    instance_remove(root, instance, directory);
    close(directory);
}

/* Figures for people are whole or none; a budget forgets what cannot be read, and nothing else. */
static void what_cannot_be_read_is_left_out_of_budgets_alone(void **state)
{
    (void)state;
    struct fault fault;
    struct usage_question question = {.directory = place.ledger,
                                      .database = place.database,
                                      .until_us = INT64_MAX,
                                      .at_start = true};
    one_dies();
    char *path = find_path(&place, "*-*"), *link = memory_format("%s/7-1.journal", path);
    assert_int_equal(symlink("7-1.journal", link), 0);
    assert_null(usage_read(place.ledger, place.database, 0, INT64_MAX, NULL, 0, &fault));
    struct usage_report *report = usage_ask(&question, &fault);
    assert_non_null(report);
    assert_int_equal(report->count, 1);
    assert_int_equal(report->rows[0].requests, requests);
    assert_int_equal(report->rows[0].lost, lost);
    usage_report_free(report);
    memory_free(link);
    memory_free(path);
}

static int set_up(void **state)
{
    (void)state;
    struct fault fault;
    log_set_level(LOG_ERROR);
    requests = lost = 0;
    place_make(&place);
    char *parent = memory_format("%s/a", place.folder);
    assert_int_equal(mkdir(parent, 0700), 0);
    assert_int_equal(mkdir(place.ledger, 0700), 0);
    memory_free(parent);
    root = open(place.ledger, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0);
    book = book_open(place.database, false, SHARING_OFF, &fault);
    assert_non_null(book);
    drain = drain_new(book);
    estate = estate_new(root, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    between = NULL;
    estate_free(estate);
    drain_free(drain);
    book_close(book);
    close(root);
    place_remove(&place);
    return 0;
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_taken_over_is_in_a_report_at_every_step),
        CASE(a_report_has_all_whatever_is_taken_over_meanwhile),
        CASE(what_somebody_reads_is_taken_over_later),
        CASE(who_begins_is_not_dead),
        CASE(what_cannot_be_read_is_left_out_of_budgets_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
