/* SPDX-License-Identifier: Apache-2.0 */
/* What the calls in a batch's file may use: the same however the file is cut; and as a text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/buffer.h"
#include "gateway/base/memory.h"
#include "gateway/batch_file.h"
#include "policy/estimate.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define LINE(url, body) "{\"custom_id\":\"a\",\"url\":\"" url "\",\"body\":" body "}\n"
#define CHAT(body)      LINE("/v1/chat/completions", body)

static struct batch_facts facts_of(struct text file, size_t step)
{
    struct estimates *estimates = estimates_new();
    struct batch_reader *reader = batch_reader_new(NULL, estimates, 1);
    for (size_t at = 0; at < file.len; at += step)
        batch_reader_feed(reader, text_head(text_from(file, at), step));
    struct batch_facts facts = *batch_reader_end(reader);
    batch_reader_free(reader);
    estimates_free(estimates);
    return facts;
}

static void sums_are_the_same_however_the_file_is_cut(void **state)
{
    (void)state;
    static const char one[] = "{\"model\":\"m-1\",\"messages\":[],\"max_tokens\":100,\"n\":3}";
    static const char two[] =
        "{\"model\":\"m\\u002d1\",\"messages\":[],\"max_completion_tokens\":50}";
    struct text file =
        TEXT(CHAT("{\"model\":\"m-1\",\"messages\":[],\"max_tokens\":100,\"n\":3}") "\r\n \n" /**/
             CHAT("{\"model\":\"m\\u002d1\",\"messages\":[],\"max_completion_tokens\":50}")   /**/
             CHAT("{\"model\":\"m-2\",\"messages\":[],\"max_output_tokens\":5,\"n\":2}"));
    for (size_t step = 1; step <= file.len; step++) {
        struct batch_facts facts = facts_of(file, step);
        assert_string_equal(facts.problem, "");
        assert_string_equal(facts.url, "/v1/chat/completions");
        assert_int_equal(facts.count, 2);
        assert_string_equal(facts.models[0].name, "m-1");
        assert_int_equal(facts.models[0].calls, 2);
        assert_int_equal(facts.models[0].output_tokens, 350);
        assert_int_equal(facts.models[0].open_answers, 0);
        assert_int_equal(facts.models[0].input_tokens, sizeof(one) - 1 + sizeof(two) - 1 + 1024);
        assert_string_equal(facts.models[1].name, "m-2");
        assert_int_equal(facts.models[1].open_answers, 2);
        assert_int_equal(facts.models[1].output_tokens, 0);
    }
}

static void searches_are_summed_up(void **state)
{
    (void)state;
    struct batch_facts facts = facts_of(
        TEXT(CHAT("{\"model\":\"m\",\"max_tokens\":9,\"n\":3,\"web_search_options\":{}}") /**/
             CHAT("{\"model\":\"m\",\"max_tokens\":9,\"messages\":[]}")),
        10);
    assert_int_equal(facts.count, 1);
    assert_int_equal(facts.models[0].searches, 30);
}

static void the_last_line_needs_no_end(void **state)
{
    (void)state;
    struct text file = TEXT(CHAT("{\"model\":\"m\"}") CHAT("{\"model\":\"m\"}"));
    assert_int_equal(facts_of(text_head(file, file.len - 1), 7).models[0].calls, 2);
    assert_int_equal(facts_of(text_head(file, file.len - 2), 7).count, 0);
}

static void what_is_not_in_the_file_is_counted_as_contexts(void **state)
{
    (void)state;
    struct batch_facts facts =
        facts_of(TEXT(LINE("/v1/responses", "{\"model\":\"m\",\"previous_response_id\":\"resp_1\","
                                            "\"input\":\"x\",\"max_output_tokens\":20}")),
                 100);
    assert_int_equal(facts.models[0].contexts, 1);
    assert_true(facts.models[0].input_tokens < 2000);
    assert_true(facts.names_objects);
    facts = facts_of(TEXT(CHAT("{\"model\":\"m\",\"a\":[{\"file\\u005fid\": \"file-1\"}]}")), 100);
    assert_true(facts.names_objects);
    facts = facts_of(TEXT(CHAT("{\"model\":\"m\",\"a\":\"file_id\"}")), 100);
    assert_false(facts.names_objects);
}

static void what_writes_no_text_has_no_output(void **state)
{
    (void)state;
    struct batch_facts facts =
        facts_of(TEXT(LINE("/v1/embeddings", "{\"model\":\"m\",\"input\":\"x\"}")), 100);
    assert_int_equal(facts.models[0].output_tokens + facts.models[0].open_answers, 0);
    facts = facts_of(TEXT(LINE("/v1/images/generations", "{\"model\":\"m\",\"n\":4}")), 100);
    assert_int_equal(facts.models[0].units, 4);
    assert_int_equal(facts.models[0].output_tokens, 4 * ESTIMATE_PICTURE_TOKENS);
}

