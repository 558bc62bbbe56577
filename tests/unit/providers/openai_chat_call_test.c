/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "providers/openai_chat.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct arena arena;
static struct translated_call made;
static struct fault fault;
static struct call_target target;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 4096);
    target = (struct call_target){.type = provider_type_find(TEXT("openai")), .model = TEXT("m")};
    fault = (struct fault){.kind = FAULT_NONE};
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static void at_provider(const char *name)
{
    target.type = provider_type_find(text_of(name));
    assert_non_null(target.type);
}

static void assert_text(struct text is, const char *wanted)
{
    assert_string_equal(arena_copy(&arena, is).at, wanted);
}

static bool translate(const struct translator *from, const struct translator *to, const char *body)
{
    return translate_call(&arena, from, to, text_of(body), TEXT(""), false, &target, &made, &fault);
}

static void assert_made(const struct translator *to, const char *body, const char *wanted)
{
    assert_true(translate(&translator_openai_chat, to, body));
    assert_text(made.body, wanted);
}

static void assert_losses(const char *demands, const char *hints)
{
    assert_text(made.demands, demands);
    assert_text(made.hints, hints);
}

static void assert_refused(const struct translator *from, const char *body, const char *param)
{
    assert_false(translate(from, &translator_openai_chat, body));
    assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
    assert_string_equal(fault.param, param);
}

#define CALL(messages, more) "{\"model\":\"m\",\"messages\":[" messages "]" more "}"
#define HI                   "{\"role\":\"user\",\"content\":\"hi\"}"

/* ------------------------------------------------------------------------------- its own words */

static const char whole_call[] = CALL(
    "{\"role\":\"developer\",\"content\":\"d\"},"
    "{\"role\":\"user\",\"name\":\"Ann\",\"content\":[{\"type\":\"text\",\"text\":\"a\\u00e9\"},"
    "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAA=\","
    "\"detail\":\"low\"}},"
    "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"BBB=\",\"format\":\"mp3\"}},"
    "{\"type\":\"file\",\"file\":{\"filename\":\"f.pdf\","
    "\"file_data\":\"data:application/pdf;base64,CCC=\"}}]},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":"
    "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1.50}\"}}]},"
    "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"r\"}",
    ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"x\","
    "\"parameters\":{\"type\":\"object\"},\"strict\":true}},"
    "{\"type\":\"custom\",\"custom\":{\"name\":\"p\"}}],"
    "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"
    "\"parallel_tool_calls\":false,\"max_completion_tokens\":5,\"temperature\":0.70,"
    "\"top_p\":1,\"seed\":7,\"logit_bias\":{\"1\":2},\"stop\":[\"a\",\"b\"],\"n\":2,"
    "\"logprobs\":true,\"top_logprobs\":3,\"response_format\":{\"type\":\"json_schema\","
    "\"json_schema\":{\"name\":\"n\",\"schema\":{\"type\":\"object\"},\"strict\":true}},"
    "\"reasoning_effort\":\"low\",\"user\":\"u\",\"metadata\":{\"k\":\"v\"},"
    "\"service_tier\":\"flex\",\"verbosity\":\"low\",\"store\":true,"
    "\"prompt_cache_key\":\"k\"");

static void a_call_in_its_own_words_stays_what_it_is(void **state)
{
    (void)state;
    assert_made(&translator_openai_chat, whole_call, whole_call);
    assert_losses("", "");
    assert_text(made.path, "/chat/completions");
}

static void a_stream_is_asked_for_its_usage_where_the_server_knows_that(void **state)
{
    (void)state;
    target.stream = true;
    const char *body = CALL(HI, ",\"stream\":true,\"stream_options\":{\"include_usage\":false,"
                                "\"include_obfuscation\":false}");
    assert_made(&translator_openai_chat, body,
                CALL(HI, ",\"stream\":true,\"stream_options\":{\"include_usage\":true,"
                         "\"include_obfuscation\":false}"));
    at_provider("deepseek");
    assert_made(&translator_openai_chat, body, CALL(HI, ",\"stream\":true"));
}

