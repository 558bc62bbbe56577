/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers, written: a stream of events, or of the items of one array, or whole. What finishes a
 * stream is its last item, so nothing of that is written before the end.
 */
#include "gateway/base/member.h"
#include "providers/gemini.h"

enum { CITATIONS_MAX = 1024 };

/* A text that grows in the arena. */
struct growing {
    char *at;
    size_t len, room;
};

/* A part whose content is written when it is whole. */
struct open_part {
    bool used;
    unsigned choice, part;
    struct text id, name, media_type, signature; /* in the arena */
    struct growing content;
};

/* What an answer's choice comes to at the end. */
struct ending {
    bool finished, wide;
    enum finish finish;
    struct text reason;
    struct growing chunks, supports; /* of groundingMetadata */
    size_t citations;
};

struct field {
    struct growing name, value;
};

struct gemini_writer {
    struct writer_state base;
    bool begun; /* of an array: its bracket is written */
    struct text id, model;
    struct usage usage;
    bool has_usage;
    struct open_part *open;
    size_t open_count, open_room;
    struct ending *endings;
    size_t ending_count, ending_room;
    struct field *fields;
    size_t field_count, field_room;
};

_Static_assert(sizeof(struct gemini_writer) <= GEMINI_WRITER_BYTES,
               "gemini.h says how large it is");

static bool is_own(const struct answer_way *way)
{
    return way->from == &translator_gemini;
}

static void grow(struct arena *arena, struct growing *g, struct text more)
{
    if (g->len + more.len > g->room) {
        size_t room = 2 * (g->len + more.len) + 64;
        char *at = arena_take(arena, room);
        if (g->len)
            memcpy(at, g->at, g->len);
        g->at = at;
        g->room = room;
    }
    if (more.len)
        memcpy(g->at + g->len, more.at, more.len);
    g->len += more.len;
}

static struct text grown(const struct growing *g)
{
    return (struct text){g->at ? g->at : "", g->len};
}

static struct text keep(struct arena *arena, struct text t)
{
    return t.at ? arena_copy(arena, t) : t;
}

/* ------------------------------------------------------------------------------------ parts */

static void put_signature(struct buffer *out, struct text signature)
{
    if (signature.len)
        put_inner(out, "thoughtSignature", signature);
}

static void put_text_part(struct buffer *out, bool thought, struct text inner,
                          struct text signature)
{
    put_open(out, NULL, '{');
    put_inner(out, "text", inner.at ? inner : TEXT(""));
    if (thought)
        put_json(out, "thought", TEXT("true"));
    put_signature(out, signature);
    put_literal(out, "}");
}

/* <args>: an object. */
static void put_call(struct buffer *out, struct text id, struct text name, struct text args,
                     struct text signature)
{
    put_open(out, NULL, '{');
    put_open(out, "functionCall", '{');
    if (id.len)
        put_inner(out, "id", id);
    put_inner(out, "name", name.at ? name : TEXT(""));
    put_json(out, "args", TEXT(""));
    gemini_put_compact(out, args);
    put_literal(out, "}");
    put_signature(out, signature);
    put_literal(out, "}");
}

/* Of what nobody said the type of. */
static struct text usual_type(enum part_kind kind)
{
    if (kind == PART_IMAGE)
        return TEXT("image/png");
    /* As its clients have it, and as it was asked for in their name: OpenAI's pcm16. */
    return kind == PART_AUDIO ? TEXT("audio/L16;codec=pcm;rate=24000")
                              : TEXT("application/octet-stream");
}

static void put_data(struct buffer *out, struct text media_type, struct text data,
                     struct text signature)
{
    put_open(out, NULL, '{');
    put_open(out, "inlineData", '{');
    put_inner(out, "mimeType", media_type);
    put_inner(out, "data", data);
    put_literal(out, "}");
    put_signature(out, signature);
    put_literal(out, "}");
}

/* ------------------------------------------------------------------------------------ items */

/* Begin an item of the stream: behind it goes the first candidate's content. */
static void begin_item(struct gemini_writer *w, struct buffer *out)
{
    if (!w->base.way->array_out)
        put_literal(out, "data: {");
    else
        put_literal(out, w->begun ? ",{" : "[{");
    w->begun = true;
    put_open(out, "candidates", '[');
}

static void end_item(struct gemini_writer *w, struct buffer *out, bool last)
{
    put_literal(out, "]");
    if (last && w->has_usage && !is_own(w->base.way))
        gemini_put_usage(out, &w->usage);
    put_inner(out, "modelVersion", w->model);
    put_inner(out, "responseId", w->id);
    if (!last)
        put_literal(out, "}");
}

