/* SPDX-License-Identifier: Apache-2.0 */
/* Which tokens open what, and which open nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/directory_view.h"
#include "policy/jwt_inside.h"
#include "tests/unit/policy/jwt_cases.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { NOW = 1800000000 }; /* seconds */
#define US(seconds) ((int64_t)(seconds)*1000000)

static EVP_PKEY *rsa, *small, *p256, *p384, *p521, *stranger;
static struct tenant tenants[4];
static struct roster_file file = {.tenants = tenants, .tenant_count = 4};
static struct directory *directory;
static struct arena arena;

static const struct token_settings settings = {.issuer = {"https://id.example", 18},
                                               .audience = {"sluice", 6}};

static int begin(void **state)
{
    (void)state;
    rsa = make_rsa(2048);
    small = make_rsa(1024);
    p256 = make_ec("P-256");
    p384 = make_ec("P-384");
    p521 = make_ec("P-521");
    stranger = make_rsa(2048);
    tenants[0] = (struct tenant){.name = TEXT("acme"), .tags = TEXT("team=a")};
    tenants[1] = (struct tenant){.name = TEXT("search"), .parent = &tenants[0], .depth = 1};
    tenants[2] = (struct tenant){.name = TEXT("closed"), .is_off = true};
    tenants[3] = (struct tenant){.name = TEXT("below"), .parent = &tenants[2], .depth = 1};
    directory = directory_new(&file);
    arena_init(&arena, 4096);
    return 0;
}

static int end(void **state)
{
    (void)state;
    EVP_PKEY *const keys[] = {rsa, small, p256, p384, p521, stranger};
    for (size_t i = 0; i < COUNT(keys); i++)
        EVP_PKEY_free(keys[i]);
    directory_unref(directory);
    arena_done(&arena);
    return 0;
}

/* Tokens with all the good keys in force. */
static struct tokens *open_tokens(void)
{
    static char set[8192];
    struct tokens *tokens = tokens_new(&settings);
    strcpy(set, "{\"keys\":[");
    put_jwk(set, rsa, ",\"kid\":\"r\",\"use\":\"sig\"");
    strcat(set, ",");
    put_jwk(set, p256, ",\"kid\":\"e256\",\"alg\":\"ES256\"");
    strcat(set, ",");
    put_jwk(set, p384, ",\"kid\":\"e384\"");
    strcat(set, ",");
    put_jwk(set, p521, ",\"kid\":\"e521\",\"key_ops\":[\"verify\"]");
    strcat(set, "]}");
    assert_true(tokens_set_keys(tokens, text_of(set)));
    return tokens;
}

static const char *claims_with(const char *more)
{
    static char claims[16384];
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"https://id.example\",\"aud\":\"sluice\",\"sub\":\"ada\",\"exp\":%d,"
             "\"tenant\":\"acme\"%s}",
             NOW + 300, more);
    return claims;
}

static enum token_result check_at(struct tokens *tokens, const char *token, int64_t at,
                                  const struct key **key)
{
    *key = NULL;
    enum token_result result = tokens_check(tokens, directory, text_of(token), US(at), &arena, key);
    assert_int_equal(*key != NULL, result == TOKEN_GOOD);
    return result;
}

/* Sign and check once. */
static enum token_result ask(const char *header, const char *claims, EVP_PKEY *key,
                             const char *algorithm)
{
    const struct key *found;
    struct tokens *tokens = open_tokens();
    char *token = make_token(header, claims, key, algorithm);
    enum token_result result = check_at(tokens, token, NOW, &found);
    free(token);
    tokens_free(tokens);
    return result;
}

static enum token_result ask_claims(const char *claims)
{
    return ask("{\"alg\":\"RS256\",\"kid\":\"r\"}", claims, rsa, "RS256");
}

static enum token_result ask_header(const char *header)
{
    return ask(header, claims_with(""), rsa, "RS256");
}

/* ------------------------------------------------------------------------------------------ */

static void every_algorithm_of_a_key_is_good(void **state)
{
    (void)state;
    const struct {
        const char *algorithm, *kid;
        EVP_PKEY *key;
    } cases[] = {{"RS256", "r", rsa},     {"RS384", "r", rsa},     {"RS512", "r", rsa},
                 {"PS256", "r", rsa},     {"PS384", "r", rsa},     {"PS512", "r", rsa},
                 {"ES256", "e256", p256}, {"ES384", "e384", p384}, {"ES512", "e521", p521}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char header[128];
        snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
                 cases[i].algorithm, cases[i].kid);
        assert_int_equal(ask(header, claims_with(""), cases[i].key, cases[i].algorithm),
                         TOKEN_GOOD);
        snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", cases[i].algorithm);
        assert_int_equal(ask(header, claims_with(""), cases[i].key, cases[i].algorithm),
                         TOKEN_GOOD);
    }
}

