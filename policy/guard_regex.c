/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Regular expressions (PCRE2) that cannot stop a loop. PCRE2's limits are for each starting point
 * anew and do not count what a repeated class runs over. So there are three bounds: a match is at
 * most SPAN_MAX long, an attempt takes at most so many steps, and a look at a body has an allowance
 * of processor time that grows with what is looked at, checked between slices of few starting
 * points. Processor time, not the clock: a thread that had to wait for its turn has not worked.
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
    SPAN_MAX = 4096,
    HEAP_LIMIT_KIB = 16 * 1024,
    LOOKBEHIND_MAX = 1024,
    /* translated, and interpreted: about ten times as slow */
    STEPS_MAX = 20000,
    STEPS_SLOW_MAX = 5000,
    SLICE = 64,
    SLICE_SLOW = 16,
    ALLOWANCE_NANOS = 50000000,
    ALLOWANCE_HUNT_NANOS = 2000,
    ALLOWANCE_BYTE_NANOS = 20,
};

struct hunter {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_match_data *found;
    int64_t spent_nanos, allowed_nanos;
    int64_t tick_nanos; /* of the coarse clock, when it was last looked at */
};

struct regex {
    pcre2_code *code;
    size_t lookbehind; /* bytes in front of a match that it may look at */
    bool translated;   /* to machine code */
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

struct hunter *hunter_new(void)
{
    struct hunter *hunter = memory_new(sizeof(*hunter));
    hunter->memory = pcre2_general_context_create(take_memory, give_memory, NULL);
    hunter->limits = pcre2_match_context_create(hunter->memory);
    pcre2_set_heap_limit(hunter->limits, HEAP_LIMIT_KIB);
    hunter->found = pcre2_match_data_create(1, hunter->memory);
    hunter->allowed_nanos = ALLOWANCE_NANOS;
    return hunter;
}

void hunter_free(struct hunter *hunter)
{
    if (!hunter)
        return;
    pcre2_match_data_free(hunter->found);
    pcre2_match_context_free(hunter->limits);
    pcre2_general_context_free(hunter->memory);
    memory_free(hunter);
}

/* ------------------------------------------------------------------------------- compiling */

static void translate(struct regex *regex)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    size_t bytes = 0;
    int result = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    pcre2_pattern_info(regex->code, PCRE2_INFO_JITSIZE, &bytes);
    regex->translated = bytes > 0;
    if (result != PCRE2_ERROR_NOMEMORY)
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

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Count work since <since>, in processor time; asking for that is a system call, so it is done only
 * when the coarse clock, which costs nothing, has moved (every few milliseconds). */
static void count_work(struct hunter *hunter, int64_t *since)
{
    int64_t tick = read_clock(CLOCK_MONOTONIC_COARSE);
    if (tick == hunter->tick_nanos && *since)
        return;
    int64_t now = read_clock(CLOCK_THREAD_CPUTIME_ID);
    hunter->tick_nanos = tick;
    hunter->spent_nanos += *since ? now - *since : 0;
    *since = now;
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
                        size_t until, uint32_t options, struct span *span)
{
    struct text text = hunt->text;
    size_t begin = from > regex->lookbehind ? align(text, from - regex->lookbehind) : 0;
    size_t end = until + SPAN_MAX < text.len ? align(text, until + SPAN_MAX) : text.len;
    if (end < text.len || hunt->more)
        options |= PCRE2_NOTEOL;
    struct hunter *hunter = hunt->hunter;
    PCRE2_SPTR subject = (PCRE2_SPTR)text.at + begin;
    pcre2_set_offset_limit(hunter->limits, until - 1 - begin);
    int result = pcre2_match(regex->code, subject, end - begin, from - begin, options,
                             hunter->found, hunter->limits);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter uses the heap, which is larger */
        result = pcre2_match(regex->code, subject, end - begin, from - begin,
                             options | PCRE2_NO_JIT, hunter->found, hunter->limits);
    if (result == PCRE2_ERROR_NOMATCH)
        return ATTEMPT_NONE;
    if (result < 0)
        return ATTEMPT_LOST;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(hunter->found);
    *span = (struct span){begin + ends[0], begin + ends[1]};
    return ATTEMPT_FOUND;
}

static enum attempt seek(const struct regex *regex, const struct hunt *hunt, uint32_t options,
                         struct span *span)
{
    struct hunter *hunter = hunt->hunter;
    int64_t since = 0;
    enum attempt result = ATTEMPT_NONE;
    size_t slice = regex->translated ? SLICE : SLICE_SLOW;
    uint32_t steps = regex->translated ? STEPS_MAX : STEPS_SLOW_MAX;
    pcre2_set_match_limit(hunter->limits, steps);
    pcre2_set_depth_limit(hunter->limits, steps);
    hunter->allowed_nanos += ALLOWANCE_HUNT_NANOS;
    count_work(hunter, &since);
    size_t from = hunt->from;
    while (from < hunt->until) {
        size_t until = hunt->until - from > slice ? align(hunt->text, from + slice) : hunt->until;
        result = try(regex, hunt, from, until, options, span);
        hunter->allowed_nanos += (int64_t)(until - from) * ALLOWANCE_BYTE_NANOS;
        count_work(hunter, &since);
        if (result == ATTEMPT_NONE && hunter->spent_nanos > hunter->allowed_nanos)
            result = ATTEMPT_LOST;
        if (result != ATTEMPT_NONE)
            break;
        from = until;
    }
    if (result == ATTEMPT_LOST)
        *span = (struct span){from, hunt->text.len};
    return result;
}

bool regex_find(const struct regex *regex, const struct hunt *hunt, struct span *span)
{
    enum attempt result = seek(regex, hunt, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, span);
    if (span->begin >= span->end) /* \K may turn it around */
        *span = (struct span){hunt->from, hunt->text.len};
    return result != ATTEMPT_NONE; /* what cannot be told counts as a match */
}

bool regex_fits(const struct regex *regex, struct text text, struct hunter *hunter)
{
    struct span span;
    struct hunt hunt = {.text = text, .until = text.len + 1, .hunter = hunter};
    return text.len <= SPAN_MAX && seek(regex, &hunt, PCRE2_NO_UTF_CHECK, &span) == ATTEMPT_FOUND;
}
