/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: a call is written - all but the conversation.
 */
#include <stdlib.h>

#include "gateway/base/member.h"
#include "providers/openai_chat.h"

enum {
    STOPS_MAX = 4
}; /* as OpenAI has it, where the row says nothing; servers of one's own have no such limit */

/* Does the client know OpenAI's words, those of chats or of responses? */
static bool speaks_openai(const struct translator *from)
{
    return openai_is_family(from) || text_equal(from->dialect, TEXT("openai"));
}

/* ------------------------------------------------------------------------------------ sampling */

int64_t openai_max_tokens(struct call_writing *w)
{
    const struct call_target *target = w->target;
    if (target->lowered_tokens > 0)
        return target->lowered_tokens;
    int64_t asked = w->chat->max_tokens;
    if (asked == 0)
        return target->max_tokens_default;
    if (target->max_tokens_max == 0 || asked <= target->max_tokens_max)
        return asked;
    loss_hint(w->losses, "max_tokens");
    return target->max_tokens_max;
}

bool openai_takes(const struct call_writing *w, const char *name)
{
    struct text rest = w->type->refuses, refused;
    while (text_next(&rest, ' ', &refused))
        if (text_equal(refused, text_of(name)))
            return false;
    return true;
}

/* How many stop sequences the target takes. */
static size_t stops_max(const struct call_writing *w)
{
    if (!openai_takes(w, "stops"))
        return 1;
    if (w->type->limits.stops)
        return (size_t)w->type->limits.stops;
    return w->type->is_own || w->is_mistral ? SIZE_MAX : STOPS_MAX;
}

static void write_stops(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    size_t max = stops_max(w);
    if (!chat->stop_count)
        return;
    put_open(w->out, "stop", '[');
    for (size_t i = 0; i < chat->stop_count; i++) {
        if (i >= max)
            loss_demand(w->losses, "stop[%zu]", i);
        else
            put_item(w->out, chat->stops[i]);
    }
    put_literal(w->out, "]");
}

/* What the target does not take is named. */
static void write_if(struct call_writing *w, bool takes, const char *name, struct text json)
{
    if (takes)
        put_json(w->out, name, json);
    else if (json.at)
        loss_hint(w->losses, "%s", name);
}

static void write_inner_if(struct call_writing *w, bool takes, const char *name, struct text inner)
{
    if (takes)
        put_inner(w->out, name, inner);
    else if (inner.at)
        loss_hint(w->losses, "%s", name);
}

/* Mistral's goes to 1.5, OpenAI's to 2. */
static void write_temperature(struct call_writing *w)
{
    struct text temperature = w->chat->temperature;
    char digits[32] = "";
    memcpy(digits, temperature.at ? temperature.at : "",
           temperature.len < sizeof(digits) ? temperature.len : 0);
    if (w->is_mistral && strtod(digits, NULL) > 1.5) {
        loss_hint(w->losses, "temperature");
        temperature = TEXT("1.5");
    }
    put_json(w->out, "temperature", temperature);
}

void openai_write_sampling(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    write_temperature(w);
    put_json(w->out, "top_p", chat->top_p);
    write_if(w, w->type->top_k && !w->is_mistral, "top_k", chat->top_k);
    write_if(w, openai_takes(w, "frequency_penalty"), "frequency_penalty", chat->frequency_penalty);
    write_if(w, openai_takes(w, "presence_penalty"), "presence_penalty", chat->presence_penalty);
    put_json(w->out, w->is_mistral ? "random_seed" : "seed", chat->seed);
    write_if(w, !w->is_mistral && openai_takes(w, "logit_bias"), "logit_bias", chat->logit_bias);
    write_stops(w);
    if (chat->choices > 1 && openai_takes(w, "n"))
        put_number(w->out, "n", chat->choices);
    else if (chat->choices > 1)
        loss_demand(w->losses, "n");
}

/* --------------------------------------------------------------------------------------- tools */

static void write_tool(struct call_writing *w, const struct tool *tool)
{
    put_open(w->out, NULL, '{');
    put_inner(w->out, "type", TEXT("function"));
    put_open(w->out, "function", '{');
    put_inner(w->out, "name", tool->name);
    put_inner(w->out, "description", tool->description);
    /* Mistral will not do without. */
    struct text none =
        w->is_mistral ? TEXT("{\"type\":\"object\",\"properties\":{}}") : (struct text){NULL, 0};
    put_json(w->out, "parameters", tool->schema.at ? tool->schema : none);
    if (tool->strict)
        put_said(w->out, "strict", SAID_YES);
    put_literal(w->out, "}");
    if (tool->cache.at && w->type->conventions)
        put_json(w->out, "cache_control", tool->cache);
    put_literal(w->out, "}");
}

