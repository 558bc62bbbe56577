/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "gateway/base/member.h"
#include "providers/openai.h"

/* No call has more of anything; what claims to is nonsense and not booked. */
static const int64_t COUNT_MAX = INT64_C(1000000000000);
/* Nor does one cost more than 10,000 dollars. */
static const double TOLD_MAX_NANOS = 1e13;

/* What a usage object said; -1 = nothing. */
struct figures {
    int64_t input, output, total, cached, cache_write, reasoning;
    int64_t audio_input, audio_output, image, image_output, seconds, rankings, searches;
    int64_t told; /* what it costs, in nano-dollars */
};

/* One name that a figure goes by. Servers send several of them at once; the one with the least rank
 * among a figure's names counts. */
struct figure_name {
    struct text name;
    unsigned char offset; /* in struct figures */
    unsigned char rank;
};

#define NAME(rank, name, figure)                                                        \
    {                                                                                   \
        {name, sizeof(name) - 1}, (unsigned char)offsetof(struct figures, figure), rank \
    }

/* Of cached: OpenAI and most; DeepSeek; Together and Moonshot; Mistral; Claude behind a gateway. */
static const struct figure_name own_names[] = {
    NAME(0, "prompt_tokens", input),
    NAME(0, "completion_tokens", output),
    NAME(0, "total_tokens", total),
    NAME(1, "input_tokens", input),
    NAME(1, "output_tokens", output),
    NAME(3, "prompt_cache_hit_tokens", cached),
    NAME(4, "cached_tokens", cached),
    NAME(5, "num_cached_tokens", cached),
    NAME(6, "cache_read_input_tokens", cached),
    NAME(2, "cache_creation_input_tokens", cache_write),
    NAME(3, "reasoning_tokens", reasoning),
    NAME(0, "seconds", seconds),
    NAME(1, "prompt_audio_seconds", seconds),
    NAME(0, "search_units", rankings),
    NAME(2, "num_sources_used", searches), /* xAI */
    NAME(0, "cost", told),
};
static const struct figure_name prompt_names[] = {
    NAME(0, "cached_tokens", cached),
    NAME(0, "cache_write_tokens", cache_write),
    NAME(0, "audio_tokens", audio_input),
    NAME(1, "image_tokens", image),
};
static const struct figure_name inputs_names[] = {
    NAME(1, "cached_tokens", cached),
    NAME(1, "cache_write_tokens", cache_write),
    NAME(1, "audio_tokens", audio_input),
    NAME(0, "image_tokens", image),
};
static const struct figure_name input_names[] = {
    NAME(2, "cached_tokens", cached),
    NAME(2, "audio_tokens", audio_input),
};
static const struct figure_name completion_names[] = {
    NAME(0, "reasoning_tokens", reasoning),
    NAME(0, "audio_tokens", audio_output),
    NAME(0, "image_tokens", image_output),
};
static const struct figure_name outputs_names[] = {
    NAME(1, "reasoning_tokens", reasoning),
    NAME(1, "audio_tokens", audio_output),
    NAME(1, "image_tokens", image_output),
};
static const struct figure_name output_names[] = {
    NAME(2, "reasoning_tokens", reasoning),
    NAME(2, "audio_tokens", audio_output),
};
/* Of the web: Claude behind a gateway; xAI. */
static const struct figure_name tool_names[] = {NAME(0, "web_search_requests", searches)};
static const struct figure_name side_names[] = {NAME(1, "web_search_calls", searches)};
static const struct figure_name cost_names[] = {NAME(0, "total_cost", told)};

/* The usage object itself, and the objects in it. */
struct group {
    struct text name;
    const struct figure_name *names;
    size_t count;
};

#define GROUP(name, list)                                                \
    {                                                                    \
        {name, sizeof(name) - 1}, list, sizeof(list) / sizeof((list)[0]) \
    }

static const struct group own_group = GROUP("", own_names);
static const struct group groups[] = {
    GROUP("prompt_tokens_details", prompt_names),
    GROUP("completion_tokens_details", completion_names),
    GROUP("input_tokens_details", inputs_names),
    GROUP("output_tokens_details", outputs_names),
    GROUP("input_token_details", input_names),
    GROUP("output_token_details", output_names),
    GROUP("server_tool_use", tool_names),
    GROUP("server_side_tool_usage_details", side_names),
    GROUP("cost", cost_names),
};

