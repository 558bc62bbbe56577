/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * reserve_inside - what reserve.c asks reserve_bound.c: how much a call may use at most; and what
 * reserve_session.c and reserve_expect.c ask reserve.c. For nobody else. None of them fails.
 */

#include "gateway/exchange.h"

/* Is the call charged by tokens? A session is held for, too. */
bool reserve_takes_tokens(enum operation operation);
/* Of the body. Of an upload that does not say how long it will be: as long as it may be. */
int64_t reserve_raw_bytes(const struct exchange *x);
/* Tokens that an answer of its model has at most; 0 = nobody knows. */
int64_t reserve_model_output(const struct exchange *x);
/* Does a call of <target> cost more, the more tokens come? Not of one that is off. */
bool reserve_counts_output(const struct target *target);
/* Tokens of the pictures that it wants, at most, where a target of <route> counts them so. */
int64_t reserve_picture_output(const struct exchange *x, const struct route *route);
/* How many answers it wants, one at least. */
int64_t reserve_choices(const struct exchange *x);
/* The most pieces that may be charged, which is what is held: seconds of sound at the lowest rate
 * that is understood, searches in documents that are as short as can be. */
int64_t reserve_most_units(const struct exchange *x);
/* In nanos, at the dearest target that may get the call, with <output> tokens. It was estimated. */
int64_t reserve_cost_bound(const struct exchange *x, int64_t output);
/* Can the client's wish be shortened at all? */
bool reserve_may_lower(const struct exchange *x);
/* Tokens of the shortest answer that is of use. It was estimated. */
int64_t reserve_least_output(const struct exchange *x);

/* The call as its target's learnt figures are asked about it; and what they make of <call>. */
struct target_call reserve_call(const struct exchange *x);
struct target_call reserve_expected(const struct exchange *x, struct target_call call);

/* What was booked before the call's end, to be added to. */
struct booked *reserve_book(struct exchange *x);
