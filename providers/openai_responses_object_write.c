/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: the objects of an answer are written - content, items, the response itself.
 */
#include "gateway/base/member.h"
#include "providers/openai_responses.h"

/* ---------------------------------------------------------------------- what is repeated */

/* What a response repeats of its call, and what stands there when the call does not say it. Of a
 * target of this dialect, what it said counts. NULL: left out then. */
static const struct {
    struct text name;
    const char *unsaid;
} echoes[RESPONSE_ECHOES] = {
    {{"background", 10}, "false"},
    {{"instructions", 12}, "null"},
    {{"max_output_tokens", 17}, "null"},
    {{"max_tool_calls", 14}, "null"},
    {{"parallel_tool_calls", 19}, "true"},
    {{"previous_response_id", 20}, "null"},
    {{"prompt_cache_key", 16}, "null"},
    {{"reasoning", 9}, "{\"effort\":null,\"summary\":null}"},
    {{"safety_identifier", 17}, "null"},
    {{"service_tier", 12}, "\"default\""},
    {{"store", 5}, "false"},
    {{"temperature", 11}, "1.0"},
    {{"text", 4}, "{\"format\":{\"type\":\"text\"}}"},
    {{"tool_choice", 11}, "\"auto\""},
    {{"tools", 5}, "[]"},
    {{"top_logprobs", 12}, "0"},
    {{"top_p", 5}, "1.0"},
    {{"truncation", 10}, "\"disabled\""},
    {{"user", 4}, "null"},
    {{"metadata", 8}, "{}"},
    {{"conversation", 12}, NULL},
};

static int echo_of(struct text name)
{
    for (int i = 0; i < RESPONSE_ECHOES; i++)
        if (text_equal(echoes[i].name, name))
            return i;
    return -1;
}

void response_learn(struct responses_writer *w)
{
    struct text call = w->base.way->call, name, value;
    while (call.len && member_next(&call, &name, &value)) {
        int echo = echo_of(name);
        if (text_equal(name, TEXT("input")))
            w->input = value;
        else if (echo >= 0 && !json_is_absent(value))
            w->echoes[echo] = value;
    }
    w->tools = w->echoes[echo_of(TEXT("tools"))];
}

static struct text field_of(const struct responses_writer *w, struct text name)
{
    for (size_t i = 0; i < w->field_count; i++)
        if (text_equal(w->fields[i].name, name))
            return w->fields[i].value;
    return (struct text){NULL, 0};
}

static void put_named(struct buffer *out, struct text name, struct text json)
{
    put_comma(out);
    put_literal(out, "\"");
    put_text(out, name);
    put_literal(out, "\":");
    put_text(out, json);
}

static void put_echoes(const struct responses_writer *w, struct buffer *out)
{
    for (int i = 0; i < RESPONSE_ECHOES; i++) {
        struct text value = field_of(w, echoes[i].name);
        if (value.at == NULL)
            value = w->echoes[i];
        if (value.at == NULL && echoes[i].unsaid)
            value = text_of(echoes[i].unsaid);
        if (value.at)
            put_named(out, echoes[i].name, value);
    }
}

/* -------------------------------------------------------------------------------- content */

static void put_rope(const char *name, const struct rope *rope, struct buffer *out)
{
    put_inner(out, name, TEXT(""));
    out->end--; /* the closing quote */
    rope_put(rope, out);
    put_literal(out, "\"");
}

static void put_list(const char *name, const struct rope *items, struct buffer *out)
{
    put_open(out, name, '[');
    rope_put(items, out);
    put_literal(out, "]");
}

static void put_places(const struct citation *citation, int64_t characters, struct buffer *out)
{
    bool said = citation->start >= 0 && citation->end >= citation->start;
    put_number(out, "start_index", said ? citation->start : 0);
    put_number(out, "end_index", said ? citation->end : characters);
}

