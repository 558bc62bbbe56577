/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * successor - this program was started by a running sluice, for an upgrade in place: as the service
 * that is to take over from its own, or, when that has, in place of the supervisor (handoff.h says
 * which).
 */

#include "gateway/config/config.h"

/* Do so; returns the exit code of the process. */
int successor_run(const struct config_options *load);
