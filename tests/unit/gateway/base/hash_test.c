/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>

#include "gateway/base/hash.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void assert_sha256(struct text data, const char *expected)
{
    char hex[HEX_BYTES];
    struct digest digest = hash_sha256(data);
    hash_hex(&digest, hex);
    assert_string_equal(hex, expected);
}

/* FIPS 180-2 appendix B, and the empty text. */
static void sha256_gives_the_published_digests(void **state)
{
    (void)state;
    assert_sha256(TEXT("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sha256(TEXT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_sha256((struct text){NULL, 0},
                  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* RFC 6455 1.3 */
static void sha1_makes_the_websocket_accept(void **state)
{
    (void)state;
    uint8_t digest[20];
    char out[32];
    hash_sha1(TEXT("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11"), digest);
    assert_int_equal(hash_base64(digest, sizeof(digest), out), 28);
    assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/* RFC 4648 10 */
static void base64_pads(void **state)
{
    (void)state;
    static const char *const expected[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                           "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t len = 0; len <= 6; len++) {
        char out[16];
        memset(out, '#', sizeof(out));
        size_t wrote = hash_base64("foobar", len, out);
        assert_int_equal(wrote, strlen(expected[len]));
        assert_string_equal(out, expected[len]);
        assert_int_equal(out[wrote + 1], '#');
    }
    char out[8];
    hash_base64("\xFB\xFF\xBF", 3, out);
    assert_string_equal(out, "+/+/");
}

static void hex_goes_both_ways(void **state)
{
    (void)state;
    struct digest digest = hash_sha256(TEXT("abc")), read;
    char hex[HEX_BYTES];
    hash_hex(&digest, hex);
    assert_true(hash_from_hex(text_of(hex), &read));
    assert_true(hash_same(&digest, &read));
    hex[0] = 'B';
    assert_true(hash_from_hex(text_of(hex), &read));
    assert_true(hash_same(&digest, &read));
    assert_false(hash_from_hex(text_head(text_of(hex), 63), &read));
    assert_false(hash_from_hex(TEXT(""), &read));
    static const char odd[] = {'g', 'G', '/', ':', '@', '`', ' ', '\0'};
    for (size_t i = 0; i < sizeof(odd); i++) {
        hex[63] = odd[i];
        assert_false(hash_from_hex((struct text){hex, 64}, &read));
    }
}

static void one_bit_makes_a_digest_another(void **state)
{
    (void)state;
    struct digest digest = hash_sha256(TEXT("abc"));
    for (size_t bit = 0; bit < 8 * (size_t)SHA256_BYTES; bit++) {
        struct digest other = digest;
        other.bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        assert_false(hash_same(&digest, &other));
    }
}

static void crc32_gives_the_check_value(void **state)
{
    (void)state;
    assert_int_equal(hash_crc32(TEXT("123456789")), 0xCBF43926);
    assert_int_equal(hash_crc32((struct text){NULL, 0}), 0);
}

static void names_hash_alike_wherever_they_stand(void **state)
{
    (void)state;
    char bytes[80];
    uint64_t seen[64];
    for (size_t len = 0; len < 64; len++) {
        memset(bytes, 0, sizeof(bytes));
        seen[len] = hash_name((struct text){bytes, len});
        assert_true(hash_name((struct text){bytes + 1, len}) == seen[len]);
        for (size_t before = 0; before < len; before++)
            assert_true(seen[before] != seen[len]); /* zeros, but another length */
        for (size_t i = 0; i < len; i++) {
            bytes[i] = 1;
            assert_true(hash_name((struct text){bytes, len}) != seen[len]);
            bytes[i] = 0;
        }
    }
}

static void random_bytes_fill_the_whole(void **state)
{
    (void)state;
    unsigned char bytes[1001], seen[1000] = {0};
    for (int round = 0; round < 20; round++) {
        bytes[1000] = 42;
        hash_random(bytes, 1000);
        assert_int_equal(bytes[1000], 42);
        for (size_t i = 0; i < 1000; i++)
            seen[i] |= bytes[i];
    }
    for (size_t i = 0; i < 1000; i++)
        assert_int_not_equal(seen[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_published_digests),
        cmocka_unit_test(sha1_makes_the_websocket_accept),
        cmocka_unit_test(base64_pads),
        cmocka_unit_test(hex_goes_both_ways),
        cmocka_unit_test(one_bit_makes_a_digest_another),
        cmocka_unit_test(crc32_gives_the_check_value),
        cmocka_unit_test(names_hash_alike_wherever_they_stand),
        cmocka_unit_test(random_bytes_fill_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
