/* SPDX-License-Identifier: Apache-2.0 */
/* Where, who makes room, and what becomes of crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/unit/deploy/models/fleet_world.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static unsigned node_of(const char *name)
{
    const struct fleet_replica *replicas[8];
    size_t count = fleet_replicas(world.fleet, text_of(name), replicas, 8);
    for (size_t i = 0; i < count; i++)
        if (replicas[i]->state == REPLICA_READY)
            return replicas[i]->node;
    return UINT32_MAX;
}

static struct model *ready_model(const char *name, int64_t gib)
{
    struct deployment_spec spec = plain_spec(name, gib);
    spec.scaling.max = 1;
    return world_model(&spec);
}

static void wake(struct model *model)
{
    world_call(model);
    world_run(4 * SECOND_US);
}

static void the_cheapest_node_with_room_is_taken_and_the_fullest(void **state)
{
    (void)state;
    world_new(1);
    world_node("dear", 100, 2000);
    world_node("wide", 40, 1000);
    world_node("narrow", 20, 1000);
    struct model *small = ready_model("small", 15), *large = ready_model("large", 35),
                 *third = ready_model("third", 10);
    world_configure();
    wake(small);
    wake(large);
    wake(third);
    assert_int_equal(node_of("small"), 2);
    assert_int_equal(node_of("large"), 1);
    assert_int_equal(node_of("third"), 0);
    world_shut(60 * SECOND_US);
    world_end();
}

static void what_fits_nowhere_fails_at_once_with_a_reason(void **state)
{
    (void)state;
    world_new(2);
    world_node("local", 20, 0);
    struct model *model = ready_model("huge", 21);
    world_configure();
    wake(model);
    assert_int_equal(look("huge").state, DEPLOYMENT_FAILED);
    assert_string_equal(model->last_why, "launch_failed:too_large");
    assert_int_equal(model->failed, 1);
    world_shut(60 * SECOND_US);
    world_end();
}

static void the_one_that_costs_least_makes_room_and_no_more(void **state)
{
    (void)state;
    world_new(3);
    world_node("local", 20, 0);
    struct model *a = ready_model("a", 8), *b = ready_model("b", 8), *c = ready_model("c", 3),
                 *big = ready_model("big", 8);
    world_configure();
    wake(a);
    wake(b);
    wake(c);
    for (int i = 0; i < 30; i++) { /* a is used much, b little */
        world_call(a);
        world_run(SECOND_US);
    }
    wake(big);
    world_run(3 * SECOND_US);
    assert_int_equal(look("big").ready, 1);
    assert_int_equal(look("a").ready, 1);
    assert_int_equal(look("b").ready, 0); /* the little one alone would not have been enough */
    assert_int_equal(look("c").ready, 1);
    world_shut(60 * SECOND_US);
    world_end();
}

static void who_is_pinned_or_ranks_higher_stays(void **state)
{
    (void)state;
    world_new(4);
    world_node("local", 10, 0);
    struct deployment_spec spec = plain_spec("first", 8);
    spec.eviction.priority = 1;
    spec.scaling.max = 1;
    struct model *first = world_model(&spec), *second = ready_model("second", 8);
    world_configure();
    wake(first);
    world_run(15 * SECOND_US);
    world_call(second);
    world_run(20 * SECOND_US);
    assert_int_equal(look("first").ready, 1);
    assert_int_equal(look("second").state, DEPLOYMENT_QUEUED);
    world_call(first); /* which keeps it from being idle for too long */
    world_run(45 * SECOND_US);
    assert_string_equal(second->last_why, "no_room"); /* as long as a call may wait */
    assert_int_equal(second->failed, 1);
    assert_true(order("second", FLEET_PIN));
    world_run(60 * SECOND_US); /* first went for idleness */
    wake(second);
    assert_int_equal(look("second").ready, 1);
    world_run(15 * SECOND_US);
    world_call(first);
    world_run(10 * SECOND_US);
    assert_int_equal(look("second").ready, 1);
    assert_true(order("second", FLEET_UNPIN));
    world_run(5 * SECOND_US);
    assert_int_equal(look("first").ready, 1);
    world_shut(60 * SECOND_US);
    world_end();
}

static void a_node_that_is_away_is_not_a_want_of_room(void **state)
{
    (void)state;
    world_new(6);
    world_node("local", 10, 0);
    struct model *model = ready_model("model", 8);
    world_configure();
    world.usable[0] = false;
    fleet_node(world.fleet, 0, false, world.now_us);
    wake(model);
    world_run(60 * SECOND_US);
    assert_string_equal(model->last_why, "node_away");
    world_shut(60 * SECOND_US);
    world_end();
}