static void names_with_escapes_are_the_same_names(void **state)
{
    (void)state;
    target.lowered_tokens = 3;
    assert_made(&translator_openai_chat,
                CALL(HI, ",\"max_\\u0063ompletion_tokens\":9000,\"\\u0061b\":1"),
                CALL(HI, ",\"max_completion_tokens\":3,\"ab\":1"));
}

static void tokens_are_lowered_clamped_or_filled_in(void **state)
{
    (void)state;
    target.max_tokens_default = 7;
    target.max_tokens_max = 100;
    assert_made(&translator_openai_chat, CALL(HI, ""), CALL(HI, ",\"max_completion_tokens\":7"));
    assert_made(&translator_openai_chat, CALL(HI, ",\"max_tokens\":500"),
                CALL(HI, ",\"max_completion_tokens\":100"));
    assert_losses("", "max_tokens");
    at_provider("fireworks");
    assert_made(&translator_openai_chat, CALL(HI, ",\"max_tokens\":5,\"max_completion_tokens\":6"),
                CALL(HI, ",\"max_tokens\":6"));
    /* Servers of one's own take -1 for all there is. */
    assert_made(&translator_openai_chat, CALL(HI, ",\"max_tokens\":-1"),
                CALL(HI, ",\"max_tokens\":7"));
}

static void functions_of_old_become_tools(void **state)
{
    (void)state;
    assert_made(
        &translator_openai_chat,
        CALL("{\"role\":\"assistant\",\"content\":null,\"function_call\":{\"name\":\"f\","
             "\"arguments\":\"{}\"}},{\"role\":\"function\",\"name\":\"f\",\"content\":\"1\"}",
             ",\"functions\":[{\"name\":\"f\"}],\"function_call\":{\"name\":\"f\"}"),
        CALL("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_0_0\","
             "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
             "{\"role\":\"tool\",\"tool_call_id\":\"call_0_0\",\"content\":\"1\"}",
             ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
             "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"
             "\"parallel_tool_calls\":false"));
}

static void the_body_of_a_response_is_read_as_one(void **state)
{
    (void)state;
    assert_made(&translator_openai_chat,
                "{\"model\":\"x\",\"input\":[{\"role\":\"user\",\"content\":\"hi\"}],"
                "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{}}],"
                "\"max_tokens\":9,\"stream_options\":{\"include_usage\":true}}",
                CALL(HI, ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                         "\"parameters\":{}}}],\"max_completion_tokens\":9"));
    assert_losses("", "");
}

/* ------------------------------------------------------------------------- what servers agreed on
 */

#define REASONED                                                                           \
    CALL("{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":\"ab\","         \
         "\"reasoning_details\":[{\"type\":\"reasoning.text\",\"text\":\"a\",\"format\":"  \
         "\"anthropic-claude-v1\",\"signature\":\"S\",\"index\":0},"                       \
         "{\"type\":\"reasoning.text\",\"text\":\"b\",\"format\":\"anthropic-claude-v1\"," \
         "\"index\":1},{\"type\":\"reasoning.encrypted\",\"data\":\"D\",\"format\":"       \
         "\"anthropic-claude-v1\",\"index\":1}]}",                                         \
         "")

static void reasoning_goes_to_those_who_want_it(void **state)
{
    (void)state;
    at_provider("mock");
    assert_made(&translator_openai_chat, REASONED, REASONED);
    assert_losses("", "");
    at_provider("deepseek");
    assert_made(
        &translator_openai_chat, REASONED,
        CALL("{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":\"ab\"}", ""));
    assert_losses("", "messages[0].content[0].signature,messages[0].content[1].signature");
    at_provider("openai");
    assert_made(&translator_openai_chat, REASONED,
                CALL("{\"role\":\"assistant\",\"content\":\"x\"}", ""));
    assert_losses("", "messages[0].content[0],messages[0].content[1]");
}

