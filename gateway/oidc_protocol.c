/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/oidc_protocol.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/base/sign.h"
#include "gateway/http/form.h"
#include "gateway/wire/ask.h"

enum {
    ADDRESS_MAX = 2048,
    SAID_MAX = 200,
    CREDENTIAL_MAX = 16 << 10,
    CLOCKS_S = 60, /* replicas' clocks are apart by so much at most */
};

/* ------------------------------------------------------------------------- the ticket */

static void ticket_mac(const struct digest *secret, struct text said, char hex[HEX_BYTES])
{
    char words[OIDC_TICKET_BYTES + 32];
    int len = snprintf(words, sizeof(words), "sluice ticket %.*s",
                       TEXT_ARGS(text_head(said, OIDC_TICKET_BYTES)));
    struct digest mac = hash_hmac_sha256((struct text){(const char *)secret->bytes, SHA256_BYTES},
                                         (struct text){words, (size_t)len});
    hash_hex(&mac, hex);
}

void oidc_ticket_write(const struct digest *secret, int64_t now_s, char ticket[OIDC_TICKET_BYTES])
{
    struct digest random;
    char hex[HEX_BYTES];
    hash_random(random.bytes, sizeof(random.bytes));
    hash_hex(&random, hex);
    int len = snprintf(ticket, OIDC_TICKET_BYTES, "%lld-%s", (long long)now_s, hex);
    ticket_mac(secret, (struct text){ticket, (size_t)len}, hex);
    snprintf(ticket + len, OIDC_TICKET_BYTES - (size_t)len, "-%s", hex);
    memory_wipe(&random, sizeof(random));
}

bool oidc_ticket_is_good(const struct digest *secret, struct text ticket, int64_t now_s)
{
    uint64_t made;
    char hex[HEX_BYTES];
    if (ticket.len >= OIDC_TICKET_BYTES || ticket.len <= HEX_BYTES ||
        ticket.at[ticket.len - HEX_BYTES] != '-')
        return false;
    struct text said = text_head(ticket, ticket.len - HEX_BYTES);
    ticket_mac(secret, said, hex);
    /* As texts: in capitals it would be another ticket, and count once more. */
    struct digest wanted = hash_sha256(text_of(hex)),
                  given = hash_sha256(text_from(ticket, said.len + 1));
    if (!hash_same(&wanted, &given) ||
        !text_number(text_head(said, text_find_byte(said, '-')), INT32_MAX, &made))
        return false;
    return (int64_t)made <= now_s + CLOCKS_S && (int64_t)made > now_s - OIDC_TICKET_S;
}

static void put_digest(struct text of, char out[OIDC_DERIVED_BYTES])
{
    struct digest digest = hash_sha256(of);
    struct buffer coded;
    buffer_init(&coded, OIDC_DERIVED_BYTES);
    sign_put_base64url(&coded, digest.bytes, sizeof(digest.bytes));
    snprintf(out, OIDC_DERIVED_BYTES, "%.*s", TEXT_ARGS(buffer_text(&coded)));
    buffer_done(&coded);
}

void oidc_derive(struct text ticket, enum oidc_derived what, char out[OIDC_DERIVED_BYTES])
{
    static const char *const names[] = {
        [OIDC_STATE] = "state", [OIDC_NONCE] = "nonce", [OIDC_VERIFIER] = "verifier"};
    char words[OIDC_TICKET_BYTES + 32];
    int len = snprintf(words, sizeof(words), "sluice oidc %s %.*s", names[what],
                       TEXT_ARGS(text_head(ticket, OIDC_TICKET_BYTES)));
    put_digest((struct text){words, (size_t)len}, out);
}

void oidc_challenge(const char *verifier, char out[OIDC_DERIVED_BYTES])
{
    put_digest(text_of(verifier), out);
}

/* ------------------------------------------------------------------------- the provider */

static bool is_visible(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~')
            return false;
    return text.len > 0;
}

