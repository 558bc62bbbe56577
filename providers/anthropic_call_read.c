/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: a call is read - all but the conversation and the tools.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "gateway/base/member.h"
#include "providers/anthropic.h"

static const int64_t COUNT_MAX = INT64_C(1000000000000);

bool anthropic_refuse(struct anthropic_reading *r, const char *what, const char *field, ...)
{
    char name[128];
    va_list words;
    va_start(words, field);
    vsnprintf(name, sizeof(name), field, words);
    va_end(words);
    fault_set(r->fault, FAULT_BAD_REQUEST, "%s: %s.", name, what);
    r->fault->param = arena_copy(r->arena, text_of(name)).at;
    return false;
}

static bool is_object(struct text json)
{
    return json.len > 0 && json.at[0] == '{';
}

/* ----------------------------------------------------------- members of one simple value */

static bool read_model(struct anthropic_reading *r, struct text value)
{
    struct text inner = member_string(value);
    r->chat->model = inner_plain(r->arena, inner);
    return inner.at ? true : anthropic_refuse(r, "has to be a string", "model");
}

static bool read_max_tokens(struct anthropic_reading *r, struct text value)
{
    if (!member_count(value, COUNT_MAX, &r->chat->max_tokens))
        return anthropic_refuse(r, "has to be a whole number", "max_tokens");
    if (r->chat->max_tokens > 0)
        return true;
    /* It fills Anthropic's cache, and writes nothing; to others it would be no limit at all. */
    return anthropic_refuse(r, "0 is understood by Anthropic only", "max_tokens");
}

static bool read_stream(struct anthropic_reading *r, struct text value)
{
    enum said said = said_of(value);
    r->chat->stream = said == SAID_YES;
    if (said != SAID_NOTHING)
        return true;
    return anthropic_refuse(r, "has to be true or false", "stream");
}

static bool read_number(struct anthropic_reading *r, struct text value, const char *name,
                        struct text *number)
{
    *number = value;
    if (value.at[0] == '-' || (value.at[0] >= '0' && value.at[0] <= '9'))
        return true;
    return anthropic_refuse(r, "has to be a number", "%s", name);
}

static bool read_temperature(struct anthropic_reading *r, struct text value)
{
    return read_number(r, value, "temperature", &r->chat->temperature);
}

static bool read_top_p(struct anthropic_reading *r, struct text value)
{
    return read_number(r, value, "top_p", &r->chat->top_p);
}

static bool read_top_k(struct anthropic_reading *r, struct text value)
{
    return read_number(r, value, "top_k", &r->chat->top_k);
}

static bool read_tier(struct anthropic_reading *r, struct text value)
{
    r->chat->service_tier = member_string(value);
    if (r->chat->service_tier.at)
        return true;
    return anthropic_refuse(r, "has to be a string", "service_tier");
}

/* ---------------------------------------------------------------- members that say more */

static bool read_stops(struct anthropic_reading *r, struct text list)
{
    struct chat *chat = r->chat;
    struct text none, value;
    if (list.at[0] != '[')
        return anthropic_refuse(r, "has to be a list of strings", "stop_sequences");
    chat->stops = arena_new(r->arena, CHAT_STOPS_MAX * sizeof(struct text));
    chat->stop_count = 0; /* a member that stands twice: the last one counts */
    while (member_next(&list, &none, &value)) {
        struct text inner = member_string(value);
        if (chat->stop_count == CHAT_STOPS_MAX || inner.at == NULL)
            return anthropic_refuse(r, inner.at ? "are too many" : "has to be a list of strings",
                                    "stop_sequences");
        chat->stops[chat->stop_count++] = inner;
    }
    return true;
}

static bool read_metadata(struct anthropic_reading *r, struct text value)
{
    struct text rest = value, name, member;
    bool more = false;
    if (!is_object(value))
        return anthropic_refuse(r, "has to be an object", "metadata");
    while (member_next(&rest, &name, &member)) {
        if (text_equal(name, TEXT("user_id")) && member_string(member).at)
            r->chat->user = member_string(member);
        else
            more = more || !json_is_absent(member);
    }
    if (more)
        chat_keep_field(r->chat, TEXT("metadata"), value, false);
    return true;
}

