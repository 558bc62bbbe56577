/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/outbound.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "gateway/base/version.h"
#include "gateway/crossing.h"
#include "gateway/mock/mock.h"
#include "gateway/outbound_edit.h"
#include "gateway/outbound_sign.h"
#include "gateway/trace.h"
#include "gateway/upload.h"
#include "gateway/worker_inside.h"

/* -------------------------------------------------------------------------------- where */

static const char *environment(const char *lower, const char *upper)
{
    const char *value = getenv(lower);
    if (!value || !*value)
        value = getenv(upper);
    return value && *value ? value : NULL;
}

/* NO_PROXY: names, and domains with or without a leading dot, and '*'. */
static bool is_direct(struct text host)
{
    const char *list = environment("no_proxy", "NO_PROXY");
    if (!list)
        return false;
    struct text rest = text_of(list), item;
    while (text_next(&rest, ',', &item)) {
        if (item.len && item.at[0] == '.')
            item = text_from(item, 1);
        if (item.len == 0)
            continue;
        if (text_equal(item, TEXT("*")) || text_equal_nocase(item, host))
            return true;
        if (host.len > item.len && host.at[host.len - item.len - 1] == '.' &&
            text_equal_nocase(text_from(host, host.len - item.len), item))
            return true;
    }
    return false;
}

static bool is_loopback(struct text host)
{
    return text_equal_nocase(host, TEXT("localhost")) || text_starts(host, TEXT("127.")) ||
           text_equal(host, TEXT("::1"));
}

static const char *proxy_of(const struct provider_settings *provider)
{
    if (provider->proxy)
        return provider->proxy;
    if (is_loopback(provider->url.host) || is_direct(provider->url.host))
        return NULL;
    return provider->url.tls ? environment("https_proxy", "HTTPS_PROXY")
                             : environment("http_proxy", "HTTP_PROXY");
}

static int connect_mock(void *with)
{
    return mock_connect(with);
}

static unsigned share(unsigned whole, unsigned workers)
{
    return whole == 0 ? 0 : (whole + workers - 1) / workers;
}

static bool use_proxy(const struct provider_settings *provider, struct url *proxy,
                      struct fault *fault)
{
    const char *from = proxy_of(provider), *problem = NULL;
    if (!from || provider->url.is_unix || !*from)
        return true;
    if (!url_read(text_of(from), proxy, &problem))
        return fault_set(fault, FAULT_INTERNAL, "the proxy's URL: %s", problem);
    if (proxy->tls)
        return fault_set(fault, FAULT_INTERNAL,
                         "a proxy that is spoken to with TLS itself "
                         "(https://) is not in force");
    return true;
}

struct upstream_pool *outbound_pool(struct upstreams *upstreams,
                                    const struct provider_settings *provider, unsigned workers,
                                    struct mock *mock, struct fault *fault)
{
    fault_set(fault, FAULT_INTERNAL, "the provider is off");
    if (provider->off || provider->slots) /* replicas have pools of their own (replicas.h) */
        return NULL;
    struct upstream_place place = {
        .port = provider->url.port,
        .is_unix = provider->url.is_unix,
        .has_tls = provider->url.tls,
        .allow_link_local = provider->allow_link_local,
        .tls = {.cert_file = provider->tls.cert_file,
                .key_file = provider->tls.key_file,
                .ca_file = provider->tls.ca_file,
                .tls13_only = provider->tls.tls13_only,
                .http2 = provider->http2},
        .connect_us = provider->connect_us,
        .idle_us = provider->idle_us,
        .max_connections = share(provider->max_connections, workers),
        .max_idle = share(provider->max_idle, workers),
    };
    if (provider->type->is_mock && mock && !provider->base_url) {
        place.connect = connect_mock;
        place.with = mock;
        return upstream_pool_ref(upstreams, &place, fault);
    }
    struct url proxy = {0};
    if (!use_proxy(provider, &proxy, fault))
        return NULL;
    char *host = memory_string(provider->url.host), *proxy_host = NULL, *proxy_user = NULL;
    if (proxy.host.len)
        proxy_host = memory_string(proxy.host);
    if (proxy.user.len)
        proxy_user = memory_string(proxy.user);
    place.host = host;
    place.proxy_host = proxy_host;
    place.proxy_port = proxy.port;
    place.proxy_user = proxy_user;
    struct upstream_pool *pool = upstream_pool_ref(upstreams, &place, fault);
    memory_free(host);
    memory_free(proxy_host);
    memory_free(proxy_user);
    return pool;
}

