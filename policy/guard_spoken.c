/* SPDX-License-Identifier: Apache-2.0 */

/* All texts of a body or a stream, each once, to be shown to somebody and to be replaced. */

#include "gateway/base/json.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "policy/guard_inside.h"

struct spoken {
    uint64_t channel; /* of pieces */
    enum text_kind kind;
    bool whole;
    struct buffer text;
};

struct guard_texts {
    enum guard_form form;
    struct text body;
    struct spoken *list;
    size_t count, room, bytes;
    bool too_much;
    char *scratch; /* of the text that is looked at */
    size_t scratch_bytes;
};

/* <found> with its escapes resolved, until the next call. */
static struct text plain_of(struct guard_texts *texts, const struct found *found)
{
    if (texts->scratch_bytes < found->raw.len) {
        texts->scratch_bytes = found->raw.len * 2;
        texts->scratch = memory_resize(texts->scratch, texts->scratch_bytes);
    }
    if (found->kind == TEXT_RAW)
        text_mend(found->raw, texts->scratch);
    else if (!found->escaped)
        return found->raw;
    else
        return (struct text){texts->scratch, text_unescape(found->raw, texts->scratch)};
    return (struct text){texts->scratch, found->raw.len};
}

static bool is_text(const struct found *found)
{
    return found->kind != TEXT_DROP && found->kind != TEXT_FINISH && found->raw.len > 0 &&
           !(found->kind == TEXT_FILE && is_base64(found->raw));
}

/* The text that <found>, which says <plain>, is or is a piece of. In a body each is one of its own;
 * in a stream what is whole often says again what came in pieces. */
static size_t find(const struct guard_texts *texts, const struct found *found, struct text plain)
{
    for (size_t i = texts->count; i-- > 0 && form_is_stream(texts->form);) {
        const struct spoken *spoken = &texts->list[i];
        bool piece = !found->whole && !spoken->whole && spoken->channel == found->channel;
        if (piece || (found->whole && text_equal(buffer_text(&spoken->text), plain)))
            return i;
    }
    return SIZE_MAX;
}

static struct spoken *add(struct guard_texts *texts, const struct found *found)
{
    if (texts->count == texts->room) {
        texts->room = texts->room ? texts->room * 2 : 16;
        texts->list = memory_resize(texts->list, texts->room * sizeof(*texts->list));
    }
    struct spoken *spoken = &texts->list[texts->count++];
    *spoken =
        (struct spoken){.channel = found->channel, .kind = found->kind, .whole = found->whole};
    buffer_init(&spoken->text, GUARD_TEXT_MAX);
    return spoken;
}

static bool gather(void *with, const struct found *found)
{
    struct guard_texts *texts = with;
    if (!is_text(found))
        return true;
    struct text plain = plain_of(texts, found);
    size_t i = find(texts, found, plain);
    if (i != SIZE_MAX && found->whole)
        return true;
    texts->bytes += plain.len;
    if (texts->bytes > GUARD_TEXT_MAX || (i == SIZE_MAX && texts->count == GUARD_TEXTS_MAX)) {
        texts->too_much = true;
        return false;
    }
    struct spoken *spoken = i == SIZE_MAX ? add(texts, found) : &texts->list[i];
    buffer_append_text(&spoken->text, plain);
    return true;
}

static void gather_events(struct guard_texts *texts)
{
    struct text rest = texts->body;
    struct event event;
    while (!texts->too_much && event_next(&rest, texts->form, &event)) {
        event_texts(&event, gather, texts);
        event_done(&event);
    }
}

static enum text_set set_of(enum guard_form form)
{
    return form == GUARD_FORM_REQUEST ? TEXTS_OF_REQUESTS : TEXTS_OF_ANSWERS;
}

struct guard_texts *guard_texts_new(enum guard_form form, struct text body)
{
    struct guard_texts *texts = memory_new(sizeof(*texts));
    texts->form = form;
    texts->body = body;
    if (form_is_stream(form))
        gather_events(texts);
    else
        texts_find(set_of(form), body, gather, texts);
    if (!texts->too_much)
        return texts;
    guard_texts_free(texts);
    return NULL;
}

void guard_texts_free(struct guard_texts *texts)
{
    if (!texts)
        return;
    for (size_t i = 0; i < texts->count; i++)
        buffer_done(&texts->list[i].text);
    memory_free(texts->list);
    memory_free(texts->scratch);
    memory_free(texts);
}

size_t guard_texts_count(const struct guard_texts *texts)
{
    return texts->count;
}

struct text guard_texts_at(const struct guard_texts *texts, size_t i)
{
    return buffer_text(&texts->list[i].text);
}

