/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: the messages of a call are written.
 *
 * Other dialects have results of tools beside what the user says, and pictures inside of results.
 * Here each result is a message, which has to follow the calls at once, and most servers take text
 * only in it: pictures go into the user's message behind the results.
 */
#include "providers/openai_chat.h"

struct message_writing {
    struct call_writing *w;
    struct placed_list media; /* of results, to be shown by the user */
    bool after_result;        /* the last message is that of a tool */
};

static void begin_message(struct message_writing *m, const char *role, struct text name)
{
    struct call_writing *w = m->w;
    put_open(w->out, NULL, '{');
    put_inner(w->out, "role", text_of(role));
    if (!w->is_mistral && openai_takes(w, "name"))
        put_inner(w->out, "name", name);
    else if (name.at)
        loss_hint(w->losses, "messages.name");
    m->after_result = false;
}

/* -------------------------------------------------------------------------- results, the user's */

static void write_user(struct message_writing *m, struct placed_list *list, struct text name)
{
    struct call_writing *w = m->w;
    if (w->is_mistral && m->after_result && w->chat->from != w->own) {
        /* Models of Mistral's want to hear their own voice between a tool's and the user's. */
        put_text(w->out, TEXT(",{\"role\":\"assistant\",\"content\":\"OK.\"}"));
        loss_hint(w->losses, "messages.order");
    }
    begin_message(m, "user", name);
    if (m->media.count) {
        struct placed_list all = m->media;
        for (size_t i = 0; i < list->count; i++)
            openai_list_add(w->arena, &all, list->items[i]);
        openai_write_content(w, &all, false);
    } else {
        openai_write_content(w, list, false);
    }
    put_literal(w->out, "}");
    m->media = (struct placed_list){.count = 0};
}

static void flush_media(struct message_writing *m)
{
    struct placed_list none = {.count = 0};
    if (m->media.count)
        write_user(m, &none, (struct text){NULL, 0});
}

/* A picture inside of a result that has to stand elsewhere. */
static bool moves(struct message_writing *m, const struct placed *placed)
{
    struct call_writing *w = m->w;
    bool media = placed->part->kind == PART_IMAGE || placed->part->kind == PART_AUDIO ||
                 placed->part->kind == PART_VIDEO ||
                 (placed->part->kind == PART_FILE && !placed->part->text.at);
    if (!media || openai_takes_media(w, placed->part, IN_RESULT) ||
        !openai_takes_media(w, placed->part, IN_USER))
        return false;
    openai_lose_hint(w, placed, "");
    openai_list_add(w->arena, &m->media, *placed);
    return true;
}

static void write_result(struct message_writing *m, size_t number, size_t index)
{
    struct call_writing *w = m->w;
    const struct part *result = &w->messages[number].parts[index];
    struct placed_list list = {.count = 0};
    struct placed place = {result, number, index, SIZE_MAX};
    for (size_t i = 0; i < result->part_count; i++) {
        struct placed inside = {&result->parts[i], number, index, i};
        if (!moves(m, &inside) && openai_takes_part(w, &inside, IN_RESULT))
            openai_list_add(w->arena, &list, inside);
    }
    if (result->is_error)
        openai_lose_hint(w, &place, ".is_error");
    begin_message(m, "tool", (struct text){NULL, 0});
    put_inner(w->out, "tool_call_id", openai_call_id(w, result->id));
    if (result->cache.at && !w->type->conventions)
        openai_lose_hint(w, &place, ".cache_control");
    openai_write_content(w, &list, false);
    if (w->type->conventions)
        put_json(w->out, "cache_control", result->cache);
    put_literal(w->out, "}");
    m->after_result = true;
}

/* What a user or a tool says: the results first, then all else. */
static void write_said(struct message_writing *m, size_t number)
{
    struct call_writing *w = m->w;
    const struct message *message = &w->messages[number];
    size_t results = 0;
    for (size_t i = 0; i < message->part_count; i++)
        results += message->parts[i].kind == PART_RESULT;
    for (size_t i = 0; i < message->part_count; i++)
        if (message->parts[i].kind == PART_RESULT)
            write_result(m, number, i);
    struct placed_list rest = openai_content_of(w, number, IN_USER);
    if (rest.count || !results)
        write_user(m, &rest, message->name);
}

