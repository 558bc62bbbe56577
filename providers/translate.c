/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/translate.h"

#include <string.h>

#include "providers/anthropic.h"
#include "providers/bedrock.h"
#include "providers/translator.h"

enum {
    HEADERS_MAX_BYTES = 4 << 10,
    ARENA_BLOCK = 4096,
};

/* ------------------------------------------------------------------------------ the words */

const struct translator *translator_find(struct text dialect, enum operation operation)
{
    const struct translator *one;
    for (size_t i = 0; (one = translator_at(i)) != NULL; i++)
        if (one->operation == operation && text_equal(one->dialect, dialect))
            return one;
    return NULL;
}

struct text translator_name(const struct translator *translator)
{
    return translator->name;
}

struct text translator_stream_type(const struct translator *translator)
{
    return translator->stream_type;
}

void translate_path(const struct translator *words, const struct call_target *target,
                    struct buffer *out)
{
    words->write_path(target, out);
}

void translate_error(const struct translator *words, unsigned status, struct text body,
                     struct provider_error *error)
{
    words->read_error(status, body, error);
}

struct text translate_keep_call(struct arena *arena, const struct translator *words,
                                struct text call)
{
    enum operation operation = words->operation;
    if (words->keep_call)
        return words->keep_call(arena, call);
    bool repeats = operation == OPERATION_RESPONSE || operation == OPERATION_EMBEDDING ||
                   operation == OPERATION_RERANK;
    return repeats ? arena_copy(arena, call) : (struct text){"", 0};
}

enum operation translator_operation(const struct translator *translator)
{
    return translator->operation;
}

bool translator_is_bare(const struct translator *translator)
{
    return translator->is_bare;
}

/* ------------------------------------------------------------------------------- the call */

const struct chat *translate_read(struct arena *arena, const struct translator *words,
                                  struct text body, struct text model, bool stream,
                                  struct fault *fault)
{
    struct call_source source = {.body = body, .model = model, .stream = stream};
    struct chat *chat = arena_new(arena, sizeof(*chat));
    chat->from = chat->read_by = words;
    chat->body = body;
    return words->read_call(arena, &source, chat, fault) ? chat : NULL;
}

/* Does one of them carry the other's words? */
static bool is_carried(const struct translator *one, const struct translator *other)
{
    return other && (one->carries == other || other->carries == one);
}

const struct translator *translate_nearest(const struct chat *chat, const struct translator *to,
                                           struct text model)
{
    bool carries = to == &translator_bedrock && chat->from == &translator_anthropic;
    return carries && bedrock_invoke_takes(chat, model) ? &translator_bedrock_invoke : to;
}

static int64_t count_images(const struct part *parts, size_t count)
{
    int64_t images = 0;
    for (size_t i = 0; i < count; i++) {
        images += parts[i].kind == PART_IMAGE;
        for (size_t j = 0; j < parts[i].part_count; j++) /* of a tool's result */
            images += parts[i].parts[j].kind == PART_IMAGE;
    }
    return images;
}

struct call_sizes translate_sizes(const struct chat *chat)
{
    struct call_sizes sizes = {.tools = (int64_t)chat->tool_count};
    for (size_t i = 0; i < chat->message_count; i++)
        sizes.images += count_images(chat->messages[i].parts, chat->messages[i].part_count);
    return sizes;
}

/* What a writer needs for itself goes when it is done: there may be many targets to write for. */
bool translate_write(struct arena *arena, const struct chat *chat, const struct translator *to,
                     const struct call_target *target, struct buffer *body,
                     struct translated_call *made)
{
    struct arena own;
    struct buffer path, headers;
    struct losses *losses = memory_new(sizeof(*losses));
    arena_init(&own, ARENA_BLOCK);
    buffer_init(&path, TRANSLATED_PATH_MAX);
    buffer_init(&headers, HEADERS_MAX_BYTES);
    buffer_clear(body);
    buffer_append_text(&headers, to->headers);
    if (to->carry_call && is_carried(to, chat->read_by))
        to->carry_call(chat, target, body, &headers, losses);
    else {
        to->write_call(&own, chat, target, body, losses);
        loss_more(losses, chat, to);
    }
    to->write_path(target, &path);
    made->path = arena_copy(arena, buffer_text(&path));
    made->headers = arena_copy(arena, buffer_text(&headers));
    made->demands = arena_copy(arena, (struct text){losses->demands, losses->demand_len});
    made->hints = arena_copy(arena, (struct text){losses->hints, losses->hint_len});
    bool fits = !body->overrun && !path.overrun && !headers.overrun;
    buffer_done(&path);
    buffer_done(&headers);
    arena_done(&own);
    memory_free(losses);
    return fits;
}

