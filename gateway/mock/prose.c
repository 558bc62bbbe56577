/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "gateway/mock/inside.h"

/* A model's voice needs not many words. Each is one token, with the space before it. */
static const char *const lexicon[] = {
    " the",     " a",        " of",     " and",     " water",   " stone",  " river", " under",
    " light",   " moves",    " slowly", " before",  " morning", " over",   " quiet", " fields",
    " with",    " every",    " answer", " finds",   " its",     " place",  " in",    " order",
    " people",  " build",    " small",  " bridges", " between", " ideas",  " that",  " hold",
    " time",    " measures", " change", " as",      " wind",    " shapes", " sand",  " into",
    " figures", " counted",  " once",   " are",     " kept",    " for",    " later", " use",
    " when",    " lines",    " meet",   " paper",   " they",    " make",   " a",     " map",
    " which",   " leads",    " home",   " through", " long",    " winter", " roads", " again",
};

enum { LEXICON = sizeof(lexicon) / sizeof(lexicon[0]), SENTENCE = 12, SAID_PIECE = 4 };

/* SplitMix64, as published by Steele, Lea and Flood (OOPSLA 2014). */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

uint64_t prose_seed(uint64_t seed, struct text about)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ mix(seed); /* FNV-1a */
    for (size_t i = 0; i < about.len; i++)
        hash = (hash ^ (unsigned char)about.at[i]) * UINT64_C(1099511628211);
    return mix(hash);
}

struct text prose_piece(const struct prose *prose, int64_t i, char out[PIECE_BYTES])
{
    if (prose->said.len > 0)
        return text_head(text_from(prose->said, (size_t)i * SAID_PIECE), SAID_PIECE);
    int64_t place = i % SENTENCE;
    if (place == SENTENCE - 1)
        return TEXT(".");
    const char *word = lexicon[mix(prose->seed + (uint64_t)i) % LEXICON];
    int len = snprintf(out, PIECE_BYTES, "%s", i == 0 ? word + 1 : word);
    if (place == 0) {
        size_t first = i == 0 ? 0 : 1;
        out[first] = (char)(out[first] - 'a' + 'A');
    }
    return (struct text){out, (size_t)len};
}

int64_t prose_tokens_of(struct text said)
{
    return (int64_t)((said.len + SAID_PIECE - 1) / SAID_PIECE);
}

static bool is_gap(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* A word is a token, a longer one is one for each six bytes begun. */
int64_t prose_count_words(struct text words)
{
    int64_t tokens = 0;
    size_t run = 0;
    for (size_t i = 0; i < words.len; i++) {
        run = is_gap(words.at[i]) ? 0 : run + 1;
        tokens += run % 6 == 1;
    }
    return tokens;
}

/* Numbers: what is asked may be tokens already. */
static int64_t count_numbers(const char *at, const char *end)
{
    int64_t numbers = 0;
    bool inside = false;
    for (; at < end; at++) {
        bool is_digit = *at >= '0' && *at <= '9';
        numbers += is_digit && !inside;
        inside = is_digit;
    }
    return numbers;
}

int64_t prose_count_json(struct text json)
{
    int64_t tokens = 0;
    const char *at = json.at, *end = json.at + json.len;
    while (at < end) {
        const char *quote = memchr(at, '"', (size_t)(end - at));
        tokens += count_numbers(at, quote != NULL ? quote : end);
        if (quote == NULL)
            break;
        const char *close = member_string_end(quote, end);
        struct text inside = {quote + 1, (size_t)(close - quote) - 1};
        at = close < end ? close + 1 : end;
        while (at < end && is_gap(*at))
            at++;
        if (at < end && *at == ':')
            continue; /* a name */
        tokens += text_starts(inside, TEXT("data:")) ? 85 : prose_count_words(inside);
    }
    return tokens;
}
