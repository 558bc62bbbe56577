/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Signatures against AWS' own published examples ("Signature Version 4 test suite":
 * get-vanilla), and a call of Bedrock that botocore 1.44 signed.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gateway/base/hash.h"
#include "providers/sigv4.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { EXAMPLE_TIME = 1440938160 }; /* 20150830T123600Z */

static const struct sigv4_credentials example = {
    .access_key = {"AKIDEXAMPLE", 11},
    .secret_key = {"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 40},
    .region = {"us-east-1", 9},
    .service = {"service", 7},
};

static void expect(const struct sigv4_credentials *credentials, const struct sigv4_request *request,
                   const char *expected)
{
    struct buffer out;
    buffer_init(&out, 16384);
    sigv4_put_fields(&out, credentials, request, EXAMPLE_TIME);
    struct text made = buffer_text(&out);
    if (!text_equal(made, text_of(expected)))
        print_error("%.*s\n", TEXT_ARGS(made));
    assert_true(text_equal(made, text_of(expected)));
    buffer_done(&out);
}

static void the_vanilla_request(void **state)
{
    (void)state;
    struct sigv4_request request = {
        .method = TEXT("GET"), .host = TEXT("example.amazonaws.com"), .path = TEXT("/")};
    expect(&example, &request,
           "X-Amz-Date: 20150830T123600Z\r\n"
           "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/"
           "aws4_request, SignedHeaders=host;x-amz-date, Signature="
           "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\r\n");
}

static void codes_are_of_rfc_4231(void **state)
{
    (void)state;
    char hex[HEX_BYTES];
    struct digest digest = hash_hmac_sha256(TEXT("Jefe"), TEXT("what do ya want for nothing?"));
    hash_hex(&digest, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    char key[131];
    memset(key, 0xaa, sizeof(key));
    digest = hash_hmac_sha256((struct text){key, sizeof(key)},
                              TEXT("Test Using Larger Than Block-Size Key - Hash Key First"));
    hash_hex(&digest, hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void a_call_of_bedrock_with_a_session(void **state)
{
    (void)state;
    struct sigv4_credentials credentials = example;
    credentials.service = TEXT("bedrock");
    credentials.session_token = TEXT("TOKEN/+=");
    struct sigv4_request request = {.method = TEXT("POST"),
                                    .host = TEXT("bedrock-runtime.us-east-1.amazonaws.com"),
                                    .path = TEXT("/model/anthropic.claude-3%3A0/converse"),
                                    .content_type = TEXT("application/json"),
                                    .body = TEXT("{\"messages\":[]}")};
    expect(&credentials, &request,
           "X-Amz-Date: 20150830T123600Z\r\n"
           "X-Amz-Security-Token: TOKEN/+=\r\n"
           "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/bedrock/"
           "aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "
           "Signature=155f3e96dde848bcf25e410ee1fe4fd7cca5764342a39f2d8868cc048b7177ce\r\n");
}

/* The same request, by who reads it. */
static bool holds(const char *authorization, const char *stamp, const char *path, const char *query,
                  const char *body)
{
    struct sigv4_claim claim;
    struct buffer form;
    char hex[HEX_BYTES];
    struct digest digest = hash_sha256(text_of(body));
    hash_hex(&digest, hex);
    if (!sigv4_read_claim(text_of(authorization), &claim))
        return false;
    buffer_init(&form, 16384);
    sigv4_put_begin(&form, TEXT("GET"), text_of(path), text_of(query));
    sigv4_put_field(&form, TEXT("host"), TEXT(" example.amazonaws.com "));
    sigv4_put_field(&form, TEXT("x-amz-date"), text_of(stamp));
    sigv4_put_end(&form, &claim);
    bool good =
        sigv4_holds(&claim, buffer_text(&form), text_of(hex), text_of(stamp), example.secret_key);
    buffer_done(&form);
    return good;
}

#define VANILLA                                                                         \
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, " \
    "SignedHeaders=host;x-amz-date, "                                                   \
    "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"

static void a_signature_is_verified(void **state)
{
    (void)state;
    static const char stamp[] = "20150830T123600Z";
    assert_true(holds(VANILLA, stamp, "/", "", ""));
    assert_false(holds(VANILLA, stamp, "/", "", "x"));
    assert_false(holds(VANILLA, stamp, "/x", "", ""));
    assert_false(holds(VANILLA, "20150830T123601Z", "/", "", ""));
    assert_false(holds(VANILLA, stamp, "/", "a=1", ""));
    /* get-vanilla-query-order-key-case of the same suite */
    static const char ordered[] =
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, "
        "Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
    assert_true(holds(ordered, stamp, "/", "Param2=value2&Param1=value1", ""));
}

static void a_claim_is_read_strictly(void **state)
{
    (void)state;
    struct sigv4_claim claim;
    assert_true(sigv4_read_claim(TEXT(VANILLA), &claim));
    assert_true(text_equal(claim.access_key, TEXT("AKIDEXAMPLE")));
    assert_true(sigv4_signs(&claim, TEXT("host")) && !sigv4_signs(&claim, TEXT("hos")));
    static const char *const bad[] = {
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256x Credential=a/20150830/r/s/aws4_request",
        "AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, SignedHeaders=host",
        VANILLA ", Signature=0",
        VANILLA ", More=1",
        "AWS4-HMAC-SHA256 Credential=/20150830/r/s/aws4_request, SignedHeaders=host, Signature="
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        "AWS4-HMAC-SHA256 Credential=a/2015083/r/s/aws4_request, SignedHeaders=host, Signature="
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        "AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, SignedHeaders=host, Signature="
        "5FA00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(sigv4_read_claim(text_of(bad[i]), &claim));
    assert_int_equal(sigv4_time(TEXT("20150830T123600Z")), EXAMPLE_TIME);
    assert_int_equal(sigv4_time(TEXT("20150830T123600")), -1);
    assert_int_equal(sigv4_time(TEXT("2015083xT123600Z")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_of_rfc_4231),
        cmocka_unit_test(the_vanilla_request),
        cmocka_unit_test(a_call_of_bedrock_with_a_session),
        cmocka_unit_test(a_signature_is_verified),
        cmocka_unit_test(a_claim_is_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
