/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * choosing - what routing is told of an exchange, and what of its answer. Inside gateway.
 */

#include "gateway/exchange.h"

struct head;

/* The policy in force for it; never NULL. */
const struct route_policy *choosing_policy(const struct exchange *x);

/* All that is known of the call, for route_choose() on <route> (NULL = only to be counted). Reads
 * the body once where there is something to choose from. */
void choosing_call(struct exchange *x, const struct route *route, struct route_call *call);

/* Has one of the model's targets, which was not tried, only no room for the call now? */
bool choosing_some_full(struct exchange *x);

/* Nobody was left to be asked: set the fault that says why. */
void choosing_say_none(struct exchange *x);

/* The head of the target's answer: what it says is left of its limits. */
void choosing_head(struct exchange *x, const struct head *head);
/* Some of the answer has come; has its first token? */
void choosing_body(struct exchange *x);
/* The present try has ended with <fault>; <made>: it was made. */
void choosing_end(struct exchange *x, enum fault_kind fault, bool made);
