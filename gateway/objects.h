/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * objects - files, batches, uploads and stored responses belong to the tenant that made them and
 * live on the target where they were made. Inside gateway.
 *
 * Who owns what is in the ledger, and what other replicas have made in Redis; asking takes a
 * moment, so an exchange waits in ADMIT (for the one it names) or at the end of RELAY (for a list,
 * which is filtered).
 */

#include "gateway/exchange.h"

/* Does this call name an object, or files in its body? Then ask who owns it; true when the answer
 * is awaited. */
bool objects_ask(struct exchange *x);
/* May it be used? Pins the exchange to the object's target. False: the fault says why. */
bool objects_allow(struct exchange *x);

/* Does the call go on from a response that was made before (previous_response_id), if it names one?
 */
bool objects_builds_on(const struct exchange *x);
/* What was noted with the file that it names (ledger_own_file()); empty = nothing. */
struct text objects_facts(const struct exchange *x);
/* Is a good answer a list that others' objects stand in? Then it is never sent as it came. */
bool objects_narrows(const struct exchange *x);
/* A list has come, x->whole: keep only what the tenant owns. True when the answer is awaited;
 * then x->whole is changed, the upstream fact set, and the exchange run. A list that cannot be
 * narrowed has failed. */
bool objects_filter(struct exchange *x);
/* The exchange is over: note what was made or deleted. */
void objects_note(struct exchange *x);
/* Do other replicas know of it, or can they not be told? The last byte waits for that: the exchange
 * is to wait with worker_wait_safe(). */
bool objects_are_told(const struct exchange *x);
void objects_forget(struct exchange *x);

/* Note that the tenant owns <id>, which lives on the exchange's target; or that it is gone. */
void objects_own(struct exchange *x, struct text id, struct text kind, struct text facts);
void objects_disown(struct exchange *x, struct text id);
/* Wait no longer for those who are being told. */
void objects_leave(struct exchange *x);
