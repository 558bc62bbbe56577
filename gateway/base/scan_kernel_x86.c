/* SPDX-License-Identifier: Apache-2.0 */
#ifdef __x86_64__

#include <immintrin.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "gateway/base/scan_kernel.h"

/* ---- SSE2, which every x86-64 has: 16 bytes at a time ---- */

static inline __m128i load16(const char *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

static const char *find_special(const char *at, const char *end, bool *wide)
{
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1F);
    unsigned seen = 0;
    for (; end - at >= 16; at += 16) {
        __m128i bytes = load16(at);
        __m128i stop = _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes);
        stop = _mm_or_si128(stop, _mm_cmpeq_epi8(bytes, quote));
        stop = _mm_or_si128(stop, _mm_cmpeq_epi8(bytes, slash));
        unsigned stops = (unsigned)_mm_movemask_epi8(stop);
        unsigned highs = (unsigned)_mm_movemask_epi8(bytes);
        if (stops) {
            seen |= highs & (stops ^ (stops - 1));
            *wide = *wide || seen;
            return at + __builtin_ctz(stops);
        }
        seen |= highs;
    }
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
        seen |= (unsigned char)*at++ & 0x80U;
    *wide = *wide || seen;
    return at;
}

static bool is_utf8_sse2(const char *at, const char *end)
{
    while (end - at >= 16 && _mm_movemask_epi8(load16(at)) == 0)
        at += 16;
    return scan_is_utf8_plain(at, end);
}

static inline bool is_bracket(char c)
{
    return (c | 0x20) == '{' || (c | 0x20) == '}';
}

static const char *find_quote(const char *at, const char *end)
{
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    for (; end - at >= 16; at += 16) {
        __m128i bytes = load16(at);
        __m128i stop = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, slash));
        unsigned stops = (unsigned)_mm_movemask_epi8(stop);
        if (stops)
            return at + __builtin_ctz(stops);
    }
    while (at < end && *at != '"' && *at != '\\')
        at++;
    return at;
}

static const char *find_bracket(const char *at, const char *end)
{
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i open = _mm_set1_epi8('{'), close = _mm_set1_epi8('}'), bit = _mm_set1_epi8(0x20);
    for (; end - at >= 16; at += 16) {
        /* '[' and ']' differ from '{' and '}' in this one bit. */
        __m128i bytes = load16(at), curly = _mm_or_si128(bytes, bit);
        __m128i stop = _mm_or_si128(_mm_cmpeq_epi8(curly, open), _mm_cmpeq_epi8(curly, close));
        stop = _mm_or_si128(stop, _mm_cmpeq_epi8(bytes, quote));
        stop = _mm_or_si128(stop, _mm_cmpeq_epi8(bytes, slash));
        unsigned stops = (unsigned)_mm_movemask_epi8(stop);
        if (stops)
            return at + __builtin_ctz(stops);
    }
    while (at < end && *at != '"' && *at != '\\' && !is_bracket(*at))
        at++;
    return at;
}

static const struct scan_finder finder = {find_special, find_quote, find_bracket, is_utf8_sse2};

static const char *close_sse2(const char *at, const char *end, bool *has_escape)
{
    return scan_close_with(&finder, at, end, has_escape);
}

static const char *skip_string_sse2(const char *at, const char *end, bool *escape)
{
    return scan_skip_string_with(&finder, at, end, escape);
}

static const char *skip_nested_sse2(const char *at, const char *end, struct scan_nest *nest)
{
    return scan_skip_nested_with(&finder, at, end, nest);
}

static const struct scan_kernel sse2 = {
    .name = "SSE2",
    .close_string = close_sse2,
    .skip_string = skip_string_sse2,
    .skip_nested = skip_nested_sse2,
};

/* ---- AVX2: strings 64 bytes at a time, escapes without a branch ---- */

