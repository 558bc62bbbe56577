/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: an answer is written as a stream of events.
 *
 * Blocks stand one behind the other, while the parts of our words may overlap. So one part is
 * *live*, and written as it comes. A text or a thinking that is live ends when another part begins,
 * and goes on in a block of its own if more of it comes; but a call is whole before anything else
 * is written, and what comes of others is held back until then. A block is begun with the first of
 * its content: there are no empty ones.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"

enum { HELD_MAX = 64 << 20 };

enum place_state {
    PLACE_WAITS, /* nothing of it has come, or it is held back */
    PLACE_LIVE,
    PLACE_CUT, /* another one has begun */
    PLACE_DONE,
};

struct held {
    enum event_kind kind;
    struct text text, raw;
    struct citation citation;
};

/* A part of the answer. */
struct anthropic_place {
    enum part_kind kind;
    enum place_state state;
    bool is_open; /* its block was begun */
    bool has_ended;
    bool is_odd;          /* a call whose arguments are no object, and are held */
    struct text id, name; /* inner */
    struct text raw;      /* json: what only this dialect says of it */
    struct text proof;    /* inner: another provider's, of a call or a text */
    struct held *held;
    size_t held_count, held_room;
};

static bool is_own(const struct anthropic_writer *w)
{
    return w->base.way->from == w->base.way->to;
}

/* ---------------------------------------------------------------------------- the message */

/* JSON that was read as a whole may stand on several lines; an event's data stands on one. */
static void onto_one_line(struct buffer *out, size_t from)
{
    for (char *at = out->data + out->begin + from; at < out->data + out->end; at++)
        if (*at == '\n' || *at == '\r')
            *at = ' ';
}

/* Fields that have a place of their own. */
static bool is_placed(struct text name)
{
    static const struct text placed[] = {{"usage", 5},
                                         {"usage_delta", 11},
                                         {"container", 9},
                                         {"stop_details", 12},
                                         {"context_management", 18}};
    for (size_t i = 0; i < sizeof(placed) / sizeof(placed[0]); i++)
        if (text_equal(placed[i], name))
            return true;
    return false;
}

static void put_fields(const struct anthropic_writer *w, struct buffer *out)
{
    for (size_t i = 0; i < w->field_count; i++) {
        if (is_placed(w->fields[i].name))
            continue;
        anthropic_put_name(out, w->fields[i].name);
        put_text(out, w->fields[i].value);
    }
}

