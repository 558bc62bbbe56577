/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "gateway/http/sse.h"
#include "providers/provider.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const struct dialect *openai(void)
{
    return dialect_find(TEXT("openai"));
}

/* Watch one event, written as it stands on the wire. */
static enum event_verdict watch(struct answer *answer, const char *wire)
{
    struct text bytes = text_of(wire);
    struct sse_event event;
    assert_int_equal(sse_whole(bytes), bytes.len);
    assert_true(sse_next(&bytes, &event));
    assert_int_equal(bytes.len, 0);
    return openai()->watch_event(answer, &event);
}

static struct answer chat(void)
{
    return (struct answer){.operation = OPERATION_CHAT};
}

#define CHUNK(inside) "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\"," inside "}\n\n"
#define DELTA(inside) \
    CHUNK("\"choices\":[{\"index\":0,\"delta\":{" inside "},\"finish_reason\":null}]")
#define USAGE(inside) CHUNK("\"choices\":[],\"usage\":{" inside "}")

static void counts_content_of_every_kind(void **state)
{
    (void)state;
    static const char *const chunks[] = {
        DELTA("\"content\":\"four\""),
        DELTA("\"reasoning_content\":\"four\""),
        DELTA("\"reasoning\" : \"four\""),
        DELTA("\"refusal\":\"four\""),
        DELTA("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"four\"}}]"),
        CHUNK("\"choices\":[{\"text\":\"four\",\"index\":0,\"finish_reason\":null}]"),
        DELTA("\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":"
              "\"four\"}]}]"),
    };
    enum { CHUNKS = sizeof(chunks) / sizeof(chunks[0]) };
    struct answer answer = chat();
    for (int64_t i = 0; i < CHUNKS; i++) {
        assert_int_equal(watch(&answer, chunks[i]), EVENT_PASS);
        assert_int_equal(answer.events, i + 1);
        assert_int_equal(answer.content_bytes, 4 * (i + 1));
    }
    assert_int_equal(watch(&answer, DELTA("\"role\":\"assistant\",\"content\":\"\"")), EVENT_PASS);
    assert_int_equal(watch(&answer, ": a comment\n\n"), EVENT_PASS);
    assert_int_equal(answer.events, CHUNKS);
    assert_int_equal(answer_estimate(&answer), CHUNKS);
    assert_int_equal(
        watch(&answer, DELTA("\"content\":\"0123456789012345678901234567890123456789\"")),
        EVENT_PASS);
    assert_int_equal(answer_estimate(&answer), CHUNKS + 10);
}

static void is_not_fooled_by_what_is_said(void **state)
{
    (void)state;
    static const char *const chunks[] = {
        DELTA("\"content\":\"{\\\"usage\\\":{\\\"prompt_tokens\\\":7,\\\"completion_tokens\\\":7}}"
              "\""),
        DELTA("\"content\":\"\\\"error\\\":{\\\"a\\\":1}, \\\"finish_reason\\\":\\\"stop\\\"\""),
        DELTA("\"content\":\"usage\",\"name\":\"error\""),
        CHUNK("\"choices\":[{\"delta\":{\"annotations\":[{\"error\":{\"code\":1}}]}}]"),
        CHUNK("\"choices\":[{\"delta\":{\"meta\":{\"usage\":{\"completion_tokens\":9}}}}]"),
        CHUNK("\"choices\":[],\"error\":null,\"usage\":null"),
        "data: [DONE] \n\n",
    };
    struct answer answer = chat();
    answer.hide_usage = true;
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++)
        assert_int_equal(watch(&answer, chunks[i]), EVENT_PASS);
    assert_false(answer.usage_seen || answer.ended || answer.failed);
}

