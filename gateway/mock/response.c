/* SPDX-License-Identifier: Apache-2.0 */

/* The Responses API: one output item, a message or a function call, with the whole life of its
 * events (OpenAI API reference, "Streaming events"). */

#include "gateway/mock/inside.h"

/* What the last events repeat is held to this, so that an event has a bound. */
enum { SAID_TOKENS = 150000 };

static void put_said(struct buffer *out, const struct plan *plan, int64_t tokens)
{
    char room[PIECE_BYTES];
    for (int64_t i = 0; i < tokens; i++)
        put_escaped(out, prose_piece(&plan->prose, i, room));
}

static void put_usage(struct buffer *out, const struct plan *plan)
{
    long long input = (long long)plan->tally.prompt_tokens;
    long long output = (long long)plan->tokens + (long long)plan->wish.reasoning;
    int64_t cached = plan->wish.cached < plan->tally.prompt_tokens ? plan->wish.cached
                                                                   : plan->tally.prompt_tokens;
    put_format(out,
               "{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":%lld},"
               "\"output_tokens\":%lld,\"output_tokens_details\":{\"reasoning_tokens\":%lld},"
               "\"total_tokens\":%lld}",
               input, (long long)cached, output, (long long)plan->wish.reasoning, input + output);
}

/* The id of the output item: that of the response with another beginning. */
static const char *rest_of_id(const struct plan *plan)
{
    return plan->tally.id + sizeof("resp_") - 1;
}

static void put_item(struct buffer *out, const struct plan *plan, const char *status, int64_t said)
{
    if (plan->calls_tool) {
        put_format(out,
                   "{\"id\":\"fc_%s\",\"type\":\"function_call\",\"status\":\"%s\","
                   "\"call_id\":\"call_%s\",\"name\":\"%s\",\"arguments\":\"",
                   rest_of_id(plan), status, rest_of_id(plan), plan->tool);
        put_said(out, plan, said);
        put(out, TEXT("\"}"));
        return;
    }
    put_format(out,
               "{\"id\":\"msg_%s\",\"type\":\"message\",\"status\":\"%s\",\"role\":\"assistant\","
               "\"content\":[",
               rest_of_id(plan), status);
    if (said > 0) {
        put(out, TEXT("{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\""));
        put_said(out, plan, said);
        put(out, TEXT("\"}"));
    }
    put(out, TEXT("]}"));
}

/* The response object; <said> tokens of its output are in it, -1 = it has none yet. */
static void put_response(struct buffer *out, const struct plan *plan, const char *status,
                         int64_t said)
{
    bool incomplete = text_equal(text_of(status), TEXT("incomplete"));
    put_format(out,
               "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\","
               "\"background\":false,\"error\":null,\"incomplete_details\":%s,"
               "\"instructions\":null,\"max_output_tokens\":null,\"model\":\"%s\",\"output\":[",
               plan->tally.id, (long long)plan->created, status,
               incomplete ? "{\"reason\":\"max_output_tokens\"}" : "null", plan->tally.model);
    if (said >= 0)
        put_item(out, plan, incomplete ? "incomplete" : "completed", said);
    put_format(out,
               "],\"parallel_tool_calls\":true,\"previous_response_id\":null,\"reasoning\":"
               "{\"effort\":null,\"summary\":null},\"store\":%s,\"temperature\":1.0,\"text\":"
               "{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"auto\",\"tools\":[],"
               "\"top_p\":1.0,\"truncation\":\"disabled\",\"usage\":",
               plan->store ? "true" : "false");
    if (said >= 0 && !(plan->wish.faults & MOCK_NO_USAGE))
        put_usage(out, plan);
    else
        put(out, TEXT("null"));
    put(out, TEXT(",\"user\":null,\"metadata\":{}}"));
}

/* ---------------------------------------------------------------------------------- events */

static void event_begin(struct plan *plan, struct buffer *out, const char *type)
{
    put_format(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%lld", type, type,
               (long long)plan->sequence++);
}

static void event_end(struct buffer *out)
{
    put(out, TEXT("}\n\n"));
}

static void put_place(const struct plan *plan, struct buffer *out)
{
    put_format(out, ",\"item_id\":\"%s_%s\",\"output_index\":0", plan->calls_tool ? "fc" : "msg",
               rest_of_id(plan));
    if (!plan->calls_tool)
        put(out, TEXT(",\"content_index\":0"));
}

static void put_response_event(struct plan *plan, struct buffer *out, const char *status,
                               const char *type, int64_t said)
{
    event_begin(plan, out, type);
    put(out, TEXT(",\"response\":"));
    put_response(out, plan, status, said);
    event_end(out);
}

