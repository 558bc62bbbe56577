/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses_events.h: text becomes the content of messages.
 */
#include "providers/openai_responses_events.h"

static size_t content_begin(struct responses_writer *w, size_t number, bool is_refusal)
{
    struct response_item *item = &w->items[number];
    item->contents = arena_grow(&w->base.arena, item->contents, item->content_count,
                                &item->content_room, sizeof(struct response_content));
    item->contents[item->content_count] =
        (struct response_content){.is_refusal = is_refusal, .is_open = true};
    w->is_refusal = w->is_refusal || is_refusal;
    if (w->out) {
        responses_event_open_about(w, "response.content_part.added", number);
        put_number(w->out, "content_index", (int64_t)item->content_count);
        put_literal(w->out, ",\"part\":");
        response_put_content(&item->contents[item->content_count], false, w->out);
        responses_event_close(w);
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
    return !responses_is_own(w) || (text_equal(last->id, place->id) && place->id.len);
}

static struct response_content *content_of(struct responses_writer *w, struct response_place *place)
{
    if (!place->is_known) {
        bool more = goes_on(w, place);
        struct text own_id = responses_is_own(w) ? place->id : (struct text){NULL, 0};
        if (!more) {
            responses_leave_message(w);
            place->item = responses_item_begin(w, PART_TEXT, own_id, "msg");
            w->items[place->item].phase =
                responses_is_own(w) ? place->name : (struct text){NULL, 0};
            responses_event_tell_item(w, place->item, false);
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

void responses_text_add(struct responses_writer *w, struct response_place *place, struct text more)
{
    struct response_content *content = content_of(w, place);
    rope_add(&content->text, &w->base.arena, more);
    content->characters += characters_of(more);
    if (!w->out)
        return;
    responses_event_open_delta(
        w, content->is_refusal ? "response.refusal.delta" : "response.output_text.delta",
        place->item, "content_index", place->content, more);
    if (!content->is_refusal)
        put_literal(w->out, ",\"logprobs\":[]");
    responses_event_close(w);
}

static void tell_citation(struct responses_writer *w, const struct response_place *place,
                          struct text json)
{
    const struct response_content *content = &w->items[place->item].contents[place->content];
    if (!w->out)
        return;
    responses_event_open_about(w, "response.output_text.annotation.added", place->item);
    put_number(w->out, "content_index", (int64_t)place->content);
    put_number(w->out, "annotation_index", content->annotation_count);
    put_literal(w->out, ",\"annotation\":");
    put_text(w->out, json);
    responses_event_close(w);
}

static void add_citation(struct responses_writer *w, const struct response_place *place,
                         const struct citation *citation)
{
    struct response_content *content = &w->items[place->item].contents[place->content];
    struct buffer json;
    buffer_init(&json, SIZE_MAX / 2);
    response_put_annotation(citation, content->characters, &json);
    if (content->annotation_count)
        rope_add(&content->annotations, &w->base.arena, TEXT(","));
    rope_add(&content->annotations, &w->base.arena, buffer_text(&json));
    tell_citation(w, place, buffer_text(&json));
    content->annotation_count++;
    buffer_done(&json);
}

/* One that does not say where waits until all of the text is there: it is about that. */
void responses_text_cite(struct responses_writer *w, struct response_place *place,
                         const struct citation *citation)
{
    struct response_content *content = content_of(w, place);
    bool has_place = citation->end >= 0 || (responses_is_own(w) && citation->raw.at);
    if (content->is_refusal || !content->is_open)
        return;
    if (has_place) {
        add_citation(w, place, citation);
        return;
    }
    content->waiting = arena_grow(&w->base.arena, content->waiting, content->waiting_count,
                                  &content->waiting_room, sizeof(struct citation));
    content->waiting[content->waiting_count++] =
        (struct citation){.url = responses_keep(w, citation->url),
                          .title = responses_keep(w, citation->title),
                          .start = -1,
                          .end = -1};
}

static void tell_text_done(struct responses_writer *w, const struct response_place *place,
                           const struct response_content *content)
{
    bool refusal = content->is_refusal;
    responses_event_open_about(w, refusal ? "response.refusal.done" : "response.output_text.done",
                               place->item);
    put_number(w->out, "content_index", (int64_t)place->content);
    responses_event_put_rope(w, refusal ? "refusal" : "text", &content->text);
    if (!refusal) {
        put_open(w->out, "logprobs", '[');
        rope_put(&content->logprobs, w->out);
        put_literal(w->out, "]");
    }
    responses_event_close(w);
    responses_event_open_about(w, "response.content_part.done", place->item);
    put_number(w->out, "content_index", (int64_t)place->content);
    put_literal(w->out, ",\"part\":");
    response_put_content(content, true, w->out);
    responses_event_close(w);
}

void responses_text_end(struct responses_writer *w, struct response_place *place)
{
    if (!place->is_known)
        return; /* nothing was said in it */
    struct response_content *content = content_of(w, place);
    for (size_t i = 0; i < content->waiting_count; i++)
        add_citation(w, place, &content->waiting[i]);
    content->is_open = false;
    if (w->out)
        tell_text_done(w, place, content);
    if (place->item + 1 != w->item_count && !responses_has_open_content(&w->items[place->item]))
        responses_item_end(w, place->item);
    struct responses_proof proof = {
        .from = w->base.way->from, .of = PROOF_OF_TEXT, .signature = place->signature};
    if (place->signature.len)
        responses_add_proof(w, &proof);
}

/* The last text that was begun is the one they are about. */
void responses_text_logprobs(struct responses_writer *w, struct text list)
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
