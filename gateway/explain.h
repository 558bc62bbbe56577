/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * explain - what would happen to a call: which rule, which candidates at which price and speed, who
 * is left out and why, which one it would be. Nothing is sent, held or booked. Inside gateway.
 *
 * The same code as for a call decides; what is left to chance may fall out differently.
 */

#include "gateway/admin.h"

struct worker;

/* Answer <call>, whose body says which call: either only the call's own body (of a chat), or
 *
 *   {"path": "/v1/messages", "tenant": "acme", "key": "ci", "headers": {"x-region": "eu"},
 *    "body": {...}}
 *
 * On <worker>'s thread. */
void explain_answer(struct worker *worker, const struct config *config, struct admin_call *call);
