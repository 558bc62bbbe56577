/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "gateway/base/table.h"
#include "gateway/cli/convert.h"

/* LiteLLM's config.yaml: https://docs.litellm.ai/docs/proxy/configs and …/config_settings */

/* A model of the new file, and what is to be known of it until the end. */
struct group {
    struct group *next;
    struct out *model;
    struct text name;
    struct text fallback, aliases; /* lists in YAML; empty = none */
};

struct litellm {
    struct convert *c;
    struct table groups; /* struct group, by name */
    struct group *first, **end;
    bool has_unpriced;
    int weight_shift; /* weights are this many powers of ten larger, so that they are whole */
    struct text strategy, default_fallback;
};

#define GENERATION "only max_tokens can be filled in for a caller that leaves it out"

/* clang-format off */

#define TIERS \
    {"input_cost_per_token_above_128k_tokens", TAKE_OTHERWISE, AT_TARGET, NULL, NULL}, \
    {"output_cost_per_token_above_128k_tokens", TAKE_OTHERWISE, AT_TARGET, NULL, NULL}, \
    {"input_cost_per_token_above_200k_tokens", TAKE_OTHERWISE, AT_TARGET, NULL, NULL}, \
    {"output_cost_per_token_above_200k_tokens", TAKE_OTHERWISE, AT_TARGET, NULL, NULL}, \
    {"input_cost_per_token_above_272k_tokens", TAKE_OTHERWISE, AT_TARGET, NULL, NULL}, \
    {"output_cost_per_token_above_272k_tokens", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},

static const struct convert_row params_rows[] = {
    {"model", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"custom_llm_provider", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"api_base", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"base_url", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"extra_headers", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"headers", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"drop_params", TAKE_FLAG, AT_PROVIDER, "lenient", NULL},
    {"api_key", TAKE_SECRET, AT_PROVIDER, "api_key", "API_KEY"},
    {"api_version", TAKE_TEXT, AT_PROVIDER, "api_version", NULL},
    {"organization", TAKE_TEXT, AT_PROVIDER, "organization", NULL},
    {"tenant_id", TAKE_TEXT, AT_PROVIDER, "entra.tenant", NULL},
    {"client_id", TAKE_TEXT, AT_PROVIDER, "entra.client_id", NULL},
    {"client_secret", TAKE_SECRET, AT_PROVIDER, "entra.client_secret", "CLIENT_SECRET"},
    {"azure_ad_token", TAKE_LEAVE, AT_PROVIDER, NULL, "a token ends; set providers: entra instead"},
    {"aws_region_name", TAKE_TEXT, AT_PROVIDER, "region", NULL},
    {"aws_access_key_id", TAKE_SECRET, AT_PROVIDER, "access_key", "ACCESS_KEY_ID"},
    {"aws_secret_access_key", TAKE_SECRET, AT_PROVIDER, "secret_key", "SECRET_ACCESS_KEY"},
    {"aws_session_token", TAKE_SECRET, AT_PROVIDER, "session_token", "SESSION_TOKEN"},
    {"aws_role_name", TAKE_LEAVE, AT_PROVIDER, NULL, "roles come from the machine or AWS_WEB_IDENTITY_TOKEN_FILE"},
    {"aws_profile_name", TAKE_LEAVE, AT_PROVIDER, NULL, "files of people (~/.aws) are not read"},
    {"vertex_project", TAKE_TEXT, AT_PROVIDER, "project", NULL},
    {"vertex_location", TAKE_TEXT, AT_PROVIDER, "location", NULL},
    {"vertex_credentials", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"rpm", TAKE_COUNT, AT_TARGET, "limits.requests_per_minute", NULL},
    {"tpm", TAKE_COUNT, AT_TARGET, "limits.tokens_per_minute", NULL},
    {"max_parallel_requests", TAKE_COUNT, AT_TARGET, "limits.concurrent", NULL},
    {"order", TAKE_COUNT, AT_TARGET, "priority", NULL},
    {"weight", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"tags", TAKE_TEXTS, AT_TARGET, "tags", NULL},
    {"timeout", TAKE_SECONDS, AT_PROVIDER, "timeouts.total", NULL},
    {"stream_timeout", TAKE_SECONDS, AT_PROVIDER, "timeouts.first_byte", NULL},
    {"max_retries", TAKE_COUNT, AT_PROVIDER, "retry.attempts", NULL},
    {"num_retries", TAKE_COUNT, AT_PROVIDER, "retry.attempts", NULL},
    {"max_tokens", TAKE_COUNT, AT_TARGET, "params.max_tokens", NULL},
    {"temperature", TAKE_LEAVE, AT_TARGET, NULL, GENERATION},
    {"top_p", TAKE_LEAVE, AT_TARGET, NULL, GENERATION},
    {"seed", TAKE_LEAVE, AT_TARGET, NULL, GENERATION},
    {"stop", TAKE_LEAVE, AT_TARGET, NULL, GENERATION},
    {"extra_body", TAKE_LEAVE, AT_TARGET, NULL, GENERATION},
    {"reasoning_effort", TAKE_LEAVE, AT_TARGET, NULL, GENERATION},
    {"thinking", TAKE_LEAVE, AT_TARGET, NULL, GENERATION},
    {"mock_response", TAKE_LEAVE, AT_TARGET, NULL, "use a provider of type mock"},
    {"max_budget", TAKE_LEAVE, AT_TARGET, NULL, "budgets belong to tenants and keys"},
    {"budget_duration", TAKE_LEAVE, AT_TARGET, NULL, "budgets belong to tenants and keys"},
    {"input_cost_per_token", TAKE_MILLION, AT_TARGET, "price.input", NULL},
    {"output_cost_per_token", TAKE_MILLION, AT_TARGET, "price.output", NULL},
    TIERS
    {0},
};

