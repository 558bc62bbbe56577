/* SPDX-License-Identifier: Apache-2.0 */
/* Journals of dead processes that are torn, damaged, foreign or repeated. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/unit/child.h"
#include "tests/unit/policy/ledger_cases.h"

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

/* A process writes <calls> calls of cost 1 in <place> without a database, and dies. */
static void die_after(int calls)
{
    pid_t child = child_fork();
    if (child == 0) {
        struct fault fault;
        struct ledger_options options = {
            .directory = place.ledger, .segment_bytes = SMALL_SEGMENT, .workers = 1};
        struct ledger *ledger = ledger_open(&options, &fault);
        char id[32];
        for (int i = 0; i < calls; i++) {
            snprintf(id, sizeof(id), "call_%d", i);
            call_once(ledger_journal(ledger, 0), id, 1);
        }
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
}

struct file {
    char *bytes;
    size_t size;
};

/* Map segment <number> of the dead process to change it. */
static struct file open_segment(int number)
{
    char pattern[48];
    snprintf(pattern, sizeof(pattern), "*/0-%d.journal", number);
    char *path = find_path(&place, pattern);
    assert_non_null(path);
    int file = open(path, O_RDWR);
    memory_free(path);
    assert_true(file >= 0);
    struct stat facts;
    assert_int_equal(fstat(file, &facts), 0);
    char *bytes = mmap(NULL, (size_t)facts.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    assert_true(bytes != MAP_FAILED);
    return (struct file){bytes, (size_t)facts.st_size};
}

/* Where line <index> begins. */
static size_t offset_of(const struct file *file, int index)
{
    size_t offset = SEGMENT_HEAD_BYTES;
    struct record record;
    for (; index > 0; index--) {
        assert_int_equal(record_read(file->bytes + offset, file->size - offset, &record),
                         RECORD_HERE);
        offset += record.bytes;
    }
    return offset;
}

/* Directories of processes. What is set aside meanwhile is looked at first: one too many is counted
 * then, and none is overlooked. */
static int count_processes(void)
{
    int aside = count_entries(place.ledger, ".bad");
    return count_entries(place.ledger, "-") - aside;
}

static void drain_all(void)
{
    struct ledger *ledger = ledger_at(&place, 1);
    for (int i = 0; i < 60000 && count_processes() > 1; i++)
        usleep(1000);
    ledger_close(ledger);
    assert_int_equal(count_processes(), 0);
}

static void a_line_torn_by_our_death_is_no_damage(void **state)
{
    (void)state;
    die_after(10);
    struct file file = open_segment(1);
    size_t end = offset_of(&file, 20);
    memset(file.bytes + end + 4, 'x', 100); /* all but the length was written */
    munmap(file.bytes, file.size);
    assert_int_equal(total_of(&place).requests, 10);
    drain_all();
    assert_int_equal(total_of(&place).requests, 10);
    assert_int_equal(count_entries(place.ledger, ".bad"), 0);
}

static void behind_a_damaged_line_nothing_is_believed_but_all_is_kept(void **state)
{
    (void)state;
    die_after(10);
    struct file file = open_segment(1);
    file.bytes[offset_of(&file, 7) + 40] ^= 1; /* the settling line of the fourth call */
    munmap(file.bytes, file.size);
    drain_all();
    struct usage_row total = total_of(&place);
    assert_int_equal(total.requests, 4);
    assert_int_equal(total.complete, 3);
    assert_int_equal(total.lost, 1);
    assert_int_equal(count_entries(place.ledger, ".bad"), 1);
    drain_all(); /* the kept file disturbs nobody */
    assert_int_equal(total_of(&place).requests, 4);
    assert_int_equal(count_entries(place.ledger, ".bad"), 1);
}

static void a_missing_page_before_good_lines_is_damage(void **state)
{
    (void)state;
    die_after(200);
    struct file file = open_segment(1);
    size_t from = offset_of(&file, 100);
    memset(file.bytes + from, 0, 8192);
    munmap(file.bytes, file.size);
    drain_all();
    assert_int_equal(total_of(&place).requests, 50);
    assert_int_equal(count_entries(place.ledger, ".bad"), 1);
}

static void damage_in_one_segment_spares_the_next(void **state)
{
    (void)state;
    die_after(1000);
    struct file file = open_segment(1);
    file.bytes[offset_of(&file, 2) + 20] ^= 1;
    munmap(file.bytes, file.size);
    file = open_segment(2);
    struct record first;
    assert_int_equal(
        record_read(file.bytes + SEGMENT_HEAD_BYTES, file.size - SEGMENT_HEAD_BYTES, &first),
        RECORD_HERE);
    munmap(file.bytes, file.size);
    drain_all();
    /* one call before the damage, and those whose settling line stands in the other segments */
    int64_t kept = 1000 - (int64_t)(first.sequence - 1) / 2;
    assert_in_range(total_of(&place).requests, kept + 1, kept + 2);
    assert_int_equal(count_entries(place.ledger, ".bad"), 1);
}

static void lines_that_go_back_are_damage(void **state)
{
    (void)state;
    die_after(10);
    struct file file = open_segment(1);
    size_t second = offset_of(&file, 2), end = offset_of(&file, 20);
    /* the same lines once more, as a bad disk or a bad copy may do it */
    memcpy(file.bytes + end, file.bytes + second, 1024);
    munmap(file.bytes, file.size);
    drain_all();
    assert_int_equal(total_of(&place).requests, 10);
    assert_int_equal(count_entries(place.ledger, ".bad"), 1);
}

static void what_is_no_segment_is_set_aside(void **state)
{
    (void)state;
    die_after(10);
    struct file file = open_segment(1);
    file.bytes[8] = 99; /* a format that is not known yet */
    munmap(file.bytes, file.size);
    char *other = find_path(&place, "*/0-2.journal");
    if (other) {
        assert_int_equal(truncate(other, 50), 0);
        memory_free(other);
    }
    drain_all();
    assert_int_equal(total_of(&place).requests, 0);
    assert_in_range(count_entries(place.ledger, ".bad"), 1, 2);
}

/* As if we had died between the transaction and the removal of the file. */
static void files_that_come_back_are_not_booked_again(void **state)
{
    (void)state;
    die_after(1500);
    char *directory = find_path(&place, "*-*");
    char *copy = memory_format("%s/copy", place.folder);
    char *save = memory_format("cp -r %s %s", directory, copy);
    char *restore = memory_format("cp -r %s %s", copy, directory);
    assert_int_equal(system(save), 0);
    drain_all();
    assert_int_equal(total_of(&place).requests, 1500);
    assert_int_equal(system(restore), 0);
    assert_int_equal(total_of(&place).requests, 1500);
    drain_all();
    assert_int_equal(total_of(&place).requests, 1500);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_20251124"), 1500);
    memory_free(directory);
    memory_free(copy);
    memory_free(save);
    memory_free(restore);
}

/* A segment that was drained and could not be removed: it opens a call whose end is in segments
 * that are gone. */
static void a_segment_that_stayed_is_not_read_again(void **state)
{
    (void)state;
    pid_t child = child_fork();
    if (child == 0) {
        struct ledger *ledger = ledger_at(&place, 1);
        struct journal *journal = ledger_journal(ledger, 0);
        struct ledger_row row = row_of("long", 1);
        struct ledger_mark mark;
        ledger_open_call(journal, &row, &mark);
        char *first = find_path(&place, "*/0-1.journal");
        char *save = memory_format("cp %s %s/copy", first, place.folder);
        char *restore = memory_format("cp %s/copy %s", place.folder, first);
        int problem = system(save);
        for (int i = 0; i < 3000; i++) {
            if (i == 1500)
                ledger_settle_call(journal, &row, &mark);
            call_once(journal, "short", 1);
        }
        bool drained = wait_until(is_drained, ledger);
        if (problem || !drained || access(first, F_OK) == 0 || system(restore) != 0)
            _exit(1);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(total_of(&place).lost, 0);
    drain_all();
    struct usage_row total = total_of(&place);
    assert_int_equal(total.lost, 0);
    assert_int_equal(total.requests, 3001);
}

/* Random bytes over random places: no crash, no hang, nothing twice. */
static void random_damage_does_no_harm(void **state)
{
    (void)state;
    srandom(7);
    int64_t before = 0;
    for (int round = 0; round < 20; round++) {
        die_after(300);
        struct file file = open_segment(1);
        for (int i = 0; i <= round % 5; i++)
            file.bytes[(size_t)random() % file.size] = (char)random();
        munmap(file.bytes, file.size);
        drain_all();
        int64_t now = total_of(&place).requests;
        assert_in_range(now, before, before + 300);
        before = now;
    }
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_20251124"), before);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_line_torn_by_our_death_is_no_damage),
        CASE(behind_a_damaged_line_nothing_is_believed_but_all_is_kept),
        CASE(a_missing_page_before_good_lines_is_damage),
        CASE(damage_in_one_segment_spares_the_next),
        CASE(lines_that_go_back_are_damage),
        CASE(what_is_no_segment_is_set_aside),
        CASE(files_that_come_back_are_not_booked_again),
        CASE(a_segment_that_stayed_is_not_read_again),
        CASE(random_damage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
