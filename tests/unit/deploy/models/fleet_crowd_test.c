/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crowds: more deployments than there is room for, each with work all the time, so that nobody ever
 * goes because he is idle. Room is made only by turns, while revisions of other sizes come, good
 * and bad, servers die, orders are given, and one node is away for longer than anything else takes.
 * A turn is held by somebody who exists, is wanted and moves; and each deployment is served, again
 * and again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/unit/deploy/models/fleet_day.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEEDS = 10 };
#else
enum { SEEDS = 150 };
#endif

enum {
    DAY_US = 1500 * SECOND_US,
    /* One after the other, in the worst case: seven others of at most 15 s to work, 20 s to drain,
     * 6 s to end, 15 s to start, and one's own revision that is given up after 60 s. */
    SERVED_BOUND_US = 700 * SECOND_US,
    /* Who has the turn waits for those who are there to have served their time, for starts that
     * come to nothing, and for one who had the turn before. */
    TURN_BOUND_US = 300 * SECOND_US,
    AWAY_US = 800 * SECOND_US,
    TURNS = 64,
    FEW = 4,
};

static const char *const names[] = {"alpha",   "beta", "gamma", "delta",
                                    "epsilon", "zeta", "eta",   "theta"};

/* What is going on in one crowd. */
static struct {
    uint64_t back_us;
    uint64_t bad_us[WORLD_MODELS]; /* it had only a bad revision, until */
    unsigned version;
    struct {
        uint64_t number, turn, since_us;
    } turns[TURNS];
} crowd;

static uint64_t total_served, total_turns, longest_turn_us, longest_wait_us;

/* All fit on the first node, which is never away, alone. */
static struct deployment_spec some_spec(const char *name)
{
    static const enum rollout_strategy strategies[] = {ROLL_ROLLING, ROLL_CANARY, ROLL_RECREATE};
    struct deployment_spec spec = plain_spec(name, (int64_t)between(3, 12));
    spec.engine = one_in(4) ? ENGINE_VLLM : ENGINE_OPENAI;
    spec.sleep_first = spec.engine == ENGINE_VLLM;
    spec.scaling.max = (unsigned)between(1, 3);
    spec.scaling.parallel = (unsigned)between(1, 2);
    spec.hold.timeout_us = 0; /* nobody gives up */
    spec.eviction.min_residency_us = (int64_t)between(0, 15) * SECOND_US;
    spec.stop.drain_us = (int64_t)between(0, 20) * SECOND_US;
    spec.probe.start_timeout_us = 15 * SECOND_US;
    spec.rollout.strategy = strategies[between(0, 2)];
    spec.rollout.surge = (unsigned)between(0, 2);
    spec.rollout.step_us = 10 * SECOND_US;
    spec.rollout.deadline_us = (int64_t)between(20, 60) * SECOND_US;
    return spec;
}

static void begin(uint64_t seed)
{
    world_new(seed);
    memset(&crowd, 0, sizeof(crowd));
    world.run_us = between(10 * MS, 2 * SECOND_US);
    world.load_us = between(10 * MS, 6 * SECOND_US);
    world.call_us = between(SECOND_US, 6 * SECOND_US);
    world.end_us = between(10 * MS, 4 * SECOND_US);
    world.crash_permille = one_in(2) ? (unsigned)between(0, 200) : 0;
    world_node("one", (int64_t)between(12, 24), 0);
    if (one_in(2))
        world_node("two", (int64_t)between(4, 16), 0);
    size_t models = between(3, 8);
    for (size_t i = 0; i < models; i++) {
        struct deployment_spec spec = some_spec(names[i]);
        world_model(&spec);
    }
    world_configure();
    day_begin(DAY_US, 5, 60 * SECOND_US);
}

/* -------------------------------------------------------------------------- what happens */

static void a_revision_comes(void)
{
    static const enum fate fates[] = {FATE_GOOD, FATE_SLOW,  FATE_CRASHES,    FATE_NEVER_READY,
                                      FATE_OOM,  FATE_FINAL, FATE_NEVER_READY};
    struct model *model = &world.models[between(0, world.model_count - 1)];
    struct deployment_spec spec = *model->spec;
    spec.container_port = ++crowd.version * 10 + (unsigned)fates[between(0, 6)];
    spec.resources.memory_bytes = (int64_t)between(3, 12) * GIB;
    world_model(&spec);
    world_configure();
}

static void an_order_comes(void)
{
    static const enum fleet_order orders[] = {FLEET_RESTART, FLEET_PROMOTE, FLEET_ROLLBACK,
                                              FLEET_START, FLEET_CANCEL};
    order(world.models[between(0, world.model_count - 1)].name, orders[between(0, 4)]);
}

static void a_server_dies(void)
{
    struct server *server = &world.servers[between(0, world.server_count)];
    if (server->runs && !server->stopping)
        server->end_us = world.now_us + 1;
}

static void tell_node(enum launch_stage stage)
{
    world.usable[1] = stage != LAUNCH_LOST;
    fleet_node(world.fleet, 1, world.usable[1], world.now_us);
    for (size_t i = 0; i < world.server_count; i++) {
        struct server *server = &world.servers[i];
        if (server->runs && server->node == 1)
            report(server,
                   (struct launch_report){.stage = stage == LAUNCH_LOST || server->said_running
                                                       ? stage
                                                       : LAUNCH_PLACING});
    }
}

