/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/path.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define BYTES(literal) (literal), sizeof(literal) - 1

/* clang-format off */
static const struct {
    const char *at;
    size_t len;
    bool clean, clean_escaped; /* without and with may_escape */
} paths[] = {
    {BYTES("/"), true, true},
    {BYTES("/v1"), true, true},
    {BYTES("/v1/chat/completions"), true, true},
    {BYTES("/v1beta/models/gemini-2.0-flash:generateContent"), true, true},
    {BYTES("/v1/files/file_abc~1.txt"), true, true},
    {BYTES("/a@b/c+d/e,f/g=h"), true, true},
    {BYTES("/..."), true, true},
    {BYTES("/.a/a./a..b/..a"), true, true},
    {BYTES("/models/a%2Fb:generateContent"), false, true},
    {BYTES("/models/a%2fb%3A%40"), false, true},
    {BYTES("/models/%C3%A9"), false, true},
    {BYTES("/models/a%252Fb"), false, true},
    {BYTES(""), false, false},
    {BYTES("v1"), false, false},
    {BYTES("//"), false, false},
    {BYTES("/v1/"), false, false},
    {BYTES("//v1"), false, false},
    {BYTES("/v1//chat"), false, false},
    {BYTES("/v1/chat//"), false, false},
    {BYTES("/."), false, false},
    {BYTES("/.."), false, false},
    {BYTES("/./v1"), false, false},
    {BYTES("/v1/."), false, false},
    {BYTES("/v1/.."), false, false},
    {BYTES("/v1/../admin"), false, false},
    {BYTES("/../v1"), false, false},
    {BYTES("/%2e"), false, false},
    {BYTES("/v1/%2e%2e/admin"), false, false},
    {BYTES("/v1/%2E%2E/admin"), false, false},
    {BYTES("/v1/.%2e/admin"), false, false},
    {BYTES("/v1/%2e./admin"), false, false},
    {BYTES("/v1/%00"), false, false},
    {BYTES("/v1/a%0d%0ab"), false, false},
    {BYTES("/v1/%1b"), false, false},
    {BYTES("/v1/%7f"), false, false},
    {BYTES("/v1/%"), false, false},
    {BYTES("/v1/%2"), false, false},
    {BYTES("/v1/%2/a"), false, false},
    {BYTES("/v1/%zz"), false, false},
    {BYTES("/v1/%u002e"), false, false},
    {BYTES("/v1;a=b"), false, false},
    {BYTES("/v1/chat;/completions"), false, false},
    {BYTES("/v1/..;/admin"), false, false},
    {BYTES("/v1\\chat"), false, false},
    {BYTES("\\v1"), false, false},
    {BYTES("/v1/*"), false, false},
    {BYTES("/v1/'"), false, false},
    {BYTES("/v1/\""), false, false},
    {BYTES("/v1/a b"), false, false},
    {BYTES("/v1?a"), false, false},
    {BYTES("/v1#a"), false, false},
    {BYTES("/v1/(a)"), false, false},
    {BYTES("/v1/!"), false, false},
    {BYTES("/v1/$a"), false, false},
    {BYTES("/v1/a&b"), false, false},
    {BYTES("/v1/a|b"), false, false},
    {BYTES("/v1/[a]"), false, false},
    {BYTES("/v1/{a}"), false, false},
    {BYTES("/v1/<a>"), false, false},
    {BYTES("/v1/\xc3\xa9"), false, false},
    {BYTES("/v1/\xc0\xae\xc0\xae/admin"), false, false},
    {BYTES("/v1/\xef\xbc\x8e"), false, false},
    {BYTES("/v1\0"), false, false},
    {BYTES("/v1/a\0b"), false, false},
    {BYTES("/v1/a\tb"), false, false},
    {BYTES("/v1/a\nb"), false, false},
    {BYTES("/v1/a\x7f"), false, false},
};

