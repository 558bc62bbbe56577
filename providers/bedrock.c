/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bedrock dialect: an answer that passes as it is, is watched; and how calls cross.
 */
#include "providers/bedrock.h"

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
    .watch_field = bedrock_watch_field,
    .watch_event = bedrock_watch_event,
    .wants = bedrock_wants,
    .want_count = BEDROCK_WANTS,
    .watch_body = bedrock_watch_body,
    .read_error = bedrock_read_error,
    .framing = FRAMING_AWS,
    .whole_events = whole_events,
    .next_event = next_event,
};

void provider_put_exception(struct buffer *out, struct text name, struct text json)
{
    frame_put_aws(out, TEXT("exception"), name, json);
}

/* -------------------------------------------------------------------------------- crossing */

void bedrock_put_segment(struct buffer *out, struct text name)
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
    bedrock_put_segment(out, target->model);
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
