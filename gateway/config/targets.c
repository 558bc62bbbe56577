/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>

#include "gateway/base/table.h"
#include "gateway/config/document.h"
#include "policy/estimate.h"
#include "routing/decision.h"

/* ------------------------------------------------------------------------------------ providers */

static struct text next_type(void *with, size_t i)
{
    (void)with;
    const struct provider_type *type = provider_type_at(i);
    return type ? type->name : (struct text){NULL, 0};
}

static void resolve_type(struct document *document, struct provider_draft *draft)
{
    const struct node *at = node_of(draft->node, "type");
    if (!draft->type.len)
        return; /* missing or malformed: said already */
    draft->resolved = provider_type_find(draft->type);
    if (!draft->resolved) {
        struct problem *problem =
            problem_at_value(document, at, SEVERITY_ERROR, "there is no provider type \"%.*s\"",
                             TEXT_ARGS(node_shown(at)));
        struct text near = nearest(draft->type, next_type, NULL);
        if (near.at)
            problem->hint = arena_copy(&document->arena, near).at;
        return;
    }
    draft->settings.type = draft->resolved;
    draft->settings.dialect = dialect_find(draft->resolved->dialect);
    draft->settings.second_dialect = dialect_find(draft->resolved->second_dialect);
}

/* 169.254.0.0/16 and fe80::/10, also mapped: where clouds keep their metadata. */
static bool is_link_local(struct text host)
{
    char name[INET6_ADDRSTRLEN];
    struct in6_addr six;
    struct in_addr four;
    if (host.len >= sizeof(name))
        return false;
    memcpy(name, host.at, host.len);
    name[host.len] = '\0';
    if (inet_pton(AF_INET, name, &four) == 1)
        return ntohl(four.s_addr) >> 16 == 0xa9fe;
    if (inet_pton(AF_INET6, name, &six) != 1)
        return text_equal(host, TEXT("metadata.google.internal"));
    bool mapped = IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 169 && six.s6_addr[13] == 254;
    return IN6_IS_ADDR_LINKLOCAL(&six) || mapped;
}

static bool is_aws(const struct provider_type *type)
{
    return text_equal(type->dialect, TEXT("bedrock"));
}

static void resolve_url(struct document *document, struct provider_draft *draft)
{
    struct provider_settings *settings = &draft->settings;
    const struct node *at = node_of(draft->node, "base_url");
    const char *problem;
    if (!draft->resolved || (draft->resolved->is_mock && !settings->base_url))
        return;
    if (!settings->base_url && settings->region.len && is_aws(draft->resolved))
        settings->base_url = arena_format(&document->arena, "https://bedrock-runtime.%.*s.%s",
                                          TEXT_ARGS(settings->region), aws_domain(settings->region))
                                 .at;
    if (!settings->base_url && !draft->resolved->base_url.len) {
        if (!draft->resolved->is_vertex)
            problem_at_value(document, draft->node, SEVERITY_ERROR, "the type \"%.*s\" needs a %s",
                             TEXT_ARGS(draft->type),
                             is_aws(draft->resolved) ? "\"region\", or a \"base_url\""
                                                     : "\"base_url\"");
        return;
    }
    if (!settings->base_url)
        settings->base_url = arena_copy(&document->arena, draft->resolved->base_url).at;
    if (!url_read(text_of(settings->base_url), &settings->url, &problem)) {
        problem_at_value(document, at, SEVERITY_ERROR, "\"base_url\": %s", problem);
        return;
    }
    if (settings->url.user.len)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "a \"base_url\" holds no user or password; use \"api_key\"");
    if (is_link_local(settings->url.host) && !settings->allow_link_local)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "%.*s is a link-local or metadata address; \"allow_link_local: true\" "
                         "allows it",
                         TEXT_ARGS(settings->url.host));
}

static void resolve_metrics(struct document *document, struct provider_draft *draft)
{
    struct provider_settings *settings = &draft->settings;
    const struct node *at = node_of(draft->node, "metrics_url");
    const char *problem;
    if (!settings->metrics_url)
        return;
    if (!url_read(text_of(settings->metrics_url), &settings->metrics, &problem))
        problem_at_value(document, at, SEVERITY_ERROR, "\"metrics_url\": %s", problem);
    else if (settings->metrics.user.len)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "a \"metrics_url\" holds no user or password");
    else if (is_link_local(settings->metrics.host) && !settings->allow_link_local)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "%.*s is a link-local or metadata address; \"allow_link_local: true\" "
                         "allows it",
                         TEXT_ARGS(settings->metrics.host));
}

