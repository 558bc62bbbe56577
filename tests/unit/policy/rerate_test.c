/* SPDX-License-Identifier: Apache-2.0 */
/* Rating again: each call once, wherever it is cut off; sums and calls say the same afterwards. */
#include <sys/wait.h>

#include "policy/policy.h"
#include "tests/unit/child.h"
#include "tests/unit/policy/ledger_cases.h"

enum { CALLS = 3500, USERS = 700 };

struct rating {
    struct price price;
    int64_t left; /* die after so many; 0 = never */
};

static const struct price *price_of(void *with, const struct ledger_row *row)
{
    struct rating *rating = with;
    if (rating->left && --rating->left == 0)
        _exit(7);
    return text_equal(row->model, TEXT("free")) ? NULL : &rating->price;
}

static struct rating rating_of(int64_t input, int64_t output)
{
    struct rating rating = {.price = {.input = input, .output = output, .known = true}};
    price_seal(&rating.price);
    return rating;
}

static struct rerate_report *rerate(const struct place *place, struct rating *rating, bool apply)
{
    struct fault fault = {0};
    struct rerate_question question = {.database = place->database,
                                       .since_us = A_DAY_US,
                                       .until_us = A_DAY_US + 4 * 86400LL * 1000000,
                                       .price_of = price_of,
                                       .with = rating,
                                       .apply = apply,
                                       .why = "a test"};
    struct rerate_report *report = ledger_rerate(&question, &fault);
    if (!report)
        print_message("%s\n", fault.text);
    assert_non_null(report);
    return report;
}

/* Calls of two days, of more end users than are told apart, of two models and one without a price;
 * each with 10 tokens in and 3 out, and a cost of 100. */
static void fill(const struct place *place)
{
    struct ledger *ledger = ledger_at(place, 1);
    for (int i = 0; i < CALLS; i++) {
        char id[32], user[32];
        struct ledger_mark mark;
        snprintf(id, sizeof(id), "call-%d", i);
        snprintf(user, sizeof(user), "user-%d", i % USERS);
        struct ledger_row row = row_of(id, 100);
        row.user = text_of(user);
        row.model = i % 10 == 0 ? TEXT("free") : i % 2 ? TEXT("fast") : TEXT("slow");
        row.started_us += (i % 2) * 86400LL * 1000000 + i * 1000LL;
        assert_true(ledger_open_call(ledger_journal(ledger, 0), &row, &mark));
        assert_true(ledger_settle_call(ledger_journal(ledger, 0), &row, &mark));
    }
    ledger_close(ledger);
}

/* What the calls cost, added up one by one. */
static int64_t cost_of_calls(const struct place *place)
{
    struct fault fault = {0};
    struct database *database = database_open(place->database, DATABASE_READ, &fault);
    struct statement *days =
        database_prepare(database, "SELECT name FROM sqlite_schema WHERE name GLOB 'requests_*'");
    int64_t cost = 0;
    while (statement_next(days) == STATEMENT_ROW) {
        char sql[128];
        snprintf(sql, sizeof(sql), "SELECT line FROM %.*s", TEXT_ARGS(statement_text(days, 0)));
        struct statement *lines = database_prepare(database, sql);
        struct record record;
        while (statement_next(lines) == STATEMENT_ROW) {
            assert_true(record_read_body(statement_text(lines, 0), &record));
            cost += record.row.cost_nanos;
        }
        statement_close(lines);
    }
    database_close(database);
    return cost;
}

static void assert_all_say(const struct place *place, int64_t cost)
{
    assert_int_equal(cost_of_calls(place), cost);
    assert_int_equal(ask_number(place, "SELECT sum(cost_nanos) FROM rollup_minute"), cost);
    assert_int_equal(ask_number(place, "SELECT sum(cost_nanos) FROM rollup_hour"), cost);
    assert_int_equal(ask_number(place, "SELECT sum(cost_nanos) FROM rollup_day"), cost);
    assert_int_equal(ask_number(place, "SELECT sum(requests) FROM rollup_day"), CALLS);
    assert_int_equal(ask_number(place, "SELECT min(cost_nanos) >= 0 FROM rollup_minute"), 1);
}

static const int64_t FREE = CALLS / 10, PAID = CALLS - CALLS / 10;

static void without_apply_nothing_is_changed(void **state)
{
    (void)state;
    struct place place;
    struct rating rating = rating_of(2000000, 4000000);
    place_make(&place);
    fill(&place);
    struct rerate_report *report = rerate(&place, &rating, false);
    assert_int_equal(report->count, 2);
    assert_string_equal(report->models[0].model, "fast");
    assert_int_equal(report->models[0].calls, CALLS / 2);
    assert_int_equal(report->models[0].changed, CALLS / 2);
    assert_int_equal(report->models[0].old_nanos, CALLS / 2 * 100);
    assert_int_equal(
        report->models[0].new_nanos,
        CALLS / 2 *
            price_cost(&rating.price, &(struct usage){.input_tokens = 10, .output_tokens = 3}));
    assert_int_equal(report->unpriced, FREE);
    rerate_report_free(report);
    assert_all_say(&place, CALLS * 100LL);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM rerated"), 0);
    place_remove(&place);
}

static void each_call_is_changed_once(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    fill(&place);
    struct rating rating = rating_of(5000000000, 10000000000); /* 5 and 10 USD a million */
    int64_t each =
        price_cost(&rating.price, &(struct usage){.input_tokens = 10, .output_tokens = 3});
    assert_int_equal(each, 80000);
    for (int i = 0; i < 2; i++) { /* the second time there is nothing to do */
        struct rerate_report *report = rerate(&place, &rating, true);
        assert_int_equal(report->models[0].changed, i == 0 ? CALLS / 2 : 0);
        rerate_report_free(report);
        assert_all_say(&place, PAID * each + FREE * 100);
    }
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM rerated"), PAID);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM rerated WHERE why = 'a test' AND"
                                        " old_version = 7 AND old_cost_nanos = 100 AND"
                                        " new_cost_nanos = 80000"),
                     PAID);
    /* And back again: the sums go down. */
    rating = rating_of(0, 1);
    rerate_report_free(rerate(&place, &rating, true));
    assert_all_say(&place, PAID * 1 + FREE * 100);
    place_remove(&place);
}

