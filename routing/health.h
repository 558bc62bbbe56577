/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * health - which targets are left alone for now: circuit breaker, Retry-After, quotas.
 *
 *   CLOSED     asked as usual. Opens when the share of failures within the window is at least
 *              error_ppm of at least min_requests, or of fewer with two in a row; and after three
 *              failures in a row, where there are more than 400 calls in the window after five.
 *   OPEN       not asked until open_us are over (a little less, so that those that share a target
 *              do not come back together); then one call may probe.
 *   HALF_OPEN  that call is on its way. Good: CLOSED. Bad: OPEN again, for as long: whoever is well
 *              again is found out within open_us. Only who fails more than seven probes in a row is
 *              left alone for twice as long. When it says nothing (its client left), the next one
 *              probes.
 *
 * A provider that says when to come back (Retry-After) is left alone until then, and so is one that
 * says no more than 429: a second at first, twice as long each time.
 *
 * What other processes have seen (hearsay.h) counts, too: their Retry-After as our own. Where their
 * circuit has opened since ours had its last good answer, the next call here is a probe; where it
 * closed since ours opened, too.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/fault.h"

/* Of a provider's configuration (breaker:). */
struct breaker_settings {
    int64_t window_us;
    unsigned min_requests;
    unsigned error_ppm; /* share of failures that opens it */
    int64_t open_us;    /* between probes; twice as long for who fails them again and again */
    bool off;           /* health: {mode: none} */
};

enum circuit { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_HALF_OPEN };

/* Relaxed atomics; all zero = well. */
struct health_figures {
    atomic_uint_fast64_t state; /* enum circuit, and since when: health.c */
    atomic_uint_fast64_t window[2];
    atomic_int_fast64_t cooling_until_us;   /* Retry-After */
    atomic_int_fast64_t quota_dry_until_us; /* quota.h */
    atomic_int_fast64_t faults_in_row;
    atomic_int_fast64_t busy_in_row; /* answers that said: too many calls */
    atomic_int_fast64_t good_us;     /* when it last answered well; 0 = never */
    atomic_int_fast64_t turned_us;   /* when its circuit last opened or closed; 0 = never */
    /* what others say: Retry-After; and when their circuit last opened, and so ours did */
    atomic_int_fast64_t heard_cooling_us, heard_turned_us;
};

/* May <figures>' target be asked at <now_us>? For half-open circuits, exactly one caller of those
 * that ask with <take> gets the probe. */
enum health_word { HEALTH_WELL, HEALTH_PROBE, HEALTH_SICK, HEALTH_COOLING, HEALTH_DRY };
enum health_word health_look(const struct health_figures *figures, uint64_t now_us);
/* Take the probe of an open circuit whose time is over; false: another one has it. */
bool health_take_probe(struct health_figures *figures, const struct breaker_settings *settings,
                       uint64_t now_us);
/* A try has ended; <probe>: it was the probe. */
void health_report(struct health_figures *figures, const struct breaker_settings *settings,
                   enum fault_kind fault, bool probe, int64_t retry_after_us, uint64_t now_us);

/* Does it fail far more often than its siblings, which are asked the same (at least twice the
 * median of those that were asked often enough, and 5 per cent more)? Then its circuit opens,
 * though it keeps below error_ppm: there are better ones. False when it does not, or when that
 * would leave fewer than half of them. <all> has its own figures too. */
bool health_compare(struct health_figures *figures, struct health_figures *const *all, size_t count,
                    const struct breaker_settings *settings, uint64_t now_us);

/* Has it answered within the window, and never failed? */
bool health_is_proven(const struct health_figures *figures, const struct breaker_settings *settings,
                      uint64_t now_us);

/* When it may be asked again: the end of its cooling, of its open circuit or of its dry quota,
 * whichever is the last; 0 = now. */
uint64_t health_again_us(const struct health_figures *figures, uint64_t now_us);

/* Somebody asked how it is, beside all calls (health: {mode: active}). */
void health_asked(struct health_figures *figures, const struct breaker_settings *settings,
                  bool well, uint64_t now_us);

enum circuit health_circuit(const struct health_figures *figures);

/* What another process has seen of the same target, at times of our own clock; 0 = never. */
struct health_told {
    enum circuit circuit;
    int64_t turned_us, cooling_until_us;
};
/* Of our own experience, for others to hear. */
struct health_told health_tell(const struct health_figures *figures);
/* <settings> NULL: there is no circuit here. */
void health_hear(struct health_figures *figures, const struct breaker_settings *settings,
                 const struct health_told *told, uint64_t now_us);
