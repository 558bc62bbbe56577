/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ten thousand fleets in virtual time: random nodes, models, calls, crashes, engines that are away,
 * slow starts, configurations, orders, revisions good and bad, restarts of sluice itself. What must
 * hold is checked at each step (fleet_world.h); and here: each call that can be served is served
 * within a bound or told why not, and everything ends.
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
enum { SEEDS = 300 };
#else
enum { SEEDS = 10000 };
#endif

enum {
    /* No call waits longer: what one must wait for, one after the other, in the worst case - each
     * of the others has its turn (residency, drain, grace, start), then back-offs, an engine that
     * is away, a rollout that is given up. */
    WAIT_BOUND_US = 600 * SECOND_US,
    /* Among equals where nothing breaks, each has its turn: of four, three before it, of at most
     * 15 s to work, 20 s to drain, 4 s to end, 11 s to start. */
    TURN_BOUND_US = 200 * SECOND_US,
    DAY_US = 300 * SECOND_US,
    AWAY_US = 30 * SECOND_US,
    FEW = 12,
};

static const char *const names[] = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta"};
static const char *const node_names[] = {"one", "two", "three"};

struct plan {
    bool fair;  /* all of the same rank, nothing fails, nothing is ordered */
    bool rough; /* sluice itself is ended and comes back */
    uint64_t back_us[WORLD_NODES], lead_us;
    unsigned version;
};

static struct plan plan;
static uint64_t total_served, total_failed, total_launches, total_adopted, longest_us,
    longest_turn_us;

static struct deployment_spec random_spec(const char *name)
{
    static const enum eviction_policy policies[] = {EVICT_BY_COST, EVICT_OLDEST, EVICT_BY_SIZE};
    static const enum rollout_strategy strategies[] = {ROLL_ROLLING, ROLL_CANARY, ROLL_RECREATE};
    struct deployment_spec spec = plain_spec(name, (int64_t)between(1, 12));
    spec.engine = one_in(4) ? ENGINE_VLLM : ENGINE_OPENAI;
    spec.sleep_first = spec.engine == ENGINE_VLLM && one_in(2);
    spec.scaling.max = (unsigned)between(1, 4);
    spec.scaling.parallel = (unsigned)between(1, 6);
    spec.scaling.idle_stop_us = (int64_t)between(0, 60) * SECOND_US;
    spec.eviction.policy = policies[between(0, 2)];
    spec.eviction.min_residency_us = (int64_t)between(0, 15) * SECOND_US;
    spec.stop.drain_us = (int64_t)between(0, 20) * SECOND_US;
    if (plan.fair) {
        spec.hold.timeout_us = 0; /* nobody gives up */
        spec.stop.drain_us = 20 * SECOND_US;
        return spec;
    }
    spec.scaling.min = one_in(4) ? 1 : 0;
    spec.eviction.priority = one_in(4) ? (int)between(0, 2) : 0;
    spec.eviction.pin = one_in(12);
    spec.rollout.strategy = strategies[between(0, 2)];
    spec.rollout.surge = (unsigned)between(0, 2);
    spec.rollout.auto_rollback = !one_in(8);
    spec.rollout.step_count = (unsigned)between(0, 3);
    for (unsigned i = 0; i < spec.rollout.step_count; i++)
        spec.rollout.step_permille[i] = (unsigned)between(1, 1000);
    spec.rollout.step_us = (int64_t)between(5, 20) * SECOND_US;
    spec.max_age_us = one_in(20) ? (int64_t)between(60, 300) * SECOND_US : 0;
    spec.max_spend_nanos = one_in(20) ? (int64_t)between(1, 50) * 1000000 : 0;
    return spec;
}

static void begin(uint64_t seed)
{
    world_new(seed);
    memset(&plan, 0, sizeof(plan));
    plan.fair = one_in(3);
    plan.rough = !plan.fair && one_in(3);
    world.run_us = between(10 * MS, 3 * SECOND_US);
    world.load_us = between(10 * MS, 8 * SECOND_US);
    world.call_us = between(50 * MS, 3 * SECOND_US);
    world.end_us = between(10 * MS, 4 * SECOND_US);
    world.crash_permille = plan.fair ? 0 : (unsigned)between(0, 300);
    size_t nodes = between(1, 3), models = between(2, plan.fair ? 4 : 6);
    for (size_t i = 0; i < nodes; i++)
        world_node(node_names[i], (int64_t)between(12, 24), (int64_t)between(0, 2) * 1000000000);
    for (size_t i = 0; i < models; i++) {
        struct deployment_spec spec = random_spec(names[i]);
        world_model(&spec);
    }
    world_configure();
    day_begin(DAY_US, DAY_EVENTS, 20 * SECOND_US);
    for (size_t i = 0; i < DAY_EVENTS; i++)
        if (plan.fair ? i > 0 : i == 6 && !plan.rough)
            day.next_us[i] = 0;
}

/* -------------------------------------------------------------------------- what happens */

static struct model *some_model(void)
{
    return &world.models[between(0, world.model_count - 1)];
}

