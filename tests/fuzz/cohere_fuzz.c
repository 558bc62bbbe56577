/* SPDX-License-Identifier: Apache-2.0 */

/* Cohere's dialect, embeddings and rankings over any call and any answer. First byte: whose words
 * and what it is; second: into how large pieces an answer is cut. A call is read, and written for
 * all who answer the same kind; an answer is read and written, whole and as a stream. What is
 * written is JSON, and how the answer was cut changes nothing. */

#include <assert.h>
#include <stdint.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/http/sse.h"
#include "providers/cohere.h"
#include "providers/vectors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const struct translator *const words[] = {
    &translator_cohere_chat,      &translator_openai_embedding, &translator_gemini_embedding,
    &translator_ollama_embedding, &translator_cohere_embedding, &translator_openai_ranking,
    &translator_cohere_ranking,   &translator_nvidia_ranking,
};

enum { WORDS = sizeof(words) / sizeof(words[0]) };

static void check_call(const struct translator *from, struct text body)
{
    struct scan_value none[1];
    struct scan_problem problem;
    struct arena arena;
    const struct translator *to;
    if (!scan_json(body, NULL, 0, none, &problem))
        return;
    arena_init(&arena, 4096);
    for (size_t i = 0; (to = translator_at(i)) != NULL; i++) {
        struct call_target target = {.type = provider_type_find(TEXT("mock")), .model = {"m\"", 2}};
        struct translated_call call;
        struct fault fault = {.kind = FAULT_NONE};
        if (to->operation != from->operation)
            continue;
        if (translate_call(&arena, from, to, body, TEXT(""), false, &target, &call, &fault))
            assert(scan_is_valid(call.body));
        else
            assert(fault.kind == FAULT_BAD_REQUEST && fault.param && fault.text[0]);
    }
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
    assert(seen.usage.input_tokens >= 0 && seen.usage.cached_tokens <= seen.usage.input_tokens);
    translation_free(translation);
    return state;
}

static void check_stream(struct text stream)
{
    struct sse_event event;
    while (stream.len) {
        assert(sse_next(&stream, &event));
        assert(event.lines == 1 &&
               (scan_is_valid(event.data) || text_equal(event.data, TEXT("[DONE]"))));
    }
}

static void check_answer(struct answer_way *way, struct text answer, size_t each)
{
    struct buffer whole, cut;
    buffer_init(&whole, 1 << 26);
    buffer_init(&cut, 1 << 26);
    enum translation_state state = translate(way, answer, SIZE_MAX, &whole);
    assert(translate(way, answer, each, &cut) == state);
    assert(text_equal(buffer_text(&whole), buffer_text(&cut)));
    /* Of a body nothing but that it is there is asked: vectors are passed as they come. */
    if (way->stream_out && way->stream_in && buffer_length(&whole))
        check_stream(buffer_text(&whole));
    else if (!way->stream_out && state == TRANSLATION_ENDED && scan_is_valid(answer))
        assert(scan_is_valid(buffer_text(&whole)));
    buffer_done(&whole);
    buffer_done(&cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2 || len > 1 << 16)
        return 0;
    struct text rest = {(const char *)bytes + 2, len - 2};
    const struct translator *from = words[bytes[0] % WORDS], *to = NULL;
    unsigned kind = bytes[0] / WORDS % 3;
    bool chat = from->operation == OPERATION_CHAT;
    struct provider_error error;
    from->read_error(400, rest, &error);
    if (kind == 0) {
        check_call(from, rest);
        return 0;
    }
    for (size_t i = 0; (to = translator_at(i)) != NULL; i++) {
        struct answer_way way = {.from = from,
                                 .to = to,
                                 .id = {"0a", 2},
                                 .model = {"m\\", 2},
                                 .stream_in = chat && kind == 1,
                                 .stream_out = chat && bytes[1] % 2,
                                 .call = {"{\"encoding_format\":\"base64\"}", 28}};
        if (to->operation == from->operation && (!chat || to == from))
            check_answer(&way, rest, 1 + bytes[1]);
    }
    return 0;
}
