/* SPDX-License-Identifier: Apache-2.0 */
/* Anthropic's dialect: calls, read and written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/anthropic.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* Whose calls come from elsewhere, and whose answers go there. */
static const struct translator elsewhere = {.name = {"openai-chat", 11}, .dialect = {"openai", 6}};

static struct arena arena;
static struct buffer out;
static struct losses losses;
static struct chat chat;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 4096);
    buffer_init(&out, 1 << 24);
    losses = (struct losses){.demand_len = 0};
    chat = (struct chat){.choices = 1, .top_logprobs = -1, .from = &elsewhere};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_done(&arena);
    buffer_done(&out);
    return 0;
}

static void expect_out(const char *wanted)
{
    struct text text = arena_copy(&arena, buffer_text(&out));
    assert_string_equal(text.at, wanted);
    buffer_clear(&out);
}

/* ------------------------------------------------------------------------- calls are read */

static bool read_call(const char *json, struct fault *fault)
{
    struct call_source source = {.body = text_of(json), .model = {"", 0}};
    chat = (struct chat){.from = &translator_anthropic};
    assert_true(scan_is_valid(source.body));
    return anthropic_read_call(&arena, &source, &chat, fault);
}

static void must_read(const char *json)
{
    struct fault fault = {.kind = FAULT_NONE};
    if (!read_call(json, &fault))
        fail_msg("%s", fault.text);
}

static void expect_text(struct text text, const char *wanted)
{
    assert_string_equal(arena_copy(&arena, text).at, wanted);
}

static void reads_what_a_call_says(void **state)
{
    (void)state;
    must_read("{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":100,\"system\":\"Be brief.\","
              "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"temperature\":0.5,"
              "\"top_p\":0.9,\"top_k\":5,\"stop_sequences\":[\"END\"],\"stream\":true,"
              "\"metadata\":{\"user_id\":\"u1\"},\"service_tier\":\"auto\","
              "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2048},"
              "\"tools\":[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":"
              "\"object\"},\"strict\":true}],\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\","
              "\"disable_parallel_tool_use\":true},\"inference_geo\":\"us\"}");
    expect_text(chat.model, "claude-sonnet-4-5");
    assert_int_equal(chat.max_tokens, 100);
    assert_int_equal(chat.message_count, 2);
    assert_int_equal(chat.messages[0].role, ROLE_SYSTEM);
    expect_text(chat.messages[0].parts[0].text, "Be brief.");
    expect_text(chat.messages[1].parts[0].text, "Hi");
    expect_text(chat.temperature, "0.5");
    expect_text(chat.top_k, "5");
    expect_text(chat.stops[0], "END");
    assert_true(chat.stream);
    expect_text(chat.user, "u1");
    assert_int_equal(chat.reasoning, SAID_YES);
    assert_int_equal(chat.reasoning_shown, SAID_YES);
    assert_int_equal(chat.reasoning_tokens, 2048);
    assert_int_equal(chat.tools[0].kind, TOOL_FUNCTION);
    assert_true(chat.tools[0].strict);
    assert_int_equal(chat.tool_choice, CHOICE_ONE);
    assert_int_equal(chat.parallel_calls, SAID_NO);
    assert_int_equal(chat.field_count, 1);
    expect_text(chat.fields[0].name, "inference_geo");
}