/* -------------------------------------------------------------------------------- the assistant */

static void write_call(struct call_writing *w, const struct placed *placed)
{
    const struct part *call = placed->part;
    if (openai_is_own_raw(w, call)) {
        put_comma(w->out);
        put_text(w->out, call->raw);
        return;
    }
    struct text id = call->id;
    if (!id.len)
        id = arena_format(w->arena, "call_%zu_%zu", placed->message, placed->index);
    put_open(w->out, NULL, '{');
    put_inner(w->out, "id", openai_call_id(w, id));
    put_inner(w->out, "type", TEXT("function"));
    put_open(w->out, "function", '{');
    put_inner(w->out, "name", call->name);
    put_literal(w->out, ",\"arguments\":\"");
    put_json_inner(w->out, call->arguments.at ? call->arguments : TEXT("{}"));
    put_literal(w->out, "\"}");
    if (call->signature.at && w->type->conventions) {
        put_open(w->out, "extra_content", '{');
        put_open(w->out, "google", '{');
        put_inner(w->out, "thought_signature", call->signature);
        put_literal(w->out, "}}");
    } else if (call->signature.at) {
        openai_lose_hint(w, placed, ".signature");
    }
    if (w->type->conventions)
        put_json(w->out, "cache_control", call->cache);
    else if (call->cache.at)
        openai_lose_hint(w, placed, ".cache_control");
    put_literal(w->out, "}");
}

static size_t write_calls(struct call_writing *w, size_t number)
{
    const struct message *message = &w->messages[number];
    size_t count = 0;
    for (size_t i = 0; i < message->part_count; i++) {
        struct placed placed = {&message->parts[i], number, i, SIZE_MAX};
        if (message->parts[i].kind != PART_CALL)
            continue;
        if (!count++)
            put_open(w->out, "tool_calls", '[');
        write_call(w, &placed);
    }
    if (count)
        put_literal(w->out, "]");
    return count;
}

/* "name":"..." of the texts of all parts of a kind, one behind the other. */
static void write_joined(struct call_writing *w, const struct message *message, enum part_kind kind,
                         const char *name)
{
    bool any = false;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        if (part->kind != kind || !part->text.len)
            continue;
        if (!any)
            openai_open_string(w->out, name);
        any = true;
        put_text(w->out, part->text);
    }
    if (any)
        put_literal(w->out, "\"");
}

static void write_details(struct call_writing *w, const struct message *message)
{
    int64_t index = 0;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        if (part->kind != PART_REASONING ||
            !(part->text.at || part->signature.at || part->encrypted.at))
            continue;
        if (!index)
            put_open(w->out, "reasoning_details", '[');
        openai_put_details(w->out, part->from ? part->from : w->chat->from, part, index++);
    }
    if (index)
        put_literal(w->out, "]");
}

/* What the model thought before, as far as the target wants to see it again. */
static void write_reasoning(struct call_writing *w, size_t number)
{
    const struct message *message = &w->messages[number];
    struct text form = w->is_mistral ? TEXT("") : w->type->reasoning_history;
    bool both = text_equal(form, TEXT("both"));
    bool details = both || text_equal(form, TEXT("details"));
    bool content = both || text_equal(form, TEXT("content"));
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        struct placed placed = {part, number, i, SIZE_MAX};
        bool proof = part->signature.len || part->encrypted.len;
        bool told = details || ((content || w->is_mistral) && !proof);
        if (part->kind == PART_REASONING && !told)
            openai_lose_hint(w, &placed, content || w->is_mistral ? ".signature" : "");
    }
    if (content)
        write_joined(w, message, PART_REASONING, "reasoning_content");
    if (details)
        write_details(w, message);
}

static void write_citations(struct call_writing *w, size_t number)
{
    const struct message *message = &w->messages[number];
    bool any = false;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct part *part = &message->parts[i];
        struct placed placed = {part, number, i, SIZE_MAX};
        if (part->citation_count && !w->type->conventions) {
            openai_lose_hint(w, &placed, ".citations");
            continue;
        }
        for (size_t c = 0; c < part->citation_count; c++) {
            if (!any)
                put_open(w->out, "annotations", '[');
            any = true;
            openai_put_citation(w->out, &part->citations[c], 0);
        }
    }
    if (any)
        put_literal(w->out, "]");
}

