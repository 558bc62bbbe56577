/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "policy/cache.h"
#include "policy/canonical.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const struct canonical_omission omissions[] = {
    {TEXT("stream"), TEXT("")},
    {TEXT("n"), TEXT("1")},
    {TEXT("format"), TEXT("\"a\\u0062\"")},
};

static bool form_of(struct text json, struct buffer *out)
{
    buffer_init(out, 4 * json.len + 64);
    return canonical_write(json, omissions, 3, out);
}

static bool has_form(struct text json)
{
    struct buffer out;
    bool has = form_of(json, &out);
    buffer_done(&out);
    return has;
}

/* Does each have a form, and is it the same? */
static bool is_same(const char *a, const char *b)
{
    struct buffer of_a, of_b;
    assert_true(form_of(text_of(a), &of_a));
    assert_true(form_of(text_of(b), &of_b));
    bool same = text_equal(buffer_text(&of_a), buffer_text(&of_b));
    buffer_done(&of_a);
    buffer_done(&of_b);
    return same;
}

static void order_and_white_space_make_no_difference(void **state)
{
    (void)state;
    assert_true(is_same("{\"a\":1,\"b\":[1,2]}", " { \"b\" : [ 1 ,\t2 ] ,\r\n \"a\" : 1 } "));
    assert_true(is_same("{\"a\":{\"x\":1,\"y\":{\"q\":1,\"p\":2}}}",
                        "{\"a\":{\"y\":{\"p\":2,\"q\":1},\"x\":1}}"));
    assert_true(is_same("{}", " {\n} "));
    assert_false(is_same("{\"a\":[1,2]}", "{\"a\":[2,1]}"));
    assert_false(is_same("{\"a\":{\"b\":1}}", "{\"b\":{\"a\":1}}"));
    assert_false(is_same("{\"a\":{},\"b\":1}", "{\"a\":{\"b\":1}}"));
    assert_false(is_same("{\"a\":[[],1]}", "{\"a\":[[1]]}"));
    assert_false(is_same("{\"a\":1}", "{\"a\":1,\"b\":null}"));
}

static void escapes_make_no_difference(void **state)
{
    (void)state;
    assert_true(is_same("{\"\\u0061\":\"\\/\\u000a\"}", "{\"a\":\"/\\n\"}"));
    assert_true(
        is_same("{\"a\":\"\\ud83d\\ude00\\u00e9\"}", "{\"a\":\"\xf0\x9f\x98\x80\xc3\xa9\"}"));
    assert_true(is_same("{\"a\":\"\\uD83D\"}", "{\"a\":\"\\ud83d\"}"));
    assert_false(is_same("{\"a\":\"\\ud83d\"}", "{\"a\":\"\\ude00\"}"));
    assert_false(is_same("{\"a\":\"\\ud83dx\\ude00\"}", "{\"a\":\"x\\ud83d\\ude00\"}"));
    assert_false(is_same("{\"a\":\"\\u0000\"}", "{\"a\":\"\"}"));
    assert_false(is_same("{\"a\":\"\\\\n\"}", "{\"a\":\"\\n\"}"));
    assert_false(is_same("{\"a\":\"1\"}", "{\"a\":1}"));
    assert_false(is_same("{\"a\":\"\"}", "{\"a\":null}"));
}

static void numbers_are_compared_exactly(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {"1", "1.0"},
        {"1", "1e0"},
        {"1", "10e-1"},
        {"1", "0.1E+1"},
        {"100", "1e2"},
        {"0.070", "7e-2"},
        {"0", "-0.000e7"},
        {"0", "0e-0"},
        {"-12.5", "-1.250e1"},
        {"1e400", "10e399"},
        {"1e0003", "1000"},
        {"0.000", "0"},
        {"90071992547409930", "9007199254740993e1"},
    };
    static const char *const other[][2] = {
        {"1", "-1"},
        {"1", "10"},
        {"0.1", "0.01"},
        {"9007199254740993", "9007199254740992"},
        {"1e400", "1e401"},
        {"12", "21"},
        {"0.1", "0.10000000000000000000001"},
    };
    char a[64], b[64];
    for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++) {
        snprintf(a, sizeof(a), "{\"x\":%s}", same[i][0]);
        snprintf(b, sizeof(b), "{\"x\":%s}", same[i][1]);
        assert_true(is_same(a, b));
    }
    for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++) {
        snprintf(a, sizeof(a), "{\"x\":%s}", other[i][0]);
        snprintf(b, sizeof(b), "{\"x\":%s}", other[i][1]);
        assert_false(is_same(a, b));
    }
}

