/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cohere - the parts of the `cohere` dialect; only the files cohere*.c, vectors_cohere.c, ranking.c
 * and registry.c include this.
 *
 * Source: Cohere's API reference, version 2 (POST /v2/chat, /v2/embed, /v2/rerank).
 */

#include "providers/provider.h"
#include "providers/translator.h"

extern const struct dialect dialect_cohere;

enum { COHERE_TOKENS_MAX = 2000000000 };

/* `usage` of a chat: tokens, cached_tokens, billed_units; false when it says nothing. */
bool cohere_read_usage(struct text json, struct usage *usage);
/* `meta` of embeddings and rankings: billed_units. */
bool cohere_read_meta(struct text json, struct usage *usage);
void cohere_read_error(unsigned status, struct text body, struct provider_error *error);
