/* SPDX-License-Identifier: Apache-2.0 */
/* Names of limits both ways; days, weeks and months where clocks are turned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "policy/zone.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define SECOND INT64_C(1000000)

static void names_are_read_and_written(void **state)
{
    (void)state;
    static const char *const kinds[] = {"requests", "input_tokens", "output_tokens", "tokens"};
    static const char *const units[] = {"second", "minute", "hour", "day"};
    static const int64_t lengths[] = {1, 60, 3600, 86400};
    for (int kind = 0; kind < 4; kind++)
        for (int unit = 0; unit < 4; unit++) {
            char name[48], back[48];
            snprintf(name, sizeof(name), "%s_per_%s", kinds[kind], units[unit]);
            struct limit limit = {0};
            assert_true(limit_name_read(text_of(name), &limit));
            assert_int_equal(limit.kind, kind);
            assert_int_equal(limit.period, PERIOD_ROLLING);
            assert_int_equal(limit.window_us, lengths[unit] * SECOND);
            limit_name_write(&limit, back);
            assert_string_equal(back, name);
        }
    struct limit limit = {.window_us = 5};
    char name[48];
    assert_true(limit_name_read(TEXT("concurrent"), &limit));
    assert_int_equal(limit.kind, LIMIT_CONCURRENT);
    assert_int_equal(limit.period, PERIOD_NONE);
    limit_name_write(&limit, name);
    assert_string_equal(name, "concurrent");
}

static void other_names_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "requests",
                                      "requests_per_",
                                      "requests_per_week",
                                      "requests_per_minutes",
                                      "Requests_per_minute",
                                      "budget_per_day",
                                      "concurrent_per_day",
                                      "_per_minute",
                                      "tokens_per_minute_per_minute",
                                      "cached_tokens_per_minute"};
    struct limit limit;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(limit_name_read(text_of(bad[i]), &limit));
}

static void budgets_have_names_too(void **state)
{
    (void)state;
    static const struct {
        struct limit limit;
        const char *name;
    } rows[] = {
        {{.kind = LIMIT_MONEY, .period = PERIOD_MONTH}, "budget_per_month"},
        {{.kind = LIMIT_MONEY, .period = PERIOD_DAY}, "budget_per_day"},
        {{.kind = LIMIT_MONEY, .period = PERIOD_TOTAL}, "budget_total"},
        {{.kind = LIMIT_MONEY, .period = PERIOD_ROLLING, .window_us = 30 * 86400 * SECOND},
         "budget_per_30d"},
        {{.kind = LIMIT_MONEY, .period = PERIOD_ROLLING, .window_us = 86400 * SECOND},
         "budget_per_1d"},
        {{.kind = LIMIT_MONEY, .period = PERIOD_ROLLING, .window_us = 5400 * SECOND},
         "budget_per_90m"},
        {{.kind = LIMIT_TOKENS, .period = PERIOD_ROLLING, .window_us = 90 * SECOND},
         "tokens_per_90s"},
        {{.kind = LIMIT_OUTPUT_TOKENS, .period = PERIOD_MONTH}, "output_tokens_per_calendar_month"},
        {{.kind = LIMIT_OUTPUT_TOKENS, .period = PERIOD_ROLLING, .window_us = INT64_MAX},
         "output_tokens_per_9223372036854775807us"},
    };
    char name[48];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        limit_name_write(&rows[i].limit, name);
        assert_string_equal(name, rows[i].name);
    }
}

/* ------------------------------------------------------------------------------- calendar */

/* UTC, to the second. */
static int64_t at(int64_t year, int month, int day, int hour, int minute)
{
    return (days_of(year, month, day) * 86400 + hour * 3600 + minute * 60) * SECOND;
}

static void span_is(enum limit_period period, const char *zone, int64_t wall, int64_t begin,
                    int64_t end)
{
    const struct zone *where = zone_find(text_of(zone));
    assert_non_null(where);
    int64_t first, next;
    for (int64_t moment = wall;; moment = moment == begin ? end - 1 : begin) {
        period_bounds(period, where, moment, &first, &next);
        assert_int_equal(first, begin);
        assert_int_equal(next, end);
        if (moment == end - 1)
            break;
    }
}

static void days_begin_at_local_midnight(void **state)
{
    (void)state;
    span_is(PERIOD_DAY, "UTC", at(2026, 3, 1, 12, 0), at(2026, 3, 1, 0, 0), at(2026, 3, 2, 0, 0));
    span_is(PERIOD_DAY, "Asia/Kolkata", at(2026, 3, 1, 12, 0), at(2026, 2, 28, 18, 30),
            at(2026, 3, 1, 18, 30));
    /* 23 hours, 25 hours */
    span_is(PERIOD_DAY, "Europe/Berlin", at(2026, 3, 29, 12, 0), at(2026, 3, 28, 23, 0),
            at(2026, 3, 29, 22, 0));
    span_is(PERIOD_DAY, "Europe/Berlin", at(2026, 10, 25, 12, 0), at(2026, 10, 24, 22, 0),
            at(2026, 10, 25, 23, 0));
    /* The same far behind the last change that is written down. */
    span_is(PERIOD_DAY, "Europe/Berlin", at(2097, 3, 31, 12, 0), at(2097, 3, 30, 23, 0),
            at(2097, 3, 31, 22, 0));
}

