/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/openai_responses_events.h"

void responses_event_open(struct responses_writer *w, const char *type)
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
void responses_event_close(struct responses_writer *w)
{
    char *at = w->out->data + w->out->begin + w->data_at, *end = w->out->data + w->out->end;
    for (char *line = at; (line = memchr(line, '\n', (size_t)(end - line))) != NULL;)
        *line = ' ';
    for (char *line = at; (line = memchr(line, '\r', (size_t)(end - line))) != NULL;)
        *line = ' ';
    put_literal(w->out, "}\n\n");
}

void responses_event_tell_response(struct responses_writer *w, const char *type, const char *status,
                                   struct text error)
{
    if (!w->out)
        return;
    responses_event_open(w, type);
    put_literal(w->out, ",\"response\":");
    response_put(w, status, error, w->out);
    responses_event_close(w);
}

void responses_event_tell_item(struct responses_writer *w, size_t number, bool done)
{
    if (!w->out)
        return;
    responses_event_open(w, done ? "response.output_item.done" : "response.output_item.added");
    put_number(w->out, "output_index", (int64_t)number);
    put_literal(w->out, ",\"item\":");
    response_put_item(&w->items[number], done, w->out);
    responses_event_close(w);
}

/* An event about an item, to which the caller adds. */
void responses_event_open_about(struct responses_writer *w, const char *type, size_t item)
{
    responses_event_open(w, type);
    put_inner(w->out, "item_id", w->items[item].id);
    put_number(w->out, "output_index", (int64_t)item);
}

void responses_event_open_delta(struct responses_writer *w, const char *type, size_t item,
                                const char *place, size_t number, struct text delta)
{
    if (!w->out)
        return;
    responses_event_open_about(w, type, item);
    if (place)
        put_number(w->out, place, (int64_t)number);
    put_inner(w->out, "delta", delta);
}

void responses_event_put_rope(struct responses_writer *w, const char *name, const struct rope *rope)
{
    put_inner(w->out, name, TEXT(""));
    w->out->end--; /* the closing quote */
    rope_put(rope, w->out);
    put_literal(w->out, "\"");
}
