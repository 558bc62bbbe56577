/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * translator - one kind of call in one dialect: how it is read into our words (chat.h) and written
 * from them, and so is its answer. Inside providers.
 *
 * Translators are pure: bytes in, words out, and back. They open nothing, read no clock, make no
 * random numbers; what they need of these is handed in. All that a reader or writer remembers
 * between two events is in its state, which the engine (translate.c) makes, zeroed, and frees.
 *
 * A new dialect is one file with one of these, a row in registry.c, and a folder of cases.
 */

#include <stdbool.h>

#include "gateway/base/fault.h"
#include "providers/chat.h"
#include "providers/frame.h"
#include "providers/translate.h"

/* Where a call stands: what is in its body, and what the path says (of Gemini, Bedrock). */
struct call_source {
    struct text body;  /* valid JSON, an object */
    struct text model; /* plain: from the path, or empty */
    bool stream;       /* the path says so */
};

/* The first bytes of every reader's and every writer's state. */
struct reader_state {
    struct arena arena; /* for what is remembered; freed by the engine */
    const struct answer_way *way;
};

struct writer_state {
    struct arena arena;
    const struct answer_way *way;
};

struct translator {
    struct text name;    /* "openai-chat", in logs and rows of the ledger */
    struct text dialect; /* "openai": what a provider's row says under `dialect` */
    enum operation operation;

    /* ---- the call */

    /* Read it; false, with a fault (BAD_REQUEST and a param), when it is not what the dialect's
     * reference says. Fields of a wrong type are refused; unknown ones become chat->fields. */
    bool (*read_call)(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault);
    /* Append the body. What cannot be said goes to <losses>. */
    void (*write_call)(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses);
    /* Append the path behind the provider's base URL, with its query. */
    void (*write_path)(const struct call_target *target, struct buffer *out);
    /* What of a client's call its answer will be written by, in <arena>;
     * mostly nothing. NULL: see translate_keep_call(). */
    struct text (*keep_call)(struct arena *arena, struct text call);
    struct text headers; /* lines that a call made by write_call() needs, each with CRLF */
    /* Its prompts are what the model is to see, as they are: a target that has completions is asked
     * for one, and no template of a conversation is put around them. */
    bool is_bare;

    /* ---- of those that carry another's words: NULL = none */

    /* Bodies and events are this one's, but for where they stand. A call, or an answer, that goes
     * between the two is not read and written anew: it goes as it was said. */
    const struct translator *carries;
    /* Append the body of a call as <chat> was said: by one whose words these carry, or that carries
     * these. What belongs beside it goes to <headers>, as lines. */
    void (*carry_call)(const struct chat *chat, const struct call_target *target,
                       struct buffer *out, struct buffer *headers, struct losses *losses);
    /* The event that was in the frame that was read last; at == NULL: none. */
    struct text (*carried)(const void *state);
    /* Append an event, a JSON object, as it stands in a stream. <usage>: of the answer so far. */
    void (*put_carried)(void *state, struct text json, const struct usage *usage,
                        struct buffer *out);

    /* ---- of OPERATION_COUNT (count.h) */

    struct text (*find_count)(struct text body);           /* the number, json, in an answer */
    void (*put_count)(struct buffer *out, int64_t tokens); /* append an answer */

    /* ---- the answer, read */

    enum framing framing; /* of its streams */
    size_t reader_bytes;  /* of a struct that begins with a struct reader_state */
    /* One frame of a stream, or the whole body of an answer that is none. What is broken is said by
     * ANSWER_FAIL with FAULT_TARGET_INVALID, never by silence. */
    void (*read_frame)(void *state, const struct frame *frame, struct answer_sink *sink);
    void (*read_body)(void *state, struct text body, struct answer_sink *sink);
    /* The stream has ended. When the answer is whole by what came (a finish reason), says END, and
     * what is due before it; else nothing: the engine takes it for cut. */
    void (*read_end)(void *state, struct answer_sink *sink);
    /* What an answer with a status of 400 or more means. */
    void (*read_error)(unsigned status, struct text body, struct provider_error *error);

    /* ---- the answer, written */

    struct text stream_type; /* Content-Type */
    size_t writer_bytes;     /* of a struct that begins with a struct writer_state */
    /* Append what one thing said is in a stream; often nothing. All that ANSWER_END brings is what
     * the client takes for the end of the answer, and no byte of it comes before. */
    void (*write_event)(void *state, const struct answer_event *event, struct buffer *out);
    /* It can say ANSWER_FAIL in its streams; else the gateway ends them with an error's event. */
    bool says_failure;
    /* Append a whole answer (not one that failed). */
    void (*write_whole)(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out);
};

/* The state of a translation's writer; lives as long as the translation. */
void *translation_writer(struct translation *translation);

/* All of them (registry.c); NULL behind the last. */
const struct translator *translator_at(size_t i);

/* ------------------------------------------------------------------- gathering (whole.c) */

/* A sink that makes a whole answer of what is said; all in <arena>. */
struct gathering {
    struct answer_sink sink;
    struct arena *arena;
    struct whole_answer whole;
    struct growing *open;  /* the texts that still grow */
    struct rope *logprobs; /* of each choice, what came so far; NULL = nothing */
    size_t open_count, open_room;
    size_t bytes, bytes_max;
    bool too_long; /* it was more than bytes_max; what is there is not whole */
};

void gathering_begin(struct gathering *gather, struct arena *arena, const struct translator *from,
                     size_t bytes_max);
/* Free what still grows; what is whole lives in the arena. */
void gathering_done(struct gathering *gather);

/* Say a whole answer as events: what gathering them would give again. */
void whole_say(const struct whole_answer *whole, struct answer_sink *sink);
