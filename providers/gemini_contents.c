/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contents of a call, read: contents, parts, and what older models leave out - the ids by which
 * a function's response finds its call.
 */
#include "gateway/base/member.h"
#include "providers/gemini.h"
#include "providers/index.h"

struct reading {
    struct arena *arena;
    struct chat *chat;
    struct fault *fault;
    struct open_calls calls; /* those with an id too: responses may come without */
    size_t call_count;
    size_t message_room;
    size_t content, part; /* where we are, for faults */
};

bool gemini_refuse(struct arena *arena, struct fault *fault, struct text param, const char *what)
{
    fault_set(fault, FAULT_BAD_REQUEST, "'%.*s' %s.", TEXT_ARGS(text_head(param, 128)), what);
    fault->param = arena_copy(arena, param).at;
    return false;
}

static bool refuse_part(const struct reading *r, const char *what)
{
    struct text param = arena_format(r->arena, "contents[%zu].parts[%zu]", r->content, r->part);
    return gemini_refuse(r->arena, r->fault, param, what);
}

static bool is_of(struct text json, char bracket)
{
    return json.len && json.at[0] == bracket;
}

/* -------------------------------------------------------------------------- calls, results */

/* Calls without an id get one by their place; responses find theirs by name, in order. */
static struct text place_id(struct reading *r)
{
    return arena_format(r->arena, "gemini_call_%zu", r->call_count);
}

/* The id of the call that this is the response of. */
static struct text find_call(struct reading *r, struct text name)
{
    struct text id = open_calls_take(&r->calls, name);
    return id.at ? id : place_id(r);
}

static bool read_call_part(struct reading *r, struct text call, struct part *part)
{
    struct text name, value;
    part->kind = PART_CALL;
    part->name = TEXT("");
    part->arguments = TEXT("{}");
    while (member_next(&call, &name, &value)) {
        if (text_equal(name, TEXT("id")))
            part->id = member_string(value);
        else if (text_equal(name, TEXT("name")))
            part->name = member_string(value);
        else if (text_equal(name, TEXT("args")) && is_of(value, '{'))
            part->arguments = value;
        else if (!json_is_absent(value)) {
            part->raw = call; /* marks that there is more; the caller puts the whole part */
            part->more = more_add(r->arena, part->more, "functionCall.", name);
        }
    }
    if (!part->name.len)
        return refuse_part(r, "has a functionCall without a name");
    if (!part->id.len)
        part->id = place_id(r);
    open_calls_add(&r->calls, r->arena, part->id, part->name);
    r->call_count++;
    return true;
}

/* What the function said: by convention in "output", or "error"; else all of the object. */
static void read_response(struct reading *r, struct text response, struct part *part)
{
    struct text rest = response, name = {NULL, 0}, value = {NULL, 0}, other;
    struct part *text = &part->parts[part->part_count++];
    bool alone = member_next(&rest, &name, &value) && !member_next(&rest, &other, &other);
    struct text inner = member_string(value);
    *text = (struct part){.kind = PART_TEXT};
    if (alone && inner.at && text_equal(name, TEXT("output"))) {
        text->text = inner;
    } else if (alone && inner.at && text_equal(name, TEXT("error"))) {
        text->text = inner;
        part->is_error = true;
    } else {
        text->text = inner_of_json(r->arena, response);
    }
}

static bool read_media(struct reading *r, const struct gemini_part *look, struct part *part);

/* Images and files that came with a response. */
static bool read_response_parts(struct reading *r, struct text parts, struct part *part,
                                size_t room)
{
    struct gemini_part look;
    struct text item;
    while (gemini_next(&parts, &item)) {
        gemini_part_look(item, &look);
        if (part->part_count == room || (!look.data.at && !look.file.at))
            return refuse_part(r, "has a functionResponse with parts that are no media");
        if (!read_media(r, &look, &part->parts[part->part_count++]))
            return false;
    }
    return true;
}

static size_t count_items(struct text list)
{
    struct text item;
    size_t count = 0;
    while (count < CHAT_PARTS_MAX && gemini_next(&list, &item))
        count++;
    return count;
}

