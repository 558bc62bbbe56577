/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * janitor - when a worker gives back the memory that it does not need any more. Decides and does
 * nothing: the worker counts here what it begins, looks from time to time, and does what it is
 * told. Inside gateway: for worker.c.
 *
 * After a crowd - when of many exchanges a quarter is left - memory is given back several times:
 * what other threads have of them, lines of the log or rows of the ledger, ends later. Those that
 * are never many at once leave gaps, too, in the course of time: when there were none for some
 * seconds, memory is given back, and a last time when the connections that they left have gone.
 * Where it never is quiet, each minute what was kept for more calls than that minute had goes back
 * (and what is free between what is in use: keep_small() in service.c).
 *
 * It owns nothing and cannot fail. One thread's.
 */

#include <stdbool.h>
#include <stdint.h>

enum { JANITOR_US = 1000000, JANITOR_QUIET_EXCHANGES = 16 /* so few are no crowd */ };

/* All zero at first. */
struct janitor {
    unsigned exchange_peak;            /* at once, in this minute */
    unsigned crowd_peak, seeking_peak; /* at once, since memory was last given back */
    unsigned exchanges_begun;          /* since it was quiet for a while */
    unsigned shrinks_left;             /* how often to give memory back again */
    unsigned sweeps, quiet_sweeps;     /* all, and since there was an exchange */
    unsigned late_sweeps;              /* until memory is given back the last time; 0 = it was */
};

static inline void janitor_exchange(struct janitor *janitor, unsigned open)
{
    janitor->exchanges_begun++;
    if (open > janitor->exchange_peak)
        janitor->exchange_peak = open;
}

static inline void janitor_seeking(struct janitor *janitor, unsigned open)
{
    if (open > janitor->seeking_peak)
        janitor->seeking_peak = open;
}

/* What is to be done now, in this order, and in how many microseconds to look again. */
struct janitor_orders {
    bool free_spares;   /* exchanges, what seeks targets, buffers */
    bool free_seekings; /* only what seeks targets: the exchanges go on as streams */
    bool trim;          /* give back to the kernel what is free, of the whole heap */
    bool trim_own;      /* of this thread's end of it: the cheapest; before that, spares */
    unsigned needed;    /* then: so many exchanges are kept, those that are open and spare ones */
    bool shrink;        /* and all that can be had again */
    uint64_t again_us;
};

/* <exchanges> are open now, and <seekings> of them seek a target. */
struct janitor_orders janitor_look(struct janitor *janitor, unsigned exchanges, unsigned seekings);