static void a_token_is_a_key_of_its_tenant(void **state)
{
    (void)state;
    const struct key *key, *again;
    struct tokens *tokens = open_tokens();
    char *token = make_token("{\"alg\":\"RS256\",\"kid\":\"r\"}",
                             claims_with(",\"models\":[\"fast\",\"openai/*\"]"), rsa, "RS256");
    assert_int_equal(check_at(tokens, token, NOW, &key), TOKEN_GOOD);
    assert_true(text_equal(key->name, TEXT("token:ada")));
    assert_ptr_equal(key->tenant, &tenants[0]);
    assert_true(text_equal(key->tags, TEXT("team=a")));
    assert_int_equal(key->model_count, 2);
    assert_true(text_equal(key->models[1], TEXT("openai/*")));
    assert_int_equal(key->limits.count, 0);
    /* The second time it is remembered, and says the same. */
    assert_int_equal(check_at(tokens, token, NOW, &again), TOKEN_GOOD);
    assert_true(text_equal(again->name, TEXT("token:ada")));
    assert_true(text_equal(again->models[0], TEXT("fast")));
    assert_true(hash_same(&key->digest, &again->digest));
    free(token);
    tokens_free(tokens);
}

static void subjects_are_told_apart(void **state)
{
    (void)state;
    static const char *const more[] = {",\"models\":\"a\"", ",\"iat\":1"};
    struct tokens *tokens = open_tokens();
    const struct key *keys[4];
    char subject[256], claims[1024];
    for (int i = 0; i < 2; i++) {
        char *token = make_token("{\"alg\":\"ES256\"}", claims_with(more[i]), p256, "ES256");
        assert_int_equal(check_at(tokens, token, NOW, &keys[i]), TOKEN_GOOD);
        free(token);
    }
    assert_true(hash_same(&keys[0]->digest, &keys[1]->digest));
    memset(subject, 'x', 200);
    for (int i = 2; i < 4; i++) {
        sprintf(subject + 200, "%d", i);
        snprintf(claims, sizeof(claims),
                 "{\"iss\":\"https://id.example\",\"aud\":[\"other\",\"sluice\"],\"sub\":\"%s\","
                 "\"exp\":%d,\"tenant\":\"acme\"}",
                 subject, NOW + 300);
        char *token = make_token("{\"alg\":\"ES256\"}", claims, p256, "ES256");
        assert_int_equal(check_at(tokens, token, NOW, &keys[i]), TOKEN_GOOD);
        assert_true(keys[i]->name.len <= sizeof("token:") - 1 + TOKEN_NAME_MAX);
        free(token);
    }
    assert_false(text_equal(keys[2]->name, keys[3]->name));
    assert_false(hash_same(&keys[2]->digest, &keys[3]->digest));
    assert_false(hash_same(&keys[0]->digest, &keys[2]->digest));
    tokens_free(tokens);
}

static void what_is_no_token_may_be_a_key(void **state)
{
    (void)state;
    static const char *const cases[] = {"",   "sk-sluice-abc", "a.b.c", "eyJ.b", "..",
                                        "ey", "sk.a.b"};
    const struct key *key;
    struct tokens *tokens = open_tokens();
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(check_at(tokens, cases[i], NOW, &key), TOKEN_NONE);
    tokens_free(tokens);
}

static void none_and_hmac_are_never_good(void **state)
{
    (void)state;
    static const char *const headers[] = {"{\"alg\":\"none\"}",
                                          "{\"alg\":\"None\",\"kid\":\"r\"}",
                                          "{\"alg\":\"HS256\",\"kid\":\"r\"}",
                                          "{\"alg\":\"\"}",
                                          "{\"alg\":null}",
                                          "{\"alg\":[\"RS256\"]}",
                                          "{\"kid\":\"r\"}"};
    for (size_t i = 0; i < COUNT(headers); i++) {
        assert_int_equal(ask_header(headers[i]), TOKEN_BAD);
        assert_int_equal(ask(headers[i], claims_with(""), NULL, ""), TOKEN_BAD);
    }
}

