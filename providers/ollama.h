/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ollama - the parts of the `ollama` dialect; only the files ollama*.c and registry.c include this.
 *
 * Source: Ollama's API reference (POST /api/chat, POST /api/generate). Streams are lines of JSON,
 * and what says nothing about it is a stream. Arguments of calls are objects; calls have ids only
 * in newer versions, and results name their tool instead.
 */

#include "providers/rope.h"
#include "providers/translator.h"

extern const struct dialect dialect_ollama;
extern const struct translator translator_ollama_chat;
extern const struct translator translator_ollama_generate;

bool ollama_read_chat(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault);
bool ollama_read_generate(struct arena *arena, const struct call_source *source, struct chat *chat,
                          struct fault *fault);
void ollama_write_chat(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses);

struct ollama_reader {
    struct reader_state state;
    bool begun, called, over, text_open, thought_open;
    unsigned text_part, thought_part, parts;
    struct usage usage;
};
void ollama_read_frame(void *state, const struct frame *frame, struct answer_sink *sink);
void ollama_read_body(void *state, struct text body, struct answer_sink *sink);
void ollama_read_end(void *state, struct answer_sink *sink);
void ollama_read_error(unsigned status, struct text body, struct provider_error *error);

/* Tokens of the prompt, and of what was written; false when neither is told. */
bool ollama_read_usage(struct text input, struct text output, struct usage *usage);

enum { OLLAMA_CALLS_MAX = 128, OLLAMA_TOKENS_MAX = 2000000000 };

struct ollama_writer {
    struct writer_state state;
    struct rope ropes[OLLAMA_CALLS_MAX]; /* of each call: its arguments so far */
    struct text names[OLLAMA_CALLS_MAX], ids[OLLAMA_CALLS_MAX];
    unsigned parts[OLLAMA_CALLS_MAX];
    size_t call_count;
    enum finish finish;
    struct usage usage;
};
void ollama_write_event(void *state, const struct answer_event *event, struct buffer *out);
void ollama_write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out);
