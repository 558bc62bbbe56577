/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "gateway/base/table.h"
#include "gateway/cli/convert.h"

/* Bifrost's config.json: https://www.getbifrost.ai/schema */

struct bifrost {
    struct convert *c;
    struct table models;       /* struct out, by "provider/model" */
    struct table aliases;      /* the first model that has it, by "model" */
    struct table budgets;      /* struct node, by id */
    struct table rates;        /* the same */
    struct table owners;       /* struct out of a key or tenant, by "vID", "tID", "cID" */
    struct table tenants;      /* name of a tenant as YAML, by "tID", "cID" */
    struct table tenant_names; /* anything */
    struct out *lone;          /* the tenant of keys that have none */
    int weight_shift;
    bool has_unpriced, empty_is_all;
};

/* clang-format off */

static const struct convert_row file_rows[] = {
    {"$schema", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"version", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"source_of_truth", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"env_label", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"client", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"providers", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"governance", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"server", TAKE_LEAVE, AT_ROOT, NULL, "see server.limits"},
    {"encryption_key", TAKE_LEAVE, AT_ROOT, NULL, "keys are kept as hashes, and no provider's key is kept"},
    {"auth_config", TAKE_LEAVE, AT_ROOT, NULL, "operators have admin keys; see admin"},
    {"framework", TAKE_LEAVE, AT_ROOT, NULL, "prices are built in; see models: targets: price"},
    {"mcp", TAKE_LEAVE, AT_ROOT, NULL, "tools are the callers' own"},
    {"vector_store", TAKE_LEAVE, AT_ROOT, NULL, "kept answers are in the memory of each process; see cache"},
    {"config_store", TAKE_LEAVE, AT_ROOT, NULL, "the file says all; what was made in the UI is to be made again"},
    {"logs_store", TAKE_LEAVE, AT_ROOT, NULL, "calls are in the ledger; see store"},
    {"plugins", TAKE_LEAVE, AT_ROOT, NULL, "there are no plugins; see cache, guardrails, telemetry"},
    {"guardrails_config", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {"cluster_config", TAKE_LEAVE, AT_ROOT, NULL, "nodes share a Redis; see store"},
    {0},
};

static const struct convert_row client_rows[] = {
    {"max_request_body_size_mb", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"log_retention_days", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"allowed_origins", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"drop_excess_requests", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"initial_pool_size", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"enable_logging", TAKE_NOTHING, AT_ROOT, NULL, NULL}, /* the ledger has every call */
    {"disable_content_logging", TAKE_NOTHING, AT_ROOT, NULL, NULL}, /* none is */
    {"enforce_governance_header", TAKE_NOTHING, AT_ROOT, NULL, NULL}, /* always, where there is a key */
    {"enforce_auth_on_inference", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"allow_direct_keys", TAKE_LEAVE, AT_ROOT, NULL, "a caller's key never goes to a provider"},
    {"prometheus_labels", TAKE_LEAVE, AT_ROOT, NULL, "labels are fixed; calls have tags"},
    {0},
};

static const struct convert_row provider_rows[] = {
    {"keys", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"network_config", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"custom_provider_config", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"proxy_config", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"concurrency_and_buffer_size", TAKE_LEAVE, AT_PROVIDER, NULL, "calls are not queued; see targets: limits: concurrent"},
    {"send_back_raw_request", TAKE_NOTHING, AT_PROVIDER, NULL, NULL},
    {"send_back_raw_response", TAKE_NOTHING, AT_PROVIDER, NULL, NULL},
    {"store_raw_request_response", TAKE_NOTHING, AT_PROVIDER, NULL, NULL},
    {0},
};

static const struct convert_row network_rows[] = {
    {"base_url", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"extra_headers", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"default_request_timeout_in_seconds", TAKE_SECONDS, AT_PROVIDER, "timeouts.total", NULL},
    {"max_retries", TAKE_COUNT, AT_PROVIDER, "retry.attempts", NULL},
    {"retry_backoff_initial", TAKE_MILLISECONDS, AT_PROVIDER, "retry.backoff", NULL},
    {"retry_backoff_max", TAKE_MILLISECONDS, AT_PROVIDER, "retry.max_backoff", NULL},
    {"max_conns_per_host", TAKE_COUNT, AT_PROVIDER, "pool.max_connections", NULL},
    {"stream_idle_timeout_in_seconds", TAKE_LEAVE, AT_PROVIDER, NULL, "see server.timeouts.stream_idle"},
    {"insecure_skip_verify", TAKE_LEAVE, AT_PROVIDER, NULL, "certificates are always verified; see tls: ca_file"},
    {"ca_cert_pem", TAKE_LEAVE, AT_PROVIDER, NULL, "put it into a file, and name that: tls: ca_file"},
    {0},
};

static const struct convert_row key_rows[] = {
    {"id", TAKE_NOTHING, AT_PROVIDER, NULL, NULL},
    {"name", TAKE_NOTHING, AT_PROVIDER, NULL, NULL},
    {"value", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"models", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"weight", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"enabled", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"aliases", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"azure_key_config", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"vertex_key_config", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"bedrock_key_config", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"vllm_key_config", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"ollama_key_config", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"sgl_key_config", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"blacklisted_models", TAKE_LEAVE, AT_PROVIDER, NULL, "name the models that may be called instead"},
    {"use_for_batch_api", TAKE_NOTHING, AT_PROVIDER, NULL, NULL},
    {0},
};

/* Of azure_key_config, vertex_key_config and bedrock_key_config. */
static const struct convert_row account_rows[] = {
    {"endpoint", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"url", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"deployments", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"api_version", TAKE_TEXT, AT_PROVIDER, "api_version", NULL},
    {"tenant_id", TAKE_TEXT, AT_PROVIDER, "entra.tenant", NULL},
    {"client_id", TAKE_TEXT, AT_PROVIDER, "entra.client_id", NULL},
    {"client_secret", TAKE_SECRET, AT_PROVIDER, "entra.client_secret", "CLIENT_SECRET"},
    {"access_key", TAKE_SECRET, AT_PROVIDER, "access_key", "ACCESS_KEY_ID"},
    {"secret_key", TAKE_SECRET, AT_PROVIDER, "secret_key", "SECRET_ACCESS_KEY"},
    {"session_token", TAKE_SECRET, AT_PROVIDER, "session_token", "SESSION_TOKEN"},
    {"project_id", TAKE_TEXT, AT_PROVIDER, "project", NULL},
    {"region", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"auth_credentials", TAKE_LEAVE, AT_PROVIDER, NULL, "put it into a file, and name that: credentials_file"},
    {"arn", TAKE_LEAVE, AT_PROVIDER, NULL, "write inference profiles as the target's model"},
    {"role_arn", TAKE_LEAVE, AT_PROVIDER, NULL, "roles come from the machine or AWS_WEB_IDENTITY_TOKEN_FILE"},
    {0},
};

static const struct convert_row governance_rows[] = {
    {"virtual_keys", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"budgets", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"rate_limits", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"teams", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"customers", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"auth_config", TAKE_LEAVE, AT_ROOT, NULL, "operators have admin keys; see admin"},
    {"routing_rules", TAKE_LEAVE, AT_ROOT, NULL, "write them as routing.rules: when, use"},
    {"pricing_overrides", TAKE_LEAVE, AT_ROOT, NULL, "see models: targets: price"},
    {"model_configs", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: see tenants: limits: models"},
    {"providers", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: see targets: limits, and tenants: limits: models"},
    {0},
};

/* Of a virtual key, a team and a customer. */
static const struct convert_row owner_rows[] = {
    {"id", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"name", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"description", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"value", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"is_active", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"expires_at", TAKE_TEXT, AT_ROOT, "expires", NULL},
    {"team_id", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"customer_id", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"provider_configs", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"budget_id", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"budgets", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"rate_limit_id", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"mcp_configs", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {"calendar_aligned", TAKE_NOTHING, AT_ROOT, NULL, NULL},
    {0},
};

static const struct convert_row allowed_rows[] = {
    {"provider", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"allowed_models", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"weight", TAKE_LEAVE, AT_ROOT, NULL, "a call names its provider; for others see routing"},
    {"budget_id", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: see tenants: keys: limits: models: budget"},
    {"budgets", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: see tenants: keys: limits: models: budget"},
    {"rate_limit_id", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: see tenants: keys: limits: models"},
    {"rate_limit", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: see tenants: keys: limits: models"},
    {"blacklisted_models", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: name the models that may be called instead"},
    {"keys", TAKE_LEAVE, AT_ROOT, NULL, "a provider's keys take turns"},
    {"key_ids", TAKE_LEAVE, AT_ROOT, NULL, "a provider's keys take turns"},
    {"allowed_keys", TAKE_LEAVE, AT_ROOT, NULL, "a provider's keys take turns"},
    {0},
};

/* clang-format on */

/* A value may be a mapping of its own: {value: "env.X", …}. */
static const struct node *value_of(const struct node *node)
{
    return node && node->kind == NODE_MAP ? node_find(node, "value") : node;
}

/* ------------------------------------------------------------------------- providers */

/* Bifrost's URLs are roots; OpenAI's dialect begins below /v1 here. */
static void read_url(struct bifrost *b, const struct node *node, const char *type,
                     struct out *provider)
{
    static const char *const roots[] = {"anthropic",    "gemini", "cohere", "bedrock",
                                        "azure-openai", "vertex", "ollama"};
    struct convert *c = b->c;
    const struct node *value = value_of(node);
    const char *variable = convert_variable(c, text_of(type), "BASE_URL");
    struct text url = convert_url(c, value, variable);
    if (!url.len) {
        if (node_is_given(node))
            convert_leave(c, node, "it is no URL");
        return;
    }
    bool is_root = false;
    for (size_t i = 0; i < sizeof(roots) / sizeof(*roots); i++)
        is_root |= strcmp(type, roots[i]) == 0;
    bool is_quoted = url.at[0] == '"';
    struct text inner = is_quoted ? text_head(text_from(url, 1), url.len - 2) : url;
    while (text_ends(inner, TEXT("/")))
        inner.len--;
    if (strcmp(type, "gemini") == 0 && text_ends(inner, TEXT("/v1beta")))
        inner.len -= strlen("/v1beta");
    bool has_version = text_ends(inner, TEXT("/v1"));
    convert_put(
        c, provider, "base_url",
        convert_format(c, "\"%.*s%s\"", TEXT_ARGS(inner), is_root || has_version ? "" : "/v1"));
}

static void read_network(struct bifrost *b, const struct node *network, const char *type,
                         struct out *shared)
{
    struct convert *c = b->c;
    struct convert_places places = {{convert_root(c), shared, NULL}, text_of(type), false};
    if (!network)
        return;
    read_url(b, node_find(network, "base_url"), type, shared);
    if (node_is_given(node_find(network, "extra_headers")))
        convert_headers(c, node_find(network, "extra_headers"), shared, text_of(type));
    convert_rows(c, network, network_rows, &places);
}

static void read_proxy(struct bifrost *b, const struct node *proxy, const char *type,
                       struct out *shared)
{
    if (!node_is_given(proxy) || node_says(node_find(proxy, "type"), "none") ||
        node_says(node_find(proxy, "type"), "environment"))
        return;
    struct text url = convert_url(b->c, value_of(node_find(proxy, "url")),
                                  convert_variable(b->c, text_of(type), "PROXY_URL"));
    if (url.len && node_says(node_find(proxy, "type"), "http") && !node_find(proxy, "username"))
        convert_put(b->c, shared, "proxy", url);
    else
        convert_leave(b->c, proxy, "see providers: proxy, http://user:password@host:port");
}

/* What a key says besides its value and its models. */
static void read_account(struct bifrost *b, const struct node *key, const char *type,
                         struct out *provider)
{
    static const char *const parts[] = {"azure_key_config",   "vertex_key_config",
                                        "bedrock_key_config", "vllm_key_config",
                                        "ollama_key_config",  "sgl_key_config"};
    struct convert *c = b->c;
    bool aws = strcmp(type, "bedrock") == 0;
    struct convert_places places = {
        {convert_root(c), provider, NULL}, aws ? TEXT("AWS") : text_of(type), false};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        const struct node *part = node_find(key, parts[i]);
        if (!node_is_given(part))
            continue;
        read_url(b, node_find(part, "endpoint"), type, provider);
        read_url(b, node_find(part, "url"), type, provider);
        const struct node *region = value_of(node_find(part, "region"));
        if (node_is_text(region))
            convert_put(c, provider, i == 1 ? "location" : "region", convert_value(c, region));
        convert_rows(c, part, account_rows, &places);
    }
    convert_rows(c, key, key_rows, &places);
}

/* The vendor's name of a model of this key's: by its aliases or its deployments. */
static struct text own_name(const struct node *key, struct text model)
{
    static const char *const maps[] = {"aliases", "azure_key_config.deployments",
                                       "vertex_key_config.deployments",
                                       "bedrock_key_config.deployments"};
    for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
        const struct node *map = node_at(key, maps[i]);
        for (const struct node *entry = map ? map->first : NULL; entry; entry = entry->next)
            if (entry->key && node_is_text(entry) && text_equal(node_key(entry), model))
                return node_text(entry);
    }
    return model;
}

static void add_target(struct bifrost *b, const struct node *key, struct text provider_name,
                       struct text model, struct text provider)
{
    struct convert *c = b->c;
    struct text name = convert_format(c, "%.*s/%.*s", TEXT_ARGS(provider_name), TEXT_ARGS(model));
    struct out *route = table_find(&b->models, name);
    if (!route) {
        route = convert_item(c, convert_root(c), "models");
        convert_put(c, route, "name", convert_quote(c, name));
        if (!table_find(&b->aliases, model)) {
            convert_put(c, route, "aliases",
                        convert_listed(c, (struct text){"", 0}, convert_quote(c, model)));
            table_set(&b->aliases, model, route);
        }
        table_set(&b->models, name, route);
    }
    struct out *target = convert_item(c, route, "targets");
    convert_put(c, target, "id", convert_target_id(c, name));
    convert_put(c, target, "provider", provider);
    convert_put(c, target, "model", convert_quote(c, own_name(key, model)));
    const struct node *weight = node_find(key, "weight");
    struct text share =
        node_is_text(weight) ? convert_shifted(c, node_text(weight), b->weight_shift) : TEXT("");
    if (share.len && text_find_byte(share, '.') == SIZE_MAX)
        convert_put(c, target, "weight", share);
    b->has_unpriced = true;
}

static bool has_all(const struct node *list)
{
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next)
        if (node_says(entry, "*"))
            return true;
    return !list || !list->first;
}

static bool says_the_same(const struct node *a, const struct node *b)
{
    const struct node *x = a ? a->first : NULL, *y = b ? b->first : NULL;
    for (; x && y && text_equal(node_text(x), node_text(y)); x = x->next, y = y->next)
        ;
    return !x && !y;
}

/* May the keys of a provider take turns, since they differ in nothing but their values? */
static bool take_turns(const struct node *keys)
{
    for (const struct node *key = keys->first; key; key = key->next)
        for (const struct node *entry = key->first; entry; entry = entry->next)
            if (strstr(entry->key ? entry->key : "", "_key_config") || node_says(entry, "false") ||
                strcmp(entry->key ? entry->key : "", "aliases") == 0)
                return false;
    for (const struct node *key = keys->first; key; key = key->next)
        if (!says_the_same(node_find(key, "models"), node_find(keys->first, "models")) ||
            !node_is_text(value_of(node_find(key, "value"))))
            return false;
    return keys->first && keys->first->next;
}

static void add_models(struct bifrost *b, const struct node *key, struct text provider_name,
                       struct text provider)
{
    const struct node *models = node_find(key, "models");
    if (has_all(models)) {
        convert_put(b->c, convert_root(b->c), "routing.unknown_model", TEXT("passthrough"));
        b->has_unpriced = true;
        return;
    }
    for (const struct node *entry = models->first; entry; entry = entry->next)
        if (node_is_text(entry))
            add_target(b, key, provider_name, node_text(entry), provider);
}

static void read_key(struct bifrost *b, const struct node *key, const struct node *provider,
                     const char *type, const struct out *shared)
{
    struct convert *c = b->c;
    if (node_says(node_find(key, "enabled"), "false")) {
        convert_leave(c, key, "it is not enabled");
        return;
    }
    struct out *draft = convert_draft(c);
    convert_put(c, draft, "type", text_of(type));
    const struct node *value = value_of(node_find(key, "value"));
    if (node_is_text(value))
        convert_put(c, draft, "api_key",
                    convert_secret(c, value, convert_variable(c, node_key(provider), "API_KEY")));
    read_account(b, key, type, draft);
    convert_merge(c, draft, shared);
    add_models(b, key, node_key(provider), convert_provider(c, draft, provider->key));
}

static void read_turns(struct bifrost *b, const struct node *keys, const struct node *provider,
                       const char *type, const struct out *shared)
{
    struct convert *c = b->c;
    struct out *draft = convert_draft(c);
    struct text list = {"", 0};
    convert_put(c, draft, "type", text_of(type));
    for (const struct node *key = keys->first; key; key = key->next) {
        list = convert_listed(c, list,
                              convert_secret(c, value_of(node_find(key, "value")),
                                             convert_variable(c, node_key(provider), "API_KEY")));
        read_account(b, key, type, draft);
        if (node_is_given(node_find(key, "weight")) && !node_says(node_find(key, "weight"), "1"))
            convert_leave(c, node_find(key, "weight"), "keys of one provider take even turns");
    }
    convert_put(c, draft, "api_keys", list);
    convert_merge(c, draft, shared);
    struct text name = convert_provider(c, draft, provider->key);
    const struct node *models = node_find(keys->first, "models");
    if (has_all(models))
        add_models(b, keys->first, node_key(provider), name);
    else /* without the weights, which are those of keys */
        for (const struct node *entry = models->first; entry; entry = entry->next)
            if (node_is_text(entry))
                add_target(b, NULL, node_key(provider), node_text(entry), name);
}

static void read_provider(struct bifrost *b, const struct node *provider)
{
    struct convert *c = b->c;
    const struct node *custom = node_at(provider, "custom_provider_config.base_provider_type");
    const char *type =
        convert_vendor(node_is_text(custom) ? node_text(custom) : node_key(provider));
    if (!type || provider->kind != NODE_MAP) {
        convert_leave(c, provider, "no such vendor is known here; see docs/PROVIDERS.md");
        return;
    }
    const struct node *keys = node_find(provider, "keys");
    struct out *shared = convert_draft(c);
    struct convert_places places = {{convert_root(c), shared, NULL}, node_key(provider), false};
    read_network(b, node_find(provider, "network_config"), type, shared);
    read_proxy(b, node_find(provider, "proxy_config"), type, shared);
    convert_rows(c, provider, provider_rows, &places);
    if (keys && keys->kind == NODE_LIST && take_turns(keys)) {
        read_turns(b, keys, provider, type, shared);
        return;
    }
    if (keys && keys->kind == NODE_LIST && keys->first) {
        for (const struct node *key = keys->first; key; key = key->next)
            read_key(b, key, provider, type, shared);
        return;
    }
    struct out *draft = convert_draft(c);
    convert_put(c, draft, "type", text_of(type));
    convert_merge(c, draft, shared);
    convert_provider(c, draft, provider->key);
    convert_put(c, convert_root(c), "routing.unknown_model", TEXT("passthrough"));
    b->has_unpriced = true;
}

/* ------------------------------------------------------------------------- governance */

static void put_budget(struct bifrost *b, const struct node *budget, struct out *owner)
{
    struct convert *c = b->c;
    struct text amount = convert_money(c, node_find(budget, "max_limit"));
    struct text period = convert_period(c, node_find(budget, "reset_duration"));
    if (!amount.len || !period.len) {
        convert_leave(c, budget, "PROTECTS: its max_limit or reset_duration is none that is known");
        return;
    }
    struct out *item = convert_item(c, owner, "budgets");
    convert_put(c, item, "amount", amount);
    convert_put(c, item, "period", period);
}

static void put_rates(struct bifrost *b, const struct node *rates, struct out *owner)
{
    static const struct {
        const char *what, *limit, *span;
    } kinds[] = {{"requests", "request_max_limit", "request_reset_duration"},
                 {"tokens", "token_max_limit", "token_reset_duration"}};
    struct convert *c = b->c;
    for (size_t i = 0; i < 2; i++) {
        const struct node *limit = node_find(rates, kinds[i].limit);
        uint64_t number;
        if (!node_is_given(limit))
            continue;
        const char *name = convert_limit(c, kinds[i].what, node_find(rates, kinds[i].span));
        if (name && node_is_text(limit) && text_number(node_text(limit), INT64_MAX, &number))
            convert_put(c, convert_section(c, owner, "limits"), name, node_text(limit));
        else
            convert_leave(c, limit, "PROTECTS: limits are per second, minute, hour or day");
    }
}

/* Limits and budgets that a key, team or customer names, and those that name it. */
static void put_bounds(struct bifrost *b, const struct node *owner, char kind, struct out *to)
{
    struct convert *c = b->c;
    const struct node *budget = node_find(owner, "budget_id");
    const struct node *rates = node_find(owner, "rate_limit_id");
    const struct node *id = node_find(owner, "id"), *own = node_find(owner, "budgets");
    struct convert_places places = {{to, NULL, NULL}, TEXT("BIFROST"), false};
    convert_rows(c, owner, owner_rows, &places);
    const struct node *named =
        node_is_text(budget) ? table_find(&b->budgets, node_text(budget)) : NULL;
    const struct node *limit = node_is_text(rates) ? table_find(&b->rates, node_text(rates)) : NULL;
    if (named)
        put_budget(b, named, to);
    else if (node_is_given(budget))
        convert_leave(c, budget, "PROTECTS: there is no budget of this id in the file");
    if (limit)
        put_rates(b, limit, to);
    else if (node_is_given(rates))
        convert_leave(c, rates, "PROTECTS: there is no rate limit of this id in the file");
    for (const struct node *entry = own ? own->first : NULL; entry; entry = entry->next)
        put_budget(b, entry, to);
    if (node_is_text(id))
        table_set(&b->owners, convert_format(c, "%c%.*s", kind, TEXT_ARGS(node_text(id))), to);
}

/* <name> becomes what the tenant is called, as YAML. */
static struct out *new_tenant(struct bifrost *b, struct text *name, struct text parent)
{
    struct convert *c = b->c;
    struct text own = *name;
    for (unsigned n = 2; table_find(&b->tenant_names, own) && n < 1000; n++)
        own = convert_format(c, "%.*s-%u", TEXT_ARGS(text_head(*name, 100)), n);
    *name = convert_quote(c, own);
    struct out *tenant = convert_item(c, convert_root(c), "tenants");
    convert_put(c, tenant, "name", *name);
    convert_put(c, tenant, "parent", parent);
    convert_put(c, tenant, "models", TEXT("[\"*\"]"));
    table_set(&b->tenant_names, own, tenant);
    return tenant;
}

/* Customers, and teams, which may be in one. */
static void read_tenants(struct bifrost *b, const struct node *list, char kind)
{
    struct convert *c = b->c;
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        const struct node *id = node_find(entry, "id"), *name = node_find(entry, "name");
        const struct node *above = node_find(entry, "customer_id");
        if (!node_is_text(id)) {
            convert_leave(c, entry, "it has no id");
            continue;
        }
        struct text *parent =
            kind == 't' && node_is_text(above)
                ? table_find(&b->tenants, convert_format(c, "c%.*s", TEXT_ARGS(node_text(above))))
                : NULL;
        struct text called = node_is_text(name) ? node_text(name) : node_text(id);
        struct out *tenant = new_tenant(b, &called, parent ? *parent : TEXT(""));
        struct text *kept = convert_take(c, sizeof(*kept));
        *kept = called;
        struct text key = convert_format(c, "%c%.*s", kind, TEXT_ARGS(node_text(id)));
        table_set(&b->tenants, key, kept);
        put_bounds(b, entry, kind, tenant);
    }
}

/* The names that a key may call; empty: none. */
static struct text allowed_models(struct bifrost *b, const struct node *key)
{
    struct convert *c = b->c;
    struct text list = {"", 0};
    struct convert_places places = {{NULL, NULL, NULL}, TEXT("BIFROST"), false};
    const struct node *configs = node_find(key, "provider_configs");
    if (b->empty_is_all && (!configs || !configs->first))
        return TEXT("[\"*\"]");
    for (const struct node *at = configs ? configs->first : NULL; at; at = at->next) {
        const struct node *provider = node_find(at, "provider");
        const struct node *models = node_find(at, "allowed_models");
        convert_rows(c, at, allowed_rows, &places);
        if (!node_is_text(provider))
            continue;
        bool is_empty = !models || !models->first;
        if (is_empty ? b->empty_is_all : has_all(models)) {
            list = convert_listed(
                c, list,
                convert_quote(c, convert_format(c, "%.*s/*", TEXT_ARGS(node_text(provider)))));
            continue;
        }
        for (const struct node *entry = models ? models->first : NULL; entry; entry = entry->next)
            if (node_is_text(entry))
                list = convert_listed(
                    c, list,
                    convert_quote(c, convert_format(c, "%.*s/%.*s", TEXT_ARGS(node_text(provider)),
                                                    TEXT_ARGS(node_text(entry)))));
    }
    return list;
}

static void read_virtual_key(struct bifrost *b, const struct node *key)
{
    struct convert *c = b->c;
    const struct node *name = node_find(key, "name"), *value = value_of(node_find(key, "value"));
    const struct node *team = node_find(key, "team_id"), *customer = node_find(key, "customer_id");
    if (node_says(node_find(key, "is_active"), "false") || !node_is_text(name) ||
        !node_is_text(value)) {
        convert_leave(c, key, "it is not active, or its value does not stand in the file");
        return;
    }
    struct text models = allowed_models(b, key);
    if (!models.len) {
        convert_leave(c, key, "it may call nothing");
        return;
    }
    struct text above = node_is_text(team) ? convert_format(c, "t%.*s", TEXT_ARGS(node_text(team)))
                        : node_is_text(customer)
                            ? convert_format(c, "c%.*s", TEXT_ARGS(node_text(customer)))
                            : TEXT("");
    struct out *tenant = above.len ? table_find(&b->owners, above) : NULL;
    if (above.len && !tenant) {
        convert_leave(c, key, "there is no team or customer of this id in the file");
        return;
    }
    if (!tenant && !b->lone) {
        struct text own = TEXT("bifrost");
        b->lone = new_tenant(b, &own, TEXT(""));
    }
    struct out *item = convert_item(c, tenant ? tenant : b->lone, "keys");
    convert_put(c, item, "name", convert_quote(c, text_head(node_text(name), 100)));
    convert_put(c, item, "hash",
                convert_hash(c, value, convert_variable(c, text_head(node_text(name), 40), "KEY")));
    convert_put(c, item, "models", models);
    put_bounds(b, key, 'v', item);
}

static void index_by_id(struct table *table, const struct node *list)
{
    for (struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        const struct node *id = node_find(entry, "id");
        if (node_is_text(id))
            table_set(table, node_text(id), entry);
    }
}

/* Budgets that say whose they are. */
static void read_owned_budgets(struct bifrost *b, const struct node *list)
{
    static const struct {
        const char *name;
        char kind;
    } owners[] = {{"virtual_key_id", 'v'}, {"team_id", 't'}, {"customer_id", 'c'}};
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        for (size_t i = 0; i < 3; i++) {
            const struct node *id = node_find(entry, owners[i].name);
            struct out *owner =
                node_is_text(id)
                    ? table_find(&b->owners, convert_format(b->c, "%c%.*s", owners[i].kind,
                                                            TEXT_ARGS(node_text(id))))
                    : NULL;
            if (owner)
                put_budget(b, entry, owner);
        }
        if (node_is_given(node_find(entry, "provider_config_id")) ||
            node_is_given(node_find(entry, "model_config_id")))
            convert_leave(b->c, entry, "PROTECTS: see tenants: keys: limits: models: budget");
    }
}

static void read_governance(struct bifrost *b, const struct node *governance)
{
    struct convert *c = b->c;
    struct convert_places places = {{convert_root(c), NULL, NULL}, TEXT("BIFROST"), false};
    const struct node *keys = governance ? node_find(governance, "virtual_keys") : NULL;
    if (!keys || !keys->first)
        convert_tell(c, NULL,
                     "there are no virtual keys: whoever reaches sluice may call, which "
                     "is allowed on loopback only");
    if (!governance)
        return;
    convert_rows(c, governance, governance_rows, &places);
    index_by_id(&b->budgets, node_find(governance, "budgets"));
    index_by_id(&b->rates, node_find(governance, "rate_limits"));
    read_tenants(b, node_find(governance, "customers"), 'c');
    read_tenants(b, node_find(governance, "teams"), 't');
    for (const struct node *key = keys ? keys->first : NULL; key; key = key->next)
        read_virtual_key(b, key);
    read_owned_budgets(b, node_find(governance, "budgets"));
}

/* ------------------------------------------------------------------------- client */

static void read_client(struct bifrost *b, const struct node *client)
{
    struct convert *c = b->c;
    struct convert_places places = {{convert_root(c), NULL, NULL}, TEXT("BIFROST"), false};
    uint64_t number;
    if (!client)
        return;
    convert_rows(c, client, client_rows, &places);
    const struct node *size = node_find(client, "max_request_body_size_mb");
    if (node_is_text(size) && text_number(node_text(size), 1 << 20, &number))
        convert_put(c, convert_root(c), "server.limits.max_body_bytes",
                    convert_format(c, "%lluMiB", (unsigned long long)number));
    const struct node *days = node_find(client, "log_retention_days");
    if (node_is_text(days) && text_number(node_text(days), 36500, &number))
        convert_put(c, convert_root(c), "store.retention.requests",
                    convert_format(c, "%llud", (unsigned long long)number));
    const struct node *origins = node_find(client, "allowed_origins");
    struct text list = {"", 0};
    for (const struct node *entry = origins ? origins->first : NULL; entry; entry = entry->next)
        if (node_is_text(entry) && !node_says(entry, "*"))
            list = convert_listed(c, list, convert_value(c, entry));
        else
            convert_leave(c, entry, "origins are named one by one");
    if (list.len)
        convert_put(c, convert_root(c), "server.cors.allow_origins", list);
}

static void convert(struct convert *c, const struct node *root)
{
    struct bifrost b = {.c = c, .empty_is_all = node_says(node_find(root, "version"), "1")};
    struct table *const tables[] = {&b.models, &b.aliases, &b.budgets,     &b.rates,
                                    &b.owners, &b.tenants, &b.tenant_names};
    struct convert_places places = {{convert_root(c), NULL, NULL}, TEXT("BIFROST"), false};
    const struct node *providers = node_find(root, "providers");
    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
        table_init(tables[i]);
    convert_rows(c, root, file_rows, &places);
    read_client(&b, node_find(root, "client"));
    for (const struct node *at = providers ? providers->first : NULL; at; at = at->next) {
        const struct node *keys = node_find(at, "keys");
        for (const struct node *key = keys ? keys->first : NULL; key; key = key->next) {
            const struct node *weight = node_find(key, "weight");
            if (node_is_text(weight) && text_find_byte(node_text(weight), '.') != SIZE_MAX)
                b.weight_shift = 3;
        }
    }
    if (providers && providers->kind == NODE_MAP)
        for (const struct node *at = providers->first; at; at = at->next)
            read_provider(&b, at);
    read_governance(&b, node_find(root, "governance"));
    if (b.models.count) {
        convert_put(c, convert_root(c), "routing.default_policy", TEXT("bifrost"));
        struct out *policy =
            convert_item(c, convert_section(c, convert_root(c), "routing"), "policies");
        convert_put(c, policy, "name", TEXT("bifrost"));
        convert_put(c, policy, "strategy", TEXT("weighted"));
    }
    if (b.has_unpriced)
        convert_unpriced(c);
    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
        table_done(tables[i]);
}

const struct converter convert_bifrost = {"bifrost", "Bifrost", "env.", convert};
