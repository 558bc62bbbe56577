/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The anthropic dialect: an answer that passes as it is, is watched; and how calls cross.
 */
#include "providers/anthropic.h"

#include "gateway/base/member.h"
#include "providers/count.h"

/* --------------------------------------------------------------------------------- watching */

static void copy_cut(char *to, size_t room, struct text from)
{
    size_t len = from.len < room ? from.len : room - 1;
    memcpy(to, from.at, len);
    to[len] = '\0';
}

static void note_reason(struct answer *answer, struct text reason)
{
    if (reason.len == 0)
        return;
    copy_cut(answer->finish, sizeof(answer->finish), reason);
    answer->ended = true;
}

/* What was read of usage before, so that a later object adds to it. */
static void figures_of(const struct usage *usage, struct anthropic_figures *figures)
{
    *figures = (struct anthropic_figures){
        .input = usage->input_tokens - usage->cached_tokens - usage->cache_write_tokens,
        .cached = usage->cached_tokens,
        .cache_write = usage->cache_write_tokens,
        .write_1h = usage->cache_write_1h_tokens,
        .output = usage->output_tokens,
        .thinking = usage->reasoning_tokens,
        .searches = usage->searches,
        .surcharge = usage->surcharge_percent,
    };
}

static void note_usage(struct answer *answer, struct text usage)
{
    struct anthropic_figures figures;
    if (usage.len == 0 || usage.at[0] != '{')
        return;
    figures_of(&answer->usage, &figures);
    anthropic_read_figures(usage, &figures);
    anthropic_settle(&figures, &answer->usage);
    /* Its priority tier is paid for in advance: what costs more is the fast mode. */
    answer_note_service(answer, member_string(member_find(usage, TEXT("speed"))));
}

/* The bytes of whatever a delta brings: text, thinking, the input of a tool. */
static void note_delta(struct answer *answer, struct text delta)
{
    struct text name, value;
    int64_t bytes = 0;
    while (delta.len && member_next(&delta, &name, &value))
        if (!text_equal(name, TEXT("type")) && !text_equal(name, TEXT("signature")) &&
            member_string(value).at)
            bytes += (int64_t)value.len - 2;
    answer->events += bytes > 0;
    answer->content_bytes += bytes;
}

static void note_start(struct answer *answer, struct text message)
{
    answer_note_id(answer, member_string(member_find(message, TEXT("id"))));
    note_usage(answer, member_find(message, TEXT("usage")));
    answer->usage_seen = false; /* of the output it only says that it begins */
}

static void note_change(struct answer *answer, struct text data)
{
    struct text usage = member_find(data, TEXT("usage"));
    note_reason(answer,
                member_string(member_find(member_find(data, TEXT("delta")), TEXT("stop_reason"))));
    note_usage(answer, usage);
    answer->usage_seen = answer->usage_seen || member_find(usage, TEXT("output_tokens")).len > 0;
}

/* The usage tells them only at the end. */
static void note_search(struct answer *answer, struct text block)
{
    answer->searches +=
        text_equal(member_string(member_find(block, TEXT("type"))), TEXT("server_tool_use")) &&
        text_equal(member_string(member_find(block, TEXT("name"))), TEXT("web_search"));
}

/* By its data, where some leave out the "event:" line. */
static struct text type_of(const struct sse_event *event)
{
    static const struct text usual = {"{\"type\":\"", 9};
    if (event->name.len > 0)
        return event->name;
    if (!text_starts(event->data, usual))
        return member_string(member_find(event->data, TEXT("type")));
    struct text type = text_from(event->data, usual.len);
    return text_head(type, text_find_byte(type, '"'));
}