/* NOLINTNEXTLINE(readability-function-size): nine parameters, by contract: both steps in one */
bool translate_call(struct arena *arena, const struct translator *from, const struct translator *to,
                    struct text body, struct text model, bool stream,
                    const struct call_target *target, struct translated_call *made,
                    struct fault *fault)
{
    const struct chat *chat = translate_read(arena, from, body, model, stream, fault);
    struct buffer out;
    if (!chat)
        return false;
    buffer_init(&out, SIZE_MAX / 2);
    bool fits = translate_write(arena, chat, to, target, &out, made);
    if (fits)
        made->body = arena_copy(arena, buffer_text(&out));
    else
        fault_set(fault, FAULT_TOO_LARGE, "The call is too long in the target's words.");
    buffer_done(&out);
    return fits;
}

void translate_put_count(const struct translator *words, int64_t tokens, struct buffer *out)
{
    struct whole_answer whole = {.usage = {.input_tokens = tokens}, .has_usage = true};
    struct answer_way way = {.from = words, .to = words};
    struct arena arena;
    arena_init(&arena, ARENA_BLOCK);
    words->write_whole(&way, &arena, &whole, out);
    arena_done(&arena);
}

/* ----------------------------------------------------------------------------- the answer */

struct translation {
    struct answer_sink sink; /* first: the readers' events come here */
    struct answer_way way;
    struct answer *seen;
    enum translation_state state;
    struct fault fault;
    void *reader, *writer;
    struct buffer
        pending; /* of the target's answer: what is no whole frame yet, or all of a body */
    struct buffer scratch;
    size_t looked; /* so much of <pending> has no end of a frame in it */
    struct arena arena;
    struct gathering gather;
    struct buffer *out;
    size_t end_at;
    bool finished, usage_said;
    bool carries; /* its events go as they are */
};

static void note_reason(struct answer *seen, const struct answer_event *event)
{
    static const struct text words[] = {
        [FINISH_NONE] = {"", 0},
        [FINISH_STOP] = {"stop", 4},
        [FINISH_SEQUENCE] = {"stop", 4},
        [FINISH_LENGTH] = {"length", 6},
        [FINISH_CALLS] = {"tool_calls", 10},
        [FINISH_FILTER] = {"content_filter", 14},
        [FINISH_REFUSAL] = {"refusal", 7},
        [FINISH_PAUSE] = {"pause", 5},
        [FINISH_ERROR] = {"error", 5},
    };
    struct text word = event->name.len ? event->name : words[event->finish];
    word = text_head(word, sizeof(seen->finish) - 1);
    memcpy(seen->finish, word.at, word.len);
    seen->finish[word.len] = '\0';
}

/* What is seen of it is what its own dialect's watch would have seen. */
static void note(struct translation *t, const struct answer_event *event)
{
    struct answer *seen = t->seen;
    switch (event->kind) {
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
        seen->events += event->text.len > 0;
        seen->content_bytes += (int64_t)event->text.len;
        break;
    case ANSWER_USAGE:
        /* What is said before the end is what was used so far. */
        seen->usage = *event->usage;
        seen->usage_seen = t->finished;
        t->usage_said = true;
        break;
    case ANSWER_FINISH:
        t->finished = true;
        note_reason(seen, event);
        break;
    case ANSWER_END:
        seen->ended = true;
        seen->usage_seen = t->usage_said;
        break;
    case ANSWER_FAIL:
        seen->failed = true;
        break;
    case ANSWER_BEGIN:
    case ANSWER_PART:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_CITATION:
    case ANSWER_RAW:
    case ANSWER_PART_END:
    case ANSWER_LOGPROBS:
    case ANSWER_FIELD:
        break;
    }
}

