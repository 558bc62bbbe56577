/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/member.h"
#include "providers/openai.h"

/* No call has more of anything; what claims to is nonsense and not booked. */
static const int64_t COUNT_MAX = INT64_C(1000000000000);

/* What a usage object said; -1 = nothing. */
struct figures {
    int64_t input, output, total, cached, cache_write, reasoning;
    int64_t audio_input, audio_output, image, seconds, searches;
};

/* One name that a figure goes by. Servers send several of them at once; the first in the table
 * that was given counts, so the order of a figure's names is the order of trust. */
struct figure_name {
    struct text group; /* the object in which it stands, or empty: the usage object itself */
    struct text name;
    size_t offset; /* in struct figures */
};

#define NAME(group, name, figure)                                                              \
    {                                                                                          \
        {group, sizeof(group) - 1}, {name, sizeof(name) - 1}, offsetof(struct figures, figure) \
    }

/* clang-format off */
static const struct figure_name figure_names[] = {
    NAME("", "prompt_tokens", input),
    NAME("", "input_tokens", input),
    NAME("", "completion_tokens", output),
    NAME("", "output_tokens", output),
    NAME("", "total_tokens", total),
    /* cached: OpenAI and most; DeepSeek; Together and Moonshot; Mistral; Claude behind a gateway */
    NAME("prompt_tokens_details", "cached_tokens", cached),
    NAME("input_tokens_details", "cached_tokens", cached),
    NAME("input_token_details", "cached_tokens", cached),
    NAME("", "prompt_cache_hit_tokens", cached),
    NAME("", "cached_tokens", cached),
    NAME("", "num_cached_tokens", cached),
    NAME("", "cache_read_input_tokens", cached),
    NAME("prompt_tokens_details", "cache_write_tokens", cache_write),
    NAME("input_tokens_details", "cache_write_tokens", cache_write),
    NAME("", "cache_creation_input_tokens", cache_write),
    NAME("completion_tokens_details", "reasoning_tokens", reasoning),
    NAME("output_tokens_details", "reasoning_tokens", reasoning),
    NAME("output_token_details", "reasoning_tokens", reasoning),
    NAME("", "reasoning_tokens", reasoning),
    NAME("prompt_tokens_details", "audio_tokens", audio_input),
    NAME("input_tokens_details", "audio_tokens", audio_input),
    NAME("input_token_details", "audio_tokens", audio_input),
    NAME("completion_tokens_details", "audio_tokens", audio_output),
    NAME("output_tokens_details", "audio_tokens", audio_output),
    NAME("output_token_details", "audio_tokens", audio_output),
    NAME("input_tokens_details", "image_tokens", image),
    NAME("prompt_tokens_details", "image_tokens", image),
    NAME("", "seconds", seconds),
    NAME("", "prompt_audio_seconds", seconds),
    NAME("", "search_units", searches),
};
/* clang-format on */

enum {
    FIGURE_NAMES = sizeof(figure_names) / sizeof(figure_names[0]),
    FIGURES = sizeof(struct figures) / sizeof(int64_t)
};

/* Seconds may come with a fraction: they are priced by the begun second. */
static bool count_seconds(struct text value, int64_t *count)
{
    size_t dot = text_find_byte(value, '.');
    if (dot == SIZE_MAX)
        return member_count(value, COUNT_MAX, count);
    int64_t fraction = 0;
    struct text digits = text_head(text_from(value, dot + 1), 18);
    if (!member_count(text_head(value, dot), COUNT_MAX - 1, count) ||
        !member_count(digits, INT64_MAX, &fraction))
        return false;
    *count += fraction > 0;
    return true;
}

/* The rows of a group, as bits: its members are compared with no others. */
static uint32_t rows_of(struct text group)
{
    _Static_assert(FIGURE_NAMES <= 32, "a bit for each");
    uint32_t rows = 0;
    for (size_t i = 0; i < FIGURE_NAMES; i++)
        rows |= (uint32_t)text_equal(figure_names[i].group, group) << i;
    return rows;
}

