/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/lease.h"

bool lease_wants(const struct lease *lease, uint64_t now_us)
{
    return lease->state == LEASE_HOLDS || now_us >= lease->others_us;
}

void lease_hear(struct lease *lease, const struct lease_answer *answer, uint64_t asked_us,
                uint64_t now_us)
{
    lease->heard_us = now_us;
    lease_tick(lease, now_us);
    if (answer->is_held && answer->is_ours) {
        uint64_t until_us = asked_us + LEASE_US - LEASE_MARGIN_US;
        lease->token = answer->token;
        lease->until_us = until_us;
        lease->state = now_us < until_us ? LEASE_HOLDS : LEASE_APART;
        lease->others_us = 0;
        return;
    }
    if (answer->is_held) {
        int64_t left_us = answer->left_us < LEASE_US ? answer->left_us : LEASE_US;
        lease->token = answer->token;
        lease->state = LEASE_FOLLOWS;
        lease->others_us = now_us + (uint64_t)(left_us > 0 ? left_us : 0);
        return;
    }
    if (answer->is_free)
        lease->others_us = 0;
    /* Nobody's, though it was ours: the store has forgotten it, or somebody has given it up. */
    if (lease->state == LEASE_HOLDS)
        lease->state = LEASE_APART;
}

void lease_tick(struct lease *lease, uint64_t now_us)
{
    if (lease->state == LEASE_HOLDS && now_us >= lease->until_us)
        lease->state = LEASE_APART;
    if (lease->state == LEASE_FOLLOWS && now_us >= lease->heard_us + LEASE_US)
        lease->state = LEASE_APART;
}
