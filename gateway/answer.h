/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * answer - the heads and the error bodies that clients get.
 */

#include "gateway/base/buffer.h"
#include "gateway/exchange.h"

/* Which of the upstream's header lines a client sees, as lines in the exchange's arena. */
struct text answer_keep(struct exchange *x, const struct head *head);

/* The target's error says in its body to wait so long, 0 = nothing. The client is told so in
 * Retry-After, unless the target's own header asks for less. Before the head is written. */
void answer_note_retry(struct exchange *x, int64_t retry_ms);

/*
 * Write the head of the exchange's answer: status line, fields, empty line. Decides how it is
 * framed: <length> >= 0 is its Content-Length; -1 is chunked (or until the close, for HTTP/1.0).
 */
void answer_head(struct exchange *x, struct buffer *out, int64_t length);

/* Write the head of an answer that no target gave: an error of ours, or a page. <extra> are header
 * lines, or empty. */
void answer_own_head(struct exchange *x, struct buffer *out, struct text type, struct text extra,
                     size_t length);

/* The body of an error, in the shape of the path that was asked for. */
void answer_error(const struct exchange *x, struct buffer *out);
/* The same for an error of the target, which keeps its <status>. */
void answer_error_with(const struct exchange *x, unsigned status, struct buffer *out);
/* The same as an event of a stream that cannot go on. */
void answer_error_event(const struct exchange *x, struct buffer *out);

/* HTTP status of the exchange's fault in the dialect of its path. */
unsigned answer_error_status(const struct exchange *x);
/* The words that belong to a status. */
const char *answer_reason(unsigned status);
