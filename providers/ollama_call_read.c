/* SPDX-License-Identifier: Apache-2.0 */
/* The ollama dialect: its calls, read. */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/index.h"
#include "providers/ollama.h"

enum { TOKENS_MAX = 1000000000 };

struct reading {
    struct arena *arena;
    struct chat *chat;
    struct fault *fault;
    size_t message_room, part_room;
    unsigned ids;            /* made so far, for calls without one */
    struct open_calls asked; /* results without an id are matched with them by their name */
};

static bool refuse(struct reading *r, const char *param, const char *what)
{
    fault_set(r->fault, FAULT_BAD_REQUEST, "'%s' %s.", param, what);
    r->fault->param = param;
    return false;
}

/* -------------------------------------------------------------------------------- messages */

static struct message *message_new(struct reading *r, enum role role)
{
    struct chat *chat = r->chat;
    if (chat->message_count == CHAT_MESSAGES_MAX)
        return NULL;
    chat->messages = arena_grow(r->arena, chat->messages, chat->message_count, &r->message_room,
                                sizeof(*chat->messages));
    struct message *message = &chat->messages[chat->message_count++];
    *message = (struct message){.role = role};
    r->part_room = 0;
    return message;
}

static struct part *part_new(struct reading *r, struct message *message, enum part_kind kind)
{
    if (message->part_count == CHAT_PARTS_MAX || !chat_takes_parts(r->chat, 1))
        return NULL;
    message->parts = arena_grow(r->arena, message->parts, message->part_count, &r->part_room,
                                sizeof(*message->parts));
    struct part *part = &message->parts[message->part_count++];
    *part = (struct part){.kind = kind, .from = r->chat->from};
    return part;
}

