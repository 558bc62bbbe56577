/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * openai_chat - the parts of the words for chat completions and for completions, of OpenAI and of
 * all who speak like it, Mistral among them. Only the files openai_chat*.c,
 * openai_completion.c and monster*.c include this.
 *
 * What a server takes beside OpenAI's reference, or does not take of it, stands in its row of
 * providers.json. Where servers and clients have agreed on something that the reference does not
 * have, it is read always, and written to those who take it:
 *
 *   reasoning_content, reasoning            the text of reasoning
 *   reasoning_details[]                     the same with signatures, as OpenRouter has it
 *   thinking_blocks[]                       the same, as LiteLLM has it
 *   extra_content.google.thought_signature  the signature of a call, as Gemini has it here
 *   cache_control                           of a part, a message, a tool
 *   annotations[].url_citation              citations
 *   images[]                                pictures in an answer
 *
 * Sources: OpenAI API reference (chat, completions), Mistral's and OpenRouter's; what compatible
 * servers make of them was taken from recorded traffic.
 */

#include <stddef.h>

#include "providers/index.h"
#include "providers/rope.h"
#include "providers/translator.h"

extern const struct translator translator_openai_chat;
extern const struct translator translator_openai_completion;
extern const struct translator translator_mistral_chat;

/* --------------------------------------------------------------------- members by their name */

/* Where the value of a member goes: so far behind the begin of some struct stands a struct text. */
struct member_slot {
    struct text name;
    size_t offset;
};

#define SLOT(holder, member)                                            \
    {                                                                   \
        {#member, sizeof(#member) - 1}, offsetof(struct holder, member) \
    }
#define SLOTS(table) (table), sizeof(table) / sizeof((table)[0])

/* Take the next member off the front of <rest>; where <slots> have its name, its value goes into
 * <holder>, and <name> is empty. Null is as good as absent. False behind the last. */
bool member_take(struct text *rest, const struct member_slot *slots, size_t count, void *holder,
                 struct text *name, struct text *value);
/* All members; those that <slots> have not are passed over. True when there were none of these. */
bool member_take_all(struct text object, const struct member_slot *slots, size_t count,
                     void *holder);
/* more_of() what <slots> have not. */
struct text openai_more(struct arena *arena, struct text names, const char *prefix,
                        struct text object, const struct member_slot *slots, size_t count);

bool json_is_object(struct text json);
bool json_is_array(struct text json);
bool json_is_number(struct text json);
/* What member_next() finds items in: the array, or nothing when it is none. */
struct text json_items(struct text json);

/* ---------------------------------------------------------------------------- a call is read */

struct call_reading {
    struct arena *arena;
    struct chat *chat;
    struct fault *fault;
    bool said_completion_max; /* max_completion_tokens was there: it goes before max_tokens */
    struct text allowed;      /* tool_choice's allowed tools, json */
    struct call_names calls;  /* while messages are read */
};

/* A member of the call, and who reads it; <offset> of what is simple, in struct chat. */
struct call_option {
    struct text name;
    bool (*read)(struct call_reading *r, const struct call_option *option, struct text value);
    size_t offset;
    const char *field; /* its name again, for a fault */
};

/* Read the members of <body> by <own> and by what all of the family have; the rest are fields. */
bool openai_read_options(struct call_reading *r, const struct call_source *source,
                         const struct call_option *own, size_t count);
/* The call cannot be read: <param> "is" <what>. Returns false. */
bool openai_refuse(struct call_reading *r, const char *param, const char *what);
bool openai_read_text_option(struct call_reading *r, const struct call_option *option,
                             struct text value);
bool openai_read_json_option(struct call_reading *r, const struct call_option *option,
                             struct text value);
/* It is not kept anywhere, but shall be named: <where>.<name>. */
void openai_name_lost(struct call_reading *r, const char *where, struct text name);

/* The array `messages`. */
bool openai_read_messages(struct call_reading *r, struct text messages);
/* What stands under `content` of a message, or in a tool's result. */
struct message_reading {
    struct call_reading *call;
    struct part *parts;
    size_t count, room;
    size_t number; /* of the message */
};
bool openai_read_content(struct message_reading *m, struct text content);
/* A new part at the end, or NULL with a fault when there are too many. */
struct part *openai_add_part(struct message_reading *m, enum part_kind kind);
bool openai_refuse_message(struct message_reading *m, const char *field, const char *what);

/* Reasoning in its several forms; each gives parts. */
struct reasoning_texts {
    struct text reasoning_content, reasoning, reasoning_details, thinking_blocks; /* json */
};
bool openai_read_reasoning(struct message_reading *m, const struct reasoning_texts *said);
/* The citations in `annotations`, json. */
void openai_read_annotations(struct arena *arena, struct text annotations, struct part *part);
bool openai_read_citation(struct text annotation, struct citation *citation);
/* The base64 or the address in a `url`, inner. */
void openai_split_url(struct part *part, struct text url);

bool openai_read_tools(struct call_reading *r, struct text tools);
bool openai_read_tool_choice(struct call_reading *r, struct text choice);
/* What they were called before they were tools. */
bool openai_read_functions(struct call_reading *r, struct text functions);
bool openai_read_function_call(struct call_reading *r, struct text choice);

bool openai_chat_read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                           struct fault *fault);

