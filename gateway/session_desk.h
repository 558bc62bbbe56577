/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * session_desk - the secret of the dashboard's sessions is the same on all replicas that share a
 * Redis: what the first one of them has put there. Until it is known, and while Redis has none, a
 * sluice uses its own.
 *
 *   <prefix>session_secret   64 hexadecimal digits; who removes it ends all sessions within
 *                            SESSION_DESK_AGAIN_US
 *
 * It alone opens nothing: what a session was given for, which Redis does not have, is part of its
 * MAC (session.h). Owned by the first worker, in its thread.
 */

enum { SESSION_DESK_SOON_US = 500000, SESSION_DESK_AGAIN_US = 10000000 };

struct worker;
struct session_desk;

/* NULL when there is no Redis, or no listener has the dashboard at the start. */
struct session_desk *session_desk_new(struct worker *worker);
/* NULL is allowed. In the loop's thread, before it is cleared. */
void session_desk_stop(struct session_desk *desk);
void session_desk_free(struct session_desk *desk);
