/* SPDX-License-Identifier: Apache-2.0 */
/* The cohere dialect: answers of v2 chat, read. */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/cohere.h"

static void say(struct answer_sink *sink, struct answer_event event)
{
    sink->take(sink, &event);
}

static void close_open(struct cohere_reader *r, struct answer_sink *sink)
{
    if (r->is_open)
        say(sink, (struct answer_event){
                      .kind = ANSWER_PART_END, .part_kind = r->open_kind, .part = r->open});
    if (r->call_open)
        say(sink, (struct answer_event){
                      .kind = ANSWER_PART_END, .part_kind = PART_CALL, .part = r->call});
    r->is_open = r->call_open = false;
}

static void begin(struct cohere_reader *r, struct answer_sink *sink, struct text id)
{
    if (!r->begun)
        say(sink, (struct answer_event){.kind = ANSWER_BEGIN, .id = id});
    r->begun = true;
}

static void fail(struct cohere_reader *r, struct answer_sink *sink, struct text words)
{
    r->over = true;
    say(sink,
        (struct answer_event){.kind = ANSWER_FAIL, .fault = FAULT_TARGET_INVALID, .text = words});
}

/* May another part be told? */
static bool has_room(struct cohere_reader *r, struct answer_sink *sink)
{
    if (!r->over && r->parts == CHAT_PARTS_MAX)
        fail(r, sink, TEXT("The target's answer has too many parts."));
    return !r->over;
}

static void open_part(struct cohere_reader *r, struct answer_sink *sink, enum part_kind kind)
{
    if ((r->is_open && r->open_kind == kind) || !has_room(r, sink))
        return;
    close_open(r, sink);
    r->is_open = true;
    r->open = r->parts++;
    r->open_kind = kind;
    say(sink, (struct answer_event){.kind = ANSWER_PART, .part_kind = kind, .part = r->open});
}

static void more_text(struct cohere_reader *r, struct answer_sink *sink, enum part_kind kind,
                      struct text text)
{
    if (!text.len)
        return;
    open_part(r, sink, kind);
    if (r->over)
        return;
    say(sink, (struct answer_event){
                  .kind = ANSWER_TEXT, .part_kind = kind, .part = r->open, .text = text});
}

/* An object of `content`: a start, a delta, or a whole one. */
static void read_content(struct cohere_reader *r, struct answer_sink *sink, struct text content)
{
    struct text name, value;
    while (member_next(&content, &name, &value)) {
        if (text_equal(name, TEXT("text")))
            more_text(r, sink, PART_TEXT, member_string(value));
        else if (text_equal(name, TEXT("thinking")))
            more_text(r, sink, PART_REASONING, member_string(value));
    }
}

static void more_arguments(struct cohere_reader *r, struct answer_sink *sink, struct text call)
{
    struct text function = member_find(call, TEXT("function"));
    struct text arguments = member_string(member_find(function, TEXT("arguments")));
    if (arguments.len && r->call_open)
        say(sink, (struct answer_event){.kind = ANSWER_ARGUMENTS,
                                        .part_kind = PART_CALL,
                                        .part = r->call,
                                        .text = arguments});
}

static void begin_call(struct cohere_reader *r, struct answer_sink *sink, struct text call)
{
    struct answer_event event = {.kind = ANSWER_PART, .part_kind = PART_CALL};
    if (!has_room(r, sink))
        return;
    close_open(r, sink);
    event.part = r->call = r->parts++;
    event.id = member_string(member_find(call, TEXT("id")));
    event.name = member_string(member_find(member_find(call, TEXT("function")), TEXT("name")));
    if (!event.id.len)
        event.id =
            arena_format(&r->state.arena, "call_%.*s_%u", TEXT_ARGS(r->state.way->id), event.part);
    r->call_open = true;
    say(sink, event);
    more_arguments(r, sink, call);
}

/* A citation has many sources; those with an address are told one by one. */
static void say_citation(struct cohere_reader *r, struct answer_sink *sink, struct text json)
{
    struct citation citation = {.start = -1, .end = -1, .raw = json, .from = r->state.way->from};
    struct text sources = member_find(json, TEXT("sources")), none, source;
    bool said = false;
    open_part(r, sink, PART_TEXT); /* where the text is closed already */
    if (r->over)
        return;
    citation.quote = member_string(member_find(json, TEXT("text")));
    member_count(member_find(json, TEXT("start")), COHERE_TOKENS_MAX, &citation.start);
    member_count(member_find(json, TEXT("end")), COHERE_TOKENS_MAX, &citation.end);
    struct answer_event event = {
        .kind = ANSWER_CITATION, .part_kind = PART_TEXT, .part = r->open, .citation = &citation};
    while (sources.len && member_next(&sources, &none, &source)) {
        struct text place = member_find(source, TEXT("document"));
        if (json_is_absent(place))
            place = member_find(source, TEXT("tool_output"));
        citation.url = member_string(member_find(place, TEXT("url")));
        citation.title = member_string(member_find(place, TEXT("title")));
        if (said && !citation.url.len)
            continue;
        say(sink, event);
        said = true;
        citation.raw = (struct text){NULL, 0};
    }
    if (!said)
        say(sink, event);
}

