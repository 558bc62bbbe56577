/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The openai dialect: /responses/input_tokens. The request is a response's; the answer is
 * {"object": "response.input_tokens", "input_tokens": n}.
 */
#include "gateway/base/member.h"
#include "providers/count.h"
#include "providers/openai.h"
#include "providers/openai_responses.h"

static void write_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/responses/input_tokens");
}

static void read_body(void *state, struct text body, struct answer_sink *sink)
{
    (void)state;
    count_say(member_find(body, TEXT("input_tokens")), sink);
}

/* Counts do not come in pieces. */
static void read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    read_body(state, frame->data, sink);
}

static void put_count(struct buffer *out, int64_t tokens)
{
    put_literal(out, "{\"object\":\"response.input_tokens\"");
    put_number(out, "input_tokens", tokens);
    put_literal(out, "}");
}

static void write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    (void)state;
    if (event->kind == ANSWER_USAGE)
        put_count(out, event->usage->input_tokens);
}

static void write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out)
{
    (void)way;
    (void)arena;
    put_count(out, whole->usage.input_tokens);
}

const struct translator translator_openai_count = {
    .name = {"openai-count", 12},
    .dialect = {"openai", 6},
    .operation = OPERATION_COUNT,
    .read_call = responses_read_call,
    .write_call = responses_write_call,
    .write_path = write_path,
    .framing = FRAMING_SSE,
    .reader_bytes = sizeof(struct reader_state),
    .read_frame = read_frame,
    .read_body = read_body,
    .read_end = count_read_end,
    .read_error = openai_read_error,
    .stream_type = {"text/event-stream", 17},
    .writer_bytes = sizeof(struct writer_state),
    .write_event = write_event,
    .write_whole = write_whole,
};
