/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * models_page - the list of models, and one of them, in the words of who asks: OpenAI's
 * (GET /v1/models), Anthropic's, Gemini's (models.list, models.get), Ollama's (/api/tags),
 * Monster's
 * (/v1/models/info). Each key
 * sees what it may call. Inside gateway.
 */

#include "gateway/exchange.h"

/* Append the list. All of it is on one page, unless the client says how many it wants. False, with
 * the error instead and the fault set, when what it says cannot be. */
bool models_list(struct exchange *x, struct buffer *out);
/* Append the one that the path names; false as above. */
bool models_show(struct exchange *x, struct buffer *out);
/* Append what Ollama's /api/show says of the model that the body names: under "model", or, of older
 * clients, "name". Returns the status. */
unsigned models_show_asked(struct exchange *x, struct buffer *out);