static const struct {
    const char *at;
    size_t len;
    const char *want; /* NULL = refused */
} segments[] = {
    {BYTES("gpt-4o"), "gpt-4o"},
    {BYTES("a%2Fb"), "a/b"},
    {BYTES("a%2fb%3Ac%40d"), "a/b:c@d"},
    {BYTES("a/b"), "a/b"},
    {BYTES("%41%62"), "Ab"},
    {BYTES("a+b"), "a+b"},
    {BYTES("a%20b"), "a b"},
    {BYTES("%C3%A9"), "\xc3\xa9"},
    {BYTES("..."), "..."},
    {BYTES(""), NULL},
    {BYTES("%"), NULL},
    {BYTES("a%2"), NULL},
    {BYTES("a%g0"), NULL},
    {BYTES("%00"), NULL},
    {BYTES("a%0Ab"), NULL},
    {BYTES("a%09b"), NULL},
    {BYTES("a%7F"), NULL},
    {BYTES("a\0b"), NULL},
    {BYTES("%80"), NULL},
    {BYTES("%C0%AE"), NULL},       /* an overlong dot */
    {BYTES("%E0%80%AE"), NULL},
    {BYTES("%ED%A0%80"), NULL},    /* a surrogate */
    {BYTES("%F4%90%80%80"), NULL}, /* beyond the last character */
    {BYTES("%C3"), NULL},
    {BYTES("."), NULL},
    {BYTES(".."), NULL},
    {BYTES("%2e%2e"), NULL},
    {BYTES("%252e%252e"), NULL},   /* whoever decodes it again must not climb */
    {BYTES("..%2F..%2Fadmin"), NULL},
    {BYTES("a%2F..%2Fb"), NULL},
    {BYTES("a%2525"), NULL},
    {BYTES("a%252F..%252Fb"), NULL},
    {BYTES("a%5C..%5Cb"), NULL},
    {BYTES("a%2F"), NULL},
    {BYTES("%2Fa"), NULL},
    {BYTES("a%2F%2Fb"), NULL},
};
/* clang-format on */

static void only_clean_paths_are_routed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct text path = {paths[i].at, paths[i].len};
        if (path_is_clean(path, false) != paths[i].clean ||
            path_is_clean(path, true) != paths[i].clean_escaped)
            fail_msg("%s", paths[i].at);
    }
}

static void names_are_decoded_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++) {
        struct text segment = {segments[i].at, segments[i].len};
        char *out = malloc(segment.len ? segment.len : 1);
        size_t len = 0;
        bool fine = path_decode(segment, out, &len);
        if (fine != (segments[i].want != NULL) ||
            (fine && !text_equal((struct text){out, len}, text_of(segments[i].want))))
            fail_msg("%s", segments[i].at);
        free(out);
    }
}

