/* SPDX-License-Identifier: Apache-2.0 */
/* Which ID tokens are believed, and what is read from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/id_token.h"
#include "tests/unit/policy/jwt_cases.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { NOW = 1800000000 };

#define HEAD "{\"alg\":\"RS256\",\"kid\":\"a\"}"
#define GOOD                                                                            \
    "\"iss\":\"https://id.example\",\"aud\":\"us\",\"sub\":\"ada\",\"exp\":1800000300," \
    "\"iat\":1800000000"
#define NONCE ",\"nonce\":\"n\""

static EVP_PKEY *rsa, *ec, *stranger;
static struct token_keys *keys;
static char jwks[8192];
static struct arena arena;

static const struct id_token_settings settings = {
    {"https://id.example", 18}, {"us", 2}, {"n", 1}, (int64_t)NOW * 1000000};

static int begin(void **state)
{
    (void)state;
    rsa = make_rsa(2048);
    ec = make_ec("P-256");
    stranger = make_rsa(2048);
    strcpy(jwks, "{\"keys\":[");
    put_jwk(jwks, rsa, ",\"kid\":\"a\"");
    strcat(jwks, ",");
    put_jwk(jwks, ec, ",\"kid\":\"b\"");
    strcat(jwks, "]}");
    keys = id_token_keys(text_of(jwks));
    assert_non_null(keys);
    arena_init(&arena, 4096);
    return 0;
}

static int end(void **state)
{
    (void)state;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(stranger);
    id_token_keys_free(keys);
    arena_done(&arena);
    return 0;
}

static enum id_token_result check(const char *header, const char *payload, EVP_PKEY *key,
                                  const char *algorithm, const char **why)
{
    char *token = make_token(header, payload, key, algorithm);
    struct text said;
    enum id_token_result result =
        id_token_check(keys, text_of(token), &settings, &arena, &said, why);
    if (result == ID_TOKEN_GOOD)
        assert_true(text_equal(said, text_of(payload)));
    free(token);
    return result;
}

static void a_token_for_us_is_believed(void **state)
{
    (void)state;
    const char *why;
    static const char *const good[] = {
        "{" GOOD NONCE "}",
        "{" GOOD NONCE ",\"azp\":\"us\",\"nbf\":1800000060}",
        "{\"iss\":\"https://id.example\",\"aud\":[\"us\"],\"sub\":\"a\",\"exp\":1799999941,"
        "\"iat\":1800000060" NONCE "}",
        "{\"iss\":\"https://id.example\",\"aud\":[\"x\",\"us\"],\"azp\":\"us\",\"sub\":\"a\","
        "\"exp\":1800000001.5,\"iat\":1799999400" NONCE "}",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(check(HEAD, good[i], rsa, "RS256", &why), ID_TOKEN_GOOD);
    assert_int_equal(
        check("{\"alg\":\"ES256\",\"kid\":\"b\",\"typ\":\"JWT\"}", good[0], ec, "ES256", &why),
        ID_TOKEN_GOOD);
    assert_int_equal(check("{\"alg\":\"PS256\"}", good[0], rsa, "PS256", &why), ID_TOKEN_GOOD);
}

static void another_one_is_not(void **state)
{
    (void)state;
#define WITHOUT_AUD \
    "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"exp\":1800000300,\"iat\":1800000000" NONCE
#define WITHOUT_TIMES "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":\"us\"" NONCE
    static const struct {
        const char *payload, *why;
    } rows[] = {
        {"[]", "no JSON object"},
        {"{}", "issuer"},
        {"{\"iss\":\"https://id.example/\"}", "issuer"},
        {"{\"iss\":[\"https://id.example\"]}", "issuer"},
        {WITHOUT_AUD "}", "aud"},
        {WITHOUT_AUD ",\"aud\":\"they\"}", "aud"},
        {WITHOUT_AUD ",\"aud\":[]}", "aud"},
        {WITHOUT_AUD ",\"aud\":[\"they\",\"USA\"]}", "aud"},
        {WITHOUT_AUD ",\"aud\":[\"us\",\"they\"]}", "azp"},
        {WITHOUT_AUD ",\"aud\":[\"us\",\"they\"],\"azp\":\"they\"}", "azp"},
        {WITHOUT_AUD ",\"aud\":\"us\",\"azp\":\"they\"}", "azp"},
        {WITHOUT_AUD ",\"aud\":\"us\",\"azp\":null}", "azp"},
        {WITHOUT_TIMES "}", "iat, exp"},
        {WITHOUT_TIMES ",\"exp\":1800000300}", "iat, exp"},
        {WITHOUT_TIMES ",\"exp\":\"1800000300\",\"iat\":1800000000}", "iat, exp"},
        {WITHOUT_TIMES ",\"exp\":1799999940,\"iat\":1799999900}", "expired"},
        {WITHOUT_TIMES ",\"exp\":1800000300,\"iat\":1800000061}", "future"},
        {WITHOUT_TIMES ",\"exp\":1800000300,\"iat\":1800000000,\"nbf\":1800000061}", "future"},
        {WITHOUT_TIMES ",\"exp\":1800000300,\"iat\":1800000000,\"nbf\":\"x\"}", "future"},
        {WITHOUT_TIMES ",\"exp\":1900000300,\"iat\":1799999399}", "too old"},
        {"{" GOOD "}", "nonce"},
        {"{" GOOD ",\"nonce\":\"N\"}", "nonce"},
        {"{" GOOD ",\"nonce\":\"\"}", "nonce"},
        {"{" GOOD NONCE NONCE "}", "no JSON object"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *why = "";
        assert_int_equal(check(HEAD, rows[i].payload, rsa, "RS256", &why), ID_TOKEN_BAD);
        if (!strstr(why, rows[i].why))
            fail_msg("%s: %s", rows[i].payload, why);
    }
}

static void how_it_is_signed_is_not_the_tokens_to_say(void **state)
{
    (void)state;
    const char *why, *payload = "{" GOOD NONCE "}";
    assert_int_equal(check("{\"alg\":\"none\"}", payload, rsa, "", &why), ID_TOKEN_BAD);
    assert_int_equal(check("{\"alg\":\"HS256\",\"kid\":\"a\"}", payload, rsa, "RS256", &why),
                     ID_TOKEN_BAD);
    assert_int_equal(check("{\"alg\":\"RS256\",\"crit\":[\"x\"]}", payload, rsa, "RS256", &why),
                     ID_TOKEN_BAD);
    assert_int_equal(check(HEAD, payload, stranger, "RS256", &why), ID_TOKEN_BAD);
    assert_non_null(strstr(why, "signature"));
    assert_int_equal(check("{\"alg\":\"ES256\",\"kid\":\"a\"}", payload, ec, "ES256", &why),
                     ID_TOKEN_NO_KEY);
    assert_int_equal(check("{\"alg\":\"RS256\",\"kid\":\"z\"}", payload, rsa, "RS256", &why),
                     ID_TOKEN_NO_KEY);
    char *token = make_token(HEAD, payload, rsa, "RS256");
    struct text said;
    assert_int_equal(id_token_check(NULL, text_of(token), &settings, &arena, &said, &why),
                     ID_TOKEN_NO_KEY);
    static const char *const none[] = {"", "a.b", "a.b.c", "ey.ey.ey.ey", "sk-x"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(id_token_check(keys, text_of(none[i]), &settings, &arena, &said, &why),
                         ID_TOKEN_BAD);
    free(token);
}

/* Some have a list of all groups in them, and are long. */
static void a_long_token_is_read_up_to_a_bound(void **state)
{
    (void)state;
    const char *why;
    for (int i = 0; i < 2; i++) {
        size_t room = i == 0 ? 30000 : 60000;
        char *payload = malloc(room + 400);
        sprintf(payload, "{" GOOD NONCE ",\"x\":\"");
        size_t len = strlen(payload);
        memset(payload + len, 'x', room);
        strcpy(payload + len + room, "\"}");
        assert_int_equal(check(HEAD, payload, rsa, "RS256", &why),
                         i == 0 ? ID_TOKEN_GOOD : ID_TOKEN_BAD);
        free(payload);
    }
}

