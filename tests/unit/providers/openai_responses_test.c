/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/scan.h"
#include "providers/openai_responses.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define OWN (&translator_openai_responses)

/* Somebody who speaks otherwise: only its name is looked at. */
static const struct translator other = {.name = {"other", 5}, .dialect = {"other", 5}};

static struct arena arena;
static struct buffer made;
static struct losses losses;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 4096);
    buffer_init(&made, 1 << 24);
    losses = (struct losses){{0}, {0}, 0, 0, 0, 0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_done(&arena);
    buffer_done(&made);
    return 0;
}

static void assert_text(struct text t, const char *wanted)
{
    struct text copy = arena_copy(&arena, t);
    assert_string_equal(copy.at ? copy.at : "(none)", wanted);
}

static void assert_has(struct text t, const char *wanted)
{
    if (text_find(t, text_of(wanted)) == SIZE_MAX)
        fail_msg("no %s in %.*s", wanted, TEXT_ARGS(t));
}

static void assert_has_not(struct text t, const char *unwanted)
{
    if (text_find(t, text_of(unwanted)) != SIZE_MAX)
        fail_msg("%s in %.*s", unwanted, TEXT_ARGS(t));
}

/* ---------------------------------------------------------------------------------- calls */

static struct chat *call_read(const char *body)
{
    struct call_source source = {.body = text_of(body)};
    struct chat *chat = arena_new(&arena, sizeof(*chat));
    struct fault fault = {0};
    if (!OWN->read_call(&arena, &source, chat, &fault))
        fail_msg("%s: %s", fault.param, fault.text);
    return chat;
}

static void assert_refused(const char *body, const char *param)
{
    struct call_source source = {.body = text_of(body)};
    struct chat *chat = arena_new(&arena, sizeof(*chat));
    struct fault fault = {0};
    assert_false(OWN->read_call(&arena, &source, chat, &fault));
    assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
    assert_string_equal(fault.param, param);
    assert_has(text_of(fault.text), param);
}

static struct text call_written(struct chat *chat, const char *provider)
{
    struct call_target target = {.type = provider_type_find(text_of(provider)),
                                 .model = {"gpt-6", 5}};
    buffer_clear(&made);
    OWN->write_call(&arena, chat, &target, &made, &losses);
    assert_true(scan_is_valid(buffer_text(&made)));
    return buffer_text(&made);
}

/* The call as a client of another dialect would make it. */
static struct text written_of_other(const char *body, const char *provider)
{
    struct chat *chat = call_read(body);
    chat->from = &other;
    return call_written(chat, provider);
}

static void test_a_string_is_what_the_user_says(void **state)
{
    (void)state;
    struct chat *chat = call_read("{\"model\":\"m\\u002f1\",\"input\":\"Hi\",\"stream\":true}");
    assert_text(chat->model, "m/1");
    assert_true(chat->stream && chat->wants_usage);
    assert_int_equal(chat->message_count, 1);
    assert_int_equal(chat->messages[0].role, ROLE_USER);
    assert_text(chat->messages[0].parts[0].text, "Hi");
}

static void test_the_items_of_one_turn_are_one_message(void **state)
{
    (void)state;
    struct chat *chat = call_read(
        "{\"input\":[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[{\"type\":\"summary_text\",\"text\":"
        "\"a\"},"
        "{\"type\":\"summary_text\",\"text\":\"b\"}],\"encrypted_content\":\"gAAA\"},"
        "{\"type\":\"message\",\"id\":\"msg_1\",\"role\":\"assistant\",\"phase\":\"commentary\","
        "\"content\":[{\"type\":\"output_text\",\"text\":\"x\",\"annotations\":[]}]},"
        "{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":"
        "1}\"},"
        "{\"type\":\"function_call\",\"call_id\":\"c2\",\"name\":\"g\",\"arguments\":\"\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"one\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"c2\",\"output\":[{\"type\":\"input_"
        "image\","
        "\"image_url\":\"data:image/png;base64,AAAA\"}]}],\"instructions\":\"Be brief\"}");
    assert_int_equal(chat->message_count, 4);
    assert_int_equal(chat->messages[0].role, ROLE_SYSTEM);
    assert_text(chat->messages[0].parts[0].text, "Be brief");
    const struct message *turn = &chat->messages[2];
    assert_int_equal(turn->part_count, 4);
    assert_text(turn->parts[0].text, "a\\n\\nb");
    assert_text(turn->parts[0].encrypted, "gAAA");
    assert_text(turn->parts[1].id, "msg_1");
    assert_text(turn->parts[2].arguments, "{\"a\":1}");
    assert_text(turn->parts[3].arguments, "{}");
    assert_int_equal(chat->messages[3].role, ROLE_TOOL);
    assert_int_equal(chat->messages[3].part_count, 2);
    assert_text(chat->messages[3].parts[1].parts[0].data, "AAAA");
    struct call_index calls = {.chat = chat};
    assert_ptr_equal(call_index_find(&calls, TEXT("c2")), &turn->parts[3]);
    call_index_done(&calls);
}

