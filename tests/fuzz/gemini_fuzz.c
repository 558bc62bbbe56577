/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The gemini dialect over any call, answer and error. The first byte says what the rest is, the
 * second what it is written as and how it is cut. What is written is valid JSON, in events where it
 * is a stream; what a reader says keeps the order that it must; and it is the same however an
 * answer is cut.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "gateway/base/scan.h"
#include "gateway/http/sse.h"
#include "providers/gemini.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Is it a row of events that hold JSON, or one array, or one value? */
static void check_written(const struct answer_way *way, struct text made)
{
    struct sse_event event;
    if (way->to != &translator_gemini)
        return; /* its own fuzz target looks at that */
    if (way->array_out || !way->stream_out) {
        assert(scan_is_valid(made));
        return;
    }
    while (made.len && sse_next(&made, &event)) {
        assert(event.lines == 1);
        assert(scan_is_valid(event.data));
    }
    assert(!made.len);
}

/* ------------------------------------------------------------------------------------- calls */

static void fuzz_call(const struct translator *to, const char *model, struct text body)
{
    struct arena arena;
    struct translated_call made = {0};
    struct fault fault = {0};
    struct call_target target = {.type = provider_type_find(TEXT("mock")), .model = text_of(model)};
    if (!body.len || body.at[0] != '{' || !scan_is_valid(body))
        return;
    arena_init(&arena, 4096);
    if (!translate_call(&arena, &translator_gemini, to, body, TEXT("m"), false, &target, &made,
                        &fault)) {
        assert(fault.kind == FAULT_BAD_REQUEST && fault.param);
    } else {
        assert(scan_is_valid(made.body));
        /* What it says of itself it reads again, with nothing to complain of. */
        if (to == &translator_gemini && made.body.len)
            assert(!made.demands.len);
        struct translated_call back = {0};
        if (translate_call(&arena, to, &translator_gemini, made.body, TEXT("m"), false, &target,
                           &back, &fault))
            assert(scan_is_valid(back.body));
    }
    arena_done(&arena);
}

/* ----------------------------------------------------------------------------------- answers */

/* A listener that knows in which order things must be said. */
struct listener {
    struct answer_sink sink;
    bool begun, over;
    bool open[CHAT_CHOICES_MAX], finished[CHAT_CHOICES_MAX];
    unsigned parts[CHAT_CHOICES_MAX];
};

static void check_part(struct listener *l, const struct answer_event *event)
{
    unsigned choice = event->choice;
    assert(choice < CHAT_CHOICES_MAX && !l->finished[choice]);
    if (event->kind == ANSWER_PART) {
        assert(!l->open[choice] && event->part == l->parts[choice]++);
        l->open[choice] = true;
        return;
    }
    assert(l->open[choice] && event->part + 1 == l->parts[choice]);
    l->open[choice] = event->kind != ANSWER_PART_END;
}

static void listen(struct answer_sink *sink, const struct answer_event *event)
{
    struct listener *l = (struct listener *)sink;
    assert(!l->over);
    assert(l->begun || event->kind == ANSWER_BEGIN || event->kind == ANSWER_FAIL);
    switch (event->kind) {
    case ANSWER_BEGIN:
        assert(!l->begun);
        l->begun = true;
        break;
    case ANSWER_PART:
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_CITATION:
    case ANSWER_RAW:
    case ANSWER_PART_END:
        check_part(l, event);
        break;
    case ANSWER_LOGPROBS:
        assert(scan_is_valid(event->raw));
        break;
    case ANSWER_FINISH:
        assert(!l->open[event->choice] && !l->finished[event->choice]);
        l->finished[event->choice] = true;
        break;
    case ANSWER_USAGE:
        assert(event->usage->cached_tokens <= event->usage->input_tokens);
        assert(event->usage->reasoning_tokens <= event->usage->output_tokens);
        break;
    case ANSWER_FIELD:
        assert(scan_is_valid(event->raw));
        break;
    case ANSWER_FAIL:
    case ANSWER_END:
        l->over = true;
        break;
    }
}

static void fuzz_order(const struct answer_way *way, struct text answer)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    struct reader_state *state = memory_new(GEMINI_READER_BYTES);
    struct buffer scratch;
    struct frame frame;
    listener->sink.take = listen;
    arena_init(&state->arena, 4096);
    buffer_init(&scratch, 1 << 24);
    state->way = way;
    if (!way->stream_in)
        gemini_read_body(state, answer, &listener->sink);
    while (way->stream_in &&
           frame_next(FRAMING_SSE, &answer, 0, true, &scratch, &frame) == FRAME_HERE)
        gemini_read_frame(state, &frame, &listener->sink);
    if (way->stream_in)
        gemini_read_end(state, &listener->sink);
    buffer_done(&scratch);
    arena_done(&state->arena);
    memory_free(state);
    free(listener);
}