/* ------------------------------------------------------------------------- a call is written */

struct call_writing {
    struct arena *arena;
    const struct chat *chat;
    const struct call_target *target;
    const struct provider_type *type;
    const struct translator *own;
    bool is_mistral;
    size_t lead;                    /* so many messages are not in the client's list of messages */
    const struct message *messages; /* as they are written */
    size_t message_count;
    struct buffer *out;
    struct losses *losses;
};

void openai_write_messages(struct call_writing *w);

/* Does the target take a member of that name (provider_type.refuses)? */
bool openai_takes(const struct call_writing *w, const char *name);

/* Whose content it is; what may stand there differs. */
enum place { IN_SYSTEM, IN_USER, IN_ASSISTANT, IN_RESULT };

/* A part, and where in the client's messages it stands. */
struct placed {
    const struct part *part;
    size_t message, index, inside; /* <inside>: a result's part; else SIZE_MAX */
};

struct placed_list {
    struct placed *items;
    size_t count, room;
};

void openai_list_add(struct arena *arena, struct placed_list *list, struct placed placed);
/* Name what is left out: where it stands, and <more>. */
void openai_lose_hint(struct call_writing *w, const struct placed *placed, const char *more);
/* Has the own dialect's part more than our words say? Then it goes as it came. */
bool openai_is_own_raw(const struct call_writing *w, const struct part *part);
/* May an image, audio, video or file stand there? */
bool openai_takes_media(const struct call_writing *w, const struct part *part, enum place place);
/* Does it go into the content? What does not, and has no other place, is named. */
bool openai_takes_part(struct call_writing *w, const struct placed *placed, enum place place);
/* The parts of a message that go into its content. */
struct placed_list openai_content_of(struct call_writing *w, size_t number, enum place place);
/* "content": a string where one text is all there is; without anything null, or an empty one. */
void openai_write_content(struct call_writing *w, const struct placed_list *list, bool null);

/* An id that the target takes for a call of a tool. */
struct text openai_call_id(struct call_writing *w, struct text id);
void openai_chat_write(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, const struct translator *own,
                       struct buffer *out, struct losses *losses);
/* What completions have too: how long, how warm, when to stop. */
void openai_write_sampling(struct call_writing *w);
/* `stream`, and the client's own members; all that is left out is named. */
void openai_write_fields(struct call_writing *w);
/* How long the answer may be, or 0. */
int64_t openai_max_tokens(struct call_writing *w);
/* ------------------------------------------------------------------------- an answer is read */

/* A call of a tool that was begun in a choice. */
struct open_call {
    int64_t index; /* as the server counts them; -1 = it does not */
    struct text id;
    struct text name, held, signature; /* as far as they were told before it has begun */
    unsigned part;
    bool begun, closed;
    bool whole;  /* its arguments are a whole JSON value: no more will come */
    bool custom; /* free text, made into an argument */
    bool in_string, escaped;
    int depth;
};

/* One choice of an answer, as far as it was read. */
struct open_choice {
    bool seen, finished;
    unsigned next_part;
    bool is_open; /* a part other than a call, <open>, is open */
    unsigned open;
    enum part_kind open_kind;
    int64_t detail; /* of open reasoning: its index among the details, -1 = not said */
    bool has_signature, has_encrypted, has_calls, has_refusal, has_citations;
    struct open_call *calls;
    size_t call_count, call_room;
    struct text reason, sequence; /* why it ended, if it has; the former empty until then */
    uint64_t reason_chunk;        /* in which chunk that was said */
};

/* An answer while it is read. */
struct openai_reader {
    struct reader_state base;
    struct answer_sink *sink; /* while a frame is read */
    bool begun, over;
    uint64_t chunk, said; /* how many have come; how much was said in parts */
    bool whole;           /* it comes as a body */
    bool tells_other;     /* the client's dialect has places for what only ours knows */
    struct open_choice *choices;
    size_t choice_count, choice_room;
    uint64_t fields[CHAT_FIELDS_MAX][2]; /* name and value of those that were said, hashed */
    size_t field_count;
};

/* What stands in one choice of a chunk or of a body. */
struct choice_words {
    struct text index, delta, message, finish_reason, logprobs, text, usage, stop_reason;
    struct text matched_stop;
};

/* What stands in a delta or a message. */
struct delta_words {
    struct text role, content, refusal, tool_calls, function_call, annotations, audio, images;
    struct reasoning_texts reasons;
};