static void hides_only_the_chunk_that_was_asked_for_in_secret(void **state)
{
    (void)state;
    struct answer answer = chat();
    assert_int_equal(watch(&answer, USAGE("\"prompt_tokens\":3,\"completion_tokens\":5")),
                     EVENT_PASS);
    answer.hide_usage = true;
    assert_int_equal(watch(&answer, USAGE("\"prompt_tokens\":3,\"completion_tokens\":6")),
                     EVENT_HIDE);
    assert_int_equal(answer.usage.output_tokens, 6);
    assert_int_equal(
        watch(&answer, CHUNK("\"choices\" : [ ],\"usage\": {\"completion_tokens\":8}")),
        EVENT_HIDE);
    assert_int_equal(watch(&answer, CHUNK("\"choices\":[{\"delta\":{}}],\"usage\":"
                                          "{\"prompt_tokens\":3,\"completion_tokens\":7}")),
                     EVENT_PASS);
    assert_int_equal(answer.usage.output_tokens, 7);
    assert_int_equal(watch(&answer, CHUNK("\"choices\":[],\"prompt_filter_results\":[]")),
                     EVENT_PASS);
    assert_int_equal(watch(&answer, CHUNK("\"usage\":{\"completion_tokens\":7}")), EVENT_PASS);
}

