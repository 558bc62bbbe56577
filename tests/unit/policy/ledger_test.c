/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger as its users see it: lines in, figures out. */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "gateway/base/sanitizer.h"
#include "tests/unit/child.h"
#include "tests/unit/policy/ledger_cases.h"

static struct place place;

static int set_up(void **state)
{
    (void)state;
    place_make(&place);
    /* neither directory is there yet */
    snprintf(place.database, sizeof(place.database), "%s/b/c/store.db", place.folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    place_remove(&place);
    return 0;
}

static void calls_are_summed_up_before_and_after_the_drain(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    char id[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(id, sizeof(id), "req_%d", i);
        call_once(ledger_journal(ledger, 0), id, 7);
        if (i % 100 == 0)
            assert_int_equal(total_of(&place).requests, i + 1);
    }
    struct usage_row total = total_of(&place);
    assert_int_equal(total.requests, 1000);
    assert_int_equal(total.cost_nanos, 7000);
    ledger_close(ledger);
    total = total_of(&place);
    assert_int_equal(total.requests, 1000);
    assert_int_equal(total.complete, 1000);
    assert_int_equal(total.cost_nanos, 7000);
    assert_int_equal(total.usage.input_tokens, 10000);
    assert_int_equal(total.usage.output_tokens, 3000);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_20251124"), 1000);
    assert_int_equal(ask_number(&place, "SELECT sum(requests) FROM rollup_minute"), 1000);
    assert_int_equal(ask_number(&place, "SELECT sum(cost_nanos) FROM rollup_hour"), 7000);
    assert_int_equal(ask_number(&place, "SELECT sum(duration_us) FROM rollup_day"), 1000000);
    assert_int_equal(count_entries(place.ledger, ""), 0);
}

static void it_goes_on_where_it_was_when_it_is_opened_again(void **state)
{
    (void)state;
    for (int i = 1; i <= 3; i++) {
        struct ledger *ledger = ledger_at(&place, 2);
        call_once(ledger_journal(ledger, 0), "a", 1);
        call_once(ledger_journal(ledger, 1), "b", 10);
        ledger_close(ledger);
        assert_int_equal(total_of(&place).cost_nanos, i * 11);
    }
}

/* As during an upgrade in place: both write, both drain into the same database. */
static void two_processes_share_a_database(void **state)
{
    (void)state;
    struct ledger *one = ledger_at(&place, 1), *two = ledger_at(&place, 1);
    char user[32];
    for (int i = 0; i < 2000; i++) {
        struct ledger_row row = row_of("x", 1);
        struct ledger_mark mark;
        snprintf(user, sizeof(user), "user_%d", i % 50);
        row.user = text_of(user);
        struct journal *journal = ledger_journal(i % 2 ? one : two, 0);
        assert_true(ledger_open_call(journal, &row, &mark));
        assert_true(ledger_settle_call(journal, &row, &mark));
        if (i % 200 == 0)
            usleep(20000);
    }
    assert_int_equal(total_of(&place).requests, 2000);
    ledger_close(one);
    assert_int_equal(total_of(&place).requests, 2000);
    call_once(ledger_journal(two, 0), "after", 1);
    ledger_close(two);
    assert_int_equal(total_of(&place).cost_nanos, 2001);
    assert_int_equal(ask_number(&place, "SELECT sum(cost_nanos) FROM rollup_day"), 2001);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM series"), 51);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_20251124"), 2001);
}

/* Thousands of calls are open at once: each has room for its end. */
static void many_calls_are_open_at_once(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    static struct ledger_mark marks[MANY];
    struct ledger *ledger = ledger_at(&place, 1);
    struct ledger_row row = row_of("stream", 3);
    for (int i = 0; i < MANY; i++)
        assert_true(ledger_open_call(ledger_journal(ledger, 0), &row, &marks[i]));
    for (int i = 0; i < MANY; i++)
        assert_true(ledger_settle_call(ledger_journal(ledger, 0), &row, &marks[i]));
    ledger_close(ledger);
    struct usage_row total = total_of(&place);
    assert_int_equal(total.complete, MANY);
    assert_int_equal(total.lost, 0);
}

