/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/json.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void tree_gives_its_values(void **state)
{
    (void)state;
    struct json_problem problem;
    struct json *root = json_read(TEXT("{\"name\":\"ac\\u00e9\",\"n\":-5,\"on\":true,\"x\":null,"
                                       "\"f\":1.5,\"list\":[1,{\"a\":false},[]]}"),
                                  &problem);
    assert_non_null(root);
    struct text name = {NULL, 0};
    assert_true(json_to_text(json_member(root, "name"), &name));
    assert_true(text_equal(name, TEXT("ac\xC3\xA9")));
    int64_t n = 0;
    assert_true(json_to_int(json_member(root, "n"), -5, 10, &n));
    assert_int_equal(n, -5);
    assert_false(json_to_int(json_member(root, "n"), -4, 10, &n));
    assert_false(json_to_int(json_member(root, "n"), -10, -6, &n));
    assert_false(json_to_int(json_member(root, "f"), -10, 10, &n));
    bool on = false;
    assert_true(json_to_bool(json_member(root, "on"), &on));
    assert_true(on);
    const struct json *list = json_member(root, "list");
    assert_int_equal(json_count(list), 3);
    assert_true(json_to_bool(json_member(json_item(list, 1), "a"), &on));
    assert_false(on);
    assert_int_equal(json_kind(json_member(root, "x")), SCAN_NULL);
    assert_int_equal(json_kind(json_member(root, "f")), SCAN_NUMBER);
    assert_int_equal(json_kind(json_item(list, 2)), SCAN_ARRAY);
    assert_int_equal(json_kind(root), SCAN_OBJECT);
    json_free(root);
}

static void absent_values_do_no_harm(void **state)
{
    (void)state;
    struct json_problem problem;
    struct json *root = json_read(TEXT(" [1] "), &problem);
    assert_non_null(root);
    struct text text;
    int64_t n;
    bool flag;
    void *at = NULL;
    const struct json *value;
    assert_null(json_member(root, "a"));
    assert_null(json_member(NULL, "a"));
    assert_null(json_item(root, 1));
    assert_null(json_item(NULL, 0));
    assert_int_equal(json_kind(NULL), SCAN_ABSENT);
    assert_int_equal(json_count(NULL), 0);
    assert_false(json_to_text(NULL, &text));
    assert_false(json_to_text(root, &text));
    assert_false(json_to_int(NULL, 0, 1, &n));
    assert_false(json_to_bool(NULL, &flag));
    assert_false(json_next(root, &at, &text, &value));
    assert_false(json_next(NULL, &at, &text, &value));
    json_free(root);
    json_free(NULL);
}

static void walking_meets_every_member(void **state)
{
    (void)state;
    struct json_problem problem;
    struct json *root = json_read(TEXT("{\"a\":1,\"b\":2,\"c\":3}"), &problem);
    void *at = NULL;
    struct text name;
    const struct json *value;
    int64_t n = 0, sum = 0;
    char names[4] = "";
    for (size_t i = 0; json_next(root, &at, &name, &value); i++) {
        assert_true(i < 3 && name.len == 1 && json_to_int(value, 0, 9, &n));
        names[i] = name.at[0];
        sum += n;
    }
    assert_string_equal(names, "abc");
    assert_int_equal(sum, 6);
    json_free(root);
}

static void assert_problem(const char *document, size_t line, size_t column, const char *part)
{
    struct json_problem problem = {0, 0, ""};
    assert_null(json_read(text_of(document), &problem));
    assert_int_equal(problem.line, line);
    assert_int_equal(problem.column, column);
    if (!strstr(problem.what, part))
        fail_msg("%s: %s", document, problem.what);
}

