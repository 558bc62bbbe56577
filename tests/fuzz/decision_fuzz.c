/* SPDX-License-Identifier: Apache-2.0 */

/* A record of a decision, as it stands in a file: what is read is in bounds, and all texts stand in
 * what was read. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "routing/decision.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_text(struct text whole, struct text part)
{
    assert(part.len == 0 || (part.at >= whole.at && part.at + part.len <= whole.at + whole.len));
}

static void check(struct text record, const struct decision *decision)
{
    assert(decision->count <= ROUTE_TARGETS_MAX && decision->chosen <= decision->count);
    assert(decision->end.wall_us >= 0 && decision->end.cost_nanos >= 0);
    check_text(record, decision->model);
    check_text(record, decision->policy);
    for (size_t i = 0; i < decision->count; i++) {
        const struct decision_candidate *one = &decision->candidates[i];
        check_text(record, one->target);
        assert(one->strike < STRIKES && one->prediction.cost_nanos >= 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct decision decision;
    char *own = malloc(len ? len : 1); /* what is read behind it is seen */
    memcpy(own, bytes, len);
    struct text record = {own, len};
    if (decision_read(record, &decision))
        check(record, &decision);
    free(own);
    return 0;
}
