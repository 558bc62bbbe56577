/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: a call is written.
 */
#include <string.h>

#include "gateway/base/member.h"
#include "providers/openai_responses.h"

enum { TOKENS_MIN = 16, EFFORT_LOW = 2000, EFFORT_MEDIUM = 5000, EFFORT_HIGH = 10000 };

/* --------------------------------------------------------------------------------- tools */

static bool is_own(const struct chat *chat)
{
    return chat->from == &translator_openai_responses;
}

void responses_find_declared(const struct chat *chat, struct tool_index *index, struct text name,
                             struct responses_tool *found)
{
    size_t number = is_own(chat) ? tool_index_find(index, chat, name) : SIZE_MAX;
    *found = (struct responses_tool){.name = name};
    if (number == SIZE_MAX || !chat->tools[number].raw.at)
        return;
    const struct tool *tool = &chat->tools[number];
    found->is_custom = tool->takes_text;
    found->space = tool->space;
    if (tool->bare.at)
        found->name = tool->bare;
}

static void write_function(const struct tool *tool, struct buffer *out)
{
    put_open(out, NULL, '{');
    put_inner(out, "type", TEXT("function"));
    put_inner(out, "name", tool->name);
    put_inner(out, "description", tool->description);
    put_json(out, "parameters",
             tool->schema.at ? tool->schema : TEXT("{\"type\":\"object\",\"properties\":{}}"));
    /* Said always: here it is true unless said otherwise, elsewhere false. */
    put_said(out, "strict", tool->strict ? SAID_YES : SAID_NO);
    put_literal(out, "}");
}

void responses_write_tools(const struct chat *chat, struct buffer *out, struct losses *losses)
{
    const char *written = NULL;
    put_open(out, "tools", '[');
    for (size_t i = 0; i < chat->tool_count; i++) {
        const struct tool *tool = &chat->tools[i];
        if (is_own(chat) && tool->raw.at) {
            if (tool->raw.at != written) { /* the tools of a namespace share it */
                put_comma(out);
                put_text(out, tool->raw);
            }
            written = tool->raw.at;
        } else if (tool->kind == TOOL_OTHER) {
            loss_demand(losses, "tools[%zu].type", i);
        } else {
            write_function(tool, out);
        }
        if (tool->cache.at)
            loss_hint(losses, "cache_control");
    }
    put_literal(out, "]");
}

static void write_choice(const struct chat *chat, struct buffer *out)
{
    static const struct text words[] = {[CHOICE_AUTO] = {"auto", 4},
                                        [CHOICE_NONE] = {"none", 4},
                                        [CHOICE_ANY] = {"required", 8},
                                        [CHOICE_ONE] = {"", 0}};
    if (chat->tool_choice == CHOICE_UNSAID)
        return;
    if (chat->tool_choice != CHOICE_ONE) {
        put_inner(out, "tool_choice", words[chat->tool_choice]);
        return;
    }
    struct responses_tool tool;
    struct tool_index index = {.count = 0};
    responses_find_declared(chat, &index, chat->tool_choice_name, &tool);
    tool_index_done(&index);
    put_open(out, "tool_choice", '{');
    put_inner(out, "type", tool.is_custom ? TEXT("custom") : TEXT("function"));
    put_inner(out, "name", tool.name);
    put_literal(out, "}");
}

/* --------------------------------------------------------------------- how it is to answer */

static void write_format(const struct chat *chat, struct buffer *out)
{
    put_open(out, "format", '{');
    if (chat->shape == SHAPE_JSON) {
        put_inner(out, "type", TEXT("json_object"));
    } else {
        put_inner(out, "type", TEXT("json_schema"));
        put_inner(out, "name", chat->schema_name.len ? chat->schema_name : TEXT("answer"));
        put_inner(out, "description", chat->schema_description);
        put_json(out, "schema", chat->schema.at ? chat->schema : TEXT("{}"));
        put_said(out, "strict", chat->schema_strict);
    }
    put_literal(out, "}");
}

