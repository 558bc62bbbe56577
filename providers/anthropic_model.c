/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: what can be asked of which Claude. By its generation, so that the next ones are
 * taken for like the last one.
 *
 * Sources: Anthropic's documents (models, extended and adaptive thinking, effort, structured
 * outputs, migration guides), and what its servers refused in recorded traffic.
 */
#include "providers/anthropic.h"

enum { NAME_MAX_BYTES = 96 };

/* The name behind "claude-", its dots as dashes: "opus-4-6-20260205" of "us.anthropic.claude-opus-
 * 4.6@20260205". Empty when it is no Claude. */
static struct text plain_name(struct text name, char room[NAME_MAX_BYTES])
{
    size_t at = text_find(name, TEXT("claude-"));
    if (at == SIZE_MAX)
        return TEXT("");
    struct text rest = text_head(text_from(name, at + 7), NAME_MAX_BYTES);
    for (size_t i = 0; i < rest.len; i++)
        room[i] = rest.at[i] == '.' || rest.at[i] == '@' || rest.at[i] == ':' ? '-' : rest.at[i];
    return (struct text){room, rest.len};
}

/* 406 of "opus-4-6-20260205", 305 of "3-5-sonnet-latest"; 0 when it says none. Numbers of three
 * digits and more are dates. */
static unsigned generation_of(struct text name)
{
    struct text word;
    uint64_t number;
    unsigned major = 0;
    while (text_next(&name, '-', &word)) {
        bool is_number = text_number(word, 99, &number);
        if (is_number && major)
            return major * 100 + (unsigned)number;
        if (is_number)
            major = (unsigned)number;
        else if (major)
            break; /* a date, or another word: nothing behind it counts */
    }
    return major * 100;
}

static bool is_of(struct text name, const char *family)
{
    return text_find(name, text_of(family)) != SIZE_MAX;
}

struct anthropic_model anthropic_model_of(struct text name)
{
    char room[NAME_MAX_BYTES];
    struct text plain = plain_name(name, room);
    if (plain.len == 0)
        return (struct anthropic_model){.thinks = true};
    unsigned generation = generation_of(plain);
    bool is_opus = is_of(plain, "opus");
    bool is_top = is_of(plain, "fable") || is_of(plain, "mythos");
    if (is_top && generation == 0)
        generation = 500; /* a preview */
    return (struct anthropic_model){
        .thinks = generation >= 307 || generation == 0,
        .always_thinks = is_top || generation > 500,
        .adapts = is_top || generation >= 406,
        .no_budget = is_top || generation >= 407,
        .no_sampling = is_top || generation >= 407,
        .has_effort = is_top || generation >= 406 || (is_opus && generation >= 405),
        .has_max = is_top || generation >= 406,
        .has_xhigh = is_top || generation >= 407,
        .has_schemas = is_top || generation >= 405 || (is_opus && generation >= 401),
        .no_force = generation > 500,
        .takes_system = is_top || (is_opus && generation >= 408),
    };
}
