/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/base/scan_kernel.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const struct text wants[] = {
    TEXT("model"),
    TEXT("n"),
    TEXT("stream_options.include_usage"),
    TEXT("stream_options.x"),
    TEXT("text"),
    TEXT("text.format"),
};
enum { MODEL, N, INCLUDE_USAGE, X, WHOLE_TEXT, FORMAT, WANTS };

static struct scan_value values[WANTS];
static struct scan_problem problem;

static bool scan(const char *json)
{
    problem = (struct scan_problem){SIZE_MAX, NULL, NULL, false};
    /* In memory of exactly its size, so that a sanitizer sees reading behind the end. */
    static char *own;
    memory_free(own);
    size_t len = strlen(json);
    own = memory_new(len);
    memcpy(own, json, len);
    return scan_json((struct text){own, len}, wants, WANTS, values, &problem);
}

static void assert_raw(int i, enum scan_kind kind, const char *raw)
{
    assert_int_equal(values[i].kind, kind);
    assert_int_equal(values[i].raw.len, strlen(raw));
    assert_memory_equal(values[i].raw.at, raw, strlen(raw));
}

static void wanted_values_are_found(void **state)
{
    (void)state;
    assert_true(scan(" { \"model\" : \"gpt-4o\" , \"n\":2,\r\n\t\"stream_options\":"
                     "{\"include_usage\": true,\"y\":[]},\"z\":{\"model\":1}} \n"));
    assert_raw(MODEL, SCAN_STRING, "\"gpt-4o\"");
    assert_false(values[MODEL].escaped);
    assert_raw(N, SCAN_NUMBER, "2");
    assert_raw(INCLUDE_USAGE, SCAN_TRUE, "true");
    assert_int_equal(values[X].kind, SCAN_ABSENT);
    assert_int_equal(values[WHOLE_TEXT].kind, SCAN_ABSENT);
}

static void every_kind_of_value_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        enum scan_kind kind;
    } kinds[] = {{"null", SCAN_NULL},        {"false", SCAN_FALSE}, {"true", SCAN_TRUE},
                 {"-0.5e+3", SCAN_NUMBER},   {"\"\"", SCAN_STRING}, {"[]", SCAN_ARRAY},
                 {"[1, [2]]", SCAN_ARRAY},   {"{}", SCAN_OBJECT},   {"{\"a\":{}}", SCAN_OBJECT},
                 {"[{}, \"]\"]", SCAN_ARRAY}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        char json[64];
        snprintf(json, sizeof(json), "{\"a\":1,\"n\": %s ,\"b\":2}", kinds[i].raw);
        assert_true(scan(json));
        assert_raw(N, kinds[i].kind, kinds[i].raw);
    }
}

static void whole_and_part_of_a_member_can_both_be_wanted(void **state)
{
    (void)state;
    assert_true(scan("{\"text\":{\"format\":{\"type\":\"x\"}},\"model\":\"m\"}"));
    assert_raw(WHOLE_TEXT, SCAN_OBJECT, "{\"format\":{\"type\":\"x\"}}");
    assert_raw(FORMAT, SCAN_OBJECT, "{\"type\":\"x\"}");
    assert_raw(MODEL, SCAN_STRING, "\"m\"");
}

static void names_on_other_levels_do_not_count(void **state)
{
    (void)state;
    assert_true(
        scan("{\"include_usage\":1,\"a\":{\"include_usage\":2,\"n\":3},"
             "\"stream_options\":[{\"include_usage\":4}],"
             "\"stream_options.include_usage\":5,\"text.format\":6,\"mode\":7,\"models\":8}"));
    for (int i = 0; i < WANTS; i++)
        assert_int_equal(values[i].kind, SCAN_ABSENT);
    assert_true(scan("{\"stream_options\":{\"a\":{\"include_usage\":1}}}"));
    assert_int_equal(values[INCLUDE_USAGE].kind, SCAN_ABSENT);
}

