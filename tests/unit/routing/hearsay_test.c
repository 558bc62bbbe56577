/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "routing/hearsay.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const uint64_t SECOND = 1000000, BEGIN = UINT64_C(7000) * 1000000;
static const struct breaker_settings breaker = {
    .window_us = 30000000, .min_requests = 20, .error_ppm = 500000, .open_us = 15000000};

/* Two processes that share a target. */
struct both {
    struct target_figures here, there;
    struct target target_here, target_there;
    struct hearsay *hears, *tells;
    char record[HEARSAY_BYTES_MAX];
    size_t len;
};

static int begin(void **state)
{
    static struct both both;
    both = (struct both){.here = {.identity = 77}, .there = {.identity = 77}};
    both.target_here = (struct target){.figures = &both.here, .breaker = &breaker};
    both.target_there = (struct target){.figures = &both.there, .breaker = &breaker};
    both.hears = hearsay_new();
    both.tells = hearsay_new();
    hearsay_set_targets(both.hears, &both.target_here, 1);
    hearsay_set_targets(both.tells, &both.target_there, 1);
    *state = &both;
    return 0;
}

static int end(void **state)
{
    struct both *both = *state;
    hearsay_free(both->hears);
    hearsay_free(both->tells);
    return 0;
}

static void pass_on(struct both *both, int64_t age, uint64_t now)
{
    uint64_t sense;
    both->len = hearsay_write(both->tells, now - (uint64_t)age, both->record, &sense);
    assert_true(
        hearsay_read(both->hears, text_of("b"), (struct text){both->record, both->len}, age, now));
    hearsay_fold(both->hears, now);
}

static int64_t get(const atomic_int_fast64_t *figure)
{
    return atomic_load(figure);
}

static void tell_failures(struct target_figures *figures, unsigned times, uint64_t now)
{
    for (unsigned i = 0; i < times; i++)
        health_report(&figures->health, &breaker, FAULT_TARGET_DOWN, false, 0, now);
}

/* ------------------------------------------------------------------------------- the tests */

static void a_retry_after_is_heeded_by_all(void **state)
{
    struct both *both = *state;
    health_report(&both->there.health, &breaker, FAULT_TARGET_BUSY, false, 7000000, BEGIN);
    pass_on(both, 300000, BEGIN + SECOND);
    assert_int_equal(health_look(&both->here.health, BEGIN + SECOND), HEALTH_COOLING);
    uint64_t again = health_again_us(&both->here.health, BEGIN + SECOND);
    assert_in_range(again, BEGIN + 7 * SECOND, BEGIN + 7 * SECOND + 2000);
    assert_int_equal(health_look(&both->here.health, BEGIN + 8 * SECOND), HEALTH_WELL);
    /* and is not told on: it would get younger on its way */
    assert_int_equal(health_tell(&both->here.health).cooling_until_us, 0);
}

static void a_circuit_that_opened_elsewhere_makes_us_look(void **state)
{
    struct both *both = *state;
    tell_failures(&both->there, 3, BEGIN);
    assert_int_equal(health_circuit(&both->there.health), CIRCUIT_OPEN);
    pass_on(both, 100000, BEGIN + SECOND);
    assert_int_equal(health_look(&both->here.health, BEGIN + SECOND), HEALTH_PROBE);
    assert_int_equal(health_tell(&both->here.health).circuit, CIRCUIT_CLOSED);
    assert_true(health_take_probe(&both->here.health, &breaker, BEGIN + SECOND));
    health_report(&both->here.health, &breaker, FAULT_NONE, true, 0, BEGIN + 2 * SECOND);
    assert_int_equal(health_circuit(&both->here.health), CIRCUIT_CLOSED);
    pass_on(both, 100000, BEGIN + 3 * SECOND); /* the same again: we have seen better */
    assert_int_equal(health_look(&both->here.health, BEGIN + 3 * SECOND), HEALTH_WELL);
    assert_int_equal(get(&both->here.heard.open), 1);
}

