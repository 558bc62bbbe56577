/* SPDX-License-Identifier: Apache-2.0 */
/* Anthropic's dialect: answers, read, written and watched. */
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

static void expect_out(const char *wanted)
{
    struct text text = arena_copy(&arena, buffer_text(&out));
    assert_string_equal(text.at, wanted);
    buffer_clear(&out);
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
              "\"sluice:1:openai-chat:call:p::i\"}")
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
    char id[ANSWER_ID_BYTES] = "";
    struct answer answer = {.operation = OPERATION_CHAT, .object_id = id};
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
        TEST(one_form_becomes_the_other),
        TEST(a_stream_without_its_end_is_cut),
        TEST(errors_inside_an_answer_are_errors),
        TEST(servers_tools_stay_whole),
        TEST(parts_that_overlap_become_blocks_in_turn),
        TEST(counts_cross),
        TEST(a_stream_is_watched),
        TEST(a_body_is_watched),
        TEST(errors_mean_what_they_say),
        TEST(what_a_model_can_is_told_by_its_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