static struct server *some_server(void)
{
    struct server *server =
        &world.servers[between(0, WORLD_SERVERS - 1) % (world.server_count + 1)];
    return server->runs && !server->orphan ? server : NULL;
}

static void calls_come(void)
{
    struct model *model = some_model();
    for (uint64_t i = between(1, FEW); i > 0 && model->held_count < 2 * FEW; i--)
        world_call(model);
    model->jobs = one_in(20) ? 3 : 0;
}

static void a_server_dies(void)
{
    struct server *server = some_server();
    if (server && !server->stopping)
        server->end_us = world.now_us + 1;
}

static void a_node_goes_away(void)
{
    unsigned node = (unsigned)between(0, world.node_count - 1);
    if (!world.usable[node])
        return;
    world.usable[node] = false;
    plan.back_us[node] = world.now_us + between(SECOND_US, AWAY_US);
    fleet_node(world.fleet, node, false, world.now_us);
    for (size_t i = 0; i < world.server_count; i++)
        if (world.servers[i].runs && world.servers[i].node == node && !one_in(5)) {
            world.servers[i].lost = true;
            report(&world.servers[i], (struct launch_report){.stage = LAUNCH_LOST});
        }
}

static void nodes_come_back(void)
{
    for (unsigned node = 0; node < world.node_count; node++) {
        if (world.usable[node] || plan.back_us[node] > world.now_us)
            continue;
        world.usable[node] = true;
        fleet_node(world.fleet, node, true, world.now_us);
        for (size_t i = 0; i < world.server_count; i++)
            if (world.servers[i].runs && world.servers[i].node == node && world.servers[i].lost) {
                world.servers[i].lost = false;
                enum launch_stage stage =
                    world.servers[i].said_running ? LAUNCH_RUNNING : LAUNCH_PLACING;
                report(&world.servers[i], (struct launch_report){.stage = stage});
            }
    }
}

static void configuration_changes(void)
{
    struct model *model = some_model();
    struct deployment_spec spec = *model->spec;
    switch (between(0, 6)) {
    case 0: /* one goes, or comes back */
        model->exists = !model->exists;
        if (!model->exists) {
            model->failed += model->held_count;
            model->held_count = 0;
        }
        break;
    case 1: /* a node is another size */
        world.nodes[0].has.memory_bytes = (int64_t)between(12, 24) * GIB;
        world.over_bytes = INT64_MAX;
        break;
    case 2:
        spec.scaling.max = (unsigned)between(1, 4);
        spec.scaling.parallel = (unsigned)between(1, 6);
        world_model(&spec);
        break;
    default: { /* another revision, good or bad */
        static const enum fate fates[] = {FATE_GOOD, FATE_GOOD,  FATE_CRASHES, FATE_NEVER_READY,
                                          FATE_OOM,  FATE_FINAL, FATE_ERRORS};
        enum fate fate = fates[between(0, 6)];
        spec.container_port = ++plan.version * 10 + (unsigned)fate;
        spec.probe.start_timeout_us = 15 * SECOND_US;
        world_model(&spec);
    }
    }
    world_configure();
}

static void an_order_comes(void)
{
    const char *why;
    struct model *model = some_model();
    enum fleet_order what = (enum fleet_order)between(FLEET_START, FLEET_RETRY);
    unsigned high = (unsigned)between(0, 4);
    fleet_obey(world.fleet, text_of(model->name), what, (unsigned)between(0, high), high,
               world.now_us, &why);
}

/* So that nothing stays forbidden for ever. */
static void orders_are_taken_back(void)
{
    const char *why;
    for (size_t i = 0; i < world.model_count; i++) {
        struct text name = text_of(world.models[i].name);
        fleet_obey(world.fleet, name, FLEET_UNPIN, 0, 0, world.now_us, &why);
        fleet_obey(world.fleet, name, FLEET_START, 0, 0, world.now_us, &why);
    }
}

static void leadership_changes(void)
{
    if (plan.lead_us) {
        plan.lead_us = 0;
        fleet_lead(world.fleet, true, world.now_us);
    } else {
        plan.lead_us = world.now_us + between(SECOND_US, 20 * SECOND_US);
        fleet_lead(world.fleet, false, world.now_us);
    }
}

/* What became of declared revisions is kept, mostly: it may have been too late. */
static size_t keep_verdicts(struct fleet_verdict kept[WORLD_MODELS])
{
    size_t count = 0;
    for (size_t i = 0; count < WORLD_MODELS && fleet_verdict(world.fleet, i, &kept[count]); i++) {
        const struct model *model = model_named(kept[count].name);
        if (!kept[count].served || one_in(8))
            continue;
        spec_ref(kept[count].served);
        kept[count++].name = text_of(model->name);
    }
    return count;
}

