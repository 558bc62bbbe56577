/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "providers/gemini.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* Calls in the words of another dialect are made by hand; they come from here. */
static const struct translator elsewhere = {.name = {"elsewhere", 9}};

static struct arena arena;
static struct losses losses;
static struct buffer out;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 4096);
    buffer_init(&out, 1 << 20);
    losses = (struct losses){.demand_len = 0};
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_done(&arena);
    buffer_done(&out);
    return 0;
}

static void assert_text(struct text is, const char *wanted)
{
    char copy[8192];
    assert_true(is.len < sizeof(copy));
    memcpy(copy, is.len ? is.at : "", is.len);
    copy[is.len] = '\0';
    assert_string_equal(copy, wanted);
}

static struct chat *read_call(const char *body)
{
    struct chat *chat = arena_new(&arena, sizeof(*chat));
    struct call_source source = {.body = text_of(body), .model = TEXT("models/m"), .stream = true};
    struct fault fault = {0};
    if (!gemini_read_call(&arena, &source, chat, &fault))
        fail_msg("%s", fault.text);
    return chat;
}

static void assert_refused(const char *body, const char *param)
{
    struct chat *chat = arena_new(&arena, sizeof(*chat));
    struct call_source source = {.body = text_of(body), .model = TEXT("m")};
    struct fault fault = {0};
    assert_false(gemini_read_call(&arena, &source, chat, &fault));
    assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
    assert_string_equal(fault.param, param);
}

static void assert_written(const struct chat *chat, const char *model, const char *wanted)
{
    struct call_target target = {.model = text_of(model)};
    buffer_clear(&out);
    gemini_write_call(&arena, chat, &target, &out, &losses);
    assert_text(buffer_text(&out), wanted);
}

/* ------------------------------------------------------------------------------------ reading */

static void a_call_is_read_in_either_spelling(void **state)
{
    (void)state;
    struct chat *chat =
        read_call("{\"system_instruction\":{\"parts\":{\"text\":\"Be brief\"}},"
                  "\"contents\":[{\"parts\":[{\"text\":\"Hi\"},{\"inline_data\":"
                  "{\"mime_type\":\"image/png\",\"data\":\"AA==\"}}]}],"
                  "\"generationConfig\":{\"max_output_tokens\":\"20\",\"topK\":4,"
                  "\"stopSequences\":[\"a\",\"b\"],\"thinking_config\":{\"thinking_budget\":0,"
                  "\"include_thoughts\":false},\"seed\":7,\"imageConfig\":{\"a\":1}},"
                  "\"safetySettings\":[{\"category\":1}]}");
    assert_text(chat->model, "m");
    assert_true(chat->stream);
    assert_int_equal(chat->message_count, 2);
    assert_int_equal(chat->messages[0].role, ROLE_SYSTEM);
    assert_text(chat->messages[0].parts[0].text, "Be brief");
    assert_int_equal(chat->messages[1].role, ROLE_USER);
    assert_int_equal(chat->messages[1].parts[1].kind, PART_IMAGE);
    assert_text(chat->messages[1].parts[1].media_type, "image/png");
    assert_int_equal(chat->max_tokens, 20);
    assert_text(chat->top_k, "4");
    assert_text(chat->seed, "7");
    assert_int_equal(chat->stop_count, 2);
    assert_int_equal(chat->reasoning, SAID_NO);
    assert_int_equal(chat->reasoning_shown, SAID_NO);
    assert_int_equal(chat->field_count, 2);
    assert_text(chat->fields[0].name, "safetySettings");
    assert_text(chat->fields[1].name, "generationConfig.imageConfig");
}

static void responses_find_their_calls_by_name_and_order(void **state)
{
    (void)state;
    struct chat *chat = read_call(
        "{\"contents\":[{\"role\":\"model\",\"parts\":["
        "{\"functionCall\":{\"name\":\"f\",\"args\":{\"n\":1}},\"thoughtSignature\":\"QQ==\"},"
        "{\"functionCall\":{\"name\":\"g\"}},{\"functionCall\":{\"name\":\"f\",\"id\":\"x\"}}]},"
        "{\"role\":\"function\",\"parts\":["
        "{\"functionResponse\":{\"name\":\"g\",\"response\":{\"output\":\"two\"}}},"
        "{\"functionResponse\":{\"name\":\"f\",\"response\":{\"n\":[1]}}},"
        "{\"functionResponse\":{\"name\":\"f\",\"id\":\"x\",\"response\":{\"error\":\"no\"}}}]}]}");
    const struct part *calls = chat->messages[0].parts, *results = chat->messages[1].parts;
    assert_int_equal(chat->messages[1].role, ROLE_TOOL);
    assert_text(calls[0].id, "gemini_call_0");
    assert_text(calls[0].signature, "QQ==");
    assert_text(calls[1].arguments, "{}");
    assert_text(results[0].id, "gemini_call_1");
    assert_text(results[0].parts[0].text, "two");
    assert_text(results[1].id, "gemini_call_0");
    assert_text(results[1].parts[0].text, "{\\\"n\\\":[1]}");
    assert_text(results[2].id, "x");
    assert_true(results[2].is_error);
}

