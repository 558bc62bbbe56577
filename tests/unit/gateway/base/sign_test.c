/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include "gateway/base/sign.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { ENOUGH = 64 << 10 };

static EVP_PKEY *key;
static char pem[8192];

static void write_pem(EVP_PKEY *from, char *out, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes;
    assert_true(PEM_write_bio_PrivateKey(bio, from, NULL, NULL, 0, NULL, NULL));
    long length = BIO_get_mem_data(bio, &bytes);
    assert_true(length > 0 && (size_t)length < size);
    memcpy(out, bytes, (size_t)length);
    out[length] = '\0';
    BIO_free(bio);
}

static int make_key(void **state)
{
    (void)state;
    key = EVP_RSA_gen(2048);
    write_pem(key, pem, sizeof(pem));
    return 0;
}

static int forget_key(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

/* base64url, read back with OpenSSL's own reader. */
static size_t decode(struct text coded, unsigned char *out)
{
    char padded[8192] = "";
    size_t rest = (4 - coded.len % 4) % 4;
    assert_true(coded.len + rest < sizeof(padded));
    memcpy(padded, coded.at, coded.len);
    memcpy(padded + coded.len, "====", rest);
    for (size_t i = 0; i < coded.len; i++)
        padded[i] = padded[i] == '-' ? '+' : padded[i] == '_' ? '/' : padded[i];
    int length = EVP_DecodeBlock(out, (const unsigned char *)padded, (int)(coded.len + rest));
    assert_true(length >= 0);
    return (size_t)length - rest;
}

static bool verifies(struct text data, struct text signature)
{
    unsigned char raw[4096];
    size_t length = decode(signature, raw);
    EVP_MD_CTX *state = EVP_MD_CTX_new();
    bool good = EVP_DigestVerifyInit(state, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(state, raw, length, (const unsigned char *)data.at, data.len) == 1;
    EVP_MD_CTX_free(state);
    return good;
}

static void writes_base64url_without_padding(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *coded;
    } cases[] = {{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}, {"\xff\xef\xfe", "_-_-"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer out;
        buffer_init(&out, ENOUGH);
        sign_put_base64url(&out, cases[i].bytes, strlen(cases[i].bytes));
        assert_true(text_equal(buffer_text(&out), text_of(cases[i].coded)));
        buffer_done(&out);
    }
}

static void signs_what_its_public_key_verifies(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, ENOUGH);
    assert_true(sign_rs256(text_of(pem), TEXT("some data"), &out));
    assert_true(verifies(TEXT("some data"), buffer_text(&out)));
    assert_false(verifies(TEXT("some date"), buffer_text(&out)));
    buffer_done(&out);
}

static void makes_a_token_of_three_parts(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, ENOUGH);
    assert_true(sign_token(text_of(pem), TEXT("k\"1"), TEXT("{\"iss\":\"me\"}"), &out));
    struct text token = buffer_text(&out);
    size_t first = text_find_byte(token, '.');
    size_t second = first + 1 + text_find_byte(text_from(token, first + 1), '.');
    assert_true(verifies(text_head(token, second), text_from(token, second + 1)));
    unsigned char plain[4096];
    size_t length = decode(text_head(token, first), plain);
    struct text header = TEXT("{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"k\\\"1\"}");
    assert_true(text_equal((struct text){(char *)plain, length}, header));
    buffer_done(&out);
}

static void refuses_what_is_no_rsa_key(void **state)
{
    (void)state;
    static char other[4096];
    EVP_PKEY *curve = EVP_EC_gen("P-256");
    write_pem(curve, other, sizeof(other));
    EVP_PKEY_free(curve);
    const char *bad[] = {"", "none",
                         "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", other};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buffer out;
        buffer_init(&out, ENOUGH);
        assert_false(sign_rs256(text_of(bad[i]), TEXT("x"), &out));
        assert_false(sign_token(text_of(bad[i]), TEXT(""), TEXT("{}"), &out));
        assert_int_equal(buffer_length(&out), 0);
        buffer_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_base64url_without_padding),
        cmocka_unit_test(signs_what_its_public_key_verifies),
        cmocka_unit_test(makes_a_token_of_three_parts),
        cmocka_unit_test(refuses_what_is_no_rsa_key),
    };
    return cmocka_run_group_tests(tests, make_key, forget_key);
}
