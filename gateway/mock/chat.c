/* SPDX-License-Identifier: Apache-2.0 */

/* Chat completions and completions, as the OpenAI API reference describes them; the order and the
 * members of the chunks as recorded. */

#include "gateway/mock/inside.h"

static const char *finish_of(const struct plan *plan)
{
    return plan->limited ? "length" : plan->calls_tool ? "tool_calls" : "stop";
}

/* ------------------------------------------------------------------------- chat, streamed */

static void chunk_begin(const struct plan *plan, struct buffer *out)
{
    put_format(out,
               "data: {\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"created\":%lld,"
               "\"model\":\"%s\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\","
               "\"choices\":[",
               plan->tally.id, (long long)plan->created, plan->tally.model);
}

static void chunk_end(const struct plan *plan, struct buffer *out)
{
    put(out, TEXT("]"));
    if (plan->wish.faults & MOCK_USAGE_EVERY) {
        put(out, TEXT(",\"usage\":"));
        put_chat_usage(out, plan);
    } else if (plan->include_usage) {
        put(out, TEXT(",\"usage\":null"));
    }
    put(out, TEXT("}\n\n"));
}

static void chat_stream_begin(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    for (int64_t i = 0; i < plan->choices; i++) {
        chunk_begin(plan, out);
        put_format(out, "{\"index\":%lld,\"delta\":{\"role\":\"assistant\",\"content\":%s",
                   (long long)i, plan->calls_tool ? "null" : "\"\"");
        if (plan->calls_tool)
            put_format(out,
                       ",\"tool_calls\":[{\"index\":0,\"id\":\"call_%s%lld\",\"type\":\"function\","
                       "\"function\":{\"name\":\"%s\",\"arguments\":\"\"}}]",
                       plan->tally.id + 9, (long long)i, plan->tool);
        put(out, TEXT(",\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}"));
        chunk_end(plan, out);
    }
}

/* One chunk of one choice; the choices take turns. */
static bool chat_stream_more(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    int64_t at = plan->at;
    if (at >= plan->prose.tokens)
        return false;
    chunk_begin(plan, out);
    put_format(out, "{\"index\":%lld,\"delta\":{", (long long)plan->choice);
    put(out, plan->calls_tool ? TEXT("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"")
                              : TEXT("\"content\":\""));
    call_next(caller, out);
    put(out, plan->calls_tool ? TEXT("\"}}]") : TEXT("\""));
    put(out, TEXT("},\"logprobs\":null,\"finish_reason\":null}"));
    chunk_end(plan, out);
    if (++plan->choice < plan->choices)
        plan->at = at; /* the others say the same piece */
    else
        plan->choice = 0;
    return true;
}

static void stream_done(struct caller *caller, struct buffer *out)
{
    if (!(caller->plan.wish.faults & MOCK_NO_DONE))
        put(out, TEXT("data: [DONE]\n\n"));
}

static void chat_stream_end(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    for (int64_t i = 0; i < plan->choices; i++) {
        chunk_begin(plan, out);
        put_format(out, "{\"index\":%lld,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"}",
                   (long long)i, finish_of(plan));
        chunk_end(plan, out);
    }
    if (plan->include_usage) {
        chunk_begin(plan, out);
        put(out, TEXT("],\"usage\":"));
        put_chat_usage(out, plan);
        put(out, TEXT("}\n\n"));
    }
    stream_done(caller, out);
}

/* --------------------------------------------------------------------------- chat, whole */

static void choice_begin(const struct plan *plan, struct buffer *out)
{
    put_format(out, "{\"index\":%lld,\"message\":{\"role\":\"assistant\",\"content\":",
               (long long)plan->choice);
    if (plan->calls_tool)
        put_format(out,
                   "null,\"tool_calls\":[{\"id\":\"call_%s%lld\",\"type\":\"function\","
                   "\"function\":{\"name\":\"%s\",\"arguments\":\"",
                   plan->tally.id + 9, (long long)plan->choice, plan->tool);
    else
        put(out, TEXT("\""));
}

static void choice_end(const struct plan *plan, struct buffer *out)
{
    put(out, plan->calls_tool ? TEXT("\"}}]") : TEXT("\""));
    put_format(out,
               ",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"%s\"}",
               finish_of(plan));
}

static void chat_begin(struct caller *caller, struct buffer *out)
{
    const struct plan *plan = &caller->plan;
    put_format(out,
               "{\"id\":\"%s\",\"object\":\"chat.completion\",\"created\":%lld,\"model\":\"%s\","
               "\"choices\":[",
               plan->tally.id, (long long)plan->created, plan->tally.model);
    choice_begin(plan, out);
}

