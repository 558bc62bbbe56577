/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * spec - what is wanted: the deployments and the nodes that the configuration and the admin API
 * declare. A door of deploy/models.
 *
 * Immutable once made. A spec owns all it points to and is counted, since replicas of an earlier
 * revision go on after the configuration has moved; one thread makes it, any may hold it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

enum launcher_word { LAUNCH_BY_PROCESS, LAUNCH_BY_DOCKER, LAUNCH_BY_KUBERNETES };
enum engine {
    ENGINE_OPENAI,
    ENGINE_LLAMA_CPP,
    ENGINE_VLLM,
    ENGINE_SGLANG,
    ENGINE_TGI,
    ENGINE_LORAX
};
enum hold_policy { HOLD_WAIT, HOLD_REJECT, HOLD_FALLBACK };
enum eviction_policy { EVICT_BY_COST, EVICT_OLDEST, EVICT_BY_SIZE };
enum rollout_strategy { ROLL_ROLLING, ROLL_CANARY, ROLL_RECREATE };

enum {
    SPEC_NAME_MAX = 63,     /* a DNS label: Kubernetes names come of it */
    SPEC_REPLICAS_MAX = 64, /* of one deployment */
    SPEC_DEPLOYMENTS_MAX = 1024,
    SPEC_NODES_MAX = 256,
    SPEC_ADAPTERS_MAX = 64,
    SPEC_STEPS_MAX = 8,
};

/* What a replica takes, and what a node has. 0 of a node = not bounded. */
struct resources {
    int64_t memory_bytes, vram_bytes;
    int64_t cpus_milli;
    int64_t gpus;
};

struct node_spec {
    struct text name;
    enum launcher_word launcher;
    struct text endpoint;   /* unix:/…, tcp://…, https://…, in-cluster; or empty */
    struct text name_space; /* kubernetes */
    struct text ca_file, cert_file, key_file, token_file;
    struct resources has;
    int64_t price_nanos_per_hour;
};

struct spec_pair {
    struct text name, value;
};

struct adapter_spec {
    struct text name,
        source; /* source: a path that the server can read, or what its engine takes */
};

/* Of a pod: a claim, a folder of its machine, or an empty one that is gone with the pod. */
struct spec_volume {
    struct text path; /* where it is in the container */
    struct text claim, host_path;
    int64_t size_bytes; /* of an empty one, at most; 0 = not bounded */
    bool read_only;
};

struct spec_toleration {
    struct text key, value, effect; /* empty = any */
};

/* One revision of one deployment. */
struct deployment_spec {
    unsigned references;
    struct text name;
    struct text id;     /* of the API; the name where the file declares it */
    struct text tenant; /* whose it is; empty = the operator's */
    struct text token;  /* of its own endpoint, or empty */
    struct text token_digest;
    enum launcher_word launcher;
    struct text node;           /* only there; empty = any of its launcher */
    const struct text *command; /* argv; docker and kubernetes: the image's arguments */
    size_t command_count;
    struct text image, registry_user, registry_password;
    struct {
        const struct spec_volume *volumes;
        const struct spec_pair *selector; /* labels of the machines that it may go to */
        const struct spec_toleration *tolerations;
        size_t volume_count, selector_count, toleration_count;
        struct text workload; /* a Deployment of somebody else's that is scaled instead; or empty */
        struct text gpu_resource; /* what a GPU is called there; empty = nvidia.com/gpu */
    } pod;                        /* kubernetes */
    unsigned container_port;      /* docker, kubernetes: what it listens at; 0 = 8080 */
    enum engine engine;
    struct text served_name; /* what the server calls the model; empty = whatever it lists first */
    struct text prompt_template; /* of Monster's /generate; or empty */
    const struct spec_pair *env;
    size_t env_count;
    struct resources resources; /* of one replica */
    struct {
        struct text path;
        int64_t interval_us, liveness_us, start_timeout_us;
        unsigned failures;
    } probe;
    struct {
        unsigned min, max, parallel, target_permille;
        int64_t up_window_us, down_delay_us, idle_stop_us;
    } scaling;
    struct {
        unsigned max_requests;
        int64_t max_bytes, timeout_us;
        enum hold_policy policy;
    } hold;
    struct {
        enum eviction_policy policy;
        int priority;
        bool pin;
        int64_t min_residency_us;
    } eviction;
    struct {
        int64_t backoff_us, max_backoff_us;
        unsigned max_restarts;
    } restart;
    struct {
        enum rollout_strategy strategy;
        unsigned surge;
        bool auto_rollback;
        unsigned step_permille[SPEC_STEPS_MAX]; /* canary: shares of the calls, in order */
        unsigned step_count;
        int64_t step_us; /* how long each lasts at least */
        unsigned max_errors_permille, min_requests;
        unsigned max_slowdown_permille; /* canary: of the time to the first token; 0 = any */
        int64_t deadline_us;            /* to get ready, else it is rolled back */
    } rollout;
    const struct adapter_spec *adapters;
    size_t adapter_count;
    struct {
        int64_t drain_us, grace_us;
    } stop;
    int64_t max_spend_nanos, max_age_us; /* 0 = no end */
    bool sleep_first;                    /* the engine's own sleep before it is stopped */
    uint64_t digest;                     /* of all that a running replica cannot take over */
};

struct deployment_spec *spec_ref(struct deployment_spec *spec);
void spec_unref(struct deployment_spec *spec);
/* A copy that owns all it points to, with one reference. */
struct deployment_spec *spec_copy(const struct deployment_spec *from);
/* Over all of what would need a new replica when it changes: launcher, node, command, image, port,
 * engine, name, what is wanted of pods, environment, resources, probe path, and the adapters of
 * engines that only take them when they start. Not over scaling, hold, eviction, rollout, limits.
 * Never 0. */
uint64_t spec_digest(const struct deployment_spec *spec);
