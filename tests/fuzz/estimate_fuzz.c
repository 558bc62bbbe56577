/* SPDX-License-Identifier: Apache-2.0 */

/* What a body says of its tokens: whatever valid JSON it is, the facts are within it, and the same
 * body with one picture more never has a lower bound. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/scan.h"
#include "policy/estimate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* With what the scan has seen the look says the same as without. */
static void check_outline(struct text body, const struct estimate_facts *without)
{
    enum { LONGS = 4 };
    struct scan_problem problem;
    struct scan_value value;
    struct scan_long longs[LONGS];
    struct text want = TEXT("model");
    struct scan_outline outline = {.anywhere = TEXT("file_id"), .longs = longs, .room = LONGS};
    struct estimate_facts with = *without;
    if (!scan_request(body, &want, 1, &value, &problem, &outline))
        return;
    for (unsigned i = 0; i < outline.count; i++) {
        assert(longs[i].at + (size_t)longs[i].length < body.len &&
               longs[i].length >= SCAN_LONG_BYTES);
        assert(body.at[longs[i].at] == '"' && body.at[longs[i].at + longs[i].length] == '"');
    }
    estimate_look(body, &outline, &with);
    assert(with.about_tokens == without->about_tokens && with.shape == without->shape &&
           with.thread == without->thread && with.messages == without->messages &&
           with.about_described == without->about_described && with.turns == without->turns &&
           with.media_bytes == without->media_bytes && with.kind == without->kind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct estimates *estimates;
    struct text body = {(const char *)data, size};
    struct scan_problem problem;
    struct estimate_facts facts = {
        .model = TEXT("m"), .provider = TEXT("p"), .body_bytes = (int64_t)size};
    struct estimate made;
    if (!estimates)
        estimates = estimates_new();
    if (!scan_check(body, &problem))
        return 0;
    estimate_look(body, NULL, &facts);
    check_outline(body, &facts);
    assert(facts.media_bytes >= 0 && facts.media_bytes <= facts.body_bytes);
    assert(facts.media_count >= 0 && facts.media_count <= facts.body_bytes);
    assert(facts.media_tokens >= 0 && facts.tool_tokens >= 0);
    assert(facts.about_tokens >= 1 && facts.about_tokens <= 5 * facts.body_bytes + 1);
    assert(facts.about_described >= 0 && facts.about_described <= facts.body_bytes);
    assert(facts.rounds >= 0 && facts.rounds <= 10);
    estimate_make(estimates, &facts, &made);
    assert(made.input_mean >= 0 && made.input_mean <= made.input_bound);
    assert(made.input_bound >= facts.body_bytes - facts.media_bytes);
    assert(facts.messages >= 0 && facts.turns >= 0 && facts.tools >= 0);
    assert(facts.about_schema >= 0 && facts.about_sealed >= 0);
    assert(facts.messages + facts.turns + facts.tools <= 2 * facts.body_bytes);
    estimate_learn(estimates, &facts, (int64_t)size / 3, 10);
    int64_t counted = estimate_count(estimates, TEXT("gpt-4o"), body, &facts);
    assert(counted >= 1 && counted <= made.input_bound);
    return 0;
}
