/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * anthropic - the parts of the `anthropic` dialect; only the files anthropic*.c include this.
 *
 * A message is a list of *blocks*, each with a type. What goes where in our words:
 *
 *   text                    PART_TEXT
 *   thinking                PART_REASONING: <text>, <signature>
 *   redacted_thinking       PART_REASONING: <encrypted>
 *   tool_use                PART_CALL; tool_result PART_RESULT, in a message of ROLE_TOOL
 *   image                   PART_IMAGE
 *   document, search_result PART_FILE
 *   all others              PART_RAW
 *
 * A block with members that our words do not have is kept in <raw>, from where they are put back.
 *
 * Proofs of other providers' reasoning (Gemini's signature of a call, OpenAI's encrypted reasoning)
 * travel in the two texts that clients bring back untouched: a thinking's signature, and the data
 * of a redacted thinking; see anthropic_proof.c.
 *
 * Sources: Anthropic API reference (messages, streaming, count_tokens, errors); what its servers
 * and those that copy it really send was taken from recorded traffic.
 */

#include "gateway/base/table.h"
#include "providers/provider.h"
#include "providers/translator.h"

extern const struct dialect dialect_anthropic;
extern const struct translator translator_anthropic;
/* The same calls, asked only how many tokens they have. */
extern const struct translator translator_anthropic_count;

void anthropic_read_error(unsigned status, struct text body, struct provider_error *error);
/* What the `type` of an error means that stands inside an answer of status 200. */
enum fault_kind anthropic_fault(struct text type);

/* ------------------------------------------------------------------------------- the models */

/* What a model can, as far as calls of other dialects must know. One that is no Claude (of others
 * who speak this dialect) is taken for one that can what all can. */
struct anthropic_model {
    bool thinks;                         /* knows `thinking` */
    bool always_thinks;                  /* and cannot be asked not to */
    bool adapts;                         /* thinking of the type `adaptive` */
    bool no_budget;                      /* refuses a budget: `adaptive` only */
    bool no_sampling;                    /* refuses temperature, top_p and top_k */
    bool has_effort, has_max, has_xhigh; /* output_config.effort, and its two highest */
    bool has_schemas;                    /* output_config.format, and strict tools */
    bool no_force;                       /* refuses a tool_choice that forces */
    bool takes_system; /* messages of the system in the middle of a conversation */
};

struct anthropic_model anthropic_model_of(struct text name);

/* -------------------------------------------------------------------------------- the call */

bool anthropic_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                         struct fault *fault);

/* A call while it is read. */
struct anthropic_reading {
    struct arena *arena;
    struct chat *chat;
    struct fault *fault;
    size_t message_room, tool_room;
};

/* It cannot be read: the field, and what is wrong with it. Returns false. */
bool anthropic_refuse(struct anthropic_reading *r, const char *what, const char *field, ...)
    __attribute__((format(printf, 3, 4)));
bool anthropic_read_messages(struct anthropic_reading *r, struct text list);
bool anthropic_read_system(struct anthropic_reading *r, struct text value);
bool anthropic_read_tools(struct anthropic_reading *r, struct text list);
bool anthropic_read_choice(struct anthropic_reading *r, struct text choice);

/* Read one block, also of an answer. NULL, or what is wrong with it ("has no source"). */
const char *anthropic_read_block(struct arena *arena, struct text json, struct part *part);
/* The blocks of a list; NULL, or what is wrong with the block of number *<at>. */
const char *anthropic_read_blocks(struct arena *arena, struct text list, struct part **parts,
                                  size_t *count, size_t *at);

/* A call while it is written. */
struct anthropic_writing {
    struct arena *arena;
    const struct chat *chat;
    const struct call_target *target;
    struct buffer *out;
    struct losses *losses;
    struct anthropic_model model;
    bool own;             /* it was read in this dialect: as it was said */
    bool counting;        /* how many tokens: nothing is made */
    size_t message, part; /* which is written, for the names of what is left out */
    size_t turn;          /* the message with which the turn begins that is written */
    size_t question; /* a message of the system that asks in the user's place; SIZE_MAX = none */
    size_t nameless_calls, nameless_results; /* so many had no id so far */
    struct table asked; /* the ids of the calls in front of the turn <asked_turn> */
    size_t asked_turn;
    bool knows_asked;
};

void anthropic_write_call(struct arena *arena, const struct chat *chat,
                          const struct call_target *target, struct buffer *out,
                          struct losses *losses);
/* A call that is only counted: without what is about the answer. */
void anthropic_write_count_call(struct arena *arena, const struct chat *chat,
                                const struct call_target *target, struct buffer *out,
                                struct losses *losses);
/* Claude can be held to a schema, and not to JSON of any shape: that is asked for in words. */
extern const struct text anthropic_asks_json;
/* `system` and `messages`. */
void anthropic_put_conversation(struct anthropic_writing *w);
/* A block of a call; false when it was left out. */
bool anthropic_put_part(struct anthropic_writing *w, const struct part *part, enum role role);
/* `tools` and `tool_choice`. */
void anthropic_put_tools(struct anthropic_writing *w);
/* `max_tokens`, `thinking`, and what of the rest depends on them. */
void anthropic_put_thinking(struct anthropic_writing *w);
/* `output_config`: <effort> (inner) or at == NULL, and the schema of the answer. */
void anthropic_put_output(struct anthropic_writing *w, struct text effort);
/* Append a schema of JSON as structured outputs take it; a keyword that they do not take is left
 * out, and named with <where> in front. */
