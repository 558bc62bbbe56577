/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "gateway/http/forwarded.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void networks_are_read(void **state)
{
    (void)state;
    static const char *const good[] = {"10.0.0.0/8",  "10.1.2.3",
                                       "0.0.0.0/0",   "192.168.4.0/22",
                                       "10.1.2.3/32", "2001:db8::/32",
                                       "::1",         "::/0",
                                       "fe80::/10",   "::ffff:10.0.0.0/104",
                                       "128.0.0.0/1", "2001:db8::1/128"};
    static const char *const bad[] = {
        "",          "10.0.0.1/8", "10.0.0.0/33",    "10.0.0.0/",   "10.0.0.0/-1", "10.0.0/8",
        "localhost", "::1/129",    "2001:db8::1/32", "10.0.0.0/8 ", "/8",          "10.0.0.0/8/8",
        "[::1]",     "10.0.0.300", "10.0.0.0/+8",    "10.0.0.0/0x8"};
    struct network network;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!network_read(text_of(good[i]), &network))
            fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (network_read(text_of(bad[i]), &network))
            fail_msg("%s is taken", bad[i]);
    assert_false(network_read((struct text){"10.0.0.1\0", 9}, &network));
}

static bool is_in(const char *network, const char *peer)
{
    struct network one;
    assert_true(network_read(text_of(network), &one));
    struct networks all = {&one, 1, false};
    return networks_have(&all, text_of(peer));
}

static void a_peer_is_found_by_all_bits_of_its_network(void **state)
{
    (void)state;
    assert_true(is_in("10.0.0.0/8", "10.255.0.1"));
    assert_false(is_in("10.0.0.0/8", "11.0.0.0"));
    assert_true(is_in("192.168.4.0/22", "192.168.7.255"));
    assert_false(is_in("192.168.4.0/22", "192.168.8.0"));
    assert_true(is_in("0.0.0.0/0", "203.0.113.9"));
    assert_false(is_in("0.0.0.0/0", "2001:db8::1"));
    assert_true(is_in("::/0", "203.0.113.9"));           /* IPv4 is a part of it */
    assert_true(is_in("10.0.0.0/8", "::ffff:10.1.1.1")); /* as a socket of both kinds names it */
    assert_true(is_in("fe80::/10", "febf::1"));
    assert_false(is_in("fe80::/10", "fec0::1"));
    assert_false(is_in("::/0", "unix"));
    assert_false(is_in("::/0", "10.0.0.0.1"));
    struct networks local = {NULL, 0, true};
    assert_true(networks_have(&local, TEXT("unix")));
    assert_false(networks_have(&local, TEXT("10.0.0.1")));
}

struct row {
    const char *head, *client; /* "" = nobody says anything */
};

static const struct row rows[] = {
    {"", ""},
    {"X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7"},
    {"x-forwarded-for: 198.51.100.1, 203.0.113.7, 10.0.0.2\r\n", "203.0.113.7"},
    {"X-Forwarded-For: 198.51.100.1,203.0.113.7\r\n", "203.0.113.7"}, /* the first is made up */
    {"X-Forwarded-For: 10.0.0.3,10.0.0.2\r\n", "10.0.0.3"},
    {"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.2\r\n", "203.0.113.7"},
    {"X-Forwarded-For: 203.0.113.7:4242\r\n", "203.0.113.7"},
    {"X-Forwarded-For: [2001:db8::7]:4242, 10.0.0.2:1\r\n", "2001:db8::7"},
    {"X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"},
    {"X-Forwarded-For: unknown\r\n", ""},
    {"X-Forwarded-For: 203.0.113.7, unknown, 10.0.0.2\r\n", "10.0.0.2"},
    {"X-Forwarded-For: <script>\r\n", ""},
    {"X-Forwarded-For: ,\r\n", ""},
    {"X-Forwarded-For:\r\n", ""},
    {"Forwarded: for=203.0.113.7;proto=https\r\n", "203.0.113.7"},
    {"Forwarded: for=203.0.113.7, For=\"[2001:db8::7]:4711\"; by=10.0.0.2\r\n", "2001:db8::7"},
    {"Forwarded: for=203.0.113.7, for=10.0.0.2\r\n", "203.0.113.7"},
    {"Forwarded: for=_hidden\r\n", ""},
    /* what a client has put into its Host */
    {"Forwarded: host=\"a;for=6.6.6.6;b\";for=203.0.113.7\r\n", ""},
    {"Forwarded: for=203.0.113.7;host=\"a,for=6.6.6.6\"\r\n", ""},
    {"Forwarded: for=203.0.113.7;host=\"a\\\",for=6.6.6.6\"\r\n", ""},
    {"Forwarded: for=\"203.0.113.7\r\n", ""},
    {"Forwarded: proto=https\r\n", ""},
    {"Forwarded: for=203.0.113.8\r\nX-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7"},
};