static enum translation_state feed(const struct answer_way *way, struct text answer, size_t each,
                                   struct buffer *out)
{
    struct answer seen = {.operation = OPERATION_CHAT};
    struct translation *t = translation_new(way, &seen);
    enum translation_state state = TRANSLATION_GOES;
    while (answer.len && state == TRANSLATION_GOES) {
        struct text piece = text_head(answer, each);
        char *copy = malloc(piece.len); /* what is read behind it is seen */
        memcpy(copy, piece.at, piece.len);
        state = translation_feed(t, (struct text){copy, piece.len}, out);
        free(copy);
        answer = text_from(answer, each);
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(t, out);
    assert(translation_end_at(t) <= buffer_length(out));
    translation_free(t);
    return state;
}

static void fuzz_answer(const struct translator *to, uint8_t how, struct text answer)
{
    struct answer_way way = {.from = &translator_gemini,
                             .to = to,
                             .id = TEXT("id"),
                             .model = TEXT("m"),
                             .stream_in = how & 1,
                             .stream_out = how & 2,
                             .array_out = (how & 6) == 6,
                             .wants_usage = true,
                             .call = TEXT("{}")};
    struct buffer whole, cut;
    buffer_init(&whole, 1 << 26);
    buffer_init(&cut, 1 << 26);
    fuzz_order(&way, answer);
    enum translation_state state = feed(&way, answer, SIZE_MAX / 2, &whole);
    assert(feed(&way, answer, how >> 4 ? how >> 4 : 1, &cut) == state);
    assert(text_equal(buffer_text(&whole), buffer_text(&cut)));
    if (state == TRANSLATION_ENDED)
        check_written(&way, buffer_text(&whole));
    buffer_done(&whole);
    buffer_done(&cut);
}

/* What others say is written: their answers, where there are others. */
static void fuzz_writer(const struct translator *from, uint8_t how, struct text answer)
{
    struct answer_way way = {.from = from,
                             .to = &translator_gemini,
                             .id = TEXT("id"),
                             .model = TEXT("m"),
                             .stream_in = how & 1,
                             .stream_out = how & 2,
                             .array_out = (how & 6) == 6,
                             .call = TEXT("{}")};
    struct buffer out;
    buffer_init(&out, 1 << 26);
    if (feed(&way, answer, SIZE_MAX / 2, &out) == TRANSLATION_ENDED)
        check_written(&way, buffer_text(&out));
    buffer_done(&out);
}

/* --------------------------------------------------------------------------- the watch, errors */

static void fuzz_watch(struct text stream)
{
    struct answer answer = {.operation = OPERATION_CHAT};
    struct provider_error error;
    struct sse_event event;
    gemini_read_error(429, stream, &error);
    assert(error.retry_ms >= 0 && memchr(error.message, 0, sizeof(error.message)));
    struct text rest = text_head(stream, sse_whole(stream));
    while (sse_next(&rest, &event)) {
        enum event_verdict verdict = dialect_gemini.watch_event(&answer, &event);
        assert(verdict != EVENT_FAIL || answer.failed);
        assert(answer.usage.input_tokens >= 0 && answer.usage.output_tokens >= 0);
        assert(answer.usage.cached_tokens <= answer.usage.input_tokens);
        assert(answer.content_bytes >= 0 && memchr(answer.finish, 0, sizeof(answer.finish)));
    }
    if (scan_is_valid(stream)) {
        struct buffer out;
        buffer_init(&out, 1 << 24);
        dialect_gemini.to_events(stream, true, &out);
        struct text made = buffer_text(&out);
        assert(sse_next(&made, &event) && scan_is_valid(event.data) && !made.len);
        buffer_done(&out);
    }
}

static const struct translator *choose(uint8_t number)
{
    size_t count = 0;
    while (translator_at(count))
        count++;
    const struct translator *one = translator_at(number % count);
    return one->operation == OPERATION_CHAT ? one : &translator_gemini;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char *const models[] = {"gemini-2.5-flash", "gemini-3-pro", "gemini-2.0-flash",
                                         "x"};
    if (len < 2)
        return 0;
    struct text rest = {(const char *)bytes + 2, len - 2};
    const struct translator *other = choose(bytes[0] >> 3);
    switch (bytes[0] & 7) {
    case 0:
    case 1:
        fuzz_call(other, models[bytes[1] & 3], rest);
        break;
    case 2:
        fuzz_watch(rest);
        break;
    case 3:
        fuzz_writer(other, bytes[1], rest);
        break;
    default:
        fuzz_answer(other, bytes[1], rest);
        break;
    }
    return 0;
}
