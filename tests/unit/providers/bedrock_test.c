/* SPDX-License-Identifier: Apache-2.0 */
/* Bedrock's Converse: calls and answers, read, written and watched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gateway/base/scan.h"
#include "providers/bedrock.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

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

/* ----------------------------------------------------------------------------------- calls */

static const struct translator *words(const char *dialect)
{
    return translator_find(text_of(dialect), OPERATION_CHAT);
}

static struct translated_call cross(const char *from, const char *to, const char *model,
                                    const char *body)
{
    struct translated_call made = {.body = {NULL, 0}};
    struct fault fault = {0};
    struct text type = text_equal(text_of(to), TEXT("bedrock")) ? TEXT("bedrock") : TEXT("openai");
    struct call_target target = {.type = provider_type_find(type), .model = text_of(model)};
    bool good = translate_call(&arena, words(from), words(to), text_of(body), TEXT("m"), false,
                               &target, &made, &fault);
    if (!good)
        fail_msg("%s", fault.text);
    return made;
}

static void expect(struct text text, const char *wanted)
{
    assert_string_equal(arena_copy(&arena, text).at, wanted);
}

static void a_call_comes_back_as_it_was(void **state)
{
    static const char *const calls[] = {
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"inferenceConfig\":{}"
        "}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"a\"},{\"cachePoint\":{\"type\":"
        "\"default\",\"ttl\":\"1h\"}},{\"image\":{\"format\":\"png\",\"source\":{\"bytes\":"
        "\"AAAA\"}"
        "}},{\"image\":{\"format\":\"png\",\"source\":{\"s3Location\":{\"uri\":\"s3://b/k\"}}}}]},"
        "{\"role\":\"assistant\",\"content\":[{\"reasoningContent\":{\"reasoningText\":{\"text\":"
        "\"hm\",\"signature\":\"c2ln\"}}},{\"toolUse\":{\"toolUseId\":\"t1\",\"name\":\"f\","
        "\"input\":{\"n\":1.50}}}]},{\"role\":\"user\",\"content\":[{\"toolResult\":{\"toolUseId\":"
        "\"t1\",\"content\":[{\"json\":{\"a\":1}},{\"text\":\"b\"}],\"status\":\"error\"}}]}],"
        "\"system\":[{\"text\":\"s\"}],\"inferenceConfig\":{\"maxTokens\":9,\"temperature\":0.25,"
        "\"stopSequences\":[\"x\"]},\"additionalModelRequestFields\":{\"anthropic_beta\":[\"b\"]},"
        "\"toolConfig\":{\"tools\":[{\"toolSpec\":{\"name\":\"f\",\"inputSchema\":{\"json\":{"
        "\"type\":\"object\"}}}},{\"cachePoint\":{\"type\":\"default\"}}],\"toolChoice\":{\"tool\":"
        "{\"name\":\"f\"}}},\"requestMetadata\":{\"k\":\"v\"},\"serviceTier\":{\"type\":\"flex\"},"
        "\"guardrailConfig\":{\"guardrailIdentifier\":\"g\",\"guardrailVersion\":\"1\"}}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct translated_call made = cross("bedrock", "bedrock", "m", calls[i]);
        expect(made.body, calls[i]);
        assert_int_equal(made.demands.len + made.hints.len, 0);
    }
}

static void the_model_stands_in_the_path(void **state)
{
    (void)state;
    struct translated_call made =
        cross("openai", "bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/x.y-v1:0",
              "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    expect(made.path, "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx.y-v1%3A0/"
                      "converse");
}

static void turns_of_one_side_are_one_message(void **state)
{
    (void)state;
    struct translated_call made = cross(
        "openai", "bedrock", "amazon.nova-lite-v1:0",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\","
        "\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"assistant\","
        "\"content\":null,\"tool_calls\":[{\"id\":\"call.1\",\"type\":\"function\",\"function\":{"
        "\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"call.1\","
        "\"content\":\"r\"}],\"n\":1,\"seed\":7}");
    expect(made.body,
           "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]},"
           "{\"role\":\"assistant\",\"content\":[{\"toolUse\":{\"toolUseId\":\"call_1_f114f143\","
           "\"name\":\"f\",\"input\":{}}}]},{\"role\":\"user\",\"content\":[{\"toolResult\":{"
           "\"toolUseId\":\"call_1_f114f143\",\"content\":[{\"text\":\"r\"}]}}]}],\"system\":[{"
           "\"text\":\"s\"}],\"inferenceConfig\":{}}");
    expect(made.hints, "seed");
}

