/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/text.h"

static inline unsigned char lower(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? u | 0x20 : u;
}

bool text_equal_nocase(struct text a, struct text b)
{
    return a.len == b.len && text_starts_nocase(a, b);
}

bool text_starts_nocase(struct text t, struct text prefix)
{
    if (t.len < prefix.len)
        return false;
    for (size_t i = 0; i < prefix.len; i++)
        if (lower(t.at[i]) != lower(prefix.at[i]))
            return false;
    return true;
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

bool text_number(struct text t, uint64_t max, uint64_t *number)
{
    uint64_t n = 0;
    if (t.len == 0)
        return false;
    for (size_t i = 0; i < t.len; i++) {
        if (t.at[i] < '0' || t.at[i] > '9')
            return false;
        unsigned digit = (unsigned)(t.at[i] - '0');
        if (n > (max - digit) / 10 || digit > max)
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
