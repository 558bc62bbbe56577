/* SPDX-License-Identifier: Apache-2.0 */
/* What is known at once: the overview, models, targets; and the drain. */
#include <unistd.h>

#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/version.h"
#include "gateway/service_state.h"
#include "policy/cache.h"
#include "policy/directory.h"
#include "policy/ledger.h"
#include "policy/limits.h"

static void write_reload(struct service *service, struct json_write *json)
{
    json_name(json, "reload");
    json_open(json, '{');
    pthread_mutex_lock(&service->lock);
    const struct reload_outcome *last = &service->last_reload;
    json_int_member(json, "count", (int64_t)service->reloads);
    json_bool_member(json, "good", service->reloads == 0 || last->good);
    json_time_member(json, "in_force_since", service->reloaded_us);
    if (service->reloads > 0)
        json_time_member(json, "tried_at", service->tried_us);
    json_lines_member(json, "changed", last->good ? last->words : "");
    json_lines_member(json, "needs_restart", last->restart);
    json_name(json, "errors");
    json_open(json, '[');
    struct text rest = text_of(last->errors != NULL ? last->errors : ""), line;
    while (text_next(&rest, '\n', &line))
        if (line.len > 0)
            json_raw(json, line);
    json_close(json, ']');
    pthread_mutex_unlock(&service->lock);
    json_close(json, '}');
}

static void write_workers(struct service *service, struct json_write *json)
{
    struct worker_figures sum = {0};
    uint64_t now = clock_now_us();
    json_name(json, "workers");
    json_open(json, '[');
    pthread_mutex_lock(&service->lock);
    for (unsigned i = 0; i < service->workers_live; i++) {
        struct worker_figures one = worker_figures(service->workers[i]);
        struct loop *loop = worker_loop(service->workers[i]);
        uint64_t since = loop_busy_since_us(loop);
        sum.connections += one.connections;
        sum.exchanges += one.exchanges;
        sum.upstreams += one.upstreams;
        json_open(json, '{');
        json_int_member(json, "connections", (int64_t)one.connections);
        json_int_member(json, "calls", (int64_t)one.exchanges);
        json_int_member(json, "upstream_connections", (int64_t)one.upstreams);
        json_int_member(json, "rounds", (int64_t)loop_rounds(loop));
        json_int_member(json, "busy_us", since != 0 && now > since ? (int64_t)(now - since) : 0);
        json_close(json, '}');
    }
    pthread_mutex_unlock(&service->lock);
    json_close(json, ']');
    /* but for the one that asks */
    json_int_member(json, "connections", sum.connections > 0 ? (int64_t)sum.connections - 1 : 0);
    json_int_member(json, "calls", sum.exchanges > 0 ? (int64_t)sum.exchanges - 1 : 0);
    json_int_member(json, "upstream_connections", (int64_t)sum.upstreams);
    json_int_member(json, "streams", metrics_gauge_now(service->metrics, GAUGE_STREAMS));
}

/* What it is taken for now: short prompts, and an answer of one token. */
static void write_prediction(const struct target *target, struct json_write *json)
{
    const struct target_figures *figures = target->figures;
    struct predict_ask ask = {.now_us = clock_now_us(),
                              .half_life_us = strategy_balanced.half_life_us,
                              .output_tokens = 1};
    struct predict_prior prior = {.count = 0};
    struct prediction now = {0};
    predict_prior_add(&prior, &figures->predict, ask.traffic);
    predict_prior_fill(&prior, ask.traffic);
    predict_make(&figures->predict, &ask, &prior, &now);
    if (now.known) {
        json_int_member(json, "first_token_us", now.first_us);
        json_int_member(json, "first_token_p95_us", now.first_p95_us);
        json_int_member(json, "token_us", now.token_ns / 1000);
    }
    json_int_member(json, "wait_us", now.wait_us);
    json_int_member(json, "penalty_us", now.penalty_us);
    json_int_member(json, "work_tokens", now.work_tokens);
}

static void write_health(const struct target *target, struct json_write *json)
{
    static const char *const circuits[] = {
        [CIRCUIT_CLOSED] = "closed", [CIRCUIT_OPEN] = "open", [CIRCUIT_HALF_OPEN] = "half-open"};
    const struct target_figures *figures = target->figures;
    uint64_t now = clock_now_us(), again = health_again_us(&figures->health, now);
    uint64_t dry = quota_dry_until(&figures->left, 0, now);
    again = dry > again ? dry : again;
    json_text_member(json, "circuit", text_of(circuits[health_circuit(&figures->health)]));
    if (again > now)
        json_int_member(json, "again_in_us", (int64_t)(again - now));
}

