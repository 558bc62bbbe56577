/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/cohere.h"
#include "providers/openai_chat.h"
#include "tests/unit/providers/translate_cases.h"

static struct answer_way way_to(const struct translator *to, bool stream_in, bool stream_out)
{
    return (struct answer_way){
        .from = &translator_cohere_chat,
        .to = to,
        .id = {"id", 2},
        .model = {"m", 1},
        .now_s = 1700000000,
        .stream_in = stream_in,
        .stream_out = stream_out,
        .wants_usage = true,
    };
}

/* -------------------------------------------------------------------------------- calls */

static void a_call_of_its_own_keeps_all(void **state)
{
    (void)state;
    assert_call(
        &translator_cohere_chat, &translator_cohere_chat, "cohere", true,
        "{\"model\":\"q\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"k\":3,\"p\":0.50,"
        "\"documents\":[\"d\"],\"safety_mode\":\"OFF\",\"strict_tools\":true,\"stream\":true}",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":"
        "\"x\"}]}],\"p\":0.50,\"k\":3,\"stream\":true,\"documents\":[\"d\"],\"safety_mode\":"
        "\"OFF\","
        "\"strict_tools\":true}",
        "", "");
}

static void openais_calls_are_written(void **state)
{
    (void)state;
    assert_call(
        &translator_openai_chat, &translator_cohere_chat, "cohere", false,
        "{\"model\":\"q\",\"max_completion_tokens\":9,\"tool_choice\":\"required\",\"user\":"
        "\"u\",\"n\":2,\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"parameters\":{\"type\":\"object\"}}}],\"messages\":[{\"role\":\"developer\","
        "\"content\":\"s\"},{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"t\",\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"t\",\"content\":\"r\"}]}",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":"
        "\"text\",\"text\":\"s\"}]},{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"t\",\"type\":"
        "\"function\",\"function\":{"
        "\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]},{\"role\":\"tool\","
        "\"tool_call_id\":\"t\",\"content\":\"r\"}],\"tools\":[{\"type\":\"function\","
        "\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}}],"
        "\"tool_choice\":\"REQUIRED\",\"max_tokens\":9,\"stream\":false}",
        "n", "user");
}

static void what_is_no_call_is_refused(void **state)
{
    (void)state;
    assert_refused(&translator_cohere_chat, "{\"messages\":[{\"role\":\"king\",\"content\":\"\"}]}",
                   "messages.role");
    assert_refused(&translator_cohere_chat, "{\"message\":\"of v1\"}", "messages");
}

/* ------------------------------------------------------------------------------ answers */

#define EVENT(type, rest) "event: " type "\ndata: {\"type\":\"" type "\"" rest "}\n\n"

static const char stream[] =
    EVENT("message-start",
          ",\"id\":\"r\",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\""
          ":[],\"tool_plan\":\"\",\"tool_calls\":[],\"citations\":[]}}")
        EVENT("tool-plan-delta", ",\"delta\":{\"message\":{\"tool_plan\":\"I look.\"}}") EVENT(
            "tool-call-start", ",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"t\","
                               "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
                               "\"\"}}}}")
            EVENT("tool-call-delta",
                  ",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"function\":{"
                  "\"arguments\":\"{\\\"a\\\": 1}\"}}}}") EVENT("tool-call-end", ",\"index\":0")
                EVENT("message-end",
                      ",\"delta\":{\"finish_reason\":\"TOOL_CALL\",\"usage\":{\"billed_units\":{"
                      "\"input_tokens\":5,\"output_tokens\":2},\"tokens\":{\"input_tokens\":50,"
                      "\"output_tokens\":20},\"cached_tokens\":8}}") "data: [DONE]\n\n";

static void a_stream_becomes_a_whole_answer(void **state)
{
    (void)state;
    struct answer_way way = way_to(&translator_openai_chat, true, false);
    struct answer seen = assert_made(
        &way, stream,
        "{\"id\":\"r\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"m\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,"
        "\"refusal\":null,\"reasoning_content\":\"I look.\",\"tool_calls\":[{\"id\":\"t\",\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}}]},"
        "\"logprobs\":null,\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":50,"
        "\"completion_tokens\":20,\"total_tokens\":70,\"prompt_tokens_details\":{\"cached_tokens\":"
        "8,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,"
        "\"audio_tokens\":0}}}");
    assert_int_equal(seen.usage.input_tokens, 50);
    assert_int_equal(seen.usage.cached_tokens, 8);
}

