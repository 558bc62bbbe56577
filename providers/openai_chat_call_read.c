/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: a call is read - all but the conversation and the tools.
 */
#include "gateway/base/member.h"
#include "providers/openai_chat.h"

static const int64_t COUNT_MAX = INT64_C(1000000000000);

/* --------------------------------------------------------------------- members by their name */

bool json_is_object(struct text json)
{
    return json.len > 1 && json.at[0] == '{';
}

bool json_is_array(struct text json)
{
    return json.len > 1 && json.at[0] == '[';
}

bool json_is_number(struct text json)
{
    return json.len > 0 && (json.at[0] == '-' || (json.at[0] >= '0' && json.at[0] <= '9'));
}

struct text json_items(struct text json)
{
    return json_is_array(json) ? json : TEXT("");
}

bool member_take(struct text *rest, const struct member_slot *slots, size_t count, void *holder,
                 struct text *name, struct text *value)
{
    if (!member_next(rest, name, value))
        return false;
    if (value->at[0] == 'n') { /* null */
        name->len = 0;
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (!text_equal(slots[i].name, *name))
            continue;
        *(struct text *)(void *)((char *)holder + slots[i].offset) = *value;
        name->len = 0;
        break;
    }
    return true;
}

bool member_take_all(struct text object, const struct member_slot *slots, size_t count,
                     void *holder)
{
    struct text name, value;
    bool knows_all = true;
    if (!json_is_object(object))
        return false;
    while (member_take(&object, slots, count, holder, &name, &value))
        knows_all &= name.len == 0;
    return knows_all;
}

struct text openai_more(struct arena *arena, struct text names, const char *prefix,
                        struct text object, const struct member_slot *slots, size_t count)
{
    struct text name, value;
    if (!json_is_object(object))
        return names;
    while (member_next(&object, &name, &value)) {
        size_t i = 0;
        while (i < count && !text_equal(slots[i].name, name))
            i++;
        if (i == count && json_says_something(value))
            names = more_add(arena, names, prefix, name);
    }
    return names;
}

/* ------------------------------------------------------------------------------ small parts */

bool openai_refuse(struct call_reading *r, const char *param, const char *what)
{
    fault_set(r->fault, FAULT_BAD_REQUEST, "'%s' %s.", param, what);
    r->fault->param = arena_copy(r->arena, text_of(param)).at;
    return false;
}

void openai_name_lost(struct call_reading *r, const char *where, struct text name)
{
    struct chat *chat = r->chat;
    struct text full = arena_format(r->arena, "%s.%.*s", where, TEXT_ARGS(text_head(name, 64)));
    for (size_t i = 0; i < chat->field_count; i++)
        if (text_equal(chat->fields[i].name, full))
            return;
    chat_keep_field(r->chat, full, (struct text){NULL, 0}, false);
}

bool openai_read_text_option(struct call_reading *r, const struct call_option *option,
                             struct text value)
{
    struct text *place = (struct text *)(void *)((char *)r->chat + option->offset);
    *place = member_string(value);
    return place->at ? true : openai_refuse(r, option->field, "has to be a string");
}

bool openai_read_json_option(struct call_reading *r, const struct call_option *option,
                             struct text value)
{
    *(struct text *)(void *)((char *)r->chat + option->offset) = value;
    return json_is_object(value) || json_is_array(value)
               ? true
               : openai_refuse(r, option->field, "has to be an object or an array");
}

static bool read_number(struct call_reading *r, const struct call_option *option, struct text value)
{
    *(struct text *)(void *)((char *)r->chat + option->offset) = value;
    return json_is_number(value) ? true : openai_refuse(r, option->field, "has to be a number");
}

static bool read_said(struct call_reading *r, const struct call_option *option, struct text value)
{
    enum said *said = (enum said *)(void *)((char *)r->chat + option->offset);
    *said = said_of(value);
    return *said ? true : openai_refuse(r, option->field, "has to be true or false");
}

/* ---------------------------------------------------------------- what all of the family have */

static bool read_model(struct call_reading *r, const struct call_option *option, struct text value)
{
    struct text inner = member_string(value);
    if (!inner.len)
        return openai_refuse(r, option->field, "has to be the name of a model");
    r->chat->model = inner_plain(r->arena, inner);
    return true;
}

static bool read_stream(struct call_reading *r, const struct call_option *option, struct text value)
{
    enum said said = said_of(value);
    r->chat->stream = said == SAID_YES;
    return said ? true : openai_refuse(r, option->field, "has to be true or false");
}