static bool read_result_part(struct reading *r, struct text result, struct part *part)
{
    struct text name, value, response = TEXT("{}"), parts = {NULL, 0};
    struct text raw = {NULL, 0};
    part->kind = PART_RESULT;
    part->name = TEXT("");
    while (member_next(&result, &name, &value)) {
        if (text_equal(name, TEXT("id")))
            part->id = member_string(value);
        else if (text_equal(name, TEXT("name")))
            part->name = member_string(value);
        else if (text_equal(name, TEXT("response")) && is_of(value, '{'))
            response = value;
        else if (text_equal(name, TEXT("parts")))
            parts = value;
        else if (!json_is_absent(value)) {
            raw = value;
            if (json_says_something(value))
                part->more = more_add(r->arena, part->more, "functionResponse.", name);
        }
    }
    if (!part->name.len)
        return refuse_part(r, "has a functionResponse without a name");
    size_t room = count_items(parts) + 1;
    if (!chat_takes_parts(r->chat, room))
        return refuse_part(r, "is one part too many");
    part->parts = arena_new(r->arena, room * sizeof(struct part));
    read_response(r, response, part);
    if (parts.at && !read_response_parts(r, parts, part, room))
        return false;
    if (!part->id.len)
        part->id = find_call(r, part->name);
    part->raw = raw;
    return true;
}

/* ---------------------------------------------------------------------------------- parts */

static bool read_media(struct reading *r, const struct gemini_part *look, struct part *part)
{
    struct text from = look->data.at ? look->data : look->file, name, value;
    *part = (struct part){.kind = PART_FILE};
    while (member_next(&from, &name, &value)) {
        if (gemini_named(name, TEXT("mimeType")))
            part->media_type = member_string(value);
        else if (gemini_named(name, TEXT("displayName")))
            part->name = member_string(value);
        else if (look->data.at && text_equal(name, TEXT("data")))
            part->data = member_string(value);
        else if (look->file.at && gemini_named(name, TEXT("fileUri")))
            part->url = member_string(value);
    }
    if (!part->data.at && !part->url.len)
        return refuse_part(r, "has neither data nor a fileUri");
    part->kind = gemini_media_kind(part->media_type);
    return true;
}

static bool read_part(struct reading *r, struct text raw, struct part *part)
{
    static const struct text known[] = {
        {"text", 4},
        {"thought", 7},
        {"thoughtSignature", 16},
        {"thought_signature", 17},
        {"inlineData", 10},
        {"inline_data", 11},
        {"fileData", 8},
        {"file_data", 9},
        {"functionCall", 12},
        {"function_call", 13},
        {"functionResponse", 16},
        {"function_response", 17},
    };
    struct gemini_part look;
    gemini_part_look(raw, &look);
    *part = (struct part){.kind = PART_RAW, .from = r->chat->from, .signature = look.signature};
    bool good = true;
    if (look.call.at && !look.thought)
        good = read_call_part(r, look.call, part);
    else if (look.result.at)
        good = read_result_part(r, look.result, part);
    else if ((look.data.at || look.file.at) && !look.thought) {
        good = read_media(r, &look, part);
        part->from = r->chat->from;
        part->signature = look.signature;
    } else if (look.text.at || (look.signature.at && !look.more)) {
        part->kind = look.thought ? PART_REASONING : PART_TEXT;
        part->text = look.text.at ? look.text : TEXT("");
    } else
        look.more = true;
    if (look.more && part->kind != PART_RAW)
        part->more =
            more_of(r->arena, part->more, "", raw, known, sizeof(known) / sizeof(known[0]));
    /* What has more than our words say goes back as it came. */
    part->raw = look.more || part->raw.at ? raw : (struct text){NULL, 0};
    return good;
}

static bool only_results(const struct message *message)
{
    for (size_t i = 0; i < message->part_count; i++)
        if (message->parts[i].kind != PART_RESULT)
            return false;
    return message->part_count > 0;
}

