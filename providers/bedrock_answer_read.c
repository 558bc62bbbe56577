/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bedrock.h: an answer is read, as a stream of events or as a whole.
 */
#include <stdio.h>
#include <string.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"

static const int64_t INDEX_MAX = 1000000;
static const int64_t TOKENS_MAX = 1000000000000;

enum { RAW_MAX = 16 << 20 };

static bool is_object(struct text json)
{
    return json.len && json.at[0] == '{';
}

static struct text find(struct text object, struct text name)
{
    return is_object(object) ? member_find(object, name) : (struct text){NULL, 0};
}

static struct text find_string(struct text object, struct text name)
{
    return member_string(find(object, name));
}

/* ---------------------------------------------------------------------- words and figures */

/* clang-format off */
static const struct {
    struct text word;
    enum finish finish;
} reasons[] = {
    {{"end_turn", 8},                       FINISH_STOP},
    {{"tool_use", 8},                       FINISH_CALLS},
    {{"max_tokens", 10},                    FINISH_LENGTH},
    {{"stop_sequence", 13},                 FINISH_SEQUENCE},
    {{"content_filtered", 16},              FINISH_FILTER},
    {{"guardrail_intervened", 20},          FINISH_FILTER},
    {{"malformed_model_output", 22},        FINISH_ERROR},
    {{"malformed_tool_use", 18},            FINISH_ERROR},
    {{"model_context_window_exceeded", 29}, FINISH_LENGTH},
    {{"refusal", 7},                        FINISH_REFUSAL},
    {{"pause_turn", 10},                    FINISH_PAUSE},
};
/* clang-format on */

enum finish bedrock_finish_of(struct text reason)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (text_equal(reasons[i].word, reason))
            return reasons[i].finish;
    return FINISH_STOP;
}

struct text bedrock_stop_reason(enum finish finish)
{
    if (finish == FINISH_REFUSAL)
        return TEXT("content_filtered");
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].finish == finish && finish != FINISH_PAUSE)
            return reasons[i].word;
    return TEXT("end_turn");
}

/* "cacheReadInputTokens"; Nova calls it "cacheReadInputTokenCount". */
static void read_cached(struct text json, const char *name, int64_t *tokens)
{
    char longer[64];
    snprintf(longer, sizeof(longer), "%.*sCount", (int)strlen(name) - 1, name);
    if (!member_count(find(json, text_of(name)), TOKENS_MAX, tokens))
        member_count(find(json, text_of(longer)), TOKENS_MAX, tokens);
}

/* Of what was written, that which is kept for an hour. */
static int64_t written_1h(struct text details, int64_t written)
{
    struct text name, item;
    int64_t sum = 0, tokens;
    while (member_next(&details, &name, &item))
        if (text_equal(find_string(item, TEXT("ttl")), TEXT("1h")) &&
            member_count(find(item, TEXT("inputTokens")), TOKENS_MAX, &tokens))
            sum += tokens < written - sum ? tokens : written - sum;
    return sum;
}

/* What of the cache was read or written is beside the input here, not in it. */
bool bedrock_read_usage(struct text json, struct usage *usage)
{
    int64_t input = 0;
    if (!is_object(json))
        return false;
    bool said = member_count(find(json, TEXT("inputTokens")), TOKENS_MAX, &input);
    said |= member_count(find(json, TEXT("outputTokens")), TOKENS_MAX, &usage->output_tokens);
    read_cached(json, "cacheReadInputTokens", &usage->cached_tokens);
    read_cached(json, "cacheWriteInputTokens", &usage->cache_write_tokens);
    struct text details = find(json, TEXT("cacheDetails"));
    if (details.len && details.at[0] == '[')
        usage->cache_write_1h_tokens = written_1h(details, usage->cache_write_tokens);
    usage->input_tokens = input + usage->cached_tokens + usage->cache_write_tokens;
    if (usage->input_tokens > 2 * TOKENS_MAX)
        usage->input_tokens = 2 * TOKENS_MAX;
    return said;
}

