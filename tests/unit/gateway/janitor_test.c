/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "gateway/janitor.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum {
    CROWD = 1000,
    SHRINK_US = 300000,
    SHRINKS = 8,
    QUIET_SWEEPS = 5,
    MINUTE = 60,
    MANY = 500,
    LATE = 70
};

/* <count> exchanges begin, one after the other or <at_once>. */
static void begin(struct janitor *janitor, unsigned count, unsigned at_once)
{
    for (unsigned i = 0; i < count; i++)
        janitor_exchange(janitor, at_once < i + 1 ? at_once : i + 1);
}

static bool does_nothing(const struct janitor_orders *orders)
{
    return !orders->free_spares && !orders->free_seekings && !orders->trim && !orders->trim_own &&
           !orders->shrink;
}

/* Looks until memory is given back; returns how often it looked. */
static unsigned looks_to_shrink(struct janitor *janitor, unsigned most)
{
    for (unsigned i = 1; i <= most; i++)
        if (janitor_look(janitor, 0, 0).shrink)
            return i;
    return 0;
}

static void nothing_is_taken_while_nothing_happens(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    for (unsigned i = 1; i < MINUTE; i++) {
        struct janitor_orders orders = janitor_look(&janitor, 0, 0);
        assert_true(does_nothing(&orders));
        assert_int_equal(orders.again_us, JANITOR_US);
    }
}

static void each_minute_the_end_of_the_heap_goes_back(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    for (unsigned i = 1; i <= 3 * MINUTE; i++) {
        begin(&janitor, 10, 10);
        struct janitor_orders orders = janitor_look(&janitor, 10, 5);
        assert_int_equal(orders.trim_own, i % MINUTE == 0);
        assert_false(orders.shrink || orders.trim || orders.free_spares || orders.free_seekings);
    }
}

/* So many exchanges are kept as were open at once in the last minute. */
static void spares_are_kept_for_the_peak_of_the_last_minute(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    begin(&janitor, CROWD, CROWD);
    for (unsigned minute = 0; minute < 3; minute++)
        for (unsigned i = 1; i <= MINUTE; i++) {
            struct janitor_orders orders = janitor_look(&janitor, CROWD / 2, 0);
            assert_int_equal(orders.trim_own, i == MINUTE);
            if (orders.trim_own)
                assert_int_equal(orders.needed, minute == 0 ? CROWD : CROWD / 2);
        }
    /* and what it was at its greatest says when the crowd has gone */
    struct janitor_orders orders = janitor_look(&janitor, CROWD / 4 - 1, 0);
    assert_true(orders.free_spares && orders.shrink);
}

static void a_crowd_gives_back_when_a_quarter_is_left(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    begin(&janitor, CROWD, CROWD);
    struct janitor_orders orders = janitor_look(&janitor, CROWD / 4, 0);
    assert_true(does_nothing(&orders));
    for (unsigned i = 1; i <= SHRINKS; i++) {
        orders = janitor_look(&janitor, CROWD / 4 - 1, 0);
        assert_int_equal(orders.free_spares, i == 1);
        assert_true(orders.shrink);
        assert_int_equal(orders.again_us, i < SHRINKS ? SHRINK_US : JANITOR_US);
    }
    orders = janitor_look(&janitor, CROWD / 4 - 1, 0);
    assert_true(does_nothing(&orders));
    assert_int_equal(orders.again_us, JANITOR_US);
    orders = janitor_look(&janitor, 0, 0); /* those that were left were a crowd, too */
    assert_true(orders.free_spares && orders.shrink);
}

static void few_are_no_crowd(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    begin(&janitor, JANITOR_QUIET_EXCHANGES, JANITOR_QUIET_EXCHANGES);
    struct janitor_orders orders = janitor_look(&janitor, 0, 0);
    assert_true(does_nothing(&orders));
    begin(&janitor, JANITOR_QUIET_EXCHANGES + 1, JANITOR_QUIET_EXCHANGES + 1);
    orders = janitor_look(&janitor, 0, 0);
    assert_true(orders.free_spares && orders.shrink);
}

