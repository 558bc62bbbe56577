/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * refusal - what in a refusal another target can cure, whichever provider said it. A door of the
 * folder. Pure; reads the first bytes of an error's body in any dialect, never fails.
 *
 * Seen in the providers' references and in recorded traffic: OpenAI's codes (platform.openai.com,
 * "Error codes"), Azure's (learn.microsoft.com, "Content filtering"), Anthropic's messages
 * (docs.anthropic.com, "Errors", "Migrating to Claude 4.6"), Bedrock's ValidationException,
 * Gemini's INVALID_ARGUMENT, vLLM's and llama.cpp's.
 */

#include <stdint.h>

#include "gateway/base/text.h"

enum refusal {
    REFUSAL_OTHER,
    REFUSAL_CONTEXT, /* the call is longer than the model's context */
    REFUSAL_FILTER,  /* the provider's content filter does not like it */
    REFUSAL_PREFILL, /* the model does not go on with an answer that is begun */
};

enum refusal refusal_read(unsigned status, struct text body);
/* How long its words say to wait ("Please try again in 1.2s"), in milliseconds; 0 = they do not. */
int64_t refusal_wait_ms(struct text body);
