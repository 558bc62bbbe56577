/* SPDX-License-Identifier: Apache-2.0 */
/* The cohere dialect: calls of v2 chat, written. */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/member.h"
#include "providers/cohere.h"

enum { STOPS_MAX = 5, NUMBER_BYTES = 64 };

static const char *role_word(enum role role)
{
    if (role == ROLE_SYSTEM || role == ROLE_DEVELOPER)
        return "system";
    return role == ROLE_ASSISTANT ? "assistant" : "user";
}

/* ------------------------------------------------------------------------------ its messages */

static bool is_plain_file(const struct part *part)
{
    return part->kind == PART_FILE && part->text.at && !part->data.at;
}

static bool is_spoken(const struct part *part)
{
    return part->kind == PART_TEXT || part->kind == PART_REFUSAL || is_plain_file(part);
}

static bool is_own(const struct part *part)
{
    return part->raw.at && part->from == &translator_cohere_chat;
}

/* Its plan, where it calls tools: older models know no thinking. */
static bool is_plan(const struct part *part, bool calls)
{
    return part->kind == PART_REASONING && calls && !is_own(part);
}

static void put_image(struct buffer *out, const struct part *part)
{
    put_literal(out, "{\"type\":\"image_url\",\"image_url\":{\"url\":\"");
    if (part->data.at) {
        put_literal(out, "data:");
        put_text(out, part->media_type.len ? part->media_type : TEXT("image/png"));
        put_literal(out, ";base64,");
        put_text(out, part->data);
    } else {
        put_text(out, part->url);
    }
    put_literal(out, "\"");
    put_inner(out, "detail", part->detail);
    put_literal(out, "}}");
}

/* One piece of a content; false when there is no such here. */
static bool put_piece(struct buffer *out, const struct part *part)
{
    bool image = part->kind == PART_IMAGE && (part->data.at || part->url.at);
    if (is_own(part)) {
        put_comma(out);
        put_text(out, part->raw);
    } else if (is_spoken(part)) {
        put_open(out, NULL, '{');
        put_inner(out, "type", TEXT("text"));
        put_inner(out, "text", part->text.at ? part->text : TEXT(""));
        put_literal(out, "}");
    } else if (part->kind == PART_REASONING) {
        if (!part->text.len)
            return true;
        put_open(out, NULL, '{');
        put_inner(out, "type", TEXT("thinking"));
        put_inner(out, "thinking", part->text);
        put_literal(out, "}");
    } else if (image) {
        put_comma(out);
        put_image(out, part);
    } else {
        return false;
    }
    return true;
}

static void name_hints(const struct part *part, size_t number, size_t i, struct losses *losses)
{
    if (part->cache.at)
        loss_hint(losses, "messages[%zu].content[%zu].cache_control", number, i);
    if (part->signature.len || part->encrypted.len)
        loss_hint(losses, "messages[%zu].content[%zu].signature", number, i);
    if (is_plain_file(part) && part->name.len)
        loss_hint(losses, "messages[%zu].content[%zu].filename", number, i);
    if (part->is_error)
        loss_hint(losses, "messages[%zu].content[%zu].is_error", number, i);
    if (part->citation_count)
        loss_hint(losses, "messages[%zu].content[%zu].citations", number, i);
}

static void put_content(struct buffer *out, const struct message *message, size_t number,
                        bool calls, struct losses *losses)
{
    size_t begin = buffer_length(out), empty;
    put_open(out, "content", '[');
    empty = buffer_length(out);
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        name_hints(part, number, i, losses);
        if (part->kind == PART_CALL || part->kind == PART_RESULT || is_plan(part, calls))
            continue;
        if (!put_piece(out, part))
            loss_demand(losses, "messages[%zu].content[%zu]", number, i);
    }
    if (buffer_length(out) > empty || !calls)
        put_literal(out, "]");
    else
        out->end = out->begin + begin; /* calls are all there is */
}

static void put_plan(struct buffer *out, const struct message *message)
{
    bool open = false;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        if (!is_plan(part, true) || !part->text.len)
            continue;
        put_literal(out, open ? "" : ",\"tool_plan\":\"");
        put_text(out, part->text);
        open = true;
    }
    put_literal(out, open ? "\"" : "");
}

