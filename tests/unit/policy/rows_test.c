/* SPDX-License-Identifier: Apache-2.0 */
/* Single calls, page by page: order, filters, what is not drained, rows that come meanwhile. */
#include "policy/book.h"
#include "tests/unit/policy/ledger_cases.h"

enum { SEEN_MAX = 600 };
static const int64_t DAY_US = 86400 * 1000000LL;
static struct place place;

struct seen {
    int64_t costs[SEEN_MAX];
    size_t count;
    char id[64];
};

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

static void see(void *with, const struct ledger_row *row)
{
    struct seen *seen = with;
    assert_true(seen->count < SEEN_MAX);
    seen->costs[seen->count++] = row->cost_nanos;
    snprintf(seen->id, sizeof(seen->id), "%.*s", TEXT_ARGS(row->id));
}

/* Call <cost>, begun so many days after the first. */
static void write_call(struct ledger *ledger, int64_t cost, int day, const char *tenant)
{
    char id[32];
    snprintf(id, sizeof(id), "req_%lld", (long long)cost);
    struct ledger_row row = row_of("x", cost);
    struct ledger_mark mark;
    row.id = text_of(id);
    row.started_us = A_DAY_US + day * DAY_US + cost;
    row.tenant = text_of(tenant);
    row.status = cost % 2 ? 200 : 429;
    assert_true(ledger_open_call(ledger_journal(ledger, 0), &row, &mark));
    assert_true(ledger_settle_call(ledger_journal(ledger, 0), &row, &mark));
}

static struct rows_question all_of(struct seen *seen, size_t max)
{
    return (struct rows_question){
        .database = place.database, .until_us = INT64_MAX, .max = max, .see = see, .with = seen};
}

/* All pages, one after the other; returns how many there were. */
static size_t walk(struct rows_question question)
{
    struct rows_place next;
    struct fault fault;
    size_t pages = 1;
    enum rows_result result;
    while ((result = rows_read(&question, &next, &fault)) == ROWS_MORE) {
        static struct rows_place kept;
        kept = next;
        question.after = &kept;
        pages++;
    }
    assert_int_equal(result, ROWS_END);
    return pages;
}

static void pages_have_every_call_once(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    for (int i = 0; i < 60; i++)
        write_call(ledger, i, i / 20, "acme");
    assert_true(ledger_catch_up(ledger, 5000000));
    struct seen seen = {.count = 0};
    assert_int_equal(walk(all_of(&seen, 7)), 9);
    assert_int_equal(seen.count, 60);
    for (int i = 0; i < 60; i++)
        assert_int_equal(seen.costs[i], 59 - i);
    struct rows_question oldest = all_of(&seen, 20);
    seen.count = 0;
    oldest.oldest_first = true;
    assert_int_equal(walk(oldest), 3);
    for (int i = 0; i < 60; i++)
        assert_int_equal(seen.costs[i], i);
    ledger_close(ledger);
}

static void filters_and_times_narrow(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    for (int i = 0; i < 60; i++)
        write_call(ledger, i, i / 20, i % 3 ? "acme" : "globex");
    assert_true(ledger_catch_up(ledger, 5000000));
    struct seen seen = {.count = 0};
    struct rows_question some = all_of(&seen, 100);
    some.filter.only[BY_TENANT] = TEXT("globex");
    walk(some);
    assert_int_equal(seen.count, 20);
    some.filter.status_min = 400;
    some.filter.status_max = 499;
    seen.count = 0;
    walk(some);
    assert_int_equal(seen.count, 10);
    seen.count = 0;
    some = all_of(&seen, 100);
    some.since_us = A_DAY_US + DAY_US + 25;
    some.until_us = A_DAY_US + 2 * DAY_US + 41;
    walk(some);
    assert_int_equal(seen.count, 16); /* 25 to 39, and 40 */
    ledger_close(ledger);
}

