/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of guard share. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/base/memory.h"
#include "policy/guard.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct text rule_pattern[16];
static size_t rule_patterns;

/* A rule with one pattern; all live as long as the test does (the newest 16). */
static inline struct guard_rule regex_rule(const char *name, const char *pattern,
                                           enum guard_action action)
{
    struct text *at = &rule_pattern[rule_patterns++ % 16];
    *at = text_of(pattern);
    return (struct guard_rule){.name = text_of(name),
                               .type = GUARD_REGEX,
                               .action = action,
                               .patterns = at,
                               .pattern_count = 1,
                               .stream_window = 64};
}

/* Look at <body>; *out, to be freed, is the new one or NULL. */
static inline struct guard_verdict look(const struct guard_rule *rules, size_t count,
                                        enum guard_stage stage, const char *body, char **out)
{
    struct fault fault = {0};
    struct guard *guard = guard_new(rules, count, &fault);
    if (!guard)
        print_error("%s\n", fault.text);
    assert_non_null(guard);
    uint64_t concerns = guard_concerns(guard, stage, NULL, 0, TEXT("m"));
    struct guard_verdict verdict;
    struct buffer made;
    buffer_init(&made, 16 * 1024 * 1024);
    guard_look(guard, concerns, stage, text_of(body), &verdict, &made);
    static char rule[128];
    if (verdict.rule) /* it lives no longer than the guard */
        snprintf(rule, sizeof(rule), "%s", verdict.rule);
    verdict.rule = verdict.rule ? rule : NULL;
    if (out) {
        struct text text = buffer_text(&made);
        *out = verdict.changed ? memory_string(text) : NULL;
    }
    buffer_done(&made);
    guard_free(guard);
    return verdict;
}

/* <body> must become <expected>; NULL: it must stay as it is, and match nothing. */
static inline void check_look(const struct guard_rule *rules, size_t count, enum guard_stage stage,
                              const char *body, const char *expected)
{
    char *out = NULL;
    struct guard_verdict verdict = look(rules, count, stage, body, &out);
    if (!expected) {
        if (verdict.matched)
            print_error("matched: %s\n", body);
        assert_int_equal(verdict.matched, 0);
        assert_null(out);
        return;
    }
    if (!out)
        print_error("unchanged: %s\n", body);
    assert_non_null(out);
    assert_false(verdict.blocks);
    assert_string_equal(out, expected);
    free(out);
}

/* <frame> with <inside> in the place of its "%s"; free it. */
static inline char *framed(const char *frame, const char *inside)
{
    const char *place = strstr(frame, "%s");
    size_t room = strlen(frame) + strlen(inside);
    char *made = malloc(room);
    snprintf(made, room, "%.*s%s%s", (int)(place - frame), frame, inside, place + 2);
    return made;
}

static inline char *request_with(const char *text)
{
    struct buffer body;
    buffer_init(&body, 1 << 20);
    buffer_append_text(&body, TEXT("{\"input\":"));
    json_write_string(&body, text_of(text));
    buffer_append_text(&body, TEXT("}"));
    struct text made = buffer_text(&body);
    char *copy = memory_string(made);
    buffer_done(&body);
    return copy;
}

static inline void check_text(const struct guard_rule *rule, const char *text, const char *expected)
{
    char *body = request_with(text), *wanted = expected ? request_with(expected) : NULL;
    check_look(rule, 1, GUARD_REQUEST, body, wanted);
    free(body);
    free(wanted);
}

static inline bool matches(const struct guard_rule *rule, const char *text)
{
    char *body = request_with(text);
    struct guard_verdict verdict = look(rule, 1, GUARD_REQUEST, body, NULL);
    free(body);
    if (!verdict.matched)
        print_message("not matched: %s\n", text);
    return verdict.matched != 0;
}