static void reads_usage_of_every_form(void **state)
{
    (void)state;
    struct answer answer = chat();
    watch(&answer,
          USAGE("\"prompt_tokens\":100,\"completion_tokens\":50,\"total_tokens\":150,"
                "\"prompt_tokens_details\":{\"cached_tokens\":60,\"audio_tokens\":10},"
                "\"completion_tokens_details\":{\"reasoning_tokens\":20,\"audio_tokens\":5}"));
    assert_true(answer.usage_seen);
    assert_int_equal(answer.usage.input_tokens, 100);
    assert_int_equal(answer.usage.cached_tokens, 60);
    assert_int_equal(answer.usage.audio_input_tokens, 10);
    assert_int_equal(answer.usage.output_tokens, 50);
    assert_int_equal(answer.usage.reasoning_tokens, 20);
    assert_int_equal(answer.usage.audio_output_tokens, 5);
    watch(&answer,
          USAGE("\"prompt_tokens\":9,\"completion_tokens\":1,\"prompt_cache_hit_tokens\":8"));
    assert_int_equal(answer.usage.cached_tokens, 8);
    assert_int_equal(answer.usage.reasoning_tokens, 0);
    watch(&answer, USAGE("\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":16,"
                         "\"completion_tokens_details\":{\"reasoning_tokens\":4}"));
    assert_int_equal(answer.usage.output_tokens, 7); /* xAI */
    watch(&answer, USAGE("\"prompt_tokens\":20,\"completion_tokens\":151,\"total_tokens\":553"));
    assert_int_equal(answer.usage.input_tokens, 20); /* Gemini, in these words */
    assert_int_equal(answer.usage.output_tokens, 533);
    assert_int_equal(answer.usage.reasoning_tokens, 382);
    watch(&answer, USAGE("\"prompt_tokens\":3,\"completion_tokens\":7,\"total_tokens\":1110,"
                         "\"cache_read_input_tokens\":1000,"
                         "\"cache_creation_input_tokens\":100"));
    assert_int_equal(answer.usage.input_tokens, 1103); /* Claude, behind some gateways */
    assert_int_equal(answer.usage.cached_tokens, 1000);
    assert_int_equal(answer.usage.cache_write_tokens, 100);
    assert_int_equal(answer.usage.output_tokens, 7);
    watch(&answer, USAGE("\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":11"));
    assert_int_equal(answer.usage.output_tokens, 3);
    watch(&answer, /* the name that is trusted most, wherever it stands; of two alike the first */
          USAGE("\"cached_tokens\":1,\"input_tokens\":7,\"output_tokens\":7,"
                "\"input_tokens_details\":{\"cached_tokens\":2,\"image_tokens\":5},"
                "\"prompt_tokens_details\":{\"cached_tokens\":3,\"cached_tokens\":4,"
                "\"image_tokens\":6},\"prompt_cache_hit_tokens\":8,\"prompt_tokens\":9,"
                "\"completion_tokens\":2,\"other_details\":{\"cached_tokens\":8}"));
    assert_int_equal(answer.usage.input_tokens, 9);
    assert_int_equal(answer.usage.output_tokens, 2);
    assert_int_equal(answer.usage.cached_tokens, 3);
    assert_int_equal(answer.usage.image_tokens, 5);
    watch(&answer, CHUNK("\"choices\":[{\"finish_reason\":\"stop\"}],"
                         "\"x_groq\":{\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}"));
    assert_int_equal(answer.usage.input_tokens, 4);
    watch(&answer, CHUNK("\"choices\":[{\"finish_reason\":\"stop\",\"usage\":"
                         "{\"prompt_tokens\":5,\"completion_tokens\":2}}]"));
    assert_int_equal(answer.usage.input_tokens, 5); /* Moonshot */
    struct answer embedding = {.operation = OPERATION_EMBEDDING};
    watch(&embedding, USAGE("\"total_tokens\":12"));
    assert_int_equal(embedding.usage.input_tokens, 12);
    assert_true(embedding.usage_seen);
}

static void does_not_book_nonsense(void **state)
{
    (void)state;
    static const char *const nonsense[] = {
        USAGE("\"prompt_tokens\":-5,\"completion_tokens\":-1"),
        USAGE("\"prompt_tokens\":null,\"completion_tokens\":null"),
        USAGE("\"prompt_tokens\":1.5,\"completion_tokens\":2e9"),
        USAGE("\"prompt_tokens\":\"7\",\"completion_tokens\":[7]"),
        USAGE("\"prompt_tokens\":99999999999999999999999,\"completion_tokens\":1000000000001"),
        CHUNK("\"choices\":[],\"usage\":{}"),
        CHUNK("\"choices\":[],\"usage\":{\"completion_tokens\":{\"\":{\"\":{\"\":{}}}}"),
        "data: {\"usage\":{\"completion_tokens\"\n\n",
        "data: {\"usage\":{\n\n",
    };
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        struct answer answer = chat();
        watch(&answer, nonsense[i]);
        assert_false(answer.usage_seen);
        assert_int_equal(answer.usage.input_tokens, 0);
        assert_int_equal(answer.usage.output_tokens, 0);
    }
    struct answer answer = chat();
    watch(&answer,
          USAGE("\"prompt_tokens\":10,\"completion_tokens\":5,\"prompt_tokens_details\":"
                "{\"cached_tokens\":900,\"cache_write_tokens\":900,\"audio_tokens\":900}"));
    assert_int_equal(answer.usage.cached_tokens, 10);
    assert_int_equal(answer.usage.cache_write_tokens, 10);
    assert_int_equal(answer.usage.audio_input_tokens, 10);
    watch(&answer, USAGE("\"prompt_tokens\":11,\"completion_tokens\":null"));
    assert_int_equal(answer.usage.input_tokens,
                     11); /* the input is known, the rest to be guessed */
}

static void ends_a_chat(void **state)
{
    (void)state;
    struct answer answer = chat();
    assert_int_equal(
        watch(&answer, CHUNK("\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]")),
        EVENT_PASS);
    assert_true(answer.ended);
    assert_string_equal(answer.finish, "length");
    assert_int_equal(watch(&answer, "data: [DONE]\n\n"), EVENT_LAST);
    struct answer bare = chat();
    assert_int_equal(watch(&bare, "data:[DONE]\r\n\r\n"), EVENT_LAST);
    assert_true(bare.ended);
    struct answer long_word = chat();
    watch(&long_word, CHUNK("\"choices\":[{\"finish_reason\":"
                            "\"a reason that is longer than any in use could ever be\"}]"));
    assert_int_equal(strlen(long_word.finish), sizeof(long_word.finish) - 1);
}

static void sees_errors_inside_a_stream(void **state)
{
    (void)state;
    static const char *const errors[] = {
        "event: error\ndata: {\"message\":\"no\"}\n\n",
        "data: {\"error\":{\"code\":\"1305\",\"message\":\"overloaded\"}}\n\n",
        "data: {\"error\":\"text\"}\n\n",
        CHUNK("\"error\":{\"code\":502},\"choices\":[{\"finish_reason\":\"error\"}]"),
    };
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct answer answer = chat();
        assert_int_equal(watch(&answer, errors[i]), EVENT_FAIL);
        assert_true(answer.failed);
    }
    struct answer response = {.operation = OPERATION_RESPONSE};
    assert_int_equal(watch(&response, "data: {\"type\":\"error\",\"message\":\"no\"}\n\n"),
                     EVENT_FAIL);
    assert_int_equal(watch(&response, "data: {\"error\":{\"message\":\"no\"}}\n\n"), EVENT_FAIL);
}

