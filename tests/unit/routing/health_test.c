/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "routing/health.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const uint64_t SECOND = 1000000, BEGIN = UINT64_C(7000) * 1000000;
static const struct breaker_settings settings = {
    .window_us = 30000000, .min_requests = 20, .error_ppm = 500000, .open_us = 15000000};

static void tell(struct health_figures *figures, enum fault_kind fault, uint64_t now)
{
    health_report(figures, &settings, fault, false, 0, now);
}

static void tell_often(struct health_figures *figures, enum fault_kind fault, int times,
                       uint64_t now)
{
    for (int i = 0; i < times; i++)
        tell(figures, fault, now);
}

static void a_new_target_is_well(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    assert_int_equal(health_look(&figures, BEGIN), HEALTH_WELL);
    assert_false(health_take_probe(&figures, &settings, BEGIN));
    assert_int_equal(health_again_us(&figures, BEGIN), 0);
}

static void two_failures_open_what_has_never_answered(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    tell(&figures, FAULT_TARGET_DOWN, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN), HEALTH_WELL); /* one says nothing */
    tell(&figures, FAULT_TARGET_DOWN, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN), HEALTH_SICK);
    assert_int_equal(health_circuit(&figures), CIRCUIT_OPEN);
}

static void three_failures_open_what_had_answered(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    tell_often(&figures, FAULT_NONE, 10, BEGIN);
    tell_often(&figures, FAULT_TARGET_ERROR, 2, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN), HEALTH_WELL);
    tell(&figures, FAULT_TARGET_ERROR, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN), HEALTH_SICK);
}

static void where_many_calls_are_a_share_of_failures_opens_it(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    for (int i = 0; i < 60; i++) /* a fifth fails, never many in a row */
        tell(&figures, i % 5 ? FAULT_NONE : FAULT_TARGET_ERROR, BEGIN + (uint64_t)i);
    assert_int_equal(health_look(&figures, BEGIN + SECOND), HEALTH_WELL);
    for (int i = 0; i < 120; i++)
        tell(&figures, i % 3 ? FAULT_TARGET_ERROR : FAULT_NONE, BEGIN + SECOND);
    assert_int_equal(health_look(&figures, BEGIN + SECOND), HEALTH_SICK);
}

static void failures_of_long_ago_are_forgotten(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    tell_often(&figures, FAULT_NONE, 20, BEGIN);
    for (int i = 0; i < 18; i++) /* below the half */
        tell(&figures, i % 2 ? FAULT_TARGET_ERROR : FAULT_NONE, BEGIN);
    for (int i = 0; i < 19; i++) /* and again two windows later */
        tell(&figures, i % 2 ? FAULT_TARGET_ERROR : FAULT_NONE, BEGIN + 60 * SECOND);
    assert_int_equal(health_look(&figures, BEGIN + 60 * SECOND), HEALTH_WELL);
}

static void what_is_not_its_fault_opens_nothing(void **state)
{
    (void)state;
    static const enum fault_kind blameless[] = {FAULT_TARGET_REFUSED, FAULT_CLIENT_GONE,
                                                FAULT_TOO_LATE, FAULT_NONE, FAULT_BUDGET};
    struct health_figures figures = {0};
    for (size_t i = 0; i < 50; i++)
        tell(&figures, blameless[i % 5], BEGIN);
    assert_int_equal(health_look(&figures, BEGIN), HEALTH_WELL);
}

static void exactly_one_gets_the_probe(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    tell_often(&figures, FAULT_TARGET_DOWN, 2, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN + 13 * SECOND), HEALTH_SICK);
    assert_false(health_take_probe(&figures, &settings, BEGIN + 13 * SECOND));
    uint64_t later = BEGIN + 15 * SECOND; /* an eighth less at most */
    assert_int_equal(health_look(&figures, later), HEALTH_PROBE);
    assert_true(health_take_probe(&figures, &settings, later));
    assert_false(health_take_probe(&figures, &settings, later));
    assert_int_equal(health_look(&figures, later), HEALTH_SICK);
    health_report(&figures, &settings, FAULT_NONE, true, 0, later);
    assert_int_equal(health_look(&figures, later), HEALTH_WELL);
}