static void reads_each_kind_of_block(void **state)
{
    (void)state;
    must_read("{\"messages\":[{\"role\":\"assistant\",\"content\":["
              "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"sig\"},"
              "{\"type\":\"redacted_thinking\",\"data\":\"xyz\"},"
              "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"a\":1}},"
              "{\"type\":\"server_tool_use\",\"id\":\"s1\",\"name\":\"web_search\",\"input\":{}}]},"
              "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"and\","
              "\"cache_control\":{\"type\":\"ephemeral\"}},"
              "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"is_error\":true,\"content\":["
              "{\"type\":\"text\",\"text\":\"no\"},{\"type\":\"image\",\"source\":{\"type\":"
              "\"base64\",\"media_type\":\"image/png\",\"data\":\"AAAA\"}}]},"
              "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://a/b.png\"}},"
              "{\"type\":\"document\",\"title\":\"T\",\"source\":{\"type\":\"text\",\"media_type\":"
              "\"text/plain\",\"data\":\"words\"}},"
              "{\"type\":\"document\",\"source\":{\"type\":\"file\",\"file_id\":\"file_1\"}},"
              "{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":[{\"type\":"
              "\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":\"two\"}]}}]}]}");
    assert_int_equal(chat.message_count, 3);
    const struct part *said = chat.messages[0].parts;
    assert_int_equal(said[0].kind, PART_REASONING);
    expect_text(said[0].signature, "sig");
    expect_text(said[1].encrypted, "xyz");
    assert_int_equal(said[2].kind, PART_CALL);
    expect_text(said[2].arguments, "{\"a\":1}");
    assert_int_equal(said[3].kind, PART_RAW);
    /* What came of tools is a message of its own, in front. */
    assert_int_equal(chat.messages[1].role, ROLE_TOOL);
    const struct part *result = &chat.messages[1].parts[0];
    assert_int_equal(result->kind, PART_RESULT);
    assert_true(result->is_error);
    assert_int_equal(result->part_count, 2);
    expect_text(result->parts[1].data, "AAAA");
    const struct part *asked = chat.messages[2].parts;
    assert_int_equal(chat.messages[2].role, ROLE_USER);
    expect_text(asked[0].cache, "{\"type\":\"ephemeral\"}");
    expect_text(asked[1].url, "https://a/b.png");
    expect_text(asked[2].name, "T");
    expect_text(asked[2].text, "words");
    expect_text(asked[3].id, "file_1");
    expect_text(asked[4].text, "one\\n\\ntwo");
}

static void refuses_what_the_reference_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *call, *param;
    } cases[] = {
        {"{\"model\":\"m\"}", "messages"},
        {"{\"messages\":{}}", "messages"},
        {"{\"messages\":[\"x\"]}", "messages.0"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "messages.0.role"},
        {"{\"messages\":[{\"role\":\"user\"}]}", "messages.0.content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}",
         "messages.0.content.0"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"a\"}]}]}",
         "messages.0.content.0"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\"}]}]}",
         "messages.0.content.0"},
        {"{\"messages\":[],\"max_tokens\":\"7\"}", "max_tokens"},
        {"{\"messages\":[],\"max_tokens\":0}", "max_tokens"},
        {"{\"messages\":[],\"max_tokens\":-1}", "max_tokens"},
        {"{\"messages\":[],\"temperature\":\"hot\"}", "temperature"},
        {"{\"messages\":[],\"stop_sequences\":\"x\"}", "stop_sequences"},
        {"{\"messages\":[],\"stream\":1}", "stream"},
        {"{\"messages\":[],\"system\":7}", "system"},
        {"{\"messages\":[],\"tools\":{}}", "tools"},
        {"{\"messages\":[],\"tools\":[{}]}", "tools.0.name"},
        {"{\"messages\":[],\"tool_choice\":{\"type\":\"some\"}}", "tool_choice.type"},
        {"{\"messages\":[],\"tool_choice\":{\"type\":\"tool\"}}", "tool_choice.name"},
        {"{\"messages\":[],\"thinking\":{}}", "thinking.type"},
        {"{\"messages\":[],\"output_config\":{\"format\":{\"type\":\"xml\"}}}",
         "output_config.format.type"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fault fault = {.kind = FAULT_NONE};
        assert_false(read_call(cases[i].call, &fault));
        assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
        assert_string_equal(fault.param, cases[i].param);
    }
}

static void a_call_with_servers_of_tools_demands_them(void **state)
{
    (void)state;
    must_read("{\"messages\":[],\"mcp_servers\":[{\"type\":\"url\"}]}");
    assert_int_equal(chat.field_count, 1);
    assert_true(chat.fields[0].is_demand);
}

/* ----------------------------------------------------------------------- calls are written */

static struct call_target target_of(const char *model)
{
    return (struct call_target){.model = text_of(model)};
}

static void write_for(const char *model)
{
    struct call_target target = target_of(model);
    anthropic_write_call(&arena, &chat, &target, &out, &losses);
    assert_true(scan_is_valid(buffer_text(&out)));
}

static struct message *say(enum role role, const struct part *parts, size_t count)
{
    static struct message messages[16];
    chat.messages = messages;
    struct message *message = &messages[chat.message_count++];
    *message = (struct message){.role = role, .parts = (struct part *)(uintptr_t)parts};
    message->part_count = count;
    return message;
}

static void say_text(enum role role, const char *text)
{
    struct part *part = arena_new(&arena, sizeof(*part));
    part->text = text_of(text);
    say(role, part, 1);
}

static void writes_a_call_in_turns(void **state)
{
    (void)state;
    const struct part call = {
        .kind = PART_CALL, .id = {"c:1", 3}, .name = {"f", 1}, .arguments = {"{\"a\":1}", 7}};
    const struct part found = {.kind = PART_TEXT, .text = {"42", 2}};
    const struct part result = {.kind = PART_RESULT,
                                .id = {"c:1", 3},
                                .parts = (struct part *)(uintptr_t)&found,
                                .part_count = 1};
    say_text(ROLE_DEVELOPER, "Be brief.");
    say_text(ROLE_USER, "Hi");
    say_text(ROLE_USER, "you");
    say_text(ROLE_ASSISTANT, " ");
    say(ROLE_ASSISTANT, &call, 1);
    say_text(ROLE_USER, "Well?");
    say(ROLE_TOOL, &result, 1);
    write_for("claude-sonnet-4-5");
    expect_out("{\"model\":\"claude-sonnet-4-5\",\"system\":\"Be brief.\",\"messages\":["
               "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi\"},"
               "{\"type\":\"text\",\"text\":\"you\"}]},"
               "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":"
               "\"c_1_c1a77228\",\"name\":\"f\",\"input\":{\"a\":1}}]},"
               "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":"
               "\"c_1_c1a77228\",\"content\":\"42\"},{\"type\":\"text\",\"text\":\"Well?\"}]}],"
               "\"max_tokens\":4096}");
    assert_int_equal(losses.demand_count + losses.hint_count, 0);
}

static void results_that_nobody_asked_for_are_left_out(void **state)
{
    (void)state;
    const struct part result = {.kind = PART_RESULT, .id = {"c", 1}};
    say_text(ROLE_USER, "a");
    say(ROLE_TOOL, &result, 1);
    say_text(ROLE_USER, "b");
    write_for("m");
    expect_out("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
               "\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}],\"max_tokens\":4096}");
    assert_string_equal(losses.hints, "messages[1].content[0]");
}

static void the_systems_words_in_the_middle_move_to_the_front(void **state)
{
    (void)state;
    say_text(ROLE_SYSTEM, "one");
    say_text(ROLE_USER, "a");
    say_text(ROLE_SYSTEM, "two");
    write_for("claude-sonnet-4-5");
    expect_out("{\"model\":\"claude-sonnet-4-5\",\"system\":[{\"type\":\"text\",\"text\":\"one\"},"
               "{\"type\":\"text\",\"text\":\"two\"}],\"messages\":[{\"role\":\"user\","
               "\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}],\"max_tokens\":4096}");
    assert_string_equal(losses.hints, "messages[2].role");
    losses = (struct losses){.hint_len = 0};
    write_for("claude-opus-4-8"); /* which takes them where they are */
    expect_out("{\"model\":\"claude-opus-4-8\",\"system\":\"one\",\"messages\":[{\"role\":\"user\","
               "\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},{\"role\":\"system\","
               "\"content\":[{\"type\":\"text\",\"text\":\"two\"}]}],\"max_tokens\":4096}");
    assert_int_equal(losses.hint_count, 0);
}

static void when_only_the_system_speaks_it_asks(void **state)
{
    (void)state;
    say_text(ROLE_SYSTEM, "Write a poem.");
    write_for("m");
    expect_out("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
               "\"text\":\"Write a poem.\"}]}],\"max_tokens\":4096}");
}

static void what_the_model_goes_on_with_has_no_blank_end(void **state)
{
    (void)state;
    say_text(ROLE_USER, "a");
    say_text(ROLE_ASSISTANT, "So \\n \\\\n\\n ");
    write_for("m");
    assert_non_null(strstr(arena_copy(&arena, buffer_text(&out)).at, "\"text\":\"So \\n \\\\n\""));
}

/* The member <name> of what was written, or "" */
static const char *member_of(const char *name)
{
    struct text value = {"", 0};
    struct text rest = buffer_text(&out), at, found;
    while (member_next(&rest, &at, &found))
        if (text_equal(at, text_of(name)))
            value = found;
    return arena_copy(&arena, value).at;
}

static void expect_thinking(const char *model, const char *thinking, const char *config,
                            const char *tokens)
{
    write_for(model);
    assert_string_equal(member_of("thinking"), thinking);
    assert_string_equal(member_of("output_config"), config);
    assert_string_equal(member_of("max_tokens"), tokens);
    buffer_clear(&out);
}

static void efforts_become_budgets_or_efforts(void **state)
{
    (void)state;
    say_text(ROLE_USER, "a");
    chat.reasoning = SAID_YES;
    chat.effort = TEXT("medium");
    expect_thinking("claude-sonnet-4-5", "{\"type\":\"enabled\",\"budget_tokens\":8192}", "",
                    "12288");
    expect_thinking("claude-opus-4-6", "{\"type\":\"adaptive\"}", "{\"effort\":\"medium\"}",
                    "4096");
    chat.effort = TEXT("xhigh");
    expect_thinking("claude-opus-4-6", "{\"type\":\"adaptive\"}", "{\"effort\":\"max\"}", "4096");
    expect_thinking("us.anthropic.claude-opus-4.7-v1", "{\"type\":\"adaptive\"}",
                    "{\"effort\":\"xhigh\"}", "4096");
    chat.max_tokens = 5000; /* there must be room for the answer */
    expect_thinking("claude-sonnet-4-5", "{\"type\":\"enabled\",\"budget_tokens\":4000}", "",
                    "5000");
    assert_int_equal(losses.hint_count, 0);
    chat.max_tokens = 1000; /* and for the least of budgets */
    expect_thinking("claude-sonnet-4-5", "", "", "1000");
    expect_thinking("claude-3-5-sonnet-20241022", "", "", "1000");
    assert_string_equal(losses.hints, "reasoning_effort");
    chat.reasoning = SAID_NO;
    chat.effort = TEXT("none");
    expect_thinking("claude-sonnet-5", "{\"type\":\"disabled\"}", "", "1000");
    expect_thinking("claude-3-5-sonnet-20241022", "", "", "1000");
    expect_thinking("claude-fable-5", "", "", "1000");
}

static void a_budget_for_a_model_that_takes_none_is_an_effort(void **state)
{
    (void)state;
    say_text(ROLE_USER, "a");
    chat.reasoning = chat.reasoning_shown = SAID_YES;
    chat.reasoning_tokens = 9000;
    expect_thinking("claude-opus-4-8", "{\"type\":\"adaptive\",\"display\":\"summarized\"}",
                    "{\"effort\":\"high\"}", "4096");
    expect_thinking("claude-opus-4-6", "{\"type\":\"enabled\",\"budget_tokens\":9000}",
                    "{\"effort\":\"high\"}", "13096");
}

static void a_turn_that_goes_on_after_tools_needs_the_thinking_before(void **state)
{
    (void)state;
    struct part parts[] = {
        {.kind = PART_REASONING, .text = {"hm", 2}, .signature = {"sig", 3}},
        {.kind = PART_CALL, .id = {"c", 1}, .name = {"f", 1}, .arguments = {"{}", 2}}};
    const struct part result = {.kind = PART_RESULT, .id = {"c", 1}};
    say_text(ROLE_USER, "a");
    say(ROLE_ASSISTANT, parts, 2);
    say(ROLE_TOOL, &result, 1);
    chat.reasoning = SAID_YES;
    chat.effort = TEXT("low");
    expect_thinking("claude-sonnet-4-5", "{\"type\":\"enabled\",\"budget_tokens\":2048}", "",
                    "6144");
    parts[0].signature = TEXT(""); /* it is not Claude's */
    expect_thinking("claude-sonnet-4-5", "", "", "4096");
    assert_string_equal(losses.hints, "messages[1].content[0].reasoning,reasoning_effort");
}

static void sampling_is_what_the_model_takes(void **state)
{
    (void)state;
    say_text(ROLE_USER, "a");
    chat.temperature = TEXT("1.5");
    chat.top_k = TEXT("7");
    write_for("claude-sonnet-4-5");
    assert_string_equal(member_of("temperature"), "1");
    assert_string_equal(member_of("top_k"), "7");
    assert_string_equal(losses.hints, "temperature");
    buffer_clear(&out);
    write_for("claude-opus-5");
    assert_string_equal(member_of("temperature"), "");
    assert_string_equal(losses.hints, "temperature,top_k");
    chat.temperature = TEXT("0.2");
    chat.top_p = TEXT("0.5");
    buffer_clear(&out);
    write_for("claude-sonnet-4-5");
    assert_string_equal(member_of("temperature"), "0.2");
    assert_string_equal(member_of("top_p"), "");
}

static void schemas_are_cut_to_what_is_enforced(void **state)
{
    (void)state;
    say_text(ROLE_USER, "a");
    chat.shape = SHAPE_SCHEMA;
    chat.schema = TEXT("{\"type\":\"object\",\"properties\":{\"minimum\":{\"type\":\"integer\","
                       "\"minimum\":0},\"b\":{\"oneOf\":[{\"type\":\"object\"},{\"type\":"
                       "\"string\",\"format\":\"email\"}]},\"c\":{\"type\":\"array\",\"minItems\":"
                       "1,\"items\":{\"$ref\":\"#/$defs/X\"}}},\"$defs\":{\"X\":{\"enum\":[1]}}}");
    write_for("claude-sonnet-4-5");
    assert_string_equal(
        member_of("output_config"),
        "{\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"properties\":{"
        "\"minimum\":{\"type\":\"integer\"},\"b\":{\"anyOf\":[{\"type\":\"object\","
        "\"additionalProperties\":false},{\"type\":\"string\",\"format\":\"email\"}]},\"c\":{"
        "\"type\":\"array\",\"minItems\":1,\"items\":{\"$ref\":\"#/$defs/X\"}}},\"$defs\":{\"X\":"
        "{\"enum\":[1]}},\"additionalProperties\":false}}}");
    assert_string_equal(losses.hints, "response_format.minimum");
    assert_int_equal(losses.demand_count, 0);
    buffer_clear(&out);
    write_for("claude-3-5-haiku-latest");
    assert_string_equal(losses.demands, "response_format");
}

static void tools_say_that_they_take_objects(void **state)
{
    (void)state;
    struct tool tools[] = {
        {.name = {"f", 1}, .description = {"d", 1}},
        {.name = {"g", 1}, .schema = {"{\"properties\":{}}", 17}, .strict = true},
        {.kind = TOOL_OTHER, .name = {"web_search", 10}},
    };
    say_text(ROLE_USER, "a");
    chat.tools = tools;
    chat.tool_count = 3;
    chat.parallel_calls = SAID_NO;
    write_for("claude-sonnet-4-5");
    assert_string_equal(
        member_of("tools"),
        "[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\","
        "\"properties\":{}}},{\"name\":\"g\",\"input_schema\":{\"type\":\"object\",\"properties\":"
        "{},\"additionalProperties\":false},\"strict\":true}]");
    assert_string_equal(member_of("tool_choice"),
                        "{\"type\":\"auto\",\"disable_parallel_tool_use\":true}");
    assert_string_equal(losses.demands, "tools[2].type");
}

static void what_has_no_word_is_named(void **state)
{
    (void)state;
    struct text stops[] = {{"\\n", 2}, {"END", 3}};
    const struct part audio = {.kind = PART_AUDIO, .data = {"AA", 2}};
    say(ROLE_USER, &audio, 1);
    chat.stops = stops;
    chat.stop_count = 2;
    chat.choices = 2;
    chat.logprobs = SAID_YES;
    chat.seed = TEXT("1");
    chat.logit_bias = TEXT("{}");
    chat.store = SAID_YES;
    chat.metadata = TEXT("{}");
    chat.service_tier = TEXT("flex");
    chat.shape = SHAPE_JSON;
    chat.fields[0] = (struct chat_field){.name = {"x", 1}, .value = {"1", 1}};
    chat.field_count = 1;
    write_for("claude-sonnet-4-5");
    assert_string_equal(losses.demands, "messages[0].content[0],stop[0],n,logprobs");
    assert_string_equal(losses.hints,
                        "response_format,metadata,service_tier,seed,logit_bias,store,x");
    assert_string_equal(member_of("stop_sequences"), "[\"END\"]");
    assert_non_null(strstr(member_of("system"), "one valid JSON object"));
}

static void a_call_of_its_own_is_said_as_it_was(void **state)
{
    (void)state;
    static const char call[] =
        "{\"model\":\"claude-opus-4-8\",\"system\":[{\"type\":\"text\",\"text\":\"x-anthropic-"
        "billing-header: a\"},{\"type\":\"text\",\"text\":\"b\",\"cache_control\":{\"type\":"
        "\"ephemeral\"}}],\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":\"a\"}]},{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":"
        "\"t\",\"name\":\"f\",\"input\":{},\"caller\":{\"type\":\"direct\"}}]},{\"role\":\"user\","
        "\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\"},{\"type\":\"document\","
        "\"source\":{\"type\":\"url\",\"url\":\"u\"},\"context\":\"c\"}]},{\"role\":\"system\","
        "\"content\":[{\"type\":\"tool_addition\",\"tool\":{}}]}],\"tools\":[{\"name\":\"f\","
        "\"input_schema\":{\"type\":\"object\"},\"defer_loading\":true},{\"type\":\"bash_"
        "20250124\","
        "\"name\":\"bash\"}],\"max_tokens\":50,\"thinking\":{\"type\":\"between_tools\"},"
        "\"output_config\":{\"effort\":\"high\",\"task_budget\":1},\"temperature\":0.3,\"top_p\":"
        "0.2,\"stream\":true,\"context_management\":{}}";
    must_read(call);
    struct call_target target = target_of("claude-opus-4-8");
    target.stream = true;
    anthropic_write_call(&arena, &chat, &target, &out, &losses);
    expect_out(call);
    assert_int_equal(losses.demand_count + losses.hint_count, 0);
}

static void a_count_leaves_out_what_is_about_the_answer(void **state)
{
    (void)state;
    say_text(ROLE_USER, "a");
    chat.temperature = TEXT("1");
    chat.max_tokens = 7;
    struct call_target target = target_of("m");
    translator_anthropic_count.write_call(&arena, &chat, &target, &out, &losses);
    expect_out("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
               "\"text\":\"a\"}]}]}");
    translator_anthropic_count.write_path(&target, &out);
    expect_out("/v1/messages/count_tokens");
}

static void a_lowered_limit_is_written_whatever_was_asked(void **state)
{
    (void)state;
    say_text(ROLE_USER, "a");
    chat.max_tokens = 9000;
    struct call_target target = target_of("m");
    target.max_tokens_max = 8000;
    anthropic_write_call(&arena, &chat, &target, &out, &losses);
    assert_string_equal(member_of("max_tokens"), "8000");
    assert_string_equal(losses.hints, "max_tokens");
    buffer_clear(&out);
    target.lowered_tokens = 300;
    anthropic_write_call(&arena, &chat, &target, &out, &losses);
    assert_string_equal(member_of("max_tokens"), "300");
}

static void proofs_of_others_come_back_to_them(void **state)
{
    (void)state;
    /* Only what the registry has is known by its name: this dialect stands for another one. */
    must_read("{\"messages\":[{\"role\":\"assistant\",\"content\":["
              "{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"sluice:anthropic-count:e:"
              "3:rs_data\"},"
              "{\"type\":\"tool_use\",\"id\":\"i\",\"name\":\"f\",\"input\":{}},"
              "{\"type\":\"redacted_thinking\",\"data\":\"sluice:anthropic-count:c:1:iproof\"},"
              "{\"type\":\"redacted_thinking\",\"data\":\"sluice:nobody:e:0:x\"}]}]}");
    const struct message *message = &chat.messages[0];
    assert_int_equal(message->part_count, 2);
    assert_ptr_equal(message->parts[0].from, &translator_anthropic_count);
    expect_text(message->parts[0].id, "rs_");
    expect_text(message->parts[0].encrypted, "data");
    expect_text(message->parts[1].signature, "proof");
    assert_ptr_equal(message->parts[1].from, &translator_anthropic_count);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_what_a_call_says),
        TEST(reads_each_kind_of_block),
        TEST(refuses_what_the_reference_refuses),
        TEST(a_call_with_servers_of_tools_demands_them),
        TEST(writes_a_call_in_turns),
        TEST(results_that_nobody_asked_for_are_left_out),
        TEST(the_systems_words_in_the_middle_move_to_the_front),
        TEST(when_only_the_system_speaks_it_asks),
        TEST(what_the_model_goes_on_with_has_no_blank_end),
        TEST(efforts_become_budgets_or_efforts),
        TEST(a_budget_for_a_model_that_takes_none_is_an_effort),
        TEST(a_turn_that_goes_on_after_tools_needs_the_thinking_before),
        TEST(sampling_is_what_the_model_takes),
        TEST(schemas_are_cut_to_what_is_enforced),
        TEST(tools_say_that_they_take_objects),
        TEST(what_has_no_word_is_named),
        TEST(a_call_of_its_own_is_said_as_it_was),
        TEST(a_count_leaves_out_what_is_about_the_answer),
        TEST(a_lowered_limit_is_written_whatever_was_asked),
        TEST(proofs_of_others_come_back_to_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
