/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * rule - which calls go another way than their model says: `routing.rules`. A door of routing.
 *
 * Pure: what is known of a call is handed in, with what it is o'clock in the zones that the rules
 * name. The first rule all of whose conditions hold wins. A call that cannot tell (no such header,
 * no count of its tokens) does not meet a condition about it.
 *
 * A rule never gives more than a tenant may have: who may call what, and where its data may go, are
 * asked besides.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/text.h"
#include "routing/target.h"

struct route;
struct route_policy;

enum {
    RULES_MAX = 256,
    RULE_CONDITIONS_MAX = 64, /* of one rule */
    RULE_VALUES_MAX = 256,    /* of one condition */
    RULE_HEADERS_MAX = 32,    /* different ones, in all rules */
    RULE_ZONES_MAX = 16,
    RULE_TARGETS_MAX = 64, /* that one rule names */
    WEEK_MINUTES = 7 * 24 * 60,
    DAY_MINUTES = 24 * 60,
};

enum rule_subject {
    RULE_TENANT,
    RULE_KEY,
    RULE_USER,
    RULE_MODEL, /* as it was asked for, or the model's own name */
    RULE_TAG,
    RULE_HEADER,
    RULE_INPUT_TOKENS,
    RULE_CAPABILITY,
    RULE_TIME,
    RULE_SAMPLE,
};

/* What a sample share keeps together. */
enum rule_sticky { RULE_BY_CONVERSATION, RULE_BY_KEY, RULE_BY_USER, RULE_BY_CALL, RULE_STICKIES };

struct rule_condition {
    enum rule_subject subject;
    const struct text *values; /* one of them must match; '*' stands for any bytes */
    size_t value_count;
    struct text name;    /* of a tag */
    size_t place;        /* of a header, or of a zone, in the set */
    int64_t least, most; /* tokens, both counted in */
    unsigned from, to;   /* minutes of a day; <to> not counted in; over midnight when from >= to */
    unsigned days;       /* bits on which it begins, Monday first; 0 = every day */
    unsigned needs;      /* enum can bits that the call must need */
    unsigned share_ppm;  /* of a sample */
    enum rule_sticky sticky; /* of a sample */
};

struct rule {
    struct text name;
    struct rule_condition *conditions;
    size_t condition_count;
    bool samples; /* one of them is a sample: the rule is about models that have its targets only */

    /* what is used instead; NULL, 0 or false = as it would be */
    const struct route *model;
    const struct route_policy *policy;
    const struct target **targets; /* only these */
    size_t target_count;
    struct text *tags; /* only targets with all of these */
    size_t tag_count;
    bool has_fallback;
    struct text *fallback; /* instead of the policy's */
    size_t fallback_count;
    int64_t max_cost_nanos;
    const struct target *mirror; /* gets a share of the calls, too; its answers go nowhere */
    unsigned mirror_ppm;
    int64_t mirror_bytes;  /* only calls up to this long */
    unsigned mirror_calls; /* of each worker, at once */
};

/* All of them, with what they want to know. Lives as long as the configuration. */
struct rules {
    struct rule *list;
    size_t count;
    struct text headers[RULE_HEADERS_MAX]; /* in lower case */
    size_t header_count;
    struct text zone_names[RULE_ZONES_MAX]; /* empty = UTC */
    const void *zones[RULE_ZONES_MAX];      /* the gateway's; NULL = UTC */
    size_t zone_count;
    bool wants_tokens, wants_needs, wants_conversation;
};

/* What is known of a call. Texts are borrowed. */
struct rule_call {
    struct text tenant, key, user;
    const struct text *parents; /* of the tenant: those above it */
    size_t parent_count;
    struct text model;          /* as asked */
    const struct route *route;  /* what that stands for */
    struct text tags;           /* "k=v,k=v" */
    const struct text *headers; /* in the order of the set; at == NULL where it was not sent */
    int64_t input_tokens;       /* -1 = not known */
    unsigned needs;             /* enum can bits */
    unsigned minutes[RULE_ZONES_MAX]; /* of the week, from Monday 00:00, in each zone of the set */
    uint64_t sticky[RULE_STICKIES];   /* hashes; that of RULE_BY_CALL is random */
};

/* The first that matches, or NULL. */
const struct rule *rules_find(const struct rules *rules, const struct rule_call *call);
/* Does it match? */
bool rule_matches(const struct rule *rule, const struct rule_call *call);

/* Is <hash> within the share? Of many hashes the share is, and of two shares the larger one has all
 * that are in the smaller one. <salt> makes the samples of two rules independent of each other. */
bool rule_samples(uint64_t hash, struct text salt, unsigned share_ppm);

/* Read ">100000", ">= 8000", "<8000", "<=8000", "=0", "1000-8000" or "5000" (at least so many).
 * False when it is none of these. */
bool rule_read_tokens(struct text text, int64_t *least, int64_t *most);
/* Read "08:30" as minutes; "24:00" is allowed. */
bool rule_read_clock(struct text text, unsigned *minutes);