void response_put_annotation(const struct citation *citation, int64_t characters,
                             struct buffer *out)
{
    bool is_own = citation->from == &translator_openai_responses && citation->raw.at;
    if (is_own) {
        put_comma(out);
        put_text(out, citation->raw);
        return;
    }
    struct text title = citation->title.at ? citation->title : TEXT("");
    put_open(out, NULL, '{');
    if (citation->url.at) {
        put_inner(out, "type", TEXT("url_citation"));
        put_inner(out, "url", citation->url);
        put_inner(out, "title", title);
        put_places(citation, characters, out);
    } else {
        put_inner(out, "type", TEXT("file_citation"));
        put_inner(out, "file_id", TEXT(""));
        put_inner(out, "filename", title);
        put_number(out, "index", citation->end >= 0 ? citation->end : characters);
    }
    put_literal(out, "}");
}

void response_put_content(const struct response_content *content, bool full, struct buffer *out)
{
    static const struct rope nothing;
    const struct rope *text = full ? &content->text : &nothing;
    put_open(out, NULL, '{');
    if (content->is_refusal) {
        put_inner(out, "type", TEXT("refusal"));
        put_rope("refusal", text, out);
    } else {
        put_inner(out, "type", TEXT("output_text"));
        put_list("annotations", full ? &content->annotations : &nothing, out);
        put_list("logprobs", full ? &content->logprobs : &nothing, out);
        put_rope("text", text, out);
    }
    put_literal(out, "}");
}

/* ---------------------------------------------------------------------------------- items */

static void put_status(const struct response_item *item, bool full, struct buffer *out)
{
    const char *status = full ? "completed" : "in_progress";
    put_inner(out, "status", text_of(full && item->is_cut ? "incomplete" : status));
}

static void put_message(const struct response_item *item, bool full, struct buffer *out)
{
    put_inner(out, "type", TEXT("message"));
    put_status(item, full, out);
    put_inner(out, "phase", item->phase);
    put_open(out, "content", '[');
    for (size_t i = 0; full && i < item->content_count; i++)
        response_put_content(&item->contents[i], true, out);
    put_literal(out, "]");
    put_inner(out, "role", TEXT("assistant"));
}

static void put_reasoning(const struct response_item *item, bool full, struct buffer *out)
{
    bool has_text = full && item->text.len;
    put_inner(out, "type", TEXT("reasoning"));
    put_open(out, "summary", '[');
    if (has_text && !item->in_content) {
        put_literal(out, "{\"type\":\"summary_text\"");
        put_rope("text", &item->text, out);
        put_literal(out, "}");
    }
    put_literal(out, "]");
    if (has_text && item->in_content) {
        put_literal(out, ",\"content\":[{\"type\":\"reasoning_text\"");
        put_rope("text", &item->text, out);
        put_literal(out, "}]");
    }
    if (full && item->encrypted.len)
        put_inner(out, "encrypted_content", item->encrypted);
}

static void put_call(const struct response_item *item, bool full, struct buffer *out)
{
    static const struct rope nothing;
    put_inner(out, "type", item->is_custom ? TEXT("custom_tool_call") : TEXT("function_call"));
    put_status(item, full, out);
    put_rope(item->is_custom ? "input" : "arguments", full ? &item->text : &nothing, out);
    put_inner(out, "call_id", item->call_id);
    put_inner(out, "name", item->name);
    put_inner(out, "namespace", item->space);
}

static void put_image(const struct response_item *item, bool full, struct buffer *out)
{
    struct text type = item->media_type;
    put_inner(out, "type", TEXT("image_generation_call"));
    put_status(item, full, out);
    if (!full) {
        put_json(out, "result", TEXT("null"));
        return;
    }
    if (text_starts(type, TEXT("image/")))
        put_inner(out, "output_format", text_from(type, 6));
    put_rope("result", &item->text, out);
}

void response_put_item(const struct response_item *item, bool full, struct buffer *out)
{
    if (item->raw.at && (full || item->kind == PART_RAW)) {
        put_comma(out);
        put_text(out, item->raw);
        return;
    }
    put_open(out, NULL, '{');
    put_inner(out, "id", item->id);
    if (item->kind == PART_REASONING)
        put_reasoning(item, full, out);
    else if (item->kind == PART_CALL)
        put_call(item, full, out);
    else if (item->kind == PART_IMAGE)
        put_image(item, full, out);
    else
        put_message(item, full, out);
    put_literal(out, "}");
}

/* ----------------------------------------------------------------------------- the response */

