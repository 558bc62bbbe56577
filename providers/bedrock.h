/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * bedrock - the parts of the `bedrock` dialect; only the files bedrock*.c and registry.c include
 * this.
 *
 * Source: AWS' reference of Amazon Bedrock Runtime (Converse, ConverseStream, InvokeModel,
 * InvokeModelWithResponseStream, CountTokens) and its model for the SDKs. The model stands in the
 * path. A block of a message is an object with one member, which says what it is. Streams are of
 * AWS' event stream encoding; an error inside one is an exception.
 */

#include "providers/provider.h"
#include "providers/rope.h"
#include "providers/translator.h"

extern const struct dialect dialect_bedrock;
extern const struct translator translator_bedrock;
/* What the maker of the model has, carried by AWS: Anthropic's messages (bedrock_invoke.c). */
extern const struct translator translator_bedrock_invoke;
/* How many tokens a call of either has. */
extern const struct translator translator_bedrock_count;

/* -------------------------------------------------------------------------------- blocks */

/* Read one block, also of an answer. NULL, or what is wrong with it ("has no source"). */
const char *bedrock_read_block(struct arena *arena, struct text json, struct part *part);
/* The blocks of a list; a cachePoint is put to the part before it. NULL, or what is wrong with the
 * block of number *<at>. */
const char *bedrock_read_blocks(struct arena *arena, struct text list, struct part **parts,
                                size_t *count, size_t *at);
/* A citation of an answer: <json> is the object. */
struct citation bedrock_read_citation(struct text json);
/* {"type":"ephemeral"} of a cachePoint. */
struct text bedrock_read_cache(struct arena *arena, struct text json);
/* What `redactedContent` says; false when it cannot be told as a text. */
bool bedrock_read_redacted(struct arena *arena, struct text inner, struct part *part);

/* "pdf" and "application/pdf", "png" and "image/png": what Bedrock calls <media_type>, or at ==
 * NULL; and back. */
struct text bedrock_format_of(enum part_kind kind, struct text media_type);
struct text bedrock_media_type_of(struct arena *arena, enum part_kind kind, struct text format);

/* Append an inner text as base64, in quotes, as the member <name>. */
void bedrock_put_coded(struct buffer *out, const char *name, struct text plain);
/* Append {"cachePoint":{...}}. */
void bedrock_put_cache(struct buffer *out, struct text cache);
/* An id of a call as it may stand here. */
struct text bedrock_id(struct arena *arena, struct text id);
/* Append the members of a citation. */
void bedrock_put_citation(struct buffer *out, const struct citation *citation);

/* ------------------------------------------------------------------------------ the call */

/* Can this call, read in Anthropic's words, be asked of <model> as it was said, by InvokeModel? */
bool bedrock_invoke_takes(const struct chat *chat, struct text model);

bool bedrock_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                       struct fault *fault);

/* A call while it is written. */
struct bedrock_writing {
    struct arena *arena;
    const struct chat *chat;
    const struct call_target *target;
    struct buffer *out;
    struct losses *losses;
    bool own;             /* it was read in this dialect: as it was said */
    bool claude, nova;    /* whose model is asked */
    size_t message, part; /* which is written, for the names of what is left out */
    size_t documents;     /* so many were written: names of those that have none */
};

void bedrock_write_call(struct arena *arena, const struct chat *chat,
                        const struct call_target *target, struct buffer *out,
                        struct losses *losses);
/* Append a block; false when it was left out. <nested>: in the result of a tool. */
bool bedrock_put_part(struct bedrock_writing *w, const struct part *part, bool nested);
/* Can <part> be written at all? Names what is left out when not. */
bool bedrock_takes(struct bedrock_writing *w, const struct part *part);
/* `inferenceConfig`, `additionalModelRequestFields`, `outputConfig`. */
void bedrock_put_settings(struct bedrock_writing *w);
struct text bedrock_field(const struct chat_field *fields, size_t count, struct text name);

/* Append a name of a model, which may be an ARN, as one segment of a path. */
void bedrock_put_segment(struct buffer *out, struct text name);

/* ---------------------------------------------------------------------------- the answer */

/* What the figures of a usage object mean. False when there are none. */
bool bedrock_read_usage(struct text json, struct usage *usage);
void bedrock_put_usage(struct buffer *out, const struct usage *usage);
enum finish bedrock_finish_of(struct text reason);
struct text bedrock_stop_reason(enum finish finish);
enum fault_kind bedrock_fault(struct text exception);
void bedrock_read_error(unsigned status, struct text body, struct provider_error *error);

/* An answer that passes as it is (bedrock_watch.c), of Converse or InvokeModel. */
enum { BEDROCK_WANTS = 7 };
extern const struct text bedrock_wants[BEDROCK_WANTS];
void bedrock_watch_field(struct answer *answer, struct text name, struct text value);
enum event_verdict bedrock_watch_event(struct answer *answer, const struct sse_event *event);
void bedrock_watch_body(struct answer *answer, const struct scan_value *values);

struct bedrock_reader {
    struct reader_state base;
    bool has_begun, has_finished, is_over;
    bool is_open; /* a block is */
    int64_t index;
    enum part_kind kind;
    unsigned part, parts;
    struct text start;    /* json: how a block began that is PART_RAW */
    struct rope raw;      /* inner or json: what came of it since */
    struct rope said;     /* inner: its signature, or what is redacted, so far */
    bool is_redacted;     /* <said> is */
    struct text response; /* json: additionalModelResponseFields */
};
void bedrock_read_frame(void *state, const struct frame *frame, struct answer_sink *sink);
void bedrock_read_body(void *state, struct text body, struct answer_sink *sink);
void bedrock_read_end(void *state, struct answer_sink *sink);

enum { BEDROCK_PLACES_MAX = CHAT_PARTS_MAX };

/* A part of an answer while it is written. Blocks go one behind the other: what comes of a part
 * while another one is open is kept. */
struct bedrock_place {
    unsigned part;
    enum part_kind kind;
    bool is_open, is_ended, has_text;
    struct text id, name, signature, encrypted, raw;
    struct rope text;
};

struct bedrock_writer {
    struct writer_state base;
    bool has_begun, has_calls;
    struct bedrock_place *places;
    size_t place_count, place_room, live; /* <live>: the first that is not written */
    int64_t blocks;
    enum finish finish;
    struct text reason; /* inner */
    struct usage usage;
    struct chat_field fields[CHAT_FIELDS_MAX];
    size_t field_count;
};
void bedrock_write_event(void *state, const struct answer_event *event, struct buffer *out);
void bedrock_write_whole(const struct answer_way *way, struct arena *arena,
                         const struct whole_answer *whole, struct buffer *out);
