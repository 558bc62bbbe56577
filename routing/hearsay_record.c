/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "routing/hearsay.h"

enum { NUMBERS_MAX = 8, LINE_MAX_BYTES = 1024, IDENTITY_DIGITS = 16 };

static const int64_t TIME_MAX_MS = INT64_C(86400000), TIME_MAX_US = INT64_C(3600000000),
                     COUNT_MAX = 1000000, CIRCUIT_MAX = CIRCUIT_HALF_OPEN,
                     TOKENS_MAX = INT64_C(1000000000000), PPM = 1000000,
                     TOKEN_MAX_NS = INT64_C(60000000000);

const struct text hearsay_head = TEXT("sluice 1\n");

/* -------------------------------------------------------------------------- what is said */

/* A letter, and the numbers behind it: where they stand, and how large they may be. */
struct word {
    char letter;
    unsigned count;
    struct {
        size_t at;
        const int64_t *most;
    } numbers[NUMBERS_MAX];
};

#define AT(member) offsetof(struct hearsay_line, member)
/* clang-format off */
static const struct word words[] = {
    {'c', 2, {{AT(circuit), &CIRCUIT_MAX}, {AT(turned_age_ms), &TIME_MAX_MS}}},
    {'w', 1, {{AT(cooling_ms), &TIME_MAX_MS}}},
    {'f', 2, {{AT(calls), &COUNT_MAX}, {AT(tokens), &TOKENS_MAX}}},
    {'r', 1, {{AT(room_milli), &TOKENS_MAX}}},
    {'e', 2, {{AT(failing_ppm), &PPM}, {AT(failed_age_ms), &TIME_MAX_MS}}},
    {'q', 7, {{AT(requests), &TOKENS_MAX}, {AT(requests_limit), &TOKENS_MAX}, {AT(requests_reset_ms), &TIME_MAX_MS},
              {AT(quota_tokens), &TOKENS_MAX}, {AT(tokens_limit), &TOKENS_MAX}, {AT(tokens_reset_ms), &TIME_MAX_MS},
              {AT(said_age_ms), &TIME_MAX_MS}}},
};
/* of a class, whose number stands first */
static const struct {
    size_t at;
    const int64_t *most;
} class_numbers[] = {
    {offsetof(struct hearsay_class, calm_us), &TIME_MAX_US}, {offsetof(struct hearsay_class, busy_us), &TIME_MAX_US},
    {offsetof(struct hearsay_class, hit_us), &TIME_MAX_US},  {offsetof(struct hearsay_class, p95_us), &TIME_MAX_US},
    {offsetof(struct hearsay_class, late_us), &TIME_MAX_US}, {offsetof(struct hearsay_class, token_ns), &TOKEN_MAX_NS},
    {offsetof(struct hearsay_class, age_ms), &TIME_MAX_MS},
};
/* clang-format on */
enum {
    WORDS = sizeof(words) / sizeof(words[0]),
    CLASS_NUMBERS = sizeof(class_numbers) / sizeof(class_numbers[0]),
    CLASS_LETTER = 'p',
};

static int64_t *number_at(struct hearsay_line *line, size_t at)
{
    return (int64_t *)(void *)((char *)line + at);
}

static int64_t number_of(const struct hearsay_line *line, size_t at)
{
    int64_t number;
    memcpy(&number, (const char *)line + at, sizeof(number));
    return number;
}

/* ------------------------------------------------------------------------------- writing */

struct writing {
    char bytes[LINE_MAX_BYTES];
    size_t len;
};

static void put_number(struct writing *out, char before, int64_t number, int64_t most)
{
    char room[TEXT_NUMBER_BYTES];
    number = number < 0 ? 0 : number > most ? most : number;
    struct text digits = text_write_number((uint64_t)number, room);
    if (out->len + 1 + digits.len >= sizeof(out->bytes))
        return; /* all of them together are shorter */
    out->bytes[out->len++] = before;
    memcpy(out->bytes + out->len, digits.at, digits.len);
    out->len += digits.len;
}

static void put_space(struct writing *out)
{
    if (out->len + 1 < sizeof(out->bytes))
        out->bytes[out->len++] = ' ';
}

