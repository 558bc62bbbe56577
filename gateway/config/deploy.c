/* SPDX-License-Identifier: Apache-2.0 */
/* From `deployments` of the file to nodes, specs, and the providers that their calls go to. */
#include <unistd.h>

#include "deploy/models/standing.h"
#include "gateway/base/quantity.h"
#include "gateway/base/table.h"
#include "gateway/config/document.h"

enum {
    MILLION = 1000000,
    NANOS_PER_MILLI = 1000000,
    CONNECT_US = 2000000,
    IDLE_US = 30000000,
    FURTHER_TRIES = 2,
    BACKOFF_US = 100000,
    LONGEST_BACKOFF_US = 8000000,
    HOST_SHARE = 20, /* of the machine's memory, one part in so many is not for models */
};

/* ---------------------------------------------------------------------------------- nodes */

static struct text path_text(const char *path)
{
    return path ? text_of(path) : (struct text){"", 0};
}

static struct node_spec machine_of(const struct machine_draft *draft)
{
    struct node_spec spec = draft->spec;
    spec.launcher = (enum launcher_word)draft->launcher;
    spec.ca_file = path_text(draft->ca_file);
    spec.cert_file = path_text(draft->cert_file);
    spec.key_file = path_text(draft->key_file);
    spec.token_file = path_text(draft->token_file);
    spec.has = (struct resources){.memory_bytes = (int64_t)draft->memory,
                                  .vram_bytes = (int64_t)draft->vram,
                                  .cpus_milli = draft->cpus / NANOS_PER_MILLI,
                                  .gpus = draft->gpus};
    if (spec.launcher == LAUNCH_BY_DOCKER && !spec.endpoint.len)
        spec.endpoint = TEXT("unix:/var/run/docker.sock");
    if (spec.launcher == LAUNCH_BY_KUBERNETES && !spec.endpoint.len)
        spec.endpoint = TEXT("in-cluster");
    return spec;
}

static bool is_endpoint(const struct node_spec *spec)
{
    static const struct text docker[] = {{"unix:/", 6}, {"tcp://", 6}, {"https://", 8}};
    if (spec->launcher == LAUNCH_BY_PROCESS)
        return spec->endpoint.len == 0;
    if (spec->launcher == LAUNCH_BY_KUBERNETES)
        return text_equal(spec->endpoint, TEXT("in-cluster")) ||
               text_starts(spec->endpoint, TEXT("https://")) ||
               text_starts(spec->endpoint, TEXT("http://127.0.0.1:"));
    for (size_t i = 0; i < sizeof(docker) / sizeof(docker[0]); i++)
        if (text_starts(spec->endpoint, docker[i]))
            return true;
    return false;
}

static void check_machine(struct document *document, const struct machine_draft *draft,
                          const struct node_spec *spec)
{
    static const char *const forms[] = {
        [LAUNCH_BY_PROCESS] = "nothing: the launcher \"process\" starts servers on this machine",
        [LAUNCH_BY_DOCKER] = "unix:/PATH, tcp://HOST:PORT or https://HOST:PORT",
        [LAUNCH_BY_KUBERNETES] = "in-cluster, https://HOST:PORT or http://127.0.0.1:PORT",
    };
    if (!is_endpoint(spec))
        problem_at_value(document, node_of(draft->node, "endpoint"), SEVERITY_ERROR,
                         "\"endpoint\" must be %s", forms[spec->launcher]);
    if (!spec->cert_file.len != !spec->key_file.len)
        problem_at_value(document, draft->node, SEVERITY_ERROR,
                         "\"cert_file\" and \"key_file\" come together");
}

/* This machine, when the file names none: its memory, but for what else lives on it. */
static struct node_spec this_machine(void)
{
    int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t bytes = pages > 0 && page > 0 ? pages * page : 0;
    return (struct node_spec){.name = TEXT("local"),
                              .launcher = LAUNCH_BY_PROCESS,
                              .has = {.memory_bytes = bytes - bytes / HOST_SHARE}};
}

