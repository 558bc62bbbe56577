/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/http/sse.h"
#include "tests/unit/policy/guard_cases.h"

/* ----------------------------------------------------------------------- feeding a stream */

struct run {
    struct guard *guard;
    struct guard_stream *stream;
    struct guard_verdict verdict;
    struct buffer out;
    bool passes;
};

static void begin_form(struct run *run, struct guard_rule *rules, size_t count,
                       enum guard_form form)
{
    struct fault fault;
    *run = (struct run){.passes = true};
    for (size_t i = 0; i < count; i++)
        rules[i].stage = GUARD_RESPONSE;
    run->guard = guard_new(rules, count, &fault);
    assert_non_null(run->guard);
    run->stream = guard_stream_new(
        run->guard, guard_concerns(run->guard, GUARD_RESPONSE, NULL, 0, TEXT("m")), form);
    buffer_init(&run->out, 1 << 26);
}

static void begin(struct run *run, struct guard_rule *rules, size_t count)
{
    begin_form(run, rules, count, GUARD_FORM_EVENTS);
}

static void feed(struct run *run, const char *event)
{
    if (run->passes)
        run->passes = guard_stream_event(run->stream, text_of(event), &run->verdict, &run->out);
}

static void finish(struct run *run)
{
    if (run->passes)
        run->passes = guard_stream_end(run->stream, &run->verdict, &run->out);
}

static void done(struct run *run)
{
    guard_stream_free(run->stream);
    guard_free(run->guard);
    buffer_done(&run->out);
}

static void expect(struct run *run, const char *wanted)
{
    struct text out = buffer_text(&run->out);
    if (!text_equal(out, text_of(wanted)))
        print_error("%.*s\n instead of\n%s\n", TEXT_ARGS(out), wanted);
    assert_true(text_equal(out, text_of(wanted)));
    buffer_clear(&run->out);
}

static void chat(struct run *run, unsigned choice, const char *text)
{
    struct buffer event;
    buffer_init(&event, 1 << 22);
    buffer_format(&event, "data: {\"choices\":[{\"delta\":{\"content\":");
    json_write_string(&event, text_of(text));
    buffer_format(&event, "},\"index\":%u}]}\n\n%c", choice, 0);
    feed(run, buffer_text(&event).at);
    buffer_done(&event);
}

/* ------------------------------------------------------------------------------ the tests */

#define CHUNK(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"

static void a_match_over_several_chunks_is_cut_out(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "sk-[a-z]{8}", GUARD_REDACT);
    struct run run;
    begin(&run, &rule, 1);
    feed(&run, CHUNK("my key: s"));
    feed(&run, CHUNK("k-ab"));
    feed(&run, CHUNK("cdefgh"));
    feed(&run, CHUNK(" ok \\u0073\\u006b-abcdefgh"));
    expect(&run, "");
    feed(&run, "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"delta\":{}}]}\n\n");
    expect(&run, CHUNK("my key: [REDACTED:r]") CHUNK("") CHUNK("")
                     CHUNK(" ok [REDACTED:r]") "data: "
                                               "{\"choices\":[{\"index\":0,\"finish_reason\":"
                                               "\"stop\",\"delta\":{}}]}"
                                               "\n\n");
    feed(&run, "data: [DONE]\n\n");
    finish(&run);
    expect(&run, "data: [DONE]\n\n");
    assert_true(run.passes && run.verdict.changed && run.verdict.matched == 1);
    done(&run);
}

static void an_event_leaves_when_a_window_has_followed(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "secret", GUARD_REDACT);
    struct run run;
    begin(&run, &rule, 1);
    const char *role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
                       "\"content\":\"\"}}]}\n\n";
    feed(&run, role);
    expect(&run, role);
    feed(&run, ": ping\n\n");
    expect(&run, ": ping\n\n");
    feed(&run, CHUNK("first"));
    feed(&run, ": ping\n\n");
    char rest[64];
    memset(rest, 'x', 63);
    rest[63] = '\0';
    chat(&run, 0, rest);
    expect(&run, "");
    assert_true(guard_stream_held(run.stream) > 100);
    chat(&run, 0, "y");
    expect(&run, CHUNK("first") ": ping\n\n");
    finish(&run);
    done(&run);
}