static bool read_role(struct text word, enum role *role)
{
    static const struct {
        struct text word;
        enum role role;
    } roles[] = {{{"system", 6}, ROLE_SYSTEM},
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

/* Pictures have no type here; what they are stands in their first bytes. */
static struct text media_type_of(struct text base64)
{
    static const struct {
        struct text begin, type;
    } kinds[] = {{{"iVBORw0KGgo", 11}, {"image/png", 9}},
                 {{"/9j/", 4}, {"image/jpeg", 10}},
                 {{"R0lGOD", 6}, {"image/gif", 9}},
                 {{"UklGR", 5}, {"image/webp", 10}}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (text_starts(base64, kinds[i].begin))
            return kinds[i].type;
    return TEXT("image/png");
}

/* A part that is nothing but a text; none where there is none. */
static bool read_text(struct reading *r, struct message *message, enum part_kind kind,
                      struct text text)
{
    struct part *part = text.len ? part_new(r, message, kind) : NULL;
    if (part)
        part->text = text;
    return part || !text.len || refuse(r, "messages", "have too many parts");
}

static bool read_images(struct reading *r, struct message *message, struct text images)
{
    struct text name, image;
    while (member_next(&images, &name, &image)) {
        struct text data = member_string(image);
        struct part *part = data.at ? part_new(r, message, PART_IMAGE) : NULL;
        if (!part)
            return refuse(r, "images",
                          data.at ? "are too many" : "must be a list of base64 strings");
        part->data = data;
        part->media_type = media_type_of(data);
    }
    return true;
}

static bool read_calls(struct reading *r, struct message *message, struct text calls)
{
    struct text none, call;
    while (member_next(&calls, &none, &call)) {
        struct text function = member_find(call, TEXT("function"));
        struct text name = member_string(member_find(function, TEXT("name")));
        struct text arguments = member_find(function, TEXT("arguments"));
        struct part *part = name.at ? part_new(r, message, PART_CALL) : NULL;
        if (!part)
            return refuse(r, "tool_calls", "must name a function each");
        part->name = name;
        part->id = member_string(member_find(call, TEXT("id")));
        if (!part->id.len)
            part->id = arena_format(r->arena, "call_%u", r->ids++);
        open_calls_add(&r->asked, r->arena, part->id, part->name);
        part->arguments = arguments.len && arguments.at[0] == '{' ? arguments : TEXT("{}");
    }
    return true;
}

/* The call that a result without an id answers: the first of that name that has none yet. */
static struct text answered_id(struct reading *r, struct text name)
{
    struct text id = open_calls_take(&r->asked, name);
    return id.at ? id : arena_format(r->arena, "call_%u", r->ids++);
}

static bool read_result(struct reading *r, struct message *message, struct text json,
                        struct text content)
{
    struct text name = member_string(member_find(json, TEXT("tool_name")));
    struct text id = member_string(member_find(json, TEXT("tool_call_id")));
    if (!name.len)
        name = member_string(member_find(json, TEXT("name")));
    struct text answered = id.len ? id : answered_id(r, name);
    struct part *part = part_new(r, message, PART_RESULT);
    if (!part)
        return refuse(r, "messages", "have too many parts");
    part->name = name;
    part->id = answered;
    part->parts = arena_new(r->arena, sizeof(*part->parts));
    part->parts[0] = (struct part){.kind = PART_TEXT, .text = content};
    part->part_count = 1;
    return true;
}

static bool read_message(struct reading *r, struct text json)
{
    enum role role;
    struct text content = member_string(member_find(json, TEXT("content")));
    struct text thinking = member_string(member_find(json, TEXT("thinking")));
    if (!read_role(member_string(member_find(json, TEXT("role"))), &role))
        return refuse(r, "messages", "must have a role each: system, user, assistant or tool");
    struct message *message = message_new(r, role);
    if (!message)
        return refuse(r, "messages", "are too many");
    if (role == ROLE_TOOL)
        return read_result(r, message, json, content.at ? content : TEXT(""));
    return read_text(r, message, PART_REASONING, thinking) &&
           read_text(r, message, PART_TEXT, content) &&
           read_images(r, message, member_find(json, TEXT("images"))) &&
           read_calls(r, message, member_find(json, TEXT("tool_calls")));
}

static bool read_messages(struct reading *r, struct text messages)
{
    struct text name, message;
    if (!messages.len || messages.at[0] != '[')
        return refuse(r, "messages", "must be a list");
    while (member_next(&messages, &name, &message))
        if (!read_message(r, message))
            return false;
    return true;
}

/* ------------------------------------------------------------------------------ the others */

static bool read_tools(struct reading *r, struct text tools)
{
    return chat_read_functions(r->chat, r->arena, tools) ||
           refuse(r, "tools", "must be functions with a name, and not too many");
}

static bool read_stops(struct reading *r, struct text stops)
{
    struct chat *chat = r->chat;
    struct text none, stop, alone = member_string(stops);
    chat->stops = arena_new(r->arena, CHAT_STOPS_MAX * sizeof(*chat->stops));
    chat->stop_count = 0;
    if (alone.at)
        chat->stops[chat->stop_count++] = alone;
    else
        while (member_next(&stops, &none, &stop) && chat->stop_count < CHAT_STOPS_MAX)
            chat->stops[chat->stop_count++] = member_string(stop);
    return true;
}

static bool read_options(struct reading *r, struct text options)
{
    struct chat *chat = r->chat;
    struct text name, value;
    while (member_next(&options, &name, &value)) {
        if (text_equal(name, TEXT("num_predict"))) {
            if (!member_count(value, TOKENS_MAX, &chat->max_tokens))
                chat->max_tokens = 0; /* -1 and -2 say: as long as it likes */
        } else if (text_equal(name, TEXT("temperature")))
            chat->temperature = value;
        else if (text_equal(name, TEXT("top_p")))
            chat->top_p = value;
        else if (text_equal(name, TEXT("top_k")))
            chat->top_k = value;
        else if (text_equal(name, TEXT("seed")))
            chat->seed = value;
        else if (text_equal(name, TEXT("presence_penalty")))
            chat->presence_penalty = value;
        else if (text_equal(name, TEXT("frequency_penalty")))
            chat->frequency_penalty = value;
        else if (text_equal(name, TEXT("stop")))
            read_stops(r, value);
        else
            chat_keep_field(r->chat,
                            arena_format(r->arena, "options.%.*s", TEXT_ARGS(text_head(name, 64))),
                            value, false);
    }
    return true;
}

static void read_format(struct chat *chat, struct text format)
{
    if (text_equal(format, TEXT("\"json\""))) {
        chat->shape = SHAPE_JSON;
    } else if (format.len && format.at[0] == '{') {
        chat->shape = SHAPE_SCHEMA;
        chat->schema = format;
        chat->schema_name = TEXT("answer");
    }
}

static void read_think(struct chat *chat, struct text think)
{
    struct text level = member_string(think);
    chat->reasoning = level.len ? SAID_YES : said_of(think);
    chat->effort = level;
    if (chat->reasoning == SAID_YES)
        chat->reasoning_shown = SAID_YES;
}

/* Where the members stand that only one of the two calls has. */
struct own_members {
    struct text messages, prompt, system, images;
};

static bool read_members(struct reading *r, struct text body, struct own_members *own)
{
    struct chat *chat = r->chat;
    struct text name, value;
    bool good = true;
    while (good && member_next(&body, &name, &value)) {
        if (json_is_absent(value))
            continue;
        if (text_equal(name, TEXT("model")))
            chat->model = inner_plain(r->arena, member_string(value));
        else if (text_equal(name, TEXT("messages")))
            own->messages = value;
        else if (text_equal(name, TEXT("prompt")))
            own->prompt = member_string(value);
        else if (text_equal(name, TEXT("system")))
            own->system = member_string(value);
        else if (text_equal(name, TEXT("images")))
            own->images = value;
        else if (text_equal(name, TEXT("stream")))
            chat->stream = said_of(value) != SAID_NO;
        else if (text_equal(name, TEXT("tools")))
            good = read_tools(r, value);
        else if (text_equal(name, TEXT("options")))
            good = read_options(r, value);
        else if (text_equal(name, TEXT("format")))
            read_format(chat, value);
        else if (text_equal(name, TEXT("think")))
            read_think(chat, value);
        else
            chat_keep_field(r->chat, name, value, false);
    }
    return good;
}

static void begin(struct chat *chat, const struct translator *from)
{
    chat->from = from;
    chat->stream = true;
    chat->choices = 1;
    chat->top_logprobs = -1;
}

bool ollama_read_chat(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    struct reading r = {.arena = arena, .chat = chat, .fault = fault};
    struct own_members own = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    begin(chat, &translator_ollama_chat);
    bool good = read_members(&r, source->body, &own) && read_messages(&r, own.messages);
    open_calls_done(&r.asked);
    return good;
}

bool ollama_read_generate(struct arena *arena, const struct call_source *source, struct chat *chat,
                          struct fault *fault)
{
    struct reading r = {.arena = arena, .chat = chat, .fault = fault};
    struct own_members own = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    begin(chat, &translator_ollama_generate);
    if (!read_members(&r, source->body, &own))
        return false;
    if (own.system.len)
        part_new(&r, message_new(&r, ROLE_SYSTEM), PART_TEXT)->text = own.system;
    struct message *message = message_new(&r, ROLE_USER);
    part_new(&r, message, PART_TEXT)->text = own.prompt.at ? own.prompt : TEXT("");
    return read_images(&r, message, own.images);
}
