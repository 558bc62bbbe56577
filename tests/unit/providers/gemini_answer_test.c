/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "providers/gemini.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct answer_way way;
static struct answer seen;
static struct buffer out;

static int begin(void **state)
{
    (void)state;
    way = (struct answer_way){.from = &translator_gemini,
                              .to = &translator_gemini,
                              .id = TEXT("id"),
                              .model = TEXT("m"),
                              .stream_in = true,
                              .stream_out = true};
    buffer_init(&out, 1 << 20);
    return 0;
}

static int end(void **state)
{
    (void)state;
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

/* Feed <from> in pieces of <each> bytes; what comes of it is in <out>. */
static enum translation_state feed(const char *from, size_t each, struct fault *fault)
{
    struct text rest = text_of(from);
    buffer_clear(&out);
    seen = (struct answer){.operation = OPERATION_CHAT};
    struct translation *t = translation_new(&way, &seen);
    enum translation_state state = TRANSLATION_GOES;
    while (rest.len && state == TRANSLATION_GOES) {
        state = translation_feed(t, text_head(rest, each), &out);
        rest = text_from(rest, each);
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(t, &out);
    if (fault)
        *fault = *translation_fault(t);
    translation_free(t);
    return state;
}

static void assert_made(const char *from, const char *wanted)
{
    static const size_t sizes[] = {SIZE_MAX / 2, 1, 7};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(feed(from, sizes[i], NULL), TRANSLATION_ENDED);
        assert_text(buffer_text(&out), wanted);
    }
}

static void assert_failed(const char *from, enum fault_kind kind, const char *words)
{
    struct fault fault;
    assert_int_equal(feed(from, 3, &fault), TRANSLATION_FAILED);
    assert_int_equal(fault.kind, kind);
    if (words)
        assert_string_equal(fault.text, words);
}

#define EVENT(json) "data: " json "\r\n\r\n"
#define MADE(parts)                                                                                \
    "{\"candidates\":[{\"content\":{\"parts\":[" parts "],\"role\":\"model\"},\"index\":0}]," TAIL \
    "}"
#define TAIL "\"modelVersion\":\"v\",\"responseId\":\"r\""
#define LAST(finish)                                                                  \
    "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"}," \
    "\"finishReason\":\"" finish "\",\"index\":0}]," TAIL

/* A stream with all that streams have: thoughts, text in pieces, a call, an empty last text. */
static const char stream[] = EVENT(
    "{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"hm\",\"thought\": true}],"
    "\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9},"
    "\"modelVersion\": \"v\",\"responseId\": \"r\"}")
    EVENT("{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"a\\n\"}]}}]}") EVENT(
        "{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"b\"},{\"functionCall\": "
        "{\"name\": \"f\",\"args\": {\"x\": [1, \"y z\"]}},\"thoughtSignature\": \"QQ==\"}]}}]}")
        EVENT(
            "{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"\"}]},\"finishReason\": "
            "\"STOP\","
            "\"safetyRatings\": []}],\"usageMetadata\": {\"promptTokenCount\": 9,"
            "\"candidatesTokenCount\": 5,\"thoughtsTokenCount\": 3,\"toolUsePromptTokenCount\": 1,"
            "\"cachedContentTokenCount\": 4,\"totalTokenCount\": 18}}");

static void a_stream_stays_a_stream(void **state)
{
    (void)state;
    assert_made(
        stream,
        EVENT(MADE("{\"text\":\"hm\",\"thought\":true}")) EVENT(MADE("{\"text\":\"a\\n\"}"))
            EVENT(MADE("{\"text\":\"b\"}")) EVENT(
                MADE("{\"functionCall\":{\"id\":\"call_id_2\",\"name\":\"f\",\"args\":"
                     "{\"x\":[1,\"y z\"]}},\"thoughtSignature\":\"QQ==\"}"))
                EVENT(
                    "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":"
                    "\"model\"},\"finishReason\":\"STOP\",\"index\":0,\"safetyRatings\":[]}]," TAIL
                    ",\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":5,"
                    "\"thoughtsTokenCount\":3,\"toolUsePromptTokenCount\":1,"
                    "\"cachedContentTokenCount\":4,\"totalTokenCount\":18}}"));
    assert_int_equal(seen.usage.input_tokens, 10);
    assert_int_equal(seen.usage.cached_tokens, 4);
    assert_int_equal(seen.usage.output_tokens, 8);
    assert_int_equal(seen.usage.reasoning_tokens, 3);
    assert_true(seen.usage_seen);
}

