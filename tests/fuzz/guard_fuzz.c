/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Guardrails. The first byte says what is fed in:
 *   0  a request or an answer: what becomes of valid JSON is valid JSON, and texts that are put
 * back leave it as it was 1  a text that is streamed in pieces: the same is redacted as in one
 * piece 2  arguments that are streamed in pieces: valid JSON stays it, or is blocked 3  any bytes
 * as a stream of events 4  a JSON schema, and behind a line feed what is held against it In 1 and 2
 * the second byte says how it is cut.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/base/json.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/base/utf8.h"
#include "gateway/http/sse.h"
#include "policy/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 4000 };

static const struct text patterns[] = {{"sk-[a-z]{4,}|x.{2,5}?x", 23}, {"[0-9]{6}", 8}};
static const struct text terms[] = {{"blue whale", 10}, {"ä", 2}, {"毒品", 6}};

static struct guard *guard_at(enum guard_stage stage)
{
    static struct guard_rule rules[2][3];
    static struct guard *guards[2];
    if (guards[stage])
        return guards[stage];
    rules[stage][0] = (struct guard_rule){.name = TEXT("r"),
                                          .type = GUARD_REGEX,
                                          .patterns = patterns,
                                          .pattern_count = 2,
                                          .stream_window = TEXT_MAX};
    rules[stage][1] = (struct guard_rule){.name = TEXT("p\"i"), .type = GUARD_PII};
    rules[stage][2] = (struct guard_rule){
        .name = TEXT("w"), .type = GUARD_CONTAINS, .terms = terms, .term_count = 3};
    for (size_t i = 0; i < 3; i++) {
        rules[stage][i].stage = stage;
        rules[stage][i].action = GUARD_REDACT;
    }
    struct fault fault;
    guards[stage] = guard_new(rules[stage], 3, &fault);
    assert(guards[stage]);
    return guards[stage];
}

/* --------------------------------------------------------------------------- whole bodies */

static void put_back(enum guard_form form, struct text body)
{
    struct guard_texts *texts = guard_texts_new(form, body);
    if (!texts)
        return;
    size_t count = guard_texts_count(texts);
    struct text *same = calloc(count + 1, sizeof(*same));
    for (size_t i = 0; i < count; i++)
        same[i] = guard_texts_at(texts, i);
    struct buffer out;
    buffer_init(&out, 1 << 20);
    assert(guard_texts_replace(texts, same, &out));
    assert(text_equal(buffer_text(&out), body));
    buffer_clear(&out);
    for (size_t i = 0; i < count; i++)
        same[i] = TEXT("{\"new\":1}");
    assert(guard_texts_replace(texts, same, &out));
    if (form < GUARD_FORM_EVENTS && scan_is_valid(body))
        assert(scan_is_valid(buffer_text(&out)));
    buffer_done(&out);
    free(same);
    guard_texts_free(texts);
}

static void look(enum guard_stage stage, struct text body)
{
    struct guard_verdict verdict;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    guard_look(guard_at(stage), 7, stage, body, &verdict, &out);
    assert(!verdict.changed || verdict.matched);
    assert(verdict.changed || buffer_length(&out) == 0);
    if (verdict.changed && scan_is_valid(body))
        assert(scan_is_valid(buffer_text(&out)));
    buffer_done(&out);
}

/* -------------------------------------------------------------------------------- streams */

static void write_event(struct buffer *out, bool arguments, struct text piece)
{
    buffer_clear(out);
    buffer_append_text(out, TEXT("data: {\"choices\":[{\"index\":0,\"delta\":{"));
    buffer_append_text(out, arguments ? TEXT("\"tool_calls\":[{\"index\":0,\"function\":{"
                                             "\"arguments\":")
                                      : TEXT("\"content\":"));
    json_write_string(out, piece);
    buffer_append_text(out, arguments ? TEXT("}}]}}]}\n\n") : TEXT("}}]}\n\n"));
}

static void add_string(struct text value, struct buffer *text)
{
    struct scan_value string = {SCAN_STRING, value, memchr(value.at, '\\', value.len) != NULL};
    char *plain = malloc(value.len);
    size_t len = scan_string(&string, plain);
    assert(len != SIZE_MAX);
    buffer_append(text, plain, len);
    free(plain);
}

/* All strings called "content" or "arguments", one after the other. */
static void join(struct text bytes, struct buffer *text)
{
    struct sse_event event;
    while (sse_next(&bytes, &event)) {
        struct text name, choice, call, choices = member_find(event.data, TEXT("choices"));
        assert(scan_is_valid(event.data));
        while (member_next(&choices, &name, &choice)) {
            struct text delta = member_find(choice, TEXT("delta"));
            struct text value = member_find(delta, TEXT("content"));
            struct text calls = member_find(delta, TEXT("tool_calls"));
            if (value.at)
                add_string(value, text);
            while (calls.at && member_next(&calls, &name, &call))
                add_string(member_find(member_find(call, TEXT("function")), TEXT("arguments")),
                           text);
        }
    }
}

/* False: blocked. */
static bool stream(bool arguments, struct text text, unsigned step, struct buffer *joined)
{
    struct guard_verdict verdict;
    struct buffer out, event;
    struct guard_stream *stream = guard_stream_new(guard_at(GUARD_RESPONSE), 7, GUARD_FORM_EVENTS);
    buffer_init(&out, 1 << 24);
    buffer_init(&event, 1 << 20);
    bool passes = true;
    for (size_t at = 0, len; at < text.len && passes; at += len) {
        len = 1 + (step * (at + 7) >> 3) % (step + 1);
        while (at + len < text.len && utf8_is_tail((unsigned char)text.at[at + len]))
            len++;
        len = text_head(text_from(text, at), len).len;
        write_event(&event, arguments, text_head(text_from(text, at), len));
        passes = guard_stream_event(stream, buffer_text(&event), &verdict, &out);
    }
    passes = passes && guard_stream_end(stream, &verdict, &out);
    if (passes) {
        assert(guard_stream_held(stream) == 0);
        join(buffer_text(&out), joined);
    }
    guard_stream_free(stream);
    buffer_done(&out);
    buffer_done(&event);
    return passes;
}