static bool may_be_in_header(struct text text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];
        if ((byte < ' ' && byte != '\t') || byte == 0x7f)
            return false;
    }
    return true;
}

static bool is_credential(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~')
            return false;
    return true;
}

/* All keys in one list; the first one is for what belongs to an account. */
static void gather_keys(struct document *document, struct provider_draft *draft)
{
    struct provider_settings *settings = &draft->settings;
    const struct text *more = draft->api_keys.at;
    settings->api_keys =
        arena_new(&document->arena, (draft->api_keys.count + 1) * sizeof(struct text));
    if (settings->api_key.len)
        settings->api_keys[settings->api_key_count++] = settings->api_key;
    for (size_t i = 0; i < draft->api_keys.count; i++) {
        if (!is_credential(more[i]))
            problem_at_value(document, node_find(draft->node, "api_keys"), SEVERITY_ERROR,
                             "a key has only visible ASCII characters: there is a space, a line "
                             "break or another character in number %zu",
                             i + 1);
        if (more[i].len)
            settings->api_keys[settings->api_key_count++] = more[i];
    }
    if (settings->api_key_count)
        settings->api_key = settings->api_keys[0];
}

/* Keys of AWS' own, with which calls are signed. Are there some? */
static bool resolve_aws(struct document *document, struct provider_draft *draft)
{
    const struct provider_settings *settings = &draft->settings;
    bool own = draft->resolved && is_aws(draft->resolved) && settings->access_key.len &&
               settings->secret_key.len;
    if (own && !settings->region.len)
        problem_at_value(document, draft->node, SEVERITY_ERROR,
                         "calls are signed for a \"region\", and none is given");
    const struct text *const said[] = {&settings->region, &settings->access_key,
                                       &settings->secret_key, &settings->session_token};
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++)
        if (!is_credential(*said[i]))
            problem_at_value(document, draft->node, SEVERITY_ERROR,
                             "a region, or a key of AWS, has only visible ASCII characters");
    return own;
}

static void resolve_key(struct document *document, struct provider_draft *draft)
{
    struct provider_settings *settings = &draft->settings;
    const struct node *at = node_find(draft->node, "api_key");
    if (!at)
        at = node_find(draft->node, "api_key_file");
    if (!is_credential(settings->api_key))
        problem_at_value(document, at, SEVERITY_ERROR,
                         "a key has only visible ASCII characters: there is a space, a line break "
                         "or another character in this one");
    if (!settings->api_key.len && draft->api_keys.count)
        at = node_find(draft->node, "api_keys");
    gather_keys(document, draft);
    bool broken = at && at->broken;
    bool own = resolve_aws(document, draft);
    bool signs_in = settings->sign_in.kind != SIGN_IN_NONE;
    if (own || settings->api_key.len || signs_in || draft->unusable || !draft->resolved ||
        !draft->resolved->needs_key || broken)
        return;
    settings->off = draft->unusable = true;
    const char *variable = draft->resolved->key_variable;
    if (settings->access_key.len || settings->secret_key.len)
        problem_at_value(document, draft->node, SEVERITY_WARNING,
                         "the provider \"%.*s\" is off: it has no %s", TEXT_ARGS(settings->name),
                         settings->access_key.len ? "secret_key" : "access_key");
    else if (at && at == node_find(draft->node, "api_key_file"))
        problem_at_value(document, at, SEVERITY_WARNING,
                         "the provider \"%.*s\" is off: its api_key_file is empty",
                         TEXT_ARGS(settings->name));
    else
        problem_at_value(document, at ? at : draft->node, SEVERITY_WARNING,
                         "the provider \"%.*s\" is off: it has no api_key%s%s",
                         TEXT_ARGS(settings->name), variable ? "; set " : "",
                         variable ? variable : "");
}

