/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: the tools of a call are read, and which of them is to be called.
 */
#include "gateway/base/member.h"
#include "providers/openai_chat.h"

struct tool_words {
    struct text type, function, custom, name, description, parameters, strict, cache_control;
};

static const struct member_slot tool_slots[] = {
    SLOT(tool_words, type),          SLOT(tool_words, function),   SLOT(tool_words, name),
    SLOT(tool_words, description),   SLOT(tool_words, parameters), SLOT(tool_words, strict),
    SLOT(tool_words, cache_control), SLOT(tool_words, custom),
};

static bool refuse_tool(struct call_reading *r, size_t number, const char *field, const char *what)
{
    struct text param = arena_format(r->arena, "tools[%zu]%s", number, field);
    return openai_refuse(r, param.at, what);
}

/* What a function says of itself; flat as Responses has it, or below "function". */
static bool read_function(struct call_reading *r, size_t number, const struct tool_words *words,
                          struct tool *tool)
{
    tool->kind = TOOL_FUNCTION;
    tool->name = member_string(words->name);
    tool->description = member_string(words->description);
    tool->strict = said_of(words->strict) == SAID_YES;
    if (!tool->name.len)
        return refuse_tool(r, number, ".function.name", "has to be a string");
    if (words->description.at && !tool->description.at)
        return refuse_tool(r, number, ".function.description", "has to be a string");
    if (words->parameters.at && !json_is_object(words->parameters))
        return refuse_tool(r, number, ".function.parameters", "has to be an object");
    tool->schema = words->parameters;
    return true;
}

/* {"type":"custom","custom":{"name":...,"format":{"type":"grammar","grammar":{...}}}}; flat, as
 * Responses has it, too. */
static bool read_custom(struct call_reading *r, size_t number, struct text json, struct text inside,
                        struct tool *tool)
{
    struct text own = json_is_object(inside) ? inside : json;
    struct text format = member_find(own, TEXT("format"));
    struct text grammar = member_find(format, TEXT("grammar"));
    chat_tool_of_text(r->arena, tool, own, json_is_object(grammar) ? grammar : format);
    tool->raw = json;
    return tool->name.len ? true : refuse_tool(r, number, ".custom.name", "has to be a string");
}

static bool read_tool(struct call_reading *r, size_t number, struct text json, struct tool *tool)
{
    struct tool_words words = {.type = {NULL, 0}};
    if (!json_is_object(json))
        return refuse_tool(r, number, "", "has to be an object");
    bool knows_all = member_take_all(json, SLOTS(tool_slots), &words);
    struct text type = member_string(words.type);
    tool->cache = words.cache_control;
    if (inner_is(type, "custom"))
        return read_custom(r, number, json, words.custom, tool);
    if (type.len && !inner_is(type, "function")) {
        tool->kind = TOOL_OTHER;
        tool->name = type;
        tool->raw = json;
        return true;
    }
    if (!knows_all)
        tool->more = openai_more(r->arena, tool->more, "", json, SLOTS(tool_slots));
    if (words.function.at && !member_take_all(words.function, SLOTS(tool_slots), &words))
        tool->more =
            openai_more(r->arena, tool->more, "function.", words.function, SLOTS(tool_slots));
    return read_function(r, number, &words, tool);
}

static bool read_list(struct call_reading *r, struct text list, const char *field)
{
    struct chat *chat = r->chat;
    struct text name, item;
    size_t room = 0;
    if (!json_is_array(list))
        return openai_refuse(r, field, "has to be an array");
    chat->tool_count = 0;
    while (member_next(&list, &name, &item)) {
        if (chat->tool_count == CHAT_TOOLS_MAX)
            return openai_refuse(r, field, "has too many in it");
        chat->tools =
            arena_grow(r->arena, chat->tools, chat->tool_count, &room, sizeof(*chat->tools));
        struct tool *tool = &chat->tools[chat->tool_count];
        *tool = (struct tool){.kind = TOOL_FUNCTION};
        if (!read_tool(r, chat->tool_count++, item, tool))
            return false;
    }
    return true;
}

