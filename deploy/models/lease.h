/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * lease - who of a cluster may start and stop model servers, as one node sees it. Pure: what the
 * store says and the time are handed in.
 *
 * The store gives the lease to one node at a time, for LEASE_US from when it was last renewed, by
 * its own clock; each time it is given anew it has a larger token. Its holder counts from when it
 * asked, and gives up LEASE_MARGIN_US before the store would: so that two never lead, as long as
 * clocks run equally fast within that margin. A store that has forgotten who holds it would give it
 * to the first who asks: so nobody asks for it before that of the holder last seen has run out.
 *
 *   APART → (the store says: another's) FOLLOWS → APART → (given to us) HOLDS → (not renewed) APART
 */

#include <stdbool.h>
#include <stdint.h>

enum { LEASE_US = 4000000, LEASE_MARGIN_US = 1000000 };

enum lease_state {
    LEASE_APART,   /* nobody knows: the store is away, or has not been asked yet */
    LEASE_FOLLOWS, /* another holds it, or did when the store was last heard */
    LEASE_HOLDS,
};

struct lease {
    enum lease_state state;
    int64_t token;      /* of the holder that was seen last; 0 = none */
    uint64_t until_us;  /* HOLDS: no longer */
    uint64_t heard_us;  /* the store answered */
    uint64_t others_us; /* the lease of another has not run out before */
};

/* What the store says. */
struct lease_answer {
    bool is_held, is_ours;
    bool is_free; /* its holder has given it up: it need not run out */
    int64_t token;
    int64_t left_us; /* until it runs out */
};

/* May it be asked for (or renewed), at <now_us>? */
bool lease_wants(const struct lease *lease, uint64_t now_us);
/* The store answers a question that was asked at <asked_us>. */
void lease_hear(struct lease *lease, const struct lease_answer *answer, uint64_t asked_us,
                uint64_t now_us);
/* Time has passed. */
void lease_tick(struct lease *lease, uint64_t now_us);