static void what_is_no_call_is_refused_by_name(void **state)
{
    (void)state;
    assert_refused("{}", "contents");
    assert_refused("{\"contents\":[]}", "contents");
    assert_refused("{\"contents\":[1]}", "contents");
    assert_refused("{\"contents\":[{\"role\":\"king\",\"parts\":[]}]}", "contents[0].role");
    assert_refused("{\"contents\":[{\"parts\":[{\"text\":\"a\"},7]}]}", "contents[0].parts[1]");
    assert_refused("{\"contents\":[{\"parts\":[{\"functionCall\":{}}]}]}", "contents[0].parts[0]");
    assert_refused("{\"contents\":[{\"parts\":[{\"fileData\":{\"fileUri\":\"\"}}]}]}",
                   "contents[0].parts[0]");
    assert_refused("{\"contents\":[{\"parts\":[{\"text\":\"a\"}]}],\"tools\":1}", "tools");
    assert_refused("{\"contents\":[{\"parts\":[{\"text\":\"a\"}]}],"
                   "\"generationConfig\":{\"temperature\":\"hot\"}}",
                   "generationConfig.temperature");
    assert_refused("{\"contents\":[{\"parts\":[{\"text\":\"a\"}]}],"
                   "\"generationConfig\":{\"candidateCount\":1000}}",
                   "generationConfig.candidateCount");
}

static void a_choice_of_tools_is_read(void **state)
{
    (void)state;
    struct chat *chat = read_call("{\"contents\":{\"parts\":{\"text\":\"a\"}},\"tools\":["
                                  "{\"functionDeclarations\":[{\"name\":\"f\",\"parameters\":"
                                  "{\"type\":\"OBJECT\"}}],\"googleSearch\":{}}],"
                                  "\"toolConfig\":{\"functionCallingConfig\":{\"mode\":2,"
                                  "\"allowedFunctionNames\":[\"f\"]}}}");
    assert_int_equal(chat->tool_count, 2);
    assert_text(chat->tools[0].schema, "{\"type\":\"object\"}");
    assert_int_equal(chat->tools[1].kind, TOOL_OTHER);
    assert_text(chat->tools[1].name, "googleSearch");
    assert_int_equal(chat->tool_choice, CHOICE_ONE);
    assert_text(chat->tool_choice_name, "f");
    assert_int_equal(chat->field_count, 0);
}

static void its_own_calls_go_back_as_they_came(void **state)
{
    (void)state;
    static const char body[] =
        "{\"systemInstruction\":{\"parts\":[{\"text\":\"s\"}]},\"contents\":["
        "{\"role\":\"user\",\"parts\":[{\"text\":\"\"},"
        "{\"fileData\":{\"mimeType\":\"video/mp4\",\"fileUri\":\"gs://b/v\"},"
        "\"videoMetadata\":{\"fps\":2}}]},{\"role\":\"model\",\"parts\":["
        "{\"text\":\"hm\",\"thought\":true},{\"executableCode\":{\"code\":\"1\"}},"
        "{\"functionCall\":{\"name\":\"f\",\"args\":{}},\"thoughtSignature\":\"QQ==\"}]},"
        "{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"name\":\"f\","
        "\"response\":{\"output\":\"1\"}}}]}],"
        "\"tools\":[{\"functionDeclarations\":[{\"name\":\"f\",\"behavior\":\"BLOCKING\"}]},"
        "{\"urlContext\":{}}],"
        "\"generationConfig\":{\"maxOutputTokens\":5,\"temperature\":0.50,"
        "\"responseMimeType\":\"application/json\",\"responseSchema\":{\"type\":\"STRING\"},"
        "\"thinkingConfig\":{\"thinkingLevel\":\"low\",\"includeThoughts\":true},"
        "\"mediaResolution\":1},"
        "\"cachedContent\":\"c\",\"toolConfig\":{\"functionCallingConfig\":"
        "{\"mode\":\"VALIDATED\"}},\"labels\":{\"a\":\"b\"}}";
    assert_written(read_call(body), "m", body);
    assert_int_equal(losses.demand_count + losses.hint_count, 0);
}

