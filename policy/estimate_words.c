/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/estimate_words.h"

#include <stdbool.h>

enum word_class { CLASS_LETTER, CLASS_DIGIT, CLASS_SPACE, CLASS_MARK, CLASS_HIGH, CLASS_ESCAPE };

/* clang-format off */
#define L CLASS_LETTER
#define D CLASS_DIGIT
#define S CLASS_SPACE
#define M CLASS_MARK
#define H CLASS_HIGH
#define SIXTEEN(x) x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x
static const unsigned char classes[256] = {
    SIXTEEN(S), SIXTEEN(S),
    S, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
    D, D, D, D, D, D, D, D, D, D, M, M, M, M, M, M,
    M, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    L, L, L, L, L, L, L, L, L, L, L, M, CLASS_ESCAPE, M, M, M,
    M, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    L, L, L, L, L, L, L, L, L, L, L, M, M, M, M, M,
    SIXTEEN(H), SIXTEEN(H), SIXTEEN(H), SIXTEEN(H), SIXTEEN(H), SIXTEEN(H), SIXTEEN(H), SIXTEEN(H),
};
#undef L
#undef D
#undef S
#undef M
#undef H
#undef SIXTEEN
/* clang-format on */

static inline enum word_class class_of(unsigned char byte)
{
    return (enum word_class)classes[byte];
}

/* Sixteenths of a token that a run of one class is about. */
static int64_t run_sixteenths(enum word_class class, int64_t length)
{
    switch (class) {
    case CLASS_LETTER:
        return 16 * (length <= 6 ? 1 : length / 6);
    case CLASS_DIGIT:
        return 16 * ((length + 2) / 3);
    case CLASS_SPACE: /* one goes with the word behind it */
        return length > 1 ? 16 : 0;
    case CLASS_MARK:
        return 16 * ((length + 1) / 2);
    case CLASS_HIGH:
        return 5 * length;
    case CLASS_ESCAPE:
        return 16;
    }
    return 0;
}

/* What begins at *<at>, which is moved behind it: a run, or an escape. */
static int64_t take_run(const char **at, const char *end)
{
    const char *begin = *at, *behind = begin + 1;
    enum word_class class = class_of((unsigned char)*begin);
    if (class == CLASS_ESCAPE) {
        bool is_code = end - begin >= 6 && begin[1] == 'u';
        *at = begin + (is_code ? 6 : end - begin >= 2 ? 2 : 1);
        return run_sixteenths(CLASS_ESCAPE, 1);
    }
    while (behind < end && class_of((unsigned char)*behind) == class)
        behind++;
    *at = behind;
    return run_sixteenths(class, behind - begin);
}

int64_t estimate_words_plain(const char *at, const char *end)
{
    int64_t sum = 0;
    while (at < end)
        sum += take_run(&at, end);
    return sum;
}

#ifdef __x86_64__

#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>

/*
 * 64 bytes at a time, as bits: which of them are letters, digits and so on. A block ends where a
 * run ends, so that each begins with a whole one; what a run is worth is then a matter of how many
 * of its bytes have a certain distance from where it begins.
 */
#define WIDE __attribute__((target("avx2,bmi,popcnt")))

enum { BLOCK = 64, LONG_WORD = 12 };

struct bits {
    uint64_t letters, digits, spaces, marks, high, escapes;
};

WIDE static inline uint64_t bits_of(__m256i low, __m256i high)
{
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high)
                                                     << 32;
}

/* Which are no larger than <most>. */
WIDE static inline __m256i up_to(__m256i bytes, char most)
{
    return _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(most)), bytes);
}

WIDE static inline __m256i letters_of(__m256i bytes)
{
    __m256i lower = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
    return up_to(_mm256_sub_epi8(lower, _mm256_set1_epi8('a')), 25);
}

WIDE static inline __m256i digits_of(__m256i bytes)
{
    return up_to(_mm256_sub_epi8(bytes, _mm256_set1_epi8('0')), 9);
}

