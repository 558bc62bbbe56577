/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intake - from a request's head to an exchange: which endpoint, who asks, and may the body come?
 *
 * All of it is decided before a byte of the body is read.
 */
#include <stdlib.h>

#include "gateway/admin.h"
#include "gateway/aliases.h"
#include "gateway/anonymous.h"
#include "gateway/answer.h"
#include "gateway/client.h"
#include "gateway/deploy_page.h"
#include "gateway/exchange.h"
#include "gateway/http/path.h"
#include "gateway/http/websocket.h"
#include "gateway/job_desk.h"
#include "gateway/job_page.h"
#include "gateway/oidc_page.h"
#include "gateway/outbound.h"
#include "gateway/pages.h"
#include "gateway/replay.h"
#include "gateway/signature.h"
#include "gateway/tracing.h"
#include "gateway/upload.h"
#include "gateway/worker_inside.h"

enum {
    TAGS_MAX = 255,
    VALUE_MAX = 1024,               /* of a header that is kept alone; a longer one is none */
    FORWARD_MAX = 64 * 1024,        /* of those that go up as they are */
    IGNORED_BODY_MAX = 1024 * 1024, /* read and thrown away, so that the connection can be kept */
};

static struct exchange *begin(struct client *client)
{
    struct worker *worker = client->worker;
    struct exchange *x = worker_take_exchange(worker);
    x->client = client;
    client->exchange = x;
    bool waited = client->arrived_us && client->arrived_us < client->since_us;
    x->begun_us = waited ? client->arrived_us : client->since_us;
    x->whole_us = loop_now_us(worker->loop);
    x->started_wall_us = loop_wall_us(worker->loop);
    x->length_out = -1;
    x->listener_name = client->listener->name;
    worker_new_id(worker, x->id);
    return x;
}

void exchange_refuse_head(struct client *client, const struct fault *fault, bool head_only)
{
    struct exchange *x = begin(client);
    x->method = head_only ? METHOD_HEAD : METHOD_GET;
    x->head_only = head_only;
    x->facts.request_bad = true;
    *exchange_fault(x) = *fault;
    x->close_after = true;
    client->keep = false;
    client->linger = true;
    exchange_run(x);
}

/* ---------------------------------------------------------------------------------- who */

static bool is_allowed_origin(const struct exchange *x, struct text origin)
{
    const struct config *config = x->snapshot->config;
    for (size_t i = 0; i < config->cors_origin_count; i++)
        if (text_equal(config->cors_origins[i], origin) ||
            text_equal(config->cors_origins[i], TEXT("*")))
            return true;
    return false;
}

static bool refuse_stranger(struct exchange *x, bool shown, const char *words)
{
    return anonymous_refuse(x->snapshot->config, x->snapshot->directory, shown, exchange_fault(x),
                            words);
}

/* False: it is a token, and none that opens anything. */
static bool check_token(struct exchange *x, struct text secret)
{
    struct snapshot *snapshot = x->snapshot;
    switch (tokens_check(snapshot->tokens, snapshot->directory, secret, x->started_wall_us,
                         &x->arena, &x->key)) {
    case TOKEN_NONE:
    case TOKEN_GOOD:
        return true;
    case TOKEN_NO_KEY:
        jwks_want(&x->worker->jwks);
        if (ask_is_busy(&x->worker->jwks.ask))
            return fault_set(exchange_fault(x), FAULT_OVERLOADED,
                             "The issuer's keys are being fetched; try again.");
        break;
    case TOKEN_BAD:
        break;
    }
    return refuse_stranger(x, true, "The token is not valid here.");
}

/* Monster's first version takes a key as x-api-key, in Authorization, with and without "Bearer",
 * and both at once, where a token of theirs may stand beside the key: either alone suffices, but
 * two that open something must be the same. */
static bool find_old_key(struct exchange *x, const struct head *head)
{
    const struct directory *directory = x->snapshot->directory;
    struct text bearer = head_value(head, TEXT("authorization"));
    struct text plain = head_value(head, TEXT("x-api-key"));
    if (text_starts_nocase(bearer, TEXT("bearer ")))
        bearer = text_from(bearer, strlen("bearer "));
    bool twice =
        head_count(head, TEXT("authorization")) > 1 || head_count(head, TEXT("x-api-key")) > 1;
    const struct key *a =
        bearer.len ? directory_find_key(directory, bearer, x->started_wall_us) : NULL;
    const struct key *b =
        plain.len ? directory_find_key(directory, plain, x->started_wall_us) : NULL;
    if (!twice && (!a || !b || a == b))
        x->key = a ? a : b;
    return x->key != NULL;
}

