/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A stream of events. Pieces of text go into channels (the words of a choice, the arguments of a
 * tool call, ...) and are hunted through when their event is about to leave: from where it has them
 * on, with all that has followed in view. So each byte is a possible beginning once, and a piece
 * costs what it weighs.
 */

#include "gateway/base/memory.h"
#include "gateway/base/utf8.h"
#include "policy/guard_inside.h"

enum {
    CHANNELS_MAX = 512,
    CHOICES_MAX = 256,
    BEHIND_BYTES = 1024, /* text kept for what looks back */
    BEHIND_SLACK = 4096,
    EVENT_BYTES_PER_TEXT = 64, /* what an event is larger than its text, at most on average */
    HELD_MAX = 4 * 1024 * 1024,
    GATHERED_MAX = 32 * 1024 * 1024,
};

/* A text that comes in pieces. Offsets count from its beginning. */
struct channel {
    uint64_t id;
    enum text_kind kind;
    struct buffer text; /* unescaped; its first byte is the byte <base> */
    size_t base, clean; /* no match begins before <clean> that is not marked */
    size_t *resume;     /* where the last match of each unit has ended, from <base> on */
    struct lexer lexer; /* at <base> */
    struct marks marks; /* those that reach beyond what has left */
};

/* How much text each answer has had, in all its channels. */
struct choice {
    unsigned number;
    size_t total, finished; /* up to <finished> nothing more will follow */
};

struct piece {
    struct found found;      /* raw borrows from the event */
    struct channel *channel; /* NULL: a text that is looked at for itself */
    struct choice *choice;
    size_t begin, end; /* in the channel */
    size_t choice_end;
};

struct held {
    struct held *next;
    struct event event; /* its bytes are in <raw> */
    char *raw;
    size_t piece_count, piece_room;
    struct piece *pieces;
};

struct guard_stream {
    const struct guard *guard;
    enum guard_form form;
    uint64_t rules, schemas, webhooks;
    size_t window;
    bool gathers; /* nothing leaves before the end */
    bool ended, finish_all;
    bool text_left; /* an event with text has left */
    struct guard_verdict verdict;
    struct hunter *hunter;
    struct channel *channels[CHANNELS_MAX];
    size_t channel_count;
    struct choice choices[CHOICES_MAX];
    size_t choice_count;
    struct held *first, **last;
    size_t held_bytes, text_bytes;
    struct buffer gathered;
    struct held *incoming;
};

struct guard_stream *guard_stream_new(const struct guard *guard, uint64_t rules,
                                      enum guard_form form)
{
    struct guard_stream *stream = memory_new(sizeof(*stream));
    stream->guard = guard;
    stream->form = form;
    stream->rules = guard_only(guard, rules, TYPES_OF_TEXT);
    stream->schemas = guard_only(guard, rules, TYPE_SCHEMA);
    stream->webhooks = guard_only(guard, rules, TYPE_WEBHOOK);
    stream->gathers = (stream->schemas | stream->webhooks) != 0;
    stream->last = &stream->first;
    stream->hunter = hunter_new();
    buffer_init(&stream->gathered, SIZE_MAX / 2); /* see too_much() */
    for (size_t i = 0; i < guard->count; i++)
        if ((stream->rules >> i & 1) && guard->rules[i].stream_window > stream->window)
            stream->window = guard->rules[i].stream_window;
    return stream;
}

static void free_held(struct held *held)
{
    event_done(&held->event);
    memory_free(held->raw);
    memory_free(held->pieces);
    memory_free(held);
}

void guard_stream_free(struct guard_stream *stream)
{
    if (!stream)
        return;
    for (size_t i = 0; i < stream->channel_count; i++) {
        buffer_done(&stream->channels[i]->text);
        marks_done(&stream->channels[i]->marks);
        memory_free(stream->channels[i]->resume);
        memory_free(stream->channels[i]);
    }
    while (stream->first) {
        struct held *held = stream->first;
        stream->first = held->next;
        free_held(held);
    }
    buffer_done(&stream->gathered);
    hunter_free(stream->hunter);
    memory_free(stream);
}

