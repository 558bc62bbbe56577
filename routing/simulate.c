/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/simulate.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/memory.h"
#include "routing/simulate_inside.h"

enum {
    AFFINITY_ROWS = 4096,
    TOKEN_BYTES = 4,
    BEGIN_SECONDS = 1000, /* a gateway's clock does not begin at 0 */
    QUOTA_MINUTE = 60,
    LATENCIES = 24,
};
static const double REFUSED_SECONDS = 0.02, LATENCY_KEEP = 0.9;

/* Of a provider, by default. */
static const struct breaker_settings breaker = {
    .window_us = 30000000, .min_requests = 20, .error_ppm = 500000, .open_us = 15000000};

/* ---------------------------------------------------------------------------------- events */

enum event_kind { EVENT_ARRIVES, EVENT_FIRST, EVENT_DONE, EVENT_FAILED, EVENT_TOLD };

struct event {
    double at;
    enum event_kind kind;
    uint32_t call;
};

struct server {
    const struct simulate_target *is;
    uint32_t *queue; /* of calls: places from <head> to <tail> */
    size_t head, tail, room;
    unsigned busy;
    double bucket, bucket_at;           /* tokens that may be used now */
    double latency[LATENCIES];          /* of its answers, by what was in flight when they came */
    double held[SIMULATE_PREFIXES_MAX]; /* when each prefix was used last; 0 = it is not there */
    unsigned held_count;
    size_t served;
};

/* A gateway with its own figures. */
struct replica {
    struct target targets[SIMULATE_TARGETS_MAX];
    struct target_figures *figures;
    struct route route;
    struct rivals rivals;
};

struct world {
    const struct simulate_scenario *scenario;
    const struct simulate_picker *picker;
    struct server servers[SIMULATE_TARGETS_MAX];
    struct replica replicas[SIMULATE_REPLICAS_MAX];
    struct simulate_call *calls;
    size_t call_count;
    struct event *heap;
    size_t heap_count, heap_room;
    double now;
    uint64_t random;
    size_t inside; /* calls that have come and not ended */
    double inside_since, inside_sum;
};

static void push(struct world *world, double at, enum event_kind kind, uint32_t call)
{
    if (world->heap_count == world->heap_room) {
        world->heap_room = world->heap_room ? world->heap_room * 2 : 1024;
        world->heap = memory_resize(world->heap, world->heap_room * sizeof(*world->heap));
    }
    size_t i = world->heap_count++;
    for (; i > 0 && world->heap[(i - 1) / 2].at > at; i = (i - 1) / 2)
        world->heap[i] = world->heap[(i - 1) / 2];
    world->heap[i] = (struct event){at, kind, call};
}

static struct event pop(struct world *world)
{
    struct event first = world->heap[0], last = world->heap[--world->heap_count];
    size_t i = 0;
    for (;;) {
        size_t next = 2 * i + 1;
        if (next >= world->heap_count)
            break;
        if (next + 1 < world->heap_count && world->heap[next + 1].at < world->heap[next].at)
            next++;
        if (last.at <= world->heap[next].at)
            break;
        world->heap[i] = world->heap[next];
        i = next;
    }
    world->heap[i] = last;
    return first;
}

static double seconds(int64_t us)
{
    return (double)us / 1e6;
}

static uint64_t clock_of(double at)
{
    return (uint64_t)((at + BEGIN_SECONDS) * 1e6);
}

static uint64_t draw(struct world *world)
{
    return strategy_mix(world->random++);
}

/* --------------------------------------------------------------------------------- servers */

static bool in_trouble(const struct world *world, const struct simulate_target *target)
{
    return target->trouble != TROUBLE_NONE && world->now >= seconds(target->from_us) &&
           world->now < seconds(target->until_us);
}

static bool is_there(const struct world *world, const struct simulate_target *target)
{
    return world->now >= seconds(target->joins_us);
}

