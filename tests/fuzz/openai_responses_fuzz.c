/* SPDX-License-Identifier: Apache-2.0 */

/* The words for OpenAI's Responses over any call and any answer. First byte: what it is; second:
 * into how large pieces an answer is cut. A call is read, and written for every dialect there is;
 * an answer is read, and written whole and as a stream. What is written is JSON, each part is
 * closed once, nothing is said behind the end, and how the answer was cut changes nothing. */

#include <assert.h>
#include <stdint.h>

#include "gateway/base/scan.h"
#include "gateway/http/sse.h"
#include "providers/translator.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const struct translator *own(void)
{
    return translator_find(TEXT("openai"), OPERATION_RESPONSE);
}

/* ----------------------------------------------------------------------------------- calls */

static void write_for_all(const struct text body, struct arena *arena)
{
    static const char *const providers[] = {"openai", "mock", "deepseek"};
    const struct translator *to;
    for (size_t i = 0; (to = translator_at(i)) != NULL; i++) {
        struct call_target target = {.type = provider_type_find(text_of(providers[body.len % 3])),
                                     .model = {"m\"", 2},
                                     .max_tokens_default = 100};
        struct translated_call call;
        struct fault fault = {0};
        if (translate_call(arena, own(), to, body, TEXT(""), false, &target, &call, &fault))
            assert(scan_is_valid(call.body));
        else
            assert(fault.kind == FAULT_BAD_REQUEST && fault.text[0]);
    }
}

/* ---------------------------------------------------------------------------------- answers */

/* Listens to what a reader says. */
struct listener {
    struct answer_sink sink;
    bool begun, over;
    unsigned parts;
    bool closed[CHAT_PARTS_MAX];
};

static void listen(struct answer_sink *sink, const struct answer_event *event)
{
    struct listener *l = (struct listener *)sink;
    bool about_part = event->kind > ANSWER_PART && event->kind <= ANSWER_PART_END;
    assert(!l->over);
    assert(l->begun || event->kind == ANSWER_BEGIN || event->kind == ANSWER_FAIL);
    assert(!about_part || (event->part < l->parts && !l->closed[event->part]));
    if (event->kind == ANSWER_BEGIN) {
        assert(!l->begun);
        l->begun = true;
    } else if (event->kind == ANSWER_PART) {
        assert(event->part == l->parts && l->parts < CHAT_PARTS_MAX);
        l->parts++;
    } else if (event->kind == ANSWER_PART_END) {
        l->closed[event->part] = true;
    } else if (event->kind == ANSWER_FINISH) {
        for (unsigned i = 0; i < l->parts; i++)
            assert(l->closed[i]);
    }
    l->over = event->kind == ANSWER_END || event->kind == ANSWER_FAIL;
}

static void read_alone(struct text answer, bool stream)
{
    static struct listener listener;
    struct answer_way way = {.from = own(), .to = own(), .id = {"i", 1}};
    struct reader_state *state = memory_new(own()->reader_bytes);
    struct text events = text_head(answer, sse_whole(answer));
    struct sse_event event;
    listener = (struct listener){.sink = {listen}};
    arena_init(&state->arena, 512);
    state->way = &way;
    while (stream && sse_next(&events, &event)) {
        struct frame frame = {.name = event.name, .kind = {"", 0}, .data = event.data};
        if (event.lines == 1)
            own()->read_frame(state, &frame, &listener.sink);
    }
    if (stream)
        own()->read_end(state, &listener.sink);
    else
        own()->read_body(state, answer, &listener.sink);
    arena_done(&state->arena);
    memory_free(state);
}

static enum translation_state translate(struct text answer, bool in, bool out, size_t each,
                                        struct buffer *to)
{
    struct answer_way way = {
        .from = own(),
        .to = own(),
        .id = {"0a", 2},
        .model = {"m\\", 2},
        .stream_in = in,
        .stream_out = out,
        .call = {"{\"input\":1,\"tools\":[{\"type\":\"custom\",\"name\":\"p\"}],\n\"top_p\":1}",
                 57},
    };
    struct answer seen = {.operation = OPERATION_RESPONSE};
    struct translation *translation = translation_new(&way, &seen);
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

static void check_stream(struct text stream)
{
    struct sse_event event;
    while (stream.len) {
        assert(sse_next(&stream, &event));
        assert(event.lines == 1 && event.name.len && scan_is_valid(event.data));
    }
}

static void check_answer(struct text answer, bool in, size_t each)
{
    struct buffer whole, cut;
    buffer_init(&whole, 1 << 26);
    buffer_init(&cut, 1 << 26);
    for (int out = 0; out < 2; out++) {
        enum translation_state state = translate(answer, in, out, SIZE_MAX, &whole);
        assert(translate(answer, in, out, each, &cut) == state);
        assert(text_equal(buffer_text(&whole), buffer_text(&cut)));
        if (out)
            check_stream(buffer_text(&whole));
        else if (state == TRANSLATION_ENDED)
            assert(scan_is_valid(buffer_text(&whole)));
        buffer_clear(&whole);
        buffer_clear(&cut);
    }
    buffer_done(&whole);
    buffer_done(&cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2 || len > 1 << 16)
        return 0;
    struct text rest = {(const char *)bytes + 2, len - 2};
    if (bytes[0] % 3 == 0) {
        struct scan_value none[1];
        struct scan_problem problem;
        struct arena arena;
        arena_init(&arena, 4096);
        if (scan_json(rest, NULL, 0, none, &problem))
            write_for_all(rest, &arena);
        arena_done(&arena);
        return 0;
    }
    bool stream = bytes[0] % 3 == 1;
    read_alone(rest, stream);
    check_answer(rest, stream, 1 + bytes[1]);
    return 0;
}
