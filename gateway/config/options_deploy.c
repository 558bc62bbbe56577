/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/document.h"
#include "gateway/config/options.h"

/* Rows of `deployments`. */

#define NODE(member)       offsetof(struct machine_draft, member)
#define SPEC(member)       offsetof(struct deployment_draft, spec.member)
#define DRAFT(member)      offsetof(struct deployment_draft, member)
#define ADAPTER(member)    offsetof(struct adapter_draft, member)
#define VOLUME(member)     offsetof(struct volume_draft, member)
#define TOLERATION(member) offsetof(struct toleration_draft, member)
#define ATTACH(member)     offsetof(struct attachment_draft, member)

/* clang-format off */

static const struct option node[] = {
    {.name = "name", .type = OPTION_NAME, .where = NODE(spec.name), .required = true, .help = "Unique."},
    {.name = "launcher", .type = OPTION_WORD, .where = NODE(launcher), .fallback = "process", .words = "process|docker|kubernetes", .help = "How model servers are started there."},
    {.name = "endpoint", .type = OPTION_TEXT, .where = NODE(spec.endpoint), .fallback = "null", .help = "docker: unix:/PATH (default /var/run/docker.sock), tcp://HOST:PORT or https://HOST:PORT; kubernetes: in-cluster (default) or https://HOST:PORT."},
    {.name = "namespace", .type = OPTION_TEXT, .where = NODE(spec.name_space), .fallback = "null", .help = "kubernetes; default: that of the service account, else default."},
    {.name = "ca_file", .type = OPTION_PATH, .where = NODE(ca_file), .fallback = "null", .help = "For https: authorities, PEM."},
    {.name = "cert_file", .type = OPTION_PATH, .where = NODE(cert_file), .fallback = "null", .help = "For https: client certificate, PEM."},
    {.name = "key_file", .type = OPTION_PATH, .where = NODE(key_file), .fallback = "null", .help = "For https: its key, PEM."},
    {.name = "token_file", .type = OPTION_PATH, .where = NODE(token_file), .fallback = "null", .help = "kubernetes: a bearer token, read again each minute."},
    {.name = "memory", .type = OPTION_SIZE, .where = NODE(memory), .fallback = "0", .help = "Budget; 0 = not bounded."},
    {.name = "vram", .type = OPTION_SIZE, .where = NODE(vram), .fallback = "0", .help = "Budget; 0 = not bounded."},
    {.name = "cpus", .type = OPTION_PRICE, .where = NODE(cpus), .fallback = "0", .help = "Budget; 0 = not bounded."},
    {.name = "gpus", .type = OPTION_COUNT, .where = NODE(gpus), .fallback = "0", .min = 0, .max = 4096, .help = "Budget; 0 = not bounded."},
    {.name = "price_per_hour", .type = OPTION_MONEY, .where = NODE(spec.price_nanos_per_hour), .fallback = "0.00 USD", .help = "What it costs while it runs a replica that takes all of it; the cheapest node that fits is taken."},
    {0},
};

static const struct option resources[] = {
    {.name = "memory", .type = OPTION_SIZE, .where = DRAFT(memory), .fallback = "0", .help = "Of one replica; it is ended when it takes more. 0 = not bounded, and what it took the last time is counted."},
    {.name = "vram", .type = OPTION_SIZE, .where = DRAFT(vram), .fallback = "0", .help = "Of one replica."},
    {.name = "cpus", .type = OPTION_PRICE, .where = DRAFT(cpus), .fallback = "0", .help = "Of one replica."},
    {.name = "gpus", .type = OPTION_COUNT, .where = DRAFT(gpus), .fallback = "0", .min = 0, .max = 4096, .help = "Of one replica."},
    {0},
};