/* The oldest trick: the public key, known to all, as the secret of an HMAC. */
static void a_public_key_is_no_secret(void **state)
{
    (void)state;
    char set[4096] = "", text[8192];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const struct key *key;
    struct tokens *tokens = open_tokens();
    put_jwk(set, rsa, "");
    encode("{\"alg\":\"HS256\",\"kid\":\"r\"}", 25, text);
    strcat(text, ".");
    encode(claims_with(""), strlen(claims_with("")), text + strlen(text));
    HMAC(EVP_sha256(), set, (int)strlen(set), (unsigned char *)text, strlen(text), mac, &len);
    strcat(text, ".");
    encode(mac, len, text + strlen(text));
    assert_int_equal(check_at(tokens, text, NOW, &key), TOKEN_BAD);
    tokens_free(tokens);
}

static void a_key_is_used_with_its_own_algorithms_only(void **state)
{
    (void)state;
    const char *claims = claims_with("");
    /* signed as it says, but the key named is of another kind */
    assert_int_equal(ask("{\"alg\":\"RS256\",\"kid\":\"e256\"}", claims, rsa, "RS256"),
                     TOKEN_NO_KEY);
    assert_int_equal(ask("{\"alg\":\"ES256\",\"kid\":\"r\"}", claims, p256, "ES256"), TOKEN_NO_KEY);
    /* the curve decides on the digest */
    assert_int_equal(ask("{\"alg\":\"ES256\",\"kid\":\"e384\"}", claims, p384, "ES256"),
                     TOKEN_NO_KEY);
    /* says one, is signed by another */
    assert_int_equal(ask("{\"alg\":\"RS256\",\"kid\":\"r\"}", claims, rsa, "PS256"), TOKEN_BAD);
    assert_int_equal(ask("{\"alg\":\"PS256\",\"kid\":\"r\"}", claims, rsa, "RS256"), TOKEN_BAD);
    assert_int_equal(ask("{\"alg\":\"RS384\",\"kid\":\"r\"}", claims, rsa, "RS256"), TOKEN_BAD);
}

static void who_signed_it_must_be_known(void **state)
{
    (void)state;
    const char *claims = claims_with("");
    assert_int_equal(ask("{\"alg\":\"RS256\",\"kid\":\"r\"}", claims, stranger, "RS256"),
                     TOKEN_BAD);
    assert_int_equal(ask("{\"alg\":\"RS256\",\"kid\":\"new\"}", claims, stranger, "RS256"),
                     TOKEN_NO_KEY);
    assert_int_equal(ask("{\"alg\":\"RS256\"}", claims, stranger, "RS256"), TOKEN_NO_KEY);
    struct tokens *tokens = tokens_new(&settings);
    const struct key *key;
    char *token = make_token("{\"alg\":\"RS256\",\"kid\":\"r\"}", claims, rsa, "RS256");
    assert_int_equal(check_at(tokens, token, NOW, &key), TOKEN_NO_KEY);
    free(token);
    tokens_free(tokens);
}

static void a_changed_token_is_bad(void **state)
{
    (void)state;
    const struct key *key;
    struct tokens *tokens = open_tokens();
    char *token =
        make_token("{\"alg\":\"ES256\",\"kid\":\"e256\"}", claims_with(""), p256, "ES256");
    size_t dot = (size_t)(strrchr(token, '.') - token), len = strlen(token);
    /* the last letter of a part may have bits that say nothing */
    for (size_t i = 2; i + 1 < len; i++) {
        char was = token[i];
        if (was == '.' || token[i + 1] == '.')
            continue;
        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_not_equal(check_at(tokens, token, NOW, &key), TOKEN_GOOD);
        token[i] = was;
    }
    for (size_t cut = dot; cut < len; cut++) {
        char was = token[cut];
        token[cut] = '\0';
        assert_int_not_equal(check_at(tokens, token, NOW, &key), TOKEN_GOOD);
        token[cut] = was;
    }
    assert_int_equal(check_at(tokens, token, NOW, &key), TOKEN_GOOD);
    free(token);
    tokens_free(tokens);
}

static void letters_that_are_not_base64url_are_bad(void **state)
{
    (void)state;
    static const char *const ends[] = {"=", "==", " ", "\n", ".", ".x", "+", "\t"};
    const struct key *key;
    struct tokens *tokens = open_tokens();
    char *token = make_token("{\"alg\":\"RS256\"}", claims_with(""), rsa, "RS256");
    for (size_t i = 0; i < COUNT(ends); i++) {
        char *longer = malloc(strlen(token) + 8);
        strcat(strcpy(longer, token), ends[i]);
        assert_int_equal(check_at(tokens, longer, NOW, &key), TOKEN_BAD);
        free(longer);
    }
    free(token);
    tokens_free(tokens);
}

