/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* admin_work - the answers that take long, on the service's thread; and what they share with the
 * others. For admin.c, admin_work.c and service.c only. */

#include "gateway/admin.h"
#include "gateway/json_write.h"

void admin_work(struct service *service, struct admin_call *call);

/* Put a problem (RFC 9457) in the place of the answer. */
void admin_problem(struct admin_call *call, int status, const char *title, struct text detail);
/* 200 and JSON, or 500 when it did not fit. */
void admin_done(struct admin_call *call, const struct json_write *json);
