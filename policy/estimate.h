/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * estimate - how many tokens a call may use at most, and how many it will likely use.
 *
 * The bound is never below what the provider counts: one token per byte of text (no tokenizer makes
 * more), what a provider puts in of its own, the most that a picture or a second of sound costs
 * anywhere, the model's context where something is referred to that is not in the body at all (a
 * file, a previous response, a prompt by id), and a context for each round of tools that the
 * provider runs itself.
 *
 * The estimate is learnt from settled calls: for each model a line from a rough count of words to
 * tokens, and how far off it has been; for each key and model how long answers are. Figures live in
 * tables of fixed size, shared by all threads (relaxed atomics): a lost update costs nothing.
 *
 * How good both are on recorded calls: docs/ESTIMATES.md.
 */

#include "providers/call.h"

struct estimate_facts {
    struct text model; /* the route's name */
    uint64_t key;      /* hash of tenant and key */
    int64_t body_bytes;
    int64_t context_tokens; /* of the model; 0 = unknown */
    int64_t max_tokens;     /* asked for; 0 = none */
    int64_t output_tokens;  /* the model's own maximum; 0 = unknown */
    int64_t choices;
    int64_t added_tokens; /* the most of estimate_added() over the targets */

    /* by estimate_look() */
    int64_t media_count;     /* pictures, sound, files in the body */
    int64_t media_bytes;     /* of <body_bytes>: theirs */
    int64_t media_tokens;    /* the most that they cost */
    int64_t tool_tokens;     /* the most that tools take which the provider describes */
    int64_t about_tokens;    /* rough count of what is said; 0 = not looked at */
    int64_t about_described; /* the same of tools and schemas */
    int64_t rounds;          /* the most contexts that tools of the provider's own may read */
    unsigned form;           /* in which words it is said: models count them differently */
    bool has_tools;          /* of any kind */
    bool refers;             /* to something outside of the body */
};

/* Fill in what a body of the OpenAI, Anthropic or Gemini dialect says. One pass; <body> is valid
 * JSON and no deeper than SCAN_DEPTH_MAX. */
void estimate_look(struct text body, struct estimate_facts *facts);

/* The most tokens that a provider of this type adds to every call of this model, beyond what all
 * do: a prompt of its own. Mostly 0. */
int64_t estimate_added(struct text provider_type, struct text model);

struct estimate {
    int64_t input_bound, output_bound; /* of all choices together */
    int64_t input_likely,
        output_likely;               /* a high quantile: what is reserved in windows of tokens */
    int64_t input_mean, output_mean; /* what is expected: for prediction of cost */
};

struct estimates;
struct estimates *estimates_new(void);
void estimates_free(struct estimates *estimates);

/* Any thread. None of the figures is negative; likely and mean are no more than the bound. */
void estimate_make(struct estimates *estimates, const struct estimate_facts *facts,
                   struct estimate *out);
/* What the provider counted for a call of these facts. Any thread. */
void estimate_learn(struct estimates *estimates, const struct estimate_facts *facts,
                    int64_t input_tokens, int64_t output_tokens);