static const struct convert_row info_rows[] = {
    {"id", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"mode", TAKE_NOTHING, AT_TARGET, NULL, NULL}, /* the path of a call says it */
    {"description", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"litellm_provider", TAKE_NOTHING, AT_TARGET, NULL, NULL},
    {"input_cost_per_token", TAKE_MILLION, AT_TARGET, "price.input", NULL},
    {"output_cost_per_token", TAKE_MILLION, AT_TARGET, "price.output", NULL},
    {"cache_read_input_token_cost", TAKE_MILLION, AT_TARGET, "price.cached_input", NULL},
    {"cache_creation_input_token_cost", TAKE_MILLION, AT_TARGET, "price.cache_write", NULL},
    {"output_cost_per_reasoning_token", TAKE_MILLION, AT_TARGET, "price.reasoning", NULL},
    {"input_cost_per_audio_token", TAKE_MILLION, AT_TARGET, "price.audio_input", NULL},
    {"output_cost_per_audio_token", TAKE_MILLION, AT_TARGET, "price.audio_output", NULL},
    {"input_cost_per_request", TAKE_EACH, AT_TARGET, "price.request", NULL},
    TIERS
    {"max_input_tokens", TAKE_COUNT, AT_TARGET, "context_window", NULL},
    {"max_tokens", TAKE_LEAVE, AT_TARGET, NULL, "the catalogue says what a model writes at most"},
    {"max_output_tokens", TAKE_LEAVE, AT_TARGET, NULL, "the catalogue says what a model writes at most"},
    {"base_model", TAKE_LEAVE, AT_TARGET, NULL, "set the target's price, where the catalogue does not know its model"},
    {"access_groups", TAKE_LEAVE, AT_TARGET, NULL, "list the models in tenants: models"},
    {"supports_vision", TAKE_LEAVE, AT_TARGET, NULL, "the catalogue says what a model can do; see capabilities"},
    {"supports_function_calling", TAKE_LEAVE, AT_TARGET, NULL, "the catalogue says what a model can do; see capabilities"},
    {0},
};

