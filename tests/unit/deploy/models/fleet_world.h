/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A world in virtual time for a fleet: servers that start, answer, crash and end as they are told,
 * calls that wait and run. It is the desk's double: it tells the fleet facts, and does what the
 * fleet's hands say, and it checks that they say nothing senseless.
 */

#include <stdio.h>
#include <stdlib.h>

#include "deploy/models/fleet_inside.h"
#include "gateway/base/memory.h"

enum {
    WORLD_SERVERS = 256,
    WORLD_MODELS = 8,
    WORLD_NODES = 4,
    WORLD_HELD = 512,
    WORLD_PLACES = 8,
    MS = 1000,
    GIB = 1 << 30,
};

/* What becomes of a revision's replicas: its container_port, modulo 10. */
enum fate {
    FATE_GOOD,
    FATE_CRASHES,
    FATE_NEVER_READY,
    FATE_FINAL,
    FATE_ERRORS,
    FATE_OOM,
    FATE_SLOW
};

struct server {
    bool runs; /* launched, and not told to have ended */
    struct fleet_replica *replica;
    struct deployment_spec *spec;
    uint64_t number;
    unsigned node, revision, model;
    bool open, said_running, lost, orphan;
    uint64_t running_us, good_us, end_us, probe_us, opened_us; /* 0 = never */
    bool asleep, stopping, port_taken;
    uint64_t calls[WORLD_PLACES]; /* end at; 0 = free */
};

struct model {
    char name[16];
    bool exists;
    struct deployment_spec *spec;
    uint64_t held[WORLD_HELD]; /* when they came, oldest first */
    unsigned held_count, jobs;
    uint64_t served, failed, broken, arrived, launches, wrong_calls;
    uint64_t oldest_age_us; /* the longest that one waited */
    uint64_t begun_us;      /* when a call began to run last */
    unsigned stable, canary, permille;
    struct {
        unsigned revision;
        struct trial trial;
    } records[8];
    char last_why[FLEET_REASON_MAX];
    char last_event[FLEET_REASON_MAX];
};

struct world {
    struct fleet *fleet;
    uint64_t now_us, chance;
    struct node_spec nodes[WORLD_NODES];
    bool usable[WORLD_NODES];
    size_t node_count;
    struct model models[WORLD_MODELS];
    size_t model_count;
    struct server servers[WORLD_SERVERS];
    size_t server_count;                       /* the highest in use */
    uint64_t run_us, load_us, call_us, end_us; /* how long these take */
    unsigned crash_permille;                   /* of starts */
    unsigned events;
    int64_t over_bytes; /* a node was made smaller: so much over is not the fleet's fault */
    bool rung;          /* a call came: the fleet is told at once */
    bool trace;
};

static struct world world;
static char world_seed[24] = "-";

static uint64_t chance(void)
{
    world.chance ^= world.chance << 13;
    world.chance ^= world.chance >> 7;
    world.chance ^= world.chance << 17;
    return world.chance;
}

static uint64_t between(uint64_t low, uint64_t high)
{
    return low + chance() % (high - low + 1);
}

static bool one_in(uint64_t many)
{
    return chance() % many == 0;
}

static void wrong(const char *what, const char *name, uint64_t number)
{
    printf("seed %s at %.3f s: %s: %s %llu\n", world_seed, (double)world.now_us / 1e6, what, name,
           (unsigned long long)number);
    fflush(stdout);
    fflush(stdout);
    abort();
}

static void must(bool good, const char *what, const char *name, uint64_t number)
{
    if (!good)
        wrong(what, name, number);
}

static struct model *model_named(struct text name)
{
    for (size_t i = 0; i < world.model_count; i++)
        if (text_equal(text_of(world.models[i].name), name))
            return &world.models[i];
    return NULL;
}

static struct server *server_of(const struct fleet_replica *replica)
{
    for (size_t i = 0; i < world.server_count; i++)
        if (world.servers[i].runs && world.servers[i].replica == replica)
            return &world.servers[i];
    return NULL;
}

static enum fate fate_of(const struct server *server)
{
    return (enum fate)(server->spec->container_port % 10);
}