static void test_what_the_target_does_not_keep_is_refused_by_name(void **state)
{
    (void)state;
    assert_refused("{\"input\":\"x\",\"previous_response_id\":\"resp_1\"}", "previous_response_id");
    assert_refused("{\"input\":\"x\",\"conversation\":\"conv_1\"}", "conversation");
    assert_refused("{\"input\":\"x\",\"prompt\":{\"id\":\"p\"}}", "prompt");
    assert_refused("{\"input\":\"x\",\"background\":true}", "background");
    assert_refused("{\"input\":[{\"type\":\"item_reference\",\"id\":\"rs_1\"}]}", "input[0].id");
    call_read("{\"input\":\"x\",\"previous_response_id\":null,\"background\":false}");
}

static void test_what_is_of_the_wrong_kind_is_refused_by_name(void **state)
{
    (void)state;
    assert_refused("{\"model\":\"m\"}", "input");
    assert_refused("{\"input\":7}", "input");
    assert_refused("{\"input\":[7]}", "input[0]");
    assert_refused("{\"input\":[{\"role\":\"boss\",\"content\":\"\"}]}", "input[0].role");
    assert_refused("{\"input\":[{\"role\":\"user\",\"content\":{}}]}", "input[0].content");
    assert_refused("{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\"}]}]}",
                   "input[0]");
    assert_refused("{\"input\":[{\"type\":\"function_call\",\"name\":\"f\",\"arguments\":\"{}\"}]}",
                   "input[0].call_id");
    assert_refused("{\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\"}]}",
                   "input[0].output");
    assert_refused("{\"input\":\"x\",\"temperature\":\"hot\"}", "temperature");
    assert_refused("{\"input\":\"x\",\"max_output_tokens\":1.5}", "max_output_tokens");
    assert_refused("{\"input\":\"x\",\"stream\":\"yes\"}", "stream");
    assert_refused("{\"input\":\"x\",\"tools\":[{\"type\":\"function\"}]}", "tools");
    assert_refused("{\"input\":\"x\",\"tool_choice\":\"maybe\"}", "tool_choice");
    assert_refused("{\"input\":\"x\",\"text\":{\"format\":{\"type\":\"xml\"}}}",
                   "text.format.type");
}

static void test_a_call_of_another_dialect_is_written_so(void **state)
{
    (void)state;
    struct text body = written_of_other(
        "{\"instructions\":\"Be brief\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":"
        "\"input_text\",\"text\":\"Hi\"},{\"type\":\"input_image\",\"image_url\":\"https://x/"
        "y.png\"}]}],"
        "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}],"
        "\"tool_choice\":\"required\",\"max_output_tokens\":100,\"reasoning\":{\"effort\":\"low\"}"
        "}",
        "openai");
    assert_text(
        body,
        "{\"model\":\"gpt-6\",\"instructions\":\"Be brief\",\"input\":[{\"type\":\"message\","
        "\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Hi\"},"
        "{\"type\":\"input_image\",\"image_url\":\"https://x/y.png\",\"detail\":\"auto\"}]}],"
        "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"type\":\"object\"},"
        "\"strict\":false}],\"tool_choice\":\"required\",\"reasoning\":{\"effort\":\"low\"},"
        "\"include\":[\"reasoning.encrypted_content\"],\"max_output_tokens\":100,"
        "\"store\":false}");
    assert_int_equal(losses.demand_count + losses.hint_count, 0);
}

static void test_what_responses_cannot_say_is_named(void **state)
{
    (void)state;
    struct chat *chat = call_read("{\"input\":\"x\",\"max_output_tokens\":5,\"odd\":1,"
                                  "\"tools\":[{\"type\":\"web_search\"}]}");
    struct text stop = TEXT("END");
    chat->from = &other;
    chat->stops = &stop;
    chat->stop_count = 1;
    chat->choices = 2;
    chat->seed = TEXT("7");
    chat->logit_bias = TEXT("{}");
    struct text body = call_written(chat, "openai");
    assert_string_equal(losses.demands, "tools[0].type,stop,n");
    assert_string_equal(losses.hints, "max_tokens,odd,seed,logit_bias");
    assert_has(body, "\"max_output_tokens\":16");
    assert_has(body, "\"tools\":[]");
}

static const char codex[] =
    "{\"input\":[{\"role\":\"user\",\"content\":\"q\"},"
    "{\"type\":\"custom_tool_call\",\"call_id\":\"c1\",\"name\":\"apply_patch\",\"input\":\"*** "
    "\\\"B\\\"\\n\"},"
    "{\"type\":\"custom_tool_call_output\",\"call_id\":\"c1\",\"output\":\"done\"},"
    "{\"type\":\"function_call\",\"call_id\":\"c2\",\"name\":\"read\",\"namespace\":\"mcp__files\","
    "\"arguments\":\"{}\"}],"
    "\"tools\":[{\"type\":\"custom\",\"name\":\"apply_patch\",\"description\":\"Edits.\","
    "\"format\":"
    "{\"type\":\"grammar\",\"syntax\":\"lark\",\"definition\":\"start: x\"}},"
    "{\"type\":\"namespace\",\"name\":\"mcp__files\",\"description\":\"d\",\"tools\":[{\"type\":"
    "\"function\","
    "\"name\":\"read\",\"parameters\":{}},{\"type\":\"function\",\"name\":\"write\",\"parameters\":"
    "{}}]},"
    "{\"type\":\"local_shell\"}]}";

