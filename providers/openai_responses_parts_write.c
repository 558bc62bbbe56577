/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses_events.h: the parts of an answer become items.
 */
#include "gateway/base/member.h"
#include "providers/openai_responses_events.h"

/* --------------------------------------------------------------------------------- items */

static struct text made_id(struct responses_writer *w, const char *prefix)
{
    return arena_format(&w->base.arena, "%s_%.*s_%zu", prefix, TEXT_ARGS(w->seed), w->item_count);
}

struct text responses_keep(struct responses_writer *w, struct text t)
{
    return t.at ? arena_copy(&w->base.arena, t) : t;
}

size_t responses_item_begin(struct responses_writer *w, enum part_kind kind, struct text id,
                            const char *prefix)
{
    w->items = arena_grow(&w->base.arena, w->items, w->item_count, &w->item_room,
                          sizeof(struct response_item));
    w->items[w->item_count] = (struct response_item){
        .kind = kind, .id = id.len ? responses_keep(w, id) : made_id(w, prefix)};
    return w->item_count++;
}

void responses_item_end(struct responses_writer *w, size_t number)
{
    struct response_item *item = &w->items[number];
    if (item->is_done)
        return;
    item->is_done = true;
    responses_event_tell_item(w, number, true);
}

bool responses_has_open_content(const struct response_item *item)
{
    for (size_t i = 0; i < item->content_count; i++)
        if (item->contents[i].is_open)
            return true;
    return false;
}

/* A message goes on as long as nothing else begins. */
void responses_leave_message(struct responses_writer *w)
{
    if (w->item_count == 0)
        return;
    const struct response_item *last = &w->items[w->item_count - 1];
    if (last->kind == PART_TEXT && !responses_has_open_content(last))
        responses_item_end(w, w->item_count - 1);
}

/* Signatures that are not of reasoning have an item of their own, behind what they are of. */
void responses_add_proof(struct responses_writer *w, const struct responses_proof *proof)
{
    struct text said = responses_write_proof(&w->base.arena, proof);
    if (!said.at)
        return;
    responses_leave_message(w);
    size_t item = responses_item_begin(w, PART_REASONING, (struct text){NULL, 0}, "rs");
    responses_event_tell_item(w, item, false);
    w->items[item].encrypted = said;
    responses_item_end(w, item);
}

bool responses_is_own(const struct responses_writer *w)
{
    return w->base.way->from == &translator_openai_responses;
}

/* ------------------------------------------------------------------------------ reasoning */

static void begin_reasoning(struct responses_writer *w, struct response_place *place)
{
    responses_leave_message(w);
    place->item = responses_item_begin(
        w, PART_REASONING, responses_is_own(w) ? place->id : (struct text){NULL, 0}, "rs");
    place->is_known = true;
    responses_event_tell_item(w, place->item, false);
}

static void add_thought(struct responses_writer *w, struct response_place *place, struct text more)
{
    struct response_item *item = &w->items[place->item];
    if (w->out && item->text.len == 0) {
        responses_event_open_about(w, "response.reasoning_summary_part.added", place->item);
        put_number(w->out, "summary_index", 0);
        put_literal(w->out, ",\"part\":{\"type\":\"summary_text\",\"text\":\"\"}");
        responses_event_close(w);
    }
    rope_add(&item->text, &w->base.arena, more);
    if (w->out) {
        responses_event_open_delta(w, "response.reasoning_summary_text.delta", place->item,
                                   "summary_index", 0, more);
        responses_event_close(w);
    }
}

static void tell_thought_done(struct responses_writer *w, size_t number)
{
    responses_event_open_about(w, "response.reasoning_summary_text.done", number);
    put_number(w->out, "summary_index", 0);
    responses_event_put_rope(w, "text", &w->items[number].text);
    responses_event_close(w);
    responses_event_open_about(w, "response.reasoning_summary_part.done", number);
    put_number(w->out, "summary_index", 0);
    put_literal(w->out, ",\"part\":{\"type\":\"summary_text\"");
    responses_event_put_rope(w, "text", &w->items[number].text);
    put_literal(w->out, "}");
    responses_event_close(w);
}

