/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * counters_in_force - which counters are of a limit that is in force: one whose limit was taken
 * away has nothing of the time since, so it is not for another process to rely on. One thread.
 */

#include "gateway/base/text.h"
#include "policy/directory.h"

struct counters_in_force;

/* Those of <directory>, which is not needed afterwards. */
struct counters_in_force *counters_in_force_new(struct directory *directory);
/* Is the counter of that name one of them? <with>: a struct counters_in_force. */
bool counters_in_force_has(void *with, struct text counter);
void counters_in_force_free(struct counters_in_force *counters);