static void reasoning_in_pieces_is_put_together(void **state)
{
    (void)state;
    at_provider("openrouter");
    assert_made(&translator_openai_chat,
                CALL("{\"role\":\"assistant\",\"content\":\"x\",\"reasoning\":\"ab\","
                     "\"reasoning_details\":[{\"text\":\"a\",\"index\":0},{\"text\":\"b\","
                     "\"index\":0},{\"signature\":\"S\",\"index\":0},{\"data\":\"D\","
                     "\"index\":1}]}",
                     ""),
                CALL("{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_details\":["
                     "{\"type\":\"reasoning.text\",\"text\":\"ab\",\"format\":\"unknown\","
                     "\"signature\":\"S\",\"index\":0},{\"type\":\"reasoning.encrypted\","
                     "\"data\":\"D\",\"format\":\"unknown\",\"index\":1}]}",
                     ""));
}

static void marks_of_the_cache_are_kept_or_named(void **state)
{
    (void)state;
    const char *body = CALL(
        "{\"role\":\"user\",\"content\":\"a\",\"cache_control\":{\"type\":\"ephemeral\"}}", "");
    at_provider("openrouter");
    assert_made(&translator_openai_chat, body,
                CALL("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\","
                     "\"cache_control\":{\"type\":\"ephemeral\"}}]}",
                     ""));
    at_provider("groq");
    assert_made(&translator_openai_chat, body, CALL("{\"role\":\"user\",\"content\":\"a\"}", ""));
    assert_losses("", "messages[0].content[0].cache_control");
}

static void reasoning_is_asked_for_in_each_servers_words(void **state)
{
    (void)state;
    static const char *const asked[][3] = {
        {"openai", ",\"reasoning\":{\"effort\":\"low\"}", ",\"reasoning_effort\":\"low\""},
        {"openai", ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":9000}",
         ",\"reasoning_effort\":\"high\""},
        {"openai", ",\"reasoning_effort\":\"none\"", ",\"reasoning_effort\":\"none\""},
        {"openrouter", ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":9000}",
         ",\"reasoning\":{\"max_tokens\":9000}"},
        {"deepseek", ",\"reasoning_effort\":\"none\"", ",\"thinking\":{\"type\":\"disabled\"}"},
        {"dashscope", ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":9}",
         ",\"enable_thinking\":true,\"thinking_budget\":9"},
        {"vllm", ",\"enable_thinking\":false",
         ",\"chat_template_kwargs\":{\"enable_thinking\":false}"},
        {"ai21", ",\"reasoning_effort\":\"low\"", ""},
    };
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        at_provider(asked[i][0]);
        struct text body =
            arena_format(&arena, "{\"model\":\"m\",\"messages\":[%s]%s}", HI, asked[i][1]);
        struct text wanted =
            arena_format(&arena, "{\"model\":\"m\",\"messages\":[%s]%s}", HI, asked[i][2]);
        assert_made(&translator_openai_chat, body.at, wanted.at);
    }
    assert_losses("", "reasoning");
}

static void what_a_server_cannot_do_is_a_demand(void **state)
{
    (void)state;
    at_provider("deepseek");
    assert_made(&translator_openai_chat,
                CALL(HI, ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
                         "{\"name\":\"n\",\"schema\":{}}}"),
                CALL(HI, ",\"response_format\":{\"type\":\"json_object\"}"));
    assert_losses("response_format.json_schema", "");
    at_provider("groq");
    assert_made(&translator_openai_chat,
                CALL(HI, ",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"],\"top_k\":3"),
                CALL(HI, ",\"stop\":[\"a\",\"b\",\"c\",\"d\"]"));
    assert_losses("stop[4]", "top_k");
}

/* ------------------------------------------------------------------------------- from elsewhere */