static enum event_verdict watch_event(struct answer *answer, const struct sse_event *event)
{
    struct text data = event->data, type = type_of(event);
    if (event->lines == 0)
        return EVENT_PASS;
    if (text_equal(type, TEXT("content_block_delta"))) {
        note_delta(answer, member_find(data, TEXT("delta")));
    } else if (text_equal(type, TEXT("content_block_start"))) {
        note_search(answer, member_find(data, TEXT("content_block")));
    } else if (text_equal(type, TEXT("message_start"))) {
        note_start(answer, member_find(data, TEXT("message")));
    } else if (text_equal(type, TEXT("message_delta"))) {
        note_change(answer, data);
    } else if (text_equal(type, TEXT("message_stop"))) {
        answer->ended = true;
        return EVENT_LAST;
    } else if (text_equal(type, TEXT("error"))) {
        answer->failed = true;
        return EVENT_FAIL;
    }
    return EVENT_PASS;
}

enum want { WANT_USAGE, WANT_ID, WANT_ERROR, WANT_REASON, WANTS };

static const struct text wants[WANTS] = {
    [WANT_USAGE] = {"usage", 5},
    [WANT_ID] = {"id", 2},
    [WANT_ERROR] = {"error", 5},
    [WANT_REASON] = {"stop_reason", 11},
};

static void watch_body(struct answer *answer, const struct scan_value *values)
{
    if (values[WANT_USAGE].kind == SCAN_OBJECT) {
        note_usage(answer, values[WANT_USAGE].raw);
        answer->usage_seen = true;
    }
    if (values[WANT_ID].kind == SCAN_STRING)
        answer_note_id(answer, member_string(values[WANT_ID].raw));
    if (values[WANT_REASON].kind == SCAN_STRING)
        note_reason(answer, member_string(values[WANT_REASON].raw));
    if (values[WANT_ERROR].kind == SCAN_OBJECT || values[WANT_ERROR].kind == SCAN_STRING)
        answer->failed = member_is_something(values[WANT_ERROR].raw);
    if (answer->operation == OPERATION_FILE || answer->operation == OPERATION_BATCH)
        answer->owns = true;
    answer->owns = answer->owns && answer_has_id(answer);
    answer->ended = true;
}

/* One form is made of the other by reading and writing it (crossing). */
#define MESSAGE_STOP "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

const struct dialect dialect_anthropic = {
    .name = {"anthropic", 9},
    .last_event = {MESSAGE_STOP, sizeof(MESSAGE_STOP) - 1},
    .watch_event = watch_event,
    .wants = wants,
    .want_count = WANTS,
    .watch_body = watch_body,
    .read_error = anthropic_read_error,
};

/* -------------------------------------------------------------------------------- crossing */

static void write_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/v1/messages");
}

static void write_count_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/v1/messages/count_tokens");
}

static struct text find_count(struct text body)
{
    return member_find(body, TEXT("input_tokens"));
}

#define HEADERS "anthropic-version: 2023-06-01\r\n"

const struct translator translator_anthropic = {
    .name = {"anthropic", 9},
    .dialect = {"anthropic", 9},
    .operation = OPERATION_CHAT,
    .read_call = anthropic_read_call,
    .write_call = anthropic_write_call,
    .write_path = write_path,
    .headers = {HEADERS, sizeof(HEADERS) - 1},
    .carry_call = anthropic_carry_call,
    .put_carried = anthropic_put_carried,
    .framing = FRAMING_SSE,
    .reader_bytes = sizeof(struct anthropic_reader),
    .read_frame = anthropic_read_frame,
    .read_body = anthropic_read_body,
    .read_end = anthropic_read_end,
    .read_error = anthropic_read_error,
    .stream_type = {"text/event-stream", 17},
    .writer_bytes = sizeof(struct anthropic_writer),
    .write_event = anthropic_write_event,
    .write_whole = anthropic_write_whole,
};

const struct translator translator_anthropic_count = {
    .name = {"anthropic-count", 15},
    .dialect = {"anthropic", 9},
    .operation = OPERATION_COUNT,
    .read_call = anthropic_read_call,
    .write_call = anthropic_write_count_call,
    .write_path = write_count_path,
    .headers = {HEADERS, sizeof(HEADERS) - 1},
    .find_count = find_count,
    .put_count = anthropic_put_count,
    COUNT_ANSWERS,
    .read_error = anthropic_read_error,
};