static void who_had_a_good_answer_since_knows_better(void **state)
{
    struct both *both = *state;
    tell_failures(&both->there, 3, BEGIN);
    health_report(&both->here.health, &breaker, FAULT_NONE, false, 0, BEGIN + 1000);
    pass_on(both, 0, BEGIN + SECOND);
    assert_int_equal(health_look(&both->here.health, BEGIN + SECOND), HEALTH_WELL);
}

static void a_circuit_that_closed_elsewhere_is_probed_at_once(void **state)
{
    struct both *both = *state;
    tell_failures(&both->here, 3, BEGIN);
    tell_failures(&both->there, 3, BEGIN - 20 * SECOND);
    assert_true(health_take_probe(&both->there.health, &breaker, BEGIN + SECOND));
    health_report(&both->there.health, &breaker, FAULT_NONE, true, 0, BEGIN + SECOND);
    assert_int_equal(health_look(&both->here.health, BEGIN + 2 * SECOND), HEALTH_SICK);
    pass_on(both, 0, BEGIN + 2 * SECOND);
    assert_int_equal(health_look(&both->here.health, BEGIN + 2 * SECOND), HEALTH_PROBE);
    /* that it closed once is no reason to look a second time */
    assert_true(health_take_probe(&both->here.health, &breaker, BEGIN + 2 * SECOND));
    health_report(&both->here.health, &breaker, FAULT_TARGET_DOWN, true, 0, BEGIN + 3 * SECOND);
    pass_on(both, 0, BEGIN + 4 * SECOND);
    assert_int_equal(health_look(&both->here.health, BEGIN + 4 * SECOND), HEALTH_SICK);
}

static void calls_in_flight_count_until_nobody_tells_of_them(void **state)
{
    struct both *both = *state;
    atomic_store(&both->there.predict.calls, 4);
    atomic_store(&both->there.predict.work_tokens, 400);
    pass_on(both, 100000, BEGIN);
    assert_int_equal(get(&both->here.predict.heard_calls), 4);
    assert_int_equal(get(&both->here.predict.heard_tokens), 400);
    struct predict_ask ask = {.now_us = BEGIN, .half_life_us = 120000000};
    struct predict_prior prior = {.first_us = 1000, .token_ns = 1000};
    struct prediction seen;
    predict_make(&both->here.predict, &ask, &prior, &seen);
    assert_int_equal(seen.calls, 4);
    assert_int_equal(seen.work_tokens, 400);
    hearsay_fold(both->hears, BEGIN + 2 * SECOND + SECOND / 2);
    assert_in_range(get(&both->here.predict.heard_calls), 1, 3);
    hearsay_fold(both->hears, BEGIN + 4 * SECOND);
    assert_int_equal(get(&both->here.predict.heard_calls), 0);
    assert_int_equal(get(&both->here.heard.nodes), 0);
}

static void a_record_takes_the_place_of_the_one_before(void **state)
{
    struct both *both = *state;
    atomic_store(&both->there.predict.calls, 4);
    pass_on(both, 0, BEGIN);
    atomic_store(&both->there.predict.calls, 1);
    pass_on(both, 0, BEGIN + 1000);
    assert_int_equal(get(&both->here.predict.heard_calls), 1);
    hearsay_set_targets(both->hears, &both->target_here, 0);
    assert_int_equal(get(&both->here.predict.heard_calls), 0);
}

static void learn(struct target_figures *figures, int64_t first_us, int64_t token_ns, uint64_t now)
{
    struct predict_class *class = &figures->predict.classes[TRAFFIC_SHORT];
    atomic_store(&class->calm_us, first_us);
    atomic_store(&class->token_ns, token_ns);
    atomic_store(&class->learnt_us, (int64_t)now);
    atomic_store(&class->samples, 9);
}