static void a_row_keeps_all_that_was_said(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct ledger_row row = row_of("req_x", 42);
    row.tags = TEXT("team=search");
    row.user = TEXT("anna");
    row.fault = TEXT("target_cut");
    row.outcome = LEDGER_PARTIAL;
    struct ledger_mark mark;
    assert_true(ledger_open_call(ledger_journal(ledger, 0), &row, &mark));
    assert_true(ledger_settle_call(ledger_journal(ledger, 0), &row, &mark));
    ledger_close(ledger);

    struct fault fault;
    struct database *database = database_open(place.database, DATABASE_READ, &fault);
    struct statement *ask =
        database_prepare(database, "SELECT at, id, line FROM requests_20251124");
    assert_int_equal(statement_next(ask), STATEMENT_ROW);
    assert_true(statement_number(ask, 0) == A_DAY_US);
    assert_true(text_equal(statement_text(ask, 1), TEXT("req_x")));
    struct record record;
    assert_true(record_read_body(statement_text(ask, 2), &record));
    assert_true(text_equal(record.row.tags, TEXT("team=search")));
    assert_true(text_equal(record.row.user, TEXT("anna")));
    assert_true(text_equal(record.row.fault, TEXT("target_cut")));
    assert_int_equal(record.row.outcome, LEDGER_PARTIAL);
    assert_int_equal(record.row.cost_nanos, 42);
    assert_int_equal(record.row.price_version, 7);
    assert_int_equal(statement_next(ask), STATEMENT_END);
    database_close(database);
}

static void refused_calls_need_no_opening_line(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct ledger_row row = row_of("refused", 0);
    row.outcome = LEDGER_REFUSED;
    struct ledger_mark mark = {0};
    assert_true(ledger_settle_call(ledger_journal(ledger, 0), &row, &mark));
    assert_true(mark.sequence != 0);
    ledger_close(ledger);
    assert_int_equal(total_of(&place).refused, 1);
}

static void a_call_left_open_is_lost_once(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct ledger_row row = row_of("open", 500);
    struct ledger_mark mark;
    assert_true(ledger_open_call(ledger_journal(ledger, 0), &row, &mark));
    call_once(ledger_journal(ledger, 0), "closed", 3);
    struct usage_row total = total_of(&place);
    assert_int_equal(total.requests, 1); /* it may still be settled */
    ledger_close(ledger);
    for (int i = 0; i < 2; i++) {
        total = total_of(&place);
        assert_int_equal(total.requests, 2);
        assert_int_equal(total.lost, 1);
        assert_int_equal(total.estimated, 1);
        assert_int_equal(total.cost_nanos, 503);
        ledger_close(ledger_at(&place, 1));
    }
}

/* Lines enough to fill <segments>. */
static void fill(struct journal *journal, int segments)
{
    char id[32];
    for (int i = 0; i < segments * SMALL_SEGMENT / 200; i++) {
        snprintf(id, sizeof(id), "fill_%d", i);
        call_once(journal, id, 1);
    }
}

static void a_long_call_outlives_its_segment_and_keeps_none_on_disk(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct journal *journal = ledger_journal(ledger, 0);
    struct ledger_row one = row_of("long", 1000000), two = row_of("longer", 2000000);
    struct ledger_mark mark_one, mark_two;
    assert_true(ledger_open_call(journal, &one, &mark_one));
    assert_true(ledger_open_call(journal, &two, &mark_two));
    fill(journal, 5);
    assert_true(wait_until(is_drained, ledger));
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM open_calls"), 2);
    char *own = find_path(&place, "*");
    /* the one that is written and those ahead */
    assert_true(count_entries(own, ".journal") <= 4);
    memory_free(own);
    int64_t before = total_of(&place).cost_nanos;
    one.cost_nanos = 5;
    assert_true(ledger_settle_call(journal, &one, &mark_one));
    assert_int_equal(total_of(&place).cost_nanos, before + 5);
    assert_true(wait_until(is_drained, ledger));
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM open_calls"), 1);
    ledger_close(ledger);
    struct usage_row total = total_of(&place);
    assert_int_equal(total.lost, 1);
    assert_int_equal(total.cost_nanos, before + 5 + 2000000);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM open_calls"), 0);
}

/* -------------------------------------------------------------------------------------- threads */

enum { THREADS = 4, CALLS = 20000 };

struct writer {
    pthread_t thread;
    struct journal *journal;
    unsigned number;
    atomic_int settled;
};

enum { LOOKS = 3 };
static atomic_int looked; /* how often, while they write */