/* Is the call's prefix in the server's cache? It is from now on, in place of the oldest. */
static bool use_cache(struct world *world, struct server *server, const struct simulate_call *call)
{
    if (!server->is->cache || !call->has_prefix)
        return false;
    bool hit = server->held[call->prefix] > 0;
    if (!hit && server->held_count == server->is->cache) {
        size_t oldest = SIZE_MAX;
        for (size_t i = 0; i < world->scenario->prefixes; i++)
            if (server->held[i] > 0 &&
                (oldest == SIZE_MAX || server->held[i] < server->held[oldest]))
                oldest = i;
        server->held[oldest] = 0;
    } else if (!hit) {
        server->held_count++;
    }
    server->held[call->prefix] = world->now + 1e-9;
    return hit;
}

/* Until its first token, once its turn has come. */
static double first_of(struct world *world, struct server *server, struct simulate_call *call)
{
    const struct simulate_target *is = server->is;
    bool trouble = in_trouble(world, is);
    double median = seconds(trouble && is->trouble == TROUBLE_SLOW ? is->takes_us : is->first_us);
    double takes = median * exp(is->spread * call->luck);
    call->hit = use_cache(world, server, call);
    int64_t unread =
        world->scenario->input_tokens - (call->hit ? world->scenario->prefix_tokens : 0);
    if (is->read_rate)
        takes += (double)unread / (double)is->read_rate;
    if (is->joins_us && is->warms_times && world->now < seconds(is->joins_us + is->warms_us))
        takes *= is->warms_times;
    if (trouble && is->trouble == TROUBLE_STALL && call->fate < is->share)
        takes += seconds(is->takes_us);
    return takes;
}

static void serve(struct world *world, struct server *server, uint32_t at)
{
    struct simulate_call *call = &world->calls[at];
    double first = first_of(world, server, call);
    double writes = seconds(server->is->token_us) * (double)(call->tokens - 1);
    server->busy++;
    server->served += call->counts;
    call->service = first + writes;
    push(world, world->now + first, EVENT_FIRST, at);
    push(world, world->now + call->service + 1e-9, EVENT_DONE, at);
}

static unsigned in_flight(const struct server *server)
{
    return server->busy + (unsigned)(server->tail - server->head);
}

/* What its latency was when about as many calls were there: of the nearest that is known. */
static size_t latency_place(unsigned calls)
{
    size_t place = 0;
    for (; calls > 1 && place + 1 < LATENCIES; calls -= (calls + 3) / 4)
        place++;
    return place;
}

static double latency_of(const struct server *server)
{
    size_t at = latency_place(in_flight(server));
    for (size_t away = 0; away < LATENCIES; away++) {
        if (at >= away && server->latency[at - away] > 0)
            return server->latency[at - away];
        if (at + away < LATENCIES && server->latency[at + away] > 0)
            return server->latency[at + away];
    }
    return 0;
}

/* What it tells of its latency, it knows of answers that it has begun. */
static void note_latency(struct server *server, size_t found, double answers)
{
    double *latency = &server->latency[found];
    *latency = *latency > 0 ? *latency * LATENCY_KEEP + answers * (1 - LATENCY_KEEP) : answers;
}

static void enqueue(struct server *server, uint32_t call)
{
    if (server->tail == server->room) {
        server->room = server->room ? server->room * 2 : 256;
        server->queue = memory_resize(server->queue, server->room * sizeof(*server->queue));
    }
    server->queue[server->tail++] = call;
}

/* Is it refused: 429 or 503? Seconds until the client's gateway knows, or 0. */
static double refuses(struct world *world, struct server *server, struct simulate_call *call)
{
    const struct simulate_target *is = server->is;
    call->retry_after = 0;
    if (in_trouble(world, is) && (is->trouble == TROUBLE_FAIL || is->trouble == TROUBLE_BUSY) &&
        call->fate < is->share) {
        call->busy = is->trouble == TROUBLE_BUSY;
        return seconds(is->takes_us) + 1e-6;
    }
    if (!is->tokens_per_minute)
        return 0;
    double limit = (double)is->tokens_per_minute, need = (double)(call->tokens);
    need += (double)world->scenario->input_tokens;
    server->bucket += (world->now - server->bucket_at) * limit / QUOTA_MINUTE;
    server->bucket = server->bucket > limit ? limit : server->bucket;
    server->bucket_at = world->now;
    if (server->bucket >= need) {
        server->bucket -= need;
        return 0;
    }
    call->busy = true;
    call->retry_after = (need - server->bucket) / limit * QUOTA_MINUTE;
    return REFUSED_SECONDS;
}