static void write_text(const struct chat *chat, struct buffer *out)
{
    if (chat->shape == SHAPE_TEXT && chat->verbosity.at == NULL)
        return;
    put_open(out, "text", '{');
    if (chat->shape != SHAPE_TEXT)
        write_format(chat, out);
    put_inner(out, "verbosity", chat->verbosity);
    put_literal(out, "}");
}

/* A word of another dialect's that OpenAI has not: Anthropic's "max". OpenAI's own clients know
 * what they say. */
static bool is_foreign_effort(const struct chat *chat)
{
    static const char *const known[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
    bool is_known = !chat->effort.len || text_equal(chat->from->dialect, TEXT("openai"));
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        is_known = is_known || inner_is(chat->effort, known[i]);
    return !is_known;
}

/* What a budget comes to; nobody but us divides it so, but all divide it somehow. */
static struct text effort_of(const struct chat *chat)
{
    int64_t tokens = chat->reasoning_tokens;
    if (is_foreign_effort(chat))
        return TEXT("high");
    if (chat->effort.at && (chat->reasoning != SAID_NO || inner_is(chat->effort, "none")))
        return chat->effort;
    if (chat->reasoning != SAID_YES || tokens == 0)
        return (struct text){NULL, 0};
    if (tokens >= EFFORT_HIGH)
        return TEXT("high");
    if (tokens >= EFFORT_MEDIUM)
        return TEXT("medium");
    return tokens >= EFFORT_LOW ? TEXT("low") : TEXT("minimal");
}

static struct text own_field(const struct chat *chat, const char *name)
{
    for (size_t i = 0; is_own(chat) && i < chat->field_count; i++)
        if (inner_is(chat->fields[i].name, name))
            return chat->fields[i].value;
    return (struct text){NULL, 0};
}

static void write_reasoning(const struct chat *chat, struct buffer *out)
{
    struct text effort = effort_of(chat);
    if (own_field(chat, "reasoning").at) /* it goes with the other fields */
        return;
    if (effort.at == NULL && chat->reasoning_shown != SAID_YES)
        return;
    put_open(out, "reasoning", '{');
    put_inner(out, "effort", effort);
    if (chat->reasoning_shown == SAID_YES)
        put_inner(out, "summary", TEXT("auto"));
    put_literal(out, "}");
}

/* What was thought has to come back whole when nothing is kept at the target. */
static void write_include(const struct chat *chat, struct buffer *out)
{
    bool thinks = chat->reasoning == SAID_YES || chat->effort.len || chat->reasoning_tokens > 0;
    if (own_field(chat, "include").at || (!thinks && chat->logprobs != SAID_YES))
        return;
    put_open(out, "include", '[');
    if (thinks)
        put_item(out, TEXT("reasoning.encrypted_content"));
    if (chat->logprobs == SAID_YES)
        put_item(out, TEXT("message.output_text.logprobs"));
    put_literal(out, "]");
}

static int64_t tokens_of(const struct chat *chat, const struct call_target *target,
                         struct losses *losses)
{
    int64_t tokens = chat->max_tokens > 0 ? chat->max_tokens : target->max_tokens_default;
    if (target->lowered_tokens > 0)
        return target->lowered_tokens;
    if (target->max_tokens_max > 0 && tokens > target->max_tokens_max)
        tokens = target->max_tokens_max;
    if (tokens > 0 && tokens < TOKENS_MIN) {
        loss_hint(losses, "max_tokens");
        tokens = TOKENS_MIN;
    }
    return tokens;
}

static void write_settings(const struct chat *chat, const struct call_target *target,
                           struct buffer *out, struct losses *losses)
{
    int64_t tokens = tokens_of(chat, target, losses);
    if (tokens > 0)
        put_number(out, "max_output_tokens", tokens);
    put_json(out, "temperature", chat->temperature);
    put_json(out, "top_p", chat->top_p);
    if (chat->top_logprobs >= 0)
        put_number(out, "top_logprobs", chat->top_logprobs);
    put_said(out, "parallel_tool_calls", chat->parallel_calls);
    put_inner(out, "user", chat->user);
    put_json(out, "metadata", chat->metadata);
    put_inner(out, "service_tier", chat->service_tier);
    /* Elsewhere an answer is not kept unless that is asked for; here it is, unless not. */
    enum said store = chat->store == SAID_NOTHING && !is_own(chat) ? SAID_NO : chat->store;
    put_said(out, "store", store);
}

/* What chat completions and responses have under the same name. */
static bool is_shared(struct text name)
{
    static const char *const names[] = {"prompt_cache_key", "prompt_cache_retention",
                                        "prompt_cache_options", "safety_identifier"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (inner_is(name, names[i]))
            return true;
    return false;
}

static void write_fields(const struct chat *chat, struct buffer *out, struct losses *losses)
{
    bool is_kin = chat->from && text_equal(chat->from->dialect, TEXT("openai"));
    for (size_t i = 0; i < chat->field_count; i++) {
        const struct chat_field *field = &chat->fields[i];
        if (field->value.at && (is_own(chat) || (is_kin && is_shared(field->name)))) {
            put_comma(out);
            put_literal(out, "\"");
            put_text(out, field->name);
            put_literal(out, "\":");
            put_text(out, field->value);
        } else if (field->is_demand) {
            loss_demand(losses, "%.*s", TEXT_ARGS(text_head(field->name, 64)));
        } else {
            loss_hint(losses, "%.*s", TEXT_ARGS(text_head(field->name, 64)));
        }
    }
    if (chat->fields_cut)
        loss_hint(losses, "more fields");
}

static void name_losses(const struct chat *chat, struct losses *losses)
{
    if (chat->stop_count)
        loss_demand(losses, "stop");
    if (chat->choices > 1)
        loss_demand(losses, "n");
    if (wants_more_than_text(chat->modalities))
        loss_demand(losses, "modalities");
    if (chat->voice.at)
        loss_hint(losses, "audio");
    /* Which models can leave it out, and which do it anyhow, is not known here. */
    if (chat->reasoning != SAID_NOTHING && !effort_of(chat).at && !own_field(chat, "reasoning").at)
        loss_hint(losses, "reasoning");
    if (is_foreign_effort(chat))
        loss_hint(losses, "reasoning_effort");
    if (chat->top_k.at)
        loss_hint(losses, "top_k");
    if (chat->seed.at)
        loss_hint(losses, "seed");
    if (chat->frequency_penalty.at)
        loss_hint(losses, "frequency_penalty");
    if (chat->presence_penalty.at)
        loss_hint(losses, "presence_penalty");
    if (chat->logit_bias.at)
        loss_hint(losses, "logit_bias");
}

/* -------------------------------------------------------------------------------- the call */

/* Does the conversation begin with what can be said as `instructions`: one plain text? */
static bool has_instructions(const struct chat *chat)
{
    const struct message *first = chat->messages;
    return chat->message_count > 1 && first->role == ROLE_SYSTEM && first->part_count == 1 &&
           first->parts[0].kind == PART_TEXT && first->parts[0].cache.at == NULL;
}

void responses_write_call(struct arena *arena, const struct chat *chat,
                          const struct call_target *target, struct buffer *out,
                          struct losses *losses)
{
    size_t skip = has_instructions(chat) ? 1 : 0;
    put_open(out, NULL, '{');
    put_inner(out, "model", inner_of(arena, target->model));
    if (target->stream)
        put_said(out, "stream", SAID_YES);
    if (skip)
        put_inner(out, "instructions", chat->messages[0].parts[0].text);
    put_open(out, "input", '[');
    responses_write_items(arena, chat, target, skip, out, losses);
    put_literal(out, "]");
    if (chat->tool_count)
        responses_write_tools(chat, out, losses);
    write_choice(chat, out);
    write_text(chat, out);
    write_reasoning(chat, out);
    write_include(chat, out);
    write_settings(chat, target, out, losses);
    write_fields(chat, out, losses);
    put_literal(out, "}");
    name_losses(chat, losses);
}
