/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bedrock.h: how long an answer may be, how it is drawn, how its model thinks. AWS has words of its
 * own for some of it; the rest goes to the model's maker as it wants it.
 *
 * Sources: AWS' guides of Claude (extended thinking), Nova (extended thinking, inference
 * parameters) and OpenAI's open models on Bedrock.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"

/* What goes where; json, at == NULL = nothing. */
struct settings {
    int64_t max_tokens;
    struct text temperature, top_p, top_k, thinking;
    struct text effort; /* inner */
    struct text schema; /* json, an object */
};

static const char *name_of_effort(const struct chat *chat)
{
    if (text_equal(chat->from->name, TEXT("openai-responses")))
        return "reasoning.effort";
    return text_starts(chat->from->name, TEXT("openai")) ? "reasoning_effort" : "thinking";
}

static struct text member_of(struct text object, struct text name)
{
    return object.len && object.at[0] == '{' ? member_find(object, name) : (struct text){NULL, 0};
}

/* What Claude's own dialect would say is said here in other places. */
static void ask_claude(struct bedrock_writing *w, struct settings *s)
{
    struct buffer own;
    struct anthropic_writing writing = {
        .arena = w->arena,
        .chat = w->chat,
        .target = w->target,
        .out = &own,
        .losses = w->losses,
        .model = anthropic_model_of(w->target->model),
    };
    buffer_init(&own, SIZE_MAX / 2);
    put_literal(&own, "{");
    anthropic_put_thinking(&writing);
    put_literal(&own, "}");
    struct text said = arena_copy(w->arena, buffer_text(&own));
    buffer_done(&own);
    struct text output = member_find(said, TEXT("output_config"));
    struct text format = member_of(output, TEXT("format"));
    member_count(member_find(said, TEXT("max_tokens")), INT64_MAX / 2, &s->max_tokens);
    s->temperature = member_find(said, TEXT("temperature"));
    s->top_p = member_find(said, TEXT("top_p"));
    s->top_k = member_find(said, TEXT("top_k"));
    s->thinking = member_find(said, TEXT("thinking"));
    s->effort = member_string(member_of(output, TEXT("effort")));
    s->schema = member_of(format, TEXT("schema"));
    if (w->chat->effort.len && !s->effort.len && !s->thinking.at &&
        w->chat->reasoning != SAID_YES && w->chat->reasoning != SAID_NO)
        loss_hint(w->losses, "%s", name_of_effort(w->chat)); /* what thinks says it itself */
}

static int64_t max_tokens_of(const struct bedrock_writing *w)
{
    int64_t tokens = w->chat->max_tokens ? w->chat->max_tokens : w->target->max_tokens_default;
    return w->target->lowered_tokens ? w->target->lowered_tokens : tokens;
}

static void ask_other(struct bedrock_writing *w, struct settings *s)
{
    const struct chat *chat = w->chat;
    s->max_tokens = max_tokens_of(w);
    s->temperature = chat->temperature;
    s->top_p = chat->top_p;
    s->top_k = chat->top_k;
    if (chat->shape == SHAPE_SCHEMA)
        s->schema = chat->schema;
    if (w->own && (w->claude || chat->reasoning == SAID_NOTHING))
        s->effort = chat->effort;
    if (!w->own || !w->claude || chat->reasoning == SAID_NOTHING)
        return;
    s->thinking = chat->reasoning == SAID_NO ? TEXT("{\"type\":\"disabled\"}")
                  : chat->reasoning_tokens
                      ? arena_format(w->arena, "{\"type\":\"enabled\",\"budget_tokens\":%lld}",
                                     (long long)chat->reasoning_tokens)
                      : TEXT("{\"type\":\"adaptive\"}");
}

/* ------------------------------------------------------------------------- inferenceConfig */

static void put_within(struct bedrock_writing *w, struct text holder)
{
    const struct chat *chat = w->chat;
    for (size_t i = 0; w->own && i < chat->field_count; i++) {
        const struct chat_field *field = &chat->fields[i];
        if (!text_starts(field->name, holder) || !field->value.at)
            continue;
        anthropic_put_name(w->out, text_from(field->name, holder.len));
        put_text(w->out, field->value);
    }
}