static void stream_begin(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    put_response_event(plan, out, "in_progress", "response.created", -1);
    put_response_event(plan, out, "in_progress", "response.in_progress", -1);
    event_begin(plan, out, "response.output_item.added");
    put(out, TEXT(",\"output_index\":0,\"item\":"));
    put_item(out, plan, "in_progress", 0);
    event_end(out);
    if (plan->calls_tool)
        return;
    event_begin(plan, out, "response.content_part.added");
    put_place(plan, out);
    put(out, TEXT(",\"part\":{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],"
                  "\"text\":\"\"}"));
    event_end(out);
}

static bool stream_more(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    if (plan->at >= plan->prose.tokens)
        return false;
    event_begin(plan, out,
                plan->calls_tool ? "response.function_call_arguments.delta"
                                 : "response.output_text.delta");
    put_place(plan, out);
    put(out, TEXT(",\"delta\":\""));
    call_next(caller, out);
    put(out, plan->calls_tool ? TEXT("\"") : TEXT("\",\"logprobs\":[]"));
    event_end(out);
    return true;
}

static void end_text(struct plan *plan, struct buffer *out)
{
    event_begin(plan, out, "response.output_text.done");
    put_place(plan, out);
    put(out, TEXT(",\"text\":\""));
    put_said(out, plan, plan->at);
    put(out, TEXT("\",\"logprobs\":[]"));
    event_end(out);
    event_begin(plan, out, "response.content_part.done");
    put_place(plan, out);
    put(out, TEXT(",\"part\":{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],"
                  "\"text\":\""));
    put_said(out, plan, plan->at);
    put(out, TEXT("\"}"));
    event_end(out);
}

static void end_arguments(struct plan *plan, struct buffer *out)
{
    event_begin(plan, out, "response.function_call_arguments.done");
    put_place(plan, out);
    put(out, TEXT(",\"arguments\":\""));
    put_said(out, plan, plan->at);
    put(out, TEXT("\""));
    event_end(out);
}

static const char *end_status(const struct plan *plan)
{
    return plan->limited ? "incomplete" : "completed";
}

static void keep_response(struct caller *caller)
{
    struct buffer body;
    buffer_init(&body, caller->plan.text.limit);
    put_response(&body, &caller->plan, end_status(&caller->plan), caller->plan.at);
    object_keep_response(caller, caller->plan.tally.id, buffer_text(&body));
    buffer_done(&body);
}

static void stream_end(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    if (plan->calls_tool)
        end_arguments(plan, out);
    else
        end_text(plan, out);
    event_begin(plan, out, "response.output_item.done");
    put(out, TEXT(",\"output_index\":0,\"item\":"));
    put_item(out, plan, end_status(plan), plan->at);
    event_end(out);
    if (!(plan->wish.faults & MOCK_NO_DONE))
        put_response_event(plan, out, end_status(plan),
                           plan->limited ? "response.incomplete" : "response.completed", plan->at);
    if (plan->store)
        keep_response(caller);
}

/* ----------------------------------------------------------------------------------- whole */

static void whole_begin(struct caller *caller, struct buffer *out)
{
    (void)caller;
    (void)out;
}

static bool whole_more(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    plan->at = plan->tokens = plan->prose.tokens;
    put_response(out, plan, end_status(plan), plan->at);
    return false;
}

static void whole_end(struct caller *caller, struct buffer *out)
{
    (void)out;
    if (caller->plan.store)
        keep_response(caller);
}

static void choose_format(struct plan *plan, struct text format)
{
    struct text type = member_words(format, "type");
    struct text schema = member_find(format, TEXT("schema"));
    if (text_equal(type, TEXT("json_schema")))
        schema_fill(&plan->text, schema, schema);
    else if (text_equal(type, TEXT("json_object")))
        put(&plan->text, TEXT("{\"answer\":\"made up\",\"number\":7}"));
    else
        return;
    plan->prose.said = buffer_text(&plan->text);
}

void answer_response(struct caller *caller)
{
    static const struct script stream = {stream_begin, stream_more, stream_end};
    static const struct script whole = {whole_begin, whole_more, whole_end};
    static const char *const prompts[] = {"input", "instructions", "tools", NULL};
    if (!call_begin(caller, "resp_", prompts))
        return;
    struct plan *plan = &caller->plan;
    struct text body = asked(caller);
    plan->store = !text_equal(member_find(body, TEXT("store")), TEXT("false"));
    if (!tool_choose(caller, member_find(body, TEXT("input")), false))
        choose_format(plan, member_find(member_find(body, TEXT("text")), TEXT("format")));
    call_measure(caller);
    if (plan->prose.tokens > SAID_TOKENS)
        plan->prose.tokens = SAID_TOKENS;
    call_speak(caller, &stream, &whole);
}
