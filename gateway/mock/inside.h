/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * inside - what the files of the simulated provider share; nobody else includes this.
 *
 *   mock.c          start, serve, stop          mock/caller.c   a connection: HTTP in, an answer
 * out mock/wish.c     what a model's name asks    mock/prose.c    words, tokens mock/schema.c JSON
 * that fits a schema     mock/endpoint.c which path is answered by whom mock/chat.c mock/response.c
 * mock/other.c  mock/audio.c  mock/object.c  mock/realtime.c  answers mock/count.c    the counters
 */

#include "gateway/base/buffer.h"
#include "gateway/base/loop.h"
#include "gateway/base/member.h"
#include "gateway/base/text.h"
#include "gateway/http/body.h"
#include "gateway/http/head.h"
#include "gateway/http/websocket.h"
#include "gateway/mock/mock.h"

/* -------------------------------------------------------------------- wishes: mock/wish.c */

enum mock_fault {
    MOCK_RESET = 1,       /* before the first byte */
    MOCK_RESET_MID = 2,   /* in the middle */
    MOCK_STALL = 4,       /* silence in the middle */
    MOCK_STALL_HEAD = 8,  /* silence from the start */
    MOCK_CUT = 16,        /* ends well-framed in the middle */
    MOCK_NO_DONE = 32,    /* a stream without [DONE] */
    MOCK_BAD_CHUNK = 64,  /* broken chunk framing in the middle */
    MOCK_GARBAGE = 128,   /* a body that is neither JSON nor SSE */
    MOCK_BAD_HEAD = 256,  /* no HTTP head */
    MOCK_ERROR_MID = 512, /* an error inside a 200 */
    MOCK_USAGE_EVERY = 1024,
    MOCK_NO_USAGE = 2048,
    MOCK_CLOSE = 4096,
    MOCK_BAD_EVENT = 8192,    /* one event that is no JSON, in the middle */
    MOCK_LATE = 16384,        /* the head and an empty event at once, the first token later */
    MOCK_SHORT = 32768,       /* less than Content-Length says, then the end */
    MOCK_CONTEXT = 65536,     /* refused: longer than the context */
    MOCK_FILTER = 131072,     /* refused: by a content filter */
    MOCK_NO_PREFILL = 262144, /* refused, where the last message is the assistant's */
};

/* What a model's name asks for. */
struct wish {
    unsigned faults;     /* enum mock_fault bits */
    unsigned status;     /* refuse with this; 0 = do not */
    int64_t retry_after; /* seconds; 0 = no such header */
    int64_t delay_us, rate, tokens, after, big_mib, cached, reasoning;
    int64_t flap_us; /* the faults befall for so long, then nothing does for so long */
    int64_t first;   /* they befall so many calls only */
    int64_t odds;    /* per cent of calls that the faults befall */
};

/* Read "mock/slow-200ms+tokens-50"; a name without "mock/" wishes nothing. False: a word is not
 * known. */
bool wish_read(struct text model, struct wish *wish);

/* --------------------------------------------------------------------- prose: mock/prose.c */

enum { PIECE_BYTES = 24 };

/* What is said, in pieces; each piece is one token. */
struct prose {
    uint64_t seed;
    struct text said; /* this, four bytes at a time; or empty: words are made up from the seed */
    int64_t tokens;
};

uint64_t prose_seed(uint64_t seed, struct text about);
struct text prose_piece(const struct prose *prose, int64_t i, char out[PIECE_BYTES]);
int64_t prose_tokens_of(struct text said);
/* Tokens of plain words; never more than its bytes. */
int64_t prose_count_words(struct text words);
/* Tokens of all string values in a JSON text; an inlined file counts 85. */
int64_t prose_count_json(struct text json);

/* Append a value that fits the JSON schema <schema>, whose "$ref"s are looked up in <root>. */
void schema_fill(struct buffer *out, struct text root, struct text schema);

