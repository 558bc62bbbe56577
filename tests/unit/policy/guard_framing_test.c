/* SPDX-License-Identifier: Apache-2.0 */

/* The guardrails on streams that are no server-sent events: however a text is cut into them, what
 * is found in it goes, and what is left is a stream of the same kind. */

#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/frame.h"
#include "tests/unit/policy/guard_cases.h"

#define SAID   "ab sk-abcdefgh \"yz"
#define PASSED "ab [REDACTED:r] \"yz"

/* How a stream is cut, and where its pieces stand in the JSON of an event. */
struct way {
    enum guard_form form;
    bool coded; /* frames of InvokeModel */
    const char *before, *behind, *last;
};

/* clang-format off */
static const struct way ways[] = {
    {GUARD_FORM_LINES, false,
     "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":", "},\"done\":false}",
     "{\"model\":\"m\",\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}"},
    {GUARD_FORM_LINES, false, "{\"response\":", ",\"done\":false}",
     "{\"response\":\"\",\"done\":true,\"done_reason\":\"stop\"}"},
    {GUARD_FORM_FRAMES, false, "{\"contentBlockIndex\":0,\"delta\":{\"text\":", "},\"p\":\"abcd\"}",
     "{\"stopReason\":\"end_turn\",\"p\":\"abc\"}"},
    {GUARD_FORM_FRAMES, false,
     "{\"contentBlockIndex\":1,\"delta\":{\"reasoningContent\":{\"text\":", "}}}",
     "{\"stopReason\":\"end_turn\"}"},
    {GUARD_FORM_FRAMES, true,
     "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":", "}}",
     "{\"type\":\"message_stop\"}"},
    {GUARD_FORM_ITEMS, false, "{\"candidates\": [{\n\"content\": {\"parts\": [{\"text\": ", "}]}}]\n}",
     "{\"candidates\":[{\"finishReason\":\"STOP\"}]}"},
};
/* clang-format on */
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

static void put_frame(const struct way *way, struct text json, struct buffer *out)
{
    char coded[1024], payload[1100];
    if (way->coded) {
        size_t len = hash_base64(json.at, json.len, coded);
        snprintf(payload, sizeof(payload), "{\"bytes\":\"%.*s\",\"p\":\"ab\"}", (int)len, coded);
        json = text_of(payload);
    }
    frame_put_aws(out, TEXT("event"), way->coded ? TEXT("chunk") : TEXT("some"), json);
}

static void put_event(const struct way *way, struct text json, bool first, bool last,
                      struct buffer *out)
{
    if (way->form == GUARD_FORM_FRAMES) {
        put_frame(way, json, out);
        return;
    }
    bool items = way->form == GUARD_FORM_ITEMS;
    buffer_append_text(out, !items ? TEXT("") : first ? TEXT("[") : TEXT("\r\n,"));
    buffer_append_text(out, json);
    buffer_append_text(out, !items ? TEXT("\n") : last ? TEXT("]") : TEXT(""));
}

static void put_piece(const struct way *way, struct text piece, bool first, struct buffer *out)
{
    struct buffer json;
    buffer_init(&json, 4096);
    buffer_append_text(&json, text_of(way->before));
    json_write_string(&json, piece);
    buffer_append_text(&json, text_of(way->behind));
    put_event(way, buffer_text(&json), first, false, out);
    buffer_done(&json);
}

/* --------------------------------------------------------------------------- reading it back */

/* The next event's JSON, into <json>, from a reader that is not the guardrails' own. */
static bool next_json(const struct way *way, struct text *rest, struct buffer *scratch,
                      struct text *json)
{
    static uint8_t plain[4096];
    struct frame frame;
    if (way->form == GUARD_FORM_ITEMS) {
        struct text name;
        return member_next(rest, &name, json);
    }
    enum framing framing = way->form == GUARD_FORM_LINES ? FRAMING_LINES : FRAMING_AWS;
    if (frame_next(framing, rest, 0, false, scratch, &frame) != FRAME_HERE) {
        assert_int_equal(rest->len, 0); /* checksums and all */
        return false;
    }
    *json = frame.data;
    if (way->coded) {
        assert_true(text_equal(frame.name, TEXT("chunk")) && scan_is_valid(frame.data));
        size_t len = hash_unbase64(member_string(member_find(frame.data, TEXT("bytes"))), plain);
        *json = (struct text){(const char *)plain, len};
    }
    return true;
}

