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
 *   model, policy, place of the chosen candidate + 1 (0 = none), how many candidates; the targets
 *   of all of them; a byte for each: strike (enum strike) << 1 | is there a prediction; and then
 *   nine columns of figures of those that have one: priority, weight, first, p95, total and wait in
 *   microseconds, time per token in nanoseconds, cost, cached tokens  (decision_write_choice)
 *
 * A column is a byte that says in how many bytes each of its figures is, the lowest first: 1 to 8,
 * or 0 when all of them are 0; with DECISION_SAME added, there is one figure, which is that of all.
 * All of it is quick to write: most calls are written down and never looked at again.
 *
 * Two candidates are about 80 bytes. What does not fit has no candidates, and cannot be replayed.
 */

#include "routing/route.h"

enum { DECISION_BYTES = 4096, DECISION_END_BYTES = 64, DECISION_SAME = 16 };

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

/* The targets of <route> as they stand in a record, in <out> of <room> bytes; returns their length,
 * or 0: they do not fit. */
size_t decision_write_names(const struct route *route, char *out, size_t room);
/* What was considered of <route>, in <out> of DECISION_BYTES - DECISION_END_BYTES bytes; returns
 * its length. */
size_t decision_write_choice(const struct choice *choice, const struct route *route,
                             struct text policy, char *out);
/* What stands in front of it, in <out> of DECISION_END_BYTES bytes. */
size_t decision_write_end(const struct decision_end *end, char *out);

/* False: it is no record. Texts are borrowed from <record>. */
bool decision_read(struct text record, struct decision *decision);
