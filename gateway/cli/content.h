/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cli_content - what was said in a call, for people. */

#include "gateway/base/text.h"

/* Print <content>, the member of a call of the admin API; nothing where there is none. Control
 * characters in it are shown, not obeyed. */
void cli_print_content(struct text content);
