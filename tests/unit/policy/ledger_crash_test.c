/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kill the writing and draining process at random moments, again and again. Whatever moment it was:
 * every settled call is in the ledger once with its cost, every opened one once as lost, and
 * nothing else.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/child.h"
#include "tests/unit/policy/ledger_cases.h"

enum { LIVES = 60, WORKERS = 3, CALLS_MAX = 200000, KEPT_OPEN = 16 };

/* What became of a call, said by the process that is killed, in memory that outlives it. */
enum fate { UNBORN, OPENING, OPENED, SETTLING, SETTLED };

struct truth {
    atomic_int next;
    atomic_uchar fates[CALLS_MAX];
};

static struct place place;
static struct truth *truth;

struct writer {
    struct journal *journal;
    int held[KEPT_OPEN]; /* calls that stay open for a while */
    struct ledger_mark marks[KEPT_OPEN];
    unsigned turn;
};

/* The reservation is 1,000,000 more than what it costs in the end. */
static int64_t cost_of(int call)
{
    return call % 1000 + 1;
}

static void settle(struct writer *writer, int call, struct ledger_mark *mark)
{
    char id[16];
    snprintf(id, sizeof(id), "%d", call);
    struct ledger_row row = row_of(id, cost_of(call));
    atomic_store(&truth->fates[call], SETTLING);
    ledger_settle_call(writer->journal, &row, mark);
    atomic_store(&truth->fates[call], SETTLED);
}

static bool open_call(struct writer *writer, int call, struct ledger_mark *mark)
{
    char id[16];
    snprintf(id, sizeof(id), "%d", call);
    struct ledger_row row = row_of(id, cost_of(call) + 1000000);
    atomic_store(&truth->fates[call], OPENING);
    if (!ledger_open_call(writer->journal, &row, mark)) {
        atomic_store(&truth->fates[call], UNBORN);
        return false;
    }
    atomic_store(&truth->fates[call], OPENED);
    return true;
}

static void *write_until_killed(void *with)
{
    struct writer *writer = with;
    for (;;) {
        int call = atomic_fetch_add(&truth->next, 1);
        struct ledger_mark mark;
        if (call >= CALLS_MAX)
            pause();
        if (!open_call(writer, call, &mark))
            continue;
        if (call % 7 != 0) {
            settle(writer, call, &mark);
            continue;
        }
        unsigned place_held = writer->turn++ % KEPT_OPEN;
        if (writer->marks[place_held].sequence)
            settle(writer, writer->held[place_held], &writer->marks[place_held]);
        writer->held[place_held] = call;
        writer->marks[place_held] = mark;
        usleep(200);
    }
    return NULL;
}

__attribute__((noreturn)) static void live(void)
{
    static struct writer writers[WORKERS];
    struct ledger *ledger = ledger_at(&place, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_t thread;
        writers[i] = (struct writer){.journal = ledger_journal(ledger, i)};
        pthread_create(&thread, NULL, write_until_killed, &writers[i]);
    }
    for (;;)
        pause();
}

/* ------------------------------------------------------------------------------------ the judge */

struct sums {
    int64_t calls, lost, cost;       /* what must be there */
    int64_t maybe_calls, maybe_cost; /* and what may be: we died in the middle of it */
};

static struct sums expected(void)
{
    struct sums sums = {0};
    for (int call = 0; call < CALLS_MAX; call++) {
        enum fate fate = (enum fate)atomic_load(&truth->fates[call]);
        int64_t cost = cost_of(call);
        sums.calls += fate >= OPENED;
        sums.lost += fate == OPENED;
        sums.cost += fate == OPENED ? cost + 1000000 : fate >= SETTLING ? cost : 0;
        sums.maybe_calls += fate == OPENING;
        sums.maybe_cost += fate == OPENING ? cost + 1000000 : fate == SETTLING ? 1000000 : 0;
    }
    return sums;
}

static void assert_report_is_true(void)
{
    struct sums sums = expected();
    struct usage_row total = total_of(&place);
    assert_in_range(total.requests, sums.calls, sums.calls + sums.maybe_calls);
    assert_true(total.lost >= sums.lost);
    assert_true(total.cost_nanos >= sums.cost);
    assert_true(total.cost_nanos <= sums.cost + sums.maybe_cost);
}

/* One row for each call, and the right one. */
static void assert_rows_are_true(void)
{
    static unsigned char seen[CALLS_MAX];
    struct fault fault;
    struct database *database = database_open(place.database, DATABASE_READ, &fault);
    struct statement *rows = database_prepare(database, "SELECT line FROM requests_20251124");
    while (statement_next(rows) == STATEMENT_ROW) {
        struct record record;
        char id[16];
        assert_true(record_read_body(statement_text(rows, 0), &record));
        snprintf(id, sizeof(id), "%.*s", TEXT_ARGS(record.row.id));
        int call = atoi(id);
        enum fate fate = (enum fate)atomic_load(&truth->fates[call]);
        bool lost = record.row.outcome == LEDGER_LOST;
        assert_int_equal(seen[call]++, 0);
        assert_int_not_equal(fate, UNBORN);
        assert_true(fate == SETTLING || lost == (fate != SETTLED));
        assert_int_equal(record.row.cost_nanos, cost_of(call) + (lost ? 1000000 : 0));
    }
    database_close(database);
    for (int call = 0; call < CALLS_MAX; call++)
        assert_true(seen[call] || atomic_load(&truth->fates[call]) <= OPENING);
}

static bool is_alone(void *with)
{
    (void)with;
    return count_entries(place.ledger, "-") == 1;
}

static void every_call_is_booked_once_whenever_we_die(void **state)
{
    (void)state;
    for (int life = 0; life < LIVES; life++) {
        pid_t child = child_fork();
        if (child == 0)
            live();
        usleep((useconds_t)(random() % (life % 10 == 9 ? 250000 : 30000)));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_report_is_true();
    }
    struct sums sums = expected();
    print_message("%d calls, %d lost\n", (int)sums.calls, (int)sums.lost);
    assert_true(sums.calls > 1000);
    assert_true(sums.lost > 10);
    struct ledger *ledger = ledger_at(&place, 1);
    assert_true(wait_until(is_alone, NULL));
    assert_report_is_true();
    ledger_close(ledger);
    assert_report_is_true();
    assert_rows_are_true();
    struct usage_row total = total_of(&place);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_20251124"), total.requests);
    assert_int_equal(ask_number(&place, "SELECT sum(requests) FROM rollup_minute"), total.requests);
    assert_int_equal(ask_number(&place, "SELECT sum(cost_nanos) FROM rollup_minute"),
                     total.cost_nanos);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM open_calls"), 0);
    assert_int_equal(count_entries(place.ledger, ""), 0);
}

static int set_up(void **state)
{
    (void)state;
    place_make(&place);
    /* A child may die before it has made its directory; the report wants one. */
    char *parent = memory_format("%s/a", place.folder);
    assert_int_equal(mkdir(parent, 0700), 0);
    assert_int_equal(mkdir(place.ledger, 0700), 0);
    memory_free(parent);
    truth = mmap(NULL, sizeof(*truth), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(truth != MAP_FAILED);
    srandom((unsigned)getpid());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    munmap(truth, sizeof(*truth));
    place_remove(&place);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_is_booked_once_whenever_we_die),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
