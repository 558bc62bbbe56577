/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

#include "gateway/wire/dns.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static bool forbids(const char *address)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
        return dns_is_forbidden((const struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
    return dns_is_forbidden((const struct sockaddr *)&v6);
}

static void metadata_and_link_local_are_forbidden_in_every_dress(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "169.254.169.254",
        "169.254.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::169.254.169.254",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (!forbids(bad[i]))
            print_error("%s is let through\n", bad[i]);
        assert_true(forbids(bad[i]));
    }
}

static void loopback_private_and_public_are_the_operators_choice(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1", "::1",         "10.0.0.1", "192.168.1.1",
                                       "8.8.8.8",   "2001:db8::1", "fd12::1",  "::ffff:10.0.0.1",
                                       "100.64.0.1"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_false(forbids(good[i]));
}

struct question {
    struct dns_query query;
    struct loop *loop;
    size_t count;
    int family;
    uint16_t port;
    bool answered;
};

static void on_answer(struct dns_query *query, const struct dns_address *addresses, size_t count,
                      const char *why)
{
    struct question *question = (struct question *)(void *)query;
    question->answered = true;
    question->count = count;
    assert_true(count > 0 || why);
    if (count) {
        const struct sockaddr_in *first = (const struct sockaddr_in *)&addresses[0].address;
        question->family = first->sin_family;
        question->port = ntohs(first->sin_port); /* at the same place in both families */
    }
    loop_stop(question->loop);
}

static struct question ask(const char *host, bool at_once)
{
    struct loop *loop = loop_new();
    struct dns *dns = dns_new(loop);
    struct question question = {.query.on_answer = on_answer, .loop = loop};
    dns_ask(dns, host, 8080, &question.query);
    if (at_once)
        assert_true(question.answered);
    else if (!question.answered)
        loop_run(loop, NULL, NULL);
    dns_free(dns);
    loop_free(loop);
    return question;
}

static void addresses_are_answered_without_asking(void **state)
{
    (void)state;
    struct question v4 = ask("127.0.0.1", true), v6 = ask("::1", true);
    assert_int_equal(v4.count, 1);
    assert_int_equal(v4.family, AF_INET);
    assert_int_equal(v4.port, 8080);
    assert_int_equal(v6.family, AF_INET6);
    assert_int_equal(v6.port, 8080);
}

static void localhost_is_found(void **state)
{
    (void)state;
    struct question question = ask("localhost", false);
    assert_true(question.count > 0);
    assert_int_equal(question.port, 8080);
}

static void without_a_descriptor_a_name_has_no_address_for_now(void **state)
{
    (void)state;
    struct rlimit files;
    struct loop *loop = loop_new();
    struct dns *dns = dns_new(loop);
    struct question first = {.query.on_answer = on_answer, .loop = loop}, second = first;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = files.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    dns_ask(dns, "first.invalid", 8080, &first.query);
    if (!first.answered)
        loop_run(loop, NULL, NULL);
    setrlimit(RLIMIT_NOFILE, &files);
    assert_true(first.answered);
    assert_int_equal(first.count, 0);
    dns_ask(dns, "localhost", 8080, &second.query);
    if (!second.answered)
        loop_run(loop, NULL, NULL);
    assert_true(second.count > 0);
    dns_free(dns);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_and_link_local_are_forbidden_in_every_dress),
        cmocka_unit_test(loopback_private_and_public_are_the_operators_choice),
        cmocka_unit_test(addresses_are_answered_without_asking),
        cmocka_unit_test(localhost_is_found),
        cmocka_unit_test(without_a_descriptor_a_name_has_no_address_for_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
