/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * health - which targets are left alone for now: circuit breaker, Retry-After, quotas.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"

/* Of a provider's configuration (breaker:). */
struct breaker_settings {
    int64_t window_us;
    unsigned min_requests;
    unsigned error_ppm; /* share of failures that opens it */
    int64_t open_us;    /* at first; doubles while probes fail, up to 8 times as long */
    bool off;           /* health: {mode: none} */
};

enum circuit { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_HALF_OPEN };

/* Relaxed atomics; all zero = well. */
struct health_figures {
    atomic_uint_fast64_t state; /* enum circuit, and since when: health.c */
    atomic_uint_fast64_t window[2];
    atomic_int_fast64_t cooling_until_us; /* Retry-After */
    atomic_int_fast64_t quota_dry_until_us;
    atomic_int_fast64_t quota_left_ppm; /* of the provider's window; 0 = never said */
    atomic_int_fast64_t faults_in_row;
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

/* What a provider said is left of its own limits (x-ratelimit-remaining-*, anthropic-ratelimit-*).
 */
struct quota_seen {
    int64_t requests_left, requests_limit; /* -1 = not said */
    int64_t tokens_left, tokens_limit;
    int64_t reset_us; /* until the next refill; 0 = not said */
};
void health_quota(struct health_figures *figures, const struct quota_seen *seen, uint64_t now_us);
enum circuit health_circuit(const struct health_figures *figures);