static void joins_data_on_several_lines(void **state)
{
    (void)state;
    struct answer answer = chat();
    assert_int_equal(watch(&answer,
                           "data: {\"choices\":[],\ndata:\"usage\":\r\n"
                           "data: {\"prompt_tokens\":1,\ndata: \"completion_tokens\":2}}\n\n"),
                     EVENT_PASS);
    assert_int_equal(answer.usage.output_tokens, 2);
}

static void follows_a_response(void **state)
{
    (void)state;
    char id[ANSWER_ID_BYTES] = "";
    struct answer answer = {.operation = OPERATION_RESPONSE, .object_id = id};
    assert_int_equal(watch(&answer,
                           "event: response.created\ndata: {\"type\":\"response.created\","
                           "\"response\":{\"id\":\"resp_1\",\"store\":true,\"usage\":null}}\n\n"),
                     EVENT_PASS);
    assert_string_equal(answer.object_id, "resp_1");
    assert_true(answer.owns);
    assert_int_equal(watch(&answer,
                           "data: {\"type\":\"response.output_text.delta\",\"delta\":\"four\","
                           "\"logprobs\":[],\"obfuscation\":\"xxxxxxxx\"}\n\n"),
                     EVENT_PASS);
    assert_int_equal(answer.content_bytes, 4);
    assert_int_equal(
        watch(&answer,
              "data: "
              "{\"response\":{\"id\":\"resp_1\",\"output\":[{\"type\":\"message\"}],\"store\":true,"
              "\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"usage\":{\"input_"
              "tokens\":5,"
              "\"input_tokens_details\":{\"cached_tokens\":2},\"output_tokens\":6,"
              "\"output_tokens_details\":{\"reasoning_tokens\":1}}},\"type\":\"response."
              "incomplete\"}\n\n"),
        EVENT_LAST);
    assert_string_equal(answer.finish, "max_output_tokens");
    assert_int_equal(answer.usage.input_tokens, 5);
    assert_int_equal(answer.usage.cached_tokens, 2);
    assert_int_equal(answer.usage.reasoning_tokens, 1);
    assert_true(answer.ended && !answer.failed);
    assert_int_equal(watch(&answer, "data: [DONE]\n\n"), EVENT_PASS); /* was over already */
}

static void knows_whether_a_response_is_kept(void **state)
{
    (void)state;
    char id[ANSWER_ID_BYTES] = "";
    struct answer asked = {.operation = OPERATION_RESPONSE, .owns = true, .object_id = id};
    watch(&asked, "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\n");
    assert_true(asked.owns);
    watch(&asked,
          "data: "
          "{\"type\":\"response.failed\",\"response\":{\"id\":\"resp_1\",\"store\":false}}\n\n");
    assert_false(asked.owns);
    assert_true(asked.failed);
}

