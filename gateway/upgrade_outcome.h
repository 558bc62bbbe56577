/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * upgrade_outcome - how the last upgrade in place has gone: the supervisor writes it down in
 * STATE/upgrade.json, and `sluice upgrade` waits for it there. A file, because it outlives both
 * services, and who may read it is who may use the state directory.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum upgrade_state { UPGRADE_RUNNING, UPGRADE_DONE, UPGRADE_FAILED, UPGRADE_STATES };

struct upgrade_outcome {
    int64_t id; /* they are counted */
    enum upgrade_state state;
    pid_t pid;                  /* of the supervisor */
    int64_t began_us, ended_us; /* wall clock; ended 0 = it runs */
    int64_t closed_us;     /* DONE: for so long nobody was let in; who came waited in the kernel */
    char from[64], to[64]; /* versions; <to> is empty when the new one did not get so far */
    char reason[600];      /* FAILED */
};

/* "running", "done", "failed" */
const char *upgrade_state_name(enum upgrade_state state);

/* Replace what is there in one step; what has ended gets its time here. False and errno. */
bool upgrade_outcome_write(const char *state, const struct upgrade_outcome *outcome);
/* False: there is none that can be read. */
bool upgrade_outcome_read(const char *state, struct upgrade_outcome *outcome);