static void put_inference(struct bedrock_writing *w, const struct settings *s)
{
    const struct chat *chat = w->chat;
    put_open(w->out, "inferenceConfig", '{');
    if (s->max_tokens > 0)
        put_number(w->out, "maxTokens", s->max_tokens);
    put_json(w->out, "temperature", s->temperature);
    put_json(w->out, "topP", s->top_p);
    if (chat->stop_count) {
        put_open(w->out, "stopSequences", '[');
        for (size_t i = 0; i < chat->stop_count; i++)
            put_item(w->out, chat->stops[i]);
        put_literal(w->out, "]");
    }
    put_within(w, TEXT("inferenceConfig."));
    put_literal(w->out, "}");
}

/* ------------------------------------------------------------------ what is the maker's own */

/* Nova has three efforts. */
static struct text nova_effort(struct text effort)
{
    bool known = inner_is(effort, "low") || inner_is(effort, "medium") || inner_is(effort, "high");
    if (known || !effort.len)
        return known ? effort : TEXT("medium");
    return inner_is(effort, "minimal") ? TEXT("low") : TEXT("high");
}

static bool is_of(const struct bedrock_writing *w, const char *maker)
{
    return text_find(w->target->model, text_of(maker)) != SIZE_MAX;
}

/* How the models of others than Anthropic are asked to think; false when they cannot be. */
static bool put_reasoning(struct bedrock_writing *w)
{
    const struct chat *chat = w->chat;
    if (is_of(w, "nova-2")) {
        put_open(w->out, "reasoningConfig", '{');
        put_inner(w->out, "type", chat->reasoning == SAID_YES ? TEXT("enabled") : TEXT("disabled"));
        if (chat->reasoning == SAID_YES)
            put_inner(w->out, "maxReasoningEffort", nova_effort(chat->effort));
        put_literal(w->out, "}");
        return true;
    }
    if (is_of(w, "gpt-oss") && chat->reasoning == SAID_YES && chat->effort.len) {
        put_inner(w->out, "reasoning_effort", chat->effort);
        return true;
    }
    return false;
}

static void put_additional(struct bedrock_writing *w, const struct settings *s)
{
    const struct chat *chat = w->chat;
    struct text kept =
        bedrock_field(chat->fields, chat->field_count, TEXT("additionalModelRequestFields"));
    if (w->own && kept.at) {
        put_json(w->out, "additionalModelRequestFields", kept);
        return;
    }
    struct buffer *out = w->out, own;
    buffer_init(&own, SIZE_MAX / 2);
    w->out = &own;
    put_literal(&own, "{");
    put_json(&own, "thinking", s->thinking);
    bool takes_top_k = w->claude || w->own || is_of(w, "mistral");
    if (s->top_k.at && w->nova) {
        put_open(&own, "inferenceConfig", '{');
        put_json(&own, "topK", s->top_k);
        put_literal(&own, "}");
    } else if (s->top_k.at && takes_top_k) {
        put_json(&own, "top_k", s->top_k);
    } else if (s->top_k.at) {
        loss_hint(w->losses, "top_k");
    }
    bool asked = chat->reasoning != SAID_NOTHING;
    if (asked && !w->claude && !put_reasoning(w) && chat->reasoning == SAID_YES)
        loss_hint(w->losses, "%s", name_of_effort(chat));
    put_literal(&own, "}");
    w->out = out;
    if (buffer_length(&own) > 2)
        put_json(out, "additionalModelRequestFields", buffer_text(&own));
    buffer_done(&own);
}

/* ----------------------------------------------------------------------------- outputConfig */

static void put_output(struct bedrock_writing *w, const struct settings *s)
{
    const struct chat *chat = w->chat;
    struct buffer *out = w->out;
    size_t before = buffer_length(out);
    put_open(out, "outputConfig", '{');
    size_t open = buffer_length(out);
    put_inner(out, "effort", s->effort.len ? s->effort : (struct text){NULL, 0});
    if (s->schema.at) {
        put_open(out, "textFormat", '{');
        put_inner(out, "type", TEXT("json_schema"));
        put_open(out, "structure", '{');
        put_open(out, "jsonSchema", '{');
        put_inner(out, "schema", inner_of_json(w->arena, s->schema));
        put_inner(out, "name", chat->schema_name);
        put_inner(out, "description", chat->schema_description);
        put_literal(out, "}}}");
    }
    put_within(w, TEXT("outputConfig."));
    if (buffer_length(out) == open)
        out->end -= open - before; /* there is nothing to say */
    else
        put_literal(out, "}");
}

void bedrock_put_settings(struct bedrock_writing *w)
{
    struct settings s = {.max_tokens = 0};
    if (w->claude && !w->own)
        ask_claude(w, &s);
    else
        ask_other(w, &s);
    put_inference(w, &s);
    put_additional(w, &s);
    put_output(w, &s);
}
