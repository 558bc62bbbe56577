/* SPDX-License-Identifier: Apache-2.0 */
/* The ollama dialect: its answers, read and written. */
#include <string.h>
#include <time.h>

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "providers/ollama.h"

enum { STAMP_BYTES = 32 };

/* --------------------------------------------------------------------------------- reading */

static void say(struct answer_sink *sink, struct answer_event event)
{
    sink->take(sink, &event);
}

static void fail(struct answer_sink *sink, enum fault_kind kind, struct text words)
{
    say(sink, (struct answer_event){.kind = ANSWER_FAIL, .fault = kind, .text = words});
}

static void close_part(struct answer_sink *sink, bool *open, unsigned part, enum part_kind kind)
{
    if (*open)
        say(sink, (struct answer_event){.kind = ANSWER_PART_END, .part_kind = kind, .part = part});
    *open = false;
}

/* One answer has so many parts; what would be more is left out. */
static bool has_room(const struct ollama_reader *r)
{
    return r->parts < CHAT_PARTS_MAX;
}

/* More of a text or of reasoning; whichever was open before is closed. */
static void more_text(struct ollama_reader *r, struct answer_sink *sink, enum part_kind kind,
                      struct text text)
{
    bool thought = kind == PART_REASONING;
    bool *open = thought ? &r->thought_open : &r->text_open;
    unsigned *part = thought ? &r->thought_part : &r->text_part;
    if (!text.len)
        return;
    if (thought)
        close_part(sink, &r->text_open, r->text_part, PART_TEXT);
    else
        close_part(sink, &r->thought_open, r->thought_part, PART_REASONING);
    if (!*open && !has_room(r))
        return;
    if (!*open) {
        *open = true;
        *part = r->parts++;
        say(sink, (struct answer_event){.kind = ANSWER_PART, .part_kind = kind, .part = *part});
    }
    say(sink,
        (struct answer_event){.kind = ANSWER_TEXT, .part_kind = kind, .part = *part, .text = text});
}

/* Calls come whole. */
static void say_call(struct ollama_reader *r, struct answer_sink *sink, struct text call)
{
    struct text function = member_find(call, TEXT("function"));
    struct text arguments = member_find(function, TEXT("arguments"));
    if (!arguments.len || arguments.at[0] != '{') /* some say it as a string */
        arguments = object_of_inner(&r->state.arena, member_string(arguments));
    struct answer_event event = {.kind = ANSWER_PART, .part_kind = PART_CALL, .part = r->parts};
    event.id = member_string(member_find(call, TEXT("id")));
    event.name = member_string(member_find(function, TEXT("name")));
    if (!event.id.len)
        event.id =
            arena_format(&r->state.arena, "call_%.*s_%u", TEXT_ARGS(r->state.way->id), r->parts);
    r->parts++;
    say(sink, event);
    struct buffer inner;
    buffer_init(&inner, SIZE_MAX / 2);
    put_json_inner(&inner, arguments);
    event.kind = ANSWER_ARGUMENTS;
    event.text = buffer_text(&inner);
    say(sink, event);
    buffer_done(&inner);
    event.kind = ANSWER_PART_END;
    say(sink, event);
}

static void say_end(struct ollama_reader *r, struct answer_sink *sink, struct text line, bool calls)
{
    struct text reason = member_string(member_find(line, TEXT("done_reason")));
    enum finish finish = text_equal(reason, TEXT("length")) ? FINISH_LENGTH
                         : calls                            ? FINISH_CALLS
                                                            : FINISH_STOP;
    close_part(sink, &r->text_open, r->text_part, PART_TEXT);
    close_part(sink, &r->thought_open, r->thought_part, PART_REASONING);
    say(sink, (struct answer_event){.kind = ANSWER_FINISH, .finish = finish, .name = reason});
    if (ollama_read_usage(member_find(line, TEXT("prompt_eval_count")),
                          member_find(line, TEXT("eval_count")), &r->usage))
        say(sink, (struct answer_event){.kind = ANSWER_USAGE, .usage = &r->usage});
    r->over = true;
    say(sink, (struct answer_event){.kind = ANSWER_END});
}