size_t guard_stream_held(const struct guard_stream *stream)
{
    return stream->held_bytes + buffer_length(&stream->gathered);
}

bool guard_stream_has_begun(const struct guard_stream *stream)
{
    return stream->text_left;
}

/* ---------------------------------------------------------------------------- coming in */

static struct channel *channel_for(struct guard_stream *stream, const struct found *found)
{
    for (size_t i = stream->channel_count; i-- > 0;)
        if (stream->channels[i]->id == found->channel && stream->channels[i]->kind == found->kind)
            return stream->channels[i];
    if (stream->channel_count == CHANNELS_MAX)
        return NULL;
    struct channel *channel = memory_new(sizeof(*channel));
    channel->id = found->channel;
    channel->kind = found->kind;
    channel->resume = memory_new(stream->guard->units * sizeof(size_t) + 1);
    buffer_init(&channel->text, SIZE_MAX / 2); /* bounded by the window and the longest event */
    stream->channels[stream->channel_count++] = channel;
    return channel;
}

static struct choice *choice_for(struct guard_stream *stream, unsigned number)
{
    for (size_t i = 0; i < stream->choice_count; i++)
        if (stream->choices[i].number == number)
            return &stream->choices[i];
    if (stream->choice_count == CHOICES_MAX)
        return NULL;
    struct choice *choice = &stream->choices[stream->choice_count++];
    choice->number = number;
    return choice;
}

static void append(struct piece *piece)
{
    struct buffer *text = &piece->channel->text;
    struct text raw = piece->found.raw;
    piece->begin = piece->channel->base + buffer_length(text);
    char *room = buffer_room(text, raw.len);
    size_t len = raw.len;
    if (piece->found.kind == TEXT_RAW)
        text_mend(raw, room);
    else if (piece->found.escaped)
        len = text_unescape(raw, room);
    else
        memcpy(room, raw.at, raw.len);
    buffer_grow(text, len);
    piece->end = piece->begin + len;
}

static bool take(void *with, const struct found *found)
{
    struct guard_stream *stream = with;
    struct held *held = stream->incoming;
    if (found->kind == TEXT_DROP || found->raw.len == 0)
        return true;
    struct choice *choice = choice_for(stream, found->choice);
    if (found->kind == TEXT_FINISH) {
        if (choice)
            choice->finished = SIZE_MAX; /* what comes in this event too */
        return true;
    }
    if (held->piece_count == held->piece_room) {
        held->piece_room = held->piece_room ? held->piece_room * 2 : 1;
        held->pieces = memory_resize(held->pieces, held->piece_room * sizeof(*held->pieces));
    }
    struct piece *piece = &held->pieces[held->piece_count++];
    *piece = (struct piece){.found = *found, .choice = choice};
    stream->finish_all = stream->finish_all || found->whole;
    if (!found->whole && choice)
        piece->channel = channel_for(stream, found);
    if (!piece->channel)
        return true;
    append(piece);
    choice->total += piece->end - piece->begin;
    piece->choice_end = choice->total;
    stream->text_bytes += piece->end - piece->begin;
    return true;
}

static void finish_choices(struct guard_stream *stream)
{
    for (size_t i = 0; i < stream->choice_count; i++)
        if (stream->finish_all || stream->choices[i].finished == SIZE_MAX)
            stream->choices[i].finished = stream->choices[i].total;
    stream->finish_all = false;
}

/* Keep the event: its bytes move, and what borrows from them with them. */
static void keep(struct guard_stream *stream, struct held *held)
{
    struct event *event = &held->event;
    const char *was = event->raw.at;
    held->raw = memory_new(event->raw.len + 1);
    memcpy(held->raw, was, event->raw.len);
    event->raw.at = held->raw;
    if (!event->joined) {
        event->data.at = held->raw + (event->data.at - was);
        for (size_t i = 0; i < held->piece_count; i++)
            held->pieces[i].found.raw.at = held->raw + (held->pieces[i].found.raw.at - was);
    }
    *stream->last = held;
    stream->last = &held->next;
    stream->held_bytes += event->raw.len;
}