static void streams_keep_what_they_need(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    begin(&janitor, CROWD, CROWD);
    for (unsigned i = 1; i <= CROWD; i++)
        janitor_seeking(&janitor, i);
    struct janitor_orders orders = janitor_look(&janitor, CROWD, 10);
    assert_true(orders.free_seekings && orders.trim);
    assert_false(orders.free_spares || orders.shrink);
    orders = janitor_look(&janitor, CROWD, 10);
    assert_true(does_nothing(&orders));
}

/* When it was quiet for some seconds, whatever had begun; and only once. */
static void what_was_never_a_crowd_gives_back_when_it_is_quiet(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    begin(&janitor, MANY, 1);
    assert_int_equal(looks_to_shrink(&janitor, MINUTE), QUIET_SWEEPS);
    assert_int_equal(looks_to_shrink(&janitor, 2 * MINUTE), 0);
    begin(&janitor, MANY - 1, 1); /* do not take much */
    assert_int_equal(looks_to_shrink(&janitor, 2 * MINUTE), 0);
    begin(&janitor, 1, 1);
    janitor = (struct janitor){.exchanges_begun = janitor.exchanges_begun};
    assert_int_equal(looks_to_shrink(&janitor, MINUTE), QUIET_SWEEPS);
}

static void it_is_not_quiet_while_one_is_open(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    begin(&janitor, MANY, 1);
    for (unsigned i = 0; i < QUIET_SWEEPS - 1; i++)
        assert_false(janitor_look(&janitor, 0, 0).shrink);
    for (unsigned i = 0; i < 2 * QUIET_SWEEPS; i++)
        assert_false(janitor_look(&janitor, 1, 0).shrink);
    assert_int_equal(looks_to_shrink(&janitor, MINUTE), QUIET_SWEEPS);
}

/* What other threads have of a crowd ends later: the last shrink comes when those after it are
 * over. */
static void the_last_shrink_of_a_crowd_comes_when_it_is_quiet(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    begin(&janitor, CROWD, CROWD);
    for (unsigned i = 0; i < SHRINKS; i++)
        assert_true(janitor_look(&janitor, 0, 0).shrink);
    struct janitor_orders orders = {0};
    unsigned looks = 1; /* with the eighth look it was quiet already */
    while (!orders.shrink && looks < MINUTE) {
        orders = janitor_look(&janitor, 0, 0);
        looks++;
    }
    assert_int_equal(looks, QUIET_SWEEPS);
    assert_true(orders.free_spares && orders.shrink);
    assert_int_equal(looks_to_shrink(&janitor, 2 * MINUTE), 0);
}

/* Connections to upstreams are kept for most of a minute. */
static void what_is_kept_for_later_goes_back_late(void **state)
{
    (void)state;
    struct janitor janitor = {0};
    begin(&janitor, MANY, 1);
    assert_int_equal(looks_to_shrink(&janitor, MINUTE), QUIET_SWEEPS);
    for (unsigned i = 1; i < LATE; i++)
        assert_false(janitor_look(&janitor, i % 2, 0).trim); /* a few calls do no harm */
    assert_false(janitor_look(&janitor, 1, 0).trim);         /* but not while one is open */
    assert_true(janitor_look(&janitor, 0, 0).trim);
    for (unsigned i = 0; i < 2 * LATE; i++)
        assert_false(janitor_look(&janitor, 0, 0).trim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_taken_while_nothing_happens),
        cmocka_unit_test(each_minute_the_end_of_the_heap_goes_back),
        cmocka_unit_test(spares_are_kept_for_the_peak_of_the_last_minute),
        cmocka_unit_test(a_crowd_gives_back_when_a_quarter_is_left),
        cmocka_unit_test(few_are_no_crowd),
        cmocka_unit_test(streams_keep_what_they_need),
        cmocka_unit_test(what_was_never_a_crowd_gives_back_when_it_is_quiet),
        cmocka_unit_test(it_is_not_quiet_while_one_is_open),
        cmocka_unit_test(what_is_kept_for_later_goes_back_late),
        cmocka_unit_test(the_last_shrink_of_a_crowd_comes_when_it_is_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