enum fault_kind bedrock_fault(struct text exception)
{
    if (text_find(exception, TEXT("hrottling")) != SIZE_MAX ||
        text_find(exception, TEXT("erviceUnavailable")) != SIZE_MAX ||
        text_find(exception, TEXT("odelNotReady")) != SIZE_MAX ||
        text_find(exception, TEXT("erviceQuotaExceeded")) != SIZE_MAX)
        return FAULT_TARGET_BUSY;
    if (text_find(exception, TEXT("alidation")) != SIZE_MAX)
        return FAULT_TARGET_REFUSED;
    return FAULT_TARGET_ERROR;
}

/* {"message":"..."}, with a capital at some doors; what it is stands in a header. */
void bedrock_read_error(unsigned status, struct text body, struct provider_error *error)
{
    struct text words = find_string(body, TEXT("message"));
    bool about_us = status == 401 || status == 403;
    if (!words.at)
        words = find_string(body, TEXT("Message"));
    if (status == 429 || status == 503)
        error->kind = FAULT_TARGET_BUSY;
    else if (about_us || status == 408 || status == 424 || status == 409)
        error->kind = FAULT_TARGET_ERROR;
    else if (status >= 400 && status <= 499)
        error->kind = FAULT_TARGET_REFUSED;
    else
        error->kind = status >= 500 && status <= 599 ? FAULT_TARGET_ERROR : FAULT_TARGET_INVALID;
    if (about_us) /* a key may be repeated there */
        words = TEXT("the provider refuses our key or account");
    provider_error_say(error, TEXT(""), words);
}

/* ---------------------------------------------------------------------------------- saying */

static void say_fail(struct bedrock_reader *r, struct answer_sink *sink, enum fault_kind kind,
                     struct text inner)
{
    struct answer_event event = {.kind = ANSWER_FAIL, .fault = kind, .text = inner};
    if (r->is_over)
        return;
    r->is_over = true;
    sink->take(sink, &event);
}

static void say(struct bedrock_reader *r, struct answer_sink *sink, enum event_kind kind,
                struct text inner)
{
    struct answer_event event = {
        .kind = kind, .part_kind = r->kind, .part = r->part, .text = inner};
    if (!r->is_over)
        sink->take(sink, &event);
}

static void say_field(struct answer_sink *sink, struct text name, struct text json)
{
    struct answer_event event = {.kind = ANSWER_FIELD, .name = name, .raw = json};
    if (!json_is_absent(json))
        sink->take(sink, &event);
}

static void say_begin(struct bedrock_reader *r, struct answer_sink *sink)
{
    struct answer_event event = {.kind = ANSWER_BEGIN};
    if (!r->has_begun)
        sink->take(sink, &event);
    r->has_begun = true;
}

/* The block as it is at its end. */
static struct text raw_whole(struct bedrock_reader *r)
{
    struct text name, value, inside, rest = r->start;
    struct buffer made;
    if (!member_next(&rest, &name, &value) || !is_object(value))
        return r->start;
    bool is_call = text_equal(name, TEXT("toolUse"));
    struct text came = rope_text(&r->raw, &r->base.arena);
    buffer_init(&made, SIZE_MAX / 2);
    put_literal(&made, "{");
    anthropic_put_name(&made, name);
    put_literal(&made, "{");
    while (member_next(&value, &name, &inside)) {
        anthropic_put_name(&made, name);
        put_text(&made, inside);
    }
    anthropic_put_name(&made, is_call ? TEXT("input") : TEXT("content"));
    if (is_call)
        put_text(&made, object_of_inner(&r->base.arena, came));
    else
        buffer_format(&made, "[%.*s]", TEXT_ARGS(came));
    put_literal(&made, "}}");
    struct text whole = arena_copy(&r->base.arena, buffer_text(&made));
    buffer_done(&made);
    return whole;
}

