/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/index.h"

/* Tables hold pointers that are not constant; nobody writes through these. */
static void *pointer_to(const void *what)
{
    return (void *)(uintptr_t)what;
}

/* The calls of <message>: backwards, so that the first of a name is the one that stays. */
static void put_calls(struct table *table, const struct message *message, bool by_name)
{
    for (size_t p = message->part_count; p-- > 0;) {
        const struct part *part = &message->parts[p];
        struct text name = by_name ? part->name : part->id;
        if (part->kind == PART_CALL && name.len)
            table_set(table, name, pointer_to(part));
    }
}

const struct part *call_index_find(struct call_index *index, struct text id)
{
    for (size_t m = 0; !index->is_made && m < index->chat->message_count; m++)
        put_calls(&index->calls, &index->chat->messages[m], false);
    index->is_made = true;
    return id.len ? table_find(&index->calls, id) : NULL;
}

void call_index_done(struct call_index *index)
{
    table_done(&index->calls);
}

const struct part *call_names_find(struct call_names *names, const struct chat *chat,
                                   struct text name)
{
    while (names->messages < chat->message_count)
        put_calls(&names->calls, &chat->messages[names->messages++], true);
    return name.len ? table_find(&names->calls, name) : NULL;
}

void call_names_done(struct call_names *names)
{
    table_done(&names->calls);
}

/* The tools move while there come more, so it is their number that is kept; NULL would be none. */
size_t tool_index_find(struct tool_index *index, const struct chat *chat, struct text name)
{
    for (; index->count < chat->tool_count; index->count++) {
        struct text one = chat->tools[index->count].name;
        if (!table_find(&index->tools, one))
            table_set(&index->tools, one, (void *)(uintptr_t)(index->count + 1));
    }
    return (size_t)(uintptr_t)table_find(&index->tools, name) - 1;
}

void tool_index_done(struct tool_index *index)
{
    table_done(&index->tools);
}

/* -------------------------------------------------------------- calls that have no result yet */

struct open_call {
    struct text id;
    struct open_call *next, *next_of_name;
    bool is_answered;
};

struct open_names {
    struct open_call *first, *last;
};

void open_calls_add(struct open_calls *calls, struct arena *arena, struct text id, struct text name)
{
    struct open_call *call = arena_new(arena, sizeof(*call));
    struct open_names *same = table_find(&calls->names, name);
    call->id = id;
    if (!same) {
        same = arena_new(arena, sizeof(*same));
        table_set(&calls->names, name, same);
    }
    if (same->first)
        same->last->next_of_name = call;
    else
        same->first = call;
    if (calls->first)
        calls->last->next = call;
    else
        calls->first = call;
    same->last = calls->last = call;
}

struct text open_calls_take(struct open_calls *calls, struct text name)
{
    struct open_names *same = name.len ? table_find(&calls->names, name) : NULL;
    struct open_call *found = name.len ? (same ? same->first : NULL) : calls->first;
    /* Each is passed over once in either row, and then left behind. */
    while (found && found->is_answered)
        found = name.len ? found->next_of_name : found->next;
    if (same)
        same->first = found;
    else if (!name.len)
        calls->first = found;
    if (!found)
        return (struct text){NULL, 0};
    found->is_answered = true;
    return found->id;
}

void open_calls_done(struct open_calls *calls)
{
    table_done(&calls->names);
}
