/* SPDX-License-Identifier: Apache-2.0 */

/* Vectors: reading them, making them small, comparing two. */

#include <math.h>
#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "policy/semantic_inside.h"

enum { LEVELS = 127, MILLION = 1000000, NUMBER_TEXT_MAX = 64, FLOAT_BYTES = 4 };

_Static_assert((int64_t)SEMANTIC_DIMENSIONS_MAX *LEVELS *LEVELS < INT32_MAX, "a sum overflows");

/* --------------------------------------------- the inner product: where the time goes */

#ifdef __SSE2__

/* The lower and the upper eight as 16 bits: a byte put twice, then shifted down with its sign. */
static inline __m128i low_words(__m128i bytes)
{
    return _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
}

static inline __m128i high_words(__m128i bytes)
{
    return _mm_srai_epi16(_mm_unpackhi_epi8(bytes, bytes), 8);
}

static inline __m128i load(const int8_t *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

/* Every x86-64 has these; wider ones wait for the same memory. */
int32_t semantic_product(const int8_t *a, const int8_t *b, size_t count)
{
    __m128i low = _mm_setzero_si128(), high = low;
    for (size_t i = 0; i < count; i += sizeof(__m128i)) {
        __m128i x = load(a + i), y = load(b + i);
        low = _mm_add_epi32(low, _mm_madd_epi16(low_words(x), low_words(y)));
        high = _mm_add_epi32(high, _mm_madd_epi16(high_words(x), high_words(y)));
    }
    int32_t sums[4];
    _mm_storeu_si128((__m128i *)(void *)sums, _mm_add_epi32(low, high));
    return sums[0] + sums[1] + sums[2] + sums[3];
}

#else

int32_t semantic_product(const int8_t *a, const int8_t *b, size_t count)
{
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (int16_t)a[i] * (int16_t)b[i];
    return sum;
}

#endif

int semantic_likeness(const struct semantic_vector *a, const struct semantic_vector *b)
{
    if (a->dimensions != b->dimensions)
        return -MILLION;
    int32_t product = semantic_product(a->at, b->at, semantic_stride(a->dimensions));
    return (int)lroundf((float)product / (a->length * b->length) * MILLION);
}

/* ------------------------------------------------------------------------------ making */

/* The largest; negative when one is no number. */
static float largest_of(const float *numbers, size_t count)
{
    float largest = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(numbers[i]))
            return -1;
        largest = fmaxf(largest, fabsf(numbers[i]));
    }
    return largest;
}

struct semantic_vector *semantic_vector_new(const float *numbers, size_t count)
{
    float largest = count <= SEMANTIC_DIMENSIONS_MAX ? largest_of(numbers, count) : -1;
    if (largest <= 0)
        return NULL;
    size_t stride = semantic_stride(count);
    struct semantic_vector *vector = memory_new(sizeof(*vector) + stride);
    vector->dimensions = count;
    for (size_t i = 0; i < count; i++)
        vector->at[i] = (int8_t)lroundf(numbers[i] / largest * LEVELS);
    vector->length = sqrtf((float)semantic_product(vector->at, vector->at, stride));
    return vector;
}

void semantic_vector_free(struct semantic_vector *vector)
{
    memory_free(vector);
}

/* ------------------------------------------------------------------------------ reading */

/* Into <numbers>, which has room for SEMANTIC_DIMENSIONS_MAX; 0 when they are not what they should
 * be. */
static size_t read_numbers(struct text array, float *numbers)
{
    struct text name, value;
    size_t count = 0;
    while (member_next(&array, &name, &value)) {
        char digits[NUMBER_TEXT_MAX], *end;
        if (count == SEMANTIC_DIMENSIONS_MAX || value.len == 0 || value.len >= sizeof(digits))
            return 0;
        memcpy(digits, value.at, value.len);
        digits[value.len] = '\0';
        numbers[count++] = strtof(digits, &end);
        if (*end != '\0')
            return 0;
    }
    return count;
}

/* The six bits of a letter of base64 (RFC 4648 4), or -1. */
static int bits_of(char letter)
{
    if (letter >= 'A' && letter <= 'Z')
        return letter - 'A';
    if (letter >= 'a' && letter <= 'z')
        return letter - 'a' + 26;
    if (letter >= '0' && letter <= '9')
        return letter - '0' + 52;
    if (letter == '+')
        return 62;
    return letter == '/' ? 63 : -1;
}

/* Little-endian IEEE 754 floats in base64. */
static size_t read_base64(struct text letters, float *numbers)
{
    uint64_t bits = 0;
    unsigned held = 0;
    size_t count = 0;
    uint32_t word = 0;
    unsigned bytes = 0;
    while (letters.len > 0 && letters.at[letters.len - 1] == '=')
        letters.len--;
    for (size_t i = 0; i < letters.len; i++) {
        int six = bits_of(letters.at[i]);
        if (six < 0)
            return 0;
        bits = bits << 6 | (unsigned)six;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        word |= (uint32_t)(bits >> held & 0xFF) << (8 * bytes);
        if (++bytes < FLOAT_BYTES)
            continue;
        if (count == SEMANTIC_DIMENSIONS_MAX)
            return 0;
        memcpy(&numbers[count++], &word, sizeof(word));
        word = bytes = 0;
    }
    return bytes == 0 ? count : 0;
}

struct semantic_vector *semantic_vector_read(struct text json)
{
    struct text all = member_find(json, TEXT("data")), name, first;
    if (!all.at || all.len == 0 || all.at[0] != '[' || !member_next(&all, &name, &first))
        return NULL;
    struct text value = member_find(first, TEXT("embedding"));
    if (!value.at || value.len == 0)
        return NULL;
    float *numbers = memory_new(SEMANTIC_DIMENSIONS_MAX * sizeof(*numbers));
    struct text letters = member_string(value);
    size_t count = letters.at ? read_base64(letters, numbers) : read_numbers(value, numbers);
    struct semantic_vector *vector = count > 0 ? semantic_vector_new(numbers, count) : NULL;
    memory_free(numbers);
    return vector;
}
