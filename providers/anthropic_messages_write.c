/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: the conversation of a call is written. Roles take turns; what came of tools stands
 * first in what the user says next; the system's words stand in front, but for models that take
 * them in between.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"

static bool is_systems(const struct message *message)
{
    return message->role == ROLE_SYSTEM || message->role == ROLE_DEVELOPER;
}

static bool is_model(const struct message *message)
{
    return message->role == ROLE_ASSISTANT;
}

/* May message <m>, the system's, stand where it is: behind the user, in front of the model? */
static bool may_stay(const struct anthropic_writing *w, size_t m)
{
    const struct message *messages = w->chat->messages;
    size_t count = w->chat->message_count;
    if (w->own)
        return true;
    if (!w->model.takes_system || m == 0)
        return false;
    bool behind = messages[m - 1].role == ROLE_USER || messages[m - 1].role == ROLE_TOOL;
    return behind && (m + 1 == count || is_model(&messages[m + 1]));
}

/* Where the conversation begins: behind the system's first words. */
static size_t first_said(const struct chat *chat)
{
    size_t m = 0;
    while (m < chat->message_count && is_systems(&chat->messages[m]))
        m++;
    return m;
}

/* Forget what was written from <mark> on. */
static void cut_back(struct buffer *out, size_t mark)
{
    out->end = out->begin + mark;
}

/* The parts of a message that are (or are not) results of tools. Returns how many were written. */
static size_t put_parts(struct anthropic_writing *w, size_t m, bool results)
{
    const struct message *message = &w->chat->messages[m];
    size_t count = 0;
    w->message = m;
    for (size_t p = 0; p < message->part_count; p++) {
        w->part = p;
        if ((message->parts[p].kind == PART_RESULT) == results)
            count += anthropic_put_part(w, &message->parts[p], message->role);
    }
    return count;
}

/* ------------------------------------------------------------------------------ the system */

/* All that the system says in front; <from>: its first words end there. */
static size_t put_system_parts(struct anthropic_writing *w, size_t from, size_t *first)
{
    const struct chat *chat = w->chat;
    size_t count = 0;
    for (size_t m = 0; m < chat->message_count; m++) {
        if (!is_systems(&chat->messages[m]) || (m >= from && may_stay(w, m)) || m == w->question)
            continue;
        if (m >= from)
            loss_hint(w->losses, "messages[%zu].role", m);
        size_t put = put_parts(w, m, false);
        if (put && count == 0)
            *first = m;
        count += put;
    }
    return count;
}

/* A single text without marks is said as a string. */
static bool put_plainly(struct anthropic_writing *w, const struct message *message)
{
    const struct part *said = NULL;
    for (size_t p = 0; p < message->part_count; p++)
        if (message->parts[p].text.len)
            said = &message->parts[p];
    if (!said || said->kind != PART_TEXT || said->cache.at || said->raw.at)
        return false;
    put_inner(w->out, "system", said->text);
    return true;
}

static void put_system(struct anthropic_writing *w, size_t from)
{
    size_t mark = buffer_length(w->out), first = 0;
    bool asks_json = w->chat->shape == SHAPE_JSON && !w->own;
    put_open(w->out, "system", '[');
    size_t count = put_system_parts(w, from, &first);
    if (asks_json) {
        put_open(w->out, NULL, '{');
        put_inner(w->out, "type", TEXT("text"));
        put_inner(w->out, "text", anthropic_asks_json);
        put_literal(w->out, "}");
    }
    put_literal(w->out, "]");
    if (count > 1 || asks_json)
        return;
    size_t length = buffer_length(w->out);
    cut_back(w->out, mark);
    if (count == 1 && !put_plainly(w, &w->chat->messages[first]))
        w->out->end = w->out->begin + length;
}

/* ---------------------------------------------------------------------------- the messages */

static void open_message(struct anthropic_writing *w, const char *role)
{
    put_open(w->out, NULL, '{');
    put_inner(w->out, "role", text_of(role));
    put_open(w->out, "content", '[');
}

/* Messages <m> to <end> are of the same side: one turn. <last>: who spoke before; when that is the
 * same, for what stood between was left out, its message goes on. Returns who has spoken last. */
static const char *put_turn(struct anthropic_writing *w, size_t m, size_t end, const char *last)
{
    const struct message *messages = w->chat->messages;
    size_t mark = buffer_length(w->out), count = 0;
    bool model = is_model(&messages[m]), systems = is_systems(&messages[m]);
    const char *role = systems ? "system" : model ? "assistant" : "user";
    bool goes_on = last && !strcmp(role, last);
    if (goes_on)
        cut_back(w->out, mark -= 2); /* the brackets that closed it */
    else
        open_message(w, role);
    w->turn = m;
    for (size_t i = m; i < end && !model; i++)
        count += is_systems(&messages[i]) && i > m ? 0 : put_parts(w, i, true);
    for (size_t i = m; i < end; i++)
        count += is_systems(&messages[i]) && i > m ? 0 : put_parts(w, i, false);
    if (count == 0) {
        cut_back(w->out, mark);
        put_literal(w->out, goes_on ? "]}" : "");
        return last;
    }
    put_literal(w->out, "]}");
    return role;
}

/* Behind the messages that belong to the turn that begins with <m>. */
static size_t turn_end(const struct anthropic_writing *w, size_t m)
{
    const struct chat *chat = w->chat;
    size_t end = m + 1;
    if (is_systems(&chat->messages[m]))
        return end;
    while (end < chat->message_count &&
           (is_systems(&chat->messages[end])
                ? !may_stay(w, end)
                : is_model(&chat->messages[end]) == is_model(&chat->messages[m])))
        end++;
    return end;
}

/* Only the system spoke: somebody has to ask, so its last words do. */
static void put_question(struct anthropic_writing *w)
{
    open_message(w, "user");
    put_parts(w, w->question, false);
    put_literal(w->out, "]}");
    loss_hint(w->losses, "messages[%zu].role", w->question);
}

void anthropic_put_conversation(struct anthropic_writing *w)
{
    const struct chat *chat = w->chat;
    size_t from = first_said(chat);
    bool alone = from == chat->message_count && from > 0 && !w->own;
    w->question = alone ? from - 1 : SIZE_MAX;
    put_system(w, from);
    for (size_t m = 0; m < chat->message_count; m++)
        if (chat->messages[m].name.len > 0)
            loss_hint(w->losses, "messages[%zu].name", m);
    put_open(w->out, "messages", '[');
    const char *last = NULL;
    for (size_t m = from, end; m < chat->message_count; m = end) {
        end = turn_end(w, m);
        last = put_turn(w, m, end, w->own ? NULL : last);
    }
    if (alone)
        put_question(w);
    put_literal(w->out, "]");
}