static void test_free_text_and_namespaces_are_functions_to_others(void **state)
{
    (void)state;
    struct chat *chat = call_read(codex);
    assert_int_equal(chat->tool_count, 4);
    assert_int_equal(chat->tools[0].kind, TOOL_FUNCTION);
    assert_has(chat->tools[0].schema, "\"required\":[\"input\"]");
    assert_text(chat->tools[0].description,
                "Edits.\\n\\nThe input has to follow this grammar (lark):\\nstart: x");
    assert_text(chat->tools[1].name, "mcp__files__read");
    assert_text(chat->tools[2].name, "mcp__files__write");
    assert_int_equal(chat->tools[3].kind, TOOL_OTHER);
    assert_text(chat->tools[3].name, "local_shell");
    assert_text(chat->messages[1].parts[0].arguments, "{\"input\":\"*** \\\"B\\\"\\n\"}");
    assert_text(chat->messages[3].parts[0].name, "mcp__files__read");
}

static void test_to_its_own_kind_they_are_what_they_were(void **state)
{
    (void)state;
    struct text body = call_written(call_read(codex), "openai");
    assert_has(body, "{\"type\":\"custom_tool_call\",\"call_id\":\"c1\",\"name\":\"apply_patch\","
                     "\"input\":\"*** \\\"B\\\"\\n\"}");
    assert_has(body,
               "{\"type\":\"custom_tool_call_output\",\"call_id\":\"c1\",\"output\":\"done\"}");
    assert_has(body, "\"name\":\"read\",\"namespace\":\"mcp__files\",\"arguments\":\"{}\"");
    assert_has(body, "\"format\":{\"type\":\"grammar\"");
    assert_has(body, "\"tools\":[{\"type\":\"function\",\"name\":\"read\"");
    assert_has(body, "]},{\"type\":\"local_shell\"}]");
    assert_int_equal(losses.demand_count + losses.hint_count, 0);
}

static void test_only_allowed_tools_are_offered(void **state)
{
    (void)state;
    struct chat *chat = call_read(
        "{\"input\":\"x\",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"required\","
        "\"tools\":"
        "[{\"type\":\"function\",\"name\":\"g\"},{\"type\":\"web_search\"}]},\"tools\":[{\"type\":"
        "\"function\",\"name\":\"f\"},{\"type\":\"function\",\"name\":\"g\"},{\"type\":\"web_"
        "search\"}]}");
    assert_int_equal(chat->tool_choice, CHOICE_ANY);
    assert_int_equal(chat->tool_count, 2);
    assert_text(chat->tools[0].name, "g");
    assert_text(chat->tools[1].name, "web_search");
}

static const char thought[] =
    "{\"input\":[{\"type\":\"reasoning\", \"id\":\"rs_1\",\"summary\":[{\"type\":\"summary_text\","
    "\"text\":\"t\"}],\"content\":null,\"encrypted_content\":null,\"odd\":1},"
    "{\"role\":\"user\",\"content\":\"go on\"}]}";

static void test_reasoning_goes_back_untouched_to_its_own_kind(void **state)
{
    (void)state;
    struct text body = call_written(call_read(thought), "openai");
    assert_has(body,
               "[{\"type\":\"reasoning\", \"id\":\"rs_1\",\"summary\":[{\"type\":"
               "\"summary_text\",\"text\":\"t\"}],\"content\":null,\"encrypted_content\":null,"
               "\"odd\":1},");
}

static void test_reasoning_of_others_is_not_shown_to_who_checks_it(void **state)
{
    (void)state;
    struct text body = written_of_other(thought, "openai");
    assert_has_not(body, "\"reasoning\"");
    assert_string_equal(losses.hints, "reasoning");
    body = written_of_other(thought, "deepseek");
    assert_has(body,
               "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"content\":[{\"type\":"
               "\"reasoning_text\",\"text\":\"t\"}]}");
}

static void test_a_proof_comes_back_to_what_it_is_of(void **state)
{
    (void)state;
    struct chat *chat = call_read(
        "{\"input\":[{\"type\":\"function_call\",\"call_id\":\"c:1\",\"name\":\"f\",\"arguments\":"
        "\"{}\"},"
        "{\"type\":\"function_call\",\"call_id\":\"c2\",\"name\":\"f\",\"arguments\":\"{}\"},"
        "{\"type\":\"reasoning\",\"summary\":[],\"encrypted_content\":"
        "\"sluice:1:openai-responses:call:SIG==::c:1\"},"
        "{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"t\"}],"
        "\"encrypted_content\":\"sluice:1:openai-responses:item:S:E\"}]}");
    const struct message *turn = &chat->messages[0];
    assert_int_equal(turn->part_count, 3);
    assert_text(turn->parts[0].signature, "SIG==");
    assert_null(turn->parts[1].signature.at);
    assert_text(turn->parts[2].text, "t");
    assert_text(turn->parts[2].signature, "S");
    assert_text(turn->parts[2].encrypted, "E");
    assert_ptr_equal(turn->parts[2].from, OWN);
}

/* ----------------------------------------------------------------------- answers, read */

/* What a reader says, in short. */
struct ear {
    struct answer_sink sink;
    struct buffer heard;
};

