/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/anthropic.h"
#include "providers/ollama.h"
#include "providers/openai_chat.h"
#include "tests/unit/providers/translate_cases.h"

static struct answer_way way_between(const struct translator *from, const struct translator *to,
                                     bool stream)
{
    return (struct answer_way){
        .from = from,
        .to = to,
        .id = {"id", 2},
        .model = {"m", 1},
        .now_s = 1700000000,
        .stream_in = stream,
        .stream_out = stream,
        .wants_usage = true,
    };
}

#define USER "{\"role\":\"user\",\"content\":\"x\"}"

/* -------------------------------------------------------------------------------- calls */

static void a_call_of_its_own_keeps_all(void **state)
{
    (void)state;
    assert_call(&translator_ollama_chat, &translator_ollama_chat, "ollama", true,
                "{\"model\":\"q\",\"messages\":[" USER "],\"keep_alive\":\"5m\",\"think\":\"high\","
                "\"format\":{\"type\":\"object\"},\"options\":{\"num_ctx\":8192,\"num_predict\":5,"
                "\"temperature\":0.50,\"stop\":[\"a\"],\"mirostat\":1}}",
                "{\"model\":\"m\",\"messages\":[" USER "],\"format\":{\"type\":\"object\"},"
                "\"think\":\"high\",\"options\":{\"num_predict\":5,\"temperature\":0.50,"
                "\"num_ctx\":8192,\"mirostat\":1,\"stop\":[\"a\"]},\"stream\":true,"
                "\"keep_alive\":\"5m\"}",
                "", "");
}

static void what_only_it_knows_is_named_elsewhere(void **state)
{
    (void)state;
    assert_call(&translator_ollama_chat, &translator_openai_chat, "openai", false,
                "{\"model\":\"q\",\"messages\":[" USER "],\"stream\":false,\"keep_alive\":0,"
                "\"options\":{\"num_ctx\":8192,\"num_predict\":-2}}",
                "{\"model\":\"m\",\"messages\":[" USER "]}", "", "keep_alive,options.num_ctx");
}

static void anthropics_calls_are_written(void **state)
{
    (void)state;
    assert_call(
        &translator_anthropic, &translator_ollama_chat, "ollama", true,
        "{\"model\":\"q\",\"max_tokens\":9,\"system\":\"s\",\"tool_choice\":{\"type\":\"any\"},"
        "\"tools\":[{\"name\":\"f\",\"input_schema\":{\"type\":\"object\"}}],\"messages\":["
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\\u00e4\"},{\"type\":"
        "\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"QQ==\"}}"
        "]},{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"h\","
        "\"signature\":\"s\"},{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{}}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\","
        "\"content\":\"r\",\"is_error\":true}]}]}",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\","
        "\"content\":\"x\\u00e4\",\"images\":[\"QQ==\"]},{\"role\":\"assistant\",\"content\":\"\","
        "\"thinking\":\"h\",\"tool_calls\":[{\"id\":\"t1\",\"function\":{\"name\":\"f\","
        "\"arguments\":{}}}]},{\"role\":\"tool\",\"content\":\"r\",\"tool_name\":\"f\","
        "\"tool_call_id\":\"t1\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"parameters\":{\"type\":\"object\"}}}],\"options\":{\"num_predict\":9},\"stream\":true}",
        "tool_choice", "messages[2].content[0].signature,messages[3].content[0].is_error");
}

static void a_prompt_is_a_conversation(void **state)
{
    (void)state;
    assert_call(&translator_ollama_generate, &translator_openai_chat, "openai", false,
                "{\"model\":\"q\",\"prompt\":\"p\",\"system\":\"s\",\"images\":[\"/9j/QQ==\"],"
                "\"stream\":false,\"raw\":true}",
                "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":"
                "\"user\",\"content\":[{\"type\":\"text\",\"text\":\"p\"},{\"type\":\"image_url\","
                "\"image_url\":{\"url\":\"data:image/jpeg;base64,/9j/QQ==\"}}]}]}",
                "", "raw");
}

static void what_is_no_call_is_refused(void **state)
{
    (void)state;
    assert_refused(&translator_ollama_chat, "{\"messages\":[{\"role\":\"king\"}]}", "messages");
    assert_refused(&translator_ollama_chat, "{\"messages\":7}", "messages");
}

/* ------------------------------------------------------------------------------ answers */

#define LINE(rest) "{\"model\":\"v\",\"created_at\":\"t\"," rest "}\n"
#define OURS(rest) "{\"model\":\"m\",\"created_at\":\"2023-11-14T22:13:20Z\"," rest "}\n"

static const char stream[] = LINE(
    "\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\""
    ":\"h\"},\"done\":false")
    LINE("\"message\":{\"role\":\"assistant\",\"content\":\"a\\n\"},\"done\":false") "\r\n" LINE(
        "\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{"
        "\"name\":\"f\",\"arguments\":{\"k\": [1, \"}\"]}}}]},\"done\":false")
        LINE("\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":"
             "\"stop\",\"prompt_eval_count\":11,\"eval_count\":7");

static void a_stream_stays_lines_of_json(void **state)
{
    (void)state;
    struct answer_way way = way_between(&translator_ollama_chat, &translator_ollama_chat, true);
    struct answer seen = assert_made(
        &way, stream,
        OURS("\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"h\"},\"done\":"
             "false")
            OURS("\"message\":{\"role\":\"assistant\",\"content\":\"a\\n\"},\"done\":false")
                OURS("\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":"
                     "\"call_id_2\",\"function\":{\"name\":\"f\",\"arguments\":{\"k\": [1, "
                     "\"}\"]}}}]},\"done\":false")
                    OURS("\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,"
                         "\"done_reason\":\"stop\",\"total_duration\":0,\"load_duration\":0,"
                         "\"prompt_eval_count\":11,\"prompt_eval_duration\":0,\"eval_count\":7,"
                         "\"eval_duration\":0"));
    assert_int_equal(seen.usage.input_tokens, 11);
    assert_int_equal(seen.usage.output_tokens, 7);
    assert_true(seen.usage_seen);
}

