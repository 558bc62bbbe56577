/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * watchdog - a thread that sees whether every worker's loop goes round.
 *
 * A worker that stays in one round for longer than the limit is sent SIGABRT: the trace of what it
 * was doing goes to stderr, the process dies, and the supervisor starts another. The time is
 * counted in ticks of the watchdog's own, so that a process that was stopped and goes on is not
 * taken for stuck. A worker that has computed for a third of the limit in one round, by its own
 * clock, is stuck as well: that clock stands still while others have the processor.
 */

#include <stdint.h>

#include "gateway/worker.h"

struct watchdog;

/* $SLUICE_WATCHDOG_MS in microseconds, 2 s by default; 0 = no watchdog. */
uint64_t watchdog_limit_us(void);

/* Watch <count> workers (the array must live as long) and call <beat> once a second, always. */
struct watchdog *watchdog_start(struct worker *const *workers, unsigned count,
                                void (*beat)(void *with), void *with);
/* Before the workers are stopped. */
void watchdog_stop(struct watchdog *watchdog);
