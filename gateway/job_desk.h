/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * job_desk - where a worker runs the calls of jobs.
 *
 * A job's call is a call like any other: it comes in on a connection of its own, a socket pair
 * whose other end is a client of this worker, and so passes through every step of an exchange -
 * limits, budget, guardrails, routing, ledger - in the one order there is; none of them knows of
 * jobs, and none can be forgotten. What it costs is a pair of copies through the kernel, beside a
 * call to a model nothing. Who asks is not a secret of the tenant's (there is only a digest of
 * that) but the connection itself: on it, and nowhere else, x-sluice-job names a job that this desk
 * has just begun, and the call is that job's key's. A cancelled job is a client that leaves.
 */

#include "gateway/exchange.h"
#include "policy/ledger.h"

struct job_desk;
struct job_run;
struct worker;

struct job_desk *job_desk_new(struct worker *worker);
/* On the worker's thread: all runs end, cut. */
void job_desk_stop(struct job_desk *desk);
void job_desk_free(struct job_desk *desk);

/* Run <run>; any thread. jobs_run_over() is called when it has ended. */
void job_desk_put(struct worker *worker, struct job_run *run);
/* End it; any thread. The caller has counted a reference for this. */
void job_desk_cancel(struct worker *worker, struct job_run *run);

/* Whose call is this, that comes on the desk's own listener? NULL and a fault: nobody's. */
const struct key *job_desk_key(struct exchange *x, const struct head *head);
/* The call is booked as <row>; x->job is its job, or NULL. */
void job_desk_note(struct exchange *x, const struct ledger_row *row);
/* The exchange ends. */
void job_desk_forget(struct exchange *x);
