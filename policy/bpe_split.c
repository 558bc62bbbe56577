/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/bpe_inside.h"
#include "policy/bpe_letters.h"

/*
 * The library says how to split by regular expressions (tiktoken_ext/openai_public.py):
 *
 *   cl100k  '(?i:[sdmt]|ll|ve|re) | [^\r\n\p{L}\p{N}]?+\p{L}++ | \p{N}{1,3}+
 *           |  ?[^\s\p{L}\p{N}]++[\r\n]*+ | \s++$ | \s*[\r\n] | \s+(?!\S) | \s
 *   o200k   [^\r\n\p{L}\p{N}]?[U]*[L]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 *           | [^\r\n\p{L}\p{N}]?[U]+[L]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 *           | \p{N}{1,3} |  ?[^\s\p{L}\p{N}]+[\r\n/]* | \s*[\r\n]+ | \s+(?!\S) | \s+
 *           where U is \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M} and L is \p{Ll}\p{Lm}\p{Lo}\p{M}
 *
 * Written out by hand: faster, and no more than three looks at any byte. What a mark is differs:
 * part of a word to o200k, punctuation to cl100k.
 */

enum {
    BIT_OTHER = 1 << LETTER_OTHER,
    BIT_UPPER = 1 << LETTER_UPPER,
    BIT_LOWER = 1 << LETTER_LOWER,
    BIT_NEITHER = 1 << LETTER_NEITHER,
    BIT_MARK = 1 << LETTER_MARK,
    BIT_NUMBER = 1 << LETTER_NUMBER,
    BIT_NEWLINE = 1 << LETTER_NEWLINE,
    BIT_SPACE = 1 << LETTER_SPACE,
    BITS_LETTER = BIT_UPPER | BIT_LOWER | BIT_NEITHER,
    BITS_BEFORE_WORD = BIT_OTHER | BIT_MARK | BIT_SPACE,
    BITS_PUNCTUATION = BIT_OTHER | BIT_MARK,
    BITS_EITHER_CASE = BIT_NEITHER | BIT_MARK,
    BITS_SPACE = BIT_SPACE | BIT_NEWLINE
};

/* The class of what stands at <at> as a bit; none at the end. */
static inline unsigned bit_at(const char *at, const char *end, size_t *len)
{
    *len = 0;
    return at < end ? 1u << letter_at(at, end, len) : 0;
}

/* Behind all that is one of <bits>. */
static inline const char *pass(const char *at, const char *end, unsigned bits)
{
    size_t len;
    while (bit_at(at, end, &len) & bits)
        at += len;
    return at;
}

/* ---------------------------------------------------------------------------------- words */

/* Without regard to case; U+017F is a long s. Returns the length of "'s" and so on, or 0. */
static size_t contraction(const char *at, const char *end)
{
    static const char pairs[][2] = {{'l', 'l'}, {'v', 'e'}, {'r', 'e'}};
    if (end - at < 2 || *at != '\'')
        return 0;
    char first = (char)(at[1] | 0x20);
    if (first == 's' || first == 'd' || first == 'm' || first == 't')
        return 2;
    if (end - at < 3)
        return 0;
    if (at[1] == '\xc5' && at[2] == '\xbf')
        return 3;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
        if (first == pairs[i][0] && (at[2] | 0x20) == pairs[i][1])
            return 3;
    return 0;
}

/* [U]*[L]+ and, when that is none, [U]+ at <at>; NULL when there is neither. <is_lower> says which
 * it was. The first gives back upper case until it ends with what may be lower. */
static const char *cased_word(const char *at, const char *end, bool *is_lower)
{
    const char *begin = at, *either_end = NULL;
    size_t len;
    unsigned bit;
    while ((bit = bit_at(at, end, &len)) & (BIT_UPPER | BITS_EITHER_CASE)) {
        at += len;
        if (bit & BITS_EITHER_CASE)
            either_end = at;
    }
    *is_lower = true;
    if (bit & BIT_LOWER)
        return pass(at, end, BIT_LOWER | BITS_EITHER_CASE);
    if (either_end)
        return either_end;
    *is_lower = false;
    return at > begin ? at : NULL;
}

/* A word of o200k with what may stand before it; NULL = none. Tried in the order of the
 * expressions: lower case behind something, lower case at once, then upper case. */
static const char *word_o200k(const char *at, const char *end, unsigned bit, size_t len)
{
    bool is_lower = false;
    const char *word = NULL;
    if (bit & BITS_BEFORE_WORD)
        word = cased_word(at + len, end, &is_lower);
    if (!is_lower && bit & (BITS_LETTER | BIT_MARK)) {
        bool is_lower_here = false;
        const char *here = cased_word(at, end, &is_lower_here);
        if (!word || is_lower_here)
            word = here;
    }
    return word ? word + contraction(word, end) : NULL;
}

static const char *word_cl100k(const char *at, const char *end, unsigned bit, size_t len)
{
    const char *first = bit & BITS_BEFORE_WORD ? at + len : at;
    size_t contracted = contraction(at, end);
    if (contracted)
        return at + contracted;
    const char *word = pass(first, end, BITS_LETTER);
    return word > first ? word : NULL;
}

/* ----------------------------------------------------------------------------------- rest */

static const char *number(const char *at, const char *end)
{
    size_t len;
    for (int i = 0; i < 3 && bit_at(at, end, &len) & BIT_NUMBER; i++)
        at += len;
    return at;
}

/* NULL when there is none. */
static const char *punctuation(enum tokenizer tokenizer, const char *at, const char *end)
{
    const char *first = at + (*at == ' '), *behind = pass(first, end, BITS_PUNCTUATION);
    if (behind == first)
        return NULL;
    while (behind < end &&
           (*behind == '\r' || *behind == '\n' || (*behind == '/' && tokenizer == TOKENIZER_O200K)))
        behind++;
    return behind;
}

/* A run of white space: to its last new line; else without its last character, which goes with the
 * word behind it. To cl100k, all of it where the text ends. */
static const char *space(enum tokenizer tokenizer, const char *at, const char *end)
{
    const char *begin = at, *last = at, *line_end = NULL;
    size_t len;
    unsigned bit;
    while ((bit = bit_at(at, end, &len)) & BITS_SPACE) {
        last = at;
        at += len;
        if (bit & BIT_NEWLINE)
            line_end = at;
    }
    if (at == end && tokenizer == TOKENIZER_CL100K)
        return at;
    if (line_end)
        return line_end;
    return at == end || last == begin ? at : last;
}

size_t bpe_piece(enum tokenizer tokenizer, const char *at, const char *end)
{
    size_t len;
    unsigned bit = bit_at(at, end, &len);
    const char *behind = NULL;
    if (bit & BIT_NUMBER)
        return (size_t)(number(at, end) - at);
    if (!(bit & BIT_NEWLINE))
        behind = tokenizer == TOKENIZER_O200K ? word_o200k(at, end, bit, len)
                                              : word_cl100k(at, end, bit, len);
    if (!behind && (*at == ' ' || bit & BITS_PUNCTUATION))
        behind = punctuation(tokenizer, at, end);
    if (!behind)
        behind = space(tokenizer, at, end);
    return (size_t)(behind - at);
}