static bool is_utf8(struct text t)
{
    for (size_t at = 0, len; at < t.len; at += len)
        if ((len = utf8_length(t.at + at, t.len - at)) == 0 || t.at[at] == '\0')
            return false;
    return true;
}

static void cut_text(struct text text, unsigned step)
{
    struct buffer body, out, whole, pieces;
    struct guard_verdict verdict;
    buffer_init(&body, 1 << 20);
    buffer_init(&out, 1 << 20);
    buffer_init(&whole, 1 << 20);
    buffer_init(&pieces, 1 << 20);
    buffer_append_text(&body, TEXT("{\"choices\":[{\"message\":{\"content\":"));
    json_write_string(&body, text);
    buffer_append_text(&body, TEXT("}}]}"));
    guard_look(guard_at(GUARD_RESPONSE), 7, GUARD_RESPONSE, buffer_text(&body), &verdict, &out);
    struct text made = verdict.changed ? buffer_text(&out) : buffer_text(&body);
    struct text choices = member_find(made, TEXT("choices")), name, choice;
    assert(member_next(&choices, &name, &choice));
    add_string(member_find(member_find(choice, TEXT("message")), TEXT("content")), &whole);
    assert(stream(false, text, step, &pieces));
    assert(text_equal(buffer_text(&whole), buffer_text(&pieces)));
    buffer_done(&body);
    buffer_done(&out);
    buffer_done(&whole);
    buffer_done(&pieces);
}

static void cut_arguments(struct text json, unsigned step)
{
    struct buffer pieces;
    buffer_init(&pieces, 1 << 20);
    if (stream(true, json, step, &pieces) && scan_is_valid(json))
        assert(scan_is_valid(buffer_text(&pieces)));
    buffer_done(&pieces);
}

static void any_events(struct text bytes)
{
    struct guard_verdict verdict;
    struct buffer out;
    struct guard_stream *stream = guard_stream_new(guard_at(GUARD_RESPONSE), 7, GUARD_FORM_EVENTS);
    buffer_init(&out, 1 << 24);
    struct sse_event event;
    struct text rest = text_head(bytes, sse_whole(bytes));
    bool passes = true;
    while (passes && sse_next(&rest, &event))
        passes = guard_stream_event(stream, event.raw, &verdict, &out);
    if (passes && guard_stream_end(stream, &verdict, &out) && !verdict.changed)
        assert(text_equal(buffer_text(&out), text_head(bytes, sse_whole(bytes))));
    guard_stream_free(stream);
    buffer_done(&out);
    put_back(GUARD_FORM_EVENTS, bytes);
}

/* The same for streams that are cut in other ways. */
static void any_pieces(enum guard_form form, struct text bytes)
{
    struct guard_verdict verdict;
    struct buffer out;
    struct guard_stream *stream = guard_stream_new(guard_at(GUARD_RESPONSE), 7, form);
    buffer_init(&out, 1 << 24);
    bool passes = guard_stream_event(stream, bytes, &verdict, &out) &&
                  guard_stream_end(stream, &verdict, &out);
    if (passes && !verdict.changed)
        assert(text_equal(buffer_text(&out), bytes));
    guard_stream_free(stream);
    buffer_done(&out);
    put_back(form, bytes);
}

/* -------------------------------------------------------------------------------- schemas */

static void hold_against(struct text from)
{
    size_t line = text_find_byte(from, '\n');
    struct guard_rule rule = {.name = TEXT("s"),
                              .type = GUARD_JSON_SCHEMA,
                              .stage = GUARD_RESPONSE,
                              .schema = text_head(from, line)};
    struct fault fault;
    struct guard *guard = guard_new(&rule, 1, &fault);
    struct buffer body, out;
    struct guard_verdict verdict;
    buffer_init(&body, 1 << 20);
    buffer_init(&out, 1 << 20);
    buffer_append_text(&body, TEXT("{\"choices\":[{\"text\":"));
    json_write_string(&body, line == SIZE_MAX ? TEXT("") : text_from(from, line + 1));
    buffer_append_text(&body, TEXT("}]}"));
    if (guard)
        guard_look(guard, 1, GUARD_RESPONSE, buffer_text(&body), &verdict, &out);
    guard_free(guard);
    buffer_done(&body);
    buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > TEXT_MAX)
        return 0;
    struct text from = {(const char *)data + 1, size - 1};
    struct scan_problem problem;
    unsigned step = data[1] & 63;
    switch (data[0] % 5) {
    case 0:
        if (!scan_json(from, NULL, 0, NULL, &problem)) {
            look(GUARD_RESPONSE, from);
            break;
        }
        look(GUARD_REQUEST, from);
        look(GUARD_RESPONSE, from);
        put_back(GUARD_FORM_REQUEST, from);
        put_back(GUARD_FORM_ANSWER, from);
        break;
    case 1:
        if (is_utf8(text_from(from, 1)))
            cut_text(text_from(from, 1), step);
        break;
    case 2:
        if (is_utf8(text_from(from, 1)))
            cut_arguments(text_from(from, 1), step);
        break;
    case 3:
        any_events(from);
        any_pieces(GUARD_FORM_LINES, from);
        any_pieces(GUARD_FORM_FRAMES, from);
        any_pieces(GUARD_FORM_ITEMS, from);
        break;
    default:
        hold_against(from);
    }
    return 0;
}
