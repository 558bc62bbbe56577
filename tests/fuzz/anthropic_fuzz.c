/* SPDX-License-Identifier: Apache-2.0 */

/* Anthropic's dialect over any call and any answer. First byte: what it is; second: into how large
 * pieces an answer is cut. A call is read, and written for every dialect there is; an answer is
 * read, and written whole and as a stream. What is written is JSON, blocks stand one behind the
 * other, each is ended once, nothing is said behind the end, and how the answer was cut changes
 * nothing. Any bytes are watched as an answer, too. */

#include <assert.h>
#include <stdint.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/http/sse.h"
#include "providers/anthropic.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* ----------------------------------------------------------------------------------- calls */

static void write_for_all(struct text body, struct arena *arena)
{
    static const char *const models[] = {"claude-opus-4-8", "claude-sonnet-4-5", "m\"",
                                         "claude-3-haiku"};
    const struct translator *to;
    for (size_t i = 0; (to = translator_at(i)) != NULL; i++) {
        struct call_target target = {.type = provider_type_find(TEXT("mock")),
                                     .model = text_of(models[body.len % 4]),
                                     .max_tokens_default = (int64_t)(body.len % 3) * 1500};
        struct translated_call call;
        struct fault fault = {.kind = FAULT_NONE};
        if (translate_call(arena, &translator_anthropic, to, body, TEXT(""), false, &target, &call,
                           &fault))
            assert(scan_is_valid(call.body));
        else
            assert(fault.kind == FAULT_BAD_REQUEST && fault.param && fault.text[0]);
    }
}

/* What the call says is said as a call of another dialect, too. */
static void write_as_foreign(struct text body, struct arena *arena)
{
    static const struct translator foreign = {.name = {"x", 1}, .dialect = {"y", 1}};
    struct call_source source = {.body = body, .model = {"", 0}};
    struct call_target target = {.model = {"claude-sonnet-4-5", 17}};
    struct chat *chat = arena_new(arena, sizeof(*chat));
    struct losses *losses = arena_new(arena, sizeof(*losses));
    struct fault fault;
    struct buffer out;
    chat->from = &foreign;
    if (!anthropic_read_call(arena, &source, chat, &fault))
        return;
    buffer_init(&out, 1 << 26);
    anthropic_write_call(arena, chat, &target, &out, losses);
    assert(scan_is_valid(buffer_text(&out)));
    buffer_done(&out);
}

static void check_call(struct text body)
{
    struct scan_value none[1];
    struct scan_problem problem;
    struct arena arena;
    if (!scan_json(body, NULL, 0, none, &problem))
        return;
    arena_init(&arena, 4096);
    write_for_all(body, &arena);
    write_as_foreign(body, &arena);
    arena_done(&arena);
}

/* ---------------------------------------------------------------------------------- answers */

/* Listens to what the reader says. */
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
    struct answer_way way = {.from = &translator_anthropic, .to = &translator_anthropic};
    struct anthropic_reader *state = memory_new(sizeof(*state));
    struct text events = text_head(answer, sse_whole(answer));
    struct sse_event event;
    listener = (struct listener){.sink = {listen}};
    arena_init(&state->base.arena, 512);
    state->base.way = &way;
    while (stream && sse_next(&events, &event)) {
        struct frame frame = {.name = event.name, .kind = {"", 0}, .data = event.data};
        if (event.lines == 1)
            anthropic_read_frame(state, &frame, &listener.sink);
    }
    if (stream)
        anthropic_read_end(state, &listener.sink);
    else
        anthropic_read_body(state, answer, &listener.sink);
    arena_done(&state->base.arena);
    memory_free(state);
}

static enum translation_state translate(struct text answer, bool in, bool out, size_t each,
                                        struct buffer *to)
{
    struct answer_way way = {.from = &translator_anthropic,
                             .to = &translator_anthropic,
                             .id = {"0a", 2},
                             .model = {"m\\", 2},
                             .stream_in = in,
                             .stream_out = out};
    struct answer seen = {.operation = OPERATION_CHAT};
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

/* Blocks are numbered, and never two at once. */
static void check_order(const struct sse_event *event, int64_t *open, int64_t *next)
{
    int64_t index = -1;
    member_count(member_find(event->data, TEXT("index")), INT64_MAX, &index);
    if (text_equal(event->name, TEXT("content_block_start"))) {
        assert(*open < 0 && index == *next);
        *open = (*next)++;
    } else if (text_equal(event->name, TEXT("content_block_delta"))) {
        assert(index == *open);
    } else if (text_equal(event->name, TEXT("content_block_stop"))) {
        assert(index == *open);
        *open = -1;
    } else {
        assert(*open < 0);
    }
}

static void check_stream(struct text stream, bool ended)
{
    struct sse_event event = {.lines = 0};
    int64_t open = -1, next = 0;
    while (stream.len) {
        assert(sse_next(&stream, &event));
        assert(event.lines == 1 && event.name.len && scan_is_valid(event.data));
        check_order(&event, &open, &next);
    }
    assert(ended == text_equal(event.name, TEXT("message_stop")));
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
        if (out && buffer_length(&whole))
            check_stream(buffer_text(&whole), state == TRANSLATION_ENDED);
        else if (!out && state == TRANSLATION_ENDED)
            assert(scan_is_valid(buffer_text(&whole)));
        buffer_clear(&whole);
        buffer_clear(&cut);
    }
    buffer_done(&whole);
    buffer_done(&cut);
}

static void watch(struct text answer)
{
    struct answer seen = {.operation = OPERATION_CHAT};
    struct sse_event event;
    struct provider_error error;
    struct scan_value values[DIALECT_WANTS];
    struct scan_problem problem;
    anthropic_read_error(400, answer, &error);
    if (scan_json(answer, dialect_anthropic.wants, dialect_anthropic.want_count, values, &problem))
        dialect_anthropic.watch_body(&seen, values);
    answer = text_head(answer, sse_whole(answer));
    while (sse_next(&answer, &event))
        dialect_anthropic.watch_event(&seen, &event);
    assert(seen.usage.input_tokens >= 0 && seen.usage.output_tokens >= 0);
    assert(seen.usage.cached_tokens <= seen.usage.input_tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2 || len > 1 << 16)
        return 0;
    struct text rest = {(const char *)bytes + 2, len - 2};
    if (bytes[0] % 3 == 0) {
        check_call(rest);
        return 0;
    }
    bool stream = bytes[0] % 3 == 1;
    read_alone(rest, stream);
    check_answer(rest, stream, 1 + bytes[1]);
    watch(rest);
    return 0;
}
