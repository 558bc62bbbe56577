/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * provider - how to speak with one kind of model server. A door of the folder.
 *
 * A provider only reads and writes bytes: it opens no socket, reads no clock, and so can be tested
 * with files and fuzzed. A provider *type* is a row of data (providers.json and registry.c); what
 * it speaks is a *dialect*, which is one file. When the client speaks the same dialect as the
 * target, the answer's bytes pass through and the dialect only watches them.
 */

#include <stdbool.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/base/text.h"
#include "gateway/http/sse.h"
#include "providers/call.h"

enum auth_kind { AUTH_NONE, AUTH_BEARER, AUTH_HEADER };

/* How much of something it takes in one call; more it refuses. 0 = not known. */
struct provider_limits {
    int64_t body_bytes;
    int64_t stops;     /* stop sequences of a conversation that crosses */
    int64_t tools;     /* of a conversation */
    int64_t images;    /* in all of it */
    int64_t texts;     /* that are embedded */
    int64_t documents; /* that are ranked */
};

/* One kind of provider, by the name that stands under `type:`. */
struct provider_type {
    struct text name;
    struct text dialect;  /* "openai" */
    struct text base_url; /* default, or empty: then the configuration must give one */
    struct text path;     /* put behind a base URL that does not end in it ("/v1"), often empty */
    enum auth_kind auth;
    struct text auth_header; /* for AUTH_HEADER */
    struct text catalogue;   /* its name in models.json */
    bool needs_key;          /* without a key it is off, with a warning */
    bool is_own;             /* a model server of one's own: an unknown price is zero */
    bool is_mock;            /* built in */
    bool is_azure;           /* has its own paths around those of OpenAI's dialect */
    bool is_vertex;          /* has project and location in its paths, and no key */
    bool stream_options;     /* understands stream_options.include_usage */
    bool no_responses;       /* of OpenAI's dialect: has chat completions only */
    bool input_tokens;       /* has /responses/input_tokens */
    bool compacts;           /* has /responses/compact */
    bool searches;           /* its models can search the web (web_search.h) */
    /* Chat completions (openai_chat.h), beside OpenAI's reference or short of it: */
    /* Spoken beside <dialect>, at the root of the server (the base URL without <path>): clients of
     * <dialect> are served in that, all others in this. Else empty. */
    struct text second_dialect;
    struct text chat_dialect; /* of conversations, where it is not <dialect>; else empty */
    /* How its embeddings and rankings differ from the reference (vectors_openai.c, ranking.c):
     * "voyage", "jina", "nvidia", "nvidia-hosted"; empty = not. Rankings of NVIDIA's have words of
     * their own. */
    struct text vectors;
    struct text reasoning; /* how it is asked for: "" reasoning_effort; "object" (OpenRouter's);
                              "thinking" (Anthropic's); "enable_thinking"; "template"; "none" */
    struct text reasoning_history; /* how it is shown again: "" not at all; "content"; "details";
                                      "both" */
    bool openai_fields;            /* takes what only OpenAI keeps or knows: store, verbosity ... */
    bool conventions; /* takes cache_control, annotations, extra_content, addresses of files */
    bool max_completion_tokens; /* calls it that, not max_tokens */
    bool developer_role;        /* knows that role */
    bool top_k;                 /* takes it */
    bool json_object_only;      /* knows no schema of an answer */
    bool tool_media;            /* takes pictures in results of tools */
    /* What it does not take, with spaces between: names of members ("n logit_bias"), and
     * "tool_choice" (but auto), "required" (there), "stops" (more than one stop sequence), "name"
     * (of who speaks). */
    struct text refuses;
    struct provider_limits limits;
    const char *key_variable; /* e.g. "OPENAI_API_KEY"; NULL when there is none */
};

const struct provider_type *provider_type_find(struct text name);
/* The i-th type, or NULL behind the last. */
const struct provider_type *provider_type_at(size_t i);

/* Read <rows> (the form of providers.json), at most <max>, into <to>; their texts borrow from
 * it. Returns how many there are; 0 when a row has a member that nobody reads. */
size_t provider_rows_read(struct text rows, struct provider_type *to, size_t max);

/*
 * What has been seen of an answer so far. Zeroed, then <operation> and <hide_usage> are set, and
 * <owns> when the request asks that a response be stored (an answer that says otherwise wins).
 *
 * A stream is whole when <ended>: that comes with the finish reason already, because some servers
 * send no [DONE]; EVENT_LAST still comes only with the event behind which there is nothing more.
 * Usage that was seen replaces what was seen before; without <usage_seen> it may hold the input.
 */
enum { ANSWER_ID_BYTES = 128 };

struct answer {
    enum operation operation;
    bool hide_usage; /* we asked for the usage chunk, the client did not */
    bool usage_seen;
    bool ended;  /* the event or member that makes the answer whole has come */
    bool failed; /* the provider reported an error inside a 200 */
    bool owns;   /* object_id names something that was made (file, batch, response) */
    /* The tier that it was made in, where it says so. Of an answer in another dialect than its
     * provider's that means nothing. */
    bool service_seen;
    enum service_tier service;
    struct usage usage;
    int64_t events;        /* events with content so far */
    int64_t content_bytes; /* bytes of text produced so far, as JSON writes them */
    int64_t
        sound_tokens;  /* of sound that a stream has shown so far, as its length in base64 says */
    unsigned pictures; /* that a stream has shown something of so far */
    unsigned searches; /* of the web, that a stream has shown so far */
    /* Of a stream of pictures: how many are to come (0 = one), and how many have come whole. */
    int64_t pictures_due, pictures_done;
    bool input_unsaid;               /* <usage_seen>, and of the prompt nothing that is a count */
    int64_t late_events, late_bytes; /* of content that came behind the usage that was seen */
    int64_t guessed_tokens; /* of the usage's output: by a total that does not say of what */
    char finish[32];        /* reason, cut */
    char *object_id;        /* ANSWER_ID_BYTES, lent by who wants to know; NULL = it is not read */
};

