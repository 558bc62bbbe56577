/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * guard, from inside: how texts are found, hunted through and rewritten. For policy/guard*.c only.
 *
 * A text is looked at as it is meant: escapes are resolved, and what is found there is led back to
 * the bytes that said it. A tool call's arguments are JSON inside a string, so there are two
 * layers.
 */

#include "policy/guard.h"

/* ------------------------------------------------------------------------------- finding texts */

enum text_kind {
    TEXT_PLAIN,  /* words */
    TEXT_ANSWER, /* the words of the answer itself: what a schema is held against */
    TEXT_JSON,   /* JSON inside a string: a tool call's arguments */
    TEXT_FILE,   /* words, or a file in base64, which is left alone */
    TEXT_NUMBER, /* a number among arguments */
    TEXT_RAW,    /* an event's data that is no JSON */
    TEXT_DEEP,   /* in tables only: all strings and numbers below */
    TEXT_DELTA,  /* in tables only: what it is the event's type says */
    TEXT_FINISH, /* no text: the choice is finished */
    TEXT_DROP,   /* no text: the tokens of a text, which tell it a second time */
};

struct found {
    enum text_kind kind;
    struct text raw; /* the inside of a string, not unescaped; a whole value for numbers and DROP */
    bool escaped;    /* a backslash stands in it */
    bool whole;      /* of an event: not a piece of a text, but all of it */
    unsigned choice; /* of an event: which of several answers */
    uint64_t channel; /* of an event: pieces with the same number are one text */
};

enum text_set { TEXTS_OF_REQUESTS, TEXTS_OF_ANSWERS, TEXTS_OF_EVENTS };

/* Call <take> for each text in the JSON object <json>, in the order in which they stand, until it
 * returns false. Broken JSON gives fewer texts or none, and no harm. */
void texts_find(enum text_set set, struct text json,
                bool (*take)(void *with, const struct found *found), void *with);

/* An event of a stream. */
struct event {
    enum guard_form form;
    struct text raw, data; /* data is part of raw, but where it has several lines or is coded */
    char *joined;          /* they are put together here, or decoded */
    size_t coded_at, coded_len; /* of base64 in a frame: where it is in <raw> */
};

bool form_is_stream(enum guard_form form);
/* Take the next event off the front of <rest>; what is not whole at the end is one too. */
bool event_next(struct text *rest, enum guard_form form, struct event *event);
void event_done(struct event *event);
/* Call <take> for each text in the event; data that is no JSON is one text. */
void event_texts(const struct event *event, bool (*take)(void *with, const struct found *found),
                 void *with);
/* Write the event with other data; all else stays as it is, but for lengths and checksums. False
 * beyond the limit. */
bool event_write(const struct event *event, struct text data, struct buffer *out);

/* --------------------------------------------------------------------------------- unescaping */

/* One character as it stands, and as it is meant. */
struct unit {
    size_t raw, plain; /* lengths */
    char bytes[4];
};

/* Read the escape at <at>, which points to its backslash. A lone surrogate or U+0000 becomes
 * U+FFFD, and a backslash that begins no escape stands for itself. */
void unit_read(const char *at, const char *end, struct unit *unit);
/* Write <raw> with its escapes resolved to <out> (raw.len bytes of room); returns the length. */
size_t text_unescape(struct text raw, char *out);
/* Copy <raw> to <out>, each byte that is not well-formed UTF-8 as '?'; always raw.len bytes. */
void text_mend(struct text raw, char *out);

/* Walks from offsets in the plain text to those in the raw one; offsets must not go back. */
struct seam {
    struct text raw;
    bool escaped;
    size_t raw_at, plain_at;
};
/* Where the character begins that has the plain byte <plain>. */
size_t seam_begin(struct seam *seam, size_t plain);
/* Where the characters before the plain byte <plain> end. */
size_t seam_end(struct seam *seam, size_t plain);

/* ------------------------------------------------------------------------------------- hunting */

struct span {
    size_t begin, end;
};

/* Look in <text>, which is well-formed UTF-8, for matches that begin in [from, until). */
struct hunt {
    struct text text;
    size_t from, until;
    bool more;      /* text may follow behind its end */
    size_t *resume; /* or NULL: for each unit of the guard, where its last match has ended */
    struct hunter *hunter;
};

/* What regular expressions need to work, and how much time they have used. One thread. */
struct hunter;
struct hunter *hunter_new(void);
void hunter_free(struct hunter *hunter);

struct regex;
/* NULL, with the problem in <words>, when it is none. */
struct regex *regex_new(struct text pattern, bool nocase, char *words, size_t room);
void regex_free(struct regex *regex);
bool regex_find(const struct regex *regex, const struct hunt *hunt, struct span *span);
/* Does it match anywhere in <text>, or nothing at all? Never in one that is longer than a match may
 * be. */
bool regex_fits(const struct regex *regex, struct text text, struct hunter *hunter);