/* Two with room for one, both asked all the time. */
static void two_take_turns_and_lose_nothing(void **state)
{
    (void)state;
    world_new(5);
    world_node("local", 10, 0);
    struct model *a = ready_model("a", 8), *b = ready_model("b", 8);
    a->spec->hold.timeout_us = b->spec->hold.timeout_us = 0;
    world_configure();
    for (int i = 0; i < 400; i++) {
        world_call(i % 2 ? a : b);
        world_run(SECOND_US);
    }
    world_run(120 * SECOND_US);
    assert_int_equal(a->served + b->served, 400);
    assert_in_range(a->launches + b->launches, 4, 2 + 520 / 10);
    assert_true(a->oldest_age_us < 60 * (uint64_t)SECOND_US);
    assert_true(b->oldest_age_us < 60 * (uint64_t)SECOND_US);
    world_shut(60 * SECOND_US);
    world_end();
}

static void crashes_are_tried_again_later_each_time_and_then_given_up(void **state)
{
    (void)state;
    world_new(6);
    world_node("local", 20, 0);
    struct deployment_spec spec = plain_spec("bad", 8);
    spec.container_port = FATE_CRASHES;
    struct model *model = world_model(&spec);
    world_configure();
    world_call(model);
    world_run(5 * SECOND_US);
    assert_true(look("bad").state == DEPLOYMENT_BACKOFF ||
                look("bad").state == DEPLOYMENT_STARTING);
    assert_int_equal(model->failed, 0); /* it may still come */
    world_run(60 * SECOND_US);
    assert_int_equal(look("bad").state, DEPLOYMENT_FAILED);
    assert_int_equal(model->launches, 4); /* and three times again */
    assert_string_equal(model->last_why, "launch_failed:exit:1");
    assert_int_equal(model->failed, 1);
    world_call(model); /* one more try for a call, and no back-off after it */
    world_run(5 * SECOND_US);
    assert_int_equal(model->launches, 5);
    world_call(model); /* too early for another one: told at once */
    world_run(SECOND_US);
    assert_int_equal(model->failed, 3);
    assert_int_equal(model->launches, 5);
    assert_true(order("bad", FLEET_START));
    world_run(SECOND_US);
    assert_int_equal(model->launches, 6);
    world_shut(60 * SECOND_US);
    world_end();
}

static void a_reason_that_is_final_is_not_tried_again(void **state)
{
    (void)state;
    world_new(7);
    world_node("local", 20, 0);
    struct deployment_spec spec = plain_spec("bad", 8);
    spec.container_port = FATE_FINAL;
    struct model *model = world_model(&spec);
    world_configure();
    wake(model);
    assert_int_equal(look("bad").state, DEPLOYMENT_FAILED);
    assert_string_equal(model->last_why, "launch_failed:exec_failed");
    assert_int_equal(model->launches, 1);
    world_shut(60 * SECOND_US);
    world_end();
}

static void who_ran_out_of_memory_gets_more_next_time(void **state)
{
    (void)state;
    struct fleet_place place;
    world_new(8);
    world_node("local", 20, 0);
    struct deployment_spec spec = plain_spec("bad", 10);
    spec.container_port = FATE_OOM;
    struct model *model = world_model(&spec);
    world_configure();
    world_call(model);
    world_run(10 * SECOND_US);
    while (look("bad").state != DEPLOYMENT_STARTING)
        world_run(100 * MS);
    assert_int_equal(fleet_places(world.fleet, &place, 1), 1);
    assert_true(place.reserved.memory_bytes >= INT64_C(12) * GIB / 100 * 99);
    world_shut(60 * SECOND_US);
    world_end();
}

static void an_engine_that_is_away_takes_nothing_from_who_answers(void **state)
{
    (void)state;
    world_new(9);
    world_node("local", 20, 0);
    struct model *model = ready_model("qwen", 8);
    world_configure();
    wake(model);
    struct server *server = &world.servers[0];
    report(server, (struct launch_report){.stage = LAUNCH_LOST});
    assert_int_equal(server->replica->state, REPLICA_LOST);
    for (int i = 0; i < 100; i++) {
        world_call(model);
        world_run(SECOND_US);
    }
    assert_int_equal(server->replica->state, REPLICA_LOST);
    report(server, (struct launch_report){.stage = LAUNCH_RUNNING});
    world_run(SECOND_US);
    assert_int_equal(look("qwen").state, DEPLOYMENT_READY);
    assert_int_equal(model->launches, 1);
    assert_int_equal(model->failed + model->broken, 0);
    world_shut(60 * SECOND_US);
    world_end();
}