static void hear(struct answer_sink *sink, const struct answer_event *event)
{
    static const char *const words[] = {
        [ANSWER_BEGIN] = "begin",       [ANSWER_PART] = "part",
        [ANSWER_TEXT] = "text",         [ANSWER_ARGUMENTS] = "arguments",
        [ANSWER_SIGNATURE] = "sign",    [ANSWER_ENCRYPTED] = "encrypted",
        [ANSWER_DATA] = "data",         [ANSWER_CITATION] = "cite",
        [ANSWER_RAW] = "raw",           [ANSWER_PART_END] = "done",
        [ANSWER_LOGPROBS] = "logprobs", [ANSWER_FINISH] = "finish",
        [ANSWER_USAGE] = "usage",       [ANSWER_FIELD] = "field",
        [ANSWER_FAIL] = "fail",         [ANSWER_END] = "end"};
    struct buffer *heard = &((struct ear *)sink)->heard;
    buffer_format(heard, "%s", words[event->kind]);
    if (event->kind > ANSWER_BEGIN && event->kind < ANSWER_LOGPROBS)
        buffer_format(heard, "%u", event->part);
    if (event->kind == ANSWER_FINISH || event->kind == ANSWER_PART)
        buffer_format(heard, "/%d",
                      event->kind == ANSWER_PART ? (int)event->part_kind : (int)event->finish);
    if (event->kind == ANSWER_FAIL)
        buffer_format(heard, "/%s", fault_rule(event->fault)->name);
    if (event->usage)
        buffer_format(heard, " %d+%d", (int)event->usage->input_tokens,
                      (int)event->usage->output_tokens);
    const struct text texts[] = {event->id, event->model, event->name, event->text};
    for (size_t i = 0; i < 4; i++)
        if (texts[i].len)
            buffer_format(heard, " %.*s", TEXT_ARGS(texts[i]));
    buffer_format(heard, "\n");
}

static struct text heard_of(const char *stream, const char *body)
{
    struct answer_way way = {.from = OWN, .to = &other, .id = TEXT("7")};
    struct responses_reader *reader = arena_new(&arena, sizeof(*reader));
    static struct ear ear;
    ear.sink.take = hear;
    buffer_init(&ear.heard, 1 << 20);
    arena_init(&reader->base.arena, 256);
    reader->base.way = &way;
    struct text rest = text_of(stream ? stream : ""), line;
    while (rest.len && text_next(&rest, '\n', &line)) {
        struct frame frame = {.name = {"", 0}, .kind = {"", 0}, .data = line};
        if (line.len)
            OWN->read_frame(reader, &frame, &ear.sink);
    }
    if (stream)
        OWN->read_end(reader, &ear.sink);
    else
        OWN->read_body(reader, text_of(body), &ear.sink);
    struct text heard = arena_copy(&arena, buffer_text(&ear.heard));
    buffer_done(&ear.heard);
    arena_done(&reader->base.arena);
    return heard;
}

#define ITEM(n, json) "{\"type\":\"response.output_item." n ",\"item\":{" json "}}\n"
#define CREATED                                                                          \
    "{\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"created_at\":9.5," \
    "\"model\":\"m\",\"output\":[]}}\n"
#define COMPLETED                                                                          \
    "{\"response\":{\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":3," \
    "\"output_tokens\":4,\"total_tokens\":7}},\"type\":\"response.completed\"}\n"

static void test_a_stream_is_read_part_by_part(void **state)
{
    (void)state;
    struct text heard = heard_of(
        CREATED ITEM("added\",\"output_index\":0",
                     "\"type\":\"message\",\"id\":\"msg_1\",\"content\":["
                     "]") "{\"type\":\"response.content_part.added\","
                          "\"output_index\":0,\"content_index\":0,"
                          "\"part\":"
                          "{\"type\":\"output_text\",\"text\":\"\"}}\n"
                          "{\"type\":\"response.output_text.delta\","
                          "\"output_index\":0,\"content_index\":0,"
                          "\"delta\":\"He\"}\n"
                          "{\"delta\":\"y\",\"content_index\":0,\"output_"
                          "index\":0,\"type\":\"response.output_text."
                          "delta\"}\n"
                          "{\"type\":\"response.output_text.done\","
                          "\"output_index\":0,\"content_index\":0,"
                          "\"text\":\"Hey\"}\n" ITEM("done\",\"output_index\":0",
                                                     "\"type\":\"message\",\"content\":[{"
                                                     "\"type\":\"output_text\","
                                                     "\"text\":\"Hey\",\"annotations\":[]}]")
                              ITEM("added\",\"output_index\":1",
                                   "\"type\":\"function_call\",\"call_id\":"
                                   "\"c1\",\"name\":\"f\","
                                   "\"arguments\":\"\"") "{\"type\":"
                                                         "\"response."
                                                         "function_call_"
                                                         "arguments."
                                                         "delta\",\"output_"
                                                         "index\":1,"
                                                         "\"delta\":\"{}\"}"
                                                         "\n"
                                                         "{\"type\":"
                                                         "\"response."
                                                         "function_call_"
                                                         "arguments.done\","
                                                         "\"output_index\":"
                                                         "1,\"arguments\":"
                                                         "\"{}\"}\n" ITEM("done\","
                                                                          "\"output_"
                                                                          "index\":1",
                                                                          "\"type\":"
                                                                          "\"function_"
                                                                          "call\","
                                                                          "\"call_id\":"
                                                                          "\"c1\","
                                                                          "\"name\":"
                                                                          "\"f\","
                                                                          "\"arguments\""
                                                                          ":\"{}\"") COMPLETED
        "[DONE]\n",
        NULL);
    assert_text(heard, "begin resp_1 m\npart0/0 msg_1\ntext0 He\ntext0 y\ndone0\npart1/3 c1 f\n"
                       "arguments1 {}\ndone1\nfinish/4 completed\nusage 3+4\nend\n");
}

