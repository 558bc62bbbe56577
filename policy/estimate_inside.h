/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * estimate_inside - how the likely input of a call is guessed: by several ways at once, of which
 * the one that has been off by the least is taken.
 *
 * Nothing is locked: two threads that learn at once may lose one of both, or mix their figures, and
 * every figure that is read is brought into bounds. Floating point is fine here: these are guesses,
 * neither money nor counts.
 */

#include <stdatomic.h>

#include "policy/estimate.h"

typedef _Atomic uint64_t figure; /* some hold the bits of a double */

static inline uint64_t figure_load(figure *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static inline void figure_store(figure *at, uint64_t value)
{
    atomic_store_explicit(at, value, memory_order_relaxed);
}

static inline double figure_load_real(figure *at)
{
    uint64_t bits = figure_load(at);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline void figure_store_real(figure *at, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    figure_store(at, bits);
}

static inline uint64_t figure_mix(uint64_t hash, uint64_t with)
{
    hash = (hash ^ with) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/* ---- histogram: how often a figure was in which bin; when one is full, all are halved. */

void histogram_add(_Atomic uint16_t *bins, size_t count, size_t bin);
/* The bin that at least <per_mille> of all are in or below; <count> when there are none. */
size_t histogram_find(_Atomic uint16_t *bins, size_t count, unsigned per_mille);

/* ---- estimate_line.c: tokens as a sum of what a body has, each times what it costs */

enum line_term {
    TERM_CALL,
    TERM_SAID,
    TERM_MESSAGES,
    TERM_DESCRIBED,
    TERM_TOOLS,
    TERM_TURNS,
    TERM_SCHEMA,
    TERM_SEALED,
    TERMS
};

/* What is guessed by, the one that is trusted most at first behind the others. */
enum guesser {
    GUESS_BEFORE,   /* what is known beforehand */
    GUESS_PROVIDER, /* the line of all its models */
    GUESS_MODEL,    /* the line of the model */
    GUESS_SHAPE,    /* the last call with the same tools and so on, and the difference */
    GUESS_THREAD,   /* the same of the conversation */
    GUESSERS
};

enum { RATIO_BINS = 40, LINE_SUMS = TERMS * (TERMS + 1) };

/* Of the calls of one kind, of a model or of a provider. */
struct line {
    figure name, calls;
    figure newest;          /* how much the newest call counts; the first counted 1 */
    figure sums[LINE_SUMS]; /* of the equations: per row its sums, and that of the tokens; upper
                               half */
    figure solved, solution[TERMS];
    figure misses[GUESSERS];             /* sum of errors and how many: two floats each */
    _Atomic uint16_t ratios[RATIO_BINS]; /* of counted / guessed: eight to each power of two */
    figure above; /* what a guess is multiplied by to be rarely exceeded; 0 = too little is known */
};

struct lines;
struct lines *lines_new(void);
void lines_free(struct lines *lines);
/* Where <name> is; NULL, or with <make> the place of the one with the fewest calls. */
struct line *line_find(struct lines *lines, uint64_t name, bool make);

void line_terms(const struct estimate_facts *facts, double terms[TERMS]);
/* What each term costs as far as is known without a line, and how sure that is. */
struct line_prior {
    double costs[TERMS], sure[TERMS];
};
void line_before(const struct estimate_facts *facts, struct line_prior *prior);
/* What each term costs by this line, or what stands in <costs> when it has learnt nothing. */
bool line_costs(struct line *line, double costs[TERMS]);
double line_sum(const double costs[TERMS], const double terms[TERMS]);
/* <keep>: of what was before. */
void line_learn(struct line *line, const double terms[TERMS], double tokens,
                const struct line_prior *prior, double keep);
/* Tokens were counted where <guessed> was the guess. */
void line_learn_ratio(struct line *line, double tokens, double guessed);

/* ---- estimate_near.c: calls as they were, by what they have in common */

struct near;
struct near *near_new(void);
void near_free(struct near *near);
/* The last call of this name; false when there is none. */
bool near_find(struct near *near, uint64_t name, double terms[TERMS], double *tokens);
void near_keep(struct near *near, uint64_t name, const double terms[TERMS], double tokens);

/* ---- estimate_input.c */

struct inputs {
    struct lines *lines;
    struct near *near;
};

/* The tokens that are expected, at least 1, and what that is multiplied by to be rarely exceeded.
 * <model>: hash_name() of that of the facts. */
double input_expect(struct inputs *inputs, const struct estimate_facts *facts, uint64_t model,
                    double *above);
void input_learn(struct inputs *inputs, const struct estimate_facts *facts, uint64_t model,
                 double tokens);
