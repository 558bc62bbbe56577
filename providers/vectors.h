/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * vectors - embeddings and rankings, which are no conversations; only the files vectors*.c,
 * ranking.c and registry.c include this.
 *
 * They go through the same engine: a text is a message of the user with a part for each piece of
 * it, a question of a ranking is the first message. In an answer each vector is a PART_RAW of the
 * first choice: an array of numbers as it came, or a string with the base64 of 32-bit floats, low
 * byte first. Each place of a ranking is one too: {"index","relevance_score","document":{"text"}}.
 *
 * Sources: the API references of OpenAI (embeddings), Google (batchEmbedContents), Cohere (v2
 * embed, v2 rerank), Ollama (api/embed), Jina, Voyage and vLLM (rerank), NVIDIA (NIM text
 * reranking).
 */

#include "providers/translator.h"

extern const struct translator translator_openai_embedding;
extern const struct translator translator_gemini_embedding;
extern const struct translator translator_ollama_embedding;
extern const struct translator translator_cohere_embedding;
extern const struct translator translator_openai_ranking;
extern const struct translator translator_cohere_ranking;
extern const struct translator translator_nvidia_ranking;

enum {
    VECTORS_MAX = CHAT_PARTS_MAX, /* texts of a call */
    VECTOR_TOKENS_MAX = 2000000000,
};

/* ------------------------------------------------------------------------------ a call is read */

struct vector_reading {
    struct arena *arena;
    struct chat *chat;
    struct fault *fault;
    size_t room, part_room;
};

bool vectors_refuse(struct vector_reading *r, const char *param, const char *what);
/* A new text, whose parts follow; false with a fault when there are too many. */
bool vectors_add(struct vector_reading *r, const char *param);
/* A part of the last text, or NULL with a fault. */
struct part *vectors_part(struct vector_reading *r, const char *param, enum part_kind kind);
/* One text that is a JSON string, or (of <raw>) whatever only the dialect itself knows. */
bool vectors_add_value(struct vector_reading *r, const char *param, struct text json);
/* An array of them. */
bool vectors_add_values(struct vector_reading *r, const char *param, struct text json);
/* A number from 0 on; null is as good as nothing. */
bool vectors_number(struct vector_reading *r, const char *param, struct text json, int64_t *number);
/* A string, inner; null is as good as nothing. */
bool vectors_string(struct vector_reading *r, const char *param, struct text json,
                    struct text *inner);
/* What only the own dialect knows. */
void vectors_keep(struct vector_reading *r, struct text name, struct text json, bool is_demand);

/* --------------------------------------------------------------------------- a call is written */

/* Append the texts' <i>-th as a JSON string, with the comma where needed; parts that are no text
 * are lost. */
void vectors_put_text(struct buffer *out, const struct chat *chat, size_t i, struct losses *losses);
/* "name":[...] of the texts from <first> on. */
void vectors_put_texts(struct buffer *out, const char *name, const struct chat *chat, size_t first,
                       struct losses *losses);

/* What only <own> knows, where the call is its own. */
void vectors_put_own(struct buffer *out, const struct chat *chat, const struct translator *own);

/* ------------------------------------------------------------------------------------- answers */

void vectors_begin(struct answer_sink *sink, struct text id, struct text model);
/* One vector, or one place of a ranking. */
void vectors_say(struct answer_sink *sink, unsigned number, struct text raw);
void vectors_end(struct answer_sink *sink, const struct usage *usage);
void vectors_fail(struct answer_sink *sink, const char *words);
/* Each item of an array of vectors; their number. */
unsigned vectors_say_array(struct answer_sink *sink, struct text array);

/* Append a vector as numbers, or as a string of base64, whichever it came as. */
void vectors_put_numbers(struct buffer *out, struct text raw);
void vectors_put_base64(struct buffer *out, struct text raw);
/* Append one that is an item of an array: with the comma. */
void vectors_put_items(struct buffer *out, const struct whole_answer *whole, bool base64);
/* The vectors of it. */
const struct whole_choice *vectors_of(const struct whole_answer *whole);

/* What a vector's answers never are: streams. */
void vectors_read_frame(void *state, const struct frame *frame, struct answer_sink *sink);
void vectors_read_end(void *state, struct answer_sink *sink);
void vectors_write_event(void *state, const struct answer_event *event, struct buffer *out);

/* The members of a translator that all of these have. */
#define VECTORS_TRANSLATOR                                                                \
    .framing = FRAMING_LINES, .reader_bytes = sizeof(struct reader_state),                \
    .read_frame = vectors_read_frame, .read_end = vectors_read_end,                       \
    .stream_type = {"application/json", 16}, .writer_bytes = sizeof(struct writer_state), \
    .write_event = vectors_write_event
