/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/count.h"

#include "gateway/base/member.h"

/* Say the answer whose number is <json>. */
static void say(struct text json, struct answer_sink *sink)
{
    struct usage usage = {0};
    struct answer_event begin = {.kind = ANSWER_BEGIN};
    struct answer_event said = {.kind = ANSWER_USAGE, .usage = &usage};
    struct answer_event end = {.kind = ANSWER_END};
    if (!member_count(json, COUNT_TOKENS_MAX, &usage.input_tokens)) {
        struct answer_event fail = {.kind = ANSWER_FAIL, .fault = FAULT_TARGET_INVALID};
        fail.text = TEXT("The target did not say how many tokens it counts.");
        sink->take(sink, &fail);
        return;
    }
    sink->take(sink, &begin);
    sink->take(sink, &said);
    sink->take(sink, &end);
}

void count_read_body(void *state, struct text body, struct answer_sink *sink)
{
    const struct reader_state *reader = state;
    say(reader->way->from->find_count(body), sink);
}

/* Counts do not come in pieces. */
void count_read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    count_read_body(state, frame->data, sink);
}

void count_read_end(void *state, struct answer_sink *sink)
{
    (void)state;
    (void)sink;
}

void count_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    const struct writer_state *writer = state;
    if (event->kind == ANSWER_USAGE)
        writer->way->to->put_count(out, event->usage->input_tokens);
}

void count_write_whole(const struct answer_way *way, struct arena *arena,
                       const struct whole_answer *whole, struct buffer *out)
{
    (void)arena;
    way->to->put_count(out, whole->usage.input_tokens);
}
