/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include "providers/anthropic.h"
#include "providers/translate.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* What has no room is a failure, whether it is made as a stream or as one. */
static void an_answer_without_room_fails_and_is_not_cut(void **state)
{
    (void)state;
    const struct translator *chat = translator_find(TEXT("openai"), OPERATION_CHAT);
    struct text body =
        TEXT("{\"id\":\"a\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\","
             "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
             "\"Hello\"},\"finish_reason\":\"stop\"}]}");
    for (int streamed = 0; streamed < 2; streamed++) {
        struct answer_way way = {.from = chat,
                                 .to = &translator_anthropic,
                                 .id = TEXT("0a"),
                                 .model = TEXT("m"),
                                 .stream_out = streamed};
        size_t need = 0;
        for (size_t room = 1 << 16;; room = need - 1) {
            struct answer seen = {.operation = OPERATION_CHAT};
            struct translation *t = translation_new(&way, &seen);
            struct buffer out;
            buffer_init(&out, room);
            translation_feed(t, body, &out);
            enum translation_state end = translation_close(t, &out);
            assert_int_equal(end, need ? TRANSLATION_FAILED : TRANSLATION_ENDED);
            assert_int_equal(out.overrun, need != 0);
            assert_int_equal(seen.ended, need == 0);
            if (need)
                assert_int_equal(translation_fault(t)->kind, FAULT_TARGET_INVALID);
            bool over = need != 0;
            need = buffer_length(&out);
            translation_free(t);
            buffer_done(&out);
            if (over)
                break;
        }
    }
}

static void a_call_without_room_is_not_written(void **state)
{
    (void)state;
    struct arena arena;
    struct fault fault = {0};
    struct translated_call made;
    struct buffer body;
    const struct translator *chat = translator_find(TEXT("openai"), OPERATION_CHAT);
    struct call_target target = {.type = provider_type_find(TEXT("anthropic")), .model = TEXT("m")};
    arena_init(&arena, 4096);
    const struct chat *call = translate_read(
        &arena, chat,
        TEXT("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"), TEXT(""),
        false, &fault);
    assert_non_null(call);
    buffer_init(&body, 4096);
    assert_true(translate_write(&arena, call, &translator_anthropic, &target, &body, &made));
    size_t need = buffer_length(&body);
    buffer_done(&body);
    buffer_init(&body, need - 1);
    assert_false(translate_write(&arena, call, &translator_anthropic, &target, &body, &made));
    buffer_done(&body);
    buffer_init(&body, need);
    assert_true(translate_write(&arena, call, &translator_anthropic, &target, &body, &made));
    buffer_done(&body);
    arena_done(&arena);
}

/* Nothing is said twice, and nothing that is not whole ends by resting. */
static void a_silent_answer_ends_only_when_it_is_whole(void **state)
{
    (void)state;
    struct answer_way way = {.from = &translator_anthropic,
                             .to = &translator_anthropic,
                             .id = TEXT("0a"),
                             .model = TEXT("m"),
                             .stream_in = true,
                             .stream_out = true};
    static const char *const pieces[] = {
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"model\":\"m\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":3}}\n\ndat"};
    struct answer seen = {.operation = OPERATION_CHAT};
    struct translation *t = translation_new(&way, &seen);
    struct buffer out;
    buffer_init(&out, 1 << 16);
    translation_feed(t, text_of(pieces[0]), &out);
    assert_int_equal(translation_rest(t, false, &out), TRANSLATION_GOES);
    translation_feed(t, text_of(pieces[1]), &out);
    assert_int_equal(translation_rest(t, true, &out), TRANSLATION_GOES);
    translation_feed(t, text_of(pieces[2]), &out);
    assert_int_equal(translation_rest(t, true, &out), TRANSLATION_GOES); /* half an event */
    translation_feed(t, TEXT("a: {\"type\":\"ping\"}\n\n"), &out);
    assert_int_equal(translation_rest(t, true, &out), TRANSLATION_ENDED);
    assert_true(seen.ended && seen.usage_seen);
    size_t said = buffer_length(&out);
    assert_int_equal(translation_close(t, &out), TRANSLATION_ENDED);
    assert_int_equal(buffer_length(&out), said);
    translation_free(t);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_without_room_fails_and_is_not_cut),
        cmocka_unit_test(a_call_without_room_is_not_written),
        cmocka_unit_test(a_silent_answer_ends_only_when_it_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
