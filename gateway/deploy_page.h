/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * deploy_page - deployments as JSON: what is wanted of one, and how it stands. Inside gateway; any
 * thread.
 */

#include "deploy/models/deployment.h"
#include "gateway/base/json_write.h"

struct config;
struct made_deployment;

/* The spec called <name>, or whose id that is; NULL when there is none. */
struct deployment_spec *deploy_spec(const struct config *config, struct text name);

/* An object of all that is known of it. <desk> NULL, or one that does not know it yet: what is
 * wanted only. <made> NULL: the file declares it. <whole>: with replicas, adapters and spec. */
void deploy_write(struct json_write *json, const struct deployment_spec *spec,
                  struct deployments *desk, const struct made_deployment *made, bool whole);

/* One event. */
void deploy_write_event(struct json_write *json, const struct deployment_event *event);