/* sluice is killed and comes back: what runs is found again. */
static void sluice_comes_back(void)
{
    struct fleet_verdict kept[WORLD_MODELS];
    size_t kept_count = keep_verdicts(kept);
    fleet_free(world.fleet);
    world.fleet = fleet_new(&hands, chance());
    plan.lead_us = 0;
    bool usable[WORLD_NODES];
    memcpy(usable, world.usable, sizeof(usable));
    memset(world.usable, 0, sizeof(world.usable));
    world_configure();
    for (size_t i = 0; i < kept_count; i++) {
        fleet_recall_verdict(world.fleet, &kept[i], world.now_us);
        spec_unref(kept[i].served);
    }
    for (size_t i = 0; i < world.server_count; i++) {
        struct server *server = &world.servers[i];
        struct launch_name name = {.revision = server->revision};
        if (!server->runs)
            continue;
        snprintf(name.deployment, sizeof(name.deployment), "%s", world.models[server->model].name);
        char digits[FLEET_NUMBER_BYTES];
        fleet_number_name(server->number, digits);
        snprintf(name.replica, sizeof(name.replica), "%s", digits);
        name.digest = server->spec->digest;
        server->open = false;
        server->replica = NULL;
        server->replica = fleet_adopt(world.fleet, &name, server->node, -1, world.now_us);
        server->orphan = !server->replica;
        total_adopted += server->replica != NULL;
        if (server->replica) {
            server->revision = server->replica->revision;
            must(server->replica->number == server->number, "another number", "replica",
                 server->number);
        } else if (!server->end_us) {
            server->end_us = world.now_us + world.end_us;
        }
    }
    memcpy(world.usable, usable, sizeof(usable));
    for (unsigned i = 0; i < world.node_count; i++)
        fleet_node(world.fleet, i, world.usable[i], world.now_us);
    for (size_t i = 0; i < world.model_count; i++) {
        world.models[i].stable = world.models[i].canary = world.models[i].permille = 0;
        memset(world.models[i].records, 0, sizeof(world.models[i].records));
    }
}

static void something_happens(void)
{
    nodes_come_back();
    if (comes(0, 3 * SECOND_US))
        calls_come();
    if (comes(1, 60 * SECOND_US))
        a_server_dies();
    if (comes(2, 90 * SECOND_US))
        a_node_goes_away();
    if (comes(3, 40 * SECOND_US))
        configuration_changes();
    if (comes(4, 30 * SECOND_US))
        an_order_comes();
    if (comes(5, 90 * SECOND_US) || (plan.lead_us && plan.lead_us <= world.now_us))
        leadership_changes();
    if (comes(6, 90 * SECOND_US))
        sluice_comes_back();
    if (comes(7, 60 * SECOND_US))
        orders_are_taken_back();
}

static uint64_t next_of_plan(void)
{
    uint64_t next_us = day_next();
    for (size_t i = 0; i < world.node_count; i++)
        if (!world.usable[i])
            sooner(&next_us, plan.back_us[i]);
    sooner(&next_us, plan.lead_us);
    return next_us;
}

static void check_ages(void)
{
    for (size_t i = 0; i < world.model_count; i++) {
        struct model *model = &world.models[i];
        if (!model->held_count)
            continue;
        uint64_t age_us = world.now_us - model->held[0];
        uint64_t turn_us =
            world.now_us - (model->begun_us > model->held[0] ? model->begun_us : model->held[0]);
        must(age_us < WAIT_BOUND_US, "waits for ever", model->name, age_us / SECOND_US);
        must(!plan.fair || turn_us < TURN_BOUND_US, "has no turn", model->name,
             turn_us / SECOND_US);
        longest_turn_us = plan.fair && turn_us > longest_turn_us ? turn_us : longest_turn_us;
    }
}

static void play(uint64_t seed)
{
    begin(seed);
    while (world.now_us < day.end_us) {
        something_happens();
        world_step(next_of_plan());
        check_ages();
    }
    if (plan.lead_us)
        leadership_changes();
    for (size_t i = 0; i < world.node_count; i++)
        plan.back_us[i] = world.now_us;
    nodes_come_back();
    for (size_t i = 0; i < world.model_count; i++) {
        struct model *model = &world.models[i];
        uint64_t until_us = world.now_us + WAIT_BOUND_US;
        while (model->held_count && world.now_us < until_us) {
            world_step(until_us);
            check_ages();
        }
        if (plan.fair)
            must(model->failed == 0, "failed though it fits", model->name, model->failed);
    }
    world_shut(180 * SECOND_US);
    for (size_t i = 0; i < world.model_count; i++) {
        struct model *model = &world.models[i];
        must(model->served + model->failed + model->broken + model->held_count == model->arrived,
             "calls got lost", model->name, model->arrived);
        total_served += model->served;
        total_failed += model->failed;
        total_launches += model->launches;
        longest_us = model->oldest_age_us > longest_us ? model->oldest_age_us : longest_us;
    }
    world_end();
}

static void every_fleet_keeps_its_promises(void **state)
{
    (void)state;
    uint64_t seeds = days_play(SEEDS, play);
    printf("%llu fleets: %llu calls served, %llu told why not, %llu launches, %llu adopted, the "
           "longest wait %.1f s, for a turn %.1f s\n",
           (unsigned long long)seeds, (unsigned long long)total_served,
           (unsigned long long)total_failed, (unsigned long long)total_launches,
           (unsigned long long)total_adopted, (double)longest_us / 1e6,
           (double)longest_turn_us / 1e6);
    assert_true(total_served > seeds); /* it was no idle play */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fleet_keeps_its_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