/* Whatever was wrong with the key; in each dialect there is a header that its clients send. */
static const char *words_for_strangers(const struct exchange *x)
{
    if (x->match.shape == SHAPE_ANTHROPIC)
        return "No valid API key was given. Send it as 'x-api-key: KEY' or "
               "'Authorization: Bearer KEY'.";
    if (x->match.shape == SHAPE_GEMINI)
        return "No valid API key was given. Send it as 'x-goog-api-key: KEY' or "
               "'Authorization: Bearer KEY'.";
    return "No valid API key was given. Send it as 'Authorization: Bearer KEY'.";
}

static bool find_key(struct exchange *x, const struct head *head)
{
    struct text secret = {"", 0};
    if (x->client->listener->is_jobs)
        return (x->key = job_desk_key(x, head)) != NULL;
    if (signature_is_there(x, head))
        return signature_find_key(x, head);
    if (text_starts(head->path, TEXT("/apis/")) && find_old_key(x, head))
        return true;
    enum credential_result result = credential_find(head, x->match.shape == SHAPE_GEMINI, &secret);
    const char *words = words_for_strangers(x);
    if (result == CREDENTIAL_REFUSED)
        return fault_set(exchange_fault(x), FAULT_BAD_KEY, "%s", words);
    if (result == CREDENTIAL_FOUND && x->snapshot->tokens && !check_token(x, secret))
        return false;
    if (result == CREDENTIAL_FOUND && !x->key)
        x->key = directory_find_key(x->snapshot->directory, secret, x->started_wall_us);
    /* Where any key will do, one of ours that is revoked or expired still opens nothing. */
    bool ours = result == CREDENTIAL_FOUND && text_starts(secret, TEXT("sk-sluice-"));
    const struct key *anybody =
        x->key || ours ? NULL : anonymous_key(x->snapshot->config, x->snapshot->directory);
    if (anybody) {
        struct text origin = head_value(head, TEXT("origin"));
        if (origin.at && !is_allowed_origin(x, origin))
            return fault_set(
                exchange_fault(x), FAULT_BAD_KEY,
                "Web pages may ask without a key only from server.cors.allow_origins.");
        x->key = anybody;
    }
    return x->key || refuse_stranger(x, result == CREDENTIAL_FOUND, words);
}

/* Are a proxy's words on who is behind it to be believed? */
static bool is_trusted_proxy(const struct client *client)
{
    const struct networks *trusted = &client->listener->trusted;
    return (trusted->count || trusted->has_unix) && networks_have(trusted, text_of(client->peer));
}

/* Has the client come by TLS, to us or to a proxy that is trusted? */
static bool came_by_tls(const struct exchange *x, const struct head *head)
{
    return x->client->listener->tls || (is_trusted_proxy(x->client) && forwarded_https(head));
}

static bool admit_admin(struct exchange *x, const struct head *head)
{
    struct text secret = {"", 0};
    struct admin_caller *caller = arena_new(&x->arena, sizeof(*caller));
    x->admin = caller;
    if (x->client->listener->is_admin_socket)
        return admin_know_peer(x->client->stream.fd, caller) ||
               fault_set(exchange_fault(x), FAULT_BAD_KEY,
                         "Only the user that runs sluice may ask.");
    const struct service *service = x->worker->options.service;
    enum credential_result result = credential_find(head, false, &secret);
    bool is_known =
        result == CREDENTIAL_FOUND && admin_know_key(service, x->snapshot->config, secret, caller);
    /* A key that opens nothing is not passed over for a cookie that does. */
    if (result == CREDENTIAL_NONE && (x->client->listener->serve & SERVE_UI))
        is_known =
            admin_know_session(service, x->snapshot->config, head, came_by_tls(x, head), caller);
    return is_known || fault_set(exchange_fault(x), FAULT_BAD_KEY, "An admin key is needed.");
}

/* A deployment's own endpoint is opened by its own token, and by nothing else. Who has not got it
 * does not learn whether it is there. */