/* A tool of free text goes as it came to who has such ones. */
static bool is_own_custom(const struct call_writing *w, const struct tool *tool)
{
    return tool->takes_text && w->chat->from == w->own;
}

static size_t write_tool_list(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    size_t written = 0;
    for (size_t i = 0; i < chat->tool_count; i++) {
        const struct tool *tool = &chat->tools[i];
        bool known = tool->kind == TOOL_FUNCTION || chat->from == w->own;
        if (!known) {
            loss_demand(w->losses, "tools[%zu].type", i);
            continue;
        }
        if (tool->cache.at && !w->type->conventions)
            loss_hint(w->losses, "tools[%zu].cache_control", i);
        if (!written++)
            put_open(w->out, "tools", '[');
        if (tool->kind == TOOL_FUNCTION && !is_own_custom(w, tool)) {
            write_tool(w, tool);
        } else {
            put_comma(w->out);
            put_text(w->out, tool->raw);
        }
    }
    if (written)
        put_literal(w->out, "]");
    return written;
}

static void write_one_choice(struct call_writing *w)
{
    const char *kind = "function";
    for (size_t i = 0; i < w->chat->tool_count; i++)
        if (is_own_custom(w, &w->chat->tools[i]) &&
            text_equal(w->chat->tools[i].name, w->chat->tool_choice_name))
            kind = "custom";
    put_open(w->out, "tool_choice", '{');
    put_inner(w->out, "type", text_of(kind));
    put_open(w->out, kind, '{');
    put_inner(w->out, "name", w->chat->tool_choice_name);
    put_literal(w->out, "}}");
}

/* What the client says of the choice, as far as the target knows it. */
static enum tool_choice choice_here(struct call_writing *w)
{
    enum tool_choice choice = w->chat->tool_choice;
    bool forced = choice == CHOICE_ANY || choice == CHOICE_ONE;
    if (!forced ||
        (openai_takes(w, "tool_choice") && (choice == CHOICE_ONE || openai_takes(w, "required"))))
        return choice;
    loss_demand(w->losses, "tool_choice");
    return CHOICE_UNSAID;
}

static void write_tools(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    /* Without tools none is called, also where the word is not known. */
    if (chat->tool_choice == CHOICE_NONE && !openai_takes(w, "tool_choice"))
        return;
    if (!write_tool_list(w))
        return; /* a choice among none would be refused */
    switch (choice_here(w)) {
    case CHOICE_UNSAID:
        break;
    case CHOICE_AUTO:
        put_inner(w->out, "tool_choice", TEXT("auto"));
        break;
    case CHOICE_NONE:
        put_inner(w->out, "tool_choice", TEXT("none"));
        break;
    case CHOICE_ANY:
        put_inner(w->out, "tool_choice", w->is_mistral ? TEXT("any") : TEXT("required"));
        break;
    case CHOICE_ONE:
        write_one_choice(w);
        break;
    }
    if (openai_takes(w, "parallel_tool_calls"))
        put_said(w->out, "parallel_tool_calls", chat->parallel_calls);
    else if (chat->parallel_calls == SAID_NO)
        loss_hint(w->losses, "parallel_tool_calls");
}

/* ------------------------------------------------------------------------ the form of the answer
 */

static void write_schema(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    put_inner(w->out, "type", TEXT("json_schema"));
    put_open(w->out, "json_schema", '{');
    put_inner(w->out, "name", chat->schema_name.len ? chat->schema_name : TEXT("answer"));
    put_inner(w->out, "description", chat->schema_description);
    put_json(w->out, "schema", chat->schema);
    put_said(w->out, "strict", chat->schema_strict);
    put_literal(w->out, "}");
}

static void write_shape(struct call_writing *w)
{
    if (w->chat->shape == SHAPE_TEXT)
        return;
    bool schema = w->chat->shape == SHAPE_SCHEMA;
    if (schema && w->type->json_object_only)
        loss_demand(w->losses, "response_format.json_schema");
    put_open(w->out, "response_format", '{');
    if (schema && !w->type->json_object_only)
        write_schema(w);
    else
        put_inner(w->out, "type", TEXT("json_object"));
    put_literal(w->out, "}");
}

/* ----------------------------------------------------------------------------------- reasoning */

/* Where only words are understood, a budget is one of them. */
static struct text effort_of(struct call_writing *w)
{
    static const struct text known[] = {
        {"minimal", 7}, {"low", 3}, {"medium", 6}, {"high", 4}, {"xhigh", 5}};
    const struct chat *chat = w->chat;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (text_equal(chat->effort, known[i]))
            return chat->effort;
    if (chat->effort.len) { /* "max" */
        loss_hint(w->losses, "reasoning_effort");
        return TEXT("high");
    }
    if (chat->reasoning_tokens == 0)
        return (struct text){NULL, 0};
    loss_hint(w->losses, "thinking.budget_tokens");
    return chat->reasoning_tokens <= 2048   ? TEXT("low")
           : chat->reasoning_tokens <= 8192 ? TEXT("medium")
                                            : TEXT("high");
}

