/* SPDX-License-Identifier: Apache-2.0 */
/* The cohere dialect: calls of v2 chat, read. */
#include "gateway/base/member.h"
#include "providers/cohere.h"

struct reading {
    struct arena *arena;
    struct chat *chat;
    struct fault *fault;
    size_t message_room, part_room;
};

static bool refuse(struct reading *r, const char *param, const char *what)
{
    fault_set(r->fault, FAULT_BAD_REQUEST, "'%s' %s.", param, what);
    r->fault->param = param;
    return false;
}

/* -------------------------------------------------------------------------------- messages */

static struct part *part_new(struct reading *r, struct part **parts, size_t *count,
                             enum part_kind kind)
{
    if (*count == CHAT_PARTS_MAX || !chat_takes_parts(r->chat, 1))
        return NULL;
    *parts = arena_grow(r->arena, *parts, *count, &r->part_room, sizeof(**parts));
    struct part *part = &(*parts)[(*count)++];
    *part = (struct part){.kind = kind, .from = r->chat->from};
    return part;
}

static bool too_many(struct reading *r)
{
    return refuse(r, "messages.content", "has too many parts");
}

/* {"type":"document","document":{"data":...,"id"}}: its words, or its JSON, are a text. */
static void read_document(struct reading *r, struct part *part, struct text piece)
{
    struct text document = member_find(piece, TEXT("document"));
    struct text data = member_find(document, TEXT("data"));
    if (json_is_absent(data))
        data = document;
    part->raw = piece;
    part->text = member_string(data);
    if (!part->text.at)
        part->text = inner_of_json(r->arena, data);
}

static void read_piece(struct reading *r, struct part *part, struct text piece)
{
    struct text type = member_string(member_find(piece, TEXT("type")));
    struct text text = member_string(member_find(piece, TEXT("text")));
    struct text thinking = member_string(member_find(piece, TEXT("thinking")));
    struct text image = member_find(piece, TEXT("image_url"));
    struct text url = member_string(member_find(image, TEXT("url")));
    if (thinking.at) {
        part->kind = PART_REASONING;
        part->text = thinking;
        part->raw = piece;
    } else if (url.at) {
        part->kind = PART_IMAGE;
        part->detail = member_string(member_find(image, TEXT("detail")));
        if (!data_url_split(url, &part->media_type, &part->data))
            part->url = url;
    } else if (text_equal(type, TEXT("document"))) {
        read_document(r, part, piece);
    } else if (text.at) {
        part->text = text;
    } else {
        part->kind = PART_RAW;
        part->raw = piece;
    }
}

static bool read_content(struct reading *r, struct part **parts, size_t *count, struct text content)
{
    struct text none, piece, words = member_string(content);
    if (json_is_absent(content))
        return true;
    if (!words.at && content.at[0] != '[')
        return refuse(r, "messages.content", "has to be a string or an array");
    if (words.at) {
        struct part *part = words.len ? part_new(r, parts, count, PART_TEXT) : NULL;
        if (part)
            part->text = words;
        return part || !words.len || too_many(r);
    }
    while (member_next(&content, &none, &piece)) {
        struct part *part = part_new(r, parts, count, PART_TEXT);
        if (!part || piece.at[0] != '{')
            return refuse(r, "messages.content", "has too many parts, or some that are no objects");
        read_piece(r, part, piece);
    }
    return true;
}

static bool read_calls(struct reading *r, struct message *message, struct text calls)
{
    struct text none, call;
    while (!json_is_absent(calls) && member_next(&calls, &none, &call)) {
        struct text function = member_find(call, TEXT("function"));
        struct text name = member_string(member_find(function, TEXT("name")));
        struct text arguments = member_string(member_find(function, TEXT("arguments")));
        struct part *part =
            name.at ? part_new(r, &message->parts, &message->part_count, PART_CALL) : NULL;
        if (!part)
            return refuse(r, "messages.tool_calls", "has to name a function each");
        part->name = name;
        part->id = member_string(member_find(call, TEXT("id")));
        if (!part->id.len)
            part->id =
                arena_format(r->arena, "call_%zu_%zu", r->chat->message_count, message->part_count);
        part->arguments = object_of_inner(r->arena, arguments.at ? arguments : TEXT(""));
    }
    return true;
}