static void begin_message(struct anthropic_writer *w, struct buffer *out)
{
    const struct answer_way *way = w->base.way;
    struct arena *arena = &w->base.arena;
    if (w->has_begun)
        return;
    w->has_begun = true;
    put_literal(out, "event: message_start\n");
    size_t mark = buffer_length(out);
    put_literal(out, "data: {\"type\":\"message_start\",\"message\":{");
    put_inner(out, "id", w->id.len ? w->id : arena_format(arena, "msg_%.*s", TEXT_ARGS(way->id)));
    put_literal(out, ",\"type\":\"message\",\"role\":\"assistant\"");
    put_inner(out, "model", w->model.len ? w->model : inner_of(arena, way->model));
    put_literal(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null");
    struct text extras = anthropic_field(w->fields, w->field_count, TEXT("usage"));
    anthropic_put_usage(out, &w->usage, extras, TEXT(""));
    put_fields(w, out);
    onto_one_line(out, mark);
    put_literal(out, "}}\n\n");
}

static void put_event(struct buffer *out, const char *event, int64_t index)
{
    put_literal(out, "event: ");
    put_literal(out, event);
    put_literal(out, "\ndata: {\"type\":\"");
    put_literal(out, event);
    put_literal(out, "\",\"index\":");
    buffer_append_number(out, (uint64_t)index);
}

static void end_event(struct buffer *out)
{
    put_literal(out, "}\n\n");
}

/* ----------------------------------------------------------------------------- the blocks */

static struct text call_id(struct anthropic_writer *w, const struct anthropic_place *place)
{
    if (place->id.len)
        return place->id;
    return arena_format(&w->base.arena, "toolu_%.*s_%zu", TEXT_ARGS(w->base.way->id),
                        (size_t)(place - w->places));
}

static void put_tool_use(struct anthropic_writer *w, const struct anthropic_place *place,
                         struct buffer *out)
{
    static const struct text known[] = {{"type", 4}, {"id", 2}, {"name", 4}, {"input", 5}};
    put_literal(out, "{\"type\":\"tool_use\"");
    put_inner(out, "id", call_id(w, place));
    put_inner(out, "name", place->name.at ? place->name : TEXT(""));
    put_literal(out, ",\"input\":{}");
    size_t mark = buffer_length(out);
    anthropic_put_extras(out, place->raw, known, sizeof(known) / sizeof(known[0]));
    onto_one_line(out, mark);
    put_literal(out, "}");
    w->calls = true;
}

static void begin_block(struct anthropic_writer *w, struct buffer *out)
{
    begin_message(w, out);
    put_event(out, "content_block_start", w->blocks++);
    put_literal(out, ",\"content_block\":");
}

static void open_block(struct anthropic_writer *w, struct anthropic_place *place,
                       struct buffer *out)
{
    if (place->is_open)
        return;
    place->is_open = true;
    begin_block(w, out);
    if (place->kind == PART_CALL)
        put_tool_use(w, place, out);
    else if (place->kind == PART_REASONING)
        put_literal(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
    else
        put_literal(out, "{\"type\":\"text\",\"text\":\"\"}");
    end_event(out);
}

static void end_block(struct anthropic_writer *w, struct buffer *out)
{
    put_event(out, "content_block_stop", w->blocks - 1);
    end_event(out);
}

static void put_delta(struct anthropic_writer *w, struct buffer *out, const char *begin,
                      struct text inner)
{
    put_event(out, "content_block_delta", w->blocks - 1);
    put_literal(out, begin);
    put_text(out, inner);
    put_literal(out, "\"}");
    end_event(out);
}

/* A block of which all is known: another provider's proof. */
static void put_redacted(struct anthropic_writer *w, struct buffer *out, struct text data)
{
    begin_block(w, out);
    put_literal(out, "{\"type\":\"redacted_thinking\"");
    put_inner(out, "data", data);
    put_literal(out, "}");
    end_event(out);
    end_block(w, out);
}

static struct text proof_of(struct anthropic_writer *w, const struct anthropic_place *place,
                            unsigned of, struct text inner)
{
    struct anthropic_proof proof = {.from = w->base.way->from, .id = place->id, .proof = inner};
    proof.of = of;
    if (is_own(w))
        return inner;
    return anthropic_write_proof(&w->base.arena, &proof);
}

/* The part's block ends; what belongs behind it follows. */
static void close_block(struct anthropic_writer *w, struct anthropic_place *place,
                        struct buffer *out)
{
    if (place->is_open)
        end_block(w, out);
    place->is_open = false;
    if (place->proof.len)
        put_redacted(
            w, out,
            proof_of(w, place, place->kind == PART_CALL ? PROOF_CALL : PROOF_TEXT, place->proof));
    place->proof = TEXT("");
}

/* A whole block as it was read. The input of a tool comes behind its beginning. */
static void put_raw(struct anthropic_writer *w, struct text raw, struct buffer *out)
{
    struct text name, value, rest = raw, input = {NULL, 0};
    if (!is_own(w))
        return;
    begin_block(w, out);
    size_t mark = buffer_length(out);
    put_literal(out, "{");
    while (member_next(&rest, &name, &value)) {
        bool is_input = text_equal(name, TEXT("input")) && value.len > 2 && value.at[0] == '{';
        input = is_input ? value : input;
        anthropic_put_name(out, name);
        put_text(out, is_input ? TEXT("{}") : value);
    }
    onto_one_line(out, mark);
    put_literal(out, "}");
    end_event(out);
    if (input.len)
        put_delta(w, out, ",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"",
                  inner_of_json(&w->base.arena, input));
    end_block(w, out);
}

/* ---------------------------------------------------------------------- content of a part */

static struct text kept(struct anthropic_writer *w, struct text t)
{
    w->held_bytes += t.len;
    return t.at ? arena_copy(&w->base.arena, t) : t;
}

/* For later. There is an end to it: what comes beyond is no call that anybody could make. */
static void hold(struct anthropic_writer *w, struct anthropic_place *place, const struct held *held)
{
    struct held copy = *held;
    if (w->held_bytes > HELD_MAX)
        return;
    copy.text = kept(w, held->text);
    copy.raw = kept(w, held->raw);
    copy.citation.url = kept(w, held->citation.url);
    copy.citation.title = kept(w, held->citation.title);
    copy.citation.quote = kept(w, held->citation.quote);
    copy.citation.raw = kept(w, held->citation.raw);
    place->held = arena_grow(&w->base.arena, place->held, place->held_count, &place->held_room,
                             sizeof(struct held));
    place->held[place->held_count++] = copy;
}

static bool is_spoken(enum part_kind kind)
{
    return kind == PART_TEXT || kind == PART_REFUSAL || kind == PART_AUDIO;
}

static void put_content_text(struct anthropic_writer *w, struct anthropic_place *place,
                             struct text inner, struct buffer *out)
{
    if (inner.len == 0)
        return;
    open_block(w, place, out);
    put_delta(w, out,
              place->kind == PART_REASONING
                  ? ",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\""
                  : ",\"delta\":{\"type\":\"text_delta\",\"text\":\"",
              inner);
}

static void put_signature(struct anthropic_writer *w, struct anthropic_place *place,
                          struct text inner, struct buffer *out)
{
    if (inner.len == 0)
        return;
    if (place->kind == PART_CALL || is_spoken(place->kind))
        place->proof = arena_copy(&w->base.arena, inner);
    if (place->kind != PART_REASONING)
        return; /* that of a picture is lost with the picture */
    open_block(w, place, out);
    put_delta(w, out, ",\"delta\":{\"type\":\"signature_delta\",\"signature\":\"", inner);
}

static void put_encrypted(struct anthropic_writer *w, struct anthropic_place *place,
                          struct text inner, struct buffer *out)
{
    struct text proof = proof_of(w, place, PROOF_ENCRYPTED, inner);
    if (inner.len == 0)
        return;
    if (place->is_open)
        put_delta(w, out, ",\"delta\":{\"type\":\"signature_delta\",\"signature\":\"", proof);
    else
        put_redacted(w, out, proof);
}

static void put_cited(struct anthropic_writer *w, struct anthropic_place *place,
                      const struct citation *citation, struct buffer *out)
{
    open_block(w, place, out);
    put_event(out, "content_block_delta", w->blocks - 1);
    put_literal(out, ",\"delta\":{\"type\":\"citations_delta\",\"citation\":");
    size_t mark = buffer_length(out);
    anthropic_put_citation(out, citation);
    onto_one_line(out, mark);
    put_literal(out, "}");
    end_event(out);
}

/* Arguments that do not begin as an object will have to be made one: held until they are whole. */
static bool is_odd(struct anthropic_place *place, struct text inner)
{
    if (!place->is_open && !place->is_odd) {
        struct text rest = text_trim(inner);
        place->is_odd = rest.len > 0 && rest.at[0] != '{' && rest.at[0] != '\\';
    }
    return place->is_odd;
}

static void put_arguments(struct anthropic_writer *w, struct anthropic_place *place,
                          const struct held *held, struct buffer *out)
{
    if (held->text.len == 0)
        return;
    if (is_odd(place, held->text)) {
        hold(w, place, held);
        return;
    }
    open_block(w, place, out);
    put_delta(w, out, ",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"", held->text);
}

/* Those that were held, as an object. */
static void put_odd(struct anthropic_writer *w, struct anthropic_place *place, struct buffer *out)
{
    struct arena *arena = &w->base.arena;
    struct buffer gathered;
    if (!place->is_odd)
        return;
    buffer_init(&gathered, SIZE_MAX / 2);
    for (size_t i = 0; i < place->held_count; i++)
        put_text(&gathered, place->held[i].text);
    struct text object = object_of_inner(arena, buffer_text(&gathered));
    open_block(w, place, out);
    put_delta(w, out, ",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"",
              inner_of_json(arena, object));
    buffer_done(&gathered);
    place->held_count = 0;
}

static void put_content(struct anthropic_writer *w, struct anthropic_place *place,
                        const struct held *held, struct buffer *out)
{
    if (held->kind == ANSWER_RAW && place->kind == PART_RAW)
        put_raw(w, held->raw, out);
    else if (held->kind == ANSWER_RAW && place->kind == PART_CALL && is_own(w))
        place->raw = arena_copy(&w->base.arena, held->raw);
    else if (held->kind == ANSWER_TEXT && (is_spoken(place->kind) || place->kind == PART_REASONING))
        put_content_text(w, place, held->text, out);
    else if (held->kind == ANSWER_ARGUMENTS && place->kind == PART_CALL)
        put_arguments(w, place, held, out);
    else if (held->kind == ANSWER_SIGNATURE)
        put_signature(w, place, held->text, out);
    else if (held->kind == ANSWER_ENCRYPTED && place->kind == PART_REASONING)
        put_encrypted(w, place, held->text, out);
    else if (held->kind == ANSWER_CITATION && is_spoken(place->kind))
        put_cited(w, place, &held->citation, out);
}

/* ---------------------------------------------------------------------------- taking turns */

static void end_place(struct anthropic_writer *w, struct anthropic_place *place, struct buffer *out)
{
    put_odd(w, place, out);
    if (place->kind == PART_CALL)
        open_block(w, place, out); /* a call without arguments is one all the same */
    close_block(w, place, out);
    place->state = PLACE_DONE;
}

/* It is this part's turn. */
static void go_live(struct anthropic_writer *w, size_t number, struct buffer *out)
{
    struct anthropic_place *place = &w->places[number];
    w->live = number;
    w->has_live = true;
    place->state = PLACE_LIVE;
    struct held *held = place->held;
    size_t count = place->held_count;
    place->held = NULL;
    place->held_count = place->held_room = 0;
    for (size_t i = 0; i < count; i++)
        put_content(w, place, &held[i], out);
}

/* The next one that waits, if nobody is live. */
static void next_turn(struct anthropic_writer *w, struct buffer *out)
{
    while (!w->has_live && w->first_waiting < w->place_count) {
        struct anthropic_place *place = &w->places[w->first_waiting];
        if (place->state != PLACE_WAITS) {
            w->first_waiting++;
            continue;
        }
        go_live(w, w->first_waiting, out);
        if (place->has_ended) {
            end_place(w, place, out);
            w->has_live = false;
        }
    }
}

/* May <number> be written now? Texts make room for it, calls do not. */
static bool take_turn(struct anthropic_writer *w, size_t number, struct buffer *out)
{
    if (w->has_live && w->live == number)
        return true;
    if (w->has_live) {
        struct anthropic_place *live = &w->places[w->live];
        if (live->kind == PART_CALL)
            return false;
        close_block(w, live, out);
        live->state = PLACE_CUT;
        w->has_live = false;
    }
    go_live(w, number, out);
    return true;
}

static void begin_place(struct anthropic_writer *w, const struct answer_event *event,
                        struct buffer *out)
{
    struct arena *arena = &w->base.arena;
    if (event->part != w->place_count || event->part >= CHAT_PARTS_MAX)
        return;
    w->places = arena_grow(arena, w->places, w->place_count, &w->place_room,
                           sizeof(struct anthropic_place));
    w->places[w->place_count++] = (struct anthropic_place){
        .kind = event->part_kind,
        .id = arena_copy(arena, event->id.at ? event->id : TEXT("")),
        .name = arena_copy(arena, event->name.at ? event->name : TEXT(""))};
    take_turn(w, event->part, out);
}

static void take_content(struct anthropic_writer *w, const struct answer_event *event,
                         struct buffer *out)
{
    struct held held = {.kind = event->kind, .text = event->text, .raw = event->raw};
    if (event->part >= w->place_count || w->places[event->part].state == PLACE_DONE)
        return;
    if (event->kind == ANSWER_CITATION)
        held.citation = *event->citation;
    struct anthropic_place *place = &w->places[event->part];
    if (take_turn(w, event->part, out)) {
        put_content(w, place, &held, out);
        return;
    }
    place->state = PLACE_WAITS;
    if (event->part < w->first_waiting)
        w->first_waiting = event->part;
    hold(w, place, &held);
}

static void take_end(struct anthropic_writer *w, const struct answer_event *event,
                     struct buffer *out)
{
    if (event->part >= w->place_count)
        return;
    struct anthropic_place *place = &w->places[event->part];
    place->has_ended = true;
    if (place->state == PLACE_CUT)
        place->state = PLACE_DONE;
    if (place->state != PLACE_LIVE)
        return;
    end_place(w, place, out);
    w->has_live = false;
    next_turn(w, out);
}

static void end_all(struct anthropic_writer *w, struct buffer *out)
{
    for (size_t i = 0; i < w->place_count; i++)
        w->places[i].has_ended = true;
    if (w->has_live)
        end_place(w, &w->places[w->live], out);
    w->has_live = false;
    next_turn(w, out);
}

/* -------------------------------------------------------------------------- the last words */

static void put_stop(struct anthropic_writer *w, struct buffer *out)
{
    static const struct text in_delta[] = {{"container", 9}, {"stop_details", 12}};
    const char *reason = anthropic_stop_reason(w->finish, w->calls);
    put_literal(out, ",\"delta\":{");
    put_inner(out, "stop_reason", is_own(w) && w->reason.len ? w->reason : text_of(reason));
    if (w->sequence.at)
        put_inner(out, "stop_sequence", w->sequence);
    else
        put_json(out, "stop_sequence", TEXT("null"));
    for (size_t i = 0; i < sizeof(in_delta) / sizeof(in_delta[0]); i++) {
        struct text value = anthropic_field(w->fields, w->field_count, in_delta[i]);
        if (value.at)
            put_json(out, in_delta[i].at, value);
    }
    put_literal(out, "}");
}

static void end_message(struct anthropic_writer *w, struct buffer *out)
{
    end_all(w, out);
    begin_message(w, out);
    put_literal(out, "event: message_delta\n");
    size_t mark = buffer_length(out);
    put_literal(out, "data: {\"type\":\"message_delta\"");
    put_stop(w, out);
    struct text usage = anthropic_field(w->fields, w->field_count, TEXT("usage"));
    struct text delta = anthropic_field(w->fields, w->field_count, TEXT("usage_delta"));
    anthropic_put_usage(out, &w->usage, usage, delta);
    put_json(out, "context_management",
             anthropic_field(w->fields, w->field_count, TEXT("context_management")));
    onto_one_line(out, mark);
    put_literal(out, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void take_field(struct anthropic_writer *w, const struct answer_event *event)
{
    struct arena *arena = &w->base.arena;
    size_t i = 0;
    while (i < w->field_count && !text_equal(w->fields[i].name, event->name))
        i++;
    if (!is_own(w) || i == CHAT_FIELDS_MAX)
        return;
    w->fields[i].value = arena_copy(arena, event->raw);
    if (i == w->field_count) {
        w->fields[i].name = arena_copy(arena, event->name);
        w->field_count++;
    }
}

static void take_finish(struct anthropic_writer *w, const struct answer_event *event)
{
    struct arena *arena = &w->base.arena;
    w->finish = event->finish;
    w->reason = arena_copy(arena, event->name.at ? event->name : TEXT(""));
    if (event->text.at && event->finish == FINISH_SEQUENCE)
        w->sequence = arena_copy(arena, event->text);
}

void anthropic_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct anthropic_writer *w = state;
    if (event->choice > 0)
        return; /* this dialect has one only, and nobody could ask for more */
    switch (event->kind) {
    case ANSWER_BEGIN:
        w->id = arena_copy(&w->base.arena, event->id.at ? event->id : TEXT(""));
        w->model = arena_copy(&w->base.arena, event->model.at ? event->model : TEXT(""));
        break;
    case ANSWER_PART:
        begin_place(w, event, out);
        break;
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_CITATION:
    case ANSWER_RAW:
        take_content(w, event, out);
        break;
    case ANSWER_PART_END:
        take_end(w, event, out);
        break;
    case ANSWER_FINISH:
        take_finish(w, event);
        end_all(w, out);
        break;
    case ANSWER_USAGE:
        w->usage = *event->usage;
        break;
    case ANSWER_FIELD:
        take_field(w, event);
        break;
    case ANSWER_END:
        end_message(w, out);
        break;
    case ANSWER_DATA:     /* it has no place for what a model draws or speaks, */
    case ANSWER_LOGPROBS: /* nor for these */
    case ANSWER_FAIL:
        break;
    }
}
