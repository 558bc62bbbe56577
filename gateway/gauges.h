/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gauges - model servers with a `metrics_url` are asked every two seconds, by the first worker, how
 * many calls they run and how many wait there, others' included. What they say is told to the
 * figures of their targets, where it counts for ten seconds.
 *
 * One thread: the worker's, which owns it.
 */

struct worker;
struct gauge_desk;

struct gauge_desk *gauges_new(struct worker *worker);
/* Give up what is being asked; NULL is allowed. In the loop's thread, before it is cleared. */
void gauges_stop(struct gauge_desk *desk);
void gauges_free(struct gauge_desk *desk);