/* A name that does not fit is not cut, and where nobody asks for one, none is kept. */
static void keeps_an_id_where_there_is_room(void **state)
{
    (void)state;
    char id[ANSWER_ID_BYTES] = "", name[ANSWER_ID_BYTES + 1];
    struct answer asked = {.object_id = id}, not_asked = {.operation = OPERATION_CHAT};
    memset(name, 'a', sizeof(name));
    answer_note_id(&asked, (struct text){name, ANSWER_ID_BYTES});
    assert_false(answer_has_id(&asked));
    answer_note_id(&asked, (struct text){name, ANSWER_ID_BYTES - 1});
    assert_true(answer_has_id(&asked));
    assert_int_equal(strlen(id), ANSWER_ID_BYTES - 1);
    answer_note_id(&asked, TEXT(""));
    assert_int_equal(strlen(id), ANSWER_ID_BYTES - 1);
    answer_note_id(&not_asked, TEXT("chatcmpl-1"));
    assert_false(answer_has_id(&not_asked));
}

static void ends_media_streams(void **state)
{
    (void)state;
    struct answer heard = {.operation = OPERATION_TRANSCRIPTION};
    assert_int_equal(
        watch(&heard, "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Hi\"}\n\n"),
        EVENT_PASS);
    assert_int_equal(watch(&heard,
                           "data: {\"type\":\"transcript.text.done\",\"text\":\"Hi\",\"usage\":"
                           "{\"type\":\"duration\",\"seconds\":2.25}}\n\n"),
                     EVENT_LAST);
    assert_int_equal(heard.usage.units, 3);
    struct answer drawn = {.operation = OPERATION_IMAGE};
    assert_int_equal(watch(&drawn, "event: image_generation.completed\ndata: {\"type\":"
                                   "\"image_generation.completed\",\"b64_json\":\"AAAA\",\"usage\":"
                                   "{\"input_tokens\":5,\"output_tokens\":7}}\n\n"),
                     EVENT_LAST);
    assert_int_equal(drawn.usage.output_tokens, 7);
}

static struct scan_value value(enum scan_kind kind, const char *raw)
{
    return (struct scan_value){.kind = kind, .raw = text_of(raw)};
}

static void reads_durations(void **state)
{
    (void)state;
    static const struct {
        enum operation operation;
        const char *duration, *usage;
        int64_t units;
    } cases[] = {
        {OPERATION_TRANSCRIPTION, "8.470000267028809", NULL, 9},
        {OPERATION_TRANSCRIPTION, "\"8.47\"", NULL, 9},
        {OPERATION_TRANSCRIPTION, "8", NULL, 8},
        {OPERATION_TRANSCRIPTION, "-8", NULL, 0},
        {OPERATION_TRANSCRIPTION, "[8]", NULL, 0},
        {OPERATION_TRANSCRIPTION, "8.5", "{\"type\":\"duration\",\"seconds\":7}", 7},
        {OPERATION_TRANSCRIPTION, "8.5", "{\"input_tokens\":7,\"output_tokens\":1}", 0},
        {OPERATION_CHAT, "8.5", NULL, 0},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct scan_value values[DIALECT_WANTS] = {{0}};
        for (size_t i = 0; i < openai()->want_count; i++) {
            if (text_equal(openai()->wants[i], TEXT("duration")))
                values[i] = value(SCAN_NUMBER, cases[c].duration);
            if (text_equal(openai()->wants[i], TEXT("usage")) && cases[c].usage)
                values[i] = value(SCAN_OBJECT, cases[c].usage);
        }
        struct answer answer = {.operation = cases[c].operation};
        openai()->watch_body(&answer, values);
        assert_int_equal(answer.usage.units, cases[c].units);
        assert_int_equal(answer.usage_seen, cases[c].usage != NULL);
    }
}