/* What closes an item in its framing. */
static void close_item(struct gemini_writer *w, struct buffer *out, bool last)
{
    if (w->base.way->array_out)
        put_literal(out, last ? "\r\n]" : "\r\n");
    else
        put_literal(out, "\r\n\r\n");
}

static void begin_content(struct gemini_writer *w, struct buffer *out)
{
    begin_item(w, out);
    put_open(out, NULL, '{');
    put_open(out, "content", '{');
    put_open(out, "parts", '[');
}

static void end_content(struct gemini_writer *w, unsigned choice, struct buffer *out)
{
    put_literal(out, "]");
    put_inner(out, "role", TEXT("model"));
    put_literal(out, "}");
    put_number(out, "index", choice);
    put_literal(out, "}");
    end_item(w, out, false);
    close_item(w, out, false);
}

/* ---------------------------------------------------------------------------- what is open */

/* Is it written as it comes? */
static bool is_text(enum part_kind kind)
{
    return kind == PART_TEXT || kind == PART_REASONING || kind == PART_REFUSAL;
}

static struct open_part *open_of(struct gemini_writer *w, const struct answer_event *event)
{
    for (size_t i = 0; i < w->open_count; i++) {
        struct open_part *open = &w->open[i];
        if (open->used && open->choice == event->choice && open->part == event->part)
            return open;
    }
    return NULL;
}

static void open_new(struct gemini_writer *w, const struct answer_event *event)
{
    struct arena *arena = &w->base.arena;
    size_t i = 0;
    while (i < w->open_count && w->open[i].used)
        i++;
    if (i == w->open_count) {
        w->open = arena_grow(arena, w->open, w->open_count, &w->open_room, sizeof(*w->open));
        w->open[w->open_count++] = (struct open_part){0};
    }
    struct growing content = w->open[i].content; /* its room is used again */
    content.len = 0;
    w->open[i] = (struct open_part){.used = true,
                                    .choice = event->choice,
                                    .part = event->part,
                                    .id = keep(arena, event->id),
                                    .name = keep(arena, event->name),
                                    .media_type = keep(arena, event->media_type),
                                    .content = content};
}

static struct ending *ending_of(struct gemini_writer *w, unsigned choice)
{
    if (choice >= CHAT_CHOICES_MAX)
        return NULL;
    while (w->ending_count <= choice) {
        w->endings = arena_grow(&w->base.arena, w->endings, w->ending_count, &w->ending_room,
                                sizeof(*w->endings));
        w->endings[w->ending_count++] = (struct ending){0};
    }
    return &w->endings[choice];
}

static void write_text(struct gemini_writer *w, const struct answer_event *event,
                       struct buffer *out)
{
    struct open_part *open = open_of(w, event);
    if (event->kind != ANSWER_TEXT) {
        if (open)
            grow(&w->base.arena, &open->content, event->text);
        return;
    }
    if (open && event->part_kind != PART_AUDIO) /* whose transcript it is */
        return;
    struct ending *ending = ending_of(w, event->choice);
    for (size_t i = 0; ending && !ending->wide && i < event->text.len; i++)
        ending->wide = event->text.at[i] & 0x80 || event->text.at[i] == '\\';
    begin_content(w, out);
    put_text_part(out, event->part_kind == PART_REASONING, event->text, (struct text){NULL, 0});
    end_content(w, event->choice, out);
}

static void write_signature(struct gemini_writer *w, const struct answer_event *event,
                            struct buffer *out)
{
    struct open_part *open = open_of(w, event);
    if (open) {
        open->signature = keep(&w->base.arena, event->text);
        return;
    }
    if (!event->text.len || !is_text(event->part_kind))
        return;
    begin_content(w, out);
    put_text_part(out, event->part_kind == PART_REASONING, TEXT(""), event->text);
    end_content(w, event->choice, out);
}

static void write_raw(struct gemini_writer *w, const struct answer_event *event, struct buffer *out)
{
    if (!is_own(w->base.way))
        return;
    begin_content(w, out);
    put_comma(out);
    gemini_put_compact(out, event->raw);
    end_content(w, event->choice, out);
}

static void write_part_end(struct gemini_writer *w, const struct answer_event *event,
                           struct buffer *out)
{
    struct open_part *open = open_of(w, event);
    if (!open)
        return;
    open->used = false;
    struct text content = grown(&open->content);
    bool is_call = event->part_kind == PART_CALL;
    if (!is_call && !content.len)
        return;
    begin_content(w, out);
    if (is_call)
        put_call(out, open->id, open->name, object_of_inner(&w->base.arena, content),
                 open->signature);
    else
        put_data(out, open->media_type.len ? open->media_type : usual_type(event->part_kind),
                 content, open->signature);
    end_content(w, event->choice, out);
}