#define WITH_AVX2   __attribute__((target("avx2,bmi,popcnt,pclmul")))
#define INLINE_AVX2 static inline __attribute__((target("avx2,bmi,popcnt,pclmul"), always_inline))

enum { BLOCK = 64, GO_ON = 64, BAD = 65 };

struct block {
    __m256i low, high;
};

/* What the bytes before a block mean for it. */
struct string_state {
    uint64_t escaped; /* bit 0: its first byte follows a backslash */
    uint64_t hex;     /* which of its first bytes must be hexadecimal digits */
    bool has_escape, wide;
};

INLINE_AVX2 __m256i load32(const char *at)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

INLINE_AVX2 struct block load_block(const char *at)
{
    return (struct block){load32(at), load32(at + 32)};
}

INLINE_AVX2 uint64_t mask_of(__m256i low, __m256i high)
{
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)_mm256_movemask_epi8(high) << 32;
}

INLINE_AVX2 uint64_t equal_mask(struct block block, char c)
{
    __m256i wanted = _mm256_set1_epi8(c);
    return mask_of(_mm256_cmpeq_epi8(block.low, wanted), _mm256_cmpeq_epi8(block.high, wanted));
}

/* Bytes up to <most>, taken as unsigned. */
INLINE_AVX2 __m256i at_most(__m256i bytes, char most)
{
    return _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(most)), bytes);
}

/* Quotes, backslashes, control characters. */
INLINE_AVX2 __m256i special(__m256i bytes)
{
    __m256i quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('"'));
    __m256i slash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\\'));
    return _mm256_or_si256(_mm256_or_si256(quote, slash), at_most(bytes, 0x1F));
}

/* All ones where a byte is not in a class: its halves have no bit of the tables in common. */
INLINE_AVX2 __m256i outside_class(__m256i bytes, __m256i by_low, __m256i by_high)
{
    __m256i nibble = _mm256_set1_epi8(0x0F);
    __m256i low = _mm256_shuffle_epi8(by_low, _mm256_and_si256(bytes, nibble));
    __m256i high =
        _mm256_shuffle_epi8(by_high, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble));
    return _mm256_cmpeq_epi8(_mm256_and_si256(low, high), _mm256_setzero_si256());
}

/* The tables of: one of " \ / b f n r t u. 2x: 1, 5x: 2, 6x: 4, 7x: 8 */
static inline __m128i escape_low(void)
{
    return _mm_setr_epi8(0, 0, 1 | 4 | 8, 0, 8, 8, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1);
}

/* Without u, the only one that ends in 5. */
static inline __m128i short_escape_low(void)
{
    return _mm_setr_epi8(0, 0, 1 | 4 | 8, 0, 8, 0, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1);
}

static inline __m128i escape_high(void)
{
    return _mm_setr_epi8(0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0);
}

/* Of a hexadecimal digit. 3x: 1, 4x and 6x: 2 */
static inline __m128i hex_low(void)
{
    return _mm_setr_epi8(1, 1 | 2, 1 | 2, 1 | 2, 1 | 2, 1 | 2, 1 | 2, 1, 1, 1, 0, 0, 0, 0, 0, 0);
}

static inline __m128i hex_high(void)
{
    return _mm_setr_epi8(0, 0, 0, 1, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0);
}

INLINE_AVX2 uint64_t no_escape_mask(struct block block)
{
    const __m256i low = _mm256_broadcastsi128_si256(escape_low());
    const __m256i high = _mm256_broadcastsi128_si256(escape_high());
    return mask_of(outside_class(block.low, low, high), outside_class(block.high, low, high));
}

INLINE_AVX2 uint64_t no_hex_mask(struct block block)
{
    const __m256i low = _mm256_broadcastsi128_si256(hex_low());
    const __m256i high = _mm256_broadcastsi128_si256(hex_high());
    return mask_of(outside_class(block.low, low, high), outside_class(block.high, low, high));
}

