/* SPDX-License-Identifier: Apache-2.0 */

/* What an OpenID provider and a browser say when somebody signs in. First byte: what the rest is -
 * a provider's offer, its answer with tokens, an ID token, what is said of somebody, the address of
 * an endpoint, a query, a cookie. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "gateway/http/form.h"
#include "gateway/oidc_protocol.h"
#include "gateway/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const struct oidc_settings settings = {.issuer = "https://id.example",
                                              .client_id = {"us", 2},
                                              .client_secret = {"s", 1},
                                              .role_claim = {"a.b", 3},
                                              .scopes = "openid"};

static void check_endpoint(const struct oidc_endpoint *endpoint)
{
    struct buffer out;
    buffer_init(&out, 1 << 16);
    assert(endpoint->target.len > 0 && endpoint->target.at[0] == '/' && endpoint->url.host.len > 0);
    oidc_put_request(endpoint, NULL, TEXT(""), NULL, &out);
    struct text request = buffer_text(&out);
    size_t lines = 0;
    for (size_t i = 0; i < request.len; i++)
        lines += request.at[i] == '\n';
    assert(lines == 5); /* nobody has put one in */
    buffer_done(&out);
}

static void offer(struct text text)
{
    char why[OIDC_WORDS_BYTES] = "";
    struct buffer out;
    struct oidc_provider *provider = oidc_provider_read(text, text_of(settings.issuer), why);
    assert(!provider == (why[0] != '\0'));
    if (!provider)
        return;
    check_endpoint(&provider->token);
    check_endpoint(&provider->jwks);
    buffer_init(&out, 1 << 16);
    assert(oidc_put_authorization(provider, &settings, TEXT("https://a/b"), TEXT("1-x"), &out));
    struct text address = buffer_text(&out);
    for (size_t i = 0; i < address.len; i++)
        assert(address.at[i] > ' ' && address.at[i] <= '~');
    buffer_done(&out);
    oidc_provider_free(provider);
}

static void person(struct text text, struct arena *arena)
{
    struct id_claims claims;
    struct oidc_role role = {.tenant = {"", 0}};
    if (!id_claims_read(text, settings.role_claim, arena, &claims))
        return;
    assert(claims.name.len > 0 && claims.name.len <= ID_NAME_MAX);
    assert(claims.value_count <= ID_VALUES_MAX);
    if (oidc_find_role(&settings, &claims, &role) == OIDC_ACCESS)
        assert(claims.has_values && !claims.unverified &&
               (role.role == ADMIN_ROLE_TENANT) == (role.tenant.len > 0));
}

static void query(struct text text)
{
    char room[64];
    struct text value;
    enum form_result result = form_find(text, TEXT("state"), room, sizeof(room), &value);
    assert(value.len <= sizeof(room) && (result == FORM_FOUND || value.len == 0));
    for (size_t i = 0; i < value.len; i++)
        assert((unsigned char)value.at[i] >= ' ' && value.at[i] != 0x7f);
}

static void cookie(struct text text)
{
    static const struct digest secret = {{1}}, key = {{2}};
    struct session_person one;
    int64_t until;
    assert(!session_is_good(&secret, &key, text, 0, INT32_MAX, &until));
    assert(!session_is_person(&secret, &key, text, 0, INT32_MAX, &one));
    assert(!oidc_ticket_is_good(&secret, text, 1800000000));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct arena arena;
    struct text id, access, payload;
    struct oidc_endpoint endpoint;
    const char *reason;
    char why[OIDC_WORDS_BYTES] = "";
    if (len == 0)
        return 0;
    char *copy = malloc(len);
    for (size_t i = 1; i < len; i++)
        copy[i - 1] = (char)bytes[i];
    struct text text = {copy, len - 1};
    struct id_token_settings wanted = {text_of(settings.issuer), settings.client_id, TEXT("n"), 0};
    arena_init(&arena, 1024);
    switch (bytes[0] % 7) {
    case 0:
        offer(text);
        break;
    case 1:
        assert(oidc_read_tokens(200, text, &arena, &id, &access, why) == (why[0] == '\0'));
        break;
    case 2:
        assert(id_token_check(NULL, text, &wanted, &arena, &payload, &reason) != ID_TOKEN_GOOD);
        break;
    case 3:
        person(text, &arena);
        break;
    case 4:
        if (oidc_read_endpoint(text, &endpoint))
            check_endpoint(&endpoint);
        break;
    case 5:
        query(text);
        break;
    default:
        cookie(text);
        break;
    }
    arena_done(&arena);
    free(copy);
    return 0;
}