/* Is it said at all? Each word has one number that tells. */
static bool is_said(const struct hearsay_line *line, char letter)
{
    switch (letter) {
    case 'c':
        return line->turned_age_ms >= 0;
    case 'w':
        return line->cooling_ms > 0;
    case 'f':
        return line->calls > 0;
    case 'r':
        return line->room_milli > 0;
    case 'e':
        return line->failing_ppm > 0 && line->failed_age_ms >= 0;
    case 'q':
        return line->said_age_ms >= 0;
    default:
        return false;
    }
}

static void put_word(struct writing *out, const struct hearsay_line *line, const struct word *word)
{
    if (!is_said(line, word->letter))
        return;
    put_space(out);
    for (unsigned i = 0; i < word->count; i++)
        put_number(out, i == 0 ? word->letter : ',', number_of(line, word->numbers[i].at),
                   *word->numbers[i].most);
}

static void put_class(struct writing *out, const struct hearsay_line *line, unsigned number)
{
    const struct hearsay_class *class = &line->classes[number];
    if (class->calm_us <= 0 || class->age_ms < 0)
        return;
    put_space(out);
    put_number(out, CLASS_LETTER, number, TRAFFIC_CLASSES);
    for (unsigned i = 0; i < CLASS_NUMBERS; i++) {
        int64_t value;
        memcpy(&value, (const char *)class + class_numbers[i].at, sizeof(value));
        put_number(out, ',', value, *class_numbers[i].most);
    }
}

size_t hearsay_line_write(const struct hearsay_line *line, char *out, size_t len, size_t room)
{
    struct writing one;
    one.len = (size_t)snprintf(one.bytes, sizeof(one.bytes), "%016" PRIx64, line->identity);
    for (unsigned i = 0; i < WORDS; i++)
        put_word(&one, line, &words[i]);
    for (unsigned i = 0; i < TRAFFIC_CLASSES; i++)
        put_class(&one, line, i);
    one.bytes[one.len++] = '\n';
    if (len > room || one.len > room - len)
        return len;
    memcpy(out + len, one.bytes, one.len);
    return len + one.len;
}

/* ------------------------------------------------------------------------------- reading */

static bool read_identity(struct text text, uint64_t *identity)
{
    *identity = 0;
    if (text.len != IDENTITY_DIGITS)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
        if (!digit && !letter)
            return false;
        *identity = *identity << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    return true;
}

/* One more of a word's numbers. */
static bool take_number(struct text *rest, int64_t most, int64_t *to)
{
    struct text item;
    uint64_t number;
    if (!text_next(rest, ',', &item) || !text_number(item, (uint64_t)most, &number))
        return false;
    *to = (int64_t)number;
    return true;
}

static bool read_class(struct text rest, struct hearsay_line *line)
{
    int64_t number, value;
    if (!take_number(&rest, TRAFFIC_CLASSES - 1, &number))
        return false;
    struct hearsay_class class = {0};
    for (unsigned i = 0; i < CLASS_NUMBERS; i++) {
        if (!take_number(&rest, *class_numbers[i].most, &value))
            return false;
        memcpy((char *)&class + class_numbers[i].at, &value, sizeof(value));
    }
    line->classes[number] = class;
    return true;
}

static bool read_word(struct text text, struct hearsay_line *line)
{
    struct text rest = text_from(text, 1);
    if (text.at[0] == CLASS_LETTER)
        return read_class(rest, line);
    for (unsigned w = 0; w < WORDS; w++) {
        if (words[w].letter != text.at[0])
            continue;
        for (unsigned i = 0; i < words[w].count; i++)
            if (!take_number(&rest, *words[w].numbers[i].most,
                             number_at(line, words[w].numbers[i].at)))
                return false;
    }
    return true; /* a newer one may say more */
}

bool hearsay_line_read(struct text text, struct hearsay_line *line)
{
    struct text rest = text, item;
    *line = (struct hearsay_line){.turned_age_ms = -1, .failed_age_ms = -1, .said_age_ms = -1};
    if (text.len > LINE_MAX_BYTES || !text_next(&rest, ' ', &item) ||
        !read_identity(item, &line->identity))
        return false;
    while (text_next(&rest, ' ', &item))
        if (item.len == 0 || !read_word(item, line))
            return false;
    return true;
}
