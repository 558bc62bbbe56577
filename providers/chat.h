/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * chat - a conversation and the answer to it in our own words. Inside providers.
 *
 * Every dialect is read into these words and written from them, so that each of them is known to
 * its own file only. What no other dialect has is carried along as it came, with the name of the
 * dialect it is from: its own writer puts it back, the others say that they leave it out.
 *
 * Two kinds of texts stand here, and a field says which it is:
 *
 *   inner   what stands between the quotes of a JSON string, with its escapes as they came. It goes
 *           from one document into another without being looked at, and so without being changed.
 *   json    a whole JSON value as it came: numbers keep their digits, objects their order.
 *
 * A text whose <at> is NULL was not there; one of length 0 was there, and is empty. All texts and
 * arrays are borrowed: from the document that was read, or from the arena that was given.
 *
 * Sources: the API references of OpenAI (chat completions, responses), Anthropic (messages), Google
 * (generateContent), AWS (Converse), Cohere (v2 chat) and Ollama (api/chat).
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/memory.h"
#include "gateway/base/text.h"
#include "providers/call.h"

struct translator;

enum {
    CHAT_MESSAGES_MAX = 16384,   /* of a call; more is refused */
    CHAT_PARTS_MAX = 4096,       /* of a message, and of an answer's choice */
    CHAT_PARTS_IN_ALL = 1 << 18, /* of a call: they take far more room here than in its body */
    CHAT_TOOLS_MAX = 1024,
    CHAT_STOPS_MAX = 64,
    CHAT_FIELDS_MAX = 64, /* what only its own dialect knows; more are left out, and said so */
    CHAT_CHOICES_MAX = 128,
};

/* ----------------------------------------------------------------------------- the call */

enum role { ROLE_SYSTEM, ROLE_DEVELOPER, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };

enum part_kind {
    PART_TEXT,
    PART_REFUSAL,   /* of the model: <text> */
    PART_REASONING, /* <text>, <signature>, <encrypted>; <id> where the dialect gives it one */
    PART_CALL,      /* of a tool: <id>, <name>, <arguments> */
    PART_RESULT,    /* of a tool: <id> of the call, <parts>, <is_error> */
    PART_IMAGE,     /* <data> with <media_type>, or <url>, or <id> of a file */
    PART_AUDIO,
    PART_VIDEO,
    PART_FILE, /* a document: as an image, and <name>; or its plain <text> */
    PART_RAW,  /* only its own dialect knows it: <raw> */
};

/* The same shape for what stands in a call and what stands in a whole answer. */
struct part {
    enum part_kind kind;
    struct text text;       /* inner */
    struct text id;         /* inner */
    struct text name;       /* inner: of the tool; of the file */
    struct text arguments;  /* json, an object: what the tool is called with */
    struct text signature;  /* inner: the provider's proof of its reasoning (also of a call) */
    struct text encrypted;  /* inner: reasoning that only the provider can read */
    struct text media_type; /* inner: "image/png" */
    struct text data;       /* inner: base64 */
    struct text url;        /* inner; never a data: URL, which is taken apart into data */
    struct text detail;     /* inner: of an image */
    struct text cache;      /* json: Anthropic's cache_control, or what means the same */
    struct citation *citations;
    size_t citation_count;
    struct part *parts; /* of a RESULT */
    size_t part_count;
    bool is_error;
    struct text raw;               /* json: the whole part; of PART_RAW always, else where it has
                                      more than our words say, or at == NULL */
    const struct translator *from; /* whose words <raw> are */
    struct text more;              /* names of members that only the dialect of the call knows, a
                                      comma between them; at == NULL: none */
};

/* Where a text was taken from. */
struct citation {
    struct text url, title, quote; /* inner */
    int64_t start, end;            /* in the part's text, in characters; -1 = not said */
    struct text raw;               /* json */
    const struct translator *from;
};

struct message {
    enum role role;
    struct text name; /* inner: of who speaks */
    struct part *parts;
    size_t part_count;
};

enum tool_kind {
    TOOL_FUNCTION, /* the client runs it: <name>, <description>, <schema> */
    TOOL_OTHER,    /* of the provider (web search, code, computer): <name> is its kind, <raw> */
};

struct web_search;

struct tool {
    enum tool_kind kind;
    struct text name, description; /* inner */
    struct text schema;            /* json: JSON Schema of the arguments; at == NULL = none */
    struct text cache;             /* json, as in a part */
    bool strict;
    bool takes_text;         /* the client's own dialect knows it as a tool of free text */
    struct text space, bare; /* inner: where it is declared in a namespace: that, and its name in
                                it; <raw> is the whole namespace, and <name> both names */
    struct text raw;         /* json */
    struct text more;        /* as in a part, of a FUNCTION */
    const struct web_search *search; /* of an OTHER that searches the web, else NULL */
};