/* ---------------------------------------------------------------------------- going out */

static bool may_leave(const struct guard_stream *stream, const struct held *held)
{
    if (stream->ended)
        return true;
    size_t most = HELD_MAX + EVENT_BYTES_PER_TEXT * stream->window;
    if (stream->held_bytes > most) /* one choice waits in silence while others go on */
        return true;
    for (size_t i = 0; i < held->piece_count; i++) {
        const struct piece *piece = &held->pieces[i];
        const struct choice *choice = piece->choice;
        if (piece->channel && choice->total < piece->choice_end + stream->window &&
            choice->finished < piece->choice_end)
            return false;
    }
    return true;
}

/* How long the first <raw_len> bytes are unescaped; a character that is cut counts as a whole one
 * or not at all. */
static size_t plain_length(struct text raw, size_t raw_len, bool with_cut)
{
    size_t at = 0, plain = 0;
    const char *end = raw.at + raw.len;
    while (at < raw_len) {
        const char *back = memchr(raw.at + at, '\\', raw_len - at);
        size_t step = back ? (size_t)(back - raw.at) - at : raw_len - at;
        at += step;
        plain += step;
        if (!back)
            break;
        struct unit unit;
        unit_read(back, end, &unit);
        at += unit.raw;
        plain += at <= raw_len || with_cut ? unit.plain : 0;
    }
    return plain;
}

/* New marks that old ones cover go; what reaches beyond an old one begins behind it. */
static void settle_marks(struct marks *marks, size_t first)
{
    size_t covered = first ? marks->list[first - 1].end : 0, kept = first;
    for (size_t i = first; i < marks->count; i++) {
        struct mark mark = marks->list[i];
        if (mark.begin < covered)
            mark.begin = covered;
        if (mark.begin < mark.end)
            marks->list[kept++] = mark;
    }
    marks->count = kept;
}

static void move_marks(struct marks *marks, size_t first, size_t by)
{
    for (size_t i = first; i < marks->count; i++) {
        marks->list[i].begin += by;
        marks->list[i].end += by;
    }
}

/* Arguments: the same as in hunt_inside(), for a part of the text. Offsets are from <base>. */
static bool hunt_arguments(struct guard_stream *stream, struct channel *channel, struct hunt hunt)
{
    struct marks *marks = &channel->marks;
    struct text json = hunt.text;
    size_t first = marks->count, floor = hunt.from;
    char *plain = NULL;
    if (memchr(json.at, '\\', json.len)) {
        plain = memory_new(json.len);
        hunt.text = (struct text){plain, text_unescape(json, plain)};
        hunt.from = plain_length(json, hunt.from, false);
        hunt.until = plain_length(json, hunt.until, true);
    }
    bool passes = guard_hunt(stream->guard, stream->rules, &hunt, &stream->verdict, marks);
    if (passes && plain)
        marks_lead_back(marks, first, json);
    memory_free(plain);
    move_marks(marks, first, channel->base);
    settle_marks(marks, first);
    if (!passes || marks->count == first)
        return passes;
    size_t rule = marks->list[first].rule;
    move_marks(marks, first, 0 - channel->base);
    passes = marks_dress(marks, first, channel->lexer, json, floor);
    move_marks(marks, first, channel->base);
    return passes || guard_stop(stream->guard, rule, &stream->verdict);
}

