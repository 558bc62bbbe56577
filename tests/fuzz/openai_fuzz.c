/* SPDX-License-Identifier: Apache-2.0 */

/* The openai dialect over any stream and any error body. First byte: the operation; the rest: the
 * stream. Whatever comes, what is booked stays within bounds; and what is made of an answer of JSON
 * in its other form is JSON again. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "gateway/http/sse.h"
#include "providers/provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check(const struct answer *answer)
{
    const struct usage *u = &answer->usage;
    assert(u->input_tokens >= 0 && u->input_tokens <= INT64_C(2000000000000));
    assert(u->output_tokens >= 0 && u->output_tokens <= INT64_C(2000000000000));
    assert(u->cached_tokens >= 0 && u->cached_tokens <= u->input_tokens);
    assert(u->cache_write_tokens >= 0 && u->cache_write_tokens <= u->input_tokens);
    assert(u->reasoning_tokens >= 0 && u->reasoning_tokens <= u->output_tokens);
    assert(u->units >= 0 && answer->events >= 0 && answer->content_bytes >= 0);
    assert(memchr(answer->finish, 0, sizeof(answer->finish)) != NULL);
    assert(memchr(answer->object_id, 0, ANSWER_ID_BYTES) != NULL);
}

/* Is there something in it, and all of it JSON? */
static bool is_json(struct text events)
{
    struct sse_event event;
    bool any = false;
    while (sse_next(&events, &event)) {
        if (event.lines && !text_equal(event.data, TEXT("[DONE]")) && !scan_is_valid(event.data))
            return false;
        any = true;
    }
    return any && !events.len;
}

static void check_forms(const struct dialect *dialect, struct text answer)
{
    struct buffer out;
    struct scan_problem problem;
    buffer_init(&out, 1 << 26);
    if (scan_json(answer, NULL, 0, NULL, &problem) && dialect->to_events(answer, true, &out))
        assert(is_json(buffer_text(&out)));
    buffer_clear(&out);
    answer = text_head(answer, sse_whole(answer));
    if (is_json(answer) && dialect->to_body(answer, &out))
        assert(scan_is_valid(buffer_text(&out)));
    buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const struct dialect *dialect = dialect_find(TEXT("openai"));
    if (len == 0)
        return 0;
    char id[ANSWER_ID_BYTES] = "";
    struct answer answer = {.operation = (enum operation)(bytes[0] % OPERATIONS),
                            .hide_usage = bytes[0] >= 128,
                            .object_id = id};
    struct text rest = {(const char *)bytes + 1, len - 1};
    struct provider_error error;
    dialect->read_error(400 + bytes[0], rest, &error);
    check_forms(dialect, rest);
    struct text whole = text_head(rest, sse_whole(rest));
    struct sse_event event;
    while (sse_next(&whole, &event)) {
        enum event_verdict verdict = dialect->watch_event(&answer, &event);
        assert(verdict != EVENT_FAIL || answer.failed);
        assert(verdict != EVENT_LAST || answer.ended);
        check(&answer);
    }
    return 0;
}