static void test_what_came_in_no_piece_is_taken_from_what_is_done(void **state)
{
    (void)state;
    struct text heard =
        heard_of(CREATED ITEM("done\",\"output_index\":0",
                              "\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[{\"text\":"
                              "\"a\"},{\"text\":\"b\"}],\"encrypted_content\":\"gA\"")
                     ITEM("done\",\"output_index\":1",
                          "\"type\":\"message\",\"id\":\"msg_1\",\"content\":[{\"type\":"
                          "\"refusal\",\"refusal\":\"No\"}]")
                         ITEM("done\",\"output_index\":2",
                              "\"type\":\"custom_tool_call\",\"call_id\":\"c1\",\"name\":\"p\","
                              "\"input\":\"a\\\"b\"") COMPLETED,
                 NULL);
    assert_text(heard,
                "begin resp_1 m\npart0/2 rs_1\ntext0 a\ntext0 \\n\\n\ntext0 b\nencrypted0 gA\n"
                "done0\npart1/1 msg_1\ntext1 No\ndone1\npart2/3 c1 p\n"
                "arguments2 {\\\"input\\\":\\\"\narguments2 a\\\\\\\"b\narguments2 \\\"}\n"
                "done2\nfinish/4 completed\nusage 3+4\nend\n");
}

static void test_a_body_says_the_same(void **state)
{
    (void)state;
    struct text heard = heard_of(
        NULL,
        "\n{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"incomplete\",\"incomplete_"
        "details\":"
        "{\"reason\":\"max_output_tokens\"},\"error\":null,\"model\":\"m\",\"output\":[{\"type\":"
        "\"message\",\"id\":\"msg_1\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hey\","
        "\"annotations\":[{\"type\":\"url_citation\",\"url\":\"https://x\"}]}]}],"
        "\"usage\":{\"input_tokens\":-3,\"output_tokens\":4}}");
    assert_text(heard, "begin resp_1 m\npart0/0 msg_1\ntext0 Hey\ncite0\ndone0\n"
                       "finish/3 max_output_tokens\nusage 0+4\nend\n");
}

static void test_failures_are_told_apart(void **state)
{
    (void)state;
    assert_text(heard_of("{\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":"
                         "\"slow\"}\n" COMPLETED,
                         NULL),
                "fail/target_busy slow\n");
    assert_text(heard_of(CREATED
                         "{\"type\":\"response.failed\",\"response\":{\"status\":\"failed\","
                         "\"error\":{\"code\":\"server_error\",\"message\":\"oh\"}}}\n",
                         NULL),
                "begin resp_1 m\nfail/target_error oh\n");
    assert_text(
        heard_of("{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"no\"}}\n", NULL),
        "fail/target_refused no\n");
    assert_text(heard_of(CREATED "{\"type\":\"response.output_text.delta\",\n", NULL),
                "begin resp_1 m\nfail/target_invalid The provider's answer is not JSON.\n");
    assert_text(heard_of(NULL, "{\"status\":\"queued\",\"output\":[]}"),
                "begin\nfail/target_invalid The provider's answer is not finished.\n");
    assert_text(heard_of(CREATED, NULL), "begin resp_1 m\n"); /* cut: nobody says an end */
}

/* -------------------------------------------------------------------- answers, written */

static struct answer_way way_to(const struct translator *from, const char *request)
{
    return (struct answer_way){.from = from,
                               .to = OWN,
                               .id = {"7", 1},
                               .model = {"asked", 5},
                               .now_s = 1700000000,
                               .stream_in = true,
                               .stream_out = true,
                               .call = text_of(request)};
}

/* A writer that is told what a test says. */
struct mouth {
    struct answer_way way;
    struct responses_writer *writer;
};

static struct mouth mouth_new(const char *request)
{
    struct mouth mouth = {.writer = arena_new(&arena, sizeof(struct responses_writer))};
    struct answer_way *way = arena_new(&arena, sizeof(*way));
    *way = way_to(&other, request);
    arena_init(&mouth.writer->base.arena, 1024);
    mouth.writer->base.way = way;
    buffer_clear(&made);
    return mouth;
}

static void tell(struct mouth *mouth, struct answer_event event)
{
    OWN->write_event(mouth->writer, &event, &made);
}

static void tell_part(struct mouth *mouth, unsigned part, enum part_kind kind, const char *text)
{
    tell(mouth, (struct answer_event){.kind = ANSWER_PART,
                                      .part_kind = kind,
                                      .part = part,
                                      .id = kind == PART_CALL ? TEXT("c1") : TEXT(""),
                                      .name = kind == PART_CALL ? TEXT("apply_patch") : TEXT("")});
    tell(mouth, (struct answer_event){.kind = kind == PART_CALL ? ANSWER_ARGUMENTS : ANSWER_TEXT,
                                      .part_kind = kind,
                                      .part = part,
                                      .text = text_of(text)});
}