/* Headers that frame a message, or that we write ourselves. */
static bool is_reserved_header(struct text name)
{
    static const char *const names[] = {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "content-type",
        "proxy-connection",
        "accept-encoding",
        "proxy-authorization",
        "content-encoding",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (text_equal_nocase(name, text_of(names[i])))
            return true;
    return false;
}

static bool is_token(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        char byte = name.at[i];
        bool alphanumeric =
            (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
        if (!alphanumeric && !(byte && strchr("!#$%&'*+-.^_`|~", byte)))
            return false;
    }
    return name.len > 0;
}

bool header_may_be_added(struct text name, struct text value)
{
    return is_token(name) && !is_reserved_header(name) && may_be_in_header(value);
}

static void check_header(struct document *document, const struct provider_draft *draft,
                         const struct pair *pair)
{
    struct text name = pair->name;
    if (!is_token(name))
        problem_at_key(document, pair->node, SEVERITY_ERROR, "this is no name of a header");
    else if (is_reserved_header(name))
        problem_at_key(document, pair->node, SEVERITY_ERROR,
                       "the header \"%.*s\" cannot be set here", TEXT_ARGS(name));
    else if (draft->settings.sign_in.kind != SIGN_IN_NONE &&
             text_equal_nocase(name, TEXT("authorization")))
        problem_at_key(document, pair->node, SEVERITY_ERROR,
                       "the header \"%.*s\" is written from the provider's sign-in",
                       TEXT_ARGS(name));
    else if (draft->settings.api_key.len && draft->resolved &&
             text_equal_nocase(name, draft->resolved->auth == AUTH_HEADER
                                         ? draft->resolved->auth_header
                                         : TEXT("authorization")))
        problem_at_key(document, pair->node, SEVERITY_ERROR,
                       "the header \"%.*s\" is written from \"api_key\"", TEXT_ARGS(name));
    else if (!may_be_in_header(pair->value))
        problem_at_value(document, pair->node, SEVERITY_ERROR,
                         "there is a line break or a control character in the value");
}

static void resolve_headers(struct document *document, struct provider_draft *draft)
{
    const struct pair *pairs = draft->headers.at;
    struct header_setting *headers =
        arena_new(&document->arena, (draft->headers.count + 1) * sizeof(*headers));
    for (size_t i = 0; i < draft->headers.count; i++) {
        check_header(document, draft, &pairs[i]);
        headers[i] = (struct header_setting){pairs[i].name.at, pairs[i].value.at};
    }
    draft->settings.headers = headers;
    draft->settings.header_count = draft->headers.count;
    if (!may_be_in_header(draft->settings.organization))
        problem_at_value(document, node_find(draft->node, "organization"), SEVERITY_ERROR,
                         "there is a line break or a control character in the value");
}

static void resolve_retry(struct document *document, struct provider_draft *draft)
{
    enum { STATUSES_MAX = sizeof(draft->settings.retry_statuses) / sizeof(uint16_t) - 1 };
    const struct text *words = draft->retry_on.at;
    const struct node *retry = node_find(draft->node, "retry");
    const struct node *list = node_find(retry, "retry_on");
    const struct node *entry = list ? list->first : NULL;
    size_t count = 0;
    for (size_t i = 0; i < draft->retry_on.count; i++, entry = entry ? entry->next : NULL) {
        uint64_t status;
        if (text_equal(words[i], TEXT("connect"))) {
            draft->settings.retry_connect = true;
        } else if (!text_number(words[i], 599, &status) || status < 400) {
            problem_at_value(document, entry, SEVERITY_ERROR,
                             "\"retry_on\" holds connect or a status from 400 to 599, not \"%.*s\"",
                             TEXT_ARGS(text_head(words[i], 40)));
        } else if (count == STATUSES_MAX) {
            problem_at_value(document, entry, SEVERITY_ERROR,
                             "\"retry_on\" holds at most %d statuses", STATUSES_MAX);
            return;
        } else {
            draft->settings.retry_statuses[count++] = (uint16_t)status;
        }
    }
}

enum { HEALTH_PASSIVE, HEALTH_ACTIVE, HEALTH_NONE }; /* in the order of the option's words */

static void resolve_health(struct document *document, struct provider_draft *draft)
{
    struct provider_settings *settings = &draft->settings;
    settings->breaker.error_ppm = (unsigned)(draft->error_rate * 1000000.0 + 0.5);
    settings->breaker.off = draft->health_mode == HEALTH_NONE;
    settings->health_active = draft->health_mode == HEALTH_ACTIVE;
    if (settings->health_active && (!settings->health_path || settings->health_path[0] != '/'))
        problem_at_value(document, node_find(draft->node, "health"), SEVERITY_ERROR,
                         "a \"path\" begins with /");
}

static void resolve_proxy(struct document *document, struct provider_draft *draft)
{
    struct url url;
    const char *problem;
    if (draft->settings.proxy && !url_read(text_of(draft->settings.proxy), &url, &problem))
        problem_at_value(document, node_of(draft->node, "proxy"), SEVERITY_ERROR, "\"proxy\": %s",
                         problem);
    const struct tls_settings *tls = &draft->settings.tls;
    if (!tls->cert_file != !tls->key_file)
        problem_at_value(document, node_of(draft->node, "tls"), SEVERITY_ERROR,
                         "\"cert_file\" and \"key_file\" come together");
}

void resolve_providers(struct document *document)
{
    struct config *config = &document->config;
    struct provider_draft *drafts = document->providers.at;
    size_t count = document->providers.count;
    struct table names;
    table_init(&names);
    config->providers = arena_new(&document->arena, (count + document->deployments.count + 1) *
                                                        sizeof(*config->providers));
    for (size_t i = 0; i < count; i++) {
        struct provider_draft *draft = &drafts[i];
        resolve_type(document, draft);
        resolve_sign_in(document, draft);
        resolve_url(document, draft);
        resolve_metrics(document, draft);
        resolve_key(document, draft);
        resolve_headers(document, draft);
        resolve_retry(document, draft);
        resolve_health(document, draft);
        resolve_proxy(document, draft);
        if (draft->settings.rate.limits.requests || draft->settings.rate.limits.tokens)
            draft->settings.rate.figures = provider_quota(draft->settings.name);
        const struct provider_draft *other = table_set(&names, draft->settings.name, draft);
        if (other && draft->settings.name.len)
            problem_at_value(document, node_of(draft->node, "name"), SEVERITY_ERROR,
                             "a provider \"%.*s\" is declared already in %s",
                             TEXT_ARGS(draft->settings.name),
                             node_place(document, other->node, draft->node));
        draft->settings.tags = draft->tags.at;
        draft->settings.tag_count = draft->tags.count;
        draft->settings.service = (enum service_tier)draft->service; /* words in its order */
        draft->to = &config->providers[config->provider_count++];
        *draft->to = draft->settings;
        /* What the URL was read from stays where it is: base_url is not copied. */
    }
    table_done(&names);
}

/* --------------------------------------------------------------------------------------- prices */

enum { PRICE_REJECT, PRICE_CAP, PRICE_ZERO };

/* What the dearer tier costs where nobody says: of what is hosted that is as unknown as any other
 * price. Without a price of its own it costs what the standard one does. */
static void price_services(const struct document *document, const struct provider_type *type,
                           struct price *price)
{
    struct service_price *priority = &price->services[SERVICE_PRIORITY];
    const struct price *cap = &document->price_cap;
    if (type->is_own || type->is_mock || priority->input || priority->output)
        return;
    price->standard_only = document->unknown_price == PRICE_REJECT;
    if (document->unknown_price != PRICE_CAP)
        return;
    priority->input = cap->input > price->input ? cap->input : price->input;
    priority->output = cap->output > price->output ? cap->output : price->output;
}

/* What writing for an hour costs, where nobody says: Anthropic takes twice the input. */
static void price_hour(const struct provider_type *type, struct price *price)
{
    if (!price->cache_write_1h && price->input > 0 && text_equal(type->dialect, TEXT("anthropic")))
        price->cache_write_1h = price->input > INT64_MAX / 2 ? INT64_MAX : 2 * price->input;
}

/* Whose answers say what they cost (openrouter.ai/docs, "Usage accounting"; docs.perplexity.ai). */
static bool is_told(const struct provider_type *type)
{
    return text_equal(type->catalogue, TEXT("openrouter")) ||
           text_equal(type->catalogue, TEXT("perplexity"));
}

static bool is_free(const struct price *price)
{
    return price->known && !(price->input || price->output || price->request || price->unit);
}

/* What a search costs where nobody says is as unknown as any other price; but where all else is
 * free, as at a server of one's own, so is that. */
static void price_search(const struct document *document, const struct provider_type *type,
                         bool said, struct price *price)
{
    price->is_told = is_told(type);
    if (said || price->is_told || price->search || price->unit || type->is_own || type->is_mock ||
        is_free(price))
        return;
    if (document->unknown_price == PRICE_CAP)
        price->search = document->price_cap.search;
    price->no_search = document->unknown_price == PRICE_REJECT ||
                       (document->unknown_price == PRICE_CAP && !price->search);
}

bool config_price(const struct config *config, const struct provider_type *type, struct text model,
                  struct price *price)
{
    const struct document *document = config->memory;
    struct model_facts facts;
    *price = (struct price){.known = true};
    bool found =
        type->catalogue.len && model.len && catalogue_find(type->catalogue, model, &facts, price);
    if (!(found && price->known)) {
        *price = (struct price){.known = type->is_own || type->is_mock};
        if (!price->known && document->unknown_price == PRICE_CAP)
            *price = document->price_cap;
    }
    price_services(document, type, price);
    price_hour(type, price);
    price_search(document, type, false, price);
    price_seal(price);
    return price->known || document->unknown_price != PRICE_REJECT;
}

static void resolve_price(struct document *document, struct target_draft *draft,
                          const struct provider_draft *provider)
{
    struct target *target = &draft->target;
    const struct node *node = node_find(draft->node, "price");
    if (node && node->kind == NODE_MAP) {
        target->price.known = true;
        price_services(document, provider->resolved, &target->price);
        price_hour(provider->resolved, &target->price);
        price_search(document, provider->resolved,
                     node_find(node, "search") || node_find(node, "unit"), &target->price);
        price_seal(&target->price);
        if (!node->first)
            problem_at_value(document, node, SEVERITY_ERROR,
                             "\"price\" has no figure; write {input: 0, output: 0} for free");
        return;
    }
    if (config_price(&document->config, provider->resolved, target->model, &target->price) ||
        target->off)
        return;
    target->off = true;
    target->off_because = "its price is unknown";
    problem_at_value(document, node_of(draft->node, "model"), SEVERITY_WARNING,
                     "the target \"%.*s\" is off: the catalogue has no price of \"%.*s\"; give "
                     "one, or see \"ledger.unknown_price\"",
                     TEXT_ARGS(target->id), TEXT_ARGS(target->model));
}

/* -------------------------------------------------------------------------------------- targets */

struct lookup {
    struct table providers, targets;
};

static struct text next_provider(void *with, size_t i)
{
    const struct document *document = with;
    const struct provider_draft *drafts = document->providers.at;
    return i < document->providers.count ? drafts[i].settings.name : (struct text){NULL, 0};
}

static void report_no_provider(struct document *document, const struct target_draft *draft)
{
    const struct node *at = node_of(draft->node, "provider");
    struct problem *problem = problem_at_value(
        document, at, SEVERITY_ERROR, "there is no provider \"%.*s\"", TEXT_ARGS(node_shown(at)));
    struct text near = nearest(draft->provider, next_provider, document);
    if (near.at)
        problem->hint = arena_copy(&document->arena, near).at;
}

enum { PREFILL_AUTO }; /* the other words are those of enum prefill, in its order */

/* Anthropic's models up to 4.5 go on with a message of the assistant's; later ones refuse it. */
static bool is_older_claude(struct text model)
{
    static const struct text marks[] = {{"claude-2", 8}, {"claude-3", 8}, {"-4-0", 4},
                                        {"-4-1", 4},     {"-4-5", 4},     {"-4-2025", 7}};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (text_find(model, marks[i]) != SIZE_MAX)
            return true;
    return false;
}

static enum prefill prefill_of(const struct target_draft *draft, const struct provider_type *type)
{
    if (draft->prefill != PREFILL_AUTO)
        return (enum prefill)(draft->prefill - 1);
    if (text_equal(type->dialect, TEXT("anthropic")))
        return is_older_claude(draft->target.model) ? PREFILL_ASSISTANT : PREFILL_NONE;
    if (text_equal(type->name, TEXT("mistral")))
        return PREFILL_PREFIX;
    if (text_equal(type->name, TEXT("vllm")) || text_equal(type->name, TEXT("sglang")))
        return PREFILL_CONTINUE;
    return type->is_mock ? PREFILL_ASSISTANT : PREFILL_NONE;
}

/* Its own and its provider's. */
static void join_target_tags(struct document *document, struct target_draft *draft,
                             const struct provider_draft *provider)
{
    size_t own = draft->tags.count, all = own + provider->tags.count;
    struct text *tags = arena_new(&document->arena, (all + 1) * sizeof(*tags));
    for (size_t i = 0; i < all; i++)
        tags[i] = ((const struct text *)(i < own ? draft->tags.at
                                                 : provider->tags.at))[i < own ? i : i - own];
    draft->target.tags = tags;
    draft->target.tag_count = all;
}

/* All that it is asked would be served in a tier whose price is unknown. */
static void check_service(struct document *document, struct target_draft *draft)
{
    struct target *target = &draft->target;
    if (target->off || target->service != SERVICE_PRIORITY || !target->price.standard_only)
        return;
    target->off = true;
    target->off_because = "its price in the tier of service is unknown";
    problem_at_value(
        document, node_of(draft->node, "model"), SEVERITY_WARNING,
        "the target \"%.*s\" is off: what it costs in the tier \"priority\", which its "
        "provider's account is set up for, is not known; give price.priority",
        TEXT_ARGS(target->id));
}

static void resolve_target(struct document *document, struct target_draft *draft,
                           struct lookup *lookup)
{
    struct target *target = &draft->target;
    const struct target_draft *other = table_set(&lookup->targets, target->id, draft);
    if (other && target->id.len)
        problem_at_value(document, node_of(draft->node, "id"), SEVERITY_ERROR,
                         "a target \"%.*s\" is declared already in %s", TEXT_ARGS(target->id),
                         node_place(document, other->node, draft->node));
    struct provider_draft *provider = table_find(&lookup->providers, draft->provider);
    if (!provider && draft->provider.len)
        report_no_provider(document, draft);
    if (!provider || !provider->resolved)
        return;
    target->provider = provider->to;
    target->breaker = &provider->to->breaker;
    target->quotas[1] = provider->to->rate;
    target->service = provider->to->service;
    target->prefill = prefill_of(draft, provider->resolved);
    join_target_tags(document, draft, provider);
    if (provider->settings.off) {
        target->off = true;
        target->off_because = "its provider has no api_key";
    }
    resolve_price(document, draft, provider);
    check_service(document, draft);
    if (document->errors > 0)
        return;
    target->figures = target_figures(target->id);
    struct quota *own = &target->quotas[0];
    if (own->limits.calls || own->limits.requests || own->limits.tokens)
        own->figures = &target->figures->quota;
}

/* --------------------------------------------------------------------------------------- models */

static void check_name(struct document *document, struct table *names, struct text name,
                       const struct node *at, const struct model_draft *draft)
{
    struct model_draft *other = table_find(names, name);
    if (other && other != draft)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "\"%.*s\" is a name of the model \"%.*s\" already", TEXT_ARGS(name),
                         TEXT_ARGS(other->route.name));
    else if (other)
        problem_at_value(document, at, SEVERITY_ERROR, "\"%.*s\" is a name of this model already",
                         TEXT_ARGS(name));
    else if (name.len)
        table_set(names, name, (void *)(uintptr_t)draft);
}