static void all_calls_of_a_message_are_made(void **state)
{
    (void)state;
    struct answer_way way = way_between(&translator_ollama_chat, &translator_ollama_chat, false);
    assert_made(
        &way,
        "{\"message\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":{"
        "}}},{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":{\"x\":1}}}]},\"done\":"
        "true}",
        OURS("\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"a\","
             "\"function\":{\"name\":\"f\",\"arguments\":{}}},{\"id\":\"b\",\"function\":{"
             "\"name\":\"g\",\"arguments\":{\"x\":1}}}]},\"done\":true,\"done_reason\":\"stop\","
             "\"total_duration\":0,\"load_duration\":0,\"prompt_eval_count\":0,"
             "\"prompt_eval_duration\":0,\"eval_count\":0,\"eval_duration\":0"));
}

static void a_stream_that_breaks_off_is_not_whole(void **state)
{
    (void)state;
    struct answer_way way = way_between(&translator_ollama_chat, &translator_openai_chat, true);
    assert_broken(&way, LINE("\"message\":{\"content\":\"a\"},\"done\":false"), FAULT_TARGET_CUT);
    assert_broken(&way, "{\"error\":\"out of memory\"}\n", FAULT_TARGET_ERROR);
    assert_broken(&way, "{\"choices\":[]}\n", FAULT_TARGET_INVALID);
}

static void a_body_becomes_a_whole_answer(void **state)
{
    (void)state;
    struct answer_way way = way_between(&translator_ollama_chat, &translator_anthropic, false);
    struct answer seen = assert_made(
        &way,
        "{\"model\":\"v\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":true,"
        "\"done_reason\":\"length\",\"prompt_eval_count\":3,\"eval_count\":4}",
        "{\"id\":\"msg_id\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"v\","
        "\"content\":[{\"type\":\"text\",\"text\":\"a\"}],\"stop_reason\":\"max_tokens\","
        "\"stop_sequence\":null,\"usage\":{\"input_tokens\":3,\"cache_creation_input_tokens\":0,"
        "\"cache_read_input_tokens\":0,\"output_tokens\":4}}");
    assert_string_equal(seen.finish, "length");
}

/* -------------------------------------------------------------------- answers, watched */

static void what_passes_is_watched(void **state)
{
    (void)state;
    struct answer answer = {.operation = OPERATION_CHAT};
    struct text bytes = text_of(stream);
    struct sse_event event;
    enum event_verdict last = EVENT_PASS;
    assert_int_equal(dialect_ollama.whole_events(text_of("{\"a\":1}\n{\"b\"")), 8);
    assert_int_equal(dialect_ollama.whole_events(text_of("{\"a\"")), 0);
    assert_int_equal(dialect_ollama.whole_events(bytes), bytes.len);
    size_t taken = 0;
    while (dialect_ollama.next_event(&bytes, &event)) {
        assert_int_not_equal(last, EVENT_LAST);
        last = dialect_ollama.watch_event(&answer, &event);
        taken += event.raw.len;
    }
    assert_int_equal(taken, sizeof(stream) - 1);
    assert_int_equal(last, EVENT_LAST);
    assert_true(answer.ended && answer.usage_seen && !answer.failed);
    assert_int_equal(answer.usage.input_tokens, 11);
    assert_int_equal(answer.usage.output_tokens, 7);
    assert_int_equal(answer.events, 3);
    assert_string_equal(answer.finish, "stop");
}

static void what_goes_wrong_within_a_stream_is_seen(void **state)
{
    (void)state;
    struct answer answer = {.operation = OPERATION_CHAT};
    struct text bytes = TEXT("{\"error\":\"gone\"}\n");
    struct sse_event event;
    assert_true(dialect_ollama.next_event(&bytes, &event));
    assert_int_equal(dialect_ollama.watch_event(&answer, &event), EVENT_FAIL);
    assert_true(answer.failed && !answer.ended);
}

static void errors_have_kinds(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        enum fault_kind kind;
    } cases[] = {{404, FAULT_TARGET_REFUSED},
                 {401, FAULT_TARGET_ERROR},
                 {429, FAULT_TARGET_BUSY},
                 {500, FAULT_TARGET_ERROR}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct provider_error error;
        ollama_read_error(cases[i].status, TEXT("{\"error\":\"e\"}"), &error);
        assert_int_equal(error.kind, cases[i].kind);
        assert_string_equal(error.message, "e");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_of_its_own_keeps_all),
        cmocka_unit_test(what_only_it_knows_is_named_elsewhere),
        cmocka_unit_test(anthropics_calls_are_written),
        cmocka_unit_test(a_prompt_is_a_conversation),
        cmocka_unit_test(what_is_no_call_is_refused),
        cmocka_unit_test(a_stream_stays_lines_of_json),
        cmocka_unit_test(all_calls_of_a_message_are_made),
        cmocka_unit_test(a_stream_that_breaks_off_is_not_whole),
        cmocka_unit_test(a_body_becomes_a_whole_answer),
        cmocka_unit_test(what_passes_is_watched),
        cmocka_unit_test(what_goes_wrong_within_a_stream_is_seen),
        cmocka_unit_test(errors_have_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
