/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: an answer is read, as a stream of events or as a whole.
 */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/anthropic.h"

/* Of the input of a tool that the provider runs: said when it is whole. */
struct anthropic_piece {
    struct text text; /* inner */
};

enum { RAW_MAX = 16 << 20 }; /* the input of one such tool */

static const int64_t INDEX_MAX = 1000000;

/* ------------------------------------------------------------------------------- saying */

static void say_fail(struct anthropic_reader *r, struct answer_sink *sink, enum fault_kind kind,
                     struct text inner)
{
    struct answer_event event = {.kind = ANSWER_FAIL, .fault = kind, .text = inner};
    if (r->is_over)
        return;
    r->is_over = true;
    sink->take(sink, &event);
}

/* Something about the open part. */
static void say(struct anthropic_reader *r, struct answer_sink *sink, enum event_kind kind,
                struct text inner)
{
    struct answer_event event = {
        .kind = kind, .part_kind = r->kind, .part = r->part, .text = inner};
    sink->take(sink, &event);
}

static void say_field(struct answer_sink *sink, struct text name, struct text json)
{
    struct answer_event event = {.kind = ANSWER_FIELD, .name = name, .raw = json};
    if (!json_is_absent(json))
        sink->take(sink, &event);
}

static void say_usage(struct anthropic_reader *r, struct answer_sink *sink)
{
    struct usage usage = {0};
    struct answer_event event = {.kind = ANSWER_USAGE, .usage = &usage};
    if (!r->has_figures)
        return;
    anthropic_settle(&r->figures, &usage);
    sink->take(sink, &event);
}

static void take_usage(struct anthropic_reader *r, struct text usage)
{
    if (usage.len == 0 || usage.at[0] != '{')
        return;
    if (!r->has_figures)
        anthropic_figures_clear(&r->figures);
    r->has_figures = true;
    anthropic_read_figures(usage, &r->figures);
}

