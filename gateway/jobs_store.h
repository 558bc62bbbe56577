/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* jobs_store - where jobs survive. For jobs_thread.c only. */

#include "gateway/jobs_inside.h"

/* SQLite: open <path> and take up what is in it; the functions are job_store_embedded. */
bool jobs_store_open(struct jobs *jobs, const char *path, struct fault *fault);
/* Redis, on the jobs' loop; the functions are job_store_redis. */
bool jobs_redis_open(struct jobs *jobs, const struct config *start, struct fault *fault);