static void reads_whole_answers(void **state)
{
    (void)state;
    const struct text *wants = openai()->wants;
    struct scan_value values[DIALECT_WANTS] = {{0}};
    assert_true(openai()->want_count <= DIALECT_WANTS);
    for (size_t i = 0; i < openai()->want_count; i++) {
        if (text_equal(wants[i], TEXT("id")))
            values[i] = value(SCAN_STRING, "\"file-1\"");
        if (text_equal(wants[i], TEXT("usage")))
            values[i] = value(SCAN_OBJECT, "{\"prompt_tokens\":3,\"completion_tokens\":4}");
        if (text_equal(wants[i], TEXT("error")))
            values[i] = value(SCAN_NULL, "null");
    }
    char id[ANSWER_ID_BYTES] = "";
    struct answer answer = {.operation = OPERATION_FILE, .object_id = id};
    openai()->watch_body(&answer, values);
    assert_true(answer.ended && answer.owns && !answer.failed && answer.usage_seen);
    assert_string_equal(answer.object_id, "file-1");
    for (size_t i = 0; i < openai()->want_count; i++) {
        if (text_equal(wants[i], TEXT("id")))
            values[i] = value(SCAN_ABSENT, "");
        if (text_equal(wants[i], TEXT("error")))
            values[i] = value(SCAN_OBJECT, "{\"message\":\"no\"}");
        if (text_equal(wants[i], TEXT("usage")))
            values[i] = value(SCAN_ABSENT, "");
        if (text_equal(wants[i], TEXT("meta")))
            values[i] = value(SCAN_OBJECT, "{\"billed_units\":{\"search_units\":2}}");
    }
    answer = (struct answer){.operation = OPERATION_RERANK, .owns = true};
    openai()->watch_body(&answer, values);
    assert_true(answer.failed);
    assert_false(answer.owns);
    assert_int_equal(answer.usage.units, 2);
}

/* clang-format off */
static const struct {
    unsigned status;
    const char *body;
    enum fault_kind kind;
    const char *message;
} errors[] = {
    {429, "{\"error\":{\"message\":\"slow down\",\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}", FAULT_TARGET_BUSY, "rate_limit_exceeded: slow down"},
    {429, "{\"error\":{\"message\":\"pay\",\"code\":\"insufficient_quota\"}}", FAULT_TARGET_BUSY, "insufficient_quota: pay"},
    {529, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}", FAULT_TARGET_BUSY, "overloaded_error: Overloaded"},
    {401, "{\"error\":{\"message\":\"Incorrect API key provided: sk-secret\",\"code\":\"invalid_api_key\"}}", FAULT_TARGET_ERROR, "invalid_api_key: the provider refuses our key or account"},
    {402, "{\"error\":{\"message\":\"Insufficient Balance\"}}", FAULT_TARGET_ERROR, "the provider refuses our key or account"},
    {403, "", FAULT_TARGET_ERROR, "the provider refuses our key or account"},
    {400, "{\"code\":\"invalid-argument\",\"error\":\"Incorrect API key provided.\"}", FAULT_TARGET_ERROR, "invalid-argument: the provider refuses our key or account"},
    {400, "{\"error\":{\"message\":\"bad field\",\"code\":null}}", FAULT_TARGET_REFUSED, "bad field"},
    {404, "{\"error\":\"Specified model not found\"}", FAULT_TARGET_REFUSED, "Specified model not found"},
    {413, "{\"error\":{\"message\":\"too large\",\"code\":\"rate_limit_exceeded\"}}", FAULT_TARGET_BUSY, "rate_limit_exceeded: too large"},
    {422, "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"field required\"}]}", FAULT_TARGET_REFUSED, "field required"},
    {400, "{\"detail\":\"Model nonexistent\"}", FAULT_TARGET_REFUSED, "Model nonexistent"},
    {400, "{\"object\":\"error\",\"message\":\"flat\",\"type\":\"t\"}", FAULT_TARGET_REFUSED, "t: flat"},
    {404, "{\"status\":404,\"title\":\"Not Found\",\"detail\":\"Function\"}", FAULT_TARGET_REFUSED, "Function"},
    {400, "{\"success\":false,\"errors\":[{\"code\":7003,\"message\":\"routed\"}]}", FAULT_TARGET_REFUSED, "routed"},
    {503, "[{\"error\":{\"code\":503,\"message\":\"list\"}}]", FAULT_TARGET_ERROR, "list"},
    {408, "", FAULT_TARGET_ERROR, ""}, {500, "", FAULT_TARGET_ERROR, ""},
    {502, "<html>", FAULT_TARGET_ERROR, ""}, {504, "{\"error\":", FAULT_TARGET_ERROR, ""},
    {302, "", FAULT_TARGET_INVALID, ""},
};
/* clang-format on */

