/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bedrock dialect: an answer that passes as it is, is watched; and how calls cross.
 */
#include "providers/bedrock.h"

#include <string.h>

#include "gateway/base/member.h"

/* --------------------------------------------------------------------------------- watching */

static void note_reason(struct answer *answer, struct text reason)
{
    struct text word = text_head(reason, sizeof(answer->finish) - 1);
    if (!word.len)
        return;
    memcpy(answer->finish, word.at, word.len);
    answer->finish[word.len] = '\0';
    answer->ended = true;
}

static void note_usage(struct answer *answer, struct text json)
{
    struct usage usage = {0};
    if (!bedrock_read_usage(json, &usage))
        return;
    answer->usage = usage;
    answer->usage_seen = true;
}

/* The bytes of whatever a delta brings. */
static void note_delta(struct answer *answer, struct text delta)
{
    struct text name, value;
    int64_t bytes = 0;
    if (!delta.len || delta.at[0] != '{')
        return;
    while (member_next(&delta, &name, &value))
        bytes += (int64_t)value.len;
    answer->events += bytes > 0;
    answer->content_bytes += bytes;
}

/* Of an exception the frame's name is not an event's. */
static bool is_exception(struct text name)
{
    return text_ends(name, TEXT("xception"));
}

static enum event_verdict watch_event(struct answer *answer, const struct sse_event *event)
{
    struct text name = event->name, data = event->data;
    if (text_equal(name, TEXT("contentBlockDelta"))) {
        note_delta(answer, member_find(data, TEXT("delta")));
    } else if (text_equal(name, TEXT("messageStop"))) {
        note_reason(answer, member_string(member_find(data, TEXT("stopReason"))));
    } else if (text_equal(name, TEXT("metadata"))) {
        note_usage(answer, member_find(data, TEXT("usage")));
        return answer->ended ? EVENT_LAST : EVENT_PASS;
    } else if (is_exception(name)) {
        answer->failed = true;
        return EVENT_FAIL;
    }
    return EVENT_PASS;
}

enum want { WANT_USAGE, WANT_REASON, WANTS };

static const struct text wants[WANTS] = {
    [WANT_USAGE] = {"usage", 5},
    [WANT_REASON] = {"stopReason", 10},
};

static void watch_body(struct answer *answer, const struct scan_value *values)
{
    if (values[WANT_USAGE].kind == SCAN_OBJECT)
        note_usage(answer, values[WANT_USAGE].raw);
    if (values[WANT_REASON].kind == SCAN_STRING)
        note_reason(answer, member_string(values[WANT_REASON].raw));
    answer->ended = true;
}

/* ----------------------------------------------------------------------- its streams, cut */

static size_t whole_events(struct text bytes)
{
    return frame_whole_aws(bytes);
}

static bool next_event(struct text *bytes, struct sse_event *event)
{
    struct frame frame;
    struct text before = *bytes;
    if (bytes->len == 0)
        return false;
    if (frame_next(FRAMING_AWS, bytes, 0, false, NULL, &frame) != FRAME_HERE) {
        *event =
            (struct sse_event){.raw = before}; /* whatever it is, it is the client's to judge */
        *bytes = text_from(before, before.len);
        return true;
    }
    *event = (struct sse_event){
        .raw = text_head(before, before.len - bytes->len),
        .name = frame.name,
        .data = frame.data,
        .lines = 1,
    };
    return true;
}

const struct dialect dialect_bedrock = {
    .name = {"bedrock", 7},
    .watch_event = watch_event,
    .wants = wants,
    .want_count = WANTS,
    .watch_body = watch_body,
    .read_error = bedrock_read_error,
    .whole_events = whole_events,
    .next_event = next_event,
};

void provider_put_exception(struct buffer *out, struct text name, struct text json)
{
    frame_put_aws(out, TEXT("exception"), name, json);
}

/* -------------------------------------------------------------------------------- crossing */

/* A name of a model, which may be an ARN, as one segment. */
static void put_segment(struct buffer *out, struct text name)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.at[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
        if (plain)
            buffer_append(out, &c, 1);
        else
            buffer_append(out, escaped, sizeof(escaped));
    }
}

static void write_path(const struct call_target *target, struct buffer *out)
{
    put_literal(out, "/model/");
    put_segment(out, target->model);
    put_literal(out, target->stream ? "/converse-stream" : "/converse");
}

const struct translator translator_bedrock = {
    .name = {"bedrock-converse", 16},
    .dialect = {"bedrock", 7},
    .operation = OPERATION_CHAT,
    .read_call = bedrock_read_call,
    .write_call = bedrock_write_call,
    .write_path = write_path,
    .framing = FRAMING_AWS,
    .reader_bytes = sizeof(struct bedrock_reader),
    .read_frame = bedrock_read_frame,
    .read_body = bedrock_read_body,
    .read_end = bedrock_read_end,
    .read_error = bedrock_read_error,
    .stream_type = {"application/vnd.amazon.eventstream", 34},
    .writer_bytes = sizeof(struct bedrock_writer),
    .write_event = bedrock_write_event,
    .says_failure = true,
    .write_whole = bedrock_write_whole,
};