static bool find_owner(struct exchange *x, const struct head *head)
{
    const struct deployment_spec *spec = deploy_spec(x->snapshot->config, x->match.deployment);
    struct text secret = {"", 0};
    bool shown = credential_find(head, false, &secret) == CREDENTIAL_FOUND;
    struct digest given = hash_sha256(secret),
                  wanted = hash_sha256(spec ? spec->token : (struct text){"", 0});
    bool opens = shown && spec && spec->token.len && hash_same(&given, &wanted);
    const struct tenant *tenant =
        opens ? directory_find_tenant(x->snapshot->directory, spec->tenant) : NULL;
    if (!tenant || tenant->is_off)
        return fault_set(exchange_fault(x), FAULT_BAD_KEY,
                         "No valid token of this deployment was given. Send it as "
                         "'Authorization: Bearer TOKEN'.");
    struct key *key = arena_new(&x->arena, sizeof(*key));
    *key = (struct key){.name = arena_format(&x->arena, "deployment:%.*s", TEXT_ARGS(spec->name)),
                        .digest = given,
                        .tenant = tenant,
                        .tags = tenant->tags};
    x->key = key;
    return true;
}

static bool admit(struct exchange *x, const struct head *head)
{
    switch (x->match.endpoint->page) {
    case PAGE_ALIVE:
    case PAGE_HEALTH:
    case PAGE_METRICS:
    case PAGE_DASHBOARD:
        return true;
    case PAGE_ADMIN:
        return admit_admin(x, head);
    case PAGE_FILE: /* its link opens it */
        return true;
    case PAGE_JOB:
    case PAGE_NONE:
    case PAGE_MODELS:
    case PAGE_MODEL:
    case PAGE_SHOW:
    case PAGE_LOADED:
    case PAGE_VERSION:
    case PAGE_DEPLOY:
        break;
    }
    return x->match.deployment.len ? find_owner(x, head) : find_key(x, head);
}

/* ------------------------------------------------------------------------------ the body */

static bool has_type(const struct exchange *x, struct text type)
{
    struct text have =
        text_head(x->seeking->content_type, text_find_byte(x->seeking->content_type, ';'));
    return text_equal_nocase(text_trim(have), type);
}

static bool check_media(struct exchange *x, const struct head *head)
{
    struct text coding = head_value(head, TEXT("content-encoding"));
    if (coding.at && !text_equal_nocase(coding, TEXT("identity")))
        return fault_set(exchange_fault(x), FAULT_BAD_MEDIA,
                         "A Content-Encoding is not accepted in requests.");
    enum request_body body = x->match.endpoint->body;
    /* What has no type is taken for JSON. Forms and plain text are not: a web page may send those
     * to any address without asking first. */
    bool typed = head_count(head, TEXT("content-type")) > 0;
    if (body == BODY_JSON && typed && !has_type(x, TEXT("application/json")))
        return fault_set(exchange_fault(x), FAULT_BAD_MEDIA, "The body must be application/json.");
    bool form_too = body == BODY_EITHER && has_type(x, TEXT("multipart/form-data"));
    if (body == BODY_EITHER && typed && !form_too && !has_type(x, TEXT("application/json")))
        return fault_set(exchange_fault(x), FAULT_BAD_MEDIA,
                         "The body must be application/json or multipart/form-data.");
    if (body == BODY_FORM && !has_type(x, TEXT("multipart/form-data")))
        return fault_set(exchange_fault(x), FAULT_BAD_MEDIA,
                         "The body must be multipart/form-data.");
    return true;
}

/* Is there a body where one belongs, and is it not too large? */
static bool check_body(struct exchange *x, const struct head *head)
{
    const struct config *config = x->snapshot->config;
    enum request_body body = x->match.endpoint->body;
    bool has_body = head->chunked || head->content_length > 0;
    size_t max =
        body == BODY_FORM ? config->limits.max_upload_bytes : config->limits.max_body_bytes;
    if (body == BODY_ABSENT)
        max = IGNORED_BODY_MAX;
    if (x->match.endpoint->page == PAGE_ADMIN || x->match.endpoint->page == PAGE_SHOW ||
        x->match.endpoint->page == PAGE_DEPLOY)
        max = ADMIN_BODY_BYTES;
    if (x->match.endpoint->page == PAGE_JOB)
        max = config->jobs.payload_max;
    if (x->match.endpoint->page == PAGE_FILE)
        max = config->jobs.upload_max;
    if (body != BODY_ABSENT && x->match.endpoint->page == PAGE_NONE && !head->chunked &&
        head->content_length < 0)
        return fault_set(exchange_fault(x), FAULT_NO_LENGTH,
                         "A Content-Length (or chunked) body is needed.");
    if (head->content_length > 0 && (uint64_t)head->content_length > max)
        return fault_set(exchange_fault(x), FAULT_TOO_LARGE,
                         "The request body is larger than %zu bytes.", max);
    buffer_init(&x->body, max);
    return !has_body || check_media(x, head);
}

