/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: an answer is written as a stream of chunks, of chats and of completions.
 */
#include "gateway/base/member.h"
#include "providers/openai_chat.h"

enum {
    FIELD_MAX = 64 << 10, /* of a value that is repeated in each chunk */
    FIELDS_MAX = 16,
    HEADS_MAX = 256, /* how often a field may change what all chunks begin with */
    HEAD_MAX = 2 << 20,
};

/* --------------------------------------------------------------------------------------- chunks */

static void begin_chunk(struct openai_writer *w, unsigned choice)
{
    put_text(w->out, w->head);
    buffer_append_number(w->out, choice);
}

static void end_chunk(struct openai_writer *w, struct text logprobs, struct text finish)
{
    put_literal(w->out, ",\"logprobs\":");
    if (logprobs.at) {
        put_literal(w->out, "{\"content\":");
        openai_put_line(w->out, logprobs);
        put_literal(w->out, ",\"refusal\":null}");
    } else {
        put_literal(w->out, "null");
    }
    put_json(w->out, "finish_reason", finish.at ? finish : TEXT("null"));
    put_literal(w->out, w->base.way->wants_usage ? "}],\"usage\":null}\n\n" : "}]}\n\n");
}

static void end_plain(struct openai_writer *w)
{
    end_chunk(w, (struct text){NULL, 0}, (struct text){NULL, 0});
}

static struct written_choice *choice_of(struct openai_writer *w, unsigned number)
{
    if (number >= CHAT_CHOICES_MAX)
        return NULL;
    while (w->choice_count <= number) {
        w->choices = arena_grow(&w->base.arena, w->choices, w->choice_count, &w->choice_room,
                                sizeof(*w->choices));
        w->choices[w->choice_count++] = (struct written_choice){.has_role = false};
    }
    return &w->choices[number];
}

/* The delta's begin; the first of a choice says who speaks. <null>: and that it says nothing. */
static void begin_delta(struct openai_writer *w, unsigned number, bool null)
{
    struct written_choice *choice = choice_of(w, number);
    begin_chunk(w, number);
    put_literal(w->out, ",\"delta\":{");
    if (choice->has_role)
        return;
    choice->has_role = true;
    put_literal(w->out, "\"role\":\"assistant\"");
    if (null)
        put_literal(w->out, ",\"content\":null");
}

static void end_delta(struct openai_writer *w)
{
    put_literal(w->out, "}");
    end_plain(w);
}

static void write_string(struct openai_writer *w, unsigned choice, const char *name,
                         struct text inner)
{
    begin_delta(w, choice, name[0] != 'c');
    openai_open_string(w->out, name);
    put_text(w->out, inner);
    put_literal(w->out, "\"");
    end_delta(w);
}

static void write_completion(struct openai_writer *w, unsigned choice, struct text inner)
{
    begin_chunk(w, choice);
    put_literal(w->out, ",\"text\":\"");
    put_text(w->out, inner);
    put_literal(w->out, "\"");
    end_plain(w);
}

/* ---------------------------------------------------------------------------------- the parts */

static struct written_part *part_of(struct openai_writer *w, const struct answer_event *event)
{
    struct written_choice *choice = choice_of(w, event->choice);
    return choice && event->part < choice->part_count ? &choice->parts[event->part] : NULL;
}

/* One item of the calls, up to its number. */
static void put_call(struct openai_writer *w, const struct written_part *part)
{
    put_open(w->out, "tool_calls", '[');
    put_literal(w->out, "{\"index\":");
    buffer_append_number(w->out, part->place);
}

static void begin_call(struct openai_writer *w, const struct answer_event *event,
                       const struct written_part *part)
{
    begin_delta(w, event->choice, true);
    if (w->legacy) {
        put_open(w->out, "function_call", '{');
        put_inner(w->out, "name", event->name);
        put_literal(w->out, ",\"arguments\":\"\"}");
    } else {
        put_call(w, part);
        if (event->id.len) {
            put_inner(w->out, "id", event->id);
        } else {
            openai_open_string(w->out, "id");
            buffer_format(w->out, "call_%.*s_%u\"", TEXT_ARGS(w->base.way->id), event->part);
        }
        put_literal(w->out, part->is_custom ? ",\"type\":\"custom\",\"custom\":{"
                                            : ",\"type\":\"function\",\"function\":{");
        put_inner(w->out, "name", event->name.at ? event->name : TEXT(""));
        put_literal(w->out, part->is_custom ? ",\"input\":\"\"}}]" : ",\"arguments\":\"\"}}]");
    }
    end_delta(w);
}