static void fail(struct translation *t, enum fault_kind kind, struct text words)
{
    t->state = TRANSLATION_FAILED;
    fault_set(&t->fault, kind, "%.*s", TEXT_ARGS(text_head(words, 200)));
}

static void end_whole(struct translation *t)
{
    if (t->gather.too_long)
        fail(t, FAULT_TARGET_INVALID, TEXT("The target's answer is too long."));
    else
        t->way.to->write_whole(&t->way, &t->arena, &t->gather.whole, t->out);
}

static void take(struct answer_sink *sink, const struct answer_event *event)
{
    struct translation *t = (struct translation *)sink;
    if (t->state != TRANSLATION_GOES)
        return;
    note(t, event);
    if (event->kind == ANSWER_FAIL) {
        fail(t, event->fault, inner_plain(&t->arena, event->text));
        return;
    }
    if (event->kind == ANSWER_END) {
        t->end_at = buffer_length(t->out);
        t->state = TRANSLATION_ENDED;
    }
    if (t->carries)
        return;
    if (t->way.stream_out)
        t->way.to->write_event(t->writer, event, t->out);
    else
        t->gather.sink.take(&t->gather.sink, event);
    if (event->kind == ANSWER_END && !t->way.stream_out)
        end_whole(t);
}

static void *state_new(size_t bytes, const struct answer_way *way)
{
    struct reader_state *state = memory_new(bytes); /* a writer's begins in the same way */
    arena_init(&state->arena, ARENA_BLOCK);
    state->way = way;
    return state;
}

static void state_free(void *state)
{
    arena_done(&((struct reader_state *)state)->arena);
    memory_free(state);
}

struct translation *translation_new(const struct answer_way *way, struct answer *seen)
{
    struct translation *t = memory_new(sizeof(*t));
    t->sink.take = take;
    t->way = *way;
    t->seen = seen;
    t->carries = way->stream_in == way->stream_out && is_carried(way->from, way->to);
    t->reader = state_new(way->from->reader_bytes, &t->way);
    t->writer = state_new(way->to->writer_bytes, &t->way);
    buffer_init(&t->pending, way->stream_in ? FRAME_MAX : TRANSLATED_ANSWER_MAX);
    buffer_init(&t->scratch, 3 * (size_t)FRAME_MAX);
    arena_init(&t->arena, ARENA_BLOCK);
    gathering_begin(&t->gather, &t->arena, way->from, TRANSLATED_ANSWER_MAX);
    return t;
}

void translation_free(struct translation *t)
{
    if (!t)
        return;
    gathering_done(&t->gather);
    arena_done(&t->arena);
    buffer_done(&t->pending);
    buffer_done(&t->scratch);
    state_free(t->reader);
    state_free(t->writer);
    memory_free(t);
}

void *translation_writer(struct translation *t)
{
    return t->writer;
}

/* The event of a frame goes on as it came, once it was seen what it says. */
static void carry(struct translation *t, const struct frame *frame)
{
    const struct translator *from = t->way.from;
    bool was_going = t->state == TRANSLATION_GOES;
    from->read_frame(t->reader, frame, &t->sink);
    struct text json = from->carried ? from->carried(t->reader) : frame->data;
    if (was_going && t->state != TRANSLATION_FAILED && json.len && json.at[0] == '{')
        t->way.to->put_carried(t->writer, json, &t->seen->usage, t->out);
}

/* Nothing said that it is the end: it is said here. */
static void carry_end(struct translation *t)
{
    static const struct text stop = {"{\"type\":\"message_stop\"}", 23};
    if (t->carries && t->way.stream_out && t->state == TRANSLATION_ENDED)
        t->way.to->put_carried(t->writer, stop, &t->seen->usage, t->out);
}

/* Read the frames at the front of <bytes>; what is left of it is no whole one. */
static void read_frames(struct translation *t, struct text *bytes, bool last)
{
    struct frame frame;
    size_t seen = t->looked;
    while (t->state == TRANSLATION_GOES) {
        enum frame_result result =
            frame_next(t->way.from->framing, bytes, seen, last, &t->scratch, &frame);
        seen = 0;
        if (result == FRAME_MORE)
            break;
        if (result == FRAME_HERE && t->carries)
            carry(t, &frame);
        else if (result == FRAME_HERE)
            t->way.from->read_frame(t->reader, &frame, &t->sink);
        else
            fail(t, FAULT_TARGET_INVALID, TEXT("The target's stream is broken."));
    }
    t->looked = bytes->len;
}

