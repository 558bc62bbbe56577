/* SPDX-License-Identifier: Apache-2.0 */
/* What is said, in OpenTelemetry's words: valid JSON wherever it is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "providers/transcript.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#include "gateway/base/scan.h"

static const char call[] =
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"first\"},{\"role\":\"user\","
    "\"content\":\"a\\\\b\\\"\\u00e9\xc3\xa9\\ud83d\\ude00\xf0\x9f\x98\x80 end\"},"
    "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\",\"function\":"
    "{\"name\":\"look\",\"arguments\":\"{\\\"a\\\":[1]}\"}}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"look\",\"parameters\":{}}}]}";

static void is_json_or_nothing(struct text json)
{
    assert_true(json.len == 0 || (json.at[0] == '[' && scan_is_valid(json)));
}

static void a_call_is_valid_wherever_it_is_cut(void **state)
{
    (void)state;
    const struct translator *words = translator_find(TEXT("openai"), OPERATION_CHAT);
    struct fault fault = {0};
    struct arena arena;
    arena_init(&arena, 4096);
    struct text body = text_of(call);
    assert_true(scan_is_valid(body));
    const struct chat *chat = translate_read(&arena, words, body, TEXT(""), false, &fault);
    assert_non_null(chat);
    bool was_cut = true;
    for (size_t max = 0; max < 1000; max++) {
        struct transcript_call made;
        transcript_of_call(&arena, chat, max, &made);
        is_json_or_nothing(made.messages);
        is_json_or_nothing(made.tools);
        assert_true(was_cut || !made.cut); /* with more room there is no less */
        was_cut = made.cut;
    }
    assert_false(was_cut);
    arena_done(&arena);
}

/* A call and its result whose names are longer than all there is room for. */
static void names_have_no_room_of_their_own(void **state)
{
    (void)state;
    enum { MAX = 1000, LONG = 50000 };
    static char body[4 * LONG], name[LONG + 1];
    const struct translator *words = translator_find(TEXT("openai"), OPERATION_CHAT);
    struct fault fault = {0};
    struct arena arena;
    struct transcript_call made;
    memset(name, 'n', LONG);
    int len = snprintf(body, sizeof body,
                       "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{"
                       "\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":\"%s\","
                       "\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"%s\","
                       "\"content\":\"x\"}]}",
                       name, name, name);
    for (int i = 0; i < 2; i++) { /* the result is the last one, then the call */
        arena_init(&arena, 4096);
        const struct chat *chat = translate_read(&arena, words, (struct text){body, (size_t)len},
                                                 TEXT(""), false, &fault);
        assert_non_null(chat);
        transcript_of_call(&arena, chat, MAX, &made);
        is_json_or_nothing(made.messages);
        assert_true(made.cut && made.messages.len > 0);
        assert_true(made.messages.len < 2 * MAX);
        arena_done(&arena);
        len = snprintf(body, sizeof body,
                       "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{"
                       "\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"%s\","
                       "\"arguments\":\"{}\"}}]}]}",
                       name);
    }
}

static size_t say(struct transcript *transcript, struct text answer, size_t piece, char *out,
                  bool *cut)
{
    struct buffer made;
    for (struct text rest = answer; rest.len; rest = text_from(rest, piece))
        transcript_feed(transcript, text_head(rest, piece));
    buffer_init(&made, 65536);
    transcript_write(transcript, &made, cut);
    struct text text = buffer_text(&made);
    is_json_or_nothing(text);
    assert_true(text.len < 4096);
    if (text.len)
        memcpy(out, text.at, text.len);
    out[text.len] = '\0';
    buffer_done(&made);
    transcript_free(transcript);
    return text.len;
}

#define CHUNK(delta, finish)                                                                  \
    "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{" \
    "\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish "}]}\n\n"

static const char stream[] = CHUNK("{\"role\":\"assistant\",\"content\":\"a\\\\\"}", "null")
    CHUNK("{\"content\":\"\\ud83d\\ude00\\u00e9 \xc3\xa9\"}", "null")
        CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{"
              "\"name\":\"look\",\"arguments\":\"{\\\"a\\\"\"}}]}",
              "null")
            CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}", "null")
                CHUNK("{}", "\"tool_calls\"") "data: [DONE]\n\n";

static void a_stream_is_valid_wherever_it_is_cut(void **state)
{
    (void)state;
    const struct translator *words = translator_find(TEXT("openai"), OPERATION_CHAT);
    struct text all = {stream, sizeof(stream) - 1};
    char out[4096];
    bool cut;
    for (size_t max = 0; max < 400; max++)
        say(transcript_new(words, true, max), all, 7, out, &cut);
    assert_false(cut);
    assert_string_equal(
        out, "[{\"role\":\"assistant\",\"parts\":[{\"type\":\"text\",\"content\":"
             "\"a\\\\\\ud83d\\ude00\\u00e9 \xc3\xa9\"},{\"type\":\"tool_call\",\"id\":\"c\","
             "\"name\":\"look\",\"arguments\":{\"a\":1}}],\"finish_reason\":\"tool_call\"}]");
    for (size_t len = 0; len < all.len; len++) /* and wherever it breaks off */
        say(transcript_new(words, true, 1000), text_head(all, len), 64, out, &cut);
}

static void what_is_no_answer_says_nothing(void **state)
{
    (void)state;
    const struct translator *words = translator_find(TEXT("anthropic"), OPERATION_CHAT);
    static const char *const bodies[] = {"", "nonsense", "{}", "[]", "{\"content\":7}"};
    char out[4096];
    bool cut;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        say(transcript_new(words, false, 100), text_of(bodies[i]), 100, out, &cut);
        say(transcript_new(words, true, 100), text_of(bodies[i]), 1, out, &cut);
        assert_string_equal(out, "");
    }
    transcript_feed(NULL, TEXT("x"));
    transcript_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_valid_wherever_it_is_cut),
        cmocka_unit_test(names_have_no_room_of_their_own),
        cmocka_unit_test(a_stream_is_valid_wherever_it_is_cut),
        cmocka_unit_test(what_is_no_answer_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
