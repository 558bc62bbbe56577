/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * count - what the counts of tokens have in common, whoever is asked: their answer is one number,
 * in one piece. For translators of OPERATION_COUNT.
 */

#include "providers/translator.h"

enum { COUNT_TOKENS_MAX = 2000000000 }; /* tokens; more is no count */

/* Say the answer whose number is <json>; what is no number up to COUNT_TOKENS_MAX is a failure. */
void count_say(struct text json, struct answer_sink *sink);

/* translator.read_end: counts do not come in pieces. */
void count_read_end(void *state, struct answer_sink *sink);