static void claude_thinks_by_the_fields_of_its_maker(void **state)
{
    (void)state;
    struct translated_call made =
        cross("anthropic", "bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
              "{\"model\":\"m\",\"max_tokens\":4000,\"thinking\":{\"type\":\"enabled\","
              "\"budget_tokens\":2000},\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    expect(made.body, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],"
                      "\"inferenceConfig\":{\"maxTokens\":4000},\"additionalModelRequestFields\":{"
                      "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000}}}");
    assert_int_equal(made.demands.len + made.hints.len, 0);
}

static void what_cannot_be_read_is_refused_by_name(void **state)
{
    static const struct {
        const char *body, *param;
    } calls[] = {
        {"{\"messages\":{}}", "messages"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":[]}]}", "messages.0.role"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "messages.0.content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[7]}]}", "messages.0.content.0"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"toolResult\":{\"toolUseId\":\"a\","
         "\"content\":[{\"toolResult\":{\"toolUseId\":\"b\"}}]}}]}]}",
         "messages.0.content.0"},
        {"{\"messages\":[],\"inferenceConfig\":{\"maxTokens\":-1}}", "inferenceConfig.maxTokens"},
        {"{\"messages\":[],\"toolConfig\":{\"tools\":[{\"toolSpec\":{}}]}}",
         "toolConfig.tools.0.toolSpec"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct call_source source = {.body = text_of(calls[i].body), .model = {"m", 1}};
        struct chat *chat = arena_new(&arena, sizeof(*chat));
        struct fault fault = {0};
        assert_false(bedrock_read_call(&arena, &source, chat, &fault));
        assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
        assert_string_equal(fault.param, calls[i].param);
    }
}

/* --------------------------------------------------------------------------------- answers */

/* clang-format off */
static const char *const events[][2] = {
    {"messageStart", "{\"role\":\"assistant\"}"},
    {"contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"reasoningContent\":{\"text\":\"hm\"}}}"},
    {"contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"reasoningContent\":{\"signature\":\"c2ln\"}}}"},
    {"contentBlockStop", "{\"contentBlockIndex\":0}"},
    {"contentBlockDelta", "{\"contentBlockIndex\":1,\"delta\":{\"text\":\"Hel\"}}"},
    {"contentBlockDelta", "{\"contentBlockIndex\":1,\"delta\":{\"text\":\"lo\"}}"},
    {"contentBlockStop", "{\"contentBlockIndex\":1}"},
    {"contentBlockStart", "{\"contentBlockIndex\":2,\"start\":{\"toolUse\":{\"toolUseId\":\"t1\",\"name\":\"f\"}}}"},
    {"contentBlockDelta", "{\"contentBlockIndex\":2,\"delta\":{\"toolUse\":{\"input\":\"{\\\"a\\\":1}\"}}}"},
    {"contentBlockStop", "{\"contentBlockIndex\":2}"},
    {"messageStop", "{\"stopReason\":\"tool_use\"}"},
    {"metadata", "{\"usage\":{\"inputTokens\":3,\"outputTokens\":4,\"totalTokens\":14,\"cacheReadInputTokens\":5,"
                 "\"cacheWriteInputTokens\":2},\"metrics\":{\"latencyMs\":7}}"},
};
static const char whole[] =
    "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[{\"reasoningContent\":{"
    "\"reasoningText\":{\"text\":\"hm\",\"signature\":\"c2ln\"}}},{\"text\":\"Hello\"},{\"toolUse\":{"
    "\"toolUseId\":\"t1\",\"name\":\"f\",\"input\":{\"a\":1}}}]}},\"stopReason\":\"tool_use\",\"usage\":{"
    "\"inputTokens\":3,\"outputTokens\":4,\"totalTokens\":14,\"cacheReadInputTokens\":5,"
    "\"cacheWriteInputTokens\":2},\"metrics\":{\"latencyMs\":7}}";
/* clang-format on */

enum { EVENTS = sizeof(events) / sizeof(events[0]) };

static struct text stream_of(size_t count)
{
    struct buffer frames;
    buffer_init(&frames, 1 << 20);
    for (size_t i = 0; i < count; i++)
        frame_put_aws(&frames, TEXT("event"), text_of(events[i][0]), text_of(events[i][1]));
    struct text all = arena_copy(&arena, buffer_text(&frames));
    buffer_done(&frames);
    return all;
}

static enum translation_state answer(struct text body, bool stream_in, bool stream_out,
                                     size_t piece, struct answer *seen)
{
    struct answer_way way = {.from = &translator_bedrock,
                             .to = &translator_bedrock,
                             .id = {"1", 1},
                             .model = {"m", 1},
                             .stream_in = stream_in,
                             .stream_out = stream_out};
    struct translation *translation = translation_new(&way, seen);
    while (body.len) {
        translation_feed(translation, text_head(body, piece), &out);
        body = text_from(body, piece);
    }
    enum translation_state state = translation_close(translation, &out);
    translation_free(translation);
    return state;
}

static void an_answer_has_two_forms(void **state)
{
    (void)state;
    struct text stream = stream_of(EVENTS);
    struct text bodies[] = {stream, text_of(whole)};
    for (size_t in = 0; in < 2; in++)
        for (size_t piece = 1; piece <= 4096; piece += 4095)
            for (size_t form = 0; form < 2; form++) {
                struct answer seen = {.operation = OPERATION_CHAT};
                assert_int_equal(answer(bodies[in], in == 0, form == 1, piece, &seen),
                                 TRANSLATION_ENDED);
                assert_int_equal(seen.usage.input_tokens, 10);
                assert_int_equal(seen.usage.output_tokens, 4);
                assert_string_equal(seen.finish, "tool_use");
                if (form == 0)
                    expect(buffer_text(&out), whole);
                else if (in == 0)
                    assert_true(text_equal(buffer_text(&out), stream));
                buffer_clear(&out);
            }
}

static void a_stream_without_its_end_is_cut(void **state)
{
    (void)state;
    struct answer seen = {.operation = OPERATION_CHAT};
    assert_int_equal(answer(stream_of(EVENTS - 2), true, true, 4096, &seen), TRANSLATION_FAILED);
    assert_int_equal(answer(stream_of(EVENTS - 1), true, true, 4096, &seen), TRANSLATION_ENDED);
}

static void an_exception_says_why(void **state)
{
    (void)state;
    struct buffer frames;
    struct answer seen = {.operation = OPERATION_CHAT};
    struct answer_way way = {
        .from = &translator_bedrock, .to = &translator_bedrock, .stream_in = true};
    struct translation *translation = translation_new(&way, &seen);
    buffer_init(&frames, 4096);
    frame_put_aws(&frames, TEXT("exception"), TEXT("throttlingException"),
                  TEXT("{\"message\":\"slow down\"}"));
    assert_int_equal(translation_feed(translation, buffer_text(&frames), &out), TRANSLATION_FAILED);
    assert_int_equal(translation_fault(translation)->kind, FAULT_TARGET_BUSY);
    assert_string_equal(translation_fault(translation)->text, "slow down");
    translation_free(translation);
    buffer_done(&frames);
}

static void frames_that_pass_are_watched(void **state)
{
    (void)state;
    struct text stream = stream_of(EVENTS), rest = stream;
    struct answer seen = {.operation = OPERATION_CHAT};
    struct sse_event event;
    size_t passed = 0;
    enum event_verdict verdict = EVENT_PASS;
    assert_int_equal(dialect_bedrock.whole_events(text_head(stream, stream.len - 1)),
                     stream_of(EVENTS - 1).len);
    while (dialect_bedrock.next_event(&rest, &event)) {
        assert_int_equal(verdict, EVENT_PASS);
        verdict = dialect_bedrock.watch_event(&seen, &event);
        passed += event.raw.len;
    }
    assert_int_equal(passed, stream.len);
    assert_int_equal(verdict, EVENT_LAST);
    assert_true(seen.ended && seen.usage_seen);
    assert_int_equal(seen.usage.input_tokens, 10);
    assert_int_equal(seen.usage.cached_tokens, 5);
    assert_true(seen.events >= 5);
}

static void errors_are_told_apart(void **state)
{
    static const struct {
        unsigned status;
        enum fault_kind kind;
    } rows[] = {{400, FAULT_TARGET_REFUSED}, {403, FAULT_TARGET_ERROR}, {404, FAULT_TARGET_REFUSED},
                {429, FAULT_TARGET_BUSY},    {500, FAULT_TARGET_ERROR}, {503, FAULT_TARGET_BUSY}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct provider_error error = {.kind = FAULT_TARGET_INVALID};
        bedrock_read_error(rows[i].status, TEXT("{\"message\":\"words\"}"), &error);
        assert_int_equal(error.kind, rows[i].kind);
        assert_string_equal(error.message, rows[i].status == 403
                                               ? "the provider refuses our key or account"
                                               : "words");
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_comes_back_as_it_was),
        TEST(the_model_stands_in_the_path),
        TEST(turns_of_one_side_are_one_message),
        TEST(claude_thinks_by_the_fields_of_its_maker),
        TEST(what_cannot_be_read_is_refused_by_name),
        TEST(an_answer_has_two_forms),
        TEST(a_stream_without_its_end_is_cut),
        TEST(an_exception_says_why),
        TEST(frames_that_pass_are_watched),
        TEST(errors_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
