/* SPDX-License-Identifier: Apache-2.0 */
/* Anthropic's dialect: calls read and written, answers read, written and watched. */
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
    assert_int_equal(chat.tool_count, 1);
    assert_int_equal(chat.tools[0].kind, TOOL_OTHER);
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
    assert_string_equal(losses.demands,
                        "messages[0].content[0],response_format,stop[0],n,logprobs");
    assert_string_equal(losses.hints, "metadata,service_tier,seed,logit_bias,store,x");
    assert_string_equal(member_of("stop_sequences"), "[\"END\"]");
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

/* --------------------------------------------------------------------------------- answers */

#define EVENT(type, more) "event: " type "\ndata: {\"type\":\"" type "\"" more "}\n\n"

/* clang-format off */
static const char stream[] =
    EVENT("message_start",
          ",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":"
          "\"claude\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{"
          "\"input_tokens\":3,\"cache_creation_input_tokens\":5,\"cache_read_input_tokens\":7,"
          "\"output_tokens\":1,\"service_tier\":\"standard\"}}")
    EVENT("content_block_start",
          ",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}")
    EVENT("content_block_delta",
          ",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}")
    EVENT("content_block_delta",
          ",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"sig\"}")
    EVENT("content_block_stop", ",\"index\":0")
    EVENT("ping", "")
    EVENT("content_block_start",
          ",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}")
    EVENT("content_block_delta",
          ",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\\nb\"}")
    EVENT("content_block_stop", ",\"index\":1")
    EVENT("content_block_start",
          ",\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\","
          "\"input\":{}}")
    EVENT("content_block_delta",
          ",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\"\"}")
    EVENT("content_block_delta",
          ",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\":1}\"}")
    EVENT("content_block_stop", ",\"index\":2")
    EVENT("message_delta",
          ",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{"
          "\"output_tokens\":20}")
    EVENT("message_stop", "");
/* clang-format on */

static const char body[] =
    "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude\",\"content\""
    ":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"sig\"},{\"type\":\"text\","
    "\"text\":\"a\\nb\"},{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\",\"input\":{\"a\""
    ":1}}],\"stop_reason\":\"tool_use\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":3,"
    "\"cache_creation_input_tokens\":5,\"cache_read_input_tokens\":7,\"output_tokens\":20,"
    "\"service_tier\":\"standard\"}}";

static struct answer seen;
static struct fault fault;

