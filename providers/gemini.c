/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/gemini.h"

#include "gateway/base/member.h"

/* ------------------------------------------------------------------------------ small parts */

static void note_finish(struct answer *answer, struct text reason)
{
    if (!reason.len)
        return;
    reason = text_head(reason, sizeof(answer->finish) - 1);
    memcpy(answer->finish, reason.at, reason.len);
    answer->finish[reason.len] = '\0';
}

/* A picture comes whole; sound of 16 bits at 24 kHz has 25 tokens a second. */
static void watch_media(struct answer *answer, struct text data)
{
    enum { SOUND_BYTES_OF_TOKEN = 2560 };
    enum part_kind kind = gemini_media_kind(member_string(gemini_find(data, TEXT("mimeType"))));
    if (kind == PART_IMAGE)
        answer->pictures++;
    else if (kind == PART_AUDIO)
        answer_note_sound(answer, gemini_find(data, TEXT("data")).len, SOUND_BYTES_OF_TOKEN);
}

/* Bytes of text that a part has: what was written, and what a function is called with. */
static int64_t watch_part(struct answer *answer, struct text part)
{
    struct gemini_part look;
    gemini_part_look(part, &look);
    size_t bytes = look.text.len;
    if (look.call.at)
        bytes += gemini_find(look.call, TEXT("args")).len;
    if (look.data.at)
        watch_media(answer, look.data);
    return (int64_t)bytes;
}

static void watch_content(struct answer *answer, struct text content)
{
    struct text parts = member_find(content, TEXT("parts")), part;
    int64_t bytes = 0;
    while (gemini_next(&parts, &part))
        bytes += watch_part(answer, part);
    if (bytes) {
        answer->events++;
        answer->content_bytes += bytes;
    }
}

/* Each chunk may say them again. */
static void note_queries(struct answer *answer, struct text grounding)
{
    int64_t queries = gemini_queries(grounding);
    if (queries > answer->usage.searches)
        answer->usage.searches = queries;
}

static void watch_candidate(struct answer *answer, struct text candidate)
{
    struct text name, value, reason;
    while (member_next(&candidate, &name, &value)) {
        if (text_equal(name, TEXT("content")))
            watch_content(answer, value);
        else if (gemini_named(name, TEXT("groundingMetadata")))
            note_queries(answer, value);
        else if (gemini_named(name, TEXT("finishReason")) &&
                 gemini_finish(value, &reason) != FINISH_NONE) {
            note_finish(answer, reason);
            answer->ended = true;
        }
    }
}

static void watch_candidates(struct answer *answer, struct text list)
{
    struct text candidate;
    while (gemini_next(&list, &candidate))
        watch_candidate(answer, candidate);
}

/* The prompt itself was not let through: nothing else comes. */
static void watch_feedback(struct answer *answer, struct text feedback)
{
    struct text reason = member_string(gemini_find(feedback, TEXT("blockReason")));
    if (!reason.len)
        return;
    note_finish(answer, reason);
    answer->ended = true;
}

/* ------------------------------------------------------------------------------------ events */

/* Of the answer: "standard", "priority"; of Vertex: "ON_DEMAND_PRIORITY". */
static void watch_service(struct answer *answer, struct text usage)
{
    answer_note_service(answer, member_string(gemini_find(usage, TEXT("serviceTier"))));
    answer_note_service(answer, member_string(gemini_find(usage, TEXT("trafficType"))));
}

static void watch_field(struct answer *answer, struct text name, struct text value)
{
    if (text_equal_nocase(name, TEXT("x-gemini-service-tier")))
        answer_note_service(answer, value);
}

/* What is used so far stands in each chunk; with the finish reason, or behind it, it is all. */
static enum event_verdict watch_chunk(struct answer *answer, struct text chunk)
{
    struct text name, value, usage = {NULL, 0};
    while (member_next(&chunk, &name, &value)) {
        if (text_equal(name, TEXT("candidates")))
            watch_candidates(answer, value);
        else if (gemini_named(name, TEXT("usageMetadata")))
            usage = value;
        else if (gemini_named(name, TEXT("promptFeedback")))
            watch_feedback(answer, value);
        else if (text_equal(name, TEXT("error")) && member_is_something(value))
            answer->failed = true;
    }
    if (gemini_read_usage(usage, &answer->usage))
        answer->usage_seen = answer->ended;
    if (answer->usage_seen && usage.len)
        watch_service(answer, usage);
    return answer->failed ? EVENT_FAIL : EVENT_PASS;
}

