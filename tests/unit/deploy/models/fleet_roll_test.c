/* SPDX-License-Identifier: Apache-2.0 */
/* Revisions: how a new one comes, and how a bad one does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/unit/deploy/models/fleet_world.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct model *model;
static unsigned least_ready;

static void begin(enum rollout_strategy strategy, unsigned many, int64_t gib)
{
    world_new(77);
    world_node("local", gib, 0);
    struct deployment_spec spec = plain_spec("qwen", 10);
    spec.scaling.min = spec.scaling.max = many;
    spec.rollout.strategy = strategy;
    model = world_model(&spec);
    world_configure();
    world_run(10 * SECOND_US);
    assert_int_equal(look("qwen").ready, many);
}

static void end(void)
{
    world_shut(60 * SECOND_US);
    world_end();
}

/* Another revision; <fate> of its replicas. */
static void revise(enum fate fate, enum rollout_strategy strategy)
{
    struct deployment_spec spec = *model->spec;
    spec.container_port += 10;
    spec.container_port -= spec.container_port % 10;
    spec.container_port += (unsigned)fate;
    spec.rollout.strategy = strategy;
    world_model(&spec);
    world_configure();
    least_ready = UINT32_MAX;
}

/* Calls all the time, and how few replicas there were at least. */
static void go_on(unsigned seconds)
{
    for (unsigned i = 0; i < seconds * 4; i++) {
        world_call(model);
        world_run(250 * MS);
        unsigned ready = look("qwen").ready;
        least_ready = ready < least_ready ? ready : least_ready;
    }
}

static void one_after_the_other_is_replaced_and_no_call_fails(void **state)
{
    (void)state;
    begin(ROLL_ROLLING, 2, 100);
    revise(FATE_GOOD, ROLL_ROLLING);
    assert_int_equal(look("qwen").stable, 1);
    assert_int_equal(look("qwen").revision, 2);
    go_on(1);
    assert_int_equal(look("qwen").state, DEPLOYMENT_UPDATING);
    go_on(30);
    assert_int_equal(look("qwen").stable, 2);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    assert_in_range(least_ready, 2, 3);
    assert_int_equal(model->failed + model->broken, 0);
    end();
}

static void a_bad_revision_never_takes_a_call_and_the_old_one_stays(void **state)
{
    static const enum fate fates[] = {FATE_CRASHES, FATE_NEVER_READY, FATE_FINAL, FATE_OOM};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        begin(ROLL_ROLLING, 2, 100);
        revise(fates[i], ROLL_ROLLING); /* the world ends the test when it is opened */
        go_on(100);
        assert_int_equal(look("qwen").stable, 1);
        assert_int_equal(look("qwen").revision, 1);
        assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
        assert_int_equal(least_ready, 2);
        assert_int_equal(model->failed + model->broken, 0);
        uint64_t launches = model->launches;
        world_configure(); /* the same once more: it is not tried again by itself */
        go_on(5);
        assert_int_equal(model->launches, launches);
        revise(FATE_GOOD, ROLL_ROLLING);
        go_on(30);
        assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
        assert_true(look("qwen").stable > 2);
        end();
    }
}

static void without_room_for_both_it_waits_and_is_given_up_at_the_deadline(void **state)
{
    (void)state;
    begin(ROLL_ROLLING, 1, 15);
    revise(FATE_GOOD, ROLL_ROLLING);
    go_on(60);
    assert_int_equal(look("qwen").revision, 2);
    assert_int_equal(least_ready, 1);
    go_on(40);
    assert_int_equal(look("qwen").revision, 1);
    assert_string_equal(look("qwen").reason, "progress_deadline");
    end();
}

static void recreate_needs_no_more_room_than_for_one(void **state)
{
    (void)state;
    begin(ROLL_RECREATE, 1, 15);
    revise(FATE_GOOD, ROLL_RECREATE);
    go_on(30);
    world_run(20 * SECOND_US);
    assert_int_equal(look("qwen").stable, 2);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    assert_int_equal(model->failed + model->broken, 0);
    end();
}

static void a_canary_goes_on_step_by_step(void **state)
{
    (void)state;
    begin(ROLL_CANARY, 2, 100);
    model->spec->rollout.step_count = 2;
    model->spec->rollout.step_permille[0] = 100;
    model->spec->rollout.step_permille[1] = 500;
    model->spec->rollout.step_us = 20 * SECOND_US;
    revise(FATE_GOOD, ROLL_CANARY);
    go_on(10);
    assert_int_equal(look("qwen").canary_permille, 100);
    assert_int_equal(look("qwen").stable, 1);
    for (int i = 0; i < 300 && look("qwen").canary_permille == 100; i++)
        go_on(1);
    assert_int_equal(look("qwen").canary_permille, 500);
    go_on(60);
    assert_int_equal(look("qwen").stable, 2);
    assert_int_equal(look("qwen").canary_permille, 0);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    assert_int_equal(model->failed + model->broken, 0);
    end();
}