static void check_names(struct document *document, struct table *names,
                        const struct model_draft *draft)
{
    const struct node *list = node_find(draft->node, "aliases");
    check_name(document, names, draft->route.name, node_of(draft->node, "name"), draft);
    if (text_find_byte(draft->route.name, '*') != SIZE_MAX)
        problem_at_value(document, node_of(draft->node, "name"), SEVERITY_ERROR,
                         "a model's name has no *; an alias may");
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next)
        if (entry->kind == NODE_SCALAR && !entry->broken)
            check_name(document, names, node_text(entry), entry, draft);
}

/* Put the targets of a model behind those of the models before it, all in one array. */
static void resolve_model(struct document *document, struct model_draft *draft,
                          struct lookup *lookup, struct route *route)
{
    struct config *config = &document->config;
    struct target_draft *targets = draft->targets.at;
    int64_t context = 0, output = 0;
    bool output_known = true;
    *route = draft->route;
    route->aliases = draft->aliases.at;
    route->alias_count = draft->aliases.count;
    route->capabilities = draft->capabilities.at;
    route->capability_count = draft->capabilities.count;
    route->targets = &config->targets[config->target_count];
    route->target_count = draft->targets.count;
    for (size_t i = 0; i < draft->targets.count; i++) {
        resolve_target(document, &targets[i], lookup);
        struct target *target = &targets[i].target;
        struct model_facts facts = {0};
        struct price unused;
        if (target->provider && target->model.len)
            catalogue_find(target->provider->type->catalogue, target->model, &facts, &unused);
        target->can = read_capabilities(targets[i].capabilities.count ? targets[i].capabilities
                                                                      : draft->capabilities);
        target->max_tokens_max = facts.output_tokens;
        if (!target->context_tokens)
            target->context_tokens = facts.context_tokens;
        config->targets[config->target_count++] = *target;
        if (facts.context_tokens && (!context || facts.context_tokens < context))
            context = facts.context_tokens;
        int64_t longest =
            target->max_tokens_default ? target->max_tokens_default : facts.output_tokens;
        output = longest > output ? longest : output;
        output_known = output_known && longest > 0;
    }
    route->output_tokens = output_known ? output : 0;
    if (!route->context_window)
        route->context_window = context;
    deploy_attach(document, route);
    if (!route->target_count)
        problem_at_value(document, draft->node, SEVERITY_ERROR, "the model \"%.*s\" has no targets",
                         TEXT_ARGS(route->name));
    if (draft->targets.count > ROUTE_TARGETS_MAX)
        problem_at_value(document, node_of(draft->node, "targets"), SEVERITY_ERROR,
                         "more than %d targets", ROUTE_TARGETS_MAX);
}