static void what_nothing_is_known_of_is_taken_over_and_not_told_on(void **state)
{
    struct both *both = *state;
    uint64_t sense;
    char record[HEARSAY_BYTES_MAX];
    const struct predict_class *class = &both->here.predict.classes[TRAFFIC_SHORT];
    learn(&both->there, 80000, 7000000, BEGIN);
    pass_on(both, 0, BEGIN + SECOND);
    assert_int_equal(get(&class->calm_us), 80000);
    assert_int_equal(get(&class->token_ns), 7000000);
    assert_in_range(get(&class->learnt_us), BEGIN - 2000, BEGIN);
    assert_int_equal(get(&class->samples), 1);
    assert_int_equal(hearsay_write(both->hears, BEGIN + SECOND, record, &sense), hearsay_head.len);
}

static void what_one_knows_better_oneself_stays(void **state)
{
    struct both *both = *state;
    const struct predict_class *class = &both->here.predict.classes[TRAFFIC_SHORT];
    learn(&both->here, 40000, 5000000, BEGIN);
    learn(&both->there, 80000, 7000000, BEGIN + 4 * SECOND);
    pass_on(both, 0, BEGIN + 5 * SECOND);
    assert_int_equal(get(&class->calm_us), 40000);
    learn(&both->there, 80000, 7000000, BEGIN + 9 * SECOND); /* far newer: halfway */
    pass_on(both, 0, BEGIN + 9 * SECOND);
    assert_int_equal(get(&class->calm_us), 60000);
    pass_on(both, 0, BEGIN + 10 * SECOND); /* once */
    assert_int_equal(get(&class->calm_us), 60000);
}

static void the_latest_word_on_a_quota_counts(void **state)
{
    struct both *both = *state;
    struct quota_seen seen = {.requests_left = 1,
                              .requests_limit = 100,
                              .requests_reset_us = 60000000,
                              .tokens_left = -1};
    quota_said(&both->there.left, &seen, BEGIN);
    pass_on(both, 0, BEGIN + SECOND);
    assert_true(quota_dry_until(&both->here.left, 10, BEGIN + SECOND) > BEGIN);
    seen.requests_left = 90;
    quota_said(&both->here.left, &seen, BEGIN + 2 * SECOND);
    pass_on(both, 0, BEGIN + 3 * SECOND);
    assert_int_equal(quota_dry_until(&both->here.left, 10, BEGIN + 3 * SECOND), 0);
}

static void a_line_is_read_as_it_was_written(void **state)
{
    (void)state;
    char out[2048];
    struct hearsay_line read, line = {.identity = UINT64_C(0xfedcba9876543210),
                                      .circuit = CIRCUIT_OPEN,
                                      .turned_age_ms = 12,
                                      .cooling_ms = 3400,
                                      .calls = 5,
                                      .tokens = 600,
                                      .room_milli = 4000,
                                      .failing_ppm = 25000,
                                      .failed_age_ms = 1,
                                      .requests = 10,
                                      .requests_limit = 100,
                                      .requests_reset_ms = 60000,
                                      .quota_tokens = 1,
                                      .tokens_limit = 2,
                                      .tokens_reset_ms = 3,
                                      .said_age_ms = 4};
    line.classes[TRAFFIC_OTHER] = (struct hearsay_class){1, 2, 3, 4, 5, 6, 7};
    size_t len = hearsay_line_write(&line, out, 0, sizeof(out));
    assert_true(hearsay_line_read((struct text){out, len - 1}, &read));
    assert_memory_equal(&line, &read, sizeof(line));
    assert_int_equal(hearsay_line_write(&line, out, 0, len - 1), 0);
}

static void what_is_no_record_is_refused_whole(void **state)
{
    struct both *both = *state;
    static const char *const bad[] = {
        "",
        "sluice 2\n",
        "sluice 1\nfedc f1,1\n",
        "sluice 1\n000000000000004d f1\n",
        "sluice 1\n000000000000004d f1,1\n000000000000004d f-1,1\n",
        "sluice 1\n000000000000004d f99999999999,1\n",
        "sluice 1\n000000000000004d c3,1\n",
        "sluice 1\n000000000000004d p5,1,1,1,1,1,1,1\n",
        "sluice 1\n000000000000004d  f1,1\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(hearsay_read(both->hears, text_of("b"), text_of(bad[i]), 0, BEGIN));
        hearsay_fold(both->hears, BEGIN);
        assert_int_equal(get(&both->here.predict.heard_calls), 0);
    }
    struct text good = text_of("sluice 1\n000000000000004d z1 f2,1,9\n"); /* a newer one's words */
    assert_false(hearsay_read(both->hears, text_of("b"), good, HEARSAY_GONE_US, BEGIN));
    assert_false(hearsay_read(both->hears, text_of(""), good, 0, BEGIN));
    assert_true(hearsay_read(both->hears, text_of("b"), good, 0, BEGIN));
    hearsay_fold(both->hears, BEGIN);
    assert_int_equal(get(&both->here.predict.heard_calls), 2);
}

