/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "gateway/http/proxy.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

struct row {
    struct text bytes;
    enum proxy_result result;
    const char *peer; /* "" = left as it was */
};

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static const struct row rows[] = {
    {{"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", 42}, PROXY_READ_DONE, "192.0.2.1"},
    {{"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", 40}, PROXY_READ_DONE, "2001:db8::1"},
    {{"PROXY UNKNOWN\r\n", 15}, PROXY_READ_DONE, ""},
    {{"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n", 38}, PROXY_READ_BAD, ""},
    {{"PROXY TCP4 192.0.2.300 192.0.2.2 1 2\r\n", 38}, PROXY_READ_BAD, ""},
    {{"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", 40}, PROXY_READ_BAD, ""},
    {{"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n", 38}, PROXY_READ_BAD, ""},
    {{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", 38}, PROXY_READ_BAD, ""},
    {{"GET / HTTP/1.1\r\n", 16}, PROXY_READ_BAD, ""},
    {{V2 "\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x02\x12\x34\x01\xbb", 28},
     PROXY_READ_DONE,
     "192.0.2.7"},
    {{V2 "\x20\0\0\0", 16}, PROXY_READ_DONE, ""},
    {{V2 "\x21\x11\0\x04\xc0\0\x02\x07", 20}, PROXY_READ_BAD, ""},
    {{V2 "\x31\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x02\x12\x34\x01\xbb", 28}, PROXY_READ_BAD, ""},
    {{V2 "\x21\x11\xff\xff\xc0\0\x02\x07", 20}, PROXY_READ_BAD, ""},
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void headers_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        char peer[PROXY_PEER_BYTES] = "";
        size_t length = 0;
        enum proxy_result result = proxy_read(rows[i].bytes, true, true, &length, peer);
        if (result != rows[i].result)
            print_error("row %zu\n", i);
        assert_int_equal(result, rows[i].result);
        if (result != PROXY_READ_DONE)
            continue;
        assert_int_equal(length, rows[i].bytes.len);
        assert_string_equal(peer, rows[i].peer);
    }
}

static void every_cut_waits_for_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        char peer[PROXY_PEER_BYTES] = "";
        size_t length;
        if (rows[i].result != PROXY_READ_DONE)
            continue;
        for (size_t cut = 0; cut < rows[i].bytes.len; cut++)
            assert_int_equal(proxy_read(text_head(rows[i].bytes, cut), true, true, &length, peer),
                             PROXY_READ_WAIT);
    }
}

static void a_version_that_is_not_wanted_is_refused(void **state)
{
    (void)state;
    char peer[PROXY_PEER_BYTES];
    size_t length;
    assert_int_equal(proxy_read(rows[0].bytes, false, true, &length, peer), PROXY_READ_BAD);
    assert_int_equal(proxy_read(rows[9].bytes, true, false, &length, peer), PROXY_READ_BAD);
}

static void a_line_without_an_end_is_refused(void **state)
{
    (void)state;
    char line[200] = "PROXY ", peer[PROXY_PEER_BYTES];
    size_t length;
    memset(line + 6, 'A', sizeof(line) - 6);
    assert_int_equal(proxy_read((struct text){line, sizeof(line)}, true, true, &length, peer),
                     PROXY_READ_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_read),
        cmocka_unit_test(every_cut_waits_for_more),
        cmocka_unit_test(a_version_that_is_not_wanted_is_refused),
        cmocka_unit_test(a_line_without_an_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