/* All that the events say, one after the other. */
static void join(const struct way *way, struct text bytes, struct buffer *said)
{
    struct buffer scratch;
    struct text json;
    buffer_init(&scratch, 4096);
    assert_true(way->form != GUARD_FORM_ITEMS || scan_is_valid(bytes));
    while (next_json(way, &bytes, &scratch, &json)) {
        size_t before = strlen(way->before), behind = strlen(way->behind);
        assert_true(scan_is_valid(json));
        if (!text_starts(json, text_of(way->before)) || text_equal(json, text_of(way->last)))
            continue;
        struct text value = text_head(text_from(json, before), json.len - before - behind);
        struct scan_value string = {SCAN_STRING, value, memchr(value.at, '\\', value.len) != NULL};
        char plain[256];
        size_t len = scan_string(&string, plain);
        assert_true(len != SIZE_MAX);
        buffer_append(said, plain, len);
    }
    buffer_done(&scratch);
}

static void expect_said(const struct way *way, struct text bytes, const char *wanted)
{
    struct buffer said;
    buffer_init(&said, 4096);
    join(way, bytes, &said);
    if (!text_equal(buffer_text(&said), text_of(wanted)))
        print_error("way %zu: '%.*s'\n", (size_t)(way - ways), TEXT_ARGS(buffer_text(&said)));
    assert_true(text_equal(buffer_text(&said), text_of(wanted)));
    buffer_done(&said);
}

/* -------------------------------------------------------------------------------- the tests */

/* The text in three events, cut at <a> and <b>, and the end. */
static void write_stream(const struct way *way, size_t a, size_t b, struct buffer *out)
{
    struct text said = TEXT(SAID);
    put_piece(way, text_head(said, a), true, out);
    put_piece(way, text_from(text_head(said, b), a), false, out);
    put_piece(way, text_from(said, b), false, out);
    put_event(way, text_of(way->last), false, true, out);
}

/* Give in the stream, in one or event by event; true when it passes. */
static bool guard_it(const struct way *way, struct guard_rule *rule, struct text bytes, bool whole,
                     struct buffer *out)
{
    struct fault fault;
    struct guard_verdict verdict = {0};
    rule->stage = GUARD_RESPONSE;
    struct guard *guard = guard_new(rule, 1, &fault);
    assert_non_null(guard);
    struct guard_stream *stream = guard_stream_new(guard, 1, way->form);
    bool passes = true;
    while (bytes.len && passes) {
        struct text event = bytes;
        if (!whole && way->form == GUARD_FORM_FRAMES)
            event = text_head(bytes, (unsigned char)bytes.at[2] << 8 | (unsigned char)bytes.at[3]);
        else if (!whole && way->form == GUARD_FORM_LINES)
            event = text_head(bytes, text_find_byte(bytes, '\n') + 1);
        bytes = text_from(bytes, event.len);
        passes = guard_stream_event(stream, event, &verdict, out);
    }
    passes = passes && guard_stream_end(stream, &verdict, out);
    guard_stream_free(stream);
    guard_free(guard);
    return passes;
}

static void wherever_it_is_cut_what_matches_goes(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "sk-[a-z]{8}", GUARD_REDACT);
    for (size_t w = 0; w < WAYS; w++)
        for (size_t a = 0; a <= sizeof(SAID) - 1; a++)
            for (size_t b = a; b <= sizeof(SAID) - 1; b++) {
                struct buffer in, out;
                buffer_init(&in, 1 << 20);
                buffer_init(&out, 1 << 20);
                write_stream(&ways[w], a, b, &in);
                expect_said(&ways[w], buffer_text(&in), SAID);
                assert_true(guard_it(&ways[w], &rule, buffer_text(&in), (a + b) % 2, &out));
                expect_said(&ways[w], buffer_text(&out), PASSED);
                buffer_done(&in);
                buffer_done(&out);
            }
}

static void what_does_not_match_passes_byte_for_byte(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "sk-[0-9]{8}", GUARD_REDACT);
    for (size_t w = 0; w < WAYS; w++) {
        struct buffer in, out;
        buffer_init(&in, 1 << 20);
        buffer_init(&out, 1 << 20);
        write_stream(&ways[w], 5, 9, &in);
        assert_true(guard_it(&ways[w], &rule, buffer_text(&in), false, &out));
        assert_true(text_equal(buffer_text(&in), buffer_text(&out)));
        buffer_done(&in);
        buffer_done(&out);
    }
}

