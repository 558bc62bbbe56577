/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/miscount.h"

#include "gateway/reserve.h"

enum {
    LATE_TOKENS = 16,       /* so much is written behind a count that is only not quite the last */
    THOUGHTS_MAX = 1000000, /* tokens; no model thinks for longer */
};

static bool writes_text(const struct exchange *x)
{
    enum operation operation = x->call.operation;
    return operation == OPERATION_CHAT || operation == OPERATION_COMPLETION ||
           operation == OPERATION_RESPONSE;
}

/* What was written behind the count, and is not in it: some have made all of an answer, and counted
 * it, before they send the first piece. */
static int64_t late_tokens(const struct answer *answer, int64_t told)
{
    int64_t by_bytes = (answer->late_bytes + 3) / 4;
    int64_t late = answer->late_events > by_bytes ? answer->late_events : by_bytes;
    int64_t more = answer_estimate(answer) - told;
    return late > LATE_TOKENS && more > told / 2 ? more : 0;
}

/* A total that is above the parts is taken for thoughts, of which there are no more than may be. */
static int64_t beyond_bound(const struct exchange *x, const struct usage *usage)
{
    struct usage bound;
    if (x->answer.guessed_tokens == 0)
        return 0;
    reserve_bound(x, &bound);
    int64_t most = bound.output_tokens > THOUGHTS_MAX ? bound.output_tokens : THOUGHTS_MAX;
    int64_t more = usage->output_tokens - most;
    more = more < x->answer.guessed_tokens ? more : x->answer.guessed_tokens;
    return more > 0 ? more : 0;
}

/* Each picture of a stream says what it has used when it is whole. One that was begun is paid for,
 * too. */
static bool add_begun_pictures(const struct exchange *x, struct usage *usage)
{
    int64_t begun = (int64_t)x->answer.pictures - x->answer.pictures_done;
    if (x->answer.pictures_done == 0 || begun <= 0)
        return false;
    usage->output_tokens += begun * ESTIMATE_PICTURE_TOKENS;
    usage->image_output_tokens += begun * ESTIMATE_PICTURE_TOKENS;
    return true;
}

bool miscount_mend(const struct exchange *x, bool cut, struct usage *usage)
{
    if (cut && x->call.operation == OPERATION_IMAGE)
        return add_begun_pictures(x, usage);
    if (!writes_text(x))
        return false;
    struct usage likely = {0};
    int64_t late = late_tokens(&x->answer, usage->output_tokens), beyond = beyond_bound(x, usage);
    if (x->answer.input_unsaid) {
        reserve_expect(x, cut, &likely);
        usage->input_tokens = likely.input_tokens;
    }
    usage->output_tokens += late - beyond;
    usage->reasoning_tokens -= beyond < usage->reasoning_tokens ? beyond : usage->reasoning_tokens;
    return x->answer.input_unsaid || late > 0 || beyond > 0;
}