static void some_members_are_left_out(void **state)
{
    (void)state;
    assert_true(is_same("{\"a\":1}", "{\"stream\":true,\"a\":1,\"n\":1.0}"));
    assert_true(is_same("{\"a\":1}", "{\"a\":1,\"format\":\"ab\",\"str\\u0065am\":{\"x\":[]}}"));
    assert_false(is_same("{\"a\":1}", "{\"a\":1,\"n\":2}"));
    assert_false(is_same("{\"a\":1}", "{\"a\":1,\"n\":\"1\"}"));
    assert_false(is_same("{\"a\":1}", "{\"a\":1,\"n\":[1]}"));
    assert_false(is_same("{\"a\":1}", "{\"a\":1,\"format\":\"abc\"}"));
    /* Only of the top level. */
    assert_false(is_same("{\"a\":{}}", "{\"a\":{\"stream\":true}}"));
    assert_false(is_same("{\"a\":[{}]}", "{\"a\":[{\"n\":1}]}"));
}

static void what_has_no_form_is_told(void **state)
{
    (void)state;
    static const char *const none[] = {
        "",
        "[]",
        "1",
        "{",
        "{\"a\":1,\"a\":1}",
        "{\"a\":{\"b\":1,\"\\u0062\":2}}",
        "{\"a\":1}x",
        /* Which of them counts? */
        "{\"n\":2,\"n\":1}",
        "{\"n\":1,\"n\":2}",
        "{\"stream\":1,\"stream\":1}",
        "{\"a\":\"\xff\"}",
        "{\"a\":1e1000000000}",
        "{\"a\":01}",
    };
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
        assert_false(has_form(text_of(none[i])));
}

/* An object of <count> members, the last names first or the first. */
static struct text large_object(struct buffer *out, size_t count, bool backwards)
{
    buffer_init(out, CANONICAL_BODY_MAX);
    buffer_append_text(out, TEXT("{\"in\":{"));
    for (size_t i = 0; i < count; i++)
        buffer_format(out, "%s\"m%zu\":{\"z\":%zu,\"a\":1}", i ? "," : "",
                      backwards ? count - i : i + 1, backwards ? count - i : i + 1);
    buffer_append_text(out, TEXT("}}"));
    return buffer_text(out);
}

static void large_objects_have_an_order_too(void **state)
{
    (void)state;
    struct buffer a, b;
    large_object(&a, CANONICAL_OBJECT_MEMBERS, false);
    large_object(&b, CANONICAL_OBJECT_MEMBERS, true);
    buffer_append(&a, "", 1);
    buffer_append(&b, "", 1);
    assert_true(is_same(a.data, b.data));
    char *digit = strstr(b.data, "\"z\":700,");
    digit[4] = '8';
    assert_false(is_same(a.data, b.data));
    buffer_done(&a);
    buffer_done(&b);
    assert_false(has_form(large_object(&a, CANONICAL_OBJECT_MEMBERS + 1, false)));
    buffer_done(&a);
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    char *body = memory_new(CANONICAL_BODY_MAX + 2);
    memset(body, ' ', CANONICAL_BODY_MAX + 1);
    memcpy(body, "{}", 2);
    assert_true(has_form((struct text){body, CANONICAL_BODY_MAX}));
    assert_false(has_form((struct text){body, CANONICAL_BODY_MAX + 1}));
    /* As many members as fit, of which there may not be so many. */
    struct buffer all;
    buffer_init(&all, CANONICAL_BODY_MAX);
    buffer_append_text(&all, TEXT("{\"a\":[{}"));
    for (size_t i = 0; i <= CANONICAL_MEMBERS_MAX; i++)
        buffer_append_text(&all, TEXT(",{\"a\":0}"));
    buffer_append_text(&all, TEXT("]}"));
    assert_false(has_form(buffer_text(&all)));
    buffer_done(&all);
    memory_free(body);
}

/* ------------------------------------------------------------------------------- names */

static struct digest name_of(const char *scope, const char *route, enum operation operation,
                             const char *body)
{
    struct digest name;
    assert_true(cache_name(text_of(scope), text_of(route), operation, text_of(body), &name));
    return name;
}

static bool same_name(enum operation operation, const char *a, const char *b)
{
    struct digest of_a = name_of("t", "r", operation, a), of_b = name_of("t", "r", operation, b);
    return hash_same(&of_a, &of_b);
}