/* Which bytes follow a backslash that is not escaped itself. Adding to the first backslash of each
 * run carries to the run's end; the parity tells (Langdale and Lemire, Parsing Gigabytes of JSON
 * per Second, 2019, 3.1.1; this form is that of simdjson). */
INLINE_AVX2 uint64_t find_escaped(uint64_t *carry, uint64_t slashes)
{
    const uint64_t odd = 0xAAAAAAAAAAAAAAAAU;
    uint64_t before = *carry, behind = slashes << 1 | before;
    if (__builtin_expect((slashes & behind) == 0, 1)) { /* none follows another */
        *carry = slashes >> 63;
        return behind;
    }
    uint64_t may_escape = slashes & ~before;
    uint64_t ends = (((may_escape << 1) | odd) - may_escape) ^ odd;
    *carry = (ends & slashes) >> 63;
    return ends ^ (slashes | before);
}

/* Where in <block> the string ends, GO_ON when it does not, BAD when something is wrong first. */
INLINE_AVX2 unsigned read_block(struct string_state *state, struct block block)
{
    uint64_t quotes = equal_mask(block, '"'), slashes = equal_mask(block, '\\');
    uint64_t wrong = mask_of(at_most(block.low, 0x1F), at_most(block.high, 0x1F));
    if (slashes | state->escaped | state->hex) {
        uint64_t escaped = find_escaped(&state->escaped, slashes);
        uint64_t u = escaped & equal_mask(block, 'u');
        uint64_t hex = state->hex | u << 1 | u << 2 | u << 3 | u << 4;
        state->hex = u >> 63 | u >> 62 | u >> 61 | u >> 60;
        wrong |= (escaped & no_escape_mask(block)) | (hex & no_hex_mask(block));
        quotes &= ~escaped;
    }
    uint64_t inside = quotes ^ (quotes - 1); /* up to the closing quote, or all */
    state->has_escape |= (slashes & inside) != 0;
    state->wide |= (mask_of(block.low, block.high) & inside) != 0;
    if (wrong & inside)
        return BAD;
    return quotes ? (unsigned)__builtin_ctzll(quotes) : GO_ON;
}

/* The last bytes of the document: zeros follow, which are wrong in a string. */
INLINE_AVX2 struct block load_tail(const char *at, const char *end)
{
    char tail[BLOCK] = {0};
    memcpy(tail, at, (size_t)(end - at));
    return load_block(tail);
}

/*
 * UTF-8, 32 bytes at a time (Keiser and Lemire, Validating UTF-8 In Less Than One Instruction Per
 * Byte, 2021, 6). Three tables, looked up by the two halves of one byte and the upper half of the
 * next, name the mistakes that these two bytes can be part of; what all three name is one.
 */
enum mistake {
    TOO_SHORT = 1,   /* a head follows a head that wants more */
    TOO_LONG = 2,    /* a tail follows ASCII */
    OVERLONG_3 = 4,  /* E0 80 */
    TOO_LARGE = 8,   /* F4 90, F5 90 */
    SURROGATE = 16,  /* ED A0 */
    OVERLONG_2 = 32, /* C0, C1 */
    TOO_LARGE_1000 = 64 /* F5 80 */,
    OVERLONG_4 = 64, /* F0 80 */
    TWO_TAILS = 128, /* fine behind E and F heads only */
    ANY_LOW = TOO_SHORT | TOO_LONG | TWO_TAILS,
};

struct utf8_state {
    __m256i before;     /* the 32 bytes before these */
    __m256i incomplete; /* not zero: they end within a character */
    __m256i error;
};

INLINE_AVX2 __m256i table16(const unsigned char table[16])
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
}