/* What stands in front of it, in an event of its own, may leave; an event with a part of it may
 * not.
 */
static void a_block_lets_nothing_of_it_out(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "sk-[a-z]{8}", GUARD_BLOCK);
    for (size_t w = 0; w < WAYS; w++)
        for (size_t a = 1; a <= sizeof(SAID) - 1; a++) {
            struct buffer in, out, before;
            buffer_init(&in, 1 << 20);
            buffer_init(&out, 1 << 20);
            buffer_init(&before, 1 << 20);
            write_stream(&ways[w], a, a, &in);
            put_piece(&ways[w], text_head(TEXT(SAID), a), true, &before);
            put_piece(&ways[w], TEXT(""), false, &before);
            assert_false(guard_it(&ways[w], &rule, buffer_text(&in), false, &out));
            bool in_front = a <= strlen("ab ");
            assert_true(text_equal(buffer_text(&out), in_front ? buffer_text(&before) : TEXT("")));
            buffer_done(&in);
            buffer_done(&out);
            buffer_done(&before);
        }
}

static void a_webhook_sees_the_text_once_and_replaces_it(void **state)
{
    (void)state;
    for (size_t w = 0; w < WAYS; w++) {
        struct buffer in, out;
        buffer_init(&in, 1 << 20);
        buffer_init(&out, 1 << 20);
        write_stream(&ways[w], 4, 8, &in);
        struct guard_texts *texts = guard_texts_new(ways[w].form, buffer_text(&in));
        struct text other = TEXT("all \"else\"");
        assert_non_null(texts);
        assert_int_equal(guard_texts_count(texts), 1);
        assert_true(text_equal(guard_texts_at(texts, 0), TEXT(SAID)));
        assert_true(guard_texts_replace(texts, &other, &out));
        expect_said(&ways[w], buffer_text(&out), "all \"else\"");
        guard_texts_free(texts);
        buffer_done(&in);
        buffer_done(&out);
    }
}

/* Arguments: in pieces at Bedrock's, as an object at Ollama's. */
static void arguments_stay_json(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "sk-[a-z]{8}", GUARD_REDACT);
    struct buffer in, out;
    buffer_init(&in, 1 << 20);
    buffer_init(&out, 1 << 20);
    static const struct way use = {
        GUARD_FORM_FRAMES, false,
        "{\"contentBlockIndex\":1,\"delta\":{\"toolUse\":{\"input\":", "}}}", ""};
    put_piece(&use, TEXT("{\"q\":\"sk-ab"), true, &in);
    put_piece(&use, TEXT("cdefgh\"}"), false, &in);
    assert_true(guard_it(&use, &rule, buffer_text(&in), false, &out));
    expect_said(&use, buffer_text(&out), "{\"q\":\"[REDACTED:r]\"}");
    buffer_clear(&out);
    const char *line = "{\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{"
                       "\"q\":\"sk-abcdefgh\"}}}]}}\n";
    assert_true(guard_it(&ways[0], &rule, text_of(line), true, &out));
    assert_true(text_equal(buffer_text(&out),
                           TEXT("{\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"f\","
                                "\"arguments\":{\"q\":\"[REDACTED:r]\"}}}]}}\n")));
    buffer_done(&in);
    buffer_done(&out);
}

/* What has no form any more is looked at as it stands. */
static void what_is_broken_is_a_text(void **state)
{
    (void)state;
    struct guard_rule rule = regex_rule("r", "sk-[a-z]{8}", GUARD_BLOCK);
    static const enum guard_form forms[] = {GUARD_FORM_LINES, GUARD_FORM_FRAMES, GUARD_FORM_ITEMS};
    for (size_t i = 0; i < 3; i++) {
        struct buffer out;
        struct way way = {.form = forms[i]};
        buffer_init(&out, 1 << 20);
        assert_false(guard_it(&way, &rule, TEXT("{ my sk-abcdefgh"), true, &out));
        assert_int_equal(buffer_length(&out), 0);
        buffer_done(&out);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(wherever_it_is_cut_what_matches_goes),
        cmocka_unit_test(what_does_not_match_passes_byte_for_byte),
        cmocka_unit_test(a_block_lets_nothing_of_it_out),
        cmocka_unit_test(a_webhook_sees_the_text_once_and_replaces_it),
        cmocka_unit_test(arguments_stay_json),
        cmocka_unit_test(what_is_broken_is_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