/* What other replicas tell of it, while that is fresh enough to count. */
static void write_others(const struct target_figures *figures, struct json_write *json)
{
    uint64_t now = clock_now_us(), at = (uint64_t)atomic_load(&figures->heard.at_us);
    uint64_t cooling = (uint64_t)atomic_load(&figures->health.heard_cooling_us);
    int64_t nodes = atomic_load(&figures->heard.nodes);
    if (nodes == 0 && cooling <= now)
        return;
    json_name(json, "others");
    json_open(json, '{');
    json_int_member(json, "replicas", nodes);
    json_int_member(json, "in_flight", atomic_load(&figures->predict.heard_calls));
    json_int_member(json, "work_tokens", atomic_load(&figures->predict.heard_tokens));
    json_int_member(json, "circuits_open", atomic_load(&figures->heard.open));
    if (cooling > now)
        json_int_member(json, "again_in_us", (int64_t)(cooling - now));
    json_int_member(json, "age_us", now > at ? (int64_t)(now - at) : 0);
    json_close(json, '}');
}

static void write_target(const struct target *target, struct json_write *json)
{
    const struct target_figures *figures = target->figures;
    json_open(json, '{');
    json_text_member(json, "id", target->id);
    json_text_member(json, "model", target->model);
    json_text_member(json, "provider", target->provider->name);
    json_int_member(json, "weight", target->weight);
    json_int_member(json, "priority", target->priority);
    json_bool_member(json, "off", target->off);
    if (target->off && target->off_because != NULL)
        json_text_member(json, "off_because", text_of(target->off_because));
    if (figures != NULL) {
        json_int_member(json, "in_flight", (int64_t)atomic_load(&figures->in_flight));
        json_int_member(json, "attempts", (int64_t)atomic_load(&figures->attempts));
        json_int_member(json, "failures", (int64_t)atomic_load(&figures->failures));
        write_health(target, json);
        write_prediction(target, json);
        write_others(figures, json);
    }
    json_close(json, '}');
}

static void write_targets(const struct config *config, struct json_write *json)
{
    json_name(json, "targets");
    json_open(json, '[');
    for (size_t i = 0; i < config->target_count; i++)
        write_target(&config->targets[i], json);
    json_close(json, ']');
}

static void write_ledger(const struct service *service, struct json_write *json)
{
    struct ledger_figures figures = ledger_figures(service->ledger);
    json_name(json, "ledger");
    json_open(json, '{');
    json_int_member(json, "lines", (int64_t)figures.lines);
    json_int_member(json, "undrained_lines", (int64_t)figures.lines_undrained);
    json_int_member(json, "undrained_bytes", (int64_t)figures.bytes_undrained);
    json_int_member(json, "drains", (int64_t)figures.drains);
    json_int_member(json, "drain_errors", (int64_t)figures.drain_errors);
    json_bool_member(json, "full", figures.full);
    json_bool_member(json, "damaged", figures.damaged);
    if (figures.is_shared) {
        json_bool_member(json, "shared_up", figures.others_up);
        json_int_member(json, "untold_calls", figures.calls_untold);
        json_int_member(json, "unstored_lines", (int64_t)figures.lines_unstored);
    }
    json_close(json, '}');
}

static void write_limits(struct service *service, struct json_write *json)
{
    struct limits_figures figures = limits_figures(service->limits);
    json_name(json, "limits");
    json_open(json, '{');
    json_int_member(json, "granted", (int64_t)figures.granted);
    json_int_member(json, "refused", (int64_t)figures.refused);
    json_int_member(json, "away", (int64_t)figures.away);
    json_int_member(json, "counters", (int64_t)figures.counters);
    json_int_member(json, "held", (int64_t)figures.live);
    json_close(json, '}');
    json_name(json, "store");
    json_open(json, '{');
    json_text_member(json, "type",
                     service->start->store.is_redis ? TEXT("redis") : TEXT("embedded"));
    json_bool_member(json, "up", figures.store_up);
    json_int_member(json, "replicas", figures.replicas);
    json_int_member(json, "asked", (int64_t)figures.asked);
    json_int_member(json, "latency_us", figures.store_latency_us);
    json_close(json, '}');
}

static void write_roster(struct service *service, struct json_write *json)
{
    struct roster_figures figures = roster_figures(service->roster);
    json_name(json, "keys");
    json_open(json, '{');
    json_int_member(json, "tenants", (int64_t)figures.tenants);
    json_int_member(json, "keys", (int64_t)figures.keys);
    json_int_member(json, "version", (int64_t)figures.version);
    json_bool_member(json, "up", figures.up);
    json_close(json, '}');
}

static void write_cache(struct service *service, struct json_write *json)
{
    struct cache_figures figures = cache_figures(service->cache);
    json_name(json, "cache");
    json_open(json, '{');
    json_int_member(json, "entries", (int64_t)figures.entries);
    json_int_member(json, "bytes", (int64_t)figures.bytes);
    json_int_member(json, "hits", (int64_t)figures.hits);
    json_int_member(json, "joins", (int64_t)figures.joins);
    json_int_member(json, "misses", (int64_t)figures.misses);
    json_int_member(json, "evicted", (int64_t)figures.evicted);
    json_close(json, '}');
}

