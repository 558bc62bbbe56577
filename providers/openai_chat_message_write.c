/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: the messages of a call are written.
 *
 * Other dialects have results of tools beside what the user says, and pictures inside of results.
 * Here each result is a message, which has to follow the calls at once, and most servers take text
 * only in it: pictures go into the user's message behind the results.
 */
#include <stdio.h>

#include "gateway/base/hash.h"
#include "providers/openai_chat.h"

enum { ID_MAX = 40, MISTRAL_ID = 9 };

/* Whose content it is; what may stand there differs. */
enum place { IN_SYSTEM, IN_USER, IN_ASSISTANT, IN_RESULT };

/* A part, and where in the client's messages it stands. */
struct placed {
    const struct part *part;
    size_t message, index, inside; /* <inside>: a result's part; else SIZE_MAX */
};

struct placed_list {
    struct placed *items;
    size_t count, room;
};

struct message_writing {
    struct call_writing *w;
    struct placed_list media; /* of results, to be shown by the user */
    bool after_result;        /* the last message is that of a tool */
};

static void list_add(struct arena *arena, struct placed_list *list, struct placed placed)
{
    list->items = arena_grow(arena, list->items, list->count, &list->room, sizeof(placed));
    list->items[list->count++] = placed;
}

/* ------------------------------------------------------------------------------------- losses */

static const char *name_of(struct call_writing *w, const struct placed *placed, const char *more)
{
    size_t message = placed->message >= w->lead ? placed->message - w->lead : placed->message;
    const char *list = placed->message >= w->lead ? "messages" : "system";
    struct text inside = {"", 0};
    if (placed->inside != SIZE_MAX)
        inside = arena_format(w->arena, ".content[%zu]", placed->inside);
    return arena_format(w->arena, "%s[%zu].content[%zu]%.*s%s", list, message, placed->index,
                        TEXT_ARGS(inside), more)
        .at;
}

static void lose_demand(struct call_writing *w, const struct placed *placed, const char *more)
{
    loss_demand(w->losses, "%s", name_of(w, placed, more));
}

static void lose_hint(struct call_writing *w, const struct placed *placed, const char *more)
{
    loss_hint(w->losses, "%s", name_of(w, placed, more));
}

/* ---------------------------------------------------------------------------------------- ids */

static bool is_mistral_id(struct text id)
{
    for (size_t i = 0; i < id.len; i++) {
        unsigned char c = (unsigned char)id.at[i], letter = c | 0x20u;
        if (!(c >= '0' && c <= '9') && !(letter >= 'a' && letter <= 'z'))
            return false;
    }
    return id.len == MISTRAL_ID;
}

/* The same id always becomes the same. */
struct text openai_call_id(struct call_writing *w, struct text id)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if (w->is_mistral ? is_mistral_id(id) : id.len <= ID_MAX)
        return id;
    struct digest digest = hash_sha256(id);
    size_t len = w->is_mistral ? MISTRAL_ID : 24;
    char made[25] = "";
    for (size_t i = 0; i < len; i++)
        made[i] = digits[digest.bytes[i] % (sizeof(digits) - 1)];
    return arena_format(w->arena, "%s%s", w->is_mistral ? "" : "call_", made);
}

/* -------------------------------------------------------------------- what may stand in content */

static bool is_own_raw(const struct call_writing *w, const struct part *part)
{
    return part->raw.at && part->from == w->own;
}

static bool takes_media(const struct call_writing *w, const struct part *part, enum place place)
{
    bool there = place == IN_USER || (place == IN_RESULT && (w->type->tool_media || w->is_mistral));
    bool whole = part->data.at || part->url.at;
    bool strict = w->type->openai_fields && !w->type->conventions;
    if (part->kind == PART_IMAGE)
        return there && whole;
    if (part->kind == PART_VIDEO)
        return there && whole && !strict && !w->is_mistral;
    if (part->kind == PART_AUDIO)
        return there && (part->data.at || (part->url.at && w->is_mistral));
    if (w->is_mistral)
        return there && whole;
    return there && (part->data.at || part->id.at || (part->url.at && w->type->conventions));
}

/* Does it go into the content? What does not, and has no other place, is named. */
static bool takes(struct call_writing *w, const struct placed *placed, enum place place)
{
    const struct part *part = placed->part;
    bool good = false;
    switch (part->kind) {
    case PART_TEXT:
        return true;
    case PART_REFUSAL:
        return place != IN_ASSISTANT || !w->type->openai_fields; /* as a text, or outside */
    case PART_REASONING:
        if (place == IN_ASSISTANT)
            return w->is_mistral && part->text.len; /* else outside */
        break;
    case PART_CALL:
        good = place == IN_ASSISTANT; /* outside */
        break;
    case PART_RESULT:
        good = place == IN_USER; /* a message of its own */
        break;
    case PART_AUDIO:
        if (place == IN_ASSISTANT && part->id.at)
            return false; /* outside */
        if (takes_media(w, part, place))
            return true;
        break;
    case PART_FILE:
        if (part->text.at || takes_media(w, part, place))
            return true;
        break;
    case PART_IMAGE:
    case PART_VIDEO:
        if (takes_media(w, part, place))
            return true;
        break;
    case PART_RAW:
        if (is_own_raw(w, part))
            return true;
        break;
    }
    if (!good)
        lose_demand(w, placed, "");
    return false;
}