/* ------------------------------------------------------------------------------------ writing */

static struct part text_part(const char *inner)
{
    return (struct part){.kind = PART_TEXT, .text = text_of(inner)};
}

static struct chat *chat_of(struct message *messages, size_t count)
{
    struct chat *chat = arena_new(&arena, sizeof(*chat));
    chat->from = &elsewhere;
    chat->messages = messages;
    chat->message_count = count;
    chat->choices = 1;
    chat->top_logprobs = -1;
    return chat;
}

static void turns_are_as_the_api_wants_them(void **state)
{
    (void)state;
    struct part system = text_part("s"), user = text_part("u"), said = text_part("a"),
                later = text_part("l"), first_text = text_part("r1"), second_text = text_part("{}");
    struct part calls[] = {
        {.kind = PART_CALL, .id = TEXT("1"), .name = TEXT("f"), .arguments = TEXT("{\"x\":1}")},
        {.kind = PART_CALL, .id = TEXT("2"), .name = TEXT("g"), .arguments = TEXT("{}")}};
    struct part first = {
        .kind = PART_RESULT, .id = TEXT("1"), .parts = &first_text, .part_count = 1};
    struct part second = {
        .kind = PART_RESULT, .id = TEXT("2"), .parts = &second_text, .part_count = 1};
    struct message messages[] = {
        {.role = ROLE_SYSTEM, .parts = &system, .part_count = 1},
        {.role = ROLE_USER, .parts = &user, .part_count = 1},
        {.role = ROLE_ASSISTANT, .parts = &said, .part_count = 1},
        {.role = ROLE_ASSISTANT, .parts = calls, .part_count = 2},
        {.role = ROLE_TOOL, .parts = &first, .part_count = 1},
        {.role = ROLE_TOOL, .parts = &second, .part_count = 1},
        {.role = ROLE_SYSTEM, .parts = &later, .part_count = 1},
    };
    assert_written(
        chat_of(messages, 7), "gemini-2.5-flash",
        "{\"systemInstruction\":{\"parts\":[{\"text\":\"s\"}]},\"contents\":["
        "{\"role\":\"user\",\"parts\":[{\"text\":\"u\"}]},"
        "{\"role\":\"model\",\"parts\":[{\"text\":\"a\"},"
        "{\"functionCall\":{\"id\":\"1\",\"name\":\"f\",\"args\":{\"x\":1}}},"
        "{\"functionCall\":{\"id\":\"2\",\"name\":\"g\",\"args\":{}}}]},"
        "{\"role\":\"user\",\"parts\":["
        "{\"functionResponse\":{\"id\":\"1\",\"name\":\"f\",\"response\":{\"output\":\"r1\"}}},"
        "{\"functionResponse\":{\"id\":\"2\",\"name\":\"g\",\"response\":{}}}]},"
        "{\"role\":\"user\",\"parts\":[{\"text\":\"l\"}]}]}");
    assert_string_equal(losses.hints, "messages[6].role");
    assert_int_equal(losses.demand_count, 0);
}

static void signatures_come_back_and_those_of_others_do_not(void **state)
{
    (void)state;
    /* Of Claude: field 2, in it a header and more; of Gemini: field 2, in it nothing but field 1 */
    struct part parts[] = {
        {.kind = PART_REASONING, .text = TEXT("c"), .signature = TEXT("EqQBCkYIBxgCKkCcvkBw")},
        {.kind = PART_REASONING, .text = TEXT(""), .signature = TEXT("Ep8ECpwECAISlwQBDDnW")},
        {.kind = PART_CALL, .name = TEXT("f"), .arguments = TEXT("{}")},
        {.kind = PART_CALL, .name = TEXT("g"), .arguments = TEXT("{}")}};
    struct message messages[] = {{.role = ROLE_ASSISTANT, .parts = parts, .part_count = 4}};
    assert_written(chat_of(messages, 1), "gemini-3-flash",
                   "{\"contents\":[{\"role\":\"model\",\"parts\":["
                   "{\"text\":\"c\",\"thought\":true},"
                   "{\"functionCall\":{\"name\":\"f\",\"args\":{}},"
                   "\"thoughtSignature\":\"Ep8ECpwECAISlwQBDDnW\"},"
                   "{\"functionCall\":{\"name\":\"g\",\"args\":{}}}]}]}");
    assert_string_equal(losses.hints, "messages[0].content[0].signature");
    messages[0].parts = &parts[2];
    messages[0].part_count = 2;
    assert_written(chat_of(messages, 1), "gemini-3-flash",
                   "{\"contents\":[{\"role\":\"model\",\"parts\":["
                   "{\"functionCall\":{\"name\":\"f\",\"args\":{}},"
                   "\"thoughtSignature\":\"skip_thought_signature_validator\"},"
                   "{\"functionCall\":{\"name\":\"g\",\"args\":{}}}]}]}");
}

