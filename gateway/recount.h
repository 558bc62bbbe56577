/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * recount - counters after a start, and of limits that are new: what was used within windows that
 * still run is read from the ledger, so that a restart gives nobody a second budget. And the name
 * of this node.
 */

#include "gateway/config/config.h"
#include "policy/directory.h"
#include "policy/ledger.h"
#include "policy/limits.h"

enum { NODE_NAME_BYTES = 17 };

/* The name of the node that writes its ledger to <directory>: made when there is none yet, the same
 * ever after. False: it can neither be read nor written (*fault). A new one is on the disk when
 * node_sync_end() has said so, and nothing is counted under it before; NULL: it is there already.
 */
struct node_sync;
bool recount_node(const char *directory, char name[NODE_NAME_BYTES], struct node_sync **sync,
                  struct fault *fault);
/* Wait for it, and free <sync>. */
bool node_sync_end(struct node_sync *sync, struct fault *fault);

/*
 * Count what the ledger has for every limit of <directory>. Nothing is read where there are no
 * limits. Sums by minute, hour or day, whatever is fine enough for a window; a sum counts from its
 * end on in a rolling window, so that nothing is forgotten too early.
 *
 * False: the ledger cannot be read (*fault), and nobody knows what was used: counters that begin
 * empty would let money be spent twice.
 */
bool recount(struct limits *limits, const struct config *config, struct directory *directory,
             struct ledger_reader *reader, struct fault *fault);

/*
 * The same while calls are made, before <directory> is in force: for the limits that it has and
 * <before> has not in the same counters, of a tenant, its users, and with <keys> its keys. A
 * counter that is there - its limit was taken away, and comes back - is given what it lacks. Calls
 * that are under way then do not count in them. <journals> and <reader>: of the ledger that is
 * open, whatever <config> says since.
 */
struct recount_change {
    struct directory *directory;
    const struct directory *before;
    bool keys;
};
bool recount_added(struct limits *limits, const struct config *config,
                   const struct recount_change *change, const char *journals,
                   struct ledger_reader *reader, struct fault *fault);