/* -------------------------------------------------------------------------------- citations */

static struct text json_of(struct arena *arena, struct buffer *made)
{
    struct text copy = arena_copy(arena, buffer_text(made));
    buffer_done(made);
    return copy;
}

/* A chunk that names the source and a support that says for what. */
static void add_citation(struct arena *arena, struct ending *ending,
                         const struct citation *citation)
{
    struct buffer one;
    if (ending->citations == CITATIONS_MAX || (!citation->url.len && !citation->title.len))
        return;
    buffer_init(&one, citation->url.len + citation->title.len + citation->quote.len + 256);
    if (ending->citations)
        put_literal(&one, ",");
    put_literal(&one, "{\"web\":{");
    put_inner(&one, "uri", citation->url);
    put_inner(&one, "title", citation->title);
    put_literal(&one, "}}");
    grow(arena, &ending->chunks, json_of(arena, &one));
    if (citation->start < 0 && !citation->quote.len) {
        ending->citations++;
        return;
    }
    if (ending->supports.len)
        put_literal(&one, ",");
    put_literal(&one, "{\"segment\":{");
    /* Places are in bytes here: known as long as each character is one. */
    if (citation->start >= 0 && citation->end >= 0 && !ending->wide) {
        put_number(&one, "startIndex", citation->start);
        put_number(&one, "endIndex", citation->end);
    }
    put_inner(&one, "text", citation->quote);
    put_literal(&one, "},\"groundingChunkIndices\":[");
    buffer_append_number(&one, ending->citations++);
    put_literal(&one, "]}");
    grow(arena, &ending->supports, json_of(arena, &one));
}

static void put_grounding(struct buffer *out, const struct ending *ending)
{
    if (!ending->citations)
        return;
    put_open(out, "groundingMetadata", '{');
    put_open(out, "groundingChunks", '[');
    put_text(out, grown(&ending->chunks));
    put_literal(out, "]");
    if (ending->supports.len) {
        put_open(out, "groundingSupports", '[');
        put_text(out, grown(&ending->supports));
        put_literal(out, "]");
    }
    put_literal(out, "}");
}

/* --------------------------------------------------------------------------------- logprobs */

static void put_token(struct buffer *out, struct text item)
{
    struct text token = member_string(member_find(item, TEXT("token")));
    struct text number = member_find(item, TEXT("logprob"));
    put_open(out, NULL, '{');
    put_inner(out, "token", token.at ? token : TEXT(""));
    put_json(out, "logProbability", number.at ? number : TEXT("0"));
    put_literal(out, "}");
}

/* OpenAI's items as logprobsResult. */
static void put_logprobs(struct buffer *out, struct text items)
{
    struct text rest = items, name, item, one;
    put_open(out, "logprobsResult", '{');
    put_open(out, "chosenCandidates", '[');
    while (member_next(&rest, &name, &item))
        put_token(out, item);
    put_literal(out, "]");
    put_open(out, "topCandidates", '[');
    rest = items;
    while (member_next(&rest, &name, &item)) {
        struct text tops = member_find(item, TEXT("top_logprobs"));
        put_open(out, NULL, '{');
        put_open(out, "candidates", '[');
        while (member_next(&tops, &name, &one))
            put_token(out, one);
        put_literal(out, "]}");
    }
    put_literal(out, "]}");
}

static void write_logprobs(struct gemini_writer *w, const struct answer_event *event,
                           struct buffer *out)
{
    begin_item(w, out);
    put_open(out, NULL, '{');
    put_number(out, "index", event->choice);
    put_logprobs(out, event->raw);
    put_literal(out, "}");
    end_item(w, out, false);
    close_item(w, out, false);
}

/* ----------------------------------------------------------------------------------- fields */

/* Kept until the end: what a stream says of itself is said again by each item. */
static void keep_field(struct gemini_writer *w, const struct answer_event *event)
{
    struct arena *arena = &w->base.arena;
    size_t i = 0;
    while (i < w->field_count && !text_equal(grown(&w->fields[i].name), event->name))
        i++;
    if (!is_own(w->base.way) || i == CHAT_FIELDS_MAX)
        return;
    if (i == w->field_count) {
        w->fields = arena_grow(arena, w->fields, i, &w->field_room, sizeof(*w->fields));
        w->fields[w->field_count++] = (struct field){0};
        grow(arena, &w->fields[i].name, event->name);
    }
    w->fields[i].value.len = 0;
    grow(arena, &w->fields[i].value, event->raw);
}