/* ---------------------------------------------------------------------------------- the parts */

static void put_type(struct buffer *out, const char *type)
{
    put_open(out, NULL, '{');
    put_inner(out, "type", text_of(type));
}

/* "name":"data:...;base64,..." or the address itself. */
static void put_address(struct buffer *out, const char *name, const struct part *part,
                        struct text otherwise)
{
    if (!part->data.at) {
        put_inner(out, name, part->url);
        return;
    }
    openai_open_string(out, name);
    put_literal(out, "data:");
    put_text(out, part->media_type.len ? part->media_type : otherwise);
    put_literal(out, ";base64,");
    put_text(out, part->data);
    put_literal(out, "\"");
}

static void write_image(struct call_writing *w, const struct part *part)
{
    bool video = part->kind == PART_VIDEO;
    put_type(w->out, video ? "video_url" : "image_url");
    put_open(w->out, video ? "video_url" : "image_url", '{');
    put_address(w->out, "url", part, video ? TEXT("video/mp4") : TEXT("image/png"));
    if (!video)
        put_inner(w->out, "detail", part->detail);
    put_literal(w->out, "}");
}

static struct text audio_format(struct text media_type)
{
    if (text_ends(media_type, TEXT("mpeg")))
        return TEXT("mp3");
    if (text_ends(media_type, TEXT("wav")) || text_ends(media_type, TEXT("wave")))
        return TEXT("wav");
    size_t slash = text_find_byte(media_type, '/');
    return slash == SIZE_MAX ? TEXT("wav") : text_from(media_type, slash + 1);
}

static void write_audio(struct call_writing *w, const struct part *part)
{
    put_type(w->out, "input_audio");
    if (w->is_mistral) {
        put_inner(w->out, "input_audio", part->data.at ? part->data : part->url);
        return;
    }
    put_open(w->out, "input_audio", '{');
    put_inner(w->out, "data", part->data);
    put_inner(w->out, "format", audio_format(part->media_type));
    put_literal(w->out, "}");
}

static void write_file(struct call_writing *w, const struct part *part)
{
    if (w->is_mistral) {
        put_type(w->out, "document_url");
        put_address(w->out, "document_url", part, TEXT("application/pdf"));
        put_inner(w->out, "document_name", part->name);
        return;
    }
    put_type(w->out, "file");
    put_open(w->out, "file", '{');
    put_inner(w->out, "filename",
              part->name.at || !part->data.at ? part->name : TEXT("document.pdf"));
    if (part->id.at)
        put_inner(w->out, "file_id", part->id);
    else
        put_address(w->out, "file_data", part, TEXT("application/pdf"));
    put_literal(w->out, "}");
}

static void write_text(struct call_writing *w, struct text text)
{
    put_type(w->out, "text");
    put_inner(w->out, "text", text.at ? text : TEXT(""));
}

static void write_thinking(struct call_writing *w, const struct part *part)
{
    put_type(w->out, "thinking");
    put_open(w->out, "thinking", '[');
    write_text(w, part->text);
    put_literal(w->out, "}]");
}

static void write_part(struct call_writing *w, const struct placed *placed)
{
    const struct part *part = placed->part;
    if (is_own_raw(w, part)) {
        put_comma(w->out);
        put_text(w->out, part->raw);
        return;
    }
    switch (part->kind) {
    case PART_IMAGE:
    case PART_VIDEO:
        write_image(w, part);
        break;
    case PART_AUDIO:
        write_audio(w, part);
        break;
    case PART_FILE:
        if (part->text.at && !part->data.at)
            write_text(w, part->text);
        else
            write_file(w, part);
        break;
    case PART_REASONING:
        write_thinking(w, part);
        break;
    case PART_TEXT:
    case PART_REFUSAL:
    case PART_CALL:
    case PART_RESULT:
    case PART_RAW:
        write_text(w, part->text);
        break;
    }
    if (w->type->conventions)
        put_json(w->out, "cache_control", part->cache);
    put_literal(w->out, "}");
}

