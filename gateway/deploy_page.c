/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/deploy_page.h"

#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/config/config.h"
#include "gateway/made/made.h"

enum { MICROS = 1000000, MILLIS = 1000, WORD_BYTES = 32, LABEL_NAME_BYTES = 320, PAGE_EVENTS = 20 };

struct deployment_spec *deploy_spec(const struct config *config, struct text name)
{
    for (size_t i = 0; i < config->deploy.spec_count; i++)
        if (text_equal(config->deploy.specs[i]->name, name))
            return config->deploy.specs[i];
    for (size_t i = 0; i < config->deploy.spec_count; i++)
        if (text_equal(config->deploy.specs[i]->id, name))
            return config->deploy.specs[i];
    return NULL;
}

/* ------------------------------------------------------------------------------ what is wanted */

static const char *const launchers[] = {
    [LAUNCH_BY_PROCESS] = "process",
    [LAUNCH_BY_DOCKER] = "docker",
    [LAUNCH_BY_KUBERNETES] = "kubernetes",
};
static const char *const engines[] = {
    [ENGINE_OPENAI] = "openai", [ENGINE_LLAMA_CPP] = "llama-cpp",
    [ENGINE_VLLM] = "vllm",     [ENGINE_SGLANG] = "sglang",
    [ENGINE_TGI] = "tgi",       [ENGINE_LORAX] = "lorax",
};
static const char *const hold_policies[] = {
    [HOLD_WAIT] = "hold",
    [HOLD_REJECT] = "reject",
    [HOLD_FALLBACK] = "fallback",
};
static const char *const eviction_policies[] = {
    [EVICT_BY_COST] = "cost",
    [EVICT_OLDEST] = "lru",
    [EVICT_BY_SIZE] = "size",
};
static const char *const strategies[] = {
    [ROLL_ROLLING] = "rolling",
    [ROLL_CANARY] = "canary",
    [ROLL_RECREATE] = "recreate",
};

static void put_text(struct json_write *json, const char *name, struct text value)
{
    if (value.len)
        json_text_member(json, name, value);
}

/* As the configuration writes it. */
static void put_time(struct json_write *json, const char *name, int64_t us)
{
    char word[WORD_BYTES];
    bool whole = us % MICROS == 0;
    snprintf(word, sizeof(word), "%lld%s", (long long)(whole ? us / MICROS : us / MILLIS),
             whole ? "s" : "ms");
    json_text_member(json, name, text_of(word));
}

static void put_share(struct json_write *json, const char *name, unsigned permille)
{
    char word[WORD_BYTES];
    snprintf(word, sizeof(word), "%u.%03u", permille / 1000, permille % 1000);
    json_name(json, name);
    json_raw(json, text_of(word));
}

static void put_start(struct json_write *json, const struct deployment_spec *spec)
{
    json_text_member(json, "launcher", text_of(launchers[spec->launcher]));
    put_text(json, "node", spec->node);
    json_name(json, "command");
    json_open(json, '[');
    for (size_t i = 0; i < spec->command_count; i++)
        json_text(json, spec->command[i]);
    json_close(json, ']');
    put_text(json, "image", spec->image);
    if (spec->image.len)
        json_int_member(json, "container_port", spec->container_port);
    json_text_member(json, "engine", text_of(engines[spec->engine]));
    put_text(json, "served_name", spec->served_name);
    put_text(json, "prompt_template", spec->prompt_template);
    json_name(json, "env");
    json_open(json, '{');
    for (size_t i = 0; i < spec->env_count; i++) {
        char name[128];
        snprintf(name, sizeof(name), "%.*s", TEXT_ARGS(text_head(spec->env[i].name, 127)));
        json_text_member(json, name, TEXT("********"));
    }
    json_close(json, '}');
}

