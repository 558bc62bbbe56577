/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "gateway/usage_query.h"
/* after those above */
#include <cmocka.h>

static const int64_t now_us = 1764100000000000, day_us = 86400000000; /* 2025-11-25T19:46:40Z */

static bool read_query(const char *by, const char *since, const char *until,
                       struct usage_query *query, struct fault *fault)
{
    return usage_query_read(text_of(by), text_of(since), text_of(until), now_us, query, fault);
}

static void test_defaults(void **state)
{
    (void)state;
    struct usage_query query;
    struct fault fault;
    assert_true(read_query("", "", "", &query, &fault));
    assert_int_equal(query.by_count, 2);
    assert_int_equal(query.by[0], BY_TENANT);
    assert_int_equal(query.by[1], BY_MODEL);
    assert_int_equal(query.since_us, now_us - 30 * day_us);
    assert_int_equal(query.until_us, now_us);
}

static void test_times(void **state)
{
    (void)state;
    struct usage_query query;
    struct fault fault;
    assert_true(read_query("day", "7d", "12h", &query, &fault));
    assert_int_equal(query.since_us, now_us - 7 * day_us);
    assert_int_equal(query.until_us, now_us - day_us / 2);
    assert_true(read_query("day", "2025-11-23", "2025-11-23T18:00:00Z", &query, &fault));
    assert_int_equal(query.since_us, 1763856000000000);
    assert_int_equal(query.until_us, 1763920800000000);
    assert_true(read_query("day", "90s", "now", &query, &fault));
    assert_int_equal(query.since_us, now_us - 90000000);
}

static void test_refusals(void **state)
{
    (void)state;
    struct usage_query query;
    struct fault fault;
    const char *const times[] = {"d",
                                 "7",
                                 "-7d",
                                 "7x",
                                 "2025-13-45",
                                 "yesterday",
                                 "7d ",
                                 "1e9d",
                                 "99999999999999999999d",
                                 "2025-11-23T18:00:00Z and more"};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        assert_false(read_query("day", times[i], "", &query, &fault));
    assert_false(read_query("day", "1h", "2h", &query, &fault)); /* backwards */
    assert_false(read_query("tenant,tenant", "", "", &query, &fault));
    assert_false(read_query("tennant", "", "", &query, &fault));
    assert_non_null(strstr(fault.text, "did you mean \"tenant\""));
    assert_false(read_query("tenant,", "", "", &query, &fault));
}

static void test_json(void **state)
{
    (void)state;
    char tenant[] = "ac\"me", model[] = "fast";
    struct usage_row row = {.by = {tenant, model},
                            .requests = 3,
                            .complete = 2,
                            .lost = 1,
                            .usage = {.input_tokens = 10, .output_tokens = 20},
                            .cost_nanos = 1500,
                            .estimated = 1};
    struct usage_report report = {.rows = &row, .count = 1};
    struct usage_query query = {.by = {BY_TENANT, BY_MODEL}, .by_count = 2};
    struct buffer out;
    buffer_init(&out, 4096);
    struct json_write json = {.out = &out};
    usage_write_json(&query, &report, &json);
    assert_false(json.is_full);
    struct text expected =
        TEXT("[{\"tenant\":\"ac\\\"me\",\"model\":\"fast\",\"requests\":3,\"input_tokens\":10,"
             "\"cached_tokens\":0,\"cache_write_tokens\":0,\"output_tokens\":20,"
             "\"reasoning_tokens\":0,\"cost_nanos\":1500,\"saved_nanos\":0,\"complete\":2,"
             "\"partial\":0,\"refused\":0,\"lost\":1,\"estimated\":1}]");
    assert_int_equal(buffer_length(&out), expected.len);
    assert_memory_equal(buffer_text(&out).at, expected.at, expected.len);
    buffer_done(&out);
    /* a full buffer is noticed */
    buffer_init(&out, 20);
    json = (struct json_write){.out = &out};
    usage_write_json(&query, &report, &json);
    assert_true(json.is_full);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