static void read_head(const char *fields, struct head *head)
{
    static char bytes[4096];
    struct fault why = {0};
    snprintf(bytes, sizeof(bytes), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
    assert_true(head_read_request(text_of(bytes), head, &why));
}

static void the_last_hop_that_is_not_trusted_is_the_client(void **state)
{
    (void)state;
    struct network ten;
    assert_true(network_read(TEXT("10.0.0.0/8"), &ten));
    struct networks trusted = {&ten, 1, false};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct head head;
        char client[FORWARDED_PEER_BYTES] = "";
        read_head(rows[i].head, &head);
        bool found = forwarded_client(&head, &trusted, client);
        if (strcmp(client, rows[i].client) != 0 || found != (rows[i].client[0] != '\0'))
            fail_msg("%s: %s instead of %s", rows[i].head, client, rows[i].client);
    }
}

static void only_so_many_hops_are_believed(void **state)
{
    (void)state;
    struct network ten;
    assert_true(network_read(TEXT("10.0.0.0/8"), &ten));
    struct networks trusted = {&ten, 1, false};
    char fields[2048] = "X-Forwarded-For: 203.0.113.7", client[FORWARDED_PEER_BYTES] = "";
    struct head head;
    for (int i = 0; i < FORWARDED_HOPS_MAX; i++) {
        size_t len = strlen(fields);
        snprintf(fields + len, sizeof(fields) - len, ", 10.0.0.%d", FORWARDED_HOPS_MAX - i);
    }
    snprintf(fields + strlen(fields), sizeof(fields) - strlen(fields), "\r\n");
    read_head(fields, &head);
    assert_true(forwarded_client(&head, &trusted, client));
    assert_string_equal(client, "10.0.0.32");
}

static void the_last_proxy_says_whether_it_was_tls(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        bool https;
    } said[] = {
        {"", false},
        {"X-Forwarded-Proto: https\r\n", true},
        {"X-Forwarded-Proto: http\r\n", false},
        {"X-Forwarded-Proto: http, HTTPS\r\n", true},
        {"X-Forwarded-Proto: https, http\r\n", false},
        {"Forwarded: for=1.2.3.4;proto=https\r\n", true},
        {"Forwarded: proto=https, for=1.2.3.4;Proto=\"http\"\r\n", false},
        {"Forwarded: proto=http\r\nX-Forwarded-Proto: https\r\n", true},
    };
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        struct head head;
        read_head(said[i].head, &head);
        if (forwarded_https(&head) != said[i].https)
            fail_msg("%s", said[i].head);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_are_read),
        cmocka_unit_test(a_peer_is_found_by_all_bits_of_its_network),
        cmocka_unit_test(the_last_hop_that_is_not_trusted_is_the_client),
        cmocka_unit_test(only_so_many_hops_are_believed),
        cmocka_unit_test(the_last_proxy_says_whether_it_was_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
