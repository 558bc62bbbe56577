/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses.h: an answer is written as the events of a stream, or whole. Either way the
 * items are put together as it goes by; a stream tells of each step besides.
 */
#include "gateway/base/member.h"
#include "providers/openai_responses.h"

/* -------------------------------------------------------------------------------- events */

/* Each function below that tells something does nothing when the answer is written whole. */
static void open_event(struct responses_writer *w, const char *type)
{
    put_literal(w->out, "event: ");
    put_literal(w->out, type);
    put_literal(w->out, "\ndata: ");
    w->data_at = buffer_length(w->out);
    put_literal(w->out, "{\"type\":\"");
    put_literal(w->out, type);
    put_literal(w->out, "\"");
    put_number(w->out, "sequence_number", w->sequence++);
}

/* JSON that was taken over as it came may stand on several lines; an event's data is one. */
static void close_event(struct responses_writer *w)
{
    char *at = w->out->data + w->out->begin + w->data_at, *end = w->out->data + w->out->end;
    for (char *line = at; (line = memchr(line, '\n', (size_t)(end - line))) != NULL;)
        *line = ' ';
    for (char *line = at; (line = memchr(line, '\r', (size_t)(end - line))) != NULL;)
        *line = ' ';
    put_literal(w->out, "}\n\n");
}

static void tell_response(struct responses_writer *w, const char *type, const char *status,
                          struct text error)
{
    if (!w->out)
        return;
    open_event(w, type);
    put_literal(w->out, ",\"response\":");
    response_put(w, status, error, w->out);
    close_event(w);
}

static void tell_item(struct responses_writer *w, size_t number, bool done)
{
    if (!w->out)
        return;
    open_event(w, done ? "response.output_item.done" : "response.output_item.added");
    put_number(w->out, "output_index", (int64_t)number);
    put_literal(w->out, ",\"item\":");
    response_put_item(&w->items[number], done, w->out);
    close_event(w);
}

/* An event about an item, to which the caller adds. */
static void open_about(struct responses_writer *w, const char *type, size_t item)
{
    open_event(w, type);
    put_inner(w->out, "item_id", w->items[item].id);
    put_number(w->out, "output_index", (int64_t)item);
}

static void tell_delta(struct responses_writer *w, const char *type, size_t item, const char *place,
                       size_t number, struct text delta)
{
    if (!w->out)
        return;
    open_about(w, type, item);
    if (place)
        put_number(w->out, place, (int64_t)number);
    put_inner(w->out, "delta", delta);
}

static void put_rope_member(struct responses_writer *w, const char *name, const struct rope *rope)
{
    put_inner(w->out, name, TEXT(""));
    w->out->end--; /* the closing quote */
    rope_put(rope, w->out);
    put_literal(w->out, "\"");
}

/* --------------------------------------------------------------------------------- items */

static struct text made_id(struct responses_writer *w, const char *prefix)
{
    return arena_format(&w->base.arena, "%s_%.*s_%zu", prefix, TEXT_ARGS(w->seed), w->item_count);
}

static struct text kept(struct responses_writer *w, struct text t)
{
    return t.at ? arena_copy(&w->base.arena, t) : t;
}

static size_t item_begin(struct responses_writer *w, enum part_kind kind, struct text id,
                         const char *prefix)
{
    w->items = arena_grow(&w->base.arena, w->items, w->item_count, &w->item_room,
                          sizeof(struct response_item));
    w->items[w->item_count] =
        (struct response_item){.kind = kind, .id = id.len ? kept(w, id) : made_id(w, prefix)};
    return w->item_count++;
}

static void item_end(struct responses_writer *w, size_t number)
{
    struct response_item *item = &w->items[number];
    if (item->is_done)
        return;
    item->is_done = true;
    tell_item(w, number, true);
}

static bool has_open_content(const struct response_item *item)
{
    for (size_t i = 0; i < item->content_count; i++)
        if (item->contents[i].is_open)
            return true;
    return false;
}

/* A message goes on as long as nothing else begins. */
static void leave_message(struct responses_writer *w)
{
    if (w->item_count == 0)
        return;
    const struct response_item *last = &w->items[w->item_count - 1];
    if (last->kind == PART_TEXT && !has_open_content(last))
        item_end(w, w->item_count - 1);
}

