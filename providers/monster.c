/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/monster.h"

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/openai.h"
#include "providers/openai_chat.h"

enum { TOKENS_UNSAID = 256, TEXTS_MAX = 128 };

/* ------------------------------------------------------------------------------- a call is read */

static bool read_messages(struct call_reading *r, const struct call_option *option,
                          struct text value)
{
    (void)option;
    return openai_read_messages(r, value);
}

/* The prompt as the model is to see it. Models that chat take it as what a user says. */
static bool read_prompt(struct call_reading *r, const struct call_option *option, struct text value)
{
    struct text text = member_string(value);
    if (!text.at)
        return openai_refuse(r, option->field, "has to be a string");
    if (r->chat->message_count)
        return openai_refuse(r, option->field, "does not go together with messages");
    struct part *part = arena_new(r->arena, sizeof(*part));
    *part = (struct part){.kind = PART_TEXT, .text = text};
    r->chat->messages = arena_new(r->arena, sizeof(*r->chat->messages));
    r->chat->messages[0] = (struct message){.role = ROLE_USER, .parts = part, .part_count = 1};
    r->chat->message_count = 1;
    return true;
}

static bool read_temperature(struct call_reading *r, const struct call_option *option,
                             struct text value)
{
    r->chat->temperature = value;
    return json_is_number(value) ? true : openai_refuse(r, option->field, "has to be a number");
}

static bool read_length(struct call_reading *r, const struct call_option *option, struct text value)
{
    return member_count(value, INT64_C(1000000000), &r->chat->max_tokens)
               ? true
               : openai_refuse(r, option->field, "has to be a whole number");
}

/* -1: all of them. */
static bool read_top_k(struct call_reading *r, const struct call_option *option, struct text value)
{
    if (!text_equal(value, TEXT("-1")))
        r->chat->top_k = value;
    return json_is_number(value) ? true : openai_refuse(r, option->field, "has to be a number");
}

static bool is_neutral(struct text value, const char *neutral)
{
    struct text digits = text_of(neutral);
    return text_equal(value, digits) ||
           (text_starts(value, digits) && text_equal(text_from(value, digits.len), TEXT(".0")));
}

/* What the client sends of itself, whoever asks: a value that changes nothing is not kept. */
static bool keep_number(struct call_reading *r, const struct call_option *option, struct text value)
{
    static const struct {
        const char *name, *neutral;
    } neutrals[] = {
        {"min_p", "0"},          {"best_of", "1"}, {"beam_size", "1"}, {"repetition_penalty", "1"},
        {"length_penalty", "1"},
    };
    if (!json_is_number(value))
        return openai_refuse(r, option->field, "has to be a number");
    for (size_t i = 0; i < sizeof(neutrals) / sizeof(neutrals[0]); i++)
        if (text_equal(option->name, text_of(neutrals[i].name)) &&
            is_neutral(value, neutrals[i].neutral))
            return true;
    chat_keep_field(r->chat, option->name, value, false);
    return true;
}

/* Beams and mock answers are something else than what is asked of others. */
static bool keep_switch(struct call_reading *r, const struct call_option *option, struct text value)
{
    enum said said = said_of(value);
    if (said == SAID_YES)
        chat_keep_field(r->chat, option->name, value, true);
    return said ? true : openai_refuse(r, option->field, "has to be true or false");
}

#define OPTION(name, read)                      \
    {                                           \
        {name, sizeof(name) - 1}, read, 0, name \
    }

/* clang-format off */
static const struct call_option options[] = {
    OPTION("messages", read_messages),
    OPTION("formatted_prompt", read_prompt),
    OPTION("prompt", read_prompt),
    OPTION("temp", read_temperature),   /* as it was called before */
    OPTION("max_length", read_length),  /* likewise */
    OPTION("top_k", read_top_k),
    OPTION("min_p", keep_number),
    OPTION("best_of", keep_number),
    OPTION("beam_size", keep_number),
    OPTION("repetition_penalty", keep_number),
    OPTION("length_penalty", keep_number),
    OPTION("use_beam_search", keep_switch),
    OPTION("early_stopping", keep_switch),
    OPTION("mock_response", keep_switch),
};
/* clang-format on */

bool monster_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                       struct fault *fault, bool is_endpoint)
{
    struct call_reading r = {.arena = arena, .chat = chat, .fault = fault};
    if (!openai_read_options(&r, source, options, sizeof(options) / sizeof(options[0])))
        return false;
    if (chat->stream && !is_endpoint)
        return openai_refuse(&r, "stream", "is not for this path: ask /v1/chat/completions");
    if (chat->max_tokens == 0)
        chat->max_tokens = TOKENS_UNSAID;
    const char *missing = is_endpoint ? "prompt" : "messages";
    return chat->message_count ? true : openai_refuse(&r, missing, "is missing");
}

static bool read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    return monster_read_call(arena, source, chat, fault, false);
}

/* ---------------------------------------------------------------------------- a call is written */

