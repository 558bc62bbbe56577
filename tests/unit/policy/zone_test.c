/* SPDX-License-Identifier: Apache-2.0 */
/* Time zones: what the C library says of the same zone, and what no file can do to us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy/zone.h"
#include "policy/zone_rule.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const char *const names[] = {
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Antarctica/Troll",
    "America/St_Johns",
    "Europe/Dublin",
    "Asia/Gaza",
    "UTC",
    "Pacific/Chatham",
    "America/Nuuk",
    "Asia/Tehran",
    "America/Havana",
    "Pacific/Kiritimati",
    "Africa/Johannesburg",
    "Asia/Kolkata",
};

/* Every 5 hours and a bit from 1900 to 2200. */
static void offsets_are_those_of_the_c_library(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct zone *zone = zone_find(text_of(names[i]));
        assert_non_null(zone);
        setenv("TZ", names[i], 1);
        tzset();
        for (int64_t at = -2208988800; at < 7258118400; at += 5 * 3600 + 1237) {
            time_t second = at;
            struct tm local;
            localtime_r(&second, &local);
            if (zone_offset(zone, at) != local.tm_gmtoff)
                fail_msg("%s at %lld: %lld, not %ld", names[i], (long long)at,
                         (long long)zone_offset(zone, at), local.tm_gmtoff);
        }
    }
    unsetenv("TZ");
    tzset();
}

/* Between two changes nothing changes, and at each something may. */
static void changes_are_where_offsets_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct zone *zone = zone_find(text_of(names[i]));
        int64_t at = 0, next;
        for (unsigned n = 0; n < 600 && (next = zone_change(zone, at)) < INT64_MAX;
             n++, at = next) {
            assert_true(next > at);
            assert_int_equal(zone_offset(zone, at), zone_offset(zone, next - 1));
            assert_int_equal(zone_offset(zone, at), zone_offset(zone, at + (next - at) / 2));
        }
    }
}

static void names_that_leave_the_database_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",        "/etc/localtime", "../../../etc/passwd", "Europe/../../zoneinfo/UTC",
        "Europe",  "Nowhere/Nix",    "Europe/Berlin\n",     "tzdata.zi",
        "Europe/", "zone.tab",       "Europe/Berlin/x",     "%2e%2e/passwd"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_null(zone_find(text_of(bad[i])));
    assert_null(zone_find((struct text){"Europe/Berlin\0x", 15}));
    char name[ZONE_NAME_MAX + 2];
    memset(name, 'a', sizeof(name));
    assert_null(zone_find((struct text){name, sizeof(name)}));
    assert_ptr_equal(zone_find(TEXT("Europe/Berlin")), zone_find(TEXT("Europe/Berlin")));
}

static void rules_are_read_or_refused(void **state)
{
    (void)state;
    static const char *const good[] = {"UTC0",
                                       "CET-1CEST,M3.5.0,M10.5.0/3",
                                       "<+0330>-3:30",
                                       "EST5EDT,M3.2.0,M11.1.0",
                                       "IST-1GMT0,M10.5.0,M3.5.0/1",
                                       "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
                                       "XXX3YYY,J60,300/-167",
                                       "EET-2EEST,M3.4.4/50,M10.4.4/50"};
    static const char *const bad[] = {"",
                                      "X0",
                                      "UTC",
                                      "UTC25",
                                      "CET-1CEST",
                                      "CET-1CEST,M3.5.0",
                                      "CET-1CEST,M13.5.0,M10.5.0",
                                      "CET-1CEST,M3.6.0,M10.5.0",
                                      "CET-1CEST,M3.5.7,M10.5.0",
                                      "CET-1CEST,J0,J3",
                                      "CET-1CEST,366,3",
                                      "<+03-3",
                                      "UTC0x",
                                      "CET-1CEST,M3.5.0,M10.5.0/3x",
                                      "CET-1:60",
                                      "CET-1CEST,M3.5.0,M10.5.0/168"};
    struct zone_rule rule;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!zone_rule_read(text_of(good[i]), &rule))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (zone_rule_read(text_of(bad[i]), &rule))
            fail_msg("taken: %s", bad[i]);
}

/* The 29th of February is day 59 of a leap year and no day for J. */
static void days_of_the_year_know_leap_years(void **state)
{
    (void)state;
    struct zone_rule rule;
    assert_true(zone_rule_read(TEXT("AAA0BBB,J60/0,300"), &rule));
    int64_t begin = zone_rule_change(&rule, days_of(2028, 1, 1) * 86400);
    assert_int_equal(begin, days_of(2028, 3, 1) * 86400);
    assert_true(zone_rule_read(TEXT("AAA0BBB,59/0,300"), &rule));
    begin = zone_rule_change(&rule, days_of(2028, 1, 1) * 86400);
    assert_int_equal(begin, days_of(2028, 2, 29) * 86400);
    begin = zone_rule_change(&rule, days_of(2027, 1, 1) * 86400);
    assert_int_equal(begin, days_of(2027, 3, 1) * 86400);
}

/* A file of one change, version 2; every byte of it cut off or changed. */
static void damaged_files_are_refused_or_harmless(void **state)
{
    (void)state;
    static const char file[] =
        "TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\4"
        "\0\0\0\0\0\0UTC\0"
        "TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0\4"
        "\0\0\0\0\x3b\x9a\xca\0\1\0\0\0\0\0\0\0\0\x0e\x10\0\0UTC\0\nAAA-1\n";
    struct zone *zone = zone_read((struct text){file, sizeof(file) - 1});
    assert_non_null(zone);
    assert_int_equal(zone_offset(zone, 999999999), 0);
    assert_int_equal(zone_offset(zone, 1000000000), 3600);
    assert_int_equal(zone_change(zone, 0), 1000000000);
    zone_free(zone);
    for (size_t len = 0; len < sizeof(file) - 1; len++) {
        char *cut = malloc(len ? len : 1);
        memcpy(cut, file, len);
        assert_null(zone_read((struct text){cut, len}));
        free(cut);
    }
    for (size_t i = 0; i < (sizeof(file) - 1) * 256; i++) {
        char *changed = malloc(sizeof(file) - 1);
        memcpy(changed, file, sizeof(file) - 1);
        changed[i / 256] = (char)i;
        zone = zone_read((struct text){changed, sizeof(file) - 1});
        if (zone)
            zone_begin(zone, 1000000000);
        zone_free(zone);
        free(changed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_are_those_of_the_c_library),
        cmocka_unit_test(changes_are_where_offsets_change),
        cmocka_unit_test(names_that_leave_the_database_are_none),
        cmocka_unit_test(rules_are_read_or_refused),
        cmocka_unit_test(days_of_the_year_know_leap_years),
        cmocka_unit_test(damaged_files_are_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
