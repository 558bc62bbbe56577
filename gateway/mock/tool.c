/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "gateway/mock/inside.h"

/* When a tool is called: when it must be, or when the last message speaks of it. A message that
 * brings a tool's result is answered in words. */

enum { WORD_LEAST = 4, TOOLS_MAX = 128, MESSAGE_BYTES = 16384 }; /* that are looked at */

static struct text last_item(struct text list)
{
    struct text name, item = {NULL, 0};
    if (list.len > 0 && list.at[0] == '[')
        while (member_next(&list, &name, &item))
            ;
    return item.at != NULL ? item : list;
}

static bool is_result(struct text message)
{
    return text_equal(member_words(message, "role"), TEXT("tool")) ||
           text_equal(member_words(message, "type"), TEXT("function_call_output"));
}

static bool contains_nocase(struct text text, struct text part)
{
    for (size_t i = 0; i + part.len <= text.len; i++)
        if (text_equal_nocase((struct text){text.at + i, part.len}, part))
            return true;
    return false;
}

/* "get_weather": is it named, or is the weather spoken of? */
static bool is_spoken_of(struct text message, struct text tool)
{
    if (contains_nocase(message, tool))
        return true;
    struct text rest = tool, word;
    while (text_next(&rest, '_', &word))
        if (word.len >= WORD_LEAST && contains_nocase(message, word))
            return true;
    return contains_nocase(message, TEXT("call the tool")) ||
           contains_nocase(message, TEXT("use the tool"));
}

/* What tool_choice says: "none", "auto", "required", or the name of a tool. */
static struct text choice_of(struct text body)
{
    struct text choice = member_find(body, TEXT("tool_choice"));
    struct text word = member_string(choice);
    if (word.len > 0)
        return word;
    struct text name = member_words(member_find(choice, TEXT("function")), "name");
    return name.len > 0 ? name : member_words(choice, "name");
}

static void call_tool(struct plan *plan, struct text name, struct text parameters)
{
    plan->calls_tool = true;
    snprintf(plan->tool, sizeof(plan->tool), "%.*s", TEXT_ARGS(name));
    buffer_clear(&plan->text);
    if (parameters.at != NULL)
        schema_fill(&plan->text, parameters, parameters);
    else
        put(&plan->text, TEXT("{}"));
    plan->prose.said = buffer_text(&plan->text);
}

bool tool_choose(struct caller *caller, struct text conversation, bool below_function)
{
    struct text body = asked(caller), message = last_item(conversation);
    struct text choice = choice_of(body), tools = member_find(body, TEXT("tools")), unused, tool;
    bool must = text_equal(choice, TEXT("required"));
    if (text_equal(choice, TEXT("none")) || (is_result(message) && !must))
        return false;
    size_t seen = 0;
    while (seen++ < TOOLS_MAX && member_next(&tools, &unused, &tool)) {
        struct text inside = below_function ? member_find(tool, TEXT("function")) : tool;
        struct text name = member_words(inside, "name");
        if (name.len == 0 || name.len >= sizeof(caller->plan.tool))
            continue;
        if (must || text_equal(choice, name) ||
            is_spoken_of(text_head(message, MESSAGE_BYTES), name)) {
            call_tool(&caller->plan, name, member_find(inside, TEXT("parameters")));
            return true;
        }
    }
    return false;
}
