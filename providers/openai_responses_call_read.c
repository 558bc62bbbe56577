/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: a call is read - all but the conversation and the tools.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "gateway/base/member.h"
#include "providers/openai_responses.h"

static const int64_t COUNT_MAX = INT64_C(1000000000000);

bool responses_refuse(struct responses_reading *r, const char *what, const char *field, ...)
{
    char name[160];
    va_list args;
    va_start(args, field);
    vsnprintf(name, sizeof(name), field, args);
    va_end(args);
    fault_set(r->fault, FAULT_BAD_REQUEST, "'%s' %s.", name, what);
    r->fault->param = arena_copy(r->arena, text_of(name)).at;
    return false;
}

static bool is_object(struct text json)
{
    return json.len > 0 && json.at[0] == '{';
}

/* ----------------------------------------------------------- members of one simple value */

enum shape { SHAPE_IS_STRING, SHAPE_IS_NUMBER, SHAPE_IS_COUNT, SHAPE_IS_FLAG, SHAPE_IS_OBJECT };

struct simple {
    struct text name;
    enum shape shape;
    size_t offset; /* in struct chat */
};

#define SIMPLE(name, shape, member)                                    \
    {                                                                  \
        {name, sizeof(name) - 1}, shape, offsetof(struct chat, member) \
    }

/* clang-format off */
static const struct simple simples[] = {
    SIMPLE("max_output_tokens", SHAPE_IS_COUNT, max_tokens),
    SIMPLE("temperature", SHAPE_IS_NUMBER, temperature),
    SIMPLE("top_p", SHAPE_IS_NUMBER, top_p),
    SIMPLE("parallel_tool_calls", SHAPE_IS_FLAG, parallel_calls),
    SIMPLE("top_logprobs", SHAPE_IS_COUNT, top_logprobs),
    SIMPLE("user", SHAPE_IS_STRING, user),
    SIMPLE("metadata", SHAPE_IS_OBJECT, metadata),
    SIMPLE("service_tier", SHAPE_IS_STRING, service_tier),
    SIMPLE("store", SHAPE_IS_FLAG, store),
};
/* clang-format on */

static bool read_flag(struct text value, enum said *said)
{
    *said = said_of(value);
    return *said != SAID_NOTHING;
}

static bool read_number(struct text value, struct text *number)
{
    *number = value;
    return value.at[0] == '-' || (value.at[0] >= '0' && value.at[0] <= '9');
}

static const char *read_simple(struct chat *chat, const struct simple *simple, struct text value)
{
    void *place = (char *)chat + simple->offset;
    switch (simple->shape) {
    case SHAPE_IS_STRING:
        *(struct text *)place = member_string(value);
        return ((struct text *)place)->at ? NULL : "has to be a string";
    case SHAPE_IS_NUMBER:
        return read_number(value, place) ? NULL : "has to be a number";
    case SHAPE_IS_COUNT:
        return member_count(value, COUNT_MAX, place) ? NULL : "has to be a whole number";
    case SHAPE_IS_FLAG:
        return read_flag(value, place) ? NULL : "has to be true or false";
    case SHAPE_IS_OBJECT:
        *(struct text *)place = value;
        return is_object(value) ? NULL : "has to be an object";
    }
    return NULL;
}

/* ---------------------------------------------------------------- members that say more */

static bool read_model(struct responses_reading *r, struct text value)
{
    struct text inner = member_string(value);
    r->chat->model = inner_plain(r->arena, inner);
    return inner.at ? true : responses_refuse(r, "has to be a string", "model");
}

static bool read_stream(struct responses_reading *r, struct text value)
{
    enum said said;
    if (!read_flag(value, &said))
        return responses_refuse(r, "has to be true or false", "stream");
    r->chat->stream = said == SAID_YES;
    return true;
}