static void tell_done(struct mouth *mouth, unsigned part)
{
    tell(mouth, (struct answer_event){.kind = ANSWER_PART_END, .part = part});
}

static struct text told_all(struct mouth *mouth, enum finish finish)
{
    struct usage usage = {
        .input_tokens = 5, .cached_tokens = 2, .output_tokens = 6, .reasoning_tokens = 1};
    tell(mouth, (struct answer_event){.kind = ANSWER_FINISH, .finish = finish});
    tell(mouth, (struct answer_event){.kind = ANSWER_USAGE, .usage = &usage});
    tell(mouth, (struct answer_event){.kind = ANSWER_END});
    arena_done(&mouth->writer->base.arena);
    return buffer_text(&made);
}

static void test_text_is_told_in_the_order_that_clients_expect(void **state)
{
    (void)state;
    struct mouth mouth = mouth_new("{}");
    tell(&mouth, (struct answer_event){.kind = ANSWER_BEGIN, .model = TEXT("m")});
    buffer_clear(&made);
    tell_part(&mouth, 0, PART_TEXT, "Hi");
    tell_done(&mouth, 0);
    tell(&mouth, (struct answer_event){.kind = ANSWER_FINISH, .finish = FINISH_STOP});
    assert_text(
        buffer_text(&made),
        "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\","
        "\"sequence_number\":2,\"output_index\":0,\"item\":{\"id\":\"msg_7_0\",\"type\":"
        "\"message\","
        "\"status\":\"in_progress\",\"content\":[],\"role\":\"assistant\"}}\n\n"
        "event: response.content_part.added\ndata: {\"type\":\"response.content_part.added\","
        "\"sequence_number\":3,\"item_id\":\"msg_7_0\",\"output_index\":0,\"content_index\":0,"
        "\"part\":{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"\"}}\n\n"
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
        "\"sequence_number\":4,\"item_id\":\"msg_7_0\",\"output_index\":0,\"content_index\":0,"
        "\"delta\":\"Hi\",\"logprobs\":[]}\n\n"
        "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\","
        "\"sequence_number\":5,\"item_id\":\"msg_7_0\",\"output_index\":0,\"content_index\":0,"
        "\"text\":\"Hi\",\"logprobs\":[]}\n\n"
        "event: response.content_part.done\ndata: {\"type\":\"response.content_part.done\","
        "\"sequence_number\":6,\"item_id\":\"msg_7_0\",\"output_index\":0,\"content_index\":0,"
        "\"part\":{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"Hi\"}}"
        "\n\n"
        "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\","
        "\"sequence_number\":7,\"output_index\":0,\"item\":{\"id\":\"msg_7_0\",\"type\":"
        "\"message\","
        "\"status\":\"completed\",\"content\":[{\"type\":\"output_text\",\"annotations\":[],"
        "\"logprobs\":[],\"text\":\"Hi\"}],\"role\":\"assistant\"}}\n\n");
    told_all(&mouth, FINISH_STOP);
}

static void test_the_last_event_has_all_items_the_usage_and_the_call(void **state)
{
    (void)state;
    struct mouth mouth = mouth_new("{\"instructions\":\"I\",\"temperature\":0.25,\"store\":true,"
                                   "\"tools\":[{\"type\":\"function\",\n\"name\":\"f\"}],"
                                   "\"metadata\":{\"a\":\"b\"},\"input\":\"x\"}");
    tell_part(&mouth, 0, PART_REASONING, "Hm");
    tell_done(&mouth, 0);
    tell_part(&mouth, 1, PART_TEXT, "A");
    tell_done(&mouth, 1);
    tell_part(&mouth, 2, PART_TEXT, "B");
    tell_done(&mouth, 2);
    struct text out = told_all(&mouth, FINISH_LENGTH);
    struct text last = text_from(out, text_find(out, TEXT("event: response.incomplete")));
    assert_has(last, "\"status\":\"incomplete\"");
    assert_has(last, "\"incomplete_details\":{\"reason\":\"max_output_tokens\"}");
    assert_has(
        last, "\"output\":[{\"id\":\"rs_7_0\",\"type\":\"reasoning\",\"summary\":[{\"type\":"
              "\"summary_text\",\"text\":\"Hm\"}]},{\"id\":\"msg_7_1\",\"type\":\"message\","
              "\"status\":\"incomplete\",\"content\":[{\"type\":\"output_text\",\"annotations\":[],"
              "\"logprobs\":[],\"text\":\"A\"},{\"type\":\"output_text\",\"annotations\":[],"
              "\"logprobs\":[],\"text\":\"B\"}],\"role\":\"assistant\"}]");
    assert_has(last, "\"usage\":{\"input_tokens\":5,\"input_tokens_details\":{\"cached_tokens\":2,"
                     "\"cache_write_tokens\":0},"
                     "\"output_tokens\":6,\"output_tokens_details\":{\"reasoning_tokens\":1},"
                     "\"total_tokens\":11}");
    assert_has(last, "\"model\":\"asked\"");
    assert_has(last, "\"instructions\":\"I\"");
    assert_has(last, "\"temperature\":0.25");
    assert_has(last, "\"store\":true");
    assert_has(last, "\"metadata\":{\"a\":\"b\"}");
    assert_has(last, "\"parallel_tool_calls\":true");
    assert_has(last, "[{\"type\":\"function\", \"name\":\"f\"}]"); /* a line is a line */
}