/* Only JIQ's servers say so: a draw for others would change what they meet. */
static void tell_idle(struct world *world, size_t target)
{
    if (world->picker->rival != RIVAL_JIQ || in_flight(&world->servers[target]))
        return;
    size_t replica = draw(world) % world->scenario->replicas;
    rivals_idle(&world->replicas[replica].rivals, target, true);
}

static void withdraw_idle(struct world *world, size_t target)
{
    for (size_t r = 0; r < world->scenario->replicas; r++)
        rivals_idle(&world->replicas[r].rivals, target, false);
}

/* -------------------------------------------------------------------------------- choosing */

static void fill_prefixes(const struct world *world, const struct simulate_call *call,
                          struct route_call *out)
{
    const struct simulate_scenario *scenario = world->scenario;
    int64_t shared = scenario->prefix_tokens * TOKEN_BYTES, bytes = PREFIX_BYTES;
    if (!call->has_prefix)
        return;
    for (unsigned i = 0; i < PREFIX_LEVELS; i++, bytes *= 4) {
        if (bytes > scenario->input_tokens * TOKEN_BYTES)
            return;
        uint64_t what = bytes <= shared
                            ? call->prefix
                            : (uint64_t)call->prompt << 32 | (uint64_t)call->prefix << 8 | 1;
        out->prefix[i] = strategy_mix(strategy_mix(what) + i);
    }
}

static size_t choose_ours(struct world *world, struct replica *replica, struct simulate_call *call,
                          uint64_t out)
{
    struct route_call asked = {
        .now_us = clock_of(world->now),
        .random = draw(world),
        .operation = OPERATION_CHAT,
        .stream = !world->scenario->whole,
        .input_tokens = world->scenario->input_tokens,
        .output_tokens = call->expected,
        .tried = out,
    };
    fill_prefixes(world, call, &asked);
    const struct target *target =
        route_choose(&replica->route, world->picker->policy, &asked, &call->attempt, NULL);
    return target ? (size_t)(target - replica->targets) : SIZE_MAX;
}

static size_t choose_rival(struct world *world, struct replica *replica,
                           const struct simulate_call *call, uint64_t out)
{
    struct rival_server servers[SIMULATE_TARGETS_MAX];
    size_t count = world->scenario->target_count;
    struct rival_call asked = {
        .now = world->now,
        .random = draw(world),
        .there = count ? ~out & (UINT64_MAX >> (64 - count)) : 0,
        .prefix = call->prefix,
        .has_prefix = call->has_prefix,
        .stream = !world->scenario->whole,
        .prefix_share =
            (double)world->scenario->prefix_tokens / (double)world->scenario->input_tokens,
        .servers = servers,
    };
    for (size_t i = 0; i < count; i++) {
        const struct server *server = &world->servers[i];
        servers[i] = (struct rival_server){server->busy, (unsigned)(server->tail - server->head),
                                           latency_of(server)};
    }
    return asked.there ? rivals_choose(&replica->rivals, &asked) : SIZE_MAX;
}

static void leave(struct world *world, struct simulate_call *call)
{
    call->ended_at = world->now;
    world->inside_sum += (double)world->inside * (world->now - world->inside_since);
    world->inside_since = world->now;
    world->inside--;
}

static void try_once(struct world *world, uint32_t at)
{
    struct simulate_call *call = &world->calls[at];
    struct replica *replica = &world->replicas[call->replica];
    uint64_t out = call->tried;
    for (size_t i = 0; i < world->scenario->target_count; i++)
        if (!is_there(world, world->servers[i].is))
            out |= UINT64_C(1) << i;
    size_t target = world->picker->rival == RIVAL_NONE ? choose_ours(world, replica, call, out)
                                                       : choose_rival(world, replica, call, out);
    call->failed = target == SIZE_MAX;
    if (call->failed) {
        leave(world, call);
        return;
    }
    struct server *server = &world->servers[target];
    withdraw_idle(world, target);
    call->target = target;
    call->tries++;
    call->tried |= UINT64_C(1) << target;
    call->begun_at = world->now;
    call->found = latency_place(in_flight(server));
    double refused = refuses(world, server, call);
    if (refused > 0)
        push(world, world->now + refused, EVENT_FAILED, at);
    else if (server->is->slots && server->busy >= server->is->slots)
        enqueue(server, at);
    else
        serve(world, server, at);
}

