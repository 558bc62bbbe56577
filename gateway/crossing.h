/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * crossing - a call whose client and target speak different dialects: its body and path are written
 * anew for the target, and the answer is brought back. Inside gateway.
 *
 * Where both speak the same one there is no crossing, and the bytes pass as they are.
 */

#include "gateway/exchange.h"
#include "providers/translate.h"

/* Get the call ready for the exchange's present target: decide whether it crosses, and then write
 * it. False, with a fault, when the target cannot be asked for this. */
bool crossing_prepare(struct exchange *x);

/* Read the call as <words> of its client, once for all targets. False, with a fault, when it cannot
 * be read. */
bool crossing_read(struct exchange *x, const struct translator *words);

/* Does the call go to its present target in other words? */
static inline bool crossing_is_on(const struct exchange *x)
{
    return x->target_words != NULL;
}

/* What the present target is spoken to in: a server that has two dialects, in its second one by
 * all who do not speak its first. */
struct text crossing_target_dialect(const struct exchange *x);
const struct dialect *crossing_target_words(const struct exchange *x);
/* Does the path stand at the root of the server, not below its type's <path>? */
bool crossing_at_root(const struct exchange *x);

/* Append the path of a call whose dialect has the model in it, or that crosses; false when the
 * client's own path goes behind the base URL as it is. */
bool crossing_put_path(const struct exchange *x, struct buffer *out);

/* Is that the Content-Type of a stream, of any dialect's? */
bool crossing_is_stream(struct text type);
/* A good answer has begun: make its translation. <type>: its Content-Type. */
void crossing_begin(struct exchange *x, struct text type);
/* What the client gets: the Content-Type of its dialect's streams. */
struct text crossing_stream_type(const struct exchange *x);
/* An answer of 400 or more, whose whole body is in x->whole: say the same in the client's words,
 * into x->held and x->whole, and set the fault. */
void crossing_say_error(struct exchange *x);

/* The Content-Type of a stream in the client's own dialect, also of one that does not cross. */
struct text crossing_own_stream_type(const struct exchange *x);
/* A kept answer of the client's own dialect in its other form; false when that cannot be. */
bool crossing_convert(const struct exchange *x, struct text answer, struct buffer *out);

/* Forget the answer of a try. */
void crossing_forget(struct exchange *x);

/* A header line that names what was left out, or nothing. */
void crossing_put_header(const struct exchange *x, struct buffer *out);