static void escaped_names_are_recognised(void **state)
{
    (void)state;
    assert_true(
        scan("{\"\\u006dodel\":\"a\",\"\\u0073tream_options\":{\"include\\u005Fusage\":1}}"));
    assert_raw(MODEL, SCAN_STRING, "\"a\"");
    assert_raw(INCLUDE_USAGE, SCAN_NUMBER, "1");
    assert_true(scan("{\"mod\\u0000el\":1,\"\\ud800\":2,\"\\/\":3}"));
    assert_int_equal(values[MODEL].kind, SCAN_ABSENT);
}

static void assert_twice(const char *json, size_t at, int want)
{
    assert_false(scan(json));
    assert_string_equal(problem.what, "a name stands twice in one object");
    assert_string_equal(problem.name, wants[want].at);
    assert_int_equal(problem.at, at);
}

static void request_must_not_have_a_wanted_name_in_another_case(void **state)
{
    static const char *const bad[] = {"{\"a\":1,\"Model\":1}", "{\"a\":1,\"MODE\\u006c\":1}",
                                      "{\"a\":1,\"model\":1,\"modeL\":1}"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(scan(bad[i]));
        assert_false(scan_request(text_of(bad[i]), wants, WANTS, values, &problem, NULL));
        assert_true(problem.other_case);
        assert_string_equal(problem.name, "model");
    }
    struct text good = TEXT("{\"model\":1,\"Modell\":1,\"a\":{\"Model\":1}}");
    assert_true(scan_request(good, wants, WANTS, values, &problem, NULL));
}

static struct scan_outline outline_of(const char *json, struct scan_long *longs, unsigned room)
{
    struct scan_outline outline = {.anywhere = TEXT("file_id"), .longs = longs, .room = room};
    assert_true(scan_request(text_of(json), wants, WANTS, values, &problem, &outline));
    assert_ptr_equal(outline.document.at, json);
    return outline;
}

static void long_strings_are_told_in_their_order(void **state)
{
    enum { MESSAGES = 5, INSIDE = 3 * SCAN_LONG_BYTES };
    (void)state;
    char json[MESSAGES * (INSIDE + 64)], inside[INSIDE + 1];
    struct scan_long longs[MESSAGES];
    memset(inside, 'a', INSIDE);
    inside[INSIDE] = '\0';
    memcpy(inside + 9, "\\\\\\\"\xc3\xa9", 6);
    size_t len = (size_t)snprintf(json, sizeof(json), "{\"model\":\"m\",\"list\":[");
    for (int i = 0; i < MESSAGES; i++)
        len += (size_t)snprintf(json + len, sizeof(json) - len, "%s{\"%s\":\"%s\"}", i ? ", " : "",
                                i == 2 ? inside : "b", i == 2 ? "c" : inside);
    snprintf(json + len, sizeof(json) - len, "]}");
    struct scan_outline outline = outline_of(json, longs, MESSAGES);
    assert_int_equal(outline.count, MESSAGES);
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(longs[i].length, INSIDE + 1);
        assert_memory_equal(json + longs[i].at + 1, inside, INSIDE);
    }
    assert_int_equal(outline_of(json, longs, 2).count, 2);
    assert_int_equal(outline_of("{\"model\":\"short\"}", longs, MESSAGES).count, 0);
}

static void name_is_seen_on_every_level(void **state)
{
    static const char *const with[] = {"{\"file_id\":1}", "{\"a\":[{\"b\":{\"file_ids\":[]}}]}",
                                       "{\"a\":{\"f\\u0069le_id\":1}}"};
    static const char *const without[] = {"{\"a\":\"file_id\"}",
                                          "{\"a\":{\"file_i\":1,\"a_file_id\":1}}",
                                          "{\"a\":\"f\\u0069le_id\"}"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_true(outline_of(with[i], NULL, 0).has_name);
        assert_false(outline_of(without[i], NULL, 0).has_name);
    }
}

