/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/access.h"
/* after those above */
#include <cmocka.h>

#include "gateway/base/scan.h"

static struct ledger_row usual_row(void)
{
    return (struct ledger_row){.id = TEXT("req_1"),
                               .started_us = 1763923452012000,
                               .tenant = TEXT("acme"),
                               .key = TEXT("ci"),
                               .model = TEXT("fast"),
                               .target = TEXT("openai-mini"),
                               .provider = TEXT("openai"),
                               .dialect = TEXT("openai"),
                               .operation = TEXT("chat"),
                               .finish = TEXT("stop"),
                               .status = 200,
                               .stream = true,
                               .outcome = LEDGER_COMPLETE,
                               .counted = COUNTED_PROVIDER,
                               .usage = {.input_tokens = 12, .output_tokens = 34},
                               .cost_nanos = 22200,
                               .attempts = 1,
                               .ttft_us = 1200,
                               .duration_us = 45678,
                               .overhead_us = 51};
}

static char *written(bool json, const struct ledger_row *row, const struct access_extra *extra)
{
    struct buffer out;
    buffer_init(&out, ACCESS_LINE_BYTES);
    assert_true(access_write(&out, json, row, extra));
    struct text t = buffer_text(&out);
    char *copy = malloc(t.len + 1);
    memcpy(copy, t.at, t.len);
    copy[t.len] = 0;
    buffer_done(&out);
    return copy;
}

static void test_json_line(void **state)
{
    (void)state;
    struct ledger_row row = usual_row();
    struct access_extra extra = {.peer = TEXT("127.0.0.1"),
                                 .listener = TEXT("api"),
                                 .method = METHOD_POST,
                                 .path = TEXT("/v1/chat/completions"),
                                 .bytes_in = 100,
                                 .bytes_out = 2000};
    char *line = written(true, &row, &extra);
    assert_string_equal(
        line,
        "{\"ts\":\"2025-11-23T18:44:12.057Z\",\"level\":\"info\",\"component\":\"access\","
        "\"msg\":\"call\",\"request_id\":\"req_1\",\"listener\":\"api\",\"peer\":\"127.0.0.1\","
        "\"method\":\"POST\",\"path\":\"/v1/chat/completions\",\"tenant\":\"acme\",\"key\":\"ci\","
        "\"operation\":\"chat\",\"dialect\":\"openai\",\"model\":\"fast\",\"provider\":\"openai\","
        "\"target\":\"openai-mini\",\"status\":200,\"outcome\":\"complete\",\"stream\":true,"
        "\"attempts\":1,\"ttft_ms\":1.2,\"duration_ms\":45.678,\"overhead_ms\":0.051,"
        "\"input_tokens\":12,\"output_tokens\":34,\"cached_tokens\":0,\"counted\":\"provider\","
        "\"cost_usd\":0.0000222,\"finish\":\"stop\",\"bytes_in\":100,\"bytes_out\":2000}\n");
    free(line);
}

static void test_chosen_fields(void **state)
{
    (void)state;
    struct ledger_row row = usual_row();
    row.usage.service = SERVICE_PRIORITY;
    uint8_t fields[] = {ACCESS_COST_USD, ACCESS_FINISH, ACCESS_TS, ACCESS_SERVICE_TIER,
                        ACCESS_CACHE};
    struct access_extra extra = {.path = TEXT("/v1/x"), .fields = fields, .field_count = 5};
    char *line = written(true, &row, &extra);
    assert_string_equal(line,
                        "{\"cost_usd\":0.0000222,\"finish\":\"stop\","
                        "\"ts\":\"2025-11-23T18:44:12.057Z\",\"service_tier\":\"priority\"}\n");
    free(line);
    fields[0] = ACCESS_CACHE; /* which has no value */
    extra.field_count = 1;
    line = written(true, &row, &extra);
    assert_string_equal(line, "{}\n");
    free(line);
}

/* Each of them alone is as it is in the whole line. */
static void test_each_field(void **state)
{
    (void)state;
    struct ledger_row row = usual_row();
    row.tags = row.upstream_model = row.fault = TEXT("x");
    row.usage = (struct usage){1, 2, 3, 4, 5, 6, 7, 8, 9, SERVICE_FLEX, 10, 11, 12, 0, 0};
    struct access_extra extra = {.trace_id = TEXT("t"),
                                 .peer = TEXT("p"),
                                 .listener = TEXT("l"),
                                 .path = TEXT("/"),
                                 .route = TEXT("r"),
                                 .rule = TEXT("u"),
                                 .decision = TEXT("{}"),
                                 .cache = TEXT("hit")};
    char *whole = written(true, &row, &extra);
    for (size_t i = 0; i < ACCESS_FIELDS; i++) {
        uint8_t field = (uint8_t)i;
        char name[64];
        extra.fields = &field;
        extra.field_count = 1;
        char *line = written(true, &row, &extra);
        size_t length = strlen(line);
        snprintf(name, sizeof(name), "{\"%s\":", access_field_name(i).at);
        assert_int_equal(strncmp(line, name, strlen(name)), 0);
        line[length - 2] = '\0'; /* the brace */
        assert_non_null(strstr(whole, line + 1));
        assert_int_equal(access_field_find(access_field_name(i)), i);
        free(line);
    }
    free(whole);
}

