/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bedrock.h: a call is written. Turns of one side that follow each other are one message: AWS takes
 * them only in alternation.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"

static bool is_system(const struct message *message)
{
    return message->role == ROLE_SYSTEM || message->role == ROLE_DEVELOPER;
}

/* How many messages stand before the first turn: all of them instruct. What instructs later is said
 * by the user. */
static size_t count_system(const struct chat *chat)
{
    size_t count = 0;
    while (count < chat->message_count && is_system(&chat->messages[count]))
        count++;
    return count;
}

static void put_system(struct bedrock_writing *w)
{
    const struct chat *chat = w->chat;
    bool open = false;
    size_t count = count_system(chat);
    for (size_t m = 0; m < count; m++) {
        const struct message *message = &chat->messages[m];
        w->message = m;
        for (size_t p = 0; p < message->part_count; p++) {
            const struct part *part = &message->parts[p];
            bool says = part->kind == PART_TEXT || part->kind == PART_REFUSAL ||
                        (part->raw.at && part->from == &translator_bedrock);
            w->part = p;
            if (!says)
                loss_demand(w->losses, "messages[%zu].content[%zu]", m, p);
            if (!says || !bedrock_takes(w, part))
                continue;
            if (!open)
                put_open(w->out, "system", '[');
            open = true;
            bedrock_put_part(w, part, false);
        }
    }
    if (chat->shape == SHAPE_JSON && w->claude && !w->own) {
        if (!open)
            put_open(w->out, "system", '[');
        open = true;
        put_open(w->out, NULL, '{');
        put_inner(w->out, "text", anthropic_asks_json);
        put_literal(w->out, "}");
    }
    if (open)
        put_literal(w->out, "]");
}

static void put_messages(struct bedrock_writing *w)
{
    const struct chat *chat = w->chat;
    enum { NOBODY, USER, ASSISTANT } speaks = NOBODY;
    put_open(w->out, "messages", '[');
    for (size_t m = count_system(chat); m < chat->message_count; m++) {
        const struct message *message = &chat->messages[m];
        w->message = m;
        if (is_system(message))
            loss_hint(w->losses, "messages[%zu].role", m);
        if (message->name.len)
            loss_hint(w->losses, "messages[%zu].name", m);
        unsigned side = message->role == ROLE_ASSISTANT ? ASSISTANT : USER;
        for (size_t p = 0; p < message->part_count; p++) {
            w->part = p;
            if (!bedrock_takes(w, &message->parts[p]))
                continue;
            if (speaks != side) {
                put_literal(w->out, speaks != NOBODY ? "]}" : "");
                put_open(w->out, NULL, '{');
                put_inner(w->out, "role", side == USER ? TEXT("user") : TEXT("assistant"));
                put_open(w->out, "content", '[');
                speaks = side;
            }
            bedrock_put_part(w, &message->parts[p], false);
        }
    }
    put_literal(w->out, speaks != NOBODY ? "]}]" : "]");
}

/* ------------------------------------------------------------------------------- the tools */

static bool has_calls(const struct chat *chat)
{
    for (size_t m = 0; m < chat->message_count; m++)
        for (size_t p = 0; p < chat->messages[m].part_count; p++)
            if (chat->messages[m].parts[p].kind == PART_CALL ||
                chat->messages[m].parts[p].kind == PART_RESULT)
                return true;
    return false;
}

static void put_tool(struct bedrock_writing *w, const struct tool *tool, size_t number)
{
    struct buffer *out = w->out;
    if (tool->kind != TOOL_FUNCTION) {
        put_comma(out);
        put_text(out, tool->raw);
        return;
    }
    bool strict = tool->strict && (w->own || anthropic_model_of(w->target->model).has_schemas);
    put_open(out, NULL, '{');
    put_open(out, "toolSpec", '{');
    put_inner(out, "name", tool->name);
    if (tool->description.len)
        put_inner(out, "description", tool->description);
    put_open(out, "inputSchema", '{');
    put_json(out, "json",
             tool->schema.at ? tool->schema : TEXT("{\"type\":\"object\",\"properties\":{}}"));
    put_literal(out, "}");
    if (strict)
        put_json(out, "strict", TEXT("true"));
    else if (tool->strict)
        loss_hint(w->losses, "tools[%zu].strict", number);
    put_literal(out, "}}");
    if (!tool->cache.at)
        return;
    if (w->own || w->claude)
        bedrock_put_cache(out, tool->cache);
    else
        loss_hint(w->losses, "tools[%zu].cache_control", number);
}