/* ------------------------------------------------------------------------ counters: mock/count.c
 */

enum outcome { OUTCOME_WHOLE, OUTCOME_CUT, OUTCOME_BROKEN, OUTCOME_REFUSED, OUTCOMES };

/* One call of a model, for the log. */
struct tally {
    char id[48];
    char request_id[72]; /* x-request-id as it came */
    char model[136];     /* as it stands in the request's JSON */
    bool stream;
    int64_t prompt_tokens, completion_tokens;
    enum outcome outcome;
    uint64_t at_us, until_us; /* of clock_now_us(): it had come, it ended */
};

struct counters;
struct counters *counters_new(size_t log_rows);
void counters_free(struct counters *counters);
void counters_reset(struct counters *counters);
/* Also writes at_us into <tally>. Returns which one of its model it is, from 1 on. */
uint64_t counters_begin(struct counters *counters, struct tally *tally);
void counters_end(struct counters *counters, const struct tally *tally);
void counters_write(const struct counters *counters, size_t connections, struct buffer *out);
/* Append the first logged call whose number is at least *number as JSON and move *number behind
 * it; false when there is none. */
bool counters_write_call(const struct counters *counters, uint64_t *number, struct buffer *out);

/* ---------------------------------------------------------------- a connection: mock/caller.c */

struct caller;

/* How an answer is made, piece by piece. Each appends to <out>, which goes out as one chunk. */
struct script {
    void (*begin)(struct caller *caller, struct buffer *out);
    bool (*more)(struct caller *caller, struct buffer *out); /* false = there was nothing left */
    void (*end)(struct caller *caller, struct buffer *out);
};

enum phase { PHASE_BEGIN, PHASE_MORE, PHASE_END, PHASE_DONE, PHASE_STALLED, PHASE_RESET };

/* The answer being given. */
struct plan {
    enum phase phase;
    const struct script *script; /* NULL: <text> is the body */
    struct buffer text;          /* the body, or what is said */
    size_t text_sent;
    const char *type; /* Content-Type */
    unsigned status;
    bool stream, chunked, close, is_call, include_usage, limited, broken, store;
    struct wish wish;
    struct prose prose;
    struct tally tally;
    int64_t tokens;              /* made so far; the tally gets them when they are on the wire */
    int64_t per_event;           /* tokens in one event */
    int64_t choices, choice, at; /* where it is */
    int64_t created, sequence;
    uint64_t begun_us, due_us, number;
    bool calls_tool;
    char tool[72];
    char extra[72]; /* whatever the script needs besides */
};

/* What was asked. */
struct request {
    enum method method;
    char path[512], query[256], type[256], key[32];
    bool keep_alive, upgrade, is_old;
};

enum caller_state { CALLER_HEAD, CALLER_BODY, CALLER_ANSWER, CALLER_FRAMES, CALLER_GONE };

struct caller {
    struct watch watch;
    struct grave grave;
    struct link link;
    struct timer timer;
    struct mock *mock;
    enum caller_state state;
    struct buffer in, out, body;
    struct head_find find;
    struct body framing;
    uint64_t body_bytes; /* all that came, also what was not kept */
    struct request request;
    struct plan plan;
    struct websocket *ws;
    bool hangup; /* it has closed its half, perhaps together with its last request */
};

/* Take over <fd>, which is non-blocking. */
void caller_new(struct mock *mock, int fd);
/* End it at once, or by a reset. */
void caller_end(struct caller *caller, bool reset);

/* ---------------------------------------------------------------------- the server: mock.c */

struct object;

struct mock {
    struct loop *loop;
    struct mock_options options;
    struct counters *counters;
    struct link callers;
    size_t caller_count;
    struct head head;       /* scratch: large, and used for a moment only */
    struct buffer scratch;  /* of one piece */
    char input[16 * 1024];  /* of one read */
    uint64_t flap_since_us; /* the first call that asked for it; 0 = none has */
    struct object *objects;
    size_t object_count, object_next;
    uint64_t next_id;
    uint32_t id_base;
};

