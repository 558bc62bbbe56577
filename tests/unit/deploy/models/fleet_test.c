/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/unit/deploy/models/fleet_world.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void a_call_starts_it_and_silence_ends_it(void **state)
{
    (void)state;
    world_new(1);
    world_node("local", 20, 0);
    struct deployment_spec spec = plain_spec("qwen", 12);
    spec.scaling.max = 1;
    struct model *model = world_model(&spec);
    world_configure();
    world_run(5 * SECOND_US);
    assert_int_equal(look("qwen").state, DEPLOYMENT_IDLE);
    assert_int_equal(model->launches, 0);
    for (int i = 0; i < 4; i++)
        world_call(model);
    world_run(500 * MS);
    assert_int_equal(look("qwen").state, DEPLOYMENT_STARTING);
    world_run(3 * SECOND_US);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    assert_int_equal(model->served, 4);
    assert_int_equal(model->launches, 1);
    world_run(50 * SECOND_US);
    assert_int_equal(look("qwen").ready, 1);
    world_run(20 * SECOND_US);
    assert_int_equal(look("qwen").state, DEPLOYMENT_IDLE);
    world_call(model);
    world_run(5 * SECOND_US);
    assert_int_equal(model->served, 5);
    world_shut(60 * SECOND_US);
    world_end();
}

static void it_grows_and_shrinks_with_what_is_asked(void **state)
{
    (void)state;
    world_new(2);
    world_node("local", 100, 0);
    struct deployment_spec spec = plain_spec("qwen", 10);
    spec.scaling.min = 1;
    spec.scaling.max = 4;
    struct model *model = world_model(&spec);
    world_configure();
    world_run(10 * SECOND_US);
    assert_int_equal(look("qwen").ready, 1);
    for (int i = 0; i < 600; i++) { /* sixteen or so at once, for a minute */
        for (int n = 0; n < 3; n++)
            world_call(model);
        world_run(100 * MS);
    }
    assert_int_equal(look("qwen").ready, 4);
    world_run(25 * SECOND_US);
    assert_int_equal(look("qwen").ready, 4);
    world_run(5 * 60 * (uint64_t)SECOND_US);
    assert_int_equal(look("qwen").ready, 1);
    assert_int_equal(model->served, 1800);
    world_shut(60 * SECOND_US);
    world_end();
}

static void what_is_stopped_stays_so_until_it_is_started(void **state)
{
    (void)state;
    world_new(3);
    world_node("local", 20, 0);
    struct deployment_spec spec = plain_spec("qwen", 12);
    spec.scaling.min = 1;
    struct model *model = world_model(&spec);
    world_configure();
    world_run(5 * SECOND_US);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    assert_true(order("qwen", FLEET_STOP));
    assert_int_equal(look("qwen").state, DEPLOYMENT_STOPPING);
    world_run(10 * SECOND_US);
    assert_int_equal(look("qwen").state, DEPLOYMENT_STOPPED);
    world_call(model);
    world_run(SECOND_US);
    assert_string_equal(model->last_why, "stopped");
    assert_int_equal(model->failed, 1);
    assert_int_equal(look("qwen").state, DEPLOYMENT_STOPPED);
    assert_true(order("qwen", FLEET_START));
    world_run(5 * SECOND_US);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    assert_false(order("nobody", FLEET_START));
    world_shut(60 * SECOND_US);
    world_end();
}

/* A call comes, gets its place, and its server dies of it. */
static void crash_by_a_call(struct model *model)
{
    world_call(model);
    for (int i = 0; i < 300 && calls_on(&world.servers[0]) == 0; i++)
        world_run(100 * MS);
    assert_int_equal(calls_on(&world.servers[0]), 1);
    world.servers[0].end_us = world.now_us + 1;
    world_run(MS);
}

/* Between the crash and the next try nobody asks. */
static void one_that_every_call_crashes_waits_longer_each_time_and_is_given_up(void **state)
{
    (void)state;
    world_new(4);
    world_node("local", 20, 0);
    struct deployment_spec spec =
        plain_spec("qwen", 12); /* three restarts, after a second or more */
    struct model *model = world_model(&spec);
    world_configure();
    for (int crashes = 1; crashes <= 4; crashes++) {
        crash_by_a_call(model);
        assert_int_equal(model->broken, crashes);
        assert_int_equal(look("qwen").state, crashes < 4 ? DEPLOYMENT_BACKOFF : DEPLOYMENT_FAILED);
        world_run(100 * MS);
    }
    assert_int_equal(model->launches, 4);
    world_call(model);
    world_run(SECOND_US);
    assert_int_equal(model->failed, 1);
    world_run(10 * SECOND_US);
    world_call(model); /* it is tried again */
    world_run(5 * SECOND_US);
    assert_int_equal(model->served, 1);
    world_run(120 * SECOND_US);
    crash_by_a_call(model);
    world_run(10 * SECOND_US);
    assert_int_equal(look("qwen").state, DEPLOYMENT_IDLE); /* and is not started for nobody */
    assert_int_equal(model->launches, 6);
    world_shut(60 * SECOND_US);
    world_end();
}

/* It leads now, and has none of its own. */
static void what_runs_elsewhere_is_as_long_idle_as_any(void **state)
{
    (void)state;
    world_new(5);
    world_node("local", 20, 0);
    struct deployment_spec spec = plain_spec("qwen", 12); /* stopped after a minute */
    world_model(&spec);
    world_configure();
    fleet_elsewhere(world.fleet, TEXT("qwen"), 1, 1, world.now_us);
    world_run(50 * SECOND_US);
    assert_int_equal(look("qwen").wanted, 1);
    world_run(20 * SECOND_US);
    assert_int_equal(look("qwen").wanted, 0);
    fleet_elsewhere(world.fleet, TEXT("qwen"), 0, 0, world.now_us);
    world_shut(60 * SECOND_US);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stopped_stays_so_until_it_is_started),
        cmocka_unit_test(a_call_starts_it_and_silence_ends_it),
        cmocka_unit_test(it_grows_and_shrinks_with_what_is_asked),
        cmocka_unit_test(one_that_every_call_crashes_waits_longer_each_time_and_is_given_up),
        cmocka_unit_test(what_runs_elsewhere_is_as_long_idle_as_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
