/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "providers/monster.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const struct translator *completion(void)
{
    return translator_find(TEXT("openai"), OPERATION_COMPLETION);
}

static void expect_call(const char *call, const char *body)
{
    struct arena arena;
    struct fault fault = {.kind = FAULT_NONE};
    struct call_target target = {.type = provider_type_find(TEXT("vllm")), .model = {"m", 1}};
    struct translated_call made;
    arena_init(&arena, 4096);
    assert_true(translate_call(&arena, &translator_monster_endpoint, completion(), text_of(call),
                               TEXT(""), false, &target, &made, &fault));
    assert_string_equal(arena_copy(&arena, made.body).at, body);
    assert_string_equal(arena_copy(&arena, made.path).at, "/completions");
    assert_int_equal(made.demands.len, 0);
    arena_done(&arena);
}

static void a_call_is_a_completion_of_its_prompt(void **state)
{
    (void)state;
    expect_call("{\"prompt\":\"<s>a\\n\"}",
                "{\"model\":\"m\",\"prompt\":\"<s>a\\n\",\"max_tokens\":256,\"temperature\":0.6}");
    expect_call("{\"prompt\":\"a\",\"n\":2,\"temperature\":0,\"max_tokens\":7,\"stream\":false}",
                "{\"model\":\"m\",\"prompt\":\"a\",\"max_tokens\":7,\"temperature\":0,\"n\":2}");
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *call, *param;
    } cases[] = {
        {"{}", "prompt"},
        {"{\"prompt\":[]}", "prompt"},
        {"{\"prompt\":\"a\",\"formatted_prompt\":\"b\"}", "formatted_prompt"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":"
         "\"b\"}]}",
         "messages"},
        {"{\"prompt\":\"a\",\"max_tokens\":\"b\"}", "max_tokens"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena arena;
        struct fault fault = {.kind = FAULT_NONE};
        arena_init(&arena, 4096);
        assert_null(translate_read(&arena, &translator_monster_endpoint, text_of(cases[i].call),
                                   TEXT(""), false, &fault));
        assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
        assert_string_equal(fault.param, cases[i].param);
        arena_done(&arena);
    }
}

static enum translation_state answered(const char *answer, size_t each, bool streams,
                                       struct buffer *out)
{
    struct answer seen = {.operation = OPERATION_COMPLETION};
    struct answer_way way = {.from = completion(),
                             .to = &translator_monster_endpoint,
                             .id = {"1", 1},
                             .model = {"m", 1},
                             .stream_in = streams,
                             .stream_out = streams};
    struct translation *translation = translation_new(&way, &seen);
    enum translation_state state = TRANSLATION_GOES;
    for (struct text rest = text_of(answer); rest.len && state == TRANSLATION_GOES;
         rest = text_from(rest, each))
        state = translation_feed(translation, text_head(rest, each), out);
    if (state == TRANSLATION_GOES)
        state = translation_close(translation, out);
    translation_free(translation);
    return state;
}

static void an_answer_is_json_in_a_json_string(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1 << 16);
    assert_int_equal(answered("{\"object\":\"text_completion\",\"choices\":["
                              "{\"index\":0,\"text\":\"a\\\"b\",\"finish_reason\":\"stop\"},"
                              "{\"index\":1,\"text\":\"c\",\"finish_reason\":\"stop\"}]}",
                              SIZE_MAX, false, &out),
                     TRANSLATION_ENDED);
    static const char body[] = "\"{\\\"text\\\":[\\\"a\\\\\\\"b\\\",\\\"c\\\"]}\"";
    assert_true(text_equal(buffer_text(&out), text_of(body)));
    buffer_done(&out);
}

#define CHUNK(choice, text)                                                                     \
    "data: {\"choices\":[{\"index\":" choice ",\"text\":\"" text "\",\"finish_reason\":null}]}" \
    "\n\n"
#define STOP(choice) \
    "data: {\"choices\":[{\"index\":" choice ",\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n"

static void a_stream_says_all_there_is_each_time(void **state)
{
    (void)state;
    static const char stream[] =
        CHUNK("0", "a") CHUNK("1", "x") CHUNK("0", "\\n") STOP("0") STOP("1") "data: [DONE]\n\n";
    static const char wanted[] = "{\"text\":[\"a\"]}\0"
                                 "{\"text\":[\"a\",\"x\"]}\0"
                                 "{\"text\":[\"a\\n\",\"x\"]}\0"
                                 "{\"text\":[\"a\\n\",\"x\"]}";
    for (size_t each = 1; each < 200; each += 13) {
        struct buffer out;
        buffer_init(&out, 1 << 16);
        assert_int_equal(answered(stream, each, true, &out), TRANSLATION_ENDED);
        assert_true(text_equal(buffer_text(&out), (struct text){wanted, sizeof(wanted)}));
        buffer_done(&out);
    }
}

/* Each time all of it, and yet not the square of it. */
static void a_long_stream_stays_in_proportion(void **state)
{
    (void)state;
    enum { CHUNKS = 20000 };
    static const char chunk[] = CHUNK("0", "word");
    size_t size = (sizeof(chunk) - 1) * CHUNKS;
    char *stream = malloc(size + sizeof(STOP("0")));
    struct buffer out;
    for (size_t i = 0; i < CHUNKS; i++)
        memcpy(stream + i * (sizeof(chunk) - 1), chunk, sizeof(chunk) - 1);
    memcpy(stream + size, STOP("0"), sizeof(STOP("0")));
    buffer_init(&out, (size_t)CHUNKS * 4 * 80);
    assert_int_equal(answered(stream, 65536, true, &out), TRANSLATION_ENDED);
    free(stream);
    struct text all = buffer_text(&out);
    size_t last = all.len - 1;
    while (last && all.at[last - 1])
        last--;
    assert_int_equal(all.len - 1 - last, CHUNKS * 4 + sizeof("{\"text\":[\"\"]}") - 1);
    assert_true(scan_is_valid((struct text){all.at + last, all.len - 1 - last}));
    buffer_done(&out);
}

static void a_stream_that_breaks_off_does_not_end(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1 << 16);
    assert_int_equal(answered(CHUNK("0", "a"), SIZE_MAX, true, &out), TRANSLATION_FAILED);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_a_completion_of_its_prompt),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(an_answer_is_json_in_a_json_string),
        cmocka_unit_test(a_stream_says_all_there_is_each_time),
        cmocka_unit_test(a_long_stream_stays_in_proportion),
        cmocka_unit_test(a_stream_that_breaks_off_does_not_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