static void a_problem_says_where_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *file, *words;
    } cases[] = {
        {"", "no call"},
        {"\n\n", "no call"},
        {"x", "line 1 is no JSON"},
        {CHAT("{\"model\":\"m\"}") "[]", "line 2 is no JSON"},
        {CHAT("[]"), "line 1 is no JSON object with a body"},
        {"{\"body\":{\"model\":\"m\"}}", "line 1 has a url"},
        {LINE("/v1/files", "{\"model\":\"m\"}"), "line 1 has a url"},
        {CHAT("{\"model\":\"m\"}") LINE("/v1/embeddings", "{\"model\":\"m\"}"), "line 2 has a url"},
        {CHAT("{\"model\":\"m\",\"model\":\"n\"}"), "line 1 has a body"},
        {CHAT("{}"), "line 1 names no model"},
        {CHAT("{\"model\":7}"), "line 1 names no model"},
        {CHAT("{\"model\":\"a\\nb\"}"), "line 1 names no model"},
        {CHAT("{\"model\":\"m\",\"max_tokens\":-5}"), "line 1 has a length"},
        {CHAT("{\"model\":\"m\",\"max_tokens\":1e9}"), "line 1 has a length"},
        {CHAT("{\"model\":\"m\",\"n\":0}"), "line 1 has a number of answers"},
        {CHAT("{\"model\":\"a\"}") CHAT("{\"model\":\"b\"}") CHAT("{\"model\":\"c\"}")
             CHAT("{\"model\":\"d\"}") CHAT("{\"model\":\"e\"}"),
         "line 5 names one model more"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct batch_facts facts = facts_of(text_of(cases[i].file), 5);
        assert_int_equal(facts.count, 0);
        if (!strstr(facts.problem, cases[i].words))
            fail_msg("%s: %s", cases[i].file, facts.problem);
    }
}

static void a_line_is_bounded(void **state)
{
    (void)state;
    struct buffer file;
    buffer_init(&file, 2 * BATCH_LINE_MAX);
    buffer_append_text(
        &file, TEXT("{\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"m\",\"x\":\""));
    while (buffer_length(&file) < BATCH_LINE_MAX - 3)
        buffer_append_text(&file, TEXT("x"));
    buffer_append_text(&file, TEXT("\"}}"));
    assert_int_equal(facts_of(buffer_text(&file), 100000).count, 1);
    buffer_append_text(&file, TEXT(" "));
    for (size_t step = 100000; step <= 8000000; step *= 80) {
        struct batch_facts facts = facts_of(buffer_text(&file), step);
        assert_int_equal(facts.count, 0);
        assert_non_null(strstr(facts.problem, "line 1 is too long"));
    }
    buffer_done(&file);
}

static void facts_are_written_and_read(void **state)
{
    (void)state;
    struct batch_facts facts = {.url = "/v1/chat/completions", .count = BATCH_PARTS_MAX}, again;
    facts.names_objects = true;
    char text[OBJECT_FACTS_BYTES + 1];
    for (size_t i = 0; i < BATCH_PARTS_MAX; i++) {
        struct batch_model *model = &facts.models[i];
        memset(model->name, 'a' + (int)i, BATCH_NAME_MAX);
        model->calls = model->input_tokens = model->contexts = INT64_C(1000000000000000);
        model->output_tokens = model->open_answers = model->units = INT64_C(1000000000000000);
        model->input_likely = model->output_likely = INT64_C(999999999999999) - (int64_t)i;
        model->searches = i % 2 ? INT64_C(1000000000000000) : 0;
    }
    struct text written = batch_facts_write(&facts, text);
    assert_true(written.len <= OBJECT_FACTS_BYTES);
    batch_facts_read(written, &again);
    assert_memory_equal(&again, &facts, sizeof(facts));
    for (size_t len = 0; len < written.len; len++) {
        batch_facts_read(text_head(written, len), &again);
        if (again.count) /* cut between two models: it was not, by us */
            assert_int_equal(text[len - 1], '\n');
        else
            assert_string_not_equal(again.problem, "");
    }
    struct batch_facts none = {.problem = "line 3 is odd"};
    batch_facts_read(batch_facts_write(&none, text), &again);
    assert_int_equal(again.count, 0);
    assert_string_equal(again.problem, "line 3 is odd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_the_same_however_the_file_is_cut),
        cmocka_unit_test(searches_are_summed_up),
        cmocka_unit_test(the_last_line_needs_no_end),
        cmocka_unit_test(what_is_not_in_the_file_is_counted_as_contexts),
        cmocka_unit_test(what_writes_no_text_has_no_output),
        cmocka_unit_test(a_problem_says_where_it_is),
        cmocka_unit_test(a_line_is_bounded),
        cmocka_unit_test(facts_are_written_and_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
