/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "gateway/session.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const struct digest secret = {{1, 2, 3}}, key = {{4, 5, 6}}, other = {{7}};

enum { NOW = 1700000000, TTL = 3600 };

static bool good(const struct digest *by, const struct digest *of, const char *value, int64_t now)
{
    int64_t until = 0;
    bool is = session_is_good(by, of, text_of(value), now, TTL, &until);
    assert_true(!is || until == NOW + TTL);
    return is;
}

static void a_session_is_good_for_its_key_and_time(void **state)
{
    (void)state;
    char value[SESSION_BYTES];
    session_write(&secret, &key, NOW + TTL, value);
    assert_true(good(&secret, &key, value, NOW));
    assert_true(good(&secret, &key, value, NOW + TTL - 1));
    assert_false(good(&secret, &key, value, NOW + TTL));
    assert_false(good(&secret, &other, value, NOW));
    assert_false(good(&other, &key, value, NOW));
    char again[SESSION_BYTES];
    session_write(&secret, &key, NOW + TTL, again);
    assert_string_not_equal(value, again);
    /* given when sessions lasted longer, or by a clock that was wrong */
    assert_false(good(&secret, &key, value, NOW - 1));
}

static void no_byte_of_it_can_be_changed(void **state)
{
    (void)state;
    char value[SESSION_BYTES];
    session_write(&secret, &key, NOW + TTL, value);
    for (size_t i = 0; value[i]; i++) {
        char was = value[i];
        value[i] = was == '1' ? '2' : '1';
        assert_false(good(&secret, &key, value, NOW));
        value[i] = '\0';
        assert_false(good(&secret, &key, value, NOW));
        value[i] = was;
        if (was >= 'a') { /* it would be another one than that which was ended */
            value[i] = (char)(was - 0x20);
            assert_false(good(&secret, &key, value, NOW));
            value[i] = was;
        }
    }
    char longer[SESSION_BYTES + 1];
    snprintf(longer, sizeof longer, "%s0", value);
    assert_false(good(&secret, &key, longer, NOW));
    snprintf(longer, sizeof longer, "0%s", value);
    assert_false(good(&secret, &key, longer, NOW));
    static const char *const bad[] = {"",          "-", "1-", "-1-aa", "99999999999999999999-aa",
                                      "1700003600"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(good(&secret, &key, bad[i], NOW));
}

/* A request with these lines, as a browser sends it. */
static const struct head *head_of(const char *lines)
{
    static char bytes[1024];
    static struct head head;
    struct fault why;
    int len = snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", lines);
    assert_true(head_read_request((struct text){bytes, (size_t)len}, &head, &why));
    return &head;
}

static void the_cookie_is_found_among_others(void **state)
{
    (void)state;
    struct text values[SESSION_TRIED_MAX];
    const struct head *head =
        head_of("Cookie: a=b; sluice_session=one;sluice_sessions=no; x\r\n"
                "X-Cookie: sluice_session=no\r\ncookie: sluice_session=two; sluice_session\r\n");
    assert_int_equal(session_find(head, session_cookie(false), values), 2);
    assert_true(text_equal(values[0], TEXT("one")));
    assert_true(text_equal(values[1], TEXT("two")));
    head = head_of("Cookie: sluice_session=1; sluice_session=2; sluice_session=3; "
                   "sluice_session=4; sluice_session=5\r\n");
    assert_int_equal(session_find(head, session_cookie(false), values), SESSION_TRIED_MAX);
    assert_int_equal(session_find(head_of(""), session_cookie(false), values), 0);
}

/* What comes by TLS was set by TLS, by this very host. */
static void over_tls_only_the_cookie_of_this_host_counts(void **state)
{
    (void)state;
    struct text values[SESSION_TRIED_MAX];
    const struct head *head =
        head_of("Cookie: sluice_session=planted; __Host-sluice_session=ours\r\n");
    assert_int_equal(session_find(head, session_cookie(true), values), 1);
    assert_true(text_equal(values[0], TEXT("ours")));
    assert_int_equal(session_find(head, session_cookie(false), values), 1);
    assert_true(text_equal(values[0], TEXT("planted")));
    assert_int_equal(session_find(head, session_ticket_cookie(true), values), 0);
}

static bool is_person(const struct digest *by, const struct digest *of, const char *value,
                      int64_t now, struct session_person *person)
{
    bool is = session_is_person(by, of, text_of(value), now, TTL, person);
    assert_true(!is || person->until_s == NOW + TTL);
    return is;
}

static void a_persons_session_says_who_it_is(void **state)
{
    (void)state;
    struct session_person ada = {
        .role = 2, .until_s = NOW + TTL, .name = "oidc:ada.l@example.com", .tenant = "a/b.c"};
    struct session_person odd = {.role = 1, .until_s = NOW + TTL, .name = "", .tenant = ""}, read;
    char value[SESSION_PERSON_BYTES];
    memset(odd.name, 'x', SESSION_NAME_BYTES - 1);
    memset(odd.tenant, '.', SESSION_NAME_BYTES - 1);
    session_write_person(&secret, &key, &odd, value);
    assert_true(is_person(&secret, &key, value, NOW, &read));
    assert_string_equal(read.name, odd.name);
    assert_string_equal(read.tenant, odd.tenant);
    session_write_person(&secret, &key, &ada, value);
    assert_true(is_person(&secret, &key, value, NOW, &read));
    assert_int_equal(read.role, 2);
    assert_string_equal(read.name, ada.name);
    assert_string_equal(read.tenant, ada.tenant);
    assert_true(is_person(&secret, &key, value, NOW + TTL - 1, &read));
    assert_false(is_person(&secret, &key, value, NOW + TTL, &read));
    assert_false(is_person(&secret, &key, value, NOW - 1, &read));
    assert_false(is_person(&other, &key, value, NOW, &read));
    assert_false(is_person(&secret, &other, value, NOW, &read));
    assert_false(good(&secret, &key, value, NOW));
    for (size_t i = 0; value[i]; i++) {
        char was = value[i];
        value[i] = was == '1' ? '2' : '1';
        assert_false(is_person(&secret, &key, value, NOW, &read));
        value[i] = '\0';
        assert_false(is_person(&secret, &key, value, NOW, &read));
        value[i] = was;
        if (was >= 'a') { /* it would be another one than that which was ended */
            value[i] = (char)(was - 0x20);
            assert_false(good(&secret, &key, value, NOW));
            value[i] = was;
        }
    }
    static const char *const bad[] = {"", "o", "o.", "o.1.1.YQ==.YQ==.", "o......", "o.1.2.0..."};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(is_person(&secret, &key, bad[i], NOW, &read));
    char long_one[SESSION_PERSON_BYTES + 80];
    memset(long_one, 'a', sizeof long_one);
    memcpy(long_one, "o.", 2);
    long_one[sizeof long_one - 1] = '\0';
    assert_false(is_person(&secret, &key, long_one, NOW, &read));
}

static void only_our_own_pages_may_ask(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        bool may;
    } rows[] = {
        {"X-Sluice-Dashboard: 1\r\n", true},
        {"X-Sluice-Dashboard: 1\r\nSec-Fetch-Site: same-origin\r\n", true},
        {"Sec-Fetch-Site: same-origin\r\n", false},
        {"", false},
        {"X-Sluice-Dashboard: 0\r\n", false},
        {"X-Sluice-Dashboard: 1\r\nSec-Fetch-Site: same-site\r\n", false},
        {"X-Sluice-Dashboard: 1\r\nSec-Fetch-Site: cross-site\r\n", false},
        {"X-Sluice-Dashboard: 1\r\nSec-Fetch-Site: none\r\n", false},
        {"X-Sluice-Dashboard: 1\r\nSec-Fetch-Site:\r\n", false},
        {"X-Sluice-Dashboard: 1\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Site: none\r\n", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(session_may_ask(head_of(rows[i].lines)), rows[i].may);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_good_for_its_key_and_time),
        cmocka_unit_test(no_byte_of_it_can_be_changed),
        cmocka_unit_test(the_cookie_is_found_among_others),
        cmocka_unit_test(over_tls_only_the_cookie_of_this_host_counts),
        cmocka_unit_test(a_persons_session_says_who_it_is),
        cmocka_unit_test(only_our_own_pages_may_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
