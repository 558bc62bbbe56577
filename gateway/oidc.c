/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/oidc.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/outbound.h"

enum {
    FLOW_US = 20000000,
    CONNECT_US = 5000000,
    IDLE_US = 5000000,
    CONNECTIONS_MAX = 8,
    KEPT_US = 600000000, /* what it offers, and its keys */
    REQUEST_MAX = 96 << 10,
    ARENA_BYTES = 4096,
};

enum stage { STAGE_PROVIDER, STAGE_TOKENS, STAGE_KEYS, STAGE_USERINFO, STAGES };

/* In the words of an operator: "the issuer's keys: …". */
static const char *const stage_words[] = {
    [STAGE_PROVIDER] = "what the issuer offers (/.well-known/openid-configuration)",
    [STAGE_TOKENS] = "the issuer's token endpoint",
    [STAGE_KEYS] = "the issuer's keys (jwks_uri)",
    [STAGE_USERINFO] = "the issuer's UserInfo endpoint",
};

struct oidc_flow {
    struct oidc *oidc;
    const struct oidc_settings *settings;
    bool only_provider, names_itself;
    struct arena arena; /* of what follows, and of the claims */
    struct oidc_return back;
    void (*on_end)(void *with);
    void *with;
    struct grave grave;

    enum oidc_outcome outcome;
    char why[OIDC_WORDS_BYTES + 128];
    struct id_claims claims;
    struct text id_token, access_token;
    bool keys_are_new, beginning;

    /* the question that is asked */
    enum stage stage;
    bool asking;
    unsigned status;
    struct timer timer;                  /* of all of it */
    struct upstream_pool *pools[STAGES]; /* kept to the end: a question may be ending in one */
    struct upstream_call call;
    struct buffer request, answer;
};

static void go_on(struct oidc_flow *flow);

/* -------------------------------------------------------------------------- the worker's */

void oidc_init(struct oidc *oidc, struct loop *loop, struct upstreams *upstreams)
{
    *oidc = (struct oidc){.loop = loop, .upstreams = upstreams};
}

static void forget(struct oidc *oidc)
{
    oidc_provider_free(oidc->provider);
    id_token_keys_free(oidc->keys);
    oidc->provider = NULL;
    oidc->keys = NULL;
}

void oidc_done(struct oidc *oidc)
{
    forget(oidc);
}

/* What is kept is of one issuer, and for a time. */
static void keep_fresh(struct oidc *oidc, const struct oidc_settings *settings)
{
    uint64_t now = loop_now_us(oidc->loop);
    if (!hash_same(&oidc->issuer, &settings->identity))
        forget(oidc);
    oidc->issuer = settings->identity;
    if (oidc->provider && now - oidc->provider_us > KEPT_US) {
        oidc_provider_free(oidc->provider);
        oidc->provider = NULL;
    }
    if (oidc->keys && now - oidc->keys_us > KEPT_US) {
        id_token_keys_free(oidc->keys);
        oidc->keys = NULL;
    }
}

/* ------------------------------------------------------------------------------- the end */

static void wipe(struct buffer *buffer)
{
    if (buffer->data)
        memory_wipe(buffer->data, buffer->capacity);
    buffer_done(buffer);
}

static void stop_asking(struct oidc_flow *flow)
{
    flow->asking = false;
    upstream_abandon(&flow->call);
    wipe(&flow->request);
    wipe(&flow->answer);
}

static void finish(struct oidc_flow *flow, enum oidc_outcome outcome)
{
    stop_asking(flow);
    timer_stop(&flow->timer);
    flow->outcome = outcome;
    if (!flow->beginning)
        flow->on_end(flow->with);
}

static void failed(struct oidc_flow *flow, const char *why)
{
    snprintf(flow->why, sizeof(flow->why), "%s: %s", stage_words[flow->stage], why);
    finish(flow, OIDC_FAILED);
}

static void refused(struct oidc_flow *flow, const char *why)
{
    snprintf(flow->why, sizeof(flow->why), "the ID token: %s", why);
    finish(flow, OIDC_REFUSED);
}

/* ----------------------------------------------------------------------------- the answers */