/* "candidates.3.safetyRatings": is it of this candidate? Then <name> is what it is called there. */
static bool is_of_candidate(struct text full, unsigned choice, struct text *name)
{
    static const struct text prefix = {"candidates.", 11};
    uint64_t number;
    if (!text_starts(full, prefix))
        return false;
    struct text rest = text_from(full, prefix.len);
    size_t dot = text_find_byte(rest, '.');
    *name = text_from(rest, dot == SIZE_MAX ? rest.len : dot + 1);
    return dot != SIZE_MAX && text_number(text_head(rest, dot), UINT32_MAX, &number) &&
           number == choice;
}

static void put_field(struct buffer *out, struct text name, struct text value)
{
    put_item(out, name);
    put_literal(out, ":");
    gemini_put_compact(out, value);
}

static void put_candidate_field(struct buffer *out, unsigned choice, struct text full,
                                struct text value)
{
    struct text name;
    if (is_of_candidate(full, choice, &name))
        put_field(out, name, value);
}

static void put_top_field(struct buffer *out, struct text name, struct text value)
{
    if (!text_starts(name, TEXT("candidates.")))
        put_field(out, name, value);
}

/* --------------------------------------------------------------------------------- the end */

static struct text reason_of(const struct answer_way *way, enum finish finish, struct text reason)
{
    return is_own(way) && reason.len ? reason : gemini_finish_name(finish);
}

/* A prompt that was not let through has no candidates; its own dialect says so in a field. */
static bool is_blocked(const struct gemini_writer *w)
{
    for (size_t i = 0; i < w->field_count; i++)
        if (gemini_named(grown(&w->fields[i].name), TEXT("promptFeedback")) && !w->begun)
            return true;
    return false;
}

static void put_last(struct gemini_writer *w, unsigned choice, struct buffer *out)
{
    const struct ending *ending = &w->endings[choice];
    put_open(out, NULL, '{');
    put_literal(out, "\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"}");
    put_inner(out, "finishReason", reason_of(w->base.way, ending->finish, ending->reason));
    put_number(out, "index", choice);
    put_grounding(out, ending);
    for (size_t i = 0; i < w->field_count; i++)
        put_candidate_field(out, choice, grown(&w->fields[i].name), grown(&w->fields[i].value));
    put_literal(out, "}");
}

static void write_end(struct gemini_writer *w, struct buffer *out)
{
    bool blocked = is_blocked(w);
    if (!w->ending_count)
        ending_of(w, 0)->finished = true;
    begin_item(w, out);
    for (unsigned i = 0; !blocked && i < w->ending_count; i++)
        if (w->endings[i].finished)
            put_last(w, i, out);
    end_item(w, out, true);
    for (size_t i = 0; i < w->field_count; i++)
        put_top_field(out, grown(&w->fields[i].name), grown(&w->fields[i].value));
    put_literal(out, "}");
    close_item(w, out, true);
}

static void write_begin(struct gemini_writer *w, const struct answer_event *event)
{
    struct arena *arena = &w->base.arena;
    const struct answer_way *way = w->base.way;
    w->id = event->id.len ? keep(arena, event->id) : inner_of(arena, way->id);
    w->model = event->model.len ? keep(arena, event->model) : inner_of(arena, way->model);
}

static void write_finish(struct gemini_writer *w, const struct answer_event *event)
{
    struct ending *ending = ending_of(w, event->choice);
    if (!ending)
        return;
    ending->finished = true;
    ending->finish = event->finish;
    ending->reason = keep(&w->base.arena, event->name);
}

static void write_citation(struct gemini_writer *w, const struct answer_event *event)
{
    struct ending *ending = ending_of(w, event->choice);
    if (ending && !is_own(w->base.way)) /* else it is in a field */
        add_citation(&w->base.arena, ending, event->citation);
}

void gemini_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct gemini_writer *w = state;
    switch (event->kind) {
    case ANSWER_BEGIN:
        write_begin(w, event);
        break;
    case ANSWER_PART:
        if (!is_text(event->part_kind) && event->part_kind != PART_RAW)
            open_new(w, event);
        break;
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
    case ANSWER_DATA:
        write_text(w, event, out);
        break;
    case ANSWER_SIGNATURE:
        write_signature(w, event, out);
        break;
    case ANSWER_CITATION:
        write_citation(w, event);
        break;
    case ANSWER_RAW:
        write_raw(w, event, out);
        break;
    case ANSWER_PART_END:
        write_part_end(w, event, out);
        break;
    case ANSWER_LOGPROBS:
        write_logprobs(w, event, out);
        break;
    case ANSWER_FINISH:
        write_finish(w, event);
        break;
    case ANSWER_USAGE:
        w->usage = *event->usage;
        w->has_usage = true;
        break;
    case ANSWER_FIELD:
        keep_field(w, event);
        break;
    case ANSWER_END:
        write_end(w, out);
        break;
    case ANSWER_ENCRYPTED: /* nobody else could read it, and it has no place */
    case ANSWER_FAIL:
        break;
    }
}

