/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: the messages of a call are read.
 */
#include "gateway/base/member.h"
#include "providers/openai_chat.h"

struct message_words {
    struct text role, content, name, tool_calls, tool_call_id, function_call, refusal;
    struct text annotations, audio, cache_control, prefix, is_error;
    struct reasoning_texts reasons;
};

static const struct member_slot message_slots[] = {
    SLOT(message_words, role),
    SLOT(message_words, content),
    SLOT(message_words, name),
    SLOT(message_words, tool_calls),
    SLOT(message_words, tool_call_id),
    SLOT(message_words, function_call),
    SLOT(message_words, refusal),
    SLOT(message_words, annotations),
    SLOT(message_words, audio),
    SLOT(message_words, cache_control),
    SLOT(message_words, prefix),
    SLOT(message_words, is_error),
    {{"reasoning_content", 17}, offsetof(struct message_words, reasons.reasoning_content)},
    {{"reasoning", 9}, offsetof(struct message_words, reasons.reasoning)},
    {{"reasoning_details", 17}, offsetof(struct message_words, reasons.reasoning_details)},
    {{"thinking_blocks", 15}, offsetof(struct message_words, reasons.thinking_blocks)},
};

bool openai_refuse_message(struct message_reading *m, const char *field, const char *what)
{
    struct text param = arena_format(m->call->arena, "messages[%zu].%s", m->number, field);
    return openai_refuse(m->call, param.at, what);
}

struct part *openai_add_part(struct message_reading *m, enum part_kind kind)
{
    if (m->count == CHAT_PARTS_MAX || !chat_takes_parts(m->call->chat, 1)) {
        openai_refuse_message(m, "content", "has too many parts");
        return NULL;
    }
    m->parts = arena_grow(m->call->arena, m->parts, m->count, &m->room, sizeof(*m->parts));
    struct part *part = &m->parts[m->count++];
    *part = (struct part){.kind = kind};
    return part;
}

/* ------------------------------------------------------------------------------ calls of tools */

struct call_words {
    struct text id, type, function, custom, index, name, arguments, input, extra_content;
    struct text cache_control, google, thought_signature;
};

static const struct member_slot call_slots[] = {
    SLOT(call_words, id),     SLOT(call_words, type),          SLOT(call_words, function),
    SLOT(call_words, custom), SLOT(call_words, extra_content), SLOT(call_words, cache_control),
    SLOT(call_words, index),
};

static const struct member_slot function_slots[] = {
    SLOT(call_words, name),   SLOT(call_words, arguments),         SLOT(call_words, input),
    SLOT(call_words, google), SLOT(call_words, thought_signature),
};

/* Arguments are a JSON text in a string; some clients send the object itself. */
static struct text arguments_of(struct arena *arena, struct text value)
{
    if (json_is_object(value))
        return value;
    struct text inner = member_string(value);
    return object_of_inner(arena, inner.at ? inner : TEXT(""));
}

/* A call of a tool that takes free text: to others it is a function with one argument. */
static struct text arguments_of_custom(struct arena *arena, struct text input)
{
    return arena_format(arena, "{\"input\":%.*s}", TEXT_ARGS(input.at ? input : TEXT("\"\"")));
}

static bool read_call(struct message_reading *m, struct text json)
{
    struct call_words words = {.id = {NULL, 0}};
    struct arena *arena = m->call->arena;
    struct part *part = openai_add_part(m, PART_CALL);
    if (!part)
        return false;
    if (!json_is_object(json))
        return openai_refuse_message(m, "tool_calls", "has to be an array of objects");
    if (!member_take_all(json, SLOTS(call_slots), &words))
        part->more = openai_more(arena, part->more, "", json, SLOTS(call_slots));
    bool is_custom = text_equal(words.type, TEXT("\"custom\"")) && words.custom.at;
    struct text function = is_custom ? words.custom : words.function;
    if (function.at && !member_take_all(function, SLOTS(function_slots), &words))
        part->more = openai_more(arena, part->more, "function.", function, SLOTS(function_slots));
    member_take_all(words.extra_content, SLOTS(function_slots), &words);
    member_take_all(words.google, SLOTS(function_slots), &words);
    part->id = member_string(words.id);
    part->name = member_string(words.name);
    part->signature = member_string(words.thought_signature);
    if (words.google.at)
        part->from = translator_find(TEXT("gemini"), OPERATION_CHAT);
    part->cache = words.cache_control;
    if (!part->name.len)
        return openai_refuse_message(m, "tool_calls", "has a call without the function's name");
    part->arguments =
        is_custom ? arguments_of_custom(arena, words.input) : arguments_of(arena, words.arguments);
    if (is_custom) {
        part->raw = json;
        part->from = m->call->chat->from;
    }
    if (!part->id.len)
        part->id = arena_format(arena, "call_%zu_%zu", m->number, m->count - 1);
    return true;
}

static bool read_calls(struct message_reading *m, struct text calls)
{
    struct text name, item;
    if (!calls.at)
        return true;
    if (!json_is_array(calls))
        return openai_refuse_message(m, "tool_calls", "has to be an array");
    while (member_next(&calls, &name, &item))
        if (!read_call(m, item))
            return false;
    return true;
}