static void *write_calls(void *with)
{
    struct writer *writer = with;
    char id[48];
    struct ledger_mark late = {0};
    struct ledger_row late_row = row_of("late", 10);
    for (int i = 0; i < CALLS; i++) {
        for (int waits = 0; i > CALLS / 2 && atomic_load(&looked) < LOOKS && waits < 30000; waits++)
            usleep(1000); /* the reader is late on a machine that others use */
        snprintf(id, sizeof(id), "req_%u_%d", writer->number, i);
        struct ledger_row row = row_of(id, 10);
        struct ledger_mark mark;
        while (!ledger_open_call(writer->journal, &row, &mark))
            usleep(100);
        /* every tenth call ends after the next ones */
        struct ledger_mark kept = i % 10 == 0 ? mark : (struct ledger_mark){0};
        if (kept.sequence && late.sequence) {
            ledger_settle_call(writer->journal, &late_row, &late);
            atomic_fetch_add(&writer->settled, 1);
        }
        if (kept.sequence) {
            late = kept;
            continue;
        }
        ledger_settle_call(writer->journal, &row, &mark);
        atomic_fetch_add(&writer->settled, 1);
    }
    ledger_settle_call(writer->journal, &late_row, &late);
    atomic_fetch_add(&writer->settled, 1);
    return NULL;
}

static int settled_by(struct writer *writers)
{
    int settled = 0;
    for (int i = 0; i < THREADS; i++)
        settled += atomic_load(&writers[i].settled);
    return settled;
}

static void a_reader_beside_many_writers_sees_each_call_once(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, THREADS);
    static struct writer writers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){.journal = ledger_journal(ledger, i), .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_calls, &writers[i]), 0);
    }
    atomic_store(&looked, 0);
    for (int before = 0; before < THREADS * CALLS; atomic_fetch_add(&looked, 1)) {
        before = settled_by(writers);
        struct usage_row total = total_of(&place);
        int after = settled_by(writers);
        assert_true(total.requests >= before);
        assert_true(total.requests <= after + THREADS); /* written, not yet counted by the thread */
        assert_int_equal(total.cost_nanos, total.requests * 10);
        assert_int_equal(total.complete, total.requests);
    }
    assert_true(atomic_load(&looked) >= LOOKS);
    for (int i = 0; i < THREADS; i++)
        pthread_join(writers[i].thread, NULL);
    ledger_close(ledger);
    struct usage_row total = total_of(&place);
    assert_int_equal(total.requests, THREADS * CALLS);
    assert_int_equal(total.cost_nanos, THREADS * CALLS * 10);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_20251124"), THREADS * CALLS);
}

/* -------------------------------------------------------------------------------------- objects */

struct asked {
    struct owner_question question;
    struct owner owners[3];
    atomic_bool answered;
};

static void on_answer(struct owner_question *question)
{
    struct asked *asked = (struct asked *)question;
    atomic_store(&asked->answered, true);
}

static bool is_answered(void *with)
{
    return atomic_load(&((struct asked *)with)->answered);
}

static void ask_owners(struct ledger *ledger, struct asked *asked, const char *a, const char *b)
{
    memset(asked, 0, sizeof(*asked));
    snprintf(asked->owners[0].id, OWNER_TEXT_BYTES, "%s", a);
    snprintf(asked->owners[1].id, OWNER_TEXT_BYTES, "%s", b);
    asked->question =
        (struct owner_question){.owners = asked->owners, .count = 2, .answer = on_answer};
    ledger_ask_owners(ledger, &asked->question);
    assert_true(wait_until(is_answered, asked));
}

static void owners_are_known_at_once_and_by_the_next_process(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct journal *journal = ledger_journal(ledger, 0);
    static struct asked asked;
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            assert_true(ledger_own(journal, TEXT("file-1"), TEXT("file"), TEXT("acme"),
                                   TEXT("mini"), TEXT("gpt")));
        ask_owners(ledger, &asked, "file-1", "file-2");
        assert_false(asked.question.failed);
        assert_true(asked.owners[0].found);
        assert_string_equal(asked.owners[0].tenant, "acme");
        assert_string_equal(asked.owners[0].target, "mini");
        assert_string_equal(asked.owners[0].model, "gpt");
        assert_false(asked.owners[1].found);
        ledger_close(ledger);
        ledger = ledger_at(&place, 1);
        journal = ledger_journal(ledger, 0);
    }
    assert_true(ledger_disown(journal, TEXT("file-1")));
    ask_owners(ledger, &asked, "file-1", "");
    assert_false(asked.owners[0].found);
    ledger_close(ledger);
}

