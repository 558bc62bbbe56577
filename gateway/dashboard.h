/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * dashboard - the files of web/dist, inside the program (dashboard_files.S), as answers below /ui/.
 *
 * Only those of the table are there, each under its one name; nothing is read from a disk. They are
 * the same for everybody and hold no secret: what they show is asked of the admin API.
 */

#include <stdbool.h>

#include "gateway/base/text.h"

struct dashboard_answer {
    unsigned status;
    struct text type, extra, body; /* static; <extra> are header lines */
};

/* Is <path> /ui, or below it? */
bool dashboard_is_path(struct text path);

/* What is at <path>, in the smallest form that <accept_encoding> (the header's value, or empty)
 * allows; 404 when there is nothing. */
void dashboard_find(struct text path, struct text accept_encoding, struct dashboard_answer *answer);

/* The path below /ui/ of the dashboard's style, and the header lines that all its answers have. */
struct text dashboard_style(void);
struct text dashboard_careful(void);