static const struct convert_row router_rows[] = {
    {"routing_strategy", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"routing_strategy_args", TAKE_LEAVE, AT_ROOT, NULL, "see routing.policies: half_life, latency_signal"},
    {"fallbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"context_window_fallbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"content_policy_fallbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"default_fallbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"model_group_alias", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"num_retries", TAKE_COUNT, AT_PROVIDER, "retry.attempts", NULL},
    {"timeout", TAKE_SECONDS, AT_PROVIDER, "timeouts.total", NULL},
    {"stream_timeout", TAKE_SECONDS, AT_PROVIDER, "timeouts.first_byte", NULL},
    {"retry_after", TAKE_SECONDS, AT_PROVIDER, "retry.backoff", NULL},
    {"cooldown_time", TAKE_SECONDS, AT_PROVIDER, "breaker.open_for", NULL},
    {"allowed_fails", TAKE_LEAVE, AT_ROOT, NULL, "a circuit opens after three failures in a row, or by providers: breaker"},
    {"allowed_fails_policy", TAKE_LEAVE, AT_ROOT, NULL, "a circuit opens after three failures in a row, or by providers: breaker"},
    {"retry_policy", TAKE_LEAVE, AT_ROOT, NULL, "see providers: retry.retry_on"},
    {"model_group_retry_policy", TAKE_LEAVE, AT_ROOT, NULL, "see providers: retry.retry_on"},
    {"max_fallbacks", TAKE_LEAVE, AT_ROOT, NULL, "all fallbacks are tried, in their order"},
    {"enable_pre_call_checks", TAKE_NOTHING, AT_ROOT, NULL, NULL}, /* always so */
    {"enable_tag_filtering", TAKE_LEAVE, AT_ROOT, NULL, "write routing.rules: when: {tags} use: {tags}"},
    {"redis_url", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"redis_host", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"redis_port", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"redis_password", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"redis_db", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"provider_budget_config", TAKE_LEAVE, AT_ROOT, NULL, "budgets belong to tenants and keys"},
    {"set_verbose", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {0},
};

static const struct convert_row module_rows[] = {
    {"fallbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"context_window_fallbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"content_policy_fallbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"default_fallbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"num_retries", TAKE_COUNT, AT_PROVIDER, "retry.attempts", NULL},
    {"request_timeout", TAKE_SECONDS, AT_PROVIDER, "timeouts.total", NULL},
    {"drop_params", TAKE_FLAG, AT_PROVIDER, "lenient", NULL},
    {"cooldown_time", TAKE_SECONDS, AT_PROVIDER, "breaker.open_for", NULL},
    {"allowed_fails", TAKE_LEAVE, AT_ROOT, NULL, "a circuit opens after three failures in a row, or by providers: breaker"},
    {"cache", TAKE_FLAG, AT_ROOT, "cache.exact.enabled", NULL},
    {"cache_params", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"callbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"success_callback", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"failure_callback", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"service_callbacks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"json_logs", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"set_verbose", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"max_budget", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"budget_duration", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"turn_off_message_logging", TAKE_NOTHING, AT_ROOT, NULL, NULL}, /* never logged */
    {"redact_messages_in_exceptions", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"modify_params", TAKE_LEAVE, AT_ROOT, NULL, "calls of the same dialect pass byte for byte"},
    {"ssl_verify", TAKE_LEAVE, AT_ROOT, NULL, "certificates are always verified; see providers: tls.ca_file"},
    {"max_internal_user_budget", TAKE_LEAVE, AT_ROOT, NULL, "see tenants: users"},
    {"default_team_settings", TAKE_LEAVE, AT_ROOT, NULL, "teams are tenants; see tenants"},
    {"guardrails", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {0},
};

static const struct convert_row general_rows[] = {
    {"master_key", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"max_parallel_requests", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"global_max_parallel_requests", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"max_request_size_mb", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"background_health_checks", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"health_check_interval", TAKE_SECONDS, AT_PROVIDER, "health.interval", NULL},
    {"database_url", TAKE_LEAVE, AT_ROOT, NULL, "no database is needed; keys and budgets in it are to be made again: sluice keys create"},
    {"database_connection_pool_limit", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"store_model_in_db", TAKE_LEAVE, AT_ROOT, NULL, "models stand in the file; those in the database are to be added"},
    {"alerting", TAKE_LEAVE, AT_ROOT, NULL, "alert on the metrics: listeners: serve: [metrics]"},
    {"custom_auth", TAKE_LEAVE, AT_ROOT, NULL, "see jwt and tenants: keys"},
    {"enable_jwt_auth", TAKE_LEAVE, AT_ROOT, NULL, "see jwt"},
    {"litellm_jwtauth", TAKE_LEAVE, AT_ROOT, NULL, "see jwt"},
    {"pass_through_endpoints", TAKE_LEAVE, AT_ROOT, NULL, "only the paths of models are served"},
    {0},
};

static const struct convert_row file_rows[] = {
    {"model_list", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"router_settings", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"litellm_settings", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"general_settings", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"environment_variables", TAKE_LEAVE, AT_ROOT, NULL, "set these variables in the environment of sluice"},
    {"guardrails", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {"include", TAKE_LEAVE, AT_ROOT, NULL, "convert each of these files, and name the results in sluice's include"},
    {"mcp_servers", TAKE_LEAVE, AT_ROOT, NULL, "tools are the callers' own"},
    {"prompts", TAKE_LEAVE, AT_ROOT, NULL, "prompts are the callers' own"},
    {0},
};

static const struct { const char *theirs, *ours; } strategies[] = {
    {"simple-shuffle", "weighted"},
    {"least-busy", "least_busy"},
    {"latency-based-routing", "latency"},
    {"cost-based-routing", "cost"},
    {"usage-based-routing", "least_busy"},
    {"usage-based-routing-v2", "least_busy"},
};

/* clang-format on */

/* ------------------------------------------------------------------------- model_list */

/* "anthropic" of "anthropic/claude-*"; a pattern is an alias, and its model called what is left. */
static struct text name_of_pattern(struct text pattern)
{
    size_t len = text_find_byte(pattern, '*');
    while (len > 0 && strchr("-/:._", pattern.at[len - 1]))
        len--;
    return len > 0 ? text_head(pattern, len) : TEXT("any");
}

static struct group *group_of(struct litellm *l, struct text name)
{
    struct convert *c = l->c;
    struct group *group = table_find(&l->groups, name);
    if (group)
        return group;
    group = convert_take(c, sizeof(*group));
    group->name = name;
    group->model = convert_item(c, convert_root(c), "models");
    if (text_find_byte(name, '*') != SIZE_MAX) {
        group->name = name_of_pattern(name);
        if (table_find(&l->groups, group->name))
            group->name = name;
        else
            group->aliases = convert_listed(c, group->aliases, convert_quote(c, name));
    }
    convert_put(c, group->model, "name", convert_quote(c, group->name));
    convert_put(c, group->model, "aliases", (struct text){"", 0});
    convert_put(c, group->model, "description", (struct text){"", 0});
    convert_put(c, group->model, "policy", (struct text){"", 0});
    table_set(&l->groups, name, group);
    table_set(&l->groups, group->name, group);
    *l->end = group;
    l->end = &group->next;
    return group;
}

/* What LiteLLM puts before a model's own name, and what is behind it. */
struct named {
    const char *type; /* NULL = unknown */
    struct text model;
};

static struct named read_model(const struct node *params)
{
    const struct node *vendor = node_find(params, "custom_llm_provider");
    struct named named = {NULL, node_text(node_find(params, "model"))};
    size_t slash = text_find_byte(named.model, '/');
    struct text before = slash == SIZE_MAX ? TEXT("") : text_head(named.model, slash);
    if (node_is_text(vendor))
        named.type = convert_vendor(node_text(vendor));
    bool is_before = before.len && convert_vendor(before) &&
                     (!named.type || text_equal(before, node_text(vendor)));
    if (is_before) {
        named.type = convert_vendor(before);
        named.model = text_from(named.model, slash + 1);
    }
    if (!named.type)
        named.type = convert_vendor_of(named.model);
    if (!named.type)
        return named;
    static const char *const forms[] = {"converse/", "invoke/", "converse_like/"};
    for (size_t i = 0; strcmp(named.type, "bedrock") == 0 && i < 3; i++)
        if (text_starts(named.model, text_of(forms[i])))
            named.model = text_from(named.model, strlen(forms[i]));
    if (strcmp(named.type, "vertex") == 0 && !text_starts(named.model, TEXT("gemini")))
        named.type =
            text_starts(named.model, TEXT("claude")) ? "vertex-anthropic" : "vertex-openai";
    return named;
}

static void read_provider(struct litellm *l, const struct node *params, struct out *provider,
                          struct text variables)
{
    struct convert *c = l->c;
    const struct node *base = node_find(params, "api_base");
    if (!base)
        base = node_find(params, "base_url");
    if (node_is_given(base)) {
        struct text url = convert_url(c, base, convert_variable(c, variables, "BASE_URL"));
        if (url.len)
            convert_put(c, provider, "base_url", url);
        else
            convert_leave(c, base, "it is no URL");
    }
    const struct node *credentials = node_find(params, "vertex_credentials");
    if (node_is_text(credentials) && text_find_byte(node_text(credentials), '{') == SIZE_MAX)
        convert_put(c, provider, "credentials_file", convert_value(c, credentials));
    else if (credentials)
        convert_leave(c, credentials, "put it into a file, and name that: credentials_file");
    static const char *const headers[] = {"extra_headers", "headers"};
    for (size_t i = 0; i < 2; i++)
        if (node_is_given(node_find(params, headers[i])))
            convert_headers(c, node_find(params, headers[i]), provider, variables);
}

/* The prices above 200 thousand tokens stand in names of their own. */
static void read_tier(struct litellm *l, const struct node *map, struct out *target)
{
    static const char *const steps[] = {"128", "200", "272"};
    static const char *const tokens[] = {"128000", "200000", "272000"};
    for (size_t i = 0; map && i < sizeof(steps) / sizeof(*steps); i++) {
        char input[64], output[64];
        snprintf(input, sizeof(input), "input_cost_per_token_above_%sk_tokens", steps[i]);
        snprintf(output, sizeof(output), "output_cost_per_token_above_%sk_tokens", steps[i]);
        const struct node *in = node_find(map, input), *out = node_find(map, output);
        struct text none = {"", 0};
        struct text in_price = node_is_text(in) ? convert_shifted(l->c, node_text(in), 6) : none;
        struct text out_price = node_is_text(out) ? convert_shifted(l->c, node_text(out), 6) : none;
        if (!in_price.len || !out_price.len)
            continue;
        convert_put(l->c, target, "price.above.tokens", text_of(tokens[i]));
        convert_put(l->c, target, "price.above.input", in_price);
        convert_put(l->c, target, "price.above.output", out_price);
        return;
    }
}

static void read_weight(struct litellm *l, const struct node *params, struct out *target)
{
    const struct node *weight = node_find(params, "weight");
    if (!node_is_given(weight)) {
        if (l->weight_shift)
            convert_put(l->c, target, "weight", TEXT("1000"));
        return;
    }
    struct text number =
        node_is_text(weight) ? convert_shifted(l->c, node_text(weight), l->weight_shift) : TEXT("");
    if (number.len && text_find_byte(number, '.') == SIZE_MAX)
        convert_put(l->c, target, "weight", number);
    else
        convert_leave(l->c, weight, "it is no number with at most three decimals");
}

/* A pattern "openai / *" for all that openai has: what stands before the slash is a provider here.
 */
static bool is_passed_through(struct text name, struct text model)
{
    return text_equal(model, TEXT("*")) && text_ends(name, TEXT("/*")) &&
           text_find_byte(name, '/') == name.len - 2 && name.len > 2;
}

static void pass_through(struct litellm *l, const struct node *at, struct out *provider,
                         struct text name)
{
    struct convert *c = l->c;
    struct text before = text_head(name, name.len - 2);
    char wanted[128];
    snprintf(wanted, sizeof(wanted), "%.*s", TEXT_ARGS(before));
    struct text got = convert_provider(c, provider, wanted);
    if (!text_equal(got, convert_quote(c, before)))
        convert_leave(c, at, "names that begin with %s/ go to one provider, and there is one",
                      wanted);
    convert_put(c, convert_root(c), "routing.unknown_model", TEXT("passthrough"));
    l->has_unpriced = true;
}

static void read_target(struct litellm *l, const struct node *entry)
{
    struct convert *c = l->c;
    const struct node *params = node_find(entry, "litellm_params");
    const struct node *name = node_find(entry, "model_name"),
                      *info = node_find(entry, "model_info");
    const struct node *model = params ? node_find(params, "model") : NULL;
    if (entry->kind != NODE_MAP || !node_is_text(name) || !node_is_text(model)) {
        convert_leave(c, entry, "it has no model_name, or no litellm_params: model");
        return;
    }
    struct named named = read_model(params);
    if (!named.type) {
        convert_leave(c, model, "no such vendor is known here; see docs/PROVIDERS.md");
        return;
    }
    struct out *provider = convert_draft(c), *target = convert_draft(c);
    struct text variables = text_of(named.type);
    struct convert_places places = {{convert_root(c), provider, target}, variables, false};
    convert_put(c, provider, "type", text_of(named.type));
    read_provider(l, params, provider, variables);
    convert_rows(c, params, params_rows, &places);
    convert_rows(c, info, info_rows, &places);
    struct text asked = node_text(name);
    if (is_passed_through(asked, named.model)) {
        pass_through(l, name, provider, asked);
        return;
    }
    bool is_pattern = text_find_byte(named.model, '*') != SIZE_MAX;
    if (is_pattern && !text_equal(named.model, asked)) {
        convert_leave(c, name, "a pattern can stand for the same names only");
        return;
    }
    read_weight(l, params, target);
    read_tier(l, params, target);
    read_tier(l, info, target);
    l->has_unpriced |= !convert_has(target, "price");
    struct group *group = group_of(l, asked);
    struct out *item = convert_item(c, group->model, "targets");
    const struct node *id = node_find(info, "id");
    convert_put(c, item, "id",
                convert_target_id(c, node_is_text(id) ? node_text(id) : group->name));
    convert_put(c, item, "provider", convert_provider(c, provider, named.type));
    convert_put(c, item, "model", is_pattern ? TEXT("\"*\"") : convert_quote(c, named.model));
    convert_join(item, target);
    const struct node *description = node_find(info, "description");
    if (node_is_text(description))
        convert_put(c, group->model, "description", convert_quote(c, node_text(description)));
}

static void read_models(struct litellm *l, const struct node *list)
{
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        const struct node *weight = node_at(entry, "litellm_params.weight");
        if (node_is_text(weight) && text_find_byte(node_text(weight), '.') != SIZE_MAX)
            l->weight_shift = 3;
    }
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next)
        read_target(l, entry);
    if (list && list->kind != NODE_LIST)
        convert_leave(l->c, list, "it is no list");
}

/* ------------------------------------------------------------------------- routing */

static void read_aliases(struct litellm *l, const struct node *map)
{
    struct convert *c = l->c;
    for (const struct node *entry = map ? map->first : NULL; entry; entry = entry->next) {
        const struct node *of = entry->kind == NODE_MAP ? node_find(entry, "model") : entry;
        struct group *group = node_is_text(of) ? table_find(&l->groups, node_text(of)) : NULL;
        if (!group || !entry->key || table_find(&l->groups, node_key(entry))) {
            convert_leave(c, entry,
                          group ? "there is a model of this name" : "there is no such model");
            continue;
        }
        group->aliases = convert_listed(c, group->aliases, convert_quote(c, node_key(entry)));
        table_set(&l->groups, node_key(entry), group);
    }
}

/* Append the names of models in <list> that can be fallbacks of <of> (NULL: of any). */
static struct text add_fallbacks(struct litellm *l, struct text to, const struct group *of,
                                 const struct node *list)
{
    for (const struct node *entry = list->first; entry; entry = entry->next) {
        const struct group *group =
            node_is_text(entry) ? table_find(&l->groups, node_text(entry)) : NULL;
        struct text name = group ? convert_quote(l->c, group->name) : TEXT("");
        if (!group)
            convert_leave(l->c, entry, "there is no such model in the file");
        else if (group != of && text_find(to, name) == SIZE_MAX)
            to = convert_listed(l->c, to, name);
    }
    return to;
}

static void read_fallbacks(struct litellm *l, const struct node *list)
{
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next)
        for (const struct node *of = entry->first; of; of = of->next) {
            struct group *group = of->key ? table_find(&l->groups, node_key(of)) : NULL;
            if (group)
                group->fallback = add_fallbacks(l, group->fallback, group, of);
            else if (of->key && strcmp(of->key, "*") == 0)
                l->default_fallback = add_fallbacks(l, l->default_fallback, NULL, of);
            else
                convert_leave(l->c, of, "there is no such model in the file");
        }
}