static void wanted_name_must_not_stand_twice(void **state)
{
    (void)state;
    assert_twice("{\"model\":1,\"model\":1}", 11, MODEL);
    assert_twice("{\"model\":1,\"\\u006dodel\":2}", 11, MODEL);
    assert_twice("{\"model\":null,\"a\":0,\"model\":2}", 20, MODEL);
    assert_twice("{\"model\":{},\"model\":2}", 12, MODEL);
    assert_twice("{\"stream_options\":{\"x\":1,\"x\":1}}", 25, X);
    assert_twice("{\"stream_options\":{},\"stream_options\":{\"x\":1}}", 21, INCLUDE_USAGE);
    assert_twice("{\"stream_options\":1,\"stream\\u005foptions\":2}", 20, INCLUDE_USAGE);
    /* Others may, and the same name on another level is another name. */
    assert_true(scan("{\"a\":1,\"a\":2,\"b\":{\"model\":1,\"model\":2},\"model\":3}"));
    assert_raw(MODEL, SCAN_NUMBER, "3");
}

static void assert_problem(const char *json, size_t at, const char *what)
{
    assert_false(scan(json));
    assert_string_equal(problem.what, what);
    assert_int_equal(problem.at, at);
    assert_null(problem.name);
}

static void problems_say_what_and_where(void **state)
{
    (void)state;
    assert_problem("", 0, "the document ends too early");
    assert_problem("[]", 0, "a JSON object is expected");
    assert_problem("\xEF\xBB\xBF{}", 0, "a JSON object is expected");
    assert_problem("{} x", 3, "something stands behind the end of the document");
    assert_problem("{}{}", 2, "something stands behind the end of the document");
    assert_problem("{\"a\":1", 6, "the document ends too early");
    assert_problem("{\"a\"", 4, "the document ends too early");
    assert_problem("{\"a\" 1}", 5, "':' is expected behind a name");
    assert_problem("{a:1}", 1, "a name in quotes is expected");
    assert_problem("{\"a\":1,}", 7, "a name in quotes is expected");
    assert_problem("{\"a\":}", 5, "a value is expected");
    assert_problem("{\"a\":[1,]}", 8, "a value is expected");
    assert_problem("{\"a\":[,1]}", 6, "a value is expected");
    assert_problem("{\"a\":[1}", 7, "',' or ']' is expected behind an item");
    assert_problem("{\"a\":1]", 6, "',' or '}' is expected behind a member");
    assert_problem("{\"a\":1 \"b\":2}", 7, "',' or '}' is expected behind a member");
    assert_problem("{\"a\":\"abc", 9, "a string is not closed");
    assert_problem("{\"a\":\"abc\\", 9, "an escape in a string is not valid");
    assert_problem("{\"a\":\"abc\n\"}", 9, "a control character stands in a string");
    assert_problem("{\"a\":\"\\x\"}", 6, "an escape in a string is not valid");
    assert_problem("{\"a\":\"\\u12g4\"}", 6, "an escape in a string is not valid");
    assert_problem("{\"a\":\"\\u123\"}", 6, "an escape in a string is not valid");
    assert_problem("{\"a\":\"ab\xC0\xAF\"}", 8, "a string is not UTF-8");
    assert_problem("{\"a\":tru}", 5, "a value is expected");
    assert_problem("{\"a\":truex}", 9, "',' or '}' is expected behind a member");
    assert_problem("{\"a\":NaN}", 5, "a value is expected");
    assert_problem("{\"a\":1}\f", 7, "something stands behind the end of the document");
}

