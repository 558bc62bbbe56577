/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <sys/un.h>

#include "gateway/base/access_field.h"
#include "gateway/base/table.h"
#include "gateway/config/document.h"

/* ---------------------------------------------------------------------------------- listeners */

enum address_kind { ADDRESS_BAD, ADDRESS_LOOPBACK, ADDRESS_OTHER };

static bool read_port(struct text text)
{
    uint64_t port;
    return text_number(text, 65535, &port);
}

static enum address_kind inet_kind(struct text host, struct text port)
{
    char name[INET6_ADDRSTRLEN];
    struct in6_addr six;
    struct in_addr four;
    bool brackets = host.len > 2 && host.at[0] == '[' && host.at[host.len - 1] == ']';
    if (brackets)
        host = (struct text){host.at + 1, host.len - 2};
    if (host.len >= sizeof(name) || !read_port(port))
        return ADDRESS_BAD;
    memcpy(name, host.at, host.len);
    name[host.len] = '\0';
    if (brackets) {
        if (inet_pton(AF_INET6, name, &six) != 1)
            return ADDRESS_BAD;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(&six) || mapped ? ADDRESS_LOOPBACK : ADDRESS_OTHER;
    }
    if (inet_pton(AF_INET, name, &four) != 1)
        return ADDRESS_BAD;
    return ntohl(four.s_addr) >> 24 == 127 ? ADDRESS_LOOPBACK : ADDRESS_OTHER;
}

/* Who can reach it? A socket handed over by systemd may be anything, so it counts as open. */
static enum address_kind address_kind(struct text address, const char **problem)
{
    *problem = "must be IP:PORT, [IPV6]:PORT, unix:/PATH or systemd:NAME";
    if (text_starts(address, TEXT("unix:"))) {
        struct text path = text_from(address, 5);
        *problem = "must name an absolute path shorter than 108 bytes";
        bool fits = path.len && path.len < sizeof(((struct sockaddr_un *)NULL)->sun_path);
        return fits && path.at[0] == '/' ? ADDRESS_LOOPBACK : ADDRESS_BAD;
    }
    if (text_starts(address, TEXT("systemd:")))
        return address.len > 8 ? ADDRESS_OTHER : ADDRESS_BAD;
    size_t colon = SIZE_MAX;
    for (size_t i = 0; i < address.len; i++)
        if (address.at[i] == ':')
            colon = i;
    if (colon == SIZE_MAX)
        return ADDRESS_BAD;
    return inet_kind(text_head(address, colon), text_from(address, colon + 1));
}

bool document_has_keys(const struct document *document)
{
    const struct tenant_draft *tenants = document->tenants.at;
    if (document->config.jwt.enabled)
        return true;
    for (size_t i = 0; i < document->tenants.count; i++)
        if (tenants[i].keys.count)
            return true;
    return false;
}

static void check_open_address(struct document *document, const struct listener_draft *draft)
{
    const struct node *at = node_of(draft->node, "address");
    unsigned serve = draft->settings.serve;
    if ((serve & SERVE_API) && document->config.anonymous)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "\"anonymous: true\" is for loopback addresses, not for %s",
                         draft->settings.address);
    else if ((serve & SERVE_API) && !document_has_keys(document) &&
             !node_is_given(node_find(document->root, "anonymous")))
        problem_at_value(document, at, SEVERITY_ERROR,
                         "%s can be reached by others and no key is configured: add a key to a "
                         "tenant, or write \"anonymous: false\" where keys are made while it runs "
                         "(sluice keys create), or listen on 127.0.0.1",
                         draft->settings.address);
    if ((serve & SERVE_METRICS) && document->config.telemetry.metrics_enabled &&
        !document->config.telemetry.metrics_public)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "metrics on %s need \"telemetry.metrics.public: true\"",
                         draft->settings.address);
}

static void resolve_address(struct document *document, struct listener_draft *draft)
{
    struct text address = text_of(draft->settings.address), localhost = TEXT("localhost:");
    const struct node *at = node_find(draft->node, "address");
    if (at && at->broken)
        return;
    if (text_starts(address, localhost)) {
        address = arena_format(&document->arena, "127.0.0.1:%s", address.at + localhost.len);
        draft->settings.address = address.at;
    }
    const char *problem;
    enum address_kind kind = address_kind(address, &problem);
    if (kind == ADDRESS_BAD)
        problem_at_value(document, node_of(draft->node, "address"), SEVERITY_ERROR,
                         "\"address\" %s", problem);
    else if (kind == ADDRESS_OTHER)
        check_open_address(document, draft);
}

/* Every listener's name and address only once. */
static void check_unique_listener(struct document *document, struct table *names,
                                  struct table *addresses, struct listener_draft *draft)
{
    const struct listener_draft *other = table_set(names, draft->name, draft);
    if (other)
        problem_at_value(document, node_of(draft->node, "name"), SEVERITY_ERROR,
                         "a listener \"%.*s\" is declared already in %s", TEXT_ARGS(draft->name),
                         node_place(document, other->node, draft->node));
    other = table_set(addresses, text_of(draft->settings.address), draft);
    if (other)
        problem_at_value(document, node_of(draft->node, "address"), SEVERITY_ERROR,
                         "%s is the address of the listener \"%.*s\" already",
                         draft->settings.address, TEXT_ARGS(other->name));
}