static void a_dead_process_owners_are_known(void **state)
{
    (void)state;
    pid_t child = child_fork();
    if (child == 0) {
        struct ledger *dying = ledger_at(&place, 1);
        ledger_own(ledger_journal(dying, 0), TEXT("batch_1"), TEXT("batch"), TEXT("acme"),
                   TEXT("mini"), TEXT("gpt"));
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct ledger *ledger = ledger_at(&place, 1);
    static struct asked asked;
    ask_owners(ledger, &asked, "batch_1", "batch_2");
    assert_false(asked.question.failed);
    assert_true(asked.owners[0].found);
    assert_false(asked.owners[1].found);
    ledger_close(ledger);
}

/* Is there no directory but that of the ledger that is open? */
static bool is_alone(void *with)
{
    (void)with;
    return count_entries(place.ledger, "-") == 1;
}

static void without_a_database_owners_are_not_known(void **state)
{
    (void)state;
    struct fault fault;
    struct ledger_options options = {
        .directory = place.ledger, .segment_bytes = SMALL_SEGMENT, .workers = 1};
    struct ledger *ledger = ledger_open(&options, &fault);
    assert_non_null(ledger);
    static struct asked asked;
    ask_owners(ledger, &asked, "file-1", "");
    assert_true(asked.question.failed);
    assert_false(asked.owners[0].found);
    call_once(ledger_journal(ledger, 0), "kept", 9);
    ledger_close(ledger);
    assert_int_equal(total_of(&place).cost_nanos, 9); /* from the files alone */
    ledger = ledger_at(&place, 1);
    assert_true(wait_until(is_alone, NULL)); /* drained by somebody with a database */
    assert_int_equal(total_of(&place).cost_nanos, 9);
    assert_int_equal(ask_number(&place, "SELECT sum(cost_nanos) FROM rollup_day"), 9);
    ledger_close(ledger);
}

/* ------------------------------------------------------------------------------------- the disk */

struct safe {
    atomic_int calls;
    struct journal *journal;
    struct ledger_mark mark;
};

static void on_safe(void *with)
{
    atomic_fetch_add(&((struct safe *)with)->calls, 1);
}

static bool is_safe(void *with)
{
    struct safe *safe = with;
    return journal_is_safe(safe->journal, safe->mark);
}

static bool was_told(void *with)
{
    return atomic_load(&((struct safe *)with)->calls) > 0;
}

static void with_sync_disk_lines_become_safe(void **state)
{
    (void)state;
    struct fault fault;
    struct ledger_options options = {.directory = place.ledger,
                                     .database = place.database,
                                     .sync = SYNC_DISK,
                                     .segment_bytes = SMALL_SEGMENT,
                                     .workers = 1};
    struct ledger *ledger = ledger_open(&options, &fault);
    assert_non_null(ledger);
    struct safe safe = {.journal = ledger_journal(ledger, 0)};
    journal_on_safe(safe.journal, on_safe, &safe);
    for (int i = 0; i < 3; i++) {
        fill(safe.journal, 1);
        struct ledger_row row = row_of("sync", 1);
        assert_true(ledger_open_call(safe.journal, &row, &safe.mark));
        assert_true(wait_until(is_safe, &safe));
        atomic_store(&safe.calls, 0);
        assert_true(ledger_settle_call(safe.journal, &row, &safe.mark));
        assert_true(wait_until(is_safe, &safe));
        assert_true(wait_until(was_told, &safe));
        usleep(i == 1 ? 1200000 : 0); /* also after a pause, when everybody sleeps */
    }
    ledger_close(ledger);
    assert_int_equal(total_of(&place).lost, 0);
}

static void with_sync_os_a_line_is_safe_when_it_is_written(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct ledger_row row = row_of("x", 1);
    struct ledger_mark mark;
    assert_true(ledger_open_call(ledger_journal(ledger, 0), &row, &mark));
    assert_true(journal_is_safe(ledger_journal(ledger, 0), mark));
    assert_true(ledger_settle_call(ledger_journal(ledger, 0), &row, &mark));
    assert_true(journal_is_safe(ledger_journal(ledger, 0), mark));
    ledger_close(ledger);
}

static void the_figures_add_up(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 2);
    fill(ledger_journal(ledger, 1), 3);
    struct ledger_figures figures = ledger_figures(ledger);
    assert_int_equal(figures.lines, 3 * SMALL_SEGMENT / 200 * 2);
    assert_true(wait_until(is_drained, ledger));
    figures = ledger_figures(ledger);
    assert_int_equal(figures.bytes_undrained, 0);
    assert_true(figures.drains > 0);
    assert_int_equal(figures.drain_errors, 0);
    assert_false(figures.full);
    ledger_close(ledger);
}

