/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * bpe - how many tokens a text is to a model of OpenAI's, exactly: byte pair encoding with the
 * published ranks (github.com/openai/tiktoken).
 *
 * A text is split into pieces - about a word each - and each piece, from its bytes on, is merged
 * pair by pair, the pair of the lowest rank first, the leftmost of these, until no two neighbours
 * are a token together. Text that looks like a special token ("<|endoftext|>") is text.
 *
 * Pure: no I/O, no state but the tables, which are unpacked once (some 15 ms, 2 to 5 MB), by
 * whoever comes first, and shared by all threads. Time and memory are bounded: a piece is merged in
 * n log n steps, and one of more than BPE_PIECE_MAX bytes is counted in parts, which may be a token
 * too many for each.
 */

#include "policy/tokenizer.h"

enum { BPE_PIECE_MAX = 2048 };

/* Tokens of <text>, UTF-8; bytes that are none are counted as bytes. Any thread; not for
 * TOKENIZER_NONE. */
int64_t bpe_count(enum tokenizer tokenizer, struct text text);
