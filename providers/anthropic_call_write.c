/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: a call is written - all but the conversation, the tools and the thinking.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"

enum { USER_MAX = 256 }; /* of metadata.user_id */

struct text anthropic_field(const struct chat_field *fields, size_t count, struct text name)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(fields[i].name, name))
            return fields[i].value;
    return (struct text){NULL, 0};
}

void anthropic_put_name(struct buffer *out, struct text name)
{
    put_comma(out);
    put_literal(out, "\"");
    put_text(out, name);
    put_literal(out, "\":");
}

void anthropic_put_extras(struct buffer *out, struct text raw, const struct text *known,
                          size_t count)
{
    struct text name, value;
    while (raw.len && member_next(&raw, &name, &value)) {
        size_t i = 0;
        while (i < count && !text_equal(known[i], name))
            i++;
        if (i < count)
            continue;
        anthropic_put_name(out, name);
        put_text(out, value);
    }
}

const struct text anthropic_asks_json = {
    "Answer with one valid JSON object and nothing else: no text around it, no code fence.", 85};

const char *anthropic_name_of_shape(const struct chat *chat)
{
    struct text name = chat->from->name;
    if (text_equal(name, TEXT("openai-responses")))
        return "text.format";
    if (text_starts(name, TEXT("gemini")))
        return "generationConfig.responseSchema";
    if (text_starts(name, TEXT("ollama")))
        return "format";
    if (text_starts(name, TEXT("bedrock")))
        return "outputConfig.textFormat";
    return "response_format";
}

void anthropic_put_output(struct anthropic_writing *w, struct text effort)
{
    const struct chat *chat = w->chat;
    const char *name = anthropic_name_of_shape(chat);
    bool fits = chat->shape == SHAPE_SCHEMA && (w->model.has_schemas || w->own);
    if (chat->shape == SHAPE_JSON && !fits)
        loss_hint(w->losses, "%s", name); /* it is asked for in words */
    else if (chat->shape != SHAPE_TEXT && !fits)
        loss_demand(w->losses, "%s", name);
    struct text extras = {NULL, 0};
    if (w->own)
        extras = anthropic_field(chat->fields, chat->field_count, TEXT("output_config"));
    if (!fits && effort.at == NULL && extras.at == NULL)
        return;
    static const struct text known[] = {{"effort", 6}, {"format", 6}};
    put_open(w->out, "output_config", '{');
    put_inner(w->out, "effort", effort);
    if (fits) {
        put_open(w->out, "format", '{');
        put_inner(w->out, "type", TEXT("json_schema"));
        anthropic_put_name(w->out, TEXT("schema"));
        anthropic_put_schema(w, chat->schema, name);
        put_literal(w->out, "}");
    }
    anthropic_put_extras(w->out, extras, known, 2);
    put_literal(w->out, "}");
}

/* --------------------------------------------------------------------------- small members */

/* Is it nothing but white space? Anthropic refuses such ones. */
static bool is_blank(struct text inner)
{
    for (size_t i = 0; i < inner.len; i++) {
        char c = inner.at[i];
        if (c == '\\' && i + 1 < inner.len && strchr("nrtf", inner.at[i + 1]))
            i++;
        else if (c != ' ')
            return false;
    }
    return true;
}

static const char *name_of_stops(const struct chat *chat)
{
    if (text_equal(chat->from->dialect, TEXT("openai")))
        return "stop";
    if (text_equal(chat->from->dialect, TEXT("gemini")))
        return "generationConfig.stopSequences";
    return "stop_sequences";
}

static void put_stops(struct anthropic_writing *w)
{
    const struct chat *chat = w->chat;
    const char *name = name_of_stops(chat);
    if (chat->stop_count == 0)
        return;
    put_open(w->out, "stop_sequences", '[');
    for (size_t i = 0; i < chat->stop_count; i++)
        if (is_blank(chat->stops[i]) && !w->own)
            loss_demand(w->losses, "%s[%zu]", name, i);
        else
            put_item(w->out, chat->stops[i]);
    put_literal(w->out, "]");
}

