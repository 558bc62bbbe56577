/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/estimate.h"

#include <math.h>
#include <stdatomic.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

/*
 * Two tables of open addressing. Nothing is locked: two threads that learn at once may lose one of
 * both, or mix their figures, and every figure that is read is brought into bounds. Floating point
 * is fine here: these are guesses, neither money nor counts.
 */

enum {
    INPUT_SLOTS = 2048,
    OUTPUT_SLOTS = 8192,
    PROBES = 8,
    RATIO_BINS = 40,     /* of counted / expected: eight to each power of two */
    LENGTH_BINS = 84,    /* of an answer's length: four to each power of two, up to 2^21 */
    HISTOGRAM_MAX = 512, /* then all bins are halved: what is long ago counts less */
    ENOUGH_RATIOS = 8,
    FEW_CALLS = 3,
    ENOUGH_LENGTHS = 8,
    HIGH_PER_MILLE = 950,
    EACH_SUMMED_UP = 64, /* so many calls of a slot; then every eighth */
    SUMMED_UP_EVERY = 8,
};

/* What every provider may put in by itself: the frame of messages, a system prompt for tools
 * (Anthropic: up to 530 tokens, docs.claude.com "Tool use"; Nova: some 600). */
enum { ADDED_TOKENS = 512, ADDED_FOR_TOOLS_TOKENS = 1024 };

enum {
    UNKNOWN_CONTEXT_TOKENS = 2 << 20, /* the largest that is sold */
    UNKNOWN_OUTPUT_TOKENS = 4096,
    LEAST_OUTPUT_TOKENS = 16,   /* OpenAI and others answer so much to any smaller max_tokens */
    FIRST_OUTPUT_TOKENS = 1024, /* before anything is learnt */
    LEARNT_INPUT_MAX = 16 << 20,
    PICTURE_ABOUT_TOKENS = 1000,
};
/* Of older calls after each new one. */
#define KEPT (127.0 / 128)
/* What is known beforehand, and how much it counts, in calls: what is added to every call, without
 * tools and with them; tokens for what is said; for what is described. */
#define ADDED_BEFORE     3.0
#define ADDED_FOR_TOOLS  50.0
#define SAID_BEFORE      1.0
#define DESCRIBED_BEFORE 0.8
static const double counts_before[] = {0.1, 1, 0.3};
/* A call that is further off than this (in the logarithm) counts less: it is of another kind. */
#define USUAL_ERROR 0.3
/* What the expectation is multiplied by before a slot knows how far off it is. */
#define ABOVE_BEFORE 1.2

typedef _Atomic uint64_t figure;

/* Tokens y = a + b x + c d, of the rough counts x of what is said and d of what is described, by
 * least squares of the relative error. */
enum { TERMS = 3, SUMS = TERMS * (TERMS + 1) };

struct input_slot {
    figure name;
    figure sums[SUMS]; /* bits of doubles: per row of the equations its three sums, and that of y */
    figure calls;
    _Atomic uint16_t ratios[RATIO_BINS];
    /* summed up from these now and then; bits of doubles */
    figure solved; /* is there a solution? */
    figure solution[TERMS];
    figure above; /* what the expectation has to be multiplied by to be rarely exceeded; 0 = too
                     little is known */
};

struct output_slot {
    figure name;
    figure mean; /* bits of a double */
    figure calls;
    _Atomic uint16_t lengths[LENGTH_BINS];
    figure high; /* bits of a double: a length that is rarely exceeded; 0 = too little is known */
};

struct estimates {
    struct input_slot inputs[INPUT_SLOTS];
    struct output_slot outputs[OUTPUT_SLOTS];
};

struct estimates *estimates_new(void)
{
    return memory_new(sizeof(struct estimates));
}

void estimates_free(struct estimates *estimates)
{
    memory_free(estimates);
}

/* -------------------------------------------------------------------------------- figures */