/* What a call was before there were tools: without an id. */
static bool read_function_call(struct message_reading *m, struct text json)
{
    struct call_words words = {.id = {NULL, 0}};
    member_take_all(json, SLOTS(function_slots), &words);
    struct part *part = openai_add_part(m, PART_CALL);
    if (!part)
        return false;
    part->name = member_string(words.name);
    if (!part->name.len)
        return openai_refuse_message(m, "function_call", "has to name a function");
    part->arguments = arguments_of(m->call->arena, words.arguments);
    part->id = arena_format(m->call->arena, "call_%zu_%zu", m->number, m->count - 1);
    return true;
}

/* ------------------------------------------------------------------------- messages of a kind */

static bool read_audio_id(struct message_reading *m, struct text audio)
{
    struct text id = member_string(member_find(audio, TEXT("id")));
    struct part *part = id.at ? openai_add_part(m, PART_AUDIO) : NULL;
    if (part)
        part->id = id;
    return part != NULL || !id.at;
}

static bool read_assistant(struct message_reading *m, const struct message_words *words)
{
    if (!openai_read_reasoning(m, &words->reasons) || !openai_read_content(m, words->content))
        return false;
    if (json_is_array(words->annotations) && words->annotations.len > 2) {
        struct part *last = m->count ? &m->parts[m->count - 1] : NULL;
        if (last && last->kind == PART_TEXT)
            openai_read_annotations(m->call->arena, words->annotations, last);
        else
            openai_name_lost(m->call, "messages", TEXT("annotations"));
    }
    struct text refusal = member_string(words->refusal);
    if (refusal.len) {
        struct part *part = openai_add_part(m, PART_REFUSAL);
        if (!part)
            return false;
        part->text = refusal;
    }
    return read_audio_id(m, words->audio) && read_calls(m, words->tool_calls) &&
           (!words->function_call.at || read_function_call(m, words->function_call));
}

/* The last call of <name>: a result of before there were tools says no more. */
static struct text id_of_call(struct call_reading *r, struct text name)
{
    const struct part *call = call_names_find(&r->calls, r->chat, name);
    return call ? call->id : TEXT("call_unknown");
}

static bool read_result(struct message_reading *m, const struct message_words *words)
{
    struct message_reading inside = {.call = m->call, .number = m->number};
    struct part *part = openai_add_part(m, PART_RESULT);
    if (!part || !openai_read_content(&inside, words->content))
        return false;
    part->id = member_string(words->tool_call_id);
    part->name = member_string(words->name);
    if (!part->id.at && part->name.at)
        part->id = id_of_call(m->call, part->name);
    if (!part->id.at)
        return openai_refuse_message(m, "tool_call_id", "is missing");
    part->parts = inside.parts;
    part->part_count = inside.count;
    part->is_error = said_of(words->is_error) == SAID_YES;
    return true;
}

static bool role_of(struct text word, enum role *role)
{
    static const struct text roles[] = {
        [ROLE_SYSTEM] = {"system", 6}, [ROLE_DEVELOPER] = {"developer", 9},
        [ROLE_USER] = {"user", 4},     [ROLE_ASSISTANT] = {"assistant", 9},
        [ROLE_TOOL] = {"tool", 4},
    };
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (!text_equal(roles[i], word))
            continue;
        *role = (enum role)i;
        return true;
    }
    *role = ROLE_TOOL;
    return inner_is(word, "function");
}

/* The mark on a message is one on its last part. */
static void mark_cache(struct message_reading *m, struct text cache)
{
    if (cache.at && m->count && !m->parts[m->count - 1].cache.at)
        m->parts[m->count - 1].cache = cache;
}

static bool read_message(struct call_reading *r, struct text json, size_t number,
                         struct message *message)
{
    struct message_words words = {.role = {NULL, 0}};
    struct message_reading m = {.call = r, .number = number};
    struct text rest = json, name, value;
    if (!json_is_object(json))
        return openai_refuse_message(&m, "role", "is missing");
    while (member_take(&rest, SLOTS(message_slots), &words, &name, &value))
        if (name.len)
            openai_name_lost(r, "messages", name);
    if (!role_of(member_string(words.role), &message->role))
        return openai_refuse_message(&m, "role", "is not known");
    bool good = message->role == ROLE_TOOL        ? read_result(&m, &words)
                : message->role == ROLE_ASSISTANT ? read_assistant(&m, &words)
                                                  : openai_read_content(&m, words.content);
    mark_cache(&m, words.cache_control);
    message->name = message->role == ROLE_TOOL ? (struct text){NULL, 0} : member_string(words.name);
    message->parts = m.parts;
    message->part_count = m.count;
    return good;
}

static bool read_all(struct call_reading *r, struct text messages)
{
    struct chat *chat = r->chat;
    struct text name, item;
    size_t room = 0;
    while (member_next(&messages, &name, &item)) {
        if (chat->message_count == CHAT_MESSAGES_MAX)
            return openai_refuse(r, "messages", "has too many in it");
        chat->messages = arena_grow(r->arena, chat->messages, chat->message_count, &room,
                                    sizeof(*chat->messages));
        struct message message = {.role = ROLE_USER};
        if (!read_message(r, item, chat->message_count, &message))
            return false;
        chat->messages[chat->message_count++] = message;
    }
    return chat->message_count ? true : openai_refuse(r, "messages", "has nothing in it");
}

bool openai_read_messages(struct call_reading *r, struct text messages)
{
    if (!json_is_array(messages))
        return openai_refuse(r, "messages", "has to be an array");
    r->chat->message_count = 0;
    r->calls = (struct call_names){.messages = 0};
    bool good = read_all(r, messages);
    call_names_done(&r->calls);
    return good;
}