static struct id_claims read(const char *payload, const char *claim)
{
    struct id_claims claims;
    assert_true(id_claims_read(text_of(payload), text_of(claim), &arena, &claims));
    return claims;
}

static void the_claim_is_a_text_or_a_list(void **state)
{
    (void)state;
    struct id_claims claims = read("{\"sub\":\"s\",\"role\":\"admin\"}", "role");
    assert_true(claims.has_values && claims.value_count == 1);
    assert_true(text_equal(claims.values[0], TEXT("admin")));
    claims =
        read("{\"sub\":\"s\",\"a\":{\"roles\":[\"x\",1,\"\",null,[\"no\"],\"y\"]}}", "a.roles");
    assert_int_equal(claims.value_count, 2);
    assert_true(text_equal(claims.values[1], TEXT("y")));
    claims = read("{\"sub\":\"s\",\"https://x.example/roles\":[\"x\"]}", "https://x.example/roles");
    assert_int_equal(claims.value_count, 1);
    claims = read("{\"sub\":\"s\"}", "role");
    assert_false(claims.has_values);
    claims = read("{\"sub\":\"s\",\"role\":{}}", "role");
    assert_true(claims.has_values && claims.value_count == 0);
    claims = read("{\"sub\":\"s\",\"role\":true}", "role");
    assert_int_equal(claims.value_count, 0);
}