static bool hunt_piece(struct guard_stream *stream, const struct piece *piece)
{
    struct channel *channel = piece->channel;
    if (channel->clean >= piece->end)
        return true;
    struct hunt hunt = {
        .text = buffer_text(&channel->text),
        .from = channel->clean - channel->base,
        .until = piece->end - channel->base,
        .more = !stream->ended && piece->choice->finished < piece->choice_end,
        .hunter = stream->hunter,
    };
    channel->clean = piece->end;
    if (channel->kind == TEXT_JSON)
        return hunt_arguments(stream, channel, hunt);
    hunt.resume = channel->resume;
    size_t first = channel->marks.count;
    bool passes =
        guard_hunt(stream->guard, stream->rules, &hunt, &stream->verdict, &channel->marks);
    move_marks(&channel->marks, first, channel->base);
    marks_sort(&channel->marks, 0);
    return passes;
}

/* What has left is forgotten, but for a little that what follows may look back to. */
static void forget(const struct guard *guard, struct channel *channel, size_t left)
{
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < channel->marks.count; i++)
        if (channel->marks.list[i].end > left)
            channel->marks.list[kept++] = channel->marks.list[i];
    channel->marks.count = kept;
    size_t behind = left - channel->base;
    if (behind < BEHIND_BYTES + BEHIND_SLACK)
        return;
    struct text text = buffer_text(&channel->text);
    while (at < behind - BEHIND_BYTES ||
           (at < behind && utf8_is_tail((unsigned char)text.at[at]))) {
        struct unit unit = {.raw = 1};
        if (channel->kind == TEXT_JSON && text.at[at] == '\\')
            unit_read(text.at + at, text.at + text.len, &unit);
        at += unit.raw;
    }
    lexer_advance(&channel->lexer, text_head(text, at));
    buffer_drop(&channel->text, at);
    channel->base += at;
    for (size_t i = 0; i < guard->units; i++)
        channel->resume[i] -= at < channel->resume[i] ? at : channel->resume[i];
}

/* The caller has no room for more: the first rule takes the blame. */
static bool stop_first(struct guard_stream *stream)
{
    size_t i = 0;
    while (!((stream->rules | stream->schemas | stream->webhooks) >> i & 1))
        i++;
    return guard_stop(stream->guard, i, &stream->verdict);
}

static bool is_touched(const struct marks *marks, size_t begin, size_t end)
{
    for (size_t i = 0; i < marks->count; i++)
        if (marks->list[i].begin < end && marks->list[i].end > begin)
            return true;
    return false;
}

/* Hunt through one piece; what goes is cut out of <data>, the new data so far, of which *copied
 * says how much of the old one is in it. */
static bool let_go_of(struct guard_stream *stream, struct text old, const struct piece *piece,
                      struct buffer *data, size_t *copied)
{
    struct marks own = {0};
    const struct found *found = &piece->found;
    const struct marks *marks = piece->channel ? &piece->channel->marks : &own;
    bool passes = piece->channel ? hunt_piece(stream, piece)
                                 : guard_hunt_whole(stream->guard, stream->rules, found,
                                                    stream->hunter, &stream->verdict, &own);
    if (passes && is_touched(marks, piece->begin, piece->channel ? piece->end : SIZE_MAX)) {
        size_t at = (size_t)(found->raw.at - old.at);
        buffer_append(data, old.at + *copied, at - *copied);
        guard_rewrite(stream->guard, marks, found->raw, found->escaped, piece->begin, data);
        *copied = at + found->raw.len;
    }
    if (piece->channel)
        forget(stream->guard, piece->channel, piece->end);
    marks_done(&own);
    return passes;
}

static bool write_changed(struct guard_stream *stream, const struct event *event,
                          struct buffer *data, struct buffer *out)
{
    struct buffer again;
    buffer_init(&again, SIZE_MAX / 2);
    stream->verdict.changed = true;
    bool dropped = guard_drop_tokens(TEXTS_OF_EVENTS, buffer_text(data), &again);
    bool fits = event_write(event, buffer_text(dropped ? &again : data), out);
    buffer_done(&again);
    return fits;
}

