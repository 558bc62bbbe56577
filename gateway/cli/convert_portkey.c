/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "gateway/base/table.h"
#include "gateway/cli/convert.h"

/* A config object of Portkey's: https://portkey.ai/docs/product/ai-gateway/configs. It does not
 * name models as callers do, so one model is made that stands for all names. */

enum { NESTED_MAX = 8, PRIORITY_MAX = 1000 };

/* Targets by the name that conditions call them. */
struct branch {
    struct text ids; /* a list in YAML */
};

struct portkey {
    struct convert *c;
    struct out *model;
    struct table branches; /* struct branch */
    unsigned priority;
    bool is_weighted, has_any;
};

/* What a target has of those that it stands in. */
struct inherited {
    const struct node *within[NESTED_MAX + 1]; /* the innermost first; NULL ends */
    struct branch *branch;                     /* of a condition, or NULL */
    struct text weight;
    unsigned priority;
};

/* clang-format off */

static const struct convert_row target_rows[] = {
    {"strategy", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"targets", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"name", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"provider", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"virtual_key", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"weight", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"override_params", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"custom_host", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"azure_resource_name", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"azure_deployment_id", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"azure_api_version", TAKE_TEXT, AT_PROVIDER, "api_version", NULL},
    {"azure_entra_tenant_id", TAKE_TEXT, AT_PROVIDER, "entra.tenant", NULL},
    {"azure_entra_client_id", TAKE_TEXT, AT_PROVIDER, "entra.client_id", NULL},
    {"azure_entra_client_secret", TAKE_SECRET, AT_PROVIDER, "entra.client_secret", "CLIENT_SECRET"},
    {"api_key", TAKE_SECRET, AT_PROVIDER, "api_key", "API_KEY"},
    {"aws_access_key_id", TAKE_SECRET, AT_PROVIDER, "access_key", "ACCESS_KEY_ID"},
    {"aws_secret_access_key", TAKE_SECRET, AT_PROVIDER, "secret_key", "SECRET_ACCESS_KEY"},
    {"aws_session_token", TAKE_SECRET, AT_PROVIDER, "session_token", "SESSION_TOKEN"},
    {"aws_region", TAKE_TEXT, AT_PROVIDER, "region", NULL},
    {"vertex_project_id", TAKE_TEXT, AT_PROVIDER, "project", NULL},
    {"vertex_region", TAKE_TEXT, AT_PROVIDER, "location", NULL},
    {"vertex_service_account_json", TAKE_LEAVE, AT_PROVIDER, NULL, "put it into a file, and name that: credentials_file"},
    {"openai_organization", TAKE_TEXT, AT_PROVIDER, "organization", NULL},
    {"request_timeout", TAKE_MILLISECONDS, AT_PROVIDER, "timeouts.total", NULL},
    {"retry", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"cache", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"input_guardrails", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {"output_guardrails", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {"before_request_hooks", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {"after_request_hooks", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {"forward_headers", TAKE_LEAVE, AT_PROVIDER, NULL, "headers of the dialect are forwarded, and no others"},
    {"strict_open_ai_compliance", TAKE_NOTHING, AT_PROVIDER, NULL, NULL},
    {0},
};

/* Of what targets stand in; those that are handed down are looked at by each target. */
static const struct convert_row group_rows[] = {
    {"strategy", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"targets", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"name", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"weight", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"retry", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"request_timeout", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"override_params", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"cache", TAKE_OTHERWISE, AT_ROOT, NULL, NULL},
    {"input_guardrails", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {"output_guardrails", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {"before_request_hooks", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {"after_request_hooks", TAKE_LEAVE, AT_ROOT, NULL, "PROTECTS: calls pass without it; see guardrails"},
    {0},
};

static const struct convert_row override_rows[] = {
    {"model", TAKE_OTHERWISE, AT_TARGET, NULL, NULL},
    {"max_tokens", TAKE_COUNT, AT_TARGET, "params.max_tokens", NULL},
    {"temperature", TAKE_LEAVE, AT_TARGET, NULL, "only max_tokens can be filled in for a caller that leaves it out"},
    {"top_p", TAKE_LEAVE, AT_TARGET, NULL, "only max_tokens can be filled in for a caller that leaves it out"},
    {0},
};

static const struct convert_row retry_rows[] = {
    {"attempts", TAKE_COUNT, AT_PROVIDER, "retry.attempts", NULL},
    {"on_status_codes", TAKE_OTHERWISE, AT_PROVIDER, NULL, NULL},
    {"use_retry_after_header", TAKE_NOTHING, AT_PROVIDER, NULL, NULL}, /* always */
    {0},
};

/* clang-format on */

/* Names are written with and without '_'. */
static const struct node *member(const struct node *map, const char *name)
{
    const struct node *found = node_find(map, name);
    if (found)
        return found;
    char other[64];
    size_t len = 0;
    for (const char *at = name; *at && len + 1 < sizeof(other); at++)
        if (*at == '_' && at[1])
            other[len++] = (char)(*++at & ~0x20);
        else
            other[len++] = *at;
    other[len] = '\0';
    return node_find(map, other);
}

/* What the target says, or else what it stands in. */
static const struct node *handed_down(const struct inherited *from, const char *name)
{
    for (size_t i = 0; from->within[i]; i++)
        if (node_is_given(member(from->within[i], name)))
            return member(from->within[i], name);
    return NULL;
}

/* ------------------------------------------------------------------------- targets */

/* "@openai-prod/gpt-4o": an account, and the model behind it; both may be missing. */
struct account {
    struct text vendor, slug, model;
};

static struct account read_account(const struct node *target, struct text model)
{
    const struct node *provider = member(target, "provider"), *key = member(target, "virtual_key");
    struct account account = {{"", 0}, {"", 0}, model};
    if (node_is_text(provider))
        account.vendor = node_text(provider);
    if (text_starts(account.vendor, TEXT("@"))) {
        account.slug = text_from(account.vendor, 1);
        account.vendor.len = 0;
    } else if (node_is_text(key)) {
        account.slug = node_text(key);
    }
    size_t slash = text_find_byte(model, '/');
    if (text_starts(model, TEXT("@")) && slash != SIZE_MAX) {
        account.slug = text_from(text_head(model, slash), 1);
        account.model = text_from(model, slash + 1);
    }
    return account;
}

/* The vendor of an account is known to Portkey only; its name often tells. */
static const char *guess_vendor(const struct account *account)
{
    struct text rest = account->slug, word;
    const char *type = NULL;
    while (!type && rest.len && text_next(&rest, '-', &word))
        type = convert_vendor(word);
    return type ? type : convert_vendor_of(account->model);
}

static void read_retry(struct portkey *p, const struct inherited *from, struct out *provider)
{
    struct convert *c = p->c;
    const struct node *retry = handed_down(from, "retry");
    struct convert_places places = {{convert_root(c), provider, NULL}, TEXT("PORTKEY"), true};
    const struct node *codes = retry ? member(retry, "on_status_codes") : NULL;
    struct text list = {"", 0};
    uint64_t status;
    convert_rows(c, retry, retry_rows, &places);
    for (size_t i = 1; !codes && from->within[i - 1] && from->within[i]; i++)
        codes = member(member(from->within[i], "strategy"), "on_status_codes");
    if (!codes || codes->kind != NODE_LIST)
        return;
    for (const struct node *entry = codes->first; entry; entry = entry->next)
        if (node_is_text(entry) && text_number(node_text(entry), 599, &status) && status >= 400)
            list = convert_listed(c, list.len ? list : TEXT("[connect]"),
                                  convert_quote(c, node_text(entry)));
        else
            convert_leave(c, entry, "it is no status from 400 to 599");
    convert_put(c, provider, "retry.retry_on", list);
}

static void read_base(struct portkey *p, const struct node *target, const char *type,
                      struct out *provider)
{
    struct convert *c = p->c;
    const struct node *host = member(target, "custom_host");
    const struct node *resource = member(target, "azure_resource_name");
    struct text url = convert_url(c, host, convert_variable(c, text_of(type), "BASE_URL"));
    if (url.len)
        convert_put(c, provider, "base_url", url);
    else if (node_is_given(host))
        convert_leave(c, host, "it is no URL");
    if (node_is_text(resource))
        convert_put(c, provider, "base_url",
                    convert_quote(c, convert_format(c, "https://%.*s.openai.azure.com",
                                                    TEXT_ARGS(node_text(resource)))));
}

static void read_target(struct portkey *p, const struct node *target, const struct inherited *from)
{
    struct convert *c = p->c;
    const struct node *params = handed_down(from, "override_params");
    const struct node *model = params ? node_find(params, "model") : NULL;
    const struct node *deployment = member(target, "azure_deployment_id");
    const struct node *timeout = handed_down(from, "request_timeout");
    const struct node *name = member(target, "name");
    struct account account =
        read_account(target, node_is_text(model) ? node_text(model) : TEXT(""));
    const char *type = account.vendor.len ? convert_vendor(account.vendor) : guess_vendor(&account);
    if (!type) {
        convert_leave(c, target, "its vendor does not stand in the file, or is not known here");
        return;
    }
    struct out *provider = convert_draft(c), *draft = convert_draft(c);
    struct text variables = account.slug.len ? account.slug : text_of(type);
    struct convert_places places = {{convert_root(c), provider, draft}, variables, true};
    convert_put(c, provider, "type", text_of(type));
    read_base(p, target, type, provider);
    convert_rows(c, target, target_rows, &places);
    convert_rows(c, params, override_rows, &places);
    if (account.slug.len && !convert_has(provider, "api_key")) {
        const char *variable = convert_variable(c, account.slug, "API_KEY");
        convert_put(c, provider, "api_key", convert_format(c, "\"${%s}\"", variable));
        convert_tell(c, target, "set %s to the key of this account, which is kept by Portkey",
                     variable);
    }
    if (timeout && timeout->above != target && node_is_text(timeout))
        convert_put(c, provider, "timeouts.total", convert_time(c, node_text(timeout), 3));
    read_retry(p, from, provider);
    if (node_is_text(deployment))
        account.model = node_text(deployment);
    struct out *item = convert_item(c, p->model, "targets");
    struct text wanted = node_is_text(name) ? node_text(name)
                         : account.slug.len ? account.slug
                                            : text_of(type);
    struct text id = convert_target_id(c, wanted);
    convert_put(c, item, "id", id);
    convert_put(
        c, item, "provider",
        convert_provider(c, provider,
                         convert_format(c, "%.*s", TEXT_ARGS(text_head(variables, 100))).at));
    convert_put(c, item, "model",
                account.model.len ? convert_quote(c, account.model) : TEXT("\"*\""));
    convert_put(c, item, "weight", from->weight);
    convert_put(c, item, "priority", convert_format(c, "%u", from->priority));
    convert_join(item, draft);
    if (from->branch)
        from->branch->ids = convert_listed(c, from->branch->ids, id);
    p->has_any = true;
}

/* ------------------------------------------------------------------------- strategies */

static struct text read_weight(struct portkey *p, const struct node *target)
{
    const struct node *weight = member(target, "weight");
    struct text whole =
        node_is_text(weight) ? convert_shifted(p->c, node_text(weight), 3) : TEXT("1000");
    if (whole.len && text_find_byte(whole, '.') == SIZE_MAX)
        return whole;
    convert_leave(p->c, weight, "it is no number with at most three decimals");
    return TEXT("1000");
}

static void read_group(struct portkey *p, const struct node *group, const struct inherited *from,
                       unsigned depth);

static struct branch *branch_of(struct portkey *p, const struct node *target)
{
    const struct node *name = member(target, "name");
    struct branch *branch = convert_take(p->c, sizeof(*branch));
    if (node_is_text(name))
        table_set(&p->branches, node_text(name), branch);
    return branch;
}

static void read_targets(struct portkey *p, const struct node *group, const struct inherited *from,
                         const char *mode, unsigned depth)
{
    const struct node *targets = member(group, "targets");
    bool falls_back = strcmp(mode, "fallback") == 0, is_split = strcmp(mode, "loadbalance") == 0;
    if (is_split && from->weight.len)
        convert_tell(p->c, group, "weights within weights are taken as they stand");
    if (falls_back && from->weight.len)
        convert_tell(p->c, group, "its further targets are fallbacks of all others, too");
    for (const struct node *target = targets ? targets->first : NULL; target;
         target = target->next) {
        struct inherited inside = *from;
        if (falls_back && target != targets->first && p->priority < PRIORITY_MAX)
            inside.priority = ++p->priority;
        else if (falls_back)
            inside.priority = p->priority;
        if (is_split) {
            inside.weight = read_weight(p, target);
            p->is_weighted = true;
        }
        if (strcmp(mode, "conditional") == 0)
            inside.branch = branch_of(p, target);
        for (size_t i = NESTED_MAX; i > 0; i--)
            inside.within[i] = from->within[i - 1];
        inside.within[NESTED_MAX] = NULL;
        inside.within[0] = target;
        read_group(p, target, &inside, depth + 1);
    }
}

static void put_when(struct portkey *p, const struct node *entry, struct out *rule, bool *fine)
{
    struct convert *c = p->c;
    struct text key = node_key(entry), values = {"", 0};
    const struct node *equal = entry->kind == NODE_MAP ? node_find(entry, "$eq") : entry;
    const struct node *among = entry->kind == NODE_MAP ? node_find(entry, "$in") : NULL;
    if (node_is_text(equal))
        values = convert_listed(c, values, convert_quote(c, node_text(equal)));
    for (const struct node *at = among ? among->first : NULL; at; at = at->next)
        if (node_is_text(at))
            values = convert_listed(c, values, convert_quote(c, node_text(at)));
    bool is_tag = text_starts(key, TEXT("metadata.")) && node_is_text(equal);
    if (is_tag)
        convert_tell(c, entry, "tags of calls count where a tenant's may_set allows them");
    if (is_tag)
        convert_put_name(c, convert_section(c, rule, "when.tags"), text_from(key, 9),
                         convert_quote(c, node_text(equal)));
    else if (text_equal(key, TEXT("params.model")) && values.len)
        convert_put(c, rule, "when.model", values);
    else
        *fine = false;
    if (!*fine)
        convert_leave(c, entry,
                      "only $eq of metadata and $eq or $in of params.model are rules here");
}

static void read_conditions(struct portkey *p, const struct node *strategy)
{
    struct convert *c = p->c;
    struct out *routing = convert_section(c, convert_root(c), "routing");
    const struct node *list = member(strategy, "conditions"), *last = member(strategy, "default");
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        const struct node *query = member(entry, "query"), *then = member(entry, "then");
        const struct branch *branch =
            node_is_text(then) ? table_find(&p->branches, node_text(then)) : NULL;
        struct out *rule = convert_draft(c);
        bool fine = query && query->kind == NODE_MAP && branch && branch->ids.len;
        if (!fine)
            convert_leave(c, entry, "it names no target that was taken over");
        for (const struct node *at = fine ? query->first : NULL; at; at = at->next)
            put_when(p, at, rule, &fine);
        if (!fine)
            continue;
        convert_put(c, rule, "use.targets", branch->ids);
        convert_join(convert_item(c, routing, "rules"), rule);
    }
    const struct branch *branch =
        node_is_text(last) ? table_find(&p->branches, node_text(last)) : NULL;
    if (branch && branch->ids.len)
        convert_put(c, convert_item(c, routing, "rules"), "use.targets", branch->ids);
}

static void read_cache(struct portkey *p, const struct node *cache)
{
    struct convert *c = p->c;
    const struct node *mode = cache && cache->kind == NODE_MAP ? member(cache, "mode") : cache;
    const struct node *age = cache ? member(cache, "max_age") : NULL;
    if (!node_is_given(cache))
        return;
    if (!node_says(mode, "simple")) {
        convert_leave(c, cache, "similar calls need a model of embeddings; see cache: semantic");
        return;
    }
    convert_put(c, convert_root(c), "cache.exact.enabled", TEXT("true"));
    struct text ttl = node_is_text(age) ? convert_time(c, node_text(age), 0) : TEXT("");
    if (ttl.len)
        convert_put(c, convert_root(c), "cache.exact.ttl", ttl);
    convert_tell(c, cache,
                 "it is for all targets, and for calls with temperature 0: see "
                 "cache: exact: max_temperature");
}

static void read_group(struct portkey *p, const struct node *group, const struct inherited *from,
                       unsigned depth)
{
    struct convert *c = p->c;
    const struct node *targets = member(group, "targets"), *strategy = member(group, "strategy");
    const struct node *mode = strategy ? member(strategy, "mode") : NULL;
    read_cache(p, member(group, "cache"));
    if (group->kind != NODE_MAP || depth >= NESTED_MAX) {
        convert_leave(c, group, "it is no mapping, or nested too deep");
        return;
    }
    if (!targets) {
        read_target(p, group, from);
        return;
    }
    struct convert_places places = {{convert_root(c), NULL, NULL}, TEXT("PORTKEY"), true};
    convert_rows(c, group, group_rows, &places);
    const char *word = node_says(mode, "loadbalance")   ? "loadbalance"
                       : node_says(mode, "conditional") ? "conditional"
                                                        : "fallback";
    if (node_is_given(mode) && !node_says(mode, word) && !node_says(mode, "single"))
        convert_leave(c, mode, "there is no such strategy; its targets are taken in their order");
    read_targets(p, group, from, word, depth);
    if (strcmp(word, "conditional") == 0 && depth == 0)
        read_conditions(p, strategy);
    else if (strcmp(word, "conditional") == 0)
        convert_leave(c, strategy, "conditions within others; all their targets are taken");
}

static void convert(struct convert *c, const struct node *root)
{
    struct portkey p = {.c = c, .priority = 1};
    struct inherited from = {.within = {root}, .priority = 1};
    table_init(&p.branches);
    p.model = convert_item(c, convert_root(c), "models");
    convert_put(c, p.model, "name", TEXT("portkey"));
    convert_put(c, p.model, "aliases", TEXT("[\"*\"]"));
    read_group(&p, root, &from, 0);
    convert_tell(c, NULL,
                 "a config of Portkey's names no keys of callers: whoever reaches sluice "
                 "may call, which is allowed on loopback only");
    convert_add_attempts(c, p.priority - 1);
    if (p.is_weighted) {
        struct out *policy =
            convert_item(c, convert_section(c, convert_root(c), "routing"), "policies");
        convert_put(c, policy, "name", TEXT("portkey"));
        convert_put(c, policy, "strategy", TEXT("weighted"));
        convert_put(c, convert_root(c), "routing.default_policy", TEXT("portkey"));
    }
    if (p.has_any)
        convert_unpriced(c);
    table_done(&p.branches);
}

const struct converter convert_portkey = {"portkey", "Portkey", "", convert};