static void the_name_is_one_that_can_be_believed(void **state)
{
    (void)state;
    static const struct {
        const char *payload, *name;
    } rows[] = {
        {"{\"sub\":\"s\"}", "s"},
        {"{\"sub\":\"s\",\"preferred_username\":\"ada\"}", "ada"},
        {"{\"sub\":\"s\",\"preferred_username\":\"ada\",\"email\":\"a@b.c\"}", "ada"},
        {"{\"sub\":\"s\",\"email\":\"a@b.c\",\"email_verified\":true}", "a@b.c"},
        {"{\"sub\":\"s\",\"email\":\"a@b.c\",\"email_verified\":\"true\"}", "a@b.c"},
        {"{\"sub\":\"s\",\"email\":\"a@b.c\",\"email_verified\":false}", "s"},
        {"{\"sub\":\"s\",\"preferred_username\":\"a\\nb\"}", "s"},
        {"{\"sub\":\"s\",\"preferred_username\":\"\"}", "s"},
        {"{\"sub\":\"s\",\"preferred_username\":\"root@b.c\"}", "root@b.c (not verified)"},
        {"{\"sub\":\"s\",\"preferred_username\":\"\\u00e9\\u00a0\\u200a\\u2030\\u2070\"}",
         "\xc3\xa9\xc2\xa0\xe2\x80\x8a\xe2\x80\xb0\xe2\x81\xb0"},
        {"{\"sub\":\"s\",\"preferred_username\":\"a\\u009b31m\"}", "s"},
        {"{\"sub\":\"s\",\"preferred_username\":\"a\\u202ec\"}", "s"},
        {"{\"sub\":\"s\",\"preferred_username\":\"a\\u2067c\"}", "s"},
        {"{\"sub\":\"s\",\"preferred_username\":\"a\\u200fc\"}", "s"},
        {"{\"sub\":\"s\",\"preferred_username\":\"a\\u061cc\"}", "s"},
        {"{\"sub\":\"s\",\"preferred_username\":\"\\ufeffa\"}", "s"},
        {"{\"sub\":\"s\",\"email\":\"a\\u202e@b.c\",\"email_verified\":true}", "s"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct id_claims claims = read(rows[i].payload, "x");
        assert_string_equal(claims.name.at, rows[i].name);
    }
    assert_int_equal(read("{\"sub\":\"a\\tb\"}", "x").name.len, 64);
    struct id_claims claims = read("{\"sub\":\"s\",\"email\":\"a@b.c\"}", "email");
    assert_true(claims.has_values && claims.unverified);
    claims = read("{\"sub\":\"s\",\"email\":\"a@b.c\",\"email_verified\":true}", "email");
    assert_true(claims.has_values && !claims.unverified);
}

static void nobody_is_not_read(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "[]", "{}", "{\"sub\":\"\"}", "{\"sub\":1}", "{\"sub\":"};
    struct id_claims claims;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(id_claims_read(text_of(bad[i]), TEXT("x"), &arena, &claims));
    char long_one[400] = "{\"sub\":\"";
    memset(long_one + 8, 's', 256);
    strcpy(long_one + 264, "\"}");
    assert_false(id_claims_read(text_of(long_one), TEXT("x"), &arena, &claims));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_for_us_is_believed),
        cmocka_unit_test(another_one_is_not),
        cmocka_unit_test(how_it_is_signed_is_not_the_tokens_to_say),
        cmocka_unit_test(a_long_token_is_read_up_to_a_bound),
        cmocka_unit_test(the_claim_is_a_text_or_a_list),
        cmocka_unit_test(the_name_is_one_that_can_be_believed),
        cmocka_unit_test(nobody_is_not_read),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