static void close_block(struct bedrock_reader *r, struct answer_sink *sink)
{
    if (!r->is_open)
        return;
    struct text said = rope_text(&r->said, &r->base.arena);
    r->is_open = false;
    if (said.len && !r->is_redacted) {
        say(r, sink, ANSWER_SIGNATURE, said);
    } else if (said.len) {
        struct part part = {.from = &translator_bedrock};
        if (bedrock_read_redacted(&r->base.arena, said, &part))
            say(r, sink, ANSWER_ENCRYPTED, part.encrypted);
    }
    if (r->kind == PART_RAW) {
        struct answer_event event = {.kind = ANSWER_RAW, .part_kind = PART_RAW, .part = r->part};
        event.raw = raw_whole(r);
        sink->take(sink, &event);
    }
    r->said = (struct rope){.first = NULL};
    r->raw = (struct rope){.first = NULL};
    say(r, sink, ANSWER_PART_END, TEXT(""));
}

static void open_block(struct bedrock_reader *r, struct answer_sink *sink,
                       const struct answer_event *like, int64_t index)
{
    struct answer_event event = *like;
    close_block(r, sink);
    say_begin(r, sink);
    if (r->parts == CHAT_PARTS_MAX)
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's answer has too many parts."));
    if (r->is_over)
        return;
    r->is_open = true;
    r->is_redacted = false;
    r->kind = event.part_kind;
    r->index = index;
    r->part = r->parts++;
    event.kind = ANSWER_PART;
    event.part = r->part;
    if (event.part_kind == PART_CALL && event.id.len == 0)
        event.id =
            arena_format(&r->base.arena, "call_%.*s_%u", TEXT_ARGS(r->base.way->id), r->part);
    sink->take(sink, &event);
}

static void open_plain(struct bedrock_reader *r, struct answer_sink *sink, enum part_kind kind,
                       int64_t index)
{
    if (r->is_open && r->kind == kind && r->index == index)
        return;
    struct answer_event event = {.part_kind = kind};
    open_block(r, sink, &event, index);
}

/* --------------------------------------------------------------------------- the events */

static int64_t index_of(struct text json)
{
    int64_t index = -1;
    member_count(find(json, TEXT("contentBlockIndex")), INDEX_MAX, &index);
    return index;
}

static void start_block(struct bedrock_reader *r, struct answer_sink *sink, struct text json)
{
    struct text start = find(json, TEXT("start"));
    struct text call = find(start, TEXT("toolUse"));
    struct text type = find_string(call, TEXT("type"));
    struct text image = find(start, TEXT("image"));
    struct answer_event event = {.part_kind = PART_RAW};
    if (is_object(call) && (!type.len || inner_is(type, "tool_use"))) {
        event.part_kind = PART_CALL;
        event.id = find_string(call, TEXT("toolUseId"));
        event.name = find_string(call, TEXT("name"));
    } else if (is_object(image)) {
        event.part_kind = PART_IMAGE;
        event.media_type =
            arena_format(&r->base.arena, "image/%.*s",
                         TEXT_ARGS(text_head(find_string(image, TEXT("format")), 16)));
    } else if (!is_object(find(start, TEXT("toolResult"))) && !is_object(call)) {
        return; /* of a text, which begins with its first piece */
    }
    open_block(r, sink, &event, index_of(json));
    if (event.part_kind == PART_RAW)
        r->start = arena_copy(&r->base.arena, start);
}

static void keep_raw(struct bedrock_reader *r, struct text piece, bool item)
{
    if (!r->is_open || r->kind != PART_RAW || r->raw.len + piece.len > RAW_MAX)
        return;
    if (item && r->raw.len)
        rope_add(&r->raw, &r->base.arena, TEXT(","));
    rope_add(&r->raw, &r->base.arena, piece);
}

static void take_input(struct bedrock_reader *r, struct answer_sink *sink, struct text delta)
{
    struct text input = find(delta, TEXT("input")), inner = member_string(input);
    if (r->is_open && r->kind == PART_RAW)
        keep_raw(r, inner, false);
    else if (r->is_open && r->kind == PART_CALL && inner.len)
        say(r, sink, ANSWER_ARGUMENTS, inner);
    else if (r->is_open && r->kind == PART_CALL && is_object(input))
        say(r, sink, ANSWER_ARGUMENTS, inner_of_json(&r->base.arena, input));
}

/* A signature, or what is redacted, may come in pieces; it is said whole. */
static void take_said(struct bedrock_reader *r, struct text inner, bool is_redacted)
{
    if (r->said.len + inner.len > RAW_MAX || (r->said.len && r->is_redacted != is_redacted))
        return;
    r->is_redacted = is_redacted;
    rope_add(&r->said, &r->base.arena, inner);
}

