/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/scan_kernel.h"

#include <stdint.h>
#include <string.h>

#include "gateway/base/utf8.h"

/* Eight bytes at a time, in any byte order: is one of them ... ? */

static const uint64_t each = 0x0101010101010101U, tops = 0x8080808080808080U;

static inline uint64_t load(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

static inline uint64_t has_zero(uint64_t word)
{
    return (word - each) & ~word & tops;
}

static inline uint64_t has_byte(uint64_t word, unsigned char byte)
{
    return has_zero(word ^ (each * byte));
}

static inline uint64_t has_control(uint64_t word)
{
    return (word - each * 0x20) & ~word & tops;
}

static const char *find_special(const char *at, const char *end, bool *wide)
{
    uint64_t seen = 0;
    while (end - at >= 8) {
        uint64_t word = load(at);
        if (has_byte(word, '"') | has_byte(word, '\\') | has_control(word))
            break;
        seen |= word;
        at += 8;
    }
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
        seen |= (uint64_t)(unsigned char)*at++;
    *wide = *wide || (seen & tops);
    return at;
}

bool scan_is_utf8_plain(const char *at, const char *end)
{
    while (at < end) {
        if (end - at >= 8 && !(load(at) & tops)) {
            at += 8;
            continue;
        }
        size_t len = utf8_length(at, (size_t)(end - at));
        if (len == 0)
            return false;
        at += len;
    }
    return true;
}

static const char *find_quote(const char *at, const char *end)
{
    while (end - at >= 8 && !(has_byte(load(at), '"') | has_byte(load(at), '\\')))
        at += 8;
    while (at < end && *at != '"' && *at != '\\')
        at++;
    return at;
}

static inline bool is_bracket(char c)
{
    return (c | 0x20) == '{' || (c | 0x20) == '}';
}

static const char *find_bracket(const char *at, const char *end)
{
    while (end - at >= 8) {
        /* '[' and ']' differ from '{' and '}' in this one bit. */
        uint64_t word = load(at), curly = word | each * 0x20;
        if (has_byte(word, '"') | has_byte(word, '\\') | has_byte(curly, '{') |
            has_byte(curly, '}'))
            break;
        at += 8;
    }
    while (at < end && *at != '"' && *at != '\\' && !is_bracket(*at))
        at++;
    return at;
}

static const struct scan_finder finder = {find_special, find_quote, find_bracket,
                                          scan_is_utf8_plain};

static const char *close_plain(const char *at, const char *end, bool *has_escape)
{
    return scan_close_with(&finder, at, end, has_escape);
}

static const char *skip_string_plain(const char *at, const char *end, bool *escape)
{
    return scan_skip_string_with(&finder, at, end, escape);
}

static const char *skip_nested_plain(const char *at, const char *end, struct scan_nest *nest)
{
    return scan_skip_nested_with(&finder, at, end, nest);
}

const struct scan_kernel scan_kernel_plain = {
    .name = "plain C",
    .close_string = close_plain,
    .skip_string = skip_string_plain,
    .skip_nested = skip_nested_plain,
};

#ifndef __x86_64__

const struct scan_kernel *scan_kernel_best(void)
{
    return &scan_kernel_plain;
}

const struct scan_kernel *const *scan_kernel_all(void)
{
    static const struct scan_kernel *const all[] = {&scan_kernel_plain, NULL};
    return all;
}

#endif