static void test_a_tool_of_free_text_is_called_with_free_text(void **state)
{
    (void)state;
    struct mouth mouth = mouth_new(codex);
    tell_part(&mouth, 0, PART_CALL, "{\\\"input\\\": \\\"a\\\\n");
    tell(&mouth, (struct answer_event){
                     .kind = ANSWER_ARGUMENTS, .part_kind = PART_CALL, .text = TEXT("b\\\"}")});
    tell_done(&mouth, 0);
    struct text out = told_all(&mouth, FINISH_CALLS);
    assert_has(out, "\"delta\":\"a\\nb\"");
    assert_has(out, "\"type\":\"response.custom_tool_call_input.done\"");
    assert_has(out,
               "\"item\":{\"id\":\"ctc_7_0\",\"type\":\"custom_tool_call\",\"status\":"
               "\"completed\",\"input\":\"a\\nb\",\"call_id\":\"c1\",\"name\":\"apply_patch\"}");
    assert_has_not(out, "function_call_arguments");
}

static void test_a_tool_of_a_namespace_is_called_by_it(void **state)
{
    (void)state;
    struct mouth mouth = mouth_new(codex);
    tell(&mouth, (struct answer_event){.kind = ANSWER_PART,
                                       .part_kind = PART_CALL,
                                       .id = TEXT("c9"),
                                       .name = TEXT("mcp__files__write")});
    tell_done(&mouth, 0);
    struct text out = told_all(&mouth, FINISH_CALLS);
    assert_has(out, "\"arguments\":\"{}\",\"call_id\":\"c9\",\"name\":\"write\","
                    "\"namespace\":\"mcp__files\"");
}

static void test_signatures_of_others_travel_where_clients_keep_them(void **state)
{
    (void)state;
    struct mouth mouth = mouth_new("{}");
    tell_part(&mouth, 0, PART_REASONING, "Hm");
    tell(&mouth, (struct answer_event){
                     .kind = ANSWER_SIGNATURE, .part_kind = PART_REASONING, .text = TEXT("S=")});
    tell_done(&mouth, 0);
    tell_part(&mouth, 1, PART_CALL, "{}");
    tell(&mouth,
         (struct answer_event){
             .kind = ANSWER_SIGNATURE, .part_kind = PART_CALL, .part = 1, .text = TEXT("T")});
    tell_done(&mouth, 1);
    struct text out = told_all(&mouth, FINISH_CALLS);
    assert_has(out, "\"encrypted_content\":\"sluice:1:other:item:S=:\"");
    assert_has(out,
               "\"output_index\":2,\"item\":{\"id\":\"rs_7_2\",\"type\":\"reasoning\",\"summary\":"
               "[],\"encrypted_content\":\"sluice:1:other:call:T::c1\"}");
}

static void test_a_stream_that_fails_ends_in_failure(void **state)
{
    (void)state;
    struct mouth mouth = mouth_new("{}");
    tell_part(&mouth, 0, PART_TEXT, "Hi");
    tell(&mouth, (struct answer_event){.kind = ANSWER_FAIL,
                                       .fault = FAULT_TARGET_BUSY,
                                       .text = TEXT("slow \\\"x\\\"")});
    struct text out = buffer_text(&made);
    assert_has(out, "event: error\ndata: {\"type\":\"error\",\"sequence_number\":5,\"code\":"
                    "\"rate_limit_exceeded\",\"message\":\"slow \\\"x\\\"\",\"param\":null}\n\n");
    assert_has(out, "\"type\":\"response.failed\"");
    assert_has(out, "\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\"");
    arena_done(&mouth.writer->base.arena);
}

static void test_a_picture_that_was_made_is_a_picture(void **state)
{
    (void)state;
    assert_text(heard_of(NULL,
                         "{\"id\":\"r\",\"output\":[{\"type\":\"image_generation_call\",\"id\":"
                         "\"ig_1\",\"status\":\"completed\",\"output_format\":\"webp\","
                         "\"result\":\"AAAA\"}]}"),
                "begin r\npart0/5\ndata0 AAAA\ndone0\nfinish/1\nend\n");
    struct mouth mouth = mouth_new("{}");
    tell(&mouth, (struct answer_event){.kind = ANSWER_PART,
                                       .part_kind = PART_IMAGE,
                                       .media_type = TEXT("image/webp")});
    tell(&mouth, (struct answer_event){.kind = ANSWER_DATA, .text = TEXT("AAAA")});
    tell_done(&mouth, 0);
    assert_has(told_all(&mouth, FINISH_STOP),
               "{\"id\":\"ig_7_0\",\"type\":\"image_generation_call\",\"status\":\"completed\","
               "\"output_format\":\"webp\",\"result\":\"AAAA\"}");
}