void monster_lose(struct call_writing *w)
{
    const struct chat *chat = w->chat;
    if (chat->tool_count)
        loss_demand(w->losses, "tools");
    if (chat->shape != SHAPE_TEXT)
        loss_demand(w->losses, "response_format");
    if (chat->logprobs == SAID_YES)
        loss_demand(w->losses, "logprobs");
    if (chat->stop_count)
        loss_demand(w->losses, "stop");
    if (chat->modalities.at)
        loss_demand(w->losses, "modalities");
    const struct {
        const char *name;
        bool said;
    } hints[] = {{"reasoning", chat->reasoning == SAID_YES},
                 {"seed", chat->seed.at},
                 {"logit_bias", chat->logit_bias.at},
                 {"user", chat->user.at},
                 {"metadata", chat->metadata.at}};
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
        if (hints[i].said)
            loss_hint(w->losses, "%s", hints[i].name);
}

static void write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    static const struct provider_type plain = {.name = {"", 0}};
    struct call_writing w = {.arena = arena,
                             .chat = chat,
                             .target = target,
                             .type = &plain,
                             .own = &translator_monster,
                             .out = out,
                             .losses = losses};
    int64_t tokens = openai_max_tokens(&w);
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, target->model));
    openai_write_messages(&w);
    if (tokens > 0)
        put_number(out, "max_tokens", tokens);
    put_json(out, "temperature", chat->temperature);
    put_json(out, "top_p", chat->top_p);
    put_json(out, "top_k", chat->top_k);
    put_json(out, "frequency_penalty", chat->frequency_penalty);
    put_json(out, "presence_penalty", chat->presence_penalty);
    if (chat->choices > 1) {
        put_number(out, "n", chat->choices);
        put_number(out, "best_of", chat->choices);
    }
    monster_lose(&w);
    loss_fields(losses, chat, &translator_monster);
    put_literal(out, "}");
}

void monster_write_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/generate");
}

/* ------------------------------------------------------------------------------ the answer, read
 */

static void say_text(struct answer_sink *sink, unsigned choice, struct text text)
{
    struct answer_event event = {
        .kind = ANSWER_PART, .part_kind = PART_TEXT, .choice = choice, .text = text};
    sink->take(sink, &event);
    event.kind = ANSWER_TEXT;
    sink->take(sink, &event);
    event.kind = ANSWER_PART_END;
    sink->take(sink, &event);
    event.kind = ANSWER_FINISH;
    event.finish = FINISH_STOP;
    event.text = (struct text){NULL, 0};
    sink->take(sink, &event);
}

void monster_say_texts(struct text texts, struct answer_sink *sink)
{
    struct answer_event begin = {.kind = ANSWER_BEGIN}, end = {.kind = ANSWER_END};
    struct answer_event fail = {.kind = ANSWER_FAIL, .fault = FAULT_TARGET_INVALID};
    struct text none, item;
    unsigned choice = 0;
    if (!json_is_array(texts)) {
        fail.text = TEXT("The target's answer has no texts in it.");
        sink->take(sink, &fail);
        return;
    }
    sink->take(sink, &begin);
    while (choice < TEXTS_MAX && member_next(&texts, &none, &item))
        if (member_string(item).at)
            say_text(sink, choice++, member_string(item));
    sink->take(sink, &end);
}

static void read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct text response = member_find(body, TEXT("response"));
    (void)state;
    monster_say_texts(scan_is_valid(body) ? member_find(response, TEXT("text")) : TEXT(""), sink);
}

static void read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    read_body(state, frame->data, sink);
}

void monster_read_end(void *state, struct answer_sink *sink)
{
    (void)state;
    (void)sink;
}

/* ---------------------------------------------------------------------------- the answer, written
 */

bool monster_is_text(enum part_kind kind)
{
    return kind == PART_TEXT || kind == PART_REFUSAL;
}

void monster_write_texts(const struct whole_answer *whole, struct buffer *out)
{
    put_literal(out, "{\"text\":[");
    for (size_t i = 0; i < whole->choice_count; i++) {
        put_comma(out);
        put_literal(out, "\"");
        for (size_t j = 0; j < whole->choices[i].part_count; j++)
            if (monster_is_text(whole->choices[i].parts[j].kind))
                put_text(out, whole->choices[i].parts[j].text);
        put_literal(out, "\"");
    }
    put_literal(out, "]}");
}

/* Nobody is asked for a stream; what comes as one is one object, of the first choice. */
static void write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    (void)state;
    if (event->kind == ANSWER_BEGIN)
        put_literal(out, "{\"response\":{\"text\":[\"");
    else if (event->kind == ANSWER_TEXT && monster_is_text(event->part_kind) && event->choice == 0)
        put_text(out, event->text);
    else if (event->kind == ANSWER_END)
        put_literal(out, "\"]}}");
}

static void write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out)
{
    (void)way;
    (void)arena;
    put_literal(out, "{\"response\":");
    monster_write_texts(whole, out);
    put_literal(out, "}");
}

const struct translator translator_monster = {
    .name = {"monster", 7},
    .dialect = {"monster", 7},
    .operation = OPERATION_CHAT,
    .read_call = read_call,
    .write_call = write_call,
    .write_path = monster_write_path,
    .headers = {"", 0},
    .framing = FRAMING_LINES,
    .reader_bytes = sizeof(struct reader_state),
    .read_frame = read_frame,
    .read_body = read_body,
    .read_end = monster_read_end,
    .read_error = openai_read_error,
    .stream_type = {"application/json", 16},
    .writer_bytes = sizeof(struct writer_state),
    .write_event = write_event,
    .write_whole = write_whole,
};