static const struct option probe[] = {
    {.name = "path", .type = OPTION_TEXT, .where = SPEC(probe.path), .fallback = "/health", .help = "Asked by GET; 200 = well."},
    {.name = "interval", .type = OPTION_DURATION, .where = SPEC(probe.interval_us), .fallback = "250ms", .min = 10 * MILLISECOND, .max = SECONDS(3600), .help = "While it starts."},
    {.name = "liveness", .type = OPTION_DURATION, .where = SPEC(probe.liveness_us), .fallback = "5s", .min = 10 * MILLISECOND, .max = SECONDS(3600), .help = "While it runs."},
    {.name = "failures", .type = OPTION_COUNT, .where = SPEC(probe.failures), .fallback = "3", .min = 1, .max = 1000, .help = "In a row, then it is dead."},
    {.name = "start_timeout", .type = OPTION_DURATION, .where = SPEC(probe.start_timeout_us), .fallback = "5m", .min = SECONDS(1), .max = DAYS(1), .help = "Then the start has failed."},
    {0},
};

static const struct option scaling[] = {
    {.name = "min", .type = OPTION_COUNT, .where = SPEC(scaling.min), .fallback = "0", .min = 0, .max = SPEC_REPLICAS_MAX, .help = "Replicas that always run; 0 = the first call starts one."},
    {.name = "max", .type = OPTION_COUNT, .where = SPEC(scaling.max), .fallback = "1", .min = 1, .max = SPEC_REPLICAS_MAX, .help = "Replicas."},
    {.name = "parallel", .type = OPTION_COUNT, .where = SPEC(scaling.parallel), .fallback = "8", .min = 1, .max = 100000, .help = "Calls that one replica takes at once; {parallel} in its command."},
    {.name = "target", .type = OPTION_SHARE, .where = DRAFT(target_share), .fallback = "0.7", .help = "Share of them in use."},
    {.name = "up_window", .type = OPTION_DURATION, .where = SPEC(scaling.up_window_us), .fallback = "6s", .min = 0, .max = SECONDS(3600), .help = "Before one more."},
    {.name = "down_delay", .type = OPTION_DURATION, .where = SPEC(scaling.down_delay_us), .fallback = "5m", .min = 0, .max = DAYS(1), .help = "Before one less."},
    {.name = "idle_stop", .type = OPTION_DURATION, .where = SPEC(scaling.idle_stop_us), .fallback = "15m", .min = 0, .max = DAYS(30), .help = "After its last call, with min: 0; 0 = only when its room is wanted."},
    {.name = "idle_action", .type = OPTION_WORD, .where = DRAFT(idle_action), .fallback = "stop", .words = "stop|sleep", .help = "What happens then: sleep = the engine's own sleep first (vllm)."},
    {0},
};

static const struct option hold[] = {
    {.name = "max_requests", .type = OPTION_COUNT, .where = SPEC(hold.max_requests), .fallback = "256", .min = 0, .max = 1000000, .help = "Waiting for a place; 503 above it."},
    {.name = "max_bytes", .type = OPTION_SIZE, .where = DRAFT(hold_bytes), .fallback = "64MiB", .min = 0, .max = GIB(64), .help = "Of their bodies."},
    {.name = "timeout", .type = OPTION_DURATION, .where = SPEC(hold.timeout_us), .fallback = "60s", .min = 0, .max = DAYS(1), .help = "At most; then 503 with Retry-After."},
    {.name = "policy", .type = OPTION_WORD, .where = DRAFT(hold_policy), .fallback = "hold", .words = "hold|reject|fallback", .help = "What happens meanwhile: wait; 503 at once; or another target of the model, or its policy's fallback, answers where there is one."},
    {0},
};

static const struct option eviction[] = {
    {.name = "policy", .type = OPTION_WORD, .where = DRAFT(eviction_policy), .fallback = "cost", .words = "cost|lru|size", .help = "Which goes first when another one needs the room."},
    {.name = "priority", .type = OPTION_COUNT, .where = DRAFT(priority), .fallback = "0", .min = 0, .max = 1000, .help = "Higher stays longer."},
    {.name = "pin", .type = OPTION_BOOL, .where = SPEC(eviction.pin), .fallback = "false", .help = "Never evicted."},
    {.name = "min_residency", .type = OPTION_DURATION, .where = SPEC(eviction.min_residency_us), .fallback = "30s", .min = 0, .max = DAYS(30), .help = "Not before."},
    {0},
};