bool oidc_read_endpoint(struct text address, struct oidc_endpoint *endpoint)
{
    const char *problem;
    size_t scheme = text_find(address, TEXT("://"));
    if (scheme == SIZE_MAX || address.len > ADDRESS_MAX || !is_visible(address) ||
        text_find_byte(address, '#') != SIZE_MAX)
        return false;
    size_t at = scheme + 3;
    while (at < address.len && address.at[at] != '/' && address.at[at] != '?')
        at++;
    endpoint->target = text_from(address, at);
    if (endpoint->target.len == 0)
        endpoint->target = TEXT("/");
    else if (endpoint->target.at[0] == '?') /* of a path that is empty, which a request must have */
        return false;
    return url_read(text_head(address, at), &endpoint->url, &problem) && !endpoint->url.is_unix &&
           !endpoint->url.user.len && (endpoint->url.tls || host_is_loopback(endpoint->url.host));
}

void oidc_put_discovery(const char *issuer, struct buffer *out)
{
    struct text base = text_of(issuer);
    if (text_ends(base, TEXT("/")))
        base.len--;
    buffer_append_text(out, base);
    buffer_append_text(out, TEXT("/.well-known/openid-configuration"));
}

/* An issuer that is elsewhere has nothing to name beside us. */
static bool read_address(const struct json *root, const char *name, struct oidc_provider *provider,
                         struct text *address, struct oidc_endpoint *endpoint)
{
    struct text text;
    if (!json_to_text(json_member(root, name), &text))
        return false;
    *address = arena_copy(&provider->arena, text);
    return oidc_read_endpoint(*address, endpoint) && (endpoint->url.tls || provider->is_near);
}

static bool lists(const struct json *list, const char *word)
{
    struct text text;
    for (size_t i = 0; json_kind(list) == SCAN_ARRAY && i < json_count(list); i++)
        if (json_to_text(json_item(list, i), &text) && text_equal(text, text_of(word)))
            return true;
    return false;
}

/* NULL, or what is missing. */
static const char *read_provider(const struct json *root, struct oidc_provider *provider)
{
    struct text ignored;
    struct oidc_endpoint endpoint;
    const struct json *methods = json_member(root, "token_endpoint_auth_methods_supported");
    if (!read_address(root, "authorization_endpoint", provider, &provider->authorization,
                      &endpoint))
        return "authorization_endpoint";
    if (!read_address(root, "token_endpoint", provider, &ignored, &provider->token))
        return "token_endpoint";
    if (!read_address(root, "jwks_uri", provider, &ignored, &provider->jwks))
        return "jwks_uri";
    if (!read_address(root, "userinfo_endpoint", provider, &ignored, &provider->userinfo))
        provider->userinfo.target.len = 0;
    provider->takes_basic = !methods || lists(methods, "client_secret_basic");
    provider->takes_post = lists(methods, "client_secret_post");
    json_to_bool(json_member(root, "authorization_response_iss_parameter_supported"),
                 &provider->names_itself);
    return NULL;
}

struct oidc_provider *oidc_provider_read(struct text document, struct text issuer, char *why)
{
    struct json_problem ignored;
    struct text name = {"", 0};
    struct json *root = json_read(document, &ignored);
    const char *missing;
    struct oidc_provider *provider = NULL;
    if (json_kind(root) != SCAN_OBJECT) {
        snprintf(why, OIDC_WORDS_BYTES, "what it offers is no JSON object");
    } else if (!json_to_text(json_member(root, "issuer"), &name) || !text_equal(name, issuer)) {
        snprintf(why, OIDC_WORDS_BYTES, "it calls itself ");
        oidc_put_said(why, OIDC_WORDS_BYTES, name, SAID_MAX);
        snprintf(why + strlen(why), OIDC_WORDS_BYTES - strlen(why),
                 ", which is not what admin.oidc.issuer says, byte for byte");
    } else {
        provider = memory_new(sizeof(*provider));
        arena_init(&provider->arena, 4096);
        struct oidc_endpoint own;
        provider->is_near = oidc_read_endpoint(issuer, &own) && !own.url.tls;
        missing = read_provider(root, provider);
        if (missing) {
            snprintf(why, OIDC_WORDS_BYTES, "its %s is missing, or is not https", missing);
            oidc_provider_free(provider);
            provider = NULL;
        }
    }
    json_free(root);
    return provider;
}

void oidc_provider_free(struct oidc_provider *provider)
{
    if (!provider)
        return;
    arena_done(&provider->arena);
    memory_free(provider);
}

/* ------------------------------------------------------------------------- the questions */

