/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "gateway/base/memory.h"
#include "policy/estimate_inside.h"

/*
 * A line is fitted by least squares of the relative error. What is known beforehand enters the
 * equations as if it had been measured, with the certainty it has: for a model that is what calls
 * of the provider's other models have taught.
 */

enum {
    LINES = 4096,
    PROBES = 16,
    EACH_SOLVED = 64, /* so many calls of a line; then every eighth */
    SOLVED_EVERY = 8,
    FEW_CALLS = 3,
    ENOUGH_RATIOS = 8,
    HIGH_PER_MILLE = 950,
    PICTURE_ABOUT_TOKENS = 1000,
};
enum { HISTOGRAM_MAX = 512 };

/* How far off calls of one kind are from their line, relatively. */
#define USUAL_ERROR 0.04
/* A call that is further off than this counts less: it is of another kind. At first, less so. */
#define STRANGE_ERROR       0.1
#define STRANGE_FIRST_ERROR 0.5
/* Whatever a line says, what is said costs something; and nothing costs so much. */
#define SAID_COSTS_LEAST 0.5
#define COST_MAX         1e7
#define TERM_MAX         1e12
#define NEWEST_MAX       1e9
#define SMALL_CALL       8.0

struct lines {
    struct line lines[LINES];
};

struct lines *lines_new(void)
{
    return memory_new(sizeof(struct lines));
}

void lines_free(struct lines *lines)
{
    memory_free(lines);
}

static void forget(struct line *line, uint64_t name)
{
    figure_store(&line->name, name);
    figure_store(&line->calls, 0);
    for (size_t i = 0; i < LINE_SUMS; i++)
        figure_store(&line->sums[i], 0);
    for (size_t i = 0; i < GUESSERS; i++)
        figure_store(&line->misses[i], 0);
    for (size_t i = 0; i < RATIO_BINS; i++)
        atomic_store_explicit(&line->ratios[i], 0, memory_order_relaxed);
    figure_store(&line->solved, false);
    figure_store_real(&line->above, 0);
}

struct line *line_find(struct lines *lines, uint64_t name, bool make)
{
    struct line *least = NULL;
    for (unsigned i = 0; i < PROBES; i++) {
        struct line *line = &lines->lines[(name + i) % LINES];
        if (figure_load(&line->name) == name)
            return line;
        if (!least || figure_load(&line->calls) < figure_load(&least->calls))
            least = line;
    }
    if (make)
        forget(least, name);
    return make ? least : NULL;
}

/* -------------------------------------------------------------------------------- histograms */

void histogram_add(_Atomic uint16_t *bins, size_t count, size_t bin)
{
    uint16_t now = atomic_load_explicit(&bins[bin], memory_order_relaxed);
    atomic_store_explicit(&bins[bin], (uint16_t)(now + 1), memory_order_relaxed);
    if (now + 1 < HISTOGRAM_MAX)
        return;
    for (size_t i = 0; i < count; i++) {
        uint16_t half = atomic_load_explicit(&bins[i], memory_order_relaxed) / 2;
        atomic_store_explicit(&bins[i], half, memory_order_relaxed);
    }
}

size_t histogram_find(_Atomic uint16_t *bins, size_t count, unsigned per_mille)
{
    uint64_t all = 0, below = 0;
    for (size_t i = 0; i < count; i++)
        all += atomic_load_explicit(&bins[i], memory_order_relaxed);
    for (size_t i = 0; all && i < count; i++) {
        below += atomic_load_explicit(&bins[i], memory_order_relaxed);
        if (below * 1000 >= all * per_mille)
            return i;
    }
    return count;
}

/* -------------------------------------------------------------------------------------- terms */

/* What bytes alone say where nothing was looked at: four to a token. */
static double said(const struct estimate_facts *facts)
{
    int64_t about = facts->about_tokens > 0 ? facts->about_tokens : 1 + facts->body_bytes / 4;
    return (double)about + (double)facts->media_count * PICTURE_ABOUT_TOKENS;
}