static void queries_are_searched(void **state)
{
    static const struct {
        const char *query, *want; /* NULL = absent */
        bool repeated;
    } rows[] = {
        {"", NULL, false},
        {"key=a", "a", false},
        {"x=1&key=a&y=2", "a", false},
        {"key=", "", false},
        {"key", "", false},
        {"key=a=b", "a=b", false},
        {"key=a%20b", "a%20b", false},
        {"&&key=a&&", "a", false},
        {"Key=a", NULL, false},
        {"keys=a", NULL, false},
        {"ke=a", NULL, false},
        {"=key", NULL, false},
        {"x=key=a", NULL, false},
        {"x=1;key=a", NULL, false},
        {"key=a&key=a", "a", true},
        {"key=a&key=b", "a", true},
        {"key=a&x=1&key", "a", true},
        {"k%65y=a", "a", false},
        {"key=a&k%65y=b", "a", true},
        {"%6B%65%79=a", "a", false},
        {"k%6=a", NULL, false},
        {"key%00=a", NULL, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct text value = {NULL, 0};
        bool repeated = true;
        bool found = query_find(text_of(rows[i].query), TEXT("key"), &value, &repeated);
        if (found != (rows[i].want != NULL) || repeated != rows[i].repeated ||
            (found && !text_equal(value, text_of(rows[i].want))))
            fail_msg("%s", rows[i].query);
    }
}

#define GET      "GET /x HTTP/1.1\r\nHost: a\r\n"
#define KEY_64   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KEY_512  KEY_64 KEY_64 KEY_64 KEY_64 KEY_64 KEY_64 KEY_64 KEY_64
#define KEY_4096 KEY_512 KEY_512 KEY_512 KEY_512 KEY_512 KEY_512 KEY_512 KEY_512

/* clang-format off */
static const struct {
    const char *head, *want; /* NULL = refused, "" = none */
    bool query_key;
} credentials[] = {
    {GET, "", false},
    {GET "Authorization: Bearer sk-a\r\n", "sk-a", false},
    {GET "authorization: bearer sk-a\r\n", "sk-a", false},
    {GET "AUTHORIZATION: BEARER sk-a\r\n", "sk-a", false},
    {GET "Authorization:Bearer sk-a \t\r\n", "sk-a", false},
    {GET "Authorization: Bearer a-._~+/=:Z9\r\n", "a-._~+/=:Z9", false},
    {GET "x-api-key: k\r\n", "k", false},
    {GET "X-Api-Key: k\r\n", "k", false},
    {GET "api-key: k\r\n", "k", false},
    {GET "x-goog-api-key: k\r\n", "k", false},
    {GET "x-api-key: k\r\nAuthorization: Bearer k\r\n", "k", false},
    {GET "x-api-key: k\r\napi-key: k\r\nx-goog-api-key: k\r\nAuthorization: Bearer k\r\n", "k", false},
    {GET "x-api-key: " KEY_4096 KEY_4096 "\r\n",
     KEY_4096 KEY_4096, false},
    {GET "Proxy-Authorization: Basic eDp5\r\nCookie: key=x\r\nX-Api-Keys: k\r\n", "", false},
    {"GET /x?key=k HTTP/1.1\r\nHost: a\r\n", "", false},
    {"GET /x?key=k HTTP/1.1\r\nHost: a\r\n", "k", true},
    {"GET /x?a=b&key=k HTTP/1.1\r\nHost: a\r\nx-goog-api-key: k\r\n", "k", true},
    {"GET /x?key=k&key=l HTTP/1.1\r\nHost: a\r\nx-api-key: k\r\n", "k", false},

    {GET "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", NULL, false},
    {GET "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", NULL, false},
    {GET "Authorization: Bearer a\r\nauthorization: Basic b\r\n", NULL, false},
    {GET "Authorization:\r\nAuthorization: Bearer a\r\n", NULL, false},
    {GET "x-api-key: k\r\nx-api-key: k\r\n", NULL, false},
    {GET "api-key: k\r\napi-key: l\r\n", NULL, false},
    {GET "x-api-key: k\r\nAuthorization: Bearer l\r\n", NULL, false},
    {GET "x-api-key: k\r\nx-goog-api-key: K\r\n", NULL, false},
    {GET "x-api-key: k\r\nAuthorization: Bearer k2\r\n", NULL, false},
    {GET "x-api-key: k\r\nAuthorization:\r\n", NULL, false},
    {GET "x-api-key: k\r\nAuthorization: Basic eDp5\r\n", NULL, false},
    {GET "Authorization:\r\n", NULL, false},
    {GET "Authorization: \r\n", NULL, false},
    {GET "Authorization: Bearer\r\n", NULL, false},
    {GET "Authorization: Bearer \r\n", NULL, false},
    {GET "Authorization: Bearer  a\r\n", NULL, false},
    {GET "Authorization: Bearer\ta\r\n", NULL, false},
    {GET "Authorization: Bearer \ta\r\n", NULL, false},
    {GET "Authorization: Bearer a b\r\n", NULL, false},
    {GET "Authorization: Bearer a\tb\r\n", NULL, false},
    {GET "Authorization: Bearer a, Bearer b\r\n", NULL, false},
    {GET "Authorization: Bearer a,b\r\n", NULL, false},
    {GET "Authorization: Bearer a;b\r\n", NULL, false},
    {GET "Authorization: Bearer \"a\"\r\n", NULL, false},
    {GET "Authorization: Bearer 'a'\r\n", NULL, false},
    {GET "Authorization: Bearer a' OR '1'='1\r\n", NULL, false},
    {GET "Authorization: Bearer a*\r\n", NULL, false},
    {GET "Authorization: Bearer %61\r\n", NULL, false},
    {GET "Authorization: Bearer a%00\r\n", NULL, false},
    {GET "Authorization: Bearer a\\b\r\n", NULL, false},
    {GET "Authorization: Bearer a\xe9\r\n", NULL, false},
    {GET "Authorization: Bearer a\xc2\xa0\r\n", NULL, false},
    {GET "Authorization: Bearer Bearer a\r\n", NULL, false},
    {GET "Authorization: Bearer:a\r\n", NULL, false},
    {GET "Authorization: Bearer=a\r\n", NULL, false},
    {GET "Authorization: Bearera\r\n", NULL, false},
    {GET "Authorization: xBearer a\r\n", NULL, false},
    {GET "Authorization: a\r\n", NULL, false},
    {GET "Authorization: Basic eDp5\r\n", NULL, false},
    {GET "Authorization: Digest username=\"a\"\r\n", NULL, false},
    {GET "Authorization: Negotiate a\r\n", NULL, false},
    {GET "Authorization: Token a\r\n", NULL, false},
    {GET "x-api-key:\r\n", NULL, false},
    {GET "x-api-key:  \r\n", NULL, false},
    {GET "x-api-key: Bearer a\r\n", NULL, false},
    {GET "x-api-key: a,b\r\n", NULL, false},
    {GET "api-key: a b\r\n", NULL, false},
    {GET "x-goog-api-key: {a}\r\n", NULL, false},
    {GET "x-api-key: " KEY_4096 KEY_4096 "x\r\n", NULL, false},
    {"GET /x?key= HTTP/1.1\r\nHost: a\r\n", NULL, true},
    {"GET /x?key HTTP/1.1\r\nHost: a\r\n", NULL, true},
    {"GET /x?key=k&key=k HTTP/1.1\r\nHost: a\r\n", NULL, true},
    {"GET /x?key=k&%6bey=l HTTP/1.1\r\nHost: a\r\n", NULL, true},
    {"GET /x?key=%6b HTTP/1.1\r\nHost: a\r\n", NULL, true},
    {"GET /x?key=k HTTP/1.1\r\nHost: a\r\nx-goog-api-key: l\r\n", NULL, true},
};
/* clang-format on */

static void one_key_is_found_or_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(credentials) / sizeof(credentials[0]); i++) {
        char z[16384];
        struct head head;
        struct fault why;
        struct text key = {NULL, 0};
        const char *want = credentials[i].want;
        int len = snprintf(z, sizeof(z), "%s\r\n", credentials[i].head);
        if (!head_read_request((struct text){z, (size_t)len}, &head, &why))
            fail_msg("%s: %s", z, why.text);
        enum credential_result result = credential_find(&head, credentials[i].query_key, &key);
        enum credential_result wanted = !want   ? CREDENTIAL_REFUSED
                                        : *want ? CREDENTIAL_FOUND
                                                : CREDENTIAL_NONE;
        if (result != wanted || (want && *want && !text_equal(key, text_of(want))))
            fail_msg("%d instead of %d: %s", result, wanted, z);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_clean_paths_are_routed),
        cmocka_unit_test(names_are_decoded_once),
        cmocka_unit_test(queries_are_searched),
        cmocka_unit_test(one_key_is_found_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
