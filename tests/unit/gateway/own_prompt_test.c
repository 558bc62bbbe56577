/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "gateway/own_prompt.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void expect(const char *body, const char *template_text, const char *wanted)
{
    struct buffer out;
    struct fault fault = {.kind = FAULT_NONE};
    buffer_init(&out, 4096);
    assert_true(own_prompt_write(text_of(body), text_of(template_text), &out, &fault));
    buffer_append(&out, "", 1);
    assert_string_equal(buffer_text(&out).at, wanted);
    buffer_done(&out);
}

static void variables_stand_in_the_template(void **state)
{
    (void)state;
    expect("{\"input_variables\":{\"prompt\":\"a\\n\\\"b\"},\"n\":2,\"prompt\":null}",
           "<s>[INST]{prompt}[/INST]{completion}</s>",
           "{\"n\":2,\"prompt\":\"<s>[INST]a\\n\\\"b[/INST]</s>\"}");
    expect("{\"input_variables\":{\"prompt\":\"a\"}}", "", "{\"prompt\":\"a\"}");
    expect("{\"input_variables\":{\"a\":\"{b}\",\"b\":7,\"c\":true}}", "{a}{b}{c}{a}",
           "{\"prompt\":\"{b}7true{b}\"}");
    expect("{\"input_variables\":{\"completion\":\"so\"}}", "\"{completion}",
           "{\"prompt\":\"\\\"so\"}");
}

static void braces_are_kept(void **state)
{
    (void)state;
    expect("{\"input_variables\":{\"a\":\"x\"}}", "{{\"a\": {a}}} { } {a b} }",
           "{\"prompt\":\"{\\\"a\\\": x} { } {a b} }\"}");
    expect("{\"input_variables\":{}}", "{", "{\"prompt\":\"{\"}");
    expect("{\"input_variables\":{}}", "{{a}}", "{\"prompt\":\"{a}\"}");
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *body, *param, *words;
    } cases[] = {
        {"{\"input_variables\":[]}", "input_variables", "'input_variables' has to be an object."},
        {"{\"input_variables\":{\"b\":\"\"}}", "input_variables",
         "'input_variables' has no 'prompt'."},
        {"{\"input_variables\":{\"prompt\":null}}", "input_variables",
         "'input_variables' has neither a text nor a number in 'prompt'."},
        {"{\"input_variables\":{\"prompt\":{\"a\":1}}}", "input_variables",
         "'input_variables' has neither a text nor a number in 'prompt'."},
        {"{\"input_variables\":{\"prompt\":\"a\"},\"prompt\":\"b\"}", "prompt",
         "'prompt' does not go together with input_variables."},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer out;
        struct fault fault = {.kind = FAULT_NONE};
        buffer_init(&out, 4096);
        assert_false(own_prompt_write(text_of(cases[i].body), TEXT("{prompt}"), &out, &fault));
        assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
        assert_string_equal(fault.param, cases[i].param);
        assert_string_equal(fault.text, cases[i].words);
        buffer_done(&out);
    }
}

static void a_template_cannot_make_much_of_little(void **state)
{
    (void)state;
    char body[1200], template_text[3001];
    struct buffer out;
    struct fault fault = {.kind = FAULT_NONE};
    int head = snprintf(body, sizeof(body), "{\"input_variables\":{\"a\":\"%01000d\"}}", 0);
    assert_true(head > 1000);
    for (size_t i = 0; i < 1000; i++)
        memcpy(template_text + 3 * i, "{a}", 3);
    template_text[3000] = '\0';
    buffer_init(&out, 65536);
    assert_false(own_prompt_write(text_of(body), text_of(template_text), &out, &fault));
    assert_int_equal(fault.kind, FAULT_TOO_LARGE);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_stand_in_the_template),
        cmocka_unit_test(braces_are_kept),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_template_cannot_make_much_of_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
