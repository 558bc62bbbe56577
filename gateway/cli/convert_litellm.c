/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/convert_litellm.h"

#include <string.h>

#include "gateway/base/table.h"

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

/* clang-format off */

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
    convert_rows(c, params, convert_litellm_params, &places);
    convert_rows(c, info, convert_litellm_info, &places);
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
    if (node_is_true(node_find(settings, "cache")))
        convert_tell(c, node_find(settings, "cache"),
                     "only calls with temperature 0 are kept; see cache: exact: max_temperature");
    static const char *const callbacks[] = {"callbacks", "success_callback", "failure_callback",
                                            "service_callbacks"};
    for (size_t i = 0; i < 4; i++)
        read_callbacks(l, node_find(settings, callbacks[i]));
    if (node_is_true(node_find(settings, "json_logs")))
        convert_put(c, convert_root(c), "telemetry.log.format", TEXT("json"));
    if (node_is_true(node_find(settings, "set_verbose")))
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
        if (!node_is_true(node_find(general, "reject_clientside_metadata_tags")))
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

/* How long calls are kept, and with what was said in them. */
static void read_retention(struct litellm *l, const struct node *general)
{
    struct convert *c = l->c;
    const struct node *prompts = node_find(general, "store_prompts_in_spend_logs");
    const struct node *span = node_find(general, "maximum_spend_logs_retention_period");
    struct text time = convert_period(c, span);
    if (text_equal(time, TEXT("month")))
        time = TEXT("30d");
    if (time.len)
        convert_put(c, convert_root(c), "store.retention.requests", time);
    else if (node_is_given(span))
        convert_leave(c, span, "it is no span of time");
    if (!node_is_true(prompts))
        return;
    convert_put(c, convert_root(c), "store.capture", TEXT("full"));
    if (time.len)
        convert_put(c, convert_root(c), "store.retention.content", time);
    convert_tell(c, prompts,
                 "only admins see what was said; it goes after store: retention: "
                 "content (7 days, if nothing else is said)");
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
    if (node_is_true(node_find(general, "background_health_checks")))
        convert_put(c, defaults, "health.mode", TEXT("active"));
    read_retention(l, general);
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
    convert_rows(c, root, convert_litellm_file, &places);
    read_models(&l, node_find(root, "model_list"));
    read_strategy(&l, router ? node_find(router, "routing_strategy") : NULL);
    read_aliases(&l, router ? node_find(router, "model_group_alias") : NULL);
    read_all_fallbacks(&l, router);
    read_all_fallbacks(&l, module);
    read_redis(&l, router);
    convert_rows(c, router, convert_litellm_router, &places);
    convert_rows(c, module, convert_litellm_module, &places);
    convert_rows(c, general, convert_litellm_general, &places);
    read_module(&l, module);
    read_general(&l, general, defaults);
    if (router && node_is_true(node_find(router, "disable_cooldowns")))
        convert_put(c, defaults, "health.mode", TEXT("none")); /* unless it is asked */
    read_tenant(&l, general, module);
    convert_default(c, defaults);
    convert_add_attempts(c, longest_fallback(&l));
    write_policies(&l);
    if (l.has_unpriced)
        convert_unpriced(c);
    table_done(&l.groups);
}

const struct converter convert_litellm = {"litellm", "LiteLLM", "os.environ/", convert};