static void read_object(struct ollama_reader *r, struct text line, struct answer_sink *sink)
{
    struct text message = member_find(line, TEXT("message"));
    struct text response = member_string(member_find(line, TEXT("response")));
    struct text error = member_string(member_find(line, TEXT("error")));
    struct text calls = member_find(message, TEXT("tool_calls")), none, call;
    r->over = error.at != NULL;
    if (error.at) {
        fail(sink, FAULT_TARGET_ERROR, error);
        return;
    }
    if (!message.len && !response.at && !member_find(line, TEXT("done")).at) {
        r->over = true;
        fail(sink, FAULT_TARGET_INVALID, TEXT("The target's answer is not Ollama's."));
        return;
    }
    if (!r->begun)
        say(sink, (struct answer_event){.kind = ANSWER_BEGIN,
                                        .model = member_string(member_find(line, TEXT("model")))});
    r->begun = true;
    struct text thinking = member_find(message, TEXT("thinking"));
    if (!thinking.at)
        thinking = member_find(line, TEXT("thinking"));
    more_text(r, sink, PART_REASONING, member_string(thinking));
    more_text(r, sink, PART_TEXT,
              response.at ? response : member_string(member_find(message, TEXT("content"))));
    if (!calls.len || calls.at[0] != '[')
        calls = TEXT("");
    while (has_room(r) && member_next(&calls, &none, &call)) {
        close_part(sink, &r->text_open, r->text_part, PART_TEXT);
        close_part(sink, &r->thought_open, r->thought_part, PART_REASONING);
        say_call(r, sink, call);
        r->called = true;
    }
    if (text_equal(member_find(line, TEXT("done")), TEXT("true")))
        say_end(r, sink, line, r->called);
}

static void read_line(struct ollama_reader *r, struct text line, struct answer_sink *sink)
{
    if (r->over)
        return;
    if (!line.len || line.at[0] != '{' || !scan_is_valid(line)) {
        r->over = true;
        fail(sink, FAULT_TARGET_INVALID, TEXT("The target's answer is no JSON."));
        return;
    }
    read_object(r, line, sink);
}

void ollama_read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    read_line(state, frame->data, sink);
}

void ollama_read_body(void *state, struct text body, struct answer_sink *sink)
{
    read_line(state, text_trim(body), sink);
}

void ollama_read_end(void *state, struct answer_sink *sink)
{
    (void)state; /* only "done" ends it */
    (void)sink;
}

void ollama_read_error(unsigned status, struct text body, struct provider_error *error)
{
    struct text words = member_string(member_find(body, TEXT("error")));
    bool our_key = status == 401 || status == 402 || status == 403;
    error->kind = status == 429              ? FAULT_TARGET_BUSY
                  : status >= 500 || our_key ? FAULT_TARGET_ERROR
                                             : FAULT_TARGET_REFUSED;
    provider_error_say(error, TEXT(""), words);
}

/* --------------------------------------------------------------------------------- writing */

static void put_stamp(struct buffer *out, int64_t now_s)
{
    char stamp[STAMP_BYTES];
    time_t now = (time_t)now_s;
    struct tm utc;
    gmtime_r(&now, &utc);
    size_t len = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
    put_inner(out, "created_at", (struct text){stamp, len});
}

static bool is_generate(const struct answer_way *way)
{
    return way->to == &translator_ollama_generate;
}

static void open_line(struct buffer *out, const struct answer_way *way, struct arena *arena)
{
    put_literal(out, "{");
    put_inner(out, "model", inner_of(arena, way->model));
    put_stamp(out, way->now_s);
    if (is_generate(way))
        return;
    put_open(out, "message", '{');
    put_inner(out, "role", TEXT("assistant"));
}

static void close_line(struct buffer *out, const struct answer_way *way)
{
    if (!is_generate(way))
        put_literal(out, "}");
    put_literal(out, ",\"done\":false}\n");
}

static struct text word_of(enum finish finish)
{
    return finish == FINISH_LENGTH ? TEXT("length") : TEXT("stop");
}

/* Nobody here knows how long what took: the durations are zero. */
static void put_figures(struct buffer *out, enum finish finish, const struct usage *usage)
{
    put_literal(out, ",\"done\":true");
    put_inner(out, "done_reason", word_of(finish));
    put_number(out, "total_duration", 0);
    put_number(out, "load_duration", 0);
    put_number(out, "prompt_eval_count", usage->input_tokens);
    put_number(out, "prompt_eval_duration", 0);
    put_number(out, "eval_count", usage->output_tokens);
    put_number(out, "eval_duration", 0);
    put_literal(out, "}\n");
}

static void write_text(struct ollama_writer *w, const struct answer_event *event,
                       struct buffer *out)
{
    const struct answer_way *way = w->state.way;
    bool thought = event->part_kind == PART_REASONING;
    if (!event->text.len)
        return;
    open_line(out, way, &w->state.arena);
    if (is_generate(way)) {
        put_inner(out, "response", thought ? TEXT("") : event->text);
        if (thought)
            put_inner(out, "thinking", event->text);
    } else {
        put_inner(out, "content", thought ? TEXT("") : event->text);
        if (thought)
            put_inner(out, "thinking", event->text);
    }
    close_line(out, way);
}

static size_t call_of(const struct ollama_writer *w, const struct answer_event *event)
{
    size_t i = 0;
    while (i < w->call_count && w->parts[i] != event->part)
        i++;
    return i;
}