static void resolve_machines(struct document *document)
{
    struct config *config = &document->config;
    const struct machine_draft *drafts = document->machines.at;
    size_t count = document->machines.count;
    struct node_spec *specs = arena_new(&document->arena, (count + 1) * sizeof(*specs));
    struct table names;
    table_init(&names);
    if (count > SPEC_NODES_MAX)
        problem_at_value(document, drafts[SPEC_NODES_MAX].node, SEVERITY_ERROR,
                         "more than %d nodes", SPEC_NODES_MAX);
    for (size_t i = 0; i < count; i++) {
        specs[i] = machine_of(&drafts[i]);
        check_machine(document, &drafts[i], &specs[i]);
        const struct machine_draft *other =
            table_set(&names, specs[i].name, (void *)(uintptr_t)&drafts[i]);
        if (other && specs[i].name.len)
            problem_at_value(document, node_of(drafts[i].node, "name"), SEVERITY_ERROR,
                             "a node \"%.*s\" is declared already in %s", TEXT_ARGS(specs[i].name),
                             node_place(document, other->node, drafts[i].node));
    }
    table_done(&names);
    if (!count)
        specs[count++] = this_machine();
    config->deploy.nodes = specs;
    config->deploy.node_count = count < SPEC_NODES_MAX ? count : SPEC_NODES_MAX;
    config->deploy.leave = document->on_exit == 1;
}

/* -------------------------------------------------------------------------------- one spec */

static void fill_command(struct deployment_draft *draft)
{
    draft->spec.command = draft->command.at;
    draft->spec.command_count = draft->command.count;
}

static bool is_variable(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!letter && c != '_' && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return name.len > 0;
}

struct spec_pair *deploy_pairs(struct document *document, const struct pair *pairs, size_t count)
{
    struct spec_pair *all = arena_new(&document->arena, (count + 1) * sizeof(*all));
    for (size_t i = 0; i < count; i++)
        all[i] = (struct spec_pair){pairs[i].name, pairs[i].value};
    return all;
}

static void fill_env(struct document *document, struct deployment_draft *draft)
{
    const struct pair *pairs = draft->env.at;
    for (size_t i = 0; i < draft->env.count; i++)
        if (!is_variable(pairs[i].name))
            problem_at_key(document, pairs[i].node, SEVERITY_ERROR,
                           "a variable's name has letters, digits and _");
    draft->spec.env = deploy_pairs(document, pairs, draft->env.count);
    draft->spec.env_count = draft->env.count;
}

static bool takes_adapters(enum engine engine)
{
    return engine == ENGINE_LLAMA_CPP || engine == ENGINE_VLLM || engine == ENGINE_SGLANG ||
           engine == ENGINE_LORAX;
}

static void fill_adapters(struct document *document, struct deployment_draft *draft)
{
    const struct adapter_draft *list = draft->adapters.at;
    size_t count = draft->adapters.count;
    struct adapter_spec *adapters = arena_new(&document->arena, (count + 1) * sizeof(*adapters));
    if (count && !takes_adapters(draft->spec.engine))
        problem_at_key(document, node_find(draft->node, "adapters"), SEVERITY_ERROR,
                       "this engine takes no adapters: llama-cpp, vllm, sglang and lorax do");
    if (count > SPEC_ADAPTERS_MAX) {
        problem_at_key(document, node_find(draft->node, "adapters"), SEVERITY_ERROR,
                       "more than %d adapters", SPEC_ADAPTERS_MAX);
        count = SPEC_ADAPTERS_MAX;
    }
    for (size_t i = 0; i < count; i++) {
        adapters[i] = list[i].spec;
        const struct node *at = node_of(list[i].node, "name");
        if (text_find_byte(adapters[i].name, '@') != SIZE_MAX || adapters[i].name.len > 63)
            problem_at_value(document, at, SEVERITY_ERROR,
                             "the name of an adapter has at most 63 characters, and no @");
        for (size_t k = 0; k < i; k++)
            if (text_equal(adapters[k].name, adapters[i].name) && adapters[i].name.len)
                problem_at_value(
                    document, at, SEVERITY_ERROR, "an adapter \"%.*s\" is declared already in %s",
                    TEXT_ARGS(adapters[i].name), node_place(document, list[k].node, list[i].node));
    }
    draft->spec.adapters = adapters;
    draft->spec.adapter_count = count;
}

