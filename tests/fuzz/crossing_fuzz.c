/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any dialect to any other. First byte: whose words they are; second: whose they become; third:
 * what it is (a call, a stream as its bytes, a body, a stream made of lines, which become frames,
 * with the highest bit many times over);
 * fourth: how it is said and how it is cut.
 *
 * What a reader says keeps its order. What is written is what the other dialect's own reader takes,
 * without complaint, and says the same texts: nothing is said behind its end, what did not end does
 * not look as if it had, and how an answer was cut changes nothing.
 */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/hash.h"
#include "gateway/base/scan.h"
#include "gateway/http/sse.h"
#include "providers/translator.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { INPUT_MAX = 1 << 16, OUT_MAX = 1 << 26, TOKENS_MAX_LOG = 41, REPEATED_MAX = 1 << 18 };

static bool talks(const struct translator *one)
{
    return one->operation == OPERATION_CHAT || one->operation == OPERATION_RESPONSE ||
           one->operation == OPERATION_COMPLETION;
}

static bool streams(const struct translator *one)
{
    return talks(one) && !text_equal(one->dialect, TEXT("monster"));
}

static const struct translator *choose(uint8_t number)
{
    size_t count = 0;
    while (translator_at(count))
        count++;
    return translator_at(number % count);
}

/* The <number>th of those that have what <from> asks for. */
static const struct translator *choose_for(const struct translator *from, uint8_t number)
{
    const struct translator *found[64], *one;
    size_t count = 0;
    for (size_t i = 0; (one = translator_at(i)) != NULL; i++)
        if (one->operation == from->operation || (talks(one) && talks(from)))
            found[count++] = one;
    return found[number % count];
}

/* ------------------------------------------------------------------------------------ calls */

/* Some dialects take a call that says nothing, others do not. */
static bool says_something(struct arena *arena, const struct translator *from, struct text body)
{
    struct fault fault = {0};
    const struct chat *chat = translate_read(arena, from, body, TEXT("m"), false, &fault);
    assert(chat);
    for (size_t i = 0; i < chat->message_count; i++) {
        const struct message *message = &chat->messages[i];
        if (message->role != ROLE_SYSTEM && message->role != ROLE_DEVELOPER && message->part_count)
            if (message->parts[0].kind != PART_TEXT || message->parts[0].text.len)
                return true;
    }
    return false;
}

/* What is written for a dialect is read as that dialect's own call, and said again. */
static void read_again(struct arena *arena, const struct translator *words, struct text body,
                       const struct call_target *target)
{
    struct translated_call made = {0};
    struct fault fault = {0};
    bool stream = target->stream && streams(words);
    bool read =
        translate_call(arena, words, words, body, target->model, stream, target, &made, &fault);
    if (!read)
        fprintf(stderr, "%s: %s\n%.*s\n", fault.param, fault.text, TEXT_ARGS(body));
    assert(read && scan_is_valid(made.body));
}

static void check_call(const struct translator *from, const struct translator *to, uint8_t how,
                       struct text body)
{
    struct scan_problem problem;
    struct arena arena;
    struct fault fault = {0};
    struct translated_call made = {0};
    size_t types = 0;
    if (!scan_json(body, NULL, 0, NULL, &problem))
        return;
    while (provider_type_at(types))
        types++;
    struct call_target target = {.type = provider_type_at(body.len % types),
                                 .model = TEXT("m"),
                                 .stream = how & 1,
                                 .max_tokens_default = how & 2 ? 4096 : 0,
                                 .max_tokens_max = how & 4 ? 1000 : 0,
                                 .lowered_tokens = how & 8 ? 10 : 0,
                                 .project = TEXT("p"),
                                 .location = TEXT("l")};
    arena_init(&arena, 4096);
    if (translate_call(&arena, from, to, body, TEXT("m"), how & 1, &target, &made, &fault)) {
        assert(scan_is_valid(made.body) && made.path.len && made.path.at[0] == '/');
        bool clients = !text_equal(to->dialect, TEXT("nvidia")); /* which has none */
        if (clients && !made.demands.len && says_something(&arena, from, body))
            read_again(&arena, to, made.body, &target);
    } else {
        assert(fault.kind == FAULT_BAD_REQUEST && fault.param && fault.text[0]);
    }
    arena_done(&arena);
}