static const struct option restart[] = {
    {.name = "backoff", .type = OPTION_DURATION, .where = SPEC(restart.backoff_us), .fallback = "1s", .min = 0, .max = DAYS(1), .help = "Doubled each time, with jitter."},
    {.name = "max_backoff", .type = OPTION_DURATION, .where = SPEC(restart.max_backoff_us), .fallback = "5m", .min = 0, .max = DAYS(1), .help = "At most."},
    {.name = "max_restarts", .type = OPTION_COUNT, .where = SPEC(restart.max_restarts), .fallback = "10", .min = 0, .max = 1000000, .help = "Then it has failed; a call tries again, once in max_backoff."},
    {0},
};

static const struct option rollout[] = {
    {.name = "strategy", .type = OPTION_WORD, .where = DRAFT(strategy), .fallback = "rolling", .words = "rolling|canary|recreate", .help = "How a new revision comes."},
    {.name = "surge", .type = OPTION_COUNT, .where = SPEC(rollout.surge), .fallback = "1", .min = 0, .max = SPEC_REPLICAS_MAX, .help = "Replicas more than wanted meanwhile."},
    {.name = "auto_rollback", .type = OPTION_BOOL, .where = SPEC(rollout.auto_rollback), .fallback = "true", .help = "When it does not get well, or fails more calls than the old one, or is later."},
    {.name = "steps", .type = OPTION_TEXTS, .where = DRAFT(steps), .fallback = "[0.05, 0.25, 0.5]", .help = "canary: shares of the calls, in order; at most 8."},
    {.name = "step", .type = OPTION_DURATION, .where = SPEC(rollout.step_us), .fallback = "1m", .min = MILLISECOND, .max = DAYS(30), .help = "canary: how long each of them lasts at least."},
    {.name = "max_errors", .type = OPTION_SHARE, .where = DRAFT(max_errors), .fallback = "0.05", .help = "canary: share of its calls that may fail beyond that of the old revision."},
    {.name = "max_slowdown", .type = OPTION_PRICE, .where = DRAFT(max_slowdown), .fallback = "2", .help = "canary: how many times as late as those of the old revision its first tokens may come (at least 20 ms, and beyond chance; not judged in the first quarter of a step, while its cache is cold); 0 = any."},
    {.name = "min_requests", .type = OPTION_COUNT, .where = SPEC(rollout.min_requests), .fallback = "20", .min = 1, .max = 1000000, .help = "canary: before so many calls of a step it is not judged."},
    {.name = "deadline", .type = OPTION_DURATION, .where = SPEC(rollout.deadline_us), .fallback = "15m", .min = SECONDS(1), .max = DAYS(30), .help = "For the new revision to get ready; then it is rolled back."},
    {0},
};

static const struct option adapter[] = {
    {.name = "name", .type = OPTION_NAME, .where = ADAPTER(spec.name), .required = true, .help = "Callable as DEPLOYMENT:NAME."},
    {.name = "source", .type = OPTION_TEXT, .where = ADAPTER(spec.source), .required = true, .help = "A path that the server can read, or what its engine takes."},
    {0},
};

static const struct option stop[] = {
    {.name = "drain", .type = OPTION_DURATION, .where = SPEC(stop.drain_us), .fallback = "2m", .min = 0, .max = DAYS(1), .help = "For calls that run."},
    {.name = "grace", .type = OPTION_DURATION, .where = SPEC(stop.grace_us), .fallback = "10s", .min = 0, .max = SECONDS(3600), .help = "From TERM to KILL."},
    {0},
};

static const struct option deployment_limits[] = {
    {.name = "max_spend", .type = OPTION_MONEY, .where = SPEC(max_spend_nanos), .fallback = "null", .help = "By its nodes' prices; then it is stopped."},
    {.name = "max_age", .type = OPTION_DURATION, .where = SPEC(max_age_us), .fallback = "null", .min = SECONDS(1), .max = LONGEST, .help = "Then it is stopped."},
    {0},
};

