/* SPDX-License-Identifier: Apache-2.0 */
/* Bedrock's InvokeModel and CountTokens: calls and answers, carried, read, written and watched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define CLAUDE "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

static struct arena arena;
static struct buffer out;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 4096);
    buffer_init(&out, 1 << 24);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_done(&arena);
    buffer_done(&out);
    return 0;
}

static void expect(struct text text, const char *wanted)
{
    assert_string_equal(arena_copy(&arena, text).at, wanted);
}

/* ----------------------------------------------------------------------------------- calls */

/* As the gateway does it: read once, and written for the words that are nearest. */
static struct translated_call cross(const struct translator *from, const struct translator *to,
                                    const char *body, struct call_target *target)
{
    struct translated_call made = {.body = {NULL, 0}};
    struct fault fault = {0};
    const struct chat *chat =
        translate_read(&arena, from, text_of(body), TEXT("m"), target->stream, &fault);
    if (!chat)
        fail_msg("%s", fault.text);
    target->type = provider_type_find(TEXT("bedrock"));
    translate_write(&arena, chat, translate_nearest(chat, to, target->model), target, &out, &made);
    made.body = buffer_text(&out);
    return made;
}

static void anthropics_call_goes_as_it_was_said(void **state)
{
    (void)state;
    struct call_target target = {.model = TEXT(CLAUDE),
                                 .stream = true,
                                 .betas = TEXT("effort-2025-11-24, files-api-2025-04-14")};
    struct translated_call made =
        cross(&translator_anthropic, &translator_bedrock,
              "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\" : \"h\\u0069\"}],"
              "\"stream\":true,\"max_tokens\":12,\"temperature\":0.50,\"news\":[1.0],"
              "\"service_tier\":\"auto\"}",
              &target);
    expect(made.body, "{\"anthropic_version\":\"bedrock-2023-05-31\",\"anthropic_beta\":[\"effort-"
                      "2025-11-24\"],\"max_tokens\":12,\"messages\":[{\"role\":\"user\","
                      "\"content\" : \"h\\u0069\"}],\"temperature\":0.50,\"news\":[1.0]}");
    expect(made.path, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/"
                      "invoke-with-response-stream");
    expect(made.hints, "anthropic-beta.files-api-2025-04-14,service_tier");
    expect(made.demands, "");
}

static void what_policy_says_of_the_length_counts(void **state)
{
    (void)state;
    struct call_target target = {.model = TEXT(CLAUDE), .lowered_tokens = 7};
    const char *body = "{\"model\":\"x\",\"max_tokens\":12,\"messages\":[]}";
    struct translated_call made = cross(&translator_anthropic, &translator_bedrock, body, &target);
    expect(made.body, "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":7,"
                      "\"messages\":[]}");
    target = (struct call_target){.model = TEXT(CLAUDE), .max_tokens_default = 99};
    made = cross(&translator_anthropic, &translator_bedrock, "{\"model\":\"x\",\"messages\":[]}",
                 &target);
    expect(made.body, "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":99,"
                      "\"messages\":[]}");
}

static void what_bedrock_cannot_take_goes_by_converse(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"model\":\"x\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
        "\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://e.com/a.png\"}}]}]}",
        "{\"model\":\"x\",\"max_tokens\":1,\"messages\":[],\"tools\":[{\"type\":\"web_search_"
        "20250305\",\"name\":\"web_search\"}]}",
        "{\"model\":\"x\",\"max_tokens\":1,\"messages\":[],\"mcp_servers\":[]}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct call_target target = {.model = TEXT(CLAUDE)};
        struct translated_call made =
            cross(&translator_anthropic, &translator_bedrock, bodies[i], &target);
        assert_true(text_ends(made.path, TEXT("/converse")));
        assert_true(made.demands.len > 0);
    }
    struct call_target nova = {.model = TEXT("amazon.nova-lite-v1:0")};
    struct translated_call made =
        cross(&translator_anthropic, &translator_bedrock,
              "{\"model\":\"x\",\"max_tokens\":1,\"messages\":[]}", &nova);
    assert_true(text_ends(made.path, TEXT("/converse")));
}

