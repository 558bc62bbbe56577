/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: a call's conversation is read.
 */
#include "gateway/base/member.h"
#include "providers/openai_responses.h"

/* ------------------------------------------------------------------- messages and parts */

static struct message *message_begin(struct responses_reading *r, enum role role)
{
    struct chat *chat = r->chat;
    if (chat->message_count == CHAT_MESSAGES_MAX) {
        responses_refuse(r, "has too many items", "input");
        return NULL;
    }
    chat->messages = arena_grow(r->arena, chat->messages, chat->message_count, &r->message_room,
                                sizeof(struct message));
    struct message *message = &chat->messages[chat->message_count++];
    *message = (struct message){.role = role};
    r->part_room = 0;
    return message;
}

/* The last message, when the items of <role> that it is made of go on; else a new one. */
static struct message *message_of(struct responses_reading *r, enum role role)
{
    struct chat *chat = r->chat;
    if (r->joins && chat->message_count && chat->messages[chat->message_count - 1].role == role)
        return &chat->messages[chat->message_count - 1];
    r->joins = true;
    return message_begin(r, role);
}

static struct part *part_add(struct responses_reading *r, struct message *message)
{
    if (!message)
        return NULL;
    if (message->part_count == CHAT_PARTS_MAX || !chat_takes_parts(r->chat, 1)) {
        responses_refuse(r, "has too many parts", "input[%zu]", r->item);
        return NULL;
    }
    message->parts = arena_grow(r->arena, message->parts, message->part_count, &r->part_room,
                                sizeof(struct part));
    struct part *part = &message->parts[message->part_count++];
    *part = (struct part){.kind = PART_TEXT};
    return part;
}

static struct part *part_of(struct responses_reading *r, enum role role)
{
    return part_add(r, message_of(r, role));
}

/* A member that has to be a string; false with a fault. */
static bool want_string(struct responses_reading *r, struct text item, const char *name,
                        struct text *to)
{
    *to = member_string(member_find(item, text_of(name)));
    return to->at ? true
                  : responses_refuse(r, "has to be a string", "input[%zu].%s", r->item, name);
}

/* ------------------------------------------------------------------------------- messages */

static bool read_parts(struct responses_reading *r, struct text list, struct message *message,
                       struct part like)
{
    struct text none, json;
    while (member_next(&list, &none, &json)) {
        struct part *part = part_add(r, message);
        if (!part || !responses_read_part(r, json, part))
            return false;
        if (part->kind == PART_TEXT || part->kind == PART_REFUSAL) {
            part->id = like.id;
            part->name = like.name;
        }
    }
    return true;
}