/* Fallbacks of all kinds: ours are for failures, for what is too long and for content filters. */
static void read_all_fallbacks(struct litellm *l, const struct node *settings)
{
    if (!settings)
        return;
    read_fallbacks(l, node_find(settings, "fallbacks"));
    static const char *const others[] = {"context_window_fallbacks", "content_policy_fallbacks"};
    for (size_t i = 0; i < 2; i++) {
        const struct node *list = node_find(settings, others[i]);
        read_fallbacks(l, list);
        if (node_is_given(list))
            convert_tell(
                l->c, list,
                "fallbacks are for failures, for what is too long and for content filters");
    }
    const struct node *all = node_find(settings, "default_fallbacks");
    if (node_is_given(all))
        l->default_fallback = add_fallbacks(l, l->default_fallback, NULL, all);
}

static unsigned list_length(struct text list)
{
    unsigned length = list.len > 0;
    for (size_t at = text_find(list, TEXT(", ")); at != SIZE_MAX; length++) {
        list = text_from(list, at + 2);
        at = text_find(list, TEXT(", "));
    }
    return length;
}

/* How many models may have to be tried after one. */
static unsigned longest_fallback(const struct litellm *l)
{
    unsigned longest = list_length(l->default_fallback);
    for (const struct group *group = l->first; group; group = group->next)
        if (list_length(group->fallback) > longest)
            longest = list_length(group->fallback);
    return longest;
}