WIDE static struct bits look_at(const char *at)
{
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32));
    const __m256i slash = _mm256_set1_epi8('\\');
    struct bits bits = {
        .letters = bits_of(letters_of(low), letters_of(high)),
        .digits = bits_of(digits_of(low), digits_of(high)),
        .spaces = bits_of(up_to(low, 0x20), up_to(high, 0x20)),
        .high = bits_of(low, high),
        .escapes = bits_of(_mm256_cmpeq_epi8(low, slash), _mm256_cmpeq_epi8(high, slash)),
    };
    bits.marks = ~(bits.letters | bits.digits | bits.spaces | bits.high | bits.escapes);
    return bits;
}

static inline uint64_t starts_of(uint64_t bits)
{
    return bits & ~(bits << 1);
}

/* How many of the first <len> bytes are whole runs that can be counted; 0 = look at them one by
 * one. <goes_on>: more stands behind them. */
static inline unsigned whole_runs(const struct bits *bits, unsigned len, bool goes_on)
{
    uint64_t inside = len < BLOCK ? (UINT64_C(1) << len) - 1 : UINT64_MAX;
    if (bits->escapes & inside)
        return (unsigned)__builtin_ctzll(bits->escapes);
    if (!goes_on)
        return len;
    uint64_t starts = starts_of(bits->letters) | starts_of(bits->digits) | starts_of(bits->spaces) |
                      starts_of(bits->marks) | starts_of(bits->high);
    return 63 - (unsigned)__builtin_clzll((starts & inside) | 1);
}

/* Of runs of <bits>: their first bytes, and those in them by <step> behind each that counts. */
WIDE static inline int64_t count_steps(uint64_t bits, unsigned step)
{
    uint64_t here = starts_of(bits), whole = bits & bits << 1;
    int64_t count = 0;
    whole &= step == 3 ? bits << 2 & bits << 3 : bits << 2;
    for (; here; here = here << step & whole)
        count += __builtin_popcountll(here);
    return count;
}

static inline bool has_long_word(uint64_t letters)
{
    uint64_t two = letters & letters << 1, four = two & two << 2, eight = four & four << 4;
    return (eight & four << 8) != 0;
}

/* Sixteenths of the first <len> bytes, which are whole runs; -1 = not by this. */
WIDE static inline int64_t count_block(const struct bits *bits, unsigned len)
{
    uint64_t inside = len < BLOCK ? (UINT64_C(1) << len) - 1 : UINT64_MAX;
    uint64_t letters = bits->letters & inside, spaces = bits->spaces & inside;
    if (has_long_word(letters))
        return -1;
    int64_t tokens = __builtin_popcountll(starts_of(letters)) +
                     __builtin_popcountll(starts_of(spaces) << 1 & spaces) +
                     count_steps(bits->marks & inside, 2) + count_steps(bits->digits & inside, 3);
    return 16 * tokens + 5 * (int64_t)__builtin_popcountll(bits->high & inside);
}

WIDE static int64_t words_wide(const char *at, const char *end)
{
    int64_t sum = 0;
    while (at < end) {
        char room[BLOCK];
        unsigned len = end - at < BLOCK ? (unsigned)(end - at) : BLOCK;
        const char *block = at;
        if (len < BLOCK)
            block = memcpy(room, at, len);
        struct bits bits = look_at(block);
        unsigned whole = whole_runs(&bits, len, end - at > BLOCK);
        int64_t more = whole ? count_block(&bits, whole) : -1;
        if (more >= 0) {
            sum += more;
            at += whole;
            continue;
        }
        const char *behind = at + (whole ? whole : 1);
        while (at < behind)
            sum += take_run(&at, end);
    }
    return sum;
}

/* Several threads may find out at once; they find the same. */
static bool is_wide(void)
{
    enum { UNKNOWN, WIDE_ENOUGH, TOO_NARROW };
    static _Atomic int known;
    int width = atomic_load_explicit(&known, memory_order_relaxed);
    if (width == UNKNOWN) {
        bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("popcnt");
        width = wide ? WIDE_ENOUGH : TOO_NARROW;
        atomic_store_explicit(&known, width, memory_order_relaxed);
    }
    return width == WIDE_ENOUGH;
}

int64_t estimate_words(const char *at, const char *end)
{
    return is_wide() ? words_wide(at, end) : estimate_words_plain(at, end);
}

#else

int64_t estimate_words(const char *at, const char *end)
{
    return estimate_words_plain(at, end);
}

#endif
