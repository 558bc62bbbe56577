/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * watchdog - a thread that sees whether every worker's loop goes round, and whether a service that
 * begins gets on.
 *
 * A worker that stays in one round for longer than the limit is sent SIGABRT: the trace of what it
 * was doing goes to stderr, the process dies, and the supervisor starts another. The time is
 * counted in ticks of the watchdog's own, so that a process that was stopped and goes on is not
 * taken for stuck. A worker that has computed for a third of the limit in one round, by its own
 * clock, is stuck as well: that clock stands still while others have the processor. And one that
 * may run and does not come to it is not stuck (starved.h): of such a time what it computes counts,
 * and only after thirty times the limit it is taken for stuck all the same. A wait for the
 * disk, as of one that is frozen for a backup, is borne for a hundred and fifty times the limit.
 *
 * What is done before there are workers may rightly take long: an upgrade of the ledger, many calls
 * to count. So it counts what the process has computed, read and written: when that is next to
 * nothing for as long as the limit, the thread that begins waits for something that does not come,
 * and is sent SIGABRT, too. Not while a thread waits for the disk, as in fsync(). One that computes
 * for ever is not told from one that has much to do.
 */

#include <stdint.h>

#include "gateway/worker.h"

struct watchdog;

/* $SLUICE_WATCHDOG_MS in microseconds, 2 s by default; 0 = no watchdog. */
uint64_t watchdog_limit_us(void);
/* For the start: thirty times as long. No wait for Redis, or for a lock, is. */
uint64_t watchdog_start_limit_us(void);

/* Watch <count> workers (the array must live as long) and call <beat> once a second, always. */
struct watchdog *watchdog_start(struct worker *const *workers, unsigned count,
                                void (*beat)(void *with), void *with);
/* Watch the calling thread while it begins, for <limit_us> (0 = never abort it), and call <beat> as
 * above. */
struct watchdog *watchdog_start_opening(uint64_t limit_us, void (*beat)(void *with), void *with);
/* It goes on with <what>, a literal: the log has that when it hangs. The limit begins anew. */
void watchdog_note(struct watchdog *watchdog, const char *what);
/* Workers may wait for another process now: bear <at_least_us>; 0 = the limit again. Any thread. */
void watchdog_bear(struct watchdog *watchdog, uint64_t at_least_us);
/* Before the workers are stopped. */
void watchdog_stop(struct watchdog *watchdog);