static void says_what_an_error_means(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct provider_error error;
        openai()->read_error(errors[i].status, text_of(errors[i].body), &error);
        assert_int_equal(error.kind, errors[i].kind);
        assert_string_equal(error.message, errors[i].message);
    }
    char body[2000] = "{\"message\":\"";
    for (int i = 0; i < 500; i++)
        strcat(body, "\xc3\xa4");
    strcat(body, "\"}");
    struct provider_error error;
    openai()->read_error(500, text_of(body), &error);
    assert_int_equal(strlen(error.message), 130); /* cut, and between two characters */
}

/* OpenAI's own bodies stand on many lines. */
static void an_answer_on_many_lines_becomes_events_of_one_line_each(void **state)
{
    (void)state;
    struct text body =
        TEXT("{\n  \"id\": \"c\",\n  \"extra\": {\n    \"a\": 1\n  },\n  \"choices\": [\n    {\n"
             "      \"index\": 0,\n      \"message\": {\n        \"role\": \"assistant\",\n"
             "        \"content\": \"a\\nb\",\n        \"annotations\": [\r\n        ],\n"
             "        \"tool_calls\": [\n          {},\n          {\n            \"id\": \"t\"\n"
             "          }\n        ]\n      },\n      \"finish_reason\": \"stop\"\n    }\n  ],\n"
             "  \"usage\": {\n    \"prompt_tokens\": 1\n  }\n}\n");
    struct buffer out;
    struct sse_event event;
    buffer_init(&out, 1 << 20);
    assert_true(openai()->to_events(body, true, &out));
    struct text made = buffer_text(&out);
    for (int i = 0; i < 3; i++) {
        assert_true(sse_next(&made, &event));
        assert_true(event.lines == 1 && scan_is_valid(event.data));
    }
    assert_true(text_find(buffer_text(&out), TEXT("\"content\":\"a\\nb\"")) != SIZE_MAX);
    buffer_done(&out);
}

static void a_stream_with_more_members_than_are_kept_is_not_made_a_body(void **state)
{
    (void)state;
    struct buffer events, out;
    buffer_init(&events, 1 << 20);
    buffer_init(&out, 1 << 20);
    buffer_append_text(&events, TEXT("data: {\"choices\":[{\"delta\":{"));
    for (int i = 0; i < 40; i++)
        buffer_format(&events, "%s\"m%d\":\"v\"", i ? "," : "", i);
    buffer_append_text(&events, TEXT("}},{\"text\":\"t\",\"finish_reason\":\"stop\"}]}\n\n"));
    assert_false(openai()->to_body(buffer_text(&events), &out));
    assert_int_equal(buffer_length(&out), 0);
    buffer_done(&events);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_content_of_every_kind),
        cmocka_unit_test(is_not_fooled_by_what_is_said),
        cmocka_unit_test(hides_only_the_chunk_that_was_asked_for_in_secret),
        cmocka_unit_test(reads_usage_of_every_form),
        cmocka_unit_test(does_not_book_nonsense),
        cmocka_unit_test(ends_a_chat),
        cmocka_unit_test(sees_errors_inside_a_stream),
        cmocka_unit_test(joins_data_on_several_lines),
        cmocka_unit_test(follows_a_response),
        cmocka_unit_test(knows_whether_a_response_is_kept),
        cmocka_unit_test(keeps_an_id_where_there_is_room),
        cmocka_unit_test(ends_media_streams),
        cmocka_unit_test(reads_durations),
        cmocka_unit_test(reads_whole_answers),
        cmocka_unit_test(an_answer_on_many_lines_becomes_events_of_one_line_each),
        cmocka_unit_test(a_stream_with_more_members_than_are_kept_is_not_made_a_body),
        cmocka_unit_test(says_what_an_error_means),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
