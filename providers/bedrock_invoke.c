/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bedrock's InvokeModel: bodies are those of the model's maker. Anthropic's are understood here
 * (those of others pass as they are, or not at all): the model stands in the path, its version and
 * the names of betas in the body, and an event of a stream in a frame as {"bytes": base64}.
 *
 * Source: AWS' user guide of Bedrock, "Anthropic Claude Messages API", and its reference of
 * InvokeModelWithResponseStream.
 */
#include <string.h>

#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"

#define VERSION "bedrock-2023-05-31"

enum { BETAS_MAX = 32, ROOM_MIN = 4096 };

/* ------------------------------------------------------------------------------- the call */

/* Betas that AWS names in its guide, by what they are called but for their date: any other ends a
 * call with an error. */
static const struct text betas[] = {
    {"computer-use-", 13},
    {"token-efficient-tools-", 22},
    {"interleaved-thinking-", 21},
    {"output-128k-", 12},
    {"dev-full-thinking-", 18},
    {"context-1m-", 11},
    {"context-management-", 19},
    {"effort-", 7},
    {"tool-search-tool-", 17},
    {"tool-examples-", 14},
    {"fine-grained-tool-streaming-", 28},
    {"compact-", 8},
};

/* Tools of Anthropic's that run at the client, or that AWS runs too. */
static const struct text tools[] = {
    {"computer_", 9}, {"bash_", 5}, {"text_editor_", 12}, {"memory_", 7}, {"tool_search_tool_", 17},
};

static bool begins_as(const struct text *list, size_t count, struct text name)
{
    for (size_t i = 0; i < count; i++)
        if (text_starts(name, list[i]))
            return true;
    return false;
}

/* Nothing is fetched, and no file is kept, at AWS. */
static bool takes_parts(const struct part *parts, size_t count, bool nested)
{
    for (size_t i = 0; i < count; i++) {
        const struct part *part = &parts[i];
        bool media = part->kind == PART_IMAGE || part->kind == PART_FILE;
        if (media && (part->url.len || part->id.len))
            return false;
        if (!nested && !takes_parts(part->parts, part->part_count, true))
            return false;
    }
    return true;
}

bool bedrock_invoke_takes(const struct chat *chat, struct text model)
{
    if (text_find(model, TEXT("claude")) == SIZE_MAX)
        return false;
    for (size_t i = 0; i < chat->tool_count; i++)
        if (chat->tools[i].kind == TOOL_OTHER &&
            !begins_as(tools, sizeof(tools) / sizeof(tools[0]), chat->tools[i].name))
            return false;
    for (size_t i = 0; i < chat->field_count; i++)
        if (chat->fields[i].is_demand)
            return false;
    for (size_t i = 0; i < chat->message_count; i++)
        if (!takes_parts(chat->messages[i].parts, chat->messages[i].part_count, false))
            return false;
    return true;
}

static bool read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    if (json_is_absent(member_find(source->body, TEXT("anthropic_version")))) {
        fault_set(fault, FAULT_BAD_REQUEST,
                  "Only a body of Anthropic's form (\"anthropic_version\") can be asked of this "
                  "model.");
        fault->param = "anthropic_version";
        return false;
    }
    chat->from = &translator_anthropic;
    if (!anthropic_read_call(arena, source, chat, fault))
        return false;
    /* What is said of these in the path counts; in the fields they stand for none but us. */
    chat->model = source->model;
    chat->stream = source->stream;
    size_t kept = 0;
    for (size_t i = 0; i < chat->field_count; i++)
        if (!text_starts(chat->fields[i].name, TEXT("anthropic_")))
            chat->fields[kept++] = chat->fields[i];
    chat->field_count = kept;
    return true;
}

static void put_beta(struct buffer *out, struct text beta, struct losses *losses)
{
    beta = text_trim(beta);
    if (!beta.len)
        return;
    if (begins_as(betas, sizeof(betas) / sizeof(betas[0]), beta))
        put_item(out, beta);
    else
        loss_hint(losses, "anthropic-beta.%.*s", TEXT_ARGS(text_head(beta, 64)));
}

