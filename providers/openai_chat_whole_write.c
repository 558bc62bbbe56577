/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: an answer is written as a body, of chats and of completions.
 */
#include "gateway/base/member.h"
#include "providers/openai_chat.h"

struct whole_writing {
    const struct answer_way *way;
    const struct whole_choice *choice;
    struct arena *arena;
    struct buffer *out;
    bool completion, legacy;
};

static bool has_kind(const struct whole_choice *choice, enum part_kind kind)
{
    for (size_t i = 0; i < choice->part_count; i++)
        if (choice->parts[i].kind == kind)
            return true;
    return false;
}

/* "name":"..." of all texts of a kind; nothing when there are none. */
static bool put_joined(struct whole_writing *w, enum part_kind kind, const char *name)
{
    if (!has_kind(w->choice, kind))
        return false;
    openai_open_string(w->out, name);
    for (size_t i = 0; i < w->choice->part_count; i++)
        if (w->choice->parts[i].kind == kind)
            put_text(w->out, w->choice->parts[i].text);
    put_literal(w->out, "\"");
    return true;
}

/* Mistral's and others' own parts can stand in a list only. */
static void put_list(struct whole_writing *w)
{
    put_open(w->out, "content", '[');
    for (size_t i = 0; i < w->choice->part_count; i++) {
        const struct part *part = &w->choice->parts[i];
        if (part->kind == PART_RAW && part->raw.at) {
            put_comma(w->out);
            put_text(w->out, part->raw);
        } else if (part->kind == PART_TEXT) {
            put_open(w->out, NULL, '{');
            put_inner(w->out, "type", TEXT("text"));
            put_inner(w->out, "text", part->text);
            put_literal(w->out, "}");
        }
    }
    put_literal(w->out, "]");
}

static void put_content(struct whole_writing *w)
{
    bool list = openai_is_family(w->way->from) && has_kind(w->choice, PART_RAW);
    if (list)
        put_list(w);
    else if (!put_joined(w, PART_TEXT, "content"))
        put_json(w->out, "content", TEXT("null"));
}

static void put_reasoning(struct whole_writing *w)
{
    int64_t index = 0;
    if (!put_joined(w, PART_REASONING, "reasoning_content") || !openai_has_proofs(w->way->from))
        return;
    put_open(w->out, "reasoning_details", '[');
    for (size_t i = 0; i < w->choice->part_count; i++)
        if (w->choice->parts[i].kind == PART_REASONING)
            openai_put_details(w->out, w->way->from, &w->choice->parts[i], index++);
    put_literal(w->out, "]");
}

static void put_citations(struct whole_writing *w)
{
    int64_t characters = 0;
    bool any = false;
    for (size_t i = 0; i < w->choice->part_count; i++) {
        const struct part *part = &w->choice->parts[i];
        for (size_t c = 0; c < part->citation_count; c++) {
            if (!any)
                put_open(w->out, "annotations", '[');
            any = true;
            openai_put_citation(w->out, &part->citations[c], characters);
        }
        if (part->kind == PART_TEXT)
            characters += openai_count_characters(part->text);
    }
    if (any)
        put_literal(w->out, "]");
}

static void put_audio(struct whole_writing *w)
{
    for (size_t i = 0; i < w->choice->part_count; i++) {
        const struct part *part = &w->choice->parts[i];
        if (part->kind != PART_AUDIO)
            continue;
        put_open(w->out, "audio", '{');
        put_inner(w->out, "id", part->id.at ? part->id : TEXT(""));
        put_inner(w->out, "data", part->data.at ? part->data : TEXT(""));
        put_inner(w->out, "transcript", part->text.at ? part->text : TEXT(""));
        put_number(w->out, "expires_at", w->way->now_s);
        put_literal(w->out, "}");
        return;
    }
}

static void put_images(struct whole_writing *w)
{
    bool any = false;
    for (size_t i = 0; i < w->choice->part_count; i++) {
        const struct part *part = &w->choice->parts[i];
        if (part->kind != PART_IMAGE || !part->data.len)
            continue;
        if (!any)
            put_open(w->out, "images", '[');
        any = true;
        put_open(w->out, NULL, '{');
        put_literal(w->out, "\"type\":\"image_url\",\"image_url\":{\"url\":\"data:");
        put_text(w->out, part->media_type.len ? part->media_type : TEXT("image/png"));
        put_literal(w->out, ";base64,");
        put_text(w->out, part->data);
        put_literal(w->out, "\"}}");
    }
    if (any)
        put_literal(w->out, "]");
}

static void put_function(struct whole_writing *w, const struct part *call)
{
    put_inner(w->out, "name", call->name.at ? call->name : TEXT(""));
    openai_open_string(w->out, "arguments");
    put_json_inner(w->out, call->arguments);
    put_literal(w->out, "\"}");
}

