/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers, read. A stream is a row of answers, each with what is new; a stream that was not asked
 * for as events is an array of them. None says that it is the last: the stream just closes, so what
 * finishes an answer is said when it has.
 */
#include <stdio.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/gemini.h"

enum { REASON_BYTES = 40, CITATIONS_MAX = 4096 /* of a candidate; more are left out */ };

/* A candidate: the part that is open, and how it finished. */
struct candidate {
    unsigned parts; /* how many have begun */
    unsigned citations;
    bool seen, open, is_signed, called, wide;
    enum part_kind kind; /* of the open one */
    enum finish finish;
    char reason[REASON_BYTES];
};

struct gemini_reader {
    struct reader_state base;
    bool begun, over, blocked;
    struct candidate *candidates;
    size_t count, room;
    struct usage usage;
    char *scratch; /* a call's arguments, compact and then escaped */
    size_t scratch_room;
};

_Static_assert(sizeof(struct gemini_reader) <= GEMINI_READER_BYTES,
               "gemini.h says how large it is");

/* A look at one chunk; what is not there is at == NULL. */
struct chunk {
    struct text candidates, usage, model, id, feedback, error, created;
};

static bool is_of(struct text json, char bracket)
{
    return json.len && json.at[0] == bracket;
}

static void say(struct answer_sink *sink, const struct answer_event *event)
{
    sink->take(sink, event);
}

static void say_fail(struct gemini_reader *r, struct answer_sink *sink, enum fault_kind fault,
                     struct text inner)
{
    r->over = true;
    say(sink, &(struct answer_event){.kind = ANSWER_FAIL, .fault = fault, .text = inner});
}

/* The client speaks it too: then what only this dialect knows is carried along. */
static bool is_own(const struct gemini_reader *r)
{
    return r->base.way->to == &translator_gemini;
}

static void say_field(struct answer_sink *sink, struct text name, struct text raw)
{
    say(sink, &(struct answer_event){.kind = ANSWER_FIELD, .name = name, .raw = raw});
}

/* ------------------------------------------------------------------------------------ parts */

static struct candidate *candidate_at(struct gemini_reader *r, size_t number)
{
    while (r->count <= number) {
        r->candidates =
            arena_grow(&r->base.arena, r->candidates, r->count, &r->room, sizeof(struct candidate));
        r->candidates[r->count++] = (struct candidate){0};
    }
    return &r->candidates[number];
}

static struct answer_event about(const struct candidate *c, unsigned choice, enum event_kind kind)
{
    return (struct answer_event){
        .kind = kind, .part_kind = c->kind, .choice = choice, .part = c->parts - 1};
}

static void end_part(struct candidate *c, unsigned choice, struct answer_sink *sink)
{
    struct answer_event event = about(c, choice, ANSWER_PART_END);
    if (c->open)
        say(sink, &event);
    c->open = false;
}

/* Begin a part; the caller adds to the event what belongs there, and says it. */
static struct answer_event begin_part(struct candidate *c, unsigned choice, enum part_kind kind,
                                      struct answer_sink *sink)
{
    end_part(c, choice, sink);
    c->kind = kind;
    c->open = true;
    c->is_signed = c->wide = false;
    c->parts++;
    return about(c, choice, ANSWER_PART);
}

static void say_signature(struct candidate *c, unsigned choice, struct text signature,
                          struct answer_sink *sink)
{
    struct answer_event event = about(c, choice, ANSWER_SIGNATURE);
    event.text = signature;
    if (signature.len)
        say(sink, &event);
    c->is_signed |= signature.len > 0;
}