void line_terms(const struct estimate_facts *facts, double terms[TERMS])
{
    terms[TERM_CALL] = 1;
    terms[TERM_SAID] = said(facts);
    terms[TERM_MESSAGES] = (double)facts->messages;
    terms[TERM_DESCRIBED] = (double)facts->about_described;
    terms[TERM_TOOLS] = (double)facts->tools;
    terms[TERM_TURNS] = (double)facts->turns;
    terms[TERM_SCHEMA] = (double)facts->about_schema;
    terms[TERM_SEALED] = (double)facts->about_sealed;
    for (size_t i = 0; i < TERMS; i++)
        terms[i] = terms[i] < TERM_MAX ? terms[i] : TERM_MAX;
}

/* What each costs, and by how much that is off with one model or another. */
static const struct {
    double cost, off;
} known[TERMS] = {
    [TERM_CALL] = {2, 80},         [TERM_SAID] = {1, 0.2},     [TERM_MESSAGES] = {4, 3},
    [TERM_DESCRIBED] = {0.7, 0.4}, [TERM_TOOLS] = {-20, 12},   [TERM_TURNS] = {6, 10},
    [TERM_SCHEMA] = {0.5, 0.8},    [TERM_SEALED] = {0.3, 0.3},
};
/* Of a call with tools: some providers add a prompt for them. */
#define CALL_WITH_TOOLS     25.0
#define CALL_WITH_TOOLS_OFF 150.0

#define SURE(off) (USUAL_ERROR * USUAL_ERROR / ((off) * (off)))

void line_before(const struct estimate_facts *facts, struct line_prior *prior)
{
    for (size_t i = 0; i < TERMS; i++) {
        prior->costs[i] = known[i].cost;
        prior->sure[i] = SURE(known[i].off);
    }
    if (facts->has_tools) {
        prior->costs[TERM_CALL] = CALL_WITH_TOOLS;
        prior->sure[TERM_CALL] = SURE(CALL_WITH_TOOLS_OFF);
    }
    if (facts->unframed)
        prior->costs[TERM_CALL] = -1; /* which is in what is said */
}

bool line_costs(struct line *line, double costs[TERMS])
{
    if (!line || !figure_load(&line->solved))
        return false;
    for (size_t i = 0; i < TERMS; i++)
        costs[i] = figure_load_real(&line->solution[i]);
    return true;
}

/* As fmax(), which is a call into a library: no number here is NaN. */
static double larger(double a, double b)
{
    return a > b ? a : b;
}

double line_sum(const double costs[TERMS], const double terms[TERMS])
{
    double sum = 0;
    for (size_t i = 0; i < TERMS; i++)
        sum += costs[i] * terms[i];
    return larger(sum, larger(1, SAID_COSTS_LEAST * terms[TERM_SAID]));
}

/* ----------------------------------------------------------------------------------- learning */

/* The equations of those terms that have been seen. */
struct equations {
    double rows[TERMS][TERMS + 1];
    size_t terms[TERMS], count;
};

/* Gauss' elimination; false when there is no one solution. */
static bool solve(struct equations *equations)
{
    double(*rows)[TERMS + 1] = equations->rows;
    size_t count = equations->count;
    for (size_t i = 0; i < count; i++) {
        size_t best = i;
        for (size_t k = i + 1; k < count; k++)
            if (fabs(rows[k][i]) > fabs(rows[best][i]))
                best = k;
        if (!(fabs(rows[best][i]) > 1e-300))
            return false;
        for (size_t j = 0; j <= count; j++) {
            double held = rows[i][j];
            rows[i][j] = rows[best][j];
            rows[best][j] = held;
        }
        for (size_t k = 0; k < count; k++) {
            double times = k == i ? 0 : rows[k][i] / rows[i][i];
            for (size_t j = i; j <= count; j++)
                rows[k][j] -= times * rows[i][j];
        }
    }
    return true;
}

/* Of a pair of terms; TERMS as <j> is the tokens. */
static figure *sum_at(struct line *line, size_t i, size_t j)
{
    return i <= j ? &line->sums[i * (TERMS + 1) + j] : &line->sums[j * (TERMS + 1) + i];
}

