/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * job_hook - tells a URL that a job has ended: a POST of the job as GET /v1/jobs/{id} shows it,
 * with
 *
 *   x-sluice-job: ID
 *   x-sluice-timestamp: SECONDS
 *   x-sluice-signature: sha256=HEX
 *
 * where HEX is HMAC-SHA-256 over "SECONDS.BODY" by the tenant's secret (GET
 * /v1/jobs/webhook_secret), as text. Anything but 2xx is tried again, with back-off; redirections
 * are not followed. Never to link-local addresses; to private ones only where the operator says so.
 * On the jobs' thread.
 */

#include "gateway/jobs.h"

struct job_hooks;

struct job_hooks *job_hooks_new(struct jobs *jobs);
void job_hooks_free(struct job_hooks *hooks);
/* Tell <url> that the job has ended so; copies what it needs. <done> is called when it was told, or
 * was given up; may be NULL. False: too many are under way, or the URL is no good. */
bool job_hook_tell(struct job_hooks *hooks, const struct job_facts *facts, struct text url,
                   const struct job_result *result,
                   void (*done)(struct jobs *jobs, const char *id));
/* Those that are being told, at most <max>: for who holds a lease on them. Borrowed. */
size_t job_hook_ids(const struct job_hooks *hooks, const char **into, size_t max);
bool job_hook_has(const struct job_hooks *hooks, const char *id);
/* May this be told? *fault says why not. Any thread. */
bool job_hook_check(const struct config *config, struct text url, struct fault *fault);
