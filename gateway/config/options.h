/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * config_options - the option tables: every key of the configuration, once.
 *
 * The reader, `check`, the JSON Schema, docs/CONFIG.md and `config show` all come from these rows.
 * A new option is one row here and, when it is in force, one member in gateway/config/config.h.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/text.h"

enum option_type {
    OPTION_SECTION,  /* a mapping with rows of its own, kept in the same structure; or, when it has
                        a <where>, in one that stands there and begins with its node */
    OPTION_LIST,     /* of such mappings: struct items, of <size> bytes each */
    OPTION_MAPS,     /* the same by name: a mapping of such mappings */
    OPTION_TEXT,     /* struct text */
    OPTION_NAME,     /* struct text: at most 128 printable bytes */
    OPTION_STRING,   /* const char *, NULL for null */
    OPTION_PATH,     /* const char *; a leading "STATE/" stands for the STATE directory */
    OPTION_BOOL,     /* bool */
    OPTION_COUNT,    /* unsigned */
    OPTION_NUMBER,   /* int64_t */
    OPTION_SIZE,     /* size_t */
    OPTION_RATE,     /* int64_t, bytes per second */
    OPTION_DURATION, /* int64_t, microseconds */
    OPTION_SHARE,    /* double from 0 to 1 */
    OPTION_MONEY,    /* int64_t nano-dollars, "12.50 USD" */
    OPTION_PRICE,    /* int64_t nano-dollars, a decimal number of USD */
    OPTION_WORD,     /* int: the place in <words> */
    OPTION_WORDS,    /* unsigned: a bit for each of <words> */
    OPTION_TEXTS,    /* struct items of struct text */
    OPTION_PAIRS,    /* struct items of struct pair */
    OPTION_HASH,     /* struct digest, "sha256:…" */
    OPTION_DATE,     /* int64_t wall clock microseconds, 0 for null */
    OPTION_ANY,      /* accepted as it is, kept nowhere */
    OPTION_TYPES
};

/* Is what an option asks for done in this version? */
enum option_status {
    IN_FORCE,
    INERT,    /* accepted, does nothing: a warning when it is set to something else */
    PROTECTS, /* does nothing, and somebody may rely on it: an error */
};

struct option {
    const char *name;
    enum option_type type;
    enum option_status status;
    size_t where;         /* offset in the structure that the table belongs to; 0 = kept nowhere */
    const char *fallback; /* the default as it would be written; NULL = no value */
    const char *help;
    const char *words; /* "none|v1|v2": what may be written; beside a number "auto" = 0 */
    int64_t min, max;  /* in the unit kept; both 0 = no bounds */
    const struct option *inner;
    size_t size;   /* OPTION_LIST: of one entry's structure */
    bool required; /* by whoever writes the mapping it is in */
    bool secret;   /* masked; has a twin "<name>_file" */
    bool is_url;   /* of a secret: only its user and password are */
    bool word_too; /* OPTION_SECTION: one of <words> may stand in its place */
};

/* What durations, sizes and counts are bounded by, in the unit kept. */
enum { MILLISECOND = 1000, SECOND = 1000 * MILLISECOND };
#define SECONDS(n) ((int64_t)(n)*SECOND)
#define DAYS(n)    SECONDS((n)*86400)
#define KIB(n)     ((int64_t)(n) << 10)
#define MIB(n)     ((int64_t)(n) << 20)
#define GIB(n)     ((int64_t)(n) << 30)
#define LONGEST    DAYS(3660)

/* The rows of the root, ended by one without a name; kept in struct document. */
extern const struct option config_options[];
/* Parts of them that stand in files of their own. */
extern const struct option tenant_options[], rates_options[], limits_options[], jwt_options[];
extern const struct option price_options[]; /* of a target; kept in struct target_draft */
extern const struct option cache_options[], guardrail_options[], deployment_options[];
extern const struct option deployment_rows[]; /* of one; kept in struct deployment_draft */
extern const struct option jobs_options[];
extern const struct option routing_options[];
extern const struct option rule_options[];   /* of routing.rules */
extern const struct option policy_options[]; /* of routing.policies; kept in struct policy_draft */

/* The row called <name> (of <len> bytes), or NULL. *is_file is set when it is the row's twin. */
const struct option *option_find(const struct option *options, const char *name, size_t len,
                                 bool *is_file);
/* Is <name> that of <option>, or of its twin? */
bool option_is_named(const struct option *option, struct text name);
/* The structure that the rows in <section> are kept in; <base> is what the section is kept in. */
static inline char *option_inside(const struct option *section, char *base)
{
    return section->type == OPTION_SECTION && section->where ? base + section->where : base;
}

/* Is <word> one of "a|b|c"? Its place goes to *place (may be NULL). */
bool word_find(const char *words, const char *word, size_t len, unsigned *place);
/* "duration", "size" … for messages and docs. */
const char *option_type_words(enum option_type type);
/* Can the value be null? */
bool option_is_nullable(const struct option *option);