/* ----------------------------------------------------------------- what a reader says, in order */

struct listener {
    struct answer_sink sink;
    const struct translator *from;
    bool begun, over, failed;
    bool broke; /* said of itself that something broke: to some dialects that is a failure */
    bool plain; /* nothing but texts, reasoning and calls: others become texts, or vanish */
    bool finished[CHAT_CHOICES_MAX];
    unsigned parts[CHAT_CHOICES_MAX], open[CHAT_CHOICES_MAX];
    unsigned char closed[CHAT_CHOICES_MAX][CHAT_PARTS_MAX];
    struct buffer text; /* of the first choice */
};

static void begin_part(struct listener *l, const struct answer_event *event)
{
    unsigned choice = event->choice;
    assert(!l->finished[choice] && event->part == l->parts[choice]);
    assert(event->part < CHAT_PARTS_MAX);
    if (event->part_kind != PART_TEXT && event->part_kind != PART_REASONING &&
        event->part_kind != PART_CALL)
        l->plain = false;
    l->closed[choice][l->parts[choice]++] = 0;
    l->open[choice]++;
}

static void end_part(struct listener *l, const struct answer_event *event)
{
    l->closed[event->choice][event->part] = 1;
    l->open[event->choice]--;
}

static void check_usage(const struct usage *u)
{
    const int64_t figures[] = {u->input_tokens,       u->cached_tokens,       u->cache_write_tokens,
                               u->output_tokens,      u->reasoning_tokens,    u->image_tokens,
                               u->audio_input_tokens, u->audio_output_tokens, u->units};
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        assert(figures[i] >= 0 && figures[i] <= INT64_C(1) << TOKENS_MAX_LOG);
    assert(u->cached_tokens <= u->input_tokens && u->cache_write_tokens <= u->input_tokens);
    assert(u->reasoning_tokens <= u->output_tokens);
}

static void listen(struct answer_sink *sink, const struct answer_event *event)
{
    struct listener *l = (struct listener *)sink;
    unsigned choice = event->choice;
    bool about_part = event->kind > ANSWER_PART && event->kind <= ANSWER_PART_END;
    assert(!l->over && choice < CHAT_CHOICES_MAX);
    assert(l->begun || event->kind == ANSWER_BEGIN || event->kind == ANSWER_FAIL);
    if (about_part) {
        assert(event->part < l->parts[choice] && !l->closed[choice][event->part]);
        assert(!l->finished[choice]);
    }
    switch (event->kind) {
    case ANSWER_BEGIN:
        assert(!l->begun);
        l->begun = true;
        break;
    case ANSWER_PART:
        begin_part(l, event);
        break;
    case ANSWER_PART_END:
        end_part(l, event);
        break;
    case ANSWER_TEXT:
        if (choice == 0 && event->part_kind == PART_TEXT)
            buffer_append_text(&l->text, event->text);
        break;
    case ANSWER_CITATION:
        assert(event->citation);
        break;
    case ANSWER_FINISH:
        assert(l->open[choice] == 0 && !l->finished[choice] && event->finish != FINISH_NONE);
        l->finished[choice] = true;
        l->broke |= event->finish == FINISH_ERROR;
        break;
    case ANSWER_USAGE:
        check_usage(event->usage);
        break;
    case ANSWER_END:
        for (unsigned i = 0; i < CHAT_CHOICES_MAX; i++)
            assert(!l->open[i] && (l->finished[i] || !l->parts[i] || !talks(l->from)));
        l->over = true;
        break;
    case ANSWER_FAIL:
        l->over = l->failed = true;
        break;
    case ANSWER_ARGUMENTS:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_RAW:
    case ANSWER_LOGPROBS:
    case ANSWER_FIELD:
        break;
    }
}

