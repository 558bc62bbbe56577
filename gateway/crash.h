/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * crash - the last words of a process: which signal, and a trace of the thread that got it, on
 * stderr. Then the signal does what it always does; nobody reads stderr: SIGALRM, some seconds
 * later.
 *
 * The addresses stand as PROGRAM(+OFFSET): addr2line -e PROGRAM OFFSET names the line.
 */

/* Set the handlers of SEGV, ABRT, BUS, ILL, FPE for the process, and arm the calling thread. */
void crash_arm(void);
/* Give the calling thread a stack of its own for the handlers, so that one that overflowed its
 * stack can still report; every thread that runs long calls it once. */
void crash_arm_thread(void);