enum { PROXIES_MAX = 64 };

static void resolve_proxies(struct document *document, struct listener_draft *draft)
{
    const struct items *items = &draft->trusted_proxies;
    struct networks *trusted = &draft->settings.trusted_proxies;
    const struct node *list = node_find(draft->node, "trusted_proxies");
    const struct node *entry = list ? list->first : NULL;
    const struct text *texts = items->at;
    struct network *networks = arena_new(&document->arena, (items->count + 1) * sizeof(*networks));
    trusted->at = networks;
    for (size_t i = 0; i < items->count && entry; i++, entry = entry->next) {
        if (i == PROXIES_MAX) {
            problem_at_value(document, entry, SEVERITY_ERROR, "at most %d proxies", PROXIES_MAX);
            return;
        }
        if (text_equal(texts[i], TEXT("unix")))
            trusted->has_unix = true;
        else if (network_read(texts[i], &networks[trusted->count]))
            trusted->count++;
        else if (!entry->broken)
            problem_at_value(document, entry, SEVERITY_ERROR,
                             "a proxy is written like 10.0.0.0/8, 2001:db8::1 or unix, not "
                             "\"%.*s\"%s",
                             TEXT_ARGS(node_shown(entry)),
                             text_find_byte(texts[i], '/') == SIZE_MAX
                                 ? ""
                                 : "; nothing may stand behind its prefix");
    }
}

/* The bits of the option's words are those of enum serve. */
static void resolve_listener(struct document *document, struct listener_draft *draft, size_t i)
{
    const struct node *tls = node_find(draft->node, "tls");
    if (!draft->name.len)
        draft->name = arena_format(&document->arena, "listener-%zu", i);
    draft->settings.name = draft->name.at;
    draft->settings.serve = draft->serve | (draft->serve & SERVE_UI ? SERVE_ADMIN : 0);
    draft->settings.proxy_protocol = (enum proxy_protocol)draft->proxy_protocol;
    draft->settings.has_tls = tls && tls->kind == NODE_MAP;
    draft->settings.tls.tls13_only = draft->min_version == 1;
    resolve_address(document, draft);
    resolve_proxies(document, draft);
    if (!draft->settings.serve)
        problem_at_value(document, node_of(draft->node, "serve"), SEVERITY_ERROR,
                         "the listener \"%.*s\" serves nothing", TEXT_ARGS(draft->name));
}

void resolve_listeners(struct document *document)
{
    struct listener_draft *drafts = document->listeners.at;
    size_t count = document->listeners.count;
    struct listener_settings *settings =
        arena_new(&document->arena, (count + 1) * sizeof(*settings));
    struct table names, addresses;
    table_init(&names);
    table_init(&addresses);
    for (size_t i = 0; i < count; i++) {
        resolve_listener(document, &drafts[i], i);
        check_unique_listener(document, &names, &addresses, &drafts[i]);
        settings[i] = drafts[i].settings;
    }
    table_done(&names);
    table_done(&addresses);
    document->config.listeners = settings;
    document->config.listener_count = count;
}

/* ------------------------------------------------------------------------------- single values */

static void check_path_option(struct document *document, const char *option, const char **path,
                              bool may_be_root)
{
    const struct node *node = node_at(document->root, option);
    struct text text = text_of(*path);
    bool odd = text_find(text, TEXT("//")) != SIZE_MAX || text_find(text, TEXT("..")) != SIZE_MAX;
    for (size_t i = 0; i < text.len; i++)
        odd |= !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/",
                       text.at[i]);
    if (odd || text.len == 0 || text.at[0] != '/' || (text.len == 1 && !may_be_root)) {
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"%s\" must be a path such as /gateway, not \"%s\"", node->key, *path);
        return;
    }
    if (text.len > 1 && text_ends(text, TEXT("/")))
        *path = arena_copy(&document->arena, text_head(text, text.len - 1)).at;
}

/* What is served below these would be hidden by the metrics, for both may be on one listener. */
static void check_metrics_path(struct document *document)
{
    static const struct text served[] = {
        TEXT("/v1"),      TEXT("/v1beta"), TEXT("/api"),    TEXT("/admin"),  TEXT("/ui"),
        TEXT("/healthz"), TEXT("/livez"),  TEXT("/readyz"), TEXT("/health"), TEXT("/d")};
    struct text path = text_of(document->config.telemetry.metrics_path);
    for (size_t i = 0; i < sizeof(served) / sizeof(served[0]); i++) {
        struct text rest = text_from(path, served[i].len);
        if (text_starts(path, served[i]) && (rest.len == 0 || rest.at[0] == '/'))
            problem_at_value(document, node_at(document->root, "telemetry.metrics.path"),
                             SEVERITY_ERROR, "\"path\": what is below %.*s is something else",
                             TEXT_ARGS(served[i]));
    }
}