/* Read it with nobody behind who writes; true when it is whole. */
static bool read_alone(const struct answer_way *way, struct text answer, bool stream,
                       struct listener *l)
{
    const struct translator *words = way->from;
    struct reader_state *state = memory_new(words->reader_bytes);
    struct buffer scratch;
    struct frame frame;
    enum frame_result result = FRAME_MORE;
    memset(l, 0, offsetof(struct listener, closed));
    l->sink.take = listen;
    l->from = words;
    l->plain = true;
    buffer_init(&l->text, OUT_MAX);
    arena_init(&state->arena, 4096);
    buffer_init(&scratch, OUT_MAX);
    state->way = way;
    if (!stream)
        words->read_body(state, answer, &l->sink);
    while (stream && !l->over &&
           (result = frame_next(words->framing, &answer, 0, true, &scratch, &frame)) == FRAME_HERE)
        words->read_frame(state, &frame, &l->sink);
    if (stream && !l->over && result == FRAME_MORE)
        words->read_end(state, &l->sink);
    buffer_done(&scratch);
    arena_done(&state->arena);
    memory_free(state);
    return l->over && !l->failed;
}

/* ---------------------------------------------------------------------------- what is written */

struct outcome {
    enum translation_state state;
    struct answer seen;
    struct buffer out;
    size_t end_at; /* where that begins in <out> which ends the answer */
};

static void translate(const struct answer_way *way, struct text answer, size_t each,
                      struct outcome *outcome)
{
    *outcome = (struct outcome){.seen = {.operation = way->to->operation}};
    struct translation *translation = translation_new(way, &outcome->seen);
    buffer_init(&outcome->out, OUT_MAX);
    while (answer.len && outcome->state == TRANSLATION_GOES) {
        struct text piece = text_head(answer, each);
        char *copy = malloc(piece.len); /* of exactly its size: what is read behind it is seen */
        memcpy(copy, piece.at, piece.len);
        outcome->state =
            translation_feed(translation, (struct text){copy, piece.len}, &outcome->out);
        free(copy);
        answer = text_from(answer, each);
    }
    if (outcome->state == TRANSLATION_GOES)
        outcome->state = translation_close(translation, &outcome->out);
    outcome->end_at = translation_end_at(translation);
    assert(outcome->end_at <= buffer_length(&outcome->out));
    assert(outcome->state != TRANSLATION_GOES);
    if (outcome->state == TRANSLATION_FAILED) {
        const struct fault *fault = translation_fault(translation);
        assert(fault->kind != FAULT_NONE);
        translation_say_failure(translation, fault, &outcome->out);
    }
    translation_free(translation);
}

/* Every piece of a stream is JSON by itself. */
static void check_pieces(const struct translator *words, struct text stream)
{
    struct buffer scratch;
    struct frame frame;
    buffer_init(&scratch, OUT_MAX);
    while (frame_next(words->framing, &stream, 0, false, &scratch, &frame) == FRAME_HERE)
        assert(scan_is_valid(frame.data) || text_equal(frame.data, TEXT("[DONE]")));
    assert(!stream.len); /* nothing is left half said */
    buffer_done(&scratch);
}

/* The client's own dialect reads what was written: whole if it is, and never if it is not. */
static void check_written(const struct answer_way *way, const struct outcome *made,
                          struct listener *first)
{
    static struct listener second;
    struct text out = buffer_text(&made->out);
    bool ended = made->state == TRANSLATION_ENDED;
    struct answer_way back = {.from = way->to, .to = way->to, .id = way->id, .model = way->model};
    if (way->array_out) {
        assert(!ended || scan_is_valid(out));
        return;
    }
    if (!way->stream_out) {
        assert(ended ? scan_is_valid(out) : !out.len);
        if (!ended)
            return;
    } else {
        check_pieces(way->to, out);
    }
    /* Where its words have none for a failure, the gateway says it behind what was written. */
    bool told = ended ? !first->broke : way->to->says_failure;
    assert(read_alone(&back, out, way->stream_out, &second) == ended || !told);
    if (ended && first->plain && !first->broke)
        assert(text_equal(buffer_text(&first->text), buffer_text(&second.text)));
    buffer_done(&second.text);
}

