/* SPDX-License-Identifier: Apache-2.0 */
/* The cohere dialect: answers of v2 chat, written. */
#include "gateway/base/member.h"
#include "providers/cohere.h"

/* JSON may come with line breaks between its pieces; an event is one line. */
static void put_line(struct buffer *out, struct text json)
{
    for (size_t i = 0; i < json.len; i++) {
        char c = json.at[i] == '\n' || json.at[i] == '\r' ? ' ' : json.at[i];
        buffer_append(out, &c, 1);
    }
}

struct text cohere_finish_word(const struct answer_way *way, enum finish finish, struct text reason)
{
    if (way->from == way->to && reason.len)
        return reason;
    switch (finish) {
    case FINISH_NONE:
    case FINISH_STOP:
    case FINISH_FILTER:
    case FINISH_REFUSAL:
    case FINISH_PAUSE:
        break;
    case FINISH_SEQUENCE:
        return TEXT("STOP_SEQUENCE");
    case FINISH_LENGTH:
        return TEXT("MAX_TOKENS");
    case FINISH_CALLS:
        return TEXT("TOOL_CALL");
    case FINISH_ERROR:
        return TEXT("ERROR");
    }
    return TEXT("COMPLETE");
}

void cohere_put_usage(struct buffer *out, const struct usage *usage)
{
    put_open(out, "usage", '{');
    put_open(out, "billed_units", '{');
    put_number(out, "input_tokens", usage->input_tokens);
    put_number(out, "output_tokens", usage->output_tokens);
    put_literal(out, "}");
    put_open(out, "tokens", '{');
    put_number(out, "input_tokens", usage->input_tokens - usage->image_tokens);
    put_number(out, "output_tokens", usage->output_tokens);
    if (usage->reasoning_tokens)
        put_number(out, "reasoning_tokens", usage->reasoning_tokens);
    if (usage->image_tokens)
        put_number(out, "image_tokens", usage->image_tokens);
    put_literal(out, "}");
    put_number(out, "cached_tokens", usage->cached_tokens);
    put_literal(out, "}");
}

void cohere_put_citation(struct buffer *out, const struct citation *citation)
{
    if (citation->raw.at && citation->from == &translator_cohere_chat) {
        put_line(out, citation->raw);
        return;
    }
    put_literal(out, "{");
    if (citation->start >= 0)
        put_number(out, "start", citation->start);
    if (citation->end >= 0)
        put_number(out, "end", citation->end);
    put_inner(out, "text", citation->quote.at ? citation->quote : TEXT(""));
    put_open(out, "sources", '[');
    put_literal(out, "{\"type\":\"document\"");
    put_inner(out, "id", citation->url.at ? citation->url : TEXT(""));
    put_open(out, "document", '{');
    put_inner(out, "url", citation->url);
    put_inner(out, "title", citation->title);
    put_literal(out, "}}],\"type\":\"TEXT_CONTENT\"}");
}

/* What comes behind the first source of a citation of Cohere's own is in it already. */
static bool is_told(const struct answer_way *way, const struct citation *citation)
{
    return way->from == way->to && !citation->raw.at;
}

static bool is_content(enum part_kind kind)
{
    return kind == PART_TEXT || kind == PART_REFUSAL || kind == PART_REASONING ||
           kind == PART_AUDIO; /* of which the words are told */
}

/* ----------------------------------------------------------------------------------- streams */

static void open_event(struct buffer *out, const char *type)
{
    put_literal(out, "event: ");
    put_literal(out, type);
    put_literal(out, "\ndata: {\"type\":\"");
    put_literal(out, type);
    put_literal(out, "\"");
}

static void write_begin(struct cohere_writer *w, const struct answer_event *event,
                        struct buffer *out)
{
    struct text id = event->id.len ? event->id : inner_of(&w->state.arena, w->state.way->id);
    open_event(out, "message-start");
    put_inner(out, "id", id);
    put_literal(out, ",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[],"
                     "\"tool_plan\":\"\",\"tool_calls\":[],\"citations\":[]}}}\n\n");
}

