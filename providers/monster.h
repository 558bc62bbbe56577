/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * monster - the words of Monster API's own way to ask a language model and wait for it:
 * POST /v1/generate with {"model", "messages" or "formatted_prompt", "max_tokens", ...}, answered
 * by {"response": {"text": ["...", ...]}}, one text for each of "n". There are no streams.
 *
 * A deployment's own endpoint has an older way: POST /generate with {"prompt", "stream", "n",
 * "temperature", "max_tokens"}, where the prompt is what the model sees. The answer is a JSON
 * string that has a JSON text in it, {"text": ["...", ...]}; as a stream, such texts (without the
 * string around them) with a NUL behind each, every one with all that was said so far.
 *
 * Sources: the Python client monsterapi 1.0.9, its data models (nextGenLLMClient, DeployLLM) and
 * what it makes of the answers (get_response_sync_api, get_streaming_response); vLLM's api_server,
 * from which the framing is.
 */

#include "providers/translator.h"

extern const struct translator translator_monster;
extern const struct translator translator_monster_endpoint;

/* Read a call of either way into <chat>. */
bool monster_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                       struct fault *fault, bool is_endpoint);

struct call_writing;
/* Name what neither way can say. */
void monster_lose(struct call_writing *w);
/* Say an answer that is these texts, a JSON array. */
void monster_say_texts(struct text texts, struct answer_sink *sink);

/* Of both. */
void monster_write_path(const struct call_target *target, struct buffer *out);
/* There is nothing to say at the end. */
void monster_read_end(void *state, struct answer_sink *sink);
bool monster_is_text(enum part_kind kind);
/* {"text": [one for each choice]} */
void monster_write_texts(const struct whole_answer *whole, struct buffer *out);
