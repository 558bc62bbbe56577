/* SPDX-License-Identifier: Apache-2.0 */
/* What is said when somebody signs in by an OpenID provider. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/version.h"
#include "gateway/oidc_protocol.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { NOW = 1800000000 };

#define ISSUER "https://id.example/realms/ops/"
#define DISCOVERED(rest)                                                                          \
    "{\"issuer\":\"" ISSUER "\",\"authorization_endpoint\":\"https://id.example/auth?p=1\","      \
    "\"token_endpoint\":\"https://id.example:8443/token/\",\"jwks_uri\":\"https://id.example:81/" \
    "k\"" rest "}"

static const struct oidc_settings settings = {
    .issuer = ISSUER,
    .client_id = {"us & them", 9},
    .client_secret = {"p:q/r s", 7},
    .role_claim = {"role", 4},
    .scopes = "openid groups",
};
static const struct text redirect = {"http://127.0.0.1:9/ui/oidc/callback", 35};
static const struct text ticket = {"1800000000-x", 12};

static void a_ticket_is_fresh_for_ten_minutes(void **state)
{
    (void)state;
    char one[OIDC_TICKET_BYTES], two[OIDC_TICKET_BYTES];
    static const struct digest secret = {{1}}, other = {{2}};
    oidc_ticket_write(&secret, NOW, one);
    oidc_ticket_write(&secret, NOW, two);
    assert_string_not_equal(one, two);
    assert_false(oidc_ticket_is_good(&other, text_of(one), NOW));
    for (size_t i = 0; two[i]; i++) { /* also its MAC in capitals would count once more */
        two[i] ^= 0x20;
        assert_false(oidc_ticket_is_good(&secret, text_of(two), NOW));
        two[i] ^= 0x20;
    }
    assert_true(oidc_ticket_is_good(&secret, text_of(two), NOW));
    assert_true(oidc_ticket_is_good(&secret, text_of(one), NOW));
    assert_true(oidc_ticket_is_good(&secret, text_of(one), NOW + OIDC_TICKET_S - 1));
    assert_false(oidc_ticket_is_good(&secret, text_of(one), NOW + OIDC_TICKET_S));
    assert_false(oidc_ticket_is_good(&secret, text_of(one), NOW - 61));
    one[strlen(one) - 1] = '\0';
    assert_false(oidc_ticket_is_good(&secret, text_of(one), NOW));
    static const char *const bad[] = {
        "",
        "-",
        "1800000000-",
        "1800000000",
        "1800000000-0000000000000000000000000000000000000000000000000000000000000000",
        "x-0000000000000000000000000000000000000000000000000000000000000000"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(oidc_ticket_is_good(&secret, text_of(bad[i]), NOW));
}

