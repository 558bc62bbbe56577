/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* simulate_inside - the calls of a simulation: drawn first, then played, then measured. */

#include "routing/simulate.h"

struct simulate_call {
    /* drawn */
    double came_at;
    double luck; /* standard normal: of its first token */
    double fate; /* from 0 to 1: below a target's share of trouble it meets it */
    int64_t tokens, expected;
    uint32_t prefix, prompt;
    unsigned replica;
    bool has_prefix, noisy, counts;
    /* played */
    size_t target, found;
    uint64_t tried;
    unsigned tries;
    double begun_at, first_at, ended_at, service, retry_after;
    bool failed, busy, hit;
    struct route_try attempt;
};

/* All calls of <seed>, in the order of their coming. memory_free() them. */
struct simulate_call *simulate_draw(const struct simulate_scenario *scenario, uint64_t seed,
                                    size_t *count);
/* Fill in all of <result> but in_flight. */
void simulate_measure(const struct simulate_scenario *scenario, const struct simulate_call *calls,
                      size_t count, const size_t *served, struct simulate_result *result);