static void write_policies(struct litellm *l)
{
    struct convert *c = l->c;
    struct out *routing = convert_section(c, convert_root(c), "routing"), *policy;
    struct table known;
    if (!l->first)
        return;
    table_init(&known);
    convert_put(c, routing, "default_policy", TEXT("litellm"));
    policy = convert_item(c, routing, "policies");
    convert_put(c, policy, "name", TEXT("litellm"));
    convert_put(c, policy, "strategy", l->strategy);
    if (l->default_fallback.len)
        convert_put(c, policy, "fallback", l->default_fallback);
    for (struct group *group = l->first; group; group = group->next) {
        convert_put(c, group->model, "aliases", group->aliases);
        if (!group->fallback.len)
            continue;
        struct text *name = table_find(&known, group->fallback);
        if (!name) {
            enum { NAME_BYTES_MAX = 100 };
            name = convert_take(c, sizeof(*name));
            *name =
                convert_quote(c, convert_format(c, "%.*s-fallback",
                                                TEXT_ARGS(text_head(group->name, NAME_BYTES_MAX))));
            policy = convert_item(c, routing, "policies");
            convert_put(c, policy, "name", *name);
            convert_put(c, policy, "strategy", l->strategy);
            convert_put(c, policy, "fallback", group->fallback);
            table_set(&known, group->fallback, name);
        }
        convert_put(c, group->model, "policy", *name);
    }
    table_done(&known);
}