/* What is held of a part until it is whole; of all parts no more than an answer may have. */
static void hold(struct openai_writer *w, struct written_part *part, struct text more)
{
    w->held += more.len;
    if (w->held > TRANSLATED_ANSWER_MAX)
        w->out->overrun = true;
    else
        rope_add(&part->held, &w->base.arena, more);
}

/* Free text is known when its one argument is whole; what has not that one is given as it is. */
static void write_input(struct openai_writer *w, const struct answer_event *event,
                        const struct written_part *part)
{
    struct text whole = rope_text(&part->held, &w->base.arena);
    struct text object = object_of_inner(&w->base.arena, whole);
    struct text input = member_string(member_find(object, TEXT("input")));
    begin_delta(w, event->choice, true);
    put_call(w, part);
    put_literal(w->out, ",\"custom\":{");
    openai_open_string(w->out, "input");
    put_text(w->out, input.at ? input : whole);
    put_literal(w->out, "\"}}]");
    end_delta(w);
}

static void write_arguments(struct openai_writer *w, const struct answer_event *event,
                            struct written_part *part)
{
    if (part->is_custom) {
        hold(w, part, event->text);
        return;
    }
    if (w->legacy && part->place > 0)
        return; /* there is room for one */
    part->has_arguments = part->has_arguments || event->text.len;
    begin_delta(w, event->choice, true);
    if (w->legacy) {
        put_open(w->out, "function_call", '{');
    } else {
        put_call(w, part);
        put_literal(w->out, ",\"function\":{");
    }
    openai_open_string(w->out, "arguments");
    put_text(w->out, event->text);
    put_literal(w->out, w->legacy ? "\"}" : "\"}}]");
    end_delta(w);
}

/* None are an empty object: clients parse what they get. */
static void end_call(struct openai_writer *w, const struct answer_event *event,
                     struct written_part *part)
{
    struct answer_event none = *event;
    none.text = TEXT("{}");
    if (part->is_custom)
        write_input(w, event, part);
    else if (!part->has_arguments)
        write_arguments(w, &none, part);
}

static void begin_part(struct openai_writer *w, const struct answer_event *event)
{
    struct written_choice *choice = choice_of(w, event->choice);
    if (!choice || event->part != choice->part_count || event->part >= CHAT_PARTS_MAX)
        return;
    choice->parts = arena_grow(&w->base.arena, choice->parts, choice->part_count,
                               &choice->part_room, sizeof(*choice->parts));
    struct written_part *part = &choice->parts[choice->part_count++];
    *part = (struct written_part){.kind = event->part_kind};
    if (event->part_kind == PART_CALL) {
        part->place = choice->calls++;
        part->is_custom = openai_is_custom(w->base.way, event->name);
        if (!w->completion && !(w->legacy && part->place > 0))
            begin_call(w, event, part);
    } else if (event->part_kind == PART_REASONING) {
        part->place = choice->reasons++;
        part->id = arena_copy(&w->base.arena, event->id);
    } else if (event->part_kind == PART_IMAGE || event->part_kind == PART_AUDIO) {
        part->id = arena_copy(&w->base.arena, event->id);
        part->media_type = arena_copy(&w->base.arena, event->media_type);
    } else if (event->part_kind == PART_TEXT) {
        choice->text_begin = choice->characters;
    }
}

static void write_reasoning(struct openai_writer *w, const struct answer_event *event,
                            const struct written_part *part)
{
    begin_delta(w, event->choice, true);
    openai_open_string(w->out, "reasoning_content");
    put_text(w->out, event->text);
    put_literal(w->out, "\"");
    if (w->details) {
        struct part piece = {.kind = PART_REASONING, .text = event->text};
        put_open(w->out, "reasoning_details", '[');
        openai_put_details(w->out, w->base.way->from, &piece, part->place);
        put_literal(w->out, "]");
    }
    end_delta(w);
}

static void write_proof(struct openai_writer *w, const struct answer_event *event,
                        const struct written_part *part)
{
    struct part proof = {.kind = PART_REASONING, .id = part->id};
    if (event->kind == ANSWER_SIGNATURE)
        proof.signature = event->text;
    else
        proof.encrypted = event->text;
    begin_delta(w, event->choice, true);
    put_open(w->out, "reasoning_details", '[');
    openai_put_details(w->out, w->base.way->from, &proof, part->place);
    put_literal(w->out, "]");
    end_delta(w);
}

