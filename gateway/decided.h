/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * decided - how the target of a call was chosen when it came, as it was recorded then
 * (decisions.h), in the words of explain: for somebody who looks at one call.
 *
 * A record has no id in it, as calls have to be quick. It is found by when the call began, how long
 * it took and what it cost, to the microsecond and the nano-dollar.
 */

#include "gateway/base/json_write.h"
#include "gateway/config/config.h"
#include "policy/ledger.h"

/* Write what was considered for <row> as a value: an object, or null when no record of it is kept
 * in <directory> (any more, or yet: it takes a second). Scores are those of the policy as <config>
 * has it. Reads files; not for a loop. */
void decided_write(const char *directory, const struct config *config, const struct ledger_row *row,
                   struct json_write *json);