static const unsigned char utf8_first_high[16] = {
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TWO_TAILS,
    TWO_TAILS,
    TWO_TAILS,
    TWO_TAILS,
    TOO_SHORT | OVERLONG_2,
    TOO_SHORT,
    TOO_SHORT | OVERLONG_3 | SURROGATE,
    TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4,
};
enum { LARGE = ANY_LOW | TOO_LARGE | TOO_LARGE_1000 };
static const unsigned char utf8_first_low[16] = {
    ANY_LOW | OVERLONG_3 | OVERLONG_2 | OVERLONG_4,
    ANY_LOW | OVERLONG_2,
    ANY_LOW,
    ANY_LOW,
    ANY_LOW | TOO_LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE | SURROGATE,
    LARGE,
    LARGE,
};
enum { TAIL = TOO_LONG | OVERLONG_2 | TWO_TAILS };
static const unsigned char utf8_second_high[16] = {
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TAIL | OVERLONG_3 | TOO_LARGE_1000 | OVERLONG_4,
    TAIL | OVERLONG_3 | TOO_LARGE,
    TAIL | SURROGATE | TOO_LARGE,
    TAIL | SURROGATE | TOO_LARGE,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
};

INLINE_AVX2 __m256i pair_mistakes(__m256i first, __m256i second)
{
    const __m256i nibble = _mm256_set1_epi8(0x0F);
    __m256i a = _mm256_shuffle_epi8(table16(utf8_first_high),
                                    _mm256_and_si256(_mm256_srli_epi16(first, 4), nibble));
    __m256i b = _mm256_shuffle_epi8(table16(utf8_first_low), _mm256_and_si256(first, nibble));
    __m256i c = _mm256_shuffle_epi8(table16(utf8_second_high),
                                    _mm256_and_si256(_mm256_srli_epi16(second, 4), nibble));
    return _mm256_and_si256(_mm256_and_si256(a, b), c);
}

/* Where two tails in a row are due, namely behind E and F heads, they are no mistake - and where
 * they are missing, that is one. */
INLINE_AVX2 __m256i two_tails_due(__m256i second_before, __m256i third_before)
{
    __m256i third = _mm256_subs_epu8(second_before, _mm256_set1_epi8(0xE0 - 0x80));
    __m256i fourth = _mm256_subs_epu8(third_before, _mm256_set1_epi8(0xF0 - 0x80));
    return _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)0x80));
}

INLINE_AVX2 void check_utf8(struct utf8_state *state, __m256i bytes)
{
    if (_mm256_movemask_epi8(bytes) == 0) {
        state->error = _mm256_or_si256(state->error, state->incomplete);
        state->incomplete = _mm256_setzero_si256();
        state->before = bytes;
        return;
    }
    /* The heads that have no room for all their tails in these 32 bytes. */
    const __m256i most = _mm256_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                          -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                          -1, (char)0xEF, (char)0xDF, (char)0xBF);
    __m256i over = _mm256_permute2x128_si256(state->before, bytes, 0x21);
    __m256i before1 = _mm256_alignr_epi8(bytes, over, 15);
    __m256i before2 = _mm256_alignr_epi8(bytes, over, 14);
    __m256i before3 = _mm256_alignr_epi8(bytes, over, 13);
    __m256i wrong =
        _mm256_xor_si256(pair_mistakes(before1, bytes), two_tails_due(before2, before3));
    state->error = _mm256_or_si256(state->error, wrong);
    state->incomplete = _mm256_subs_epu8(bytes, most);
    state->before = bytes;
}

WITH_AVX2 static bool is_utf8_avx2(const char *at, const char *end)
{
    const __m256i zero = _mm256_setzero_si256();
    struct utf8_state state = {zero, zero, zero};
    for (; end - at >= 32; at += 32)
        check_utf8(&state, load32(at));
    /* Zeros behind the end show a character that is cut short. */
    char tail[32] = {0};
    memcpy(tail, at, (size_t)(end - at));
    check_utf8(&state, load32(tail));
    state.error = _mm256_or_si256(state.error, state.incomplete);
    return _mm256_testz_si256(state.error, state.error);
}