static void begin_call(struct ollama_writer *w, const struct answer_event *event)
{
    if (w->call_count == OLLAMA_CALLS_MAX)
        return;
    size_t i = w->call_count++;
    w->parts[i] = event->part;
    w->names[i] = arena_copy(&w->state.arena, event->name);
    w->ids[i] = arena_copy(&w->state.arena, event->id);
}

static void put_call(struct buffer *out, struct text id, struct text name, struct text arguments)
{
    put_open(out, NULL, '{');
    put_inner(out, "id", id);
    put_open(out, "function", '{');
    put_inner(out, "name", name);
    put_json(out, "arguments", arguments);
    put_literal(out, "}}");
}

/* What was written from <mark> on is one line: breaks in it are no part of any string. */
static void onto_one_line(struct buffer *out, size_t mark)
{
    for (char *c = out->data + out->begin + mark; c < out->data + out->end; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
}

static void end_call(struct ollama_writer *w, const struct answer_event *event, struct buffer *out)
{
    size_t i = call_of(w, event);
    if (i == w->call_count || is_generate(w->state.way))
        return;
    struct arena *arena = &w->state.arena;
    struct text arguments = object_of_inner(arena, rope_text(&w->ropes[i], arena));
    open_line(out, w->state.way, arena);
    put_inner(out, "content", TEXT(""));
    put_open(out, "tool_calls", '[');
    size_t mark = buffer_length(out);
    put_call(out, w->ids[i], w->names[i], arguments);
    onto_one_line(out, mark);
    put_literal(out, "]");
    close_line(out, w->state.way);
}

static void write_end(struct ollama_writer *w, struct buffer *out)
{
    const struct answer_way *way = w->state.way;
    open_line(out, way, &w->state.arena);
    put_inner(out, is_generate(way) ? "response" : "content", TEXT(""));
    if (!is_generate(way))
        put_literal(out, "}");
    put_figures(out, w->finish, &w->usage);
}

void ollama_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct ollama_writer *w = state;
    if (event->choice > 0)
        return;
    switch (event->kind) {
    case ANSWER_PART:
        if (event->part_kind == PART_CALL)
            begin_call(w, event);
        break;
    case ANSWER_TEXT:
        write_text(w, event, out);
        break;
    case ANSWER_ARGUMENTS:
        if (call_of(w, event) < w->call_count)
            rope_add(&w->ropes[call_of(w, event)], &w->state.arena, event->text);
        break;
    case ANSWER_PART_END:
        if (event->part_kind == PART_CALL)
            end_call(w, event, out);
        break;
    case ANSWER_FINISH:
        w->finish = event->finish;
        break;
    case ANSWER_USAGE:
        w->usage = *event->usage;
        break;
    case ANSWER_END:
        write_end(w, out);
        break;
    case ANSWER_BEGIN:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_CITATION:
    case ANSWER_RAW:
    case ANSWER_LOGPROBS:
    case ANSWER_FIELD:
    case ANSWER_FAIL:
        break;
    }
}

/* The texts of one kind as the inside of one string. */
static void put_whole_text(struct buffer *out, const char *name, const struct whole_choice *choice,
                           bool thought)
{
    struct buffer text;
    buffer_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; i < choice->part_count; i++) {
        const struct part *part = &choice->parts[i];
        bool is_thought = part->kind == PART_REASONING;
        bool is_text = part->kind == PART_TEXT || part->kind == PART_REFUSAL ||
                       part->kind == PART_AUDIO; /* the words of it */
        if (thought ? is_thought : is_text)
            put_text(&text, part->text);
    }
    if (!thought || buffer_length(&text))
        put_inner(out, name, buffer_text(&text));
    buffer_done(&text);
}

static void put_whole_calls(struct buffer *out, const struct whole_choice *choice)
{
    bool open = false;
    for (size_t i = 0; i < choice->part_count; i++) {
        const struct part *part = &choice->parts[i];
        if (part->kind != PART_CALL)
            continue;
        if (!open)
            put_open(out, "tool_calls", '[');
        open = true;
        put_call(out, part->id, part->name, part->arguments.at ? part->arguments : TEXT("{}"));
    }
    if (open)
        put_literal(out, "]");
}

void ollama_write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out)
{
    static const struct whole_choice nothing = {.finish = FINISH_STOP};
    const struct whole_choice *choice = whole->choice_count ? &whole->choices[0] : &nothing;
    open_line(out, way, arena);
    put_whole_text(out, is_generate(way) ? "response" : "content", choice, false);
    put_whole_text(out, "thinking", choice, true);
    if (!is_generate(way)) {
        put_whole_calls(out, choice);
        put_literal(out, "}");
    }
    put_figures(out, choice->finish, &whole->usage);
}