static void a_stream_becomes_a_whole_answer(void **state)
{
    (void)state;
    way.stream_out = false;
    assert_made(stream,
                "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true},"
                "{\"text\":\"a\\nb\"},{\"functionCall\":{\"id\":\"call_id_2\",\"name\":\"f\","
                "\"args\":{\"x\":[1,\"y z\"]}},\"thoughtSignature\":\"QQ==\"}],\"role\":\"model\"},"
                "\"finishReason\":\"STOP\",\"index\":0,\"safetyRatings\":[]}],"
                "\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":5,"
                "\"thoughtsTokenCount\":3,\"toolUsePromptTokenCount\":1,"
                "\"cachedContentTokenCount\":4,\"totalTokenCount\":18}," TAIL "}");
}

static void without_sse_a_stream_is_one_array(void **state)
{
    (void)state;
    way.array_out = true;
    assert_made(EVENT("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],"
                      "\"modelVersion\":\"v\",\"responseId\":\"r\"}")
                    EVENT("{\"candidates\":[{\"finishReason\":\"MAX_TOKENS\"}]}"),
                "[" MADE("{\"text\":\"a\"}") "\r\n," LAST("MAX_TOKENS") "}\r\n]");
}

static void the_end_is_written_when_it_has_ended(void **state)
{
    (void)state;
    seen = (struct answer){.operation = OPERATION_CHAT};
    struct translation *t = translation_new(&way, &seen);
    assert_int_equal(translation_feed(t, text_of(stream), &out), TRANSLATION_GOES);
    assert_int_equal(text_find(buffer_text(&out), TEXT("finishReason")), SIZE_MAX);
    size_t before = buffer_length(&out);
    assert_int_equal(translation_close(t, &out), TRANSLATION_ENDED);
    assert_int_equal(translation_end_at(t), before);
    translation_free(t);
}

static void an_array_is_read_as_a_stream_and_a_body_as_it_is(void **state)
{
    (void)state;
    way.stream_in = false;
    assert_made("[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],"
                "\"modelVersion\":\"v\",\"responseId\":\"r\"}\n,\r\n"
                "{\"candidates\":[{\"finishReason\":1}]}\n]",
                EVENT(MADE("{\"text\":\"a\"}")) EVENT(LAST("STOP") "}"));
    assert_made("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"},{\"text\":\"b\","
                "\"thoughtSignature\":\"QQ==\"},{\"text\":\"c\",\"thoughtSignature\":\"Qg==\"},"
                "{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AA==\"}},"
                "{\"executableCode\":{\"language\": \"PYTHON\",\n\"code\":\"1\"}}]}}],"
                "\"modelVersion\":\"v\",\"responseId\":\"r\"}",
                EVENT(MADE("{\"text\":\"a\"}")) EVENT(MADE("{\"text\":\"b\"}"))
                    EVENT(MADE("{\"text\":\"\",\"thoughtSignature\":\"QQ==\"}"))
                        EVENT(MADE("{\"text\":\"c\"}"))
                            EVENT(MADE("{\"text\":\"\",\"thoughtSignature\":\"Qg==\"}")) EVENT(MADE(
                                "{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AA==\"}}"))
                                EVENT(MADE("{\"executableCode\":{\"language\":\"PYTHON\",\"code\":"
                                           "\"1\"}}")) EVENT(LAST("STOP") "}"));
}

static void a_prompt_that_is_not_let_through_ends_the_answer(void **state)
{
    (void)state;
    static const char blocked[] =
        EVENT("{\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"usageMetadata\":"
              "{\"promptTokenCount\":7,\"totalTokenCount\":7},\"modelVersion\":\"v\","
              "\"responseId\":\"r\"}");
    assert_made(blocked, EVENT("{\"candidates\":[]," TAIL ",\"promptFeedback\":{\"blockReason\":"
                               "\"SAFETY\"},\"usageMetadata\":{\"promptTokenCount\":7,"
                               "\"totalTokenCount\":7}}"));
    assert_string_equal(seen.finish, "SAFETY");
    assert_int_equal(seen.usage.input_tokens, 7);
    way.stream_out = false;
    assert_int_equal(feed(blocked, 5, NULL), TRANSLATION_ENDED);
    assert_true(text_starts(buffer_text(&out), TEXT("{\"candidates\":[],")));
}