static void put_calls(struct buffer *out, struct arena *arena, const struct message *message)
{
    put_open(out, "tool_calls", '[');
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        if (part->kind != PART_CALL)
            continue;
        put_open(out, NULL, '{');
        put_inner(out, "id", part->id.at ? part->id : TEXT(""));
        put_literal(out, ",\"type\":\"function\",\"function\":{");
        put_inner(out, "name", part->name);
        put_inner(out, "arguments",
                  inner_of_json(arena, part->arguments.at ? part->arguments : TEXT("{}")));
        put_literal(out, "}}");
    }
    put_literal(out, "]");
}

/* Each result is a message of its own. */
static void put_result(struct buffer *out, const struct part *result, size_t number, size_t place,
                       struct losses *losses)
{
    put_open(out, NULL, '{');
    put_inner(out, "role", TEXT("tool"));
    put_inner(out, "tool_call_id", result->id.at ? result->id : TEXT(""));
    if (result->part_count == 1 && is_spoken(result->parts) && !is_own(result->parts)) {
        put_inner(out, "content", result->parts[0].text);
        name_hints(result->parts, number, place, losses);
        put_literal(out, "}");
        return;
    }
    put_open(out, "content", '[');
    for (size_t i = 0; i < result->part_count; i++) {
        const struct part *part = &result->parts[i];
        name_hints(part, number, place, losses);
        if (!(is_spoken(part) || is_own(part)) || !put_piece(out, part))
            loss_demand(losses, "messages[%zu].content[%zu].content[%zu]", number, place, i);
    }
    put_literal(out, "]}");
}

static void put_message(struct buffer *out, struct arena *arena, const struct chat *chat,
                        size_t number, struct losses *losses)
{
    const struct message *message = &chat->messages[number];
    bool calls = false, others = message->part_count == 0;
    if (message->name.at)
        loss_hint(losses, "messages[%zu].name", number);
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        calls = calls || part->kind == PART_CALL;
        others = others || part->kind != PART_RESULT;
        if (part->kind != PART_RESULT)
            continue;
        name_hints(part, number, i, losses);
        put_result(out, part, number, i, losses);
    }
    if (!others)
        return;
    put_open(out, NULL, '{');
    put_literal(out, "\"role\":\"");
    put_literal(out, calls ? "assistant" : role_word(message->role));
    put_literal(out, "\"");
    put_content(out, message, number, calls, losses);
    if (calls) {
        put_plan(out, message);
        put_calls(out, arena, message);
    }
    put_literal(out, "}");
}

/* -------------------------------------------------------------------------------- its tools */

/* Which one is to be called cannot be said: then no other is offered. */
static bool is_offered(const struct chat *chat, const struct tool *tool)
{
    return chat->tool_choice != CHOICE_ONE || text_equal(tool->name, chat->tool_choice_name);
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
        if (tool->cache.at)
            loss_hint(losses, "tools[%zu].cache_control", i);
        if (tool->strict)
            loss_hint(losses, "tools[%zu].strict", i);
        if (!is_offered(chat, tool)) {
            loss_hint(losses, "tools[%zu]", i);
            continue;
        }
        if (!open)
            put_open(out, "tools", '[');
        open = true;
        put_literal(out, out->data[out->end - 1] == '[' ? "{" : ",{");
        put_literal(out, "\"type\":\"function\",\"function\":{");
        put_inner(out, "name", tool->name);
        put_inner(out, "description", tool->description);
        put_json(out, "parameters",
                 tool->schema.at ? tool->schema : TEXT("{\"type\":\"object\",\"properties\":{}}"));
        put_literal(out, "}}");
    }
    if (open)
        put_literal(out, "]");
    if (chat->tool_choice == CHOICE_ONE)
        loss_hint(losses, "tool_choice");
    if (open && (chat->tool_choice == CHOICE_ANY || chat->tool_choice == CHOICE_ONE))
        put_inner(out, "tool_choice", TEXT("REQUIRED"));
    else if (chat->tool_choice == CHOICE_NONE)
        put_inner(out, "tool_choice", TEXT("NONE"));
}

