/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bedrock.h: a call is read.
 */
#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/member.h"
#include "providers/bedrock.h"

enum { TOKENS_MAX = 1000000000 };

struct reading {
    struct arena *arena;
    struct chat *chat;
    struct fault *fault;
    size_t message_room, tool_room;
};

/* It cannot be read: the field, and what is wrong with it. Returns false. */
static bool refuse(struct reading *r, const char *what, const char *field, ...)
    __attribute__((format(printf, 3, 4)));

static bool refuse(struct reading *r, const char *what, const char *field, ...)
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
    return json.len && json.at[0] == '{';
}

static bool is_array(struct text json)
{
    return json.len && json.at[0] == '[';
}

struct text bedrock_field(const struct chat_field *fields, size_t count, struct text name)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(fields[i].name, name))
            return fields[i].value;
    return (struct text){NULL, 0};
}

/* -------------------------------------------------------------------------- the messages */

static bool add_message(struct reading *r, enum role role, struct part *parts, size_t count)
{
    struct chat *chat = r->chat;
    size_t all = count;
    if (count == 0)
        return true;
    for (size_t i = 0; i < count; i++)
        all += parts[i].part_count;
    if (chat->message_count == CHAT_MESSAGES_MAX)
        return refuse(r, "are too many", "messages");
    if (!chat_takes_parts(chat, all))
        return refuse(r, "have too many blocks in all", "messages");
    chat->messages = arena_grow(r->arena, chat->messages, chat->message_count, &r->message_room,
                                sizeof(struct message));
    chat->messages[chat->message_count++] =
        (struct message){.role = role, .parts = parts, .part_count = count};
    return true;
}

static bool read_system(struct reading *r, struct text list)
{
    struct part *parts;
    size_t count, at;
    if (!is_array(list))
        return refuse(r, "has to be a list", "system");
    const char *wrong = bedrock_read_blocks(r->arena, list, &parts, &count, &at);
    if (wrong)
        return refuse(r, wrong, "system.%zu", at);
    return add_message(r, ROLE_SYSTEM, parts, count);
}

/* What came of tools is a message of its own, in front of what else the user says. */
static bool add_sorted(struct reading *r, enum role role, struct part *parts, size_t count)
{
    struct part *sorted = arena_new(r->arena, (count + 1) * sizeof(struct part));
    size_t results = 0, said = 0;
    for (size_t i = 0; i < count; i++)
        results += parts[i].kind == PART_RESULT;
    if (results == 0 || results == count)
        return add_message(r, results ? ROLE_TOOL : role, parts, count);
    for (size_t i = 0, at = 0; i < count; i++) {
        if (parts[i].kind == PART_RESULT)
            sorted[at++] = parts[i];
        else
            sorted[results + said++] = parts[i];
    }
    return add_message(r, ROLE_TOOL, sorted, results) &&
           add_message(r, role, sorted + results, said);
}

static bool read_message(struct reading *r, struct text json, size_t number)
{
    struct part *parts;
    size_t count, at;
    if (!is_object(json))
        return refuse(r, "has to be an object", "messages.%zu", number);
    struct text role = member_string(member_find(json, TEXT("role")));
    struct text content = member_find(json, TEXT("content"));
    bool is_user = inner_is(role, "user"), is_system = inner_is(role, "system");
    if (!is_user && !is_system && !inner_is(role, "assistant"))
        return refuse(r, "has to be user or assistant", "messages.%zu.role", number);
    if (!is_array(content))
        return refuse(r, "has to be a list", "messages.%zu.content", number);
    const char *wrong = bedrock_read_blocks(r->arena, content, &parts, &count, &at);
    if (wrong)
        return refuse(r, wrong, "messages.%zu.content.%zu", number, at);
    return add_sorted(r,
                      is_system ? ROLE_SYSTEM
                      : is_user ? ROLE_USER
                                : ROLE_ASSISTANT,
                      parts, count);
}

static bool read_messages(struct reading *r, struct text list)
{
    struct text none, json;
    if (!is_array(list))
        return refuse(r, "has to be a list", "messages");
    for (size_t i = 0; member_next(&list, &none, &json); i++)
        if (!read_message(r, json, i))
            return false;
    return true;
}

/* ------------------------------------------------------------------------------- the tools */