static bool has_body_to_come(const struct head *head)
{
    return head->chunked || head->content_length > 0;
}

/* --------------------------------------------------------------------------- the headers */

/* Two tenants that have the same key shall not meet at the provider, who knows but one account. */
static struct text scoped_key(struct exchange *x, struct text key, char hex[HEX_BYTES])
{
    struct text whole = arena_format(&x->arena, "%.*s\n%.*s",
                                     TEXT_ARGS(tenant_scope(x->key->tenant)), TEXT_ARGS(key));
    struct digest digest = hash_sha256(whole);
    hash_hex(&digest, hex);
    return text_of(hex);
}

/* Bedrock's own header, which nobody else is told. False when there is another one. */
static bool keep_service(struct exchange *x, const struct head_field *field)
{
    if (!text_equal_nocase(field->name, TEXT("x-amzn-bedrock-service-tier")))
        return true;
    if (x->seeking->service_given.at)
        return false;
    x->seeking->service_given = arena_copy(&x->seeking->arena, field->value);
    return true;
}

/* All of it or nothing: a head that is cut somewhere would be read as something else. */
static bool keep_forwarded(struct exchange *x, const struct head *head)
{
    struct buffer *lines = &x->worker->head_out;
    buffer_clear(lines);
    for (size_t i = 0; i < head->field_count; i++) {
        const struct head_field *field = &head->fields[i];
        struct text value = field->value;
        char hex[HEX_BYTES];
        if (!outbound_forwards(field->name) ||
            (x->trace && text_equal_nocase(field->name, TEXT("traceparent"))))
            continue;
        if (x->key && value.len && text_equal_nocase(field->name, TEXT("idempotency-key")))
            value = scoped_key(x, value, hex);
        if (text_equal(x->match.dialect, TEXT("bedrock")) && !keep_service(x, field))
            return fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                             "The tier of service is said twice.");
        if (buffer_length(lines) + field->name.len + value.len + 4 > FORWARD_MAX)
            return fault_set(exchange_fault(x), FAULT_LARGE_HEAD,
                             "The headers for the provider are too large.");
        buffer_append_text(lines, field->name);
        buffer_append_text(lines, TEXT(": "));
        buffer_append_text(lines, value);
        buffer_append_text(lines, TEXT("\r\n"));
    }
    x->seeking->forward = arena_copy(&x->seeking->arena, buffer_text(lines));
    return true;
}

/* A model's name that stands in the path, as Gemini and Bedrock have it, and what else is said
 * there. */
static bool read_path(struct exchange *x, const struct head *head)
{
    const struct endpoint *endpoint = x->match.endpoint;
    bool names = endpoint->page == PAGE_NONE || endpoint->page == PAGE_JOB;
    x->model_in_path = x->match.shape != SHAPE_OPENAI && names &&
                       text_find(endpoint->path, TEXT("{model}")) != SIZE_MAX;
    if (!x->model_in_path)
        return true;
    char *name = arena_take(&x->arena, x->match.id.len);
    size_t len;
    if (x->match.id.len > VALUE_MAX || !path_decode(x->match.id, name, &len)) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                  "The model's name in the path is not valid.");
        exchange_fault(x)->param = "model";
        return false;
    }
    x->call.model = (struct text){name, len};
    x->call.stream = endpoint->streams;
    x->invokes =
        x->match.shape == SHAPE_BEDROCK && text_find(endpoint->path, TEXT("/invoke")) != SIZE_MAX;
    struct text alt = {"", 0};
    bool repeated = false;
    query_find(head->query, TEXT("alt"), &alt, &repeated);
    x->array_out =
        endpoint->streams && x->match.shape == SHAPE_GEMINI && !text_equal(alt, TEXT("sse"));
    return true;
}