static void put_custom(struct whole_writing *w, const struct part *call)
{
    struct text input = member_string(member_find(call->arguments, TEXT("input")));
    put_inner(w->out, "type", TEXT("custom"));
    put_open(w->out, "custom", '{');
    put_inner(w->out, "name", call->name);
    openai_open_string(w->out, "input");
    if (input.at)
        put_text(w->out, input);
    else /* it has not the one argument that it should: as it is */
        put_json_inner(w->out, call->arguments);
    put_literal(w->out, "\"}");
}

static void put_call(struct whole_writing *w, const struct part *call, size_t index)
{
    struct text id = call->id;
    if (!id.len)
        id = arena_format(w->arena, "call_%.*s_%zu", TEXT_ARGS(w->way->id), index);
    put_open(w->out, NULL, '{');
    put_inner(w->out, "id", id);
    if (openai_is_custom(w->way, call->name)) {
        put_custom(w, call);
    } else {
        put_inner(w->out, "type", TEXT("function"));
        put_open(w->out, "function", '{');
        put_function(w, call);
    }
    if (call->signature.at) {
        put_literal(w->out, ",\"extra_content\":{\"google\":{\"thought_signature\":\"");
        put_text(w->out, call->signature);
        put_literal(w->out, "\"}}");
    }
    put_literal(w->out, "}");
}

static void put_calls(struct whole_writing *w)
{
    bool any = false;
    for (size_t i = 0; i < w->choice->part_count; i++) {
        const struct part *part = &w->choice->parts[i];
        if (part->kind != PART_CALL)
            continue;
        if (w->legacy) {
            put_open(w->out, "function_call", '{');
            put_function(w, part);
            return;
        }
        if (!any)
            put_open(w->out, "tool_calls", '[');
        any = true;
        put_call(w, part, i);
    }
    if (any)
        put_literal(w->out, "]");
}

static void put_message(struct whole_writing *w)
{
    put_open(w->out, "message", '{');
    put_inner(w->out, "role", TEXT("assistant"));
    put_content(w);
    if (!put_joined(w, PART_REFUSAL, "refusal"))
        put_json(w->out, "refusal", TEXT("null"));
    put_reasoning(w);
    put_citations(w);
    put_audio(w);
    put_images(w);
    put_calls(w);
    put_literal(w->out, "}");
}

static void put_text_of_completion(struct whole_writing *w)
{
    openai_open_string(w->out, "text");
    for (size_t i = 0; i < w->choice->part_count; i++) {
        const struct part *part = &w->choice->parts[i];
        if (part->kind == PART_TEXT || part->kind == PART_REFUSAL)
            put_text(w->out, part->text);
    }
    put_literal(w->out, "\"");
}

static struct text finish_of(const struct whole_writing *w)
{
    struct text word = openai_finish_word(w->way, w->choice->finish, w->choice->reason);
    if (w->choice->finish == FINISH_REFUSAL && has_kind(w->choice, PART_REFUSAL))
        return TEXT("stop");
    if (w->choice->finish != FINISH_CALLS)
        return word;
    return w->completion ? TEXT("stop") : w->legacy ? TEXT("function_call") : word;
}

static void put_choice(struct whole_writing *w, size_t index)
{
    put_open(w->out, NULL, '{');
    put_number(w->out, "index", (int64_t)index);
    if (w->completion)
        put_text_of_completion(w);
    else
        put_message(w);
    if (w->choice->logprobs.at && !w->completion) {
        put_open(w->out, "logprobs", '{');
        put_json(w->out, "content", w->choice->logprobs);
        put_json(w->out, "refusal", TEXT("null"));
        put_literal(w->out, "}");
    } else {
        put_json(w->out, "logprobs", TEXT("null"));
    }
    put_inner(w->out, "finish_reason", finish_of(w));
    put_literal(w->out, "}");
}

static void put_fields(struct buffer *out, const struct answer_way *way,
                       const struct whole_answer *whole)
{
    for (size_t i = 0; openai_is_family(way->from) && i < whole->field_count; i++) {
        put_comma(out);
        buffer_format(out, "\"%.*s\":", TEXT_ARGS(whole->fields[i].name));
        put_text(out, whole->fields[i].value);
    }
}

void openai_chat_write_whole(const struct answer_way *way, struct arena *arena,
                             const struct whole_answer *whole, struct buffer *out)
{
    static const struct whole_choice nothing = {.finish = FINISH_STOP};
    struct answer_event begin = {.id = whole->id, .model = whole->model, .created = whole->created};
    struct whole_writing w = {.way = way,
                              .arena = arena,
                              .out = out,
                              .completion = way->to->operation == OPERATION_COMPLETION,
                              .legacy = openai_wants_functions(way)};
    put_literal(out, "{");
    openai_put_head(out, way, arena, w.completion ? "text_completion" : "chat.completion", &begin);
    put_open(out, "choices", '[');
    for (size_t i = 0; i < whole->choice_count || i == 0; i++) {
        w.choice = whole->choice_count ? &whole->choices[i] : &nothing;
        put_choice(&w, i);
    }
    put_literal(out, "]");
    if (whole->has_usage)
        openai_put_usage(out, &whole->usage);
    put_fields(out, way, whole);
    put_literal(out, "}");
}