/* Say what <words> have of a choice (openai_chat_delta_read.c); false when they have nothing. */
bool openai_read_delta(struct openai_reader *r, unsigned number, const struct delta_words *words);
/* Say more of a text, refusal or reasoning; begins a part where none of that kind is open. */
void openai_say_text(struct openai_reader *r, unsigned number, enum part_kind kind,
                     struct text inner);
/* Say that everything is closed. */
void openai_close_choice(struct openai_reader *r, unsigned number);
/* A citation of the text that is open, or was last. */
void openai_say_citation(struct openai_reader *r, unsigned number, const struct citation *citation);

void openai_chat_read_frame(void *state, const struct frame *frame, struct answer_sink *sink);
void openai_chat_read_body(void *state, struct text body, struct answer_sink *sink);
void openai_chat_read_end(void *state, struct answer_sink *sink);

/* ---------------------------------------------------------------------- an answer is written */

/* A part of the answer that is written. */
struct written_part {
    enum part_kind kind;
    bool has_arguments;
    bool is_custom;         /* a call of a tool of free text */
    unsigned place;         /* among the calls, or among the reasoning */
    struct text id;         /* of reasoning, for what only its provider can read */
    struct text media_type; /* of an image */
    struct rope held;       /* base64 of an image, or arguments of free text, until whole */
};

struct written_choice {
    bool has_role, has_refusal;
    struct written_part *parts;
    size_t part_count, part_room;
    unsigned calls, reasons;
    int64_t characters; /* of all texts so far */
    int64_t text_begin; /* of them, where the present text begins */
};

/* An answer while it is written. */
struct openai_writer {
    struct writer_state base;
    bool completion;  /* text_completion, not chat.completion.chunk */
    bool legacy;      /* the client knows functions, not tools */
    bool details;     /* reasoning has signatures, or may have */
    struct text head; /* of every chunk, up to the number of its choice */
    struct answer_event begin;
    struct chat_field fields[16]; /* of the family's own */
    size_t field_count;
    unsigned heads; /* how often <head> was made anew */
    struct written_choice *choices;
    size_t choice_count, choice_room;
    struct usage usage;
    bool has_usage;
    size_t held; /* bytes, of all parts */
    struct buffer *out;
};

void openai_chat_write_event(void *state, const struct answer_event *event, struct buffer *out);
void openai_chat_write_whole(const struct answer_way *way, struct arena *arena,
                             const struct whole_answer *whole, struct buffer *out);

/* "usage":{...} */
void openai_put_usage(struct buffer *out, const struct usage *usage);
/* An item of `annotations`; <offset>: characters before the text it is about. */
void openai_put_citation(struct buffer *out, const struct citation *citation, int64_t offset);
/* Items of `reasoning_details` for what <part> has. */
void openai_put_details(struct buffer *out, const struct translator *from, const struct part *part,
                        int64_t index);
/* Whose proofs have this `format`, or NULL. */
const struct translator *openai_from_format(struct text format);
/* Has what comes of <from> signatures? */
bool openai_has_proofs(const struct translator *from);
/* The word for why it ended; <reason> is the provider's own. */
struct text openai_finish_word(const struct answer_way *way, enum finish finish,
                               struct text reason);
/* Is it of our family: do its own words mean the same here? */
bool openai_is_family(const struct translator *translator);
/* Does the client know functions, and no tools yet? */
bool openai_wants_functions(const struct answer_way *way);
/* Has the client declared the tool of that name as one of free text? */
bool openai_is_custom(const struct answer_way *way, struct text name);
/* translator.keep_call: what those two look at. */
struct text openai_keep_call(struct arena *arena, struct text call);
/* Characters in an inner text. */
int64_t openai_count_characters(struct text inner);
/* "id" "object" "created" "model". */
void openai_put_head(struct buffer *out, const struct answer_way *way, struct arena *arena,
                     const char *object, const struct answer_event *begin);
/* A JSON value on one line, as a stream wants it. */
void openai_put_line(struct buffer *out, struct text json);
/* "name":"  - what follows is inner, and a quote. */
void openai_open_string(struct buffer *out, const char *name);

/* In the translators of all whose answers are OpenAI's. */
#define OPENAI_CHAT_ANSWERS                                                                   \
    .headers = {"", 0}, .framing = FRAMING_SSE, .reader_bytes = sizeof(struct openai_reader), \
    .read_frame = openai_chat_read_frame, .read_body = openai_chat_read_body,                 \
    .read_end = openai_chat_read_end, .read_error = openai_read_error,                        \
    .stream_type = {"text/event-stream", 17}, .writer_bytes = sizeof(struct openai_writer),   \
    .write_event = openai_chat_write_event, .write_whole = openai_chat_write_whole