static enum finish finish_of(struct text reason)
{
    static const struct {
        struct text word;
        enum finish finish;
    } words[] = {{{"STOP_SEQUENCE", 13}, FINISH_SEQUENCE}, {{"MAX_TOKENS", 10}, FINISH_LENGTH},
                 {{"TOOL_CALL", 9}, FINISH_CALLS},         {{"ERROR", 5}, FINISH_ERROR},
                 {{"TIMEOUT", 7}, FINISH_ERROR},           {{"ERROR_LIMIT", 11}, FINISH_LENGTH},
                 {{"ERROR_TOXIC", 11}, FINISH_FILTER}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (text_equal(reason, words[i].word))
            return words[i].finish;
    return FINISH_STOP;
}

/* The last event's `delta`, or a body. */
static void say_end(struct cohere_reader *r, struct answer_sink *sink, struct text json)
{
    struct text reason = member_string(member_find(json, TEXT("finish_reason")));
    struct text error = member_string(member_find(json, TEXT("error")));
    struct usage usage = {0};
    if (r->over)
        return;
    r->over = true;
    if (error.len) {
        say(sink,
            (struct answer_event){.kind = ANSWER_FAIL, .fault = FAULT_TARGET_ERROR, .text = error});
        return;
    }
    close_open(r, sink);
    say(sink,
        (struct answer_event){.kind = ANSWER_FINISH, .finish = finish_of(reason), .name = reason});
    if (cohere_read_usage(member_find(json, TEXT("usage")), &usage))
        say(sink, (struct answer_event){.kind = ANSWER_USAGE, .usage = &usage});
    say(sink, (struct answer_event){.kind = ANSWER_END});
}

static void read_message(struct cohere_reader *r, struct answer_sink *sink, struct text type,
                         struct text message)
{
    struct text call = member_find(message, TEXT("tool_calls"));
    if (text_equal(type, TEXT("content-start")) || text_equal(type, TEXT("content-delta")))
        read_content(r, sink, member_find(message, TEXT("content")));
    else if (text_equal(type, TEXT("tool-plan-delta")))
        more_text(r, sink, PART_REASONING, member_string(member_find(message, TEXT("tool_plan"))));
    else if (text_equal(type, TEXT("tool-call-start")))
        begin_call(r, sink, call);
    else if (text_equal(type, TEXT("tool-call-delta")))
        more_arguments(r, sink, call);
    else if (text_equal(type, TEXT("citation-start")))
        say_citation(r, sink, member_find(message, TEXT("citations")));
}

void cohere_read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    struct cohere_reader *r = state;
    struct text data = frame->data, type = frame->name, name, value;
    struct text delta = {NULL, 0}, id = {NULL, 0};
    if (r->over || text_equal(text_trim(data), TEXT("[DONE]")))
        return;
    if (!scan_is_valid(data)) {
        fail(r, sink, TEXT("The target's answer is no JSON."));
        return;
    }
    while (member_next(&data, &name, &value)) {
        if (text_equal(name, TEXT("delta")))
            delta = value;
        else if (text_equal(name, TEXT("id")))
            id = member_string(value);
        else if (text_equal(name, TEXT("type")) && !type.len)
            type = member_string(value);
    }
    if (!type.len) {
        fail(r, sink, TEXT("The target's answer is not Cohere's."));
        return;
    }
    begin(r, sink, id);
    if (text_equal(type, TEXT("message-end")))
        say_end(r, sink, delta);
    else if (text_equal(type, TEXT("content-end")) || text_equal(type, TEXT("tool-call-end")))
        close_open(r, sink);
    else
        read_message(r, sink, type, member_find(delta, TEXT("message")));
}

/* An array, or nothing. */
static struct text array_of(struct text value)
{
    return value.len && value.at[0] == '[' ? value : (struct text){"", 0};
}

static void read_whole(struct cohere_reader *r, struct answer_sink *sink, struct text message)
{
    struct text content = member_find(message, TEXT("content")), none, item;
    struct text parts = array_of(content);
    struct text calls = array_of(member_find(message, TEXT("tool_calls")));
    struct text citations = array_of(member_find(message, TEXT("citations")));
    more_text(r, sink, PART_REASONING, member_string(member_find(message, TEXT("tool_plan"))));
    close_open(r, sink);
    more_text(r, sink, PART_TEXT, member_string(content)); /* some say it as a string */
    while (member_next(&parts, &none, &item))
        read_content(r, sink, item);
    while (member_next(&citations, &none, &item))
        say_citation(r, sink, item);
    while (member_next(&calls, &none, &item))
        begin_call(r, sink, item);
}

void cohere_read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct cohere_reader *r = state;
    struct text message = member_find(body, TEXT("message"));
    if (!message.len || message.at[0] != '{' || !scan_is_valid(body)) {
        fail(r, sink, TEXT("The target's answer is not Cohere's."));
        return;
    }
    begin(r, sink, member_string(member_find(body, TEXT("id"))));
    read_whole(r, sink, message);
    say_end(r, sink, body);
}

void cohere_read_end(void *state, struct answer_sink *sink)
{
    (void)state; /* only "message-end" ends it */
    (void)sink;
}
