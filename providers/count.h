/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * count - what the counts of tokens have in common, whoever is asked: their answer is one number,
 * in one piece. A translator of OPERATION_COUNT says where it stands (translator.find_count,
 * put_count), and has COUNT_ANSWERS among its members for all the rest.
 */

#include "providers/translator.h"

enum { COUNT_TOKENS_MAX = 2000000000 }; /* tokens; more is no count: a failure is said */

void count_read_frame(void *state, const struct frame *frame, struct answer_sink *sink);
void count_read_body(void *state, struct text body, struct answer_sink *sink);
void count_read_end(void *state, struct answer_sink *sink);
void count_write_event(void *state, const struct answer_event *event, struct buffer *out);
void count_write_whole(const struct answer_way *way, struct arena *arena,
                       const struct whole_answer *whole, struct buffer *out);

#define COUNT_ANSWERS                                                                         \
    .framing = FRAMING_SSE, .reader_bytes = sizeof(struct reader_state),                      \
    .read_frame = count_read_frame, .read_body = count_read_body, .read_end = count_read_end, \
    .stream_type = {"text/event-stream", 17}, .writer_bytes = sizeof(struct writer_state),    \
    .write_event = count_write_event, .write_whole = count_write_whole