static bool read_stream_options(struct call_reading *r, const struct call_option *option,
                                struct text value)
{
    struct text rest = value, name, item;
    bool more = false;
    if (!json_is_object(value))
        return openai_refuse(r, option->field, "has to be an object");
    while (member_next(&rest, &name, &item)) {
        if (text_equal(name, TEXT("include_usage")))
            r->chat->wants_usage = said_of(item) == SAID_YES;
        else
            more = true;
    }
    if (more)
        chat_keep_field(r->chat, option->name, value, false);
    return true;
}

static bool read_max_tokens(struct call_reading *r, const struct call_option *option,
                            struct text value)
{
    bool is_completion = option->name.len > sizeof("max_tokens");
    int64_t count;
    if (text_equal(value, TEXT("-1"))) /* of model servers: as many as there are */
        return true;
    if (!member_count(value, COUNT_MAX, &count) || count == 0)
        return openai_refuse(r, option->field, "has to be a whole number above 0");
    if (is_completion || !r->said_completion_max)
        r->chat->max_tokens = count;
    r->said_completion_max |= is_completion;
    return true;
}

static bool read_choices(struct call_reading *r, const struct call_option *option,
                         struct text value)
{
    return member_count(value, CHAT_CHOICES_MAX, &r->chat->choices) && r->chat->choices > 0
               ? true
               : openai_refuse(r, option->field, "has to be a whole number from 1 to 128");
}

static bool read_stops(struct call_reading *r, const struct call_option *option, struct text value)
{
    struct chat *chat = r->chat;
    struct text name, item, one = member_string(value);
    chat->stops = arena_new(r->arena, CHAT_STOPS_MAX * sizeof(*chat->stops));
    chat->stop_count = 0;
    if (one.at) {
        chat->stops[chat->stop_count++] = one;
        return true;
    }
    if (!json_is_array(value))
        return openai_refuse(r, option->field, "has to be a string or an array of strings");
    while (member_next(&value, &name, &item)) {
        one = member_string(item);
        if (!one.at || chat->stop_count == CHAT_STOPS_MAX)
            return openai_refuse(r, option->field, "has to be at most 64 strings");
        chat->stops[chat->stop_count++] = one;
    }
    return true;
}

#define OPTION(name, read, member)                                          \
    {                                                                       \
        {name, sizeof(name) - 1}, read, offsetof(struct chat, member), name \
    }

/* clang-format off */
static const struct call_option family[] = {
    OPTION("model", read_model, model),
    OPTION("stream", read_stream, stream),
    OPTION("stream_options", read_stream_options, wants_usage),
    OPTION("max_tokens", read_max_tokens, max_tokens),
    OPTION("n", read_choices, choices),
    OPTION("stop", read_stops, stops),
    OPTION("temperature", read_number, temperature),
    OPTION("top_p", read_number, top_p),
    OPTION("top_k", read_number, top_k),
    OPTION("frequency_penalty", read_number, frequency_penalty),
    OPTION("presence_penalty", read_number, presence_penalty),
    OPTION("seed", read_number, seed),
    OPTION("random_seed", read_number, seed), /* Mistral */
    OPTION("logit_bias", openai_read_json_option, logit_bias),
    OPTION("user", openai_read_text_option, user),
};
/* clang-format on */

static const struct call_option *find_option(const struct call_option *table, size_t count,
                                             struct text name)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(table[i].name, name))
            return &table[i];
    return NULL;
}

/* What changes the answer's form or what it is made of, and only its own dialect can say. */
static bool is_demand(struct text name)
{
    static const struct text demands[] = {
        {"web_search_options", 18},
        {"plugins", 7},
        {"grammar", 7},
        {"guided_json", 11},
        {"guided_regex", 12},
        {"guided_choice", 13},
        {"guided_grammar", 14},
        {"guardrails", 10},
        {"structured_outputs", 18},
        {"regex", 5},
        {"ebnf", 4},
        {"documents", 9},
        {"mcp_servers", 11},
    };
    for (size_t i = 0; i < sizeof(demands) / sizeof(demands[0]); i++)
        if (text_equal(demands[i], name))
            return true;
    return false;
}

/* A name may be written with escapes; policy has known it all the same. */
static struct text plain_name(struct arena *arena, struct text name)
{
    if (!memchr(name.at, '\\', name.len))
        return name;
    return inner_of(arena, inner_plain(arena, name));
}

bool openai_read_options(struct call_reading *r, const struct call_source *source,
                         const struct call_option *own, size_t count)
{
    struct text rest = source->body, name, value;
    r->chat->choices = 1;
    r->chat->top_logprobs = -1;
    if (!json_is_object(rest))
        return openai_refuse(r, "body", "has to be an object");
    while (member_next(&rest, &name, &value)) {
        if (!name.len || json_is_absent(value))
            continue;
        name = plain_name(r->arena, name);
        const struct call_option *option = find_option(own, count, name);
        if (!option)
            option = find_option(family, sizeof(family) / sizeof(family[0]), name);
        if (!option)
            chat_keep_field(r->chat, name, value, is_demand(name));
        else if (!option->read(r, option, value))
            return false;
    }
    if (source->model.len)
        r->chat->model = source->model;
    r->chat->stream |= source->stream;
    return true;
}

