/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * log_keeper - a small process of its own that keeps the logs of servers from growing without bound
 * when no sluice is there to read them: who was killed, or ended with `on_exit: leave`, leaves
 * servers that go on writing.
 *
 * One for each state directory (the lock on its deployments says so), in a session of its own. It
 * looks at the logs once a second, cuts what is beyond LOG_LEFT_BYTES as log_tail does, and ends
 * when no server of that directory runs any more. While a sluice reads them, no log comes that far.
 * It changes nothing else there.
 */

enum { LOG_LEFT_BYTES = 32 * 1024 * 1024 };

/* Start <program> as one, whose main() calls deployments_main() (deployment.h). The pidfd of what
 * ends as soon as it has begun (or there is one already), and is to be waited for; -1 = it cannot
 * be started, which is logged. */
int log_keeper_start(const char *program, const char *state_dir);