/* -------------------------------------------------------------------------------- its hands */

static void on_launch(void *with, struct fleet_replica *replica)
{
    (void)with;
    size_t free = 0;
    while (free < WORLD_SERVERS && world.servers[free].runs)
        free++;
    must(free < WORLD_SERVERS, "too many servers", "", 0);
    for (size_t i = 0; i < world.server_count; i++)
        must(!world.servers[i].runs || world.servers[i].number != replica->number, "launched twice",
             "replica", replica->number);
    must(world.usable[replica->node], "launched on a node that is away", "node", replica->node);
    struct server *server = &world.servers[free];
    struct model *model = model_named(replica->spec->name);
    *server = (struct server){.runs = true,
                              .replica = replica,
                              .spec = spec_ref(replica->spec),
                              .number = replica->number,
                              .node = replica->node,
                              .revision = replica->revision,
                              .model = (unsigned)(model - world.models)};
    if (free >= world.server_count)
        world.server_count = free + 1;
    model->launches++;
    server->running_us = world.now_us + 1 + world.run_us;
    server->good_us = server->running_us + world.load_us;
    enum fate fate = fate_of(server);
    if (fate == FATE_NEVER_READY || fate == FATE_CRASHES || fate == FATE_FINAL || fate == FATE_OOM)
        server->good_us = 0;
    if (fate == FATE_FINAL)
        server->end_us = world.now_us + 10 * MS;
    else if (fate == FATE_CRASHES || fate == FATE_OOM || chance() % 1000 < world.crash_permille)
        server->end_us = world.now_us + between(10 * MS, world.run_us + world.load_us + SECOND_US);
    server->port_taken = fate == FATE_GOOD && world.crash_permille && one_in(20);
    if (server->port_taken)
        server->end_us = world.now_us + 10 * MS;
}

static void on_open(void *with, struct fleet_replica *replica)
{
    (void)with;
    struct server *server = server_of(replica);
    must(server != NULL, "opened, does not run", "replica", replica->number);
    must(!server->open, "opened twice", "replica", replica->number);
    must(!server->stopping, "opened, and stopping", "replica", replica->number);
    must(server->good_us && server->good_us <= world.now_us, "opened, does not answer", "replica",
         replica->number);
    enum fate fate = fate_of(server);
    must(fate == FATE_GOOD || fate == FATE_ERRORS || fate == FATE_SLOW,
         "a bad revision takes calls", "replica", replica->number);
    server->open = true;
    server->opened_us = world.now_us;
}

static void on_close(void *with, struct fleet_replica *replica)
{
    (void)with;
    struct server *server = server_of(replica);
    must(server && server->open, "closed, was not open", "replica", replica->number);
    server->open = false;
}

static void on_stop(void *with, struct fleet_replica *replica, int64_t grace_us)
{
    (void)with;
    struct server *server = server_of(replica);
    must(server != NULL, "stopped, does not run", "replica", replica->number);
    must(!server->open, "stopped, still open", "replica", replica->number);
    uint64_t takes_us = between(1, world.end_us);
    takes_us = takes_us < (uint64_t)grace_us ? takes_us : (uint64_t)grace_us + 10 * MS;
    server->stopping = true;
    if (!server->end_us || server->end_us > world.now_us + takes_us)
        server->end_us = world.now_us + takes_us;
}

static void on_sleep(void *with, struct fleet_replica *replica)
{
    (void)with;
    struct server *server = server_of(replica);
    must(server && !server->open && !server->asleep, "put to sleep", "replica", replica->number);
    for (size_t i = 0; i < WORLD_PLACES; i++)
        must(server->calls[i] == 0, "put to sleep with calls", "replica", replica->number);
    server->asleep = true;
    server->good_us = 0;
}

static void on_wake(void *with, struct fleet_replica *replica)
{
    (void)with;
    struct server *server = server_of(replica);
    must(server && server->asleep, "woken, did not sleep", "replica", replica->number);
    server->asleep = false;
    server->good_us = world.now_us + 100 * MS;
}