static void a_block_lets_nothing_more_out(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("no", "forbidden", GUARD_BLOCK);
    struct run run;
    begin(&run, &rule, 1);
    char text[65];
    memset(text, 'x', 64);
    text[64] = '\0';
    chat(&run, 0, "fine");
    chat(&run, 0, text);
    struct text left = buffer_text(&run.out);
    assert_true(text_find(left, TEXT("fine")) != SIZE_MAX);
    chat(&run, 0, " forb");
    chat(&run, 0, "idden ");
    size_t before = buffer_length(&run.out);
    chat(&run, 0, text);
    assert_false(run.passes);
    assert_true(run.verdict.blocks);
    assert_string_equal(run.verdict.rule, "no");
    assert_true(text_find(buffer_text(&run.out), TEXT("forb")) == SIZE_MAX);
    assert_true(buffer_length(&run.out) >= before);
    assert_false(guard_stream_event(run.stream, TEXT("data: [DONE]\n\n"), &run.verdict, &run.out));
    assert_false(guard_stream_end(run.stream, &run.verdict, &run.out));
    assert_true(text_find(buffer_text(&run.out), TEXT("DONE")) == SIZE_MAX);
    done(&run);
}

static void choices_do_not_mix(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "abcd", GUARD_REDACT);
    struct run run;
    begin(&run, &rule, 1);
    chat(&run, 0, "ab");
    chat(&run, 1, "xyab");
    chat(&run, 0, "cd");
    chat(&run, 1, "xcd");
    finish(&run);
    expect(&run, "data: {\"choices\":[{\"delta\":{\"content\":\"[REDACTED:r]\"},\"index\":0}]}\n\n"
                 "data: {\"choices\":[{\"delta\":{\"content\":\"xyab\"},\"index\":1}]}\n\n"
                 "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"index\":0}]}\n\n"
                 "data: {\"choices\":[{\"delta\":{\"content\":\"xcd\"},\"index\":1}]}\n\n");
    done(&run);
}

static void a_finished_choice_holds_nobody_up(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "abcd", GUARD_REDACT);
    struct run run;
    begin(&run, &rule, 1);
    feed(&run, CHUNK("short"));
    feed(&run, "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\n");
    assert_int_equal(guard_stream_held(run.stream), 0);
    chat(&run, 1, "more");
    assert_true(guard_stream_held(run.stream) > 0);
    done(&run);
}

static void arguments_in_pieces_stay_json(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "sk-[a-z]{4}|\\b\\d{6}\\b", GUARD_REDACT);
    struct run run;
    begin(&run, &rule, 1);
#define ARGS(text)                                                                            \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{" \
    "\"arguments\":\"" text "\"}}]}}]}\n\n"
    feed(&run, ARGS("{\\\"a\\\": \\\"s"));
    feed(&run, ARGS("k-ab"));
    feed(&run, ARGS("cd!\\\",\\\"b\\\":\\\"\\\\u00"));
    feed(&run, ARGS("73k-abcd\\\",\\\"n\\\":12"));
    feed(&run, ARGS("3456}"));
    finish(&run);
    expect(&run,
           ARGS("{\\\"a\\\": \\\"[REDACTED:r]") ARGS("") ARGS("!\\\",\\\"b\\\":\\\"[REDACTED:r]")
               ARGS("\\\",\\\"n\\\":\\\"[REDACTED:r]\\\"") ARGS("}"));
    assert_true(run.passes);
    done(&run);
}