static void results_of_anthropics_come_first_and_their_pictures_are_the_users(void **state)
{
    (void)state;
    const struct translator *anthropic = translator_find(TEXT("anthropic"), OPERATION_CHAT);
    assert_true(translate(
        anthropic, &translator_openai_chat,
        "{\"model\":\"x\",\"max_tokens\":9,\"system\":\"s\",\"messages\":[{\"role\":\"user\","
        "\"content\":\"q\"},{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":"
        "\"t1\",\"name\":\"f\",\"input\":{\"a\":1}}]},{\"role\":\"user\",\"content\":[{\"type\":"
        "\"tool_result\",\"tool_use_id\":\"t1\",\"is_error\":true,\"content\":[{\"type\":\"text\","
        "\"text\":\"r\"},{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":"
        "\"image/png\",\"data\":\"AAA=\"}}]},{\"type\":\"text\",\"text\":\"more\"}]}]}"));
    assert_text(made.body,
                CALL("{\"role\":\"system\",\"content\":\"s\"},"
                     "{\"role\":\"user\",\"content\":\"q\"},"
                     "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"t1\","
                     "\"type\":\"function\",\"function\":{\"name\":\"f\","
                     "\"arguments\":\"{\\\"a\\\":1}\"}}]},"
                     "{\"role\":\"tool\",\"tool_call_id\":\"t1\",\"content\":\"r\"},"
                     "{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
                     "{\"url\":\"data:image/png;base64,AAA=\"}},"
                     "{\"type\":\"text\",\"text\":\"more\"}]}",
                     ",\"max_completion_tokens\":9"));
    assert_losses("", "messages[2].content[0].content[1],messages[2].content[0].is_error");
}

static void calls_of_one_turn_stand_in_one_message(void **state)
{
    (void)state;
    assert_made(
        &translator_openai_chat,
        CALL("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\","
             "\"arguments\":{}}}]},{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{"
             "\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]},"
             "{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"\"}",
             ""),
        CALL("{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{\"id\":\"a\",\"type\":"
             "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"b\","
             "\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
             "{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"\"}",
             ""));
}

static void an_id_too_long_is_the_same_short_one_each_time(void **state)
{
    (void)state;
    assert_true(translate(
        &translator_openai_chat, &translator_openai_chat,
        CALL("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":"
             "\"an_id_of_more_than_forty_characters_is_refused\",\"function\":{\"name\":\"f\"}}]},"
             "{\"role\":\"tool\",\"tool_call_id\":"
             "\"an_id_of_more_than_forty_characters_is_refused\",\"content\":\"r\"}",
             "")));
    size_t first = text_find(made.body, TEXT("\"call_"));
    struct text id = text_head(text_from(made.body, first), 31);
    assert_int_equal(id.at[30], '"');
    assert_true(text_find(text_from(made.body, first + id.len), id) != SIZE_MAX);
}

/* ------------------------------------------------------------------------------------- Mistral */

static void mistral_has_its_own_words(void **state)
{
    (void)state;
    at_provider("mistral");
    target.stream = true;
    assert_made(
        &translator_mistral_chat,
        CALL("{\"role\":\"developer\",\"content\":\"d\"},"
             "{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{\"file_data\":"
             "\"data:application/pdf;base64,AAA=\",\"filename\":\"f\"}}]},"
             "{\"role\":\"assistant\",\"reasoning_content\":\"r\",\"content\":\"x\","
             "\"tool_calls\":[{\"id\":\"123456789\",\"function\":{\"name\":\"f\"}}]},"
             "{\"role\":\"tool\",\"tool_call_id\":\"123456789\",\"content\":\"1\"},"
             "{\"role\":\"assistant\",\"content\":\"so\"}",
             ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
             "\"tool_choice\":\"required\",\"seed\":7,\"max_completion_tokens\":5,"
             "\"temperature\":1.8,\"stream\":true,\"user\":\"u\",\"logprobs\":true"),
        CALL("{\"role\":\"system\",\"content\":\"d\"},"
             "{\"role\":\"user\",\"content\":[{\"type\":\"document_url\",\"document_url\":"
             "\"data:application/pdf;base64,AAA=\",\"document_name\":\"f\"}]},"
             "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":"
             "\"text\",\"text\":\"r\"}]},{\"type\":\"text\",\"text\":\"x\"}],\"tool_calls\":[{"
             "\"id\":\"123456789\",\"type\":\"function\",\"function\":{\"name\":\"f\","
             "\"arguments\":\"{}\"}}]},"
             "{\"role\":\"tool\",\"tool_call_id\":\"123456789\",\"content\":\"1\"},"
             "{\"role\":\"assistant\",\"content\":\"so\",\"prefix\":true}",
             ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":"
             "{\"type\":\"object\",\"properties\":{}}}}],\"tool_choice\":\"any\","
             "\"max_tokens\":5,\"temperature\":1.5,\"random_seed\":7,\"stream\":true"));
    assert_losses("logprobs", "temperature,user");
}