bool oidc_put_authorization(const struct oidc_provider *provider,
                            const struct oidc_settings *settings, struct text redirect,
                            struct text ticket, struct buffer *out)
{
    char state[OIDC_DERIVED_BYTES], nonce[OIDC_DERIVED_BYTES], verifier[OIDC_DERIVED_BYTES],
        challenge[OIDC_DERIVED_BYTES];
    bool has_query = text_find_byte(provider->authorization, '?') != SIZE_MAX;
    oidc_derive(ticket, OIDC_STATE, state);
    oidc_derive(ticket, OIDC_NONCE, nonce);
    oidc_derive(ticket, OIDC_VERIFIER, verifier);
    oidc_challenge(verifier, challenge);
    memory_wipe(verifier, sizeof(verifier));
    return buffer_append_text(out, provider->authorization) &&
           buffer_append_text(out, has_query ? TEXT("&response_type=code")
                                             : TEXT("?response_type=code")) &&
           form_put_pair(out, "client_id", settings->client_id) &&
           form_put_pair(out, "redirect_uri", redirect) &&
           form_put_pair(out, "scope", text_of(settings->scopes)) &&
           form_put_pair(out, "state", text_of(state)) &&
           form_put_pair(out, "nonce", text_of(nonce)) &&
           form_put_pair(out, "code_challenge", text_of(challenge)) &&
           form_put_pair(out, "code_challenge_method", TEXT("S256"));
}

/* "Basic", with both parts as a form has them (RFC 6749 2.3.1). */
static bool put_basic(const struct oidc_settings *settings, struct buffer *header)
{
    struct buffer pair;
    buffer_init(&pair, CREDENTIAL_MAX);
    bool good = form_put_escaped(&pair, settings->client_id) &&
                buffer_append_text(&pair, TEXT(":")) &&
                form_put_escaped(&pair, settings->client_secret);
    struct text plain = buffer_text(&pair);
    char *coded = memory_new(4 * ((plain.len + 2) / 3) + 1);
    struct text text = {coded, hash_base64(plain.at, plain.len, coded)};
    good = good && buffer_append_text(header, TEXT("Basic ")) && buffer_append_text(header, text);
    memory_wipe(coded, text.len);
    memory_free(coded);
    if (pair.data)
        memory_wipe(pair.data, pair.capacity);
    buffer_done(&pair);
    return good;
}

bool oidc_put_exchange(const struct oidc_provider *provider, const struct oidc_settings *settings,
                       const struct oidc_return *back, struct buffer *form, struct buffer *header)
{
    char verifier[OIDC_DERIVED_BYTES];
    oidc_derive(back->ticket, OIDC_VERIFIER, verifier);
    bool good = form_put_pair(form, "grant_type", TEXT("authorization_code")) &&
                form_put_pair(form, "code", back->code) &&
                form_put_pair(form, "redirect_uri", back->redirect) &&
                form_put_pair(form, "code_verifier", text_of(verifier));
    memory_wipe(verifier, sizeof(verifier));
    if (settings->client_secret.len == 0)
        return good && form_put_pair(form, "client_id", settings->client_id);
    if (provider->takes_basic)
        return good && put_basic(settings, header);
    return good && provider->takes_post && form_put_pair(form, "client_id", settings->client_id) &&
           form_put_pair(form, "client_secret", settings->client_secret);
}

void oidc_put_request(const struct oidc_endpoint *endpoint, const struct upstream_pool *pool,
                      struct text authorization, const struct text *form, struct buffer *out)
{
    ask_put_head(out, form ? "POST" : "GET", &endpoint->url, &endpoint->target, pool);
    buffer_append_text(out, TEXT("Accept: application/json\r\n"));
    if (authorization.len) {
        buffer_append_text(out, TEXT("Authorization: "));
        buffer_append_text(out, authorization);
        buffer_append_text(out, TEXT("\r\n"));
    }
    if (form)
        buffer_format(out,
                      "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n",
                      form->len);
    buffer_append_text(out, TEXT("\r\n"));
    if (form)
        buffer_append_text(out, *form);
}

/* ------------------------------------------------------------------------- the answers */