/* Signatures that are not of reasoning have an item of their own, behind what they are of. */
static void add_proof(struct responses_writer *w, const struct responses_proof *proof)
{
    struct text said = responses_write_proof(&w->base.arena, proof);
    if (!said.at)
        return;
    leave_message(w);
    size_t item = item_begin(w, PART_REASONING, (struct text){NULL, 0}, "rs");
    tell_item(w, item, false);
    w->items[item].encrypted = said;
    item_end(w, item);
}

static bool is_own(const struct responses_writer *w)
{
    return w->base.way->from == &translator_openai_responses;
}

/* ------------------------------------------------------------------------ messages: text */

static size_t content_begin(struct responses_writer *w, size_t number, bool is_refusal)
{
    struct response_item *item = &w->items[number];
    item->contents = arena_grow(&w->base.arena, item->contents, item->content_count,
                                &item->content_room, sizeof(struct response_content));
    item->contents[item->content_count] =
        (struct response_content){.is_refusal = is_refusal, .is_open = true};
    w->is_refusal = w->is_refusal || is_refusal;
    if (w->out) {
        open_about(w, "response.content_part.added", number);
        put_number(w->out, "content_index", (int64_t)item->content_count);
        put_literal(w->out, ",\"part\":");
        response_put_content(&item->contents[item->content_count], false, w->out);
        close_event(w);
    }
    return item->content_count++;
}

/* May the text be a part of the message that was written last? */
static bool goes_on(const struct responses_writer *w, const struct response_place *place)
{
    if (w->item_count == 0)
        return false;
    const struct response_item *last = &w->items[w->item_count - 1];
    if (last->kind != PART_TEXT || last->is_done)
        return false;
    return !is_own(w) || (text_equal(last->id, place->id) && place->id.len);
}

static struct response_content *content_of(struct responses_writer *w, struct response_place *place)
{
    if (!place->is_known) {
        bool more = goes_on(w, place);
        struct text own_id = is_own(w) ? place->id : (struct text){NULL, 0};
        if (!more) {
            leave_message(w);
            place->item = item_begin(w, PART_TEXT, own_id, "msg");
            w->items[place->item].phase = is_own(w) ? place->name : (struct text){NULL, 0};
            tell_item(w, place->item, false);
        } else {
            place->item = w->item_count - 1;
        }
        place->content = content_begin(w, place->item, place->kind == PART_REFUSAL);
        place->is_known = true;
    }
    return &w->items[place->item].contents[place->content];
}

/* Characters, not bytes: an escape is one, and what continues a character is none. */
static int64_t characters_of(struct text inner)
{
    int64_t count = 0;
    for (size_t i = 0; i < inner.len; i++) {
        unsigned char c = (unsigned char)inner.at[i];
        count += (c & 0xC0) != 0x80;
        if (c == '\\' && i + 1 < inner.len)
            i += inner.at[i + 1] == 'u' ? 5 : 1;
    }
    return count;
}

static void add_text(struct responses_writer *w, struct response_place *place, struct text more)
{
    struct response_content *content = content_of(w, place);
    rope_add(&content->text, &w->base.arena, more);
    content->characters += characters_of(more);
    if (!w->out)
        return;
    tell_delta(w, content->is_refusal ? "response.refusal.delta" : "response.output_text.delta",
               place->item, "content_index", place->content, more);
    if (!content->is_refusal)
        put_literal(w->out, ",\"logprobs\":[]");
    close_event(w);
}

static void add_citation(struct responses_writer *w, struct response_place *place,
                         const struct citation *citation)
{
    struct response_content *content = content_of(w, place);
    struct buffer json;
    if (content->is_refusal || !content->is_open)
        return;
    buffer_init(&json, SIZE_MAX / 2);
    response_put_annotation(citation, content->characters, &json);
    if (content->annotation_count)
        rope_add(&content->annotations, &w->base.arena, TEXT(","));
    rope_add(&content->annotations, &w->base.arena, buffer_text(&json));
    if (w->out) {
        open_about(w, "response.output_text.annotation.added", place->item);
        put_number(w->out, "content_index", (int64_t)place->content);
        put_number(w->out, "annotation_index", content->annotation_count);
        put_literal(w->out, ",\"annotation\":");
        put_text(w->out, buffer_text(&json));
        close_event(w);
    }
    content->annotation_count++;
    buffer_done(&json);
}