static void what_is_cut_or_broken_is_no_answer(void **state)
{
    (void)state;
    assert_failed(EVENT("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}"),
                  FAULT_TARGET_CUT, NULL);
    assert_failed("", FAULT_TARGET_CUT, NULL);
    assert_failed(EVENT("{\"candidates\":[{\"index\":0,\"finishReason\":\"STOP\"},"
                        "{\"index\":1,\"content\":{}}]}"),
                  FAULT_TARGET_CUT, NULL);
    assert_failed(EVENT("{\"candidates\":["), FAULT_TARGET_INVALID, NULL);
    assert_failed(EVENT("{\"error\":{\"code\":429,\"message\":\"slow down\","
                        "\"status\":\"RESOURCE_EXHAUSTED\"}}"),
                  FAULT_TARGET_BUSY, "slow down");
    assert_failed(EVENT("[{\"error\":{\"code\":503,\"message\":\"overloaded\"}}]"),
                  FAULT_TARGET_ERROR, "overloaded");
    way.stream_in = false;
    assert_failed("[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}]",
                  FAULT_TARGET_CUT, NULL);
    assert_failed("{}", FAULT_TARGET_INVALID, NULL);
    assert_failed("oops", FAULT_TARGET_INVALID, NULL);
}

/* ---------------------------------------------------------------- what a reader says, and hears */

/* What was said, in one line. */
struct listener {
    struct answer_sink sink;
    char said[4096];
    size_t len;
};

static void listen(struct answer_sink *sink, const struct answer_event *event)
{
    static const char *const words[] = {
        [ANSWER_BEGIN] = "begin",
        [ANSWER_PART] = "part",
        [ANSWER_TEXT] = "text",
        [ANSWER_ARGUMENTS] = "arguments",
        [ANSWER_SIGNATURE] = "signature",
        [ANSWER_ENCRYPTED] = "encrypted",
        [ANSWER_DATA] = "data",
        [ANSWER_CITATION] = "citation",
        [ANSWER_RAW] = "raw",
        [ANSWER_PART_END] = "part_end",
        [ANSWER_LOGPROBS] = "logprobs",
        [ANSWER_FINISH] = "finish",
        [ANSWER_USAGE] = "usage",
        [ANSWER_FIELD] = "field",
        [ANSWER_FAIL] = "fail",
        [ANSWER_END] = "end",
    };
    struct listener *l = (struct listener *)sink;
    struct text more = event->text.at ? event->text : event->raw.at ? event->raw : event->name;
    l->len += (size_t)snprintf(l->said + l->len, sizeof(l->said) - l->len, "%s%s %u.%u %.*s",
                               l->len ? "|" : "", words[event->kind], event->choice, event->part,
                               TEXT_ARGS(more));
    if (event->kind == ANSWER_CITATION)
        l->len += (size_t)snprintf(l->said + l->len, sizeof(l->said) - l->len, "%.*s %d-%d",
                                   TEXT_ARGS(event->citation->url), (int)event->citation->start,
                                   (int)event->citation->end);
    if (event->kind == ANSWER_FINISH)
        l->len +=
            (size_t)snprintf(l->said + l->len, sizeof(l->said) - l->len, " %d", (int)event->finish);
    assert_true(l->len < sizeof(l->said));
}

static const struct translator elsewhere = {.name = {"elsewhere", 9}};

static void assert_said(const char *body, const char *wanted)
{
    struct listener listener = {.sink = {listen}};
    struct reader_state *state = memory_new(GEMINI_READER_BYTES);
    arena_init(&state->arena, 4096);
    state->way = &way;
    way.to = &elsewhere;
    gemini_read_body(state, text_of(body), &listener.sink);
    arena_done(&state->arena);
    memory_free(state);
    assert_string_equal(listener.said, wanted);
}