static void days_without_a_midnight_begin_when_they_begin(void **state)
{
    (void)state;
    /* 00:00 became 01:00 */
    span_is(PERIOD_DAY, "America/Sao_Paulo", at(2018, 11, 4, 12, 0), at(2018, 11, 4, 3, 0),
            at(2018, 11, 5, 2, 0));
    /* 00:00 became 23:00 of the day before */
    span_is(PERIOD_DAY, "America/Sao_Paulo", at(2018, 2, 17, 12, 0), at(2018, 2, 17, 2, 0),
            at(2018, 2, 18, 3, 0));
    /* Midnight twice: 01:00 became 00:00 */
    span_is(PERIOD_DAY, "America/Havana", at(2026, 11, 1, 12, 0), at(2026, 11, 1, 4, 0),
            at(2026, 11, 2, 5, 0));
    /* 00:01 became 23:01: the day that had begun goes on */
    span_is(PERIOD_DAY, "America/St_Johns", at(2010, 11, 7, 3, 0), at(2010, 11, 7, 2, 30),
            at(2010, 11, 8, 3, 30));
    /* There was no 30th of December 2011. */
    span_is(PERIOD_DAY, "Pacific/Apia", at(2011, 12, 30, 9, 0), at(2011, 12, 29, 10, 0),
            at(2011, 12, 30, 10, 0));
    span_is(PERIOD_DAY, "Pacific/Apia", at(2011, 12, 30, 10, 0), at(2011, 12, 30, 10, 0),
            at(2011, 12, 31, 10, 0));
}

static void weeks_begin_on_monday(void **state)
{
    (void)state;
    /* 2026-03-01 is a Sunday; the week of the change has an hour less. */
    span_is(PERIOD_WEEK, "UTC", at(2026, 3, 1, 12, 0), at(2026, 2, 23, 0, 0), at(2026, 3, 2, 0, 0));
    span_is(PERIOD_WEEK, "Europe/Berlin", at(2026, 3, 29, 12, 0), at(2026, 3, 22, 23, 0),
            at(2026, 3, 29, 22, 0));
    span_is(PERIOD_WEEK, "UTC", at(1969, 12, 31, 0, 0), at(1969, 12, 29, 0, 0),
            at(1970, 1, 5, 0, 0));
    span_is(PERIOD_WEEK, "UTC", at(2026, 12, 31, 0, 0), at(2026, 12, 28, 0, 0),
            at(2027, 1, 4, 0, 0));
}

static void months_have_their_days(void **state)
{
    (void)state;
    span_is(PERIOD_MONTH, "UTC", at(2028, 2, 29, 23, 59), at(2028, 2, 1, 0, 0),
            at(2028, 3, 1, 0, 0));
    span_is(PERIOD_MONTH, "UTC", at(2100, 2, 28, 23, 59), at(2100, 2, 1, 0, 0),
            at(2100, 3, 1, 0, 0));
    span_is(PERIOD_MONTH, "Europe/Berlin", at(2026, 12, 31, 22, 59), at(2026, 11, 30, 23, 0),
            at(2026, 12, 31, 23, 0));
    span_is(PERIOD_MONTH, "Europe/Berlin", at(2026, 10, 31, 22, 59), at(2026, 9, 30, 22, 0),
            at(2026, 10, 31, 23, 0));
}

static void hours_and_totals(void **state)
{
    (void)state;
    span_is(PERIOD_HOUR, "Asia/Kathmandu", at(2026, 3, 1, 12, 20), at(2026, 3, 1, 12, 15),
            at(2026, 3, 1, 13, 15));
    span_is(PERIOD_HOUR, "Europe/Berlin", at(2026, 10, 25, 1, 30), at(2026, 10, 25, 1, 0),
            at(2026, 10, 25, 2, 0));
    int64_t begin, end;
    period_bounds(PERIOD_TOTAL, NULL, at(2026, 1, 1, 0, 0), &begin, &end);
    assert_int_equal(begin, 0);
    assert_true(end == INT64_MAX);
}

/* Whatever the zone: spans follow each other without a gap, and each moment is in its own. */
static void spans_leave_no_moment_out(void **state)
{
    (void)state;
    static const char *const names[] = {"Europe/Berlin",     "America/Sao_Paulo", "Africa/Cairo",
                                        "America/St_Johns",  "Pacific/Apia",      "Asia/Gaza",
                                        "Africa/Casablanca", "America/Havana",    "Asia/Beirut"};
    static const enum limit_period periods[] = {PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) * 3; i++) {
        const struct zone *zone = zone_find(text_of(names[i / 3]));
        int64_t moment = at(2005, 1, 1, 0, 0), last = INT64_MIN;
        while (moment < at(2040, 1, 1, 0, 0)) {
            int64_t begin, end, again, after;
            period_bounds(periods[i % 3], zone, moment, &begin, &end);
            assert_true(begin <= moment && moment < end);
            if (last != INT64_MIN)
                assert_int_equal(begin, last);
            period_bounds(periods[i % 3], zone, end - 1, &again, &after);
            assert_int_equal(again, begin);
            assert_int_equal(after, end);
            last = moment = end;
        }
    }
}

static void moments_beyond_all_sense_are_harmless(void **state)
{
    (void)state;
    static const int64_t moments[] = {INT64_MIN, INT64_MAX, -1, 0};
    for (int period = PERIOD_NONE; period <= PERIOD_TOTAL; period++)
        for (int i = 0; i < 4; i++) {
            int64_t begin, end;
            period_bounds((enum limit_period)period, zone_find(TEXT("Europe/Berlin")), moments[i],
                          &begin, &end);
            assert_true(begin < end);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_and_written),
        cmocka_unit_test(other_names_are_none),
        cmocka_unit_test(budgets_have_names_too),
        cmocka_unit_test(days_begin_at_local_midnight),
        cmocka_unit_test(days_without_a_midnight_begin_when_they_begin),
        cmocka_unit_test(weeks_begin_on_monday),
        cmocka_unit_test(months_have_their_days),
        cmocka_unit_test(hours_and_totals),
        cmocka_unit_test(spans_leave_no_moment_out),
        cmocka_unit_test(moments_beyond_all_sense_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
