/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * openai_responses_parts - what is said of a response while it is read: the parts that its items
 * are in our words, begun when they are first heard of and closed when they are done. Inside the
 * words for Responses.
 *
 * Items and their content have places in the response (output_index, content_index). A server that
 * leaves a place out means the item that it spoke of last; one that never began an item or a part
 * begins it with the first that it says of it.
 */

#include "providers/openai_responses.h"

/* Who speaks to whom. */
struct response_say {
    struct responses_reader *r;
    struct answer_sink *sink;
};

/* BEGIN, once. <response>: json, or at == NULL. */
void response_begin(struct response_say *s, struct text response);

void response_item_begin(struct response_say *s, int64_t item, struct text json);
/* The item is done: says what was not said of it yet, and closes its parts. */
void response_item_end(struct response_say *s, int64_t item, struct text json);

/* The part of a message at a place, begun when it is not yet; NULL once the answer has failed. */
struct response_open *response_content_open(struct response_say *s, int64_t item, int64_t content,
                                            enum part_kind kind);
void response_content_end(struct response_say *s, int64_t item, int64_t content, struct text json);
/* The call at a place, or NULL. */
struct response_open *response_call_of(struct response_say *s, int64_t item);

/* Close a part, if it is open. */
void response_part_close(struct response_say *s, struct response_open *part);

/* More of a part; texts are inner, NULL and empty ones say nothing. */
void response_text(struct response_say *s, struct response_open *part, struct text inner);
void response_arguments(struct response_say *s, struct response_open *part, struct text inner);
void response_cite(struct response_say *s, struct response_open *part, struct text annotation);
void response_logprobs(struct response_say *s, struct response_open *part, struct text list);
/* More of a reasoning's summary, or of its content; each has sections, counted from 0. */
void response_thought(struct response_say *s, int64_t item, bool in_content, int64_t section,
                      struct text inner);
/* A section is done: says it when no piece of it came. */
void response_thought_done(struct response_say *s, int64_t item, bool in_content, int64_t section,
                           struct text inner);

/* The end: closes what is open, and says what it came to. */
void response_finish(struct response_say *s, struct text response);
void response_fail(struct response_say *s, struct text error);
void response_fail_with(struct response_say *s, struct text code, struct text message);
/* It was no JSON object. */
void response_fail_broken(struct response_say *s);