static void server_free(struct server *server)
{
    for (size_t i = 0; i < WORLD_PLACES; i++)
        world.models[server->model].broken += server->calls[i] != 0;
    spec_unref(server->spec);
    memset(server, 0, sizeof(*server));
}

static void on_forget(void *with, struct fleet_replica *replica)
{
    (void)with;
    struct server *server = server_of(replica);
    must(server != NULL, "forgotten, does not run", "replica", replica->number);
    must(!server->open, "forgotten, still open", "replica", replica->number);
    must(server->replica == replica && strcmp(replica->reason, "") != 0, "ended without a reason",
         "replica", replica->number);
    server_free(server);
}

static void on_share(void *with, struct text deployment, unsigned stable, unsigned canary,
                     unsigned permille)
{
    (void)with;
    struct model *model = model_named(deployment);
    must(permille <= 1000, "a share of more than all", model->name, permille);
    model->stable = stable;
    model->canary = canary;
    model->permille = permille;
}

static void on_fail_waiting(void *with, struct text deployment, const char *why)
{
    (void)with;
    struct model *model = model_named(deployment);
    must(why[0] != 0, "failed without a reason", model->name, 0);
    model->failed += model->held_count;
    model->held_count = 0;
    snprintf(model->last_why, sizeof(model->last_why), "%s", why);
}

static void on_event(void *with, struct text deployment, uint64_t replica, const char *reason,
                     const char *words)
{
    (void)with;
    struct model *model = model_named(deployment);
    must(reason[0] != 0, "an event without a reason", model->name, replica);
    must(replica == 0 || strcmp(reason, "ready") != 0 || words[0] == 0,
         "ready, and yet something is wrong", model->name, replica);
    world.events++;
    if (!replica)
        snprintf(model->last_event, sizeof(model->last_event), "%s", reason);
    if (world.trace)
        printf("%10.3f %s %llu %s (%s)\n", (double)world.now_us / 1e6, model->name,
               (unsigned long long)replica, reason, words);
}

static const struct fleet_hands hands = {on_launch,       on_open,  on_close,  on_stop,
                                         on_sleep,        on_wake,  on_forget, on_share,
                                         on_fail_waiting, on_event, NULL};

/* ------------------------------------------------------------------------------------ making */

static void world_new(uint64_t seed)
{
    memset(&world, 0, sizeof(world));
    world.chance = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    chance();
    world.now_us = UINT64_C(1000) * SECOND_US;
    world.run_us = 200 * MS;
    world.load_us = SECOND_US;
    world.call_us = SECOND_US;
    world.end_us = 500 * MS;
    world.trace = getenv("TRACE") != NULL;
    world.fleet = fleet_new(&hands, seed);
}

static void world_end(void)
{
    fleet_free(world.fleet);
    for (size_t i = 0; i < world.server_count; i++)
        if (world.servers[i].runs)
            server_free(&world.servers[i]);
    for (size_t i = 0; i < world.model_count; i++)
        spec_unref(world.models[i].spec);
}

static void world_node(const char *name, int64_t gib, int64_t price)
{
    size_t index = world.node_count++;
    world.nodes[index] = (struct node_spec){.name = text_of(name),
                                            .launcher = LAUNCH_BY_PROCESS,
                                            .has = {.memory_bytes = gib * GIB},
                                            .price_nanos_per_hour = price};
    world.usable[index] = true;
}

static struct deployment_spec plain_spec(const char *name, int64_t gib)
{
    return (struct deployment_spec){
        .name = text_of(name),
        .launcher = LAUNCH_BY_PROCESS,
        .resources = {.memory_bytes = gib * GIB},
        .probe = {TEXT("/health"), 250 * MS, 5 * SECOND_US, 30 * SECOND_US, 3},
        .scaling = {0, 2, 4, 700, 6 * SECOND_US, 30 * SECOND_US, 60 * SECOND_US},
        .hold = {256, 1 << 20, 60 * SECOND_US, HOLD_WAIT},
        .eviction = {EVICT_BY_COST, 0, false, 10 * SECOND_US},
        .restart = {SECOND_US, 10 * SECOND_US, 3},
        .rollout = {.strategy = ROLL_ROLLING,
                    .surge = 1,
                    .auto_rollback = true,
                    .max_errors_permille = 50,
                    .max_slowdown_permille = 2000,
                    .min_requests = 10,
                    .deadline_us = 90 * SECOND_US},
        .stop = {20 * SECOND_US, 5 * SECOND_US},
    };
}

