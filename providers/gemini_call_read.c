/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A generateContent call, read.
 */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/gemini.h"
#include "providers/web_search.h"

struct reading {
    struct arena *arena;
    struct chat *chat;
    struct fault *fault;
    size_t tool_room;
};

static bool refuse(const struct reading *r, const char *param, const char *what)
{
    return gemini_refuse(r->arena, r->fault, text_of(param), what);
}

static bool is_of(struct text json, char bracket)
{
    return json.len && json.at[0] == bracket;
}

/* What only this dialect knows; <group> and a dot stand before its name. */
static void keep(const struct reading *r, const char *group, struct text name, struct text value)
{
    if (json_is_absent(value))
        return;
    bool kept = r->chat->field_count < CHAT_FIELDS_MAX;
    struct text full =
        *group && kept ? arena_format(r->arena, "%s.%.*s", group, TEXT_ARGS(name)) : name;
    chat_keep_field(r->chat, full, value, false);
}

static struct text lower(const struct reading *r, struct text word)
{
    char *room = arena_take(r->arena, word.len + 1);
    for (size_t i = 0; i < word.len; i++)
        room[i] = (char)(word.at[i] >= 'A' && word.at[i] <= 'Z' ? word.at[i] | 0x20 : word.at[i]);
    return (struct text){room, word.len};
}

/* ----------------------------------------------------------------------------- numbers */

/* A number, which may stand as a string; at == NULL when it is none. */
static struct text number_of(struct text json)
{
    struct text digits = member_string(json);
    struct text number = digits.at ? digits : json;
    bool is_one =
        number.len && (number.at[0] == '-' || (number.at[0] >= '0' && number.at[0] <= '9'));
    return is_one && number.len < 64 && scan_is_valid(number) ? number : (struct text){NULL, 0};
}

struct number_place {
    struct text name;
    struct text *to;
};

struct count_place {
    struct text name;
    int64_t *to;
};

/* ------------------------------------------------------------------------------- tools */

static struct tool *next_tool(struct reading *r)
{
    struct chat *chat = r->chat;
    chat->tools =
        arena_grow(r->arena, chat->tools, chat->tool_count, &r->tool_room, sizeof(struct tool));
    struct tool *tool = &chat->tools[chat->tool_count++];
    *tool = (struct tool){.kind = TOOL_FUNCTION};
    return tool;
}

static bool read_function(struct reading *r, struct text function)
{
    struct text rest = function, name, value;
    if (r->chat->tool_count == CHAT_TOOLS_MAX)
        return refuse(r, "tools", "has too many functions");
    if (!is_of(function, '{'))
        return refuse(r, "tools.functionDeclarations", "has an item that is no object");
    struct tool *tool = next_tool(r);
    tool->raw = function;
    while (member_next(&rest, &name, &value)) {
        if (text_equal(name, TEXT("name")))
            tool->name = member_string(value);
        else if (text_equal(name, TEXT("description")))
            tool->description = member_string(value);
        else if (text_equal(name, TEXT("parameters")) && is_of(value, '{'))
            tool->schema = gemini_schema_read(r->arena, value);
        else if (gemini_named(name, TEXT("parametersJsonSchema")) && is_of(value, '{'))
            tool->schema = value;
        else if (json_says_something(value) && !text_equal(value, TEXT("\"UNSPECIFIED\"")) &&
                 !text_equal(value, TEXT("\"BLOCKING\"")))
            tool->more = more_add(r->arena, tool->more, "", name);
    }
    return tool->name.len ||
           refuse(r, "tools.functionDeclarations", "has a function without a name");
}

static bool read_functions(struct reading *r, struct text list)
{
    struct text item;
    while (gemini_next(&list, &item))
        if (!read_function(r, item))
            return false;
    return true;
}

/* One item of `tools`: declarations, or tools of Google's own, or both. */
static bool read_tool(struct reading *r, struct text item)
{
    struct text name, value;
    while (member_next(&item, &name, &value)) {
        if (gemini_named(name, TEXT("functionDeclarations"))) {
            if (!read_functions(r, value))
                return false;
        } else if (!json_is_absent(value)) {
            if (r->chat->tool_count == CHAT_TOOLS_MAX)
                return refuse(r, "tools", "has too many items");
            struct tool *tool = next_tool(r);
            tool->kind = TOOL_OTHER;
            tool->name = name;
            tool->raw =
                arena_format(r->arena, "{\"%.*s\":%.*s}", TEXT_ARGS(name), TEXT_ARGS(value));
            if (gemini_named(name, TEXT("googleSearch")) && is_of(value, '{'))
                web_search_read(r->arena, tool, value);
        }
    }
    return true;
}