static void problems_have_a_place(void **state)
{
    (void)state;
    assert_problem("", 1, 1, "too early");
    assert_problem("{\"a\":1,}", 1, 8, "a name in quotes is expected");
    assert_problem("{\n \"a\": [1,\n  2\n}", 4, 1, "',' or ']' is expected");
    assert_problem("[1] x", 1, 5, "behind the end");
    assert_problem("{\"a\":1,\n\"a\":2}", 2, 4, "duplicate");
    assert_problem("\"\\ud800\"", 1, 9, "Unicode");
    assert_problem("\"\\u0000\"", 1, 9, "\\u0000");
    assert_problem("[1e999, 1]", 1, 7, "number");
    assert_problem("{\"\\u0000\":1}", 1, 10, "\\u0000");
    assert_problem("99999999999999999999", 1, 21, "integer");
    char deep[2 * SCAN_DEPTH_MAX + 3];
    memset(deep, '[', SCAN_DEPTH_MAX + 1);
    memset(deep + SCAN_DEPTH_MAX + 1, ']', SCAN_DEPTH_MAX + 1);
    deep[sizeof(deep) - 1] = '\0';
    assert_problem(deep, 1, SCAN_DEPTH_MAX + 1, "too deeply");
}

/* ---- another reader of the same ---- */

static void assert_same_value(const struct json *ours, json_t *theirs);

static void assert_same_members(const struct json *ours, json_t *theirs)
{
    void *at = NULL, *their_at = json_object_iter(theirs);
    struct text name;
    const struct json *value;
    for (; json_next(ours, &at, &name, &value);
         their_at = json_object_iter_next(theirs, their_at)) {
        assert_non_null(their_at);
        const char *their_name = json_object_iter_key(their_at);
        assert_true(text_equal(name, text_of(their_name)));
        assert_int_equal(name.at[name.len], 0);
        assert_ptr_equal(json_member(ours, their_name), value);
        assert_same_value(value, json_object_iter_value(their_at));
    }
    assert_null(their_at);
    assert_null(json_member(ours, "none of this name"));
}

static void assert_same_number(const struct json *ours, const json_t *theirs)
{
    int64_t whole = 0;
    double number = 0;
    assert_int_equal(json_kind(ours), SCAN_NUMBER);
    assert_int_equal(json_to_int(ours, INT64_MIN, INT64_MAX, &whole), json_is_integer(theirs));
    assert_int_equal(whole, json_integer_value(theirs));
    assert_true(json_to_number(ours, &number));
    assert_true(number == json_number_value(theirs));
}

static void assert_same_value(const struct json *ours, json_t *theirs)
{
    struct text text;
    switch (json_typeof(theirs)) {
    case JSON_OBJECT:
        assert_int_equal(json_kind(ours), SCAN_OBJECT);
        assert_int_equal(json_count(ours), json_object_size(theirs));
        assert_same_members(ours, theirs);
        break;
    case JSON_ARRAY:
        assert_int_equal(json_kind(ours), SCAN_ARRAY);
        assert_int_equal(json_count(ours), json_array_size(theirs));
        for (size_t i = 0; i < json_count(ours); i++)
            assert_same_value(json_item(ours, i), json_array_get(theirs, i));
        assert_null(json_item(ours, json_count(ours)));
        break;
    case JSON_STRING:
        assert_true(json_to_text(ours, &text));
        assert_int_equal(text.len, json_string_length(theirs));
        assert_memory_equal(text.at, json_string_value(theirs), text.len + 1);
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        assert_same_number(ours, theirs);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL:
        assert_int_equal(json_kind(ours), json_is_true(theirs)    ? SCAN_TRUE
                                          : json_is_false(theirs) ? SCAN_FALSE
                                                                  : SCAN_NULL);
        break;
    }
}

/* Both refuse it, or both find the same in it. */
static bool assert_same(struct text document)
{
    struct json_problem problem;
    json_error_t error;
    struct json *ours = json_read(document, &problem);
    json_t *theirs =
        json_loadb(document.at, document.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!ours != !theirs)
        fail_msg("%.*s: %s", TEXT_ARGS(document), ours ? error.text : problem.what);
    bool good = ours != NULL;
    if (good)
        assert_same_value(ours, theirs);
    json_free(ours);
    json_decref(theirs);
    return good;
}

