/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * foresight - which limits and budgets an imagined call would meet, what is left of them, what it
 * would reserve, and whether they would let it in. The end of explain's answer; nothing is held.
 *
 * Without a shared store it is added at once. With one, Redis is asked what all nodes have: that
 * waits, so the ledger's desk does it, and until then the beginning of the answer, and a copy of
 * what is asked, stand in the call. What cannot be asked is "not known" (left: null).
 */

#include "gateway/admin.h"
#include "gateway/base/json_write.h"

struct exchange;

/* Add the member "limits" to <json>, and "refused" when one would refuse it and <refused> does not
 * say that it is refused anyway; and close the answer - or leave that to foresight_finish(), then
 * call->foresight is set. */
void foresight_add(struct exchange *x, struct admin_call *call, const struct json_write *json,
                   bool refused);
/* Close an answer that has no limits to tell of. */
void foresight_close(struct admin_call *call, struct json_write *json);

/* On a thread that may wait. */
void foresight_finish(struct service *service, struct admin_call *call);
/* It is not finished any more; nothing is there: nothing happens. */
void foresight_done(struct admin_call *call);