static bool read_tools(struct reading *r, struct text tools)
{
    struct text item;
    if (json_is_absent(tools))
        return true;
    if (!is_of(tools, '[') && !is_of(tools, '{'))
        return refuse(r, "tools", "is no array");
    while (gemini_next(&tools, &item)) {
        if (!is_of(item, '{'))
            return refuse(r, "tools", "has an item that is no object");
        if (!read_tool(r, item))
            return false;
    }
    return true;
}

static enum tool_choice mode_of(struct text mode)
{
    static const struct {
        struct text name;
        char number;
        enum tool_choice choice;
    } modes[] = {{{"AUTO", 4}, '1', CHOICE_AUTO},
                 {{"ANY", 3}, '2', CHOICE_ANY},
                 {{"NONE", 4}, '3', CHOICE_NONE},
                 {{"VALIDATED", 9}, '4', CHOICE_AUTO}};
    struct text word = member_string(mode);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (text_equal_nocase(word, modes[i].name) ||
            (mode.len == 1 && mode.at[0] == modes[i].number))
            return modes[i].choice;
    return CHOICE_UNSAID;
}

/* Is it more than a choice? Then it is kept as a whole besides. */
static bool read_calling(struct reading *r, struct text calling)
{
    struct text name, value, allowed = {NULL, 0}, first = {NULL, 0}, second;
    struct chat *chat = r->chat;
    bool more = false;
    while (member_next(&calling, &name, &value)) {
        if (text_equal(name, TEXT("mode"))) {
            chat->tool_choice = mode_of(value);
            more |= text_equal_nocase(member_string(value), TEXT("VALIDATED")) ||
                    text_equal(value, TEXT("4"));
        } else if (gemini_named(name, TEXT("allowedFunctionNames")) && is_of(value, '['))
            allowed = value;
        else if (!json_is_absent(value))
            more = true;
    }
    if (!member_next(&allowed, &name, &first))
        return more;
    if (chat->tool_choice != CHOICE_ANY || member_next(&allowed, &name, &second))
        return true;
    chat->tool_choice = CHOICE_ONE;
    chat->tool_choice_name = member_string(first);
    return more;
}

static bool read_tool_config(struct reading *r, struct text config)
{
    struct text rest = config, name, value;
    bool more = false;
    if (json_is_absent(config))
        return true;
    if (!is_of(config, '{'))
        return refuse(r, "toolConfig", "is no object");
    while (member_next(&rest, &name, &value)) {
        if (gemini_named(name, TEXT("functionCallingConfig")) && is_of(value, '{'))
            more |= read_calling(r, value);
        else
            more |= !json_is_absent(value);
    }
    if (more)
        keep(r, "", TEXT("toolConfig"), config);
    return true;
}

/* --------------------------------------------------------------------- generationConfig */

static bool read_stops(struct reading *r, struct text stops)
{
    struct text name, item;
    struct chat *chat = r->chat;
    if (!is_of(stops, '['))
        return refuse(r, "generationConfig.stopSequences", "is no array");
    chat->stops = arena_new(r->arena, CHAT_STOPS_MAX * sizeof(struct text));
    chat->stop_count = 0;
    while (member_next(&stops, &name, &item)) {
        if (chat->stop_count == CHAT_STOPS_MAX)
            return refuse(r, "generationConfig.stopSequences", "has too many items");
        if (!member_string(item).at)
            return refuse(r, "generationConfig.stopSequences", "has an item that is no string");
        chat->stops[chat->stop_count++] = member_string(item);
    }
    return true;
}

static void read_budget(struct chat *chat, struct text value)
{
    int64_t tokens = 0;
    struct text number = number_of(value);
    chat->reasoning = SAID_YES; /* -1: as much as it likes */
    if (!member_count(number, INT32_MAX, &tokens))
        return;
    chat->reasoning_tokens = tokens;
    if (!tokens)
        chat->reasoning = SAID_NO;
}

