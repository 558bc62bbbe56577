/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/text.h"

static inline unsigned char lower(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? u | 0x20 : u;
}

/* Eight letters at a time: 0x20 into each byte that is one of A to Z. */
static inline uint64_t lower_eight(uint64_t word)
{
    const uint64_t each = 0x0101010101010101U, tops = 0x8080808080808080U;
    uint64_t low = word & ~tops;
    uint64_t from_a = low + each * (0x80 - 'A'), behind_z = low + each * (0x7f - 'Z');
    return word | ((from_a & ~behind_z & ~word & tops) >> 2);
}

static inline uint32_t half_at(const char *at)
{
    uint32_t half;
    memcpy(&half, at, sizeof(half));
    return half;
}

static inline bool same_eight(const char *a, const char *b)
{
    uint64_t one = text_word(a), other = text_word(b);
    return one == other || lower_eight(one) == lower_eight(other);
}

bool text_same(const char *a, const char *b, size_t len)
{
    enum { WORD = 8, HALF = 4 };
    if (len >= WORD) {
        size_t last = len - WORD;
        for (size_t i = 0; i < last; i += WORD)
            if (text_word(a + i) != text_word(b + i))
                return false;
        return text_word(a + last) == text_word(b + last); /* some of it twice */
    }
    if (len >= HALF)
        return half_at(a) == half_at(b) && half_at(a + len - HALF) == half_at(b + len - HALF);
    for (size_t i = 0; i < len; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

bool text_same_nocase(const char *a, const char *b, size_t len)
{
    if (len < 4) {
        for (size_t i = 0; i < len; i++)
            if (lower(a[i]) != lower(b[i]))
                return false;
        return true;
    }
    if (len < 8) { /* both halves, some of it twice */
        uint64_t one = (uint64_t)half_at(a + len - 4) << 32 | half_at(a);
        uint64_t other = (uint64_t)half_at(b + len - 4) << 32 | half_at(b);
        return one == other || lower_eight(one) == lower_eight(other);
    }
    for (size_t i = 0; i + 8 < len; i += 8)
        if (!same_eight(a + i, b + i))
            return false;
    return same_eight(a + len - 8, b + len - 8); /* some of it twice */
}

/* Take a letter off the front, in lower case. */
static char take_letter(struct text *name)
{
    static const struct {
        struct text letter;
        char plain;
    } others[] = {{{"\xc5\xbf", 2}, 's'}, {{"\xe2\x84\xaa", 3}, 'k'}};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (text_starts(*name, others[i].letter)) {
            *name = text_from(*name, others[i].letter.len);
            return others[i].plain;
        }
    char c = name->at[0];
    *name = text_from(*name, 1);
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool text_is_name(struct text name, struct text plain)
{
    if (name.len < plain.len || name.len > 3 * plain.len)
        return false;
    while (name.len && plain.len)
        if (take_letter(&name) != take_letter(&plain))
            return false;
    return name.len == 0 && plain.len == 0;
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct text text_trim(struct text t)
{
    while (t.len > 0 && is_blank(t.at[0])) {
        t.at++;
        t.len--;
    }
    while (t.len > 0 && is_blank(t.at[t.len - 1]))
        t.len--;
    return t;
}

size_t text_find(struct text t, struct text needle)
{
    if (needle.len == 0)
        return 0;
    if (t.len < needle.len)
        return SIZE_MAX;
    const char *at = memmem(t.at, t.len, needle.at, needle.len);
    return at ? (size_t)(at - t.at) : SIZE_MAX;
}

size_t text_find_byte(struct text t, char byte)
{
    const char *at = t.len ? memchr(t.at, byte, t.len) : NULL;
    return at ? (size_t)(at - t.at) : SIZE_MAX;
}

bool text_next(struct text *rest, char separator, struct text *item)
{
    if (!rest->at)
        return false;
    size_t end = text_find_byte(*rest, separator);
    if (end == SIZE_MAX) {
        *item = text_trim(*rest);
        *rest = (struct text){NULL, 0};
        return true;
    }
    *item = text_trim(text_head(*rest, end));
    *rest = text_from(*rest, end + 1);
    return true;
}

/* <number> in front of room[end]; where it begins. */
static inline size_t put_in_front(char *room, size_t end, uint64_t number)
{
    /* clang-format off */
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
        "495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    /* clang-format on */
    while (number >= 100) {
        end -= 2;
        memcpy(room + end, pairs + number % 100 * 2, 2);
        number /= 100;
    }
    if (number >= 10) {
        end -= 2;
        memcpy(room + end, pairs + number * 2, 2);
    } else {
        room[--end] = (char)('0' + number);
    }
    return end;
}

struct text text_write_number(uint64_t number, char room[TEXT_NUMBER_BYTES])
{
    size_t at = put_in_front(room, TEXT_NUMBER_BYTES, number);
    return (struct text){room + at, TEXT_NUMBER_BYTES - at};
}

/* 1233 / 4096 is the logarithm of 2: from the number of bits that of digits, or one less. */
static inline unsigned digits_of(uint64_t number)
{
    static const uint64_t powers[TEXT_NUMBER_BYTES] = {0,
                                                       10,
                                                       100,
                                                       1000,
                                                       10000,
                                                       100000,
                                                       1000000,
                                                       10000000,
                                                       100000000,
                                                       1000000000,
                                                       10000000000,
                                                       100000000000,
                                                       1000000000000,
                                                       10000000000000,
                                                       100000000000000,
                                                       1000000000000000,
                                                       10000000000000000,
                                                       100000000000000000,
                                                       1000000000000000000,
                                                       10000000000000000000U};
    unsigned bits = 64 - (unsigned)__builtin_clzll(number | 1), least = bits * 1233 >> 12;
    return least + (number >= powers[least]);
}

char *text_put_number(char *at, uint64_t number)
{
    if (number < 10) { /* as most are */
        *at = (char)('0' + number);
        return at + 1;
    }
    size_t digits = digits_of(number);
    put_in_front(at, digits, number);
    return at + digits;
}

bool text_number(struct text t, uint64_t max, uint64_t *number)
{
    uint64_t n = 0, most = max / 10;
    unsigned last = (unsigned)(max % 10);
    if (t.len == 0)
        return false;
    for (size_t i = 0; i < t.len; i++) {
        unsigned digit = (unsigned char)(t.at[i] - '0');
        if (digit > 9 || n > most || (n == most && digit > last))
            return false;
        n = n * 10 + digit;
    }
    *number = n;
    return true;
}

bool text_matches(struct text t, struct text pattern)
{
    size_t i = 0, p = 0, star = SIZE_MAX, mark = 0;
    while (i < t.len) {
        if (p < pattern.len && pattern.at[p] == '*') {
            star = p++;
            mark = i;
        } else if (p < pattern.len && pattern.at[p] == t.at[i]) {
            p++;
            i++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            i = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.at[p] == '*')
        p++;
    return p == pattern.len;
}

enum { DISTANCE_MAX_LENGTH = 63 };

unsigned text_distance(struct text a, struct text b, unsigned limit)
{
    unsigned row[3][DISTANCE_MAX_LENGTH + 1];
    if (a.len > DISTANCE_MAX_LENGTH || b.len > DISTANCE_MAX_LENGTH)
        return limit;
    for (size_t j = 0; j <= b.len; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *now = row[i % 3], *above = row[(i - 1) % 3], *above2 = row[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            unsigned cost = above[j - 1] + (a.at[i - 1] != b.at[j - 1]);
            if (above[j] + 1 < cost)
                cost = above[j] + 1;
            if (now[j - 1] + 1 < cost)
                cost = now[j - 1] + 1;
            if (i > 1 && j > 1 && a.at[i - 1] == b.at[j - 2] && a.at[i - 2] == b.at[j - 1] &&
                above2[j - 2] + 1 < cost)
                cost = above2[j - 2] + 1;
            now[j] = cost;
        }
    }
    unsigned distance = row[a.len % 3][b.len];
    return distance < limit ? distance : limit;
}