static void all_that_can_change_an_answer_is_in_its_name(void **state)
{
    (void)state;
    static const char *const members[] = {
        "\"temperature\":1",
        "\"top_p\":1",
        "\"seed\":1",
        "\"max_tokens\":5",
        "\"n\":2",
        "\"tools\":[]",
        "\"tool_choice\":\"auto\"",
        "\"response_format\":{\"type\":\"text\"}",
        "\"stop\":null",
        "\"reasoning_effort\":\"low\"",
        "\"top_k\":0",
        "\"unheard_of\":false",
        "\"service_tier\":\"auto\"",
        "\"store\":false",
        "\"parallel_tool_calls\":true",
        "\"extra_body\":{\"user\":\"u\"}",
        "\"frequency_penalty\":0",
        "\"logprobs\":true",
        "\"guided_json\":\"{}\"",
        "\"chat_template_kwargs\":{}",
        "\"models\":[]",
    };
    char body[256];
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
        snprintf(body, sizeof(body), "{\"model\":\"m\",%s}", members[i]);
        assert_false(same_name(OPERATION_CHAT, "{\"model\":\"m\"}", body));
    }
    assert_true(same_name(OPERATION_CHAT, "{\"model\":\"m\"}",
                          "{\"stream_options\":{\"include_usage\":true},\"logprobs\":false,"
                          "\"model\":\"m\",\"stream\":true,\"user\":\"u\",\"metadata\":{},\"n\":1,"
                          "\"safety_identifier\":\"s\",\"prompt_cache_key\":\"k\"}"));
    assert_false(same_name(OPERATION_CHAT, "{\"model\":\"m\"}", "{\"model\":\"M\"}"));
    /* The object of a response repeats them. */
    assert_false(same_name(OPERATION_RESPONSE, "{}", "{\"user\":\"u\"}"));
    assert_false(same_name(OPERATION_RESPONSE, "{}", "{\"metadata\":{}}"));
    assert_true(same_name(OPERATION_RESPONSE, "{}", "{\"stream\":true}"));
    assert_false(same_name(OPERATION_RESPONSE, "{}", "{\"background\":false}"));
    assert_true(same_name(OPERATION_EMBEDDING, "{\"input\":\"a\"}",
                          "{\"input\":\"a\",\"encoding_format\":\"float\",\"user\":\"u\"}"));
    assert_false(same_name(OPERATION_EMBEDDING, "{\"input\":\"a\"}",
                           "{\"input\":\"a\",\"encoding_format\":\"base64\"}"));
}

static void scope_route_and_operation_are_in_the_name(void **state)
{
    (void)state;
    struct digest one = name_of("acme", "fast", OPERATION_CHAT, "{}");
    struct digest others[] = {
        name_of("acmef", "ast", OPERATION_CHAT, "{}"),
        name_of("acm", "efast", OPERATION_CHAT, "{}"),
        name_of("", "acmefast", OPERATION_CHAT, "{}"),
        name_of("acme", "fast", OPERATION_RESPONSE, "{}"),
        name_of("acme", "fast", OPERATION_CHAT, "{\"a\":1}"),
        name_of("other", "fast", OPERATION_CHAT, "{}"),
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        assert_false(hash_same(&one, &others[i]));
    struct digest again = name_of("acme", "fast", OPERATION_CHAT, " { } ");
    assert_true(hash_same(&one, &again));
}

static void what_does_more_than_answer_has_no_name(void **state)
{
    (void)state;
    struct digest name;
    static const char *const responses[] = {
        "{\"background\":true}",
        "{\"conversation\":\"conv_1\"}",
        "{\"conversation\":{\"id\":\"c\"}}",
    };
    for (size_t i = 0; i < 3; i++)
        assert_false(
            cache_name(TEXT("t"), TEXT("r"), OPERATION_RESPONSE, text_of(responses[i]), &name));
    assert_true(cache_name(TEXT("t"), TEXT("r"), OPERATION_RESPONSE,
                           TEXT("{\"conversation\":null}"), &name));
    enum operation never[] = {OPERATION_FILE, OPERATION_BATCH, OPERATION_OBJECT, OPERATION_REALTIME,
                              OPERATION_TRANSCRIPTION};
    for (size_t i = 0; i < 5; i++)
        assert_false(cache_name(TEXT("t"), TEXT("r"), never[i], TEXT("{}"), &name));
    assert_false(cache_name(TEXT("t"), TEXT("r"), OPERATION_CHAT, TEXT("--boundary"), &name));
}

static void names_of_idempotency_keys_are_their_own(void **state)
{
    (void)state;
    struct digest a, b, c, d;
    assert_true(cache_name_once(TEXT("t"), TEXT("key"), &a));
    assert_true(cache_name_once(TEXT("tk"), TEXT("ey"), &b));
    assert_true(cache_name_once(TEXT("t"), TEXT("key"), &c));
    assert_true(cache_name_once(TEXT("t"), TEXT("Key"), &d));
    assert_false(hash_same(&a, &b));
    assert_true(hash_same(&a, &c));
    assert_false(hash_same(&a, &d));
    char *long_key = memory_new(8192);
    memset(long_key, 'k', 8191);
    assert_false(cache_name_once(TEXT("t"), text_of(long_key), &a));
    memory_free(long_key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_white_space_make_no_difference),
        cmocka_unit_test(escapes_make_no_difference),
        cmocka_unit_test(numbers_are_compared_exactly),
        cmocka_unit_test(some_members_are_left_out),
        cmocka_unit_test(what_has_no_form_is_told),
        cmocka_unit_test(large_objects_have_an_order_too),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(all_that_can_change_an_answer_is_in_its_name),
        cmocka_unit_test(scope_route_and_operation_are_in_the_name),
        cmocka_unit_test(what_does_more_than_answer_has_no_name),
        cmocka_unit_test(names_of_idempotency_keys_are_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