static void who_is_well_again_is_found_out_within_the_open_time(void **state)
{
    (void)state;
    static const uint64_t SECONDS[] = {15, 15, 15, 15, 15, 15, 15, 15, 30, 30};
    struct health_figures figures = {0};
    uint64_t now = BEGIN;
    tell_often(&figures, FAULT_TARGET_DOWN, 2, now);
    for (size_t i = 0; i < sizeof(SECONDS) / sizeof(SECONDS[0]); i++) {
        assert_int_equal(health_look(&figures, now + SECONDS[i] * SECOND * 7 / 8 - 1), HEALTH_SICK);
        now += SECONDS[i] * SECOND + 1000;
        assert_int_equal(health_look(&figures, now), HEALTH_PROBE);
        assert_true(health_take_probe(&figures, &settings, now));
        health_report(&figures, &settings, FAULT_TARGET_DOWN, true, 0, now);
    }
}

static void a_probe_whose_client_left_is_the_next_ones(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    tell_often(&figures, FAULT_TARGET_DOWN, 2, BEGIN);
    uint64_t now = BEGIN + 17 * SECOND;
    assert_true(health_take_probe(&figures, &settings, now));
    health_report(&figures, &settings, FAULT_CLIENT_GONE, true, 0, now);
    assert_int_equal(health_look(&figures, now), HEALTH_PROBE);
    assert_true(health_take_probe(&figures, &settings, now));
    /* and one that nobody ever tells of is somebody else's in the end */
    assert_int_equal(health_look(&figures, now + 601 * SECOND), HEALTH_PROBE);
}

static void a_late_good_answer_does_not_close_it(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    tell_often(&figures, FAULT_TARGET_DOWN, 2, BEGIN);
    tell(&figures, FAULT_NONE, BEGIN + SECOND);
    assert_int_equal(health_look(&figures, BEGIN + SECOND), HEALTH_SICK);
}

static void it_is_left_alone_as_long_as_it_says(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    health_report(&figures, &settings, FAULT_TARGET_BUSY, false, 7 * (int64_t)SECOND, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN + 7 * SECOND - 1), HEALTH_COOLING);
    assert_int_equal(health_again_us(&figures, BEGIN), BEGIN + 7 * SECOND);
    /* a shorter one behind it does not end it sooner */
    health_report(&figures, &settings, FAULT_TARGET_BUSY, false, (int64_t)SECOND, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN + 7 * SECOND - 1), HEALTH_COOLING);
    assert_int_equal(health_look(&figures, BEGIN + 7 * SECOND), HEALTH_WELL);
    /* nobody is left alone for good */
    health_report(&figures, &settings, FAULT_TARGET_BUSY, false, INT64_MAX / 2, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN + 3601 * SECOND), HEALTH_WELL);
}

static void too_many_calls_without_a_time_cool_longer_each_time(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    uint64_t now = BEGIN;
    for (uint64_t i = 0; i < 5; i++) {
        tell(&figures, FAULT_TARGET_BUSY, now);
        assert_int_equal(health_look(&figures, now + (SECOND << i) - 1), HEALTH_COOLING);
        now += (SECOND << i) * 9 / 8 + 1;
        assert_int_equal(health_look(&figures, now), HEALTH_WELL);
    }
    tell(&figures, FAULT_NONE, now);
    tell(&figures, FAULT_TARGET_BUSY, now);
    assert_int_equal(health_look(&figures, now + 2 * SECOND), HEALTH_WELL);
}