static void write_call_signature(struct openai_writer *w, const struct answer_event *event,
                                 const struct written_part *part)
{
    if (w->legacy)
        return;
    begin_delta(w, event->choice, true);
    put_call(w, part);
    put_literal(w->out, ",\"extra_content\":{\"google\":{\"thought_signature\":\"");
    put_text(w->out, event->text);
    put_literal(w->out, "\"}}}]");
    end_delta(w);
}

static void write_audio(struct openai_writer *w, const struct answer_event *event,
                        const struct written_part *part)
{
    begin_delta(w, event->choice, true);
    put_open(w->out, "audio", '{');
    if (part->id.len)
        put_inner(w->out, "id", part->id);
    put_inner(w->out, event->kind == ANSWER_DATA ? "data" : "transcript", event->text);
    put_literal(w->out, "}");
    end_delta(w);
}

static void write_text(struct openai_writer *w, const struct answer_event *event,
                       struct written_part *part)
{
    struct written_choice *choice = &w->choices[event->choice];
    switch (part->kind) {
    case PART_TEXT:
        choice->characters += openai_count_characters(event->text);
        if (w->completion)
            write_completion(w, event->choice, event->text);
        else
            write_string(w, event->choice, "content", event->text);
        break;
    case PART_REFUSAL:
        choice->has_refusal = true;
        if (w->completion)
            write_completion(w, event->choice, event->text);
        else
            write_string(w, event->choice, "refusal", event->text);
        break;
    case PART_REASONING:
        if (!w->completion)
            write_reasoning(w, event, part);
        break;
    case PART_AUDIO:
        if (!w->completion)
            write_audio(w, event, part);
        break;
    case PART_CALL:
    case PART_RESULT:
    case PART_IMAGE:
    case PART_VIDEO:
    case PART_FILE:
    case PART_RAW:
        break;
    }
}

static void write_image(struct openai_writer *w, const struct answer_event *event,
                        const struct written_part *part)
{
    if (!part->held.len || w->completion)
        return;
    begin_delta(w, event->choice, true);
    put_open(w->out, "images", '[');
    put_literal(w->out, "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:");
    put_text(w->out, part->media_type.len ? part->media_type : TEXT("image/png"));
    put_literal(w->out, ";base64,");
    rope_put(&part->held, w->out);
    put_literal(w->out, "\"}}]");
    end_delta(w);
}

static void write_citation(struct openai_writer *w, const struct answer_event *event)
{
    begin_delta(w, event->choice, false);
    put_open(w->out, "annotations", '[');
    openai_put_citation(w->out, event->citation, w->choices[event->choice].text_begin);
    put_literal(w->out, "]");
    end_delta(w);
}

/* A part of the family's own, in a list as Mistral sends it. */
static void write_raw(struct openai_writer *w, const struct answer_event *event)
{
    if (!openai_is_family(w->base.way->from) || w->completion)
        return;
    begin_delta(w, event->choice, false);
    put_open(w->out, "content", '[');
    openai_put_line(w->out, event->raw);
    put_literal(w->out, "]");
    end_delta(w);
}

/* ------------------------------------------------------------------------------------- the door */

static const struct text head_tail = {"[{\"index\":", 10};

/* The head of all chunks is put together once, and when a field is new. */
static void make_head(struct openai_writer *w)
{
    struct buffer head;
    buffer_init(&head, HEAD_MAX);
    put_literal(&head, "data: {");
    openai_put_head(&head, w->base.way, &w->base.arena,
                    w->completion ? "text_completion" : "chat.completion.chunk", &w->begin);
    for (size_t i = 0; i < w->field_count; i++) {
        buffer_format(&head, ",\"%.*s\":", TEXT_ARGS(w->fields[i].name));
        openai_put_line(&head, w->fields[i].value);
    }
    put_literal(&head, ",\"choices\":");
    put_text(&head, head_tail);
    w->head = arena_copy(&w->base.arena, buffer_text(&head));
    w->out->overrun |= head.overrun; /* there is no chunk without it */
    buffer_done(&head);
}

static void begin_answer(struct openai_writer *w, const struct answer_event *event)
{
    const struct answer_way *way = w->base.way;
    w->completion = way->to->operation == OPERATION_COMPLETION;
    w->details = openai_has_proofs(way->from);
    w->legacy = openai_wants_functions(way);
    w->begin = (struct answer_event){.kind = ANSWER_BEGIN,
                                     .id = arena_copy(&w->base.arena, event->id),
                                     .model = arena_copy(&w->base.arena, event->model),
                                     .created = event->created};
    make_head(w);
}

