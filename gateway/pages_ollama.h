/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * pages_ollama - what clients of Ollama are told of models (GET /api/tags, POST /api/show). Inside
 * gateway.
 *
 * Source: Ollama's API reference. Its clients read capabilities, details.families and, in
 * model_info, "general.architecture" and "<that>.context_length".
 */

#include "gateway/base/buffer.h"
#include "routing/route.h"

/* Whose API this is like; later ones have more (log probabilities). */
#define OLLAMA_VERSION "0.12.6"

/* An item of the list. */
void pages_put_for_ollama(struct buffer *out, struct text name);
/* All of a model, asked for by <name>. */
void pages_show_for_ollama(struct buffer *out, struct text name, const struct route *route);
