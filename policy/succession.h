/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * succession - one process follows another while calls run in both: the counters of limits and
 * budgets go over to the successor, and the predecessor asks it from then on. Embedded only.
 *
 * The predecessor, whose threads are all still meanwhile, writes its counters into a file without a
 * name and sends that over a socket. From then on it has no say any more: what its calls reserve,
 * extend and settle is asked of, or told to, the successor over the same socket, and what it counts
 * itself is only for what clients are told. So there is one place that admits, at any moment.
 *
 * What the predecessor's open calls hold is held at the successor. When the socket ends, the
 * predecessor is dead: what it held then counts as used, for that is how the ledger books its calls
 * (`lost`, at their reservation), and its parallel calls are over. When the successor is dead, the
 * predecessor admits nothing any more, and extends nothing; it closes the socket, so that one that
 * lives after all counts what it held as used.
 *
 * Blocking: a question waits ASK_US at most; one that is not answered in time counts as the end of
 * the successor, so that is waited for once. As long as it is not said whether the successor will
 * serve (heir_serves(), heir_returns()), that is waited for, too, and nobody counts as dead.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "policy/limits.h"

enum { SUCCESSION_ASK_US = 5000000 };

struct meter;

/* ------------------------------------------------------------------------- the predecessor */

struct heir; /* the way to the successor */

/* Send all of <meter> over <fd> (a SOCK_SEQPACKET), which is taken, but for the counters that
 * <which> leaves out. Nobody may reserve, extend or settle meanwhile. NULL and *fault: nothing was
 * given away. */
struct heir *heir_new(struct meter *meter, const struct bequest *which, int fd,
                      struct fault *fault);
/* The successor serves from now on. Any thread, as the three below. */
void heir_serves(struct heir *heir);
/* It never will, and this process counts again: questions that wait are answered here. */
void heir_returns(struct heir *heir);
/* Is there no successor any more? */
bool heir_is_gone(const struct heir *heir);
/* The socket ends with it. NULL is nobody. */
void heir_free(struct heir *heir);

/* The three of limits.h; any thread. GRANTED: the uses say what is held, and this process counts
 * it, too. AWAY: there is no successor. */
enum reserve_result heir_reserve(struct heir *heir, struct reservation *reservation);
bool heir_extend(struct heir *heir, struct reservation *reservation, enum limit_kind kind,
                 int64_t more);
/* <each>: of uses[i] in [i * step]. */
void heir_settle(struct heir *heir, struct reservation *reservation, const struct used *each,
                 size_t step);

/* --------------------------------------------------------------------------- the successor */

struct forebear; /* the predecessor, as its successor sees it */

/* Take over what comes over <fd>, which is taken, into an empty <meter>: waits <wait_us> for it.
 * NULL and *fault: it did not come whole, and the meter is of no use. */
struct forebear *forebear_new(struct meter *meter, int fd, int64_t wait_us, struct fault *fault);
/* Answer it from now on, on a thread of our own. False: there is none. */
bool forebear_begin(struct forebear *forebear);
/* Before the meter. NULL is nobody. */
void forebear_free(struct forebear *forebear);
/* Has it ended? Any thread. */
bool forebear_is_gone(const struct forebear *forebear);
