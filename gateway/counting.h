/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * counting - how many tokens a call would have, where no target can be asked for it: counted here,
 * exactly for the texts of OpenAI's models, else by what was learnt of the model. Inside gateway.
 */

#include "gateway/exchange.h"

/* Answer the call (OPERATION_COUNT) in its client's words, with `x-sluice-estimated: true`. False,
 * with a fault, when it cannot be read. */
bool counting_answer(struct exchange *x);