/* --------------------------------------------------------------------------------- the ends */

/* The head of an answer says what is left of the provider's quota. */
static void tell_quota(struct world *world, struct replica *replica, size_t target)
{
    struct server *server = &world->servers[target];
    double limit = (double)server->is->tokens_per_minute;
    if (limit <= 0)
        return;
    double left = server->bucket + (world->now - server->bucket_at) * limit / QUOTA_MINUTE;
    left = left > limit ? limit : left;
    struct quota_seen seen = {
        .requests_left = -1,
        .tokens_left = (int64_t)left,
        .tokens_limit = server->is->tokens_per_minute,
        .tokens_reset_us = (int64_t)((limit - left) / limit * QUOTA_MINUTE * 1e6) + 1,
    };
    quota_said(&replica->figures[target].left, &seen, clock_of(world->now));
}

static void on_first(struct world *world, struct simulate_call *call)
{
    struct replica *replica = &world->replicas[call->replica];
    call->first_at = world->now;
    note_latency(&world->servers[call->target], call->found, world->now - call->begun_at);
    if (world->picker->rival == RIVAL_NONE) {
        tell_quota(world, replica, call->target);
        if (!world->scenario->whole)
            route_first(&call->attempt, clock_of(world->now));
    } else {
        rivals_first(&replica->rivals, call->target, world->now - call->begun_at, world->now);
    }
}

static void tell_end(struct world *world, struct simulate_call *call, bool failed)
{
    struct replica *replica = &world->replicas[call->replica];
    const struct server *server = &world->servers[call->target];
    if (world->picker->rival != RIVAL_NONE) {
        struct rival_end end = {
            .now = world->now,
            .seconds = world->now - call->begun_at,
            .first = failed ? 0 : call->first_at - call->begun_at,
            .stream = !world->scenario->whole,
            .failed = failed,
            .is_busy = call->busy,
            .tokens = failed ? 0 : call->tokens,
            .service = call->service,
            .queue = (unsigned)(server->tail - server->head),
        };
        rivals_end(&replica->rivals, call->target, &end);
        return;
    }
    struct route_outcome outcome = {
        .now_us = clock_of(world->now),
        .fault = !failed      ? FAULT_NONE
                 : call->busy ? FAULT_TARGET_BUSY
                              : FAULT_TARGET_ERROR,
        .output_tokens = failed ? 0 : call->tokens,
        .retry_after_us = failed ? (int64_t)(call->retry_after * 1e6) : 0,
    };
    route_end(&call->attempt, &outcome);
}

static void on_done(struct world *world, uint32_t at)
{
    struct simulate_call *call = &world->calls[at];
    struct server *server = &world->servers[call->target];
    server->busy--;
    tell_end(world, call, false);
    leave(world, call);
    if (server->head < server->tail)
        serve(world, server, server->queue[server->head++]);
    tell_idle(world, call->target);
}

static void on_failed(struct world *world, uint32_t at)
{
    struct simulate_call *call = &world->calls[at];
    call->service = world->now - call->begun_at;
    tell_end(world, call, true);
    if (call->tries <= world->scenario->retries) {
        call->busy = false;
        try_once(world, at);
        return;
    }
    call->failed = true;
    leave(world, call);
}

/* Servers say how many calls they have (metrics_url), which is old until they say it again. */
static void on_told(struct world *world)
{
    for (size_t r = 0; r < world->scenario->replicas; r++)
        for (size_t i = 0; i < world->scenario->target_count; i++) {
            const struct server *server = &world->servers[i];
            struct predict_figures *figures = &world->replicas[r].figures[i].predict;
            predict_told(figures, (int64_t)(server->tail - server->head), server->busy, 0,
                         clock_of(world->now));
        }
    if (world->inside || world->now < seconds(world->scenario->seconds_us))
        push(world, world->now + seconds(world->scenario->told_us), EVENT_TOLD, 0);
}