/* A line that comes when the drain has gone to sleep wakes it. */
static void a_line_after_a_long_pause_is_drained(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    call_once(ledger_journal(ledger, 0), "a", 1);
    usleep(1500000);
    call_once(ledger_journal(ledger, 0), "b", 1);
    uint64_t start = clock_now_us();
    assert_true(wait_until(is_drained, ledger));
    assert_true(clock_now_us() - start < 9000000); /* asleep it looks every ten seconds */
    ledger_close(ledger);
}

struct heap {
    size_t before, most;
};

static bool has_given_back(void *with)
{
    struct heap *heap = with;
    size_t now = mallinfo2().arena;
    if (now > heap->most)
        heap->most = now;
    return heap->most - now > (heap->most - heap->before) / 3;
}

/* What many calls at once took goes back to the kernel soon, not with the next minute. */
static void the_drain_gives_back_what_it_needed(void **state)
{
    (void)state;
    memory_keep_free(16 << 20);
    struct ledger *ledger = ledger_at(&place, 1);
    struct heap heap = {.before = mallinfo2().arena};
    char id[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(id, sizeof(id), "req_%d", i);
        call_once(ledger_journal(ledger, 0), id, 7);
    }
    assert_true(wait_until(is_drained, ledger));
    if (!UNDER_SANITIZER) /* whose heap is another */
        assert_true(wait_until(has_given_back, &heap));
    ledger_close(ledger);
}

static void what_cannot_be_opened_says_why(void **state)
{
    (void)state;
    struct fault fault = {0};
    struct ledger_options options = {.directory = "/proc/nowhere/ledger", .workers = 1};
    assert_null(ledger_open(&options, &fault));
    assert_non_null(strstr(fault.text, "/proc/nowhere/ledger"));
    struct ledger *ledger = ledger_at(&place, 1);
    ledger_close(ledger);
    struct database *database = database_open(place.database, DATABASE_WRITE, &fault);
    assert_true(database_run(database, "PRAGMA user_version = 1000"));
    database_close(database);
    options.directory = place.ledger;
    options.database = place.database;
    assert_null(ledger_open(&options, &fault));
    assert_non_null(strstr(fault.text, "newer"));
    assert_int_equal(count_entries(place.ledger, ""), 0);
    assert_null(usage_read(place.ledger, place.database, 0, INT64_MAX, NULL, 0, &fault));
    assert_non_null(strstr(fault.text, "1000"));
    assert_null(usage_read("/nonexistent", "/nonexistent.db", 0, INT64_MAX, NULL, 0, &fault));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(calls_are_summed_up_before_and_after_the_drain),
        CASE(it_goes_on_where_it_was_when_it_is_opened_again),
        CASE(two_processes_share_a_database),
        CASE(many_calls_are_open_at_once),
        CASE(a_row_keeps_all_that_was_said),
        CASE(refused_calls_need_no_opening_line),
        CASE(a_call_left_open_is_lost_once),
        CASE(a_long_call_outlives_its_segment_and_keeps_none_on_disk),
        CASE(a_reader_beside_many_writers_sees_each_call_once),
        CASE(owners_are_known_at_once_and_by_the_next_process),
        CASE(a_dead_process_owners_are_known),
        CASE(without_a_database_owners_are_not_known),
        CASE(with_sync_disk_lines_become_safe),
        CASE(with_sync_os_a_line_is_safe_when_it_is_written),
        CASE(the_figures_add_up),
        CASE(a_line_after_a_long_pause_is_drained),
        CASE(the_drain_gives_back_what_it_needed),
        CASE(what_cannot_be_opened_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
