/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/rope.h"

enum { PIECE_MIN = 256, PIECE_MAX = 64 << 10 };

struct rope_piece {
    struct rope_piece *next;
    size_t len, room;
    char bytes[];
};

/* The next piece is as large as all before it, so that there are few. */
static struct rope_piece *piece_new(struct rope *rope, struct arena *arena, size_t wanted)
{
    size_t room = rope->len < PIECE_MIN ? PIECE_MIN : rope->len;
    if (room > PIECE_MAX)
        room = PIECE_MAX;
    if (room < wanted)
        room = wanted;
    struct rope_piece *piece = arena_take(arena, sizeof(*piece) + room);
    piece->next = NULL;
    piece->len = 0;
    piece->room = room;
    if (rope->last)
        rope->last->next = piece;
    else
        rope->first = piece;
    rope->last = piece;
    return piece;
}

void rope_add(struct rope *rope, struct arena *arena, struct text more)
{
    struct rope_piece *piece = rope->last;
    if (more.len == 0)
        return;
    if (!piece || piece->room - piece->len < more.len)
        piece = piece_new(rope, arena, more.len);
    memcpy(piece->bytes + piece->len, more.at, more.len);
    piece->len += more.len;
    rope->len += more.len;
}

void rope_put(const struct rope *rope, struct buffer *out)
{
    for (const struct rope_piece *piece = rope->first; piece; piece = piece->next)
        buffer_append(out, piece->bytes, piece->len);
}

struct text rope_text(const struct rope *rope, struct arena *arena)
{
    char *room = arena_take(arena, rope->len + 1);
    size_t len = 0;
    for (const struct rope_piece *piece = rope->first; piece; piece = piece->next) {
        memcpy(room + len, piece->bytes, piece->len);
        len += piece->len;
    }
    room[len] = '\0';
    return (struct text){room, len};
}