static void what_is_cut_off_is_done_by_the_next(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    fill(&place);
    for (int64_t after = 900; after < CALLS; after += 700) {
        pid_t child = child_fork();
        if (child == 0) {
            struct rating rating = rating_of(after * 1000, after * 1000);
            rating.left = after;
            rerate_report_free(rerate(&place, &rating, true));
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(WEXITSTATUS(status), 7);
        /* Some of it is done, and all say the same. */
        assert_all_say(&place, cost_of_calls(&place));
    }
    struct rating rating = rating_of(5000000000, 10000000000);
    rerate_report_free(rerate(&place, &rating, true));
    assert_all_say(&place, PAID * 80000 + FREE * 100);
    place_remove(&place);
}

/* A call that was lost is booked at what it had reserved: the bound of its tokens. */
static void a_lost_call_is_rated_by_its_bound(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct ledger *ledger = ledger_at(&place, 1);
    struct ledger_row row = row_of("lost", 5);
    struct ledger_mark mark;
    row.usage = (struct usage){.input_tokens = 100, .output_tokens = 50};
    assert_true(ledger_open_call(ledger_journal(ledger, 0), &row, &mark));
    ledger_close(ledger);
    struct rating rating = rating_of(1000000000, 2000000000);
    rating.price.cache_write = 3000000000; /* the dearest that input can be */
    price_seal(&rating.price);
    rerate_report_free(rerate(&place, &rating, true));
    assert_int_equal(cost_of_calls(&place), 100 * 3000 + 50 * 2000);
    assert_int_equal(ask_number(&place, "SELECT sum(cost_nanos) FROM rollup_day"), 400000);
    place_remove(&place);
}

/* One call in a tier of service, lost or not, rated at <price>: what it costs then, -1 when it
 * stays as it is. */
static int64_t rated_in(enum service_tier service, bool is_lost, const struct price *price)
{
    struct place place;
    place_make(&place);
    struct ledger *ledger = ledger_at(&place, 1);
    struct ledger_row row = row_of("one", 5);
    struct ledger_mark mark;
    row.usage = (struct usage){.input_tokens = 100, .output_tokens = 50, .service = service};
    assert_true(ledger_open_call(ledger_journal(ledger, 0), &row, &mark));
    if (!is_lost)
        assert_true(ledger_settle_call(ledger_journal(ledger, 0), &row, &mark));
    ledger_close(ledger);
    struct rating rating = {.price = *price};
    price_seal(&rating.price);
    struct rerate_report *report = rerate(&place, &rating, true);
    int64_t cost = cost_of_calls(&place);
    assert_int_equal(report->unpriced + (int64_t)report->count, 1);
    if (report->unpriced)
        assert_int_equal(cost, 5);
    cost = report->unpriced ? -1 : cost;
    rerate_report_free(report);
    place_remove(&place);
    return cost;
}

/* A tier that the new prices do not have is no reason to take the standard one. */
static void a_tier_without_a_price_stays_as_it_is(void **state)
{
    (void)state;
    struct price price = {.input = 1000000000, .output = 2000000000, .known = true};
    for (int lost = 0; lost < 2; lost++) {
        assert_int_equal(rated_in(SERVICE_STANDARD, lost, &price), 200000);
        assert_int_equal(rated_in(SERVICE_PRIORITY, lost, &price), -1);
        assert_int_equal(rated_in(SERVICE_FLEX, lost, &price), -1);
        assert_int_equal(rated_in(SERVICE_BATCH, lost, &price), -1);
    }
    price.services[SERVICE_PRIORITY] = (struct service_price){3000000000, 0, 6000000000};
    price.services[SERVICE_FLEX] = (struct service_price){500000000, 0, 1000000000};
    assert_int_equal(rated_in(SERVICE_PRIORITY, false, &price), 600000);
    assert_int_equal(rated_in(SERVICE_FLEX, false, &price), 100000);
    struct price flat = {.request = 7, .known = true}; /* the same in all tiers */
    assert_int_equal(rated_in(SERVICE_FLEX, false, &flat), 7);
}

/* It was held for the dearer of what it had asked for and the standard tier: nobody knows which of
 * them it was answered in. */
static void a_lost_call_is_never_rated_below_the_standard_tier(void **state)
{
    (void)state;
    struct price price = {.input = 1000000000, .output = 2000000000, .known = true};
    price.services[SERVICE_PRIORITY] = (struct service_price){3000000000, 0, 6000000000};
    price.services[SERVICE_FLEX] = price.services[SERVICE_BATCH] =
        (struct service_price){500000000, 0, 1000000000};
    assert_int_equal(rated_in(SERVICE_PRIORITY, true, &price), 600000);
    assert_int_equal(rated_in(SERVICE_FLEX, true, &price), 200000);
    assert_int_equal(rated_in(SERVICE_BATCH, true, &price), 200000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_apply_nothing_is_changed),
        cmocka_unit_test(each_call_is_changed_once),
        cmocka_unit_test(what_is_cut_off_is_done_by_the_next),
        cmocka_unit_test(a_lost_call_is_rated_by_its_bound),
        cmocka_unit_test(a_tier_without_a_price_stays_as_it_is),
        cmocka_unit_test(a_lost_call_is_never_rated_below_the_standard_tier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
