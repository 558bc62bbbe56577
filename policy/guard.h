/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * guard - what must not pass: rules on the texts of requests and answers. A door of policy.
 *
 * A `struct guard` is compiled once from the configuration's rules, immutable, read by all threads.
 * It looks at texts as they are meant (JSON strings are unescaped), never at raw bytes, and changes
 * only what matched. Regular expressions are the operator's own; each match is bounded (PCRE2's
 * match and depth limits), and one that runs out of its bound counts as a match.
 *
 * Pure: no I/O. A webhook's verdict comes from gateway/webhook.h.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/text.h"

enum guard_stage { GUARD_REQUEST, GUARD_RESPONSE };
enum guard_type {
    GUARD_REGEX,
    GUARD_CONTAINS,         /* words, without regard to case, at word boundaries */
    GUARD_PII,              /* entities: email phone card iban ip secret; none = all but ip */
    GUARD_PROMPT_INJECTION, /* a list of well-known phrasings; a hint, not a wall */
    GUARD_JSON_SCHEMA,      /* the whole answer must fit */
    GUARD_WEBHOOK,
};
enum guard_action { GUARD_BLOCK, GUARD_REDACT, GUARD_FLAG };

/* As configured; texts live as long as the configuration. */
struct guard_rule {
    struct text name;
    enum guard_stage stage;
    enum guard_type type;
    enum guard_action action;
    const struct text *patterns, *terms, *entities;
    size_t pattern_count, term_count, entity_count;
    struct text schema;   /* JSON */
    size_t stream_window; /* bytes of text held back in a stream */
    struct text url;      /* webhook */
    int64_t timeout_us;
    bool allow_on_error;
    const struct text *tenants, *models; /* only these; none = all */
    size_t tenant_count, model_count;
};

struct guard;
/* NULL and *fault (param = the rule's name) when a pattern or a schema is none. <rules> are
 * borrowed for its life. */
struct guard *guard_new(const struct guard_rule *rules, size_t count, struct fault *fault);
void guard_free(struct guard *guard);

/* Which rules concern calls of this tenant (or one above it) and model at this stage: bits, by the
 * index of the rule. 0 for most. At most GUARD_RULES_MAX rules. */
enum { GUARD_RULES_MAX = 64, GUARD_NAMES_MAX = 8 };
uint64_t guard_concerns(const struct guard *guard, enum guard_stage stage,
                        const struct text *tenants, size_t tenant_count, struct text model);
/* NULL behind the last. */
const struct guard_rule *guard_rule_at(const struct guard *guard, size_t i);
/* Its name as a C string, which lives as long as the guard. */
const char *guard_rule_name(const struct guard *guard, size_t i);

struct guard_verdict {
    uint64_t matched; /* bits of the rules that matched (of webhooks: never) */
    bool blocks;      /* one of them says block */
    bool changed;     /* something was redacted: <out> has the new text */
    const char *rule; /* name of the one that blocks */
};

/* Look at all texts of a request's body, or of an unstreamed answer's. An answer that is no JSON is
 * one text if it is UTF-8, and none if not (sound, pictures). When something is redacted, <out>
 * (buffer_init() before) gets the whole new body; when it has no room for it, that is a block. */
void guard_look(const struct guard *guard, uint64_t rules, enum guard_stage stage, struct text body,
                struct guard_verdict *verdict, struct buffer *out);

/* What a body is, or how a stream is cut into events. */
enum guard_form {
    GUARD_FORM_REQUEST,
    GUARD_FORM_ANSWER,
    GUARD_FORM_EVENTS, /* server-sent ones, raw with their empty lines */
    GUARD_FORM_LINES,  /* a JSON value on each: Ollama's */
    GUARD_FORM_FRAMES, /* AWS' event stream; in InvokeModel's, events are base64 in "bytes" */
    GUARD_FORM_ITEMS,  /* of one JSON array: Gemini's without alt=sse */
};

/*
 * A stream of events (one or more whole ones at a time, as they came). Text of the events is joined
 * per choice; an event leaves when the window's length of text has followed
 * what it has, or its choice is finished, or the stream ends; events never overtake each other.
 * Redaction rewrites the events it falls into; blocking ends the stream. Verdicts add up.
 *
 * With a json_schema or a webhook among the rules nothing leaves before the end (up to
 * GUARD_TEXT_MAX of text): guard_stream_end() then gives all events, and it is the caller who asks
 * the webhooks before it sends them.
 */
struct guard_stream;
struct guard_stream *guard_stream_new(const struct guard *guard, uint64_t rules,
                                      enum guard_form form);
void guard_stream_free(struct guard_stream *stream);
/* Give in events; what may leave is appended to <out>. False: blocked, nothing more leaves. */
bool guard_stream_event(struct guard_stream *stream, struct text event,
                        struct guard_verdict *verdict, struct buffer *out);
/* The last event was given in: all that is held leaves, or it is blocked. */
bool guard_stream_end(struct guard_stream *stream, struct guard_verdict *verdict,
                      struct buffer *out);
/* Does nothing leave before the end? Once false, it stays so: there was too much text, and the
 * webhooks' on_error said allow; they are not to be asked. */
bool guard_stream_gathers(const struct guard_stream *stream);
/* Has an event with text left (of one that gathers: has it been gathered)? */
bool guard_stream_has_begun(const struct guard_stream *stream);
/* Bytes held now; bounded by the window, the number of choices and the longest event. */
size_t guard_stream_held(const struct guard_stream *stream);

/*
 * All texts of a body or of a whole stream, for webhooks: each once, unescaped, pieces of a stream
 * put together.
 */
enum { GUARD_TEXT_MAX = 1024 * 1024, GUARD_TEXTS_MAX = 16384 };
struct guard_texts;
/* <body> is borrowed for its life. NULL when there is more than GUARD_TEXT_MAX of text, or more
 * than GUARD_TEXTS_MAX of them. */
struct guard_texts *guard_texts_new(enum guard_form form, struct text body);
void guard_texts_free(struct guard_texts *texts);
size_t guard_texts_count(const struct guard_texts *texts);
struct text guard_texts_at(const struct guard_texts *texts, size_t i);
/* Are these the words of an answer (no refusal, reasoning, arguments)? */
bool guard_texts_is_answer(const struct guard_texts *texts, size_t i);
/* Append the body with <with> (as many as there are; well-formed UTF-8) instead of its texts.
 * False when that cannot be: arguments would be no JSON any more, or <out> is full. */
bool guard_texts_replace(const struct guard_texts *texts, const struct text *with,
                         struct buffer *out);