/* ----------------------------------------------------------------------------- headers */

/* What a client may tell a provider (the list of the contract). Credentials, cookies, hop-by-hop
 * fields, forwarded, x-forwarded-* and our own are not in it, and so never go up. */
bool outbound_forwards(struct text name)
{
    static const struct text whole[] = {{"accept", 6},
                                        {"user-agent", 10},
                                        {"x-app", 5},
                                        {"traceparent", 11},
                                        {"tracestate", 10},
                                        {"idempotency-key", 15},
                                        {"x-goog-api-client", 17}};
    static const struct text prefixes[] = {{"x-stainless-", 12},
                                           {"openai-", 7},
                                           {"anthropic-", 10},
                                           {"x-claude-code-", 14},
                                           {"x-amzn-bedrock-", 15}};
    /* Whose account is charged is the operator's to say. */
    static const struct text never[] = {{"openai-organization", 19},
                                        {"openai-project", 14},
                                        {"x-amzn-bedrock-projectidentifier", 32}};
    char first = (char)(name.at[0] | 0x20); /* most names differ in their first letter */
    if (first != 'a' && first != 'i' && first != 'o' && first != 't' && first != 'u' &&
        first != 'x')
        return false;
    for (size_t i = 0; (first == 'o' || first == 'x') && i < sizeof(never) / sizeof(never[0]); i++)
        if (text_equal_nocase(name, never[i]))
            return false;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (first == prefixes[i].at[0] && text_starts_nocase(name, prefixes[i]))
            return true;
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
        if (first == whole[i].at[0] && text_equal_nocase(name, whole[i]))
            return true;
    return false;
}

static void put(struct buffer *out, struct text t)
{
    buffer_append(out, t.at, t.len);
}

static void put_field(struct buffer *out, struct text name, struct text value)
{
    put(out, name);
    put(out, TEXT(": "));
    put(out, value);
    put(out, TEXT("\r\n"));
}

static void put_authority(struct buffer *out, const struct url *url)
{
    if (url->is_unix) {
        put(out, TEXT("localhost"));
        return;
    }
    bool v6 = text_find_byte(url->host, ':') != SIZE_MAX;
    if (v6)
        put(out, TEXT("["));
    put(out, url->host);
    if (v6)
        put(out, TEXT("]"));
    if (url->port != (url->tls ? 443 : 80)) {
        put(out, TEXT(":"));
        buffer_append_number(out, url->port);
    }
}

/* Everything but the unreserved characters of RFC 3986 2.3, and @, as %XX. */
static void put_escaped(struct buffer *out, struct text value)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     strchr("-._~@", c);
        char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (plain)
            buffer_append(out, &c, 1);
        else
            buffer_append(out, escaped, sizeof(escaped));
    }
}

/* <at_root>: for paths that stand beside the type's own path, not below it. */
static void put_base(struct buffer *out, const struct provider_settings *provider,
                     const struct upstream_pool *pool, bool at_root)
{
    struct text path = provider->url.path, own = provider->type->path;
    if (pool && upstream_pool_wants_url(pool)) {
        put(out, TEXT("http://"));
        put_authority(out, &provider->url);
    }
    bool ends = text_ends(path, own);
    if (at_root && ends)
        path.len -= own.len;
    put(out, path);
    if (!at_root && !ends)
        put(out, own);
}

