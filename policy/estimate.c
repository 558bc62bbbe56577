/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/estimate.h"

#include <math.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "policy/estimate_inside.h"

/* Input: estimate_input.c. Output: a table of open addressing, of keys and of models. */

enum {
    OUTPUT_SLOTS = 8192,
    PROBES = 8,
    LENGTH_BINS = 84, /* of an answer's length: four to each power of two, up to 2^21 */
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
    LEAST_OUTPUT_TOKENS = 16,   /* OpenAI and others answer so much to any smaller max_tokens */
    FIRST_OUTPUT_TOKENS = 1024, /* before anything is learnt */
    LEARNT_INPUT_MAX = 16 << 20,
};
struct output_slot {
    figure name;
    figure mean; /* bits of a double */
    figure calls;
    _Atomic uint16_t lengths[LENGTH_BINS];
    figure high; /* bits of a double: a length that is rarely exceeded; 0 = too little is known */
};

struct estimates {
    struct inputs inputs;
    struct output_slot outputs[OUTPUT_SLOTS];
};

struct estimates *estimates_new(void)
{
    struct estimates *estimates = memory_new(sizeof(struct estimates));
    estimates->inputs = (struct inputs){.lines = lines_new(), .near = near_new()};
    return estimates;
}

void estimates_free(struct estimates *estimates)
{
    if (!estimates)
        return;
    lines_free(estimates->inputs.lines);
    near_free(estimates->inputs.near);
    memory_free(estimates);
}

/* -------------------------------------------------------------------------------- figures */

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

static size_t length_bin(double length)
{
    double place = ceil(log2(length > 1 ? length : 1) * 4);
    return place >= LENGTH_BINS - 1 ? LENGTH_BINS - 1 : (size_t)place;
}

static double length_of(size_t bin)
{
    return exp2((double)bin / 4);
}

