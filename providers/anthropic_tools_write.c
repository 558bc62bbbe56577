/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: the tools of a call are written, and which of them may be called.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"
#include "providers/provider.h"
#include "providers/web_search.h"

enum { NAME_MAX_BYTES = 128 };

/* Letters, digits, '_' and '-': others are refused, and a name cannot be changed in silence. */
static bool is_name(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return name.len > 0 && name.len <= NAME_MAX_BYTES;
}

/* The schema has to say that it is of an object, and there has to be one. */
static void put_input_schema(struct anthropic_writing *w, const struct tool *tool, bool strict)
{
    struct text schema = tool->schema, name, first;
    struct buffer *out = w->out;
    bool is_object = schema.len && schema.at[0] == '{';
    struct text rest = schema;
    if (!is_object || !member_next(&rest, &name, &first)) {
        put_json(out, "input_schema", TEXT("{\"type\":\"object\",\"properties\":{}}"));
        return;
    }
    anthropic_put_name(out, TEXT("input_schema"));
    bool typed = !json_is_absent(member_find(schema, TEXT("type")));
    size_t at = buffer_length(out);
    if (strict)
        anthropic_put_schema(w, schema, "tools.strict");
    else
        put_text(out, schema);
    if (typed || w->own)
        return;
    /* In front of all else that it says. */
    struct text made = arena_copy(w->arena, text_from(buffer_text(out), at + 1));
    out->end = out->begin + at;
    put_literal(out, "{\"type\":\"object\",");
    put_text(out, made);
}

static void put_function(struct anthropic_writing *w, const struct tool *tool, size_t i)
{
    static const struct text known[] = {{"name", 4},
                                        {"description", 11},
                                        {"input_schema", 12},
                                        {"strict", 6},
                                        {"cache_control", 13}};
    struct buffer *out = w->out;
    bool strict = tool->strict && (w->own || w->model.has_schemas);
    if (!is_name(tool->name))
        loss_demand(w->losses, "tools[%zu].name", i);
    if (tool->strict && !strict)
        loss_hint(w->losses, "tools[%zu].strict", i);
    put_open(out, NULL, '{');
    put_inner(out, "name", tool->name);
    if (tool->description.len)
        put_inner(out, "description", tool->description);
    put_input_schema(w, tool, strict);
    if (strict)
        put_json(out, "strict", TEXT("true"));
    put_json(out, "cache_control", tool->cache);
    if (w->own)
        anthropic_put_extras(out, tool->raw, known, sizeof(known) / sizeof(known[0]));
    put_literal(out, "}");
}

/* Can the target search the web as <tool> says? */
static bool searches(const struct anthropic_writing *w, const struct tool *tool)
{
    return tool->search && w->target->type && w->target->type->searches &&
           web_search_most(w->chat, tool->search) > 0;
}

static void put_search(struct anthropic_writing *w, const struct tool *tool, size_t i)
{
    const struct web_search *search = tool->search;
    struct buffer *out = w->out;
    put_open(out, NULL, '{');
    put_inner(out, "type", TEXT("web_search_20250305"));
    put_inner(out, "name", TEXT("web_search"));
    put_number(out, "max_uses", web_search_most(w->chat, search));
    put_json(out, "allowed_domains", search->allowed);
    put_json(out, "blocked_domains", search->blocked);
    put_json(out, "user_location", search->place);
    put_literal(out, "}");
    if (search->odd.len)
        loss_demand(w->losses, "tools[%zu].%.*s", i, TEXT_ARGS(search->odd));
    if (search->allowed.len && search->blocked.len)
        loss_demand(w->losses, "tools[%zu].filters", i); /* one of them only */
    if (search->sized)
        loss_hint(w->losses, "tools[%zu].search_context_size", i);
}

/* How many of them can be written. */
static size_t count_tools(const struct anthropic_writing *w)
{
    size_t count = 0;
    for (size_t i = 0; i < w->chat->tool_count; i++) {
        const struct tool *tool = &w->chat->tools[i];
        count += tool->kind == TOOL_FUNCTION || w->own || searches(w, tool);
    }
    return count;
}

static void put_tool(struct anthropic_writing *w, const struct tool *tool, size_t i)
{
    if (tool->kind == TOOL_FUNCTION) {
        put_function(w, tool, i);
    } else if (w->own) {
        put_comma(w->out);
        put_text(w->out, tool->raw);
    } else if (searches(w, tool)) {
        put_search(w, tool, i);
    }
}

static void put_choice(struct anthropic_writing *w, enum tool_choice choice)
{
    static const char *const words[] = {[CHOICE_UNSAID] = "auto",
                                        [CHOICE_AUTO] = "auto",
                                        [CHOICE_NONE] = "none",
                                        [CHOICE_ANY] = "any",
                                        [CHOICE_ONE] = "tool"};
    const struct chat *chat = w->chat;
    bool forced = choice == CHOICE_ANY || choice == CHOICE_ONE;
    bool alone = chat->parallel_calls == SAID_NO && choice != CHOICE_NONE;
    if (forced && w->model.no_force && !w->own) {
        loss_demand(w->losses, "tool_choice");
        choice = CHOICE_AUTO;
    }
    if (choice == CHOICE_UNSAID && !alone)
        return;
    put_open(w->out, "tool_choice", '{');
    put_inner(w->out, "type", text_of(words[choice]));
    if (choice == CHOICE_ONE)
        put_inner(w->out, "name", chat->tool_choice_name);
    if (alone)
        put_json(w->out, "disable_parallel_tool_use", TEXT("true"));
    else if (chat->parallel_calls == SAID_YES && choice != CHOICE_NONE)
        put_json(w->out, "disable_parallel_tool_use", TEXT("false"));
    put_literal(w->out, "}");
}

void anthropic_put_tools(struct anthropic_writing *w)
{
    const struct chat *chat = w->chat;
    for (size_t i = 0; i < chat->tool_count; i++) {
        if (chat->tools[i].kind == TOOL_OTHER && !w->own && !searches(w, &chat->tools[i]))
            loss_demand(w->losses, "tools[%zu].type", i);
    }
    if (count_tools(w) == 0)
        return;
    put_open(w->out, "tools", '[');
    for (size_t i = 0; i < chat->tool_count; i++)
        put_tool(w, &chat->tools[i], i);
    put_literal(w->out, "]");
    put_choice(w, chat->tool_choice);
}
