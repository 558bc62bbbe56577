/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* deploy_metrics - what Prometheus is told of deployments. Inside gateway; any thread. */

struct buffer;
struct config;
struct deploy_desk;

/* Append the lines; none when the configuration has no deployment. */
void deploy_metrics_write(const struct config *config, struct deploy_desk *desk,
                          struct buffer *out);
