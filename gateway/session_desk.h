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
 * Who can read it there can make himself a session as soon as he knows what it is given for, too,
 * which is part of its MAC (session.h): the digest of an admin key, or the settings of admin.oidc
 * with the client's secret. Neither is in Redis, nor does the admin API show it. Where there is no
 * such secret (a public client), people's sessions are made with each sluice's own instead.
 * Owned by the first worker, in its thread.
 */

enum { SESSION_DESK_SOON_US = 500000, SESSION_DESK_AGAIN_US = 10000000 };

struct worker;
struct session_desk;

/* NULL when there is no Redis, or no listener has the dashboard at the start. */
struct session_desk *session_desk_new(struct worker *worker);
/* NULL is allowed. In the loop's thread, before it is cleared. */
void session_desk_stop(struct session_desk *desk);
void session_desk_free(struct session_desk *desk);
