/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/janitor.h"

enum {
    CROWD_PART = 4, /* a crowd is gone when less than one in so many is left */
    SHRINKS = 8,
    SHRINK_US = 300000,
    TRIM_SWEEPS = 60, /* a minute, mostly */
    QUIET_SWEEPS = 5,
    FEW_EXCHANGES = 500, /* do not take much that was not there */
    LATE_SWEEPS = 70,    /* by then connections to upstreams, which are kept for 55 s, have gone */
};

static bool is_gone(unsigned peak, unsigned left)
{
    return peak > JANITOR_QUIET_EXCHANGES && left < peak / CROWD_PART;
}

/* What calls left behind for the next ones to use - connections, answers that are kept - ends a
 * good while after them, and none of it is worth much more than a trim. */
static void look_late(struct janitor *janitor, unsigned exchanges, struct janitor_orders *orders)
{
    if (janitor->late_sweeps > 1)
        janitor->late_sweeps--;
    else if (janitor->late_sweeps == 1 && exchanges == 0) {
        janitor->late_sweeps = 0;
        orders->trim = true;
    }
}

/* After a crowd it is the last time but one, when the ledger has the calls and what else they began
 * is over. */
static void look_at_gaps(struct janitor *janitor, unsigned exchanges, struct janitor_orders *orders)
{
    bool quiet = exchanges == 0 && janitor->shrinks_left == 0;
    janitor->quiet_sweeps = quiet ? janitor->quiet_sweeps + 1 : 0;
    if (janitor->quiet_sweeps >= QUIET_SWEEPS && janitor->exchanges_begun >= FEW_EXCHANGES) {
        janitor->exchanges_begun = 0;
        janitor->late_sweeps = LATE_SWEEPS;
        orders->free_spares = orders->shrink = true;
    } else if (++janitor->sweeps % TRIM_SWEEPS == 0) {
        orders->trim_own = true;
        orders->needed = janitor->exchange_peak;
        janitor->exchange_peak = exchanges;
    }
}

struct janitor_orders janitor_look(struct janitor *janitor, unsigned exchanges, unsigned seekings)
{
    struct janitor_orders orders = {0};
    if (janitor->exchange_peak > janitor->crowd_peak)
        janitor->crowd_peak = janitor->exchange_peak;
    if (is_gone(janitor->crowd_peak, exchanges)) {
        janitor->crowd_peak = janitor->exchange_peak = exchanges;
        janitor->seeking_peak = seekings;
        janitor->shrinks_left = SHRINKS;
        orders.free_spares = true;
    } else if (is_gone(janitor->seeking_peak, seekings)) { /* what is left are streams */
        janitor->seeking_peak = seekings;
        orders.free_seekings = orders.trim = true;
    }
    if (janitor->shrinks_left > 0) {
        janitor->shrinks_left--;
        orders.shrink = true;
    }
    look_late(janitor, exchanges, &orders);
    look_at_gaps(janitor, exchanges, &orders);
    orders.again_us = janitor->shrinks_left > 0 ? SHRINK_US : JANITOR_US;
    return orders;
}
