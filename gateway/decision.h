/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * decision - the compact record of how a call's first target was chosen, and what became of it: for
 * `sluice replay`. Pure: bytes and figures, no files (decisions.h).
 *
 * A record is at most DECISION_BYTES bytes; numbers are LEB128 where nothing else is said, names
 * their length and their bytes:
 *
 *   wall clock in milliseconds, status, attempts, time to the first token and duration in
 *   microseconds, cost in nano-dollars                            (decision_write_end)
 *   model, policy, place of the chosen candidate + 1 (0 = none), how many candidates; of each:
 *   target, strike (enum strike) << 1 | is there a prediction, and then nine figures: priority,
 *   weight, first, p95, total and wait in microseconds, time per token in nanoseconds, cost, cached
 *   tokens                                                        (decision_write_choice)
 *
 * The figures are five bytes that say how wide each is, four bits for each, the first in the lowest
 * ones; then each in so many bytes, the lowest first. One of no width is what it was for the last
 * candidate that had a prediction (before the first: 0). That is quicker to write than LEB128, and
 * most calls are written down and never looked at again.
 *
 * Two candidates are about 80 bytes. What does not fit has no candidates, and cannot be replayed.
 */

#include "routing/route.h"

enum { DECISION_BYTES = 4096, DECISION_END_BYTES = 64 };

struct decision_candidate {
    struct text target;
    enum strike strike;
    bool has_prediction;
    unsigned priority, weight;
    struct prediction prediction; /* first_us, first_p95_us, total_us, wait_us, token_ns,
                                     cost_nanos, cached_tokens */
};

/* What became of the call. */
struct decision_end {
    int64_t wall_us; /* when it began */
    int64_t status, attempts;
    int64_t first_us, duration_us, cost_nanos;
};

struct decision {
    struct decision_end end;
    struct text model, policy;
    size_t chosen; /* place among the candidates; <count> = none */
    size_t count;
    struct decision_candidate candidates[ROUTE_TARGETS_MAX];
};

/* What was considered, in <out> of DECISION_BYTES - DECISION_END_BYTES bytes; returns its length.
 */
size_t decision_write_choice(const struct choice *choice, struct text model, struct text policy,
                             char *out);
/* What stands in front of it, in <out> of DECISION_END_BYTES bytes. */
size_t decision_write_end(const struct decision_end *end, char *out);

/* False: it is no record. Texts are borrowed from <record>. */
bool decision_read(struct text record, struct decision *decision);
