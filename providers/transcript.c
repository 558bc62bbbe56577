/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/transcript.h"

#include <string.h>

#include "providers/translator.h"

enum {
    PARTS_MAX = 256,       /* of an answer */
    MESSAGE_BYTES = 64,    /* of a message or a part, beside what it says */
    PENDING_MAX = 1 << 20, /* of an answer in one piece: a longer one is not read */
};

/* --------------------------------------------------------------------------------- writing */

/* What may still be said. */
struct room {
    struct buffer *out;
    size_t left;
    bool cut;
};

/* Where inside of a JSON string the next character begins. */
static size_t step(struct text inner, size_t at)
{
    unsigned char c = (unsigned char)inner.at[at];
    size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c == '\\' && at + 1 < inner.len) {
        bool is_code = inner.at[at + 1] == 'u';
        /* The two halves of a surrogate pair are one. */
        bool is_high = is_code && at + 7 < inner.len && (inner.at[at + 2] | 0x20) == 'd' &&
                       strchr("89abAB", inner.at[at + 3]) && inner.at[at + 6] == '\\';
        len = is_high ? 12 : is_code ? 6 : 2;
    }
    return len < inner.len - at ? len : inner.len - at;
}

static struct text fit(struct room *room, struct text inner)
{
    size_t at = 0;
    if (inner.len <= room->left) {
        room->left -= inner.len;
        return inner;
    }
    while (at < inner.len && at + step(inner, at) <= room->left)
        at += step(inner, at);
    room->left = 0;
    room->cut = true;
    return text_head(inner, at);
}

static void put_type(struct room *room, const char *type)
{
    put_open(room->out, NULL, '{');
    put_inner(room->out, "type", text_of(type));
    room->left -= room->left < MESSAGE_BYTES ? room->left : MESSAGE_BYTES;
}

static void put_said_text(struct room *room, const char *type, struct text inner)
{
    put_type(room, type);
    put_inner(room->out, "content", fit(room, inner.at ? inner : TEXT("")));
    put_literal(room->out, "}");
}

static const char *modality_of(enum part_kind kind)
{
    return kind == PART_IMAGE   ? "image"
           : kind == PART_AUDIO ? "audio"
           : kind == PART_VIDEO ? "video"
                                : "document";
}

/* Where it is; of what stands in the call itself, how long that is. */
static void put_media(struct room *room, const struct part *part)
{
    put_type(room, part->url.len ? "uri" : part->id.len ? "file" : "blob");
    put_inner(room->out, "modality", text_of(modality_of(part->kind)));
    if (part->media_type.len)
        put_inner(room->out, "mime_type", fit(room, part->media_type));
    if (part->url.len) {
        put_inner(room->out, "uri", fit(room, part->url));
    } else if (part->id.len) {
        put_inner(room->out, "file_id", fit(room, part->id));
    } else {
        put_inner(room->out, "content", TEXT(""));
        put_number(room->out, "bytes", (int64_t)(part->data.len / 4 * 3));
    }
    put_literal(room->out, "}");
}

static void put_call(struct room *room, const struct part *part)
{
    put_type(room, "tool_call");
    if (part->id.len)
        put_inner(room->out, "id", fit(room, part->id));
    put_inner(room->out, "name", fit(room, part->name.at ? part->name : TEXT("")));
    if (part->arguments.len <= room->left) {
        put_json(room->out, "arguments", part->arguments);
        room->left -= part->arguments.len;
    } else {
        room->cut = true;
    }
    put_literal(room->out, "}");
}

/* The texts of it, one behind the other. */
static void put_result(struct room *room, const struct part *part)
{
    put_type(room, "tool_call_response");
    if (part->id.len)
        put_inner(room->out, "id", fit(room, part->id));
    put_literal(room->out, ",\"response\":\"");
    for (size_t i = 0; i < part->part_count; i++)
        if (part->parts[i].kind == PART_TEXT)
            put_text(room->out, fit(room, part->parts[i].text));
    put_literal(room->out, "\"}");
}