static void who_starts_on_a_node_that_goes_away_for_good_is_started_elsewhere(void **state)
{
    (void)state;
    world_new(12);
    world_node("dear", 10, 2000);
    world_node("cheap", 10, 1000);
    struct model *a = ready_model("a", 8);
    a->spec->hold.timeout_us = 0;
    world_configure();
    world_call(a);
    world_run(100 * MS);
    assert_int_equal(world.servers[0].node, 1);
    world.usable[1] = false;
    world.servers[0].good_us = world.servers[0].running_us = UINT64_MAX;
    fleet_node(world.fleet, 1, false, world.now_us);
    report(&world.servers[0], (struct launch_report){.stage = LAUNCH_LOST});
    world_run(240 * SECOND_US);
    assert_int_equal(a->served, 1);
    world.usable[1] = true; /* it ends there as soon as its node can be asked */
    fleet_node(world.fleet, 1, true, world.now_us);
    world_run(60 * SECOND_US);
    assert_false(world.servers[0].runs && world.servers[0].node == 1);
    world_shut(60 * SECOND_US);
    world_end();
}

static void money_and_age_end_it(void **state)
{
    (void)state;
    world_new(10);
    world_node("local", 20, INT64_C(3600) * 1000);
    struct deployment_spec spec = plain_spec("dear", 10);
    spec.scaling.min = 1;
    spec.max_spend_nanos = 10000; /* half the node, 500 a second: 20 seconds */
    world_model(&spec);
    world_configure();
    world_run(15 * SECOND_US);
    assert_int_equal(look("dear").state, DEPLOYMENT_READY);
    assert_int_equal(look("dear").nanos_per_hour, 1800000);
    assert_in_range(look("dear").spent_nanos, 7000, 7500);
    world_run(10 * SECOND_US);
    assert_int_equal(look("dear").state, DEPLOYMENT_STOPPED);
    assert_string_equal(look("dear").reason, "max_spend");
    assert_false(order("dear", FLEET_START));
    world_shut(60 * SECOND_US);
    world_end();
}

static void what_was_spent_before_counts(void **state)
{
    (void)state;
    world_new(13);
    world_node("local", 10, INT64_C(3600) * 1000000000); /* a dollar a second */
    struct model *model = ready_model("dear", 10), *old = ready_model("old", 5);
    model->spec->max_spend_nanos = INT64_C(20) * 1000000000;
    old->spec->max_age_us = 100 * SECOND_US;
    world_configure();
    struct fleet_spent before = {TEXT("dear"), INT64_C(15) * 1000000000, 0, 0}, less = before,
                       after;
    fleet_recall_spent(world.fleet, &before, world.now_us);
    less.nanos /= 2;
    fleet_recall_spent(world.fleet, &less, world.now_us);
    fleet_recall_spent(world.fleet, &(struct fleet_spent){TEXT("none"), 1, 1, 0}, world.now_us);
    assert_true(fleet_spent(world.fleet, 0, &after, world.now_us));
    assert_int_equal(after.nanos, before.nanos);
    wake(model);
    assert_int_equal(look("dear").state, DEPLOYMENT_READY);
    world_run(10 * SECOND_US);
    assert_true(look("dear").stopped);
    assert_in_range(look("dear").spent_nanos, INT64_C(20) * 1000000000, INT64_C(22) * 1000000000);
    struct fleet_spent aged = {TEXT("old"), 0, 99 * SECOND_US, 0};
    fleet_recall_spent(world.fleet, &aged, world.now_us);
    world_call(old);
    world_run(5 * SECOND_US);
    assert_true(look("old").stopped);
    fleet_elsewhere(world.fleet, TEXT("dear"), 2, 2, world.now_us);
    int64_t then = look("dear").spent_nanos;
    world_run(3 * SECOND_US); /* two that others look after */
    assert_in_range(look("dear").spent_nanos - then, INT64_C(5900) * 1000000,
                    INT64_C(6100) * 1000000);
    assert_false(fleet_spent(world.fleet, 2, &after, world.now_us));
    world_shut(60 * SECOND_US);
    world_end();
}

/* What a server of a dollar a second, found after a restart, has cost by then: in seconds. <unseen>
 * ago its cost was recorded (-1 = never), it runs for <age> (-1 = who knows), and is found <late>
 * after what was spent is recalled, or before. */
