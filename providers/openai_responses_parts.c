/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/openai_responses_parts.h"

#include "gateway/base/member.h"

/* ------------------------------------------------------------------------------- saying */

static void say(struct response_say *s, struct answer_event event)
{
    if (!s->r->is_over)
        s->sink->take(s->sink, &event);
}

static struct answer_event about(const struct response_say *s, const struct response_open *part,
                                 enum event_kind kind)
{
    return (struct answer_event){
        .kind = kind, .part_kind = part->kind, .part = (unsigned)(part - s->r->parts)};
}

static bool is_own(const struct response_say *s)
{
    const struct answer_way *way = s->r->base.way;
    return way && way->to == &translator_openai_responses;
}

void response_begin(struct response_say *s, struct text response)
{
    struct answer_event event = {.kind = ANSWER_BEGIN};
    struct text name, value;
    if (s->r->has_begun)
        return;
    s->r->has_begun = true;
    while (response.len && member_next(&response, &name, &value)) {
        if (text_equal(name, TEXT("id")))
            event.id = member_string(value);
        else if (text_equal(name, TEXT("model")))
            event.model = member_string(value);
        else if (text_equal(name, TEXT("created_at")))
            member_count(text_head(value, text_find_byte(value, '.')), INT64_C(100000000000),
                         &event.created);
    }
    say(s, event);
}

/* -------------------------------------------------------------------------------- parts */

static struct response_open *find(struct response_say *s, int64_t item, int64_t content)
{
    struct responses_reader *r = s->r;
    for (size_t i = r->part_count; i-- > 0;)
        if ((r->parts[i].item == item || item < 0) && r->parts[i].content == content)
            return &r->parts[i];
    return NULL;
}

static struct text image_type(struct response_say *s, struct text item)
{
    struct text format = member_string(member_find(item, TEXT("output_format")));
    return format.len ? arena_format(&s->r->base.arena, "image/%.*s", TEXT_ARGS(format))
                      : TEXT("image/png");
}

/* <item>: as it is when it begins; only of this dialect's own writer. */
static struct response_open *part_begin(struct response_say *s, struct response_open like,
                                        struct text id, struct text name, struct text item)
{
    struct responses_reader *r = s->r;
    response_begin(s, (struct text){NULL, 0});
    if (r->part_count == CHAT_PARTS_MAX) {
        response_fail_with(s, TEXT("too_long"), TEXT("The answer has too many parts."));
        return NULL;
    }
    r->parts = arena_grow(&r->base.arena, r->parts, r->part_count, &r->part_room, sizeof(like));
    struct response_open *part = &r->parts[r->part_count++];
    *part = like;
    part->is_open = true;
    part->section = -1;
    r->has_calls = r->has_calls || part->kind == PART_CALL;
    r->has_refusal = r->has_refusal || part->kind == PART_REFUSAL;
    struct answer_event event = about(s, part, ANSWER_PART);
    event.id = id;
    event.name = name;
    if (part->kind == PART_IMAGE)
        event.media_type = image_type(s, item);
    if (is_own(s))
        event.raw = item;
    say(s, event);
    return part;
}

void response_part_close(struct response_say *s, struct response_open *part)
{
    if (!part || !part->is_open)
        return;
    if (part->is_custom) {
        struct answer_event event = about(s, part, ANSWER_ARGUMENTS);
        event.text = part->has_said ? TEXT("\\\"}") : TEXT("{\\\"input\\\":\\\"\\\"}");
        say(s, event);
    }
    part->is_open = false;
    say(s, about(s, part, ANSWER_PART_END));
}

void response_text(struct response_say *s, struct response_open *part, struct text inner)
{
    if (!part || !part->is_open || inner.len == 0)
        return;
    struct answer_event event = about(s, part, ANSWER_TEXT);
    event.text = inner;
    part->has_said = true;
    say(s, event);
}

/* Free text becomes the one argument: a string in a JSON text in a string. */
static void say_input(struct response_say *s, struct response_open *part, struct text inner)
{
    struct answer_event event = about(s, part, ANSWER_ARGUMENTS);
    struct buffer twice;
    event.text = TEXT("{\\\"input\\\":\\\"");
    if (!part->has_said)
        say(s, event);
    part->has_said = true;
    buffer_init(&twice, inner.len * 6 + 16);
    put_json_inner(&twice, inner);
    event.text = buffer_text(&twice);
    say(s, event);
    buffer_done(&twice);
}

void response_arguments(struct response_say *s, struct response_open *part, struct text inner)
{
    if (!part || !part->is_open || inner.len == 0)
        return;
    if (part->is_custom) {
        say_input(s, part, inner);
        return;
    }
    struct answer_event event = about(s, part, ANSWER_ARGUMENTS);
    event.text = inner;
    part->has_said = true;
    say(s, event);
}

void response_cite(struct response_say *s, struct response_open *part, struct text annotation)
{
    if (!part || !part->is_open || annotation.len == 0 || part->citations == CHAT_PARTS_MAX)
        return;
    struct citation citation = responses_citation(annotation);
    struct answer_event event = about(s, part, ANSWER_CITATION);
    event.citation = &citation;
    part->citations++;
    say(s, event);
}