void oidc_put_said(char *words, size_t bytes, struct text said, size_t max)
{
    size_t at = strlen(words);
    for (size_t i = 0; i < said.len && i < max && at + 1 < bytes; i++)
        words[at++] = said.at[i] >= ' ' && said.at[i] <= '~' ? said.at[i] : '?';
    words[at] = '\0';
}

bool oidc_may_tell(struct oidc_told *told, uint64_t now_us, unsigned *left_out)
{
    *left_out = 0;
    if (now_us - told->since_us >= OIDC_TOLD_US) {
        *left_out = told->left_out;
        *told = (struct oidc_told){.since_us = now_us};
    }
    bool may = told->count < OIDC_TOLD_MAX;
    told->count += may;
    told->left_out += !may;
    return may;
}

/* "invalid_client: no such client" */
static void put_error(const struct json *root, char *why)
{
    struct text error, more;
    if (!json_to_text(json_member(root, "error"), &error))
        return;
    snprintf(why + strlen(why), OIDC_WORDS_BYTES - strlen(why), ": ");
    oidc_put_said(why, OIDC_WORDS_BYTES, error, 60);
    if (!json_to_text(json_member(root, "error_description"), &more))
        return;
    snprintf(why + strlen(why), OIDC_WORDS_BYTES - strlen(why), ": ");
    oidc_put_said(why, OIDC_WORDS_BYTES, more, 160);
}

bool oidc_read_tokens(unsigned status, struct text body, struct arena *arena, struct text *id_token,
                      struct text *access_token, char *why)
{
    struct json_problem ignored;
    struct json *root = json_read(body, &ignored);
    *id_token = *access_token = (struct text){"", 0};
    bool good = status == 200 && json_to_text(json_member(root, "id_token"), id_token);
    if (status != 200) {
        snprintf(why, OIDC_WORDS_BYTES, "it did not take our code: it answered %u", status);
        put_error(root, why);
    } else if (!good) {
        snprintf(why, OIDC_WORDS_BYTES, "it gave no ID token: is openid among the scopes?");
    }
    if (good) {
        *id_token = arena_copy(arena, *id_token);
        json_to_text(json_member(root, "access_token"), access_token);
        *access_token = is_visible(*access_token) ? arena_copy(arena, *access_token) : TEXT("");
    }
    json_free(root);
    return good;
}

/* ------------------------------------------------------------------------- the role */

static bool has_value(const struct id_claims *claims, struct text value)
{
    for (size_t i = 0; i < claims->value_count; i++)
        if (text_equal(claims->values[i], value))
            return true;
    return false;
}

static bool is_tenant(struct text name)
{
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.at[i] < ' ' || name.at[i] == 0x7f)
            return false;
    return name.len > 0 && name.len <= 128;
}

/* The values are the roles themselves; the widest counts. */
static enum oidc_access find_plain(const struct id_claims *claims, struct oidc_role *role)
{
    static const struct text begin = {"tenant:", 7};
    *role = (struct oidc_role){.role = ADMIN_ROLE_ADMIN, .tenant = TEXT("")};
    if (has_value(claims, TEXT("admin")))
        return OIDC_ACCESS;
    role->role = ADMIN_ROLE_VIEWER;
    if (has_value(claims, TEXT("viewer")))
        return OIDC_ACCESS;
    role->role = ADMIN_ROLE_TENANT;
    for (size_t i = 0; i < claims->value_count; i++) {
        struct text value = claims->values[i], name = text_from(value, begin.len);
        if (!text_starts(value, begin) || !is_tenant(name))
            continue;
        if (role->tenant.len && !text_equal(role->tenant, name))
            return OIDC_TWO_TENANTS;
        role->tenant = name;
    }
    return role->tenant.len ? OIDC_ACCESS : OIDC_NO_ROLE;
}

enum oidc_access oidc_find_role(const struct oidc_settings *settings,
                                const struct id_claims *claims, struct oidc_role *role)
{
    if (!claims->has_values || claims->unverified)
        return OIDC_NO_CLAIM;
    if (settings->role_count == 0)
        return find_plain(claims, role);
    for (size_t i = 0; i < settings->role_count; i++)
        if (has_value(claims, settings->roles[i].value)) {
            *role = settings->roles[i];
            return OIDC_ACCESS;
        }
    return OIDC_NO_ROLE;
}