static void put_host(struct buffer *out, const struct provider_settings *provider)
{
    put(out, TEXT(" HTTP/1.1\r\nHost: "));
    if (provider->type->is_mock && !provider->base_url)
        put(out, TEXT("mock"));
    else
        put_authority(out, &provider->url);
    put(out, TEXT("\r\n"));
}

/* What stands between the base URL of an Azure resource and the path: nothing when the base URL has
 * it already, or is that of Foundry's models. */
static void put_azure(struct buffer *out, const struct provider_settings *provider,
                      struct text deployment)
{
    if (text_ends(provider->url.path, TEXT("/openai/v1")) ||
        text_ends(provider->url.path, TEXT("/models")))
        return;
    put(out, provider->api_version.len ? TEXT("/openai") : TEXT("/openai/v1"));
    if (!provider->api_version.len || !deployment.len)
        return;
    put(out, TEXT("/deployments/"));
    put_escaped(out, deployment);
}

/* Azure has deployments for what models do; files, batches and the rest belong to the resource. */
static struct text deployment_of(const struct exchange *x)
{
    bool resource = x->call.operation == OPERATION_OBJECT || x->call.operation == OPERATION_FILE ||
                    x->call.operation == OPERATION_BATCH || x->call.operation == OPERATION_RESPONSE;
    return resource ? (struct text){"", 0} : x->upstream_model;
}

static void put_query(struct buffer *out, const struct exchange *x)
{
    const struct provider_settings *provider = x->target->provider;
    const char *mark = "?";
    if (x->call.operation == OPERATION_REALTIME) {
        put(out, TEXT("?model="));
        put_escaped(out, x->upstream_model);
        mark = "&";
    } else if (x->query.len) {
        put(out, TEXT("?"));
        put(out, x->query);
        mark = "&";
    }
    if (provider->type->is_azure && provider->api_version.len) {
        put(out, text_of(mark));
        put(out, TEXT("api-version="));
        put_escaped(out, provider->api_version);
    }
}

/* Vertex AI has Anthropic's dialect, and OpenAI's, at paths of its own; Gemini's are its dialect's.
 */
static bool is_claude_on_vertex(const struct exchange *x)
{
    const struct provider_type *type = x->target->provider->type;
    return type->is_vertex && text_equal(type->dialect, TEXT("anthropic"));
}

static void put_vertex(struct buffer *out, const struct exchange *x)
{
    const struct provider_settings *provider = x->target->provider;
    bool counts = x->call.operation == OPERATION_COUNT;
    buffer_format(out, "/v1/projects/%.*s/locations/%.*s/", TEXT_ARGS(provider->project),
                  TEXT_ARGS(provider->location));
    if (!is_claude_on_vertex(x)) {
        put(out, TEXT("endpoints/openapi/chat/completions"));
        return;
    }
    put(out, TEXT("publishers/anthropic/models/"));
    put_escaped(out, counts ? TEXT("count-tokens") : x->upstream_model);
    put(out, x->call.stream && !counts ? TEXT(":streamRawPredict") : TEXT(":rawPredict"));
}

static void put_request_line(struct buffer *out, const struct exchange *x)
{
    const struct provider_settings *provider = x->target->provider;
    put(out, text_of(method_name(x->method)));
    put(out, TEXT(" "));
    put_base(out, provider, x->upstream.pool, crossing_at_root(x));
    if (provider->type->is_azure)
        put_azure(out, provider, deployment_of(x));
    if (provider->type->is_vertex && !text_equal(provider->type->dialect, TEXT("gemini"))) {
        put_vertex(out, x);
    } else if (!crossing_put_path(x, out)) {
        put(out, x->match.suffix);
        put_query(out, x);
    } else if (provider->type->is_azure) {
        put_query(out, x);
    }
    put_host(out, provider);
}