static void media_of_results_go_where_the_model_takes_them(void **state)
{
    (void)state;
    struct part inside[] = {
        text_part("see"),
        {.kind = PART_IMAGE, .media_type = TEXT("image/png"), .data = TEXT("AA==")}};
    struct part result = {.kind = PART_RESULT, .name = TEXT("f"), .parts = inside, .part_count = 2};
    struct message messages[] = {{.role = ROLE_TOOL, .parts = &result, .part_count = 1}};
    assert_written(chat_of(messages, 1), "gemini-3-pro",
                   "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"functionResponse\":"
                   "{\"name\":\"f\",\"response\":{\"output\":\"see\"},\"parts\":[{\"inlineData\":"
                   "{\"mimeType\":\"image/png\",\"data\":\"AA==\"}}]}}]}]}");
    assert_written(chat_of(messages, 1), "gemini-2.5-pro",
                   "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"functionResponse\":"
                   "{\"name\":\"f\",\"response\":{\"output\":\"see\"}}},{\"inlineData\":"
                   "{\"mimeType\":\"image/png\",\"data\":\"AA==\"}}]}]}");
    assert_int_equal(losses.demand_count + losses.hint_count, 0);
}

static void what_it_lacks_is_named(void **state)
{
    (void)state;
    struct part parts[] = {text_part("u"),
                           {.kind = PART_IMAGE, .id = TEXT("file-1")},
                           {.kind = PART_RAW, .raw = TEXT("{}")}};
    struct message messages[] = {{.role = ROLE_USER, .parts = parts, .part_count = 3}};
    struct chat *chat = chat_of(messages, 1);
    struct tool tools[] = {{.kind = TOOL_OTHER, .name = TEXT("computer"), .raw = TEXT("{}")}};
    struct text stops[] = {TEXT("1"), TEXT("2"), TEXT("3"), TEXT("4"), TEXT("5"), TEXT("6")};
    chat->tools = tools;
    chat->tool_count = 1;
    chat->stops = stops;
    chat->stop_count = 6;
    chat->choices = 9;
    chat->temperature = TEXT("2.5");
    chat->presence_penalty = TEXT("0.0");
    chat->seed = TEXT("99999999999");
    chat->logit_bias = TEXT("{}");
    chat->user = TEXT("me");
    chat->metadata = TEXT("{}");
    chat->store = SAID_YES;
    chat->parallel_calls = SAID_NO;
    assert_written(chat, "gemini-2.5-flash",
                   "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"u\"}]}],"
                   "\"generationConfig\":{\"stopSequences\":[\"1\",\"2\",\"3\",\"4\",\"5\"],"
                   "\"temperature\":2,\"candidateCount\":8}}");
    assert_string_equal(losses.demands, "messages[0].content[1].file_id,messages[0].content[2],"
                                        "tools[0].type,stop[5],n");
    assert_string_equal(losses.hints,
                        "temperature,seed,logit_bias,parallel_tool_calls,user,metadata,store");
}

static void assert_thinking(const char *model, const char *effort, int64_t tokens, enum said said,
                            const char *wanted)
{
    struct part user = text_part("u");
    struct message message = {.role = ROLE_USER, .parts = &user, .part_count = 1};
    struct chat *chat = chat_of(&message, 1);
    char all[512];
    chat->effort = *effort ? text_of(effort) : (struct text){NULL, 0};
    chat->reasoning_tokens = tokens;
    chat->reasoning = said;
    snprintf(all, sizeof(all),
             "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"u\"}]}]%s}", wanted);
    assert_written(chat, model, all);
}