static void mistral_hears_itself_between_a_tool_and_the_user(void **state)
{
    (void)state;
    at_provider("mistral");
    const char *body =
        CALL("{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":"
             "\"123456789\",\"type\":\"function\",\"function\":{\"name\":\"f\","
             "\"arguments\":\"{}\"}}]},"
             "{\"role\":\"tool\",\"tool_call_id\":\"123456789\",\"content\":\"1\"}," HI,
             "");
    assert_true(translate(&translator_openai_chat, &translator_mistral_chat, body));
    assert_true(text_find(made.body, TEXT("{\"role\":\"assistant\",\"content\":\"OK.\"}," HI)) !=
                SIZE_MAX);
    assert_losses("", "messages.order");
    /* Who speaks to Mistral in its own words knows what he does. */
    assert_true(translate(&translator_mistral_chat, &translator_mistral_chat, body));
    assert_text(made.body, body);
}

/* --------------------------------------------------------------------------------- completions */

static void a_prompt_is_what_a_user_says(void **state)
{
    (void)state;
    assert_true(translate(&translator_openai_completion, &translator_openai_chat,
                          "{\"model\":\"x\",\"prompt\":[\"hi\"],\"max_tokens\":4,\"best_of\":1,"
                          "\"echo\":false,\"stop\":\"x\"}"));
    assert_text(made.body, CALL(HI, ",\"max_completion_tokens\":4,\"stop\":[\"x\"]"));
    assert_losses("", "");
}

static void what_a_chat_has_not_is_a_demand_of_a_completion(void **state)
{
    (void)state;
    assert_true(translate(&translator_openai_completion, &translator_openai_chat,
                          "{\"model\":\"x\",\"prompt\":[\"hi\",\"b\"],\"suffix\":\"s\","
                          "\"best_of\":3,\"echo\":true,\"logprobs\":2}"));
    assert_text(made.body, CALL(HI, ",\"max_completion_tokens\":16"));
    assert_losses("prompt,suffix,best_of,echo,logprobs", "");
    assert_refused(&translator_openai_completion, "{\"model\":\"x\",\"prompt\":[[1]]}", "prompt");
    assert_refused(&translator_openai_completion, "{\"model\":\"x\"}", "prompt");
}

static void a_completion_in_its_own_words_stays_what_it_is(void **state)
{
    (void)state;
    const char *body = "{\"model\":\"m\",\"prompt\":\"hi\",\"max_tokens\":4,\"temperature\":0,"
                       "\"user\":\"u\",\"suffix\":\"s\",\"logprobs\":2}";
    assert_true(translate(&translator_openai_completion, &translator_openai_completion, body));
    assert_text(made.body, body);
    assert_text(made.path, "/completions");
}

/* --------------------------------------------------------------------------------------- faults */