static void tell_text_done(struct responses_writer *w, const struct response_place *place,
                           const struct response_content *content)
{
    bool refusal = content->is_refusal;
    open_about(w, refusal ? "response.refusal.done" : "response.output_text.done", place->item);
    put_number(w->out, "content_index", (int64_t)place->content);
    put_rope_member(w, refusal ? "refusal" : "text", &content->text);
    if (!refusal) {
        put_open(w->out, "logprobs", '[');
        rope_put(&content->logprobs, w->out);
        put_literal(w->out, "]");
    }
    close_event(w);
    open_about(w, "response.content_part.done", place->item);
    put_number(w->out, "content_index", (int64_t)place->content);
    put_literal(w->out, ",\"part\":");
    response_put_content(content, true, w->out);
    close_event(w);
}

static void end_text(struct responses_writer *w, struct response_place *place)
{
    if (!place->is_known)
        return; /* nothing was said in it */
    struct response_content *content = content_of(w, place);
    content->is_open = false;
    if (w->out)
        tell_text_done(w, place, content);
    if (place->item + 1 != w->item_count && !has_open_content(&w->items[place->item]))
        item_end(w, place->item);
    struct responses_proof proof = {
        .from = w->base.way->from, .of = PROOF_OF_TEXT, .signature = place->signature};
    if (place->signature.len)
        add_proof(w, &proof);
}

/* The last text that was begun is the one they are about. */
static void add_logprobs(struct responses_writer *w, struct text list)
{
    struct text items = list.len > 2 ? text_head(text_from(list, 1), list.len - 2) : TEXT("");
    for (size_t i = w->place_count; i-- > 0 && items.len;) {
        struct response_place *place = &w->places[i];
        if (place->kind != PART_TEXT || !place->is_known)
            continue;
        struct response_content *content = content_of(w, place);
        if (content->logprobs.len)
            rope_add(&content->logprobs, &w->base.arena, TEXT(","));
        rope_add(&content->logprobs, &w->base.arena, items);
        return;
    }
}

/* ------------------------------------------------------------------------------ reasoning */

static void begin_reasoning(struct responses_writer *w, struct response_place *place)
{
    leave_message(w);
    place->item =
        item_begin(w, PART_REASONING, is_own(w) ? place->id : (struct text){NULL, 0}, "rs");
    place->is_known = true;
    tell_item(w, place->item, false);
}

static void add_thought(struct responses_writer *w, struct response_place *place, struct text more)
{
    struct response_item *item = &w->items[place->item];
    if (w->out && item->text.len == 0) {
        open_about(w, "response.reasoning_summary_part.added", place->item);
        put_number(w->out, "summary_index", 0);
        put_literal(w->out, ",\"part\":{\"type\":\"summary_text\",\"text\":\"\"}");
        close_event(w);
    }
    rope_add(&item->text, &w->base.arena, more);
    if (w->out) {
        tell_delta(w, "response.reasoning_summary_text.delta", place->item, "summary_index", 0,
                   more);
        close_event(w);
    }
}

static void tell_thought_done(struct responses_writer *w, size_t number)
{
    open_about(w, "response.reasoning_summary_text.done", number);
    put_number(w->out, "summary_index", 0);
    put_rope_member(w, "text", &w->items[number].text);
    close_event(w);
    open_about(w, "response.reasoning_summary_part.done", number);
    put_number(w->out, "summary_index", 0);
    put_literal(w->out, ",\"part\":{\"type\":\"summary_text\"");
    put_rope_member(w, "text", &w->items[number].text);
    put_literal(w->out, "}");
    close_event(w);
}

static void end_reasoning(struct responses_writer *w, struct response_place *place)
{
    struct response_item *item = &w->items[place->item];
    if (w->out && item->text.len)
        tell_thought_done(w, place->item);
    if (!is_own(w)) {
        struct responses_proof proof = {
            .from = w->base.way->from, .signature = place->signature, .encrypted = item->encrypted};
        item->encrypted = responses_write_proof(&w->base.arena, &proof);
    }
    item_end(w, place->item);
}

/* ---------------------------------------------------------------------------------- calls */