/* An origin is a scheme and an authority, without a path (RFC 6454 6.2), or "*". */
static void resolve_origins(struct document *document)
{
    struct config *config = &document->config;
    config->cors_origins = document->cors_origins.at;
    config->cors_origin_count = document->cors_origins.count;
    const struct node *list = node_at(document->root, "server.cors.allow_origins");
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        struct text origin = node_text(entry);
        size_t scheme = text_find(origin, TEXT("://"));
        bool fine = scheme != SIZE_MAX && scheme > 0 && origin.len > scheme + 3 &&
                    text_find_byte(text_from(origin, scheme + 3), '/') == SIZE_MAX;
        if (!fine && !text_equal(origin, TEXT("*")) && !entry->broken)
            problem_at_value(document, entry, SEVERITY_ERROR,
                             "an origin is written like https://chat.example.com, not \"%.*s\"",
                             TEXT_ARGS(node_shown(entry)));
    }
}

static struct text next_field(void *with, size_t i)
{
    (void)with;
    return access_field_name(i);
}

static void resolve_access_fields(struct document *document)
{
    const struct node *list = node_at(document->root, "telemetry.access_log.fields");
    struct config *config = &document->config;
    bool seen[ACCESS_FIELDS + 1] = {false};
    uint8_t *fields = arena_new(&document->arena, ACCESS_FIELDS);
    size_t count = 0;
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        struct text name = node_text(entry);
        enum access_field field = access_field_find(name);
        if (entry->broken)
            continue;
        if (field == ACCESS_FIELDS) {
            struct problem *problem =
                problem_at_value(document, entry, SEVERITY_ERROR,
                                 "a line of the access log has no \"%.*s\"", TEXT_ARGS(name));
            struct text near = nearest(name, next_field, NULL);
            if (near.at)
                problem->hint = near.at;
        } else if (seen[field]) {
            problem_at_value(document, entry, SEVERITY_ERROR, "\"%.*s\" stands twice in \"fields\"",
                             TEXT_ARGS(name));
        } else {
            fields[count++] = (uint8_t)field;
        }
        seen[field] = true;
    }
    config->telemetry.access_fields = fields;
    config->telemetry.access_field_count = count;
}

static void resolve_ledger(struct document *document)
{
    enum { SYNC_WORD_OS, SYNC_WORD_DISK, SYNC_WORD_STORE };
    enum { PRICE_REJECT, PRICE_CAP };
    const struct node *cap = node_at(document->root, "ledger.price_cap");
    const struct node *sync = node_at(document->root, "ledger.sync");
    document->config.ledger_sync_disk = document->ledger_sync != SYNC_WORD_OS;
    document->config.ledger_sync_store = document->ledger_sync == SYNC_WORD_STORE;
    if (document->config.ledger_sync_store && !document->config.store.is_redis)
        problem_at_value(
            document, sync, SEVERITY_ERROR,
            "\"sync: store\" needs \"store.type: redis\": the embedded store is on the "
            "same volume");
    if (document->unknown_price == PRICE_CAP && (!cap || cap->kind != NODE_MAP))
        problem_at_value(document, node_at(document->root, "ledger.unknown_price"), SEVERITY_ERROR,
                         "\"unknown_price: cap\" needs \"price_cap\", such as {input: 10, output: "
                         "50}");
}

static void resolve_jobs(struct document *document)
{
    struct config *config = &document->config;
    config->jobs.finetune.command = document->finetune_command.at;
    config->jobs.finetune.count = document->finetune_command.count;
    const char *from = config->jobs.public_url, *words = NULL;
    struct url url;
    if (!from)
        return;
    if (!url_read(text_of(from), &url, &words) || url.is_unix || url.user.len)
        problem_at_value(document, node_at(document->root, "jobs.public_url"), SEVERITY_ERROR,
                         "\"public_url\" is written like https://ai.example.com: %s",
                         words ? words : "no socket, no user");
    size_t len = strlen(from);
    if (len && from[len - 1] == '/')
        config->jobs.public_url = arena_format(&document->arena, "%.*s", (int)len - 1, from).at;
}

void document_resolve(struct document *document)
{
    struct config *config = &document->config;
    check_path_option(document, "server.base_path", &config->base_path, true);
    check_path_option(document, "telemetry.metrics.path", &config->telemetry.metrics_path, false);
    check_metrics_path(document);
    if (!config->workers)
        config->workers = host_cpus();
    if (!config->admin_socket)
        config->admin_socket = arena_format(&document->arena, "%s/admin.sock", config->state).at;
    config->unknown_model_passthrough = document->unknown_model == 1;
    resolve_origins(document);
    resolve_access_fields(document);
    resolve_admin(document);
    resolve_store(document);
    resolve_ledger(document);
    resolve_jobs(document);
    resolve_tracing(document);
    resolve_jwt(document);
    resolve_listeners(document);
    resolve_oidc(document);
    resolve_providers(document);
    resolve_policies(document);
    resolve_deployments(document);
    resolve_models(document);
    resolve_rules(document);
    check_fallbacks(document);
    resolve_limits(document);
    resolve_anonymous(document);
    resolve_tenants(document);
    check_lengths(document);
    resolve_cache(document);
    resolve_guardrails(document);
}