/* Take the figures out of one object: the usage object (empty <group>) or one inside it. The rank
 * of the name that gave a figure is kept, so that a more trusted one replaces it. */
static void read_group(struct text object, struct text group, struct figures *figures,
                       size_t ranks[FIGURES])
{
    struct text name, value;
    uint32_t rows = rows_of(group);
    while (member_next(&object, &name, &value)) {
        if (value.at[0] == '{' && group.len == 0 && name.len > 0) {
            read_group(value, name, figures, ranks);
            continue;
        }
        for (uint32_t left = rows; left; left &= left - 1) {
            size_t i = (size_t)__builtin_ctz(left);
            const struct figure_name *at = &figure_names[i];
            if (!text_same_name(at->name, name))
                continue;
            int64_t *figure = (int64_t *)(void *)((char *)figures + at->offset);
            size_t *rank = &ranks[at->offset / sizeof(int64_t)];
            int64_t count;
            bool is_seconds = at->offset == offsetof(struct figures, seconds);
            if (i < *rank && (is_seconds ? count_seconds(value, &count)
                                         : member_count(value, COUNT_MAX, &count))) {
                *figure = count;
                *rank = i;
            }
            break;
        }
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
    return f->output < 0 || is_named || rest < 0 ? 0 : rest;
}

/* Bring the figures into one form: parts are within their whole, reasoning is within the output.
 * <thinks>: it is an answer that may be thought about. */
static void settle(const struct figures *given, bool thinks, struct usage *usage)
{
    struct figures figures = *given, *f = &figures;
    int64_t input = or_zero(f->input), output = or_zero(f->output);
    int64_t aside = or_zero(f->cached) + or_zero(f->cache_write);
    if (f->input < 0 && f->output < 0)
        input = or_zero(f->total); /* embeddings and rerank of some say only this */
    else if (aside > 0 && f->total == input + output + aside)
        input += aside; /* Claude behind some gateways, whose prompt is without the cache */
    else if (thinks && unnamed_thoughts(f) > 0)
        f->reasoning = unnamed_thoughts(f);
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
    usage->units = f->seconds >= 0 ? f->seconds : or_zero(f->searches);
}

static bool is_generative(enum operation operation)
{
    return operation == OPERATION_CHAT || operation == OPERATION_COMPLETION ||
           operation == OPERATION_RESPONSE;
}

void openai_read_usage(struct answer *answer, struct text usage)
{
    struct figures figures;
    size_t ranks[FIGURES];
    memset(&figures, -1, sizeof(figures));
    for (size_t i = 0; i < FIGURES; i++)
        ranks[i] = SIZE_MAX;
    if (usage.len == 0 || usage.at[0] != '{')
        return;
    read_group(usage, TEXT(""), &figures, ranks);
    bool says_output = figures.output >= 0;
    bool says_anything = says_output || figures.input >= 0 || figures.total >= 0 ||
                         figures.seconds >= 0 || figures.searches >= 0;
    if (!says_anything)
        return;
    settle(&figures, is_generative(answer->operation), &answer->usage);
    if (says_output || !is_generative(answer->operation))
        answer->usage_seen = true;
}

/* Some put it into quotes. */
void openai_read_duration(struct answer *answer, struct text duration)
{
    struct text quoted = member_string(duration);
    int64_t seconds;
    if (!answer->usage_seen && count_seconds(quoted.at ? quoted : duration, &seconds))
        answer->usage.units = seconds;
}

void openai_read_meta(struct answer *answer, struct text meta)
{
    struct text billed = member_find(meta, TEXT("billed_units"));
    int64_t searches;
    if (!member_count(member_find(billed, TEXT("search_units")), COUNT_MAX, &searches))
        return;
    answer->usage.units = searches;
    answer->usage_seen = true;
}