WITH_AVX2 static const char *close_avx2(const char *at, const char *end, bool *has_escape)
{
    if (end - at < BLOCK)
        return close_sse2(at, end, has_escape);
    const char *begin = at;
    struct string_state state = {0};
    __m256i seen = _mm256_setzero_si256();
    unsigned found = GO_ON;
    while (found == GO_ON && end - at >= BLOCK) {
        struct block block = load_block(at);
        __m256i stop = _mm256_or_si256(special(block.low), special(block.high));
        if (_mm256_testz_si256(stop, stop) && !(state.escaped | state.hex)) {
            seen = _mm256_or_si256(seen, _mm256_or_si256(block.low, block.high));
            at += BLOCK;
            continue;
        }
        found = read_block(&state, block);
        at += found == GO_ON ? BLOCK : 0;
    }
    if (found == GO_ON && at < end)
        found = read_block(&state, load_tail(at, end));
    *has_escape = state.has_escape;
    if (found >= GO_ON)
        return NULL;
    bool wide = state.wide || _mm256_movemask_epi8(seen);
    return !wide || is_utf8_avx2(begin, at + found) ? at + found : NULL;
}

/* ---- AVX2 for the tap ---- */

WITH_AVX2 static const char *skip_string_avx2(const char *at, const char *end, bool *escape)
{
    uint64_t carry = *escape;
    for (; end - at >= BLOCK; at += BLOCK) {
        struct block block = load_block(at);
        uint64_t slashes = equal_mask(block, '\\'), quotes = equal_mask(block, '"');
        if (slashes | carry)
            quotes &= ~find_escaped(&carry, slashes);
        if (quotes) {
            *escape = false;
            return at + __builtin_ctzll(quotes);
        }
    }
    *escape = carry;
    return skip_string_sse2(at, end, escape);
}

/* Bit i: the exclusive or of the bits 0 to i, that is, whether a string is open there. */
INLINE_AVX2 uint64_t xor_up(uint64_t bits)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_set_epi64x(0, (long long)bits), _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* Brackets in one block, bit by bit; returns where the nest ends or is too deep, or GO_ON. */
INLINE_AVX2 unsigned count_brackets(struct scan_nest *nest, uint64_t opens, uint64_t closes)
{
    for (uint64_t left = opens | closes; left; left &= left - 1) {
        if (opens & left & -left)
            nest->depth++;
        else
            nest->depth--;
        if (nest->depth == 1 || nest->depth > SCAN_DEPTH_MAX)
            return (unsigned)__builtin_ctzll(left);
    }
    return GO_ON;
}

/* One block; *inside is all ones when it begins in a string, *carry as in find_escaped(). */
INLINE_AVX2 unsigned nest_block(struct scan_nest *nest, struct block block, uint64_t *inside,
                                uint64_t *carry)
{
    const __m256i bit = _mm256_set1_epi8(0x20);
    struct block curly = {_mm256_or_si256(block.low, bit), _mm256_or_si256(block.high, bit)};
    uint64_t hidden = find_escaped(carry, equal_mask(block, '\\'));
    uint64_t quotes = equal_mask(block, '"') & ~hidden;
    uint64_t in_string = xor_up(quotes) ^ *inside;
    *inside = 0 - (in_string >> 63);
    hidden |= in_string;
    uint64_t opens = equal_mask(curly, '{') & ~hidden, closes = equal_mask(curly, '}') & ~hidden;
    unsigned up = (unsigned)__builtin_popcountll(opens);
    unsigned down = (unsigned)__builtin_popcountll(closes);
    if (down + 1 >= nest->depth || nest->depth + up > SCAN_DEPTH_MAX)
        return count_brackets(nest, opens, closes);
    nest->depth += up - down;
    return GO_ON;
}

WITH_AVX2 static const char *skip_nested_avx2(const char *at, const char *end,
                                              struct scan_nest *nest)
{
    uint64_t inside = nest->in_string ? UINT64_MAX : 0, carry = nest->escape;
    for (; end - at >= BLOCK; at += BLOCK) {
        unsigned found = nest_block(nest, load_block(at), &inside, &carry);
        if (found != GO_ON) {
            nest->in_string = nest->escape = false;
            return at + found;
        }
    }
    nest->in_string = inside != 0;
    nest->escape = carry != 0;
    return skip_nested_sse2(at, end, nest);
}

