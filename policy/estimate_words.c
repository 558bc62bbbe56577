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

/*
 * Sixteenths of a token, as fitted to what o200k_base makes of recorded prompts: a word is one, a
 * long one somewhat more, and camelCase is two; a single mark goes with a word as often as not;
 * "'s" is one.
 */
enum {
    WORD = 16,
    LONG_WORD = 20,     /* of more than 8 letters */
    THREE_LETTERS = 16, /* of a run of letters that is no word, beyond 16 */
    CAMEL = 16,
    CONTRACTED = -10, /* letters behind an apostrophe behind a letter */
    DIGITS = 21,      /* three of them */
    SPACE = 16,       /* more than one: the last goes with the word behind it */
    MARK = 10,
    TWO_MARKS = 18,
    THREE_MARKS = 16,
    FOUR_MARKS = 32,
    MORE_MARKS = 4,
    HIGH = 5,
    ESCAPE = 8,
};
enum { WORD_LETTERS = 8, LETTERS_MAX = 16 };

static bool is_upper(char byte)
{
    return byte >= 'A' && byte <= 'Z';
}

/* Of the letters at <at>, of which <camels> begin a second word; <begin> is where all begins. */
static int64_t letters_sixteenths(const char *begin, const char *at, int64_t length, int64_t camels)
{
    int64_t sum = (length > WORD_LETTERS ? LONG_WORD : WORD) + CAMEL * camels;
    if (length > LETTERS_MAX)
        sum += THREE_LETTERS * ((length - LETTERS_MAX) / 3);
    if (at - begin >= 2 && at[-1] == '\'' && class_of((unsigned char)at[-2]) == CLASS_LETTER)
        sum += CONTRACTED;
    return sum;
}

static int64_t camels_in(const char *at, int64_t length)
{
    int64_t count = 0;
    for (int64_t i = 1; i < length; i++)
        count += is_upper(at[i]) && !is_upper(at[i - 1]);
    return count;
}

static int64_t marks_sixteenths(int64_t length)
{
    static const int64_t few[] = {0, MARK, TWO_MARKS, THREE_MARKS};
    return length < 4 ? few[length] : FOUR_MARKS + MORE_MARKS * (length - 4);
}

static int64_t run_sixteenths(const char *begin, const char *at, int64_t length)
{
    switch (class_of((unsigned char)*at)) {
    case CLASS_LETTER:
        return letters_sixteenths(begin, at, length, camels_in(at, length));
    case CLASS_DIGIT:
        return DIGITS * ((length + 2) / 3);
    case CLASS_SPACE:
        return length > 1 ? SPACE : 0;
    case CLASS_MARK:
        return marks_sixteenths(length);
    case CLASS_HIGH:
        return HIGH * length;
    case CLASS_ESCAPE:
        return ESCAPE;
    }
    return 0;
}

/* What stands at *<at>, which is moved behind it: a run, or an escape. */
static int64_t take_run(const char *begin, const char **at, const char *end)
{
    const char *first = *at, *behind = first + 1;
    enum word_class class = class_of((unsigned char)*first);
    if (class == CLASS_ESCAPE) {
        bool is_code = end - first >= 6 && first[1] == 'u';
        *at = first + (is_code ? 6 : end - first >= 2 ? 2 : 1);
        return ESCAPE;
    }
    while (behind < end && class_of((unsigned char)*behind) == class)
        behind++;
    *at = behind;
    return run_sixteenths(begin, first, behind - first);
}