static void sources_are_said_where_the_text_is(void **state)
{
    (void)state;
    assert_said("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"ab\"}]},\"finishReason\":"
                "\"STOP\",\"groundingMetadata\":{\"groundingChunks\":[{\"web\":{\"uri\":\"u\"}},"
                "{\"retrievedContext\":{\"title\":\"t\"}}],\"groundingSupports\":[{\"segment\":"
                "{\"endIndex\":2},\"groundingChunkIndices\":[0,1,9]}]},"
                "\"citationMetadata\":{\"citations\":[{},{\"uri\":\"c\",\"startIndex\":1}]}}]}",
                "begin 0.0 |part 0.0 |text 0.0 ab|citation 0.0 u 0-2|citation 0.0  0-2|"
                "citation 0.0 c 1--1|part_end 0.0 |finish 0.0 STOP 1|end 0.0 ");
    /* Bytes are no characters any more. */
    assert_said("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\xc3\xa4\"}]},"
                "\"groundingMetadata\":{\"groundingChunks\":[{\"web\":{\"uri\":\"u\"}}],"
                "\"groundingSupports\":[{\"segment\":{\"startIndex\":1,\"endIndex\":2},"
                "\"groundingChunkIndices\":[0]}]}}]}",
                "begin 0.0 |part 0.0 |text 0.0 \xc3\xa4|citation 0.0 u -1--1|part_end 0.0 |"
                "finish 0.0  1|end 0.0 ");
}

static void reasons_are_told_apart(void **state)
{
    (void)state;
    assert_said("{\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\"}}]},"
                "\"finishReason\":\"STOP\"},{\"index\":1,\"finishReason\":3},"
                "{\"index\":2,\"finishReason\":\"NEW_ONE\"}]}",
                "begin 0.0 |part 0.0 f|arguments 0.0 {}|part_end 0.0 |finish 0.0 STOP 4|"
                "finish 1.0 SAFETY 5|finish 2.0 NEW_ONE 8|end 0.0 ");
}

static void logprobs_are_said_as_everybody_knows_them(void **state)
{
    (void)state;
    assert_said("{\"candidates\":[{\"finishReason\":\"STOP\",\"logprobsResult\":"
                "{\"chosenCandidates\":[{\"token\":\"a\",\"tokenId\":1,\"logProbability\":-0.5}],"
                "\"topCandidates\":[{\"candidates\":[{\"token\":\"b\"}]}]}}]}",
                "begin 0.0 |logprobs 0.0 [{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":null,"
                "\"top_logprobs\":[{\"token\":\"b\",\"logprob\":0,\"bytes\":null}]}]|"
                "finish 0.0 STOP 1|end 0.0 ");
}

/* Write what another dialect said. */
static void assert_heard(const struct answer_event *events, size_t count, const char *wanted)
{
    struct writer_state *state = memory_new(GEMINI_WRITER_BYTES);
    arena_init(&state->arena, 4096);
    state->way = &way;
    way.from = &elsewhere;
    buffer_clear(&out);
    for (size_t i = 0; i < count; i++)
        gemini_write_event(state, &events[i], &out);
    arena_done(&state->arena);
    memory_free(state);
    assert_text(buffer_text(&out), wanted);
}