/* What the provider says besides: the cost, searches. */
static void put_usage_rest(struct text raw, struct buffer *out)
{
    static const char *const known[] = {"input_tokens", "input_tokens_details", "output_tokens",
                                        "output_tokens_details", "total_tokens"};
    struct text name, value;
    while (raw.len && member_next(&raw, &name, &value)) {
        bool is_known = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            is_known = is_known || inner_is(name, known[i]);
        if (!is_known)
            put_named(out, name, value);
    }
}

static void put_usage(const struct responses_writer *w, struct buffer *out)
{
    const struct usage *u = &w->usage;
    put_open(out, "usage", '{');
    put_number(out, "input_tokens", u->input_tokens);
    put_open(out, "input_tokens_details", '{');
    put_number(out, "cached_tokens", u->cached_tokens);
    put_number(out, "cache_write_tokens", u->cache_write_tokens);
    if (u->audio_input_tokens)
        put_number(out, "audio_tokens", u->audio_input_tokens);
    if (u->image_tokens)
        put_number(out, "image_tokens", u->image_tokens);
    put_literal(out, "}");
    put_number(out, "output_tokens", u->output_tokens);
    put_open(out, "output_tokens_details", '{');
    put_number(out, "reasoning_tokens", u->reasoning_tokens);
    if (u->audio_output_tokens)
        put_number(out, "audio_tokens", u->audio_output_tokens);
    put_literal(out, "}");
    put_number(out, "total_tokens", u->input_tokens + u->output_tokens);
    put_usage_rest(w->usage_raw, out);
    put_literal(out, "}");
}

const char *response_status(const struct responses_writer *w)
{
    switch (w->finish) {
    case FINISH_LENGTH:
    case FINISH_FILTER:
    case FINISH_PAUSE:
        return "incomplete";
    case FINISH_REFUSAL:
        return w->is_refusal ? "completed" : "incomplete";
    case FINISH_ERROR:
        return "failed";
    case FINISH_NONE:
    case FINISH_STOP:
    case FINISH_SEQUENCE:
    case FINISH_CALLS:
        return "completed";
    }
    return "completed";
}

static void put_details(const struct responses_writer *w, const char *status, struct buffer *out)
{
    struct text reason = TEXT("content_filter");
    if (w->finish == FINISH_LENGTH)
        reason = TEXT("max_output_tokens");
    else if (w->finish == FINISH_PAUSE)
        reason = TEXT("max_messages"); /* the nearest of those that SDKs know */
    if (text_equal(text_of(status), TEXT("incomplete"))) {
        put_open(out, "incomplete_details", '{');
        put_inner(out, "reason", reason);
        put_literal(out, "}");
    } else {
        put_json(out, "incomplete_details", TEXT("null"));
    }
}

static void put_output(const struct responses_writer *w, struct buffer *out)
{
    put_open(out, "output", '[');
    for (size_t i = 0; i < w->item_count; i++)
        response_put_item(&w->items[i], true, out);
    put_literal(out, "]");
}

static void put_error(const char *status, struct text error, struct buffer *out)
{
    if (!error.at)
        error = text_equal(text_of(status), TEXT("failed"))
                    ? TEXT("{\"code\":\"server_error\",\"message\":\"The provider broke off its "
                           "answer.\"}")
                    : TEXT("null");
    put_json(out, "error", error);
}

/* What only a target of this dialect says. */
static void put_fields(const struct responses_writer *w, struct buffer *out)
{
    for (size_t i = 0; i < w->field_count; i++)
        if (echo_of(w->fields[i].name) < 0)
            put_named(out, w->fields[i].name, w->fields[i].value);
}

void response_put(const struct responses_writer *w, const char *status, struct text error,
                  struct buffer *out)
{
    bool goes_on = text_equal(text_of(status), TEXT("in_progress"));
    put_open(out, NULL, '{');
    put_inner(out, "id", w->id);
    put_inner(out, "object", TEXT("response"));
    put_number(out, "created_at", w->created);
    put_inner(out, "status", text_of(status));
    put_error(status, error, out);
    put_details(w, status, out);
    put_inner(out, "model", w->model);
    if (goes_on)
        put_json(out, "output", TEXT("[]"));
    else
        put_output(w, out);
    put_echoes(w, out);
    if (goes_on)
        put_json(out, "usage", TEXT("null"));
    else
        put_usage(w, out);
    put_fields(w, out);
    put_literal(out, "}");
}