static void a_body_of_anthropics_goes_to_anthropic(void **state)
{
    (void)state;
    struct call_target target = {.model = TEXT("claude-\"x"), .stream = true};
    struct translated_call made =
        cross(&translator_bedrock_invoke, &translator_anthropic,
              "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":5,\"anthropic_beta\":"
              "[\"a-1\",\"b\\r\\n\",2,\"c\"],\"messages\":[ ]}",
              &target);
    expect(made.body,
           "{\"model\":\"claude-\\\"x\",\"stream\":true,\"max_tokens\":5,\"messages\":[ ]}");
    expect(made.headers, "anthropic-version: 2023-06-01\r\nanthropic-beta: a-1,c\r\n");
}

static void a_body_of_others_is_refused(void **state)
{
    (void)state;
    struct fault fault = {0};
    assert_null(translate_read(&arena, &translator_bedrock_invoke, TEXT("{\"inputText\":\"hi\"}"),
                               TEXT("m"), false, &fault));
    assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
    assert_string_equal(fault.param, "anthropic_version");
}

static void counts_are_asked_without_the_place(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {CLAUDE, "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/count-tokens"},
        {"global.anthropic.claude-x", "/model/anthropic.claude-x/count-tokens"},
        {"anthropic.claude-x", "/model/anthropic.claude-x/count-tokens"},
        {"arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-x",
         "/model/anthropic.claude-x/count-tokens"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct call_target target = {.model = text_of(rows[i][0])};
        struct translated_call made = cross(
            &translator_anthropic_count, &translator_bedrock_count,
            "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", &target);
        expect(made.path, rows[i][1]);
        struct text coded = text_from(made.body, 33);
        assert_true(text_starts(made.body, TEXT("{\"input\":{\"invokeModel\":{\"body\":\"")));
        uint8_t plain[512];
        size_t len = hash_unbase64(text_head(coded, text_find_byte(coded, '"')), plain);
        expect((struct text){(char *)plain, len},
               "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":1,\"messages\":"
               "[{\"role\":\"user\",\"content\":\"hi\"}]}");
    }
}

/* --------------------------------------------------------------------------------- answers */

static const char *const events[] = {
    "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"c\",\"content\":[],"
    "\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}",
    "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":"
    "\"\"}}",
    "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":"
    "\"H\\u0069\"}, \"news\":1.0}",
    "{\"type\":\"content_block_stop\",\"index\":0}",
    "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":"
    "{\"output_tokens\":9}}",
    "{\"type\":\"message_stop\",\"amazon-bedrock-invocationMetrics\":{\"inputTokenCount\":3,"
    "\"outputTokenCount\":9}}",
};
enum { EVENTS = sizeof(events) / sizeof(events[0]) };

static void put_chunk(struct buffer *to, const char *json)
{
    struct buffer chunk;
    buffer_init(&chunk, 1 << 16);
    put_literal(&chunk, "{");
    bedrock_put_coded(&chunk, "bytes", text_of(json));
    put_literal(&chunk, ",\"p\":\"abc\"}");
    frame_put_aws(to, TEXT("event"), TEXT("chunk"), buffer_text(&chunk));
    buffer_done(&chunk);
}