static bool read_format(struct responses_reading *r, struct text format)
{
    struct chat *chat = r->chat;
    struct text type = member_string(member_find(format, TEXT("type")));
    if (inner_is(type, "json_object"))
        chat->shape = SHAPE_JSON;
    if (inner_is(type, "json_object") || inner_is(type, "text"))
        return true;
    if (!inner_is(type, "json_schema"))
        return responses_refuse(r, "has to be text, json_object or json_schema",
                                "text.format.type");
    chat->shape = SHAPE_SCHEMA;
    chat->schema = member_find(format, TEXT("schema"));
    chat->schema_name = member_string(member_find(format, TEXT("name")));
    chat->schema_description = member_string(member_find(format, TEXT("description")));
    chat->schema_strict = said_of(member_find(format, TEXT("strict")));
    if (is_object(chat->schema))
        return true;
    return responses_refuse(r, "has to be an object", "text.format.schema");
}

static bool read_text(struct responses_reading *r, struct text value)
{
    struct text rest = value, name, member, format = {NULL, 0};
    bool more = false;
    if (!is_object(value))
        return responses_refuse(r, "has to be an object", "text");
    while (member_next(&rest, &name, &member)) {
        if (text_equal(name, TEXT("format")))
            format = json_is_absent(member) ? format : member;
        else if (text_equal(name, TEXT("verbosity")))
            r->chat->verbosity = member_string(member);
        else
            more |= json_says_something(member);
    }
    if (more)
        chat_keep_field(r->chat, TEXT("text"), (struct text){NULL, 0}, false);
    return format.at ? read_format(r, format) : true;
}

/* True when it is one of those that our words have. */
static bool read_reasoning_member(struct chat *chat, struct text name, struct text value)
{
    if (text_equal(name, TEXT("effort"))) {
        chat->effort = member_string(value);
        if (chat->effort.at)
            chat->reasoning = inner_is(chat->effort, "none") ? SAID_NO : SAID_YES;
        return true;
    }
    if (text_equal(name, TEXT("summary")) || text_equal(name, TEXT("generate_summary"))) {
        if (member_string(value).at)
            chat->reasoning_shown = SAID_YES;
        return !member_string(value).at || inner_is(member_string(value), "auto");
    }
    if (text_equal(name, TEXT("max_tokens"))) { /* OpenRouter's */
        if (member_count(value, COUNT_MAX, &chat->reasoning_tokens) && chat->reasoning_tokens > 0)
            chat->reasoning = SAID_YES;
        return true;
    }
    return json_is_absent(value);
}

static bool read_reasoning(struct responses_reading *r, struct text value)
{
    struct text rest = value, name, member;
    bool all_said = true;
    if (!is_object(value))
        return responses_refuse(r, "has to be an object", "reasoning");
    while (member_next(&rest, &name, &member))
        all_said = read_reasoning_member(r->chat, name, member) && all_said;
    if (!all_said)
        chat_keep_field(r->chat, TEXT("reasoning"), value, false);
    return true;
}

/* What our words have need not be named; the rest is for our own writer. */
static bool read_include(struct responses_reading *r, struct text value)
{
    struct text rest = value, none, item;
    bool all_said = true;
    if (value.at[0] != '[')
        return responses_refuse(r, "has to be a list", "include");
    while (member_next(&rest, &none, &item)) {
        struct text what = member_string(item);
        if (inner_is(what, "message.output_text.logprobs"))
            r->chat->logprobs = SAID_YES;
        else if (!inner_is(what, "reasoning.encrypted_content"))
            all_said = false;
    }
    if (!all_said)
        chat_keep_field(r->chat, TEXT("include"), value, false);
    return true;
}

/* These were read first: the system's words stand before all others, and what a call is named
 * depends on the tools. */
static bool read_before(struct responses_reading *r, struct text value)
{
    (void)value;
    (void)r;
    return true;
}

/* A response of before, or what else is kept at OpenAI. */
static bool refuse_kept(struct responses_reading *r, struct text value, const char *name)
{
    if (!value.len)
        return true;
    return responses_refuse(
        r, "cannot be used: the target does not keep responses; send the whole conversation", "%s",
        name);
}

static bool read_previous(struct responses_reading *r, struct text value)
{
    return refuse_kept(r, value, "previous_response_id");
}

static bool read_conversation(struct responses_reading *r, struct text value)
{
    return refuse_kept(r, value, "conversation");
}

