/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * rope - text that grows in an arena, piece by piece, without moving. Inside providers.
 *
 * For writers that repeat at the end what went by in pieces. Zeroed, it is empty; it dies with its
 * arena. Small pieces are put together, so that a stream allocates seldom.
 */

#include "gateway/base/buffer.h"
#include "gateway/base/memory.h"
#include "gateway/base/text.h"

struct rope_piece;

struct rope {
    struct rope_piece *first, *last;
    size_t len;
};

void rope_add(struct rope *rope, struct arena *arena, struct text more);
/* Append all of it. */
void rope_put(const struct rope *rope, struct buffer *out);
/* All of it in one piece, in the arena. */
struct text rope_text(const struct rope *rope, struct arena *arena);
