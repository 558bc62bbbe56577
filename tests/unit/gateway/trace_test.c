/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/config/config.h"
#include "gateway/trace.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define ID   "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static void contexts_are_read(void **state)
{
    (void)state;
    struct trace_context context;
    assert_true(trace_context_read(TEXT("00-" ID "-" SPAN "-01"), &context));
    assert_true(context.sampled);
    assert_int_equal(context.parent, 0x00f067aa0ba902b7);
    assert_int_equal(context.id[0], 0x4b);
    assert_int_equal(context.id[15], 0x36);
    assert_true(trace_context_read(TEXT("00-" ID "-" SPAN "-00"), &context));
    assert_false(context.sampled);
    assert_true(trace_context_read(TEXT("00-" ID "-" SPAN "-fe"), &context));
    assert_false(context.sampled);
    /* of a later version */
    assert_true(trace_context_read(TEXT("01-" ID "-" SPAN "-01"), &context));
    assert_true(trace_context_read(TEXT("01-" ID "-" SPAN "-03-more"), &context));
    static const char *const bad[] = {"",
                                      "00",
                                      "00-" ID "-" SPAN "-0",
                                      "00-" ID "-" SPAN "-01-more",
                                      "00-" ID "-" SPAN "-011",
                                      "01-" ID "-" SPAN "-011",
                                      "ff-" ID "-" SPAN "-01",
                                      "0g-" ID "-" SPAN "-01",
                                      "00-" ID "-" SPAN "-0g",
                                      "00_" ID "-" SPAN "-01",
                                      "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
                                      "00-00000000000000000000000000000000-" SPAN "-01",
                                      "00-" ID "-0000000000000000-01"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (trace_context_read(text_of(bad[i]), &context))
            fail_msg("%s is taken", bad[i]);
}

static struct provider_type type = {.name = {"gemini", 6}};
static struct provider_settings provider = {.name = {"up", 2}, .type = &type};
static struct target targets[2] = {{.id = {"a", 1}, .model = {"m", 1}, .provider = &provider},
                                   {.id = {"b", 1}, .model = {"m", 1}, .provider = &provider}};
static const struct ledger_row row = {
    .id = {"req", 3}, .started_us = 1000000, .status = 200, .operation = {"chat", 4}};

static struct json *written(const struct trace *trace, size_t room, struct buffer *out)
{
    struct trace_facts facts = {.row = &row,
                                .method = "POST",
                                .route = TEXT("/chat/completions"),
                                .begun_us = 500,
                                .now_us = 900};
    struct json_problem problem;
    buffer_init(out, room);
    buffer_append_text(out, TEXT("["));
    if (!trace_write_spans(trace, &facts, out))
        return NULL;
    out->end--; /* the last comma */
    buffer_append_text(out, TEXT("]"));
    struct json *json = json_read(buffer_text(out), &problem);
    assert_non_null(json);
    return json;
}

static void a_try_ends_with_its_own_target(void **state)
{
    (void)state;
    struct trace trace = {.span = 1};
    char parent[TRACEPARENT_BYTES];
    memset(trace.id, 0xab, sizeof(trace.id));
    trace_begin_try(&trace, 2, &targets[0], 600);
    trace_begin_try(&trace, 3, &targets[1], 700);
    trace_end_try(&trace, &targets[0], 800, FAULT_TARGET_DOWN);
    assert_int_equal(trace.tries[0].ended_us, 800);
    assert_int_equal(trace.tries[1].ended_us, 0);
    trace_write_parent(&trace, parent);
    assert_string_equal(parent, "00-abababababababababababababababab-0000000000000003-01");
    struct buffer out;
    struct json *json = written(&trace, 65536, &out);
    assert_int_equal(json_count(json), 3);
    struct text text = {NULL, 0};
    assert_true(json_to_text(json_member(json_item(json, 1), "startTimeUnixNano"), &text));
    assert_true(text_equal(text, TEXT("1000100000"))); /* 100 us after the call */
    assert_true(json_to_text(json_member(json_item(json, 1), "endTimeUnixNano"), &text));
    assert_true(text_equal(text, TEXT("1000300000")));
    assert_true(json_to_text(json_member(json_item(json, 2), "endTimeUnixNano"), &text));
    assert_true(text_equal(text, TEXT("1000400000"))); /* it was given up */
    assert_true(text_find(buffer_text(&out), TEXT("gcp.gemini")) != SIZE_MAX);
    assert_true(text_find(buffer_text(&out), TEXT("cancelled")) != SIZE_MAX);
    json_free(json);
    buffer_done(&out);
}

static void what_finds_no_room_leaves_nothing(void **state)
{
    (void)state;
    struct trace trace = {.span = 1};
    trace_begin_try(&trace, 2, &targets[0], 600);
    for (size_t room = 2; room < 1024; room += 61) {
        struct buffer out;
        struct json *json = written(&trace, room, &out);
        assert_null(json);
        assert_int_equal(buffer_length(&out), 1);
        assert_false(out.overrun);
        buffer_done(&out);
    }
}

static void only_so_many_tries_have_spans(void **state)
{
    (void)state;
    struct trace trace = {.span = 1};
    char parent[TRACEPARENT_BYTES];
    struct buffer out;
    for (uint64_t i = 0; i < 3 * TRACE_TRIES_MAX; i++) {
        trace_begin_try(&trace, 100 + i, &targets[0], 600 + i);
        trace_end_try(&trace, &targets[0], 601 + i, FAULT_TARGET_DOWN);
    }
    trace_write_parent(&trace, parent);
    assert_string_equal(parent, "00-00000000000000000000000000000000-0000000000000001-01");
    struct json *json = written(&trace, 65536, &out);
    assert_int_equal(json_count(json), 1 + TRACE_TRIES_MAX);
    json_free(json);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contexts_are_read),
        cmocka_unit_test(a_try_ends_with_its_own_target),
        cmocka_unit_test(what_finds_no_room_leaves_nothing),
        cmocka_unit_test(only_so_many_tries_have_spans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
