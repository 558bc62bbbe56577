/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bedrock.h: an answer is written, as a stream of events or as a whole.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"

enum { HELD_MAX = 64 << 20 };

static bool is_own(const struct answer_way *way)
{
    return way->from == way->to;
}

void bedrock_put_usage(struct buffer *out, const struct usage *usage)
{
    /* Some providers count a token as both read and written; here it is one of them, for clients
     * add them up. */
    int64_t rest = usage->input_tokens - usage->cached_tokens;
    int64_t room = rest > 0 ? rest : 0;
    int64_t written = usage->cache_write_tokens < room ? usage->cache_write_tokens : room;
    put_open(out, "usage", '{');
    put_number(out, "inputTokens", room - written);
    put_number(out, "outputTokens", usage->output_tokens);
    put_number(out, "totalTokens", usage->input_tokens + usage->output_tokens);
    put_number(out, "cacheReadInputTokens", usage->cached_tokens);
    put_number(out, "cacheWriteInputTokens", written);
}

/* Usage, times, and what else AWS itself said. Nobody here knows how long it took: 0 then. */
static void put_metadata(struct buffer *out, const struct usage *usage,
                         const struct chat_field *fields, size_t count)
{
    static const struct text names[] = {
        {"trace", 5}, {"performanceConfig", 17}, {"serviceTier", 11}};
    struct text metrics = bedrock_field(fields, count, TEXT("metrics"));
    bedrock_put_usage(out, usage);
    put_json(out, "cacheDetails", bedrock_field(fields, count, TEXT("cacheDetails")));
    put_literal(out, "}");
    put_json(out, "metrics", metrics.at ? metrics : TEXT("{\"latencyMs\":0}"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        put_json(out, names[i].at, bedrock_field(fields, count, names[i]));
}

static void put_stop(const struct answer_way *way, struct text reason, enum finish finish,
                     bool calls, struct buffer *out)
{
    struct text word =
        finish == FINISH_STOP && calls ? TEXT("tool_use") : bedrock_stop_reason(finish);
    put_inner(out, "stopReason", is_own(way) && reason.len ? reason : word);
}

/* --------------------------------------------------------------------------- whole blocks */

static struct text proof_of(const struct answer_way *way, struct arena *arena, struct text id,
                            unsigned of, struct text inner)
{
    struct anthropic_proof proof = {.from = way->from, .id = id, .proof = inner};
    bool claude = text_equal(way->from->dialect, TEXT("anthropic"));
    proof.of = of;
    return is_own(way) || claude ? inner : anthropic_write_proof(arena, &proof);
}

static void put_redacted(struct buffer *out, struct arena *arena, struct text inner)
{
    put_open(out, NULL, '{');
    put_open(out, "reasoningContent", '{');
    bedrock_put_coded(out, "redactedContent", inner_plain(arena, inner));
    put_literal(out, "}}");
}

static void put_reasoning(const struct answer_way *way, struct arena *arena, struct buffer *out,
                          const struct part *part)
{
    if (part->text.len || part->signature.len) {
        put_open(out, NULL, '{');
        put_open(out, "reasoningContent", '{');
        put_open(out, "reasoningText", '{');
        put_inner(out, "text", part->text.at ? part->text : TEXT(""));
        put_inner(out, "signature", part->signature.len ? part->signature : (struct text){NULL, 0});
        put_literal(out, "}}}");
    }
    if (part->encrypted.len)
        put_redacted(out, arena, proof_of(way, arena, part->id, PROOF_ENCRYPTED, part->encrypted));
}

static void put_block(const struct answer_way *way, struct arena *arena, struct buffer *out,
                      const struct part *part)
{
    struct losses *losses = arena_new(arena, sizeof(*losses));
    struct bedrock_writing w = {.arena = arena, .out = out, .losses = losses, .own = true};
    struct part plain = *part;
    bool is_call = part->kind == PART_CALL;
    plain.cache = plain.raw = (struct text){NULL, 0};
    switch (part->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
    case PART_AUDIO: /* what was spoken */
        plain.kind = PART_TEXT;
        plain.text = part->text.at ? part->text : TEXT("");
        if (plain.text.len || part->citation_count)
            bedrock_put_part(&w, &plain, false);
        break;
    case PART_CALL:
        bedrock_put_part(&w, &plain, false);
        break;
    case PART_REASONING:
        put_reasoning(way, arena, out, part);
        return;
    case PART_IMAGE:
        if (bedrock_takes(&w, &plain))
            bedrock_put_part(&w, &plain, false);
        return;
    case PART_RAW:
        if (is_own(way)) {
            put_comma(out);
            put_text(out, part->raw);
        }
        return;
    case PART_RESULT:
    case PART_VIDEO:
    case PART_FILE:
        return;
    }
    if (part->signature.len && !is_own(way))
        put_redacted(
            out, arena,
            proof_of(way, arena, part->id, is_call ? PROOF_CALL : PROOF_TEXT, part->signature));
}

void bedrock_write_whole(const struct answer_way *way, struct arena *arena,
                         const struct whole_answer *whole, struct buffer *out)
{
    static const struct whole_choice none = {.finish = FINISH_STOP};
    const struct whole_choice *choice = whole->choice_count ? &whole->choices[0] : &none;
    size_t fields = is_own(way) ? whole->field_count : 0;
    bool calls = false;
    put_literal(out, "{");
    put_open(out, "output", '{');
    put_open(out, "message", '{');
    put_inner(out, "role", TEXT("assistant"));
    put_open(out, "content", '[');
    for (size_t i = 0; i < choice->part_count; i++) {
        put_block(way, arena, out, &choice->parts[i]);
        calls = calls || choice->parts[i].kind == PART_CALL;
    }
    put_literal(out, "]}}");
    put_stop(way, choice->reason, choice->finish, calls, out);
    put_metadata(out, &whole->usage, whole->fields, fields);
    put_json(out, "additionalModelResponseFields",
             bedrock_field(whole->fields, fields, TEXT("additionalModelResponseFields")));
    put_literal(out, "}");
}

/* --------------------------------------------------------------------------------- events */

static void put_event(struct buffer *out, const char *name, const struct buffer *json)
{
    frame_put_aws(out, TEXT("event"), text_of(name), buffer_text(json));
}

static void put_begin(struct bedrock_writer *w, struct buffer *out)
{
    if (!w->has_begun)
        frame_put_aws(out, TEXT("event"), TEXT("messageStart"), TEXT("{\"role\":\"assistant\"}"));
    w->has_begun = true;
}

/* {"contentBlockIndex":N,"delta":{ <inside> }} */
static void put_delta(struct bedrock_writer *w, struct buffer *out, const struct buffer *inside)
{
    struct buffer json;
    buffer_init(&json, SIZE_MAX / 2);
    put_literal(&json, "{");
    put_number(&json, "contentBlockIndex", w->blocks);
    put_open(&json, "delta", '{');
    put_text(&json, buffer_text(inside));
    put_literal(&json, "}}");
    put_event(out, "contentBlockDelta", &json);
    buffer_done(&json);
}

/* {"delta":{"text":...}}, or {"delta":{<holder>:{<name>:...}}}. */
static void put_piece(struct bedrock_writer *w, struct bedrock_place *place, const char *holder,
                      const char *name, struct text inner, struct buffer *out)
{
    struct buffer inside;
    buffer_init(&inside, SIZE_MAX / 2);
    if (holder)
        buffer_format(&inside, "\"%s\":{", holder);
    buffer_format(&inside, "\"%s\":\"", name);
    put_text(&inside, inner);
    put_literal(&inside, holder ? "\"}" : "\"");
    put_delta(w, out, &inside);
    place->is_open = true;
    buffer_done(&inside);
}

static void put_start(struct bedrock_writer *w, struct bedrock_place *place, struct text inside,
                      struct buffer *out)
{
    struct buffer json;
    buffer_init(&json, SIZE_MAX / 2);
    put_literal(&json, "{");
    put_number(&json, "contentBlockIndex", w->blocks);
    put_json(&json, "start", inside);
    put_literal(&json, "}");
    put_event(out, "contentBlockStart", &json);
    place->is_open = true;
    buffer_done(&json);
}

static void put_block_stop(struct bedrock_writer *w, struct bedrock_place *place,
                           struct buffer *out)
{
    struct buffer json;
    if (!place->is_open)
        return;
    buffer_init(&json, 256);
    buffer_format(&json, "{\"contentBlockIndex\":%lld}", (long long)w->blocks);
    put_event(out, "contentBlockStop", &json);
    buffer_done(&json);
    place->is_open = false;
    w->blocks++;
}

static bool is_spoken(enum part_kind kind)
{
    return kind == PART_TEXT || kind == PART_REFUSAL || kind == PART_AUDIO;
}

static void open_place(struct bedrock_writer *w, struct bedrock_place *place, struct buffer *out)
{
    struct arena *arena = &w->base.arena;
    put_begin(w, out);
    if (place->kind != PART_CALL)
        return;
    struct text id = place->id.len ? place->id
                                   : arena_format(arena, "tooluse_%.*s_%u",
                                                  TEXT_ARGS(w->base.way->id), place->part);
    put_start(w, place,
              arena_format(arena, "{\"toolUse\":{\"toolUseId\":\"%.*s\",\"name\":\"%.*s\"}}",
                           TEXT_ARGS(id), TEXT_ARGS(place->name)),
              out);
    w->has_calls = true;
}

static void put_more(struct bedrock_writer *w, struct bedrock_place *place, struct text inner,
                     struct buffer *out)
{
    if (!inner.len)
        return;
    if (is_spoken(place->kind))
        put_piece(w, place, NULL, "text", inner, out);
    else if (place->kind == PART_REASONING)
        put_piece(w, place, "reasoningContent", "text", inner, out);
    else if (place->kind == PART_CALL)
        put_piece(w, place, "toolUse", "input", inner, out);
}

static void put_redacted_block(struct bedrock_writer *w, struct text inner, struct buffer *out)
{
    struct bedrock_place own = {.kind = PART_REASONING};
    struct buffer inside;
    buffer_init(&inside, SIZE_MAX / 2);
    put_literal(&inside, "\"reasoningContent\":{");
    bedrock_put_coded(&inside, "redactedContent", inner_plain(&w->base.arena, inner));
    put_literal(&inside, "}");
    put_delta(w, out, &inside);
    own.is_open = true;
    put_block_stop(w, &own, out);
    buffer_done(&inside);
}

/* A block that only AWS knows: of a tool that it runs. */
static void put_raw(struct bedrock_writer *w, struct bedrock_place *place, struct buffer *out)
{
    struct text name, value, member, inside, rest = place->raw, came = {NULL, 0};
    struct buffer start;
    if (!is_own(w->base.way) || !place->raw.len || !member_next(&rest, &name, &value))
        return;
    bool is_call = text_equal(name, TEXT("toolUse"));
    if (!is_call && !text_equal(name, TEXT("toolResult")))
        return;
    buffer_init(&start, SIZE_MAX / 2);
    put_literal(&start, "{");
    anthropic_put_name(&start, name);
    put_literal(&start, "{");
    while (member_next(&value, &member, &inside)) {
        if (text_equal(member, is_call ? TEXT("input") : TEXT("content"))) {
            came = inside;
            continue;
        }
        anthropic_put_name(&start, member);
        put_text(&start, inside);
    }
    put_literal(&start, "}}");
    put_start(w, place, buffer_text(&start), out);
    buffer_clear(&start);
    if (is_call && came.at) {
        put_piece(w, place, "toolUse", "input", inner_of_json(&w->base.arena, came), out);
    } else if (came.at) {
        put_literal(&start, "\"toolResult\":");
        put_text(&start, came);
        put_delta(w, out, &start);
    }
    buffer_done(&start);
}

static void put_image(struct bedrock_writer *w, struct bedrock_place *place, struct buffer *out)
{
    struct arena *arena = &w->base.arena;
    struct text format = bedrock_format_of(PART_IMAGE, inner_plain(arena, place->name));
    if (!place->text.len || !format.at)
        return;
    put_start(w, place, arena_format(arena, "{\"image\":{\"format\":\"%.*s\"}}", TEXT_ARGS(format)),
              out);
    struct buffer inside;
    buffer_init(&inside, SIZE_MAX / 2);
    put_literal(&inside, "\"image\":{\"source\":{\"bytes\":\"");
    rope_put(&place->text, &inside);
    put_literal(&inside, "\"}}");
    put_delta(w, out, &inside);
    buffer_done(&inside);
}

static void close_place(struct bedrock_writer *w, struct bedrock_place *place, struct buffer *out)
{
    const struct answer_way *way = w->base.way;
    struct arena *arena = &w->base.arena;
    bool thought = place->kind == PART_REASONING;
    if (place->kind == PART_RAW)
        put_raw(w, place, out);
    else if (place->kind == PART_IMAGE)
        put_image(w, place, out);
    if (thought && place->signature.len)
        put_piece(w, place, "reasoningContent", "signature", place->signature, out);
    put_block_stop(w, place, out);
    if (thought && place->encrypted.len)
        put_redacted_block(w, proof_of(way, arena, place->id, PROOF_ENCRYPTED, place->encrypted),
                           out);
    else if ((place->kind == PART_CALL || is_spoken(place->kind)) && place->signature.len &&
             !is_own(way))
        put_redacted_block(w,
                           proof_of(way, arena, place->id,
                                    place->kind == PART_CALL ? PROOF_CALL : PROOF_TEXT,
                                    place->signature),
                           out);
}

/* The block that is being written is over: those that waited behind it are next. */
static void go_on(struct bedrock_writer *w, struct buffer *out)
{
    while (w->live < w->place_count && w->places[w->live].is_ended) {
        close_place(w, &w->places[w->live], out);
        if (++w->live == w->place_count)
            return;
        struct bedrock_place *next = &w->places[w->live];
        open_place(w, next, out);
        if (next->kind == PART_IMAGE)
            continue;
        put_more(w, next, rope_text(&next->text, &w->base.arena), out);
    }
}

static struct bedrock_place *place_of(struct bedrock_writer *w, unsigned part)
{
    for (size_t i = w->live; i < w->place_count; i++)
        if (w->places[i].part == part && !w->places[i].is_ended)
            return &w->places[i];
    return NULL;
}

static void begin_part(struct bedrock_writer *w, const struct answer_event *event,
                       struct buffer *out)
{
    struct arena *arena = &w->base.arena;
    if (w->place_count == BEDROCK_PLACES_MAX)
        return;
    w->places =
        arena_grow(arena, w->places, w->place_count, &w->place_room, sizeof(struct bedrock_place));
    struct bedrock_place *place = &w->places[w->place_count++];
    *place = (struct bedrock_place){
        .part = event->part,
        .kind = event->part_kind,
        .id = arena_copy(arena, event->id),
        .name =
            arena_copy(arena, event->part_kind == PART_IMAGE ? event->media_type : event->name)};
    if (w->live == w->place_count - 1)
        open_place(w, place, out);
}

static void end_part(struct bedrock_writer *w, struct bedrock_place *place, struct buffer *out)
{
    bool live = place == &w->places[w->live];
    /* A call without arguments has none: an object all the same. */
    if (place->kind == PART_CALL && !place->text.len && !place->has_text) {
        if (live)
            put_more(w, place, TEXT("{}"), out);
        else
            rope_add(&place->text, &w->base.arena, TEXT("{}"));
    }
    place->is_ended = true;
    if (live)
        go_on(w, out);
}

static void take_text(struct bedrock_writer *w, struct bedrock_place *place, struct text inner,
                      struct buffer *out)
{
    place->has_text = place->has_text || inner.len;
    if (place == &w->places[w->live] && place->kind != PART_IMAGE)
        put_more(w, place, inner, out);
    else if (place->text.len + inner.len <= HELD_MAX)
        rope_add(&place->text, &w->base.arena, inner);
}

static void put_citation(struct bedrock_writer *w, struct bedrock_place *place,
                         const struct citation *citation, struct buffer *out)
{
    struct buffer inside;
    if (place != &w->places[w->live] || !is_spoken(place->kind))
        return;
    buffer_init(&inside, SIZE_MAX / 2);
    put_literal(&inside, "\"citation\":{");
    bedrock_put_citation(&inside, citation);
    put_delta(w, out, &inside);
    place->is_open = true;
    buffer_done(&inside);
}

static void take_content(struct bedrock_writer *w, const struct answer_event *event,
                         struct buffer *out)
{
    struct arena *arena = &w->base.arena;
    struct bedrock_place *place = place_of(w, event->part);
    if (!place)
        return;
    if (event->kind == ANSWER_PART_END)
        end_part(w, place, out);
    else if (event->kind == ANSWER_SIGNATURE)
        place->signature = arena_copy(arena, event->text);
    else if (event->kind == ANSWER_ENCRYPTED)
        place->encrypted = arena_copy(arena, event->text);
    else if (event->kind == ANSWER_RAW)
        place->raw = arena_copy(arena, event->raw);
    else if (event->kind == ANSWER_CITATION)
        put_citation(w, place, event->citation, out);
    else if (event->kind != ANSWER_DATA || place->kind == PART_IMAGE)
        take_text(w, place, event->text, out);
}

static void take_field(struct bedrock_writer *w, const struct answer_event *event)
{
    if (!is_own(w->base.way) || w->field_count == CHAT_FIELDS_MAX)
        return;
    w->fields[w->field_count++] =
        (struct chat_field){.name = arena_copy(&w->base.arena, event->name),
                            .value = arena_copy(&w->base.arena, event->raw)};
}

static void put_end(struct bedrock_writer *w, struct buffer *out)
{
    struct buffer json;
    buffer_init(&json, SIZE_MAX / 2);
    put_begin(w, out);
    put_literal(&json, "{");
    put_stop(w->base.way, w->reason, w->finish, w->has_calls, &json);
    put_json(&json, "additionalModelResponseFields",
             bedrock_field(w->fields, w->field_count, TEXT("additionalModelResponseFields")));
    put_literal(&json, "}");
    put_event(out, "messageStop", &json);
    buffer_clear(&json);
    put_literal(&json, "{");
    put_metadata(&json, &w->usage, w->fields, w->field_count);
    put_literal(&json, "}");
    put_event(out, "metadata", &json);
    buffer_done(&json);
}

static void put_failure(const struct answer_event *event, struct buffer *out)
{
    struct buffer json;
    buffer_init(&json, SIZE_MAX / 2);
    put_literal(&json, "{");
    put_inner(&json, "message", event->text.at ? event->text : TEXT(""));
    put_literal(&json, "}");
    frame_put_aws(out, TEXT("exception"),
                  event->fault == FAULT_TARGET_BUSY ? TEXT("throttlingException")
                                                    : TEXT("internalServerException"),
                  buffer_text(&json));
    buffer_done(&json);
}

void bedrock_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct bedrock_writer *w = state;
    if (event->choice > 0)
        return;
    switch (event->kind) {
    case ANSWER_BEGIN:
        put_begin(w, out);
        break;
    case ANSWER_PART:
        begin_part(w, event, out);
        break;
    case ANSWER_FINISH:
        w->finish = event->finish;
        w->reason = arena_copy(&w->base.arena, event->name);
        break;
    case ANSWER_USAGE:
        w->usage = *event->usage;
        break;
    case ANSWER_FIELD:
        take_field(w, event);
        break;
    case ANSWER_FAIL:
        put_failure(event, out);
        break;
    case ANSWER_END:
        put_end(w, out);
        break;
    case ANSWER_LOGPROBS:
        break;
    case ANSWER_TEXT:
    case ANSWER_ARGUMENTS:
    case ANSWER_SIGNATURE:
    case ANSWER_ENCRYPTED:
    case ANSWER_DATA:
    case ANSWER_CITATION:
    case ANSWER_RAW:
    case ANSWER_PART_END:
        take_content(w, event, out);
        break;
    }
}