static const struct option deployment_price[] = {
    {.name = "input", .type = OPTION_PRICE, .where = DRAFT(price.input), .fallback = "0", .help = "USD per million tokens."},
    {.name = "output", .type = OPTION_PRICE, .where = DRAFT(price.output), .fallback = "0", .help = "USD per million tokens."},
    {0},
};

static const struct option attachment[] = {
    {.name = "model", .type = OPTION_NAME, .where = ATTACH(model), .required = true, .help = "Name of a model."},
    {.name = "priority", .type = OPTION_COUNT, .where = ATTACH(priority), .fallback = "1", .min = 0, .max = 1000, .help = "As a target there."},
    {.name = "weight", .type = OPTION_COUNT, .where = ATTACH(weight), .fallback = "1", .min = 0, .max = 1000000, .help = "As a target there."},
    {0},
};

static const struct option timeouts[] = {
    {.name = "first_byte", .type = OPTION_DURATION, .where = DRAFT(first_byte_us), .fallback = "5m", .min = 10 * MILLISECOND, .max = DAYS(1), .help = "From the dispatch of a call to its answer's first byte."},
    {.name = "total", .type = OPTION_DURATION, .where = DRAFT(total_us), .fallback = "10m", .min = 10 * MILLISECOND, .max = DAYS(7), .help = "Not for streams, which stream_idle ends. Time in the queue does not count."},
    {0},
};

static const struct option registry[] = {
    {.name = "user", .type = OPTION_TEXT, .where = SPEC(registry_user), .fallback = "null", .help = "Of the image's registry."},
    {.name = "password", .type = OPTION_TEXT, .where = SPEC(registry_password), .fallback = "null", .secret = true, .help = "Of the image's registry."},
    {0},
};

static const struct option volume[] = {
    {.name = "path", .type = OPTION_TEXT, .where = VOLUME(spec.path), .required = true, .help = "Where it is in the container."},
    {.name = "claim", .type = OPTION_TEXT, .where = VOLUME(spec.claim), .fallback = "null", .help = "A PersistentVolumeClaim of the namespace."},
    {.name = "host_path", .type = OPTION_TEXT, .where = VOLUME(spec.host_path), .fallback = "null", .help = "A path of the machine that the pod runs on. Neither: an empty volume, gone with its pod."},
    {.name = "size", .type = OPTION_SIZE, .where = VOLUME(size), .fallback = "0", .help = "Of an empty one, at most; 0 = not bounded."},
    {.name = "read_only", .type = OPTION_BOOL, .where = VOLUME(spec.read_only), .fallback = "true", .help = "Of a claim or host_path."},
    {0},
};

static const struct option toleration[] = {
    {.name = "key", .type = OPTION_TEXT, .where = TOLERATION(spec.key), .fallback = "null", .help = "Of a taint; default: every one."},
    {.name = "value", .type = OPTION_TEXT, .where = TOLERATION(spec.value), .fallback = "null", .help = "Only with this value."},
    {.name = "effect", .type = OPTION_WORD, .where = TOLERATION(effect), .fallback = "any", .words = "any|NoSchedule|PreferNoSchedule|NoExecute", .help = "Only this effect."},
    {0},
};

static const struct option pod[] = {
    {.name = "workload", .type = OPTION_TEXT, .where = SPEC(pod.workload), .fallback = "null", .help = "An apps/v1 Deployment that is there already, in the node's namespace: its replicas are scaled and its pods used, instead of pods of sluice's own. Without image and command."},
    {.name = "volumes", .type = OPTION_LIST, .where = DRAFT(volumes), .size = sizeof(struct volume_draft), .inner = volume, .help = "Such as where the files of models are."},
    {.name = "node_selector", .type = OPTION_PAIRS, .where = DRAFT(node_selector), .fallback = "{}", .help = "Labels of the machines that it may run on."},
    {.name = "tolerations", .type = OPTION_LIST, .where = DRAFT(tolerations), .size = sizeof(struct toleration_draft), .inner = toleration, .help = "Taints of machines that it may run on all the same."},
    {.name = "gpu_resource", .type = OPTION_TEXT, .where = SPEC(pod.gpu_resource), .fallback = "null", .help = "What resources.gpus are called there; default nvidia.com/gpu."},
    {0},
};

