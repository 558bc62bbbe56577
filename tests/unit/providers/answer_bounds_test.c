/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for answers of every dialect: what is broken is refused, nothing is said behind the
 * end, and nothing grows without a bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/translator.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { OUT_MAX = 1 << 26, MANY = 20000 };

static struct buffer in, out;

static int set_up(void **state)
{
    (void)state;
    buffer_init(&in, OUT_MAX);
    buffer_init(&out, OUT_MAX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buffer_done(&in);
    buffer_done(&out);
    return 0;
}

static const struct translator *words(const char *name)
{
    const struct translator *one;
    for (size_t i = 0; (one = translator_at(i)) != NULL; i++)
        if (text_equal(one->name, text_of(name)))
            return one;
    fail_msg("no translator is called %s", name);
    return NULL;
}

/* All that is in <in> becomes an answer that is no stream. */
static enum translation_state gather(const char *from, bool stream_in)
{
    struct answer_way way = {.from = words(from),
                             .to = words("openai-chat"),
                             .id = TEXT("1"),
                             .model = TEXT("m"),
                             .stream_in = stream_in};
    struct answer seen = {.operation = OPERATION_CHAT};
    struct translation *translation = translation_new(&way, &seen);
    enum translation_state state = translation_feed(translation, buffer_text(&in), &out);
    if (state == TRANSLATION_GOES)
        state = translation_close(translation, &out);
    translation_free(translation);
    return state;
}

static bool answer_has(const char *words_wanted)
{
    return text_find(buffer_text(&out), text_of(words_wanted)) != SIZE_MAX;
}

static void put(const char *words_sent)
{
    buffer_append_text(&in, text_of(words_sent));
}

/* ------------------------------------------------------------------------------------------ */

static void a_body_that_is_no_json_is_refused_in_every_dialect(void **state)
{
    (void)state;
    static const char *const bodies[][2] = {
        {"openai-chat", "{\"choices\":[{\"message\":{\"content\":\"a\x01\"}}]}"},
        {"anthropic", "{\"content\":[{\"type\":\"text\",\"text\":\"a\x01\"}]}"},
        {"gemini", "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\x01\"}]}}]}"},
        {"bedrock-converse", "{\"output\":{\"message\":{\"content\":[{\"text\":\"a\x01\"}]}}}"},
        {"ollama-chat", "{\"message\":{\"content\":\"a\x01\"},\"done\":true}"},
        {"cohere-chat", "{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\x01\"}]}}"},
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        buffer_clear(&in);
        put(bodies[i][1]);
        assert_int_equal(gather(bodies[i][0], false), TRANSLATION_FAILED);
        assert_int_equal(buffer_length(&out), 0);
    }
}

static void what_anthropic_says_behind_the_reason_of_the_end_is_left_out(void **state)
{
    (void)state;
    put("data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
        "{\"type\":\"text_delta\",\"text\":\"before\"}}\n\n"
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n"
        "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":"
        "{\"type\":\"text_delta\",\"text\":\"behind\"}}\n\n"
        "data: {\"type\":\"message_stop\"}\n\n");
    assert_int_equal(gather("anthropic", true), TRANSLATION_ENDED);
    assert_true(answer_has("before"));
    assert_false(answer_has("behind"));
}

static void what_bedrock_says_behind_the_reason_of_the_end_is_left_out(void **state)
{
    (void)state;
    frame_put_aws(&in, TEXT("event"), TEXT("contentBlockDelta"),
                  TEXT("{\"delta\":{\"text\":\"before\"},\"contentBlockIndex\":0}"));
    frame_put_aws(&in, TEXT("event"), TEXT("messageStop"), TEXT("{\"stopReason\":\"end_turn\"}"));
    frame_put_aws(&in, TEXT("event"), TEXT("contentBlockDelta"),
                  TEXT("{\"delta\":{\"text\":\"behind\"},\"contentBlockIndex\":1}"));
    assert_int_equal(gather("bedrock-converse", true), TRANSLATION_ENDED);
    assert_true(answer_has("before"));
    assert_false(answer_has("behind"));
}

static void a_stream_of_gemini_with_too_many_parts_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < CHAT_PARTS_MAX + 1; i++)
        put("data: {\"candidates\":[{\"content\":{\"parts\":["
            "{\"functionCall\":{\"name\":\"f\",\"args\":{}}}]}}]}\n\n");
    put("data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n");
    assert_int_equal(gather("gemini", true), TRANSLATION_FAILED);
}

static void an_answer_of_ollama_has_as_many_calls_as_an_answer_may_have(void **state)
{
    (void)state;
    for (size_t i = 0; i < CHAT_PARTS_MAX + 5; i++)
        put("{\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":7}}]}}\n");
    put("{\"done\":true}\n");
    assert_int_equal(gather("ollama-chat", true), TRANSLATION_ENDED);
    assert_true(scan_is_valid(buffer_text(&out)));
    assert_true(answer_has("\"arguments\":\"{}\""));
}

/* Each piece of them would have left all that came before behind in memory. */
static void log_probabilities_in_many_pieces_become_one_list(void **state)
{
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        put("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":"
            "{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"top_logprobs\":[]}]}}]}\n\n");
    put("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    assert_int_equal(gather("openai-chat", true), TRANSLATION_ENDED);
    struct text choice, none, item, body = buffer_text(&out);
    struct text choices = member_find(body, TEXT("choices"));
    assert_true(scan_is_valid(body));
    assert_true(member_next(&choices, &none, &choice));
    struct text list = member_find(member_find(choice, TEXT("logprobs")), TEXT("content"));
    size_t count = 0;
    while (list.at && member_next(&list, &none, &item))
        count++;
    assert_int_equal(count, MANY);
}

/* The same of citations; more than an answer may have are left out. */
static void many_citations_do_not_cost_their_square(void **state)
{
    (void)state;
    put("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]},\"finishReason\":\"STOP\","
        "\"groundingMetadata\":{\"groundingChunks\":[{\"web\":{\"uri\":\"https://a.example\"}}],"
        "\"groundingSupports\":[{\"groundingChunkIndices\":[0");
    for (size_t i = 0; i < MANY; i++)
        put(",0");
    put("]}]}}]}");
    assert_int_equal(gather("gemini", false), TRANSLATION_ENDED);
    assert_true(scan_is_valid(buffer_text(&out)));
    assert_true(answer_has("https://a.example"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_body_that_is_no_json_is_refused_in_every_dialect, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            what_anthropic_says_behind_the_reason_of_the_end_is_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_bedrock_says_behind_the_reason_of_the_end_is_left_out,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stream_of_gemini_with_too_many_parts_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_answer_of_ollama_has_as_many_calls_as_an_answer_may_have,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(log_probabilities_in_many_pieces_become_one_list, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(many_citations_do_not_cost_their_square, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
