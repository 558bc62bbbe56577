/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * openai_responses - the parts of the words for OpenAI's Responses; only the files
 * openai_responses*.c include this.
 *
 * A response is a list of *items*: messages, reasoning, calls of tools and what came of them. In
 * our words the items of one turn are parts of one message. What goes where:
 *
 *   message      its content parts; a text's <id> is that of its message, its <name> the phase;
 * parts that nobody else has are PART_RAW, with "content" as <name> reasoning    PART_REASONING;
 * its summary (or its content) is <text> function_call, custom_tool_call          PART_CALL
 *   function_call_output, custom_tool_call_output   PART_RESULT
 *   all others   PART_RAW
 *
 * Custom tools (free text instead of arguments) and tools in a namespace are functions to everybody
 * else: {"input":"..."}, and NAMESPACE__NAME. Calls of them come back as what the client declared.
 *
 * Sources: OpenAI API reference (responses, streaming events of responses); what the Codex CLI
 * reads of it (its source is public); what servers make of it was taken from recorded traffic.
 */

#include "providers/index.h"
#include "providers/rope.h"
#include "providers/translator.h"

extern const struct translator translator_openai_responses;
/* What a call's input would count. Calls go up in these words from OpenAI's own clients only, as
 * they are: not every server has the path, and what others ask is counted here. */
extern const struct translator translator_openai_count;

/* ------------------------------------------------------------------------------- the call */

/* A call while it is read. */
struct responses_reading {
    struct arena *arena;
    struct chat *chat;
    struct fault *fault;
    size_t message_room, part_room, tool_room;
    bool joins;          /* the next item of the same role belongs to the last message */
    size_t item;         /* number of the input's item that is read */
    struct text allowed; /* tool_choice's allowed tools, json */
    struct tool_index tools;
};

bool responses_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                         struct fault *fault);
/* The call's `input`. */
bool responses_read_input(struct responses_reading *r, struct text input);
/* A list of tools: the call's, or of an item of the input. <where>: its name for the fault. */
bool responses_read_tools(struct responses_reading *r, struct text tools, const char *where);
bool responses_read_choice(struct responses_reading *r, struct text choice);
/* A content part of a message, or of what came of a tool. False with a fault. */
bool responses_read_part(struct responses_reading *r, struct text json, struct part *part);
/* The annotations of a text. */
void responses_read_annotations(struct arena *arena, struct text list, struct part *part);
struct citation responses_citation(struct text annotation);

/* The call cannot be read: the field, and what is wrong with it. Returns false. */
bool responses_refuse(struct responses_reading *r, const char *what, const char *field, ...)
    __attribute__((format(printf, 3, 4)));

void responses_write_call(struct arena *arena, const struct chat *chat,
                          const struct call_target *target, struct buffer *out,
                          struct losses *losses);
/* The conversation as items, without what stands in `instructions`: the first <skip> messages. */
void responses_write_items(struct arena *arena, const struct chat *chat,
                           const struct call_target *target, size_t skip, struct buffer *out,
                           struct losses *losses);
void responses_write_tools(const struct chat *chat, struct buffer *out, struct losses *losses);

/* ------------------------------------------------------------------------------- the tools */

/* What a client declared a tool as. */
struct responses_tool {
    bool is_custom;
    struct text name, space; /* inner; <space>: its namespace, or at == NULL */
};

/* All the tools that a client declares, one by one, in the order in which they stand. */
struct declared_tools {
    struct declared_tool *tools;
    size_t count, room;
};

/* Add those of <list> (json, an array): each, and those of each namespace. */
void responses_add_declared(struct arena *arena, struct text list, struct declared_tools *tools);
/* Find the one that others call <name>; false when it is not among them. */
bool responses_find_tool(const struct declared_tools *tools, struct text name,
                         struct responses_tool *found);
/* What the client declared a tool of the call as that others call <name>: where it is another
 * dialect's, or not declared, it is what it is called. */
void responses_find_declared(const struct chat *chat, struct tool_index *index, struct text name,
                             struct responses_tool *found);
/* What others call a tool of a namespace, in the arena. */
struct text responses_flat_name(struct arena *arena, struct text space, struct text name);

/* ------------------------------------------------------------------------------- proofs */