bool openai_read_tools(struct call_reading *r, struct text tools)
{
    return read_list(r, tools, "tools");
}

bool openai_read_functions(struct call_reading *r, struct text functions)
{
    /* Whoever knows only functions knows only one call at a time. */
    r->chat->parallel_calls = SAID_NO;
    return read_list(r, functions, "functions");
}

/* --------------------------------------------------------------------------------- the choice */

struct wanted_words {
    struct text type, function, custom, name, allowed_tools, mode, tools;
};

static const struct member_slot choice_slots[] = {
    SLOT(wanted_words, type),   SLOT(wanted_words, function),      SLOT(wanted_words, name),
    SLOT(wanted_words, custom), SLOT(wanted_words, allowed_tools), SLOT(wanted_words, mode),
    SLOT(wanted_words, tools),
};

static enum tool_choice choice_of_word(struct text word)
{
    if (inner_is(word, "auto"))
        return CHOICE_AUTO;
    if (inner_is(word, "none"))
        return CHOICE_NONE;
    return inner_is(word, "required") || inner_is(word, "any") ? CHOICE_ANY : CHOICE_UNSAID;
}

static bool choose_one(struct call_reading *r, struct text name, const char *field)
{
    r->chat->tool_choice = CHOICE_ONE;
    r->chat->tool_choice_name = member_string(name);
    return r->chat->tool_choice_name.len ? true : openai_refuse(r, field, "has to name a function");
}

/* {"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[...]}}, or flat. */
static bool read_allowed(struct call_reading *r, struct wanted_words *words)
{
    member_take_all(words->allowed_tools, SLOTS(choice_slots), words);
    struct text mode = member_string(words->mode);
    r->chat->tool_choice = choice_of_word(mode);
    r->allowed = words->tools;
    if (!json_is_array(words->tools))
        return openai_refuse(r, "tool_choice.allowed_tools.tools", "has to be an array");
    return r->chat->tool_choice
               ? true
               : openai_refuse(r, "tool_choice.allowed_tools.mode", "has to be auto or required");
}

bool openai_read_tool_choice(struct call_reading *r, struct text choice)
{
    struct wanted_words words = {.type = {NULL, 0}};
    struct text word = member_string(choice);
    if (word.at) {
        r->chat->tool_choice = choice_of_word(word);
        return r->chat->tool_choice ? true
                                    : openai_refuse(r, "tool_choice", "is no word that is known");
    }
    if (!json_is_object(choice))
        return openai_refuse(r, "tool_choice", "has to be a string or an object");
    member_take_all(choice, SLOTS(choice_slots), &words);
    struct text type = member_string(words.type);
    if (inner_is(type, "allowed_tools"))
        return read_allowed(r, &words);
    if (inner_is(type, "custom")) {
        member_take_all(words.custom, SLOTS(choice_slots), &words);
        return choose_one(r, words.name, "tool_choice");
    }
    if (type.len && !inner_is(type, "function")) {   /* a tool of the provider's */
        r->chat->tool_choice = choice_of_word(type); /* {"type":"auto"}, as some send it */
        if (!r->chat->tool_choice)
            chat_keep_field(r->chat, TEXT("tool_choice"), choice, true);
        return true;
    }
    member_take_all(words.function, SLOTS(choice_slots), &words);
    return choose_one(r, words.name, "tool_choice");
}

bool openai_read_function_call(struct call_reading *r, struct text choice)
{
    struct text word = member_string(choice);
    if (!word.at)
        return choose_one(r, member_find(choice, TEXT("name")), "function_call");
    r->chat->tool_choice = choice_of_word(word);
    return r->chat->tool_choice ? true
                                : openai_refuse(r, "function_call", "is no word that is known");
}
