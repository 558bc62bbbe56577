/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * admin_desk - a thread that answers slow questions of the admin API, one after the other.
 *
 * At most DESK_CALLS_MAX wait; more are turned away.
 */

#include "gateway/admin.h"

enum { DESK_CALLS_MAX = 64 };

struct desk;

/* Start the thread. It answers with admin_work(). */
struct desk *desk_new(const char *name, struct service *service);
/* Any thread. False: too many wait, or it is closed. Else call->done will be called on its loop. */
bool desk_put(struct desk *desk, struct admin_call *call);
/* Take no more, refuse what waits, end the thread. The loops of the callers must still run. */
void desk_close(struct desk *desk);
void desk_free(struct desk *desk);

/* Post the answer of <call> to its loop. */
void desk_send(struct admin_call *call);
