/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Regular expressions (PCRE2) that cannot stop a loop. Three bounds: a match is at most SPAN_MAX
 * long; one attempt takes at most MATCH_LIMIT steps; and a look at a body has an allowance of
 * processor time that grows with what is looked at, checked between slices of starting points.
 * Processor time, not the clock: a thread that had to wait for its turn has not worked.
 */

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/utf8.h"
#include "policy/guard_inside.h"

enum {
    PATTERN_MAX = 16 * 1024,
    SPAN_MAX = 16 * 1024,
    MATCH_LIMIT = 20000,
    DEPTH_LIMIT = 20000,
    HEAP_LIMIT_KIB = 16 * 1024,
    LOOKBEHIND_MAX = 1024,
    SLICE_FIRST = 128,
    SLICE_MIN = 64,
    SLICE_MAX = 1024,
    SLICE_QUICK_NANOS = 200000,
    ALLOWANCE_NANOS = 50000000,
    ALLOWANCE_HUNT_NANOS = 2000,
    ALLOWANCE_BYTE_NANOS = 20,
};

struct search {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_match_data *found;
    int64_t spent_nanos, allowed_nanos;
};

struct regex {
    pcre2_code *code;
    size_t lookbehind; /* bytes in front of a match that it may look at */
};

static void *take_memory(PCRE2_SIZE bytes, void *with)
{
    (void)with;
    return memory_new(bytes);
}

static void give_memory(void *what, void *with)
{
    (void)with;
    memory_free(what);
}

struct search *search_new(void)
{
    struct search *search = memory_new(sizeof(*search));
    search->memory = pcre2_general_context_create(take_memory, give_memory, NULL);
    search->limits = pcre2_match_context_create(search->memory);
    pcre2_set_match_limit(search->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(search->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(search->limits, HEAP_LIMIT_KIB);
    search->found = pcre2_match_data_create(1, search->memory);
    search->allowed_nanos = ALLOWANCE_NANOS;
    return search;
}

void search_free(struct search *search)
{
    if (!search)
        return;
    pcre2_match_data_free(search->found);
    pcre2_match_context_free(search->limits);
    pcre2_general_context_free(search->memory);
    memory_free(search);
}

/* ------------------------------------------------------------------------------- compiling */

static void translate(struct regex *regex)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0)
        return;
    /* No memory may be made executable (MemoryDenyWriteExecute): the interpreter does it too. */
    if (!atomic_flag_test_and_set(&said))
        log_line(LOG_INFO, "guard",
                 "regular expressions are interpreted: the system lets no machine code be made");
}

struct regex *regex_new(struct text pattern, bool nocase, char *words, size_t room)
{
    if (pattern.len == 0 || pattern.len > PATTERN_MAX) {
        snprintf(words, room, "a pattern has from 1 to %d bytes", PATTERN_MAX);
        return NULL;
    }
    int problem;
    PCRE2_SIZE at;
    uint32_t options = PCRE2_UTF | PCRE2_USE_OFFSET_LIMIT | PCRE2_NEVER_BACKSLASH_C |
                       (nocase ? PCRE2_CASELESS : 0);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern.at, pattern.len, options, &problem, &at, NULL);
    if (!code) {
        PCRE2_UCHAR text[160];
        pcre2_get_error_message(problem, text, sizeof(text));
        snprintf(words, room, "%s, at byte %zu", (const char *)text, (size_t)at);
        return NULL;
    }
    struct regex *regex = memory_new(sizeof(*regex));
    regex->code = code;
    uint32_t characters = 0;
    pcre2_pattern_info(code, PCRE2_INFO_MAXLOOKBEHIND, &characters);
    regex->lookbehind = (size_t)(characters ? characters : 1) * 4;
    if (regex->lookbehind > LOOKBEHIND_MAX)
        regex->lookbehind = LOOKBEHIND_MAX;
    translate(regex);
    return regex;
}

void regex_free(struct regex *regex)
{
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    memory_free(regex);
}

/* -------------------------------------------------------------------------------- matching */

static int64_t worked_nanos(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The next beginning of a character at or behind <at>. */
static size_t align(struct text text, size_t at)
{
    while (at < text.len && utf8_is_tail((unsigned char)text.at[at]))
        at++;
    return at < text.len ? at : text.len;
}

enum attempt { ATTEMPT_NONE, ATTEMPT_FOUND, ATTEMPT_LOST };

/* A match that begins in [from, until)? LOST when it takes too many steps to tell. */
static enum attempt try(const struct regex *regex, const struct hunt *hunt, size_t from,
                        size_t until, struct span *span)
{
    struct text text = hunt->text;
    size_t begin = from > regex->lookbehind ? align(text, from - regex->lookbehind) : 0;
    size_t end = text.len - until > SPAN_MAX ? align(text, until + SPAN_MAX) : text.len;
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    if (end < text.len || hunt->more)
        options |= PCRE2_NOTEOL;
    struct search *search = hunt->search;
    PCRE2_SPTR subject = (PCRE2_SPTR)text.at + begin;
    pcre2_set_offset_limit(search->limits, until - 1 - begin);
    int result = pcre2_match(regex->code, subject, end - begin, from - begin, options,
                             search->found, search->limits);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter uses the heap, which is larger */
        result = pcre2_match(regex->code, subject, end - begin, from - begin,
                             options | PCRE2_NO_JIT, search->found, search->limits);
    if (result == PCRE2_ERROR_NOMATCH)
        return ATTEMPT_NONE;
    if (result < 0)
        return ATTEMPT_LOST;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(search->found);
    *span = (struct span){begin + ends[0], begin + ends[1]};
    return span->begin < span->end ? ATTEMPT_FOUND : ATTEMPT_LOST;
}

bool regex_find(const struct regex *regex, const struct hunt *hunt, struct span *span)
{
    struct search *search = hunt->search;
    int64_t since = worked_nanos();
    size_t slice = SLICE_FIRST;
    enum attempt result = ATTEMPT_NONE;
    size_t from = hunt->from;
    search->allowed_nanos += ALLOWANCE_HUNT_NANOS;
    while (from < hunt->until && result == ATTEMPT_NONE) {
        size_t until = hunt->until - from > slice ? align(hunt->text, from + slice) : hunt->until;
        result = try(regex, hunt, from, until, span);
        int64_t now = worked_nanos(), took = now - since;
        since = now;
        search->spent_nanos += took;
        search->allowed_nanos += (int64_t)(until - from) * ALLOWANCE_BYTE_NANOS;
        if (result == ATTEMPT_NONE && search->spent_nanos > search->allowed_nanos)
            result = ATTEMPT_LOST;
        else
            from = result == ATTEMPT_NONE ? until : from;
        slice = took > SLICE_QUICK_NANOS ? SLICE_MIN : slice < SLICE_MAX ? slice * 2 : SLICE_MAX;
    }
    if (result == ATTEMPT_LOST) /* what cannot be told counts as a match */
        *span = (struct span){from, hunt->text.len};
    return result != ATTEMPT_NONE;
}

bool regex_fits(const struct regex *regex, struct text text, struct search *search)
{
    if (text.len > SPAN_MAX)
        return false;
    pcre2_set_offset_limit(search->limits, PCRE2_UNSET);
    return pcre2_match(regex->code, (PCRE2_SPTR)text.at, text.len, 0, PCRE2_NO_UTF_CHECK,
                       search->found, search->limits) >= 0;
}