static bool read_tool(struct reading *r, struct text json, size_t number)
{
    struct chat *chat = r->chat;
    struct text spec = is_object(json) ? member_find(json, TEXT("toolSpec")) : json;
    struct text point = is_object(json) ? member_find(json, TEXT("cachePoint")) : json;
    if (!is_object(json))
        return refuse(r, "has to be an object", "toolConfig.tools.%zu", number);
    if (is_object(point) && chat->tool_count) {
        chat->tools[chat->tool_count - 1].cache = bedrock_read_cache(r->arena, point);
        return true;
    }
    if (chat->tool_count == CHAT_TOOLS_MAX)
        return refuse(r, "are too many", "toolConfig.tools");
    struct tool tool = {.kind = TOOL_OTHER, .raw = json};
    struct text rest = json;
    if (is_object(spec)) {
        struct text schema = member_find(spec, TEXT("inputSchema"));
        tool = (struct tool){.kind = TOOL_FUNCTION,
                             .name = member_string(member_find(spec, TEXT("name"))),
                             .description = member_string(member_find(spec, TEXT("description"))),
                             .strict = said_of(member_find(spec, TEXT("strict"))) == SAID_YES};
        if (is_object(schema))
            tool.schema = member_find(schema, TEXT("json"));
        if (!tool.name.len)
            return refuse(r, "has no name", "toolConfig.tools.%zu.toolSpec", number);
    } else {
        member_next(&rest, &tool.name, &spec);
    }
    chat->tools =
        arena_grow(r->arena, chat->tools, chat->tool_count, &r->tool_room, sizeof(struct tool));
    chat->tools[chat->tool_count++] = tool;
    return true;
}

static bool read_choice(struct reading *r, struct text choice)
{
    struct chat *chat = r->chat;
    if (!is_object(choice))
        return refuse(r, "has to be an object", "toolConfig.toolChoice");
    struct text one = member_find(choice, TEXT("tool"));
    if (is_object(one)) {
        chat->tool_choice = CHOICE_ONE;
        chat->tool_choice_name = member_string(member_find(one, TEXT("name")));
        return chat->tool_choice_name.len ? true
                                          : refuse(r, "has no name", "toolConfig.toolChoice.tool");
    }
    if (is_object(member_find(choice, TEXT("any"))))
        chat->tool_choice = CHOICE_ANY;
    else if (is_object(member_find(choice, TEXT("auto"))))
        chat->tool_choice = CHOICE_AUTO;
    else
        return refuse(r, "has to be auto, any or tool", "toolConfig.toolChoice");
    return true;
}

static bool read_tool_config(struct reading *r, struct text config)
{
    struct text none, tool, name, value;
    if (!is_object(config))
        return refuse(r, "has to be an object", "toolConfig");
    while (member_next(&config, &name, &value)) {
        if (json_is_absent(value))
            continue;
        if (text_equal(name, TEXT("toolChoice")) && !read_choice(r, value))
            return false;
        if (!text_equal(name, TEXT("tools")))
            continue;
        if (!is_array(value))
            return refuse(r, "has to be a list", "toolConfig.tools");
        for (size_t i = 0; member_next(&value, &none, &tool); i++)
            if (!read_tool(r, tool, i))
                return false;
    }
    return true;
}

/* ----------------------------------------------------------------------------- the settings */

static bool read_stops(struct reading *r, struct text list)
{
    struct chat *chat = r->chat;
    struct text none, stop;
    if (!is_array(list))
        return refuse(r, "has to be a list", "inferenceConfig.stopSequences");
    chat->stops = arena_new(r->arena, CHAT_STOPS_MAX * sizeof(struct text));
    chat->stop_count = 0;
    while (member_next(&list, &none, &stop)) {
        if (!member_string(stop).at || chat->stop_count == CHAT_STOPS_MAX)
            return refuse(r, "has to be a list of strings, and not too many",
                          "inferenceConfig.stopSequences");
        chat->stops[chat->stop_count++] = member_string(stop);
    }
    return true;
}

static bool read_inference(struct reading *r, struct text config)
{
    struct chat *chat = r->chat;
    struct text name, value;
    if (!is_object(config))
        return refuse(r, "has to be an object", "inferenceConfig");
    while (member_next(&config, &name, &value)) {
        if (json_is_absent(value))
            continue;
        if (text_equal(name, TEXT("maxTokens"))) {
            if (!member_count(value, TOKENS_MAX, &chat->max_tokens) || !chat->max_tokens)
                return refuse(r, "has to be a whole number", "inferenceConfig.maxTokens");
        } else if (text_equal(name, TEXT("temperature"))) {
            chat->temperature = value;
        } else if (text_equal(name, TEXT("topP"))) {
            chat->top_p = value;
        } else if (text_equal(name, TEXT("stopSequences"))) {
            if (!read_stops(r, value))
                return false;
        } else {
            chat_keep_field(
                r->chat,
                arena_format(r->arena, "inferenceConfig.%.*s", TEXT_ARGS(text_head(name, 64))),
                value, false);
        }
    }
    return true;
}

/* Claude's {"type":"enabled","budget_tokens":N}; false when it says more than our words do. */
static bool read_thinking(struct chat *chat, struct text json)
{
    struct text name, value;
    bool all = is_object(json);
    while (all && member_next(&json, &name, &value)) {
        struct text word = member_string(value);
        if (text_equal(name, TEXT("budget_tokens")))
            all = member_count(value, TOKENS_MAX, &chat->reasoning_tokens) && all;
        else if (!text_equal(name, TEXT("type")))
            all = false;
        else if (inner_is(word, "enabled") || inner_is(word, "adaptive"))
            chat->reasoning = SAID_YES;
        else if (inner_is(word, "disabled"))
            chat->reasoning = SAID_NO;
        else
            all = false;
    }
    return all;
}

