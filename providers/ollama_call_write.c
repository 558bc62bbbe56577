/* SPDX-License-Identifier: Apache-2.0 */
/* The ollama dialect: its calls, written. */
#include "providers/index.h"
#include "providers/ollama.h"

static struct text role_word(enum role role)
{
    switch (role) {
    case ROLE_SYSTEM:
    case ROLE_DEVELOPER:
        return TEXT("system");
    case ROLE_USER:
        return TEXT("user");
    case ROLE_ASSISTANT:
        return TEXT("assistant");
    case ROLE_TOOL:
        break;
    }
    return TEXT("tool");
}

/* A document that is nothing but text. */
static bool is_plain_file(const struct part *part)
{
    return part->kind == PART_FILE && part->text.at && !part->data.at;
}

static bool is_spoken(const struct part *part)
{
    return part->kind == PART_TEXT || part->kind == PART_REFUSAL || is_plain_file(part);
}

/* Texts of one kind, one behind the other, as one string. */
static void put_texts(struct buffer *out, const char *name, const struct part *parts, size_t count,
                      enum part_kind kind)
{
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        const struct part *part = &parts[i];
        bool told = part->kind == kind || (kind == PART_TEXT && is_spoken(part));
        if (!told || !part->text.at)
            continue;
        if (first)
            put_inner(out, name, TEXT(""));
        if (first)
            out->end--; /* its closing quote comes behind the last */
        put_text(out, part->text);
        first = false;
    }
    if (!first)
        put_literal(out, "\"");
    else if (kind == PART_TEXT)
        put_inner(out, name, TEXT(""));
}

static void put_images(struct buffer *out, const struct message *message, size_t number,
                       struct losses *losses)
{
    bool open = false;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        bool media = part->kind == PART_IMAGE || part->kind == PART_AUDIO ||
                     part->kind == PART_VIDEO || (part->kind == PART_FILE && !is_plain_file(part));
        if (part->kind == PART_RAW || (media && (part->kind != PART_IMAGE || !part->data.at)))
            loss_demand(losses, "messages[%zu].content[%zu]", number, i);
        if (part->kind != PART_IMAGE || !part->data.at)
            continue;
        if (!open)
            put_open(out, "images", '[');
        open = true;
        put_item(out, part->data);
    }
    if (open)
        put_literal(out, "]");
}

static void put_calls(struct buffer *out, const struct message *message)
{
    bool open = false;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        if (part->kind != PART_CALL)
            continue;
        if (!open)
            put_open(out, "tool_calls", '[');
        open = true;
        put_open(out, NULL, '{');
        put_inner(out, "id", part->id);
        put_open(out, "function", '{');
        put_inner(out, "name", part->name);
        put_json(out, "arguments", part->arguments.at ? part->arguments : TEXT("{}"));
        put_literal(out, "}}");
    }
    if (open)
        put_literal(out, "]");
}

/* Each result is a message of its own. */
static void put_result(struct buffer *out, struct call_index *calls, const struct part *part)
{
    const struct part *call = call_index_find(calls, part->id);
    put_open(out, NULL, '{');
    put_inner(out, "role", TEXT("tool"));
    put_texts(out, "content", part->parts, part->part_count, PART_TEXT);
    put_inner(out, "tool_name", call ? call->name : part->name);
    put_inner(out, "tool_call_id", part->id);
    put_literal(out, "}");
}

/* Results are texts here. */
static void name_result_losses(const struct part *result, size_t number, size_t place,
                               struct losses *losses)
{
    for (size_t i = 0; i < result->part_count; i++) {
        if (!is_spoken(&result->parts[i]))
            loss_demand(losses, "messages[%zu].content[%zu].content[%zu]", number, place, i);
        else if (result->parts[i].name.len > 0)
            loss_hint(losses, "messages[%zu].content[%zu].content[%zu].filename", number, place, i);
    }
    if (result->is_error)
        loss_hint(losses, "messages[%zu].content[%zu].is_error", number, place);
}

static void name_message_losses(const struct message *message, size_t number, struct losses *losses)
{
    if (message->name.len > 0)
        loss_hint(losses, "messages[%zu].name", number);
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        if (part->cache.at)
            loss_hint(losses, "messages[%zu].content[%zu].cache_control", number, i);
        if (part->signature.at || part->encrypted.at)
            loss_hint(losses, "messages[%zu].content[%zu].signature", number, i);
        if (part->citation_count)
            loss_hint(losses, "messages[%zu].content[%zu].citations", number, i);
        if (part->kind == PART_IMAGE && part->detail.len > 0)
            loss_hint(losses, "messages[%zu].content[%zu].detail", number, i);
        if (is_plain_file(part) && part->name.len > 0)
            loss_hint(losses, "messages[%zu].content[%zu].filename", number, i);
        if (part->kind == PART_RESULT)
            name_result_losses(part, number, i, losses);
    }
}

static bool has_other_than_results(const struct message *message)
{
    for (size_t i = 0; i < message->part_count; i++)
        if (message->parts[i].kind != PART_RESULT)
            return true;
    return message->part_count == 0;
}

