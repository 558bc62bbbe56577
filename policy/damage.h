/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * damage - a database that is damaged: noticed while it is used, set aside at the next start.
 *
 * While it is used nothing is taken away from under those who have it open: a file
 * <database>.damaged beside it says that it is to be looked at. At the start it is, whole; and a
 * file that cannot even be opened as a database is found then, too. It is moved to
 * <database>.corrupt-<time>, with what belongs to it, and a new one begins.
 */

#include <stdbool.h>

/* The database said that it is damaged. */
void damage_note(const char *database);
/*
 * At the start, before anybody has it open. <failed>: it could not be opened just now. The path
 * that it was moved to, to be freed with memory_free(); NULL when it was not damaged, or could not
 * be moved.
 */
char *damage_set_aside(const char *database, bool failed);