static bool find_tool(struct responses_writer *w, struct text name, struct responses_tool *tool)
{
    struct text input = w->input, none, item;
    if (responses_find_tool(w->tools, name, tool))
        return true;
    if (!input.len || input.at[0] != '[')
        return false;
    while (member_next(&input, &none, &item)) {
        struct text type = member_string(member_find(item, TEXT("type")));
        if (inner_is(type, "additional_tools") &&
            responses_find_tool(member_find(item, TEXT("tools")), name, tool))
            return true;
    }
    return false;
}

static void begin_call(struct responses_writer *w, struct response_place *place)
{
    struct responses_tool tool = {.name = place->name};
    find_tool(w, place->name, &tool);
    leave_message(w);
    place->item = item_begin(w, PART_CALL, (struct text){NULL, 0}, tool.is_custom ? "ctc" : "fc");
    struct response_item *item = &w->items[place->item];
    item->is_custom = tool.is_custom;
    item->name = tool.name.at ? tool.name : TEXT("");
    item->space = tool.space;
    item->call_id = place->id;
    if (!item->call_id.len)
        item->call_id = arena_format(&w->base.arena, "call_%.*s_%zu", TEXT_ARGS(w->seed),
                                     (size_t)(place - w->places));
    place->is_known = true;
    tell_item(w, place->item, false);
}

static void tell_arguments(struct responses_writer *w, size_t item, struct text more)
{
    if (!w->out)
        return;
    tell_delta(w, "response.function_call_arguments.delta", item, NULL, 0, more);
    close_event(w);
}

/* Those of a tool that takes free text wait until they are whole. */
static void add_arguments(struct responses_writer *w, struct response_place *place,
                          struct text more)
{
    struct response_item *item = &w->items[place->item];
    rope_add(&item->text, &w->base.arena, more);
    if (!item->is_custom)
        tell_arguments(w, place->item, more);
}

/* Free text again; what has not the one argument that it should is given as it is. */
static void end_custom(struct responses_writer *w, size_t number)
{
    struct response_item *item = &w->items[number];
    struct text whole = rope_text(&item->text, &w->base.arena);
    struct text object = object_of_inner(&w->base.arena, whole);
    struct text input = member_string(member_find(object, TEXT("input")));
    item->text = (struct rope){NULL, NULL, 0};
    rope_add(&item->text, &w->base.arena, input.at ? input : whole);
    if (!w->out)
        return;
    tell_delta(w, "response.custom_tool_call_input.delta", number, NULL, 0,
               input.at ? input : whole);
    close_event(w);
    open_about(w, "response.custom_tool_call_input.done", number);
    put_rope_member(w, "input", &item->text);
    close_event(w);
}

static void end_function(struct responses_writer *w, size_t number)
{
    struct response_item *item = &w->items[number];
    if (item->text.len == 0) {
        rope_add(&item->text, &w->base.arena, TEXT("{}"));
        tell_arguments(w, number, TEXT("{}"));
    }
    if (!w->out)
        return;
    open_about(w, "response.function_call_arguments.done", number);
    put_inner(w->out, "name", item->name);
    put_rope_member(w, "arguments", &item->text);
    close_event(w);
}

static void end_call(struct responses_writer *w, struct response_place *place)
{
    struct responses_proof proof = {.from = w->base.way->from,
                                    .of = PROOF_OF_CALL,
                                    .call_id = w->items[place->item].call_id,
                                    .signature = place->signature};
    if (w->items[place->item].is_custom)
        end_custom(w, place->item);
    else
        end_function(w, place->item);
    item_end(w, place->item);
    if (place->signature.len)
        add_proof(w, &proof);
}

/* ------------------------------------------------------------------- images, and the rest */

static void begin_image(struct responses_writer *w, struct response_place *place,
                        struct text media_type)
{
    leave_message(w);
    place->item = item_begin(w, PART_IMAGE, (struct text){NULL, 0}, "ig");
    w->items[place->item].media_type = kept(w, media_type);
    place->is_known = true;
    tell_item(w, place->item, false);
}