static unsigned permille_of(double share)
{
    return (unsigned)(share * 1000.0 + 0.5);
}

/* Below 1 it would have to get faster. */
static unsigned slowdown_of(int64_t billionths)
{
    enum { PERMILLE_MAX = 1000000 };
    int64_t permille = billionths / NANOS_PER_MILLI;
    return permille < PERMILLE_MAX ? (unsigned)permille : PERMILLE_MAX;
}

static void fill_steps(struct document *document, struct deployment_draft *draft)
{
    const struct text *texts = draft->steps.at;
    const struct node *at = node_of(node_of(draft->node, "rollout"), "steps");
    unsigned before = 0;
    if (draft->spec.rollout.strategy != ROLL_CANARY)
        return;
    if (draft->steps.count > SPEC_STEPS_MAX || draft->steps.count == 0) {
        problem_at_value(document, at, SEVERITY_ERROR, "\"steps\" are 1 to %d shares",
                         SPEC_STEPS_MAX);
        return;
    }
    for (size_t i = 0; i < draft->steps.count; i++) {
        int64_t nanos = 0;
        bool read = decimal_read(text_trim(texts[i]), &nanos);
        unsigned permille = read ? (unsigned)(nanos / MILLION) : 0;
        if (!read || nanos < 0 || nanos > 1000 * (int64_t)MILLION || permille <= before) {
            problem_at_value(document, at, SEVERITY_ERROR,
                             "\"steps\" are shares from 0.001 to 1 that rise, such as [0.05, 0.5]");
            return;
        }
        draft->spec.rollout.step_permille[i] = before = permille;
        draft->spec.rollout.step_count = (unsigned)i + 1;
    }
}

static void fill_spec(struct document *document, struct deployment_draft *draft)
{
    struct deployment_spec *spec = &draft->spec;
    spec->launcher = (enum launcher_word)draft->launcher;
    spec->engine = (enum engine)draft->engine;
    spec->hold.policy = (enum hold_policy)draft->hold_policy;
    spec->hold.max_bytes = (int64_t)draft->hold_bytes;
    spec->eviction.policy = (enum eviction_policy)draft->eviction_policy;
    spec->eviction.priority = (int)draft->priority;
    spec->rollout.strategy = (enum rollout_strategy)draft->strategy;
    spec->rollout.max_errors_permille = permille_of(draft->max_errors);
    spec->rollout.max_slowdown_permille = slowdown_of(draft->max_slowdown);
    spec->scaling.target_permille = permille_of(draft->target_share);
    spec->sleep_first = draft->idle_action == 1;
    spec->resources = (struct resources){.memory_bytes = (int64_t)draft->memory,
                                         .vram_bytes = (int64_t)draft->vram,
                                         .cpus_milli = draft->cpus / NANOS_PER_MILLI,
                                         .gpus = draft->gpus};
    if (!spec->id.len)
        spec->id = spec->name;
    fill_command(draft);
    fill_env(document, draft);
    fill_adapters(document, draft);
    deploy_pod_fill(document, draft);
    fill_steps(document, draft);
}

/* -------------------------------------------------------------------------------- its checks */

/* A DNS label (RFC 1123), since Kubernetes' names and those of files come of it. */
static bool is_label(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool inner = i > 0 && i + 1 < name.len;
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !(inner && c == '-'))
            return false;
    }
    return name.len > 0 && name.len <= SPEC_NAME_MAX;
}