#define BUDGET(n) ",\"generationConfig\":{\"thinkingConfig\":{\"thinkingBudget\":" n "}}"
#define LEVEL(l)  ",\"generationConfig\":{\"thinkingConfig\":{\"thinkingLevel\":\"" l "\"}}"

static void thinking_is_asked_for_as_the_model_knows_it(void **state)
{
    (void)state;
    assert_thinking("gemini-2.5-flash", "low", 0, SAID_NOTHING, BUDGET("1024"));
    assert_thinking("gemini-2.5-flash", "xhigh", 0, SAID_YES, BUDGET("24576"));
    assert_thinking("gemini-2.5-flash", "", 0, SAID_NO, BUDGET("0"));
    assert_thinking("gemini-2.5-flash", "", 0, SAID_YES, BUDGET("-1"));
    assert_thinking("gemini-2.5-flash", "high", 100000, SAID_YES, BUDGET("24576"));
    assert_thinking("gemini-2.5-pro", "none", 0, SAID_NO, BUDGET("128"));
    assert_thinking("gemini-3-flash-preview", "minimal", 0, SAID_YES, LEVEL("minimal"));
    assert_thinking("gemini-3.1-pro", "medium", 0, SAID_YES, LEVEL("medium"));
    assert_thinking("gemini-3-pro-preview", "medium", 0, SAID_YES, LEVEL("high"));
    assert_thinking("gemini-flash-latest", "max", 0, SAID_YES, LEVEL("high"));
    assert_thinking("gemini-3-pro", "", 0, SAID_NO, LEVEL("low"));
    assert_thinking("gemini-2.0-flash", "high", 0, SAID_YES, "");
    assert_thinking("gemini-2.5-flash", "", 0, SAID_NOTHING, "");
}

static void the_rest_of_a_call_is_written(void **state)
{
    (void)state;
    struct part user = text_part("u");
    struct message message = {.role = ROLE_USER, .parts = &user, .part_count = 1};
    struct chat *chat = chat_of(&message, 1);
    struct tool tools[] = {
        {.name = TEXT("f"),
         .description = TEXT("d"),
         .schema = TEXT("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}}")},
        {.name = TEXT("g"), .schema = TEXT("{\"type\":\"object\",\"additionalProperties\":false}")},
        {.name = TEXT("h")}};
    chat->tools = tools;
    chat->tool_count = 3;
    chat->tool_choice = CHOICE_ONE;
    chat->tool_choice_name = TEXT("f");
    chat->logprobs = SAID_YES;
    chat->top_logprobs = 2;
    chat->shape = SHAPE_SCHEMA;
    chat->schema = TEXT("{\"type\":\"object\"}");
    chat->modalities = TEXT("[\"text\",\"image\"]");
    struct call_target target = {
        .model = TEXT("gemini-2.5-flash"), .max_tokens_default = 100, .max_tokens_max = 50};
    gemini_write_call(&arena, chat, &target, &out, &losses);
    assert_text(buffer_text(&out),
                "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"u\"}]}],"
                "\"tools\":[{\"functionDeclarations\":["
                "{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\","
                "\"properties\":{\"a\":{\"type\":\"string\"}}}},"
                "{\"name\":\"g\",\"parametersJsonSchema\":{\"type\":\"object\","
                "\"additionalProperties\":false}},{\"name\":\"h\"}]}],"
                "\"toolConfig\":{\"functionCallingConfig\":{\"mode\":\"ANY\","
                "\"allowedFunctionNames\":[\"f\"]}},"
                "\"generationConfig\":{\"maxOutputTokens\":50,\"responseLogprobs\":true,"
                "\"logprobs\":2,\"responseMimeType\":\"application/json\","
                "\"responseJsonSchema\":{\"type\":\"object\"},"
                "\"responseModalities\":[\"TEXT\",\"IMAGE\"]}}");
    assert_string_equal(losses.hints, "max_tokens");
}

static void assert_path(struct call_target target, const char *wanted)
{
    buffer_clear(&out);
    gemini_write_path(&target, &out);
    assert_text(buffer_text(&out), wanted);
}

static void paths_name_model_and_operation(void **state)
{
    (void)state;
    assert_path((struct call_target){.model = TEXT("models/gemini-2.5-flash")},
                "/v1beta/models/gemini-2.5-flash:generateContent");
    assert_path((struct call_target){.model = TEXT("a/b:c"), .stream = true},
                "/v1beta/models/a%2Fb%3Ac:streamGenerateContent?alt=sse");
    assert_path((struct call_target){.model = TEXT("tunedModels/mine")},
                "/v1beta/tunedModels/mine:generateContent");
    assert_path((struct call_target){.model = TEXT("gemini-2.0-flash@001"),
                                     .project = TEXT("p"),
                                     .location = TEXT("us-central1")},
                "/v1/projects/p/locations/us-central1/publishers/google/models/"
                "gemini-2.0-flash@001:generateContent");
}

