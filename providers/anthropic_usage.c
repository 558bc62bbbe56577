/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: tokens. Anthropic's input_tokens are without those that were read from its cache or
 * written to it; ours are all of them.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"

/* No call has more of anything; what claims to is nonsense. */
static const int64_t COUNT_MAX = INT64_C(1000000000000);

/* "inference_geo": "us" makes all tokens dearer (docs.claude.com, "Pricing", "Data residency"). */
enum { REGION_PERCENT = 10 };

void anthropic_figures_clear(struct anthropic_figures *f)
{
    *f = (struct anthropic_figures){-1, -1, -1, -1, -1, -1, -1, -1};
}

/* What is said again replaces what was said; a zero that follows a figure is one that was left
 * out by who copies this dialect. */
static void take(struct text value, int64_t *figure)
{
    int64_t count;
    if (member_count(value, COUNT_MAX, &count) && (count > 0 || *figure < 0))
        *figure = count;
}

static void add(int64_t *figure, int64_t more)
{
    if (more > 0)
        *figure = *figure < 0 ? more : more > COUNT_MAX - *figure ? COUNT_MAX : *figure + more;
}

static void read_named(struct text usage, struct anthropic_figures *f, struct text *iterations);

/* What was done beside the message: a compaction of what was said before, an advisor's messages. It
 * is paid for and stands in no total (docs.claude.com, "Compaction"). */
static void add_iterations(struct text iterations, struct anthropic_figures *f)
{
    struct text name, item;
    while (member_next(&iterations, &name, &item)) {
        struct anthropic_figures aside;
        if (item.at[0] != '{' ||
            text_equal(member_string(member_find(item, TEXT("type"))), TEXT("message")))
            continue;
        anthropic_figures_clear(&aside);
        read_named(item, &aside, NULL);
        add(&f->input, aside.input);
        add(&f->cached, aside.cached);
        add(&f->cache_write, aside.cache_write);
        add(&f->write_1h, aside.write_1h);
        add(&f->output, aside.output);
    }
}

static void read_named(struct text usage, struct anthropic_figures *f, struct text *iterations)
{
    struct text name, value;
    while (usage.len && member_next(&usage, &name, &value)) {
        if (text_equal(name, TEXT("input_tokens")))
            take(value, &f->input);
        else if (text_equal(name, TEXT("output_tokens")))
            take(value, &f->output);
        else if (text_equal(name, TEXT("cache_read_input_tokens")))
            take(value, &f->cached);
        else if (text_equal(name, TEXT("cache_creation_input_tokens")))
            take(value, &f->cache_write);
        else if (text_equal(name, TEXT("cache_creation")))
            take(member_find(value, TEXT("ephemeral_1h_input_tokens")), &f->write_1h);
        else if (text_equal(name, TEXT("output_tokens_details")))
            take(member_find(value, TEXT("thinking_tokens")), &f->thinking);
        else if (text_equal(name, TEXT("inference_geo")) &&
                 text_equal(member_string(value), TEXT("us")))
            f->surcharge = REGION_PERCENT;
        else if (text_equal(name, TEXT("server_tool_use")))
            take(member_find(value, TEXT("web_search_requests")), &f->searches);
        else if (iterations && text_equal(name, TEXT("iterations")) && value.at[0] == '[')
            *iterations = value;
    }
}

void anthropic_read_figures(struct text usage, struct anthropic_figures *f)
{
    struct text iterations = {NULL, 0};
    read_named(usage, f, &iterations);
    if (iterations.at)
        add_iterations(iterations, f);
}

static int64_t or_zero(int64_t figure)
{
    return figure < 0 ? 0 : figure;
}

void anthropic_settle(const struct anthropic_figures *f, struct usage *usage)
{
    int64_t output = or_zero(f->output), thinking = or_zero(f->thinking);
    usage->cached_tokens = or_zero(f->cached);
    usage->cache_write_tokens = or_zero(f->cache_write);
    usage->cache_write_1h_tokens = or_zero(f->write_1h);
    if (usage->cache_write_tokens < usage->cache_write_1h_tokens) /* only the parts were told */
        usage->cache_write_tokens = usage->cache_write_1h_tokens;
    usage->input_tokens = or_zero(f->input) + usage->cached_tokens + usage->cache_write_tokens;
    usage->output_tokens = output;
    usage->reasoning_tokens = thinking < output ? thinking : output;
    usage->searches = or_zero(f->searches);
    usage->surcharge_percent = or_zero(f->surcharge);
}

/* ----------------------------------------------------------------------------- written */

static const struct text known[] = {
    {"input_tokens", 12},  {"cache_creation_input_tokens", 27}, {"cache_read_input_tokens", 23},
    {"output_tokens", 13}, {"output_tokens_details", 21},
};

enum { KNOWN = sizeof(known) / sizeof(known[0]), NAMES_MAX = 32 };

/* The other members of <extras>, but for those that <more> has as well. */
static void put_older(struct buffer *out, struct text extras, struct text more)
{
    struct text names[NAMES_MAX], name, value;
    size_t count = 0;
    for (; count < KNOWN; count++)
        names[count] = known[count];
    while (more.len && count < NAMES_MAX && member_next(&more, &name, &value))
        names[count++] = name;
    anthropic_put_extras(out, extras, names, count);
}

static int64_t without(int64_t figure, int64_t part)
{
    return figure > part ? figure - part : 0;
}

/* What <extras> say again of iterations is not in the totals, as it was not when it came. */
static void take_off(struct usage *usage, struct text extras)
{
    struct text name, value;
    while (extras.len && member_next(&extras, &name, &value)) {
        struct anthropic_figures aside;
        if (!text_equal(name, TEXT("iterations")) || value.at[0] != '[')
            continue;
        anthropic_figures_clear(&aside);
        add_iterations(value, &aside);
        int64_t cached = or_zero(aside.cached), written = or_zero(aside.cache_write);
        usage->input_tokens = without(usage->input_tokens, or_zero(aside.input) + cached + written);
        usage->cached_tokens = without(usage->cached_tokens, cached);
        usage->cache_write_tokens = without(usage->cache_write_tokens, written);
        usage->output_tokens = without(usage->output_tokens, or_zero(aside.output));
    }
}

void anthropic_put_usage(struct buffer *out, const struct usage *told, struct text extras,
                         struct text more)
{
    struct usage shown = *told, *usage = &shown;
    take_off(usage, extras);
    take_off(usage, more);
    /* Some providers count a token as both read and written; here it is one of them, for clients
     * add them up. */
    int64_t rest = usage->input_tokens - usage->cached_tokens;
    int64_t room = rest > 0 ? rest : 0;
    int64_t written = usage->cache_write_tokens < room ? usage->cache_write_tokens : room;
    put_open(out, "usage", '{');
    put_number(out, "input_tokens", room - written);
    put_number(out, "cache_creation_input_tokens", written);
    put_number(out, "cache_read_input_tokens", usage->cached_tokens);
    put_number(out, "output_tokens", usage->output_tokens);
    if (usage->reasoning_tokens > 0) {
        put_open(out, "output_tokens_details", '{');
        put_number(out, "thinking_tokens", usage->reasoning_tokens);
        put_literal(out, "}");
    }
    put_older(out, extras, more);
    anthropic_put_extras(out, more, known, KNOWN);
    put_literal(out, "}");
}

/* ------------------------------------------------------------------------- count_tokens */

void anthropic_put_count(struct buffer *out, int64_t tokens)
{
    put_literal(out, "{");
    put_number(out, "input_tokens", tokens);
    put_literal(out, "}");
}
