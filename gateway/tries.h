/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * tries - what comes after a try that failed: another target at once, the same one after a while,
 * or nothing. Inside gateway.
 *
 * Only while nothing of an answer has gone to the client, and never for uploads, tunnels and what
 * lives at one target. Further tries are bounded by the provider's `retry.attempts`, by the time
 * that the call has, and by a budget that is a share of the calls of its model (retry.h); one on a
 * target that has answered well of late, and never failed since, is free of it.
 */

#include "gateway/exchange.h"
#include "providers/refusal.h"

/* Could another target be asked, if the present one failed now? */
bool tries_may_turn(const struct exchange *x);

/* The try fails with <kind> (of an answer with <status>, else 0): is there another one to come?
 * Then x->again says which, and its part of the budget is taken; a second call changes nothing. */
bool tries_claim(struct exchange *x, enum fault_kind kind, unsigned status);
/* The same of a refusal that says why: too long for this target, its filter, no prefill. */
bool tries_claim_refusal(struct exchange *x, enum refusal refusal);

/* Is its circuit closed, or a probe due, and has it not asked to be left alone? */
bool tries_is_well(const struct exchange *x, const struct target *target);
/* A target that may be asked at once and is not among the bits of <tried>, or NULL. */
const struct target *tries_find_well(const struct exchange *x, uint64_t tried);
/* Take a further try's part of the budget; <next> is where it goes, or NULL. False: it is spent. */
bool tries_pay(struct exchange *x, const struct target *next);

/* What was learnt of the present target: the 95th percentile of its first token; 0 = nothing. */
int64_t tries_first_p95_us(const struct exchange *x);

/* How the circuit of the present target is: closed, where it has none. */
enum circuit tries_circuit(const struct exchange *x);
/* A try on it has failed by <fault> and that was reported; before, its circuit was <before>. Does
 * it fail more than its siblings? When that, or its own failures, opened it, the log says so. */
void tries_look_at_circuit(struct exchange *x, enum fault_kind fault, enum circuit before);

/* The try has failed, and the client has seen nothing of it: go on or give up. */
enum exchange_state tries_after_failure(struct exchange *x);

/* Is <at_us> within the call's time, and are all its waits together no longer than the present
 * provider's longest back-off? */
bool tries_may_wait(const struct exchange *x, uint64_t at_us);
/* Is the time of the next try still to come? Then the timer wakes the exchange. */
bool tries_wait(struct exchange *x);

/* A call is routed for the first time: it pays its part into the budget. */
void tries_begin(struct exchange *x);