int64_t estimate_words_plain(const char *at, const char *end)
{
    const char *begin = at;
    int64_t sum = 0;
    while (at < end)
        sum += take_run(begin, &at, end);
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

enum { BLOCK = 64 };

struct bits {
    uint64_t letters, upper, digits, spaces, marks, high, quotes;
    uint64_t faces;   /* letters, and those of escapes */
    uint64_t escapes; /* where they begin: at backslashes */
    uint64_t codes;   /* those of six bytes */
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

WIDE static inline __m256i upper_of(__m256i bytes)
{
    return up_to(_mm256_sub_epi8(bytes, _mm256_set1_epi8('A')), 25);
}

WIDE static inline __m256i digits_of(__m256i bytes)
{
    return up_to(_mm256_sub_epi8(bytes, _mm256_set1_epi8('0')), 9);
}

/* <bits> has every backslash as an escape, and every u as a code. A block begins with no half of an
 * escape. Which bytes follow a backslash that is not escaped itself: adding to the first of each
 * run of them carries to the run's end, and the parity tells (Langdale and Lemire, Parsing
 * Gigabytes of JSON per Second, 2019, 3.1.1). */
static inline void set_apart(struct bits *bits)
{
    const uint64_t odd = 0xAAAAAAAAAAAAAAAAU;
    uint64_t slashes = bits->escapes;
    uint64_t escaped = (((slashes << 1 | odd) - slashes) ^ odd) ^ slashes;
    uint64_t others = ~(slashes | escaped);
    bits->faces = bits->letters;
    bits->escapes = slashes & ~escaped;
    bits->codes = (bits->codes & escaped) >> 1;
    bits->letters &= others;
    bits->upper &= others;
    bits->digits &= others;
    bits->spaces &= others;
    bits->high &= others;
    bits->marks = others & ~(bits->letters | bits->digits | bits->spaces | bits->high);
}

/* What the <len> bytes at <at> are, and zeros behind them. */
WIDE __attribute__((always_inline)) static inline struct bits look_at(const char *at, unsigned len)
{
    char room[BLOCK];
    if (len < BLOCK)
        at = memcpy(memset(room, 0, BLOCK), at, len);
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32));
    const __m256i slash = _mm256_set1_epi8('\\'), quote = _mm256_set1_epi8('\''),
                  code = _mm256_set1_epi8('u');
    struct bits bits = {
        .letters = bits_of(letters_of(low), letters_of(high)),
        .upper = bits_of(upper_of(low), upper_of(high)),
        .digits = bits_of(digits_of(low), digits_of(high)),
        .spaces = bits_of(up_to(low, 0x20), up_to(high, 0x20)),
        .high = bits_of(low, high),
        .escapes = bits_of(_mm256_cmpeq_epi8(low, slash), _mm256_cmpeq_epi8(high, slash)),
        .quotes = bits_of(_mm256_cmpeq_epi8(low, quote), _mm256_cmpeq_epi8(high, quote)),
        .codes = bits_of(_mm256_cmpeq_epi8(low, code), _mm256_cmpeq_epi8(high, code)),
    };
    set_apart(&bits);
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
    if (bits->codes & inside)
        return (unsigned)__builtin_ctzll(bits->codes);
    if (!goes_on)
        return len;
    uint64_t starts = starts_of(bits->letters) | starts_of(bits->digits) | starts_of(bits->spaces) |
                      starts_of(bits->marks) | starts_of(bits->high) | bits->escapes;
    return 63 - (unsigned)__builtin_clzll((starts & inside) | 1);
}

/* Of runs of <bits>: their first bytes, and every third behind each. */
WIDE static inline int64_t count_threes(uint64_t bits)
{
    uint64_t here = starts_of(bits), whole = bits & bits << 1 & bits << 2 & bits << 3;
    int64_t count = 0;
    for (; here; here = here << 3 & whole)
        count += __builtin_popcountll(here);
    return count;
}

WIDE static inline int64_t count_marks(uint64_t marks)
{
    uint64_t first = starts_of(marks), second = first << 1 & marks, third = second << 1 & marks;
    uint64_t fourth = third << 1 & marks, more = marks & ~(first | second | third | fourth);
    return MARK * (int64_t)__builtin_popcountll(first) +
           (TWO_MARKS - MARK) * (int64_t)__builtin_popcountll(second) +
           (THREE_MARKS - TWO_MARKS) * (int64_t)__builtin_popcountll(third) +
           (FOUR_MARKS - THREE_MARKS) * (int64_t)__builtin_popcountll(fourth) +
           MORE_MARKS * (int64_t)__builtin_popcountll(more);
}

