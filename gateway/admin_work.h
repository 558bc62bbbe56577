/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* admin_work - the answers that take long; on the service's thread. */

#include "gateway/admin.h"

void admin_work(struct service *service, struct admin_call *call);