/* "content": a string where one text is all there is. <empty>: what it is without anything. */
static void write_content(struct call_writing *w, const struct placed_list *list, bool null)
{
    const struct part *first = list->count ? list->items[0].part : NULL;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].part->cache.at && !w->type->conventions)
            lose_hint(w, &list->items[i], ".cache_control");
    bool text = first && (first->kind == PART_TEXT || first->kind == PART_REFUSAL ||
                          (first->kind == PART_FILE && first->text.at && !first->data.at));
    bool plain = list->count == 1 && text && !(first->cache.at && w->type->conventions) &&
                 !is_own_raw(w, first);
    if (!first)
        put_json(w->out, "content", null ? TEXT("null") : TEXT("\"\""));
    else if (plain)
        put_inner(w->out, "content", first->text.at ? first->text : TEXT(""));
    if (!first || plain)
        return;
    put_open(w->out, "content", '[');
    for (size_t i = 0; i < list->count; i++)
        write_part(w, &list->items[i]);
    put_literal(w->out, "]");
}

/* The parts of a message that go into its content. */
static struct placed_list content_of(struct call_writing *w, size_t number, enum place place)
{
    const struct message *message = &w->messages[number];
    struct placed_list list = {.count = 0};
    for (size_t i = 0; i < message->part_count; i++) {
        struct placed placed = {&message->parts[i], number, i, SIZE_MAX};
        if (takes(w, &placed, place))
            list_add(w->arena, &list, placed);
    }
    return list;
}

static void begin_message(struct message_writing *m, const char *role, struct text name)
{
    struct call_writing *w = m->w;
    put_open(w->out, NULL, '{');
    put_inner(w->out, "role", text_of(role));
    if (!w->is_mistral)
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
            list_add(w->arena, &all, list->items[i]);
        write_content(w, &all, false);
    } else {
        write_content(w, list, false);
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
    if (!media || takes_media(w, placed->part, IN_RESULT) || !takes_media(w, placed->part, IN_USER))
        return false;
    lose_hint(w, placed, "");
    list_add(w->arena, &m->media, *placed);
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
        if (!moves(m, &inside) && takes(w, &inside, IN_RESULT))
            list_add(w->arena, &list, inside);
    }
    if (result->is_error)
        lose_hint(w, &place, ".is_error");
    begin_message(m, "tool", (struct text){NULL, 0});
    put_inner(w->out, "tool_call_id", openai_call_id(w, result->id));
    if (result->cache.at && !w->type->conventions)
        lose_hint(w, &place, ".cache_control");
    write_content(w, &list, false);
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
    if (!results)
        flush_media(m);
    for (size_t i = 0; i < message->part_count; i++)
        if (message->parts[i].kind == PART_RESULT)
            write_result(m, number, i);
    struct placed_list rest = content_of(w, number, IN_USER);
    if (rest.count || !results)
        write_user(m, &rest, message->name);
}

/* -------------------------------------------------------------------------------- the assistant */

static void write_call(struct call_writing *w, const struct placed *placed)
{
    const struct part *call = placed->part;
    if (is_own_raw(w, call)) {
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
        lose_hint(w, placed, ".signature");
    }
    if (w->type->conventions)
        put_json(w->out, "cache_control", call->cache);
    else if (call->cache.at)
        lose_hint(w, placed, ".cache_control");
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
            lose_hint(w, &placed, content || w->is_mistral ? ".signature" : "");
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
            lose_hint(w, &placed, ".citations");
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
    struct placed_list list = content_of(w, number, IN_ASSISTANT);
    begin_message(m, "assistant", message->name);
    bool more = has_kind(message, PART_CALL) || has_kind(message, PART_AUDIO) ||
                has_kind(message, PART_REFUSAL);
    write_content(w, &list, more && !w->is_mistral);
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
    struct placed_list list = content_of(w, number, IN_SYSTEM);
    begin_message(m, developer ? "developer" : "system", message->name);
    write_content(w, &list, false);
    put_literal(w->out, "}");
}

/* Results have to follow their calls at once: what a model said in several messages is one, where
 * there are calls in it. */
static void join_turns(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    struct message *joined = arena_new(w->arena, (chat->message_count + 1) * sizeof(*joined));
    for (size_t i = 0; i < chat->message_count; i++) {
        const struct message *next = &chat->messages[i];
        struct message *last = w->message_count ? &joined[w->message_count - 1] : NULL;
        if (!last || last->role != ROLE_ASSISTANT || next->role != ROLE_ASSISTANT ||
            !has_kind(last, PART_CALL)) {
            joined[w->message_count++] = *next;
            continue;
        }
        size_t count = last->part_count + next->part_count;
        struct part *parts = arena_new(w->arena, (count + 1) * sizeof(*parts));
        memcpy(parts, last->parts, last->part_count * sizeof(*parts));
        if (next->part_count)
            memcpy(parts + last->part_count, next->parts, next->part_count * sizeof(*parts));
        last->parts = parts;
        last->part_count = count;
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