const struct option deployment_rows[] = {
    {.name = "name", .type = OPTION_NAME, .where = SPEC(name), .required = true, .help = "Callable as this, NAME:ADAPTER, NAME@REVISION. Lower-case letters, digits and -, at most 63."},
    {.name = "description", .type = OPTION_TEXT, .where = DRAFT(description), .fallback = "null", .help = "For people."},
    {.name = "launcher", .type = OPTION_WORD, .where = DRAFT(launcher), .fallback = "process", .words = "process|docker|kubernetes", .help = "How it is started."},
    {.name = "node", .type = OPTION_NAME, .where = SPEC(node), .fallback = "null", .help = "Only there; default: any node of its launcher."},
    {.name = "command", .type = OPTION_TEXTS, .where = DRAFT(command), .fallback = "[]", .help = "Never through a shell; {port} and {parallel} are filled in. docker, kubernetes: the image's arguments."},
    {.name = "image", .type = OPTION_TEXT, .where = SPEC(image), .fallback = "null", .help = "docker, kubernetes."},
    {.name = "registry", .type = OPTION_SECTION, .inner = registry, .help = "docker, kubernetes: where the image comes from, when that wants to know who asks."},
    {.name = "container_port", .type = OPTION_COUNT, .where = SPEC(container_port), .fallback = "8080", .min = 1, .max = 65535, .help = "docker, kubernetes: where the server in the image listens."},
    {.name = "kubernetes", .type = OPTION_SECTION, .inner = pod, .help = "kubernetes: what its pods want besides."},
    {.name = "engine", .type = OPTION_WORD, .where = DRAFT(engine), .fallback = "openai", .words = "openai|llama-cpp|vllm|sglang|tgi|lorax", .help = "What it speaks, its adapter calls."},
    {.name = "served_name", .type = OPTION_TEXT, .where = SPEC(served_name), .fallback = "null", .help = "What the server calls its model; default: what it lists first."},
    {.name = "prompt_template", .type = OPTION_TEXT, .where = SPEC(prompt_template), .fallback = "null", .help = "Of Monster's /generate, such as <s>[INST]{prompt}[/INST]."},
    {.name = "tenant", .type = OPTION_NAME, .where = SPEC(tenant), .fallback = "null", .help = "Whose it is: only its keys may call it, whatever their list of models says. Default: everybody's."},
    {.name = "token", .type = OPTION_TEXT, .where = SPEC(token), .fallback = "null", .secret = true, .help = "Opens the deployment's own endpoint /d/NAME/ and nothing else; with a tenant, whose calls these are. Default: there is no such endpoint."},
    {.name = "context_window", .type = OPTION_NUMBER, .where = DRAFT(context_tokens), .fallback = "null", .min = 1, .max = INT32_MAX, .help = "Tokens."},
    {.name = "capabilities", .type = OPTION_TEXTS, .where = DRAFT(capabilities), .fallback = "[]", .help = "As of a model."},
    {.name = "tags", .type = OPTION_TEXTS, .where = DRAFT(tags), .fallback = "[]", .help = "As of a target: where it is and what it is for."},
    {.name = "env", .type = OPTION_PAIRS, .where = DRAFT(env), .fallback = "{}", .secret = true, .help = "Its environment, besides PATH, HOME, LANG and the like; nothing else of sluice's own."},
    {.name = "resources", .type = OPTION_SECTION, .inner = resources, .help = "Of one replica."},
    {.name = "probe", .type = OPTION_SECTION, .inner = probe, .help = "When it is ready, when it is dead."},
    {.name = "scaling", .type = OPTION_SECTION, .inner = scaling, .help = "How many."},
    {.name = "hold", .type = OPTION_SECTION, .inner = hold, .help = "Calls that wait while it wakes, or is full."},
    {.name = "eviction", .type = OPTION_SECTION, .inner = eviction, .help = "Who makes room."},
    {.name = "restart", .type = OPTION_SECTION, .inner = restart, .help = "After a crash."},
    {.name = "rollout", .type = OPTION_SECTION, .inner = rollout, .help = "Of a new revision."},
    {.name = "adapters", .type = OPTION_LIST, .where = DRAFT(adapters), .size = sizeof(struct adapter_draft), .inner = adapter, .help = "LoRA."},
    {.name = "stop", .type = OPTION_SECTION, .inner = stop, .help = "How it ends."},
    {.name = "timeouts", .type = OPTION_SECTION, .inner = timeouts, .help = "Of one try, from its dispatch on."},
    {.name = "limits", .type = OPTION_SECTION, .inner = deployment_limits, .help = "Then it is stopped."},
    {.name = "price", .type = OPTION_SECTION, .inner = deployment_price, .help = "What its calls cost."},
    {.name = "attach_to", .type = OPTION_LIST, .where = DRAFT(attach_to), .size = sizeof(struct attachment_draft), .inner = attachment, .help = "Also a target of other models."},
    {0},
};