static void put_part(struct room *room, const struct part *part)
{
    switch (part->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
        put_said_text(room, "text", part->text);
        break;
    case PART_REASONING:
        if (part->text.len)
            put_said_text(room, "reasoning", part->text);
        break;
    case PART_CALL:
        put_call(room, part);
        break;
    case PART_RESULT:
        put_result(room, part);
        break;
    case PART_FILE:
        if (part->text.len) {
            put_said_text(room, "text", part->text);
            break;
        }
        put_media(room, part);
        break;
    case PART_IMAGE:
    case PART_AUDIO:
    case PART_VIDEO:
        put_media(room, part);
        break;
    case PART_RAW: /* of its own dialect only */
        break;
    }
}

/* ------------------------------------------------------------------------------------ the call */

static const char *role_of(const struct message *message)
{
    bool is_result = message->part_count > 0;
    for (size_t i = 0; i < message->part_count; i++)
        is_result = is_result && message->parts[i].kind == PART_RESULT;
    if (is_result)
        return "tool";
    switch (message->role) {
    case ROLE_SYSTEM:
    case ROLE_DEVELOPER:
        return "system";
    case ROLE_USER:
        return "user";
    case ROLE_TOOL:
        return "tool";
    case ROLE_ASSISTANT:
    default:
        return "assistant";
    }
}

static bool is_system(const struct message *message)
{
    return message->role == ROLE_SYSTEM || message->role == ROLE_DEVELOPER;
}

/* Of OpenAI's chat completions they are messages like others. */
static bool has_system_apart(const struct chat *chat)
{
    const struct translator *words = chat->from;
    return !text_equal(words->dialect, TEXT("openai")) || words->operation == OPERATION_RESPONSE;
}

static size_t size_of(const struct part *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += MESSAGE_BYTES + parts[i].id.len + parts[i].name.len + parts[i].text.len +
                parts[i].arguments.len + size_of(parts[i].parts, parts[i].part_count);
    return size;
}

/* The first of those at the end that have room together; the last one always. */
static size_t first_that_fits(const struct chat *chat, size_t begin, size_t max)
{
    size_t first = chat->message_count, size = 0;
    while (first > begin) {
        const struct message *message = &chat->messages[first - 1];
        size += MESSAGE_BYTES + size_of(message->parts, message->part_count);
        if (size > max && first < chat->message_count)
            break;
        first--;
    }
    return first;
}

static void put_message(struct room *room, const struct message *message)
{
    put_open(room->out, NULL, '{');
    put_inner(room->out, "role", text_of(role_of(message)));
    if (message->name.len)
        put_inner(room->out, "name", fit(room, message->name));
    put_open(room->out, "parts", '[');
    for (size_t i = 0; i < message->part_count; i++) {
        room->cut = room->cut || room->left == 0;
        if (room->left > 0)
            put_part(room, &message->parts[i]);
    }
    put_literal(room->out, "]}");
}

static struct room room_begin(struct buffer *out, size_t max)
{
    buffer_init(out, 8 * max + 65536); /* names beside each of the parts */
    put_literal(out, "[");
    return (struct room){.out = out, .left = max};
}

static struct text room_end(struct arena *arena, struct room *room, struct transcript_call *made)
{
    put_literal(room->out, "]");
    struct text text = buffer_text(room->out);
    bool is_whole = !room->out->overrun && text.len > 2;
    made->cut = made->cut || room->cut || room->out->overrun;
    text = is_whole ? arena_copy(arena, text) : (struct text){"", 0};
    buffer_done(room->out);
    return text;
}

static void put_tool(struct room *room, const struct tool *tool)
{
    size_t size = tool->name.len + tool->description.len + tool->schema.len + MESSAGE_BYTES;
    if (size > room->left) {
        room->cut = true;
        return;
    }
    room->left -= size;
    put_open(room->out, NULL, '{');
    put_inner(room->out, "type", tool->kind == TOOL_FUNCTION ? TEXT("function") : tool->name);
    put_inner(room->out, "name", tool->name);
    if (tool->description.len)
        put_inner(room->out, "description", tool->description);
    if (tool->schema.len)
        put_json(room->out, "parameters", tool->schema);
    put_literal(room->out, "}");
}

