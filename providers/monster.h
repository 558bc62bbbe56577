/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * monster - the words of Monster API's own way to ask a language model and wait for it:
 * POST /v1/generate with {"model", "messages" or "formatted_prompt", "max_tokens", ...}, answered
 * by {"response": {"text": ["...", ...]}}, one text for each of "n". There are no streams.
 *
 * Sources: the data models of the Python client monsterapi 1.0.9 (nextGenLLMClient), and what its
 * callers read of the answer.
 */

#include "providers/translator.h"

extern const struct translator translator_monster;