/* Put <spec> in its model's place; configure with world_configure(). */
static struct model *world_model(const struct deployment_spec *spec)
{
    struct model *model = model_named(spec->name);
    if (!model) {
        model = &world.models[world.model_count++];
        snprintf(model->name, sizeof(model->name), "%.*s", TEXT_ARGS(spec->name));
    }
    struct deployment_spec *old = model->spec;
    model->spec = spec_copy(spec); /* which may be made of the old one */
    spec_unref(old);
    model->exists = true;
    return model;
}

static void world_configure(void)
{
    struct deployment_spec *specs[WORLD_MODELS];
    size_t count = 0;
    for (size_t i = 0; i < world.model_count; i++)
        if (world.models[i].exists)
            specs[count++] = world.models[i].spec;
    fleet_configure(world.fleet, world.nodes, world.node_count, specs, count, world.now_us);
    for (unsigned i = 0; i < world.node_count; i++)
        fleet_node(world.fleet, i, world.usable[i], world.now_us);
}

/* ------------------------------------------------------------------------------------- calls */

static void world_call(struct model *model)
{
    model->arrived++;
    if (!model->exists) {
        model->failed++;
        return;
    }
    must(model->held_count < WORLD_HELD, "the queue is too long", model->name, model->held_count);
    model->held[model->held_count++] = world.now_us;
    world.rung = true;
}

static unsigned calls_on(const struct server *server)
{
    unsigned count = 0;
    for (size_t i = 0; i < WORLD_PLACES; i++)
        count += server->calls[i] != 0;
    return count;
}

static unsigned parallel_of(const struct server *server)
{
    unsigned parallel = server->replica ? server->replica->spec->scaling.parallel : 1;
    return parallel < WORLD_PLACES ? parallel : WORLD_PLACES;
}

static struct server *place_for(const struct model *model, unsigned revision)
{
    struct server *best = NULL;
    for (size_t i = 0; i < world.server_count; i++) {
        struct server *server = &world.servers[i];
        if (!server->runs || !server->open || &world.models[server->model] != model ||
            (revision && server->revision != revision) || calls_on(server) >= parallel_of(server))
            continue;
        if (!best || calls_on(server) < calls_on(best))
            best = server;
    }
    return best;
}

/* To the first byte, one call after the other. */
static const int64_t first_times[] = {180 * MS, 90 * MS, 400 * MS, 120 * MS, 7000 * MS, 240 * MS};

static void note_call(struct model *model, const struct server *server)
{
    size_t at = 0;
    while (at < 7 && model->records[at].revision && model->records[at].revision != server->revision)
        at++;
    model->records[at].revision = server->revision;
    struct trial *trial = &model->records[at].trial;
    trial->calls++;
    if (fate_of(server) == FATE_ERRORS && one_in(5)) {
        trial->failures++;
        return;
    }
    int64_t first_us = first_times[model->served % (sizeof(first_times) / sizeof(first_times[0]))];
    uint64_t log = trial_log(first_us * (fate_of(server) == FATE_SLOW ? 4 : 1));
    trial->timed++;
    trial->logs += log;
    trial->squares += log * log;
}

/* Held calls go where there is a place; those that are over make one. */
static void world_serve(void)
{
    for (size_t i = 0; i < world.server_count; i++) {
        struct server *server = &world.servers[i];
        for (size_t c = 0; server->runs && c < WORLD_PLACES; c++)
            if (server->calls[c] && server->calls[c] <= world.now_us) {
                server->calls[c] = 0;
                world.models[server->model].served++;
                note_call(&world.models[server->model], server);
            }
    }
    for (size_t i = 0; i < world.model_count; i++) {
        struct model *model = &world.models[i];
        while (model->held_count) {
            unsigned side =
                model->canary && chance() % 1000 < model->permille ? model->canary : model->stable;
            struct server *server = place_for(model, side);
            if (!server && side == model->canary)
                server = place_for(model, model->stable);
            if (!server)
                break;
            uint64_t age_us = world.now_us - model->held[0];
            model->oldest_age_us = age_us > model->oldest_age_us ? age_us : model->oldest_age_us;
            for (size_t c = 0; c < WORLD_PLACES; c++)
                if (!server->calls[c]) {
                    server->calls[c] = world.now_us + between(world.call_us / 4, world.call_us);
                    break;
                }
            model->begun_us = world.now_us;
            memmove(model->held, model->held + 1, --model->held_count * sizeof(*model->held));
        }
    }
}

