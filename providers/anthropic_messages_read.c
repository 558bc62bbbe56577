/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: the conversation and the tools of a call are read.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"
#include "providers/web_search.h"

static struct message *message_add(struct anthropic_reading *r, enum role role)
{
    struct chat *chat = r->chat;
    if (chat->message_count == CHAT_MESSAGES_MAX) {
        anthropic_refuse(r, "are too many", "messages");
        return NULL;
    }
    chat->messages = arena_grow(r->arena, chat->messages, chat->message_count, &r->message_room,
                                sizeof(struct message));
    struct message *message = &chat->messages[chat->message_count++];
    *message = (struct message){.role = role};
    return message;
}

static bool add_text(struct anthropic_reading *r, enum role role, struct text inner)
{
    struct message *message = message_add(r, role);
    if (!message)
        return false;
    message->parts = arena_new(r->arena, sizeof(struct part));
    message->parts[0] =
        (struct part){.kind = PART_TEXT, .text = inner, .from = &translator_anthropic};
    message->part_count = 1;
    return true;
}

bool anthropic_read_system(struct anthropic_reading *r, struct text value)
{
    struct text inner = member_string(value);
    size_t at;
    if (json_is_absent(value))
        return true;
    if (inner.at)
        return inner.len == 0 || add_text(r, ROLE_SYSTEM, inner);
    if (value.at[0] != '[')
        return anthropic_refuse(r, "has to be a string or a list of blocks", "system");
    struct message *message = message_add(r, ROLE_SYSTEM);
    if (!message)
        return false;
    const char *wrong =
        anthropic_read_blocks(r->arena, value, &message->parts, &message->part_count, &at);
    if (wrong)
        return anthropic_refuse(r, wrong, "system.%zu", at);
    if (message->part_count == 0)
        r->chat->message_count--;
    return true;
}

/* -------------------------------------------------------------------------- the messages */

/* A block that only says what belongs to a part that was read before; true when it was one. */
static bool take_back_proof(struct message *message, struct text json)
{
    struct anthropic_proof proof = {.of = PROOF_ENCRYPTED};
    struct text data = member_string(member_find(json, TEXT("data")));
    if (!data.at || !inner_is(member_string(member_find(json, TEXT("type"))), "redacted_thinking"))
        return false;
    if (!anthropic_read_proof(data, &proof))
        return false;
    if (proof.of != PROOF_CALL && proof.of != PROOF_TEXT)
        return proof.from == NULL; /* nobody's here: it is of no use any more */
    enum part_kind kind = proof.of == PROOF_TEXT ? PART_TEXT : PART_CALL;
    struct part *part = part_before(message->parts, message->part_count, kind, proof.id);
    if (part) {
        part->signature = proof.proof;
        part->from = proof.from;
    }
    return true;
}

struct message_place {
    size_t number; /* of the message in the call */
    size_t room, results_room;
    struct message said, results; /* what is said, and what came of tools */
};

static bool read_block(struct anthropic_reading *r, struct message_place *place, struct text json,
                       size_t number)
{
    struct part part;
    if (json.at[0] == '{' && take_back_proof(&place->said, json))
        return true;
    const char *wrong = anthropic_read_block(r->arena, json, &part);
    bool is_result = part.kind == PART_RESULT;
    struct message *message = is_result ? &place->results : &place->said;
    if (!wrong &&
        (message->part_count == CHAT_PARTS_MAX || !chat_takes_parts(r->chat, 1 + part.part_count)))
        wrong = "is one too many";
    if (wrong)
        return anthropic_refuse(r, wrong, "messages.%zu.content.%zu", place->number, number);
    message->parts =
        arena_grow(r->arena, message->parts, message->part_count,
                   is_result ? &place->results_room : &place->room, sizeof(struct part));
    message->parts[message->part_count++] = part;
    return true;
}

static bool add_message(struct anthropic_reading *r, enum role role, const struct message *from)
{
    if (from->part_count == 0)
        return true;
    struct message *message = message_add(r, role);
    if (message)
        *message =
            (struct message){.role = role, .parts = from->parts, .part_count = from->part_count};
    return message != NULL;
}

/* What came of tools is a message of its own, in front of what else the user says. */
static bool read_content(struct anthropic_reading *r, struct text list, enum role role, size_t m)
{
    struct message_place place = {.number = m};
    struct text none, json;
    for (size_t i = 0; member_next(&list, &none, &json); i++)
        if (!read_block(r, &place, json, i))
            return false;
    return add_message(r, ROLE_TOOL, &place.results) && add_message(r, role, &place.said);
}

static bool role_of(struct text word, enum role *role)
{
    if (inner_is(word, "user"))
        *role = ROLE_USER;
    else if (inner_is(word, "assistant"))
        *role = ROLE_ASSISTANT;
    else if (inner_is(word, "system"))
        *role = ROLE_SYSTEM;
    else
        return false;
    return true;
}