/* Whoever writes there may write whatever a line can hold. */
static void the_largest_of_all_numbers_make_a_long_wait(void **state)
{
    struct both *both = *state;
    struct text record = text_of("sluice 1\n000000000000004d f1,1000000000000 "
                                 "p0,3600000000,0,0,3600000000,3600000000,60000000000,0\n");
    char name[HEARSAY_NAME_BYTES];
    for (int i = 0; i < HEARSAY_NODES_MAX; i++) {
        snprintf(name, sizeof(name), "node-%d", i);
        assert_true(hearsay_read(both->hears, text_of(name), record, 0, BEGIN));
    }
    hearsay_fold(both->hears, BEGIN);
    struct predict_ask ask = {.now_us = BEGIN, .half_life_us = 120000000, .output_tokens = 100};
    struct predict_prior prior = {.count = 0};
    struct prediction made;
    predict_prior_add(&prior, &both->here.predict, TRAFFIC_SHORT);
    predict_prior_fill(&prior, TRAFFIC_SHORT);
    predict_make(&both->here.predict, &ask, &prior, &made);
    assert_int_equal(made.wait_us, INT64_C(3600) * 1000000);
}

static void of_many_nodes_the_silent_ones_make_room(void **state)
{
    struct both *both = *state;
    struct text record = text_of("sluice 1\n000000000000004d f1,1\n");
    char name[HEARSAY_NAME_BYTES];
    int64_t age;
    for (int i = 0; i < HEARSAY_NODES_MAX; i++) {
        snprintf(name, sizeof(name), "node-%d", i);
        assert_true(hearsay_read(both->hears, text_of(name), record, 0, BEGIN));
    }
    assert_false(hearsay_read(both->hears, text_of("more"), record, 0, BEGIN));
    assert_int_equal(hearsay_nodes(both->hears, BEGIN, &age), HEARSAY_NODES_MAX);
    uint64_t then = BEGIN + HEARSAY_GONE_US + 1;
    assert_true(hearsay_read(both->hears, text_of("more"), record, 0, then));
    assert_int_equal(hearsay_nodes(both->hears, then, &age), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_retry_after_is_heeded_by_all, begin, end),
        cmocka_unit_test_setup_teardown(a_circuit_that_opened_elsewhere_makes_us_look, begin, end),
        cmocka_unit_test_setup_teardown(who_had_a_good_answer_since_knows_better, begin, end),
        cmocka_unit_test_setup_teardown(a_circuit_that_closed_elsewhere_is_probed_at_once, begin,
                                        end),
        cmocka_unit_test_setup_teardown(calls_in_flight_count_until_nobody_tells_of_them, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_record_takes_the_place_of_the_one_before, begin, end),
        cmocka_unit_test_setup_teardown(what_nothing_is_known_of_is_taken_over_and_not_told_on,
                                        begin, end),
        cmocka_unit_test_setup_teardown(what_one_knows_better_oneself_stays, begin, end),
        cmocka_unit_test_setup_teardown(the_latest_word_on_a_quota_counts, begin, end),
        cmocka_unit_test(a_line_is_read_as_it_was_written),
        cmocka_unit_test_setup_teardown(what_is_no_record_is_refused_whole, begin, end),
        cmocka_unit_test_setup_teardown(the_largest_of_all_numbers_make_a_long_wait, begin, end),
        cmocka_unit_test_setup_teardown(of_many_nodes_the_silent_ones_make_room, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