static void read_strategy(struct litellm *l, const struct node *strategy)
{
    l->strategy = TEXT("weighted"); /* LiteLLM's simple-shuffle */
    for (size_t i = 0; node_is_text(strategy) && i < sizeof(strategies) / sizeof(*strategies); i++)
        if (node_says(strategy, strategies[i].theirs)) {
            l->strategy = text_of(strategies[i].ours);
            if (strstr(strategies[i].theirs, "usage"))
                convert_tell(l->c, strategy,
                             "least_busy is the nearest; limits of targets are kept");
            return;
        }
    if (node_is_given(strategy))
        convert_leave(l->c, strategy, "there is no such strategy; weighted is taken");
}

/* ------------------------------------------------------------------------- settings */

static void read_redis(struct litellm *l, const struct node *settings)
{
    struct convert *c = l->c;
    const struct node *url = settings ? node_find(settings, "redis_url") : NULL;
    const struct node *host = settings ? node_find(settings, "redis_host") : NULL;
    if (!node_is_text(url) && !node_is_text(host))
        return;
    convert_put(c, convert_root(c), "store.type", TEXT("redis"));
    if (!node_is_text(url) && text_find_byte(node_text(host), '/') != SIZE_MAX &&
        !text_starts(node_text(host), TEXT("os.environ/")))
        url = host; /* some write all of it there */
    if (node_is_text(url)) {
        convert_put(c, convert_root(c), "store.redis.url", convert_secret(c, url, "REDIS_URL"));
        return;
    }
    const struct node *port = node_find(settings, "redis_port");
    const struct node *password = node_find(settings, "redis_password");
    const struct node *number = node_find(settings, "redis_db");
    struct buffer built;
    buffer_init(&built, 4096);
    buffer_append_text(&built, TEXT("redis://"));
    if (node_is_text(password)) {
        struct text secret = convert_inner_secret(c, password, "REDIS_PASSWORD");
        buffer_format(&built, ":%.*s@", TEXT_ARGS(secret));
    }
    buffer_append_text(&built, convert_inner(c, host));
    buffer_format(&built, ":%.*s/",
                  TEXT_ARGS(node_is_text(port) ? convert_inner(c, port) : TEXT("6379")));
    buffer_append_text(&built, node_is_text(number) ? convert_inner(c, number) : TEXT("0"));
    convert_put(c, convert_root(c), "store.redis.url", convert_scalar(c, buffer_text(&built)));
    buffer_done(&built);
}