/* reasoning_effort: OpenAI's and most. */
static void write_effort(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    if (chat->reasoning == SAID_NO) {
        /* Models that do not reason refuse the word: only who has said it knows that they do. */
        if (speaks_openai(chat->from))
            put_inner(w->out, "reasoning_effort", TEXT("none"));
        else
            loss_hint(w->losses, "reasoning");
        return;
    }
    struct text effort = effort_of(w);
    put_inner(w->out, "reasoning_effort", effort);
    if (chat->reasoning == SAID_YES && !effort.at)
        loss_hint(w->losses, "reasoning");
}

/* OpenRouter's object says all of it. */
static void write_object(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    put_open(w->out, "reasoning", '{');
    put_inner(w->out, "effort", chat->effort.len ? chat->effort : (struct text){NULL, 0});
    if (chat->reasoning_tokens > 0)
        put_number(w->out, "max_tokens", chat->reasoning_tokens);
    if (!chat->effort.len && chat->reasoning_tokens == 0)
        put_said(w->out, "enabled", chat->reasoning);
    if (chat->reasoning_shown)
        put_said(w->out, "exclude", chat->reasoning_shown == SAID_YES ? SAID_NO : SAID_YES);
    put_literal(w->out, "}");
}

/* {"thinking":{"type":"enabled"}}, and on and off alone in other words. */
static void write_switch(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    struct text form = w->type->reasoning;
    bool on = chat->reasoning != SAID_NO;
    if (text_equal(form, TEXT("thinking"))) {
        put_json(w->out, "thinking",
                 on ? TEXT("{\"type\":\"enabled\"}") : TEXT("{\"type\":\"disabled\"}"));
    } else if (text_equal(form, TEXT("template"))) {
        put_json(w->out, "chat_template_kwargs",
                 on ? TEXT("{\"enable_thinking\":true}") : TEXT("{\"enable_thinking\":false}"));
        put_inner(w->out, "reasoning_effort",
                  chat->effort.len ? chat->effort : (struct text){NULL, 0});
        if (chat->reasoning_tokens > 0)
            loss_hint(w->losses, "thinking.budget_tokens");
        return;
    } else {
        put_said(w->out, "enable_thinking", on ? SAID_YES : SAID_NO);
    }
    bool budget = text_equal(form, TEXT("enable_thinking"));
    if (chat->reasoning_tokens > 0 && budget)
        put_number(w->out, "thinking_budget", chat->reasoning_tokens);
    else if (chat->reasoning_tokens > 0)
        loss_hint(w->losses, "thinking.budget_tokens");
    if (chat->effort.len)
        loss_hint(w->losses, "reasoning_effort");
}

static void write_reasoning(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    struct text form = w->type->reasoning;
    bool object = text_equal(form, TEXT("object"));
    if (object && chat->reasoning_shown) {
        write_object(w);
        return;
    }
    if (!chat->reasoning && !chat->effort.len && chat->reasoning_tokens == 0)
        return;
    if (text_equal(form, TEXT("none")))
        loss_hint(w->losses, "reasoning");
    else if (object)
        write_object(w);
    else if (form.len == 0)
        write_effort(w);
    else
        write_switch(w);
}

/* ---------------------------------------------------------------------------------- the rest */

/* https://platform.openai.com/docs/guides/text-to-speech#voice-options */
static bool is_openais_voice(struct text voice)
{
    static const char *const voices[] = {"alloy", "ash",   "ballad", "coral", "echo",
                                         "fable", "onyx",  "nova",   "sage",  "shimmer",
                                         "verse", "marin", "cedar"};
    for (size_t i = 0; i < sizeof(voices) / sizeof(voices[0]); i++)
        if (text_equal(voice, text_of(voices[i])))
            return true;
    return false;
}

/* Sound, which others ask for without words, or without a voice. Their voices are other voices. */
static void write_others_sound(struct call_writing *w)
{
    struct text voice = w->chat->voice;
    bool known = !w->type->openai_fields || !voice.at ||
                 is_openais_voice(member_string(member_find(voice, TEXT("voice"))));
    if (!known)
        loss_demand(w->losses, "audio.voice");
    put_json(w->out, "modalities", TEXT("[\"text\",\"audio\"]"));
    put_json(w->out, "audio",
             known && voice.at ? voice : TEXT("{\"voice\":\"alloy\",\"format\":\"pcm16\"}"));
}

