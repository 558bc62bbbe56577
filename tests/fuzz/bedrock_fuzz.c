/* SPDX-License-Identifier: Apache-2.0 */

/* Bedrock's dialect over any call and any answer. First byte: what it is; second: into how large
 * pieces an answer is cut. A call is read, and written for every dialect there is; an answer is
 * read, and written whole and as a stream. A stream is made of lines "NAME {...}", which become
 * frames, or is the bytes as they are. What is written is JSON, in frames with right checksums, and
 * how the answer was cut changes nothing. */

#include <assert.h>
#include <stdint.h>

#include "gateway/base/scan.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* ----------------------------------------------------------------------------------- calls */

static void write_for_all(const struct translator *from, struct text body, struct arena *arena)
{
    static const char *const models[] = {"us.anthropic.claude-sonnet-4-5-v1:0",
                                         "amazon.nova-2-lite", "m\"", "openai.gpt-oss-20b"};
    const struct translator *to;
    for (size_t i = 0; (to = translator_at(i)) != NULL; i++) {
        struct call_target target = {.type = provider_type_find(TEXT("mock")),
                                     .model = text_of(models[body.len % 4])};
        struct translated_call call;
        struct fault fault = {.kind = FAULT_NONE};
        if (to->operation == OPERATION_EMBEDDING || to->operation == OPERATION_RERANK)
            continue;
        if (translate_call(arena, from, to, body, TEXT("m"), false, &target, &call, &fault))
            assert(scan_is_valid(call.body));
        else
            assert(fault.kind == FAULT_BAD_REQUEST && fault.param && fault.text[0]);
    }
}

/* What the call says is said as a call of another dialect, too. */
static void write_as_foreign(struct text body, struct arena *arena)
{
    static const struct translator foreign = {.name = {"x", 1}, .dialect = {"y", 1}};
    struct call_source source = {.body = body, .model = {"m", 1}};
    struct call_target target = {.model = {"us.anthropic.claude-sonnet-4-5-v1:0", 35}};
    struct chat *chat = arena_new(arena, sizeof(*chat));
    struct losses *losses = arena_new(arena, sizeof(*losses));
    struct fault fault;
    struct buffer out;
    if (!bedrock_read_call(arena, &source, chat, &fault))
        return;
    chat->from = &foreign;
    buffer_init(&out, 1 << 26);
    bedrock_write_call(arena, chat, &target, &out, losses);
    assert(scan_is_valid(buffer_text(&out)));
    buffer_done(&out);
}

static void check_call(struct text body)
{
    struct scan_value none[1];
    struct scan_problem problem;
    struct arena arena;
    if (!scan_json(body, NULL, 0, none, &problem) || !body.len)
        return;
    arena_init(&arena, 4096);
    write_for_all(&translator_bedrock, body, &arena);
    write_for_all(&translator_bedrock_invoke, body, &arena);
    write_for_all(&translator_bedrock_count, body, &arena);
    write_as_foreign(body, &arena);
    arena_done(&arena);
}

/* ---------------------------------------------------------------------------------- answers */

struct way {
    const struct translator *from, *to;
};

