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
    }
    char longer[SESSION_BYTES + 1];
    snprintf(longer, sizeof longer, "%s0", value);
    assert_false(good(&secret, &key, longer, NOW));
    snprintf(longer, sizeof longer, "0%s", value);
    /* the same number with a zero in front is the same time: it may be read, and is no other one */
    (void)good(&secret, &key, longer, NOW);
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
    assert_int_equal(session_find(head, values), 2);
    assert_true(text_equal(values[0], TEXT("one")));
    assert_true(text_equal(values[1], TEXT("two")));
    head = head_of("Cookie: sluice_session=1; sluice_session=2; sluice_session=3; "
                   "sluice_session=4; sluice_session=5\r\n");
    assert_int_equal(session_find(head, values), SESSION_TRIED_MAX);
    assert_int_equal(session_find(head_of(""), values), 0);
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
        cmocka_unit_test(only_our_own_pages_may_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