static void another_reader_finds_the_same(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "{\"id\":\"key_abcdefghijklmnopqrst\",\"name\":\"ci\",\"tenant\":\"a/"
        "b\",\"models\":[\"gpt-4o\","
        "\"*\"],\"tags\":{\"a\":\"1\",\"b\":null},\"limits\":{\"requests_per_minute\":60},"
        "\"budget\":{"
        "\"amount\":12.50,\"period\":\"month\",\"warn_at\":[0.5,0.8]},\"hash\":\"sha256:00\"}",
        " [ 0, -0, 1, -1, 9223372036854775807, -9223372036854775808, 1.5e3, -0.0, 1E-400, 1e308 ] ",
        "9223372036854775808",
        "-9223372036854775809",
        "1e309",
        "-1e309",
        "0.1000000000000000055511151231257827021181583404541015625000000000000000000000000000001",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00 \xC3\xA9\"",
        "\"\\ud83d\"",
        "\"\\ude00\\ud83d\"",
        "\"a\\u0000b\"",
        "{\"\\u0061\":1,\"b\":2}",
        "{\"\\u0061\":1,\"a\":2}",
        "{\"a\":{\"a\":{\"a\":[]}},\"b\":{},\"\":\"\"}",
        /* more members than are looked for one by one */
        ("{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,"
         "\"j\":10,\"k\":11,\"l\":12,\"m\":13,\"n\":14,\"o\":15,\"p\":16,\"q\":17}"),
        ("{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,"
         "\"j\":10,\"c\":11}"),
        "[true,false,null]",
        "null",
        "",
        "[\"\\\\\",\"\\\\\\\"\"]",
    };
    static const char changes[] = "\"\\{}[]:,0e-.u \n\x01\xC3";
    size_t good = 0;
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        struct text document = text_of(documents[i]);
        good += assert_same(document);
        /* each byte another, and cut in front of it */
        for (size_t at = 0; at < document.len; at++) {
            char *changed = malloc(document.len); /* so that a sanitizer sees its end */
            memcpy(changed, document.at, document.len);
            for (size_t c = 0; c < sizeof(changes) - 1; c++) {
                changed[at] = changes[c];
                good += assert_same((struct text){changed, document.len});
            }
            free(changed);
            char *cut = malloc(at + 1);
            memcpy(cut, document.at, at);
            good += assert_same((struct text){cut, at});
            free(cut);
        }
    }
    assert_true(good > 1000);
}

static void strings_are_written_in_quotes(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1000);
    assert_true(json_write_key(&out, TEXT("a\"b")));
    assert_true(json_write_string(&out, TEXT("x\n\xFF\xC3\xA9")));
    assert_true(json_write_string(&out, (struct text){NULL, 0}));
    assert_true(text_equal(buffer_text(&out), TEXT("\"a\\\"b\":\"x\\n\xEF\xBF\xBD\xC3\xA9\"\"\"")));
    buffer_done(&out);
}

static void a_string_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 10);
    assert_true(json_write_string(&out, TEXT("12345678")));
    assert_false(json_write_string(&out, TEXT("")));
    assert_int_equal(buffer_length(&out), 10);
    buffer_clear(&out);
    assert_false(json_write_string(&out, TEXT("123456789")));
    assert_false(json_write_string(&out, TEXT("\x01\x02")));
    assert_false(json_write_key(&out, TEXT("12345678")));
    assert_int_equal(buffer_length(&out), 0);
    assert_true(json_write_key(&out, TEXT("1234567")));
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_gives_its_values),
        cmocka_unit_test(absent_values_do_no_harm),
        cmocka_unit_test(walking_meets_every_member),
        cmocka_unit_test(problems_have_a_place),
        cmocka_unit_test(another_reader_finds_the_same),
        cmocka_unit_test(strings_are_written_in_quotes),
        cmocka_unit_test(a_string_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