static void a_stream_that_breaks_off_is_not_whole(void **state)
{
    (void)state;
    struct answer_way way = way_to(&translator_cohere_chat, true, true);
    assert_broken(&way, EVENT("message-start", ",\"id\":\"r\""), FAULT_TARGET_CUT);
    assert_broken(&way, "event: content-delta\ndata: {\"type\"\n\n", FAULT_TARGET_INVALID);
}

static void figures_are_what_the_model_read_and_wrote(void **state)
{
    (void)state;
    struct usage usage = {0};
    assert_true(cohere_read_usage(TEXT("{\"billed_units\":{\"input_tokens\":5,\"output_tokens\":2},"
                                       "\"tokens\":{\"input_tokens\":50,\"output_tokens\":20},"
                                       "\"cached_tokens\":90}"),
                                  &usage));
    assert_int_equal(usage.input_tokens, 50);
    assert_int_equal(usage.cached_tokens, 50);
    usage = (struct usage){0};
    assert_true(cohere_read_usage(TEXT("{\"billed_units\":{\"input_tokens\":5}}"), &usage));
    assert_int_equal(usage.input_tokens, 5);
    assert_false(cohere_read_usage(TEXT("{\"tokens\":{\"input_tokens\":-1}}"), &usage));
    usage = (struct usage){0};
    assert_true(cohere_read_meta(TEXT("{\"billed_units\":{\"search_units\":2,\"image_tokens\":4}}"),
                                 &usage));
    assert_int_equal(usage.units, 2);
    assert_int_equal(usage.input_tokens, 4);
}

/* -------------------------------------------------------------------- answers, watched */

static void what_passes_is_watched(void **state)
{
    (void)state;
    struct answer answer = {.operation = OPERATION_CHAT};
    struct text bytes = text_of(stream);
    struct sse_event event;
    enum event_verdict verdicts[8];
    size_t count = 0;
    while (sse_next(&bytes, &event) && count < 8)
        verdicts[count++] = dialect_cohere.watch_event(&answer, &event);
    assert_int_equal(count, 7);
    assert_int_equal(verdicts[4], EVENT_PASS);
    assert_int_equal(verdicts[5], EVENT_LAST);
    assert_true(answer.usage_seen && answer.ended);
    assert_int_equal(answer.usage.output_tokens, 20);
    assert_int_equal(answer.events, 2);
    assert_string_equal(answer.finish, "TOOL_CALL");
}

static void an_end_in_error_is_one(void **state)
{
    (void)state;
    struct answer answer = {.operation = OPERATION_CHAT};
    struct text bytes = TEXT(
        EVENT("message-end", ",\"delta\":{\"finish_reason\":\"ERROR_TOXIC\",\"error\":\"e\"}"));
    struct sse_event event;
    assert_true(sse_next(&bytes, &event));
    assert_int_equal(dialect_cohere.watch_event(&answer, &event), EVENT_FAIL);
    assert_true(answer.failed);
}

static void errors_have_kinds(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        enum fault_kind kind;
    } cases[] = {{400, FAULT_TARGET_REFUSED},
                 {402, FAULT_TARGET_ERROR},
                 {429, FAULT_TARGET_BUSY},
                 {503, FAULT_TARGET_ERROR}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct provider_error error;
        cohere_read_error(cases[i].status, TEXT("{\"id\":\"1\",\"message\":\"e\"}"), &error);
        assert_int_equal(error.kind, cases[i].kind);
        assert_string_equal(error.message, "e");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_of_its_own_keeps_all),
        cmocka_unit_test(openais_calls_are_written),
        cmocka_unit_test(what_is_no_call_is_refused),
        cmocka_unit_test(a_stream_becomes_a_whole_answer),
        cmocka_unit_test(a_stream_that_breaks_off_is_not_whole),
        cmocka_unit_test(figures_are_what_the_model_read_and_wrote),
        cmocka_unit_test(what_passes_is_watched),
        cmocka_unit_test(an_end_in_error_is_one),
        cmocka_unit_test(errors_have_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