/* As it stands in a request's first line. */
static bool is_request_path(struct text path)
{
    for (size_t i = 0; i < path.len; i++)
        if (path.at[i] <= ' ' || path.at[i] >= 0x7f)
            return false;
    return path.len > 0 && path.at[0] == '/';
}

/* A socket's path would be one inside of it. */
static void check_no_socket(struct document *document, const struct deployment_draft *draft)
{
    const struct deployment_spec *spec = &draft->spec;
    bool has = false;
    for (size_t i = 0; i < spec->command_count; i++)
        has |= text_find(spec->command[i], TEXT("{socket}")) != SIZE_MAX;
    for (size_t i = 0; i < spec->env_count; i++)
        has |= text_find(spec->env[i].value, TEXT("{socket}")) != SIZE_MAX;
    if (has)
        problem_at_value(document, node_of(draft->node, "command"), SEVERITY_ERROR,
                         "{socket} is for the launcher process: what is in an image listens at "
                         "{port}");
}

static void check_start(struct document *document, const struct deployment_draft *draft)
{
    const struct deployment_spec *spec = &draft->spec;
    bool is_process = spec->launcher == LAUNCH_BY_PROCESS;
    const struct node *image = node_find(draft->node, "image");
    if (is_process && spec->command_count == 0)
        problem_at_value(document, node_of(draft->node, "command"), SEVERITY_ERROR,
                         "the launcher \"process\" needs a \"command\", such as [llama-server, -m, "
                         "/models/a.gguf, --port, \"{port}\"]");
    if (is_process && node_is_given(image))
        problem_at_key(document, image, SEVERITY_ERROR,
                       "an \"image\" is for the launchers docker and kubernetes");
    if (!is_process && !spec->image.len && !spec->pod.workload.len)
        problem_at_value(document, draft->node, SEVERITY_ERROR,
                         "the launcher \"%s\" needs an \"image\"",
                         spec->launcher == LAUNCH_BY_DOCKER ? "docker" : "kubernetes");
    if (!is_process)
        check_no_socket(document, draft);
    if (!is_request_path(spec->probe.path))
        problem_at_value(document, node_of(node_of(draft->node, "probe"), "path"), SEVERITY_ERROR,
                         "a \"path\" begins with /, and has only visible ASCII characters");
    if (spec->sleep_first && spec->engine != ENGINE_VLLM)
        problem_at_value(document, node_of(node_of(draft->node, "scaling"), "idle_action"),
                         SEVERITY_ERROR, "only the engine vllm can sleep");
}

static void check_bounds(struct document *document, const struct deployment_draft *draft)
{
    const struct deployment_spec *spec = &draft->spec;
    const struct node *scaling = node_of(draft->node, "scaling");
    if (spec->scaling.min > spec->scaling.max)
        problem_at_value(document, node_of(scaling, "min"), SEVERITY_ERROR,
                         "\"min\" is %u, and \"max\" only %u", spec->scaling.min,
                         spec->scaling.max);
    if (spec->scaling.target_permille == 0)
        problem_at_value(document, node_of(scaling, "target"), SEVERITY_ERROR,
                         "\"target\" is a share above 0");
    if (spec->rollout.strategy != ROLL_RECREATE && spec->rollout.surge == 0)
        problem_at_value(document, node_of(node_of(draft->node, "rollout"), "surge"),
                         SEVERITY_ERROR,
                         "without \"surge\" the old revision must go first: that is \"strategy: "
                         "recreate\"");
    if (spec->restart.max_backoff_us < spec->restart.backoff_us)
        problem_at_value(document, node_of(node_of(draft->node, "restart"), "max_backoff"),
                         SEVERITY_ERROR, "\"max_backoff\" is shorter than \"backoff\"");
}

static void check_token(struct document *document, const struct deployment_draft *draft)
{
    struct text token = draft->spec.token;
    if (token.len && !draft->spec.tenant.len)
        problem_at_value(document, node_of(draft->node, "token"), SEVERITY_ERROR,
                         "a \"token\" needs a \"tenant\", whose calls these are");
    for (size_t i = 0; i < token.len; i++)
        if (token.at[i] <= ' ' || token.at[i] > '~') {
            problem_at_value(document, node_of(draft->node, "token"), SEVERITY_ERROR,
                             "a token has only visible ASCII characters");
            return;
        }
}

