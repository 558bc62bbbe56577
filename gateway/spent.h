/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * spent - what was good once and is not any more, though it says that it still were: the sessions
 * that were ended, the sign-ins that came to their end. Kept by digest until their own time is
 * over, SPENT_MAX of them; beyond that the oldest is forgotten. Any thread.
 *
 * In a file, where one is named: then it holds over a restart, and for two processes at once, as
 * during an upgrade in place. A file that cannot be written is told in the log, and done without.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

enum { SPENT_MAX = 4096 };

struct spent;

/* <path> is copied; the file is made when there is something to keep. NULL = only in memory. */
struct spent *spent_new(const char *path);
void spent_free(struct spent *spent); /* NULL is nobody */

/* <value> is good no more, until <until_s> when it is not anyway. False: it was so already. */
bool spent_add(struct spent *spent, struct text value, int64_t until_s, int64_t now_s);
bool spent_has(struct spent *spent, struct text value, int64_t now_s);
