/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/quota_head.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { SECOND = 1000000 };

/* 2026-11-26T08:00:00Z */
static const int64_t wall = INT64_C(1795680000) * SECOND;

static bool read_head(const char *fields, struct quota_seen *seen)
{
    static char bytes[4096];
    struct head head;
    struct fault why;
    int len = snprintf(bytes, sizeof(bytes), "HTTP/1.1 200 OK\r\n%s\r\n", fields);
    assert_true(head_read_response((struct text){bytes, (size_t)len}, &head, &why));
    bool says = quota_head_read(&head, wall, seen);
    assert_true(quota_head_may_speak(&head) >= says);
    return says;
}

static void reads_openais_fields(void **state)
{
    (void)state;
    struct quota_seen seen;
    assert_true(read_head("X-RateLimit-Limit-Requests: 5000\r\n"
                          "x-ratelimit-remaining-requests: 4999\r\n"
                          "x-ratelimit-reset-requests: 12ms\r\n"
                          "x-ratelimit-limit-tokens: 160000\r\n"
                          "x-ratelimit-remaining-tokens: 1500\r\n"
                          "x-ratelimit-reset-tokens: 6m0s\r\n",
                          &seen));
    assert_int_equal(seen.requests_limit, 5000);
    assert_int_equal(seen.requests_left, 4999);
    assert_int_equal(seen.requests_reset_us, 12000);
    assert_int_equal(seen.tokens_limit, 160000);
    assert_int_equal(seen.tokens_left, 1500);
    assert_int_equal(seen.tokens_reset_us, INT64_C(360) * SECOND);
}

static void reads_anthropics_fields(void **state)
{
    (void)state;
    struct quota_seen seen;
    assert_true(read_head("anthropic-ratelimit-requests-limit: 50\r\n"
                          "anthropic-ratelimit-requests-remaining: 49\r\n"
                          "anthropic-ratelimit-requests-reset: 2026-11-26T08:00:30Z\r\n"
                          "anthropic-ratelimit-input-tokens-limit: 40000\r\n"
                          "anthropic-ratelimit-input-tokens-remaining: 39000\r\n"
                          "anthropic-ratelimit-input-tokens-reset: 2026-11-26T08:00:02Z\r\n"
                          "anthropic-ratelimit-output-tokens-limit: 8000\r\n"
                          "anthropic-ratelimit-output-tokens-remaining: 400\r\n"
                          "anthropic-ratelimit-output-tokens-reset: 2026-11-26T08:00:57Z\r\n",
                          &seen));
    assert_int_equal(seen.requests_left, 49);
    assert_int_equal(seen.requests_reset_us, 30 * SECOND);
    assert_int_equal(seen.tokens_left, 400); /* the scarcest */
    assert_int_equal(seen.tokens_limit, 8000);
    assert_int_equal(seen.tokens_reset_us, 57 * SECOND);
}

static void takes_what_is_there_and_no_more(void **state)
{
    (void)state;
    struct quota_seen seen;
    assert_false(read_head("content-type: text/plain\r\nx-ratelimit: 5\r\n"
                           "x-ratelimit-limit-requests: 10\r\n"
                           "x-ratelimit-remaining-requestsx: 10\r\n"
                           "anthropic-ratelimit-tokens-remaining-: 1\r\n"
                           "anthropic-ratelimit-tokens-remaining: many\r\n",
                           &seen));
    assert_true(read_head("x-ratelimit-remaining-tokens: 7\r\n", &seen));
    assert_int_equal(seen.tokens_left, 7);
    assert_int_equal(seen.tokens_limit, -1);
    assert_int_equal(seen.requests_left, -1);
    assert_false(read_head("x-ratelimit-remaining-tokens: -7\r\n", &seen));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_openais_fields),
        cmocka_unit_test(reads_anthropics_fields),
        cmocka_unit_test(takes_what_is_there_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
