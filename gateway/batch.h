/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * batch - the call that submits a batch (POST /v1/batches): what its input file may cost is held
 * before it is sent, and goes on being held when it was (batches.h), until the batch has ended.
 *
 * The file went up as it is. So a model in it is a name of the provider's own: the `model` of a
 * target, at the provider that has the file, of a model that the key may call.
 */

#include "gateway/batch_file.h"
#include "gateway/exchange.h"

/* In the exchange's arena. Each part is what the ledger will hold of one model. */
struct batch {
    struct ledger_row parts[BATCH_PARTS_MAX];
    size_t count;
    bool is_counted; /* among those that are being submitted */
    bool is_held;    /* it runs, and is settled later */
    bool is_unknown; /* it may run, and nobody here will see it end: booked as the most it may cost
                      */
};

/* May the file of <x> be run, all of it? True for all other calls. False: the fault says why. */
bool batch_admit(struct exchange *x);
/* How much the call wants of a limit; 0 = it does not concern it. */
int64_t batch_want(const struct exchange *x, const struct limit *limit);
/* All parts together: for the ledger's opening line. */
void batch_bound(const struct batch *batch, struct ledger_row *row);
/* It may run already, so its answer is waited for, whoever leaves. */
bool batch_goes_on(const struct exchange *x);
/* The call is over, and <row> is what it comes to. It is settled in the journal with what it holds
 * from now on: true; false: there is nothing to hold, <row> has changed if something must be booked
 * at once, and is to be settled as with any call. */
bool batch_settle(struct exchange *x, struct ledger_row *row);
/* Nothing is to come of it any more, whatever became of it. */
void batch_done(struct exchange *x);