static void take_reasoning(struct bedrock_reader *r, struct answer_sink *sink, struct text delta,
                           int64_t index)
{
    struct text text = find_string(delta, TEXT("text"));
    struct text signature = find_string(delta, TEXT("signature"));
    struct text redacted = find_string(delta, TEXT("redactedContent"));
    open_plain(r, sink, PART_REASONING, index);
    if (text.len)
        say(r, sink, ANSWER_TEXT, text);
    if (signature.len)
        take_said(r, signature, false);
    if (redacted.len)
        take_said(r, redacted, true);
}

static void say_citation(struct bedrock_reader *r, struct answer_sink *sink, struct text json)
{
    struct citation citation = bedrock_read_citation(json);
    struct answer_event event = {
        .kind = ANSWER_CITATION, .part_kind = r->kind, .part = r->part, .citation = &citation};
    if (!r->is_over)
        sink->take(sink, &event);
}

static void take_results(struct bedrock_reader *r, struct text list)
{
    struct text none, item;
    if (!list.len || list.at[0] != '[')
        return;
    while (member_next(&list, &none, &item))
        keep_raw(r, item, true);
}

static void take_delta(struct bedrock_reader *r, struct answer_sink *sink, struct text json)
{
    struct text delta = find(json, TEXT("delta")), name, value;
    int64_t index = index_of(json);
    if (!is_object(delta))
        return;
    while (member_next(&delta, &name, &value)) {
        if (json_is_absent(value))
            continue;
        if (text_equal(name, TEXT("text"))) {
            open_plain(r, sink, PART_TEXT, index);
            if (member_string(value).len)
                say(r, sink, ANSWER_TEXT, member_string(value));
        } else if (text_equal(name, TEXT("toolUse"))) {
            take_input(r, sink, value);
        } else if (text_equal(name, TEXT("reasoningContent"))) {
            take_reasoning(r, sink, value, index);
        } else if (text_equal(name, TEXT("citation")) && is_object(value)) {
            open_plain(r, sink, PART_TEXT, index);
            say_citation(r, sink, value);
        } else if (text_equal(name, TEXT("toolResult"))) {
            take_results(r, value);
        } else if (text_equal(name, TEXT("image")) && r->is_open && r->kind == PART_IMAGE) {
            struct text data = find_string(find(value, TEXT("source")), TEXT("bytes"));
            if (data.len)
                say(r, sink, ANSWER_DATA, data);
        }
    }
}

static void say_finish(struct bedrock_reader *r, struct answer_sink *sink, struct text json)
{
    struct text reason = find_string(json, TEXT("stopReason"));
    struct answer_event event = {
        .kind = ANSWER_FINISH, .finish = bedrock_finish_of(reason), .name = reason};
    close_block(r, sink);
    say_begin(r, sink);
    say_field(sink, TEXT("additionalModelResponseFields"),
              find(json, TEXT("additionalModelResponseFields")));
    if (!r->has_finished)
        sink->take(sink, &event);
    r->has_finished = true;
}

/* Figures, and whatever else only AWS knows of the answer. */
static void say_metadata(struct answer_sink *sink, struct text json)
{
    static const struct text names[] = {
        {"metrics", 7}, {"trace", 5}, {"performanceConfig", 17}, {"serviceTier", 11}};
    struct usage usage = {0};
    struct answer_event event = {.kind = ANSWER_USAGE, .usage = &usage};
    struct text said = find(json, TEXT("usage"));
    if (bedrock_read_usage(said, &usage))
        sink->take(sink, &event);
    say_field(sink, TEXT("cacheDetails"), find(said, TEXT("cacheDetails")));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        say_field(sink, names[i], find(json, names[i]));
}

static void say_end(struct bedrock_reader *r, struct answer_sink *sink)
{
    struct answer_event event = {.kind = ANSWER_END};
    r->is_over = true;
    sink->take(sink, &event);
}