static void check_answer(const struct answer_way *way, struct text answer, size_t each)
{
    static struct listener first;
    struct outcome whole, cut;
    bool good = read_alone(way, answer, way->stream_in, &first);
    translate(way, answer, INPUT_MAX * 4, &whole);
    translate(way, answer, each, &cut);
    assert(whole.state == cut.state && good == (whole.state == TRANSLATION_ENDED));
    assert(text_equal(buffer_text(&whole.out), buffer_text(&cut.out)));
    assert(whole.end_at == cut.end_at || whole.state == TRANSLATION_FAILED);
    check_usage(&whole.seen.usage);
    check_written(way, &whole, &first);
    buffer_done(&first.text);
    buffer_done(&whole.out);
    buffer_done(&cut.out);
}

/* --------------------------------------------------------------------------------- the input */

static void frame_aws(struct text line, struct buffer *frames)
{
    size_t space = text_find_byte(line, ' ');
    struct text name = text_head(line, space);
    struct text json = text_from(line, space == SIZE_MAX ? line.len : space + 1);
    bool exception = text_ends(name, TEXT("xception"));
    if (name.len < 60)
        frame_put_aws(frames, exception ? TEXT("exception") : TEXT("event"), name, json);
}

/* Lines as frames: "NAME JSON" where frames have a name. */
static void make_frames(enum framing framing, struct text lines, struct buffer *frames)
{
    struct text line;
    while (lines.len && text_next(&lines, '\n', &line)) {
        if (framing == FRAMING_AWS) {
            frame_aws(line, frames);
        } else {
            buffer_append_text(frames, framing == FRAMING_SSE ? TEXT("data: ") : TEXT(""));
            buffer_append_text(frames, line);
            buffer_append_text(frames, framing == FRAMING_SSE ? TEXT("\n\n") : TEXT("\n"));
        }
    }
}

/* Again and again, so that the bounds of an answer are met. */
static void repeat(struct buffer *frames, bool often)
{
    size_t len = buffer_length(frames);
    char *once = memory_string(buffer_text(frames));
    for (size_t i = 0; often && i < CHAT_PARTS_MAX + 10 && len * i < REPEATED_MAX; i++)
        buffer_append(frames, once, len);
    memory_free(once);
}

static void check_error(const struct translator *from, unsigned status, struct text body)
{
    struct provider_error error = {.kind = FAULT_NONE};
    translate_error(from, status, body, &error);
    assert(error.kind != FAULT_NONE && error.retry_ms >= 0);
    assert(memchr(error.message, 0, sizeof(error.message)));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 4 || len > INPUT_MAX)
        return 0;
    struct text rest = {(const char *)bytes + 4, len - 4};
    const struct translator *from = choose(bytes[0]), *to = choose_for(from, bytes[1]);
    struct answer_way way = {.from = from,
                             .to = to,
                             .id = TEXT("0a"),
                             .model = TEXT("m\\"),
                             .now_s = 1700000000,
                             .stream_in = streams(from) && bytes[2] % 4 != 2,
                             .stream_out = streams(to) && bytes[3] & 1,
                             .wants_usage = bytes[3] & 2,
                             .call = TEXT("{}")};
    struct buffer frames;
    way.array_out = way.stream_out && bytes[3] & 4 && text_equal(to->dialect, TEXT("gemini"));
    if (bytes[2] % 4 == 0) {
        check_call(from, to, bytes[3], rest);
        return 0;
    }
    check_error(from, 400 + bytes[3], rest);
    buffer_init(&frames, OUT_MAX);
    if (bytes[2] % 4 == 3 && way.stream_in) {
        make_frames(from->framing, rest, &frames);
        repeat(&frames, bytes[2] & 0x80);
        rest = buffer_text(&frames);
    }
    check_answer(&way, rest, 1 + (bytes[3] >> 3) * 3U);
    buffer_done(&frames);
    return 0;
}
