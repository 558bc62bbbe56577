/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cli_convert - `sluice config convert`: another gateway's configuration becomes a sluice.yaml.
 *
 * A converter (cli_convert_NAME.c) walks the tree of the other file and puts what it understands
 * into a tree of its own, whose scalars are YAML already. Each value of the other file is taken
 * over or left with a reason (convert_leave): nothing is left out in silence. A secret never gets
 * into the tree, but the name of a variable that stands for it does.
 *
 * Everything lives in the arena of the document that was read, until the command ends. No call
 * fails; `node` may be NULL where it says so.
 */

#include "gateway/config/document.h"

/* A value of the new file: a mapping, a list or a scalar. */
struct out;

struct convert;

/* One gateway whose files can be read. */
struct converter {
    const char *name;      /* as on the command line */
    const char *spoken;    /* as its makers write it */
    const char *reference; /* what stands before the name of a variable: "env." */
    void (*convert)(struct convert *c, const struct node *root);
};

extern const struct converter convert_litellm, convert_bifrost, convert_portkey;

/* ------------------------------------------------------------------------- the new file */

/* The mapping of the whole file. */
struct out *convert_root(struct convert *c);
/* One that is in no place yet. */
struct out *convert_draft(struct convert *c);
/* The mapping below <map> at a dotted path; made where it is not there. */
struct out *convert_section(struct convert *c, struct out *map, const char *path);
/* A new mapping at the end of the list <name> of <map>. */
struct out *convert_item(struct convert *c, struct out *map, const char *name);
/* Set the scalar at a dotted path; one that is there already and not empty stays. Empty ones keep a
 * place and are not written. */
void convert_put(struct convert *c, struct out *map, const char *path, struct text yaml);
/* Set the member <key>, which is a name of the other file's and no path. */
void convert_put_name(struct convert *c, struct out *map, struct text key, struct text yaml);
/* Copy what is in <from> into <into>, where that has it not yet. */
void convert_merge(struct convert *c, struct out *into, const struct out *from);
/* Put the members of <draft>, which is used up, behind those of <map>. */
void convert_join(struct out *map, struct out *draft);
bool convert_has(const struct out *map, const char *name);
/* A comment of its own line above the member <name> of <map>. */
void convert_comment(struct out *map, const char *name, const char *words);

/* Zeroed memory that lives as long as <c>. */
void *convert_take(struct convert *c, size_t bytes);
/* YAML of a text in which ${…} and $$ have their meaning. */
struct text convert_scalar(struct convert *c, struct text text);
/* What convert_value() makes YAML of: "${VARIABLE}", or the text with `$` doubled. */
struct text convert_inner(struct convert *c, const struct node *node);
/* The same of a secret. */
struct text convert_inner_secret(struct convert *c, const struct node *node, const char *variable);
/* YAML of a text as it stands: quoted where it must be, `$` doubled. */
struct text convert_quote(struct convert *c, struct text text);
/* The same, and the variable that it names where it is a reference. */
struct text convert_value(struct convert *c, const struct node *node);
/* The variable that it names, or else one called <variable> that the user is told to set. */
struct text convert_secret(struct convert *c, const struct node *node, const char *variable);
/* "${VARIABLE_HASH}" for the key in <node>; the user is told how to find the hash. */
struct text convert_hash(struct convert *c, const struct node *node, const char *variable);
/* An http or https URL; a secret, called <variable>, when it has a user or a query. Empty: it is
 * none. */
struct text convert_url(struct convert *c, const struct node *node, const char *variable);
/* Add each of the mapping's headers below "headers" of <provider>, their values as secrets. */
void convert_headers(struct convert *c, const struct node *map, struct out *provider,
                     struct text variables);
