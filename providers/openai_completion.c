/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: completions, a prompt and the text that follows it. Models that chat take the
 * prompt as what a user says.
 */
#include "gateway/base/member.h"
#include "providers/openai.h"
#include "providers/openai_chat.h"

enum { TOKENS_UNSAID = 16 }; /* what OpenAI's reference says of a call that says no max_tokens */

static bool read_number_field(struct call_reading *r, const struct call_option *option,
                              struct text value)
{
    /* One answer of one is what there is anyway. */
    if (!text_equal(value, TEXT("1")) && !text_equal(value, TEXT("0")))
        chat_keep_field(r->chat, option->name, value, true);
    return json_is_number(value) ? true : openai_refuse(r, option->field, "has to be a number");
}

static bool read_logprobs(struct call_reading *r, const struct call_option *option,
                          struct text value)
{
    chat_keep_field(r->chat, option->name, value, true);
    return json_is_number(value) ? true : openai_refuse(r, option->field, "has to be a number");
}

static bool read_echo(struct call_reading *r, const struct call_option *option, struct text value)
{
    enum said said = said_of(value);
    if (said == SAID_YES)
        chat_keep_field(r->chat, option->name, value, true);
    return said ? true : openai_refuse(r, option->field, "has to be true or false");
}

static bool read_suffix(struct call_reading *r, const struct call_option *option, struct text value)
{
    struct text suffix = member_string(value);
    if (suffix.len)
        chat_keep_field(r->chat, option->name, value, true);
    return suffix.at ? true : openai_refuse(r, option->field, "has to be a string");
}

static bool set_prompt(struct call_reading *r, struct text text)
{
    struct chat *chat = r->chat;
    chat->messages = arena_new(r->arena, sizeof(*chat->messages));
    chat->message_count = 1;
    struct part *part = arena_new(r->arena, sizeof(*part));
    *part = (struct part){.kind = PART_TEXT, .text = text};
    chat->messages[0] = (struct message){.role = ROLE_USER, .parts = part, .part_count = 1};
    return true;
}

/* A string, or a list of them, of which each would have an answer of its own. */
static bool read_prompt(struct call_reading *r, const struct call_option *option, struct text value)
{
    struct text name, item, rest = value, text = member_string(value);
    if (text.at)
        return set_prompt(r, text);
    if (!json_is_array(value))
        return openai_refuse(r, option->field, "has to be a string or an array of strings");
    for (size_t count = 0; member_next(&rest, &name, &item); count++) {
        text = member_string(item);
        if (!text.at)
            return openai_refuse(r, option->field,
                                 "has tokens in it, which only their own model can read");
        if (count == 0)
            set_prompt(r, text);
        else if (count == 1)
            chat_keep_field(r->chat, option->name, value, true);
    }
    return r->chat->message_count ? true : openai_refuse(r, option->field, "has nothing in it");
}

#define OPTION(name, read)                      \
    {                                           \
        {name, sizeof(name) - 1}, read, 0, name \
    }

static const struct call_option options[] = {
    OPTION("prompt", read_prompt), OPTION("best_of", read_number_field),
    OPTION("echo", read_echo),     OPTION("logprobs", read_logprobs),
    OPTION("suffix", read_suffix),
};

static bool read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    struct call_reading r = {.arena = arena, .chat = chat, .fault = fault};
    if (!openai_read_options(&r, source, options, sizeof(options) / sizeof(options[0])))
        return false;
    if (chat->max_tokens == 0)
        chat->max_tokens = TOKENS_UNSAID;
    return chat->message_count ? true : openai_refuse(&r, "prompt", "is missing");
}

/* ---------------------------------------------------------------------------- a call is written */

static const struct text *find_field(const struct chat *chat, struct text name)
{
    for (size_t i = 0; i < chat->field_count; i++)
        if (text_equal(chat->fields[i].name, name))
            return &chat->fields[i].value;
    return NULL;
}

/* A conversation is no prompt: what is more than one text of a user is not said. */
static void write_prompt(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    const struct message *last = &chat->messages[chat->message_count ? chat->message_count - 1 : 0];
    if (chat->from == w->own && find_field(chat, TEXT("prompt")))
        return; /* several of them: with the other fields */
    if (chat->message_count != 1)
        loss_demand(w->losses, "messages");
    openai_open_string(w->out, "prompt");
    for (size_t i = 0; chat->message_count && i < last->part_count; i++) {
        if (last->parts[i].kind == PART_TEXT)
            put_text(w->out, last->parts[i].text);
        else
            loss_demand(w->losses, "messages[%zu].content[%zu]", chat->message_count - 1, i);
    }
    put_literal(w->out, "\"");
}

static void lose_chat(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    if (chat->tool_count)
        loss_demand(w->losses, "tools");
    if (chat->shape != SHAPE_TEXT)
        loss_demand(w->losses, "response_format");
    if (chat->logprobs == SAID_YES)
        loss_demand(w->losses, "logprobs");
    if (chat->reasoning == SAID_YES)
        loss_hint(w->losses, "reasoning");
    if (chat->metadata.at)
        loss_hint(w->losses, "metadata");
}

static void write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    static const struct provider_type plain = {.name = {"", 0}};
    struct call_writing w = {.arena = arena,
                             .chat = chat,
                             .target = target,
                             .type = target->type ? target->type : &plain,
                             .own = &translator_openai_completion,
                             .out = out,
                             .losses = losses};
    int64_t tokens = openai_max_tokens(&w);
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, target->model));
    write_prompt(&w);
    if (tokens > 0)
        put_number(out, "max_tokens", tokens);
    openai_write_sampling(&w);
    put_inner(out, "user", chat->user);
    lose_chat(&w);
    openai_write_fields(&w);
    put_literal(out, "}");
}

static void write_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/completions");
}

const struct translator translator_openai_completion = {
    .name = {"openai-completion", 17},
    .dialect = {"openai", 6},
    .operation = OPERATION_COMPLETION,
    .read_call = read_call,
    .write_call = write_call,
    .write_path = write_path,
    OPENAI_CHAT_ANSWERS,
};
