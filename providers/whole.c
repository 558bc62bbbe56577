/* SPDX-License-Identifier: Apache-2.0 */
/*
 * translator.h: a whole answer made of the events that say it, and said again as events.
 */
#include <string.h>

#include "providers/rope.h"
#include "providers/translator.h"

/* A part whose text still grows; it goes into the arena when the part ends. */
struct growing {
    unsigned choice, part;
    struct buffer text, data; /* <data>: of an image or of audio */
    bool used;
};

static struct text keep(struct gathering *gather, struct text t)
{
    gather->bytes += t.len;
    if (gather->bytes > gather->bytes_max)
        gather->too_long = true;
    if (t.at == NULL || gather->too_long)
        return t.at ? (struct text){"", 0} : t;
    return arena_copy(gather->arena, t);
}

static struct whole_choice *choice_of(struct gathering *gather, unsigned number)
{
    struct whole_answer *whole = &gather->whole;
    if (number >= CHAT_CHOICES_MAX)
        return NULL;
    if (number >= whole->choice_count) {
        struct whole_choice *more =
            arena_new(gather->arena, (number + 1) * sizeof(struct whole_choice));
        if (whole->choice_count)
            memcpy(more, whole->choices, whole->choice_count * sizeof(*more));
        whole->choices = more;
        whole->choice_count = number + 1;
    }
    return &whole->choices[number];
}

static struct part *part_of(struct gathering *gather, const struct answer_event *event)
{
    struct whole_choice *choice = choice_of(gather, event->choice);
    if (!choice || event->part >= choice->part_count)
        return NULL;
    return &choice->parts[event->part];
}

static struct growing *open_of(struct gathering *gather, const struct answer_event *event)
{
    for (size_t i = 0; i < gather->open_count; i++) {
        struct growing *open = &gather->open[i];
        if (open->used && open->choice == event->choice && open->part == event->part)
            return open;
    }
    return NULL;
}

static struct growing *open_new(struct gathering *gather)
{
    for (size_t i = 0; i < gather->open_count; i++)
        if (!gather->open[i].used)
            return &gather->open[i];
    gather->open = arena_grow(gather->arena, gather->open, gather->open_count, &gather->open_room,
                              sizeof(*gather->open));
    return &gather->open[gather->open_count++];
}

static void begin_part(struct gathering *gather, const struct answer_event *event)
{
    struct whole_choice *choice = choice_of(gather, event->choice);
    if (!choice || event->part != choice->part_count || event->part >= CHAT_PARTS_MAX)
        return;
    choice->parts = arena_grow(gather->arena, choice->parts, choice->part_count, &choice->part_room,
                               sizeof(struct part));
    choice->parts[choice->part_count++] = (struct part){
        .kind = event->part_kind,
        .id = keep(gather, event->id),
        .name = keep(gather, event->name),
        .media_type = keep(gather, event->media_type),
        .from = gather->whole.from,
    };
    struct growing *open = open_new(gather);
    *open = (struct growing){.choice = event->choice, .part = event->part, .used = true};
    buffer_init(&open->text, gather->bytes_max);
    buffer_init(&open->data, gather->bytes_max);
}

static void add(struct gathering *gather, struct buffer *to, struct text more)
{
    gather->bytes += more.len;
    if (gather->bytes > gather->bytes_max)
        gather->too_long = true;
    else
        buffer_append_text(to, more);
}

/* Room for one more, doubled where it is full: what is left behind in the arena is no more than
 * what is there. */
static struct citation *next_citation(struct gathering *gather, struct part *part)
{
    size_t count = part->citation_count;
    if ((count & (count - 1)) == 0) {
        struct citation *more = arena_new(gather->arena, (count ? 2 * count : 1) * sizeof(*more));
        if (count)
            memcpy(more, part->citations, count * sizeof(*more));
        part->citations = more;
    }
    part->citation_count++;
    return &part->citations[count];
}

static void add_citation(struct gathering *gather, struct part *part, const struct citation *said)
{
    gather->bytes += sizeof(*said);
    if (gather->bytes > gather->bytes_max)
        gather->too_long = true;
    if (gather->too_long)
        return;
    *next_citation(gather, part) = (struct citation){.url = keep(gather, said->url),
                                                     .title = keep(gather, said->title),
                                                     .quote = keep(gather, said->quote),
                                                     .start = said->start,
                                                     .end = said->end,
                                                     .raw = keep(gather, said->raw),
                                                     .from = said->from};
}

static struct text kept_of(struct gathering *gather, struct buffer *buffer)
{
    return arena_copy(gather->arena, buffer_text(buffer));
}