static struct text next_machine(void *with, size_t i)
{
    const struct config *config = with;
    return i < config->deploy.node_count ? config->deploy.nodes[i].name : (struct text){NULL, 0};
}

/* The node that it names. False when there is none (reported). */
static bool find_machine(struct document *document, const struct deployment_draft *draft,
                         const struct node_spec **found)
{
    const struct config *config = &document->config;
    const struct node *at = node_of(draft->node, "node");
    *found = NULL;
    for (size_t i = 0; i < config->deploy.node_count; i++)
        if (text_equal(config->deploy.nodes[i].name, draft->spec.node))
            *found = &config->deploy.nodes[i];
    if (*found && (*found)->launcher == draft->spec.launcher)
        return true;
    if (*found) {
        problem_at_value(document, at, SEVERITY_ERROR,
                         "the node \"%.*s\" has another launcher than this deployment",
                         TEXT_ARGS(draft->spec.node));
        return false;
    }
    struct problem *problem = problem_at_value(
        document, at, SEVERITY_ERROR, "there is no node \"%.*s\"", TEXT_ARGS(node_shown(at)));
    struct text near = nearest(draft->spec.node, next_machine, (struct config *)(uintptr_t)config);
    if (near.at)
        problem->hint = arena_copy(&document->arena, near).at;
    return false;
}

static bool has_room(int64_t has, int64_t wants)
{
    return has == 0 || wants <= has;
}

static bool fits(const struct node_spec *node, const struct resources *wants)
{
    return has_room(node->has.memory_bytes, wants->memory_bytes) &&
           has_room(node->has.vram_bytes, wants->vram_bytes) &&
           has_room(node->has.gpus, wants->gpus);
}

/* Processors are shared: who asks for more than there are gets all. */
static void bound_cpus(const struct config *config, struct deployment_spec *spec)
{
    int64_t most = 0;
    for (size_t i = 0; i < config->deploy.node_count; i++) {
        const struct node_spec *node = &config->deploy.nodes[i];
        if (node->launcher == spec->launcher && (node->has.cpus_milli > most || most == 0))
            most = node->has.cpus_milli;
        if (node->launcher == spec->launcher && node->has.cpus_milli == 0)
            return;
    }
    if (most && spec->resources.cpus_milli > most)
        spec->resources.cpus_milli = most;
}

/* Is there a node of its launcher that one replica fits on, all else away? */
static void check_place(struct document *document, const struct deployment_draft *draft)
{
    const struct config *config = &document->config;
    const struct node_spec *named;
    bool of_launcher = false, fitting = false;
    if (draft->spec.node.len && !find_machine(document, draft, &named))
        return;
    for (size_t i = 0; i < config->deploy.node_count; i++) {
        const struct node_spec *node = &config->deploy.nodes[i];
        bool meant = node->launcher == draft->spec.launcher &&
                     (!draft->spec.node.len || text_equal(node->name, draft->spec.node));
        of_launcher = of_launcher || meant;
        fitting = fitting || (meant && fits(node, &draft->spec.resources));
    }
    if (!of_launcher)
        problem_at_value(document, node_of(draft->node, "launcher"), SEVERITY_ERROR,
                         "no node below \"deployments.nodes\" has this launcher");
    else if (!fitting)
        problem_at_value(document, node_of(draft->node, "resources"), SEVERITY_ERROR,
                         "a replica wants more than any node has: it could never start");
}

