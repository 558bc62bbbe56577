/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/policy/guard_cases.h"

static struct guard_rule schema_rule(const char *schema)
{
    return (struct guard_rule){.name = TEXT("s"),
                               .type = GUARD_JSON_SCHEMA,
                               .stage = GUARD_RESPONSE,
                               .action = GUARD_BLOCK,
                               .schema = text_of(schema)};
}

static bool fits(const char *schema, const char *answer)
{
    struct guard_rule rule = schema_rule(schema);
    struct buffer body;
    buffer_init(&body, 1 << 22);
    buffer_append_text(&body, TEXT("{\"choices\":[{\"message\":{\"content\":"));
    json_write_string(&body, text_of(answer));
    buffer_format(&body, "}}]}%c", 0);
    struct guard_verdict verdict = look(&rule, 1, GUARD_RESPONSE, buffer_text(&body).at, NULL);
    buffer_done(&body);
    return !verdict.blocks;
}

static void values_are_held_against_the_schema(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *good, *bad;
    } cases[] = {
        {"{}", "1", "not JSON"},
        {"true", "{}", "{"},
        {"{\"type\":\"object\"}", "{}", "[]"},
        {"{\"type\":\"integer\"}", "1.0", "1.5"},
        {"{\"type\":[\"string\",\"null\"]}", "null", "false"},
        {"{\"type\":\"boolean\"}", "true", "0"},
        {"{\"enum\":[1,\"a\",{\"x\":[2]}]}", "{\"x\":[2.0]}", "{\"x\":[3]}"},
        {"{\"const\":{\"a\":null}}", "{\"a\":null}", "{\"a\":null,\"b\":1}"},
        {"{\"required\":[\"a\"]}", "{\"a\":0}", "{\"b\":0}"},
        {"{\"required\":[\"a\"]}", "7", "{}"},
        {"{\"properties\":{\"a\":{\"type\":\"string\"}}}", "{\"b\":1}", "{\"a\":1}"},
        {"{\"properties\":{\"a\":{}},\"additionalProperties\":false}", "{\"a\":1}", "{\"b\":1}"},
        {"{\"additionalProperties\":{\"type\":\"null\"}}", "{\"a\":null}", "{\"a\":1}"},
        {"{\"items\":{\"type\":\"number\"}}", "[1,2.5]", "[1,\"x\"]"},
        {"{\"prefixItems\":[{\"type\":\"string\"}],\"items\":false}", "[\"a\"]", "[\"a\",1]"},
        {"{\"minimum\":3}", "3", "2.999"},
        {"{\"maximum\":9007199254740993}", "9007199254740993", "9007199254740994"},
        {"{\"exclusiveMinimum\":3}", "3.001", "3"},
        {"{\"exclusiveMaximum\":3}", "2", "3"},
        {"{\"multipleOf\":0.1}", "0.3", "0.35"},
        {"{\"multipleOf\":3}", "9", "10"},
        {"{\"minLength\":2,\"maxLength\":3}", "\"ääb\"", "\"ä\""},
        {"{\"minItems\":1,\"maxItems\":2}", "[1]", "[1,2,3]"},
        {"{\"uniqueItems\":true}", "[1,2,\"1\"]", "[1,2,1.0]"},
        {"{\"minProperties\":1}", "{\"a\":1}", "{}"},
        {"{\"maxProperties\":1}", "{\"a\":1}", "{\"a\":1,\"b\":2}"},
        {"{\"pattern\":\"^[a-z]*$\"}", "\"\"", "\"A\""},
        {"{\"allOf\":[{\"minimum\":1},{\"maximum\":2}]}", "2", "3"},
        {"{\"anyOf\":[{\"type\":\"string\"},{\"minimum\":5}]}", "6", "4"},
        {"{\"oneOf\":[{\"minimum\":1},{\"minimum\":5}]}", "4", "6"},
        {"{\"not\":{\"type\":\"string\"}}", "1", "\"a\""},
        {"{\"$ref\":\"#/$defs/a~1b\",\"$defs\":{\"a/b\":{\"type\":\"string\"}}}", "\"x\"", "1"},
        {"{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"#\"}},\"additionalProperties\":"
         "false}",
         "{\"next\":{\"next\":{}}}", "{\"next\":{\"next\":{\"x\":1}}}"},
        {"{\"format\":\"date\",\"title\":\"t\",\"default\":{\"$ref\":1}}", "\"x\"", "x"},
        {"{\"type\":\"object\"}", "{\"a\":1}", "{\"a\":1,\"a\":2}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (!fits(cases[i].schema, cases[i].good) || fits(cases[i].schema, cases[i].bad))
            print_error("%s\n", cases[i].schema);
        assert_true(fits(cases[i].schema, cases[i].good));
        assert_false(fits(cases[i].schema, cases[i].bad));
    }
}

