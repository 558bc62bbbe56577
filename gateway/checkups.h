/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * checkups - providers with `health: {mode: active}` are asked how they are, every interval, by the
 * first worker. What they say is told to the circuit breakers of all their targets: one that
 * answers is back at once, one that does not (5xx, no answer within 5 s) is as good as a failed
 * call.
 *
 * One thread: the worker's, which owns it.
 */

struct worker;
struct checkups;

struct checkups *checkups_new(struct worker *worker);
/* Give up what is being asked; NULL is allowed. In the loop's thread, before it is cleared. */
void checkups_stop(struct checkups *checkups);
void checkups_free(struct checkups *checkups);