static bool read_result(struct reading *r, struct message *message, struct text json)
{
    struct part *part = part_new(r, &message->parts, &message->part_count, PART_RESULT);
    if (!part)
        return too_many(r);
    part->id = member_string(member_find(json, TEXT("tool_call_id")));
    if (!part->id.at)
        return refuse(r, "messages.tool_call_id", "is missing");
    r->part_room = 0;
    return read_content(r, &part->parts, &part->part_count, member_find(json, TEXT("content")));
}

static bool read_role(struct text word, enum role *role)
{
    static const struct {
        struct text word;
        enum role role;
    } roles[] = {{{"system", 6}, ROLE_SYSTEM},
                 {{"developer", 9}, ROLE_DEVELOPER},
                 {{"user", 4}, ROLE_USER},
                 {{"assistant", 9}, ROLE_ASSISTANT},
                 {{"tool", 4}, ROLE_TOOL}};
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
        if (text_equal(word, roles[i].word)) {
            *role = roles[i].role;
            return true;
        }
    return false;
}

static bool read_message(struct reading *r, struct text json)
{
    struct chat *chat = r->chat;
    enum role role;
    struct text plan = member_string(member_find(json, TEXT("tool_plan")));
    if (!read_role(member_string(member_find(json, TEXT("role"))), &role))
        return refuse(r, "messages.role", "has to be system, user, assistant or tool");
    if (chat->message_count == CHAT_MESSAGES_MAX)
        return refuse(r, "messages", "has too many messages in it");
    chat->messages = arena_grow(r->arena, chat->messages, chat->message_count, &r->message_room,
                                sizeof(*chat->messages));
    struct message *message = &chat->messages[chat->message_count++];
    *message = (struct message){.role = role};
    r->part_room = 0;
    if (role == ROLE_TOOL)
        return read_result(r, message, json);
    struct part *planned =
        plan.len ? part_new(r, &message->parts, &message->part_count, PART_REASONING) : NULL;
    if (plan.len && !planned)
        return too_many(r);
    if (planned)
        planned->text = plan;
    return read_content(r, &message->parts, &message->part_count,
                        member_find(json, TEXT("content"))) &&
           read_calls(r, message, member_find(json, TEXT("tool_calls")));
}

static bool read_messages(struct reading *r, struct text messages)
{
    struct text none, message;
    if (!messages.len || messages.at[0] != '[')
        return refuse(r, "messages", "has to be an array");
    while (member_next(&messages, &none, &message))
        if (!read_message(r, message))
            return false;
    return r->chat->message_count ? true : refuse(r, "messages", "has nothing in it");
}

/* ------------------------------------------------------------------------------ the others */

static bool read_tools(struct reading *r, struct text tools)
{
    return chat_read_functions(r->chat, r->arena, tools) ||
           refuse(r, "tools", "has to be functions with a name, and not too many");
}

static bool read_stops(struct reading *r, struct text stops)
{
    struct chat *chat = r->chat;
    struct text none, stop;
    chat->stops = arena_new(r->arena, CHAT_STOPS_MAX * sizeof(*chat->stops));
    chat->stop_count = 0;
    while (member_next(&stops, &none, &stop)) {
        if (chat->stop_count == CHAT_STOPS_MAX || !member_string(stop).at)
            return refuse(r, "stop_sequences", "has to be strings, and not too many");
        chat->stops[chat->stop_count++] = member_string(stop);
    }
    return true;
}

static bool read_format(struct reading *r, struct text format)
{
    struct chat *chat = r->chat;
    struct text schema = member_find(format, TEXT("schema"));
    if (json_is_absent(schema))
        schema = member_find(format, TEXT("json_schema"));
    if (!text_equal(member_string(member_find(format, TEXT("type"))), TEXT("json_object")))
        return true;
    chat->shape = json_is_absent(schema) ? SHAPE_JSON : SHAPE_SCHEMA;
    if (chat->shape == SHAPE_SCHEMA) {
        chat->schema = schema;
        chat->schema_name = TEXT("answer");
    }
    return true;
}