static bool is_summed_up(uint64_t calls)
{
    return calls <= EACH_SUMMED_UP || calls % SUMMED_UP_EVERY == 0;
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

static int64_t message_bound(const struct estimate_facts *facts)
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

/* Anthropic sums up nothing shorter (docs.claude.com, "Compaction", "trigger"). */
enum { COMPACTED_LEAST_TOKENS = 50000 };

static bool may_compact(const struct estimate_facts *facts)
{
    return facts->compacts && message_bound(facts) >= COMPACTED_LEAST_TOKENS;
}

/* What is summed up is read for that, and paid for beside the message. */
static int64_t input_bound(const struct estimate_facts *facts)
{
    int64_t bound = message_bound(facts);
    return may_compact(facts) ? sum(bound, bound) : bound;
}

/* -------------------------------------------------------------------------------- output */

static struct output_slot *find_output(struct estimates *estimates, uint64_t name, bool make)
{
    struct output_slot *least = NULL;
    for (unsigned i = 0; i < PROBES; i++) {
        struct output_slot *slot = &estimates->outputs[(name + i) % OUTPUT_SLOTS];
        if (figure_load(&slot->name) == name)
            return slot;
        if (!least || figure_load(&slot->calls) < figure_load(&least->calls))
            least = slot;
    }
    if (!make)
        return NULL;
    figure_store(&least->name, name);
    figure_store(&least->calls, 0);
    figure_store_real(&least->mean, 0);
    for (size_t i = 0; i < LENGTH_BINS; i++)
        atomic_store_explicit(&least->lengths[i], 0, memory_order_relaxed);
    figure_store_real(&least->high, 0);
    return least;
}

static uint64_t output_name(const struct estimate_facts *facts, uint64_t model, bool any_key)
{
    return figure_mix(model, any_key ? 0 : facts->key | 1) | 1;
}

static int64_t choices_of(const struct estimate_facts *facts)
{
    return facts->choices > 0 ? facts->choices : 1;
}

static void learn_output_as(struct estimates *estimates, uint64_t name, double length, size_t bin)
{
    struct output_slot *slot = find_output(estimates, name, true);
    uint64_t calls = figure_load(&slot->calls);
    double weight = calls < 64 ? 1 / ((double)calls + 1) : 1.0 / 64;
    double mean = figure_load_real(&slot->mean);
    figure_store_real(&slot->mean, mean + (length - mean) * weight);
    histogram_add(slot->lengths, LENGTH_BINS, bin);
    figure_store(&slot->calls, calls + 1);
    if (calls + 1 < ENOUGH_LENGTHS || !is_summed_up(calls + 1))
        return;
    size_t high = histogram_find(slot->lengths, LENGTH_BINS, HIGH_PER_MILLE);
    figure_store_real(&slot->high,
                      high < LENGTH_BINS ? length_of(high) : figure_load_real(&slot->mean));
}

static void learn_output(struct estimates *estimates, const struct estimate_facts *facts,
                         uint64_t model, int64_t tokens)
{
    double length = (double)tokens / (double)choices_of(facts);
    if (tokens < 0)
        return;
    size_t bin = length_bin(length);
    learn_output_as(estimates, output_name(facts, model, false), length, bin);
    learn_output_as(estimates, output_name(facts, model, true), length, bin);
}

/* Of one choice. */
static int64_t output_most(const struct estimate_facts *facts)
{
    int64_t most = facts->max_tokens > 0      ? facts->max_tokens
                   : facts->output_tokens > 0 ? facts->output_tokens
                                              : ESTIMATE_UNKNOWN_OUTPUT_TOKENS;
    return most > LEAST_OUTPUT_TOKENS ? most : LEAST_OUTPUT_TOKENS;
}

static void expect_output(struct estimates *estimates, const struct estimate_facts *facts,
                          uint64_t model, double *likely, double *mean)
{
    struct output_slot *slot = find_output(estimates, output_name(facts, model, false), false);
    if (!slot || figure_load(&slot->calls) < ENOUGH_LENGTHS)
        slot = find_output(estimates, output_name(facts, model, true), false);
    *likely = FIRST_OUTPUT_TOKENS;
    *mean = FIRST_OUTPUT_TOKENS / 4.0;
    if (!slot || figure_load(&slot->calls) < ENOUGH_LENGTHS)
        return;
    *mean = figure_load_real(&slot->mean);
    *likely = figure_load_real(&slot->high);
    *likely = *likely > 0 ? *likely : *mean;
}

/* --------------------------------------------------------------------------------- together */

void estimate_make(struct estimates *estimates, const struct estimate_facts *facts,
                   struct estimate *out)
{
    uint64_t model = hash_name(facts->model);
    double above, likely, mean, input = input_expect(&estimates->inputs, facts, model, &above);
    int64_t most = output_most(facts), choices = choices_of(facts);
    expect_output(estimates, facts, model, &likely, &mean);
    out->input_bound = input_bound(facts);
    out->input_mean = whole(input, out->input_bound);
    out->input_likely = whole(input * (above > 1 ? above : 1), out->input_bound);
    out->output_bound = times(may_compact(facts) ? sum(most, most) : most, choices);
    out->output_likely = times(whole(likely, most), choices);
    out->output_mean = times(whole(mean, most), choices);
    if (out->output_mean > out->output_likely)
        out->output_mean = out->output_likely;
}

int64_t estimate_count(struct estimates *estimates, struct text model, struct text body,
                       struct estimate_facts *facts)
{
    double above;
    facts->tokenizer = tokenizer_of(model);
    estimate_look(body, NULL, facts);
    double input = input_expect(&estimates->inputs, facts, hash_name(facts->model), &above);
    return whole(input, input_bound(facts));
}

void estimate_learn(struct estimates *estimates, const struct estimate_facts *facts,
                    int64_t input_tokens, int64_t output_tokens)
{
    uint64_t model = hash_name(facts->model);
    if (input_tokens > 0 && input_tokens <= LEARNT_INPUT_MAX)
        input_learn(&estimates->inputs, facts, model, (double)input_tokens);
    learn_output(estimates, facts, model, output_tokens);
}