static const struct scan_kernel avx2 = {
    .name = "AVX2",
    .close_string = close_avx2,
    .skip_string = skip_string_avx2,
    .skip_nested = skip_nested_avx2,
};

/* ---- AVX-512: a comparison of 64 bytes is one instruction, and its result a mask ---- */

#define WITH_AVX512   __attribute__((target("avx2,bmi,popcnt,pclmul,avx512f,avx512bw")))
#define INLINE_AVX512 static inline WITH_AVX512 __attribute__((always_inline))

INLINE_AVX512 __m512i low_halves(__m512i bytes)
{
    return _mm512_and_si512(bytes, _mm512_set1_epi8(0x0F));
}

INLINE_AVX512 __m512i high_halves(__m512i bytes)
{
    return low_halves(_mm512_srli_epi16(bytes, 4));
}

/* Which are in a class of ASCII, as outside_class() has it? A byte beyond finds a zero by itself.
 */
INLINE_AVX512 uint64_t in_class(__m512i bytes, __m512i by_low, __m512i by_high)
{
    return _mm512_test_epi8_mask(_mm512_shuffle_epi8(by_low, bytes),
                                 _mm512_shuffle_epi8(by_high, high_halves(bytes)));
}

/* The bytes of a string up to <behind>, zeros behind them. */
INLINE_AVX512 uint64_t mask_until(const char *at, const char *behind)
{
    return behind - at < BLOCK ? (UINT64_C(1) << (behind - at)) - 1 : UINT64_MAX;
}

/*
 * The blocks of a string that have a byte beyond ASCII in them, or right before them: those are
 * looked at again for their UTF-8, several at a time, as a branch in each block would be foreseen
 * wrongly where one in ten has any.
 */
enum { WIDE_BLOCKS = 64 };

INLINE_AVX512 __m512i utf8_table(const unsigned char table[16])
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
}

/* <begin> is where the string begins; its bytes before <behind> are looked at, the last of which is
 * ASCII, or the last of a block. */
WITH_AVX512 static bool are_utf8(const char *const blocks[], unsigned count, const char *begin,
                                 const char *behind)
{
    const __m512i first_high = utf8_table(utf8_first_high), first_low = utf8_table(utf8_first_low);
    const __m512i second_high = utf8_table(utf8_second_high);
    __m512i errors = _mm512_setzero_si512();
    for (unsigned i = 0; i < count; i++) {
        const char *at = blocks[i];
        uint64_t here = mask_until(at, behind), first = at == begin;
        __m512i bytes = _mm512_maskz_loadu_epi8(here, at);
        __m512i before1 = _mm512_maskz_loadu_epi8(here & ~first, at - 1);
        __m512i before2 = _mm512_maskz_loadu_epi8(here & ~(first * 3), at - 2);
        __m512i before3 = _mm512_maskz_loadu_epi8(here & ~(first * 7), at - 3);
        __m512i mistakes =
            _mm512_and_si512(_mm512_and_si512(_mm512_shuffle_epi8(first_high, high_halves(before1)),
                                              _mm512_shuffle_epi8(first_low, low_halves(before1))),
                             _mm512_shuffle_epi8(second_high, high_halves(bytes)));
        /* As two_tails_due() has it. */
        __m512i third = _mm512_subs_epu8(before2, _mm512_set1_epi8(0xE0 - 0x80));
        __m512i fourth = _mm512_subs_epu8(before3, _mm512_set1_epi8(0xF0 - 0x80));
        __m512i due =
            _mm512_and_si512(_mm512_or_si512(third, fourth), _mm512_set1_epi8((char)0x80));
        errors = _mm512_or_si512(errors, _mm512_xor_si512(mistakes, due));
    }
    return _mm512_test_epi8_mask(errors, errors) == 0;
}