static bool read_thinking(struct reading *r, struct text thinking)
{
    struct text name, value;
    struct chat *chat = r->chat;
    if (!is_of(thinking, '{'))
        return refuse(r, "generationConfig.thinkingConfig", "is no object");
    while (member_next(&thinking, &name, &value)) {
        if (json_is_absent(value))
            continue;
        if (gemini_named(name, TEXT("includeThoughts"))) {
            chat->reasoning_shown = said_of(value);
        } else if (gemini_named(name, TEXT("thinkingBudget"))) {
            read_budget(chat, value);
        } else if (gemini_named(name, TEXT("thinkingLevel")) && member_string(value).len) {
            chat->effort = lower(r, member_string(value));
            chat->reasoning = SAID_YES;
        } else {
            keep(r, "generationConfig.thinkingConfig", name, value);
        }
    }
    return true;
}

static bool read_shape(struct reading *r, struct text mime, struct text schema,
                       struct text json_schema)
{
    struct chat *chat = r->chat;
    bool plain = json_is_absent(mime) || text_equal(mime, TEXT("\"text/plain\""));
    bool json = text_equal(mime, TEXT("\"application/json\"")) ||
                text_equal(mime, TEXT("\"application\\/json\""));
    if (!plain && !json) { /* text/x.enum: an answer that is one of a few words */
        keep(r, "generationConfig", TEXT("responseMimeType"), mime);
        keep(r, "generationConfig", TEXT("responseSchema"), schema);
        return true;
    }
    if (json)
        chat->shape = SHAPE_JSON;
    if (!json_is_absent(json_schema)) {
        chat->shape = SHAPE_SCHEMA;
        chat->schema = json_schema;
    } else if (!json_is_absent(schema)) {
        if (!is_of(schema, '{'))
            return refuse(r, "generationConfig.responseSchema", "is no object");
        chat->shape = SHAPE_SCHEMA;
        chat->schema = gemini_schema_read(r->arena, schema);
        chat->schema_raw = schema; /* the order of properties is in it, too */
    }
    return true;
}

/* Speech is in <modalities>; text alone is what everybody gets. */
static void read_modalities(struct reading *r, struct text value)
{
    struct text first, name, list = value;
    bool only_text = member_next(&list, &name, &first) &&
                     text_equal_nocase(member_string(first), TEXT("TEXT")) &&
                     !member_next(&list, &name, &first);
    if (is_of(value, '[') && !only_text)
        r->chat->modalities = lower(r, value);
}

/* The only member of <object>, when that is its name; else nothing. */
static struct text only_member(struct text object, struct text wanted)
{
    struct text name, value, none = {NULL, 0};
    bool is_it = is_of(object, '{') && member_next(&object, &name, &value) &&
                 gemini_named(name, wanted) && !member_next(&object, &name, &none);
    return is_it ? value : (struct text){NULL, 0};
}

/* One voice, by its name, is what others can have, too; speech is samples of 16 bits, 24000 in a
 * second, as OpenAI's pcm16. */
static void read_speech(struct reading *r, struct text value)
{
    struct text voice = only_member(value, TEXT("voiceConfig"));
    voice = only_member(voice, TEXT("prebuiltVoiceConfig"));
    voice = member_string(only_member(voice, TEXT("voiceName")));
    if (json_is_absent(value))
        return;
    if (voice.len && chat_wants(r->chat->modalities, TEXT("audio")))
        r->chat->voice =
            arena_format(r->arena, "{\"voice\":\"%.*s\",\"format\":\"pcm16\"}", TEXT_ARGS(voice));
    else
        keep(r, "generationConfig", TEXT("speechConfig"), value);
}

