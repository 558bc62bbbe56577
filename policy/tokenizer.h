/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * tokenizer - how many tokens a text is, without asking anybody. A door of policy.
 *
 * Exactly for the models of OpenAI whose tokenizer is published, roughly for all others. Pure and
 * the same every time. A text of up to TOKENIZER_EXACT_BYTES is looked at whole (25 MB/s for prose,
 * 5 MB/s at worst); of a longer one as much, in parts from all over it, so that nobody waits long
 * for anybody's text: about 10 ms. The first count of all unpacks the tokenizer's table, which
 * takes some 15 ms, and 2 to 5 MB that are never freed: who never counts does without.
 */

#include "gateway/base/text.h"

enum tokenizer {
    TOKENIZER_NONE, /* not known */
    TOKENIZER_O200K,
    TOKENIZER_CL100K,
    TOKENIZERS
};

enum { TOKENIZER_EXACT_BYTES = 256 * 1024 };

/* What OpenAI's models are said to count beyond their texts: of a call, a message, a name in it
 * (cookbook.openai.com, "How to count tokens with tiktoken"). */
enum { TOKENIZER_PER_CALL = 3, TOKENIZER_PER_MESSAGE = 3, TOKENIZER_PER_NAME = 1 };

/* By the model's name, whoever offers it: "gpt-4o-mini", "openai/gpt-4.1", "ft:gpt-4o:acme::x". */
enum tokenizer tokenizer_of(struct text model);

/* Tokens of a text, UTF-8; never negative. */
int64_t tokens_of_text(enum tokenizer tokenizer, struct text text);
/* The same of what stands between the quotes of a JSON string. */
int64_t tokens_of_string(enum tokenizer tokenizer, struct text inside);