static bool role_of(struct responses_reading *r, struct text word, enum role *role)
{
    static const char *const words[] = {[ROLE_SYSTEM] = "system",
                                        [ROLE_DEVELOPER] = "developer",
                                        [ROLE_USER] = "user",
                                        [ROLE_ASSISTANT] = "assistant"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (inner_is(word, words[i])) {
            *role = (enum role)i;
            return true;
        }
    return responses_refuse(r, "has to be user, assistant, system or developer", "input[%zu].role",
                            r->item);
}

static bool read_message(struct responses_reading *r, struct text item)
{
    enum role role;
    struct text content = member_find(item, TEXT("content"));
    if (!role_of(r, member_string(member_find(item, TEXT("role"))), &role))
        return false;
    bool is_model = role == ROLE_ASSISTANT;
    struct part like = {.kind = PART_TEXT, .text = member_string(content)};
    if (is_model) {
        like.id = member_string(member_find(item, TEXT("id")));
        like.name = member_string(member_find(item, TEXT("phase")));
    }
    r->joins = r->joins && is_model;
    struct message *message = message_of(r, role);
    r->joins = is_model;
    if (!message)
        return false;
    if (content.at && content.at[0] == '[') {
        bool good = read_parts(r, content, message, like);
        if (message->part_count == 0)
            r->chat->message_count--; /* it says nothing */
        return good;
    }
    if (like.text.at == NULL)
        return responses_refuse(r, "has to be a string or a list of parts", "input[%zu].content",
                                r->item);
    struct part *part = part_add(r, message);
    if (part)
        *part = like;
    return part != NULL;
}

/* -------------------------------------------------------------------- the other items */

/* A name in a namespace that this call declares is known to others by both. */
static struct text name_of_call(struct responses_reading *r, struct text item, struct text name)
{
    struct text space = member_string(member_find(item, TEXT("namespace")));
    if (space.len == 0)
        return name;
    struct text flat = responses_flat_name(r->arena, space, name);
    return tool_index_find(&r->tools, r->chat, flat) == SIZE_MAX ? name : flat;
}

static bool read_call(struct responses_reading *r, struct text item)
{
    struct text id, name, inner;
    if (!want_string(r, item, "call_id", &id) || !want_string(r, item, "name", &name) ||
        !want_string(r, item, "arguments", &inner))
        return false;
    struct part *part = part_of(r, ROLE_ASSISTANT);
    if (part)
        *part = (struct part){.kind = PART_CALL,
                              .id = id,
                              .name = name_of_call(r, item, name),
                              .arguments = object_of_inner(r->arena, inner)};
    return part != NULL;
}

static bool read_custom_call(struct responses_reading *r, struct text item)
{
    struct text id, name, input;
    if (!want_string(r, item, "call_id", &id) || !want_string(r, item, "name", &name) ||
        !want_string(r, item, "input", &input))
        return false;
    struct part *part = part_of(r, ROLE_ASSISTANT);
    if (part)
        *part = (struct part){.kind = PART_CALL,
                              .id = id,
                              .name = name_of_call(r, item, name),
                              .arguments =
                                  arena_format(r->arena, "{\"input\":\"%.*s\"}", TEXT_ARGS(input))};
    return part != NULL;
}

/* What came of a tool: a string, or parts. */
static bool read_output(struct responses_reading *r, struct text output, struct part *result)
{
    struct text none, json, inner = member_string(output);
    size_t room = 0;
    if (output.at && output.at[0] == '[') {
        while (member_next(&output, &none, &json)) {
            if (result->part_count == CHAT_PARTS_MAX || !chat_takes_parts(r->chat, 1))
                return responses_refuse(r, "has too many parts", "input[%zu].output", r->item);
            result->parts =
                arena_grow(r->arena, result->parts, result->part_count, &room, sizeof(struct part));
            struct part *part = &result->parts[result->part_count++];
            *part = (struct part){.kind = PART_TEXT};
            if (!responses_read_part(r, json, part))
                return false;
        }
        return true;
    }
    if (inner.at == NULL)
        return responses_refuse(r, "has to be a string or a list of parts", "input[%zu].output",
                                r->item);
    result->parts = arena_new(r->arena, sizeof(struct part));
    result->parts[0] = (struct part){.kind = PART_TEXT, .text = inner};
    result->part_count = 1;
    return true;
}

static bool read_result(struct responses_reading *r, struct text item)
{
    struct text id;
    if (!want_string(r, item, "call_id", &id))
        return false;
    struct part *part = part_of(r, ROLE_TOOL);
    if (!part)
        return false;
    *part = (struct part){.kind = PART_RESULT, .id = id};
    return read_output(r, member_find(item, TEXT("output")), part);
}

/* The texts of a list of parts, with an empty line between them. */
static struct text joined(struct responses_reading *r, struct text list)
{
    struct text none, json, all = {NULL, 0};
    struct buffer buffer;
    if (!list.len || list.at[0] != '[')
        return all;
    buffer_init(&buffer, list.len * 2 + 16);
    while (member_next(&list, &none, &json)) {
        struct text one = member_string(member_find(json, TEXT("text")));
        if (one.at && buffer_length(&buffer))
            buffer_append_text(&buffer, TEXT("\\n\\n"));
        if (one.at)
            buffer_append_text(&buffer, one);
    }
    if (buffer_length(&buffer))
        all = arena_copy(r->arena, buffer_text(&buffer));
    buffer_done(&buffer);
    return all;
}

/* A proof of a call or of a text goes to the part that it belongs to. */
static void hang_proof(struct responses_reading *r, const struct responses_proof *proof)
{
    struct chat *chat = r->chat;
    if (!chat->message_count || chat->messages[chat->message_count - 1].role != ROLE_ASSISTANT)
        return;
    struct message *message = &chat->messages[chat->message_count - 1];
    enum part_kind kind = proof->of == PROOF_OF_TEXT ? PART_TEXT : PART_CALL;
    struct part *part = part_before(message->parts, message->part_count, kind, proof->call_id);
    if (!part)
        return;
    part->signature = proof->signature;
    part->from = proof->from;
}

static bool read_reasoning(struct responses_reading *r, struct text item)
{
    struct text encrypted = member_string(member_find(item, TEXT("encrypted_content")));
    struct responses_proof proof = {.of = PROOF_OF_ITEM};
    bool is_proof = responses_read_proof(encrypted, &proof);
    if (is_proof && proof.of != PROOF_OF_ITEM) {
        hang_proof(r, &proof);
        return true;
    }
    struct part *part = part_of(r, ROLE_ASSISTANT);
    if (!part)
        return false;
    struct text content = joined(r, member_find(item, TEXT("content")));
    struct text summary = joined(r, member_find(item, TEXT("summary")));
    *part = (struct part){.kind = PART_REASONING,
                          .id = member_string(member_find(item, TEXT("id"))),
                          .text = content.at ? content : summary,
                          .encrypted = encrypted,
                          .raw = item,
                          .from = &translator_openai_responses};
    if (is_proof) {
        part->signature = proof.signature;
        part->encrypted = proof.encrypted;
        part->from = proof.from;
        part->raw = (struct text){NULL, 0};
    }
    return true;
}

static bool read_reference(struct responses_reading *r, struct text item)
{
    (void)item;
    return responses_refuse(r, "refers to an item that the target does not keep", "input[%zu].id",
                            r->item);
}

static bool read_more_tools(struct responses_reading *r, struct text item)
{
    return responses_read_tools(r, member_find(item, TEXT("tools")), "input.tools");
}

/* A picture that the model made; one that is only referred to is nobody else's. */
static bool read_picture(struct responses_reading *r, struct text item)
{
    struct text data = member_string(member_find(item, TEXT("result")));
    struct text format = member_string(member_find(item, TEXT("output_format")));
    struct part *part = part_of(r, ROLE_ASSISTANT);
    if (!part)
        return false;
    *part = (struct part){.kind = data.len ? PART_IMAGE : PART_RAW,
                          .data = data,
                          .raw = item,
                          .from = &translator_openai_responses};
    part->media_type =
        format.len ? arena_format(r->arena, "image/%.*s", TEXT_ARGS(format)) : TEXT("image/png");
    return true;
}

/* What only this dialect has: calls are the model's, what came of them is not. */
static bool read_other(struct responses_reading *r, struct text item, struct text type)
{
    bool is_result = text_ends(type, TEXT("_output")) || text_ends(type, TEXT("_response"));
    struct part *part = part_of(r, is_result ? ROLE_TOOL : ROLE_ASSISTANT);
    if (part)
        *part = (struct part){.kind = PART_RAW, .raw = item, .from = &translator_openai_responses};
    return part != NULL;
}

struct item_kind {
    struct text type;
    bool (*read)(struct responses_reading *r, struct text item);
};

/* clang-format off */
static const struct item_kind item_kinds[] = {
    {{"message", 7}, read_message},
    {{"function_call", 13}, read_call},
    {{"function_call_output", 20}, read_result},
    {{"custom_tool_call", 16}, read_custom_call},
    {{"custom_tool_call_output", 23}, read_result},
    {{"reasoning", 9}, read_reasoning},
    {{"image_generation_call", 21}, read_picture},
    {{"item_reference", 14}, read_reference},
    {{"additional_tools", 16}, read_more_tools},
};
/* clang-format on */

static bool read_item(struct responses_reading *r, struct text item)
{
    if (item.at[0] != '{')
        return responses_refuse(r, "has to be an object", "input[%zu]", r->item);
    struct text type = member_string(member_find(item, TEXT("type")));
    if (type.at == NULL) /* the easy form of a message */
        return member_find(item, TEXT("role")).at ? read_message(r, item) : read_reference(r, item);
    for (size_t i = 0; i < sizeof(item_kinds) / sizeof(item_kinds[0]); i++)
        if (text_equal(item_kinds[i].type, type))
            return item_kinds[i].read(r, item);
    return read_other(r, item, type);
}

bool responses_read_input(struct responses_reading *r, struct text input)
{
    struct text none, item, inner = member_string(input);
    r->joins = false;
    if (inner.at) {
        struct part *part = part_of(r, ROLE_USER);
        if (part)
            *part = (struct part){.kind = PART_TEXT, .text = inner};
        return part != NULL;
    }
    if (input.at[0] != '[')
        return responses_refuse(r, "has to be a string or a list of items", "input");
    for (r->item = 0; member_next(&input, &none, &item); r->item++)
        if (!read_item(r, item))
            return false;
    return true;
}