struct words;
struct words *words_new(const struct text *terms, size_t count);
void words_free(struct words *words);
bool words_find(const struct words *words, const struct hunt *hunt, struct span *span);

enum entity {
    ENTITY_EMAIL,
    ENTITY_PHONE,
    ENTITY_CARD,
    ENTITY_IBAN,
    ENTITY_SECRET,
    ENTITY_IP, /* the last: the only one that must be asked for */
    ENTITIES
};
/* Which entity has that name; ENTITIES when there is none. */
enum entity entity_find(struct text name);
bool pii_find(enum entity entity, const struct hunt *hunt, struct span *span);
bool secret_find(const struct hunt *hunt, struct span *span);

/* Well-known phrasings, as regular expressions; NULL behind the last. */
extern const char *const injection_patterns[];

struct json;
struct schema;
/* NULL, with the problem in <words>, when it is none or says what cannot be checked. */
struct schema *schema_new(struct text document, char *words, size_t room);
void schema_free(struct schema *schema);
/* Is <text> JSON that fits? */
bool schema_fits(const struct schema *schema, struct text text, struct hunter *hunter);

/* --------------------------------------------------------------------------------- redaction */

enum dress { DRESS_PLAIN, DRESS_INSIDE, DRESS_QUOTED, DRESS_NUMBER };

/* What is to go, and which rule says so. */
struct mark {
    size_t begin, end;
    unsigned rule;
    enum dress dress; /* how the marker has to be written where it stands */
};

struct marks {
    struct mark *list;
    size_t count, room;
};

enum { MARKS_MAX = 4096 }; /* in one text; from there on, all of it goes */

void marks_add(struct marks *marks, size_t begin, size_t end, unsigned rule);
/* Put the marks from <first> on in order, and make one of those that overlap. */
void marks_sort(struct marks *marks, size_t first);
void marks_done(struct marks *marks);
/* Lead the marks from <first> on back from the unescaped text to <raw>. */
void marks_lead_back(struct marks *marks, size_t first, struct text raw);

/* Where one is in a JSON text. */
struct lexer {
    bool in_string, escape;
};
void lexer_advance(struct lexer *lexer, struct text text);

/* Dress the marks from <first> on for their places in the JSON text <json>, in which <lexer> says
 * how it begins; what lies before <floor> cannot be changed any more. False when one of them would
 * leave no valid JSON behind. */
bool marks_dress(struct marks *marks, size_t first, struct lexer lexer, struct text json,
                 size_t floor);

/* ------------------------------------------------------------------------------------- the guard
 */

struct matcher {
    struct regex **regexes;
    size_t regex_count;
    struct words *words;
    enum entity entities[ENTITIES];
    size_t entity_count;
    struct schema *schema;
    size_t first_unit; /* the patterns, entities and lists of all rules are numbered */
    struct text name;
    struct text markers[DRESS_NUMBER + 1];
    char *memory; /* of name and markers */
};

struct guard {
    const struct guard_rule *rules;
    size_t count, units;
    struct matcher *matchers;
};

/* Those of <rules> that are of these types (bits of enum guard_type). */
uint64_t guard_only(const struct guard *guard, uint64_t rules, unsigned types);
enum {
    TYPES_OF_TEXT =
        1U << GUARD_REGEX | 1U << GUARD_CONTAINS | 1U << GUARD_PII | 1U << GUARD_PROMPT_INJECTION,
    TYPE_SCHEMA = 1U << GUARD_JSON_SCHEMA,
    TYPE_WEBHOOK = 1U << GUARD_WEBHOOK,
};

/* Base64 of some length has no spaces and no signs of sentences: a file, no words. */
bool is_base64(struct text raw);

/* Note that rule <i> has matched; false when it blocks. */
bool guard_match(const struct guard *guard, size_t i, struct guard_verdict *verdict);
/* What cannot be redacted is blocked, in the name of rule <i>. Always false. */
bool guard_stop(const struct guard *guard, size_t i, struct guard_verdict *verdict);

/* Hunt with all of <rules>; what is to be redacted is appended to <marks>, sorted. False when it is
 * blocked. */
bool guard_hunt(const struct guard *guard, uint64_t rules, const struct hunt *hunt,
                struct guard_verdict *verdict, struct marks *marks);
/* Hunt through one whole text; the marks are offsets in the text with its outer escapes resolved.
 */
bool guard_hunt_whole(const struct guard *guard, uint64_t rules, const struct found *found,
                      struct hunter *hunter, struct guard_verdict *verdict, struct marks *marks);
/* Write the raw text <raw>, whose first plain byte is the byte <at> of what the marks are about,
 * without what is marked. False beyond the limit of <out>. */
bool guard_rewrite(const struct guard *guard, const struct marks *marks, struct text raw,
                   bool escaped, size_t at, struct buffer *out);
/* The JSON text <json> without the tokens' log probabilities, when there are any: then it is in
 * <out>, and true. */
bool guard_drop_tokens(enum text_set set, struct text json, struct buffer *out);