static void write_part(struct cohere_writer *w, const struct answer_event *event,
                       struct buffer *out)
{
    w->parts =
        arena_grow(&w->state.arena, w->parts, w->part_count, &w->part_room, sizeof(*w->parts));
    struct cohere_part *part = &w->parts[w->part_count++];
    part->kind = event->part_kind;
    if (part->kind == PART_CALL) {
        part->place = w->calls++;
        open_event(out, "tool-call-start");
        put_number(out, "index", part->place);
        put_literal(out, ",\"delta\":{\"message\":{\"tool_calls\":{");
        put_inner(out, "id", event->id.at ? event->id : TEXT(""));
        put_literal(out, ",\"type\":\"function\",\"function\":{");
        put_inner(out, "name", event->name.at ? event->name : TEXT(""));
        put_literal(out, ",\"arguments\":\"\"}}}}}\n\n");
    } else if (is_content(part->kind)) {
        bool thought = part->kind == PART_REASONING;
        part->place = w->contents++;
        open_event(out, "content-start");
        put_number(out, "index", part->place);
        put_literal(out, ",\"delta\":{\"message\":{\"content\":{\"type\":\"");
        put_literal(out, thought ? "thinking\",\"thinking\":\"\"}}}}\n\n"
                                 : "text\",\"text\":\"\"}}}}\n\n");
    }
}

static const struct cohere_part *part_of(const struct cohere_writer *w,
                                         const struct answer_event *event)
{
    return event->part < w->part_count ? &w->parts[event->part] : NULL;
}

static void write_text(const struct cohere_part *part, struct text text, struct buffer *out)
{
    if (!is_content(part->kind) || !text.len)
        return;
    open_event(out, "content-delta");
    put_number(out, "index", part->place);
    put_literal(out, ",\"delta\":{\"message\":{\"content\":{");
    put_inner(out, part->kind == PART_REASONING ? "thinking" : "text", text);
    put_literal(out, "}}}}\n\n");
}

static void write_arguments(const struct cohere_part *part, struct text text, struct buffer *out)
{
    if (part->kind != PART_CALL || !text.len)
        return;
    open_event(out, "tool-call-delta");
    put_number(out, "index", part->place);
    put_literal(out, ",\"delta\":{\"message\":{\"tool_calls\":{\"function\":{");
    put_inner(out, "arguments", text);
    put_literal(out, "}}}}}\n\n");
}

static void write_part_end(const struct cohere_part *part, struct buffer *out)
{
    bool call = part->kind == PART_CALL;
    if (!call && !is_content(part->kind))
        return;
    open_event(out, call ? "tool-call-end" : "content-end");
    put_number(out, "index", part->place);
    put_literal(out, "}\n\n");
}

static void write_citation(struct cohere_writer *w, const struct answer_event *event,
                           struct buffer *out)
{
    if (is_told(w->state.way, event->citation))
        return;
    open_event(out, "citation-start");
    put_number(out, "index", w->citations);
    put_literal(out, ",\"delta\":{\"message\":{\"citations\":");
    cohere_put_citation(out, event->citation);
    put_literal(out, "}}}\n\n");
    open_event(out, "citation-end");
    put_number(out, "index", w->citations++);
    put_literal(out, "}\n\n");
}

static void write_end(struct cohere_writer *w, struct buffer *out)
{
    open_event(out, "message-end");
    put_literal(out, ",\"delta\":{");
    put_inner(out, "finish_reason", cohere_finish_word(w->state.way, w->finish, w->reason));
    cohere_put_usage(out, &w->usage);
    put_literal(out, "}}\n\ndata: [DONE]\n\n");
}

static void write_failure(const struct answer_event *event, struct buffer *out)
{
    open_event(out, "message-end");
    put_literal(out, ",\"delta\":{");
    put_inner(out, "error", event->text);
    put_literal(out, ",\"finish_reason\":\"ERROR\"}}\n\n");
}