/* What stands in a block in which something ends, is wrong or may be. */
struct stops {
    uint64_t quotes, wrong;
};

/* <others> follow a backslash, and make no escape of two bytes with it. */
INLINE_AVX512 struct stops look_closer(struct string_state *state, __m512i bytes, uint64_t escaped,
                                       uint64_t others)
{
    const __m512i digits_low = _mm512_broadcast_i32x4(hex_low());
    const __m512i digits_high = _mm512_broadcast_i32x4(hex_high());
    uint64_t u = others & _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('u'));
    uint64_t hex = state->hex | u << 1 | u << 2 | u << 3 | u << 4;
    state->hex = u >> 63 | u >> 62 | u >> 61 | u >> 60;
    uint64_t no_digits = hex & ~in_class(bytes, digits_low, digits_high);
    uint64_t controls = _mm512_cmple_epu8_mask(bytes, _mm512_set1_epi8(0x1F));
    return (struct stops){
        .quotes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"')) & ~escaped,
        .wrong = (others & ~u) | no_digits | controls,
    };
}

/* A constant that stays in its register: compilers would rather make it anew in each turn, which
 * goes through the one port that the masks need. */
INLINE_AVX512 __m512i hold(__m512i constant)
{
    __asm__("" : "+v"(constant));
    return constant;
}

/* A mask as a number, and not as what the next comparison is masked with. */
INLINE_AVX512 uint64_t number_of(__mmask64 mask)
{
    uint64_t number = mask;
    __asm__("" : "+r"(number));
    return number;
}

/*
 * Much text has nothing in it for long that a string does not simply pass over: that is seen of
 * several blocks at once, for a third of what they cost one by one. Where it is not so, it is tried
 * again a good deal later.
 */
enum { RUN = 4 * BLOCK, RUN_AGAIN = 16 * BLOCK };

/* Are the RUN bytes at <at> all printable ASCII, and none a quote or a backslash? */
INLINE_AVX512 bool is_plain_run(const char *at)
{
    /* By the lower half of a byte: the one of these two that ends so, or what no byte does. */
    const __m512i marks =
        _mm512_broadcast_i32x4(_mm_setr_epi8(1, 0, '"', 0, 0, 0, 0, 0, 0, 0, 0, 0, '\\', 0, 0, 0));
    const __m512i least = _mm512_set1_epi8(0x20), most = _mm512_set1_epi8(0x7F - 0x20);
    __m512i zeros = _mm512_set1_epi8(-1), above = _mm512_setzero_si512();
    for (int i = 0; i < RUN; i += BLOCK) {
        __m512i bytes = _mm512_loadu_si512(at + i);
        __m512i differ = _mm512_xor_si512(_mm512_shuffle_epi8(marks, bytes), bytes);
        zeros = _mm512_min_epu8(zeros, differ);
        above = _mm512_max_epu8(above, _mm512_sub_epi8(bytes, least));
    }
    return (_mm512_testn_epi8_mask(zeros, zeros) | _mm512_cmpgt_epu8_mask(above, most)) == 0;
}

INLINE_AVX512 const char *pass_plain_runs(const char *at, const char *end)
{
    while (end - at > RUN && is_plain_run(at))
        at += RUN;
    return at;
}

/* Text has an escape in every second block and a byte beyond ASCII in every tenth: there is no
 * branch on those, which would often be foreseen wrongly. */