/* What a client names must not begin a line, end a string or colour a terminal. */
static void test_hostile_texts(void **state)
{
    (void)state;
    struct ledger_row row = usual_row();
    row.model = TEXT("a\"b\\c\nd\x1b[31m\xff\xfe");
    row.fault = TEXT("unknown_model");
    row.status = 404;
    struct access_extra extra = {.path = TEXT("/v1/x")};
    char *line = written(true, &row, &extra);
    size_t length = strlen(line);
    assert_ptr_equal(strchr(line, '\n'), line + length - 1);
    assert_true(scan_is_valid((struct text){line, length - 1}));
    assert_non_null(strstr(line, "a\\\"b\\\\c\\nd\\u001b[31m"));
    free(line);
    line = written(false, &row, &extra);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_null(strchr(line, '\x1b'));
    free(line);
}

/* Each byte that is special, at each place of texts of each length around a word's. */
static void test_special_anywhere(void **state)
{
    (void)state;
    static const struct {
        char byte;
        const char *written;
    } special[] = {
        {'"', "\\\""}, {'\\', "\\\\"}, {'\n', "\\n"}, {'\x7f', "\\u007f"}, {'\x1f', "\\u001f"}};
    for (size_t len = 1; len <= 20; len++)
        for (size_t at = 0; at < len; at++)
            for (size_t i = 0; i < sizeof(special) / sizeof(*special); i++) {
                char text[20], wanted[64];
                memset(text, 'x', sizeof(text));
                text[at] = special[i].byte;
                snprintf(wanted, sizeof(wanted), "\"tenant\":\"%.*s%s%.*s\",\"key\"", (int)at, text,
                         special[i].written, (int)(len - at - 1), text + at + 1);
                struct ledger_row row = usual_row();
                row.tenant = (struct text){text, len};
                struct access_extra extra = {.path = TEXT("/v1/x")};
                char *line = written(true, &row, &extra);
                assert_non_null(strstr(line, wanted));
                free(line);
            }
}

static void test_decimals(void **state)
{
    (void)state;
    static const struct {
        int64_t nanos;
        const char *written;
    } costs[] = {{0, "0"},           {1, "0.000000001"},           {-5, "0"},
                 {1000000000, "1"},  {999999999, "0.999999999"},   {1100000000, "1.1"},
                 {10, "0.00000001"}, {12000000001, "12.000000001"}};
    for (size_t i = 0; i < sizeof(costs) / sizeof(*costs); i++) {
        char wanted[64];
        snprintf(wanted, sizeof(wanted), "\"cost_usd\":%s,", costs[i].written);
        struct ledger_row row = usual_row();
        row.cost_nanos = costs[i].nanos;
        struct access_extra extra = {.path = TEXT("/v1/x")};
        char *line = written(true, &row, &extra);
        assert_non_null(strstr(line, wanted));
        free(line);
    }
}

static void test_longest_line_fits(void **state)
{
    (void)state;
    char worst[1000];
    memset(worst, 1, sizeof worst); /* each becomes \u0001 */
    struct text t = {worst, sizeof worst};
    struct ledger_row row = {.id = t,
                             .tenant = t,
                             .key = t,
                             .user = t,
                             .tags = t,
                             .model = t,
                             .target = t,
                             .provider = t,
                             .upstream_model = t,
                             .dialect = t,
                             .upstream_dialect = t,
                             .operation = t,
                             .finish = t,
                             .fault = t,
                             .started_us = 253402300799000000,
                             .status = 599,
                             .duration_us = INT64_MAX / 2,
                             .overhead_us = INT64_MAX,
                             .ttft_us = INT64_MAX,
                             .cost_nanos = INT64_MAX};
    row.duration_us = 1000;
    row.usage = (struct usage){INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
                               INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, SERVICE_PRIORITY,
                               INT64_MAX, INT64_MAX, INT64_MAX, 0,         0};
    struct access_extra extra = {.trace_id = t,
                                 .peer = t,
                                 .listener = t,
                                 .path = t,
                                 .route = t,
                                 .cache = t,
                                 .bytes_in = UINT64_MAX,
                                 .bytes_out = UINT64_MAX};
    char *line = written(true, &row, &extra);
    assert_true(scan_is_valid((struct text){line, strlen(line) - 1}));
    free(line);
    free(written(false, &row, &extra));
}

static void test_text_line(void **state)
{
    (void)state;
    struct ledger_row row = usual_row();
    row.status = 503;
    row.outcome = LEDGER_REFUSED;
    row.fault = TEXT("no_target");
    struct access_extra extra = {.method = METHOD_POST, .path = TEXT("/v1/chat/completions")};
    char *line = written(false, &row, &extra);
    assert_string_equal(line, "2025-11-23T18:44:12.057Z WARN access: POST /v1/chat/completions 503 "
                              "refused (no_target)  acme  fast -> openai-mini  12+34 tokens  "
                              "0.0000222 USD  45.678 ms, ours 0.051 ms  req_1\n");
    free(line);
}

static void test_no_room(void **state)
{
    (void)state;
    struct ledger_row row = usual_row();
    struct access_extra extra = {.path = TEXT("/")};
    struct buffer out;
    buffer_init(&out, 100);
    assert_false(access_write(&out, true, &row, &extra));
    assert_int_equal(buffer_length(&out), 0);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_line),         cmocka_unit_test(test_chosen_fields),
        cmocka_unit_test(test_each_field),        cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_special_anywhere),  cmocka_unit_test(test_decimals),
        cmocka_unit_test(test_longest_line_fits), cmocka_unit_test(test_text_line),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
