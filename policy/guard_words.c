/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Words and phrases, without regard to case, as whole words. Case is folded for the characters that
 * keep their length: Latin, Greek, Cyrillic. Scripts that put no spaces between words have no word
 * boundaries.
 */

#include "gateway/base/memory.h"
#include "gateway/base/utf8.h"
#include "policy/guard_inside.h"

enum { BUCKETS = 4096 };

struct term {
    char *folded;
    size_t len;
    bool word_first, word_last; /* does it begin, end with a character of a word? */
    struct term *next;          /* in the same bucket */
};

struct words {
    struct term *terms;
    size_t count;
    struct term *buckets[BUCKETS]; /* by the first two bytes, or the only one */
};

/* ---------------------------------------------------------------------------- characters */

static unsigned two_bytes(const char *at)
{
    return ((unsigned char)at[0] & 0x1FU) << 6 | ((unsigned char)at[1] & 0x3FU);
}

static unsigned fold_code(unsigned code)
{
    if ((code >= 0xC0 && code <= 0xDE && code != 0xD7) || (code >= 0x391 && code <= 0x3A9) ||
        (code >= 0x410 && code <= 0x42F))
        return code + 32;
    if (code >= 0x400 && code <= 0x40F)
        return code + 80;
    if ((code >= 0x139 && code <= 0x148) || (code >= 0x179 && code <= 0x17E))
        return code + (code & 1); /* the capitals are odd here, and even below */
    if ((code >= 0x100 && code <= 0x177 && code != 0x130 && code != 0x131 && code != 0x138) ||
        (code >= 0x460 && code <= 0x481) || (code >= 0x48A && code <= 0x4BF) ||
        (code >= 0x4D0 && code <= 0x52F))
        return code | 1;
    return code;
}

/* Write the folded character at <at> to <to>; returns its length, which stays what it was. */
static size_t fold(const char *at, size_t left, char to[4])
{
    size_t len = utf8_length(at, left);
    if (len == 2)
        return utf8_write(to, fold_code(two_bytes(at)));
    if (len == 0)
        len = 1;
    memcpy(to, at, len);
    if (len == 1 && to[0] >= 'A' && to[0] <= 'Z')
        to[0] = (char)(to[0] + 32);
    return len;
}

/* Is the character of <len> bytes at <at> part of a word that spaces or signs must end? */
static bool is_word(const char *at, size_t len)
{
    unsigned char first = (unsigned char)at[0];
    if (len < 2)
        return (first >= '0' && first <= '9') || first == '_' ||
               ((first | 0x20) >= 'a' && (first | 0x20) <= 'z');
    if (len == 2) /* beyond the signs of Latin-1 */
        return two_bytes(at) >= 0xC0 && two_bytes(at) != 0xD7 && two_bytes(at) != 0xF7;
    /* Indian scripts, Georgian, Ethiopic, more of Latin and Greek; not Thai to Burmese, not Khmer,
     * neither signs nor what is written in East Asia. */
    unsigned code = (first & 0x0FU) << 12 | ((unsigned char)at[1] & 0x3FU) << 6 |
                    ((unsigned char)at[2] & 0x3FU);
    return len == 3 && ((code >= 0x900 && code < 0xE00) || (code >= 0x10A0 && code < 0x1780) ||
                        (code >= 0x1E00 && code < 0x2000));
}

static size_t length_at(struct text text, size_t at)
{
    size_t len = utf8_length(text.at + at, text.len - at);
    return len ? len : 1;
}

static bool word_before(struct text text, size_t at)
{
    if (at == 0)
        return false;
    size_t from = at - 1;
    while (from > 0 && at - from < 4 && utf8_is_tail((unsigned char)text.at[from]))
        from--;
    return is_word(text.at + from, at - from);
}

static bool word_at(struct text text, size_t at)
{
    return at < text.len && is_word(text.at + at, length_at(text, at));
}

/* --------------------------------------------------------------------------------- terms */

static size_t bucket_of(unsigned char first, unsigned char second)
{
    return (first * 31U ^ second * 131U) % BUCKETS;
}

static void add_term(struct words *words, struct term *term, struct text from)
{
    term->folded = memory_new(from.len + 4);
    while (term->len < from.len)
        term->len += fold(from.at + term->len, from.len - term->len, term->folded + term->len);
    struct text folded = {term->folded, term->len};
    term->word_first = word_at(folded, 0);
    term->word_last = word_before(folded, folded.len);
    size_t bucket =
        bucket_of((unsigned char)folded.at[0], folded.len > 1 ? (unsigned char)folded.at[1] : 0);
    term->next = words->buckets[bucket];
    words->buckets[bucket] = term;
}

struct words *words_new(const struct text *terms, size_t count)
{
    struct words *words = memory_new(sizeof(*words));
    words->terms = memory_new(count * sizeof(*words->terms) + 1);
    words->count = count;
    for (size_t i = 0; i < count; i++)
        if (terms[i].len)
            add_term(words, &words->terms[i], terms[i]);
    return words;
}

void words_free(struct words *words)
{
    if (!words)
        return;
    for (size_t i = 0; i < words->count; i++)
        memory_free(words->terms[i].folded);
    memory_free(words->terms);
    memory_free(words);
}

/* ------------------------------------------------------------------------------- finding */

static bool stands_at(const struct term *term, struct text text, size_t at)
{
    if (term->len > text.len - at)
        return false;
    for (size_t i = 0; i < term->len;) {
        char folded[4];
        size_t len = fold(text.at + at + i, text.len - at - i, folded);
        if (len > term->len - i || memcmp(folded, term->folded + i, len) != 0)
            return false;
        i += len;
    }
    return !term->word_last || !word_at(text, at + term->len);
}

/* The longest term of the bucket that stands at <at>, or 0. */
static size_t longest(const struct term *term, struct text text, size_t at, bool inside)
{
    size_t best = 0;
    for (; term; term = term->next)
        if (term->len > best && !(inside && term->word_first) && stands_at(term, text, at))
            best = term->len;
    return best;
}

bool words_find(const struct words *words, const struct hunt *hunt, struct span *span)
{
    struct text text = hunt->text;
    bool inside = hunt->from < hunt->until && word_before(text, hunt->from);
    for (size_t at = hunt->from; at < hunt->until;) {
        char first[4], second[4] = {0};
        size_t len = fold(text.at + at, text.len - at, first);
        if (len == 1 && at + 1 < text.len)
            fold(text.at + at + 1, text.len - at - 1, second);
        else if (len > 1)
            second[0] = first[1];
        size_t two = bucket_of((unsigned char)first[0], (unsigned char)second[0]);
        size_t one = bucket_of((unsigned char)first[0], 0);
        size_t found = words->buckets[two] ? longest(words->buckets[two], text, at, inside) : 0;
        if (found == 0 && one != two && words->buckets[one])
            found = longest(words->buckets[one], text, at, inside);
        if (found) {
            *span = (struct span){at, at + found};
            return true;
        }
        inside = is_word(text.at + at, len);
        at += len;
    }
    return false;
}