static void what_others_said_is_written(void **state)
{
    (void)state;
    const struct usage usage = {.input_tokens = 9, .output_tokens = 8, .reasoning_tokens = 3};
    const struct citation cited = {.url = TEXT("u"), .title = TEXT("t"), .start = 0, .end = 2};
    const struct answer_event events[] = {
        {.kind = ANSWER_BEGIN, .id = TEXT("r"), .model = TEXT("v")},
        {.kind = ANSWER_PART, .part_kind = PART_REASONING},
        {.kind = ANSWER_TEXT, .part_kind = PART_REASONING, .text = TEXT("hm")},
        {.kind = ANSWER_SIGNATURE, .part_kind = PART_REASONING, .text = TEXT("QQ==")},
        {.kind = ANSWER_PART_END, .part_kind = PART_REASONING},
        {.kind = ANSWER_PART,
         .part_kind = PART_CALL,
         .part = 1,
         .id = TEXT("1"),
         .name = TEXT("f")},
        {.kind = ANSWER_PART,
         .part_kind = PART_CALL,
         .part = 2,
         .id = TEXT("2"),
         .name = TEXT("g")},
        {.kind = ANSWER_ARGUMENTS,
         .part_kind = PART_CALL,
         .part = 2,
         .text = TEXT("{\\n \\\"b\\\":")},
        {.kind = ANSWER_ARGUMENTS, .part_kind = PART_CALL, .part = 1, .text = TEXT("")},
        {.kind = ANSWER_ARGUMENTS, .part_kind = PART_CALL, .part = 2, .text = TEXT(" 2}")},
        {.kind = ANSWER_PART_END, .part_kind = PART_CALL, .part = 1},
        {.kind = ANSWER_PART_END, .part_kind = PART_CALL, .part = 2},
        {.kind = ANSWER_PART, .part_kind = PART_TEXT, .part = 3},
        {.kind = ANSWER_TEXT, .part_kind = PART_TEXT, .part = 3, .text = TEXT("ab")},
        {.kind = ANSWER_CITATION, .part_kind = PART_TEXT, .part = 3, .citation = &cited},
        {.kind = ANSWER_PART_END, .part_kind = PART_TEXT, .part = 3},
        {.kind = ANSWER_FINISH, .finish = FINISH_CALLS, .name = TEXT("tool_use")},
        {.kind = ANSWER_USAGE, .usage = &usage},
        {.kind = ANSWER_END},
    };
    assert_heard(events, sizeof(events) / sizeof(events[0]),
                 EVENT(MADE("{\"text\":\"hm\",\"thought\":true}")) EVENT(
                     MADE("{\"text\":\"\",\"thought\":true,\"thoughtSignature\":\"QQ==\"}"))
                     EVENT(MADE("{\"functionCall\":{\"id\":\"1\",\"name\":\"f\",\"args\":{}}}"))
                         EVENT(MADE("{\"functionCall\":{\"id\":\"2\",\"name\":\"g\",\"args\":"
                                    "{\"b\":2}}}")) EVENT(MADE("{\"text\":\"ab\"}"))
                             EVENT("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],"
                                   "\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0,"
                                   "\"groundingMetadata\":{\"groundingChunks\":[{\"web\":{\"uri\":"
                                   "\"u\",\"title\":\"t\"}}],\"groundingSupports\":[{\"segment\":"
                                   "{\"startIndex\":0,\"endIndex\":2},\"groundingChunkIndices\":"
                                   "[0]}]}}],\"usageMetadata\":{\"promptTokenCount\":9,"
                                   "\"candidatesTokenCount\":5,\"totalTokenCount\":17,"
                                   "\"thoughtsTokenCount\":3}," TAIL "}"));
}

/* ------------------------------------------------------------------------------------- errors */

static void assert_error(unsigned status, const char *body, enum fault_kind kind, int64_t retry_ms,
                         const char *message)
{
    struct provider_error error;
    gemini_read_error(status, text_of(body), &error);
    assert_int_equal(error.kind, kind);
    assert_int_equal(error.retry_ms, retry_ms);
    assert_string_equal(error.message, message);
}

static void errors_say_what_they_mean(void **state)
{
    (void)state;
    assert_error(
        429,
        "{\"error\":{\"code\":429,\"message\":\"quota\",\"status\":\"RESOURCE_EXHAUSTED\","
        "\"details\":[{\"@type\":\"x\"},{\"@type\":\"RetryInfo\",\"retryDelay\":\"47s\"}]}}",
        FAULT_TARGET_BUSY, 47000, "RESOURCE_EXHAUSTED: quota");
    assert_error(429, "[{\"error\":{\"details\":[{\"retryDelay\":\"0.2501s\"}]}}]",
                 FAULT_TARGET_BUSY, 251, "");
    assert_error(400,
                 "{\"error\":{\"message\":\"API key not valid: k\",\"status\":\"INVALID_ARGUMENT\","
                 "\"details\":[{\"reason\": \"API_KEY_INVALID\"}]}}",
                 FAULT_TARGET_ERROR, 0,
                 "INVALID_ARGUMENT: the provider refuses our key or account");
    assert_error(400, "{\"error\":{\"message\":\"bad\",\"status\":\"INVALID_ARGUMENT\"}}",
                 FAULT_TARGET_REFUSED, 0, "INVALID_ARGUMENT: bad");
    assert_error(404, "{\"error\":{\"message\":\"no\",\"status\":\"NOT_FOUND\"}}",
                 FAULT_TARGET_REFUSED, 0, "NOT_FOUND: no");
    assert_error(503, "{\"error\":{\"status\":\"UNAVAILABLE\"}}", FAULT_TARGET_ERROR, 0,
                 "UNAVAILABLE");
    assert_error(500, "<html>", FAULT_TARGET_ERROR, 0, "");
    assert_error(302, "", FAULT_TARGET_INVALID, 0, "");
}