enum { FIGURES = sizeof(struct figures) / sizeof(int64_t), NO_RANK = 255 };

/* A figure may come with a fraction: tokens as 1000.0, from servers whose numbers are all of that
 * kind; seconds (<begun>) with any, for they are priced when they have begun. */
static bool count_plain(struct text value, bool begun, int64_t *count)
{
    if (member_count(value, COUNT_MAX, count))
        return true;
    size_t dot = text_find_byte(value, '.');
    int64_t fraction = 0;
    if (dot == SIZE_MAX ||
        !member_count(text_head(text_from(value, dot + 1), 18), INT64_MAX, &fraction) ||
        (fraction > 0 && !begun) || !member_count(text_head(value, dot), COUNT_MAX - 1, count))
        return false;
    *count += fraction > 0;
    return true;
}

/* OpenRouter's and Perplexity's: dollars, with an exponent where it is small. */
static bool count_nanos(struct text value, int64_t *count)
{
    char number[32] = "";
    if (!value.len || value.len >= sizeof(number) || value.at[0] < '0' || value.at[0] > '9')
        return false;
    memcpy(number, value.at, value.len);
    double nanos = ceil(strtod(number, NULL) * 1e9);
    *count = nanos > 0 && nanos <= TOLD_MAX_NANOS ? (int64_t)nanos : 0;
    return true;
}

static bool count_figure(const struct figure_name *name, struct text value, int64_t *count)
{
    switch (name->offset) {
    case offsetof(struct figures, seconds):
        return count_plain(value, true, count);
    case offsetof(struct figures, told):
        return count_nanos(value, count);
    default:
        return count_plain(value, false, count);
    }
}

/* What was read so far, and how trusted the names were that it came from. */
struct reading {
    struct figures figures;
    unsigned char ranks[FIGURES];
};

static void take_figure(struct reading *reading, const struct figure_name *name, struct text value)
{
    size_t figure = name->offset / sizeof(int64_t);
    int64_t count;
    if (name->rank >= reading->ranks[figure] || !count_figure(name, value, &count))
        return;
    memcpy((char *)&reading->figures + name->offset, &count, sizeof(count));
    reading->ranks[figure] = name->rank;
}

static const struct group *group_of(struct text name)
{
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
        if (text_same_name(groups[i].name, name))
            return &groups[i];
    return NULL;
}

static void take_member(struct reading *reading, const struct group *group, struct text name,
                        struct text value)
{
    for (size_t i = 0; i < group->count; i++)
        if (text_same_name(group->names[i].name, name)) {
            take_figure(reading, &group->names[i], value);
            return;
        }
}

static void read_details(struct reading *reading, const struct group *group, struct text object)
{
    struct text name, value;
    while (group && member_next(&object, &name, &value))
        take_member(reading, group, name, value);
}

