/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config_options.h"

/* Rows of `deployments`. */

/* clang-format off */

static const struct option node[] = {
    {.name = "name", .type = OPTION_NAME, .required = true, .help = "Unique."},
    {.name = "launcher", .type = OPTION_WORD, .fallback = "process", .words = "process|docker|kubernetes", .help = "How model servers are started."},
    {.name = "endpoint", .type = OPTION_STRING, .fallback = "null", .help = "unix:/var/run/docker.sock, in-cluster …"},
    {.name = "namespace", .type = OPTION_STRING, .fallback = "null", .help = "kubernetes."},
    {.name = "memory", .type = OPTION_SIZE, .fallback = "0", .help = "Budget."},
    {.name = "vram", .type = OPTION_SIZE, .fallback = "0", .help = "Budget."},
    {.name = "cpus", .type = OPTION_PRICE, .fallback = "0", .help = "Budget."},
    {.name = "gpus", .type = OPTION_COUNT, .fallback = "0", .min = 0, .max = 4096, .help = "Budget."},
    {.name = "price_per_hour", .type = OPTION_MONEY, .fallback = "0.00 USD", .help = "What it costs."},
    {0},
};

static const struct option resources[] = {
    {.name = "memory", .type = OPTION_SIZE, .fallback = "0", .help = "Of one replica."},
    {.name = "vram", .type = OPTION_SIZE, .fallback = "0", .help = "Of one replica."},
    {.name = "cpus", .type = OPTION_PRICE, .fallback = "0", .help = "Of one replica."},
    {.name = "gpus", .type = OPTION_COUNT, .fallback = "0", .min = 0, .max = 4096, .help = "Of one replica."},
    {0},
};

static const struct option probe[] = {
    {.name = "path", .type = OPTION_STRING, .fallback = "/health", .help = "Asked by GET."},
    {.name = "interval", .type = OPTION_DURATION, .fallback = "250ms", .min = 10 * MILLISECOND, .max = SECONDS(3600), .help = "While it starts."},
    {.name = "liveness", .type = OPTION_DURATION, .fallback = "5s", .min = 10 * MILLISECOND, .max = SECONDS(3600), .help = "While it runs."},
    {.name = "failures", .type = OPTION_COUNT, .fallback = "3", .min = 1, .max = 1000, .help = "In a row, then it is dead."},
    {.name = "start_timeout", .type = OPTION_DURATION, .fallback = "5m", .min = SECONDS(1), .max = DAYS(1), .help = "Then the start has failed."},
    {0},
};

static const struct option scaling[] = {
    {.name = "min", .type = OPTION_COUNT, .fallback = "0", .min = 0, .max = 10000, .help = "Replicas."},
    {.name = "max", .type = OPTION_COUNT, .fallback = "1", .min = 0, .max = 10000, .help = "Replicas."},
    {.name = "parallel", .type = OPTION_COUNT, .fallback = "8", .min = 1, .max = 100000, .help = "Calls that one replica takes at once."},
    {.name = "target", .type = OPTION_SHARE, .fallback = "0.7", .help = "Share of them in use."},
    {.name = "up_window", .type = OPTION_DURATION, .fallback = "6s", .min = 0, .max = SECONDS(3600), .help = "Before one more."},
    {.name = "down_delay", .type = OPTION_DURATION, .fallback = "5m", .min = 0, .max = DAYS(1), .help = "Before one less."},
    {.name = "idle_stop", .type = OPTION_DURATION, .fallback = "15m", .min = 0, .max = DAYS(30), .help = "Then it sleeps."},
    {0},
};

static const struct option hold[] = {
    {.name = "max_requests", .type = OPTION_COUNT, .fallback = "256", .min = 0, .max = 1000000, .help = "Waiting while it wakes."},
    {.name = "max_bytes", .type = OPTION_SIZE, .fallback = "64MiB", .min = 0, .max = GIB(64), .help = "Of their bodies."},
    {.name = "timeout", .type = OPTION_DURATION, .fallback = "60s", .min = 0, .max = DAYS(1), .help = "At most."},
    {.name = "policy", .type = OPTION_WORD, .fallback = "hold", .words = "hold|reject|fallback", .help = "What happens meanwhile."},
    {0},
};

static const struct option eviction[] = {
    {.name = "policy", .type = OPTION_WORD, .fallback = "cost", .words = "cost|lru|size", .help = "Which goes first."},
    {.name = "priority", .type = OPTION_COUNT, .fallback = "0", .min = 0, .max = 1000, .help = "Higher stays longer."},
    {.name = "pin", .type = OPTION_BOOL, .fallback = "false", .help = "Never evicted."},
    {.name = "min_residency", .type = OPTION_DURATION, .fallback = "30s", .min = 0, .max = DAYS(30), .help = "Not before."},
    {0},
};

static const struct option restart[] = {
    {.name = "backoff", .type = OPTION_DURATION, .fallback = "1s", .min = 0, .max = DAYS(1), .help = "Doubled each time."},
    {.name = "max_backoff", .type = OPTION_DURATION, .fallback = "5m", .min = 0, .max = DAYS(1), .help = "At most."},
    {.name = "max_restarts", .type = OPTION_COUNT, .fallback = "10", .min = 0, .max = 1000000, .help = "Then it has failed."},
    {0},
};