/* The second one, and what runs there is silent. */
static void a_node_is_away(void)
{
    if (world.node_count < 2)
        return;
    if (world.usable[1] && crowd.back_us == 0) {
        crowd.back_us = world.now_us + between(SECOND_US, AWAY_US);
        tell_node(LAUNCH_LOST);
    } else if (!world.usable[1] && crowd.back_us <= world.now_us) {
        crowd.back_us = 0;
        tell_node(LAUNCH_RUNNING);
    }
}

static void calls_come(void)
{
    for (size_t i = 0; i < world.model_count; i++)
        while (world.models[i].held_count < FEW)
            world_call(&world.models[i]);
}

static void something_happens(void)
{
    if (comes(4, SECOND_US))
        calls_come();
    if (comes(0, 40 * SECOND_US))
        a_revision_comes();
    if (comes(1, 60 * SECOND_US))
        an_order_comes();
    if (comes(2, 120 * SECOND_US))
        a_server_dies();
    if (comes(3, 100 * SECOND_US))
        a_node_is_away();
}

/* ------------------------------------------------------------------------------- what must hold */

static uint64_t turn_since(const struct replica *one)
{
    size_t at = one->promise_turn % TURNS;
    if (crowd.turns[at].number != one->r.number || crowd.turns[at].turn != one->promise_turn) {
        crowd.turns[at].number = one->r.number;
        crowd.turns[at].turn = one->promise_turn;
        crowd.turns[at].since_us = world.now_us;
        total_turns++;
    }
    return crowd.turns[at].since_us;
}

static void check_turn(const struct replica *one)
{
    uint64_t held_us = world.now_us - turn_since(one);
    must(one->r.state == REPLICA_PENDING, "has the turn, and does not wait", one->of->name,
         one->r.number);
    must(one->r.node < world.node_count && world.usable[one->r.node],
         "waits for a node that is away", one->of->name, one->r.node);
    must(roll_revision(one->of, one->r.revision) != NULL, "has the turn, and is dropped",
         one->of->name, one->r.revision);
    must(held_us < TURN_BOUND_US, "has the turn for ever", one->of->name, held_us / SECOND_US);
    longest_turn_us = held_us > longest_turn_us ? held_us : longest_turn_us;
}

static void check_turns(void)
{
    for (size_t i = 0; i < world.fleet->count; i++) {
        const struct fleet_deployment *deployment = world.fleet->deployments[i];
        bool rests = deployment->state == DEPLOYMENT_FAILED ||
                     deployment->state == DEPLOYMENT_IDLE ||
                     deployment->state == DEPLOYMENT_STOPPED;
        must(rests || deployment->due_us <= world.now_us + FLEET_TICK_US, "has no deadline",
             deployment_state_name(deployment->state), deployment->due_us);
        for (const struct replica *one = replica_first(deployment); one; one = replica_next(one))
            if (one->promise_turn)
                check_turn(one);
    }
}

/* Has it a revision that could serve? */
static bool is_sound(const struct model *model)
{
    const struct fleet_deployment *deployment = fleet_find(world.fleet, text_of(model->name));
    unsigned fate = deployment->stable.spec->container_port % 10;
    return fate == FATE_GOOD || fate == FATE_SLOW;
}

static void check_waits(void)
{
    for (size_t i = 0; i < world.model_count; i++) {
        const struct model *model = &world.models[i];
        if (!is_sound(model))
            crowd.bad_us[i] = world.now_us;
        if (!model->held_count)
            continue;
        uint64_t since_us = model->begun_us > model->held[0] ? model->begun_us : model->held[0];
        since_us = since_us > crowd.bad_us[i] ? since_us : crowd.bad_us[i];
        uint64_t age_us = world.now_us - since_us;
        must(age_us < SERVED_BOUND_US, "is not served", model->name, age_us / SECOND_US);
        longest_wait_us = age_us > longest_wait_us ? age_us : longest_wait_us;
    }
}

static void play(uint64_t seed)
{
    begin(seed);
    while (world.now_us < day.end_us) {
        something_happens();
        world_step(day_next());
        check_turns();
        check_waits();
    }
    if (world.node_count > 1 && !world.usable[1])
        tell_node(LAUNCH_RUNNING);
    world_shut(180 * SECOND_US);
    for (size_t i = 0; i < world.model_count; i++)
        total_served += world.models[i].served;
    world_end();
}

static void in_a_crowd_turns_move_on_and_all_are_served(void **state)
{
    (void)state;
    uint64_t seeds = days_play(SEEDS, play);
    printf("%llu crowds: %llu calls served, %llu turns, the longest %.1f s, for a call %.1f s\n",
           (unsigned long long)seeds, (unsigned long long)total_served,
           (unsigned long long)total_turns, (double)longest_turn_us / 1e6,
           (double)longest_wait_us / 1e6);
    assert_true(total_served > seeds && total_turns > seeds); /* it was no idle play */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_crowd_turns_move_on_and_all_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
