/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * openai - the parts of the `openai` dialect; only the files openai*.c include this.
 *
 * Sources: OpenAI API reference (chat, completions, responses, embeddings, images, audio, files,
 * batches, realtime); what compatible servers make of it was taken from recorded traffic, see
 * tests/cases/recorded.
 */

#include "providers/provider.h"

/*
 * Read a usage object of any of the forms in use into answer->usage, which it replaces. Numbers
 * that are negative, fractional, above 10^12, or no numbers are as good as absent. Sets usage_seen
 * when it says all that there is to book (some servers send one without output tokens first).
 */
void openai_read_usage(struct answer *answer, struct text usage);

/* The `duration` of a transcript that has no usage: its seconds. Of tokens it says nothing. */
void openai_read_duration(struct answer *answer, struct text duration);
/* Add what the model's tools have used, after the usage was read: `tool_usage` of a response. */
void openai_add_tools(struct answer *answer, struct text tools);

/* The `meta` of a rerank answer in Cohere's form: billed_units.search_units. */
void openai_read_meta(struct answer *answer, struct text meta);

void openai_read_error(unsigned status, struct text body, struct provider_error *error);

/* One answer of one choice in its other form (openai_form.c); false when that cannot say it. */
bool openai_to_events(struct text body, bool usage, struct buffer *out);
bool openai_to_body(struct text events, struct buffer *out);

extern const struct dialect dialect_openai;