/* ---------------------------------------------------------------------------- of chats only */

static bool read_messages(struct call_reading *r, const struct call_option *option,
                          struct text value)
{
    (void)option;
    return openai_read_messages(r, value);
}

static bool read_tools(struct call_reading *r, const struct call_option *option, struct text value)
{
    (void)option;
    return openai_read_tools(r, value);
}

static bool read_tool_choice(struct call_reading *r, const struct call_option *option,
                             struct text value)
{
    (void)option;
    return openai_read_tool_choice(r, value);
}

static bool read_functions(struct call_reading *r, const struct call_option *option,
                           struct text value)
{
    (void)option;
    return openai_read_functions(r, value);
}

static bool read_function_call(struct call_reading *r, const struct call_option *option,
                               struct text value)
{
    (void)option;
    return openai_read_function_call(r, value);
}

static bool read_top_logprobs(struct call_reading *r, const struct call_option *option,
                              struct text value)
{
    return member_count(value, 1000, &r->chat->top_logprobs)
               ? true
               : openai_refuse(r, option->field, "has to be a whole number");
}

struct schema_words {
    struct text type, json_schema, schema, name, description, strict, schema_definition;
};

static const struct member_slot schema_slots[] = {
    SLOT(schema_words, type),
    SLOT(schema_words, json_schema),
    SLOT(schema_words, schema),
    SLOT(schema_words, name),
    SLOT(schema_words, strict),
    SLOT(schema_words, description),
    SLOT(schema_words, schema_definition),
};

/* {"type":"json_schema","json_schema":{...}}; servers take {"type":"json_object","schema":{...}}.
 */
static bool read_response_format(struct call_reading *r, const struct call_option *option,
                                 struct text value)
{
    struct schema_words words = {.type = {NULL, 0}};
    struct chat *chat = r->chat;
    member_take_all(value, SLOTS(schema_slots), &words);
    struct text type = member_string(words.type);
    if (text_equal(type, TEXT("text")))
        return true;
    member_take_all(words.json_schema, SLOTS(schema_slots), &words);
    chat->schema = words.schema.at ? words.schema : words.schema_definition;
    chat->schema_name = member_string(words.name);
    chat->schema_description = member_string(words.description);
    chat->schema_strict = said_of(words.strict);
    chat->shape = json_is_object(chat->schema) ? SHAPE_SCHEMA : SHAPE_JSON;
    if (text_equal(type, TEXT("json_object")))
        return true;
    if (!text_equal(type, TEXT("json_schema")))
        return openai_refuse(r, option->field, "has a type that is not known");
    return chat->shape == SHAPE_SCHEMA ? true
                                       : openai_refuse(r, option->field, "has no schema in it");
}

/* llama.cpp's short form. */
static bool read_schema(struct call_reading *r, const struct call_option *option, struct text value)
{
    if (!json_is_object(value))
        return openai_refuse(r, option->field, "has to be an object");
    r->chat->schema = value;
    r->chat->shape = SHAPE_SCHEMA;
    return true;
}

/* -------------------------------------------------------------------- reasoning that is asked */

static bool read_effort(struct call_reading *r, const struct call_option *option, struct text value)
{
    struct text effort = member_string(value);
    if (!effort.at)
        return openai_refuse(r, option->field, "has to be a string");
    if (inner_is(effort, "none")) {
        r->chat->reasoning = SAID_NO;
        return true;
    }
    r->chat->effort = effort;
    r->chat->reasoning = SAID_YES;
    return true;
}

struct reasoning_words {
    struct text effort, max_tokens, enabled, exclude, summary, type, budget_tokens;
};

static const struct member_slot reasoning_slots[] = {
    SLOT(reasoning_words, effort),        SLOT(reasoning_words, max_tokens),
    SLOT(reasoning_words, enabled),       SLOT(reasoning_words, exclude),
    SLOT(reasoning_words, summary),       SLOT(reasoning_words, type),
    SLOT(reasoning_words, budget_tokens),
};