static void what_is_derived_tells_nothing_of_the_rest(void **state)
{
    (void)state;
    char at[3][OIDC_DERIVED_BYTES], challenge[OIDC_DERIVED_BYTES];
    for (int i = 0; i < 3; i++) {
        oidc_derive(ticket, (enum oidc_derived)i, at[i]);
        assert_int_equal(strlen(at[i]), 43);
        assert_int_equal(
            strspn(at[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 43);
    }
    assert_string_not_equal(at[0], at[1]);
    assert_string_not_equal(at[1], at[2]);
    oidc_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", challenge); /* RFC 7636, B */
    assert_string_equal(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}

static void strangers_do_not_fill_the_log(void **state)
{
    (void)state;
    struct oidc_told told = {0};
    unsigned left_out, count = 0;
    uint64_t now = 60000000;
    for (unsigned i = 0; i < 5 * OIDC_TOLD_MAX; i++) {
        count += oidc_may_tell(&told, now + i, &left_out);
        assert_int_equal(left_out, 0);
    }
    assert_int_equal(count, OIDC_TOLD_MAX);
    assert_true(oidc_may_tell(&told, now + OIDC_TOLD_US, &left_out));
    assert_int_equal(left_out, 4 * OIDC_TOLD_MAX);
    assert_true(oidc_may_tell(&told, now + OIDC_TOLD_US, &left_out));
    assert_int_equal(left_out, 0);
}

static void endpoints_are_https_or_near(void **state)
{
    (void)state;
    struct oidc_endpoint endpoint;
    assert_true(oidc_read_endpoint(TEXT("https://a.b/c/?d=e"), &endpoint));
    assert_true(text_equal(endpoint.target, TEXT("/c/?d=e")));
    assert_true(text_equal(endpoint.url.host, TEXT("a.b")) && endpoint.url.port == 443);
    assert_true(oidc_read_endpoint(TEXT("http://[::1]:5556"), &endpoint));
    assert_true(text_equal(endpoint.target, TEXT("/")) && endpoint.url.port == 5556);
    assert_true(oidc_read_endpoint(TEXT("http://localhost/dex/token"), &endpoint));
    static const char *const bad[] = {"",
                                      "https://",
                                      "http://a.b/c",
                                      "ftp://a/b",
                                      "https://u:p@a.b/c",
                                      "https://a.b/c#d",
                                      "https://a.b/c d",
                                      "https://a.b/c\r\nX: y",
                                      "https://a.b?c=d",
                                      "//a.b/c",
                                      "https:/a.b",
                                      "http+unix:///run/x:/y",
                                      "javascript://a.b/%0aalert(1)",
                                      "http://127.0.0.1.a.b/c"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (oidc_read_endpoint(text_of(bad[i]), &endpoint))
            fail_msg("%s", bad[i]);
}

static void discovery_stands_below_the_issuer(void **state)
{
    (void)state;
    static const char *const issuers[] = {ISSUER, "https://id.example/realms/ops"};
    for (size_t i = 0; i < 2; i++) {
        struct buffer out;
        buffer_init(&out, 256);
        oidc_put_discovery(issuers[i], &out);
        assert_true(
            text_equal(buffer_text(&out),
                       TEXT("https://id.example/realms/ops/.well-known/openid-configuration")));
        buffer_done(&out);
    }
}

static struct oidc_provider *read_provider(const char *document, char *why)
{
    why[0] = '\0';
    return oidc_provider_read(text_of(document), text_of(ISSUER), why);
}

static void a_provider_says_what_it_offers(void **state)
{
    (void)state;
    char why[OIDC_WORDS_BYTES];
    struct oidc_provider *provider = read_provider(DISCOVERED(""), why);
    assert_non_null(provider);
    assert_true(provider->takes_basic && !provider->takes_post && !provider->names_itself);
    assert_int_equal(provider->userinfo.target.len, 0);
    assert_true(text_equal(provider->token.target, TEXT("/token/")));
    oidc_provider_free(provider);
    provider = read_provider(DISCOVERED(",\"userinfo_endpoint\":\"https://id.example/me\","
                                        "\"token_endpoint_auth_methods_supported\":[\"private_key_"
                                        "jwt\",\"client_secret_post\"],"
                                        "\"authorization_response_iss_parameter_supported\":true"),
                             why);
    assert_non_null(provider);
    assert_true(!provider->takes_basic && provider->takes_post && provider->names_itself);
    assert_true(text_equal(provider->userinfo.target, TEXT("/me")));
    oidc_provider_free(provider);
    oidc_provider_free(NULL);
}

static void another_issuers_offer_is_not_taken(void **state)
{
    (void)state;
    static const struct {
        const char *document, *why;
    } rows[] = {
        {"", "no JSON object"},
        {"[]", "no JSON object"},
        {"{}", "calls itself"},
        {"{\"issuer\":\"https://id.example/realms/ops\"}", "byte for byte"},
        {"{\"issuer\":\"https://evil.example/<b>\\u0007\"}", "https://evil.example/<b>?"},
        {"{\"issuer\":\"" ISSUER "\"}", "authorization_endpoint"},
        {"{\"issuer\":\"" ISSUER "\",\"authorization_endpoint\":\"http://a.b/c\"}",
         "authorization_endpoint"},
        {"{\"issuer\":\"" ISSUER "\",\"authorization_endpoint\":\"https://a/c\"}",
         "token_endpoint"},
        {"{\"issuer\":\"" ISSUER "\",\"authorization_endpoint\":\"https://a/c\","
         "\"token_endpoint\":\"https://a/t\",\"jwks_uri\":\"http://a/k\"}",
         "jwks_uri"},
        {"{\"issuer\":\"" ISSUER "\",\"authorization_endpoint\":\"https://a/c\","
         "\"token_endpoint\":\"http://127.0.0.1:81/t\",\"jwks_uri\":\"https://a/k\"}",
         "token_endpoint"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char why[OIDC_WORDS_BYTES];
        assert_null(read_provider(rows[i].document, why));
        if (!strstr(why, rows[i].why))
            fail_msg("%s: %s", rows[i].document, why);
    }
}

static void the_browser_is_sent_with_all_of_it(void **state)
{
    (void)state;
    char why[OIDC_WORDS_BYTES], wanted[1024], nonce[OIDC_DERIVED_BYTES],
        state_word[OIDC_DERIVED_BYTES], verifier[OIDC_DERIVED_BYTES], challenge[OIDC_DERIVED_BYTES];
    struct oidc_provider *provider = read_provider(DISCOVERED(""), why);
    struct buffer out;
    oidc_derive(ticket, OIDC_STATE, state_word);
    oidc_derive(ticket, OIDC_NONCE, nonce);
    oidc_derive(ticket, OIDC_VERIFIER, verifier);
    oidc_challenge(verifier, challenge);
    snprintf(
        wanted, sizeof wanted,
        "https://id.example/auth?p=1&response_type=code&client_id=us%%20%%26%%20them&redirect_uri="
        "http%%3A%%2F%%2F127.0.0.1%%3A9%%2Fui%%2Foidc%%2Fcallback&scope=openid%%20groups&state=%s"
        "&nonce=%s&code_challenge=%s&code_challenge_method=S256",
        state_word, nonce, challenge);
    buffer_init(&out, 1024);
    assert_true(oidc_put_authorization(provider, &settings, redirect, ticket, &out));
    assert_true(text_equal(buffer_text(&out), text_of(wanted)));
    buffer_done(&out);
    buffer_init(&out, 64);
    assert_false(oidc_put_authorization(provider, &settings, redirect, ticket, &out));
    buffer_done(&out);
    oidc_provider_free(provider);
}

static void exchange(struct oidc_settings with, bool basic, bool post, const char *form,
                     const char *header, bool works)
{
    char verifier[OIDC_DERIVED_BYTES], wanted[512];
    struct oidc_provider provider = {.takes_basic = basic, .takes_post = post};
    struct oidc_return back = {redirect, ticket, TEXT("c& d")};
    struct buffer body, line;
    oidc_derive(ticket, OIDC_VERIFIER, verifier);
    snprintf(wanted, sizeof wanted,
             "grant_type=authorization_code&code=c%%26%%20d&redirect_uri=http%%3A%%2F%%2F127.0.0.1%"
             "%3A9%%2Fui%%"
             "2Foidc%%2Fcallback&code_verifier=%s%s",
             verifier, form);
    buffer_init(&body, 1024);
    buffer_init(&line, 1024);
    assert_int_equal(oidc_put_exchange(&provider, &with, &back, &body, &line), works);
    if (works) {
        assert_true(text_equal(buffer_text(&body), text_of(wanted)));
        assert_true(text_equal(buffer_text(&line), text_of(header)));
    }
    buffer_done(&body);
    buffer_done(&line);
}

static void the_secret_is_shown_as_the_issuer_wants_it(void **state)
{
    (void)state;
    struct oidc_settings open = settings;
    open.client_secret = TEXT("");
    exchange(settings, true, true, "", "Basic dXMlMjAlMjYlMjB0aGVtOnAlM0FxJTJGciUyMHM=", true);
    exchange(settings, false, true, "&client_id=us%20%26%20them&client_secret=p%3Aq%2Fr%20s", "",
             true);
    exchange(settings, false, false, "", "", false);
    exchange(open, true, true, "&client_id=us%20%26%20them", "", true);
    exchange(open, false, false, "&client_id=us%20%26%20them", "", true);
}

#define AGENT "\r\nUser-Agent: sluice/" PROGRAM_VERSION "\r\nAccept: application/json\r\n"

static void a_request_is_whole(void **state)
{
    (void)state;
    struct oidc_endpoint endpoint;
    struct buffer out;
    struct text form = TEXT("a=b");
    buffer_init(&out, 1024);
    assert_true(oidc_read_endpoint(TEXT("http://[::1]:82/t"), &endpoint));
    oidc_put_request(&endpoint, NULL, TEXT("Basic x"), &form, &out);
    assert_true(text_equal(
        buffer_text(&out),
        TEXT("POST /t HTTP/1.1\r\nHost: [::1]:82" AGENT "Authorization: Basic x\r\nContent-Type: "
             "application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b")));
    buffer_clear(&out);
    assert_true(oidc_read_endpoint(TEXT("https://a.b/k?x"), &endpoint));
    oidc_put_request(&endpoint, NULL, TEXT(""), NULL, &out);
    assert_true(text_equal(buffer_text(&out), TEXT("GET /k?x HTTP/1.1\r\nHost: a.b" AGENT "\r\n")));
    buffer_done(&out);
}

static void tokens_are_read(void **state)
{
    (void)state;
    struct text id, access;
    struct arena arena;
    char why[OIDC_WORDS_BYTES];
    arena_init(&arena, 1024);
    assert_true(oidc_read_tokens(200, TEXT("{\"id_token\":\"a.b.c\",\"access_token\":\"x\"}"),
                                 &arena, &id, &access, why));
    assert_true(text_equal(id, TEXT("a.b.c")) && text_equal(access, TEXT("x")));
    assert_true(oidc_read_tokens(200, TEXT("{\"id_token\":\"a\",\"access_token\":\"x\\r\\nY: z\"}"),
                                 &arena, &id, &access, why));
    assert_int_equal(access.len, 0);
    static const struct {
        unsigned status;
        const char *body, *why;
    } rows[] = {
        {200, "{}", "no ID token"},
        {200, "{\"id_token\":1}", "no ID token"},
        {200, "<html>", "no ID token"},
        {400, "{\"error\":\"invalid_grant\",\"error_description\":\"so\\u001b[31m\"}",
         "it answered 400: invalid_grant: so?[31m"},
        {401, "", "it answered 401"},
        {302, "{\"id_token\":\"a\"}", "it answered 302"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        why[0] = '\0';
        assert_false(
            oidc_read_tokens(rows[i].status, text_of(rows[i].body), &arena, &id, &access, why));
        assert_non_null(strstr(why, rows[i].why));
    }
    arena_done(&arena);
}

static enum oidc_access access_of(const struct oidc_settings *with, const char *values,
                                  struct oidc_role *role)
{
    struct text list[8], rest = text_of(values);
    struct id_claims claims = {.has_values = true, .values = list};
    while (rest.len > 0 && text_next(&rest, ' ', &list[claims.value_count]))
        claims.value_count++;
    return oidc_find_role(with, &claims, role);
}

static void values_give_roles(void **state)
{
    (void)state;
    struct oidc_role role;
    assert_int_equal(access_of(&settings, "x viewer admin", &role), OIDC_ACCESS);
    assert_int_equal(role.role, ADMIN_ROLE_ADMIN);
    assert_int_equal(access_of(&settings, "tenant:a viewer", &role), OIDC_ACCESS);
    assert_int_equal(role.role, ADMIN_ROLE_VIEWER);
    assert_int_equal(access_of(&settings, "tenant:a/b tenant:a/b x", &role), OIDC_ACCESS);
    assert_true(role.role == ADMIN_ROLE_TENANT && text_equal(role.tenant, TEXT("a/b")));
    assert_int_equal(access_of(&settings, "tenant:a tenant:b", &role), OIDC_TWO_TENANTS);
    static const char *const none[] = {"", "x", "Admin", "administrator", "tenant:", "tenant"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(access_of(&settings, none[i], &role), OIDC_NO_ROLE);
}

static void a_list_of_roles_says_what_counts(void **state)
{
    (void)state;
    const struct oidc_role list[] = {{TEXT("read"), ADMIN_ROLE_VIEWER, {"", 0}},
                                     {TEXT("ops"), ADMIN_ROLE_ADMIN, {"", 0}},
                                     {TEXT("team"), ADMIN_ROLE_TENANT, {"acme", 4}}};
    struct oidc_settings with = settings;
    struct oidc_role role;
    with.roles = list;
    with.role_count = 3;
    assert_int_equal(access_of(&with, "ops read", &role), OIDC_ACCESS);
    assert_int_equal(role.role, ADMIN_ROLE_VIEWER); /* the first of the list, not the widest */
    assert_int_equal(access_of(&with, "team", &role), OIDC_ACCESS);
    assert_true(text_equal(role.tenant, TEXT("acme")));
    assert_int_equal(access_of(&with, "admin viewer tenant:acme OPS", &role), OIDC_NO_ROLE);
    struct id_claims unverified = {.has_values = true, .unverified = true},
                     absent = {.unverified = false};
    assert_int_equal(oidc_find_role(&with, &unverified, &role), OIDC_NO_CLAIM);
    assert_int_equal(oidc_find_role(&with, &absent, &role), OIDC_NO_CLAIM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_is_fresh_for_ten_minutes),
        cmocka_unit_test(what_is_derived_tells_nothing_of_the_rest),
        cmocka_unit_test(strangers_do_not_fill_the_log),
        cmocka_unit_test(endpoints_are_https_or_near),
        cmocka_unit_test(discovery_stands_below_the_issuer),
        cmocka_unit_test(a_provider_says_what_it_offers),
        cmocka_unit_test(another_issuers_offer_is_not_taken),
        cmocka_unit_test(the_browser_is_sent_with_all_of_it),
        cmocka_unit_test(the_secret_is_shown_as_the_issuer_wants_it),
        cmocka_unit_test(a_request_is_whole),
        cmocka_unit_test(tokens_are_read),
        cmocka_unit_test(values_give_roles),
        cmocka_unit_test(a_list_of_roles_says_what_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