static void put_message(struct buffer *out, struct call_index *calls, size_t number,
                        struct losses *losses)
{
    const struct message *message = &calls->chat->messages[number];
    for (size_t i = 0; i < message->part_count; i++)
        if (message->parts[i].kind == PART_RESULT)
            put_result(out, calls, &message->parts[i]);
    name_message_losses(message, number, losses);
    if (!has_other_than_results(message))
        return;
    put_open(out, NULL, '{');
    put_inner(out, "role", role_word(message->role));
    put_texts(out, "content", message->parts, message->part_count, PART_TEXT);
    put_texts(out, "thinking", message->parts, message->part_count, PART_REASONING);
    put_images(out, message, number, losses);
    put_calls(out, message);
    put_literal(out, "}");
}

static void put_tools(struct buffer *out, const struct chat *chat, struct losses *losses)
{
    bool open = false;
    for (size_t i = 0; i < chat->tool_count; i++) {
        const struct tool *tool = &chat->tools[i];
        if (tool->kind != TOOL_FUNCTION) {
            loss_demand(losses, "tools[%zu].type", i);
            continue;
        }
        if (!open)
            put_open(out, "tools", '[');
        open = true;
        put_open(out, NULL, '{');
        put_inner(out, "type", TEXT("function"));
        put_open(out, "function", '{');
        put_inner(out, "name", tool->name);
        put_inner(out, "description", tool->description);
        put_json(out, "parameters",
                 tool->schema.at ? tool->schema : TEXT("{\"type\":\"object\",\"properties\":{}}"));
        put_literal(out, "}}");
        if (tool->cache.at)
            loss_hint(losses, "tools[%zu].cache_control", i);
        if (tool->strict)
            loss_hint(losses, "tools[%zu].strict", i);
    }
    if (open)
        put_literal(out, "]");
}

/* What only this dialect knows, such as num_ctx and keep_alive. */
static void put_own(struct buffer *out, const struct chat *chat, bool options)
{
    static const struct text within = {"options.", 8};
    if (chat->from != &translator_ollama_chat)
        return;
    for (size_t i = 0; i < chat->field_count; i++) {
        const struct chat_field *field = &chat->fields[i];
        bool inner = text_starts(field->name, within);
        if (inner != options || !field->value.at)
            continue;
        put_comma(out);
        put_literal(out, "\"");
        put_text(out, inner ? text_from(field->name, within.len) : field->name);
        put_literal(out, "\":");
        put_text(out, field->value);
    }
}

static void put_options(struct buffer *out, const struct chat *chat,
                        const struct call_target *target)
{
    int64_t tokens = chat->max_tokens ? chat->max_tokens : target->max_tokens_default;
    put_open(out, "options", '{');
    if (target->lowered_tokens)
        tokens = target->lowered_tokens;
    if (tokens > 0)
        put_number(out, "num_predict", tokens);
    put_json(out, "temperature", chat->temperature);
    put_json(out, "top_p", chat->top_p);
    put_json(out, "top_k", chat->top_k);
    put_json(out, "seed", chat->seed);
    put_json(out, "presence_penalty", chat->presence_penalty);
    put_json(out, "frequency_penalty", chat->frequency_penalty);
    put_own(out, chat, true);
    if (chat->stop_count) {
        put_open(out, "stop", '[');
        for (size_t i = 0; i < chat->stop_count; i++)
            put_item(out, chat->stops[i]);
        put_literal(out, "]");
    }
    put_literal(out, "}");
}

static void name_losses(const struct chat *chat, struct losses *losses)
{
    loss_options(losses, chat);
    if (chat->tool_choice == CHOICE_ANY || chat->tool_choice == CHOICE_ONE)
        loss_demand(losses, "tool_choice");
    if (chat->modalities.at || chat->voice.at)
        loss_demand(losses, "modalities");
}

/* Whether it thinks; how much is said to no model but by who knows it. */
static void put_think(struct buffer *out, const struct chat *chat, struct losses *losses)
{
    bool own = chat->from == &translator_ollama_chat, none = inner_is(chat->effort, "none");
    bool asked = (chat->effort.len > 0 && !none) || chat->reasoning_tokens > 0;
    if (chat->reasoning == SAID_YES && own && chat->effort.len)
        put_inner(out, "think", chat->effort);
    else if (chat->reasoning == SAID_NOTHING && (asked || none))
        put_said(out, "think", none ? SAID_NO : SAID_YES);
    else
        put_said(out, "think", chat->reasoning);
    if (!own && asked)
        loss_hint(losses, "reasoning_effort"); /* how much */
}

void ollama_write_chat(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    struct call_index calls = {.chat = chat};
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, target->model));
    put_open(out, "messages", '[');
    for (size_t i = 0; i < chat->message_count; i++)
        put_message(out, &calls, i, losses);
    call_index_done(&calls);
    put_literal(out, "]");
    if (chat->tool_choice != CHOICE_NONE)
        put_tools(out, chat, losses);
    if (chat->shape == SHAPE_SCHEMA)
        put_json(out, "format", chat->schema);
    else if (chat->shape == SHAPE_JSON)
        put_inner(out, "format", TEXT("json"));
    put_think(out, chat, losses);
    put_options(out, chat, target);
    put_said(out, "stream", target->stream ? SAID_YES : SAID_NO);
    put_own(out, chat, false);
    put_literal(out, "}");
    name_losses(chat, losses);
    loss_fields(losses, chat, &translator_ollama_chat);
}