/* <key>: of the provider, where it does not sign in. */
static void put_credentials(struct buffer *out, const struct snapshot *snapshot,
                            const struct provider_settings *provider, struct text key)
{
    const struct upstream_pool *pool = snapshot_pool(snapshot, provider);
    const struct sign_in *sign_in = snapshot_sign_in(snapshot, provider);
    bool bears = sign_in && !sign_in_signs(sign_in);
    struct text token = bears ? sign_in_token(sign_in) : (struct text){"", 0};
    if (token.len) {
        put(out, TEXT("Authorization: Bearer "));
        put(out, token);
        put(out, TEXT("\r\n"));
    } else if (key.len && provider->type->auth == AUTH_HEADER) {
        put_field(out, provider->type->auth_header, key);
    } else if (key.len) {
        put(out, TEXT("Authorization: Bearer "));
        put(out, key);
        put(out, TEXT("\r\n"));
    }
    if (provider->organization.len)
        put_field(out, TEXT("OpenAI-Organization"), provider->organization);
    for (size_t i = 0; i < provider->header_count; i++)
        put_field(out, text_of(provider->headers[i].name), text_of(provider->headers[i].value));
    const char *user =
        pool && upstream_pool_wants_url(pool) ? upstream_pool_proxy_user(pool) : NULL;
    if (user) {
        char coded[1024];
        struct text cut = text_head(text_of(user), 700);
        size_t length = hash_base64(cut.at, cut.len, coded);
        put(out, TEXT("Proxy-Authorization: Basic "));
        put(out, (struct text){coded, length});
        put(out, TEXT("\r\n"));
    }
}

/* A request of our own. Of Azure's, embeddings are a deployment's. */
static void put_own(struct buffer *out, struct text method, const struct snapshot *snapshot,
                    const struct target *target, struct text suffix)
{
    const struct provider_settings *provider = target->provider;
    bool embeds = text_equal(suffix, TEXT("/embeddings"));
    put(out, method);
    put_base(out, provider, snapshot_pool(snapshot, provider), false);
    if (provider->type->is_azure)
        put_azure(out, provider, embeds ? target->model : (struct text){"", 0});
    put(out, suffix);
    if (provider->type->is_azure && provider->api_version.len) {
        put(out, TEXT("?api-version="));
        put_escaped(out, provider->api_version);
    }
    put_host(out, provider);
    put_credentials(out, snapshot, provider, provider->api_key);
    put(out, TEXT("User-Agent: sluice/" PROGRAM_VERSION "\r\naccept-encoding: identity\r\n"));
}

void outbound_put_get(struct buffer *out, const struct snapshot *snapshot,
                      const struct target *target, struct text suffix)
{
    put_own(out, TEXT("GET "), snapshot, target, suffix);
    put(out, TEXT("\r\n"));
}

void outbound_put_post(struct buffer *out, const struct snapshot *snapshot,
                       const struct target *target, struct text suffix, size_t length)
{
    outbound_put_copy(out, snapshot, target, suffix, TEXT(""), length);
}

void outbound_put_copy(struct buffer *out, const struct snapshot *snapshot,
                       const struct target *target, struct text suffix, struct text forward,
                       size_t length)
{
    put_own(out, TEXT("POST "), snapshot, target, suffix);
    put(out, forward);
    put(out, TEXT("Content-Type: application/json\r\nContent-Length: "));
    buffer_append_number(out, length);
    put(out, TEXT("\r\n\r\n"));
}

/* --------------------------------------------------------------------------------- send */

/* What a client tells its own dialect's providers is not for those of another. */
static void put_forwarded(struct buffer *out, const struct exchange *x)
{
    static const struct text everybody[] = {
        {"user-agent", 10}, {"traceparent", 11}, {"tracestate", 10}, {"idempotency-key", 15}};
    struct text rest = x->seeking->forward;
    if (!crossing_is_on(x)) {
        put(out, x->seeking->forward);
        return;
    }
    while (rest.len) {
        size_t end = text_find(rest, TEXT("\r\n")) + 2;
        struct text line = text_head(rest, end);
        struct text name = text_head(line, text_find_byte(line, ':'));
        rest = text_from(rest, end);
        for (size_t i = 0; i < sizeof(everybody) / sizeof(everybody[0]); i++)
            if (text_equal_nocase(name, everybody[i]))
                put(out, line);
    }
}

