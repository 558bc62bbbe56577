/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * estate - the journals that dead processes left behind, one directory after the other.
 *
 * Every process holds a lock (flock) on its own directory. Whoever gets the lock of another's
 * knows that it is dead, drains it, books its open calls as lost, and removes it.
 *
 * Who only reads must know it, too, at every moment of this: else calls that were counted as lost
 * would for a moment count as calls that run. So a directory is marked before it is locked against
 * others: a shared lock, which proves that its process is dead; the mark; then the lock.
 */

#include "policy/drain.h"

/* Does <name> look like a directory of journals? */
bool instance_is_name(const char *name);
/* Make a directory of our own below <root>, locked; its name goes to <instance>. Returns its
 * descriptor, which holds the lock, or -1 and errno. */
int instance_new(int root, char instance[INSTANCE_BYTES]);
/* For who reads: is the process dead whose <directory> this is? Its lock is not kept. Also true
 * while somebody drains it, and false when that is done. */
bool instance_is_dead(int directory);

/* Remove the journals in a directory whose lock we hold, and the directory. */
void instance_remove(int root, const char *instance, int directory);

struct estate;

/* <root> is borrowed; <own> is left alone (NULL: none is). */
struct estate *estate_new(int root, const char *own);
void estate_free(struct estate *estate);

/* Look for directories to drain; call it now and then. */
void estate_look(struct estate *estate);
/* Drain <instance>, too. */
void estate_add(struct estate *estate, const char *instance);
/* DRAIN_WAITS was said: how often to try again, and how long to wait in between, when it matters.
 */
enum { ESTATE_TRIES = 100, ESTATE_WAIT_US = 2000 };
/* Do a bit of it, about one batch. DRAINED_ALL: nothing is left of what was found. DRAIN_WAITS: but
 * for directories that others look at, or that cannot be marked. */
enum drained estate_step(struct estate *estate, struct drain *drain);