static void claims_must_be_as_wanted(void **state)
{
    (void)state;
#define ISS  "\"iss\":\"https://id.example\""
#define AUD  ",\"aud\":\"sluice\""
#define SUB  ",\"sub\":\"ada\""
#define EXP  ",\"exp\":1800000300"
#define TEN  ",\"tenant\":\"acme\""
#define REST AUD SUB EXP TEN
    static const struct {
        const char *claims;
        enum token_result result;
    } cases[] = {
        {"{" ISS REST "}", TOKEN_GOOD},
        {"{" ISS SUB EXP TEN ",\"aud\":[\"sluice\"]}", TOKEN_GOOD},
        {"{" ISS AUD SUB TEN ",\"exp\":1.8000003e9}", TOKEN_GOOD},
        {"{" ISS AUD SUB TEN ",\"exp\":1e300}", TOKEN_GOOD},
        {"{" ISS REST ",\"models\":\"fast  slow\"}", TOKEN_GOOD},
        {"{" ISS REST ",\"nbf\":1799999999.5}", TOKEN_GOOD},
        {"{" ISS AUD SUB EXP ",\"tenant\":\"search\"}", TOKEN_GOOD},
        {"{\"iss\":\"https://id.example/\"" REST "}", TOKEN_BAD},
        {"{\"iss\":\"HTTPS://id.example\"" REST "}", TOKEN_BAD},
        {"{\"iss\":[\"https://id.example\"]" REST "}", TOKEN_BAD},
        {"{\"iss\":null" REST "}", TOKEN_BAD},
        {"{" ISS SUB EXP TEN "}", TOKEN_BAD},
        {"{" ISS SUB EXP TEN ",\"aud\":\"sluices\"}", TOKEN_BAD},
        {"{" ISS SUB EXP TEN ",\"aud\":[]}", TOKEN_BAD},
        {"{" ISS SUB EXP TEN ",\"aud\":[[\"sluice\"]]}", TOKEN_BAD},
        {"{" ISS SUB EXP TEN ",\"aud\":{\"sluice\":1}}", TOKEN_BAD},
        {"{" ISS AUD SUB TEN "}", TOKEN_BAD},
        {"{" ISS AUD SUB TEN ",\"exp\":null}", TOKEN_BAD},
        {"{" ISS AUD SUB TEN ",\"exp\":\"1800000300\"}", TOKEN_BAD},
        {"{" ISS AUD SUB TEN ",\"exp\":-1}", TOKEN_BAD},
        {"{" ISS AUD SUB TEN ",\"exp\":0}", TOKEN_BAD},
        {"{" ISS REST ",\"nbf\":\"soon\"}", TOKEN_BAD},
        {"{" ISS REST ",\"nbf\":null}", TOKEN_BAD},
        {"{" ISS AUD EXP TEN "}", TOKEN_BAD},
        {"{" ISS AUD EXP TEN ",\"sub\":\"\"}", TOKEN_BAD},
        {"{" ISS AUD EXP TEN ",\"sub\":7}", TOKEN_BAD},
        {"{" ISS AUD SUB EXP "}", TOKEN_BAD},
        {"{" ISS AUD SUB EXP ",\"tenant\":\"nobody\"}", TOKEN_BAD},
        {"{" ISS AUD SUB EXP ",\"tenant\":\"\"}", TOKEN_BAD},
        {"{" ISS AUD SUB EXP ",\"tenant\":[\"acme\"]}", TOKEN_BAD},
        {"{" ISS AUD SUB EXP ",\"tenant\":\"closed\"}", TOKEN_BAD},
        {"{" ISS AUD SUB EXP ",\"tenant\":\"below\"}", TOKEN_BAD},
        {"{" ISS REST ",\"models\":7}", TOKEN_BAD},
        {"{" ISS REST ",\"models\":[\"fast\",7]}", TOKEN_BAD},
        {"{" ISS REST ",\"models\":[\"\"]}", TOKEN_BAD},
        /* twice is not once */
        {"{" ISS REST TEN "}", TOKEN_BAD},
        {"{" ISS REST ",\"\\u0065xp\":1900000000}", TOKEN_BAD},
        {"{" ISS REST "}}", TOKEN_BAD},
        {"[" ISS REST "]", TOKEN_BAD},
        {"\"x\"", TOKEN_BAD},
        {"", TOKEN_BAD},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        if (ask_claims(cases[i].claims) != cases[i].result)
            fail_msg("%s", cases[i].claims);
}

static void headers_must_be_as_wanted(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        enum token_result result;
    } cases[] = {
        {"{\"alg\":\"RS256\",\"typ\":\"JWT\"}", TOKEN_GOOD},
        {"{\"alg\":\"RS256\",\"typ\":\"jwt\"}", TOKEN_GOOD},
        {"{\"alg\":\"RS256\",\"typ\":\"at+jwt\"}", TOKEN_GOOD},
        {"{\"alg\":\"RS256\",\"typ\":\"application/at+jwt\"}", TOKEN_GOOD},
        {"{}", TOKEN_NONE},
        {"{\n \"alg\":\"RS256\"}", TOKEN_GOOD},
        {"{\"alg\":\"RS256\",\"x\":{\"y\":[]}}", TOKEN_GOOD},
        {"{\"alg\":\"RS256\",\"typ\":\"logout+jwt\"}", TOKEN_BAD},
        {"{\"alg\":\"RS256\",\"typ\":7}", TOKEN_BAD},
        {"{\"alg\":\"RS256\",\"crit\":[\"b64\"],\"b64\":false}", TOKEN_BAD},
        {"{\"alg\":\"RS256\",\"kid\":7}", TOKEN_BAD},
        {"{\"alg\":\"rs256\"}", TOKEN_BAD},
        {"{\"alg\":\"RS256\",\"alg\":\"RS256\"}", TOKEN_BAD},
        {"{\"alg\":\"RS256\"", TOKEN_BAD},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        if (ask_header(cases[i].header) != cases[i].result)
            fail_msg("%s", cases[i].header);
}

static void a_token_has_its_time(void **state)
{
    (void)state;
    static const struct {
        int64_t at;
        enum token_result result;
    } cases[] = {{NOW - 1000, TOKEN_BAD}, {NOW - 61, TOKEN_BAD},    {NOW - 60, TOKEN_GOOD},
                 {NOW, TOKEN_GOOD},       {NOW + 300, TOKEN_GOOD},  {NOW + 359, TOKEN_GOOD},
                 {NOW + 360, TOKEN_BAD},  {NOW + 100000, TOKEN_BAD}};
    const struct key *key;
    char nbf[64];
    snprintf(nbf, sizeof(nbf), ",\"nbf\":%d", NOW);
    char *token = make_token("{\"alg\":\"ES256\"}", claims_with(nbf), p256, "ES256");
    struct tokens *warm = open_tokens();
    assert_int_equal(check_at(warm, token, NOW, &key), TOKEN_GOOD);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tokens *cold = open_tokens();
        assert_int_equal(check_at(cold, token, cases[i].at, &key), cases[i].result);
        assert_int_equal(check_at(warm, token, cases[i].at, &key), cases[i].result);
        tokens_free(cold);
    }
    free(token);
    tokens_free(warm);
}