static const struct option rollout[] = {
    {.name = "strategy", .type = OPTION_WORD, .fallback = "rolling", .words = "rolling|canary|recreate", .help = "How a new revision comes."},
    {.name = "surge", .type = OPTION_COUNT, .fallback = "1", .min = 0, .max = 1000, .help = "Replicas more than wanted meanwhile."},
    {.name = "auto_rollback", .type = OPTION_BOOL, .fallback = "true", .help = "When it does not get well."},
    {0},
};

static const struct option adapter[] = {
    {.name = "name", .type = OPTION_NAME, .required = true, .help = "Callable as MODEL:NAME."},
    {.name = "source", .type = OPTION_STRING, .required = true, .help = "File."},
    {0},
};

static const struct option stop[] = {
    {.name = "drain", .type = OPTION_DURATION, .fallback = "2m", .min = 0, .max = DAYS(1), .help = "For calls that run."},
    {.name = "grace", .type = OPTION_DURATION, .fallback = "10s", .min = 0, .max = SECONDS(3600), .help = "From TERM to KILL."},
    {0},
};

static const struct option deployment_limits[] = {
    {.name = "max_spend", .type = OPTION_MONEY, .fallback = "null", .help = "Then it is stopped."},
    {.name = "max_age", .type = OPTION_DURATION, .fallback = "null", .min = SECONDS(1), .max = LONGEST, .help = "Then it is stopped."},
    {0},
};

static const struct option deployment_price[] = {
    {.name = "input", .type = OPTION_PRICE, .fallback = "0", .help = "USD per million tokens."},
    {.name = "output", .type = OPTION_PRICE, .fallback = "0", .help = "USD per million tokens."},
    {0},
};

static const struct option attachment[] = {
    {.name = "model", .type = OPTION_NAME, .required = true, .help = "Name of a model."},
    {.name = "priority", .type = OPTION_COUNT, .fallback = "1", .min = 0, .max = 1000, .help = "As a target there."},
    {.name = "weight", .type = OPTION_COUNT, .fallback = "1", .min = 0, .max = 1000000, .help = "As a target there."},
    {0},
};

static const struct option deployment[] = {
    {.name = "name", .type = OPTION_NAME, .required = true, .help = "Callable as this, NAME:ADAPTER, NAME@REVISION."},
    {.name = "launcher", .type = OPTION_WORD, .fallback = "process", .words = "process|docker|kubernetes", .help = "How it is started."},
    {.name = "command", .type = OPTION_TEXTS, .fallback = "[]", .help = "Never through a shell; {port} is filled in."},
    {.name = "image", .type = OPTION_STRING, .fallback = "null", .help = "docker, kubernetes."},
    {.name = "engine", .type = OPTION_WORD, .fallback = "openai", .words = "llama-cpp|vllm|sglang|tgi|openai", .help = "What it speaks, its adapter calls."},
    {.name = "env", .type = OPTION_PAIRS, .fallback = "{}", .secret = true, .help = "Its environment."},
    {.name = "resources", .type = OPTION_SECTION, .inner = resources, .help = "Of one replica."},
    {.name = "probe", .type = OPTION_SECTION, .inner = probe, .help = "When it is ready, when it is dead."},
    {.name = "scaling", .type = OPTION_SECTION, .inner = scaling, .help = "How many."},
    {.name = "hold", .type = OPTION_SECTION, .inner = hold, .help = "Calls that wait while it wakes."},
    {.name = "eviction", .type = OPTION_SECTION, .inner = eviction, .help = "Who makes room."},
    {.name = "restart", .type = OPTION_SECTION, .inner = restart, .help = "After a crash."},
    {.name = "rollout", .type = OPTION_SECTION, .inner = rollout, .help = "Of a new revision."},
    {.name = "adapters", .type = OPTION_LIST, .inner = adapter, .help = "LoRA."},
    {.name = "stop", .type = OPTION_SECTION, .inner = stop, .help = "How it ends."},
    {.name = "limits", .type = OPTION_SECTION, .status = PROTECTS, .inner = deployment_limits, .help = "Then it is stopped."},
    {.name = "price", .type = OPTION_SECTION, .inner = deployment_price, .help = "What its calls cost."},
    {.name = "attach_to", .type = OPTION_LIST, .inner = attachment, .help = "Also a target of other models."},
    {0},
};

static const struct option monster[] = {
    {.name = "profiles", .type = OPTION_ANY, .fallback = "{}", .help = "What \"24 GB × 1\" starts here."},
    {0},
};

const struct option deployment_options[] = {
    {.name = "nodes", .type = OPTION_LIST, .inner = node, .help = "Budgets to place them in; none: the local machine."},
    {.name = "on_exit", .type = OPTION_WORD, .fallback = "stop", .words = "stop|leave", .help = "leave = adopted again at the next start."},
    {.name = "models", .type = OPTION_LIST, .inner = deployment, .help = "Model servers."},
    {.name = "monster", .type = OPTION_SECTION, .inner = monster, .help = "Monster API compatible deploy calls."},
    {0},
};

/* clang-format on */