static void numbers_follow_the_grammar(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0",   "-0",    "1",     "10",       "1.0",      "0.1",
        "1e1", "1E+10", "1e-10", "-1.5e300", "1e999999", "123456789012345678901234567890"};
    static const char *const bad[] = {
        "",    "-",   "01",  "-01",  "+1",    "1.",    ".1",       "1.e1",      "1e", "1e+",
        "0x1", "1_0", "--1", "1..0", "1e1.0", "1e1e1", "Infinity", "-Infinity", "1 0"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_true(scan_is_valid(text_of(good[i])));
        char json[64];
        snprintf(json, sizeof(json), "{\"n\":%s}", good[i]);
        assert_true(scan(json));
        assert_raw(N, SCAN_NUMBER, good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(scan_is_valid(text_of(bad[i])));
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char json[2 * SCAN_DEPTH_MAX + 8];
    for (size_t depth = 1; depth <= SCAN_DEPTH_MAX + 1U; depth++) {
        memset(json, '[', depth);
        memset(json + depth, ']', depth);
        assert_int_equal(scan_is_valid((struct text){json, 2 * depth}), depth <= SCAN_DEPTH_MAX);
        assert_false(scan_is_valid((struct text){json, depth}));
        assert_false(scan_is_valid((struct text){json, 2 * depth - 1}));
        /* A bracket of the wrong kind, deep down. */
        json[2 * depth - 1] = '}';
        assert_false(scan_is_valid((struct text){json, 2 * depth}));
    }
    char *open = memory_new(100001);
    memset(open, '[', 100000);
    memcpy(open, "{\"a\":", 5);
    assert_false(scan(open));
    assert_string_equal(problem.what, "values are nested too deeply");
    assert_int_equal(problem.at, 5 + SCAN_DEPTH_MAX - 1);
    memory_free(open);
}

/* A string of <len> bytes with <piece> at <at>, on each instruction set. */
static void assert_verdict_at(const char *piece, size_t at, size_t len, bool is_fine)
{
    const struct scan_kernel *const *all = scan_kernel_all();
    char *own = memory_new(len + 1);
    memset(own, 'x', len);
    memcpy(own + at, piece, strlen(piece));
    own[len] = '"';
    for (size_t i = 0; all[i]; i++) {
        bool has_escape = false;
        const char *close = all[i]->close_string(own, own + len + 1, &has_escape);
        if (close != (is_fine ? own + len : NULL))
            fail_msg("%s: %s at %zu of %zu", all[i]->name, piece, at, len);
        if (is_fine)
            assert_int_equal(has_escape, strchr(piece, '\\') != NULL);
        assert_null(all[i]->close_string(own, own + len, &has_escape));
    }
    memory_free(own);
}

static void assert_string_verdict(const char *piece, bool is_fine)
{
    enum { LONG = 2500, AROUND = 700 }; /* where several blocks are looked at in one */
    size_t piece_len = strlen(piece);
    for (size_t len = piece_len; len < 150; len++)
        for (size_t at = 0; at + piece_len <= len; at++)
            assert_verdict_at(piece, at, len, is_fine);
    for (size_t at = 0; at < AROUND; at++)
        assert_verdict_at(piece, at, LONG, is_fine);
    for (size_t at = 0; at < AROUND; at++)
        assert_verdict_at(piece, LONG - piece_len - at, LONG, is_fine);
}

static void strings_are_checked_at_every_place_of_a_block(void **state)
{
    (void)state;
    static const char *const good[] = {"\\\"",
                                       "\\\\",
                                       "\\/\\b\\f\\n\\r\\t",
                                       "\\u0000",
                                       "\\uD83D\\uDE00",
                                       "\\ud800",
                                       "\\\\\\\\\\\"",
                                       "\x7f",
                                       "\xC2\x80",
                                       "\xDF\xBF",
                                       "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80",
                                       "\xF4\x8F\xBF\xBF",
                                       "\xE4\xBD\xA0\xE5\xA5\xBD\xC3\xA9\xF0\x9F\x98\x80"};
    static const char *const bad[] = {"\x01",
                                      "\x1f",
                                      "\n",
                                      "\\a",
                                      "\\U0041",
                                      "\\u004",
                                      "\\u00g0",
                                      "\\'",
                                      "\\\\\\",
                                      "\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xC2",
                                      "\xC2\xC2\x80",
                                      "\xE0\x80\x80",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xED\xBF\xBF",
                                      "\xE4\xBD",
                                      "\xF0\x80\x80\x80",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xF0\x9F\x98",
                                      "\xFF",
                                      "\xFE",
                                      "\xC3\xA9\xA9",
                                      "\xF0\x9F\x98\x80\x80"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_string_verdict(good[i], true);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_string_verdict(bad[i], false);
}

static void an_escape_counts_inside_the_string_only(void **state)
{
    (void)state;
    const struct scan_kernel *const *all = scan_kernel_all();
    for (size_t k = 0; all[k]; k++)
        for (size_t len = 0; len < 140; len++) {
            char own[300];
            memset(own, 'x', sizeof(own));
            own[len] = '"';
            memcpy(own + len + 1, "\xC3\\n\x80", 4); /* nothing here is looked at */
            bool has_escape = true;
            assert_ptr_equal(all[k]->close_string(own, own + sizeof(own), &has_escape), own + len);
            assert_false(has_escape);
            if (len < 3)
                continue;
            memcpy(own + len / 2, "\xC3\xA9", 2);
            assert_ptr_equal(all[k]->close_string(own, own + sizeof(own), &has_escape), own + len);
            assert_false(has_escape);
            memcpy(own + len / 2, "\\n", 2);
            assert_ptr_equal(all[k]->close_string(own, own + sizeof(own), &has_escape), own + len);
            assert_true(has_escape);
        }
}

static void what_stands_before_a_string_is_none_of_it(void **state)
{
    (void)state;
    const struct scan_kernel *const *all = scan_kernel_all();
    static const char *const heads[] = {"\xC3", "\xE2\x80", "\xF0\x9F\x98", "\xF0"};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        for (size_t len = 2; len < 140; len++) {
            char own[160];
            size_t before = strlen(heads[i]);
            bool escape;
            memset(own, 'x', sizeof(own));
            memcpy(own, heads[i], before);
            memcpy(own + before + len - 2, "\xC3\xA9\"", 3);
            const char *close = own + before + len;
            for (size_t k = 0; all[k]; k++)
                assert_ptr_equal(all[k]->close_string(own + before, close + 1, &escape), close);
            own[before] = '\x80'; /* the tail of what stands before it */
            for (size_t k = 0; all[k]; k++)
                assert_null(all[k]->close_string(own + before, close + 1, &escape));
        }
}

/* A string of pieces, one in <rarity> of which is no ASCII; returns its length. */
static size_t write_pieces(char *into, size_t room, unsigned rarity, uint64_t *seed)
{
    static const char *const pieces[] = {
        "\xC3\xA9", "\xE2\x80\x94", "\xF0\x9F\x98\x80", "\\n", "\\u00e9", "\\\\", "\\\"", "text"};
    size_t len = 0;
    while (len + 8 < room) {
        *seed = *seed * 6364136223846793005U + 1442695040888963407U;
        const char *piece = (*seed >> 33) % rarity ? "word " : pieces[(*seed >> 50) % 8];
        memcpy(into + len, piece, strlen(piece));
        len += strlen(piece);
    }
    into[len] = '"';
    return len;
}

static void long_strings_are_checked_alike_by_all_instruction_sets(void **state)
{
    (void)state;
    enum { ROOM = 20000, ROUNDS = 400 };
    const struct scan_kernel *const *all = scan_kernel_all();
    char *own = memory_new(ROOM);
    uint64_t seed = 1;
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t len = write_pieces(own, ROOM - round * 40, 1 + round % 40, &seed);
        bool fine = true, escape = false, escape_here = false;
        assert_ptr_equal(all[0]->close_string(own, own + len + 1, &escape), own + len);
        for (size_t k = 1; all[k]; k++) {
            assert_ptr_equal(all[k]->close_string(own, own + len + 1, &escape_here), own + len);
            assert_int_equal(escape_here, escape);
        }
        for (int i = 0; i < 20; i++) { /* one byte of it is spoilt, which may do no harm */
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            size_t at = (seed >> 33) % len;
            char before = own[at];
            own[at] = (char)(seed >> 56);
            const char *close = all[0]->close_string(own, own + len + 1, &escape);
            fine = fine && close;
            for (size_t k = 1; all[k]; k++) {
                assert_ptr_equal(all[k]->close_string(own, own + len + 1, &escape_here), close);
                if (close)
                    assert_int_equal(escape_here, escape);
            }
            own[at] = before;
        }
        assert_false(fine && round < 40);
    }
    memory_free(own);
}

static void assert_string(const char *raw, const char *expected)
{
    struct scan_value value = {SCAN_STRING, text_of(raw), strchr(raw, '\\') != NULL};
    char out[128];
    size_t len = scan_string(&value, out);
    if (!expected) {
        assert_true(len == SIZE_MAX);
        return;
    }
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(out, expected, len);
}

static void string_resolves_escapes(void **state)
{
    (void)state;
    assert_string("\"\"", "");
    assert_string("\"plain \xC3\xA9\"", "plain \xC3\xA9");
    assert_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t");
    assert_string("\"a\\u0041\\u00e9\\u20AC\\uFFFFz\"", "aA\xC3\xA9\xE2\x82\xAC\xEF\xBF\xBFz");
    assert_string("\"\\uD83D\\uDE00\\udbff\\udfff\"", "\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF");
    assert_string("\"\\ud83d\"", NULL);
    assert_string("\"\\ud83dx\"", NULL);
    assert_string("\"\\ud83d\\n\"", NULL);
    assert_string("\"\\ud83d\\ud83d\"", NULL);
    assert_string("\"\\ude00\"", NULL);
    assert_string("\"a\\u0000\"", NULL);
    struct scan_value number = {SCAN_NUMBER, TEXT("12"), false};
    char out[4];
    assert_true(scan_string(&number, out) == SIZE_MAX);
}

static bool count_of(const char *raw, uint64_t max, uint64_t *count)
{
    struct scan_value value = {SCAN_NUMBER, text_of(raw), false};
    return scan_count(&value, max, count);
}

static void count_takes_whole_numbers_only(void **state)
{
    (void)state;
    uint64_t n = 99;
    assert_true(count_of("0", 10, &n));
    assert_int_equal(n, 0);
    assert_true(count_of("10", 10, &n));
    assert_int_equal(n, 10);
    assert_true(count_of("18446744073709551615", UINT64_MAX, &n));
    assert_true(n == UINT64_MAX);
    static const char *const bad[] = {"11", "-0", "-1", "1.0", "1e1", "18446744073709551616"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(count_of(bad[i], i == 5 ? UINT64_MAX : 10, &n));
    struct scan_value string = {SCAN_STRING, TEXT("\"1\""), false};
    assert_false(scan_count(&string, 10, &n));
}

static void nothing_is_read_behind_the_end_at_any_cut(void **state)
{
    (void)state;
    static const char whole[] =
        "{\"model\":\"a \\u0041 \xC3\xA9 long enough to fill more than one block of bytes, is "
        "it?\","
        "\"n\":-1.5e+10,\"stream_options\":{\"include_usage\":[null,true,false,{\"a\":\"\\n\"}]}}";
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        char *cut = memory_string((struct text){whole, len});
        assert_false(scan(cut));
        assert_true(problem.at <= len);
        memory_free(cut);
    }
    assert_true(scan(whole));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wanted_values_are_found),
        cmocka_unit_test(every_kind_of_value_is_told),
        cmocka_unit_test(whole_and_part_of_a_member_can_both_be_wanted),
        cmocka_unit_test(names_on_other_levels_do_not_count),
        cmocka_unit_test(escaped_names_are_recognised),
        cmocka_unit_test(wanted_name_must_not_stand_twice),
        cmocka_unit_test(problems_say_what_and_where),
        cmocka_unit_test(numbers_follow_the_grammar),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(strings_are_checked_at_every_place_of_a_block),
        cmocka_unit_test(an_escape_counts_inside_the_string_only),
        cmocka_unit_test(what_stands_before_a_string_is_none_of_it),
        cmocka_unit_test(long_strings_are_checked_alike_by_all_instruction_sets),
        cmocka_unit_test(request_must_not_have_a_wanted_name_in_another_case),
        cmocka_unit_test(long_strings_are_told_in_their_order),
        cmocka_unit_test(name_is_seen_on_every_level),
        cmocka_unit_test(string_resolves_escapes),
        cmocka_unit_test(count_takes_whole_numbers_only),
        cmocka_unit_test(nothing_is_read_behind_the_end_at_any_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