static void claims_may_lie_deeper(void **state)
{
    (void)state;
    struct token_settings deep = settings;
    const struct key *key;
    char set[4096] = "{\"keys\":[", claims[512];
    put_jwk(set, p256, "");
    strcat(set, "]}");
    deep.tenant_claim = TEXT("app.org.id");
    deep.models_claim = TEXT("https://x.example/models");
    struct tokens *tokens = tokens_new(&deep);
    assert_true(tokens_set_keys(tokens, text_of(set)));
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"https://id.example\",\"aud\":\"sluice\",\"sub\":\"ada\",\"exp\":%d,"
             "\"app\":{\"org\":{\"id\":\"acme\"}},\"https://x.example/models\":[]}",
             NOW + 1);
    char *token = make_token("{\"alg\":\"ES256\"}", claims, p256, "ES256");
    assert_int_equal(check_at(tokens, token, NOW, &key), TOKEN_GOOD);
    /* A list that names none allows none. */
    assert_int_equal(key->model_count, 1);
    assert_false(text_matches(TEXT("fast"), key->models[0]));
    free(token);
    tokens_free(tokens);
}

static void long_tokens_are_refused(void **state)
{
    (void)state;
    char more[16000];
    const struct key *key;
    struct tokens *tokens = open_tokens();
    static const struct {
        int padding;
        enum token_result result;
    } cases[] = {{5000, TOKEN_GOOD}, {8000, TOKEN_BAD}, {15000, TOKEN_BAD}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(more, sizeof(more), ",\"x\":\"%0*d\"", cases[i].padding, 0);
        char *token = make_token("{\"alg\":\"ES256\"}", claims_with(more), p256, "ES256");
        assert_int_equal(check_at(tokens, token, NOW, &key), cases[i].result);
        assert_int_equal(check_at(tokens, token, NOW, &key), cases[i].result);
        free(token);
    }
    tokens_free(tokens);
}