static void a_canary_whose_calls_fail_is_taken_back(void **state)
{
    (void)state;
    begin(ROLL_CANARY, 2, 100);
    model->spec->rollout.step_permille[0] = 500;
    model->spec->rollout.step_count = 1;
    model->spec->rollout.step_us = 60 * SECOND_US;
    revise(FATE_ERRORS, ROLL_CANARY); /* one in five */
    go_on(60);
    assert_int_equal(look("qwen").stable, 1);
    assert_int_equal(look("qwen").revision, 1);
    assert_int_equal(look("qwen").canary_permille, 0);
    assert_string_equal(look("qwen").reason, "canary_errors");
    assert_int_equal(least_ready, 2);
    end();
}

static void begin_canary(enum fate fate, unsigned max_slowdown_permille)
{
    begin(ROLL_CANARY, 2, 100);
    model->spec->rollout.step_permille[0] = 500;
    model->spec->rollout.step_count = 1;
    model->spec->rollout.step_us = 40 * SECOND_US;
    model->spec->rollout.max_slowdown_permille = max_slowdown_permille;
    revise(fate, ROLL_CANARY);
}

static void a_canary_that_answers_late_is_taken_back(void **state)
{
    (void)state;
    begin_canary(FATE_SLOW, 2000); /* four times as late */
    go_on(60);
    assert_int_equal(look("qwen").stable, 1);
    assert_string_equal(look("qwen").reason, "canary_slow");
    assert_int_equal(model->failed + model->broken, 0);
    end();
}

static void one_that_may_be_late_is_not(void **state)
{
    static const unsigned may[] = {8000, 0};
    (void)state;
    for (size_t i = 0; i < sizeof(may) / sizeof(may[0]); i++) {
        begin_canary(FATE_SLOW, may[i]);
        go_on(120);
        assert_int_equal(look("qwen").stable, 2);
        end();
    }
}

static void orders_promote_pause_and_roll_back(void **state)
{
    (void)state;
    begin(ROLL_CANARY, 1, 100);
    assert_false(order("qwen", FLEET_PROMOTE));
    assert_false(order("qwen", FLEET_ROLLBACK)); /* to what? */
    model->spec->rollout.step_us = 10 * SECOND_US;
    revise(FATE_GOOD, ROLL_CANARY);
    go_on(5);
    assert_true(order("qwen", FLEET_PAUSE));
    go_on(200);
    assert_int_equal(look("qwen").stable, 1);
    assert_int_equal(look("qwen").revision, 2);
    assert_true(order("qwen", FLEET_PROMOTE));
    go_on(20);
    assert_int_equal(look("qwen").stable, 2);
    assert_true(order("qwen", FLEET_ROLLBACK));
    assert_true(order("qwen", FLEET_PROMOTE));
    go_on(20);
    assert_int_equal(look("qwen").stable, 3);
    assert_int_equal(model->spec->digest != world.servers[0].spec->digest, 1);
    assert_true(order("qwen", FLEET_RESTART));
    assert_true(order("qwen", FLEET_ROLLBACK));
    go_on(20);
    assert_int_equal(look("qwen").stable, 3);
    assert_int_equal(model->failed + model->broken, 0);
    end();
}

/* What is declared is the new one still: the next configuration does not bring it back. */
static void what_an_order_has_taken_back_stays_taken_back(void **state)
{
    (void)state;
    begin(ROLL_ROLLING, 1, 100);
    revise(FATE_GOOD, ROLL_ROLLING);
    go_on(20);
    assert_int_equal(look("qwen").stable, 2);
    assert_true(order("qwen", FLEET_ROLLBACK));
    go_on(20);
    assert_int_equal(look("qwen").stable, 3);
    world_configure();
    go_on(5);
    assert_int_equal(look("qwen").revision, 3);
    /* Of the old one; and that it is dropped says nothing of the new one. */
    assert_true(order("qwen", FLEET_RESTART));
    assert_true(order("qwen", FLEET_ROLLBACK));
    world_configure();
    go_on(5);
    assert_int_equal(look("qwen").revision, 3);
    assert_true(order("qwen", FLEET_ROLLBACK)); /* once more: to the new one */
    go_on(20);
    assert_int_equal(look("qwen").stable_digest, model->spec->digest);
    world_configure();
    go_on(5);
    assert_int_equal(look("qwen").stable_digest, model->spec->digest);
    assert_int_equal(model->failed + model->broken, 0);
    end();
}

