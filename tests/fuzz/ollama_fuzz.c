/* SPDX-License-Identifier: Apache-2.0 */

/* Ollama's dialect over any call and any answer. First byte: what it is (a call, a body, a stream,
 * a stream that passes) and for whom it is written; second: into how large pieces it is cut. What
 * is written is JSON, how the answer was cut changes nothing, and of what passes each byte is in
 * one event. */

#include <assert.h>
#include <stdint.h>

#include "gateway/base/scan.h"
#include "providers/ollama.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { KINDS = 4, CLIENTS_MAX = 16 };

static bool talks(const struct translator *one)
{
    return one->operation == OPERATION_CHAT || one->operation == OPERATION_COMPLETION ||
           one->operation == OPERATION_RESPONSE;
}

static const struct translator *client_at(unsigned number)
{
    const struct translator *one, *clients[CLIENTS_MAX];
    unsigned count = 0;
    for (size_t i = 0; (one = translator_at(i)) != NULL && count < CLIENTS_MAX; i++)
        if (talks(one))
            clients[count++] = one;
    return clients[number % count];
}

static void check_call(const struct translator *from, const struct translator *to, struct text body)
{
    struct scan_value none[1];
    struct scan_problem problem;
    struct arena arena;
    struct call_target target = {.type = provider_type_find(TEXT("ollama")), .model = {"m\"", 2}};
    struct translated_call call;
    struct fault fault = {.kind = FAULT_NONE};
    if (!scan_json(body, NULL, 0, none, &problem))
        return;
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
    struct answer seen = {.operation = OPERATION_CHAT};
    struct translation *translation = translation_new(way, &seen);
    enum translation_state state = TRANSLATION_GOES;
    while (answer.len && state == TRANSLATION_GOES) {
        state = translation_feed(translation, text_head(answer, each), to);
        answer = text_from(answer, each);
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(translation, to);
    assert(seen.usage.input_tokens >= 0 && seen.usage.output_tokens >= 0);
    translation_free(translation);
    return state;
}

static void check_lines(struct text lines)
{
    struct sse_event event;
    assert(dialect_ollama.whole_events(lines) == lines.len);
    while (dialect_ollama.next_event(&lines, &event))
        assert(scan_is_valid(event.data));
}

static void check_answer(const struct translator *to, struct text answer, size_t each, bool stream)
{
    struct answer_way way = {.from = &translator_ollama_chat,
                             .to = to,
                             .id = {"0a", 2},
                             .model = {"m\\", 2},
                             .stream_in = stream,
                             .stream_out = stream,
                             .call = {"{}", 2}};
    struct buffer whole, cut;
    buffer_init(&whole, 1 << 26);
    buffer_init(&cut, 1 << 26);
    enum translation_state state = translate(&way, answer, SIZE_MAX, &whole);
    assert(translate(&way, answer, each, &cut) == state);
    assert(text_equal(buffer_text(&whole), buffer_text(&cut)));
    if (stream && text_equal(to->dialect, TEXT("ollama")))
        check_lines(buffer_text(&whole));
    else if (!stream && state == TRANSLATION_ENDED)
        assert(scan_is_valid(buffer_text(&whole)));
    buffer_done(&whole);
    buffer_done(&cut);
}

static void check_passing(struct text stream)
{
    struct answer answer = {.operation = OPERATION_CHAT};
    struct text rest = text_head(stream, dialect_ollama.whole_events(stream));
    struct sse_event event;
    size_t taken = 0, all = rest.len;
    assert(!all || rest.at[all - 1] == '\n');
    while (dialect_ollama.next_event(&rest, &event)) {
        assert(event.raw.at == stream.at + taken);
        taken += event.raw.len;
        if (dialect_ollama.watch_event(&answer, &event) == EVENT_LAST)
            assert(answer.ended);
    }
    assert(taken == all && answer.content_bytes >= 0 && answer.usage.output_tokens >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2 || len > 1 << 16)
        return 0;
    struct text rest = {(const char *)bytes + 2, len - 2};
    const struct translator *to = client_at(bytes[0] / KINDS);
    struct provider_error error;
    ollama_read_error(400, rest, &error);
    switch (bytes[0] % KINDS) {
    case 0:
        check_call(bytes[1] % 2 ? &translator_ollama_chat : &translator_ollama_generate, to, rest);
        break;
    case 1:
        check_answer(to, rest, 1 + bytes[1], false);
        break;
    case 2:
        check_answer(to, rest, 1 + bytes[1], true);
        break;
    default:
        check_passing(rest);
        break;
    }
    return 0;
}