/* Those of the header, and those that stand in the body already. */
static void put_betas(const struct chat *chat, const struct call_target *target, struct buffer *out,
                      struct losses *losses)
{
    struct text list = member_find(chat->body, TEXT("anthropic_beta")), rest = target->betas;
    struct text none, value;
    size_t before = buffer_length(out), count = 0;
    put_open(out, "anthropic_beta", '[');
    size_t open = buffer_length(out);
    while (count++ < BETAS_MAX && text_next(&rest, ',', &value))
        put_beta(out, value, losses);
    while (list.len && list.at[0] == '[' && count++ < BETAS_MAX &&
           member_next(&list, &none, &value))
        put_beta(out, member_string(value), losses);
    if (buffer_length(out) == open)
        out->end -= open - before;
    else
        put_literal(out, "]");
}

static void carry_call(const struct chat *chat, const struct call_target *target,
                       struct buffer *out, struct buffer *headers, struct losses *losses)
{
    static const struct text moved[] = {
        {"model", 5},           {"stream", 6},        {"anthropic_version", 17},
        {"anthropic_beta", 14}, {"service_tier", 12}, {"inference_geo", 13},
    };
    (void)headers;
    put_literal(out, "{\"anthropic_version\":\"" VERSION "\"");
    put_betas(chat, target, out, losses);
    anthropic_carry_members(chat, target, moved, sizeof(moved) / sizeof(moved[0]), out);
    put_literal(out, "}");
    static const struct text hints[] = {{"service_tier", 12}, {"inference_geo", 13}};
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
        if (!json_is_absent(member_find(chat->body, hints[i])))
            loss_hint(losses, "%s", hints[i].at);
}

/* A call of another dialect: as Anthropic is asked, at this door. */
static void write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    struct buffer plain;
    struct text name, value;
    buffer_init(&plain, SIZE_MAX / 2);
    anthropic_write_call(arena, chat, target, &plain, losses);
    struct text rest = buffer_text(&plain);
    put_literal(out, "{\"anthropic_version\":\"" VERSION "\"");
    while (member_next(&rest, &name, &value)) {
        if (text_equal(name, TEXT("model")) || text_equal(name, TEXT("stream")))
            continue;
        anthropic_put_name(out, name);
        put_text(out, value);
    }
    put_literal(out, "}");
    buffer_done(&plain);
}

static void write_path(const struct call_target *target, struct buffer *out)
{
    put_literal(out, "/model/");
    bedrock_put_segment(out, target->model);
    put_literal(out, target->stream ? "/invoke-with-response-stream" : "/invoke");
}

/* -------------------------------------------------------------------------- the answer, read */

struct invoke_reader {
    struct anthropic_reader inside; /* first */
    char *room;
    size_t size;
    struct text event;
};

/* Room that is kept from frame to frame. */
static char *room_for(struct arena *arena, char **room, size_t *size, size_t bytes)
{
    size_t more = *size ? *size : ROOM_MIN;
    if (bytes <= *size)
        return *room;
    while (more < bytes)
        more *= 2;
    *room = arena_take(arena, more);
    *size = more;
    return *room;
}

static void say_fail(struct invoke_reader *r, struct answer_sink *sink, enum fault_kind kind,
                     struct text inner)
{
    struct answer_event event = {.kind = ANSWER_FAIL, .fault = kind, .text = inner};
    r->inside.is_over = true;
    sink->take(sink, &event);
}

static void read_exception(struct invoke_reader *r, const struct frame *frame,
                           struct answer_sink *sink)
{
    struct text words = {NULL, 0};
    if (frame->data.len && frame->data.at[0] == '{')
        words = member_string(member_find(frame->data, TEXT("message")));
    say_fail(r, sink, bedrock_fault(frame->name),
             words.at ? words : TEXT("The target's stream ended with an error."));
}

static void read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    struct invoke_reader *r = state;
    r->event = (struct text){NULL, 0};
    if (r->inside.is_over)
        return;
    if (!text_equal(frame->kind, TEXT("event"))) {
        read_exception(r, frame, sink);
        return;
    }
    if (!text_equal(frame->name, TEXT("chunk")))
        return; /* what came later */
    struct text coded = {NULL, 0};
    if (frame->data.len && frame->data.at[0] == '{')
        coded = member_string(member_find(frame->data, TEXT("bytes")));
    char *room = room_for(&r->inside.base.arena, &r->room, &r->size, coded.len);
    size_t len = coded.at ? hash_unbase64(coded, (uint8_t *)room) : SIZE_MAX;
    if (len == SIZE_MAX) {
        say_fail(r, sink, FAULT_TARGET_INVALID, TEXT("The target sent a chunk without bytes."));
        return;
    }
    r->event = (struct text){room, len};
    struct frame plain = {.name = {"", 0}, .kind = {"", 0}, .data = r->event};
    anthropic_read_frame(&r->inside, &plain, sink);
}