/* What is booked between two pages neither shifts nor repeats anything. */
static void calls_that_come_meanwhile_shift_nothing(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct rows_place next;
    struct fault fault;
    struct seen seen = {.count = 0};
    for (int i = 0; i < 10; i++)
        write_call(ledger, i, 0, "acme");
    assert_true(ledger_catch_up(ledger, 5000000));
    struct rows_question newest = all_of(&seen, 5), oldest = newest;
    assert_int_equal(rows_read(&newest, &next, &fault), ROWS_MORE);
    newest.after = &next;
    for (int i = 10; i < 20; i++)
        write_call(ledger, i, 0, "acme");
    assert_true(ledger_catch_up(ledger, 5000000));
    assert_int_equal(walk(newest), 1);
    assert_int_equal(seen.count, 10);
    assert_int_equal(seen.costs[5], 4);
    /* Oldest first: the new ones are seen, too. */
    oldest.oldest_first = true;
    seen.count = 0;
    walk(oldest);
    assert_int_equal(seen.count, 20);
    ledger_close(ledger);
}

static void a_call_is_found_by_its_id(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct fault fault;
    struct seen seen = {.count = 0};
    for (int i = 0; i < 30; i++)
        write_call(ledger, i, i / 10, "acme");
    assert_true(ledger_catch_up(ledger, 5000000));
    struct rows_question question = all_of(&seen, 1);
    assert_int_equal(rows_find(&question, TEXT("req_13"), &fault), ROWS_END);
    assert_string_equal(seen.id, "req_13");
    assert_int_equal(rows_find(&question, TEXT("req_30"), &fault), ROWS_MORE);
    question.filter.only[BY_TENANT] = TEXT("globex");
    assert_int_equal(rows_find(&question, TEXT("req_13"), &fault), ROWS_MORE);
    assert_int_equal(seen.count, 1);
    ledger_close(ledger);
}

static void without_a_database_there_is_nothing(void **state)
{
    (void)state;
    struct seen seen = {.count = 0};
    struct rows_question question = all_of(&seen, 1);
    struct rows_place next;
    struct fault fault;
    assert_int_equal(rows_read(&question, &next, &fault), ROWS_END);
    assert_int_equal(rows_find(&question, TEXT("req_1"), &fault), ROWS_MORE);
    FILE *file = fopen(place.database, "w");
    assert_non_null(file);
    fputs("this is no database, and longer than a page of nothing at all", file);
    fclose(file);
    assert_int_equal(rows_read(&question, &next, &fault), ROWS_FAILED);
    assert_int_equal(seen.count, 0);
}

static bool is_acme(void *with, struct text tenant)
{
    (void)with;
    return text_starts(tenant, TEXT("acme"));
}

static void a_report_can_be_narrowed(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct fault fault;
    for (int i = 0; i < 30; i++)
        write_call(ledger, i, 0, i % 3 ? "acme" : "acme-eu");
    for (int i = 0; i < 10; i++)
        write_call(ledger, i, 0, "globex");
    for (int drained = 0; drained < 2; drained++) {
        struct call_filter filter = {.sees = is_acme};
        struct usage_question question = {.directory = place.ledger,
                                          .database = place.database,
                                          .until_us = INT64_MAX,
                                          .filter = &filter};
        struct usage_report *report = usage_ask(&question, &fault);
        assert_non_null(report);
        assert_int_equal(report->rows[0].requests, 30);
        assert_int_equal(report->rows[0].errors, 15);
        assert_true(report->rows[0].duration_us > 0);
        usage_report_free(report);
        filter.only[BY_TENANT] = TEXT("acme-eu");
        report = usage_ask(&question, &fault);
        assert_int_equal(report->rows[0].requests, 10);
        usage_report_free(report);
        if (!drained)
            ledger_close(ledger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_have_every_call_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(filters_and_times_narrow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_that_come_meanwhile_shift_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_is_found_by_its_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_database_there_is_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_report_can_be_narrowed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