static void test_a_source_without_a_place_is_of_the_whole_text(void **state)
{
    (void)state;
    struct mouth mouth = mouth_new("{}");
    struct citation source = {.url = TEXT("https://x"), .start = -1, .end = -1, .from = &other};
    tell_part(&mouth, 0, PART_TEXT, "");
    tell(&mouth, (struct answer_event){.kind = ANSWER_CITATION, .citation = &source});
    tell(&mouth, (struct answer_event){.kind = ANSWER_TEXT, .text = TEXT("h\\u00e9\xc3\xa9")});
    tell_done(&mouth, 0);
    struct text out = told_all(&mouth, FINISH_STOP);
    assert_has(out,
               "\"annotation\":{\"type\":\"url_citation\",\"url\":\"https://x\",\"title\":\"\","
               "\"start_index\":0,\"end_index\":3}");
    assert_has(out, "\"annotations\":[{\"type\":\"url_citation\"");
}

/* One's own answer in both forms, fed whole and byte by byte, is the same. */
static struct text translated(const char *answer, bool in, bool out, size_t each)
{
    struct answer_way way = way_to(OWN, codex);
    struct answer seen = {.operation = OPERATION_RESPONSE};
    struct buffer to;
    way.stream_in = in;
    way.stream_out = out;
    buffer_init(&to, 1 << 20);
    struct translation *translation = translation_new(&way, &seen);
    struct text rest = text_of(answer);
    while (rest.len) {
        translation_feed(translation, text_head(rest, each), &to);
        rest = text_from(rest, each);
    }
    translation_close(translation, &to);
    translation_free(translation);
    struct text all = arena_copy(&arena, buffer_text(&to));
    buffer_done(&to);
    return all;
}

static void test_however_it_is_cut_an_answer_is_the_same(void **state)
{
    (void)state;
    const char *body =
        "{\"id\":\"resp_1\",\"status\":\"completed\",\"model\":\"m\",\"created_at\":5,\n\"output\":"
        "["
        "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"encrypted_content\":\"gA\","
        "\"odd\":2},"
        "{\"type\":\"web_search_call\",\"id\":\"ws_1\",\n\"status\":\"completed\"},"
        "{\"type\":\"message\",\"id\":\"msg_1\",\"phase\":\"final\",\"content\":[{\"type\":"
        "\"output_text\","
        "\"text\":\"Hey\",\"annotations\":[{\"type\":\"url_citation\",\"odd\":1}],\"logprobs\":[{"
        "\"token\":"
        "\"Hey\"}]}]},{\"type\":\"custom_tool_call\",\"id\":\"ctc_1\",\"call_id\":\"c1\",\"name\":"
        "\"apply_patch\",\"input\":\"x\"}],\"service_tier\":\"flex\",\"usage\":{\"input_tokens\":1,"
        "\"output_tokens\":2,\"total_tokens\":3,\"cost\":0.5}}";
    struct text stream = translated(body, false, true, SIZE_MAX);
    assert_text(translated(body, false, true, 1), arena_copy(&arena, stream).at);
    const char *events = arena_copy(&arena, stream).at;
    struct text whole = translated(events, true, false, SIZE_MAX);
    assert_text(translated(events, true, false, 1), arena_copy(&arena, whole).at);
    assert_has(whole,
               "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"encrypted_content\":"
               "\"gA\",\"odd\":2}");
    assert_has(whole, "{\"type\":\"web_search_call\",\"id\":\"ws_1\", \"status\":\"completed\"}");
    assert_has(
        whole,
        "{\"id\":\"msg_1\",\"type\":\"message\",\"status\":\"completed\",\"phase\":"
        "\"final\",\"content\":[{\"type\":\"output_text\",\"annotations\":[{\"type\":"
        "\"url_citation\",\"odd\":1}],\"logprobs\":[{\"token\":\"Hey\"}],\"text\":\"Hey\"}]");
    assert_has(whole, "\"service_tier\":\"flex\"");
    assert_has(whole, "\"total_tokens\":3,\"cost\":0.5}");
    assert_has(whole, "\"id\":\"ctc_1\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(test_a_string_is_what_the_user_says),
        CASE(test_the_items_of_one_turn_are_one_message),
        CASE(test_what_the_target_does_not_keep_is_refused_by_name),
        CASE(test_what_is_of_the_wrong_kind_is_refused_by_name),
        CASE(test_a_call_of_another_dialect_is_written_so),
        CASE(test_what_responses_cannot_say_is_named),
        CASE(test_free_text_and_namespaces_are_functions_to_others),
        CASE(test_to_its_own_kind_they_are_what_they_were),
        CASE(test_only_allowed_tools_are_offered),
        CASE(test_reasoning_goes_back_untouched_to_its_own_kind),
        CASE(test_reasoning_of_others_is_not_shown_to_who_checks_it),
        CASE(test_a_proof_comes_back_to_what_it_is_of),
        CASE(test_a_stream_is_read_part_by_part),
        CASE(test_what_came_in_no_piece_is_taken_from_what_is_done),
        CASE(test_a_body_says_the_same),
        CASE(test_failures_are_told_apart),
        CASE(test_text_is_told_in_the_order_that_clients_expect),
        CASE(test_the_last_event_has_all_items_the_usage_and_the_call),
        CASE(test_a_tool_of_free_text_is_called_with_free_text),
        CASE(test_a_tool_of_a_namespace_is_called_by_it),
        CASE(test_signatures_of_others_travel_where_clients_keep_them),
        CASE(test_a_stream_that_fails_ends_in_failure),
        CASE(test_a_picture_that_was_made_is_a_picture),
        CASE(test_a_source_without_a_place_is_of_the_whole_text),
        CASE(test_however_it_is_cut_an_answer_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