static void without_a_breaker_only_what_the_provider_says_counts(void **state)
{
    (void)state;
    struct breaker_settings off = settings;
    struct health_figures figures = {0};
    off.off = true;
    for (int i = 0; i < 100; i++)
        health_report(&figures, &off, FAULT_TARGET_ERROR, false, 0, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN), HEALTH_WELL);
    health_report(&figures, &off, FAULT_TARGET_ERROR, false, (int64_t)SECOND, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN), HEALTH_COOLING);
}

static void one_that_fails_more_than_its_siblings_is_left_out(void **state)
{
    (void)state;
    struct health_figures figures[3] = {{0}};
    struct health_figures *all[] = {&figures[0], &figures[1], &figures[2]};
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < 3; k++)
            tell(&figures[k], i % 5 == 0 && k == 1 ? FAULT_TARGET_ERROR : FAULT_NONE, BEGIN);
    assert_false(health_compare(&figures[0], all, 3, &settings, BEGIN));
    assert_true(health_compare(&figures[1], all, 3, &settings, BEGIN));
    assert_int_equal(health_look(&figures[1], BEGIN), HEALTH_SICK);
    assert_false(health_compare(&figures[1], all, 3, &settings, BEGIN)); /* it is out already */
}

static void all_that_fail_alike_stay(void **state)
{
    (void)state;
    struct health_figures figures[3] = {{0}};
    struct health_figures *all[] = {&figures[0], &figures[1], &figures[2]};
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < 3; k++)
            tell(&figures[k], i % 5 == 0 ? FAULT_TARGET_ERROR : FAULT_NONE, BEGIN);
    for (int k = 0; k < 3; k++)
        assert_false(health_compare(&figures[k], all, 3, &settings, BEGIN));
}

static void one_that_is_asked_and_well_is_back_at_once(void **state)
{
    (void)state;
    struct health_figures figures = {0};
    health_asked(&figures, &settings, false, BEGIN);
    health_asked(&figures, &settings, false, BEGIN);
    assert_int_equal(health_look(&figures, BEGIN), HEALTH_SICK);
    health_asked(&figures, &settings, true, BEGIN + SECOND);
    assert_int_equal(health_look(&figures, BEGIN + SECOND), HEALTH_WELL);
}

/* ---------------------------------------------------------------------------------- threads */

enum { THREADS = 4, ROUNDS = 2000 };

static struct health_figures shared;
static atomic_int probes;

static void *grab(void *with)
{
    uint64_t now = BEGIN + 20 * SECOND;
    (void)with;
    for (int i = 0; i < ROUNDS; i++) {
        health_look(&shared, now);
        if (health_take_probe(&shared, &settings, now))
            atomic_fetch_add(&probes, 1);
    }
    return NULL;
}

static void of_many_threads_one_gets_the_probe(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    tell_often(&shared, FAULT_TARGET_DOWN, 2, BEGIN);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, grab, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&probes), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_target_is_well),
        cmocka_unit_test(two_failures_open_what_has_never_answered),
        cmocka_unit_test(three_failures_open_what_had_answered),
        cmocka_unit_test(where_many_calls_are_a_share_of_failures_opens_it),
        cmocka_unit_test(failures_of_long_ago_are_forgotten),
        cmocka_unit_test(what_is_not_its_fault_opens_nothing),
        cmocka_unit_test(exactly_one_gets_the_probe),
        cmocka_unit_test(who_is_well_again_is_found_out_within_the_open_time),
        cmocka_unit_test(a_probe_whose_client_left_is_the_next_ones),
        cmocka_unit_test(a_late_good_answer_does_not_close_it),
        cmocka_unit_test(it_is_left_alone_as_long_as_it_says),
        cmocka_unit_test(too_many_calls_without_a_time_cool_longer_each_time),
        cmocka_unit_test(without_a_breaker_only_what_the_provider_says_counts),
        cmocka_unit_test(one_that_fails_more_than_its_siblings_is_left_out),
        cmocka_unit_test(all_that_fail_alike_stay),
        cmocka_unit_test(one_that_is_asked_and_well_is_back_at_once),
        cmocka_unit_test(of_many_threads_one_gets_the_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
