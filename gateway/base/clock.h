/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* clock - time. Deadlines use the monotonic clock; what is written down uses the wall clock. */

#include <stdint.h>
#include <time.h>

/* Microseconds since some fixed point; never goes back. */
uint64_t clock_now_us(void);
/* Microseconds since 1970-01-01 UTC. */
int64_t clock_wall_us(void);

/* In <us> from now, for who waits for a condition on CLOCK_MONOTONIC. */
struct timespec clock_until(int64_t us);

enum { CLOCK_STAMP_BYTES = 32 };

/* Write "2026-11-23T18:44:12.012Z" and a NUL into <stamp>. */
void clock_stamp(int64_t wall_us, char stamp[CLOCK_STAMP_BYTES]);