/* ------------------------------------------------------------------------------------- schema */

static void assert_schema(const char *schema, const char *wanted)
{
    assert_text(gemini_schema_read(&arena, text_of(schema)), wanted);
}

static void its_schemas_become_json_schema(void **state)
{
    (void)state;
    assert_schema("{}", "{}");
    assert_schema("{\"type\": \"OBJECT\", \"properties\": {\"type\": {\"type\": 1}, "
                  "\"n\": {\"type\":\"INTEGER\",\"nullable\":true,\"format\":\"int64\"}},"
                  "\"required\":[\"n\"],\"property_ordering\":[\"n\"]}",
                  "{\"type\":\"object\",\"properties\":{\"type\":{\"type\":\"string\"},"
                  "\"n\":{\"type\":[\"integer\",\"null\"],\"format\":\"int64\"}},"
                  "\"required\":[\"n\"]}");
    assert_schema("{\"type\":\"ARRAY\",\"items\":{\"type\":\"STRING\",\"format\":\"enum\","
                  "\"enum\":[\"a\"],\"nullable\":true},\"minItems\":\"002\"}",
                  "{\"type\":\"array\",\"items\":{\"type\":[\"string\",\"null\"],"
                  "\"enum\":[\"a\",null]},\"minItems\":2}");
    assert_schema("{\"any_of\":[{\"type\":\"STRING\"},{\"type\":\"NULL\"}],\"nullable\":true,"
                  "\"example\":{\"type\":\"X\"}}",
                  "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"},{\"type\":\"null\"}],"
                  "\"examples\":[{\"type\":\"X\"}]}");
}

static bool fits(const char *schema)
{
    return gemini_schema_fits(text_of(schema));
}

static void what_its_schemas_lack_is_seen(void **state)
{
    (void)state;
    assert_true(fits("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":"
                     "{\"type\":\"integer\",\"minimum\":1}},\"b\":{\"anyOf\":["
                     "{\"type\":\"string\",\"enum\":[\"x\"]},{\"type\":\"number\"}]}}}"));
    assert_false(fits("{\"type\":\"object\",\"properties\":{}}"));
    assert_false(fits("{\"type\":\"object\"}"));
    assert_false(fits("{\"type\":\"array\"}"));
    assert_false(fits("{\"type\":[\"string\",\"null\"]}"));
    assert_false(fits("{\"type\":\"integer\",\"enum\":[1]}"));
    assert_false(fits("{\"type\":\"string\",\"format\":\"uri\"}"));
    assert_false(fits("{\"$ref\":\"#/x\"}"));
    assert_false(fits("{}"));
    assert_false(fits("true"));
    assert_false(fits("{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1}}}"));
}

static void schemas_may_be_deep(void **state)
{
    (void)state;
    struct buffer deep;
    buffer_init(&deep, 1 << 16);
    for (int i = 0; i < 120; i++)
        put_literal(&deep, "{\"type\":\"ARRAY\",\"items\":");
    put_literal(&deep, "{}");
    for (int i = 0; i < 120; i++)
        put_literal(&deep, "}");
    struct text made = gemini_schema_read(&arena, buffer_text(&deep));
    assert_int_equal(made.len, buffer_length(&deep));
    assert_false(gemini_schema_fits(made));
    buffer_done(&deep);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_is_read_in_either_spelling),
        TEST(responses_find_their_calls_by_name_and_order),
        TEST(what_is_no_call_is_refused_by_name),
        TEST(a_choice_of_tools_is_read),
        TEST(its_own_calls_go_back_as_they_came),
        TEST(turns_are_as_the_api_wants_them),
        TEST(signatures_come_back_and_those_of_others_do_not),
        TEST(media_of_results_go_where_the_model_takes_them),
        TEST(what_it_lacks_is_named),
        TEST(thinking_is_asked_for_as_the_model_knows_it),
        TEST(the_rest_of_a_call_is_written),
        TEST(paths_name_model_and_operation),
        TEST(its_schemas_become_json_schema),
        TEST(what_its_schemas_lack_is_seen),
        TEST(schemas_may_be_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
