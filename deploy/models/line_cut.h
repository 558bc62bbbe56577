/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * line_cut - cuts what arrives in pieces into lines (LF, and a CR in front of it goes too).
 *
 * What is longer than a line may be comes in several lines where it is meant for people (splits),
 * and not at all where half a line means nothing.
 */

#include "gateway/base/buffer.h"

struct line_cut {
    struct buffer held; /* a line that is not over */
    bool splits, skipping;
    unsigned skipped; /* lines that were too long */
    void (*on_line)(void *with, struct text line);
    void *with;
};

void line_cut_init(struct line_cut *cut, size_t longest, bool splits,
                   void (*on_line)(void *, struct text), void *with);
/* on_line() is called from here, and must not end <cut>. */
void line_cut_feed(struct line_cut *cut, struct text piece);
/* Nothing more comes: a line without its LF is one too. <cut> is as new. */
void line_cut_end(struct line_cut *cut);
/* Forget what is held. */
void line_cut_done(struct line_cut *cut);