static void write_equations(struct line *line, const struct line_prior *prior, double newest,
                            struct equations *out)
{
    out->count = 0;
    for (size_t i = 0; i < TERMS; i++)
        if (figure_load_real(sum_at(line, i, i)) > 0)
            out->terms[out->count++] = i;
    for (size_t i = 0; i < out->count; i++) {
        size_t term = out->terms[i];
        for (size_t j = 0; j < out->count; j++)
            out->rows[i][j] = figure_load_real(sum_at(line, term, out->terms[j]));
        out->rows[i][i] += prior->sure[term] * newest;
        out->rows[i][out->count] = figure_load_real(sum_at(line, term, TERMS)) +
                                   prior->sure[term] * newest * prior->costs[term];
    }
}

/* What a term costs that no call had is what is known beforehand. */
static void solve_line(struct line *line, const struct line_prior *prior, double newest)
{
    __attribute__((uninitialized)) struct equations equations;
    write_equations(line, prior, newest, &equations);
    bool is_solved = solve(&equations);
    for (size_t i = 0; i < TERMS; i++)
        figure_store_real(&line->solution[i], prior->costs[i]);
    for (size_t i = 0; i < equations.count && is_solved; i++) {
        double cost = equations.rows[i][equations.count] / equations.rows[i][i];
        is_solved = fabs(cost) < COST_MAX;
        figure_store_real(&line->solution[equations.terms[i]], cost);
    }
    figure_store(&line->solved, is_solved);
}

/* That older calls count less is done by having newer ones count more, until that is a large
 * number. Returns how much this one counts. */
static double next_newest(struct line *line, double keep)
{
    double newest = figure_load(&line->calls) ? figure_load_real(&line->newest) / keep : 1;
    if (!(newest < NEWEST_MAX)) {
        for (size_t i = 0; i < LINE_SUMS; i++)
            figure_store_real(&line->sums[i], figure_load_real(&line->sums[i]) / NEWEST_MAX);
        newest = 1;
    }
    figure_store_real(&line->newest, newest);
    return newest;
}

void line_learn(struct line *line, const double terms[TERMS], double tokens,
                const struct line_prior *prior, double keep)
{
    uint64_t calls = figure_load(&line->calls);
    double own[TERMS], newest = next_newest(line, keep);
    double guessed = line_sum(line_costs(line, own) ? own : prior->costs, terms);
    double scale = larger(larger(tokens, guessed), SMALL_CALL), off = (tokens - guessed) / scale;
    double strange = off / (calls >= FEW_CALLS ? STRANGE_ERROR : STRANGE_FIRST_ERROR);
    double weight = newest / (1 + strange * strange) / (scale * scale);
    for (size_t i = 0; i < TERMS; i++)
        for (size_t j = i; j <= TERMS && terms[i] != 0; j++) {
            double more = weight * terms[i] * (j < TERMS ? terms[j] : tokens);
            if (more != 0)
                figure_store_real(sum_at(line, i, j), figure_load_real(sum_at(line, i, j)) + more);
        }
    figure_store(&line->calls, calls + 1);
    if (calls < EACH_SOLVED || calls % SOLVED_EVERY == 0)
        solve_line(line, prior, newest);
}

/* Bin i ends at 2^(i/8 - 1): eight to each power of two, from a half to fourteen times. */
static size_t ratio_bin(double ratio)
{
    double place = ceil((log2(ratio > 0.5 ? ratio : 0.5) + 1) * 8);
    return place >= RATIO_BINS - 1 ? RATIO_BINS - 1 : (size_t)place;
}

void line_learn_ratio(struct line *line, double tokens, double guessed)
{
    uint64_t calls = figure_load(&line->calls);
    histogram_add(line->ratios, RATIO_BINS, ratio_bin(tokens / guessed));
    if (calls <= ENOUGH_RATIOS || (calls > EACH_SOLVED && calls % SOLVED_EVERY))
        return;
    size_t bin = histogram_find(line->ratios, RATIO_BINS, HIGH_PER_MILLE);
    figure_store_real(&line->above, bin < RATIO_BINS ? exp2((double)bin / 8 - 1) : 0);
}