static int64_t costs_when_found(int64_t unseen, int64_t age, int64_t late)
{
    world_new(17);
    world_node("local", 10, INT64_C(3600) * 1000000000);
    struct deployment_spec spec = plain_spec("dear", 10);
    world_model(&spec);
    world_configure();
    uint64_t now = world.now_us + 9000 * (uint64_t)SECOND_US;
    uint64_t recalled = late < 0 ? now - (uint64_t)(late * SECOND_US) : now,
             found = late < 0 ? now : now + (uint64_t)(late * SECOND_US);
    struct fleet_spent spent = {TEXT("dear"), INT64_C(1000000000), 0,
                                unseen == INT64_MAX ? FLEET_UNSEEN : unseen * SECOND_US},
                       after;
    struct launch_name name = {
        .deployment = "dear", .replica = "dear-1z", .digest = world.models[0].spec->digest};
    for (int i = 0; i < 2; i++) {
        bool finds = (late < 0) == (i == 0);
        if (finds)
            assert_non_null(
                fleet_adopt(world.fleet, &name, 0, age < 0 ? -1 : age * SECOND_US, found));
        else if (unseen >= 0)
            fleet_recall_spent(world.fleet, &spent, recalled);
        if (!finds)
            fleet_recalled_all(world.fleet, recalled);
    }
    assert_true(fleet_spent(world.fleet, 0, &after, found));
    int64_t before = unseen >= 0 ? spent.nanos : 0;
    world_end();
    assert_int_equal((after.nanos - before) % 1000000000, 0);
    return (after.nanos - before) / 1000000000;
}

static void what_ran_while_nobody_counted_costs_that(void **state)
{
    (void)state;
    assert_int_equal(costs_when_found(100, -1, 0), 100);
    assert_int_equal(costs_when_found(100, 500, 0), 100);
    assert_int_equal(costs_when_found(100, 30, 0), 30); /* begun after the last record */
    assert_int_equal(costs_when_found(0, 30, 0), 0); /* it is not known, or others have counted */
    /* None ran at the last record, or there is none: all of its life was counted by nobody. */
    assert_int_equal(costs_when_found(INT64_MAX, 30, 0), 30);
    assert_int_equal(costs_when_found(INT64_MAX, -1, 0), 0);
    assert_int_equal(costs_when_found(-1, 30, 0), 30);
    /* Its engine was away for long, or it is found before it is known what was spent. */
    assert_int_equal(costs_when_found(100, 5000, 3600), 3700);
    assert_int_equal(costs_when_found(100, 200, 3600), 200);
    assert_int_equal(costs_when_found(-1, 5000, 3600), 5000);
    assert_int_equal(costs_when_found(100, 5000, -2), 98);
    assert_int_equal(costs_when_found(-1, 5000, -2), 5000);
}

static void it_says_when_it_will_be_ready_and_what_was_saved(void **state)
{
    (void)state;
    world_new(11);
    world_node("local", 20, INT64_C(3600) * 1000);
    struct model *model = ready_model("qwen", 10);
    world.load_us = 9800 * MS;
    world_configure();
    world_run(10 * SECOND_US);
    assert_int_equal(look("qwen").eta_us, -1);
    assert_in_range(look("qwen").saved_nanos, 4900, 5000);
    world_call(model);
    world_run(11 * SECOND_US);
    assert_int_equal(look("qwen").eta_us, 0);
    world_run(80 * SECOND_US);
    assert_int_equal(look("qwen").state, DEPLOYMENT_IDLE);
    world_call(model);
    world_run(4 * SECOND_US);
    assert_in_range(look("qwen").eta_us, 5900 * MS, 6100 * MS);
    world_shut(60 * SECOND_US);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cheapest_node_with_room_is_taken_and_the_fullest),
        cmocka_unit_test(what_fits_nowhere_fails_at_once_with_a_reason),
        cmocka_unit_test(the_one_that_costs_least_makes_room_and_no_more),
        cmocka_unit_test(who_is_pinned_or_ranks_higher_stays),
        cmocka_unit_test(a_node_that_is_away_is_not_a_want_of_room),
        cmocka_unit_test(two_take_turns_and_lose_nothing),
        cmocka_unit_test(crashes_are_tried_again_later_each_time_and_then_given_up),
        cmocka_unit_test(a_reason_that_is_final_is_not_tried_again),
        cmocka_unit_test(who_ran_out_of_memory_gets_more_next_time),
        cmocka_unit_test(an_engine_that_is_away_takes_nothing_from_who_answers),
        cmocka_unit_test(who_starts_on_a_node_that_goes_away_for_good_is_started_elsewhere),
        cmocka_unit_test(money_and_age_end_it),
        cmocka_unit_test(what_was_spent_before_counts),
        cmocka_unit_test(what_ran_while_nobody_counted_costs_that),
        cmocka_unit_test(it_says_when_it_will_be_ready_and_what_was_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