/* What a traced target does belongs below the try's own span. */
static void put_trace(struct buffer *out, const struct exchange *x)
{
    char parent[TRACEPARENT_BYTES];
    if (!x->trace)
        return;
    trace_write_parent(x->trace, parent);
    put(out, TEXT("traceparent: "));
    put(out, text_of(parent));
    put(out, TEXT("\r\n"));
}

static void put_head(struct buffer *out, struct exchange *x)
{
    buffer_clear(out);
    put_request_line(out, x);
    put_credentials(out, x->snapshot, x->target->provider, x->provider_key);
    put_forwarded(out, x);
    put_trace(out, x);
    put(out, TEXT("accept-encoding: identity\r\nx-request-id: "));
    put(out, text_of(x->id));
    put(out, TEXT("\r\n"));
}

static void put_websocket(struct buffer *out, const struct exchange *x)
{
    put(out, TEXT("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"));
    put_field(out, TEXT("Sec-WebSocket-Key"), x->seeking->websocket_key);
    if (x->seeking->websocket_protocol.len)
        put_field(out, TEXT("Sec-WebSocket-Protocol"), x->seeking->websocket_protocol);
}

static void put_content_length(struct buffer *out, uint64_t length)
{
    put(out, TEXT("Content-Length: "));
    buffer_append_number(out, length);
    put(out, TEXT("\r\n"));
}

/* With what policy changes in it; its pieces come behind <count> others. */
static int put_body(struct exchange *x, struct buffer *out, struct iovec *pieces, int count)
{
    uint64_t total;
    count = outbound_edit(x, is_claude_on_vertex(x), pieces, count, &total);
    put_content_length(out, total);
    return count;
}

/* The fields about the body; returns how many pieces there are with it. */
static int put_content(struct exchange *x, struct buffer *out, struct iovec *pieces, int count)
{
    if (crossing_is_on(x)) {
        put(out, x->seeking->translated.headers);
        put(out, TEXT("Content-Type: application/json\r\n"));
        return put_body(x, out, pieces, count);
    }
    if (x->seeking->content_type.len)
        put_field(out, TEXT("Content-Type"), x->seeking->content_type);
    if (x->upload)
        upload_put_length(x->upload, out);
    else if (x->match.endpoint->body == BODY_JSON)
        return put_body(x, out, pieces, count);
    else if (x->method != METHOD_GET && x->method != METHOD_DELETE)
        put_content_length(out, 0);
    return count;
}

void outbound_send(struct exchange *x)
{
    struct buffer *out = &x->worker->head_out;
    struct iovec pieces[UPSTREAM_PIECES];
    put_head(out, x);
    if (x->relay == RELAY_TUNNEL)
        put_websocket(out, x);
    int count = put_content(x, out, pieces, 1);
    outbound_sign(x, out, pieces + 1, count - 1);
    put(out, TEXT("\r\n"));
    if (out->overrun) { /* a head that is cut says something else */
        upstream_abandon(&x->upstream);
        fault_set(exchange_fault(x), FAULT_LARGE_HEAD,
                  "The head of the call is too long for its target.");
        x->facts.upstream = UPSTREAM_FAILED;
        exchange_run(x);
        return;
    }
    /* The head is sent from here at once; only what the socket does not take is kept. */
    struct text head = buffer_text(out);
    head = arena_copy(&x->seeking->arena, head);
    pieces[0] = (struct iovec){(void *)(uintptr_t)head.at, head.len};
    upstream_send(&x->upstream, pieces, count, x->upload != NULL);
    if (x->upload && x->upstream.connection)
        upload_begin(x);
}