static void read_cache(struct litellm *l, const struct node *params)
{
    struct convert *c = l->c;
    for (const struct node *entry = params ? params->first : NULL; entry; entry = entry->next) {
        struct text ttl = entry->key && strcmp(entry->key, "ttl") == 0 && node_is_text(entry)
                              ? convert_time(c, node_text(entry), 0)
                              : TEXT("");
        if (ttl.len)
            convert_put(c, convert_root(c), "cache.exact.ttl", ttl);
        else if (entry->key && strcmp(entry->key, "type") == 0 &&
                 text_find(node_text(entry), TEXT("semantic")) != SIZE_MAX)
            convert_leave(c, entry,
                          "only equal calls share an answer; for similar ones see cache: semantic");
        else if (!node_says(entry, "local"))
            convert_leave(c, entry, "answers are kept in the memory of each process");
    }
}

static void read_callbacks(struct litellm *l, const struct node *list)
{
    struct convert *c = l->c;
    const struct node *entry = list && list->kind == NODE_LIST ? list->first : list;
    for (; entry; entry = entry == list ? NULL : entry->next) {
        if (!node_says(entry, "prometheus")) {
            convert_leave(c, entry,
                          node_says(entry, "otel")
                              ? "OTEL_* variables are read; see telemetry.tracing"
                              : "there are no callbacks; calls are in the ledger: sluice export");
            continue;
        }
        struct out *server = convert_section(c, convert_root(c), "server");
        if (convert_has(server, "listeners"))
            continue;
        struct out *listener = convert_item(c, server, "listeners");
        convert_put(c, listener, "name", TEXT("api"));
        convert_put(c, listener, "address", TEXT("127.0.0.1:8080"));
        convert_put(c, listener, "serve", TEXT("[api, health, metrics]"));
    }
}

static void read_module(struct litellm *l, const struct node *settings)
{
    struct convert *c = l->c;
    if (!settings)
        return;
    read_cache(l, node_find(settings, "cache_params"));
    if (node_says(node_find(settings, "cache"), "true"))
        convert_tell(c, node_find(settings, "cache"),
                     "only calls with temperature 0 are kept; see cache: exact: max_temperature");
    static const char *const callbacks[] = {"callbacks", "success_callback", "failure_callback",
                                            "service_callbacks"};
    for (size_t i = 0; i < 4; i++)
        read_callbacks(l, node_find(settings, callbacks[i]));
    if (node_says(node_find(settings, "json_logs"), "true"))
        convert_put(c, convert_root(c), "telemetry.log.format", TEXT("json"));
    if (node_says(node_find(settings, "set_verbose"), "true"))
        convert_put(c, convert_root(c), "telemetry.log.level", TEXT("debug"));
}

