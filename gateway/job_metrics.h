/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* job_metrics - lines about jobs for Prometheus, text format 0.0.4. No label comes from a client.
 * Any thread. */

#include "gateway/base/buffer.h"

struct jobs;

/* NULL: there are no jobs, and nothing to say. */
void job_metrics_write(struct jobs *jobs, struct buffer *out);