static void end_part(struct gathering *gather, struct part *part, struct growing *open)
{
    switch (part->kind) {
    case PART_CALL:
        part->arguments = object_of_inner(gather->arena, kept_of(gather, &open->text));
        break;
    case PART_RAW:
        break;
    case PART_TEXT:
    case PART_REFUSAL:
    case PART_REASONING:
    case PART_RESULT:
    case PART_IMAGE:
    case PART_AUDIO:
    case PART_VIDEO:
    case PART_FILE:
        part->text = kept_of(gather, &open->text);
        if (buffer_length(&open->data))
            part->data = kept_of(gather, &open->data);
        break;
    }
    buffer_done(&open->text);
    buffer_done(&open->data);
    open->used = false;
}

/* What is about a part. */
static void take_content(struct gathering *gather, const struct answer_event *event)
{
    struct part *part = part_of(gather, event);
    struct growing *open = open_of(gather, event);
    if (!part)
        return;
    switch (event->kind) {
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
        if (open)
            add(gather, &open->text, event->text);
        break;
    case ANSWER_DATA:
        if (open)
            add(gather, &open->data, event->text);
        break;
    case ANSWER_SIGNATURE:
        part->signature = keep(gather, event->text);
        break;
    case ANSWER_ENCRYPTED:
        part->encrypted = keep(gather, event->text);
        break;
    case ANSWER_CITATION:
        add_citation(gather, part, event->citation);
        break;
    case ANSWER_RAW:
        part->raw = keep(gather, event->raw);
        break;
    case ANSWER_PART_END:
        if (open)
            end_part(gather, part, open);
        break;
    case ANSWER_BEGIN:
    case ANSWER_PART:
    case ANSWER_LOGPROBS:
    case ANSWER_FINISH:
    case ANSWER_USAGE:
    case ANSWER_FIELD:
    case ANSWER_FAIL:
    case ANSWER_END:
        break;
    }
}

static void take_begin(struct gathering *gather, const struct answer_event *event)
{
    gather->whole.id = keep(gather, event->id);
    gather->whole.model = keep(gather, event->model);
    gather->whole.created = event->created;
}

/* Arrays that come in pieces become one, when all has come. */
static void take_logprobs(struct gathering *gather, const struct answer_event *event)
{
    struct text more = event->raw;
    if (!choice_of(gather, event->choice) || more.len < 3 || more.at[0] != '[')
        return;
    gather->bytes += more.len;
    if (gather->bytes > gather->bytes_max) {
        gather->too_long = true;
        return;
    }
    if (!gather->logprobs)
        gather->logprobs = arena_new(gather->arena, CHAT_CHOICES_MAX * sizeof(*gather->logprobs));
    struct rope *rope = &gather->logprobs[event->choice];
    rope_add(rope, gather->arena, rope->len ? TEXT(",") : TEXT("["));
    rope_add(rope, gather->arena, text_head(text_from(more, 1), more.len - 2));
}

static void end_logprobs(struct gathering *gather)
{
    for (size_t i = 0; gather->logprobs && i < gather->whole.choice_count; i++) {
        struct rope *rope = &gather->logprobs[i];
        if (!rope->len)
            continue;
        rope_add(rope, gather->arena, TEXT("]"));
        gather->whole.choices[i].logprobs = rope_text(rope, gather->arena);
    }
    gather->logprobs = NULL;
}

static void take_field(struct gathering *gather, const struct answer_event *event)
{
    struct whole_answer *whole = &gather->whole;
    size_t i = 0;
    while (i < whole->field_count && !text_equal(whole->fields[i].name, event->name))
        i++;
    if (i == CHAT_FIELDS_MAX)
        return;
    whole->fields[i].value = keep(gather, event->raw);
    if (i == whole->field_count) {
        whole->fields[i].name = keep(gather, event->name);
        whole->field_count++;
    }
}

static void take_finish(struct gathering *gather, const struct answer_event *event)
{
    struct whole_choice *choice = choice_of(gather, event->choice);
    if (!choice)
        return;
    choice->finish = event->finish;
    choice->stop_sequence = keep(gather, event->text);
    choice->reason = keep(gather, event->name);
}

/* What has not ended is there all the same: as much of it as came. */
static void close_all(struct gathering *gather)
{
    end_logprobs(gather);
    for (size_t i = 0; i < gather->open_count; i++) {
        struct growing *open = &gather->open[i];
        if (open->used)
            end_part(gather, &gather->whole.choices[open->choice].parts[open->part], open);
    }
}