static void put_metadata(struct anthropic_writing *w)
{
    const struct chat *chat = w->chat;
    struct text own = {NULL, 0};
    if (w->own)
        own = anthropic_field(chat->fields, chat->field_count, TEXT("metadata"));
    if (!json_is_absent(chat->metadata))
        loss_hint(w->losses, "metadata");
    if (own.at) {
        put_json(w->out, "metadata", own);
        return;
    }
    if (chat->user.len == 0)
        return;
    if (chat->user.len > USER_MAX) {
        loss_hint(w->losses, "user");
        return;
    }
    put_open(w->out, "metadata", '{');
    put_inner(w->out, "user_id", chat->user);
    put_literal(w->out, "}");
}

static void put_tier(struct anthropic_writing *w)
{
    struct text tier = w->chat->service_tier;
    if (tier.at == NULL)
        return;
    if (w->own || inner_is(tier, "auto") || inner_is(tier, "standard_only"))
        put_inner(w->out, "service_tier", tier);
    else if (inner_is(tier, "default"))
        put_inner(w->out, "service_tier", TEXT("standard_only"));
    else
        loss_hint(w->losses, "service_tier");
}

/* What this dialect has no word for. */
static void name_losses(struct anthropic_writing *w)
{
    const struct chat *chat = w->chat;
    struct losses *losses = w->losses;
    if (chat->choices > 1)
        loss_demand(losses, "n");
    if (chat->logprobs == SAID_YES || chat->top_logprobs > 0)
        loss_demand(losses, "logprobs");
    if (wants_more_than_text(chat->modalities))
        loss_demand(losses, "modalities");
    if (!json_is_absent(chat->voice))
        loss_demand(losses, "audio");
    const struct {
        struct text value;
        const char *name;
    } hints[] = {{chat->frequency_penalty, "frequency_penalty"},
                 {chat->presence_penalty, "presence_penalty"},
                 {chat->seed, "seed"},
                 {chat->logit_bias, "logit_bias"},
                 {chat->verbosity, "verbosity"}};
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
        if (!json_is_absent(hints[i].value))
            loss_hint(losses, "%s", hints[i].name);
    if (chat->store == SAID_YES)
        loss_hint(losses, "store");
    if (!w->own)
        loss_fields(losses, chat, &translator_anthropic);
}

/* The fields that only this dialect has, but for those that have been put where they belong. */
static void put_fields(struct anthropic_writing *w)
{
    static const struct text put[] = {{"thinking", 8}, {"output_config", 13}, {"metadata", 8}};
    for (size_t i = 0; w->own && i < w->chat->field_count; i++) {
        const struct chat_field *field = &w->chat->fields[i];
        size_t p = 0;
        while (p < sizeof(put) / sizeof(put[0]) && !text_equal(put[p], field->name))
            p++;
        if (p < sizeof(put) / sizeof(put[0]))
            continue;
        anthropic_put_name(w->out, field->name);
        put_text(w->out, field->value);
    }
}

static void write_call(struct anthropic_writing *w)
{
    put_literal(w->out, "{");
    put_inner(w->out, "model", inner_of(w->arena, w->target->model));
    anthropic_put_conversation(w);
    anthropic_put_tools(w);
    anthropic_put_thinking(w);
    if (!w->counting) {
        put_stops(w);
        put_metadata(w);
        put_tier(w);
        if (w->target->stream)
            put_json(w->out, "stream", TEXT("true"));
    }
    name_losses(w);
    put_fields(w);
    put_literal(w->out, "}");
}

static void begin(struct arena *arena, const struct chat *chat, const struct call_target *target,
                  struct buffer *out, struct losses *losses, bool counting)
{
    /* Not by the operation: a call that is only counted says the same. */
    bool own = text_equal(chat->from->dialect, translator_anthropic.dialect);
    struct anthropic_writing w = {.arena = arena,
                                  .chat = chat,
                                  .target = target,
                                  .out = out,
                                  .losses = losses,
                                  .model = anthropic_model_of(target->model),
                                  .own = own,
                                  .counting = counting};
    write_call(&w);
    table_done(&w.asked);
}

void anthropic_write_call(struct arena *arena, const struct chat *chat,
                          const struct call_target *target, struct buffer *out,
                          struct losses *losses)
{
    begin(arena, chat, target, out, losses, false);
}

void anthropic_write_count_call(struct arena *arena, const struct chat *chat,
                                const struct call_target *target, struct buffer *out,
                                struct losses *losses)
{
    begin(arena, chat, target, out, losses, true);
}