static void end_reasoning(struct responses_writer *w, struct response_place *place)
{
    struct response_item *item = &w->items[place->item];
    if (w->out && item->text.len)
        tell_thought_done(w, place->item);
    if (!responses_is_own(w)) {
        struct responses_proof proof = {
            .from = w->base.way->from, .signature = place->signature, .encrypted = item->encrypted};
        item->encrypted = responses_write_proof(&w->base.arena, &proof);
    }
    responses_item_end(w, place->item);
}

/* ------------------------------------------------------------------- images, and the rest */

static void begin_image(struct responses_writer *w, struct response_place *place,
                        const struct answer_event *event)
{
    struct text id = {NULL, 0};
    if (responses_is_own(w) && event->raw.at)
        id = member_string(member_find(event->raw, TEXT("id")));
    responses_leave_message(w);
    place->item = responses_item_begin(w, PART_IMAGE, id, "ig");
    w->items[place->item].media_type = responses_keep(w, event->media_type);
    place->is_known = true;
    responses_event_tell_item(w, place->item, false);
}

/* An item of the target's own: only of this dialect, and told when it is whole. */
static void add_raw(struct responses_writer *w, struct response_place *place, struct text json)
{
    if (!responses_is_own(w))
        return;
    if (place->kind != PART_RAW) {
        if (place->is_known && place->kind != PART_TEXT && place->kind != PART_REFUSAL)
            w->items[place->item].raw = responses_keep(w, json);
        return;
    }
    responses_leave_message(w);
    place->item = responses_item_begin(w, PART_RAW, TEXT("raw"), "raw");
    w->items[place->item].raw = responses_keep(w, json);
    responses_event_tell_item(w, place->item, false);
    responses_item_end(w, place->item);
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
    *place = (struct response_place){.kind = event->part_kind,
                                     .id = responses_keep(w, event->id),
                                     .name = responses_keep(w, event->name)};
    return place;
}

void responses_part_begin(struct responses_writer *w, const struct answer_event *event)
{
    struct response_place *place = place_new(w, event);
    if (!place)
        return;
    if (place->kind == PART_REASONING)
        begin_reasoning(w, place);
    else if (place->kind == PART_CALL)
        responses_call_begin(w, place, event->raw);
    else if (place->kind == PART_IMAGE)
        begin_image(w, place, event);
    else if (place->kind != PART_RAW && place->kind != PART_REFUSAL)
        place->kind = PART_TEXT; /* what is said in it is text, of audio its words */
}

void responses_part_end(struct responses_writer *w, struct response_place *place)
{
    place->is_ended = true;
    if (place->kind == PART_REASONING)
        end_reasoning(w, place);
    else if (place->kind == PART_CALL)
        responses_call_end(w, place);
    else if (place->kind == PART_IMAGE)
        responses_item_end(w, place->item);
    else if (place->kind != PART_RAW)
        responses_text_end(w, place);
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
        responses_text_add(w, place, more);
}

/* What is about a part. */
void responses_part_take(struct responses_writer *w, const struct answer_event *event)
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
            responses_call_add(w, place, event->text);
        break;
    case ANSWER_SIGNATURE:
        place->signature = responses_keep(w, event->text);
        break;
    case ANSWER_ENCRYPTED:
        if (place->kind == PART_REASONING)
            w->items[place->item].encrypted = responses_keep(w, event->text);
        break;
    case ANSWER_DATA:
        if (place->kind == PART_IMAGE)
            rope_add(&w->items[place->item].text, &w->base.arena, event->text);
        break;
    case ANSWER_CITATION:
        if (place->kind == PART_TEXT)
            responses_text_cite(w, place, event->citation);
        break;
    case ANSWER_RAW:
        add_raw(w, place, event->raw);
        break;
    case ANSWER_PART_END:
        responses_part_end(w, place);
        break;
    default:
        break;
    }
}

/* What was never closed is closed. The last message was cut when there was no room for more. */
void responses_close_all(struct responses_writer *w)
{
    for (size_t i = 0; i < w->place_count; i++)
        if (!w->places[i].is_ended)
            responses_part_end(w, &w->places[i]);
    for (size_t i = 0; i < w->item_count; i++) {
        if (!w->items[i].is_done)
            w->items[i].is_cut = i + 1 == w->item_count && w->finish == FINISH_LENGTH;
        responses_item_end(w, i);
    }
}
