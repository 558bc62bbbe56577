/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * steps - what is done in each state of an exchange. Inside gateway.
 *
 * A step does its work and returns the state to go to, or its own to wait.
 */

#include "gateway/exchange.h"

enum exchange_state step_read(struct exchange *x);
enum exchange_state step_admit(struct exchange *x);
enum exchange_state step_recall(struct exchange *x);
enum exchange_state step_reserve(struct exchange *x);
enum exchange_state step_replay(struct exchange *x);
enum exchange_state step_liken(struct exchange *x);
enum exchange_state step_route(struct exchange *x);
enum exchange_state step_wake(struct exchange *x); /* waking.c */
enum exchange_state step_send(struct exchange *x);
enum exchange_state step_relay(struct exchange *x);
enum exchange_state step_refuse(struct exchange *x);
enum exchange_state step_settle(struct exchange *x);

/* Is there a target of the route that is on and was not tried? */
bool step_has_another(const struct exchange *x);

/* The chosen target is not asked after all. */
void step_unchoose(struct exchange *x);
/* Is the answer wanted, though its client has gone? */
bool step_goes_on(const struct exchange *x);

/* Put into <row>, whose outcome is known, what the provider counted of the present try, or what
 * must be taken for it, and what that costs. */
void step_count(struct exchange *x, struct ledger_row *row);

/* Report how the try on the present target ended; a second call does nothing. */
void step_report(struct exchange *x, enum fault_kind outcome);