/* Note the provider's word for the tier of service that has made it; what is no such word says
 * nothing. */
void answer_note_service(struct answer *answer, struct text word);
/* Note that the answer's object is called <id>. Ids that are longer than any in use are dropped,
 * not cut: a cut one would name something else. */
void answer_note_id(struct answer *answer, struct text id);
/* Note <bytes> of base64 of sound, of which <of_token> are a token. */
void answer_note_sound(struct answer *answer, size_t bytes, int64_t of_token);
/* Is the name of the answer's object known? */
static inline bool answer_has_id(const struct answer *answer)
{
    return answer->object_id && answer->object_id[0];
}

/* How often was the web searched for it, by the items of a response (OpenAI's Responses)? */
int64_t response_searches(struct text response);
/* Is an item of such a <type> one, whose action is of the type <action> (empty: it does not say)?
 * Opening a page and looking for words in it are such items, too, and cost nothing. */
bool response_is_search(struct text type, struct text action);

enum event_verdict {
    EVENT_PASS,
    EVENT_HIDE, /* the usage chunk that only we asked for */
    EVENT_LAST, /* ends the answer: held until the call is settled */
    EVENT_FAIL, /* an error inside a stream: passed on, and nothing good comes after it */
};

enum { DIALECT_WANTS = TAP_WANTS_MAX };

/* What an error answer means. */
struct provider_error {
    enum fault_kind kind;
    char message[200]; /* plain, for our log: "code: words", cut */
    int64_t retry_ms;  /* the body says to wait so long; 0 = it does not */
    /* The same for a client of another dialect, as they stand between the quotes of the body, which
     * they are borrowed from; empty where there are none. */
    struct text code, words;
};

/* Set the message and what it is made of. Both are what stands between the quotes of a JSON string;
 * at == NULL: not there. */
void provider_error_say(struct provider_error *error, struct text code, struct text words);
/* "code: words", plain and whole, in the arena; empty when there are none. */
struct text provider_error_words(const struct provider_error *error, struct arena *arena);

/* How the streams of a dialect are cut into events. */
enum framing {
    FRAMING_SSE,
    FRAMING_LINES, /* a JSON value on each line */
    FRAMING_AWS,   /* AWS' event stream */
};

struct dialect {
    struct text name;
    /* No event says that it was the last: a stream that is whole by what came just closes. With the
     * event that sets answer->ended the end may be held, until the stream is over. */
    bool ends_with_stream;
    /* Else the event that does, for a stream of a conversation whose server forgets it. */
    struct text last_event;
    /* How its streams are cut; where they are no server-sent events, as sse_whole() and sse_next()
     * would (else NULL). An event of another framing has its name and its data in the same places.
     */
    enum framing framing;
    size_t (*whole_events)(struct text bytes);
    bool (*next_event)(struct text *bytes, struct sse_event *event);
    /* Look at a header line of a good answer; NULL where none says anything of it. */
    void (*watch_field)(struct answer *answer, struct text name, struct text value);
    /* Look at one event of a stream. */
    enum event_verdict (*watch_event)(struct answer *answer, const struct sse_event *event);
    /* Names of the members of an unstreamed answer to keep for watch_body(). */
    const struct text *wants;
    size_t want_count;
    /* Read them at the end of the answer. Values are in the order of <wants>. */
    void (*watch_body)(struct answer *answer, const struct scan_value *values);
    /* Say what an error answer means. Never fails: when in doubt, FAULT_TARGET_ERROR for 5xx and
     * FAULT_TARGET_REFUSED for 4xx. */
    void (*read_error)(unsigned status, struct text body, struct provider_error *error);
    /* Append a whole answer in its other form: a JSON body as events (with the usage's when
     * <usage>), events as a JSON body. False when the other form cannot say all of it. */
    bool (*to_events)(struct text body, bool usage, struct buffer *out);
    bool (*to_body)(struct text events, struct buffer *out);
};

const struct dialect *dialect_find(struct text name);

/* Append an exception of AWS' event stream: its name, and the JSON that it says. */
void provider_put_exception(struct buffer *out, struct text name, struct text json);

/* Tokens of an answer whose usage never came, from what was seen of it: at least one per event with
 * content, at least one per four bytes of text. */
int64_t answer_estimate(const struct answer *answer);
/* What of that it has had without doubt, whether its server writes many tokens into an event or an
 * event for each character. */
int64_t answer_surely(const struct answer *answer);

/* --------------------------------------------------------------------------- the catalogue */

/* What models.json says of <model> at <provider> (a provider_type's catalogue name). False when it
 * has no entry. The price is not sealed: <version> is 0. Where it has several prices by length of
 * the prompt, the dearest ones count from the lowest threshold on. */
struct model_facts {
    int64_t context_tokens, output_tokens; /* 0 = unknown */
    char mode[16];
};
bool catalogue_find(struct text provider, struct text model, struct model_facts *facts,
                    struct price *price);
