/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * lengths - how long answers may be and how many there are, and of how many pieces a call is, as it
 * says it: what a call of its own and a line of a batch have in common. Inside gateway.
 */

#include "gateway/base/scan.h"
#include "providers/call.h"

/* The names that a length is said by, in this order wherever they stand in a list. */
enum length_name {
    LENGTH_MAX_TOKENS,
    LENGTH_MAX_COMPLETION_TOKENS,
    LENGTH_MAX_OUTPUT_TOKENS,
};

/* Does it say how long the answer may be? A name that the operation's reference does not have says
 * nothing: who ignores it answers as long as he likes. */
bool lengths_says(enum operation operation, enum length_name name);
/* How many answers a completion has: of each prompt of a list its own. A list of numbers is one
 * prompt, in tokens. */
int64_t lengths_prompts(const struct scan_value *prompt);
/* Items of an array; 0 where it is none. */
int64_t lengths_items(const struct scan_value *list);
/* Characters (code points) of a string; 0 where it is none. */
int64_t lengths_characters(const struct scan_value *string);
/* Tokens of the sound in which a string is spoken, at most; 0 where it is none. */
int64_t lengths_spoken(const struct scan_value *string);