/* What only our own family knows stands in the chunks that follow. */
static void take_field(struct openai_writer *w, const struct answer_event *event)
{
    size_t i = 0;
    if (!openai_is_family(w->base.way->from) || event->raw.len > FIELD_MAX)
        return;
    while (i < w->field_count && !text_equal(w->fields[i].name, event->name))
        i++;
    if (i == FIELDS_MAX || w->heads++ == HEADS_MAX)
        return;
    w->fields[i].value = arena_copy(&w->base.arena, event->raw);
    if (i == w->field_count) {
        w->fields[i].name = arena_copy(&w->base.arena, event->name);
        w->field_count++;
    }
    make_head(w);
}

static void write_finish(struct openai_writer *w, const struct answer_event *event)
{
    struct written_choice *choice = choice_of(w, event->choice);
    if (!choice)
        return;
    struct text word = openai_finish_word(w->base.way, event->finish, event->name);
    if (event->finish == FINISH_REFUSAL && choice->has_refusal)
        word = TEXT("stop");
    if (w->legacy && event->finish == FINISH_CALLS)
        word = TEXT("function_call");
    if (w->completion && event->finish == FINISH_CALLS)
        word = TEXT("stop");
    if (w->completion) {
        begin_chunk(w, event->choice);
        put_literal(w->out, ",\"text\":\"\"");
    } else {
        begin_delta(w, event->choice, false);
        put_literal(w->out, "}");
    }
    char quoted[40];
    word = text_head(word, sizeof(quoted) - 2);
    quoted[0] = '"';
    memcpy(quoted + 1, word.at, word.len);
    quoted[word.len + 1] = '"';
    end_chunk(w, (struct text){NULL, 0}, (struct text){quoted, word.len + 2});
}

/* The chunk of usage has everything of the others but choices. */
static void write_usage(struct openai_writer *w)
{
    if (!w->base.way->wants_usage || !w->has_usage)
        return;
    put_text(w->out, text_head(w->head, w->head.len - head_tail.len));
    put_literal(w->out, "[]");
    openai_put_usage(w->out, &w->usage);
    put_literal(w->out, "}\n\n");
}

static void write_logprobs(struct openai_writer *w, const struct answer_event *event)
{
    if (w->completion || !choice_of(w, event->choice))
        return;
    begin_delta(w, event->choice, false);
    put_literal(w->out, "}");
    end_chunk(w, event->raw, (struct text){NULL, 0});
}

static void write_of_part(struct openai_writer *w, const struct answer_event *event)
{
    struct written_part *part = part_of(w, event);
    if (!part)
        return;
    if (event->kind == ANSWER_TEXT)
        write_text(w, event, part);
    else if (event->kind == ANSWER_DATA && part->kind == PART_IMAGE)
        hold(w, part, event->text);
    else if (event->kind == ANSWER_PART_END && part->kind == PART_IMAGE)
        write_image(w, event, part);
    else if (w->completion)
        return;
    else if (event->kind == ANSWER_ARGUMENTS)
        write_arguments(w, event, part);
    else if (event->kind == ANSWER_PART_END && part->kind == PART_CALL)
        end_call(w, event, part);
    else if (event->kind == ANSWER_DATA && part->kind == PART_AUDIO)
        write_audio(w, event, part);
    else if (event->kind == ANSWER_SIGNATURE && part->kind == PART_CALL)
        write_call_signature(w, event, part);
    else if (event->kind == ANSWER_ENCRYPTED ||
             (event->kind == ANSWER_SIGNATURE && part->kind == PART_REASONING))
        write_proof(w, event, part);
    else if (event->kind == ANSWER_CITATION)
        write_citation(w, event);
    else if (event->kind == ANSWER_RAW)
        write_raw(w, event);
}

void openai_chat_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct openai_writer *w = state;
    w->out = out;
    switch (event->kind) {
    case ANSWER_BEGIN:
        begin_answer(w, event);
        break;
    case ANSWER_PART:
        begin_part(w, event);
        break;
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_CITATION:
    case ANSWER_RAW:
    case ANSWER_PART_END:
        write_of_part(w, event);
        break;
    case ANSWER_LOGPROBS:
        write_logprobs(w, event);
        break;
    case ANSWER_FINISH:
        write_finish(w, event);
        break;
    case ANSWER_USAGE:
        w->usage = *event->usage;
        w->has_usage = true;
        break;
    case ANSWER_FIELD:
        take_field(w, event);
        break;
    case ANSWER_FAIL:
        break; /* the gateway says it */
    case ANSWER_END:
        write_usage(w);
        put_literal(out, "data: [DONE]\n\n");
        break;
    }
}