static enum translation_state told(const struct translator *from, const struct translator *to,
                                   struct text stream, size_t each, struct answer *seen)
{
    struct answer_way way = {.from = from,
                             .to = to,
                             .id = TEXT("0a"),
                             .model = TEXT("m"),
                             .stream_in = true,
                             .stream_out = true};
    struct translation *translation = translation_new(&way, seen);
    enum translation_state state = TRANSLATION_GOES;
    buffer_clear(&out);
    while (stream.len && state == TRANSLATION_GOES) {
        state = translation_feed(translation, text_head(stream, each), &out);
        stream = text_from(stream, each);
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(translation, &out);
    translation_free(translation);
    return state;
}

static void events_go_as_they_came(void **state)
{
    (void)state;
    struct buffer stream, sse;
    buffer_init(&stream, 1 << 16);
    buffer_init(&sse, 1 << 16);
    for (size_t i = 0; i < EVENTS; i++) {
        put_chunk(&stream, events[i]);
        struct text type = member_string(member_find(text_of(events[i]), TEXT("type")));
        buffer_format(&sse, "event: %.*s\ndata: %s\n\n", TEXT_ARGS(type), events[i]);
    }
    for (size_t each = 1; each < 2000; each += 13) {
        struct answer seen = {.operation = OPERATION_CHAT};
        assert_int_equal(told(&translator_bedrock_invoke, &translator_anthropic,
                              buffer_text(&stream), each, &seen),
                         TRANSLATION_ENDED);
        expect(buffer_text(&out), arena_copy(&arena, buffer_text(&sse)).at);
        assert_int_equal(seen.usage.input_tokens, 7);
        assert_int_equal(seen.usage.cached_tokens, 4);
        assert_int_equal(seen.usage.output_tokens, 9);
        assert_string_equal(seen.finish, "end_turn");
        assert_true(seen.usage_seen && seen.ended);
    }
    /* And back: into the same events, without the padding. */
    struct answer seen = {.operation = OPERATION_CHAT};
    assert_int_equal(
        told(&translator_anthropic, &translator_bedrock_invoke, buffer_text(&sse), 7, &seen),
        TRANSLATION_ENDED);
    struct text rest = buffer_text(&out);
    struct frame frame;
    for (size_t i = 0; i < EVENTS; i++) {
        uint8_t plain[1024];
        assert_int_equal(frame_next(FRAMING_AWS, &rest, 0, true, NULL, &frame), FRAME_HERE);
        struct text coded = member_string(member_find(frame.data, TEXT("bytes")));
        size_t len = hash_unbase64(coded, plain);
        expect((struct text){(char *)plain, len}, events[i]);
    }
    assert_int_equal(rest.len, 0);
    buffer_done(&stream);
    buffer_done(&sse);
}

static void a_stream_that_breaks_off_is_cut(void **state)
{
    (void)state;
    struct buffer stream;
    struct answer seen = {.operation = OPERATION_CHAT};
    buffer_init(&stream, 1 << 16);
    put_chunk(&stream, events[0]);
    put_chunk(&stream, events[1]);
    assert_int_equal(told(&translator_bedrock_invoke, &translator_anthropic, buffer_text(&stream),
                          SIZE_MAX, &seen),
                     TRANSLATION_FAILED);
    /* With its reason it is whole, and is closed. */
    buffer_clear(&stream);
    for (size_t i = 0; i + 1 < EVENTS; i++)
        put_chunk(&stream, events[i]);
    assert_int_equal(told(&translator_bedrock_invoke, &translator_anthropic, buffer_text(&stream),
                          SIZE_MAX, &seen),
                     TRANSLATION_ENDED);
    assert_true(text_ends(buffer_text(&out),
                          TEXT("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")));
    buffer_done(&stream);
}

static void chunks_of_all_makers_are_watched(void **state)
{
    (void)state;
    static const struct {
        const char *chunk, *finish;
        int64_t input, cached, output, bytes;
    } rows[] = {
        {"{\"outputText\":\"Hello\",\"completionReason\":\"FINISH\",\"amazon-bedrock-"
         "invocationMetrics\":{\"inputTokenCount\":4,\"outputTokenCount\":9}}",
         "FINISH", 4, 0, 9, 5},
        {"{\"generation\":\"Hi\",\"stop_reason\":\"stop\",\"amazon-bedrock-invocationMetrics\":"
         "{\"inputTokenCount\":4,\"outputTokenCount\":9}}",
         "stop", 4, 0, 9, 2},
        {"{\"messageStop\":{\"stopReason\":\"end_turn\"},\"metadata\":{\"usage\":{\"inputTokens\":"
         "5,\"outputTokens\":6,\"cacheReadInputTokenCount\":7}},\"amazon-bedrock-"
         "invocationMetrics\":{\"inputTokenCount\":1,\"outputTokenCount\":1}}",
         "end_turn", 12, 7, 6, 0},
        {"{\"choices\":[{\"delta\":{\"content\":\"abc\"}}],\"amazon-bedrock-invocationMetrics\":"
         "{\"inputTokenCount\":1,\"outputTokenCount\":2,\"cacheReadInputTokenCount\":3}}",
         "", 4, 3, 2, 3},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct answer seen = {.operation = OPERATION_CHAT};
        struct sse_event event;
        buffer_clear(&out);
        put_chunk(&out, rows[i].chunk);
        struct text bytes = buffer_text(&out);
        assert_true(dialect_bedrock.next_event(&bytes, &event));
        assert_int_equal(dialect_bedrock.watch_event(&seen, &event), EVENT_LAST);
        assert_string_equal(seen.finish, rows[i].finish);
        assert_int_equal(seen.usage.input_tokens, rows[i].input);
        assert_int_equal(seen.usage.cached_tokens, rows[i].cached);
        assert_int_equal(seen.usage.output_tokens, rows[i].output);
        assert_int_equal(seen.content_bytes, rows[i].bytes);
        assert_true(seen.ended && seen.usage_seen);
    }
}

static void the_head_and_the_body_say_how_much(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int64_t input, cached, output;
    } rows[] = {
        {"{\"generation\":\"x\",\"stop_reason\":\"stop\"}", 15, 5, 7}, /* the head counts */
        {"{\"usage\":{\"input_tokens\":1,\"cache_read_input_tokens\":2,\"output_tokens\":3}}", 3, 2,
         3},
        {"{\"usage\":{\"inputTokens\":1,\"outputTokens\":3}}", 1, 0, 3},
        {"{\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":3}}", 6, 0, 3},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct answer seen = {.operation = OPERATION_CHAT};
        struct scan_value values[DIALECT_WANTS];
        struct scan_problem problem;
        bedrock_watch_field(&seen, TEXT("X-Amzn-Bedrock-Input-Token-Count"), TEXT("10"));
        bedrock_watch_field(&seen, TEXT("x-amzn-bedrock-output-token-count"), TEXT("7"));
        bedrock_watch_field(&seen, TEXT("x-amzn-bedrock-cache-read-input-token-count"), TEXT("5"));
        bedrock_watch_field(&seen, TEXT("x-amzn-bedrock-invocation-latency"), TEXT("99"));
        bedrock_watch_field(&seen, TEXT("x-amzn-bedrock-input-token-count"), TEXT("-1"));
        assert_true(scan_json(text_of(rows[i].body), dialect_bedrock.wants,
                              dialect_bedrock.want_count, values, &problem));
        dialect_bedrock.watch_body(&seen, values);
        assert_int_equal(seen.usage.input_tokens, rows[i].input);
        assert_int_equal(seen.usage.cached_tokens, rows[i].cached);
        assert_int_equal(seen.usage.output_tokens, rows[i].output);
    }
}

static void base64_is_read_back(void **state)
{
    (void)state;
    uint8_t bytes[64], back[96];
    char coded[128];
    for (size_t len = 0; len < sizeof(bytes); len++) {
        hash_random(bytes, sizeof(bytes));
        size_t letters = hash_base64(bytes, len, coded);
        assert_int_equal(hash_unbase64((struct text){coded, letters}, back), len);
        assert_memory_equal(bytes, back, len);
        while (letters && coded[letters - 1] == '=')
            letters--;
        assert_int_equal(hash_unbase64((struct text){coded, letters}, back), len);
    }
    static const char *const bad[] = {
        "A", "AA=", "A===", "AAAA=", "AA A", "AA-_", "=AAA", "AA==AA=="};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(hash_unbase64(text_of(bad[i]), back), SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(anthropics_call_goes_as_it_was_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_policy_says_of_the_length_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_bedrock_cannot_take_goes_by_converse, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_body_of_anthropics_goes_to_anthropic, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_body_of_others_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts_are_asked_without_the_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(events_go_as_they_came, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stream_that_breaks_off_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chunks_of_all_makers_are_watched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_head_and_the_body_say_how_much, set_up, tear_down),
        cmocka_unit_test(base64_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