static void take_provider(struct oidc_flow *flow)
{
    char why[OIDC_WORDS_BYTES] = "";
    struct oidc *oidc = flow->oidc;
    struct oidc_provider *provider =
        oidc_provider_read(buffer_text(&flow->answer), text_of(flow->settings->issuer), why);
    if (!provider) {
        failed(flow, why);
        return;
    }
    keep_fresh(oidc, flow->settings);
    oidc_provider_free(oidc->provider);
    oidc->provider = provider;
    oidc->provider_us = loop_now_us(oidc->loop);
    if (flow->only_provider) {
        finish(flow, OIDC_KNOWN);
        return;
    }
    flow->stage = STAGE_TOKENS;
    go_on(flow);
}

static void check_token(struct oidc_flow *flow);

static void take_keys(struct oidc_flow *flow)
{
    struct oidc *oidc = flow->oidc;
    struct token_keys *keys = id_token_keys(buffer_text(&flow->answer));
    if (!keys) {
        failed(flow, "there is none among them that can be used (RSA from 2048 bits, P-256, P-384, "
                     "P-521)");
        return;
    }
    keep_fresh(oidc, flow->settings);
    id_token_keys_free(oidc->keys);
    oidc->keys = keys;
    oidc->keys_us = loop_now_us(oidc->loop);
    flow->keys_are_new = true;
    check_token(flow);
}

static void take_tokens(struct oidc_flow *flow)
{
    char why[OIDC_WORDS_BYTES] = "";
    if (oidc_read_tokens(flow->status, buffer_text(&flow->answer), &flow->arena, &flow->id_token,
                         &flow->access_token, why))
        check_token(flow);
    else
        failed(flow, why);
}

/* What the ID token says is enough, or there is no more to be had. */
static bool is_enough(const struct oidc_flow *flow)
{
    const struct oidc_provider *provider = flow->oidc->provider;
    return (flow->claims.has_values && !flow->claims.unverified) || !provider ||
           !provider->userinfo.target.len || !flow->access_token.len;
}

static void check_token(struct oidc_flow *flow)
{
    char nonce[OIDC_DERIVED_BYTES];
    struct text payload;
    const char *why = NULL;
    const struct oidc_settings *settings = flow->settings;
    oidc_derive(flow->back.ticket, OIDC_NONCE, nonce);
    struct id_token_settings wanted = {.issuer = text_of(settings->issuer),
                                       .client_id = settings->client_id,
                                       .nonce = text_of(nonce),
                                       .wall_us = clock_wall_us()};
    keep_fresh(flow->oidc, settings);
    enum id_token_result result =
        id_token_check(flow->oidc->keys, flow->id_token, &wanted, &flow->arena, &payload, &why);
    if (result == ID_TOKEN_NO_KEY && !flow->keys_are_new) {
        flow->stage = STAGE_KEYS;
        go_on(flow);
        return;
    }
    if (result != ID_TOKEN_GOOD) {
        refused(flow, why);
        return;
    }
    if (!id_claims_read(payload, settings->role_claim, &flow->arena, &flow->claims)) {
        refused(flow, "it does not say who it is (sub)");
        return;
    }
    if (is_enough(flow)) {
        finish(flow, OIDC_KNOWN);
        return;
    }
    flow->stage = STAGE_USERINFO;
    go_on(flow);
}

/* It counts only of the very one whom the ID token is of (OpenID Connect Core, 5.3.2). */
static void take_userinfo(struct oidc_flow *flow)
{
    struct id_claims claims;
    if (!id_claims_read(buffer_text(&flow->answer), flow->settings->role_claim, &flow->arena,
                        &claims)) {
        failed(flow, "it does not say who it is (sub)");
        return;
    }
    if (!text_equal(claims.subject, flow->claims.subject)) {
        failed(flow, "it tells of somebody else than the ID token (sub)");
        return;
    }
    flow->claims = claims;
    finish(flow, OIDC_KNOWN);
}

static void answered(struct oidc_flow *flow)
{
    char words[64];
    enum stage stage = flow->stage;
    flow->asking = false;
    if (flow->status != 200 && stage != STAGE_TOKENS) {
        snprintf(words, sizeof(words), "it answered %u", flow->status);
        failed(flow, words);
        return;
    }
    switch (stage) {
    case STAGE_PROVIDER:
        take_provider(flow);
        return;
    case STAGE_TOKENS:
        take_tokens(flow);
        return;
    case STAGE_KEYS:
        take_keys(flow);
        return;
    case STAGE_USERINFO:
        take_userinfo(flow);
        return;
    case STAGES:
        return;
    }
}

