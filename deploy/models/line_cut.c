/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/line_cut.h"

void line_cut_init(struct line_cut *cut, size_t longest, bool splits,
                   void (*on_line)(void *, struct text), void *with)
{
    *cut = (struct line_cut){.splits = splits, .on_line = on_line, .with = with};
    buffer_init(&cut->held, longest);
}

static void tell(struct line_cut *cut, struct text line)
{
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    cut->on_line(cut->with, line);
}

static void tell_held(struct line_cut *cut)
{
    tell(cut, buffer_text(&cut->held));
    buffer_clear(&cut->held);
}

/* A part of a line; more of it comes. */
static void hold(struct line_cut *cut, struct text part)
{
    size_t room;
    while (!cut->skipping && part.len > (room = cut->held.limit - buffer_length(&cut->held))) {
        if (cut->splits) {
            buffer_append_text(&cut->held, text_head(part, room));
            part = text_from(part, room);
            tell_held(cut);
        } else {
            cut->skipping = true;
            cut->skipped++;
            buffer_clear(&cut->held);
        }
    }
    if (!cut->skipping)
        buffer_append_text(&cut->held, part);
}

void line_cut_feed(struct line_cut *cut, struct text piece)
{
    while (piece.len > 0) {
        size_t end = text_find_byte(piece, '\n');
        struct text part = text_head(piece, end);
        if (end == SIZE_MAX) {
            hold(cut, part);
            return;
        }
        if (!cut->skipping && buffer_length(&cut->held) == 0 && part.len <= cut->held.limit) {
            tell(cut, part);
        } else {
            hold(cut, part);
            if (!cut->skipping)
                tell_held(cut);
        }
        cut->skipping = false;
        piece = text_from(piece, end + 1);
    }
}

void line_cut_end(struct line_cut *cut)
{
    if (!cut->skipping && buffer_length(&cut->held))
        tell_held(cut);
    line_cut_done(cut);
}

void line_cut_done(struct line_cut *cut)
{
    buffer_done(&cut->held);
    cut->skipping = false;
}
