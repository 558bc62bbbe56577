/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * translate - a call of one dialect made in another, and its answer brought back. A door of
 * providers.
 *
 * Pure and resumable at every byte: pieces go in as they come, pieces come out. Where the client
 * and the target speak the same dialect nobody needs this: their bytes pass as they are.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/memory.h"
#include "gateway/base/text.h"
#include "providers/call.h"
#include "providers/provider.h"

struct translator;
struct losses;

/* The words for <operation> in <dialect> ("anthropic"), or NULL when it has none. */
const struct translator *translator_find(struct text dialect, enum operation operation);
struct text translator_name(const struct translator *translator);
struct text translator_stream_type(const struct translator *translator);
enum operation translator_operation(const struct translator *translator);
/* Its prompts are for the model as they are: ask for a completion where the target has such. */
bool translator_is_bare(const struct translator *translator);

/* Who is to get the call. */
struct call_target {
    const struct provider_type *type;
    struct text model;             /* plain: the target's own name */
    bool stream;                   /* as the client asked */
    int64_t max_tokens_default;    /* where the client says none, 0 = none */
    int64_t max_tokens_max;        /* what the model can write at most, 0 = not known */
    int64_t lowered_tokens;        /* write this, whatever was asked; 0 = as asked */
    struct text api_version;       /* of Azure */
    struct text project, location; /* of Vertex */
    struct text betas; /* of Anthropic's, that the client names in its header, comma between */
};

/* A call as it was read, for any target; lives in an arena, and borrows from the body. */
struct chat;

/* Read a call of <words>. <body> is valid JSON; <model> and <stream> as the path says, where it
 * does. NULL with a fault when it cannot be read. */
const struct chat *translate_read(struct arena *arena, const struct translator *words,
                                  struct text body, struct text model, bool stream,
                                  struct fault *fault);

/* The words in which <model> is best asked for a call that was read, where <to> is what its
 * provider speaks: Claude at Bedrock is asked in its own words by those who speak them. */
const struct translator *translate_nearest(const struct chat *chat, const struct translator *to,
                                           struct text model);

/* What is beside the body of a call that was written; all in the arena. */
struct translated_call {
    struct text body; /* by translate_call() only */
    struct text path;
    struct text headers; /* lines with CRLF */
    struct text demands,
        hints; /* what the target cannot say, named, with commas; empty = all said */
};

/* What a call has many of, and providers take so many of at most. */
struct call_sizes {
    int64_t tools, images;
};
struct call_sizes translate_sizes(const struct chat *chat);

/* Write the call for a target in the words <to>, its body into <body>, which is cleared first.
 * False when the body is longer than <body> may be, or the path than TRANSLATED_PATH_MAX: then
 * nothing of it may be sent. */
enum { TRANSLATED_PATH_MAX = 16 << 10 };
bool translate_write(struct arena *arena, const struct chat *chat, const struct translator *to,
                     const struct call_target *target, struct buffer *body,
                     struct translated_call *made);

/* Both at once, for one target; the body is in the arena, too. False with a fault. */
bool translate_call(struct arena *arena, const struct translator *from, const struct translator *to,
                    struct text body, struct text model, bool stream,
                    const struct call_target *target, struct translated_call *made,
                    struct fault *fault);

/* Append the path of a call in <words>, which are the client's and the target's. */
void translate_path(const struct translator *words, const struct call_target *target,
                    struct buffer *out);
/* What an answer of 400 or more says, in <words> of the target. */
void translate_error(const struct translator *words, unsigned status, struct text body,
                     struct provider_error *error);

/* Append the answer to a question for a number of tokens; <words> are of OPERATION_COUNT. */
void translate_put_count(const struct translator *words, int64_t tokens, struct buffer *out);

/* How an answer goes: what its writer must know. Texts live as long as the translation. */
struct answer_way {
    const struct translator *from, *to; /* the target's, the client's */
    struct text id;    /* plain: ids that the client's dialect needs are made of it */
    struct text model; /* plain: as the client asked; written where the answer says none */
    int64_t now_s;     /* Unix time */
    bool stream_in, stream_out;
    bool wants_usage; /* the client asked for OpenAI's usage chunk */
    bool array_out;   /* of a Gemini stream without alt=sse: one JSON array in pieces */
    struct text call; /* the client's request body: some dialects repeat parts of it */
};

/* What of a client's call in <words> its answer will be written by (answer_way.call), copied into
 * <arena>: the body itself goes before the answer has ended. */
struct text translate_keep_call(struct arena *arena, const struct translator *words,
                                struct text call);

/* The way of one answer. Owned by whoever called translation_new(). What it holds is bounded: one
 * frame of a stream by FRAME_MAX (frame.h), an answer that is gathered by TRANSLATED_ANSWER_MAX. An
 * answer beyond, or one whose translation has no room in <out>, fails; it is never cut. */
enum { TRANSLATED_ANSWER_MAX = 64 << 20 };
struct translation;

/* <seen>: is told what is seen, as a dialect's watch would tell it; lives as long. */
struct translation *translation_new(const struct answer_way *way, struct answer *seen);
void translation_free(struct translation *translation);

enum translation_state {
    TRANSLATION_GOES,   /* more is expected */
    TRANSLATION_ENDED,  /* the answer is whole; see translation_end_at() */
    TRANSLATION_FAILED, /* the fault says why; for a stream that has begun, nothing was written of
                           it */
};

/* Translate the next piece of the target's answer; what is made of it is appended to <out>. The
 * state stays what it is once it is not TRANSLATION_GOES, but for an <out> that has no room: then
 * it is TRANSLATION_FAILED, and <out> (see its overrun) is not to be used. */
enum translation_state translation_feed(struct translation *translation, struct text piece,
                                        struct buffer *out);
/* The target's answer has ended: TRANSLATION_FAILED when it was not whole. */
enum translation_state translation_close(struct translation *translation, struct buffer *out);
/* The target says nothing more, though it has not ended. When its answer is whole by what came -
 * all is there but the end itself - ends it as translation_close() would; else nothing has changed.
 * <usage>: only when it has told its usage, too. */
enum translation_state translation_rest(struct translation *translation, bool usage,
                                        struct buffer *out);
/* Of what the last call appended, where in <out> that begins which ends the answer for the client
 * (behind all that was appended, when nothing does). */
size_t translation_end_at(const struct translation *translation);
/* The stream that was written so far ends with this fault: say so in the client's words. False, and
 * nothing is appended, when its dialect has none of its own for it. */
bool translation_say_failure(struct translation *translation, const struct fault *fault,
                             struct buffer *out);
/* Why it failed. The text is the provider's, where it said something. */
const struct fault *translation_fault(const struct translation *translation);

/* One answer, which is whole, in its other form: a body as a stream or the reverse. */
bool translate_form(const struct answer_way *way, struct text answer, struct buffer *out);
