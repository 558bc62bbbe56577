/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * lineage - which tenant belonged to which, told to the ledger whenever that changes, and asked
 * when limits are counted again at the start. Inside gateway.
 */

#include "policy/directory.h"
#include "policy/ledger.h"

struct lineage; /* what the ledger was told so far */

struct lineage *lineage_new(struct ledger *ledger);
void lineage_free(struct lineage *lineage);
/* Tell the ledger what is new in <directory>; any thread. */
void lineage_note(struct lineage *lineage, const struct directory *directory);

/* As the ledger has it. */
struct kin;
struct kin *kin_read(struct ledger_reader *reader, struct fault *fault);
void kin_free(struct kin *kin);
/* To whom the tenant called <name> belonged that was there at <at_us> and was made before
 * <before_us>; empty when it was topmost. False: it is not known. */
bool kin_parent(const struct kin *kin, struct text name, int64_t at_us, int64_t before_us,
                struct text *parent);