void response_logprobs(struct response_say *s, struct response_open *part, struct text list)
{
    if (!part || list.len <= 2 || list.at[0] != '[')
        return;
    part->has_logprobs = true;
    say(s, (struct answer_event){.kind = ANSWER_LOGPROBS, .raw = list});
}

struct response_open *response_call_of(struct response_say *s, int64_t item)
{
    struct response_open *part = find(s, item, -1);
    return part && part->kind == PART_CALL ? part : NULL;
}

/* -------------------------------------------------------------------- a message's content */

struct response_open *response_content_open(struct response_say *s, int64_t item, int64_t content,
                                            enum part_kind kind)
{
    struct responses_reader *r = s->r;
    if (content < 0)
        content = 0;
    struct response_open *part = find(s, item, content);
    if (part && part->kind == kind)
        return part;
    if (item < 0)
        item = r->message_item;
    bool known = r->message_id.at && item == r->message_item;
    struct text none = {NULL, 0};
    return part_begin(s, (struct response_open){.item = item, .content = content, .kind = kind},
                      known ? r->message_id : none, known ? r->phase : none, none);
}

static void cite_all(struct response_say *s, struct response_open *part, struct text list)
{
    struct text none, annotation;
    if (part->citations || !list.len || list.at[0] != '[')
        return;
    while (member_next(&list, &none, &annotation))
        response_cite(s, part, annotation);
}

/* What of a content part has not been said yet, and its end. */
void response_content_end(struct response_say *s, int64_t item, int64_t content, struct text json)
{
    struct text type = member_string(member_find(json, TEXT("type")));
    bool is_refusal = inner_is(type, "refusal");
    if (!is_refusal && !inner_is(type, "output_text"))
        return;
    struct response_open *part =
        response_content_open(s, item, content, is_refusal ? PART_REFUSAL : PART_TEXT);
    if (!part || !part->is_open)
        return;
    if (!part->has_said)
        response_text(
            s, part, member_string(member_find(json, is_refusal ? TEXT("refusal") : TEXT("text"))));
    if (!part->has_logprobs)
        response_logprobs(s, part, member_find(json, TEXT("logprobs")));
    cite_all(s, part, member_find(json, TEXT("annotations")));
    response_part_close(s, part);
}

static void message_begin(struct response_say *s, int64_t item, struct text json)
{
    struct responses_reader *r = s->r;
    r->message_item = item;
    r->message_id = arena_copy(&r->base.arena, member_string(member_find(json, TEXT("id"))));
    struct text phase = member_string(member_find(json, TEXT("phase")));
    r->phase = phase.at ? arena_copy(&r->base.arena, phase) : phase;
}

static void message_end(struct response_say *s, int64_t item, struct text json)
{
    struct text content = member_find(json, TEXT("content")), none, part;
    int64_t place = 0;
    if (!find(s, item, 0))
        message_begin(s, item, json);
    if (!content.len || content.at[0] != '[')
        return;
    while (member_next(&content, &none, &part))
        response_content_end(s, item, place++, part);
}

/* ---------------------------------------------------------------------------- reasoning */

static struct response_open *reasoning_open(struct response_say *s, int64_t item, struct text id)
{
    struct response_open *part = find(s, item, -1);
    if (part && part->kind == PART_REASONING)
        return part;
    struct response_open like = {.item = item, .content = -1, .kind = PART_REASONING};
    struct text none = {NULL, 0};
    return part_begin(s, like, id, none, none);
}

void response_thought(struct response_say *s, int64_t item, bool in_content, int64_t section,
                      struct text inner)
{
    struct response_open *part = reasoning_open(s, item, (struct text){NULL, 0});
    if (!part || !part->is_open || inner.len == 0)
        return;
    if (section < 0)
        section = 0;
    if (part->has_said && (part->section != section || part->in_content != in_content))
        response_text(s, part, TEXT("\\n\\n"));
    part->section = section;
    part->in_content = in_content;
    response_text(s, part, inner);
}

void response_thought_done(struct response_say *s, int64_t item, bool in_content, int64_t section,
                           struct text inner)
{
    struct response_open *part = find(s, item, -1);
    if (!part || part->section != (section < 0 ? 0 : section) || part->in_content != in_content)
        response_thought(s, item, in_content, section, inner);
}

static void thoughts_of(struct response_say *s, int64_t item, bool in_content, struct text list)
{
    struct text none, json;
    int64_t section = 0;
    if (!list.len || list.at[0] != '[')
        return;
    while (member_next(&list, &none, &json))
        response_thought(s, item, in_content, section++,
                         member_string(member_find(json, TEXT("text"))));
}

static void say_if(struct response_say *s, const struct response_open *part, enum event_kind kind,
                   struct text inner)
{
    struct answer_event event = about(s, part, kind);
    event.text = inner;
    if (inner.len)
        say(s, event);
}