/* ------------------------------------------------------------------------------------- facts */

static void report(struct server *server, struct launch_report what)
{
    what.progress_permille = -1;
    if (server->replica && !server->orphan)
        fleet_report(world.fleet, server->replica, &what, world.now_us);
}

static void server_ends(struct server *server)
{
    struct launch_report what = {.stage = LAUNCH_ENDED, .exit_code = 1};
    enum fate fate = fate_of(server);
    if (server->orphan) {
        server_free(server);
        return;
    }
    if (server->stopping)
        what.exit_code = 0;
    else if (fate == FATE_FINAL) {
        what.is_final = true;
        snprintf(what.reason, sizeof(what.reason), "exec_failed");
    } else if (fate == FATE_OOM)
        what.oom = true;
    else if (server->port_taken)
        snprintf(what.reason, sizeof(what.reason), "port_taken");
    report(server, what);
    must(!server->runs || server->replica == NULL, "ended, not forgotten", "replica",
         server->number);
}

static void server_step(struct server *server)
{
    bool away = !world.usable[server->node];
    if (away || !server->runs)
        return;
    if (!server->said_running && server->running_us <= world.now_us) {
        server->said_running = true;
        report(server, (struct launch_report){.stage = LAUNCH_RUNNING});
    }
    if (server->runs && server->end_us && server->end_us <= world.now_us)
        server_ends(server);
}

static void server_probe(struct server *server)
{
    bool good = server->good_us && server->good_us <= world.now_us && !server->stopping;
    if (!server->runs || !server->said_running || server->orphan || server->asleep)
        return;
    bool loads = server->replica->state == REPLICA_LOADING;
    if (server->probe_us > world.now_us && !(loads && good))
        return;
    server->probe_us = world.now_us + 5 * SECOND_US;
    if (!good) /* as the desk does */
        snprintf(server->replica->words, sizeof server->replica->words, "refused");
    fleet_probed(world.fleet, server->replica, good, world.now_us);
}

static void world_tell(void)
{
    for (size_t i = 0; i < world.model_count; i++) {
        struct model *model = &world.models[i];
        struct fleet_demand demand = {.held = model->held_count, .jobs = model->jobs};
        demand.oldest_held_us = model->held_count ? model->held[0] : 0;
        for (size_t s = 0; s < world.server_count; s++)
            if (world.servers[s].runs && world.servers[s].model == i && !world.servers[s].orphan)
                demand.in_flight += calls_on(&world.servers[s]);
        fleet_demand(world.fleet, text_of(model->name), &demand, world.now_us);
        for (size_t r = 0; r < 8; r++)
            if (model->records[r].trial.calls)
                fleet_record(world.fleet, text_of(model->name), model->records[r].revision,
                             &model->records[r].trial, world.now_us);
        memset(model->records, 0, sizeof(model->records));
    }
    for (size_t s = 0; s < world.server_count; s++)
        if (world.servers[s].runs && !world.servers[s].orphan)
            fleet_in_flight(world.fleet, world.servers[s].replica, calls_on(&world.servers[s]),
                            world.now_us);
}

/* --------------------------------------------------------------------------------- invariants */