static void write_modalities(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    if (w->is_mistral) {
        if (chat->modalities.at || chat->voice.at)
            loss_demand(w->losses, "modalities");
    } else if (!speaks_openai(chat->from) && chat_wants(chat->modalities, TEXT("audio"))) {
        write_others_sound(w);
    } else {
        put_json(w->out, "modalities", chat->modalities);
        if (speaks_openai(chat->from))
            put_json(w->out, "audio", chat->voice);
    }
}

/* What only OpenAI itself keeps for an account, and what only its models know. */
static void write_account(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    bool takes = w->type->openai_fields;
    bool own = speaks_openai(chat->from);
    bool tier = inner_is(chat->service_tier, "auto") || inner_is(chat->service_tier, "default") ||
                inner_is(chat->service_tier, "flex") || inner_is(chat->service_tier, "priority");
    write_inner_if(w, !w->is_mistral, "user", chat->user);
    /* OpenAI takes metadata only for what it stores. */
    write_if(w, takes && (own || chat->store == SAID_YES), "metadata", chat->metadata);
    write_inner_if(w, takes && (own || tier), "service_tier", chat->service_tier);
    write_inner_if(w, takes, "verbosity", chat->verbosity);
    if (takes)
        put_said(w->out, "store", chat->store);
    else if (chat->store == SAID_YES)
        loss_hint(w->losses, "store");
    write_modalities(w);
}

static void write_logprobs(struct call_writing *w)
{
    bool refused = !openai_takes(w, "logprobs");
    if (refused || (w->is_mistral && w->chat->from != w->own)) {
        if (w->chat->logprobs == SAID_YES)
            loss_demand(w->losses, "logprobs");
        return;
    }
    put_said(w->out, "logprobs", w->chat->logprobs);
    if (w->chat->top_logprobs >= 0)
        put_number(w->out, "top_logprobs", w->chat->top_logprobs);
}

/* With the members that the client gave beside include_usage. */
static void write_stream(struct call_writing *w, struct text options)
{
    struct text name, value;
    if (!w->target->stream)
        return;
    put_said(w->out, "stream", SAID_YES);
    if (w->is_mistral || !w->type->stream_options)
        return;
    put_open(w->out, "stream_options", '{');
    put_said(w->out, "include_usage", SAID_YES);
    while (options.at && member_take(&options, NULL, 0, NULL, &name, &value)) {
        if (!name.len || text_equal(name, TEXT("include_usage")))
            continue;
        put_comma(w->out);
        buffer_format(w->out, "\"%.*s\":", TEXT_ARGS(name));
        put_text(w->out, value);
    }
    put_literal(w->out, "}");
}

void openai_write_fields(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    struct text options = {NULL, 0};
    for (size_t i = 0; chat->from == w->own && i < chat->field_count; i++) {
        const struct chat_field *field = &chat->fields[i];
        if (text_equal(field->name, TEXT("stream_options"))) {
            options = field->value;
        } else if (field->value.at) {
            put_comma(w->out);
            put_literal(w->out, "\"");
            put_text(w->out, field->name);
            put_literal(w->out, "\":");
            put_text(w->out, field->value);
        }
    }
    write_stream(w, options);
    loss_fields(w->losses, chat, w->own);
}

static void write_max_tokens(struct call_writing *w)
{
    int64_t tokens = openai_max_tokens(w);
    bool new_name = w->type->max_completion_tokens && !w->is_mistral;
    if (tokens > 0)
        put_number(w->out, new_name ? "max_completion_tokens" : "max_tokens", tokens);
}

/* How many messages a client has put elsewhere than in its list of messages. */
static size_t count_lead(const struct chat *chat)
{
    size_t lead = 0;
    if (openai_is_family(chat->from))
        return 0;
    while (lead < chat->message_count && (chat->messages[lead].role == ROLE_SYSTEM ||
                                          chat->messages[lead].role == ROLE_DEVELOPER))
        lead++;
    return lead;
}

void openai_chat_write(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, const struct translator *own,
                       struct buffer *out, struct losses *losses)
{
    static const struct provider_type plain = {.name = {"", 0}};
    struct call_writing w = {.arena = arena,
                             .chat = chat,
                             .target = target,
                             .type = target->type ? target->type : &plain,
                             .own = own,
                             .is_mistral = own == &translator_mistral_chat,
                             .lead = count_lead(chat),
                             .out = out,
                             .losses = losses};
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, target->model));
    openai_write_messages(&w);
    write_tools(&w);
    write_max_tokens(&w);
    openai_write_sampling(&w);
    write_logprobs(&w);
    write_shape(&w);
    write_reasoning(&w);
    write_account(&w);
    openai_write_fields(&w);
    put_literal(out, "}");
}