/* ----------------------------------------------------------------------------------- whole */

static void put_whole_part(const struct answer_way *way, const struct part *part,
                           struct buffer *out)
{
    switch (part->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
    case PART_REASONING:
        if (part->text.len || part->signature.len)
            put_text_part(out, part->kind == PART_REASONING, part->text, part->signature);
        break;
    case PART_CALL:
        put_call(out, part->id, part->name,
                 json_is_absent(part->arguments) ? TEXT("{}") : part->arguments, part->signature);
        break;
    case PART_IMAGE:
    case PART_AUDIO:
    case PART_VIDEO:
    case PART_FILE:
        if (part->kind == PART_AUDIO && part->text.len)
            put_text_part(out, false, part->text, (struct text){NULL, 0});
        if (part->data.len)
            put_data(out, part->media_type.len ? part->media_type : usual_type(part->kind),
                     part->data, part->signature);
        break;
    case PART_RAW:
        if (is_own(way) && part->raw.len) {
            put_comma(out);
            put_text(out, part->raw);
        }
        break;
    case PART_RESULT:
        break;
    }
}

static struct ending ending_of_whole(struct arena *arena, const struct whole_choice *choice)
{
    struct ending ending = {.finish = choice->finish, .reason = choice->reason};
    for (size_t i = 0; i < choice->part_count; i++) {
        const struct part *part = &choice->parts[i];
        for (size_t j = 0; j < part->text.len && !ending.wide; j++)
            ending.wide = part->text.at[j] & 0x80 || part->text.at[j] == '\\';
        for (size_t j = 0; j < part->citation_count; j++)
            add_citation(arena, &ending, &part->citations[j]);
    }
    return ending;
}

static void put_choice(const struct answer_way *way, struct arena *arena,
                       const struct whole_answer *whole, unsigned number, struct buffer *out)
{
    const struct whole_choice *choice = &whole->choices[number];
    put_open(out, NULL, '{');
    put_open(out, "content", '{');
    put_open(out, "parts", '[');
    for (size_t i = 0; i < choice->part_count; i++)
        put_whole_part(way, &choice->parts[i], out);
    put_literal(out, "]");
    put_inner(out, "role", TEXT("model"));
    put_literal(out, "}");
    put_inner(out, "finishReason", reason_of(way, choice->finish, choice->reason));
    put_number(out, "index", number);
    if (choice->logprobs.len)
        put_logprobs(out, choice->logprobs);
    if (!is_own(way)) {
        struct ending ending = ending_of_whole(arena, choice);
        put_grounding(out, &ending);
    }
    for (size_t i = 0; is_own(way) && i < whole->field_count; i++)
        put_candidate_field(out, number, whole->fields[i].name, whole->fields[i].value);
    put_literal(out, "}");
}

/* Nothing was made: the prompt was not let through. */
static bool is_refused(const struct whole_answer *whole)
{
    for (size_t i = 0; i < whole->field_count; i++)
        if (gemini_named(whole->fields[i].name, TEXT("promptFeedback")))
            return whole->choice_count == 1 && whole->choices[0].part_count == 0;
    return false;
}

void gemini_write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out)
{
    bool own_usage = false;
    put_literal(out, "{");
    put_open(out, "candidates", '[');
    for (unsigned i = 0; i < whole->choice_count && !(is_own(way) && is_refused(whole)); i++)
        put_choice(way, arena, whole, i, out);
    put_literal(out, "]");
    for (size_t i = 0; is_own(way) && i < whole->field_count; i++) {
        own_usage |= inner_is(whole->fields[i].name, "usageMetadata");
        put_top_field(out, whole->fields[i].name, whole->fields[i].value);
    }
    if (whole->has_usage && !own_usage)
        gemini_put_usage(out, &whole->usage);
    put_inner(out, "modelVersion", whole->model.len ? whole->model : inner_of(arena, way->model));
    put_inner(out, "responseId", whole->id.len ? whole->id : inner_of(arena, way->id));
    put_literal(out, "}");
}
