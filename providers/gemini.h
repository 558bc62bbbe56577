/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gemini - the parts of the `gemini` dialect; only the files gemini*.c and registry.c include this.
 *
 * Sources: Google's Gemini API reference (models.generateContent, models.streamGenerateContent,
 * Content, Part, Schema, GenerationConfig), its guides on thinking, thought signatures and function
 * calling; Vertex AI's reference of the same; google.rpc.Status and RetryInfo for errors. Both
 * spellings of names, thinkingConfig and thinking_config, are protobuf's JSON mapping; so are enums
 * as numbers and whole numbers as strings.
 */

#include "providers/provider.h"
#include "providers/translator.h"

extern const struct dialect dialect_gemini;
extern const struct translator translator_gemini;
extern const struct translator translator_gemini_count;

/* ------------------------------------------------------------------- words (gemini_words.c) */

/* Is <name> this one, in either spelling? <camel> is "thinkingConfig". */
bool gemini_named(struct text name, struct text camel);
/* The member of either spelling, or at == NULL. */
struct text gemini_find(struct text object, struct text camel);
/* Take the next item off <rest>, which at first is an array, or one object that stands for it. */
bool gemini_next(struct text *rest, struct text *item);

/* Take back what was appended behind <length> bytes. */
static inline void gemini_cut_back(struct buffer *out, size_t length)
{
    out->end = out->begin + length;
}

/* Append a JSON value without the white space between its pieces: an event is one line. */
void gemini_put_compact(struct buffer *out, struct text json);

/* A part, looked at once; what is not there is at == NULL. */
struct gemini_part {
    struct text text, signature;          /* inner */
    struct text call, result, data, file; /* json, objects */
    bool thought;
    bool more; /* it has other members, and so only <raw> says all of it */
    struct text raw;
};
void gemini_part_look(struct text raw, struct gemini_part *part);

/* What is of this media type (inner). */
enum part_kind gemini_media_kind(struct text media_type);
/* How many queries groundingMetadata says were searched for. */
int64_t gemini_queries(struct text grounding);

/* Read usageMetadata; false when it says nothing. Figures that are no counts are as good as absent.
 */
bool gemini_read_usage(struct text json, struct usage *usage);
/* Append usageMetadata as a member. */
void gemini_put_usage(struct buffer *out, const struct usage *usage);

/* What a finishReason (json: a string, or the number of the enum) means; <name> is its name. What
 * stands for "not finished" is FINISH_NONE. */
enum finish gemini_finish(struct text json, struct text *name);
/* The name of a finish that another dialect said. */
struct text gemini_finish_name(enum finish finish);

void gemini_read_error(unsigned status, struct text body, struct provider_error *error);
/* What an error means that stands inside a 200. */
enum fault_kind gemini_error_kind(struct text error);

/* ------------------------------------------------------------------ schema (gemini_schema.c) */

/* JSON Schema from Gemini's subset of OpenAPI's, in the arena. */
struct text gemini_schema_read(struct arena *arena, struct text schema);
/* Does that subset have all that stands in a JSON Schema, so that it may go as it is? */
bool gemini_schema_fits(struct text schema);

/* --------------------------------------------------------------------- calls, gemini_call_*.c */

bool gemini_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault);
/* The contents of a call and its systemInstruction, as messages. */
bool gemini_read_contents(struct arena *arena, struct text contents, struct text system,
                          struct chat *chat, struct fault *fault);
/* Refuse a call: <param> is what is wrong with <what>. Always false. */
bool gemini_refuse(struct arena *arena, struct fault *fault, struct text param, const char *what);

void gemini_write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses);
void gemini_write_path(const struct call_target *target, struct buffer *out);
/* The same up to the verb, which begins with a colon. */
void gemini_put_model_path(const struct call_target *target, struct buffer *out);
/* Append `contents` and `systemInstruction`. */
void gemini_put_contents(struct arena *arena, const struct chat *chat,
                         const struct call_target *target, struct buffer *out,
                         struct losses *losses);
/* Append `generationConfig`. */
void gemini_put_config(const struct chat *chat, const struct call_target *target,
                       struct buffer *out, struct losses *losses);

/* What a model can do, by its name. */
enum gemini_age {
    GEMINI_PLAIN,   /* does not think: 1.x, 2.0, Gemma, image and speech models */
    GEMINI_BUDGETS, /* thinks within a budget: 2.5, and what is not known */
    GEMINI_LEVELS,  /* thinks at a level, and wants its signatures back: 3 and later */
};
enum gemini_age gemini_age_of(struct text model);

/* ------------------------------------------------------------------ answers, gemini_answer_*.c */

/* At least of their states. */
enum { GEMINI_READER_BYTES = 256, GEMINI_WRITER_BYTES = 384 };

void gemini_read_frame(void *state, const struct frame *frame, struct answer_sink *sink);
void gemini_read_body(void *state, struct text body, struct answer_sink *sink);
void gemini_read_end(void *state, struct answer_sink *sink);

void gemini_write_event(void *state, const struct answer_event *event, struct buffer *out);
void gemini_write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out);