/* ------------------------------------------------------------------------ the watch of streams */

static enum event_verdict watch(struct answer *answer, const char *event)
{
    struct text bytes = text_of(event);
    struct sse_event one;
    assert_true(sse_next(&bytes, &one));
    return dialect_gemini.watch_event(answer, &one);
}

static void streams_are_watched(void **state)
{
    (void)state;
    struct answer answer = {.operation = OPERATION_CHAT};
    assert_true(dialect_gemini.ends_with_stream);
    assert_int_equal(watch(&answer, EVENT("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":"
                                          "\"abc\"}]}}],\"usageMetadata\":{\"promptTokenCount\":3,"
                                          "\"candidatesTokenCount\":1}}")),
                     EVENT_PASS);
    assert_false(answer.usage_seen || answer.ended);
    assert_int_equal(answer.usage.input_tokens, 3);
    assert_int_equal(answer.content_bytes, 3);
    assert_int_equal(
        watch(&answer, EVENT("{\"candidates\":[{\"finishReason\":\"STOP\"}],"
                             "\"usageMetadata\":{\"promptTokenCount\":3,"
                             "\"candidatesTokenCount\":-4,\"thoughtsTokenCount\":2}}")),
        EVENT_PASS);
    assert_true(answer.usage_seen && answer.ended);
    assert_int_equal(answer.usage.output_tokens, 2);
    assert_string_equal(answer.finish, "STOP");
    assert_int_equal(answer.events, 1);
    assert_int_equal(watch(&answer, "data: {\"error\":\r\ndata: {\"code\":503}}\r\n\r\n"),
                     EVENT_FAIL);
    assert_true(answer.failed);
}

static void bodies_are_watched(void **state)
{
    (void)state;
    char id[ANSWER_ID_BYTES] = "";
    struct answer answer = {.operation = OPERATION_CHAT, .object_id = id};
    struct scan_value values[DIALECT_WANTS];
    struct scan_problem problem;
    assert_true(scan_json(TEXT("{\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":"
                               "{\"args\":{\"a\":1}}}]},\"finishReason\":2}],\"responseId\":\"r\","
                               "\"usageMetadata\":{\"promptTokenCount\":3,"
                               "\"promptTokensDetails\":[{\"modality\":\"AUDIO\",\"tokenCount\":2},"
                               "{\"modality\":2,\"tokenCount\":1}]}}"),
                          dialect_gemini.wants, dialect_gemini.want_count, values, &problem));
    dialect_gemini.watch_body(&answer, values);
    assert_true(answer.ended && answer.usage_seen);
    assert_string_equal(answer.finish, "MAX_TOKENS");
    assert_string_equal(answer.object_id, "r");
    assert_int_equal(answer.content_bytes, 7);
    assert_int_equal(answer.usage.audio_input_tokens, 2);
    assert_int_equal(answer.usage.image_tokens, 1);
}

static void an_answer_goes_into_its_other_form(void **state)
{
    (void)state;
    assert_true(dialect_gemini.to_events(TEXT("{\n \"a\": \"b c\\\" \"\n}\n"), true, &out));
    assert_text(buffer_text(&out), EVENT("{\"a\":\"b c\\\" \"}"));
    buffer_clear(&out);
    assert_true(dialect_gemini.to_body(text_of(stream), &out));
    assert_true(scan_is_valid(buffer_text(&out)));
    buffer_clear(&out);
    assert_false(dialect_gemini.to_body(TEXT("data: {\"candidates\":[]}\n\n"), &out));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stream_stays_a_stream),
        TEST(a_stream_becomes_a_whole_answer),
        TEST(without_sse_a_stream_is_one_array),
        TEST(the_end_is_written_when_it_has_ended),
        TEST(an_array_is_read_as_a_stream_and_a_body_as_it_is),
        TEST(a_prompt_that_is_not_let_through_ends_the_answer),
        TEST(what_is_cut_or_broken_is_no_answer),
        TEST(sources_are_said_where_the_text_is),
        TEST(reasons_are_told_apart),
        TEST(logprobs_are_said_as_everybody_knows_them),
        TEST(what_others_said_is_written),
        TEST(errors_say_what_they_mean),
        TEST(streams_are_watched),
        TEST(bodies_are_watched),
        TEST(an_answer_goes_into_its_other_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
