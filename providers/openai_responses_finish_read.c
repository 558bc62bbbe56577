/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses_parts.h: what an answer comes to is read.
 */
#include "gateway/base/member.h"
#include "providers/openai.h"
#include "providers/openai_responses_parts.h"

/* ------------------------------------------------------------------------------- failures */

static enum fault_kind kind_of(struct text code)
{
    static const struct {
        struct text word;
        enum fault_kind kind;
    } words[] = {
        {{"rate_limit", 10}, FAULT_TARGET_BUSY},
        {{"insufficient_quota", 18}, FAULT_TARGET_BUSY},
        {{"usage_", 6}, FAULT_TARGET_BUSY},
        {{"too_many", 8}, FAULT_TARGET_BUSY},
        {{"too_long", 8}, FAULT_TARGET_INVALID},
        {{"invalid_", 8}, FAULT_TARGET_REFUSED},
        {{"context_length", 14}, FAULT_TARGET_REFUSED},
        {{"image_", 6}, FAULT_TARGET_REFUSED},
        {{"unsupported_", 12}, FAULT_TARGET_REFUSED},
        {{"content_", 8}, FAULT_TARGET_REFUSED},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (text_starts(code, words[i].word))
            return words[i].kind;
    return FAULT_TARGET_ERROR;
}

static void fail(struct response_say *s, enum fault_kind kind, struct text message)
{
    struct answer_event event = {.kind = ANSWER_FAIL, .fault = kind, .text = message};
    if (s->r->is_over)
        return;
    s->r->is_over = true;
    s->sink->take(s->sink, &event);
}

void response_fail_with(struct response_say *s, struct text code, struct text message)
{
    if (!message.len)
        message = code.len ? code : TEXT("The provider failed and does not say why.");
    fail(s, kind_of(code), message);
}

void response_fail(struct response_say *s, struct text error)
{
    struct text code = member_string(member_find(error, TEXT("code")));
    if (!code.len)
        code = member_string(member_find(error, TEXT("type")));
    if (error.len && error.at[0] == '"')
        response_fail_with(s, code, member_string(error));
    else
        response_fail_with(s, code, member_string(member_find(error, TEXT("message"))));
}

void response_fail_broken(struct response_say *s)
{
    fail(s, FAULT_TARGET_INVALID, TEXT("The provider's answer is not JSON."));
}

/* ------------------------------------------------------------------------------ the response */

struct told {
    struct text output, usage, error, status, reason;
};

static struct told told_of(struct text response)
{
    struct told told = {.output = {NULL, 0}};
    struct text name, value;
    while (response.len && member_next(&response, &name, &value)) {
        if (text_equal(name, TEXT("output")))
            told.output = value;
        else if (text_equal(name, TEXT("usage")))
            told.usage = value;
        else if (text_equal(name, TEXT("error")))
            told.error = value;
        else if (text_equal(name, TEXT("status")))
            told.status = member_string(value);
        else if (text_equal(name, TEXT("incomplete_details")))
            told.reason = member_string(member_find(value, TEXT("reason")));
    }
    return told;
}

/* A server that says nothing of its items before has all of them in the end. */
static void say_output(struct response_say *s, struct text output)
{
    struct text none, item;
    if (s->r->part_count || !output.len || output.at[0] != '[')
        return;
    for (int64_t place = 0; member_next(&output, &none, &item) && !s->r->is_over; place++) {
        response_item_begin(s, place, item);
        response_item_end(s, place, item);
    }
}

static void close_all(struct response_say *s)
{
    for (size_t i = 0; i < s->r->part_count; i++)
        response_part_close(s, &s->r->parts[i]);
}

/* What a response says besides goes to those who can repeat it; what repeats the call does not. */
static void say_fields(struct response_say *s, struct text response)
{
    static const char *const known[] = {"id",     "object", "created_at",   "model",
                                        "output", "status", "error",        "incomplete_details",
                                        "tools",  "input",  "instructions", "output_text"};
    struct text name, value;
    const struct answer_way *way = s->r->base.way;
    if (!way || way->to != &translator_openai_responses)
        return;
    while (response.len && member_next(&response, &name, &value)) {
        bool is_known = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            is_known = is_known || inner_is(name, known[i]);
        struct answer_event event = {.kind = ANSWER_FIELD, .name = name, .raw = value};
        if (!is_known)
            s->sink->take(s->sink, &event);
    }
}

static enum finish finish_of(const struct response_say *s, const struct told *told)
{
    if (inner_is(told->status, "incomplete") && inner_is(told->reason, "max_messages"))
        return FINISH_PAUSE;
    if (inner_is(told->status, "incomplete"))
        return inner_is(told->reason, "content_filter") ? FINISH_FILTER : FINISH_LENGTH;
    if (s->r->has_calls)
        return FINISH_CALLS;
    return s->r->has_refusal ? FINISH_REFUSAL : FINISH_STOP;
}

static void say_end(struct response_say *s, const struct told *told)
{
    struct answer seen = {.operation = OPERATION_RESPONSE};
    struct answer_event event = {.kind = ANSWER_FINISH,
                                 .finish = finish_of(s, told),
                                 .name = told->reason.len ? told->reason : told->status};
    s->sink->take(s->sink, &event);
    openai_read_usage(&seen, told->usage);
    event = (struct answer_event){.kind = ANSWER_USAGE, .usage = &seen.usage};
    if (seen.usage_seen)
        s->sink->take(s->sink, &event);
    s->r->is_over = true;
    event = (struct answer_event){.kind = ANSWER_END};
    s->sink->take(s->sink, &event);
}

void response_finish(struct response_say *s, struct text response)
{
    struct told told = told_of(response);
    response_begin(s, response);
    if (member_is_something(told.error) || inner_is(told.status, "failed")) {
        response_fail(s, told.error);
        return;
    }
    if (inner_is(told.status, "queued") || inner_is(told.status, "in_progress") ||
        inner_is(told.status, "cancelled")) {
        fail(s, FAULT_TARGET_INVALID, TEXT("The provider's answer is not finished."));
        return;
    }
    say_output(s, told.output);
    close_all(s);
    if (s->r->is_over)
        return;
    say_fields(s, response);
    say_end(s, &told);
}