static void what_is_wrong_is_refused_by_its_name(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"{\"model\":\"m\"}", "messages"},
        {"{\"model\":\"m\",\"messages\":[]}", "messages"},
        {"{\"model\":7,\"messages\":[" HI "]}", "model"},
        {CALL("{\"role\":\"x\",\"content\":\"\"}", ""), "messages[0].role"},
        {CALL(HI ",{\"role\":\"user\",\"content\":7}", ""), "messages[1].content"},
        {CALL("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":7}]}", ""),
         "messages[0].content"},
        {CALL("{\"role\":\"tool\",\"content\":\"x\"}", ""), "messages[0].tool_call_id"},
        {CALL("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"x\"}]}", ""),
         "messages[0].tool_calls"},
        {CALL(HI, ",\"temperature\":\"1\""), "temperature"},
        {CALL(HI, ",\"max_tokens\":0"), "max_tokens"},
        {CALL(HI, ",\"n\":129"), "n"},
        {CALL(HI, ",\"stop\":[7]"), "stop"},
        {CALL(HI, ",\"tools\":[{\"type\":\"function\",\"function\":{}}]"),
         "tools[0].function.name"},
        {CALL(HI, ",\"tool_choice\":\"perhaps\""), "tool_choice"},
        {CALL(HI, ",\"response_format\":{\"type\":\"x\"}"), "response_format"},
        {CALL(HI, ",\"stream\":1"), "stream"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refused(&translator_openai_chat, wrong[i][0], wrong[i][1]);
}

static void what_is_null_is_not_there(void **state)
{
    (void)state;
    assert_made(&translator_openai_chat,
                CALL("{\"role\":\"user\",\"content\":\"hi\",\"name\":null,\"tool_calls\":null}",
                     ",\"temperature\":null,\"stop\":null,\"tools\":null,\"max_tokens\":null,"
                     "\"whatever\":null"),
                CALL(HI, ""));
    assert_losses("", "");
}

static void what_nobody_keeps_is_named(void **state)
{
    (void)state;
    assert_made(&translator_openai_chat,
                CALL("{\"role\":\"user\",\"content\":\"hi\",\"weight\":1}", ""), CALL(HI, ""));
    assert_losses("", "messages.weight");
}

static void azure_has_its_deployments_in_the_path(void **state)
{
    (void)state;
    target.model = TEXT("my model/1");
    target.api_version = TEXT("2024-10-21");
    assert_true(translate(&translator_openai_chat, &translator_openai_chat, CALL(HI, "")));
    assert_text(made.path,
                "/openai/deployments/my%20model%2F1/chat/completions?api-version=2024-10-21");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_in_its_own_words_stays_what_it_is),
        TEST(a_stream_is_asked_for_its_usage_where_the_server_knows_that),
        TEST(names_with_escapes_are_the_same_names),
        TEST(tokens_are_lowered_clamped_or_filled_in),
        TEST(functions_of_old_become_tools),
        TEST(the_body_of_a_response_is_read_as_one),
        TEST(reasoning_goes_to_those_who_want_it),
        TEST(reasoning_in_pieces_is_put_together),
        TEST(marks_of_the_cache_are_kept_or_named),
        TEST(reasoning_is_asked_for_in_each_servers_words),
        TEST(what_a_server_cannot_do_is_a_demand),
        TEST(results_of_anthropics_come_first_and_their_pictures_are_the_users),
        TEST(calls_of_one_turn_stand_in_one_message),
        TEST(an_id_too_long_is_the_same_short_one_each_time),
        TEST(mistral_has_its_own_words),
        TEST(mistral_hears_itself_between_a_tool_and_the_user),
        TEST(a_prompt_is_what_a_user_says),
        TEST(what_a_chat_has_not_is_a_demand_of_a_completion),
        TEST(a_completion_in_its_own_words_stays_what_it_is),
        TEST(what_is_wrong_is_refused_by_its_name),
        TEST(what_is_null_is_not_there),
        TEST(what_nobody_keeps_is_named),
        TEST(azure_has_its_deployments_in_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