/* An item of the target's own: only of this dialect, and told when it is whole. */
static void add_raw(struct responses_writer *w, struct response_place *place, struct text json)
{
    if (!is_own(w))
        return;
    if (place->kind != PART_RAW) {
        if (place->is_known && place->kind != PART_TEXT && place->kind != PART_REFUSAL)
            w->items[place->item].raw = kept(w, json);
        return;
    }
    leave_message(w);
    place->item = item_begin(w, PART_RAW, TEXT("raw"), "raw");
    w->items[place->item].raw = kept(w, json);
    tell_item(w, place->item, false);
    item_end(w, place->item);
}

/* ---------------------------------------------------------------------------- the parts */

static struct response_place *place_new(struct responses_writer *w,
                                        const struct answer_event *event)
{
    if (event->part != w->place_count || event->part >= CHAT_PARTS_MAX)
        return NULL;
    w->places = arena_grow(&w->base.arena, w->places, w->place_count, &w->place_room,
                           sizeof(struct response_place));
    struct response_place *place = &w->places[w->place_count++];
    *place = (struct response_place){
        .kind = event->part_kind, .id = kept(w, event->id), .name = kept(w, event->name)};
    return place;
}

static void begin_part(struct responses_writer *w, const struct answer_event *event)
{
    struct response_place *place = place_new(w, event);
    if (!place)
        return;
    if (place->kind == PART_REASONING)
        begin_reasoning(w, place);
    else if (place->kind == PART_CALL)
        begin_call(w, place);
    else if (place->kind == PART_IMAGE)
        begin_image(w, place, event->media_type);
    else if (place->kind != PART_RAW && place->kind != PART_REFUSAL)
        place->kind = PART_TEXT; /* what is said in it is text, of audio its words */
}

static void end_part(struct responses_writer *w, struct response_place *place)
{
    place->is_ended = true;
    if (place->kind == PART_REASONING)
        end_reasoning(w, place);
    else if (place->kind == PART_CALL)
        end_call(w, place);
    else if (place->kind == PART_IMAGE)
        item_end(w, place->item);
    else if (place->kind != PART_RAW)
        end_text(w, place);
}

static bool is_said(const struct response_place *place)
{
    return place->kind == PART_TEXT || place->kind == PART_REFUSAL;
}

static void take_text(struct responses_writer *w, struct response_place *place, struct text more)
{
    if (more.len == 0)
        return;
    if (place->kind == PART_REASONING)
        add_thought(w, place, more);
    else if (is_said(place))
        add_text(w, place, more);
}

/* What is about a part. */
static void take_content(struct responses_writer *w, const struct answer_event *event)
{
    struct response_place *place = event->part < w->place_count ? &w->places[event->part] : NULL;
    if (!place || place->is_ended)
        return;
    switch ((int)event->kind) {
    case ANSWER_TEXT:
        take_text(w, place, event->text);
        break;
    case ANSWER_ARGUMENTS:
        if (place->kind == PART_CALL && event->text.len)
            add_arguments(w, place, event->text);
        break;
    case ANSWER_SIGNATURE:
        place->signature = kept(w, event->text);
        break;
    case ANSWER_ENCRYPTED:
        if (place->kind == PART_REASONING)
            w->items[place->item].encrypted = kept(w, event->text);
        break;
    case ANSWER_DATA:
        if (place->kind == PART_IMAGE)
            rope_add(&w->items[place->item].text, &w->base.arena, event->text);
        break;
    case ANSWER_CITATION:
        if (place->kind == PART_TEXT)
            add_citation(w, place, event->citation);
        break;
    case ANSWER_RAW:
        add_raw(w, place, event->raw);
        break;
    case ANSWER_PART_END:
        end_part(w, place);
        break;
    default:
        break;
    }
}

/* ----------------------------------------------------------------------------- the answer */

static void begin(struct responses_writer *w, const struct answer_event *event)
{
    const struct answer_way *way = w->base.way;
    struct arena *arena = &w->base.arena;
    struct text none = {NULL, 0};
    if (w->has_begun)
        return;
    w->has_begun = true;
    w->seed = inner_of(arena, way->id);
    w->id = is_own(w) && event->id.len ? kept(w, event->id)
                                       : arena_format(arena, "resp_%.*s", TEXT_ARGS(w->seed));
    w->model = event->model.len ? kept(w, event->model) : inner_of(arena, way->model);
    if (!w->model.at)
        w->model = TEXT("");
    w->created = event->created ? event->created : way->now_s;
    response_learn(w);
    tell_response(w, "response.created", "in_progress", none);
    tell_response(w, "response.in_progress", "in_progress", none);
}