/* OpenRouter's object, that of Responses, and Anthropic's, which others have taken over. */
static bool read_reasoning(struct call_reading *r, const struct call_option *option,
                           struct text value)
{
    struct reasoning_words words = {.effort = {NULL, 0}};
    struct chat *chat = r->chat;
    struct text name, item, rest = value;
    if (!json_is_object(value))
        return openai_refuse(r, option->field, "has to be an object");
    while (member_take(&rest, SLOTS(reasoning_slots), &words, &name, &item))
        if (name.len)
            openai_name_lost(r, option->field, name);
    struct text type = member_string(words.type);
    if (words.effort.at && !read_effort(r, option, words.effort))
        return false;
    if (member_count(words.max_tokens.at ? words.max_tokens : words.budget_tokens, COUNT_MAX,
                     &chat->reasoning_tokens))
        chat->reasoning = SAID_YES;
    if (said_of(words.enabled))
        chat->reasoning = said_of(words.enabled);
    if (inner_is(type, "enabled") || inner_is(type, "adaptive"))
        chat->reasoning = SAID_YES;
    else if (inner_is(type, "disabled"))
        chat->reasoning = SAID_NO;
    if (said_of(words.exclude))
        chat->reasoning_shown = said_of(words.exclude) == SAID_YES ? SAID_NO : SAID_YES;
    if (member_string(words.summary).len)
        chat->reasoning_shown = SAID_YES;
    return true;
}

static bool read_thinking_budget(struct call_reading *r, const struct call_option *option,
                                 struct text value)
{
    return member_count(value, COUNT_MAX, &r->chat->reasoning_tokens)
               ? true
               : openai_refuse(r, option->field, "has to be a whole number");
}

/* clang-format off */
static const struct call_option of_chats[] = {
    OPTION("messages", read_messages, messages),
    OPTION("tools", read_tools, tools),
    OPTION("tool_choice", read_tool_choice, tool_choice),
    OPTION("functions", read_functions, tools),
    OPTION("function_call", read_function_call, tool_choice),
    OPTION("parallel_tool_calls", read_said, parallel_calls),
    OPTION("max_completion_tokens", read_max_tokens, max_tokens),
    OPTION("logprobs", read_said, logprobs),
    OPTION("top_logprobs", read_top_logprobs, top_logprobs),
    OPTION("response_format", read_response_format, shape),
    OPTION("json_schema", read_schema, schema),
    OPTION("reasoning_effort", read_effort, effort),
    OPTION("reasoning", read_reasoning, reasoning),
    OPTION("thinking", read_reasoning, reasoning),
    OPTION("include_reasoning", read_said, reasoning_shown),
    OPTION("enable_thinking", read_said, reasoning),
    OPTION("thinking_budget", read_thinking_budget, reasoning_tokens),
    OPTION("metadata", openai_read_json_option, metadata),
    OPTION("service_tier", openai_read_text_option, service_tier),
    OPTION("store", read_said, store),
    OPTION("verbosity", openai_read_text_option, verbosity),
    OPTION("modalities", openai_read_json_option, modalities),
    OPTION("audio", openai_read_json_option, voice),
};
/* clang-format on */

/* ------------------------------------------- the body of a response, sent as if it were a chat */

/* It was read here, though a response has no such member. */
static void drop_field(struct chat *chat, struct text name)
{
    size_t kept = 0;
    for (size_t i = 0; i < chat->field_count; i++)
        if (!text_equal(chat->fields[i].name, name))
            chat->fields[kept++] = chat->fields[i];
    chat->field_count = kept;
}

/* Cursor does: `input` and flat tools. */
static bool read_response(struct call_reading *r, const struct call_source *source,
                          const struct translator *responses)
{
    struct text usage = member_find(source->body, TEXT("stream_options"));
    struct chat *chat = r->chat;
    chat->from = responses;
    if (!responses->read_call(r->arena, source, chat, r->fault))
        return false;
    chat->wants_usage = said_of(member_find(usage, TEXT("include_usage"))) == SAID_YES;
    if (chat->max_tokens == 0)
        member_count(member_find(source->body, TEXT("max_tokens")), COUNT_MAX, &chat->max_tokens);
    drop_field(chat, TEXT("stream_options"));
    drop_field(chat, TEXT("max_tokens"));
    return true;
}

bool openai_chat_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                           struct fault *fault)
{
    struct call_reading r = {.arena = arena, .chat = chat, .fault = fault};
    bool has_messages = member_find(source->body, TEXT("messages")).at != NULL;
    if (!has_messages && member_find(source->body, TEXT("input")).at) {
        const struct translator *responses = translator_find(TEXT("openai"), OPERATION_RESPONSE);
        if (responses)
            return read_response(&r, source, responses);
    }
    if (!openai_read_options(&r, source, of_chats, sizeof(of_chats) / sizeof(of_chats[0])))
        return false;
    chat_keep_allowed(arena, chat, r.allowed);
    return has_messages ? true : openai_refuse(&r, "messages", "is missing");
}