/* ------------------------------------------------------------------------------ the others */

/* A number that is out of its range goes to the end of it. */
static void put_within(struct buffer *out, const char *name, struct text json, const char *least,
                       const char *most, struct losses *losses)
{
    char digits[NUMBER_BYTES] = "";
    struct text end = json;
    if (!json.at)
        return;
    memcpy(digits, json.at, json.len < sizeof(digits) - 1 ? json.len : sizeof(digits) - 1);
    double value = strtod(digits, NULL);
    if (value < strtod(least, NULL))
        end = text_of(least);
    else if (value > strtod(most, NULL))
        end = text_of(most);
    if (end.at != json.at)
        loss_hint(losses, "%s", text_equal(text_of(name), TEXT("p")) ? "top_p" : name);
    put_json(out, name, end);
}

static void put_sampling(struct buffer *out, const struct chat *chat,
                         const struct call_target *target, struct losses *losses)
{
    int64_t tokens = chat->max_tokens ? chat->max_tokens : target->max_tokens_default;
    if (target->lowered_tokens)
        tokens = target->lowered_tokens;
    if (tokens > 0)
        put_number(out, "max_tokens", tokens);
    put_json(out, "temperature", chat->temperature);
    put_within(out, "p", chat->top_p, "0.01", "0.99", losses);
    put_json(out, "k", chat->top_k);
    put_json(out, "seed", chat->seed);
    put_within(out, "frequency_penalty", chat->frequency_penalty, "0", "1", losses);
    put_within(out, "presence_penalty", chat->presence_penalty, "0", "1", losses);
    if (!chat->stop_count)
        return;
    put_open(out, "stop_sequences", '[');
    for (size_t i = 0; i < chat->stop_count; i++) {
        if (i < STOPS_MAX)
            put_item(out, chat->stops[i]);
        else
            loss_demand(losses, "stop[%zu]", i);
    }
    put_literal(out, "]");
}

static void put_shape(struct buffer *out, const struct chat *chat)
{
    if (chat->shape == SHAPE_TEXT)
        return;
    put_open(out, "response_format", '{');
    put_inner(out, "type", TEXT("json_object"));
    if (chat->shape == SHAPE_SCHEMA)
        put_json(out, "schema", chat->schema);
    put_literal(out, "}");
}

/* How much it is to think is said in tokens only. */
static void put_thinking(struct buffer *out, const struct chat *chat, struct losses *losses)
{
    bool none = chat->reasoning == SAID_NO || inner_is(chat->effort, "none");
    bool asked = chat->reasoning == SAID_YES || chat->effort.len || chat->reasoning_tokens > 0;
    if (!none && !asked)
        return;
    put_open(out, "thinking", '{');
    put_inner(out, "type", none ? TEXT("disabled") : TEXT("enabled"));
    if (!none && chat->reasoning_tokens > 0)
        put_number(out, "token_budget", chat->reasoning_tokens);
    else if (!none && chat->effort.len)
        loss_hint(losses, "reasoning_effort");
    put_literal(out, "}");
}

static void name_losses(const struct chat *chat, struct losses *losses)
{
    loss_options(losses, chat);
    if (wants_more_than_text(chat->modalities) || chat->voice.at)
        loss_demand(losses, "modalities");
    loss_fields(losses, chat, &translator_cohere_chat);
}

void cohere_write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, target->model));
    put_open(out, "messages", '[');
    for (size_t i = 0; i < chat->message_count; i++)
        put_message(out, arena, chat, i, losses);
    put_literal(out, "]");
    put_tools(out, chat, losses);
    put_sampling(out, chat, target, losses);
    put_shape(out, chat);
    put_thinking(out, chat, losses);
    put_said(out, "stream", target->stream ? SAID_YES : SAID_NO);
    if (chat->from == &translator_cohere_chat)
        for (size_t i = 0; i < chat->field_count; i++)
            if (chat->fields[i].value.at) {
                put_comma(out);
                put_literal(out, "\"");
                put_text(out, chat->fields[i].name);
                put_literal(out, "\":");
                put_text(out, chat->fields[i].value);
            }
    put_literal(out, "}");
    name_losses(chat, losses);
}
