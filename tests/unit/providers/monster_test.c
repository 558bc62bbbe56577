/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "providers/monster.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const struct translator *chat(void)
{
    return translator_find(TEXT("openai"), OPERATION_CHAT);
}

static void expect_call(const struct translator *from, const struct translator *to,
                        const char *call, const char *body, const char *lost)
{
    struct arena arena;
    struct fault fault = {.kind = FAULT_NONE};
    struct call_target target = {.type = provider_type_find(TEXT("vllm")), .model = {"m", 1}};
    struct translated_call made;
    arena_init(&arena, 4096);
    assert_true(
        translate_call(&arena, from, to, text_of(call), TEXT(""), false, &target, &made, &fault));
    struct text demands = made.demands.len ? made.demands : made.hints;
    assert_string_equal(arena_copy(&arena, made.body).at, body);
    assert_string_equal(arena_copy(&arena, demands).at, lost);
    arena_done(&arena);
}

static void calls_are_read(void **state)
{
    (void)state;
    const struct translator *monster = &translator_monster;
    expect_call(monster, chat(),
                "{\"model\":\"x\",\"formatted_prompt\":\"a\\n\",\"messages\":null,\"max_tokens\":7,"
                "\"n\":1,\"best_of\":1,\"repetition_penalty\":1.0,\"top_k\":-1,\"min_p\":0.0,"
                "\"use_beam_search\":false,\"length_penalty\":1.0,\"mock_response\":false}",
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\\n\"}],"
                "\"max_tokens\":7}",
                "");
    expect_call(monster, chat(),
                "{\"model\":\"x\",\"prompt\":\"a\",\"temp\":0.50,\"max_length\":9,\"top_k\":3,"
                "\"min_p\":0.1,\"beam_size\":2}",
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                "\"max_tokens\":9,\"temperature\":0.50,\"top_k\":3}",
                "min_p,beam_size");
    expect_call(monster, chat(), "{\"model\":\"x\",\"prompt\":\"a\",\"use_beam_search\":true}",
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                "\"max_tokens\":256}",
                "use_beam_search");
}

static void calls_are_written(void **state)
{
    (void)state;
    expect_call(chat(), &translator_monster,
                "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                "\"max_tokens\":7,\"temperature\":0.50,\"n\":2,\"top_k\":4}",
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                "\"max_tokens\":7,\"temperature\":0.50,\"top_k\":4,\"n\":2,\"best_of\":2}",
                "");
    expect_call(
        chat(), &translator_monster,
        "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
        "\"stop\":[\"b\"],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "tools,stop");
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *call, *param;
    } cases[] = {
        {"{\"model\":\"x\"}", "messages"},
        {"{\"model\":\"x\",\"prompt\":1}", "prompt"},
        {"{\"model\":\"x\",\"formatted_prompt\":[]}", "formatted_prompt"},
        {"{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"prompt\":\"b\"}",
         "prompt"},
        {"{\"model\":\"x\",\"prompt\":\"a\",\"stream\":true}", "stream"},
        {"{\"model\":\"x\",\"prompt\":\"a\",\"temp\":\"b\"}", "temp"},
        {"{\"model\":\"x\",\"prompt\":\"a\",\"max_length\":-1}", "max_length"},
        {"{\"model\":\"x\",\"prompt\":\"a\",\"min_p\":true}", "min_p"},
        {"{\"model\":\"x\",\"prompt\":\"a\",\"mock_response\":0}", "mock_response"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena arena;
        struct fault fault = {.kind = FAULT_NONE};
        arena_init(&arena, 4096);
        assert_null(translate_read(&arena, &translator_monster, text_of(cases[i].call), TEXT(""),
                                   false, &fault));
        assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
        assert_string_equal(fault.param, cases[i].param);
        arena_done(&arena);
    }
}

static enum translation_state answered(const struct translator *from, const struct translator *to,
                                       const char *body, struct buffer *out)
{
    struct answer seen = {.operation = OPERATION_CHAT};
    struct answer_way way = {.from = from, .to = to, .id = {"1", 1}, .model = {"m", 1}};
    struct translation *translation = translation_new(&way, &seen);
    enum translation_state state = translation_feed(translation, text_of(body), out);
    if (state == TRANSLATION_GOES)
        state = translation_close(translation, out);
    translation_free(translation);
    return state;
}

static void answers_have_a_text_for_each_choice(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1 << 16);
    assert_int_equal(
        answered(chat(), &translator_monster,
                 "{\"id\":\"a\",\"object\":\"chat.completion\",\"choices\":["
                 "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\\\"b\"},"
                 "\"finish_reason\":\"stop\"},"
                 "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"c\"},"
                 "\"finish_reason\":\"length\"}]}",
                 &out),
        TRANSLATION_ENDED);
    static const char both[] = "{\"response\":{\"text\":[\"a\\\"b\",\"c\"]}}";
    assert_true(text_equal(buffer_text(&out), text_of(both)));
    buffer_clear(&out);
    assert_int_equal(answered(&translator_monster, &translator_monster, both, &out),
                     TRANSLATION_ENDED);
    assert_true(text_equal(buffer_text(&out), text_of(both)));
    buffer_clear(&out);
    assert_int_equal(answered(&translator_monster, chat(), both, &out), TRANSLATION_ENDED);
    assert_true(scan_is_valid(buffer_text(&out)));
    assert_true(text_find(buffer_text(&out), TEXT("\"content\":\"a\\\"b\"")) != SIZE_MAX);
    buffer_clear(&out);
    assert_int_equal(answered(&translator_monster, chat(), "{\"response\":{}}", &out),
                     TRANSLATION_FAILED);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_read),
        cmocka_unit_test(calls_are_written),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(answers_have_a_text_for_each_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