/* ---------------------------------------------------------------------------- the question */

static void on_connected(struct upstream_call *call)
{
    struct oidc_flow *flow = LIST_MEMBER(call, struct oidc_flow, call);
    struct text request = buffer_text(&flow->request);
    struct iovec piece = {(void *)(uintptr_t)request.at, request.len};
    upstream_send(call, &piece, 1, false);
}

static void on_nothing(struct upstream_call *call)
{
    (void)call;
}

static void on_head(struct upstream_call *call, const struct head *head)
{
    LIST_MEMBER(call, struct oidc_flow, call)->status = (unsigned)head->status;
}

static void on_body(struct upstream_call *call, struct text piece)
{
    struct oidc_flow *flow = LIST_MEMBER(call, struct oidc_flow, call);
    if (flow->asking && !buffer_append_text(&flow->answer, piece))
        failed(flow, "the answer is too long");
}

static void on_end(struct upstream_call *call)
{
    struct oidc_flow *flow = LIST_MEMBER(call, struct oidc_flow, call);
    if (flow->asking)
        answered(flow);
}

static void on_fault(struct upstream_call *call, enum fault_kind kind, const char *why)
{
    struct oidc_flow *flow = LIST_MEMBER(call, struct oidc_flow, call);
    (void)kind;
    if (flow->asking)
        failed(flow, why);
}

static const struct upstream_handlers handlers = {
    .on_connected = on_connected,
    .on_sent = on_nothing,
    .on_head = on_head,
    .on_body = on_body,
    .on_batch = on_nothing,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_room = on_nothing,
};

/* The issuer is reached as providers are: through the proxy of the environment, if there is one. */
static bool open_pool(struct oidc_flow *flow, const struct url *url, struct fault *fault)
{
    static const struct provider_type plain;
    struct provider_settings place = {
        .type = &plain,
        .base_url = flow->settings->issuer,
        .url = *url,
        .tls = {.ca_file = flow->settings->ca_file},
        .connect_us = CONNECT_US,
        .idle_us = IDLE_US,
        .max_connections = CONNECTIONS_MAX,
    };
    if (!flow->pools[flow->stage])
        flow->pools[flow->stage] = outbound_pool(flow->oidc->upstreams, &place, 1, NULL, fault);
    return flow->pools[flow->stage] != NULL;
}

/* NULL, or what is wrong. */
static const char *put_question(struct oidc_flow *flow, const struct oidc_endpoint *endpoint)
{
    const struct oidc_provider *provider = flow->oidc->provider;
    bool whole = upstream_pool_wants_url(flow->pools[flow->stage]);
    struct buffer form, header;
    struct text empty = {"", 0};
    bool good = true;
    buffer_init(&form, REQUEST_MAX);
    buffer_init(&header, REQUEST_MAX);
    if (flow->stage == STAGE_TOKENS)
        good = oidc_put_exchange(provider, flow->settings, &flow->back, &form, &header);
    if (flow->stage == STAGE_USERINFO)
        good = buffer_append_text(&header, TEXT("Bearer ")) &&
               buffer_append_text(&header, flow->access_token);
    struct text body = flow->stage == STAGE_TOKENS ? buffer_text(&form) : empty;
    if (good)
        oidc_put_request(endpoint, whole, buffer_text(&header),
                         flow->stage == STAGE_TOKENS ? &body : NULL, &flow->request);
    good = good && !flow->request.overrun;
    wipe(&form);
    wipe(&header);
    return good ? NULL
                : "it takes a secret neither as client_secret_basic nor as client_secret_post";
}

