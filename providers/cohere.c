/* SPDX-License-Identifier: Apache-2.0 */
/* The cohere dialect: an answer that passes as it is, is watched; errors and figures. */
#include "providers/cohere.h"

#include <string.h>

#include "gateway/base/member.h"
#include "providers/chat.h"

/* --------------------------------------------------------------------------------- figures */

/* The tokens that the model read and wrote; the billed ones leave out what Cohere adds itself, and
 * stand alone where the others are not told. Searches are priced by the piece. */
bool cohere_read_usage(struct text json, struct usage *usage)
{
    struct text tokens = member_find(json, TEXT("tokens"));
    struct text billed = member_find(json, TEXT("billed_units"));
    struct text from = tokens.len && tokens.at[0] == '{' ? tokens : billed;
    bool input = member_count(member_find(from, TEXT("input_tokens")), COHERE_TOKENS_MAX,
                              &usage->input_tokens);
    bool output = member_count(member_find(from, TEXT("output_tokens")), COHERE_TOKENS_MAX,
                               &usage->output_tokens);
    member_count(member_find(from, TEXT("reasoning_tokens")), COHERE_TOKENS_MAX,
                 &usage->reasoning_tokens);
    member_count(member_find(from, TEXT("image_tokens")), COHERE_TOKENS_MAX, &usage->image_tokens);
    usage->input_tokens += usage->image_tokens; /* which it tells beside the others */
    if (usage->reasoning_tokens > usage->output_tokens)
        usage->reasoning_tokens = usage->output_tokens;
    member_count(member_find(json, TEXT("cached_tokens")), COHERE_TOKENS_MAX,
                 &usage->cached_tokens);
    if (usage->cached_tokens > usage->input_tokens)
        usage->cached_tokens = usage->input_tokens;
    return input || output;
}

bool cohere_read_meta(struct text json, struct usage *usage)
{
    struct text billed = member_find(json, TEXT("billed_units"));
    int64_t images = 0;
    bool input = member_count(member_find(billed, TEXT("input_tokens")), COHERE_TOKENS_MAX,
                              &usage->input_tokens);
    bool pictures =
        member_count(member_find(billed, TEXT("image_tokens")), COHERE_TOKENS_MAX, &images);
    bool searches =
        member_count(member_find(billed, TEXT("search_units")), COHERE_TOKENS_MAX, &usage->units);
    bool pieces = !searches && member_count(member_find(billed, TEXT("images")), COHERE_TOKENS_MAX,
                                            &usage->units);
    usage->input_tokens += images;
    usage->image_tokens = images;
    return input || pictures || searches || pieces;
}

void cohere_read_error(unsigned status, struct text body, struct provider_error *error)
{
    struct text words = member_string(member_find(body, TEXT("message")));
    bool our_key = status == 401 || status == 402 || status == 403;
    error->kind = status == 429              ? FAULT_TARGET_BUSY
                  : status >= 500 || our_key ? FAULT_TARGET_ERROR
                                             : FAULT_TARGET_REFUSED;
    provider_error_say(error, TEXT(""), words);
}

/* -------------------------------------------------------------------------------- watching */

static void note_reason(struct answer *answer, struct text reason)
{
    reason = text_head(reason, sizeof(answer->finish) - 1);
    if (!reason.len)
        return;
    memcpy(answer->finish, reason.at, reason.len);
    answer->finish[reason.len] = '\0';
    answer->ended = true;
}

static void note_usage(struct answer *answer, struct text usage)
{
    if (!usage.len || usage.at[0] != '{')
        return;
    answer->usage = (struct usage){0};
    answer->usage_seen = cohere_read_usage(usage, &answer->usage);
}

/* The texts of a delta, wherever they stand: content.text, content.thinking, tool_plan, arguments
 * of tool_calls. What is no text (an index, a citation's place) adds little. */
static void note_delta(struct answer *answer, struct text message)
{
    answer->events++;
    answer->content_bytes += (int64_t)message.len / 2;
}

static enum event_verdict watch_event(struct answer *answer, const struct sse_event *event)
{
    struct text data = event->data, type = event->name;
    if (event->lines == 0)
        return EVENT_PASS;
    if (!type.len)
        type = member_string(member_find(data, TEXT("type")));
    struct text delta = member_find(data, TEXT("delta"));
    if (text_equal(type, TEXT("message-end"))) {
        struct text reason = member_string(member_find(delta, TEXT("finish_reason")));
        note_reason(answer, reason.len ? reason : TEXT("COMPLETE"));
        note_usage(answer, member_find(delta, TEXT("usage")));
        answer->failed = text_starts(reason, TEXT("ERROR"));
        return answer->failed ? EVENT_FAIL : EVENT_LAST;
    }
    if (text_equal(type, TEXT("content-delta")) || text_equal(type, TEXT("tool-plan-delta")) ||
        text_equal(type, TEXT("tool-call-delta")))
        note_delta(answer, member_find(delta, TEXT("message")));
    return EVENT_PASS;
}

enum want { WANT_USAGE, WANT_META, WANT_REASON, WANTS };

static const struct text wants[WANTS] = {
    [WANT_USAGE] = {"usage", 5},
    [WANT_META] = {"meta", 4},
    [WANT_REASON] = {"finish_reason", 13},
};

static void watch_body(struct answer *answer, const struct scan_value *values)
{
    answer->ended = true;
    if (values[WANT_USAGE].kind == SCAN_OBJECT)
        note_usage(answer, values[WANT_USAGE].raw);
    else if (values[WANT_META].kind == SCAN_OBJECT)
        answer->usage_seen = cohere_read_meta(values[WANT_META].raw, &answer->usage);
    if (values[WANT_REASON].kind == SCAN_STRING)
        note_reason(answer, member_string(values[WANT_REASON].raw));
}

/* One form is made of the other by reading and writing it (crossing). */
const struct dialect dialect_cohere = {
    .name = {"cohere", 6},
    .watch_event = watch_event,
    .wants = wants,
    .want_count = WANTS,
    .watch_body = watch_body,
    .read_error = cohere_read_error,
};

/* -------------------------------------------------------------------------------- crossing */

static void write_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/v2/chat");
}

const struct translator translator_cohere_chat = {
    .name = {"cohere-chat", 11},
    .dialect = {"cohere", 6},
    .operation = OPERATION_CHAT,
    .read_call = cohere_read_call,
    .write_call = cohere_write_call,
    .write_path = write_path,
    .framing = FRAMING_SSE,
    .reader_bytes = sizeof(struct cohere_reader),
    .read_frame = cohere_read_frame,
    .read_body = cohere_read_body,
    .read_end = cohere_read_end,
    .read_error = cohere_read_error,
    .stream_type = {"text/event-stream", 17},
    .writer_bytes = sizeof(struct cohere_writer),
    .write_event = cohere_write_event,
    .says_failure = true,
    .write_whole = cohere_write_whole,
};