static bool read_message(struct anthropic_reading *r, struct text json, size_t m)
{
    enum role role;
    if (json.at[0] != '{')
        return anthropic_refuse(r, "has to be an object", "messages.%zu", m);
    struct text content = member_find(json, TEXT("content")), inner = member_string(content);
    if (!role_of(member_string(member_find(json, TEXT("role"))), &role))
        return anthropic_refuse(r, "has to be user or assistant", "messages.%zu.role", m);
    if (inner.at)
        return add_text(r, role, inner);
    if (content.at && content.at[0] == '[')
        return read_content(r, content, role, m);
    return anthropic_refuse(r, "has to be a string or a list of blocks", "messages.%zu.content", m);
}

bool anthropic_read_messages(struct anthropic_reading *r, struct text list)
{
    struct text none, json;
    if (list.at[0] != '[')
        return anthropic_refuse(r, "has to be a list", "messages");
    for (size_t m = 0; member_next(&list, &none, &json); m++)
        if (!read_message(r, json, m))
            return false;
    return true;
}

/* ------------------------------------------------------------------------------ the tools */

static bool read_tool_member(struct tool *tool, struct text name, struct text value)
{
    if (text_equal(name, TEXT("name")))
        tool->name = member_string(value);
    else if (text_equal(name, TEXT("description")))
        tool->description = member_string(value);
    else if (text_equal(name, TEXT("input_schema")))
        tool->schema = value;
    else if (text_equal(name, TEXT("cache_control")))
        tool->cache = value;
    else if (text_equal(name, TEXT("strict")))
        tool->strict = said_of(value) == SAID_YES;
    else
        return text_equal(name, TEXT("type"));
    return true;
}

static bool read_tool(struct anthropic_reading *r, struct text json, struct tool *tool, size_t i)
{
    struct text rest = json, name, value;
    *tool = (struct tool){.kind = TOOL_FUNCTION};
    if (json.at[0] != '{')
        return anthropic_refuse(r, "has to be an object", "tools.%zu", i);
    while (member_next(&rest, &name, &value)) {
        if (json_is_absent(value) || read_tool_member(tool, name, value))
            continue;
        tool->raw = json;
        if (json_says_something(value))
            tool->more = more_add(r->arena, tool->more, "", name);
    }
    struct text type = member_string(member_find(json, TEXT("type")));
    if (type.at && !inner_is(type, "custom")) {
        *tool = (struct tool){.kind = TOOL_OTHER, .name = type, .cache = tool->cache, .raw = json};
        if (web_search_is_type(type))
            web_search_read(r->arena, tool, json);
        return true;
    }
    if (tool->name.len == 0)
        return anthropic_refuse(r, "Field required", "tools.%zu.name", i);
    if (tool->schema.at == NULL || tool->schema.at[0] == '{')
        return true;
    return anthropic_refuse(r, "has to be an object", "tools.%zu.input_schema", i);
}

bool anthropic_read_tools(struct anthropic_reading *r, struct text list)
{
    struct chat *chat = r->chat;
    struct text none, json;
    if (list.at[0] != '[')
        return anthropic_refuse(r, "has to be a list", "tools");
    for (size_t i = 0; member_next(&list, &none, &json); i++) {
        if (chat->tool_count == CHAT_TOOLS_MAX)
            return anthropic_refuse(r, "are too many", "tools");
        chat->tools =
            arena_grow(r->arena, chat->tools, chat->tool_count, &r->tool_room, sizeof(struct tool));
        if (!read_tool(r, json, &chat->tools[chat->tool_count++], i))
            return false;
    }
    return true;
}

bool anthropic_read_choice(struct anthropic_reading *r, struct text choice)
{
    struct chat *chat = r->chat;
    if (choice.at[0] != '{')
        return anthropic_refuse(r, "has to be an object", "tool_choice");
    struct text type = member_string(member_find(choice, TEXT("type")));
    enum said alone = said_of(member_find(choice, TEXT("disable_parallel_tool_use")));
    if (alone != SAID_NOTHING)
        chat->parallel_calls = alone == SAID_YES ? SAID_NO : SAID_YES;
    if (inner_is(type, "auto"))
        chat->tool_choice = CHOICE_AUTO;
    else if (inner_is(type, "none"))
        chat->tool_choice = CHOICE_NONE;
    else if (inner_is(type, "any"))
        chat->tool_choice = CHOICE_ANY;
    else if (inner_is(type, "tool"))
        chat->tool_choice = CHOICE_ONE;
    else
        return anthropic_refuse(r, "has to be auto, any, tool or none", "tool_choice.type");
    chat->tool_choice_name = member_string(member_find(choice, TEXT("name")));
    if (chat->tool_choice == CHOICE_ONE && chat->tool_choice_name.len == 0)
        return anthropic_refuse(r, "Field required", "tool_choice.name");
    return true;
}
