/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/base/scan_kernel.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const struct text wants[] = {TEXT("usage"), TEXT("id"), TEXT("n")};
enum { USAGE, ID, N, WANTS };

static struct tap tap;

/* Feed <json> in pieces of <piece> bytes. */
static void feed(struct text json, size_t piece)
{
    tap_done(&tap);
    tap_init(&tap, wants, WANTS);
    for (struct text rest = json; rest.len > 0; rest = text_from(rest, piece))
        tap_feed(&tap, text_head(rest, piece));
}

static int clear(void **state)
{
    (void)state;
    tap_done(&tap);
    return 0;
}

static void assert_value(int i, enum scan_kind kind, const char *raw)
{
    struct scan_value value = tap_value(&tap, (size_t)i);
    assert_int_equal(value.kind, kind);
    assert_int_equal(value.raw.len, strlen(raw));
    if (kind != SCAN_ABSENT)
        assert_memory_equal(value.raw.at, raw, strlen(raw));
}

static void wanted_values_are_kept_at_any_cut(void **state)
{
    (void)state;
    struct text json = TEXT(
        " {\"id\":\"a\\\"b\\\\\",\"choices\":[{\"n\":5,\"text\":\"[{\\\"usage\\\":1}]\"},"
        "\"a string long enough for more than one block of bytes, with { and [ and \\\" in it\"],"
        "\"usage\" : {\"prompt_tokens\": 3, \"d\":[{\"x\":\"}\"}]} , \"n\" : -12.5e3 \n} \n");
    for (size_t piece = 1; piece <= json.len; piece++) {
        feed(json, piece);
        assert_value(USAGE, SCAN_OBJECT, "{\"prompt_tokens\": 3, \"d\":[{\"x\":\"}\"}]}");
        assert_value(ID, SCAN_STRING, "\"a\\\"b\\\\\"");
        assert_true(tap_value(&tap, ID).escaped);
        assert_value(N, SCAN_NUMBER, "-12.5e3");
    }
}

static void scalars_of_every_kind_are_kept(void **state)
{
    (void)state;
    static const struct {
        const char *json, *raw;
        enum scan_kind kind;
    } cases[] = {
        {"{\"n\":null}", "null", SCAN_NULL},     {"{\"n\":true,\"a\":1}", "true", SCAN_TRUE},
        {"{\"n\":false }", "false", SCAN_FALSE}, {"{\"n\":0}", "0", SCAN_NUMBER},
        {"{\"n\":\"\"}", "\"\"", SCAN_STRING},   {"{\"n\":[]}", "[]", SCAN_ARRAY},
        {"{\"n\":{}}", "{}", SCAN_OBJECT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (size_t piece = 1; piece < 20; piece++) {
            feed(text_of(cases[i].json), piece);
            assert_value(N, cases[i].kind, cases[i].raw);
            assert_false(tap_value(&tap, N).escaped);
        }
}

static void escaped_names_are_recognised(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 30; piece++) {
        feed(TEXT("{\"\\u0075sa\\u0067e\":1,\"\\u00e9\":2,\"id\\n\":3,\"\\/\":4}"), piece);
        assert_value(USAGE, SCAN_NUMBER, "1");
        assert_value(ID, SCAN_ABSENT, "");
    }
}

static void other_names_and_levels_do_not_count(void **state)
{
    (void)state;
    feed(TEXT("{\"a\":{\"usage\":1},\"usages\":2,\"usag\":3,\"\":4,\"Usage\":5,"
              "\"a name that is longer than any that can be wanted: usage\":6}"),
         1000);
    for (int i = 0; i < WANTS; i++)
        assert_value(i, SCAN_ABSENT, "");
}

static void of_a_name_that_stands_twice_the_last_counts(void **state)
{
    (void)state;
    feed(TEXT("{\"n\":1111,\"n\":2}"), 1000);
    assert_value(N, SCAN_NUMBER, "2");
}

static void a_value_that_is_not_whole_is_not_given(void **state)
{
    (void)state;
    static const char *const cut[] = {"{\"n\":1",         "{\"n\":\"abc", "{\"n\":\"abc\\\"",
                                      "{\"n\":{\"a\":[]", "{\"n\"",       "{\"n\":"};
    for (size_t i = 0; i < sizeof(cut) / sizeof(*cut); i++) {
        feed(text_of(cut[i]), 1000);
        assert_value(N, SCAN_ABSENT, "");
    }
}

static void what_is_no_json_gives_nothing(void **state)
{
    (void)state;
    static const char *const none[] = {
        "",
        "x",
        "[{\"n\":1}]",
        "\"n\"",
        "data: {\"n\":1}",
        "{n:1}",
        "{\"n\" 1}",
        "{\"n\":xyz}",
        "{\"n\":{]}",
        "{\"n\":[}",
        "{\"n\":tru\"e\"}",
        "{\"n\":1\"}",
        "{,\"n\"::1}",
        "{\"n\":01}",
        "{\"a\":1 2,\"n\":3}",
        "{}\n{\"n\":1}",
        "{\"n\":1[}",
    };
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
        for (size_t piece = 1; piece < 20; piece++) {
            feed(text_of(none[i]), piece);
            assert_value(N, SCAN_ABSENT, "");
        }
}

static void long_values_are_dropped_and_marked(void **state)
{
    (void)state;
    static char json[2 * TAP_VALUE_BYTES];
    for (size_t len = TAP_VALUE_BYTES - 1; len <= TAP_VALUE_BYTES + 1U; len++) {
        size_t at = (size_t)sprintf(json, "{\"n\":\"");
        memset(json + at, 'x', len - 2);
        at += len - 2;
        at += (size_t)sprintf(json + at, "\",\"id\":1}");
        for (size_t piece = 100; piece < 5000; piece += 700) {
            feed((struct text){json, at}, piece);
            bool fits = len <= TAP_VALUE_BYTES;
            assert_int_equal(tap_value(&tap, N).kind, fits ? SCAN_STRING : SCAN_ABSENT);
            assert_int_equal(tap_value(&tap, N).raw.len, fits ? len : 0);
            assert_int_equal(tap.too_long[N], !fits);
            assert_value(ID, SCAN_NUMBER, "1");
        }
    }
}

static void too_deep_is_no_document(void **state)
{
    (void)state;
    char json[400];
    for (int over = 0; over < 2; over++) {
        size_t depth = SCAN_DEPTH_MAX - 1 + (size_t)over, at = (size_t)sprintf(json, "{\"a\":");
        memset(json + at, '[', depth);
        memset(json + at + depth, ']', depth);
        at += 2 * depth;
        at += (size_t)sprintf(json + at, ",\"n\":1}");
        for (size_t piece = 1; piece < 400; piece += 3) {
            feed((struct text){json, at}, piece);
            assert_int_equal(tap_value(&tap, N).kind, over ? SCAN_ABSENT : SCAN_NUMBER);
        }
    }
}

static void every_instruction_set_skips_alike(void **state)
{
    (void)state;
    const struct scan_kernel *const *all = scan_kernel_all();
    static const char marks[] = "\"\\{}[]x";
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        char bytes[200];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            seed = seed * 1103515245U + 12345U;
            /* Rare marks in one round, dense ones in the next. */
            bool is_mark = (seed >> 16) % (round % 2 ? 20U : 3U) == 0;
            bytes[i] = is_mark ? marks[(seed >> 8) % (sizeof(marks) - 1)] : 'x';
        }
        const struct scan_nest start = {2U + (unsigned)round % 7U, round % 3 == 0, round % 5 == 0};
        struct scan_nest first = start;
        bool escape = round % 5 == 0;
        const char *end = bytes + sizeof(bytes);
        const char *bracket = all[0]->skip_nested(bytes, end, &first);
        const char *quote = all[0]->skip_string(bytes, end, &escape);
        for (size_t k = 1; all[k]; k++) {
            struct scan_nest here = start;
            bool escape_here = round % 5 == 0;
            assert_ptr_equal(all[k]->skip_nested(bytes, end, &here), bracket);
            assert_int_equal(here.depth, first.depth);
            assert_int_equal(here.in_string, first.in_string);
            assert_int_equal(here.escape, first.escape);
            assert_ptr_equal(all[k]->skip_string(bytes, end, &escape_here), quote);
            assert_int_equal(escape_here, escape);
        }
    }
}

