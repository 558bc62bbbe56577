/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * estimate - how many tokens a call may use at most, and how many it will likely use.
 *
 * The bound is never below what the provider counts: one token per byte of the body, plus a bound
 * per piece of media (its tokens are not in its bytes), plus the model's context where something
 * is referred to that is not in the body at all (a file id, a previous response, a prompt by id).
 *
 * The estimate is learnt from settled calls: bytes per token of a model's prompts (decayed mean and
 * a high quantile), and the quantiles of the output's length per key and model. Figures live in a
 * table of fixed size, shared by all threads (relaxed atomics): a lost update costs nothing.
 */

#include "providers/call.h"

struct estimate_facts {
    struct text model; /* the route's name */
    uint64_t key;      /* hash of tenant and key */
    int64_t body_bytes;
    int64_t media_count;    /* images, audio, files in the body */
    bool refers;            /* to something outside of the body */
    int64_t context_tokens; /* of the model; 0 = unknown */
    int64_t max_tokens;     /* asked for; 0 = none */
    int64_t output_tokens;  /* the model's own maximum; 0 = unknown */
    int64_t choices;
};

struct estimate {
    int64_t input_bound, output_bound; /* of all choices together */
    int64_t input_likely,
        output_likely;               /* a high quantile: what is reserved in windows of tokens */
    int64_t input_mean, output_mean; /* what is expected: for prediction of cost */
};

struct estimates;
struct estimates *estimates_new(void);
void estimates_free(struct estimates *estimates);

void estimate_make(struct estimates *estimates, const struct estimate_facts *facts,
                   struct estimate *out);
/* What the provider counted for a call of these facts. */
void estimate_learn(struct estimates *estimates, const struct estimate_facts *facts,
                    int64_t input_tokens, int64_t output_tokens);

/* Count pieces of media, and whether something is referred to, in a body of the OpenAI, Anthropic
 * or Gemini dialect. One pass; <body> is valid JSON. */
void estimate_look(struct text body, int64_t *media_count, bool *refers);
