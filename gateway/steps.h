/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * steps - what is done in each state of an exchange. Inside gateway: for exchange.c only.
 *
 * A step does its work and returns the state to go to, or its own to wait.
 */

#include "gateway/exchange.h"

typedef enum exchange_state exchange_step(struct exchange *x);

exchange_step step_read, step_admit, step_route, step_send, step_relay, step_refuse, step_settle;

/* Is there a target of the route that is on and was not tried? */
bool step_has_another(const struct exchange *x);

/* Report how the try on the present target ended; a second call does nothing. */
void step_report(struct exchange *x, enum fault_kind outcome);

/* The target is read again after a pause: its silence counts from now. */
void step_resume(struct exchange *x);
