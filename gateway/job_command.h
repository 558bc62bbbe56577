/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * job_command - jobs that are a program of the operator's: one process group each, no shell, its
 * output read line by line into a bounded log, its artefacts below STATE/jobs/output/ID. On the
 * jobs' thread; only job_commands_logs() is for any.
 */

#include "gateway/base/buffer.h"
#include "gateway/jobs.h"

struct job_run;
struct job_commands;

struct job_commands *job_commands_new(struct jobs *jobs, const char *state);
/* What still runs is killed: it is run again. */
void job_commands_free(struct job_commands *commands);
/* Run it; jobs_run_over() is called when it has ended, perhaps from within. */
void job_command_start(struct job_commands *commands, struct job_run *run);
/* TERM to its group, KILL after a while. */
void job_command_stop(struct job_commands *commands, struct job_run *run);
/* All that stands of <run> in the way of memory; its log stays for a while. */
bool job_commands_logs(struct job_commands *commands, struct text id, struct text tenant,
                       size_t count, struct buffer *out);