static void gathering_take(struct answer_sink *sink, const struct answer_event *event)
{
    struct gathering *gather = (struct gathering *)sink; /* its first member */
    struct whole_answer *whole = &gather->whole;
    switch (event->kind) {
    case ANSWER_BEGIN:
        take_begin(gather, event);
        break;
    case ANSWER_PART:
        begin_part(gather, event);
        break;
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_CITATION:
    case ANSWER_RAW:
    case ANSWER_PART_END:
        take_content(gather, event);
        break;
    case ANSWER_LOGPROBS:
        take_logprobs(gather, event);
        break;
    case ANSWER_FINISH:
        take_finish(gather, event);
        break;
    case ANSWER_USAGE:
        whole->usage = *event->usage;
        whole->has_usage = true;
        break;
    case ANSWER_FIELD:
        take_field(gather, event);
        break;
    case ANSWER_FAIL:
        whole->failed = true;
        whole->fault = event->fault;
        whole->message = keep(gather, event->text);
        close_all(gather);
        break;
    case ANSWER_END:
        whole->ended = true;
        close_all(gather);
        break;
    }
}

void gathering_begin(struct gathering *gather, struct arena *arena, const struct translator *from,
                     size_t bytes_max)
{
    *gather = (struct gathering){.sink = {gathering_take}, .arena = arena, .bytes_max = bytes_max};
    gather->whole.from = from;
}

void gathering_done(struct gathering *gather)
{
    for (size_t i = 0; i < gather->open_count; i++) {
        buffer_done(&gather->open[i].text);
        buffer_done(&gather->open[i].data);
    }
}

/* ------------------------------------------------------------------------------- saying it */

static void say_text(struct answer_sink *sink, struct answer_event event, enum event_kind kind,
                     struct text text)
{
    if (text.at == NULL || (text.len == 0 && kind != ANSWER_SIGNATURE))
        return;
    event.kind = kind;
    event.text = text;
    sink->take(sink, &event);
}

/* The arguments of a call, as a piece of JSON text inside a string. */
static void say_arguments(struct answer_sink *sink, struct answer_event event, struct text json)
{
    struct buffer inner;
    buffer_init(&inner, SIZE_MAX / 2);
    put_json_inner(&inner, json);
    say_text(sink, event, ANSWER_ARGUMENTS, buffer_text(&inner));
    buffer_done(&inner);
}

static void say_part(struct answer_sink *sink, unsigned choice, unsigned number,
                     const struct part *part)
{
    struct answer_event event = {.kind = ANSWER_PART,
                                 .part_kind = part->kind,
                                 .choice = choice,
                                 .part = number,
                                 .id = part->id,
                                 .name = part->name,
                                 .media_type = part->media_type};
    sink->take(sink, &event);
    if (part->raw.at) { /* in front: how the part is begun may depend on it */
        struct answer_event raw = event;
        raw.kind = ANSWER_RAW;
        raw.raw = part->raw;
        sink->take(sink, &raw);
    }
    say_text(sink, event, ANSWER_TEXT, part->text);
    if (part->kind == PART_CALL)
        say_arguments(sink, event, part->arguments);
    say_text(sink, event, ANSWER_SIGNATURE, part->signature);
    say_text(sink, event, ANSWER_ENCRYPTED, part->encrypted);
    say_text(sink, event, ANSWER_DATA, part->data);
    for (size_t i = 0; i < part->citation_count; i++) {
        struct answer_event cited = event;
        cited.kind = ANSWER_CITATION;
        cited.citation = &part->citations[i];
        sink->take(sink, &cited);
    }
    event.kind = ANSWER_PART_END;
    sink->take(sink, &event);
}

static void say_choice(struct answer_sink *sink, unsigned number, const struct whole_choice *choice)
{
    for (size_t i = 0; i < choice->part_count; i++)
        say_part(sink, number, (unsigned)i, &choice->parts[i]);
    struct answer_event event = {.kind = ANSWER_LOGPROBS, .choice = number};
    event.raw = choice->logprobs;
    if (event.raw.at)
        sink->take(sink, &event);
    event = (struct answer_event){.kind = ANSWER_FINISH,
                                  .choice = number,
                                  .finish = choice->finish,
                                  .text = choice->stop_sequence,
                                  .name = choice->reason};
    if (choice->finish != FINISH_NONE)
        sink->take(sink, &event);
}

void whole_say(const struct whole_answer *whole, struct answer_sink *sink)
{
    struct answer_event event = {
        .kind = ANSWER_BEGIN, .id = whole->id, .model = whole->model, .created = whole->created};
    sink->take(sink, &event);
    for (size_t i = 0; i < whole->choice_count; i++)
        say_choice(sink, (unsigned)i, &whole->choices[i]);
    for (size_t i = 0; i < whole->field_count; i++) {
        event = (struct answer_event){
            .kind = ANSWER_FIELD, .name = whole->fields[i].name, .raw = whole->fields[i].value};
        sink->take(sink, &event);
    }
    event = (struct answer_event){.kind = ANSWER_USAGE, .usage = &whole->usage};
    if (whole->has_usage)
        sink->take(sink, &event);
    event = (struct answer_event){.kind = whole->failed ? ANSWER_FAIL : ANSWER_END,
                                  .fault = whole->fault,
                                  .text = whole->message};
    sink->take(sink, &event);
}
