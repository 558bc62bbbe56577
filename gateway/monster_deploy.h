/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * monster_deploy - the deploy calls of Monster API below /v1/deploy/: llm, custom_image,
 * sdxl-dreambooth, status, logs, list, terminate. Inside gateway.
 *
 * What they start is a deployment of the tenant whose key asks, made of the profile for so many
 * gigabytes and devices (deployments.monster.profiles). Only its tenant sees it: to all others it
 * is not there (404). A tenant may deploy only where the configuration says so (may_deploy).
 */

#include "gateway/admin.h"

/* The route that a call of these goes by; its path is below /v1/deploy. On the service's thread. */
extern const struct admin_route monster_deploy_route;

/* Ask the service's thread; false: too many wait, and the answer is set. */
bool monster_deploy_ask(struct service *service, struct admin_call *call);