/* The span of a budget or a limit, such as 30d, 1M or 1mo (months), 1Y; empty: it is none. */
struct text convert_period(struct convert *c, const struct node *node);
/* "requests_per_minute" for <what> "requests" and a span of 1m or 60s; NULL: there is no such. */
const char *convert_limit(struct convert *c, const char *what, const struct node *span);
/* "500 USD" of a number of dollars; empty: it is none. */
struct text convert_money(struct convert *c, const struct node *node);
/* A formatted text that lives as long as <c>. */
struct text convert_format(struct convert *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Append to a list in one line, "[a, b]"; begin with an empty text. */
struct text convert_listed(struct convert *c, struct text list, struct text yaml);
/* A decimal number such as 1.5e-7, ten to the <shift> times as much, to nine decimals (rounded up);
 * an empty text when <number> is none that is not negative, or out of range. */
struct text convert_shifted(struct convert *c, struct text number, int shift);
/* A stretch of time given in 10^-<digits> seconds, as "1500ms"; empty: it is none. */
struct text convert_time(struct convert *c, struct text number, int digits);
/* The name of a variable: <base>_<suffix> in capitals, other bytes as _. */
const char *convert_variable(struct convert *c, struct text base, const char *suffix);

/* A provider of <type> with the values of <draft>: one that is there already when it is the same in
 * all but its name, else a new one called <name>, or NAME-2. Its name, as YAML. */
struct text convert_provider(struct convert *c, struct out *draft, const char *name);
/* Tries on other targets count as retries here: let there be <fallbacks> more of them, in each
 * provider. */
void convert_add_attempts(struct convert *c, unsigned fallbacks);
/* Give what is in <defaults> to all providers that do not say it themselves. */
void convert_default(struct convert *c, const struct out *defaults);
/* <name> as an id of a target that nobody has yet, as YAML. */
struct text convert_target_id(struct convert *c, struct text name);

/* ------------------------------------------------------------------------- the other file */

/* Tell that <node> (NULL: the file) was left out, and why: a part of a sentence. */
void convert_leave(struct convert *c, const struct node *node, const char *why, ...)
    __attribute__((format(printf, 3, 4)));
/* Tell something of <node> that was taken over. */
void convert_tell(struct convert *c, const struct node *node, const char *words, ...)
    __attribute__((format(printf, 3, 4)));
/* How the other gateway is called. */
const char *convert_spoken(const struct convert *c);
/* A text that is not empty; false for NULL. */
static inline bool node_is_text(const struct node *node)
{
    return node && node->kind == NODE_SCALAR && node->len > 0;
}
/* Is this scalar the word? */
static inline bool node_says(const struct node *node, const char *word)
{
    return node_is_text(node) && text_equal(node_text(node), text_of(word));
}

/* "true", or "True" as in Python? */
static inline bool node_is_true(const struct node *node)
{
    return node_is_text(node) && text_equal_nocase(node_text(node), TEXT("true"));
}

/* That models without a price cost nothing, as with the other gateway. */
void convert_unpriced(struct convert *c);

/* ------------------------------------------------------------------------- rows */

enum convert_take {
    TAKE_OTHERWISE, /* the converter looks at it itself */
    TAKE_NOTHING,   /* says nothing that matters here: left without a word */
    TAKE_LEAVE,     /* left, because <why> */
    TAKE_TEXT,
    TAKE_SECRET,  /* <why> is the end of the variable's name */
    TAKE_COUNT,   /* a whole number, from 0 */
    TAKE_FLAG,    /* true or false */
    TAKE_SECONDS, /* a duration */
    TAKE_MILLISECONDS,
    TAKE_EACH,    /* dollars */
    TAKE_MILLION, /* dollars for one, kept for a million */
    TAKE_TEXTS,   /* a list of them */
};

/* Where values may be put; a converter has any of them. */
enum convert_place { AT_ROOT, AT_PROVIDER, AT_TARGET, AT_PLACES };

struct convert_row {
    const char *theirs; /* NULL ends a table */
    enum convert_take take;
    enum convert_place place;
    const char *ours; /* a dotted path below the place */
    const char *why;
};

struct convert_places {
    struct out *at[AT_PLACES];
    struct text variables; /* what names of variables of this mapping begin with */
    bool loose;            /* names are compared without regard to case and '_' */
};

/* Take each member of <map> (NULL: none) as its row says; one that has none is left. */
void convert_rows(struct convert *c, const struct node *map, const struct convert_row *rows,
                  const struct convert_places *places);

/* ------------------------------------------------------------------------- vendors */

/* What a vendor whom the other gateway calls <name> is here: a type of provider, or NULL. */
const char *convert_vendor(struct text name);
/* The same of a model that is named without its vendor, such as gpt-4o. */
const char *convert_vendor_of(struct text model);
