/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * reload - from a changed file to the next configuration in force, or to the reasons why not.
 *
 * Some settings hold from the start of the process on: listeners, workers, and where the state is.
 * A new file may change them; that is named, and waits for a restart.
 */

#include <stdint.h>

#include "gateway/config/config.h"

struct reload_outcome {
    bool good;
    unsigned changes;
    char *words;   /* good: what changed, one a line; else the problems. memory of malloc() */
    char *restart; /* what needs a restart, one a line, or "" */
    char *errors;  /* not good: the problems as JSON objects, one a line; else "" */
};

void reload_outcome_done(struct reload_outcome *outcome);

/* Load the file that <current> came from. NULL: it is broken, and <outcome> says how. */
struct config *reload_load(const struct config_options *load, const struct config *current,
                           const struct config *start, struct reload_outcome *outcome);

/* Make <next> follow <current>: count its generation, and put the settings of <start> in the place
 * of those that need a restart, naming them on <restart> (NULL = nowhere). <start> must outlive
 * <next>. */
void reload_adopt(struct config *next, const struct config *current, const struct config *start,
                  FILE *restart);
