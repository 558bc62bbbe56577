/* SPDX-License-Identifier: Apache-2.0 */
/* The ollama dialect: an answer that passes as it is, is watched. */
#include <string.h>

#include "gateway/base/member.h"
#include "providers/ollama.h"

/* --------------------------------------------------------------------------------- figures */

bool ollama_read_usage(struct text input, struct text output, struct usage *usage)
{
    bool read = member_count(input, OLLAMA_TOKENS_MAX, &usage->input_tokens);
    bool written = member_count(output, OLLAMA_TOKENS_MAX, &usage->output_tokens);
    return read || written;
}

/* A call that only loads a model, or puts it out of memory, makes nothing and has no figures. */
static bool makes_nothing(struct text reason)
{
    return text_equal(reason, TEXT("load")) || text_equal(reason, TEXT("unload"));
}

static void note_end(struct answer *answer, struct text reason, struct text input,
                     struct text output)
{
    struct text word = text_head(reason, sizeof(answer->finish) - 1);
    if (word.len)
        memcpy(answer->finish, word.at, word.len);
    answer->finish[word.len] = '\0';
    answer->usage_seen = ollama_read_usage(input, output, &answer->usage) || makes_nothing(reason);
    answer->ended = true;
}

/* -------------------------------------------------------------------------------- watching */

static int64_t inside(struct text object, struct text name)
{
    return (int64_t)member_string(member_find(object, name)).len;
}

static void note_texts(struct answer *answer, struct text line)
{
    struct text message = member_find(line, TEXT("message"));
    int64_t bytes = inside(line, TEXT("response")) + inside(line, TEXT("thinking"));
    if (message.len) {
        bytes += inside(message, TEXT("content")) + inside(message, TEXT("thinking"));
        bytes += (int64_t)member_find(message, TEXT("tool_calls")).len;
    }
    answer->events += bytes > 0;
    answer->content_bytes += bytes;
}

static enum event_verdict watch_event(struct answer *answer, const struct sse_event *event)
{
    struct text line = event->data;
    if (!line.len || line.at[0] != '{')
        return EVENT_PASS;
    if (member_find(line, TEXT("error")).len) {
        answer->failed = true;
        return EVENT_FAIL;
    }
    note_texts(answer, line);
    if (!text_equal(member_find(line, TEXT("done")), TEXT("true")))
        return EVENT_PASS;
    note_end(answer, member_string(member_find(line, TEXT("done_reason"))),
             member_find(line, TEXT("prompt_eval_count")), member_find(line, TEXT("eval_count")));
    return EVENT_LAST;
}

enum want { WANT_INPUT, WANT_OUTPUT, WANT_REASON, WANTS };

static const struct text wants[WANTS] = {
    [WANT_INPUT] = {"prompt_eval_count", 17},
    [WANT_OUTPUT] = {"eval_count", 10},
    [WANT_REASON] = {"done_reason", 11},
};

static void watch_body(struct answer *answer, const struct scan_value *values)
{
    struct text reason = {"", 0};
    if (values[WANT_REASON].kind == SCAN_STRING)
        reason = member_string(values[WANT_REASON].raw);
    note_end(answer, reason, values[WANT_INPUT].raw, values[WANT_OUTPUT].raw);
}

/* ----------------------------------------------------------------------- its streams, cut */

static size_t whole_events(struct text bytes)
{
    const char *last = bytes.len ? memrchr(bytes.at, '\n', bytes.len) : NULL;
    return last ? (size_t)(last - bytes.at) + 1 : 0;
}

static bool next_event(struct text *bytes, struct sse_event *event)
{
    size_t end = text_find_byte(*bytes, '\n');
    if (!bytes->len)
        return false;
    struct text raw = text_head(*bytes, end == SIZE_MAX ? bytes->len : end + 1);
    *event = (struct sse_event){.raw = raw, .name = {"", 0}, .data = text_trim(raw), .lines = 1};
    *bytes = text_from(*bytes, raw.len);
    return true;
}

/* One form is made of the other by reading and writing it (crossing). */
const struct dialect dialect_ollama = {
    .name = {"ollama", 6},
    .watch_event = watch_event,
    .wants = wants,
    .want_count = WANTS,
    .watch_body = watch_body,
    .read_error = ollama_read_error,
    .framing = FRAMING_LINES,
    .whole_events = whole_events,
    .next_event = next_event,
};
