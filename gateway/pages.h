/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* pages - what sluice answers itself: the list of models, health, metrics, administration, CORS
 * preflights. Inside gateway. */

#include "gateway/exchange.h"

/* Answer x->match.endpoint->page. False: it takes its time, and the exchange will be run again. */
bool pages_answer(struct exchange *x);
/* What stands in x->held, JSON, is the answer, with these header lines beside the usual ones. */
void pages_finish(struct exchange *x, struct text extra);
/* The same with another status and type. */
void pages_finish_as(struct exchange *x, unsigned status, struct text type, struct text extra);
/* Answer a CORS preflight request, which asks to send the headers <asked>, and run the exchange. */
void pages_preflight(struct exchange *x, struct text asked);
void pages_forget(struct exchange *x);
