/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * openai_responses_events - an answer's parts are put together as items, and a stream is told of
 * each step. Inside the words for Responses.
 */

#include "providers/openai_responses.h"

/* ------------------------------------------------------------- events (openai_responses_events.c)
 */

/* Begin an event of a stream, with its type and number; responses_event_close() ends it. */
void responses_event_open(struct responses_writer *w, const char *type);
void responses_event_close(struct responses_writer *w);
/* Begin one about an item. */
void responses_event_open_about(struct responses_writer *w, const char *type, size_t item);
/* "name":"<all of the rope>" */
void responses_event_put_rope(struct responses_writer *w, const char *name,
                              const struct rope *rope);

/* These do nothing when the answer is written whole. */
void responses_event_tell_response(struct responses_writer *w, const char *type, const char *status,
                                   struct text error);
void responses_event_tell_item(struct responses_writer *w, size_t number, bool done);
/* Begin one that brings more; <place>: NULL, or the name of <number>. */
void responses_event_open_delta(struct responses_writer *w, const char *type, size_t item,
                                const char *place, size_t number, struct text delta);

/* ------------------------------------------------------- parts (openai_responses_parts_write.c) */

/* A part begins, and ends. */
void responses_part_begin(struct responses_writer *w, const struct answer_event *event);
void responses_part_end(struct responses_writer *w, struct response_place *place);
/* What is said in one. */
void responses_part_take(struct responses_writer *w, const struct answer_event *event);
/* Close what was never closed, items too. */
void responses_close_all(struct responses_writer *w);

/* A new item at the end; <id>: the target's own, or empty, then one is made with <prefix>. Returns
 * its number: items move when more of them come. */
size_t responses_item_begin(struct responses_writer *w, enum part_kind kind, struct text id,
                            const char *prefix);
void responses_item_end(struct responses_writer *w, size_t number);
/* Something else than text begins: end the last message, unless a text in it is still open. */
void responses_leave_message(struct responses_writer *w);
bool responses_has_open_content(const struct response_item *item);
/* An item of its own for the signature of a call or a text. */
void responses_add_proof(struct responses_writer *w, const struct responses_proof *proof);
/* Is the target of this dialect? */
bool responses_is_own(const struct responses_writer *w);
/* A copy that lives as long as the answer. */
struct text responses_keep(struct responses_writer *w, struct text t);

/* --------------------------------------------------------- text (openai_responses_text_write.c) */

/* Its message and its place in that begin with the first that is said. */
void responses_text_add(struct responses_writer *w, struct response_place *place, struct text more);
void responses_text_cite(struct responses_writer *w, struct response_place *place,
                         const struct citation *citation);
void responses_text_end(struct responses_writer *w, struct response_place *place);
/* About the text that was begun last. */
void responses_text_logprobs(struct responses_writer *w, struct text list);

/* -------------------------------------------------------- calls (openai_responses_calls_write.c)
 */

/* <said>: the item as a target of this dialect began it, or at == NULL. */
void responses_call_begin(struct responses_writer *w, struct response_place *place,
                          struct text said);
void responses_call_add(struct responses_writer *w, struct response_place *place, struct text more);
void responses_call_end(struct responses_writer *w, struct response_place *place);