void transcript_of_call(struct arena *arena, const struct chat *chat, size_t max,
                        struct transcript_call *made)
{
    struct buffer out;
    size_t begin = 0;
    *made = (struct transcript_call){0};
    struct room room = room_begin(&out, max);
    if (has_system_apart(chat))
        for (; begin < chat->message_count && is_system(&chat->messages[begin]); begin++)
            for (size_t i = 0; i < chat->messages[begin].part_count; i++)
                put_part(&room, &chat->messages[begin].parts[i]);
    made->system = room_end(arena, &room, made);
    room = room_begin(&out, max);
    size_t first = first_that_fits(chat, begin, max);
    room.cut = first > begin;
    for (size_t i = first; i < chat->message_count; i++)
        put_message(&room, &chat->messages[i]);
    made->messages = room_end(arena, &room, made);
    room = room_begin(&out, max);
    for (size_t i = 0; i < chat->tool_count; i++)
        put_tool(&room, &chat->tools[i]);
    made->tools = room_end(arena, &room, made);
}

/* ---------------------------------------------------------------------------------- the answer */

struct said_part {
    unsigned choice, number;
    struct part part; /* <text> is made of that when all is said */
    struct buffer text;
    size_t data_bytes;
    bool cut;
};

struct finished {
    enum finish finish;
    bool said;
};

struct transcript {
    struct translation *translation;
    struct answer seen;
    struct buffer out; /* of the translation, which has nothing to write */
    size_t left, bytes;
    bool stream, over;
};

/* What is said, as the translation's writer. */
struct listener {
    struct writer_state base;
    struct said_part *parts;
    size_t count, room, left;
    struct finished choices[CHAT_CHOICES_MAX];
    unsigned choice_count;
    bool cut;
};

static struct said_part *find_part(struct listener *listener, const struct answer_event *event)
{
    for (size_t i = listener->count; i-- > 0;)
        if (listener->parts[i].choice == event->choice && listener->parts[i].number == event->part)
            return &listener->parts[i];
    return NULL;
}

static struct text take_text(struct listener *listener, struct text inner)
{
    struct room room = {.left = listener->left};
    struct text fitting = fit(&room, inner);
    listener->left = room.left;
    listener->cut = listener->cut || room.cut;
    return fitting.len ? arena_copy(&listener->base.arena, fitting) : (struct text){"", 0};
}

static void begin_part(struct listener *listener, const struct answer_event *event)
{
    if (listener->count == PARTS_MAX || listener->left < MESSAGE_BYTES) {
        listener->cut = true;
        return;
    }
    listener->left -= MESSAGE_BYTES;
    listener->parts = arena_grow(&listener->base.arena, listener->parts, listener->count,
                                 &listener->room, sizeof(*listener->parts));
    struct said_part *part = &listener->parts[listener->count++];
    *part = (struct said_part){.choice = event->choice, .number = event->part};
    part->part = (struct part){.kind = event->part_kind,
                               .id = take_text(listener, event->id),
                               .name = take_text(listener, event->name),
                               .media_type = take_text(listener, event->media_type)};
    buffer_init(&part->text, listener->left);
}

static void add_text(struct listener *listener, const struct answer_event *event)
{
    struct said_part *part = find_part(listener, event);
    struct room room = {.left = listener->left};
    if (!part || part->cut) /* nothing behind what is missing */
        return;
    struct text fitting = fit(&room, event->text);
    buffer_append_text(&part->text, fitting);
    listener->left = room.left;
    part->cut = room.cut;
    listener->cut = listener->cut || room.cut;
}

static void listen(void *state, const struct answer_event *event, struct buffer *out)
{
    struct listener *listener = state;
    struct said_part *part;
    (void)out;
    switch (event->kind) {
    case ANSWER_PART:
        begin_part(listener, event);
        break;
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
        add_text(listener, event);
        break;
    case ANSWER_DATA:
        part = find_part(listener, event);
        if (part)
            part->data_bytes += event->text.len;
        break;
    case ANSWER_FINISH:
        if (event->choice < CHAT_CHOICES_MAX)
            listener->choices[event->choice] = (struct finished){event->finish, true};
        break;
    case ANSWER_BEGIN:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_CITATION:
    case ANSWER_RAW:
    case ANSWER_PART_END:
    case ANSWER_LOGPROBS:
    case ANSWER_USAGE:
    case ANSWER_FIELD:
    case ANSWER_FAIL:
    case ANSWER_END:
        break;
    }
    if (event->choice < CHAT_CHOICES_MAX && event->choice >= listener->choice_count)
        listener->choice_count = event->choice + 1;
}