static enum finish finish_of(struct text reason)
{
    static const struct {
        const char *word;
        enum finish finish;
    } reasons[] = {
        {"end_turn", FINISH_STOP},     {"tool_use", FINISH_CALLS},
        {"max_tokens", FINISH_LENGTH}, {"stop_sequence", FINISH_SEQUENCE},
        {"refusal", FINISH_REFUSAL},   {"model_context_window_exceeded", FINISH_LENGTH},
        {"pause_turn", FINISH_PAUSE},  {"compaction", FINISH_PAUSE},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (inner_is(reason, reasons[i].word))
            return reasons[i].finish;
    return FINISH_STOP;
}

/* ------------------------------------------------------------------------ a block of a stream */

/* The block as it is at its end: how it began, and what came of it. */
static struct text raw_whole(struct anthropic_reader *r)
{
    struct text name, value, rest = r->start;
    struct buffer made, gathered;
    if (r->piece_count == 0)
        return r->start;
    buffer_init(&made, SIZE_MAX / 2);
    buffer_init(&gathered, SIZE_MAX / 2);
    for (size_t i = 0; i < r->piece_count; i++)
        put_text(&gathered, r->pieces[i].text);
    struct text object = object_of_inner(&r->base.arena, buffer_text(&gathered));
    put_literal(&made, "{");
    while (member_next(&rest, &name, &value)) {
        bool is_input = text_equal(name, TEXT("input"));
        bool is_content = text_equal(name, TEXT("content")) && !is_input && value.at[0] != '[';
        anthropic_put_name(&made, name);
        if (is_content)
            buffer_format(&made, "\"%.*s\"", TEXT_ARGS(buffer_text(&gathered)));
        else
            put_text(&made, is_input ? object : value);
    }
    put_literal(&made, "}");
    struct text whole = arena_copy(&r->base.arena, buffer_text(&made));
    buffer_done(&made);
    buffer_done(&gathered);
    return whole;
}

static void close_block(struct anthropic_reader *r, struct answer_sink *sink)
{
    if (!r->is_open)
        return;
    if (r->kind == PART_RAW) {
        struct answer_event event = {.kind = ANSWER_RAW, .part_kind = PART_RAW, .part = r->part};
        event.raw = raw_whole(r);
        sink->take(sink, &event);
    }
    r->piece_count = r->piece_bytes = 0;
    r->is_open = false;
    say(r, sink, ANSWER_PART_END, TEXT(""));
}

static void open_block(struct anthropic_reader *r, struct answer_sink *sink, enum part_kind kind,
                       int64_t index)
{
    close_block(r, sink);
    r->is_open = true;
    r->kind = kind;
    r->index = index;
    r->part = r->parts++;
}

static void open_plain(struct anthropic_reader *r, struct answer_sink *sink, enum part_kind kind,
                       int64_t index)
{
    open_block(r, sink, kind, index);
    say(r, sink, ANSWER_PART, TEXT(""));
}

static void say_citations(struct anthropic_reader *r, struct answer_sink *sink,
                          const struct part *part)
{
    for (size_t i = 0; i < part->citation_count; i++) {
        struct answer_event event = {.kind = ANSWER_CITATION,
                                     .part_kind = r->kind,
                                     .part = r->part,
                                     .citation = &part->citations[i]};
        sink->take(sink, &event);
    }
}

/* What a block already says where it begins: mostly nothing, at some providers all. */
static void say_beginning(struct anthropic_reader *r, struct answer_sink *sink,
                          const struct part *part)
{
    if (part->kind == PART_CALL && part->raw.at) {
        struct answer_event event = {.kind = ANSWER_RAW, .part_kind = PART_CALL, .part = r->part};
        event.raw = part->raw;
        sink->take(sink, &event);
    }
    if (part->kind == PART_CALL && part->arguments.len > 2)
        say(r, sink, ANSWER_ARGUMENTS, inner_of_json(&r->base.arena, part->arguments));
    if (part->text.len)
        say(r, sink, ANSWER_TEXT, part->text);
    if (part->signature.len)
        say(r, sink, ANSWER_SIGNATURE, part->signature);
    if (part->encrypted.len)
        say(r, sink, ANSWER_ENCRYPTED, part->encrypted);
    say_citations(r, sink, part);
}

static void begin_block(struct anthropic_reader *r, struct answer_sink *sink, struct text json,
                        int64_t index)
{
    struct part part;
    const char *wrong = anthropic_read_block(&r->base.arena, json, &part);
    if (wrong || part.kind == PART_RESULT || part.kind == PART_IMAGE || part.kind == PART_FILE)
        part = (struct part){.kind = PART_RAW, .raw = json};
    open_block(r, sink, part.kind, index);
    struct answer_event event = {.kind = ANSWER_PART,
                                 .part_kind = part.kind,
                                 .part = r->part,
                                 .id = part.kind == PART_CALL ? part.id : TEXT(""),
                                 .name = part.kind == PART_CALL ? part.name : TEXT("")};
    sink->take(sink, &event);
    if (part.kind == PART_RAW)
        r->start = arena_copy(&r->base.arena, part.raw);
    else
        say_beginning(r, sink, &part);
}

static void keep_piece(struct anthropic_reader *r, struct text inner)
{
    if (inner.len == 0 || r->piece_bytes + inner.len > RAW_MAX)
        return;
    r->pieces = arena_grow(&r->base.arena, r->pieces, r->piece_count, &r->piece_room,
                           sizeof(struct anthropic_piece));
    r->pieces[r->piece_count++].text = arena_copy(&r->base.arena, inner);
    r->piece_bytes += inner.len;
}

/* --------------------------------------------------------------------------------- deltas */

struct delta {
    struct text type, text; /* inner: whatever it brings */
    struct text citation;   /* json */
};

static struct delta read_delta(struct text json)
{
    struct delta delta = {.type = {NULL, 0}};
    struct text name, value;
    while (member_next(&json, &name, &value)) {
        if (text_equal(name, TEXT("type")))
            delta.type = member_string(value);
        else if (text_equal(name, TEXT("citation")))
            delta.citation = value;
        else if (!text_equal(name, TEXT("estimated_tokens")) && member_string(value).at)
            delta.text = member_string(value);
    }
    return delta;
}

struct delta_kind {
    struct text type;
    enum part_kind part;
    enum event_kind event;
};

/* clang-format off */
static const struct delta_kind delta_kinds[] = {
    {{"text_delta", 10},       PART_TEXT,      ANSWER_TEXT},
    {{"input_json_delta", 16}, PART_CALL,      ANSWER_ARGUMENTS},
    {{"thinking_delta", 14},   PART_REASONING, ANSWER_TEXT},
    {{"signature_delta", 15},  PART_REASONING, ANSWER_SIGNATURE},
};
/* clang-format on */

static void take_citation(struct anthropic_reader *r, struct answer_sink *sink, struct text json)
{
    struct part part;
    struct text block = arena_format(
        &r->base.arena, "{\"type\":\"text\",\"text\":\"\",\"citations\":[%.*s]}", TEXT_ARGS(json));
    if (r->is_open && r->kind == PART_TEXT && !anthropic_read_block(&r->base.arena, block, &part))
        say_citations(r, sink, &part);
}

static void take_delta(struct anthropic_reader *r, struct answer_sink *sink, struct text json,
                       int64_t index)
{
    struct delta delta = read_delta(json);
    const struct delta_kind *kind = NULL;
    for (size_t i = 0; !kind && i < sizeof(delta_kinds) / sizeof(delta_kinds[0]); i++)
        if (text_equal(delta_kinds[i].type, delta.type))
            kind = &delta_kinds[i];
    bool is_here = r->is_open && (index < 0 || index == r->index);
    if (is_here && r->kind == PART_RAW) {
        keep_piece(r, delta.text);
        return;
    }
    if (delta.citation.len)
        take_citation(r, sink, delta.citation);
    if (!kind || delta.text.len == 0)
        return;
    if (!is_here || r->kind != kind->part) {
        if (kind->part == PART_CALL)
            return; /* of nobody's: a call without a name */
        if (r->parts == CHAT_PARTS_MAX)
            return;
        open_plain(r, sink, kind->part, index); /* some never say that a block begins */
    }
    say(r, sink, kind->event, delta.text);
}

/* --------------------------------------------------------------------------------- events */

struct event {
    struct text type;                                         /* inner */
    struct text message, block, delta, usage, error, context; /* json */
    int64_t index;                                            /* -1 = not said */
};

static struct event read_event(struct text json)
{
    struct event event = {.index = -1};
    struct text name, value;
    while (member_next(&json, &name, &value)) {
        if (text_equal(name, TEXT("type")))
            event.type = member_string(value);
        else if (text_equal(name, TEXT("index")))
            member_count(value, INDEX_MAX, &event.index);
        else if (text_equal(name, TEXT("delta")))
            event.delta = value;
        else if (text_equal(name, TEXT("content_block")))
            event.block = value;
        else if (text_equal(name, TEXT("message")))
            event.message = value;
        else if (text_equal(name, TEXT("usage")))
            event.usage = value;
        else if (text_equal(name, TEXT("error")))
            event.error = value;
        else if (text_equal(name, TEXT("context_management")))
            event.context = value;
    }
    return event;
}

/* What of a message only this dialect knows. */
static void say_fields(struct answer_sink *sink, struct text message)
{
    static const struct text known[] = {
        {"id", 2},      {"type", 4},         {"role", 4},           {"model", 5},
        {"content", 7}, {"stop_reason", 11}, {"stop_sequence", 13}, {"usage", 5},
    };
    struct text name, value;
    while (member_next(&message, &name, &value)) {
        size_t i = 0;
        while (i < sizeof(known) / sizeof(known[0]) && !text_equal(known[i], name))
            i++;
        if (i == sizeof(known) / sizeof(known[0]))
            say_field(sink, name, value);
    }
}

static void say_begin(struct anthropic_reader *r, struct answer_sink *sink, struct text message)
{
    struct answer_event event = {.kind = ANSWER_BEGIN};
    if (r->has_begun)
        return;
    r->has_begun = true;
    if (message.len) {
        event.id = member_string(member_find(message, TEXT("id")));
        event.model = member_string(member_find(message, TEXT("model")));
    }
    sink->take(sink, &event);
}

static void start_message(struct anthropic_reader *r, struct answer_sink *sink, struct text message)
{
    if (r->has_begun || message.len == 0 || message.at[0] != '{')
        return;
    struct text usage = member_find(message, TEXT("usage"));
    say_begin(r, sink, message);
    say_fields(sink, message);
    take_usage(r, usage);
    if (r->has_figures)
        say_field(sink, TEXT("usage"), usage);
    say_usage(r, sink);
}

static void say_finish(struct anthropic_reader *r, struct answer_sink *sink, struct text reason,
                       struct text sequence)
{
    struct answer_event event = {
        .kind = ANSWER_FINISH, .finish = finish_of(reason), .name = reason, .text = sequence};
    if (r->has_finished)
        return;
    r->has_finished = true;
    sink->take(sink, &event);
}

static void change_message(struct anthropic_reader *r, struct answer_sink *sink,
                           const struct event *event)
{
    struct text name, value, rest = event->delta, reason = {NULL, 0}, sequence = {NULL, 0};
    while (rest.len && member_next(&rest, &name, &value)) {
        if (text_equal(name, TEXT("stop_reason")))
            reason = member_string(value);
        else if (text_equal(name, TEXT("stop_sequence")))
            sequence = member_string(value);
        else
            say_field(sink, name, value);
    }
    say_field(sink, TEXT("context_management"), event->context);
    if (reason.at) {
        close_block(r, sink);
        say_finish(r, sink, reason, sequence);
    }
    take_usage(r, event->usage);
    if (event->usage.len > 2)
        say_field(sink, TEXT("usage_delta"), event->usage);
    say_usage(r, sink);
}

static void end_message(struct anthropic_reader *r, struct answer_sink *sink)
{
    struct answer_event event = {.kind = ANSWER_END};
    close_block(r, sink);
    if (!r->has_finished)
        say_finish(r, sink, TEXT("end_turn"), (struct text){NULL, 0});
    r->is_over = true;
    sink->take(sink, &event);
}

static void take_error(struct anthropic_reader *r, struct answer_sink *sink, struct text error)
{
    struct text type = member_string(member_find(error, TEXT("type")));
    struct text words = member_string(member_find(error, TEXT("message")));
    say_fail(r, sink, anthropic_fault(type), words.at ? words : TEXT(""));
}

static void take_event(struct anthropic_reader *r, struct answer_sink *sink,
                       const struct event *event)
{
    struct text type = event->type.at ? event->type : TEXT("");
    if (text_equal(type, TEXT("message_start"))) {
        start_message(r, sink, event->message);
        return;
    }
    if (text_equal(type, TEXT("ping")))
        return;
    if (text_equal(type, TEXT("error")) || (type.len == 0 && event->error.len > 2)) {
        take_error(r, sink, event->error.len ? event->error : TEXT("{}"));
        return;
    }
    say_begin(r, sink, TEXT(""));
    if (r->has_finished && text_starts(type, TEXT("content_block_")))
        return; /* nothing is said behind the reason why it ended */
    if (text_equal(type, TEXT("content_block_delta"))) {
        if (event->delta.len)
            take_delta(r, sink, event->delta, event->index);
    } else if (text_equal(type, TEXT("content_block_start"))) {
        if (event->block.len && r->parts < CHAT_PARTS_MAX)
            begin_block(r, sink, event->block, event->index);
    } else if (text_equal(type, TEXT("content_block_stop"))) {
        if (event->index < 0 || event->index == r->index)
            close_block(r, sink);
    } else if (text_equal(type, TEXT("message_delta"))) {
        change_message(r, sink, event);
    } else if (text_equal(type, TEXT("message_stop"))) {
        end_message(r, sink);
    }
}

void anthropic_read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    struct anthropic_reader *r = state;
    if (r->is_over || text_equal(frame->data, TEXT("[DONE]")))
        return;
    if (frame->data.len == 0 || frame->data.at[0] != '{' || !scan_is_valid(frame->data)) {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target sent an event that is no JSON."));
        return;
    }
    struct event event = read_event(frame->data);
    if (event.type.at == NULL)
        event.type = frame->name;
    take_event(r, sink, &event);
}

void anthropic_read_end(void *state, struct answer_sink *sink)
{
    struct anthropic_reader *r = state;
    if (!r->is_over && r->has_finished)
        end_message(r, sink);
}

/* ------------------------------------------------------------------------------ as a whole */

void anthropic_read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct anthropic_reader *r = state;
    struct text none, json, content;
    body = text_trim(body);
    if (body.len == 0 || body.at[0] != '{' || !scan_is_valid(body)) {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's answer is no JSON."));
        return;
    }
    if (inner_is(member_string(member_find(body, TEXT("type"))), "error")) {
        take_error(r, sink, member_find(body, TEXT("error")));
        return;
    }
    content = member_find(body, TEXT("content"));
    if (content.len == 0 || content.at[0] != '[') {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's answer has no content."));
        return;
    }
    start_message(r, sink, body);
    while (member_next(&content, &none, &json) && r->parts < CHAT_PARTS_MAX)
        begin_block(r, sink, json, -1);
    close_block(r, sink);
    struct text reason = member_string(member_find(body, TEXT("stop_reason")));
    if (reason.at)
        say_finish(r, sink, reason, member_string(member_find(body, TEXT("stop_sequence"))));
    end_message(r, sink);
}