static void responses_repeat_nothing(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "abcd", GUARD_REDACT);
    struct run run;
    begin(&run, &rule, 1);
    feed(&run, "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
               "\"output_index\":0,\"content_index\":0,\"delta\":\"<ab\",\"logprobs\":[1]}\n\n");
    feed(&run,
         "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
         "\"output_index\":0,\"content_index\":0,\"delta\":\"cd>\",\"logprobs\":[12345]}\n\n");
    expect(&run, "");
    feed(&run, "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\","
               "\"output_index\":0,\"content_index\":0,\"text\":\"<abcd>\"}\n\n");
    feed(&run, "data: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"content\":[{"
               "\"text\":\"<abcd>\"}]}]}}\r\n\r\n");
    expect(
        &run,
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
        "\"output_index\":0,\"content_index\":0,\"delta\":\"<[REDACTED:r]\",\"logprobs\":[1]}\n\n"
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
        "\"output_index\":0,\"content_index\":0,\"delta\":\">\",\"logprobs\":[]}\n\n"
        "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\","
        "\"output_index\":0,\"content_index\":0,\"text\":\"<[REDACTED:r]>\"}\n\n"
        "data: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"content\":[{"
        "\"text\":\"<[REDACTED:r]>\"}]}]}}\r\n\r\n");
    done(&run);
}

static void other_dialects_are_joined_too(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "abcd", GUARD_REDACT);
    struct run run;
    begin(&run, &rule, 1);
#define ANTHROPIC(n, kind, text)                                                       \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":" n \
    ",\"delta\":{\"type\":\"x\",\"" kind "\":\"" text "\"}}\n\n"
    feed(&run, ANTHROPIC("0", "text", "ab"));
    feed(&run, ANTHROPIC("0", "text", "cd"));
    feed(&run, ANTHROPIC("1", "partial_json", "{\\\"q\\\":\\\"a"));
    feed(&run, ANTHROPIC("1", "partial_json", "bcd\\\"}"));
    finish(&run);
    expect(&run, ANTHROPIC("0", "text", "[REDACTED:r]") ANTHROPIC("0", "text", "")
                     ANTHROPIC("1", "partial_json", "{\\\"q\\\":\\\"[REDACTED:r]")
                         ANTHROPIC("1", "partial_json", "\\\"}"));
    done(&run);
    begin(&run, &rule, 1);
#define GEMINI(text) \
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"" text "\"}]}}]}\n\n"
    feed(&run, GEMINI("1abc"));
    feed(&run, GEMINI("d2"));
    finish(&run);
    expect(&run, GEMINI("1[REDACTED:r]") GEMINI("2"));
    done(&run);
}

static void what_is_no_json_is_a_text(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "abc\\nd|efg", GUARD_REDACT);
    struct run run;
    begin(&run, &rule, 1);
    feed(&run, "id: 7\ndata: 1 abc\ndata: d 2\nretry: 3\n\n");
    feed(&run, "data: e");
    feed(&run, "data: \xff\xfe efg\n\n");
    finish(&run);
    expect(&run,
           "id: 7\ndata: 1 [REDACTED:r] 2\nretry: 3\n\ndata: edata: \xff\xfe [REDACTED:r]\n\n");
    done(&run);
    begin(&run, &rule, 1);
    feed(&run, "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"efg\"}}]}\n\n");
    finish(&run);
    expect(&run,
           "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"[REDACTED:r]\"}}"
           "]}\n\n");
    done(&run);
}

/* ---------------------------------------------------------------- however it is cut */

static uint64_t random_state = 88172645463325252;

static unsigned random_below(unsigned limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % limit);
}

static void add_delta(struct text value, struct buffer *text)
{
    struct scan_value string = {SCAN_STRING, value, memchr(value.at, '\\', value.len) != NULL};
    char *plain = malloc(value.len);
    size_t len = scan_string(&string, plain);
    assert_true(len != SIZE_MAX);
    buffer_append(text, plain, len);
    free(plain);
}

/* The deltas of a stream, one after the other. */
static void join(struct text bytes, struct buffer *text)
{
    struct sse_event event;
    while (sse_next(&bytes, &event)) {
        struct text name, choice, choices = member_find(event.data, TEXT("choices"));
        assert_true(scan_is_valid(event.data));
        while (member_next(&choices, &name, &choice)) {
            struct text delta = member_find(choice, TEXT("delta"));
            struct text content = member_find(delta, TEXT("content"));
            if (content.at)
                add_delta(content, text);
        }
    }
}

