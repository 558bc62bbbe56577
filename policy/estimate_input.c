/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/estimate_inside.h"

/*
 * Two lines learn from each call: that of its model and that of its provider, each of calls of the
 * same kind only. And the call itself is kept, as the last one of its conversation and of those
 * with the same tools: the next of them differs by little.
 */

/* What the expectation is multiplied by before a line knows how far off it is. */
#define ABOVE_BEFORE 1.2
/* Of older calls after each new one. */
#define MODEL_KEEPS    0.99
#define PROVIDER_KEEPS 0.997
#define MISSES_KEEP    0.9F
/* An error is no larger than this: some calls nobody can guess. */
#define MISS_MAX 0.5
/* How far off each is thought to be before it is known, and how much that counts, in calls; and how
 * much what is known of the provider's calls does. */
static const float misses_before[GUESSERS] = {0.35F, 0.25F, 0.15F, 0.1F, 0.03F};
#define BEFORE_COUNTS   0.5F
#define PROVIDER_COUNTS 0.2F
enum { ENOUGH_CALLS = 2 };
/* So many calls of a line are learnt from, then every fourth: what a busy model is like is known.
 */
enum { EACH_LEARNT = 256, LEARNT_EVERY = 4 };

/* One call on its way through: who guesses what. */
struct guesses {
    struct line *model, *provider; /* NULL = none */
    uint64_t names[GUESSERS];      /* of the calls that are kept; 0 = none */
    double terms[TERMS];
    struct line_prior before, taught; /* <taught>: what the provider's calls say of the model's */
    double of[GUESSERS];              /* 0 = none */
};

/* Calls of another kind are counted differently. */
static uint64_t kind_name(const struct estimate_facts *facts)
{
    return 1U + facts->has_tools + 2U * (facts->media_count > 0) +
           4U * (facts->rounds > 0 || facts->refers) + 8U * (facts->about_tokens > 0) +
           16U * (facts->tokenizer != TOKENIZER_NONE) + 32U * facts->unframed + 256U * facts->form +
           ((uint64_t)facts->kind << 32);
}

/* There are few, and none is chosen by a client. */
static uint64_t hash_provider(struct text name)
{
    uint64_t hash = name.len;
    for (size_t i = 0; i < name.len; i++)
        hash = hash * 31 + (unsigned char)name.at[i];
    return figure_mix(hash, 1);
}

static void find_lines(struct inputs *inputs, const struct estimate_facts *facts, uint64_t model,
                       struct guesses *guesses, bool make)
{
    uint64_t kind = kind_name(facts);
    guesses->model = line_find(inputs->lines, figure_mix(model, kind) | 1, make);
    guesses->provider = NULL;
    if (facts->provider.len) {
        uint64_t provider = hash_provider(facts->provider);
        guesses->provider = line_find(inputs->lines, figure_mix(provider, kind) | 1, make);
    }
    /* of this key alone: what is reserved tells nobody what others have sent */
    uint64_t caller = figure_mix(figure_mix(model, kind), facts->key);
    bool has_shape = facts->has_tools || (facts->kind & ESTIMATE_SCHEMA);
    guesses->names[GUESS_SHAPE] = has_shape ? figure_mix(caller, facts->shape) | 1 : 0;
    guesses->names[GUESS_THREAD] = facts->thread ? figure_mix(caller, ~facts->thread) | 1 : 0;
}

static void guess_near(struct inputs *inputs, struct guesses *guesses, enum guesser guesser,
                       const double costs[TERMS])
{
    double terms[TERMS], tokens;
    guesses->of[guesser] = 0;
    if (!guesses->names[guesser] ||
        !near_find(inputs->near, guesses->names[guesser], terms, &tokens))
        return;
    for (size_t i = 0; i < TERMS; i++)
        if (costs[i] > 0)
            tokens += costs[i] * (guesses->terms[i] - terms[i]);
    guesses->of[guesser] = tokens >= 1 ? tokens : 1;
}

/* Of the lines and terms in <guesses>. */
static void guess(struct inputs *inputs, const struct estimate_facts *facts,
                  struct guesses *guesses)
{
    double costs[TERMS];
    line_before(facts, &guesses->before);
    guesses->taught = guesses->before;
    guesses->of[GUESS_BEFORE] = line_sum(guesses->before.costs, guesses->terms);
    bool has_provider = line_costs(guesses->provider, guesses->taught.costs);
    guesses->of[GUESS_PROVIDER] =
        has_provider ? line_sum(guesses->taught.costs, guesses->terms) : 0;
    memcpy(costs, guesses->taught.costs, sizeof(costs));
    bool has_model = line_costs(guesses->model, costs);
    guesses->of[GUESS_MODEL] = has_model ? line_sum(costs, guesses->terms) : 0;
    guess_near(inputs, guesses, GUESS_SHAPE, costs);
    guess_near(inputs, guesses, GUESS_THREAD, costs);
}