WITH_AVX512 static const char *close_avx512(const char *at, const char *end, bool *has_escape)
{
    const __m512i by_low = hold(_mm512_broadcast_i32x4(short_escape_low()));
    const __m512i by_high = hold(_mm512_broadcast_i32x4(escape_high()));
    const __m512i half = hold(_mm512_set1_epi8(0x0F)), slash = hold(_mm512_set1_epi8('\\'));
    const __m512i quote = hold(_mm512_set1_epi8('"')), control = hold(_mm512_set1_epi8(0x1F));
    __attribute__((uninitialized)) const char *wide[WIDE_BLOCKS];
    const char *begin = at, *run_from = at;
    struct string_state state = {0};
    uint64_t all_slashes = 0, highs_before = 0;
    unsigned wide_count = 0;
    for (; at < end; at += BLOCK) {
        if (at >= run_from && !(state.escaped | state.hex | highs_before >> 61)) {
            at = pass_plain_runs(at, end);
            run_from = at + RUN_AGAIN;
        }
        /* Zeros follow the last bytes of the document: they are wrong in a string. */
        __m512i bytes = end - at < BLOCK ? _mm512_maskz_loadu_epi8(mask_until(at, end), at)
                                         : _mm512_loadu_si512(at);
        uint64_t slashes = number_of(_mm512_cmpeq_epi8_mask(bytes, slash));
        uint64_t escaped = find_escaped(&state.escaped, slashes);
        __m512i high_half = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), half);
        uint64_t escapes = number_of(_mm512_test_epi8_mask(
            _mm512_shuffle_epi8(by_low, bytes), _mm512_shuffle_epi8(by_high, high_half)));
        /* Quotes and control characters with one comparison: of two copies of a byte, one of which
         * is a control character where the byte is a quote, the lesser one is looked at. */
        __m512i copy = _mm512_adds_epu8(_mm512_xor_si512(bytes, quote), control);
        uint64_t stops =
            number_of(_mm512_cmple_epu8_mask(_mm512_min_epu8(bytes, copy), control)) & ~escaped;
        uint64_t others = escaped & ~escapes;
        uint64_t highs = number_of(_mm512_movepi8_mask(bytes));
        wide[wide_count] = at;
        wide_count += (highs | highs_before >> 61) != 0;
        highs_before = highs;
        if (stops | others | state.hex) {
            struct stops found = look_closer(&state, bytes, escaped, others);
            uint64_t inside = found.quotes ^ (found.quotes - 1); /* up to the first, or all */
            if (found.wrong & inside)
                return NULL;
            if (found.quotes) {
                at += __builtin_ctzll(found.quotes);
                *has_escape = (all_slashes | (slashes & inside)) != 0;
                return wide_count == 0 || are_utf8(wide, wide_count, begin, at + 1) ? at : NULL;
            }
        }
        all_slashes |= slashes;
        if (wide_count == WIDE_BLOCKS) {
            if (!are_utf8(wide, wide_count, begin, at + BLOCK))
                return NULL;
            wide_count = 0;
        }
    }
    return NULL;
}

static const struct scan_kernel avx512 = {
    .name = "AVX-512",
    .close_string = close_avx512,
    .skip_string = skip_string_avx2,
    .skip_nested = skip_nested_avx2,
};

/* Whatever has the first has the others, but for odd virtual machines. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("pclmul");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

const struct scan_kernel *const *scan_kernel_all(void)
{
    static const struct scan_kernel *const all[] = {&scan_kernel_plain, &sse2, &avx2, &avx512,
                                                    NULL};
    static const struct scan_kernel *const narrower[] = {&scan_kernel_plain, &sse2, &avx2, NULL};
    static const struct scan_kernel *const without_avx2[] = {&scan_kernel_plain, &sse2, NULL};
    return has_avx512() ? all : has_avx2() ? narrower : without_avx2;
}

const struct scan_kernel *scan_kernel_best(void)
{
    /* Several threads may find out at once; they find the same. */
    static _Atomic(const struct scan_kernel *) best;
    const struct scan_kernel *kernel = atomic_load_explicit(&best, memory_order_relaxed);
    if (!kernel) {
        kernel = has_avx512() ? &avx512 : has_avx2() ? &avx2 : &sse2;
        atomic_store_explicit(&best, kernel, memory_order_relaxed);
    }
    return kernel;
}

#endif
