/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/policy/guard_cases.h"

static void expect_texts(struct guard_texts *texts, const char *const *wanted, size_t count)
{
    assert_non_null(texts);
    assert_int_equal(guard_texts_count(texts), count);
    for (size_t i = 0; i < count; i++) {
        struct text text = guard_texts_at(texts, i);
        if (!text_equal(text, text_of(wanted[i])))
            print_error("%zu: '%.*s' instead of '%s'\n", i, TEXT_ARGS(text), wanted[i]);
        assert_true(text_equal(text, text_of(wanted[i])));
    }
}

static void expect_replaced(struct guard_texts *texts, const struct text *with, const char *wanted)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    assert_true(guard_texts_replace(texts, with, &out));
    struct text made = buffer_text(&out);
    if (!text_equal(made, text_of(wanted)))
        print_error("%.*s\n instead of\n%s\n", TEXT_ARGS(made), wanted);
    assert_true(text_equal(made, text_of(wanted)));
    buffer_done(&out);
}

static void a_body_shows_each_text_and_takes_new_ones(void **state)
{
    (void)state;
    struct guard_texts *texts = guard_texts_new(
        GUARD_FORM_REQUEST,
        TEXT("{ \"model\":\"m\", \"messages\":[{\"content\":\"a\\u00e4\\n\"},{\"content\":\"\"},"
             "{\"content\":[{\"text\":\"b\"}]}], \"instructions\": \"c\" }"));
    expect_texts(texts, (const char *const[]){"aä\n", "b", "c"}, 3);
    struct text same[] = {TEXT("aä\n"), TEXT("b"), TEXT("c")};
    expect_replaced(texts, same,
                    "{ \"model\":\"m\", \"messages\":[{\"content\":\"a\\u00e4\\n\"},{\"content\":"
                    "\"\"},{\"content\":[{\"text\":\"b\"}]}], \"instructions\": \"c\" }");
    struct text other[] = {TEXT("aä\n"), TEXT("\"x\"\n"), TEXT("")};
    expect_replaced(texts, other,
                    "{ \"model\":\"m\", \"messages\":[{\"content\":\"a\\u00e4\\n\"},{\"content\":"
                    "\"\"},{\"content\":[{\"text\":\"\\\"x\\\"\\n\"}]}], \"instructions\": \"\" }");
    guard_texts_free(texts);
}

static void arguments_must_stay_json(void **state)
{
    (void)state;
    struct guard_texts *texts = guard_texts_new(
        GUARD_FORM_ANSWER, TEXT("{\"choices\":[{\"message\":{\"tool_calls\":[{\"function\":{"
                                "\"arguments\":\"{\\\"a\\\":1}\"}}],\"content\":\"x\"}}]}"));
    expect_texts(texts, (const char *const[]){"{\"a\":1}", "x"}, 2);
    assert_false(guard_texts_is_answer(texts, 0));
    assert_true(guard_texts_is_answer(texts, 1));
    struct text good[] = {TEXT("{\"a\":\"-\"}"), TEXT("x")}, bad[] = {TEXT("{a}"), TEXT("x")};
    expect_replaced(texts, good,
                    "{\"choices\":[{\"message\":{\"tool_calls\":[{\"function\":{\"arguments\":"
                    "\"{\\\"a\\\":\\\"-\\\"}\"}}],\"content\":\"x\"}}]}");
    struct buffer out;
    buffer_init(&out, 1 << 20);
    assert_false(guard_texts_replace(texts, bad, &out));
    buffer_done(&out);
    buffer_init(&out, 20);
    assert_false(guard_texts_replace(texts, good, &out));
    buffer_done(&out);
    guard_texts_free(texts);
}

static void a_stream_shows_each_text_once(void **state)
{
    (void)state;
#define DELTA(text, rest)                                                                     \
    "event: d\ndata: "                                                                        \
    "{\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"" text "\"" rest \
    "}\n\n"
#define DONE(text) \
    "data: {\"type\":\"response.output_text.done\",\"output_index\":0,\"text\":\"" text "\"}\n\n"
    struct guard_texts *texts = guard_texts_new(
        GUARD_FORM_EVENTS, TEXT(": hi\n\n" DELTA("one ", ",\"logprobs\":[{\"token\":\"one\"}]")
                                    DELTA("t\\u0077o", "") DONE("one two") DONE("other")));
    expect_texts(texts, (const char *const[]){"one two", "other"}, 2);
    struct text with[] = {TEXT("NEW"), TEXT("other")};
    expect_replaced(texts, with,
                    ": hi\n\n" DELTA("NEW", ",\"logprobs\":[]") DELTA("", "") DONE("NEW")
                        DONE("other"));
    guard_texts_free(texts);
}

static void what_is_too_much_is_not_shown(void **state)
{
    (void)state;
    size_t len = GUARD_TEXT_MAX + 100;
    char *body = malloc(len + 1);
    memset(body, 'a', len);
    body[len] = '\0';
    memcpy(body, "{\"input\":\"", 10);
    memcpy(body + len - 2, "\"}", 2);
    assert_null(guard_texts_new(GUARD_FORM_REQUEST, text_of(body)));
    struct guard_texts *texts =
        guard_texts_new(GUARD_FORM_REQUEST, TEXT("{\"input\":[[[]],1,null,{}]}"));
    assert_int_equal(guard_texts_count(texts), 0);
    guard_texts_free(texts);
    free(body);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_shows_each_text_and_takes_new_ones),
        cmocka_unit_test(arguments_must_stay_json),
        cmocka_unit_test(a_stream_shows_each_text_once),
        cmocka_unit_test(what_is_too_much_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