/* ------------------------------------------------------------------------------------ choosing */

struct misses {
    float sum, count;
};

static struct misses misses_of(struct line *line, enum guesser guesser)
{
    struct misses misses = {0, 0};
    uint64_t bits = line ? figure_load(&line->misses[guesser]) : 0;
    memcpy(&misses, &bits, sizeof(bits));
    return misses;
}

static void learn_miss(struct line *line, enum guesser guesser, double error)
{
    struct misses misses = misses_of(line, guesser);
    uint64_t bits;
    misses.sum = misses.sum * MISSES_KEEP + (float)(error < MISS_MAX ? error : MISS_MAX);
    misses.count = misses.count * MISSES_KEEP + 1;
    memcpy(&bits, &misses, sizeof(bits));
    if (line)
        figure_store(&line->misses[guesser], bits);
}

static double choose(const struct guesses *guesses)
{
    double best = 1;
    float least = 2;
    for (size_t i = 0; i < GUESSERS; i++) {
        struct misses own = misses_of(guesses->model, (enum guesser)i);
        struct misses others = misses_of(guesses->provider, (enum guesser)i);
        float off = own.sum + others.sum * PROVIDER_COUNTS + misses_before[i] * BEFORE_COUNTS;
        off /= own.count + others.count * PROVIDER_COUNTS + BEFORE_COUNTS;
        if (guesses->of[i] > 0 && off < least) {
            least = off;
            best = guesses->of[i];
        }
    }
    return best;
}

double input_expect(struct inputs *inputs, const struct estimate_facts *facts, uint64_t model,
                    double *above)
{
    __attribute__((uninitialized)) struct guesses guesses;
    find_lines(inputs, facts, model, &guesses, false);
    line_terms(facts, guesses.terms);
    guess(inputs, facts, &guesses);
    *above = guesses.model ? figure_load_real(&guesses.model->above) : 0;
    if (!(*above > 0) && guesses.provider)
        *above = figure_load_real(&guesses.provider->above);
    if (!(*above > 0))
        *above = ABOVE_BEFORE;
    return choose(&guesses);
}

/* ------------------------------------------------------------------------------------ learning */

static void learn_misses(const struct guesses *guesses, double tokens)
{
    for (size_t i = 0; i < GUESSERS; i++) {
        double error = guesses->of[i] > tokens ? guesses->of[i] - tokens : tokens - guesses->of[i];
        if (!(guesses->of[i] > 0))
            continue;
        learn_miss(guesses->model, (enum guesser)i, error / tokens);
        learn_miss(guesses->provider, (enum guesser)i, error / tokens);
    }
}

static bool is_known_well(struct line *line)
{
    uint64_t calls = figure_load(&line->calls);
    if (calls < EACH_LEARNT || calls % LEARNT_EVERY == 0)
        return false;
    figure_store(&line->calls, calls + 1);
    return true;
}

static void keep(struct inputs *inputs, const struct guesses *guesses, double tokens)
{
    for (size_t i = GUESS_SHAPE; i < GUESSERS; i++)
        if (guesses->names[i])
            near_keep(inputs->near, guesses->names[i], guesses->terms, tokens);
}

static void learn_lines(struct guesses *guesses, double tokens)
{
    double chosen = choose(guesses);
    learn_misses(guesses, tokens);
    line_learn_ratio(guesses->model, tokens, chosen);
    if (guesses->provider) {
        line_learn_ratio(guesses->provider, tokens, chosen);
        line_learn(guesses->provider, guesses->terms, tokens, &guesses->before, PROVIDER_KEEPS);
        if (figure_load(&guesses->provider->calls) < ENOUGH_CALLS ||
            !line_costs(guesses->provider, guesses->taught.costs))
            guesses->taught = guesses->before;
    }
    line_learn(guesses->model, guesses->terms, tokens, &guesses->taught, MODEL_KEEPS);
}

void input_learn(struct inputs *inputs, const struct estimate_facts *facts, uint64_t model,
                 double tokens)
{
    __attribute__((uninitialized)) struct guesses guesses;
    find_lines(inputs, facts, model, &guesses, true);
    line_terms(facts, guesses.terms);
    if (!is_known_well(guesses.model)) {
        guess(inputs, facts, &guesses);
        learn_lines(&guesses, tokens);
    }
    keep(inputs, &guesses, tokens);
}
