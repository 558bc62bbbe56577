/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/count.h"

#include "gateway/base/member.h"

void count_say(struct text json, struct answer_sink *sink)
{
    struct usage usage = {0};
    struct answer_event begin = {.kind = ANSWER_BEGIN};
    struct answer_event said = {.kind = ANSWER_USAGE, .usage = &usage};
    struct answer_event end = {.kind = ANSWER_END};
    if (!member_count(json, COUNT_TOKENS_MAX, &usage.input_tokens)) {
        struct answer_event fail = {.kind = ANSWER_FAIL, .fault = FAULT_TARGET_INVALID};
        fail.text = TEXT("The target did not say how many tokens it counts.");
        sink->take(sink, &fail);
        return;
    }
    sink->take(sink, &begin);
    sink->take(sink, &said);
    sink->take(sink, &end);
}

void count_read_end(void *state, struct answer_sink *sink)
{
    (void)state;
    (void)sink;
}
