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

/* ------------------------------------------------------------------------------------- chat */

extern const struct translator translator_cohere_chat;

bool cohere_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault);
void cohere_write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses);

struct cohere_reader {
    struct reader_state state;
    bool begun, over, is_open; /* <open>: a part that is no call */
    unsigned parts, open;
    enum part_kind open_kind;
    bool call_open;
    unsigned call;
};
void cohere_read_frame(void *state, const struct frame *frame, struct answer_sink *sink);
void cohere_read_body(void *state, struct text body, struct answer_sink *sink);
void cohere_read_end(void *state, struct answer_sink *sink);

struct cohere_part {
    enum part_kind kind;
    unsigned place; /* among the contents, or among the calls */
};

struct cohere_writer {
    struct writer_state state;
    struct cohere_part *parts;
    size_t part_count, part_room;
    unsigned contents, calls, citations;
    enum finish finish;
    struct text reason;
    struct usage usage;
};
void cohere_write_event(void *state, const struct answer_event *event, struct buffer *out);
void cohere_write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out);
/* The word for why it ended. */
struct text cohere_finish_word(const struct answer_way *way, enum finish finish,
                               struct text reason);
void cohere_put_usage(struct buffer *out, const struct usage *usage);
/* An item of `citations`. */
void cohere_put_citation(struct buffer *out, const struct citation *citation);
