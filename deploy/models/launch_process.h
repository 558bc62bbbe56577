/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* launch_process - servers as processes of this machine; see launcher.h. */

#include "deploy/models/launcher.h"

/* End every server that an earlier sluice with this folder started on a node that is none of
 * <nodes>: nobody will ask for it any more. At the start, before launchers are opened. */
void launch_process_end_strangers(const char *state_dir, const char *owner,
                                  const struct text *nodes, size_t count);