static void feed_stream(struct translation *t, struct text piece)
{
    bool stored = buffer_length(&t->pending) > 0;
    struct text bytes = piece;
    if (stored) {
        if (!buffer_append_text(&t->pending, piece)) {
            fail(t, FAULT_TARGET_INVALID, TEXT("An event of the target's stream is too long."));
            return;
        }
        bytes = buffer_text(&t->pending);
    } else {
        t->looked = 0;
    }
    size_t before = bytes.len;
    read_frames(t, &bytes, false);
    if (stored)
        buffer_drop(&t->pending, before - bytes.len);
    else if (t->state == TRANSLATION_GOES && !buffer_append_text(&t->pending, bytes))
        fail(t, FAULT_TARGET_INVALID, TEXT("An event of the target's stream is too long."));
}

/* What has no room is missing in the middle: nothing of <out> may be used. */
static void check_room(struct translation *t)
{
    if (!t->out->overrun || t->state == TRANSLATION_FAILED)
        return;
    t->seen->ended = false;
    fail(t, FAULT_TARGET_INVALID, TEXT("The target's answer is too long in the client's words."));
}

enum translation_state translation_feed(struct translation *t, struct text piece,
                                        struct buffer *out)
{
    t->out = out;
    t->end_at = SIZE_MAX;
    if (t->state != TRANSLATION_GOES)
        return t->state;
    if (t->way.stream_in)
        feed_stream(t, piece);
    else if (!buffer_append_text(&t->pending, piece))
        fail(t, FAULT_TARGET_INVALID, TEXT("The target's answer is too long."));
    check_room(t);
    return t->state;
}

enum translation_state translation_close(struct translation *t, struct buffer *out)
{
    t->out = out;
    t->end_at = SIZE_MAX;
    if (t->state != TRANSLATION_GOES)
        return t->state;
    struct text bytes = buffer_text(&t->pending);
    if (t->way.stream_in)
        read_frames(t, &bytes, true);
    else
        t->way.from->read_body(t->reader, bytes, &t->sink);
    if (!t->way.stream_in && t->carries && t->state == TRANSLATION_ENDED)
        buffer_append_text(out, bytes);
    if (t->way.stream_in && t->state == TRANSLATION_GOES) {
        t->way.from->read_end(t->reader, &t->sink);
        carry_end(t);
    }
    if (t->state == TRANSLATION_GOES)
        fail(t, FAULT_TARGET_CUT, TEXT("The target's answer ended before it was finished."));
    check_room(t);
    return t->state;
}

enum translation_state translation_rest(struct translation *t, bool usage, struct buffer *out)
{
    t->out = out;
    t->end_at = SIZE_MAX;
    if (t->state != TRANSLATION_GOES || !t->way.stream_in || buffer_length(&t->pending) ||
        (usage && !t->usage_said))
        return t->state;
    t->way.from->read_end(t->reader, &t->sink);
    carry_end(t);
    check_room(t);
    return t->state;
}

size_t translation_end_at(const struct translation *t)
{
    size_t length = t->out ? buffer_length(t->out) : 0;
    return t->end_at < length ? t->end_at : length;
}

bool translation_say_failure(struct translation *t, const struct fault *fault, struct buffer *out)
{
    const struct translator *to = t->way.to;
    if (!t->way.stream_out || !to->says_failure || t->state == TRANSLATION_ENDED)
        return false;
    struct answer_event event = {.kind = ANSWER_FAIL,
                                 .fault = fault->kind,
                                 .text = inner_of(&t->arena, text_of(fault->text))};
    to->write_event(t->writer, &event, out);
    return true;
}

const struct fault *translation_fault(const struct translation *t)
{
    return &t->fault;
}

bool translate_form(const struct answer_way *way, struct text answer, struct buffer *out)
{
    struct answer seen = {.operation = way->to->operation};
    struct translation *t = translation_new(way, &seen);
    translation_feed(t, answer, out);
    bool good = translation_close(t, out) == TRANSLATION_ENDED;
    translation_free(t);
    return good;
}
