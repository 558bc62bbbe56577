/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/oidc.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/outbound.h"
#include "gateway/wire/ask.h"

enum {
    FLOW_US = 20000000,
    CONNECT_US = 5000000,
    IDLE_US = 5000000,
    KEPT_US = 600000000, /* what is known of an issuer */
    FAULTY_US = 5000000, /* the same, when it could not be reached */
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

/* To make a way means to read all authorities: strangers must not have that done at will. A flow
 * keeps to the one that it has begun with, whatever comes meanwhile: what it offers does not
 * change, and so the ways are those to it. */
struct oidc_issuer {
    unsigned references;
    struct digest settings;         /* that it is of */
    uint64_t until_us;              /* it is kept */
    struct oidc_provider *provider; /* NULL = not known; once it is, it stays */
    struct token_keys *keys;        /* NULL = not known */
    struct upstream_pool *pools[STAGES];
};

struct oidc_flow {
    struct link link; /* among the worker's */
    struct oidc *oidc;
    struct oidc_issuer *issuer;
    const struct oidc_settings *settings;
    bool only_provider, names_itself;
    struct arena arena; /* of what follows, and of the claims */
    struct oidc_return back;
    struct text peer;
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
    uint64_t until_us; /* of all of it */
    struct ask ask;
    struct buffer request;
};

static void go_on(struct oidc_flow *flow);

/* -------------------------------------------------------------------------- the worker's */

void oidc_init(struct oidc *oidc, struct loop *loop, struct upstreams *upstreams)
{
    *oidc = (struct oidc){.loop = loop, .upstreams = upstreams};
    list_init(&oidc->flows);
}

static void issuer_unref(struct oidc_issuer *issuer)
{
    if (!issuer || --issuer->references > 0)
        return;
    oidc_provider_free(issuer->provider);
    id_token_keys_free(issuer->keys);
    for (size_t i = 0; i < STAGES; i++)
        if (issuer->pools[i])
            upstream_pool_unref(issuer->pools[i]);
    memory_free(issuer);
}

void oidc_done(struct oidc *oidc)
{
    issuer_unref(oidc->issuer);
    oidc->issuer = NULL;
}

/* Of all that an answer of it depends on. */
static struct digest settings_digest(const struct oidc_settings *settings)
{
    struct digest parts[2] = {settings->identity,
                              hash_sha256(text_of(settings->ca_file ? settings->ca_file : ""))};
    return hash_sha256((struct text){(const char *)parts, sizeof(parts)});
}

/* What is kept is of one issuer, and for a time. */
static struct oidc_issuer *issuer_of(struct oidc *oidc, const struct oidc_settings *settings)
{
    struct digest digest = settings_digest(settings);
    uint64_t now = loop_now_us(oidc->loop);
    if (oidc->issuer &&
        (!hash_same(&oidc->issuer->settings, &digest) || now > oidc->issuer->until_us))
        oidc_done(oidc);
    if (!oidc->issuer) {
        oidc->issuer = memory_new(sizeof(*oidc->issuer));
        oidc->issuer->references = 1;
        oidc->issuer->settings = digest;
        oidc->issuer->until_us = now + KEPT_US;
    }
    return oidc->issuer;
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
    ask_stop(&flow->ask);
    wipe(&flow->request);
    wipe(&flow->ask.answer);
}

static void finish(struct oidc_flow *flow, enum oidc_outcome outcome)
{
    stop_asking(flow);
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
    struct oidc_provider *provider =
        oidc_provider_read(buffer_text(&flow->ask.answer), text_of(flow->settings->issuer), why);
    if (!provider) {
        failed(flow, why);
        return;
    }
    if (flow->issuer->provider) /* another one was quicker */
        oidc_provider_free(provider);
    else
        flow->issuer->provider = provider;
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
    struct oidc_issuer *issuer = flow->issuer;
    struct token_keys *keys = id_token_keys(buffer_text(&flow->ask.answer));
    if (!keys) {
        failed(flow, "there is none among them that can be used (RSA from 2048 bits, P-256, P-384, "
                     "P-521)");
        return;
    }
    id_token_keys_free(issuer->keys);
    issuer->keys = keys;
    flow->keys_are_new = true;
    check_token(flow);
}

static void take_tokens(struct oidc_flow *flow)
{
    char why[OIDC_WORDS_BYTES] = "";
    if (oidc_read_tokens(flow->ask.status, buffer_text(&flow->ask.answer), &flow->arena,
                         &flow->id_token, &flow->access_token, why))
        check_token(flow);
    else
        failed(flow, why);
}

/* What the ID token says is enough, or there is no more to be had. */
static bool is_enough(const struct oidc_flow *flow)
{
    return (flow->claims.has_values && !flow->claims.unverified) ||
           !flow->issuer->provider->userinfo.target.len || !flow->access_token.len;
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
    enum id_token_result result =
        id_token_check(flow->issuer->keys, flow->id_token, &wanted, &flow->arena, &payload, &why);
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
    if (!id_claims_read(buffer_text(&flow->ask.answer), flow->settings->role_claim, &flow->arena,
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

static void on_over(struct ask *ask, const char *problem)
{
    char words[64];
    struct oidc_flow *flow = LIST_MEMBER(ask, struct oidc_flow, ask);
    enum stage stage = flow->stage;
    uint64_t soon_us = loop_now_us(flow->oidc->loop) + FAULTY_US;
    if (problem) {
        if (flow->issuer->until_us > soon_us)
            flow->issuer->until_us = soon_us;
        failed(flow, problem);
        return;
    }
    if (flow->ask.status != 200 && stage != STAGE_TOKENS) {
        snprintf(words, sizeof(words), "it answered %u", flow->ask.status);
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
        .max_connections = OIDC_FLOWS_MAX, /* nobody waits for another one's slow answer */
    };
    struct upstream_pool **pool = &flow->issuer->pools[flow->stage];
    if (!*pool)
        *pool = outbound_pool(flow->oidc->upstreams, &place, 1, NULL, fault);
    return *pool != NULL;
}

/* NULL, or what is wrong. */
static const char *put_question(struct oidc_flow *flow, const struct oidc_endpoint *endpoint)
{
    const struct oidc_provider *provider = flow->issuer->provider;
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
        oidc_put_request(endpoint, flow->issuer->pools[flow->stage], buffer_text(&header),
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
    uint64_t now = loop_now_us(flow->oidc->loop);
    stop_asking(flow);
    buffer_init(&flow->request, REQUEST_MAX);
    if (!open_pool(flow, &endpoint->url, &fault))
        why = fault.text;
    if (!why)
        why = put_question(flow, endpoint);
    if (why) {
        failed(flow, why);
        return;
    }
    flow->ask.timeout_us = now < flow->until_us ? flow->until_us - now : 0;
    ask_begin(&flow->ask, flow->issuer->pools[flow->stage], buffer_text(&flow->request),
              (struct text){"", 0});
}

static void go_on(struct oidc_flow *flow)
{
    const struct oidc_provider *provider = flow->issuer->provider;
    struct oidc_endpoint endpoint;
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

const struct oidc_provider *oidc_known(struct oidc *oidc, const struct oidc_settings *settings)
{
    return issuer_of(oidc, settings)->provider;
}

/* One address cannot keep all others out. */
static bool has_room(struct oidc *oidc, struct text peer)
{
    unsigned all = 0, of_peer = 0;
    for (struct link *at = oidc->flows.next; at != &oidc->flows; at = at->next) {
        all++;
        of_peer += text_equal(LIST_MEMBER(at, struct oidc_flow, link)->peer, peer);
    }
    return all < OIDC_FLOWS_MAX && of_peer < OIDC_PEER_FLOWS_MAX;
}

struct oidc_flow *oidc_begin(struct oidc *oidc, const struct oidc_question *question)
{
    if (!has_room(oidc, question->peer))
        return NULL;
    struct oidc_flow *flow = memory_new(sizeof(*flow));
    list_push_back(&oidc->flows, &flow->link);
    flow->oidc = oidc;
    flow->settings = question->settings;
    flow->only_provider = question->only_provider;
    flow->names_itself = question->names_itself;
    arena_init(&flow->arena, ARENA_BYTES);
    flow->peer = arena_copy(&flow->arena, question->peer);
    flow->back.ticket = arena_copy(&flow->arena, question->back.ticket);
    flow->back.code = arena_copy(&flow->arena, question->back.code);
    flow->back.redirect = arena_copy(&flow->arena, question->back.redirect);
    flow->on_end = question->on_end;
    flow->with = question->with;
    flow->beginning = true;
    flow->until_us = loop_now_us(oidc->loop) + FLOW_US;
    flow->ask = (struct ask){
        .loop = oidc->loop, .answer_max = OIDC_ANSWER_MAX, .fresh = true, .on_over = on_over};
    flow->issuer = issuer_of(oidc, flow->settings);
    flow->issuer->references++;
    if (flow->issuer->provider && flow->only_provider) {
        finish(flow, OIDC_KNOWN);
    } else {
        flow->stage = flow->issuer->provider ? STAGE_TOKENS : STAGE_PROVIDER;
        go_on(flow);
    }
    flow->beginning = false;
    return flow;
}

static void free_flow(struct grave *grave)
{
    struct oidc_flow *flow = LIST_MEMBER(grave, struct oidc_flow, grave);
    issuer_unref(flow->issuer);
    arena_done(&flow->arena);
    memory_free(flow);
}

void oidc_end(struct oidc_flow *flow)
{
    if (!flow)
        return;
    stop_asking(flow);
    list_remove(&flow->link);
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
    return flow->issuer->provider;
}