static void a_key_taken_back_opens_nothing(void **state)
{
    (void)state;
    char set[4096] = "{\"keys\":[";
    const struct key *key;
    struct tokens *tokens = open_tokens();
    char *token =
        make_token("{\"alg\":\"ES256\",\"kid\":\"e256\"}", claims_with(""), p256, "ES256");
    assert_int_equal(check_at(tokens, token, NOW, &key), TOKEN_GOOD);
    put_jwk(set, p384, ",\"kid\":\"other\"");
    strcat(set, "]}");
    assert_true(tokens_set_keys(tokens, text_of(set)));
    assert_int_equal(check_at(tokens, token, NOW, &key), TOKEN_NO_KEY);
    free(token);
    tokens_free(tokens);
}

static void sets_of_keys_that_cannot_be_used(void **state)
{
    (void)state;
    const struct key *key;
    char set[8192];
    struct tokens *tokens = open_tokens();
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[7,null,{},[]]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"????\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}]}",
        "<html>"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(tokens_set_keys(tokens, text_of(bad[i])));
    const char *const more[] = {",\"use\":\"enc\"", ",\"key_ops\":[\"sign\"]", ",\"alg\":\"HS256\"",
                                ",\"alg\":\"ES256\"", ",\"kid\":7"};
    for (size_t i = 0; i < COUNT(more); i++) {
        strcpy(set, "{\"keys\":[");
        put_jwk(set, rsa, more[i]);
        strcat(set, "]}");
        assert_false(tokens_set_keys(tokens, text_of(set)));
    }
    strcpy(set, "{\"keys\":[");
    put_jwk(set, small, "");
    strcat(set, "]}");
    assert_false(tokens_set_keys(tokens, text_of(set)));
    /* What was there before is still in force. */
    char *token =
        make_token("{\"alg\":\"ES256\",\"kid\":\"e256\"}", claims_with(""), p256, "ES256");
    assert_int_equal(check_at(tokens, token, NOW, &key), TOKEN_GOOD);
    free(token);
    tokens_free(tokens);
}

/* More tokens than are remembered: each is good all the same, the first ones again, too. */
static void forgetting_does_no_harm(void **state)
{
    (void)state;
    enum { MANY = 4400, AGAIN = 200 };
    struct tokens *tokens = open_tokens();
    char *made[AGAIN];
    const struct key *key;
    for (int i = 0; i < MANY; i++) {
        char more[64];
        snprintf(more, sizeof(more), ",\"jti\":\"%d\"", i);
        char *token = make_token("{\"alg\":\"ES256\"}", claims_with(more), p256, "ES256");
        assert_int_equal(check_at(tokens, token, NOW, &key), TOKEN_GOOD);
        if (i < AGAIN)
            made[i] = token;
        else
            free(token);
        arena_reset(&arena);
    }
    for (int i = 0; i < AGAIN; i++) {
        assert_int_equal(check_at(tokens, made[i], NOW, &key), TOKEN_GOOD);
        free(made[i]);
    }
    tokens_free(tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_of_a_key_is_good),
        cmocka_unit_test(a_token_is_a_key_of_its_tenant),
        cmocka_unit_test(subjects_are_told_apart),
        cmocka_unit_test(what_is_no_token_may_be_a_key),
        cmocka_unit_test(none_and_hmac_are_never_good),
        cmocka_unit_test(a_public_key_is_no_secret),
        cmocka_unit_test(a_key_is_used_with_its_own_algorithms_only),
        cmocka_unit_test(who_signed_it_must_be_known),
        cmocka_unit_test(a_changed_token_is_bad),
        cmocka_unit_test(letters_that_are_not_base64url_are_bad),
        cmocka_unit_test(claims_must_be_as_wanted),
        cmocka_unit_test(headers_must_be_as_wanted),
        cmocka_unit_test(a_token_has_its_time),
        cmocka_unit_test(claims_may_lie_deeper),
        cmocka_unit_test(long_tokens_are_refused),
        cmocka_unit_test(a_key_taken_back_opens_nothing),
        cmocka_unit_test(sets_of_keys_that_cannot_be_used),
        cmocka_unit_test(forgetting_does_no_harm),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