static uint64_t load(figure *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static void store(figure *at, uint64_t value)
{
    atomic_store_explicit(at, value, memory_order_relaxed);
}

static double load_real(figure *at)
{
    uint64_t bits = load(at);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void store_real(figure *at, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    store(at, bits);
}

static int64_t sum(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int64_t times(int64_t a, int64_t b)
{
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

static int64_t whole(double value, int64_t max)
{
    if (!(value > 0))
        return 0;
    return value < (double)max ? (int64_t)ceil(value) : max;
}

/* ------------------------------------------------------------------------------ histograms */

static void histogram_add(_Atomic uint16_t *bins, size_t count, size_t bin)
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

/* The bin that at least <per_mille> of all are in or below; <count> when there are none. */
static size_t histogram_find(_Atomic uint16_t *bins, size_t count, unsigned per_mille)
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

/* Bin i ends at 2^(i/8 - 1): eight to each power of two, from a half to fourteen times. */
static size_t ratio_bin(double ratio)
{
    double place = ceil((log2(ratio > 0.5 ? ratio : 0.5) + 1) * 8);
    return place >= RATIO_BINS - 1 ? RATIO_BINS - 1 : (size_t)place;
}

static double ratio_of(size_t bin)
{
    return exp2((double)bin / 8 - 1);
}

static size_t length_bin(double length)
{
    double place = ceil(log2(length > 1 ? length : 1) * 4);
    return place >= LENGTH_BINS - 1 ? LENGTH_BINS - 1 : (size_t)place;
}

static double length_of(size_t bin)
{
    return exp2((double)bin / 4);
}

/* ------------------------------------------------------------------------------ input: slots */

static uint64_t mix(uint64_t hash, uint64_t with)
{
    hash = (hash ^ with) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/* Calls with tools, with pictures, with tools of the provider's own are counted differently. */
static uint64_t input_name(const struct estimate_facts *facts, uint64_t model)
{
    unsigned class = facts->has_tools + 2 * (facts->media_count > 0) +
                     4 * (facts->rounds > 0 || facts->refers) + 8 * (facts->about_tokens > 0) +
                     16 * facts->form;
    return mix(model, class + 1) | 1;
}

/* Where <name> is; else, to be written, the place of the one with the fewest calls. */
static struct input_slot *find_input(struct estimates *estimates, uint64_t name, bool make)
{
    struct input_slot *least = NULL;
    for (unsigned i = 0; i < PROBES; i++) {
        struct input_slot *slot = &estimates->inputs[(name + i) % INPUT_SLOTS];
        if (load(&slot->name) == name)
            return slot;
        if (!least || load(&slot->calls) < load(&least->calls))
            least = slot;
    }
    if (!make)
        return NULL;
    store(&least->name, name);
    store(&least->calls, 0);
    for (size_t i = 0; i < SUMS; i++)
        store(&least->sums[i], 0);
    for (size_t i = 0; i < RATIO_BINS; i++)
        atomic_store_explicit(&least->ratios[i], 0, memory_order_relaxed);
    store(&least->solved, false);
    store_real(&least->above, 0);
    return least;
}

/* The rough count, or what bytes alone say: four to a token. */
static double rough(const struct estimate_facts *facts)
{
    int64_t about = facts->about_tokens > 0 ? facts->about_tokens : 1 + facts->body_bytes / 4;
    return (double)about + (double)facts->media_count * PICTURE_ABOUT_TOKENS;
}

static void write_terms(const struct estimate_facts *facts, double terms[TERMS])
{
    terms[0] = 1;
    terms[1] = rough(facts);
    terms[2] = (double)facts->about_described;
}

/* Gauss' elimination; false when there is no one solution. */
static bool solve(double rows[TERMS][TERMS + 1])
{
    for (size_t i = 0; i < TERMS; i++) {
        size_t best = i;
        for (size_t k = i + 1; k < TERMS; k++)
            if (fabs(rows[k][i]) > fabs(rows[best][i]))
                best = k;
        if (!(fabs(rows[best][i]) > 1e-300))
            return false;
        for (size_t j = 0; j <= TERMS; j++) {
            double held = rows[i][j];
            rows[i][j] = rows[best][j];
            rows[best][j] = held;
        }
        for (size_t k = 0; k < TERMS; k++) {
            double times = k == i ? 0 : rows[k][i] / rows[i][i];
            for (size_t j = i; j <= TERMS; j++)
                rows[k][j] -= times * rows[i][j];
        }
    }
    return true;
}

static void write_before(const struct estimate_facts *facts, double before[TERMS])
{
    before[0] = facts->has_tools ? ADDED_FOR_TOOLS : ADDED_BEFORE;
    before[1] = SAID_BEFORE;
    before[2] = DESCRIBED_BEFORE;
}

/* The equations with what is known beforehand, for a slot that has learnt from <calls>. */
static void solve_slot(struct input_slot *slot, const struct estimate_facts *facts, uint64_t calls)
{
    double before[TERMS], rows[TERMS][TERMS + 1];
    double weight = (double)calls < 1 / (1 - KEPT) ? (double)calls : 1 / (1 - KEPT);
    write_before(facts, before);
    for (size_t i = 0; i < TERMS; i++) {
        for (size_t j = 0; j <= TERMS; j++)
            rows[i][j] = load_real(&slot->sums[i * (TERMS + 1) + j]);
        double more = counts_before[i] * rows[i][i] / weight;
        more = more > 1e-12 ? more : 1e-12;
        rows[i][i] += more;
        rows[i][TERMS] += more * before[i];
    }
    bool is_solved = solve(rows);
    for (size_t i = 0; i < TERMS && is_solved; i++)
        store_real(&slot->solution[i], rows[i][TERMS] / rows[i][i]);
    store(&slot->solved, is_solved);
}

static bool is_summed_up(uint64_t calls)
{
    return calls <= EACH_SUMMED_UP || calls % SUMMED_UP_EVERY == 0;
}

static void sum_up_input(struct input_slot *slot, const struct estimate_facts *facts,
                         uint64_t calls)
{
    if (!is_summed_up(calls))
        return;
    solve_slot(slot, facts, calls);
    size_t bin = calls > ENOUGH_RATIOS ? histogram_find(slot->ratios, RATIO_BINS, HIGH_PER_MILLE)
                                       : RATIO_BINS;
    store_real(&slot->above, bin < RATIO_BINS ? ratio_of(bin) : 0);
}

static double expect(struct input_slot *slot, const struct estimate_facts *facts)
{
    double terms[TERMS], factors[TERMS], expected = 0;
    write_terms(facts, terms);
    write_before(facts, factors);
    for (size_t i = 0; slot && load(&slot->solved) && i < TERMS; i++)
        factors[i] = load_real(&slot->solution[i]);
    for (size_t i = 0; i < TERMS; i++)
        expected += terms[i] * factors[i];
    return expected >= 1 ? expected : 1;
}

static void learn_input(struct estimates *estimates, const struct estimate_facts *facts,
                        uint64_t model, int64_t tokens)
{
    if (tokens <= 0 || tokens > LEARNT_INPUT_MAX)
        return;
    struct input_slot *slot = find_input(estimates, input_name(facts, model), true);
    double y = (double)tokens, expected = expect(slot, facts), terms[TERMS];
    double larger = y > expected ? y : expected, off = fabs(log(y / expected));
    double weight = 1 / (larger * larger);
    uint64_t calls = load(&slot->calls);
    if (calls)
        histogram_add(slot->ratios, RATIO_BINS, ratio_bin(y / expected));
    if (calls >= FEW_CALLS && off > USUAL_ERROR)
        weight *= USUAL_ERROR / off / 3;
    write_terms(facts, terms);
    for (size_t i = 0; i < TERMS; i++)
        for (size_t j = 0; j <= TERMS; j++) {
            figure *at = &slot->sums[i * (TERMS + 1) + j];
            store_real(at, load_real(at) * KEPT + weight * terms[i] * (j < TERMS ? terms[j] : y));
        }
    store(&slot->calls, calls + 1);
    sum_up_input(slot, facts, calls + 1);
}

/* ------------------------------------------------------------------------------ input: bound */

/*
 * Providers that put a prompt of their own before everything, or run tools without being told to,
 * as measured on recorded calls (docs/ESTIMATES.md).
 */
static const struct {
    struct text provider, model;
    int64_t tokens;
} adders[] = {
    {TEXT("venice"), TEXT("*"), 2048},          /* venice_parameters.include_venice_system_prompt */
    {TEXT("groq"), TEXT("*compound*"), 131072}, /* searches and runs code by itself */
    {TEXT("bedrock"), TEXT("*nova-2*"), 4096},  /* instructions for tools */
    {TEXT("openai"), TEXT("gpt-5.6*"), 2048},
};

int64_t estimate_added(struct text provider_type, struct text model)
{
    for (size_t i = 0; i < sizeof(adders) / sizeof(*adders); i++)
        if (text_equal(adders[i].provider, provider_type) && text_matches(model, adders[i].model))
            return adders[i].tokens;
    return 0;
}

static int64_t input_bound(const struct estimate_facts *facts)
{
    int64_t context = facts->context_tokens > 0 ? facts->context_tokens : UNKNOWN_CONTEXT_TOKENS;
    int64_t bound = facts->body_bytes - facts->media_bytes;
    bound = sum(bound, facts->has_tools ? ADDED_FOR_TOOLS_TOKENS : ADDED_TOKENS);
    bound = sum(bound, facts->added_tokens);
    bound = sum(bound, sum(facts->media_tokens, facts->tool_tokens));
    if (facts->refers)
        bound = sum(bound, context);
    return sum(bound, times(facts->rounds, context));
}

/* -------------------------------------------------------------------------------- output */

static struct output_slot *find_output(struct estimates *estimates, uint64_t name, bool make)
{
    struct output_slot *least = NULL;
    for (unsigned i = 0; i < PROBES; i++) {
        struct output_slot *slot = &estimates->outputs[(name + i) % OUTPUT_SLOTS];
        if (load(&slot->name) == name)
            return slot;
        if (!least || load(&slot->calls) < load(&least->calls))
            least = slot;
    }
    if (!make)
        return NULL;
    store(&least->name, name);
    store(&least->calls, 0);
    store_real(&least->mean, 0);
    for (size_t i = 0; i < LENGTH_BINS; i++)
        atomic_store_explicit(&least->lengths[i], 0, memory_order_relaxed);
    store_real(&least->high, 0);
    return least;
}

static uint64_t output_name(const struct estimate_facts *facts, uint64_t model, bool any_key)
{
    return mix(model, any_key ? 0 : facts->key | 1) | 1;
}

static int64_t choices_of(const struct estimate_facts *facts)
{
    return facts->choices > 0 ? facts->choices : 1;
}

static void learn_output_as(struct estimates *estimates, uint64_t name, double length)
{
    struct output_slot *slot = find_output(estimates, name, true);
    uint64_t calls = load(&slot->calls);
    double weight = calls < 64 ? 1 / ((double)calls + 1) : 1.0 / 64;
    double mean = load_real(&slot->mean);
    store_real(&slot->mean, mean + (length - mean) * weight);
    histogram_add(slot->lengths, LENGTH_BINS, length_bin(length));
    store(&slot->calls, calls + 1);
    if (calls + 1 < ENOUGH_LENGTHS || !is_summed_up(calls + 1))
        return;
    size_t bin = histogram_find(slot->lengths, LENGTH_BINS, HIGH_PER_MILLE);
    store_real(&slot->high, bin < LENGTH_BINS ? length_of(bin) : load_real(&slot->mean));
}

static void learn_output(struct estimates *estimates, const struct estimate_facts *facts,
                         uint64_t model, int64_t tokens)
{
    double length = (double)tokens / (double)choices_of(facts);
    if (tokens < 0)
        return;
    learn_output_as(estimates, output_name(facts, model, false), length);
    learn_output_as(estimates, output_name(facts, model, true), length);
}

/* Of one choice. */
static int64_t output_most(const struct estimate_facts *facts)
{
    int64_t most = facts->max_tokens > 0      ? facts->max_tokens
                   : facts->output_tokens > 0 ? facts->output_tokens
                                              : UNKNOWN_OUTPUT_TOKENS;
    return most > LEAST_OUTPUT_TOKENS ? most : LEAST_OUTPUT_TOKENS;
}

static void expect_output(struct estimates *estimates, const struct estimate_facts *facts,
                          uint64_t model, double *likely, double *mean)
{
    struct output_slot *slot = find_output(estimates, output_name(facts, model, false), false);
    if (!slot || load(&slot->calls) < ENOUGH_LENGTHS)
        slot = find_output(estimates, output_name(facts, model, true), false);
    *likely = FIRST_OUTPUT_TOKENS;
    *mean = FIRST_OUTPUT_TOKENS / 4.0;
    if (!slot || load(&slot->calls) < ENOUGH_LENGTHS)
        return;
    *mean = load_real(&slot->mean);
    *likely = load_real(&slot->high);
    *likely = *likely > 0 ? *likely : *mean;
}

/* --------------------------------------------------------------------------------- together */

void estimate_make(struct estimates *estimates, const struct estimate_facts *facts,
                   struct estimate *out)
{
    uint64_t model = hash_name(facts->model);
    struct input_slot *slot = find_input(estimates, input_name(facts, model), false);
    double input = expect(slot, facts), above = slot ? load_real(&slot->above) : 0, likely, mean;
    if (!(above > 0))
        above = ABOVE_BEFORE;
    int64_t most = output_most(facts), choices = choices_of(facts);
    expect_output(estimates, facts, model, &likely, &mean);
    out->input_bound = input_bound(facts);
    out->input_mean = whole(input, out->input_bound);
    out->input_likely = whole(input * (above > 1 ? above : 1), out->input_bound);
    out->output_bound = times(most, choices);
    out->output_likely = times(whole(likely, most), choices);
    out->output_mean = times(whole(mean, most), choices);
    if (out->output_mean > out->output_likely)
        out->output_mean = out->output_likely;
}

void estimate_learn(struct estimates *estimates, const struct estimate_facts *facts,
                    int64_t input_tokens, int64_t output_tokens)
{
    uint64_t model = hash_name(facts->model);
    learn_input(estimates, facts, model, input_tokens);
    learn_output(estimates, facts, model, output_tokens);
}