/* What was never closed is closed. The last message was cut when there was no room for more. */
static void close_all(struct responses_writer *w)
{
    for (size_t i = 0; i < w->place_count; i++)
        if (!w->places[i].is_ended)
            end_part(w, &w->places[i]);
    for (size_t i = 0; i < w->item_count; i++) {
        if (!w->items[i].is_done)
            w->items[i].is_cut = i + 1 == w->item_count && w->finish == FINISH_LENGTH;
        item_end(w, i);
    }
}

static void take_finish(struct responses_writer *w, const struct answer_event *event)
{
    w->finish = event->finish;
    close_all(w);
}

static void take_field(struct responses_writer *w, const struct answer_event *event)
{
    if (!is_own(w))
        return;
    if (inner_is(event->name, "usage"))
        w->usage_raw = kept(w, event->raw);
    else if (w->field_count < CHAT_FIELDS_MAX)
        w->fields[w->field_count++] =
            (struct chat_field){kept(w, event->name), kept(w, event->raw)};
}

static void end(struct responses_writer *w)
{
    struct text none = {NULL, 0};
    const char *status = response_status(w);
    close_all(w);
    if (text_equal(text_of(status), TEXT("completed")))
        tell_response(w, "response.completed", status, none);
    else if (text_equal(text_of(status), TEXT("incomplete")))
        tell_response(w, "response.incomplete", status, none);
    else
        tell_response(w, "response.failed", status, none);
}

/* A stream that fails says so in both ways in which clients look for it. */
static void fail(struct responses_writer *w, const struct answer_event *event)
{
    const struct fault_rule *rule = fault_rule(event->fault);
    struct text code = text_of(rule->code ? rule->code : "server_error");
    struct text message = event->text.at ? event->text : TEXT("");
    struct text error = arena_format(&w->base.arena, "{\"code\":\"%.*s\",\"message\":\"%.*s\"}",
                                     TEXT_ARGS(code), TEXT_ARGS(message));
    if (!w->out)
        return;
    open_event(w, "error");
    put_inner(w->out, "code", code);
    put_inner(w->out, "message", message);
    put_json(w->out, "param", TEXT("null"));
    close_event(w);
    tell_response(w, "response.failed", "failed", error);
}

static void take(struct responses_writer *w, const struct answer_event *event)
{
    if (event->choice > 0) /* a response has one */
        return;
    if (!w->has_begun)
        begin(w, event->kind == ANSWER_BEGIN ? event : &(struct answer_event){ANSWER_BEGIN});
    switch (event->kind) {
    case ANSWER_BEGIN:
        break;
    case ANSWER_PART:
        begin_part(w, event);
        break;
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_CITATION:
    case ANSWER_RAW:
    case ANSWER_PART_END:
        take_content(w, event);
        break;
    case ANSWER_LOGPROBS:
        add_logprobs(w, event->raw);
        break;
    case ANSWER_FINISH:
        take_finish(w, event);
        break;
    case ANSWER_USAGE:
        w->usage = *event->usage;
        break;
    case ANSWER_FIELD:
        take_field(w, event);
        break;
    case ANSWER_FAIL:
        fail(w, event);
        break;
    case ANSWER_END:
        end(w);
        break;
    }
}

void responses_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct responses_writer *w = state;
    w->out = out;
    take(w, event);
}

/* ------------------------------------------------------------------------------ all at once */

struct whole_sink {
    struct answer_sink sink;
    struct responses_writer *w;
};

static void take_whole(struct answer_sink *sink, const struct answer_event *event)
{
    take(((struct whole_sink *)sink)->w, event);
}

void responses_write_whole(const struct answer_way *way, struct arena *arena,
                           const struct whole_answer *whole, struct buffer *out)
{
    struct responses_writer *w = arena_new(arena, sizeof(*w));
    struct whole_sink sink = {.sink = {take_whole}, .w = w};
    arena_init(&w->base.arena, 4096);
    w->base.way = way;
    whole_say(whole, &sink.sink);
    response_put(w, response_status(w), (struct text){NULL, 0}, out);
    arena_done(&w->base.arena);
}