static void ask(struct oidc_flow *flow, const struct oidc_endpoint *endpoint)
{
    struct fault fault;
    const char *why = NULL;
    stop_asking(flow);
    buffer_init(&flow->request, REQUEST_MAX);
    buffer_init(&flow->answer, OIDC_ANSWER_MAX);
    flow->status = 0;
    if (!open_pool(flow, &endpoint->url, &fault))
        why = fault.text;
    if (!why)
        why = put_question(flow, endpoint);
    if (why) {
        failed(flow, why);
        return;
    }
    flow->asking = true;
    flow->call = (struct upstream_call){.on = &handlers, .fresh = true};
    upstream_begin(flow->pools[flow->stage], &flow->call);
}

static void go_on(struct oidc_flow *flow)
{
    const struct oidc_provider *provider = flow->oidc->provider;
    struct oidc_endpoint endpoint;
    if (flow->stage != STAGE_PROVIDER && !provider)
        flow->stage = STAGE_PROVIDER; /* another configuration has come meanwhile */
    switch (flow->stage) {
    case STAGE_PROVIDER: {
        struct buffer address;
        buffer_init(&address, REQUEST_MAX);
        oidc_put_discovery(flow->settings->issuer, &address);
        struct text copy = arena_copy(&flow->arena, buffer_text(&address));
        buffer_done(&address);
        if (oidc_read_endpoint(copy, &endpoint))
            ask(flow, &endpoint);
        else
            failed(flow, "its address cannot be used");
        return;
    }
    case STAGE_TOKENS:
        /* One that always says who it is did not say this (RFC 9207). */
        if (provider->names_itself && !flow->names_itself)
            failed(flow, "its answer does not name it (iss), as it says that it does");
        else
            ask(flow, &provider->token);
        return;
    case STAGE_KEYS:
        ask(flow, &provider->jwks);
        return;
    case STAGE_USERINFO:
        ask(flow, &provider->userinfo);
        return;
    case STAGES:
        return;
    }
}

/* ------------------------------------------------------------------------------ the flow */

static void on_late(struct timer *timer)
{
    failed(LIST_MEMBER(timer, struct oidc_flow, timer), "no answer in time");
}

struct oidc_flow *oidc_begin(struct oidc *oidc, const struct oidc_question *question)
{
    if (oidc->flows >= OIDC_FLOWS_MAX)
        return NULL;
    struct oidc_flow *flow = memory_new(sizeof(*flow));
    oidc->flows++;
    flow->oidc = oidc;
    flow->settings = question->settings;
    flow->only_provider = question->only_provider;
    flow->names_itself = question->names_itself;
    arena_init(&flow->arena, ARENA_BYTES);
    flow->back.ticket = arena_copy(&flow->arena, question->back.ticket);
    flow->back.code = arena_copy(&flow->arena, question->back.code);
    flow->back.redirect = arena_copy(&flow->arena, question->back.redirect);
    flow->on_end = question->on_end;
    flow->with = question->with;
    flow->timer.on_time = on_late;
    flow->beginning = true;
    timer_set(oidc->loop, &flow->timer, loop_now_us(oidc->loop) + FLOW_US);
    keep_fresh(oidc, flow->settings);
    if (oidc->provider && flow->only_provider) {
        finish(flow, OIDC_KNOWN);
    } else {
        flow->stage = oidc->provider ? STAGE_TOKENS : STAGE_PROVIDER;
        go_on(flow);
    }
    flow->beginning = false;
    return flow;
}

static void free_flow(struct grave *grave)
{
    struct oidc_flow *flow = LIST_MEMBER(grave, struct oidc_flow, grave);
    for (size_t i = 0; i < STAGES; i++)
        if (flow->pools[i])
            upstream_pool_unref(flow->pools[i]);
    arena_done(&flow->arena);
    memory_free(flow);
}

void oidc_end(struct oidc_flow *flow)
{
    if (!flow)
        return;
    stop_asking(flow);
    timer_stop(&flow->timer);
    flow->oidc->flows--;
    /* It may be what is just answering. */
    loop_bury(flow->oidc->loop, &flow->grave, free_flow);
}

enum oidc_outcome oidc_outcome(const struct oidc_flow *flow)
{
    return flow->outcome;
}

const char *oidc_why(const struct oidc_flow *flow)
{
    return flow->why;
}

const struct id_claims *oidc_claims(const struct oidc_flow *flow)
{
    return &flow->claims;
}

const struct oidc_provider *oidc_provider(const struct oidc_flow *flow)
{
    return flow->oidc->provider;
}