/* What words of more than WORD_LETTERS cost beyond others. */
WIDE static inline int64_t count_long(uint64_t letters)
{
    uint64_t two = letters & letters << 1, four = two & two << 2, eight = four & four << 4;
    uint64_t nine = eight & letters << 8, sixteen = eight & eight << 8;
    int64_t sum = (LONG_WORD - WORD) * (int64_t)__builtin_popcountll(starts_of(nine));
    /* A bit for each letter behind the first LETTERS_MAX of its word. */
    for (uint64_t more = sixteen & letters << LETTERS_MAX; more;) {
        unsigned at = (unsigned)__builtin_ctzll(more);
        uint64_t from = ~(more >> at);
        unsigned count = from ? (unsigned)__builtin_ctzll(from) : BLOCK;
        sum += THREE_LETTERS * (int64_t)(count / 3);
        more &= at + count < BLOCK ? UINT64_MAX << (at + count) : 0;
    }
    return sum;
}

/* The two bytes before a block, as bits: is the last one an apostrophe, are they letters. */
static inline uint64_t contracted(const struct bits *bits, const char *begin, const char *at)
{
    uint64_t quote = at > begin && at[-1] == '\'';
    uint64_t last = at > begin && class_of((unsigned char)at[-1]) == CLASS_LETTER;
    uint64_t before = at - begin > 1 && class_of((unsigned char)at[-2]) == CLASS_LETTER;
    return starts_of(bits->letters) & (bits->quotes << 1 | quote) &
           (bits->faces << 2 | last << 1 | before);
}

/* Sixteenths of the first <len> bytes, which are whole runs. */
WIDE static inline int64_t count_block(const struct bits *bits, unsigned len, uint64_t contractions)
{
    uint64_t inside = len < BLOCK ? (UINT64_C(1) << len) - 1 : UINT64_MAX;
    uint64_t letters = bits->letters & inside, spaces = bits->spaces & inside;
    uint64_t upper = bits->upper & inside, camels = upper & (letters & ~upper) << 1;
    return WORD * (int64_t)__builtin_popcountll(starts_of(letters)) + count_long(letters) +
           CAMEL * (int64_t)__builtin_popcountll(camels) +
           CONTRACTED * (int64_t)__builtin_popcountll(contractions & inside) +
           SPACE * (int64_t)__builtin_popcountll(starts_of(spaces) << 1 & spaces) +
           count_marks(bits->marks & inside) + DIGITS * count_threes(bits->digits & inside) +
           HIGH * (int64_t)__builtin_popcountll(bits->high & inside) +
           ESCAPE * (int64_t)__builtin_popcountll(bits->escapes & inside);
}

/* Letters that fill a block and go on: that many letters at a time. */
WIDE static int64_t take_letters(const char *begin, const char **at, const char *end)
{
    const char *first = *at;
    int64_t camels = 0;
    uint64_t before = 1; /* the first of a word is no second half */
    for (bool goes_on = true; goes_on;) {
        unsigned len = end - *at < BLOCK ? (unsigned)(end - *at) : BLOCK;
        struct bits bits = look_at(*at, len);
        unsigned run = ~bits.letters ? (unsigned)__builtin_ctzll(~bits.letters) : BLOCK;
        uint64_t inside = run < BLOCK ? (UINT64_C(1) << run) - 1 : UINT64_MAX;
        uint64_t upper = bits.upper & inside;
        camels += __builtin_popcountll(upper & ~(upper << 1 | before));
        before = upper >> 63;
        *at += run;
        goes_on = run == BLOCK && *at < end;
    }
    return letters_sixteenths(begin, first, *at - first, camels);
}

WIDE static int64_t words_wide(const char *at, const char *end)
{
    const char *begin = at;
    int64_t sum = 0;
    while (at < end) {
        unsigned len = end - at < BLOCK ? (unsigned)(end - at) : BLOCK;
        struct bits bits = look_at(at, len);
        unsigned whole = whole_runs(&bits, len, end - at > BLOCK);
        uint64_t contractions = bits.quotes || at > begin ? contracted(&bits, begin, at) : 0;
        if (whole)
            sum += count_block(&bits, whole, contractions);
        else if (bits.letters == UINT64_MAX)
            sum += take_letters(begin, &at, end);
        else
            sum += take_run(begin, &at, end);
        at += whole;
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