/* Write "PREFIX" and 16 hexadecimal digits that no other id of this or another mock has. */
void mock_id(struct mock *mock, const char *prefix, char id[48]);

/* --------------------------------------------------------------------- answers, by their files */

/* Find who answers caller->request and let it fill in caller->plan. */
void endpoint_answer(struct caller *caller);

/* The body of the request, whole. */
static inline struct text asked(const struct caller *caller)
{
    return buffer_text(&caller->body);
}

/* Append; running out of room is an inside contradiction, every piece is small. */
void put(struct buffer *out, struct text text);
void put_format(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void put_escaped(struct buffer *out, struct text text);

/* The body is what is in plan.text. */
void reply(struct caller *caller, unsigned status, const char *type);
/* An error in OpenAI's form. <code> and <param> may be NULL. */
void refuse(struct caller *caller, unsigned status, const char *code, const char *param,
            const char *message);

/*
 * Begin a call of a model: reads model, stream, limits, wishes; counts the tokens of the prompt's
 * members. False when it was refused, also because that was wished.
 */
bool call_begin(struct caller *caller, const char *id_prefix, const char *const *prompts);
/* The same when the model was found elsewhere (a form). <model> is as JSON writes it. */
bool call_begin_model(struct caller *caller, const char *id_prefix, struct text model);
/* Answer with a script; one that is not streamed and not large is collected first, so that it has
 * a length. */
void call_speak(struct caller *caller, const struct script *stream, const struct script *whole);
/* Run a script to its end at once; what it writes becomes plan.text, which it may read till then.
 */
void call_collect(struct caller *caller, const struct script *script);
/* A call that is answered by what is in plan.text, as JSON. */
void call_reply(struct caller *caller);
/* How long the answer is: what is wished, limited by what the request allows. */
void call_measure(struct caller *caller);
/* The next piece of prose, raw; empty at the end. Counts it. */
bool call_next(struct caller *caller, struct buffer *out);

int64_t member_number(struct text object, const char *name, int64_t otherwise);
bool member_true(struct text object, const char *name);
struct text member_words(struct text object, const char *name); /* a string's inside, or empty */

void answer_chat(struct caller *caller);
void answer_completion(struct caller *caller);
void answer_response(struct caller *caller);
void answer_embedding(struct caller *caller);
void answer_moderation(struct caller *caller);
void answer_image(struct caller *caller);
void answer_speech(struct caller *caller);
void answer_transcription(struct caller *caller);
void answer_rerank(struct caller *caller);
void answer_models(struct caller *caller);
void answer_model(struct caller *caller);
void answer_upload(struct caller *caller);
void answer_objects(struct caller *caller);
void answer_object(struct caller *caller);
void answer_object_delete(struct caller *caller);
void answer_content(struct caller *caller);
void answer_cancel(struct caller *caller);
void answer_batch(struct caller *caller);
void answer_input_items(struct caller *caller);
void answer_realtime(struct caller *caller);
void answer_stats(struct caller *caller);
void answer_calls(struct caller *caller);
void answer_reset(struct caller *caller);

/* Does the request want a tool to be called? Then its name and arguments are in the plan. <format>
 * tells where a tool's name and parameters stand: below "function" or not. */
bool tool_choose(struct caller *caller, struct text conversation, bool below_function);

/* Things that were made (mock/object.c), bounded: the oldest go first. */
struct text object_path_id(const struct caller *caller);
void object_keep_response(struct caller *caller, const char *id, struct text body);
void objects_free(struct mock *mock);

/* Usage as chat and embeddings write it. */
void put_chat_usage(struct buffer *out, const struct plan *plan);

/* Frames from a caller that talks over a WebSocket. */
void realtime_feed(struct caller *caller, struct text bytes);
void realtime_done(struct caller *caller);
