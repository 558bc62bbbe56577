/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A full disk: new calls are refused, those that were admitted are settled, and all goes on by
 * itself when there is room again. On a small tmpfs where we may mount one, else with a limit on
 * the size of files.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "tests/unit/policy/ledger_cases.h"

enum { DISK_BYTES = 2 << 20, CALLS_MAX = 20000 };

static struct place place;
static bool is_mounted;
static char filler[96];

/* --------------------------------------------------------------------------------- a small disk */

static void write_file(const char *path, const char *words)
{
    int file = open(path, O_WRONLY);
    if (file < 0)
        return;
    if (write(file, words, strlen(words)) < 0)
        print_message("%s: %s\n", path, strerror(errno));
    close(file);
}

/* Become root of a name space of our own, where we may mount. */
static void become_root(void)
{
    char uids[32], gids[32];
    snprintf(uids, sizeof(uids), "0 %d 1", (int)geteuid());
    snprintf(gids, sizeof(gids), "0 %d 1", (int)getegid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return;
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", uids);
    write_file("/proc/self/gid_map", gids);
}

static bool mount_small(void)
{
    char options[64];
    snprintf(options, sizeof(options), "size=%d", DISK_BYTES);
    if (mount("tmpfs", place.folder, "tmpfs", 0, options) == 0)
        return true;
    become_root();
    return mount("tmpfs", place.folder, "tmpfs", 0, options) == 0;
}

/* No file may grow beyond <bytes>: what we do where no file system can be mounted. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void fill_disk(void)
{
    if (!is_mounted) {
        limit_files(4096);
        return;
    }
    int file = open(filler, O_WRONLY | O_CREAT, 0600);
    char block[4096];
    memset(block, 1, sizeof(block));
    while (write(file, block, sizeof(block)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(file);
}

static void free_disk(void)
{
    if (is_mounted)
        assert_int_equal(unlink(filler), 0);
    else
        limit_files(RLIM_INFINITY);
}

static int set_up(void **state)
{
    (void)state;
    place_make(&place);
    snprintf(filler, sizeof(filler), "%s/filler", place.folder);
    is_mounted = mount_small();
    print_message("a full disk is %s\n", is_mounted ? "a small tmpfs" : "a limit on files");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (is_mounted)
        assert_int_equal(umount(place.folder), 0);
    else
        free_disk();
    place_remove(&place);
    return 0;
}

/* ---------------------------------------------------------------------------------------- cases */

struct held {
    struct ledger_mark marks[CALLS_MAX];
    int count;
};

/* Open calls until one is refused. */
static void open_until_full(struct journal *journal, struct held *held)
{
    char id[32];
    for (held->count = 0; held->count < CALLS_MAX; held->count++) {
        snprintf(id, sizeof(id), "held_%d", held->count);
        struct ledger_row row = row_of(id, 1000);
        struct ledger_mark mark;
        if (!ledger_open_call(journal, &row, &mark)) {
            assert_true(mark.sequence == 0);
            return;
        }
        held->marks[held->count] = mark;
    }
    fail_msg("the disk was never full");
}

/* The largest settling lines there are: they must fit. */
static void settle_all(struct journal *journal, struct held *held)
{
    static char words[255];
    memset(words, 'w', sizeof(words));
    struct text longest = {words, sizeof(words)};
    for (int i = 0; i < held->count; i++) {
        struct ledger_row row = row_of("held", 1);
        row.tags = row.finish = row.upstream_model = row.id = row.user = row.fault = longest;
        row.key = row.dialect = row.upstream_dialect = row.operation = longest;
        assert_true(ledger_settle_call(journal, &row, &held->marks[i]));
    }
}

static bool can_open(void *with)
{
    struct ledger *ledger = with;
    struct ledger_row row = row_of("again", 5);
    struct ledger_mark mark;
    if (!ledger_open_call(ledger_journal(ledger, 0), &row, &mark))
        return false;
    assert_true(ledger_settle_call(ledger_journal(ledger, 0), &row, &mark));
    return true;
}

static bool is_not_full(void *with)
{
    return !ledger_figures(with).full;
}

static void calls_are_refused_while_the_disk_is_full(void **state)
{
    (void)state;
    static struct held held;
    struct ledger *ledger = ledger_at(&place, 1);
    struct journal *journal = ledger_journal(ledger, 0);
    fill_disk();
    for (int round = 0; round < 3; round++) {
        open_until_full(journal, &held);
        assert_true(ledger_figures(ledger).full);
        struct ledger_row row = row_of("refused", 0);
        struct ledger_mark none = {0};
        /* what need not be written must not take the room of what must */
        for (int i = 0; i < 2000; i++)
            if (!ledger_settle_call(journal, &row, &none))
                break;
            else
                none.sequence = 0;
        assert_int_equal(none.sequence, 0);
        assert_false(ledger_own(journal, TEXT("file-1"), TEXT("file"), TEXT("acme"), TEXT("mini"),
                                TEXT("gpt")));
        settle_all(journal, &held);
        free_disk();
        assert_true(wait_until(can_open, ledger));
        assert_true(wait_until(is_not_full, ledger));
        assert_true(wait_until(is_drained, ledger));
        fill_disk();
    }
    free_disk();
    ledger_close(ledger);
    struct usage_row total = total_of(&place);
    assert_int_equal(total.lost, 0);
    assert_true(total.requests > 3);
    assert_int_equal(total.requests, ask_number(&place, "SELECT sum(requests) FROM rollup_day"));
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_20251124"), total.requests);
}

static bool has_failed(void *with)
{
    return ledger_figures(with).drain_errors > 0;
}

static void the_database_catches_up_when_there_is_room_again(void **state)
{
    (void)state;
    char id[32];
    struct ledger *ledger = ledger_at(&place, 1);
    fill_disk();
    int calls = 0;
    for (; calls < CALLS_MAX; calls++) {
        snprintf(id, sizeof(id), "call_%d", calls);
        struct ledger_row row = row_of(id, 7);
        row.tags = TEXT("so that rows need some room: ........................................");
        struct ledger_mark mark;
        if (!ledger_open_call(ledger_journal(ledger, 0), &row, &mark))
            break;
        assert_true(ledger_settle_call(ledger_journal(ledger, 0), &row, &mark));
    }
    assert_true(wait_until(has_failed, ledger));
    assert_false(is_drained(ledger));
    assert_int_equal(total_of(&place).requests, calls);
    assert_int_equal(total_of(&place).cost_nanos, calls * 7);
    free_disk();
    assert_true(wait_until(is_drained, ledger));
    ledger_close(ledger);
    assert_int_equal(total_of(&place).cost_nanos, calls * 7);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_20251124"), calls);
}

static void what_is_stopped_with_a_full_disk_is_drained_later(void **state)
{
    (void)state;
    static struct held held;
    struct ledger *ledger = ledger_at(&place, 1);
    fill_disk();
    open_until_full(ledger_journal(ledger, 0), &held);
    ledger_close(ledger);
    free_disk();
    struct usage_row total = total_of(&place);
    assert_int_equal(total.requests, held.count);
    assert_int_equal(total.lost, held.count);
    ledger = ledger_at(&place, 1);
    for (int i = 0; i < 60000 && count_entries(place.ledger, "-") > 1; i++)
        usleep(1000);
    ledger_close(ledger);
    total = total_of(&place);
    assert_int_equal(total.requests, held.count);
    assert_int_equal(total.lost, held.count);
    assert_int_equal(total.cost_nanos, held.count * 1000);
    assert_int_equal(count_entries(place.ledger, ""), 0);
}

static void no_room_at_the_start_is_a_fault(void **state)
{
    (void)state;
    struct fault fault = {0};
    struct ledger_options options = {
        .directory = place.ledger, .database = place.database, .workers = 1};
    fill_disk();
    assert_null(ledger_open(&options, &fault));
    assert_non_null(strstr(fault.text, place.ledger));
    free_disk();
    assert_int_equal(count_entries(place.ledger, ""), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(calls_are_refused_while_the_disk_is_full),
        CASE(the_database_catches_up_when_there_is_room_again),
        CASE(what_is_stopped_with_a_full_disk_is_drained_later),
        CASE(no_room_at_the_start_is_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
