/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * index - what stands in a conversation, found by its name. Inside providers.
 *
 * A conversation may have a hundred thousand calls and as many results: whoever looks for the call
 * of each among all of them keeps everybody else waiting. So here each is looked at once, when the
 * first is asked for, and then stands in a table. A zeroed index is an empty one; it ends with its
 * ..._done(), and borrows all texts. What is in it stays where it is meanwhile, in the arena.
 */

#include "gateway/base/table.h"
#include "providers/chat.h"

/* ------------------------------------------------------------------- calls, of a whole chat */

struct call_index {
    const struct chat *chat;
    struct table calls;
    bool is_made;
};

/* The call with <id> in the conversation, or NULL: a result's tool has its name there only. Of
 * several it is the first in the last message that has one. */
const struct part *call_index_find(struct call_index *index, struct text id);
void call_index_done(struct call_index *index);

/* --------------------------------------------------------- calls by name, while they are read */

struct call_names {
    struct table calls;
    size_t messages; /* so many have been looked at */
};

/* The same of the tool's name, of the messages that are read so far. These stay as they are. */
const struct part *call_names_find(struct call_names *names, const struct chat *chat,
                                   struct text name);
void call_names_done(struct call_names *names);

/* --------------------------------------------------------------------------- tools, by name */

struct tool_index {
    struct table tools;
    size_t count; /* so many have been looked at */
};

/* The number of the first tool of this name, SIZE_MAX = none. There may be more than last time. */
size_t tool_index_find(struct tool_index *index, const struct chat *chat, struct text name);
void tool_index_done(struct tool_index *index);

/* ------------------------------------------------------- calls that have no result yet */

struct open_call;

struct open_calls {
    struct open_call *first, *last; /* all, in order; the first ones may be answered */
    struct table names;             /* to the open_names of each name */
};

/* A call of the tool <name> was read. */
void open_calls_add(struct open_calls *calls, struct arena *arena, struct text id,
                    struct text name);
/* The id of the first call of <name> that has no result yet, and now has one; with an empty name,
 * of the first of all. at == NULL: there is none. */
struct text open_calls_take(struct open_calls *calls, struct text name);
void open_calls_done(struct open_calls *calls);