static void write_listeners(const struct config *config, struct json_write *json)
{
    static const struct {
        unsigned bit;
        const char *name;
    } words[] = {{SERVE_API, "api"},
                 {SERVE_ADMIN, "admin"},
                 {SERVE_UI, "ui"},
                 {SERVE_METRICS, "metrics"},
                 {SERVE_HEALTH, "health"}};
    json_name(json, "listeners");
    json_open(json, '[');
    for (size_t i = 0; i < config->listener_count; i++) {
        json_open(json, '{');
        json_text_member(json, "name", text_of(config->listeners[i].name));
        json_text_member(json, "address", text_of(config->listeners[i].address));
        json_name(json, "serve");
        json_open(json, '[');
        for (size_t j = 0; j < sizeof words / sizeof *words; j++)
            if ((config->listeners[i].serve & words[j].bit) != 0)
                json_text(json, text_of(words[j].name));
        json_close(json, ']');
        json_bool_member(json, "tls", config->listeners[i].has_tls);
        json_close(json, '}');
    }
    json_close(json, ']');
}

void admin_overview(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    json_open(&json, '{');
    json_text_member(&json, "version", TEXT(PROGRAM_VERSION));
    json_int_member(&json, "pid", getppid()); /* the supervisor: who gets the signals */
    json_int_member(&json, "service_pid", getpid());
    json_text_member(&json, "state",
                     service_is_draining(service) ? TEXT("draining") : TEXT("serving"));
    json_time_member(&json, "started_at", service->started_wall_us);
    json_int_member(&json, "uptime_s", (int64_t)((clock_now_us() - service->started_us) / 1000000));
    json_int_member(&json, "generation", (int64_t)config->generation);
    json_name(&json, "config");
    if (config->path != NULL)
        json_text(&json, text_of(config->path));
    else
        json_null(&json);
    write_reload(service, &json);
    write_workers(service, &json);
    write_listeners(config, &json);
    write_targets(config, &json);
    write_ledger(service, &json);
    write_limits(service, &json);
    write_roster(service, &json);
    write_cache(service, &json);
    json_close(&json, '}');
    admin_done(call, &json);
}

void admin_targets(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    (void)service;
    json_open(&json, '{');
    write_targets(config, &json);
    json_close(&json, '}');
    admin_done(call, &json);
}

/* Nano-dollars per million tokens; null when nothing is known. */
static void write_price(const struct price *price, struct json_write *json)
{
    json_name(json, "price");
    if (!price->known) {
        json_null(json);
        return;
    }
    json_open(json, '{');
    json_int_member(json, "input", price->input);
    json_int_member(json, "cached_input", price->cached_input);
    json_int_member(json, "cache_write", price->cache_write);
    json_int_member(json, "output", price->output);
    json_int_member(json, "reasoning", price->reasoning);
    json_int_member(json, "request", price->request);
    json_int_member(json, "version", price->version);
    for (enum service_tier tier = SERVICE_PRIORITY; tier < SERVICE_TIERS; tier++) {
        const struct service_price *service = &price->services[tier];
        if (!service->input && !service->output)
            continue;
        json_name(json, service_tier_name(tier));
        json_open(json, '{');
        json_int_member(json, "input", service->input);
        json_int_member(json, "cached_input", service->cached_input);
        json_int_member(json, "output", service->output);
        json_close(json, '}');
    }
    json_close(json, '}');
}

/* Where it runs is not for tenants. */
static void write_model(const struct route *route, bool with_targets, struct json_write *json)
{
    json_open(json, '{');
    json_text_member(json, "name", route->name);
    json_text_member(json, "description", route->description);
    json_int_member(json, "context_window", route->context_window);
    json_name(json, "aliases");
    json_open(json, '[');
    for (size_t i = 0; i < route->alias_count; i++)
        json_text(json, route->aliases[i]);
    json_close(json, ']');
    json_name(json, "targets");
    json_open(json, '[');
    for (size_t i = 0; with_targets && i < route->target_count; i++) {
        json_open(json, '{');
        json_text_member(json, "id", route->targets[i].id);
        json_text_member(json, "provider", route->targets[i].provider->name);
        json_text_member(json, "model", route->targets[i].model);
        json_bool_member(json, "off", route->targets[i].off);
        if (route->targets[i].off && route->targets[i].off_because != NULL)
            json_text_member(json, "off_because", text_of(route->targets[i].off_because));
        write_price(&route->targets[i].price, json);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_close(json, '}');
}

void admin_models(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    (void)service;
    struct key any = {.tenant =
                          directory_find_tenant(call->directory, text_of(call->caller.tenant))};
    bool sees_all = call->caller.role != ADMIN_ROLE_TENANT;
    json_open(&json, '{');
    json_name(&json, "models");
    json_open(&json, '[');
    for (size_t i = 0; i < config->model_count; i++)
        if (sees_all || (any.tenant != NULL && key_may_call(&any, config->models[i].name)))
            write_model(&config->models[i], sees_all, &json);
    json_close(&json, ']');
    json_close(&json, '}');
    admin_done(call, &json);
}

void admin_drain(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    service_drain(service);
    json_open(&json, '{');
    json_text_member(&json, "state", TEXT("draining"));
    json_int_member(&json, "pid", getppid());
    json_int_member(&json, "drain_delay_ms", config->drain_delay_us / 1000);
    json_int_member(&json, "grace_ms", config->grace_us / 1000);
    json_close(&json, '}');
    admin_done(call, &json);
    call->status = 202;
}