void bedrock_read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    struct bedrock_reader *r = state;
    struct text name = frame->name, json = text_trim(frame->data);
    if (r->is_over)
        return;
    if (frame->kind.len && !text_equal(frame->kind, TEXT("event"))) {
        struct text words = find_string(json, TEXT("message"));
        say_fail(r, sink, bedrock_fault(name), words.at ? words : TEXT(""));
    } else if (!is_object(json) || !scan_is_valid(json)) {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's stream is not Bedrock's."));
    } else if (r->has_finished && text_starts(name, TEXT("contentBlock"))) {
        return; /* nothing is said behind the reason why it ended */
    } else if (text_equal(name, TEXT("contentBlockDelta"))) {
        take_delta(r, sink, json);
    } else if (text_equal(name, TEXT("messageStart"))) {
        say_begin(r, sink);
    } else if (text_equal(name, TEXT("contentBlockStart"))) {
        start_block(r, sink, json);
    } else if (text_equal(name, TEXT("contentBlockStop"))) {
        close_block(r, sink);
    } else if (text_equal(name, TEXT("messageStop"))) {
        say_finish(r, sink, json);
    } else if (text_equal(name, TEXT("metadata"))) {
        say_begin(r, sink);
        say_metadata(sink, json);
        if (r->has_finished)
            say_end(r, sink);
    }
}

/* Behind messageStop only figures would come. */
void bedrock_read_end(void *state, struct answer_sink *sink)
{
    struct bedrock_reader *r = state;
    if (r->has_finished && !r->is_over)
        say_end(r, sink);
}

/* ------------------------------------------------------------------------- a whole answer */

static void say_part(struct bedrock_reader *r, struct answer_sink *sink, const struct part *part)
{
    bool is_raw = part->kind == PART_RAW || part->kind == PART_RESULT || part->kind == PART_FILE;
    struct answer_event event = {.part_kind = is_raw ? PART_RAW : part->kind};
    event.media_type = part->kind == PART_IMAGE ? part->media_type : TEXT("");
    if (part->kind == PART_CALL) {
        event.id = part->id;
        event.name = part->name;
    }
    open_block(r, sink, &event, r->parts);
    if (part->text.len && !is_raw)
        say(r, sink, ANSWER_TEXT, part->text);
    for (size_t i = 0; i < part->citation_count; i++)
        say_citation(r, sink, part->citations[i].raw);
    if (part->kind == PART_CALL)
        say(r, sink, ANSWER_ARGUMENTS, inner_of_json(&r->base.arena, part->arguments));
    if (part->signature.len)
        say(r, sink, ANSWER_SIGNATURE, part->signature);
    if (part->encrypted.len)
        say(r, sink, ANSWER_ENCRYPTED, part->encrypted);
    if (part->data.len && !is_raw)
        say(r, sink, ANSWER_DATA, part->data);
    if (is_raw) {
        event.kind = ANSWER_RAW;
        event.part = r->part;
        event.raw = part->raw;
        sink->take(sink, &event);
    }
    r->is_open = false;
    say(r, sink, ANSWER_PART_END, TEXT(""));
}

/* A block that cannot be read is nothing that another dialect could say. */
static void say_content(struct bedrock_reader *r, struct answer_sink *sink, struct text list)
{
    struct text none, json;
    struct part part;
    if (!list.len || list.at[0] != '[')
        return;
    while (r->parts < CHAT_PARTS_MAX && member_next(&list, &none, &json)) {
        const char *wrong = bedrock_read_block(&r->base.arena, json, &part);
        if (wrong || part.kind == PART_RESULT || part.kind == PART_FILE || part.kind == PART_RAW)
            part = (struct part){.kind = PART_RAW, .raw = json};
        say_part(r, sink, &part);
    }
}

void bedrock_read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct bedrock_reader *r = state;
    struct text json = text_trim(body);
    struct text message = find(find(json, TEXT("output")), TEXT("message"));
    if (!is_object(message) || !scan_is_valid(json)) {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target's answer is not Bedrock's."));
        return;
    }
    say_begin(r, sink);
    say_content(r, sink, find(message, TEXT("content")));
    say_finish(r, sink, json);
    say_metadata(sink, json);
    say_end(r, sink);
}