/* Nova's {"type":"enabled","maxReasoningEffort":"low"}. */
static bool read_nova_reasoning(struct chat *chat, struct text json)
{
    struct text effort = member_string(member_find(json, TEXT("maxReasoningEffort")));
    struct text type = member_string(member_find(json, TEXT("type")));
    chat->reasoning = inner_is(type, "enabled")    ? SAID_YES
                      : inner_is(type, "disabled") ? SAID_NO
                                                   : SAID_NOTHING;
    chat->effort = effort;
    return chat->reasoning != SAID_NOTHING;
}

/* What the model's maker has beside AWS. It is kept whole when one member of it has no word here.
 */
static bool read_additional(struct reading *r, struct text json)
{
    struct chat *chat = r->chat;
    struct text name, value, rest = json;
    bool all = is_object(json);
    while (is_object(json) && member_next(&rest, &name, &value)) {
        if (text_equal(name, TEXT("thinking")) || text_equal(name, TEXT("reasoning_config"))) {
            all = read_thinking(chat, value) && all;
        } else if (text_equal(name, TEXT("reasoningConfig")) && is_object(value)) {
            all = read_nova_reasoning(chat, value) && all;
        } else if (text_equal(name, TEXT("reasoning_effort")) && member_string(value).len) {
            chat->reasoning = SAID_YES;
            chat->effort = member_string(value);
        } else if (text_equal(name, TEXT("top_k"))) {
            chat->top_k = value;
        } else if (text_equal(name, TEXT("inferenceConfig")) && is_object(value)) {
            chat->top_k = member_find(value, TEXT("topK")); /* Nova's */
            all = all && chat->top_k.at && text_find_byte(value, ',') == SIZE_MAX;
        } else {
            all = false;
        }
    }
    if (!all)
        chat_keep_field(r->chat, TEXT("additionalModelRequestFields"), json, false);
    return true;
}

static bool read_format(struct reading *r, struct text format)
{
    struct chat *chat = r->chat;
    struct text structure = is_object(format) ? member_find(format, TEXT("structure")) : format;
    struct text schema =
        is_object(structure) ? member_find(structure, TEXT("jsonSchema")) : (struct text){NULL, 0};
    struct text said = is_object(schema) ? member_string(member_find(schema, TEXT("schema")))
                                         : (struct text){NULL, 0};
    if (!said.at)
        return refuse(r, "has no schema", "outputConfig.textFormat");
    chat->shape = SHAPE_SCHEMA;
    chat->schema = object_of_inner(r->arena, said);
    chat->schema_name = member_string(member_find(schema, TEXT("name")));
    chat->schema_description = member_string(member_find(schema, TEXT("description")));
    return true;
}

static bool read_output(struct reading *r, struct text config)
{
    struct text name, value;
    if (!is_object(config))
        return refuse(r, "has to be an object", "outputConfig");
    while (member_next(&config, &name, &value)) {
        if (json_is_absent(value))
            continue;
        if (text_equal(name, TEXT("textFormat"))) {
            if (!read_format(r, value))
                return false;
        } else if (text_equal(name, TEXT("effort")) && member_string(value).at) {
            r->chat->effort = member_string(value);
        } else {
            chat_keep_field(
                r->chat,
                arena_format(r->arena, "outputConfig.%.*s", TEXT_ARGS(text_head(name, 64))), value,
                false);
        }
    }
    return true;
}

static bool read_member(struct reading *r, struct text name, struct text value)
{
    struct chat *chat = r->chat;
    if (text_equal(name, TEXT("messages")))
        return read_messages(r, value);
    if (text_equal(name, TEXT("inferenceConfig")))
        return read_inference(r, value);
    if (text_equal(name, TEXT("toolConfig")))
        return read_tool_config(r, value);
    if (text_equal(name, TEXT("outputConfig")))
        return read_output(r, value);
    if (text_equal(name, TEXT("additionalModelRequestFields")))
        return read_additional(r, value);
    struct text tier = is_object(value) ? member_string(member_find(value, TEXT("type"))) : value;
    if (text_equal(name, TEXT("requestMetadata")))
        chat->metadata = value;
    else if (text_equal(name, TEXT("serviceTier")) && is_object(value) && tier.at)
        chat->service_tier = tier;
    else
        chat_keep_field(r->chat, name, value,
                        text_equal(name, TEXT("guardrailConfig")) ||
                            text_equal(name, TEXT("promptVariables")));
    return true;
}

bool bedrock_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                       struct fault *fault)
{
    struct reading r = {.arena = arena, .chat = chat, .fault = fault};
    struct text name, value, rest = source->body;
    struct text system = member_find(source->body, TEXT("system"));
    chat->from = &translator_bedrock;
    chat->model = source->model;
    chat->stream = source->stream;
    chat->choices = 1;
    chat->top_logprobs = -1;
    if (!json_is_absent(system) && !read_system(&r, system))
        return false;
    while (member_next(&rest, &name, &value))
        if (!json_is_absent(value) && !text_equal(name, TEXT("system")) &&
            !read_member(&r, name, value))
            return false;
    return true;
}