static bool chat_more(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    if (call_next(caller, out))
        return true;
    choice_end(plan, out);
    if (++plan->choice >= plan->choices)
        return false;
    plan->at = 0;
    put(out, TEXT(","));
    choice_begin(plan, out);
    return true;
}

static void chat_end(struct caller *caller, struct buffer *out)
{
    const struct plan *plan = &caller->plan;
    put(out, TEXT("]"));
    if (!(plan->wish.faults & MOCK_NO_USAGE)) {
        put(out, TEXT(",\"usage\":"));
        put_chat_usage(out, plan);
    }
    put(out, TEXT(",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\"}"));
}

/* A format that is asked for: JSON that fits the schema. */
static void choose_format(struct plan *plan, struct text format)
{
    struct text type = member_words(format, "type");
    if (text_equal(type, TEXT("json_object"))) {
        put(&plan->text, TEXT("{\"answer\":\"made up\",\"number\":7}"));
    } else if (text_equal(type, TEXT("json_schema"))) {
        struct text inside = member_find(format, TEXT("json_schema"));
        struct text schema = member_find(inside.at != NULL ? inside : format, TEXT("schema"));
        schema_fill(&plan->text, schema, schema);
    } else {
        return;
    }
    plan->prose.said = buffer_text(&plan->text);
}

void answer_chat(struct caller *caller)
{
    static const struct script stream = {chat_stream_begin, chat_stream_more, chat_stream_end};
    static const struct script whole = {chat_begin, chat_more, chat_end};
    static const char *const prompts[] = {"messages", "tools", NULL};
    if (!call_begin(caller, "chatcmpl-", prompts))
        return;
    struct text body = asked(caller);
    if (!tool_choose(caller, member_find(body, TEXT("messages")), true))
        choose_format(&caller->plan, member_find(body, TEXT("response_format")));
    call_measure(caller);
    call_speak(caller, &stream, &whole);
}

/* ------------------------------------------------------------------------------ completions */

static void text_chunk(const struct plan *plan, struct buffer *out)
{
    put_format(out,
               "%s{\"id\":\"%s\",\"object\":\"text_completion\",\"created\":%lld,"
               "\"model\":\"%s\",\"choices\":[",
               plan->stream ? "data: " : "", plan->tally.id, (long long)plan->created,
               plan->tally.model);
}

static bool completion_stream_more(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    int64_t at = plan->at;
    if (at >= plan->prose.tokens)
        return false;
    text_chunk(plan, out);
    put(out, TEXT("{\"text\":\""));
    call_next(caller, out);
    put_format(out, "\",\"index\":%lld,\"logprobs\":null,\"finish_reason\":null}",
               (long long)plan->choice);
    chunk_end(plan, out);
    if (++plan->choice < plan->choices)
        plan->at = at;
    else
        plan->choice = 0;
    return true;
}

static void completion_stream_end(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    for (int64_t i = 0; i < plan->choices; i++) {
        text_chunk(plan, out);
        put_format(out, "{\"text\":\"\",\"index\":%lld,\"logprobs\":null,\"finish_reason\":\"%s\"}",
                   (long long)i, finish_of(plan));
        chunk_end(plan, out);
    }
    if (plan->include_usage) {
        text_chunk(plan, out);
        put(out, TEXT("],\"usage\":"));
        put_chat_usage(out, plan);
        put(out, TEXT("}\n\n"));
    }
    stream_done(caller, out);
}

static void completion_begin(struct caller *caller, struct buffer *out)
{
    text_chunk(&caller->plan, out);
    put(out, TEXT("{\"text\":\""));
}

static bool completion_more(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    if (call_next(caller, out))
        return true;
    put_format(out, "\",\"index\":%lld,\"logprobs\":null,\"finish_reason\":\"%s\"}",
               (long long)plan->choice, finish_of(plan));
    if (++plan->choice >= plan->choices)
        return false;
    plan->at = 0;
    put(out, TEXT(",{\"text\":\""));
    return true;
}

static void completion_end(struct caller *caller, struct buffer *out)
{
    put(out, TEXT("]"));
    if (!(caller->plan.wish.faults & MOCK_NO_USAGE)) {
        put(out, TEXT(",\"usage\":"));
        put_chat_usage(out, &caller->plan);
    }
    put(out, TEXT("}"));
}

void answer_completion(struct caller *caller)
{
    static const struct script stream = {NULL, completion_stream_more, completion_stream_end};
    static const struct script whole = {completion_begin, completion_more, completion_end};
    static const char *const prompts[] = {"prompt", "suffix", NULL};
    if (!call_begin(caller, "cmpl-", prompts))
        return;
    call_measure(caller);
    call_speak(caller, &stream, &whole);
}