/* Is there a character that is not one byte, or may not be? */
static bool is_wide(struct text inner)
{
    const char *at = inner.at, *end = inner.at + inner.len;
    unsigned char all = 0;
    for (const char *c = at; c < end; c++)
        all |= (unsigned char)*c;
    if (all & 0x80)
        return true;
    while (at < end && (at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        if (at + 1 < end && at[1] == 'u')
            return true;
        at += 2;
    }
    return false;
}

/* Text of one kind in a row is one part, but each has one signature at most. */
static void read_text(struct candidate *c, unsigned choice, const struct gemini_part *part,
                      struct answer_sink *sink)
{
    enum part_kind kind = part->thought ? PART_REASONING : PART_TEXT;
    if (!part->text.len && !part->signature.len)
        return;
    if (!c->open || c->kind != kind || (c->is_signed && part->signature.len)) {
        struct answer_event begin = begin_part(c, choice, kind, sink);
        say(sink, &begin);
    }
    struct answer_event event = about(c, choice, ANSWER_TEXT);
    event.text = part->text;
    if (part->text.len)
        say(sink, &event);
    c->wide = c->wide || is_wide(part->text);
    say_signature(c, choice, part->signature, sink);
}

/* A call's arguments as the inside of a string, in the scratch. */
static struct text arguments_of(struct gemini_reader *r, struct text args)
{
    /* Compact, then escaped: valid JSON has nothing that takes more than two bytes. */
    size_t need = 3 * args.len + 16;
    if (need > r->scratch_room) {
        r->scratch_room = 2 * need;
        r->scratch = arena_take(&r->base.arena, r->scratch_room);
    }
    struct buffer json = {.data = r->scratch, .capacity = args.len, .limit = args.len};
    struct buffer inner = {.data = r->scratch + args.len,
                           .capacity = r->scratch_room - args.len,
                           .limit = r->scratch_room - args.len};
    gemini_put_compact(&json, args);
    put_json_inner(&inner, buffer_text(&json));
    return buffer_text(&inner);
}

static struct text made_id(struct gemini_reader *r, const struct candidate *c, unsigned choice)
{
    struct arena *arena = &r->base.arena;
    struct text id = r->base.way->id;
    if (choice)
        return arena_format(arena, "call_%.*s_%u_%u", TEXT_ARGS(id), choice, c->parts - 1);
    return arena_format(arena, "call_%.*s_%u", TEXT_ARGS(id), c->parts - 1);
}

/* Calls come whole. */
static void read_call(struct gemini_reader *r, struct candidate *c, unsigned choice,
                      const struct gemini_part *part, struct answer_sink *sink)
{
    struct text rest = part->call, name, value, args = {NULL, 0};
    struct answer_event event = begin_part(c, choice, PART_CALL, sink);
    event.name = TEXT("");
    while (member_next(&rest, &name, &value)) {
        if (text_equal(name, TEXT("id")))
            event.id = member_string(value);
        else if (text_equal(name, TEXT("name")) && member_string(value).at)
            event.name = member_string(value);
        else if (text_equal(name, TEXT("args")))
            args = value;
    }
    if (!event.id.len)
        event.id = made_id(r, c, choice);
    say(sink, &event);
    c->called = true;
    event = about(c, choice, ANSWER_ARGUMENTS);
    event.text = is_of(args, '{') ? arguments_of(r, args) : TEXT("{}");
    say(sink, &event);
    say_signature(c, choice, part->signature, sink);
    end_part(c, choice, sink);
}

static void read_data(struct candidate *c, unsigned choice, const struct gemini_part *part,
                      struct answer_sink *sink)
{
    struct text type = member_string(gemini_find(part->data, TEXT("mimeType")));
    struct answer_event event = begin_part(c, choice, gemini_media_kind(type), sink);
    event.media_type = type;
    say(sink, &event);
    event = about(c, choice, ANSWER_DATA);
    event.text = member_string(member_find(part->data, TEXT("data")));
    if (event.text.len)
        say(sink, &event);
    say_signature(c, choice, part->signature, sink);
    end_part(c, choice, sink);
}

static void read_raw(struct candidate *c, unsigned choice, const struct gemini_part *part,
                     struct answer_sink *sink)
{
    struct answer_event event = begin_part(c, choice, PART_RAW, sink);
    say(sink, &event);
    event = about(c, choice, ANSWER_RAW);
    event.raw = part->raw;
    say(sink, &event);
    end_part(c, choice, sink);
}

/* A call whose arguments come in pieces (Vertex AI, when asked for) is of this dialect only. */
static bool is_whole_call(const struct gemini_part *part)
{
    return !gemini_find(part->call, TEXT("partialArgs")).at &&
           !gemini_find(part->call, TEXT("willContinue")).at;
}

static void read_part(struct gemini_reader *r, unsigned choice, struct text raw,
                      struct answer_sink *sink)
{
    struct candidate *c = &r->candidates[choice];
    struct gemini_part part;
    if (c->parts == CHAT_PARTS_MAX) {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's answer has too many parts."));
        return;
    }
    gemini_part_look(raw, &part);
    if (part.call.at && !part.thought && is_whole_call(&part))
        read_call(r, c, choice, &part, sink);
    else if (part.data.at && !part.thought)
        read_data(c, choice, &part, sink);
    else if (part.text.at || (part.signature.at && !part.more && !part.call.at && !part.file.at))
        read_text(c, choice, &part, sink);
    else if (part.more || part.call.at || part.file.at || part.data.at || part.result.at)
        read_raw(c, choice, &part, sink);
}

/* -------------------------------------------------------------------------------- citations */

/* A place in the text is in bytes; it is one in characters as long as each has one. */
static int64_t place_of(const struct candidate *c, struct text json, int64_t unsaid)
{
    int64_t place = unsaid;
    if (json.at && !member_count(json, INT32_MAX, &place))
        return -1;
    return c->wide ? -1 : place;
}

static void say_citation(struct candidate *c, unsigned choice, const struct citation *citation,
                         struct answer_sink *sink)
{
    struct answer_event event = about(c, choice, ANSWER_CITATION);
    event.citation = citation;
    if (c->citations++ < CITATIONS_MAX)
        say(sink, &event);
}

/* What groundingChunks names, in an array, so that whoever cites it finds it at once. */
struct sources {
    struct text *chunks;
    size_t count, room;
};

static struct sources list_sources(struct arena *arena, struct text chunks)
{
    struct sources sources = {.count = 0};
    struct text name, chunk;
    while (sources.count < CITATIONS_MAX && member_next(&chunks, &name, &chunk)) {
        sources.chunks =
            arena_grow(arena, sources.chunks, sources.count, &sources.room, sizeof(chunk));
        sources.chunks[sources.count++] = chunk;
    }
    return sources;
}

/* The <number>th of them, as far as it names where something stands. */
static bool find_source(const struct sources *sources, size_t number, struct citation *citation)
{
    struct text name, value, chunk;
    if (number >= sources->count)
        return false;
    chunk = sources->chunks[number];
    while (member_next(&chunk, &name, &value)) {
        if (!is_of(value, '{'))
            continue;
        citation->url = member_string(member_find(value, TEXT("uri")));
        citation->title = member_string(member_find(value, TEXT("title")));
    }
    return citation->url.len || citation->title.len;
}

static void read_support(struct candidate *c, unsigned choice, struct text support,
                         const struct sources *sources, struct answer_sink *sink)
{
    struct text segment = member_find(support, TEXT("segment"));
    struct text indices = gemini_find(support, TEXT("groundingChunkIndices")), name, index;
    struct citation citation = {
        .quote = member_string(member_find(segment, TEXT("text"))),
        .start = place_of(c, gemini_find(segment, TEXT("startIndex")), 0),
        .end = place_of(c, gemini_find(segment, TEXT("endIndex")), -1),
    };
    int64_t number;
    while (member_next(&indices, &name, &index))
        if (member_count(index, INT32_MAX, &number) &&
            find_source(sources, (size_t)number, &citation))
            say_citation(c, choice, &citation, sink);
}

static void read_grounding(struct gemini_reader *r, unsigned choice, struct text grounding,
                           struct answer_sink *sink)
{
    struct candidate *c = &r->candidates[choice];
    struct text supports = gemini_find(grounding, TEXT("groundingSupports")), name, item;
    struct sources sources =
        list_sources(&r->base.arena, gemini_find(grounding, TEXT("groundingChunks")));
    bool supported = false;
    int64_t queries = gemini_queries(grounding); /* each chunk may say them again */
    if (queries > r->usage.searches)
        r->usage.searches = queries;
    while (member_next(&supports, &name, &item)) {
        read_support(c, choice, item, &sources, sink);
        supported = true;
    }
    for (size_t i = 0; !supported && i < sources.count; i++) {
        struct citation citation = {.start = -1, .end = -1};
        if (find_source(&sources, i, &citation))
            say_citation(c, choice, &citation, sink);
    }
}

/* Where the model repeats what stands elsewhere. */
static void read_recitation(struct candidate *c, unsigned choice, struct text metadata,
                            struct answer_sink *sink)
{
    struct text list = member_find(metadata, TEXT("citations")), name, item;
    if (!list.at)
        list = gemini_find(metadata, TEXT("citationSources"));
    while (member_next(&list, &name, &item)) {
        struct citation citation = {
            .url = member_string(member_find(item, TEXT("uri"))),
            .title = member_string(member_find(item, TEXT("title"))),
            .start = place_of(c, gemini_find(item, TEXT("startIndex")), 0),
            .end = place_of(c, gemini_find(item, TEXT("endIndex")), -1),
        };
        if (citation.url.len)
            say_citation(c, choice, &citation, sink);
    }
}

/* --------------------------------------------------------------------------------- logprobs */

static void put_logprob(struct buffer *out, struct text item)
{
    struct text token = member_string(member_find(item, TEXT("token")));
    struct text number = gemini_find(item, TEXT("logProbability"));
    put_inner(out, "token", token.at ? token : TEXT(""));
    put_json(out, "logprob", number.at ? number : TEXT("0"));
    put_json(out, "bytes", TEXT("null"));
}

/* logprobsResult, as OpenAI has it. */
static void read_logprobs(unsigned choice, struct text result, struct answer_sink *sink)
{
    struct text chosen = gemini_find(result, TEXT("chosenCandidates")), name, item;
    struct text tops = gemini_find(result, TEXT("topCandidates")), top, one;
    struct buffer out;
    buffer_init(&out, 64 * result.len + 256); /* the least item is {} */
    put_literal(&out, "[");
    while (member_next(&chosen, &name, &item)) {
        put_open(&out, NULL, '{');
        put_logprob(&out, item);
        put_open(&out, "top_logprobs", '[');
        struct text list = {NULL, 0};
        if (member_next(&tops, &name, &top))
            list = member_find(top, TEXT("candidates"));
        while (member_next(&list, &name, &one)) {
            put_open(&out, NULL, '{');
            put_logprob(&out, one);
            put_literal(&out, "}");
        }
        put_literal(&out, "]}");
    }
    put_literal(&out, "]");
    struct answer_event event = {
        .kind = ANSWER_LOGPROBS, .choice = choice, .raw = buffer_text(&out)};
    say(sink, &event);
    buffer_done(&out);
}

/* ------------------------------------------------------------------------------- candidates */

/* A look at one candidate. */
struct candidate_look {
    struct text content, finish, index, grounding, recitation, logprobs;
};

/* Keep a reason's name, which is of letters, digits and underscores. */
static void set_finish(struct candidate *c, enum finish finish, struct text name)
{
    size_t len = 0;
    for (size_t i = 0; i < name.len && len < REASON_BYTES - 1; i++) {
        char ch = name.at[i];
        bool good = (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') ||
                    (ch >= '0' && ch <= '9') || ch == '_';
        if (good)
            c->reason[len++] = ch;
    }
    c->reason[len] = '\0';
    c->finish = finish;
}

static void note_finish(struct candidate *c, struct text json)
{
    struct text name;
    enum finish finish = gemini_finish(json, &name);
    if (finish != FINISH_NONE)
        set_finish(c, finish, name);
}

/* What only this dialect knows of a candidate goes as "candidates.0.safetyRatings". */
static void say_own(struct gemini_reader *r, unsigned choice, struct text candidate,
                    struct answer_sink *sink)
{
    static const struct text ours[] = {
        {"content", 7}, {"finishReason", 12}, {"index", 5}, {"logprobsResult", 14}};
    struct text name, value;
    char full[128];
    while (is_own(r) && member_next(&candidate, &name, &value)) {
        bool known = json_is_absent(value) || name.len > 64;
        for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
            known |= gemini_named(name, ours[i]);
        if (known)
            continue;
        int len = snprintf(full, sizeof(full), "candidates.%u.%.*s", choice, TEXT_ARGS(name));
        say_field(sink, (struct text){full, (size_t)len}, value);
    }
}

static void look_at(struct text candidate, struct candidate_look *look)
{
    const struct {
        struct text name;
        struct text *to;
    } places[] = {
        {{"content", 7}, &look->content},
        {{"finishReason", 12}, &look->finish},
        {{"index", 5}, &look->index},
        {{"groundingMetadata", 17}, &look->grounding},
        {{"citationMetadata", 16}, &look->recitation},
        {{"logprobsResult", 14}, &look->logprobs},
    };
    struct text name, value;
    while (member_next(&candidate, &name, &value))
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
            if (gemini_named(name, places[i].name)) {
                *places[i].to = value;
                break;
            }
}

static void read_candidate(struct gemini_reader *r, size_t place, struct text candidate,
                           struct answer_sink *sink)
{
    struct candidate_look look = {0};
    int64_t number = (int64_t)place;
    struct text part;
    look_at(candidate, &look);
    member_count(look.index, INT32_MAX, &number);
    if (number >= CHAT_CHOICES_MAX)
        return;
    unsigned choice = (unsigned)number;
    struct candidate *c = candidate_at(r, choice);
    c->seen = true;
    struct text parts = member_find(look.content, TEXT("parts"));
    while (!r->over && gemini_next(&parts, &part))
        read_part(r, choice, part, sink);
    if (r->over)
        return;
    bool cites = c->open && c->kind == PART_TEXT;
    if (cites && is_of(look.grounding, '{'))
        read_grounding(r, choice, look.grounding, sink);
    if (cites && is_of(look.recitation, '{'))
        read_recitation(c, choice, look.recitation, sink);
    if (is_of(look.logprobs, '{'))
        read_logprobs(choice, look.logprobs, sink);
    say_own(r, choice, candidate, sink);
    note_finish(c, look.finish);
}

/* ----------------------------------------------------------------------------------- chunks */

/* Days since 1970 of a day in the Gregorian calendar. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* "2026-02-17T11:12:40.135001Z" in Unix seconds; 0 when it is none. */
static int64_t read_time(struct text time)
{
    static const struct {
        size_t at, len;
        int64_t max;
    } fields[] = {{0, 4, 9999}, {5, 2, 12}, {8, 2, 31}, {11, 2, 23}, {14, 2, 59}, {17, 2, 60}};
    int64_t n[6];
    if (time.len < 20 || time.at[time.len - 1] != 'Z')
        return 0;
    for (size_t i = 0; i < 6; i++)
        if (!member_count((struct text){time.at + fields[i].at, fields[i].len}, fields[i].max,
                          &n[i]))
            return 0;
    if (n[0] < 1970 || n[1] < 1 || n[2] < 1)
        return 0;
    return days_of(n[0], n[1], n[2]) * 86400 + n[3] * 3600 + n[4] * 60 + n[5];
}

static void begin(struct gemini_reader *r, const struct chunk *chunk, struct answer_sink *sink)
{
    if (r->begun)
        return;
    r->begun = true;
    say(sink, &(struct answer_event){.kind = ANSWER_BEGIN,
                                     .id = chunk->id,
                                     .model = chunk->model,
                                     .created = read_time(chunk->created)});
}

static void read_usage(struct gemini_reader *r, struct text usage, struct answer_sink *sink)
{
    if (!gemini_read_usage(usage, &r->usage))
        return;
    if (is_own(r))
        say_field(sink, TEXT("usageMetadata"), usage);
    say(sink, &(struct answer_event){.kind = ANSWER_USAGE, .usage = &r->usage});
}

/* The prompt itself was not let through: there are no candidates. */
static void read_feedback(struct gemini_reader *r, struct text feedback)
{
    struct text reason = gemini_find(feedback, TEXT("blockReason"));
    struct text name = member_string(reason).at ? member_string(reason) : reason;
    if (json_is_absent(reason) || text_equal(reason, TEXT("0")) ||
        text_equal(name, TEXT("BLOCK_REASON_UNSPECIFIED")))
        return;
    struct candidate *c = candidate_at(r, 0);
    c->seen = true;
    set_finish(c, FINISH_FILTER, name);
    r->blocked = true;
}

/* Find the members, and say those of the top that only this dialect knows. */
static void look_at_chunk(struct gemini_reader *r, struct text json, struct chunk *chunk,
                          struct answer_sink *sink)
{
    struct text name, value;
    while (member_next(&json, &name, &value)) {
        bool own = false;
        if (text_equal(name, TEXT("candidates")))
            chunk->candidates = value;
        else if (gemini_named(name, TEXT("usageMetadata")))
            chunk->usage = value;
        else if (gemini_named(name, TEXT("modelVersion")))
            chunk->model = member_string(value);
        else if (gemini_named(name, TEXT("responseId")))
            chunk->id = member_string(value);
        else if (text_equal(name, TEXT("error")))
            chunk->error = value;
        else if (gemini_named(name, TEXT("createTime"))) {
            chunk->created = member_string(value);
            own = true;
        } else if (gemini_named(name, TEXT("promptFeedback"))) {
            chunk->feedback = value;
            own = true;
        } else
            own = true;
        if (own && is_own(r) && r->begun)
            say_field(sink, name, value);
    }
}

static void fail_chunk(struct gemini_reader *r, struct text error, struct answer_sink *sink)
{
    struct text message = member_string(member_find(error, TEXT("message")));
    if (!message.at)
        message = member_string(error);
    say_fail(r, sink, gemini_error_kind(error),
             message.len ? message : TEXT("The target reported an error."));
}

/* One answer of the row, which is valid JSON. */
static void read_chunk(struct gemini_reader *r, struct text json, struct answer_sink *sink)
{
    struct chunk chunk = {0};
    struct text candidate;
    bool first = !r->begun;
    if (!is_of(json, '{')) {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's answer is no JSON object."));
        return;
    }
    look_at_chunk(r, json, &chunk, sink);
    if (member_is_something(chunk.error)) {
        fail_chunk(r, chunk.error, sink);
        return;
    }
    begin(r, &chunk, sink);
    if (first && is_own(r))
        look_at_chunk(r, json, &chunk, sink); /* once more: fields come behind the beginning */
    for (size_t i = 0; !r->over && gemini_next(&chunk.candidates, &candidate); i++)
        read_candidate(r, i, candidate, sink);
    if (r->over)
        return;
    read_usage(r, chunk.usage, sink);
    read_feedback(r, chunk.feedback);
}

/* ---------------------------------------------------------------------------------- the end */

/* Has each candidate been finished? */
static bool is_finished(const struct gemini_reader *r)
{
    if (r->blocked)
        return true;
    for (size_t i = 0; i < r->count; i++)
        if (r->candidates[i].seen && r->candidates[i].finish == FINISH_NONE)
            return false;
    return r->count > 0;
}

static void say_finish(const struct gemini_reader *r, unsigned choice, struct answer_sink *sink)
{
    const struct candidate *c = &r->candidates[choice];
    enum finish finish = c->finish;
    if (finish == FINISH_STOP && c->called)
        finish = FINISH_CALLS;
    say(sink,
        &(struct answer_event){
            .kind = ANSWER_FINISH, .choice = choice, .finish = finish, .name = text_of(c->reason)});
}

void gemini_read_end(void *state, struct answer_sink *sink)
{
    struct gemini_reader *r = state;
    if (r->over || !is_finished(r))
        return;
    for (unsigned i = 0; i < r->count; i++)
        end_part(&r->candidates[i], i, sink);
    for (unsigned i = 0; i < r->count; i++)
        if (r->candidates[i].finish != FINISH_NONE)
            say_finish(r, i, sink);
    r->over = true;
    say(sink, &(struct answer_event){.kind = ANSWER_END});
}

void gemini_read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    struct gemini_reader *r = state;
    struct text data = frame->data, name, item;
    if (r->over || text_equal(data, TEXT("[DONE]")))
        return;
    if (!scan_is_valid(data)) {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's stream is not JSON."));
        return;
    }
    if (is_of(data, '[') && member_next(&data, &name, &item))
        data = item; /* [{"error":...}] */
    read_chunk(r, data, sink);
}

/* An answer that is whole needs no finish reason; a row of them does. */
void gemini_read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct gemini_reader *r = state;
    struct text name, item;
    while (body.len && (body.at[0] == '\n' || body.at[0] == '\r' || body.at[0] == ' '))
        body = text_from(body, 1);
    if (!scan_is_valid(body)) {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's answer is not JSON."));
        return;
    }
    if (is_of(body, '[')) {
        while (!r->over && member_next(&body, &name, &item))
            read_chunk(r, item, sink);
    } else {
        read_chunk(r, body, sink);
        for (size_t i = 0; i < r->count; i++)
            if (r->candidates[i].seen && r->candidates[i].finish == FINISH_NONE)
                r->candidates[i].finish = FINISH_STOP;
        if (!r->over && !r->count)
            say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's answer has no candidates."));
    }
    gemini_read_end(state, sink);
}
