/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* scenario - a file that says what `sluice simulate` plays: YAML or JSON, read as the configuration
 * is, with its `routing` section. */

#include <stdio.h>

#include "routing/simulate.h"

struct scenario;

/* NULL when it cannot be read or is wrong; problems go to <words>. */
struct scenario *scenario_load(const char *path, FILE *words);
void scenario_free(struct scenario *scenario);
/* What it says; lives as long as <scenario>. */
const struct simulate_scenario *scenario_is(const struct scenario *scenario);
/* The policy of its routing section that is called <name>, else the strategy of that name with all
 * its defaults; NULL when there is neither. */
const struct route_policy *scenario_policy(struct scenario *scenario, struct text name);
/* The one that its routing section names for all. */
const struct route_policy *scenario_default_policy(const struct scenario *scenario);