enum tool_choice { CHOICE_UNSAID, CHOICE_AUTO, CHOICE_NONE, CHOICE_ANY, CHOICE_ONE };
enum answer_shape { SHAPE_TEXT, SHAPE_JSON, SHAPE_SCHEMA };
enum said { SAID_NOTHING, SAID_NO, SAID_YES };

/* What vectors of an embedding are made for. */
enum purpose {
    PURPOSE_UNSAID,
    PURPOSE_QUERY,
    PURPOSE_DOCUMENT,
    PURPOSE_CLASSIFICATION,
    PURPOSE_CLUSTERING,
    PURPOSE_SIMILARITY,
    PURPOSE_QUESTION,
    PURPOSE_FACT,
    PURPOSE_CODE,
    PURPOSE_IMAGE,
};

/* A member that only the dialect of the call knows. Where the value's at == NULL it was seen and is
 * not kept: nobody can put it back, but it can be named. */
struct chat_field {
    struct text name, value; /* inner, json */
    bool is_demand;          /* without it the client gets something else */
};

struct chat {
    const struct translator *from;
    const struct translator *read_by; /* who read it, where its words are another's */
    struct text body;                 /* what was read */
    struct text model;                /* plain (no escapes): as the client asked */
    bool stream;
    bool wants_usage;         /* of a stream: OpenAI's stream_options.include_usage */
    struct message *messages; /* the system's first, wherever the dialect has them */
    size_t message_count;
    size_t parts_in_all; /* of these, and of results, as far as they are read */

    struct tool *tools;
    size_t tool_count;
    enum tool_choice tool_choice;
    struct text tool_choice_name; /* inner, of CHOICE_ONE */
    enum said parallel_calls;

    int64_t max_tokens; /* 0 = not said */
    int64_t choices;    /* 1 when not said */
    struct text *stops; /* inner */
    size_t stop_count;
    struct text temperature, top_p, top_k; /* json numbers, at == NULL = not said */
    struct text frequency_penalty, presence_penalty, seed;
    struct text logit_bias; /* json */
    enum said logprobs;
    int64_t top_logprobs; /* -1 = not said */

    enum answer_shape shape;
    struct text schema, schema_name, schema_description; /* json, inner, inner */
    struct text schema_raw; /* json: as <from> has it, where <schema> had to be made of that */
    enum said schema_strict;

    enum said reasoning;       /* asked for, or asked to be left out */
    struct text effort;        /* inner: "minimal" "low" "medium" "high" ... */
    int64_t reasoning_tokens;  /* its budget; 0 = not said */
    enum said reasoning_shown; /* its text or summary is wanted in the answer */

    struct text user;         /* inner */
    struct text metadata;     /* json, an object */
    struct text service_tier; /* inner */
    enum said store;
    struct text verbosity;  /* inner */
    struct text modalities; /* json: OpenAI's names */
    struct text voice;      /* json: OpenAI's "audio" object */

    /* Of calls that are no conversation: an embedding has a message of the user for each text; a
     * ranking has the question first, then the texts (vectors.h). */
    enum purpose purpose;
    int64_t dimensions;    /* of a vector; 0 = not said */
    struct text truncate;  /* inner, of what is too long: "NONE", "START" or "END" */
    int64_t top;           /* of a ranking: so many at most; -1 = not said */
    enum said texts_shown; /* of a ranking: the texts are wanted in the answer */

    struct chat_field fields[CHAT_FIELDS_MAX]; /* the rest, for the dialect's own writer */
    size_t field_count;
    bool fields_cut;
};

/* --------------------------------------------------------------------------- the answer */

enum finish {
    FINISH_NONE,
    FINISH_STOP,     /* the model had said all, or came to a stop sequence */
    FINISH_SEQUENCE, /* the latter, where the dialect tells it apart; <stop_sequence> */
    FINISH_LENGTH,   /* max_tokens, or the context was full */
    FINISH_CALLS,    /* tools are to be called */
    FINISH_FILTER,   /* the provider's filter stopped it */
    FINISH_REFUSAL,  /* the model did not want to */
    FINISH_PAUSE,    /* the provider's own tools need another turn */
    FINISH_ERROR,    /* something broke behind the provider; what came may be used */
};