static enum translation_state translate(const char *answer, bool in, bool to_stream, size_t each)
{
    struct answer_way way = {.from = &translator_anthropic,
                             .to = &translator_anthropic,
                             .id = {"0a", 2},
                             .model = {"m", 1},
                             .stream_in = in,
                             .stream_out = to_stream};
    struct text rest = text_of(answer);
    seen = (struct answer){.operation = OPERATION_CHAT};
    struct translation *translation = translation_new(&way, &seen);
    enum translation_state state = TRANSLATION_GOES;
    while (rest.len && state == TRANSLATION_GOES) {
        state = translation_feed(translation, text_head(rest, each), &out);
        rest = text_from(rest, each);
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(translation, &out);
    fault = *translation_fault(translation);
    translation_free(translation);
    return state;
}

static void one_form_becomes_the_other(void **state)
{
    (void)state;
    for (size_t each = 1; each < 300; each += 37) {
        assert_int_equal(translate(stream, true, false, each), TRANSLATION_ENDED);
        expect_out(body);
        assert_int_equal(seen.usage.input_tokens, 15);
        assert_int_equal(seen.usage.cached_tokens, 7);
        assert_int_equal(seen.usage.cache_write_tokens, 5);
        assert_int_equal(seen.usage.output_tokens, 20);
        assert_true(seen.usage_seen);
        assert_string_equal(seen.finish, "tool_use");
        assert_int_equal(translate(body, false, false, each), TRANSLATION_ENDED);
        expect_out(body);
        assert_int_equal(translate(body, false, true, each), TRANSLATION_ENDED);
        struct text made = arena_copy(&arena, buffer_text(&out));
        buffer_clear(&out);
        assert_int_equal(translate(made.at, true, false, SIZE_MAX), TRANSLATION_ENDED);
        expect_out(body);
    }
}

static void a_stream_without_its_end_is_cut(void **state)
{
    (void)state;
    struct text whole = text_of(stream);
    size_t at = text_find(whole, TEXT("event: message_delta"));
    const char *cut = arena_copy(&arena, text_head(whole, at)).at;
    assert_int_equal(translate(cut, true, true, SIZE_MAX), TRANSLATION_FAILED);
    assert_int_equal(fault.kind, FAULT_TARGET_CUT);
    assert_null(strstr(arena_copy(&arena, buffer_text(&out)).at, "message_stop"));
    at = text_find(whole, TEXT("event: message_stop"));
    buffer_clear(&out);
    cut = arena_copy(&arena, text_head(whole, at)).at; /* all was said but the last word */
    assert_int_equal(translate(cut, true, true, SIZE_MAX), TRANSLATION_ENDED);
}

static void errors_inside_an_answer_are_errors(void **state)
{
    (void)state;
    static const char overloaded[] = "data: {\"type\": \"ping\"}\n\ndata: {\"type\":\"error\","
                                     "\"error\":{\"type\":\"overloaded_error\",\"message\":"
                                     "\"Over\\\"loaded\"}}\n\n";
    assert_int_equal(translate(overloaded, true, true, 1), TRANSLATION_FAILED);
    assert_int_equal(fault.kind, FAULT_TARGET_BUSY);
    assert_string_equal(fault.text, "Over\"loaded");
    assert_int_equal(
        translate("{\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}", false, false, 9),
        TRANSLATION_FAILED);
    assert_int_equal(fault.kind, FAULT_TARGET_ERROR);
    assert_int_equal(translate("data: {\"type\":\n\n", true, true, 9), TRANSLATION_FAILED);
    assert_int_equal(fault.kind, FAULT_TARGET_INVALID);
    assert_int_equal(translate("<html>", false, false, 9), TRANSLATION_FAILED);
    assert_int_equal(fault.kind, FAULT_TARGET_INVALID);
}

static void servers_tools_stay_whole(void **state)
{
    (void)state;
    static const char answer[] =
        "{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"c\",\"content\":[{"
        "\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"web_search\",\"input\":{\"q\":1}},{"
        "\"type\":\"web_search_tool_result\",\"tool_use_id\":\"s\",\"content\":[]},{\"type\":"
        "\"text\",\"text\":\"x\",\"citations\":[{\"type\":\"char_location\",\"cited_text\":\"y\"}]"
        "},{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{},\"caller\":{\"type\":"
        "\"direct\"}}],\"stop_reason\":\"pause_turn\",\"stop_sequence\":null,\"usage\":{"
        "\"input_tokens\":1,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
        "\"output_tokens\":2},\"container\":{\"id\":\"c\"}}";
    assert_int_equal(translate(answer, false, false, SIZE_MAX), TRANSLATION_ENDED);
    expect_out(answer);
    assert_int_equal(translate(answer, false, true, SIZE_MAX), TRANSLATION_ENDED);
    struct text made = arena_copy(&arena, buffer_text(&out));
    buffer_clear(&out);
    assert_int_equal(translate(made.at, true, false, 3), TRANSLATION_ENDED);
    expect_out(answer);
}

/* What another dialect's reader says. */
struct spoken {
    struct anthropic_writer writer;
    struct answer_way way;
};

static struct spoken *speak(void)
{
    struct spoken *spoken = arena_new(&arena, sizeof(*spoken));
    spoken->way = (struct answer_way){.from = &elsewhere,
                                      .to = &translator_anthropic,
                                      .id = {"0a", 2},
                                      .model = {"m", 1},
                                      .stream_out = true};
    arena_init(&spoken->writer.base.arena, 512);
    spoken->writer.base.way = &spoken->way;
    return spoken;
}

static void event(struct spoken *spoken, struct answer_event event)
{
    anthropic_write_event(&spoken->writer, &event, &out);
}

/* clang-format off */
static void parts_that_overlap_become_blocks_in_turn(void **state)
{
    (void)state;
    struct spoken *s = speak();
    event(s, (struct answer_event){.kind = ANSWER_BEGIN});
    event(s, (struct answer_event){.kind = ANSWER_PART, .part_kind = PART_TEXT});
    event(s, (struct answer_event){.kind = ANSWER_TEXT, .text = {"a", 1}});
    event(s, (struct answer_event){.kind = ANSWER_PART, .part = 1, .part_kind = PART_CALL,
                                   .id = {"i", 1}, .name = {"f", 1}});
    event(s, (struct answer_event){.kind = ANSWER_PART, .part = 2, .part_kind = PART_CALL,
                                   .name = {"g", 1}});
    event(s, (struct answer_event){.kind = ANSWER_ARGUMENTS, .part = 2, .text = {"nu", 2}});
    event(s, (struct answer_event){.kind = ANSWER_ARGUMENTS, .part = 1, .text = {"{}", 2}});
    event(s, (struct answer_event){.kind = ANSWER_TEXT, .text = {"b", 1}});
    event(s, (struct answer_event){.kind = ANSWER_ARGUMENTS, .part = 2, .text = {"ll", 2}});
    event(s, (struct answer_event){.kind = ANSWER_PART_END, .part = 2});
    event(s, (struct answer_event){.kind = ANSWER_SIGNATURE, .part = 1, .text = {"p", 1}});
    event(s, (struct answer_event){.kind = ANSWER_PART_END, .part = 1});
    event(s, (struct answer_event){.kind = ANSWER_PART_END});
    event(s, (struct answer_event){.kind = ANSWER_FINISH, .finish = FINISH_STOP});
    event(s, (struct answer_event){.kind = ANSWER_END});
    expect_out(
        EVENT("message_start",
              ",\"message\":{\"id\":\"msg_0a\",\"type\":\"message\",\"role\":\"assistant\","
              "\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\""
              ":{\"input_tokens\":0,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":"
              "0,\"output_tokens\":0}}")
        EVENT("content_block_start",
              ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}")
        EVENT("content_block_delta",
              ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}")
        EVENT("content_block_stop", ",\"index\":0")
        EVENT("content_block_start",
              ",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"i\",\"name\":\"f\","
              "\"input\":{}}")
        EVENT("content_block_delta",
              ",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}")
        EVENT("content_block_stop", ",\"index\":1")
        EVENT("content_block_start",
              ",\"index\":2,\"content_block\":{\"type\":\"redacted_thinking\",\"data\":"
              "\"sluice:openai-chat:c:1:ip\"}")
        EVENT("content_block_stop", ",\"index\":2")
        EVENT("content_block_start",
              ",\"index\":3,\"content_block\":{\"type\":\"text\",\"text\":\"\"}")
        EVENT("content_block_delta",
              ",\"index\":3,\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}")
        EVENT("content_block_stop", ",\"index\":3")
        EVENT("content_block_start",
              ",\"index\":4,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_0a_2\","
              "\"name\":\"g\",\"input\":{}}")
        EVENT("content_block_delta",
              ",\"index\":4,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}")
        EVENT("content_block_stop", ",\"index\":4")
        EVENT("message_delta",
              ",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{"
              "\"input_tokens\":0,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
              "\"output_tokens\":0}")
        EVENT("message_stop", ""));
    arena_done(&s->writer.base.arena);
}

/* clang-format on */

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

static void counts_cross(void **state)
{
    (void)state;
    struct answer_way way = {.from = &translator_anthropic_count,
                             .to = &translator_anthropic_count};
    assert_true(translate_form(&way, TEXT("{\"input_tokens\":14}"), &out));
    expect_out("{\"input_tokens\":14}");
    assert_false(translate_form(&way, TEXT("{\"input_tokens\":-1}"), &out));
}

/* -------------------------------------------------------------------------------- watching */

static void a_stream_is_watched(void **state)
{
    (void)state;
    struct text rest = text_of(stream);
    struct sse_event one;
    enum event_verdict last = EVENT_PASS;
    struct answer answer = {.operation = OPERATION_CHAT};
    while (sse_next(&rest, &one)) {
        assert_int_equal(last, EVENT_PASS);
        assert_int_equal(answer.usage_seen, answer.ended);
        last = dialect_anthropic.watch_event(&answer, &one);
    }
    assert_int_equal(last, EVENT_LAST);
    assert_true(answer.ended && answer.usage_seen && !answer.failed);
    assert_int_equal(answer.usage.input_tokens, 15);
    assert_int_equal(answer.usage.output_tokens, 20);
    assert_int_equal(answer.events, 4);
    assert_int_equal(answer.content_bytes, 2 + 4 + 6 + 3);
    assert_string_equal(answer.finish, "tool_use");
    assert_string_equal(answer.object_id, "msg_1");
    rest = TEXT("event: error\ndata: {\"type\":\"error\"}\n\n");
    assert_true(sse_next(&rest, &one));
    assert_int_equal(dialect_anthropic.watch_event(&answer, &one), EVENT_FAIL);
    assert_true(answer.failed);
}

static void a_body_is_watched(void **state)
{
    (void)state;
    struct scan_value values[DIALECT_WANTS];
    struct scan_problem problem;
    struct answer answer = {.operation = OPERATION_CHAT};
    assert_true(scan_json(text_of(body), dialect_anthropic.wants, dialect_anthropic.want_count,
                          values, &problem));
    dialect_anthropic.watch_body(&answer, values);
    assert_true(answer.ended && answer.usage_seen);
    assert_int_equal(answer.usage.input_tokens, 15);
    assert_int_equal(answer.usage.output_tokens, 20);
    assert_string_equal(answer.finish, "tool_use");
}

static void errors_mean_what_they_say(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *body;
        enum fault_kind kind;
        const char *message;
    } cases[] = {
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"no\"}}",
         FAULT_TARGET_REFUSED, "invalid_request_error: no"},
        {400, "{\"error\":{\"type\":\"e\",\"message\":\"Your credit balance is too low\"}}",
         FAULT_TARGET_ERROR, "e: the provider refuses our key or account"},
        {401, "{\"error\":{\"type\":\"authentication_error\",\"message\":\"sk-ant-1 is bad\"}}",
         FAULT_TARGET_ERROR, "authentication_error: the provider refuses our key or account"},
        {404, "{\"error\":{\"type\":\"not_found_error\"}}", FAULT_TARGET_REFUSED,
         "not_found_error"},
        {429, "", FAULT_TARGET_BUSY, ""},
        {500, "{\"error\":\"broken\"}", FAULT_TARGET_ERROR, "broken"},
        {529, "{", FAULT_TARGET_BUSY, ""},
        {302, "", FAULT_TARGET_INVALID, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct provider_error error = {.kind = FAULT_NONE};
        anthropic_read_error(cases[i].status, text_of(cases[i].body), &error);
        assert_int_equal(error.kind, cases[i].kind);
        assert_string_equal(error.message, cases[i].message);
    }
}