static bool read_prompt(struct responses_reading *r, struct text value)
{
    return refuse_kept(r, value, "prompt");
}

static bool read_background(struct responses_reading *r, struct text value)
{
    if (said_of(value) == SAID_NO)
        return true;
    return responses_refuse(
        r, "cannot be used: the target does not keep responses, so nobody could ask for it later",
        "background");
}

static bool read_truncation(struct responses_reading *r, struct text value)
{
    if (!inner_is(member_string(value), "disabled")) /* which is what happens anyway */
        chat_keep_field(r->chat, TEXT("truncation"), value, false);
    return true;
}

struct special {
    struct text name;
    bool (*read)(struct responses_reading *r, struct text value);
};

/* clang-format off */
static const struct special specials[] = {
    {{"model", 5}, read_model},
    {{"input", 5}, responses_read_input},
    {{"instructions", 12}, read_before},
    {{"stream", 6}, read_stream},
    {{"tools", 5}, read_before},
    {{"tool_choice", 11}, responses_read_choice},
    {{"text", 4}, read_text},
    {{"reasoning", 9}, read_reasoning},
    {{"include", 7}, read_include},
    {{"previous_response_id", 20}, read_previous},
    {{"conversation", 12}, read_conversation},
    {{"prompt", 6}, read_prompt},
    {{"background", 10}, read_background},
    {{"truncation", 10}, read_truncation},
};
/* clang-format on */

/* ------------------------------------------------------------------------------ the call */

static bool read_member(struct responses_reading *r, struct text name, struct text value)
{
    if (json_is_absent(value))
        return true;
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
        if (text_equal(specials[i].name, name))
            return specials[i].read(r, value);
    for (size_t i = 0; i < sizeof(simples) / sizeof(simples[0]); i++) {
        if (!text_equal(simples[i].name, name))
            continue;
        const char *wrong = read_simple(r->chat, &simples[i], value);
        return wrong ? responses_refuse(r, wrong, "%.*s", TEXT_ARGS(name)) : true;
    }
    chat_keep_field(r->chat, name, value, false);
    return true;
}

static bool begin_with_instructions(struct responses_reading *r, struct text value)
{
    struct chat *chat = r->chat;
    if (json_is_absent(value))
        return true;
    if (value.at[0] == '[') /* a response's own, sent back: a list of items */
        return responses_read_input(r, value);
    if (value.at[0] != '"')
        return responses_refuse(r, "has to be a string", "instructions");
    chat->messages =
        arena_grow(r->arena, chat->messages, 0, &r->message_room, sizeof(struct message));
    struct part *part = arena_new(r->arena, sizeof(*part));
    *part = (struct part){.kind = PART_TEXT, .text = member_string(value)};
    chat->messages[chat->message_count++] =
        (struct message){.role = ROLE_SYSTEM, .parts = part, .part_count = 1};
    return true;
}

static bool read_members(struct responses_reading *r, struct text body)
{
    struct chat *chat = r->chat;
    struct text rest = body, name, value, tools = member_find(body, TEXT("tools"));
    if (!begin_with_instructions(r, member_find(body, TEXT("instructions"))) ||
        (!json_is_absent(tools) && !responses_read_tools(r, tools, "tools")))
        return false;
    while (member_next(&rest, &name, &value))
        if (!read_member(r, name, value))
            return false;
    if (chat->logprobs != SAID_YES && chat->top_logprobs == 0)
        chat->top_logprobs = -1; /* 0 is what it is without */
    chat_keep_allowed(r->arena, chat, r->allowed);
    return chat->message_count ? true : responses_refuse(r, "is missing", "input");
}

bool responses_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                         struct fault *fault)
{
    struct responses_reading r = {.arena = arena, .chat = chat, .fault = fault};
    chat->from = &translator_openai_responses;
    chat->stream = source->stream;
    chat->wants_usage = true;
    chat->choices = 1;
    chat->top_logprobs = -1;
    bool good = read_members(&r, source->body);
    tool_index_done(&r.tools);
    return good;
}