static struct text carried(const void *state)
{
    return ((const struct invoke_reader *)state)->event;
}

/* ----------------------------------------------------------------------- the answer, written */

struct invoke_writer {
    struct anthropic_writer inside; /* first */
    char *room, *coded;
    size_t size, coded_size;
};

/* A frame with an event in it. */
static void put_chunk(struct invoke_writer *w, struct text json, struct buffer *out)
{
    static const char before[] = "{\"bytes\":\"", behind[] = "\"}";
    size_t head = sizeof(before) - 1, tail = sizeof(behind) - 1;
    size_t bytes = head + 4 * ((json.len + 2) / 3) + tail + 1;
    char *coded = room_for(&w->inside.base.arena, &w->coded, &w->coded_size, bytes);
    memcpy(coded, before, head);
    size_t len = head + hash_base64(json.at, json.len, coded + head);
    memcpy(coded + len, behind, tail);
    frame_put_aws(out, TEXT("event"), TEXT("chunk"), (struct text){coded, len + tail});
}

/* What AWS puts to the last event. The input is without what was in the cache. */
static void put_metrics(struct buffer *out, const struct usage *usage)
{
    put_open(out, "amazon-bedrock-invocationMetrics", '{');
    put_number(out, "inputTokenCount",
               usage->input_tokens - usage->cached_tokens - usage->cache_write_tokens);
    put_number(out, "outputTokenCount", usage->output_tokens);
    if (usage->cached_tokens || usage->cache_write_tokens) {
        put_number(out, "cacheReadInputTokenCount", usage->cached_tokens);
        put_number(out, "cacheWriteInputTokenCount", usage->cache_write_tokens);
    }
    put_literal(out, ",\"invocationLatency\":0,\"firstByteLatency\":0}");
}

static void put_carried(void *state, struct text json, const struct usage *usage,
                        struct buffer *out)
{
    static const struct text metrics = {"amazon-bedrock-invocationMetrics", 32};
    struct invoke_writer *w = state;
    struct text type = member_string(member_find(json, TEXT("type")));
    if (text_equal(type, TEXT("ping")))
        return; /* of Anthropic's own door only */
    if (!text_equal(type, TEXT("message_stop")) || member_find(json, metrics).at) {
        put_chunk(w, json, out);
        return;
    }
    struct buffer last;
    struct text name, value;
    buffer_init(&last, SIZE_MAX / 2);
    put_literal(&last, "{");
    while (member_next(&json, &name, &value)) {
        anthropic_put_name(&last, name);
        put_text(&last, value);
    }
    put_metrics(&last, usage);
    put_literal(&last, "}");
    put_chunk(w, buffer_text(&last), out);
    buffer_done(&last);
}

/* As Anthropic writes it; then each of its events goes into a frame. */
static void write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct invoke_writer *w = state;
    struct sse_event one;
    size_t before = buffer_length(out);
    anthropic_write_event(&w->inside, event, out);
    struct text made = text_from(buffer_text(out), before);
    if (!made.len)
        return;
    char *room = room_for(&w->inside.base.arena, &w->room, &w->size, made.len);
    memcpy(room, made.at, made.len);
    out->end -= made.len;
    struct text rest = {room, made.len};
    while (sse_next(&rest, &one))
        if (one.lines)
            put_carried(w, one.data, &w->inside.usage, out);
}

const struct translator translator_bedrock_invoke = {
    .name = {"bedrock-invoke", 14},
    .dialect = {"bedrock-invoke", 14},
    .operation = OPERATION_CHAT,
    .read_call = read_call,
    .write_call = write_call,
    .write_path = write_path,
    .carries = &translator_anthropic,
    .carry_call = carry_call,
    .carried = carried,
    .put_carried = put_carried,
    .framing = FRAMING_AWS,
    .reader_bytes = sizeof(struct invoke_reader),
    .read_frame = read_frame,
    .read_body = anthropic_read_body,
    .read_end = anthropic_read_end,
    .read_error = bedrock_read_error,
    .stream_type = {"application/vnd.amazon.eventstream", 34},
    .writer_bytes = sizeof(struct invoke_writer),
    .write_event = write_event,
    .write_whole = anthropic_write_whole,
};