/*
 * Signatures and what only another provider can read have one place that clients bring back
 * untouched: an item of reasoning's `encrypted_content`. There they stand with the name of whose
 * they are, and what they belong to.
 */
struct responses_proof {
    const struct translator *from;
    enum { PROOF_OF_ITEM, PROOF_OF_CALL, PROOF_OF_TEXT } of; /* the item, a call, the text before */
    struct text call_id, signature, encrypted;               /* inner */
};

struct text responses_write_proof(struct arena *arena, const struct responses_proof *proof);
bool responses_read_proof(struct text encrypted_content, struct responses_proof *proof);

/* ------------------------------------------------------------------------------ the answer */

/* A part of the answer that was begun. */
struct response_open {
    int64_t item, content; /* its places in the response; <content> -1: it is the whole item */
    enum part_kind kind;
    bool is_open, has_said, has_logprobs, is_custom;
    bool in_content; /* reasoning: of its content, not its summary */
    int64_t section; /* reasoning: the part of its summary or content that was said last */
    size_t citations;
};

/* An answer while it is read. */
struct responses_reader {
    struct reader_state base;
    bool has_begun, is_over, has_calls, has_refusal;
    struct response_open *parts;
    size_t part_count, part_room;
    int64_t message_item; /* the message whose id and phase these are */
    struct text message_id, phase;
};

void responses_read_frame(void *state, const struct frame *frame, struct answer_sink *sink);
void responses_read_body(void *state, struct text body, struct answer_sink *sink);
void responses_read_end(void *state, struct answer_sink *sink);

/* A content part of a message that is written. */
struct response_content {
    bool is_refusal, is_open;
    struct rope text, logprobs, annotations; /* the latter two: items with commas */
    unsigned annotation_count;
    int64_t characters;
    struct citation *waiting; /* for the end of the text */
    size_t waiting_count, waiting_room;
};

/* An item that is written. */
struct response_item {
    enum part_kind kind; /* TEXT: a message; REASONING, CALL, IMAGE, RAW */
    bool is_custom, is_done, is_cut;
    bool in_content; /* reasoning as it is, not a summary of it */
    struct text id, call_id, name, space, phase, raw, signature, encrypted, media_type;
    struct rope text; /* arguments, summary, base64 */
    struct response_content *contents;
    size_t content_count, content_room;
};

/* Where a part of the answer is written. */
struct response_place {
    bool is_known, is_ended;
    enum part_kind kind;
    size_t item, content;
    struct text id, name, signature;
};

enum { RESPONSE_ECHOES = 21 };

/* An answer while it is written. */
struct responses_writer {
    struct writer_state base;
    struct buffer *out; /* NULL: nothing is streamed */
    size_t data_at;     /* where in it the data of the event begins that is written */
    int64_t sequence;
    struct text seed, id, model; /* inner */
    int64_t created;
    bool has_begun;
    struct text echoes[RESPONSE_ECHOES]; /* json: the call's members that a response repeats */
    struct text tools, input;            /* json, of the call */
    struct declared_tools declared;      /* in both, once one was looked for */
    bool knows_declared;
    struct response_item *items;
    size_t item_count, item_room;
    struct response_place *places; /* by the number of the part */
    size_t place_count, place_room;
    enum finish finish;
    bool is_refusal;
    struct usage usage;
    struct text usage_raw; /* json: the provider's own, for what it says besides */
    struct chat_field fields[CHAT_FIELDS_MAX];
    size_t field_count;
};

void responses_write_event(void *state, const struct answer_event *event, struct buffer *out);
void responses_write_whole(const struct answer_way *way, struct arena *arena,
                           const struct whole_answer *whole, struct buffer *out);

/* An annotation; one without places is about the first <characters> of its text. */
void response_put_annotation(const struct citation *citation, int64_t characters,
                             struct buffer *out);
/* Read what the response repeats of the call. */
void response_learn(struct responses_writer *w);
void response_put_content(const struct response_content *content, bool full, struct buffer *out);
/* <full>: as it is when it is done; else as it is when it begins. */
void response_put_item(const struct response_item *item, bool full, struct buffer *out);
/* The response: <status> "in_progress", or what it has come to. <error>: json, or at == NULL. */
void response_put(const struct responses_writer *w, const char *status, struct text error,
                  struct buffer *out);
/* "completed" "incomplete" "failed" */
const char *response_status(const struct responses_writer *w);