static bool read_thinking(struct anthropic_reading *r, struct text value)
{
    struct chat *chat = r->chat;
    struct text rest = value, name, member, type = {NULL, 0};
    bool more = false;
    if (!is_object(value))
        return anthropic_refuse(r, "has to be an object", "thinking");
    while (member_next(&rest, &name, &member)) {
        if (text_equal(name, TEXT("type")))
            type = member_string(member);
        else if (text_equal(name, TEXT("display")) && member_string(member).at)
            chat->reasoning_shown = inner_is(member_string(member), "omitted") ? SAID_NO : SAID_YES;
        else if (!text_equal(name, TEXT("budget_tokens")))
            more = more || !json_is_absent(member);
        else if (!json_is_absent(member) &&
                 !member_count(member, COUNT_MAX, &chat->reasoning_tokens))
            return anthropic_refuse(r, "has to be a whole number", "thinking.budget_tokens");
    }
    if (type.at == NULL)
        return anthropic_refuse(r, "has to be a string", "thinking.type");
    chat->reasoning = inner_is(type, "disabled") ? SAID_NO : SAID_YES;
    /* Types that came later, and what else it says, only our own writer can put back. */
    if (more ||
        (chat->reasoning == SAID_YES && !inner_is(type, "enabled") && !inner_is(type, "adaptive")))
        chat_keep_field(r->chat, TEXT("thinking"), value, false);
    return true;
}

/* The schema of the answer: {"type":"json_schema","schema":{}} */
static bool read_format(struct anthropic_reading *r, struct text format, const char *where)
{
    struct chat *chat = r->chat;
    if (!inner_is(member_string(member_find(format, TEXT("type"))), "json_schema"))
        return anthropic_refuse(r, "has to be json_schema", "%s.type", where);
    chat->shape = SHAPE_SCHEMA;
    chat->schema = member_find(format, TEXT("schema"));
    chat->schema_name = member_string(member_find(format, TEXT("name")));
    if (is_object(chat->schema))
        return true;
    return anthropic_refuse(r, "has to be an object", "%s.schema", where);
}

static bool read_output_format(struct anthropic_reading *r, struct text value)
{
    return read_format(r, value, "output_format");
}

static bool read_output_config(struct anthropic_reading *r, struct text value)
{
    struct text rest = value, name, member;
    bool more = false;
    if (!is_object(value))
        return anthropic_refuse(r, "has to be an object", "output_config");
    while (member_next(&rest, &name, &member)) {
        if (json_is_absent(member))
            continue;
        if (text_equal(name, TEXT("effort")))
            r->chat->effort = member_string(member);
        else if (!text_equal(name, TEXT("format")))
            more = true;
        else if (!read_format(r, member, "output_config.format"))
            return false;
    }
    if (more)
        chat_keep_field(r->chat, TEXT("output_config"), value, false);
    return true;
}

/* Without its servers of tools it is another answer. */
static bool read_mcp_servers(struct anthropic_reading *r, struct text value)
{
    chat_keep_field(r->chat, TEXT("mcp_servers"), value, true);
    return true;
}

struct call_member {
    struct text name;
    bool (*read)(struct anthropic_reading *r, struct text value);
};

/* clang-format off */
static const struct call_member call_members[] = {
    {{"model", 5},           read_model},
    {{"messages", 8},        anthropic_read_messages},
    {{"max_tokens", 10},     read_max_tokens},
    {{"stream", 6},          read_stream},
    {{"temperature", 11},    read_temperature},
    {{"top_p", 5},           read_top_p},
    {{"top_k", 5},           read_top_k},
    {{"stop_sequences", 14}, read_stops},
    {{"tools", 5},           anthropic_read_tools},
    {{"tool_choice", 11},    anthropic_read_choice},
    {{"thinking", 8},        read_thinking},
    {{"output_config", 13},  read_output_config},
    {{"output_format", 13},  read_output_format},
    {{"metadata", 8},        read_metadata},
    {{"service_tier", 12},   read_tier},
    {{"mcp_servers", 11},    read_mcp_servers},
};
/* clang-format on */

static bool read_member(struct anthropic_reading *r, struct text name, struct text value)
{
    if (json_is_absent(value) || text_equal(name, TEXT("system")))
        return true; /* which was read before all others */
    for (size_t i = 0; i < sizeof(call_members) / sizeof(call_members[0]); i++)
        if (text_equal(call_members[i].name, name))
            return call_members[i].read(r, value);
    chat_keep_field(r->chat, name, value, false);
    return true;
}

bool anthropic_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                         struct fault *fault)
{
    struct anthropic_reading r = {.arena = arena, .chat = chat, .fault = fault};
    struct text rest = source->body, name, value;
    chat->choices = 1;
    chat->top_logprobs = -1;
    chat->model = source->model;
    chat->stream = source->stream;
    if (!anthropic_read_system(&r, member_find(source->body, TEXT("system"))))
        return false;
    while (member_next(&rest, &name, &value))
        if (!read_member(&r, name, value))
            return false;
    if (json_is_absent(member_find(source->body, TEXT("messages"))))
        return anthropic_refuse(&r, "Field required", "messages");
    /* Who asks for thinking sees it, where nothing else is said, but for the newest models. */
    if (chat->reasoning == SAID_YES && chat->reasoning_shown == SAID_NOTHING &&
        !anthropic_model_of(chat->model).no_budget)
        chat->reasoning_shown = SAID_YES;
    return true;
}