/* False: blocked. */
static bool let_go(struct guard_stream *stream, struct held *held, struct buffer *out)
{
    struct buffer data;
    struct text old = held->event.data;
    size_t copied = 0;
    buffer_init(&data, SIZE_MAX / 2); /* not more than the event and its markers */
    bool passes = true, fits = true;
    for (size_t i = 0; i < held->piece_count && passes; i++)
        passes = let_go_of(stream, old, &held->pieces[i], &data, &copied);
    if (passes && copied) {
        buffer_append_text(&data, text_from(old, copied));
        fits = write_changed(stream, &held->event, &data, out);
    } else if (passes) {
        fits = buffer_append_text(out, held->event.raw);
    }
    buffer_done(&data);
    return passes && (fits || stop_first(stream));
}

static bool release(struct guard_stream *stream, struct buffer *out)
{
    bool passes = true;
    while (passes && stream->first && may_leave(stream, stream->first)) {
        struct held *held = stream->first;
        stream->first = held->next;
        if (!stream->first)
            stream->last = &stream->first;
        stream->held_bytes -= held->event.raw.len;
        passes = let_go(stream, held, stream->gathers ? &stream->gathered : out);
        stream->text_left = stream->text_left || held->piece_count > 0;
        free_held(held);
    }
    return passes;
}

/* Too much to be looked at as a whole: as if the webhook had failed, or the schema not fitted. */
static bool give_up_gathering(struct guard_stream *stream, struct buffer *out)
{
    for (size_t i = 0; i < stream->guard->count; i++) {
        const struct guard_rule *rule = &stream->guard->rules[i];
        if ((stream->schemas >> i & 1) && !guard_match(stream->guard, i, &stream->verdict))
            return false;
        if ((stream->webhooks >> i & 1) && !rule->allow_on_error)
            return guard_stop(stream->guard, i, &stream->verdict);
    }
    stream->gathers = false;
    bool fits = buffer_append_text(out, buffer_text(&stream->gathered));
    buffer_done(&stream->gathered);
    return fits || stop_first(stream);
}

static bool is_too_much(const struct guard_stream *stream)
{
    return stream->gathers &&
           (stream->text_bytes > GUARD_TEXT_MAX || guard_stream_held(stream) > GATHERED_MAX);
}

bool guard_stream_event(struct guard_stream *stream, struct text event,
                        struct guard_verdict *verdict, struct buffer *out)
{
    bool passes = !stream->verdict.blocks;
    struct event parsed;
    while (passes && event_next(&event, stream->form, &parsed)) {
        struct held *held = memory_new(sizeof(*held));
        held->event = parsed;
        stream->incoming = held;
        event_texts(&held->event, take, stream);
        finish_choices(stream);
        keep(stream, held);
        passes = (!is_too_much(stream) || give_up_gathering(stream, out)) && release(stream, out);
    }
    *verdict = stream->verdict;
    return passes;
}

static bool check_schemas(struct guard_stream *stream)
{
    struct guard_texts *texts = guard_texts_new(stream->form, buffer_text(&stream->gathered));
    bool passes = true;
    for (size_t i = 0; i < stream->guard->count; i++)
        for (size_t t = 0; (stream->schemas >> i & 1) && passes && t < guard_texts_count(texts);
             t++)
            if (guard_texts_is_answer(texts, t) &&
                !schema_fits(stream->guard->matchers[i].schema, guard_texts_at(texts, t),
                             stream->hunter))
                passes = guard_match(stream->guard, i, &stream->verdict);
    guard_texts_free(texts);
    return passes;
}

bool guard_stream_end(struct guard_stream *stream, struct guard_verdict *verdict,
                      struct buffer *out)
{
    stream->ended = true;
    bool passes = !stream->verdict.blocks && release(stream, out);
    if (passes && stream->gathers && stream->schemas)
        passes = check_schemas(stream);
    if (passes && stream->gathers) {
        passes = buffer_append_text(out, buffer_text(&stream->gathered)) || stop_first(stream);
        buffer_done(&stream->gathered);
    }
    *verdict = stream->verdict;
    return passes;
}

bool guard_stream_gathers(const struct guard_stream *stream)
{
    return stream->gathers;
}
