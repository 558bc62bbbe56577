/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: what tools a call offers.
 */
#include "gateway/base/member.h"
#include "providers/openai_responses.h"
#include "providers/web_search.h"

/* --------------------------------------------------------------------------------- tools */

static struct tool *tool_add(struct responses_reading *r, const char *where)
{
    struct chat *chat = r->chat;
    if (chat->tool_count == CHAT_TOOLS_MAX) {
        responses_refuse(r, "has too many of them", "%s", where);
        return NULL;
    }
    chat->tools =
        arena_grow(r->arena, chat->tools, chat->tool_count, &r->tool_room, sizeof(struct tool));
    struct tool *tool = &chat->tools[chat->tool_count++];
    *tool = (struct tool){.kind = TOOL_FUNCTION};
    return tool;
}

static bool read_function(struct responses_reading *r, struct text json, const char *where,
                          struct tool *tool)
{
    /* What is loaded later elsewhere is there from the beginning. */
    static const struct text known[] = {{"type", 4},        {"name", 4},   {"description", 11},
                                        {"parameters", 10}, {"strict", 6}, {"defer_loading", 13}};
    struct text inside = member_find(json, TEXT("function")); /* as chat completions have it */
    if (inside.at && inside.at[0] == '{')
        json = inside;
    struct text schema = member_find(json, TEXT("parameters"));
    tool->more = more_of(r->arena, tool->more, "", json, known, sizeof(known) / sizeof(known[0]));
    tool->name = member_string(member_find(json, TEXT("name")));
    tool->description = member_string(member_find(json, TEXT("description")));
    tool->strict = said_of(member_find(json, TEXT("strict"))) == SAID_YES;
    if (tool->name.len == 0)
        return responses_refuse(r, "has one without a name", "%s", where);
    if (json_is_absent(schema))
        return true;
    tool->schema = schema;
    return schema.at[0] == '{'
               ? true
               : responses_refuse(r, "has one whose parameters are no object", "%s", where);
}

static bool read_custom(struct responses_reading *r, struct text json, const char *where,
                        struct tool *tool)
{
    chat_tool_of_text(r->arena, tool, json, member_find(json, TEXT("format")));
    tool->raw = json;
    return tool->name.len ? true : responses_refuse(r, "has one without a name", "%s", where);
}

static bool read_space(struct responses_reading *r, struct text json, const char *where)
{
    struct text space = member_string(member_find(json, TEXT("name")));
    struct text tools = member_find(json, TEXT("tools")), none, inside;
    while (tools.len && member_next(&tools, &none, &inside)) {
        struct tool *tool = tool_add(r, where);
        if (!tool)
            return false;
        bool is_custom = inner_is(member_string(member_find(inside, TEXT("type"))), "custom");
        if (is_custom ? !read_custom(r, inside, where, tool)
                      : !read_function(r, inside, where, tool))
            return false;
        tool->space = space;
        tool->bare = tool->name;
        tool->name = responses_flat_name(r->arena, space, tool->name);
        tool->raw = json;
    }
    return true;
}

static bool read_tool(struct responses_reading *r, struct text json, const char *where)
{
    struct text type = member_string(member_find(json, TEXT("type")));
    if (type.len == 0)
        return responses_refuse(r, "has one without a type", "%s", where);
    if (inner_is(type, "namespace"))
        return read_space(r, json, where);
    struct tool *tool = tool_add(r, where);
    if (!tool)
        return false;
    if (inner_is(type, "function"))
        return read_function(r, json, where, tool);
    if (inner_is(type, "custom"))
        return read_custom(r, json, where, tool);
    *tool = (struct tool){.kind = TOOL_OTHER, .name = type, .raw = json};
    if (web_search_is_type(type))
        web_search_read(r->arena, tool, json);
    return true;
}

bool responses_read_tools(struct responses_reading *r, struct text tools, const char *where)
{
    struct text none, json;
    if (!tools.len || tools.at[0] != '[')
        return responses_refuse(r, "has to be a list", "%s", where);
    while (member_next(&tools, &none, &json))
        if (!read_tool(r, json, where))
            return false;
    return true;
}

/* ------------------------------------------------------------------------- which of them */

static bool read_choice_word(struct responses_reading *r, struct text word)
{
    struct chat *chat = r->chat;
    if (inner_is(word, "auto"))
        chat->tool_choice = CHOICE_AUTO;
    else if (inner_is(word, "none"))
        chat->tool_choice = CHOICE_NONE;
    else if (inner_is(word, "required"))
        chat->tool_choice = CHOICE_ANY;
    else
        return responses_refuse(r, "has to be auto, none, required or an object", "tool_choice");
    return true;
}

/* A tool of the provider is forced by its kind; then it is among the tools, and what cannot have
 * the one cannot have the other. */
static void choose_other(struct responses_reading *r, struct text choice)
{
    chat_keep_field(r->chat, TEXT("tool_choice"), choice, true);
}

bool responses_read_choice(struct responses_reading *r, struct text choice)
{
    struct chat *chat = r->chat;
    struct text word = member_string(choice);
    if (word.at || choice.at[0] != '{')
        return read_choice_word(r, word);
    struct text type = member_string(member_find(choice, TEXT("type")));
    if (inner_is(type, "allowed_tools")) {
        r->allowed = member_find(choice, TEXT("tools"));
        return read_choice_word(r, member_string(member_find(choice, TEXT("mode"))));
    }
    struct text name = member_string(member_find(choice, TEXT("name")));
    if (name.at == NULL)
        name = member_string(member_find(member_find(choice, TEXT("function")), TEXT("name")));
    if (!inner_is(type, "function") && !inner_is(type, "custom")) {
        choose_other(r, choice);
        return true;
    }
    chat->tool_choice = CHOICE_ONE;
    chat->tool_choice_name = name;
    return name.len ? true : responses_refuse(r, "has no name", "tool_choice");
}
