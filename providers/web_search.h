/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * web_search - searches of the web that a model's provider makes, as OpenAI's Responses, Anthropic
 * and Gemini ask for them: what of one can be said to another.
 */

#include "providers/chat.h"

/* Where a call does not say how many: policy/estimate_look.c holds the price of as many. */
enum { WEB_SEARCHES_MAX = 10 };

struct web_search {
    struct text allowed, blocked; /* json: lists of domains; at == NULL = any */
    struct text place;            /* json: about where who asks is; OpenAI's is Anthropic's */
    struct text odd;              /* inner: another member that says something, or empty */
    int64_t most;                 /* searches; 0 = unsaid */
    bool sized;                   /* how much of what is found is looked at, is said */
};

/* <tool> searches the web as <options>, a JSON object, say. */
void web_search_read(struct arena *arena, struct tool *tool, struct text options);
/* Does the type of a tool, of OpenAI's or Anthropic's, begin so? */
bool web_search_is_type(struct text type);
/* The most searches that a call asks for, with what it says of all tools. 0: none. */
int64_t web_search_most(const struct chat *chat, const struct web_search *search);
/* Does the call say how many, anywhere? */
bool web_search_is_bounded(const struct chat *chat, const struct web_search *search);