static void check_deployment(struct document *document, const struct deployment_draft *draft,
                             struct table *names)
{
    const struct node *at = node_of(draft->node, "name");
    struct text name = draft->spec.name;
    if (name.len && !is_label(name))
        problem_at_value(document, at, SEVERITY_ERROR,
                         "the name of a deployment has 1 to %d lower-case letters, digits and -, "
                         "not \"%.*s\"",
                         SPEC_NAME_MAX, TEXT_ARGS(node_shown(at)));
    const struct deployment_draft *other = table_find(names, name);
    if (!other && name.len)
        table_set(names, name, (void *)(uintptr_t)draft);
    if (other && name.len)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "a deployment \"%.*s\" is declared already in %s", TEXT_ARGS(name),
                         node_place(document, other->node, draft->node));
    check_start(document, draft);
    deploy_pod_check(document, draft);
    check_bounds(document, draft);
    check_token(document, draft);
    check_place(document, draft);
}

/* ------------------------------------------------------------------- names of models */

/* Names and aliases of the file's models, to their drafts; the first one of each. */
static void gather_models(const struct document *document, struct table *models)
{
    struct model_draft *drafts = document->models.at;
    table_init(models);
    for (size_t i = document->models.count; i-- > 0;) {
        const struct text *aliases = drafts[i].aliases.at;
        for (size_t k = 0; k < drafts[i].aliases.count; k++)
            if (aliases[k].len)
                table_set(models, aliases[k], &drafts[i]);
        if (drafts[i].route.name.len)
            table_set(models, drafts[i].route.name, &drafts[i]);
    }
}

static struct text next_model(void *with, size_t i)
{
    const struct document *document = with;
    const struct model_draft *drafts = document->models.at;
    return i < document->models.count ? drafts[i].route.name : (struct text){NULL, 0};
}

static void check_attachment(struct document *document, const struct deployment_draft *draft,
                             size_t i, const struct table *models)
{
    const struct attachment_draft *list = draft->attach_to.at;
    const struct node *at = node_of(list[i].node, "model");
    const struct model_draft *model = table_find(models, list[i].model);
    for (size_t k = 0; k < i; k++)
        if (text_equal(list[k].model, list[i].model) && list[i].model.len)
            problem_at_value(document, at, SEVERITY_ERROR,
                             "it is attached to the model \"%.*s\" already",
                             TEXT_ARGS(list[i].model));
    if (!list[i].model.len || (model && text_equal(model->route.name, list[i].model)))
        return;
    struct problem *problem = problem_at_value(
        document, at, SEVERITY_ERROR, "there is no model \"%.*s\"", TEXT_ARGS(node_shown(at)));
    struct text near = nearest(list[i].model, next_model, document);
    if (near.at)
        problem->hint = arena_copy(&document->arena, near).at;
}

static bool is_attached_to(const struct deployment_draft *draft, struct text model)
{
    const struct attachment_draft *list = draft->attach_to.at;
    for (size_t i = 0; i < draft->attach_to.count; i++)
        if (text_equal(list[i].model, model))
            return true;
    return false;
}

/* It has a model of its own, unless its name is that of one it is attached to. */
static void check_models(struct document *document, struct deployment_draft *draft,
                         const struct table *models)
{
    const struct model_draft *model = table_find(models, draft->spec.name);
    for (size_t i = 0; i < draft->attach_to.count; i++)
        check_attachment(document, draft, i, models);
    draft->of_model = model != NULL;
    if (model && !is_attached_to(draft, model->route.name))
        problem_at_value(document, node_of(draft->node, "name"), SEVERITY_ERROR,
                         "\"%.*s\" is a name of the model \"%.*s\" already; \"attach_to\" makes "
                         "a deployment a target of it",
                         TEXT_ARGS(draft->spec.name), TEXT_ARGS(model->route.name));
}

/* -------------------------------------------------------------------- where its calls go to */

static const struct provider_type *type_of(enum engine engine)
{
    static const char *const types[] = {
        [ENGINE_OPENAI] = "tgi", [ENGINE_LLAMA_CPP] = "llama-cpp",
        [ENGINE_VLLM] = "vllm",  [ENGINE_SGLANG] = "sglang",
        [ENGINE_TGI] = "tgi",    [ENGINE_LORAX] = "tgi",
    };
    return provider_type_find(text_of(types[engine]));
}

