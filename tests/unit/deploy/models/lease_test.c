/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "deploy/models/lease.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { SECOND = 1000000, T0 = 100 * SECOND };

static void it_is_held_for_less_than_the_store_grants(void **state)
{
    (void)state;
    struct lease lease = {.state = LEASE_APART};
    struct lease_answer ours = {.is_held = true, .is_ours = true, .token = 7, .left_us = LEASE_US};
    assert_true(lease_wants(&lease, T0));
    lease_hear(&lease, &ours, T0, T0 + 1000);
    assert_int_equal(lease.state, LEASE_HOLDS);
    assert_int_equal(lease.token, 7);
    lease_tick(&lease, T0 + LEASE_US - LEASE_MARGIN_US - 1);
    assert_int_equal(lease.state, LEASE_HOLDS);
    lease_tick(&lease, T0 + LEASE_US - LEASE_MARGIN_US);
    assert_int_equal(lease.state, LEASE_APART);
}

static void an_answer_that_comes_too_late_gives_nothing(void **state)
{
    (void)state;
    struct lease lease = {.state = LEASE_APART};
    struct lease_answer ours = {.is_held = true, .is_ours = true, .token = 7, .left_us = LEASE_US};
    lease_hear(&lease, &ours, T0, T0 + LEASE_US);
    assert_int_equal(lease.state, LEASE_APART);
}

static void renewing_keeps_it(void **state)
{
    (void)state;
    struct lease lease = {.state = LEASE_APART};
    struct lease_answer ours = {.is_held = true, .is_ours = true, .token = 7, .left_us = LEASE_US};
    for (uint64_t now = T0; now < T0 + 100 * (uint64_t)SECOND; now += SECOND) {
        assert_true(lease_wants(&lease, now));
        lease_hear(&lease, &ours, now, now + 1000);
        assert_int_equal(lease.state, LEASE_HOLDS);
    }
}

static void anothers_is_waited_for_even_when_the_store_forgets_it(void **state)
{
    (void)state;
    struct lease lease = {.state = LEASE_APART};
    struct lease_answer theirs = {.is_held = true, .token = 9, .left_us = 3 * SECOND};
    struct lease_answer nobodys = {.is_held = false};
    lease_hear(&lease, &theirs, T0, T0);
    assert_int_equal(lease.state, LEASE_FOLLOWS);
    assert_false(lease_wants(&lease, T0 + SECOND));
    lease_hear(&lease, &nobodys, T0 + SECOND, T0 + SECOND);
    assert_false(lease_wants(&lease, T0 + 3 * SECOND - 1));
    assert_true(lease_wants(&lease, T0 + 3 * SECOND));
    lease_tick(&lease, T0 + SECOND + LEASE_US);
    assert_int_equal(lease.state, LEASE_APART);
}

static void one_that_was_given_up_is_free_at_once(void **state)
{
    (void)state;
    struct lease lease = {.state = LEASE_APART};
    struct lease_answer theirs = {.is_held = true, .token = 9, .left_us = 3 * SECOND};
    struct lease_answer given_up = {.is_free = true};
    lease_hear(&lease, &theirs, T0, T0);
    lease_hear(&lease, &given_up, T0 + 1000, T0 + 1000);
    assert_true(lease_wants(&lease, T0 + 1000));
}

static void one_that_was_lost_ends_at_once(void **state)
{
    (void)state;
    struct lease lease = {.state = LEASE_APART};
    struct lease_answer ours = {.is_held = true, .is_ours = true, .token = 7, .left_us = LEASE_US};
    struct lease_answer theirs = {.is_held = true, .token = 9, .left_us = 3 * SECOND};
    struct lease_answer nobodys = {.is_held = false};
    lease_hear(&lease, &ours, T0, T0);
    lease_hear(&lease, &theirs, T0 + 1000, T0 + 1000);
    assert_int_equal(lease.state, LEASE_FOLLOWS);
    assert_int_equal(lease.token, 9);
    lease_hear(&lease, &ours, T0 + 2000, T0 + 2000);
    lease_hear(&lease, &nobodys, T0 + 3000, T0 + 3000);
    assert_int_equal(lease.state, LEASE_APART);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_held_for_less_than_the_store_grants),
        cmocka_unit_test(an_answer_that_comes_too_late_gives_nothing),
        cmocka_unit_test(renewing_keeps_it),
        cmocka_unit_test(anothers_is_waited_for_even_when_the_store_forgets_it),
        cmocka_unit_test(one_that_was_given_up_is_free_at_once),
        cmocka_unit_test(one_that_was_lost_ends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