static void what_would_not_be_checked_is_refused(void **state)
{
    (void)state;
    static const char *const schemas[][2] = {
        {"{\"patternProperties\":{}}", "'patternProperties' cannot be checked"},
        {"{\"properties\":{\"a\":{\"if\":{}}}}", "'if' cannot be checked"},
        {"{\"Type\":\"string\"}", "'Type' cannot be checked"},
        {"{\"type\":\"strnig\"}", "'type'"},
        {"{\"$ref\":\"#/$defs/none\"}", "'$ref'"},
        {"{\"$ref\":\"https://example.com/schema\"}", "'$ref'"},
        {"{\"default\":{},\"$ref\":\"#/default\"}", "'$ref'"},
        {"{\"pattern\":\"(\"}", "'pattern'"},
        {"{\"items\":[{}]}", "'items'"},
        {"{\"required\":\"a\"}", "'required'"},
        {"{\"minLength\":-1}", "'minLength'"},
        {"{\"anyOf\":[]}", "'anyOf'"},
        {"[]", "must be an object"},
        {"{", "no JSON"},
        {"", "no JSON"},
    };
    for (size_t i = 0; i < sizeof(schemas) / sizeof(schemas[0]); i++) {
        struct guard_rule rule = schema_rule(schemas[i][0]);
        struct fault fault = {0};
        assert_null(guard_new(&rule, 1, &fault));
        if (!strstr(fault.text, schemas[i][1]))
            print_error("'%s' is not in '%s'\n", schemas[i][1], fault.text);
        assert_non_null(strstr(fault.text, schemas[i][1]));
    }
}

static void circles_and_explosions_end(void **state)
{
    (void)state;
    assert_false(fits("{\"$ref\":\"#\"}", "1"));
    assert_false(fits("{\"not\":{\"$ref\":\"#\"}}", "1"));
    assert_false(fits("{\"oneOf\":[{\"$ref\":\"#/$defs/a\"},{\"$ref\":\"#/$defs/a\"}],\"$defs\":{"
                      "\"a\":{\"oneOf\":[{\"$ref\":\"#/$defs/a\"},{\"$ref\":\"#/$defs/a\"}]}}}",
                      "1"));
    char deep[400];
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    deep[200] = '\0';
    assert_true(fits("{\"items\":{\"$ref\":\"#\"},\"type\":\"array\"}", deep));
}

static void only_answers_are_held_against_it(void **state)
{
    (void)state;
    struct guard_rule rule = schema_rule("{\"type\":\"object\"}");
    assert_true(look(&rule, 1, GUARD_RESPONSE,
                     "{\"output\":[{\"content\":[{\"type\":\"output_text\",\"text\":\"[]\"}]}]}",
                     NULL)
                    .blocks);
    assert_true(
        look(&rule, 1, GUARD_RESPONSE, "{\"content\":[{\"type\":\"text\",\"text\":\"no\"}]}", NULL)
            .blocks);
    assert_false(look(&rule, 1, GUARD_RESPONSE,
                      "{\"choices\":[{\"message\":{\"content\":null,\"reasoning_content\":\"hm\","
                      "\"tool_calls\":[{\"function\":{\"arguments\":\"[1]\"}}]}},{\"message\":{"
                      "\"content\":\"{\\\"a\\\":1}\"}}]}",
                      NULL)
                     .blocks);
    rule.action = GUARD_FLAG;
    struct guard_verdict verdict =
        look(&rule, 1, GUARD_RESPONSE, "{\"choices\":[{\"text\":\"no\"}]}", NULL);
    assert_true(!verdict.blocks && verdict.matched == 1);
}

static bool stream_fits(const char *const *events, size_t count, size_t *leaked)
{
    struct guard_rule rule = schema_rule("{\"required\":[\"a\"]}");
    struct fault fault;
    struct guard_verdict verdict;
    struct buffer out;
    struct guard *guard = guard_new(&rule, 1, &fault);
    struct guard_stream *stream = guard_stream_new(guard, 1, GUARD_FORM_EVENTS);
    buffer_init(&out, 1 << 20);
    assert_true(guard_stream_gathers(stream));
    for (size_t i = 0; i < count; i++)
        assert_true(guard_stream_event(stream, text_of(events[i]), &verdict, &out));
    assert_int_equal(buffer_length(&out), 0);
    bool passes = guard_stream_end(stream, &verdict, &out);
    assert_true(passes != verdict.blocks);
    *leaked = buffer_length(&out);
    buffer_done(&out);
    guard_stream_free(stream);
    guard_free(guard);
    return passes;
}

#define ROLE \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
#define CHUNK(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"

static void a_stream_is_held_against_it_at_its_end(void **state)
{
    (void)state;
    static const char *const events[] = {
        ROLE,
        CHUNK("{\\\"a"),
        CHUNK("\\\":1}"),
        "data: [DONE]\n\n",
    };
    size_t bytes;
    assert_true(stream_fits(events, 4, &bytes));
    assert_int_equal(bytes, strlen(events[0]) + strlen(events[1]) + strlen(events[2]) + 14);
    assert_false(stream_fits(events, 2, &bytes));
    assert_int_equal(bytes, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_held_against_the_schema),
        cmocka_unit_test(what_would_not_be_checked_is_refused),
        cmocka_unit_test(circles_and_explosions_end),
        cmocka_unit_test(only_answers_are_held_against_it),
        cmocka_unit_test(a_stream_is_held_against_it_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
