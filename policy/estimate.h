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
 * The estimate is learnt from settled calls: for each model and each kind of call, what a rough
 * count of words, messages and tools comes to in tokens, and how far off that has been; the last
 * call with the same tools, and of the same conversation; for each key and model how long answers
 * are. Figures live in tables of fixed size, shared by all threads (relaxed atomics): a lost update
 * costs nothing.
 *
 * How good both are on recorded calls: docs/ESTIMATES.md.
 */

#include "gateway/base/scan.h"
#include "policy/tokenizer.h"
#include "providers/call.h"

/* What else providers count that is not said: bits. */
enum estimate_kind {
    ESTIMATE_SCHEMA = 1,           /* the answer follows a schema */
    ESTIMATE_THINKS = 2,           /* Anthropic's thinking with a budget */
    ESTIMATE_TOOLS_OFF = 4,        /* there are tools, but none may be used */
    ESTIMATE_TOOLS_FORCED = 8,     /* one has to be used */
    ESTIMATE_TOOLS_DESCRIBED = 16, /* some by the provider, not by the client */
    ESTIMATE_CITES = 32            /* documents, and how to cite them */
};

/* The most that a picture is counted as when it is made: gpt-image-1 at its best counts 6,240, and
 * 100 for each of three pictures on the way there (OpenAI, Image generation, Cost and latency). */
enum { ESTIMATE_PICTURE_TOKENS = 8192 };

/* What an answer is held as where neither the call nor its model says how long it may be. */
enum { ESTIMATE_UNKNOWN_OUTPUT_TOKENS = 4096 };

struct estimate_facts {
    struct text model;    /* the route's name */
    struct text provider; /* the type of who will likely answer, borrowed for long; may be empty */
    enum tokenizer tokenizer; /* count what is said by it, exactly; mostly TOKENIZER_NONE */
    bool unframed;            /* nothing is put around what is said: embeddings, completions */
    uint64_t key;             /* hash of tenant and key */
    int64_t body_bytes;
    int64_t context_tokens; /* of the model; 0 = unknown */
    int64_t max_tokens;     /* asked for; 0 = none */
    int64_t output_tokens;  /* the model's own maximum; 0 = unknown */
    int64_t choices;
    int64_t added_tokens; /* the most of estimate_added() over the targets */

    /* by estimate_look() */
    int64_t media_count;      /* pictures, sound, files in the body */
    int64_t media_bytes;      /* of <body_bytes>: theirs */
    int64_t pictures, sounds; /* of <media_count> */
    int64_t media_tokens;     /* the most that they cost */
    int64_t tool_tokens;      /* the most that tools take which the provider describes */
    int64_t about_tokens;     /* count of what is said, rough or exact, and 1; 0 = not looked at */
    int64_t about_sealed;     /* of thoughts of earlier turns that come back sealed */
    int64_t about_described;  /* of the JSON of tools */
    int64_t about_schema;     /* of the JSON of the answer's schema */
    int64_t messages, turns;  /* how many; of these, calls of tools and their answers */
    int64_t tools;
    int64_t rounds;            /* the most contexts that tools of the provider's own may read */
    int64_t searches;          /* the most that the provider may make, of each choice */
    int64_t surcharge_percent; /* where it asks for a place that costs more */
    unsigned form;             /* in which words it is said: models count them differently */
    unsigned kind;             /* bits of enum estimate_kind */
    uint64_t shape;            /* of what calls of one application share: tools, system, schema */
    uint64_t thread;           /* the same with the first messages: a conversation */
    bool has_tools;            /* of any kind */
    bool compacts;             /* what was said before may be summed up first */
    bool keeps_hour;           /* something is to be cached for an hour */
    bool refers;               /* to something outside of the body */
};

/* Fill in what a body of the OpenAI, Anthropic or Gemini dialect says. One pass; <body> is valid
 * JSON and no deeper than SCAN_DEPTH_MAX. <outline> is what its scan has seen, or NULL: with it,
 * the insides of long strings need not be walked through. */
void estimate_look(struct text body, const struct scan_outline *outline,
                   struct estimate_facts *facts);

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
/* Look at <body> and say what the provider would likely count as input of a call of <model> (the
 * provider's name of it): by the model's tokenizer where it is known, else by what was learnt of
 * calls like it. For those who ask for a count; up to 10 ms, 50 at worst. Any thread; at least 1.
 */
int64_t estimate_count(struct estimates *estimates, struct text model, struct text body,
                       struct estimate_facts *facts);
/* What the provider counted for a call of these facts. Any thread. */
void estimate_learn(struct estimates *estimates, const struct estimate_facts *facts,
                    int64_t input_tokens, int64_t output_tokens);