static void put_volumes(struct json_write *json, const struct deployment_spec *spec)
{
    json_name(json, "volumes");
    json_open(json, '[');
    for (size_t i = 0; i < spec->pod.volume_count; i++) {
        const struct spec_volume *volume = &spec->pod.volumes[i];
        json_open(json, '{');
        json_text_member(json, "path", volume->path);
        put_text(json, "claim", volume->claim);
        put_text(json, "host_path", volume->host_path);
        if (volume->claim.len || volume->host_path.len)
            json_bool_member(json, "read_only", volume->read_only);
        else
            json_int_member(json, "size", volume->size_bytes);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void put_tolerations(struct json_write *json, const struct deployment_spec *spec)
{
    json_name(json, "tolerations");
    json_open(json, '[');
    for (size_t i = 0; i < spec->pod.toleration_count; i++) {
        json_open(json, '{');
        put_text(json, "key", spec->pod.tolerations[i].key);
        put_text(json, "value", spec->pod.tolerations[i].value);
        put_text(json, "effect", spec->pod.tolerations[i].effect);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void put_pod(struct json_write *json, const struct deployment_spec *spec)
{
    if (spec->launcher != LAUNCH_BY_KUBERNETES)
        return;
    json_name(json, "kubernetes");
    json_open(json, '{');
    put_text(json, "workload", spec->pod.workload);
    put_volumes(json, spec);
    json_name(json, "node_selector");
    json_open(json, '{');
    for (size_t i = 0; i < spec->pod.selector_count; i++) {
        char name[LABEL_NAME_BYTES];
        snprintf(name, sizeof(name), "%.*s", TEXT_ARGS(spec->pod.selector[i].name));
        json_text_member(json, name, spec->pod.selector[i].value);
    }
    json_close(json, '}');
    put_tolerations(json, spec);
    put_text(json, "gpu_resource", spec->pod.gpu_resource);
    json_close(json, '}');
}

static void put_sizes(struct json_write *json, const struct deployment_spec *spec)
{
    char cpus[WORD_BYTES];
    json_name(json, "resources");
    json_open(json, '{');
    json_int_member(json, "memory", spec->resources.memory_bytes);
    json_int_member(json, "vram", spec->resources.vram_bytes);
    snprintf(cpus, sizeof(cpus), "%lld.%03lld", (long long)(spec->resources.cpus_milli / 1000),
             (long long)(spec->resources.cpus_milli % 1000));
    json_name(json, "cpus");
    json_raw(json, text_of(cpus));
    json_int_member(json, "gpus", spec->resources.gpus);
    json_close(json, '}');
    json_name(json, "scaling");
    json_open(json, '{');
    json_int_member(json, "min", spec->scaling.min);
    json_int_member(json, "max", spec->scaling.max);
    json_int_member(json, "parallel", spec->scaling.parallel);
    put_share(json, "target", spec->scaling.target_permille);
    put_time(json, "up_window", spec->scaling.up_window_us);
    put_time(json, "down_delay", spec->scaling.down_delay_us);
    put_time(json, "idle_stop", spec->scaling.idle_stop_us);
    json_text_member(json, "idle_action", spec->sleep_first ? TEXT("sleep") : TEXT("stop"));
    json_close(json, '}');
}

static void put_manners(struct json_write *json, const struct deployment_spec *spec)
{
    json_name(json, "probe");
    json_open(json, '{');
    json_text_member(json, "path", spec->probe.path);
    put_time(json, "interval", spec->probe.interval_us);
    put_time(json, "liveness", spec->probe.liveness_us);
    json_int_member(json, "failures", spec->probe.failures);
    put_time(json, "start_timeout", spec->probe.start_timeout_us);
    json_close(json, '}');
    json_name(json, "hold");
    json_open(json, '{');
    json_int_member(json, "max_requests", spec->hold.max_requests);
    json_int_member(json, "max_bytes", spec->hold.max_bytes);
    put_time(json, "timeout", spec->hold.timeout_us);
    json_text_member(json, "policy", text_of(hold_policies[spec->hold.policy]));
    json_close(json, '}');
    json_name(json, "eviction");
    json_open(json, '{');
    json_text_member(json, "policy", text_of(eviction_policies[spec->eviction.policy]));
    json_int_member(json, "priority", spec->eviction.priority);
    json_bool_member(json, "pin", spec->eviction.pin);
    put_time(json, "min_residency", spec->eviction.min_residency_us);
    json_close(json, '}');
    json_name(json, "restart");
    json_open(json, '{');
    put_time(json, "backoff", spec->restart.backoff_us);
    put_time(json, "max_backoff", spec->restart.max_backoff_us);
    json_int_member(json, "max_restarts", spec->restart.max_restarts);
    json_close(json, '}');
    json_name(json, "stop");
    json_open(json, '{');
    put_time(json, "drain", spec->stop.drain_us);
    put_time(json, "grace", spec->stop.grace_us);
    json_close(json, '}');
}

static void put_rollout(struct json_write *json, const struct deployment_spec *spec)
{
    json_name(json, "rollout");
    json_open(json, '{');
    json_text_member(json, "strategy", text_of(strategies[spec->rollout.strategy]));
    json_int_member(json, "surge", spec->rollout.surge);
    json_bool_member(json, "auto_rollback", spec->rollout.auto_rollback);
    if (spec->rollout.strategy == ROLL_CANARY) {
        json_name(json, "steps");
        json_open(json, '[');
        for (unsigned i = 0; i < spec->rollout.step_count; i++) {
            char word[WORD_BYTES];
            unsigned permille = spec->rollout.step_permille[i];
            snprintf(word, sizeof(word), "%u.%03u", permille / 1000, permille % 1000);
            json_raw(json, text_of(word));
        }
        json_close(json, ']');
        put_time(json, "step", spec->rollout.step_us);
        put_share(json, "max_errors", spec->rollout.max_errors_permille);
        put_share(json, "max_slowdown", spec->rollout.max_slowdown_permille);
        json_int_member(json, "min_requests", spec->rollout.min_requests);
    }
    put_time(json, "deadline", spec->rollout.deadline_us);
    json_close(json, '}');
    json_name(json, "adapters");
    json_open(json, '[');
    for (size_t i = 0; i < spec->adapter_count; i++) {
        json_open(json, '{');
        json_text_member(json, "name", spec->adapters[i].name);
        json_text_member(json, "source", spec->adapters[i].source);
        json_close(json, '}');
    }
    json_close(json, ']');
    if (spec->max_spend_nanos || spec->max_age_us) {
        json_name(json, "limits");
        json_open(json, '{');
        if (spec->max_spend_nanos)
            json_int_member(json, "max_spend_nanos", spec->max_spend_nanos);
        if (spec->max_age_us)
            put_time(json, "max_age", spec->max_age_us);
        json_close(json, '}');
    }
}

static void put_spec(struct json_write *json, const struct deployment_spec *spec)
{
    json_name(json, "spec");
    json_open(json, '{');
    json_text_member(json, "name", spec->name);
    put_start(json, spec);
    put_pod(json, spec);
    put_sizes(json, spec);
    put_manners(json, spec);
    put_rollout(json, spec);
    json_close(json, '}');
}

/* ------------------------------------------------------------------------------ how it stands */

static void put_replica(struct json_write *json, const struct deployment_replica_page *replica)
{
    json_open(json, '{');
    json_text_member(json, "name", text_of(replica->name));
    json_text_member(json, "state", text_of(replica_state_name(replica->state)));
    json_text_member(json, "node", text_of(replica->node));
    if (replica->is_elsewhere)
        json_bool_member(json, "elsewhere", true);
    put_text(json, "address", text_of(replica->address));
    json_int_member(json, "revision", replica->revision);
    json_int_member(json, "restarts", replica->restarts);
    json_int_member(json, "in_flight", replica->in_flight);
    json_int_member(json, "memory_bytes", replica->memory_bytes);
    json_int_member(json, "for_ms", replica->since_ms);
    if (replica->progress_permille >= 0)
        put_share(json, "progress", (unsigned)replica->progress_permille);
    put_text(json, "reason", text_of(replica->reason));
    put_text(json, "message", text_of(replica->words));
    json_close(json, '}');
}

static void put_replicas(struct json_write *json, const struct deployment_page *page)
{
    json_name(json, "replicas");
    json_open(json, '[');
    for (size_t i = 0; i < page->replica_count; i++)
        put_replica(json, &page->replicas[i]);
    json_close(json, ']');
    json_name(json, "adapters");
    json_open(json, '[');
    for (size_t i = 0; i < page->adapter_count; i++) {
        const struct deployment_adapter_page *adapter = &page->adapters[i];
        json_open(json, '{');
        json_text_member(json, "name", text_of(adapter->name));
        json_int_member(json, "ready", adapter->ready);
        json_int_member(json, "loading", adapter->loading);
        json_int_member(json, "failed", adapter->failed);
        put_text(json, "message", text_of(adapter->words));
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void put_standing(struct json_write *json, const struct deployment_page *page)
{
    const struct fleet_view *view = &page->view;
    json_text_member(json, "state", text_of(deployment_state_name(view->state)));
    put_text(json, "reason", text_of(view->reason));
    put_text(json, "message", text_of(view->words));
    json_int_member(json, "revision", view->revision);
    json_int_member(json, "stable_revision", view->stable);
    if (view->canary_permille)
        put_share(json, "canary_share", view->canary_permille);
    put_text(json, "rolled_back", text_of(view->rejected_for));
    json_int_member(json, "wanted", view->wanted);
    json_int_member(json, "ready", view->ready);
    json_int_member(json, "min", view->min);
    json_int_member(json, "max", view->max);
    json_int_member(json, "restarts", view->restarts);
    if (view->progress_permille >= 0 || view->eta_us >= 0) {
        json_name(json, "loading");
        json_open(json, '{');
        if (view->progress_permille >= 0)
            put_share(json, "progress", (unsigned)view->progress_permille);
        if (view->eta_us >= 0)
            json_int_member(json, "eta_seconds", (view->eta_us + MICROS - 1) / MICROS);
        json_close(json, '}');
    }
    json_name(json, "queue");
    json_open(json, '{');
    json_int_member(json, "held", page->slots.held);
    json_int_member(json, "held_bytes", page->slots.held_bytes);
    json_int_member(json, "in_flight", page->slots.in_flight);
    json_int_member(json, "places", page->slots.places);
    json_int_member(json, "calls", (int64_t)page->slots.calls);
    json_int_member(json, "failures", (int64_t)page->slots.failures);
    json_close(json, '}');
    json_name(json, "cost");
    json_open(json, '{');
    json_int_member(json, "nanos_per_hour", view->nanos_per_hour);
    json_int_member(json, "spent_nanos", view->spent_nanos);
    json_int_member(json, "saved_nanos", view->saved_nanos);
    json_close(json, '}');
}

void deploy_write_event(struct json_write *json, const struct deployment_event *event)
{
    json_open(json, '{');
    json_int_member(json, "id", (int64_t)event->number);
    json_time_member(json, "at", event->at_us);
    put_text(json, "replica", text_of(event->replica));
    json_text_member(json, "reason", text_of(event->reason));
    put_text(json, "message", text_of(event->words));
    json_close(json, '}');
}

void deploy_write(struct json_write *json, const struct deployment_spec *spec,
                  struct deployments *desk, const struct made_deployment *made, bool whole)
{
    struct deployment_page *page = desk ? deployments_page(desk, spec->name) : NULL;
    json_open(json, '{');
    json_text_member(json, "name", spec->name);
    json_text_member(json, "id", spec->id);
    put_text(json, "tenant", spec->tenant);
    json_text_member(json, "origin", made ? TEXT("api") : TEXT("file"));
    if (made) {
        json_int_member(json, "version", made->version);
        json_time_member(json, "created_at", made->made_us);
        json_time_member(json, "changed_at", made->changed_us);
        put_text(json, "changed_by", made->by);
    }
    if (page)
        put_standing(json, page);
    else
        json_text_member(json, "state", TEXT("queued"));
    if (whole && page)
        put_replicas(json, page);
    if (whole)
        put_spec(json, spec);
    json_close(json, '}');
    deployment_page_free(page);
}
