/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/url.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void good_urls_are_taken_apart(void **state)
{
    static const struct {
        const char *from;
        bool tls, is_unix;
        const char *user, *host;
        unsigned port;
        const char *path;
    } rows[] = {
        {"http://a", false, false, "", "a", 80, ""},
        {"http://a/", false, false, "", "a", 80, ""},
        {"https://api.openai.com/v1", true, false, "", "api.openai.com", 443, "/v1"},
        {"https://api.openai.com/v1/", true, false, "", "api.openai.com", 443, "/v1"},
        {"HTTPS://A.b:8443/x/y", true, false, "", "A.b", 8443, "/x/y"},
        {"http://127.0.0.1:8000/v1", false, false, "", "127.0.0.1", 8000, "/v1"},
        {"http://[::1]:8000", false, false, "", "::1", 8000, ""},
        {"https://[2001:db8::1]/v1", true, false, "", "2001:db8::1", 443, "/v1"},
        {"ws://a/r", false, false, "", "a", 80, "/r"},
        {"wss://a", true, false, "", "a", 443, ""},
        {"http://me:se%40cret@proxy:3128", false, false, "me:se%40cret", "proxy", 3128, ""},
        {"http://me@proxy", false, false, "me", "proxy", 80, ""},
        {"http://my_host/a%20b", false, false, "", "my_host", 80, "/a%20b"},
        {"http+unix:///run/s.sock", false, true, "", "/run/s.sock", 0, ""},
        {"http+unix:///run/s.sock:/v1", false, true, "", "/run/s.sock", 0, "/v1"},
        {"http+unix:///run/s.sock:/v1/", false, true, "", "/run/s.sock", 0, "/v1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct url url;
        const char *problem = NULL;
        if (!url_read(text_of(rows[i].from), &url, &problem))
            fail_msg("%s: %s", rows[i].from, problem);
        if (url.tls != rows[i].tls || url.is_unix != rows[i].is_unix ||
            !text_equal(url.user, text_of(rows[i].user)) ||
            !text_equal(url.host, text_of(rows[i].host)) || url.port != rows[i].port ||
            !text_equal(url.path, text_of(rows[i].path)))
            fail_msg("%s: %.*s %.*s %u %.*s", rows[i].from, TEXT_ARGS(url.user),
                     TEXT_ARGS(url.host), url.port, TEXT_ARGS(url.path));
    }
}

#define LONG "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void bad_urls_are_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "a",
        "//a",
        "a:80",
        "ftp://a",
        "http:/a",
        "http:a",
        "http://",
        "http:///v1",
        "http://:80",
        "http://a:",
        "http://a:0",
        "http://a:65536",
        "http://a:80:80",
        "http://a:x",
        "http://a b",
        " http://a",
        "http://a ",
        "http://a\n",
        "http://a\\b",
        "http://a?x",
        "http://a/?x=y",
        "http://a/v1?x=y",
        "http://a/v1#x",
        "http://a#x",
        "http://a//v1",
        "http://a//",
        "http+unix:///run/s.sock://",
        "http://a/v1//",
        "http://a/v1/../x",
        "http://a/.",
        "http://a/%2e%2e/x",
        "http://a/%zz",
        "http://a/%",
        "http://a/{x}",
        "http://\xc3\xa9/",
        "http://a/\xc3\xa9",
        "http://a..b",
        "http://.a",
        "http://[::1",
        "http://[::1]x",
        "http://[x]",
        "http://[]",
        "http://::1/",
        "http://[fe80::1%25eth0]/",
        "http://@a",
        "http://u@",
        "http://u:p@b@c",
        "http://u p@a",
        "http://u[@a",
        "http+unix://",
        "http+unix://run/s.sock",
        "http+unix:///",
        "http+unix:///run/s\nsock",
        "http+unix:///run/s.sock:v1",
        "http+unix:///run/s.sock:/v1?x",
        "http+unix:///" LONG LONG LONG,
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct url url;
        const char *problem = NULL;
        if (url_read(text_of(rows[i]), &url, &problem))
            fail_msg("taken: %s", rows[i]);
        assert_non_null(problem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_urls_are_taken_apart),
        cmocka_unit_test(bad_urls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