/* The item as it came, for those who can repeat it. */
static void say_raw(struct response_say *s, const struct response_open *part, struct text json)
{
    struct answer_event event = about(s, part, ANSWER_RAW);
    event.raw = json;
    say(s, event);
}

static void reasoning_end(struct response_say *s, int64_t item, struct text json)
{
    struct response_open *part =
        reasoning_open(s, item, member_string(member_find(json, TEXT("id"))));
    if (!part || !part->is_open)
        return;
    if (!part->has_said)
        thoughts_of(s, item, false, member_find(json, TEXT("summary")));
    if (!part->has_said)
        thoughts_of(s, item, true, member_find(json, TEXT("content")));
    struct text encrypted = member_string(member_find(json, TEXT("encrypted_content")));
    struct responses_proof proof = {.encrypted = encrypted};
    responses_read_proof(encrypted, &proof);
    if (!proof.signature.len) /* OpenRouter's, of Claude */
        proof.signature = member_string(member_find(json, TEXT("signature")));
    say_if(s, part, ANSWER_SIGNATURE, proof.signature);
    say_if(s, part, ANSWER_ENCRYPTED, proof.encrypted);
    if (is_own(s))
        say_raw(s, part, json);
    response_part_close(s, part);
}

/* --------------------------------------------------------------------- calls, and the rest */

static bool call_kind(struct text type, bool *is_custom)
{
    *is_custom = inner_is(type, "custom_tool_call");
    return *is_custom || inner_is(type, "function_call");
}

static struct text made_id(struct response_say *s)
{
    struct arena *arena = &s->r->base.arena;
    const struct answer_way *way = s->r->base.way;
    struct text seed = way ? inner_of(arena, way->id) : TEXT("");
    return arena_format(arena, "call_%.*s_%zu", TEXT_ARGS(seed), s->r->part_count);
}

static struct response_open *call_open(struct response_say *s, int64_t item, struct text json,
                                       bool is_custom)
{
    struct response_open *part = find(s, item, -1);
    if (part && part->kind == PART_CALL)
        return part;
    struct text id = member_string(member_find(json, TEXT("call_id")));
    if (!id.len)
        id = member_string(member_find(json, TEXT("id")));
    if (!id.len)
        id = made_id(s);
    struct response_open like = {
        .item = item, .content = -1, .kind = PART_CALL, .is_custom = is_custom};
    return part_begin(s, like, id, member_string(member_find(json, TEXT("name"))), json);
}

static void call_end(struct response_say *s, int64_t item, struct text json, bool is_custom)
{
    struct response_open *part = call_open(s, item, json, is_custom);
    if (!part || !part->is_open)
        return;
    if (!part->has_said)
        response_arguments(
            s, part,
            member_string(member_find(json, is_custom ? TEXT("input") : TEXT("arguments"))));
    if (is_own(s))
        say_raw(s, part, json);
    response_part_close(s, part);
}

/* An item that is one part: an image that was made, or what only this dialect has. */
static struct response_open *item_open(struct response_say *s, int64_t item, enum part_kind kind,
                                       struct text json)
{
    struct response_open *part = find(s, item, -1);
    struct response_open like = {.item = item, .content = -1, .kind = kind};
    struct text none = {NULL, 0};
    return part && part->kind == kind ? part : part_begin(s, like, none, none, json);
}

static void image_end(struct response_say *s, int64_t item, struct text json)
{
    struct response_open *part = item_open(s, item, PART_IMAGE, json);
    if (!part || !part->is_open)
        return;
    say_if(s, part, ANSWER_DATA, member_string(member_find(json, TEXT("result"))));
    if (is_own(s))
        say_raw(s, part, json);
    response_part_close(s, part);
}

void response_item_begin(struct response_say *s, int64_t item, struct text json)
{
    struct text type = member_string(member_find(json, TEXT("type")));
    bool is_custom;
    if (inner_is(type, "message"))
        message_begin(s, item, json);
    else if (inner_is(type, "reasoning"))
        reasoning_open(s, item, member_string(member_find(json, TEXT("id"))));
    else if (call_kind(type, &is_custom))
        call_open(s, item, json, is_custom);
    else if (!inner_is(type, "image_generation_call")) /* its format is known when it is done */
        item_open(s, item, PART_RAW, json);
}

static void close_item(struct response_say *s, int64_t item)
{
    for (size_t i = 0; i < s->r->part_count; i++)
        if (s->r->parts[i].item == item)
            response_part_close(s, &s->r->parts[i]);
}

void response_item_end(struct response_say *s, int64_t item, struct text json)
{
    struct text type = member_string(member_find(json, TEXT("type")));
    bool is_custom;
    if (inner_is(type, "message")) {
        message_end(s, item, json);
    } else if (inner_is(type, "reasoning")) {
        reasoning_end(s, item, json);
    } else if (call_kind(type, &is_custom)) {
        call_end(s, item, json, is_custom);
    } else if (inner_is(type, "image_generation_call")) {
        image_end(s, item, json);
    } else {
        struct response_open *part = item_open(s, item, PART_RAW, json);
        if (part && part->is_open)
            say_raw(s, part, json);
    }
    close_item(s, item);
}