static char passed[256];

static void add_passed(void *owner, struct text piece)
{
    size_t len = strlen(passed);
    assert_ptr_equal(owner, &tap);
    assert_true(len + piece.len < sizeof(passed));
    memcpy(passed + len, piece.at, piece.len);
    passed[len + piece.len] = '\0';
}

static void a_value_can_be_passed_on_at_any_cut(void **state)
{
    (void)state;
    const struct text json = TEXT("{\"n\": 1, \"usage\" : [{\"a\": \"]}\"}, 2] , \"id\": \"x\"} {");
    for (size_t cut = 1; cut <= json.len; cut++) {
        passed[0] = '\0';
        tap_done(&tap);
        tap_init(&tap, wants, WANTS);
        tap_pass(&tap, USAGE, add_passed, &tap);
        for (struct text rest = json; rest.len > 0; rest = text_from(rest, cut))
            tap_feed(&tap, text_head(rest, cut));
        assert_string_equal(passed, "[{\"a\": \"]}\"}, 2]");
        assert_value(USAGE, SCAN_ABSENT, "");
        assert_value(ID, SCAN_STRING, "\"x\"");
    }
}

static void items_of_a_list_are_looked_at_one_by_one(void **state)
{
    (void)state;
    const struct text json =
        TEXT("[ {\"n\": 1, \"id\": \"a\"},{}, {\"x\": {\"n\": \"}{\"}},\n{\"n\":4 }, {\"n\": 5");
    static const char *const found[] = {"1", "", "", "4"};
    for (size_t cut = 1; cut <= json.len; cut++) {
        size_t items = 0;
        tap_done(&tap);
        tap_init(&tap, wants, WANTS);
        for (struct text rest = json; rest.len > 0; rest = text_from(rest, cut))
            for (struct text piece = text_head(rest, cut); tap_next_item(&tap, &piece); items++) {
                assert_true(items < 4);
                assert_value(N, *found[items] ? SCAN_NUMBER : SCAN_ABSENT, found[items]);
                assert_value(ID, items ? SCAN_ABSENT : SCAN_STRING, items ? "" : "\"a\"");
            }
        assert_int_equal(items, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(wanted_values_are_kept_at_any_cut, clear),
        cmocka_unit_test_teardown(scalars_of_every_kind_are_kept, clear),
        cmocka_unit_test_teardown(escaped_names_are_recognised, clear),
        cmocka_unit_test_teardown(other_names_and_levels_do_not_count, clear),
        cmocka_unit_test_teardown(of_a_name_that_stands_twice_the_last_counts, clear),
        cmocka_unit_test_teardown(a_value_that_is_not_whole_is_not_given, clear),
        cmocka_unit_test_teardown(what_is_no_json_gives_nothing, clear),
        cmocka_unit_test_teardown(long_values_are_dropped_and_marked, clear),
        cmocka_unit_test_teardown(too_deep_is_no_document, clear),
        cmocka_unit_test_teardown(a_value_can_be_passed_on_at_any_cut, clear),
        cmocka_unit_test_teardown(items_of_a_list_are_looked_at_one_by_one, clear),
        cmocka_unit_test(every_instruction_set_skips_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