/* The numbers of the configuration. False with <good> false when it is none. */
static bool read_number(struct reading *r, struct text name, struct text value, bool *good)
{
    struct chat *chat = r->chat;
    const struct number_place numbers[] = {
        {{"temperature", 11}, &chat->temperature},
        {{"topP", 4}, &chat->top_p},
        {{"topK", 4}, &chat->top_k},
        {{"seed", 4}, &chat->seed},
        {{"presencePenalty", 15}, &chat->presence_penalty},
        {{"frequencyPenalty", 16}, &chat->frequency_penalty},
    };
    const struct count_place counts[] = {
        {{"maxOutputTokens", 15}, &chat->max_tokens},
        {{"candidateCount", 14}, &chat->choices},
        {{"logprobs", 8}, &chat->top_logprobs},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (gemini_named(name, numbers[i].name)) {
            *numbers[i].to = number_of(value);
            *good = numbers[i].to->at != NULL;
            return true;
        }
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        if (gemini_named(name, counts[i].name)) {
            *good = member_count(number_of(value), INT32_MAX, counts[i].to);
            return true;
        }
    return false;
}

static bool refuse_number(const struct reading *r, struct text name)
{
    struct text param = arena_format(r->arena, "generationConfig.%.*s", TEXT_ARGS(name));
    return gemini_refuse(r->arena, r->fault, param, "is not a number that it can be");
}

static bool read_config(struct reading *r, struct text config)
{
    struct text name, value, mime = {NULL, 0}, schema = {NULL, 0}, json_schema = {NULL, 0},
                             speech = {NULL, 0};
    if (json_is_absent(config))
        return true;
    if (!is_of(config, '{'))
        return refuse(r, "generationConfig", "is no object");
    while (member_next(&config, &name, &value)) {
        bool good = true;
        if (json_is_absent(value))
            continue;
        if (read_number(r, name, value, &good)) {
            if (!good)
                return refuse_number(r, name);
        } else if (gemini_named(name, TEXT("stopSequences")))
            good = read_stops(r, value);
        else if (gemini_named(name, TEXT("responseMimeType")))
            mime = value;
        else if (gemini_named(name, TEXT("responseSchema")))
            schema = value;
        else if (gemini_named(name, TEXT("responseJsonSchema")))
            json_schema = value;
        else if (gemini_named(name, TEXT("responseLogprobs")))
            r->chat->logprobs = said_of(value);
        else if (gemini_named(name, TEXT("thinkingConfig")))
            good = read_thinking(r, value);
        else if (gemini_named(name, TEXT("responseModalities")))
            read_modalities(r, value);
        else if (gemini_named(name, TEXT("speechConfig")))
            speech = value;
        else
            keep(r, "generationConfig", name, value);
        if (!good)
            return false;
    }
    read_speech(r, speech);
    if (r->chat->choices < 1 || r->chat->choices > CHAT_CHOICES_MAX)
        return refuse_number(r, TEXT("candidateCount"));
    return read_shape(r, mime, schema, json_schema);
}

/* ----------------------------------------------------------------------------------- all */

static void read_model(struct chat *chat, struct arena *arena, struct text inner)
{
    static const struct text prefix = {"models/", 7};
    if (!chat->model.len && inner.len)
        chat->model = inner_plain(arena, inner);
    if (text_starts(chat->model, prefix))
        chat->model = text_from(chat->model, prefix.len);
}

bool gemini_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    struct reading r = {.arena = arena, .chat = chat, .fault = fault};
    struct text body = source->body, name, value, model = {NULL, 0}, contents = {NULL, 0},
                system = {NULL, 0}, tools = {NULL, 0}, tool_config = {NULL, 0}, config = {NULL, 0};
    chat->from = &translator_gemini;
    chat->model = source->model;
    chat->stream = source->stream;
    chat->choices = 1;
    chat->top_logprobs = -1;
    while (member_next(&body, &name, &value)) {
        if (text_equal(name, TEXT("contents")))
            contents = value;
        else if (text_equal(name, TEXT("model")))
            model = member_string(value);
        else if (gemini_named(name, TEXT("systemInstruction")))
            system = value;
        else if (text_equal(name, TEXT("tools")))
            tools = value;
        else if (gemini_named(name, TEXT("toolConfig")))
            tool_config = value;
        else if (gemini_named(name, TEXT("generationConfig")))
            config = value;
        else if (text_equal(name, TEXT("labels")) && is_of(value, '{'))
            chat->metadata = value;
        else
            keep(&r, "", name, value);
    }
    read_model(chat, arena, model);
    return gemini_read_contents(arena, contents, system, chat, fault) && read_tools(&r, tools) &&
           read_tool_config(&r, tool_config) && read_config(&r, config);
}