/* The name of a conversation, as agents send it: Codex, Claude Code, and others. */
static void read_session(struct exchange *x, const struct head *head)
{
    static const struct text names[] = {{"session_id", 10},
                                        {"session-id", 10},
                                        {"x-claude-code-session-id", 24},
                                        {"x-session-id", 12},
                                        {"conversation_id", 15}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !x->affinity; i++) {
        struct text value = head_value(head, names[i]);
        if (value.len)
            x->affinity = exchange_affinity(value);
    }
}

static struct text keep_in(struct arena *arena, const struct head *head, struct text name)
{
    struct text value = head_value(head, name);
    bool good = value.at && value.len <= VALUE_MAX;
    return good ? arena_copy(arena, value) : (struct text){"", 0};
}

static struct text keep_value(struct exchange *x, const struct head *head, struct text name)
{
    return keep_in(&x->arena, head, name);
}

/* The same for what is not looked at any more once the answer is on its way. */
static struct text keep_for_now(struct exchange *x, const struct head *head, struct text name)
{
    return keep_in(&x->seeking->arena, head, name);
}

static bool read_websocket(struct exchange *x, const struct head *head)
{
    if (x->match.endpoint->operation != OPERATION_REALTIME)
        return true;
    bool repeated = false;
    struct text model;
    if (!head->upgrade || head->minor == 0 ||
        !text_equal_nocase(head_value(head, TEXT("upgrade")), TEXT("websocket")) ||
        head_count(head, TEXT("sec-websocket-key")) != 1 ||
        !websocket_key_is_valid(head_value(head, TEXT("sec-websocket-key"))) ||
        !text_equal(head_value(head, TEXT("sec-websocket-version")), TEXT("13")))
        return fault_set(exchange_fault(x), FAULT_BAD_HTTP,
                         "This path is for WebSockets (RFC 6455, version 13).");
    x->seeking->websocket_key = keep_for_now(x, head, TEXT("sec-websocket-key"));
    x->seeking->websocket_protocol = keep_for_now(x, head, TEXT("sec-websocket-protocol"));
    /* Browsers can send a key only as a protocol; the provider must not see it. */
    if (text_find(x->seeking->websocket_protocol, TEXT("insecure-api-key")) != SIZE_MAX)
        x->seeking->websocket_protocol = TEXT("realtime");
    char name[256];
    size_t len;
    if (!query_find(head->query, TEXT("model"), &model, &repeated) || repeated ||
        model.len > sizeof(name) || !path_decode(model, name, &len)) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "You must provide a model parameter.");
        exchange_fault(x)->param = "model";
        return false;
    }
    x->call.model = arena_copy(&x->arena, (struct text){name, len});
    return true;
}

static struct text join_tags(struct exchange *x, struct text first, struct text more)
{
    if (first.len == 0 || more.len == 0)
        return first.len ? first : more;
    struct text all = arena_format(&x->arena, "%.*s,%.*s", TEXT_ARGS(first),
                                   TEXT_ARGS(text_head(more, TAGS_MAX)));
    return text_head(all, TAGS_MAX);
}

/* Those of the key and of its tenants come first: what a client adds takes nothing away. */
static void keep_tags(struct exchange *x, const struct head *head, struct text other)
{
    if (!x->key)
        return;
    x->tags = x->key->tags;
    if (!x->key->tenant->may_set_tags)
        return;
    struct text given = head_value(head, TEXT("x-sluice-tags"));
    if (given.len)
        given = arena_copy(&x->arena, text_head(given, TAGS_MAX));
    x->tags = join_tags(x, join_tags(x, x->tags, given), other);
}

/* What clients of others send: nothing that they could not do without, or in the body. */
static void keep_aliases(struct exchange *x, const struct head *head)
{
    struct aliases aliases;
    aliases_read(head, &x->arena, &aliases);
    keep_tags(x, head, aliases.tags);
    x->cache_no_cache = x->cache_no_cache || aliases.no_cache;
    x->cache_namespace = aliases.cache_namespace;
    x->seeking->user_given = aliases.user;
    x->timeout_us = aliases.timeout_us;
    x->stream_timeout_us = aliases.stream_timeout_us;
}