static void write_audio_id(struct call_writing *w, const struct message *message)
{
    for (size_t i = 0; i < message->part_count; i++) {
        if (message->parts[i].kind != PART_AUDIO || !message->parts[i].id.at)
            continue;
        put_open(w->out, "audio", '{');
        put_inner(w->out, "id", message->parts[i].id);
        put_literal(w->out, "}");
        return;
    }
}

static bool has_kind(const struct message *message, enum part_kind kind)
{
    for (size_t i = 0; i < message->part_count; i++)
        if (message->parts[i].kind == kind)
            return true;
    return false;
}

static void write_assistant(struct message_writing *m, size_t number)
{
    struct call_writing *w = m->w;
    const struct message *message = &w->messages[number];
    struct placed_list list = openai_content_of(w, number, IN_ASSISTANT);
    begin_message(m, "assistant", message->name);
    bool more = has_kind(message, PART_CALL) || has_kind(message, PART_AUDIO) ||
                has_kind(message, PART_REFUSAL);
    openai_write_content(w, &list, more && !w->is_mistral);
    write_reasoning(w, number);
    if (w->type->openai_fields)
        write_joined(w, message, PART_REFUSAL, "refusal");
    write_citations(w, number);
    write_audio_id(w, message);
    size_t calls = write_calls(w, number);
    if (w->is_mistral && !calls && number + 1 == w->message_count)
        put_said(w->out, "prefix", SAID_YES);
    put_literal(w->out, "}");
}

/* ----------------------------------------------------------------------------------------- all */

static void write_system(struct message_writing *m, size_t number)
{
    struct call_writing *w = m->w;
    const struct message *message = &w->messages[number];
    bool developer = message->role == ROLE_DEVELOPER && w->type->developer_role && !w->is_mistral;
    struct placed_list list = openai_content_of(w, number, IN_SYSTEM);
    begin_message(m, developer ? "developer" : "system", message->name);
    openai_write_content(w, &list, false);
    put_literal(w->out, "}");
}

/* How many messages from <first> on are one: what a model said in several, where there are calls in
 * it, for results have to follow these at once. */
static size_t count_joined(const struct chat *chat, size_t first)
{
    const struct message *messages = chat->messages;
    size_t end = first + 1;
    bool calls = has_kind(&messages[first], PART_CALL);
    while (calls && end < chat->message_count && messages[first].role == ROLE_ASSISTANT &&
           messages[end].role == ROLE_ASSISTANT)
        end++;
    return end - first;
}

static void join(struct arena *arena, const struct message *messages, size_t count,
                 struct message *joined)
{
    size_t parts = 0;
    *joined = messages[0];
    for (size_t i = 0; i < count; i++)
        parts += messages[i].part_count;
    joined->parts = arena_take(arena, (parts + 1) * sizeof(struct part));
    joined->part_count = parts;
    struct part *to = joined->parts;
    for (size_t i = 0; i < count; i++)
        for (size_t p = 0; p < messages[i].part_count; p++)
            *to++ = messages[i].parts[p];
}

static void join_turns(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    struct message *joined = arena_new(w->arena, (chat->message_count + 1) * sizeof(*joined));
    for (size_t i = 0, count; i < chat->message_count; i += count) {
        count = count_joined(chat, i);
        if (count > 1)
            join(w->arena, &chat->messages[i], count, &joined[w->message_count++]);
        else
            joined[w->message_count++] = chat->messages[i];
    }
    w->messages = joined;
}

void openai_write_messages(struct call_writing *w)
{
    struct message_writing m = {.w = w};
    join_turns(w);
    put_open(w->out, "messages", '[');
    for (size_t i = 0; i < w->message_count; i++) {
        enum role role = w->messages[i].role;
        bool said = role == ROLE_USER || role == ROLE_TOOL;
        if (!said)
            flush_media(&m);
        if (said)
            write_said(&m, i);
        else if (role == ROLE_ASSISTANT)
            write_assistant(&m, i);
        else
            write_system(&m, i);
    }
    flush_media(&m);
    put_literal(w->out, "]");
}