static void put_choice(struct bedrock_writing *w)
{
    const struct chat *chat = w->chat;
    if (chat->tool_choice == CHOICE_UNSAID)
        return;
    put_open(w->out, "toolChoice", '{');
    if (chat->tool_choice == CHOICE_ONE) {
        put_open(w->out, "tool", '{');
        put_inner(w->out, "name", chat->tool_choice_name);
        put_literal(w->out, "}");
    } else {
        put_json(w->out, chat->tool_choice == CHOICE_ANY ? "any" : "auto", TEXT("{}"));
    }
    put_literal(w->out, "}");
}

/* A conversation that has calls in it needs its tools, also where none is to be called. */
static void put_tools(struct bedrock_writing *w)
{
    const struct chat *chat = w->chat;
    bool open = false;
    if (chat->tool_choice == CHOICE_NONE) {
        if (!has_calls(chat))
            return;
        loss_demand(w->losses, "tool_choice");
    }
    for (size_t i = 0; i < chat->tool_count; i++) {
        if (chat->tools[i].kind == TOOL_OTHER && !w->own) {
            loss_demand(w->losses, "tools[%zu].type", i);
            continue;
        }
        if (!open) {
            put_open(w->out, "toolConfig", '{');
            put_open(w->out, "tools", '[');
        }
        open = true;
        put_tool(w, &chat->tools[i], i);
    }
    if (!open)
        return;
    put_literal(w->out, "]");
    put_choice(w);
    put_literal(w->out, "}");
    if (chat->parallel_calls == SAID_NO)
        loss_hint(w->losses, "parallel_tool_calls");
}

/* -------------------------------------------------------------------------------- the rest */

/* AWS takes strings only. */
static bool is_of_strings(struct text object)
{
    struct text name, value;
    if (!object.len || object.at[0] != '{')
        return false;
    while (member_next(&object, &name, &value))
        if (!member_string(value).at)
            return false;
    return true;
}

static void put_rest(struct bedrock_writing *w)
{
    const struct chat *chat = w->chat;
    if (w->own || is_of_strings(chat->metadata))
        put_json(w->out, "requestMetadata", chat->metadata);
    else if (chat->metadata.at)
        loss_hint(w->losses, "metadata");
    bool tier = w->own || inner_is(chat->service_tier, "default") ||
                inner_is(chat->service_tier, "flex") || inner_is(chat->service_tier, "priority");
    if (chat->service_tier.at && tier) {
        put_open(w->out, "serviceTier", '{');
        put_inner(w->out, "type", chat->service_tier);
        put_literal(w->out, "}");
    } else if (chat->service_tier.at && !inner_is(chat->service_tier, "auto")) {
        loss_hint(w->losses, "service_tier");
    }
    for (size_t i = 0; w->own && i < chat->field_count; i++) {
        const struct chat_field *field = &chat->fields[i];
        bool within = text_find_byte(field->name, '.') != SIZE_MAX ||
                      text_equal(field->name, TEXT("additionalModelRequestFields"));
        if (within || !field->value.at)
            continue;
        anthropic_put_name(w->out, field->name);
        put_text(w->out, field->value);
    }
}

static void name_losses(const struct bedrock_writing *w)
{
    const struct chat *chat = w->chat;
    struct losses *losses = w->losses;
    if (chat->choices > 1)
        loss_demand(losses, "n");
    if (chat->logprobs == SAID_YES)
        loss_demand(losses, "logprobs");
    if (chat->voice.at || wants_more_than_text(chat->modalities))
        loss_demand(losses, "modalities");
    if (chat->shape == SHAPE_JSON && !w->claude) /* of Claude it is said already */
        loss_demand(losses, "%s", anthropic_name_of_shape(chat));
    if (chat->logit_bias.at)
        loss_hint(losses, "logit_bias");
    if (chat->frequency_penalty.at)
        loss_hint(losses, "frequency_penalty");
    if (chat->presence_penalty.at)
        loss_hint(losses, "presence_penalty");
    if (chat->seed.at)
        loss_hint(losses, "seed");
    if (chat->user.at)
        loss_hint(losses, "user");
    if (chat->store == SAID_YES)
        loss_hint(losses, "store");
    if (chat->verbosity.at)
        loss_hint(losses, "verbosity");
}

void bedrock_write_call(struct arena *arena, const struct chat *chat,
                        const struct call_target *target, struct buffer *out, struct losses *losses)
{
    struct bedrock_writing w = {
        .arena = arena,
        .chat = chat,
        .target = target,
        .out = out,
        .losses = losses,
        .own = chat->from == &translator_bedrock,
        .claude = text_find(target->model, TEXT("claude")) != SIZE_MAX,
        .nova = text_find(target->model, TEXT("nova")) != SIZE_MAX,
    };
    put_literal(out, "{");
    put_messages(&w);
    put_system(&w);
    bedrock_put_settings(&w);
    put_tools(&w);
    put_rest(&w);
    put_literal(out, "}");
    name_losses(&w);
    loss_fields(losses, chat, &translator_bedrock);
}
