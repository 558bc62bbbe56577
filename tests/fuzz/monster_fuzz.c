/* SPDX-License-Identifier: Apache-2.0 */

/* Monster's dialect over any call and any answer. First byte: a call, or an answer; second: into
 * how large pieces that is cut. A call is read, and written for all who converse; an answer is read
 * and written for all of them. What is written is JSON, and how it was cut changes nothing. */

#include <assert.h>
#include <stdint.h>

#include "gateway/base/scan.h"
#include "providers/monster.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_call(const struct translator *from, const struct translator *to, struct text body)
{
    struct arena arena;
    struct call_target target = {.type = provider_type_find(TEXT("mock")), .model = {"m\"", 2}};
    struct translated_call call;
    struct fault fault = {.kind = FAULT_NONE};
    arena_init(&arena, 4096);
    if (translate_call(&arena, from, to, body, TEXT(""), false, &target, &call, &fault))
        assert(scan_is_valid(call.body));
    else
        assert(fault.kind == FAULT_BAD_REQUEST && fault.param && fault.text[0]);
    arena_done(&arena);
}

static enum translation_state translate(const struct answer_way *way, struct text answer,
                                        size_t each, struct buffer *to)
{
    struct answer seen = {.operation = way->to->operation};
    struct translation *translation = translation_new(way, &seen);
    enum translation_state state = TRANSLATION_GOES;
    while (answer.len && state == TRANSLATION_GOES) {
        state = translation_feed(translation, text_head(answer, each), to);
        answer = text_from(answer, each);
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(translation, to);
    translation_free(translation);
    return state;
}

static void check_answer(const struct answer_way *way, struct text answer, size_t each)
{
    struct buffer whole, cut;
    buffer_init(&whole, 1 << 26);
    buffer_init(&cut, 1 << 26);
    enum translation_state state = translate(way, answer, SIZE_MAX, &whole);
    assert(translate(way, answer, each, &cut) == state);
    assert(text_equal(buffer_text(&whole), buffer_text(&cut)));
    if (state == TRANSLATION_ENDED)
        assert(scan_is_valid(buffer_text(&whole)));
    buffer_done(&whole);
    buffer_done(&cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2 || len > 1 << 16)
        return 0;
    struct text rest = {(const char *)bytes + 2, len - 2};
    const struct translator *monster = &translator_monster, *other;
    struct scan_value none[1];
    struct scan_problem problem;
    bool is_object = scan_json(rest, NULL, 0, none, &problem);
    for (size_t i = 0; (other = translator_at(i)) != NULL; i++) {
        struct answer_way way = {.from = monster, .to = other, .id = {"0a", 2}, .model = {"m", 1}};
        if (other->operation != OPERATION_CHAT)
            continue;
        if (bytes[0] % 2 && is_object) {
            check_call(monster, other, rest);
            check_call(other, monster, rest);
        } else if (bytes[0] % 2 == 0) {
            check_answer(&way, rest, 1 + bytes[1]);
            way = (struct answer_way){.from = other, .to = monster, .id = {"0a", 2}};
            if (is_object)
                check_answer(&way, rest, 1 + bytes[1]);
        }
    }
    return 0;
}