static bool read_parts(struct reading *r, struct text parts, struct message *message)
{
    size_t room = count_items(parts);
    struct text item;
    message->parts = arena_new(r->arena, (room + 1) * sizeof(struct part));
    for (r->part = 0; gemini_next(&parts, &item); r->part++) {
        if (r->part == CHAT_PARTS_MAX || !chat_takes_parts(r->chat, 1))
            return refuse_part(r, "is one part too many");
        if (!is_of(item, '{'))
            return refuse_part(r, "is no object");
        struct text rest = item, name, value;
        if (!member_next(&rest, &name, &value))
            continue; /* {} says nothing */
        if (!read_part(r, item, &message->parts[message->part_count]))
            return false;
        message->part_count++;
    }
    return true;
}

static struct message *next_message(struct reading *r)
{
    struct chat *chat = r->chat;
    chat->messages = arena_grow(r->arena, chat->messages, chat->message_count, &r->message_room,
                                sizeof(struct message));
    struct message *message = &chat->messages[chat->message_count++];
    *message = (struct message){.role = ROLE_USER};
    return message;
}

static bool read_role(struct reading *r, struct text role, struct message *message)
{
    struct text word = member_string(role);
    if (text_equal_nocase(word, TEXT("model")) || text_equal_nocase(word, TEXT("assistant")))
        message->role = ROLE_ASSISTANT;
    else if (text_equal_nocase(word, TEXT("function")) || text_equal_nocase(word, TEXT("tool")))
        message->role = ROLE_TOOL;
    else if (!json_is_absent(role) && word.len && !text_equal_nocase(word, TEXT("user"))) {
        struct text param = arena_format(r->arena, "contents[%zu].role", r->content);
        return gemini_refuse(r->arena, r->fault, param, "is neither 'user' nor 'model'");
    }
    return true;
}

static bool read_content(struct reading *r, struct text content)
{
    struct message *message = next_message(r);
    if (!read_role(r, member_find(content, TEXT("role")), message) ||
        !read_parts(r, member_find(content, TEXT("parts")), message))
        return false;
    if (message->role == ROLE_USER && only_results(message))
        message->role = ROLE_TOOL;
    return true;
}

/* ----------------------------------------------------------------------------------- all */

static bool read_system(struct reading *r, struct text system)
{
    struct text inner = member_string(system);
    if (json_is_absent(system))
        return true;
    struct message *message = next_message(r);
    message->role = ROLE_SYSTEM;
    if (inner.at) {
        message->parts = arena_new(r->arena, sizeof(struct part));
        message->parts[message->part_count++] = (struct part){.kind = PART_TEXT, .text = inner};
        return true;
    }
    if (!is_of(system, '{'))
        return gemini_refuse(r->arena, r->fault, TEXT("systemInstruction"), "is no content");
    return read_parts(r, member_find(system, TEXT("parts")), message);
}

static bool read_all(struct reading *r, struct text contents, struct text system)
{
    struct text item;
    if (!is_of(contents, '[') && !is_of(contents, '{'))
        return gemini_refuse(r->arena, r->fault, TEXT("contents"), "is missing, or no array");
    if (!read_system(r, system))
        return false;
    for (r->content = 0; gemini_next(&contents, &item); r->content++) {
        struct text param = TEXT("contents");
        if (r->chat->message_count == CHAT_MESSAGES_MAX)
            return gemini_refuse(r->arena, r->fault, param, "has too many items");
        if (!is_of(item, '{'))
            return gemini_refuse(r->arena, r->fault, param, "has an item that is no object");
        if (!read_content(r, item))
            return false;
    }
    return r->chat->message_count ||
           gemini_refuse(r->arena, r->fault, TEXT("contents"), "is empty");
}

bool gemini_read_contents(struct arena *arena, struct text contents, struct text system,
                          struct chat *chat, struct fault *fault)
{
    struct reading r = {.arena = arena, .chat = chat, .fault = fault};
    bool good = read_all(&r, contents, system);
    open_calls_done(&r.calls);
    return good;
}