void anthropic_put_schema(struct anthropic_writing *w, struct text schema, const char *where);
/* What the client's dialect calls the shape of the answer. */
const char *anthropic_name_of_shape(const struct chat *chat);

/* Does this reasoning's proof come from Claude? */
bool anthropic_is_ours(const struct part *part);
/* The field that was read of <name>, or at == NULL. */
struct text anthropic_field(const struct chat_field *fields, size_t count, struct text name);
/* Append "name":, with the comma where one is needed. */
void anthropic_put_name(struct buffer *out, struct text name);
/* Append the members of <raw>, an object, that are not among <known>. */
void anthropic_put_extras(struct buffer *out, struct text raw, const struct text *known,
                          size_t count);

/* -------------------------------------------------------------------------------- proofs */

struct anthropic_proof {
    const struct translator *from;
    enum { PROOF_ENCRYPTED, PROOF_CALL, PROOF_TEXT } of;
    struct text id;    /* inner: of the call, or of the reasoning */
    struct text proof; /* inner */
};

/* The inner that says it, in the arena. */
struct text anthropic_write_proof(struct arena *arena, const struct anthropic_proof *proof);
/* Is it one? <proof>->from is NULL when nobody knows whose. */
bool anthropic_read_proof(struct text inner, struct anthropic_proof *proof);

/* ------------------------------------------------------------------------------ the answer */

/* What was said of tokens, as it was said; -1 = nothing. */
struct anthropic_figures {
    int64_t input, cached, cache_write, write_1h, output, thinking, searches;
    int64_t surcharge; /* percent */
};

void anthropic_figures_clear(struct anthropic_figures *figures);
/* Read a usage object; what it says replaces what was said. */
void anthropic_read_figures(struct text usage, struct anthropic_figures *figures);
void anthropic_settle(const struct anthropic_figures *figures, struct usage *usage);

struct anthropic_piece;
struct anthropic_place;

/* An answer while it is read. */
struct anthropic_reader {
    struct reader_state base;
    bool has_begun, has_finished, is_over; /* BEGIN, FINISH; END or FAIL were said */
    bool is_open;                          /* a block is */
    int64_t index;                         /* its number */
    enum part_kind kind;                   /* what it is to us */
    unsigned part, parts;                  /* its number; how many there were */
    struct text start;                     /* json: how a block began that is PART_RAW */
    struct anthropic_piece *pieces;        /* what came of it since */
    size_t piece_count, piece_room, piece_bytes;
    struct anthropic_figures figures;
    bool has_figures;
};

/* An answer while it is written. */
struct anthropic_writer {
    struct writer_state base;
    bool has_begun; /* message_start was written */
    struct text id, model;
    struct anthropic_place *places; /* the parts */
    size_t place_count, place_room;
    bool has_live;
    size_t live;          /* which part is */
    size_t first_waiting; /* none before it waits */
    int64_t blocks;       /* how many were begun */
    size_t held_bytes;    /* how much was held back so far */
    bool calls;           /* one of them is a call */
    enum finish finish;
    struct text reason, sequence; /* inner */
    struct usage usage;
    struct chat_field fields[CHAT_FIELDS_MAX];
    size_t field_count;
};

void anthropic_read_frame(void *state, const struct frame *frame, struct answer_sink *sink);
void anthropic_read_body(void *state, struct text body, struct answer_sink *sink);
void anthropic_read_end(void *state, struct answer_sink *sink);

void anthropic_write_event(void *state, const struct answer_event *event, struct buffer *out);
void anthropic_write_whole(const struct answer_way *way, struct arena *arena,
                           const struct whole_answer *whole, struct buffer *out);

/* Of an answer that is written, also by write_whole(). */
void anthropic_put_citation(struct buffer *out, const struct citation *citation);
const char *anthropic_stop_reason(enum finish finish, bool calls);
/* The members of a usage object; <extras> and <more>: objects whose other members are put too. */
void anthropic_put_usage(struct buffer *out, const struct usage *told, struct text extras,
                         struct text more);

/* -------------------------------------------------------- carried by others (anthropic_carry.c) */

/* The members that stand elsewhere at some doors, and how a body is made that goes as it was said.
 */
void anthropic_carry_call(const struct chat *chat, const struct call_target *target,
                          struct buffer *out, struct buffer *headers, struct losses *losses);
void anthropic_put_carried(void *state, struct text json, const struct usage *usage,
                           struct buffer *out);
/* Append the members of a call's body but for those among <moved>; `max_tokens` as the target is to
 * have it. The object is open before and after. */
void anthropic_carry_members(const struct chat *chat, const struct call_target *target,
                             const struct text *moved, size_t count, struct buffer *out);

/* {"input_tokens":N} */
void anthropic_put_count(struct buffer *out, int64_t tokens);
