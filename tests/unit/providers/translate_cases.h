/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * translate_cases - what tests of a dialect's translators share: a call written, an answer brought
 * back, each compared with the bytes it shall be. For tests/unit/providers only.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "providers/translator.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void assert_text(struct text is, const char *wanted)
{
    char copy[16384];
    assert_true(is.len < sizeof(copy));
    memcpy(copy, is.len ? is.at : "", is.len);
    copy[is.len] = '\0';
    assert_string_equal(copy, wanted);
}

/* <body>, a call of <from>, for a target <type> that speaks <to>: is it <wanted>, with these
 * demands and hints? */
static void assert_call(const struct translator *from, const struct translator *to,
                        const char *type, bool stream, const char *body, const char *wanted,
                        const char *demands, const char *hints)
{
    struct arena arena;
    struct call_target target = {
        .type = provider_type_find(text_of(type)), .model = {"m", 1}, .stream = stream};
    struct translated_call call;
    struct fault fault = {.kind = FAULT_NONE};
    assert_non_null(target.type);
    arena_init(&arena, 4096);
    if (!translate_call(&arena, from, to, text_of(body), TEXT(""), stream, &target, &call, &fault))
        fail_msg("%s: %s", fault.param ? fault.param : "", fault.text);
    assert_text(call.body, wanted);
    assert_text(call.demands, demands);
    assert_text(call.hints, hints);
    arena_done(&arena);
}

/* <body> is no call of <from>, because of <param>. */
static void assert_refused(const struct translator *from, const char *body, const char *param)
{
    struct arena arena;
    struct fault fault = {.kind = FAULT_NONE};
    arena_init(&arena, 4096);
    assert_null(translate_read(&arena, from, text_of(body), TEXT(""), false, &fault));
    assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
    assert_string_equal(fault.param, param);
    arena_done(&arena);
}

/* Feed <answer> in pieces of <each> bytes; what comes of it is appended to <out>. */
static enum translation_state feed(const struct answer_way *way, const char *answer, size_t each,
                                   struct answer *seen, struct buffer *out, struct fault *fault)
{
    struct text rest = text_of(answer);
    *seen = (struct answer){.operation = way->from->operation};
    struct translation *t = translation_new(way, seen);
    enum translation_state state = TRANSLATION_GOES;
    while (rest.len && state == TRANSLATION_GOES) {
        state = translation_feed(t, text_head(rest, each), out);
        rest = text_from(rest, each);
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(t, out);
    *fault = *translation_fault(t);
    translation_free(t);
    return state;
}

/* Is <answer> made into <wanted>, however it is cut? */
static struct answer assert_made(const struct answer_way *way, const char *answer,
                                 const char *wanted)
{
    static const size_t sizes[] = {SIZE_MAX / 2, 1, 7};
    struct answer seen = {0};
    struct fault fault;
    for (size_t i = 0; i < 3; i++) {
        struct buffer out;
        buffer_init(&out, 1 << 20);
        if (feed(way, answer, sizes[i], &seen, &out, &fault) != TRANSLATION_ENDED)
            fail_msg("%s", fault.text);
        assert_text(buffer_text(&out), wanted);
        buffer_done(&out);
    }
    return seen;
}

static inline void assert_broken(const struct answer_way *way, const char *answer,
                                 enum fault_kind kind)
{
    struct answer seen;
    struct fault fault;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    assert_int_equal(feed(way, answer, 3, &seen, &out, &fault), TRANSLATION_FAILED);
    assert_int_equal(fault.kind, kind);
    buffer_done(&out);
}