static void check_places(void)
{
    struct fleet_place places[WORLD_NODES * 2];
    size_t count = fleet_places(world.fleet, places, WORLD_NODES * 2);
    int64_t over = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t real = 0, has = places[i].node->has.memory_bytes;
        for (size_t s = 0; s < world.server_count; s++) {
            const struct server *server = &world.servers[s];
            if (server->runs && !server->orphan &&
                text_equal(world.nodes[server->node].name, places[i].node->name))
                real += server->spec->resources.memory_bytes;
        }
        must(real <= places[i].reserved.memory_bytes, "runs without room", "node", i);
        over += has && places[i].reserved.memory_bytes > has ? places[i].reserved.memory_bytes - has
                                                             : 0;
    }
    must(over <= world.over_bytes, "more than there is", "GiB over", (uint64_t)(over / GIB));
    world.over_bytes = over;
}

static void check_replicas(void)
{
    for (size_t i = 0; i < world.model_count; i++) {
        const struct fleet_replica *replicas[256];
        size_t count = fleet_replicas(world.fleet, text_of(world.models[i].name), replicas, 256);
        for (size_t r = 0; r < count; r++) {
            must(replicas[r]->due_us > world.now_us, "is in a state for ever",
                 replica_state_name(replicas[r]->state), replicas[r]->number);
            must(replicas[r]->reason[0] != 0, "no reason", replica_state_name(replicas[r]->state),
                 replicas[r]->number);
            for (size_t other = 0; other < r; other++)
                must(replicas[other]->number != replicas[r]->number, "twice", "replica",
                     replicas[r]->number);
        }
    }
}

static void world_tick(void)
{
    world.rung = false;
    world_tell();
    fleet_tick(world.fleet, world.now_us);
    world_serve(); /* what was opened grants at once */
    check_places();
    check_replicas();
}

/* ----------------------------------------------------------------------------------- going on */

static void sooner(uint64_t *next_us, uint64_t at_us)
{
    if (at_us && at_us < *next_us)
        *next_us = at_us;
}

static uint64_t world_next(uint64_t until_us)
{
    uint64_t next_us = until_us, due_us = fleet_due_us(world.fleet);
    sooner(&next_us, due_us > world.now_us && !world.rung ? due_us : world.now_us + 1);
    for (size_t i = 0; i < world.server_count; i++) {
        const struct server *server = &world.servers[i];
        if (!server->runs || !world.usable[server->node])
            continue;
        sooner(&next_us, server->said_running ? 0 : server->running_us);
        sooner(&next_us, server->end_us);
        if (server->said_running && !server->orphan && !server->stopping && !server->asleep &&
            server->replica->state == REPLICA_LOADING)
            sooner(&next_us, server->good_us);
        for (size_t c = 0; c < WORLD_PLACES; c++)
            sooner(&next_us, server->calls[c]);
    }
    return next_us > world.now_us ? next_us : world.now_us + 1;
}

static void world_step(uint64_t until_us)
{
    world.now_us = world_next(until_us);
    world_serve();
    for (size_t i = 0; i < world.server_count; i++) {
        server_step(&world.servers[i]);
        server_probe(&world.servers[i]);
    }
    world_tick();
}

static void world_until(uint64_t until_us)
{
    while (world.now_us < until_us)
        world_step(until_us);
}

static inline void world_run(uint64_t us)
{
    world_until(world.now_us + us);
}

static inline void world_shut(uint64_t within_us)
{
    uint64_t until_us = world.now_us + within_us;
    fleet_shut(world.fleet, world.now_us);
    while (!fleet_is_quiet(world.fleet) && world.now_us < until_us)
        world_step(until_us);
    must(fleet_is_quiet(world.fleet), "has not ended", "fleet", 0);
    for (size_t i = 0; i < world.server_count; i++)
        must(!world.servers[i].runs || world.servers[i].orphan, "still runs", "replica",
             world.servers[i].number);
    for (size_t i = 0; i < world.server_count; i++)
        if (world.servers[i].runs)
            server_free(&world.servers[i]); /* whose calls are counted */
}

static inline struct fleet_view look(const char *name)
{
    struct fleet_view view;
    must(fleet_look(world.fleet, text_of(name), &view, world.now_us), "not there", name, 0);
    return view;
}

static inline bool order(const char *name, enum fleet_order what)
{
    const char *why;
    return fleet_obey(world.fleet, text_of(name), what, 0, 0, world.now_us, &why);
}