static void keep_peer(struct exchange *x, const struct head *head)
{
    char peer[FORWARDED_PEER_BYTES];
    if (is_trusted_proxy(x->client) && forwarded_client(head, &x->client->listener->trusted, peer))
        x->peer = arena_copy(&x->arena, text_of(peer));
}

/* How the client has reached us: what begins the address of what it deploys, and whether a cookie
 * may ask for TLS. */
static void keep_origin(struct exchange *x, const struct head *head)
{
    struct text host = keep_value(x, head, TEXT("host"));
    if (host.len)
        x->seeking->own_origin = arena_format(
            &x->arena, "%s://%.*s", came_by_tls(x, head) ? "https" : "http", TEXT_ARGS(host));
    x->query = arena_copy(&x->arena, head->query);
}

/* The sign-in that this browser has begun. */
static void keep_ticket(struct exchange *x, const struct head *head)
{
    struct text values[SESSION_TRIED_MAX];
    if (session_find(head, session_ticket_cookie(came_by_tls(x, head)), values) > 0)
        x->seeking->page_header = arena_copy(&x->seeking->arena, values[0]);
}

/* <part> of the path that came: it stands in our copy of that, too. */
static struct text keep_part(struct exchange *x, struct text path, struct text part)
{
    if (part.len == 0)
        return (struct text){"", 0};
    uintptr_t from = (uintptr_t)path.at, at = (uintptr_t)part.at;
    if (text_ends(x->path, part)) /* of a path that is known the parts stand elsewhere */
        return (struct text){x->path.at + x->path.len - part.len, part.len};
    if (at < from || at - from > path.len || path.len - (at - from) < part.len)
        return arena_copy(&x->arena, part);
    return (struct text){x->path.at + (at - from), part.len};
}

static void keep_request(struct exchange *x, const struct head *head)
{
    x->method = head->method;
    x->http10 = head->minor == 0;
    x->head_only = head->method == METHOD_HEAD;
    x->path = arena_copy(&x->arena, head->path);
    x->seeking->content_type = keep_for_now(x, head, TEXT("content-type"));
    replay_read_head(x, head);
    x->traceparent = keep_value(x, head, TEXT("traceparent"));
    tracing_begin(x);
    read_session(x, head);
    struct text origin = head_value(head, TEXT("origin"));
    if (origin.at && is_allowed_origin(x, origin))
        x->origin = keep_value(x, head, TEXT("origin"));
    keep_aliases(x, head);
    ruling_read_head(x, head);
    if (!x->match.endpoint)
        return;
    /* The match borrows from the head, which will not stay. */
    x->match.suffix = keep_part(x, head->path, x->match.suffix);
    x->match.id = keep_part(x, head->path, x->match.id);
    x->match.deployment = keep_part(x, head->path, x->match.deployment);
    if (x->match.endpoint->page == PAGE_DEPLOY || x->admin)
        keep_origin(x, head);
    x->call.operation = x->match.endpoint->operation;
    x->dialect = dialect_find(x->match.dialect);
    /* A query goes up only where it says which part of a list is wanted. */
    bool lists = x->match.endpoint->method == METHOD_GET &&
                 (x->match.endpoint->page == PAGE_NONE || x->match.endpoint->page == PAGE_MODELS);
    enum page page = x->match.endpoint->page;
    if (page == PAGE_ADMIN || page == PAGE_HEALTH || page == PAGE_JOB || page == PAGE_FILE || lists)
        x->query = arena_copy(&x->arena, head->query);
    if (page == PAGE_ADMIN)
        x->seeking->page_header = keep_for_now(x, head, TEXT("if-match"));
    if (page == PAGE_DASHBOARD && oidc_page_is_path(x->path)) {
        keep_origin(x, head);
        keep_ticket(x, head);
    } else if (page == PAGE_DASHBOARD) {
        x->seeking->page_header = keep_for_now(x, head, TEXT("accept-encoding"));
    }
    if (x->match.endpoint->operation == OPERATION_OBJECT)
        x->object_id = x->match.id;
}

/* ----------------------------------------------------------------------------- the intake */

static bool is_of_files(const struct endpoint *endpoint)
{
    return (endpoint->operation == OPERATION_FILE || endpoint->operation == OPERATION_OBJECT) &&
           text_starts(endpoint->path, TEXT("/files"));
}