static void what_runs_after_a_restart_is_taken_over(void **state)
{
    (void)state;
    begin(ROLL_ROLLING, 1, 100);
    struct fleet *old = world.fleet;
    struct server *server = &world.servers[0];
    struct launch_name name = {.deployment = "qwen", .revision = 7, .digest = server->spec->digest};
    char digits[FLEET_NUMBER_BYTES];
    fleet_number_name(server->number, digits);
    snprintf(name.replica, sizeof(name.replica), "qwen-%s", digits);
    world.fleet = fleet_new(&hands, 5);
    server->open = false;
    world.usable[0] = false;
    world_configure();
    fleet_tick(world.fleet, world.now_us); /* nothing is started before it is known what runs */
    assert_int_equal(model->launches, 1);
    server->replica = fleet_adopt(world.fleet, &name, 0, -1, world.now_us);
    assert_non_null(server->replica);
    assert_null(fleet_adopt(world.fleet, &name, 0, -1, world.now_us)); /* not twice */
    snprintf(name.replica, sizeof(name.replica), "abc");
    assert_null(fleet_adopt(world.fleet, &name, 0, -1, world.now_us)); /* one is enough */
    name.digest++;
    assert_null(fleet_adopt(world.fleet, &name, 0, -1, world.now_us));
    assert_int_equal(server->replica->number, server->number);
    world.usable[0] = true;
    fleet_node(world.fleet, 0, true, world.now_us);
    server->revision = server->replica->revision;
    go_on(20);
    assert_int_equal(look("qwen").revision, 7);
    assert_int_equal(model->launches, 1);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    fleet_free(old);
    end();
}

/* ------------------------------------------------------------------------- the next process */

static struct fleet_verdict verdict_now(void)
{
    struct fleet_verdict verdict;
    assert_true(fleet_verdict(world.fleet, 0, &verdict));
    verdict.name = TEXT("qwen"); /* also when that fleet is gone */
    return verdict;
}

/* The world goes on without the fleet, and with another one that knows <verdict> before it looks
 * what runs. */
static void restart_with(const struct fleet_verdict *verdict, bool leads)
{
    struct fleet *old = world.fleet;
    world.fleet = fleet_new(&hands, 5);
    fleet_lead(world.fleet, leads, world.now_us);
    world.usable[0] = false;
    world_configure();
    fleet_recall_verdict(world.fleet, verdict, world.now_us);
    for (size_t i = 0; i < world.server_count; i++) {
        struct server *server = &world.servers[i];
        if (!server->runs)
            continue;
        struct launch_name name = {
            .deployment = "qwen", .revision = server->revision, .digest = server->spec->digest};
        fleet_number_name(server->number, name.replica);
        server->open = false;
        server->probe_us = 0;
        server->replica = fleet_adopt(world.fleet, &name, 0, -1, world.now_us);
        if (server->replica)
            server->revision = server->replica->revision;
        else
            server_free(server);
    }
    world.usable[0] = true;
    fleet_node(world.fleet, 0, true, world.now_us);
    fleet_free(old);
}

static void callers_are_told_of_a_rollback_too_when_there_is_no_room(void **state)
{
    (void)state;
    begin(ROLL_ROLLING, 1, 20);
    revise(FATE_FINAL, ROLL_ROLLING);
    world_run(30 * SECOND_US);
    assert_int_equal(look("qwen").stable, 1);
    assert_string_equal(look("qwen").rejected_for, "launch_failed:exec_failed");
    assert_true(order("qwen", FLEET_STOP));
    struct deployment_spec spec = plain_spec("other", 15);
    spec.scaling.min = 1;
    world_model(&spec);
    world_configure();
    world_run(30 * SECOND_US);
    assert_int_equal(look("other").ready, 1);
    assert_true(order("other", FLEET_PIN) && order("qwen", FLEET_START));
    world_call(model);
    world_run(120 * SECOND_US);
    assert_string_equal(model->last_why, "no_room:rolled_back:launch_failed:exec_failed");
    assert_string_equal(look("qwen").reason, "no_room");
    end();
}