/* Nobody but the desk knows whether it is well: no breaker, no health of its own. */
static struct provider_settings provider_of(const struct deployment_draft *draft,
                                            struct deployment_spec *spec)
{
    static const uint16_t again_on[] = {429, 500, 502, 503, 0};
    struct provider_settings settings = {
        .name = spec->name,
        .type = type_of(spec->engine),
        .base_url = "http://localhost/v1",
        .connect_us = CONNECT_US,
        .first_byte_us = draft->first_byte_us,
        .total_us = draft->total_us,
        .idle_us = IDLE_US,
        .max_connections = 2 * spec->scaling.parallel, /* places bound them: these never do */
        .max_idle = spec->scaling.parallel,
        .retry_attempts = FURTHER_TRIES,
        .retry_connect = true,
        .backoff_us = BACKOFF_US,
        .max_backoff_us = LONGEST_BACKOFF_US,
        .breaker = {.off = true},
        .spec = spec,
        .slots = slots_of(spec->name),
        .standing = standing_of(spec->name),
    };
    const char *problem;
    url_read(text_of(settings.base_url), &settings.url, &problem);
    memcpy(settings.retry_statuses, again_on, sizeof(again_on));
    settings.dialect = dialect_find(settings.type->dialect);
    settings.second_dialect = dialect_find(settings.type->second_dialect);
    return settings;
}

static void resolve_profiles(struct document *document)
{
    const struct profile_draft *drafts = document->profiles.at;
    size_t count = document->profiles.count;
    struct deploy_profile *profiles = arena_new(&document->arena, (count + 1) * sizeof(*profiles));
    for (size_t i = 0; i < count; i++) {
        profiles[i] = (struct deploy_profile){
            .name = node_key(drafts[i].node),
            .launcher = (enum launcher_word)drafts[i].launcher,
            .engine = (enum engine)drafts[i].engine,
            .node = drafts[i].machine,
            .image = drafts[i].image,
            .command = drafts[i].command.at,
            .command_count = drafts[i].command.count,
            .memory_bytes = (int64_t)drafts[i].memory,
            .models = deploy_pairs(document, drafts[i].models.at, drafts[i].models.count),
            .model_count = drafts[i].models.count,
        };
    }
    document->config.deploy.profiles = profiles;
    document->config.deploy.profile_count = count;
}

void resolve_deployments(struct document *document)
{
    struct config *config = &document->config;
    struct deployment_draft *drafts = document->deployments.at;
    size_t count = document->deployments.count;
    struct table names, models;
    resolve_machines(document);
    resolve_profiles(document);
    config->deploy.specs =
        arena_new(&document->arena, (count + 1) * sizeof(struct deployment_spec *));
    if (count > SPEC_DEPLOYMENTS_MAX)
        problem_at_value(document, drafts[SPEC_DEPLOYMENTS_MAX].node, SEVERITY_ERROR,
                         "more than %d deployments", SPEC_DEPLOYMENTS_MAX);
    table_init(&names);
    gather_models(document, &models);
    for (size_t i = 0; i < count; i++) {
        made_mark(document, drafts[i].node, &drafts[i].spec);
        fill_spec(document, &drafts[i]);
        bound_cpus(config, &drafts[i].spec);
        check_deployment(document, &drafts[i], &names);
        check_models(document, &drafts[i], &models);
    }
    table_done(&names);
    table_done(&models);
    for (size_t i = 0; i < count && document->errors == 0; i++) {
        if (drafts[i].node->made && drafts[i].node->broken)
            continue; /* left out */
        struct deployment_spec *spec = spec_copy(&drafts[i].spec);
        spec->digest = spec_digest(spec);
        config->deploy.specs[config->deploy.spec_count++] = spec;
        drafts[i].to = &config->providers[config->provider_count++];
        *drafts[i].to = provider_of(&drafts[i], spec);
    }
}
