/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: an answer is read from its stream.
 */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/openai_responses.h"
#include "providers/openai_responses_parts.h"

static const int64_t PLACE_MAX = INT64_C(1000000000);

/* An event's members. */
struct said_event {
    struct text type, delta, whole, item, part, response, logprobs, annotation, error;
    struct text code, message;
    int64_t output, content, summary;
};

static int64_t place_of(struct text value)
{
    int64_t place;
    return member_count(value, PLACE_MAX, &place) ? place : -1;
}

static void read_member(struct said_event *e, struct text name, struct text value)
{
    static const struct {
        struct text name;
        size_t offset;
    } members[] = {
        {{"delta", 5}, offsetof(struct said_event, delta)},
        {{"type", 4}, offsetof(struct said_event, type)},
        {{"logprobs", 8}, offsetof(struct said_event, logprobs)},
        {{"item", 4}, offsetof(struct said_event, item)},
        {{"part", 4}, offsetof(struct said_event, part)},
        {{"response", 8}, offsetof(struct said_event, response)},
        {{"annotation", 10}, offsetof(struct said_event, annotation)},
        {{"error", 5}, offsetof(struct said_event, error)},
        {{"code", 4}, offsetof(struct said_event, code)},
        {{"message", 7}, offsetof(struct said_event, message)},
        /* what a ".done" repeats */
        {{"text", 4}, offsetof(struct said_event, whole)},
        {{"refusal", 7}, offsetof(struct said_event, whole)},
        {{"arguments", 9}, offsetof(struct said_event, whole)},
        {{"input", 5}, offsetof(struct said_event, whole)},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (text_equal(members[i].name, name)) {
            *(struct text *)(void *)((char *)e + members[i].offset) = value;
            return;
        }
    if (text_equal(name, TEXT("output_index")))
        e->output = place_of(value);
    else if (text_equal(name, TEXT("content_index")))
        e->content = place_of(value);
    else if (text_equal(name, TEXT("summary_index")))
        e->summary = place_of(value);
}

/* -------------------------------------------------------------------------- one by one */

static void on_created(struct response_say *s, const struct said_event *e)
{
    response_begin(s, e->response);
}

static void on_item_added(struct response_say *s, const struct said_event *e)
{
    response_item_begin(s, e->output, e->item);
}

static void on_item_done(struct response_say *s, const struct said_event *e)
{
    response_item_end(s, e->output, e->item);
}

static void on_part_added(struct response_say *s, const struct said_event *e)
{
    struct text type = member_string(member_find(e->part, TEXT("type")));
    if (inner_is(type, "output_text"))
        response_content_open(s, e->output, e->content, PART_TEXT);
    else if (inner_is(type, "refusal"))
        response_content_open(s, e->output, e->content, PART_REFUSAL);
}

static void on_part_done(struct response_say *s, const struct said_event *e)
{
    response_content_end(s, e->output, e->content, e->part);
}

static void on_text(struct response_say *s, const struct said_event *e)
{
    struct response_open *part = response_content_open(s, e->output, e->content, PART_TEXT);
    response_text(s, part, member_string(e->delta));
    response_logprobs(s, part, e->logprobs);
}

static void on_text_done(struct response_say *s, const struct said_event *e)
{
    struct response_open *part = response_content_open(s, e->output, e->content, PART_TEXT);
    if (part && !part->has_said)
        response_text(s, part, member_string(e->whole));
}

static void on_refusal(struct response_say *s, const struct said_event *e)
{
    struct response_open *part = response_content_open(s, e->output, e->content, PART_REFUSAL);
    response_text(s, part, member_string(e->delta));
}

static void on_refusal_done(struct response_say *s, const struct said_event *e)
{
    struct response_open *part = response_content_open(s, e->output, e->content, PART_REFUSAL);
    if (part && !part->has_said)
        response_text(s, part, member_string(e->whole));
}

static void on_annotation(struct response_say *s, const struct said_event *e)
{
    struct response_open *part = response_content_open(s, e->output, e->content, PART_TEXT);
    response_cite(s, part, e->annotation);
}

static void on_summary(struct response_say *s, const struct said_event *e)
{
    response_thought(s, e->output, false, e->summary, member_string(e->delta));
}

static void on_summary_done(struct response_say *s, const struct said_event *e)
{
    response_thought_done(s, e->output, false, e->summary, member_string(e->whole));
}

static void on_reasoning(struct response_say *s, const struct said_event *e)
{
    response_thought(s, e->output, true, e->content, member_string(e->delta));
}

static void on_reasoning_done(struct response_say *s, const struct said_event *e)
{
    response_thought_done(s, e->output, true, e->content, member_string(e->whole));
}

static void on_arguments(struct response_say *s, const struct said_event *e)
{
    response_arguments(s, response_call_of(s, e->output), member_string(e->delta));
}

static void on_arguments_done(struct response_say *s, const struct said_event *e)
{
    struct response_open *part = response_call_of(s, e->output);
    if (part && !part->has_said)
        response_arguments(s, part, member_string(e->whole));
}

static void on_finished(struct response_say *s, const struct said_event *e)
{
    response_finish(s, e->response);
}

static void on_failed(struct response_say *s, const struct said_event *e)
{
    response_fail(s, member_find(e->response, TEXT("error")));
}

/* {"type":"error","error":{...}}, or the error's members stand in the event itself. */
static void on_error(struct response_say *s, const struct said_event *e)
{
    if (e->error.at && e->error.at[0] == '{')
        response_fail(s, e->error);
    else
        response_fail_with(s, member_string(e->code), member_string(e->message));
}

/* clang-format off */
static const struct {
    struct text type;
    void (*take)(struct response_say *s, const struct said_event *e);
} takers[] = {
    {{"response.output_text.delta", 26}, on_text},
    {{"response.function_call_arguments.delta", 38}, on_arguments},
    {{"response.reasoning_summary_text.delta", 37}, on_summary},
    {{"response.reasoning_text.delta", 29}, on_reasoning},
    {{"response.custom_tool_call_input.delta", 37}, on_arguments},
    {{"response.refusal.delta", 22}, on_refusal},
    {{"response.created", 16}, on_created},
    {{"response.in_progress", 20}, on_created},
    {{"response.queued", 15}, on_created},
    {{"response.output_item.added", 26}, on_item_added},
    {{"response.output_item.done", 25}, on_item_done},
    {{"response.content_part.added", 27}, on_part_added},
    {{"response.content_part.done", 26}, on_part_done},
    {{"response.output_text.done", 25}, on_text_done},
    {{"response.output_text.annotation.added", 37}, on_annotation},
    {{"response.refusal.done", 21}, on_refusal_done},
    {{"response.function_call_arguments.done", 37}, on_arguments_done},
    {{"response.custom_tool_call_input.done", 36}, on_arguments_done},
    {{"response.reasoning_summary_text.done", 36}, on_summary_done},
    {{"response.reasoning_text.done", 28}, on_reasoning_done},
    {{"response.completed", 18}, on_finished},
    {{"response.incomplete", 19}, on_finished},
    {{"response.failed", 15}, on_failed},
    {{"error", 5}, on_error},
};
/* clang-format on */

static bool is_object(struct text json)
{
    while (json.len &&
           (json.at[0] == ' ' || json.at[0] == '\n' || json.at[0] == '\r' || json.at[0] == '\t'))
        json = text_from(json, 1);
    return json.len && json.at[0] == '{' && scan_is_valid(json);
}

/* What is not in the table tells how the provider's own tools get on; their items say all of it. */
void responses_read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    struct response_say s = {.r = state, .sink = sink};
    struct said_event e = {.output = -1, .content = -1, .summary = -1};
    struct text rest = frame->data, name, value;
    if (s.r->is_over || text_equal(frame->data, TEXT("[DONE]")))
        return;
    if (!is_object(frame->data)) {
        response_fail_broken(&s);
        return;
    }
    while (member_next(&rest, &name, &value))
        read_member(&e, name, value);
    struct text type = member_string(e.type);
    if (type.at == NULL)
        type = e.error.at ? TEXT("error") : frame->name;
    for (size_t i = 0; i < sizeof(takers) / sizeof(takers[0]); i++)
        if (text_equal(takers[i].type, type)) {
            takers[i].take(&s, &e);
            return;
        }
}

void responses_read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct response_say s = {.r = state, .sink = sink};
    if (!is_object(body)) {
        response_fail_broken(&s);
        return;
    }
    response_finish(&s, body);
}

void responses_read_end(void *state, struct answer_sink *sink)
{
    (void)state;
    (void)sink; /* an answer that is whole has said so: nothing is due */
}