static void fill(char *text, size_t len)
{
    static const char *const words[] = {
        "sk-abcdefgh", "a@b.example", "4111 1111 1111 1111", "Blue Whale", " ", "é",
        "\n\"\\",      "x",           "+49 30 1234567",      "-",          "7"};
    size_t at = 0;
    while (at + 24 < len) {
        const char *word = words[random_below(sizeof(words) / sizeof(words[0]))];
        memcpy(text + at, word, strlen(word));
        at += strlen(word);
    }
    text[at] = '\0';
}

static char *redacted(struct guard_rule *rules, size_t count, const char *text)
{
    struct buffer body;
    buffer_init(&body, 1 << 22);
    buffer_format(&body, "{\"choices\":[{\"message\":{\"content\":");
    json_write_string(&body, text_of(text));
    buffer_format(&body, "}}]}%c", 0);
    char *out = NULL;
    look(rules, count, GUARD_RESPONSE, buffer_text(&body).at, &out);
    buffer_done(&body);
    if (!out)
        return strdup(text);
    struct buffer plain;
    buffer_init(&plain, 1 << 22);
    struct text content = {strstr(out, "\"content\":") + 10, 0};
    content.len = strlen(content.at) - 4;
    add_delta(content, &plain);
    char *made = memory_string(buffer_text(&plain));
    buffer_done(&plain);
    free(out);
    return made;
}

/* Tell where they part. */
static void expect_same(struct text have, struct text wanted, int round)
{
    size_t at = 0;
    while (at < have.len && at < wanted.len && have.at[at] == wanted.at[at])
        at++;
    size_t from = at < 60 ? 0 : at - 60;
    if (!text_equal(have, wanted))
        print_error("round %d: '%.*s' instead of '%.*s'\n", round,
                    TEXT_ARGS(text_head(text_from(have, from), 120)),
                    TEXT_ARGS(text_head(text_from(wanted, from), 120)));
    assert_true(text_equal(have, wanted));
}

static void cuts_change_nothing(void **state)
{
    (void)state;
    struct text terms[] = {TEXT("blue whale")};
    for (int round = 0; round < 300; round++) {
        struct guard_rule rules[] = {
            regex_rule("key", "sk-[a-z]{8,20}|x.{3,9}?x", GUARD_REDACT),
            {.name = TEXT("pii"), .type = GUARD_PII, .action = GUARD_REDACT, .stream_window = 64},
            {.name = TEXT("words"),
             .type = GUARD_CONTAINS,
             .action = GUARD_REDACT,
             .terms = terms,
             .term_count = 1},
        };
        rules[0].stream_window = 512; /* longer than any match */
        char text[3000];
        fill(text, 100 + random_below(2800));
        struct run run;
        begin(&run, rules, 3);
        char *wanted = redacted(rules, 3, text);
        for (size_t at = 0; text[at];) {
            char piece[64] = {0};
            size_t len = 1 + random_below(round % 40 + 1);
            snprintf(piece, sizeof(piece), "%.*s", (int)len, text + at);
            size_t got = strlen(piece);
            while ((text[at + got] & 0xC0) == 0x80) { /* not in the middle of a character */
                piece[got] = text[at + got];
                got++;
            }
            chat(&run, 0, piece);
            at += got;
        }
        finish(&run);
        struct buffer joined;
        buffer_init(&joined, 1 << 22);
        join(buffer_text(&run.out), &joined);
        expect_same(buffer_text(&joined), text_of(wanted), round);
        buffer_done(&joined);
        free(wanted);
        done(&run);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_match_over_several_chunks_is_cut_out),
        cmocka_unit_test(an_event_leaves_when_a_window_has_followed),
        cmocka_unit_test(a_block_lets_nothing_more_out),
        cmocka_unit_test(choices_do_not_mix),
        cmocka_unit_test(a_finished_choice_holds_nobody_up),
        cmocka_unit_test(arguments_in_pieces_stay_json),
        cmocka_unit_test(responses_repeat_nothing),
        cmocka_unit_test(other_dialects_are_joined_too),
        cmocka_unit_test(what_is_no_json_is_a_text),
        cmocka_unit_test(cuts_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