static void on_arrival(struct world *world, uint32_t at)
{
    world->inside_sum += (double)world->inside * (world->now - world->inside_since);
    world->inside_since = world->now;
    world->inside++;
    if (at + 1 < world->call_count)
        push(world, world->calls[at + 1].came_at, EVENT_ARRIVES, at + 1);
    try_once(world, at);
}

/* ------------------------------------------------------------------------------- the world */

static void begin_replica(struct world *world, size_t r)
{
    const struct simulate_scenario *scenario = world->scenario;
    struct replica *replica = &world->replicas[r];
    replica->figures = memory_new(scenario->target_count * sizeof(*replica->figures));
    rivals_begin(&replica->rivals, world->picker->rival, scenario->target_count,
                 scenario->replicas);
    for (size_t i = 0; i < scenario->target_count; i++) {
        replica->figures[i].identity = strategy_mix(i + 1);
        replica->rivals.targets[i].weight = scenario->targets[i].weight;
        replica->targets[i] = (struct target){
            .id = scenario->targets[i].name,
            .weight = scenario->targets[i].weight,
            .priority = 1,
            .price = scenario->targets[i].price,
            .figures = &replica->figures[i],
            .breaker = &breaker,
        };
    }
    replica->route = (struct route){.targets = replica->targets,
                                    .target_count = scenario->target_count,
                                    .affinity = affinity_new(AFFINITY_ROWS)};
}

static void end_world(struct world *world)
{
    for (size_t r = 0; r < world->scenario->replicas; r++) {
        memory_free(world->replicas[r].figures);
        affinity_free(world->replicas[r].route.affinity);
    }
    for (size_t i = 0; i < world->scenario->target_count; i++)
        memory_free(world->servers[i].queue);
    memory_free(world->heap);
    memory_free(world->calls);
    memory_free(world);
}

static void run(struct world *world)
{
    if (world->call_count)
        push(world, world->calls[0].came_at, EVENT_ARRIVES, 0);
    if (world->scenario->told_us)
        push(world, 0, EVENT_TOLD, 0);
    while (world->heap_count) {
        struct event event = pop(world);
        world->now = event.at;
        switch (event.kind) {
        case EVENT_ARRIVES:
            on_arrival(world, event.call);
            break;
        case EVENT_FIRST:
            on_first(world, &world->calls[event.call]);
            break;
        case EVENT_DONE:
            on_done(world, event.call);
            break;
        case EVENT_FAILED:
            on_failed(world, event.call);
            break;
        case EVENT_TOLD:
            on_told(world);
            break;
        }
    }
}

void simulate_run(const struct simulate_scenario *scenario, const struct simulate_picker *picker,
                  uint64_t seed, struct simulate_result *result)
{
    struct world *world = memory_new(sizeof(*world));
    size_t served[SIMULATE_TARGETS_MAX];
    world->scenario = scenario;
    world->picker = picker;
    world->random = strategy_mix(seed ^ UINT64_C(0x5be0cd19137e2179));
    world->calls = simulate_draw(scenario, seed, &world->call_count);
    for (size_t r = 0; r < scenario->replicas; r++)
        begin_replica(world, r);
    for (size_t i = 0; i < scenario->target_count; i++) {
        world->servers[i].is = &scenario->targets[i];
        world->servers[i].bucket = (double)scenario->targets[i].tokens_per_minute;
    }
    for (size_t i = 0; i < scenario->target_count; i++)
        tell_idle(world, i);
    run(world);
    for (size_t i = 0; i < scenario->target_count; i++)
        served[i] = world->servers[i].served;
    *result =
        (struct simulate_result){.in_flight = world->now > 0 ? world->inside_sum / world->now : 0};
    simulate_measure(scenario, world->calls, world->call_count, served, result);
    end_world(world);
}