static void what_a_model_can_is_told_by_its_generation(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool thinks, adapts, no_budget, has_schemas, takes_system;
    } cases[] = {
        {"claude-3-5-sonnet-20241022", false, false, false, false, false},
        {"claude-3-opus-20240229", false, false, false, false, false},
        {"claude-3-7-sonnet-latest", true, false, false, false, false},
        {"claude-sonnet-4-20250514", true, false, false, false, false},
        {"claude-opus-4-1-20250805", true, false, false, true, false},
        {"anthropic.claude-haiku-4-5-20251001-v1:0", true, false, false, true, false},
        {"claude-sonnet-4.6", true, true, false, true, false},
        {"claude-opus-4-8", true, true, true, true, true},
        {"claude-opus-5@20260701", true, true, true, true, true},
        {"claude-sonnet-5", true, true, true, true, false},
        {"claude-mythos-preview", true, true, true, true, true},
        {"deepseek-chat", true, false, false, false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct anthropic_model model = anthropic_model_of(text_of(cases[i].name));
        assert_int_equal(model.thinks, cases[i].thinks);
        assert_int_equal(model.adapts, cases[i].adapts);
        assert_int_equal(model.no_budget, cases[i].no_budget);
        assert_int_equal(model.has_schemas, cases[i].has_schemas);
        assert_int_equal(model.takes_system, cases[i].takes_system);
    }
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
        TEST(one_form_becomes_the_other),
        TEST(a_stream_without_its_end_is_cut),
        TEST(errors_inside_an_answer_are_errors),
        TEST(servers_tools_stay_whole),
        TEST(parts_that_overlap_become_blocks_in_turn),
        TEST(proofs_of_others_come_back_to_them),
        TEST(counts_cross),
        TEST(a_stream_is_watched),
        TEST(a_body_is_watched),
        TEST(errors_mean_what_they_say),
        TEST(what_a_model_can_is_told_by_its_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