static struct text written_names(struct document *document, const struct route *route)
{
    char room[DECISION_BYTES];
    size_t len = decision_write_names(route, room, sizeof(room));
    return len ? arena_copy(&document->arena, (struct text){room, len}) : (struct text){NULL, 0};
}

/* What a call would otherwise ask of each target. */
static void seal_models(struct document *document)
{
    struct config *config = &document->config;
    config->targets_can = CAN_ALL;
    for (size_t i = 0; i < config->model_count; i++) {
        struct route *route = &config->models[i];
        route_seal(route);
        route->sum.written = written_names(document, route);
        config->targets_can &= route->sum.can;
        for (size_t k = 0; k < route->target_count; k++) {
            const struct target *target = &route->targets[k];
            int64_t added = 0;
            if (!target->provider)
                continue;
            if (!target->off)
                added = estimate_added(target->provider->type->name, target->model);
            if (added > route->sum.added_tokens)
                route->sum.added_tokens = added;
            route->sum.deployed = route->sum.deployed || target->provider->slots;
        }
    }
}

void resolve_models(struct document *document)
{
    struct config *config = &document->config;
    struct model_draft *drafts = document->models.at;
    struct provider_draft *providers = document->providers.at;
    size_t count = document->models.count, targets = 0;
    struct lookup lookup;
    struct table names;
    table_init(&names);
    table_init(&lookup.providers);
    table_init(&lookup.targets);
    for (size_t i = 0; i < document->providers.count; i++)
        table_set(&lookup.providers, providers[i].settings.name, &providers[i]);
    for (size_t i = 0; i < count; i++)
        targets += drafts[i].targets.count;
    targets += deploy_target_count(document);
    config->targets = arena_new(&document->arena, (targets + 1) * sizeof(*config->targets));
    config->models = arena_new(&document->arena, (count + deploy_model_count(document) + 1) *
                                                     sizeof(*config->models));
    for (size_t i = 0; i < count; i++) {
        resolve_model(document, &drafts[i], &lookup, &config->models[i]);
        check_names(document, &names, &drafts[i]);
        config->models[i].policy =
            drafts[i].policy.len
                ? find_policy(document, drafts[i].policy, node_find(drafts[i].node, "policy"))
                : config->default_policy;
        config->models[i].affinity = affinity_shared();
    }
    config->model_count = count;
    deploy_routes(document);
    table_done(&names);
    table_done(&lookup.providers);
    table_done(&lookup.targets);
    seal_models(document);
    config->routes = routes_new(config->models, config->model_count);
}
