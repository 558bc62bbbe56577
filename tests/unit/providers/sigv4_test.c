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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_of_rfc_4231),
        cmocka_unit_test(the_vanilla_request),
        cmocka_unit_test(a_call_of_bedrock_with_a_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