static void write_about(struct cohere_writer *w, const struct answer_event *event,
                        struct buffer *out)
{
    const struct cohere_part *part = part_of(w, event);
    if (!part)
        return;
    if (event->kind == ANSWER_TEXT)
        write_text(part, event->text, out);
    else if (event->kind == ANSWER_ARGUMENTS)
        write_arguments(part, event->text, out);
    else if (event->kind == ANSWER_CITATION)
        write_citation(w, event, out);
    else if (event->kind == ANSWER_PART_END)
        write_part_end(part, out);
}

void cohere_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct cohere_writer *w = state;
    if (event->choice > 0)
        return;
    switch (event->kind) {
    case ANSWER_BEGIN:
        write_begin(w, event, out);
        break;
    case ANSWER_PART:
        write_part(w, event, out);
        break;
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
    case ANSWER_CITATION:
    case ANSWER_PART_END:
        write_about(w, event, out);
        break;
    case ANSWER_FINISH:
        w->finish = event->finish;
        w->reason = arena_copy(&w->state.arena, event->name);
        break;
    case ANSWER_USAGE:
        w->usage = *event->usage;
        break;
    case ANSWER_FAIL:
        write_failure(event, out);
        break;
    case ANSWER_END:
        write_end(w, out);
        break;
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_RAW:
    case ANSWER_LOGPROBS:
    case ANSWER_FIELD:
        break;
    }
}

/* ------------------------------------------------------------------------------------ bodies */

static void put_contents(struct buffer *out, const struct whole_choice *choice)
{
    put_open(out, "content", '[');
    for (size_t i = 0; i < choice->part_count; i++) {
        const struct part *part = &choice->parts[i];
        bool thought = part->kind == PART_REASONING;
        if (!is_content(part->kind))
            continue;
        put_open(out, NULL, '{');
        put_inner(out, "type", thought ? TEXT("thinking") : TEXT("text"));
        put_inner(out, thought ? "thinking" : "text", part->text.at ? part->text : TEXT(""));
        put_literal(out, "}");
    }
    put_literal(out, "]");
}

static void put_calls(struct buffer *out, struct arena *arena, const struct whole_choice *choice)
{
    bool open = false;
    for (size_t i = 0; i < choice->part_count; i++) {
        const struct part *part = &choice->parts[i];
        if (part->kind != PART_CALL)
            continue;
        if (!open)
            put_open(out, "tool_calls", '[');
        open = true;
        put_open(out, NULL, '{');
        put_inner(out, "id", part->id.at ? part->id : TEXT(""));
        put_literal(out, ",\"type\":\"function\",\"function\":{");
        put_inner(out, "name", part->name);
        put_inner(out, "arguments", inner_of_json(arena, part->arguments));
        put_literal(out, "}}");
    }
    if (open)
        put_literal(out, "]");
}

static void put_citations(struct buffer *out, const struct answer_way *way,
                          const struct whole_choice *choice)
{
    bool open = false;
    for (size_t i = 0; i < choice->part_count; i++)
        for (size_t c = 0; c < choice->parts[i].citation_count; c++) {
            const struct citation *citation = &choice->parts[i].citations[c];
            if (is_told(way, citation))
                continue;
            if (!open)
                put_open(out, "citations", '[');
            open = true;
            put_comma(out);
            cohere_put_citation(out, citation);
        }
    if (open)
        put_literal(out, "]");
}

void cohere_write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out)
{
    static const struct whole_choice nothing = {.parts = NULL};
    const struct whole_choice *choice = whole->choice_count ? &whole->choices[0] : &nothing;
    put_literal(out, "{");
    put_inner(out, "id", whole->id.len ? whole->id : inner_of(arena, way->id));
    put_open(out, "message", '{');
    put_inner(out, "role", TEXT("assistant"));
    put_contents(out, choice);
    put_calls(out, arena, choice);
    put_citations(out, way, choice);
    put_literal(out, "}");
    put_inner(out, "finish_reason", cohere_finish_word(way, choice->finish, choice->reason));
    cohere_put_usage(out, &whole->usage);
    put_literal(out, "}");
}