static void what_was_rolled_back_stays_so_in_the_next_process(void **state)
{
    (void)state;
    begin(ROLL_ROLLING, 1, 100);
    uint64_t old = model->spec->digest;
    assert_null(verdict_now().served);
    assert_int_equal(look("qwen").verdict, 0);
    revise(FATE_CRASHES, ROLL_ROLLING);
    assert_true(!verdict_now().rejected && verdict_now().served->digest == old);
    uint64_t tries = look("qwen").verdict;
    go_on(100);
    assert_int_equal(look("qwen").stable, 1);
    assert_true(look("qwen").verdict != tries && look("qwen").verdict != 0);
    struct fleet_verdict verdict = verdict_now();
    assert_true(verdict.rejected && verdict.declared == model->spec->digest);
    struct deployment_spec *served = verdict.served = spec_ref(verdict.served);
    assert_true(served->digest == old);
    uint64_t launches = model->launches;
    restart_with(&verdict, true);
    go_on(20);
    assert_int_equal(model->launches, launches);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    assert_true(look("qwen").stable_digest == old);
    assert_string_equal(look("qwen").rejected_for, verdict.reason);
    assert_true(verdict_now().rejected);
    world_configure();
    assert_true(order("qwen", FLEET_RETRY)); /* it is as bad as it was */
    assert_true(look("qwen").next_digest == model->spec->digest && !verdict_now().rejected);
    go_on(100);
    assert_true(look("qwen").stable_digest == old && verdict_now().rejected);
    revise(FATE_GOOD, ROLL_ROLLING);
    go_on(20);
    assert_true(look("qwen").stable_digest == model->spec->digest);
    assert_null(verdict_now().served);
    assert_int_equal(model->failed + model->broken, 0);
    spec_unref(served);
    end();
}

/* Nobody has said yet what becomes of it: what served goes on, if it is there. */
static void what_is_tried_is_tried_beside_what_served(void **state)
{
    (void)state;
    for (int runs = 0; runs < 2; runs++) {
        begin(ROLL_ROLLING, 1, 100);
        uint64_t old = model->spec->digest;
        revise(runs ? FATE_NEVER_READY : FATE_GOOD, ROLL_ROLLING);
        struct fleet_verdict verdict = verdict_now();
        struct deployment_spec *served = verdict.served = spec_ref(verdict.served);
        for (size_t i = 0; !runs && i < world.server_count; i++)
            if (world.servers[i].runs)
                server_free(&world.servers[i]);
        restart_with(&verdict, true);
        assert_true(verdict_now().served && verdict_now().served->digest == old);
        go_on(10);
        assert_true((look("qwen").stable_digest == old) == runs);
        if (!runs) { /* nothing is kept of it once the new one has been ready */
            assert_true(look("qwen").stable_digest == model->spec->digest);
            assert_null(verdict_now().served);
        }
        go_on(120);
        assert_true((look("qwen").stable_digest == old) == runs);
        assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
        assert_int_equal(model->failed + model->broken, 0);
        spec_unref(served);
        end();
    }
}

/* A node that follows has taken what is declared for what serves. */
static void who_leads_next_knows_what_was_rolled_back(void **state)
{
    (void)state;
    begin(ROLL_ROLLING, 1, 100);
    uint64_t old = model->spec->digest;
    revise(FATE_CRASHES, ROLL_ROLLING);
    go_on(100);
    struct fleet_verdict verdict = verdict_now(), none = {.name = TEXT("qwen")};
    struct deployment_spec *served = verdict.served = spec_ref(verdict.served);
    none.declared = verdict.declared;
    restart_with(&none, false);
    assert_true(look("qwen").stable_digest == model->spec->digest);
    fleet_recall_verdict(world.fleet, &verdict, world.now_us);
    assert_true(look("qwen").stable_digest == old);
    world_configure(); /* and it follows on */
    assert_true(look("qwen").stable_digest == old);
    fleet_recall_verdict(world.fleet, &none, world.now_us); /* tried meanwhile, and good */
    assert_true(look("qwen").stable_digest == model->spec->digest);
    fleet_recall_verdict(world.fleet, &verdict, world.now_us);
    verdict.declared++; /* it is of another one: that says nothing */
    fleet_recall_verdict(world.fleet, &verdict, world.now_us);
    fleet_lead(world.fleet, true, world.now_us);
    go_on(20);
    assert_true(look("qwen").stable_digest == old);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    spec_unref(served);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_after_the_other_is_replaced_and_no_call_fails),
        cmocka_unit_test(a_bad_revision_never_takes_a_call_and_the_old_one_stays),
        cmocka_unit_test(without_room_for_both_it_waits_and_is_given_up_at_the_deadline),
        cmocka_unit_test(recreate_needs_no_more_room_than_for_one),
        cmocka_unit_test(a_canary_goes_on_step_by_step),
        cmocka_unit_test(a_canary_whose_calls_fail_is_taken_back),
        cmocka_unit_test(a_canary_that_answers_late_is_taken_back),
        cmocka_unit_test(one_that_may_be_late_is_not),
        cmocka_unit_test(orders_promote_pause_and_roll_back),
        cmocka_unit_test(what_an_order_has_taken_back_stays_taken_back),
        cmocka_unit_test(what_runs_after_a_restart_is_taken_over),
        cmocka_unit_test(callers_are_told_of_a_rollback_too_when_there_is_no_room),
        cmocka_unit_test(what_was_rolled_back_stays_so_in_the_next_process),
        cmocka_unit_test(what_is_tried_is_tried_beside_what_served),
        cmocka_unit_test(who_leads_next_knows_what_was_rolled_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
