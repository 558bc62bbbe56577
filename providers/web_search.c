/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/web_search.h"

#include "gateway/base/member.h"

static struct text said(struct text json)
{
    return json_says_something(json) ? json : (struct text){NULL, 0};
}

static void read_filters(struct web_search *search, struct text filters)
{
    struct text name, value;
    if (filters.at[0] != '{')
        search->odd = TEXT("filters");
    while (search->odd.len == 0 && member_next(&filters, &name, &value)) {
        if (text_equal(name, TEXT("allowed_domains")))
            search->allowed = said(value);
        else if (text_equal(name, TEXT("blocked_domains")))
            search->blocked = said(value);
        else if (json_says_something(value))
            search->odd = TEXT("filters");
    }
}

static void read_member(struct web_search *search, struct text name, struct text value)
{
    if (text_equal(name, TEXT("allowed_domains")))
        search->allowed = said(value);
    else if (text_equal(name, TEXT("blocked_domains")))
        search->blocked = said(value);
    else if (text_equal(name, TEXT("filters")))
        read_filters(search, value);
    else if (text_equal(name, TEXT("user_location")) && value.at[0] == '{')
        search->place = value;
    else if (text_equal(name, TEXT("search_context_size")))
        search->sized = true;
    else if (!text_equal(name, TEXT("max_uses")) ||
             !member_count(value, WEB_SEARCHES_MAX, &search->most) || !search->most)
        search->odd = name;
}

/* Does a member say only what is so anyway? */
static bool is_usual(struct text name, struct text value)
{
    if (text_equal(name, TEXT("external_web_access"))) /* else only what is kept is searched */
        return json_is_absent(value) || text_equal(value, TEXT("true"));
    return !json_says_something(value) || text_equal(name, TEXT("type")) ||
           text_equal(name, TEXT("name")) || text_equal(name, TEXT("cache_control"));
}

void web_search_read(struct arena *arena, struct tool *tool, struct text options)
{
    struct web_search *search = arena_new(arena, sizeof(*search));
    struct text name, value;
    *search = (struct web_search){.odd = {"", 0}};
    while (member_next(&options, &name, &value))
        if (!is_usual(name, value))
            read_member(search, name, value);
    tool->search = search;
}

bool web_search_is_type(struct text type)
{
    return text_starts(type, TEXT("web_search"));
}

/* OpenAI's bound for all tools that it runs. -1: none. */
static int64_t most_calls(const struct chat *chat)
{
    int64_t most = -1;
    for (size_t i = 0; i < chat->field_count; i++)
        if (inner_is(chat->fields[i].name, "max_tool_calls") &&
            !member_count(chat->fields[i].value, WEB_SEARCHES_MAX, &most))
            most = -1; /* more than are made anyway */
    return most;
}

int64_t web_search_most(const struct chat *chat, const struct web_search *search)
{
    int64_t calls = most_calls(chat), most = search->most ? search->most : WEB_SEARCHES_MAX;
    return calls >= 0 && calls < most ? calls : most;
}

bool web_search_is_bounded(const struct chat *chat, const struct web_search *search)
{
    return search->most || most_calls(chat) >= 0;
}