enum event_kind {
    ANSWER_BEGIN,     /* <id>, <model> (inner), <created> (Unix seconds, 0 = not said) */
    ANSWER_PART,      /* a part begins: <part_kind>, <id>, <name>, <media_type> */
    ANSWER_TEXT,      /* <text> inner: more of it (of text, refusal, reasoning) */
    ANSWER_ARGUMENTS, /* <text> inner: more of a call's arguments, a piece of a JSON text */
    ANSWER_SIGNATURE, /* <text> inner: all of it */
    ANSWER_ENCRYPTED, /* <text> inner: all of it */
    ANSWER_DATA,      /* <text> inner: more base64 of an image or of audio */
    ANSWER_CITATION,  /* <citation> */
    ANSWER_RAW,       /* the part is <raw>, json, of the reader's dialect */
    ANSWER_PART_END,
    ANSWER_LOGPROBS, /* <raw> json: an array of OpenAI's `logprobs.content` items */
    ANSWER_FINISH,   /* <finish>, <text> inner: the stop sequence; <name> inner: the reason as the
                        provider called it */
    ANSWER_USAGE,    /* <usage>: replaces what was said before */
    ANSWER_FIELD,    /* <name> inner, <raw> json: only the dialect itself knows it */
    ANSWER_FAIL,     /* <fault>, <text> inner: in place of all that would follow */
    ANSWER_END,      /* the answer is whole */
};

/*
 * One thing that is said in an answer. A reader says BEGIN first, then for each part PART, its
 * content, PART_END; parts of one choice are counted from 0 in the order in which they begin, and
 * may overlap (parallel calls). Then FINISH for each choice, USAGE when it is known (also before),
 * and END once. After FAIL or END it says nothing. Readers put right what providers get wrong: a
 * part that was never closed is closed before FINISH, a second BEGIN is not said.
 */
struct answer_event {
    enum event_kind kind;
    enum part_kind part_kind; /* of PART, and of all that is about a part */
    unsigned choice, part;
    struct text id, name, text, raw, model, media_type;
    int64_t created;
    enum finish finish;
    enum fault_kind fault;
    const struct usage *usage;
    const struct citation *citation;
};

/* Whoever listens to a reader. Everything in the event lives as long as the call of take(). */
struct answer_sink {
    void (*take)(struct answer_sink *sink, const struct answer_event *event);
};

/* A whole answer: what the events of one amount to. */
struct whole_choice {
    struct part *parts;
    size_t part_count, part_room;
    enum finish finish;
    struct text stop_sequence, reason; /* inner */
    struct text logprobs;              /* json */
};

struct whole_answer {
    const struct translator *from;
    struct text id, model; /* inner */
    int64_t created;
    struct whole_choice *choices;
    size_t choice_count;
    struct usage usage;
    bool has_usage;
    struct chat_field fields[CHAT_FIELDS_MAX];
    size_t field_count;
    bool failed, ended;
    enum fault_kind fault;
    struct text message; /* inner, of the fault */
};

/* ------------------------------------------------------------------------ what is left out */

/*
 * What the target's dialect cannot say. A *demand* changes what the client gets (a tool of another
 * provider, an image, a schema): the call is refused, or goes without it where the configuration is
 * lenient. A *hint* does not (a cache mark, metadata, a tier): it is left out. Both are named to
 * the client. Names are of the client's own fields: "tools[2].type", "logit_bias".
 */
enum { LOSSES_BYTES = 1024 };

struct losses {
    char demands[LOSSES_BYTES], hints[LOSSES_BYTES]; /* lists, comma between; NUL at the end */
    size_t demand_len, hint_len;
    unsigned demand_count, hint_count;
};