static const struct translator translator_transcript = {
    .name = {"transcript", 10},
    .writer_bytes = sizeof(struct listener),
    .write_event = listen,
};

struct transcript *transcript_new(const struct translator *words, bool stream, size_t max)
{
    struct transcript *transcript = memory_new(sizeof(*transcript));
    struct answer_way way = {.from = words,
                             .to = &translator_transcript,
                             .id = TEXT("transcript"),
                             .model = TEXT(""),
                             .stream_in = stream,
                             .stream_out = true};
    transcript->stream = stream;
    transcript->seen.operation = words->operation;
    transcript->translation = translation_new(&way, &transcript->seen);
    ((struct listener *)translation_writer(transcript->translation))->left = max;
    buffer_init(&transcript->out, PENDING_MAX);
    return transcript;
}

void transcript_feed(struct transcript *transcript, struct text piece)
{
    if (!transcript || transcript->over || piece.len == 0)
        return;
    struct listener *listener = translation_writer(transcript->translation);
    transcript->bytes += piece.len;
    bool too_long = !transcript->stream && transcript->bytes > PENDING_MAX;
    if (listener->left == 0 || too_long) {
        listener->cut = transcript->over = true;
        return;
    }
    transcript->over =
        translation_feed(transcript->translation, piece, &transcript->out) != TRANSLATION_GOES;
    buffer_clear(&transcript->out);
}

static struct text reason_of(const struct finished *finished)
{
    if (!finished->said)
        return TEXT("error"); /* it broke off */
    switch (finished->finish) {
    case FINISH_LENGTH:
        return TEXT("length");
    case FINISH_CALLS:
    case FINISH_PAUSE:
        return TEXT("tool_call");
    case FINISH_FILTER:
    case FINISH_REFUSAL:
        return TEXT("content_filter");
    case FINISH_ERROR:
        return TEXT("error");
    case FINISH_NONE:
    case FINISH_STOP:
    case FINISH_SEQUENCE:
    default:
        return TEXT("stop");
    }
}

/* A call's arguments that were cut are no JSON any more: they are left out. */
static void finish_part(struct listener *listener, struct said_part *said, struct room *room)
{
    struct text text = buffer_text(&said->text);
    if (said->part.kind == PART_CALL && !said->cut)
        said->part.arguments = object_of_inner(&listener->base.arena, text);
    else if (said->part.kind == PART_CALL)
        said->part.arguments = TEXT("{}");
    else
        said->part.text = text;
    said->part.data.len = said->data_bytes;
    put_part(room, &said->part);
}

void transcript_write(struct transcript *transcript, struct buffer *out, bool *cut)
{
    struct listener *listener = translation_writer(transcript->translation);
    struct room room = {.out = out, .left = SIZE_MAX / 2}; /* it was bounded as it came */
    if (!transcript->over)
        translation_close(transcript->translation, &transcript->out);
    transcript->over = true;
    *cut = listener->cut;
    if (listener->count == 0)
        return;
    put_literal(out, "[");
    for (unsigned choice = 0; choice < listener->choice_count; choice++) {
        put_open(out, NULL, '{');
        put_inner(out, "role", TEXT("assistant"));
        put_open(out, "parts", '[');
        for (size_t i = 0; i < listener->count; i++)
            if (listener->parts[i].choice == choice)
                finish_part(listener, &listener->parts[i], &room);
        put_literal(out, "]");
        put_inner(out, "finish_reason", reason_of(&listener->choices[choice]));
        put_literal(out, "}");
    }
    put_literal(out, "]");
}

void transcript_free(struct transcript *transcript)
{
    if (!transcript)
        return;
    struct listener *listener = translation_writer(transcript->translation);
    for (size_t i = 0; i < listener->count; i++)
        buffer_done(&listener->parts[i].text);
    translation_free(transcript->translation);
    buffer_done(&transcript->out);
    memory_free(transcript);
}