static bool read_thinking(struct reading *r, struct text thinking)
{
    struct chat *chat = r->chat;
    struct text type = member_string(member_find(thinking, TEXT("type")));
    chat->reasoning = text_equal(type, TEXT("disabled")) ? SAID_NO : SAID_YES;
    if (chat->reasoning == SAID_YES)
        chat->reasoning_shown = SAID_YES;
    member_count(member_find(thinking, TEXT("token_budget")), COHERE_TOKENS_MAX,
                 &chat->reasoning_tokens);
    return true;
}

static bool read_choice(struct reading *r, struct text choice)
{
    struct text word = member_string(choice);
    if (text_equal(word, TEXT("REQUIRED")))
        r->chat->tool_choice = CHOICE_ANY;
    else if (text_equal(word, TEXT("NONE")))
        r->chat->tool_choice = CHOICE_NONE;
    else
        return refuse(r, "tool_choice", "has to be REQUIRED or NONE");
    return true;
}

static struct text *number_of(struct chat *chat, struct text name)
{
    const struct {
        struct text name;
        struct text *place;
    } numbers[] = {{{"temperature", 11}, &chat->temperature},
                   {{"p", 1}, &chat->top_p},
                   {{"k", 1}, &chat->top_k},
                   {{"seed", 4}, &chat->seed},
                   {{"frequency_penalty", 17}, &chat->frequency_penalty},
                   {{"presence_penalty", 16}, &chat->presence_penalty}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (text_equal(name, numbers[i].name))
            return numbers[i].place;
    return NULL;
}

static bool read_member(struct reading *r, struct text name, struct text value)
{
    struct chat *chat = r->chat;
    struct text *number = number_of(chat, name);
    if (number) {
        *number = value;
        return value.at[0] == '-' || (value.at[0] >= '0' && value.at[0] <= '9')
                   ? true
                   : refuse(r, arena_format(r->arena, "%.*s", TEXT_ARGS(name)).at,
                            "has to be a number");
    }
    if (text_equal(name, TEXT("model")))
        chat->model = inner_plain(r->arena, member_string(value));
    else if (text_equal(name, TEXT("messages")))
        return read_messages(r, value);
    else if (text_equal(name, TEXT("stream")))
        chat->stream = said_of(value) == SAID_YES;
    else if (text_equal(name, TEXT("tools")))
        return read_tools(r, value);
    else if (text_equal(name, TEXT("tool_choice")))
        return read_choice(r, value);
    else if (text_equal(name, TEXT("stop_sequences")))
        return read_stops(r, value);
    else if (text_equal(name, TEXT("response_format")))
        return read_format(r, value);
    else if (text_equal(name, TEXT("thinking")))
        return read_thinking(r, value);
    else if (text_equal(name, TEXT("max_tokens")))
        return member_count(value, COHERE_TOKENS_MAX, &chat->max_tokens)
                   ? true
                   : refuse(r, "max_tokens", "has to be a whole number");
    else if (text_equal(name, TEXT("documents")) || text_equal(name, TEXT("logprobs")))
        chat_keep_field(r->chat, name, value,
                        !text_equal(value, TEXT("[]")) && said_of(value) != SAID_NO);
    else
        chat_keep_field(r->chat, name, value, false);
    return true;
}

bool cohere_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    struct reading r = {.arena = arena, .chat = chat, .fault = fault};
    struct text body = source->body, name, value;
    chat->from = &translator_cohere_chat;
    chat->choices = 1;
    chat->top_logprobs = -1;
    while (member_next(&body, &name, &value))
        if (!json_is_absent(value) && !read_member(&r, name, value))
            return false;
    return chat->message_count ? true : refuse(&r, "messages", "is missing");
}