void loss_demand(struct losses *losses, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void loss_hint(struct losses *losses, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The fields of <chat> that are not of <own> dialect, or that nobody kept: all are named, as
 * demands where they are that, else as hints. */
void loss_fields(struct losses *losses, const struct chat *chat, const struct translator *own);
/* What those leave out who write no more than messages, tools, a shape and how to sample. */
void loss_options(struct losses *losses, const struct chat *chat);

/* An id of a call for who takes only letters, digits, _ and -, and up to <most> bytes: <id>, or one
 * that is made of it, and is the same each time. */
struct text chat_plain_id(struct arena *arena, struct text id, size_t most);

/* Does it offer any tool that the client runs? */
bool chat_has_functions(const struct chat *chat);
/* What parts and tools have <more>, where <own> is not the dialect of the call; and that a tool is
 * to be called, where there is none. */
void loss_more(struct losses *losses, const struct chat *chat, const struct translator *own);

/* ------------------------------------------------------------------------ reading, writing */

/* A list of names, with commas between, in the arena: <names> and <name>, which has <prefix> in
 * front. Cut where it gets long. */
struct text more_add(struct arena *arena, struct text names, const char *prefix, struct text name);
/* The same for all members of an object that are not <known>, and say something. */
struct text more_of(struct arena *arena, struct text names, const char *prefix, struct text object,
                    const struct text *known, size_t count);
/* Does a value say something? Not null, false, "", [] and {}. */
bool json_says_something(struct text json);

/* Tools as OpenAI has them: [{"type":"function","function":{...}}].
 * False: there is one without a name, or too many. */
bool chat_read_functions(struct chat *chat, struct arena *arena, struct text tools);

/* Make <tool> one of free text, as <json> names and describes it: to others a function with one
 * argument. What the text has to look like (<rules>, an object with `syntax` and `definition`) is
 * told in its description, since no other dialect can hold the model to a grammar. */
void chat_tool_of_text(struct arena *arena, struct tool *tool, struct text json, struct text rules);
/* Leave only those tools that are in OpenAI's <list> of allowed ones; all, when it is no list. */
void chat_keep_allowed(struct arena *arena, struct chat *chat, struct text list);

/* Keep a member that only the dialect of the call knows; what finds no room is named together. */
void chat_keep_field(struct chat *chat, struct text name, struct text value, bool is_demand);

/* So many parts more are read: false when these are too many for one call. */
bool chat_takes_parts(struct chat *chat, size_t more);

/* The part that a proof belongs to, which stands right behind it: the last of this kind among the
 * last ones, of calls that with <id>; or NULL. */
enum { PROOF_LOOKS_BACK = 64 };
struct part *part_before(struct part *parts, size_t count, enum part_kind kind, struct text id);

/* "false" is SAID_NO, "true" SAID_YES, all else SAID_NOTHING. */
enum said said_of(struct text json);
/* Does <modalities> name <word>? */
bool chat_wants(struct text modalities, struct text word);
/* Does <modalities> name anything but text? */
bool wants_more_than_text(struct text modalities);
/* Is it absent, or null? */
bool json_is_absent(struct text json);

/* The inner of a plain text, in the arena. */
struct text inner_of(struct arena *arena, struct text plain);
/* The plain text of an inner one, in the arena (a lone surrogate becomes U+FFFD). Borrows <inner>
 * when it has no escapes. */
struct text inner_plain(struct arena *arena, struct text inner);
/* Is the inner text this plain one, which needs no escapes? */
bool inner_is(struct text inner, const char *plain);

/* A JSON object from the inner of a string that should hold one (a call's arguments): "", null and
 * [] are {}; what is no JSON object becomes {"arguments":"..."}, so that nothing is lost. In the
 * arena. */
struct text object_of_inner(struct arena *arena, struct text inner);
/* The inner that says <json> as a string, in the arena. */
struct text inner_of_json(struct arena *arena, struct text json);
/* Append <json> (or a piece of it) as the inside of a string. */
void put_json_inner(struct buffer *out, struct text json);

/* "data:image/png;base64,..." taken apart (both inner); false when it is none. */
bool data_url_split(struct text url, struct text *media_type, struct text *data);

/* Append pieces of JSON. Names are literals. */
void put_text(struct buffer *out, struct text t);
void put_literal(struct buffer *out, const char *z);
/* "name":<json>, "name":"<inner>", "name":<number>, "name":true; each with a comma in front unless
 * it comes right behind '{' or '['. The text ones leave out what is absent. */
void put_json(struct buffer *out, const char *name, struct text json);
void put_inner(struct buffer *out, const char *name, struct text inner);
void put_number(struct buffer *out, const char *name, int64_t number);
void put_said(struct buffer *out, const char *name, enum said said);
/* "name":{ or "name":[ (or without a name when it is NULL), with the comma; close with put_literal.
 */
void put_open(struct buffer *out, const char *name, char bracket);
/* A string item of an array, with the comma where needed. */
void put_item(struct buffer *out, struct text inner);
/* The comma, where one is needed before the next member or item. */
void put_comma(struct buffer *out);

/* A growing array in an arena: make room for one more element of <bytes> behind <count> of them. */
void *arena_grow(struct arena *arena, void *array, size_t count, size_t *room, size_t bytes);

/* Is this part the end of what the model is to go on with? Of Claude's that must not end in white
 * space. */
bool chat_goes_on_from(const struct chat *chat, size_t message, size_t part);
/* The inside of a string, without the white space at its end. */
struct text chat_without_blank_end(struct text inner);