static const struct option profile[] = {
    {.name = "launcher", .type = OPTION_WORD, .where = offsetof(struct profile_draft, launcher), .fallback = "process", .words = "process|docker|kubernetes", .help = "How it is started."},
    {.name = "node", .type = OPTION_NAME, .where = offsetof(struct profile_draft, machine), .fallback = "null", .help = "Only there."},
    {.name = "engine", .type = OPTION_WORD, .where = offsetof(struct profile_draft, engine), .fallback = "openai", .words = "openai|llama-cpp|vllm|sglang|tgi|lorax", .help = "What it speaks."},
    {.name = "command", .type = OPTION_TEXTS, .where = offsetof(struct profile_draft, command), .fallback = "[]", .help = "{model}: the basemodel_path of the call."},
    {.name = "image", .type = OPTION_TEXT, .where = offsetof(struct profile_draft, image), .fallback = "null", .help = "docker, kubernetes."},
    {.name = "memory", .type = OPTION_SIZE, .where = offsetof(struct profile_draft, memory), .fallback = "0", .help = "Of one replica."},
    {.name = "models", .type = OPTION_PAIRS, .where = offsetof(struct profile_draft, models), .fallback = "{}", .help = "What a basemodel_path stands for here, such as a file; with any of these no other is taken."},
    {0},
};

static const struct option monster[] = {
    {.name = "profiles", .type = OPTION_MAPS, .where = offsetof(struct document, profiles), .size = sizeof(struct profile_draft), .inner = profile, .help = "What per_gpu_vram × gpu_count starts here, such as \"24x1\"."},
    {.name = "max_per_tenant", .type = OPTION_COUNT, .where = offsetof(struct document, config.deploy.max_per_tenant), .fallback = "16", .min = 1, .max = SPEC_DEPLOYMENTS_MAX, .help = "So many deployments may a tenant have that its calls have made."},
    {0},
};

const struct option deployment_options[] = {
    {.name = "nodes", .type = OPTION_LIST, .where = offsetof(struct document, machines), .size = sizeof(struct machine_draft), .inner = node, .help = "Budgets to place them in; none: the local machine, with its memory."},
    {.name = "on_exit", .type = OPTION_WORD, .where = offsetof(struct document, on_exit), .fallback = "stop", .words = "stop|leave", .help = "leave = adopted again at the next start."},
    {.name = "models", .type = OPTION_LIST, .where = offsetof(struct document, deployments), .size = sizeof(struct deployment_draft), .inner = deployment_rows, .help = "Model servers."},
    {.name = "monster", .type = OPTION_SECTION, .inner = monster, .help = "Monster API compatible deploy calls."},
    {0},
};

/* clang-format on */