bool guard_texts_is_answer(const struct guard_texts *texts, size_t i)
{
    return texts->list[i].kind == TEXT_ANSWER;
}

/* ----------------------------------------------------------------------------- replacing */

struct replacing {
    struct guard_texts texts; /* a copy, with a scratch of its own */
    const struct text *with;
    bool *written;      /* of texts in pieces: all of it stands in the first one */
    size_t at;          /* of a body: the index of the next text */
    struct text rest;   /* of what is read, behind what is in <made> */
    struct buffer made; /* what it becomes */
    bool failed, changed;
};

static bool write_string(struct buffer *out, struct text t, bool quotes)
{
    struct buffer string;
    buffer_init(&string, 6 * t.len + 2);
    json_write_string(&string, t);
    struct text quoted = buffer_text(&string);
    if (!quotes)
        quoted = (struct text){quoted.at + 1, quoted.len - 2};
    bool fits = buffer_append_text(out, quoted);
    buffer_done(&string);
    return fits;
}

/* Arguments that were JSON must stay it. */
static bool may_become(const struct spoken *spoken, struct text now)
{
    return spoken->kind != TEXT_JSON || scan_is_valid(now) ||
           !scan_is_valid(buffer_text(&spoken->text));
}

static bool put(void *with, const struct found *found)
{
    struct replacing *to = with;
    if (!is_text(found))
        return true;
    size_t i = to->at;
    if (form_is_stream(to->texts.form))
        i = find(&to->texts, found, plain_of(&to->texts, found));
    to->at++;
    const struct spoken *spoken = i < to->texts.count ? &to->texts.list[i] : NULL;
    if (!spoken || text_equal(buffer_text(&spoken->text), to->with[i]))
        return true;
    struct text now = found->whole || !to->written[i] ? to->with[i] : (struct text){"", 0};
    to->written[i] = to->written[i] || !found->whole;
    size_t before = (size_t)(found->raw.at - to->rest.at);
    bool fits = may_become(spoken, to->with[i]) && buffer_append(&to->made, to->rest.at, before);
    if (fits && found->kind == TEXT_RAW)
        fits = buffer_append_text(&to->made, now);
    else if (fits)
        fits = write_string(&to->made, now, found->kind == TEXT_NUMBER);
    to->rest = text_from(to->rest, before + found->raw.len);
    to->changed = true;
    to->failed = !fits;
    return fits;
}

/* Put the new texts into one JSON text, and leave out the tokens of what is new. */
static bool finish(struct replacing *to, enum text_set set, struct buffer *out)
{
    struct buffer again;
    if (to->failed || !buffer_append_text(&to->made, to->rest))
        return false;
    buffer_init(&again, SIZE_MAX / 2);
    bool dropped = to->changed && guard_drop_tokens(set, buffer_text(&to->made), &again);
    bool fits = buffer_append_text(out, buffer_text(dropped ? &again : &to->made));
    buffer_done(&again);
    return fits;
}

static bool replace_event(struct replacing *to, const struct event *event, struct buffer *out)
{
    struct buffer data;
    buffer_init(&to->made, SIZE_MAX / 2); /* not more than the event and all texts */
    buffer_init(&data, SIZE_MAX / 2);
    to->rest = event->data;
    to->changed = false;
    event_texts(event, put, to);
    bool fits = !to->failed;
    if (fits && !to->changed)
        fits = buffer_append_text(out, event->raw);
    else if (fits)
        fits = finish(to, TEXTS_OF_EVENTS, &data) && event_write(event, buffer_text(&data), out);
    buffer_done(&to->made);
    buffer_done(&data);
    return fits;
}

static bool replace_body(struct replacing *to, struct buffer *out)
{
    buffer_init(&to->made, out->limit);
    to->rest = to->texts.body;
    texts_find(set_of(to->texts.form), to->texts.body, put, to);
    bool fits = finish(to, set_of(to->texts.form), out);
    buffer_done(&to->made);
    return fits;
}

bool guard_texts_replace(const struct guard_texts *texts, const struct text *with,
                         struct buffer *out)
{
    struct replacing to = {.texts = *texts, .with = with};
    to.texts.scratch = NULL;
    to.texts.scratch_bytes = 0;
    to.written = memory_new(texts->count + 1);
    bool fits = true;
    struct text rest = texts->body;
    struct event event;
    if (!form_is_stream(texts->form))
        fits = replace_body(&to, out);
    while (form_is_stream(texts->form) && fits && event_next(&rest, texts->form, &event)) {
        fits = replace_event(&to, &event, out);
        event_done(&event);
    }
    memory_free(to.written);
    memory_free(to.texts.scratch);
    return fits;
}