/* OpenAI and Anthropic have their models at the same path, and a path that is not there is
 * nobody's: who names a version of Anthropic's API is answered in its words, also when the answer
 * is no. False: there is nothing for it, with a fault. */
static bool take_shape(struct exchange *x, const struct head *head)
{
    const struct endpoint *endpoint = x->match.endpoint;
    bool either = !endpoint || endpoint->page == PAGE_MODELS || endpoint->page == PAGE_MODEL;
    bool files = endpoint && is_of_files(endpoint);
    if ((!either && !files) || x->match.shape != SHAPE_OPENAI ||
        !head_value(head, TEXT("anthropic-version")).at)
        return endpoint != NULL;
    x->match.shape = SHAPE_ANTHROPIC;
    if (!files)
        return endpoint != NULL;
    x->match.endpoint = NULL; /* else OpenAI would be given Anthropic's file */
    return fault_set(exchange_fault(x), FAULT_UNKNOWN_PATH,
                     "Anthropic's Files API is not here: send documents and images within the "
                     "message, as base64 or by their URL.");
}

static bool is_preflight(const struct exchange *x, const struct head *head)
{
    return head->method == METHOD_OPTIONS && x->origin.len &&
           head_value(head, TEXT("access-control-request-method")).at;
}

static void refuse(struct exchange *x, const struct head *head)
{
    bool body = has_body_to_come(head);
    x->facts.request_bad = true;
    /* Without a length nobody knows whether what comes next is a body or a request. */
    if (body || exchange_why(x)->kind == FAULT_BAD_HTTP ||
        exchange_why(x)->kind == FAULT_NO_LENGTH) {
        x->close_after = true;
        x->client->keep = false;
        x->client->linger = true;
    }
    exchange_run(x);
}

static bool find_endpoint(struct exchange *x, const struct head *head, unsigned serve)
{
    struct text metrics = text_of(x->snapshot->config->telemetry.metrics_path);
    __attribute__((uninitialized)) struct fault fault;
    if (endpoint_find(head, serve, metrics, &x->match, &fault))
        return true;
    *exchange_fault(x) = fault;
    return false;
}

struct exchange *exchange_new(struct client *client, const struct head *head)
{
    struct exchange *x = begin(client);
    const struct config *config = x->snapshot->config;
    unsigned serve = client->listener->serve;
    if (!config->telemetry.metrics_enabled)
        serve &= ~(unsigned)SERVE_METRICS;
    bool found = find_endpoint(x, head, serve);
    keep_peer(x, head);
    bool right = take_shape(x, head) && found && admit(x, head);
    keep_request(x, head);
    if (is_preflight(x, head)) {
        pages_preflight(x, head_value(head, TEXT("access-control-request-headers")));
        return x;
    }
    if (!right || !keep_forwarded(x, head) || !check_body(x, head) || !read_websocket(x, head) ||
        !read_path(x, head)) {
        refuse(x, head);
        return x;
    }
    bool good = x->match.endpoint->page != PAGE_JOB || job_page_begin(x, head);
    if (x->match.endpoint->page == PAGE_FILE)
        good = job_file_begin(x);
    if (x->match.endpoint->body == BODY_FORM)
        good = upload_new(x, head);
    if (!good) {
        refuse(x, head);
        return x;
    }
    if (head->expect_continue && has_body_to_come(head))
        x->expects_continue = true;
    if (head->content_length > 0 && x->match.endpoint->body == BODY_JSON)
        spares_room(&client->worker->spares, &x->body,
                    (size_t)head->content_length); /* once, and bounded above */
    return x;
}

struct exchange *exchange_imagine(struct worker *worker, const struct head *head,
                                  const struct key *key)
{
    struct exchange *x = worker_take_exchange(worker);
    x->begun_us = x->whole_us = loop_now_us(worker->loop);
    x->started_wall_us = loop_wall_us(worker->loop);
    x->length_out = -1;
    worker_new_id(worker, x->id);
    bool found = find_endpoint(x, head, SERVE_API);
    x->key = key;
    keep_request(x, head);
    (void)(found && check_body(x, head) && read_path(x, head));
    return x;
}

void exchange_forget_imagined(struct exchange *x)
{
    list_remove(&x->link);
    worker_give_exchange(x);
}
