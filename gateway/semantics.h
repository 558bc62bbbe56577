/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * semantics - an exchange and the answers to calls that mean nearly the same (policy/semantic.h).
 *
 * When no equal call was answered, the configured embedding model is asked, by a small call of our
 * own, what the text of this one means; then those that mean nearly the same are looked for. That
 * call is booked as a row of the ledger of its own, on the same tenant and key, and its cost is
 * held and settled together with the exchange's. Whatever fails, the exchange goes on without.
 *
 * Bounds: 5 seconds, 1 MiB of an answer, SEMANTIC_TEXT_MAX of a text.
 */

#include "gateway/exchange.h"

struct digest;

/* Before anything is held: may there be an answer to a similar call, and is it to be looked for?
 * Sets x->aside_nanos. */
void semantics_prepare(struct exchange *x);
/* Is it still to be looked for? */
bool semantics_wanted(const struct exchange *x);

enum semantics_result {
    SEMANTICS_WAITS,   /* the exchange is run again when there is more */
    SEMANTICS_FOUND,   /* replay_read() gives it */
    SEMANTICS_NOTHING, /* ask a target */
};
enum semantics_result semantics_ask(struct exchange *x);

/* Nobody waits any more; what was asked is booked. Twice is once. */
void semantics_stop(struct exchange *x);
/* The exchange's own answer is kept as <name>: note what it is the answer to. False when that is
 * not known. */
bool semantics_keep(struct exchange *x, const struct digest *name);
/* The exchange ends. */
void semantics_forget(struct exchange *x);