static void read_figures(struct reading *reading, struct text usage)
{
    struct text name, value;
    while (member_next(&usage, &name, &value)) {
        if (value.at[0] == '{')
            read_details(reading, group_of(name), value);
        else
            take_member(reading, &own_group, name, value);
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t or_zero(int64_t figure)
{
    return figure < 0 ? 0 : figure;
}

/* What the total has beyond prompt and answer. Where nothing says what it is, it was thought: so
 * Gemini behind OpenAI's words, its own and others'. */
static int64_t unnamed_thoughts(const struct figures *f)
{
    int64_t rest = f->total - or_zero(f->input) - or_zero(f->output);
    bool is_named = f->reasoning > 0 || f->seconds >= 0 || f->audio_input > 0;
    return f->input < 0 || f->output < 0 || is_named || rest < 0 ? 0 : rest;
}

/* Bring the figures into one form: parts are within their whole, reasoning is within the output.
 * <thinks>: it is an answer that may be thought about. */
static void settle(const struct figures *given, bool thinks, struct answer *answer)
{
    struct usage *usage = &answer->usage;
    struct figures figures = *given, *f = &figures;
    int64_t input = or_zero(f->input), output = or_zero(f->output);
    int64_t aside = or_zero(f->cached) + or_zero(f->cache_write);
    if (f->input < 0 && f->output < 0)
        input = or_zero(f->total); /* embeddings and rerank of some say only this */
    else if (f->input < 0 && f->total > output)
        input = f->total - output; /* it said something that is no count */
    else if (aside > 0 && f->total == input + output + aside)
        input += aside; /* Claude behind some gateways, whose prompt is without the cache */
    else if (thinks && unnamed_thoughts(f) > 0)
        answer->guessed_tokens = f->reasoning = unnamed_thoughts(f);
    /* xAI's completion_tokens are without the reasoning: the total tells. So are those of Gemini
     * behind some gateways: there is more reasoning than output. */
    if (f->reasoning > output || (f->reasoning > 0 && f->total == input + output + f->reasoning))
        output += f->reasoning;
    /* Mistral's prompt_tokens are without those of the audio, which it does not always name. */
    int64_t audio = or_zero(f->audio_input);
    if (f->seconds >= 0 && audio == 0 && f->total > input + output)
        audio = f->total - input - output;
    if (audio > input && f->total == input + output + audio)
        input += audio;
    usage->input_tokens = input;
    usage->output_tokens = output;
    usage->cached_tokens = least(or_zero(f->cached), input);
    usage->cache_write_tokens = least(or_zero(f->cache_write), input);
    usage->reasoning_tokens = least(or_zero(f->reasoning), output);
    usage->audio_input_tokens = least(audio, input);
    usage->audio_output_tokens = least(or_zero(f->audio_output), output);
    usage->image_tokens = least(or_zero(f->image), input);
    usage->image_output_tokens = least(or_zero(f->image_output), output);
    usage->units = f->seconds >= 0 ? f->seconds : or_zero(f->rankings);
    usage->searches = or_zero(f->searches);
    usage->told_nanos = or_zero(f->told);
}

static bool is_generative(enum operation operation)
{
    return operation == OPERATION_CHAT || operation == OPERATION_COMPLETION ||
           operation == OPERATION_RESPONSE;
}

void openai_read_usage(struct answer *answer, struct text usage)
{
    struct reading reading;
    const struct figures *figures = &reading.figures;
    if (usage.len == 0 || usage.at[0] != '{')
        return;
    memset(&reading.figures, -1, sizeof(reading.figures));
    memset(reading.ranks, NO_RANK, sizeof(reading.ranks));
    read_figures(&reading, usage);
    if (reading.figures.output < 0 && figures->input > 0 && figures->total > figures->input &&
        is_generative(answer->operation))
        reading.figures.output = figures->total - figures->input;
    bool says_output = figures->output >= 0;
    bool says_anything = says_output || figures->input >= 0 || figures->total >= 0 ||
                         figures->seconds >= 0 || figures->rankings >= 0;
    if (!says_anything)
        return;
    answer->late_events = answer->late_bytes = answer->guessed_tokens = 0;
    settle(figures, is_generative(answer->operation), answer);
    if (answer->operation == OPERATION_IMAGE &&
        figures->image_output < 0) /* nothing else is made */
        answer->usage.image_output_tokens = answer->usage.output_tokens;
    if (says_output || !is_generative(answer->operation))
        answer->usage_seen = true;
    answer->input_unsaid = says_output && figures->input < 0 && answer->usage.input_tokens == 0;
}

/* Pictures that the model had made by another one: its tokens are in no other figure. */
void openai_add_tools(struct answer *answer, struct text tools)
{
    struct text pictures = member_find(tools, TEXT("image_gen"));
    int64_t input = 0, output = 0;
    if (!answer->usage_seen || !pictures.len || pictures.at[0] != '{')
        return;
    member_count(member_find(pictures, TEXT("input_tokens")), COUNT_MAX, &input);
    member_count(member_find(pictures, TEXT("output_tokens")), COUNT_MAX, &output);
    answer->usage.input_tokens += input;
    answer->usage.output_tokens += output;
    answer->usage.image_output_tokens += output;
}

/* Some put it into quotes. */
void openai_read_duration(struct answer *answer, struct text duration)
{
    struct text quoted = member_string(duration);
    int64_t seconds;
    if (!answer->usage_seen && count_plain(quoted.at ? quoted : duration, true, &seconds))
        answer->usage.units = seconds;
}

void openai_read_meta(struct answer *answer, struct text meta)
{
    struct text billed = member_find(meta, TEXT("billed_units"));
    int64_t rankings;
    if (!member_count(member_find(billed, TEXT("search_units")), COUNT_MAX, &rankings))
        return;
    answer->usage.units = rankings;
    answer->usage_seen = true;
}