/* LiteLLM's master key opens everything; here it is the key of a tenant, for calls only. */
static void read_tenant(struct litellm *l, const struct node *general, const struct node *module)
{
    static const char *const calls[] = {"max_parallel_requests", "global_max_parallel_requests"};
    struct convert *c = l->c;
    const struct node *key = general ? node_find(general, "master_key") : NULL;
    const struct node *budget = module ? node_find(module, "max_budget") : NULL;
    struct out *tenant = NULL;
    if (node_is_text(key)) {
        tenant = convert_item(c, convert_root(c), "tenants");
        convert_put(c, tenant, "name", TEXT("litellm"));
        convert_put(c, tenant, "models", TEXT("[\"*\"]"));
        convert_put(c, tenant, "may_set", TEXT("[tags]"));
        convert_tell(c, key, "it opens calls, and not the admin API: that has a key of its own");
    } else {
        convert_tell(c, NULL,
                     "there is no master_key: whoever reaches sluice may call, which is "
                     "allowed on loopback only");
    }
    for (size_t i = 0; general && i < 2; i++) {
        const struct node *number = node_find(general, calls[i]);
        uint64_t count;
        if (tenant && node_is_text(number) && text_number(node_text(number), INT32_MAX, &count))
            convert_put(c, tenant, "limits.concurrent", node_text(number));
        else if (node_is_given(number))
            convert_leave(c, number, "PROTECTS: limits belong to tenants, and there is no key");
    }
    struct text amount = convert_money(c, budget);
    if (tenant && amount.len) {
        struct text period = convert_period(c, node_find(module, "budget_duration"));
        convert_put(c, tenant, "budget.amount", amount);
        convert_put(c, tenant, "budget.period", period.len ? period : TEXT("total"));
    } else if (node_is_given(budget)) {
        convert_leave(c, budget, "PROTECTS: budgets belong to tenants, and there is no key");
    }
    if (tenant) {
        struct out *item = convert_item(c, tenant, "keys");
        convert_put(c, item, "name", TEXT("master"));
        convert_put(c, item, "hash", convert_hash(c, key, "LITELLM_MASTER_KEY"));
    }
}

static void read_general(struct litellm *l, const struct node *general, struct out *defaults)
{
    struct convert *c = l->c;
    if (!general)
        return;
    const struct node *size = node_find(general, "max_request_size_mb");
    uint64_t megabytes;
    if (node_is_text(size) && text_number(node_text(size), 1 << 20, &megabytes)) {
        convert_put(c, convert_root(c), "server.limits.max_body_bytes",
                    convert_format(c, "%lluMiB", (unsigned long long)megabytes));
    } else if (node_is_given(size)) {
        convert_leave(c, size, "it is no whole number");
    }
    if (node_says(node_find(general, "background_health_checks"), "true"))
        convert_put(c, defaults, "health.mode", TEXT("active"));
}

static void convert(struct convert *c, const struct node *root)
{
    struct litellm l = {.c = c};
    l.end = &l.first;
    table_init(&l.groups);
    const struct node *router = node_find(root, "router_settings");
    const struct node *module = node_find(root, "litellm_settings");
    const struct node *general = node_find(root, "general_settings");
    struct out *defaults = convert_draft(c);
    struct convert_places places = {{convert_root(c), defaults, NULL}, TEXT("LITELLM"), false};
    convert_rows(c, root, file_rows, &places);
    read_models(&l, node_find(root, "model_list"));
    read_strategy(&l, router ? node_find(router, "routing_strategy") : NULL);
    read_aliases(&l, router ? node_find(router, "model_group_alias") : NULL);
    read_all_fallbacks(&l, router);
    read_all_fallbacks(&l, module);
    read_redis(&l, router);
    convert_rows(c, router, router_rows, &places);
    convert_rows(c, module, module_rows, &places);
    convert_rows(c, general, general_rows, &places);
    read_module(&l, module);
    read_general(&l, general, defaults);
    read_tenant(&l, general, module);
    convert_default(c, defaults);
    convert_add_attempts(c, longest_fallback(&l));
    write_policies(&l);
    if (l.has_unpriced)
        convert_unpriced(c);
    table_done(&l.groups);
}

const struct converter convert_litellm = {"litellm", "LiteLLM", "os.environ/", convert};