static enum translation_state translate(const struct way *words, struct text answer, bool in,
                                        bool out, size_t each, struct buffer *to)
{
    struct answer_way way = {.from = words->from,
                             .to = words->to,
                             .id = {"0a", 2},
                             .model = {"m\\", 2},
                             .stream_in = in,
                             .stream_out = out};
    struct answer seen = {.operation = OPERATION_CHAT};
    struct translation *translation = translation_new(&way, &seen);
    enum translation_state state = TRANSLATION_GOES;
    while (answer.len && state == TRANSLATION_GOES) {
        state = translation_feed(translation, text_head(answer, each), to);
        answer = text_from(answer, each);
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(translation, to);
    translation_free(translation);
    return state;
}

static void check_stream(const struct translator *words, struct text stream, bool ended,
                         bool is_json)
{
    struct frame frame = {.name = {"", 0}};
    struct buffer scratch;
    buffer_init(&scratch, 1 << 26);
    while (stream.len) {
        assert(frame_next(words->framing, &stream, 0, true, &scratch, &frame) == FRAME_HERE);
        assert(!is_json || scan_is_valid(frame.data));
    }
    if (words == &translator_bedrock)
        assert(ended == text_equal(frame.name, TEXT("metadata")));
    buffer_done(&scratch);
}

static void check_answer(const struct way *words, struct text answer, bool in, size_t each,
                         bool is_json)
{
    struct buffer whole, cut;
    buffer_init(&whole, 1 << 26);
    buffer_init(&cut, 1 << 26);
    for (int out = 0; out < 2; out++) {
        enum translation_state state = translate(words, answer, in, out, SIZE_MAX, &whole);
        assert(translate(words, answer, in, out, each, &cut) == state);
        assert(text_equal(buffer_text(&whole), buffer_text(&cut)));
        if (out && buffer_length(&whole))
            check_stream(words->to, buffer_text(&whole), state == TRANSLATION_ENDED, is_json);
        else if (!out && state == TRANSLATION_ENDED && is_json)
            assert(scan_is_valid(buffer_text(&whole)));
        buffer_clear(&whole);
        buffer_clear(&cut);
    }
    buffer_done(&whole);
    buffer_done(&cut);
}

static void watch(struct text answer)
{
    struct answer seen = {.operation = OPERATION_CHAT};
    struct sse_event event;
    struct provider_error error;
    bedrock_read_error(400, answer, &error);
    struct text whole = text_head(answer, dialect_bedrock.whole_events(answer));
    while (dialect_bedrock.next_event(&whole, &event))
        dialect_bedrock.watch_event(&seen, &event);
    assert(seen.usage.input_tokens >= 0 && seen.usage.output_tokens >= 0);
    assert(seen.usage.cached_tokens <= seen.usage.input_tokens);
}

/* An event of a maker's in a chunk. */
static void put_chunk(struct buffer *frames, struct text json)
{
    struct buffer chunk;
    buffer_init(&chunk, 1 << 22);
    put_literal(&chunk, "{\"p\":\"abc\"");
    bedrock_put_coded(&chunk, "bytes", json);
    put_literal(&chunk, "}");
    frame_put_aws(frames, TEXT("event"), TEXT("chunk"), buffer_text(&chunk));
    buffer_done(&chunk);
}

/* Frames of lines, of InvokeModel or Converse; true when all that they say is JSON. */
static bool make_frames(struct text lines, bool invokes, struct buffer *frames)
{
    struct text line;
    bool is_json = true;
    while (lines.len && text_next(&lines, '\n', &line)) {
        size_t space = text_find_byte(line, ' ');
        struct text name = text_head(line, space);
        struct text json = text_from(line, space == SIZE_MAX ? line.len : space + 1);
        if (name.len > 60)
            continue;
        is_json = is_json && scan_is_valid(json);
        if (invokes && !text_ends(name, TEXT("xception"))) {
            put_chunk(frames, json);
            continue;
        }
        frame_put_aws(frames, text_ends(name, TEXT("xception")) ? TEXT("exception") : TEXT("event"),
                      name, json);
    }
    return is_json;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct buffer frames;
    if (len < 2 || len > 1 << 16)
        return 0;
    struct text rest = {(const char *)bytes + 2, len - 2};
    size_t each = 1 + bytes[1];
    bool invokes = bytes[0] & 4;
    const struct translator *words = invokes ? &translator_bedrock_invoke : &translator_bedrock;
    struct way way = {words, words}, carried = {words, &translator_anthropic};
    switch (bytes[0] % 4) {
    case 0:
        check_call(rest);
        break;
    case 1:
        buffer_init(&frames, 1 << 22);
        bool is_json = make_frames(rest, invokes, &frames);
        check_answer(&way, buffer_text(&frames), true, each, is_json);
        check_answer(&carried, buffer_text(&frames), true, each, is_json);
        watch(buffer_text(&frames));
        buffer_done(&frames);
        break;
    case 2:
        check_answer(&way, rest, false, each, scan_is_valid(rest));
        check_answer(&carried, rest, false, each, scan_is_valid(rest));
        break;
    default:
        check_answer(&way, rest, true, each, false);
        watch(rest);
        break;
    }
    return 0;
}
