/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * own_prompt - what a call of a deployment's own /generate gives as "input_variables" is made its
 * "prompt", by the deployment's template: "<s>[INST]{prompt}[/INST]{completion}". Inside gateway.
 *
 * It happens before anybody looks at the call: guardrails, limits and the target see the prompt
 * that the model gets. In a template {name} stands for the variable of that name, {{ and }} for
 * braces; {completion} is where the answer goes, and is left empty unless it is given.
 *
 * Clients of the synchronous service ask at the same path, with "messages" or "formatted_prompt":
 * theirs is a conversation, and is answered as that service does.
 */

#include <stdbool.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/text.h"

struct exchange;

/* Append <body>, a valid JSON object, with a prompt in place of its variables. False with a fault:
 * they are no object of texts and numbers, one of them is missing, or there is a prompt beside
 * them; TOO_LARGE when <out> has no room. <template_text> empty: "{prompt}{completion}". */
bool own_prompt_write(struct text body, struct text template_text, struct buffer *out,
                      struct fault *fault);

/* The same for a call that was read; it is read again. True when there is nothing to do. */
bool own_prompt_fill(struct exchange *x);