static enum event_verdict watch_event(struct answer *answer, const struct sse_event *event)
{
    struct text data = event->data, name, item;
    if (!event->lines)
        return EVENT_PASS;
    if (event->lines == 1) {
        if (data.len && data.at[0] == '[' && member_next(&data, &name, &item))
            data = item; /* [{"error":...}] */
        return watch_chunk(answer, data);
    }
    char *joined = memory_new(event->raw.len + 1);
    data = (struct text){joined, sse_data(event, joined)};
    enum event_verdict verdict = watch_chunk(answer, data);
    memory_free(joined);
    return verdict;
}

/* ------------------------------------------------------------------------------------ bodies */

enum want { WANT_USAGE, WANT_CANDIDATES, WANT_FEEDBACK, WANT_ID, WANT_ERROR, WANTS };

static const struct text wants[WANTS] = {
    [WANT_USAGE] = {"usageMetadata", 13},
    [WANT_CANDIDATES] = {"candidates", 10},
    [WANT_FEEDBACK] = {"promptFeedback", 14},
    [WANT_ID] = {"responseId", 10},
    [WANT_ERROR] = {"error", 5},
};

static void watch_body(struct answer *answer, const struct scan_value *values)
{
    if (values[WANT_CANDIDATES].kind == SCAN_ARRAY)
        watch_candidates(answer, values[WANT_CANDIDATES].raw);
    if (values[WANT_FEEDBACK].kind == SCAN_OBJECT)
        watch_feedback(answer, values[WANT_FEEDBACK].raw);
    answer->ended = true;
    if (values[WANT_USAGE].kind == SCAN_OBJECT)
        answer->usage_seen = gemini_read_usage(values[WANT_USAGE].raw, &answer->usage);
    if (answer->usage_seen)
        watch_service(answer, values[WANT_USAGE].raw);
    if (values[WANT_ID].kind == SCAN_STRING)
        answer_note_id(answer, member_string(values[WANT_ID].raw));
    if (values[WANT_ERROR].kind == SCAN_OBJECT || values[WANT_ERROR].kind == SCAN_STRING)
        answer->failed = member_is_something(values[WANT_ERROR].raw);
}

/* --------------------------------------------------------------------------- in its other form */

/* A whole answer is a stream of one event; its white space goes, for it has newlines in it. */
static bool to_events(struct text body, bool usage, struct buffer *out)
{
    (void)usage; /* it is in there */
    put_literal(out, "data: ");
    gemini_put_compact(out, body);
    return buffer_append_text(out, TEXT("\r\n\r\n"));
}

static bool to_body(struct text events, struct buffer *out)
{
    struct answer_way way = {.from = &translator_gemini,
                             .to = &translator_gemini,
                             .id = TEXT(""),
                             .model = TEXT(""),
                             .stream_in = true};
    return translate_form(&way, events, out);
}

const struct dialect dialect_gemini = {
    .name = {"gemini", 6},
    .ends_with_stream = true,
    .watch_field = watch_field,
    .watch_event = watch_event,
    .wants = wants,
    .want_count = WANTS,
    .watch_body = watch_body,
    .read_error = gemini_read_error,
    .to_events = to_events,
    .to_body = to_body,
};

const struct translator translator_gemini = {
    .name = {"gemini", 6},
    .dialect = {"gemini", 6},
    .operation = OPERATION_CHAT,
    .read_call = gemini_read_call,
    .write_call = gemini_write_call,
    .write_path = gemini_write_path,
    .headers = {"", 0},
    .framing = FRAMING_SSE,
    .reader_bytes = GEMINI_READER_BYTES,
    .read_frame = gemini_read_frame,
    .read_body = gemini_read_body,
    .read_end = gemini_read_end,
    .read_error = gemini_read_error,
    .stream_type = {"text/event-stream", 17},
    .writer_bytes = GEMINI_WRITER_BYTES,
    .write_event = gemini_write_event,
    .write_whole = gemini_write_whole,
};
